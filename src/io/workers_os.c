/* SPDX-License-Identifier: Apache-2.0
 *
 * Worker threads. One mutex guards the queue, the counters and every waiter; critical sections are a few instructions.
 * A worker is started when a job finds more jobs queued than workers idle, up to workers_max; workers then stay. The one
 * that came to rest last is woken first: its stack is warm, and those of the others may stay untouched.
 *
 * Each worker rests on a condition of its own: where several wait on one, glibc before 2.41 may lose a signal (its bug
 * 25847), and the job would lie until the next one comes.
 */
#include "io_workers.h"

#include "assert.h"
#include "io_env.h"
#include "mem.h"

#include <signal.h>

struct worker {
    struct workers *pool;
    pthread_t thread;
    pthread_cond_t woken;
    struct list link;           /* in pool->resting, else not */
};

struct workers {
    uint32_t workers_max, jobs_max;
    size_t stack_size;
    void (*finished)(void *ctx, struct env_job *job);
    void *ctx;

    pthread_mutex_t mutex; /* guards all below */
    struct list queue, resting;
    uint32_t queued, idle, started; /* idle: resting, or woken and not yet running */
    bool stopping;
    struct worker all[];
};

struct workers *workers_new(uint32_t workers_max, uint32_t jobs_max, size_t stack_size,
                            void (*finished)(void *ctx, struct env_job *job), void *ctx)
{
    struct workers *p = mem_zalloc(sizeof *p + workers_max * sizeof p->all[0]);
    if (p == NULL)
        return NULL;
    p->workers_max = workers_max;
    p->jobs_max = jobs_max;
#ifdef __SANITIZE_ADDRESS__
    stack_size *= 4; /* red zones make frames several times larger */
#endif
    p->stack_size = stack_size;
    p->finished = finished;
    p->ctx = ctx;
    pthread_mutex_init(&p->mutex, NULL);
    list_init(&p->queue);
    list_init(&p->resting);
    return p;
}

/* Under the mutex. */
static void rest(struct worker *w)
{
    struct workers *p = w->pool;
    p->idle++;
    list_add_head(&p->resting, &w->link);
    while (!list_empty(&w->link))
        pthread_cond_wait(&w->woken, &p->mutex);
    p->idle--;
}

/* Under the mutex; to be woken by the caller once he has left it, for else it would only wait for the mutex. NULL: all are
 * at work, or on their way to the queue. */
static struct worker *take_resting(struct workers *p)
{
    struct list *link = list_pop_head(&p->resting);
    return link == NULL ? NULL : CONTAINER_OF(link, struct worker, link);
}

/* The worker may have gone on and to rest again meanwhile (rest looks whether it was meant), but it lives as long as the pool. */
static void wake(struct worker *w)
{
    if (w != NULL)
        pthread_cond_signal(&w->woken);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct workers *p = w->pool;
    pthread_setname_np(pthread_self(), "ficus-worker");
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (list_empty(&p->queue) && !p->stopping)
            rest(w);
        if (p->stopping)
            break;
        struct env_job *job = CONTAINER_OF(list_pop_head(&p->queue), struct env_job, link);
        p->queued--;
        pthread_mutex_unlock(&p->mutex);
        bool has_done = job->done != NULL; /* without done the job may be gone after work */
        job->work(job->arg);
        if (has_done)
            p->finished(p->ctx, job);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

/* A new thread inherits the mask of its creator. */
int env_uv_thread(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *arg), void *arg)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int rc = pthread_create(ret_thread, attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static bool worker_start(struct workers *p)
{
    struct worker *w = &p->all[p->started];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, p->stack_size);
    w->pool = p;
    list_init(&w->link);
    pthread_cond_init(&w->woken, NULL);
    bool ok = env_uv_thread(&w->thread, &attr, worker_main, w) == 0;
    pthread_attr_destroy(&attr);
    if (ok)
        p->started++;
    return ok;
}

enum ficus_err workers_run(struct workers *p, struct env_job *job)
{
    FICUS_ASSERT(job->work != NULL);
    enum ficus_err err = FICUS_ERR_OK;
    struct worker *rested = NULL;
    pthread_mutex_lock(&p->mutex);
    if (p->queued >= p->jobs_max || p->stopping) {
        err = FICUS_ERR_BUSY;
    } else {
        list_add_tail(&p->queue, &job->link);
        p->queued++;
        bool more = p->queued > p->idle && p->started < p->workers_max;
        if (more && !worker_start(p) && p->started == 0) {
            list_remove(&job->link);
            p->queued--;
            err = FICUS_ERR_NOMEM;
        } else {
            rested = take_resting(p);
        }
    }
    pthread_mutex_unlock(&p->mutex);
    wake(rested);
    return err;
}

void workers_wait(struct workers *p, struct env_waiter *w)
{
    pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&p->mutex);
    while (!w->woken) {
        w->worker = &woken;
        pthread_cond_wait(&woken, &p->mutex);
    }
    w->woken = false;
    w->worker = NULL;
    pthread_mutex_unlock(&p->mutex);
    pthread_cond_destroy(&woken);
}

/* Under the mutex to the end: the waiter and its condition may be gone as soon as it is released. */
void workers_wake(struct workers *p, struct env_waiter *w)
{
    pthread_mutex_lock(&p->mutex);
    w->woken = true;
    if (w->worker != NULL)
        pthread_cond_signal(w->worker);
    pthread_mutex_unlock(&p->mutex);
}

void workers_free(struct workers *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    while (!list_empty(&p->resting))
        wake(take_resting(p));
    uint32_t started = p->started;
    pthread_mutex_unlock(&p->mutex);
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(p->all[i].thread, NULL);
        pthread_cond_destroy(&p->all[i].woken);
    }
    pthread_mutex_destroy(&p->mutex);
    mem_free(p);
}
