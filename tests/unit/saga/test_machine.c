/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure saga machine: every outcome of every step of checkout and cancellation against an oracle, and random walks
 * with crashes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "saga_machine.h"

#include <stdio.h>

#define CALL(m, s, p)                              \
    {                                              \
        .method = (m), .service = (s), .path = (p) \
    }

enum { PLACED, RESERVE, CHARGE, CONFIRM, TAKE, CHECKOUT_STEPS };

static struct saga_step checkout_steps[] = {
    {.name = "placed", .undo = CALL("POST", "orders", "/o/{id}/reject")},
    {.name = "reserve",
     .call = CALL("PUT", "inventory", "/r/{id}"),
     .undo = CALL("DELETE", "inventory", "/r/{id}"),
     .timeout_ms = 5000},
    {.name = "charge",
     .call = CALL("PUT", "payments", "/c/{id}"),
     .undo = CALL("DELETE", "payments", "/c/{id}"),
     .timeout_ms = 8000,
     .give_up_ms = 600000,
     .code = "payment_unavailable"},
    {.name = "confirm", .call = CALL("POST", "orders", "/o/{id}/confirm"), .pivot = true, .timeout_ms = 5000},
    {.name = "take", .call = CALL("POST", "inventory", "/r/{id}/take"), .retry_forever = true, .timeout_ms = 5000},
};
static const struct saga_def checkout = {"checkout", "orders", "order.placed", checkout_steps, CHECKOUT_STEPS, NULL};

static struct saga_step cancellation_steps[] = {
    {.name = "refund", .call = CALL("DELETE", "payments", "/c/{id}"), .retry_forever = true, .timeout_ms = 5000},
    {.name = "give_back", .call = CALL("DELETE", "inventory", "/r/{id}"), .retry_forever = true, .timeout_ms = 5000},
    {.name = "close", .call = CALL("POST", "orders", "/o/{id}/close"), .retry_forever = true, .timeout_ms = 5000},
};
static const struct saga_def cancellation = {"cancellation",     "orders", "order.cancel_requested",
                                             cancellation_steps, 3,        NULL};

enum { LOAN_PLACED, BLOCK, APPROVAL, COOL_OFF, CHECK, SIGNED, LOAN_PAY, BOOK, LOAN_STEPS };
static struct saga_step loan_steps[] = {
    {.name = "placed", .undo = CALL("POST", "orders", "/o/{id}/reject"), .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "block", .call = CALL("PUT", "accounts", "/b/{id}"), .undo = CALL("DELETE", "accounts", "/b/{id}"), .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "approval", .signal = "approved", .timeout_ms = 86400000, .on_timeout = SAGA_ON_TIMEOUT_UNDO, .code = "not_approved"},
    {.name = "cool_off", .wait_ms = 600000, .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "check", .call = CALL("PUT", "accounts", "/k/{id}"), .undo = CALL("DELETE", "accounts", "/k/{id}"), .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "contract", .signal = "signed", .timeout_ms = SAGA_NEVER, .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "pay", .call = CALL("POST", "accounts", "/b/{id}/pay"), .pivot = true, .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "book", .call = CALL("POST", "books", "/x/{id}"), .retry_forever = true, .on_timeout = SAGA_ON_TIMEOUT_NONE},
};
static const struct saga_def loan = {"loan", "orders", "loan.requested", loan_steps, LOAN_STEPS, NULL};

/* A saga without a way back, that waits before its first call. */
static struct saga_step reminder_steps[] = {
    {.name = "ok", .signal = "ok", .timeout_ms = 1000, .on_timeout = SAGA_ON_TIMEOUT_GO_ON},
    {.name = "send", .call = CALL("POST", "mail", "/m/{id}"), .retry_forever = true, .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "later", .wait_ms = 5000, .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "again", .call = CALL("POST", "mail", "/n/{id}"), .retry_forever = true, .on_timeout = SAGA_ON_TIMEOUT_NONE},
};
static const struct saga_def reminder = {"reminder", "orders", "x", reminder_steps, 4, NULL};

/* Children: beside a call, in a line of steps, and as the pivot. */
enum { TOUR_PLACED, TOUR_HOLD, TOUR_PACK, TOUR_TAG, TOUR_OK, TOUR_SHIP, TOUR_TELL, TOUR_STEPS };
static struct saga_step tour_steps[] = {
    {.name = "placed", .undo = CALL("POST", "o", "/o/{id}/reject"), .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "hold", .call = CALL("PUT", "i", "/h/{id}"), .undo = CALL("DELETE", "i", "/h/{id}"), .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "pack", .group = 1, .saga = "packing", .undo = CALL("DELETE", "i", "/p/{id}"), .give_up_ms = 9000, .code = "packing_is_late",
     .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "tag", .group = 1, .call = CALL("PUT", "i", "/t/{id}"), .undo = CALL("DELETE", "i", "/t/{id}"), .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "ok", .signal = "ok", .timeout_ms = SAGA_NEVER, .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "ship", .saga = "shipping", .pivot = true, .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "tell", .call = CALL("POST", "o", "/o/{id}/told"), .retry_forever = true, .on_timeout = SAGA_ON_TIMEOUT_NONE},
};
static const struct saga_def tour = {"tour", "orders", "x", tour_steps, TOUR_STEPS, NULL};

static struct saga_step pair_steps[] = {
    {.name = "a", .group = 1, .saga = "x", .undo = CALL("DELETE", "i", "/a/{id}"), .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "b", .group = 1, .saga = "x", .undo = CALL("DELETE", "i", "/b/{id}"), .on_timeout = SAGA_ON_TIMEOUT_NONE},
    {.name = "c", .call = CALL("PUT", "i", "/c/{id}"), .undo = CALL("DELETE", "i", "/c/{id}"), .on_timeout = SAGA_ON_TIMEOUT_NONE},
};
static const struct saga_def pair = {"pair", "orders", "x", pair_steps, 3, NULL};

/* ---- a driver that keeps the journal and refolds it after every input ---- */

struct run {
    const struct saga_def *def;
    struct saga_state state;
    struct saga_record journal[256];
    size_t journal_count;
    struct saga_output out;
    int64_t now_ms;
    uint64_t random;
    char trace[2048]; /* calls in order: "reserve charge ~charge ~reserve" */
    size_t trace_size;
};

static struct saga_state refold(const struct run *r)
{
    struct saga_state s = {0};
    for (size_t i = 0; i < r->journal_count; i++) {
        struct ficus_error error = {0};
        if (saga_fold(r->def, &s, &r->journal[i], &error) != FICUS_ERR_OK)
            fail_msg("%s", error.text);
    }
    return s;
}

