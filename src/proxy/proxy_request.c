/* SPDX-License-Identifier: Apache-2.0
 *
 * One request on its way through the chain of filters, the gateway's own answers, and the few numbers that remain of it.
 */
#include "access_log.h"
#include "proxy_private.h"

#include "mem.h"
#include "text.h"

/* Order matters: context first, so that every answer is marked; then from the cheapest to the dearest. */
static const struct proxy_filter chain[] = {
    {"context", filter_context}, {"health", filter_health}, {"host", filter_host},
    {"metrics", filter_metrics}, {"overload", filter_overload}, {"origin", filter_origin}, {"route", filter_route},
    {"hops", filter_hops}, {"websocket", filter_websocket}, {"auth", filter_auth},  {"roles", filter_roles}, {"size", filter_size},
};

/* Past all filters. */
static void route_run(struct proxy_request *q)
{
    switch (proxy_route_kind(q->route)) {
    case PROXY_FORWARD:
        proxy_forward(q);
        break;
    case PROXY_COMPOSE:
        proxy_compose(q);
        break;
    case PROXY_FILES:
        proxy_answer_file(q);
        break;
    case PROXY_ANSWER:
        if (q->route->answer == 404)
            proxy_problem(q, 404, "no_route", "there is nothing under this path", NULL, 0);
        else
            proxy_problem(q, (int)q->route->answer, NULL, "the gateway answers this path by itself", NULL, 0);
        break;
    }
}

void proxy_request_continue(struct proxy_request *q)
{
    while (q->filter < sizeof chain / sizeof chain[0]) {
        enum proxy_verdict verdict = chain[q->filter].run(q);
        if (verdict != PROXY_PASS)
            return;
        q->filter++;
    }
    route_run(q);
}

/* ---- own answers ---- */

/* RFC 6797 7.2: over TLS only. */
static bool add_hsts(const struct proxy_request *q, struct http_msg *m)
{
    const char *hsts = q->snapshot->hsts;
    return hsts[0] == '\0' || http_msg_add(m, SLICE("Strict-Transport-Security"), slice_str(hsts));
}

bool proxy_mark_answer(const struct proxy_request *q, struct http_msg *m, char trace[TRACE_LINE_SIZE])
{
    if (q->request_id.p == NULL)
        return true; /* only when memory was short before it was known */
    trace_line(&q->trace, trace);
    /* both were judged, or made, by filter_context */
    return add_hsts(q, m) && http_msg_keep(m, (struct http_field){SLICE("X-Request-ID"), q->request_id, HTTP_X_REQUEST_ID}) &&
           http_msg_keep(m, http_line(HTTP_TRACEPARENT, trace, strlen(TRACE_PARENT_HEADER), TRACE_PARENT_TEXT_SIZE - 1));
}

bool proxy_answer_more(struct proxy_request *q)
{
    if (q->own_left.size == 0)
        return false;
    q->own_left = slice_from(q->own_left, http_send(q->stream, q->own_left.p, q->own_left.size, true));
    return true;
}

static void answer_failed(struct proxy_request *q, enum ficus_err err, const char *detail)
{
    q->stream->handler->on_reset(q->stream->arg, q->stream, err, detail);
    http_reset(q->stream, err);
}

void proxy_answer_with(struct proxy_request *q, int status, const struct http_field *fields, size_t field_count,
                       struct slice body, bool lasting)
{
    /* On the stack: an answer must be possible when a request has used up its arena. */
    struct http_field own[PROXY_FIELDS_MAX + 3];
    char trace[TRACE_PARENT_TEXT_SIZE];
    struct http_msg m = {.arena = q->stream->arena,
                         .status = status,
                         .content_length = (int64_t)body.size,
                         .fields = own,
                         .field_capacity = sizeof own / sizeof own[0]};
    bool ok = field_count <= PROXY_FIELDS_MAX;
    for (size_t i = 0; ok && i < field_count; i++)
        ok = http_msg_add(&m, fields[i].name, fields[i].value);
    if (q->request_id.p != NULL) {
        trace_format(&q->trace, trace);
        ok = ok && add_hsts(q, &m) && http_msg_add(&m, SLICE("X-Request-ID"), q->request_id) &&
             http_msg_add(&m, SLICE(TRACE_PARENT_HEADER), slice_str(trace));
    }
    q->status = status;
    q->head_ns = env_now_ns(q->proxy->env);
    enum ficus_err err = ok ? http_send_head(q->stream, &m, body.size == 0) : FICUS_ERR_INVALID;
    if (err != FICUS_ERR_OK) {
        answer_failed(q, err, "an answer could not be written");
        return;
    }
    q->response_size = body.size;
    if (body.size == 0)
        return;
    q->own_left = slice_from(body, http_send(q->stream, body.p, body.size, true));
    if (q->own_left.size == 0 || lasting)
        return;
    if (buf_add_slice(&q->own, q->own_left))
        q->own_left = buf_slice(&q->own);
    else
        answer_failed(q, FICUS_ERR_NOMEM, "out of memory");
}

