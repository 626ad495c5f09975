/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators may ask the gateway.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#include "json.h"

#define HOST "Host: " RIG_HOST "\r\n"
#define REQUEST(line) line " HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"
#define TRACE "0af7651916cd43dd8448eb211c80319c"

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* A rig whose gateway has the socket; *ret_admin: its address. */
static struct rig *admin_rig(char admin[80])
{
    struct rig *r = rig_new(false);
    gateway_stop(r);
    (void)snprintf(admin, 80, "unix:%s/admin", r->dir);
    r->config.admin = admin;
    (void)unlink(r->front + 5);
    return r;
}

static const char *ask_at(struct rig *r, const char *address, const char *text)
{
    char front[80];
    memcpy(front, r->front, sizeof front);
    (void)snprintf(r->front, sizeof r->front, "%s", address);
    const char *answer = ask(r, text);
    memcpy(r->front, front, sizeof front);
    return answer;
}

static const struct json *document(struct arena *a, const char *answer)
{
    struct json *root = NULL;
    assert_int_equal(status_of(answer), 200);
    assert_true(has(answer, "Content-Type: application/json\r\n"));
    assert_int_equal(json_parse(a, slice_str(strstr(answer, "\r\n\r\n") + 4), NULL, &root, NULL), FICUS_ERR_OK);
    return root;
}

static bool text_is(const struct json *object, const char *key, const char *wanted)
{
    return slice_eq_str(json_string_or(json_get(object, key), SLICE_NONE), wanted);
}

static bool orders_is_held(void *arg)
{
    return ((struct rig *)arg)->held != NULL;
}

/* The table of /clusters in docs/gateway.md has each member of this text. */
static void check_documented(struct rig *r, struct arena *a, const char *text)
{
    struct slice doc, here = SLICE(__FILE__);
    char *path = arena_printf(a, SLICE_FMT "docs/gateway.md", (int)(here.size - strlen("tests/unit/proxy/test_admin.c")), here.p);
    assert_int_equal(env_file_load(r->e, a, path, 256 * 1024, &doc, NULL), FICUS_ERR_OK);
    const char *table = strstr(arena_strdup(a, doc), "\nA service of `/clusters`:\n");
    assert_non_null(table);
    *strstr(strchr(table, '|'), "\n\n") = '\0';
    for (const char *end; (end = strstr(text, "\":")) != NULL; text = end + 2) {
        const char *begin = end;
        while (begin[-1] != '"')
            begin--;
        char *word = arena_printf(a, "`%.*s`", (int)(end - begin), begin);
        if (!has(table, word))
            fail_msg("docs/gateway.md has no %s of /clusters", word);
    }
}

/* Who is called, and how that goes: what the engine itself knows. */
static void test_clusters(void **state)
{
    (void)state;
    static struct call_policy_bulkhead places = {.concurrency = 7};
    static const char hold[] = REQUEST("GET /do/hold");
    char admin[80];
    struct arena a;
    struct rig *r = admin_rig(admin);
    arena_init(&a, 16 * 1024 * 1024);
    r->edges[0].policy.bulkhead = &places;
    gateway_start(r);
    rig_wait(r, is_ready, r);
    struct client *held = client_new(r);
    client_send(held, hold, sizeof hold - 1);
    rig_wait(r, orders_is_held, r);
    const char *answer = ask_at(r, admin, REQUEST("GET /clusters"));
    const struct json *clusters = document(&a, answer), *orders = NULL;
    assert_int_equal(clusters->count, 3);
    for (size_t i = 0; i < clusters->count; i++)
        if (text_is(json_at(clusters, i), "callee", "orders"))
            orders = json_at(clusters, i);
    const struct json *address = json_at(json_get(orders, "addresses"), 0);
    assert_true(text_is(orders, "breaker", "closed") && text_is(address, "address", r->orders));
    assert_int_equal(json_i64_or(json_get(json_get(orders, "bulkhead"), "limit"), 0), 7);
    assert_int_equal(json_i64_or(json_get(json_get(orders, "bulkhead"), "running"), 0), 1);
    assert_int_equal(json_i64_or(json_get(address, "outstanding"), 0), 1);
    check_documented(r, &a, strstr(answer, "\r\n\r\n"));
    client_free(held);
    arena_done(&a);
    (void)unlink(admin + 5);
    rig_free(r);
}

