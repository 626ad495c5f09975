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
 * Reading and writing are in h2_conn.c. All of it happens in pump(), which is never re-entered: functions that the user
 * calls only change fields and kick.
 */
#include "h2_server.h"

#include "assert.h"
#include "mem.h"

enum {
    H2_LINGER_MS = 2000,
    H2_NOTICE_MS = 1000, /* between "no more, please" and the last word, unless the client answers our ping before */
    H2_COST_RESET = 10,
};

enum { NEVER = -1 };

static const uint8_t drain_ping[8] = "drained?";

static struct h2_server_conn *conn_of(struct server_conn *c)
{
    return CONTAINER_OF(c, struct h2_server_conn, conn);
}

void h2_server_streams_changed(struct h2_server_conn *c)
{
    if (c->h2.stream_count > 1 || c->h2.state != H2_OPEN)
        return;
    c->since_ms = env_now_ms(c->h2.env);
    server_conn_wait(&c->conn, c->h2.stream_count == 0);
}

/* ---- ends ---- */

static void conn_closed(void *arg)
{
    struct h2_server_conn *c = arg;
    struct http_server *v = c->conn.server;
    h2_conn_done(&c->h2);
    server_conn_leave(&c->conn);
    mem_free(c);
    server_conn_gone(v); /* the server may go with its last connection */
}

static void conn_close(struct h2_server_conn *c)
{
    FICUS_ASSERT(c->h2.stream_count == 0 && c->h2.state != H2_CLOSING);
    server_conn_wait(&c->conn, false);
    env_timer_stop(c->h2.env, &c->timer);
    h2_conn_close(&c->h2, conn_closed);
}

/* GOAWAY with this code; what runs is cut off. */
static void conn_end(struct h2_server_conn *c, uint32_t code, enum ficus_err err, const char *detail)
{
    c->h2.over = true;
    c->over_err = err;
    c->over_detail = detail;
    if (nghttp2_session_terminate_session(c->h2.session, code) != 0)
        h2_conn_break(&c->h2, FICUS_ERR_NOMEM, "out of memory");
    c->h2.moved_ms = env_now_ms(c->h2.env);
    h2_conn_kick(&c->h2);
}

static void conn_flooded(struct h2_conn *h2)
{
    if (!h2->over)
        conn_end(h2_server_conn_of(h2), NGHTTP2_ENHANCE_YOUR_CALM, FICUS_ERR_PROTOCOL, "client floods");
}

/* ---- what nghttp2 tells ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_server_conn *c = arg;
    c->block_ms = env_now_ms(c->h2.env);
    int32_t id = frame->hd.stream_id;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_server_stream *ss = c->h2.over ? NULL : h2_server_stream_new(c, id);
    if (ss == NULL) {
        h2_conn_charge(&c->h2, 1);
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    (void)nghttp2_session_set_stream_user_data(session, id, &ss->h2);
    return 0;
}

/* Malformed (RFC 9113 8.1.1): the stream is reset; what follows of its fields is only decoded. */
static void malformed(struct h2_server_conn *c, const char *detail)
{
    const struct http_server_options *o = &c->conn.server->o;
    if (o->on_refused != NULL)
        o->on_refused(o->arg, 400, detail);
    h2_conn_charge(&c->h2, H2_COST_RESET);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *arg)
{
    struct h2_server_conn *c = arg;
    (void)flags;
    struct h2_server_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss == NULL)
        return 0;
    const struct http_limits *limits = c->h2.limits;
    struct slice n = slice_make(name, name_size), v = slice_make(value, value_size);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_head_field(&ss->h2.parsed, limits, &ss->h2.head, n, v);
    else
        h2_trailer_field(&ss->h2.trailers_parsed, limits, &ss->h2.trailers, n, v);
    return 0;
}

static void headers_end(struct h2_server_conn *c, struct h2_server_stream *ss, bool end)
{
    h2_head_end(&ss->h2.parsed, &ss->h2.head, end, c->secure ? SLICE("https") : SLICE("http"));
    ss->answers_head = slice_eq_str(ss->h2.head.method, "HEAD");
    ss->expects = ss->h2.parsed.expect_continue;
    if (ss->h2.parsed.status != 400) {
        h2_server_stream_begin(ss);
        return;
    }
    malformed(c, ss->h2.parsed.detail);
    h2_stream_fail(&ss->h2, FICUS_ERR_PROTOCOL, ss->h2.parsed.detail);
}

