/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of effects: everything that a process does to the world outside its memory goes through here: clock,
 * random, timers, sockets, files, threads. src/io implements it on libuv; tests/sim implements it in virtual time.
 *
 * Threads. An env has one loop thread and a bounded pool of workers. Functions marked [loop] may be called on the
 * loop thread only, [any] on either. All callbacks run on the loop thread, never from inside the call that
 * started them (so a caller never sees its own callback re-entrantly). If a call that takes a callback fails, the callback
 * never fires; if it succeeds, it fires exactly once, unless said otherwise.
 *
 * Blocking code (service handlers, SQLite) runs only on workers. It waits with env_wait; it never holds a mutex meanwhile,
 * because in the simulator all workers share one thread.
 */
#ifndef FICUS_BASE_ENV_H
#define FICUS_BASE_ENV_H

#include "err.h"
#include "list.h"
#include "slice.h"

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct env;
struct env_stream;      /* a connected byte stream; opaque, owned by env until closed */
struct env_listener;
struct env_file;
struct tls_server;      /* src/io/tls.h; NULL: plain */
struct tls_client;

/* A timer lives inside its owner. Zero-initialise, set fn and arg. */
struct env_timer {
    void (*fn)(void *arg);
    void *arg;
    /* private below */
    int64_t due_ns;
    uint32_t slot;      /* where it stands; 0: not armed */
};

/* Work for the pool: work() on a worker, then done() on the loop. Must stay in memory until done() ran. */
struct env_job {
    void (*work)(void *arg);
    void (*done)(void *arg);    /* may be NULL */
    void *arg;
    struct list link;           /* private */
};

/* A message from any thread to the loop. May be posted again once fn has begun. */
struct env_task {
    void (*fn)(void *arg);
    void *arg;
    struct list link;           /* private */
    bool queued;                /* private: posting a queued task again is a no-op */
};

/* What a worker waits on. Zero-initialise. */
struct env_waiter {
    bool woken;                 /* private */
    void *worker;               /* private */
};

struct env_peer {
    bool is_unix;
    int64_t pid;                /* SO_PEERCRED; -1 on TCP */
    int64_t uid;                /* -1 on TCP */
    char text[64];              /* "127.0.0.1:4711" or "unix" */
};

/* What a TLS handshake agreed on. */
struct env_tls_info {
    const char *version, *cipher; /* "TLSv1.3", "TLS_AES_128_GCM_SHA256"; literals */
    char protocol[16];            /* by ALPN: "h2", "http/1.1"; "": none was agreed on */
    char name[256];               /* what the client asked for (SNI), as it wrote it; "": nothing */
    bool resumed;                 /* an earlier session went on: no certificate, no signature */
};

enum { ENV_HOST_SIZE = 254, ENV_HOSTS_MAX = 16 };
/* Numeric addresses of a host, without brackets. */
struct env_hosts {
    size_t count;
    char host[ENV_HOSTS_MAX][46];
};

enum env_open_flags {
    ENV_OPEN_CREATE = 1,        /* create when missing, mode 0600 */
    ENV_OPEN_EXCLUSIVE = 2,     /* fail with EXISTS when there */
    ENV_OPEN_READ_ONLY = 4,
};

struct env_ops {
    int64_t (*now_ns)(struct env *e);
    int64_t (*wall_ms)(struct env *e);
    void (*random)(struct env *e, void *p, size_t size);

    void (*timer_start)(struct env *e, struct env_timer *t, int64_t delay_ms);
    void (*timer_stop)(struct env *e, struct env_timer *t);
    void (*post)(struct env *e, struct env_task *t);

    enum ficus_err (*listen)(struct env *e, const char *address, struct tls_server *tls, void (*on_accept)(void *arg, struct env_stream *s), void *arg,
                             struct env_listener **ret_listener, struct ficus_error *reterr);
    void (*listener_pause)(struct env_listener *l, bool paused);
    void (*listener_close)(struct env_listener *l);
    enum ficus_err (*connect)(struct env *e, const char *address, struct tls_client *tls, void (*on_connect)(void *arg, enum ficus_err err), void *arg,
                              struct env_stream **ret_stream);
    bool (*tls_info)(struct env_stream *s, struct env_tls_info *ret_info);
    void (*peer)(struct env_stream *s, struct env_peer *ret_peer);
    void (*read)(struct env_stream *s, void *p, size_t size, void (*on_read)(void *arg, ssize_t n), void *arg);
    ssize_t (*write)(struct env_stream *s, const struct iovec *iov, int iov_count, void (*on_write)(void *arg, ssize_t n), void *arg);
    ssize_t (*write_now)(struct env_stream *s, const struct iovec *iov, int iov_count); /* NULL: takes nothing */
    void (*shutdown_write)(struct env_stream *s);
    void (*close)(struct env_stream *s, void (*on_closed)(void *arg), void *arg);

