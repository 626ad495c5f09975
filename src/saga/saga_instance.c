/* SPDX-License-Identifier: Apache-2.0
 *
 * Instances in memory: where they and their calls are, what comes to the machine and what it says is to be done.
 */
#include "saga_private.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

/* ---- instances and their places ---- */

void saga_move(struct saga_instance *i, enum saga_place to)
{
    if (i->place != SAGA_PLACE_NOWHERE)
        list_remove(&i->link);
    i->place = to;
    if (to != SAGA_PLACE_NOWHERE)
        list_add_tail(&i->g->lists[to], &i->link);
}

bool saga_is_free(const struct saga_instance *i)
{
    return i->place == SAGA_PLACE_NOWHERE || i->place == SAGA_PLACE_WORKING;
}

void saga_work_move(struct saga_work *k, enum saga_work_place to)
{
    struct saga_engine *g = k->i->g;
    if (k->place != SAGA_WORK_NONE) {
        FICUS_ASSERT(g->work_counts[k->place] > 0);
        list_remove(&k->link);
        g->work_counts[k->place]--;
        k->i->busy_count--;
    }
    k->place = to;
    if (to != SAGA_WORK_NONE) {
        list_add_tail(&g->works[to], &k->link);
        g->work_counts[to]++;
        k->i->busy_count++;
    }
}

static void on_pause_over(void *arg)
{
    struct saga_work *k = arg;
    FICUS_ASSERT(k->place == SAGA_WORK_PAUSE);
    saga_work_tell(k, &(struct saga_input){.kind = SAGA_INPUT_TIMER});
}

struct saga_instance *saga_instance_new(struct saga_engine *g)
{
    struct saga_instance *i = mem_zalloc(sizeof *i);
    if (i == NULL)
        return NULL;
    i->g = g;
    list_init(&i->link);
    list_init(&i->commands);
    arena_init(&i->arena, SAGA_INPUT_ARENA_MAX);
    return i;
}

void saga_instance_free(struct saga_instance *i)
{
    if (i == NULL)
        return;
    FICUS_ASSERT(i->view == NULL && i->busy_count == 0 && list_empty(&i->commands));
    saga_move(i, SAGA_PLACE_NOWHERE);
    if (i->key.size > 0 && map_get(&i->g->live, i->key) == i)
        map_remove(&i->g->live, i->key);
    metric_set(i->g->running, (int64_t)map_count(&i->g->live));
    arena_done(&i->arena);
    mem_free(i);
}

static bool make_works(struct saga_instance *i, size_t count)
{
    i->works = ARENA_ARRAY(&i->arena, struct saga_work, count);
    i->work_count = i->works == NULL ? 0 : count;
    for (size_t k = 0; k < i->work_count; k++) {
        i->works[k].i = i;
        list_init(&i->works[k].link);
        i->works[k].timer = (struct env_timer){.fn = on_pause_over, .arg = &i->works[k]};
    }
    return i->works != NULL;
}

bool saga_keep(struct arena *a, struct slice from, struct slice *to)
{
    *to = from.p == NULL ? SLICE_NONE : arena_slice(a, from);
    return from.p == NULL || to->p != NULL;
}

bool saga_is_child(const struct saga_start *start, const struct saga_parent *of)
{
    const struct saga_parent *p = &start->parent;
    return p->saga.p != NULL && slice_eq(p->saga, of->saga) && slice_eq(p->id, of->id) && slice_eq(p->step, of->step);
}

bool saga_start_keep(struct arena *a, const struct saga_start *from, struct saga_start *to)
{
    return saga_keep(a, from->saga, &to->saga) && saga_keep(a, from->id, &to->id) && saga_keep(a, from->input, &to->input) &&
           saga_keep(a, from->event_id, &to->event_id) && saga_keep(a, from->traceparent, &to->traceparent) &&
           saga_keep(a, from->tracestate, &to->tracestate) && saga_keep(a, from->correlation, &to->correlation) &&
           saga_keep(a, from->parent.saga, &to->parent.saga) && saga_keep(a, from->parent.id, &to->parent.id) &&
           saga_keep(a, from->parent.step, &to->parent.step);
}

enum ficus_err saga_instance_fill(struct saga_instance *i, const struct saga_start *start,
                                  const struct saga_known_def *known)
{
    struct saga_start *s = &i->start;
    i->def = known->def;
    s->def_hash = slice_str(known->hash);
    s->def_text = known->text;
    bool ok = saga_start_keep(&i->arena, start, s) && make_works(i, known->width);
    char *key = ok ? arena_printf(&i->arena, SLICE_FMT "/" SLICE_FMT, SLICE_ARG(s->saga), SLICE_ARG(s->id)) : NULL;
    if (key == NULL)
        return FICUS_ERR_NOMEM;
    i->key = slice_str(key);
    if (!trace_parse(s->traceparent, &i->log.trace))
        i->log.trace = (struct trace_context){0};
    i->log.correlation = s->correlation.size > 0 ? s->correlation : s->id;
    FICUS_ASSERT(map_get(&i->g->live, i->key) == NULL);
    if (!map_put(&i->g->live, i->key, i))
        return FICUS_ERR_NOMEM;
    metric_set(i->g->running, (int64_t)map_count(&i->g->live));
    return FICUS_ERR_OK;
}

