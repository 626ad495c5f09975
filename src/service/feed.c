/* SPDX-License-Identifier: Apache-2.0
 *
 * Events: one at a time, in the log's order, each with its offset in the transaction of its effects.
 *
 * An event's handling ends in one of four ways. Processed: committed with its offset. Seen before: skipped. A fault
 * that is not the handler's (disk, deadline, memory): again after a back-off, as often as it takes. Refused by the
 * handler: counted in the database, again after a back-off; at the tenth refusal a dead letter is written and the
 * offset advanced in one transaction.
 */
#include "service_impl.h"

#include "timefmt.h"

enum { COUNT_TIMEOUT_MS = 10000 };

static const struct ficus_subscription *find_subscription(const struct service *v, struct slice topic)
{
    for (const struct ficus_subscription *s = v->def->events; s != NULL && s->topic != NULL; s++)
        if (slice_eq_str(topic, s->topic))
            return s;
    return NULL;
}

/* ---- one event ---- */

static struct slice keep(struct arena *a, struct slice s)
{
    return s.p == NULL ? SLICE_NONE : slice_make(arena_strdup(a, s), s.size);
}

static bool copy_event(struct ficus_req *r, const struct event *ev)
{
    struct arena *a = &r->arena;
    r->event = (struct event){
        .id = keep(a, ev->id),
        .source = keep(a, ev->source),
        .topic = keep(a, ev->topic),
        .subject = keep(a, ev->subject),
        .time = keep(a, ev->time),
        .data = keep(a, ev->data),
        .schema = ev->schema,
        .traceparent = keep(a, ev->traceparent),
        .tracestate = keep(a, ev->tracestate),
        .correlation = keep(a, ev->correlation),
        .causation = keep(a, ev->causation),
        .offset = ev->offset,
    };
    r->body = r->event.data.p == NULL ? "null" : r->event.data.p;
    r->body_size = strlen(r->body);
    struct slice from = r->event.source;
    r->caller = from.p != NULL && from.size > 1 && from.p[0] == '/' ? from.p + 1 : "";
    r->context.tracestate = r->event.tracestate;
    r->context.correlation = r->event.correlation.p != NULL ? r->event.correlation : r->event.id;
    return !arena_overflowed(a);
}

static void make_trace(struct ficus_req *r)
{
    uint8_t random[24];
    env_random(r->service->env, random, sizeof random);
    if (!trace_parse(r->event.traceparent, &r->context.trace))
        trace_root(random, true, &r->context.trace);
    env_random(r->service->env, random, 8);
    trace_child(&r->context.trace, random, &r->log.trace);
    r->log.correlation = r->context.correlation;
}

static void account_event(struct ficus_req *r)
{
    struct service *v = r->service;
    int64_t took_ns = env_now_ns(v->env) - r->begun_ns, at_ms = 0;
    const char *result = r->event_dead        ? "dead"
                         : r->event_processed ? "processed"
                         : r->is_technical    ? "failed"
                                              : "refused";
    metric_inc(METRIC(v->metrics[METRIC_EVENTS_HANDLED], r->event.topic, slice_str(result)));
    if (time_parse(r->event.time, &at_ms))
        metric_set(metric_only(v->metrics[METRIC_EVENT_LAG]), (env_wall_ms(v->env) - at_ms) * 1000000);
    LOG(&v->process.log,
        r->event_dead        ? LOG_ERROR
        : r->event_processed ? (v->is_rebuilding ? LOG_DEBUG : LOG_INFO)
                             : LOG_WARN,
        &r->log, "event.done", "event handled", LOG_SLICE("topic", r->event.topic), LOG_SLICE("id", r->event.id),
        LOG_SLICE("subject", r->event.subject), LOG_STR("result", result), LOG_INT("ms", took_ns / 1000000));
}

static void closed(void *arg)
{
    struct service *v = arg;
    v->feed.consumer = NULL;
    service_check_end(v);
}

static int64_t back_off_ms(struct service *v)
{
    struct feed *f = &v->feed;
    unsigned shift = f->failures > 6 ? 6 : f->failures;
    f->failures++;
    int64_t ms = (int64_t)EVENT_BACKOFF_MS_MIN << shift;
    int64_t ms_max = v->hooks.event_backoff_ms_max > 0 ? v->hooks.event_backoff_ms_max : EVENT_BACKOFF_MS_MAX;
    if (ms > ms_max)
        ms = ms_max;
    return ms / 2 + (int64_t)(env_random_u64(v->env) % (uint64_t)(ms / 2 + 1));
}

