/* SPDX-License-Identifier: Apache-2.0
 *
 * Which request this is, for logs and for everybody behind: X-Request-ID and traceparent (W3C Trace Context) are taken
 * over when they are valid, else new.
 */
#include "proxy_private.h"

static bool request_id_valid(struct slice id)
{
    if (id.size == 0 || id.size > PROXY_REQUEST_ID_SIZE_MAX)
        return false;
    for (size_t i = 0; i < id.size; i++) {
        char c = id.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

enum proxy_verdict filter_context(struct proxy_request *q)
{
    struct env *e = q->proxy->env;
    const struct http_msg *m = q->stream->head_in;
    uint8_t random[24 + 10]; /* for a trace, for an id */
    env_random(e, random, sizeof random);
    struct slice parent = http_msg_single(m, HTTP_TRACEPARENT);
    if (parent.p != NULL && trace_parse(parent, &q->trace)) {
        struct slice state = http_msg_single(m, HTTP_TRACESTATE);
        if (state.p != NULL && trace_state_valid(state))
            q->tracestate = state;
    } else {
        trace_root(random, true, &q->trace);
    }
    struct slice id = http_msg_single(m, HTTP_X_REQUEST_ID);
    if (request_id_valid(id)) {
        q->request_id = id;
        return PROXY_PASS;
    }
    char *text = arena_alloc(q->stream->arena, UUID_TEXT_SIZE);
    if (text == NULL) {
        proxy_problem(q, 503, NULL, "the gateway is out of memory", NULL, 0);
        return PROXY_ANSWERED;
    }
    uuid_v7(env_wall_ms(e), random + 24, text);
    q->request_id = slice_make(text, UUID_TEXT_SIZE - 1);
    return PROXY_PASS;
}
