/* SPDX-License-Identifier: Apache-2.0
 *
 * The bounded pool of worker threads behind env_run, env_wait and env_wake. Private to src/io.
 */
#ifndef FICUS_IO_WORKERS_H
#define FICUS_IO_WORKERS_H

#include "env.h"

struct workers;

/* finished(ctx, job) is called on the worker after a job's work, when the job has a done function. NULL: out of
 * memory. */
struct workers *workers_new(uint32_t workers_max, uint32_t jobs_max, size_t stack_size,
                            void (*finished)(void *ctx, struct env_job *job), void *ctx);
void workers_free(struct workers *p); /* drops queued jobs, joins the workers; NULL is fine */
/* [any] BUSY when the queue is full, NOMEM when no thread can start */
enum ficus_err workers_run(struct workers *p, struct env_job *job);
void workers_wait(struct workers *p, struct env_waiter *w);
void workers_wake(struct workers *p, struct env_waiter *w);

#endif
