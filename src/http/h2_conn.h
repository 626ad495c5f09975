/* SPDX-License-Identifier: Apache-2.0
 *
 * What a connection of HTTP/2 has on either side (RFC 9113): a session of nghttp2, bytes in both directions, the streams
 * that have something to do, and a budget for frames that only cost. The sides, h2_server_conn.c and h2_client.c, begin
 * their own struct with a struct h2_conn and keep what is theirs: how it begins and ends, and what they are told.
 *
 * nghttp2 keeps frames, HPACK and windows; its callbacks only change fields and put streams on the list of those that
 * have something to do. Users are called by the side's pump alone, outside nghttp2, one step at a time.
 *
 * Reading: what comes is given to nghttp2 at once, so there is no queue here; bodies are bounded by the windows, which
 * grow only as users take data. Writing: frames are gathered up to H2_FLIGHT_SIZE and written at once; while a write is
 * pending nothing is gathered, and when too many control frames wait behind it nothing is read either.
 *
 * Loop thread only; nothing here blocks. Private to src/http/h2_*.
 */
#ifndef FICUS_HTTP_H2_CONN_H
#define FICUS_HTTP_H2_CONN_H

#include "env.h"
#include "h2_base.h"
#include "http_server.h"
#include "list.h"

struct h2_conn;
struct h2_stream;

/* What differs. */
struct h2_side {
    bool client;       /* this end is the client */
    const char *lost;  /* streams are told this when the transport fails... */
    const char *ended; /* ... and this when the peer shut its side */
    /* Do all that there is to do. Never re-entered: it sets pumping meanwhile. */
    void (*pump)(struct h2_conn *c);
    /* These bytes came: h2_conn_feed. A pump follows. */
    void (*recv)(struct h2_conn *c, const char *p, size_t size);
    /* One step of a stream: at most one callback to its user. May free it. False: nothing to do. */
    bool (*step)(struct h2_stream *ss);
    /* nghttp2 has forgotten the stream, with this error code: does it fail? */
    void (*stream_closed)(struct h2_stream *ss, uint32_t error_code);
    /* The budget is used up (h2_conn_charge): the connection is to go. From within callbacks of nghttp2. */
    void (*flooded)(struct h2_conn *c);
    int32_t reset_cost; /* of an RST_STREAM */
    /* Set the side's own callbacks; their last argument is the struct h2_conn. */
    void (*callbacks)(nghttp2_session_callbacks *cb);
};

enum h2_conn_state {
    H2_OPEN,
    H2_LINGER, /* of a server: all is said and our side shut; input is thrown away until the client closes */
    H2_CLOSING,
};

struct h2_conn {
    const struct h2_side *side;
    const struct http_limits *limits; /* borrowed from the server, or the client's connection */
    struct env *env;
    struct env_stream *stream;
    nghttp2_session *session;
    enum h2_conn_state state;
    bool pumping;
    bool settings_seen; /* the peer's, which come first of all */
    bool over;          /* no new streams: GOAWAY, or an error of the connection */
    bool goaway_sent;   /* of a server: the last word of a drain; what would begin behind it is for nobody */
    enum ficus_err broken; /* the transport is of no use any more */
    const char *broken_detail;

    struct list streams, ready; /* all; those with something to do */
    struct list ending;         /* of a server: those whose last frame is in the flight */
    size_t stream_count;
    size_t body_count; /* of streams, those that a body comes for: worth a big read */

    char *in; /* small, or a big buffer while bodies come */
    bool reading, in_full;
    struct h2_fifo flight; /* frames that are being gathered or written */
    size_t flight_before;  /* the size of the last one: the next will be like it */
    bool writing;
    int64_t moved_ms; /* output moved */

    int32_t budget; /* see h2_conn_charge */
    int64_t budget_ms;
    int32_t untold; /* frames whose head came and of which nghttp2 has not told */
    size_t frame_left;     /* what is missing of the frame that comes, behind its head */
    uint8_t head_size;     /* so much of the next one's head has come... */
    uint32_t head_length;  /* ... and what it says of the frame's length */
    struct env_timer kick;
    char small[1024];
};

/* c is all zero. limits is borrowed as long as c lives; stream is taken over by h2_conn_close. */
void h2_conn_init(struct h2_conn *c, const struct h2_side *side, const struct http_limits *limits, struct env *e,
                  struct env_stream *stream);
/* Make the session. False: out of memory. */
bool h2_conn_session(struct h2_conn *c);
/* No callback any more but closed(c), from the loop, when the transport is closed: there h2_conn_done. */
void h2_conn_close(struct h2_conn *c, void (*closed)(void *c));
/* Frees what c holds, not c. There are no streams left. */
void h2_conn_done(struct h2_conn *c);

/* Have the side pump soon, unless it does so now. */
void h2_conn_kick(struct h2_conn *c);
/* The connection is of no use any more: its streams are to fail with the first such err and detail (fixed text). */
void h2_conn_break(struct h2_conn *c, enum ficus_err err, const char *detail);
/* No new streams; those that run fail. */
void h2_conn_streams_fail(struct h2_conn *c, enum ficus_err err, const char *detail);
/* Frames that cost us and bring nobody anything draw on a budget, which time and (cost < 0) useful work refill. */
void h2_conn_charge(struct h2_conn *c, int32_t cost);

/* A DATA frame came: one that is all padding brings nothing either. */
void h2_conn_data_came(struct h2_conn *c, const nghttp2_frame *frame);
/* A DATA frame of this size went out: the peer may answer it by WINDOW_UPDATEs of stream and connection, for each KiB at most. */
void h2_conn_data_sent(struct h2_conn *c, size_t size);

/* ---- parts of a pump ---- */

/* Give bytes to nghttp2. False: it is no HTTP/2, or a flood, or out of memory. */
bool h2_conn_feed(struct h2_conn *c, const char *p, size_t size);
/* All streams that have something to do, one step each. True: there were some. */
bool h2_conn_step(struct h2_conn *c);
/* Gather frames and write them. True: something changed at once. */
bool h2_conn_flush(struct h2_conn *c);
/* Have the next bytes read, unless the peer takes none of ours. */
void h2_conn_read(struct h2_conn *c);

#endif
