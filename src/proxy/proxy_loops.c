/* SPDX-License-Identifier: Apache-2.0
 *
 * See proxy_loops.h.
 */
#include "proxy_private.h"

#include "assert.h"
#include "mem.h"

struct proxy_loops *proxy_loops_new(struct env *e, size_t count, void (*on_gone)(void *arg), void *arg)
{
    FICUS_ASSERT(count > 0);
    struct proxy_loops *l = mem_zalloc(sizeof *l + count * sizeof l->loop[0]);
    if (l == NULL)
        return NULL;
    l->count = count;
    l->clients.server_count = count;
    l->on_gone = on_gone;
    l->arg = arg;
    l->loop[0] = (struct proxy_loop){.loops = l, .env = e, .proxy = arg};
    l->stale = stale_new(e);
    if (l->stale == NULL)
        MEM_FREE(l);
    return l;
}

void proxy_loops_free(struct proxy_loops *l)
{
    if (l == NULL)
        return;
    for (size_t i = 1; i < l->count; i++)
        metrics_free(l->loop[i].metrics);
    stale_free(l->stale);
    mem_free(l);
}

struct proxy_loop *proxy_loops_enter(struct proxy_loops *l, struct env *e)
{
    size_t at = atomic_load(&l->others) + 1;
    FICUS_ASSERT(at < l->count);
    struct proxy_loop *loop = &l->loop[at];
    *loop = (struct proxy_loop){.loops = l, .env = e, .metrics = metrics_new()};
    if (loop->metrics == NULL)
        return NULL;
    atomic_store(&l->others, at);
    return loop;
}

void proxy_loops_leave(struct proxy_loops *l)
{
    FICUS_ASSERT(l->others > 0);
    atomic_fetch_sub(&l->others, 1);
}

/* ---- tours ---- */

static void tour_arrive(void *arg);

/* [first loop] */
static void others_end_when_quiet(struct proxy_loops *l)
{
    if (!l->ending || l->tours > 0)
        return;
    for (size_t i = 1; i <= l->others; i++)
        env_post(l->loop[i].env, &l->loop[i].task);
}

static void tour_go_on(struct proxy_tour *t)
{
    t->at = t->at < t->loops->others ? t->at + 1 : 0;
    env_post(t->loops->loop[t->at].env, &t->task);
}

static void tour_arrive(void *arg)
{
    struct proxy_tour *t = arg;
    struct proxy_loops *l = t->loops;
    if (t->at > 0) {
        t->visit(t, l->loop[t->at].proxy);
        tour_go_on(t);
        return;
    }
    l->tours--;
    t->done(t);
    others_end_when_quiet(l);
}

void proxy_tour_begin(struct proxy_loops *l, struct proxy_tour *t)
{
    if (l->others == 0 || l->ending) {
        t->done(t);
        return;
    }
    t->loops = l;
    t->at = 0;
    t->task = (struct env_task){.fn = tour_arrive, .arg = t};
    l->tours++;
    tour_go_on(t);
}

/* ---- the end ---- */

static void others_gone(void *arg)
{
    struct proxy_loops *l = arg;
    l->gone++;
    if (l->gone == l->others)
        l->on_gone(l->arg);
}

/* On its loop, whose proxy is gone. */
static void loop_stopped(void *arg)
{
    struct proxy_loop *loop = arg;
    loop->proxy = NULL;
    loop->task = (struct env_task){.fn = others_gone, .arg = loop->loops};
    env_post(loop->loops->loop[0].env, &loop->task);
}

static void loop_end(void *arg)
{
    struct proxy_loop *loop = arg;
    proxy_stop(loop->proxy, loop_stopped, loop);
}

void proxy_loops_end(struct proxy_loops *l)
{
    FICUS_ASSERT(!l->ending);
    l->ending = true;
    for (size_t i = 1; i <= l->others; i++)
        l->loop[i].task = (struct env_task){.fn = loop_end, .arg = &l->loop[i]};
    others_end_when_quiet(l);
}

/* ---- metrics ---- */

struct metrics *proxy_loops_metrics(const struct proxy_loops *l)
{
    struct metrics *sum = metrics_new();
    bool ok = sum != NULL;
    size_t others = atomic_load(&l->others);
    for (size_t i = 0; ok && i <= others; i++)
        ok = metrics_add_all(sum, l->loop[i].metrics);
    if (ok)
        return sum;
    metrics_free(sum);
    return NULL;
}
