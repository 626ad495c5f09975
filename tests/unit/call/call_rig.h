/* SPDX-License-Identifier: Apache-2.0
 *
 * The rig of the component tests of call/ and resolve/: the product's env on unix sockets in a private folder, a real
 * HTTP server whose behaviour is chosen by the request's path, a raw peer that speaks bytes, and a client that
 * records what a call came to.
 */
#ifndef FICUS_TESTS_CALL_RIG_H
#define FICUS_TESTS_CALL_RIG_H

#include "call.h"
#include "http_server.h"
#include "io_env.h"
#include "mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RIG_SEEN_MAX = 64, RIG_WAIT_MS = 30000, RIG_IDLE_CONNS_MAX = 16 };

/* What the server saw of one request. */
struct rig_seen {
    char method[16], path[64], attempt[8], timeout_ms[16], traceparent[64], tracestate[32], request_id[32],
        identity_user[32], extra[32];
    bool identity_good;
    const char *protocol;
};

struct rig {
    struct env *e;
    struct system_key *key;
    struct metrics *metrics;
    struct call_engine *g;
    char dir[64], address[96], dead_address[96];
    struct http_server *server;
    /* the server's */
    struct rig_seen seen[RIG_SEEN_MAX];
    size_t seen_count, streams_open, streams_done, fail_first, resets;
    const char *retry_after;
    struct http_stream *hanging;    /* the last one at /hang */
    uint64_t echoed, sent;
    /* waiting */
    struct env_timer poll;
    bool (*until)(void *arg);
    void *until_arg;
    int64_t give_up_ms;
    bool timed_out, closed;
};

/* ---- waiting ---- */

static void rig_poll(void *arg)
{
    struct rig *r = arg;
    r->timed_out = env_now_ms(r->e) > r->give_up_ms;
    if (r->until(r->until_arg) || r->timed_out)
        env_uv_stop(r->e);
    else
        env_timer_start(r->e, &r->poll, 1);
}

static void rig_wait(struct rig *r, bool (*until)(void *arg), void *arg)
{
    r->until = until;
    r->until_arg = arg;
    r->give_up_ms = env_now_ms(r->e) + RIG_WAIT_MS;
    r->poll = (struct env_timer){.fn = rig_poll, .arg = r};
    env_timer_start(r->e, &r->poll, 0);
    env_uv_run(r->e);
    assert_false(r->timed_out);
}

static bool rig_is_true(void *arg)
{
    return *(bool *)arg;
}

struct rig_count {
    const size_t *value;
    size_t target;
};

static bool rig_reached(void *arg)
{
    const struct rig_count *c = arg;
    return *c->value >= c->target;
}

static inline void rig_wait_count(struct rig *r, const size_t *value, size_t target)
{
    struct rig_count c = {value, target};
    rig_wait(r, rig_reached, &c);
}

static bool rig_turned(void *arg)
{
    return (*(int *)arg)-- <= 0;
}

/* Let some turns of the loop pass, so that what is under way arrives. */
static inline void rig_turns(struct rig *r, int turns)
{
    rig_wait(r, rig_turned, &turns);
}

static void rig_set_closed(void *arg)
{
    *(bool *)arg = true;
}

/* ---- the server ---- */

struct rig_serve {
    struct rig *r;
    bool echo;
    uint64_t left;              /* of a large answer */
    bool in_end, out_end;
    char piece[4096];           /* echo: what the answer did not take yet */
    size_t piece_size;
};

static void serve_done(void *arg, struct http_stream *s)
{
    struct rig_serve *v = arg;
    v->r->streams_open--;
    v->r->streams_done++;
    mem_free(v);
}

static void serve_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct rig_serve *v = arg;
    v->r->streams_open--;
    v->r->resets++;
    mem_free(v);
}

static void serve_push(struct rig_serve *v, struct http_stream *s)
{
    static const char block[8192] = {'x'};
    if (v->echo) {
        size_t taken = http_send(s, v->piece, v->piece_size, v->in_end);
        memmove(v->piece, v->piece + taken, v->piece_size - taken);
        v->piece_size -= taken;
        v->r->echoed += taken;
        if (v->piece_size == 0 && !v->in_end)
            http_recv(s);
        return;
    }
    while (v->left > 0) {
        size_t size = v->left < sizeof block ? (size_t)v->left : sizeof block;
        size_t taken = http_send(s, block, size, size == v->left);
        v->left -= taken;
        v->r->sent += taken;
        if (taken < size)
            return;
    }
}

