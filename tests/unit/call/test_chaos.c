/* SPDX-License-Identifier: Apache-2.0
 *
 * The call engine, the HTTP client and the HTTP server in memory and in virtual time, under a seed: servers that
 * fail, hang, cut off, die and come back; users that cancel; bytes in odd pieces. What must hold always is asserted
 * on every call.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../http/fake_net.h"
#include "call.h"
#include "http_server.h"
#include "pool.h"

#include <stdio.h>

enum { CHAOS_SEEDS = 300, CHAOS_STEPS = 300, CHAOS_CALLS_MAX = CHAOS_STEPS, ATTEMPTS_MAX = 3, SERVERS = 2,
    RUNNING_MAX = 24 };

struct chaos_call {
    struct chaos *x;
    struct call *call;
    bool plain_post, running, ended, cancelled, head_given;
    int lasts, seen;                /* seen: how often a server got the request */
    int64_t deadline_ns;
    char id[16];
    struct http_field field;
};

struct chaos {
    struct fake_net net;
    struct system_key *key;
    struct call_engine *g;
    struct http_server *servers[SERVERS];
    bool good, closed;
    size_t call_count, running, ok, failed;
    struct chaos_call calls[CHAOS_CALLS_MAX];
};

static uint64_t pick(struct chaos *x, uint64_t count)
{
    return fake_random_u64(&x->net) % count;
}

/* ---- servers ---- */

static void chaos_done(void *arg, struct http_stream *s)
{
}

static void chaos_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
}

static void chaos_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
}

static void chaos_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    static const struct http_handler handler = {.on_data = chaos_data, .on_done = chaos_done, .on_reset = chaos_reset};
    static const char long_body[4000];
    struct chaos *x = arg;
    uint64_t id;
    http_stream_handle(s, &handler, x);
    if (slice_to_u64(http_msg_get(s->head_in, "x-id"), &id))
        x->calls[id].seen++;
    uint64_t choice = x->good ? 0 : pick(x, 12);
    if (choice < 5) {
        (void)http_respond(s, 200, NULL, 0, "text/plain", slice_make(long_body, pick(x, sizeof long_body)));
    } else if (choice < 8) {
        static const int statuses[] = {503, 429, 404};
        (void)http_respond_problem(s, statuses[choice - 5], NULL, "as chosen");
    } else if (choice == 8) {
        http_reset(s, FICUS_ERR_CANCELLED);
    } else if (choice == 9) {
        struct http_msg m;
        http_msg_init(&m, s->arena);
        m.status = 200;
        m.content_length = 500;
        assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
        (void)http_send(s, long_body, 100, false);
        if (pick(x, 2) == 0)
            http_reset(s, FICUS_ERR_CANCELLED);
    }
    /* else: never answers */
}

static const char *const addresses[SERVERS] = {"unix:/chaos/1", "unix:/chaos/2"};

