/* SPDX-License-Identifier: Apache-2.0
 *
 * A small env in memory for tests and fuzzers: connected pairs of streams with a bounded window, virtual time, odd read
 * and write sizes from a seed. Nothing happens but in fake_run and fake_advance, and the same seed repeats the same
 * run.
 */
#ifndef FICUS_TESTS_FAKE_NET_H
#define FICUS_TESTS_FAKE_NET_H

#include "assert.h"
#include "env.h"
#include "mem.h"

enum { FAKE_STREAMS_MAX = 64, FAKE_TIMERS_MAX = 256, FAKE_LISTENERS_MAX = 4 };

struct fake_net;

struct env_stream {
    struct fake_net *net;
    struct env_stream *peer;     /* NULL when it is closed */
    char *rx;                    /* bytes that the peer sent, not read yet */
    size_t rx_size, rx_capacity; /* capacity: the window */
    bool rx_eof, rx_reset, tx_shut;
    bool accepted, connecting;
    struct env_listener *listener;
    void (*on_connect)(void *arg, enum ficus_err err);
    void *connect_arg;
    void *read_p;
    size_t read_size;
    void (*on_read)(void *arg, ssize_t n);
    void *read_arg;
    char *write_p; /* bytes of a pending write that the peer has not yet */
    size_t write_size, write_total;
    void (*on_write)(void *arg, ssize_t n);
    void *write_arg;
    bool closing;
    void (*on_closed)(void *arg);
    void *closed_arg;
    bool user_owned; /* the test's own end: driven by fake_feed and rx */
};

struct env_listener {
    struct fake_net *net;
    char address[64];
    bool open, paused;
    void (*on_accept)(void *arg, struct env_stream *s);
    void *arg;
};

struct fake_net {
    struct env env; /* first */
    char scratch[ENV_SCRATCH_SIZE];
    int64_t now_ns;
    uint64_t random_state;
    size_t piece_max; /* reads deliver at most so many bytes; 0: as many as are there */
    bool odd;         /* random piece sizes, random pending writes */
    struct env_stream *streams[FAKE_STREAMS_MAX];
    size_t stream_count;
    struct env_timer *timers[FAKE_TIMERS_MAX];
    size_t timer_count;
    struct env_listener listeners[FAKE_LISTENERS_MAX];
    size_t listener_count;
    size_t window; /* of new streams */
    uint64_t write_calls;
};

static inline uint64_t fake_random_u64(struct fake_net *n)
{
    uint64_t z = n->random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline int64_t fake_now_ns(struct env *e)
{
    return ((struct fake_net *)(void *)e)->now_ns;
}
static inline int64_t fake_wall_ms(struct env *e)
{
    return 784111777000 + fake_now_ns(e) / 1000000;
}
static inline void fake_random(struct env *e, void *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)p)[i] = (unsigned char)fake_random_u64((struct fake_net *)(void *)e);
}

static inline void fake_timer_stop(struct env *e, struct env_timer *t)
{
    struct fake_net *n = (struct fake_net *)(void *)e;
    if (t->slot == 0)
        return;
    size_t at = t->slot - 1;
    FICUS_ASSERT(n->timers[at] == t);
    n->timers[at] = n->timers[--n->timer_count];
    n->timers[at]->slot = (uint32_t)at + 1;
    t->slot = 0;
}

static inline void fake_timer_start(struct env *e, struct env_timer *t, int64_t delay_ms)
{
    struct fake_net *n = (struct fake_net *)(void *)e;
    fake_timer_stop(e, t);
    FICUS_ASSERT(n->timer_count < FAKE_TIMERS_MAX);
    t->due_ns = n->now_ns + delay_ms * 1000000;
    n->timers[n->timer_count++] = t;
    t->slot = (uint32_t)n->timer_count;
}

static inline struct env_stream *fake_stream_new(struct fake_net *n)
{
    FICUS_ASSERT(n->stream_count < FAKE_STREAMS_MAX);
    struct env_stream *s = mem_zalloc(sizeof *s);
    s->net = n;
    s->rx_capacity = n->window;
    s->rx = mem_alloc(s->rx_capacity);
    n->streams[n->stream_count++] = s;
    return s;
}

