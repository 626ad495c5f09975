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
 * Failure modes: out of descriptors at accept pauses that listener for 100 ms (the connections wait in the kernel's
 * queue) instead of spinning. A full backlog of a unix listener (EAGAIN) is tried again every 20 ms for a second, as
 * TCP would, then reported as BUSY.
 */
#include <uv.h>

#include "io_uv.h"

#include "assert.h"
#include "io_socket.h"
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
};

struct env_stream {
    struct env_uv *e;
    uv_poll_t poll;
    int fd;
    int interest; /* UV_READABLE | UV_WRITABLE that uv_poll watches now */
    bool is_unix, closing, in_event, shutdown_wanted;
    struct list link; /* in e->streams */

    void *read_p;
    size_t read_size;
    void (*on_read)(void *arg, ssize_t n); /* NULL: no read is pending */
    void *read_arg;

    struct iovec iov[IOV_MAX_COUNT]; /* what is still to be written */
    int iov_at, iov_count;
    ssize_t write_total;
    void (*on_write)(void *arg, ssize_t n); /* NULL: no write is pending */
    void *write_arg;

    void (*on_connect)(void *arg, enum ficus_err err); /* NULL: not connecting */
    void *connect_arg;
    enum ficus_err connect_result; /* what the task will report */
    struct env_task connect_task;
    struct env_timer connect_retry;
    unsigned connect_retries;
    struct socket_address address; /* while connecting */

    void (*on_closed)(void *arg);
    void *closed_arg;
};

