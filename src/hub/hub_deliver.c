/* SPDX-License-Identifier: Apache-2.0
 *
 * Posting events to services, in any language: one CloudEvent in structured mode, and what the answer means.
 *
 *     2xx, without a body or with {"status":"SUCCESS"}                 done
 *     2xx with {"status":"DROP"}, or 404                               it is not for this service: dropped
 *     no answer, 408, 425, 429, 502, 503, 504, 507                     not now: again, as often as it takes
 *     2xx with {"status":"RETRY"} or another word, or with an          refused: again, at the tenth time a dead letter
 *     object that cannot be read; all other answers
 */
#include "hub_groups.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

enum { TREE_SIZE_MAX = 64 * GROUP_ANSWER_SIZE_MAX }; /* two bytes of an answer may be one value */

static const char *const outcome_words[] = {[GROUP_SUCCESS] = "SUCCESS", [GROUP_RETRY] = "RETRY", [GROUP_DROP] = "DROP", [GROUP_AWAY] = "AWAY"};

static bool is_not_now(int status)
{
    static const int list[] = {408, 425, 429, 502, 503, 504, 507};
    for (size_t i = 0; i < ARRAY_COUNT(list); i++)
        if (list[i] == status)
            return true;
    return false;
}

static enum group_outcome read_success(const struct call_result *r, char *reason)
{
    struct arena a;
    struct json *root = NULL;
    enum group_outcome outcome = GROUP_SUCCESS;
    struct slice status = SLICE_NONE;
    struct slice body = slice_trim(r->body);
    arena_init(&a, TREE_SIZE_MAX);
    bool read = body.size > 0 && json_parse(&a, body, NULL, &root, NULL) == FICUS_ERR_OK;
    if (read)
        status = json_string_or(json_get(root, "status"), SLICE_NONE);
    if (!read && body.size > 0 && body.p[0] == '{') {
        /* it may have said RETRY: an event that comes again is better than one that does not */
        outcome = GROUP_RETRY;
        snprintf(reason, GROUP_REASON_SIZE, "%d with an object that is no JSON", r->status);
    } else if (slice_eq_str(status, "DROP")) {
        outcome = GROUP_DROP;
        snprintf(reason, GROUP_REASON_SIZE, "DROP");
    } else if (status.p != NULL && !slice_eq_str(status, "SUCCESS")) {
        outcome = GROUP_RETRY;
        snprintf(reason, GROUP_REASON_SIZE, "%.*s", (int)(status.size < 64 ? status.size : 64), status.p);
    }
    arena_done(&a);
    return outcome;
}

/* "500", or "409 out_of_stock: there is none" of a problem document. */
static void read_problem(const struct call_result *r, char *reason)
{
    struct arena a;
    struct json *root = NULL;
    arena_init(&a, TREE_SIZE_MAX);
    if (r->body.size > 0)
        (void)json_parse(&a, r->body, NULL, &root, NULL);  /* none: the status has to do */
    struct slice code = json_string_or(json_get(root, "code"), SLICE("")), detail = json_string_or(json_get(root, "detail"), SLICE(""));
    snprintf(reason, GROUP_REASON_SIZE, "%d%s%.*s%s%.*s", r->status, code.size > 0 ? " " : "", (int)(code.size < 64 ? code.size : 64), code.p,
             detail.size > 0 ? ": " : "", (int)(detail.size < 160 ? detail.size : 160), detail.p);
    arena_done(&a);
}

static enum group_outcome classify(const struct call_result *r, char reason[GROUP_REASON_SIZE])
{
    reason[0] = '\0';
    if (r->err != FICUS_ERR_OK) {
        snprintf(reason, GROUP_REASON_SIZE, "%s%s", r->err == FICUS_ERR_TOO_LARGE ? "" : "no answer: ", r->detail != NULL && r->detail[0] != '\0' ? r->detail : err_text(r->err));
        /* an answer that is too long is one */
        return r->err == FICUS_ERR_TOO_LARGE ? GROUP_RETRY : GROUP_AWAY;
    }
    if (r->status >= 200 && r->status < 300)
        return read_success(r, reason);
    read_problem(r, reason);
    return r->status == 404 ? GROUP_DROP : is_not_now(r->status) ? GROUP_AWAY : GROUP_RETRY;
}

