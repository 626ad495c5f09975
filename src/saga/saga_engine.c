/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_engine.h. This file: the engine's life, its definitions, and the one writer.
 */
#include "saga_private.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

enum {
    DAY_MS = 24 * 3600 * 1000,
    TRIM_EVERY_MS = 600 * 1000,
    TRIM_COUNT = 500,
    RETRY_MS = 1000,
};

static const struct metric_def metric_table[] = {
    {.name = "saga_started_total", .type = METRIC_COUNTER, .help = "Instances started.", .labels = {"saga"}},
    {.name = "saga_completed_total",
     .type = METRIC_COUNTER,
     .help = "Instances finished: completed, compensated or terminated.",
     .labels = {"saga", "outcome"}},
    {.name = "saga_step_seconds",
     .type = METRIC_HISTOGRAM,
     .unit = METRIC_SECONDS,
     .help = "From the first attempt of a step or undo to its deciding answer.",
     .labels = {"saga", "step", "kind"}},
    {.name = "saga_stuck", .type = METRIC_GAUGE, .help = "Instances that wait for an operator."},
    {.name = "saga_running", .type = METRIC_GAUGE, .help = "Unfinished instances in memory."},
    {.name = "saga_damaged", .type = METRIC_GAUGE, .help = "Unfinished instances whose journal cannot be followed."},
    {.name = "saga_waiting", .type = METRIC_GAUGE, .help = "Instances that wait for time, a signal or a child."},
};

/* ---- definitions ---- */

enum ficus_err saga_def_know(struct saga_engine *g, struct slice hash, struct slice text,
                             const struct saga_known_def **ret_known, struct ficus_error *reterr)
{
    struct saga_known_def *k = map_get(&g->defs, hash);
    if (k == NULL) {
        k = mem_zalloc(sizeof *k);
        if (k == NULL)
            return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
        arena_init(&k->arena, 1024 * 1024);
        struct saga_def *def = NULL;
        struct slice again;
        enum ficus_err err = text.p == NULL ? err_set(reterr, FICUS_ERR_CORRUPT, "its definition is missing")
                                            : FICUS_ERR_OK;
        if (err == FICUS_ERR_OK && (k->text = arena_slice(&k->arena, text)).p == NULL)
            err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
        if (err == FICUS_ERR_OK)
            err = saga_def_read(&k->arena, k->text, &def, reterr);
        if (err == FICUS_ERR_OK)
            err = saga_def_write(def, &k->arena, &again, k->hash);
        if (err == FICUS_ERR_OK && !slice_eq_str(hash, k->hash))
            err = err_set(reterr, FICUS_ERR_CORRUPT, "its definition does not have the hash %s", k->hash);
        k->def = def;
        for (size_t s = 0; err == FICUS_ERR_OK && s < def->step_count; s = saga_group_end(def, s))
            if (saga_group_end(def, s) - s > k->width)
                k->width = saga_group_end(def, s) - s;
        if (err == FICUS_ERR_OK && !map_put(&g->defs, hash, k))
            err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
        if (err != FICUS_ERR_OK) {
            arena_done(&k->arena);
            mem_free(k);
            return err;
        }
    }
    *ret_known = k;
    return FICUS_ERR_OK;
}

/* ---- the writer ---- */

