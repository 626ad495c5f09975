/* SPDX-License-Identifier: Apache-2.0
 *
 * What a stream of HTTP/2 has on either side. Incoming bytes wait in a buffer whose size is the stream's window, and
 * window is given back only for what the user took; outgoing bytes wait in a buffer that nghttp2 reads from when both
 * windows let it. Nothing here calls the user but h2_stream_deliver and h2_stream_more. The sides, h2_server_stream.c and
 * h2_client_stream.c, begin their own struct with a struct h2_stream and keep heads, and how an exchange ends.
 *
 * Loop thread only. Private to src/http/h2_*.
 */
#ifndef FICUS_HTTP_H2_STREAM_H
#define FICUS_HTTP_H2_STREAM_H

#include "h2_conn.h"
#include "h2_head.h"

enum h2_out { H2_OUT_HEAD, H2_OUT_BODY, H2_OUT_ENDED };

struct h2_stream {
    struct http_stream s; /* first: struct http_stream * is cast back; its arena is the side's, and outlives this */
    struct h2_conn *c;
    struct list link, ready, ending; /* in those of c */
    int32_t id; /* 0: nghttp2 does not know it */

    struct http_msg head, trailers; /* that come */
    struct h2_head parsed, trailers_parsed;
    bool head_done; /* the head is complete */

    struct h2_fifo in;
    size_t in_credit; /* bytes whose window was not given back yet */
    bool in_counted;  /* in c->body_count */
    bool in_ended, end_told, recv_wanted;

    enum h2_out out;
    struct h2_fifo out_body;
    struct http_msg out_trailers;
    bool out_counted, out_discard, out_deferred, writable_wanted;
    int64_t out_left;
    bool out_done; /* of a server: END_STREAM is with the kernel */

    bool told;   /* of a server: the user has its on_done; we only wait for the client to stop sending */
    bool closed; /* nghttp2 has forgotten it */
    bool abandoned; /* the user gave it up, or has its on_reset: no callback any more */
    enum ficus_err fail;
    const char *fail_detail;
    int64_t moved_ms; /* bytes of a body, or the wait for some began */
};

static inline struct h2_stream *h2_stream_of(struct http_stream *s)
{
    return (struct h2_stream *)(void *)s;
}

/* ss is all zero; it joins c's streams. id may be 0 and be set when nghttp2 knows it. arena: clear, with its ceiling. */
void h2_stream_init(struct h2_stream *ss, struct h2_conn *c, const struct http_stream_ops *ops, struct arena *arena, int32_t id);
/* Leaves c and nghttp2, and frees what ss holds, not ss. */
void h2_stream_done(struct h2_stream *ss);

/* There is something to do: a step follows. */
void h2_stream_ready(struct h2_stream *ss);
/* RST_STREAM with this code, if nghttp2 knows it. */
void h2_stream_rst(struct h2_stream *ss, uint32_t code);
/* nghttp2 has forgotten it, with this error code. */
void h2_stream_closed(struct h2_stream *ss, uint32_t error_code);
/* The user is to be told err and detail (fixed text); the first one stays. An answer that came whole is given whole. */
void h2_stream_fail(struct h2_stream *ss, enum ficus_err err, const char *detail);
/* Two steps, each with at most one callback to the user. False: nothing to do. What came of a body, or its trailers... */
bool h2_stream_deliver(struct h2_stream *ss);
/* ... and room to send more. */
bool h2_stream_more(struct h2_stream *ss);

/* Whether a body comes; for the size of reads. */
void h2_stream_body_comes(struct h2_stream *ss, bool comes);
/* Bytes of it came. */
void h2_stream_data(struct h2_stream *ss, const void *p, size_t size);

/* Where nghttp2 takes the body from, and behind it the trailers. The stream is its user data. */
extern const nghttp2_data_provider h2_stream_body;
/* The outgoing head is with nghttp2. content_length: as in struct http_msg; ended: the user sends nothing behind it. */
void h2_stream_out_begin(struct h2_stream *ss, int64_t content_length, bool ended);
/* http_send; http_send_trailers while the stream goes on. */
size_t h2_stream_send(struct http_stream *s, const void *p, size_t size, bool end);
enum ficus_err h2_stream_trailers(struct h2_stream *ss, const struct http_field *fields, size_t field_count);

#endif
