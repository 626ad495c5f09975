/* SPDX-License-Identifier: Apache-2.0
 *
 * One server connection of HTTP/1.1 (RFC 9112). Requests are served one after another; what the client pipelines behind
 * the present one waits in the read buffer, and beyond that in the kernel.
 *
 *            first byte        head complete          response out, body read
 *     IDLE ------------> HEAD --------------> EXCHANGE ----------------------> IDLE
 *                         |                    | |  `--- body unread --> DRAIN --> IDLE
 *                         | malformed, late    | |                         |
 *                         v                    | | last response           | too much
 *                       REFUSE <---------------' '-----> LINGER <----------'
 *                         `--- answer out ------------->  |
 *     any ------------------------------------------------+--> CLOSING --> freed
 *
 * IDLE      nothing of a request is there; costs this struct and nothing else, no buffer
 * HEAD      a part of a head is in the buffer
 * EXCHANGE  c->stream exists; the user has it
 * DRAIN     the response is out, the rest of the request body is read and thrown away, at most H1_DRAIN_SIZE_MAX
 * REFUSE    the codec's own answer is on its way; nothing more is read
 * LINGER    our side is shut; input is thrown away until the client has read the answer and closes (RFC 9112 9.6)
 * CLOSING   the transport closes; no callback to the user any more
 * HANDOVER  (from HEAD) the first bytes are HTTP/2's preface: the stream and what was read go to that codec
 *
 * All of this happens in pump(), which is never re-entered: functions that the user calls only change fields and kick.
 */
#include "server_private.h"

#include "assert.h"
#include "h1_stream.h"
#include "mem.h"

enum {
    H1_DRAIN_SIZE_MAX = 64 * 1024,
    H1_LINGER_MS = 2000,
    H1_DRAIN_FIRST_MS = 1000, /* a draining server waits so long for the first request of an accepted connection */
    /* ... and for one more on a connection that had some: to close at once would meet the next request of a busy client
     * on its way, and who got no answer cannot know whether anything was done. Its answer then says that it was the
     * last. */
    H1_DRAIN_IDLE_MS = 300,
    H2_PREFACE_SIZE = 24,
};

enum state { IDLE, HEAD, EXCHANGE, DRAIN, REFUSE, LINGER, CLOSING, HANDOVER, STATE_COUNT };

struct server_stream {
    struct h1_stream st; /* first */
    struct h1_server_conn *c;
    bool answers_head, expects, half_closed;
    int minor;
    bool keep_alive;
};

struct h1_server_conn {
    struct server_conn conn; /* first */
    enum state state;
    bool abort_wanted, line_skipped, reuse, secure;
    uint64_t request_count;
    int64_t since_ms; /* entry into state */
    struct h1_scan scan;
    struct server_stream *stream; /* in arena; not NULL exactly in EXCHANGE */
    struct arena arena;
    struct h1_body *drain_body; /* in arena; not NULL exactly in DRAIN */
    size_t discarded_size;
    struct h1_io io;
    struct env_peer peer;
};

/* Nothing is lost with a connection in one of these: its client can come again. */
static bool is_waiting(enum state state)
{
    return state == IDLE || state == HEAD || state == DRAIN || state == LINGER;
}

static const struct {
    const char *name;
    unsigned next; /* set of states that may follow */
} states[STATE_COUNT] = {
    [IDLE] = {"idle", 1u << HEAD | 1u << CLOSING},
    [HEAD] = {"head", 1u << EXCHANGE | 1u << REFUSE | 1u << CLOSING | 1u << HANDOVER},
    [EXCHANGE] = {"exchange", 1u << IDLE | 1u << DRAIN | 1u << REFUSE | 1u << LINGER | 1u << CLOSING},
    [DRAIN] = {"drain", 1u << IDLE | 1u << LINGER | 1u << CLOSING},
    [REFUSE] = {"refuse", 1u << LINGER | 1u << CLOSING},
    [LINGER] = {"linger", 1u << CLOSING},
    [CLOSING] = {"closing", 0},
    [HANDOVER] = {"handover", 0},
};

