/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams and listeners: non-blocking sockets with our own read, write, connect and accept, told by uv_poll when they
 * are ready.
 *
 * A stream's interests are changed as seldom as possible, since each change is two epoll_ctl calls: a write is tried at
 * once and waits for the socket only when the kernel's buffer is full; the read interest is kept when a read completes
 * and dropped only when the socket is readable and nobody wants to read. libuv reports an error or hang-up once (status
 * < 0) and stops the handle; that counts as readable and writable, and the system call then says what happened.
 *
 * Life of a stream:  (connecting ->) open -> closing -> freed in the handle's close callback, which first tells
 * on_closed. The owner may close it inside any callback; the code below looks at `closing` after each. Memory is freed
 * only in a later phase of the loop, so that looking is safe.
 *
 * TLS (io_tls.h) sits between a stream and its socket: the same pending read and write, but a read may have to wait until
 * the socket is writable and a write until it is readable, and input may be there although the socket is silent. A
 * connection is handed over when its handshake is done; until then it waits in its listener's list, which is bounded.
 *
 * Failure modes: out of descriptors at accept pauses that listener for 100 ms (the connections wait in the kernel's
 * queue) instead of spinning. A full backlog of a unix listener (EAGAIN) is tried again every 20 ms for a second, as
 * TCP would, then reported as BUSY.
 */
#include <uv.h>

#include "io_uv.h"

#include "assert.h"
#include "io_socket.h"
#include "io_tls.h"
#include "mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

enum {
    IOV_MAX_COUNT = 16,
    ACCEPTS_PER_TURN = 64,
    ACCEPT_PAUSE_MS = 100,
    CONNECT_RETRY_MS = 20,
    CONNECT_RETRIES_MAX = 50,
    HANDSHAKES_MAX = 128,     /* of a listener; more than one core can finish in the time that a round trip takes */
    HANDSHAKE_FAIR_MS = 1000, /* one that has had so long gives its place to a new one when there are too many */
    HANDSHAKE_TIMEOUT_MS = 10000,
    AGAIN = -(int)FICUS_ERR_COUNT, /* no result yet: the socket has to become ready */
};

/* A write that the kernel has not taken whole. */
struct write {
    struct iovec iov[IOV_MAX_COUNT]; /* what is still to be written */
    int iov_at, iov_count;
    ssize_t total;
    void (*on_write)(void *arg, ssize_t n);
    void *arg;
};

struct connecting {
    void (*on_connect)(void *arg, enum ficus_err err);
    void *arg;
    enum ficus_err result; /* what the task will report */
    struct env_task task;
    struct env_timer retry;
    unsigned retries;
    struct socket_address address;
};

/* What an idle stream does not need lies apart. */
struct env_stream {
    struct env_uv *e;
    uv_poll_t poll;
    int fd;
    int interest; /* UV_READABLE | UV_WRITABLE that uv_poll watches now */
    bool is_unix, closing, in_event, shutdown_wanted;
    struct list link;     /* in e->streams */
    struct tls_conn *tls; /* NULL: plain */

    void *read_p;
    size_t read_size;
    void (*on_read)(void *arg, ssize_t n); /* NULL: no read is pending */
    void *read_arg;

    struct write *write;           /* NULL: none is pending */
    struct connecting *connecting; /* NULL: that is over */

    void (*on_closed)(void *arg);
    void *closed_arg;
};

struct env_listener {
    struct env_uv *e;
    uv_poll_t poll;
    int fd;
    bool is_tcp, paused, closing;
    struct env_timer rest; /* after EMFILE and the like, or until the oldest handshake may be ended */
    struct list link;      /* in e->listeners */
    struct tls_server *tls; /* NULL: plain */
    struct list handshakes; /* tls_conn.link, the oldest first */
    size_t handshake_count;
    void (*on_accept)(void *arg, struct env_stream *s);
    void *arg;
};

/* ---- interests ---- */

static void on_stream_event(uv_poll_t *handle, int status, int events);