static void go_on(struct service *v, bool done)
{
    struct feed *f = &v->feed;
    if (f->is_stopping) {
        consumer_close(f->consumer, closed, v);
        return;
    }
    int64_t delay_ms = 0;
    if (done)
        f->failures = 0;
    else
        delay_ms = back_off_ms(v);
    consumer_next(f->consumer, done, delay_ms);
}

void feed_emitted(struct service *v, size_t count)
{
    outbox_relay_kick(v->relay);
    if (v->hooks.emitted != NULL)
        v->hooks.emitted(v->hooks.arg, count);
}

void feed_settled(struct ficus_req *r)
{
    struct service *v = r->service;
    FICUS_ASSERT(v->feed.active == r);
    v->feed.active = NULL;
    env_timer_stop(v->env, &r->deadline);
    account_event(r);
    if (r->event_dead)
        feed_emitted(v, 1);
    bool processed = r->event_processed && !r->event_dead, done = r->event_processed;
    if (done)
        v->feed.handled = r->event.offset;
    if (v->hooks.event_handled != NULL)
        v->hooks.event_handled(v->hooks.arg, &r->event, processed);
    go_on(v, done);
    if (!done && r->is_technical && v->hooks.event_failed != NULL)
        v->hooks.event_failed(v->hooks.arg, request_reason(r));
    request_unref(r);
}

static void deliver_to(struct service *v, const struct ficus_subscription *subscription, const struct event *ev, bool redriven)
{
    struct ficus_req *r = request_new(v, REQUEST_EVENT);
    if (r == NULL || !copy_event(r, ev)) {
        LOG(&v->process.log, LOG_ERROR, NULL, "event.failed", "out of memory for an event",
            LOG_SLICE("topic", ev->topic));
        if (r != NULL)
            request_unref(r);
        go_on(v, false);
        return;
    }
    make_trace(r);
    r->handler = subscription->handler;
    r->is_back = true;
    r->event_redriven = redriven;
    v->feed.active = r;
    bool pushed = dispatch_push(v, r);
    FICUS_ASSERT(pushed);
}

/* An operator brought an event back that became a dead letter here: to the handler it is the original, but its place is
 * that of its second coming. PARSE: it is no letter. */
static enum ficus_err open_letter(struct service *v, struct arena *a, struct event *ev)
{
    struct event_letter letter;
    struct ficus_error error = {0};
    int64_t offset = ev->offset;
    enum ficus_err err = event_letter_read(a, ev->data, &letter, &error);
    if (err == FICUS_ERR_OK) {
        *ev = letter.original;
        ev->offset = offset;
    } else {
        LOG(&v->process.log, LOG_ERROR, NULL, "event.redrive_failed", "an event that was brought back cannot be read",
            LOG_SLICE("id", ev->id), LOG_ERR(&error));
    }
    return err;
}

static void deliver(void *arg, struct consumer *c, const struct event *pulled)
{
    struct service *v = arg;
    FICUS_ASSERT(v->feed.active == NULL);
    FICUS_ASSERT(!v->feed.is_stopping);
    struct arena a;
    struct event ev = *pulled;
    enum ficus_err err = FICUS_ERR_OK;
    arena_init(&a, EVENT_LETTER_ARENA_MAX);
    bool redriven = slice_starts(ev.topic, SLICE(EVENT_TOPIC_REDRIVE));
    if (redriven)
        err = open_letter(v, &a, &ev);
    const struct ficus_subscription *subscription = err == FICUS_ERR_OK ? find_subscription(v, ev.topic) : NULL;
    if (redriven && subscription == NULL && err == FICUS_ERR_OK)
        LOG(&v->process.log, LOG_ERROR, NULL, "event.redrive_failed", "no handler is subscribed to an event that was brought back",
            LOG_SLICE("id", ev.id), LOG_SLICE("topic", ev.topic));
    if (subscription != NULL)
        deliver_to(v, subscription, &ev, redriven);
    else if (err == FICUS_ERR_OK || err == FICUS_ERR_PARSE)
        consumer_next(c, true, 0);
    else
        go_on(v, false);
    arena_done(&a);
}

static void lost(void *arg, struct slice topic, int64_t after, int64_t upto)
{
    struct service *v = arg;
    if (slice_starts(topic, SLICE(EVENT_TOPIC_REDRIVE)))
        return; /* what was brought back is in its own topic, where that is told */
    LOG(&v->process.log, LOG_ERROR, NULL, "events.lost",
        "events were removed from the log before this service had read them", LOG_SLICE("topic", topic),
        LOG_INT("after", after), LOG_INT("upto", upto),
        LOG_STR("remedy", "what they told must come from their publisher; a longer events.retention, or keep: latest for "
                          "the topic, prevents it"));
}

