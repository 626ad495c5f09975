/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_machine.h. The fold is one function for each record kind, driven by a table of the states in which a record
 * may come; saga_machine_input decides which records come next and never touches the state but through the fold.
 */
#include "saga_machine.h"

#include "assert.h"

#include <stdio.h>

enum { NO_STEP = SIZE_MAX >> 1 };

static size_t pivot_of(const struct saga_def *def)
{
    for (size_t i = 0; i < def->step_count; i++)
        if (def->steps[i].pivot)
            return i;
    return NO_STEP;
}

bool saga_step_is_forward_only(const struct saga_def *def, size_t step)
{
    FICUS_ASSERT(step < def->step_count);
    size_t pivot = pivot_of(def);
    return pivot == NO_STEP ? def->steps[step].retry_forever : step > pivot;
}

/* First step from `step` on that has a call; steps without one were done before the saga began. */
static size_t next_call(const struct saga_def *def, size_t step)
{
    for (; step < def->step_count; step++)
        if (saga_call_present(&def->steps[step].call))
            return step;
    return NO_STEP;
}

/* Last step before `end` that has an undo. */
static size_t last_undo(const struct saga_def *def, size_t end)
{
    while (end-- > 0)
        if (saga_call_present(&def->steps[end].undo))
            return end;
    return NO_STEP;
}

/* ---- fold ---- */

static void enter_running(const struct saga_def *def, struct saga_state *s, size_t from)
{
    size_t step = next_call(def, from);
    s->name = step == NO_STEP ? SAGA_COMPLETED : SAGA_RUNNING;
    s->step = step == NO_STEP ? def->step_count : step;
    s->undo = s->begun = false;
}

static void enter_undoing(const struct saga_def *def, struct saga_state *s, size_t end)
{
    size_t step = last_undo(def, end);
    s->name = step == NO_STEP ? SAGA_COMPENSATED : SAGA_UNDOING;
    s->step = step == NO_STEP ? 0 : step;
    s->undo = true;
    s->begun = false;
}

static void fold_started(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    (void)r;
    enter_running(def, s, 0);
}

static void fold_begun(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    (void)def;
    s->begun = true;
    s->begun_ms = r->at_ms;
}

static void fold_do_done(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    enter_running(def, s, r->step + 1);
}

static void fail(struct saga_state *s, const struct saga_record *r)
{
    memcpy(s->failure, r->code, sizeof s->failure);
}

static void fold_do_refused(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    if (saga_step_is_forward_only(def, r->step)) {
        s->name = SAGA_STUCK;
        s->begun = false;
        return;
    }
    fail(s, r);
    enter_undoing(def, s, r->step); /* the refused step itself had no effect */
}

static void fold_do_given_up(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    fail(s, r);
    enter_undoing(def, s, r->step + 1); /* perhaps done: undone like a done one */
}

static void fold_undo_done(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    enter_undoing(def, s, r->step);
}

static void fold_undo_refused(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    (void)def;
    (void)r;
    s->name = SAGA_STUCK;
    s->begun = false;
}

static void fold_retried(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    (void)def;
    (void)r;
    s->name = s->undo ? SAGA_UNDOING : SAGA_RUNNING;
}

/* In which state a record may come. at_step: it must name the present step; begun: what s->begun must be. */
static const struct {
    enum saga_state_name from;
    bool at_step, begun;
    void (*fold)(const struct saga_def *def, struct saga_state *s, const struct saga_record *r);
} fold_table[SAGA_RECORD_COUNT] = {
    [SAGA_RECORD_STARTED] = {SAGA_NONE, false, false, fold_started},
    [SAGA_RECORD_DO_BEGUN] = {SAGA_RUNNING, true, false, fold_begun},
    [SAGA_RECORD_DO_DONE] = {SAGA_RUNNING, true, true, fold_do_done},
    [SAGA_RECORD_DO_REFUSED] = {SAGA_RUNNING, true, true, fold_do_refused},
    [SAGA_RECORD_DO_GIVEN_UP] = {SAGA_RUNNING, true, true, fold_do_given_up},
    [SAGA_RECORD_UNDO_BEGUN] = {SAGA_UNDOING, true, false, fold_begun},
    [SAGA_RECORD_UNDO_DONE] = {SAGA_UNDOING, true, true, fold_undo_done},
    [SAGA_RECORD_UNDO_REFUSED] = {SAGA_UNDOING, true, true, fold_undo_refused},
    [SAGA_RECORD_RETRIED] = {SAGA_STUCK, false, false, fold_retried},
};

