/* SPDX-License-Identifier: Apache-2.0
 *
 * Faults on purpose, for tests: an attempt is delayed, or ends as if the callee had answered with a status, or as if its
 * connection had broken, without going out. All that follows (repetition, breaker, the user's answer) is the engine's
 * ordinary doing. The addresses are not blamed: none was chosen.
 */
#include "arena.h"
#include "call_private.h"
#include "mem.h"

struct call_made_answer {
    struct arena arena;
    struct http_msg head;
};

static bool request_carries(const struct call_request *r, struct slice name, struct slice value)
{
    for (size_t i = 0; i < r->field_count; i++)
        if (slice_eq_nocase(r->fields[i].name, name) && slice_eq(r->fields[i].value, value))
            return true;
    return false;
}

static void count(const struct call *c, enum call_fault_kind kind)
{
    metric_inc(c->edge->faults[kind]);
}

bool call_fault_strike(struct call *c)
{
    struct call_edge *edge = c->edge;
    const struct call_policy_fault *p = edge->policy.fault;
    if (edge->fault_name.size > 0 && !request_carries(&c->r, edge->fault_name, edge->fault_value))
        return false;
    if ((int64_t)(call_random(&edge->random) % 100) >= p->percent)
        return false;
    c->fault = (struct call_fault){.abort = p->abort, .reset = p->reset};
    if (p->delay_ms > 0)
        count(c, CALL_FAULT_DELAY);
    call_move(c, CALL_FAULTY);
    env_timer_start(c->engine->env, &c->pause, p->delay_ms);
    call_check(c);
    return true;
}

static void answer_make(struct call *c)
{
    c->made = mem_zalloc(sizeof *c->made);
    if (c->made == NULL) {
        call_fail(c, FICUS_ERR_NOMEM, err_text(FICUS_ERR_NOMEM));
        return;
    }
    arena_init(&c->made->arena, 4096);
    http_msg_init(&c->made->head, &c->made->arena);
    c->made->head.status = (int)c->fault.abort;
    c->made->head.content_length = 0;
    c->request_done = false;        /* perhaps an earlier attempt's was */
    call_attempt_note(c, call_outcome_of_status(c->made->head.status));
    call_hedge_drop(c);
    call_give_head(c, &c->made->head, true);
}

void call_fault_due(struct call *c)
{
    static const struct http_progress none;
    if (c->fault.reset) {
        count(c, CALL_FAULT_RESET);
        if (!call_attempt_over(c, CALL_OUTCOME_LOST, &none, 0))
            call_fail(c, FICUS_ERR_RESET, "a fault on purpose");
    } else if (c->fault.abort > 0) {
        enum call_outcome outcome = call_outcome_of_status((int)c->fault.abort);
        count(c, CALL_FAULT_ABORT);
        if (outcome == CALL_OUTCOME_ANSWER || !call_attempt_over(c, outcome, &none, 0))
            answer_make(c);
    } else {
        call_attempt_go(c);
    }
}

void call_fault_free(struct call *c)
{
    if (c->made == NULL)
        return;
    arena_done(&c->made->arena);
    MEM_FREE(c->made);
}
