/* SPDX-License-Identifier: Apache-2.0
 *
 * The bulkhead of an edge: so many calls at a time (call_limit.h says how many), so many that wait for a place, each for
 * so long. A call has its place from its first attempt to its end, repetitions and hedges included. Over it BUSY.
 *
 * Places and waiting calls are those of all loops. A place that becomes free goes to who waits longest, by a message to
 * its loop: the end of one call must not call back into the user of another.
 *
 * No place is lost between one that finds none and one that gives its own back: the first counts itself among the
 * waiting and then looks for a place once more, the other gives its place back and then looks whether somebody waits.
 * These four are sequentially consistent, so one of the two sees the other.
 */
#include "assert.h"
#include "call_private.h"
#include "mem.h"

enum ficus_err call_bulkhead_make(struct call_edge *edge)
{
    call_shared_lock(edge->shared);
    struct call_bulkhead *b = edge->shared->bulkhead;
    if (b == NULL && (b = mem_zalloc(sizeof *b)) != NULL) {
        list_init(&b->waiting);
        edge->shared->bulkhead = b;
    }
    call_shared_unlock(edge->shared);
    edge->bulkhead = b;
    return b == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
}

static bool place_take(struct call_bulkhead *b)
{
    int_fast64_t running = b->running;
    while (running < b->places)
        if (atomic_compare_exchange_weak(&b->running, &running, running + 1))
            return true;
    return false;
}

/* [mutex held] */
static void waiting_change(struct call_bulkhead *b, int64_t delta)
{
    metric_set(b->waiting_gauge, atomic_fetch_add(&b->waiting_count, delta) + delta);
}

/* [mutex held] */
static void grant(struct call_bulkhead *b)
{
    while (b->waiting_count > 0 && place_take(b)) {
        struct call *c = CONTAINER_OF(list_pop_head(&b->waiting), struct call, place_link);
        waiting_change(b, -1);
        c->placed = true;
        list_add_tail(&c->edge->granted, &c->place_link);
        c->edge->grant_posted = true;
        env_post(c->engine->env, &c->edge->grant);
    }
}

void call_bulkhead_granted(void *arg)
{
    struct call_edge *edge = arg;
    struct list granted;
    list_init(&granted);
    call_shared_lock(edge->shared);
    edge->grant_posted = false;
    bool awaited = edge->grant_awaited;
    for (struct list *l; (l = list_pop_head(&edge->granted)) != NULL;)
        list_add_tail(&granted, l);
    call_shared_unlock(edge->shared);
    for (struct list *l; (l = list_pop_head(&granted)) != NULL;) {
        struct call *c = CONTAINER_OF(l, struct call, place_link);
        call_move(c, CALL_PAUSED);
        env_timer_start(c->engine->env, &c->pause, 0);
        call_check(c);
    }
    if (awaited)
        call_engine_part_closed(edge->engine);
}

bool call_bulkhead_close(struct call_edge *edge)
{
    call_shared_lock(edge->shared);
    FICUS_ASSERT(list_empty(&edge->granted));
    edge->grant_awaited = edge->grant_posted;
    call_shared_unlock(edge->shared);
    return !edge->grant_awaited;
}

void call_bulkhead_apply(struct call_edge *edge)
{
    struct call_bulkhead *b = edge->bulkhead;
    const struct call_policy_bulkhead *p = edge->policy.bulkhead;
    call_shared_lock(edge->shared);
    /* A policy that is said again, as reloads and other loops do, keeps what the limit has learnt. */
    if (p != NULL && (b->limit.max != p->concurrency || b->limit.adaptive != p->adaptive)) {
        call_limit_init(&b->limit, p, env_now_ns(edge->engine->env));
        metric_set(b->limit_gauge, call_limit_places(&b->limit));
    }
    b->places = p == NULL ? INT64_MAX : call_limit_places(&b->limit);
    grant(b);
    call_shared_unlock(edge->shared);
}

bool call_bulkhead_enter(struct call *c)
{
    struct call_edge *edge = c->edge;
    struct call_bulkhead *b = edge->bulkhead;
    const struct call_policy_bulkhead *p = edge->policy.bulkhead;
    if (p == NULL)
        atomic_fetch_add(&b->running, 1);
    if (p == NULL || place_take(b)) {
        c->placed = true;
        return true;
    }
    call_shared_lock(edge->shared);
    bool waits = b->waiting_count < p->queue;
    if (waits) {
        list_add_tail(&b->waiting, &c->place_link);
        waiting_change(b, 1);
        grant(b);
    }
    call_shared_unlock(edge->shared);
    if (!waits) {
        call_fail_later(c, FICUS_ERR_BUSY, "all places are taken");
        return false;
    }
    call_move(c, CALL_QUEUED);
    env_timer_start(c->engine->env, &c->pause, p->wait_ms);
    call_check(c);
    return false;
}

void call_bulkhead_leave_now(struct call *c)
{
    struct call_bulkhead *b = c->edge->bulkhead;
    if (c->state == CALL_QUEUED) {
        call_shared_lock(c->edge->shared);
        list_remove(&c->place_link);    /* of those that wait, or of those that were granted a place just now */
        if (!c->placed)
            waiting_change(b, -1);
        call_shared_unlock(c->edge->shared);
    }
    if (!c->placed)
        return;
    c->placed = false;
    int_fast64_t running = atomic_fetch_sub(&b->running, 1);
    FICUS_ASSERT(running > 0);
    if (b->waiting_count == 0)
        return;
    call_shared_lock(c->edge->shared);
    grant(b);
    call_shared_unlock(c->edge->shared);
}

void call_bulkhead_note(struct call_edge *edge, int64_t latency_ns, bool failed, int64_t now_ns)
{
    struct call_bulkhead *b = edge->bulkhead;
    if (edge->policy.bulkhead == NULL || !edge->policy.bulkhead->adaptive)
        return;
    call_shared_lock(edge->shared);
    call_limit_note(&b->limit, latency_ns, failed, b->running, now_ns);
    b->places = call_limit_places(&b->limit);
    metric_set(b->limit_gauge, b->places);
    call_shared_unlock(edge->shared);
}
