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

/* What the step does is somebody else's, who has to be asked to undo it. */
static bool acts(const struct saga_def *def, size_t step)
{
    return saga_step_acts(&def->steps[step]);
}

static bool has_child(const struct saga_def *def, size_t step)
{
    return def->steps[step].saga != NULL;
}

static bool is_done(const struct saga_state *s, size_t step)
{
    return (s->done & bit(step)) != 0;
}

static bool is_open(const struct saga_state *s, size_t step)
{
    return (s->open & bit(step)) != 0;
}

bool saga_child_runs(const struct saga_state *s, size_t step)
{
    return (s->children & bit(step)) != 0;
}

/* Going forward: is the step to be called, or its child to be started? */
static bool is_called(const struct saga_def *def, const struct saga_state *s, size_t step)
{
    return is_open(s, step) && acts(def, step) && !saga_child_runs(s, step);
}

size_t saga_slot(const struct saga_state *s, size_t step)
{
    FICUS_ASSERT(step >= s->step && step - s->step < SAGA_WIDTH_MAX);
    return step - s->step;
}

/* Last step that is done, or perhaps done, and has an undo. */
static size_t last_undo(const struct saga_def *def, const struct saga_state *s)
{
    size_t step = def->step_count;
    while (step-- > 0)
        if (is_done(s, step) && saga_call_present(&def->steps[step].undo))
            return step;
    return NO_STEP;
}

/* ---- fold ---- */

/* A step of the present group changed: what the instance is now. */
static void settle(const struct saga_def *def, struct saga_state *s)
{
    s->name = SAGA_COMPLETED;
    while (s->step < def->step_count) {
        size_t end = saga_group_end(def, s->step);
        bool calls = false, fresh = false;
        for (size_t i = s->step; i < end; i++) {
            if ((s->signals & bit(i)) != 0 && !is_open(s, i)) /* it came before */
                s->done |= bit(i);
            calls = calls || is_called(def, s, i);
            fresh = fresh || (!is_open(s, i) && !is_done(s, i));
        }
        if (calls || fresh || s->open != 0) {
            s->name = calls || fresh ? SAGA_RUNNING : SAGA_WAITING;
            return;
        }
        s->step = end;
    }
}

static void undo_next(const struct saga_def *def, struct saga_state *s)
{
    size_t step = last_undo(def, s);
    s->name = step == NO_STEP ? SAGA_COMPENSATED : SAGA_UNDOING;
    s->step = step == NO_STEP ? 0 : step;
    s->undo = true;
    s->open = 0;
}

/* What is open is perhaps done. */
static void turn_back(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    memcpy(s->failure, r->code, sizeof s->failure);
    for (size_t i = 0; i < def->step_count; i++)
        if (is_open(s, i) && has_child(def, i))
            s->children |= bit(i);
    s->done |= s->open;
    undo_next(def, s);
}

static void fold_started(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    (void)r;
    for (size_t i = 0; i < def->step_count; i++)
        if (!acts(def, i) && !saga_step_waits(&def->steps[i])) /* it was done before the saga began */
            s->done |= bit(i);
    settle(def, s);
}

static void fold_begun(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    s->open |= bit(r->step);
    s->begun_ms[saga_slot(s, r->step)] = r->at_ms;
    if (!s->undo)
        settle(def, s);
}

static void fold_do_done(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    s->open &= ~bit(r->step);
    s->done |= bit(r->step);
    settle(def, s);
}

static void fold_do_refused(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    s->open &= ~bit(r->step); /* the refused step itself had no effect */
    if (saga_step_is_forward_only(def, r->step)) {
        s->name = SAGA_STUCK;
        return;
    }
    turn_back(def, s, r);
}

static void fold_turned_back(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    turn_back(def, s, r);
}

static void fold_child_started(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    s->children |= bit(r->step);
    settle(def, s);
}

static void fold_child_completed(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    s->children &= ~bit(r->step);
    if (!s->undo)
        fold_do_done(def, s, r);
}