static void watch(struct env_stream *s, int interest)
{
    if (interest == s->interest)
        return;
    /* Neither can fail for a handle that was initialised: the descriptor was checked then and is ours alone. */
    int rc = interest == 0 ? uv_poll_stop(&s->poll) : uv_poll_start(&s->poll, interest, on_stream_event);
    FICUS_ASSERT(rc == 0);
    s->interest = interest;
}

/* What a pending read or write waits for. */
static int read_needs(const struct env_stream *s)
{
    return s->tls != NULL && s->tls->read_want == TLS_WRITABLE ? UV_WRITABLE : UV_READABLE;
}

static int write_needs(const struct env_stream *s)
{
    return s->tls != NULL && s->tls->write_want == TLS_READABLE ? UV_READABLE : UV_WRITABLE;
}

/* Make the interests fit what is pending; a read interest without a read stays, see above. */
static void watch_what_is_pending(struct env_stream *s)
{
    if (s->closing || s->in_event)
        return;
    int interest = s->interest & UV_READABLE;
    if (s->on_read != NULL)
        interest |= read_needs(s);
    if (s->write != NULL)
        interest |= write_needs(s);
    if (s->tls != NULL && s->tls->end_want != TLS_NOTHING)
        interest |= UV_WRITABLE;
    watch(s, interest);
}

/* ---- reading and writing ---- */

static ssize_t read_plain(struct env_stream *s)
{
    ssize_t n;
    do
        n = recv(s->fd, s->read_p, s->read_size, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        n = errno == EAGAIN ? AGAIN : -(ssize_t)err_from_errno(errno);
    return n;
}

/* As many records as fit and are here already. */
static ssize_t read_tls(struct env_stream *s)
{
    struct tls_conn *tls = s->tls;
    size_t size = 0;
    do {
        tls->read_want = TLS_NOTHING;
        ssize_t n = tls->ops->read(tls, (char *)s->read_p + size, s->read_size - size, &tls->read_want);
        if (n <= 0 && size > 0)
            break; /* an error or the end stays, and comes again */
        if (n <= 0)
            return tls->read_want != TLS_NOTHING ? AGAIN : n;
        size += (size_t)n;
    } while (size < s->read_size && tls->ops->has_input(tls));
    tls->read_want = TLS_NOTHING;
    return (ssize_t)size;
}

static void try_read(struct env_stream *s)
{
    ssize_t n = s->tls == NULL ? read_plain(s) : read_tls(s);
    if (n == AGAIN)
        return;
    void (*fn)(void *arg, ssize_t n) = s->on_read;
    s->on_read = NULL;
    fn(s->read_arg, n);
}

static void iov_advance(struct write *w, size_t size)
{
    for (size_t left = size; w->iov_at < w->iov_count;) {
        struct iovec *v = &w->iov[w->iov_at];
        if (left < v->iov_len) {
            v->iov_base = (char *)v->iov_base + left;
            v->iov_len -= left;
            break;
        }
        left -= v->iov_len;
        w->iov_at++;
    }
}

static ssize_t send_iov(int fd, const struct iovec *iov, int iov_count)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)iov_count};
    ssize_t n;
    do /* nearly all that is written is one piece, which costs the kernel less by itself */
        n = iov_count == 1 ? send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL) : sendmsg(fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        n = errno == EAGAIN ? 0 : -(ssize_t)err_from_errno(errno);
    return n;
}

static ssize_t write_some_tls(struct tls_conn *tls, struct write *w)
{
    ssize_t written = 0;
    while (w->iov_at < w->iov_count) {
        tls->write_want = TLS_NOTHING;
        ssize_t n = tls->ops->write(tls, w->iov + w->iov_at, w->iov_count - w->iov_at, &tls->write_want);
        if (n <= 0)
            return n < 0 ? n : written;
        written += n;
        iov_advance(w, (size_t)n);
    }
    return written;
}

/* Bytes written now, 0 when the kernel's buffer is full, or -error. Advances the iov. */
static ssize_t write_some(struct env_stream *s, struct write *w)
{
    if (s->tls != NULL)
        return write_some_tls(s->tls, w);
    ssize_t written = 0;
    while (w->iov_at < w->iov_count) {
        ssize_t n = send_iov(s->fd, w->iov + w->iov_at, w->iov_count - w->iov_at);
        if (n <= 0)
            return n < 0 ? n : written;
        written += n;
        iov_advance(w, (size_t)n);
    }
    return written;
}

