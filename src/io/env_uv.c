/* SPDX-License-Identifier: Apache-2.0
 *
 * struct env on libuv: loop, clock, tasks, timers, signals; streams are in stream_uv.c, files in file_os.c, workers in
 * workers_os.c.
 *
 * Timers lie in base/timers.h; one uv_timer is set to the earliest. Stopping a timer leaves it set (one
 * early wake-up at most, then it is set anew), so that the arm-and-disarm of each request's timeout costs no libuv
 * call. Tasks and finished jobs wait in lists under one mutex. Another thread wakes the loop by the async handle (one
 * write to an eventfd); the loop itself starts the idle handle instead, which costs no system call.
 */
#include <uv.h>

#include "io_uv.h"

#include "assert.h"
#include "io_crash.h"
#include "io_file.h"
#include "mem.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

enum {
    LOG_SIZE_MAX = 32 * 1024 * 1024,
    TRIM_MS = 3000,
    WALL_READ_NS = 10 * 1000 * 1000,
};

/* ---- clock and random ---- */

/* Apart, so that who finds the time read already pays for nothing of this. */
__attribute__((noinline)) static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* For the loop thread time stands still within one event: what lies between is its own work, of microseconds. */
static int64_t uv_now_ns(struct env *base)
{
    if (env_here != base)
        return clock_ns(CLOCK_MONOTONIC);
    if (base->event_ns == 0)
        base->event_ns = clock_ns(CLOCK_MONOTONIC);
    return base->event_ns;
}

/* Of the wall clock only how far it is ahead is read, now and then: that changes when somebody sets it. */
static int64_t uv_wall_ms(struct env *base)
{
    struct env_uv *e = env_uv_of(base);
    if (env_here != base)
        return clock_ns(CLOCK_REALTIME) / 1000000;
    int64_t now_ns = env_now_ns(base);
    if (now_ns - e->wall_read_ns >= WALL_READ_NS) {
        e->wall_read_ns = now_ns;
        e->wall_ahead_ns = clock_ns(CLOCK_REALTIME) - now_ns;
    }
    return (now_ns + e->wall_ahead_ns) / 1000000;
}

static void system_random(void *p, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = getrandom((char *)p + done, size - done, 0);
        FICUS_ASSERT(n > 0 || errno == EINTR); /* with these arguments there is no other failure (getrandom(2)) */
        if (n > 0)
            done += (size_t)n;
    }
}

/* Ids ask for a few bytes at a time, several times a request: the kernel is asked for many at once. What was handed out
 * is wiped at once, so that memory read later tells no id. A process that forks only executes something else. */
static void uv_random_fill(struct env *base, void *p, size_t size)
{
    struct env_uv *e = env_uv_of(base);
    if (size > sizeof e->random / 4 || env_here != base) {
        system_random(p, size);
        return;
    }
    if (size > sizeof e->random - e->random_at) {
        system_random(e->random, sizeof e->random);
        e->random_at = 0;
    }
    memcpy(p, e->random + e->random_at, size);
    mem_wipe(e->random + e->random_at, size);
    e->random_at += size;
}

/* ---- timers ---- */

static void on_alarm(uv_timer_t *handle);
static void on_turn(uv_idle_t *handle);

/* What is due already comes in the loop's next turn: an alarm would be up to a millisecond late, and one that is set by
 * an alarm would fire before the loop has looked at anything else (uv__run_timers), and go on so for ever when timers take
 * longer than until their next time. */
static void alarm_set(struct env_uv *e)
{
    int64_t due_ns = timers_next_due_ns(&e->timers);
    if (due_ns == INT64_MAX || due_ns >= e->alarm_due_ns)
        return;
    bool due = due_ns <= uv_now_ns(&e->base);
    if (!due)
        uv_update_time(&e->loop); /* the event may have taken long */
    /* libuv compares whole milliseconds of the same clock: round up, so that it never comes early and has to be set
     * again */
    int64_t due_ms = (due_ns + 999999) / 1000000, now_ms = (int64_t)uv_now(&e->loop);
    if (due || due_ms <= now_ms) {
        uv_idle_start(&e->turn, on_turn);
        return;
    }
    uv_timer_start(&e->alarm, on_alarm, (uint64_t)(due_ms - now_ms), 0);
    e->alarm_due_ns = due_ns;
}

