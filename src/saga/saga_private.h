/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the files of the engine: saga_engine.c (life, journal writer), saga_instance.c (instances' moves), saga_start.c (start events
 * and taking up), saga_request.c (one call of one step), saga_view.c (what operators see), saga_told.c (what services say by the log), saga_command.c
 * (what is said to instances from outside), saga_wake.c (waits that are over), saga_child.c (instances that are steps of others).
 */
#ifndef FICUS_SAGA_PRIVATE_H
#define FICUS_SAGA_PRIVATE_H

#include "map.h"
#include "saga_engine.h"
#include "saga_template.h"

enum {
    SAGA_START_BATCH = 64,   /* start events of one pull, all in one transaction */
    SAGA_APPEND_BATCH = 256, /* entries beside them in one transaction */
    SAGA_WAKE_BATCH = 256, /* instances whose wait is over, at a time */
    SAGA_TELL_BATCH = 256, /* ends of children, at a time */
    SAGA_INPUT_ARENA_MAX = EVENT_SIZE_MAX + 64 * 1024 + SAGA_STEPS_MAX * 2 * SAGA_NOTE_SIZE_MAX,
    SAGA_CALL_ARENA_MAX = 16 * EVENT_SIZE_MAX,
};

/* Where an instance is. Moves with its list: saga_move is the only place that changes either. */
enum saga_place {
    SAGA_PLACE_NOWHERE,
    SAGA_PLACE_STARTING,  /* new, its first records wait for the writer */
    SAGA_PLACE_WAITING,   /* records wait for the writer */
    SAGA_PLACE_APPENDING, /* the writer's job owns out, state and start */
    SAGA_PLACE_WORKING,   /* synced; its works do something */
    SAGA_PLACE_COUNT
};

/* Where a call of an instance is; beside the instance's place, because the records of one step are written while others are
 * called. saga_work_move changes it. */
enum saga_work_place {
    SAGA_WORK_NONE,
    SAGA_WORK_READY,   /* begun on the disk, waits for a calling slot */
    SAGA_WORK_CALLING,
    SAGA_WORK_PAUSE,   /* before its next attempt */
    SAGA_WORK_TOLD,    /* answered, or its pause is over: the machine hears of it when the instance is not with the writer */
    SAGA_WORK_COUNT
};

/* One call: of the step at the same slot of the instance's state. */
struct saga_work {
    struct saga_instance *i;
    struct list link;
    enum saga_work_place place;
    size_t step;
    bool undo;
    struct env_timer timer;
    struct saga_input told;
    char code[SAGA_CODE_SIZE_MAX + 1]; /* of told */
    /* the request */
    struct arena arena;
    struct buf path, body;
    struct call_request request;
    struct http_field fields[2];
    char idempotency[SAGA_ID_SIZE_MAX + 160];
    struct call_fetch *fetch;
    struct saga_errand *errand; /* instead, of a child: a command to it is on its way */
};

struct saga_instance {
    struct saga_engine *g;
    struct list link;
    enum saga_place place;
    struct arena arena; /* what start points to, and key */
    struct saga_start start;
    struct slice key;           /* "saga/id" in g->live */
    struct slice *signals;      /* of each step the data of its signal, JSON text; NULL: none came */
    const struct saga_def *def; /* owned by g->defs */
    struct saga_state state;
    struct saga_output out;
    struct saga_journal_entry entry;
    struct log_context log;
    struct saga_work *works; /* as many as the widest group of the definition; in the arena */
    size_t work_count, busy_count;
    /* from outside: the one that waits for the sync, NULL: none; and those behind it (struct saga_view) */
    struct saga_view *view;
    struct saga_note note;
    struct list commands;
    enum saga_state_name before; /* the state that out leads away from */
    int64_t wake_at_ms;          /* when the first of the open waits is over; 0: none is open, or none has an end */
};

