/* SPDX-License-Identifier: Apache-2.0
 *
 * What env_uv.c, stream_uv.c and lookup_uv.c share. Private to those, which include uv.h before it.
 */
#ifndef FICUS_IO_UV_H
#define FICUS_IO_UV_H

#include "io_env.h"
#include "io_heap.h"
#include "io_log.h"
#include "io_workers.h"
#include "timers.h"

#include <stdatomic.h>

enum { SIGNALS_MAX = 16 };

struct env_uv_signal {
    uv_signal_t handle;
    int signum; /* 0: unused */
    void (*fn)(void *arg, int signum);
    void *arg;
};

struct env_uv {
    struct env base; /* first */
    uv_loop_t loop;
    pthread_t loop_thread;
    atomic_bool stop_wanted;

    /* loop thread only */
    struct timers timers;
    uv_timer_t alarm;     /* one for all of timers */
    int64_t alarm_due_ns; /* INT64_MAX: not started */
    int loops_beside;     /* envs made beside this one, ever */
    int64_t wall_read_ns, wall_ahead_ns; /* the wall clock: when it was read, and how far it was ahead of the other */
    char scratch[ENV_SCRATCH_SIZE];
    bool firing;          /* the alarm is set once, after all that are due have fired */
    uv_timer_t trim;      /* when a stream was closed, or it was asked for, the heap is looked at later; nothing wakes an idle process */
    uv_prepare_t log_flush; /* started while lines of this turn are gathered */
    struct heap_os heap;
    uv_idle_t turn;       /* makes the loop not sleep while tasks are queued that the loop itself posted, or timers are due */
    struct list streams, listeners;
    struct list lookups; /* in their order; the first ones run */
    size_t lookup_count;
    uint8_t random[4096];   /* random bytes that nobody has had yet, from random_at on; what was handed out is zero */
    size_t random_at;
    struct env_uv_signal signals[SIGNALS_MAX];

    /* any thread */
    uv_async_t async;
    pthread_mutex_t mutex; /* guards tasks and jobs_done */
    struct list tasks, jobs_done;
    struct workers *workers;
    struct log_os log;
    atomic_size_t *stream_count; /* of the process: the first env's own, relaxed */
    atomic_size_t own_stream_count;
    struct crash *crash; /* of the process: the first env's, borrowed by those beside it; NULL: nobody counts writes */
    bool crash_is_own;
};

static inline struct env_uv *env_uv_of(struct env *e)
{
    return (struct env_uv *)(void *)e;
}

/* [loop] A callback of libuv begins: the clocks are read anew. */
static inline void env_uv_event(struct env_uv *e)
{
    e->base.event_ns = 0;
}

/* [loop] Take a task out of the queue; it will not run. */
void env_uv_unpost(struct env_uv *e, struct env_task *t);

enum ficus_err lookup_uv(struct env *e, const char *host, void (*done)(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail),
                         void *arg);
void lookup_uv_cancel(struct env *e, const void *arg);
/* What runs goes on without us. */
void lookup_uv_leave_all(struct env_uv *e);

enum ficus_err stream_uv_listen(struct env *e, const char *address, struct tls_server *tls,
                                void (*on_accept)(void *arg, struct env_stream *s), void *arg,
                                struct env_listener **ret_listener, struct ficus_error *reterr);
void stream_uv_listener_pause(struct env_listener *l, bool paused);
void stream_uv_listener_close(struct env_listener *l);
enum ficus_err stream_uv_connect(struct env *e, const char *address, struct tls_client *tls,
                                 void (*on_connect)(void *arg, enum ficus_err err), void *arg,
                                 struct env_stream **ret_stream);
bool stream_uv_tls(struct env_stream *s, struct env_tls_info *ret_info);
void stream_uv_peer(struct env_stream *s, struct env_peer *ret_peer);
void stream_uv_read(struct env_stream *s, void *p, size_t size, void (*on_read)(void *arg, ssize_t n), void *arg);
ssize_t stream_uv_write(struct env_stream *s, const struct iovec *iov, int iov_count,
                        void (*on_write)(void *arg, ssize_t n), void *arg);
ssize_t stream_uv_write_now(struct env_stream *s, const struct iovec *iov, int iov_count);
void stream_uv_shutdown_write(struct env_stream *s);
void stream_uv_close(struct env_stream *s, void (*on_closed)(void *arg), void *arg);
/* Close what is still open, without callbacks; the loop must run once more to free it. */
void stream_uv_close_all(struct env_uv *e);

#endif
