/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a request: arrival, the checks before any handler, the moves between its states, its end.
 *
 *      READING -> [WAITING] -> QUEUED -> RUNNING -> [COMMITTING] -> REPLYING -> DONE
 *                                           \-> ABANDONED ---------------------^
 *
 *  READING     the body is coming; the deadline answers 408.
 *  WAITING     another request with its Idempotency-Key runs, no worker is held; the deadline answers 409 or 503.
 *  QUEUED      for a worker; the deadline answers 503 and takes it out of the queue.
 *  RUNNING     a worker has it; the deadline moves it to ABANDONED and answers 504.
 *  COMMITTING  its group commit is on the way to the disk: the deadline has no say any more, the commit tells.
 *  REPLYING    the answer is being sent.
 *  ABANDONED   answered; the worker still has it, but libficus refuses it calls, the transaction and the commit.
 *
 * Before READING ends no byte of it has had an effect. Events and start-ups begin in QUEUED and never reply.
 * A client that goes away ends READING, WAITING and QUEUED; in the later states the handler goes on and its effects
 * count, as if the answer had been lost on the way.
 */
#include "service_impl.h"

#include "text.h"

#include <inttypes.h>

#define TO(state) (1u << (state))

static const struct {
    const char *name;
    unsigned next;
} states[REQUEST_STATE_COUNT] = {
    [REQUEST_READING] = {"reading", TO(REQUEST_WAITING) | TO(REQUEST_QUEUED) | TO(REQUEST_REPLYING) | TO(REQUEST_DONE)},
    [REQUEST_WAITING] = {"waiting", TO(REQUEST_QUEUED) | TO(REQUEST_REPLYING) | TO(REQUEST_DONE)},
    [REQUEST_QUEUED] = {"queued", TO(REQUEST_RUNNING) | TO(REQUEST_REPLYING) | TO(REQUEST_DONE)},
    [REQUEST_RUNNING] = {"running",
                         TO(REQUEST_COMMITTING) | TO(REQUEST_REPLYING) | TO(REQUEST_ABANDONED) | TO(REQUEST_DONE)},
    [REQUEST_COMMITTING] = {"committing", TO(REQUEST_REPLYING) | TO(REQUEST_DONE)},
    [REQUEST_REPLYING] = {"replying", TO(REQUEST_DONE)},
    [REQUEST_ABANDONED] = {"abandoned", TO(REQUEST_DONE)},
    [REQUEST_DONE] = {"done", 0},
};

enum request_state request_state(const struct ficus_req *r)
{
    return (enum request_state)atomic_load_explicit(&r->state, memory_order_acquire);
}

bool request_move(struct ficus_req *r, enum request_state from, enum request_state to)
{
    FICUS_ASSERT((states[from].next & TO(to)) != 0);
    int expected = (int)from;
    return atomic_compare_exchange_strong_explicit(&r->state, &expected, (int)to, memory_order_acq_rel,
                                                   memory_order_acquire);
}

static void move(struct ficus_req *r, enum request_state to)
{
    bool moved = request_move(r, request_state(r), to);
    FICUS_ASSERT(moved);
}

/* ---- memory ---- */

static struct ficus_req *request_make(struct service *v, enum request_kind kind, enum request_state state)
{
    struct ficus_req *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return NULL;
    r->service = v;
    r->kind = kind;
    atomic_init(&r->state, (int)state);
    arena_init(&r->arena, REQUEST_ARENA_SIZE_MAX);
    list_init(&r->rows);
    list_init(&r->outs);
    list_init(&r->queue);
    r->notes_end = &r->notes;
    r->first_end = &r->first;
    r->begun_ns = env_now_ns(v->env);
    r->refs = 1;
    out_init(&r->answer.out, r, ANSWER_SIZE_MAX);
    return r;
}

struct ficus_req *request_new(struct service *v, enum request_kind kind)
{
    struct ficus_req *r = request_make(v, kind, kind == REQUEST_HTTP ? REQUEST_READING : REQUEST_QUEUED);
    if (r == NULL)
        return NULL;
    list_add_tail(&v->requests, &r->link);
    v->request_count++;
    return r;
}

static void request_free(struct ficus_req *r)
{
    while (!list_empty(&r->outs))
        out_done(CONTAINER_OF(r->outs.next, struct ficus_out, link));
    answer_done(&r->answer);
    arena_done(&r->arena);
    mem_free(r);
}

