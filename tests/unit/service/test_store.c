/* SPDX-License-Identifier: Apache-2.0
 *
 * The event store as a service's author meets it: the example of docs/store.md as it stands there, and a service that
 * does what one should not.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ficus/store.h>
#include <ficus/test.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct ficus_service account_service;

static struct ficus_test *t;

static struct ficus_test_answer call(const char *method, const char *path, const char *body)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = method, .path = path, .body = body, .user = "ann"});
}

static void expect(const char *method, const char *path, const char *body, int status, const char *part)
{
    struct ficus_test_answer a = call(method, path, body);
    if (a.status != status || (part != NULL && strstr(a.body, part) == NULL))
        fail_msg("%s %s: %d %s", method, path, a.status, a.body);
}

/* ---- a service that does all and everything ---- */

static const char *second(struct ficus_req *req, const struct ficus_stored *old)
{
    return strcmp(old->data, "\"none\"") == 0 ? NULL : ficus_printf(req, "[%s,%lld]", old->data, (long long)old->version);
}

static const char *third(struct ficus_req *req, const struct ficus_stored *old)
{
    return ficus_printf(req, "{\"v3\":%s}", old->data);
}

static const struct ficus_upcaster upcasters[] = {{"up", 2, third}, {"up", 1, second}, {NULL}};

/* As an older or a newer release would have stored it; there at the next start. */
static int put_old(struct ficus_req *req, int64_t schema, const char *data)
{
    return ficus_exec(req, "INSERT INTO ficus_store_import(stream, type, schema, time, data) VALUES('old', 'up', ?, 0, ?)", "is", schema, data);
}

static int snapshot(struct ficus_req *req, const char *what)
{
    int64_t version = 0, at = ficus_query_param(req, "at") == NULL ? INT64_MAX : atoll(ficus_query_param(req, "at"));
    const char *data = NULL;
    if (strcmp(what, "load") == 0) {
        int found = ficus_store_snapshot_load(req, "s", at, 1, &version, &data);
        struct ficus_out *o = found < 0 ? NULL : ficus_reply(req, 200);
        if (o == NULL)
            return -1;
        ficus_out_str(o, NULL, found == 1 ? ficus_printf(req, "%lld:%s", (long long)version, data) : "none");
        return 0;
    }
    if (ficus_tx(req) != 0)
        return -1;
    if (strcmp(what, "save") == 0)
        return ficus_store_snapshot_save(req, "s", at, 1, ficus_printf(req, "\"of %lld\"", (long long)at)) != 0 ? -1 : ficus_reply_empty(req, 204);
    return ficus_exec(req, "UPDATE ficus_store_snapshot SET data = '\"of evil\"' WHERE version = (SELECT max(version) FROM ficus_store_snapshot)", "");
}

static int act(struct ficus_req *req)
{
    const char *what = ficus_param(req, "what");
    int64_t version = 0;
    if (strncmp(what, "snapshot-", 9) == 0)
        return snapshot(req, what + 9);
    if (strcmp(what, "before-tx") == 0) {
        (void)ficus_store_append(req, "s", FICUS_STREAM_ANY, "a", "1", NULL);
        return ficus_reply_empty(req, 204); /* must not be believed */
    }
    if (ficus_tx(req) != 0)
        return -1;
    if (strcmp(what, "add") == 0)
        return ficus_store_append(req, "s", FICUS_STREAM_ANY, "a", "{\"x\": 1}", NULL);
    if (strcmp(what, "name") == 0)
        return ficus_store_append(req, "has blanks", FICUS_STREAM_ANY, "a", "1", NULL);
    if (strcmp(what, "json") == 0)
        return ficus_store_append(req, "s", FICUS_STREAM_ANY, "a", "{", NULL);
    if (strcmp(what, "expected") == 0)
        return ficus_store_append(req, "s", -2, "a", "1", NULL);
    if (strcmp(what, "newer") == 0)
        return put_old(req, 4, "1");
    if (strcmp(what, "older") == 0)
        return put_old(req, 1, "\"a\"") != 0 || put_old(req, 2, "\"b\"") != 0 ? -1 : 0;
    if (strcmp(what, "none") == 0)
        return put_old(req, 1, "\"none\"");
    if (strcmp(what, "tamper") == 0)
        return ficus_exec(req, "UPDATE ficus_store SET data = '{\"x\": 2}' WHERE position = 2", "");
    if (strcmp(what, "up") == 0)
        return ficus_store_append(req, "old", 2, "up", "\"c\"", NULL);
    if (strcmp(what, "rolled-back") == 0)
        return ficus_store_append(req, "s", FICUS_STREAM_ANY, "a", "1", NULL) != 0 ? -1 : ficus_problem(req, 409, "no", "after all");
    int conflict = ficus_store_append(req, "s", 77, "a", "1", &version); /* and the handler goes on */
    if (conflict != 1 || ficus_store_append(req, "s", version, "a", "2", &version) != 0)
        return -1;
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_int(o, NULL, version);
    return 0;
}