    enum ficus_err (*file_open)(struct env *e, const char *path, unsigned flags, struct env_file **ret_file, struct ficus_error *reterr);
    void (*file_close)(struct env_file *f);
    ssize_t (*file_read)(struct env_file *f, void *p, size_t size, int64_t offset);
    enum ficus_err (*file_write)(struct env_file *f, const void *p, size_t size, int64_t offset);
    enum ficus_err (*file_truncate)(struct env_file *f, int64_t size);
    enum ficus_err (*file_sync)(struct env_file *f);
    enum ficus_err (*file_size)(struct env_file *f, int64_t *ret_size);
    enum ficus_err (*file_lock)(struct env_file *f, int64_t offset, int64_t size);
    enum ficus_err (*file_unlink)(struct env *e, const char *path);
    enum ficus_err (*file_rename)(struct env *e, const char *from, const char *to);
    enum ficus_err (*file_exists)(struct env *e, const char *path, bool *ret_exists);
    enum ficus_err (*dir_sync)(struct env *e, const char *path_in_dir);
    enum ficus_err (*file_in_place)(struct env *e, struct env_file *f, const char *path, bool *ret_in_place);

    enum ficus_err (*lookup)(struct env *e, const char *host, void (*done)(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail),
                             void *arg);
    void (*lookup_cancel)(struct env *e, const void *arg);

    enum ficus_err (*run)(struct env *e, struct env_job *job);
    void (*wait)(struct env *e, struct env_waiter *w);
    void (*wake)(struct env *e, struct env_waiter *w);
    void (*log_write)(struct env *e, const void *p, size_t size, bool at_once);
};

/* Whom a TLS client believes, and who it is. */
struct tls_client_options {
    const char *name;    /* who the server must be: a DNS name, or a numeric address; also sent as SNI when it is a name */
    const char *ca_file; /* PEM: whom to believe; NULL: whom this machine believes */
    const char *certificate_file, *key_file; /* PEM: who we are, when the server asks; NULL: nobody */
    const char *const *protocols; /* for ALPN, the dearest first, NULL-terminated; the server chooses, and may choose none */
};

struct env_tls_ops {
    enum ficus_err (*client_new)(const struct tls_client_options *options, struct tls_client **ret_client, struct ficus_error *reterr);
    const char *(*client_failure)(const struct tls_client *c);
    void (*client_free)(struct tls_client *c);
};

enum { ENV_SCRATCH_SIZE = 32 * 1024, ENV_LOAN_SIZE = 4096 };

struct env {
    const struct env_ops *ops;
    const struct env_tls_ops *tls; /* NULL: an env without TLS */
    /* [loop] ENV_SCRATCH_SIZE bytes for whoever runs now; any other callback may write over them. So a read may go there
     * (env_read), and a thousand connections that wait need no buffer. */
    char *scratch;
    int64_t event_ns; /* behind env_now_ns: of the loop's present callback, for the thread whose env_here this is; 0: nobody has asked yet */
    /* [loop] Memory that one at a time may hold, from one callback to another: most need it for microseconds, one after the other,
     * so that it is always in the cache. Who finds it taken takes memory of its own. */
    bool loan_taken;
    char loan[ENV_LOAN_SIZE];
    /* the implementation's fields follow in its own struct, whose first member is this one */
};

/* The env whose loop runs on this thread, set by that loop alone; NULL: none, or one that has no time of its own. */
extern _Thread_local struct env *env_here;

/* ---- clock and random [any] ---- */

