/* SPDX-License-Identifier: Apache-2.0
 *
 * One call's life: attempts, each with a place at the breaker, a connection and a stream; repetition by the verdicts
 * of call_core; the body both ways; one deadline over all of it. Failure modes are the point of it: whatever breaks,
 * exactly one last callback comes, the breaker's admission is given back exactly once, and the connection is either
 * returned clean or closed.
 */
#include "assert.h"
#include "call_private.h"
#include "mem.h"
#include "text.h"

/* ---- states ---- */

#define TO(state) (1U << CALL_##state)
static const unsigned call_next[CALL_STATES] = {
    [CALL_QUEUED] = TO(PAUSED) | TO(ENDED),
    [CALL_STARTING] = TO(QUEUED) | TO(WAITING) | TO(RUNNING) | TO(FAULTY) | TO(FAILING) | TO(ENDED),
    [CALL_WAITING] = TO(STARTING) | TO(RUNNING) | TO(PAUSED) | TO(FAILING) | TO(ENDED),
    [CALL_RUNNING] = TO(STARTING) | TO(RUNNING) | TO(PAUSED) | TO(FAILING) | TO(ENDED),
    [CALL_PAUSED] = TO(STARTING) | TO(ENDED),
    [CALL_FAULTY] = TO(STARTING) | TO(RUNNING) | TO(PAUSED) | TO(FAILING) | TO(ENDED),
    [CALL_FAILING] = TO(ENDED),
    [CALL_ENDED] = 0,
};
#undef TO

void call_check(const struct call *c)
{
    bool armed = c->state == CALL_QUEUED || c->state == CALL_PAUSED || c->state == CALL_FAULTY ||
                 c->state == CALL_FAILING;
    FICUS_ASSERT(c->state == CALL_ENDED || (c->state == CALL_RUNNING) == (c->stream != NULL));
    FICUS_ASSERT(c->state == CALL_WAITING || (c->waiter.conn == NULL && !c->waiter.queued));
    FICUS_ASSERT(!c->admitted || c->state == CALL_WAITING || c->state == CALL_RUNNING || c->state == CALL_STARTING ||
                 c->state == CALL_FAULTY);
    FICUS_ASSERT(armed == env_timer_armed(&c->pause));
    FICUS_ASSERT(c->hedge == NULL || c->state == CALL_WAITING || c->state == CALL_RUNNING || c->state == CALL_FAULTY);
}

void call_move(struct call *c, enum call_state next)
{
    FICUS_ASSERT((call_next[c->state] & (1U << next)) != 0);
    c->state = next;
}

int64_t call_now_ns(const struct call *c)
{
    return env_now_ns(c->engine->env);
}

static int64_t call_left_ms(const struct call *c)
{
    return (c->deadline_ns - call_now_ns(c)) / 1000000;
}

/* ---- the end ---- */

static enum call_end end_of(enum ficus_err err, int status)
{
    switch (err) {
    case FICUS_ERR_OK:
        return status >= 500 ? CALL_END_FAILED : CALL_END_OK;
    case FICUS_ERR_TIMEOUT:
        return CALL_END_TIMEOUT;
    case FICUS_ERR_REFUSED:
        return CALL_END_REFUSED;
    case FICUS_ERR_RESET:
        return CALL_END_RESET;
    case FICUS_ERR_UNAVAILABLE:
        return CALL_END_UNAVAILABLE;
    case FICUS_ERR_BUSY:
        return CALL_END_BUSY;
    case FICUS_ERR_PROTOCOL:
        return CALL_END_PROTOCOL;
    case FICUS_ERR_CANCELLED:
        return CALL_END_CANCELLED;
    default:
        return CALL_END_OTHER;
    }
}

void call_attempt_note(struct call *c, enum call_outcome outcome)
{
    struct call_edge *edge = c->edge;
    if (!c->admitted)
        return;
    c->admitted = false;
    int64_t now_ns = call_now_ns(c), ran_ns = now_ns - c->attempt_started_ns, ran_ms = ran_ns / 1000000;
    int64_t timeout_ms = edge->policy.timeout_ms;
    call_edge_note(edge, c->probe, call_health_of(outcome, ran_ms, timeout_ms));
    if (outcome == CALL_OUTCOME_LOCAL)
        return;
    pool_note(&edge->pool, &c->waiter, call_sign_of(outcome, ran_ms, timeout_ms), ran_ns, now_ns);
    if (edge->bulkhead != NULL)
        call_bulkhead_note(edge, ran_ns, outcome != CALL_OUTCOME_ANSWER, now_ns);
    if (edge->latency != NULL && outcome == CALL_OUTCOME_ANSWER)
        call_latency_note(edge->latency, ran_ns);
}

