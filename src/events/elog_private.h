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

enum { ELOG_KEY_PATH_SIZE = 160 };

/* A kept topic, ready for SQL. */
struct elog_keeper {
    struct slice topic;
    bool by_subject;
    char list[ELOG_KEY_PATH_SIZE];   /* "$.data.items"; "": one key an event */
    char member[ELOG_KEY_PATH_SIZE]; /* "$.sku" in an element, or "$.data.sku" */
};

struct append_row {
    struct slice topic, source, id, subject, body;
    size_t data_at;
    const struct elog_keeper *keeper;   /* NULL: the topic is not kept */
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
    struct arena keeper_arena;
    struct elog_keeper *keepers;
    size_t keeper_count;
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
    int64_t janitor_after;              /* the job's: it has looked up to this offset */
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
/* ---- elog_keep.c ---- */
/* Takes the options' kept topics; blocks while it looks through what a newly kept one has. */
enum ficus_err elog_keep_open(struct elog *l, const struct elog_options *o, struct ficus_error *reterr);
const struct elog_keeper *elog_keeper_of(const struct elog *l, struct slice topic);     /* NULL: not kept */
/* [worker, in the transaction] The event at this offset is the newest of its keys. */
enum ficus_err elog_keep(struct db_conn *c, const struct append_row *r, int64_t offset, struct ficus_error *reterr);
/* [worker, in a transaction] Of the rows behind l->janitor_after, at most ROWS: those older than this go, unless they are
 * kept. *ret_more: there may be more of them. Returns how many went, < 0: -(enum ficus_err). */
int64_t elog_sweep(struct elog *l, struct db_conn *c, int64_t oldest_ms, bool *ret_more);

/* A list of struct append is committed: start the readers that wait for one of its topics. */
void elog_readers_tell(struct elog *l, const struct list *written);

#endif