static inline void fake_pair(struct fake_net *n, struct env_stream **ret_a, struct env_stream **ret_b)
{
    *ret_a = fake_stream_new(n);
    *ret_b = fake_stream_new(n);
    (*ret_a)->peer = *ret_b;
    (*ret_b)->peer = *ret_a;
}

static inline enum ficus_err fake_listen(struct env *e, const char *address, struct tls_server *tls,
                                         void (*on_accept)(void *, struct env_stream *), void *arg,
                                         struct env_listener **ret_listener, struct ficus_error *reterr)
{
    struct fake_net *n = (struct fake_net *)(void *)e;
    (void)reterr;
    FICUS_ASSERT(tls == NULL);
    FICUS_ASSERT(n->listener_count < FAKE_LISTENERS_MAX);
    struct env_listener *l = &n->listeners[n->listener_count++];
    *l = (struct env_listener){.net = n, .open = true, .on_accept = on_accept, .arg = arg};
    strncpy(l->address, address, sizeof l->address - 1);
    *ret_listener = l;
    return FICUS_ERR_OK;
}
static inline void fake_listener_pause(struct env_listener *l, bool paused)
{
    l->paused = paused;
}
static inline void fake_listener_close(struct env_listener *l)
{
    l->open = false;
}

static inline enum ficus_err fake_connect(struct env *e, const char *address, struct tls_client *tls,
                                          void (*on_connect)(void *, enum ficus_err), void *arg,
                                          struct env_stream **ret_stream)
{
    struct fake_net *n = (struct fake_net *)(void *)e;
    struct env_stream *s = fake_stream_new(n);
    s->connecting = true;
    s->on_connect = on_connect;
    s->connect_arg = arg;
    for (size_t i = 0; i < n->listener_count; i++)
        if (n->listeners[i].open && strcmp(n->listeners[i].address, address) == 0)
            s->listener = &n->listeners[i];
    *ret_stream = s;
    return FICUS_ERR_OK;
}

static inline void fake_peer(struct env_stream *s, struct env_peer *ret_peer)
{
    (void)s;
    *ret_peer = (struct env_peer){.is_unix = true, .pid = 1, .uid = 0, .text = "unix"};
}

static inline void fake_read(struct env_stream *s, void *p, size_t size, void (*on_read)(void *, ssize_t), void *arg)
{
    FICUS_ASSERT(s->on_read == NULL && !s->closing && size > 0);
    memset(p, 0xdb, size); /* writable at least, and garbage until the callback */
    s->read_p = p;
    s->read_size = size;
    s->on_read = on_read;
    s->read_arg = arg;
}

/* Move what fits into the peer's window. */
static inline size_t fake_push(struct env_stream *s, const char *p, size_t size)
{
    if (s->peer == NULL)
        return 0;
    size_t room = s->peer->rx_capacity - s->peer->rx_size;
    size_t n = size < room ? size : room;
    if (n > 0)
        memcpy(s->peer->rx + s->peer->rx_size, p, n);
    s->peer->rx_size += n;
    return n;
}

static inline size_t fake_say(struct env_stream *s, const char *text)
{
    return fake_push(s, text, strlen(text));
}