static void serve_writable(void *arg, struct http_stream *s)
{
    serve_push(arg, s);
}

static void serve_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct rig_serve *v = arg;
    v->in_end = end;
    if (!v->echo) {
        if (!end)
            http_recv(s);
        else if (!v->out_end)
            (void)http_respond(s, 200, NULL, 0, "text/plain", SLICE("stored"));
        return;
    }
    /* Echo straight on; what does not fit has to fit into piece, which bounds what we ask for. */
    size_t taken = http_send(s, data.p, data.size, end);
    v->r->echoed += taken;
    v->piece_size = data.size - taken;
    if (v->piece_size > sizeof v->piece) {
        http_reset(s, FICUS_ERR_TOO_LARGE);
        v->r->streams_open--;
        v->r->resets++;
        mem_free(v);
        return;
    }
    memcpy(v->piece, data.p + taken, v->piece_size);
    if (v->piece_size == 0 && !end)
        http_recv(s);
}

static const struct http_handler serve_handler = {
    .on_data = serve_data, .on_writable = serve_writable, .on_done = serve_done, .on_reset = serve_reset};

#define RIG_COPY(to, s) ((void)snprintf((to), sizeof(to), "%.*s", (int)(s).size, (s).p != NULL ? (s).p : ""))

static void serve_record(struct rig *r, struct http_stream *s)
{
    struct http_msg *m = s->head_in;
    struct rig_seen *seen = &r->seen[r->seen_count % RIG_SEEN_MAX];
    *seen = (struct rig_seen){.protocol = s->ops->protocol};
    r->seen_count++;
    struct slice attempt = http_msg_get(m, "ficus-attempt"), timeout = http_msg_get(m, "ficus-timeout-ms"),
        trace = http_msg_get(m, "traceparent");
    struct slice state = http_msg_get(m, "tracestate"), id = http_msg_get(m, "x-request-id"),
        extra = http_msg_get(m, "x-extra");
    RIG_COPY(seen->method, m->method);
    RIG_COPY(seen->path, m->path);
    RIG_COPY(seen->attempt, attempt);
    RIG_COPY(seen->timeout_ms, timeout);
    RIG_COPY(seen->traceparent, trace);
    RIG_COPY(seen->tracestate, state);
    RIG_COPY(seen->request_id, id);
    RIG_COPY(seen->extra, extra);
    struct identity_claims claims;
    struct arena a;
    arena_init(&a, 65536);
    seen->identity_good = http_msg_count(m, "ficus-identity") == 1 &&
                          identity_check(r->key, http_msg_get(m, "ficus-identity"), m->authority, env_wall_ms(r->e),
                                         &a, &claims, NULL) == FICUS_ERR_OK &&
                          slice_eq_str(claims.issuer, "tester");
    if (seen->identity_good)
        RIG_COPY(seen->identity_user, claims.subject);
    arena_done(&a);
}

static void serve_start_body(struct rig_serve *v, struct http_stream *s, int64_t size)
{
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = size;
    assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
    v->out_end = true;
}

static void serve_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct rig *r = arg;
    struct rig_serve *v = mem_zalloc(sizeof *v);
    v->r = r;
    v->in_end = end;
    r->streams_open++;
    http_stream_handle(s, &serve_handler, v);
    serve_record(r, s);
    struct slice path = s->head_in->path;
    struct slice rest = path;
    if (slice_eq_str(path, "/flaky")) {
        bool fail = r->fail_first > 0;
        r->fail_first -= fail;
        struct http_field f = {SLICE("Retry-After"), slice_str(r->retry_after)};
        (void)http_respond(s, fail ? 503 : 200, &f, r->retry_after != NULL && fail, "text/plain",
                           fail ? SLICE("not now") : SLICE("fine"));
    } else if (slice_starts(path, SLICE("/status/"))) {
        uint64_t status = 500;
        (void)slice_to_u64(slice_from(rest, 8), &status);
        (void)http_respond(s, (int)status, NULL, 0, "text/plain", SLICE("as asked"));
    } else if (slice_eq_str(path, "/close")) {
        http_reset(s, FICUS_ERR_CANCELLED);
        r->streams_open--;
        mem_free(v);
    } else if (slice_eq_str(path, "/hang")) {
        r->hanging = s;         /* neither reads nor answers */
    } else if (slice_eq_str(path, "/echo")) {
        v->echo = true;
        serve_start_body(v, s, -1);
        if (end)
            (void)http_send(s, NULL, 0, true);
        else
            http_recv(s);
    } else if (slice_eq_str(path, "/big")) {
        v->left = 16 << 20;
        serve_start_body(v, s, (int64_t)v->left);
        serve_push(v, s);
    } else if (slice_eq_str(path, "/cut")) {
        serve_start_body(v, s, 1000);
        (void)http_send(s, "only this", 9, false);
        v->left = 0;
    } else if (slice_eq_str(path, "/early")) {
        v->out_end = true;
        (void)http_respond(s, 413, NULL, 0, "text/plain", SLICE("too much"));
    } else if (end) {
        (void)http_respond(s, 200, NULL, 0, "text/plain", SLICE("hello"));
    } else {
        http_recv(s);
    }
}

