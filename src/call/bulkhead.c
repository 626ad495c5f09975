/* SPDX-License-Identifier: Apache-2.0
 *
 * The bulkhead of an edge: so many calls at a time (call_limit.h says how many), so many that wait for a place, each for
 * so long. A call has its place from its first attempt to its end, repetitions and hedges included. Over it BUSY.
 *
 * A place that becomes free goes to who waits longest, in a turn of its own: the end of one call must not call back into
 * the user of another.
 */
#include "assert.h"
#include "call_private.h"
#include "mem.h"

enum ficus_err call_bulkhead_make(struct call_edge *edge)
{
    struct call_bulkhead *b = mem_zalloc(sizeof *b);
    if (b == NULL)
        return FICUS_ERR_NOMEM;
    list_init(&b->waiting);
    edge->bulkhead = b;
    return FICUS_ERR_OK;
}

static int64_t places(const struct call_edge *edge)
{
    return edge->policy.bulkhead == NULL ? INT64_MAX : call_limit_places(&edge->bulkhead->limit);
}

static void waiting_change(struct call_bulkhead *b, int64_t delta)
{
    b->waiting_count += delta;
    metric_set(b->waiting_gauge, b->waiting_count);
}

static void grant(struct call_edge *edge)
{
    struct call_bulkhead *b = edge->bulkhead;
    while (b->waiting_count > 0 && b->running < places(edge)) {
        struct call *c = CONTAINER_OF(list_pop_head(&b->waiting), struct call, place_link);
        waiting_change(b, -1);
        b->running++;
        c->placed = true;
        call_move(c, CALL_PAUSED);
        env_timer_start(c->engine->env, &c->pause, 0);
        call_check(c);
    }
}

void call_bulkhead_apply(struct call_edge *edge)
{
    struct call_bulkhead *b = edge->bulkhead;
    const struct call_policy_bulkhead *p = edge->policy.bulkhead;
    /* A policy that is said again, as reloads do, keeps what the limit has learnt. */
    if (p != NULL && (b->limit.max != p->concurrency || b->limit.adaptive != p->adaptive)) {
        call_limit_init(&b->limit, p, env_now_ns(edge->engine->env));
        metric_set(b->limit_gauge, call_limit_places(&b->limit));
    }
    grant(edge);
}

bool call_bulkhead_enter(struct call *c)
{
    struct call_edge *edge = c->edge;
    struct call_bulkhead *b = edge->bulkhead;
    const struct call_policy_bulkhead *p = edge->policy.bulkhead;
    if (b->running < places(edge)) {
        b->running++;
        c->placed = true;
        return true;
    }
    if (b->waiting_count >= p->queue) {
        call_fail_later(c, FICUS_ERR_BUSY, "all places are taken");
        return false;
    }
    list_add_tail(&b->waiting, &c->place_link);
    waiting_change(b, 1);
    call_move(c, CALL_QUEUED);
    env_timer_start(c->engine->env, &c->pause, p->wait_ms);
    call_check(c);
    return false;
}

void call_bulkhead_leave_now(struct call *c)
{
    struct call_bulkhead *b = c->edge->bulkhead;
    if (c->state == CALL_QUEUED) {
        list_remove(&c->place_link);
        waiting_change(b, -1);
    }
    if (!c->placed)
        return;
    c->placed = false;
    FICUS_ASSERT(b->running > 0);
    b->running--;
    grant(c->edge);
}

void call_bulkhead_note(struct call_edge *edge, int64_t latency_ns, bool failed, int64_t now_ns)
{
    struct call_bulkhead *b = edge->bulkhead;
    if (edge->policy.bulkhead == NULL)
        return;
    call_limit_note(&b->limit, latency_ns, failed, b->running, now_ns);
    if (b->limit.adaptive)
        metric_set(b->limit_gauge, call_limit_places(&b->limit));
}
