/* SPDX-License-Identifier: Apache-2.0
 *
 * How instances come to life: from start events (pulled in batches; a batch and the position behind it are one
 * transaction) and from the journal after a restart.
 */
#include "saga_private.h"

#include "assert.h"
#include "mem.h"
#include "text.h"

enum { PULL_WAIT_MS = 30000, PULL_RETRY_MS_MAX = 3000 };

/* ---- start events ---- */

static void refuse_event(struct saga_engine *g, const struct event *ev, const char *why)
{
    LOG(g->options.log, LOG_ERROR, NULL, "saga.start_refused", "a start event cannot start an instance",
        LOG_SLICE("topic", ev->topic), LOG_SLICE("event_id", ev->id), LOG_SLICE("subject", ev->subject),
        LOG_STR("reason", why));
}

enum ficus_err saga_start_by(struct saga_engine *g, const struct saga_known_def *known, const struct event *ev, struct slice input,
                             struct slice actor)
{
    const struct saga_start start = {
        .saga = slice_str(known->def->name),
        .id = ev->subject,
        .input = input,
        .event_id = ev->id,
        .traceparent = ev->traceparent,
        .tracestate = ev->tracestate,
        .correlation = ev->correlation,
    };
    char key[SAGA_ID_SIZE_MAX + 80];
    struct buf b;
    buf_init(&b, sizeof key);
    buf_printf(&b, SLICE_FMT "/" SLICE_FMT, SLICE_ARG(start.saga), SLICE_ARG(start.id));
    bool failed = buf_failed(&b), live = map_get(&g->live, buf_slice(&b)) != NULL;
    buf_done(&b);
    if (failed)
        return FICUS_ERR_NOMEM;
    if (live)
        return FICUS_ERR_OK;
    struct saga_instance *i = saga_instance_new(g);
    if (i == NULL)
        return FICUS_ERR_NOMEM;
    if (saga_instance_fill(i, &start, known) != FICUS_ERR_OK) {
        saga_instance_free(i);
        return FICUS_ERR_NOMEM;
    }
    if (actor.p != NULL && (i->note.actor = arena_slice(&i->arena, actor)).p == NULL) {
        saga_instance_free(i);
        return FICUS_ERR_NOMEM;
    }
    struct saga_input in = {.kind = SAGA_INPUT_START, .note = actor.p != NULL ? &i->note : NULL};
    saga_input(i, &in);
    return FICUS_ERR_OK;
}

/* NOMEM, or OK (also when there is nothing to start). */
static enum ficus_err start_event(struct saga_engine *g, const struct event *ev)
{
    if (slice_eq_str(ev->topic, EVENT_TOPIC_SAGA))
        return saga_told(g, ev);
    for (size_t d = 0; d < g->options.def_count; d++) {
        if (g->options.defs[d].start == NULL || !slice_eq_str(ev->topic, g->options.defs[d].start))
            continue;
        if (saga_id_check(ev->subject) != NULL) {
            refuse_event(g, ev, saga_id_check(ev->subject));
            return FICUS_ERR_OK;
        }
        enum ficus_err err = saga_start_by(g, g->start_defs[d], ev, ev->data, SLICE_NONE);
        if (err != FICUS_ERR_OK)
            return err;
    }
    return saga_awaited(g, ev);
}

void saga_pull_again(struct saga_engine *g)
{
    int64_t cap_ms = g->pull_failures < 5 ? 100ll << g->pull_failures : PULL_RETRY_MS_MAX;
    g->pull_failures++;
    env_timer_start(g->env, &g->pull_timer, 1 + (int64_t)(env_random_u64(g->env) % (uint64_t)cap_ms));
}

/* Of an engine that has read before: what it never was to read is of topics that sagas began to read later. Once: other topics may have
 * many batches yet before the reading is past the cut. */
static void tell_lost(struct saga_engine *g)
{
    int64_t told = g->lost_told;
    for (size_t i = 0; i < g->options.bus->cut_count && g->position > 0; i++) {
        const struct event_cut *cut = &g->options.bus->cuts[i];
        if (cut->offset <= g->lost_told || cut->offset <= g->position)
            continue;
        told = cut->offset > told ? cut->offset : told;
        LOG(g->options.log, LOG_ERROR, NULL, "events.lost",
            "events were removed from the log before the saga engine had them; instances that they would have begun can be begun by hand "
            "(ficus saga start), signals given (ficus saga signal)",
            LOG_SLICE("topic", cut->topic), LOG_INT("after", g->position), LOG_INT("upto", cut->offset));
    }
    g->lost_told = told;
}

