/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the event log share: elog.c (open, append, janitor, close) and elog_read.c (readers, list of
 * topics).
 */
#ifndef FICUS_EVENTS_ELOG_PRIVATE_H
#define FICUS_EVENTS_ELOG_PRIVATE_H

#include "arena.h"
#include "buf.h"
#include "db.h"
#include "elog.h"

enum { ELOG_RETRY_MS = 20 };    /* when the pool of workers has no room */

struct append_row {
    struct slice topic, source, id, subject, body;
    size_t data_at;
};

struct append {
    struct list link;
    struct arena arena;
    struct append_row *rows;
    size_t count;
    int64_t last_offset;
    void (*done)(void *arg, enum ficus_err err, int64_t last_offset, const char *detail);
    void *arg;
};

struct elog {
    struct env *env;
    struct db *db;
    struct elog_options o;
    int64_t last_offset;
    struct list readers;
    struct buf scratch;
    size_t jobs;                        /* that run */
    /* append */
    struct list waiting, writing;       /* the latter belongs to the job while it runs */
    size_t queue_size;
    bool append_runs;
    struct env_job append_job;
    struct env_timer append_retry;
    int64_t write_last_offset;          /* the job's, as it begins and as it ends */
    struct ficus_error write_error;
    /* janitor */
    bool janitor_runs;
    struct env_job janitor_job;
    struct env_timer janitor_timer;
    size_t size_since;                  /* appended since it ran */
    /* close */
    bool closing, close_begun;
    struct env_timer close_timer;
    struct env_job close_job;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Run a job that the closing waits for; its done() ends with elog_job_ended, which may begin the closing. */
enum ficus_err elog_job_run(struct elog *l, struct env_job *job);
void elog_job_ended(struct elog *l);
/* A list of struct append is committed: start the readers that wait for one of its topics. */
void elog_readers_tell(struct elog *l, const struct list *written);

#endif
