/* SPDX-License-Identifier: Apache-2.0
 *
 * Publishing, pulling, topics and dead letters. Rights come from the configuration: one publisher a topic, declared
 * consumers; nothing of a batch is stored when one of its events may not be published.
 */
#include "hub_groups.h"

#include "assert.h"
#include "event_http.h"
#include "mem.h"
#include "timefmt.h"

#include <stdio.h>

/* A batch of the largest size can hold millions of small values; only one is parsed at a time, and its tree dies before
 * the next. */
enum { PARSE_ARENA_MAX = 256 * 1024 * 1024, DAY_MS = 24 * 3600 * 1000 };

/* ---- publish ---- */

static bool may_publish(const struct hub_config *c, struct slice who, struct slice topic)
{
    if (slice_eq_str(topic, EVENT_TOPIC_DEAD) || slice_eq_str(topic, EVENT_TOPIC_SAGA))
        return hub_config_has_service(c, who);
    const struct hub_topic *t = hub_config_topic(c, topic);
    return t != NULL && slice_eq_str(who, t->publisher);
}

/* A service publishes its topics under its name: the log drops repeated (source, id), so another's name could swallow that
 * one's events. An operator may publish any declared topic, under the user that the socket's other end is. */
static enum ficus_err rights_check(const struct hub_exchange *x, const struct event *ev, struct ficus_error *reterr)
{
    const struct hub_config *c = x->hub->config;
    struct slice who = x->claims.issuer;
    char source[128];
    if (x->route->is_operator && hub_config_topic(c, ev->topic) == NULL)
        return err_set(reterr, FICUS_ERR_DENIED, "topic " SLICE_FMT " is published by no service of the manifest", SLICE_ARG(ev->topic));
    if (!x->route->is_operator && !may_publish(c, who, ev->topic))
        return err_set(reterr, FICUS_ERR_DENIED, SLICE_FMT " is not the declared publisher of topic " SLICE_FMT, SLICE_ARG(who),
                       SLICE_ARG(ev->topic));
    if (x->route->is_operator)
        snprintf(source, sizeof source, "/operator/%lld", (long long)x->uid);
    else
        snprintf(source, sizeof source, "/" SLICE_FMT, SLICE_ARG(who));
    return slice_eq_str(ev->source, source) ? FICUS_ERR_OK
                                            : err_set(reterr, FICUS_ERR_DENIED, "source \"" SLICE_FMT "\" is not \"%s\"", SLICE_ARG(ev->source), source);
}

static enum ficus_err event_fit(const struct hub_exchange *x, const struct event *ev, struct ficus_error *reterr)
{
    if (ev->at_ms - env_wall_ms(x->hub->env) > EVENT_LATER_MS_MAX + DAY_MS)
        return err_set(reterr, FICUS_ERR_INVALID, "deliverat is more than %d days ahead", EVENT_LATER_DAYS_MAX);
    return rights_check(x, ev, reterr);
}

/* Events of the request into *ret_events; false: answered. */
static bool read_batch(struct hub_exchange *x, struct arena *a, struct slice body, struct event **ret_events,
                       size_t *ret_count)
{
    struct ficus_error error = {0};
    enum ficus_err err = event_http_read(a, x->s->head_in, body, ret_events, ret_count, &error);
    for (size_t i = 0; err == FICUS_ERR_OK && i < *ret_count; i++) {
        err = event_fit(x, &(*ret_events)[i], &error);
        if (err == FICUS_ERR_OK)
            err = hub_schemas_check(x->hub, &(*ret_events)[i], &error);
        if (err == FICUS_ERR_INVALID)
            err_wrap(&error, "event %zu", i);
    }
    if (err == FICUS_ERR_DENIED)
        hub_problem(x, 403, "publisher", error.text);
    else if (err == FICUS_ERR_UNSUPPORTED)
        hub_problem(x, 415, "unsupported", error.text);
    else if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, error.text);
    return err == FICUS_ERR_OK;
}

static bool has_later(const struct event *events, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (events[i].at_ms > 0)
            return true;
    return false;
}

/* Who published what in a service's place. */
static void log_operator(const struct hub_exchange *x, const struct event *ev)
{
    LOG(&x->hub->process.log, LOG_INFO, NULL, "events.operator_published", "an operator publishes an event", LOG_INT("uid", x->uid),
        LOG_SLICE("topic", ev->topic), LOG_SLICE("id", ev->id), LOG_SLICE("subject", ev->subject));
}

static void on_appended(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct hub_exchange *x = arg;
    if (err != FICUS_ERR_OK)
        LOG(&x->hub->process.log, LOG_ERROR, NULL, "events.append",
            "events could not be stored; their publisher tries again",
            LOG_STR("error", detail != NULL ? detail : err_text(err)), LOG_SLICE("publisher", x->claims.issuer));
    if (!hub_exchange_back(x))
        return;
    if (err != FICUS_ERR_OK) {
        hub_problem_err(x, err, detail);
        return;
    }
    buf_printf(&x->out, "{\"last\":%lld}\n", (long long)last_offset);
    hub_answer(x, 200, "application/json");
}

