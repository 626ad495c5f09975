/* SPDX-License-Identifier: Apache-2.0
 *
 * What waits in the log for its time: listed and taken out, for operators; and places in the log by time.
 */
#include "hub_private.h"

#include "mem.h"
#include "timefmt.h"

#include <stdio.h>

/* ---- lists ---- */

static void write_schedule(struct json_writer *w, const struct elog_waiting *s)
{
    char every[24];
    duration_format(s->every_ms, every, sizeof every);
    json_write_object(w);
    json_write_kv_slice(w, "schedule", s->event.source);
    json_write_kv_slice(w, "topic", s->event.topic);
    json_write_kv_str(w, "every", every);
    json_write_kv_time(w, "next", s->at_ms);
    json_write_end(w);
}

static void write_waiting(struct json_writer *w, const struct elog_waiting *e)
{
    json_write_object(w);
    json_write_kv_i64(w, "number", e->number);
    json_write_kv_time(w, "at", e->at_ms);
    json_write_kv_bool(w, "damaged", e->damaged);
    json_write_key(w, "event");
    if (e->damaged) {
        json_write_object(w);
        json_write_kv_slice(w, "source", e->event.source);
        json_write_kv_slice(w, "id", e->event.id);
        json_write_end(w);
    } else {
        event_write(w, &e->event);
    }
    json_write_end(w);
}

/* The answer up to the end of its list; end_answer has the rest. */
static void begin_answer(struct hub_exchange *x, struct json_writer *w, const char *key, const struct elog_waiting *list, size_t count,
                       void (*write_one)(struct json_writer *w, const struct elog_waiting *e))
{
    json_write_init(w, &x->out);
    json_write_object(w);
    json_write_key(w, key);
    json_write_array(w);
    for (size_t i = 0; i < count; i++)
        write_one(w, &list[i]);
    json_write_end(w);
}

static void end_answer(struct hub_exchange *x, struct json_writer *w, enum ficus_err err)
{
    json_write_end(w);
    if (err == FICUS_ERR_OK && buf_failed(&x->out))
        err = FICUS_ERR_NOMEM;
    if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, NULL);
    else
        hub_answer(x, 200, "application/json");
}

static void on_events(void *arg, enum ficus_err err, const struct elog_waiting *list, size_t count)
{
    struct hub_exchange *x = arg;
    struct json_writer w;
    if (!hub_exchange_back(x))
        return;
    begin_answer(x, &w, "events", list, count, write_waiting);
    json_write_kv_i64(&w, "waiting", (int64_t)elog_later_count(x->hub->log));
    if (count > 0) { /* there may be more behind it */
        json_write_kv_i64(&w, "next_ms", list[count - 1].at_ms);
        json_write_kv_i64(&w, "next", list[count - 1].number);
    }
    end_answer(x, &w, err);
}

static void on_schedules(void *arg, enum ficus_err err, const struct elog_waiting *list, size_t count)
{
    struct hub_exchange *x = arg;
    struct json_writer w;
    if (!hub_exchange_back(x))
        return;
    begin_answer(x, &w, "schedules", list, count, write_schedule);
    end_answer(x, &w, err);
}

/* ?schedules=1: these. Else events, a page: after_ms and after are next_ms and next of the page before. */
void hub_later_list(struct hub_exchange *x, struct slice body)
{
    (void)body;
    int64_t after_ms, after, limit, schedules;
    if (!hub_query_i64(x, "after_ms", 0, INT64_MAX, 0, &after_ms) || !hub_query_i64(x, "after", 0, INT64_MAX, 0, &after) ||
        !hub_query_i64(x, "limit", 1, ELOG_WAITING_MAX, ELOG_WAITING_MAX, &limit) ||
        !hub_query_i64(x, "schedules", 0, 1, 0, &schedules))
        return;
    x->busy = true;
    enum ficus_err err = schedules == 1 ? elog_schedules_list(x->hub->log, on_schedules, x)
                                        : elog_later_list(x->hub->log, after_ms, after, (size_t)limit, on_events, x);
    hub_exchange_begun(x, err, NULL);
}

/* ---- taking out ---- */

static const char no_number[] = "no event waits under this number; ficus events scheduled lists them";

static void on_removed(void *arg, enum ficus_err err, const struct elog_waiting *was, const char *detail)
{
    struct hub_exchange *x = arg;
    if (err == FICUS_ERR_OK) {
        char at[TIME_TEXT_SIZE];
        time_format(was->at_ms, at);
        LOG(&x->hub->process.log, LOG_INFO, NULL, "events.unscheduled", "an operator removed an event that waited for its time",
            LOG_INT("uid", x->uid), LOG_INT("number", was->number), LOG_SLICE("source", was->event.source),
            LOG_SLICE("id", was->event.id), LOG_SLICE("topic", was->event.topic), LOG_SLICE("subject", was->event.subject),
            LOG_STR("at", at));
    }
    if (!hub_exchange_back(x))
        return;
    if (err == FICUS_ERR_NOT_FOUND)
        hub_problem(x, 404, "not_found", no_number);
    else if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, detail);
    else
        hub_answer(x, 204, NULL);
}

void hub_later_remove(struct hub_exchange *x, struct slice body)
{
    (void)body;
    int64_t number;
    if (!slice_to_i64(x->params[0], &number) || number < 1) {
        hub_problem(x, 404, "not_found", no_number);
        return;
    }
    x->busy = true;
    hub_exchange_begun(x, elog_later_remove(x->hub->log, number, on_removed, x), NULL);
}

void hub_later_damaged(void *arg, int64_t number)
{
    struct hub *h = arg;
    LOG(&h->process.log, LOG_ERROR, NULL, "events.scheduled_damaged",
        "an event that waited for its time cannot be read any more and does not come", LOG_INT("number", number),
        LOG_STR("remedy", "its publisher has to publish it again; ficus events unschedule takes it off the list"));
}

/* ---- places by time ---- */

static void on_offset(void *arg, enum ficus_err err, int64_t offset)
{
    struct hub_exchange *x = arg;
    if (!hub_exchange_back(x))
        return;
    if (err != FICUS_ERR_OK) {
        hub_problem_err(x, err, NULL);
        return;
    }
    buf_printf(&x->out, "{\"after\":%lld}\n", (long long)offset);
    hub_answer(x, 200, "application/json");
}

void hub_offset_at(struct hub_exchange *x, struct slice body)
{
    (void)body;
    struct slice text;
    int64_t at_ms;
    if (!hub_query_text(x, "at", &text))
        return;
    if (!time_parse(text, &at_ms)) {
        hub_problem(x, 400, "query", "at must be a time by RFC 3339, such as 2026-11-30T02:00:00Z");
        return;
    }
    x->busy = true;
    hub_exchange_begun(x, elog_offset_at(x->hub->log, at_ms, on_offset, x), NULL);
}