/* Everything was written: the end. */
static void shut(struct env_stream *s)
{
    if (s->tls != NULL) {
        s->tls->end_want = TLS_NOTHING;
        s->tls->ops->end(s->tls, &s->tls->end_want);
        if (s->tls->end_want != TLS_NOTHING)
            return;
    }
    (void)shutdown(s->fd, SHUT_WR); /* fails only when the connection is gone; reading will tell */
}

static void try_write(struct env_stream *s)
{
    ssize_t n = write_some(s, s->write);
    if (n >= 0 && s->write->iov_at < s->write->iov_count)
        return;
    struct write done = *s->write;
    MEM_FREE(s->write);
    if (n >= 0 && s->shutdown_wanted)
        shut(s);
    done.on_write(done.arg, n < 0 ? n : done.total);
}

static void connect_event(struct env_stream *s);
static void handshake_step(struct env_stream *s);

static void on_stream_event(uv_poll_t *handle, int status, int events)
{
    struct env_stream *s = handle->data;
    env_uv_event(s->e);
    if (status < 0) {
        s->interest = 0; /* libuv stopped the handle */
        events = UV_READABLE | UV_WRITABLE;
    }
    if (s->tls != NULL && s->tls->handshaking) {
        handshake_step(s);
        return;
    }
    if (s->connecting != NULL) {
        connect_event(s);
        return;
    }
    s->in_event = true;
    bool reader_missing = (events & UV_READABLE) != 0 && s->on_read == NULL;
    if ((events & write_needs(s)) != 0 && s->write != NULL)
        try_write(s);
    if ((events & read_needs(s)) != 0 && s->on_read != NULL && !s->closing)
        try_read(s);
    if ((events & UV_WRITABLE) != 0 && !s->closing && s->tls != NULL && s->tls->end_want != TLS_NOTHING)
        shut(s);
    s->in_event = false;
    if (s->closing)
        return;
    if (reader_missing && s->on_read == NULL)
        watch(s, s->interest & ~UV_READABLE);
    watch_what_is_pending(s);
}

/* Input that TLS had read ahead of its reader. */
static void on_wake(void *arg)
{
    struct env_stream *s = arg;
    if (s->on_read == NULL)
        return;
    s->in_event = true;
    try_read(s);
    s->in_event = false;
    watch_what_is_pending(s);
}

void stream_uv_read(struct env_stream *s, void *p, size_t size, void (*on_read)(void *arg, ssize_t n), void *arg)
{
    FICUS_ASSERT(!s->closing && s->connecting == NULL);
    FICUS_ASSERT(s->on_read == NULL && on_read != NULL && size > 0);
    s->read_p = p;
    s->read_size = size;
    s->on_read = on_read;
    s->read_arg = arg;
    if (s->tls != NULL && s->tls->ops->has_input(s->tls))
        env_post(&s->e->base, &s->tls->wake); /* never from inside env_read */
    watch_what_is_pending(s);
}

ssize_t stream_uv_write(struct env_stream *s, const struct iovec *iov, int iov_count,
                        void (*on_write)(void *arg, ssize_t n), void *arg)
{
    FICUS_ASSERT(!s->closing && s->connecting == NULL);
    FICUS_ASSERT(s->write == NULL && on_write != NULL && !s->shutdown_wanted);
    FICUS_ASSERT(iov_count > 0 && iov_count <= IOV_MAX_COUNT);
    __attribute__((uninitialized)) struct write w; /* as many pieces as iov_count are filled in */
    w.iov_at = 0;
    w.iov_count = iov_count;
    w.total = 0;
    w.on_write = on_write;
    w.arg = arg;
    for (int i = 0; i < iov_count; i++) {
        w.iov[i] = iov[i];
        w.total += (ssize_t)iov[i].iov_len;
    }
    FICUS_ASSERT(w.total > 0);
    ssize_t n = write_some(s, &w);
    if (n < 0 || w.iov_at == w.iov_count)
        return n < 0 ? n : w.total;
    s->write = mem_alloc(sizeof w);
    if (s->write == NULL)
        return -(ssize_t)FICUS_ERR_NOMEM;
    *s->write = w;
    watch_what_is_pending(s);
    return 0;
}

