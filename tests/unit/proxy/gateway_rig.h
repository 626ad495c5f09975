/* SPDX-License-Identifier: Apache-2.0
 *
 * The rig of the gateway's tests: the product's env on unix sockets in a private folder, two fake services behind the
 * real gateway ("orders", whose behaviour is the path, and "identity" with its keys), and raw clients that speak bytes.
 */
#ifndef FICUS_TESTS_GATEWAY_RIG_H
#define FICUS_TESTS_GATEWAY_RIG_H

#include "io_env.h"
#include "mem.h"
#include "proxy_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RIG_EC                                                                                                       \
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_" \
    "tue659LNpXW6pCyStikYjKIWI5a0\""
#define RIG_EC_PRIVATE "{" RIG_EC ",\"d\":\"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI\"}"
#define RIG_HOST "shop.test:80"

enum { RIG_WAIT_MS = 30000, RIG_BIG_SIZE = 3 * 1000 * 1000 };

/* What orders answers under a path. */
struct rig_answer {
    const char *path;
    int status;
    const char *body;
};

struct rig {
    struct env *e;
    char dir[48], orders[80], identity[80], front[80], key_file[80], keys_file[80], hub[80];
    struct process_edge edges[3];
    const char *listen[1], *hosts[1], *admin[1];
    struct proxy_auth auth;
    struct proxy_route routes[24];
    struct proxy_config config;
    struct proxy *proxy;
    struct http_server *orders_server, *identity_server;
    bool identity_down, proxy_stopped, ready;
    struct proxy_usage usage; /* that the gateway is told; all 0: it is not asked */
    unsigned memory_asked;    /* back by the gateway, so often */
    const char *kid; /* of the key that identity shows */
    unsigned keys_asked, services_closed;
    /* what orders saw last */
    struct buf seen;
    unsigned orders_asked, orders_reset;
    size_t orders_received, orders_sent;
    struct http_stream *held;
    const struct rig_answer *answers; /* go before the ways below */
    size_t answer_count;
    struct env_timer drip; /* a byte to held, again and again */
    /* waiting */
    struct env_timer poll;
    bool (*until)(void *arg);
    void *until_arg;
    int64_t give_up_ms;
    bool timed_out;
};

/* ---- waiting ---- */

static inline void rig_poll(void *arg)
{
    struct rig *r = arg;
    r->timed_out = env_now_ms(r->e) > r->give_up_ms;
    if (r->until(r->until_arg) || r->timed_out)
        env_uv_stop(r->e);
    else
        env_timer_start(r->e, &r->poll, 1);
}

static inline void rig_wait(struct rig *r, bool (*until)(void *arg), void *arg)
{
    r->until = until;
    r->until_arg = arg;
    r->give_up_ms = env_now_ms(r->e) + RIG_WAIT_MS;
    r->poll = (struct env_timer){.fn = rig_poll, .arg = r};
    env_timer_start(r->e, &r->poll, 0);
    env_uv_run(r->e);
    env_timer_stop(r->e, &r->poll);
    assert_false(r->timed_out);
}

/* ---- fake services ---- */

struct service_exchange {
    struct rig *rig;
    struct http_collect collect;
    bool collecting, counting;
    size_t left;
    struct slice page; /* what is sent; none: many x */
};

static inline void service_free(struct service_exchange *x)
{
    if (x->collecting)
        http_collect_done(&x->collect);
    mem_free(x);
}

static inline void big_send(struct service_exchange *x, struct http_stream *s)
{
    static const char page[16384] = {'x'};
    while (x->page.size > 0) {
        size_t taken = http_send(s, x->page.p, x->page.size, true);
        if (taken < x->page.size && taken == 0)
            return;
        x->page = slice_from(x->page, taken);
    }
    while (x->left > 0) {
        size_t size = x->left < sizeof page ? x->left : sizeof page, taken = http_send(s, page, size, x->left == size);
        x->left -= taken;
        x->rig->orders_sent += taken;
        if (taken < size)
            return;
    }
}