static void move(struct h1_server_conn *c, enum state next)
{
    FICUS_ASSERT((states[c->state].next & 1u << next) != 0);
    c->state = next;
    if (next != EXCHANGE) /* its time is that of its bytes */
        c->since_ms = env_now_ms(c->io.env);
    server_conn_wait(&c->conn, is_waiting(next));
    FICUS_ASSERT((c->stream != NULL) == (next == EXCHANGE));
    FICUS_ASSERT((c->drain_body != NULL) == (next == DRAIN));
}

static struct h1_server_conn *conn_of(struct server_conn *c)
{
    return CONTAINER_OF(c, struct h1_server_conn, conn);
}

/* ---- ends ---- */

static void conn_closed(void *arg)
{
    struct h1_server_conn *c = arg;
    struct http_server *v = c->conn.server;
    h1_io_done(&c->io);
    arena_done(&c->arena);
    server_conn_leave(&c->conn);
    mem_free(c);
    server_conn_gone(v); /* the server may go with its last connection */
}

static void conn_close(struct h1_server_conn *c)
{
    c->stream = NULL; /* its memory lives until conn_closed */
    c->drain_body = NULL;
    if (c->state == IDLE)
        env_shutdown_write(c->io.env, c->io.stream); /* on TLS the end between requests is said, not guessed */
    move(c, CLOSING);
    h1_io_close(&c->io);
}

static void linger(struct h1_server_conn *c)
{
    c->discarded_size = 0;
    move(c, LINGER);
    env_shutdown_write(c->io.env, c->io.stream);
}

/* Answer by ourselves and end the connection: the input can no longer be told apart (RFC 9112 9.3, 11.2). */
static void refuse(struct h1_server_conn *c, int status, const char *detail)
{
    struct http_server *v = c->conn.server;
    if (v->o.on_refused != NULL)
        v->o.on_refused(v->o.arg, status, detail);

    if (c->state == HEAD) /* else interim answers may be on their way */
        h1_io_out_begin(&c->io);
    struct buf body;
    buf_init(&body, 1024);
    http_problem_write(&body, status, NULL, detail, SLICE_NONE);
    struct http_field fields[1 + HTTP_REFUSAL_FIELDS_MAX] = {
        {SLICE("Content-Type"), SLICE("application/problem+json")}};
    struct http_msg m = {
        .status = status, .fields = fields, .field_count = 1, .field_capacity = 1 + HTTP_REFUSAL_FIELDS_MAX};
    if (v->o.refusal_fields != NULL)
        m.field_count += v->o.refusal_fields(v->o.arg, fields + 1);
    FICUS_ASSERT(m.field_count <= m.field_capacity);
    struct h1_write w = {.m = &m,
                         .framing = H1_BODY_LENGTH,
                         .content_length = (int64_t)buf_slice(&body).size,
                         .close = true,
                         .date = server_date(v),
                         .server = v->o.server_name};
    size_t size_max = h1_response_size_max(&w);
    char *room = h1_io_head_room(&c->io, size_max, buf_slice(&body).size);
    if (room != NULL && !buf_failed(&body)) {
        h1_io_head_done(&c->io, h1_response_write(&w, room));
        (void)h1_io_put(&c->io, buf_slice(&body).p, buf_slice(&body).size); /* room was reserved */
        c->io.ended = true;
        move(c, REFUSE);
    } else {
        conn_close(c);
    }
    buf_done(&body);
}

static void exchange_forget(struct h1_server_conn *c)
{
    c->stream = NULL;
    c->drain_body = NULL;
    server_spare_give(c->conn.server, c->arena);
    c->arena = (struct arena){0};
}

/* The stream failed: tell the user, then answer if nothing was answered yet and the client can still read it. */
static void exchange_break(struct h1_server_conn *c)
{
    struct h1_stream *st = &c->stream->st;
    enum ficus_err err = st->fail;
    const char *detail = st->fail_detail;
    bool answer = st->out == H1_OUT_HEAD && c->io.out_err == FICUS_ERR_OK && !c->abort_wanted &&
                  (err == FICUS_ERR_PROTOCOL || err == FICUS_ERR_TIMEOUT);
    if (!st->abandoned)
        st->s.handler->on_reset(st->s.arg, &st->s, err, detail);
    if (!answer) {
        conn_close(c);
        return;
    }
    exchange_forget(c);
    refuse(c, err == FICUS_ERR_TIMEOUT ? 408 : 400, detail);
}

