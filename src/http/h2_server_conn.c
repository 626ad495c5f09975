/* SPDX-License-Identifier: Apache-2.0
 *
 * One server connection of HTTP/2 (RFC 9113) on nghttp2.
 *
 *   OPEN ---- session over and said so ----> LINGER --> CLOSING --> freed
 *     `------ transport broken, abort, evicted ---------^
 *
 * OPEN      streams come and go; `draining`: told to go away, the running ones are finished; `over`: no new ones
 * LINGER    our side is shut; input is thrown away until the client has read our last words and closes
 * CLOSING   the transport closes; no callback to any user any more
 *
 * Reading: what comes is given to nghttp2 at once, so there is no queue here; bodies are bounded by the windows, which
 * grow only as users take data. Writing: frames are gathered up to H2_FLIGHT_SIZE and written at once; while a write is
 * pending nothing is gathered, and when too many control frames wait behind it nothing is read either.
 *
 * All of this happens in pump(), which is never re-entered: functions that the user calls only change fields and kick.
 */
#include "h2_server.h"

#include "assert.h"
#include "mem.h"

enum {
    H2_IN_SIZE = 16 * 1024,
    H2_QUEUE_MAX = 64, /* control frames that wait while the client does not read; then we do not read either */
    H2_LINGER_MS = 2000,
    H2_NOTICE_MS = 1000, /* between "no more, please" and the last word, unless the client answers our ping before */
    H2_BUDGET_MAX = 1000,
    H2_BUDGET_PER_SECOND = 100,
    H2_COST_RESET = 10,
};

enum { NEVER = -1 };

static const uint8_t drain_ping[8] = "drained?";

static void pump(void *arg);

static struct h2_server_conn *conn_of(struct server_conn *c)
{
    return CONTAINER_OF(c, struct h2_server_conn, conn);
}

void h2_server_kick(struct h2_server_conn *c)
{
    if (!c->pumping && c->state != H2_CLOSING && !env_timer_armed(&c->kick))
        env_timer_start(c->env, &c->kick, 0);
}

void h2_server_streams_changed(struct h2_server_conn *c)
{
    if (c->stream_count > 1 || c->state != H2_OPEN)
        return;
    c->since_ms = env_now_ms(c->env);
    server_conn_wait(&c->conn, c->stream_count == 0);
}

/* ---- ends ---- */

static void conn_closed(void *arg)
{
    struct h2_server_conn *c = arg;
    struct http_server *v = c->conn.server;
    FICUS_ASSERT(c->stream_count == 0);
    nghttp2_session_del(c->session);
    if (c->in != c->small)
        mem_free(c->in);
    h2_fifo_done(&c->flight);
    server_conn_leave(&c->conn);
    mem_free(c);
    server_conn_gone(v); /* the server may go with its last connection */
}

static void conn_close(struct h2_server_conn *c)
{
    FICUS_ASSERT(c->stream_count == 0 && c->state != H2_CLOSING);
    c->state = H2_CLOSING;
    server_conn_wait(&c->conn, false);
    env_timer_stop(c->env, &c->kick);
    env_timer_stop(c->env, &c->timer);
    env_close(c->env, c->stream, conn_closed, c);
}

/* No new streams; those that run hear why they end. */
static void streams_fail(struct h2_server_conn *c, enum ficus_err err, const char *detail)
{
    c->over = true;
    LIST_FOREACH (&c->streams, it)
        h2_server_stream_fail(CONTAINER_OF(it, struct h2_server_stream, link), err, detail);
}

static void conn_break(struct h2_server_conn *c, enum ficus_err err, const char *detail)
{
    if (c->broken != FICUS_ERR_OK)
        return;
    c->broken = err;
    c->broken_detail = detail;
}

/* GOAWAY with this code; what runs is cut off. */
static void conn_end(struct h2_server_conn *c, uint32_t code, enum ficus_err err, const char *detail)
{
    c->over = true;
    c->over_err = err;
    c->over_detail = detail;
    if (nghttp2_session_terminate_session(c->session, code) != 0)
        conn_break(c, FICUS_ERR_NOMEM, "out of memory");
    c->moved_ms = env_now_ms(c->env);
    h2_server_kick(c);
}

