/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure machine of one saga instance (ADR 10 and 13). What happens comes in as struct saga_input;
 * what is to be appended to the journal, and what to do once that is synced, goes out as struct saga_output. The state
 * is nothing but the fold of the journal's records: the machine changes it only by folding the records that it puts
 * out.
 *
 *              START
 *                |                 refused before the pivot, or at it;
 *                v                 given up; cancelled; a signal refused, or not in time
 *            +--------+ ------------------------------> +---------+
 *     +----> |RUNNING | --------------+                 |UNDOING  | <----+
 *     |      +--------+ <--+          |      +--------> +---------+      |
 *     |        |    |      | it came, | its  | none of    |    |         |
 *     |        |    |      | or over  v step | these      |    | none    |
 *   RETRY      |    |     +---------------------+ refused |    | left    | RETRY
 *     |        |    |     |       WAITING       |         |    |         |
 *     |        |    |     +---------------------+         |    |         |
 *     |        |    | refused after the pivot             |    |         |
 *     |        |    +----------> +-------+ <--------------+    |         |
 *     +--------|---------------- | STUCK | --------------------|---------+
 *              v all done        +-------+                     v
 *          COMPLETED                                      COMPENSATED
 *
 *   RUNNING, WAITING, UNDOING, STUCK --- TERMINATE ---> TERMINATED
 *
 * Records and the states in which they may come (fold_table in saga_machine.c is this table):
 *
 *   record          from                 needs                            then
 *   started         none                                                  the first group
 *   do_begun        RUNNING              a call or a child, neither open  it is open
 *                                        nor done
 *   do_done         RUNNING              open                             it is done
 *   do_refused      RUNNING              open                             undo all that is open or done but it, or STUCK
 *   do_given_up     RUNNING, WAITING     open, with an undo               undo all that is open or done
 *   child_started   RUNNING              a child, open                    it is waited for
 *   child_completed RUNNING, WAITING     a child, open                    it is done
 *                   UNDOING, STUCK       a child not known to have ended  it is to be undone still
 *   child_failed    RUNNING, WAITING     a child, open                    undo all that is open or done but it
 *                   UNDOING, STUCK       a child not known to have ended  it is undone
 *   wait_begun      RUNNING              a wait or a signal, neither      it is open
 *   wait_done       RUNNING, WAITING     open                             it is done
 *   wait_given_up   RUNNING, WAITING     a signal whose time undoes, open undo all that is open or done
 *   signalled       RUNNING, WAITING     a signal not given and not past  it is done, when its group is the present one
 *   signal_refused  RUNNING, WAITING     the same                         undo all that is open or done
 *   undo_begun      UNDOING              not open                         UNDOING
 *   undo_done       UNDOING              open                             the undo before it, or COMPENSATED
 *   undo_refused    UNDOING              open                             STUCK
 *   retried         STUCK                                                 RUNNING or UNDOING, the same step
 *   cancelled       RUNNING, WAITING,    a way back                       undo all that is open or done
 *                   STUCK before it is undone
 *   terminated      all but the ends                                      TERMINATED; nothing is done or undone any more
 *
 * Steps of one `parallel` are a group; another step is a group of one. All steps of a group begin together. When all are
 * done the next group is the present one, or the instance is COMPLETED. Forward, it is WAITING when all that is open waits
 * for time, signals or children that are started, else RUNNING. Undoing is one path: one step after another, in reverse order of the definition.
 * There is a way back while every call that is open or done has an undo. A step whose signal came before its group is done
 * when the group begins, without a record of its own. (ADR 37)
 *
 * A step with a child is a call that is done by another instance (ADR 48): its call starts the child, its answer is the
 * child's end, which comes by itself. Its undo is a call too: the engine makes it when the child is known to be completed, and
 * before that cancels the child, whose end comes as it does forward. That end is a call's effect: "perhaps done" ends with it.
 *
 * Invariants, asserted after each fold:
 *   I1  RUNNING, WAITING: a step of the present group is not done; WAITING: no call is open, a wait is; UNDOING: step is a
 *       done step with an undo, and no later one is.
 *   I2  UNDOING and COMPENSATED: there is a failure code. RUNNING, WAITING and COMPLETED: there is none.
 *   I3  behind a done pivot there is no UNDOING and no COMPENSATED.
 *   I4  COMPLETED, COMPENSATED: nothing is open. Behind these and TERMINATED no record may follow.
 *   I5  nothing is open and done; what is open is in the present group or is the present undo.
 *   I6  a child that is not known to have ended is of a step that is open, or is to be undone.
 *
 * Pure: no clock, no memory of its own, no I/O. Attempts are counted in memory only and begin anew after a crash.
 */
#ifndef FICUS_SAGA_MACHINE_H
#define FICUS_SAGA_MACHINE_H

#include "err.h"
#include "saga_def.h"

