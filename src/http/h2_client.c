/* SPDX-License-Identifier: Apache-2.0
 *
 * One client connection of HTTP/2 (RFC 9113) on nghttp2: many exchanges at a time.
 *
 *   open ---- transport broken, closed by the user, nothing left to do behind a GOAWAY ----> closing --> freed
 *
 * Reading and writing are in h2_conn.c, and the pump is as on the server. What differs:
 *
 * GOAWAY. No exchange begins any more; those that the server took on go on, the others end with `unprocessed`; the
 * connection closes behind the last one. So does one whose server allows no stream (MAX_CONCURRENT_STREAMS 0).
 * Silence. A connection whose server is gone without a word looks idle, and every exchange on it would run into its
 * deadline. So when one is given up and nothing has come since it began, the server is asked for a sign of life (PING); until
 * one comes there is no room, and after H2_PING_MS the connection is broken.
 * Floods. Frames that bring nobody anything draw on a budget that answers refill, as on the server; server push is off, so
 * that a PUSH_PROMISE is an error of the connection.
 *
 * All users are called from pump(), which is never re-entered.
 */
#include "h2_client.h"

#include "assert.h"
#include "mem.h"

enum { H2_PING_MS = 2000 };

/* ---- ends ---- */

static void conn_closed(void *arg)
{
    struct h2_client *c = arg;
    FICUS_ASSERT(c->h2.stream_count == 0);
    client_conn_gone(c->conn);
    h2_conn_done(&c->h2);
    mem_free(c);
}

static void conn_close(struct h2_client *c)
{
    env_timer_stop(c->h2.env, &c->timer);
    h2_conn_close(&c->h2, conn_closed);
}

static void conn_flooded(struct h2_conn *h2)
{
    h2_conn_break(h2, FICUS_ERR_PROTOCOL, "server floods");
}

void h2_client_doubt(struct h2_client *c, int64_t since_ms)
{
    if (c->ping_ms != 0 || c->h2.over || c->heard_ms > since_ms)
        return;
    if (nghttp2_submit_ping(c->h2.session, NGHTTP2_FLAG_NONE, NULL) != 0)
        return;
    c->ping_ms = env_now_ms(c->h2.env);
    env_timer_start(c->h2.env, &c->timer, H2_PING_MS);
    h2_conn_kick(&c->h2);
}

/* ---- what nghttp2 tells ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *arg)
{
    struct h2_client *c = arg;
    (void)flags;
    struct h2_client_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss == NULL || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct slice n = slice_make(name, name_size), v = slice_make(value, value_size);
    if (ss->h2.head_done)
        h2_trailer_field(&ss->h2.trailers_parsed, c->h2.limits, &ss->h2.trailers, n, v);
    else
        h2_answer_field(&ss->h2.parsed, c->h2.limits, &ss->h2.head, n, v);
    return 0;
}

/* No exchange begins any more. Of requests that are on their way nghttp2 says which the server left out. Those that have not left yet
 * never will, but while the server lets nothing run (MAX_CONCURRENT_STREAMS) nghttp2 keeps them and is silent. */
static void goaway(struct h2_client *c)
{
    c->h2.over = true;
    LIST_FOREACH (&c->h2.streams, it) {
        struct h2_client_stream *ss = CONTAINER_OF(it, struct h2_client_stream, h2.link);
        if (!ss->begun)
            h2_client_stream_left_out(ss);
    }
}

static void settings(struct h2_client *c)
{
    c->h2.settings_seen = true;
    LIST_FOREACH (&c->h2.streams, it)
        h2_client_stream_settings(h2_client_stream_of(CONTAINER_OF(it, struct h2_stream, link)));
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_client *c = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        goaway(c);
    if (frame->hd.type == NGHTTP2_SETTINGS)
        settings(c);
    if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0 &&
        nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) == 0) {
        c->shut = true; /* no stream at all is a GOAWAY in other words: who waits for better ones would wait for ever */
        goaway(c);
    }
    if (frame->hd.type == NGHTTP2_SETTINGS || frame->hd.type == NGHTTP2_GOAWAY)
        c->room_changed = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    if (frame->hd.type == NGHTTP2_DATA)
        h2_conn_data_came(&c->h2, frame);
    struct h2_client_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss == NULL)
        return 0;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && ss->h2.head_done)
        h2_client_stream_trailers_end(ss);
    else if (frame->hd.type == NGHTTP2_HEADERS)
        h2_client_stream_head_end(ss, end);
    if (end)
        h2_client_stream_in_end(ss);
    return 0;
}

