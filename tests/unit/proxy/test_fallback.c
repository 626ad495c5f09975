/* SPDX-License-Identifier: Apache-2.0
 *
 * Fallbacks in the running gateway: each way in which a service can be away, and what is answered instead.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#define HOST "Host: " RIG_HOST "\r\nConnection: close\r\n"

static struct proxy_fallback fixed = {.status = 200, .body = "{\"items\":[]}", .type = "application/json"},
                             empty = {.status = 204, .body = "", .type = "text/plain"},
                             other = {.service = "identity", .target = "/other/{x}"}, last = {.stale_ms = 60000},
                             all = {.stale_ms = 60000,
                                    .service = "identity",
                                    .target = "/other",
                                    .status = 203,
                                    .body = "end",
                                    .type = "text/plain"};

static void add(struct rig *r, const char *path, const char *target, struct proxy_fallback *fallback, int auth)
{
    r->routes[r->config.route_count++] = (struct proxy_route){.method = "",
                                                              .path = path,
                                                              .service = "orders",
                                                              .target = target,
                                                              .fallback = fallback,
                                                              .auth = auth,
                                                              .timeout_ms = 400,
                                                              .body_size_max = 100000};
}

static struct rig *rig_fallback(void)
{
    struct rig *r = rig_new(false);
    gateway_stop(r);
    add(r, "/fixed/{x}", "/v1/{x}", &fixed, PROXY_AUTH_NONE);
    add(r, "/empty/{x}", "/v1/{x}", &empty, PROXY_AUTH_NONE);
    add(r, "/other/{x}", "/v1/{x}", &other, PROXY_AUTH_NONE);
    add(r, "/last/{x}", "/v1/{x}", &last, PROXY_AUTH_OPTIONAL);
    add(r, "/all/{x}", "/v1/{x}", &all, PROXY_AUTH_NONE);
    gateway_start(r);
    rig_wait(r, is_ready, r);
    return r;
}

static void check(struct rig *r, const char *text, int status, const char *part)
{
    const char *answer = ask(r, text);
    if (status_of(answer) != status || (part != NULL && strstr(answer, part) == NULL))
        fail_msg("%s: %s", text, answer);
}

static void gone(struct rig *r, bool refuses)
{
    char address[80];
    (void)snprintf(address, sizeof address, "unix:%s/nobody", r->dir);
    const char *list[] = {address};
    assert_int_equal(call_engine_endpoints(r->proxy->process.calls, "orders", list, refuses), FICUS_ERR_OK);
}

static const struct rig_answer unavailable[] = {{"/v1/a", 503, "busy"},
                                                {"/v1/b", 502, "bad"},
                                                {"/v1/c", 504, "late"},
                                                {"/v1/d", 500, "wrong"},
                                                {"/v1/e", 404, "none"}};

/* Every way to be away leads to the fixed answer, for any method; an answer of the service itself is passed on. */
static void test_fixed(void **state)
{
    (void)state;
    struct rig *r = rig_fallback();
    r->answers = unavailable;
    r->answer_count = ARRAY_COUNT(unavailable);
    static const char mark[] = "Ficus-Fallback: static\r\n";
    static const char *const away[] = {"a", "b", "c", "die", "hold"};
    for (size_t i = 0; i < ARRAY_COUNT(away); i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "GET /fixed/%s HTTP/1.1\r\n" HOST "\r\n", away[i]);
        check(r, text, 200, mark);
        assert_non_null(strstr(ask(r, text), "\r\n\r\n{\"items\":[]}"));
        (void)snprintf(text, sizeof text, "POST /fixed/%s HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi", away[i]);
        check(r, text, 200, mark);
    }
    check(r, "GET /fixed/d HTTP/1.1\r\n" HOST "\r\n", 500, "wrong");
    check(r, "GET /fixed/e HTTP/1.1\r\n" HOST "\r\n", 404, "none");
    check(r, "GET /fixed/open HTTP/1.1\r\n" HOST "\r\n", 202, NULL);
    assert_null(strstr(ask(r, "GET /fixed/open HTTP/1.1\r\n" HOST "\r\n"), "Fallback"));
    const char *answer = ask(r, "HEAD /fixed/a HTTP/1.1\r\n" HOST "\r\n");
    assert_true(status_of(answer) == 200 && strcmp(strstr(answer, "\r\n\r\n"), "\r\n\r\n") == 0);
    check(r, "GET /empty/a HTTP/1.1\r\n" HOST "\r\n", 204, mark);
    /* an answer that has begun is cut, not replaced */
    answer = ask(r, "GET /fixed/cut HTTP/1.1\r\n" HOST "\r\n");
    assert_true(status_of(answer) == 200 && strstr(answer, "Fallback") == NULL);
    gone(r, true);
    check(r, "GET /fixed/x HTTP/1.1\r\n" HOST "\r\n", 200, mark);
    gone(r, false);
    check(r, "DELETE /fixed/x HTTP/1.1\r\n" HOST "\r\n", 200, mark);
    rig_free(r);
}