bool h2_server_charge(struct h2_server_conn *c, int32_t cost)
{
    int64_t now_ms = env_now_ms(c->env);
    int64_t earned = (now_ms - c->budget_ms) * H2_BUDGET_PER_SECOND / 1000;
    if (earned > 0) {
        c->budget = earned < H2_BUDGET_MAX - c->budget ? c->budget + (int32_t)earned : H2_BUDGET_MAX;
        c->budget_ms = now_ms;
    }
    c->budget = cost < 0 && c->budget - cost > H2_BUDGET_MAX ? H2_BUDGET_MAX : c->budget - cost;
    if (c->budget >= 0)
        return true;
    c->budget = 0;
    if (!c->over)
        conn_end(c, NGHTTP2_ENHANCE_YOUR_CALM, FICUS_ERR_PROTOCOL, "client floods");
    return false;
}

/* ---- what nghttp2 tells ---- */

/* Frames that only cost. What carries a request or a part of a body is bounded by streams and windows. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    struct h2_server_conn *c = arg;
    (void)session;
    int32_t cost = 1;
    if (hd->type == NGHTTP2_HEADERS || (hd->type == NGHTTP2_DATA && (hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM))))
        cost = 0;
    else if (hd->type == NGHTTP2_RST_STREAM)
        cost = H2_COST_RESET;
    if (cost > 0)
        (void)h2_server_charge(c, cost);
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_server_conn *c = arg;
    c->block_ms = env_now_ms(c->env);
    int32_t id = frame->hd.stream_id;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_server_stream *ss = c->over ? NULL : h2_server_stream_new(c, id);
    if (ss == NULL) {
        (void)h2_server_charge(c, 1);
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    (void)nghttp2_session_set_stream_user_data(session, id, ss);
    return 0;
}

/* Malformed (RFC 9113 8.1.1): the stream is reset; what follows of its fields is only decoded. */
static void malformed(struct h2_server_conn *c, const char *detail)
{
    const struct http_server_options *o = &c->conn.server->o;
    if (o->on_refused != NULL)
        o->on_refused(o->arg, 400, detail);
    (void)h2_server_charge(c, H2_COST_RESET);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *arg)
{
    struct h2_server_conn *c = arg;
    (void)flags;
    struct h2_server_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss == NULL)
        return 0;
    const struct http_limits *limits = &c->conn.server->o.limits;
    struct slice n = slice_make(name, name_size), v = slice_make(value, value_size);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_head_field(&ss->parsed, limits, &ss->head, n, v);
    else
        h2_trailer_field(&ss->trailers_parsed, limits, &ss->trailers, n, v);
    return 0;
}

static void headers_end(struct h2_server_conn *c, struct h2_server_stream *ss, bool end)
{
    h2_head_end(&ss->parsed, &ss->head, end, c->secure ? SLICE("https") : SLICE("http"));
    ss->answers_head = slice_eq_str(ss->head.method, "HEAD");
    ss->expects = ss->parsed.expect_continue;
    if (ss->parsed.status != 400) {
        h2_server_stream_begin(ss);
        return;
    }
    malformed(c, ss->parsed.detail);
    h2_server_stream_fail(ss, FICUS_ERR_PROTOCOL, ss->parsed.detail);
}

static void trailers_end(struct h2_server_conn *c, struct h2_server_stream *ss)
{
    const struct h2_head *h = &ss->trailers_parsed;
    if (h->status == 400)
        malformed(c, h->detail);
    if (h->status != 0)
        h2_server_stream_fail(ss, h->status == 400 ? FICUS_ERR_PROTOCOL : FICUS_ERR_TOO_LARGE, h->detail);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_server_conn *c = arg;
    bool ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
    if (frame->hd.type == NGHTTP2_SETTINGS && !ack)
        c->settings_seen = true;
    if (frame->hd.type == NGHTTP2_PING && ack && c->draining &&
        memcmp(frame->ping.opaque_data, drain_ping, sizeof drain_ping) == 0)
        c->notice_ms = env_now_ms(c->env) - H2_NOTICE_MS; /* what the client sent before it knew is here */
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        c->block_ms = 0;
    struct h2_server_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss == NULL)
        return 0;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        headers_end(c, ss, end);
    else if (frame->hd.type == NGHTTP2_HEADERS)
        trailers_end(c, ss);
    if (end && !ss->in_ended)
        h2_server_stream_in_end(ss);
    return 0;
}

