/* SPDX-License-Identifier: Apache-2.0
 *
 * Composed answers: what is merged and how, and that the answer is there whatever becomes of its parts.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#define HOST "Host: " RIG_HOST "\r\n"
#define CLOSE "Connection: close\r\n"

enum { LARGE_SIZE = 900 * 1000 };

static struct rig_answer answers[] = {
    {"/v1/a", 200, "{\"id\":1,\"name\":\"Ann\",\"secret\":\"s\",\"nested\":{\"x\":[1,2.50,\"\\u00e9\"]}}"},
    {"/v1/b", 200, " [ {\"b\":true} ] "},
    {"/v1/of/u-1/a%20b", 200, "{\"mine\":true}"},
    {"/v1/late", 503, "{\"title\":\"no\"}"},
    {"/v1/gone", 404, "{\"title\":\"no\"}"},
    {"/v1/many", 429, "{}"},
    {"/v1/broken", 500, "{}"},
    {"/v1/who", 401, "{}"},
    {"/v1/slow", 504, "{}"},
    {"/v1/empty", 204, ""},
    {"/v1/nothing", 200, ""},
    {"/v1/garbage", 200, "{\"a\":"},
    {"/v1/two", 200, "{} {}"},
    {"/v1/page", 200, "<html>"},
    {"/v1/scalar", 200, "17"},
    {"/v1/null", 200, "null"},
    {"/v1/moved", 302, "{}"},
    {"/v1/deep", 200, NULL},  /* made by answers_init */
    {"/v1/large", 200, NULL},
    {"/v1/values", 200, NULL},
};

static struct rig_answer *answer_of(const char *path)
{
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++)
        if (strcmp(answers[i].path, path) == 0)
            return &answers[i];
    fail_msg("%s", path);
    return NULL;
}

static int answers_init(void **state)
{
    static char deep[128], large[LARGE_SIZE], values[200 * 1000];
    memset(deep, '[', 61);
    memset(deep + 61, ']', 61);
    memset(large, 'x', sizeof large - 1);
    memcpy(large, "{\"l\":\"", 6);
    memcpy(large + sizeof large - 3, "\"}", 2);
    values[0] = '[';
    for (size_t i = 1; i < sizeof values - 3; i += 2)
        memcpy(values + i, "0,", 2);
    memcpy(values + sizeof values - 4, "0]", 3);
    answer_of("/v1/deep")->body = deep;
    answer_of("/v1/large")->body = large;
    answer_of("/v1/values")->body = values;
    return 0;
}

/* ---- a gateway with one composed route ---- */

static struct rig *start(struct proxy_part *parts, size_t count, int64_t timeout_ms)
{
    struct rig *r = rig_new(false);
    gateway_stop(r);
    r->answers = answers;
    r->answer_count = ARRAY_COUNT(answers);
    r->routes[r->config.route_count++] = (struct proxy_route){.method = "GET",
                                                              .path = "/home/{x}",
                                                              .parts = parts,
                                                              .part_count = count,
                                                              .auth = PROXY_AUTH_REQUIRED,
                                                              .timeout_ms = timeout_ms,
                                                              .body_size_max = 1024};
    gateway_start(r);
    rig_wait(r, is_ready, r);
    return r;
}

static const char *request_for(struct rig *r, const char *method)
{
    static char text[4096];
    char *token = token_for(r, "k1", "shop", "\"user\"", 60);
    (void)snprintf(text, sizeof text, "%s /home/a%%20b?q=1 HTTP/1.1\r\n" HOST CLOSE "Authorization: Bearer %s\r\n\r\n",
                   method, token);
    mem_free(token);
    return text;
}

static const char *home(struct rig *r)
{
    return ask(r, request_for(r, "GET"));
}

static void check(const char *answer, int status, const char *complete, const char *body)
{
    const char *at = strstr(answer, "\r\n\r\n");
    if (status_of(answer) != status || at == NULL || strcmp(at + 4, body) != 0)
        fail_msg("%s", answer);
    if (strstr(answer, complete) == NULL || strstr(answer, "Cache-Control: no-store\r\n") == NULL)
        fail_msg("no %s in %s", complete, answer);
}

#define PART(path, ...) {.service = "orders", .target = path, .shape = {__VA_ARGS__}}
#define YES "Ficus-Complete: true\r\n"
#define NO "Ficus-Complete: false\r\n"

