/* SPDX-License-Identifier: Apache-2.0
 *
 * sim_shop: the shop under seeds.
 *   sim_shop [--seed N] [--count N] [--orders N] [--jobs N] [--cruel] [--twice] [-v]
 * Each seed runs in a process of its own: customers order (as often as the seed says, at most --orders times) and cancel, hosts crash, networks stall;
 * then all heals, everything must become quiet within three virtual minutes and every statement must hold; those that hold at any time are checked after
 * every step that committed something. A seed that fails prints why and how to repeat it. Ends with "N passed, N failed".
 *
 * Until the products are there nothing is cruel yet, and all seeds do the same: SEEDS_PER_SET_UP of them, side by side in number, go on from one such
 * beginning, each in a copy of its process (fork). Which one it is depends on the seed's number alone, so that a seed repeats by itself.
 * --twice: the oracle reads every store twice (shop_facts.c).
 */
#include "shop_sim.h"

#include "mem.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEDS_PER_SET_UP = 16, SET_UP_MS = 60000, RUN_MS = 17000, HEAL_MS = 180000, QUIET_EVERY_MS = 1500, STEPS_MAX = 6000000 };
/* How a process that runs seeds ends: with the number of those that failed behind this. */
enum { SEEDS_RAN = 64 };

struct options {
    uint64_t seed, count;
    int orders, jobs;
    bool verbose, cruel, twice;
    const char *source;
};

/* False: nothing will ever happen again. */
static bool step(struct shop *s)
{
    shop_turn(s);
    bool more = sim_step(s->sim);
    shop_check(s, false);
    return more;
}

static void run_for(struct shop *s, int64_t ms)
{
    int64_t until = sim_now_ms(s->sim) + ms;
    while (sim_now_ms(s->sim) < until) {
        if (!step(s))
            sim_run_ms(s->sim, 10);
        if (sim_step_count(s->sim) > STEPS_MAX)
            shop_fail(s, "more than %d steps: something spins", STEPS_MAX);
    }
}

/* Everything is up, and the products are there. */
static struct shop *set_up(const struct options *o, uint64_t number)
{
    struct shop *s = shop_new(number, o->source, o->twice);
    sim_set_verbose(s->sim, o->verbose);
    for (int i = 0; i < s->host_count; i++)
        shop_host_start(&s->hosts[i]);
    shop_client_start(s);
    int64_t begun_at = sim_now_ms(s->sim);
    while (s->setup_left > 0) {
        if (!step(s) || sim_now_ms(s->sim) - begun_at > SET_UP_MS)
            shop_fail(s, "the shop is not ready after %d s", SET_UP_MS / 1000);
    }
    return s;
}

static void run_seed(struct shop *s, const struct options *o, uint64_t seed)
{
    uint64_t state = seed;
    shop_begin(s, seed, 1 + (int)(sim_random(&state) % (uint64_t)o->orders), o->cruel);
    run_for(s, RUN_MS);
    shop_heal(s);
    int64_t healed_at = sim_now_ms(s->sim);
    do {
        run_for(s, QUIET_EVERY_MS);
        if (sim_now_ms(s->sim) - healed_at > HEAL_MS)
            shop_fail(s, "not quiet %d s after all was healed: %s, %s", HEAL_MS / 1000, shop_client_done(s) ? "customers are answered" : "customers wait",
                      shop_is_quiet(s) ? "the shop is quiet" : s->busy_with);
    } while (!shop_client_done(s) || !shop_is_quiet(s));
    shop_check(s, true);
    unsigned crashes = 0;
    for (int i = 0; i < s->host_count; i++)
        crashes += s->hosts[i].crash_count;
    printf("seed %llu: %u crashes, %llu steps, quiet %.1f s after healing, fingerprint %016llx\n", (unsigned long long)seed, crashes,
           (unsigned long long)sim_step_count(s->sim), (double)(sim_now_ms(s->sim) - healed_at) / 1e3, (unsigned long long)sim_fingerprint(s->sim));
    fflush(stdout);
    _Exit(0);
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 10);
}

