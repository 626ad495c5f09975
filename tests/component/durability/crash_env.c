/* SPDX-License-Identifier: Apache-2.0 */
#include "crash_env.h"

#include "assert.h"
#include "mem.h"
#include "timers.h"

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

enum { WORKERS = 8, STACK_SIZE = 256 * 1024, JOBS_MAX = 256, YIELD_ONE_IN = 2 };

enum worker_state { WORKER_IDLE, WORKER_READY, WORKER_WAITING };

struct worker {
    struct crash_env *ce;
    enum worker_state state;
    ucontext_t context;
    char *stack;
    struct env_job *job;
    void *tsan_fiber, *asan_stack;
};

struct crash_env {
    struct env env;
    struct sim_disk *disk;
    uint64_t random;
    int64_t now_ns;
    struct timers timers;
    struct list tasks, jobs, done;
    size_t job_count;
    struct worker workers[WORKERS];
    struct worker *current;         /* NULL: the loop runs */
    ucontext_t loop;
    const void *loop_stack;         /* for ASan */
    size_t loop_stack_size;
    void *loop_fiber, *asan_loop;
};

static struct crash_env *of(struct env *e)
{
    return CONTAINER_OF(e, struct crash_env, env);
}

/* ---- coroutines ---- */

static void switch_to_worker(struct crash_env *ce, struct worker *w)
{
    ce->current = w;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&ce->asan_loop, w->stack, STACK_SIZE);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(w->tsan_fiber, 0);
#endif
    swapcontext(&ce->loop, &w->context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(ce->asan_loop, NULL, NULL);
#endif
    ce->current = NULL;
}

static void switch_to_loop(struct crash_env *ce, struct worker *w)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&w->asan_stack, ce->loop_stack, ce->loop_stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(ce->loop_fiber, 0);
#endif
    swapcontext(&w->context, &ce->loop);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(w->asan_stack, &ce->loop_stack, &ce->loop_stack_size);
#endif
}

static void worker_main(unsigned high, unsigned low)
{
    struct worker *w = (struct worker *)(uintptr_t)(((uint64_t)high << 32) | low);
    struct crash_env *ce = w->ce;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, &ce->loop_stack, &ce->loop_stack_size);
#endif
    for (;;) {
        struct env_job *job = w->job;
        job->work(job->arg);
        w->job = NULL;
        w->state = WORKER_IDLE;
        list_add_tail(&ce->done, &job->link);
        switch_to_loop(ce, w);
    }
}

static void worker_init(struct crash_env *ce, struct worker *w)
{
    w->ce = ce;
    w->stack = mem_alloc(STACK_SIZE);
    FICUS_ASSERT(w->stack != NULL);
    getcontext(&w->context);
    w->context.uc_stack.ss_sp = w->stack;
    w->context.uc_stack.ss_size = STACK_SIZE;
    uint64_t p = (uintptr_t)w;
    makecontext(&w->context, (void (*)(void))worker_main, 2, (unsigned)(p >> 32), (unsigned)p);
#if defined(__SANITIZE_THREAD__)
    w->tsan_fiber = __tsan_create_fiber(0);
#endif
}

/* Let others go on; in the loop (and so before it runs) there are none to let. */
static void yield(struct crash_env *ce)
{
    struct worker *w = ce->current;
    if (w == NULL || sim_random(&ce->random) % YIELD_ONE_IN != 0)
        return;
    w->state = WORKER_READY;
    switch_to_loop(ce, w);
}

/* ---- effects ---- */

static int64_t op_now_ns(struct env *e)
{
    return of(e)->now_ns;
}

static int64_t op_wall_ms(struct env *e)
{
    return 1790000000000 + of(e)->now_ns / 1000000;
}

static void op_random(struct env *e, void *p, size_t size)
{
    for (size_t at = 0; at < size; at += 8) {
        uint64_t v = sim_random(&of(e)->random);
        memcpy((char *)p + at, &v, size - at < 8 ? size - at : 8);
    }
}

static void op_timer_start(struct env *e, struct env_timer *t, int64_t delay_ms)
{
    bool ok = timers_add(&of(e)->timers, t, of(e)->now_ns + delay_ms * 1000000);
    FICUS_ASSERT(ok);
}

static void op_timer_stop(struct env *e, struct env_timer *t)
{
    timers_remove(&of(e)->timers, t);
}

static void op_post(struct env *e, struct env_task *t)
{
    if (t->queued)
        return;
    t->queued = true;
    list_add_tail(&of(e)->tasks, &t->link);
}

static enum ficus_err op_run(struct env *e, struct env_job *job)
{
    struct crash_env *ce = of(e);
    if (ce->job_count >= JOBS_MAX)
        return FICUS_ERR_BUSY;
    ce->job_count++;
    list_add_tail(&ce->jobs, &job->link);
    return FICUS_ERR_OK;
}

static void op_wait(struct env *e, struct env_waiter *w)
{
    struct crash_env *ce = of(e);
    struct worker *self = ce->current;
    while (!w->woken) {
        FICUS_ASSERT(self != NULL);     /* the loop must not wait */
        w->worker = self;
        self->state = WORKER_WAITING;
        switch_to_loop(ce, self);
    }
    *w = (struct env_waiter){0};
}