void hub_events_publish(struct hub_exchange *x, struct slice body)
{
    struct hub *h = x->hub;
    struct arena a;
    struct event *events;
    size_t count;
    arena_init(&a, PARSE_ARENA_MAX);
    if (!read_batch(x, &a, body, &events, &count)) {
        arena_done(&a);
        return;
    }
    x->busy = true;
    enum ficus_err err = elog_append(h->log, events, count, on_appended, x);
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++) {
        metric_inc(METRIC(h->published, events[i].topic));
        if (x->route->is_operator)
            log_operator(x, &events[i]);
    }
    const char *detail = err == FICUS_ERR_BUSY && has_later(events, count)
                             ? "too many events wait for their time (ficus events scheduled lists them), or too much is being stored"
                             : NULL;
    arena_done(&a);
    hub_exchange_begun(x, err, detail);
}

/* ---- pull ---- */

void hub_events_end(struct hub_exchange *x)
{
    if (x->reader == NULL)
        return;
    elog_reader_free(x->reader);
    x->reader = NULL;
    FICUS_ASSERT(x->hub->pulling > 0);
    x->hub->pulling--;
    metric_set(x->hub->waiting, (int64_t)x->hub->pulling);
    hub_lag_end(x);
}

static void write_cuts(struct hub_exchange *x, struct json_writer *w)
{
    const struct event_cut *cuts;
    size_t count = elog_read_cuts(x->reader, &cuts);
    if (count == 0)
        return;
    json_write_key(w, "cut");
    json_write_array(w);
    for (size_t i = 0; i < count; i++) {
        json_write_object(w);
        json_write_kv_slice(w, "topic", cuts[i].topic);
        json_write_kv_i64(w, "offset", cuts[i].offset);
        json_write_end(w);
    }
    json_write_end(w);
}

static void write_events(struct hub_exchange *x, const struct event *events, size_t count, int64_t next)
{
    struct json_writer w;
    json_write_init(&w, &x->out);
    json_write_object(&w);
    json_write_key(&w, "events");
    json_write_array(&w);
    for (size_t i = 0; i < count; i++) {
        event_write(&w, &events[i]);
        if (i + 1 < count && buf_slice(&x->out).size > EVENT_BATCH_SIZE_MAX) {
            next = events[i].offset;
            break;
        }
    }
    json_write_end(&w);
    json_write_kv_i64(&w, "next", next);
    write_cuts(x, &w);
    json_write_end(&w);
}

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct hub_exchange *x = arg;
    if (err == FICUS_ERR_OK)
        write_events(x, events, count, next);
    hub_events_end(x);
    if (err == FICUS_ERR_OK && buf_failed(&x->out))
        err = FICUS_ERR_NOMEM;
    if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, NULL);
    else
        hub_answer(x, 200, "application/json");
}

void hub_events_wake(struct hub_exchange *x)
{
    if (x->reader != NULL && !x->answered) {
        hub_events_end(x);
        hub_problem(x, 503, "stopping", "the hub is stopping");
    }
}

/* topics live as long as the read. */
static void begin_read(struct hub_exchange *x, const char *topics, int64_t after, int64_t limit, int64_t wait_ms,
                       void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next))
{
    struct hub *h = x->hub;
    if (h->pulling >= HUB_WAITING_MAX || h->stopping) {
        hub_problem(x, 503, "busy", "too many pulls are waiting");
        return;
    }
    enum ficus_err err = elog_reader_new(h->log, &x->reader);
    if (err != FICUS_ERR_OK) {
        hub_problem_err(x, err, NULL);
        return;
    }
    h->pulling++;
    metric_set(h->waiting, (int64_t)h->pulling);
    if (done == on_read && !x->route->is_operator)
        hub_lag_pull(x, after);
    err = elog_read(x->reader, topics, after, (size_t)limit, wait_ms, done, x);
    if (err != FICUS_ERR_OK) {
        hub_events_end(x);
        hub_problem_err(x, err, err == FICUS_ERR_CONFLICT ? "that offset lies behind the end of the log" : NULL);
    }
}

/* As the query says. */
static void begin_pull(struct hub_exchange *x, const char *topics, int64_t wait_ms_max)
{
    int64_t after, limit, wait_ms = 0;
    if (hub_query_i64(x, "after", 0, INT64_MAX, 0, &after) &&
        hub_query_i64(x, "limit", 1, HUB_LIST_MAX, HUB_LIST_DEFAULT, &limit) &&
        (wait_ms_max == 0 || hub_query_i64(x, "wait", 0, wait_ms_max, 0, &wait_ms))) {
        begin_read(x, topics, after, limit, wait_ms, on_read);
        if (x->reader != NULL && x->hub->flows != NULL) /* not of another log: that was refused */
            flow_watch_heard(x->hub->flows, x->claims.issuer, after);
    }
}