/* Nothing fires for this call any more; the stream, if there is one, still has to be reset by the caller. */
static void call_finish(struct call *c, enum ficus_err err)
{
    FICUS_ASSERT(c->state != CALL_ENDED);
    env_timer_stop(c->engine->env, &c->deadline);
    env_timer_stop(c->engine->env, &c->pause);
    call_hedge_drop(c);
    (void)pool_leave(&c->edge->pool, &c->waiter);
    call_attempt_note(c, CALL_OUTCOME_LOCAL);
    pool_release(&c->edge->pool, &c->waiter);
    call_bulkhead_leave(c);
    list_remove(&c->link);
    call_edge_count(c->edge, end_of(err, c->status), call_now_ns(c) - c->started_ns);
    call_move(c, CALL_ENDED);
}

static void call_free_when_unused(struct call *c)
{
    if (c->state != CALL_ENDED || c->depth > 0)
        return;
    call_fault_free(c);
    struct call_engine *g = c->engine;
    if (g->spare_count + 1 > CALL_SPARE_MAX || g->closing) {
        mem_free(c);
        return;
    }
    list_add_head(&g->spare, &c->link);
    g->spare_count++;
}

/* Zeroed; NULL: out of memory. */
static struct call *call_alloc(struct call_engine *g)
{
    struct list *link = list_pop_head(&g->spare);
    if (link == NULL)
        return mem_zalloc(sizeof(struct call));
    g->spare_count--;
    return memset(CONTAINER_OF(link, struct call, link), 0, sizeof(struct call));
}

/* Callbacks of the user run between these two. False: the user ended the call meanwhile; c may be gone. */
static void call_enter(struct call *c)
{
    c->depth++;
}

static bool call_leave(struct call *c)
{
    bool alive = c->state != CALL_ENDED;
    FICUS_ASSERT(c->depth > 0);
    c->depth--;
    call_free_when_unused(c);
    return alive;
}

/* The stream outlives the last callback, because the answer's head lives in it. */
static void stream_reset(struct call *c, enum ficus_err why)
{
    struct http_stream *s = c->stream;
    c->stream = NULL;
    c->conn = NULL;
    if (s != NULL)
        http_reset(s, why);
}

static void call_succeed(struct call *c)
{
    call_finish(c, FICUS_ERR_OK);
    call_enter(c);
    c->handler.on_done(c->arg, c);
    /* The callee answered before it had the whole request: HTTP/1.1 cannot go on with this connection. */
    stream_reset(c, FICUS_ERR_CANCELLED);
    (void)call_leave(c);
}

void call_fail(struct call *c, enum ficus_err err, const char *detail)
{
    bool maybe = c->maybe_processed;
    call_finish(c, err);
    call_enter(c);
    c->handler.on_error(c->arg, c, err, maybe, detail);
    stream_reset(c, err);
    (void)call_leave(c);
}

void call_fail_later(struct call *c, enum ficus_err err, const char *detail)
{
    call_hedge_drop(c);
    call_attempt_note(c, CALL_OUTCOME_LOCAL);
    c->fail_err = err;
    c->fail_detail = detail;
    call_move(c, CALL_FAILING);
    env_timer_start(c->engine->env, &c->pause, 0);
    call_check(c);
}

void call_note_progress(struct call *c)
{
    struct http_progress progress = {0};
    if (c->stream != NULL)
        http_stream_progress(c->stream, &progress);
    c->maybe_processed = c->maybe_processed || progress.request_sent || call_hedge_sent(c);
}

void call_end_cancelled(struct call *c, const char *detail)
{
    call_note_progress(c);
    call_fail(c, FICUS_ERR_CANCELLED, detail);
}

void call_cancel(struct call *c)
{
    if (c->state == CALL_ENDED)
        return;
    call_finish(c, FICUS_ERR_CANCELLED);
    stream_reset(c, FICUS_ERR_CANCELLED);
    call_free_when_unused(c);
}

/* ---- an attempt's request ---- */

enum { OWN_FIELDS_MAX = 6 };

static bool own_field(const struct call *c, struct slice name)
{
    static const struct slice names[] = {
        {"ficus-identity", 14}, {"ficus-timeout-ms", 16}, {"ficus-attempt", 13}, {"traceparent", 11}, {"tracestate", 10}};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (slice_eq_nocase(name, names[i]))
            return true;
    return c->r.correlation.p != NULL && slice_eq_nocase(name, SLICE("x-request-id"));
}

