/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two halves of the HTTP/2 client share: h2_client.c runs a connection, h2_client_stream.c one exchange of it.
 * Private to them. As on the server (h2_server.h): nghttp2's callbacks only change fields and put streams on the list of
 * those that have something to do, and users are called by the pump alone.
 */
#ifndef FICUS_HTTP_H2_CLIENT_H
#define FICUS_HTTP_H2_CLIENT_H

#include "client_private.h"
#include "h2_base.h"
#include "h2_head.h"
#include "list.h"

/* Memory of a connection, at most: as that of a server's (h2_server.h), with 100 streams, whatever the server would allow. */
struct h2_client {
    struct http_client_conn *conn;
    struct env *env;
    struct env_stream *stream;
    nghttp2_session *session;
    struct list streams, ready; /* all; those with something to do */
    size_t stream_count;
    size_t body_count; /* of streams, those whose answer's body comes: worth a big read */
    uint64_t exchange_count;
    bool pumping, close_wanted, closing;
    bool settings_seen; /* the server's, which come first of all */
    bool over;         /* no new streams: GOAWAY, or an error of the connection */
    bool room_changed; /* the user is to be told */
    enum ficus_err broken; /* the connection is of no use any more */
    const char *broken_detail;

    char *in; /* small, or a big buffer while bodies come */
    bool reading, in_full;
    struct h2_fifo flight; /* frames that are being gathered or written */
    bool writing;

    int32_t budget; /* for frames that cost us and bring nobody anything; see h2_client_charge */
    int64_t budget_ms;
    int64_t heard_ms; /* the last byte came */
    int64_t ping_ms;  /* we asked for a sign of life; 0: we did not */
    struct env_timer kick, timer;
    char small[1024];
};

enum h2_client_out { H2C_OUT_HEAD, H2C_OUT_BODY, H2C_OUT_ENDED };

/* An interim answer that waits for the pump. */
struct h2_interim {
    struct http_msg m;
    struct h2_interim *next;
};

struct h2_client_stream {
    struct http_stream s; /* first: struct http_stream * is cast back */
    struct h2_client *c;
    struct list link, ready;
    int32_t id; /* 0: nghttp2 does not know it */
    uint64_t number; /* of the connection's exchanges, from 1 */
    struct arena arena;

    struct http_msg head, trailers;
    struct h2_head parsed, trailers_parsed;
    struct h2_interim *interims, **interims_end;
    unsigned interim_count;
    bool asks_head;  /* the request is HEAD */
    bool head_done;  /* the final head is complete */
    bool head_given;
    bool answer_begun;

    struct h2_fifo in;
    size_t in_credit; /* bytes whose window was not given back yet */
    bool in_ended, end_told, recv_wanted, counted; /* counted: in body_count */

    enum h2_client_out out;
    struct h2_fifo out_body;
    struct http_msg out_trailers;
    bool out_counted, out_deferred, writable_wanted;
    int64_t out_left;
    int64_t begun_ms;
    bool begun;       /* its head is in the flight */
    bool unprocessed; /* the server said that it did nothing about it (RFC 9113 8.7) */

    bool closed; /* nghttp2 has forgotten it */
    bool abandoned;
    enum ficus_err fail;
    const char *fail_detail;
};

/* NULL: out of memory. */
struct h2_client_stream *h2_client_stream_new(struct h2_client *c, const struct http_handler *h, void *arg);
void h2_client_stream_free(struct h2_client_stream *ss);
void h2_client_stream_fail(struct h2_client_stream *ss, enum ficus_err err, const char *detail);
/* What nghttp2 tells. */
void h2_client_stream_head_end(struct h2_client_stream *ss, bool end);
void h2_client_stream_trailers_end(struct h2_client_stream *ss);
void h2_client_stream_data(struct h2_client_stream *ss, const void *p, size_t size);
void h2_client_stream_in_end(struct h2_client_stream *ss);
void h2_client_stream_closed(struct h2_client_stream *ss, uint32_t error_code);
/* One step: at most one callback to the user. May free the stream. False: nothing to do. */
bool h2_client_stream_step(struct h2_client_stream *ss);

void h2_client_stream_ready(struct h2_client_stream *ss);
void h2_client_kick(struct h2_client *c);
/* A stream was given up, and nothing has come since it began: is anybody there? */
void h2_client_doubt(struct h2_client *c, int64_t since_ms);
/* Frames that cost us and bring nobody anything draw on a budget; without one the connection goes. */
void h2_client_charge(struct h2_client *c, int32_t cost);

#endif
