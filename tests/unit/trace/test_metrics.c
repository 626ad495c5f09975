/* SPDX-License-Identifier: Apache-2.0
 *
 * The registry of metrics and its Prometheus text.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "metrics.h"

#include <pthread.h>
#include <stdio.h>

static const int64_t two_bounds[] = {1000000, INT64_C(2500000000), 0};
static const struct metric_def defs[] = {
    {.name = "requests_total", .type = METRIC_COUNTER, .help = "Requests.", .labels = {"route", "status"}},
    {.name = "up", .type = METRIC_GAUGE, .help = "Back\\slash\nand \"line\"."},
    {.name = "wait_seconds", .type = METRIC_HISTOGRAM, .unit = METRIC_SECONDS, .help = "Wait.", .labels = {"to"},
     .bounds = two_bounds, .exemplars = true, .one_thread = true},
    {.name = "cpu_seconds_total", .type = METRIC_COUNTER, .unit = METRIC_SECONDS, .help = "CPU."},
    {.name = "small_total", .type = METRIC_COUNTER, .help = "Small.", .labels = {"key"}, .children_max = 3},
    {.name = "body_bytes", .type = METRIC_HISTOGRAM, .unit = METRIC_BYTES, .help = "Body."},
};
enum { REQUESTS, UP, WAIT, CPU, SMALL, BODY, DEF_COUNT };

struct fixture {
    struct metrics *reg;
    struct metric_family *families[DEF_COUNT];
    struct buf out;
};

static struct fixture fixture;

static int setup(void **state)
{
    struct fixture *f = *state = &fixture;
    f->reg = metrics_new();
    assert_non_null(f->reg);
    assert_int_equal(metrics_register_all(f->reg, defs, DEF_COUNT, f->families), FICUS_ERR_OK);
    buf_init(&f->out, 64 * 1024);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    metrics_free(f->reg);
    buf_done(&f->out);
    return 0;
}

static const char *rendered(struct fixture *f)
{
    buf_clear(&f->out);
    assert_true(metrics_render(f->reg, &f->out));
    return buf_str(&f->out);
}

/* The exposition is, byte for byte, what format 0.0.4 wants: types, escapes, cumulative buckets, exact seconds. */
static void exposition(void **state)
{
    struct fixture *f = *state;
    metric_inc(METRIC(f->families[REQUESTS], SLICE("/v1/\"a\"\\\n"), SLICE("200")));
    metric_add(METRIC(f->families[REQUESTS], SLICE("/"), SLICE("404")), 41);
    metric_inc(METRIC(f->families[REQUESTS], SLICE("/"), SLICE("404")));
    metric_set(metric_only(f->families[UP]), 5);
    metric_change(metric_only(f->families[UP]), -7);
    struct metric *wait = METRIC(f->families[WAIT], SLICE("bank"));
    static const int64_t waits[] = {-5, 0, 1000000, 1000001, 2500000000, 2500000001};
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++)
        metric_observe(wait, waits[i]);
    metric_add(metric_only(f->families[CPU]), 1500000000);
    assert_int_equal(metric_value(wait), 6);
    metric_observe(metric_only(f->families[BODY]), 257);
    assert_string_equal(rendered(f),
        "# HELP requests_total Requests.\n# TYPE requests_total counter\n"
        "requests_total{route=\"/v1/\\\"a\\\"\\\\\\n\",status=\"200\"} 1\n"
        "requests_total{route=\"/\",status=\"404\"} 42\n"
        "# HELP up Back\\\\slash\\nand \"line\".\n# TYPE up gauge\nup -2\n"
        "# HELP wait_seconds Wait.\n# TYPE wait_seconds histogram\n"
        "wait_seconds_bucket{to=\"bank\",le=\"0.001\"} 3\n"
        "wait_seconds_bucket{to=\"bank\",le=\"2.5\"} 5\n"
        "wait_seconds_bucket{to=\"bank\",le=\"+Inf\"} 6\n"
        "wait_seconds_sum{to=\"bank\"} 5.002000002\n"
        "wait_seconds_count{to=\"bank\"} 6\n"
        "# HELP cpu_seconds_total CPU.\n# TYPE cpu_seconds_total counter\ncpu_seconds_total 1.5\n"
        "# HELP body_bytes Body.\n# TYPE body_bytes histogram\n"
        "body_bytes_bucket{le=\"256\"} 0\nbody_bytes_bucket{le=\"1024\"} 1\nbody_bytes_bucket{le=\"4096\"} 1\n"
        "body_bytes_bucket{le=\"16384\"} 1\nbody_bytes_bucket{le=\"65536\"} 1\nbody_bytes_bucket{le=\"262144\"} 1\n"
        "body_bytes_bucket{le=\"1048576\"} 1\nbody_bytes_bucket{le=\"4194304\"} 1\n"
        "body_bytes_bucket{le=\"16777216\"} 1\nbody_bytes_bucket{le=\"+Inf\"} 1\n"
        "body_bytes_sum 257\nbody_bytes_count 1\n");
}