static void rig_server_start(struct rig *r)
{
    struct http_server_options o = {.on_request = serve_request, .arg = r};
    o.limits.conn_count_max = 4096;
    assert_int_equal(http_server_new(r->e, &o, &r->server), FICUS_ERR_OK);
    (void)unlink(r->address + 5);
    assert_int_equal(http_server_listen(r->server, r->address, NULL, NULL), FICUS_ERR_OK);
}

/* A listening socket of its own port on the loopback. */
static inline int listen_somewhere(uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 128) == 0 &&
                getsockname(fd, (struct sockaddr *)&a, &size) == 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static void rig_server_stop(struct rig *r)
{
    bool closed = false;
    if (r->server == NULL)
        return;
    http_server_close(r->server, rig_set_closed, &closed);
    rig_wait(r, rig_is_true, &closed);
    r->server = NULL;
    (void)unlink(r->address + 5);
}

/* ---- set up ---- */

static struct call_policy rig_policy(int64_t attempts, int64_t timeout_ms)
{
    struct call_policy p = call_policy_default();
    p.retry.attempts = attempts;
    p.timeout_ms = timeout_ms;
    return p;
}

static void rig_engine(struct rig *r, size_t conns_max, size_t queue_max)
{
    const struct call_engine_options o = {.self = "tester",
                                          .key = r->key,
                                          .metrics = r->metrics,
                                          .idle_conns_max = RIG_IDLE_CONNS_MAX,
                                          .conns_max = conns_max,
                                          .queue_max = queue_max};
    assert_int_equal(call_engine_new(r->e, &o, &r->g), FICUS_ERR_OK);
}

static inline void rig_edge(struct rig *r, const char *callee, struct call_policy p, const char *address)
{
    assert_int_equal(call_engine_edge(r->g, callee, &p, NULL), FICUS_ERR_OK);
    if (address != NULL)
        assert_int_equal(call_engine_endpoints(r->g, callee, &address, 1), FICUS_ERR_OK);
}

static int rig_set_up(void **state)
{
    struct rig *r = mem_zalloc(sizeof *r);
    r->e = env_uv_new(NULL, NULL);
    (void)snprintf(r->dir, sizeof r->dir, "/tmp/ficus-call-XXXXXX");
    if (r->e == NULL || mkdtemp(r->dir) == NULL)
        return -1;
    (void)snprintf(r->address, sizeof r->address, "unix:%s/a.sock", r->dir);
    (void)snprintf(r->dead_address, sizeof r->dead_address, "unix:%s/nobody.sock", r->dir);
    char key[SYSTEM_KEY_SIZE];
    memset(key, 7, sizeof key);
    assert_int_equal(system_key_from_bytes(slice_make(key, sizeof key), &r->key, NULL), FICUS_ERR_OK);
    r->metrics = metrics_new();
    rig_server_start(r);
    rig_engine(r, 0, 0);
    *state = r;
    return 0;
}

static void rig_engine_close(struct rig *r)
{
    bool closed = false;
    if (r->g == NULL)
        return;
    call_engine_close(r->g, rig_set_closed, &closed);
    rig_wait(r, rig_is_true, &closed);
    r->g = NULL;
}

static int rig_tear_down(void **state)
{
    struct rig *r = *state;
    rig_engine_close(r);
    rig_server_stop(r);
    assert_int_equal(r->streams_open, 0);
    metrics_free(r->metrics);
    system_key_free(r->key);
    env_uv_free(r->e);
    assert_int_equal(rmdir(r->dir), 0);
    mem_free(r);
    return 0;
}

