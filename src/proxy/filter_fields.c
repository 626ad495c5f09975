/* SPDX-License-Identifier: Apache-2.0
 *
 * Which fields pass the gateway. Inwards: nothing that could be taken for an identity, a route or a deadline of ours,
 * nor the client's credentials (the engine writes what the service may believe); and Ficus-Path, the path that the
 * client asked for, which is what a problem speaks of, and X-Forwarded-Proto when it came by TLS. Outwards: nothing internal.
 */
#include "proxy_private.h"

static bool is_one_of(struct slice name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (slice_eq_nocase(name, slice_str(*names)))
            return true;
    return false;
}

static bool is_ficus(struct slice name)
{
    return name.size >= 6 && slice_eq_nocase(slice_make(name.p, 6), SLICE("ficus-"));
}

static bool request_field(struct slice name)
{
    static const char *const dropped[] = {
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-request-id",
        "traceparent",
        "tracestate",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-real-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        NULL,
    };
    return !is_ficus(name) && !is_one_of(name, dropped);
}

struct http_field *filter_request_fields(struct proxy_request *q, size_t *ret_count)
{
    const struct http_msg *m = q->stream->head_in;
    struct http_field *fields = ARENA_ARRAY(q->stream->arena, struct http_field, m->field_count + 2);
    size_t count = 0;
    if (fields != NULL)
        fields[count++] = (struct http_field){SLICE("Ficus-Path"), m->path};
    if (fields != NULL && slice_eq_str(m->scheme, "https"))
        fields[count++] = (struct http_field){SLICE("X-Forwarded-Proto"), m->scheme};
    for (size_t i = 0; fields != NULL && i < m->field_count; i++)
        if (request_field(m->fields[i].name))
            fields[count++] = m->fields[i];
    *ret_count = count;
    return fields;
}

bool filter_response_field(struct slice name)
{
    static const char *const replaced[] = {"x-request-id", "traceparent", "tracestate", NULL};
    return is_ficus(name) ? slice_eq_nocase(name, SLICE("ficus-complete")) : !is_one_of(name, replaced);
}
