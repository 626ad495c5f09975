/* SPDX-License-Identifier: Apache-2.0
 *
 * One client connection of HTTP/2 (RFC 9113) on nghttp2: many exchanges at a time.
 *
 *   open ---- transport broken, closed by the user, nothing left to do behind a GOAWAY ----> closing --> freed
 *
 * Reading, writing and the pump are as on the server (h2_server_conn.c). What differs:
 *
 * GOAWAY. No exchange begins any more; those that the server took on go on, the others end with `unprocessed`; the
 * connection closes behind the last one.
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

enum {
    H2_IN_SIZE = 16 * 1024,
    H2_QUEUE_MAX = 64, /* control frames that wait while the server does not read; then we do not read either */
    H2_PING_MS = 2000,
    H2_BUDGET_MAX = 1000,
    H2_BUDGET_PER_SECOND = 100,
};

static void pump(void *arg);

void h2_client_kick(struct h2_client *c)
{
    if (!c->pumping && !c->closing && !env_timer_armed(&c->kick))
        env_timer_start(c->env, &c->kick, 0);
}

/* ---- ends ---- */

static void conn_closed(void *arg)
{
    struct h2_client *c = arg;
    FICUS_ASSERT(c->stream_count == 0);
    client_conn_gone(c->conn);
    nghttp2_session_del(c->session);
    if (c->in != c->small)
        mem_free(c->in);
    h2_fifo_done(&c->flight);
    mem_free(c);
}

static void conn_close(struct h2_client *c)
{
    c->closing = true;
    env_timer_stop(c->env, &c->kick);
    env_timer_stop(c->env, &c->timer);
    env_close(c->env, c->stream, conn_closed, c);
}

static void conn_break(struct h2_client *c, enum ficus_err err, const char *detail)
{
    c->over = true;
    if (c->broken != FICUS_ERR_OK)
        return;
    c->broken = err;
    c->broken_detail = detail;
    h2_client_kick(c);
}

void h2_client_charge(struct h2_client *c, int32_t cost)
{
    int64_t now_ms = env_now_ms(c->env);
    int64_t earned = (now_ms - c->budget_ms) * H2_BUDGET_PER_SECOND / 1000;
    if (earned > 0) {
        c->budget = earned < H2_BUDGET_MAX - c->budget ? c->budget + (int32_t)earned : H2_BUDGET_MAX;
        c->budget_ms = now_ms;
    }
    c->budget = cost < 0 && c->budget - cost > H2_BUDGET_MAX ? H2_BUDGET_MAX : c->budget - cost;
    if (c->budget < 0)
        conn_break(c, FICUS_ERR_PROTOCOL, "server floods");
}

void h2_client_doubt(struct h2_client *c, int64_t since_ms)
{
    if (c->ping_ms != 0 || c->over || c->heard_ms > since_ms)
        return;
    if (nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL) != 0)
        return;
    c->ping_ms = env_now_ms(c->env);
    env_timer_start(c->env, &c->timer, H2_PING_MS);
    h2_client_kick(c);
}

/* ---- what nghttp2 tells ---- */