static int show(struct ficus_req *req)
{
    const char *from = ficus_query_param(req, "from");
    struct ficus_rows *rows = ficus_store_read(req, ficus_param(req, "stream"), from == NULL ? 1 : atoll(from));
    struct ficus_out *o = ficus_reply(req, 200);
    struct ficus_stored ev;
    int row;
    if (rows == NULL || o == NULL)
        return -1;
    ficus_out_array(o, NULL);
    while ((row = ficus_store_row(rows, &ev)) == 1) {
        ficus_out_object(o, NULL);
        ficus_out_str(o, "stream", ev.stream);
        ficus_out_str(o, "type", ev.type);
        ficus_out_int(o, "version", ev.version);
        ficus_out_int(o, "position", ev.position);
        ficus_out_int(o, "schema", ev.schema);
        ficus_out_json(o, "data", ev.data);
        ficus_out_json(o, "metadata", ev.metadata);
        ficus_out_end(o);
    }
    ficus_out_end(o);
    return row;
}

static int wrong_rows(struct ficus_req *req)
{
    struct ficus_stored ev;
    (void)ficus_store_row(ficus_query(req, "SELECT 1", ""), &ev);
    return ficus_reply_empty(req, 204);
}

static const struct ficus_route routes[] = {
    {"POST", "/v1/act/{what}", act, FICUS_ANYONE},
    {"GET", "/v1/streams/{stream}", show, FICUS_ANYONE},
    {"GET", "/v1/wrong-rows", wrong_rows, FICUS_ANYONE},
    {NULL},
};
static const struct ficus_service all = {.name = "all", .routes = routes, .upcasters = upcasters};

static int setup_all(void **state)
{
    t = ficus_test_start(&all, NULL, NULL);
    return 0;
}