/* Both messages are complete, or as complete as the user wanted. */
static void exchange_finish(struct h1_server_conn *c)
{
    struct h1_stream *st = &c->stream->st;
    bool body_done = st->body.done;
    if (!st->abandoned)
        st->s.handler->on_done(st->s.arg, &st->s);
    if (c->reuse && !body_done) {
        c->stream = NULL;
        c->drain_body = &st->body;
        c->drain_body->arena = NULL;
        c->discarded_size = 0;
        move(c, DRAIN);
        return;
    }
    exchange_forget(c);
    /* What began after the head was sent, a drain say, does not count: it told the client that the connection goes on.
     */
    if (!c->reuse) {
        linger(c);
    } else {
        move(c, IDLE);
    }
}

/* ---- the stream's operations ---- */

static enum ficus_err interim_send(struct server_stream *ss, const struct http_msg *m)
{
    if (ss->minor == 0)
        return FICUS_ERR_OK; /* RFC 9110 15.2: not to a 1.0 client */
    struct h1_write w = {.m = m, .framing = H1_BODY_NONE, .content_length = -1};
    size_t size_max = h1_response_size_max(&w);
    char *room = size_max == 0 ? NULL : h1_io_head_room(&ss->c->io, size_max, 0);
    if (room == NULL)
        return size_max == 0 ? FICUS_ERR_INVALID : FICUS_ERR_NOMEM;
    h1_io_head_done(&ss->c->io, h1_response_write(&w, room));
    h1_io_kick(&ss->c->io);
    return FICUS_ERR_OK;
}

/* RFC 9110 7.8: what comes behind this head are the tunnel's bytes, both ways. */
static enum ficus_err tunnel_begin(struct server_stream *ss, const struct http_msg *m)
{
    struct h1_stream *st = &ss->st;
    struct h1_io *io = &ss->c->io;
    if (st->head.protocol.p == NULL)
        return FICUS_ERR_INVALID; /* nobody asked */
    struct h1_write w = {.m = m,
                         .framing = H1_BODY_UNTIL_CLOSE,
                         .content_length = -1,
                         .upgrade = st->head.protocol,
                         .date = server_date(ss->c->conn.server)};
    size_t size_max = h1_response_size_max(&w);
    char *room = size_max == 0 ? NULL : h1_io_head_room(io, size_max, 0);
    if (room == NULL)
        return size_max == 0 ? FICUS_ERR_INVALID : FICUS_ERR_NOMEM;
    h1_io_head_done(io, h1_response_write(&w, room));
    ss->c->reuse = false;
    h1_stream_tunnel(st);
    h1_io_kick(io);
    return FICUS_ERR_OK;
}

/* May the connection go on after this response? Asked once, when its head is written. */
static bool reuse_decide(const struct server_stream *ss, enum h1_framing framing, int status)
{
    const struct h1_body *body = &ss->st.body;
    const struct http_server *v = ss->c->conn.server;
    uint64_t most = v->o.limits.conn_request_count_max;
    if (most > 0 && ss->c->request_count >= most)
        return false;
    if (!ss->keep_alive || v->draining || v->closing || v->paused || framing == H1_BODY_UNTIL_CLOSE)
        return false;
    if (ss->expects && !body->done) /* RFC 9110 10.1.1: nobody can know whether the body will come */
        return false;
    if (status == 408) /* RFC 9110 15.5.9: we decided not to wait any longer */
        return false;
    /* A refusal that has not asked for the body will hardly want it: say at once that the connection ends. */
    return status < 300 || body->done || ss->st.recv_wanted || body->framing != H1_BODY_LENGTH ||
           body->left <= H1_DRAIN_SIZE_MAX;
}

static enum ficus_err stream_send_head(struct http_stream *s, const struct http_msg *m, bool end)
{
    struct server_stream *ss = (struct server_stream *)(void *)s;
    struct h1_stream *st = &ss->st;
    struct h1_io *io = &ss->c->io;
    if (st->fail != FICUS_ERR_OK || st->abandoned)
        return FICUS_ERR_RESET;
    FICUS_ASSERT(st->out == H1_OUT_HEAD);
    if (m->status == 101)
        return end ? FICUS_ERR_INVALID : tunnel_begin(ss, m);
    if (m->status < 200)
        return m->status < 100 ? FICUS_ERR_INVALID : interim_send(ss, m);