static inline void service_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct service_exchange *x = arg;
    x->rig->orders_received += data.size;
    char text[32];
    if (!end) {
        http_recv(s);
        return;
    }
    (void)snprintf(text, sizeof text, "%zu", x->rig->orders_received);
    (void)http_respond(s, 200, NULL, 0, "text/plain", slice_str(text));
}
static inline void service_writable(void *arg, struct http_stream *s)
{
    big_send(arg, s);
}
static inline void service_done(void *arg, struct http_stream *s)
{
    service_free(arg);
}
static inline void service_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct service_exchange *x = arg;
    x->rig->orders_reset++;
    if (x->rig->held == s) {
        x->rig->held = NULL;
        env_timer_stop(x->rig->e, &x->rig->drip);
    }
    service_free(x);
}
static const struct http_handler service_handler = {
    .on_data = service_data, .on_writable = service_writable, .on_done = service_done, .on_reset = service_reset};

/* Everything that a service sees, as text. */
static inline void note_request(struct rig *r, const struct http_msg *m, struct slice body)
{
    buf_clear(&r->seen);
    buf_printf(&r->seen, SLICE_FMT " " SLICE_FMT "?" SLICE_FMT "\n", SLICE_ARG(m->method), SLICE_ARG(m->path),
               SLICE_ARG(m->query));
    for (size_t i = 0; i < m->field_count; i++)
        buf_printf(&r->seen, SLICE_FMT ": " SLICE_FMT "\n", SLICE_ARG(m->fields[i].name),
                   SLICE_ARG(m->fields[i].value));
    struct identity_claims claims = {0};
    struct arena a;
    arena_init(&a, 64 * 1024);
    struct slice token = http_msg_get(m, IDENTITY_HEADER);
    if (token.p != NULL && identity_check(r->proxy->process.key, token, SLICE("orders"), env_wall_ms(r->e), &a, &claims,
                                          NULL) == FICUS_ERR_OK) {
        buf_printf(&r->seen, "from=" SLICE_FMT " user=" SLICE_FMT " roles=", SLICE_ARG(claims.issuer),
                   SLICE_ARG(claims.subject));
        for (size_t i = 0; i < claims.role_count; i++)
            buf_printf(&r->seen, SLICE_FMT ",", SLICE_ARG(claims.roles[i]));
        buf_add_str(&r->seen, "\n");
    }
    arena_done(&a);
    buf_printf(&r->seen, "body=" SLICE_FMT "\n", SLICE_ARG(body));
}

static inline void echo_collected(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    struct service_exchange *x = arg;
    assert_int_equal(err, FICUS_ERR_OK);
    note_request(x->rig, s->head_in, body);
    struct http_field fields[] = {{SLICE("Location"), SLICE("/api/v1/orders/7")},
                                  {SLICE("Ficus-Internal"), SLICE("secret")},
                                  {SLICE("Ficus-Complete"), SLICE("true")},
                                  {SLICE("X-Request-ID"), SLICE("not-yours")}};
    assert_int_equal(http_respond(s, 202, fields, 4, "application/json", SLICE("{\"ok\":true}")), FICUS_ERR_OK);
}

static inline void rig_drip(void *arg)
{
    struct rig *r = arg;
    (void)http_send(r->held, " ", 1, false);
    env_timer_start(r->e, &r->drip, 2);
}

static inline bool answer_given(struct rig *r, struct http_stream *s)
{
    struct slice path = s->head_in->path;
    for (size_t i = 0; i < r->answer_count; i++)
        if (slice_eq_str(path, r->answers[i].path)) {
            struct slice body = slice_str(r->answers[i].body);
            struct service_exchange *x = s->arg;
            struct http_msg m;
            note_request(r, s->head_in, SLICE(""));
            http_msg_init(&m, s->arena);
            m.status = r->answers[i].status;
            m.content_length = (int64_t)body.size;
            http_send_head(s, &m, body.size == 0);
            x->page = body;
            big_send(x, s);
            return true;
        }
    return false;
}

