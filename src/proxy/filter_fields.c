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

bool filter_request_field(const struct http_field *f)
{
    switch (http_field_id(f)) {
    case HTTP_AUTHORIZATION:
    case HTTP_COOKIE:
    case HTTP_FORWARDED:
    case HTTP_MAX_FORWARDS:
    case HTTP_PROXY_AUTHORIZATION:
    case HTTP_TRACEPARENT:
    case HTTP_TRACESTATE:
    case HTTP_X_FORWARDED_FOR:
    case HTTP_X_FORWARDED_HOST:
    case HTTP_X_FORWARDED_PORT:
    case HTTP_X_FORWARDED_PREFIX:
    case HTTP_X_FORWARDED_PROTO:
    case HTTP_X_HTTP_METHOD_OVERRIDE:
    case HTTP_X_ORIGINAL_URL:
    case HTTP_X_REAL_IP:
    case HTTP_X_REQUEST_ID:
    case HTTP_X_REWRITE_URL:
        return false;
    default:
        return !is_ficus(f->name);
    }
}

struct http_field *filter_request_fields(struct proxy_request *q, size_t *ret_count)
{
    const struct http_msg *m = q->stream->head_in;
    struct http_field *fields = arena_alloc(q->stream->arena, (m->field_count + 2 + PROXY_FORWARDED_FIELDS) * sizeof *fields);
    size_t count = 0;
    if (fields != NULL)
        fields[count++] = (struct http_field){SLICE("Ficus-Path"), m->path, HTTP_OTHER};
    for (size_t i = 0; fields != NULL && i < m->field_count; i++)
        if (filter_request_field(&m->fields[i]) && proxy_websocket_passes(q, &m->fields[i]))
            fields[count++] = m->fields[i];
    struct http_field key = {SLICE("Sec-WebSocket-Key"), q->websocket_key, HTTP_SEC_WEBSOCKET_KEY};
    if (fields != NULL && key.value.p != NULL && !proxy_websocket_passes(q, &key))
        fields[count++] = key;
    if (fields == NULL || !proxy_forwarded_fields(q, fields, &count))
        return NULL;
    *ret_count = count;
    return fields;
}

bool filter_response_field(const struct http_field *f)
{
    switch (http_field_id(f)) {
    case HTTP_FICUS_COMPLETE:
        return true;
    case HTTP_TRACEPARENT:
    case HTTP_TRACESTATE:
    case HTTP_X_REQUEST_ID:
        return false;
    default:
        return !is_ficus(f->name);
    }
}