/* Each service may read its own redrives. */
static bool is_own_redrive(const struct hub_exchange *x, struct slice topic)
{
    struct slice prefix = SLICE(EVENT_TOPIC_REDRIVE);
    return slice_starts(topic, prefix) && slice_eq(slice_from(topic, prefix.size), x->claims.issuer) &&
           hub_config_has_service(x->hub->config, x->claims.issuer);
}

static bool may_consume(struct hub_exchange *x, struct slice topics)
{
    char detail[256];
    do {
        struct slice name = slice_cut(&topics, ',');
        const struct hub_topic *t = hub_config_topic(x->hub->config, name);
        if (!is_own_redrive(x, name) && (t == NULL || !hub_topic_has_consumer(t, x->claims.issuer))) {
            snprintf(detail, sizeof detail, SLICE_FMT " is not a declared consumer of topic \"" SLICE_FMT "\"",
                     SLICE_ARG(x->claims.issuer), (int)(name.size < 128 ? name.size : 128),
                     name.size > 0 ? name.p : "");
            hub_problem(x, 403, "consumer", detail);
            return false;
        }
    } while (topics.p != NULL);
    return true;
}

/* A service reads what it consumes, an operator what he wants to. */
void hub_events_pull(struct hub_exchange *x, struct slice body)
{
    (void)body;
    struct slice topics;
    if (!hub_query_text(x, "topics", &topics))
        return;
    if (topics.size == 0) {
        hub_problem(x, 400, "query", "topics is missing: names with commas between them");
        return;
    }
    if (!x->route->is_operator && !may_consume(x, topics))
        return;
    x->topics = mem_strndup(topics.p, topics.size);
    if (x->topics == NULL)
        hub_problem_err(x, FICUS_ERR_NOMEM, NULL);
    else
        begin_pull(x, x->topics, HUB_WAIT_MS_MAX);
}

/* ---- dead letters ---- */

static const char no_letter[] = "no dead letter has this number; ficus events dead lists them, as long as events are retained";

/* The letters, and what closed them. */
void hub_events_dead(struct hub_exchange *x, struct slice body)
{
    (void)body;
    begin_pull(x, EVENT_TOPIC_DEAD "," EVENT_TOPIC_CLOSED, 0);
}

static void on_closed(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    (void)last_offset;
    struct hub_exchange *x = arg;
    if (!hub_exchange_back(x))
        return;
    if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, detail);
    else
        hub_answer(x, 202, NULL);
}

/* One transaction of the log: that the letter is closed and, if so, its event for the consumer. Said again, both are dropped
 * as repetitions: their ids are made of the letter's offset. */
static enum ficus_err close_letter(struct hub_exchange *x, struct arena *a, const struct event *letter, struct slice consumer)
{
    char time[TIME_TEXT_SIZE];
    const char *how = x->redrive ? "redriven" : "dropped";
    const long long offset = (long long)letter->offset;
    time_format(env_wall_ms(x->hub->env), time);
    struct event events[2] = {*letter, *letter};
    struct event *closed = &events[0], *redrive = &events[1];
    char *id = arena_printf(a, "%lld-%s", offset, how), *data = arena_printf(a, "{\"letter\":%lld,\"as\":\"%s\"}", offset, how);
    char *redrive_id = arena_printf(a, "%lld-redrive", offset);
    char *topic = arena_printf(a, EVENT_TOPIC_REDRIVE SLICE_FMT, SLICE_ARG(consumer));
    if (id == NULL || data == NULL || redrive_id == NULL || topic == NULL)
        return FICUS_ERR_NOMEM;
    closed->id = slice_str(id);
    closed->topic = SLICE(EVENT_TOPIC_CLOSED);
    closed->data = slice_str(data);
    redrive->id = slice_str(redrive_id);
    redrive->topic = slice_str(topic);
    for (size_t i = 0; i < ARRAY_COUNT(events); i++) {
        events[i].source = SLICE("/hub");
        events[i].time = slice_str(time);
        events[i].causation = letter->id;
        events[i].offset = 0;
    }
    return elog_append(x->hub->log, events, x->redrive ? 2 : 1, on_closed, x);
}

/* What is in the way of that, or NULL. Any service may write letters, and write into them what it likes: one may bring
 * something back to itself alone, and only what it may read. */