/* A field that we write ourselves. */
static bool keep(struct http_msg *m, enum http_name id, struct slice value)
{
    return http_msg_keep(m, (struct http_field){http_names[id], value, id});
}

/* "name: number" CR LF at at; returns its end. */
static char *number_line(char *at, enum http_name id, int64_t number, struct http_field *ret_field)
{
    char *value = slice_put(slice_put(at, http_names[id]), SLICE(": "));
    size_t size = text_i64(number, value);
    *ret_field = http_line(id, at, http_names[id].size, size);
    return slice_put(value + size, SLICE("\r\n"));
}

/* Time left, attempt and trace: lines one behind the other, so that they are written in one piece. */
static bool add_lines(struct call *c, struct http_msg *m, char line[CALL_LINES_SIZE])
{
    struct http_field timeout, attempt;
    int64_t left_ms = call_left_ms(c);
    line = number_line(line, HTTP_FICUS_TIMEOUT_MS, left_ms < 1 ? 1 : left_ms, &timeout);
    line = number_line(line, HTTP_FICUS_ATTEMPT, c->attempt_number, &attempt);
    struct trace_context span;
    uint8_t random[8];
    env_random(c->engine->env, random, sizeof random);
    trace_child(&c->trace, random, &span);
    trace_line(&span, line);
    return http_msg_keep(m, timeout) && http_msg_keep(m, attempt) &&
           http_msg_keep(m, http_line(HTTP_TRACEPARENT, line, http_names[HTTP_TRACEPARENT].size, TRACE_PARENT_TEXT_SIZE - 1)) &&
           (c->r.tracestate.size == 0 || !trace_present(c->r.trace) || http_msg_add(m, SLICE("tracestate"), c->r.tracestate));
}

/* Of no user, from the edge, where it is kept as long as one would be remembered. */
static enum ficus_err add_identity_of_nobody(struct call_edge *edge, const struct identity_claims *claims, struct http_msg *m,
                                             struct arena *a)
{
    struct call_engine *g = edge->engine;
    struct slice name = http_names[HTTP_FICUS_IDENTITY];
    int64_t wall_ms = env_wall_ms(g->env), age_ms = wall_ms - edge->identity_ms;
    if (edge->identity == NULL || age_ms < 0 || age_ms >= IDENTITY_MEMO_REUSE_MS) {
        struct slice token;
        enum ficus_err err = identity_make(g->key, a, claims, wall_ms, &token, NULL);
        if (err != FICUS_ERR_OK)
            return err;
        call_edge_identity_forget(edge);
        edge->identity_size = name.size + 2 + token.size + 2;
        edge->identity = mem_alloc(edge->identity_size);
        if (edge->identity == NULL)
            return FICUS_ERR_NOMEM;
        edge->identity_ms = wall_ms;
        (void)slice_put(slice_put(slice_put(slice_put(edge->identity, name), SLICE(": ")), token), SLICE("\r\n"));
    }
    struct http_field field = http_line(HTTP_FICUS_IDENTITY, edge->identity, name.size, edge->identity_size - name.size - 4);
    return http_msg_keep(m, field) ? FICUS_ERR_OK : FICUS_ERR_NOMEM;
}

static enum ficus_err add_identity(struct call *c, struct http_msg *m, struct arena *a)
{
    struct call_engine *g = c->engine;
    struct identity_claims claims = {
        .issuer = slice_str(g->self),
        .audience = slice_make(c->edge->name, c->edge->name_size),
        .subject = c->r.user,
        .roles = c->r.roles,
        .role_count = c->r.role_count,
    };
    if (c->r.user.p == NULL && c->r.role_count == 0)
        return add_identity_of_nobody(c->edge, &claims, m, a);
    struct slice token;
    enum ficus_err err = identity_memo_make(&g->identities, g->key, a, &claims, env_wall_ms(g->env), &token, NULL);
    if (err == FICUS_ERR_OK && !keep(m, HTTP_FICUS_IDENTITY, token))
        err = arena_overflowed(a) ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
    return err;
}

static enum ficus_err add_own_fields(struct call *c, struct http_msg *m, struct arena *a, char lines[CALL_LINES_SIZE])
{
    enum ficus_err err = c->edge->policy.upstream == NULL ? add_identity(c, m, a) : FICUS_ERR_OK;
    if (err != FICUS_ERR_OK)
        return err;
    bool fine = add_lines(c, m, lines) &&
                (c->r.correlation.p == NULL || ((c->r.judged || http_value_valid(c->r.correlation)) &&
                                                keep(m, HTTP_X_REQUEST_ID, c->r.correlation)));
    return fine ? FICUS_ERR_OK : arena_overflowed(a) ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
}

