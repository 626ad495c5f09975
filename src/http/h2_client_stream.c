/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange of an HTTP/2 client connection. Incoming bytes wait in a buffer whose size is the stream's window, and
 * window is given back only for what the user took; outgoing bytes wait in a buffer that nghttp2 reads from when both
 * windows let it. Nothing here calls the user but h2_client_stream_step.
 *
 * Ends: the answer is complete -> on_done; what was not sent of the request by then is discarded, and the server told so.
 * Reset, malformed, connection lost -> on_reset; an answer that had come whole before that is given whole all the same.
 * http_reset -> RST_STREAM and no callback.
 *
 * http_progress.request_sent is false when the server said that it did nothing about the request: REFUSED_STREAM, or a
 * number above the last one of its GOAWAY (RFC 9113 6.8, 8.7). It may be sent again whatever its method.
 */
#include "h2_client.h"

#include "assert.h"
#include "h1_parse.h"
#include "h1_write.h"
#include "mem.h"


enum { INTERIM_COUNT_MAX = 16 };

/* ---- life ---- */

static const struct http_stream_ops stream_ops;

static struct h2_client_stream *stream_of(struct http_stream *s)
{
    return (struct h2_client_stream *)(void *)s;
}

struct h2_client_stream *h2_client_stream_new(struct h2_client *c, const struct http_handler *h, void *arg)
{
    struct h2_client_stream *ss = mem_zalloc(sizeof *ss);
    if (ss == NULL)
        return NULL;
    ss->c = c;
    arena_init(&ss->arena, c->conn->limits.arena_size_max);
    http_msg_init(&ss->head, &ss->arena);
    http_msg_init(&ss->trailers, &ss->arena);
    http_msg_init(&ss->out_trailers, &ss->arena);
    ss->interims_end = &ss->interims;
    ss->s = (struct http_stream){.ops = &stream_ops, .handler = h, .arg = arg, .arena = &ss->arena};
    ss->number = ++c->exchange_count;
    list_add_tail(&c->streams, &ss->link);
    c->stream_count++;
    return ss;
}

static void body_count(struct h2_client_stream *ss, bool comes)
{
    if (comes != ss->counted)
        ss->c->body_count += comes ? 1 : (size_t)-1;
    ss->counted = comes;
}

void h2_client_stream_free(struct h2_client_stream *ss)
{
    struct h2_client *c = ss->c;
    if (ss->id != 0 && !ss->closed)
        (void)nghttp2_session_set_stream_user_data(c->session, ss->id, NULL); /* fails when it is gone: just as well */
    if (ss->in_credit > 0) /* other streams need it */
        (void)nghttp2_session_consume_connection(c->session, ss->in_credit);
    body_count(ss, false);
    list_remove(&ss->link);
    list_remove(&ss->ready);
    h2_fifo_done(&ss->in);
    h2_fifo_done(&ss->out_body);
    arena_done(&ss->arena);
    mem_free(ss);
    c->stream_count--;
    c->room_changed = true;
}

void h2_client_stream_ready(struct h2_client_stream *ss)
{
    if (list_empty(&ss->ready))
        list_add_tail(&ss->c->ready, &ss->ready);
    h2_client_kick(ss->c);
}

static void rst(struct h2_client_stream *ss, uint32_t code)
{
    if (ss->id != 0 && !ss->closed)
        (void)nghttp2_submit_rst_stream(ss->c->session, NGHTTP2_FLAG_NONE, ss->id, code);
}

void h2_client_stream_fail(struct h2_client_stream *ss, enum ficus_err err, const char *detail)
{
    FICUS_ASSERT(err != FICUS_ERR_OK);
    if (ss->fail != FICUS_ERR_OK || ss->in_ended)
        return;
    ss->fail = err;
    ss->fail_detail = detail;
    h2_client_stream_ready(ss);
}

/* ---- what nghttp2 tells ---- */

