/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange of an HTTP/2 client connection; bodies are in h2_stream.c. Nothing here calls the user but
 * h2_client_stream_step.
 *
 * Ends: the answer is complete -> on_done; what was not sent of the request by then is discarded, and the server told so.
 * Reset, malformed, connection lost -> on_reset; an answer that had come whole before that is given whole all the same.
 * http_reset -> RST_STREAM and no callback.
 *
 * A tunnel (RFC 8441: extended CONNECT) is asked for by http_msg.protocol, as on HTTP/1.1, and only of a server that has said that it
 * takes such (SETTINGS_ENABLE_CONNECT_PROTOCOL): the head waits for its first SETTINGS, else the stream fails with UNSUPPORTED. An answer
 * of 2xx is told as 101. Its two sides end each by itself; on_done comes when both have, or the server has closed the stream.
 *
 * http_progress.request_sent is false when the server said that it did nothing about the request: REFUSED_STREAM, or a
 * number above the last one of its GOAWAY (RFC 9113 6.8, 8.7). It may be sent again whatever its method.
 */
#include "h2_client.h"

#include "assert.h"
#include "h1_parse.h"
#include "h1_write.h"
#include "mem.h"

enum {
    INTERIM_COUNT_MAX = 16,
    H2_LATE_FRAMES = 32, /* of an answer that were on their way when its call was given up: they bring nothing, and are no flood */
};

#define H2_NO_TUNNELS "the service takes no WebSockets over HTTP/2 (SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441)"

/* ---- life ---- */

static const struct http_stream_ops stream_ops;

static struct h2_client_stream *stream_of(struct http_stream *s)
{
    return h2_client_stream_of(h2_stream_of(s));
}

static struct h2_client *conn_of(const struct h2_client_stream *ss)
{
    return h2_client_of(ss->h2.c);
}

struct h2_client_stream *h2_client_stream_new(struct h2_client *c, const struct http_handler *h, void *arg)
{
    struct h2_client_stream *ss = mem_zalloc(sizeof *ss);
    if (ss == NULL)
        return NULL;
    arena_init(&ss->arena, c->h2.limits->arena_size_max);
    h2_stream_init(&ss->h2, &c->h2, &stream_ops, &ss->arena, 0);
    http_stream_handle(&ss->h2.s, h, arg);
    ss->interims_end = &ss->interims;
    ss->number = ++c->exchange_count;
    return ss;
}

static void stream_free(struct h2_client_stream *ss)
{
    struct h2_client *c = conn_of(ss);
    h2_stream_done(&ss->h2);
    arena_done(&ss->arena);
    mem_free(ss);
    c->room_changed = true;
}

/* ---- what nghttp2 tells ---- */

static enum ficus_err err_of(const struct h2_head *h)
{
    return h->status == 400 ? FICUS_ERR_PROTOCOL : h->status == 431 ? FICUS_ERR_TOO_LARGE : FICUS_ERR_NOMEM;
}

static bool interim_keep(struct h2_client_stream *ss)
{
    if (++ss->interim_count > INTERIM_COUNT_MAX) {
        h2_stream_fail(&ss->h2, FICUS_ERR_PROTOCOL, "too many interim answers");
        return false;
    }
    struct h2_interim *i = ARENA_NEW(&ss->arena, struct h2_interim);
    if (i == NULL) {
        h2_stream_fail(&ss->h2, FICUS_ERR_TOO_LARGE, "answer takes too much memory");
        return false;
    }
    *i = (struct h2_interim){.m = ss->h2.head};
    *ss->interims_end = i;
    ss->interims_end = &i->next;
    http_msg_init(&ss->h2.head, &ss->arena);
    ss->h2.parsed = (struct h2_head){0};
    return true;
}

/* RFC 8441 5: the stream is one of bytes from here on. */
static void tunnel_begins(struct h2_client_stream *ss)
{
    ss->tunnel = true;
    ss->h2.head.status = 101;
    ss->h2.head.protocol = SLICE("websocket");
    ss->h2.head.content_length = -1;
}

