/* SPDX-License-Identifier: Apache-2.0
 *
 * A request goes to its service and the answer back, both streaming, each direction reading only when the other side
 * has taken what was read: at most one buffer of each stream and one remainder here are under way. Small bodies are
 * gathered first, because only a body that is all there can be sent again.
 */
#include "access_log.h"
#include "proxy_private.h"

#include "mem.h"

enum { ANSWER_FIELDS = 6 /* that an answer may get here: more grow it */, ANSWER_FIELDS_NEAR = 32 };
enum { BODY_GATHER_MAX = HTTP_BODY_BUFFER_SIZE, UP_DISCARD_MAX = 64 * 1024 };

/* The request is given up from our side: no callback of the stream comes any more. */
static void give_up(struct proxy_request *q, enum ficus_err err, const char *detail)
{
    struct http_stream *s = q->stream;
    http_reset(s, err);
    s->handler->on_reset(s->arg, s, err, detail); /* the same end as when the client goes; frees what q holds */
}

/* ---- the answer ---- */

/* What the head of an answer is made of, until it is sent: on the stack, which is in the cache, not in the arena, whose next lines
 * are not. */
struct answer_room {
    struct http_field fields[ANSWER_FIELDS_NEAR];
    char trace[TRACE_LINE_SIZE];
};

static bool response_head(struct proxy_request *q, const struct http_msg *head, struct http_msg *m,
                          struct answer_room *room)
{
    http_msg_init(m, q->stream->arena);
    m->status = head->status;
    m->content_length = head->content_length;
    m->field_capacity = head->field_count + ANSWER_FIELDS;
    m->fields = m->field_capacity <= ANSWER_FIELDS_NEAR ? room->fields
                                                        : arena_alloc(m->arena, m->field_capacity * sizeof *m->fields);
    if (m->fields == NULL)
        return false;
    for (size_t i = 0; i < head->field_count; i++)
        if (filter_response_passes(q, &head->fields[i]))
            m->fields[m->field_count++] = head->fields[i];
    if (q->fallback != NULL && !http_msg_add(m, SLICE("Ficus-Fallback"), slice_str(q->fallback)))
        return false;
    if (!proxy_websocket_answer(q, m))
        return false;
    return proxy_split_mark(q, m) && proxy_mark_answer(q, m, room->trace);
}

/* Of a tunnel: its client's bytes, one on_data at a time. */
static void up_recv(struct proxy_request *q)
{
    if (q->up_asked || q->up_ended)
        return;
    q->up_asked = true;
    http_recv(q->stream);
}

/* A tunnel's service is gone, and its client was told the end: what it sends now is thrown away until it ends its side
 * as well, or for so long as it takes to see that it does not. */
static void up_discard(struct proxy_request *q, size_t size)
{
    q->up_discarded += size;
    buf_clear(&q->up);
    q->up_sent = 0;
    if (q->up_discarded > UP_DISCARD_MAX)
        give_up(q, FICUS_ERR_RESET, "client does not end a tunnel");
    else
        up_recv(q);
}

/* It is no longer an event stream under way; harmless when it was none. */
static void stream_leave(struct proxy_request *q)
{
    if (list_empty(&q->stream_link))
        return;
    list_remove(&q->stream_link);
    atomic_fetch_sub(&q->proxy->loops->streams, 1);
}

/* Streams last, and must leave connections for everybody else. */
static bool too_many_streams(const struct proxy *p)
{
    size_t conns = proxy_conn_count_max(p);
    return p->loops->streams >= conns - conns / 8;
}

/* What is cut off of an event is dropped by its reader (WHATWG HTML 9.2.6); a WebSocket without Close frame was closed
 * abnormally (RFC 6455 7.1.5), which is what happened. */
static void stream_end(struct proxy_request *q)
{
    proxy_forward_cancel(q);
    buf_clear(&q->down);
    q->down_sent = 0;
    (void)http_send(q->stream, "", 0, true); /* nothing is always taken */
    if (q->is_tunnel)
        up_discard(q, 0);
}

static void stream_begin(struct proxy_request *q, struct call *c)
{
    struct proxy *p = q->proxy;
    if (p->stopping) {
        stream_end(q);
        return;
    }
    list_add_tail(&p->streams, &q->stream_link);
    atomic_fetch_add(&p->loops->streams, 1);
    call_endless(c, q->route->timeout_ms > PROXY_STREAM_SILENCE_MS ? q->route->timeout_ms : PROXY_STREAM_SILENCE_MS);
    call_recv(c);
    if (q->is_tunnel)
        up_recv(q);
}

void proxy_forward_end_streams(struct proxy *p)
{
    LIST_FOREACH_SAFE (&p->streams, it, tmp)
        stream_end(CONTAINER_OF(it, struct proxy_request, stream_link));
}

