/* SPDX-License-Identifier: Apache-2.0
 *
 * A service whose topics have schemas: what does not fit is not emitted, and handlers see the newest shape that is known.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ficus/store.h>
#include <ficus/test.h>

#include <stdio.h>
#include <string.h>

static struct ficus_test *t;
static char seen[256];

/* Emits the body, behind a row that must not stay when that fails. */
static int emit_post(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL || ficus_tx(req) != 0 || ficus_exec(req, "INSERT INTO ficus_inbox(consumer, next_offset, attempts) VALUES('row', 1, 0)", "") < 0)
        return -1;
    return ficus_emit(req, "made", "s", ficus_json_text(req, body)) != 0 ? -1 : ficus_reply_empty(req, 204);
}

static int rows_get(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT count(*) FROM ficus_inbox WHERE consumer = 'row'", "");
    struct ficus_out *o = rows == NULL || ficus_row(rows) != 1 ? NULL : ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    ficus_out_int(o, NULL, ficus_col_int(rows, 0));
    ficus_rows_done(rows);
    return 0;
}

static int on_heard(struct ficus_req *req)
{
    const char *text = ficus_json_text(req, ficus_body(req));
    if (text == NULL)
        return -1;
    (void)snprintf(seen, sizeof seen, "%s", text);
    return 0;
}

static const char *wrap(struct ficus_req *req, const struct ficus_stored *old)
{
    if (strstr(old->data, "impossible") != NULL)
        return NULL;
    (void)ficus_body(req); /* what it was is not what the handler gets */
    return ficus_printf(req, "{\"from\":%d,\"subject\":\"%s\",\"was\":%s}", old->schema, old->stream, old->data);
}

static const struct ficus_route routes[] = {{"POST", "/emit", emit_post, FICUS_ANYONE, NULL, false}, {"GET", "/rows", rows_get, FICUS_ANYONE, NULL, false}, {NULL}};
static const struct ficus_subscription events[] = {{"heard", on_heard}, {"plain", on_heard}, {NULL}};
static const struct ficus_upcaster upcasters[] = {{"heard", 3, wrap}, {"heard", 1, wrap}, {NULL}};
static const struct ficus_service service = {.name = "schema", .routes = routes, .events = events, .event_upcasters = upcasters};

static int setup(void **state)
{
    (void)state;
    t = ficus_test_start(&service, NULL, NULL);
    seen[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ficus_test_stop(t);
    return 0;
}

static struct ficus_test_answer emit(const char *body)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = "POST", .path = "/emit", .body = body});
}

/* Without a schema all goes; with one, what does not fit fails the request, and nothing of it stays. */
static void test_emit(void **state)
{
    (void)state;
    assert_int_equal(emit("{\"n\":0}").status, 204);
    assert_null(strstr(ficus_test_emitted(t, 0), "dataschema"));
    ficus_test_schema(t, "made", 2, "{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":1}}}");
    assert_string_equal(ficus_test_call(t, &(struct ficus_test_request){.method = "GET", .path = "/rows"}).body, "1");
    struct ficus_test_answer a = emit("{\"n\":0}");
    assert_int_equal(a.status, 500);
    assert_non_null(strstr(a.body, "\"code\":\"schema\""));
    assert_int_equal(emit("[]").status, 500);
    assert_int_equal(ficus_test_emitted_count(t), 1);
}

static void test_emit_fits(void **state)
{
    (void)state;
    ficus_test_schema(t, "made", 2, "{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":1}}}");
    assert_int_equal(emit("{\"n\":0}").status, 500);
    assert_string_equal(ficus_test_call(t, &(struct ficus_test_request){.method = "GET", .path = "/rows"}).body, "0");
    assert_int_equal(emit("{\"n\":1}").status, 204);
    assert_int_equal(ficus_test_emitted_count(t), 1);
    assert_non_null(strstr(ficus_test_emitted(t, 0), "\"dataschema\":\"urn:ficus:schema:made:2\""));
}

/* Each version is brought up by the upcasters that there are; one that names none is the first. */
static void test_upcast(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *seen;
    } cases[] = {{0, "{\"from\":3,\"subject\":\"s\",\"was\":{\"from\":1,\"subject\":\"s\",\"was\":7}}"}, {1, "{\"from\":3,\"subject\":\"s\",\"was\":{\"from\":1,\"subject\":\"s\",\"was\":7}}"},
                 {2, "{\"from\":3,\"subject\":\"s\",\"was\":7}"}, {3, "{\"from\":3,\"subject\":\"s\",\"was\":7}"}, {4, "7"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ficus_test_event_of(t, "heard", cases[i].version, "s", "7"), 0);
        assert_string_equal(seen, cases[i].seen);
    }
    assert_int_equal(ficus_test_event(t, "plain", "s", "8"), 0);
    assert_string_equal(seen, "8");
}

/* Newer than is known, or what cannot be brought up: refused, the handler does not see it. */
static void test_refused(void **state)
{
    (void)state;
    assert_int_equal(ficus_test_event_of(t, "heard", 5, "s", "7"), -1);
    assert_string_equal(seen, "");
}

static void test_impossible(void **state)
{
    (void)state;
    assert_int_equal(ficus_test_event_of(t, "heard", 1, "s", "\"impossible\""), -1);
    assert_string_equal(seen, "");
}

/* The manifest's newest version is known, too, when no step to it breaks. */
static void test_known(void **state)
{
    (void)state;
    ficus_test_schema(t, "heard", 6, NULL);
    ficus_test_schema(t, "plain", 2, NULL);
    assert_int_equal(ficus_test_event_of(t, "heard", 6, "s", "7"), 0);
    assert_string_equal(seen, "7");
    assert_int_equal(ficus_test_event_of(t, "plain", 1, "s", "9"), 0);
    assert_string_equal(seen, "9");
    assert_int_equal(ficus_test_event_of(t, "plain", 3, "s", "10"), -1);
    assert_string_equal(seen, "9");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_emit), TEST(test_emit_fits), TEST(test_upcast), TEST(test_refused), TEST(test_impossible), TEST(test_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
