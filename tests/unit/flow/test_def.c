/* SPDX-License-Identifier: Apache-2.0
 *
 * Definitions of flows: what is right is read as it is written and gives the same text again, each rule refuses its own breach at
 * its own place, and the graph finds what leads to what.
 */
#include "flow_defs.h"
#include "flow_graph.h"

static void test_read(void **state)
{
    (void)state;
    struct arena a;
    struct flow_def d;
    struct flow_graph g;
    arena_init(&a, 1 << 20);
    must_read_flow(&a, ORDER_FLOW(""), &d);
    assert_int_equal(d.by, FLOW_BY_SUBJECT);
    assert_int_equal(d.step_count, 4);
    assert_int_equal(d.start.count, 1);
    assert_string_equal(d.steps[0].events.names[1], "rejected");
    assert_int_equal(d.steps[0].after.count, 0);
    assert_string_equal(d.steps[2].consumer, "search");
    assert_int_equal(d.steps[3].within_ms, 4000);
    assert_true(flow_graph_make(&d, &g));
    assert_int_equal(g.topic_count, 5);
    assert_int_equal(flow_graph_topic(&g, SLICE("placed")), 0);
    assert_int_equal(flow_graph_topic(&g, SLICE("unknown")), -1);
    assert_false(g.compensates[0] || g.compensates[1] || g.compensates[2]);
    assert_true(g.compensates[3]);
    arena_done(&a);
}

/* Writing what was read, and reading that again, gives the same text; another definition gives another. */
static void test_round_trip(void **state)
{
    (void)state;
    struct arena a;
    struct flow_def d[2], again;
    struct buf text[3];
    arena_init(&a, 1 << 20);
    must_read_flow(&a, ORDER_FLOW(""), &d[0]);
    must_read_flow(&a, ORDER_FLOW(",\"id\":\"event\""), &d[1]);
    for (size_t i = 0; i < 3; i++)
        buf_init(&text[i], 1 << 16);
    assert_true(flow_defs_write(&d[0], 1, &text[0]));
    struct slice inner = slice_make(buf_str(&text[0]) + 1, buf_slice(&text[0]).size - 2);
    must_read_flow(&a, arena_strdup(&a, inner), &again);
    assert_true(flow_defs_write(&again, 1, &text[1]));
    assert_string_equal(buf_str(&text[0]), buf_str(&text[1]));
    assert_true(flow_defs_write(&d[1], 1, &text[2]));
    assert_string_not_equal(buf_str(&text[0]), buf_str(&text[2]));
    for (size_t i = 0; i < 3; i++)
        buf_done(&text[i]);
    arena_done(&a);
}

