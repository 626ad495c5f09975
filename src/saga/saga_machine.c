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

static uint32_t bit(size_t step)
{
    _Static_assert(SAGA_STEPS_MAX <= 32, "one bit of saga_state.signals for each step");
    return (uint32_t)1 << step;
}

static bool has_call(const struct saga_def *def, size_t step)
{
    return saga_call_present(&def->steps[step].call);
}

/* First step from `step` on with something to do: a call, a wait, or a signal that did not come yet. The others were
 * done before the saga began. */
static size_t next_step(const struct saga_def *def, const struct saga_state *s, size_t step)
{
    for (; step < def->step_count; step++)
        if (has_call(def, step) || (saga_step_waits(&def->steps[step]) && (s->signals & bit(step)) == 0))
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
    size_t step = next_step(def, s, from);
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

static void fold_wait_begun(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    fold_begun(def, s, r);
    s->name = SAGA_WAITING;
}

/* What is begun is perhaps done. */
static size_t begun_end(const struct saga_state *s)
{
    return s->begun ? s->step + 1 : s->step;
}

static void fold_turned_back(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    fail(s, r);
    enter_undoing(def, s, begun_end(s));
}

static void fold_signalled(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    s->signals |= bit(r->step);
    if (s->name == SAGA_WAITING && s->step == r->step)
        enter_running(def, s, r->step);
}

static void fold_terminated(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    (void)def;
    (void)r;
    s->name = SAGA_TERMINATED;
}

static void fold_retried(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    (void)def;
    (void)r;
    s->name = s->undo ? SAGA_UNDOING : SAGA_RUNNING;
}

/* In which states a record may come. at_step: it must name the present step; begun: what s->begun must be. */
enum begun { NOT_BEGUN, BEGUN, EITHER };
enum {
    IN_NONE = 1 << SAGA_NONE,
    IN_RUNNING = 1 << SAGA_RUNNING,
    IN_WAITING = 1 << SAGA_WAITING,
    IN_UNDOING = 1 << SAGA_UNDOING,
    IN_STUCK = 1 << SAGA_STUCK,
    IN_FORWARD = IN_RUNNING | IN_WAITING,
};
static const struct {
    unsigned from;
    bool at_step;
    enum begun begun;
    void (*fold)(const struct saga_def *def, struct saga_state *s, const struct saga_record *r);
} fold_table[SAGA_RECORD_COUNT] = {
    [SAGA_RECORD_STARTED] = {IN_NONE, false, NOT_BEGUN, fold_started},
    [SAGA_RECORD_DO_BEGUN] = {IN_RUNNING, true, NOT_BEGUN, fold_begun},
    [SAGA_RECORD_DO_DONE] = {IN_RUNNING, true, BEGUN, fold_do_done},
    [SAGA_RECORD_DO_REFUSED] = {IN_RUNNING, true, BEGUN, fold_do_refused},
    [SAGA_RECORD_DO_GIVEN_UP] = {IN_RUNNING, true, BEGUN, fold_do_given_up},
    [SAGA_RECORD_UNDO_BEGUN] = {IN_UNDOING, true, NOT_BEGUN, fold_begun},
    [SAGA_RECORD_UNDO_DONE] = {IN_UNDOING, true, BEGUN, fold_undo_done},
    [SAGA_RECORD_UNDO_REFUSED] = {IN_UNDOING, true, BEGUN, fold_undo_refused},
    [SAGA_RECORD_RETRIED] = {IN_STUCK, false, NOT_BEGUN, fold_retried},
    [SAGA_RECORD_WAIT_BEGUN] = {IN_RUNNING, true, NOT_BEGUN, fold_wait_begun},
    [SAGA_RECORD_WAIT_DONE] = {IN_WAITING, true, BEGUN, fold_do_done},
    [SAGA_RECORD_WAIT_GIVEN_UP] = {IN_WAITING, true, BEGUN, fold_turned_back},
    [SAGA_RECORD_SIGNALLED] = {IN_FORWARD, false, EITHER, fold_signalled},
    [SAGA_RECORD_SIGNAL_REFUSED] = {IN_FORWARD, false, EITHER, fold_turned_back},
    [SAGA_RECORD_CANCELLED] = {IN_FORWARD | IN_STUCK, false, EITHER, fold_turned_back},
    [SAGA_RECORD_TERMINATED] = {IN_FORWARD | IN_UNDOING | IN_STUCK, false, EITHER, fold_terminated},
};

/* Does every call that is begun or done have an undo? */
static bool has_way_back(const struct saga_def *def, const struct saga_state *s)
{
    for (size_t i = 0; i < begun_end(s); i++)
        if (has_call(def, i) && !saga_call_present(&def->steps[i].undo))
            return false;
    return true;
}

static void check_invariants(const struct saga_def *def, const struct saga_state *s)
{
    bool failed = s->failure[0] != '\0';
    switch (s->name) {
    case SAGA_RUNNING:
    case SAGA_WAITING:
        FICUS_ASSERT(s->step < def->step_count && next_step(def, s, s->step) == s->step); /* I1 */
        FICUS_ASSERT(s->name == SAGA_RUNNING || (!has_call(def, s->step) && s->begun));   /* I1 */
        FICUS_ASSERT(!s->undo && !failed);                                                /* I2 */
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
    case SAGA_TERMINATED: /* as it was left */
        FICUS_ASSERT(s->step < def->step_count);
        break;
    case SAGA_NONE:
    case SAGA_STATE_COUNT:
        FICUS_UNREACHABLE();
    }
}

/* What the table does not say: NULL, or why the record does not fit its step. */
static const char *misfit(const struct saga_def *def, const struct saga_state *s, const struct saga_record *r)
{
    const struct saga_step *step = &def->steps[r->step];
    switch (r->kind) {
    case SAGA_RECORD_DO_BEGUN: return has_call(def, r->step) ? NULL : "it has no call";
    case SAGA_RECORD_WAIT_BEGUN: return has_call(def, r->step) ? "it does not wait" : NULL;
    case SAGA_RECORD_WAIT_DONE:
        return step->signal != NULL && step->on_timeout != SAGA_ON_TIMEOUT_GO_ON ? "it waits for its signal" : NULL;
    case SAGA_RECORD_DO_GIVEN_UP:
        if (!saga_call_present(&step->undo))
            return "it was given up but has no undo";
        break;
    case SAGA_RECORD_WAIT_GIVEN_UP:
        if (step->signal == NULL || step->on_timeout != SAGA_ON_TIMEOUT_UNDO)
            return "its time does not undo";
        break;
    case SAGA_RECORD_SIGNALLED:
        return step->signal == NULL || r->step < s->step || (s->signals & bit(r->step)) != 0 ? "it waits for no signal" : NULL;
    case SAGA_RECORD_SIGNAL_REFUSED:
        if (step->signal == NULL || r->step < s->step || (s->signals & bit(r->step)) != 0 || !has_way_back(def, s))
            return "it waits for no signal";
        break;
    case SAGA_RECORD_CANCELLED:
        if (s->undo || !has_way_back(def, s))
            return "there is no way back";
        break;
    case SAGA_RECORD_DO_REFUSED: break;
    default: return NULL;
    }
    return r->code[0] == '\0' ? "there is no code" : NULL;
}

enum ficus_err saga_fold(const struct saga_def *def, struct saga_state *s, const struct saga_record *r,
                         struct ficus_error *reterr)
{
    FICUS_ASSERT((unsigned)r->kind < SAGA_RECORD_COUNT);
    if ((fold_table[r->kind].from & 1u << s->name) == 0 ||
        (fold_table[r->kind].begun != EITHER && s->begun != (fold_table[r->kind].begun == BEGUN)) ||
        (fold_table[r->kind].at_step && r->step != s->step) || r->step >= def->step_count)
        return err_set(reterr, FICUS_ERR_CORRUPT, "saga %s: record %s of step %zu cannot follow state %s at step %zu",
                       def->name, saga_record_text(r->kind), r->step, saga_state_text(s->name), s->step);
    const char *wrong = misfit(def, s, r);
    if (wrong != NULL)
        return err_set(reterr, FICUS_ERR_CORRUPT, "saga %s: record %s of step %s: %s", def->name, saga_record_text(r->kind),
                       def->steps[r->step].name, wrong);
    fold_table[r->kind].fold(def, s, r);
    check_invariants(def, s);
    return FICUS_ERR_OK;
}

/* ---- inputs ---- */

static struct slice code_of(const struct saga_step *step, const char *fallback)
{
    return slice_str(step->code != NULL && step->code[0] != '\0' ? step->code : fallback);
}

static struct saga_record *emit(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                                enum saga_record_kind kind, const struct saga_input *in, struct slice code)
{
    FICUS_ASSERT(out->record_count < SAGA_OUTPUT_RECORDS_MAX);
    struct saga_record *r = &out->records[out->record_count++];
    *r = (struct saga_record){.kind = kind, .at_ms = in->wall_ms};
    if (saga_record_has_step(kind))
        r->step = in->kind == SAGA_INPUT_SIGNAL && out->record_count == 1 ? in->step : s->step;
    if (out->record_count == 1) { /* the others follow from it */
        r->note = in->note;
        r->status = in->kind == SAGA_INPUT_ANSWER ? in->status : 0;
        r->attempts = in->kind == SAGA_INPUT_ANSWER ? s->attempts : 0;
    }
    if (code.size > 0)
        snprintf(r->code, sizeof r->code, SLICE_FMT,
                 (int)(code.size < SAGA_CODE_SIZE_MAX ? code.size : SAGA_CODE_SIZE_MAX), code.p);
    struct ficus_error error = {0};
    enum ficus_err err = saga_fold(def, s, r, &error);
    FICUS_ASSERT(err == FICUS_ERR_OK);
    return r;
}

static int64_t wait_of(const struct saga_step *step)
{
    return step->signal != NULL ? step->timeout_ms : step->wait_ms;
}

/* What comes next in the state just reached: begin its step, if it has one. */
static void go_on(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                  const struct saga_input *in)
{
    if (s->name == SAGA_RUNNING && !has_call(def, s->step)) {
        emit(def, s, out, SAGA_RECORD_WAIT_BEGUN, in, SLICE_NONE);
        out->action = SAGA_ACTION_REST;
        out->delay_ms = wait_of(&def->steps[s->step]);
        return;
    }
    if (s->name == SAGA_WAITING)
        out->action = SAGA_ACTION_REST; /* as long as it was */
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
    emit(def, s, out, SAGA_RECORD_DO_GIVEN_UP, in, code_of(&def->steps[s->step], "given_up"));
    go_on(def, s, out, in);
}

static void wait_over(const struct saga_def *def, struct saga_state *s, struct saga_output *out, const struct saga_input *in)
{
    const struct saga_step *step = &def->steps[s->step];
    if (step->signal != NULL && step->on_timeout == SAGA_ON_TIMEOUT_UNDO)
        emit(def, s, out, SAGA_RECORD_WAIT_GIVEN_UP, in, code_of(step, "timed_out"));
    else
        emit(def, s, out, SAGA_RECORD_WAIT_DONE, in, SLICE_NONE);
    go_on(def, s, out, in);
}

static void on_signal(const struct saga_def *def, struct saga_state *s, struct saga_output *out, const struct saga_input *in)
{
    bool same;
    if (saga_signal_obstacle(def, s, in->step, in->refuse, &same) != NULL)
        return;
    uint32_t attempts = s->attempts;
    bool goes_on = !in->refuse && s->name == SAGA_RUNNING;
    if (in->refuse)
        emit(def, s, out, SAGA_RECORD_SIGNAL_REFUSED, in, code_of(&def->steps[in->step], "refused"));
    else
        emit(def, s, out, SAGA_RECORD_SIGNALLED, in, SLICE_NONE);
    go_on(def, s, out, in);
    if (goes_on && attempts < UINT32_MAX) /* its step is the same: the call is one more attempt */
        s->attempts = attempts + 1;
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
    bool same, calling = (s->name == SAGA_RUNNING || s->name == SAGA_UNDOING) && s->begun;
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
        if (s->name == SAGA_WAITING && wait_of(&def->steps[s->step]) != SAGA_NEVER)
            wait_over(def, s, ret_out, in);
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
    case SAGA_INPUT_CANCEL:
        if (saga_cancel_obstacle(def, s, &same) != NULL)
            return;
        emit(def, s, ret_out, SAGA_RECORD_CANCELLED, in, SLICE("cancelled"));
        go_on(def, s, ret_out, in);
        return;
    case SAGA_INPUT_TERMINATE:
        if (saga_terminate_obstacle(s, &same) == NULL)
            emit(def, s, ret_out, SAGA_RECORD_TERMINATED, in, SLICE_NONE);
        return;
    case SAGA_INPUT_SIGNAL: on_signal(def, s, ret_out, in); return;
    }
    FICUS_UNREACHABLE();
}