static inline ssize_t fake_write(struct env_stream *s, const struct iovec *iov, int iov_count,
                                 void (*on_write)(void *, ssize_t), void *arg)
{
    FICUS_ASSERT(s->on_write == NULL && !s->closing && !s->tx_shut && iov_count > 0 && iov_count <= 16);
    s->net->write_calls++;
    if (s->peer == NULL || s->rx_reset)
        return -FICUS_ERR_RESET;
    size_t total = 0;
    for (int i = 0; i < iov_count; i++)
        total += iov[i].iov_len;
    FICUS_ASSERT(total > 0);
    char *all = mem_alloc(total);
    size_t at = 0;
    for (int i = 0; i < iov_count; at += iov[i++].iov_len)
        memcpy(all + at, iov[i].iov_base, iov[i].iov_len);
    size_t pushed = s->net->odd && fake_random_u64(s->net) % 3 == 0 ? 0 : fake_push(s, all, total);
    if (pushed == total) {
        mem_free(all);
        return (ssize_t)total;
    }
    s->write_p = mem_alloc(total - pushed);
    memcpy(s->write_p, all + pushed, total - pushed);
    mem_free(all);
    s->write_size = total - pushed;
    s->write_total = total;
    s->on_write = on_write;
    s->write_arg = arg;
    return 0;
}

/* In an odd net it often takes less than there is room for. */
static inline ssize_t fake_write_now(struct env_stream *s, const struct iovec *iov, int iov_count)
{
    FICUS_ASSERT(s->on_write == NULL && !s->closing && !s->tx_shut && iov_count > 0 && iov_count <= 16);
    s->net->write_calls++;
    if (s->peer == NULL || s->rx_reset)
        return -FICUS_ERR_RESET;
    size_t total = 0;
    for (int i = 0; i < iov_count; i++) {
        size_t size = iov[i].iov_len;
        if (s->net->odd && fake_random_u64(s->net) % 3 == 0)
            size = fake_random_u64(s->net) % (size + 1);
        size_t pushed = fake_push(s, iov[i].iov_base, size);
        total += pushed;
        if (pushed < iov[i].iov_len)
            break;
    }
    return (ssize_t)total;
}

static inline void fake_shutdown_write(struct env_stream *s)
{
    FICUS_ASSERT(s->on_write == NULL);
    s->tx_shut = true;
    if (s->peer != NULL)
        s->peer->rx_eof = true;
}

static inline void fake_close(struct env_stream *s, void (*on_closed)(void *), void *arg)
{
    FICUS_ASSERT(!s->closing);
    s->closing = true;
    s->on_closed = on_closed;
    s->closed_arg = arg;
    s->on_read = NULL;
    s->on_write = NULL;
    s->connecting = false;
    MEM_FREE(s->write_p);
    if (s->peer != NULL) {
        /* As TCP does: closing with bytes unread resets. */
        if (s->rx_size > 0)
            s->peer->rx_reset = true;
        s->peer->rx_eof = true;
        s->peer->peer = NULL;
        s->peer = NULL;
    }
}

static inline bool fake_tls(struct env_stream *s, struct env_tls_info *ret_info)
{
    return false;
}

static const struct env_ops fake_ops = {
    .now_ns = fake_now_ns,
    .wall_ms = fake_wall_ms,
    .random = fake_random,
    .timer_start = fake_timer_start,
    .timer_stop = fake_timer_stop,
    .listen = fake_listen,
    .listener_pause = fake_listener_pause,
    .listener_close = fake_listener_close,
    .connect = fake_connect,
    .tls_info = fake_tls,
    .peer = fake_peer,
    .read = fake_read,
    .write = fake_write,
    .write_now = fake_write_now,
    .shutdown_write = fake_shutdown_write,
    .close = fake_close,
};

static inline void fake_init(struct fake_net *n, uint64_t seed)
{
    *n = (struct fake_net){.env = {.ops = &fake_ops, .scratch = n->scratch}, .now_ns = 1000000000, .random_state = seed, .window = 64 * 1024};
}

static inline size_t fake_piece(struct fake_net *n, size_t size)
{
    if (n->piece_max > 0 && size > n->piece_max)
        size = n->piece_max;
    if (n->odd && size > 1)
        size = 1 + fake_random_u64(n) % (fake_random_u64(n) % 4 == 0 ? size : size < 24 ? size : 24);
    return size;
}

static inline void fake_free(struct fake_net *n, size_t at)
{
    struct env_stream *s = n->streams[at];
    n->streams[at] = n->streams[--n->stream_count];
    void (*on_closed)(void *) = s->on_closed;
    void *arg = s->closed_arg;
    mem_free(s->rx);
    mem_free(s);
    if (on_closed != NULL)
        on_closed(arg);
}