enum ficus_err call_attempt_head(struct call *c, struct http_msg *m, struct arena *a, struct call_head_room *room)
{
    http_msg_init(m, a);
    m->method = c->r.method;
    m->authority = c->edge->authority;
    m->judged = c->r.judged && c->edge->authority_valid;
    ptrdiff_t mark = slice_find(c->r.path, '?');
    m->path = mark < 0 ? c->r.path : slice_make(c->r.path.p, (size_t)mark);
    m->query = mark < 0 ? SLICE_NONE : slice_from(c->r.path, (size_t)mark + 1);
    m->content_length = call_streamed(c) ? c->r.body_stream_size : (int64_t)c->r.body.size;
    m->protocol = c->r.protocol;
    m->takes_trailers = c->r.takes_trailers;
    size_t capacity = c->r.field_count + OWN_FIELDS_MAX;
    m->fields = capacity <= CALL_FIELDS_NEAR ? room->fields : arena_alloc(a, capacity * sizeof *m->fields);
    if (m->fields == NULL)
        return FICUS_ERR_NOMEM;
    m->field_capacity = capacity;
    if (c->r.judged) {
        memcpy(m->fields, c->r.fields, c->r.field_count * sizeof *m->fields);
        m->field_count = c->r.field_count;
        return add_own_fields(c, m, a, room->lines);
    }
    for (size_t i = 0; i < c->r.field_count; i++) {
        const struct http_field *f = &c->r.fields[i];
        if (!own_field(c, f->name) && !http_msg_add(m, f->name, f->value))
            return FICUS_ERR_INVALID;
    }
    return add_own_fields(c, m, a, room->lines);
}

/* Give the codec as much of r.body as it takes; on_writable brings us back. */
static void push_body(struct call *c)
{
    size_t left = c->r.body.size - c->body_sent;
    size_t taken = http_send(c->stream, c->r.body.p + c->body_sent, left, true);
    c->body_sent += taken;
    c->request_done = taken == left;
}

static void stream_on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end);
static void stream_on_interim(void *arg, struct http_stream *s, struct http_msg *m);
static void stream_on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count);
static void stream_on_data(void *arg, struct http_stream *s, struct slice data, bool end);
static void stream_on_writable(void *arg, struct http_stream *s);
static void stream_on_done(void *arg, struct http_stream *s);
static void stream_on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail);

const struct http_handler call_stream_handler = {
    .on_head = stream_on_head,
    .on_interim = stream_on_interim,
    .on_data = stream_on_data,
    .on_trailers = stream_on_trailers,
    .on_writable = stream_on_writable,
    .on_done = stream_on_done,
    .on_reset = stream_on_reset,
};

/* On a connection: open a stream and send. RESET: the connection was dead already, nothing happened. Any other error
 * is the call's. */
static enum ficus_err attempt_send(struct call *c, struct pool_conn *conn)
{
    struct http_stream *s;
    enum ficus_err err = http_client_open(conn->http, &call_stream_handler, c, &s);
    if (err != FICUS_ERR_OK) {
        pool_discard(conn);
        return err == FICUS_ERR_NOMEM ? err : FICUS_ERR_RESET;
    }
    c->stream = s;
    c->conn = conn;
    c->body_sent = 0;
    c->request_done = c->answer_done = false;
    call_move(c, CALL_RUNNING);
    struct http_msg m;
    __attribute__((uninitialized)) struct call_head_room room; /* read as far as it was written */
    err = call_attempt_head(c, &m, s->arena, &room);
    if (err == FICUS_ERR_OK) {
        bool none = !call_streamed(c) && c->r.body.size == 0;
        err = http_send_head(s, &m, none);
        c->request_done = none;
    }
    if (err != FICUS_ERR_OK) {
        stream_reset(c, FICUS_ERR_CANCELLED);
        FICUS_ASSERT(err != FICUS_ERR_RESET);       /* a stream that was just opened cannot be over */
        return err == FICUS_ERR_TOO_LARGE ? FICUS_ERR_INVALID : err;
    }
    if (!call_streamed(c) && !c->request_done)
        push_body(c);
    else if (call_streamed(c) && c->end_wanted)
        (void)call_send(c, NULL, 0, true);
    call_check(c);
    return FICUS_ERR_OK;
}

/* ---- attempts ---- */

static void attempt_run(struct call *c, struct pool_conn *conn);