/* ---- what may be said from outside ---- */

static const char *ended(const struct saga_state *s)
{
    switch (s->name) {
    case SAGA_COMPLETED: return "it is completed";
    case SAGA_COMPENSATED: return "it is compensated";
    case SAGA_TERMINATED: return "it is terminated";
    default: return NULL;
    }
}

const char *saga_cancel_obstacle(const struct saga_def *def, const struct saga_state *s, bool *ret_same)
{
    *ret_same = (s->name == SAGA_UNDOING || s->name == SAGA_COMPENSATED) && strcmp(s->failure, "cancelled") == 0;
    if (ended(s) != NULL)
        return ended(s);
    if (s->undo)
        return s->name == SAGA_STUCK ? "it is being undone, and an undo was refused: retry or terminate it" : "it is being undone already";
    if (has_way_back(def, s))
        return NULL;
    size_t pivot = pivot_of(def);
    if (pivot == s->step)
        return "its pivot is under way and perhaps done: wait for its answer, or terminate it";
    return pivot != NO_STEP ? "its pivot is done, and behind that nothing is undone: let it end, or terminate it"
                            : "what it has done has no undo: let it end, or terminate it";
}

const char *saga_terminate_obstacle(const struct saga_state *s, bool *ret_same)
{
    *ret_same = s->name == SAGA_TERMINATED;
    return ended(s);
}

