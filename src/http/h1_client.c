/* SPDX-License-Identifier: Apache-2.0
 *
 * One client connection of HTTP/1.1 (RFC 9112).
 *
 *     IDLE ---> EXCHANGE ---> SETTLE
 *      |^         ||            ||
 *      |`---------'+------------'|
 *      `-----------'-------------'----> CLOSING --> on_closed, freed
 *
 * IDLE      connected, no exchange; a byte or an end from the server closes it (a server may close at any time, RFC
 *           9112 9.5)
 * EXCHANGE  c->stream exists; back to IDLE only when both messages are complete and both sides want to go on
 * SETTLE    the answer is complete and the user gone, but the kernel has not confirmed the last bytes of the request:
 *           mostly it has them and only the confirmation is behind the answer
 *
 * Failure modes: when writing the request fails, an answer may already be waiting (413 and close, say), so reading goes
 * on for H1_LAST_WORD_MS before the exchange is called broken. All callbacks come from pump(), which is never
 * re-entered.
 */
#include "assert.h"
#include "client_private.h"
#include "h1_stream.h"
#include "h1_write.h"
#include "mem.h"

enum {
    H1_INTERIM_COUNT_MAX = 16,
    H1_LAST_WORD_MS = 1000,
    H1_SETTLE_MS = 1000,
};

enum state { IDLE, EXCHANGE, SETTLE, CLOSING, STATE_COUNT };

struct client_stream {
    struct h1_stream st; /* first */
    struct h1_client *c;
    bool head_asked; /* the request is HEAD */
    struct slice protocol; /* that the connection shall become; p NULL: none */
    bool head_came;
    bool answer_begun;
    bool write_lost;
    int64_t write_lost_ms;
    unsigned interim_count;
    struct h1_scan scan;
};

struct h1_client {
    enum state state;
    struct http_client_conn *conn;
    bool close_wanted;
    bool reuse; /* of the present exchange: the server wants to go on */
    uint64_t exchange_count;
    int64_t settle_ms;            /* entry into SETTLE */
    struct client_stream *stream; /* in arena; not NULL exactly in EXCHANGE */
    struct arena arena;           /* its first block stays for the next exchange */
    struct h1_io io;
};

static const struct {
    const char *name;
    unsigned next;
} states[STATE_COUNT] = {
    [IDLE] = {"idle", 1u << EXCHANGE | 1u << CLOSING},
    [EXCHANGE] = {"exchange", 1u << IDLE | 1u << SETTLE | 1u << CLOSING},
    [SETTLE] = {"settle", 1u << IDLE | 1u << CLOSING},
    [CLOSING] = {"closing", 0},
};

static void pump(void *arg);

static void move(struct h1_client *c, enum state next)
{
    FICUS_ASSERT((states[c->state].next & 1u << next) != 0);
    c->state = next;
    FICUS_ASSERT((c->stream != NULL) == (next == EXCHANGE));
}

/* ---- ends ---- */

static void conn_closed(void *arg)
{
    struct h1_client *c = arg;
    client_conn_gone(c->conn);
    h1_io_done(&c->io);
    arena_done(&c->arena);
    mem_free(c);
}

static void conn_close(struct h1_client *c)
{
    c->stream = NULL; /* its memory lives until conn_closed */
    move(c, CLOSING);
    h1_io_close(&c->io);
}

static void exchange_break(struct h1_client *c)
{
    struct h1_stream *st = &c->stream->st;
    st->s.handler->on_reset(st->s.arg, &st->s, st->fail, st->fail_detail);
    conn_close(c);
}

/* Nothing came that nobody asked for, and the server has not hung up. */
static bool idle_quiet(const struct h1_client *c)
{
    return h1_io_in_size(&c->io) == 0 && !c->io.in_eof && c->io.in_err == FICUS_ERR_OK;
}

/* The request is with the kernel and the answer is complete: nothing points into the arena any more. */
static void rest_idle(struct h1_client *c)
{
    arena_clear(&c->arena);
    move(c, IDLE);
    c->conn->handler->on_room(c->conn->arg, c->conn);
}