static void log_record(struct saga_instance *i, const struct saga_record *r)
{
    static const struct {
        const char *event, *msg;
        enum log_level level;
    } lines[SAGA_RECORD_COUNT] = {
        [SAGA_RECORD_STARTED] = {"saga.started", "an instance began", LOG_INFO},
        [SAGA_RECORD_DO_DONE] = {"saga.step", "a step is done", LOG_INFO},
        [SAGA_RECORD_DO_REFUSED] = {"saga.step", "a step was refused", LOG_INFO},
        [SAGA_RECORD_DO_GIVEN_UP] = {"saga.step", "a step was given up and will be undone", LOG_WARN},
        [SAGA_RECORD_UNDO_DONE] = {"saga.undo", "a step is undone", LOG_INFO},
        [SAGA_RECORD_UNDO_REFUSED] = {"saga.undo", "an undo was refused", LOG_WARN},
        [SAGA_RECORD_RETRIED] = {"saga.retried", "an operator continued a stuck instance", LOG_INFO},
        [SAGA_RECORD_WAIT_BEGUN] = {"saga.wait", "an instance waits", LOG_INFO},
        [SAGA_RECORD_WAIT_DONE] = {"saga.wait", "a wait is over", LOG_INFO},
        [SAGA_RECORD_WAIT_GIVEN_UP] = {"saga.wait", "a signal did not come in time, and the instance is undone", LOG_WARN},
        [SAGA_RECORD_SIGNALLED] = {"saga.signal", "a signal was given", LOG_INFO},
        [SAGA_RECORD_SIGNAL_REFUSED] = {"saga.signal", "a signal was refused, and the instance is undone", LOG_INFO},
        [SAGA_RECORD_CHILD_STARTED] = {"saga.child", "a step's saga began", LOG_INFO},
        [SAGA_RECORD_CHILD_COMPLETED] = {"saga.child", "a step's saga is completed", LOG_INFO},
        [SAGA_RECORD_CHILD_FAILED] = {"saga.child", "a step's saga is undone", LOG_INFO},
        [SAGA_RECORD_CANCELLED] = {"saga.cancelled", "an instance was cancelled and is undone", LOG_WARN},
    };
    if (lines[r->kind].event == NULL || i->g->options.log == NULL)
        return;
    bool has_step = saga_record_has_step(r->kind);
    LOG(i->g->options.log, lines[r->kind].level, &i->log, lines[r->kind].event, lines[r->kind].msg,
        LOG_SLICE("saga", i->start.saga), LOG_SLICE("id", i->start.id),
        LOG_STR("step", has_step ? i->def->steps[r->step].name : NULL), LOG_STR("outcome", saga_record_text(r->kind)),
        LOG_INT("status", r->status), LOG_STR("code", r->code[0] != '\0' ? r->code : NULL),
        LOG_INT("attempts", r->attempts), LOG_SLICE("actor", r->note != NULL ? r->note->actor : SLICE_NONE),
        LOG_SLICE("reason", r->note != NULL ? r->note->reason : SLICE_NONE));
}

static void log_rest(struct saga_instance *i)
{
    static const char *const texts[SAGA_STATE_COUNT] = {
        [SAGA_STUCK] = "an instance waits for an operator: a step that must be done was refused",
        [SAGA_TERMINATED] = "an instance was terminated: what it has done stays as it is",
    };
    enum saga_state_name name = i->state.name;
    bool stuck = name == SAGA_STUCK, terminated = name == SAGA_TERMINATED;
    const struct saga_note *note = i->out.records[0].note; /* of terminated, which is the only record */
    char event[32];
    snprintf(event, sizeof event, "saga.%s", saga_state_text(name));
    LOG(i->g->options.log, stuck ? LOG_ERROR : terminated ? LOG_WARN : LOG_INFO, &i->log, event,
        texts[name] != NULL ? texts[name] : "an instance is finished", LOG_SLICE("saga", i->start.saga),
        LOG_SLICE("id", i->start.id), LOG_STR("step", stuck || terminated ? i->def->steps[i->state.step].name : NULL),
        LOG_STR("failure", i->state.failure[0] != '\0' ? i->state.failure : NULL),
        LOG_SLICE("actor", terminated && note != NULL ? note->actor : SLICE_NONE),
        LOG_SLICE("reason", terminated && note != NULL ? note->reason : SLICE_NONE));
}

/* The instance went from its state before to the present one. */
static void count_change(struct saga_instance *i)
{
    struct saga_engine *g = i->g;
    enum saga_state_name from = i->before, to = i->state.name;
    if (from == SAGA_NONE && g->started != NULL)
        metric_inc(METRIC(g->started, i->start.saga));
    if (from == to)
        return;
    if (from == SAGA_STUCK || to == SAGA_STUCK)
        metric_change(g->stuck, to == SAGA_STUCK ? 1 : -1);
    if (from == SAGA_WAITING || to == SAGA_WAITING)
        metric_change(g->waiting, to == SAGA_WAITING ? 1 : -1);
    if (saga_state_is_final(to) && g->completed != NULL)
        metric_inc(METRIC(g->completed, i->start.saga, slice_str(saga_state_text(to))));
}

/* The entry is synced. */
static void after_append(struct saga_instance *i)
{
    saga_move(i, SAGA_PLACE_NOWHERE);
    if (i->entry.existed) { /* a start event that came again, or one came and went to rest since a start by hand read the journal */
        struct list commands;
        list_init(&commands);
        if (i->view != NULL)
            list_add_tail(&commands, &i->view->link);
        i->view = NULL;
        saga_commands_move(&i->commands, &commands);
        saga_instance_free(i);
        saga_commands_again(&commands);
        return;
    }
    for (size_t r = 0; r < i->out.record_count; r++)
        log_record(i, &i->out.records[r]);
    count_change(i);
    if (i->state.name == SAGA_STUCK || saga_state_is_final(i->state.name))
        log_rest(i);
    if (saga_state_is_final(i->state.name) && i->start.parent.saga.p != NULL)
        saga_tell_parents(i->g);
    if (i->state.name == SAGA_WAITING && i->wake_at_ms != 0)
        saga_wake_at(i->g, i->wake_at_ms);
    if (i->view != NULL)
        saga_command_done(i);
    saga_act(i);
    saga_go_on(i);
}