/* nghttp2 resets the stream by itself. */
static int on_invalid_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
    (void)error;
    (void)arg;
    struct h2_client_stream *ss =
        frame->hd.stream_id == 0 ? NULL : nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss != NULL) {
        ss->answer_begun = true;
        h2_stream_fail(&ss->h2, FICUS_ERR_PROTOCOL, "malformed answer");
    }
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_client *c = arg;
    if (frame->hd.type == NGHTTP2_DATA)
        h2_conn_data_sent(&c->h2, frame->hd.length);
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct h2_client_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss != NULL) {
        ss->begun = true;
        if (ss->h2.abandoned)
            h2_stream_ready(&ss->h2);
    }
    return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
    struct h2_client *c = arg;
    (void)session;
    (void)error;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    /* nghttp2 has not made the stream known under its number, or has closed it already. */
    LIST_FOREACH (&c->h2.streams, it) {
        struct h2_client_stream *ss = CONTAINER_OF(it, struct h2_client_stream, h2.link);
        if (ss->h2.id == frame->hd.stream_id && !ss->h2.closed)
            h2_stream_closed(&ss->h2, NGHTTP2_REFUSED_STREAM);
    }
    return 0;
}

/* ---- input ---- */

static const char *not_spoken(const struct h2_client *c)
{
    return c->h2.settings_seen ? "server broke HTTP/2" : "server does not speak HTTP/2";
}

static void session_recv(struct h2_conn *h2, const char *p, size_t size)
{
    struct h2_client *c = h2_client_of(h2);
    c->heard_ms = env_now_ms(h2->env);
    c->room_changed = c->room_changed || c->ping_ms != 0;
    c->ping_ms = 0;
    if (!h2_conn_feed(h2, p, size))
        h2_conn_break(h2, FICUS_ERR_PROTOCOL, not_spoken(c));
}

/* ---- the pump ---- */

/* All that is left are requests that were given up before they left, and nghttp2 keeps them. */
static bool only_kept(const struct h2_client *c)
{
    LIST_FOREACH (&c->h2.streams, it) {
        const struct h2_client_stream *ss = CONTAINER_OF(it, struct h2_client_stream, h2.link);
        if (ss->begun || !ss->h2.abandoned)
            return false;
    }
    return true;
}

/* Those whose server has ended its side: there is nobody to send to any more. */
static void tunnels_end(struct h2_client *c)
{
    LIST_FOREACH (&c->h2.streams, it) {
        struct h2_client_stream *ss = CONTAINER_OF(it, struct h2_client_stream, h2.link);
        if (ss->tunnel && ss->h2.end_told)
            h2_stream_ready(&ss->h2);
    }
}

/* True: something changed. */
static bool ends_step(struct h2_client *c)
{
    if (c->close_wanted)
        h2_conn_break(&c->h2, FICUS_ERR_CANCELLED, "connection was closed");
    /* An error of the connection: nghttp2 has said GOAWAY, and nothing comes any more. Or the server has, and all that is
     * left are requests that were given up before they left. */
    if (c->h2.broken == FICUS_ERR_OK && !c->h2.writing && !nghttp2_session_want_read(c->h2.session) &&
        !nghttp2_session_want_write(c->h2.session))
        h2_conn_break(&c->h2, FICUS_ERR_PROTOCOL, not_spoken(c));
    if (c->shut && c->h2.broken == FICUS_ERR_OK && c->h2.stream_count > 0 && only_kept(c))
        h2_conn_break(&c->h2, FICUS_ERR_RESET, "server allows no request");
    if (c->h2.broken != FICUS_ERR_OK) {
        h2_conn_streams_fail(&c->h2, c->h2.broken, c->h2.broken_detail);
        tunnels_end(c);
    }
    bool ended = c->h2.stream_count == 0 && (c->h2.broken != FICUS_ERR_OK || c->h2.over);
    if (ended)
        conn_close(c);
    return ended || !list_empty(&c->h2.ready);
}

