/* SPDX-License-Identifier: Apache-2.0
 *
 * An edge with several addresses and with limits, over real sockets: who gets a call, who is left alone, who waits, what
 * is asked twice, and what breaks on purpose.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_rig.h"
#include "json.h"

enum { BACKENDS_MAX = 4 };

enum mode { MODE_FINE, MODE_HANG, MODE_503, MODE_CLOSE };

/* One instance of the callee: answers with its number, or does not. */
struct backend {
    struct rig *r;
    struct http_server *server;
    char address[96], name[2];
    enum mode mode;
    bool sick;                      /* GET /health is 503 */
    size_t count, checks, resets;   /* requests, health checks, streams that broke */
};

struct farm {
    struct rig *r;
    struct backend backends[BACKENDS_MAX];
    size_t count;
};

static void backend_done(void *arg, struct http_stream *s)
{
}

static void backend_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct backend *b = arg;
    b->resets++;
}

static void backend_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct backend *b = arg;
    if (end)
        (void)http_respond(s, 200, NULL, 0, "text/plain", slice_str(b->name));
    else
        http_recv(s);
}

static void backend_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    static const struct http_handler handler = {.on_data = backend_data, .on_done = backend_done,
                                                .on_reset = backend_reset};
    struct backend *b = arg;
    http_stream_handle(s, &handler, b);
    if (slice_eq_str(s->head_in->path, "/health")) {
        b->checks++;
        (void)http_respond(s, b->sick ? 503 : 200, NULL, 0, "text/plain", SLICE("well?"));
        return;
    }
    b->count++;
    if (b->mode == MODE_503)
        (void)http_respond(s, 503, NULL, 0, "text/plain", SLICE("not now"));
    else if (b->mode == MODE_CLOSE)
        http_reset(s, FICUS_ERR_CANCELLED);
    else if (b->mode == MODE_FINE && end)
        (void)http_respond(s, 200, NULL, 0, "text/plain", slice_str(b->name));
    else if (b->mode == MODE_FINE)
        http_recv(s);
}

static void farm_start(struct farm *f, struct rig *r, size_t count)
{
    *f = (struct farm){.r = r, .count = count};
    for (size_t i = 0; i < count; i++) {
        struct backend *b = &f->backends[i];
        struct http_server_options o = {.on_request = backend_request, .arg = b};
        o.limits.conn_count_max = 256;
        b->r = r;
        b->name[0] = (char)('a' + i);
        (void)snprintf(b->address, sizeof b->address, "unix:%s/b%zu.sock", r->dir, i);
        assert_int_equal(http_server_new(r->e, &o, &b->server), FICUS_ERR_OK);
        assert_int_equal(http_server_listen(b->server, b->address, NULL, NULL), FICUS_ERR_OK);
    }
}

static void farm_edge(struct farm *f, struct call_policy p)
{
    const char *addresses[BACKENDS_MAX];
    for (size_t i = 0; i < f->count; i++)
        addresses[i] = f->backends[i].address;
    rig_edge(f->r, "orders", p, NULL);
    assert_int_equal(call_engine_endpoints(f->r->g, "orders", addresses, f->count), FICUS_ERR_OK);
}

static void farm_stop(struct farm *f)
{
    rig_engine_close(f->r);
    for (size_t i = 0; i < f->count; i++) {
        bool closed = false;
        http_server_close(f->backends[i].server, rig_set_closed, &closed);
        rig_wait(f->r, rig_is_true, &closed);
        (void)unlink(f->backends[i].address + 5);
    }
}

static struct call_request get_as(const char *user)
{
    struct call_request q = rig_request("orders", "GET", "/");
    q.user = user == NULL ? SLICE_NONE : slice_str(user);
    return q;
}

/* ---- balance ---- */

/* ring_hash: all calls of a user go to one address, those without a user by the header that the policy names, and not all
 * users to the same. */
