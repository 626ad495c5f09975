/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange of an HTTP/2 server connection. Incoming bytes wait in a buffer whose size is the stream's window, and
 * window is given back only for what the user took; outgoing bytes wait in a buffer that nghttp2 reads from when both
 * windows let it. Nothing here calls the user but h2_server_stream_step.
 *
 * Ends: both messages complete -> on_done. Reset by the client, malformed, late -> on_reset. http_reset -> RST_STREAM and
 * no callback. An answer that is complete before its request asks the client to stop (RST_STREAM NO_ERROR, RFC 9113 8.1),
 * but not at once: some clients (curl 7.88) forget an answer that they have not looked at yet when its stream is reset.
 */
#include "h2_server.h"

#include "assert.h"
#include "h1_parse.h"
#include "mem.h"
#include "text.h"

enum { H2_STOP_MS = 1000 }; /* so long may a client go on sending behind its answer; what it sends is thrown away */

/* ---- life ---- */

static const struct http_stream_ops stream_ops;

static struct h2_server_stream *stream_of(struct http_stream *s)
{
    return (struct h2_server_stream *)(void *)s;
}

struct h2_server_stream *h2_server_stream_new(struct h2_server_conn *c, int32_t id)
{
    struct h2_server_stream *ss = c->stream_count == H2_STREAMS_MAX ? NULL : mem_zalloc(sizeof *ss);
    if (ss == NULL)
        return NULL;
    ss->c = c;
    ss->id = id;
    arena_init(&ss->arena, c->conn.server->o.limits.arena_size_max);
    http_msg_init(&ss->head, &ss->arena);
    http_msg_init(&ss->trailers, &ss->arena);
    http_msg_init(&ss->out_trailers, &ss->arena);
    ss->head.scheme = SLICE_NONE;
    ss->s = (struct http_stream){.ops = &stream_ops, .arena = &ss->arena, .head_in = &ss->head};
    ss->moved_ms = env_now_ms(c->env);
    list_add_tail(&c->streams, &ss->link);
    c->stream_count++;
    c->body_count++;
    h2_server_streams_changed(c);
    return ss;
}

void h2_server_stream_free(struct h2_server_stream *ss)
{
    struct h2_server_conn *c = ss->c;
    if (!ss->closed)
        (void)nghttp2_session_set_stream_user_data(c->session, ss->id, NULL); /* fails when it is gone: just as well */
    if (ss->in_credit > 0) /* other streams need it */
        (void)nghttp2_session_consume_connection(c->session, ss->in_credit);
    list_remove(&ss->link);
    list_remove(&ss->ready);
    list_remove(&ss->ending);
    if (!ss->in_ended)
        c->body_count--;
    h2_fifo_done(&ss->in);
    h2_fifo_done(&ss->out_body);
    arena_done(&ss->arena);
    mem_free(ss);
    c->stream_count--;
    h2_server_streams_changed(c);
}

void h2_server_stream_ready(struct h2_server_stream *ss)
{
    if (list_empty(&ss->ready))
        list_add_tail(&ss->c->ready, &ss->ready);
    h2_server_kick(ss->c);
}

void h2_server_stream_begin(struct h2_server_stream *ss)
{
    ss->head_done = true;
    h2_server_stream_ready(ss);
}

static void rst(struct h2_server_stream *ss, uint32_t code)
{
    if (!ss->closed)
        (void)nghttp2_submit_rst_stream(ss->c->session, NGHTTP2_FLAG_NONE, ss->id, code);
}

void h2_server_stream_fail(struct h2_server_stream *ss, enum ficus_err err, const char *detail)
{
    FICUS_ASSERT(err != FICUS_ERR_OK);
    if (ss->fail != FICUS_ERR_OK)
        return;
    ss->fail = err;
    ss->fail_detail = detail;
    h2_server_stream_ready(ss);
}

void h2_server_stream_closed(struct h2_server_stream *ss, uint32_t error_code)
{
    ss->closed = true;
    if (!ss->in_ended)
        h2_server_stream_fail(ss, error_code == NGHTTP2_PROTOCOL_ERROR ? FICUS_ERR_PROTOCOL : FICUS_ERR_RESET,
                       "client is gone");
    else if (!ss->end_sent)
        h2_server_stream_fail(ss, FICUS_ERR_RESET, "client is gone");
    h2_server_stream_ready(ss);
}