static void op_wake(struct env *e, struct env_waiter *w)
{
    (void)e;
    struct worker *worker = w->worker;
    w->woken = true;
    if (worker != NULL && worker->state == WORKER_WAITING)
        worker->state = WORKER_READY;
}

static void op_log_write(struct env *e, const void *p, size_t size)
{
    (void)e, (void)p, (void)size;
}

/* ---- files ---- */

struct env_file {
    struct crash_env *ce;
    struct sim_file *file;
};

static enum ficus_err op_file_open(struct env *e, const char *path, unsigned flags, struct env_file **ret_file,
                                   struct ficus_error *reterr)
{
    yield(of(e));
    struct sim_file *file = NULL;
    enum ficus_err err = sim_disk_open(of(e)->disk, path, flags, &file);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: %s", path, err_text(err));
    struct env_file *f = mem_zalloc(sizeof *f);
    FICUS_ASSERT(f != NULL);
    *f = (struct env_file){of(e), file};
    *ret_file = f;
    return FICUS_ERR_OK;
}

static void op_file_close(struct env_file *f)
{
    sim_file_close(f->file);
    mem_free(f);
}

static ssize_t op_file_read(struct env_file *f, void *p, size_t size, int64_t offset)
{
    yield(f->ce);
    return sim_file_read(f->file, p, size, offset);
}

static enum ficus_err op_file_write(struct env_file *f, const void *p, size_t size, int64_t offset)
{
    yield(f->ce);
    return sim_file_write(f->file, p, size, offset);
}

static enum ficus_err op_file_truncate(struct env_file *f, int64_t size)
{
    yield(f->ce);
    return sim_file_truncate(f->file, size);
}

static enum ficus_err op_file_sync(struct env_file *f)
{
    enum ficus_err err = sim_file_sync(f->file);
    yield(f->ce);
    return err;
}

static enum ficus_err op_file_size(struct env_file *f, int64_t *ret_size)
{
    return sim_file_size(f->file, ret_size);
}

static enum ficus_err op_file_lock(struct env_file *f, int64_t offset, int64_t size)
{
    return sim_file_lock(f->file, offset, size);
}

static enum ficus_err op_file_unlink(struct env *e, const char *path)
{
    return sim_disk_unlink(of(e)->disk, path);
}

static enum ficus_err op_file_rename(struct env *e, const char *from, const char *to)
{
    return sim_disk_rename(of(e)->disk, from, to);
}

static enum ficus_err op_file_exists(struct env *e, const char *path, bool *ret_exists)
{
    *ret_exists = sim_disk_exists(of(e)->disk, path);
    return FICUS_ERR_OK;
}

static enum ficus_err op_dir_sync(struct env *e, const char *path_in_dir)
{
    yield(of(e));
    return sim_disk_dir_sync(of(e)->disk, path_in_dir);
}

static const struct env_ops ops = {
    .now_ns = op_now_ns, .wall_ms = op_wall_ms, .random = op_random,
    .timer_start = op_timer_start, .timer_stop = op_timer_stop, .post = op_post,
    .file_open = op_file_open, .file_close = op_file_close, .file_read = op_file_read, .file_write = op_file_write,
    .file_truncate = op_file_truncate, .file_sync = op_file_sync, .file_size = op_file_size, .file_lock = op_file_lock,
    .file_unlink = op_file_unlink, .file_rename = op_file_rename, .file_exists = op_file_exists,
    .dir_sync = op_dir_sync, .run = op_run, .wait = op_wait, .wake = op_wake, .log_write = op_log_write,
};

/* ---- life ---- */

struct crash_env *crash_env_new(struct sim_disk *disk, uint64_t seed)
{
    struct crash_env *ce = mem_zalloc(sizeof *ce);
    FICUS_ASSERT(ce != NULL);
    ce->env.ops = &ops;
    ce->disk = disk;
    ce->random = seed;
    ce->now_ns = 1000000000;
    timers_init(&ce->timers);
    list_init(&ce->tasks);
    list_init(&ce->jobs);
    list_init(&ce->done);
#if defined(__SANITIZE_THREAD__)
    ce->loop_fiber = __tsan_get_current_fiber();
#endif
    for (size_t i = 0; i < WORKERS; i++)
        worker_init(ce, &ce->workers[i]);
    return ce;
}

void crash_env_free(struct crash_env *ce)
{
    if (ce == NULL)
        return;
    FICUS_ASSERT(list_empty(&ce->jobs));
    for (size_t i = 0; i < WORKERS; i++) {
        FICUS_ASSERT(ce->workers[i].state == WORKER_IDLE);
#if defined(__SANITIZE_THREAD__)
        __tsan_destroy_fiber(ce->workers[i].tsan_fiber);
#endif
        mem_free(ce->workers[i].stack);
    }
    timers_done(&ce->timers);
    mem_free(ce);
}

struct env *crash_env(struct crash_env *ce)
{
    return &ce->env;
}