void h2_client_stream_head_end(struct h2_client_stream *ss, bool end)
{
    ss->answer_begun = true;
    h2_answer_end(&ss->h2.parsed, &ss->h2.head, end, ss->asks_head);
    if (ss->h2.parsed.status != 0) {
        h2_stream_fail(&ss->h2, err_of(&ss->h2.parsed), ss->h2.parsed.detail);
        return;
    }
    if (ss->asks_tunnel && ss->h2.head.status / 100 == 2)
        tunnel_begins(ss);
    if (ss->h2.head.status >= 200 || ss->tunnel) {
        ss->h2.head_done = true;
        h2_stream_body_comes(&ss->h2, !end);
    } else if (!interim_keep(ss)) {
        return;
    }
    h2_stream_ready(&ss->h2);
}

void h2_client_stream_trailers_end(struct h2_client_stream *ss)
{
    if (ss->h2.trailers_parsed.status != 0)
        h2_stream_fail(&ss->h2, err_of(&ss->h2.trailers_parsed), ss->h2.trailers_parsed.detail);
}

void h2_client_stream_in_end(struct h2_client_stream *ss)
{
    if (ss->h2.fail != FICUS_ERR_OK)
        return;
    ss->h2.in_ended = true;
    h2_stream_body_comes(&ss->h2, false);
    h2_stream_ready(&ss->h2);
}

void h2_client_stream_left_out(struct h2_client_stream *ss)
{
    ss->unprocessed = true;
    h2_stream_fail(&ss->h2, FICUS_ERR_RESET, "server did not take the request on");
}

void h2_client_stream_closed(struct h2_stream *h2, uint32_t error_code)
{
    struct h2_client_stream *ss = h2_client_stream_of(h2);
    if (h2->in_ended)
        return;
    if (!ss->answer_begun && (error_code == NGHTTP2_REFUSED_STREAM || !ss->begun))
        h2_client_stream_left_out(ss);
    else if (error_code == NGHTTP2_PROTOCOL_ERROR) /* the answer, says nghttp2; or the request, says the server */
        h2_stream_fail(h2, FICUS_ERR_PROTOCOL, "malformed message");
    else
        h2_stream_fail(h2, FICUS_ERR_RESET, "server reset the stream");
}

/* ---- sending ---- */

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

/* With the head that waits. */
static enum ficus_err tunnel_submit(struct h2_client_stream *ss)
{
    struct h2_client *c = conn_of(ss);
    const struct http_msg *m = ss->waits;
    struct h2_fields f;
    if (nghttp2_session_get_remote_settings(c->h2.session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) != 1)
        return FICUS_ERR_UNSUPPORTED;
    struct slice path = path_of(m, &ss->arena);
    if (path.p == NULL || !h2_fields_init(&f, m))
        return FICUS_ERR_NOMEM;
    ss->waits = NULL;
    h2_fields_put(&f, SLICE(":method"), SLICE("CONNECT"));
    h2_fields_put(&f, SLICE(":protocol"), SLICE("websocket"));
    h2_fields_put(&f, SLICE(":scheme"), c->conn->secure ? SLICE("https") : SLICE("http"));
    h2_fields_put(&f, SLICE(":authority"), m->authority);
    h2_fields_put(&f, SLICE(":path"), path);
    h2_fields_message(&f, m);
    int32_t id = nghttp2_submit_request(c->h2.session, NULL, f.nv, f.count, &h2_stream_body, &ss->h2);
    h2_fields_done(&f);
    if (id < 0)
        return id == NGHTTP2_ERR_NOMEM ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
    ss->h2.id = id;
    ss->begun_ms = env_now_ms(c->h2.env);
    h2_stream_out_begin(&ss->h2, -1, false);
    return FICUS_ERR_OK;
}