static void fire(struct env_uv *e)
{
    env_uv_event(e);
    e->firing = true;
    timers_fire(&e->timers, uv_now_ns(&e->base));
    e->firing = false;
    alarm_set(e);
}

static void on_alarm(uv_timer_t *handle)
{
    struct env_uv *e = handle->data;
    e->alarm_due_ns = INT64_MAX;
    fire(e);
}

static void uv_timer_arm(struct env *base, struct env_timer *t, int64_t delay_ms)
{
    struct env_uv *e = env_uv_of(base);
    FICUS_ASSERT(env_here == base || pthread_equal(pthread_self(), e->loop_thread));
    FICUS_ASSERT(t->fn != NULL);
    int64_t now_ns = env_now_ns(base), delay_ms_max = (INT64_MAX - 1 - now_ns) / 1000000;
    if (delay_ms < 0)
        delay_ms = 0;
    int64_t due_ns = now_ns + (delay_ms > delay_ms_max ? delay_ms_max : delay_ms) * 1000000;
    /* A lost timer would be a request that never ends; the heap grows by doubling, so this needs megabytes to be
     * missing. */
    bool added = delay_ms == 0 ? timers_add_soon(&e->timers, t, now_ns) : timers_add(&e->timers, t, due_ns);
    FICUS_ASSERT(added);
    if (!e->firing && delay_ms == 0)
        uv_idle_start(&e->turn, on_turn); /* as alarm_set would */
    else if (!e->firing && t->due_ns < e->alarm_due_ns)
        alarm_set(e);
}

static void uv_timer_disarm(struct env *base, struct env_timer *t)
{
    struct env_uv *e = env_uv_of(base);
    if (!env_timer_armed(t))
        return;
    timers_remove(&e->timers, t);
    if (e->alarm_due_ns != INT64_MAX && timers_next_due_ns(&e->timers) == INT64_MAX) {
        uv_timer_stop(&e->alarm); /* nothing left: do not wake an idle process */
        e->alarm_due_ns = INT64_MAX;
    }
}

/* ---- heap ---- */

static void on_trim(uv_timer_t *handle)
{
    struct env_uv *e = handle->data;
    heap_os_trim(&e->heap);
}

void env_uv_trim_later(struct env *base)
{
    struct env_uv *e = env_uv_of(base);
    if (!uv_is_active((uv_handle_t *)&e->trim) && !uv_is_closing((uv_handle_t *)&e->trim))
        uv_timer_start(&e->trim, on_trim, TRIM_MS, 0);
}

void env_uv_usage(struct env *base, struct env_uv_usage *ret_usage)
{
    *ret_usage = (struct env_uv_usage){.memory_size = heap_os_resident(),
                                       .stream_count = atomic_load_explicit(env_uv_of(base)->stream_count, memory_order_relaxed)};
}

/* ---- tasks and finished jobs ---- */

/* Runs what was queued when it began, in order; what those queue waits for the next turn, so that I/O gets its
 * share. */
static void run_tasks(struct env_uv *e)
{
    struct list jobs;
    list_init(&jobs);
    /* tasks may be unposted meanwhile, so they stay in the list; this marks the end of the batch */
    struct env_task fence = {0};
    pthread_mutex_lock(&e->mutex);
    list_add_tail(&e->tasks, &fence.link);
    while (!list_empty(&e->jobs_done))
        list_add_tail(&jobs, list_pop_head(&e->jobs_done));
    for (;;) {
        struct env_task *t = CONTAINER_OF(list_pop_head(&e->tasks), struct env_task, link);
        if (t == &fence)
            break;
        t->queued = false;
        pthread_mutex_unlock(&e->mutex);
        env_uv_event(e);
        t->fn(t->arg);
        pthread_mutex_lock(&e->mutex);
    }
    pthread_mutex_unlock(&e->mutex);
    while (!list_empty(&jobs)) {
        struct env_job *job = CONTAINER_OF(list_pop_head(&jobs), struct env_job, link);
        env_uv_event(e);
        job->done(job->arg);
    }
}

static void on_turn(uv_idle_t *handle)
{
    uv_idle_stop(handle); /* what follows starts it again when there is more */
    run_tasks(handle->data);
    fire(handle->data);
}

static void on_async(uv_async_t *handle)
{
    struct env_uv *e = handle->data;
    run_tasks(e);
    if (atomic_exchange(&e->stop_wanted, false))
        uv_stop(&e->loop);
}

