/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two halves of the HTTP/2 server share: h2_server_conn.c runs a connection, h2_server_stream.c one exchange of it.
 * Private to them.
 *
 * nghttp2 keeps frames, HPACK and windows; its callbacks only change fields and put streams on the list of those that
 * have something to do. Users are called by the pump alone, outside nghttp2, one step at a time.
 */
#ifndef FICUS_HTTP_H2_SERVER_H
#define FICUS_HTTP_H2_SERVER_H

#include "h2_base.h"
#include "h2_head.h"
#include "server_private.h"

enum h2_conn_state {
    H2_OPEN,
    H2_LINGER, /* all is said and our side shut; input is thrown away until the client closes */
    H2_CLOSING,
};

/* Memory of a connection, at most: 100 streams with an arena each (arena_size_max) and 32 KiB of outgoing body, 1 MiB of
 * incoming bodies over all of them, 64 KiB of frames on their way out, 16 KiB for reading, and nghttp2's own (one frame, two
 * HPACK tables of 4 KiB, the heads of answers that are not written yet). Arenas and incoming bodies grow by doubling, so
 * that the heap may give twice as much for them (test_memory). Idle: the struct and nghttp2's part, about 15 KiB together. */
struct h2_server_conn {
    struct server_conn conn; /* first */
    enum h2_conn_state state;
    nghttp2_session *session;
    struct env *env;
    struct env_stream *stream;
    struct env_peer peer;
    struct list streams, ready; /* all; those with something to do */
    struct list ending;         /* those whose last frame is in the flight */
    size_t stream_count;
    size_t body_count;    /* of streams, those whose request body is not complete: worth a big read */
    uint64_t request_count;
    bool pumping, abort_wanted, settings_seen, secure;
    bool draining, goaway_sent; /* drain began; its last word is said */
    bool over;                  /* no new streams: a connection error, ours or the client's */
    enum ficus_err over_err;    /* what its streams are told */
    const char *over_detail;
    enum ficus_err broken;      /* the transport is of no use any more */
    const char *broken_detail;

    char *in; /* small, or a big buffer while bodies come */
    bool reading, in_full;
    struct h2_fifo flight; /* frames that are being gathered or written */
    bool writing;

    int32_t budget; /* for frames that cost us and bring nobody anything; see h2_server_charge */
    int64_t budget_ms;
    int64_t since_ms; /* entry into state; in OPEN: since there is no stream */
    int64_t begin_ms, block_ms, notice_ms, moved_ms; /* accepted; a header block began (0: none); drain began; output moved */
    struct env_timer kick, timer;
    int64_t timer_due_ms;
    char small[1024];
};

enum h2_out { H2_OUT_HEAD, H2_OUT_BODY, H2_OUT_ENDED };

struct h2_server_stream {
    struct http_stream s; /* first: struct http_stream * is cast back */
    struct h2_server_conn *c;
    struct list link, ready, ending;
    int32_t id;
    struct arena arena;
    struct http_msg head, trailers;
    struct h2_head parsed, trailers_parsed;
    bool answers_head, expects;
    bool head_done; /* the request is complete and waits for the user, or has it */
    bool given;     /* the user, or the codec's own answer, has it */

    struct h2_fifo in;
    size_t in_credit; /* bytes whose window was not given back yet */
    bool in_ended, end_told, recv_wanted;

    enum h2_out out;
    struct h2_fifo out_body;
    struct http_msg out_trailers;
    bool out_counted, out_discard, out_deferred, out_begun, writable_wanted;
    bool tunnel; /* the answer was 101 */
    int64_t out_left;
    bool end_sent; /* END_STREAM is in the flight */
    bool out_done; /* ... and with the kernel */

    bool told;   /* the user has its on_done; we only wait for the client to stop sending */
    bool closed; /* nghttp2 has forgotten it */
    bool abandoned;
    enum ficus_err fail;
    const char *fail_detail;
    int64_t moved_ms;
};

/* NULL: no memory, or too many. */
struct h2_server_stream *h2_server_stream_new(struct h2_server_conn *c, int32_t id);
void h2_server_stream_free(struct h2_server_stream *ss);
/* The request head is complete, or will not be answered by a user. */
void h2_server_stream_begin(struct h2_server_stream *ss);
/* Body bytes came. */
void h2_server_stream_data(struct h2_server_stream *ss, const void *p, size_t size);
void h2_server_stream_in_end(struct h2_server_stream *ss);
void h2_server_stream_fail(struct h2_server_stream *ss, enum ficus_err err, const char *detail);
/* nghttp2 closed it, with this code. */
void h2_server_stream_closed(struct h2_server_stream *ss, uint32_t error_code);
/* One step: at most one callback to the user. May free the stream. False: nothing to do. */
bool h2_server_stream_step(struct h2_server_stream *ss);
/* When it is late: it waits for the client's bytes, or for the client to take ours. -1: it waits for nobody but its user. */
int64_t h2_server_stream_deadline_ms(const struct h2_server_stream *ss);
void h2_server_stream_late(struct h2_server_stream *ss);

void h2_server_stream_ready(struct h2_server_stream *ss);
void h2_server_kick(struct h2_server_conn *c);
/* Have late streams looked for at this time, or before. */
void h2_server_wake_at(struct h2_server_conn *c, int64_t due_ms);
/* The last stream went, or the first came. */
void h2_server_streams_changed(struct h2_server_conn *c);
/* Frames that cost us and bring nobody anything draw on a budget; false when it is used up and the connection goes. */
bool h2_server_charge(struct h2_server_conn *c, int32_t cost);

#endif