static void test_ring_hash(void **state)
{
    struct rig *r = *state;
    struct farm f;
    farm_start(&f, r, 4);
    struct call_policy p = rig_policy(1, 5000);
    p.balance = CALL_BALANCE_RING_HASH;
    p.hash_header = "x-session";
    farm_edge(&f, p);
    unsigned used = 0;
    for (int user = 0; user < 24; user++) {
        char name[16];
        (void)snprintf(name, sizeof name, "u-%d", user);
        const struct http_field session = {SLICE("X-Session"), slice_str(name)};
        struct call_request by_user = get_as(name), by_header = get_as(NULL);
        by_header.fields = &session;
        by_header.field_count = 1;
        struct client first = rig_call_with(r, &by_user);
        used |= 1U << (first.body[0] - 'a');
        for (int i = 0; i < 3; i++) {
            assert_string_equal(rig_call_with(r, &by_user).body, first.body);
            assert_string_equal(rig_call_with(r, &by_header).body, first.body);
        }
    }
    assert_int_equal(used, 15);
    farm_stop(&f);
}

static struct client hold_one(struct rig *r, struct client *held, struct backend *b)
{
    struct call_request q = get_as(NULL);
    size_t before = b->count;
    b->mode = MODE_HANG;
    client_begin(r, held, &q);
    rig_wait_count(r, &b->count, before + 1);
    return *held;
}

/* least_request: an address with a call that hangs gets no other while one is free. */
static void test_least_request(void **state)
{
    struct rig *r = *state;
    struct farm f;
    farm_start(&f, r, 2);
    farm_edge(&f, rig_policy(1, 20000));
    struct client held = {0};
    f.backends[0].mode = f.backends[1].mode = MODE_HANG;
    struct call_request q = get_as(NULL);
    client_begin(r, &held, &q);
    while (f.backends[0].count + f.backends[1].count == 0)
        rig_turns(r, 1);
    struct backend *busy = f.backends[0].count > 0 ? &f.backends[0] : &f.backends[1];
    struct backend *other = busy == &f.backends[0] ? &f.backends[1] : &f.backends[0];
    other->mode = MODE_FINE;
    for (int i = 0; i < 50; i++)
        assert_string_equal(rig_call(r, "orders", "GET", "/").body, other->name);
    assert_int_equal(busy->count, 1);
    client_cancel(&held);
    farm_stop(&f);
}

/* ---- ejection ---- */

/* An address that answers 503 several times in a row is left alone, the others go on; it is tried again when its time is
 * over. A second one that fails stays in: more than percent would be out. */
static void test_eject(void **state)
{
    struct rig *r = *state;
    struct farm f;
    farm_start(&f, r, 3);
    struct call_policy p = rig_policy(1, 20000);
    p.balance = CALL_BALANCE_ROUND_ROBIN;
    p.eject.failures = 3;
    p.eject.base_ms = p.eject.max_ms = 600000;
    p.eject.percent = 34;
    farm_edge(&f, p);
    f.backends[1].mode = MODE_503;
    for (int i = 0; i < 30; i++)
        (void)rig_call(r, "orders", "GET", "/");
    assert_int_equal(f.backends[1].count, 3);
    assert_int_equal(f.backends[0].count + f.backends[2].count, 27);
    assert_int_equal(rig_metric(r, "call_ejections_total{callee=\"orders\",reason=\"failures\"} "), 1);
    f.backends[2].mode = MODE_CLOSE;
    for (int i = 0; i < 30; i++)
        (void)rig_call(r, "orders", "POST", "/");
    assert_true(f.backends[2].count > 13 + 10);
    assert_int_equal(f.backends[1].count, 3);
    farm_stop(&f);
}

static void test_eject_comes_back(void **state)
{
    struct rig *r = *state;
    struct farm f;
    farm_start(&f, r, 2);
    struct call_policy p = rig_policy(1, 20000);
    p.eject.failures = 1;
    p.eject.base_ms = p.eject.max_ms = 20;
    p.balance = CALL_BALANCE_ROUND_ROBIN;
    farm_edge(&f, p);
    f.backends[0].mode = MODE_503;
    while (f.backends[0].count == 0)
        (void)rig_call(r, "orders", "GET", "/");
    f.backends[0].mode = MODE_FINE;
    while (f.backends[0].count == 1)
        (void)rig_call(r, "orders", "GET", "/");
    farm_stop(&f);
}

/* ---- health checks ---- */

/* An address whose health check fails gets no calls, though it would answer them, and gets them again when the check is
 * good. Without checks in the policy nobody asks. */
