/* SPDX-License-Identifier: Apache-2.0
 *
 * The network: streams are pairs of pipes whose bytes become visible at their time. A stream's process may die while
 * the other end lives on; the other end then reads what had arrived and a reset. Connections to an address wait in its
 * queue while nobody listens, as with an inherited socket.
 */
#include "sim_private.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PIPE_SIZE_MAX = 64 * 1024 };

struct chunk {
    int64_t visible_ns;
    size_t size, read;
    struct list link;
    char bytes[];
};

/* Bytes on their way to one end. */
struct pipe {
    struct list chunks;
    size_t size;
    int64_t last_ns; /* when the newest chunk, or the end, becomes visible */
    bool ended;      /* end of input after the chunks */
    bool broken;     /* reset after the chunks */
};

struct env_stream {
    struct sim *world;
    struct sim_process *process; /* NULL: not accepted yet */
    struct env_stream *peer;     /* NULL: gone */
    struct pipe in;              /* to this end */
    bool closed, write_broken;
    bool read_scheduled, connecting;
    /* the waiting read, write and connect */
    void *read_p;
    size_t read_size;
    void (*on_read)(void *arg, ssize_t n);
    void *read_arg;
    struct buf_out {
        char *p;
        size_t size, sent, total;
        void (*on_write)(void *arg, ssize_t n);
        void *arg;
        bool scheduled;
    } out;
    void (*on_connect)(void *arg, enum ficus_err err);
    void *connect_arg;
    enum ficus_err connect_result;
    void (*on_closed)(void *arg);
    void *closed_arg;
    char address[128]; /* where it waits for a listener */
    struct list link;  /* in its process, or in the world's waiting */
};

struct env_listener {
    struct sim_process *process;
    char address[128];
    bool paused;
    void (*on_accept)(void *arg, struct env_stream *s);
    void *arg;
    struct list link;
};

/* An accept on its way. */
struct arrival {
    struct env_listener *listener;
    struct env_stream *stream;
};

static bool chance(struct sim *w, unsigned rate)
{
    return rate != 0 && sim_draw_below(w, 10000) < rate;
}

static int64_t latency_ns(struct sim *w)
{
    return (int64_t)(20000 + sim_draw_below(w, 400000));
}

static struct env_stream *stream_new(struct sim *w, struct sim_process *p)
{
    struct env_stream *s = mem_zalloc(sizeof *s);
    FICUS_ASSERT(s != NULL);
    s->world = w;
    s->process = p;
    list_init(&s->in.chunks);
    list_init(&s->link);
    if (p != NULL)
        list_add_tail(&p->streams, &s->link);
    return s;
}

static void stream_free(struct env_stream *s)
{
    LIST_FOREACH_SAFE(&s->in.chunks, it, tmp)
        mem_free(CONTAINER_OF(it, struct chunk, link));
    list_remove(&s->link);
    mem_free(s->out.p);
    mem_free(s);
}

/* ---- reading ---- */

static void write_more(void *arg);

static void schedule_write(struct env_stream *s)
{
    if (s->out.on_write != NULL && !s->out.scheduled) {
        s->out.scheduled = true;
        sim_at(s->world, 0, s->process, write_more, &s->out);
    }
}

static size_t pipe_read(struct sim *w, struct pipe *pipe, char *p, size_t size)
{
    size_t done = 0;
    LIST_FOREACH_SAFE(&pipe->chunks, it, tmp) {
        struct chunk *c = CONTAINER_OF(it, struct chunk, link);
        if (c->visible_ns > w->now_ns || done == size)
            break;
        size_t n = c->size - c->read < size - done ? c->size - c->read : size - done;
        memcpy(p + done, c->bytes + c->read, n);
        done += n;
        c->read += n;
        pipe->size -= n;
        if (c->read == c->size) {
            list_remove(&c->link);
            mem_free(c);
        }
    }
    return done;
}

/* When is there something to tell the reader? INT64_MAX: not yet known. */
static int64_t pipe_next_ns(const struct pipe *pipe)
{
    if (!list_empty(&pipe->chunks))
        return CONTAINER_OF(pipe->chunks.next, struct chunk, link)->visible_ns;
    return pipe->ended || pipe->broken ? pipe->last_ns : INT64_MAX;
}