static void uv_post(struct env *base, struct env_task *t)
{
    struct env_uv *e = env_uv_of(base);
    FICUS_ASSERT(t->fn != NULL);
    bool on_loop = pthread_equal(pthread_self(), e->loop_thread);
    pthread_mutex_lock(&e->mutex);
    bool added = !t->queued;
    if (added) {
        t->queued = true;
        list_add_tail(&e->tasks, &t->link);
    }
    pthread_mutex_unlock(&e->mutex);
    if (added && on_loop)
        uv_idle_start(&e->turn, on_turn);
    else if (added)
        uv_async_send(&e->async);
}

void env_uv_unpost(struct env_uv *e, struct env_task *t)
{
    pthread_mutex_lock(&e->mutex);
    if (t->queued) {
        t->queued = false;
        list_remove(&t->link);
    }
    pthread_mutex_unlock(&e->mutex);
}

/* [worker] */
static void on_job_finished(void *ctx, struct env_job *job)
{
    struct env_uv *e = ctx;
    pthread_mutex_lock(&e->mutex);
    list_add_tail(&e->jobs_done, &job->link);
    pthread_mutex_unlock(&e->mutex);
    uv_async_send(&e->async);
}

static enum ficus_err uv_run_job(struct env *e, struct env_job *job)
{
    return workers_run(env_uv_of(e)->workers, job);
}

static void uv_wait(struct env *e, struct env_waiter *w)
{
    FICUS_ASSERT_HOT(!pthread_equal(pthread_self(), env_uv_of(e)->loop_thread));
    workers_wait(env_uv_of(e)->workers, w);
}

static void uv_wake(struct env *e, struct env_waiter *w)
{
    workers_wake(env_uv_of(e)->workers, w);
}

static void on_log_flush(uv_prepare_t *handle)
{
    struct env_uv *e = handle->data;
    uv_prepare_stop(handle);
    log_os_flush(&e->log);
}

/* Lines of the loop thread are written together before it waits for events again: a gateway has a line for each of the
 * requests of a turn. */
static void uv_log_write(struct env *base, const void *p, size_t size, bool at_once)
{
    struct env_uv *e = env_uv_of(base);
    if (at_once || env_here != base)
        log_os_write(&e->log, p, size);
    else if (log_os_gather(&e->log, p, size))
        uv_prepare_start(&e->log_flush, on_log_flush);
}

static const struct env_ops ops_uv = {
    .now_ns = uv_now_ns,
    .wall_ms = uv_wall_ms,
    .random = uv_random_fill,
    .timer_start = uv_timer_arm,
    .timer_stop = uv_timer_disarm,
    .post = uv_post,
    .listen = stream_uv_listen,
    .listener_pause = stream_uv_listener_pause,
    .listener_close = stream_uv_listener_close,
    .connect = stream_uv_connect,
    .tls_info = stream_uv_tls,
    .peer = stream_uv_peer,
    .read = stream_uv_read,
    .write = stream_uv_write,
    .write_now = stream_uv_write_now,
    .shutdown_write = stream_uv_shutdown_write,
    .close = stream_uv_close,
    .file_open = file_os_open,
    .file_close = file_os_close,
    .file_read = file_os_read,
    .file_write = file_os_write,
    .file_truncate = file_os_truncate,
    .file_sync = file_os_sync,
    .file_size = file_os_size,
    .file_lock = file_os_lock,
    .file_unlink = file_os_unlink,
    .file_rename = file_os_rename,
    .file_exists = file_os_exists,
    .file_in_place = file_os_in_place,
    .dir_sync = file_os_dir_sync,
    .lookup = lookup_uv,
    .lookup_cancel = lookup_uv_cancel,
    .run = uv_run_job,
    .wait = uv_wait,
    .wake = uv_wake,
    .log_write = uv_log_write,
};

/* ---- life ---- */