static void writer_work(void *arg)
{
    struct saga_engine *g = arg;
    g->job_err = g->job_trim_err = FICUS_ERR_OK;
    if (g->entry_count > 0 || g->job_position >= 0)
        g->job_err = saga_journal_append(g->journal, g->entries, g->entry_count, g->job_position, g->job_wall_ms,
                                         &g->job_error);
    if (g->job_err == FICUS_ERR_OK && g->job_trim_before_ms > 0)
        g->job_trim_err = saga_journal_trim(g->journal, g->job_trim_before_ms, TRIM_COUNT, &g->job_trim_count,
                                            &g->job_trim_error);
}

static void entries_written(struct saga_engine *g)
{
    while (!list_empty(&g->lists[SAGA_PLACE_APPENDING]))
        after_append(CONTAINER_OF(g->lists[SAGA_PLACE_APPENDING].next, struct saga_instance, link));
    if (g->starts_in_job) {
        g->position = g->job_position;
        g->batch_open = g->starts_in_job = false;
    }
    g->entry_count = 0;
    g->job_position = -1;
    saga_ready_kick(g);
    saga_pull(g);
}

/* A full batch was forgotten: the next one comes with the next job, or soon; else it is quiet for a while. */
static void trim_written(struct saga_engine *g)
{
    if (g->job_trim_err != FICUS_ERR_OK)
        LOG(g->options.log, LOG_WARN, NULL, "saga.janitor", "old instances could not be forgotten; again later",
            LOG_ERR(&g->job_trim_error));
    if (g->job_trim_err == FICUS_ERR_OK && g->job_trim_count == TRIM_COUNT)
        return;
    g->trim_due = false;
    env_timer_start(g->env, &g->trim_timer, TRIM_EVERY_MS);
}

static void writer_done(void *arg)
{
    struct saga_engine *g = arg;
    if (g->job_err == FICUS_ERR_OK)
        entries_written(g); /* still busy: what commands write meanwhile must not join those that are written */
    g->writer_busy = false;
    if (g->job_err != FICUS_ERR_OK) {
        LOG(g->options.log, LOG_ERROR, NULL, "saga.journal", "the saga journal cannot be written; sagas wait",
            LOG_ERR(&g->job_error));
        if (!g->closing)
            env_timer_start(g->env, &g->writer_timer, RETRY_MS);
        saga_closing_step(g);
        return;
    }
    if (g->job_trim_before_ms > 0 && !g->closing)
        trim_written(g);
    saga_writer_kick(g);
    saga_closing_step(g);
}

/* When the first of the open waits is over, and whether the journal knows it already. */
static void set_wake(struct saga_instance *i)
{
    const struct saga_output *o = &i->out;
    bool rests = i->state.name == SAGA_WAITING && i->before != SAGA_WAITING;
    if (o->wait_ms == 0 || o->wait_ms == SAGA_NEVER)
        i->wake_at_ms = 0;
    else if (o->wait_is_new)
        i->wake_at_ms = saga_waits_now(i->g) + o->wait_ms;
    else
        i->wake_at_ms += o->wait_ms - o->wait_was_ms;
    if (o->wait_ms == 0 || !(rests || o->wait_is_new || o->wait_ms != o->wait_was_ms))
        return;
    i->entry.wait_ms = o->wait_ms;
    i->entry.wake_at_ms = i->wake_at_ms;
}

static void take_entries(struct saga_engine *g, enum saga_place from, size_t count_max)
{
    while (count_max-- > 0 && !list_empty(&g->lists[from])) {
        struct saga_instance *i = CONTAINER_OF(g->lists[from].next, struct saga_instance, link);
        saga_move(i, SAGA_PLACE_APPENDING);
        i->entry = (struct saga_journal_entry){
            .start = &i->start,
            .is_new = from == SAGA_PLACE_STARTING,
            .def = i->def,
            .records = i->out.records,
            .record_count = i->out.record_count,
            .state = &i->state,
        };
        set_wake(i);
        FICUS_ASSERT(g->entry_count < ARRAY_COUNT(g->entries));
        g->entries[g->entry_count++] = &i->entry;
    }
}

/* After a failed append the entries are still in APPENDING (or the position is still to be written), and the same job
 * runs again. */