    bool no_body = ss->answers_head || m->status == 204 || m->status == 304;
    struct h1_write w = {.m = m,
                         .framing = H1_BODY_NONE,
                         .content_length = m->content_length,
                         .date = server_date(ss->c->conn.server),
                         .server = ss->c->conn.server->o.server_name};
    if (m->status == 204 || (m->status == 304 && w.content_length == 0))
        w.content_length = -1; /* RFC 9110 8.6: not here; on 304 it would speak of the 200 that did not come */
    else if (!no_body && end && w.content_length < 0)
        w.content_length = 0;
    else if (!no_body && end && w.content_length > 0)
        return FICUS_ERR_INVALID;
    if (!no_body && w.content_length != 0)
        w.framing = w.content_length > 0 ? H1_BODY_LENGTH : ss->minor == 1 ? H1_BODY_CHUNKED : H1_BODY_UNTIL_CLOSE;
    ss->c->reuse = reuse_decide(ss, w.framing, m->status);
    w.close = !ss->c->reuse;

    size_t size_max = h1_response_size_max(&w);
    size_t hint = w.framing == H1_BODY_LENGTH && w.content_length < H1_PAST_RING_MIN ? (size_t)w.content_length : 0;
    char *room = size_max == 0 ? NULL : h1_io_head_room(io, size_max, hint);
    if (room == NULL)
        return size_max == 0 ? FICUS_ERR_INVALID : io->out_err != FICUS_ERR_OK ? FICUS_ERR_NOMEM : FICUS_ERR_TOO_LARGE;
    h1_io_head_done(io, h1_response_write(&w, room));
    h1_stream_out_open(st, w.framing, w.content_length, no_body, end);
    return FICUS_ERR_OK;
}

static void stream_recv(struct http_stream *s)
{
    struct server_stream *ss = (struct server_stream *)(void *)s;
    if (ss->expects && ss->st.out == H1_OUT_HEAD && !ss->st.body.done) {
        ss->expects = false;
        struct http_msg m = {.status = 100};
        if (h1_io_in_size(&ss->c->io) == 0) /* RFC 9110 10.1.1: may be omitted when the body is coming already */
            (void)interim_send(ss, &m);     /* failing that, the client goes on by itself after a while */
    }
    h1_stream_recv(s);
}

static void stream_reset(struct http_stream *s, enum ficus_err why)
{
    struct server_stream *ss = (struct server_stream *)(void *)s;
    (void)why; /* HTTP/1.1 has no way to tell the client */
    ss->st.abandoned = true;
    h1_io_kick(&ss->c->io);
}

static void stream_progress(const struct http_stream *s, struct http_progress *ret_progress)
{
    const struct server_stream *ss = (const struct server_stream *)(const void *)s;
    *ret_progress = (struct http_progress){
        .conn_reused = ss->c->request_count > 1, .request_sent = true, .response_begun = ss->c->io.begun};
}

static const struct http_stream_ops stream_ops = {stream_send_head, h1_stream_send, stream_recv, h1_stream_trailers,
                                                  stream_reset, stream_progress, .protocol = "HTTP/1.1"};

/* ---- steps: each does one thing at most and says whether it did ---- */

static bool input_ended(const struct h1_io *io)
{
    return io->in_eof || io->in_err != FICUS_ERR_OK;
}

static bool step_idle(struct h1_server_conn *c)
{
    if (h1_io_in_size(&c->io) > 0) {
        c->scan = (struct h1_scan){0};
        c->line_skipped = false;
        move(c, HEAD);
        return true;
    }
    if (input_ended(&c->io)) {
        conn_close(c);
        return true;
    }
    return false;
}

