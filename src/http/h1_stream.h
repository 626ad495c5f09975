/* SPDX-License-Identifier: Apache-2.0
 *
 * One HTTP/1.1 exchange, the half that server and client share: the flow of the two bodies between the user and h1_io.
 * The heads and the life of the connection are h1_server_conn.c's and h1_client.c's.
 */
#ifndef FICUS_HTTP_H1_STREAM_H
#define FICUS_HTTP_H1_STREAM_H

#include "h1_io.h"
#include "h1_parse.h"

/* The outgoing message. */
enum h1_out {
    H1_OUT_HEAD,  /* no final head yet */
    H1_OUT_BODY,  /* head given, body open */
    H1_OUT_ENDED, /* all given */
};

struct h1_stream {
    struct http_stream s; /* first: struct http_stream * is cast back */
    struct h1_io *io;
    struct http_msg head; /* incoming; s.head_in points here when it is there */
    struct h1_body body;  /* incoming */
    bool recv_wanted;     /* http_recv was called, on_data not yet */
    bool in_ended;        /* the user was told the end of the incoming body */
    enum h1_out out;
    bool out_counted; /* out_left is exact: Content-Length was written */
    bool out_discard; /* body bytes are taken and thrown away (HEAD, 204, 304; client: nobody wants them any more) */
    int64_t out_left;
    bool takes_trailers;  /* the peer, behind the outgoing body, if that is chunked */
    bool tunnel;          /* the answer was 101: both bodies are bytes as they are, and each ends by itself */
    bool shut;            /* of a tunnel: our end was told to the peer */
    bool writable_wanted; /* http_send took less than all */
    bool abandoned;       /* http_reset by the user: no callback any more */
    enum ficus_err fail;  /* the exchange is broken; the owner ends it */
    const char *fail_detail;
};

static inline struct h1_stream *h1_stream_of(struct http_stream *s)
{
    return (struct h1_stream *)(void *)s;
}

/* ops->send, ops->recv, ops->trailers */
size_t h1_stream_send(struct http_stream *s, const void *p, size_t size, bool end);
void h1_stream_recv(struct http_stream *s);
enum ficus_err h1_stream_trailers(struct http_stream *s, const struct http_field *fields, size_t field_count);

/* The final head is in the buffer with this framing; ends the message at once when end. */
void h1_stream_out_open(struct h1_stream *st, enum h1_framing framing, int64_t content_length, bool discard, bool end);

void h1_stream_fail(struct h1_stream *st, enum ficus_err err, const char *detail);

/* Both directions are a tunnel's from here on; its outgoing side is open. */
void h1_stream_tunnel(struct h1_stream *st);

/* Called by the pump; each makes at most one callback (deliver: trailers before the last one) and says whether anything
 * happened. field_count_max: of trailers. */
bool h1_stream_deliver(struct h1_stream *st, size_t field_count_max);
bool h1_stream_writable(struct h1_stream *st);

/* A tunnel whose outgoing side is with the kernel to its end: tell the peer. True when that was done. */
bool h1_stream_shut(struct h1_stream *st);
/* We wait for the peer's bytes or for the peer to take ours. Of a tunnel, silence is the user's to judge until our side
 * is shut: a peer that does not end its own then must at least say something. */
bool h1_stream_waits(const struct h1_stream *st);
static inline bool h1_stream_out_done(const struct h1_stream *st)
{
    return st->out == H1_OUT_ENDED && st->io->end_sent && !st->io->writing;
}

#endif