static void fold_child_failed(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    s->children &= ~bit(r->step);
    if (!s->undo) {
        fold_do_refused(def, s, r);
        return;
    }
    s->done &= ~bit(r->step); /* by its own saga */
    if (s->name == SAGA_UNDOING && r->step == s->step)
        undo_next(def, s);
}

static void fold_undo_done(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    s->done &= ~bit(r->step);
    s->children &= ~bit(r->step);
    undo_next(def, s);
}

static void fold_undo_refused(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    (void)def;
    (void)r;
    s->name = SAGA_STUCK;
    s->open = 0;
}

static void fold_signalled(const struct saga_def *def, struct saga_state *s, const struct saga_record *r)
{
    s->signals |= bit(r->step);
    s->open &= ~bit(r->step);
    settle(def, s);
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

/* In which states a record may come. at: it must name a step of the present group (undoing: the present one) that is so;
 * CHILD: a child that is awaited; ANY: any step, or none. */
enum at { ANY, FRESH, OPEN, CHILD };
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
    enum at at;
    void (*fold)(const struct saga_def *def, struct saga_state *s, const struct saga_record *r);
} fold_table[SAGA_RECORD_COUNT] = {
    [SAGA_RECORD_STARTED] = {IN_NONE, ANY, fold_started},
    [SAGA_RECORD_DO_BEGUN] = {IN_RUNNING, FRESH, fold_begun},
    [SAGA_RECORD_DO_DONE] = {IN_RUNNING, OPEN, fold_do_done},
    [SAGA_RECORD_DO_REFUSED] = {IN_RUNNING, OPEN, fold_do_refused},
    [SAGA_RECORD_DO_GIVEN_UP] = {IN_FORWARD, OPEN, fold_turned_back},
    [SAGA_RECORD_UNDO_BEGUN] = {IN_UNDOING, FRESH, fold_begun},
    [SAGA_RECORD_UNDO_DONE] = {IN_UNDOING, OPEN, fold_undo_done},
    [SAGA_RECORD_UNDO_REFUSED] = {IN_UNDOING, OPEN, fold_undo_refused},
    [SAGA_RECORD_RETRIED] = {IN_STUCK, ANY, fold_retried},
    [SAGA_RECORD_WAIT_BEGUN] = {IN_RUNNING, FRESH, fold_begun},
    [SAGA_RECORD_WAIT_DONE] = {IN_FORWARD, OPEN, fold_do_done},
    [SAGA_RECORD_WAIT_GIVEN_UP] = {IN_FORWARD, OPEN, fold_turned_back},
    [SAGA_RECORD_SIGNALLED] = {IN_FORWARD, ANY, fold_signalled},
    [SAGA_RECORD_SIGNAL_REFUSED] = {IN_FORWARD, ANY, fold_turned_back},
    [SAGA_RECORD_CHILD_STARTED] = {IN_RUNNING, OPEN, fold_child_started},
    [SAGA_RECORD_CHILD_COMPLETED] = {IN_FORWARD | IN_UNDOING | IN_STUCK, CHILD, fold_child_completed},
    [SAGA_RECORD_CHILD_FAILED] = {IN_FORWARD | IN_UNDOING | IN_STUCK, CHILD, fold_child_failed},
    [SAGA_RECORD_CANCELLED] = {IN_FORWARD | IN_STUCK, ANY, fold_turned_back},
    [SAGA_RECORD_TERMINATED] = {IN_FORWARD | IN_UNDOING | IN_STUCK, ANY, fold_terminated},
};

static bool is_at(const struct saga_def *def, const struct saga_state *s, size_t step, enum at at)
{
    if (at == ANY)
        return true;
    if (at == CHILD)
        return saga_child_is_awaited(def, s, step);
    if (s->undo)
        return step == s->step && is_open(s, step) == (at == OPEN);
    return saga_group_first(def, step) == s->step && is_open(s, step) == (at == OPEN) && !is_done(s, step);
}