static void writer_fill(struct saga_engine *g)
{
    if (!list_empty(&g->lists[SAGA_PLACE_APPENDING]) || g->starts_in_job)
        return;
    g->starts_in_job = g->batch_open;
    g->job_position = g->batch_open ? g->batch_next : -1;
    take_entries(g, SAGA_PLACE_STARTING, SAGA_START_BATCH + SAGA_COMMANDS_MAX + SAGA_CALLING_MAX);
    FICUS_ASSERT(list_empty(&g->lists[SAGA_PLACE_STARTING]));
    take_entries(g, SAGA_PLACE_WAITING, SAGA_APPEND_BATCH);
}

void saga_writer_kick(struct saga_engine *g)
{
    if (g->writer_busy || g->held || g->closing || env_timer_armed(&g->writer_timer))
        return;
    writer_fill(g);
    int64_t retention_ms = g->options.retention_ms > 0 ? g->options.retention_ms : 7ll * DAY_MS;
    g->job_wall_ms = env_wall_ms(g->env);
    g->job_trim_before_ms = g->trim_due ? g->job_wall_ms - retention_ms : 0;
    if (g->entry_count == 0 && g->job_position < 0 && g->job_trim_before_ms <= 0)
        return;
    g->writer = (struct env_job){.work = writer_work, .done = writer_done, .arg = g};
    if (env_run(g->env, &g->writer) == FICUS_ERR_OK)
        g->writer_busy = true;
    else
        env_timer_start(g->env, &g->writer_timer, 10); /* the pool's queue is full */
}

static void on_writer_timer(void *arg)
{
    saga_writer_kick(arg);
}

static void on_trim_timer(void *arg)
{
    struct saga_engine *g = arg;
    g->trim_due = true;
    saga_writer_kick(g);
}

/* ---- life ---- */

static enum ficus_err default_start(void *arg, const struct call_request *r, size_t body_size_max,
                                    void (*done)(void *arg, const struct call_result *result), void *done_arg,
                                    struct call_fetch **ret_fetch)
{
    return call_fetch(arg, r, body_size_max, done, done_arg, ret_fetch);
}

static void default_cancel(void *arg, struct call_fetch *f)
{
    (void)arg;
    call_fetch_cancel(f);
}

static enum ficus_err know_configured(struct saga_engine *g, struct ficus_error *reterr)
{
    g->start_defs = mem_array(g->options.def_count + 1, sizeof *g->start_defs);
    struct arena a;
    arena_init(&a, 4 * 1024 * 1024);
    enum ficus_err err = g->start_defs == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
    for (size_t i = 0; i < g->options.def_count && err == FICUS_ERR_OK; i++) {
        struct slice text;
        char hash[65];
        err = saga_def_write(&g->options.defs[i], &a, &text, hash);
        if (err == FICUS_ERR_OK)
            err = saga_def_know(g, slice_str(hash), text, &g->start_defs[i], reterr);
        else
            err_set(reterr, err, "%s", err_text(err));
        if (err != FICUS_ERR_OK)
            err_wrap(reterr, "saga %s", g->options.defs[i].name);
    }
    if (err == FICUS_ERR_OK)
        err = saga_topics_know(g, reterr);
    arena_done(&a);
    return err;
}

static void make_metrics(struct saga_engine *g)
{
    struct metric_family *f[ARRAY_COUNT(metric_table)];
    if (g->options.metrics == NULL ||
        metrics_register_all(g->options.metrics, metric_table, ARRAY_COUNT(metric_table), f) != FICUS_ERR_OK)
        return;
    g->started = f[0];
    g->completed = f[1];
    g->step_seconds = f[2];
    g->stuck = metric_only(f[3]);
    g->running = metric_only(f[4]);
    g->damaged = metric_only(f[5]);
    g->waiting = metric_only(f[6]);
}

static void engine_free(struct saga_engine *g)
{
    for (int p = 1; p < SAGA_PLACE_COUNT; p++)
        while (!list_empty(&g->lists[p]))
            saga_instance_free(CONTAINER_OF(g->lists[p].next, struct saga_instance, link));
    struct slice key;
    void *value;
    FICUS_ASSERT(map_count(&g->visits) == 0); /* each has a command, which is a view */
    map_done(&g->visits);
    for (size_t pos = 0; map_next(&g->defs, &pos, &key, &value);) {
        struct saga_known_def *k = value;
        arena_done(&k->arena);
        mem_free(k);
    }
    map_done(&g->defs);
    map_done(&g->live);
    mem_free(g->start_defs);
    mem_free(g->topics);
    arena_done(&g->await_arena);
    arena_done(&g->telling.arenas[0]);
    arena_done(&g->telling.arenas[1]);
    mem_free(g);
}