/* ---- what the machine says ---- */

void saga_ready_kick(struct saga_engine *g)
{
    if (g->calling_ready || g->held || g->closing)
        return;
    g->calling_ready = true;
    while (g->work_counts[SAGA_WORK_CALLING] < SAGA_CALLING_MAX && g->work_counts[SAGA_WORK_READY] > 0)
        saga_call_begin(CONTAINER_OF(g->works[SAGA_WORK_READY].next, struct saga_work, link));
    g->calling_ready = false;
}

void saga_act(struct saga_instance *i)
{
    for (size_t n = 0; n < i->out.action_count && !i->g->closing; n++) {
        const struct saga_action *a = &i->out.actions[n];
        struct saga_work *k = &i->works[saga_slot(&i->state, a->step)];
        FICUS_ASSERT(k->place == SAGA_WORK_NONE);
        k->step = a->step;
        k->undo = i->state.undo;
        saga_work_move(k, a->delay_ms == 0 ? SAGA_WORK_READY : SAGA_WORK_PAUSE);
        if (a->delay_ms > 0)
            env_timer_start(i->g->env, &k->timer, a->delay_ms);
    }
    saga_move(i, i->busy_count > 0 || i->g->closing ? SAGA_PLACE_WORKING : SAGA_PLACE_NOWHERE);
}

static bool is_called_anew(const struct saga_instance *i, size_t step)
{
    for (size_t n = 0; n < i->out.action_count; n++)
        if (i->out.actions[n].step == step)
            return true;
    return false;
}

/* What the state just reached does not call is called no more: other steps of a group that turns back. What is called anew is
 * another call: a child that was to be cancelled is completed, and is undone now. */
static void drop_works(struct saga_instance *i)
{
    for (size_t n = 0; n < i->work_count; n++) {
        struct saga_work *k = &i->works[n];
        if (k->place != SAGA_WORK_NONE && (k->undo != i->state.undo || !saga_is_calling(i->def, &i->state, k->step, k->undo) || is_called_anew(i, k->step)))
            saga_call_cancel(k);
    }
}

/* Is it what decides a step or its undo? */
static bool is_decisive(const struct saga_instance *i, const struct saga_input *in)
{
    return (in->kind == SAGA_INPUT_ANSWER && in->answer != SAGA_ANSWER_STARTED) || (in->kind == SAGA_INPUT_CHILD && !i->state.undo);
}

static void count_step(struct saga_instance *i, size_t step, bool undo, int64_t took_ms)
{
    if (i->g->step_seconds != NULL)
        metric_observe(METRIC(i->g->step_seconds, i->start.saga, slice_str(i->def->steps[step].name), slice_str(undo ? "undo" : "do")),
                       took_ms * 1000000);
}

void saga_input(struct saga_instance *i, struct saga_input *in)
{
    struct saga_engine *g = i->g;
    FICUS_ASSERT(saga_is_free(i));
    in->wall_ms = env_wall_ms(g->env);
    in->random = env_random_u64(g->env);
    bool decisive = is_decisive(i, in), undo = i->state.undo;
    int64_t begun_ms = decisive ? i->state.begun_ms[saga_slot(&i->state, in->step)] : 0;
    i->before = i->state.name;
    saga_machine_input(i->def, &i->state, in, &i->out);
    drop_works(i);
    if (i->out.record_count == 0) {
        saga_act(i);
    } else {
        if (decisive)
            count_step(i, in->step, undo, in->wall_ms - begun_ms);
        saga_move(i, in->kind == SAGA_INPUT_START ? SAGA_PLACE_STARTING : SAGA_PLACE_WAITING);
        saga_writer_kick(g);
    }
    saga_ready_kick(g); /* a calling slot may have become free */
}

static struct saga_work *told_work(struct saga_instance *i)
{
    for (size_t n = 0; n < i->work_count; n++)
        if (i->works[n].place == SAGA_WORK_TOLD)
            return &i->works[n];
    return NULL;
}

void saga_go_on(struct saga_instance *i)
{
    struct saga_work *k;
    if (i->g->closing)
        return;
    saga_commands_run(i);
    while (saga_is_free(i) && (k = told_work(i)) != NULL) {
        struct saga_input in = k->told;
        /* A wait beside calls is looked at between their attempts: the instance is not waiting, so nobody wakes it. */
        if (i->wake_at_ms != 0 && i->wake_at_ms <= saga_waits_now(i->g) && i->state.name == SAGA_RUNNING &&
            saga_wait_ms(i->def, &i->state) > 0)
            in = (struct saga_input){.kind = SAGA_INPUT_WAKE};
        else
            saga_work_move(k, SAGA_WORK_NONE);
        saga_input(i, &in);
    }
    if (i->place == SAGA_PLACE_NOWHERE)
        saga_instance_free(i);
}

void saga_work_tell(struct saga_work *k, const struct saga_input *in)
{
    k->told = *in;
    k->told.step = k->step;
    snprintf(k->code, sizeof k->code, SLICE_FMT, SLICE_ARG(in->code));
    if (in->code.p != NULL)
        k->told.code = slice_str(k->code);
    saga_work_move(k, SAGA_WORK_TOLD);
    if (saga_is_free(k->i))
        saga_go_on(k->i);
}