enum {
    SAGA_CODE_SIZE_MAX = 64, /* bytes of failure.code that are kept */
    SAGA_BACKOFF_MS_MIN = 200,
    SAGA_BACKOFF_MS_MAX = 5000,
    SAGA_OUTPUT_RECORDS_MAX = 1 + SAGA_WIDTH_MAX, /* what came, and the begin of a group */
};

/* X(NAME, text in the journal and in the API) */
#define SAGA_STATE_LIST(X)        \
    X(RUNNING, "running")         \
    X(UNDOING, "undoing")         \
    X(COMPLETED, "completed")     \
    X(COMPENSATED, "compensated") \
    X(STUCK, "stuck")             \
    X(WAITING, "waiting")         \
    X(TERMINATED, "terminated")

enum saga_state_name {
    SAGA_NONE, /* no record yet */
#define X(name, text) SAGA_##name,
    SAGA_STATE_LIST(X)
#undef X
        SAGA_STATE_COUNT
};

/* Kinds of journal records. do_*: the step's call (or the start of its child), undo_*: its undo, wait_*: its wait, for time or
 * for a signal, child_*: its child; the others came from outside. X(NAME, text) */
#define SAGA_RECORD_LIST(X)               \
    X(STARTED, "started")                 \
    X(DO_BEGUN, "do_begun")               \
    X(DO_DONE, "do_done")                 \
    X(DO_REFUSED, "do_refused")           \
    X(DO_GIVEN_UP, "do_given_up")         \
    X(UNDO_BEGUN, "undo_begun")           \
    X(UNDO_DONE, "undo_done")             \
    X(UNDO_REFUSED, "undo_refused")       \
    X(RETRIED, "retried")                 \
    X(WAIT_BEGUN, "wait_begun")           \
    X(WAIT_DONE, "wait_done")             \
    X(WAIT_GIVEN_UP, "wait_given_up")     \
    X(CHILD_STARTED, "child_started")     \
    X(CHILD_COMPLETED, "child_completed") \
    X(CHILD_FAILED, "child_failed")       \
    X(SIGNALLED, "signalled")             \
    X(SIGNAL_REFUSED, "signal_refused")   \
    X(CANCELLED, "cancelled")             \
    X(TERMINATED, "terminated")

enum saga_record_kind {
#define X(name, text) SAGA_RECORD_##name,
    SAGA_RECORD_LIST(X)
#undef X
        SAGA_RECORD_COUNT
};

/* Who said what from outside, and why. Each may be SLICE_NONE. */
struct saga_note {
    struct slice actor, reason;
    struct slice data; /* of a signal: JSON text */
};

struct saga_record {
    enum saga_record_kind kind;
    size_t step;                       /* index; 0 and without meaning where saga_record_has_step says no */
    int64_t at_ms;                     /* wall clock */
    int status;                        /* of the answer that decided; 0: there was none */
    uint32_t attempts;                 /* since the last start of the engine, for the answers' records */
    char code[SAGA_CODE_SIZE_MAX + 1]; /* DO_REFUSED, UNDO_REFUSED: the problem's; of what else begins an undo: its code */
    const struct saga_note *note;      /* of what came from outside, borrowed from the input; else NULL */
};

struct saga_state {
    enum saga_state_name name;
    size_t step;      /* the first one of the present group; undoing, the one that is undone */
    bool undo;        /* its undo is meant; kept while STUCK */
    uint32_t open;    /* bit I: step I is begun (undoing: its undo), and neither done nor refused yet */
    uint32_t done;    /* bit I: step I is done; undoing: done or perhaps done, and not undone */
    uint32_t children; /* bit I: the child of step I is started (undoing: perhaps), and not known to have ended */
    uint32_t signals; /* bit I: the signal of step I came and was not refused */
    int64_t begun_ms[SAGA_WIDTH_MAX]; /* by saga_slot: wall time of the first attempt, from the journal */
    char failure[SAGA_CODE_SIZE_MAX + 1];
    /* not part of the fold */
    int64_t resumed_ms; /* when the engine took the instance up again; 0: it began in this one */
    uint32_t attempts[SAGA_WIDTH_MAX]; /* by saga_slot */
};

/* STARTED: of the call that starts a child: it is there. */
enum saga_answer { SAGA_ANSWER_DONE, SAGA_ANSWER_REFUSED, SAGA_ANSWER_UNKNOWN, SAGA_ANSWER_STARTED };

enum saga_input_kind {
    SAGA_INPUT_START,  /* the start event came; state is SAGA_NONE */
    SAGA_INPUT_ANSWER, /* of the step's call that was put out. That of a child's start is not DONE; that of its cancelling, DONE: it never began, or UNKNOWN */
    SAGA_INPUT_CHILD,  /* the step's child has ended: answer is DONE or REFUSED; taken when saga_child_is_awaited */
    SAGA_INPUT_TIMER,  /* the pause before the step's next attempt is over */
    SAGA_INPUT_WAKE,   /* the shortest of the waits that are open is over, which the engine judges */
    SAGA_INPUT_RESUME, /* first input after a fold from the journal */
    SAGA_INPUT_RETRY,  /* an operator's; state is STUCK */
    /* From outside, too; taken when saga_cancel_obstacle, saga_terminate_obstacle, saga_signal_obstacle know none. */
    SAGA_INPUT_CANCEL,
    SAGA_INPUT_TERMINATE,
    SAGA_INPUT_SIGNAL,
};