ssize_t stream_uv_write_now(struct env_stream *s, const struct iovec *iov, int iov_count)
{
    FICUS_ASSERT(!s->closing && s->connecting == NULL);
    FICUS_ASSERT(s->write == NULL && !s->shutdown_wanted);
    return s->tls != NULL ? 0 : send_iov(s->fd, iov, iov_count);
}

void stream_uv_shutdown_write(struct env_stream *s)
{
    FICUS_ASSERT(!s->closing && s->connecting == NULL);
    if (s->shutdown_wanted)
        return;
    s->shutdown_wanted = true;
    if (s->write == NULL)
        shut(s);
    watch_what_is_pending(s);
}

/* ---- life ---- */

static void handshake_leave(struct env_stream *s);

static void tls_close(struct env_stream *s)
{
    if (s->tls == NULL)
        return;
    handshake_leave(s);
    env_uv_unpost(s->e, &s->tls->wake);
    s->tls->ops->free(s->tls);
    s->tls = NULL;
}

static void on_stream_closed(uv_handle_t *handle)
{
    struct env_stream *s = handle->data;
    env_uv_event(s->e);
    env_uv_trim_later(&s->e->base); /* perhaps much memory is gone with it */
    if (s->on_closed != NULL)
        s->on_closed(s->closed_arg);
    mem_free(s);
}

static void connecting_end(struct env_stream *s)
{
    if (s->connecting == NULL)
        return;
    env_uv_unpost(s->e, &s->connecting->task);
    env_timer_stop(&s->e->base, &s->connecting->retry);
    MEM_FREE(s->connecting);
}

void stream_uv_close(struct env_stream *s, void (*on_closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!s->closing);
    s->closing = true;
    s->on_read = NULL;
    MEM_FREE(s->write);
    connecting_end(s);
    s->on_closed = on_closed;
    s->closed_arg = arg;
    list_remove(&s->link);
    atomic_fetch_sub_explicit(s->e->stream_count, 1, memory_order_relaxed);
    tls_close(s);
    uv_close((uv_handle_t *)&s->poll, on_stream_closed); /* takes the descriptor out of epoll at once */
    close(s->fd);
    s->fd = -1;
}

/* Takes fd over, also when it fails. */
static struct env_stream *stream_new(struct env_uv *e, int fd, bool is_unix)
{
    struct env_stream *s = mem_zalloc(sizeof *s);
    if (s == NULL || uv_poll_init(&e->loop, &s->poll, fd) != 0) {
        mem_free(s);
        close(fd);
        return NULL;
    }
    s->poll.data = s;
    s->e = e;
    s->fd = fd;
    s->is_unix = is_unix;
    list_add_tail(&e->streams, &s->link);
    atomic_fetch_add_explicit(e->stream_count, 1, memory_order_relaxed);
    if (!is_unix) {
        int on = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* slower without, but works */
    }
    return s;
}

void stream_uv_peer(struct env_stream *s, struct env_peer *ret_peer)
{
    *ret_peer = (struct env_peer){.is_unix = s->is_unix, .pid = -1, .uid = -1, .text = "unix"};
    if (s->is_unix) {
        struct ucred cred;
        socklen_t size = sizeof cred;
        if (getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) == 0) {
            ret_peer->pid = cred.pid;
            ret_peer->uid = cred.uid;
        }
        return;
    }
    struct sockaddr_storage storage = {0};
    socklen_t size = sizeof storage;
    if (getpeername(s->fd, (void *)&storage, &size) == 0)
        socket_address_format(&storage, ret_peer->text, sizeof ret_peer->text);
    else
        snprintf(ret_peer->text, sizeof ret_peer->text, "?");
}

