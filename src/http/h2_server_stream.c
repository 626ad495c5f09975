/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange of an HTTP/2 server connection; bodies are in h2_stream.c. Nothing here calls the user but
 * h2_server_stream_step.
 *
 * Ends: both messages complete -> on_done. Reset by the client, malformed, late -> on_reset. http_reset -> RST_STREAM and
 * no callback. An answer that is complete before its request asks the client to stop (RST_STREAM NO_ERROR, RFC 9113 8.1),
 * but not at once: some clients (curl 7.88) forget an answer that they have not looked at yet when its stream is reset.
 */
#include "h2_server.h"

#include "assert.h"
#include "mem.h"
#include "text.h"

enum { H2_STOP_MS = 1000 }; /* so long may a client go on sending behind its answer; what it sends is thrown away */

/* ---- life ---- */

static const struct http_stream_ops stream_ops;

static struct h2_server_stream *stream_of(struct http_stream *s)
{
    return h2_server_stream_of(h2_stream_of(s));
}

static struct h2_server_conn *conn_of(const struct h2_server_stream *ss)
{
    return h2_server_conn_of(ss->h2.c);
}

struct h2_server_stream *h2_server_stream_new(struct h2_server_conn *c, int32_t id)
{
    struct h2_server_stream *ss = c->h2.stream_count == H2_STREAMS_MAX ? NULL : mem_zalloc(sizeof *ss);
    if (ss == NULL)
        return NULL;
    ss->spare = server_spare_take(c->conn.server);
    h2_stream_init(&ss->h2, &c->h2, &stream_ops, &ss->spare, id);
    h2_stream_body_comes(&ss->h2, true);
    ss->h2.s.head_in = &ss->h2.head;
    ss->h2.head.scheme = SLICE_NONE;
    h2_server_streams_changed(c);
    return ss;
}

static void stream_free(struct h2_server_stream *ss)
{
    struct h2_server_conn *c = conn_of(ss);
    h2_stream_done(&ss->h2);
    server_spare_give(c->conn.server, ss->spare);
    mem_free(ss);
    h2_server_streams_changed(c);
}

void h2_server_stream_begin(struct h2_server_stream *ss)
{
    ss->h2.head_done = true;
    h2_stream_ready(&ss->h2);
}

void h2_server_stream_closed(struct h2_stream *h2, uint32_t error_code)
{
    if (!h2->in_ended)
        h2_stream_fail(h2, error_code == NGHTTP2_PROTOCOL_ERROR ? FICUS_ERR_PROTOCOL : FICUS_ERR_RESET, "client is gone");
    else if (!h2_server_stream_of(h2)->end_sent)
        h2_stream_fail(h2, FICUS_ERR_RESET, "client is gone");
}

void h2_server_stream_in_end(struct h2_server_stream *ss)
{
    FICUS_ASSERT(!ss->h2.in_ended);
    ss->h2.in_ended = true;
    h2_stream_body_comes(&ss->h2, false);
    if (ss->h2.recv_wanted || ss->h2.told)
        h2_stream_ready(&ss->h2);
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
    int rc = nghttp2_submit_headers(ss->h2.c->session, NGHTTP2_FLAG_NONE, ss->h2.id, NULL, f.nv, f.count, NULL);
    h2_fields_done(&f);
    h2_conn_kick(ss->h2.c);
    return rc == 0 ? FICUS_ERR_OK : rc == NGHTTP2_ERR_NOMEM ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
}

static enum ficus_err stream_send_head(struct http_stream *s, const struct http_msg *m, bool end)
{
    struct h2_server_stream *ss = stream_of(s);
    struct http_server *v = conn_of(ss)->conn.server;
    if (ss->h2.fail != FICUS_ERR_OK || ss->h2.abandoned || ss->h2.closed)
        return FICUS_ERR_RESET;
    FICUS_ASSERT(ss->h2.out == H2_OUT_HEAD);
    bool wants_tunnel = ss->h2.head.protocol.p != NULL, tunnel = wants_tunnel && m->status == 101;
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
    bool no_data = no_body || (length == 0 && ss->h2.out_trailers.field_count == 0 && end);

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
    int rc = nghttp2_submit_response(ss->h2.c->session, ss->h2.id, f.nv, f.count, no_data ? NULL : &h2_stream_body);
    h2_fields_done(&f);
    if (rc != 0)
        return rc == NGHTTP2_ERR_NOMEM ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
    h2_stream_out_begin(&ss->h2, length, end);
    ss->h2.out_discard = no_body;
    ss->out_begun = true;
    ss->tunnel = tunnel;
    return FICUS_ERR_OK;
}