static enum ficus_err check_options(struct env_uv_options *o, struct ficus_error *reterr)
{
    if (o->workers_count == 0)
        o->workers_count = 4;
    if (o->jobs_max == 0)
        o->jobs_max = 256;
    if (o->stack_size == 0)
        o->stack_size = 256 * 1024;
    if (o->workers_count > 64)
        return err_set(reterr, FICUS_ERR_INVALID, "env: %u workers, at most 64 are allowed", o->workers_count);
    if (o->jobs_max > 65536)
        return err_set(reterr, FICUS_ERR_INVALID, "env: a queue of %u jobs, at most 65536 are allowed", o->jobs_max);
    if (o->stack_size < 64 * 1024 || o->stack_size > 64 * 1024 * 1024)
        return err_set(reterr, FICUS_ERR_INVALID, "env: stacks of %zu bytes, 64 KiB to 64 MiB are allowed",
                       o->stack_size);
    return FICUS_ERR_OK;
}

struct env *env_uv_new(const struct env_uv_options *options, struct ficus_error *reterr)
{
    struct env_uv_options o = options == NULL ? (struct env_uv_options){0} : *options;
    if (check_options(&o, reterr) != FICUS_ERR_OK)
        return NULL;
    /* Each further arena costs an idle process memory; workers have no contention that it would save, loops have. */
    int loops = o.beside == NULL ? 1 : 1 + ++env_uv_of(o.beside)->loops_beside;
    mallopt(M_ARENA_MAX, loops > 2 ? loops : 2);
    struct env_uv *e = mem_zalloc(sizeof *e);
    if (e == NULL) {
        err_set(reterr, FICUS_ERR_NOMEM, "env: out of memory");
        return NULL;
    }
    int rc = uv_loop_init(&e->loop);
    if (rc == 0) {
        rc = uv_async_init(&e->loop, &e->async, on_async);
        if (rc != 0)
            uv_loop_close(&e->loop);
    }
    if (rc != 0) {
        err_sys(reterr, -rc, "env: create the loop");
        mem_free(e);
        return NULL;
    }
    e->base = (struct env){.ops = &ops_uv, .scratch = e->scratch};
    e->loop_thread = pthread_self();
    e->stream_count = o.beside != NULL ? env_uv_of(o.beside)->stream_count : &e->own_stream_count;
    e->alarm_due_ns = INT64_MAX;
    e->random_at = sizeof e->random;
    timers_init(&e->timers);
    uv_timer_init(&e->loop, &e->alarm); /* these four cannot fail */
    uv_timer_init(&e->loop, &e->trim);
    uv_idle_init(&e->loop, &e->turn);
    uv_prepare_init(&e->loop, &e->log_flush);
    e->async.data = e->alarm.data = e->trim.data = e->turn.data = e->log_flush.data = e;
    list_init(&e->streams);
    list_init(&e->listeners);
    list_init(&e->tasks);
    list_init(&e->jobs_done);
    list_init(&e->lookups);
    pthread_mutex_init(&e->mutex, NULL);
    e->workers = workers_new(o.workers_count, o.jobs_max, o.stack_size, on_job_finished, e);
    bool logs = true;
    enum ficus_err counts = FICUS_ERR_OK;
    e->crash_is_own = o.beside == NULL;
    if (e->crash_is_own)
        counts = crash_new(&e->crash, reterr);
    else
        e->crash = env_uv_of(o.beside)->crash;
    if (o.beside != NULL)
        log_os_init_beside(&e->log, &env_uv_of(o.beside)->log);
    else
        logs = log_os_init(&e->log, getenv("FICUS_LOG"), LOG_SIZE_MAX);
    if (!logs || e->workers == NULL || counts != FICUS_ERR_OK) {
        if (counts == FICUS_ERR_OK)
            err_set(reterr, FICUS_ERR_NOMEM, "env: out of memory");
        env_uv_free(&e->base);
        return NULL;
    }
    signal(SIGPIPE, SIG_IGN); /* sockets use MSG_NOSIGNAL; this is for write(2) to a closed pipe behind fd 2 */
    return &e->base;
}

void env_uv_run(struct env *base)
{
    struct env_uv *e = env_uv_of(base);
    if (!pthread_equal(e->loop_thread, pthread_self())) /* workers read it */
        e->loop_thread = pthread_self();
    if (atomic_exchange(&e->stop_wanted, false))
        return;
    env_here = base;
    log_os_keep_at_death(&e->log);
    env_uv_event(e);
    uv_run(&e->loop, UV_RUN_DEFAULT); /* the async handle keeps it going */
    env_here = NULL;
    log_os_forget_at_death(&e->log);
    log_os_flush(&e->log);
}