static void test_check(void **state)
{
    struct rig *r = *state;
    struct farm f;
    farm_start(&f, r, 2);
    struct call_policy p = rig_policy(1, 20000);
    farm_edge(&f, p);
    (void)rig_call(r, "orders", "GET", "/");
    rig_turns(r, 5);
    assert_int_equal(f.backends[0].checks + f.backends[1].checks, 0);
    struct call_policy_check check = {.path = "/health", .every_ms = 10, .timeout_ms = 5000, .unhealthy = 2,
                                      .healthy = 2};
    p.check = &check;
    p.balance = CALL_BALANCE_ROUND_ROBIN;
    farm_edge(&f, p);
    f.backends[0].sick = true;
    (void)rig_call(r, "orders", "GET", "/");
    while (rig_metric(r, "call_ejections_total{callee=\"orders\",reason=\"check\"} ") == 0)
        rig_turns(r, 5);
    assert_true(f.backends[0].checks >= 2);
    size_t before = f.backends[0].count;
    for (int i = 0; i < 10; i++)
        assert_string_equal(rig_call(r, "orders", "GET", "/").body, "b");
    assert_int_equal(f.backends[0].count, before);
    f.backends[0].sick = false;
    while (f.backends[0].count == before)
        (void)rig_call(r, "orders", "GET", "/");
    farm_stop(&f);      /* closes the engine with checks under way */
}

/* When a reload takes the checks away, an address that they had found unhealthy gets calls again, and a check that was under
 * way then changes nothing. */
static void test_check_goes(void **state)
{
    struct rig *r = *state;
    struct farm f;
    farm_start(&f, r, 2);
    struct call_policy p = rig_policy(1, 20000);
    struct call_policy_check check = {.path = "/health", .every_ms = 10, .timeout_ms = 5000, .unhealthy = 1,
                                      .healthy = 1};
    p.check = &check;
    p.balance = CALL_BALANCE_ROUND_ROBIN;
    farm_edge(&f, p);
    f.backends[0].sick = true;
    (void)rig_call(r, "orders", "GET", "/");
    while (rig_metric(r, "call_ejections_total{callee=\"orders\",reason=\"check\"} ") == 0)
        rig_turns(r, 1);
    size_t before = f.backends[0].count;
    (void)rig_call(r, "orders", "GET", "/");
    (void)rig_call(r, "orders", "GET", "/");
    assert_int_equal(f.backends[0].count, before);
    p.check = NULL;
    farm_edge(&f, p);
    for (int i = 0; i < 10; i++)
        (void)rig_call(r, "orders", "GET", "/");
    assert_int_equal(f.backends[0].count, before + 5);
    farm_stop(&f);
}

/* ---- bulkhead ---- */

static struct call_policy bulkhead_policy(struct call_policy_bulkhead *b, int64_t queue, int64_t wait_ms)
{
    struct call_policy p = rig_policy(1, 20000);
    *b = (struct call_policy_bulkhead){.concurrency = 2, .queue = queue, .wait_ms = wait_ms};
    p.bulkhead = b;
    return p;
}

/* Two run, one waits, one more is refused at once without a byte to the callee; the waiting one runs when a place is
 * free, in order, and the places are all there again in the end. */
static void test_bulkhead(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_bulkhead b;
    farm_start(&f, r, 1);
    farm_edge(&f, bulkhead_policy(&b, 1, 600000));
    struct client held[2] = {0}, waits = {0};
    (void)hold_one(r, &held[0], &f.backends[0]);
    (void)hold_one(r, &held[1], &f.backends[0]);
    struct call_request q = get_as(NULL);
    client_begin(r, &waits, &q);
    assert_int_equal(rig_metric(r, "call_bulkhead_waiting{callee=\"orders\"} "), 1);
    struct client refused = rig_call(r, "orders", "GET", "/");
    assert_int_equal(refused.err, FICUS_ERR_BUSY);
    assert_false(refused.maybe);
    assert_int_equal(f.backends[0].count, 2);
    f.backends[0].mode = MODE_FINE;
    client_cancel(&held[0]);
    rig_wait(r, rig_is_true, &waits.over);
    assert_int_equal(waits.err, FICUS_ERR_OK);
    client_cancel(&held[1]);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    assert_int_equal(rig_metric(r, "call_bulkhead_waiting{callee=\"orders\"} "), 0);
    assert_int_equal(rig_metric(r, "call_concurrency_limit{callee=\"orders\"} "), 2);
    farm_stop(&f);
}

/* Who waits longer than allowed is refused, whose deadline passes hears TIMEOUT, and who leaves the queue takes no place
 * with it. */
