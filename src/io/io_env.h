/* SPDX-License-Identifier: Apache-2.0
 *
 * The product's struct env: the table of effects of base/env.h on libuv, pthreads and the Linux file calls. One env is
 * one loop; a process normally has one. Further ones are made beside the first, each by the thread that runs it.
 *
 * Beyond base/env.h: SIGPIPE is ignored from env_uv_new on (a child must reset it before exec). An idle env arms no
 * timer and causes no wake-up. Worker threads start when they are first needed and block signals as env_uv_thread says.
 */
#ifndef FICUS_IO_ENV_H
#define FICUS_IO_ENV_H

#include "env.h"

#include <pthread.h>

struct env_uv_options {
    uint32_t workers_count; /* most worker threads, 1..64; 0: 4 */
    uint32_t jobs_max;      /* jobs queued and not begun, 1..65536; 0: 256 */
    size_t stack_size;      /* of a worker, bytes, 64 KiB..64 MiB; 0: 256 KiB */
    /* the process's first env, which outlives this one and does not run now: they have one
     * log and one count of streams. NULL: this is the first */
    struct env *beside;
};

/* A new env, or NULL with *reterr set (INVALID, NOMEM, or the code of a failed system call). The calling thread
 * becomes the loop thread. options may be NULL. When the variable FICUS_LOG names the file behind fd 2,
 * env_log_write bounds that file: over 32 MiB it is renamed to NAME.old and a new one takes its place behind fd 2
 * (and 1). Lines of the loop thread that need not go at once are written together at the end of its turn, in their
 * order: a process that is killed by SIGKILL takes those of its last turn with it, one that dies of itself (abort, a
 * failed assertion, SIGSEGV and its like) does not. */
struct env *env_uv_new(const struct env_uv_options *options, struct ficus_error *reterr);

/* [loop] Serve events until env_uv_stop. May be called again. */
void env_uv_run(struct env *e);

/* [any] Make env_uv_run return soon; when it is not running, the next one returns at once. Not for signal handlers. */
void env_uv_stop(struct env *e);

/* [loop, not running] Joins the workers (a job that runs is finished, queued jobs, tasks and timers are dropped
 * without their callbacks), closes the streams and listeners that are still open, frees all. A worker that waits
 * must have been woken. NULL is fine. */
void env_uv_free(struct env *e);

/* [loop] Call fn on the loop for each signal signum from now on; one fn per signal, a second call replaces it. fn
 * NULL: the signal's default action comes back. At most 16 different signals. */
enum ficus_err env_uv_signal(struct env *e, int signum, void (*fn)(void *arg, int signum), void *arg,
                             struct ficus_error *reterr);

/* [any] pthread_create, for all threads but the process's first, whose the signals are: the new one blocks all but those that
 * its own faults raise. Blocked, such a fault would end the process without the last lines of its log. Returns an errno value. */
int env_uv_thread(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *arg), void *arg);

/* [any] What the process has in use; costs a few system calls. */
struct env_uv_usage {
    size_t memory_size;  /* resident, bytes; 0: the system does not say */
    size_t stream_count; /* of this env and those beside it; each has a descriptor */
};
void env_uv_usage(struct env *e, struct env_uv_usage *ret_usage);

/* [loop] In a few seconds give memory that is free back to the system; asked again before that it is done once. It is done
 * after a stream was closed without being asked. */
void env_uv_trim_later(struct env *e);

/* [loop] Call fn on the loop whenever fd has something to read (or an error, or its end), until env_uv_unwatch. fd
 * stays the caller's and must stay open until then; it is made non-blocking. */
struct env_uv_watch;
enum ficus_err env_uv_watch(struct env *e, int fd, void (*fn)(void *arg), void *arg, struct env_uv_watch **ret_watch,
                            struct ficus_error *reterr);
/* [loop] fn comes no more; the descriptor may be closed at return. NULL is fine. Must precede env_uv_free. */
void env_uv_unwatch(struct env_uv_watch *w);

#endif