/* One turn of a worker that is ready, or of an idle one for whom there is a job; which one: by the seed. */
static bool turn_worker(struct crash_env *ce)
{
    size_t first = sim_random(&ce->random) % WORKERS;
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *w = &ce->workers[(first + i) % WORKERS];
        if (w->state == WORKER_IDLE && !list_empty(&ce->jobs)) {
            w->job = CONTAINER_OF(list_pop_head(&ce->jobs), struct env_job, link);
            ce->job_count--;
            w->state = WORKER_READY;
        }
        if (w->state != WORKER_READY)
            continue;
        switch_to_worker(ce, w);
        return true;
    }
    return false;
}

static bool turn_loop(struct crash_env *ce)
{
    struct list *it = list_pop_head(&ce->done);
    if (it != NULL) {
        struct env_job *job = CONTAINER_OF(it, struct env_job, link);
        if (job->done != NULL)
            job->done(job->arg);
        return true;
    }
    it = list_pop_head(&ce->tasks);
    if (it != NULL) {
        struct env_task *t = CONTAINER_OF(it, struct env_task, link);
        t->queued = false;
        t->fn(t->arg);
        return true;
    }
    return timers_fire(&ce->timers, ce->now_ns) > 0;
}

void crash_env_run(struct crash_env *ce)
{
    FICUS_ASSERT(ce->current == NULL);
    for (bool busy = true; busy;) {
        bool loop_first = sim_random(&ce->random) % 2 == 0;
        busy = loop_first ? turn_loop(ce) || turn_worker(ce) : turn_worker(ce) || turn_loop(ce);
    }
}

void crash_env_run_ms(struct crash_env *ce, int64_t ms)
{
    int64_t end_ns = ce->now_ns + ms * 1000000;
    for (;;) {
        crash_env_run(ce);
        int64_t due_ns = timers_next_due_ns(&ce->timers);
        if (due_ns > end_ns)
            break;
        ce->now_ns = due_ns > ce->now_ns ? due_ns : ce->now_ns;
    }
    ce->now_ns = end_ns;
}

struct call_job {
    struct env_job job;
    void (*fn)(void *arg);
    void *arg;
    bool ended;
};

static void call_work(void *arg)
{
    struct call_job *c = arg;
    c->fn(c->arg);
    c->ended = true;
}

void crash_env_call(struct crash_env *ce, void (*fn)(void *arg), void *arg)
{
    struct call_job c = {.fn = fn, .arg = arg};
    c.job = (struct env_job){.work = call_work, .arg = &c};
    enum ficus_err err = env_run(&ce->env, &c.job);
    FICUS_ASSERT(err == FICUS_ERR_OK);
    crash_env_run(ce);
    FICUS_ASSERT(c.ended);      /* else it waits for something that never comes */
}

/* ---- the sweep ---- */

static const struct {
    enum sim_crash mode;
    uint64_t salt;
} crash_ways[] = {
    {SIM_CRASH_KEEP, 0}, {SIM_CRASH_FORGET, 0}, {SIM_CRASH_TEAR, 1}, {SIM_CRASH_TEAR, 2}, {SIM_CRASH_TEAR, 3},
        {SIM_CRASH_TEAR, 4},
};

static void crash_and_check(const struct crash_case *cc, const struct sim_disk *disk, size_t way, uint64_t seed,
                            void *state)
{
    struct sim_disk *d = sim_disk_clone(disk);
    FICUS_ASSERT(d != NULL);
    sim_disk_crash(d, crash_ways[way].mode, seed + crash_ways[way].salt);
    /* every other time recovery is cut short as well, a little later each time */
    bool twice = seed % 2 == 0;
    if (twice)
        sim_disk_die_after(d, 1 + seed / 2 % 7);
    struct crash_env *ce = crash_env_new(d, seed);
    bool checked = cc->check(ce, state);
    crash_env_free(ce);
    FICUS_ASSERT(checked || sim_disk_dead(d));
    if (!checked) {
        sim_disk_crash(d, crash_ways[way].mode, seed + 77);
        ce = crash_env_new(d, seed + 1);
        checked = cc->check(ce, state);
        crash_env_free(ce);
        FICUS_ASSERT(checked);
    }
    sim_disk_free(d);
}

void crash_sweep(const struct crash_case *cc, const char *name)
{
    uint64_t n = 0, crashes = 0;
    for (bool through = false; !through;) {
        n++;
        struct sim_disk *d = sim_disk_new();
        FICUS_ASSERT(d != NULL);
        sim_disk_die_after(d, n);
        void *state = cc->state_new(n);
        struct crash_env *ce = crash_env_new(d, n);
        cc->work(ce, state);
        crash_env_free(ce);
        through = !sim_disk_dead(d);
        for (size_t way = 0; way < ARRAY_COUNT(crash_ways); way++, crashes++)
            crash_and_check(cc, d, way, n * 1000 + way, state);
        cc->state_free(state);
        sim_disk_free(d);
    }
    printf("%s: %llu operations, %llu crashes checked\n", name, (unsigned long long)n, (unsigned long long)crashes);
}