/* What is bounded apart from the others. */
enum saga_view_kind {
    SAGA_VIEW_QUERY,
    SAGA_VIEW_COMMAND, /* from outside */
    SAGA_VIEW_FAMILY,  /* a command between parent and child */
    SAGA_VIEW_WAKE,    /* nobody waits for its answer */
    SAGA_VIEW_KINDS
};

/* Something that was asked of the engine: a job that reads, or a command on its way. */
struct saga_view {
    struct saga_engine *g;
    struct env_job job;
    saga_view_done done; /* NULL: a wait that is over */
    void *arg;
    struct arena arena;
    struct buf json;
    struct json_writer w;
    struct slice saga, id;
    struct saga_query query;
    struct slice last_saga, last_id;
    size_t count;
    uint32_t attempts; /* of the present step, from memory; 0: not in memory */
    enum saga_view_kind kind;
    struct saga_stored *stored;
    const struct saga_known_def *known; /* describe */
    enum ficus_err err;
    struct ficus_error error;
    /* a command */
    struct list link; /* in the commands of its visit or instance */
    struct env_timer timer;
    struct saga_command command;
    struct slice key;
};

/* An instance at rest is read from the journal because there are commands for it. One at a time, so that nobody decides
 * by what another has changed. */
struct saga_visit {
    struct saga_engine *g;
    struct env_job job;
    struct arena arena;
    struct slice key, saga, id; /* key in g->visits */
    struct list commands;       /* at least one */
    struct saga_stored *stored;
    enum ficus_err err;
    struct ficus_error error;
};

/* The end of a child, on its way to the parent. */
struct saga_ended {
    struct saga_engine *g;
    struct saga_name child;
    struct saga_parent parent;
    struct slice code; /* SLICE_NONE: it is completed */
};

/* What children's parents are told (saga_child.c): one batch at a time. The job writes down whose parents know, and reads the next. */
struct saga_telling {
    struct env_timer timer;
    struct env_job job;
    bool looking, again;          /* again: another child has ended meanwhile */
    bool failed;                  /* a parent could not be told now */
    struct saga_ended ended[SAGA_TELL_BATCH];
    size_t ended_count, open_count;
    struct saga_name told[SAGA_TELL_BATCH]; /* in the arena of their batch */
    size_t told_count;
    struct arena arenas[2];       /* of the batch that was told, and of the one that is read: */
    size_t arena;
    enum ficus_err err;
    struct ficus_error error;
};

/* A definition in use: of the configuration, or read back from the journal. Kept until the engine closes. */
struct saga_known_def {
    const struct saga_def *def;
    size_t width; /* of its widest group */
    struct slice text;
    char hash[65];
    struct arena arena;
};

/* An event of the topic is a signal to instances of the saga: by a definition of the manifest, or one that instances of before
 * may still run on. */
struct saga_await {
    struct slice topic, saga;
};