static const struct hub_item *item_at(const struct group_partition *p, int64_t offset)
{
    LIST_FOREACH(&p->items, it) {
        const struct hub_item *item = CONTAINER_OF(it, struct hub_item, item.link);
        if (item->item.offset == offset)
            return item;
    }
    return NULL;
}

static void tell(struct hub_group *gr, const struct event *ev, const struct group_partition *p, enum group_outcome outcome, const char *reason)
{
    struct logger *log = &gr->hub->process.log;
    struct log_context ctx = {.correlation = ev->correlation.p != NULL ? ev->correlation : ev->id};
    (void)trace_parse(ev->traceparent, &ctx.trace);
    if (p->is_dead)
        LOG(log, LOG_ERROR, &ctx, "event.dead", "an event was refused too often and becomes a dead letter", LOG_STR("consumer", gr->config->name),
            LOG_SLICE("topic", ev->topic), LOG_SLICE("id", ev->id), LOG_SLICE("subject", ev->subject), LOG_STR("reason", reason));
    else if (outcome == GROUP_DROP)
        LOG(log, LOG_WARN, &ctx, "event.dropped", "a consumer has said that an event is not for it", LOG_STR("consumer", gr->config->name),
            LOG_SLICE("topic", ev->topic), LOG_SLICE("id", ev->id), LOG_SLICE("subject", ev->subject), LOG_STR("reason", reason));
    else if (outcome == GROUP_RETRY)
        LOG(log, LOG_WARN, &ctx, "event.refused", "a consumer has refused an event; it comes again", LOG_STR("consumer", gr->config->name),
            LOG_SLICE("topic", ev->topic), LOG_SLICE("id", ev->id), LOG_SLICE("subject", ev->subject), LOG_INT("refused", p->refused),
            LOG_STR("reason", reason));
}

enum group_answer hub_group_settle(struct hub_group *gr, size_t partition, int64_t epoch, int64_t offset, enum group_outcome outcome,
                                   const char *reason)
{
    struct hub *h = gr->hub;
    if (partition >= gr->g.partition_count)
        return GROUP_STALE;
    const struct group_partition *p = &gr->g.partitions[partition];
    enum group_answer answer = group_settle(&gr->g, partition, epoch, offset, outcome, env_now_ms(h->env), env_random_u64(h->env));
    if (answer == GROUP_STALE || answer == GROUP_ALREADY)
        return answer;
    bool dead = answer == GROUP_COMMIT && p->is_dead;
    metric_inc(METRIC(h->groups->settled, slice_str(gr->config->name), slice_str(dead ? "DEAD" : outcome_words[outcome])));
    snprintf(gr->reasons[partition], GROUP_REASON_SIZE, "%s", outcome == GROUP_SUCCESS ? "" : reason);
    const struct hub_item *item = item_at(p, offset);
    FICUS_ASSERT(item != NULL);
    if (answer == GROUP_COMMIT)
        tell(gr, &item->ev, p, outcome, reason);
    else if (p->tries >= 4 && (p->tries & (p->tries - 1)) == 0)     /* one line a power of two keeps an outage of days readable */
        LOG(&h->process.log, LOG_WARN, NULL, "group.waiting", "a consumer does not take its event; it comes again",
            LOG_STR("consumer", gr->config->name), LOG_INT("partition", partition), LOG_INT("tries", p->tries), LOG_STR("reason", reason));
    hub_group_kick(gr);
    return answer;
}

static void cancel(struct hub_delivery *d)
{
    if (d->fetch == NULL)
        return;
    call_fetch_cancel(d->fetch);
    d->fetch = NULL;
}