/* The whole head is there: make the exchange and hand it over. */
static void exchange_begin(struct h1_server_conn *c, size_t head_size)
{
    struct http_server *v = c->conn.server;
    const struct h1_parse_limits limits = {v->o.limits.field_count_max, v->o.limits.target_size_max};
    c->arena = server_spare_take(v);
    struct server_stream *ss = ARENA_NEW(&c->arena, struct server_stream);
    struct slice head = arena_slice(&c->arena, slice_make(h1_io_in(&c->io), head_size));
    h1_io_consume(&c->io, head_size);
    struct h1_head parsed;
    const char *detail = "out of memory";
    int status = 503;
    if (ss != NULL && head.p != NULL) {
        http_msg_init(&ss->st.head, &c->arena);
        status = h1_parse_request(head, &limits, &ss->st.head, &parsed, &detail);
    }
    if (status != 0) {
        exchange_forget(c);
        refuse(c, status, detail);
        return;
    }
    ss->c = c;
    ss->st.head.scheme = c->secure ? SLICE("https") : SLICE("http"); /* whatever an absolute target says */
    ss->answers_head = slice_eq_str(ss->st.head.method, "HEAD");
    ss->expects = parsed.expect_continue;
    ss->minor = parsed.minor;
    ss->keep_alive = parsed.keep_alive;
    ss->st.io = &c->io;
    ss->st.s = (struct http_stream){.ops = &stream_ops, .arena = &c->arena, .head_in = &ss->st.head};
    ss->st.takes_trailers = ss->st.head.takes_trailers;
    h1_body_init(&ss->st.body, parsed.framing, ss->st.head.content_length, &c->arena);
    h1_io_out_begin(&c->io);
    c->reuse = false;
    c->request_count++;
    c->stream = ss;
    move(c, EXCHANGE);
    v->o.on_request(v->o.arg, &ss->st.s, ss->st.body.done, &c->peer);
    FICUS_ASSERT(ss->st.s.handler != NULL || ss->st.abandoned);
}

/* How much of the preface of HTTP/2 (RFC 9113 3.4) is there; 0 when this is something else. */
static size_t preface_size(struct h1_server_conn *c)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    size_t size = h1_io_in_size(&c->io) < H2_PREFACE_SIZE ? h1_io_in_size(&c->io) : H2_PREFACE_SIZE;
    bool first = c->conn.server->o.h2c && c->request_count == 0 && !c->line_skipped;
    return first && memcmp(h1_io_in(&c->io), preface, size) == 0 ? size : 0;
}

static bool step_head(struct h1_server_conn *c)
{
    struct h1_io *io = &c->io;
    size_t size = h1_io_in_size(io), size_max = c->conn.server->o.limits.head_size_max;
    const char *p = h1_io_in(io);
    size_t preface = preface_size(c);
    if (preface == H2_PREFACE_SIZE && !c->abort_wanted) {
        move(c, HANDOVER);
        return false;
    }
    if (preface > 0 && !input_ended(io))
        return false;
    if (size > 0 && p[0] == '\r' && !c->line_skipped && (size == 1 || p[1] == '\n')) {
        if (size == 1 && !input_ended(io))
            return false;
        if (size > 1) { /* RFC 9112 2.2: one empty line before a request is let pass */
            h1_io_consume(io, 2);
            c->line_skipped = true;
            return true;
        }
    }
    if (size > 0 && !http_token_valid(slice_make(p, 1))) {
        refuse(c, 400, "malformed method"); /* TLS, most often: no use in waiting for a line */
        return true;
    }
    size_t head_size = h1_head_end(p, size, &c->scan);
    if (head_size > size_max || (head_size == 0 && size >= size_max)) {
        bool line_ended = memchr(p, '\n', size_max) != NULL;
        refuse(c, line_ended ? 431 : 414, line_ended ? "request head is too large" : "request line is too long");
        return true;
    }
    if (head_size > 0) {
        exchange_begin(c, head_size);
        return true;
    }
    if (!input_ended(io))
        return false;
    conn_close(c);
    return true;
}