static void read_now(void *arg)
{
    struct env_stream *s = arg;
    s->read_scheduled = false;
    if (s->on_read == NULL)
        return;
    size_t size = s->read_size;
    if (sim_draw_below(s->world, 8) == 0) /* short reads happen */
        size = 1 + sim_draw_below(s->world, size);
    size_t n = pipe_read(s->world, &s->in, s->read_p, size);
    FICUS_ASSERT(n > 0 || s->in.broken || s->in.ended);
    void (*on_read)(void *, ssize_t) = s->on_read;
    s->on_read = NULL;
    if (n > 0 && s->peer != NULL)
        schedule_write(s->peer);
    on_read(s->read_arg, n > 0 ? (ssize_t)n : s->in.broken ? -(ssize_t)FICUS_ERR_RESET : 0);
}

static void schedule_read(struct env_stream *s)
{
    int64_t next = pipe_next_ns(&s->in);
    if (s->on_read == NULL || s->read_scheduled || next == INT64_MAX || s->process == NULL)
        return;
    s->read_scheduled = true;
    sim_at(s->world, next > s->world->now_ns ? next - s->world->now_ns : 0, s->process, read_now, s);
}

void sim_net_read(struct env_stream *s, void *p, size_t size, void (*on_read)(void *arg, ssize_t n), void *arg)
{
    FICUS_ASSERT(s->on_read == NULL && !s->closed && size > 0);
    s->read_p = p;
    s->read_size = size;
    s->on_read = on_read;
    s->read_arg = arg;
    schedule_read(s);
}

/* ---- writing ---- */

static void pipe_end(struct env_stream *to, bool broken)
{
    if (to == NULL || to->in.ended || to->in.broken)
        return;
    int64_t at = to->world->now_ns + latency_ns(to->world);
    if (at > to->in.last_ns)
        to->in.last_ns = at;
    to->in.ended = !broken;
    to->in.broken = broken;
    schedule_read(to);
}

static void pipe_break(struct env_stream *to)
{
    if (to == NULL)
        return;
    to->write_broken = true;
    if (to->in.ended)
        to->in.ended = false;
    pipe_end(to, true);
    schedule_write(to);
}

/* Put at most what fits on its way; how much was taken. */
static size_t pipe_write(struct env_stream *to, const char *p, size_t size)
{
    struct sim *w = to->world;
    size_t room = PIPE_SIZE_MAX - to->in.size;
    if (size > room)
        size = room;
    if (size == 0)
        return 0;
    int64_t at = w->now_ns + latency_ns(w);
    if (chance(w, w->network.stall_rate))
        at += (int64_t)sim_draw_below(w, (uint64_t)w->network.stall_ms_max) * 1000000;
    if (at < to->in.last_ns)
        at = to->in.last_ns;
    struct chunk *c = mem_alloc(sizeof *c + size);
    FICUS_ASSERT(c != NULL);
    c->visible_ns = at;
    c->size = size;
    c->read = 0;
    memcpy(c->bytes, p, size);
    list_add_tail(&to->in.chunks, &c->link);
    to->in.size += size;
    to->in.last_ns = at;
    schedule_read(to);
    return size;
}

/* One attempt to send; -1: broken. */
static ssize_t send_some(struct env_stream *s, const char *p, size_t size)
{
    if (s->write_broken || s->peer == NULL)
        return -1;
    if (chance(s->world, s->world->network.cut_rate)) {
        struct env_stream *peer = s->peer;
        pipe_break(peer);
        s->write_broken = true;
        pipe_end(s, true);
        return (ssize_t)size; /* the kernel took it; nobody will get it */
    }
    return (ssize_t)pipe_write(s->peer, p, size);
}

static void write_more(void *arg)
{
    struct env_stream *s = CONTAINER_OF(arg, struct env_stream, out);
    s->out.scheduled = false;
    if (s->out.on_write == NULL)
        return;
    ssize_t n = send_some(s, s->out.p + s->out.sent, s->out.size - s->out.sent);
    if (n >= 0)
        s->out.sent += (size_t)n;
    if (n >= 0 && s->out.sent < s->out.size)
        return; /* the reader will wake us */
    void (*on_write)(void *, ssize_t) = s->out.on_write;
    void *write_arg = s->out.arg;
    size_t total = s->out.total;
    MEM_FREE(s->out.p);
    s->out = (struct buf_out){0};
    on_write(write_arg, n < 0 ? -(ssize_t)FICUS_ERR_RESET : (ssize_t)total);
}