static const char *local_text(const struct call_edge *edge, enum ficus_err err)
{
    const char *lookup = call_names_failure(edge);
    return err == FICUS_ERR_UNAVAILABLE ? (lookup != NULL ? lookup : "no address is known")
           : err == FICUS_ERR_BUSY      ? "too many calls wait"
           : err == FICUS_ERR_NOMEM     ? "no memory or descriptors are left for a connection"
                                        : err_text(err);
}

static void attempt_take(struct call *c)
{
    struct pool_conn *conn;
    enum ficus_err err = pool_take(&c->edge->pool, &c->waiter, &conn);
    if (err != FICUS_ERR_OK) {
        call_fail_later(c, err, local_text(c->edge, err));
    } else if (conn == NULL) {
        call_move(c, CALL_WAITING);
        call_check(c);
    } else {
        attempt_run(c, conn);
    }
}

/* From STARTING, with a connection. */
static void attempt_run(struct call *c, struct pool_conn *conn)
{
    enum ficus_err err = attempt_send(c, conn);
    if (err == FICUS_ERR_OK)
        return;
    if (err == FICUS_ERR_RESET)
        attempt_take(c);        /* ends: each round closes a connection of the pool, then a new one is made */
    else
        call_fail_later(c, err, err == FICUS_ERR_UNSUPPORTED
                                    ? "the service takes no WebSockets over HTTP/2 (SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441)"
                                    : "the request cannot be written");
}

static void attempt_start(struct call *c)
{
    enum call_admission admission = call_edge_admit(c->edge);
    if (admission == CALL_ADMIT_NO) {
        call_fail_later(c, FICUS_ERR_UNAVAILABLE, "the circuit breaker is open");
        return;
    }
    c->admitted = true;
    c->probe = admission == CALL_ADMIT_PROBE;
    c->attempt_number++;
    c->attempts_counted++;
    c->attempt_started_ns = call_now_ns(c);
    metric_inc(c->edge->attempts);
    if (c->edge->policy.hedge != NULL)
        call_hedge_arm(c);
    if (c->edge->policy.fault == NULL || !call_fault_strike(c))
        attempt_take(c);
}

/* The user's send came too early; there is a stream now. */
static void tell_writable(struct call *c)
{
    if (c->state != CALL_RUNNING || !c->send_blocked || c->handler.on_writable == NULL)
        return;
    c->send_blocked = false;
    call_enter(c);
    c->handler.on_writable(c->arg, c);
    (void)call_leave(c);
}

static void pool_on_ready(struct pool_waiter *w, struct pool_conn *conn)
{
    struct call *c = CONTAINER_OF(w, struct call, waiter);
    call_move(c, CALL_STARTING);
    attempt_run(c, conn);
    tell_writable(c);
}

void call_attempt_go(struct call *c)
{
    call_move(c, CALL_STARTING);
    attempt_take(c);
    tell_writable(c);
}

static void on_pause(void *arg)
{
    struct call *c = arg;
    switch (c->state) {
    case CALL_FAILING:
        call_fail(c, c->fail_err, c->fail_detail);
        break;
    case CALL_QUEUED:
        call_fail(c, FICUS_ERR_BUSY, "no place became free in time");
        break;
    case CALL_FAULTY:
        call_fault_due(c);
        break;
    default:
        call_move(c, CALL_STARTING);
        attempt_start(c);
        tell_writable(c);
    }
}

/* How long to wait before the repetition that the rules allow; -1: there is no time, no budget, or the breaker
 * refuses. */
static int64_t repeat_pause_ms(struct call *c, enum call_outcome outcome, int64_t retry_after_ms)
{
    int64_t now_ns = call_now_ns(c), pause_ms = retry_after_ms;
    if (outcome != CALL_OUTCOME_REFUSED || !pool_has_another(&c->edge->pool, &c->waiter, now_ns)) {
        const struct call_policy_retry *retry = &c->edge->policy.retry;
        int64_t backoff_ms = call_backoff_ms(retry->base_ms, retry->max_ms, c->failures,
                                             env_random_u64(c->engine->env));
        pause_ms = backoff_ms > pause_ms ? backoff_ms : pause_ms;
    }
    bool lets = call_edge_lets(c->edge, now_ns + pause_ms * 1000000);
    bool again = pause_ms < call_left_ms(c) && lets && call_edge_repeat(c->edge);
    return again ? pause_ms : -1;
}