static void test_bulkhead_waits(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_bulkhead b;
    farm_start(&f, r, 1);
    farm_edge(&f, bulkhead_policy(&b, 8, 20));
    struct client held[2] = {0}, left = {0};
    (void)hold_one(r, &held[0], &f.backends[0]);
    (void)hold_one(r, &held[1], &f.backends[0]);
    struct client c = rig_call(r, "orders", "GET", "/");
    assert_int_equal(c.err, FICUS_ERR_BUSY);
    assert_string_equal(c.detail, "no place became free in time");
    farm_edge(&f, bulkhead_policy(&b, 8, 600000));
    struct call_request q = get_as(NULL);
    q.timeout_ms = 10;
    assert_int_equal(rig_call_with(r, &q).err, FICUS_ERR_TIMEOUT);
    q.timeout_ms = 0;
    client_begin(r, &left, &q);
    client_cancel(&left);
    f.backends[0].mode = MODE_FINE;
    client_cancel(&held[0]);
    client_cancel(&held[1]);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    farm_stop(&f);
}

/* The engine closes while calls wait for a place: each hears CANCELLED once. And a bulkhead that goes away lets all
 * waiting ones run. */
static void test_bulkhead_goes(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_bulkhead b;
    farm_start(&f, r, 1);
    farm_edge(&f, bulkhead_policy(&b, 8, 600000));
    struct client held[2] = {0}, waits[3] = {0};
    (void)hold_one(r, &held[0], &f.backends[0]);
    (void)hold_one(r, &held[1], &f.backends[0]);
    struct call_request q = get_as(NULL);
    for (int i = 0; i < 3; i++)
        client_begin(r, &waits[i], &q);
    f.backends[0].mode = MODE_FINE;
    farm_edge(&f, rig_policy(1, 20000));
    for (int i = 0; i < 3; i++)
        rig_wait(r, rig_is_true, &waits[i].over);
    assert_int_equal(waits[2].status, 200);
    farm_edge(&f, bulkhead_policy(&b, 8, 600000));
    struct client last = {0};
    client_begin(r, &last, &q);
    rig_engine_close(r);
    assert_int_equal(last.err, FICUS_ERR_CANCELLED);
    assert_int_equal(held[0].err, FICUS_ERR_CANCELLED);
    farm_stop(&f);
}

/* ---- hedging ---- */

static struct call_policy hedge_policy(struct call_policy_hedge *h, int64_t after_ms)
{
    struct call_policy p = rig_policy(1, 20000);
    *h = (struct call_policy_hedge){.after.ms = after_ms};
    p.hedge = h;
    p.balance = CALL_BALANCE_ROUND_ROBIN;
    return p;
}

/* A GET whose first address hangs is answered by the other one; the hanging one sees the end of its connection; and the
 * user gets one head and one end. */
static void test_hedge_wins(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_hedge h;
    farm_start(&f, r, 2);
    farm_edge(&f, hedge_policy(&h, 10));
    f.backends[0].mode = MODE_HANG;
    for (size_t i = 1; i <= 3; i++) {
        while (f.backends[0].count < i) {
            struct client c = rig_call(r, "orders", "GET", "/");
            assert_int_equal(c.err, FICUS_ERR_OK);
            assert_int_equal(c.heads, 1);
            assert_string_equal(c.body, "b");
        }
        rig_wait_count(r, &f.backends[0].resets, i);
    }
    assert_int_equal(rig_metric(r, "call_hedges_total{callee=\"orders\",outcome=\"won\"} "), 3);
    farm_stop(&f);
}

/* With a body, of an idempotent method: the hedge carries it whole. */
static void test_hedge_body(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_hedge h;
    static char body[200000];
    farm_start(&f, r, 2);
    farm_edge(&f, hedge_policy(&h, 10));
    f.backends[0].mode = MODE_HANG;
    struct call_request q = rig_request("orders", "PUT", "/");
    q.body = slice_make(body, sizeof body);
    while (f.backends[0].count == 0)
        assert_string_equal(rig_call_with(r, &q).body, "b");
    farm_stop(&f);
}

/* A POST has no hedge, not even with a key, unless the callee keeps keys; nor has a streamed body; nor an edge without
 * another address; nor one without budget. */