static int setup_account(void **state)
{
    t = ficus_test_start(&account_service, ACCOUNT_MIGRATIONS, NULL);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

/* ---- the example ---- */

/* What was there before is imported, brought to the new shape when it is read, and goes on as if it had always been a
 * stream. */
static void test_account_imported(void **state)
{
    expect("GET", "/v1/accounts/old", NULL, 200, "{\"pence\":400,\"version\":2}");
    expect("GET", "/v1/accounts/other", NULL, 200, "{\"pence\":100,\"version\":1}");
    expect("POST", "/v1/accounts/old/out", "{\"pence\":399}", 204, NULL);
    expect("PUT", "/v1/accounts/old", NULL, 409, "\"code\":\"taken\"");
    ficus_test_restart(t);
    expect("GET", "/v1/accounts/old", NULL, 200, "{\"pence\":1,\"version\":3}");
}

static void test_account(void **state)
{
    expect("GET", "/v1/accounts/new", NULL, 404, NULL);
    expect("PUT", "/v1/accounts/new", NULL, 201, NULL);
    expect("PUT", "/v1/accounts/new", NULL, 409, "\"code\":\"taken\"");
    expect("POST", "/v1/accounts/new/in", "{\"pence\":0}", 400, "/pence");
    expect("POST", "/v1/accounts/new/in", "{\"pence\":10}", 204, NULL);
    expect("POST", "/v1/accounts/new/out", "{\"pence\":11}", 409, "\"code\":\"not_enough\"");
    expect("POST", "/v1/accounts/new/out", "{\"pence\":10}", 204, NULL);
    expect("GET", "/v1/accounts/new", NULL, 200, "{\"pence\":0,\"version\":3}");
}

enum { PAYERS = 4, PAYMENTS = 60, FUNDS = 100 };
static atomic_int paid;

static void *payer(void *arg)
{
    for (int i = 0; i < PAYMENTS; i++) {
        struct ficus_test_answer a = call("POST", "/v1/accounts/shared/out", "{\"pence\":1}");
        paid += a.status == 204;
        if (a.status != 204 && a.status != 409)
            return arg;
    }
    return NULL;
}

/* However many take money at once, nobody gets what is not there, and nothing is counted twice; over snapshots, too. */
static void test_account_at_once(void **state)
{
    pthread_t threads[PAYERS];
    char body[40];
    (void)snprintf(body, sizeof body, "{\"pence\":%d}", FUNDS);
    expect("POST", "/v1/accounts/shared/in", body, 204, NULL);
    for (size_t i = 0; i < PAYERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, payer, t), 0);
    for (size_t i = 0; i < PAYERS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(paid, FUNDS);
    expect("GET", "/v1/accounts/shared", NULL, 200, "{\"pence\":0,\"version\":101}");
}

/* The list is what all accounts add up to, those from before too. */
static void test_account_list(void **state)
{
    expect("GET", "/v1/accounts", NULL, 200, "[{\"account\":\"old\",\"pence\":400},{\"account\":\"other\",\"pence\":100}]");
    expect("POST", "/v1/accounts/other/in", "{\"pence\":301}", 204, NULL);
    expect("PUT", "/v1/accounts/new", NULL, 201, NULL);
    for (int i = 0; i < 2; i++) {
        expect("GET", "/v1/accounts", NULL, 200,
               "[{\"account\":\"other\",\"pence\":401},{\"account\":\"old\",\"pence\":400},{\"account\":\"new\",\"pence\":0}]");
        ficus_test_restart(t);
    }
}

/* ---- the API ---- */

/* An event has what is known of who did it; reading begins where one says. */
static void test_read(void **state)
{
    for (int i = 0; i < 3; i++)
        expect("POST", "/v1/act/add", NULL, 204, NULL);
    expect("GET", "/v1/streams/s", NULL, 200,
           "[{\"stream\":\"s\",\"type\":\"a\",\"version\":1,\"position\":1,\"schema\":1,\"data\":{\"x\": 1},\"metadata\":{\"caller\":\"gateway\",\"user\":\"ann\",");
    expect("GET", "/v1/streams/s", NULL, 200, "\"traceparent\":\"00-");
    expect("GET", "/v1/streams/s?from=3", NULL, 200, "[{\"stream\":\"s\",\"type\":\"a\",\"version\":3,");
    expect("GET", "/v1/streams/s?from=4", NULL, 200, "[]");
    expect("GET", "/v1/streams/none", NULL, 200, "[]");
}

/* A conflict leaves the transaction as it was, and the handler may go on with the version that it is told. */
static void test_conflict(void **state)
{
    expect("POST", "/v1/act/add", NULL, 204, NULL);
    expect("POST", "/v1/act/conflict", NULL, 200, "2");
    expect("POST", "/v1/act/rolled-back", NULL, 409, NULL);
    expect("GET", "/v1/streams/s?from=3", NULL, 200, "[]");
}

/* Misuse fails the request, whatever the handler answers. */
static void test_misuse(void **state)
{
    static const char *const what[] = {"before-tx", "name", "json", "expected"};
    for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
        char path[60];
        (void)snprintf(path, sizeof path, "/v1/act/%s", what[i]);
        expect("POST", path, NULL, 500, NULL);
    }
    expect("GET", "/v1/wrong-rows", NULL, 500, NULL);
    expect("GET", "/v1/streams/s", NULL, 200, "[]");
}

/* Old shapes are brought up one after the other, the newest is left alone, and what is stored stays as it was. */
static void test_upcasters(void **state)
{
    expect("POST", "/v1/act/older", NULL, 204, NULL);
    ficus_test_restart(t);
    expect("POST", "/v1/act/up", NULL, 204, NULL);
    for (int i = 0; i < 2; i++) {
        expect("GET", "/v1/streams/old", NULL, 200, "\"schema\":1,\"data\":{\"v3\":[\"a\",1]},\"metadata\":{\"imported\":true}}");
        expect("GET", "/v1/streams/old?from=2", NULL, 200, "\"schema\":2,\"data\":{\"v3\":\"b\"}");
        expect("GET", "/v1/streams/old?from=3", NULL, 200, "\"schema\":3,\"data\":\"c\"");
        ficus_test_restart(t);
    }
}