bool call_attempt_over(struct call *c, enum call_outcome outcome, const struct http_progress *progress,
                       int64_t retry_after_ms)
{
    struct call_try t = {
        .outcome = outcome,
        .progress = *progress,
        .idempotent = http_method_idempotent(c->r.method),
        .key_kept = c->r.keyed && c->edge->policy.keeps_keys,
        .body_again = !call_streamed(c) || !c->body_taken,
        .fresh_used = c->fresh_used,
        .unprocessed = c->unprocessed,
        .attempts = c->attempts_counted,
        .attempts_max = c->edge->policy.retry.attempts,
        .left_ms = call_left_ms(c),
    };
    enum call_verdict verdict = c->engine->closing ? CALL_GIVE_UP : call_verdict_of(&t);
    c->maybe_processed = c->maybe_processed || call_maybe_processed(outcome, progress);
    /* A kept connection that had died, or was at its end, says nothing about the callee; refusing again and again does. */
    bool free_once = verdict == CALL_REPEAT_FRESH || (verdict == CALL_REPEAT_UNPROCESSED && c->unprocessed == 0);
    call_attempt_note(c, free_once ? CALL_OUTCOME_LOCAL : outcome);
    pool_release(&c->edge->pool, &c->waiter);
    c->failures++;
    if (call_hedge_succeed(c))
        return true;
    call_hedge_drop(c);
    c->waiter.fresh = verdict == CALL_REPEAT_FRESH;
    c->waiter.avoid = free_once ? NULL : c->waiter.last;
    int64_t pause_ms = 0;
    if (free_once) {
        c->fresh_used = c->fresh_used || verdict == CALL_REPEAT_FRESH;
        c->unprocessed += verdict == CALL_REPEAT_UNPROCESSED;
        c->attempts_counted--;
    } else if (verdict == CALL_GIVE_UP || (pause_ms = repeat_pause_ms(c, outcome, retry_after_ms)) < 0) {
        return false;
    } else if (verdict == CALL_REPEAT_UNPROCESSED) {
        c->unprocessed++;
        c->attempts_counted--;
    }
    c->stream = NULL;
    c->conn = NULL;
    call_move(c, CALL_PAUSED);
    env_timer_start(c->engine->env, &c->pause, pause_ms);
    call_check(c);
    return true;
}

static void pool_on_failed(struct pool_waiter *w, enum ficus_err err)
{
    struct call *c = CONTAINER_OF(w, struct call, waiter);
    static const struct http_progress none;
    enum call_outcome outcome = call_outcome_of_connect(err);
    bool local = outcome == CALL_OUTCOME_LOCAL;
    if (!call_attempt_over(c, outcome, &none, 0))
        call_fail_later(c, local ? err : FICUS_ERR_REFUSED, local ? local_text(c->edge, err) : pool_failure(&c->edge->pool));
}

/* ---- the stream ---- */

/* A failure answer that the rules allow to repeat. True: it was taken away and the next attempt follows. */
static bool answer_dropped(struct call *c, enum call_outcome outcome, struct http_msg *m, bool end)
{
    struct http_progress progress;
    struct http_stream *s = c->stream;
    struct pool_conn *conn = c->conn;
    bool request_done = c->request_done;
    http_stream_progress(s, &progress);
    if (!call_attempt_over(c, outcome, &progress, call_retry_after_ms(http_msg_get(m, "retry-after"))))
        return false;
    if (request_done)
        pool_drain(conn, s, end);
    else
        http_reset(s, FICUS_ERR_CANCELLED);
    return true;
}

static void answer_complete(struct call *c)
{
    c->answer_done = true;
    if (!c->request_done && !c->tunnel)
        call_succeed(c);
}

/* RFC 9110 15.2: what was not asked for is passed on. A 100 is nobody's: no request of ours waits for one. */
static void stream_on_interim(void *arg, struct http_stream *s, struct http_msg *m)
{
    struct call *c = arg;
    if (c->handler.on_interim == NULL || m->status == 100)
        return;
    call_enter(c);
    c->handler.on_interim(c->arg, c, m);
    (void)call_leave(c);
}

static void stream_on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct call *c = arg;
    if (c->handler.on_trailers == NULL)
        return;
    call_enter(c);
    c->handler.on_trailers(c->arg, c, fields, field_count);
    (void)call_leave(c);
}

static void stream_on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct call *c = arg;
    enum call_outcome outcome = call_outcome_of_status(m->status);
    if (outcome != CALL_OUTCOME_ANSWER && answer_dropped(c, outcome, m, end))
        return;
    call_hedge_drop(c);
    call_attempt_note(c, outcome);
    call_give_head(c, m, end);
}