/* The answer is complete. What is left of the request nobody wants (RFC 9112 9.3): then the connection ends too. */
static void exchange_finish(struct h1_client *c)
{
    struct h1_stream *st = &c->stream->st;
    bool reuse = c->reuse && st->out == H1_OUT_ENDED && !st->out_discard && idle_quiet(c);
    bool settled = h1_stream_out_done(st);
    st->out_discard = true;
    if (!st->abandoned)
        st->s.handler->on_done(st->s.arg, &st->s);
    c->stream = NULL;
    if (!reuse || c->close_wanted) {
        conn_close(c);
        return;
    }
    if (!settled) { /* trailers that are on their way lie in the arena */
        c->settle_ms = env_now_ms(c->io.env);
        move(c, SETTLE);
        return;
    }
    rest_idle(c);
}

/* ---- the stream's operations ---- */

static enum ficus_err stream_send_head(struct http_stream *s, const struct http_msg *m, bool end)
{
    struct client_stream *cs = (struct client_stream *)(void *)s;
    struct h1_stream *st = &cs->st;
    struct h1_io *io = &cs->c->io;
    if (st->fail != FICUS_ERR_OK || st->abandoned)
        return FICUS_ERR_RESET;
    FICUS_ASSERT(st->out == H1_OUT_HEAD);
    if (slice_eq_str(m->method, "CONNECT") || (end && m->content_length > 0) || (m->protocol.p != NULL && !end))
        return FICUS_ERR_INVALID;

    struct h1_write w = {.m = m, .framing = H1_BODY_NONE, .content_length = -1, .upgrade = m->protocol};
    if (m->protocol.p != NULL && (cs->protocol = arena_slice(s->arena, m->protocol)).p == NULL)
        return FICUS_ERR_NOMEM;
    if (end) {
        w.content_length = http_method_wants_length(m->method) ? 0 : -1; /* RFC 9110 8.6 */
    } else {
        w.content_length = m->content_length;
        w.framing = m->content_length > 0 ? H1_BODY_LENGTH : m->content_length == 0 ? H1_BODY_NONE : H1_BODY_CHUNKED;
    }
    size_t size_max = h1_request_size_max(&w);
    size_t hint = w.content_length > 0 && w.content_length < H1_PAST_RING_MIN ? (size_t)w.content_length : 0;
    char *room = size_max == 0 ? NULL : h1_io_head_room(io, size_max, hint);
    if (room == NULL)
        return size_max == 0 ? FICUS_ERR_INVALID : io->out_err != FICUS_ERR_OK ? FICUS_ERR_NOMEM : FICUS_ERR_TOO_LARGE;
    h1_io_head_done(io, h1_request_write(&w, room));
    cs->head_asked = slice_eq_str(m->method, "HEAD");
    st->takes_trailers = true; /* RFC 9112 7.1: chunked cannot be read without them */
    h1_stream_out_open(st, w.framing, w.content_length > 0 ? w.content_length : 0, false, end);
    return FICUS_ERR_OK;
}

static void stream_reset(struct http_stream *s, enum ficus_err why)
{
    struct client_stream *cs = (struct client_stream *)(void *)s;
    (void)why; /* HTTP/1.1 has no way to tell the server */
    cs->st.abandoned = true;
    h1_io_kick(&cs->c->io);
}

static void stream_progress(const struct http_stream *s, struct http_progress *ret_progress)
{
    const struct client_stream *cs = (const struct client_stream *)(const void *)s;
    *ret_progress = (struct http_progress){
        .conn_reused = cs->c->exchange_count > 1, .request_sent = cs->c->io.begun, .response_begun = cs->answer_begun};
}

static const struct http_stream_ops stream_ops = {stream_send_head, h1_stream_send, h1_stream_recv, h1_stream_trailers,
                                                  stream_reset, stream_progress};

static enum ficus_err client_open(void *self, const struct http_handler *h, void *arg, struct http_stream **ret_stream)
{
    struct h1_client *c = self;
    if (c->state == EXCHANGE || c->state == SETTLE)
        return FICUS_ERR_BUSY;
    if (c->state != IDLE || c->close_wanted || !idle_quiet(c))
        return FICUS_ERR_RESET;
    struct client_stream *cs = ARENA_NEW(&c->arena, struct client_stream);
    if (cs == NULL)
        return FICUS_ERR_NOMEM;
    cs->c = c;
    cs->st.io = &c->io;
    cs->st.s = (struct http_stream){.ops = &stream_ops, .handler = h, .arg = arg, .arena = &c->arena};
    h1_io_out_begin(&c->io);
    c->reuse = false;
    c->exchange_count++;
    c->stream = cs;
    move(c, EXCHANGE);
    *ret_stream = &cs->st.s;
    return FICUS_ERR_OK;
}

