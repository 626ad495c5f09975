/* SPDX-License-Identifier: Apache-2.0
 *
 * See h2_stream.h.
 */
#include "h2_stream.h"

#include "assert.h"
#include "h1_parse.h"
#include "mem.h"

/* ---- life ---- */

void h2_stream_init(struct h2_stream *ss, struct h2_conn *c, const struct http_stream_ops *ops, struct arena *arena, int32_t id)
{
    ss->c = c;
    ss->id = id;
    http_msg_init(&ss->head, arena);
    http_msg_init(&ss->trailers, arena);
    http_msg_init(&ss->out_trailers, arena);
    ss->s = (struct http_stream){.ops = ops, .arena = arena};
    ss->moved_ms = env_now_ms(c->env);
    list_add_tail(&c->streams, &ss->link);
    c->stream_count++;
}

void h2_stream_done(struct h2_stream *ss)
{
    struct h2_conn *c = ss->c;
    if (ss->id != 0 && !ss->closed)
        (void)nghttp2_session_set_stream_user_data(c->session, ss->id, NULL); /* fails when it is gone: just as well */
    if (ss->in_credit > 0) /* other streams need it */
        (void)nghttp2_session_consume_connection(c->session, ss->in_credit);
    h2_stream_body_comes(ss, false);
    list_remove(&ss->link);
    list_remove(&ss->ready);
    list_remove(&ss->ending);
    h2_fifo_done(&ss->in);
    h2_fifo_done(&ss->out_body);
    c->stream_count--;
}

void h2_stream_ready(struct h2_stream *ss)
{
    if (list_empty(&ss->ready))
        list_add_tail(&ss->c->ready, &ss->ready);
    h2_conn_kick(ss->c);
}

void h2_stream_rst(struct h2_stream *ss, uint32_t code)
{
    if (ss->id != 0 && !ss->closed)
        (void)nghttp2_submit_rst_stream(ss->c->session, NGHTTP2_FLAG_NONE, ss->id, code);
}

void h2_stream_fail(struct h2_stream *ss, enum ficus_err err, const char *detail)
{
    FICUS_ASSERT(err != FICUS_ERR_OK);
    if (ss->fail != FICUS_ERR_OK || (ss->c->side->client && ss->in_ended))
        return;
    ss->fail = err;
    ss->fail_detail = detail;
    h2_stream_ready(ss);
}

void h2_stream_closed(struct h2_stream *ss, uint32_t error_code)
{
    ss->closed = true;
    ss->c->side->stream_closed(ss, error_code);
    h2_stream_ready(ss);
}

/* ---- receiving ---- */

void h2_stream_body_comes(struct h2_stream *ss, bool comes)
{
    if (comes != ss->in_counted)
        ss->c->body_count += comes ? 1 : (size_t)-1;
    ss->in_counted = comes;
}

void h2_stream_data(struct h2_stream *ss, const void *p, size_t size)
{
    struct h2_conn *c = ss->c;
    if (ss->told || ss->abandoned || ss->fail != FICUS_ERR_OK) {
        (void)nghttp2_session_consume_connection(c->session, size);
        return;
    }
    if (ss->in.size + size > H2_STREAM_IN_MAX || !h2_fifo_put(&ss->in, p, size)) {
        (void)nghttp2_session_consume(c->session, ss->id, size);
        h2_stream_fail(ss, FICUS_ERR_NOMEM, "out of memory");
        return;
    }
    ss->in_credit += size;
    ss->moved_ms = env_now_ms(c->env);
    if (ss->recv_wanted)
        h2_stream_ready(ss);
}

bool h2_stream_deliver(struct h2_stream *ss)
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

bool h2_stream_more(struct h2_stream *ss)
{
    if (!ss->writable_wanted || ss->out_body.size > HTTP_BODY_BUFFER_SIZE / 2)
        return false;
    ss->writable_wanted = false;
    if (ss->s.handler->on_writable != NULL)
        ss->s.handler->on_writable(ss->s.arg, &ss->s);
    return true;
}

/* ---- sending ---- */

void h2_stream_out_begin(struct h2_stream *ss, int64_t content_length, bool ended)
{
    ss->out = ended ? H2_OUT_ENDED : H2_OUT_BODY;
    ss->out_counted = content_length >= 0;
    ss->out_left = content_length;
    ss->moved_ms = env_now_ms(ss->c->env);
    h2_conn_kick(ss->c);
}

/* What nghttp2 asks for when the windows let it send. */
static ssize_t body_read(nghttp2_session *session, int32_t id, uint8_t *p, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
    (void)source;
    (void)arg;
    struct h2_stream *ss = nghttp2_session_get_stream_user_data(session, id);
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
        h2_stream_ready(ss);
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

const nghttp2_data_provider h2_stream_body = {.read_callback = body_read};

static void out_resume(struct h2_stream *ss)
{
    if (!ss->out_deferred || ss->closed)
        return;
    ss->out_deferred = false;
    ss->moved_ms = env_now_ms(ss->c->env);
    (void)nghttp2_session_resume_data(ss->c->session, ss->id); /* fails when the stream is going: it is told */
}

size_t h2_stream_send(struct http_stream *s, const void *p, size_t size, bool end)
{
    struct h2_stream *ss = h2_stream_of(s);
    FICUS_ASSERT(ss->out != H2_OUT_HEAD);
    if (ss->out == H2_OUT_ENDED || ss->fail != FICUS_ERR_OK || ss->abandoned || ss->closed)
        return size; /* it is over; the callback that says so is on its way */
    size_t taken = size;
    if (!ss->out_discard) {
        if (ss->out_counted && (uint64_t)size > (uint64_t)ss->out_left) {
            h2_stream_fail(ss, FICUS_ERR_INVALID, "more body than its content length");
            return size;
        }
        size_t room = HTTP_BODY_BUFFER_SIZE - ss->out_body.size;
        taken = size < room ? size : room;
        if (taken > 0 && ss->out_body.size == 0)
            ss->moved_ms = env_now_ms(ss->c->env); /* the wait for the peer begins */
        if (taken > 0 && !h2_fifo_put(&ss->out_body, p, taken)) {
            h2_stream_fail(ss, FICUS_ERR_NOMEM, "out of memory");
            return size;
        }
        ss->out_left -= ss->out_counted ? (int64_t)taken : 0;
    }
    if (taken < size) {
        ss->writable_wanted = true;
    } else if (end) {
        if (ss->out_counted && !ss->out_discard && ss->out_left > 0) {
            h2_stream_fail(ss, FICUS_ERR_INVALID, "less body than its content length");
            return size;
        }
        ss->out = H2_OUT_ENDED;
    }
    if (ss->out_body.size > 0 || ss->out == H2_OUT_ENDED)
        out_resume(ss);
    h2_conn_kick(ss->c);
    return taken;
}

enum ficus_err h2_stream_trailers(struct h2_stream *ss, const struct http_field *fields, size_t field_count)
{
    for (size_t i = 0; i < field_count; i++)
        if (!h1_trailer_allowed(fields[i].name) || !http_value_valid(fields[i].value))
            return FICUS_ERR_INVALID;
    for (size_t i = 0; i < field_count && !ss->out_discard && ss->out != H2_OUT_ENDED; i++) {
        struct slice name = arena_slice(ss->s.arena, fields[i].name), value = arena_slice(ss->s.arena, fields[i].value);
        if (name.p == NULL || value.p == NULL || !http_msg_add(&ss->out_trailers, name, value))
            return FICUS_ERR_NOMEM;
    }
    return FICUS_ERR_OK;
}