static int on_invalid_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
    struct h2_server_conn *c = arg;
    (void)session;
    (void)error;
    if (frame->hd.type == NGHTTP2_HEADERS)
        c->block_ms = 0;
    malformed(c, "malformed HTTP/2 message");
    return 0;
}

static int on_data_chunk_recv(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t size,
                              void *arg)
{
    (void)flags;
    (void)arg;
    struct h2_server_stream *ss = nghttp2_session_get_stream_user_data(session, id);
    if (ss == NULL)
        (void)nghttp2_session_consume_connection(session, size);
    else
        h2_server_stream_data(ss, p, size);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_server_conn *c = arg;
    if (frame->hd.type == NGHTTP2_DATA)
        (void)h2_server_charge(c, -2); /* it may be answered by WINDOW_UPDATEs */
    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    struct h2_server_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss != NULL) {
        ss->end_sent = true;
        list_add_tail(&c->ending, &ss->ending);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
    (void)arg;
    struct h2_server_stream *ss = nghttp2_session_get_stream_user_data(session, id);
    if (ss != NULL)
        h2_server_stream_closed(ss, error_code);
    return 0;
}

/* ---- output ---- */

static void flight_landed(struct h2_server_conn *c)
{
    h2_fifo_take(&c->flight, c->flight.size);
    c->moved_ms = env_now_ms(c->env);
    for (struct list *it; (it = list_pop_head(&c->ending)) != NULL;) {
        struct h2_server_stream *ss = CONTAINER_OF(it, struct h2_server_stream, ending);
        ss->out_done = true;
        h2_server_stream_ready(ss);
    }
}

static void write_done(void *arg, ssize_t n)
{
    struct h2_server_conn *c = arg;
    c->writing = false;
    if (n < 0)
        conn_break(c, FICUS_ERR_RESET, "client is gone");
    else
        flight_landed(c);
    pump(c);
}

/* Take frames from nghttp2. It must be asked until it has nothing more: only then has it settled its own decisions. */
static void flight_gather(struct h2_server_conn *c)
{
    while (c->flight.size < H2_FLIGHT_SIZE) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(c->session, &p);
        if (n == 0)
            return;
        if (n < 0 || !h2_fifo_put(&c->flight, p, (size_t)n)) {
            conn_break(c, FICUS_ERR_NOMEM, "out of memory");
            return;
        }
    }
}

/* True: something changed at once. */
static bool flush(struct h2_server_conn *c)
{
    if (c->writing || c->broken != FICUS_ERR_OK || c->state != H2_OPEN)
        return false;
    flight_gather(c);
    if (c->broken != FICUS_ERR_OK)
        return true;
    if (c->flight.size == 0) {
        if (list_empty(&c->ending))
            return false;
        flight_landed(c); /* it was the last frame of the write before */
        return true;
    }
    struct iovec iov = {h2_fifo_at(&c->flight), c->flight.size};
    c->moved_ms = env_now_ms(c->env);
    ssize_t n = env_write(c->env, c->stream, &iov, 1, write_done, c);
    if (n < 0)
        conn_break(c, FICUS_ERR_RESET, "client is gone");
    else if (n > 0)
        flight_landed(c);
    else
        c->writing = true;
    return n != 0;
}

/* ---- input ---- */

static void session_recv(struct h2_server_conn *c, const char *p, size_t size)
{
    c->pumping = true; /* what the callbacks find to do is for the pump that follows */
    if (nghttp2_session_mem_recv(c->session, (const uint8_t *)p, size) < 0) /* a flood, no HTTP/2, or out of memory */
        conn_break(c, FICUS_ERR_PROTOCOL, "not HTTP/2");
    c->pumping = false;
}