/* The same labels are the same child, other labels another; a row registered twice is one family. */
static void children_are_found_again(void **state)
{
    struct fixture *f = *state;
    struct metric *a = METRIC(f->families[REQUESTS], SLICE("/a"), SLICE("200"));
    assert_ptr_equal(METRIC(f->families[REQUESTS], SLICE("/a"), SLICE("200")), a);
    assert_ptr_not_equal(METRIC(f->families[REQUESTS], SLICE("/a"), SLICE("20")), a);
    assert_ptr_not_equal(METRIC(f->families[REQUESTS], SLICE("/a2"), SLICE("00")), a);
    assert_ptr_equal(metrics_register(f->reg, &defs[REQUESTS]), f->families[REQUESTS]);
}

/* Past its bound a family counts strangers in one child "other" and loses none. */
static void label_sets_are_bounded(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            metric_inc(METRIC(f->families[SMALL], slice_str(key)));
        }
    }
    metric_inc(METRIC(f->families[SMALL], SLICE("other")));
    const char *text = rendered(f);
    assert_non_null(strstr(text, "small_total{key=\"k0\"} 2\nsmall_total{key=\"k1\"} 2\nsmall_total{key=\"k2\"} 2\n"
                                 "small_total{key=\"other\"} 1995\n"));
    assert_null(strstr(text, "k3"));
}

/* A child that is called "other" by its caller is the same one as the overflow, so no series occurs twice. */
static void other_is_one(void **state)
{
    struct fixture *f = *state;
    struct metric *other = METRIC(f->families[SMALL], SLICE("other"));
    for (int i = 0; i < 5; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        metric_inc(METRIC(f->families[SMALL], slice_str(key)));
    }
    assert_int_equal(metric_value(other), 2);
}

/* Labels that are too long or no UTF-8 are made fit, and the same one finds the same child. */
static void labels_are_cleaned(void **state)
{
    struct fixture *f = *state;
    char big[1000];
    memset(big, 'x', sizeof big);
    memcpy(big + METRIC_LABEL_SIZE_MAX - 1, "\xe2\x82\xac", 3);     /* would be cut in its middle */
    struct metric *m = METRIC(f->families[SMALL], slice_make(big, sizeof big));
    assert_ptr_equal(METRIC(f->families[SMALL], slice_make(big, sizeof big)), m);
    assert_ptr_equal(METRIC(f->families[SMALL], slice_make(big, METRIC_LABEL_SIZE_MAX - 1)), m);
    assert_ptr_equal(METRIC(f->families[SMALL], SLICE("a\xff")), METRIC(f->families[SMALL], SLICE("a?")));
    assert_ptr_equal(METRIC(f->families[SMALL], SLICE_NONE), METRIC(f->families[SMALL], SLICE("")));
}

/* Nothing, or a full buffer, is no crash: NULL is ignored, and render says that it did not fit. */
static void nothing_breaks(void **state)
{
    struct fixture *f = *state;
    struct buf small;
    metric_inc(NULL);
    metric_set(NULL, 1);
    metric_change(NULL, 1);
    metric_observe(NULL, 1);
    assert_int_equal(metric_value(metric_with(NULL, NULL, 0)), 0);
    buf_init(&small, 40);
    assert_false(metrics_render(f->reg, &small));
    buf_done(&small);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *hammer(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < ROUNDS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i % 7);
        metric_inc(METRIC(f->families[SMALL], slice_str(key)));
        metric_observe(metric_only(f->families[BODY]), i);
    }
    return NULL;
}

