/* SPDX-License-Identifier: Apache-2.0
 *
 * What flows are known to be in: one SQLite file with the instances, their events, and how far consumers are with them. All of
 * it follows from the event log and from what consumers asked for, so it is made anew when the definitions change or the
 * file is gone or damaged; a turn takes a batch of events and the place behind it in one synced transaction.
 *
 * Everything is bounded: an instance has at most FLOW_EVENTS_MAX events; ended ones, and those that nobody helped, go when
 * their last event is older than the log's retention, ended ones also when there are more than FLOW_ENDED_MAX.
 *
 * All functions block and run on workers, or before the loop runs; at most one flow_store_turn at a time, readers beside it.
 */
#ifndef FICUS_FLOW_FLOW_STORE_H
#define FICUS_FLOW_FLOW_STORE_H

#include "arena.h"
#include "env.h"
#include "event.h"
#include "flow_machine.h"

struct flow_store;

enum { FLOW_ENDED_MAX = 200000, FLOW_BATCH = EVENT_BATCH_COUNT_MAX, FLOW_TOLD_MAX = 20 };

struct flow_store_options {
    const char *path;
    const struct flow_def *defs; /* borrowed for the store's life; at least one */
    size_t def_count;
    int64_t retention_ms;
    size_t ended_max; /* 0: FLOW_ENDED_MAX */
};
/* *ret_anew: it begins with an empty store, and why ("" : it was the first time). A damaged file is replaced. Errors as db_open. */
enum ficus_err flow_store_open(struct env *e, const struct flow_store_options *o, struct flow_store **ret_store, const char **ret_anew,
                               struct ficus_error *reterr);
void flow_store_close(struct flow_store *s); /* NULL is fine */
int flow_store_index(const struct flow_store *s, struct slice flow); /* its definition's number; -1: there is no such flow */

/* Of the file when it was opened; later the turn tells. */
int64_t flow_store_position(const struct flow_store *s);
int64_t flow_store_judged_ms(const struct flow_store *s);
/* What is to be read of the log, with commas. */
const char *flow_store_topics(const struct flow_store *s);
/* The services whose places count, in a fixed order. */
size_t flow_store_consumer_count(const struct flow_store *s);
const char *flow_store_consumer(const struct flow_store *s, size_t i);
int64_t flow_store_consumer_position(const struct flow_store *s, size_t i);

/* An instance that somebody has to look after, told once. */
struct flow_told {
    const char *flow, *id, *step;
    enum flow_state_name state;
    int64_t until_ms;
};

struct flow_turn {
    /* in */
    const struct event *events; /* by offset, behind the position; at most FLOW_BATCH */
    size_t count;
    int64_t next;               /* all up to here was read; < 0: as before */
    const int64_t *heard;       /* of each consumer: it has asked for what is behind this offset; 0: not heard of */
    int64_t wall_ms;
    bool live;                  /* the log is read to its end, so what is found done was done just now */
    bool tell;                  /* look for instances to be told */
    bool trim, gauge;
    bool anew;                  /* of another log: forget all, position 0 first; consumers are where heard says */
    int64_t judged_ms;          /* in: the time by which instances are judged; never goes back, but in another log */
    /* out; texts in arena, which the caller gives */
    struct arena *arena;
    bool changed;               /* something was written */
    bool more;                  /* another turn is to follow at once */
    size_t told_count;
    struct flow_told told[FLOW_TOLD_MAX];
    int64_t due_ms;             /* the next one to be told; FLOW_NEVER */
    int64_t needs[FLOW_CONSUMERS_MAX]; /* the least offset that a step waits for the consumer to pass; FLOW_NEVER */
    size_t unnamed;             /* events left out: they have no subject */
    size_t forgotten;           /* instances removed that had not ended */
    int64_t (*gauges)[FLOW_STATE_COUNT]; /* of each flow, if gauge; in the arena */
};
/* On an error nothing of it is there. */
enum ficus_err flow_store_turn(struct flow_store *s, struct flow_turn *t, struct ficus_error *reterr);

/* ---- what operators see; each a job of its own ---- */

struct flow_query {
    int state;          /* enum flow_state_name, or -1: all */
    bool trouble;       /* only those that somebody has to look after */
    struct slice flow, after_flow, after_id; /* SLICE_NONE: all; from the beginning */
    size_t count_max;
};
struct flow_row {
    struct slice flow, id;
    const char *step;   /* what is waited for first; "": nothing */
    const char *failure;/* "" : none */
    enum flow_state_name state;
    bool late;
    int64_t started_ms, updated_ms, due_ms; /* due: FLOW_NEVER */
};
/* By flow and id; what fn is given dies at return. */
enum ficus_err flow_store_list(struct flow_store *s, const struct flow_query *q, int64_t judged_ms,
                               void (*fn)(void *arg, const struct flow_row *row), void *arg,
                               struct ficus_error *reterr);
/* How many there are in each state. */
enum ficus_err flow_store_counts(struct flow_store *s, const char *flow, int64_t judged_ms, int64_t ret_counts[FLOW_STATE_COUNT],
                                 struct ficus_error *reterr);

struct flow_stored_event {
    struct slice id, source, correlation, causation, traceparent; /* SLICE_NONE: none */
};
struct flow_stored_mark {
    size_t event;       /* index */
    int step;           /* -1: the consumer's step is none of the flow's: it only gave the event up */
    const char *service;
    enum flow_mark_kind kind;
    int64_t at_ms, letter;
};
struct flow_stored {
    const struct flow_graph *graph;
    struct flow_row row;
    size_t event_count, mark_count;
    struct flow_seen events[FLOW_EVENTS_MAX];
    struct flow_stored_event details[FLOW_EVENTS_MAX];
    struct flow_stored_mark *marks;
    struct flow_fold fold;
};
/* One with all there is, in the arena. NOT_FOUND. */
enum ficus_err flow_store_load(struct flow_store *s, struct arena *a, struct slice flow, struct slice id, int64_t judged_ms,
                               struct flow_stored **ret_stored,
                               struct ficus_error *reterr);

#endif