static bool step_exchange(struct h1_server_conn *c)
{
    struct h1_stream *st = &c->stream->st;
    struct h1_io *io = &c->io;
    if (c->abort_wanted)
        h1_stream_fail(st, FICUS_ERR_CANCELLED, "server closed");
    if (io->out_err != FICUS_ERR_OK || io->in_err != FICUS_ERR_OK)
        h1_stream_fail(st, FICUS_ERR_RESET, "client is gone");
    /* A client that cancels closes, one that merely shuts its side waits for its answer, and both look alike. The user
     * knows what the answer is worth; without its word it is a client that is gone, or long polls and slow handlers of
     * programs that cancel would never hear of it. */
    if (io->in_eof && st->body.done && st->out != H1_OUT_ENDED && h1_io_in_size(io) == 0 && !c->stream->half_closed &&
        !st->tunnel && !st->abandoned && st->fail == FICUS_ERR_OK) {
        if (st->s.handler->on_half_close == NULL) {
            h1_stream_fail(st, FICUS_ERR_RESET, "client is gone");
        } else {
            c->stream->half_closed = true;
            st->s.handler->on_half_close(st->s.arg, &st->s);
            return true;
        }
    }
    bool out_done = h1_stream_out_done(st) && (!st->tunnel || st->in_ended);
    if (st->abandoned && out_done && st->body.done) {
        exchange_finish(c);
        return true;
    }
    if (st->abandoned) {
        (void)h1_io_flush(io); /* a client that sees its answer cut knows more than one that sees none */
        conn_close(c);
        return true;
    }
    if (st->fail != FICUS_ERR_OK) {
        exchange_break(c);
        return true;
    }
    if (h1_stream_deliver(st, c->conn.server->o.limits.field_count_max) || h1_stream_writable(st) || h1_stream_shut(st))
        return true;
    /* The answer is out: what is left of the body can no longer matter to it, and waiting for a client that perhaps
     * waits for us would hang. */
    if (out_done) {
        exchange_finish(c);
        return true;
    }
    return false;
}

static bool step_drain(struct h1_server_conn *c)
{
    struct h1_io *io = &c->io;
    size_t used, data;
    const char *detail;
    if (!h1_body_decode(c->drain_body, h1_io_in(io), h1_io_in_size(io), &used, &data, &detail)) {
        conn_close(c);
        return true;
    }
    h1_io_consume(io, used);
    c->discarded_size += used;
    if (c->drain_body->done) {
        exchange_forget(c);
        move(c, IDLE);
        return true;
    }
    if (input_ended(io)) {
        conn_close(c);
        return true;
    }
    if (c->discarded_size > H1_DRAIN_SIZE_MAX) {
        exchange_forget(c);
        linger(c);
        return true;
    }
    return false;
}

static bool step_refuse(struct h1_server_conn *c)
{
    if (c->io.out_err != FICUS_ERR_OK) {
        conn_close(c);
        return true;
    }
    if (!c->io.end_sent || c->io.writing)
        return false;
    linger(c);
    return true;
}

static bool step_linger(struct h1_server_conn *c)
{
    c->discarded_size += h1_io_in_size(&c->io);
    h1_io_consume(&c->io, h1_io_in_size(&c->io));
    if (!input_ended(&c->io) && c->discarded_size <= H1_DRAIN_SIZE_MAX)
        return false;
    conn_close(c);
    return true;
}

static bool (*const steps[STATE_COUNT])(struct h1_server_conn *c) = {
    [IDLE] = step_idle,   [HEAD] = step_head,     [EXCHANGE] = step_exchange,
    [DRAIN] = step_drain, [REFUSE] = step_refuse, [LINGER] = step_linger,
};

/* ---- waiting ---- */

/* What the state is waiting for, if it waits for input. */
static void read_more(struct h1_server_conn *c)
{
    struct h1_io *io = &c->io;
    size_t size = h1_io_in_size(io);
    switch (c->state) {
    case HEAD:
        h1_io_read(io, size >= H1_IN_LITTLE);
        break;
    case EXCHANGE: {
        const struct h1_body *body = &c->stream->st.body;
        bool counted = body->framing == H1_BODY_LENGTH;
        if (body->done)
            h1_io_read(io, false); /* the next request, or the news that the client is gone */
        else if (counted ? size < body->left : size == 0)
            h1_io_read(io, !counted || body->left > H1_IN_LITTLE);
        break;
    }
    case REFUSE:
        break;
    default:
        h1_io_read(io, false);
    }
}

enum { NEVER = -1 };