static void on_pulled(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct saga_engine *g = arg;
    g->pulling = false;
    if (err == FICUS_ERR_CONFLICT && g->position > 0) {
        /* Another log than the one that the position was of. An instance that began already does not begin again. */
        LOG(g->options.log, LOG_ERROR, NULL, "saga.log_lost",
            "the event log is shorter than what was read of it; reading it from its beginning",
            LOG_INT("position", g->position));
        g->position = g->lost_told = 0;
    }
    if (err != FICUS_ERR_OK) {
        if (g->pull_failures == 0)
            LOG(g->options.log, LOG_WARN, NULL, "saga.pull", "start events cannot be read; trying again",
                LOG_STR("error", err_text(err)));
        saga_pull_again(g);
        return;
    }
    g->pull_failures = 0;
    tell_lost(g);
    if (count == 0) {
        /* Not worth a transaction of its own: read again after a crash, those events are not there again. */
        if (next > g->position)
            g->position = next;
        saga_pull(g);
        return;
    }
    FICUS_ASSERT(!g->batch_open && count <= SAGA_START_BATCH);
    /* Open only when the batch is whole, so that no transaction takes a part of it. What comes after a failure is left
     * for the next pull. */
    int64_t seen = g->position;
    g->held = true;
    for (size_t k = 0; k < count && err == FICUS_ERR_OK; k++) {
        err = start_event(g, &events[k]);
        if (err == FICUS_ERR_OK)
            seen = events[k].offset;
    }
    g->held = false;
    g->batch_next = err == FICUS_ERR_OK ? next : seen;
    g->batch_open = g->told_count == 0; /* else when all that was told is written (saga_told.c): these are begun before */
    saga_writer_kick(g);
    saga_ready_kick(g);
}

static void on_pull_timer(void *arg)
{
    saga_pull(arg);
}

void saga_pull(struct saga_engine *g)
{
    if (g->pulling || g->closing || g->batch_open || g->told_count > 0 || g->topics[0] == '\0' || env_timer_armed(&g->pull_timer) ||
        map_count(&g->live) >= SAGA_LIVE_MAX)
        return;
    g->pull_timer = (struct env_timer){.fn = on_pull_timer, .arg = g};
    g->pulling = true;
    /* An event may start as many instances as there are sagas; all must fit into one transaction. */
    size_t defs = g->options.def_count > 0 ? g->options.def_count : 1;
    size_t count_max = defs >= SAGA_START_BATCH ? 1 : SAGA_START_BATCH / defs;
    if (g->options.bus->ops->pull(g->options.bus, g->topics, g->position, count_max, PULL_WAIT_MS, on_pulled, g) !=
        FICUS_ERR_OK) {
        g->pulling = false;
        saga_pull_again(g);
    }
}

/* ---- from the journal ---- */

/* What signals brought is part of the instance, but not of the state. */
static enum ficus_err keep_signals(struct saga_instance *i, const struct saga_stored *stored)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t r = 0; r < stored->record_count && err == FICUS_ERR_OK; r++) {
        const struct saga_stored_record *sr = &stored->records[r];
        size_t step = saga_step_named(i->def, slice_str(sr->step));
        if (sr->kind == SAGA_RECORD_SIGNALLED && step < i->def->step_count)
            err = saga_keep_signal(i, step, sr->data);
    }
    return err;
}