static void test_hedge_not(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_hedge h;
    farm_start(&f, r, 2);
    struct call_policy p = hedge_policy(&h, 1);
    p.breaker.enabled = false;
    p.eject.failures = 0;
    farm_edge(&f, p);
    f.backends[0].mode = f.backends[1].mode = MODE_HANG;
    struct call_request q = rig_request("orders", "POST", "/");
    q.timeout_ms = 50;
    assert_int_equal(rig_call_with(r, &q).err, FICUS_ERR_TIMEOUT);
    q.keyed = true;
    assert_int_equal(rig_call_with(r, &q).err, FICUS_ERR_TIMEOUT);
    assert_int_equal(f.backends[0].count + f.backends[1].count, 2);
    p.keeps_keys = true;
    farm_edge(&f, p);
    assert_int_equal(rig_call_with(r, &q).err, FICUS_ERR_TIMEOUT);
    assert_int_equal(f.backends[0].count + f.backends[1].count, 4);
    q.method = SLICE("PUT");
    q.body_stream_size = 10;
    assert_int_equal(rig_call_with(r, &q).err, FICUS_ERR_TIMEOUT);
    assert_int_equal(f.backends[0].count + f.backends[1].count, 5);
    q = get_as(NULL);
    q.timeout_ms = 50;
    size_t calls = 0, before = f.backends[0].count + f.backends[1].count;
    int64_t attempts = 0;
    for (; calls < 30; calls++)
        (void)rig_call_with(r, &q);
    attempts = (int64_t)(f.backends[0].count + f.backends[1].count - before - calls);
    /* ten to begin with and one a second, of which one was spent; a fifth of the calls */
    assert_in_range(attempts, 5, 25);
    f.count = 1;
    farm_edge(&f, p);
    before = f.backends[0].count;
    assert_int_equal(rig_call_with(r, &q).err, FICUS_ERR_TIMEOUT);
    assert_int_equal(f.backends[0].count, before + 1);
    f.count = 2;
    farm_stop(&f);
}

/* The first attempt breaks while the hedge waits for its answer: the hedge goes on as the call's attempt, and no
 * repetition is needed. */
static void test_hedge_succeeds(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_hedge h;
    farm_start(&f, r, 2);
    farm_edge(&f, hedge_policy(&h, 5));
    f.backends[0].mode = f.backends[1].mode = MODE_HANG;
    struct client c = {0};
    struct call_request q = get_as(NULL);
    client_begin(r, &c, &q);
    rig_wait_count(r, &f.backends[0].count, 1);
    rig_wait_count(r, &f.backends[1].count, 1);
    /* one of them goes away with its connections; then the other */
    bool closed = false;
    http_server_close(f.backends[0].server, rig_set_closed, &closed);
    rig_wait(r, rig_is_true, &closed);
    rig_turns(r, 5);
    assert_false(c.over);
    closed = false;
    http_server_close(f.backends[1].server, rig_set_closed, &closed);
    rig_wait(r, rig_is_true, &closed);
    rig_wait(r, rig_is_true, &c.over);
    assert_int_equal(c.err, FICUS_ERR_RESET);
    assert_true(c.maybe);
    rig_engine_close(r);
    (void)unlink(f.backends[0].address + 5);
    (void)unlink(f.backends[1].address + 5);
}

/* A hedge that fails is not noticed; a call that ends or is cancelled takes its hedge with it. */
static void test_hedge_loses(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_hedge h;
    farm_start(&f, r, 2);
    struct call_policy p = hedge_policy(&h, 5);
    farm_edge(&f, p);
    static const enum mode failing[] = {MODE_503, MODE_CLOSE};
    for (int i = 0; i < 2; i++) {
        struct client c = {0};
        struct call_request q = get_as(NULL);
        f.backends[0].mode = MODE_HANG;
        f.backends[1].mode = failing[i];
        size_t before = f.backends[1].count;
        while (f.backends[0].count <= (size_t)i) {  /* until the first attempt is at the one that hangs */
            if (c.call != NULL)
                rig_wait(r, rig_is_true, &c.over);
            c = (struct client){0};
            before = f.backends[1].count;
            client_begin(r, &c, &q);
            while (!c.over && f.backends[0].count <= (size_t)i)
                rig_turns(r, 1);
        }
        rig_wait_count(r, &f.backends[1].count, before + 1);
        rig_turns(r, 5);
        assert_false(c.over);
        client_cancel(&c);
    }
    /* cancelled with both under way */
    f.backends[1].mode = MODE_HANG;
    struct client c = {0};
    struct call_request q = get_as(NULL);
    size_t before = f.backends[0].count + f.backends[1].count;
    client_begin(r, &c, &q);
    while (f.backends[0].count + f.backends[1].count < before + 2)
        rig_turns(r, 1);
    size_t resets = f.backends[0].resets + f.backends[1].resets;
    client_cancel(&c);
    while (f.backends[0].resets + f.backends[1].resets < resets + 2)
        rig_turns(r, 1);
    farm_stop(&f);
}