static void trailers_end(struct h2_server_conn *c, struct h2_server_stream *ss)
{
    const struct h2_head *h = &ss->h2.trailers_parsed;
    if (h->status == 400)
        malformed(c, h->detail);
    if (h->status != 0)
        h2_stream_fail(&ss->h2, h->status == 400 ? FICUS_ERR_PROTOCOL : FICUS_ERR_TOO_LARGE, h->detail);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_server_conn *c = arg;
    bool ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
    if (frame->hd.type == NGHTTP2_SETTINGS && !ack)
        c->h2.settings_seen = true;
    if (frame->hd.type == NGHTTP2_PING && ack && c->draining &&
        memcmp(frame->ping.opaque_data, drain_ping, sizeof drain_ping) == 0)
        c->notice_ms = env_now_ms(c->h2.env) - H2_NOTICE_MS; /* what the client sent before it knew is here */
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        c->block_ms = 0;
    else
        h2_conn_data_came(&c->h2, frame);
    struct h2_server_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss == NULL)
        return 0;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        headers_end(c, ss, end);
    else if (frame->hd.type == NGHTTP2_HEADERS)
        trailers_end(c, ss);
    if (end && !ss->h2.in_ended)
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

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_server_conn *c = arg;
    if (frame->hd.type == NGHTTP2_DATA)
        h2_conn_data_sent(&c->h2, frame->hd.length);
    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    struct h2_server_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss != NULL) {
        ss->end_sent = true;
        list_add_tail(&c->h2.ending, &ss->h2.ending);
    }
    return 0;
}

/* ---- input ---- */

static void session_recv(struct h2_conn *h2, const char *p, size_t size)
{
    if (!h2_conn_feed(h2, p, size)) /* a flood, no HTTP/2, or out of memory */
        h2_conn_break(h2, FICUS_ERR_PROTOCOL, "not HTTP/2");
}

/* ---- waiting ---- */

