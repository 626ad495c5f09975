/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows from the events of an instance, in small worlds that are gone through whole: each set of events, in each order of arrival,
 * with each thing that a consumer can do, judged at each time, against rules that are written down here another way.
 */
#include "flow_defs.h"
#include "flow_machine.h"

enum { PLACED, CONFIRMED, REJECTED, MAIL, RELEASED, TOPICS };
enum { NO_MARK = -1 };
#define GIVEN_UP_AT 2500

/* When each event says that it was, in ms: all in time, all late, some, and two before what led to them by a clock that is behind. */
enum { WORLDS = 4 };
static const int64_t times[WORLDS][TOPICS] = {
    {1000, 2000, 2200, 3000, 3100}, {1000, 12000, 12500, 20000, 20500}, {1000, 12000, 2200, 13000, 9000}, {5000, 4000, 4500, 3000, 30000}};

static struct flow_graph graph;
static struct flow_def def;

static void see(int64_t *until, int64_t ms)
{
    *until = ms < *until ? ms : *until;
}

/* Of the set alone. */
static enum flow_state_name expected(unsigned set, const int64_t *t, int mark, int64_t now_ms, bool *ret_late)
{
#define HAS(topic) ((set & 1u << (topic)) != 0)
    int64_t stuck = FLOW_NEVER, lost = FLOW_NEVER, undone = FLOW_NEVER;
    *ret_late = false;
    if (HAS(PLACED) && !HAS(CONFIRMED) && !HAS(REJECTED))
        see(&stuck, t[PLACED] + 10000);
    if (HAS(CONFIRMED) && !HAS(MAIL))
        see(&stuck, t[CONFIRMED] + 5000);
    if (HAS(CONFIRMED) && (mark == NO_MARK || mark == FLOW_MARK_WAITING))
        see(&stuck, t[CONFIRMED] + 3000);
    if (HAS(CONFIRMED) && mark == FLOW_MARK_GIVEN_UP)
        see(&stuck, GIVEN_UP_AT);
    if (HAS(REJECTED) && !HAS(RELEASED))
        see(&undone, t[REJECTED] + 4000);
    if (HAS(CONFIRMED) && !HAS(PLACED))
        see(&lost, t[CONFIRMED] + 10000);
    if (HAS(REJECTED) && !HAS(PLACED))
        see(&lost, t[REJECTED] + 10000);
    if (HAS(MAIL) && !HAS(CONFIRMED))
        see(&lost, t[MAIL] + 5000);
    if (HAS(RELEASED) && !HAS(REJECTED))
        see(&lost, t[RELEASED] + 4000);
    int64_t decided = FLOW_NEVER;
    if (HAS(CONFIRMED))
        see(&decided, t[CONFIRMED]);
    if (HAS(REJECTED))
        see(&decided, t[REJECTED]);
    if (HAS(PLACED) && decided != FLOW_NEVER && decided > t[PLACED] + 10000)
        *ret_late = true;
    if (HAS(CONFIRMED) && HAS(MAIL) && t[MAIL] > t[CONFIRMED] + 5000)
        *ret_late = true;
    if (HAS(REJECTED) && HAS(RELEASED) && t[RELEASED] > t[REJECTED] + 4000)
        *ret_late = true;
    if (stuck == FLOW_NEVER && lost == FLOW_NEVER && undone == FLOW_NEVER)
        return HAS(REJECTED) ? FLOW_COMPENSATED : FLOW_COMPLETED;
    if (undone < now_ms)
        return FLOW_UNCOMPENSATED;
    if (lost < now_ms)
        return FLOW_ORPHANED;
    return stuck < now_ms ? FLOW_STUCK : FLOW_RUNNING;
#undef HAS
}

static size_t checked;

static void check(const int *order, size_t count, unsigned set, const int64_t *t, int mark)
{
    static struct flow_fold f;
    struct flow_seen events[TOPICS];
    const struct flow_mark m = {.step = 2, .kind = (enum flow_mark_kind)(mark < 0 ? 0 : mark), .at_ms = mark == FLOW_MARK_GIVEN_UP ? GIVEN_UP_AT : 0};
    for (size_t i = 0; i < count; i++) {
        events[i] = (struct flow_seen){.offset = (int64_t)i + 1, .time_ms = t[order[i]], .topic = order[i]};
        if (order[i] == CONFIRMED && mark != NO_MARK) {
            events[i].marks = &m;
            events[i].mark_count = 1;
        }
    }
    flow_fold(&graph, events, count, &f);
    for (int64_t now_ms = 0; now_ms < 40000; now_ms += 250) {
        bool late;
        enum flow_state_name wanted = expected(set, t, mark, now_ms, &late), got = flow_state_at(&f, now_ms);
        if (wanted != got)
            fail_msg("set %#x, mark %d, at %lld: %s instead of %s", set, mark, (long long)now_ms, flow_state_text(got), flow_state_text(wanted));
        assert_int_equal(f.late, late);
        checked++;
    }
    assert_int_equal(f.started, (set & 1u << PLACED) != 0);
    assert_int_equal(f.failed, (set & 1u << REJECTED) != 0);
}