void h2_server_stream_data(struct h2_server_stream *ss, const void *p, size_t size)
{
    struct h2_server_conn *c = ss->c;
    if (ss->told) {
        (void)nghttp2_session_consume_connection(c->session, size);
        return;
    }
    if (ss->in.size + size > H2_STREAM_IN_MAX || !h2_fifo_put(&ss->in, p, size)) {
        (void)nghttp2_session_consume(c->session, ss->id, size);
        h2_server_stream_fail(ss, FICUS_ERR_NOMEM, "out of memory");
        return;
    }
    ss->in_credit += size;
    ss->moved_ms = env_now_ms(c->env);
    if (ss->recv_wanted)
        h2_server_stream_ready(ss);
}

void h2_server_stream_in_end(struct h2_server_stream *ss)
{
    FICUS_ASSERT(!ss->in_ended);
    ss->in_ended = true;
    ss->c->body_count--;
    if (ss->recv_wanted || ss->told)
        h2_server_stream_ready(ss);
}

/* ---- sending ---- */

/* 100 to 599 */
static void put_status(struct h2_fields *f, int status)
{
    h2_fields_put(f, SLICE(":status"), slice_make(f->status, text_i64(status, f->status)));
}

static enum ficus_err interim_send(struct h2_server_stream *ss, const struct http_msg *m)
{
    struct h2_fields f;
    if (!h2_fields_init(&f, m))
        return FICUS_ERR_NOMEM;
    put_status(&f, m->status);
    h2_fields_message(&f, m);
    int rc = nghttp2_submit_headers(ss->c->session, NGHTTP2_FLAG_NONE, ss->id, NULL, f.nv, f.count, NULL);
    h2_fields_done(&f);
    h2_server_kick(ss->c);
    return rc == 0 ? FICUS_ERR_OK : rc == NGHTTP2_ERR_NOMEM ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
}

