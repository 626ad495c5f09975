/* SPDX-License-Identifier: Apache-2.0
 *
 * The limit of calls at a time against a simulated server of known capacity, and percentiles of latency; virtual time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_balance.h"
#include "call_latency.h"
#include "call_limit.h"

#define MS INT64_C(1000000)

enum { RUNNING_MAX = 512 };

/* A server that works on `slots` requests at a time, each for service_ns give or take a half, the others in a queue. */
struct server {
    int64_t slots, service_ns;
    uint64_t random;
    struct {
        int64_t begun_ns, due_ns;   /* due 0: in the queue */
    } work[RUNNING_MAX];
    int64_t count, busy;            /* work[0..busy) is being done */
};

struct figures {
    double limit_sum, latency_sum_ns;
    int64_t samples, done;
};

static int64_t draw_service(struct server *v)
{
    return v->service_ns / 2 + (int64_t)(call_random(&v->random) % (uint64_t)v->service_ns);
}

static void server_fill(struct server *v, int64_t now_ns)
{
    while (v->busy < v->count && v->busy < v->slots)
        v->work[v->busy++].due_ns = now_ns + draw_service(v);
}

/* Demand without end: whenever the limit lets a call run, one begins. Steps of a tenth of a millisecond until to_ns. */
static struct figures run(struct server *v, struct call_limit *l, int64_t *now_ns, int64_t to_ns, int64_t demand)
{
    struct figures f = {0};
    for (; *now_ns < to_ns; *now_ns += MS / 10) {
        for (int64_t i = v->busy; i-- > 0;) {
            if (v->work[i].due_ns > *now_ns)
                continue;
            int64_t latency_ns = *now_ns - v->work[i].begun_ns;
            call_limit_note(l, latency_ns, false, v->count, *now_ns);
            f.latency_sum_ns += (double)latency_ns;
            f.done++;
            v->count--;
            v->busy--;
            v->work[i] = v->work[v->busy];                  /* the queue keeps its order */
            for (int64_t k = v->busy; k < v->count; k++)
                v->work[k] = v->work[k + 1];
        }
        while (v->count < call_limit_places(l) && v->count < demand) {
            v->work[v->count].begun_ns = *now_ns;
            v->work[v->count++].due_ns = 0;
        }
        server_fill(v, *now_ns);
        f.limit_sum += (double)call_limit_places(l);
        f.samples++;
    }
    return f;
}

/* For callees that work on 5, 10, 40 and 100 requests at a time: the limit settles between what keeps the callee busy
 * and twice of it and a few, throughput is at least nine tenths of what the callee can do, and the latency stays below three
 * times the callee's own. */
static void test_converges(void **state)
{
    static const int64_t capacities[] = {5, 10, 40, 100};
    for (size_t i = 0; i < 4; i++) {
        int64_t slots = capacities[i], now_ns = 0;
        struct server v = {.slots = slots, .service_ns = 20 * MS, .random = i};
        const struct call_policy_bulkhead p = {.concurrency = 500, .adaptive = true};
        struct call_limit l;
        call_limit_init(&l, &p, 0);
        (void)run(&v, &l, &now_ns, 10000 * MS, INT64_MAX);
        struct figures f = run(&v, &l, &now_ns, 100000 * MS, INT64_MAX);
        double mean_limit = f.limit_sum / (double)f.samples, mean_ns = f.latency_sum_ns / (double)f.done;
        double share = (double)f.done / (90000.0 / 20.0 * (double)slots);
        print_message("capacity %lld: limit %.1f, latency %.1f ms of 20, throughput %.2f\n", (long long)slots,
                      mean_limit, mean_ns / 1e6, share);
        assert_true(mean_limit >= 0.9 * (double)slots && mean_limit <= 2 * (double)slots + 6);
        assert_true(share > 0.9);
        assert_true(mean_ns < 60e6);
    }
}

/* A callee that loses three quarters of its places and gets them back: the limit follows both ways. */
static void test_recovers(void **state)
{
    struct server v = {.slots = 40, .service_ns = 20 * MS, .random = 3};
    const struct call_policy_bulkhead p = {.concurrency = 500, .adaptive = true};
    struct call_limit l;
    int64_t now_ns = 0;
    call_limit_init(&l, &p, 0);
    (void)run(&v, &l, &now_ns, 20000 * MS, INT64_MAX);
    double before = l.limit;
    v.slots = 10;
    (void)run(&v, &l, &now_ns, 40000 * MS, INT64_MAX);
    double low = l.limit;
    v.slots = 40;
    (void)run(&v, &l, &now_ns, 60000 * MS, INT64_MAX);
    print_message("limit %.1f, %.1f with a quarter, %.1f again\n", before, low, l.limit);
    assert_true(low < before / 1.6 && low >= 9);
    assert_true(l.limit > 38);
}