struct ficus_req *request_inside(struct service *v, int64_t generation)
{
    struct ficus_req *r = request_make(v, REQUEST_PROJECTION, REQUEST_RUNNING);
    if (r == NULL)
        return NULL;
    r->caller = "";
    r->body = "null";
    r->body_size = 4;
    r->generation = generation;
    r->tx.db = v->db;
    r->tx_open = true;
    return r;
}

void request_inside_free(struct ficus_req *r)
{
    db_rows_close(r, false);
    request_free(r);
}

void request_ref(struct ficus_req *r)
{
    FICUS_ASSERT(r->refs > 0);
    r->refs++;
}

void request_unref(struct ficus_req *r)
{
    FICUS_ASSERT(r->refs > 0);
    if (--r->refs > 0)
        return;
    struct service *v = r->service;
    FICUS_ASSERT(list_empty(&r->rows));
    FICUS_ASSERT(r->key_entry == NULL);
    FICUS_ASSERT(r->sse == NULL);
    if (request_state(r) != REQUEST_DONE)
        move(r, REQUEST_DONE);
    env_timer_stop(v->env, &r->deadline);
    list_remove(&r->link);
    v->request_count--;
    http_collect_done(&r->collect);
    request_free(r);
    service_check_end(v);
}

/* ---- accounting ---- */

static const char *method_text(const struct ficus_req *r)
{
    return r->route != NULL ? r->route->def->method : "?";
}

static const char *route_text(const struct ficus_req *r)
{
    return r->route != NULL ? r->route->def->path : "none";
}

static void account(struct ficus_req *r, int status)
{
    if (r->is_finished)
        return;
    r->is_finished = true;
    struct service *v = r->service;
    int64_t took_ns = env_now_ns(v->env) - r->begun_ns;
    char text[8];
    (void)snprintf(text, sizeof text, "%d", status);
    metric_inc(METRIC(v->metrics[METRIC_HTTP_REQUESTS], slice_str(route_text(r)), slice_str(text)));
    metric_observe(METRIC(v->metrics[METRIC_HTTP_DURATION], slice_str(route_text(r))), took_ns);
    LOG(&v->process.log, LOG_INFO, &r->log, "request.done", "request answered", LOG_STR("method", method_text(r)),
        LOG_STR("route", route_text(r)), LOG_INT("status", status), LOG_INT("ms", took_ns / 1000000),
        LOG_STR("caller", r->caller));
}

/* The exchange with the client is over: sent, or broken. */
static void exchange_over(struct ficus_req *r)
{
    r->stream = NULL;
    account(r, r->status_sent != 0 ? r->status_sent : 499);
    if (r->sse != NULL)
        sse_discard(r);
    request_unref(r);
}

void request_broken(struct ficus_req *r, enum ficus_err err)
{
    http_reset(r->stream, err);
    exchange_over(r);
}

static void on_done(void *arg, struct http_stream *s)
{
    struct ficus_req *r = arg;
    FICUS_ASSERT(r->stream == s);
    exchange_over(r);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct ficus_req *r = arg;
    FICUS_ASSERT(r->stream == s);
    switch (request_state(r)) {
    case REQUEST_WAITING:
        keys_leave_waiting(r);
        break;
    case REQUEST_QUEUED:
        dispatch_remove(r->service, r);
        keys_leave(r);
        request_unref(r); /* the queue's reference; the exchange's goes below */
        break;
    default:
        break;
    }
    exchange_over(r);
}

static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    /* The body is read by http_collect; what is left of a refused one is not asked for. */
}

static void on_writable(void *arg, struct http_stream *s)
{
    reply_more(arg);
}

const struct http_handler request_handler = {
    .on_data = on_data, .on_writable = on_writable, .on_done = on_done, .on_reset = on_reset};

/* ---- answers without the handler ---- */

/* From the stream's memory: the request's own may be the worker's at this moment. */
static void respond_problem(struct ficus_req *r, int status, const char *code, const char *detail,
                            const struct http_field *field)
{
    env_timer_stop(r->service->env, &r->deadline);
    if (r->stream == NULL)
        return;
    r->status_sent = status;
    struct buf body;
    buf_init(&body, 32 * 1024);
    http_problem_write(&body, status, code, detail, r->asked_path);
    enum ficus_err err = http_respond(r->stream, status, field, field != NULL ? 1 : 0, "application/problem+json",
                                      buf_slice(&body));
    buf_done(&body);
    if (err != FICUS_ERR_OK)
        request_broken(r, err);
}