/* What nghttp2 asks for when the windows let it send. */
static ssize_t body_read(nghttp2_session *session, int32_t id, uint8_t *p, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
    (void)source;
    (void)arg;
    struct h2_server_stream *ss = nghttp2_session_get_stream_user_data(session, id);
    if (ss == NULL) /* its RST_STREAM is behind this in the queue */
        return NGHTTP2_ERR_DEFERRED;
    size_t n = size < ss->out_body.size ? size : ss->out_body.size;
    bool end = ss->out == H2_OUT_ENDED && n == ss->out_body.size;
    if (n == 0 && !end) {
        ss->out_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n > 0) {
        memcpy(p, h2_fifo_at(&ss->out_body), n);
        h2_fifo_take(&ss->out_body, n);
    }
    ss->moved_ms = env_now_ms(ss->c->env);
    if (ss->writable_wanted && ss->out_body.size <= HTTP_BODY_BUFFER_SIZE / 2)
        h2_server_stream_ready(ss);
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

static void out_end(struct h2_server_stream *ss)
{
    ss->out = H2_OUT_ENDED;
    h2_server_stream_ready(ss);
}

static void out_resume(struct h2_server_stream *ss)
{
    if (!ss->out_deferred || ss->closed)
        return;
    ss->out_deferred = false;
    ss->moved_ms = env_now_ms(ss->c->env);
    (void)nghttp2_session_resume_data(ss->c->session, ss->id); /* fails when the stream is going: it is told */
}

static enum ficus_err stream_send_head(struct http_stream *s, const struct http_msg *m, bool end)
{
    struct h2_server_stream *ss = stream_of(s);
    struct http_server *v = ss->c->conn.server;
    if (ss->fail != FICUS_ERR_OK || ss->abandoned || ss->closed)
        return FICUS_ERR_RESET;
    FICUS_ASSERT(ss->out == H2_OUT_HEAD);
    bool wants_tunnel = ss->head.protocol.p != NULL, tunnel = wants_tunnel && m->status == 101;
    if (m->status < 100 || m->status > 599 || (m->status == 101 && !tunnel))
        return FICUS_ERR_INVALID;
    if (m->status < 200 && !tunnel)
        return interim_send(ss, m);
    /* RFC 8441: any 2xx would say that the tunnel is there. */
    if ((wants_tunnel && m->status >= 200 && m->status < 300) || (tunnel && end))
        return FICUS_ERR_INVALID;

    bool no_body = ss->answers_head || m->status == 204 || m->status == 304;
    int64_t length = tunnel ? -1 : m->content_length;
    if (m->status == 204 || (m->status == 304 && length == 0))
        length = -1; /* as on HTTP/1.1 */
    else if (!no_body && end && length < 0)
        length = 0;
    else if (!no_body && end && length > 0)
        return FICUS_ERR_INVALID;
    bool no_data = no_body || (length == 0 && ss->out_trailers.field_count == 0 && end);

    struct h2_fields f;
    if (!h2_fields_init(&f, m))
        return FICUS_ERR_NOMEM;
    put_status(&f, tunnel ? 200 : m->status);
    if (http_msg_get(m, "date").p == NULL)
        h2_fields_put(&f, SLICE("date"), slice_str(server_date(v)));
    if (v->o.server_name != NULL && http_msg_get(m, "server").p == NULL)
        h2_fields_put(&f, SLICE("server"), slice_str(v->o.server_name));
    h2_fields_message(&f, m);
    if (length >= 0)
        h2_fields_put(&f, SLICE("content-length"), slice_make(f.length, text_i64(length, f.length)));
    nghttp2_data_provider body = {.read_callback = body_read};
    int rc = nghttp2_submit_response(ss->c->session, ss->id, f.nv, f.count, no_data ? NULL : &body);
    h2_fields_done(&f);
    if (rc != 0)
        return rc == NGHTTP2_ERR_NOMEM ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
    ss->out = H2_OUT_BODY;
    ss->out_begun = true;
    ss->tunnel = tunnel;
    ss->out_discard = no_body;
    ss->out_counted = length >= 0;
    ss->out_left = length;
    ss->moved_ms = env_now_ms(ss->c->env);
    if (end)
        out_end(ss);
    h2_server_kick(ss->c);
    return FICUS_ERR_OK;
}

static size_t stream_send(struct http_stream *s, const void *p, size_t size, bool end)
{
    struct h2_server_stream *ss = stream_of(s);
    FICUS_ASSERT(ss->out != H2_OUT_HEAD);
    if (ss->out == H2_OUT_ENDED || ss->fail != FICUS_ERR_OK || ss->abandoned)
        return size; /* it is over; the callback that says so is on its way */
    size_t taken = size;
    if (!ss->out_discard) {
        if (ss->out_counted && (uint64_t)size > (uint64_t)ss->out_left) {
            h2_server_stream_fail(ss, FICUS_ERR_INVALID, "more body than its content length");
            return size;
        }
        size_t room = HTTP_BODY_BUFFER_SIZE - ss->out_body.size;
        taken = size < room ? size : room;
        if (taken > 0 && ss->out_body.size == 0)
            ss->moved_ms = env_now_ms(ss->c->env); /* the wait for the client begins */
        if (taken > 0 && !h2_fifo_put(&ss->out_body, p, taken)) {
            h2_server_stream_fail(ss, FICUS_ERR_NOMEM, "out of memory");
            return size;
        }
        ss->out_left -= ss->out_counted ? (int64_t)taken : 0;
    }
    if (taken < size) {
        ss->writable_wanted = true;
    } else if (end) {
        if (ss->out_counted && !ss->out_discard && ss->out_left > 0) {
            h2_server_stream_fail(ss, FICUS_ERR_INVALID, "less body than its content length");
            return size;
        }
        out_end(ss);
    }
    if (ss->out_body.size > 0 || ss->out == H2_OUT_ENDED)
        out_resume(ss);
    h2_server_kick(ss->c);
    return taken;
}

static enum ficus_err stream_trailers(struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct h2_server_stream *ss = stream_of(s);
    if (ss->fail != FICUS_ERR_OK || ss->abandoned || ss->closed)
        return FICUS_ERR_RESET;
    for (size_t i = 0; i < field_count; i++)
        if (!h1_trailer_allowed(fields[i].name) || !http_value_valid(fields[i].value))
            return FICUS_ERR_INVALID;
    for (size_t i = 0; i < field_count && !ss->out_discard; i++) {
        struct slice name = arena_slice(&ss->arena, fields[i].name), value = arena_slice(&ss->arena, fields[i].value);
        if (name.p == NULL || value.p == NULL || !http_msg_add(&ss->out_trailers, name, value))
            return FICUS_ERR_NOMEM;
    }
    return FICUS_ERR_OK;
}

static void stream_recv(struct http_stream *s)
{
    struct h2_server_stream *ss = stream_of(s);
    FICUS_ASSERT(!ss->recv_wanted);
    if (ss->fail != FICUS_ERR_OK || ss->abandoned)
        return;
    if (ss->expects && ss->out == H2_OUT_HEAD && ss->in.size == 0 && !ss->in_ended) {
        struct http_msg m = {.status = 100};
        (void)interim_send(ss, &m); /* failing that, the client goes on by itself after a while */
    }
    ss->expects = false;
    ss->recv_wanted = true;
    ss->moved_ms = env_now_ms(ss->c->env);
    h2_server_stream_ready(ss);
}

static void stream_reset(struct http_stream *s, enum ficus_err why)
{
    struct h2_server_stream *ss = stream_of(s);
    ss->abandoned = true;
    rst(ss, why == FICUS_ERR_REFUSED                                  ? NGHTTP2_REFUSED_STREAM
            : why == FICUS_ERR_CANCELLED || why == FICUS_ERR_TIMEOUT ? NGHTTP2_CANCEL
                                                                      : NGHTTP2_INTERNAL_ERROR);
    h2_server_stream_ready(ss);
}

static void stream_progress(const struct http_stream *s, struct http_progress *ret_progress)
{
    const struct h2_server_stream *ss = (const struct h2_server_stream *)(const void *)s;
    *ret_progress = (struct http_progress){
        .conn_reused = ss->c->request_count > 1, .request_sent = true, .response_begun = ss->out_begun};
}

static const struct http_stream_ops stream_ops = {stream_send_head, stream_send,  stream_recv,
                                                  stream_trailers,  stream_reset, stream_progress, .protocol = "h2"};

/* ---- the codec's own answers ---- */

static void ignore_end(void *arg, struct http_stream *s)
{
    (void)arg;
    (void)s;
}
static void ignore_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    (void)arg;
    (void)s;
    (void)err;
    (void)detail;
}