/* An event that is newer than the program, or that cannot be brought up, fails the request that reads it. */
static void test_upcasters_fail(void **state)
{
    static const char *const what[] = {"/v1/act/newer", "/v1/act/none"};
    for (size_t i = 0; i < 2; i++) {
        teardown(NULL);
        setup_all(NULL);
        expect("POST", what[i], NULL, 204, NULL);
        ficus_test_restart(t);
        expect("GET", "/v1/streams/old?from=2", NULL, 200, "[]");
        expect("GET", "/v1/streams/old", NULL, 500, NULL);
    }
}

/* Of the newest at or below a version; three are kept; one that somebody changed is passed over. */
static void test_snapshots(void **state)
{
    for (int i = 0; i < 5; i++)
        expect("POST", "/v1/act/add", NULL, 204, NULL);
    expect("POST", "/v1/act/snapshot-load", NULL, 200, "none");
    expect("POST", "/v1/act/snapshot-save?at=6", NULL, 500, NULL);
    expect("POST", "/v1/act/snapshot-save?at=0", NULL, 500, NULL);
    for (int i = 1; i <= 5; i++) {
        char path[60];
        (void)snprintf(path, sizeof path, "/v1/act/snapshot-save?at=%d", i);
        expect("POST", path, NULL, 204, NULL);
    }
    expect("POST", "/v1/act/snapshot-load", NULL, 200, "5:\\\"of 5");
    expect("POST", "/v1/act/snapshot-load?at=4", NULL, 200, "4:\\\"of 4");
    expect("POST", "/v1/act/snapshot-load?at=2", NULL, 200, "none");
    expect("POST", "/v1/act/snapshot-change", NULL, 204, NULL);
    expect("POST", "/v1/act/snapshot-load", NULL, 200, "4:\\\"of 4");
    ficus_test_restart(t);
    expect("POST", "/v1/act/snapshot-load", NULL, 200, "4:\\\"of 4");
}

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static struct ficus_test_answer as_operator(const char *path)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = "GET", .path = path, .caller = "operator"});
}

/* An operator, and nobody else, has the store verified; what was tampered with is named. */
static void test_operator(void **state)
{
    static const char begin[] = "/ficus/store?position=0&chain=0&hash=" ZEROS;
    for (int i = 0; i < 3; i++)
        expect("POST", "/v1/act/add", NULL, 204, NULL);
    struct ficus_test_answer a = as_operator(begin);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "{\"position\":3,\"chain\":3,\"hash\":\""));
    assert_non_null(strstr(a.body, "\"done\":true,\"head\":\"3:"));
    assert_non_null(strstr(a.body, "\"findings\":[]}"));
    assert_int_equal(call("GET", begin, NULL).status, 403);
    assert_int_equal(as_operator("/ficus/store").status, 400);
    assert_int_equal(as_operator("/ficus/store?position=-1&chain=0&hash=" ZEROS).status, 400);
    assert_int_equal(as_operator("/ficus/store?position=0&chain=0&hash=0").status, 400);
    assert_int_equal(as_operator("/ficus/other").status, 404);
    a = as_operator("/ficus/store?position=0&chain=0&hash=" ZEROS "&head=7:" ZEROS);
    assert_non_null(strstr(a.body, "\"findings\":[{\"fault\":\"truncated\",\"position\":7,"));
    expect("POST", "/v1/act/tamper", NULL, 204, NULL);
    assert_non_null(strstr(as_operator(begin).body, "\"findings\":[{\"fault\":\"changed\",\"position\":2,\"stream\":\"s\",\"version\":2,"));
}

#define ALL(fn) cmocka_unit_test_setup_teardown(fn, setup_all, teardown)
#define ACCOUNT(fn) cmocka_unit_test_setup_teardown(fn, setup_account, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ACCOUNT(test_account_imported), ACCOUNT(test_account), ACCOUNT(test_account_at_once), ACCOUNT(test_account_list), ALL(test_read), ALL(test_conflict),
        ALL(test_misuse),               ALL(test_upcasters),   ALL(test_upcasters_fail),     ALL(test_snapshots), ALL(test_operator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