static enum ficus_err err_of(const struct h2_head *h)
{
    return h->status == 400 ? FICUS_ERR_PROTOCOL : h->status == 431 ? FICUS_ERR_TOO_LARGE : FICUS_ERR_NOMEM;
}

static bool interim_keep(struct h2_client_stream *ss)
{
    if (++ss->interim_count > INTERIM_COUNT_MAX) {
        h2_client_stream_fail(ss, FICUS_ERR_PROTOCOL, "too many interim answers");
        return false;
    }
    struct h2_interim *i = ARENA_NEW(&ss->arena, struct h2_interim);
    if (i == NULL) {
        h2_client_stream_fail(ss, FICUS_ERR_TOO_LARGE, "answer takes too much memory");
        return false;
    }
    *i = (struct h2_interim){.m = ss->head};
    *ss->interims_end = i;
    ss->interims_end = &i->next;
    http_msg_init(&ss->head, &ss->arena);
    ss->parsed = (struct h2_head){0};
    return true;
}

void h2_client_stream_head_end(struct h2_client_stream *ss, bool end)
{
    ss->answer_begun = true;
    h2_answer_end(&ss->parsed, &ss->head, end, ss->asks_head);
    if (ss->parsed.status != 0) {
        h2_client_stream_fail(ss, err_of(&ss->parsed), ss->parsed.detail);
        return;
    }
    if (ss->head.status >= 200) {
        ss->head_done = true;
        body_count(ss, !end);
    } else if (!interim_keep(ss)) {
        return;
    }
    h2_client_stream_ready(ss);
}

void h2_client_stream_trailers_end(struct h2_client_stream *ss)
{
    if (ss->trailers_parsed.status != 0)
        h2_client_stream_fail(ss, err_of(&ss->trailers_parsed), ss->trailers_parsed.detail);
}

void h2_client_stream_data(struct h2_client_stream *ss, const void *p, size_t size)
{
    struct h2_client *c = ss->c;
    if (ss->abandoned || ss->fail != FICUS_ERR_OK) {
        (void)nghttp2_session_consume_connection(c->session, size);
        return;
    }
    if (ss->in.size + size > H2_STREAM_IN_MAX || !h2_fifo_put(&ss->in, p, size)) {
        (void)nghttp2_session_consume(c->session, ss->id, size);
        h2_client_stream_fail(ss, FICUS_ERR_NOMEM, "out of memory");
        return;
    }
    ss->in_credit += size;
    if (ss->recv_wanted)
        h2_client_stream_ready(ss);
}

void h2_client_stream_in_end(struct h2_client_stream *ss)
{
    if (ss->fail != FICUS_ERR_OK)
        return;
    ss->in_ended = true;
    body_count(ss, false);
    h2_client_stream_ready(ss);
}

void h2_client_stream_closed(struct h2_client_stream *ss, uint32_t error_code)
{
    ss->closed = true;
    if (ss->in_ended) {
        h2_client_stream_ready(ss);
        return;
    }
    ss->unprocessed = !ss->answer_begun && (error_code == NGHTTP2_REFUSED_STREAM || !ss->begun);
    bool malformed = error_code == NGHTTP2_PROTOCOL_ERROR; /* the answer, says nghttp2; or the request, says the server */
    h2_client_stream_fail(ss, malformed ? FICUS_ERR_PROTOCOL : FICUS_ERR_RESET,
                          malformed         ? "malformed message"
                          : ss->unprocessed ? "server did not take the request on"
                                            : "server reset the stream");
    h2_client_stream_ready(ss);
}

/* ---- sending ---- */