static void check_invariants(const struct saga_def *def, const struct saga_state *s)
{
    bool failed = s->failure[0] != '\0';
    switch (s->name) {
    case SAGA_RUNNING:
        FICUS_ASSERT(s->step < def->step_count && saga_call_present(&def->steps[s->step].call)); /* I1 */
        FICUS_ASSERT(!s->undo && !failed);                                                       /* I2 */
        break;
    case SAGA_UNDOING:
        FICUS_ASSERT(s->step < def->step_count && saga_call_present(&def->steps[s->step].undo)); /* I1 */
        FICUS_ASSERT(s->undo && failed);                                                         /* I2 */
        FICUS_ASSERT(pivot_of(def) == NO_STEP || s->step < pivot_of(def));                       /* I3 */
        break;
    case SAGA_COMPLETED:
        FICUS_ASSERT(!failed && !s->begun); /* I2, I4 */
        break;
    case SAGA_COMPENSATED:
        FICUS_ASSERT(failed && !s->begun); /* I2, I4 */
        break;
    case SAGA_STUCK:
        FICUS_ASSERT(s->step < def->step_count && !s->begun);
        break;
    case SAGA_NONE:
    case SAGA_STATE_COUNT:
        FICUS_UNREACHABLE();
    }
}

enum ficus_err saga_fold(const struct saga_def *def, struct saga_state *s, const struct saga_record *r,
                         struct ficus_error *reterr)
{
    FICUS_ASSERT((unsigned)r->kind < SAGA_RECORD_COUNT);
    if (s->name != fold_table[r->kind].from || s->begun != fold_table[r->kind].begun ||
        (fold_table[r->kind].at_step && r->step != s->step))
        return err_set(reterr, FICUS_ERR_CORRUPT, "saga %s: record %s of step %zu cannot follow state %s at step %zu",
                       def->name, saga_record_text(r->kind), r->step, saga_state_text(s->name), s->step);
    if (r->kind == SAGA_RECORD_DO_GIVEN_UP && !saga_call_present(&def->steps[r->step].undo))
        return err_set(reterr, FICUS_ERR_CORRUPT, "saga %s: step %s was given up but has no undo", def->name,
                       def->steps[r->step].name);
    if ((r->kind == SAGA_RECORD_DO_REFUSED || r->kind == SAGA_RECORD_DO_GIVEN_UP) && r->code[0] == '\0')
        return err_set(reterr, FICUS_ERR_CORRUPT, "saga %s: record %s without a code", def->name,
                       saga_record_text(r->kind));
    fold_table[r->kind].fold(def, s, r);
    check_invariants(def, s);
    return FICUS_ERR_OK;
}

/* ---- inputs ---- */

static struct saga_record *emit(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                                enum saga_record_kind kind, const struct saga_input *in, struct slice code)
{
    FICUS_ASSERT(out->record_count < SAGA_OUTPUT_RECORDS_MAX);
    struct saga_record *r = &out->records[out->record_count++];
    *r = (struct saga_record){.kind = kind, .at_ms = in->wall_ms};
    if (kind != SAGA_RECORD_STARTED && kind != SAGA_RECORD_RETRIED)
        r->step = s->step;
    if (in->kind == SAGA_INPUT_ANSWER && kind != SAGA_RECORD_DO_BEGUN && kind != SAGA_RECORD_UNDO_BEGUN) {
        r->status = in->status;
        r->attempts = s->attempts;
    }
    if (code.size > 0)
        snprintf(r->code, sizeof r->code, SLICE_FMT,
                 (int)(code.size < SAGA_CODE_SIZE_MAX ? code.size : SAGA_CODE_SIZE_MAX), code.p);
    struct ficus_error error = {0};
    enum ficus_err err = saga_fold(def, s, r, &error);
    FICUS_ASSERT(err == FICUS_ERR_OK);
    return r;
}

/* What comes next in the state just reached: begin its step, if it has one. */
static void go_on(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                  const struct saga_input *in)
{
    if (s->name != SAGA_RUNNING && s->name != SAGA_UNDOING)
        return;
    if (!s->begun)
        emit(def, s, out, s->undo ? SAGA_RECORD_UNDO_BEGUN : SAGA_RECORD_DO_BEGUN, in, SLICE_NONE);
    s->attempts = 1;
    out->action = SAGA_ACTION_CALL;
}

static int64_t give_up_at(const struct saga_def *def, const struct saga_state *s)
{
    const struct saga_step *step = &def->steps[s->step];
    if (s->undo || step->give_up_ms <= 0 || step->pivot || saga_step_is_forward_only(def, s->step) ||
        !saga_call_present(&step->undo))
        return INT64_MAX;
    /* Of time in which somebody tried: after an outage the participants often come up later than the engine, and an order
     * must not fall for that. */
    return (s->begun_ms > s->resumed_ms ? s->begun_ms : s->resumed_ms) + step->give_up_ms;
}

static void give_up(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                    const struct saga_input *in)
{
    const char *code = def->steps[s->step].code;
    emit(def, s, out, SAGA_RECORD_DO_GIVEN_UP, in, slice_str(code != NULL && code[0] != '\0' ? code : "given_up"));
    go_on(def, s, out, in);
}