static void assert_same(const struct saga_state *a, const struct saga_state *b)
{
    assert_int_equal(a->name, b->name);
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->undo, b->undo);
    assert_int_equal(a->open, b->open);
    assert_int_equal(a->done, b->done);
    assert_int_equal(a->children, b->children);
    assert_memory_equal(a->begun_ms, b->begun_ms, sizeof a->begun_ms);
    assert_int_equal(a->signals, b->signals);
    assert_string_equal(a->failure, b->failure);
}

static void input(struct run *r, struct saga_input in)
{
    in.wall_ms = r->now_ms;
    in.random = r->random;
    saga_machine_input(r->def, &r->state, &in, &r->out);
    for (size_t i = 0; i < r->out.record_count; i++)
        r->journal[r->journal_count++] = r->out.records[i];
    struct saga_state folded = refold(r);
    assert_same(&folded, &r->state);
    for (size_t i = 0; i < r->out.action_count && (r->out.record_count > 0 || in.kind != SAGA_INPUT_TIMER); i++)
        if (r->out.actions[i].delay_ms == 0)
            r->trace_size += (size_t)snprintf(r->trace + r->trace_size, sizeof r->trace - r->trace_size, "%s%s%s",
                                              r->trace_size > 0 ? " " : "", r->state.undo ? "~" : "",
                                              r->def->steps[r->out.actions[i].step].name);
}

/* The one action is to call at once, or after a pause. */
static bool calls(const struct run *r)
{
    return r->out.action_count == 1 && r->out.actions[0].delay_ms == 0;
}

static bool pauses(const struct run *r)
{
    return r->out.action_count == 1 && r->out.actions[0].delay_ms > 0;
}

static struct run begin(const struct saga_def *def)
{
    struct run r = {.def = def, .now_ms = 1000};
    input(&r, (struct saga_input){.kind = SAGA_INPUT_START});
    return r;
}

static void answer_of(struct run *r, size_t step, enum saga_answer a, int status, const char *code)
{
    input(r, (struct saga_input){.kind = SAGA_INPUT_ANSWER, .step = step, .answer = a, .status = status, .code = slice_str(code)});
}

static void answer(struct run *r, enum saga_answer a, int status, const char *code)
{
    answer_of(r, r->state.step, a, status, code);
}

static void wake(struct run *r)
{
    input(r, (struct saga_input){.kind = SAGA_INPUT_WAKE});
}

static void signal_to(struct run *r, size_t step, bool refuse)
{
    input(r, (struct saga_input){.kind = SAGA_INPUT_SIGNAL, .step = step, .refuse = refuse});
}

static void done(struct run *r)
{
    answer(r, SAGA_ANSWER_DONE, 200, NULL);
}
static void refused(struct run *r, const char *code)
{
    answer(r, SAGA_ANSWER_REFUSED, 409, code);
}

/* The next attempt after an unknown answer. */
static void unknown(struct run *r)
{
    answer(r, SAGA_ANSWER_UNKNOWN, 503, NULL);
    if (pauses(r)) {
        r->now_ms += r->out.actions[0].delay_ms;
        input(r, (struct saga_input){.kind = SAGA_INPUT_TIMER, .step = r->state.step});
    }
}

/* ---- checkout and cancellation, exhaustively ---- */

/* All steps done: completed, each called once and in order. */
static void test_happy(void **state)
{
    (void)state;
    struct run r = begin(&checkout);
    for (int i = 0; i < 4; i++)
        done(&r);
    assert_int_equal(r.state.name, SAGA_COMPLETED);
    assert_string_equal(r.trace, "reserve charge confirm take");
    struct run c = begin(&cancellation);
    for (int i = 0; i < 3; i++)
        done(&c);
    assert_int_equal(c.state.name, SAGA_COMPLETED);
    assert_string_equal(c.trace, "refund give_back close");
}

/* A refusal at any step before or at the pivot undoes exactly the steps before it, in reverse, and its code is the
 * failure. */
static void test_refused_is_undone_in_reverse(void **state)
{
    (void)state;
    static const char *const traces[] = {
        [RESERVE] = "reserve ~placed",
        [CHARGE] = "reserve charge ~reserve ~placed",
        [CONFIRM] = "reserve charge confirm ~charge ~reserve ~placed",
    };
    for (size_t at = RESERVE; at <= CONFIRM; at++) {
        struct run r = begin(&checkout);
        for (size_t i = RESERVE; i < at; i++)
            done(&r);
        refused(&r, "by_customer");
        assert_int_equal(r.state.name, SAGA_UNDOING);
        while (r.state.name == SAGA_UNDOING)
            done(&r);
        assert_int_equal(r.state.name, SAGA_COMPENSATED);
        assert_string_equal(r.state.failure, "by_customer");
        assert_string_equal(r.trace, traces[at]);
    }
}

/* A refusal without a usable code has the code "refused". */
static void test_refused_without_code(void **state)
{
    (void)state;
    struct run r = begin(&checkout);
    refused(&r, NULL);
    assert_string_equal(r.state.failure, "refused");
}

/* A refusal behind the pivot, or of a step that is repeated for ever, makes the instance stuck; a retry goes on with
 * that very step. */
static void test_refused_past_the_pivot_is_stuck(void **state)
{
    (void)state;
    struct run r = begin(&checkout);
    for (int i = 0; i < 3; i++)
        done(&r);
    refused(&r, "gone");
    assert_int_equal(r.state.name, SAGA_STUCK);
    assert_int_equal(r.out.action_count, 0);
    input(&r, (struct saga_input){.kind = SAGA_INPUT_RETRY});
    assert_int_equal(r.state.name, SAGA_RUNNING);
    assert_true(calls(&r));
    refused(&r, "gone");
    assert_int_equal(r.state.name, SAGA_STUCK);
    input(&r, (struct saga_input){.kind = SAGA_INPUT_RETRY});
    done(&r);
    assert_int_equal(r.state.name, SAGA_COMPLETED);
    assert_string_equal(r.trace, "reserve charge confirm take take take");
    for (size_t at = 0; at < 3; at++) {
        struct run c = begin(&cancellation);
        for (size_t i = 0; i < at; i++)
            done(&c);
        refused(&c, "x");
        assert_int_equal(c.state.name, SAGA_STUCK);
        assert_int_equal(c.state.step, at);
        input(&c, (struct saga_input){.kind = SAGA_INPUT_RETRY});
        while (c.state.name == SAGA_RUNNING)
            done(&c);
        assert_int_equal(c.state.name, SAGA_COMPLETED);
    }
}