static inline void orders_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct rig *r = arg;
    struct service_exchange *x = mem_zalloc(sizeof *x);
    x->rig = r;
    r->orders_asked++;
    http_stream_handle(s, &service_handler, x);
    struct slice path = s->head_in->path;
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    if (answer_given(r, s))
        return;
    if (slice_eq_str(path, "/v1/drip")) {
        m.content_length = -1;
        http_send_head(s, &m, false);
        r->held = s;
        r->drip = (struct env_timer){.fn = rig_drip, .arg = r};
        env_timer_start(r->e, &r->drip, 0);
    } else if (slice_eq_str(path, "/v1/hold")) {
        r->held = s;
    } else if (slice_eq_str(path, "/v1/big")) {
        x->left = RIG_BIG_SIZE;
        m.content_length = RIG_BIG_SIZE;
        http_send_head(s, &m, false);
        big_send(x, s);
    } else if (slice_eq_str(path, "/v1/cut")) {
        m.content_length = 100;
        http_send_head(s, &m, false);
        http_send(s, "partial", 7, false);
        r->held = s;
    } else if (slice_eq_str(path, "/v1/die")) {
        http_reset(s, FICUS_ERR_INTERNAL);
        service_free(x);
    } else if (slice_eq_str(path, "/v1/count")) {
        r->orders_received = 0;
        if (end)
            http_respond(s, 200, NULL, 0, "text/plain", SLICE("0"));
        else
            http_recv(s);
    } else if (slice_eq_str(path, "/v1/early")) {
        http_respond(s, 403, NULL, 0, "text/plain", SLICE("no"));
    } else {
        x->collecting = true;
        x->collect.done = echo_collected;
        x->collect.arg = x;
        http_collect(s, &x->collect, 1024 * 1024);
    }
}

static inline void identity_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct rig *r = arg;
    struct service_exchange *x = mem_zalloc(sizeof *x);
    x->rig = r;
    http_stream_handle(s, &service_handler, x);
    r->keys_asked++;
    char text[512];
    (void)snprintf(text, sizeof text, "{\"keys\":[{" RIG_EC ",\"kid\":\"%s\",\"use\":\"sig\"}]}", r->kid);
    if (r->identity_down)
        http_respond_problem(s, 503, NULL, "down");
    else
        http_respond(s, 200, NULL, 0, "application/json", slice_str(text));
}

/* ---- clients ---- */

struct client {
    struct rig *rig;
    struct env_stream *stream;
    struct buf got;
    char in[16384];
    bool connected, ended, closed, reading, hold; /* hold: do not read */
    bool writing;
    size_t wanted; /* for client_has */
};

static inline void client_read(struct client *c);
static inline void client_on_read(void *arg, ssize_t n)
{
    struct client *c = arg;
    c->reading = false;
    if (n <= 0) {
        c->ended = true;
        return;
    }
    assert_true(buf_add(&c->got, c->in, (size_t)n));
    client_read(c);
}
static inline void client_read(struct client *c)
{
    if (c->hold || c->reading || c->ended)
        return;
    c->reading = true;
    env_read(c->rig->e, c->stream, c->in, sizeof c->in, client_on_read, c);
}
static inline void client_on_connect(void *arg, enum ficus_err err)
{
    struct client *c = arg;
    assert_int_equal(err, FICUS_ERR_OK);
    c->connected = true;
}
static inline void client_on_write(void *arg, ssize_t n)
{
    ((struct client *)arg)->writing = false;
}
static inline bool client_is_connected(void *arg)
{
    return ((struct client *)arg)->connected;
}
static inline bool client_has_ended(void *arg)
{
    return ((struct client *)arg)->ended;
}
static inline bool client_has(void *arg)
{
    struct client *c = arg;
    return buf_slice(&c->got).size >= c->wanted || c->ended;
}