/* Frames that only cost. Heads are bounded by streams and the number of interim ones, DATA by windows. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    (void)session;
    bool brings = hd->type == NGHTTP2_HEADERS ||
                  (hd->type == NGHTTP2_DATA && (hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM)));
    if (!brings)
        h2_client_charge(arg, 1);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *arg)
{
    struct h2_client *c = arg;
    (void)flags;
    struct h2_client_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss == NULL || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct slice n = slice_make(name, name_size), v = slice_make(value, value_size);
    if (ss->head_done)
        h2_trailer_field(&ss->trailers_parsed, &c->conn->limits, &ss->trailers, n, v);
    else
        h2_answer_field(&ss->parsed, &c->conn->limits, &ss->head, n, v);
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_client *c = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        c->over = true;
    if (frame->hd.type == NGHTTP2_SETTINGS)
        c->settings_seen = true;
    if (frame->hd.type == NGHTTP2_SETTINGS || frame->hd.type == NGHTTP2_GOAWAY)
        c->room_changed = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct h2_client_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss == NULL)
        return 0;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && ss->head_done)
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
        h2_client_stream_fail(ss, FICUS_ERR_PROTOCOL, "malformed answer");
    }
    return 0;
}

static int on_data_chunk_recv(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t size,
                              void *arg)
{
    (void)flags;
    (void)arg;
    struct h2_client_stream *ss = nghttp2_session_get_stream_user_data(session, id);
    if (ss == NULL)
        (void)nghttp2_session_consume_connection(session, size);
    else
        h2_client_stream_data(ss, p, size);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_client *c = arg;
    if (frame->hd.type == NGHTTP2_DATA)
        h2_client_charge(c, -2); /* it may be answered by WINDOW_UPDATEs */
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct h2_client_stream *ss = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (ss != NULL) {
        ss->begun = true;
        if (ss->abandoned)
            h2_client_stream_ready(ss);
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
    LIST_FOREACH (&c->streams, it) {
        struct h2_client_stream *ss = CONTAINER_OF(it, struct h2_client_stream, link);
        if (ss->id == frame->hd.stream_id && !ss->closed)
            h2_client_stream_closed(ss, NGHTTP2_REFUSED_STREAM);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
    (void)arg;
    struct h2_client_stream *ss = nghttp2_session_get_stream_user_data(session, id);
    if (ss != NULL)
        h2_client_stream_closed(ss, error_code);
    return 0;
}

/* ---- output ---- */

static void write_done(void *arg, ssize_t n)
{
    struct h2_client *c = arg;
    c->writing = false;
    if (n < 0)
        conn_break(c, FICUS_ERR_RESET, "connection lost");
    else
        h2_fifo_take(&c->flight, c->flight.size);
    pump(c);
}

static void flight_gather(struct h2_client *c)
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
static bool flush(struct h2_client *c)
{
    if (c->writing || c->broken != FICUS_ERR_OK)
        return false;
    flight_gather(c);
    if (c->flight.size == 0 || c->broken != FICUS_ERR_OK)
        return c->broken != FICUS_ERR_OK;
    struct iovec iov = {h2_fifo_at(&c->flight), c->flight.size};
    ssize_t n = env_write(c->env, c->stream, &iov, 1, write_done, c);
    if (n < 0)
        conn_break(c, FICUS_ERR_RESET, "connection lost");
    else if (n > 0)
        h2_fifo_take(&c->flight, c->flight.size);
    else
        c->writing = true;
    return n != 0;
}

/* ---- input ---- */

static const char *not_spoken(const struct h2_client *c)
{
    return c->settings_seen ? "server broke HTTP/2" : "server does not speak HTTP/2";
}

static void read_done(void *arg, ssize_t n)
{
    struct h2_client *c = arg;
    c->reading = false;
    c->in_full = c->in == c->small && n == (ssize_t)sizeof c->small;
    if (n <= 0) {
        conn_break(c, FICUS_ERR_RESET, n == 0 ? "server closed the connection" : "connection lost");
    } else {
        c->heard_ms = env_now_ms(c->env);
        c->room_changed = c->room_changed || c->ping_ms != 0;
        c->ping_ms = 0;
        c->pumping = true; /* what the callbacks find to do is for the pump that follows */
        if (nghttp2_session_mem_recv(c->session, (const uint8_t *)c->in, (size_t)n) < 0)
            conn_break(c, FICUS_ERR_PROTOCOL, not_spoken(c));
        c->pumping = false;
    }
    pump(c);
}

static void read_more(struct h2_client *c)
{
    if (c->reading || (c->writing && nghttp2_session_get_outbound_queue_size(c->session) > H2_QUEUE_MAX))
        return;
    bool much = c->body_count > 0 || c->in_full;
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

/* ---- the pump ---- */

/* All streams that have something to do, one step each. */
static bool streams_step(struct h2_client *c)
{
    bool moved = false;
    for (struct list *it; (it = list_pop_head(&c->ready)) != NULL;) {
        struct h2_client_stream *ss = CONTAINER_OF(it, struct h2_client_stream, ready);
        /* A step that did something may have more behind it; first in line again, it would starve the others. */
        list_add_tail(&c->ready, &ss->ready);
        if (!h2_client_stream_step(ss))
            list_remove(&ss->ready);
        moved = true;
    }
    return moved;
}

/* True: something changed. */
static bool ends_step(struct h2_client *c)
{
    if (c->close_wanted)
        conn_break(c, FICUS_ERR_CANCELLED, "connection was closed");
    /* An error of the connection: nghttp2 has said GOAWAY, and nothing comes any more. */
    if (c->broken == FICUS_ERR_OK && !c->writing && !nghttp2_session_want_read(c->session) &&
        !nghttp2_session_want_write(c->session))
        conn_break(c, FICUS_ERR_PROTOCOL, not_spoken(c));
    if (c->broken != FICUS_ERR_OK) {
        LIST_FOREACH (&c->streams, it)
            h2_client_stream_fail(CONTAINER_OF(it, struct h2_client_stream, link), c->broken, c->broken_detail);
    }
    bool ended = c->stream_count == 0 && (c->broken != FICUS_ERR_OK || c->over);
    if (ended)
        conn_close(c);
    return ended || !list_empty(&c->ready);
}

static size_t client_room(const void *self)
{
    const struct h2_client *c = self;
    uint32_t allowed = nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    size_t most = allowed < H2_STREAMS_MAX ? allowed : H2_STREAMS_MAX;
    bool none = c->over || c->closing || c->close_wanted || c->ping_ms != 0 ||
                nghttp2_session_check_request_allowed(c->session) == 0;
    return none || c->stream_count >= most ? 0 : most - c->stream_count;
}

static bool tell_room(struct h2_client *c)
{
    if (!c->room_changed || c->closing)
        return false;
    c->room_changed = false;
    c->conn->handler->on_room(c->conn->arg, c->conn);
    return true;
}

static void pump(void *arg)
{
    struct h2_client *c = arg;
    if (c->pumping || c->closing)
        return;
    c->pumping = true;
    bool moved;
    do {
        moved = streams_step(c);
        moved |= tell_room(c);
        moved |= flush(c);
        moved |= ends_step(c);
    } while (moved && !c->closing);
    c->pumping = false;
    if (!c->closing && c->broken == FICUS_ERR_OK) /* else answers that came whole wait for their users */
        read_more(c);
}

static void timer_fire(void *arg)
{
    struct h2_client *c = arg;
    if (c->ping_ms == 0)
        return;
    int64_t left_ms = c->ping_ms + H2_PING_MS - env_now_ms(c->env);
    if (left_ms > 0) {
        env_timer_start(c->env, &c->timer, left_ms);
        return;
    }
    conn_break(c, FICUS_ERR_TIMEOUT, "server is silent");
    pump(c);
}

/* ---- what the user asks for ---- */

static enum ficus_err client_open(void *self, const struct http_handler *h, void *arg, struct http_stream **ret_stream)
{
    struct h2_client *c = self;
    if (c->over || c->closing || c->close_wanted)
        return FICUS_ERR_RESET;
    if (client_room(c) == 0)
        return FICUS_ERR_BUSY;
    struct h2_client_stream *ss = h2_client_stream_new(c, h, arg);
    if (ss == NULL)
        return FICUS_ERR_NOMEM;
    *ret_stream = &ss->s;
    return FICUS_ERR_OK;
}

static void client_close(void *self)
{
    struct h2_client *c = self;
    c->close_wanted = true;
    h2_client_kick(c);
}

static size_t client_running(const void *self)
{
    const struct h2_client *c = self;
    return c->stream_count;
}

/* ---- begin ---- */

static int session_make(struct h2_client *c, nghttp2_session_callbacks *cb, nghttp2_option *o)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);

    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_outbound_ack(o, 1000); /* our own bound, H2_QUEUE_MAX, comes before in all but one read */
    nghttp2_option_set_max_continuations(o, 8);
    nghttp2_option_set_max_deflate_dynamic_table_size(o, 4096);

    nghttp2_mem mem = h2_memory; /* is copied */
    int rc = nghttp2_session_client_new3(&c->session, cb, c, o, &mem);
    if (rc != 0)
        return rc;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)c->conn->limits.head_size_max},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    rc = nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof settings[0]);
    /* All streams' together: they are of people who know nothing of each other, and one who does not read must not stop
     * the others. */
    int32_t window = H2_STREAMS_MAX * H2_STREAM_WINDOW;
    return rc != 0 ? rc : nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, window);
}

static bool session_new(struct h2_client *c)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *o = NULL;
    bool ok = nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&o) == 0 && session_make(c, cb, o) == 0;
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    return ok;
}

static bool client_begin(struct http_client_conn *conn, struct env_stream *stream)
{
    struct h2_client *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return false;
    c->conn = conn;
    c->env = conn->env;
    c->stream = stream;
    c->in = c->small;
    c->kick = (struct env_timer){.fn = pump, .arg = c};
    c->timer = (struct env_timer){.fn = timer_fire, .arg = c};
    c->heard_ms = c->budget_ms = env_now_ms(c->env);
    c->budget = H2_BUDGET_MAX;
    list_init(&c->streams);
    list_init(&c->ready);
    if (!session_new(c)) {
        nghttp2_session_del(c->session);
        mem_free(c);
        return false;
    }
    conn->self = c;
    c->pumping = true; /* the callback may open and send: all of it is looked at below */
    conn->handler->on_connected(conn->arg, conn, FICUS_ERR_OK);
    c->pumping = false;
    pump(c);
    return true;
}

const struct client_codec h2_client_codec = {client_begin, client_open, client_close, client_room, client_running};
