/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded event log: one SQLite file, one sequence for all topics (so events of a key, and of all keys, keep their
 * order), batches of publishers grouped into one synced commit, events that are published again dropped (how far back:
 * docs/adr/0036), retention by age and size with a janitor. Acknowledged means synced. Of a kept topic the newest event of
 * each key stays for ever, so that whoever reads from the start still learns the present state of each; of others it is
 * noted how far they were cut. An event may be published for later: it waits in the same file, and comes into the log at its
 * time, in one transaction with its going from there.
 * One disk, no replica: who needs more sets the URL of a real broker.
 *
 * Loop thread; the blocking work runs on a worker of env. Happy path: append queues, one job writes all that waits in
 * one transaction, acknowledges. Failure: the whole transaction fails, each batch in it gets the error, nothing of it
 * is in the log.
 */
#ifndef FICUS_EVENTS_ELOG_H
#define FICUS_EVENTS_ELOG_H

#include "env.h"
#include "event.h"

struct elog;
/* A topic whose newest event of each key is kept beyond age and size. key: where the key stands in the event's data:
 * "sku", or "items.sku": one key for each element of the list items, and the event stays as long as it is the newest of
 * any of them; "": the event's subject. Letters, digits and _. */
struct elog_kept { const char *topic, *key; };
/* A time that comes again and again: the log appends an event of the topic at each. Times are counted from 1970-01-01
 * UTC: phase_ms, phase_ms + every_ms, ... */
struct elog_schedule {
    const char *source, *name;  /* of its events; name: their subject */
    const char *topic;
    int64_t every_ms, phase_ms; /* 0 <= phase < every */
};
struct elog_options {
    const char *path;
    /* Borrowed for elog_open. Each begins with its first time from now on; one that is not here any more is forgotten. */
    const struct elog_schedule *schedules;
    size_t schedule_count;
    size_t later_count_max;     /* events that wait for their time; 0: 100 000 */
    int64_t later_size_max;     /* bytes of these; 0: 256 MiB */
    /* [loop] What waited under this number cannot be read any more (its row is damaged); it is not delivered. May be NULL. */
    void (*damaged)(void *arg, int64_t number);
    void *damaged_arg;
    /* Borrowed for elog_open; for topics that are new here what the log holds is looked through. */
    const struct elog_kept *kept;
    size_t kept_count;
    int64_t retention_ms;       /* 0: 7 days */
    /* New events get offsets above this one. With the microseconds of the wall clock here, a log that was lost or put back
     * from a copy gives none again that a consumer has seen: else it would wait until the log is as long as it was, and
     * skip what came until then. 0: go on behind all that were given, which leaves a gap of up to 65536. */
    int64_t offset_min;
    /* Bytes; 0: 4 GiB; the oldest go first. What stays for ever of the time before what else there is does not count. */
    int64_t size_max;
    size_t queue_size_max;      /* bytes waiting to be appended; 0: 16 MiB; over it BUSY */
};
/* Blocks (before the loop runs). */
enum ficus_err elog_open(struct env *e, const struct elog_options *o, struct elog **ret_log,
                         struct ficus_error *reterr);
/* Publishers that still wait hear CANCELLED. All readers are freed. */
void elog_close(struct elog *l, void (*closed)(void *arg), void *arg);

/* events (1..EVENT_BATCH_COUNT_MAX) are checked and copied; their data must be fit already (event_read, event_check). INVALID,
 * TOO_LARGE: one of them is not fit; BUSY: too much waits. done: OK with the last offset given, or the error for all of them.
 * One whose at_ms lies ahead (more than EVENT_LATER_MS_MAX and a day: INVALID) waits for it, as durable; the offset that it takes is
 * its number there, and it gets another when it comes into the log. BUSY: later_count_max or later_size_max is reached. */
enum ficus_err elog_append(struct elog *l, const struct event *events, size_t count,
                           void (*done)(void *arg, enum ficus_err err, int64_t last_offset, const char *detail),
                           void *arg);

/* The same with something of the caller's own in the same transaction: write runs on a worker; when it fails, nothing of all that
 * was to be committed together is kept. rider: copied. Then there may be no events (count 0, last offset as it is). */
