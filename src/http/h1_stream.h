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
    bool writable_wanted; /* http_send took less than all */
    bool abandoned;       /* http_reset by the user: no callback any more */
    enum ficus_err fail;  /* the exchange is broken; the owner ends it */
    const char *fail_detail;
};

static inline struct h1_stream *h1_stream_of(struct http_stream *s)
{
    return (struct h1_stream *)(void *)s;
}

/* ops->send and ops->recv */
size_t h1_stream_send(struct http_stream *s, const void *p, size_t size, bool end);
void h1_stream_recv(struct http_stream *s);

/* The final head is in the buffer with this framing; ends the message at once when end. */
void h1_stream_out_open(struct h1_stream *st, enum h1_framing framing, int64_t content_length, bool discard, bool end);

void h1_stream_fail(struct h1_stream *st, enum ficus_err err, const char *detail);

/* Called by the pump; each makes at most one callback and says whether anything happened. */
bool h1_stream_deliver(struct h1_stream *st);
bool h1_stream_writable(struct h1_stream *st);

/* We wait for the peer's bytes or for the peer to take ours. */
bool h1_stream_waits(const struct h1_stream *st);
static inline bool h1_stream_out_done(const struct h1_stream *st)
{
    return st->out == H1_OUT_ENDED && st->io->end_sent && !st->io->writing;
}

#endif
