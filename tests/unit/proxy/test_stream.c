/* SPDX-License-Identifier: Apache-2.0
 *
 * Event streams through the gateway, in virtual time: they outlive every deadline while their service speaks, and end
 * when it ends, breaks or falls silent, when the client goes, and when the gateway stops.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "http_client.h"
#include "mem.h"
#include "proxy_private.h"

#include <stdio.h>

enum { TIMEOUT_MS = 5000, COMMENT_MS = 15000, HOUR_MS = 3600 * 1000 };

struct page {
    struct rig *rig;
    struct http_client_conn *conn;
    struct http_stream *stream;
    struct http_msg m;
    struct http_field host;
    const char *path;
    int status;
    bool begun, done, broken, closed;
    size_t bytes;
    char tail[16]; /* of the body */
};

struct rig {
    struct sim_disk *disk;
    struct crash_env *ce;
    struct env *e;
    struct process_edge edges[2];
    struct proxy_route routes[2];
    struct proxy_config config;
    struct proxy *proxy;
    struct http_server *service;
    struct http_stream *events; /* the one open stream at the service */
    struct env_timer comment;
    bool speaks, stopped, service_closed;
    unsigned service_resets;
};

/* ---- the service ---- */

static void service_done(void *arg, struct http_stream *s)
{
    struct rig *r = arg;
    r->events = r->events == s ? NULL : r->events;
}

static void service_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct rig *r = arg;
    r->service_resets++;
    service_done(arg, s);
}

static const struct http_handler service_handler = {.on_done = service_done, .on_reset = service_reset};

static void comment(void *arg)
{
    struct rig *r = arg;
    if (r->events == NULL || !r->speaks)
        return;
    assert_int_equal(http_send(r->events, ":\n\n", 3, false), 3);
    env_timer_start(r->e, &r->comment, COMMENT_MS);
}

static void service_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct rig *r = arg;
    struct http_msg m;
    http_stream_handle(s, &service_handler, r);
    if (slice_eq_str(s->head_in->path, "/v1/short")) {
        (void)http_respond(s, 200, NULL, 0, "text/plain", SLICE("short"));
        return;
    }
    r->events = s;
    if (slice_eq_str(s->head_in->path, "/v1/mute"))
        return;
    bool events = !slice_eq_str(s->head_in->path, "/v1/download");
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = -1;
    assert_true(http_msg_add(&m, SLICE("Content-Type"), events ? SLICE("Text/Event-Stream; charset=utf-8") : SLICE("text/csv")));
    assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
    r->comment = (struct env_timer){.fn = comment, .arg = r};
    comment(r);
}

/* ---- a client ---- */

static void page_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct page *p = arg;
    p->status = m->status;
    if (!end)
        http_recv(s);
}

static void page_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct page *p = arg;
    size_t size = data.size < sizeof p->tail - 1 ? data.size : sizeof p->tail - 1;
    p->bytes += data.size;
    if (size > 0) {
        memcpy(p->tail, data.p + data.size - size, size);
        p->tail[size] = '\0';
    }
    if (!end)
        http_recv(s);
}

static void page_done(void *arg, struct http_stream *s)
{
    ((struct page *)arg)->done = true;
}

static void page_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    ((struct page *)arg)->broken = true;
}

static const struct http_handler page_handler = {
    .on_head = page_head, .on_data = page_data, .on_done = page_done, .on_reset = page_reset};

static void page_connected(void *arg, struct http_client_conn *c, enum ficus_err err)
{
    struct page *p = arg;
    assert_int_equal(err, FICUS_ERR_OK);
    assert_int_equal(http_client_open(c, &page_handler, p, &p->stream), FICUS_ERR_OK);
    http_msg_init(&p->m, p->stream->arena);
    p->m.method = SLICE("GET");
    p->m.authority = SLICE("shop.test");
    p->m.path = slice_str(p->path);
    assert_int_equal(http_send_head(p->stream, &p->m, true), FICUS_ERR_OK);
    p->begun = true;
}

static void page_idle(void *arg, struct http_client_conn *c) {}