static void on_unknown(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                       const struct saga_input *in)
{
    int64_t end_ms = give_up_at(def, s);
    if (in->wall_ms >= end_ms) {
        give_up(def, s, out, in);
        return;
    }
    unsigned shift = s->attempts < 6 ? s->attempts - 1 : 5;
    int64_t cap_ms = (int64_t)SAGA_BACKOFF_MS_MIN << shift;
    if (cap_ms > SAGA_BACKOFF_MS_MAX)
        cap_ms = SAGA_BACKOFF_MS_MAX;
    out->action = SAGA_ACTION_TIMER;
    out->delay_ms = 1 + (int64_t)(in->random % (uint64_t)cap_ms);
    if (end_ms != INT64_MAX && out->delay_ms > end_ms - in->wall_ms)
        out->delay_ms = end_ms - in->wall_ms;
}

static void on_answer(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                      const struct saga_input *in)
{
    switch (in->answer) {
    case SAGA_ANSWER_UNKNOWN:
        on_unknown(def, s, out, in);
        return;
    case SAGA_ANSWER_DONE:
        emit(def, s, out, s->undo ? SAGA_RECORD_UNDO_DONE : SAGA_RECORD_DO_DONE, in, SLICE_NONE);
        break;
    case SAGA_ANSWER_REFUSED:
        emit(def, s, out, s->undo ? SAGA_RECORD_UNDO_REFUSED : SAGA_RECORD_DO_REFUSED, in,
             in->code.size > 0 ? in->code : SLICE("refused"));
        break;
    }
    go_on(def, s, out, in);
}

void saga_machine_input(const struct saga_def *def, struct saga_state *s, const struct saga_input *in,
                        struct saga_output *ret_out)
{
    *ret_out = (struct saga_output){0};
    bool calling = (s->name == SAGA_RUNNING || s->name == SAGA_UNDOING) && s->begun;
    switch (in->kind) {
    case SAGA_INPUT_START:
        if (s->name != SAGA_NONE)
            return;
        emit(def, s, ret_out, SAGA_RECORD_STARTED, in, SLICE_NONE);
        go_on(def, s, ret_out, in);
        return;
    case SAGA_INPUT_ANSWER:
        if (calling)
            on_answer(def, s, ret_out, in);
        return;
    case SAGA_INPUT_TIMER:
        if (!calling)
            return;
        if (in->wall_ms >= give_up_at(def, s)) {
            give_up(def, s, ret_out, in);
            return;
        }
        if (s->attempts < UINT32_MAX)
            s->attempts++;
        ret_out->action = SAGA_ACTION_CALL;
        return;
    case SAGA_INPUT_RESUME:
        /* A begun step is called again at once, also past its give_up: whether it was done is unknown, and time in
         * which nobody tried must not decide an order's fate. */
        s->resumed_ms = in->wall_ms;
        go_on(def, s, ret_out, in);
        return;
    case SAGA_INPUT_RETRY:
        if (s->name != SAGA_STUCK)
            return;
        emit(def, s, ret_out, SAGA_RECORD_RETRIED, in, SLICE_NONE);
        go_on(def, s, ret_out, in);
        return;
    }
    FICUS_UNREACHABLE();
}

enum saga_answer saga_classify(enum ficus_err err, int status)
{
    if (err != FICUS_ERR_OK)
        return SAGA_ANSWER_UNKNOWN;
    if (status >= 200 && status <= 299)
        return SAGA_ANSWER_DONE;
    if (status >= 400 && status <= 499 && status != 401 && status != 408 && status != 425 && status != 429)
        return SAGA_ANSWER_REFUSED;
    return SAGA_ANSWER_UNKNOWN;
}

/* ---- names ---- */

bool saga_state_is_final(enum saga_state_name name)
{
    return name == SAGA_COMPLETED || name == SAGA_COMPENSATED;
}

const char *saga_state_text(enum saga_state_name name)
{
    switch (name) {
#define X(n, text) \
    case SAGA_##n: \
        return text;
        SAGA_STATE_LIST(X)
#undef X
    case SAGA_NONE:
    case SAGA_STATE_COUNT:
        break;
    }
    return "none";
}

bool saga_state_parse(struct slice text, enum saga_state_name *ret_name)
{
    for (enum saga_state_name n = SAGA_RUNNING; n < SAGA_STATE_COUNT; n++) {
        if (slice_eq_str(text, saga_state_text(n))) {
            *ret_name = n;
            return true;
        }
    }
    return false;
}

static const char *const record_texts[SAGA_RECORD_COUNT] = {
#define X(name, text) [SAGA_RECORD_##name] = text,
    SAGA_RECORD_LIST(X)
#undef X
};

const char *saga_record_text(enum saga_record_kind kind)
{
    FICUS_ASSERT((unsigned)kind < SAGA_RECORD_COUNT);
    return record_texts[kind];
}

bool saga_record_parse(struct slice text, enum saga_record_kind *ret_kind)
{
    for (size_t i = 0; i < SAGA_RECORD_COUNT; i++) {
        if (slice_eq_str(text, record_texts[i])) {
            *ret_kind = (enum saga_record_kind)i;
            return true;
        }
    }
    return false;
}