/* Does every call that is begun or done have an undo? */
static bool has_way_back(const struct saga_def *def, const struct saga_state *s)
{
    for (size_t i = 0; i < def->step_count; i++)
        if ((is_open(s, i) || is_done(s, i)) && acts(def, i) && !saga_call_present(&def->steps[i].undo))
            return false;
    return true;
}

static bool is_in_group(const struct saga_def *def, const struct saga_state *s, uint32_t steps)
{
    for (size_t i = 0; i < def->step_count; i++)
        if ((steps & bit(i)) != 0 && (s->undo ? i : saga_group_first(def, i)) != s->step)
            return false;
    return true;
}

static void check_invariants(const struct saga_def *def, const struct saga_state *s)
{
    bool failed = s->failure[0] != '\0';
    FICUS_ASSERT(s->undo || (s->open & s->done) == 0); /* I5 */
    FICUS_ASSERT(is_in_group(def, s, s->open));        /* I5 */
    FICUS_ASSERT((s->children & ~(s->undo ? s->done : s->open)) == 0); /* I6 */
    switch (s->name) {
    case SAGA_RUNNING:
    case SAGA_WAITING:
        FICUS_ASSERT(s->step < def->step_count && !is_done(s, saga_shown_step(def, s))); /* I1 */
        FICUS_ASSERT(s->name == SAGA_RUNNING || saga_wait_ms(def, s) != 0);              /* I1 */
        FICUS_ASSERT(!s->undo && !failed);                                             /* I2 */
        break;
    case SAGA_UNDOING:
        FICUS_ASSERT(s->step == last_undo(def, s));                                    /* I1 */
        FICUS_ASSERT(s->undo && failed);                                               /* I2 */
        FICUS_ASSERT(pivot_of(def) == NO_STEP || !is_done(s, pivot_of(def)));          /* I3 */
        break;
    case SAGA_COMPLETED:
        FICUS_ASSERT(!failed && s->open == 0); /* I2, I4 */
        break;
    case SAGA_COMPENSATED:
        FICUS_ASSERT(failed && s->open == 0); /* I2, I4 */
        break;
    case SAGA_STUCK:
    case SAGA_TERMINATED: /* as it was left */
        FICUS_ASSERT(s->step < def->step_count);
        break;
    case SAGA_NONE:
    case SAGA_STATE_COUNT:
        FICUS_UNREACHABLE();
    }
}

/* Has the time of this signal's step gone by? */
static bool is_past(const struct saga_def *def, const struct saga_state *s, size_t step)
{
    return saga_group_first(def, step) < s->step || is_done(s, step);
}

static bool takes_signal(const struct saga_def *def, const struct saga_state *s, size_t step)
{
    return def->steps[step].signal != NULL && (s->signals & bit(step)) == 0 && !is_past(def, s, step);
}

/* What the table does not say: NULL, or why the record does not fit its step. */
static const char *misfit(const struct saga_def *def, const struct saga_state *s, const struct saga_record *r)
{
    const struct saga_step *step = &def->steps[r->step];
    switch (r->kind) {
    case SAGA_RECORD_DO_BEGUN: return acts(def, r->step) ? NULL : "it has no call";
    case SAGA_RECORD_WAIT_BEGUN: return acts(def, r->step) ? "it does not wait" : NULL;
    case SAGA_RECORD_DO_DONE: return acts(def, r->step) && !has_child(def, r->step) ? NULL : "it has no call";
    case SAGA_RECORD_CHILD_STARTED: return has_child(def, r->step) && !saga_child_runs(s, r->step) ? NULL : "it has no child to start";
    case SAGA_RECORD_WAIT_DONE:
        if (acts(def, r->step))
            return "it does not wait";
        return step->signal != NULL && step->on_timeout != SAGA_ON_TIMEOUT_GO_ON ? "it waits for its signal" : NULL;
    case SAGA_RECORD_DO_GIVEN_UP:
        if (!acts(def, r->step) || !saga_call_present(&step->undo))
            return "it was given up but has no undo";
        break;
    case SAGA_RECORD_WAIT_GIVEN_UP:
        if (step->signal == NULL || step->on_timeout != SAGA_ON_TIMEOUT_UNDO)
            return "its time does not undo";
        break;
    case SAGA_RECORD_SIGNALLED: return takes_signal(def, s, r->step) ? NULL : "it waits for no signal";
    case SAGA_RECORD_SIGNAL_REFUSED:
        if (!takes_signal(def, s, r->step) || !has_way_back(def, s))
            return "it waits for no signal";
        break;
    case SAGA_RECORD_CANCELLED:
        if (s->undo || !has_way_back(def, s))
            return "there is no way back";
        break;
    case SAGA_RECORD_UNDO_REFUSED:
        if (saga_child_runs(s, r->step))
            return "its child has not ended";
        break;
    case SAGA_RECORD_CHILD_COMPLETED: return NULL;
    case SAGA_RECORD_DO_REFUSED:
        if (!acts(def, r->step) || saga_child_runs(s, r->step))
            return "it is not called";
        break;
    default: return NULL;
    }
    return r->code[0] == '\0' ? "there is no code" : NULL;
}