/* After a percentile: no hedge before enough answers are known, then they come. */
static void test_hedge_percentile(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_hedge h;
    farm_start(&f, r, 2);
    struct call_policy p = hedge_policy(&h, 0);
    h.after.percentile = 95;
    farm_edge(&f, p);
    f.backends[0].mode = MODE_HANG;
    struct call_request q = get_as(NULL);
    q.timeout_ms = 50;
    while (f.backends[0].count == 0)
        (void)rig_call_with(r, &q);
    assert_int_equal(rig_metric(r, "call_hedges_total{callee=\"orders\",outcome=\"won\"} "), 0);
    f.backends[0].mode = MODE_FINE;
    for (int i = 0; i < 60; i++)
        assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    f.backends[0].mode = MODE_HANG;
    size_t before = f.backends[0].count;
    while (f.backends[0].count == before)
        assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    assert_true(rig_metric(r, "call_hedges_total{callee=\"orders\",outcome=\"won\"} ") > 0);
    farm_stop(&f);
}

/* ---- faults ---- */

static struct call_policy fault_policy(struct call_policy_fault *fault)
{
    struct call_policy p = rig_policy(1, 5000);
    p.fault = fault;
    return p;
}

/* abort and reset: the user hears what the callee would have caused, the callee hears nothing; with attempts left a call
 * is repeated as ever, a POST too, because nothing was sent; the breaker counts. */
static void test_fault_ends(void **state)
{
    struct rig *r = *state;
    struct call_policy_fault fault = {.percent = 100, .abort = 503};
    struct call_policy p = fault_policy(&fault);
    rig_edge(r, "orders", p, r->address);
    struct client c = rig_call(r, "orders", "GET", "/");
    assert_int_equal(c.status, 503);
    assert_int_equal(c.heads, 1);
    fault.abort = 404;
    rig_edge(r, "orders", p, NULL);
    assert_int_equal(rig_call(r, "orders", "POST", "/").status, 404);
    fault = (struct call_policy_fault){.percent = 100, .reset = true};
    p.retry.attempts = 3;
    p.breaker.failures = 3;
    rig_edge(r, "orders", p, NULL);
    c = rig_call(r, "orders", "POST", "/");
    assert_int_equal(c.err, FICUS_ERR_RESET);
    assert_int_equal(rig_metric(r, "call_faults_total{callee=\"orders\",kind=\"reset\"} "), 3);
    assert_int_equal(rig_metric(r, "call_faults_total{callee=\"orders\",kind=\"abort\"} "), 2);
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "open");
    assert_int_equal(r->seen_count, 0);
}

/* delay: the deadline counts meanwhile; shorter ones only delay; only requests with the header suffer, if one is named;
 * a streamed body waits as well. */
static void test_fault_delay(void **state)
{
    struct rig *r = *state;
    struct call_policy_fault fault = {.percent = 100, .delay_ms = 60000, .header = "x-fault: on"};
    struct call_policy p = fault_policy(&fault);
    rig_edge(r, "orders", p, r->address);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    const struct http_field off = {SLICE("X-Fault"), SLICE("off")}, on = {SLICE("X-Fault"), SLICE("on")};
    struct call_request q = get_as(NULL);
    q.fields = &off;
    q.field_count = 1;
    assert_int_equal(rig_call_with(r, &q).status, 200);
    q.fields = &on;
    q.timeout_ms = 30;
    assert_int_equal(rig_call_with(r, &q).err, FICUS_ERR_TIMEOUT);
    assert_int_equal(r->seen_count, 2);
    fault.delay_ms = 5;
    rig_edge(r, "orders", p, NULL);
    q.timeout_ms = 0;
    assert_int_equal(rig_call_with(r, &q).status, 200);
    assert_int_equal(rig_metric(r, "call_faults_total{callee=\"orders\",kind=\"delay\"} "), 2);
    q.method = SLICE("POST");
    q.path = SLICE("/echo");
    q.body_stream_size = 20000;
    struct client c = {.send_left = 20000};
    client_begin(r, &c, &q);
    rig_wait(r, rig_is_true, &c.over);
    assert_int_equal(c.err, FICUS_ERR_OK);
    assert_int_equal(c.received, 20000);
    /* cancelled, and the engine closed, while it waits */
    fault.delay_ms = 60000;
    rig_edge(r, "orders", p, NULL);
    struct client one = {0}, two = {0};
    q = get_as(NULL);
    q.fields = &on;
    q.field_count = 1;
    client_begin(r, &one, &q);
    client_begin(r, &two, &q);
    client_cancel(&one);
    rig_engine_close(r);
    assert_int_equal(two.err, FICUS_ERR_CANCELLED);
}

