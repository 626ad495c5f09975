/* SPDX-License-Identifier: Apache-2.0
 *
 * See h2_conn.h.
 */
#include "h2_conn.h"

#include "assert.h"
#include "h2_stream.h"
#include "mem.h"

enum {
    H2_IN_SIZE = 16 * 1024,
    H2_QUEUE_MAX = 64, /* control frames that wait while the peer does not read; then we do not read either */
    H2_BUDGET_MAX = 1000,
    H2_BUDGET_PER_SECOND = 100,
};

/* ---- life ---- */

static void kick_fire(void *arg)
{
    struct h2_conn *c = arg;
    c->side->pump(c);
}

void h2_conn_init(struct h2_conn *c, const struct h2_side *side, const struct http_limits *limits, struct env *e,
                  struct env_stream *stream)
{
    c->side = side;
    c->limits = limits;
    c->env = e;
    c->stream = stream;
    c->in = c->small;
    c->kick = (struct env_timer){.fn = kick_fire, .arg = c};
    c->moved_ms = c->budget_ms = env_now_ms(e);
    c->budget = H2_BUDGET_MAX;
    c->frame_left = side->client ? 0 : NGHTTP2_CLIENT_MAGIC_LEN; /* the preface is no frame */
    list_init(&c->streams);
    list_init(&c->ready);
    list_init(&c->ending);
}

/* Whether a frame brings a message or a part of one: streams and windows bound those, the budget the others. A head of a
 * stream that is closed brings nothing. */
static bool brings(const struct h2_conn *c, const nghttp2_frame_hd *hd)
{
    if (hd->type == NGHTTP2_DATA)
        return hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (hd->type != NGHTTP2_HEADERS)
        return false;
    bool begins = !c->side->client && !c->goaway_sent && hd->stream_id > nghttp2_session_get_last_proc_stream_id(c->session);
    return begins || nghttp2_session_get_stream_user_data(c->session, hd->stream_id) != NULL;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    struct h2_conn *c = arg;
    (void)session;
    c->untold--;
    if (!brings(c, hd))
        h2_conn_charge(c, hd->type == NGHTTP2_RST_STREAM ? c->side->reset_cost : 1);
    return 0;
}

static int on_data_chunk_recv(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t size,
                              void *arg)
{
    (void)flags;
    (void)arg;
    struct h2_stream *ss = nghttp2_session_get_stream_user_data(session, id);
    if (ss == NULL)
        (void)nghttp2_session_consume_connection(session, size);
    else
        h2_stream_data(ss, p, size);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
    (void)arg;
    struct h2_stream *ss = nghttp2_session_get_stream_user_data(session, id);
    if (ss != NULL)
        h2_stream_closed(ss, error_code);
    return 0;
}

static int session_make(struct h2_conn *c, nghttp2_session_callbacks *cb, nghttp2_option *o)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    c->side->callbacks(cb);

    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_outbound_ack(o, 1000); /* our own bound, H2_QUEUE_MAX, comes before in all but one read */
    nghttp2_option_set_stream_reset_rate_limit(o, 100, 20); /* only servers have it */
    nghttp2_option_set_max_continuations(o, 8);
    nghttp2_option_set_max_deflate_dynamic_table_size(o, 4096);

    nghttp2_mem mem = h2_memory; /* is copied */
    return c->side->client ? nghttp2_session_client_new3(&c->session, cb, c, o, &mem)
                           : nghttp2_session_server_new3(&c->session, cb, c, o, &mem);
}

bool h2_conn_session(struct h2_conn *c)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *o = NULL;
    bool ok = nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&o) == 0 && session_make(c, cb, o) == 0;
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    return ok;
}

void h2_conn_close(struct h2_conn *c, void (*closed)(void *c))
{
    c->state = H2_CLOSING;
    env_timer_stop(c->env, &c->kick);
    env_close(c->env, c->stream, closed, c);
}

void h2_conn_done(struct h2_conn *c)
{
    FICUS_ASSERT(c->stream_count == 0);
    nghttp2_session_del(c->session);
    if (c->in != c->small)
        mem_free(c->in);
    h2_fifo_done(&c->flight);
}

/* ---- ends ---- */

void h2_conn_kick(struct h2_conn *c)
{
    if (!c->pumping && c->state != H2_CLOSING && !env_timer_armed(&c->kick))
        env_timer_start(c->env, &c->kick, 0);
}

void h2_conn_break(struct h2_conn *c, enum ficus_err err, const char *detail)
{
    c->over = true;
    if (c->broken != FICUS_ERR_OK)
        return;
    c->broken = err;
    c->broken_detail = detail;
    h2_conn_kick(c);
}

void h2_conn_streams_fail(struct h2_conn *c, enum ficus_err err, const char *detail)
{
    c->over = true;
    LIST_FOREACH (&c->streams, it) {
        struct h2_stream *ss = CONTAINER_OF(it, struct h2_stream, link);
        h2_stream_fail(ss, err, detail);
        if (ss->abandoned) /* it only waits for nghttp2 */
            h2_stream_ready(ss);
    }
}

