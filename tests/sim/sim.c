/* SPDX-License-Identifier: Apache-2.0
 *
 * Time, processes and their stacks. One step runs one loop callback, or a worker until it blocks. The scheduler draws
 * from all that could run now; only when nothing can does time move on to the next event or timer.
 */
#include "sim_private.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

void *sim_zalloc(size_t size)
{
    void *p = aligned_alloc(16, (size + 15) / 16 * 16);
    FICUS_ASSERT(p != NULL);
    return memset(p, 0, size);
}

static const int64_t wall_start_ms = INT64_C(1790000000000);

/* ---- the world ---- */

struct sim *sim_new(uint64_t seed)
{
    struct sim *w = sim_zalloc(sizeof *w);
    w->random = seed * 2 + 1;
    w->now_ns = 1000000000;
    w->network = (struct sim_network){.refuse_rate = 5000};
    list_init(&w->processes);
    list_init(&w->dead);
    list_init(&w->events);
    list_init(&w->waiting);
#if defined(__SANITIZE_THREAD__)
    w->tsan_fiber = __tsan_get_current_fiber();
#endif
    return w;
}

void sim_reseed(struct sim *w, uint64_t seed)
{
    w->random = seed * 2 + 1;
}

void sim_set_network(struct sim *w, const struct sim_network *n)
{
    w->network = *n;
}

void sim_set_resolver(struct sim *w, const struct sim_resolver *r)
{
    w->resolver = *r;
}

void sim_set_disk_stall(struct sim *w, unsigned rate, int64_t ms_max)
{
    w->disk_stall_rate = rate;
    w->disk_stall_ms_max = ms_max;
}

void sim_set_gentle(struct sim *w)
{
    w->gentle = true;
}

void sim_set_verbose(struct sim *w, bool verbose)
{
    w->verbose = verbose;
}

int64_t sim_now_ms(const struct sim *w)
{
    return w->now_ns / 1000000;
}

uint64_t sim_draw(struct sim *w)
{
    return sim_random(&w->random);
}

uint64_t sim_draw_below(struct sim *w, uint64_t bound)
{
    return bound == 0 ? 0 : sim_draw(w) % bound;
}

uint64_t sim_step_count(const struct sim *w)
{
    return w->step_count;
}

uint64_t sim_fingerprint(const struct sim *w)
{
    return w->fingerprint;
}

void sim_mix(struct sim *w, uint64_t value)
{
    w->fingerprint = (w->fingerprint ^ value) * UINT64_C(0x100000001b3);
}

void sim_at(struct sim *w, int64_t delay_ns, struct sim_process *p, void (*fn)(void *arg), void *arg)
{
    struct sim_event *ev = sim_zalloc(sizeof *ev);
    *ev = (struct sim_event){.due_ns = w->now_ns + delay_ns, .process = p, .fn = fn, .arg = arg};
    list_add_tail(&w->events, &ev->link);
}

void sim_forget(struct sim *w, const void *arg)
{
    LIST_FOREACH_SAFE(&w->events, it, tmp) {
        struct sim_event *ev = CONTAINER_OF(it, struct sim_event, link);
        if (ev->arg == arg) {
            list_remove(&ev->link);
            mem_free(ev);
        }
    }
}

/* ---- stacks ---- */

