/* SPDX-License-Identifier: Apache-2.0
 *
 * Buffers and transport of one HTTP/1.1 connection; see h1_io.h.
 */
#include "h1_io.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

_Static_assert((int)H1_IN_SIZE == (int)ENV_SCRATCH_SIZE, "reads go there");

static void kick_fire(void *arg)
{
    struct h1_io *io = arg;
    io->ops->on_event(io->arg);
}

static void timer_fire(void *arg)
{
    struct h1_io *io = arg;
    io->ops->on_timer(io->arg);
}

void h1_io_init(struct h1_io *io, struct env *e, const struct h1_io_ops *ops, void *arg)
{
    *io = (struct h1_io){.env = e, .ops = ops, .arg = arg, .in = e->scratch, .in_capacity = H1_IN_SIZE};
    io->kick = (struct env_timer){.fn = kick_fire, .arg = io};
    io->timer = (struct env_timer){.fn = timer_fire, .arg = io};
    io->moved_ms = env_now_ms(e);
}

/* AddressSanitizer shall see who writes behind a ring. */
#ifdef __SANITIZE_ADDRESS__
enum { RING_ON_LOAN_MAX = 0 };
#else
enum { RING_ON_LOAN_MAX = ENV_LOAN_SIZE };
#endif

static char *ring_new(struct env *e, size_t size, size_t *ret_capacity)
{
    if (size > RING_ON_LOAN_MAX || e->loan_taken) {
        *ret_capacity = size;
        return mem_alloc(size);
    }
    e->loan_taken = true;
    *ret_capacity = RING_ON_LOAN_MAX;
    return e->loan;
}

static void ring_free(struct env *e, char *ring)
{
    if (ring == e->loan)
        e->loan_taken = false;
    else
        mem_free(ring);
}

static bool in_scratch(const struct h1_io *io)
{
    return io->in == io->env->scratch;
}

static void in_free(struct h1_io *io)
{
    if (!in_scratch(io))
        mem_free(io->in);
    io->in = io->env->scratch;
    io->in_capacity = H1_IN_SIZE;
    io->in_start = io->in_end = 0;
}

void h1_io_done(struct h1_io *io)
{
    FICUS_ASSERT(io->stream == NULL);
    env_timer_stop(io->env, &io->kick);
    env_timer_stop(io->env, &io->timer);
    in_free(io);
    ring_free(io->env, io->out);
    ring_free(io->env, io->out_retired);
    io->out = io->out_retired = NULL;
}

static void stream_closed(void *arg)
{
    struct h1_io *io = arg;
    io->stream = NULL;
    io->ops->closed(io->arg);
}

void h1_io_close(struct h1_io *io)
{
    env_timer_stop(io->env, &io->kick);
    env_timer_stop(io->env, &io->timer);
    env_close(io->env, io->stream, stream_closed, io);
}

void h1_io_kick(struct h1_io *io)
{
    if (!io->pumping && !env_timer_armed(&io->kick))
        env_timer_start(io->env, &io->kick, 0);
}