static inline struct client *client_new(struct rig *r)
{
    struct client *c = mem_zalloc(sizeof *c);
    c->rig = r;
    buf_init(&c->got, 16 * 1024 * 1024);
    assert_int_equal(env_connect(r->e, r->front, client_on_connect, c, &c->stream), FICUS_ERR_OK);
    rig_wait(r, client_is_connected, c);
    client_read(c);
    return c;
}
/* text must stay. */
static inline void client_send(struct client *c, const char *text, size_t size)
{
    assert_false(c->writing);
    struct iovec iov = {(void *)(uintptr_t)text, size};
    c->writing = env_write(c->rig->e, c->stream, &iov, 1, client_on_write, c) == 0;
}
static inline void client_on_closed(void *arg)
{
    ((struct client *)arg)->closed = true;
}
static inline bool client_is_closed(void *arg)
{
    return ((struct client *)arg)->closed;
}
static inline void client_close(struct client *c)
{
    env_close(c->rig->e, c->stream, client_on_closed, c);
    rig_wait(c->rig, client_is_closed, c);
    c->stream = NULL;
}
static inline void client_free(struct client *c)
{
    if (c->stream != NULL)
        client_close(c);
    buf_done(&c->got);
    mem_free(c);
}

/* One request on a connection of its own (it must say Connection: close); the whole answer, in a buffer that lives
 * until the next. */
static inline const char *ask_size(struct rig *r, const char *text, size_t size)
{
    static struct buf answer;
    struct client *c = client_new(r);
    client_send(c, text, size);
    rig_wait(r, client_has_ended, c);
    buf_done(&answer);
    buf_init(&answer, 16 * 1024 * 1024);
    assert_true(buf_add_slice(&answer, buf_slice(&c->got)));
    client_free(c);
    return buf_str(&answer);
}
static inline const char *ask(struct rig *r, const char *text)
{
    return ask_size(r, text, strlen(text));
}

static inline int status_of(const char *answer)
{
    assert_true(strncmp(answer, "HTTP/1.1 ", 9) == 0);
    return (answer[9] - '0') * 100 + (answer[10] - '0') * 10 + (answer[11] - '0');
}

/* ---- tokens ---- */

static inline char *token_for(struct rig *r, const char *kid, const char *issuer, const char *roles, int64_t life_s)
{
    struct arena a;
    struct json *jwk = NULL;
    struct jws_key *key = NULL;
    struct buf token;
    arena_init(&a, 64 * 1024);
    assert_int_equal(json_parse(&a, SLICE(RIG_EC_PRIVATE), NULL, &jwk, NULL), FICUS_ERR_OK);
    assert_int_equal(jws_key_from_jwk(jwk, &key, NULL), FICUS_ERR_OK);
    int64_t now_s = env_wall_ms(r->e) / 1000;
    char *payload = arena_printf(&a, "{\"iss\":\"%s\",\"sub\":\"u-1\",\"roles\":[%s],\"iat\":%lld,\"exp\":%lld}",
                                 issuer, roles, (long long)now_s, (long long)(now_s + life_s));
    buf_init(&token, JWS_TOKEN_SIZE_MAX);
    assert_int_equal(jws_sign(key, slice_str(kid), SLICE("JWT"), slice_str(payload), &token, NULL), FICUS_ERR_OK);
    jws_key_free(key);
    arena_done(&a);
    return buf_steal(&token);
}

/* ---- the rig ---- */

static inline void file_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static inline void on_ready(void *arg)
{
    ((struct rig *)arg)->ready = true;
}
static inline bool is_ready(void *arg)
{
    return ((struct rig *)arg)->ready;
}

static inline void rig_usage(void *arg, struct proxy_usage *ret_usage)
{
    *ret_usage = ((struct rig *)arg)->usage;
}

static inline void rig_memory_low(void *arg, struct env *e)
{
    struct rig *r = arg;
    assert_ptr_equal(e, r->e);
    r->memory_asked++;
}