struct saga_engine {
    struct env *env;
    struct saga_engine_options options;
    struct saga_caller caller;
    struct saga_journal *journal;
    struct map live;                          /* key -> struct saga_instance */
    struct map visits;                        /* key -> struct saga_visit; never in live, too */
    struct map defs;                          /* hash -> struct saga_known_def */
    const struct saga_known_def **start_defs; /* by index in options.defs */
    struct list lists[SAGA_PLACE_COUNT];
    struct list works[SAGA_WORK_COUNT];
    size_t work_counts[SAGA_WORK_COUNT];
    /* the writer: one job */
    struct env_job writer;
    bool writer_busy;
    struct saga_journal_entry *entries[SAGA_START_BATCH + SAGA_COMMANDS_MAX + SAGA_CALLING_MAX + SAGA_APPEND_BATCH];
    size_t entry_count;
    bool starts_in_job;
    int64_t job_position, job_wall_ms, job_trim_before_ms;
    size_t job_trim_count;
    enum ficus_err job_err, job_trim_err;
    struct ficus_error job_error, job_trim_error;
    struct env_timer writer_timer;
    bool trim_due;
    struct env_timer trim_timer;
    /* start events */
    char *topics;
    struct saga_await *awaits; /* in await_arena */
    size_t await_count;
    struct arena await_arena;
    int64_t position;   /* read and synced up to here */
    int64_t lost_told;  /* cuts up to this offset were told of */
    int64_t batch_next; /* the batch in g->starting brings position here */
    bool pulling, batch_open;
    bool held;          /* instances come to life: nothing is appended or called until the batch is whole */
    bool calling_ready; /* start_ready runs; it never nests */
    struct env_timer pull_timer;
    int pull_failures;
    size_t told_count; /* signals of the batch that are not answered yet: its position is written when they are */
    bool told_failed;  /* one could not be written now: the batch is read again */
    size_t view_count, view_counts[SAGA_VIEW_KINDS]; /* that are not answered: all, and of each kind */
    struct saga_telling telling;
    /* waits that are over (saga_wake.c) */
    struct env_timer wake_timer;
    struct env_job wake_job;
    bool waking;
    int64_t wake_at_ms, waits_now_ms, waits_mono_ms;
    struct saga_view *woken[SAGA_WAKE_BATCH];
    size_t woken_count;
    enum ficus_err wake_err;
    struct ficus_error wake_error;
    int64_t wake_next_ms;
    size_t wake_room;
    int64_t wake_now_ms;        /* the job's: what is due by then */
    /* closing */
    bool closing, journal_closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct env_job close_job;
    struct env_timer close_timer;
    /* metrics; all may be NULL */
    struct metric_family *started, *completed, *step_seconds;
    struct metric *stuck, *running, *damaged, *waiting;
};

/* saga_instance.c */
/* Copy a text, or SLICE_NONE. False: out of memory. */
bool saga_keep(struct arena *a, struct slice from, struct slice *to);
/* Is what began so the child of this instance's step? */
bool saga_is_child(const struct saga_start *start, const struct saga_parent *of);
/* Copy what an instance's start is made of, but for the definition. False: out of memory. */
bool saga_start_keep(struct arena *a, const struct saga_start *from, struct saga_start *to);
void saga_move(struct saga_instance *i, enum saga_place to);
struct saga_instance *saga_instance_new(struct saga_engine *g);
void saga_instance_free(struct saga_instance *i); /* leaves list and map too */
/* Copy start's strings into the instance and enter it in g->live. NOMEM. */
enum ficus_err saga_instance_fill(struct saga_instance *i, const struct saga_start *start,
                                  const struct saga_known_def *known);
bool saga_is_free(const struct saga_instance *i); /* not with the writer: it takes inputs and commands */
void saga_input(struct saga_instance *i, struct saga_input *in); /* wall_ms and random are filled in here */
/* Do what came while it was with the writer: commands, answers. One that has nothing to do in memory leaves it: i may be gone. */
void saga_go_on(struct saga_instance *i);
void saga_work_move(struct saga_work *k, enum saga_work_place to);
void saga_work_tell(struct saga_work *k, const struct saga_input *in); /* in.code is copied; the instance may be gone */
void saga_act(struct saga_instance *i); /* what the machine said, its records being synced */
void saga_ready_kick(struct saga_engine *g); /* begin the calls that have a slot */

/* saga_engine.c */
void saga_writer_kick(struct saga_engine *g);
/* The definition with this hash: known already, or parsed from text. */
enum ficus_err saga_def_know(struct saga_engine *g, struct slice hash, struct slice text,
                             const struct saga_known_def **ret_known, struct ficus_error *reterr);
void saga_closing_step(struct saga_engine *g);

/* saga_start.c */
enum ficus_err saga_take_up(struct saga_engine *g, struct ficus_error *reterr); /* blocks */
/* Make a live instance of what the journal holds; its next input is RESUME or RETRY. */
enum ficus_err saga_take_up_stored(struct saga_engine *g, const struct saga_stored *stored,
                                   struct saga_instance **ret_instance, struct ficus_error *reterr);
