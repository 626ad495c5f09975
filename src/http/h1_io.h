/* SPDX-License-Identifier: Apache-2.0
 *
 * The transport half of an HTTP/1.1 connection, the same for server and client: a read buffer, a ring of outgoing bytes
 * that is framed (chunked) only when it is written, and the flags that say what happened. It decides nothing: after each
 * event it calls on_event, and its owner looks at the flags.
 *
 * Input lands in the loop's scratch memory, and what the owner leaves there of one event h1_io_rest moves to a buffer of
 * the connection's own. So a connection that waits for input has no buffer, and one whose input is taken as it comes needs
 * none. Output is likewise in the loop's loan, which is given back when the kernel has all of it, at once most times; who finds that
 * taken, or needs more, has a ring of its own for so long.
 *
 * Failure modes: in_err/out_err are sticky. After h1_io_close nothing fires but closed().
 */
#ifndef FICUS_HTTP_H1_IO_H
#define FICUS_HTTP_H1_IO_H

#include "env.h"
#include "http_stream.h"

enum {
    H1_IN_SIZE = HTTP_BODY_BUFFER_SIZE, /* also the ceiling of a head */
    H1_PAST_RING_MIN = 2048,            /* smaller pieces are cheaper to copy */
    H1_IN_LITTLE = 4096,                /* most requests and answers without much of a body fit */
    H1_OUT_SIZE_MAX = HTTP_BODY_BUFFER_SIZE +
                      8192, /* body bytes never take more than HTTP_BODY_BUFFER_SIZE of it; the rest is for heads */
};

struct h1_io_ops {
    void (*on_event)(void *arg); /* something in h1_io changed */
    void (*on_timer)(void *arg);
    void (*closed)(void *arg); /* the transport is gone; the owner frees itself */
};

/* Sizes are 32 bits wide, because there are many idle connections. */
struct h1_io {
    struct env *env;
    struct env_stream *stream; /* NULL before and after its life */
    const struct h1_io_ops *ops;
    void *arg;
    bool pumping; /* the owner is looking at the flags right now: no kick needed */
    bool reading, in_eof;
    enum ficus_err in_err;

    /* input: bytes [in_start, in_end) of in are not consumed yet. in is the loop's scratch, or the connection's own */
    char *in;
    uint32_t in_capacity, in_start, in_end;

    /* output ring, NULL while it would be empty: out_size bytes from out_at; the first out_raw of them are head bytes, the others body bytes */
    char *out, *out_retired; /* out_retired: an outgrown ring that the kernel still reads from */
    uint32_t out_capacity, out_at, out_size, out_raw;
    uint32_t flight_size; /* bytes of the ring in the write that is under way */
    bool flight_end, writing;
    bool chunked, ended, end_sent; /* framing of the outgoing body; ended by the user; its end is with the kernel */
    bool begun;                    /* a byte of the message went to the kernel */
    struct slice trailers;         /* field lines behind a chunked body; borrowed until its end was sent */
    enum ficus_err out_err;
    char chunk_line[24];

    int64_t moved_ms; /* when bytes last moved, or a wait began */
    struct env_timer kick, timer;
    int64_t timer_due_ms;
};

void h1_io_init(struct h1_io *io, struct env *e, const struct h1_io_ops *ops, void *arg);
void h1_io_done(struct h1_io *io);  /* only before the stream was set or after closed() */
void h1_io_close(struct h1_io *io); /* once; frees nothing yet */

/* Have on_event called in the next turn of the loop, unless the owner is pumping anyway. */
void h1_io_kick(struct h1_io *io);
/* Have on_timer called at due_ms or a little earlier or later; the owner compares the clock itself. An earlier timer is
 * left alone. */
void h1_io_wake_at(struct h1_io *io, int64_t due_ms);

/* The owner has looked at everything: what is left in the scratch memory moves. Out of memory sets in_err. */
void h1_io_rest(struct h1_io *io);
/* Start a read when none is pending and there is room. much: let more than H1_IN_LITTLE bytes lie there, up to
 * H1_IN_SIZE. Only after h1_io_rest. */
void h1_io_read(struct h1_io *io, bool much);
static inline char *h1_io_in(struct h1_io *io)
{
    return io->in + io->in_start;
}
static inline size_t h1_io_in_size(const struct h1_io *io)
{
    return io->in_end - io->in_start;
}
void h1_io_consume(struct h1_io *io, size_t size);

/* Begin an outgoing message. */
void h1_io_out_begin(struct h1_io *io);
/* The message that was ended goes on after all, with bytes as they are (a tunnel). */
void h1_io_out_reopen(struct h1_io *io);
/* Room for a head of at most that size, contiguous: fill it, then say with h1_io_head_done what it took. body_size_hint:
 * body bytes that will follow at once, if known. NULL: out of memory or over the ceiling. Only before body bytes. */
char *h1_io_head_room(struct h1_io *io, size_t size_max, size_t body_size_hint);
void h1_io_head_done(struct h1_io *io, size_t size);
/* Append body bytes; returns how many were taken. Out of memory sets out_err. A large piece goes to the kernel at once, with
 * what is in the ring, as far as it takes that: then it needs no copy. */
size_t h1_io_put(struct h1_io *io, const void *p, size_t size);
size_t h1_io_out_room(const struct h1_io *io); /* how many body bytes h1_io_put would take */
bool h1_io_flush_some(struct h1_io *io); /* behind h1_io_flush */
/* Give what is there to the kernel. True: something changed at once (written, or failed). */
static inline bool h1_io_flush(struct h1_io *io)
{
    return (io->out_size > 0 || (io->ended && !io->end_sent)) && h1_io_flush_some(io);
}

#endif
