/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange, seen from either end: an incoming message and an outgoing message whose bodies flow independently, each
 * with a window, and a reset with a reason from either side at any time. A server stream receives the request and sends
 * the response; a client stream the reverse. The codec (HTTP/1.1 or HTTP/2) stands behind struct
 * http_stream_ops; the code above never knows which.
 *
 * Loop thread only. Callbacks may call any function of this header, http_reset included; the stream's memory goes after
 * the last callback: exactly one of on_done and on_reset, once, as the last. After http_reset by the user no further
 * callback fires.
 */
#ifndef FICUS_HTTP_STREAM_H
#define FICUS_HTTP_STREAM_H

#include "http_msg.h"

enum { HTTP_BODY_BUFFER_SIZE = 32 * 1024 }; /* per direction; reading stops when it is full */

struct http_stream;

struct http_handler {
    /* Client streams: the final response head (content_length -1 when unknown). end: no body follows. The message lives
     * as long as the stream. */
    void (*on_head)(void *arg, struct http_stream *s, struct http_msg *m, bool end);
    /* Interim 1xx; may be NULL. */
    void (*on_interim)(void *arg, struct http_stream *s, struct http_msg *m);
    /* Body bytes, borrowed until return; fires once for each http_recv (size 0 only together with end). */
    void (*on_data)(void *arg, struct http_stream *s, struct slice data, bool end);
    /* The fields behind the incoming body (RFC 9110 6.5), without those that may not stand there; fires before the
     * on_data that says end, and only when there are some. Borrowed like the head. NULL: they are dropped. */
    void (*on_trailers)(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count);
    /* There is room again after http_send took less than all. May be NULL when the user never sends more than fits. */
    void (*on_writable)(void *arg, struct http_stream *s);
    /* Both directions are complete. Server: the response left the buffer for the kernel; a request body that was not
     * read to its end by then is discarded, also when http_recv was called. Client: the response is complete; what was
     * not sent of the request by then is discarded. */
    void (*on_done)(void *arg, struct http_stream *s);
    /* Broken: err RESET (peer gone), TIMEOUT (stalled), PROTOCOL, TOO_LARGE, CANCELLED, REFUSED. detail: fixed text for
     * logs. */
    void (*on_reset)(void *arg, struct http_stream *s, enum ficus_err err, const char *detail);
    /* Server streams: the client shut its sending side behind its whole request (RFC 9112 9.6). It may wait for the
     * answer or be gone; only writing can tell. Fires once; the exchange goes on. NULL: it is taken for gone. */
    void (*on_half_close)(void *arg, struct http_stream *s);
};

/* What a caller needs to judge whether a broken request may be repeated (RFC 9110 9.2.2, RFC 9112 9.3.1). */
struct http_progress {
    bool conn_reused;    /* not the first request of its connection; of a stream of HTTP/2 only when the connection ended */
    bool request_sent;   /* at least one byte of the request went to the kernel */
    bool response_begun; /* at least one byte of an answer came */
    bool unprocessed;    /* the server said that it did nothing about it (HTTP/2); request_sent is false then */
};

struct http_stream_ops {
    enum ficus_err (*send_head)(struct http_stream *s, const struct http_msg *m, bool end);
    size_t (*send)(struct http_stream *s, const void *p, size_t size, bool end);
    void (*recv)(struct http_stream *s);
    /* NULL: dropped */
    enum ficus_err (*trailers)(struct http_stream *s, const struct http_field *fields, size_t field_count);
    void (*reset)(struct http_stream *s, enum ficus_err why);
    void (*progress)(const struct http_stream *s, struct http_progress *ret_progress);
    const char *protocol; /* of a server stream, for logs: "HTTP/1.1", "h2" */
};

struct http_stream {
    const struct http_stream_ops *ops;
    const struct http_handler *handler; /* the user's */
    void *arg;
    struct arena *arena;      /* of this exchange, with its ceiling; the user may allocate from it */
    struct http_msg *head_in; /* request on a server stream; response on a client stream, NULL before on_head */
};

static inline void http_stream_handle(struct http_stream *s, const struct http_handler *h, void *arg)
{
    s->handler = h;
    s->arg = arg;
}
/* Send the head, once (a server may send 1xx heads before). m may die at return. Content-Length or chunked follows from
 * m->content_length; bodies of 1xx/204/304 and of answers to HEAD are suppressed by the codec. INVALID: a head that
 * cannot be written. */
static inline enum ficus_err http_send_head(struct http_stream *s, const struct http_msg *m, bool end)
{
    return s->ops->send_head(s, m, end);
}
/* Append body bytes; returns how many were taken (0..size). Less than size: wait for on_writable and send the rest. end
 * counts only when all was taken. */
static inline size_t http_send(struct http_stream *s, const void *p, size_t size, bool end)
{
    return s->ops->send(s, p, size, end);
}
/* The fields that go behind the outgoing body (copied): after the head, before the http_send that ends the body. Dropped
 * where there is no body; on HTTP/1.1 also behind a body that is not chunked, and in answers to clients that did not say
 * that they take them. INVALID: a field that may not stand there or cannot be written; NOMEM. */
static inline enum ficus_err http_send_trailers(struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    return s->ops->trailers(s, fields, field_count);
}
/* Ask for the next piece of the incoming body: one on_data follows. Not before its on_data came again, not after end.
 * This is the back-pressure. */
static inline void http_recv(struct http_stream *s)
{
    s->ops->recv(s);
}
/* Give the exchange up. On HTTP/1.1 this closes the connection unless both messages were complete. */
static inline void http_reset(struct http_stream *s, enum ficus_err why)
{
    s->ops->reset(s, why);
}
static inline void http_stream_progress(const struct http_stream *s, struct http_progress *ret_progress)
{
    s->ops->progress(s, ret_progress);
}

/* ---- helpers for small bodies (collect.c, respond.c) ---- */

/* Read the whole incoming body, at most size_max bytes, into the stream's arena... then call done(arg, s, body, err):
 * err TOO_LARGE when it does not fit (the rest is not read: answer 413 and the connection will close), else OK. A reset
 * meanwhile goes to the handler's on_reset as usual. Takes over on_data until then. Body bytes live in a buffer of
 * their own that dies with the stream. */
struct http_collect {
    void (*done)(void *arg, struct http_stream *s, struct slice body, enum ficus_err err);
    void *arg;
    /* private below */
    const struct http_handler *handler_before;
    void *arg_before;
    struct http_handler handler;
    struct buf body;
};
/* c must stay in memory until done was called or the stream ended; http_collect_done(c) frees the body. */
void http_collect(struct http_stream *s, struct http_collect *c, size_t size_max);
void http_collect_done(struct http_collect *c);

/* Answer at once with a whole body (copied as far as the stream takes it; at most HTTP_BODY_BUFFER_SIZE, else use
 * http_send). content_type NULL: none. */
enum ficus_err http_respond(struct http_stream *s, int status, const struct http_field *fields, size_t field_count,
                            const char *content_type, struct slice body);
enum ficus_err http_respond_problem(struct http_stream *s, int status, const char *code, const char *detail);

#endif
