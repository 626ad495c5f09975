/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection that cannot be made for want of something that this process needs says nothing about the callee.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_rig.h"

#include <sys/resource.h>

/* ---- an env whose connections end as it is told ---- */

enum { CONNECTS_MAX = 256 };

static struct {
    struct env_ops ops;
    const struct env_ops *real;
    enum ficus_err result;      /* of the first `left` connections, whatever became of them */
    size_t left, count;
    bool at_once;               /* they do not even begin */
    struct connect {
        void (*on_connect)(void *arg, enum ficus_err err);
        void *arg;
        enum ficus_err result;
    } connects[CONNECTS_MAX];
} fake;

static void fake_connected(void *arg, enum ficus_err err)
{
    struct connect *c = arg;
    c->on_connect(c->arg, c->result != FICUS_ERR_OK ? c->result : err);
}

static enum ficus_err fake_connect(struct env *e, const char *address, struct tls_client *tls,
                                   void (*on_connect)(void *arg, enum ficus_err err), void *arg,
                                   struct env_stream **ret_stream)
{
    assert_true(fake.count < CONNECTS_MAX);
    struct connect *c = &fake.connects[fake.count++];
    *c = (struct connect){on_connect, arg, fake.left > 0 ? fake.result : FICUS_ERR_OK};
    bool fails = fake.left > 0 && fake.at_once;
    fake.left -= fake.left > 0;
    if (fails)
        return fake.result;
    return fake.real->connect(e, address, tls, fake_connected, c, ret_stream);
}

static void fake_begin(struct rig *r, enum ficus_err result, size_t left)
{
    fake.real = r->e->ops;
    fake.ops = *fake.real;
    fake.ops.connect = fake_connect;
    fake.result = result;
    fake.left = left;
    fake.count = 0;
    r->e->ops = &fake.ops;
}

/* ---- tests ---- */

static struct call_policy touchy(int64_t attempts)
{
    struct call_policy p = rig_policy(attempts, 20000);
    p.breaker.failures = 1;
    p.eject.failures = 1;
    return p;
}

static bool nobody_was_ejected(struct rig *r)
{
    return rig_metric(r, "call_ejections_total{callee=\"orders\",reason=\"refused\"} ") == 0 &&
           rig_metric(r, "call_ejections_total{callee=\"orders\",reason=\"failures\"} ") == 0 &&
           rig_metric(r, "call_ejections_total{callee=\"orders\",reason=\"check\"} ") == 0;
}

/* Not one descriptor is left: calls fail at once, with NOMEM; when there are some again, they go through at once. */
static void test_descriptors(void **state)
{
    struct rig *r = *state;
    struct rlimit before, none;
    rig_edge(r, "orders", touchy(2), r->address);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    assert_true(next >= 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    (void)close(next);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct client c[3];
    for (int i = 0; i < 3; i++)
        c[i] = rig_call(r, "orders", "GET", "/");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(c[i].err, FICUS_ERR_NOMEM);
        assert_false(c[i].maybe);
        assert_non_null(strstr(c[i].detail, "descriptors"));
    }
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "closed");
    assert_true(nobody_was_ejected(r));
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
}

/* The same when it shows only while the connection is made. */
static void test_later(void **state)
{
    struct rig *r = *state;
    rig_edge(r, "orders", touchy(2), r->address);
    fake_begin(r, FICUS_ERR_NOMEM, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_NOMEM);
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "closed");
    assert_true(nobody_was_ejected(r));
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
}

/* A health check that could not be made is no bad result. */
static void test_check(void **state)
{
    struct rig *r = *state;
    struct call_policy p = touchy(1);
    struct call_policy_check check = {.path = "/health", .every_ms = 1, .timeout_ms = 5000, .unhealthy = 1, .healthy = 1};
    p.check = &check;
    rig_edge(r, "orders", p, r->address);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    fake_begin(r, FICUS_ERR_NOMEM, 10);
    rig_wait_count(r, &fake.count, 11);
    assert_true(nobody_was_ejected(r));
    rig_engine_close(r);
}

/* No way to an address is not "no address": it is left alone, and the call goes to another. */
static void test_no_way(void **state)
{
    struct rig *r = *state;
    struct call_policy p = rig_policy(2, 20000);
    p.balance = CALL_BALANCE_ROUND_ROBIN;
    const char *both[] = {r->dead_address, r->address};
    rig_edge(r, "orders", p, NULL);
    assert_int_equal(call_engine_endpoints(r->g, "orders", both, 2), FICUS_ERR_OK);
    fake_begin(r, FICUS_ERR_UNAVAILABLE, 1);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    assert_int_equal(fake.count, 2);
    assert_false(nobody_was_ejected(r));
}

static bool one_is_over(void *arg)
{
    const struct client *c = arg;
    return c[0].over || c[1].over || c[2].over || c[3].over || c[4].over;
}

/* What is lacking is the bad luck of the call whose turn it was: those that wait behind it go through. */
static void test_queue(void **state)
{
    struct rig *r = *state;
    rig_engine_close(r);
    rig_engine(r, 2, 100);
    struct call_policy p = touchy(1);
    rig_edge(r, "orders", p, r->address);
    struct call_request hang = rig_request("orders", "GET", "/hang"), hello = rig_request("orders", "GET", "/hello");
    struct client hanging[2] = {0}, waiting[5] = {0};
    for (size_t i = 0; i < 2; i++)
        client_begin(r, &hanging[i], &hang);
    rig_wait_count(r, &r->seen_count, 2);
    for (size_t i = 0; i < 5; i++)
        client_begin(r, &waiting[i], &hello);
    rig_turns(r, 3);
    fake_begin(r, FICUS_ERR_NOMEM, 1000);
    fake.at_once = true;
    client_cancel(&hanging[0]); /* its place is free: the next connection is for who waits */
    rig_wait(r, one_is_over, waiting);
    fake.left = 0;
    size_t failed = 0, answered = 0;
    for (size_t i = 0; i < 5; i++) {
        rig_wait(r, rig_is_true, &waiting[i].over);
        failed += waiting[i].err == FICUS_ERR_NOMEM;
        answered += waiting[i].status == 200;
    }
    assert_int_equal(failed, 1);
    assert_int_equal(answered, 4);
    fake.at_once = false;
    client_cancel(&hanging[1]);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {CASE(test_descriptors), CASE(test_later), CASE(test_check), CASE(test_no_way), CASE(test_queue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