/* ---- steps ---- */

static bool step_idle(struct h1_client *c)
{
    if (!c->close_wanted && idle_quiet(c))
        return false;
    conn_close(c);
    return true;
}

static bool step_settle(struct h1_client *c)
{
    if (c->close_wanted || !idle_quiet(c) || c->io.out_err != FICUS_ERR_OK) {
        conn_close(c);
        return true;
    }
    if (c->io.writing || !c->io.end_sent)
        return false;
    rest_idle(c);
    return true;
}

/* A complete head in memory of its own. NULL: the stream failed. */
static struct http_msg *head_take(struct client_stream *cs, size_t size, struct h1_head *ret_head)
{
    struct h1_client *c = cs->c;
    const struct h1_parse_limits limits = {c->conn->limits.field_count_max, 0};
    struct slice text = arena_slice(&c->arena, slice_make(h1_io_in(&c->io), size));
    h1_io_consume(&c->io, size);
    cs->scan = (struct h1_scan){0};
    struct http_msg *m = &cs->st.head;
    http_msg_init(m, &c->arena);
    const char *detail = "answer takes too much memory";
    enum ficus_err err = FICUS_ERR_TOO_LARGE;
    if (text.p != NULL)
        err = h1_parse_response(text, &limits, cs->head_asked, m, ret_head, &detail);
    if (err == FICUS_ERR_OK && m->status == 101 &&
        (cs->protocol.p == NULL || !slice_eq_nocase(m->protocol, cs->protocol))) {
        err = FICUS_ERR_PROTOCOL;
        detail = cs->protocol.p == NULL ? "server switched protocols unasked" : "server switched to another protocol";
    }
    if (err == FICUS_ERR_OK && m->status < 200 && ++cs->interim_count > H1_INTERIM_COUNT_MAX) {
        err = FICUS_ERR_PROTOCOL;
        detail = "too many interim answers";
    }
    if (err == FICUS_ERR_OK)
        return m;
    h1_stream_fail(&cs->st, err, detail);
    return NULL;
}

static bool step_head(struct client_stream *cs)
{
    struct h1_client *c = cs->c;
    struct h1_stream *st = &cs->st;
    struct h1_io *io = &c->io;
    size_t size = h1_io_in_size(io);
    if (size > 0 && st->out == H1_OUT_HEAD) {
        h1_stream_fail(st, FICUS_ERR_PROTOCOL, "server answered before it was asked");
        return true;
    }
    size_t head_size = h1_head_end(h1_io_in(io), size, &cs->scan);
    if (head_size > c->conn->limits.head_size_max || (head_size == 0 && size >= c->conn->limits.head_size_max)) {
        h1_stream_fail(st, FICUS_ERR_TOO_LARGE, "response head is too large");
        return true;
    }
    if (head_size == 0) {
        if (!io->in_eof && io->in_err == FICUS_ERR_OK)
            return false;
        h1_stream_fail(st, FICUS_ERR_RESET,
                       cs->answer_begun ? "connection ended inside a head" : "connection ended before an answer");
        return true;
    }
    struct h1_head parsed;
    struct http_msg *m = head_take(cs, head_size, &parsed);
    if (m == NULL)
        return true;
    if (m->status < 200 && m->status != 101) {
        if (st->s.handler->on_interim != NULL)
            st->s.handler->on_interim(st->s.arg, &st->s, m);
        return true;
    }
    cs->head_came = true;
    st->s.head_in = m;
    if (m->status == 101) {
        m->content_length = -1;
        h1_stream_tunnel(st);
    } else {
        c->reuse = parsed.keep_alive;
        h1_body_init(&st->body, parsed.framing, m->content_length, &c->arena);
    }
    st->in_ended = st->body.done;
    st->s.handler->on_head(st->s.arg, &st->s, m, st->body.done);
    return true;
}

