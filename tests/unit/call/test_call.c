/* SPDX-License-Identifier: Apache-2.0
 *
 * The call engine over real sockets and the real HTTP server: repetition, deadline, breaker, cancel, bounds, streaming.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_rig.h"

static int64_t number(const char *text)
{
    int64_t v = -1;
    return slice_to_i64(slice_str(text), &v) ? v : -1;
}

/* A plain call carries the engine's own fields, replaces what the user forged, and keeps the user's other fields. */
static void test_fields(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(2, 5000), r->address);
    const struct http_field fields[] = {
        {SLICE("Ficus-Identity"), SLICE("forged")}, {SLICE("FICUS-TIMEOUT-MS"), SLICE("999999")},
        {SLICE("ficus-attempt"), SLICE("9")},
        {SLICE("TraceParent"), SLICE("forged")},    {SLICE("X-Request-Id"), SLICE("forged")},
        {SLICE("X-Extra"), SLICE("kept")},
    };
    struct trace_context parent;
    assert_true(trace_parse(SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), &parent));
    struct slice roles[] = {SLICE("customer")};
    struct call_request request = rig_request("orders", "GET", "/x?a=b");
    request.fields = fields;
    request.field_count = ARRAY_COUNT(fields);
    request.trace = &parent;
    request.tracestate = SLICE("k=v");
    request.correlation = SLICE("req-1");
    request.user = SLICE("u-17");
    request.roles = roles;
    request.role_count = 1;
    struct client c = rig_call_with(r, &request);
    assert_int_equal(c.err, FICUS_ERR_OK);
    assert_int_equal(c.status, 200);
    assert_string_equal(c.body, "hello");
    const struct rig_seen *seen = &r->seen[0];
    assert_int_equal(r->seen_count, 1);
    assert_true(seen->identity_good);
    assert_string_equal(seen->identity_user, "u-17");
    assert_string_equal(seen->attempt, "1");
    assert_in_range(number(seen->timeout_ms), 1, 5000);
    assert_string_equal(seen->request_id, "req-1");
    assert_string_equal(seen->tracestate, "k=v");
    assert_string_equal(seen->extra, "kept");
    struct trace_context span;
    assert_true(trace_parse(slice_str(seen->traceparent), &span));
    assert_memory_equal(span.trace_id, parent.trace_id, sizeof span.trace_id);
    assert_memory_not_equal(span.span_id, parent.span_id, sizeof span.span_id);
}

/* Calls one after the other share one connection. */
static void test_keep_alive(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(1, 5000), r->address);
    for (int i = 0; i < 20; i++)
        assert_int_equal(rig_call(r, "orders", i % 2 ? "POST" : "GET", "/").status, 200);
    assert_int_equal(http_server_conn_count(r->server), 1);
}

/* An undeclared callee is refused at once; a declared one without addresses is UNAVAILABLE by callback. */
static void test_no_callee(void **state)
{
    struct rig *r = *state;
    struct call *call;
    struct call_request request = rig_request("nobody", "GET", "/");
    assert_int_equal(call_start(r->g, &request, &client_handler, NULL, &call), FICUS_ERR_INVALID);
    assert_int_equal(call_engine_endpoints(r->g, "nobody", (const char *const[]){r->address}, 1), FICUS_ERR_OK);
    assert_int_equal(call_start(r->g, &request, &client_handler, NULL, &call), FICUS_ERR_INVALID);
    rig_edge(r, "nobody", rig_policy(1, 5000), NULL);
    assert_int_equal(rig_call(r, "nobody", "GET", "/").status, 200);
    rig_edge(r, "lost", rig_policy(3, 5000), NULL);
    struct client c = rig_call(r, "lost", "GET", "/");
    assert_int_equal(c.err, FICUS_ERR_UNAVAILABLE);
    assert_false(c.maybe);
    request = rig_request("nobody", "GET", "no-slash");
    assert_int_equal(call_start(r->g, &request, &client_handler, NULL, &call), FICUS_ERR_INVALID);
}