ssize_t sim_net_write(struct env_stream *s, const struct iovec *iov, int iov_count,
                      void (*on_write)(void *arg, ssize_t n), void *arg)
{
    FICUS_ASSERT(s->out.on_write == NULL && !s->closed && iov_count <= 16);
    size_t total = 0;
    for (int i = 0; i < iov_count; i++)
        total += iov[i].iov_len;
    char *all = mem_alloc(total);
    FICUS_ASSERT(all != NULL);
    size_t at = 0;
    for (int i = 0; i < iov_count; i++) {
        memcpy(all + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    ssize_t n = send_some(s, all, total);
    if (n < 0 || (size_t)n == total) {
        mem_free(all);
        return n < 0 ? -(ssize_t)FICUS_ERR_RESET : n;
    }
    s->out = (struct buf_out){
        .p = all, .size = total, .sent = (size_t)n, .total = total, .on_write = on_write, .arg = arg};
    return 0;
}

void sim_net_shutdown_write(struct env_stream *s)
{
    pipe_end(s->peer, false);
}

/* ---- closing ---- */

static void closed_now(void *arg)
{
    struct env_stream *s = arg;
    void (*on_closed)(void *) = s->on_closed;
    void *closed_arg = s->closed_arg;
    stream_free(s);
    if (on_closed != NULL)
        on_closed(closed_arg);
}

/* The other end learns: the end of input when all was read here, else a reset, as TCP does. */
static void part(struct env_stream *s, bool broken)
{
    struct env_stream *peer = s->peer;
    if (peer == NULL)
        return;
    peer->peer = NULL;
    s->peer = NULL;
    if (peer->process == NULL) { /* nobody accepted it: it stays in the queue and will read the end */
        pipe_end(peer, broken);
        return;
    }
    if (broken || s->in.size > 0)
        pipe_break(peer);
    else
        pipe_end(peer, false);
    schedule_write(peer);
}

void sim_net_close(struct env_stream *s, void (*on_closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!s->closed);
    sim_forget(s->world, s);
    sim_forget(s->world, &s->out);
    s->closed = true;
    s->on_read = NULL;
    s->on_connect = NULL;
    s->out.on_write = NULL;
    s->on_closed = on_closed;
    s->closed_arg = arg;
    part(s, false);
    sim_at(s->world, 0, s->process, closed_now, s);
}

/* ---- listening and connecting ---- */

static void accept_now(void *arg)
{
    struct arrival *a = arg;
    struct env_listener *l = a->listener;
    struct env_stream *s = a->stream;
    mem_free(a);
    s->process = l->process;
    list_add_tail(&l->process->streams, &s->link);
    l->on_accept(l->arg, s);
}

static void listener_offer(struct env_listener *l, struct env_stream *s)
{
    struct arrival *a = mem_alloc(sizeof *a);
    FICUS_ASSERT(a != NULL);
    *a = (struct arrival){l, s};
    sim_at(l->process->world, latency_ns(l->process->world), l->process, accept_now, a);
}

static void queue_serve(struct env_listener *l)
{
    if (l->paused)
        return;
    LIST_FOREACH_SAFE(&l->process->world->waiting, it, tmp) {
        struct env_stream *s = CONTAINER_OF(it, struct env_stream, link);
        if (strcmp(s->address, l->address) == 0) {
            list_remove(&s->link);
            listener_offer(l, s);
        }
    }
}

static struct env_listener *listener_find(struct sim *w, const char *address)
{
    LIST_FOREACH(&w->processes, it) {
        struct sim_process *p = CONTAINER_OF(it, struct sim_process, link);
        LIST_FOREACH(&p->listeners, lit) {
            struct env_listener *l = CONTAINER_OF(lit, struct env_listener, link);
            if (strcmp(l->address, address) == 0)
                return l;
        }
    }
    return NULL;
}

enum ficus_err sim_net_listen(struct env *e, const char *address, struct tls_server *tls, void (*on_accept)(void *arg, struct env_stream *s),
                              void *arg, struct env_listener **ret_listener, struct ficus_error *reterr)
{
    struct sim_process *p = (struct sim_process *)e;
    if (tls != NULL)
        return err_set(reterr, FICUS_ERR_UNSUPPORTED, "%s: TLS is outside the simulation", address);
    if (strlen(address) >= sizeof((struct env_listener *)NULL)->address)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: path is longer than 107 bytes", address);
    if (strncmp(address, "unix:", 5) != 0 && strncmp(address, "tcp:", 4) != 0)
        return err_set(reterr, FICUS_ERR_INVALID, "%s: not an address", address);
    if (strncmp(address, "unix:", 5) == 0 && strlen(address) > 5 + 107)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: path is longer than 107 bytes", address);
    if (listener_find(p->world, address) != NULL)
        return err_set(reterr, FICUS_ERR_EXISTS, "%s: in use", address);
    struct env_listener *l = mem_zalloc(sizeof *l);
    FICUS_ASSERT(l != NULL);
    l->process = p;
    l->on_accept = on_accept;
    l->arg = arg;
    snprintf(l->address, sizeof l->address, "%s", address);
    list_add_tail(&p->listeners, &l->link);
    *ret_listener = l;
    queue_serve(l);
    return FICUS_ERR_OK;
}

void sim_net_listener_pause(struct env_listener *l, bool paused)
{
    l->paused = paused;
    queue_serve(l);
}

/* Arrivals on their way go back to the queue: the socket itself belongs to the parent. */
static void listener_remove(struct env_listener *l)
{
    struct sim *w = l->process->world;
    LIST_FOREACH_SAFE(&w->events, it, tmp) {
        struct sim_event *ev = CONTAINER_OF(it, struct sim_event, link);
        if (ev->fn != accept_now || ((struct arrival *)ev->arg)->listener != l)
            continue;
        list_add_tail(&w->waiting, &((struct arrival *)ev->arg)->stream->link);
        mem_free(ev->arg);
        list_remove(&ev->link);
        mem_free(ev);
    }
    list_remove(&l->link);
    mem_free(l);
}

void sim_net_listener_close(struct env_listener *l)
{
    listener_remove(l);
}

static void connected_now(void *arg)
{
    struct env_stream *s = arg;
    void (*on_connect)(void *, enum ficus_err) = s->on_connect;
    s->on_connect = NULL;
    if (on_connect != NULL)
        on_connect(s->connect_arg, s->connect_result);
}

enum ficus_err sim_net_connect(struct env *e, const char *address, struct tls_client *tls, void (*on_connect)(void *arg, enum ficus_err err),
                               void *arg, struct env_stream **ret_stream)
{
    struct sim_process *p = (struct sim_process *)e;
    struct sim *w = p->world;
    bool is_unix = strncmp(address, "unix:", 5) == 0;
    if (tls != NULL)
        return FICUS_ERR_UNSUPPORTED;
    if (!is_unix && strncmp(address, "tcp:", 4) != 0)
        return FICUS_ERR_INVALID;
    if (is_unix && strlen(address) > 5 + 107)
        return FICUS_ERR_TOO_LARGE;
    struct env_stream *s = stream_new(w, p);
    s->on_connect = on_connect;
    s->connect_arg = arg;
    struct env_listener *l = listener_find(w, address);
    if (l == NULL && chance(w, w->network.refuse_rate)) {
        s->connect_result = FICUS_ERR_REFUSED;
    } else {
        struct env_stream *far = stream_new(w, NULL);
        far->peer = s;
        s->peer = far;
        snprintf(far->address, sizeof far->address, "%s", address);
        if (l != NULL && !l->paused)
            listener_offer(l, far);
        else
            list_add_tail(&w->waiting, &far->link);
    }
    sim_at(w, latency_ns(w), p, connected_now, s);
    *ret_stream = s;
    return FICUS_ERR_OK;
}

bool sim_net_tls(struct env_stream *s, struct env_tls_info *ret_info)
{
    return false;
}

void sim_net_peer(struct env_stream *s, struct env_peer *ret_peer)
{
    (void)s;
    *ret_peer = (struct env_peer){.is_unix = true, .pid = 1, .uid = (int64_t)geteuid(), .text = "unix"};
}

void sim_net_process_died(struct sim_process *p)
{
    while (!list_empty(&p->listeners))
        listener_remove(CONTAINER_OF(p->listeners.next, struct env_listener, link));
    LIST_FOREACH_SAFE(&p->streams, it, tmp) {
        struct env_stream *s = CONTAINER_OF(it, struct env_stream, link);
        sim_forget(p->world, s);
        sim_forget(p->world, &s->out);
        /* What was written before the death may still arrive, or not. */
        part(s, sim_draw_below(p->world, 2) == 0);
        stream_free(s);
    }
}

void sim_net_done(struct sim *w)
{
    LIST_FOREACH_SAFE(&w->waiting, it, tmp)
        stream_free(CONTAINER_OF(it, struct env_stream, link));
}