static enum ficus_err stream_trailers(struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct h2_server_stream *ss = stream_of(s);
    if (ss->h2.fail != FICUS_ERR_OK || ss->h2.abandoned || ss->h2.closed)
        return FICUS_ERR_RESET;
    return h2_stream_trailers(&ss->h2, fields, field_count);
}

static void stream_recv(struct http_stream *s)
{
    struct h2_server_stream *ss = stream_of(s);
    FICUS_ASSERT(!ss->h2.recv_wanted);
    if (ss->h2.fail != FICUS_ERR_OK || ss->h2.abandoned)
        return;
    if (ss->expects && ss->h2.out == H2_OUT_HEAD && ss->h2.in.size == 0 && !ss->h2.in_ended) {
        struct http_msg m = {.status = 100};
        (void)interim_send(ss, &m); /* failing that, the client goes on by itself after a while */
    }
    ss->expects = false;
    ss->h2.recv_wanted = true;
    ss->h2.moved_ms = env_now_ms(ss->h2.c->env);
    h2_stream_ready(&ss->h2);
}

static void stream_reset(struct http_stream *s, enum ficus_err why)
{
    struct h2_server_stream *ss = stream_of(s);
    ss->h2.abandoned = true;
    bool early = why == FICUS_ERR_CANCELLED || why == FICUS_ERR_TIMEOUT;
    h2_stream_rst(&ss->h2, why == FICUS_ERR_REFUSED ? NGHTTP2_REFUSED_STREAM
                           : early                  ? NGHTTP2_CANCEL
                                                    : NGHTTP2_INTERNAL_ERROR);
    h2_stream_ready(&ss->h2);
}

static void stream_progress(const struct http_stream *s, struct http_progress *ret_progress)
{
    const struct h2_server_stream *ss = (const struct h2_server_stream *)(const void *)s;
    *ret_progress = (struct http_progress){
        .conn_reused = conn_of(ss)->request_count > 1, .request_sent = true, .response_begun = ss->out_begun};
}

static const struct http_stream_ops stream_ops = {stream_send_head, h2_stream_send, stream_recv,
                                                  stream_trailers,  stream_reset,   stream_progress, .protocol = "h2"};

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
    struct http_server *v = conn_of(ss)->conn.server;
    if (v->o.on_refused != NULL)
        v->o.on_refused(v->o.arg, status, detail);
    ss->given = true;
    ss->answers_head = slice_eq_str(ss->h2.head.method, "HEAD");
    ss->h2.head.protocol = SLICE_NONE;
    http_stream_handle(&ss->h2.s, &nobody, NULL);
    struct http_field fields[HTTP_REFUSAL_FIELDS_MAX];
    size_t field_count = v->o.refusal_fields != NULL ? v->o.refusal_fields(v->o.arg, fields) : 0;
    FICUS_ASSERT(field_count <= HTTP_REFUSAL_FIELDS_MAX);
    struct buf body;
    buf_init(&body, 1024);
    http_problem_write(&body, status, NULL, detail, SLICE_NONE);
    if (buf_failed(&body) || http_respond(&ss->h2.s, status, fields, field_count, "application/problem+json",
                                          buf_slice(&body)) != FICUS_ERR_OK)
        http_reset(&ss->h2.s, FICUS_ERR_NOMEM);
    buf_done(&body);
}

/* ---- steps ---- */

