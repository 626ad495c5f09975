/* SPDX-License-Identifier: Apache-2.0
 *
 * See flow_watch.h.
 */
#include "flow_watch_private.h"

#include "timefmt.h"

#include <string.h>

enum {
    PULL_WAIT_MS = 30000,
    PULL_RETRY_MS_MAX = 3000,
    RETRY_MS = 1000,
    LOOK_MS = 60000,  /* at the least so often, since the clock may be set */
    GAUGE_MS = 5000,
    TRIM_MS = 60000,
    NEW_MS = 1000,
    BATCH_ARENA_MAX = 4 * 1024 * 1024, /* without data an event is small */
};

static const struct metric_def metric_table[] = {
    {.name = "flow_instances", .type = METRIC_GAUGE, .help = "Instances of choreographed sagas.", .labels = {"flow", "state"}, .children_max = 1024},
    {.name = "flow_caught_up", .type = METRIC_GAUGE, .help = "1 when the flows have read the event log to its end."},
};

static void plan_turn(struct flow_watch *w);
static void pull(struct flow_watch *w);

/* ---- time ---- */

/* The wall clock, which here does not go back. */
static int64_t wall_ms(struct flow_watch *w)
{
    int64_t now_ns = env_now_ns(w->env), wall = env_wall_ms(w->env), least = w->clock_wall_ms + (now_ns - w->clock_ns) / 1000000;
    if (w->clock_ns == 0 || wall > least) {
        w->clock_wall_ms = wall;
        w->clock_ns = now_ns;
        return wall;
    }
    return least;
}

static bool is_settled(const struct flow_watch *w)
{
    return w->settled_ns != 0 && w->caught_up && env_now_ns(w->env) >= w->settled_ns;
}

int64_t flow_judge_ms(struct flow_watch *w)
{
    int64_t now_ms = wall_ms(w);
    if (is_settled(w) && now_ms > w->judged_ms)
        w->judged_ms = now_ms;
    return w->judged_ms;
}

/* ---- pulling ---- */

static void pull_again(struct flow_watch *w)
{
    int64_t cap_ms = w->pull_failures < 5 ? 100ll << w->pull_failures : PULL_RETRY_MS_MAX;
    w->pull_failures++;
    env_timer_start(w->env, &w->pull_timer, 1 + (int64_t)(env_random_u64(w->env) % (uint64_t)cap_ms));
}

/* Of another log: consumers' places in the old one say nothing of it. */
static void begin_anew(struct flow_watch *w)
{
    w->anew = true;
    for (size_t i = 0; i < flow_store_consumer_count(w->store); i++) {
        w->heard[i] = 0;
        w->needs[i] = FLOW_NEVER;
    }
    w->position = 0;
    w->judged_ms = 0;
    w->caught_up = false;
    w->settled_ns = 0;
    w->anew_ns = env_now_ns(w->env);
    w->anew_count = 0;
}

static void set_caught_up(struct flow_watch *w, bool caught_up)
{
    w->caught_up = caught_up;
    metric_set(w->behind, caught_up ? 1 : 0);
    if (!caught_up)
        return;
    if (w->settled_ns == 0)
        w->settled_ns = env_now_ns(w->env) + (int64_t)FLOW_SETTLE_MS * 1000000;
    if (w->anew_ns != 0)
        LOG(w->options.log, LOG_INFO, NULL, "flow.anew_done", "the flows have read the event log to its end", LOG_INT("events", w->anew_count),
            LOG_INT("ms", (env_now_ns(w->env) - w->anew_ns) / 1000000));
    w->anew_ns = 0;
}

/* Of the data only what an operator said of a dead letter counts. */
static enum ficus_err batch_copy(struct flow_watch *w, const struct event *events, size_t count)
{
    arena_clear(&w->batch_arena);
    w->batch = ARENA_ARRAY(&w->batch_arena, struct event, count);
    enum ficus_err err = w->batch == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++) {
        struct event ev = events[i];
        if (!slice_eq_str(ev.topic, EVENT_TOPIC_CLOSED))
            ev.data = SLICE_NONE;
        err = event_copy(&w->batch_arena, &ev, &w->batch[i]);
    }
    return err;
}