static void caught_up(void *arg)
{
    struct service *v = arg;
    if (v->hooks.caught_up != NULL)
        v->hooks.caught_up(v->hooks.arg);
}

/* ---- refusals [worker] ---- */

static enum ficus_err write_dead(struct ficus_req *r, struct db_conn *c, int64_t attempts, struct ficus_error *reterr)
{
    struct arena a;
    struct event dead;
    arena_init(&a, 4 * EVENT_SIZE_MAX);
    enum ficus_err err = event_dead_letter(r->service->env, &a, &r->event, r->service->def->name, request_reason(r),
                                           attempts, &dead, reterr);
    if (err == FICUS_ERR_OK)
        err = outbox_add(c, &dead, reterr);
    arena_done(&a);
    return err;
}

static enum ficus_err count_refusal(struct ficus_req *r, struct db_conn *c, bool *ret_dead, struct ficus_error *reterr)
{
    const char *name = r->service->def->name;
    int64_t attempts = 0;
    bool is_new = false;
    enum ficus_err err = inbox_refused(c, name, &attempts, reterr);
    *ret_dead = err == FICUS_ERR_OK && attempts >= EVENT_REFUSALS_MAX;
    if (!*ret_dead)
        return err;
    err = write_dead(r, c, attempts, reterr);
    if (err == FICUS_ERR_OK)
        err = inbox_give_up(c, &r->event, reterr);
    return err != FICUS_ERR_OK ? err : inbox_accept(c, name, r->event.offset, &is_new, reterr);
}

void feed_refused(struct ficus_req *r)
{
    struct service *v = r->service;
    struct ficus_error error = {0};
    struct db_tx tx = {0};
    bool dead = false;
    enum ficus_err err = db_tx_begin(v->db, &tx, env_now_ns(v->env) + (int64_t)COUNT_TIMEOUT_MS * 1000000, &error);
    if (err == FICUS_ERR_OK) {
        err = count_refusal(r, db_tx_conn(&tx), &dead, &error);
        if (err == FICUS_ERR_OK)
            err = db_tx_commit_wait(&tx, &error);
        else
            db_tx_rollback(&tx);
    }
    if (err == FICUS_ERR_OK)
        r->event_processed = r->event_dead = dead;
    else
        LOG(&v->process.log, LOG_ERROR, &r->log, "event.count_failed", "the refusal of an event could not be counted",
            LOG_ERR(&error));
}

/* ---- the feed ---- */

enum ficus_err feed_open(struct service *v, struct ficus_error *reterr)
{
    if (v->config->consume_count == 0)
        return FICUS_ERR_OK;
    struct db_conn *c = NULL;
    enum ficus_err err = db_reader_take(v->db, &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    int64_t attempts = 0;
    err = inbox_position(c, v->def->name, &v->feed.handled, &attempts, reterr);
    v->feed.failures = (unsigned)attempts;
    db_reader_give(v->db, c);
    return err;
}

enum ficus_err feed_start(struct service *v, struct ficus_error *reterr)
{
    if (v->config->consume_count == 0)
        return FICUS_ERR_OK;
    struct buf topics;
    buf_init(&topics, 16 * 1024);
    for (size_t i = 0; i < v->config->consume_count; i++)
        (void)buf_printf(&topics, "%s,", v->config->consumes[i]);
    (void)buf_printf(&topics, EVENT_TOPIC_REDRIVE "%s", v->def->name);
    if (buf_failed(&topics)) {
        buf_done(&topics);
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "the names of the consumed topics");
    }
    v->feed.topics = buf_steal(&topics);
    struct consumer_options options = {
        .name = v->def->name,
        .topics = v->feed.topics,
        .offset = v->feed.handled,
        .deliver = deliver,
        .lost = lost,
        .caught_up = v->is_rebuilding ? caught_up : NULL,
        .arg = v,
    };
    enum ficus_err err = consumer_new(v->env, v->bus_in, &options, &v->feed.consumer);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "consumer");
}

void feed_stop(struct service *v)
{
    struct feed *f = &v->feed;
    if (f->is_stopping)
        return;
    f->is_stopping = true;
    if (f->consumer != NULL && f->active == NULL)
        consumer_close(f->consumer, closed, v);
}