void call_give_head(struct call *c, struct http_msg *m, bool end)
{
    c->head_given = true;
    c->maybe_processed = true;
    c->status = m->status;
    c->tunnel = m->status == 101;
    c->request_done = c->request_done && !c->tunnel; /* the user's side begins */
    call_enter(c);
    c->handler.on_head(c->arg, c, m, end);
    if (call_leave(c) && end)
        answer_complete(c);
}

static void stream_on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct call *c = arg;
    c->listening = false;
    call_enter(c);
    c->handler.on_data(c->arg, c, data, end);
    if (call_leave(c) && end)
        answer_complete(c);
}

static void stream_on_writable(void *arg, struct http_stream *s)
{
    struct call *c = arg;
    if (!call_streamed(c)) {
        if (!c->request_done)
            push_body(c);
    } else if (c->handler.on_writable != NULL) {
        call_enter(c);
        c->handler.on_writable(c->arg, c);
        (void)call_leave(c);
    }
}

static void stream_on_done(void *arg, struct http_stream *s)
{
    struct call *c = arg;
    FICUS_ASSERT(c->answer_done);
    call_finish(c, FICUS_ERR_OK);
    c->stream = NULL;
    c->conn = NULL;
    call_enter(c);
    c->handler.on_done(c->arg, c);
    (void)call_leave(c);
}

/* What the user hears of a broken stream. */
static enum ficus_err reset_err(enum ficus_err err)
{
    switch (err) {
    case FICUS_ERR_TIMEOUT:
    case FICUS_ERR_NOMEM:
    case FICUS_ERR_INVALID:
    case FICUS_ERR_PROTOCOL:
    case FICUS_ERR_UNSUPPORTED:
        return err;
    case FICUS_ERR_PARSE:
    case FICUS_ERR_TOO_LARGE:
        return FICUS_ERR_PROTOCOL;
    default:
        return FICUS_ERR_RESET;
    }
}

static void stream_on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct call *c = arg;
    struct http_progress progress;
    http_stream_progress(s, &progress);
    c->stream = NULL;
    c->conn = NULL;
    if (c->answer_done) {
        /* Only the rest of our request was lost; the answer is whole. */
        call_succeed(c);
        return;
    }
    if (!c->head_given && call_attempt_over(c, call_outcome_of_reset(err), &progress, 0))
        return;
    call_fail(c, reset_err(err), detail);
}

/* ---- the deadline ---- */

/* Whether an answer without end may go on. The timer is not set anew with each byte: it looks back when it fires. */
static bool endless_goes_on(struct call *c)
{
    bool waits = c->listening || c->answer_done; /* of a tunnel one side may go on */
    int64_t left_ns = waits ? c->heard_ns + c->idle_ns - call_now_ns(c) : c->idle_ns;
    if (left_ns > 0)
        env_timer_start(c->engine->env, &c->deadline, (left_ns + 999999) / 1000000);
    return left_ns > 0;
}

static void on_deadline(void *arg)
{
    struct call *c = arg;
    if (c->state == CALL_FAILING) {
        call_fail(c, c->fail_err, c->fail_detail);
        return;
    }
    if (c->idle_ns > 0) {
        if (!endless_goes_on(c))
            call_fail(c, FICUS_ERR_TIMEOUT, "an answer without end fell silent");
        return;
    }
    call_note_progress(c);
    /* Waiting in the queue for a place says nothing; waiting for a connection or an answer does. */
    bool queued = c->state == CALL_WAITING && c->waiter.queued;
    call_attempt_note(c, queued ? CALL_OUTCOME_LOCAL : CALL_OUTCOME_TIMEOUT);
    call_fail(c, FICUS_ERR_TIMEOUT,
              c->state == CALL_QUEUED ? "the deadline passed while waiting for a place"
              : queued                ? "the deadline passed while waiting for a connection"
                                      : "the deadline passed");
}

/* ---- the user's side ---- */

static bool request_valid(const struct call_request *r)
{
    return r->judged || (http_token_valid(r->method) && r->path.size > 0 && (r->path.p[0] == '/' || slice_eq_str(r->path, "*")));
}

/* What ring_hash goes by: the user, else the field that the policy names. */
static void waiter_key(struct pool_waiter *w, const struct call_request *r, const char *header)
{
    struct slice key = r->user;
    for (size_t i = 0; i < r->field_count && key.size == 0 && header != NULL; i++)
        if (slice_eq_nocase(r->fields[i].name, slice_str(header)))
            key = r->fields[i].value;
    w->keyed = key.size > 0;
    w->key = w->keyed ? call_hash(key) : 0;
}