void saga_pull(struct saga_engine *g);
void saga_pull_again(struct saga_engine *g); /* after a while */
/* The instance of the event's subject, or nothing when it is live already. actor: who says so, beside the event; SLICE_NONE.
 * NOMEM. */
enum ficus_err saga_start_by(struct saga_engine *g, const struct saga_known_def *known, const struct event *ev, struct slice input,
                             struct slice actor);

/* saga_told.c */
/* Begin to do what a service says by an event of EVENT_TOPIC_SAGA. What cannot be done ever is logged, and OK. NOMEM. */
enum ficus_err saga_told(struct saga_engine *g, const struct event *ev);
/* Begin to give, or refuse, the signals that the event is. NOMEM. */
enum ficus_err saga_awaited(struct saga_engine *g, const struct event *ev);
/* Before the loop runs: which topics are to be read, into g->topics. */
enum ficus_err saga_topics_know(struct saga_engine *g, struct ficus_error *reterr);

/* saga_request.c */
void saga_call_begin(struct saga_work *k); /* the instance may be gone */
void saga_call_cancel(struct saga_work *k); /* whatever it does, it does it no more */

/* saga_child.c */
/* Of the child of this step. NULL: out of memory. */
const char *saga_child_id(struct arena *a, struct slice parent_id, const char *step);
/* Begin to start the child of the work's step, with this input; or to end it. The work is CALLING until it is told, or has nothing
 * to do any more: a child that was cancelled is waited for in the journal. */
enum ficus_err saga_child_start(struct saga_work *k, struct slice input);
enum ficus_err saga_child_cancel(struct saga_work *k);
void saga_errand_forget(struct saga_work *k);
void saga_tell_begin(struct saga_engine *g);
/* A child has ended: tell its parent. */
void saga_tell_parents(struct saga_engine *g);
void saga_tell_end(struct saga_engine *g); /* no more; a job that runs ends by itself */

/* saga_view.c */
enum ficus_err saga_view_new(struct saga_engine *g, saga_view_done done, void *arg, struct saga_view **ret_view);
void saga_view_count(struct saga_view *v); /* from now on it is to be answered */
void saga_view_free(struct saga_view *v); /* one that was never counted */
void saga_view_answer(struct saga_view *v, enum ficus_err err, struct slice json, const char *detail); /* and free it */

/* saga_command.c */
const struct saga_known_def *saga_start_def(const struct saga_engine *g, struct slice saga); /* of new instances; NULL: no such saga */
/* As saga_engine_command, however many commands there are. */
enum ficus_err saga_command_new(struct saga_engine *g, const struct saga_command *c, saga_view_done done, void *arg);
void saga_commands_run(struct saga_instance *i); /* as far as its place allows; by saga_go_on alone */
/* The command's record is synced: answer it. */
void saga_command_done(struct saga_instance *i);
void saga_commands_cancel(struct list *commands);
void saga_commands_move(struct list *from, struct list *to);
/* What they were said to is none (a start event that came again): they look for the instance in the journal. */
void saga_commands_again(struct list *commands);
bool saga_command_keep(struct saga_view *v, const struct saga_command *c); /* copy it. False: out of memory */
void saga_command_go(struct saga_view *v); /* find its way; answered exactly once */
/* Put the signal's data where templates find it. NOMEM. */
enum ficus_err saga_keep_signal(struct saga_instance *i, size_t step, struct slice data);

/* saga_wake.c */
/* Time as waits are measured: wall time that does not go back while the engine lives. */
int64_t saga_waits_now(struct saga_engine *g);
enum ficus_err saga_wake_begin(struct saga_engine *g, struct ficus_error *reterr); /* blocks */
void saga_wake_at(struct saga_engine *g, int64_t at_ms); /* look then, or earlier */
void saga_wake_next(struct saga_engine *g); /* all that were woken are answered: look when the next is due */
void saga_wake_later(struct saga_engine *g); /* one could not be told: look again soon */
void saga_wake_end(struct saga_engine *g);

#endif
