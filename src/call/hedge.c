/* SPDX-License-Identifier: Apache-2.0
 *
 * Hedging: when an attempt has no answer after a while, the same request goes to another address beside it. The first
 * good answer wins; the other attempt is cancelled.
 *
 *   due        the timer of an attempt fired. Nothing happens unless the request may be repeated (an idempotent method, or
 *              a key that the callee keeps), has no streamed body, the breaker is closed, the retry budget gives a token,
 *              another address is in, and there is a connection to it or a place for one. One hedge for each call.
 *   won        the hedge answers first, with no failure: it becomes the call's attempt, the one before is cancelled.
 *   succeeded  the attempt fails while the hedge has a stream: the hedge takes its place, and no repetition is spent.
 *   lost       anything else: the attempt's answer came, or the hedge failed. The call does not notice.
 *
 * The breaker's admission and the address's count of calls under way are the hedge's own until then.
 */
#include "assert.h"
#include "call_private.h"
#include "mem.h"

struct call_hedge {
    struct call *call;
    struct pool_waiter waiter;
    struct pool_conn *conn;
    struct http_stream *stream;     /* NULL: connecting */
    int64_t started_ns;
    size_t body_sent;               /* of the call's body */
    bool request_done;
    bool admitted;                  /* by the breaker; to be noted */
};

/* ---- its end ---- */

static void hedge_note(struct call_hedge *h, enum call_outcome outcome)
{
    struct call_edge *edge = h->call->edge;
    int64_t ran_ns = call_now_ns(h->call) - h->started_ns, timeout_ms = edge->policy.timeout_ms;
    if (!h->admitted)
        return;
    h->admitted = false;
    call_edge_note(edge, false, call_health_of(outcome, ran_ns / 1000000, timeout_ms));
    if (outcome != CALL_OUTCOME_LOCAL)
        pool_note(&edge->pool, &h->waiter, call_sign_of(outcome, ran_ns / 1000000, timeout_ms), ran_ns,
                  h->started_ns + ran_ns);
}

/* The stream is gone or somebody else's. */
static void hedge_free(struct call_hedge *h)
{
    struct call *c = h->call;
    hedge_note(h, CALL_OUTCOME_LOCAL);
    (void)pool_leave(&c->edge->pool, &h->waiter);
    pool_release(&c->edge->pool, &h->waiter);
    c->hedge = NULL;
    mem_free(h);
}

static void hedge_lose(struct call_hedge *h)
{
    metric_inc(h->call->edge->hedges[CALL_HEDGE_LOST]);
    hedge_free(h);
}

bool call_hedge_sent(const struct call *c)
{
    struct http_progress progress = {0};
    if (c->hedge != NULL && c->hedge->stream != NULL)
        http_stream_progress(c->hedge->stream, &progress);
    return progress.request_sent;
}

void call_hedge_drop_now(struct call *c)
{
    struct call_hedge *h = c->hedge;
    env_timer_stop(c->engine->env, &c->hedge_due);
    if (h == NULL)
        return;
    c->maybe_processed = c->maybe_processed || call_hedge_sent(c);
    struct http_stream *s = h->stream;
    hedge_lose(h);
    if (s != NULL)
        http_reset(s, FICUS_ERR_CANCELLED);
}

/* ---- taking the place of the call's attempt ---- */

/* c has no stream, no admission and no target any more. */
static void take_place(struct call *c)
{
    struct call_hedge *h = c->hedge;
    FICUS_ASSERT(!c->admitted && c->waiter.target == NULL && h->stream != NULL);
    env_timer_stop(c->engine->env, &c->pause);
    c->waiter.target = h->waiter.target;
    c->waiter.last = h->waiter.last;
    h->waiter.target = NULL;
    c->conn = h->conn;
    c->stream = h->stream;
    c->body_sent = h->body_sent;
    c->request_done = h->request_done;
    c->answer_done = false;
    c->attempt_started_ns = h->started_ns;
    c->admitted = h->admitted;
    c->probe = false;
    h->admitted = false;
    http_stream_handle(c->stream, &call_stream_handler, c);
    hedge_free(h);
    call_move(c, CALL_RUNNING);
    call_check(c);
}

bool call_hedge_succeed(struct call *c)
{
    if (c->hedge == NULL || c->hedge->stream == NULL)
        return false;
    take_place(c);
    return true;
}

/* The attempt that was slower. It says that its address takes at least so long. */
static void cancel_slower(struct call *c)
{
    struct http_stream *s = c->stream;
    int64_t now_ns = call_now_ns(c), ran_ns = now_ns - c->attempt_started_ns;
    call_note_progress(c);
    pool_note(&c->edge->pool, &c->waiter, CALL_SIGN_NONE, ran_ns, now_ns);
    if (c->edge->latency != NULL)
        call_latency_note(c->edge->latency, ran_ns);    /* else hedges would make hedges come ever earlier */
    call_attempt_note(c, CALL_OUTCOME_LOCAL);
    (void)pool_leave(&c->edge->pool, &c->waiter);
    pool_release(&c->edge->pool, &c->waiter);
    c->stream = NULL;
    c->conn = NULL;
    if (s != NULL)
        http_reset(s, FICUS_ERR_CANCELLED);
}

