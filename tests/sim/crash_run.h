/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests share that let a machine die at every operation on its disk: each run is a process of its own, which
 * tells by its exit code how it ended. Header only; included behind cmocka.h.
 */
#ifndef FICUS_SIM_CRASH_RUN_H
#define FICUS_SIM_CRASH_RUN_H

#include "hub.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum outcome { OUTCOME_BROKEN = 1, OUTCOME_HIT, OUTCOME_MISSED }; /* missed: it ended before the operation came */

static const char key_text[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

static inline _Noreturn void broken(const char *what, const char *detail)
{
    printf("broken: %s %s\n", what, detail == NULL ? "" : detail);
    (void)fflush(stdout);
    _Exit(OUTCOME_BROKEN);
}

static inline void must(enum ficus_err err, const char *what)
{
    if (err != FICUS_ERR_OK)
        broken(what, err_text(err));
}

static inline void put_file(struct sim_disk *d, const char *path, const char *text)
{
    struct sim_file *f = NULL;
    must(sim_disk_open(d, path, ENV_OPEN_CREATE, &f), path);
    must(sim_file_write(f, text, strlen(text), 0), path);
    must(sim_file_sync(f), path);
    sim_file_close(f);
    must(sim_disk_dir_sync(d, path), path);
}

/* A disk with the system's key and one migration. */
static inline struct sim_disk *disk_new(const char *migration_path, const char *migration)
{
    struct sim_disk *d = sim_disk_new();
    if (d == NULL)
        broken("out of memory", NULL);
    put_file(d, "/sim/system.key", key_text);
    put_file(d, migration_path, migration);
    return d;
}

/* service_hooks.ready, host_hooks.ready */
static inline void on_ready(void *arg, enum ficus_err err, const char *detail)
{
    (void)arg;
    if (err != FICUS_ERR_OK)
        broken("the service does not start:", detail);
}

static inline void hub_starts(struct env *e, const struct hub_config *config)
{
    struct hub *hub = NULL;
    struct ficus_error error = {0};
    if (hub_start(e, config, &hub, &error) != FICUS_ERR_OK)
        broken("the hub does not start:", error.text);
}

/* One life, a fault at the operation, and what must be true after it. */
typedef enum outcome crash_run_fn(uint64_t operation, enum sim_crash mode);

static inline enum outcome run_apart(crash_run_fn *run, const char *fault, uint64_t operation, enum sim_crash mode)
{
    int status = 0;
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        enum outcome o = run(operation, mode);
        _Exit((int)o);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) < OUTCOME_HIT)
        fail_msg("%s after operation %llu, mode %d", fault, (unsigned long long)operation, (int)mode);
    return (enum outcome)WEXITSTATUS(status);
}

/* A death after every so manieth operation, in each way, until a run ends before the operation comes: behind at least places_min, and
 * before places_max. */
static inline void die_everywhere(crash_run_fn *run, uint64_t stride, uint64_t places_min, uint64_t places_max)
{
    uint64_t n = 0;
    enum outcome o;
    do {
        n += stride;
        o = run_apart(run, "the machine died", n, SIM_CRASH_KEEP);
        if (o == OUTCOME_HIT) {
            (void)run_apart(run, "the machine died", n, SIM_CRASH_FORGET);
            (void)run_apart(run, "the machine died", n, SIM_CRASH_TEAR);
        }
    } while (o == OUTCOME_HIT && n < places_max);
    printf("%llu places to die at\n", (unsigned long long)(n - stride));
    assert_in_range(n, places_min, places_max - 1);
}

#endif