/* A field that cannot be written ends the call with INVALID, and the connection is not lost to the others. */
static void test_bad_field(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(2, 5000), r->address);
    const struct http_field field = {SLICE("X-Bad"), SLICE("a\r\nb: c")};
    struct call_request request = rig_request("orders", "GET", "/");
    request.fields = &field;
    request.field_count = 1;
    assert_int_equal(rig_call_with(r, &request).err, FICUS_ERR_INVALID);
    assert_int_equal(r->seen_count, 0);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
}

/* A refused connection is repeated for any method, on the other address, and the dead address is left alone
 * afterwards. */
static void test_refused_repeats(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(2, 5000), NULL);
    const char *both[] = {r->dead_address, r->address};
    assert_int_equal(call_engine_endpoints(r->g, "orders", both, 2), FICUS_ERR_OK);
    int second = 0;
    for (size_t i = 0; i < 10; i++) {
        struct client c = rig_call(r, "orders", "POST", "/");
        assert_int_equal(c.err, FICUS_ERR_OK);
        second += strcmp(r->seen[i].attempt, "2") == 0;
    }
    assert_int_equal(r->seen_count, 10);
    assert_in_range(second, 1, 9);
}

/* With nobody listening the call ends as REFUSED, certainly not processed, and every attempt was made. */
static void test_refused(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(3, 5000), r->dead_address);
    struct client c = rig_call(r, "orders", "POST", "/");
    assert_int_equal(c.err, FICUS_ERR_REFUSED);
    assert_false(c.maybe);
    struct buf out;
    buf_init(&out, 65536);
    assert_true(metrics_render(r->metrics, &out));
    assert_non_null(strstr(buf_str(&out), "call_attempts_total{callee=\"orders\"} 3\n"));
    assert_non_null(strstr(buf_str(&out), "call_requests_total{callee=\"orders\",outcome=\"refused\"} 1\n"));
    buf_done(&out);
}

/* A malformed address fails the call instead of the process. */
static void test_malformed_address(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(2, 5000), "tcp:nonsense");
    assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_REFUSED);
}

/* 503 is repeated for idempotent and kept-key requests only; the last failing answer is what the user sees;
 * Retry-After shrinks what is left. */
static void test_failed_answers(void **state)
{
    struct rig *r = *state;
    struct call_policy p = rig_policy(2, 10000);
    rig_edge(r, "orders", p, r->address);
    p.keeps_keys = true;
    rig_edge(r, "payments", p, r->address);

    r->fail_first = 1;
    struct client c = rig_call(r, "orders", "GET", "/flaky");
    assert_int_equal(c.status, 200);
    assert_int_equal(c.heads, 1);
    assert_string_equal(c.body, "fine");
    assert_int_equal(r->seen_count, 2);
    assert_string_equal(r->seen[1].attempt, "2");

    r->fail_first = 1;
    c = rig_call(r, "orders", "POST", "/flaky");
    assert_int_equal(c.status, 503);
    assert_string_equal(c.body, "not now");
    assert_int_equal(r->seen_count, 3);

    r->fail_first = 1;
    struct call_request request = rig_request("orders", "POST", "/flaky");
    request.keyed = true;       /* but orders does not keep keys */
    assert_int_equal(rig_call_with(r, &request).status, 503);
    assert_int_equal(r->seen_count, 4);

    r->fail_first = 1;
    request.callee = "payments";
    request.body = SLICE("{}");
    assert_int_equal(rig_call_with(r, &request).status, 200);
    assert_int_equal(r->seen_count, 6);

    r->fail_first = 2;
    c = rig_call(r, "orders", "GET", "/flaky");
    assert_int_equal(c.status, 503);
    assert_int_equal(r->seen_count, 8);
    /* All of it over one connection: dropped answers are drained. */
    assert_in_range(http_server_conn_count(r->server), 1, 2);

    r->fail_first = 1;
    r->retry_after = "1";
    assert_int_equal(rig_call(r, "orders", "GET", "/flaky").status, 200);
    assert_int_equal(r->seen_count, 10);
    assert_true(number(r->seen[8].timeout_ms) - number(r->seen[9].timeout_ms) >= 1000);
}

/* A Retry-After that does not fit into the deadline is not waited for: the user gets the answer. */
static void test_retry_after_too_long(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(3, 5000), r->address);
    r->fail_first = 1;
    r->retry_after = "60";
    assert_int_equal(rig_call(r, "orders", "GET", "/flaky").status, 503);
    assert_int_equal(r->seen_count, 1);
}