/* A refused undo makes the instance stuck; a retry repeats that undo and then all that are left. */
static void test_refused_undo_is_stuck(void **state)
{
    (void)state;
    for (size_t at = 0; at < 3; at++) {
        struct run r = begin(&checkout);
        done(&r);
        done(&r);
        refused(&r, "by_customer");
        for (size_t i = 0; i < at; i++)
            done(&r);
        refused(&r, "cannot");
        assert_int_equal(r.state.name, SAGA_STUCK);
        assert_string_equal(r.state.failure, "by_customer");
        input(&r, (struct saga_input){.kind = SAGA_INPUT_RETRY});
        assert_int_equal(r.state.name, SAGA_UNDOING);
        while (r.state.name == SAGA_UNDOING)
            done(&r);
        assert_int_equal(r.state.name, SAGA_COMPENSATED);
    }
}

/* Teeth: an undo is repeated until it is answered, however often that takes; it is never given up. */
static void test_undo_is_repeated(void **state)
{
    (void)state;
    struct run r = begin(&checkout);
    done(&r);
    refused(&r, "declined");
    for (int i = 0; i < 500; i++) {
        r.now_ms += 86400000;
        unknown(&r);
        assert_int_equal(r.state.name, SAGA_UNDOING);
        assert_int_equal(r.state.step, RESERVE);
        assert_true(calls(&r));
    }
    done(&r);
    done(&r);
    assert_int_equal(r.state.name, SAGA_COMPENSATED);
    assert_string_equal(r.trace, "reserve charge ~reserve ~placed");
}

/* An unknown answer journals nothing, waits at most 5 s, and repeats the same step; every step but charge does so for
 * ever. */
static void test_unknown_repeats(void **state)
{
    (void)state;
    for (size_t at = RESERVE; at <= TAKE; at++) {
        struct run r = begin(&checkout);
        for (size_t i = RESERVE; i < at; i++)
            done(&r);
        if (at == CHARGE)
            continue;
        size_t journal_count = r.journal_count;
        for (int i = 0; i < 1000; i++) {
            r.random = (uint64_t)i * 2654435761u;
            answer(&r, SAGA_ANSWER_UNKNOWN, 0, NULL);
            assert_true(pauses(&r) && r.out.actions[0].delay_ms <= SAGA_BACKOFF_MS_MAX);
            if (i == 0)
                assert_true(r.out.actions[0].delay_ms <= SAGA_BACKOFF_MS_MIN);
            r.now_ms += 100000000;
            input(&r, (struct saga_input){.kind = SAGA_INPUT_TIMER, .step = at});
            assert_true(calls(&r));
            assert_int_equal(r.state.step, at);
        }
        assert_int_equal(r.journal_count, journal_count);
    }
}

/* Given up: the step counts as perhaps done and is undone too; the failure is the step's code; the time is that of the
 * first attempt. */
static void test_give_up(void **state)
{
    (void)state;
    struct run r = begin(&checkout);
    done(&r);
    int64_t begun_ms = r.now_ms;
    r.random = 4999;
    while (r.state.name == SAGA_RUNNING) {
        assert_true(r.now_ms <= begun_ms + 600000);
        unknown(&r);
    }
    assert_int_equal(r.now_ms, begun_ms + 600000);
    assert_int_equal(r.state.name, SAGA_UNDOING);
    assert_int_equal(r.state.step, CHARGE);
    assert_string_equal(r.state.failure, "payment_unavailable");
    while (r.state.name == SAGA_UNDOING)
        done(&r);
    assert_int_equal(r.state.name, SAGA_COMPENSATED);
    assert_string_equal(r.trace, "reserve charge ~charge ~reserve ~placed");
}

/* An answer that comes after the give-up time and is a done one still counts: it is an answer. */
static void test_late_done_counts(void **state)
{
    (void)state;
    struct run r = begin(&checkout);
    done(&r);
    r.now_ms += 700000;
    done(&r);
    assert_int_equal(r.state.name, SAGA_RUNNING);
    assert_int_equal(r.state.step, CONFIRM);
}

/* After an outage longer than give_up a begun step is called again, and given up only when it was tried for that long
 * anew: the participant may come up later than the engine. */
static void test_resume_calls_before_giving_up(void **state)
{
    (void)state;
    struct run r = begin(&checkout);
    done(&r);
    r.now_ms += 10000000;
    r.state = refold(&r);
    input(&r, (struct saga_input){.kind = SAGA_INPUT_RESUME});
    assert_true(calls(&r));
    assert_int_equal(r.out.record_count, 0);
    assert_int_equal(r.state.step, CHARGE);
    int64_t resumed_ms = r.now_ms;
    r.random = 4999;
    while (r.state.name == SAGA_RUNNING)
        unknown(&r);
    assert_int_equal(r.now_ms, resumed_ms + 600000);
    assert_int_equal(r.state.name, SAGA_UNDOING);
}

/* Inputs that do not fit the state change nothing: an answer when nothing was called, a second start, a retry of what
 * is not stuck. */
static void test_wrong_inputs(void **state)
{
    (void)state;
    struct run r = begin(&checkout);
    size_t journal_count = r.journal_count;
    input(&r, (struct saga_input){.kind = SAGA_INPUT_START});
    input(&r, (struct saga_input){.kind = SAGA_INPUT_RETRY});
    assert_int_equal(r.journal_count, journal_count);
    for (int i = 0; i < 4; i++)
        done(&r);
    journal_count = r.journal_count;
    done(&r);
    refused(&r, "x");
    input(&r, (struct saga_input){.kind = SAGA_INPUT_TIMER});
    input(&r, (struct saga_input){.kind = SAGA_INPUT_RESUME});
    assert_int_equal(r.journal_count, journal_count);
    assert_int_equal(r.state.name, SAGA_COMPLETED);
}

/* The class of every status and error is the design's. */
static void test_classes(void **state)
{
    (void)state;
    for (int status = 100; status < 600; status++) {
        enum saga_answer expected = SAGA_ANSWER_UNKNOWN;
        if (status / 100 == 2)
            expected = SAGA_ANSWER_DONE;
        if (status / 100 == 4 && status != 401 && status != 408 && status != 425 && status != 429)
            expected = SAGA_ANSWER_REFUSED;
        assert_int_equal(saga_classify(FICUS_ERR_OK, status), expected);
    }
    for (enum ficus_err err = FICUS_ERR_NOMEM; err < FICUS_ERR_COUNT; err++)
        assert_int_equal(saga_classify(err, 200), SAGA_ANSWER_UNKNOWN);
}

