/* SPDX-License-Identifier: Apache-2.0
 *
 * sim_shop: the shop under seeds.
 *   sim_shop [--seed N] [--count N] [--orders N] [--jobs N] [--cruel] [-v]
 * Each seed runs in a process of its own: customers order (as often as the seed says, at most --orders times) and cancel, hosts crash, networks stall;
 * then all heals, everything must become quiet within three virtual minutes and every statement must hold; those that hold at any time are checked after
 * every step that committed something. A seed that fails prints why and how to repeat it. Ends with "N passed, N failed".
 */
#include "shop_sim.h"

#include "mem.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUN_MS = 18000, HEAL_MS = 180000, QUIET_EVERY_MS = 1500, STEPS_MAX = 6000000 };

struct options {
    uint64_t seed, count;
    int orders, jobs;
    bool verbose, cruel;
    const char *source;
};

static void run_for(struct shop *s, int64_t ms)
{
    int64_t until = sim_now_ms(s->sim) + ms;
    while (sim_now_ms(s->sim) < until) {
        shop_turn(s);
        if (!sim_step(s->sim))
            sim_run_ms(s->sim, 10);
        shop_check(s, false);
        if (sim_step_count(s->sim) > STEPS_MAX)
            shop_fail(s, "more than %d steps: something spins", STEPS_MAX);
    }
}

static void run_seed(const struct options *o, uint64_t seed)
{
    uint64_t state = seed;
    int orders = 1 + (int)(sim_random(&state) % (uint64_t)o->orders);
    struct shop *s = shop_new(seed, o->source, orders, o->cruel);
    sim_set_verbose(s->sim, o->verbose);
    for (int i = 0; i < s->host_count; i++)
        shop_host_start(&s->hosts[i]);
    shop_client_start(s);
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
        else if (strcmp(argv[i], "--seed") == 0 && ++i < argc)
            o.seed = number(next);
        else if (strcmp(argv[i], "--count") == 0 && ++i < argc)
            o.count = number(next);
        else if (strcmp(argv[i], "--orders") == 0 && ++i < argc)
            o.orders = (int)number(next);
        else if (strcmp(argv[i], "--jobs") == 0 && ++i < argc)
            o.jobs = (int)number(next);
        else {
            fprintf(stderr, "usage: sim_shop [--seed N] [--count N] [--orders 1..%d] [--jobs N] [--cruel] [-v]\n", SHOP_ORDERS_MAX);
            exit(2);
        }
    }
    return o;
}

int main(int argc, char **argv)
{
    /* Disks come and go all the time: keep their memory instead of asking the kernel for fresh pages. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    (void)mallopt(M_TOP_PAD, 16 << 20);
    struct options o = parse(argc, argv);
    uint64_t passed = 0, failed = 0, begun = 0, running = 0;
    struct { pid_t pid; uint64_t seed; } jobs[64] = {0};
    while (begun < o.count || running > 0) {
        while (begun < o.count && running < (uint64_t)o.jobs && running < ARRAY_COUNT(jobs)) {
            uint64_t seed = o.seed + begun++;
            pid_t pid = fork();
            if (pid == 0) {
                if (!o.verbose && o.count > 1)
                    (void)!freopen("/dev/null", "w", stdout);
                run_seed(&o, seed);
            }
            for (size_t i = 0; i < ARRAY_COUNT(jobs); i++)
                if (jobs[i].pid == 0) {
                    jobs[i].pid = pid;
                    jobs[i].seed = seed;
                    break;
                }
            running++;
        }
        int status;
        pid_t pid = wait(&status);
        for (size_t i = 0; i < ARRAY_COUNT(jobs); i++) {
            if (jobs[i].pid != pid)
                continue;
            jobs[i].pid = 0;
            running--;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                passed++;
            } else {
                failed++;
                fprintf(stderr, "seed %llu failed (%s %d); repeat with: sim_shop --seed %llu --orders %d%s -v\n", (unsigned long long)jobs[i].seed,
                        WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                        (unsigned long long)jobs[i].seed, o.orders, o.cruel ? " --cruel" : "");
            }
        }
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed == 0 ? 0 : 1;
}
