/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two halves of the HTTP/2 server share: h2_server_conn.c runs a connection, h2_server_stream.c one exchange of
 * it. Private to them.
 */
#ifndef FICUS_HTTP_H2_SERVER_H
#define FICUS_HTTP_H2_SERVER_H

#include "h2_stream.h"
#include "server_private.h"

/* Memory of a connection, at most: 100 streams with an arena each (arena_size_max) and 32 KiB of outgoing body, 1 MiB of
 * incoming bodies over all of them, 64 KiB of frames on their way out, 16 KiB for reading, and nghttp2's own (one frame, two
 * HPACK tables of 4 KiB, the heads of answers that are not written yet). Arenas and incoming bodies grow by doubling, so
 * that the heap may give twice as much for them (test_memory). Idle: the struct and nghttp2's part, about 15 KiB together. */
struct h2_server_conn {
    struct h2_conn h2; /* first */
    struct server_conn conn;
    struct env_peer peer;
    uint64_t request_count;
    bool abort_wanted, secure;
    bool draining; /* the client is told to go away */
    enum ficus_err over_err;    /* what the streams of a connection that is over are told */
    const char *over_detail;
    int64_t since_ms; /* entry into the state; in OPEN: since there is no stream */
    int64_t begin_ms, block_ms, notice_ms; /* accepted; a header block began (0: none); drain began */
    struct env_timer timer;
    int64_t timer_due_ms;
};

struct h2_server_stream {
    struct h2_stream h2; /* first; its head_done: the request waits for the user, or has it */
    struct arena spare; /* of the server's */
    bool answers_head, expects;
    bool given;     /* the user, or the codec's own answer, has it */
    bool out_begun;
    bool tunnel;    /* the answer was 101 */
    bool end_sent;  /* END_STREAM is in the flight */
};

static inline struct h2_server_conn *h2_server_conn_of(struct h2_conn *c)
{
    return (struct h2_server_conn *)(void *)c;
}
static inline struct h2_server_stream *h2_server_stream_of(struct h2_stream *ss)
{
    return (struct h2_server_stream *)(void *)ss;
}

/* NULL: no memory, or too many. */
struct h2_server_stream *h2_server_stream_new(struct h2_server_conn *c, int32_t id);
/* The request head is complete, or will not be answered by a user. */
void h2_server_stream_begin(struct h2_server_stream *ss);
void h2_server_stream_in_end(struct h2_server_stream *ss);
/* Of struct h2_side. */
void h2_server_stream_closed(struct h2_stream *ss, uint32_t error_code);
bool h2_server_stream_step(struct h2_stream *ss);
/* When it is late: it waits for the client's bytes, or for the client to take ours. -1: it waits for nobody but its user. */
int64_t h2_server_stream_deadline_ms(const struct h2_server_stream *ss);
void h2_server_stream_late(struct h2_server_stream *ss);

/* Have late streams looked for at this time, or before. */
void h2_server_wake_at(struct h2_server_conn *c, int64_t due_ms);
/* The last stream went, or the first came. */
void h2_server_streams_changed(struct h2_server_conn *c);

#endif