/* A record that cannot follow is refused and leaves the state as it was. */
static void test_fold_refuses(void **state)
{
    (void)state;
    struct run r = begin(&checkout);
    struct saga_state before = r.state;
    for (enum saga_record_kind kind = 0; kind < SAGA_RECORD_COUNT; kind++) {
        for (size_t step = 0; step < CHECKOUT_STEPS; step++) {
            if (step == RESERVE &&
                (kind == SAGA_RECORD_DO_DONE || kind == SAGA_RECORD_DO_REFUSED || kind == SAGA_RECORD_DO_GIVEN_UP))
                continue;
            if (kind == SAGA_RECORD_CANCELLED || kind == SAGA_RECORD_TERMINATED)
                continue; /* these may come at any time */
            struct saga_record record = {.kind = kind, .step = step, .at_ms = 5, .code = "x"};
            assert_int_equal(saga_fold(&checkout, &r.state, &record, NULL), FICUS_ERR_CORRUPT);
            assert_memory_equal(&before, &r.state, sizeof before);
        }
    }
}

/* ---- waits, signals, and what comes from outside: all that can happen ---- */

/* The story of a loan: it rests in its waits, passes over what was signalled before, and ends. */
static void test_waits(void **state)
{
    (void)state;
    struct run r = begin(&loan);
    done(&r);
    assert_int_equal(r.state.name, SAGA_WAITING);
    assert_int_equal(r.out.action_count, 0);
    assert_true(r.out.wait_is_new && r.out.wait_ms == 86400000);
    signal_to(&r, SIGNED, false); /* early */
    assert_int_equal(r.state.name, SAGA_WAITING);
    assert_int_equal(r.state.step, APPROVAL);
    assert_true(!r.out.wait_is_new && r.out.wait_ms == r.out.wait_was_ms);
    signal_to(&r, APPROVAL, false);
    assert_int_equal(r.state.step, COOL_OFF);
    assert_true(r.out.wait_is_new && r.out.wait_ms == 600000);
    wake(&r);
    done(&r);
    assert_int_equal(r.state.step, LOAN_PAY);
    done(&r);
    done(&r);
    assert_int_equal(r.state.name, SAGA_COMPLETED);
    assert_string_equal(r.trace, "block check pay book");
}

/* A signal without end has none: nothing wakes it. */
static void test_never(void **state)
{
    (void)state;
    struct run r = begin(&loan);
    done(&r);
    signal_to(&r, APPROVAL, false);
    wake(&r);
    done(&r);
    assert_int_equal(r.state.step, SIGNED);
    assert_int_equal(r.out.wait_ms, SAGA_NEVER);
    wake(&r);
    assert_int_equal(r.out.record_count, 0);
    assert_int_equal(r.state.step, SIGNED);
}

/* A signal while a step is repeated is written, and the repetition goes on as it was. */
static void test_signal_keeps_attempts(void **state)
{
    (void)state;
    struct run r = begin(&loan);
    for (int i = 0; i < 5; i++)
        unknown(&r);
    uint32_t attempts = r.state.attempts[0];
    signal_to(&r, APPROVAL, false);
    assert_int_equal(r.out.record_count, 1);
    assert_int_equal(r.out.action_count, 0);
    assert_int_equal(r.state.attempts[0], attempts);
    assert_true(saga_is_calling(&loan, &r.state, BLOCK, false));
}

/* ---- groups ---- */

enum { PACK_PLACED, PACK_HOLD, PACK_A, PACK_B, PACK_C, PACK_PIVOT, PACK_X, PACK_Y, PACK_STEPS };
static struct saga_step pack_steps[] = {
    {.name = "placed", .undo = CALL("POST", "o", "/o/{id}/reject")},
    {.name = "hold", .call = CALL("PUT", "i", "/h/{id}"), .undo = CALL("DELETE", "i", "/h/{id}")},
    {.name = "a", .call = CALL("PUT", "i", "/a/{id}"), .undo = CALL("DELETE", "i", "/a/{id}"), .group = 1, .give_up_ms = 60000, .code = "a_is_away"},
    {.name = "b", .call = CALL("PUT", "i", "/b/{id}"), .undo = CALL("DELETE", "i", "/b/{id}"), .group = 1},
    {.name = "c", .call = CALL("PUT", "i", "/c/{id}"), .undo = CALL("DELETE", "i", "/c/{id}"), .group = 1},
    {.name = "pivot", .call = CALL("POST", "o", "/p/{id}"), .pivot = true},
    {.name = "x", .call = CALL("POST", "i", "/x/{id}"), .retry_forever = true, .group = 2},
    {.name = "y", .call = CALL("POST", "i", "/y/{id}"), .retry_forever = true, .group = 2},
};
static const struct saga_def pack = {"pack", "orders", "x", pack_steps, PACK_STEPS, NULL};

/* A call beside a signal and a wait; then two signals. */
enum { MIX_CHECK, MIX_OK, MIX_COOL, MIX_HEARD, MIX_SIGNED, MIX_PAY, MIX_STEPS };
static struct saga_step mix_steps[] = {
    {.name = "check", .call = CALL("PUT", "k", "/k/{id}"), .undo = CALL("DELETE", "k", "/k/{id}"), .group = 1},
    {.name = "ok", .signal = "ok", .timeout_ms = 5000, .on_timeout = SAGA_ON_TIMEOUT_UNDO, .group = 1},
    {.name = "cool", .wait_ms = 2000, .on_timeout = SAGA_ON_TIMEOUT_NONE, .group = 1},
    {.name = "heard", .signal = "heard", .timeout_ms = 3000, .on_timeout = SAGA_ON_TIMEOUT_GO_ON, .group = 2},
    {.name = "signed", .signal = "signed", .timeout_ms = SAGA_NEVER, .on_timeout = SAGA_ON_TIMEOUT_NONE, .group = 2},
    {.name = "pay", .call = CALL("POST", "k", "/p/{id}"), .pivot = true},
};
static const struct saga_def mix = {"mix", "orders", "x", mix_steps, MIX_STEPS, NULL};