/* What nghttp2 asks for when the windows let it send. */
static ssize_t body_read(nghttp2_session *session, int32_t id, uint8_t *p, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
    (void)source;
    (void)arg;
    struct h2_client_stream *ss = nghttp2_session_get_stream_user_data(session, id);
    if (ss == NULL) /* its RST_STREAM is behind this in the queue */
        return NGHTTP2_ERR_DEFERRED;
    size_t n = size < ss->out_body.size ? size : ss->out_body.size;
    bool end = ss->out == H2C_OUT_ENDED && n == ss->out_body.size;
    if (n == 0 && !end) {
        ss->out_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n > 0) {
        memcpy(p, h2_fifo_at(&ss->out_body), n);
        h2_fifo_take(&ss->out_body, n);
    }
    if (ss->writable_wanted && ss->out_body.size <= HTTP_BODY_BUFFER_SIZE / 2)
        h2_client_stream_ready(ss);
    if (!end)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (ss->out_trailers.field_count > 0) {
        struct h2_fields f;
        if (!h2_fields_init(&f, &ss->out_trailers))
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        h2_fields_message(&f, &ss->out_trailers);
        int rc = nghttp2_submit_trailer(session, id, f.nv, f.count);
        h2_fields_done(&f);
        if (rc != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    return (ssize_t)n;
}

static void out_resume(struct h2_client_stream *ss)
{
    if (!ss->out_deferred || ss->closed)
        return;
    ss->out_deferred = false;
    (void)nghttp2_session_resume_data(ss->c->session, ss->id); /* fails when the stream is going: it is told */
}

static struct slice path_of(const struct http_msg *m, struct arena *a)
{
    if (m->query.p == NULL)
        return m->path;
    char *text = arena_alloc(a, m->path.size + 1 + m->query.size);
    if (text == NULL)
        return SLICE_NONE;
    memcpy(text, m->path.p, m->path.size);
    text[m->path.size] = '?';
    memcpy(text + m->path.size + 1, m->query.p, m->query.size);
    return slice_make(text, m->path.size + 1 + m->query.size);
}

static enum ficus_err stream_send_head(struct http_stream *s, const struct http_msg *m, bool end)
{
    struct h2_client_stream *ss = stream_of(s);
    struct h2_client *c = ss->c;
    if (ss->fail != FICUS_ERR_OK || ss->abandoned)
        return FICUS_ERR_RESET;
    FICUS_ASSERT(ss->out == H2C_OUT_HEAD);
    if (m->protocol.p != NULL)
        return FICUS_ERR_UNSUPPORTED;
    if (slice_eq_str(m->method, "CONNECT") || (end && m->content_length > 0))
        return FICUS_ERR_INVALID;
    if (!h1_request_valid(m)) /* nghttp2 sends whatever it is given, and the server may pass it on as HTTP/1.1 */
        return FICUS_ERR_INVALID;
    struct slice path = path_of(m, &ss->arena);
    struct h2_fields f;
    if (path.p == NULL || !h2_fields_init(&f, m))
        return FICUS_ERR_NOMEM;
    bool no_data = end || m->content_length == 0;
    int64_t length = no_data ? (http_method_wants_length(m->method) ? 0 : -1) /* RFC 9110 8.6 */ : m->content_length;
    h2_fields_put(&f, SLICE(":method"), m->method);
    h2_fields_put(&f, SLICE(":scheme"), c->conn->secure ? SLICE("https") : SLICE("http"));
    h2_fields_put(&f, SLICE(":authority"), m->authority);
    h2_fields_put(&f, SLICE(":path"), path);
    if (m->takes_trailers)
        h2_fields_put(&f, SLICE("te"), SLICE("trailers"));
    if (length >= 0)
        h2_fields_put(&f, SLICE("content-length"), slice_make(f.length, text_i64(length, f.length)));
    h2_fields_message(&f, m);
    nghttp2_data_provider body = {.read_callback = body_read};
    int32_t id = nghttp2_submit_request(c->session, NULL, f.nv, f.count, no_data ? NULL : &body, ss);
    h2_fields_done(&f);
    if (id < 0)
        return id == NGHTTP2_ERR_NOMEM ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
    ss->id = id;
    ss->asks_head = slice_eq_str(m->method, "HEAD");
    ss->out = no_data ? H2C_OUT_ENDED : H2C_OUT_BODY;
    ss->out_counted = length >= 0;
    ss->out_left = length;
    ss->begun_ms = env_now_ms(c->env);
    h2_client_kick(c);
    return FICUS_ERR_OK;
}

static size_t stream_send(struct http_stream *s, const void *p, size_t size, bool end)
{
    struct h2_client_stream *ss = stream_of(s);
    FICUS_ASSERT(ss->out != H2C_OUT_HEAD);
    if (ss->out == H2C_OUT_ENDED || ss->fail != FICUS_ERR_OK || ss->abandoned || ss->closed)
        return size; /* it is over; the callback that says so is on its way */
    if (ss->out_counted && (uint64_t)size > (uint64_t)ss->out_left) {
        h2_client_stream_fail(ss, FICUS_ERR_INVALID, "more body than its content length");
        return size;
    }
    size_t room = HTTP_BODY_BUFFER_SIZE - ss->out_body.size, taken = size < room ? size : room;
    if (taken > 0 && !h2_fifo_put(&ss->out_body, p, taken)) {
        h2_client_stream_fail(ss, FICUS_ERR_NOMEM, "out of memory");
        return size;
    }
    ss->out_left -= ss->out_counted ? (int64_t)taken : 0;
    if (taken < size) {
        ss->writable_wanted = true;
    } else if (end) {
        if (ss->out_counted && ss->out_left > 0) {
            h2_client_stream_fail(ss, FICUS_ERR_INVALID, "less body than its content length");
            return size;
        }
        ss->out = H2C_OUT_ENDED;
    }
    if (ss->out_body.size > 0 || ss->out == H2C_OUT_ENDED)
        out_resume(ss);
    h2_client_kick(ss->c);
    return taken;
}

static enum ficus_err stream_trailers(struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct h2_client_stream *ss = stream_of(s);
    if (ss->fail != FICUS_ERR_OK || ss->abandoned || ss->closed)
        return FICUS_ERR_OK; /* a callback says so, or the answer came whole and nobody reads on (RFC 9113 8.1) */
    for (size_t i = 0; i < field_count; i++)
        if (!h1_trailer_allowed(fields[i].name) || !http_value_valid(fields[i].value))
            return FICUS_ERR_INVALID;
    for (size_t i = 0; i < field_count && ss->out != H2C_OUT_ENDED; i++) {
        struct slice name = arena_slice(&ss->arena, fields[i].name), value = arena_slice(&ss->arena, fields[i].value);
        if (name.p == NULL || value.p == NULL || !http_msg_add(&ss->out_trailers, name, value))
            return FICUS_ERR_NOMEM;
    }
    return FICUS_ERR_OK;
}

static void stream_recv(struct http_stream *s)
{
    struct h2_client_stream *ss = stream_of(s);
    FICUS_ASSERT(!ss->recv_wanted);
    if (ss->abandoned)
        return;
    ss->recv_wanted = true;
    h2_client_stream_ready(ss);
}

static void stream_reset(struct http_stream *s, enum ficus_err why)
{
    struct h2_client_stream *ss = stream_of(s);
    (void)why; /* RFC 9113 has one word for all that a client may mean */
    ss->abandoned = true;
    rst(ss, NGHTTP2_CANCEL);
    if (!ss->in_ended && (ss->begun || (ss->id != 0 && ss->c->writing))) /* or it cannot leave: perhaps nobody reads there */
        h2_client_doubt(ss->c, ss->begun_ms);
    h2_client_stream_ready(ss);
}

static void stream_progress(const struct http_stream *s, struct http_progress *ret_progress)
{
    const struct h2_client_stream *ss = (const struct h2_client_stream *)(const void *)s;
    *ret_progress = (struct http_progress){.conn_reused = ss->number > 1 && ss->c->broken != FICUS_ERR_OK,
                                           .request_sent = ss->begun && !ss->unprocessed,
                                           .response_begun = ss->answer_begun,
                                           .unprocessed = ss->unprocessed};
}

static const struct http_stream_ops stream_ops = {stream_send_head, stream_send,  stream_recv,
                                                  stream_trailers,  stream_reset, stream_progress, .protocol = "h2"};

/* ---- steps ---- */

static void break_off(struct h2_client_stream *ss)
{
    enum ficus_err err = ss->fail;
    ss->s.handler->on_reset(ss->s.arg, &ss->s, err, ss->fail_detail);
    rst(ss, err == FICUS_ERR_PROTOCOL || err == FICUS_ERR_TOO_LARGE ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_CANCEL);
    ss->abandoned = true;
}

static bool give_head(struct h2_client_stream *ss)
{
    struct h2_interim *i = ss->interims;
    if (i != NULL) {
        ss->interims = i->next;
        if (ss->interims == NULL)
            ss->interims_end = &ss->interims;
        if (ss->s.handler->on_interim != NULL)
            ss->s.handler->on_interim(ss->s.arg, &ss->s, &i->m);
        return true;
    }
    if (!ss->head_done || ss->head_given)
        return false;
    ss->head_given = true;
    ss->end_told = ss->in_ended && ss->in.size == 0 && ss->trailers.field_count == 0;
    ss->s.head_in = &ss->head;
    ss->s.handler->on_head(ss->s.arg, &ss->s, &ss->head, ss->end_told);
    return true;
}

/* At most one on_data. */
static bool deliver(struct h2_client_stream *ss)
{
    if (!ss->recv_wanted || (ss->in.size == 0 && !ss->in_ended))
        return false;
    size_t size = ss->in.size < HTTP_BODY_BUFFER_SIZE ? ss->in.size : HTTP_BODY_BUFFER_SIZE;
    bool end = ss->in_ended && size == ss->in.size;
    if (end && ss->trailers.field_count > 0) {
        struct http_msg t = ss->trailers;
        ss->trailers.field_count = 0;
        if (ss->s.handler->on_trailers != NULL) {
            ss->s.handler->on_trailers(ss->s.arg, &ss->s, t.fields, t.field_count);
            return true; /* it may have given up */
        }
    }
    ss->recv_wanted = false;
    ss->end_told = end;
    ss->s.handler->on_data(ss->s.arg, &ss->s, slice_make(size > 0 ? h2_fifo_at(&ss->in) : "", size), end);
    if (size > 0) {
        h2_fifo_take(&ss->in, size);
        ss->in_credit -= size;
        if (ss->closed)
            (void)nghttp2_session_consume_connection(ss->c->session, size);
        else
            (void)nghttp2_session_consume(ss->c->session, ss->id, size);
    }
    return true;
}

bool h2_client_stream_step(struct h2_client_stream *ss)
{
    if (ss->abandoned) {
        /* nghttp2 holds on to a request that it has not sent yet, and tells when it drops it */
        bool held = ss->id != 0 && !ss->begun && !ss->closed && ss->c->broken == FICUS_ERR_OK;
        if (!held)
            h2_client_stream_free(ss);
        return !held;
    }
    if (ss->fail != FICUS_ERR_OK) {
        break_off(ss);
        return true;
    }
    if (ss->end_told) {
        ss->s.handler->on_done(ss->s.arg, &ss->s);
        h2_client_charge(ss->c, -10);
        rst(ss, NGHTTP2_CANCEL); /* of a request that is not complete yet; else the stream is closed */
        h2_client_stream_free(ss);
        return true;
    }
    if (give_head(ss) || (ss->head_given && deliver(ss)))
        return true;
    if (ss->writable_wanted && ss->out_body.size <= HTTP_BODY_BUFFER_SIZE / 2) {
        ss->writable_wanted = false;
        if (ss->s.handler->on_writable != NULL)
            ss->s.handler->on_writable(ss->s.arg, &ss->s);
        return true;
    }
    return false;
}