/* Without addresses: as at the very first start, before the hub has told any. */
static inline void gateway_start_blind(struct rig *r)
{
    struct ficus_error error = {0};
    struct proxy_options o = {.on_ready = on_ready, .usage = r->usage.files_free > 0 ? rig_usage : NULL, .memory_low = rig_memory_low, .arg = r};
    r->ready = r->proxy_stopped = false;
    if (proxy_start(r->e, &r->config, &o, &r->proxy, &error) != FICUS_ERR_OK)
        print_error("%s\n", error.text);
    assert_non_null(r->proxy);
}

static inline void gateway_start(struct rig *r)
{
    gateway_start_blind(r);
    const char *addresses[] = {r->orders, r->identity};
    assert_int_equal(call_engine_endpoints(r->proxy->process.calls, "orders", &addresses[0], 1), FICUS_ERR_OK);
    assert_int_equal(call_engine_endpoints(r->proxy->process.calls, "identity", &addresses[1], 1), FICUS_ERR_OK);
}

static inline void on_stopped(void *arg)
{
    ((struct rig *)arg)->proxy_stopped = true;
}
static inline bool is_stopped(void *arg)
{
    return ((struct rig *)arg)->proxy_stopped;
}

static inline void gateway_stop(struct rig *r)
{
    proxy_stop(r->proxy, on_stopped, r);
    rig_wait(r, is_stopped, r);
    r->proxy = NULL;
}

static inline struct http_server *service_start(struct rig *r, const char *address,
                                                void (*on_request)(void *, struct http_stream *, bool,
                                                                   const struct env_peer *))
{
    struct http_server *v = NULL;
    struct ficus_error error = {0};
    struct http_server_options o = {.on_request = on_request, .arg = r};
    assert_int_equal(http_server_new(r->e, &o, &v), FICUS_ERR_OK);
    (void)unlink(address + 5);
    assert_int_equal(http_server_listen(v, address, NULL, &error), FICUS_ERR_OK);
    return v;
}

static inline void route_add(struct rig *r, const char *method, const char *path, const char *target, int auth,
                             bool admin)
{
    r->routes[r->config.route_count++] = (struct proxy_route){.method = method,
                                                              .path = path,
                                                              .service = "orders",
                                                              .target = target,
                                                              .auth = auth,
                                                              .roles = r->admin,
                                                              .role_count = admin,
                                                              .timeout_ms = 2000,
                                                              .body_size_max = 1024 * 1024};
}

static inline void rig_routes(struct rig *r)
{
    r->config.routes = r->routes;
    route_add(r, "", "/open/{id}", "/v1/open/{id}", PROXY_AUTH_NONE, false);
    route_add(r, "", "/maybe", "/v1/maybe", PROXY_AUTH_OPTIONAL, false);
    route_add(r, "POST", "/api/v1/orders", "/v1/orders", PROXY_AUTH_REQUIRED, false);
    route_add(r, "GET", "/admin", "/v1/admin", PROXY_AUTH_REQUIRED, true);
    route_add(r, "", "/do/hold", "/v1/hold", PROXY_AUTH_NONE, false);
    route_add(r, "", "/do/big", "/v1/big", PROXY_AUTH_NONE, false);
    route_add(r, "", "/do/cut", "/v1/cut", PROXY_AUTH_NONE, false);
    route_add(r, "", "/do/die", "/v1/die", PROXY_AUTH_NONE, false);
    route_add(r, "POST", "/do/count", "/v1/count", PROXY_AUTH_NONE, false);
    route_add(r, "POST", "/do/early", "/v1/early", PROXY_AUTH_NONE, false);
    r->routes[r->config.route_count - 2].body_size_max = 8 * 1024 * 1024;
    r->routes[r->config.route_count++] = (struct proxy_route){.method = "", .path = "/api/**", .answer = 404};
}