struct saga_input {
    enum saga_input_kind kind;
    int64_t wall_ms;
    uint64_t random;         /* for the jitter */
    enum saga_answer answer; /* ANSWER, CHILD */
    int status;              /* ANSWER; 0: none came */
    struct slice code;       /* ANSWER, CHILD, refused: problem's or failure's code, or SLICE_NONE */
    size_t step;             /* ANSWER, CHILD, TIMER; SIGNAL: the one that waits for it */
    bool refuse;             /* SIGNAL */
    const struct saga_note *note; /* START, RETRY, CANCEL, TERMINATE, SIGNAL; or NULL */
};

/* Call the step (or its undo) after so long; 0: at once. */
struct saga_action {
    size_t step;
    int64_t delay_ms;
};

/* An input changes nothing of calls that are under way and that saga_is_calling still knows; the others are called no more. */
struct saga_output {
    struct saga_record records[SAGA_OUTPUT_RECORDS_MAX]; /* to be synced before the actions; none: act at once */
    size_t record_count;
    struct saga_action actions[SAGA_WIDTH_MAX];
    size_t action_count;
    int64_t wait_ms, wait_was_ms; /* saga_wait_ms after and before */
    bool wait_is_new;             /* it counts from now; else from when the one before began */
};

/* Fold one record. CORRUPT: it cannot follow the state (a damaged journal or another definition); *s is then unchanged.
 */
enum ficus_err saga_fold(const struct saga_def *def, struct saga_state *s, const struct saga_record *r,
                         struct ficus_error *reterr);

/* Why it cannot be cancelled, terminated, signalled now, in words for people; NULL: it can. With `same` set: it is so
 * already, and the same again is no fault. */
const char *saga_cancel_obstacle(const struct saga_def *def, const struct saga_state *s, bool *ret_same);
const char *saga_terminate_obstacle(const struct saga_state *s, bool *ret_same);
const char *saga_signal_obstacle(const struct saga_def *def, const struct saga_state *s, size_t step, bool refuse, bool *ret_same);

/* Is this step done or begun, perhaps done, and not undone, by state s? For what a terminated instance leaves. */
bool saga_step_is_left(const struct saga_def *def, const struct saga_state *s, size_t step);
/* Is the step's call (undo: its undo) to be under way, or to be repeated? */
bool saga_is_calling(const struct saga_def *def, const struct saga_state *s, size_t step, bool undo);
/* Is the end of the step's child still to come, and to be written down? */
bool saga_child_is_awaited(const struct saga_def *def, const struct saga_state *s, size_t step);
/* Is the step's child started (undoing: perhaps), and not known to have ended? */
bool saga_child_runs(const struct saga_state *s, size_t step);
/* Place of a step of the present group in begun_ms and attempts; below SAGA_WIDTH_MAX. */
size_t saga_slot(const struct saga_state *s, size_t step);
/* Of the waits that are open the one that is over first: how long it is from its group's begin; SAGA_NEVER: none has an end;
 * 0: none is open. */
int64_t saga_wait_ms(const struct saga_def *def, const struct saga_state *s);
/* The step that a list shows: of a group the first that is not done. step_count: none. */
size_t saga_shown_step(const struct saga_def *def, const struct saga_state *s);

/* Take one input. One that does not fit the state (an answer that came twice) changes nothing and puts out NONE. */
void saga_machine_input(const struct saga_def *def, struct saga_state *s, const struct saga_input *in,
                        struct saga_output *ret_out);

/* Class of an answer. err OK: status counts. Done: 2xx. Refused: 4xx but 401, 408, 425, 429. Everything else is unknown.
 * 401 says that the request's identity was not believed, for example because the participant was stopped for longer than
 * an identity lives: that is about the messenger and must not undo a good order (docs/adr/0013). 403 of a caller that is
 * not declared and 404 of a route that is not there are refusals: faults of the definition, which repetition does not mend. */
enum saga_answer saga_classify(enum ficus_err err, int status);

/* Is a refusal of this step's call past undoing (behind the pivot, or retry: forever without a pivot)? */
bool saga_step_is_forward_only(const struct saga_def *def, size_t step);

bool saga_state_is_final(enum saga_state_name name); /* COMPLETED, COMPENSATED or TERMINATED */
const char *saga_state_text(enum saga_state_name name);
bool saga_state_parse(struct slice text, enum saga_state_name *ret_name);
const char *saga_record_text(enum saga_record_kind kind);
bool saga_record_has_step(enum saga_record_kind kind);
bool saga_record_parse(struct slice text, enum saga_record_kind *ret_kind);

#endif