static void give(struct h2_server_stream *ss)
{
    struct http_server *v = conn_of(ss)->conn.server;
    if (ss->h2.parsed.status != 0) {
        refuse(ss, ss->h2.parsed.status, ss->h2.parsed.detail);
        return;
    }
    ss->given = true;
    conn_of(ss)->request_count++;
    bool end = ss->h2.in_ended && ss->h2.in.size == 0 && ss->h2.trailers.field_count == 0;
    ss->h2.end_told = end;
    v->o.on_request(v->o.arg, &ss->h2.s, end, &conn_of(ss)->peer);
    FICUS_ASSERT(ss->h2.s.handler != NULL || ss->h2.abandoned);
}

/* The stream failed: tell the user, then the client if it can still hear. */
static void break_off(struct h2_server_stream *ss)
{
    enum ficus_err err = ss->h2.fail;
    const char *detail = ss->h2.fail_detail;
    bool answer = ss->given && err == FICUS_ERR_TIMEOUT && ss->h2.out == H2_OUT_HEAD && !ss->h2.closed;
    if (ss->given && !ss->h2.abandoned)
        ss->h2.s.handler->on_reset(ss->h2.s.arg, &ss->h2.s, err, detail);
    if (answer && !ss->h2.abandoned) {
        ss->h2.fail = FICUS_ERR_OK;
        ss->h2.recv_wanted = ss->h2.writable_wanted = false;
        refuse(ss, 408, detail);
        return;
    }
    bool early = err == FICUS_ERR_CANCELLED || err == FICUS_ERR_TIMEOUT;
    h2_stream_rst(&ss->h2, err == FICUS_ERR_PROTOCOL ? NGHTTP2_PROTOCOL_ERROR
                           : early                   ? NGHTTP2_CANCEL
                                                     : NGHTTP2_INTERNAL_ERROR);
    stream_free(ss);
}

bool h2_server_stream_step(struct h2_stream *h2)
{
    struct h2_server_stream *ss = h2_server_stream_of(h2);
    if (h2->abandoned) {
        stream_free(ss);
        return true;
    }
    if (h2->told) {
        if (!h2->closed && !h2->in_ended && h2->fail == FICUS_ERR_OK)
            return false;
        h2_stream_rst(h2, NGHTTP2_NO_ERROR);
        stream_free(ss);
        return true;
    }
    if (h2->out == H2_OUT_ENDED && h2->out_done) {
        h2->told = true;
        h2->s.handler->on_done(h2->s.arg, &h2->s);
        h2_conn_charge(h2->c, -10);
        h2->moved_ms = env_now_ms(h2->c->env);
        if (!h2->closed && !h2->in_ended)
            h2_server_wake_at(conn_of(ss), h2->moved_ms + H2_STOP_MS);
        return true;
    }
    /* An answer that was complete before the client went counts as soon as it is out. */
    bool counts = h2->closed && ss->end_sent && h2->out == H2_OUT_ENDED && h2->c->broken == FICUS_ERR_OK;
    if (h2->fail != FICUS_ERR_OK && !counts) {
        break_off(ss);
        return true;
    }
    if (h2->fail != FICUS_ERR_OK || !h2->head_done)
        return false;
    if (!ss->given) {
        give(ss);
        return true;
    }
    return h2_stream_deliver(h2) || h2_stream_more(h2);
}

int64_t h2_server_stream_deadline_ms(const struct h2_server_stream *ss)
{
    const struct h2_stream *h2 = &ss->h2;
    if (h2->told)
        return h2->moved_ms + H2_STOP_MS;
    /* Of a tunnel, silence is the user's to judge. */
    bool waits = (h2->recv_wanted && !ss->tunnel) || h2->out_body.size > 0 || (h2->out == H2_OUT_ENDED && !h2->out_done);
    return ss->given && h2->fail == FICUS_ERR_OK && waits ? h2->moved_ms + h2->c->limits->body_timeout_ms : -1;
}

void h2_server_stream_late(struct h2_server_stream *ss)
{
    h2_stream_fail(&ss->h2, FICUS_ERR_TIMEOUT,
                   ss->h2.recv_wanted && ss->h2.out_body.size == 0 ? "request body stalled" : "client does not read");
}