static void page_closed(void *arg, struct http_client_conn *c)
{
    ((struct page *)arg)->closed = true;
}

static void page_open(struct rig *r, struct page *p, const char *path)
{
    static const struct http_client_handler handler = {page_connected, page_idle, page_closed};
    static const struct http_limits limits = {.body_timeout_ms = -1};
    *p = (struct page){.rig = r, .path = path};
    assert_int_equal(http_client_connect(r->e, "unix:/t/front", &limits, &handler, p, &p->conn), FICUS_ERR_OK);
    crash_env_run_ms(r->ce, 50);
    assert_true(p->begun);
}

static void page_close(struct rig *r, struct page *p)
{
    if (!p->closed)
        http_client_close(p->conn);
    crash_env_run_ms(r->ce, 50);
    assert_true(p->closed);
}

/* ---- all together ---- */

static void put_file(struct sim_disk *d, const char *path, const char *text)
{
    struct sim_file *f = NULL;
    assert_int_equal(sim_disk_open(d, path, ENV_OPEN_CREATE, &f), FICUS_ERR_OK);
    assert_int_equal(sim_file_write(f, text, strlen(text), 0), FICUS_ERR_OK);
    sim_file_close(f);
}

static struct rig *rig_new(void)
{
    static const char *const listen[] = {"unix:/t/front"}, *const hosts[] = {"shop.test"};
    static const char service_address[] = "unix:/t/orders";
    struct ficus_error error = {0};
    struct rig *r = mem_zalloc(sizeof *r);
    r->disk = sim_disk_new();
    put_file(r->disk, "/t/system.key", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
    r->ce = crash_env_new(r->disk, 1);
    r->e = crash_env(r->ce);
    r->speaks = true;
    r->edges[0] = (struct process_edge){"orders", call_policy_default()};
    r->edges[1] = (struct process_edge){"hub", call_policy_default()};
    r->edges[0].policy.retry.attempts = 1;
    r->routes[0] = (struct proxy_route){.method = "", .path = "/x/**", .service = "orders", .target = "/v1/**",
                                        .timeout_ms = TIMEOUT_MS, .body_size_max = 1024};
    r->routes[1] = (struct proxy_route){.method = "", .path = "/long/**", .service = "orders", .target = "/v1/**",
                                        .timeout_ms = 4 * PROXY_STREAM_SILENCE_MS, .body_size_max = 1024};
    r->config = (struct proxy_config){
        .common = {.version = 1, .system = "t", .process = "gateway", .instance = 1, .state = "/t",
                   .key_file = "/t/system.key", .log_level = "error", .hub = "unix:/t/hub", .snapshot_file = "",
                   .edges = r->edges, .edge_count = 2},
        .listen = listen, .listen_count = 1, .hosts = hosts, .host_count = 1, .timeout_ms = TIMEOUT_MS,
        .routes = r->routes, .route_count = 2};
    struct http_server_options o = {.on_request = service_request, .arg = r};
    assert_int_equal(http_server_new(r->e, &o, &r->service), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(r->service, service_address, &error), FICUS_ERR_OK);
    if (proxy_start(r->e, &r->config, NULL, &r->proxy, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    const char *address = service_address;
    assert_int_equal(call_engine_endpoints(r->proxy->process.calls, "orders", &address, 1), FICUS_ERR_OK);
    return r;
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

static void rig_free(struct rig *r)
{
    if (!r->stopped)
        proxy_stop(r->proxy, set_true, &r->stopped);
    crash_env_run_ms(r->ce, 1000);
    assert_true(r->stopped); /* no stream makes it wait for its drain limit */
    env_timer_stop(r->e, &r->comment);
    http_server_close(r->service, set_true, &r->service_closed);
    crash_env_run_ms(r->ce, 1000);
    assert_true(r->service_closed);
    crash_env_free(r->ce);
    sim_disk_free(r->disk);
    mem_free(r);
}

/* ---- tests ---- */

/* A comment every 15 s keeps a stream for hours, whatever the route's timeout; requests go on beside it; and its
 * service's end is its end. */
static void test_long(void **state)
{
    struct rig *r = rig_new();
    struct page p, other;
    page_open(r, &p, "/x/events");
    for (int hour = 0; hour < 3; hour++) {
        crash_env_run_ms(r->ce, HOUR_MS);
        assert_true(p.status == 200 && !p.done && !p.broken);
        page_open(r, &other, "/x/short");
        assert_true(other.done && other.status == 200);
        page_close(r, &other);
    }
    assert_in_range(p.bytes / 3, 3 * HOUR_MS / COMMENT_MS, 3 * HOUR_MS / COMMENT_MS + 2);
    r->speaks = false;
    assert_int_equal(http_send(r->events, "last\n\n", 6, true), 6);
    crash_env_run_ms(r->ce, 50);
    assert_true(p.done && strcmp(p.tail, "last\n\n") == 0);
    page_close(r, &p);
    rig_free(r);
}

/* The timeout holds until the head has come, and for every other answer until its end. */
static void test_timeout(void **state)
{
    struct rig *r = rig_new();
    struct page p;
    page_open(r, &p, "/x/mute");
    crash_env_run_ms(r->ce, TIMEOUT_MS);
    assert_true(p.done && p.status == 504);
    page_close(r, &p);
    page_open(r, &p, "/x/download");
    crash_env_run_ms(r->ce, TIMEOUT_MS);
    assert_true(p.status == 200 && p.broken);
    page_close(r, &p);
    rig_free(r);
}

/* A silent service is given up after PROXY_STREAM_SILENCE_MS, or after the route's timeout when that is longer. */
static void test_silence(void **state)
{
    static const struct {
        const char *path;
        int64_t ms;
    } cases[] = {{"/x/events", PROXY_STREAM_SILENCE_MS}, {"/long/events", 4 * PROXY_STREAM_SILENCE_MS}};
    struct rig *r = rig_new();
    struct page p;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        r->speaks = true;
        page_open(r, &p, cases[i].path);
        crash_env_run_ms(r->ce, HOUR_MS);
        r->speaks = false;
        crash_env_run_ms(r->ce, cases[i].ms - COMMENT_MS - 1000);
        assert_false(p.broken || p.done);
        crash_env_run_ms(r->ce, COMMENT_MS + 2000);
        assert_true(p.broken && r->events == NULL);
        page_close(r, &p);
    }
    rig_free(r);
}

/* When the service dies the client hears of it at once, and when the client goes the service does. */
static void test_broken(void **state)
{
    struct rig *r = rig_new();
    struct page p;
    page_open(r, &p, "/x/events");
    struct http_stream *s = r->events;
    r->events = NULL;
    http_reset(s, FICUS_ERR_RESET);
    crash_env_run_ms(r->ce, 50);
    assert_true(p.status == 200 && p.broken && !p.done);
    page_close(r, &p);

    page_open(r, &p, "/x/events");
    assert_non_null(r->events);
    unsigned before = r->service_resets;
    page_close(r, &p);
    assert_int_equal(r->service_resets, before + 1);
    rig_free(r);
}

/* A gateway that stops ends its streams in order and at once: their clients come back elsewhere. One whose head comes
 * while it stops ends as well. */
static void test_stop(void **state)
{
    struct rig *r = rig_new();
    struct page p, late;
    page_open(r, &p, "/x/events");
    page_open(r, &late, "/x/mute");
    struct http_stream *s = r->events;
    proxy_stop(r->proxy, set_true, &r->stopped);
    crash_env_run_ms(r->ce, 50);
    assert_true(p.done && !p.broken);
    assert_false(late.done || r->stopped);
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = -1;
    assert_true(http_msg_add(&m, SLICE("Content-Type"), SLICE("text/event-stream")));
    assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
    crash_env_run_ms(r->ce, 1000);
    assert_true(late.done && late.status == 200 && r->stopped);
    page_close(r, &p);
    page_close(r, &late);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long),   cmocka_unit_test(test_timeout), cmocka_unit_test(test_silence),
        cmocka_unit_test(test_broken), cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