static void server_up(struct chaos *x, size_t i)
{
    const struct http_server_options o = {.on_request = chaos_request, .arg = x};
    if (x->servers[i] != NULL)
        return;
    assert_int_equal(http_server_new(&x->net.env, &o, &x->servers[i]), FICUS_ERR_OK);
    /* the net has few places for listeners and does not use one twice by itself */
    size_t count = x->net.listener_count, slot = 0;
    while (slot < count && x->net.listeners[slot].open)
        slot++;
    x->net.listener_count = slot;
    assert_int_equal(http_server_listen(x->servers[i], addresses[i], NULL, NULL), FICUS_ERR_OK);
    x->net.listener_count = slot < count ? count : slot + 1;
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

static void server_down(struct chaos *x, size_t i)
{
    bool closed = false;
    if (x->servers[i] == NULL)
        return;
    http_server_close(x->servers[i], set_true, &closed);
    fake_run(&x->net);
    assert_true(closed);
    x->servers[i] = NULL;
}

/* ---- callers ---- */

static void end_call(struct chaos_call *c)
{
    assert_false(c->ended);
    c->ended = true;
    c->running = false;
    c->x->running--;
}

static void maybe_cancel(struct chaos_call *c)
{
    if (!c->x->good && pick(c->x, 30) == 0) {
        c->cancelled = true;
        end_call(c);
        call_cancel(c->call);
    }
}

static void on_head(void *arg, struct call *call, struct http_msg *head, bool end)
{
    struct chaos_call *c = arg;
    assert_true(c->running && !c->head_given);
    c->head_given = true;
    maybe_cancel(c);
    if (c->running && !end)
        call_recv(call);
}

static void on_data(void *arg, struct call *call, struct slice data, bool end)
{
    struct chaos_call *c = arg;
    assert_true(c->running && c->head_given);
    maybe_cancel(c);
    if (c->running && !end)
        call_recv(call);
}

static void on_done(void *arg, struct call *call)
{
    struct chaos_call *c = arg;
    assert_true(c->running && c->head_given);
    assert_int_equal(++c->lasts, 1);
    c->x->ok++;
    end_call(c);
}

static void on_error(void *arg, struct call *call, enum ficus_err err, bool maybe_processed, const char *detail)
{
    struct chaos_call *c = arg;
    assert_true(c->running);
    assert_int_equal(++c->lasts, 1);
    assert_non_null(detail);
    /* who says "certainly not processed" must be right */
    assert_true(maybe_processed || c->seen == 0);
    c->x->failed++;
    end_call(c);
}

static void begin_call(struct chaos *x)
{
    static const struct call_handler handler = {.on_head = on_head, .on_data = on_data, .on_done = on_done,
                                                .on_error = on_error};
    static const char body[3000];
    if (x->call_count == CHAOS_CALLS_MAX || x->running >= RUNNING_MAX)
        return;
    size_t id = x->call_count++;
    struct chaos_call *c = &x->calls[id];
    *c = (struct chaos_call){.x = x, .running = true};
    (void)snprintf(c->id, sizeof c->id, "%zu", id);
    c->field = (struct http_field){SLICE("X-Id"), slice_str(c->id)};
    uint64_t kind = pick(x, 3);
    struct call_request r = {
        .callee = (x->good ? id % 2 : pick(x, 2)) ? "orders" : "payments",
        .method = kind == 0 ? SLICE("GET") : SLICE("POST"),
        .path = SLICE("/v1/things?x=1"),
        .fields = &c->field,
        .field_count = 1,
        .timeout_ms = x->good ? 0 : (int64_t)pick(x, 400),
        .keyed = kind == 2,
        .body = kind == 0 ? SLICE_NONE : slice_make(body, pick(x, sizeof body)),
    };
    c->plain_post = kind == 1 || (kind == 2 && strcmp(r.callee, "orders") == 0);
    c->deadline_ns = env_now_ns(&x->net.env) + (r.timeout_ms > 0 ? r.timeout_ms : 500) * 1000000;
    x->running++;
    assert_int_equal(call_start(x->g, &r, &handler, c, &c->call), FICUS_ERR_OK);
    fake_run(&x->net);
}

static void check_all(struct chaos *x)
{
    int64_t now_ns = env_now_ns(&x->net.env);
    for (size_t i = 0; i < x->call_count; i++) {
        const struct chaos_call *c = &x->calls[i];
        assert_true(c->running != c->ended);
        assert_int_equal(c->lasts, c->ended && !c->cancelled);
        assert_true(c->ended || now_ns <= c->deadline_ns + 1000000);
        /* not idempotent and no kept key: at most once, whatever happened */
        assert_true(c->seen <= (c->plain_post ? 1 : ATTEMPTS_MAX + 1));
    }
}

static void step(struct chaos *x)
{
    uint64_t choice = pick(x, 100);
    if (choice < 55) {
        begin_call(x);
    } else if (choice < 60 && x->call_count > 0) {
        struct chaos_call *c = &x->calls[pick(x, x->call_count)];
        if (c->running) {
            c->cancelled = true;
            end_call(c);
            call_cancel(c->call);
        }
    } else if (choice < 63) {
        server_down(x, pick(x, SERVERS));
    } else if (choice < 67) {
        server_up(x, pick(x, SERVERS));
    } else if (choice < 69) {
        (void)call_engine_endpoints(x->g, "orders", addresses + pick(x, 2), 1);
    } else if (choice < 72) {
        (void)call_engine_endpoints(x->g, "orders", addresses, SERVERS);
    } else {
        fake_advance(&x->net, (int64_t)pick(x, 40));
    }
    fake_run(&x->net);
    check_all(x);
}

static void chaos_begin(struct chaos *x, uint64_t seed)
{
    char key[SYSTEM_KEY_SIZE];
    memset(key, 9, sizeof key);
    memset(x, 0, sizeof *x);
    fake_init(&x->net, seed);
    x->net.odd = seed % 2;
    assert_int_equal(system_key_from_bytes(slice_make(key, sizeof key), &x->key, NULL), FICUS_ERR_OK);
    const struct call_engine_options o = {.self = "tester", .key = x->key, .conns_max = 6, .queue_max = 4,
                                          .idle_conns_max = 2};
    assert_int_equal(call_engine_new(&x->net.env, &o, &x->g), FICUS_ERR_OK);
    struct call_policy p = call_policy_default();
    p.timeout_ms = 500;
    p.retry.attempts = ATTEMPTS_MAX;
    p.breaker.open_ms = 100;
    assert_int_equal(call_engine_edge(x->g, "orders", &p, NULL), FICUS_ERR_OK);
    p.keeps_keys = true;
    assert_int_equal(call_engine_edge(x->g, "payments", &p, NULL), FICUS_ERR_OK);
    assert_int_equal(call_engine_endpoints(x->g, "orders", addresses, SERVERS), FICUS_ERR_OK);
    assert_int_equal(call_engine_endpoints(x->g, "payments", addresses, SERVERS), FICUS_ERR_OK);
    for (size_t i = 0; i < SERVERS; i++)
        server_up(x, i);
}

static void chaos_end(struct chaos *x)
{
    call_engine_close(x->g, set_true, &x->closed);
    fake_run(&x->net);
    assert_true(x->closed);
    for (size_t i = 0; i < SERVERS; i++)
        server_down(x, i);
    fake_run(&x->net);
    assert_int_equal(x->net.stream_count, 0);
    assert_int_equal(x->net.timer_count, 0);
    fake_done(&x->net);
    system_key_free(x->key);
}

/* Under every seed: one last callback per call and none after a cancel, by the deadline; a plain POST reaches a
 * server at most once; "not processed" is never a lie; and when the world is well again, every edge works again, and
 * everything can be closed without a rest. */
static void test_chaos(void **state)
{
    struct chaos *x = mem_alloc(sizeof *x);
    size_t ok = 0, failed = 0, again = 0;
    for (uint64_t seed = 1; seed <= CHAOS_SEEDS; seed++) {
        chaos_begin(x, seed);
        for (int i = 0; i < CHAOS_STEPS; i++)
            step(x);
        ok += x->ok;
        failed += x->failed;
        for (size_t i = 0; i < x->call_count; i++)
            again += x->calls[i].seen > 1;
        if (seed % 3 == 0) {        /* some are closed in the middle of it */
            chaos_end(x);
            check_all(x);
            assert_int_equal(x->running, 0);
            continue;
        }
        x->good = true;
        for (size_t i = 0; i < SERVERS; i++)
            server_up(x, i);
        fake_advance(&x->net, 3000);
        check_all(x);
        assert_int_equal(x->running, 0);
        x->call_count = 0;
        for (int i = 0; i < 10; i++) {
            size_t before = x->ok;
            begin_call(x);
            fake_advance(&x->net, 499);
            assert_int_equal(x->ok, before + 1);
        }
        assert_string_equal(call_engine_breaker_state(x->g, "orders"), "closed");
        assert_string_equal(call_engine_breaker_state(x->g, "payments"), "closed");
        chaos_end(x);
    }
    /* the seeds did reach what they are for */
    assert_true(ok > CHAOS_SEEDS * 10 && failed > CHAOS_SEEDS * 10 && again > CHAOS_SEEDS);
    mem_free(x);
}

/* A connection that is idle for a minute is closed by us, before the server would, and then nothing wakes the process
 * any more. */
static void test_idle_minute(void **state)
{
    struct chaos *x = mem_alloc(sizeof *x);
    chaos_begin(x, 2);
    x->good = true;
    begin_call(x);
    fake_run(&x->net);
    assert_int_equal(x->ok, 1);
    size_t conns = http_server_conn_count(x->servers[0]) + http_server_conn_count(x->servers[1]);
    assert_int_equal(conns, 1);
    fake_advance(&x->net, POOL_IDLE_MS - 1);
    conns = http_server_conn_count(x->servers[0]) + http_server_conn_count(x->servers[1]);
    assert_int_equal(conns, 1);
    fake_advance(&x->net, 1 + POOL_SWEEP_MS);
    conns = http_server_conn_count(x->servers[0]) + http_server_conn_count(x->servers[1]);
    assert_int_equal(conns, 0);
    assert_int_equal(x->net.timer_count, 0);
    chaos_end(x);
    mem_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_minute),
        cmocka_unit_test(test_chaos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