/* Another service answers GET and HEAD, also after the time of the first is up, and nothing else. */
static void test_other(void **state)
{
    (void)state;
    struct rig *r = rig_fallback();
    r->answers = unavailable;
    r->answer_count = ARRAY_COUNT(unavailable);
    unsigned asked = r->keys_asked;
    check(r, "GET /other/a HTTP/1.1\r\n" HOST "\r\n", 200, "Ficus-Fallback: service\r\n");
    check(r, "GET /other/hold HTTP/1.1\r\n" HOST "\r\n", 200, "\"keys\"");
    check(r, "HEAD /other/die HTTP/1.1\r\n" HOST "\r\n", 200, "Ficus-Fallback: service\r\n");
    assert_int_equal(r->keys_asked, asked + 3);
    check(r, "POST /other/a HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 503, "busy");
    check(r, "POST /other/die HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 502, NULL);
    check(r, "GET /other/hold HTTP/1.1\r\n" HOST "Ficus-Timeout-Ms: 100\r\n\r\n", 504, NULL);
    assert_int_equal(r->keys_asked, asked + 3);
    r->identity_down = true; /* it answers 503: with nothing left, that is passed on */
    check(r, "GET /other/a HTTP/1.1\r\n" HOST "\r\n", 503, "Ficus-Fallback: service\r\n");
    check(r, "GET /all/a HTTP/1.1\r\n" HOST "\r\n", 203, "Ficus-Fallback: static\r\n");
    assert_int_equal(r->keys_asked, asked + 5);
    rig_free(r);
}

/* The last good answer of the same URL and user, marked with its age; a change makes it go. */
static void test_stale(void **state)
{
    (void)state;
    struct rig *r = rig_fallback();
    static const struct rig_answer good[] = {{"/v1/a", 200, "good a"}, {"/v1/f", 200, ""}},
                                   bad[] = {{"/v1/a", 503, "busy"}, {"/v1/f", 502, ""}};
    r->answers = good;
    r->answer_count = 2;
    char mine[4096], *token = token_for(r, "k1", "shop", "", 600);
    (void)snprintf(mine, sizeof mine, "GET /last/a?q=1 HTTP/1.1\r\n" HOST "Authorization: Bearer %s\r\n\r\n", token);
    mem_free(token);
    check(r, "GET /last/a?q=1 HTTP/1.1\r\n" HOST "\r\n", 200, "good a");
    check(r, "GET /last/f HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
    r->answers = bad;
    const char *answer = ask(r, "GET /last/a?q=1 HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(status_of(answer), 200);
    assert_non_null(strstr(answer, "\r\n\r\ngood a"));
    assert_non_null(strstr(answer, "\r\nAge: 0\r\n"));
    assert_non_null(strstr(answer, "\r\nFicus-Fallback: stale\r\n"));
    assert_non_null(strstr(answer, "\r\nCache-Status: ficus; fwd=stale; detail=stale-if-error\r\n"));
    check(r, "GET /last/f HTTP/1.1\r\n" HOST "\r\n", 200, "Ficus-Fallback: stale\r\n");
    check(r, mine, 503, "busy"); /* nobody's answer is not the user's */
    check(r, "GET /last/a?q=2 HTTP/1.1\r\n" HOST "\r\n", 503, "busy");
    check(r, "GET /last/a?q=1 HTTP/1.1\r\n" HOST "Cache-Control: no-cache\r\n\r\n", 503, "busy");
    check(r, "POST /last/a?q=1 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 503, "busy");
    check(r, "GET /last/a?q=1 HTTP/1.1\r\n" HOST "\r\n", 200, "good a"); /* the POST failed */
    r->answers = good;
    check(r, mine, 200, "good a");
    check(r, "PUT /last/a?q=1 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 200, "good a");
    gone(r, false);
    check(r, "GET /last/a?q=1 HTTP/1.1\r\n" HOST "\r\n", 503, NULL);
    check(r, mine, 200, "Ficus-Fallback: stale\r\n");
    struct buf metrics;
    buf_init(&metrics, 1024 * 1024);
    assert_true(metrics_render(r->proxy->process.metrics, &metrics));
    assert_non_null(strstr(buf_str(&metrics), "gateway_fallbacks_total{route=\"/last/{x}\",by=\"stale\"} 4\n"));
    buf_done(&metrics);
    rig_free(r);
}

/* An answer over the bound, and one that is cut, are passed on and not kept; all that is kept goes with the gateway. */
static void test_not_kept(void **state)
{
    (void)state;
    struct rig *r = rig_fallback();
    check(r, "GET /last/big HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
    check(r, "GET /last/cut HTTP/1.1\r\n" HOST "\r\n", 200, "partial");
    check(r, "GET /last/drip HTTP/1.1\r\n" HOST "\r\n", 200, NULL); /* over its time */
    assert_int_equal(r->proxy->keeping, 0);
    assert_true(r->proxy->stale == NULL || stale_count(r->proxy->stale) == 0);
    gone(r, true);
    check(r, "GET /last/big HTTP/1.1\r\n" HOST "\r\n", 503, NULL);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_other),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