static struct options parse(int argc, char **argv)
{
    struct options o = {.seed = 1, .count = 1, .orders = 6, .jobs = 2, .source = FICUS_SOURCE_ROOT};
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "-v") == 0)
            o.verbose = true;
        else if (strcmp(argv[i], "--cruel") == 0)
            o.cruel = true;
        else if (strcmp(argv[i], "--twice") == 0)
            o.twice = true;
        else if (strcmp(argv[i], "--seed") == 0 && ++i < argc)
            o.seed = number(next);
        else if (strcmp(argv[i], "--count") == 0 && ++i < argc)
            o.count = number(next);
        else if (strcmp(argv[i], "--orders") == 0 && ++i < argc)
            o.orders = (int)number(next);
        else if (strcmp(argv[i], "--jobs") == 0 && ++i < argc)
            o.jobs = (int)number(next);
        else {
            fprintf(stderr, "usage: sim_shop [--seed N] [--count N] [--orders 1..%d] [--jobs N] [--cruel] [--twice] [-v]\n", SHOP_ORDERS_MAX);
            exit(2);
        }
    }
    return o;
}

/* ---- processes ---- */

static bool ended_well(pid_t pid, int *ret_status)
{
    return waitpid(pid, ret_status, 0) == pid && WIFEXITED(*ret_status) && WEXITSTATUS(*ret_status) == 0;
}

static _Noreturn void run_seeds(const struct options *o, uint64_t first, uint64_t end)
{
    int failed = 0, status;
    if (!o->verbose && o->count > 1)
        (void)!freopen("/dev/null", "w", stdout);
    struct shop *s = set_up(o, first / SEEDS_PER_SET_UP);
    for (uint64_t seed = first; seed < end; seed++) {
        pid_t pid = fork();
        if (pid == 0)
            run_seed(s, o, seed);
        if (ended_well(pid, &status))
            continue;
        failed++;
        fprintf(stderr, "seed %llu failed (%s %d); repeat with: sim_shop --seed %llu --orders %d%s -v\n", (unsigned long long)seed,
                WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                (unsigned long long)seed, o->orders, o->cruel ? " --cruel" : "");
    }
    _Exit(SEEDS_RAN + failed);
}

struct job {
    pid_t pid;                  /* 0: none */
    uint64_t first, end;        /* its seeds */
};

static void job_start(struct job *j, const struct options *o, uint64_t first)
{
    uint64_t next_set_up = (first / SEEDS_PER_SET_UP + 1) * SEEDS_PER_SET_UP, last = o->seed + o->count;
    *j = (struct job){.first = first, .end = next_set_up < last ? next_set_up : last};
    j->pid = fork();
    if (j->pid == 0)
        run_seeds(o, j->first, j->end);
}

/* How many of the seeds of the process that ended failed: all, when it could not even begin. */
static uint64_t job_end(struct job *j, int status)
{
    bool ran = WIFEXITED(status) && WEXITSTATUS(status) >= SEEDS_RAN;
    j->pid = 0;
    if (!ran)
        fprintf(stderr, "seeds %llu to %llu failed before they began\n", (unsigned long long)j->first, (unsigned long long)j->end - 1);
    return ran ? (uint64_t)(WEXITSTATUS(status) - SEEDS_RAN) : j->end - j->first;
}

int main(int argc, char **argv)
{
    /* Disks come and go all the time: keep their memory instead of asking the kernel for fresh pages. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    (void)mallopt(M_TOP_PAD, 16 << 20);
    struct options o = parse(argc, argv);
    struct job jobs[64] = {0};
    uint64_t failed = 0, next = o.seed;
    int running = 0;
    while (next < o.seed + o.count || running > 0) {
        for (int i = 0; i < o.jobs && i < (int)ARRAY_COUNT(jobs) && next < o.seed + o.count; i++) {
            if (jobs[i].pid != 0)
                continue;
            job_start(&jobs[i], &o, next);
            next = jobs[i].end;
            running++;
        }
        int status;
        pid_t pid = wait(&status);
        for (size_t i = 0; i < ARRAY_COUNT(jobs); i++)
            if (jobs[i].pid == pid) {
                failed += job_end(&jobs[i], status);
                running--;
            }
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)(o.count - failed), (unsigned long long)failed);
    return failed == 0 ? 0 : 1;
}