void h2_server_wake_at(struct h2_server_conn *c, int64_t due_ms)
{
    if (env_timer_armed(&c->timer) && c->timer_due_ms <= due_ms)
        return;
    int64_t now_ms = env_now_ms(c->h2.env);
    c->timer_due_ms = due_ms;
    env_timer_start(c->h2.env, &c->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

static void sooner(int64_t *due_ms, int64_t other_ms)
{
    if (*due_ms == NEVER || other_ms < *due_ms)
        *due_ms = other_ms;
}

/* When the connection as a whole is late. */
static int64_t conn_deadline_ms(const struct h2_server_conn *c)
{
    const struct http_limits *l = c->h2.limits;
    int64_t due_ms = NEVER;
    if (c->h2.state == H2_LINGER)
        return c->since_ms + H2_LINGER_MS;
    if (!c->h2.settings_seen)
        sooner(&due_ms, c->begin_ms + l->head_timeout_ms);
    if (c->block_ms != 0)
        sooner(&due_ms, c->block_ms + l->head_timeout_ms);
    if (c->h2.stream_count == 0) /* pings do not count: who only keeps connections open shall not keep them for ever */
        sooner(&due_ms, c->since_ms + l->idle_timeout_ms);
    if (c->h2.writing)
        sooner(&due_ms, c->h2.moved_ms + l->body_timeout_ms);
    return due_ms;
}

/* Every wait of a stream for its client lasts this long at least, so looking so often is enough to notice each in time. */
static int64_t shortest_ms(const struct h2_server_conn *c)
{
    const struct http_limits *l = c->h2.limits;
    int64_t ms = l->head_timeout_ms < l->idle_timeout_ms ? l->head_timeout_ms : l->idle_timeout_ms;
    return l->body_timeout_ms < ms ? l->body_timeout_ms : ms;
}

static int64_t streams_deadline_ms(const struct h2_server_conn *c)
{
    int64_t due_ms = NEVER;
    LIST_FOREACH (&c->h2.streams, it) {
        int64_t stream_ms = h2_server_stream_deadline_ms(CONTAINER_OF(it, struct h2_server_stream, h2.link));
        if (stream_ms != NEVER)
            sooner(&due_ms, stream_ms);
    }
    return due_ms;
}

/* ---- the pump ---- */

/* RFC 9113 6.8: first without a limit, so that requests that are on their way are not lost; then the real one. */
static void drain_begin(struct h2_server_conn *c)
{
    if (c->h2.state != H2_OPEN || c->draining || c->h2.over)
        return;
    c->draining = true;
    c->notice_ms = env_now_ms(c->h2.env);
    if (nghttp2_submit_shutdown_notice(c->h2.session) != 0 ||
        nghttp2_submit_ping(c->h2.session, NGHTTP2_FLAG_NONE, drain_ping) != 0)
        h2_conn_break(&c->h2, FICUS_ERR_NOMEM, "out of memory");
}

/* The last word of a drain: which streams were taken on. */
static void drain_finish(struct h2_server_conn *c)
{
    if (!c->draining || c->h2.goaway_sent || env_now_ms(c->h2.env) < c->notice_ms + H2_NOTICE_MS)
        return;
    c->h2.goaway_sent = true;
    int32_t last = nghttp2_session_get_last_proc_stream_id(c->h2.session);
    if (nghttp2_submit_goaway(c->h2.session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) != 0)
        h2_conn_break(&c->h2, FICUS_ERR_NOMEM, "out of memory");
}

/* True: the state changed. */
static bool ends_step(struct h2_server_conn *c)
{
    if (c->abort_wanted)
        h2_conn_break(&c->h2, FICUS_ERR_CANCELLED, "server closed");
    if (c->h2.broken != FICUS_ERR_OK) {
        if (c->h2.stream_count == 0)
            conn_close(c);
        else
            h2_conn_streams_fail(&c->h2, c->h2.broken, c->h2.broken_detail);
        return true;
    }
    if (c->h2.state != H2_OPEN || c->h2.writing || nghttp2_session_want_write(c->h2.session) || nghttp2_session_want_read(c->h2.session))
        return false;
    if (c->h2.stream_count > 0) { /* their connection ended by an error of the client's */
        if (c->over_err != FICUS_ERR_OK)
            h2_conn_streams_fail(&c->h2, c->over_err, c->over_detail);
        else
            h2_conn_streams_fail(&c->h2, FICUS_ERR_PROTOCOL, "client broke HTTP/2");
        return true;
    }
    c->h2.state = H2_LINGER;
    c->since_ms = env_now_ms(c->h2.env);
    server_conn_wait(&c->conn, true);
    env_shutdown_write(c->h2.env, c->h2.stream);
    return true;
}

static void pump(struct h2_conn *h2)
{
    struct h2_server_conn *c = h2_server_conn_of(h2);
    if (c->h2.pumping || c->h2.state == H2_CLOSING)
        return;
    c->h2.pumping = true;
    bool moved;
    uint64_t most = c->h2.limits->conn_request_count_max;
    do {
        if (most > 0 && c->request_count >= most)
            drain_begin(c);
        drain_finish(c);
        moved = h2_conn_step(h2);
        moved |= h2_conn_flush(h2);
        moved |= ends_step(c);
    } while (moved && c->h2.state != H2_CLOSING);
    c->h2.pumping = false;
    if (c->h2.state == H2_CLOSING)
        return;
    h2_conn_read(h2);
    int64_t due_ms = conn_deadline_ms(c);
    if (c->h2.stream_count > 0)
        sooner(&due_ms, env_now_ms(c->h2.env) + shortest_ms(c));
    if (c->draining && !c->h2.goaway_sent)
        sooner(&due_ms, c->notice_ms + H2_NOTICE_MS);
    if (due_ms != NEVER)
        h2_server_wake_at(c, due_ms);
}

static void timer_fire(void *arg)
{
    struct h2_server_conn *c = arg;
    int64_t now_ms = env_now_ms(c->h2.env), due_ms = conn_deadline_ms(c);
    if (due_ms != NEVER && now_ms >= due_ms) {
        /* Who reads nothing, or said goodbye already, gets no words. */
        if (c->h2.state == H2_LINGER || c->h2.writing || c->h2.over)
            h2_conn_break(&c->h2, FICUS_ERR_TIMEOUT, "client does not read");
        else
            conn_end(c, c->h2.settings_seen ? NGHTTP2_NO_ERROR : NGHTTP2_SETTINGS_TIMEOUT, FICUS_ERR_TIMEOUT,
                     "client stalls");
    }
    LIST_FOREACH (&c->h2.streams, it) {
        struct h2_server_stream *ss = CONTAINER_OF(it, struct h2_server_stream, h2.link);
        due_ms = h2_server_stream_deadline_ms(ss);
        if (due_ms != NEVER && now_ms >= due_ms)
            h2_server_stream_late(ss);
    }
    pump(&c->h2);
    if (c->h2.state == H2_OPEN && (due_ms = streams_deadline_ms(c)) != NEVER)
        h2_server_wake_at(c, due_ms);
}

/* ---- what the server asks for ---- */

static void conn_abort(struct server_conn *conn)
{
    struct h2_server_conn *c = conn_of(conn);
    if (c->h2.state == H2_CLOSING)
        return;
    c->abort_wanted = true;
    h2_conn_kick(&c->h2);
}

/* It waits, so nothing is lost but the connection; the client hears so if it reads. */
static void conn_evict(struct server_conn *conn)
{
    struct h2_server_conn *c = conn_of(conn);
    FICUS_ASSERT(!c->h2.pumping && c->h2.stream_count == 0);
    if (c->h2.state == H2_OPEN && c->h2.broken == FICUS_ERR_OK &&
        nghttp2_session_terminate_session(c->h2.session, NGHTTP2_NO_ERROR) == 0)
        (void)h2_conn_flush(&c->h2);
    conn_close(c);
}

static void conn_drain(struct server_conn *conn)
{
    struct h2_server_conn *c = conn_of(conn);
    drain_begin(c);
    h2_conn_kick(&c->h2);
}

static const struct server_conn_ops conn_ops = {conn_abort, conn_drain, conn_evict};

/* ---- begin ---- */

/* What the client may do. nghttp2 ends the whole connection of who opens more streams than it has said; RFC 9113 5.1.2 asks
 * only for the stream, and h2_server_stream_new refuses that. So nghttp2 is told that there is no limit, as the first entry of
 * the first frame, and that frame is gathered here and says ours. */
static bool settings_gather(struct h2_conn *h2)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, UINT32_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)h2->limits->head_size_max},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    enum { FRAME_HEAD = 9, ENTRY = 6, ENTRY_ID = 2 };
    static const char no_limit[] = {0, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, '\xff', '\xff', '\xff', '\xff'};
    const char limit[] = {0, 0, 0, H2_STREAMS_MAX};
    const uint8_t *p;
    if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, ARRAY_COUNT(settings)) != 0)
        return false;
    ssize_t size = nghttp2_session_mem_send(h2->session, &p);
    if (size < 0 || !h2_fifo_put(&h2->flight, p, (size_t)size))
        return false;
    char *entry = h2_fifo_at(&h2->flight) + FRAME_HEAD;
    FICUS_ASSERT(size == FRAME_HEAD + (ssize_t)ARRAY_COUNT(settings) * ENTRY && memcmp(entry, no_limit, ENTRY) == 0);
    memcpy(entry + ENTRY_ID, limit, sizeof limit);
    return true;
}