enum ficus_err saga_fold(const struct saga_def *def, struct saga_state *s, const struct saga_record *r,
                         struct ficus_error *reterr)
{
    FICUS_ASSERT((unsigned)r->kind < SAGA_RECORD_COUNT);
    if (r->step >= def->step_count || (fold_table[r->kind].from & 1u << s->name) == 0 ||
        !is_at(def, s, r->step, fold_table[r->kind].at))
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

static void emit(const struct saga_def *def, struct saga_state *s, struct saga_output *out, enum saga_record_kind kind,
                 size_t step, const struct saga_input *in, struct slice code)
{
    FICUS_ASSERT(out->record_count < SAGA_OUTPUT_RECORDS_MAX);
    struct saga_record *r = &out->records[out->record_count++];
    *r = (struct saga_record){.kind = kind, .at_ms = in->wall_ms};
    if (saga_record_has_step(kind))
        r->step = step;
    if (out->record_count == 1) { /* the others follow from it */
        r->note = in->note;
        r->status = in->kind == SAGA_INPUT_ANSWER ? in->status : 0;
        r->attempts = in->kind == SAGA_INPUT_ANSWER ? s->attempts[saga_slot(s, step)] : 0;
    }
    if (code.size > 0)
        snprintf(r->code, sizeof r->code, SLICE_FMT,
                 (int)(code.size < SAGA_CODE_SIZE_MAX ? code.size : SAGA_CODE_SIZE_MAX), code.p);
    struct ficus_error error = {0};
    enum ficus_err err = saga_fold(def, s, r, &error);
    FICUS_ASSERT(err == FICUS_ERR_OK);
}

static void call(struct saga_output *out, size_t step, int64_t delay_ms)
{
    FICUS_ASSERT(out->action_count < SAGA_WIDTH_MAX);
    out->actions[out->action_count++] = (struct saga_action){step, delay_ms};
}

/* How long what is open and not called is waited for; a child from its step's begin, also while it is being started. */
static int64_t wait_of(const struct saga_step *step)
{
    if (step->saga != NULL)
        return step->give_up_ms > 0 ? step->give_up_ms : SAGA_NEVER;
    return step->signal != NULL ? step->timeout_ms : step->wait_ms;
}

/* Begin what of the steps in [first, end) is to be begun and has a call (or none, as `calls` says); call it. */
static void begin_fresh(const struct saga_def *def, struct saga_state *s, size_t end, bool calls, struct saga_output *out,
                        const struct saga_input *in)
{
    for (size_t i = s->step; i < end; i++) {
        if (acts(def, i) != calls || is_open(s, i) || is_done(s, i))
            continue;
        emit(def, s, out, calls ? SAGA_RECORD_DO_BEGUN : SAGA_RECORD_WAIT_BEGUN, i, in, SLICE_NONE);
        if (!calls)
            continue;
        s->attempts[saga_slot(s, i)] = 1;
        call(out, i, 0);
    }
}

/* Call what is open already, as nobody does. */
static void call_again(const struct saga_def *def, struct saga_state *s, struct saga_output *out)
{
    for (size_t i = 0; i < def->step_count; i++) {
        if (!saga_is_calling(def, s, i, s->undo))
            continue;
        s->attempts[saga_slot(s, i)] = 1;
        call(out, i, 0);
    }
}

/* What comes next in the state just reached: begin its steps, or its undo. Calls first: a group with one is never WAITING
 * while it begins. */
static void go_on(const struct saga_def *def, struct saga_state *s, struct saga_output *out, const struct saga_input *in)
{
    if (s->name == SAGA_RUNNING) {
        size_t end = saga_group_end(def, s->step);
        begin_fresh(def, s, end, true, out, in);
        begin_fresh(def, s, end, false, out, in);
    } else if (s->name == SAGA_UNDOING && s->open == 0) {
        emit(def, s, out, SAGA_RECORD_UNDO_BEGUN, s->step, in, SLICE_NONE);
        s->attempts[0] = 1;
        call(out, s->step, 0);
    }
}

static int64_t give_up_at(const struct saga_def *def, const struct saga_state *s, size_t at)
{
    const struct saga_step *step = &def->steps[at];
    if (s->undo || step->saga != NULL || step->give_up_ms <= 0 || step->pivot || saga_step_is_forward_only(def, at) ||
        !saga_call_present(&step->undo))
        return INT64_MAX;
    /* Of time in which somebody tried: after an outage the participants often come up later than the engine, and an order
     * must not fall for that. */
    int64_t begun_ms = s->begun_ms[saga_slot(s, at)];
    return (begun_ms > s->resumed_ms ? begun_ms : s->resumed_ms) + step->give_up_ms;
}

static void give_up(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                    const struct saga_input *in)
{
    emit(def, s, out, SAGA_RECORD_DO_GIVEN_UP, in->step, in, code_of(&def->steps[in->step], "given_up"));
    go_on(def, s, out, in);
}

static bool is_waited_for(const struct saga_def *def, size_t step)
{
    return !saga_call_present(&def->steps[step].call);
}

/* One wait at a time: of two that end together the other is over still. */
static void wait_over(const struct saga_def *def, struct saga_state *s, struct saga_output *out, const struct saga_input *in)
{
    int64_t wait_ms = saga_wait_ms(def, s);
    size_t at = s->step;
    if (wait_ms <= 0) /* none is open, or none has an end */
        return;
    while (!is_open(s, at) || !is_waited_for(def, at) || wait_of(&def->steps[at]) != wait_ms)
        at++;
    const struct saga_step *step = &def->steps[at];
    if (has_child(def, at))
        emit(def, s, out, SAGA_RECORD_DO_GIVEN_UP, at, in, code_of(step, "given_up"));
    else if (step->signal != NULL && step->on_timeout == SAGA_ON_TIMEOUT_UNDO)
        emit(def, s, out, SAGA_RECORD_WAIT_GIVEN_UP, at, in, code_of(step, "timed_out"));
    else
        emit(def, s, out, SAGA_RECORD_WAIT_DONE, at, in, SLICE_NONE);
    go_on(def, s, out, in);
}

static void on_signal(const struct saga_def *def, struct saga_state *s, struct saga_output *out, const struct saga_input *in)
{
    bool same;
    if (saga_signal_obstacle(def, s, in->step, in->refuse, &same) != NULL)
        return;
    if (in->refuse)
        emit(def, s, out, SAGA_RECORD_SIGNAL_REFUSED, in->step, in, code_of(&def->steps[in->step], "refused"));
    else
        emit(def, s, out, SAGA_RECORD_SIGNALLED, in->step, in, SLICE_NONE);
    go_on(def, s, out, in);
}

static void on_unknown(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                       const struct saga_input *in)
{
    int64_t end_ms = give_up_at(def, s, in->step);
    if (in->wall_ms >= end_ms) {
        give_up(def, s, out, in);
        return;
    }
    uint32_t attempts = s->attempts[saga_slot(s, in->step)];
    unsigned shift = attempts < 6 ? attempts - 1 : 5;
    int64_t cap_ms = (int64_t)SAGA_BACKOFF_MS_MIN << shift;
    if (cap_ms > SAGA_BACKOFF_MS_MAX)
        cap_ms = SAGA_BACKOFF_MS_MAX;
    int64_t delay_ms = 1 + (int64_t)(in->random % (uint64_t)cap_ms);
    if (end_ms != INT64_MAX && delay_ms > end_ms - in->wall_ms)
        delay_ms = end_ms - in->wall_ms;
    call(out, in->step, delay_ms);
}

/* A child has ended. Undoing, the one that is to be undone is called for that now, when it is completed; what
 * is not so far yet waits for its turn. */
static void on_child(const struct saga_def *def, struct saga_state *s, struct saga_output *out, const struct saga_input *in)
{
    bool completed = in->answer == SAGA_ANSWER_DONE;
    if (!saga_child_is_awaited(def, s, in->step))
        return;
    emit(def, s, out, completed ? SAGA_RECORD_CHILD_COMPLETED : SAGA_RECORD_CHILD_FAILED, in->step, in,
         completed ? SLICE_NONE : in->code.size > 0 ? in->code : SLICE("refused"));
    if (completed && s->undo && is_open(s, in->step)) {
        s->attempts[0] = 1;
        call(out, in->step, 0);
        return;
    }
    go_on(def, s, out, in);
}

static void on_answer(const struct saga_def *def, struct saga_state *s, struct saga_output *out,
                      const struct saga_input *in)
{
    switch (in->answer) {
    case SAGA_ANSWER_UNKNOWN:
        on_unknown(def, s, out, in);
        return;
    case SAGA_ANSWER_STARTED:
        FICUS_ASSERT(has_child(def, in->step) && !s->undo);
        emit(def, s, out, SAGA_RECORD_CHILD_STARTED, in->step, in, SLICE_NONE);
        return;
    case SAGA_ANSWER_DONE:
        emit(def, s, out, s->undo ? SAGA_RECORD_UNDO_DONE : SAGA_RECORD_DO_DONE, in->step, in, SLICE_NONE);
        break;
    case SAGA_ANSWER_REFUSED:
        emit(def, s, out, s->undo ? SAGA_RECORD_UNDO_REFUSED : SAGA_RECORD_DO_REFUSED, in->step, in,
             in->code.size > 0 ? in->code : SLICE("refused"));
        break;
    }
    go_on(def, s, out, in);
}

static void on_timer(const struct saga_def *def, struct saga_state *s, struct saga_output *out, const struct saga_input *in)
{
    if (in->wall_ms >= give_up_at(def, s, in->step)) {
        give_up(def, s, out, in);
        return;
    }
    uint32_t *attempts = &s->attempts[saga_slot(s, in->step)];
    if (*attempts < UINT32_MAX)
        ++*attempts;
    call(out, in->step, 0);
}

static void take(const struct saga_def *def, struct saga_state *s, const struct saga_input *in, struct saga_output *out)
{
    bool same, calling = in->step < def->step_count && saga_is_calling(def, s, in->step, s->undo);
    switch (in->kind) {
    case SAGA_INPUT_START:
        if (s->name != SAGA_NONE)
            return;
        emit(def, s, out, SAGA_RECORD_STARTED, 0, in, SLICE_NONE);
        go_on(def, s, out, in);
        return;
    case SAGA_INPUT_ANSWER:
        if (calling)
            on_answer(def, s, out, in);
        return;
    case SAGA_INPUT_CHILD: on_child(def, s, out, in); return;
    case SAGA_INPUT_TIMER:
        if (calling)
            on_timer(def, s, out, in);
        return;
    case SAGA_INPUT_WAKE:
        if (s->name == SAGA_WAITING || s->name == SAGA_RUNNING)
            wait_over(def, s, out, in);
        return;
    case SAGA_INPUT_RESUME:
        /* A begun step is called again at once, also past its give_up: whether it was done is unknown, and time in
         * which nobody tried must not decide an order's fate. */
        s->resumed_ms = in->wall_ms;
        call_again(def, s, out);
        go_on(def, s, out, in);
        return;
    case SAGA_INPUT_RETRY:
        if (s->name != SAGA_STUCK)
            return;
        emit(def, s, out, SAGA_RECORD_RETRIED, s->step, in, SLICE_NONE);
        call_again(def, s, out);
        go_on(def, s, out, in);
        return;
    case SAGA_INPUT_CANCEL:
        if (saga_cancel_obstacle(def, s, &same) != NULL)
            return;
        emit(def, s, out, SAGA_RECORD_CANCELLED, s->step, in, SLICE("cancelled"));
        go_on(def, s, out, in);
        return;
    case SAGA_INPUT_TERMINATE:
        if (saga_terminate_obstacle(s, &same) == NULL)
            emit(def, s, out, SAGA_RECORD_TERMINATED, s->step, in, SLICE_NONE);
        return;
    case SAGA_INPUT_SIGNAL: on_signal(def, s, out, in); return;
    }
    FICUS_UNREACHABLE();
}

void saga_machine_input(const struct saga_def *def, struct saga_state *s, const struct saga_input *in,
                        struct saga_output *ret_out)
{
    *ret_out = (struct saga_output){0};
    size_t step = s->step;
    ret_out->wait_was_ms = saga_wait_ms(def, s);
    take(def, s, in, ret_out);
    ret_out->wait_ms = saga_wait_ms(def, s);
    /* All waits of a group begin together, so the next one's end follows from the end of the one before. */
    ret_out->wait_is_new = ret_out->wait_ms != 0 && (ret_out->wait_was_ms == 0 || s->step != step);
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
    if (pivot != NO_STEP && !is_done(s, pivot))
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
    if (s->name == SAGA_STUCK || is_past(def, s, step)) /* stuck: behind the pivot */
        return "its time was over, and the instance has gone on without it";
    return refuse && !has_way_back(def, s) ? "what it has done has no undo" : NULL;
}

bool saga_step_is_left(const struct saga_def *def, const struct saga_state *s, size_t step)
{
    bool effect = acts(def, step) || saga_call_present(&def->steps[step].undo);
    return s->name != SAGA_COMPENSATED && effect && (is_open(s, step) || is_done(s, step));
}

bool saga_is_calling(const struct saga_def *def, const struct saga_state *s, size_t step, bool undo)
{
    FICUS_ASSERT(step < def->step_count);
    if (undo)
        return s->name == SAGA_UNDOING && is_open(s, step);
    return s->name == SAGA_RUNNING && is_called(def, s, step);
}

bool saga_child_is_awaited(const struct saga_def *def, const struct saga_state *s, size_t step)
{
    FICUS_ASSERT(step < def->step_count);
    return has_child(def, step) && !saga_state_is_final(s->name) && (s->undo ? saga_child_runs(s, step) : is_open(s, step));
}

int64_t saga_wait_ms(const struct saga_def *def, const struct saga_state *s)
{
    int64_t shortest = 0;
    if (s->undo)
        return 0;
    for (size_t i = 0; i < def->step_count; i++) {
        int64_t ms = is_open(s, i) && is_waited_for(def, i) ? wait_of(&def->steps[i]) : 0;
        if (ms != 0 && (shortest <= 0 || (ms != SAGA_NEVER && ms < shortest)))
            shortest = ms;
    }
    return shortest;
}

size_t saga_shown_step(const struct saga_def *def, const struct saga_state *s)
{
    size_t step = s->step;
    if (saga_state_is_final(s->name) || step >= def->step_count)
        return def->step_count;
    while (!s->undo && step + 1 < saga_group_end(def, s->step) && is_done(s, step))
        step++;
    return step;
}
