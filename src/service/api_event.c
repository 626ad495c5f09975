/* SPDX-License-Identifier: Apache-2.0
 *
 * Emitting: the event becomes a row of the outbox in the handler's transaction.
 */
#include "service_impl.h"

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

int ficus_emit(struct ficus_req *req, const char *topic, const char *subject, const char *data)
{
    struct service *v = req->service;
    if (!request_may_go_on(req))
        return -1;
    if (!req->tx_open || v->relay == NULL)
        return request_fail(req, 500, "internal", false, "ficus_emit before ficus_tx, or in a service without hub");
    if (topic == NULL || subject == NULL || !may_publish(v->config, topic))
        return request_fail(req, 500, "internal", false,
                            "topic %s is not declared under publishes, or the subject is missing",
                            topic == NULL ? "(none)" : topic);
    if (data == NULL || strlen(data) > EVENT_DATA_SIZE_MAX)
        return request_fail(req, 500, "internal", false, "the event has no data, or more than %d bytes",
                            EVENT_DATA_SIZE_MAX);
    char time[TIME_TEXT_SIZE], parent[TRACE_PARENT_TEXT_SIZE], source[80];
    int64_t now_ms = env_wall_ms(v->env);
    time_format(now_ms, time);
    trace_format(&req->log.trace, parent);
    (void)snprintf(source, sizeof source, "/%s", v->def->name);
    const struct event ev = {
        .id = slice_str(ficus_new_id(req)),
        .source = slice_str(source),
        .topic = slice_str(topic),
        .subject = slice_str(subject),
        .time = slice_str(time),
        .data = slice_trim(slice_str(data)),
        .traceparent = slice_str(parent),
        .tracestate = req->context.tracestate,
        .correlation = req->context.correlation,
        .causation = req->event.id,
    };
    struct ficus_error error = {0};
    enum ficus_err err = outbox_add(db_tx_conn(&req->tx), &ev, &error);
    if (err != FICUS_ERR_OK)
        return request_fail_store(req, err, &error, "write the outbox");
    req->emitted_count++;
    return 0;
}
