/* SPDX-License-Identifier: Apache-2.0
 *
 * The rig of the gateway's tests in virtual time: the gateway, its services ("orders", whose behaviour is the path, and
 * "identity", which shows keys) and its clients in one gentle world of the simulator.
 */
#ifndef FICUS_TESTS_VIRTUAL_RIG_H
#define FICUS_TESTS_VIRTUAL_RIG_H

#include "crash_env.h"
#include "http_client.h"
#include "mem.h"
#include "proxy_private.h"
#include "websocket.h"

#include <stdio.h>

enum { TIMEOUT_MS = 5000, COMMENT_MS = 15000, HOUR_MS = 3600 * 1000 };

struct page {
    struct rig *rig;
    struct http_client_conn *conn;
    struct http_stream *stream;
    struct http_msg m;
    struct http_field host;
    const char *path, *token; /* token: NULL, or behind "Bearer " */
    const struct http_field *fields; /* of a WebSocket's handshake */
    size_t field_count;
    int status;
    bool begun, ended, done, broken, closed; /* ended: the answer did */
    size_t bytes;
    char tail[16]; /* of the body */
};

struct rig {
    struct sim_disk *disk;
    struct crash_env *ce;
    struct env *e;
    struct process_edge edges[3];
    struct proxy_route routes[3];
    struct proxy_auth auth;
    struct proxy_config config;
    struct proxy_options options;
    struct proxy *proxy;
    struct http_server *service, *identity;
    struct http_stream *events; /* the one open stream at the service */
    struct env_timer comment;
    bool speaks, stopped, closed[2];
    const char *accept;       /* that the service sends instead of the right one */
    size_t tunnel_bytes;      /* that came to the service */
    bool tunnel_ended, tunnel_done; /* the client's side; both */
    bool lingers;                   /* the service does not end its side when the client has */
    unsigned service_resets;
    const char *kids[2]; /* of the keys that identity shows, all the same one; NULL: none */
    unsigned keys_asked;
    bool identity_down;
};

/* ---- the service ---- */

static inline void service_done(void *arg, struct http_stream *s)
{
    struct rig *r = arg;
    r->events = r->events == s ? NULL : r->events;
}

static inline void service_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct rig *r = arg;
    r->service_resets++;
    service_done(arg, s);
}

static const struct http_handler service_handler = {.on_done = service_done, .on_reset = service_reset};

static inline void tunnel_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct rig *r = arg;
    r->tunnel_bytes += data.size;
    r->tunnel_ended = end;
    if (!end)
        http_recv(s);
    else if (!r->lingers)
        (void)http_send(s, "", 0, true);
}

static inline void tunnel_done(void *arg, struct http_stream *s)
{
    ((struct rig *)arg)->tunnel_done = true;
    service_done(arg, s);
}

static const struct http_handler tunnel_handler = {
    .on_data = tunnel_data, .on_done = tunnel_done, .on_reset = service_reset};

static inline void service_tunnel(struct rig *r, struct http_stream *s)
{
    char accept[WEBSOCKET_ACCEPT_SIZE];
    struct http_msg m;
    http_stream_handle(s, &tunnel_handler, r);
    r->events = s;
    r->tunnel_ended = r->tunnel_done = false;
    http_msg_init(&m, s->arena);
    m.status = 101;
    assert_true(slice_eq_str(s->head_in->protocol, "websocket"));
    assert_true(slice_eq_str(http_msg_get(s->head_in, "sec-websocket-protocol"), "chat"));
    assert_true(websocket_accept(http_msg_get(s->head_in, "sec-websocket-key"), accept));
    assert_true(http_msg_add(&m, SLICE("Sec-WebSocket-Accept"), slice_str(r->accept != NULL ? r->accept : accept)));
    assert_true(http_msg_add(&m, SLICE("Sec-WebSocket-Protocol"), SLICE("chat")));
    assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
    http_recv(s);
}

static inline void comment(void *arg)
{
    struct rig *r = arg;
    if (r->events == NULL || !r->speaks)
        return;
    assert_int_equal(http_send(r->events, ":\n\n", 3, false), 3);
    env_timer_start(r->e, &r->comment, COMMENT_MS);
}