/* ---- tests ---- */

/* Parts come in the order of the route, each under its name, with the members that it may show, under the names that
 * they get; numbers stay as they were written. */
static void test_merge(void **state)
{
    static const char *const allow[] = {"id", "name", "none"}, *const deny[] = {"secret", "nested"};
    static struct proxy_rename rename[] = {{"id", "name"}, {"none", "x"}}, swap[] = {{"id", "name"}, {"name", "id"}};
    struct proxy_part parts[] = {
        PART("/v1/a", .group = "all"),
        PART("/v1/b", .group = "list"),
        PART("/v1/a", .group = "allowed", .allow = allow, .allow_count = 3),
        PART("/v1/a", .group = "left", .deny = deny, .deny_count = 2),
        PART("/v1/a", .group = "both", .allow = allow, .allow_count = 3, .deny = allow, .deny_count = 1),
        PART("/v1/a", .group = "mapped", .deny = deny, .deny_count = 2, .mapping = rename, .mapping_count = 2),
        PART("/v1/a", .group = "swapped", .deny = deny, .deny_count = 2, .mapping = swap, .mapping_count = 2),
    };
    struct rig *r = start(parts, ARRAY_COUNT(parts), 20000);
    check(home(r), 200, YES,
          "{\"all\":{\"id\":1,\"name\":\"Ann\",\"secret\":\"s\",\"nested\":{\"x\":[1,2.50,\"\xc3\xa9\"]}},"
          "\"list\":[{\"b\":true}],\"allowed\":{\"id\":1,\"name\":\"Ann\"},\"left\":{\"id\":1,\"name\":\"Ann\"},"
          "\"both\":{\"name\":\"Ann\"},\"mapped\":{\"name\":1},\"swapped\":{\"name\":1,\"id\":\"Ann\"}}");
    const char *answer = ask(r, request_for(r, "HEAD"));
    check(answer, 200, YES, "");
    assert_non_null(strstr(answer, "Content-Type: application/json\r\n"));
    answer = ask(r, "GET /home/x HTTP/1.1\r\n" HOST CLOSE "\r\n");
    assert_int_equal(status_of(answer), 401);
    assert_int_equal(status_of(ask(r, "POST /home/x HTTP/1.1\r\n" HOST CLOSE "Content-Length: 0\r\n\r\n")), 405);
    rig_free(r);
}

/* A part's service sees the path with its parameters, each one segment, the fixed query and not the client's, and the
 * user's identity. */
static void test_request(void **state)
{
    struct proxy_part parts[] = {PART("/v1/of/{jwt.sub}/{x}?limit=5", .group = "g")};
    struct rig *r = start(parts, 1, 20000);
    check(home(r), 200, YES, "{\"g\":{\"mine\":true}}");
    const char *seen = buf_str(&r->seen);
    assert_non_null(strstr(seen, "GET /v1/of/u-1/a%20b?limit=5\n"));
    assert_non_null(strstr(seen, "from=gateway user=u-1 roles=user,\n"));
    assert_null(strstr(seen, "Bearer"));
    assert_non_null(strstr(seen, "traceparent: 00-"));
    rig_free(r);
}

/* However an optional part is missing, the answer comes, has null in its place and says that it is not whole. */
static void test_optional(void **state)
{
    static const char *const ways[] = {"/v1/hold", "/v1/cut",  "/v1/drip",   "/v1/die",   "/v1/big",     "/v1/late",
                                       "/v1/gone", "/v1/many", "/v1/broken", "/v1/who",   "/v1/slow",    "/v1/empty",
                                       "/v1/two",  "/v1/page", "/v1/scalar", "/v1/null",  "/v1/garbage", "/v1/moved",
                                       "/v1/deep", "/v1/values", "/v1/nothing"};
    for (size_t i = 0; i < ARRAY_COUNT(ways); i++) {
        struct proxy_part parts[] = {
            PART(ways[i], .group = "bad", .optional = true),
            PART("/v1/b", .group = "good"),
        };
        struct rig *r = start(parts, 2, 300);
        const char *answer = home(r);
        if (strstr(answer, "{\"bad\":null,\"good\":[{\"b\":true}]}") == NULL)
            fail_msg("%s: %s", ways[i], answer);
        check(answer, 200, NO, "{\"bad\":null,\"good\":[{\"b\":true}]}");
        rig_free(r);
    }
}