/* For the access log. */
static void note_trail(struct proxy_request *q, const struct call *c)
{
    struct call_trail trail;
    call_trail(c, &trail);
    q->attempts = trail.attempts;
    q->upstream_h2 = trail.is_h2;
    size_t size = strnlen(trail.address, sizeof q->address - 1);
    memcpy(q->address, trail.address, size);
    q->address[size] = '\0';
}

/* What the end of a request asks of its route: with thousands of routes that is in no cache by then. */
static void end_soon(const struct proxy_request *q)
{
    __builtin_prefetch(&q->snapshot->counts[q->match.route]);
    __builtin_prefetch(q->route->path);
}

static void call_head(void *arg, struct call *c, struct http_msg *head, bool end)
{
    struct proxy_request *q = arg;
    end_soon(q);
    struct http_msg m;
    __attribute__((uninitialized)) struct answer_room room; /* read as far as it was written */
    note_trail(q, c);
    int64_t now_ns = env_now_ns(q->proxy->env);
    q->upstream_ns = now_ns - q->upstream_begin_ns;
    if (proxy_fallback_for(head->status) &&
        proxy_fallback(q, FICUS_ERR_UNAVAILABLE, "the service answered that it, or what it needs, is not available"))
        return;
    bool is_tunnel = head->status == 101, is_events = !is_tunnel && http_msg_is_type(head, "text/event-stream");
    if (is_tunnel && !proxy_websocket_accepted(q, head)) {
        proxy_forward_cancel(q);
        q->err_detail = "service does not answer the WebSocket handshake";
        q->flags |= ACCESS_UPE;
        proxy_problem_of(q, FICUS_ERR_PROTOCOL);
        return;
    }
    if ((is_events || is_tunnel) && too_many_streams(q->proxy)) {
        struct http_field retry = {SLICE("Retry-After"), SLICE("10")};
        proxy_forward_cancel(q);
        q->err_detail = "too many streams";
        q->flags |= ACCESS_UO;
        proxy_problem(q, 503, "busy", "too many streams are open at the moment", &retry, 1);
        return;
    }
    if (!response_head(q, head, &m, &room)) {
        proxy_forward_cancel(q);
        q->err_detail = "answer head is too large";
        q->flags |= ACCESS_UPE;
        proxy_problem_of(q, FICUS_ERR_TOO_LARGE);
        return;
    }
    enum ficus_err err = http_send_head(q->stream, &m, end);
    if (err != FICUS_ERR_OK) {
        proxy_forward_cancel(q);
        q->err_detail = "answer head cannot be passed on";
        q->flags |= ACCESS_UPE;
        proxy_problem_of(q, FICUS_ERR_PROTOCOL);
        return;
    }
    q->status = m.status;
    q->head_ns = now_ns;
    q->is_events = is_events;
    q->is_tunnel = is_tunnel;
    proxy_fallback_head(q, head, end);
    if ((is_events || is_tunnel) && q->half_closed)
        give_up(q, FICUS_ERR_RESET, "client is gone");
    else if (!end && (is_events || is_tunnel))
        stream_begin(q, c);
    else if (!end)
        call_recv(c);
}

/* An answer that ends is worth finishing for a client that only shut its side, but a page that was left must not keep
 * its event stream until the next event. */
void proxy_forward_half_closed(struct proxy_request *q)
{
    q->half_closed = true;
    if (q->is_events && q->call != NULL)
        give_up(q, FICUS_ERR_RESET, "client is gone");
}

/* Early hints and the like (RFC 9110 15.2: a proxy passes them on). They may be left out, so memory is no error. */
static void call_interim(void *arg, struct call *c, const struct http_msg *head)
{
    struct proxy_request *q = arg;
    struct http_msg m;
    (void)c;
    http_msg_init(&m, q->stream->arena);
    m.status = head->status;
    for (size_t i = 0; i < head->field_count; i++)
        if (filter_response_field(&head->fields[i]) &&
            !http_msg_keep(&m, head->fields[i]))
            return;
    (void)http_send_head(q->stream, &m, false);
}

static void call_trailers(void *arg, struct call *c, const struct http_field *fields, size_t field_count)
{
    struct proxy_request *q = arg;
    (void)c;
    struct http_field *passed = ARENA_ARRAY(q->stream->arena, struct http_field, field_count);
    size_t count = 0;
    for (size_t i = 0; passed != NULL && i < field_count; i++)
        if (filter_response_field(&fields[i]))
            passed[count++] = fields[i];
    /* A body whose trailers are lost must not look whole: they may be its checksum or its status. */
    if (passed == NULL || http_send_trailers(q->stream, passed, count) != FICUS_ERR_OK)
        give_up(q, FICUS_ERR_NOMEM, "trailers cannot be passed on");
}