void proxy_answer(struct proxy_request *q, int status, const struct http_field *fields, size_t field_count,
                  const char *content_type, struct slice body)
{
    struct http_field all[PROXY_FIELDS_MAX] = {{SLICE("Content-Type"), slice_str(content_type)},
                                               {SLICE("Cache-Control"), SLICE("no-store")},
                                               {SLICE("X-Content-Type-Options"), SLICE("nosniff")}};
    size_t count = 3;
    for (size_t i = 0; i < field_count && count < PROXY_FIELDS_MAX; i++)
        all[count++] = fields[i];
    proxy_answer_with(q, status, all, count, body, false);
}

void proxy_problem(struct proxy_request *q, int status, const char *code, const char *detail,
                   const struct http_field *fields, size_t field_count)
{
    struct buf body;
    buf_init(&body, 64 * 1024);
    http_problem_write(&body, status, code, detail, q->stream->head_in->path);
    proxy_answer(q, status, fields, field_count, "application/problem+json", buf_slice(&body));
    buf_done(&body);
}

void proxy_problem_of(struct proxy_request *q, enum ficus_err err)
{
    struct http_field retry = {SLICE("Retry-After"), SLICE("1")};
    switch (err) {
    case FICUS_ERR_TIMEOUT:
        proxy_problem(q, 504, "timeout", "the service behind this path did not answer in time", NULL, 0);
        break;
    case FICUS_ERR_RESET:
    case FICUS_ERR_PROTOCOL:
    case FICUS_ERR_EOF:
    case FICUS_ERR_TOO_LARGE:
        proxy_problem(q, 502, "bad_gateway", "the service behind this path broke off its answer", NULL, 0);
        break;
    case FICUS_ERR_INVALID:
        proxy_problem(q, 400, "invalid", "the request cannot be passed on", NULL, 0);
        break;
    case FICUS_ERR_UNSUPPORTED:
        proxy_problem(q, 501, "no_websocket", "the service behind this path takes no WebSockets over HTTP/2, which is spoken to it", NULL, 0);
        break;
    case FICUS_ERR_NOMEM:
        proxy_problem(q, 503, "overloaded", "the gateway has more to do than it can", &retry, 1);
        break;
    default:
        proxy_problem(q, 503, "unavailable", "the service behind this path is not available at the moment", &retry, 1);
        break;
    }
}

/* ---- the end ---- */

static struct metric *with_status(struct metric_family *f, struct slice route, const char *part, int status)
{
    char digits[TEXT_I64_SIZE];
    struct slice text = slice_make(digits, text_i64(status, digits));
    return part == NULL ? METRIC(f, route, text) : METRIC(f, route, slice_str(part), text);
}

static void request_count(struct proxy_request *q, const char *route, int64_t ns, int64_t added)
{
    struct proxy *p = q->proxy;
    struct proxy_counts none = {0}, *c = &none;
    if (q->route != NULL)
        c = &q->snapshot->counts[q->route - q->snapshot->config->routes];
    if (c->requests == NULL || c->status != q->status) {
        c->status = q->status;
        c->requests = with_status(p->metrics[PROXY_REQUESTS], slice_str(route), NULL, q->status);
    }
    if (c->seconds == NULL)
        c->seconds = METRIC(p->metrics[PROXY_SECONDS], slice_str(route));
    if (c->upstream_seconds == NULL && q->upstream_ns > 0)
        c->upstream_seconds = METRIC(p->metrics[PROXY_UPSTREAM_SECONDS], slice_str(route));
    metric_inc(c->requests);
    metric_observe_traced(c->seconds, ns, &q->trace);
    if (added >= 0)
        metric_observe(metric_only(p->metrics[PROXY_ADDED_SECONDS]), added);
    if (q->part_name != NULL)
        metric_inc(with_status(p->metrics[PROXY_SPLIT], slice_str(route), q->part_name, q->status));
    if (q->upstream_ns > 0)
        metric_observe(c->upstream_seconds, q->upstream_ns);
}