/* All of a group are called at once, the next step when all are done, in whatever order that is. */
static void test_group(void **state)
{
    (void)state;
    struct run r = begin(&pack);
    done(&r);
    assert_int_equal(r.out.action_count, 3);
    assert_int_equal(r.state.step, PACK_A);
    answer_of(&r, PACK_C, SAGA_ANSWER_DONE, 200, NULL);
    answer_of(&r, PACK_A, SAGA_ANSWER_DONE, 200, NULL);
    assert_int_equal(r.out.action_count, 0);
    assert_int_equal(saga_shown_step(&pack, &r.state), PACK_B);
    answer_of(&r, PACK_A, SAGA_ANSWER_REFUSED, 409, "late"); /* it is done */
    assert_int_equal(r.out.record_count, 0);
    answer_of(&r, PACK_B, SAGA_ANSWER_DONE, 200, NULL);
    assert_int_equal(r.state.step, PACK_PIVOT);
    done(&r);
    answer_of(&r, PACK_Y, SAGA_ANSWER_DONE, 200, NULL);
    answer_of(&r, PACK_X, SAGA_ANSWER_DONE, 200, NULL);
    assert_int_equal(r.state.name, SAGA_COMPLETED);
    assert_string_equal(r.trace, "hold a b c pivot x y");
}

/* One of a group is refused: it had no effect; the others are undone, also one without an answer, one after another and in
 * reverse, with what is before the group. */
static void test_group_refused(void **state)
{
    (void)state;
    struct run r = begin(&pack);
    done(&r);
    answer_of(&r, PACK_A, SAGA_ANSWER_DONE, 200, NULL);
    answer_of(&r, PACK_B, SAGA_ANSWER_REFUSED, 409, "no");
    assert_false(saga_is_calling(&pack, &r.state, PACK_C, false));
    assert_true(saga_is_calling(&pack, &r.state, PACK_C, true));
    answer_of(&r, PACK_A, SAGA_ANSWER_DONE, 200, NULL); /* not what is asked now */
    assert_int_equal(r.out.record_count, 0);
    while (r.state.name == SAGA_UNDOING)
        done(&r);
    assert_int_equal(r.state.name, SAGA_COMPENSATED);
    assert_string_equal(r.state.failure, "no");
    assert_string_equal(r.trace, "hold a b c ~c ~a ~hold ~placed");
}

/* Each member is given up by its own time, with all that is open. */
static void test_group_given_up(void **state)
{
    (void)state;
    struct run r = begin(&pack);
    done(&r);
    answer_of(&r, PACK_B, SAGA_ANSWER_DONE, 200, NULL);
    r.now_ms += 60000;
    answer_of(&r, PACK_C, SAGA_ANSWER_UNKNOWN, 503, NULL);
    assert_true(pauses(&r));
    assert_int_equal(r.out.actions[0].step, PACK_C);
    answer_of(&r, PACK_A, SAGA_ANSWER_UNKNOWN, 503, NULL);
    assert_string_equal(r.state.failure, "a_is_away");
    while (r.state.name == SAGA_UNDOING)
        done(&r);
    assert_string_equal(r.trace, "hold a b c ~c ~b ~a ~hold ~placed");
}

/* Behind the pivot a refused member makes the instance stuck; a retry calls it again, and those that had no answer. */
static void test_group_stuck(void **state)
{
    (void)state;
    struct run r = begin(&pack);
    done(&r);
    for (size_t i = PACK_A; i <= PACK_C; i++)
        answer_of(&r, i, SAGA_ANSWER_DONE, 200, NULL);
    done(&r);
    answer_of(&r, PACK_Y, SAGA_ANSWER_REFUSED, 409, "no");
    assert_int_equal(r.state.name, SAGA_STUCK);
    assert_false(saga_is_calling(&pack, &r.state, PACK_X, false));
    input(&r, (struct saga_input){.kind = SAGA_INPUT_RETRY});
    assert_int_equal(r.out.action_count, 2);
    assert_int_equal(r.out.record_count, 2); /* retried, and y begins again; x goes on */
    answer_of(&r, PACK_X, SAGA_ANSWER_DONE, 200, NULL);
    answer_of(&r, PACK_Y, SAGA_ANSWER_DONE, 200, NULL);
    assert_int_equal(r.state.name, SAGA_COMPLETED);
}

/* A crash in a group: what was open is called again, what was done is not. */
static void test_group_resumed(void **state)
{
    (void)state;
    struct run r = begin(&pack);
    done(&r);
    answer_of(&r, PACK_B, SAGA_ANSWER_DONE, 200, NULL);
    r.state = refold(&r);
    input(&r, (struct saga_input){.kind = SAGA_INPUT_RESUME});
    assert_int_equal(r.out.record_count, 0);
    assert_int_equal(r.out.action_count, 2);
    assert_int_equal(r.out.actions[0].step, PACK_A);
    assert_int_equal(r.out.actions[1].step, PACK_C);
}

/* Waits of a group begin together and end each in its time; the instance waits when no call is left; a signal of another
 * group, come before, is passed over. */
static void test_group_waits(void **state)
{
    (void)state;
    struct run r = begin(&mix);
    assert_int_equal(r.state.name, SAGA_RUNNING);
    assert_true(r.out.wait_is_new && r.out.wait_ms == 2000);
    signal_to(&r, MIX_SIGNED, false);
    answer_of(&r, MIX_CHECK, SAGA_ANSWER_DONE, 200, NULL);
    assert_int_equal(r.state.name, SAGA_WAITING);
    wake(&r);
    assert_true(!r.out.wait_is_new && r.out.wait_was_ms == 2000 && r.out.wait_ms == 5000);
    assert_int_equal(r.state.name, SAGA_WAITING);
    signal_to(&r, MIX_OK, false);
    assert_int_equal(r.state.step, MIX_HEARD);
    assert_true(r.out.wait_is_new && r.out.wait_ms == 3000);
    wake(&r);
    assert_int_equal(r.state.step, MIX_PAY);
    bool same;
    assert_non_null(saga_signal_obstacle(&mix, &r.state, MIX_HEARD, false, &same)); /* its time is over */
    done(&r);
    assert_int_equal(r.state.name, SAGA_COMPLETED);
    struct run late = begin(&mix);
    wake(&late);
    wake(&late);
    assert_string_equal(late.state.failure, "timed_out");
    assert_true(saga_is_calling(&mix, &late.state, MIX_CHECK, true)); /* perhaps done */
}

static void child_of(struct run *r, size_t step, enum saga_answer a, const char *code)
{
    input(r, (struct saga_input){.kind = SAGA_INPUT_CHILD, .step = step, .answer = a, .code = slice_str(code)});
}