enum ficus_err saga_take_up_stored(struct saga_engine *g, const struct saga_stored *stored,
                                   struct saga_instance **ret_instance, struct ficus_error *reterr)
{
    const struct saga_known_def *known;
    struct saga_state state;
    enum ficus_err err = saga_def_know(g, stored->start.def_hash, stored->start.def_text, &known, reterr);
    if (err == FICUS_ERR_OK)
        err = saga_stored_fold(stored, known->def, &state, reterr);
    if (err != FICUS_ERR_OK)
        return err_wrap(reterr, "saga " SLICE_FMT "/" SLICE_FMT, SLICE_ARG(stored->start.saga),
                        SLICE_ARG(stored->start.id));
    struct saga_instance *i = saga_instance_new(g);
    if (i == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    err = saga_instance_fill(i, &stored->start, known);
    if (err == FICUS_ERR_OK)
        err = keep_signals(i, stored);
    if (err != FICUS_ERR_OK) {
        saga_instance_free(i);
        return err_set(reterr, err, "out of memory");
    }
    i->state = state;
    int64_t wait_ms = saga_wait_ms(known->def, &state), latest_ms = saga_waits_now(g) + wait_ms;
    if (wait_ms > 0) /* beside calls it is not among those whose clock was looked at (saga_journal_limit_waits) */
        i->wake_at_ms = stored->wake_at_ms < latest_ms ? stored->wake_at_ms : latest_ms;
    *ret_instance = i;
    return FICUS_ERR_OK;
}

static enum ficus_err resume_one(struct saga_engine *g, struct slice saga, struct slice id, struct ficus_error *reterr)
{
    struct arena a;
    arena_init(&a, 16 * EVENT_SIZE_MAX);
    struct saga_stored *stored;
    struct saga_instance *i = NULL;
    enum ficus_err err = saga_journal_load(g->journal, &a, saga, id, &stored, reterr);
    if (err == FICUS_ERR_OK)
        err = saga_take_up_stored(g, stored, &i, reterr);
    if (err == FICUS_ERR_OK && i->state.name != SAGA_RUNNING && i->state.name != SAGA_UNDOING) {
        saga_instance_free(i);
        err = err_set(reterr, FICUS_ERR_CORRUPT, "saga " SLICE_FMT "/" SLICE_FMT ": its row says %s, its records %s",
                      SLICE_ARG(saga), SLICE_ARG(id), saga_state_text(stored->state), saga_state_text(i->state.name));
    } else if (err == FICUS_ERR_OK) {
        struct saga_input in = {.kind = SAGA_INPUT_RESUME};
        saga_input(i, &in);
    }
    arena_done(&a);
    return err;
}

struct names {
    struct arena *arena;
    struct slice saga[SAGA_LIST_MAX], id[SAGA_LIST_MAX];
    size_t count;
    bool failed;
};

static void collect_name(void *arg, const struct saga_stored *row)
{
    struct names *n = arg;
    n->saga[n->count] = arena_slice(n->arena, row->start.saga);
    n->id[n->count] = arena_slice(n->arena, row->start.id);
    n->failed = n->failed || n->saga[n->count].p == NULL || n->id[n->count].p == NULL;
    n->count++;
}

/* All instances of one state, page by page. A damaged one is left alone and told; the others go on. */
static enum ficus_err take_up_state(struct saga_engine *g, enum saga_state_name state, struct names *n,
                                    struct ficus_error *reterr)
{
    struct arena arenas[2];
    struct slice after_saga = SLICE_NONE, after_id = SLICE_NONE;
    enum ficus_err err = FICUS_ERR_OK;
    arena_init(&arenas[0], 1024 * 1024);
    arena_init(&arenas[1], 1024 * 1024);
    for (size_t page = 0; err == FICUS_ERR_OK; page++) {
        /* The last name of one page lives until the next is read. */
        n->arena = &arenas[page % 2];
        arena_clear(n->arena);
        n->count = 0;
        const struct saga_journal_query q = {
            .state = state, .after_saga = after_saga, .after_id = after_id, .count_max = SAGA_LIST_MAX};
        err = saga_journal_list(g->journal, &q, collect_name, n, reterr);
        if (err == FICUS_ERR_OK && n->failed)
            err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
        for (size_t k = 0; k < n->count && err == FICUS_ERR_OK; k++) {
            err = resume_one(g, n->saga[k], n->id[k], reterr);
            if (err != FICUS_ERR_CORRUPT)
                continue;
            LOG(g->options.log, LOG_ERROR, NULL, "saga.damaged", "an instance cannot be followed and is left as it is",
                LOG_ERR(reterr));
            metric_change(g->damaged, 1);
            err = FICUS_ERR_OK;
        }
        if (err != FICUS_ERR_OK || n->count < SAGA_LIST_MAX)
            break;
        after_saga = n->saga[n->count - 1];
        after_id = n->id[n->count - 1];
    }
    arena_done(&arenas[0]);
    arena_done(&arenas[1]);
    return err;
}

enum ficus_err saga_take_up(struct saga_engine *g, struct ficus_error *reterr)
{
    struct names *n = mem_zalloc(sizeof *n); /* too large for a small stack */
    if (n == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    int64_t stuck = 0;
    g->held = true;
    enum ficus_err err = saga_journal_position(g->journal, &g->position, reterr);
    if (err == FICUS_ERR_OK)
        err = saga_journal_count(g->journal, SAGA_STUCK, &stuck, reterr);
    if (err == FICUS_ERR_OK)
        err = take_up_state(g, SAGA_RUNNING, n, reterr);
    if (err == FICUS_ERR_OK)
        err = take_up_state(g, SAGA_UNDOING, n, reterr);
    g->held = false;
    metric_set(g->stuck, stuck);
    mem_free(n);
    return err;
}