/* Readiness, configuration, routes, callees; nothing else, and nothing but reading. */
static void test_documents(void **state)
{
    (void)state;
    char admin[80];
    struct arena a;
    struct rig *r = admin_rig(admin);
    arena_init(&a, 16 * 1024 * 1024);
    gateway_start_blind(r);
    const char *answer = ask_at(r, admin, REQUEST("GET /ready"));
    assert_int_equal(status_of(answer), 503);
    assert_true(has(answer, "{\"ready\":false,\"stopping\":false}"));
    gateway_stop(r);
    (void)unlink(admin + 5);
    (void)unlink(r->front + 5);
    gateway_start(r);
    rig_wait(r, is_ready, r);
    assert_true(has(ask_at(r, admin, REQUEST("GET /ready")), "{\"ready\":true,\"stopping\":false}"));

    const struct json *config = document(&a, ask_at(r, admin, REQUEST("GET /config")));
    assert_true(text_is(config, "process", "gateway") && text_is(config, "admin", admin));
    assert_int_equal(json_get(config, "routes")->count, r->config.route_count);

    const struct json *routes = document(&a, ask_at(r, admin, REQUEST("GET /routes")));
    assert_int_equal(routes->count, r->config.route_count);
    assert_true(text_is(json_at(routes, 2), "path", "/api/v1/orders") && text_is(json_at(routes, 2), "auth", "required"));
    assert_true(text_is(json_get(json_at(routes, 2), "to"), "target", "/v1/orders"));
    assert_int_equal(json_i64_or(json_get(json_get(json_at(routes, routes->count - 1), "to"), "answer"), 0), 404);

    const struct json *clusters = document(&a, ask_at(r, admin, REQUEST("GET /clusters")));
    assert_int_equal(clusters->count, 3);

    assert_int_equal(status_of(ask_at(r, admin, REQUEST("GET /open/1"))), 404);
    assert_int_equal(status_of(ask_at(r, admin, REQUEST("DELETE /config"))), 405);
    assert_int_equal(status_of(ask(r, REQUEST("GET /config"))), 404); /* clients have none of it */
    arena_done(&a);
    (void)unlink(admin + 5);
    rig_free(r);
}

/* Metrics as text, and as OpenMetrics with the trace of the latest request in each bucket. */
static void test_stats(void **state)
{
    (void)state;
    char admin[80];
    struct rig *r = admin_rig(admin);
    gateway_start(r);
    rig_wait(r, is_ready, r);
    assert_int_equal(status_of(ask(r, "GET /open/1 HTTP/1.1\r\n" HOST "Connection: close\r\ntraceparent: 00-" TRACE
                                      "-b7ad6b7169203331-01\r\n\r\n")), 202);
    const char *text = ask_at(r, admin, REQUEST("GET /stats"));
    assert_true(has(text, "Content-Type: text/plain; version=0.0.4"));
    assert_true(has(text, "gateway_requests_total{route=\"/open/{id}\",status=\"202\"} 1\n"));
    assert_true(has(text, "gateway_added_seconds_count 1\n"));
    assert_true(has(text, "gateway_upstream_seconds_count{route=\"/open/{id}\"} 1\n"));
    assert_true(has(text, "call_requests_total{callee=\"orders\""));
    assert_false(has(text, TRACE));
    text = ask_at(r, admin, "GET /stats HTTP/1.1\r\n" HOST "Connection: close\r\nAccept: text/html, "
                            "application/openmetrics-text;version=1.0.0;q=0.5\r\n\r\n");
    assert_true(has(text, "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_true(has(text, "# TYPE gateway_requests counter\ngateway_requests_total{"));
    assert_true(has(text, " 1 # {trace_id=\"" TRACE "\"} 0."));
    assert_true(strcmp(text + strlen(text) - 6, "# EOF\n") == 0);
    (void)unlink(admin + 5);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_documents), cmocka_unit_test(test_clusters), cmocka_unit_test(test_stats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