static void call_data(void *arg, struct call *c, struct slice data, bool end)
{
    struct proxy_request *q = arg;
    q->response_size += data.size;
    proxy_fallback_data(q, data, end);
    size_t taken = http_send(q->stream, data.p, data.size, end);
    if (taken == data.size) {
        if (!end)
            call_recv(c);
        return;
    }
    buf_clear(&q->down);
    q->down_sent = 0;
    q->down_end = end;
    if (!buf_add_slice(&q->down, slice_from(data, taken)))
        give_up(q, FICUS_ERR_NOMEM, "out of memory");
}

void proxy_forward_writable(struct proxy_request *q)
{
    struct slice rest = slice_from(buf_slice(&q->down), q->down_sent);
    if (rest.size == 0)
        return;
    q->down_sent += http_send(q->stream, rest.p, rest.size, q->down_end);
    if (q->down_sent < buf_slice(&q->down).size)
        return;
    buf_clear(&q->down);
    q->down_sent = 0;
    if (!q->down_end && q->call != NULL)
        call_recv(q->call);
}

static void call_done(void *arg, struct call *c)
{
    struct proxy_request *q = arg;
    (void)c;
    q->call = NULL;
    stream_leave(q);
    /* the stream ends by itself when the client has taken all */
    if (q->is_tunnel)
        up_discard(q, 0);
}

static void call_error(void *arg, struct call *c, enum ficus_err err, bool maybe_processed, const char *detail)
{
    struct proxy_request *q = arg;
    (void)maybe_processed;
    if (q->attempts == 0)
        note_trail(q, c);
    access_note_call(q, q->service, err, q->attempts);
    q->call = NULL;
    if (q->upstream_ns == 0)
        q->upstream_ns = env_now_ns(q->proxy->env) - q->upstream_begin_ns;
    if (q->status != 0) {
        give_up(q, err, detail); /* the client sees that its answer is cut */
        return;
    }
    if (proxy_fallback(q, err, detail))
        return;
    q->err = err;
    q->err_detail = detail;
    proxy_problem_of(q, err);
}

/* ---- the request ---- */

static void call_writable(void *arg, struct call *c)
{
    struct proxy_request *q = arg;
    struct slice rest = slice_from(buf_slice(&q->up), q->up_sent);
    if (rest.size == 0)
        return;
    q->up_sent += call_send(c, rest.p, rest.size, q->up_end);
    if (q->up_sent < buf_slice(&q->up).size)
        return;
    buf_clear(&q->up);
    q->up_sent = 0;
    if (q->is_tunnel)
        up_recv(q);
    else if (!q->up_end)
        http_recv(q->stream);
}

/* Such as take the place of fields that do not pass do not pass either. */
void proxy_forward_trailers(struct proxy_request *q, const struct http_field *fields, size_t field_count)
{
    if (q->call == NULL)
        return;
    struct http_field *passed = ARENA_ARRAY(q->stream->arena, struct http_field, field_count);
    size_t count = 0;
    for (size_t i = 0; passed != NULL && i < field_count; i++)
        if (filter_request_field(&fields[i]))
            passed[count++] = fields[i];
    if (passed != NULL)
        call_send_trailers(q->call, passed, count);
    else
        give_up(q, FICUS_ERR_NOMEM, "out of memory");
}

void proxy_forward_data(struct proxy_request *q, struct slice data, bool end)
{
    q->up_asked = false;
    q->up_ended = end;
    if (q->call == NULL && q->is_tunnel)
        up_discard(q, data.size);
    if (q->call == NULL)
        return; /* answered already; the codec takes care of the rest */
    q->request_size += data.size;
    if (q->request_size > (uint64_t)q->route->body_size_max && !q->is_tunnel) {
        proxy_forward_cancel(q);
        if (q->status == 0)
            proxy_problem(q, 413, "body_size", "the body is larger than this path takes", NULL, 0);
        else
            give_up(q, FICUS_ERR_TOO_LARGE, "body over its limit after the answer began");
        return;
    }
    size_t taken = call_send(q->call, data.p, data.size, end);
    if (taken == data.size) {
        if (q->is_tunnel)
            up_recv(q);
        else if (!end)
            http_recv(q->stream);
        return;
    }
    buf_clear(&q->up);
    q->up_sent = 0;
    q->up_end = end;
    if (!buf_add_slice(&q->up, slice_from(data, taken)))
        give_up(q, FICUS_ERR_NOMEM, "out of memory");
}

void proxy_forward_cancel(struct proxy_request *q)
{
    struct call *call = q->call;
    q->call = NULL;
    stream_leave(q);
    if (call != NULL)
        call_cancel(call);
}