struct db_conn;
struct elog_rider {
    enum ficus_err (*write)(void *arg, struct db_conn *c, struct ficus_error *reterr);
    void *arg;
};
enum ficus_err elog_append_with(struct elog *l, const struct event *events, size_t count, const struct elog_rider *rider,
                                void (*done)(void *arg, enum ficus_err err, int64_t last_offset, const char *detail), void *arg);

/* A reader: one outstanding read each. See bus.h pull for the meaning. count_max 0: EVENT_BATCH_COUNT_MAX, which also
 * is the most. At most about 2 MiB a read, but always one event. INVALID: topics are malformed; CONFLICT: the offset
 * lies beyond the end, so it is not of this log. */
struct elog_reader;
enum ficus_err elog_reader_new(struct elog *l, struct elog_reader **ret_reader);
enum ficus_err elog_read(struct elog_reader *r, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms,
                         void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count,
                         int64_t next), void *arg);
void elog_reader_free(struct elog_reader *r);   /* cancels: done will not fire */
/* Inside done: which of the topics were cut by the janitor behind the offset that was asked for, and how far: events up
 * to there are gone that were not read. (What is superseded in a kept topic is no cut.) */
size_t elog_read_cuts(const struct elog_reader *r, const struct event_cut **ret_cuts);

/* For `ficus events topics`: name, count, first and last offset, newest time. Runs a job; done on the loop. */
struct elog_topic { struct slice topic; int64_t count, offset_first, offset_last; struct slice time_last; };
enum ficus_err elog_topics(struct elog *l, void (*done)(void *arg, enum ficus_err err, const struct elog_topic *topics,
                           size_t count), void *arg);

/* ---- what waits for its time (elog_later.c, elog_later_list.c) ----
 * The time is the wall clock's. When it jumps forth, what is due now comes within a second; when it jumps back, what waits
 * waits until the clock is there; nothing comes twice. Of those due together: by time, then in the order in which they were
 * published. Of a schedule's times that passed while nobody was there the last one is told, with how many there were before. */
struct elog_waiting {
    int64_t number;             /* 0: a schedule's next time */
    int64_t at_ms;
    int64_t every_ms;           /* of a schedule, else 0 */
    bool damaged;               /* only source and id can be read */
    struct event event;
};
/* Up to count_max (0: ELOG_WAITING_MAX, the most) of the events behind (after_ms, after_number), the next due first; and all
 * schedules. done: borrowed until it returns. */
enum { ELOG_WAITING_MAX = 256 };
enum ficus_err elog_later_list(struct elog *l, int64_t after_ms, int64_t after_number, size_t count_max,
                               void (*done)(void *arg, enum ficus_err err, const struct elog_waiting *list, size_t count), void *arg);
enum ficus_err elog_schedules_list(struct elog *l, void (*done)(void *arg, enum ficus_err err, const struct elog_waiting *list,
                                   size_t count), void *arg);
/* Remove one: it never comes. done: OK with what it was; NOT_FOUND: nothing waits under this number (any more). */
enum ficus_err elog_later_remove(struct elog *l, int64_t number, void (*done)(void *arg, enum ficus_err err,
                                 const struct elog_waiting *was, const char *detail), void *arg);
size_t elog_later_count(const struct elog *l);  /* events that wait */

/* ---- times (elog_time.c) ----
 * The offset behind which the events begin that were appended at this time (wall clock) or later: read after it. In a few
 * looks, however long the log is. Where the clock was set back, one of the places that fit. INT64_MAX: behind the last. */
enum ficus_err elog_offset_at(struct elog *l, int64_t at_ms, void (*done)(void *arg, enum ficus_err err, int64_t offset), void *arg);

int64_t elog_last_offset(const struct elog *l);

/* How much lies behind each of some places (elog_lag.c). Runs a job; done on the loop. */
struct elog_lag {
    const char *topics;         /* comma-separated; valid until done */
    int64_t after;
    /* the answer */
    int64_t behind;             /* events of the topics behind that offset; */
    bool more;                  /* or at least so many: they were not counted to the end */
    int64_t oldest_ms;          /* wall clock at which the first of them was stored; 0: there is none */
};
enum ficus_err elog_lag(struct elog *l, struct elog_lag *list, size_t count, void (*done)(void *arg, enum ficus_err err), void *arg);
/* Its database, for db_watch. */
struct db *elog_db(const struct elog *l);

#endif
