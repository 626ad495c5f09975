/* SPDX-License-Identifier: Apache-2.0
 *
 * Instances that are a step of another, its children (ADR 48). Parent and child meet in the journal alone:
 *
 *     parent's work --SAGA_START--> child begins --> answered: child_started, and the parent rests
 *                                     | its end, and that it is untold, are one transaction
 *     parent <--SAGA_CHILD_END-- told +---> answered: it is told (a crash before that tells it again)
 *
 * Undone, the parent's work says SAGA_CHILD_CANCEL and the parent rests again; the end comes the same way. All three are commands
 * like an operator's (saga_command.c) and do nothing when said twice. A process that dies in between: a parent that has not written
 * child_started is running, or undoing, and is taken up with its work; one that has is told.
 */
#include "saga_private.h"

#include "assert.h"
#include "mem.h"

enum { TELL_RETRY_MS = 1000, TELL_AGAIN_MS = 50, TELL_ARENA_MAX = 1024 * 1024 };

/* A command to a child, on its way. */
struct saga_errand {
    struct saga_engine *g;
    struct saga_work *k; /* NULL: nobody asks any more */
};

const char *saga_child_id(struct arena *a, struct slice parent_id, const char *step)
{
    return arena_printf(a, SLICE_FMT ".%s", SLICE_ARG(parent_id), step);
}

/* ---- commands to children ---- */

void saga_errand_forget(struct saga_work *k)
{
    FICUS_ASSERT(k->errand->k == k);
    k->errand->k = NULL; /* what was said is said: it is done, and its answer goes nowhere */
    k->errand = NULL;
}

/* Whose work the answer is for; NULL: nobody's. */
static struct saga_work *errand_end(struct saga_errand *e)
{
    struct saga_work *k = e->k;
    if (k != NULL)
        k->errand = NULL;
    mem_free(e);
    return k;
}

static void log_refused(const struct saga_work *k, const char *detail)
{
    const struct saga_instance *i = k->i;
    LOG(i->g->options.log, LOG_WARN, &i->log, "saga.child", "a step's saga could not begin", LOG_SLICE("saga", i->start.saga),
        LOG_SLICE("id", i->start.id), LOG_STR("step", i->def->steps[k->step].name), LOG_STR("reason", detail));
}

static void on_started(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    struct saga_work *k = errand_end(arg);
    struct saga_input in = {.kind = SAGA_INPUT_ANSWER, .answer = SAGA_ANSWER_UNKNOWN};
    (void)json;
    if (k == NULL)
        return;
    if (err != FICUS_ERR_OK)
        log_refused(k, detail);
    switch (err) {
    case FICUS_ERR_OK: in.answer = SAGA_ANSWER_STARTED; break;
    case FICUS_ERR_CONFLICT:
    case FICUS_ERR_NOT_FOUND:
        in.answer = SAGA_ANSWER_REFUSED;
        in.code = err == FICUS_ERR_CONFLICT ? SLICE("child_exists") : SLICE("no_such_saga");
        break;
    default: break; /* it is asked again */
    }
    saga_work_tell(k, &in);
}

/* The child ends, or has ended: the parent will be told, and has nothing to do until then. */
static void rest(struct saga_work *k)
{
    struct saga_instance *i = k->i;
    saga_work_move(k, SAGA_WORK_NONE);
    if (i->place == SAGA_PLACE_WORKING && i->busy_count == 0)
        saga_move(i, SAGA_PLACE_NOWHERE);
    if (saga_is_free(i))
        saga_go_on(i);
}

static void on_cancelled(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    struct saga_work *k = errand_end(arg);
    (void)json;
    (void)detail;
    if (k == NULL)
        return;
    if (err == FICUS_ERR_OK)
        rest(k);
    else /* NOT_FOUND: it has never begun */
        saga_work_tell(k, &(struct saga_input){.kind = SAGA_INPUT_ANSWER,
                                               .answer = err == FICUS_ERR_NOT_FOUND ? SAGA_ANSWER_DONE : SAGA_ANSWER_UNKNOWN});
}

static enum ficus_err say(struct saga_work *k, enum saga_command_kind kind, struct slice input, saga_view_done done)
{
    const struct saga_instance *i = k->i;
    struct saga_engine *g = i->g;
    const struct saga_step *step = &i->def->steps[k->step];
    struct arena a;
    if (g->view_counts[SAGA_VIEW_FAMILY] >= SAGA_CALLING_MAX)
        return FICUS_ERR_BUSY;
    arena_init(&a, 4096);
    const char *id = saga_child_id(&a, i->start.id, step->name), *actor = arena_printf(&a, "saga " SLICE_FMT, SLICE_ARG(i->key));
    struct saga_errand *e = mem_zalloc(sizeof *e);
    enum ficus_err err = id == NULL || actor == NULL || e == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK) {
        *e = (struct saga_errand){g, k};
        const struct saga_command c = {
            .kind = kind,
            .saga = slice_str(step->saga),
            .id = slice_str(id),
            .actor = slice_str(actor),
            .reason = k->undo ? slice_str(i->state.failure) : SLICE_NONE,
            .data = input.size > 0 ? input : SLICE_NONE,
            .begins = {.traceparent = i->start.traceparent,
                       .tracestate = i->start.tracestate,
                       .correlation = i->log.correlation,
                       .parent = {i->start.saga, i->start.id, slice_str(step->name)}},
        };
        err = saga_command_new(g, &c, done, e);
    }
    if (err == FICUS_ERR_OK)
        k->errand = e;
    else
        mem_free(e);
    arena_done(&a);
    return err;
}

enum ficus_err saga_child_start(struct saga_work *k, struct slice input)
{
    return say(k, SAGA_START, input, on_started);
}