static bool step_exchange(struct h1_client *c)
{
    struct client_stream *cs = c->stream;
    struct h1_stream *st = &cs->st;
    struct h1_io *io = &c->io;
    cs->answer_begun = cs->answer_begun || h1_io_in_size(io) > 0;
    if (st->abandoned) {
        if (cs->head_came && st->body.done && h1_stream_out_done(st))
            exchange_finish(c);
        else
            conn_close(c);
        return true;
    }
    if (c->close_wanted)
        h1_stream_fail(st, FICUS_ERR_CANCELLED, "connection was closed");
    if (io->out_err != FICUS_ERR_OK && !cs->write_lost) {
        cs->write_lost = true;
        cs->write_lost_ms = env_now_ms(io->env);
        st->out_discard = true;
    }
    if (st->fail == FICUS_ERR_OK && !cs->head_came && step_head(cs))
        return true;
    if (st->fail != FICUS_ERR_OK) {
        exchange_break(c);
        return true;
    }
    if ((cs->head_came && h1_stream_deliver(st, c->conn->limits.field_count_max)) || h1_stream_writable(st) ||
        h1_stream_shut(st))
        return true;
    if (!st->in_ended || (st->tunnel && !h1_stream_out_done(st) && !cs->write_lost))
        return false;
    exchange_finish(c);
    return true;
}

static bool (*const steps[STATE_COUNT])(struct h1_client *c) = {
    [IDLE] = step_idle,
    [EXCHANGE] = step_exchange,
    [SETTLE] = step_settle,
};

/* ---- waiting ---- */

static void read_more(struct h1_client *c)
{
    bool in_body = c->state == EXCHANGE && c->stream->head_came;
    size_t size = h1_io_in_size(&c->io);
    const struct h1_body *body = in_body ? &c->stream->st.body : NULL;
    if (!in_body || (!body->done && (body->framing == H1_BODY_LENGTH ? size < body->left : size == 0)))
        h1_io_read(&c->io, true);
}

enum { NEVER = -1 };

static int64_t deadline_ms(const struct h1_client *c)
{
    if (c->state == SETTLE)
        return c->settle_ms + H1_SETTLE_MS;
    if (c->state != EXCHANGE)
        return NEVER;
    const struct client_stream *cs = c->stream;
    if (cs->write_lost && !cs->head_came)
        return cs->write_lost_ms + H1_LAST_WORD_MS;
    bool waits = c->io.writing || (cs->head_came && h1_stream_waits(&cs->st));
    return waits && c->conn->limits.body_timeout_ms > 0 ? c->io.moved_ms + c->conn->limits.body_timeout_ms : NEVER;
}

static void pump(void *arg)
{
    struct h1_client *c = arg;
    if (c->io.pumping || c->state == CLOSING)
        return;
    c->io.pumping = true;
    do {
        while (c->state != CLOSING && steps[c->state](c)) {
        }
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
    struct h1_client *c = arg;
    if (c->state == CLOSING)
        return;
    int64_t due_ms = deadline_ms(c);
    if (due_ms != NEVER && env_now_ms(c->io.env) >= due_ms) {
        if (c->state == SETTLE)
            conn_close(c);
        else if (c->stream->write_lost)
            h1_stream_fail(&c->stream->st, FICUS_ERR_RESET, "connection ended while the request was sent");
        else
            h1_stream_fail(&c->stream->st, FICUS_ERR_TIMEOUT,
                           c->io.writing ? "server does not read" : "response body stalled");
    }
    pump(c);
}

/* ---- begin and end ---- */

static const struct h1_io_ops io_ops = {pump, timer_fired, conn_closed};

static bool client_begin(struct http_client_conn *conn, struct env_stream *stream)
{
    struct h1_client *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return false;
    c->conn = conn;
    conn->self = c;
    arena_init(&c->arena, c->conn->limits.arena_size_max);
    h1_io_init(&c->io, conn->env, &io_ops, c);
    c->io.stream = stream;
    c->io.pumping = true; /* the callback may open and send: all of it is looked at below */
    conn->handler->on_connected(conn->arg, conn, FICUS_ERR_OK);
    c->io.pumping = false;
    pump(c);
    return true;
}

static void client_close(void *self)
{
    struct h1_client *c = self;
    if (c->state == CLOSING)
        return;
    c->close_wanted = true;
    h1_io_kick(&c->io);
}

static size_t client_room(const void *self)
{
    const struct h1_client *c = self;
    return c->state == IDLE && !c->close_wanted && idle_quiet(c);
}

static size_t client_running(const void *self)
{
    const struct h1_client *c = self;
    return c->state == EXCHANGE;
}

const struct client_codec h1_client_codec = {client_begin, client_open, client_close, client_room, client_running};