static struct run begin_tour(void)
{
    struct run r = begin(&tour);
    done(&r);
    answer_of(&r, TOUR_PACK, SAGA_ANSWER_STARTED, 0, NULL);
    return r;
}

/* A child is begun like a call and then waited for: nothing is called when its saga has begun; its end is the step's answer. */
static void test_child(void **state)
{
    (void)state;
    struct run r = begin(&tour);
    done(&r);
    assert_int_equal(r.out.action_count, 2);
    assert_true(r.out.wait_is_new && r.out.wait_ms == 9000); /* from its step's begin */
    answer_of(&r, TOUR_PACK, SAGA_ANSWER_STARTED, 0, NULL);
    assert_false(saga_is_calling(&tour, &r.state, TOUR_PACK, false));
    assert_int_equal(r.state.name, SAGA_RUNNING);
    answer_of(&r, TOUR_TAG, SAGA_ANSWER_DONE, 200, NULL);
    assert_int_equal(r.state.name, SAGA_WAITING);
    input(&r, (struct saga_input){.kind = SAGA_INPUT_RESUME}); /* nothing is started twice */
    assert_int_equal(r.out.action_count, 0);
    child_of(&r, TOUR_PACK, SAGA_ANSWER_DONE, NULL);
    assert_int_equal(r.state.step, TOUR_OK);
    size_t journal_count = r.journal_count;
    child_of(&r, TOUR_PACK, SAGA_ANSWER_DONE, NULL); /* told again */
    assert_int_equal(r.journal_count, journal_count);
    signal_to(&r, TOUR_OK, false);
    child_of(&r, TOUR_SHIP, SAGA_ANSWER_DONE, NULL); /* its end comes before the answer that it has begun */
    assert_int_equal(r.state.step, TOUR_TELL);
    done(&r);
    assert_int_equal(r.state.name, SAGA_COMPLETED);
    assert_string_equal(r.trace, "hold pack tag ship tell");
}

/* A child that is undone refuses its step: its code is the failure, and it is not undone again. */
static void test_child_failed(void **state)
{
    (void)state;
    struct run r = begin_tour();
    child_of(&r, TOUR_PACK, SAGA_ANSWER_REFUSED, "no_box");
    assert_string_equal(r.state.failure, "no_box");
    while (r.state.name == SAGA_UNDOING)
        done(&r);
    assert_string_equal(r.trace, "hold pack tag ~tag ~hold ~placed");
}

/* Undone, a child that has not ended is waited for: undone by itself it is skipped, completed it is undone by the step's undo;
 * one that could not begin is undone at once. */
static void test_child_undone(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct run r = begin_tour();
        answer_of(&r, TOUR_TAG, SAGA_ANSWER_REFUSED, 409, "no_tag");
        assert_int_equal(r.state.step, TOUR_PACK);
        assert_true(saga_child_runs(&r.state, TOUR_PACK) && calls(&r)); /* it is to be cancelled */
        if (way == 0) {
            child_of(&r, TOUR_PACK, SAGA_ANSWER_REFUSED, "cancelled");
        } else if (way == 1) {
            child_of(&r, TOUR_PACK, SAGA_ANSWER_DONE, NULL);
            assert_true(calls(&r) && r.state.step == TOUR_PACK && !saga_child_runs(&r.state, TOUR_PACK));
            done(&r);
        } else {
            done(&r);
        }
        assert_int_equal(r.state.step, TOUR_HOLD);
        assert_string_equal(r.state.failure, "no_tag");
        while (r.state.name == SAGA_UNDOING)
            done(&r);
        assert_int_equal(r.state.name, SAGA_COMPENSATED);
    }
}

/* Records of a child that cannot follow, in a damaged journal, are refused and change nothing. */
static void test_child_fold_refuses(void **state)
{
    (void)state;
    static const enum saga_record_kind forward[] = {SAGA_RECORD_DO_DONE, SAGA_RECORD_DO_REFUSED, SAGA_RECORD_CHILD_STARTED, SAGA_RECORD_DO_BEGUN,
                                                    SAGA_RECORD_WAIT_DONE};
    struct run r = begin_tour();
    for (size_t i = 0; i < sizeof forward / sizeof forward[0] + 2; i++) {
        if (i == sizeof forward / sizeof forward[0])
            answer_of(&r, TOUR_TAG, SAGA_ANSWER_REFUSED, 409, "no_tag"); /* and now undoing */
        struct saga_state before = r.state;
        enum saga_record_kind kind = r.state.undo ? SAGA_RECORD_UNDO_REFUSED : forward[i];
        const struct saga_record record = {.kind = kind, .step = TOUR_PACK, .at_ms = 5, .code = "x"};
        assert_int_equal(saga_fold(&tour, &r.state, &record, NULL), FICUS_ERR_CORRUPT);
        assert_memory_equal(&before, &r.state, sizeof before);
    }
    const struct saga_record other = {.kind = SAGA_RECORD_CHILD_COMPLETED, .step = TOUR_HOLD}; /* it has no child */
    assert_int_equal(saga_fold(&tour, &r.state, &other, NULL), FICUS_ERR_CORRUPT);
}

/* Given up in its time, also before its saga has begun. */
static void test_child_given_up(void **state)
{
    (void)state;
    struct run r = begin_tour();
    answer_of(&r, TOUR_TAG, SAGA_ANSWER_DONE, 200, NULL);
    wake(&r);
    assert_string_equal(r.state.failure, "packing_is_late");
    assert_true(saga_is_calling(&tour, &r.state, TOUR_TAG, true) && saga_child_runs(&r.state, TOUR_PACK));
    struct run early = begin(&tour);
    done(&early);
    wake(&early);
    assert_string_equal(early.state.failure, "packing_is_late");
    assert_true(saga_child_runs(&early.state, TOUR_PACK)); /* perhaps begun */
}

/* What the world knows: a bit for each step that was done before, or called and not refused, and not undone. */
struct node {
    struct saga_state state;
    uint32_t effects;
    uint32_t works; /* a bit for each step that somebody calls, or will call again after a pause */
};

static uint32_t one(size_t step)
{
    return (uint32_t)1 << step;
}