/* Whoever publishes faster than in batches is read to the end all the same: what is new is of this moment. */
static bool is_new(struct flow_watch *w, const struct event *ev)
{
    int64_t ms;
    return ev->time.p != NULL && time_parse(ev->time, &ms) && ms > wall_ms(w) - NEW_MS;
}

/* Behind the log's end: it is another one, a copy that was put back or a new one. */
static void pull_failed(struct flow_watch *w, enum ficus_err err)
{
    if (err == FICUS_ERR_CONFLICT && w->position > 0) {
        LOG(w->options.log, LOG_WARN, NULL, "flow.log_lost", "the event log is shorter than what was read of it; the flows are made anew of it",
            LOG_INT("position", w->position));
        begin_anew(w);
    } else if (w->pull_failures == 0) {
        LOG(w->options.log, LOG_WARN, NULL, "flow.pull", "events cannot be read; trying again", LOG_STR("error", err_text(err)));
    }
    pull_again(w);
    plan_turn(w);
}

static void on_pulled(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct flow_watch *w = arg;
    w->pulling = false;
    if (err == FICUS_ERR_OK && count > 0)
        err = batch_copy(w, events, count);
    if (err != FICUS_ERR_OK) {
        pull_failed(w, err);
        return;
    }
    w->pull_failures = 0;
    w->position = next > w->position ? next : w->position;
    w->batch_count = count;
    w->anew_count += count;
    if (!w->caught_up && (count == 0 || is_new(w, &events[count - 1])))
        set_caught_up(w, true);
    else if (w->caught_up && count == FLOW_BATCH && !is_new(w, &events[count - 1]))
        set_caught_up(w, false);
    plan_turn(w);
    pull(w);
}

static void on_pull_timer(void *arg)
{
    pull(arg);
}

static void pull(struct flow_watch *w)
{
    if (w->pulling || w->closing || w->batch_count > 0 || w->anew || env_timer_armed(&w->pull_timer))
        return;
    w->pulling = true;
    enum ficus_err err = w->options.bus->ops->pull(w->options.bus, flow_store_topics(w->store), w->position, FLOW_BATCH,
                                                   w->caught_up ? PULL_WAIT_MS : 0,
                                                   on_pulled, w);
    if (err == FICUS_ERR_OK)
        return;
    w->pulling = false;
    pull_failed(w, err);
}

/* ---- turns ---- */

static bool was_heard(const struct flow_watch *w)
{
    for (size_t i = 0; i < flow_store_consumer_count(w->store); i++)
        if (w->heard[i] >= w->needs[i])
            return true;
    return false;
}

static void turn_work(void *arg)
{
    struct flow_watch *w = arg;
    w->err = flow_store_turn(w->store, &w->turn, &w->error);
}

static void set_gauges(struct flow_watch *w)
{
    for (size_t i = 0; w->turn.gauges != NULL && i < w->options.def_count; i++)
        for (size_t s = 0; s < FLOW_STATE_COUNT; s++)
            metric_set(METRIC(w->instances, slice_str(w->options.defs[i].name), slice_str(flow_state_text((enum flow_state_name)s))),
                       w->turn.gauges[i][s]);
}

static void log_turn(struct flow_watch *w)
{
    char until[TIME_TEXT_SIZE];
    for (size_t i = 0; i < w->turn.told_count; i++) {
        const struct flow_told *t = &w->turn.told[i];
        time_format(t->until_ms, until);
        LOG(w->options.log, LOG_WARN, NULL, "flow.stuck", "an instance of a flow needs somebody: ficus saga show tells what is missing",
            LOG_STR("flow", t->flow),
            LOG_STR("id", t->id), LOG_STR("state", flow_state_text(t->state)), LOG_STR("step", t->step), LOG_STR("until", until));
    }
    if (w->turn.unnamed > 0)
        LOG(w->options.log, LOG_WARN, NULL, "flow.unnamed", "events without a subject belong to no instance of a flow whose id is the subject",
            LOG_INT("count", w->turn.unnamed));
    if (w->turn.forgotten > 0)
        LOG(w->options.log, LOG_WARN, NULL, "flow.forgotten", "instances that nobody helped are as old as the log's events, and are forgotten",
            LOG_INT("count", w->turn.forgotten));
}