enum ficus_err saga_engine_new(struct env *e, const struct saga_engine_options *o, struct saga_engine **ret_engine,
                               struct ficus_error *reterr)
{
    struct saga_engine *g = mem_zalloc(sizeof *g);
    if (g == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    g->env = e;
    g->options = *o;
    g->job_position = -1;
    g->caller = o->caller != NULL ? *o->caller : (struct saga_caller){default_start, default_cancel, o->calls};
    uint64_t seed[2];
    env_random(e, seed, sizeof seed);
    map_init(&g->live, seed);
    map_init(&g->visits, seed);
    map_init(&g->defs, seed);
    for (int p = 0; p < SAGA_PLACE_COUNT; p++)
        list_init(&g->lists[p]);
    for (int p = 0; p < SAGA_WORK_COUNT; p++)
        list_init(&g->works[p]);
    g->writer_timer = (struct env_timer){.fn = on_writer_timer, .arg = g};
    g->trim_timer = (struct env_timer){.fn = on_trim_timer, .arg = g};
    make_metrics(g);
    enum ficus_err err = saga_journal_open(e, o->journal_file, &g->journal, reterr);
    if (err == FICUS_ERR_OK)
        err = know_configured(g, reterr);
    if (err == FICUS_ERR_OK)
        err = saga_take_up(g, reterr);
    if (err == FICUS_ERR_OK)
        err = saga_wake_begin(g, reterr);
    if (err != FICUS_ERR_OK) {
        saga_journal_close(g->journal);
        engine_free(g);
        return err;
    }
    env_timer_start(e, &g->trim_timer, TRIM_EVERY_MS / 10);
    saga_writer_kick(g);
    saga_ready_kick(g);
    saga_pull(g);
    saga_tell_begin(g);
    *ret_engine = g;
    return FICUS_ERR_OK;
}

static void close_work(void *arg)
{
    struct saga_engine *g = arg;
    saga_journal_close(g->journal);
}

static void close_done(void *arg)
{
    struct saga_engine *g = arg;
    void (*closed)(void *) = g->closed;
    void *closed_arg = g->closed_arg;
    engine_free(g);
    closed(closed_arg);
}

/* Called whenever something ended that a closing engine waits for. */
void saga_closing_step(struct saga_engine *g)
{
    if (!g->closing || g->journal_closing || g->writer_busy || g->waking || g->telling.looking || g->view_count > 0)
        return;
    g->close_job = (struct env_job){.work = close_work, .done = close_done, .arg = g};
    if (env_run(g->env, &g->close_job) == FICUS_ERR_OK)
        g->journal_closing = true;
    else
        env_timer_start(g->env, &g->close_timer, 10);
}

static void on_close_timer(void *arg)
{
    saga_closing_step(arg);
}

struct db *saga_engine_db(const struct saga_engine *g)
{
    return saga_journal_db(g->journal);
}

void saga_engine_close(struct saga_engine *g, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!g->closing);
    g->closing = true;
    g->closed = closed;
    g->closed_arg = arg;
    g->close_timer = (struct env_timer){.fn = on_close_timer, .arg = g};
    env_timer_stop(g->env, &g->writer_timer);
    env_timer_stop(g->env, &g->trim_timer);
    env_timer_stop(g->env, &g->pull_timer);
    saga_wake_end(g);
    saga_tell_end(g);
    if (g->pulling)
        g->options.bus->ops->cancel_pull(g->options.bus);
    g->pulling = false;
    for (int p = 1; p < SAGA_WORK_COUNT; p++)
        while (!list_empty(&g->works[p]))
            saga_call_cancel(CONTAINER_OF(g->works[p].next, struct saga_work, link));
    for (int p = 1; p < SAGA_PLACE_COUNT; p++) {
        LIST_FOREACH_SAFE (&g->lists[p], it, tmp) {
            struct saga_instance *i = CONTAINER_OF(it, struct saga_instance, link);
            struct saga_view *v = i->view;
            i->view = NULL;
            if (v != NULL)
                saga_view_answer(v, FICUS_ERR_CANCELLED, SLICE_NONE, "the hub is stopping");
            saga_commands_cancel(&i->commands);
        }
    }
    /* Never from inside this call: the caller's closed must not fire re-entrantly, and jobs' done callbacks never do.
     */
    saga_closing_step(g);
}

size_t saga_engine_live(const struct saga_engine *g)
{
    return map_count(&g->live);
}