/* A callee that became three times slower for good, with as many places: its latency is the new measure after a while,
 * the limit does not stay down. */
static void test_slower_for_good(void **state)
{
    struct server v = {.slots = 20, .service_ns = 20 * MS, .random = 5};
    const struct call_policy_bulkhead p = {.concurrency = 500, .adaptive = true};
    struct call_limit l;
    int64_t now_ns = 0;
    call_limit_init(&l, &p, 0);
    (void)run(&v, &l, &now_ns, 20000 * MS, INT64_MAX);
    v.service_ns = 60 * MS;
    (void)run(&v, &l, &now_ns, 60000 * MS, INT64_MAX);
    struct figures f = run(&v, &l, &now_ns, 120000 * MS, INT64_MAX);
    assert_true(f.limit_sum / (double)f.samples > 18);
    assert_true((double)f.done > 0.85 * 60000.0 / 60.0 * 20);
}

/* A limit that is not used does not grow, and it never leaves its bounds. */
static void test_bounds(void **state)
{
    struct server v = {.slots = 400, .service_ns = 20 * MS, .random = 9};
    const struct call_policy_bulkhead p = {.concurrency = 30, .adaptive = true};
    struct call_limit l;
    int64_t now_ns = 0;
    call_limit_init(&l, &p, 0);
    assert_int_equal(call_limit_places(&l), CALL_LIMIT_START);
    (void)run(&v, &l, &now_ns, 5000 * MS, 6);
    assert_int_equal(call_limit_places(&l), CALL_LIMIT_START);
    (void)run(&v, &l, &now_ns, 10000 * MS, INT64_MAX);
    assert_int_equal(call_limit_places(&l), 30);
    for (int i = 0; i < 10000; i++) {
        now_ns += 10 * MS;
        call_limit_note(&l, 5 * MS, true, 30, now_ns);
        assert_in_range(call_limit_places(&l), CALL_LIMIT_MIN, 30);
    }
    assert_int_equal(call_limit_places(&l), CALL_LIMIT_MIN);
    const struct call_policy_bulkhead one = {.concurrency = 1, .adaptive = true};
    call_limit_init(&l, &one, 0);
    assert_int_equal(call_limit_places(&l), 1);
    l.phase = CALL_LIMIT_DRAINING;
    assert_int_equal(call_limit_places(&l), 1);
}

/* Not adaptive: the policy's number, whatever happens. */
static void test_fixed(void **state)
{
    const struct call_policy_bulkhead p = {.concurrency = 7};
    struct call_limit l;
    call_limit_init(&l, &p, 0);
    for (int i = 0; i < 1000; i++) {
        call_limit_note(&l, i * MS, i % 2 == 0, 7, i * 100 * MS);
        assert_int_equal(call_limit_places(&l), 7);
    }
}

/* For latencies from a microsecond to minutes, a percentile is never below the true one and at most an eighth (and a
 * microsecond) above it. */
static void test_percentile(void **state)
{
    uint64_t random = 1;
    for (int64_t scale_us = 1; scale_us < 100000000; scale_us *= 7) {
        struct call_latency l = {0};
        int64_t sorted[500];
        size_t count = 0;
        for (int i = 0; i < 500; i++) {
            int64_t v = (int64_t)(call_random(&random) % (uint64_t)scale_us);
            size_t at = count++;
            for (; at > 0 && sorted[at - 1] > v; at--)
                sorted[at] = sorted[at - 1];
            sorted[at] = v;
            call_latency_note(&l, v * 1000);
        }
        for (int64_t percentile = 50; percentile <= 99; percentile++) {
            int64_t is = call_latency_ns(&l, percentile) / 1000, want = sorted[(500 * percentile + 99) / 100 - 1];
            assert_true(is >= want && is <= want + want / 8 + 1);
        }
    }
}

/* Too few answers say nothing; old ones are forgotten. */
static void test_percentile_moves(void **state)
{
    struct call_latency l = {0};
    for (int i = 0; i < CALL_LATENCY_LEAST; i++) {
        assert_int_equal(call_latency_ns(&l, 95), 0);
        call_latency_note(&l, 10 * MS);
    }
    assert_in_range(call_latency_ns(&l, 95), 10 * MS, 12 * MS);
    for (int i = 0; i < 20000; i++)
        call_latency_note(&l, 100 * MS);
    assert_in_range(call_latency_ns(&l, 50), 100 * MS, 113 * MS);
    for (int i = 0; i < 20000; i++)
        call_latency_note(&l, i % 2 == 0 ? INT64_MAX : 0);
    assert_true(call_latency_ns(&l, 99) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_converges),
        cmocka_unit_test(test_recovers),
        cmocka_unit_test(test_slower_for_good),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_percentile),
        cmocka_unit_test(test_percentile_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
