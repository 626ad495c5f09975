/* SPDX-License-Identifier: Apache-2.0
 *
 * A request to an operator socket. Everything ends in the connection's on_closed, which reports the result; whoever
 * wants to end it (answer complete, failure, time out, cancel) notes the result, the first one counts, and closes the
 * connection.
 */
#include "ops_call.h"

#include "arena.h"
#include "assert.h"
#include "io_env.h"

static void finish(struct ops_call *c, enum ficus_err result)
{
    if (!c->has_result) {
        c->has_result = true;
        c->result = result;
    }
    if (c->conn != NULL && !c->closing) {
        c->closing = true;
        http_client_close(c->conn);
    }
}

static void on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct ops_call *c = arg;
    c->status = m->status;
    if (!end)
        http_recv(s);
}

static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct ops_call *c = arg;
    if (!buf_add_slice(&c->answer, data))
        finish(c, FICUS_ERR_TOO_LARGE);
    else if (!end)
        http_recv(s);
}

static void send_more(struct ops_call *c)
{
    c->sent += http_send(c->stream, c->body.p + c->sent, c->body.size - c->sent, true);
}

static void on_writable(void *arg, struct http_stream *s)
{
    struct ops_call *c = arg;
    if (c->sent < c->body.size)
        send_more(c);
}

static void on_done(void *arg, struct http_stream *s)
{
    finish(arg, FICUS_ERR_OK);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    finish(arg, err);
}

static const struct http_handler exchange_handler = {
    .on_head = on_head,
    .on_data = on_data,
    .on_writable = on_writable,
    .on_done = on_done,
    .on_reset = on_reset,
};

static enum ficus_err send_request(struct ops_call *c)
{
    struct http_stream *s;
    struct http_msg m;
    enum ficus_err err = http_client_open(c->conn, &exchange_handler, c, &s);
    if (err != FICUS_ERR_OK)
        return err;
    struct slice target = slice_str(c->target);
    http_msg_init(&m, s->arena);
    m.method = slice_str(c->method);
    m.authority = SLICE("ficus");
    m.path = slice_cut(&target, '?');
    m.query = target;
    m.content_length = (int64_t)c->body.size;
    if (c->body.size > 0 && !http_msg_add(&m, SLICE("Content-Type"), SLICE("application/json")))
        return FICUS_ERR_NOMEM;
    if (c->identity.size > 0 && !http_msg_add(&m, SLICE("Ficus-Identity"), c->identity))
        return FICUS_ERR_NOMEM;
    c->stream = s;
    err = http_send_head(s, &m, c->body.size == 0);
    if (err == FICUS_ERR_OK && c->body.size > 0)
        send_more(c);
    return err;
}

static void on_connected(void *arg, struct http_client_conn *conn, enum ficus_err err)
{
    struct ops_call *c = arg;
    c->conn = conn;
    if (err != FICUS_ERR_OK) {
        c->closing = true; /* it closes by itself */
        finish(c, err);
        return;
    }
    if (c->has_result)
        return;
    err = send_request(c);
    if (err != FICUS_ERR_OK)
        finish(c, err);
}

static void on_room(void *arg, struct http_client_conn *conn)
{
    finish(arg, FICUS_ERR_OK);
}

static void on_closed(void *arg, struct http_client_conn *conn)
{
    struct ops_call *c = arg;
    finish(c, FICUS_ERR_RESET); /* unless something was noted before */
    env_timer_stop(c->env, &c->timer);
    c->conn = NULL;
    c->busy = false;
    if (c->done != NULL)
        c->done(c->arg, c->result, c->status, c->result == FICUS_ERR_OK ? buf_slice(&c->answer) : SLICE_NONE);
    buf_done(&c->answer);
}

static const struct http_client_handler conn_handler = {
    .on_connected = on_connected, .on_room = on_room, .on_closed = on_closed};

static void on_timeout(void *arg)
{
    finish(arg, FICUS_ERR_TIMEOUT);
}

enum ficus_err ops_call_start(struct ops_call *c)
{
    FICUS_ASSERT(!c->busy && c->done != NULL);
    c->closing = c->has_result = false;
    c->sent = 0;
    c->status = 0;
    c->conn = NULL;
    enum ficus_err err = http_client_connect(c->env, c->address, NULL, &conn_handler, c, &c->conn);
    if (err != FICUS_ERR_OK)
        return err;
    buf_init(&c->answer, OPS_BODY_SIZE_MAX);
    c->timer = (struct env_timer){.fn = on_timeout, .arg = c};
    env_timer_start(c->env, &c->timer, c->timeout_ms > 0 ? c->timeout_ms : OPS_TIMEOUT_MS);
    c->busy = true;
    return FICUS_ERR_OK;
}

void ops_call_cancel(struct ops_call *c)
{
    if (!c->busy)
        return;
    c->done = NULL;
    finish(c, FICUS_ERR_CANCELLED);
}

/* ---- for command line tools ---- */

struct waiting {
    struct env *e;
    struct arena *a;
    enum ficus_err err;
    int status;
    struct slice body;
};

static void on_answer(void *arg, enum ficus_err err, int status, struct slice body)
{
    struct waiting *w = arg;
    w->err = err;
    w->status = status;
    if (err == FICUS_ERR_OK) {
        w->body = arena_slice(w->a, body);
        if (w->body.p == NULL && body.size > 0)
            w->err = FICUS_ERR_TOO_LARGE;
    }
    env_uv_stop(w->e);
}

enum ficus_err ops_call_wait(struct env *e, struct arena *a, const char *address, const char *method,
                             const char *target, struct slice body, struct slice identity, int64_t timeout_ms,
                             int *ret_status, struct slice *ret_body, struct ficus_error *reterr)
{
    struct waiting w = {.e = e, .a = a, .err = FICUS_ERR_INTERNAL};
    struct ops_call c = {.env = e,
                         .address = address,
                         .method = method,
                         .target = target,
                         .body = body,
                         .identity = identity,
                         .timeout_ms = timeout_ms,
                         .done = on_answer,
                         .arg = &w};
    enum ficus_err err = ops_call_start(&c);
    if (err == FICUS_ERR_OK) {
        env_uv_run(e);
        err = w.err;
    }
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s %s at %s: %s", method, target, address, err_text(err));
    *ret_status = w.status;
    *ret_body = w.body;
    return FICUS_ERR_OK;
}