/* Other failures of the application, 500 and 4xx, are answers: never repeated, and the breaker stays closed. */
static void test_plain_errors(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(3, 5000), r->address);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rig_call(r, "orders", "GET", i % 2 ? "/status/500" : "/status/404").status, i % 2 ? 500 : 404);
    assert_int_equal(r->seen_count, 10);
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "closed");
}

/* A connection that is lost on its first exchange: GET is repeated, POST is not and says that it may have been
 * processed. */
static void test_lost(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(2, 5000), r->address);
    struct client c = rig_call(r, "orders", "POST", "/close");
    assert_int_equal(c.err, FICUS_ERR_RESET);
    assert_true(c.maybe);
    assert_int_equal(r->seen_count, 1);
    c = rig_call(r, "orders", "GET", "/close");
    assert_int_equal(c.err, FICUS_ERR_RESET);
    assert_int_equal(r->seen_count, 3);
}

/* An answer that breaks off is reported after its head, and never repeated. */
static void test_cut(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(3, 5000), r->address);
    struct client c = {0};
    struct call_request request = rig_request("orders", "GET", "/cut");
    client_begin(r, &c, &request);
    rig_wait_count(r, (const size_t *)&c.received, 9);
    rig_server_stop(r);
    rig_wait(r, rig_is_true, &c.over);
    assert_int_equal(c.err, FICUS_ERR_RESET);
    assert_int_equal(c.heads, 1);
    assert_true(c.maybe);
    assert_int_equal(r->seen_count, 1);
}

/* At the deadline the user hears TIMEOUT and the callee sees a reset. */
static void test_deadline(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(2, 30), r->address);
    struct client c = rig_call(r, "orders", "GET", "/hang");
    assert_int_equal(c.err, FICUS_ERR_TIMEOUT);
    assert_true(c.maybe);
    rig_wait_count(r, &r->resets, 1);
    assert_int_equal(r->seen_count, 1);
    /* the earlier of both counts, and the call's own time goes before the policy's */
    struct call_request request = rig_request("orders", "GET", "/hang");
    request.timeout_ms = 3600000;
    request.deadline_ns = env_now_ns(r->e) + 30 * 1000000;
    assert_int_equal(rig_call_with(r, &request).err, FICUS_ERR_TIMEOUT);
    assert_in_range(number(r->seen[1].timeout_ms), 1, 30);
    request.deadline_ns = 1;
    c = rig_call_with(r, &request);
    assert_int_equal(c.err, FICUS_ERR_TIMEOUT);
    assert_false(c.maybe);
    assert_int_equal(r->seen_count, 2);
}

/* The breaker stays closed as long as the callee soon says that it cannot serve now, opens after failures in a row,
 * refuses without touching the callee, and closes again by one good probe. */
static void test_breaker(void **state)
{
    struct rig *r = *state;
    struct call_policy p = rig_policy(1, 5000);
    p.breaker.failures = 3;
    p.breaker.open_ms = 1500;
    rig_edge(r, "orders", p, r->address);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rig_call(r, "orders", "GET", "/status/503").status, 503);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(call_engine_breaker_state(r->g, "orders"), "closed");
        assert_int_equal(rig_call(r, "orders", "POST", "/close").err, FICUS_ERR_RESET);
    }
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "open");
    struct client c = rig_call(r, "orders", "GET", "/");
    assert_int_equal(c.err, FICUS_ERR_UNAVAILABLE);
    assert_false(c.maybe);
    assert_int_equal(r->seen_count, 8);
    int tries = 0;
    do {
        rig_turns(r, 20);
        c = rig_call(r, "orders", "GET", "/");
    } while (c.err == FICUS_ERR_UNAVAILABLE && ++tries < 1000);
    assert_int_equal(c.status, 200);
    assert_int_equal(r->seen_count, 9);
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "closed");
}