/* percent: of a thousand calls about a third, from the engine's own chance. */
static void test_fault_percent(void **state)
{
    struct rig *r = *state;
    struct call_policy_fault fault = {.percent = 33, .abort = 404};
    rig_edge(r, "orders", fault_policy(&fault), r->address);
    int struck = 0;
    for (int i = 0; i < 1000; i++)
        struck += rig_call(r, "orders", "GET", "/").status == 404;
    assert_in_range(struck, 230, 430);
    assert_int_equal(r->seen_count, 1000 - (size_t)struck);
}

/* ---- what people ask ---- */

/* The description is one JSON array that says what each edge and address is at. */
static void test_describe(void **state)
{
    struct rig *r = *state;
    struct farm f;
    struct call_policy_bulkhead b;
    farm_start(&f, r, 2);
    struct call_policy p = bulkhead_policy(&b, 1, 1000);
    p.eject.failures = 1;
    p.eject.base_ms = p.eject.max_ms = 600000;
    p.balance = CALL_BALANCE_ROUND_ROBIN;
    farm_edge(&f, p);
    f.backends[1].mode = MODE_503;
    for (int i = 0; i < 4; i++)
        (void)rig_call(r, "orders", "GET", "/");
    struct client held = {0};
    (void)hold_one(r, &held, &f.backends[0]);
    struct buf out;
    struct json_writer w;
    struct arena a;
    struct json *root;
    arena_init(&a, 65536);
    buf_init(&out, 65536);
    json_write_init(&w, &out);
    assert_int_equal(call_engine_describe(r->g, &w), 1);
    assert_int_equal(json_parse(&a, buf_slice(&out), NULL, &root, NULL), FICUS_ERR_OK);
    const struct json *edge = json_at(root, 0), *addresses = json_get(edge, "addresses");
    assert_true(slice_eq_str(json_string_or(json_get(edge, "callee"), SLICE_NONE), "orders"));
    assert_true(slice_eq_str(json_string_or(json_get(edge, "breaker"), SLICE_NONE), "closed"));
    assert_int_equal(json_i64_or(json_get(json_get(edge, "bulkhead"), "limit"), -1), 2);
    assert_int_equal(json_i64_or(json_get(json_get(edge, "bulkhead"), "running"), -1), 1);
    assert_int_equal(addresses->count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct json *at = json_at(addresses, i);
        assert_true(slice_eq_str(json_string_or(json_get(at, "address"), SLICE_NONE), f.backends[i].address));
        assert_int_equal(json_i64_or(json_get(at, "outstanding"), -1), i == 0);
        assert_true(json_i64_or(json_get(at, "latency_us"), -1) > 0);
        assert_int_equal(json_i64_or(json_get(at, "ejected_ms"), -1) > 0, i == 1);
    }
    buf_done(&out);
    arena_done(&a);
    client_cancel(&held);
    farm_stop(&f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ring_hash),
        TEST(test_least_request),
        TEST(test_eject),
        TEST(test_eject_comes_back),
        TEST(test_check),
        TEST(test_check_goes),
        TEST(test_bulkhead),
        TEST(test_bulkhead_waits),
        TEST(test_bulkhead_goes),
        TEST(test_hedge_wins),
        TEST(test_hedge_body),
        TEST(test_hedge_not),
        TEST(test_hedge_succeeds),
        TEST(test_hedge_loses),
        TEST(test_hedge_percentile),
        TEST(test_fault_ends),
        TEST(test_fault_delay),
        TEST(test_fault_percent),
        TEST(test_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
