/* SPDX-License-Identifier: Apache-2.0
 *
 * Follows flows: reads their events from the bus, hears how far consumers are, and tells once of each instance that somebody has to
 * look after. It changes nothing and calls nobody; what it knows can be made anew from the log at any time.
 *
 * Happy path: a batch of events waits until the turn before is over and FLOW_REST_MS have passed, so that a busy log costs a
 * few synced transactions a second; a turn (flow_store.h) takes the batch and the position behind it. Failures: the process
 * dies: the next one goes on behind the last turn. The disk takes no turn: the same again each second, said once. The log is
 * shorter than what was read of it, or the definitions are others: all is made anew from the log's beginning.
 *
 * Time. An instance is judged by the wall clock, but never by an earlier time than before, whatever is done to the clock while the
 * process lives; set forward, it finds instances stuck too early, and their events repair them. While the log is behind (after
 * a start, while all is made anew), and for FLOW_SETTLE_MS after that, the time stands still, whatever comes meanwhile: what was missed
 * while nobody listened is not held against an instance before it had a chance to be heard.
 *
 * Loop thread only.
 */
#ifndef FICUS_FLOW_FLOW_WATCH_H
#define FICUS_FLOW_FLOW_WATCH_H

#include "bus.h"
#include "flow_store.h"
#include "logline.h"
#include "metrics.h"

enum {
    FLOW_REST_MS = 100,
    FLOW_SETTLE_MS = 10000,
    FLOW_VIEWS_MAX = 16, /* list, show and describe at a time; over it BUSY */
    FLOW_LIST_MAX = 1000,
};

struct flow_watch;

struct flow_watch_options {
    const char *file;
    const struct flow_def *defs; /* borrowed for the watch's life; at least one */
    size_t def_count;
    int64_t retention_ms;
    struct bus *bus;         /* borrowed, this watch's alone */
    struct logger *log;      /* NULL: none */
    struct metrics *metrics; /* NULL: none */
    /* Who publishes a topic; NULL: not known. For views, [worker]. */
    const char *(*publisher)(void *arg, const char *topic);
    void *arg;
};

/* Opens the file; blocks; before the loop runs, or on it. */
enum ficus_err flow_watch_new(struct env *e, const struct flow_watch_options *o, struct flow_watch **ret_watch, struct ficus_error *reterr);
/* Cancels the pull, waits for the turn and the views under way (which are answered), closes the file. Then closed fires and the watch is gone. */
void flow_watch_close(struct flow_watch *w, void (*closed)(void *arg), void *arg);

/* The service has asked for what is behind this offset of the log: it is through with all events up to there. */
void flow_watch_heard(struct flow_watch *w, struct slice service, int64_t offset);

/* For operators. done fires exactly once when OK is returned; json is borrowed until it returns, SLICE_NONE on an error, of which
 * detail says what. */
typedef void (*flow_view_done)(void *arg, enum ficus_err err, struct slice json, const char *detail);
/* {"sagas":[...],"after":"flow/id" when there may be more}; q's texts are copied; q->count_max 1..FLOW_LIST_MAX. */
enum ficus_err flow_watch_list(struct flow_watch *w, const struct flow_query *q, flow_view_done done, void *arg);
/* One instance: what is missing, and its history. NOT_FOUND by done. */
enum ficus_err flow_watch_show(struct flow_watch *w, struct slice flow, struct slice id, flow_view_done done, void *arg);
/* The definition, and how many instances are in which state. NOT_FOUND. */
enum ficus_err flow_watch_describe(struct flow_watch *w, struct slice flow, flow_view_done done, void *arg);

#endif
