/* SPDX-License-Identifier: Apache-2.0
 *
 * A world in virtual time on one thread: processes (each a struct env of its own), a network and disks, all under one
 * seed. Loop callbacks and workers of a process are ucontext stacks; whatever blocks gives the thread to another.
 * Nothing takes time but what the world makes slow, and what may run next is drawn from the seed, so that a seed
 * replays a run exactly.
 *
 * The network delays, splits, stalls and cuts connections; a connection to a process that is down is refused or waits
 * in the queue of the inherited listener. A process may be killed at any step, or by its disk dying at a chosen
 * operation: its stacks are abandoned where they stand.
 */
#ifndef FICUS_SIM_H
#define FICUS_SIM_H

#include "disk.h"
#include "env.h"

struct sim;
struct sim_process;

/* How unkind the network is; per ten thousand. */
struct sim_network {
    unsigned stall_rate; /* a chunk is late by up to stall_ms_max, and all behind it on its connection */
    int64_t stall_ms_max;
    unsigned cut_rate;    /* a chunk is lost and its connection reset at both ends */
    unsigned refuse_rate; /* a connect to a process that is down is refused (else it waits for the next listener) */
};

/* What names lead to; each answer takes ms. */
struct sim_resolver {
    enum ficus_err (*lookup)(void *arg, const char *host, struct env_hosts *ret_hosts);
    void *arg;
    int64_t ms;
};

/* Memory of the world itself and of tests, zeroed: not malloc's way, so that a sweep of failing allocations never meets it. Give it
 * back with free. */
void *sim_zalloc(size_t size);

struct sim *sim_new(uint64_t seed);
void sim_reseed(struct sim *w, uint64_t seed);  /* draw from this seed from here on */
/* With its processes. What their code had allocated when they were killed is lost: where that matters, run each world
 * in a process of its own, or use a gentle one. */
void sim_free(struct sim *w);
void sim_set_network(struct sim *w, const struct sim_network *n);
void sim_set_resolver(struct sim *w, const struct sim_resolver *r); /* without one no name is known */
/* A sync hangs for up to ms_max, per ten thousand; everything else of the process goes on. Rate 0: never. */
void sim_set_disk_stall(struct sim *w, unsigned rate, int64_t ms_max);
void sim_set_verbose(struct sim *w, bool verbose); /* print the processes' logs */
/* For tests of one part that they close themselves. Loop callbacks run on the test's own stack, so that assertions work
 * there; operations on files take no time, but let other workers go on; and when a disk dies they only fail with IO, so
 * that all can be closed and nothing leaks. Before the first sim_start. */
void sim_set_gentle(struct sim *w);
int64_t sim_now_ms(const struct sim *w);
uint64_t sim_draw(struct sim *w); /* random numbers for the test's own decisions */
uint64_t sim_draw_below(struct sim *w, uint64_t bound);
uint64_t sim_step_count(const struct sim *w);
uint64_t sim_fingerprint(const struct sim *w); /* of everything that ran so far: equal for equal seeds */

/* Start a process on a disk; boot runs as its first loop callback and may block. uid etc. of peers are one's own. */
struct sim_process *sim_start(struct sim *w, const char *name, struct sim_disk *disk, size_t workers_count,
                              void (*boot)(void *arg, struct env *e), void *arg);
struct env *sim_env(struct sim_process *p);
/* kill -9: connections break, stacks stay where they are; harmless on a dead one */
void sim_kill(struct sim_process *p);
bool sim_alive(const struct sim_process *p);    /* false also after its disk died under it */
void sim_describe(const struct sim_process *p); /* to stderr: what it is doing */
/* From inside the process: it ended by itself (as exit would). Does not return when called on a stack of it. */
void sim_exit(struct sim_process *p);

/* Run the next thing; advances time when nothing is ready. False: nothing will ever happen again. */
bool sim_step(struct sim *w);
/* The same with the clock standing still. False: nothing is left to do now. */
bool sim_step_now(struct sim *w);
/* Step until the time has come. */
void sim_run_ms(struct sim *w, int64_t ms);
/* Somebody sets the clock on the wall, for all processes: forth, or back. Timers do not notice. */
void sim_wall_jump(struct sim *w, int64_t ms);

#endif
