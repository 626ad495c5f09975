/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal of the saga engine: one SQLite file with the instances, their append-only records, the definitions that
 * they began with, and how far the start topics were read. What an instance's state is follows from its records alone;
 * the columns state, step and failure of its row are the same fold, written in the same transaction, for listing.
 *
 * All functions block and run on workers, or before the loop runs. Acknowledged means synced: saga_journal_append
 * returns OK only then, and on an error nothing of it is there.
 */
#ifndef FICUS_SAGA_JOURNAL_H
#define FICUS_SAGA_JOURNAL_H

#include "arena.h"
#include "env.h"
#include "saga_machine.h"

struct saga_journal;

enum { SAGA_FINISHED_COUNT_MAX = 2000000 }; /* older ones go before their retention */

struct saga_name {
    struct slice saga, id;
};

/* Of a child: the instance and its step that began it. saga SLICE_NONE: it is nobody's child. */
struct saga_parent {
    struct slice saga, id, step;
};

/* How an instance began. Its identity is (saga, id). */
struct saga_start {
    struct slice saga, id;
    struct slice def_hash, def_text;
    struct slice input; /* JSON text of the start event's data, or SLICE_NONE */
    struct slice event_id, traceparent, tracestate, correlation; /* SLICE_NONE: none */
    struct saga_parent parent;
};

struct saga_journal_entry {
    const struct saga_start *start;
    bool is_new;  /* make the instance; when it is there already nothing of this entry is written */
    bool existed; /* set by append: it was there */
    const struct saga_def *def;
    const struct saga_record *records;
    size_t record_count;
    const struct saga_state *state; /* after the records */
    int64_t wait_ms;                /* a wait begins with these records: its length, or SAGA_NEVER; 0: none begins */
    int64_t wake_at_ms;             /* with wait_ms > 0: when it is over */
};

/* A stored record; step by name, because its index means nothing without the definition. */
struct saga_stored_record {
    int64_t seq, at_ms, status, attempts;
    enum saga_record_kind kind;
    const char *step, *code; /* "" : none */
    struct slice actor, reason, data; /* SLICE_NONE: none */
};

struct saga_stored {
    struct saga_start start; /* def_text included */
    enum saga_state_name state;
    const char *step, *failure;
    int64_t started_ms, updated_ms;
    int64_t wake_at_ms; /* when the open wait that is over first is over; 0: it has no end; without meaning where none is open */
    struct saga_stored_record *records;
    size_t record_count;
};

/* Opens or makes the file and migrates it. Errors as db_open. */
enum ficus_err saga_journal_open(struct env *e, const char *path, struct saga_journal **ret_journal,
                                 struct ficus_error *reterr);
void saga_journal_close(struct saga_journal *j); /* NULL is fine */
/* Its database, for db_watch. */
struct db *saga_journal_db(const struct saga_journal *j);

/* One transaction for all entries, at wall time at_ms. position >= 0: start events up to it are in (this or an earlier
 * append). */
enum ficus_err saga_journal_append(struct saga_journal *j, struct saga_journal_entry *const *entries, size_t count,
                                   int64_t position, int64_t at_ms, struct ficus_error *reterr);
/* Where to go on reading start events; 0 when nothing was read yet. */
enum ficus_err saga_journal_position(struct saga_journal *j, int64_t *ret_position, struct ficus_error *reterr);

/* One instance with all its records, in the arena. NOT_FOUND. */
enum ficus_err saga_journal_load(struct saga_journal *j, struct arena *a, struct slice saga, struct slice id,
                                 struct saga_stored **ret_stored, struct ficus_error *reterr);

/* Its row alone: neither input, definition nor records. Strings in the arena. NOT_FOUND. */
enum ficus_err saga_journal_row(struct saga_journal *j, struct arena *a, struct slice saga, struct slice id, struct saga_stored *ret_row,
                                struct ficus_error *reterr);

/* Rows of instances without records, ordered by (saga, id), after (after_saga, after_id), at most count_max. state
 * SAGA_NONE: all; saga SLICE_NONE: all. fn is called for each; what it is given dies at return. */
struct saga_journal_query {
    enum saga_state_name state;
    struct slice saga, after_saga, after_id;
    size_t count_max;
};
enum ficus_err saga_journal_list(struct saga_journal *j, const struct saga_journal_query *q,
                                 void (*fn)(void *arg, const struct saga_stored *row), void *arg,
                                 struct ficus_error *reterr);
/* Of the instances of a saga that have not ended: how many there are of each definition in each state. hash dies at
 * return. */
enum ficus_err saga_journal_versions(struct saga_journal *j, struct slice saga,
                                     void (*fn)(void *arg, struct slice hash, enum saga_state_name state, int64_t count),
                                     void *arg, struct ficus_error *reterr);
/* Those that have steps whose signal events give or refuse. What fn is given dies at return. */
enum ficus_err saga_journal_awaiting(struct saga_journal *j, void (*fn)(void *arg, struct slice hash, struct slice text), void *arg,
                                     struct ficus_error *reterr);
/* A stored definition's text. NOT_FOUND. */
enum ficus_err saga_journal_definition(struct saga_journal *j, struct arena *a, struct slice hash, struct slice *ret_text,
                                       struct ficus_error *reterr);

/* Instances whose wait is over at now_ms, the longest overdue first, at most count_max; *ret_next_ms: when the next of
 * the others is over, INT64_MAX: none is. */
enum ficus_err saga_journal_due(struct saga_journal *j, int64_t now_ms, size_t count_max,
                                void (*fn)(void *arg, struct slice saga, struct slice id), void *arg, int64_t *ret_next_ms,
                                struct ficus_error *reterr);
/* The instance is never due again: its records cannot be followed. */
enum ficus_err saga_journal_never_due(struct saga_journal *j, struct slice saga, struct slice id, struct ficus_error *reterr);
/* No wait shall last longer from now_ms on than it is long: the clock was set back while nobody looked. */
enum ficus_err saga_journal_limit_waits(struct saga_journal *j, int64_t now_ms, struct ficus_error *reterr);
/* Children that have ended without their parents being known to have heard of it, at most count_max. An end and its being untold
 * are one transaction. What fn is given dies at return. */
enum ficus_err saga_journal_untold(struct saga_journal *j, size_t count_max, void (*fn)(void *arg, const struct saga_stored *row), void *arg,
                                   struct ficus_error *reterr);
/* The parents of these children have heard of their end. Synced. */
enum ficus_err saga_journal_told(struct saga_journal *j, const struct saga_name *children, size_t count, struct ficus_error *reterr);
enum ficus_err saga_journal_count(struct saga_journal *j, enum saga_state_name state, int64_t *ret_count,
                                  struct ficus_error *reterr);

/* Forget finished instances that were last touched before before_ms, and the oldest over SAGA_FINISHED_COUNT_MAX; at
 * most count_max in one transaction. A definition goes with its last instance. An ended child stays until its parent has heard of it,
 * and a parent until its children are forgotten: one of its id that began anew would take them for its own. */
enum ficus_err saga_journal_trim(struct saga_journal *j, int64_t before_ms, size_t count_max, size_t *ret_count,
                                 struct ficus_error *reterr);

/* Fold the stored records under the definition. CORRUPT when they do not fit it. */
enum ficus_err saga_stored_fold(const struct saga_stored *stored, const struct saga_def *def,
                                struct saga_state *ret_state, struct ficus_error *reterr);

#endif