static int64_t deadline_ms(const struct h1_server_conn *c)
{
    const struct http_limits *l = &c->conn.server->o.limits;
    switch (c->state) {
    case IDLE:
        if (!c->conn.server->draining)
            return c->since_ms + l->idle_timeout_ms;
        return c->since_ms + (c->request_count == 0 ? H1_DRAIN_FIRST_MS : H1_DRAIN_IDLE_MS);
    case HEAD:
        return c->since_ms + l->head_timeout_ms;
    case EXCHANGE:
        return l->body_timeout_ms > 0 && h1_stream_waits(&c->stream->st) ? c->io.moved_ms + l->body_timeout_ms : NEVER;
    case LINGER:
        return c->since_ms + H1_LINGER_MS;
    case CLOSING:
    case HANDOVER:
        return NEVER;
    default:
        return c->since_ms + (l->body_timeout_ms > 0 ? l->body_timeout_ms : 30 * 1000);
    }
}

/* Nothing was written yet and no read is pending: the transport changes hands as it is. */
static void handover(struct h1_server_conn *c)
{
    struct http_server *v = c->conn.server;
    struct env_stream *stream = c->io.stream;
    c->io.stream = NULL;
    h2_server_conn_new(v, stream, slice_make(h1_io_in(&c->io), h1_io_in_size(&c->io)));
    h1_io_done(&c->io);
    server_conn_leave(&c->conn);
    mem_free(c);
    server_conn_gone(v);
}

static void pump(void *arg)
{
    struct h1_server_conn *c = arg;
    if (c->io.pumping || c->state == CLOSING)
        return;
    c->io.pumping = true;
    do {
        while (c->state != CLOSING && c->state != HANDOVER && steps[c->state](c)) {
        }
        if (c->state == HANDOVER) {
            FICUS_ASSERT(!c->io.reading);
            handover(c);
            return;
        }
        if (c->abort_wanted && c->state != CLOSING) /* in a state without stream */
            conn_close(c);
    } while (c->state != CLOSING && h1_io_flush(&c->io));
    c->io.pumping = false;
    if (c->state == CLOSING)
        return;
    h1_io_rest(&c->io);
    read_more(c);
    int64_t due_ms = deadline_ms(c);
    if (due_ms != NEVER)
        h1_io_wake_at(&c->io, due_ms);
}

static void timer_fired(void *arg)
{
    struct h1_server_conn *c = arg;
    if (c->state == CLOSING)
        return;
    int64_t due_ms = deadline_ms(c);
    if (due_ms != NEVER && env_now_ms(c->io.env) >= due_ms) {
        if (c->state == EXCHANGE)
            h1_stream_fail(&c->stream->st, FICUS_ERR_TIMEOUT,
                           c->io.writing            ? "client does not read"
                           : c->stream->st.tunnel ? "client does not end a tunnel"
                                                  : "request body stalled");
        else if (c->state == HEAD)
            refuse(c, 408, "request head came too slowly");
        else
            conn_close(c);
    }
    pump(c);
}

/* ---- what the server asks for ---- */

static void conn_abort(struct server_conn *conn)
{
    struct h1_server_conn *c = conn_of(conn);
    if (c->state == CLOSING)
        return;
    c->abort_wanted = true;
    h1_io_kick(&c->io);
}

static void conn_evict(struct server_conn *conn)
{
    struct h1_server_conn *c = conn_of(conn);
    FICUS_ASSERT(!c->io.pumping);
    conn_close(c);
}

static void conn_drain(struct server_conn *conn)
{
    struct h1_server_conn *c = conn_of(conn);
    if (c->state == CLOSING)
        return;
    if (c->state == IDLE)
        c->since_ms = env_now_ms(c->io.env); /* the shorter wait begins now */
    h1_io_kick(&c->io);
}

static const struct server_conn_ops conn_ops = {conn_abort, conn_drain, conn_evict};

/* ---- begin ---- */

static const struct h1_io_ops io_ops = {pump, timer_fired, conn_closed};

void h1_server_conn_new(struct http_server *v, struct env_stream *stream)
{
    struct h1_server_conn *c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        env_close(v->env, stream, NULL, NULL);
        return;
    }
    h1_io_init(&c->io, v->env, &io_ops, c);
    c->io.stream = stream;
    c->since_ms = env_now_ms(v->env);
    struct env_tls_info tls;
    c->secure = env_stream_tls(v->env, stream, &tls);
    env_stream_peer(v->env, stream, &c->peer);
    server_conn_enter(v, &c->conn, &conn_ops);
    pump(c);
}