#define FLOW(more) "{\"name\":\"f\",\"owner\":\"x\",\"start\":\"a\"," more "}"
#define STEP(name, rest) "{\"" name "\":{" rest ",\"within\":\"1s\"}}"

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {FLOW("\"steps\":[]"), "steps"},
        {FLOW("\"steps\":[" STEP("s", "\"after\":\"a\"") "]"), "steps[0].s: says nothing that could be waited for"},
        {FLOW("\"steps\":[" STEP("s", "\"event\":\"b\",\"consumed_by\":\"y\"") "]"), "steps[0].s.consumed_by: and event exclude each other"},
        {FLOW("\"steps\":[{\"s\":{\"event\":\"b\"}}]"), "\"within\" is missing"},
        {FLOW("\"steps\":[{\"s\":{\"event\":\"b\",\"within\":\"0s\"}}]"), "within"},
        {FLOW("\"steps\":[" STEP("s", "\"event\":[]") "]"), "steps[0].s.event: is empty"},
        {FLOW("\"steps\":[" STEP("s", "\"event\":[\"b\",\"b\"]") "]"), "steps[0].s.event[1]: \"b\" is in the list already"},
        {FLOW("\"steps\":[" STEP("s", "\"event\":\"B\"") "]"), "steps[0].s.event: \"B\": must be"},
        {FLOW("\"steps\":[" STEP("s", "\"event\":{\"b\":1}") "]"), "steps[0].s.event: this: must be a topic"},
        {FLOW("\"steps\":[" STEP("s", "\"event\":\"b\",\"after\":[\"a\",\"c\"]") "]"),
         "steps[0].s.after[1]: \"c\" is neither a start nor the event of a step of this flow, so nothing leads to it"},
        {FLOW("\"failures\":\"c\",\"steps\":[" STEP("s", "\"event\":\"b\"") "]"), "failures: \"c\" is neither a start nor the event of a step"},
        {FLOW("\"failures\":[\"b\"],\"steps\":[" STEP("s", "\"event\":\"b\"") "]"),
         "failures[0]: \"b\" is compensated by nothing: add a step with \"after: b\""},
        /* asked for by what is no failure, too: it would come anyway, so it makes nothing good */
        {FLOW("\"failures\":[\"b\"],\"steps\":[" STEP("s", "\"event\":\"b\"") "," STEP("t", "\"event\":\"c\",\"after\":[\"a\",\"b\"]") "]"),
         "failures[0]: \"b\" is compensated by nothing"},
        {FLOW("\"steps\":[" STEP("s", "\"event\":\"a\"") "]"), "steps[0].s: closes a circle that has no end: a -> a"},
        {FLOW("\"steps\":[" STEP("s", "\"event\":\"b\"") "," STEP("t", "\"event\":\"c\",\"after\":\"b\"") "," STEP("u", "\"event\":\"b\",\"after\":\"c\"") "]"),
         "steps[2].u: closes a circle that has no end: b -> c -> b"},
        {FLOW("\"id\":\"order\",\"steps\":[" STEP("s", "\"event\":\"b\"") "]"), "id: found \"order\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct flow_def d;
        struct ficus_error error = {0};
        arena_init(&a, 1 << 20);
        if (read_flow(&a, cases[i].text, &d, &error) == FICUS_ERR_OK)
            fail_msg("taken: %s", cases[i].text);
        if (strstr(error.text, cases[i].said) == NULL)
            fail_msg("%s: \"%s\" is not in \"%s\"", cases[i].text, cases[i].said, error.text);
        arena_done(&a);
    }
}

/* Every graph of four topics: the search finds a circle exactly when some topic leads to itself. */
static void test_circles(void **state)
{
    (void)state;
    enum { N = 4 };
    struct flow_step steps[N] = {{.name = "s0"}, {.name = "s1"}, {.name = "s2"}, {.name = "s3"}};
    const struct flow_def d = {.name = "f", .steps = steps, .step_count = N};
    for (unsigned edges = 0; edges < 1u << (N * N); edges++) {
        struct flow_graph g = {.def = &d, .topic_count = N};
        bool leads[N][N], circle = false;
        int path[FLOW_TOPICS_MAX + 1];
        for (unsigned i = 0; i < N; i++) {
            g.after[i] = 1u << i;
            g.events[i] = edges >> (i * N) & ((1u << N) - 1);
            for (unsigned k = 0; k < N; k++)
                leads[i][k] = (g.events[i] & 1u << k) != 0;
        }
        for (unsigned m = 0; m < N; m++)
            for (unsigned i = 0; i < N; i++)
                for (unsigned k = 0; k < N; k++)
                    leads[i][k] = leads[i][k] || (leads[i][m] && leads[m][k]);
        for (unsigned i = 0; i < N; i++)
            circle = circle || leads[i][i];
        size_t count = flow_graph_circle(&g, path);
        assert_int_equal(count > 0, circle);
        for (size_t i = 0; i + 1 < count; i++)
            assert_true((g.events[path[i]] & 1u << path[i + 1]) != 0);
        assert_true(count == 0 || path[0] == path[count - 1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused), cmocka_unit_test(test_circles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
