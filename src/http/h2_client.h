/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two halves of the HTTP/2 client share: h2_client.c runs a connection, h2_client_stream.c one exchange of it.
 * Private to them.
 */
#ifndef FICUS_HTTP_H2_CLIENT_H
#define FICUS_HTTP_H2_CLIENT_H

#include "client_private.h"
#include "h2_stream.h"

/* Memory of a connection, at most: as that of a server's (h2_server.h), with 100 streams, whatever the server would allow. */
struct h2_client {
    struct h2_conn h2; /* first */
    struct http_client_conn *conn;
    uint64_t exchange_count;
    bool close_wanted;
    bool room_changed; /* the user is to be told */
    bool shut;         /* the server allows no stream */
    int64_t heard_ms; /* the last byte came */
    int64_t ping_ms;  /* we asked for a sign of life; 0: we did not */
    struct env_timer timer;
};

/* An interim answer that waits for the pump. */
struct h2_interim {
    struct http_msg m;
    struct h2_interim *next;
};

struct h2_client_stream {
    struct h2_stream h2; /* first; its head_done: the final head is complete */
    struct arena arena;
    uint64_t number; /* of the connection's exchanges, from 1 */
    struct h2_interim *interims, **interims_end;
    unsigned interim_count;
    bool asks_head; /* the request is HEAD */
    bool asks_tunnel, tunnel; /* the answer was 2xx: both bodies are its bytes */
    struct http_msg *waits;   /* the head of one that asks for a tunnel, until the server has said whether it takes such; NULL: none */
    bool head_given;
    bool answer_begun;
    int64_t begun_ms;
    bool begun;       /* its head is in the flight */
    bool unprocessed; /* the server said that it did nothing about it (RFC 9113 8.7) */
};

static inline struct h2_client *h2_client_of(struct h2_conn *c)
{
    return (struct h2_client *)(void *)c;
}
static inline struct h2_client_stream *h2_client_stream_of(struct h2_stream *ss)
{
    return (struct h2_client_stream *)(void *)ss;
}

/* NULL: out of memory. */
struct h2_client_stream *h2_client_stream_new(struct h2_client *c, const struct http_handler *h, void *arg);
/* What nghttp2 tells. */
void h2_client_stream_head_end(struct h2_client_stream *ss, bool end);
void h2_client_stream_trailers_end(struct h2_client_stream *ss);
void h2_client_stream_in_end(struct h2_client_stream *ss);
/* The server did nothing about it and will not. */
void h2_client_stream_left_out(struct h2_client_stream *ss);
/* The server's settings are known: a request for a tunnel can go, or not. */
void h2_client_stream_settings(struct h2_client_stream *ss);
/* Of struct h2_side. */
void h2_client_stream_closed(struct h2_stream *ss, uint32_t error_code);
bool h2_client_stream_step(struct h2_stream *ss);

/* A stream was given up, and nothing has come since it began: is anybody there? */
void h2_client_doubt(struct h2_client *c, int64_t since_ms);

#endif