struct env_listener {
    struct env_uv *e;
    uv_poll_t poll;
    int fd;
    bool is_tcp, paused, closing;
    struct env_timer rest; /* after EMFILE and the like */
    struct list link;      /* in e->listeners */
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

/* Make the interests fit what is pending; a read interest without a read stays, see above. */
static void watch_what_is_pending(struct env_stream *s)
{
    if (s->closing || s->in_event)
        return;
    int interest = s->interest & UV_READABLE;
    if (s->on_read != NULL)
        interest |= UV_READABLE;
    if (s->on_write != NULL)
        interest |= UV_WRITABLE;
    watch(s, interest);
}

/* ---- reading and writing ---- */

static void try_read(struct env_stream *s)
{
    ssize_t n;
    do
        n = recv(s->fd, s->read_p, s->read_size, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0)
        n = -(ssize_t)err_from_errno(errno);
    void (*fn)(void *arg, ssize_t n) = s->on_read;
    s->on_read = NULL;
    fn(s->read_arg, n);
}

/* Bytes written now, 0 when the kernel's buffer is full, or -error. Advances the iov. */
static ssize_t write_some(struct env_stream *s)
{
    ssize_t written = 0;
    while (s->iov_at < s->iov_count) {
        struct msghdr m = {.msg_iov = s->iov + s->iov_at, .msg_iovlen = (size_t)(s->iov_count - s->iov_at)};
        ssize_t n = sendmsg(s->fd, &m, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return written;
        if (n < 0)
            return -(ssize_t)err_from_errno(errno);
        written += n;
        for (size_t left = (size_t)n; s->iov_at < s->iov_count;) {
            struct iovec *v = &s->iov[s->iov_at];
            if (left < v->iov_len) {
                v->iov_base = (char *)v->iov_base + left;
                v->iov_len -= left;
                break;
            }
            left -= v->iov_len;
            s->iov_at++;
        }
    }
    return written;
}

static void try_write(struct env_stream *s)
{
    ssize_t n = write_some(s);
    if (n >= 0 && s->iov_at < s->iov_count)
        return;
    void (*fn)(void *arg, ssize_t n) = s->on_write;
    s->on_write = NULL;
    if (n >= 0 && s->shutdown_wanted)
        (void)shutdown(s->fd, SHUT_WR); /* fails only when the connection is gone; reading will tell */
    fn(s->write_arg, n < 0 ? n : s->write_total);
}

static void connect_event(struct env_stream *s);

static void on_stream_event(uv_poll_t *handle, int status, int events)
{
    struct env_stream *s = handle->data;
    env_uv_event(s->e);
    if (status < 0) {
        s->interest = 0; /* libuv stopped the handle */
        events = UV_READABLE | UV_WRITABLE;
    }
    if (s->on_connect != NULL) {
        connect_event(s);
        return;
    }
    s->in_event = true;
    bool reader_missing = (events & UV_READABLE) != 0 && s->on_read == NULL;
    if ((events & UV_WRITABLE) != 0 && s->on_write != NULL)
        try_write(s);
    if ((events & UV_READABLE) != 0 && s->on_read != NULL && !s->closing)
        try_read(s);
    s->in_event = false;
    if (s->closing)
        return;
    if (reader_missing && s->on_read == NULL)
        watch(s, s->interest & ~UV_READABLE);
    watch_what_is_pending(s);
}

void stream_uv_read(struct env_stream *s, void *p, size_t size, void (*on_read)(void *arg, ssize_t n), void *arg)
{
    FICUS_ASSERT(!s->closing && s->on_connect == NULL);
    FICUS_ASSERT(s->on_read == NULL && on_read != NULL && size > 0);
    s->read_p = p;
    s->read_size = size;
    s->on_read = on_read;
    s->read_arg = arg;
    watch_what_is_pending(s);
}

ssize_t stream_uv_write(struct env_stream *s, const struct iovec *iov, int iov_count,
                        void (*on_write)(void *arg, ssize_t n), void *arg)
{
    FICUS_ASSERT(!s->closing && s->on_connect == NULL);
    FICUS_ASSERT(s->on_write == NULL && on_write != NULL && !s->shutdown_wanted);
    FICUS_ASSERT(iov_count > 0 && iov_count <= IOV_MAX_COUNT);
    s->iov_at = 0;
    s->iov_count = iov_count;
    s->write_total = 0;
    for (int i = 0; i < iov_count; i++) {
        s->iov[i] = iov[i];
        s->write_total += (ssize_t)iov[i].iov_len;
    }
    FICUS_ASSERT(s->write_total > 0);
    ssize_t n = write_some(s);
    if (n < 0 || s->iov_at == s->iov_count)
        return n < 0 ? n : s->write_total;
    s->on_write = on_write;
    s->write_arg = arg;
    watch_what_is_pending(s);
    return 0;
}

void stream_uv_shutdown_write(struct env_stream *s)
{
    FICUS_ASSERT(!s->closing && s->on_connect == NULL);
    if (s->shutdown_wanted)
        return;
    s->shutdown_wanted = true;
    if (s->on_write == NULL)
        (void)shutdown(s->fd, SHUT_WR); /* as above */
}

/* ---- life ---- */

static void on_stream_closed(uv_handle_t *handle)
{
    struct env_stream *s = handle->data;
    env_uv_event(s->e);
    env_uv_trim_later(s->e);
    if (s->on_closed != NULL)
        s->on_closed(s->closed_arg);
    mem_free(s);
}

void stream_uv_close(struct env_stream *s, void (*on_closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!s->closing);
    s->closing = true;
    s->on_read = NULL;
    s->on_write = NULL;
    s->on_connect = NULL;
    s->on_closed = on_closed;
    s->closed_arg = arg;
    env_uv_unpost(s->e, &s->connect_task);
    env_timer_stop(&s->e->base, &s->connect_retry);
    list_remove(&s->link);
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

/* ---- connecting ---- */

static void connect_report(struct env_stream *s, enum ficus_err err)
{
    void (*fn)(void *arg, enum ficus_err err) = s->on_connect;
    s->on_connect = NULL;
    if (s->interest != 0)
        watch(s, 0);
    fn(s->connect_arg, err);
}

static void on_connect_task(void *arg)
{
    struct env_stream *s = arg;
    connect_report(s, s->connect_result);
}

static void connect_event(struct env_stream *s)
{
    int failure = 0;
    socklen_t size = sizeof failure;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        failure = errno;
    connect_report(s, failure == 0 ? FICUS_ERR_OK : err_from_errno(failure));
}

static void connect_try(void *arg)
{
    struct env_stream *s = arg;
    int rc;
    do
        rc = connect(s->fd, (const void *)&s->address.storage, s->address.size);
    while (rc != 0 && errno == EINTR && s->is_unix);
    if (rc != 0 && (errno == EINPROGRESS || errno == EINTR)) {
        watch(s, UV_WRITABLE);
        return;
    }
    if (rc != 0 && errno == EAGAIN && s->is_unix && s->connect_retries++ < CONNECT_RETRIES_MAX) {
        env_timer_start(&s->e->base, &s->connect_retry, CONNECT_RETRY_MS);
        return;
    }
    if (rc == 0)
        s->connect_result = FICUS_ERR_OK;
    else if (errno == EAGAIN)
        s->connect_result = FICUS_ERR_BUSY;
    else if (errno == ENOENT) /* a unix path that nobody has bound: nobody listens there */
        s->connect_result = FICUS_ERR_REFUSED;
    else
        s->connect_result = err_from_errno(errno);
    env_post(&s->e->base, &s->connect_task); /* never from inside env_connect */
}

enum ficus_err stream_uv_connect(struct env *e, const char *address, void (*on_connect)(void *arg, enum ficus_err err),
                                 void *arg, struct env_stream **ret_stream)
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
        return err_from_errno(errno);
    struct env_stream *s = stream_new(env_uv_of(e), fd, a.storage.ss_family == AF_UNIX);
    if (s == NULL)
        return FICUS_ERR_NOMEM;
    s->address = a;
    s->on_connect = on_connect;
    s->connect_arg = arg;
    s->connect_task = (struct env_task){.fn = on_connect_task, .arg = s};
    s->connect_retry = (struct env_timer){.fn = connect_try, .arg = s};
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

static void on_rest_over(void *arg)
{
    listener_watch(arg);
}

static void listener_rest(struct env_listener *l)
{
    env_timer_start(&l->e->base, &l->rest, ACCEPT_PAUSE_MS);
    listener_watch(l);
}

static void on_listener_event(uv_poll_t *handle, int status, int events)
{
    struct env_listener *l = handle->data;
    env_uv_event(l->e);
    for (int i = 0; i < ACCEPTS_PER_TURN && !l->closing && !l->paused; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && errno == EAGAIN)
            break;
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM || errno == EINVAL)) {
            listener_rest(l);
            return;
        }
        if (fd < 0)
            continue; /* that connection died in the queue (accept(2) lists many errors for it) */
        struct env_stream *s = stream_new(l->e, fd, !l->is_tcp);
        if (s == NULL) {
            listener_rest(l);
            return;
        }
        l->on_accept(l->arg, s);
    }
    if (status < 0)
        /* libuv stopped the handle; a listening socket in error is looked at again, not spun on */
        listener_rest(l);
}

enum ficus_err stream_uv_listen(struct env *e, const char *address, void (*on_accept)(void *arg, struct env_stream *s),
                                void *arg, struct env_listener **ret_listener, struct ficus_error *reterr)
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
    env_timer_stop(&l->e->base, &l->rest);
    list_remove(&l->link);
    uv_close((uv_handle_t *)&l->poll, on_listener_closed);
    close(l->fd);
    l->fd = -1;
}

void stream_uv_close_all(struct env_uv *e)
{
    LIST_FOREACH_SAFE (&e->streams, it, next)
        stream_uv_close(CONTAINER_OF(it, struct env_stream, link), NULL, NULL);
    LIST_FOREACH_SAFE (&e->listeners, it, next)
        stream_uv_listener_close(CONTAINER_OF(it, struct env_listener, link));
}
