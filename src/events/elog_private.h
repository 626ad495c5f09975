/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the event log share: elog.c (open, append, janitor, close), elog_read.c (readers, list of topics),
 * elog_keep.c (what stays and what goes), elog_recent.c (what was published last), elog_store.c (writing records),
 * elog_convert.c (logs of the first format), elog_lag.c (how much lies behind a place, and when), elog_later.c (what waits
 * for its time), elog_time.c. What a record looks like: elog_record.h.
 */
#ifndef FICUS_EVENTS_ELOG_PRIVATE_H
#define FICUS_EVENTS_ELOG_PRIVATE_H

#include "arena.h"
#include "assert.h"
#include "buf.h"
#include "db.h"
#include "elog.h"
#include "elog_record.h"
#include "map.h"

enum {
    ELOG_RETRY_MS = 20,         /* when the pool of workers has no room */
    ELOG_RECENT = 2 * EVENT_AGAIN_MAX,  /* events of a source that are known when they are published again */
    ELOG_SEQUENCE_STEP = 65536, /* offsets that the sequence is ahead by when it is written */
};

enum { ELOG_KEY_PATH_SIZE = 160 };

/* A kept topic, ready for SQL. */
struct elog_keeper {
    struct slice topic;
    bool by_subject;
    char list[ELOG_KEY_PATH_SIZE];   /* "$.items" in the data; "": one key an event */
    char member[ELOG_KEY_PATH_SIZE]; /* "$.sku" in an element, or in the data */
};

/* An event as it goes into a record; ev borrows from packed. */
struct append_row {
    struct event ev;
    char *packed;
    size_t size;
    const struct elog_keeper *keeper;   /* NULL: the topic is not kept */
};

struct append {
    struct list link;
    struct arena arena;
    struct append_row *rows;
    size_t count;
    int64_t last_offset;
    struct elog_rider rider;    /* write NULL: none */
    void (*done)(void *arg, enum ficus_err err, int64_t last_offset, const char *detail);
    void *arg;
    size_t queued_size;                 /* in log->queue_size */
    size_t later_count, later_size;     /* of it, reserved among what may wait for its time */
    /* instead of rows: what waits under this number is to go */
    int64_t remove;
    struct elog_waiting *was;
    enum ficus_err err;
    void (*removed)(void *arg, enum ficus_err err, const struct elog_waiting *was, const char *detail);
};

/* ---- elog_store.c ---- */

/* The events of a topic in a record. */
struct elog_part {
    struct slice topic;         /* borrowed from the event */
    int64_t count, first, last;
};

/* A record in the making; one thread at a time. */
struct elog_writer {
    struct buf body;
    struct elog_head head;      /* sum: when it is written */
    struct elog_part topics[ELOG_RECORD_COUNT];
    size_t topic_count;
};

void elog_writer_init(struct elog_writer *w);
void elog_writer_done(struct elog_writer *w);
/* An empty record; first: the offset that those of its events are counted from. */
void elog_writer_begin(struct elog_writer *w, int64_t first, int64_t at);
bool elog_writer_has_room(const struct elog_writer *w, size_t size);    /* an empty one takes any event */
/* packed has its offset in it; topic lives until the record is written. False: out of memory. */
bool elog_writer_add(struct elog_writer *w, struct slice packed, struct slice topic, int64_t offset);
/* [worker, in a transaction] As a new row. */
enum ficus_err elog_writer_insert(struct elog_writer *w, struct db_conn *c, struct ficus_error *reterr);
/* [worker, in a transaction] In place of what is left of the record with this key, whose rows in record_topic are gone; empty:
 * the record goes. */
enum ficus_err elog_writer_replace(struct elog_writer *w, struct db_conn *c, int64_t key, struct ficus_error *reterr);
/* Columns of a query of record. */
#define ELOG_RECORD_COLUMNS "last, first, at, count, sum, body"
enum { ELOG_BODY_COLUMN = 5 };
void elog_row_head(struct db_stmt *s, struct elog_head *ret_head);

/* What may come again at any time is known for as long as it is in the log: what the hub writes about dead letters, and ids that
 * were made of their event's cause (UUIDv8). */
bool elog_is_once(const struct event *ev);
enum ficus_err elog_once_add(struct db_conn *c, const struct event *ev, bool *ret_repeated, struct ficus_error *reterr);

/* ---- elog_recent.c ---- */
struct elog_recent {
    struct env *env;
    struct map sources;         /* name -> struct elog_source */
    uint64_t keys[4];
    struct list fresh;
    bool is_loaded;             /* it is what the table says */
};