/* The number behind the words of line in the process's metrics; 0 when they are not there. */
static inline int64_t rig_metric(struct rig *r, const char *line)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(metrics_render(r->metrics, &out));
    const char *at = strstr(buf_str(&out), line);
    int64_t value = at == NULL ? 0 : strtoll(at + strlen(line), NULL, 10);
    buf_done(&out);
    return value;
}

/* ---- the client ---- */

enum client_when { CLIENT_NEVER, CLIENT_ON_HEAD, CLIENT_ON_DATA, CLIENT_ON_LAST };

struct client {
    struct rig *r;
    struct call *call;
    enum client_when cancel_when;
    bool hold;                  /* do not ask for the body */
    uint64_t send_left;         /* streamed body */
    bool send_chunked;
    /* what came */
    bool over;
    int heads, lasts, status;
    enum ficus_err err;
    bool maybe;
    char detail[96];
    uint64_t received, taken;
    char body[64];
};

static void client_push(struct client *c)
{
    static const char block[5000] = {'y'};
    while (c->send_left > 0) {
        size_t size = c->send_left < sizeof block ? (size_t)c->send_left : sizeof block;
        size_t taken = call_send(c->call, block, size, size == c->send_left);
        c->send_left -= taken;
        c->taken += taken;
        if (taken < size)
            return;
    }
}

static void client_cancel(struct client *c)
{
    call_cancel(c->call);
    c->over = true;
}

static void client_on_head(void *arg, struct call *call, struct http_msg *head, bool end)
{
    struct client *c = arg;
    assert_ptr_equal(call, c->call);
    assert_false(c->over);
    c->heads++;
    c->status = head->status;
    if (c->cancel_when == CLIENT_ON_HEAD)
        client_cancel(c);
    else if (!end && !c->hold)
        call_recv(call);
}

static void client_on_data(void *arg, struct call *call, struct slice data, bool end)
{
    struct client *c = arg;
    assert_false(c->over);
    if (c->received < sizeof c->body - 1) {
        size_t room = sizeof c->body - 1 - (size_t)c->received;
        memcpy(c->body + c->received, data.p, data.size < room ? data.size : room);
    }
    c->received += data.size;
    if (c->cancel_when == CLIENT_ON_DATA)
        client_cancel(c);
    else if (!end && !c->hold)
        call_recv(call);
}

static void client_on_writable(void *arg, struct call *call)
{
    struct client *c = arg;
    assert_false(c->over);
    client_push(c);
}

static void client_last(struct client *c, enum ficus_err err)
{
    assert_false(c->over);
    c->lasts++;
    c->err = err;
    c->over = true;
    if (c->cancel_when == CLIENT_ON_LAST)
        call_cancel(c->call);
}

static void client_on_done(void *arg, struct call *call)
{
    client_last(arg, FICUS_ERR_OK);
}

static void client_on_error(void *arg, struct call *call, enum ficus_err err, bool maybe_processed, const char *detail)
{
    struct client *c = arg;
    c->maybe = maybe_processed;
    (void)snprintf(c->detail, sizeof c->detail, "%s", detail);
    client_last(c, err);
}

static const struct call_handler client_handler = {client_on_head, client_on_data, client_on_writable, client_on_done,
                                                   client_on_error};

static void client_begin(struct rig *r, struct client *c, const struct call_request *request)
{
    c->r = r;
    assert_int_equal(call_start(r->g, request, &client_handler, c, &c->call), FICUS_ERR_OK);
    assert_false(c->over);
    if (c->send_left > 0)
        client_push(c);
}

static struct call_request rig_request(const char *callee, const char *method, const char *path)
{
    return (struct call_request){.callee = callee, .method = slice_str(method), .path = slice_str(path)};
}

/* One call from start to end. */
static struct client rig_call_with(struct rig *r, const struct call_request *request)
{
    struct client c = {0};
    client_begin(r, &c, request);
    rig_wait(r, rig_is_true, &c.over);
    assert_int_equal(c.lasts, 1);
    c.call = NULL;
    return c;
}

static inline struct client rig_call(struct rig *r, const char *callee, const char *method, const char *path)
{
    struct call_request request = rig_request(callee, method, path);
    return rig_call_with(r, &request);
}

#endif