/* Threads that make children and count at once, while another renders, lose no count. */
static void threads_lose_nothing(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, f), 0);
    for (int i = 0; i < 50; i++)
        rendered(f);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    int64_t total = metric_value(METRIC(f->families[SMALL], SLICE("other")));
    for (int i = 0; i < 7; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        struct metric *m = METRIC(f->families[SMALL], slice_str(key));
        total += m != METRIC(f->families[SMALL], SLICE("other")) ? metric_value(m) : 0;
    }
    assert_int_equal(total, THREADS * ROUNDS);
    assert_int_equal(metric_value(metric_only(f->families[BODY])), THREADS * ROUNDS);
}

static bool is_a_or_other(void *arg, struct slice value)
{
    return slice_eq_str(value, "a") || slice_eq_str(value, "other");
}

/* What is forgotten leaves the text and makes room in a full family; the rest, and "other", keep their values. */
static void children_are_forgotten(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++)
        metric_inc(METRIC(f->families[SMALL], slice_str(names[i])));
    assert_int_equal(metrics_forget(f->families[SMALL], 0, is_a_or_other, NULL), 1);
    metric_inc(METRIC(f->families[SMALL], SLICE("e")));
    const char *text = rendered(f);
    assert_null(strstr(text, "{key=\"a\"}"));
    assert_non_null(strstr(text, "small_total{key=\"b\"} 1\nsmall_total{key=\"c\"} 1\nsmall_total{key=\"e\"} 1\n"
                                 "small_total{key=\"other\"} 1\n"));
    metric_inc(METRIC(f->families[REQUESTS], SLICE("a"), SLICE("200")));
    metric_inc(METRIC(f->families[REQUESTS], SLICE("b"), SLICE("200")));
    metric_inc(METRIC(f->families[REQUESTS], SLICE("a"), SLICE("404")));
    assert_int_equal(metrics_forget(f->families[REQUESTS], 0, is_a_or_other, NULL), 2);
    assert_int_equal(metric_value(METRIC(f->families[REQUESTS], SLICE("b"), SLICE("200"))), 1);
}

/* One of the threads of test sums_lose_nothing: what it counts is its own; now and then it forgets. */
struct counter {
    struct metrics *reg;
    struct metric_family *families[DEF_COUNT];
};

static bool is_gone(void *arg, struct slice value)
{
    return slice_eq_str(value, "gone");
}

static void *count_own(void *arg)
{
    struct counter *c = arg;
    struct trace_context trace = {.trace_id = {1, 2, 3}};
    for (int i = 0; i < ROUNDS; i++) {
        metric_inc(METRIC(c->families[SMALL], SLICE("kept")));
        metric_inc(METRIC(c->families[SMALL], SLICE("gone")));
        metric_observe_traced(METRIC(c->families[WAIT], SLICE("bank")), i, &trace);
        if (i % 16 == 0)
            (void)metrics_forget(c->families[SMALL], 0, is_gone, NULL);
    }
    (void)metrics_forget(c->families[SMALL], 0, is_gone, NULL);
    return NULL;
}

/* The sum of registries that threads count into and forget from is at the end what all have counted. */
static void sums_lose_nothing(void **state)
{
    struct counter counters[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        counters[i].reg = metrics_new();
        assert_int_equal(metrics_register_all(counters[i].reg, defs, DEF_COUNT, counters[i].families), FICUS_ERR_OK);
        assert_int_equal(pthread_create(&threads[i], NULL, count_own, &counters[i]), 0);
    }
    for (int round = 0; round <= 50; round++) {
        if (round == 50)
            for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        struct metrics *sum = metrics_new();
        for (int i = 0; i < THREADS; i++)
            assert_true(metrics_add_all(sum, counters[i].reg));
        struct metric_family *small = metrics_register(sum, &defs[SMALL]), *wait = metrics_register(sum, &defs[WAIT]);
        if (round == 50) {
            assert_int_equal(metric_value(METRIC(small, SLICE("kept"))), THREADS * ROUNDS);
            assert_int_equal(metric_value(METRIC(small, SLICE("gone"))), 0);
            assert_int_equal(metric_value(METRIC(wait, SLICE("bank"))), THREADS * ROUNDS);
        }
        metrics_free(sum);
    }
    for (int i = 0; i < THREADS; i++)
        metrics_free(counters[i].reg);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(exposition), TEST(children_are_found_again), TEST(label_sets_are_bounded), TEST(other_is_one),
            TEST(labels_are_cleaned),
        TEST(children_are_forgotten), TEST(nothing_breaks), TEST(threads_lose_nothing), TEST(sums_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