void request_problem(struct ficus_req *r, int status, const char *code, const char *detail, bool retry_after)
{
    FICUS_ASSERT(request_state(r) == REQUEST_REPLYING || request_state(r) == REQUEST_ABANDONED);
    static const struct http_field field = {SLICE("retry-after"), SLICE("1")};
    respond_problem(r, status, code, detail, retry_after ? &field : NULL);
}

static void refuse(struct ficus_req *r, int status, const char *code, const char *detail)
{
    move(r, REQUEST_REPLYING);
    request_problem(r, status, code, detail, status == 503 || status == 409);
}

static void on_deadline(void *arg)
{
    struct ficus_req *r = arg;
    switch (request_state(r)) {
    case REQUEST_READING:
        refuse(r, 408, "timeout", "the body did not come before the request's deadline");
        return;
    case REQUEST_WAITING:
        keys_leave_waiting(r);
        refuse(r, keys_busy_status(r), "in_progress", "a request with this Idempotency-Key is still being worked on");
        return;
    case REQUEST_QUEUED:
        if (r->kind != REQUEST_HTTP)
            return;
        dispatch_remove(r->service, r);
        keys_leave(r);
        move(r, REQUEST_REPLYING);
        request_problem(r, 503, "busy", "no worker became free before the deadline; nothing was done", true);
        request_unref(r);
        return;
    default:
        if (request_move(r, REQUEST_RUNNING, REQUEST_ABANDONED) && r->kind == REQUEST_HTTP)
            request_problem(r, 504, "timeout", "the deadline passed before the request was done", false);
        return;
    }
}

static void arm(struct ficus_req *r, int64_t ms)
{
    r->deadline.fn = on_deadline;
    r->deadline.arg = r;
    env_timer_start(r->service->env, &r->deadline, ms < 0 ? 0 : ms);
}

static int64_t left_ms(const struct ficus_req *r)
{
    return (r->context.deadline_ns - env_now_ns(r->service->env) + 999999) / 1000000;
}

void request_arm_deadline(struct ficus_req *r)
{
    arm(r, left_ms(r));
}

void request_arm_waiting(struct ficus_req *r)
{
    /* Whoever asked gives up at the deadline too; the news that the first one still runs must be there before. */
    int64_t left = left_ms(r), early = left / 10 < WAITING_EARLY_MS ? left / 10 : WAITING_EARLY_MS;
    arm(r, left - early);
}

void request_abandon_all(struct service *v)
{
    LIST_FOREACH_SAFE (&v->requests, it, tmp) {
        struct ficus_req *r = CONTAINER_OF(it, struct ficus_req, link);
        if (request_state(r) == REQUEST_RUNNING)
            (void)request_move(r, REQUEST_RUNNING, REQUEST_ABANDONED);
    }
}

/* ---- the checks before any handler ---- */

static bool listed(const char *const *names, size_t count, struct slice name)
{
    if (count == 1 && strcmp(names[0], "*") == 0)
        return true;
    for (size_t i = 0; i < count; i++)
        if (slice_eq_str(name, names[i]))
            return true;
    return false;
}

/* Everything of the head that a handler may ask for outlives the exchange in the request's arena. */
static bool copy_head(struct ficus_req *r, const struct http_msg *m, const struct identity_claims *claims)
{
    struct arena *a = &r->arena;
    r->method = arena_slice(a, m->method);
    r->path = arena_slice(a, m->path);
    struct slice asked = http_msg_get(m, "ficus-path");
    r->asked_path = asked.p == NULL ? r->path : arena_slice(a, asked);
    r->query = m->query.p == NULL ? SLICE_NONE : arena_slice(a, m->query);
    r->caller = arena_strdup(a, claims->issuer);
    r->user = claims->subject.p == NULL ? NULL : arena_strdup(a, claims->subject);
    r->roles = ARENA_ARRAY(a, struct slice, claims->role_count + 1);
    r->fields = ARENA_ARRAY(a, struct http_field, m->field_count + 1);
    if (r->roles == NULL || r->fields == NULL || r->caller == NULL)
        return false;
    for (size_t i = 0; i < claims->role_count; i++)
        r->roles[r->role_count++] = arena_slice(a, claims->roles[i]);
    for (size_t i = 0; i < m->field_count; i++) {
        if (slice_eq_nocase(m->fields[i].name, SLICE(IDENTITY_HEADER)))
            continue;
        struct http_field *f = &r->fields[r->field_count++];
        f->name = arena_slice(a, m->fields[i].name);
        f->value = slice_make(arena_strdup(a, m->fields[i].value), m->fields[i].value.size);
    }
    return !arena_overflowed(a);
}