/* A cancelled probe gives its place back: the next call may try. */
static void test_breaker_probe_cancelled(void **state)
{
    struct rig *r = *state;
    struct call_policy p = rig_policy(1, 20000);
    p.breaker.failures = 1;
    p.breaker.open_ms = 10;
    rig_edge(r, "orders", p, r->address);
    assert_int_equal(rig_call(r, "orders", "POST", "/close").err, FICUS_ERR_RESET);
    rig_turns(r, 15);
    p.breaker.open_ms = 600000;     /* a silent probe would keep the place for ten minutes */
    rig_edge(r, "orders", p, NULL);
    struct client probe = {0};
    struct call_request request = rig_request("orders", "GET", "/hang");
    client_begin(r, &probe, &request);
    rig_wait_count(r, &r->seen_count, 2);
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "half_open");
    assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_UNAVAILABLE);
    client_cancel(&probe);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "closed");
}

/* Of more calls than places and queue, the surplus is BUSY, and the waiting ones run when places become free. */
static void test_queue(void **state)
{
    struct rig *r = *state;
    rig_engine_close(r);
    rig_engine(r, 2, 3);
    rig_edge(r, "orders", rig_policy(1, 20000), r->address);
    struct client c[10] = {0};
    struct call_request hang = rig_request("orders", "GET", "/hang"), fine = rig_request("orders", "GET", "/");
    for (int i = 0; i < 10; i++)
        client_begin(r, &c[i], i < 2 ? &hang : &fine);
    for (int i = 5; i < 10; i++) {
        rig_wait(r, rig_is_true, &c[i].over);
        assert_int_equal(c[i].err, FICUS_ERR_BUSY);
        assert_false(c[i].maybe);
    }
    rig_wait_count(r, &r->seen_count, 2);
    assert_int_equal(http_server_conn_count(r->server), 2);
    client_cancel(&c[3]);           /* one leaves the queue */
    client_cancel(&c[0]);
    rig_wait(r, rig_is_true, &c[2].over);
    rig_wait(r, rig_is_true, &c[4].over);
    assert_int_equal(c[2].status, 200);
    assert_int_equal(c[4].status, 200);
    assert_false(c[1].over);
    client_cancel(&c[1]);
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "closed");
}

/* A call may be cancelled in every state, at once, in every callback, and nothing fires afterwards. */
static void test_cancel(void **state)
{
    struct rig *r = *state;
    rig_engine_close(r);
    rig_engine(r, 1, 8);
    rig_edge(r, "orders", rig_policy(2, 20000), r->address);
    rig_edge(r, "lost", rig_policy(2, 20000), NULL);
    struct call_request fine = rig_request("orders", "GET", "/"), hang = rig_request("orders", "GET", "/hang"),
                        flaky = rig_request("orders", "GET", "/flaky"), lost = rig_request("lost", "GET", "/");
    struct client failing = {0}, connecting = {0}, running = {0}, queued = {0}, paused = {0};
    client_begin(r, &failing, &lost);
    client_cancel(&failing);
    client_begin(r, &connecting, &fine);
    client_cancel(&connecting);
    client_begin(r, &running, &hang);
    rig_wait_count(r, &r->seen_count, 1);
    client_begin(r, &queued, &fine);
    client_cancel(&queued);
    client_cancel(&running);
    r->fail_first = 1;
    r->retry_after = "10";
    client_begin(r, &paused, &flaky);
    rig_wait_count(r, &r->streams_done, 1);
    rig_turns(r, 10);
    assert_false(paused.over);
    client_cancel(&paused);
    for (int when = CLIENT_ON_HEAD; when <= CLIENT_ON_LAST; when++) {
        struct client c = {.cancel_when = (enum client_when)when};
        client_begin(r, &c, &fine);
        rig_wait(r, rig_is_true, &c.over);
        rig_turns(r, 10);
        assert_int_equal(c.lasts, when == CLIENT_ON_LAST);
        struct client e = {.cancel_when = (enum client_when)when};
        client_begin(r, &e, &lost);
        rig_wait(r, rig_is_true, &e.over);
        assert_int_equal(e.lasts, 1);
    }
    rig_turns(r, 20);
    assert_int_equal(failing.lasts + connecting.lasts + running.lasts + queued.lasts + paused.lasts, 0);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
}