/* One event on this stream, if it has one. */
static inline bool fake_stream_event(struct fake_net *n, size_t at)
{
    struct env_stream *s = n->streams[at];
    if (s->closing) {
        fake_free(n, at);
        return true;
    }
    if (s->connecting) {
        void (*on_connect)(void *, enum ficus_err) = s->on_connect;
        if (s->listener == NULL || !s->listener->open) {
            s->connecting = false;
            on_connect(s->connect_arg, FICUS_ERR_REFUSED);
            return true;
        }
        if (s->listener->paused)
            return false;
        s->connecting = false;
        struct env_stream *other = fake_stream_new(n);
        s->peer = other;
        other->peer = s;
        s->listener->on_accept(s->listener->arg, other);
        if (!s->closing)
            on_connect(s->connect_arg, FICUS_ERR_OK);
        return true;
    }
    if (s->on_write != NULL) {
        size_t pushed = fake_push(s, s->write_p, fake_piece(n, s->write_size));
        memmove(s->write_p, s->write_p + pushed, s->write_size - pushed);
        s->write_size -= pushed;
        if (s->write_size == 0 || s->peer == NULL) {
            void (*on_write)(void *, ssize_t) = s->on_write;
            s->on_write = NULL;
            MEM_FREE(s->write_p);
            on_write(s->write_arg, s->write_size == 0 ? (ssize_t)s->write_total : -FICUS_ERR_RESET);
            return true;
        }
        if (pushed > 0)
            return true;
    }
    if (s->on_read != NULL && (s->rx_size > 0 || s->rx_eof || s->rx_reset)) {
        void (*on_read)(void *, ssize_t) = s->on_read;
        s->on_read = NULL;
        ssize_t got = 0;
        if (s->rx_reset) {
            got = -FICUS_ERR_RESET;
        } else if (s->rx_size > 0) {
            size_t size = s->rx_size < s->read_size ? s->rx_size : s->read_size;
            size = fake_piece(n, size);
            memcpy(s->read_p, s->rx, size);
            memmove(s->rx, s->rx + size, s->rx_size - size);
            s->rx_size -= size;
            got = (ssize_t)size;
        }
        on_read(s->read_arg, got);
        return true;
    }
    return false;
}

static inline bool fake_timers_fire(struct fake_net *n)
{
    struct env_timer *first = NULL;
    for (size_t i = 0; i < n->timer_count; i++)
        if (n->timers[i]->due_ns <= n->now_ns && (first == NULL || n->timers[i]->due_ns < first->due_ns))
            first = n->timers[i];
    if (first == NULL)
        return false;
    fake_timer_stop(&n->env, first);
    first->fn(first->arg);
    return true;
}

/* Until nothing can happen at this time. */
static inline void fake_run(struct fake_net *n)
{
    for (size_t rounds = 0, quiet = 0; quiet <= n->stream_count; rounds++) {
        FICUS_ASSERT(rounds < 10000000);
        bool moved = fake_timers_fire(n);
        if (n->stream_count > 0)
            moved |= fake_stream_event(n, rounds % n->stream_count);
        quiet = moved ? 0 : quiet + 1;
    }
}

static inline void fake_advance(struct fake_net *n, int64_t ms)
{
    int64_t end = n->now_ns + ms * 1000000;
    for (;;) {
        fake_run(n);
        int64_t next = end;
        for (size_t i = 0; i < n->timer_count; i++)
            if (n->timers[i]->due_ns < next)
                next = n->timers[i]->due_ns;
        n->now_ns = next > n->now_ns ? next : n->now_ns;
        if (n->now_ns >= end)
            break;
    }
    fake_run(n);
}

static inline void fake_done(struct fake_net *n)
{
    while (n->stream_count > 0) {
        if (!n->streams[0]->closing)
            fake_close(n->streams[0], NULL, NULL);
        fake_free(n, 0);
    }
}

#endif