enum group_answer hub_group_skip(struct hub_group *gr, int64_t uid, int64_t offset, const char *reason, size_t *ret_partition)
{
    enum group_answer answer = group_skip(&gr->g, offset, ret_partition);
    if (answer != GROUP_COMMIT)
        return answer;
    const struct hub_item *item = item_at(&gr->g.partitions[*ret_partition], offset);
    FICUS_ASSERT(item != NULL);
    cancel(&gr->deliveries[*ret_partition]);
    snprintf(gr->reasons[*ret_partition], GROUP_REASON_SIZE, "%s", reason);
    metric_inc(METRIC(gr->hub->groups->settled, slice_str(gr->config->name), SLICE("DEAD")));
    LOG(&gr->hub->process.log, LOG_WARN, NULL, "event.skipped", "an operator skips an event that a consumer does not get past",
        LOG_STR("consumer", gr->config->name), LOG_INT("uid", uid), LOG_INT("partition", (int64_t)*ret_partition), LOG_INT("offset", offset),
        LOG_SLICE("topic", item->ev.topic), LOG_SLICE("id", item->ev.id), LOG_SLICE("subject", item->ev.subject), LOG_STR("reason", reason));
    hub_group_kick(gr);
    return answer;
}

/* ---- the call ---- */

static void on_answer(void *arg, const struct call_result *r)
{
    struct hub_delivery *d = arg;
    char reason[GROUP_REASON_SIZE];
    enum group_outcome outcome = classify(r, reason);
    d->fetch = NULL;
    /* stale: the group was moved meanwhile */
    (void)hub_group_settle(d->group, d->partition, d->epoch, d->offset, outcome, reason);
}

static void deliver(struct hub_group *gr, size_t partition)
{
    static const struct http_field fields[] = {{SLICE("Content-Type"), SLICE("application/cloudevents+json; charset=utf-8")}};
    struct hub_delivery *d = &gr->deliveries[partition];
    const struct group_partition *p = &gr->g.partitions[partition];
    const struct hub_item *item = CONTAINER_OF(p->items.next, struct hub_item, item.link);
    struct json_writer w;
    FICUS_ASSERT(d->fetch == NULL);
    d->epoch = p->epoch;
    d->offset = item->item.offset;
    buf_clear(&d->body);
    json_write_init(&w, &d->body);
    event_write(&w, &item->ev);
    bool has_trace = trace_parse(item->ev.traceparent, &d->trace);
    const struct call_request r = {
        .callee = gr->config->name,
        .method = SLICE("POST"),
        .path = slice_str(gr->config->to),
        .fields = fields,
        .field_count = ARRAY_COUNT(fields),
        .body = buf_slice(&d->body),
        .timeout_ms = gr->config->timeout_ms,
        .trace = has_trace ? &d->trace : NULL,
        .tracestate = has_trace ? item->ev.tracestate : SLICE_NONE,
        .correlation = item->ev.correlation.p != NULL ? item->ev.correlation : item->ev.id,
    };
    enum ficus_err err = buf_failed(&d->body) ? FICUS_ERR_NOMEM : call_fetch(gr->hub->process.calls, &r, GROUP_ANSWER_SIZE_MAX, on_answer, d, &d->fetch);
    if (err != FICUS_ERR_OK) {
        d->fetch = NULL;
        (void)hub_group_settle(gr, partition, d->epoch, d->offset, GROUP_AWAY, err_text(err));
    }
}

void hub_deliver_all(struct hub_group *gr)
{
    size_t partition;
    while (group_lease(&gr->g, env_now_ms(gr->hub->env), 1, 0, &partition))
        deliver(gr, partition);
}

void hub_deliver_cancel(struct hub_group *gr)
{
    for (size_t i = 0; i < gr->g.partition_count; i++)
        cancel(&gr->deliveries[i]);
}