static void read_done(void *arg, ssize_t n)
{
    struct h2_server_conn *c = arg;
    c->reading = false;
    c->in_full = c->in == c->small && n == (ssize_t)sizeof c->small;
    if (n <= 0) {
        conn_break(c, FICUS_ERR_RESET, "client is gone");
    } else if (c->state == H2_OPEN) {
        session_recv(c, c->in, (size_t)n);
    }
    pump(c);
}

static void read_more(struct h2_server_conn *c)
{
    if (c->reading || (c->writing && nghttp2_session_get_outbound_queue_size(c->session) > H2_QUEUE_MAX))
        return;
    bool much = c->state == H2_OPEN && (c->body_count > 0 || c->in_full);
    if (much && c->in == c->small) {
        char *big = mem_alloc(H2_IN_SIZE);
        c->in = big != NULL ? big : c->small;
    } else if (!much && c->in != c->small) {
        mem_free(c->in);
        c->in = c->small;
    }
    c->reading = true;
    env_read(c->env, c->stream, c->in, c->in == c->small ? sizeof c->small : H2_IN_SIZE, read_done, c);
}

/* ---- waiting ---- */

void h2_server_wake_at(struct h2_server_conn *c, int64_t due_ms)
{
    if (env_timer_armed(&c->timer) && c->timer_due_ms <= due_ms)
        return;
    int64_t now_ms = env_now_ms(c->env);
    c->timer_due_ms = due_ms;
    env_timer_start(c->env, &c->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

static void sooner(int64_t *due_ms, int64_t other_ms)
{
    if (*due_ms == NEVER || other_ms < *due_ms)
        *due_ms = other_ms;
}

/* When the connection as a whole is late. */
static int64_t conn_deadline_ms(const struct h2_server_conn *c)
{
    const struct http_limits *l = &c->conn.server->o.limits;
    int64_t due_ms = NEVER;
    if (c->state == H2_LINGER)
        return c->since_ms + H2_LINGER_MS;
    if (!c->settings_seen)
        sooner(&due_ms, c->begin_ms + l->head_timeout_ms);
    if (c->block_ms != 0)
        sooner(&due_ms, c->block_ms + l->head_timeout_ms);
    if (c->stream_count == 0) /* pings do not count: who only keeps connections open shall not keep them for ever */
        sooner(&due_ms, c->since_ms + l->idle_timeout_ms);
    if (c->writing)
        sooner(&due_ms, c->moved_ms + l->body_timeout_ms);
    return due_ms;
}

/* Every wait of a stream for its client lasts this long at least, so looking so often is enough to notice each in time. */
static int64_t shortest_ms(const struct h2_server_conn *c)
{
    const struct http_limits *l = &c->conn.server->o.limits;
    int64_t ms = l->head_timeout_ms < l->idle_timeout_ms ? l->head_timeout_ms : l->idle_timeout_ms;
    return l->body_timeout_ms < ms ? l->body_timeout_ms : ms;
}

static int64_t streams_deadline_ms(const struct h2_server_conn *c)
{
    int64_t due_ms = NEVER;
    LIST_FOREACH (&c->streams, it) {
        int64_t stream_ms = h2_server_stream_deadline_ms(CONTAINER_OF(it, struct h2_server_stream, link));
        if (stream_ms != NEVER)
            sooner(&due_ms, stream_ms);
    }
    return due_ms;
}

/* ---- the pump ---- */

/* All streams that have something to do, one step each. */
static bool streams_step(struct h2_server_conn *c)
{
    bool moved = false;
    for (struct list *it; (it = list_pop_head(&c->ready)) != NULL;) {
        struct h2_server_stream *ss = CONTAINER_OF(it, struct h2_server_stream, ready);
        /* A step that did something may have more behind it; first in line again, it would starve the others. */
        list_add_tail(&c->ready, &ss->ready);
        if (!h2_server_stream_step(ss))
            list_remove(&ss->ready);
        moved = true;
    }
    return moved;
}

/* RFC 9113 6.8: first without a limit, so that requests that are on their way are not lost; then the real one. */
static void drain_begin(struct h2_server_conn *c)
{
    if (c->state != H2_OPEN || c->draining || c->over)
        return;
    c->draining = true;
    c->notice_ms = env_now_ms(c->env);
    if (nghttp2_submit_shutdown_notice(c->session) != 0 ||
        nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, drain_ping) != 0)
        conn_break(c, FICUS_ERR_NOMEM, "out of memory");
}

/* The last word of a drain: which streams were taken on. */
static void drain_finish(struct h2_server_conn *c)
{
    if (!c->draining || c->goaway_sent || env_now_ms(c->env) < c->notice_ms + H2_NOTICE_MS)
        return;
    c->goaway_sent = true;
    int32_t last = nghttp2_session_get_last_proc_stream_id(c->session);
    if (nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) != 0)
        conn_break(c, FICUS_ERR_NOMEM, "out of memory");
}