bool stream_uv_tls(struct env_stream *s, struct env_tls_info *ret_info)
{
    if (s->tls == NULL)
        return false;
    *ret_info = (struct env_tls_info){0};
    s->tls->ops->info(s->tls, ret_info);
    return true;
}

/* ---- handshakes ---- */

static void listener_watch(struct env_listener *l);
static void connect_report(struct env_stream *s, enum ficus_err err);

/* It is over, or ended: its place is free. */
static void handshake_leave(struct env_stream *s)
{
    struct tls_conn *tls = s->tls;
    struct env_listener *l = tls->listener;
    env_timer_stop(&s->e->base, &tls->limit);
    tls->handshaking = false;
    tls->listener = NULL;
    if (l == NULL)
        return;
    list_remove(&tls->link);
    if (l->handshake_count-- < HANDSHAKES_MAX)
        return;
    env_timer_stop(&l->e->base, &l->rest);
    listener_watch(l);
}

/* Unread input would turn our close into a reset, which may overtake the alert that says why. */
static void discard_input(struct env_stream *s)
{
    char bytes[4096];
    for (int i = 0; i < 4 && recv(s->fd, bytes, sizeof bytes, 0) > 0; i++)
        continue;
}

static void handshake_over(struct env_stream *s, enum ficus_err err)
{
    struct env_listener *l = s->tls->listener;
    handshake_leave(s);
    if (l == NULL) {
        connect_report(s, err);
    } else if (err == FICUS_ERR_OK) {
        l->on_accept(l->arg, s);
    } else {
        discard_input(s);
        stream_uv_close(s, NULL, NULL);
    }
}

static void handshake_step(struct env_stream *s)
{
    enum tls_want want = TLS_NOTHING;
    int rc = s->tls->ops->handshake(s->tls, &want);
    if (rc != 0)
        handshake_over(s, rc < 0 ? (enum ficus_err) - rc : FICUS_ERR_OK);
    else
        watch(s, want == TLS_WRITABLE ? UV_WRITABLE : UV_READABLE);
}

static void handshake_late(void *arg)
{
    handshake_over(arg, FICUS_ERR_TIMEOUT);
}

static bool tls_open(struct env_stream *s, struct tls_end *end)
{
    s->tls = end->ops->open(end, s->fd);
    if (s->tls == NULL)
        return false;
    s->tls->limit = (struct env_timer){.fn = handshake_late, .arg = s};
    s->tls->wake = (struct env_task){.fn = on_wake, .arg = s};
    return true;
}

/* l: whose connection it is; NULL: our own. */
static void handshake_begin(struct env_stream *s, struct env_listener *l)
{
    struct tls_conn *tls = s->tls;
    tls->handshaking = true;
    tls->begun_ms = env_now_ms(&s->e->base);
    tls->listener = l;
    if (l != NULL) {
        list_add_tail(&l->handshakes, &tls->link);
        l->handshake_count++;
    }
    env_timer_start(&s->e->base, &tls->limit, HANDSHAKE_TIMEOUT_MS);
    handshake_step(s);
}

/* ---- connecting ---- */

static void connect_report(struct env_stream *s, enum ficus_err err)
{
    void (*fn)(void *arg, enum ficus_err err) = s->connecting->on_connect;
    void *fn_arg = s->connecting->arg;
    connecting_end(s);
    if (s->interest != 0)
        watch(s, 0);
    fn(fn_arg, err);
}

/* The socket is connected, or not; with TLS that is half of it. */
static void connect_result(struct env_stream *s, enum ficus_err err)
{
    if (err == FICUS_ERR_OK && s->tls != NULL)
        handshake_begin(s, NULL);
    else
        connect_report(s, err);
}

static void on_connect_task(void *arg)
{
    struct env_stream *s = arg;
    connect_result(s, s->connecting->result);
}

/* What this machine or process lacks is not the peer's fault. (That no port is left to connect from is: there are enough towards
 * any other address.) */
static enum ficus_err connect_error(int sys_errno)
{
    switch (sys_errno) {
    case ENOENT: /* a unix path that nobody has bound: nobody listens there */
        return FICUS_ERR_REFUSED;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
        return FICUS_ERR_NOMEM;
    default:
        return err_from_errno(sys_errno);
    }
}