static inline struct rig *rig_new(bool identity_down)
{
    struct rig *r = mem_zalloc(sizeof *r);
    struct ficus_error error = {0};
    r->e = env_uv_new(&(struct env_uv_options){.workers_count = 1}, &error);
    assert_non_null(r->e);
    (void)snprintf(r->dir, sizeof r->dir, "/tmp/ficus-gateway-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(r->orders, sizeof r->orders, "unix:%s/orders", r->dir);
    (void)snprintf(r->identity, sizeof r->identity, "unix:%s/identity", r->dir);
    (void)snprintf(r->front, sizeof r->front, "unix:%s/front", r->dir);
    (void)snprintf(r->hub, sizeof r->hub, "unix:%s/no-hub", r->dir);
    (void)snprintf(r->key_file, sizeof r->key_file, "%s/system.key", r->dir);
    (void)snprintf(r->keys_file, sizeof r->keys_file, "%s/jwks.json", r->dir);
    file_write(r->key_file, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
    buf_init(&r->seen, 2 * 1024 * 1024);
    r->identity_down = identity_down;
    r->kid = "k1";
    r->admin[0] = "admin";
    r->listen[0] = r->front;
    r->hosts[0] = RIG_HOST;
    static const char *const names[] = {"orders", "identity", "hub"};
    for (size_t i = 0; i < 3; i++) {
        r->edges[i] = (struct process_edge){names[i], call_policy_default()};
        r->edges[i].policy.retry.attempts = 1;
        r->edges[i].policy.breaker.enabled = false;
    }
    r->auth = (struct proxy_auth){"identity", "/jwks", "shop", r->keys_file};
    r->config = (struct proxy_config){.common = {.version = 1,
                                                 .system = "shop",
                                                 .process = "gateway",
                                                 .instance = 1,
                                                 .state = r->dir,
                                                 .key_file = r->key_file,
                                                 .log_level = "error",
                                                 .hub = r->hub,
                                                 .snapshot_file = "",
                                                 .edges = r->edges,
                                                 .edge_count = 3},
                                      .threads = 1,
                                      .listen = r->listen,
                                      .listen_count = 1,
                                      .admin = "",
                                      .hosts = r->hosts,
                                      .host_count = 1,
                                      .timeout_ms = 2000,
                                      .auth = &r->auth};
    rig_routes(r);
    r->orders_server = service_start(r, r->orders, orders_request);
    r->identity_server = service_start(r, r->identity, identity_request);
    gateway_start(r);
    if (!identity_down)
        rig_wait(r, is_ready, r);
    return r;
}

static inline void on_service_closed(void *arg)
{
    ((struct rig *)arg)->services_closed++;
}
static inline bool are_services_closed(void *arg)
{
    return ((struct rig *)arg)->services_closed == 2;
}
static inline bool file_is_there(void *arg)
{
    return access(((struct rig *)arg)->keys_file, F_OK) == 0;
}

static inline void job_nothing(void *arg)
{
    (void)arg;
}
static inline void job_over(void *arg)
{
    *(bool *)arg = true;
}
static inline bool is_true(void *arg)
{
    return *(bool *)arg;
}

static inline void rig_free(struct rig *r)
{
    if (r->proxy != NULL)
        gateway_stop(r);
    r->services_closed = r->orders_server == NULL;
    if (r->orders_server != NULL)
        http_server_close(r->orders_server, on_service_closed, r);
    http_server_close(r->identity_server, on_service_closed, r);
    rig_wait(r, are_services_closed, r);
    /* The one worker may still write the keys, for which no gateway waits: its job has ended when one behind it has. */
    bool over = false;
    struct env_job last = {.work = job_nothing, .done = job_over, .arg = &over};
    assert_int_equal(env_run(r->e, &last), FICUS_ERR_OK);
    rig_wait(r, is_true, &over);
    env_uv_free(r->e);
    const char *paths[] = {r->orders + 5, r->identity + 5, r->front + 5, r->key_file, r->keys_file};
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        (void)unlink(paths[i]);
    assert_int_equal(rmdir(r->dir), 0);
    buf_done(&r->seen);
    mem_free(r);
}

#endif