enum ficus_err saga_child_cancel(struct saga_work *k)
{
    return say(k, SAGA_CHILD_CANCEL, SLICE_NONE, on_cancelled);
}

/* ---- what parents are told ---- */

static void tell_in(struct saga_engine *g, int64_t delay_ms)
{
    struct saga_telling *t = &g->telling;
    if (g->closing || t->looking || t->open_count > 0)
        return;
    env_timer_stop(g->env, &t->timer);
    env_timer_start(g->env, &t->timer, delay_ms);
}

static void batch_told(struct saga_engine *g)
{
    struct saga_telling *t = &g->telling;
    bool more = t->told_count > 0 || t->again || t->ended_count == SAGA_TELL_BATCH;
    if (t->failed)
        tell_in(g, TELL_RETRY_MS);
    else if (more)
        tell_in(g, 0);
}

static void on_told(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    struct saga_ended *e = arg;
    struct saga_engine *g = e->g;
    struct saga_telling *t = &g->telling;
    (void)json;
    FICUS_ASSERT(t->open_count > 0);
    switch (err) {
    case FICUS_ERR_OK:
    case FICUS_ERR_NOT_FOUND: /* forgotten: it had ended long before */
    case FICUS_ERR_CORRUPT:
        t->told[t->told_count++] = e->child;
        break;
    default: t->failed = true;
    }
    if (err == FICUS_ERR_CORRUPT)
        LOG(g->options.log, LOG_ERROR, NULL, "saga.damaged", "an instance cannot be followed and does not hear of its child's end",
            LOG_SLICE("saga", e->parent.saga), LOG_SLICE("id", e->parent.id), LOG_STR("reason", detail));
    if (--t->open_count == 0)
        batch_told(g);
}

static void tell_one(void *arg, const struct saga_stored *row)
{
    struct saga_engine *g = arg;
    struct saga_telling *t = &g->telling;
    struct arena *a = &t->arenas[t->arena];
    struct saga_ended *e = &t->ended[t->ended_count];
    struct slice code = row->state == SAGA_TERMINATED ? SLICE("terminated") : slice_str(row->failure);
    *e = (struct saga_ended){.g = g};
    if (saga_keep(a, row->start.saga, &e->child.saga) && saga_keep(a, row->start.id, &e->child.id) && saga_keep(a, row->start.parent.saga, &e->parent.saga) &&
        saga_keep(a, row->start.parent.id, &e->parent.id) && saga_keep(a, row->start.parent.step, &e->parent.step) &&
        (row->state == SAGA_COMPLETED || saga_keep(a, code, &e->code)))
        t->ended_count++;
    else
        t->err = err_set(&t->error, FICUS_ERR_NOMEM, "out of memory");
}

static void tell_work(void *arg)
{
    struct saga_engine *g = arg;
    struct saga_telling *t = &g->telling;
    t->ended_count = 0;
    t->err = FICUS_ERR_OK;
    enum ficus_err err = t->told_count > 0 ? saga_journal_told(g->journal, t->told, t->told_count, &t->error) : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK)
        err = saga_journal_untold(g->journal, SAGA_TELL_BATCH, tell_one, g, &t->error);
    if (err != FICUS_ERR_OK)
        t->err = err;
}

static enum ficus_err tell(struct saga_ended *e)
{
    const struct saga_command c = {.kind = SAGA_CHILD_END, .saga = e->parent.saga, .id = e->parent.id, .signal = e->parent.step,
                                   .refuse = e->code.p != NULL, .reason = e->code};
    return saga_command_new(e->g, &c, on_told, e);
}

static void tell_done(void *arg)
{
    struct saga_engine *g = arg;
    struct saga_telling *t = &g->telling;
    t->looking = false;
    if (t->err != FICUS_ERR_OK) {
        LOG(g->options.log, LOG_ERROR, NULL, "saga.journal", "the saga journal cannot be used; parents hear of their children later",
            LOG_ERR(&t->error));
        tell_in(g, TELL_RETRY_MS); /* what was told stays so */
    } else {
        t->told_count = 0;
        t->arena = 1 - t->arena; /* the next batch's; this one's names are needed until the next one is read */
        for (size_t k = 0; k < t->ended_count && !g->closing; k++) {
            if (tell(&t->ended[k]) == FICUS_ERR_OK)
                t->open_count++;
            else
                t->failed = true;
        }
        if (t->open_count == 0)
            batch_told(g);
    }
    saga_closing_step(g);
}

static void on_tell_timer(void *arg)
{
    struct saga_engine *g = arg;
    struct saga_telling *t = &g->telling;
    FICUS_ASSERT(!t->looking && t->open_count == 0);
    arena_clear(&t->arenas[t->arena]);
    t->job = (struct env_job){.work = tell_work, .done = tell_done, .arg = g};
    t->again = t->failed = false;
    t->looking = env_run(g->env, &t->job) == FICUS_ERR_OK;
    if (!t->looking)
        tell_in(g, TELL_AGAIN_MS);
}

void saga_tell_parents(struct saga_engine *g)
{
    struct saga_telling *t = &g->telling;
    t->again = true;
    if (!env_timer_armed(&t->timer))
        tell_in(g, 0);
}

void saga_tell_begin(struct saga_engine *g)
{
    struct saga_telling *t = &g->telling;
    t->timer = (struct env_timer){.fn = on_tell_timer, .arg = g};
    arena_init(&t->arenas[0], TELL_ARENA_MAX);
    arena_init(&t->arenas[1], TELL_ARENA_MAX);
    saga_tell_parents(g);
}

void saga_tell_end(struct saga_engine *g)
{
    env_timer_stop(g->env, &g->telling.timer);
}