/* What of the time to the head of the answer was ours; < 0: there was no answer. */
static int64_t added_ns(const struct proxy_request *q)
{
    if (q->head_ns == 0)
        return -1;
    int64_t ns = q->head_ns - q->begin_ns - q->gather_ns - q->upstream_ns;
    return ns > 0 ? ns : 0;
}

/* Exactly once for each request, from the last callback or instead of it. */
static void request_end(struct proxy_request *q)
{
    int64_t ns = env_now_ns(q->proxy->env) - q->begin_ns;
    const char *route = q->route != NULL ? q->route->path : PROXY_ROUTE_NONE;
    proxy_keys_wait_cancel(&q->waiter);
    env_timer_stop(q->proxy->env, &q->gather_limit);
    proxy_forward_cancel(q);
    proxy_compose_cancel(q);
    proxy_fallback_cancel(q);
    int64_t added = added_ns(q);
    request_count(q, route, ns, added);
    access_log(q, route, ns, added);
    buf_done(&q->own);
    buf_done(&q->up);
    buf_done(&q->down);
    if (q->collecting)
        http_collect_done(&q->collect);
    proxy_snapshot_leave(q->proxy, q->snapshot); /* last: the route was its */
}

static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    (void)s;
    proxy_forward_data(arg, data, end);
}

static void on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    (void)s;
    proxy_forward_trailers(arg, fields, field_count);
}

static void on_writable(void *arg, struct http_stream *s)
{
    struct proxy_request *q = arg;
    (void)s;
    if (!proxy_answer_more(q))
        proxy_forward_writable(q);
}

static void on_half_close(void *arg, struct http_stream *s)
{
    (void)s;
    proxy_forward_half_closed(arg);
}

static void on_done(void *arg, struct http_stream *s)
{
    (void)s;
    request_end(arg);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct proxy_request *q = arg;
    (void)s;
    if (q->status == 0)
        q->status = err == FICUS_ERR_TIMEOUT ? 408 : err == FICUS_ERR_PROTOCOL ? 400 : 499;
    q->err = err;
    q->err_detail = detail;
    access_note_client(q, err);
    request_end(q);
}

static void waited(void *arg)
{
    proxy_request_continue(arg);
}

static const struct http_handler handler = {
    .on_data = on_data, .on_trailers = on_trailers, .on_half_close = on_half_close, .on_writable = on_writable, .on_done = on_done,
    .on_reset = on_reset};

void proxy_on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    static const struct http_handler none = {.on_data = NULL};
    struct proxy_request *q = arena_alloc(s->arena, sizeof *q);
    if (q == NULL) {
        http_stream_handle(s, &none, NULL);
        http_reset(s, FICUS_ERR_NOMEM);
        return;
    }
    memset(q, 0, offsetof(struct proxy_request, match));
    q->address[0] = '\0';
    q->proxy = arg;
    q->snapshot = q->proxy->current;
    q->snapshot->refs++;
    q->stream = s;
    q->peer = peer;
    q->peer_address = address_of_peer(slice_str(peer->text));
    q->end = end;
    q->begin_ns = env_now_ns(q->proxy->env);
    q->user = q->tracestate = q->request_id = q->forward_path = q->websocket_key = SLICE_NONE;
    q->waiter.fn = waited;
    q->waiter.arg = q;
    buf_init(&q->own, 4 * 1024 * 1024);
    buf_init(&q->up, HTTP_BODY_BUFFER_SIZE);
    buf_init(&q->down, HTTP_BODY_BUFFER_SIZE);
    http_stream_handle(s, &handler, q);
    proxy_request_continue(q);
}