/* A body given whole arrives whole, also when it is far larger than any buffer, and comes back the same size. */
static void test_large_body(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(2, 20000), r->address);
    size_t size = 3 << 20;
    char *body = mem_zalloc(size);
    struct call_request request = rig_request("orders", "PUT", "/echo");
    request.body = slice_make(body, size);
    struct client c = rig_call_with(r, &request);
    assert_int_equal(c.err, FICUS_ERR_OK);
    assert_int_equal(c.received, size);
    assert_int_equal(r->echoed, size);
    mem_free(body);
}

/* A streamed body of unknown and of known size flows while the answer comes back, whether the user sends before or
 * after there is a stream. */
static void test_stream(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(2, 20000), r->address);
    for (int known = 0; known < 2; known++) {
        const uint64_t size = 5 << 20;
        struct client c = {.send_left = size};
        struct call_request request = rig_request("orders", "POST", "/echo");
        request.body_stream_size = known ? (int64_t)size : -1;
        client_begin(r, &c, &request);
        rig_wait(r, rig_is_true, &c.over);
        assert_int_equal(c.err, FICUS_ERR_OK);
        assert_int_equal(c.taken, size);
        assert_int_equal(c.received, size);
    }
    /* an empty stream, ended before there was a connection */
    struct client c = {.r = r};
    struct call_request request = rig_request("orders", "POST", "/");
    request.body_stream_size = -1;
    assert_int_equal(call_start(r->g, &request, &client_handler, &c, &c.call), FICUS_ERR_OK);
    assert_int_equal(call_send(c.call, NULL, 0, true), 0);
    rig_wait(r, rig_is_true, &c.over);
    assert_int_equal(c.status, 200);
    assert_string_equal(c.body, "stored");
}

static bool client_stalled(void *arg)
{
    /* Blocked since 50 polls. */
    struct {
        const uint64_t *value;
        uint64_t last;
        int same;
    } *w = arg;
    w->same = *w->value == w->last ? w->same + 1 : 0;
    w->last = *w->value;
    return w->last > 0 && w->same > 50;
}

/* A callee that does not read stops the sender, and a user that does not ask stops the callee: what is under way is
 * bounded by buffers. */
static void test_back_pressure(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(1, 60000), r->address);
    struct client up = {.send_left = 16 << 20};
    struct call_request request = rig_request("orders", "POST", "/hang");
    request.body_stream_size = -1;
    client_begin(r, &up, &request);
    struct {
        const uint64_t *value;
        uint64_t last;
        int same;
    } w = {&up.taken, 0, 0};
    rig_wait(r, client_stalled, &w);
    assert_true(up.taken > 0 && up.taken < 1 << 20);
    client_cancel(&up);

    struct client down = {.hold = true};
    request = rig_request("orders", "GET", "/big");
    client_begin(r, &down, &request);
    w.value = &r->sent;
    w.last = 0;
    w.same = 0;
    rig_wait(r, client_stalled, &w);
    assert_true(r->sent > 0 && r->sent < 1 << 20);
    assert_int_equal(down.received, 0);
    down.hold = false;
    call_recv(down.call);
    rig_wait(r, rig_is_true, &down.over);
    assert_int_equal(down.err, FICUS_ERR_OK);
    assert_int_equal(down.received, 16 << 20);
}

/* A streamed body of which something was taken is not sent again, whatever the method; one of which nothing was taken
 * is. */
static void test_stream_not_repeated(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(2, 20000), r->address);
    struct client c = {.send_left = 100};
    struct call_request request = rig_request("orders", "PUT", "/close");
    request.body_stream_size = 100;
    client_begin(r, &c, &request);
    rig_wait(r, rig_is_true, &c.over);
    assert_int_equal(c.err, FICUS_ERR_RESET);
    assert_int_equal(r->seen_count, 1);

    struct client d = {.r = r};
    request = rig_request("orders", "PUT", "/flaky");
    request.body_stream_size = 100;
    r->fail_first = 1;
    assert_int_equal(call_start(r->g, &request, &client_handler, &d, &d.call), FICUS_ERR_OK);
    rig_wait(r, rig_is_true, &d.over);
    assert_int_equal(d.status, 200);
    assert_int_equal(r->seen_count, 3);
}