/* Monotonic, never goes back. On the loop it is the time at which the present callback began. */
static inline int64_t env_now_ns(struct env *e)
{
    return e == env_here && e->event_ns != 0 ? e->event_ns : e->ops->now_ns(e); /* asked some twenty times a request */
}
static inline int64_t env_now_ms(struct env *e) { return env_now_ns(e) / 1000000; }
/* Wall clock, ms since 1970 UTC; may jump. On the loop as above. */
static inline int64_t env_wall_ms(struct env *e) { return e->ops->wall_ms(e); }
/* Cryptographically strong in the product (getrandom), from the seed in the simulator. Cannot fail. */
static inline void env_random(struct env *e, void *p, size_t size) { e->ops->random(e, p, size); }
static inline uint64_t env_random_u64(struct env *e) { uint64_t v; env_random(e, &v, sizeof v); return v; }

/* ---- timers and messages ---- */

/* [loop] Arm, or re-arm, to fire once after delay_ms (0: in the next turn of the loop). */
static inline void env_timer_start(struct env *e, struct env_timer *t, int64_t delay_ms) { e->ops->timer_start(e, t, delay_ms); }
/* [loop] Disarm; fn will not fire afterwards. Harmless when not armed. */
static inline void env_timer_stop(struct env *e, struct env_timer *t) { e->ops->timer_stop(e, t); }
static inline bool env_timer_armed(const struct env_timer *t) { return t->slot != 0; }
/* [any] Have t->fn called on the loop thread soon. Tasks of one thread run in the order of posting. */
static inline void env_post(struct env *e, struct env_task *t) { e->ops->post(e, t); }

/* ---- streams [loop] ----
 * Addresses: "tcp:127.0.0.1:8080" (numeric only), "unix:/path" (at most 107 bytes, else TOO_LARGE), and for listen also
 * "fd:3", a socket inherited from the parent that is bound and listening already.
 */

/* on_accept hands over each connection; the callee owns it and must env_close it. Unix sockets are created 0600. */
static inline enum ficus_err env_listen(struct env *e, const char *address, void (*on_accept)(void *arg, struct env_stream *s), void *arg,
                                        struct env_listener **ret_listener, struct ficus_error *reterr)
{
    return e->ops->listen(e, address, NULL, on_accept, arg, ret_listener, reterr);
}
/* The same with TLS on each connection (tls is borrowed until the listener is closed; NULL: plain). on_accept comes when its handshake is
 * done; one that fails, or takes longer than 10 s, is closed and nobody hears of it. Of handshakes under way there are at most 128 per listener:
 * then the oldest gives its place once it is a second old, and accepting waits until then. Closing the listener ends them. UNSUPPORTED: an env without TLS. */
static inline enum ficus_err env_listen_tls(struct env *e, const char *address, struct tls_server *tls,
                                            void (*on_accept)(void *arg, struct env_stream *s), void *arg,
                                            struct env_listener **ret_listener, struct ficus_error *reterr)
{
    return e->ops->listen(e, address, tls, on_accept, arg, ret_listener, reterr);
}
/* Stop taking connections (they wait in the kernel's queue), or go on. */
static inline void env_listener_pause(struct env *e, struct env_listener *l, bool paused) { e->ops->listener_pause(l, paused); }
/* The listener is gone at return; an inherited socket stays open, in the parent and here, and can be listened on again; a unix path is
 * not unlinked. */
static inline void env_listener_close(struct env *e, struct env_listener *l) { e->ops->listener_close(l); }

/* *ret_stream is valid at once, but only env_close may be called before on_connect came with FICUS_ERR_OK. After a failure report the
 * stream must still be closed. Closing first cancels: on_connect will not fire. NOMEM, from the call or by on_connect: this process lacks memory or
 * descriptors, which says nothing about the peer. */
static inline enum ficus_err env_connect(struct env *e, const char *address, void (*on_connect)(void *arg, enum ficus_err err), void *arg,
                                         struct env_stream **ret_stream)
{
    return e->ops->connect(e, address, NULL, on_connect, arg, ret_stream);
}
/* The same with TLS (tls NULL: plain): on_connect comes when the handshake is done and the peer's certificate
 * verified. DENIED: it is not who it should be; PROTOCOL: it does not speak TLS as we do; TIMEOUT: after 10 s. UNSUPPORTED: an env without TLS. */
