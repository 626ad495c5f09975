/* SPDX-License-Identifier: Apache-2.0
 *
 * Which fields pass the gateway. Inwards: nothing that could be taken for an identity, a route or a deadline of ours,
 * nor the client's credentials (the engine writes what the service may believe); and Ficus-Path, the path that the
 * client asked for, which is what a problem speaks of, and X-Forwarded-Proto when it came by TLS. Outwards: nothing internal.
 */
#include "proxy_private.h"

#include "mem.h"

static bool is_one_of(struct slice name, const struct slice *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_nocase(name, names[i]))
            return true;
    return false;
}

static bool is_ficus(struct slice name)
{
    return name.size >= 6 && slice_eq_nocase(slice_make(name.p, 6), SLICE("ficus-"));
}

bool filter_request_field(struct slice name)
{
    static const struct slice dropped[] = {
        {"authorization", 13},
        {"cookie", 6},
        {"proxy-authorization", 19},
        {"x-request-id", 12},
        {"traceparent", 11},
        {"tracestate", 10},
        {"forwarded", 9},
        {"x-forwarded-for", 15},
        {"x-forwarded-host", 16},
        {"x-forwarded-proto", 17},
        {"x-forwarded-port", 16},
        {"x-forwarded-prefix", 18},
        {"x-real-ip", 9},
        {"x-original-url", 14},
        {"x-rewrite-url", 13},
        {"x-http-method-override", 22},
        {"max-forwards", 12},
    };
    return !is_ficus(name) && !is_one_of(name, dropped, ARRAY_COUNT(dropped));
}

struct http_field *filter_request_fields(struct proxy_request *q, size_t *ret_count)
{
    const struct http_msg *m = q->stream->head_in;
    struct http_field *fields = ARENA_ARRAY(q->stream->arena, struct http_field, m->field_count + 2 + PROXY_FORWARDED_FIELDS);
    size_t count = 0;
    if (fields != NULL)
        fields[count++] = (struct http_field){SLICE("Ficus-Path"), m->path};
    for (size_t i = 0; fields != NULL && i < m->field_count; i++)
        if (filter_request_field(m->fields[i].name) && proxy_websocket_passes(q, m->fields[i].name))
            fields[count++] = m->fields[i];
    if (fields != NULL && q->websocket_key.p != NULL && !proxy_websocket_passes(q, SLICE("sec-websocket-key")))
        fields[count++] = (struct http_field){SLICE("Sec-WebSocket-Key"), q->websocket_key};
    if (fields == NULL || !proxy_forwarded_fields(q, fields, &count))
        return NULL;
    *ret_count = count;
    return fields;
}

bool filter_response_field(struct slice name)
{
    static const struct slice replaced[] = {{"x-request-id", 12}, {"traceparent", 11}, {"tracestate", 10}};
    return is_ficus(name) ? slice_eq_nocase(name, SLICE("ficus-complete")) : !is_one_of(name, replaced, ARRAY_COUNT(replaced));
}
