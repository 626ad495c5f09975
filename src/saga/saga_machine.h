/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure machine of one saga instance (ADR 10 and 13). What happens comes in as struct saga_input;
 * what is to be appended to the journal, and what to do once that is synced, goes out as struct saga_output. The state
 * is nothing but the fold of the journal's records: the machine changes it only by folding the records that it puts
 * out.
 *
 *              START
 *                |                 refused before the pivot, or at it;
 *                v                 given up
 *            +--------+ ------------------------------> +---------+
 *     +----> |RUNNING |                                 |UNDOING  | <----+
 *     |      +--------+                                 +---------+      |
 *     |        |    | refused after the pivot     refused |    | none    |
 *   RETRY      |    +----------> +-------+ <--------------+    | left    | RETRY
 *     +--------|---------------- | STUCK | --------------------|---------+
 *              v all done        +-------+                     v
 *          COMPLETED                                      COMPENSATED
 *
 * Invariants, asserted after each fold:
 *   I1  RUNNING: step is a step with a call; UNDOING: step is a step with an undo.
 *   I2  UNDOING and COMPENSATED: there is a failure code. RUNNING and COMPLETED: there is none.
 *   I3  behind a done pivot there is no UNDOING and no COMPENSATED.
 *   I4  COMPLETED, COMPENSATED: nothing is begun; no record may follow.
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
    SAGA_OUTPUT_RECORDS_MAX = 3,
};

/* X(NAME, text in the journal and in the API) */
#define SAGA_STATE_LIST(X)        \
    X(RUNNING, "running")         \
    X(UNDOING, "undoing")         \
    X(COMPLETED, "completed")     \
    X(COMPENSATED, "compensated") \
    X(STUCK, "stuck")

enum saga_state_name {
    SAGA_NONE, /* no record yet */
#define X(name, text) SAGA_##name,
    SAGA_STATE_LIST(X)
#undef X
        SAGA_STATE_COUNT
};

/* Kinds of journal records. do_*: the step's call, undo_*: its undo. X(NAME, text) */
#define SAGA_RECORD_LIST(X)         \
    X(STARTED, "started")           \
    X(DO_BEGUN, "do_begun")         \
    X(DO_DONE, "do_done")           \
    X(DO_REFUSED, "do_refused")     \
    X(DO_GIVEN_UP, "do_given_up")   \
    X(UNDO_BEGUN, "undo_begun")     \
    X(UNDO_DONE, "undo_done")       \
    X(UNDO_REFUSED, "undo_refused") \
    X(RETRIED, "retried")

enum saga_record_kind {
#define X(name, text) SAGA_RECORD_##name,
    SAGA_RECORD_LIST(X)
#undef X
        SAGA_RECORD_COUNT
};

struct saga_record {
    enum saga_record_kind kind;
    size_t step;                       /* index; 0 and without meaning for STARTED and RETRIED */
    int64_t at_ms;                     /* wall clock */
    int status;                        /* of the answer that decided; 0: there was none */
    uint32_t attempts;                 /* since the last start of the engine, for the answers' records */
    char code[SAGA_CODE_SIZE_MAX + 1]; /* DO_REFUSED, UNDO_REFUSED: the problem's; DO_GIVEN_UP: the step's */
};

struct saga_state {
    enum saga_state_name name;
    size_t step;      /* the present one */
    bool undo;        /* its undo is meant; kept while STUCK */
    bool begun;       /* journaled as begun, and neither done nor refused yet */
    int64_t begun_ms; /* wall time of the first attempt, from the journal */
    char failure[SAGA_CODE_SIZE_MAX + 1];
    /* not part of the fold */
    int64_t resumed_ms; /* when the engine took the instance up again; 0: it began in this one */
    uint32_t attempts;
};

enum saga_answer { SAGA_ANSWER_DONE, SAGA_ANSWER_REFUSED, SAGA_ANSWER_UNKNOWN };

enum saga_input_kind {
    SAGA_INPUT_START,  /* the start event came; state is SAGA_NONE */
    SAGA_INPUT_ANSWER, /* of the call that was put out last */
    SAGA_INPUT_TIMER,  /* the timer that was put out last */
    SAGA_INPUT_RESUME, /* first input after a fold from the journal */
    SAGA_INPUT_RETRY,  /* an operator's; state is STUCK */
};

struct saga_input {
    enum saga_input_kind kind;
    int64_t wall_ms;
    uint64_t random;         /* for the jitter */
    enum saga_answer answer; /* ANSWER */
    int status;              /* ANSWER; 0: none came */
    struct slice code;       /* ANSWER, refused: problem's code or SLICE_NONE */
};

enum saga_action { SAGA_ACTION_NONE, SAGA_ACTION_CALL, SAGA_ACTION_TIMER };

struct saga_output {
    struct saga_record records[SAGA_OUTPUT_RECORDS_MAX]; /* to be synced before the action; none: act at once */
    size_t record_count;
    enum saga_action action;
    int64_t delay_ms; /* TIMER */
};

/* Fold one record. CORRUPT: it cannot follow the state (a damaged journal or another definition); *s is then unchanged.
 */
enum ficus_err saga_fold(const struct saga_def *def, struct saga_state *s, const struct saga_record *r,
                         struct ficus_error *reterr);

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

bool saga_state_is_final(enum saga_state_name name); /* COMPLETED or COMPENSATED */
const char *saga_state_text(enum saga_state_name name);
bool saga_state_parse(struct slice text, enum saga_state_name *ret_name);
const char *saga_record_text(enum saga_record_kind kind);
bool saga_record_parse(struct slice text, enum saga_record_kind *ret_kind);

#endif
