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

enum {
    STOPS_IN = 1,   /* is not for services */
    STOPS_OUT = 2,  /* is not for clients */
    HANDSHAKE = 4,  /* proxy_websocket_passes is asked */
    BY_NAME = 8,    /* the name is looked at: it may be Ficus' own */
};

/* Names that have no row pass. */
static const uint8_t rules[HTTP_NAME_COUNT] = {
    [HTTP_OTHER] = BY_NAME,
    [HTTP_AUTHORIZATION] = STOPS_IN,
    [HTTP_COOKIE] = STOPS_IN,
    [HTTP_FICUS_ATTEMPT] = STOPS_IN | STOPS_OUT,
    [HTTP_FICUS_COMPLETE] = STOPS_IN,
    [HTTP_FICUS_IDENTITY] = STOPS_IN | STOPS_OUT,
    [HTTP_FICUS_TIMEOUT_MS] = STOPS_IN | STOPS_OUT,
    [HTTP_FORWARDED] = STOPS_IN,
    [HTTP_MAX_FORWARDS] = STOPS_IN,
    [HTTP_PROXY_AUTHORIZATION] = STOPS_IN,
    [HTTP_SEC_WEBSOCKET_ACCEPT] = HANDSHAKE,
    [HTTP_SEC_WEBSOCKET_KEY] = HANDSHAKE,
    [HTTP_TRACEPARENT] = STOPS_IN | STOPS_OUT,
    [HTTP_TRACESTATE] = STOPS_IN | STOPS_OUT,
    [HTTP_X_FORWARDED_FOR] = STOPS_IN,
    [HTTP_X_FORWARDED_HOST] = STOPS_IN,
    [HTTP_X_FORWARDED_PORT] = STOPS_IN,
    [HTTP_X_FORWARDED_PREFIX] = STOPS_IN,
    [HTTP_X_FORWARDED_PROTO] = STOPS_IN,
    [HTTP_X_HTTP_METHOD_OVERRIDE] = STOPS_IN,
    [HTTP_X_ORIGINAL_URL] = STOPS_IN,
    [HTTP_X_REAL_IP] = STOPS_IN,
    [HTTP_X_REQUEST_ID] = STOPS_IN | STOPS_OUT,
    [HTTP_X_REWRITE_URL] = STOPS_IN,
};

/* By its row; a name that was not looked up yet is. */
static inline unsigned rule_of(const struct http_field *f, unsigned stops)
{
    unsigned rule = rules[http_field_id(f)];
    return (rule & BY_NAME) != 0 && is_ficus(f->name) ? stops : rule;
}

bool filter_request_field(const struct http_field *f)
{
    return (rule_of(f, STOPS_IN) & STOPS_IN) == 0;
}

bool filter_response_field(const struct http_field *f)
{
    return (rule_of(f, STOPS_OUT) & STOPS_OUT) == 0;
}

static bool request_passes(const struct proxy_request *q, const struct http_field *f)
{
    unsigned rule = rule_of(f, STOPS_IN);
    return (rule & STOPS_IN) == 0 && ((rule & HANDSHAKE) == 0 || proxy_websocket_passes(q, f));
}

bool filter_response_passes(const struct proxy_request *q, const struct http_field *f)
{
    unsigned rule = rule_of(f, STOPS_OUT);
    return (rule & STOPS_OUT) == 0 && ((rule & HANDSHAKE) == 0 || proxy_websocket_passes(q, f));
}

struct http_field *filter_request_fields(struct proxy_request *q, size_t *ret_count)
{
    const struct http_msg *m = q->stream->head_in;
    struct http_field *fields = arena_alloc(q->stream->arena, (m->field_count + 2 + PROXY_FORWARDED_FIELDS) * sizeof *fields);
    size_t count = 0;
    if (fields != NULL)
        fields[count++] = (struct http_field){SLICE("Ficus-Path"), m->path, HTTP_OTHER};
    for (size_t i = 0; fields != NULL && i < m->field_count; i++)
        if (request_passes(q, &m->fields[i]))
            fields[count++] = m->fields[i];
    struct http_field key = {SLICE("Sec-WebSocket-Key"), q->websocket_key, HTTP_SEC_WEBSOCKET_KEY};
    if (fields != NULL && key.value.p != NULL && !proxy_websocket_passes(q, &key))
        fields[count++] = key;
    if (fields == NULL || !proxy_forwarded_fields(q, fields, &count))
        return NULL;
    *ret_count = count;
    return fields;
}