static void turn_failed(struct flow_watch *w)
{
    if (!w->failing)
        LOG(w->options.log, LOG_ERROR, NULL, "flow.write", "what was seen of the flows cannot be kept; trying again each second", LOG_ERR(&w->error));
    w->failing = true;
    /* A file that was damaged while it is open is replaced at the next start. */
}

static void turn_done(void *arg)
{
    struct flow_watch *w = arg;
    w->busy = false;
    w->ended_ns = env_now_ns(w->env);
    if (w->err != FICUS_ERR_OK) {
        turn_failed(w);
    } else {
        w->failing = false;
        w->anew = w->anew && !w->turn.anew;
        w->more = w->turn.more;
        w->due_ms = w->turn.due_ms;
        if (!w->anew) /* else they are of a log that is gone */
            memcpy(w->needs, w->turn.needs, sizeof w->needs);
        if (w->turn.gauge)
            w->gauged_ns = w->ended_ns;
        if (w->turn.trim)
            w->trimmed_ns = w->ended_ns;
        w->gauge_stale = !w->turn.gauge && (w->gauge_stale || w->turn.changed);
        if (w->turn.count > 0)
            w->batch_count = 0;
        set_gauges(w);
        log_turn(w);
    }
    arena_clear(&w->turn_arena);
    if (w->closing) {
        flow_closing_step(w);
        return;
    }
    pull(w);
    plan_turn(w);
}

static void run_turn(struct flow_watch *w)
{
    int64_t now_ns = env_now_ns(w->env);
    memcpy(w->taken, w->heard, sizeof w->taken);
    w->turn = (struct flow_turn){
        .events = w->batch,
        .count = w->anew ? 0 : w->batch_count,
        .next = w->anew ? 0 : w->position,
        .heard = w->taken,
        .wall_ms = wall_ms(w),
        .live = w->caught_up,
        .tell = is_settled(w),
        .trim = now_ns - w->trimmed_ns >= (int64_t)TRIM_MS * 1000000,
        .gauge = now_ns - w->gauged_ns >= (int64_t)GAUGE_MS * 1000000,
        .anew = w->anew,
        .judged_ms = flow_judge_ms(w),
        .arena = &w->turn_arena,
    };
    w->job = (struct env_job){.work = turn_work, .done = turn_done, .arg = w};
    w->busy = env_run(w->env, &w->job) == FICUS_ERR_OK;
    if (!w->busy)
        env_timer_start(w->env, &w->turn_timer, FLOW_REST_MS);
}

static void on_turn_timer(void *arg)
{
    run_turn(arg);
}

/* When the next turn is to be: at once with much to do, after a rest with some, and for the clock's sake now and then. */
static void plan_turn(struct flow_watch *w)
{
    if (w->busy || w->closing)
        return;
    int64_t now_ns = env_now_ns(w->env), now_ms = wall_ms(w), since_ms = (now_ns - w->ended_ns) / 1000000, delay_ms = LOOK_MS;
    bool much = w->more || w->anew || w->batch_count == FLOW_BATCH || (w->batch_count > 0 && !w->caught_up);
    int64_t rest_ms = w->failing ? RETRY_MS : much ? 0 : FLOW_REST_MS;
    if (w->settled_ns > now_ns)
        delay_ms = (w->settled_ns - now_ns) / 1000000 + 1;
    else if (is_settled(w) && w->due_ms < now_ms + LOOK_MS)
        delay_ms = w->due_ms < now_ms ? 0 : w->due_ms - now_ms + 1;
    if (w->gauge_stale && delay_ms > GAUGE_MS)
        delay_ms = GAUGE_MS;
    if (much || w->batch_count > 0 || was_heard(w))
        delay_ms = 0;
    if (since_ms + delay_ms < rest_ms)
        delay_ms = rest_ms - since_ms;
    env_timer_start(w->env, &w->turn_timer, delay_ms);
}

