/* SPDX-License-Identifier: Apache-2.0
 *
 * What is answered when a service is not available: no address, breaker open, connection refused or lost, no answer in
 * time, or 502, 503 or 504; and only as long as no byte of an answer went to the client. In this order, each once:
 *
 *   stale    the last good answer to the same GET of the same user (stale.h)
 *   to       another service, for GET and HEAD: only what changes nothing may be done a second time elsewhere
 *   status   a fixed answer, whatever was asked
 *
 * When none can be had the client gets what it would have got without. Ficus-Fallback says which of them an answer is,
 * and the log says it beside the error. Another service has the route's time once more: without that, no time would be
 * left after a timeout. A client that named a shorter one (Ficus-Timeout-Ms) is held to it.
 */
#include "proxy_private.h"

#include "mem.h"

#include <stdio.h>

enum { KEEPING_MAX = 64 }; /* answers that are being kept at a time, each with a buffer of STALE_ANSWER_SIZE_MAX */

struct proxy_keep {
    const struct http_msg *head; /* the call's */
    struct buf body;
};

static bool is_get(const struct proxy_request *q)
{
    return slice_eq_str(q->stream->head_in->method, "GET");
}

static bool is_read(const struct proxy_request *q)
{
    return is_get(q) || slice_eq_str(q->stream->head_in->method, "HEAD");
}

static bool is_unavailable(enum ficus_err err)
{
    switch (err) {
    case FICUS_ERR_TIMEOUT:
    case FICUS_ERR_REFUSED:
    case FICUS_ERR_RESET:
    case FICUS_ERR_EOF:
    case FICUS_ERR_PROTOCOL:
    case FICUS_ERR_UNAVAILABLE:
    case FICUS_ERR_BUSY:
    case FICUS_ERR_NOMEM:
        return true;
    default:
        return false;
    }
}

/* What a good answer is kept under: who asked whom for what. p NULL: the arena is full. */
static struct slice key_of(struct proxy_request *q)
{
    struct buf key;
    buf_init(&key, 64 * 1024);
    bool ok = buf_printf(&key, "%s\n", proxy_service_of(q)) && buf_add_slice(&key, q->forward_path) &&
              buf_add_str(&key, q->user.p == NULL ? "\n-" : "\n+") &&
              (q->user.p == NULL || buf_add_slice(&key, q->user));
    struct slice copy = ok ? arena_slice(q->stream->arena, buf_slice(&key)) : SLICE_NONE;
    buf_done(&key);
    return copy;
}

/* ---- answering ---- */

static void begin(struct proxy_request *q, const char *by, enum ficus_err err, const char *detail)
{
    struct proxy *p = q->proxy;
    proxy_forward_cancel(q); /* what answered 503 */
    q->fallback = by;
    q->err = err;
    q->err_detail = detail;
    metric_inc(METRIC(p->metrics[PROXY_FALLBACKS], slice_str(q->route->path), slice_str(by)));
}

static bool answer_stale(struct proxy_request *q, enum ficus_err err, const char *detail)
{
    struct proxy *p = q->proxy;
    struct slice key = !is_get(q) || q->forward_path.p == NULL ? SLICE_NONE : key_of(q);
    struct stale_answer kept;
    if (key.p == NULL || !stale_find(p->stale, key, q->stream->head_in, &kept))
        return false;
    struct http_field fields[STALE_FIELDS_MAX + 3];
    char age[24];
    size_t count = 0;
    for (size_t i = 0; i < kept.field_count; i++)
        if (filter_response_field(&kept.fields[i]))
            fields[count++] = kept.fields[i];
    (void)snprintf(age, sizeof age, "%lld", (long long)kept.age_s);
    fields[count++] = (struct http_field){SLICE("Age"), slice_str(age)};
    fields[count++] = (struct http_field){SLICE("Cache-Status"), SLICE("ficus; fwd=stale; detail=stale-if-error")};
    fields[count++] = (struct http_field){SLICE("Ficus-Fallback"), SLICE("stale")};
    begin(q, "stale", err, detail);
    proxy_answer_with(q, 200, fields, count, kept.body, false);
    stale_release(p->stale, &kept);
    return true;
}

