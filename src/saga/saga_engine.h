/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs sagas: reads the start topics from the bus, keeps the journal, makes the calls. All decisions are the pure
 * machine's (saga_machine.h); the engine adds the rule "journal durable before every effect": what the machine puts out
 * is synced before its call leaves.
 *
 * Happy path: a start event makes an instance; its records wait in a queue; one job at a time takes all that wait and
 * appends them in one synced transaction; then each instance's action is done: a call (at most CALLING_MAX at a time,
 * the others wait in line) or a timer. An answer gives the next records. Failures: the process dies: the next one reads
 * all unfinished instances from the journal and repeats the request that was begun, with the same Idempotency-Key. The
 * journal cannot be written: nothing is called, the append is tried again each second. A participant is away: its
 * instances wait on their timers, others go on; at LIVE_MAX unfinished instances start events wait in the log. An
 * instance whose records do not fold is left as it is, logged and counted as damaged.
 *
 * Loop thread only. Stuck and waiting instances rest in the journal alone, however many they are; the first is taken up
 * when somebody says something, the second also when its wait is over, or its child has ended (so is one that is undone and waits
 * for a child's end). Waits are judged by wall time. While the engine lives that time does not go back, whatever is done to
 * the clock: a wait that a clock set back would prolong ends in time, one that a clock set forward ends is over within a minute.
 * Set back while no engine lived, it cannot make a wait last longer, from the engine's start, than the wait is long.
 */
#ifndef FICUS_SAGA_ENGINE_H
#define FICUS_SAGA_ENGINE_H

#include "bus.h"
#include "call.h"
#include "logline.h"
#include "metrics.h"
#include "saga_journal.h"

enum {
    SAGA_LIVE_MAX = 4096, /* unfinished instances in memory; over it no further start events are read */
    SAGA_CALLING_MAX = 1000,
    SAGA_VIEWS_MAX = 16,     /* list, show and describe at a time; over it BUSY */
    SAGA_COMMANDS_MAX = 256, /* as many commands */
    SAGA_LIST_MAX = 1000,
    SAGA_NOTE_SIZE_MAX = 16 * 1024, /* of a signal's data, and of who and why together */
};

struct saga_engine;

/* How calls are made; the default is call_fetch. Borrowed for the engine's life. */
struct saga_caller {
    enum ficus_err (*start)(void *arg, const struct call_request *r, size_t body_size_max,
                            void (*done)(void *arg, const struct call_result *result), void *done_arg,
                            struct call_fetch **ret_fetch);
    void (*cancel)(void *arg, struct call_fetch *f);
    void *arg;
};

struct saga_engine_options {
    const char *journal_file;
    const struct saga_def *defs; /* borrowed for the engine's life */
    size_t def_count;
    int64_t retention_ms;      /* of finished instances; 0: 7 days */
    struct bus *bus;           /* of the start topics; borrowed, this engine's alone */
    struct call_engine *calls; /* used when caller is NULL */
    const struct saga_caller *caller;
    struct logger *log;      /* NULL: none */
    struct metrics *metrics; /* NULL: none */
};

/* Opens the journal and takes up all unfinished instances. Blocks; before the loop runs, or on it. */
enum ficus_err saga_engine_new(struct env *e, const struct saga_engine_options *o, struct saga_engine **ret_engine,
                               struct ficus_error *reterr);
/* Cancels calls and the pull, waits for running jobs, closes the journal, then closed fires and the engine is gone.
 * Unfinished instances go on at the next start. Views under way are answered with CANCELLED. */
void saga_engine_close(struct saga_engine *g, void (*closed)(void *arg), void *arg);

/* The journal's database, for db_watch, which ends before the engine closes. */
struct db *saga_engine_db(const struct saga_engine *g);

/* For operators. done fires exactly once when OK is returned; json is borrowed until it returns; on an error json is
 * SLICE_NONE and detail says what. */
struct saga_query {
    enum saga_state_name state; /* SAGA_NONE: all */
    struct slice saga;          /* SLICE_NONE: all */
    struct slice after;         /* "saga/id", the "after" of the list before; SLICE_NONE: from the beginning */
    size_t count_max;           /* 1..SAGA_LIST_MAX */
};
typedef void (*saga_view_done)(void *arg, enum ficus_err err, struct slice json, const char *detail);
/* {"sagas":[{saga,id,state,step,failure,started_at,updated_at}],"after":"saga/id" when there may be more} */
enum ficus_err saga_engine_list(struct saga_engine *g, const struct saga_query *q, saga_view_done done, void *arg);
/* One instance with its history; of a terminated one also `left`, the steps that are (perhaps) done and not undone.
 * owner: not NONE: only of a saga of this service, else DENIED. NOT_FOUND. */
enum ficus_err saga_engine_show(struct saga_engine *g, struct slice saga, struct slice id, struct slice owner,
                                saga_view_done done, void *arg);
/* A saga's definition: the one that new instances take, or with this hash; and how many instances that have not ended
 * run on each. NOT_FOUND. */
enum ficus_err saga_engine_describe(struct saga_engine *g, struct slice saga, struct slice hash, saga_view_done done,
                                    void *arg);

/* What is said to an instance from outside. */
enum saga_command_kind {
    SAGA_START,     /* begin one without an event. CONFLICT: it began with another input */
    SAGA_RETRY,     /* go on with a stuck one. CONFLICT: it is not stuck */
    SAGA_CANCEL,    /* undo what it did. CONFLICT: there is no way back, or it has ended */
    SAGA_TERMINATE, /* end it at once and undo nothing. CONFLICT: it has ended */
    SAGA_SIGNAL,    /* give or refuse a signal. CONFLICT: too late, or given before with other data */
    SAGA_WAKE,      /* its wait is over; the engine's own */
    SAGA_CHILD_CANCEL, /* its parent is undone; the engine's own. OK also when it cannot be cancelled, or has ended: its end is told.
                          NOT_FOUND: it is not this parent's */
    SAGA_CHILD_END,    /* a child of it has ended; the engine's own */
};
struct saga_command {
    enum saga_command_kind kind;
    struct slice saga, id;
    struct slice actor, reason; /* for the history; SLICE_NONE: not said. TERMINATE needs both */
    struct slice data;          /* START: the input; SIGNAL: its data. JSON text, or SLICE_NONE */
    struct slice signal;        /* SIGNAL: its name; CHILD_END: the step's */
    struct slice topic;         /* SIGNAL: not NONE: the one that an event of this topic gives or refuses, instead of signal and refuse */
    bool refuse;                /* SIGNAL; CHILD_END: it is undone, and reason is the failure's code */
    struct saga_start begins;   /* START of a child: its parent and the context of its calls; CHILD_CANCEL: its parent */
    struct slice owner;         /* not NONE: only of a saga of this service, else FORBIDDEN */
};
/* OK is answered when it is synced, with {saga,id,state,again}; again: it was so before, and nothing was written. The
 * strings of c are copied. NOT_FOUND; INVALID (the id: saga_id_check); CONFLICT with the reason; TOO_LARGE; BUSY. A call that is under way is given up
 * for CANCEL, TERMINATE and a refused signal; the others wait for its answer. */
enum ficus_err saga_engine_command(struct saga_engine *g, const struct saga_command *c, saga_view_done done, void *arg);

/* For tests and status: instances in memory, i.e. neither finished nor stuck. */
size_t saga_engine_live(const struct saga_engine *g);

#endif