/* True: the state changed. */
static bool ends_step(struct h2_server_conn *c)
{
    if (c->abort_wanted)
        conn_break(c, FICUS_ERR_CANCELLED, "server closed");
    if (c->broken != FICUS_ERR_OK) {
        if (c->stream_count == 0)
            conn_close(c);
        else
            streams_fail(c, c->broken, c->broken_detail);
        return true;
    }
    if (c->state != H2_OPEN || c->writing || nghttp2_session_want_write(c->session) || nghttp2_session_want_read(c->session))
        return false;
    if (c->stream_count > 0) { /* their connection ended by an error of the client's */
        if (c->over_err != FICUS_ERR_OK)
            streams_fail(c, c->over_err, c->over_detail);
        else
            streams_fail(c, FICUS_ERR_PROTOCOL, "client broke HTTP/2");
        return true;
    }
    c->state = H2_LINGER;
    c->since_ms = env_now_ms(c->env);
    server_conn_wait(&c->conn, true);
    env_shutdown_write(c->env, c->stream);
    return true;
}

static void pump(void *arg)
{
    struct h2_server_conn *c = arg;
    if (c->pumping || c->state == H2_CLOSING)
        return;
    c->pumping = true;
    bool moved;
    uint64_t most = c->conn.server->o.limits.conn_request_count_max;
    do {
        if (most > 0 && c->request_count >= most)
            drain_begin(c);
        drain_finish(c);
        moved = streams_step(c);
        moved |= flush(c);
        moved |= ends_step(c);
    } while (moved && c->state != H2_CLOSING);
    c->pumping = false;
    if (c->state == H2_CLOSING)
        return;
    read_more(c);
    int64_t due_ms = conn_deadline_ms(c);
    if (c->stream_count > 0)
        sooner(&due_ms, env_now_ms(c->env) + shortest_ms(c));
    if (c->draining && !c->goaway_sent)
        sooner(&due_ms, c->notice_ms + H2_NOTICE_MS);
    if (due_ms != NEVER)
        h2_server_wake_at(c, due_ms);
}

static void kick_fire(void *arg)
{
    pump(arg);
}

static void timer_fire(void *arg)
{
    struct h2_server_conn *c = arg;
    int64_t now_ms = env_now_ms(c->env), due_ms = conn_deadline_ms(c);
    if (due_ms != NEVER && now_ms >= due_ms) {
        /* Who reads nothing, or said goodbye already, gets no words. */
        if (c->state == H2_LINGER || c->writing || c->over)
            conn_break(c, FICUS_ERR_TIMEOUT, "client does not read");
        else
            conn_end(c, c->settings_seen ? NGHTTP2_NO_ERROR : NGHTTP2_SETTINGS_TIMEOUT, FICUS_ERR_TIMEOUT,
                     "client stalls");
    }
    LIST_FOREACH (&c->streams, it) {
        struct h2_server_stream *ss = CONTAINER_OF(it, struct h2_server_stream, link);
        due_ms = h2_server_stream_deadline_ms(ss);
        if (due_ms != NEVER && now_ms >= due_ms)
            h2_server_stream_late(ss);
    }
    pump(c);
    if (c->state == H2_OPEN && (due_ms = streams_deadline_ms(c)) != NEVER)
        h2_server_wake_at(c, due_ms);
}

/* ---- what the server asks for ---- */

static void conn_abort(struct server_conn *conn)
{
    struct h2_server_conn *c = conn_of(conn);
    if (c->state == H2_CLOSING)
        return;
    c->abort_wanted = true;
    h2_server_kick(c);
}

