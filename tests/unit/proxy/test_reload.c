/* SPDX-License-Identifier: Apache-2.0
 *
 * A new configuration under a running gateway: what changes, what stays, what is refused, and that nothing is left of
 * the old ones.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#include <malloc.h>

#define HOST "Host: " RIG_HOST "\r\n"
#define REQUEST(line) line " HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"

enum { RELOADS = 1000 };

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

struct outcome {
    bool done;
    struct ficus_error result;
};

static void on_reloaded(void *arg, const struct ficus_error *result)
{
    struct outcome *o = arg;
    o->done = true;
    o->result = *result;
}

static bool is_done(void *arg)
{
    return ((struct outcome *)arg)->done;
}

static struct outcome reload_text(struct rig *r, const char *text)
{
    char path[96];
    struct outcome o = {0};
    (void)snprintf(path, sizeof path, "%s/gateway.json", r->dir);
    file_write(path, text);
    assert_int_equal(proxy_reload(r->proxy, path, on_reloaded, &o), FICUS_ERR_OK);
    rig_wait(r, is_done, &o);
    (void)unlink(path);
    return o;
}

static struct outcome reload(struct rig *r, const struct proxy_config *config)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, 1024 * 1024);
    json_write_init(&w, &text);
    conf_encode(&proxy_config_table, config, &w);
    struct outcome o = reload_text(r, buf_str(&text));
    buf_done(&text);
    return o;
}

/* Routes, hosts and roles of the new file hold for the next request; a request under way ends as it began; keys and the
 * tokens that they have verified are not forgotten; readiness stays. */
static void test_swap(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    struct client *slow = client_new(r);
    static const char hold[] = REQUEST("GET /do/hold");
    client_send(slow, hold, sizeof hold - 1);
    while (r->held == NULL)
        rig_wait(r, is_ready, r);
    unsigned asked = r->keys_asked;
    static const char *const hosts[] = {RIG_HOST, "other.test:80"};
    struct proxy_route routes[2] = {r->routes[2], r->routes[0]};
    struct proxy_config next = r->config;
    routes[1].path = "/renamed/{id}";
    next.routes = routes;
    next.route_count = 2;
    next.hosts = hosts;
    next.host_count = 2;
    assert_int_equal(reload(r, &next).result.code, FICUS_ERR_OK);
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1"))), 404);
    assert_int_equal(status_of(ask(r, REQUEST("GET /renamed/1"))), 202);
    assert_true(has(buf_str(&r->seen), "GET /v1/open/1?"));
    assert_int_equal(status_of(ask(r, "GET /renamed/1 HTTP/1.1\r\nHost: other.test:80\r\nConnection: close\r\n\r\n")), 202);
    char text[4096];
    char *token = token_for(r, "k1", "shop", "\"user\"", 60);
    (void)snprintf(text, sizeof text,
                   "POST /api/v1/orders HTTP/1.1\r\n" HOST
                   "Connection: close\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\n\r\n", token);
    mem_free(token);
    assert_int_equal(status_of(ask(r, text)), 202);
    assert_int_equal(r->keys_asked, asked);

    (void)http_respond(r->held, 200, NULL, 0, "text/plain", SLICE("late"));
    rig_wait(r, client_has_ended, slow);
    assert_int_equal(status_of(buf_str(&slow->got)), 200);
    assert_true(has(buf_str(&slow->got), "\r\n\r\nlate"));
    client_free(slow);
    assert_true(r->proxy->snapshots.next == &r->proxy->current->link && r->proxy->snapshots.prev == r->proxy->snapshots.next);
    rig_free(r);
}

/* Whatever is wrong with the file: its error is told, and the old configuration serves on. */
static void test_refused(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    struct proxy_config next = r->config;
    struct proxy_route routes[2] = {r->routes[0], r->routes[0]};
    static const char *const elsewhere[] = {"tcp:127.0.0.1:1"};
    struct outcome o = reload_text(r, "{\"version\": 1,");
    assert_int_not_equal(o.result.code, FICUS_ERR_OK);
    next.routes = routes;
    next.route_count = 2;
    o = reload(r, &next);
    assert_int_equal(o.result.code, FICUS_ERR_INVALID);
    assert_true(has(o.result.text, "/open/{id}"));
    routes[0] = (struct proxy_route){.method = "", .path = "/f/**", .files = "/nowhere/at/all", .timeout_ms = 1, .body_size_max = 1};
    next.route_count = 1;
    o = reload(r, &next);
    assert_int_not_equal(o.result.code, FICUS_ERR_OK);
    assert_true(has(o.result.text, "/nowhere/at/all"));
    next = r->config;
    next.auth = NULL;
    assert_int_equal(reload(r, &next).result.code, FICUS_ERR_INVALID);
    next = r->config;
    next.listen = elsewhere;
    o = reload(r, &next);
    assert_int_equal(o.result.code, FICUS_ERR_CONFLICT);
    assert_true(has(o.result.text, "listen") && has(o.result.text, "ficus restart gateway"));
    next = r->config;
    next.common.state = "/elsewhere";
    assert_true(has(reload(r, &next).result.text, "state"));
    next = r->config;
    next.common.log_level = "loud";
    assert_true(has(reload(r, &next).result.text, "loud"));
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1"))), 202);
    assert_int_equal(reload(r, &r->config).result.code, FICUS_ERR_OK);
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1"))), 202);
    rig_free(r);
}