/* m in the stream's own memory, without what HTTP/1.1 alone has (RFC 8441 5). */
static bool tunnel_keep(struct h2_client_stream *ss, const struct http_msg *m)
{
    struct http_msg *kept = ARENA_NEW(&ss->arena, struct http_msg);
    if (kept == NULL)
        return false;
    http_msg_init(kept, &ss->arena);
    kept->authority = arena_slice(&ss->arena, m->authority);
    kept->path = arena_slice(&ss->arena, m->path);
    kept->query = m->query.p == NULL ? SLICE_NONE : arena_slice(&ss->arena, m->query);
    for (size_t i = 0; i < m->field_count; i++) {
        struct http_field field = m->fields[i];
        field.name = arena_slice(&ss->arena, field.name);
        field.value = arena_slice(&ss->arena, field.value);
        field.whole = false; /* no line any more */
        if (field.name.p == NULL || field.value.p == NULL ||
            (http_field_id(&field) != HTTP_SEC_WEBSOCKET_KEY && !http_msg_keep(kept, field)))
            return false;
    }
    ss->waits = kept;
    return kept->authority.p != NULL && kept->path.p != NULL && (m->query.p == NULL || kept->query.p != NULL);
}

static enum ficus_err tunnel_ask(struct h2_client_stream *ss, const struct http_msg *m)
{
    ss->asks_tunnel = true;
    if (!tunnel_keep(ss, m))
        return FICUS_ERR_NOMEM;
    return conn_of(ss)->h2.settings_seen ? tunnel_submit(ss) : FICUS_ERR_OK;
}

void h2_client_stream_settings(struct h2_client_stream *ss)
{
    if (ss->waits == NULL || ss->h2.abandoned || ss->h2.fail != FICUS_ERR_OK)
        return;
    enum ficus_err err = tunnel_submit(ss);
    if (err != FICUS_ERR_OK)
        h2_stream_fail(&ss->h2, err, err == FICUS_ERR_UNSUPPORTED ? H2_NO_TUNNELS : "request takes too much memory");
}

static enum ficus_err stream_send_head(struct http_stream *s, const struct http_msg *m, bool end)
{
    struct h2_client_stream *ss = stream_of(s);
    struct h2_client *c = conn_of(ss);
    if (ss->h2.fail != FICUS_ERR_OK || ss->h2.abandoned)
        return FICUS_ERR_RESET;
    FICUS_ASSERT(ss->h2.out == H2_OUT_HEAD);
    if (slice_eq_str(m->method, "CONNECT") || (end && m->content_length > 0))
        return FICUS_ERR_INVALID;
    if (m->protocol.p != NULL)
        return end && slice_eq_nocase(m->protocol, SLICE("websocket")) && h1_request_valid(m) ? tunnel_ask(ss, m) : FICUS_ERR_INVALID;
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
    int32_t id = nghttp2_submit_request(c->h2.session, NULL, f.nv, f.count, no_data ? NULL : &h2_stream_body, &ss->h2);
    h2_fields_done(&f);
    if (id < 0)
        return id == NGHTTP2_ERR_NOMEM ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
    ss->h2.id = id;
    ss->asks_head = slice_eq_str(m->method, "HEAD");
    ss->begun_ms = env_now_ms(c->h2.env);
    h2_stream_out_begin(&ss->h2, length, no_data);
    return FICUS_ERR_OK;
}

static enum ficus_err stream_trailers(struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct h2_client_stream *ss = stream_of(s);
    if (ss->h2.fail != FICUS_ERR_OK || ss->h2.abandoned || ss->h2.closed)
        return FICUS_ERR_OK; /* a callback says so, or the answer came whole and nobody reads on (RFC 9113 8.1) */
    return h2_stream_trailers(&ss->h2, fields, field_count);
}

static void stream_recv(struct http_stream *s)
{
    struct h2_client_stream *ss = stream_of(s);
    FICUS_ASSERT(!ss->h2.recv_wanted);
    if (ss->h2.abandoned)
        return;
    ss->h2.recv_wanted = true;
    h2_stream_ready(&ss->h2);
}