const char *saga_signal_obstacle(const struct saga_def *def, const struct saga_state *s, size_t step, bool refuse, bool *ret_same)
{
    FICUS_ASSERT(step < def->step_count && def->steps[step].signal != NULL);
    bool given = (s->signals & bit(step)) != 0, undone = s->undo && s->failure[0] != '\0';
    *ret_same = refuse ? undone && slice_eq_str(code_of(&def->steps[step], "refused"), s->failure) : given;
    if (given)
        return refuse ? "the signal was given before, and cannot be refused any more" : "the signal was given before";
    if (ended(s) != NULL)
        return ended(s);
    if (s->undo)
        return "it is being undone";
    if (s->name == SAGA_STUCK || step < s->step) /* stuck: behind the pivot */
        return "its time was over, and the instance has gone on without it";
    return refuse && !has_way_back(def, s) ? "what it has done has no undo" : NULL;
}

bool saga_step_is_left(const struct saga_def *def, const struct saga_state *s, size_t step)
{
    bool undo = saga_call_present(&def->steps[step].undo);
    if (s->name == SAGA_COMPENSATED || (!undo && !has_call(def, step)))
        return false;
    if (s->undo)
        return undo && step <= s->step;
    return step < begun_end(s);
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
    return name == SAGA_COMPLETED || name == SAGA_COMPENSATED || name == SAGA_TERMINATED;
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

bool saga_record_has_step(enum saga_record_kind kind)
{
    return kind != SAGA_RECORD_STARTED && kind != SAGA_RECORD_RETRIED && kind != SAGA_RECORD_CANCELLED &&
           kind != SAGA_RECORD_TERMINATED;
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
