/* SPDX-License-Identifier: Apache-2.0
 *
 * Which fields pass the gateway. Inwards: nothing that could be taken for an identity, a route or a deadline of ours,
 * nor the client's credentials (the engine writes what the service may believe); and Ficus-Path, the path that the
 * client asked for, which is what a problem speaks of; what filter_forwarded.c says comes in place of the client's own.
 * Outwards: nothing internal.
 */
#include "proxy_private.h"

static bool is_ficus(struct slice name)
{
    return name.size >= 6 && name.p[5] == '-' && slice_eq_nocase(slice_make(name.p, 6), SLICE("ficus-"));
}

/* Told apart by their size, or each field of each request would be compared with all of them. */
static bool is_dropped(struct slice name)
{
    switch (name.size) {
    case 6:
        return slice_eq_nocase(name, SLICE("cookie"));
    case 9:
        return slice_eq_nocase(name, SLICE("forwarded")) || slice_eq_nocase(name, SLICE("x-real-ip"));
    case 10:
        return slice_eq_nocase(name, SLICE("tracestate"));
    case 11:
        return slice_eq_nocase(name, SLICE("traceparent"));
    case 12:
        return slice_eq_nocase(name, SLICE("x-request-id")) || slice_eq_nocase(name, SLICE("max-forwards"));
    case 13:
        return slice_eq_nocase(name, SLICE("authorization")) || slice_eq_nocase(name, SLICE("x-rewrite-url"));
    case 14:
        return slice_eq_nocase(name, SLICE("x-original-url"));
    case 15:
        return slice_eq_nocase(name, SLICE("x-forwarded-for"));
    case 16:
        return slice_eq_nocase(name, SLICE("x-forwarded-host")) || slice_eq_nocase(name, SLICE("x-forwarded-port"));
    case 17:
        return slice_eq_nocase(name, SLICE("x-forwarded-proto"));
    case 18:
        return slice_eq_nocase(name, SLICE("x-forwarded-prefix"));
    case 19:
        return slice_eq_nocase(name, SLICE("proxy-authorization"));
    case 22:
        return slice_eq_nocase(name, SLICE("x-http-method-override"));
    default:
        return false;
    }
}

bool filter_request_field(struct slice name)
{
    return !is_ficus(name) && !is_dropped(name);
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
    if (is_ficus(name))
        return slice_eq_nocase(name, SLICE("ficus-complete"));
    return !slice_eq_nocase(name, SLICE("x-request-id")) && !slice_eq_nocase(name, SLICE("traceparent")) &&
           !slice_eq_nocase(name, SLICE("tracestate"));
}