/* A list is no object: what names members of it finds none and takes it for missing. */
static void test_shape_of_list(void **state)
{
    static const char *const names[] = {"b"};
    struct proxy_part parts[] = {PART("/v1/b", .group = "g", .allow = names, .allow_count = 1, .optional = true)};
    struct rig *r = start(parts, 1, 20000);
    check(home(r), 200, NO, "{\"g\":null}");
    rig_free(r);
}

/* Everything missing is still an answer, when everything is optional; also when the services cannot be reached. */
static void test_all_missing(void **state)
{
    struct proxy_part parts[] = {
        PART("/v1/hold", .group = "a", .optional = true),
        PART("/v1/die", .group = "b", .optional = true),
        PART("/v1/drip", .group = "c", .optional = true),
    };
    struct rig *r = start(parts, 3, 300);
    check(home(r), 200, NO, "{\"a\":null,\"b\":null,\"c\":null}");
    const char *nowhere = "unix:/nowhere/at/all";
    assert_int_equal(call_engine_endpoints(r->proxy->process.calls, "orders", &nowhere, 1), FICUS_ERR_OK);
    check(home(r), 200, NO, "{\"a\":null,\"b\":null,\"c\":null}");
    rig_free(r);
}

/* Without a part that it needs the answer is the problem that fits, at once, and the others are given up. */
static void test_required(void **state)
{
    static const struct {
        const char *path;
        int status;
    } cases[] = {{"/v1/gone", 404}, {"/v1/many", 429}, {"/v1/broken", 502}, {"/v1/late", 503},    {"/v1/slow", 504},
                 {"/v1/who", 502},  {"/v1/die", 502},  {"/v1/big", 502},    {"/v1/garbage", 502}, {"/v1/empty", 502}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct proxy_part parts[] = {
            PART("/v1/hold", .group = "a", .optional = true),
            PART(cases[i].path, .group = "b"),
        };
        struct rig *r = start(parts, 2, RIG_WAIT_MS * 2); /* longer than the test waits */
        const char *answer = home(r);
        if (status_of(answer) != cases[i].status || strstr(answer, "application/problem+json") == NULL)
            fail_msg("%s: %s", cases[i].path, answer);
        assert_null(strstr(answer, "Ficus-Complete"));
        rig_free(r);
    }
    struct proxy_part parts[] = {PART("/v1/hold", .group = "a")};
    struct rig *r = start(parts, 1, 300);
    assert_int_equal(status_of(home(r)), 504);
    rig_free(r);
}

static bool both_asked(void *arg)
{
    return ((struct rig *)arg)->orders_asked == 2;
}
static bool both_reset(void *arg)
{
    return ((struct rig *)arg)->orders_reset == 2;
}

/* All parts are asked before any has answered; when the client goes, which may only have shut its side, every service
 * hears of it at the route's deadline. */
static void test_client_gone(void **state)
{
    struct proxy_part parts[] = {PART("/v1/hold", .group = "a"), PART("/v1/hold", .group = "b", .optional = true)};
    struct rig *r = start(parts, 2, 300);
    struct client *c = client_new(r);
    const char *text = request_for(r, "GET");
    client_send(c, text, strlen(text));
    rig_wait(r, both_asked, r);
    client_free(c);
    rig_wait(r, both_reset, r);
    rig_free(r);
}

/* Parts near the limit are merged whole. */
static void test_large(void **state)
{
    struct proxy_part parts[] = {
        PART("/v1/large", .group = "a"),
        PART("/v1/large", .group = "b"),
        PART("/v1/large", .group = "c"),
    };
    struct rig *r = start(parts, 3, 20000);
    const char *answer = home(r), *body = strstr(answer, "\r\n\r\n");
    assert_int_equal(status_of(answer), 200);
    assert_int_equal(strlen(body + 4), 3 * (LARGE_SIZE - 1) + strlen("{\"a\":,\"b\":,\"c\":}"));
    assert_non_null(strstr(answer, YES));
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),         cmocka_unit_test(test_request),  cmocka_unit_test(test_optional),
        cmocka_unit_test(test_shape_of_list), cmocka_unit_test(test_required), cmocka_unit_test(test_all_missing),
        cmocka_unit_test(test_client_gone),   cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, answers_init, NULL);
}