static inline enum ficus_err env_connect_tls(struct env *e, const char *address, struct tls_client *tls,
                                             void (*on_connect)(void *arg, enum ficus_err err), void *arg, struct env_stream **ret_stream)
{
    return e->ops->connect(e, address, tls, on_connect, arg, ret_stream);
}
/* The client's side of TLS towards one peer. It remembers the newest session and resumes it. Reads its files, and blocks for that. INVALID, NOT_FOUND...
 * with *reterr naming the file; UNSUPPORTED: an env without TLS. */
static inline enum ficus_err env_tls_client_new(struct env *e, const struct tls_client_options *options, struct tls_client **ret_client,
                                                struct ficus_error *reterr)
{
    if (e->tls == NULL)
        return err_set(reterr, FICUS_ERR_UNSUPPORTED, "TLS is not supported here");
    return e->tls->client_new(options, ret_client, reterr);
}
/* Why the last handshake failed, for logs: "bank.example: certificate has expired"; "" when it did not. Until the next handshake. */
static inline const char *env_tls_client_failure(struct env *e, const struct tls_client *c) { return e->tls->client_failure(c); }
/* No new connection of it. Its streams go on. NULL is nothing. */
static inline void env_tls_client_free(struct env *e, struct tls_client *c)
{
    if (c != NULL)
        e->tls->client_free(c);
}
/* False: a plain stream. */
static inline bool env_stream_tls(struct env *e, struct env_stream *s, struct env_tls_info *ret_info) { return e->ops->tls_info(s, ret_info); }
static inline void env_stream_peer(struct env *e, struct env_stream *s, struct env_peer *ret_peer) { e->ops->peer(s, ret_peer); }

/* Read at most size bytes into p, which must stay valid until the callback, and is written to only right before it: several streams may
 * read into the same. At most one read at a time. The callback gets n > 0 bytes, 0 at
 * the end of input, or -(enum ficus_err): RESET also for TLS input that ended without saying so, which an attacker can bring about. It may start the next read. env_close cancels: the callback will not fire. */
static inline void env_read(struct env *e, struct env_stream *s, void *p, size_t size, void (*on_read)(void *arg, ssize_t n), void *arg)
{
    e->ops->read(s, p, size, on_read, arg);
}

/* Write all bytes of iov (the array is copied, the bytes must stay valid until completion); at most one write at a time, at most 16 pieces. Returns
 * total > 0 when all was written at once (no callback follows), 0 when pending (on_write follows with the total or -(enum ficus_err)), or
 * -(enum ficus_err) (no callback). env_close cancels: the callback will not fire. */
static inline ssize_t env_write(struct env *e, struct env_stream *s, const struct iovec *iov, int iov_count,
                                void (*on_write)(void *arg, ssize_t n), void *arg)
{
    return e->ops->write(s, iov, iov_count, on_write, arg);
}
/* Write what the kernel takes without waiting, while no write is pending: the number of bytes, from the first on, or -(enum ficus_err). Nothing
 * stays pending, so iov may go at return. A stream that cannot do this (TLS, say) takes nothing. */
static inline ssize_t env_write_now(struct env *e, struct env_stream *s, const struct iovec *iov, int iov_count)
{
    return e->ops->write_now == NULL ? 0 : e->ops->write_now(s, iov, iov_count);
}
/* Send FIN (before it, on TLS, close_notify) after what was written; reading goes on. */
static inline void env_shutdown_write(struct env *e, struct env_stream *s) { e->ops->shutdown_write(s); }
/* on_closed (may be NULL) fires later; until then memory given to read/write must stay valid. The stream is unusable at return. */
static inline void env_close(struct env *e, struct env_stream *s, void (*on_closed)(void *arg), void *arg) { e->ops->close(s, on_closed, arg); }

/* ---- files [any; block] ---- */