static size_t client_room(const void *self)
{
    const struct h2_client *c = self;
    uint32_t allowed = nghttp2_session_get_remote_settings(c->h2.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    size_t most = allowed < H2_STREAMS_MAX ? allowed : H2_STREAMS_MAX;
    bool none = c->h2.over || c->h2.state == H2_CLOSING || c->close_wanted || c->ping_ms != 0 ||
                nghttp2_session_check_request_allowed(c->h2.session) == 0;
    return none || c->h2.stream_count >= most ? 0 : most - c->h2.stream_count;
}

static bool tell_room(struct h2_client *c)
{
    if (!c->room_changed || c->h2.state == H2_CLOSING)
        return false;
    c->room_changed = false;
    c->conn->handler->on_room(c->conn->arg, c->conn);
    return true;
}

static void pump(struct h2_conn *h2)
{
    struct h2_client *c = h2_client_of(h2);
    if (c->h2.pumping || c->h2.state == H2_CLOSING)
        return;
    c->h2.pumping = true;
    bool moved;
    do {
        moved = h2_conn_step(h2);
        moved |= tell_room(c);
        moved |= h2_conn_flush(h2);
        moved |= ends_step(c);
    } while (moved && c->h2.state != H2_CLOSING);
    c->h2.pumping = false;
    if (c->h2.state != H2_CLOSING && c->h2.broken == FICUS_ERR_OK) /* else answers that came whole wait for their users */
        h2_conn_read(h2);
}

static void timer_fire(void *arg)
{
    struct h2_client *c = arg;
    if (c->ping_ms == 0)
        return;
    int64_t left_ms = c->ping_ms + H2_PING_MS - env_now_ms(c->h2.env);
    if (left_ms > 0) {
        env_timer_start(c->h2.env, &c->timer, left_ms);
        return;
    }
    h2_conn_break(&c->h2, FICUS_ERR_TIMEOUT, "server is silent");
    pump(&c->h2);
}

/* ---- what the user asks for ---- */

static enum ficus_err client_open(void *self, const struct http_handler *h, void *arg, struct http_stream **ret_stream)
{
    struct h2_client *c = self;
    if (c->h2.over || c->h2.state == H2_CLOSING || c->close_wanted)
        return FICUS_ERR_RESET;
    if (client_room(c) == 0)
        return FICUS_ERR_BUSY;
    struct h2_client_stream *ss = h2_client_stream_new(c, h, arg);
    if (ss == NULL)
        return FICUS_ERR_NOMEM;
    *ret_stream = &ss->h2.s;
    return FICUS_ERR_OK;
}

static void client_close(void *self)
{
    struct h2_client *c = self;
    c->close_wanted = true;
    h2_conn_kick(&c->h2);
}

static size_t client_running(const void *self)
{
    const struct h2_client *c = self;
    return c->h2.stream_count;
}

/* ---- begin ---- */

static void set_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
}

static bool session_new(struct h2_conn *h2)
{
    if (!h2_conn_session(h2))
        return false;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)h2->limits->head_size_max},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    /* All streams' together: they are of people who know nothing of each other, and one who does not read must not stop
     * the others. */
    int32_t window = H2_STREAMS_MAX * H2_STREAM_WINDOW;
    return nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, ARRAY_COUNT(settings)) == 0 &&
           nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, window) == 0;
}

static const struct h2_side client_side = {.client = true,
                                           .lost = "connection lost",
                                           .ended = "server closed the connection",
                                           .pump = pump,
                                           .recv = session_recv,
                                           .step = h2_client_stream_step,
                                           .stream_closed = h2_client_stream_closed,
                                           .flooded = conn_flooded,
                                           .reset_cost = 1,
                                           .callbacks = set_callbacks};

static bool client_begin(struct http_client_conn *conn, struct env_stream *stream)
{
    struct h2_client *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return false;
    c->conn = conn;
    h2_conn_init(&c->h2, &client_side, &conn->limits, conn->env, stream);
    c->timer = (struct env_timer){.fn = timer_fire, .arg = c};
    c->heard_ms = env_now_ms(c->h2.env);
    if (!session_new(&c->h2)) {
        h2_conn_done(&c->h2);
        mem_free(c);
        return false;
    }
    conn->self = c;
    c->h2.pumping = true; /* the callback may open and send: all of it is looked at below */
    conn->handler->on_connected(conn->arg, conn, FICUS_ERR_OK);
    c->h2.pumping = false;
    pump(&c->h2);
    return true;
}

const struct client_codec h2_client_codec = {client_begin, client_open, client_close, client_room, client_running};
