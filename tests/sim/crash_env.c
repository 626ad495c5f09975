/* SPDX-License-Identifier: Apache-2.0 */
#include "crash_env.h"

#include "assert.h"
#include "mem.h"
#include "sim_private.h"

#include <stdio.h>

enum { WORKERS = 8 };

struct crash_env {
    struct sim *sim;
    struct sim_process *process;
};

struct crash_env *crash_env_new(struct sim_disk *disk, uint64_t seed)
{
    struct crash_env *ce = mem_zalloc(sizeof *ce);
    FICUS_ASSERT(ce != NULL);
    ce->sim = sim_new(seed);
    sim_set_gentle(ce->sim);
    ce->process = sim_start(ce->sim, "test", disk, WORKERS, NULL, NULL);
    return ce;
}

void crash_env_free(struct crash_env *ce)
{
    if (ce == NULL)
        return;
    FICUS_ASSERT(list_empty(&ce->process->jobs) && ce->process->workers_busy == 0);
    sim_free(ce->sim);
    mem_free(ce);
}

struct env *crash_env(struct crash_env *ce)
{
    return sim_env(ce->process);
}

struct sim *crash_env_world(struct crash_env *ce)
{
    return ce->sim;
}

void crash_env_run(struct crash_env *ce)
{
    while (sim_step_now(ce->sim))
        ;
}

void crash_env_run_ms(struct crash_env *ce, int64_t ms)
{
    sim_run_ms(ce->sim, ms);
    crash_env_run(ce);
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
    enum ficus_err err = env_run(crash_env(ce), &c.job);
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

/* A sanitizer sees nothing new in the neighbour of a crash, and takes several times as long. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 3 };
#else
enum { STRIDE = 1 };
#endif

void crash_sweep(const struct crash_case *cc, const char *name)
{
    uint64_t n = 0, crashes = 0;
    for (bool through = false; !through;) {
        n += STRIDE;
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