static bool answer_service(struct proxy_request *q, enum ficus_err err, const char *detail)
{
    struct proxy *p = q->proxy;
    const struct proxy_fallback *f = q->route->fallback;
    struct slice path = proxy_router_fallback(q->snapshot->router, &q->match, q->stream->head_in->query, q->stream->arena);
    q->again_ns = env_now_ns(p->env);
    if (path.p == NULL || proxy_deadline_ns(q) <= q->again_ns)
        return false;
    begin(q, "service", err, detail);
    proxy_forward_to(q, f->service, path, SLICE_NONE, 0);
    return true;
}

static void answer_fixed(struct proxy_request *q, enum ficus_err err, const char *detail)
{
    const struct proxy_fallback *f = q->route->fallback;
    const struct http_field marks[] = {{SLICE("Ficus-Fallback"), SLICE("static")}};
    begin(q, "static", err, detail);
    proxy_answer(q, (int)f->status, marks, ARRAY_COUNT(marks), f->type, slice_str(f->body));
}

bool proxy_fallback(struct proxy_request *q, enum ficus_err err, const char *detail)
{
    const struct proxy_fallback *f = q->route->fallback;
    if (f == NULL || q->status != 0 || !is_unavailable(err) || q->websocket_key.p != NULL)
        return false;
    if (!q->fallback_asked) { /* another service's failure leads on to the fixed answer */
        q->fallback_asked = true;
        if (f->stale_ms > 0 && answer_stale(q, err, detail))
            return true;
        if (f->service != NULL && is_read(q) && answer_service(q, err, detail))
            return true;
    }
    if (f->status == 0)
        return false;
    answer_fixed(q, err, detail);
    return true;
}

bool proxy_fallback_for(int status)
{
    return status == 502 || status == 503 || status == 504;
}

/* ---- keeping good answers ---- */

static void keep_done(struct proxy_request *q)
{
    if (q->keep == NULL)
        return;
    buf_done(&q->keep->body);
    q->keep = NULL;
    q->proxy->keeping--;
}

static void keep_end(struct proxy_request *q)
{
    struct slice key = key_of(q);
    if (key.p != NULL)
        stale_keep(q->proxy->stale, key, q->stream->head_in, q->keep->head, buf_slice(&q->keep->body),
                   q->route->fallback->stale_ms);
    keep_done(q);
}

/* RFC 9111 4.4: what was changed is not shown as it was. */
static void forget(struct proxy_request *q, const struct http_msg *head)
{
    if (is_read(q) || head->status >= 400 || stale_count(q->proxy->stale) == 0)
        return;
    struct slice key = key_of(q);
    if (key.p != NULL)
        stale_drop(q->proxy->stale, key);
}

void proxy_fallback_head(struct proxy_request *q, const struct http_msg *head, bool end)
{
    struct proxy *p = q->proxy;
    const struct proxy_fallback *f = q->route->fallback;
    if (q->fallback != NULL)
        return; /* another service's */
    forget(q, head);
    if (f == NULL || f->stale_ms == 0 || !is_get(q) || p->keeping >= KEEPING_MAX ||
        !stale_may_keep(q->stream->head_in, head, q->user.p != NULL))
        return;
    q->keep = ARENA_NEW(q->stream->arena, struct proxy_keep);
    if (q->keep == NULL)
        return;
    q->keep->head = head;
    buf_init(&q->keep->body, STALE_ANSWER_SIZE_MAX);
    p->keeping++;
    if (end)
        keep_end(q);
}

void proxy_fallback_data(struct proxy_request *q, struct slice data, bool end)
{
    if (q->keep == NULL)
        return;
    if (!buf_add_slice(&q->keep->body, data))
        keep_done(q); /* too large */
    else if (end)
        keep_end(q);
}

void proxy_fallback_cancel(struct proxy_request *q)
{
    keep_done(q);
}