static const char *letter_unfit(const struct hub_config *c, struct slice source, const struct event_letter *letter, const char **ret_detail)
{
    if (source.size != letter->consumer.size + 1 || !slice_eq(slice_from(source, 1), letter->consumer)) {
        *ret_detail = "it was not written by the consumer that it names";
        return "no_letter";
    }
    if (letter->data_omitted) {
        *ret_detail = "the event was too large for its dead letter: its publisher has to publish it again";
        return "data_omitted";
    }
    const struct hub_topic *t = hub_config_topic(c, letter->original.topic);
    if (t == NULL || !hub_topic_has_consumer(t, letter->consumer)) {
        *ret_detail = "the consumer that the letter names does not consume the event's topic any more";
        return "no_consumer";
    }
    return NULL;
}

static void on_letter(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    (void)next;
    struct hub_exchange *x = arg;
    struct event_letter letter = {0};
    struct ficus_error error = {0};
    struct arena a;
    const char *code = NULL, *detail = NULL;
    arena_init(&a, EVENT_LETTER_ARENA_MAX);
    if (err == FICUS_ERR_OK && (count == 0 || events[0].offset != x->letter))
        err = FICUS_ERR_NOT_FOUND;
    if (err == FICUS_ERR_OK && x->redrive) {
        err = event_letter_read(&a, events[0].data, &letter, &error);
        if (err == FICUS_ERR_OK)
            code = letter_unfit(x->hub->config, events[0].source, &letter, &detail);
    }
    if (err == FICUS_ERR_OK && code == NULL) {
        err = close_letter(x, &a, &events[0], letter.consumer);
        x->busy = err == FICUS_ERR_OK;
    }
    arena_done(&a);
    hub_events_end(x);
    if (err == FICUS_ERR_NOT_FOUND)
        hub_problem(x, 404, "not_found", no_letter);
    else if (err == FICUS_ERR_PARSE)
        hub_problem(x, 409, "no_letter", error.text);
    else if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, NULL);
    else if (code != NULL)
        hub_problem(x, 409, code, detail);
}

static void letter_close(struct hub_exchange *x, bool redrive)
{
    x->redrive = redrive;
    if (slice_to_i64(x->params[0], &x->letter) && x->letter >= 1 && x->letter <= elog_last_offset(x->hub->log))
        begin_read(x, EVENT_TOPIC_DEAD, x->letter - 1, 1, 0, on_letter);
    else
        hub_problem(x, 404, "not_found", no_letter);
}

void hub_events_redrive(struct hub_exchange *x, struct slice body)
{
    (void)body;
    letter_close(x, true);
}

void hub_events_drop(struct hub_exchange *x, struct slice body)
{
    (void)body;
    letter_close(x, false);
}

/* ---- topics ---- */

static void write_topic(struct json_writer *w, struct slice name, const struct hub_topic *declared,
                        const struct elog_topic *stored)
{
    json_write_object(w);
    json_write_kv_slice(w, "topic", name);
    if (declared != NULL)
        json_write_kv_str(w, "publisher", declared->publisher);
    json_write_key(w, "consumers");
    json_write_array(w);
    for (size_t i = 0; declared != NULL && i < declared->consumer_count; i++)
        json_write_str(w, declared->consumers[i]);
    json_write_end(w);
    json_write_kv_i64(w, "count", stored != NULL ? stored->count : 0);
    if (stored != NULL && stored->count > 0) {
        json_write_kv_i64(w, "first", stored->offset_first);
        json_write_kv_i64(w, "last", stored->offset_last);
        json_write_kv_slice(w, "time", stored->time_last);
    }
    json_write_end(w);
}

static void on_topics(void *arg, enum ficus_err err, const struct elog_topic *topics, size_t count)
{
    struct hub_exchange *x = arg;
    if (!hub_exchange_back(x))
        return;
    if (err != FICUS_ERR_OK) {
        hub_problem_err(x, err, NULL);
        return;
    }
    const struct hub_config *c = x->hub->config;
    struct json_writer w;
    json_write_init(&w, &x->out);
    json_write_object(&w);
    json_write_key(&w, "topics");
    json_write_array(&w);
    for (size_t i = 0; i < c->topic_count; i++) {
        const struct elog_topic *stored = NULL;
        for (size_t k = 0; k < count; k++)
            if (slice_eq_str(topics[k].topic, c->topics[i].name))
                stored = &topics[k];
        write_topic(&w, slice_str(c->topics[i].name), &c->topics[i], stored);
    }
    for (size_t k = 0; k < count; k++)
        if (hub_config_topic(c, topics[k].topic) == NULL)
            write_topic(&w, topics[k].topic, NULL, &topics[k]);
    json_write_end(&w);
    json_write_end(&w);
    hub_answer(x, 200, "application/json");
}

void hub_events_topics(struct hub_exchange *x, struct slice body)
{
    (void)body;
    x->busy = true;
    hub_exchange_begun(x, elog_topics(x->hub->log, on_topics, x), NULL);
}