/* ---- its stream ---- */

static void hedge_on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct call_hedge *h = arg;
    struct call *c = h->call;
    enum call_outcome outcome = call_outcome_of_status(m->status);
    if (outcome == CALL_OUTCOME_ANSWER) {
        metric_inc(c->edge->hedges[CALL_HEDGE_WON]);
        cancel_slower(c);
        take_place(c);
        call_stream_handler.on_head(c, s, m, end);
        return;
    }
    struct pool_conn *conn = h->conn;
    bool clean = h->request_done;
    hedge_note(h, outcome);
    hedge_lose(h);
    if (clean)
        pool_drain(conn, s, end);
    else
        http_reset(s, FICUS_ERR_CANCELLED);
}

static void push_body(struct call_hedge *h)
{
    struct slice rest = slice_from(h->call->r.body, h->body_sent);
    size_t taken = http_send(h->stream, rest.p, rest.size, true);
    h->body_sent += taken;
    h->request_done = taken == rest.size;
}

static void hedge_on_writable(void *arg, struct http_stream *s)
{
    struct call_hedge *h = arg;
    if (!h->request_done)
        push_body(h);
}

static void hedge_on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct call_hedge *h = arg;
    struct http_progress progress;
    http_stream_progress(s, &progress);
    h->call->maybe_processed = h->call->maybe_processed || progress.request_sent;
    /* As for any attempt: that a kept connection had died says nothing. */
    hedge_note(h, progress.conn_reused && !progress.response_begun ? CALL_OUTCOME_LOCAL : call_outcome_of_reset(err));
    hedge_lose(h);
}

static const struct http_handler hedge_handler = {.on_head = hedge_on_head, .on_writable = hedge_on_writable,
                                                  .on_reset = hedge_on_reset};

static void hedge_run(struct call_hedge *h, struct pool_conn *conn)
{
    struct call *c = h->call;
    struct http_stream *s;
    struct http_msg m;
    __attribute__((uninitialized)) struct call_head_room room; /* read as far as it was written */
    if (http_client_open(conn->http, &hedge_handler, h, &s) != FICUS_ERR_OK) {
        pool_discard(conn);
        hedge_lose(h);
        return;
    }
    bool none = c->r.body.size == 0;
    h->conn = conn;
    h->stream = s;
    h->request_done = none;
    if (call_attempt_head(c, &m, s->arena, &room) != FICUS_ERR_OK || http_send_head(s, &m, none) != FICUS_ERR_OK) {
        hedge_lose(h);
        http_reset(s, FICUS_ERR_CANCELLED);
        return;
    }
    if (!none)
        push_body(h);
}

static void hedge_on_ready(struct pool_waiter *w, struct pool_conn *conn)
{
    hedge_run(CONTAINER_OF(w, struct call_hedge, waiter), conn);
}

static void hedge_on_failed(struct pool_waiter *w, enum ficus_err err)
{
    struct call_hedge *h = CONTAINER_OF(w, struct call_hedge, waiter);
    hedge_note(h, call_outcome_of_connect(err));
    hedge_lose(h);
}

/* ---- its beginning ---- */

static bool may_start(struct call *c)
{
    bool attempted = c->state == CALL_WAITING || c->state == CALL_RUNNING || c->state == CALL_FAULTY;
    return attempted && !c->waiter.queued && !c->head_given && c->edge->shared->breaker.state == CALL_BREAKER_CLOSED &&
           pool_has_another(&c->edge->pool, &c->waiter, call_now_ns(c)) &&
           call_edge_repeat(c->edge);
}

static void on_due(void *arg)
{
    struct call *c = arg;
    if (!may_start(c))
        return;
    struct call_hedge *h = mem_zalloc(sizeof *h);
    if (h == NULL)
        return;
    h->call = c;
    h->started_ns = call_now_ns(c);
    h->waiter = (struct pool_waiter){.on_ready = hedge_on_ready, .on_failed = hedge_on_failed, .keyed = c->waiter.keyed,
                                     .key = c->waiter.key, .avoid = c->waiter.last};
    c->hedge = h;
    c->hedged = true;
    h->admitted = true;             /* the breaker is closed, or was just now */
    struct pool_conn *conn;
    if (pool_take(&c->edge->pool, &h->waiter, &conn) != FICUS_ERR_OK || h->waiter.queued) {
        hedge_lose(h);
        return;
    }
    c->attempt_number++;
    metric_inc(c->edge->attempts);
    if (conn != NULL)
        hedge_run(h, conn);
}

void call_hedge_arm(struct call *c)
{
    const struct call_hedge_after *after = &c->edge->policy.hedge->after;
    bool again = http_method_idempotent(c->r.method) || (c->r.keyed && c->edge->policy.keeps_keys);
    if (c->hedged || call_streamed(c) || !again || c->r.protocol.p != NULL)
        return;
    int64_t after_ns = after->percentile > 0 ? call_latency_ns(c->edge->latency, after->percentile)
                                             : after->ms * 1000000;
    if (after_ns == 0)
        return;
    c->hedge_due = (struct env_timer){.fn = on_due, .arg = c};
    env_timer_start(c->engine->env, &c->hedge_due, (after_ns + 999999) / 1000000);
}