static void effect_of(const struct saga_def *def, const struct saga_record *r, struct node *n)
{
    uint32_t step = one(r->step), later = ~(step | (step - 1));
    switch (r->kind) {
    case SAGA_RECORD_UNDO_BEGUN: /* what is later is undone already */
        for (size_t i = 0; i < def->step_count; i++)
            assert_true((n->effects & later & one(i)) == 0);
        break;
    case SAGA_RECORD_DO_BEGUN: n->effects |= step; break;
    case SAGA_RECORD_DO_REFUSED:
    case SAGA_RECORD_CHILD_FAILED: n->effects &= ~step; break;
    case SAGA_RECORD_UNDO_DONE: n->effects &= ~step; break;
    default: break;
    }
}

static bool is_same_node(const struct node *a, const struct node *b)
{
    return a->state.name == b->state.name && a->state.step == b->state.step && a->state.undo == b->state.undo &&
           a->state.open == b->state.open && a->state.done == b->state.done && a->works == b->works && a->state.children == b->state.children && a->state.signals == b->state.signals && a->effects == b->effects &&
           strcmp(a->state.failure, b->state.failure) == 0;
}

static void check_node(const struct saga_def *def, const struct node *n)
{
    uint32_t calls = 0, undos = 0, left = 0;
    for (size_t i = 0; i < def->step_count; i++) {
        calls |= saga_step_acts(&def->steps[i]) ? one(i) : 0;
        undos |= saga_call_present(&def->steps[i].undo) ? one(i) : 0;
        left |= saga_step_is_left(def, &n->state, i) ? one(i) : 0;
    }
    bool same, forward = !n->state.undo && !saga_state_is_final(n->state.name);
    bool way_back = forward && (n->effects & calls & ~undos) == 0;
    assert_int_equal(saga_cancel_obstacle(def, &n->state, &same) == NULL, way_back);
    assert_int_equal(saga_terminate_obstacle(&n->state, &same) == NULL, !saga_state_is_final(n->state.name));
    if (n->state.name == SAGA_COMPLETED)
        assert_int_equal(n->effects & calls, calls);
    if (n->state.name == SAGA_COMPENSATED)
        assert_int_equal(n->effects, 0);
    if (n->state.name == SAGA_TERMINATED)
        assert_int_equal(left, n->effects);
    /* Each open call is somebody's work, and no other; but for that of a child that is cancelled and has not ended yet. */
    uint32_t calling = 0, resting = 0;
    for (size_t i = 0; i < def->step_count; i++) {
        calling |= saga_is_calling(def, &n->state, i, n->state.undo) ? one(i) : 0;
        resting |= n->state.undo && saga_child_runs(&n->state, i) ? one(i) : 0;
    }
    assert_int_equal(n->works & ~calling, 0);
    assert_int_equal(calling & ~n->works & ~resting, 0);
    assert_int_equal(calling != 0, n->state.name == SAGA_RUNNING || n->state.name == SAGA_UNDOING);
    if (n->state.name == SAGA_WAITING)
        assert_true(saga_wait_ms(def, &n->state) != 0 && (n->state.signals & n->state.open) == 0);
}

static const struct saga_input all_inputs[] = {
    {.kind = SAGA_INPUT_START},
    {.kind = SAGA_INPUT_ANSWER, .answer = SAGA_ANSWER_DONE, .status = 200},
    {.kind = SAGA_INPUT_ANSWER, .answer = SAGA_ANSWER_REFUSED, .status = 409, .code = SLICE("no")},
    {.kind = SAGA_INPUT_ANSWER, .answer = SAGA_ANSWER_UNKNOWN},
    {.kind = SAGA_INPUT_ANSWER, .answer = SAGA_ANSWER_STARTED},
    {.kind = SAGA_INPUT_CHILD, .answer = SAGA_ANSWER_DONE},
    {.kind = SAGA_INPUT_CHILD, .answer = SAGA_ANSWER_REFUSED, .code = SLICE("undone")},
    {.kind = SAGA_INPUT_TIMER},
    {.kind = SAGA_INPUT_WAKE},
    {.kind = SAGA_INPUT_RESUME},
    {.kind = SAGA_INPUT_RETRY},
    {.kind = SAGA_INPUT_CANCEL},
    {.kind = SAGA_INPUT_TERMINATE},
    {.kind = SAGA_INPUT_SIGNAL},
    {.kind = SAGA_INPUT_SIGNAL, .refuse = true},
};

enum { NODES_MAX = 4096 };
static struct node nodes[NODES_MAX];
static size_t node_count;
static bool seen_state[SAGA_STATE_COUNT], seen_record[SAGA_RECORD_COUNT];

static void keep_node(const struct node *found)
{
    struct node n = *found;
    for (size_t i = 0; i < node_count; i++)
        if (is_same_node(&nodes[i], &n))
            return;
    assert_true(node_count < NODES_MAX);
    for (size_t i = 0; i < SAGA_WIDTH_MAX; i++)
        n.state.attempts[i] = 1;
    seen_state[n.state.name] = true;
    nodes[node_count++] = n;
}

/* One input in one node: what comes out is checked, and what is new is kept. */
static void follow(const struct saga_def *def, const struct node *from, struct saga_input in)
{
    struct node n = *from;
    struct saga_output out;
    bool ended = saga_state_is_final(from->state.name);
    in.wall_ms = 1000;
    if (in.kind == SAGA_INPUT_RESUME)
        n.works = 0; /* the ones before have died */
    if (in.kind == SAGA_INPUT_ANSWER || in.kind == SAGA_INPUT_TIMER)
        n.works &= ~one(in.step);
    saga_machine_input(def, &n.state, &in, &out);
    if (out.record_count == 0)
        assert_int_equal(n.state.name, from->state.name);
    assert_true(!ended || (out.record_count == 0 && out.action_count == 0));
    /* The same comes of the records alone. */
    struct saga_state folded = from->state;
    for (size_t i = 0; i < out.record_count; i++) {
        assert_int_equal(saga_fold(def, &folded, &out.records[i], NULL), FICUS_ERR_OK);
        effect_of(def, &out.records[i], &n);
        seen_record[out.records[i].kind] = true;
    }
    assert_same(&folded, &n.state);
    for (size_t i = 0; i < def->step_count; i++)
        if (n.state.undo != from->state.undo || !saga_is_calling(def, &n.state, i, n.state.undo))
            n.works &= ~one(i); /* called no more */
    for (size_t i = 0; i < out.action_count; i++) {
        bool anew = n.state.undo && saga_child_runs(&from->state, out.actions[i].step); /* the engine forgets the one before */
        assert_true(anew || (n.works & one(out.actions[i].step)) == 0);
        n.works |= one(out.actions[i].step);
    }
    check_node(def, &n);
    keep_node(&n);
}