static void permute(int *order, size_t at, size_t count, unsigned set, const int64_t *t, int mark)
{
    if (at == count) {
        check(order, count, set, t, mark);
        return;
    }
    for (size_t i = at; i < count; i++) {
        int swap = order[at];
        order[at] = order[i];
        order[i] = swap;
        permute(order, at + 1, count, set, t, mark);
        order[i] = order[at];
        order[at] = swap;
    }
}

static void test_all_worlds(void **state)
{
    (void)state;
    for (size_t w = 0; w < WORLDS; w++)
        for (unsigned set = 0; set < 1u << TOPICS; set++)
            for (int mark = NO_MARK; mark <= FLOW_MARK_DROPPED; mark++) {
                int order[TOPICS];
                size_t count = 0;
                for (int topic = 0; topic < TOPICS; topic++)
                    if ((set & 1u << topic) != 0)
                        order[count++] = topic;
                permute(order, 0, count, set, times[w], mark);
            }
    print_message("%zu judgements\n", checked);
    assert_true(checked > 500000);
}

/* Another event of a topic that is there already changes nothing but what consumers have to see: that, for each of them. */
static void test_again(void **state)
{
    (void)state;
    static struct flow_fold f;
    const struct flow_mark seen = {.step = 2, .kind = FLOW_MARK_SEEN};
    struct flow_seen events[] = {
        {.offset = 1, .time_ms = 0, .topic = PLACED},
        {.offset = 2, .time_ms = 1000, .topic = CONFIRMED, .marks = &seen, .mark_count = 1},
        {.offset = 3, .time_ms = 1500, .topic = MAIL},
        {.offset = 4, .time_ms = 9000, .topic = PLACED},
        {.offset = 5, .time_ms = 9000, .topic = MAIL},
        {.offset = 6, .time_ms = 9000, .topic = CONFIRMED},
    };
    flow_fold(&graph, events, 5, &f);
    assert_int_equal(flow_state_at(&f, 1000000), FLOW_COMPLETED);
    assert_false(f.late);
    flow_fold(&graph, events, 6, &f);
    assert_int_equal(f.wait_count, 1);
    assert_int_equal(f.waits[0].event, 5);
    assert_int_equal(flow_due_ms(&f), 12000);
    assert_int_equal(flow_state_at(&f, 12000), FLOW_RUNNING);
    assert_int_equal(flow_state_at(&f, 12001), FLOW_STUCK);
}

/* A redrive begins its time anew; what is seen behind its time is late. */
static void test_marks(void **state)
{
    (void)state;
    static struct flow_fold f;
    struct flow_mark mark = {.step = 2, .kind = FLOW_MARK_WAITING, .at_ms = 50000, .letter = 7};
    struct flow_seen events[] = {{.offset = 1, .time_ms = 0, .topic = PLACED},
                                 {.offset = 2, .time_ms = 1000, .topic = CONFIRMED, .marks = &mark, .mark_count = 1},
                                 {.offset = 3, .time_ms = 1500, .topic = MAIL}};
    flow_fold(&graph, events, 3, &f);
    assert_int_equal(flow_due_ms(&f), 53000);
    mark = (struct flow_mark){.step = 2, .kind = FLOW_MARK_SEEN, .at_ms = 4000};
    flow_fold(&graph, events, 3, &f);
    assert_false(f.late);
    mark.at_ms = 4001;
    flow_fold(&graph, events, 3, &f);
    assert_true(f.late);
    assert_int_equal(flow_state_at(&f, 0), FLOW_COMPLETED);
}

/* The event that a full instance does without is never the first of its topic, whichever that is. */
static void test_spare(void **state)
{
    (void)state;
    for (unsigned world = 0; world < 4 * 4 * 4 * 4; world++) {
        struct flow_seen events[5];
        for (unsigned i = 0; i < 4; i++)
            events[i] = (struct flow_seen){.offset = i, .topic = (int)(world >> (2 * i) & 3), .time_ms = 100 - (int64_t)(world * 7 * (i + 1) % 5)};
        events[4] = (struct flow_seen){.offset = 4, .topic = 0, .time_ms = 97};
        bool any = false;
        for (size_t i = 0; i < 5; i++)
            for (size_t k = 0; k < i; k++)
                any = any || events[i].topic == events[k].topic;
        if (!any)
            continue;
        size_t spare = flow_spare(events, 5);
        bool other = false;
        for (size_t i = 0; i < 5; i++)
            other = other || (events[i].topic == events[spare].topic &&
                              (events[i].time_ms < events[spare].time_ms || (events[i].time_ms == events[spare].time_ms && i < spare)));
        assert_true(other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_worlds), cmocka_unit_test(test_again), cmocka_unit_test(test_marks), cmocka_unit_test(test_spare)};
    struct arena a;
    arena_init(&a, 1 << 20);
    must_read_flow(&a, ORDER_FLOW(""), &def);
    if (!flow_graph_make(&def, &graph))
        return 1;
    int code = cmocka_run_group_tests(tests, NULL, NULL);
    arena_done(&a);
    return code;
}