enum ficus_err call_start(struct call_engine *g, const struct call_request *r, const struct call_handler *h, void *arg,
                          struct call **ret_call)
{
    struct call_edge *edge = call_edge_find(g, r->callee);
    if (g->closing)
        return FICUS_ERR_CANCELLED;
    if (edge == NULL || !edge->declared || !request_valid(r))
        return FICUS_ERR_INVALID;
    struct call *c = call_alloc(g);
    if (c == NULL)
        return FICUS_ERR_NOMEM;
    c->engine = g;
    c->edge = edge;
    c->r = *r;
    c->handler = *h;
    c->arg = arg;
    c->started_ns = env_now_ns(g->env);
    c->attempt_started_ns = c->started_ns;
    c->state = CALL_STARTING;
    c->waiter = (struct pool_waiter){.on_ready = pool_on_ready, .on_failed = pool_on_failed};
    if (edge->policy.balance == CALL_BALANCE_RING_HASH)
        waiter_key(&c->waiter, r, edge->policy.hash_header);
    c->pause = (struct env_timer){.fn = on_pause, .arg = c};
    c->deadline = (struct env_timer){.fn = on_deadline, .arg = c};
    if (trace_present(r->trace)) {
        c->trace = *r->trace;
    } else {
        uint8_t random[24];
        env_random(g->env, random, sizeof random);
        trace_root(random, true, &c->trace);
    }
    list_add_tail(&g->calls, &c->link);
    c->deadline_ns = c->started_ns + (r->timeout_ms > 0 ? r->timeout_ms : edge->policy.timeout_ms) * 1000000;
    if (r->deadline_ns > 0 && r->deadline_ns < c->deadline_ns)
        c->deadline_ns = r->deadline_ns;
    int64_t left_ns = c->deadline_ns - c->started_ns;
    *ret_call = c;
    if (left_ns <= 0) {
        call_fail_later(c, FICUS_ERR_TIMEOUT, "the deadline had passed before the call");
        return FICUS_ERR_OK;
    }
    env_timer_start(g->env, &c->deadline, (left_ns + 999999) / 1000000);
    call_edge_request(edge);
    if (edge->checker != NULL)
        call_checker_poke(edge->checker);
    if (edge->bulkhead == NULL || call_bulkhead_enter(c))
        attempt_start(c);
    return FICUS_ERR_OK;
}

size_t call_send(struct call *c, const void *p, size_t size, bool end)
{
    FICUS_ASSERT(call_streamed(c));
    if (c->state == CALL_ENDED || c->state == CALL_FAILING || c->request_done)
        return size;    /* it is over; the callback that says so is on its way */
    if (c->state != CALL_RUNNING) {
        c->send_blocked = size > 0;
        c->end_wanted = c->end_wanted || (size == 0 && end);
        return 0;
    }
    if (end && c->trailer_count > 0) {
        enum ficus_err err = http_send_trailers(c->stream, c->trailers, c->trailer_count);
        c->trailer_count = 0;
        if (err != FICUS_ERR_OK) {
            stream_reset(c, FICUS_ERR_CANCELLED);
            call_fail_later(c, err, "the trailers cannot be written");
            return size;
        }
    }
    size_t taken = http_send(c->stream, p, size, end);
    c->body_taken = c->body_taken || taken > 0;
    if (c->idle_ns > 0 && taken > 0)
        c->heard_ns = call_now_ns(c);
    /* Behind http_send the stream may be gone; c is not: its last callback never comes from inside. */
    c->request_done = end && taken == size;
    return taken;
}

void call_send_trailers(struct call *c, const struct http_field *fields, size_t field_count)
{
    c->trailers = fields;
    c->trailer_count = field_count;
}

void call_recv(struct call *c)
{
    if (c->state != CALL_RUNNING || !c->head_given)
        return;
    c->listening = true;
    c->heard_ns = call_now_ns(c);
    http_recv(c->stream);
}

void call_trail(const struct call *c, struct call_trail *ret_trail)
{
    *ret_trail = (struct call_trail){.attempts = c->attempt_number,
                                     .address = c->conn == NULL ? "" : pool_conn_address(c->conn),
                                     .is_h2 = c->conn != NULL && http_client_is_shared(c->conn->http)};
}

void call_endless(struct call *c, int64_t idle_ms)
{
    FICUS_ASSERT(c->head_given && idle_ms > 0);
    if (c->state != CALL_RUNNING)
        return;
    /* Streams that stay for hours would fill the bulkhead, which is for work. */
    call_bulkhead_leave(c);
    c->idle_ns = idle_ms * 1000000;
    env_timer_stop(c->engine->env, &c->deadline);
    env_timer_start(c->engine->env, &c->deadline, idle_ms);
}
