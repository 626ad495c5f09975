/* SPDX-License-Identifier: Apache-2.0
 *
 * Emitting: the event becomes a row of the outbox in the handler's transaction.
 */
#include "service_impl.h"

#include "text.h"
#include "timefmt.h"
#include "uuid.h"

/* Leaves room for a dead letter around it. */
enum { EVENT_DATA_SIZE_MAX = EVENT_SIZE_MAX / 2 };

static bool may_publish(const struct service_config *c, const char *topic)
{
    if (c->publish_count == 1 && strcmp(c->publishes[0], "*") == 0)
        return true;
    for (size_t i = 0; i < c->publish_count; i++)
        if (strcmp(c->publishes[i], topic) == 0)
            return true;
    return false;
}

/* Work that is done again in another life of this database, because a backup was put back, says the same again: then it
 * is to be the same event, which the log knows. So what a saga's call or an event brings about gets its id from what asked
 * for it: the call's key, which a saga never uses twice, or the event's own id. What clients ask for gets a new one, since
 * they may take a key again. NULL: failed. */
static const char *event_id(struct ficus_req *r, const char *topic)
{
    const char *key = strcmp(r->caller, "hub") == 0 ? r->idempotency_key : NULL;
    if (r->kind != REQUEST_EVENT && key == NULL)
        return ficus_new_id(r);
    char number[TEXT_I64_SIZE];
    uint8_t hash[KEYED_HASH_SIZE];
    (void)text_i64((int64_t)r->emitted_count, number);
    const struct slice parts[] = {r->event.source, r->event.id, slice_str(key), slice_str(topic), slice_str(number)};
    char *text = arena_alloc(&r->arena, UUID_TEXT_SIZE);
    if (text == NULL ||
        keyed_hash(r->service->process.key, "event-id", parts, ARRAY_COUNT(parts), hash) != FICUS_ERR_OK) {
        (void)request_fail(r, 503, "out_of_memory", false, "out of memory");
        return NULL;
    }
    uuid_v8(hash, text);
    return text;
}

/* at_ms 0: at once. */
static int emit(struct ficus_req *req, const char *topic, const char *subject, const char *data, int64_t at_ms)
{
    struct service *v = req->service;
    if (!request_may_go_on(req))
        return -1;
    if (topic == NULL || subject == NULL || !may_publish(v->config, topic))
        return request_fail(req, 500, "internal", false,
                            "topic %s is not declared under publishes, or the subject is missing",
                            topic == NULL ? "(none)" : topic);
    if (data == NULL || strlen(data) > EVENT_DATA_SIZE_MAX)
        return request_fail(req, 500, "internal", false, "the event has no data, or more than %d bytes",
                            EVENT_DATA_SIZE_MAX);
    if (at_ms > env_wall_ms(v->env) + EVENT_LATER_MS_MAX)
        return request_fail(req, 500, "internal", false, "an event may be emitted for at most %d days ahead", EVENT_LATER_DAYS_MAX);
    return request_emit(req, topic, subject, data, at_ms);
}

int request_emit(struct ficus_req *req, const char *topic, const char *subject, const char *data, int64_t at_ms)
{
    struct service *v = req->service;
    if (req->kind == REQUEST_PROJECTION)
        return request_fail(req, 500, "internal", false, "a projection only changes its tables: it cannot emit, nor say anything to a saga");
    if (!req->tx_open || v->relay == NULL)
        return request_fail(req, 500, "internal", false, "an event (%s) before ficus_tx, or in a service without store or hub", topic);
    char time[TIME_TEXT_SIZE], parent[TRACE_PARENT_TEXT_SIZE], source[80];
    int64_t now_ms = env_wall_ms(v->env);
    time_format(at_ms > now_ms ? at_ms : now_ms, time);
    trace_format(&req->log.trace, parent);
    (void)snprintf(source, sizeof source, "/%s", v->def->name);
    const char *id = event_id(req, topic);
    if (id == NULL)
        return -1;
    struct event ev = {
        .id = slice_str(id),
        .source = slice_str(source),
        .topic = slice_str(topic),
        .subject = slice_str(subject),
        .time = slice_str(time),
        .data = slice_trim(slice_str(data)),
        .traceparent = slice_str(parent),
        .tracestate = req->context.tracestate,
        .correlation = req->context.correlation,
        .causation = req->event.id,
        .at_ms = at_ms > 0 ? at_ms : 0,
    };
    if (schemas_emit(req, &ev) != 0)
        return -1;
    struct ficus_error error = {0};
    enum ficus_err err = outbox_add(db_tx_conn(&req->tx), &ev, &error);
    if (err != FICUS_ERR_OK)
        return request_fail_store(req, err, &error, "write the outbox");
    req->emitted_count++;
    return 0;
}

int ficus_emit(struct ficus_req *req, const char *topic, const char *subject, const char *data)
{
    return emit(req, topic, subject, data, 0);
}

int ficus_emit_at(struct ficus_req *req, const char *topic, const char *subject, const char *data, int64_t at_ms)
{
    return emit(req, topic, subject, data, at_ms);
}
