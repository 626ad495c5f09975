/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits that are over: a timer for the first of them, a job that finds in the journal those that are, and a SAGA_WAKE said to each, as an
 * operator's command is (saga_command.c).
 */
#include "saga_private.h"

#include "mem.h"

enum { WAKE_LOOK_MS = 60 * 1000, WAKE_AGAIN_MS = 50, WAKE_RETRY_MS = 1000 };

int64_t saga_waits_now(struct saga_engine *g)
{
    int64_t mono_ms = env_now_ms(g->env), wall_ms = env_wall_ms(g->env);
    int64_t now_ms = g->waits_now_ms + (mono_ms - g->waits_mono_ms);
    g->waits_mono_ms = mono_ms;
    g->waits_now_ms = wall_ms > now_ms ? wall_ms : now_ms;
    return g->waits_now_ms;
}

void saga_wake_next(struct saga_engine *g)
{
    if (g->waking || g->closing || g->view_counts[SAGA_VIEW_WAKE] > 0)
        return;
    int64_t delay_ms = g->wake_at_ms - saga_waits_now(g);
    delay_ms = delay_ms < 0 ? 0 : delay_ms > WAKE_LOOK_MS ? WAKE_LOOK_MS : delay_ms; /* the clock may be set forward */
    env_timer_stop(g->env, &g->wake_timer);
    env_timer_start(g->env, &g->wake_timer, delay_ms);
}

void saga_wake_at(struct saga_engine *g, int64_t at_ms)
{
    if (at_ms >= g->wake_at_ms)
        return;
    g->wake_at_ms = at_ms;
    saga_wake_next(g);
}

void saga_wake_later(struct saga_engine *g)
{
    g->wake_at_ms = saga_waits_now(g) + WAKE_RETRY_MS;
    saga_wake_next(g);
}

static void wake_one(void *arg, struct slice saga, struct slice id)
{
    struct saga_engine *g = arg;
    struct saga_view *v = mem_zalloc(sizeof *v);
    if (v == NULL || g->woken_count == ARRAY_COUNT(g->woken)) {
        mem_free(v);
        g->wake_err = err_set(&g->wake_error, FICUS_ERR_NOMEM, "out of memory");
        return;
    }
    v->g = g;
    v->kind = SAGA_VIEW_WAKE;
    arena_init(&v->arena, 64 * 1024);
    buf_init(&v->json, 64 * 1024);
    const struct saga_command c = {.kind = SAGA_WAKE, .saga = saga, .id = id};
    if (saga_command_keep(v, &c)) {
        g->woken[g->woken_count++] = v;
        return;
    }
    saga_view_free(v);
    g->wake_err = err_set(&g->wake_error, FICUS_ERR_NOMEM, "out of memory");
}

static void wake_work(void *arg)
{
    struct saga_engine *g = arg;
    g->wake_err = FICUS_ERR_OK;
    enum ficus_err err = saga_journal_due(g->journal, g->wake_now_ms, g->wake_room, wake_one, g, &g->wake_next_ms, &g->wake_error);
    if (err != FICUS_ERR_OK)
        g->wake_err = err;
}

static void wake_done(void *arg)
{
    struct saga_engine *g = arg;
    size_t count = g->woken_count;
    g->waking = false;
    g->woken_count = 0;
    int64_t next_ms = g->wake_next_ms;
    if (g->wake_err != FICUS_ERR_OK) {
        LOG(g->options.log, LOG_ERROR, NULL, "saga.journal", "the saga journal cannot be read; waits that are over go on later",
            LOG_ERR(&g->wake_error));
        next_ms = saga_waits_now(g) + WAKE_RETRY_MS;
    } else if (count == g->wake_room) { /* there may be more */
        next_ms = g->wake_now_ms;
    }
    if (next_ms < g->wake_at_ms)
        g->wake_at_ms = next_ms;
    for (size_t k = 0; k < count; k++)
        saga_view_count(g->woken[k]);
    for (size_t k = 0; k < count; k++)
        saga_command_go(g->woken[k]);
    saga_wake_next(g);
    saga_closing_step(g);
}

static void on_wake_timer(void *arg)
{
    struct saga_engine *g = arg;
    size_t live = map_count(&g->live);
    if (g->waking || g->closing || g->view_counts[SAGA_VIEW_WAKE] > 0) /* these are due until they are written: look when they are */
        return;
    if (saga_waits_now(g) < g->wake_at_ms) {
        saga_wake_next(g);
        return;
    }
    g->wake_room = live >= SAGA_LIVE_MAX ? 0 : SAGA_LIVE_MAX - live;
    if (g->wake_room > SAGA_WAKE_BATCH)
        g->wake_room = SAGA_WAKE_BATCH;
    g->wake_now_ms = saga_waits_now(g);
    g->wake_job = (struct env_job){.work = wake_work, .done = wake_done, .arg = g};
    if (g->wake_room == 0 || env_run(g->env, &g->wake_job) != FICUS_ERR_OK) {
        env_timer_start(g->env, &g->wake_timer, WAKE_AGAIN_MS);
        return;
    }
    g->waking = true;
    g->wake_at_ms = INT64_MAX; /* what is written while the job looks brings its own */
}

enum ficus_err saga_wake_begin(struct saga_engine *g, struct ficus_error *reterr)
{
    int64_t waiting = 0;
    enum ficus_err err = saga_journal_limit_waits(g->journal, saga_waits_now(g), reterr);
    if (err == FICUS_ERR_OK)
        err = saga_journal_count(g->journal, SAGA_WAITING, &waiting, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    metric_set(g->waiting, waiting);
    g->wake_timer = (struct env_timer){.fn = on_wake_timer, .arg = g};
    g->wake_at_ms = g->waits_now_ms;
    saga_wake_next(g);
    return FICUS_ERR_OK;
}

void saga_wake_end(struct saga_engine *g)
{
    env_timer_stop(g->env, &g->wake_timer);
}