static void connect_event(struct env_stream *s)
{
    int failure = 0;
    socklen_t size = sizeof failure;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        failure = errno;
    connect_result(s, failure == 0 ? FICUS_ERR_OK : connect_error(failure));
}

static void connect_try(void *arg)
{
    struct env_stream *s = arg;
    struct connecting *c = s->connecting;
    int rc;
    do
        rc = connect(s->fd, (const void *)&c->address.storage, c->address.size);
    while (rc != 0 && errno == EINTR && s->is_unix);
    if (rc != 0 && (errno == EINPROGRESS || errno == EINTR)) {
        watch(s, UV_WRITABLE);
        return;
    }
    if (rc != 0 && errno == EAGAIN && s->is_unix && c->retries++ < CONNECT_RETRIES_MAX) {
        env_timer_start(&s->e->base, &c->retry, CONNECT_RETRY_MS);
        return;
    }
    c->result = rc == 0 ? FICUS_ERR_OK : connect_error(errno);
    env_post(&s->e->base, &c->task); /* never from inside env_connect */
}

enum ficus_err stream_uv_connect(struct env *e, const char *address, struct tls_client *tls,
                                 void (*on_connect)(void *arg, enum ficus_err err), void *arg,
                                 struct env_stream **ret_stream)
{
    struct socket_address a;
    enum ficus_err err = socket_address_parse(address, &a, NULL);
    if (err != FICUS_ERR_OK)
        return err;
    if (a.inherited_fd >= 0)
        return FICUS_ERR_INVALID;
    FICUS_ASSERT(on_connect != NULL);
    int fd = socket(a.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return connect_error(errno);
    struct env_stream *s = stream_new(env_uv_of(e), fd, a.storage.ss_family == AF_UNIX);
    if (s == NULL)
        return FICUS_ERR_NOMEM;
    s->connecting = mem_alloc(sizeof *s->connecting);
    if (s->connecting == NULL || (tls != NULL && !tls_open(s, (struct tls_end *)(void *)tls))) {
        MEM_FREE(s->connecting);
        stream_uv_close(s, NULL, NULL);
        return FICUS_ERR_NOMEM;
    }
    *s->connecting = (struct connecting){.on_connect = on_connect,
                                         .arg = arg,
                                         .task = {.fn = on_connect_task, .arg = s},
                                         .retry = {.fn = connect_try, .arg = s},
                                         .address = a};
    connect_try(s);
    *ret_stream = s;
    return FICUS_ERR_OK;
}

/* ---- listening ---- */

static void on_listener_event(uv_poll_t *handle, int status, int events);

static void listener_watch(struct env_listener *l)
{
    if (l->closing)
        return;
    bool wanted = !l->paused && !env_timer_armed(&l->rest);
    int rc = wanted ? uv_poll_start(&l->poll, UV_READABLE, on_listener_event) : uv_poll_stop(&l->poll);
    FICUS_ASSERT(rc == 0); /* as in watch() */
}

static struct env_stream *oldest_handshake(struct env_listener *l)
{
    return CONTAINER_OF(l->handshakes.next, struct tls_conn, link)->limit.arg;
}

static void on_rest_over(void *arg)
{
    struct env_listener *l = arg;
    if (l->handshake_count == HANDSHAKES_MAX)
        stream_uv_close(oldest_handshake(l), NULL, NULL);
    listener_watch(l);
}

static void listener_rest(struct env_listener *l, int64_t delay_ms)
{
    env_timer_start(&l->e->base, &l->rest, delay_ms);
    listener_watch(l);
}

/* Who only begins handshakes must not keep others out, and a burst must not end what is nearly done. True: there is no
 * room yet. */
static bool handshakes_full(struct env_listener *l)
{
    if (l->handshake_count < HANDSHAKES_MAX)
        return false;
    struct env_stream *oldest = oldest_handshake(l);
    int64_t age_ms = env_now_ms(&l->e->base) - oldest->tls->begun_ms;
    if (age_ms < HANDSHAKE_FAIR_MS) {
        listener_rest(l, HANDSHAKE_FAIR_MS - age_ms);
        return true;
    }
    stream_uv_close(oldest, NULL, NULL);
    return false;
}

static void accepted_tls(struct env_listener *l, struct env_stream *s)
{
    if (!tls_open(s, (struct tls_end *)(void *)l->tls)) {
        stream_uv_close(s, NULL, NULL);
        listener_rest(l, ACCEPT_PAUSE_MS);
        return;
    }
    handshake_begin(s, l);
}

static void on_listener_event(uv_poll_t *handle, int status, int events)
{
    struct env_listener *l = handle->data;
    env_uv_event(l->e);
    for (int i = 0; i < ACCEPTS_PER_TURN && !l->closing && !l->paused; i++) {
        if (l->tls != NULL && handshakes_full(l))
            return;
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && errno == EAGAIN)
            break;
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM || errno == EINVAL)) {
            listener_rest(l, ACCEPT_PAUSE_MS);
            return;
        }
        if (fd < 0)
            continue; /* that connection died in the queue (accept(2) lists many errors for it) */
        struct env_stream *s = stream_new(l->e, fd, !l->is_tcp);
        if (s == NULL) {
            listener_rest(l, ACCEPT_PAUSE_MS);
            return;
        }
        if (l->tls != NULL)
            accepted_tls(l, s);
        else
            l->on_accept(l->arg, s);
    }
    if (status < 0)
        /* libuv stopped the handle; a listening socket in error is looked at again, not spun on */
        listener_rest(l, ACCEPT_PAUSE_MS);
}