/* What the engine may say: a start is answered STARTED and never DONE; a child that is cancelled is not refused. */
static bool may_be(const struct saga_def *def, const struct node *n, const struct saga_input *in)
{
    const struct saga_state *s = &n->state;
    bool child = def->steps[in->step].saga != NULL, left = s->undo && saga_child_runs(s, in->step);
    if (in->kind == SAGA_INPUT_SIGNAL)
        return def->steps[in->step].signal != NULL;
    if (in->kind == SAGA_INPUT_CHILD)
        return child;
    if (in->kind != SAGA_INPUT_ANSWER && in->kind != SAGA_INPUT_TIMER)
        return in->step == 0;
    if (in->kind == SAGA_INPUT_ANSWER && (in->answer == SAGA_ANSWER_STARTED) != (child && !s->undo) && in->answer != SAGA_ANSWER_REFUSED &&
        in->answer != SAGA_ANSWER_UNKNOWN)
        return false;
    return (n->works & one(in->step)) != 0 && !(left && in->answer == SAGA_ANSWER_REFUSED);
}

static void explore(const struct saga_def *def, uint32_t done_before)
{
    node_count = 1;
    nodes[0] = (struct node){.effects = done_before};
    for (size_t at = 0; at < node_count; at++) {
        for (size_t i = 0; i < sizeof all_inputs / sizeof all_inputs[0]; i++) {
            const struct node from = nodes[at];
            struct saga_input in = all_inputs[i];
            if (from.state.name == SAGA_NONE && in.kind != SAGA_INPUT_START)
                continue;
            for (in.step = 0; in.step < def->step_count; in.step++)
                if (may_be(def, &from, &in))
                    follow(def, &from, in);
        }
        struct node resting = nodes[at];
        for (size_t i = 0; i < def->step_count; i++)
            if (resting.state.undo && saga_child_runs(&resting.state, i))
                resting.works &= ~one(i);
        keep_node(&resting);
    }
}

/* Every input in every state that can be reached, of sagas with all that a step can be: the state is what the records say,
 * what is undone is what was done, what is completed was done, what is left after a termination is named, and nothing
 * follows an end. */
static void test_everything(void **state)
{
    (void)state;
    explore(&loan, one(LOAN_PLACED));
    assert_true(node_count > 50);
    explore(&reminder, 0);
    explore(&checkout, one(PLACED));
    explore(&cancellation, 0);
    explore(&pack, one(PACK_PLACED));
    assert_true(node_count > 60);
    explore(&mix, 0);
    explore(&tour, one(TOUR_PLACED));
    assert_true(node_count > 60);
    explore(&pair, 0);
    for (int n = SAGA_RUNNING; n < SAGA_STATE_COUNT; n++)
        assert_true(seen_state[n]);
    for (int k = 0; k < SAGA_RECORD_COUNT; k++)
        assert_true(seen_record[k] || k == SAGA_RECORD_DO_GIVEN_UP); /* needs time: test_give_up */
}

/* ---- random walks ---- */

static uint64_t rng(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* What participants would see: every done step that was called, minus what was undone, in order. */
struct oracle {
    int stack[CHECKOUT_STEPS];
    size_t depth;
};

/* Random done, refused, unknown, crash and retry: the undos are exactly the reverse of what was (perhaps) done, nothing
 * is called twice after its answer, nothing is skipped, and each walk ends completed or compensated. */
static void test_random_walks(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252ull;
    for (int walk = 0; walk < 20000; walk++) {
        const struct saga_def *def = rng(&seed) % 4 == 0 ? &cancellation : &checkout;
        struct run r = begin(def);
        struct oracle o = {0};
        if (def == &checkout)
            o.stack[o.depth++] = PLACED;
        size_t next_do = def == &checkout ? RESERVE : 0;
        for (int i = 0; !saga_state_is_final(r.state.name); i++) {
            assert_true(r.journal_count < 240);
            if (r.state.name == SAGA_STUCK) {
                r.state = refold(&r);
                input(&r, (struct saga_input){.kind = SAGA_INPUT_RETRY});
                continue;
            }
            size_t step = r.state.step;
            bool undo = r.state.undo;
            if (undo)
                assert_int_equal(o.stack[o.depth - 1], (int)step);
            else
                assert_int_equal(step, next_do);
            switch (i > 60 ? 0 : rng(&seed) % 6) {
            case 0:
            case 1:
                done(&r);
                if (undo)
                    o.depth--;
                else if (saga_call_present(&def->steps[next_do++].undo))
                    o.stack[o.depth++] = (int)step;
                break;
            case 2:
                if (rng(&seed) % 3 == 0)
                    refused(&r, "no");
                break;
            case 3:
                unknown(&r);
                break;
            case 4: /* time passes, then unknown: perhaps given up */
                r.now_ms += 400000;
                unknown(&r);
                if (!undo && r.state.undo)
                    o.stack[o.depth++] = (int)step;
                break;
            default: /* crash */
                r.state = refold(&r);
                input(&r, (struct saga_input){.kind = SAGA_INPUT_RESUME});
                assert_true(calls(&r));
                assert_int_equal(r.out.record_count, 0);
                break;
            }
        }
        if (r.state.name == SAGA_COMPENSATED)
            assert_int_equal(o.depth, 0);
        else
            assert_int_equal(next_do, def->step_count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_happy),
        cmocka_unit_test(test_refused_is_undone_in_reverse),
        cmocka_unit_test(test_refused_without_code),
        cmocka_unit_test(test_refused_past_the_pivot_is_stuck),
        cmocka_unit_test(test_refused_undo_is_stuck),
        cmocka_unit_test(test_undo_is_repeated),
        cmocka_unit_test(test_unknown_repeats),
        cmocka_unit_test(test_give_up),
        cmocka_unit_test(test_late_done_counts),
        cmocka_unit_test(test_resume_calls_before_giving_up),
        cmocka_unit_test(test_wrong_inputs),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_fold_refuses),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_signal_keeps_attempts),
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_group_refused),
        cmocka_unit_test(test_group_given_up),
        cmocka_unit_test(test_group_stuck),
        cmocka_unit_test(test_group_resumed),
        cmocka_unit_test(test_group_waits),
        cmocka_unit_test(test_child),
        cmocka_unit_test(test_child_failed),
        cmocka_unit_test(test_child_undone),
        cmocka_unit_test(test_child_given_up),
        cmocka_unit_test(test_child_fold_refuses),
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_random_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