static size_t heap(void)
{
    return mallinfo2().uordblks; /* under a sanitizer 0; its own search for leaks takes over there */
}

/* A thousand configurations, each with a route of its own that is used: memory stays flat, and a route that left leaves
 * no series behind. */
static void test_many(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    struct proxy_route routes[2] = {r->routes[2], r->routes[0]};
    struct proxy_config next = r->config;
    char path[32], line[128];
    size_t early = 0;
    next.routes = routes;
    next.route_count = 2;
    for (int i = 0; i < RELOADS; i++) {
        (void)snprintf(path, sizeof path, "/r%04d/{id}", i);
        (void)snprintf(line, sizeof line, "GET /r%04d/1 HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", i);
        routes[1].path = path;
        assert_int_equal(reload(r, &next).result.code, FICUS_ERR_OK);
        assert_int_equal(status_of(ask(r, line)), 202);
        if (i == RELOADS / 10)
            early = heap();
    }
    assert_true(heap() <= early + 16 * 1024);
    struct buf text;
    buf_init(&text, 4 * 1024 * 1024);
    assert_true(metrics_render(r->proxy->process.metrics, &text));
    assert_true(has(buf_str(&text), "route=\"/r0999/{id}\""));
    assert_false(has(buf_str(&text), "route=\"/r0998/{id}\""));
    assert_false(has(buf_str(&text), "route=\"other\""));
    buf_done(&text);
    rig_free(r);
}

/* A gateway that is not ready yet takes a new file all the same: what it refuses changes nothing, what it takes says from then on what
 * readiness needs, and may itself be what makes it ready; it says so once. */
static void test_before_ready(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    gateway_stop(r);
    gateway_start_blind(r);
    struct proxy_config next = r->config;
    struct proxy_route routes[2] = {r->routes[0], r->routes[10]};
    assert_int_equal(routes[1].answer, 404);
    next.routes = routes;
    next.route_count = 1;
    routes[0].path = "/later/{id}";
    assert_int_not_equal(reload_text(r, "{}").result.code, FICUS_ERR_OK);
    assert_int_equal(reload(r, &next).result.code, FICUS_ERR_OK);
    assert_false(r->ready);
    assert_int_equal(status_of(ask(r, REQUEST("GET /later/1"))), 503);
    const char *address = r->orders;
    assert_int_equal(call_engine_endpoints(r->proxy->process.calls, "orders", &address, 1), FICUS_ERR_OK);
    env_timer_start(r->e, &r->proxy->ready_kick, 0); /* what the hub's snapshots do */
    rig_wait(r, is_ready, r);
    assert_int_equal(status_of(ask(r, REQUEST("GET /later/1"))), 202);

    gateway_stop(r);
    gateway_start_blind(r);
    next.routes = &routes[1];
    assert_int_equal(reload(r, &next).result.code, FICUS_ERR_OK);
    assert_true(r->ready);
    r->ready = false;
    assert_int_equal(reload(r, &next).result.code, FICUS_ERR_OK);
    assert_false(r->ready);
    rig_free(r);
}

static void no_work(void *arg)
{
    (void)usleep(1000);
}
static void note_done(void *arg)
{
    *(bool *)arg = true;
}
static bool is_noted(void *arg)
{
    return *(bool *)arg;
}

/* What a worker had to do before is done, and the loop has heard of it. */
static void workers_turn(struct rig *r)
{
    for (int i = 0; i < 20; i++) {
        bool done = false;
        struct env_job job = {.work = no_work, .done = note_done, .arg = &done};
        assert_int_equal(env_run(r->e, &job), FICUS_ERR_OK);
        rig_wait(r, is_noted, &done);
    }
}

/* A stop while a reload runs: neither waits for the other, and nothing is left. */
static void test_stop_meanwhile(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    char path[96];
    struct outcome o = {0};
    (void)snprintf(path, sizeof path, "%s/none.json", r->dir);
    assert_int_equal(proxy_reload(r->proxy, path, on_reloaded, &o), FICUS_ERR_OK);
    assert_int_equal(proxy_reload(r->proxy, path, on_reloaded, &o), FICUS_ERR_BUSY);
    gateway_stop(r);
    workers_turn(r);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_swap), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_many), cmocka_unit_test(test_before_ready),
                                       cmocka_unit_test(test_stop_meanwhile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