static bool has_role(const struct ficus_req *r, const char *role)
{
    for (size_t i = 0; i < r->role_count; i++)
        if (slice_eq_str(r->roles[i], role))
            return true;
    return false;
}

static bool find_route(struct ficus_req *r)
{
    struct slice allow = SLICE_NONE;
    bool by_gateway = strcmp(r->caller, "gateway") == 0;
    enum router_match match = router_find(r->service->router, r->method, r->path, &r->arena, &r->route, &r->params,
                                          &allow);
    if (match == ROUTER_FOUND && by_gateway && r->route->def->who == FICUS_SERVICES) {
        r->route = NULL;
        match = ROUTER_NOT_FOUND;
    }
    if (match == ROUTER_FOUND)
        return true;
    if (match == ROUTER_NOMEM) {
        refuse(r, 503, "out_of_memory", "out of memory");
    } else if (match == ROUTER_NOT_FOUND) {
        refuse(r, 404, "not_found", "there is nothing at this path");
    } else {
        struct http_field field = {SLICE("allow"), allow};
        move(r, REQUEST_REPLYING);
        respond_problem(r, 405, "method_not_allowed", "this path takes other methods, see Allow", &field);
    }
    return false;
}

static bool may_come(struct ficus_req *r)
{
    const struct ficus_route *def = r->route->def;
    bool by_gateway = strcmp(r->caller, "gateway") == 0;
    if (def->who == FICUS_USERS && r->user == NULL) {
        refuse(r, 401, "sign_in", "this needs a signed-in user");
        return false;
    }
    if (def->role != NULL && by_gateway && !has_role(r, def->role)) {
        refuse(r, r->user == NULL ? 401 : 403, r->user == NULL ? "sign_in" : "role",
               "this needs a user with another role");
        return false;
    }
    return true;
}

/* A parameter that cannot be decoded must not read as one that is absent: a broken cursor would begin anew. */
static bool query_valid(struct ficus_req *r)
{
    struct slice decoded;
    if (r->query.p == NULL || slice_find(r->query, '%') < 0)
        return true;
    if (text_percent_decode(&r->arena, r->query, true, &decoded) && memchr(decoded.p, '\0', decoded.size) == NULL &&
        text_utf8_valid(decoded))
        return true;
    refuse(r, 400, "query", "the query holds a broken escape, a NUL or something that is not UTF-8");
    return false;
}

static bool method_is_safe(struct slice m)
{
    return slice_eq(m, SLICE("GET")) || slice_eq(m, SLICE("HEAD"));
}

static bool read_key(struct ficus_req *r, const struct http_msg *m)
{
    if (method_is_safe(r->method))
        return true;
    size_t count = http_msg_count(m, "idempotency-key");
    struct slice key = http_msg_get(m, "idempotency-key");
    if (count == 0 && !r->route->def->keyed)
        return true;
    if (count != 1 || key.size == 0 || key.size > KEY_SIZE_MAX || !text_printable_ascii(key)) {
        refuse(r, 400, "idempotency_key", "this needs one header Idempotency-Key of 1 to 128 printable characters");
        return false;
    }
    if (r->service->db == NULL)
        return true;
    r->idempotency_key = arena_strdup(&r->arena, key);
    if (r->idempotency_key != NULL)
        return true;
    refuse(r, 503, "out_of_memory", "out of memory");
    return false;
}

static bool json_content(const struct http_msg *m)
{
    struct slice coding;
    for (size_t pos = 0; http_msg_next(m, "content-encoding", &pos, &coding);)
        if (!slice_eq_nocase(coding, SLICE("identity"))) /* RFC 9110 15.5.16 */
            return false;
    return http_msg_count(m, "content-type") == 1 && http_msg_is_type(m, "application/json");
}

static void on_body(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    struct ficus_req *r = arg;
    if (request_state(r) != REQUEST_READING)
        return;
    if (err != FICUS_ERR_OK) {
        bool large = err == FICUS_ERR_TOO_LARGE;
        refuse(r, large ? 413 : 503, large ? "too_large" : "out_of_memory",
               large ? "the body is over this service's limit" : "out of memory");
        return;
    }
    r->body = arena_strdup(&r->arena, body);
    r->body_size = body.size;
    http_collect_done(&r->collect);
    if (r->body == NULL)
        refuse(r, 503, "out_of_memory", "out of memory");
    else
        request_admit(r);
}

