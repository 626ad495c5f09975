/* SPDX-License-Identifier: Apache-2.0
 *
 * One process in a gentle world (sim.h) for tests of one part: the test is its loop. And the sweep that crashes a
 * durable writer after each of its operations.
 *
 * How to test that a durable writer keeps its word (all three writers here do the same; see crash_sweep below):
 *   1. a workload opens its store in an env on a disk that dies after operation n, and writes down what was
 *      acknowledged;
 *   2. it ends (everything fails once the disk is dead, nothing hangs) and closes;
 *   3. the disk crashes: it keeps, forgets or tears what was not synced; a new env opens the store again and a check
 *      compares.
 * For every n until the workload gets through (for every third under AddressSanitizer).
 */
#ifndef FICUS_SIM_CRASH_ENV_H
#define FICUS_SIM_CRASH_ENV_H

#include "sim.h"

struct crash_env;

/* disk is borrowed. Workers: 8. */
struct crash_env *crash_env_new(struct sim_disk *disk, uint64_t seed);
/* Nothing may be running or waiting in a worker. NULL is fine. */
void crash_env_free(struct crash_env *ce);
struct env *crash_env(struct crash_env *ce);
struct sim *crash_env_world(struct crash_env *ce);

/* Run until nothing is left to do now; the clock stands still. */
void crash_env_run(struct crash_env *ce);
/* The same, with the clock going on from timer to timer, for ms of virtual time. */
void crash_env_run_ms(struct crash_env *ce, int64_t ms);
/* Run fn(arg) in a worker and return when it is through (others may run meanwhile). */
void crash_env_call(struct crash_env *ce, void (*fn)(void *arg), void *arg);

/* ---- the sweep ---- */
struct crash_case {
    /* Make the state of one run: what was tried, what was acknowledged. */
    void *(*state_new)(uint64_t seed);
    void (*state_free)(void *state);
    /* Open the store, work, close. The disk may die at any moment, also while opening. [loop thread of ce] */
    void (*work)(struct crash_env *ce, void *state);
    /* Open the store again and compare with the state: fail by a cmocka assertion. Must end with the store closed. When
     * the disk dies again in here (a crash in recovery), return false without comparing. */
    bool (*check)(struct crash_env *ce, void *state);
};
/* For n = 1, 2, ... (3, 6, ... under AddressSanitizer) until the work gets through: crash after operation n, in each way of crashing (tearing with several
 * seeds; sometimes a second crash in the recovery), and check. Prints how many crashes were checked. */
void crash_sweep(const struct crash_case *cc, const char *name);

#endif