/* An answer that comes before the request is complete ends the call well; its connection is not used again. */
static void test_early_answer(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(1, 20000), r->address);
    struct client c = {0};
    struct call_request request = rig_request("orders", "POST", "/early");
    request.body_stream_size = 1 << 20;
    client_begin(r, &c, &request);
    rig_wait(r, rig_is_true, &c.over);
    assert_int_equal(c.err, FICUS_ERR_OK);
    assert_int_equal(c.status, 413);
    assert_string_equal(c.body, "too much");
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
}

static bool server_is_empty(void *arg)
{
    const struct rig *r = arg;
    return http_server_conn_count(r->server) == 0;
}

/* When a callee moves, its old connections are closed and the new address is used; without any, calls fail at once. */
static void test_endpoints_move(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(1, 5000), r->address);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    assert_int_equal(call_engine_endpoints(r->g, "orders", NULL, 0), FICUS_ERR_OK);
    assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_UNAVAILABLE);
    assert_true(call_engine_has_endpoints(r->g, "orders"));
    const char *back = r->address;
    assert_int_equal(call_engine_endpoints(r->g, "orders", &back, 1), FICUS_ERR_OK);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    struct client running = {0};
    struct call_request request = rig_request("orders", "GET", "/hang");
    client_begin(r, &running, &request);
    rig_wait_count(r, &r->seen_count, 3);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    const char *to = r->dead_address;
    assert_int_equal(call_engine_endpoints(r->g, "orders", &to, 1), FICUS_ERR_OK);
    assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_REFUSED);
    /* what runs goes on, what was idle is closed, and so is what runs when it has ended */
    assert_false(running.over);
    assert_int_equal(http_server_conn_count(r->server), 1);
    (void)http_respond(r->hanging, 200, NULL, 0, "text/plain", SLICE("at last"));
    rig_wait(r, rig_is_true, &running.over);
    assert_string_equal(running.body, "at last");
    rig_wait(r, server_is_empty, r);
}

/* Closing the engine ends every call with CANCELLED exactly once, whatever its state, and refuses new ones. */
static void test_close(void **state)
{
    struct rig *r = *state;
    rig_engine_close(r);
    rig_engine(r, 2, 8);
    rig_edge(r, "orders", rig_policy(2, 20000), r->address);
    struct client c[5] = {0};
    struct call_request hang = rig_request("orders", "GET", "/hang");
    for (int i = 0; i < 4; i++)
        client_begin(r, &c[i], &hang);
    rig_wait_count(r, &r->seen_count, 2);
    bool closed = false;
    call_engine_close(r->g, rig_set_closed, &closed);
    struct call *call;
    assert_int_equal(call_start(r->g, &hang, &client_handler, &c[4], &call), FICUS_ERR_CANCELLED);
    rig_wait(r, rig_is_true, &closed);
    r->g = NULL;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(c[i].lasts, 1);
        assert_int_equal(c[i].err, FICUS_ERR_CANCELLED);
        assert_int_equal(c[i].maybe, i < 2);
    }
}

/* ---- fetch ---- */

struct fetched {
    bool over;
    int count, status;
    enum ficus_err err;
    char body[64];
};

static void on_fetched(void *arg, const struct call_result *result)
{
    struct fetched *f = arg;
    f->over = true;
    f->count++;
    f->err = result->err;
    f->status = result->status;
    if (result->err == FICUS_ERR_OK)
        RIG_COPY(f->body, result->body);
}

/* A fetch gives the whole answer once; one that is larger than asked for is TOO_LARGE; a cancelled one is silent. */
static void test_fetch(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", rig_policy(1, 20000), r->address);
    struct call_request request = rig_request("orders", "GET", "/");
    struct fetched f = {0}, g = {0}, h = {0}, i = {0};
    struct call_fetch *fetch;
    assert_int_equal(call_fetch(r->g, &request, 5, on_fetched, &f, NULL), FICUS_ERR_OK);
    rig_wait(r, rig_is_true, &f.over);
    assert_int_equal(f.err, FICUS_ERR_OK);
    assert_int_equal(f.status, 200);
    assert_string_equal(f.body, "hello");
    assert_int_equal(call_fetch(r->g, &request, 4, on_fetched, &g, NULL), FICUS_ERR_OK);
    rig_wait(r, rig_is_true, &g.over);
    assert_int_equal(g.err, FICUS_ERR_TOO_LARGE);
    assert_int_equal(call_fetch(r->g, &request, 5, on_fetched, &h, &fetch), FICUS_ERR_OK);
    call_fetch_cancel(fetch);
    request.path = SLICE("/close");
    assert_int_equal(call_fetch(r->g, &request, 5, on_fetched, &i, NULL), FICUS_ERR_OK);
    rig_wait(r, rig_is_true, &i.over);
    assert_int_equal(i.err, FICUS_ERR_RESET);
    rig_turns(r, 10);
    assert_int_equal(f.count + g.count + h.count + i.count, 3);
}