void flow_watch_heard(struct flow_watch *w, struct slice service, int64_t offset)
{
    if (w->closing)
        return;
    for (size_t i = 0; i < flow_store_consumer_count(w->store); i++) {
        if (offset <= w->heard[i] || !slice_eq_str(service, flow_store_consumer(w->store, i)))
            continue;
        w->heard[i] = offset;
        if (offset >= w->needs[i])
            plan_turn(w);
    }
}

/* ---- life ---- */

enum ficus_err flow_watch_new(struct env *e, const struct flow_watch_options *o, struct flow_watch **ret_watch, struct ficus_error *reterr)
{
    struct metric_family *families[ARRAY_COUNT(metric_table)] = {NULL};
    struct flow_watch *w = mem_zalloc(sizeof *w);
    const char *anew;
    if (w == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    w->env = e;
    w->options = *o;
    const struct flow_store_options so = {.path = o->file, .defs = o->defs, .def_count = o->def_count, .retention_ms = o->retention_ms};
    enum ficus_err err = flow_store_open(e, &so, &w->store, &anew, reterr);
    if (err == FICUS_ERR_OK && o->metrics != NULL)
        err = metrics_register_all(o->metrics, metric_table, ARRAY_COUNT(metric_table), families);
    if (err != FICUS_ERR_OK) {
        flow_store_close(w->store);
        mem_free(w);
        return err;
    }
    w->instances = families[0];
    w->behind = o->metrics != NULL ? metric_only(families[1]) : NULL;
    arena_init(&w->batch_arena, BATCH_ARENA_MAX);
    arena_init(&w->turn_arena, 1024 * 1024);
    w->pull_timer = (struct env_timer){.fn = on_pull_timer, .arg = w};
    w->turn_timer = (struct env_timer){.fn = on_turn_timer, .arg = w};
    w->position = flow_store_position(w->store);
    int64_t judged_ms = flow_store_judged_ms(w->store), now_ms = wall_ms(w);
    w->judged_ms = judged_ms < now_ms ? judged_ms : now_ms;
    w->due_ms = FLOW_NEVER;
    for (size_t i = 0; i < flow_store_consumer_count(w->store); i++) {
        w->heard[i] = flow_store_consumer_position(w->store, i);
        w->needs[i] = FLOW_NEVER;
    }
    if (anew != NULL) {
        w->anew_ns = env_now_ns(e);
        if (anew[0] != '\0')
            LOG(o->log, LOG_INFO, NULL, "flow.anew", "what is known of the flows is made anew of the event log", LOG_STR("reason", anew));
    }
    w->more = true; /* a first turn tells what is waited for */
    w->ended_ns = w->gauged_ns = w->trimmed_ns = env_now_ns(e) - (int64_t)LOOK_MS * 1000000;
    pull(w);
    plan_turn(w);
    *ret_watch = w;
    return FICUS_ERR_OK;
}

static void close_work(void *arg)
{
    struct flow_watch *w = arg;
    flow_store_close(w->store);
}

static void close_done(void *arg)
{
    struct flow_watch *w = arg;
    void (*closed)(void *arg) = w->closed;
    void *closed_arg = w->closed_arg;
    arena_done(&w->batch_arena);
    arena_done(&w->turn_arena);
    mem_free(w);
    if (closed != NULL)
        closed(closed_arg);
}

static void on_close_timer(void *arg)
{
    flow_closing_step(arg);
}

/* Closing the file checkpoints it, which is a worker's work. */
void flow_closing_step(struct flow_watch *w)
{
    if (!w->closing || w->busy || w->view_count > 0)
        return;
    w->job = (struct env_job){.work = close_work, .done = close_done, .arg = w};
    w->busy = env_run(w->env, &w->job) == FICUS_ERR_OK;
    w->turn_timer = (struct env_timer){.fn = on_close_timer, .arg = w};
    if (!w->busy)
        env_timer_start(w->env, &w->turn_timer, FLOW_REST_MS);
}

void flow_watch_close(struct flow_watch *w, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!w->closing);
    w->closing = true;
    w->closed = closed;
    w->closed_arg = arg;
    env_timer_stop(w->env, &w->pull_timer);
    env_timer_stop(w->env, &w->turn_timer);
    if (w->pulling)
        w->options.bus->ops->cancel_pull(w->options.bus);
    w->pulling = false;
    flow_closing_step(w);
}