static inline void service_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct rig *r = arg;
    struct http_msg m;
    http_stream_handle(s, &service_handler, r);
    if (slice_eq_str(s->head_in->path, "/v1/short")) {
        (void)http_respond(s, 200, NULL, 0, "text/plain", SLICE("short"));
        return;
    }
    if (slice_eq_str(s->head_in->path, "/v1/socket") && s->head_in->protocol.p != NULL) {
        service_tunnel(r, s);
        return;
    }
    r->events = s;
    if (slice_eq_str(s->head_in->path, "/v1/mute"))
        return;
    bool events = !slice_eq_str(s->head_in->path, "/v1/download");
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = -1;
    assert_true(http_msg_add(&m, SLICE("Content-Type"),
                             events ? SLICE("Text/Event-Stream; charset=utf-8") : SLICE("text/csv")));
    assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
    r->comment = (struct env_timer){.fn = comment, .arg = r};
    comment(r);
}

#define RIG_EC                                                                                                         \
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_" \
    "tue659LNpXW6pCyStikYjKIWI5a0\""

static inline void identity_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct rig *r = arg;
    char text[1024] = "{\"keys\":[";
    http_stream_handle(s, &service_handler, r);
    r->keys_asked++;
    for (size_t i = 0; i < 2 && r->kids[i] != NULL; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s{" RIG_EC ",\"kid\":\"%s\",\"use\":\"sig\"}",
                       i == 0 ? "" : ",", r->kids[i]);
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "]}");
    if (r->identity_down)
        (void)http_respond_problem(s, 503, NULL, "down");
    else
        (void)http_respond(s, 200, NULL, 0, "application/json", slice_str(text));
}

/* ---- a client ---- */

static inline void page_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct page *p = arg;
    p->status = m->status;
    if (!end)
        http_recv(s);
}

static inline void page_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct page *p = arg;
    size_t size = data.size < sizeof p->tail - 1 ? data.size : sizeof p->tail - 1;
    p->bytes += data.size;
    p->ended = end;
    if (size > 0) {
        memcpy(p->tail, data.p + data.size - size, size);
        p->tail[size] = '\0';
    }
    if (!end)
        http_recv(s);
}

static inline void page_done(void *arg, struct http_stream *s)
{
    ((struct page *)arg)->done = true;
}

static inline void page_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    ((struct page *)arg)->broken = true;
}

static const struct http_handler page_handler = {
    .on_head = page_head, .on_data = page_data, .on_done = page_done, .on_reset = page_reset};

static inline void page_connected(void *arg, struct http_client_conn *c, enum ficus_err err)
{
    struct page *p = arg;
    assert_int_equal(err, FICUS_ERR_OK);
    assert_int_equal(http_client_open(c, &page_handler, p, &p->stream), FICUS_ERR_OK);
    http_msg_init(&p->m, p->stream->arena);
    p->m.method = SLICE("GET");
    p->m.authority = SLICE("shop.test");
    p->m.path = slice_str(p->path);
    if (p->token != NULL)
        assert_true(http_msg_add(&p->m, SLICE("Authorization"), slice_str(p->token)));
    if (p->fields != NULL)
        p->m.protocol = SLICE("websocket");
    for (size_t i = 0; i < p->field_count; i++)
        assert_true(http_msg_add(&p->m, p->fields[i].name, p->fields[i].value));
    assert_int_equal(http_send_head(p->stream, &p->m, true), FICUS_ERR_OK);
    p->begun = true;
}

static inline void page_idle(void *arg, struct http_client_conn *c) {}

static inline void page_closed(void *arg, struct http_client_conn *c)
{
    ((struct page *)arg)->closed = true;
}

static inline void page_connect(struct rig *r, struct page *p)
{
    static const struct http_client_handler handler = {page_connected, page_idle, page_closed};
    static const struct http_limits limits = {.body_timeout_ms = -1};
    p->rig = r;
    assert_int_equal(http_client_connect(r->e, "unix:/t/front", &limits, &handler, p, &p->conn), FICUS_ERR_OK);
    crash_env_run_ms(r->ce, 50);
    assert_true(p->begun);
}

static inline void page_open_as(struct rig *r, struct page *p, const char *path, const char *token)
{
    *p = (struct page){.path = path, .token = token};
    page_connect(r, p);
}

static inline void page_open(struct rig *r, struct page *p, const char *path)
{
    page_open_as(r, p, path, NULL);
}

static inline void page_close(struct rig *r, struct page *p)
{
    if (!p->closed)
        http_client_close(p->conn);
    crash_env_run_ms(r->ce, 50);
    assert_true(p->closed);
}

/* ---- all together ---- */