void env_uv_stop(struct env *base)
{
    struct env_uv *e = env_uv_of(base);
    atomic_store(&e->stop_wanted, true);
    uv_async_send(&e->async);
}

void env_uv_free(struct env *base)
{
    if (base == NULL)
        return;
    struct env_uv *e = env_uv_of(base);
    workers_free(e->workers);
    stream_uv_close_all(e);
    lookup_uv_leave_all(e);
    timers_done(&e->timers);
    for (size_t i = 0; i < SIGNALS_MAX; i++)
        if (e->signals[i].signum != 0)
            uv_close((uv_handle_t *)&e->signals[i].handle, NULL);
    uv_close((uv_handle_t *)&e->alarm, NULL);
    uv_close((uv_handle_t *)&e->trim, NULL);
    uv_close((uv_handle_t *)&e->turn, NULL);
    uv_close((uv_handle_t *)&e->log_flush, NULL);
    uv_close((uv_handle_t *)&e->async, NULL);
    uv_run(&e->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&e->loop);
    FICUS_ASSERT(rc == 0);
    log_os_done(&e->log);
    if (e->crash_is_own)
        crash_free(e->crash);
    pthread_mutex_destroy(&e->mutex);
    mem_free(e);
}

struct crash *file_os_crash(struct env *base)
{
    return env_uv_of(base)->crash;
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *handle, int signum)
{
    struct env_uv_signal *s = handle->data;
    env_uv_event(CONTAINER_OF(handle->loop, struct env_uv, loop));
    s->fn(s->arg, signum);
}

enum ficus_err env_uv_signal(struct env *base, int signum, void (*fn)(void *arg, int signum), void *arg,
                             struct ficus_error *reterr)
{
    struct env_uv *e = env_uv_of(base);
    struct env_uv_signal *s = NULL;
    for (size_t i = 0; i < SIGNALS_MAX && s == NULL; i++)
        if (e->signals[i].signum == signum)
            s = &e->signals[i];
    for (size_t i = 0; i < SIGNALS_MAX && s == NULL; i++)
        if (e->signals[i].signum == 0)
            s = &e->signals[i];
    if (s == NULL)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "signals: at most %d different ones", SIGNALS_MAX);
    if (s->signum == 0) {
        if (fn == NULL)
            return FICUS_ERR_OK;
        uv_signal_init(&e->loop, &s->handle);
        s->handle.data = s;
        /* from here on the slot is this signal's, whatever comes: the handle is closed with the env */
        s->signum = signum;
    }
    s->fn = fn;
    s->arg = arg;
    int rc = fn == NULL ? uv_signal_stop(&s->handle) : uv_signal_start(&s->handle, on_signal, signum);
    return rc == 0 ? FICUS_ERR_OK : err_sys(reterr, -rc, "handle signal %d", signum);
}

/* ---- other descriptors ---- */

struct env_uv_watch {
    uv_poll_t poll;
    void (*fn)(void *arg);
    void *arg;
};

static void on_watch_event(uv_poll_t *handle, int status, int events)
{
    struct env_uv_watch *w = handle->data;
    /* libuv has stopped the handle; fn's own read will see the error, and its owner decides */
    if (status < 0)
        (void)uv_poll_start(&w->poll, UV_READABLE, on_watch_event);
    env_uv_event(CONTAINER_OF(handle->loop, struct env_uv, loop));
    w->fn(w->arg);
}

static void on_watch_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

enum ficus_err env_uv_watch(struct env *base, int fd, void (*fn)(void *arg), void *arg, struct env_uv_watch **ret_watch,
                            struct ficus_error *reterr)
{
    struct env_uv_watch *w = mem_zalloc(sizeof *w);
    if (w == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "watch descriptor %d: out of memory", fd);
    int rc = uv_poll_init(&env_uv_of(base)->loop, &w->poll, fd);
    if (rc != 0) {
        mem_free(w);
        return err_sys(reterr, -rc, "watch descriptor %d", fd);
    }
    w->poll.data = w;
    w->fn = fn;
    w->arg = arg;
    (void)uv_poll_start(&w->poll, UV_READABLE, on_watch_event); /* cannot fail: just initialised */
    *ret_watch = w;
    return FICUS_ERR_OK;
}

void env_uv_unwatch(struct env_uv_watch *w)
{
    if (w != NULL)
        uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}