/* Answer by ourselves: the request, or the user's patience with it, is at its end. */
static void refuse(struct h2_server_stream *ss, int status, const char *detail)
{
    static const struct http_handler nobody = {.on_done = ignore_end, .on_reset = ignore_reset};
    struct http_server *v = ss->c->conn.server;
    if (v->o.on_refused != NULL)
        v->o.on_refused(v->o.arg, status, detail);
    ss->given = true;
    ss->answers_head = slice_eq_str(ss->head.method, "HEAD");
    ss->head.protocol = SLICE_NONE;
    http_stream_handle(&ss->s, &nobody, NULL);
    struct http_field fields[HTTP_REFUSAL_FIELDS_MAX];
    size_t field_count = v->o.refusal_fields != NULL ? v->o.refusal_fields(v->o.arg, fields) : 0;
    FICUS_ASSERT(field_count <= HTTP_REFUSAL_FIELDS_MAX);
    struct buf body;
    buf_init(&body, 1024);
    http_problem_write(&body, status, NULL, detail, SLICE_NONE);
    if (buf_failed(&body) || http_respond(&ss->s, status, fields, field_count, "application/problem+json",
                                          buf_slice(&body)) != FICUS_ERR_OK)
        http_reset(&ss->s, FICUS_ERR_NOMEM);
    buf_done(&body);
}

/* ---- steps ---- */