static inline enum ficus_err env_file_open(struct env *e, const char *path, unsigned flags, struct env_file **ret_file, struct ficus_error *reterr)
{
    return e->ops->file_open(e, path, flags, ret_file, reterr);
}
static inline void env_file_close(struct env *e, struct env_file *f) { e->ops->file_close(f); }     /* drops its locks */
/* Bytes read (short only at the end of the file), or -(enum ficus_err). */
static inline ssize_t env_file_read(struct env *e, struct env_file *f, void *p, size_t size, int64_t offset) { return e->ops->file_read(f, p, size, offset); }
static inline enum ficus_err env_file_write(struct env *e, struct env_file *f, const void *p, size_t size, int64_t offset) { return e->ops->file_write(f, p, size, offset); }
static inline enum ficus_err env_file_truncate(struct env *e, struct env_file *f, int64_t size) { return e->ops->file_truncate(f, size); }
/* fdatasync: everything written before is durable when this returns OK. */
static inline enum ficus_err env_file_sync(struct env *e, struct env_file *f) { return e->ops->file_sync(f); }
static inline enum ficus_err env_file_size(struct env *e, struct env_file *f, int64_t *ret_size) { return e->ops->file_size(f, ret_size); }
/* Exclusive lock on a byte range against other processes (F_OFD_SETLK); BUSY when another holds it. Freed by close or death. */
static inline enum ficus_err env_file_lock(struct env *e, struct env_file *f, int64_t offset, int64_t size) { return e->ops->file_lock(f, offset, size); }
static inline enum ficus_err env_file_unlink(struct env *e, const char *path) { return e->ops->file_unlink(e, path); }
static inline enum ficus_err env_file_rename(struct env *e, const char *from, const char *to) { return e->ops->file_rename(e, from, to); }
static inline enum ficus_err env_file_exists(struct env *e, const char *path, bool *ret_exists) { return e->ops->file_exists(e, path, ret_exists); }
/* Make the directory entry of path (created, renamed or removed) durable. */
static inline enum ficus_err env_dir_sync(struct env *e, const char *path_in_dir) { return e->ops->dir_sync(e, path_in_dir); }

/* Does path still name this open file? False when it was removed, renamed or replaced: what is written then is lost with the last
 * descriptor. A file that went away and was put back is in place again. */
static inline enum ficus_err env_file_in_place(struct env *e, struct env_file *f, const char *path, bool *ret_in_place)
{
    return e->ops->file_in_place(e, f, path, ret_in_place);
}

/* ---- workers ---- */

/* [loop] The addresses that the system's resolver knows for a host name (hosts file, DNS), in the order in which it would try them, at most
 * ENV_HOSTS_MAX, each once. done fires once, never from inside, after as long as the resolver takes (resolv.conf(5)); hosts and detail live for the call.
 * Until then it may be taken back by env_lookup_cancel, and is when the env is freed. UNAVAILABLE: there are none, or the resolver did not answer;
 * detail says which. NOMEM: not begun. */
static inline enum ficus_err env_lookup(struct env *e, const char *host, void (*done)(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail), void *arg) { return e->ops->lookup(e, host, done, arg); }
/* [loop] done of the lookups with this arg does not come. The resolver may work on; nobody waits for it. */
static inline void env_lookup_cancel(struct env *e, const void *arg) { e->ops->lookup_cancel(e, arg); }
/* [any] Queue a job. The queue is bounded (set at creation): BUSY when full. Jobs start in order of queueing. */
static inline enum ficus_err env_run(struct env *e, struct env_job *job) { return e->ops->run(e, job); }
/* [worker] Block until env_wake(w) was called, be it before or after; consumes it. In the simulator other workers and the loop run meanwhile. */
static inline void env_wait(struct env *e, struct env_waiter *w) { e->ops->wait(e, w); }
/* [any] Wake the worker that waits, or will wait, on w. */
static inline void env_wake(struct env *e, struct env_waiter *w) { e->ops->wake(e, w); }
/* [any] One whole line of the process's log, newline included. at_once: it has left the process at return, with all lines before it; else it may
 * wait for others until the loop's turn ends. Never blocks for long, drops when it cannot write. */
static inline void env_log_write(struct env *e, const void *p, size_t size, bool at_once) { e->ops->log_write(e, p, size, at_once); }

/* Helper on the table above: read a whole small file into the arena; TOO_LARGE over size_max. [any; blocks] */
struct arena;
enum ficus_err env_file_load(struct env *e, struct arena *a, const char *path, size_t size_max, struct slice *ret_text, struct ficus_error *reterr);
/* Replace a small file atomically: write PATH.tmp, sync, rename, sync the folder. [any; blocks] */
enum ficus_err env_file_store(struct env *e, const char *path, struct slice text, struct ficus_error *reterr);

#endif