/* ---- many ---- */

enum { MANY_CALLS = 10000, MANY_AT_ONCE = 64 };

struct many {
    struct rig *r;
    size_t begun, ended, outcomes[FICUS_ERR_COUNT];
    bool over;
};

static void many_next(struct many *m);

static void on_many(void *arg, const struct call_result *result)
{
    struct many *m = arg;
    m->ended++;
    m->outcomes[result->err]++;
    if (result->err == FICUS_ERR_OK)
        assert_true(result->head->status == 200 || result->head->status == 503 || result->head->status == 404);
    many_next(m);
}

static void many_next(struct many *m)
{
    static const char *const paths[] = {"/", "/", "/", "/", "/status/404", "/flaky", "/", "/close", "/status/503", "/"};
    m->over = m->ended == MANY_CALLS;
    if (m->begun == MANY_CALLS)
        return;
    struct call_request request = rig_request("orders", m->begun % 3 ? "GET" : "POST",
                                              paths[m->begun % ARRAY_COUNT(paths)]);
    if (m->begun % 3 == 0)
        request.body = SLICE("{\"sku\":1}");
    if (m->begun % 7 == 0)
        m->r->fail_first = 1;
    m->begun++;
    struct call_fetch *fetch;
    assert_int_equal(call_fetch(m->r->g, &request, 1000, on_many, m, &fetch), FICUS_ERR_OK);
    if (m->begun % 101 == 0) {
        call_fetch_cancel(fetch);
        m->ended++;
        many_next(m);
    }
}

/* Ten thousand mixed calls each end exactly once, within the bound of connections, and leave nothing behind (the
 * sanitizer looks). */
static void test_many(void **state)
{
    struct rig *r = *state;
    rig_engine_close(r);
    rig_engine(r, 16, 64);
    struct call_policy p = rig_policy(2, 20000);
    p.breaker.enabled = false;      /* so many failures would open it, and then nothing would be tried */
    rig_edge(r, "orders", p, r->address);
    struct many m = {.r = r};
    for (int i = 0; i < MANY_AT_ONCE; i++)
        many_next(&m);
    rig_wait(r, rig_is_true, &m.over);
    assert_int_equal(m.begun, MANY_CALLS);
    assert_int_equal(m.ended, MANY_CALLS);
    assert_true(m.outcomes[FICUS_ERR_OK] > MANY_CALLS / 2);
    assert_int_equal(m.outcomes[FICUS_ERR_TIMEOUT] + m.outcomes[FICUS_ERR_BUSY] + m.outcomes[FICUS_ERR_PROTOCOL], 0);
    assert_true(http_server_conn_count(r->server) <= 16);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fields),
        TEST(test_keep_alive),
        TEST(test_no_callee),
        TEST(test_bad_field),
        TEST(test_refused_repeats),
        TEST(test_refused),
        TEST(test_malformed_address),
        TEST(test_failed_answers),
        TEST(test_retry_after_too_long),
        TEST(test_plain_errors),
        TEST(test_lost),
        TEST(test_cut),
        TEST(test_deadline),
        TEST(test_breaker),
        TEST(test_breaker_probe_cancelled),
        TEST(test_queue),
        TEST(test_cancel),
        TEST(test_large_body),
        TEST(test_stream),
        TEST(test_back_pressure),
        TEST(test_stream_not_repeated),
        TEST(test_early_answer),
        TEST(test_endpoints_move),
        TEST(test_close),
        TEST(test_fetch),
        TEST(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