void h1_io_wake_at(struct h1_io *io, int64_t due_ms)
{
    if (env_timer_armed(&io->timer) && io->timer_due_ms <= due_ms)
        return;
    int64_t now_ms = env_now_ms(io->env);
    io->timer_due_ms = due_ms;
    env_timer_start(io->env, &io->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

/* ---- input ---- */

static void read_done(void *arg, ssize_t n)
{
    struct h1_io *io = arg;
    io->reading = false;
    if (n > 0) {
        io->in_end += (uint32_t)n;
        FICUS_ASSERT(io->in_end <= io->in_capacity);
        io->moved_ms = env_now_ms(io->env);
    } else if (n == 0) {
        io->in_eof = true;
    } else {
        io->in_err = (enum ficus_err) - n;
    }
    io->ops->on_event(io->arg);
}

/* To a buffer of our own, with the same content and room for more, in few steps. False: out of memory. */
static bool in_move(struct h1_io *io)
{
    size_t size = h1_io_in_size(io), capacity = 1024;
    FICUS_ASSERT(!io->reading);
    while (capacity <= size && capacity < H1_IN_SIZE)
        capacity *= 4;
    capacity = capacity < H1_IN_SIZE ? capacity : H1_IN_SIZE;
    char *in = mem_alloc(capacity);
    if (in == NULL)
        return false;
    memcpy(in, h1_io_in(io), size);
    in_free(io);
    io->in = in;
    io->in_capacity = (uint32_t)capacity;
    io->in_end = (uint32_t)size;
    return true;
}

void h1_io_rest(struct h1_io *io)
{
    if (!in_scratch(io) || h1_io_in_size(io) == 0 || in_move(io))
        return;
    in_free(io);
    io->in_err = FICUS_ERR_NOMEM;
    h1_io_kick(io);
}

void h1_io_read(struct h1_io *io, bool much)
{
    if (io->reading || io->in_eof || io->in_err != FICUS_ERR_OK)
        return;
    size_t size = h1_io_in_size(io), size_max = much ? H1_IN_SIZE : H1_IN_LITTLE;
    FICUS_ASSERT(!in_scratch(io) || size == 0);
    if (size >= size_max)
        return;
    if (size == 0)
        in_free(io);
    if (io->in_start > 0 && io->in_capacity - io->in_end < io->in_capacity / 4) {
        memmove(io->in, h1_io_in(io), size);
        io->in_start = 0;
        io->in_end = (uint32_t)size;
    }
    if (io->in_end == io->in_capacity && !in_move(io)) /* it is tried again when some of it was consumed */
        return;
    size_t room = io->in_capacity - io->in_end;
    io->reading = true;
    env_read(io->env, io->stream, io->in + io->in_end, room < size_max - size ? room : size_max - size, read_done, io);
}

void h1_io_consume(struct h1_io *io, size_t size)
{
    FICUS_ASSERT(size <= h1_io_in_size(io));
    io->in_start += (uint32_t)size;
    if (io->in_start == io->in_end && !io->reading)
        io->in_start = io->in_end = 0;
}

/* ---- output ---- */

void h1_io_out_begin(struct h1_io *io)
{
    FICUS_ASSERT(!io->writing && io->out_size == 0);
    io->chunked = io->ended = io->end_sent = io->begun = false;
    io->trailers = SLICE("");
}

void h1_io_out_reopen(struct h1_io *io)
{
    io->chunked = io->ended = io->end_sent = io->flight_end = false; /* a write may be under way */
}

/* At most two pieces of the ring. */
static int ring_pieces(const struct h1_io *io, size_t offset, size_t size, struct iovec *iov)
{
    if (size == 0)
        return 0;
    size_t at = (io->out_at + offset) % io->out_capacity;
    size_t first = io->out_capacity - at < size ? io->out_capacity - at : size;
    iov[0] = (struct iovec){io->out + at, first};
    if (first == size)
        return 1;
    iov[1] = (struct iovec){io->out, size - first};
    return 2;
}

/* A new ring with the same content, from offset 0. */
static bool out_rebuild(struct h1_io *io, size_t size_min)
{
    size_t capacity;
    char *out = ring_new(io->env, size_min, &capacity);
    if (out == NULL) {
        io->out_err = FICUS_ERR_NOMEM;
        return false;
    }
    struct iovec iov[2];
    size_t at = 0;
    int count = ring_pieces(io, 0, io->out_size, iov);
    for (int i = 0; i < count; at += iov[i++].iov_len)
        memcpy(out + at, iov[i].iov_base, iov[i].iov_len);
    /* The kernel may still read from the ring that it was given; one that was outgrown after that was never given. */
    if (io->writing && io->out_retired == NULL)
        io->out_retired = io->out;
    else
        ring_free(io->env, io->out);
    io->out = out;
    io->out_capacity = (uint32_t)capacity;
    io->out_at = 0;
    return true;
}

static bool out_reserve(struct h1_io *io, size_t size)
{
    size_t need = io->out_size + size;
    if (need > H1_OUT_SIZE_MAX)
        return false;
    if (need <= io->out_capacity) {
        if (io->out_size == 0)
            io->out_at = 0;
        return true;
    }
    size_t capacity = 1024;
    while (capacity < need)
        capacity *= 2;
    return out_rebuild(io, capacity < H1_OUT_SIZE_MAX ? capacity : H1_OUT_SIZE_MAX);
}

char *h1_io_head_room(struct h1_io *io, size_t size_max, size_t body_size_hint)
{
    FICUS_ASSERT(io->out_raw == io->out_size);
    if (body_size_hint > HTTP_BODY_BUFFER_SIZE)
        body_size_hint = HTTP_BODY_BUFFER_SIZE;
    if (io->out_size + size_max + body_size_hint > H1_OUT_SIZE_MAX)
        body_size_hint = 0;
    if (!out_reserve(io, size_max + body_size_hint))
        return NULL;
    if (io->out_at + io->out_size + size_max > io->out_capacity && !out_rebuild(io, io->out_capacity))
        return NULL;
    return io->out + io->out_at + io->out_size;
}

void h1_io_head_done(struct h1_io *io, size_t size)
{
    FICUS_ASSERT(io->out_at + io->out_size + size <= io->out_capacity);
    io->out_size += (uint32_t)size;
    io->out_raw += (uint32_t)size;
}

size_t h1_io_out_room(const struct h1_io *io)
{
    size_t body = io->out_size - io->out_raw;
    size_t by_body = HTTP_BODY_BUFFER_SIZE - body;
    size_t by_ring = H1_OUT_SIZE_MAX - io->out_size;
    return io->out_err != FICUS_ERR_OK ? 0 : by_body < by_ring ? by_body : by_ring;
}

static size_t ring_put(struct h1_io *io, const char *p, size_t size)
{
    size_t room = h1_io_out_room(io);
    if (size > room)
        size = room;
    if (size == 0 || !out_reserve(io, size))
        return 0;
    struct iovec iov[2];
    int count = ring_pieces(io, io->out_size, size, iov);
    io->out_size += (uint32_t)size;
    size_t at = 0;
    for (int i = 0; i < count; at += iov[i++].iov_len)
        memcpy(iov[i].iov_base, p + at, iov[i].iov_len);
    return size;
}

/* The first bytes of the ring are with the kernel. */
static void ring_drop(struct h1_io *io, size_t size)
{
    FICUS_ASSERT(size <= io->out_size);
    io->out_raw -= size < io->out_raw ? (uint32_t)size : io->out_raw;
    io->out_size -= (uint32_t)size;
    if (io->out_capacity > 0)
        io->out_at = (uint32_t)((io->out_at + size) % io->out_capacity);
}

/* No write is under way: what is empty goes. */
static void out_release(struct h1_io *io)
{
    FICUS_ASSERT_HOT(!io->writing);
    if (io->out_retired != NULL)
        ring_free(io->env, io->out_retired);
    io->out_retired = NULL;
    if (io->out_size > 0)
        return;
    ring_free(io->env, io->out);
    io->out = NULL;
    io->out_at = io->out_capacity = 0;
}

static size_t put_past_ring(struct h1_io *io, const char *p, size_t size)
{
    if (size < H1_PAST_RING_MIN || io->chunked || io->writing || io->stream == NULL || io->out_err != FICUS_ERR_OK)
        return 0;
    struct iovec iov[3];
    int count = ring_pieces(io, 0, io->out_size, iov);
    iov[count++] = (struct iovec){(char *)(uintptr_t)p, size}; /* iovec has no const; env_write_now does not write to it */
    ssize_t n = env_write_now(io->env, io->stream, iov, count);
    if (n < 0)
        io->out_err = (enum ficus_err) - n;
    if (n <= 0)
        return 0;
    io->begun = true;
    io->moved_ms = env_now_ms(io->env);
    size_t of_ring = (size_t)n < io->out_size ? (size_t)n : io->out_size;
    ring_drop(io, of_ring);
    out_release(io);
    return (size_t)n - of_ring;
}

size_t h1_io_put(struct h1_io *io, const void *p, size_t size)
{
    size_t past = put_past_ring(io, p, size);
    return past + ring_put(io, (const char *)p + past, size - past);
}

static void write_complete(struct h1_io *io)
{
    ring_drop(io, io->flight_size);
    io->flight_size = 0;
    io->end_sent = io->flight_end;
    io->moved_ms = env_now_ms(io->env);
    out_release(io);
}

static void write_done(void *arg, ssize_t n)
{
    struct h1_io *io = arg;
    io->writing = false;
    if (n < 0)
        io->out_err = (enum ficus_err) - n;
    else
        write_complete(io);
    io->ops->on_event(io->arg);
}

/* The pieces of the next write: heads, then what there is of the body in one chunk, then the end. */
static int flight_build(struct h1_io *io, bool end, struct iovec *iov)
{
    if (!io->chunked)
        return ring_pieces(io, 0, io->out_size, iov);
    size_t body = io->out_size - io->out_raw;
    int count = ring_pieces(io, 0, io->out_raw, iov);
    if (body > 0) {
        int size = snprintf(io->chunk_line, sizeof io->chunk_line, "%zx\r\n", body);
        iov[count++] = (struct iovec){io->chunk_line, (size_t)size};
        count += ring_pieces(io, io->out_raw, body, iov + count);
    }
    static const char tail_text[] = "\r\n0\r\n\r\n"; /* one text, many uses */
    char *tail = (char *)(uintptr_t)tail_text;       /* iovec has no const; env_write does not write to it */
    bool trailers = end && io->trailers.size > 0;
    if (body > 0 && end)
        iov[count++] = (struct iovec){tail, trailers ? 5 : 7};
    else if (body > 0)
        iov[count++] = (struct iovec){tail, 2};
    else if (end)
        iov[count++] = (struct iovec){tail + 2, trailers ? 3 : 5};
    if (trailers) {
        iov[count++] = (struct iovec){(char *)(uintptr_t)io->trailers.p, io->trailers.size};
        iov[count++] = (struct iovec){tail, 2};
    }
    return count;
}

bool h1_io_flush_some(struct h1_io *io)
{
    if (io->writing || io->stream == NULL || io->out_err != FICUS_ERR_OK)
        return false;
    bool end = io->ended && !io->end_sent;
    if (io->out_size == 0 && !io->chunked) {
        io->end_sent = true;
        out_release(io);
        return true;
    }
    __attribute__((uninitialized)) struct iovec iov[8]; /* as many as count are filled in */
    int count = flight_build(io, end, iov);
    io->flight_size = io->out_size;
    io->flight_end = end;
    ssize_t n = env_write(io->env, io->stream, iov, count, write_done, io);
    if (n < 0) {
        io->out_err = (enum ficus_err) - n;
        return true;
    }
    io->begun = true;
    if (n == 0) {
        io->moved_ms = env_now_ms(io->env);
        io->writing = true;
        return false;
    }
    write_complete(io);
    return true;
}