static void stream_reset(struct http_stream *s, enum ficus_err why)
{
    struct h2_client_stream *ss = stream_of(s);
    (void)why; /* RFC 9113 has one word for all that a client may mean */
    ss->h2.abandoned = true;
    h2_stream_rst(&ss->h2, NGHTTP2_CANCEL);
    /* What was not sent cannot leave while a write is pending: perhaps nobody reads there. */
    if (!ss->h2.in_ended && (ss->begun || (ss->h2.id != 0 && ss->h2.c->writing)))
        h2_client_doubt(conn_of(ss), ss->begun_ms);
    h2_conn_charge(ss->h2.c, -H2_LATE_FRAMES);
    h2_stream_ready(&ss->h2);
}

static void stream_progress(const struct http_stream *s, struct http_progress *ret_progress)
{
    const struct h2_client_stream *ss = (const struct h2_client_stream *)(const void *)s;
    *ret_progress = (struct http_progress){.conn_reused = ss->number > 1 && ss->h2.c->broken != FICUS_ERR_OK,
                                           .request_sent = ss->begun && !ss->unprocessed,
                                           .response_begun = ss->answer_begun,
                                           .unprocessed = ss->unprocessed};
}

static const struct http_stream_ops stream_ops = {stream_send_head, h2_stream_send, stream_recv,
                                                  stream_trailers,  stream_reset,   stream_progress, .protocol = "h2"};

/* ---- steps ---- */

static void break_off(struct h2_client_stream *ss)
{
    enum ficus_err err = ss->h2.fail;
    ss->h2.s.handler->on_reset(ss->h2.s.arg, &ss->h2.s, err, ss->h2.fail_detail);
    h2_stream_rst(&ss->h2, err == FICUS_ERR_PROTOCOL || err == FICUS_ERR_TOO_LARGE ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_CANCEL);
    ss->h2.abandoned = true;
}

static bool give_head(struct h2_client_stream *ss)
{
    struct h2_interim *i = ss->interims;
    if (i != NULL) {
        ss->interims = i->next;
        if (ss->interims == NULL)
            ss->interims_end = &ss->interims;
        if (ss->h2.s.handler->on_interim != NULL)
            ss->h2.s.handler->on_interim(ss->h2.s.arg, &ss->h2.s, &i->m);
        return true;
    }
    if (!ss->h2.head_done || ss->head_given)
        return false;
    ss->head_given = true;
    ss->h2.end_told = !ss->tunnel && ss->h2.in_ended && ss->h2.in.size == 0 && ss->h2.trailers.field_count == 0;
    ss->h2.s.head_in = &ss->h2.head;
    ss->h2.s.handler->on_head(ss->h2.s.arg, &ss->h2.s, &ss->h2.head, ss->h2.end_told);
    return true;
}

bool h2_client_stream_step(struct h2_stream *h2)
{
    struct h2_client_stream *ss = h2_client_stream_of(h2);
    if (h2->abandoned) {
        /* nghttp2 holds on to a request that it has not sent yet, and tells when it drops it */
        bool held = h2->id != 0 && !ss->begun && !h2->closed && h2->c->broken == FICUS_ERR_OK;
        if (!held)
            stream_free(ss);
        return !held;
    }
    if (h2->fail != FICUS_ERR_OK) {
        break_off(ss);
        return true;
    }
    if (h2->end_told && (!ss->tunnel || h2->closed || h2->c->broken != FICUS_ERR_OK)) {
        h2->s.handler->on_done(h2->s.arg, &h2->s);
        h2_conn_charge(h2->c, -10);
        h2_stream_rst(h2, NGHTTP2_CANCEL); /* of a request that is not complete yet; else the stream is closed */
        stream_free(ss);
        return true;
    }
    return give_head(ss) || (ss->head_given && h2_stream_deliver(h2)) || h2_stream_more(h2);
}