static void stack_leave(struct sim *w)
{
    struct sim_stack *s = w->running;
    w->running = NULL;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(s->process->dead ? NULL : &s->asan_frames, w->asan_stack, w->asan_stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(w->tsan_fiber, 0);
#endif
    swapcontext(&s->context, &w->scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(s->asan_frames, &w->asan_stack, &w->asan_stack_size);
#endif
}

static void stack_enter(struct sim *w, struct sim_stack *s)
{
    FICUS_ASSERT(w->running == NULL);
    w->running = s;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&w->asan_frames, s->memory, SIM_STACK_SIZE);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(s->tsan_fiber, 0);
#endif
    swapcontext(&w->scheduler, &s->context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(w->asan_frames, NULL, NULL);
#endif
    FICUS_ASSERT(w->running == NULL);
}

void sim_check_alive(struct sim_process *p)
{
    if (!p->dead && !p->world->gentle && p->disk != NULL && sim_disk_dead(p->disk))
        sim_kill(p);
    if (p->dead && p->world->running != NULL && p->world->running->process == p)
        for (;;)
            stack_leave(p->world); /* nobody will come back; the loop only tells the compiler */
}

static void stack_main(unsigned high, unsigned low)
{
    struct sim_stack *s = (struct sim_stack *)(((uintptr_t)high << 32) | (uintptr_t)low);
    struct sim_process *p = s->process;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, &p->world->asan_stack, &p->world->asan_stack_size);
#endif
    for (;;) {
        if (s->is_loop) {
            s->fn(s->arg);
        } else {
            struct env_job *job = s->job;
            job->work(job->arg);
            s->job = NULL;
            p->workers_busy--;
            if (job->done != NULL)
                sim_at(p->world, 0, p, job->done, job->arg);
        }
        s->state = SIM_STACK_IDLE;
        stack_leave(p->world);
    }
}

static struct sim_stack *stack_new(struct sim_process *p, bool is_loop)
{
    struct sim_stack *s = sim_zalloc(sizeof *s);
    s->process = p;
    s->is_loop = is_loop;
    s->memory = mmap(NULL, SIM_STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FICUS_ASSERT(s->memory != MAP_FAILED);
    getcontext(&s->context);
    s->context.uc_stack.ss_sp = s->memory;
    s->context.uc_stack.ss_size = SIM_STACK_SIZE;
    s->context.uc_link = NULL;
    uintptr_t self = (uintptr_t)s;
    makecontext(&s->context, (void (*)(void))stack_main, 2, (unsigned)(self >> 32), (unsigned)self);
#if defined(__SANITIZE_THREAD__)
    s->tsan_fiber = __tsan_create_fiber(0);
#endif
    return s;
}

/* Nobody will run on it again; not called on itself. */
static void stack_return(struct sim_stack *s)
{
    if (s->memory == NULL)
        return;
    munmap(s->memory, SIM_STACK_SIZE);
    s->memory = NULL;
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(s->tsan_fiber);
#endif
}

static void wake_stack(void *arg)
{
    struct sim_stack *s = arg;
    FICUS_ASSERT(s->state == SIM_STACK_WAITING);
    s->state = SIM_STACK_READY;
}

void sim_sleep(struct sim *w, int64_t delay_ns)
{
    struct sim_stack *s = w->running;
    if (s == NULL)
        return;
    s->state = SIM_STACK_WAITING;
    sim_at(w, delay_ns, NULL, wake_stack, s);
    stack_leave(w);
    sim_check_alive(s->process);
}

void sim_yield(struct sim *w)
{
    struct sim_stack *s = w->running;
    if (s == NULL)
        return;
    s->state = SIM_STACK_READY;
    stack_leave(w);
    sim_check_alive(s->process);
}

/* ---- processes ---- */

static void boot(void *arg)
{
    struct sim_process *p = arg;
    p->boot(p->boot_arg, &p->env);
}

struct sim_process *sim_start(struct sim *w, const char *name, struct sim_disk *disk, size_t workers_count,
                              void (*boot_fn)(void *arg, struct env *e), void *arg)
{
    struct sim_process *p = sim_zalloc(sizeof *p);
    p->env = (struct env){.ops = &sim_ops, .scratch = p->scratch};
    p->world = w;
    snprintf(p->name, sizeof p->name, "%s", name);
    p->disk = disk;
    p->workers_count = workers_count;
    p->boot = boot_fn;
    p->boot_arg = arg;
    timers_init(&p->timers);
    list_init(&p->tasks);
    list_init(&p->jobs);
    list_init(&p->stacks);
    list_init(&p->streams);
    list_init(&p->listeners);
    p->loop = stack_new(p, true);
    list_add_tail(&w->processes, &p->link);
    if (boot_fn != NULL)
        sim_at(w, 0, p, boot, p);
    return p;
}

struct env *sim_env(struct sim_process *p)
{
    return &p->env;
}

bool sim_alive(const struct sim_process *p)
{
    return !p->dead && (p->disk == NULL || !sim_disk_dead(p->disk));
}

static void stack_abandon(struct sim_stack *s)
{
    sim_forget(s->process->world, s);
    if (s->process->world->running != s)
        stack_return(s);
}

void sim_kill(struct sim_process *p)
{
    if (p->dead)
        return;
    p->dead = true;
    struct sim *w = p->world;
    sim_mix(w, 0xdead);
    sim_net_process_died(p);    /* first: connections on their way to it go back to the queue */
    LIST_FOREACH_SAFE(&w->events, it, tmp) {
        struct sim_event *ev = CONTAINER_OF(it, struct sim_event, link);
        if (ev->process == p) {
            list_remove(&ev->link);
            mem_free(ev);
        }
    }
    stack_abandon(p->loop);
    LIST_FOREACH(&p->stacks, it)
        stack_abandon(CONTAINER_OF(it, struct sim_stack, link));
    list_remove(&p->link);
    list_add_tail(&w->dead, &p->link);
}

static void process_free(struct sim_process *p)
{
    while (!list_empty(&p->stacks)) {
        struct sim_stack *s = CONTAINER_OF(list_pop_head(&p->stacks), struct sim_stack, link);
        stack_return(s);
        mem_free(s);
    }
    stack_return(p->loop);
    mem_free(p->loop);
    timers_done(&p->timers);
    mem_free(p);
}

void sim_free(struct sim *w)
{
    w->running = NULL;
    LIST_FOREACH_SAFE(&w->processes, it, tmp)
        sim_kill(CONTAINER_OF(it, struct sim_process, link));
    while (!list_empty(&w->dead))
        process_free(CONTAINER_OF(list_pop_head(&w->dead), struct sim_process, link));
    sim_net_done(w);
    LIST_FOREACH_SAFE(&w->events, it, tmp)
        mem_free(CONTAINER_OF(it, struct sim_event, link));
    mem_free(w);
}

void sim_exit(struct sim_process *p)
{
    sim_kill(p);
    sim_check_alive(p);
}

void sim_describe(const struct sim_process *p)
{
    size_t waiting = 0, ready = 0;
    LIST_FOREACH(&p->stacks, it) {
        const struct sim_stack *s = CONTAINER_OF(it, struct sim_stack, link);
        waiting += s->state == SIM_STACK_WAITING;
        ready += s->state == SIM_STACK_READY;
    }
    fprintf(
        stderr, "  %s: %s, loop %s, %zu workers busy (%zu waiting, %zu ready), %zu jobs queued, next timer in %.3f s\n",
        p->name, sim_alive(p) ? "alive" : "dead", p->loop->state == SIM_STACK_IDLE ? "idle" : "busy", p->workers_busy,
        waiting, ready, p->job_count, (double)(timers_next_due_ns(&p->timers) - p->world->now_ns) / 1e9);
}

/* ---- scheduling ---- */

/* Reservoir sampling: keep one of all that could run. */
struct choice {
    uint64_t seen;
    struct sim_process *process; /* run its tasks (task set), timers (timers set) or job */
    struct sim_event *event;
    struct sim_stack *stack;
    enum { CHOICE_NONE, CHOICE_EVENT, CHOICE_STACK, CHOICE_TASK, CHOICE_TIMERS, CHOICE_JOB } kind;
};

static void offer(struct sim *w, struct choice *c, struct choice other)
{
    uint64_t seen = c->seen + 1;
    if (sim_draw_below(w, seen) == 0)
        *c = other;
    c->seen = seen;
}

static void offer_process(struct sim *w, struct choice *c, struct sim_process *p)
{
    bool loop_free = p->loop->state == SIM_STACK_IDLE;
    if (loop_free && !list_empty(&p->tasks))
        offer(w, c, (struct choice){.process = p, .kind = CHOICE_TASK});
    if (loop_free && timers_next_due_ns(&p->timers) <= w->now_ns)
        offer(w, c, (struct choice){.process = p, .kind = CHOICE_TIMERS});
    if (!list_empty(&p->jobs) && p->workers_busy < p->workers_count)
        offer(w, c, (struct choice){.process = p, .kind = CHOICE_JOB});
    if (p->loop->state == SIM_STACK_READY)
        offer(w, c, (struct choice){.stack = p->loop, .kind = CHOICE_STACK});
    LIST_FOREACH(&p->stacks, it) {
        struct sim_stack *s = CONTAINER_OF(it, struct sim_stack, link);
        if (s->state == SIM_STACK_READY)
            offer(w, c, (struct choice){.stack = s, .kind = CHOICE_STACK});
    }
}

static struct choice choose(struct sim *w)
{
    struct choice c = {.kind = CHOICE_NONE};
    LIST_FOREACH(&w->events, it) {
        struct sim_event *ev = CONTAINER_OF(it, struct sim_event, link);
        if (ev->due_ns <= w->now_ns && (ev->process == NULL || ev->process->loop->state == SIM_STACK_IDLE))
            offer(w, &c, (struct choice){.event = ev, .kind = CHOICE_EVENT});
    }
    LIST_FOREACH(&w->processes, it)
        offer_process(w, &c, CONTAINER_OF(it, struct sim_process, link));
    return c;
}

static void run_on_loop(struct sim_process *p, void (*fn)(void *arg), void *arg)
{
    if (p->world->gentle) {
        fn(arg);
        return;
    }
    p->loop->fn = fn;
    p->loop->arg = arg;
    p->loop->state = SIM_STACK_READY;
    stack_enter(p->world, p->loop);
}

static void fire_timers(void *arg)
{
    struct sim_process *p = arg;
    timers_fire(&p->timers, p->world->now_ns);
}

static void run_job(struct sim_process *p)
{
    struct sim_stack *free_stack = NULL;
    LIST_FOREACH(&p->stacks, it) {
        struct sim_stack *s = CONTAINER_OF(it, struct sim_stack, link);
        if (s->state == SIM_STACK_IDLE) {
            free_stack = s;
            break;
        }
    }
    if (free_stack == NULL) {
        free_stack = stack_new(p, false);
        list_add_tail(&p->stacks, &free_stack->link);
    }
    free_stack->job = CONTAINER_OF(list_pop_head(&p->jobs), struct env_job, link);
    free_stack->state = SIM_STACK_READY;
    p->job_count--;
    p->workers_busy++;
    stack_enter(p->world, free_stack);
}

static bool advance(struct sim *w)
{
    int64_t next = INT64_MAX;
    LIST_FOREACH(&w->events, it) {
        struct sim_event *ev = CONTAINER_OF(it, struct sim_event, link);
        if (ev->due_ns < next && ev->due_ns > w->now_ns)
            next = ev->due_ns;
    }
    LIST_FOREACH(&w->processes, it) {
        int64_t due = timers_next_due_ns(&CONTAINER_OF(it, struct sim_process, link)->timers);
        if (due < next && due > w->now_ns)
            next = due;
    }
    if (next == INT64_MAX)
        return false;
    w->now_ns = next;
    return true;
}

static void run_event(struct sim *w, struct sim_event *ev)
{
    struct sim_event copy = *ev;
    list_remove(&ev->link);
    mem_free(ev);
    if (copy.process == NULL)
        copy.fn(copy.arg);
    else
        run_on_loop(copy.process, copy.fn, copy.arg);
}

static void run_task(struct sim_process *p)
{
    struct env_task *t = CONTAINER_OF(list_pop_head(&p->tasks), struct env_task, link);
    t->queued = false;
    run_on_loop(p, t->fn, t->arg);
}

bool sim_step_now(struct sim *w)
{
    FICUS_ASSERT(w->running == NULL);
    struct choice c = choose(w);
    if (c.kind == CHOICE_NONE)
        return false;
    w->step_count++;
    sim_mix(w, (uint64_t)w->now_ns * 8 + c.kind);
    switch (c.kind) {
    case CHOICE_EVENT:
        run_event(w, c.event);
        break;
    case CHOICE_STACK:
        stack_enter(w, c.stack);
        break;
    case CHOICE_TASK:
        run_task(c.process);
        break;
    case CHOICE_TIMERS:
        run_on_loop(c.process, fire_timers, c.process);
        break;
    case CHOICE_JOB:
        run_job(c.process);
        break;
    case CHOICE_NONE:
        break;
    }
    return true;
}

bool sim_step(struct sim *w)
{
    return sim_step_now(w) || advance(w);
}

static void nothing(void *arg)
{
    (void)arg;
}

void sim_run_ms(struct sim *w, int64_t ms)
{
    int64_t until = w->now_ns + ms * 1000000;
    sim_at(w, ms * 1000000, NULL, nothing, w); /* so that time gets there */
    while (w->now_ns < until && sim_step(w))
        ;
}

/* ---- env: clock, random, timers, tasks, workers ---- */

static struct sim_process *process_of(struct env *e)
{
    return (struct sim_process *)e;
}

static int64_t op_now_ns(struct env *e)
{
    return process_of(e)->world->now_ns;
}

void sim_wall_jump(struct sim *w, int64_t ms)
{
    w->wall_shift_ms += ms;
}

static int64_t op_wall_ms(struct env *e)
{
    const struct sim *w = process_of(e)->world;
    return wall_start_ms + w->wall_shift_ms + w->now_ns / 1000000;
}

static void op_random(struct env *e, void *p, size_t size)
{
    for (size_t i = 0; i < size; i += 8) {
        uint64_t v = sim_draw(process_of(e)->world);
        memcpy((char *)p + i, &v, size - i < 8 ? size - i : 8);
    }
}

static void op_timer_start(struct env *e, struct env_timer *t, int64_t delay_ms)
{
    struct sim_process *p = process_of(e);
    int64_t now_ns = p->world->now_ns;
    bool added = delay_ms <= 0 ? timers_add_soon(&p->timers, t, now_ns) : timers_add(&p->timers, t, now_ns + delay_ms * 1000000);
    FICUS_ASSERT(added);
}

static void op_timer_stop(struct env *e, struct env_timer *t)
{
    timers_remove(&process_of(e)->timers, t);
}

static void op_post(struct env *e, struct env_task *t)
{
    if (t->queued)
        return;
    t->queued = true;
    list_add_tail(&process_of(e)->tasks, &t->link);
}

struct sim_lookup {
    struct sim *world;
    void (*done)(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail);
    void *arg;
    char host[ENV_HOST_SIZE];
};

static void looked_up(void *arg)
{
    struct sim_lookup *l = arg;
    struct env_hosts hosts = {0};
    enum ficus_err err = l->world->resolver.lookup(l->world->resolver.arg, l->host, &hosts);
    l->done(l->arg, err, &hosts, err == FICUS_ERR_OK ? "" : "no such name");
    mem_free(l);
}

static enum ficus_err op_lookup(struct env *e, const char *host, void (*done)(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail), void *arg)
{
    struct sim_process *p = process_of(e);
    if (p->world->resolver.lookup == NULL)
        return FICUS_ERR_UNSUPPORTED;
    struct sim_lookup *l = sim_zalloc(sizeof *l);
    *l = (struct sim_lookup){.world = p->world, .done = done, .arg = arg};
    snprintf(l->host, sizeof l->host, "%s", host);
    sim_at(p->world, p->world->resolver.ms * 1000000, p, looked_up, l);
    return FICUS_ERR_OK;
}

static void op_lookup_cancel(struct env *e, const void *arg)
{
    struct sim *w = process_of(e)->world;
    LIST_FOREACH_SAFE (&w->events, it, tmp) {
        struct sim_event *ev = CONTAINER_OF(it, struct sim_event, link);
        if (ev->fn != looked_up || ((struct sim_lookup *)ev->arg)->arg != arg)
            continue;
        list_remove(&ev->link);
        mem_free(ev->arg);
        mem_free(ev);
    }
}

static enum ficus_err op_run(struct env *e, struct env_job *job)
{
    struct sim_process *p = process_of(e);
    if (p->job_count >= 4096)
        return FICUS_ERR_BUSY;
    p->job_count++;
    list_add_tail(&p->jobs, &job->link);
    return FICUS_ERR_OK;
}

static void op_wait(struct env *e, struct env_waiter *waiter)
{
    struct sim_process *p = process_of(e);
    struct sim_stack *s = p->world->running;
    FICUS_ASSERT(s != NULL && s->process == p && !s->is_loop);
    while (!waiter->woken) {
        waiter->worker = s;
        s->waiter = waiter;
        s->state = SIM_STACK_WAITING;
        stack_leave(p->world);
        sim_check_alive(p);
    }
    s->waiter = NULL;
    waiter->woken = false;
    waiter->worker = NULL;
}

static void op_wake(struct env *e, struct env_waiter *waiter)
{
    (void)e;
    waiter->woken = true;
    struct sim_stack *s = waiter->worker;
    if (s != NULL && s->waiter == waiter && s->state == SIM_STACK_WAITING)
        s->state = SIM_STACK_READY;
}

static void op_log_write(struct env *e, const void *p, size_t size, bool at_once)
{
    (void)at_once;
    struct sim_process *process = process_of(e);
    if (process->world->verbose)
        fprintf(stderr, "%8.3f %-13s %.*s", (double)process->world->now_ns / 1e9, process->name, (int)size,
                (const char *)p);
}

const struct env_ops sim_ops = {
    .now_ns = op_now_ns,
    .wall_ms = op_wall_ms,
    .random = op_random,
    .timer_start = op_timer_start,
    .timer_stop = op_timer_stop,
    .post = op_post,
    .listen = sim_net_listen,
    .listener_pause = sim_net_listener_pause,
    .listener_close = sim_net_listener_close,
    .connect = sim_net_connect,
    .tls_info = sim_net_tls,
    .peer = sim_net_peer,
    .read = sim_net_read,
    .write = sim_net_write,
    .shutdown_write = sim_net_shutdown_write,
    .close = sim_net_close,
    .file_open = sim_env_file_open,
    .file_close = sim_env_file_close,
    .file_read = sim_env_file_read,
    .file_write = sim_env_file_write,
    .file_truncate = sim_env_file_truncate,
    .file_sync = sim_env_file_sync,
    .file_size = sim_env_file_size,
    .file_lock = sim_env_file_lock,
    .file_unlink = sim_env_file_unlink,
    .file_rename = sim_env_file_rename,
    .file_exists = sim_env_file_exists,
    .file_in_place = sim_env_file_in_place,
    .dir_sync = sim_env_dir_sync,
    .lookup = op_lookup,
    .lookup_cancel = op_lookup_cancel,
    .run = op_run,
    .wait = op_wait,
    .wake = op_wake,
    .log_write = op_log_write,
};