int64_t proxy_deadline_ns(const struct proxy_request *q)
{
    uint64_t timeout_ms = (uint64_t)q->route->timeout_ms, given;
    int64_t deadline_ns = (q->again_ns > 0 ? q->again_ns : q->begin_ns) + (int64_t)timeout_ms * 1000000;
    /* A client may want an answer sooner, never later. */
    if (slice_to_u64(http_msg_first(q->stream->head_in, HTTP_FICUS_TIMEOUT_MS), &given) && given < timeout_ms &&
        q->begin_ns + (int64_t)given * 1000000 < deadline_ns)
        deadline_ns = q->begin_ns + (int64_t)given * 1000000;
    return deadline_ns;
}

struct call_request proxy_call_request(const struct proxy_request *q, const char *service)
{
    return (struct call_request){
        .callee = service,
        .body = SLICE_NONE,
        .deadline_ns = proxy_deadline_ns(q),
        .timeout_ms = q->route->timeout_ms,
        .trace = &q->trace,
        .tracestate = q->tracestate,
        .correlation = q->request_id,
        .user = q->user,
        .roles = q->roles,
        .role_count = q->role_count,
    };
}

void proxy_forward_to(struct proxy_request *q, const char *service, struct slice path, struct slice body,
                      int64_t stream_size)
{
    static const struct call_handler call_handler = {call_head,  call_data,    call_writable, call_done,
                                                     call_error, call_interim, call_trailers};
    struct proxy *p = q->proxy;
    const struct http_msg *m = q->stream->head_in;
    size_t field_count = 0;
    struct http_field *fields = filter_request_fields(q, &field_count);
    if (path.p == NULL || fields == NULL) {
        proxy_problem(q, 431, NULL, "the request head takes too much memory", NULL, 0);
        return;
    }
    struct call_request r = proxy_call_request(q, service);
    r.method = m->method;
    r.path = path;
    r.fields = fields;
    r.field_count = field_count;
    r.judged = true;
    r.body = body;
    r.body_stream_size = stream_size;
    r.keyed = http_msg_single(m, HTTP_IDEMPOTENCY_KEY).p != NULL;
    r.protocol = m->protocol;
    r.takes_trailers = m->takes_trailers;
    q->service = r.callee;
    q->upstream_begin_ns = env_now_ns(p->env);
    enum ficus_err err = call_start(p->process.calls, &r, &call_handler, q, &q->call);
    if (err != FICUS_ERR_OK) {
        q->call = NULL;
        if (proxy_fallback(q, err, NULL))
            return;
        q->err = err;
        access_note_call(q, q->service, err, 0);
        proxy_problem_of(q, err);
    } else if (stream_size != 0) {
        http_recv(q->stream);
    }
}

static void forward_start(struct proxy_request *q, struct slice body, int64_t stream_size)
{
    q->forward_path = proxy_router_target(&q->match, q->stream->head_in->query, q->stream->arena);
    proxy_forward_to(q, proxy_service_of(q), q->forward_path, body, stream_size);
}

static void gathered(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    struct proxy_request *q = arg;
    (void)s;
    env_timer_stop(q->proxy->env, &q->gather_limit);
    if (q->status != 0)
        return; /* it came too late */
    q->gather_ns += env_now_ns(q->proxy->env);
    q->request_size = body.size;
    if (err == FICUS_ERR_OK)
        forward_start(q, body, 0);
    else
        proxy_problem_of(q, err == FICUS_ERR_TOO_LARGE ? FICUS_ERR_INVALID : FICUS_ERR_NOMEM);
}

/* A byte now and then keeps the codec content, so the whole body has a limit as well: nobody behind has the deadline
 * yet. */
static void gather_late(void *arg)
{
    struct proxy_request *q = arg;
    q->flags |= ACCESS_DT;
    q->gather_ns += env_now_ns(q->proxy->env);
    proxy_problem(q, 408, "timeout", "the body of the request did not come in time", NULL, 0);
}

void proxy_forward(struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    int64_t size = m->content_length;
    if (!proxy_split_choose(q)) {
        proxy_problem(q, 431, NULL, "the request head takes too much memory", NULL, 0);
        return;
    }
    /* RFC 9110 9.3.1: content of a GET means nothing; the codec throws it away behind the answer. */
    if (q->end || slice_eq_str(m->method, "GET") || slice_eq_str(m->method, "HEAD")) {
        forward_start(q, SLICE_NONE, 0);
    } else if (size >= 0 && size <= BODY_GATHER_MAX) {
        q->collecting = true;
        q->gather_ns = -env_now_ns(q->proxy->env);
        q->collect.done = gathered;
        q->collect.arg = q;
        q->gather_limit = (struct env_timer){.fn = gather_late, .arg = q};
        env_timer_start(q->proxy->env, &q->gather_limit, q->route->timeout_ms);
        http_collect(q->stream, &q->collect, BODY_GATHER_MAX);
    } else {
        forward_start(q, SLICE_NONE, size);
    }
}