static void give(struct h2_server_stream *ss)
{
    struct http_server *v = ss->c->conn.server;
    if (ss->parsed.status != 0) {
        refuse(ss, ss->parsed.status, ss->parsed.detail);
        return;
    }
    ss->given = true;
    ss->c->request_count++;
    bool end = ss->in_ended && ss->in.size == 0 && ss->trailers.field_count == 0;
    ss->end_told = end;
    v->o.on_request(v->o.arg, &ss->s, end, &ss->c->peer);
    FICUS_ASSERT(ss->s.handler != NULL || ss->abandoned);
}

/* The stream failed: tell the user, then the client if it can still hear. */
static void break_off(struct h2_server_stream *ss)
{
    enum ficus_err err = ss->fail;
    const char *detail = ss->fail_detail;
    bool answer = ss->given && err == FICUS_ERR_TIMEOUT && ss->out == H2_OUT_HEAD && !ss->closed;
    if (ss->given && !ss->abandoned)
        ss->s.handler->on_reset(ss->s.arg, &ss->s, err, detail);
    if (answer && !ss->abandoned) {
        ss->fail = FICUS_ERR_OK;
        ss->recv_wanted = ss->writable_wanted = false;
        refuse(ss, 408, detail);
        return;
    }
    rst(ss, err == FICUS_ERR_PROTOCOL                                ? NGHTTP2_PROTOCOL_ERROR
            : err == FICUS_ERR_TIMEOUT || err == FICUS_ERR_CANCELLED ? NGHTTP2_CANCEL
                                                                     : NGHTTP2_INTERNAL_ERROR);
    h2_server_stream_free(ss);
}

/* At most one on_data. */
static bool deliver(struct h2_server_stream *ss)
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
        (void)nghttp2_session_consume(ss->c->session, ss->id, size); /* of a closed stream: the connection's */
    }
    return true;
}

bool h2_server_stream_step(struct h2_server_stream *ss)
{
    if (ss->abandoned) {
        h2_server_stream_free(ss);
        return true;
    }
    if (ss->told) {
        if (!ss->closed && !ss->in_ended && ss->fail == FICUS_ERR_OK)
            return false;
        rst(ss, NGHTTP2_NO_ERROR);
        h2_server_stream_free(ss);
        return true;
    }
    if (ss->out == H2_OUT_ENDED && ss->out_done) {
        ss->told = true;
        ss->s.handler->on_done(ss->s.arg, &ss->s);
        (void)h2_server_charge(ss->c, -10);
        ss->moved_ms = env_now_ms(ss->c->env);
        if (!ss->closed && !ss->in_ended)
            h2_server_wake_at(ss->c, ss->moved_ms + H2_STOP_MS);
        return true;
    }
    if (ss->fail != FICUS_ERR_OK && !(ss->closed && ss->end_sent && ss->out == H2_OUT_ENDED && ss->c->broken == FICUS_ERR_OK)) {
        break_off(ss);
        return true;
    }
    if (ss->fail != FICUS_ERR_OK || !ss->head_done)
        return false; /* the answer was complete before the client went: it counts as soon as it is out */
    if (!ss->given) {
        give(ss);
        return true;
    }
    if (deliver(ss))
        return true;
    if (ss->writable_wanted && ss->out_body.size <= HTTP_BODY_BUFFER_SIZE / 2) {
        ss->writable_wanted = false;
        if (ss->s.handler->on_writable != NULL)
            ss->s.handler->on_writable(ss->s.arg, &ss->s);
        return true;
    }
    return false;
}

int64_t h2_server_stream_deadline_ms(const struct h2_server_stream *ss)
{
    if (ss->told)
        return ss->moved_ms + H2_STOP_MS;
    /* Of a tunnel, silence is the user's to judge. */
    bool waits = (ss->recv_wanted && !ss->tunnel) || ss->out_body.size > 0 || (ss->out == H2_OUT_ENDED && !ss->out_done);
    return ss->given && ss->fail == FICUS_ERR_OK && waits
               ? ss->moved_ms + ss->c->conn.server->o.limits.body_timeout_ms
               : -1;
}

void h2_server_stream_late(struct h2_server_stream *ss)
{
    h2_server_stream_fail(ss, FICUS_ERR_TIMEOUT,
                   ss->recv_wanted && ss->out_body.size == 0 ? "request body stalled" : "client does not read");
}