enum ficus_err stream_uv_listen(struct env *e, const char *address, struct tls_server *tls,
                                void (*on_accept)(void *arg, struct env_stream *s), void *arg,
                                struct env_listener **ret_listener, struct ficus_error *reterr)
{
    FICUS_ASSERT(on_accept != NULL);
    int fd = -1;
    enum ficus_err err = socket_listen(address, &fd, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct env_listener *l = mem_zalloc(sizeof *l);
    int rc = l == NULL ? UV_ENOMEM : uv_poll_init(&env_uv_of(e)->loop, &l->poll, fd);
    if (rc != 0) {
        mem_free(l);
        close(fd);
        return err_sys(reterr, -rc, "listen on %s", address);
    }
    int domain = 0;
    socklen_t size = sizeof domain;
    (void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size); /* cannot fail on a socket that listens */
    l->is_tcp = domain != AF_UNIX;
    l->poll.data = l;
    l->e = env_uv_of(e);
    l->fd = fd;
    l->on_accept = on_accept;
    l->arg = arg;
    l->tls = tls;
    list_init(&l->handshakes);
    l->rest = (struct env_timer){.fn = on_rest_over, .arg = l};
    list_add_tail(&l->e->listeners, &l->link);
    listener_watch(l);
    *ret_listener = l;
    return FICUS_ERR_OK;
}

void stream_uv_listener_pause(struct env_listener *l, bool paused)
{
    FICUS_ASSERT(!l->closing);
    if (l->paused == paused)
        return;
    l->paused = paused;
    listener_watch(l);
}

static void on_listener_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void stream_uv_listener_close(struct env_listener *l)
{
    FICUS_ASSERT(!l->closing);
    l->closing = true;
    LIST_FOREACH_SAFE (&l->handshakes, it, next)
        stream_uv_close(CONTAINER_OF(it, struct tls_conn, link)->limit.arg, NULL, NULL);
    env_timer_stop(&l->e->base, &l->rest);
    list_remove(&l->link);
    uv_close((uv_handle_t *)&l->poll, on_listener_closed);
    close(l->fd);
    l->fd = -1;
}

void stream_uv_close_all(struct env_uv *e)
{
    LIST_FOREACH_SAFE (&e->listeners, it, next)
        stream_uv_listener_close(CONTAINER_OF(it, struct env_listener, link));
    LIST_FOREACH_SAFE (&e->streams, it, next)
        stream_uv_close(CONTAINER_OF(it, struct env_stream, link), NULL, NULL);
}