void h2_conn_charge(struct h2_conn *c, int32_t cost)
{
    int64_t now_ms = env_now_ms(c->env);
    int64_t earned = (now_ms - c->budget_ms) * H2_BUDGET_PER_SECOND / 1000;
    if (earned > 0) {
        c->budget = earned < H2_BUDGET_MAX - c->budget ? c->budget + (int32_t)earned : H2_BUDGET_MAX;
        c->budget_ms = now_ms;
    }
    c->budget = cost < 0 && c->budget - cost > H2_BUDGET_MAX ? H2_BUDGET_MAX : c->budget - cost;
    if (c->budget >= 0)
        return;
    c->budget = 0;
    c->side->flooded(c);
}

void h2_conn_data_came(struct h2_conn *c, const nghttp2_frame *frame)
{
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!end && frame->hd.length > 0 && frame->hd.length == frame->data.padlen) /* one of no bytes has paid at its beginning */
        h2_conn_charge(c, 1);
}

void h2_conn_data_sent(struct h2_conn *c, size_t size)
{
    h2_conn_charge(c, -2 - 2 * (int32_t)(size / 1024)); /* Go's client says both for each 4 KiB that its user reads */
}

/* ---- the streams ---- */

bool h2_conn_step(struct h2_conn *c)
{
    bool moved = false;
    for (struct list *it; (it = list_pop_head(&c->ready)) != NULL;) {
        struct h2_stream *ss = CONTAINER_OF(it, struct h2_stream, ready);
        /* A step that did something may have more behind it; first in line again, it would starve the others. */
        list_add_tail(&c->ready, &ss->ready);
        if (!c->side->step(ss))
            list_remove(&ss->ready);
        moved = true;
    }
    return moved;
}

/* ---- output ---- */

static void flight_landed(struct h2_conn *c)
{
    c->flight_before = c->flight.size > 0 ? c->flight.size : c->flight_before;
    h2_fifo_take(&c->flight, c->flight.size);
    c->moved_ms = env_now_ms(c->env);
    for (struct list *it; (it = list_pop_head(&c->ending)) != NULL;) {
        struct h2_stream *ss = CONTAINER_OF(it, struct h2_stream, ending);
        ss->out_done = true;
        h2_stream_ready(ss);
    }
}

static void write_done(void *arg, ssize_t n)
{
    struct h2_conn *c = arg;
    c->writing = false;
    if (n < 0)
        h2_conn_break(c, FICUS_ERR_RESET, c->side->lost);
    else
        flight_landed(c);
    c->side->pump(c);
}

/* Take frames from nghttp2. It must be asked until it has nothing more: only then has it settled its own decisions. */
static void flight_gather(struct h2_conn *c)
{
    while (c->flight.size < H2_FLIGHT_SIZE) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(c->session, &p);
        if (n == 0)
            return;
        if (c->flight.size == 0)
            h2_fifo_reserve(&c->flight, c->flight_before);
        if (n < 0 || !h2_fifo_put(&c->flight, p, (size_t)n)) {
            h2_conn_break(c, FICUS_ERR_NOMEM, "out of memory");
            return;
        }
    }
}

bool h2_conn_flush(struct h2_conn *c)
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
        h2_conn_break(c, FICUS_ERR_RESET, c->side->lost);
    else if (n > 0)
        flight_landed(c);
    else
        c->writing = true;
    return n != 0;
}

/* ---- input ---- */

/* How many frames' heads are complete with these bytes. */
static int32_t heads_count(struct h2_conn *c, const uint8_t *p, size_t size)
{
    enum { HEAD_SIZE = 9, LENGTH_SIZE = 3 }; /* RFC 9113 4.1 */
    int32_t count = 0;
    while (size > 0) {
        size_t n = c->frame_left == 0 ? 1 : c->frame_left < size ? c->frame_left : size;
        if (c->frame_left > 0) {
            c->frame_left -= n;
        } else {
            c->head_length = c->head_size < LENGTH_SIZE ? c->head_length << 8 | *p : c->head_length;
            c->head_size++;
        }
        if (c->head_size == HEAD_SIZE) {
            c->frame_left = c->head_length;
            c->head_length = c->head_size = 0;
            count++;
        }
        p += n;
        size -= n;
    }
    return count;
}

/* nghttp2 drops without a word what is for a stream that is closed, and frames of types that it does not know. */
bool h2_conn_feed(struct h2_conn *c, const char *p, size_t size)
{
    c->pumping = true; /* what the callbacks find to do is for the pump that follows */
    c->untold = heads_count(c, (const uint8_t *)p, size);
    ssize_t n = nghttp2_session_mem_recv(c->session, (const uint8_t *)p, size);
    FICUS_ASSERT_HOT(c->untold >= 0);
    if (c->untold > 0)
        h2_conn_charge(c, c->untold);
    c->pumping = false;
    return n >= 0;
}

static void read_done(void *arg, ssize_t n)
{
    struct h2_conn *c = arg;
    c->reading = false;
    c->in_full = c->in == c->small && n == (ssize_t)sizeof c->small;
    if (n <= 0)
        h2_conn_break(c, FICUS_ERR_RESET, n == 0 ? c->side->ended : c->side->lost);
    else if (c->state == H2_OPEN)
        c->side->recv(c, c->in, (size_t)n);
    c->side->pump(c);
}

void h2_conn_read(struct h2_conn *c)
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