static void set_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
}

static bool session_new(struct h2_conn *h2)
{
    return h2_conn_session(h2) && settings_gather(h2) &&
           nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW) == 0;
}

static const struct h2_side server_side = {.lost = "client is gone",
                                           .ended = "client is gone",
                                           .pump = pump,
                                           .recv = session_recv,
                                           .step = h2_server_stream_step,
                                           .stream_closed = h2_server_stream_closed,
                                           .flooded = conn_flooded,
                                           .reset_cost = H2_COST_RESET,
                                           .callbacks = set_callbacks};

void h2_server_conn_new(struct http_server *v, struct env_stream *stream, struct slice begun)
{
    struct h2_server_conn *c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        env_close(v->env, stream, NULL, NULL);
        return;
    }
    h2_conn_init(&c->h2, &server_side, &v->o.limits, v->env, stream);
    c->timer = (struct env_timer){.fn = timer_fire, .arg = c};
    c->begin_ms = c->since_ms = env_now_ms(v->env);
    struct env_tls_info tls;
    c->secure = env_stream_tls(v->env, stream, &tls);
    env_stream_peer(v->env, stream, &c->peer);
    server_conn_enter(v, &c->conn, &conn_ops);
    if (!session_new(&c->h2)) {
        conn_close(c);
        return;
    }
    session_recv(&c->h2, begun.p, begun.size);
    if (v->draining)
        conn_drain(&c->conn);
    pump(&c->h2);
}