static inline void put_file(struct sim_disk *d, const char *path, const char *text)
{
    struct sim_file *f = NULL;
    assert_int_equal(sim_disk_open(d, path, ENV_OPEN_CREATE, &f), FICUS_ERR_OK);
    assert_int_equal(sim_file_write(f, text, strlen(text), 0), FICUS_ERR_OK);
    sim_file_close(f);
}

static inline struct rig *rig_new_for(size_t conn_count_max)
{
    static const char *const listen[] = {"unix:/t/front"}, *const hosts[] = {"shop.test"};
    static const char *const addresses[] = {"unix:/t/orders", "unix:/t/identity"};
    struct ficus_error error = {0};
    struct rig *r = mem_zalloc(sizeof *r);
    r->disk = sim_disk_new();
    put_file(r->disk, "/t/system.key", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
    r->ce = crash_env_new(r->disk, 1);
    r->e = crash_env(r->ce);
    r->speaks = true;
    r->options.conn_count_max = conn_count_max;
    r->edges[0] = (struct process_edge){"orders", call_policy_default()};
    r->edges[1] = (struct process_edge){"hub", call_policy_default()};
    r->edges[2] = (struct process_edge){"identity", call_policy_default()};
    r->edges[2].policy.breaker.enabled = false;
    r->kids[0] = "k1";
    r->auth = (struct proxy_auth){"identity", "/jwks", "shop", ""};
    r->edges[0].policy.retry.attempts = 1;
    r->routes[0] = (struct proxy_route){.method = "", .path = "/x/**", .service = "orders", .target = "/v1/**",
                                        .timeout_ms = TIMEOUT_MS, .body_size_max = 1024};
    r->routes[0].websocket = true;
    r->routes[1] = (struct proxy_route){.method = "", .path = "/long/**", .service = "orders", .target = "/v1/**",
                                        .timeout_ms = 4 * PROXY_STREAM_SILENCE_MS, .body_size_max = 1024};
    r->routes[2] = (struct proxy_route){.method = "", .path = "/mine/**", .service = "orders", .target = "/v1/**",
                                        .auth = PROXY_AUTH_REQUIRED, .timeout_ms = TIMEOUT_MS, .body_size_max = 1024};
    r->config = (struct proxy_config){
        .common = {.version = 1, .system = "t", .process = "gateway", .instance = 1, .state = "/t",
                   .key_file = "/t/system.key", .log_level = "error", .hub = "unix:/t/hub", .snapshot_file = "",
                   .edges = r->edges, .edge_count = 3},
        .threads = 1, .listen = listen, .listen_count = 1, .admin = "", .hosts = hosts, .host_count = 1, .timeout_ms = TIMEOUT_MS,
        .routes = r->routes, .route_count = 3, .auth = &r->auth};
    struct http_server_options o = {.on_request = service_request, .arg = r};
    assert_int_equal(http_server_new(r->e, &o, &r->service), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(r->service, addresses[0], NULL, &error), FICUS_ERR_OK);
    o.on_request = identity_request;
    assert_int_equal(http_server_new(r->e, &o, &r->identity), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(r->identity, addresses[1], NULL, &error), FICUS_ERR_OK);
    if (proxy_start(r->e, &r->config, &r->options, &r->proxy, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    assert_int_equal(call_engine_endpoints(r->proxy->process.calls, "orders", &addresses[0], 1), FICUS_ERR_OK);
    assert_int_equal(call_engine_endpoints(r->proxy->process.calls, "identity", &addresses[1], 1), FICUS_ERR_OK);
    crash_env_run_ms(r->ce, 2000); /* the keys come */
    return r;
}

static inline struct rig *rig_new(void)
{
    return rig_new_for(0);
}

static inline void set_true(void *arg)
{
    *(bool *)arg = true;
}

static inline void rig_free(struct rig *r)
{
    if (!r->stopped)
        proxy_stop(r->proxy, set_true, &r->stopped);
    crash_env_run_ms(r->ce, 1000);
    assert_true(r->stopped); /* no stream makes it wait for its drain limit */
    env_timer_stop(r->e, &r->comment);
    http_server_close(r->service, set_true, &r->closed[0]);
    http_server_close(r->identity, set_true, &r->closed[1]);
    crash_env_run_ms(r->ce, 1000);
    assert_true(r->closed[0] && r->closed[1]);
    crash_env_free(r->ce);
    sim_disk_free(r->disk);
    mem_free(r);
}

#endif