/* [in a transaction] Begin with what the table says. */
enum ficus_err elog_recent_load(struct elog_recent *m, struct db_conn *c, struct ficus_error *reterr);
void elog_recent_done(struct elog_recent *m);
bool elog_recent_knows(const struct elog_recent *m, const struct event *ev);
/* One that it does not know, and that goes into the record. NOMEM. */
enum ficus_err elog_recent_add(struct elog_recent *m, const struct event *ev);
/* [in the transaction] Write what was added since into the table, with the record that has it. */
enum ficus_err elog_recent_store(struct elog_recent *m, struct db_conn *c, int64_t key, struct ficus_error *reterr);

/* ---- elog_later.c ---- */
struct elog_later {
    struct elog_schedule *schedules;
    size_t schedule_count;
    int64_t count, size, next_ms;       /* what waits, as committed; next_ms: INT64_MAX when there is nothing */
    size_t count_reserved, size_reserved;   /* that may be added by appends which wait or run */
    struct env_timer timer;
    bool rests, moved_last;
    /* the job's: how it is in its transaction */
    bool moves, touched;
    int64_t job_count, job_size, job_next_ms, damaged;
    struct append *moved;
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
    struct elog_recent recent;          /* the job's, and writer */
    struct elog_writer writer;
    struct env_job append_job;
    struct env_timer append_retry;
    int64_t write_last_offset;          /* the job's, as it begins and as it ends */
    /* As it stands in sqlite_sequence: no offset above it was ever given. It is written ahead, so that not every append has to; the
     * next life of the log goes on there. The latter is the job's, as it ends. */
    int64_t sequence, write_sequence;
    size_t write_fresh;                 /* ids remembered since a row of table recent was written */
    struct ficus_error write_error;
    struct elog_later later;
    /* janitor */
    bool janitor_runs;
    struct env_job janitor_job;
    struct env_timer janitor_timer;
    size_t size_since;                  /* appended since it ran */
    int64_t janitor_spared;             /* bytes of what waits for its time, when it began */
    int64_t janitor_after;              /* the job's: it has looked up to this record, */
    int64_t janitor_kept;               /* where about so many bytes stay for ever */
    struct elog_writer janitor_writer;
    struct buf janitor_record;
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
enum ficus_err elog_keep(struct db_conn *c, const struct elog_keeper *k, const struct event *ev, int64_t offset,
                         struct ficus_error *reterr);
/* [worker, in a transaction] Of some records behind l->janitor_after: the events of those older than aged_ms go, and whatever their age as
 * long as the file has more than it may by `excess` bytes, unless they are kept. What is kept there does not count: l->janitor_kept grows by
 * it. *ret_more: there may be more of them. Returns how many went, < 0: -(enum ficus_err). A damaged record stays. */
int64_t elog_sweep(struct elog *l, struct db_conn *c, int64_t aged_ms, int64_t excess, bool *ret_more);

/* ---- elog_later.c ---- */
/* Blocks: what the file has, and the options' schedules. */
enum ficus_err elog_later_open(struct elog *l, const struct elog_options *o, struct ficus_error *reterr);
void elog_later_start(struct elog *l);      /* the timer; also after each change */
void elog_later_stop(struct elog *l);
bool elog_later_is_due(const struct elog *l);
/* Is there room for what of these events waits? Then it is reserved. BUSY; INVALID: too far ahead. */
enum ficus_err elog_later_reserve(struct elog *l, struct append *ap);
void elog_later_release(struct elog *l, const struct append *ap);
/* [worker] Before the transaction; in it: an event waits under this number; what is due goes into the log, and l->later.moved has
 * it; at its end. */
void elog_later_begin(struct elog *l);
enum ficus_err elog_later_add(struct elog *l, struct db_conn *c, const struct append_row *r, int64_t number);
/* Does it wait already, under this source and id, and will it come? */
enum ficus_err elog_later_knows(struct elog *l, struct db_conn *c, const struct event *ev, bool *ret_waits);
enum ficus_err elog_later_move(struct elog *l, struct db_conn *c);
enum ficus_err elog_later_take_out(struct elog *l, struct db_conn *c, struct append *ap);   /* ap->err: NOT_FOUND */
enum ficus_err elog_later_end(struct elog *l, struct db_conn *c);
/* The job is over: its transaction was kept, or not. Tells readers. */
void elog_later_done(struct elog *l, bool kept);
/* [worker, in the transaction of the append job] See elog.c. */
enum ficus_err elog_row_store(struct elog *l, struct db_conn *c, struct append_row *r, int64_t now_ms);
struct append *elog_append_new(void);        /* NULL: out of memory */
void elog_append_free(struct append *ap);   /* NULL is fine */
void elog_append_queue(struct elog *l, struct append *ap);
void elog_append_start(struct elog *l);     /* if it does not run and there is something to do */

/* ---- elog_convert.c ---- */
/* Blocks: what a log of the first format holds becomes records. */
enum ficus_err elog_convert(struct elog *l, struct ficus_error *reterr);

/* A list of struct append is committed: start the readers that wait for one of its topics. */
void elog_readers_tell(struct elog *l, const struct list *written);

#endif