/* It waits, so nothing is lost but the connection; the client hears so if it reads. */
static void conn_evict(struct server_conn *conn)
{
    struct h2_server_conn *c = conn_of(conn);
    FICUS_ASSERT(!c->pumping && c->stream_count == 0);
    if (c->state == H2_OPEN && c->broken == FICUS_ERR_OK &&
        nghttp2_session_terminate_session(c->session, NGHTTP2_NO_ERROR) == 0)
        (void)flush(c);
    conn_close(c);
}

static void conn_drain(struct server_conn *conn)
{
    struct h2_server_conn *c = conn_of(conn);
    drain_begin(c);
    h2_server_kick(c);
}

static const struct server_conn_ops conn_ops = {conn_abort, conn_drain, conn_evict};

/* ---- begin ---- */

/* What the client may do. nghttp2 ends the whole connection of who opens more streams than it has said; RFC 9113 5.1.2 asks
 * only for the stream, and h2_server_stream_new refuses that. So nghttp2 is told that there is no limit, as the first entry of
 * the first frame, and that frame is gathered here and says ours. */
static bool settings_gather(struct h2_server_conn *c)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, UINT32_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)c->conn.server->o.limits.head_size_max},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    enum { FRAME_HEAD = 9, ENTRY = 6, ENTRY_ID = 2 };
    static const char no_limit[] = {0, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, '\xff', '\xff', '\xff', '\xff'};
    const char limit[] = {0, 0, 0, H2_STREAMS_MAX};
    const uint8_t *p;
    if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, ARRAY_COUNT(settings)) != 0)
        return false;
    ssize_t size = nghttp2_session_mem_send(c->session, &p);
    if (size < 0 || !h2_fifo_put(&c->flight, p, (size_t)size))
        return false;
    char *entry = h2_fifo_at(&c->flight) + FRAME_HEAD;
    FICUS_ASSERT(size == FRAME_HEAD + (ssize_t)ARRAY_COUNT(settings) * ENTRY && memcmp(entry, no_limit, ENTRY) == 0);
    memcpy(entry + ENTRY_ID, limit, sizeof limit);
    return true;
}

static int session_make(struct h2_server_conn *c, nghttp2_session_callbacks *cb, nghttp2_option *o)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);

    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_outbound_ack(o, 1000); /* our own bound, H2_QUEUE_MAX, comes before in all but one read */
    nghttp2_option_set_stream_reset_rate_limit(o, 100, 20);
    nghttp2_option_set_max_continuations(o, 8);
    nghttp2_option_set_max_deflate_dynamic_table_size(o, 4096);

    nghttp2_mem mem = h2_memory; /* is copied */
    return nghttp2_session_server_new3(&c->session, cb, c, o, &mem);
}

static bool session_new(struct h2_server_conn *c)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *o = NULL;
    bool ok = nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&o) == 0 && session_make(c, cb, o) == 0 &&
              settings_gather(c) &&
              nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW) == 0;
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    return ok;
}

void h2_server_conn_new(struct http_server *v, struct env_stream *stream, struct slice begun)
{
    struct h2_server_conn *c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        env_close(v->env, stream, NULL, NULL);
        return;
    }
    c->env = v->env;
    c->stream = stream;
    c->in = c->small;
    c->kick = (struct env_timer){.fn = kick_fire, .arg = c};
    c->timer = (struct env_timer){.fn = timer_fire, .arg = c};
    c->begin_ms = c->since_ms = c->moved_ms = c->budget_ms = env_now_ms(v->env);
    c->budget = H2_BUDGET_MAX;
    list_init(&c->streams);
    list_init(&c->ready);
    list_init(&c->ending);
    struct env_tls_info tls;
    c->secure = env_stream_tls(v->env, stream, &tls);
    env_stream_peer(v->env, stream, &c->peer);
    server_conn_enter(v, &c->conn, &conn_ops);
    if (!session_new(c)) {
        conn_close(c);
        return;
    }
    session_recv(c, begun.p, begun.size);
    if (v->draining)
        conn_drain(&c->conn);
    pump(c);
}