static size_t body_size_max(const struct service *v)
{
    size_t size = v->def->body_size_max == 0 ? BODY_SIZE_DEFAULT : v->def->body_size_max;
    return size > BODY_SIZE_MAX ? BODY_SIZE_MAX : size;
}

static void read_body(struct ficus_req *r, struct http_stream *s, bool end)
{
    const struct http_msg *m = s->head_in;
    size_t size_max = body_size_max(r->service);
    if (end || m->content_length == 0 || method_is_safe(r->method)) { /* RFC 9110 9.3.1: of a GET it means nothing */
        r->body = "";
        request_admit(r);
    } else if (!json_content(m)) {
        refuse(r, 415, "media_type", "a body must be application/json, without Content-Encoding");
    } else if (m->content_length > (int64_t)size_max) {
        refuse(r, 413, "too_large", "the body is over this service's limit");
    } else {
        r->collect.done = on_body;
        r->collect.arg = r;
        http_collect(s, &r->collect, size_max);
    }
}

static void on_quick_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail) {}

static void on_quick_done(void *arg, struct http_stream *s) {}

/* Of exchanges that are answered at once, before there is a request. */
static const struct http_handler quick_handler = {
    .on_data = on_data, .on_done = on_quick_done, .on_reset = on_quick_reset};

static bool accept_caller(struct service *v, struct http_stream *s, struct identity_claims *ret_claims)
{
    if (!process_identity(&v->process, s, ret_claims))
        return false;
    if (listed(v->config->callers, v->config->caller_count, ret_claims->issuer))
        return true;
    LOG(&v->process.log, LOG_WARN, NULL, "caller.refused", "a process that is not declared as a caller was refused",
        LOG_SLICE("caller", ret_claims->issuer), LOG_SLICE("path", s->head_in->path));
    (void)http_respond_problem(s, 403, "caller", "the manifest does not declare that you call this service");
    return false;
}

void request_on_head(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct service *v = arg;
    http_stream_handle(s, &quick_handler, NULL);
    if (slice_eq(s->head_in->path, SLICE("/metrics")))
        metrics_queue(v);
    if (process_answer(&v->process, s, v->state == SERVICE_READY))
        return;
    struct identity_claims claims = {0};
    const struct router_route *operators = NULL;
    bool by_operator = slice_starts(s->head_in->path, SLICE("/ficus/"));
    if (by_operator ? (operators = operator_answer(v, s, &claims)) == NULL : !accept_caller(v, s, &claims))
        return;
    struct ficus_req *r = request_new(v, REQUEST_HTTP);
    if (r == NULL || !copy_head(r, s->head_in, &claims) ||
        process_context_read(&v->process, s->head_in, REQUEST_TIMEOUT_MS_MAX, &r->arena, &r->context) != FICUS_ERR_OK) {
        (void)http_respond_problem(s, 503, "out_of_memory", "out of memory");
        if (r != NULL)
            request_unref(r);
        return;
    }
    r->log = (struct log_context){.trace = r->context.trace, .correlation = r->context.correlation};
    uint8_t random[8];
    env_random(v->env, random, sizeof random);
    trace_child(&r->context.trace, random, &r->log.trace);
    r->stream = s;
    r->is_back = strcmp(r->caller, "hub") == 0;
    http_stream_handle(s, &request_handler, r);
    request_ref(r);
    request_arm_deadline(r);
    r->route = operators;
    if ((by_operator || (find_route(r) && may_come(r))) && query_valid(r) && read_key(r, s->head_in)) {
        r->handler = r->route->def->handler;
        read_body(r, s, end);
    }
    request_unref(r);
}

/* ---- on to the handler, and back ---- */

static void enqueue(struct ficus_req *r)
{
    if (dispatch_push(r->service, r))
        return;
    keys_leave(r);
    refuse(r, 503, "busy", "all workers are busy and the queue is full");
}

void request_admit(struct ficus_req *r)
{
    if (r->idempotency_key != NULL && r->key_entry == NULL && !keys_enter(r))
        return;
    enqueue(r);
}

void request_settled(struct ficus_req *r)
{
    keys_leave(r);
    enum request_state state = request_state(r);
    if (r->kind == REQUEST_EVENT) {
        feed_settled(r);
    } else if (r->kind == REQUEST_START) {
        service_start_settled(r);
    } else if (state != REQUEST_ABANDONED) {
        move(r, REQUEST_REPLYING);
        env_timer_stop(r->service->env, &r->deadline);
        reply_send(r);
    } else if (r->sse != NULL) {
        sse_discard(r);
    }
}
