/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns on a file: which events belong together, whatever order they come in; consumers that go on, give up and get it again; what is told,
 * forgotten and made anew.
 */
#include "flow_world.h"

static const char *const order_flow[] = {ORDER_FLOW("")};

/* An instance from its start to its end, seen after each event, judged at that time. */
static void test_life(void **state)
{
    (void)state;
    struct world *w = world_new(order_flow, 1);
    world_open(w);
    assert_string_equal(w->anew, "");
    say(w, "placed at=0");
    w->now_ms = NOON + 9000;
    take_all(w);
    assert_known(w, "order/o1 running step=decided failure= due=10000: placed\n");
    assert_int_equal(w->turn.told_count, 0);
    assert_int_equal(w->turn.due_ms, NOON + 10000);
    w->now_ms = NOON + 10001;
    take_all(w);
    assert_known(w, "order/o1 stuck step=decided failure= due=10000: placed\n");
    assert_int_equal(w->turn.told_count, 1);
    assert_string_equal(w->turn.told[0].id, "o1");
    assert_int_equal(w->turn.gauges[0][FLOW_STUCK], 1);
    take_all(w);
    assert_int_equal(w->turn.told_count, 0); /* once */
    int64_t offset = say(w, "confirmed at=9999");
    w->now_ms = NOON + 11000;
    take_all(w);
    assert_known(w, "order/o1 running step=found failure= due=12999: placed confirmed [confirmed search 0 0]\n");
    assert_int_equal(w->turn.needs[0], offset);
    say(w, "mail at=15500 by=mailer");
    w->heard[0] = offset - 1;
    w->now_ms = NOON + 15600;
    take_all(w);
    assert_known(w, "order/o1 stuck late step=found failure= due=12999: placed confirmed mail [confirmed search 0 0]\n");
    assert_int_equal(w->turn.told_count, 1);
    w->heard[0] = offset;
    take_all(w);
    assert_known(w, "order/o1 completed late step= failure= due=-1: placed confirmed mail [confirmed search 1 0]\n");
    assert_int_equal(w->turn.gauges[0][FLOW_COMPLETED], 1);
    assert_int_equal(w->turn.needs[0], FLOW_NEVER);
    world_free(w);
}

static void test_failure(void **state)
{
    (void)state;
    struct world *w = world_new(order_flow, 1);
    world_open(w);
    say(w, "placed at=0");
    say(w, "rejected at=100");
    say(w, "released of=o2 at=100");
    w->now_ms = NOON + 5000;
    take_all(w);
    assert_known(w, "order/o1 uncompensated step=released failure=rejected due=4100: placed rejected\n"
                    "order/o2 orphaned step=released failure= due=4100: released\n");
    say(w, "released at=6000 by=stock");
    say(w, "placed of=o2 at=50");
    say(w, "rejected of=o2 at=60");
    take_all(w);
    assert_known(w, "order/o1 compensated late step= failure=rejected due=-1: placed rejected released\n"
                    "order/o2 compensated step= failure=rejected due=-1: released placed rejected\n");
    world_free(w);
}

/* Events by what they belong together; a start, what it led to and what that led to are one instance in all six orders, in one batch or three. */
static void test_belonging(void **state)
{
    (void)state;
    static const char *const flows[] = {
        "{\"name\":\"c\",\"owner\":\"x\",\"id\":\"correlation\",\"start\":\"a\",\"steps\":[{\"s\":{\"event\":\"b\",\"within\":\"1s\"}}]}",
        "{\"name\":\"e\",\"owner\":\"x\",\"id\":\"event\",\"start\":\"a\",\"steps\":[{\"s\":{\"event\":\"b\",\"within\":\"1s\"}},"
        "{\"t\":{\"event\":\"d\",\"after\":\"b\",\"within\":\"1s\"}}]}",
    };
    static const char *const events[] = {"a id=1 for=r1", "b id=2 for=r1 due=1", "d id=3 for=r1 due=2"};
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t o = 0; o < 6; o++)
        for (size_t batch = 1; batch <= 3; batch++) {
            struct world *w = world_new(flows, 2);
            struct buf out;
            world_open(w);
            for (size_t i = 0; i < 3; i++)
                say(w, events[orders[o][i]]);
            say(w, "a id=9"); /* no correlation: its own id */
            for (size_t i = 0; i < 3; i += batch)
                take(w, i + batch <= 3 ? batch : 3 - i);
            take_all(w);
            buf_init(&out, 1 << 16);
            assert_true(dump(w->ce, w->store, NOON + 500, &out));
            assert_non_null(strstr(buf_str(&out), "c/9 running step=s"));
            assert_non_null(strstr(buf_str(&out), "c/r1 completed"));
            assert_non_null(strstr(buf_str(&out), "e/1 completed"));
            assert_non_null(strstr(buf_str(&out), "e/9 running step=s"));
            assert_null(strstr(buf_str(&out), "e/2"));
            assert_null(strstr(buf_str(&out), "e/3"));
            buf_done(&out);
            world_free(w);
        }
}

/* An event that is published again is no other; one with the same id of another source is. */
static void test_again(void **state)
{
    (void)state;
    struct world *w = world_new(order_flow, 1);
    world_open(w);
    say(w, "placed id=1 at=0");
    say(w, "placed id=1 at=0");
    take_all(w);
    say(w, "placed id=1 at=0");
    say(w, "rejected id=1 by=other at=0");
    say(w, "released at=0 of=");
    take_all(w);
    assert_int_equal(w->turn.unnamed, 1);
    assert_known(w, "order/o1 uncompensated step=released failure=rejected due=4000: placed rejected\n");
    world_free(w);
}

/* A consumer gives up, is driven again, gives up again, and an operator drops it; its place may have passed before the letter was read. */
static void test_letters(void **state)
{
    (void)state;
    for (int passed_first = 0; passed_first < 2; passed_first++) {
        struct world *w = world_new(order_flow, 1);
        char text[256];
        world_open(w);
        say(w, "placed at=0");
        int64_t offset = say(w, "confirmed id=c at=100");
        say(w, "mail at=200 by=mailer");
        take_all(w);
        w->now_ms = NOON + 1000;
        if (passed_first) {
            w->heard[0] = offset;
            take_all(w);
            assert_known(w, "order/o1 completed step= failure= due=-1: placed confirmed mail [confirmed search 1 0]\n");
        }
        int64_t letter = say(w, "ficus.dead by=search due=c at=500");
        say(w, "ficus.dead by=cart due=c at=600"); /* no step waits for cart: it is only shown */
        say(w, "ficus.dead by=search due=unknown at=600");
        take_all(w);
        w->heard[0] = offset;
        take_all(w);
        snprintf(text, sizeof text, "order/o1 stuck step=found failure= due=500: placed confirmed mail [confirmed cart 2 %lld] [confirmed search 2 %lld]\n",
                 (long long)letter + 10, (long long)letter);
        assert_known(w, text);
        snprintf(text, sizeof text, "ficus.dead.closed by=hub data={\"letter\":%lld,\"as\":\"redriven\"} at=900", (long long)letter);
        int64_t closed = say(w, text);
        take_all(w);
        snprintf(text, sizeof text, "order/o1 running step=found failure= due=3900: placed confirmed mail [confirmed cart 2 %lld] [confirmed search 0 %lld]\n",
                 (long long)letter + 10, (long long)letter);
        assert_known(w, text);
        w->heard[0] = closed; /* the redrive stands behind it */
        take_all(w);
        assert_known(w, text);
        w->heard[0] = closed + 1;
        take_all(w);
        snprintf(text, sizeof text, "order/o1 completed step= failure= due=-1: placed confirmed mail [confirmed cart 2 %lld] [confirmed search 1 %lld]\n",
                 (long long)letter + 10, (long long)letter);
        assert_known(w, text);
        int64_t second = say(w, "ficus.dead by=search due=c at=950");
        take_all(w);
        snprintf(text, sizeof text, "ficus.dead.closed by=hub data={\"letter\":%lld,\"as\":\"dropped\"} at=960", (long long)second);
        say(w, text);
        say(w, "ficus.dead.closed by=hub data={\"letter\":\"x\"} at=960");
        say(w, "ficus.dead.closed by=hub data=nonsense at=960");
        take_all(w);
        snprintf(text, sizeof text, "order/o1 completed step= failure= due=-1: placed confirmed mail [confirmed cart 2 %lld] [confirmed search 3 %lld]\n",
                 (long long)letter + 10, (long long)second);
        assert_known(w, text);
        world_free(w);
    }
}

/* What is too old goes, ended or not; what is not due yet stays; of ended ones only so many are kept; old events of the log begin nothing. */
static void test_forgotten(void **state)
{
    (void)state;
    struct world *w = world_new(order_flow, 1);
    w->options.retention_ms = DAY;
    w->options.ended_max = 2;
    world_open(w);
    say(w, "placed of=stuck at=0");
    for (int i = 0; i < 4; i++) {
        char text[64];
        snprintf(text, sizeof text, "placed of=d%d at=%d", i, i * 1000);
        say(w, text);
        snprintf(text, sizeof text, "rejected of=d%d at=%d", i, i * 1000 + 1);
        say(w, text);
        snprintf(text, sizeof text, "released of=d%d at=%d", i, i * 1000 + 2);
        say(w, text);
    }
    take_all(w);
    take_all(w);
    assert_int_equal(w->turn.gauges[0][FLOW_COMPENSATED], 3); /* at most two that are older than the newest too many */
    assert_int_equal(w->turn.gauges[0][FLOW_STUCK], 1);
    assert_int_equal(w->turn.forgotten, 0);
    w->now_ms = NOON + DAY + 500;
    say(w, "placed of=old at=400");
    say(w, "placed of=new at=600");
    take_all(w);
    assert_int_equal(w->turn.gauges[0][FLOW_STUCK], 1); /* the new one: it was late to come */
    assert_int_equal(w->turn.forgotten, 1);
    w->now_ms = NOON + 3 * DAY;
    take_all(w);
    assert_known(w, "");
    world_free(w);
}

/* A thousand events of one instance: it keeps the first of each topic and the newest others. */
static void test_full(void **state)
{
    (void)state;
    struct world *w = world_new(order_flow, 1);
    struct flow_stored *st;
    struct arena a;
    world_open(w);
    say(w, "placed at=0");
    for (int i = 0; i < 300; i++)
        say(w, "confirmed at=100");
    say(w, "mail at=200");
    take_all(w);
    arena_init(&a, 16 << 20);
    assert_int_equal(flow_store_load(w->store, &a, SLICE("order"), SLICE("o1"), w->now_ms, &st, NULL), FICUS_ERR_OK);
    assert_int_equal(st->event_count, FLOW_EVENTS_MAX);
    assert_int_equal(st->events[0].offset, 10);
    assert_int_equal(st->events[1].offset, 20);
    assert_int_equal(st->events[FLOW_EVENTS_MAX - 1].offset, 3020);
    assert_int_equal(st->row.state, FLOW_STUCK);
    w->heard[0] = 3020;
    take_all(w);
    assert_int_equal(w->turn.gauges[0][FLOW_COMPLETED], 1);
    arena_done(&a);
    world_free(w);
}

/* A store knows how far it was; another definition, or a file that cannot be read, has it begin anew, but consumers' places stay known. */
static void test_anew(void **state)
{
    (void)state;
    struct world *w = world_new(order_flow, 1);
    world_open(w);
    say(w, "placed at=0");
    int64_t offset = say(w, "confirmed at=10");
    say(w, "mail at=20");
    w->now_ms = NOON + 1000;
    w->heard[0] = offset;
    take_all(w);
    static const char known[] = "order/o1 completed step= failure= due=-1: placed confirmed mail [confirmed search 1 0]\n";
    assert_known(w, known);
    world_close(w);
    world_open(w);
    assert_null(w->anew);
    assert_int_equal(flow_store_position(w->store), 30);
    assert_int_equal(flow_store_consumer_position(w->store, 0), offset);
    assert_string_equal(flow_store_topics(w->store), "ficus.dead,ficus.dead.closed,placed,confirmed,rejected,mail,released");
    assert_known(w, known);
    world_close(w);
    w->defs[0].steps[0].within_ms++;
    world_open(w);
    assert_non_null(w->anew);
    assert_int_equal(flow_store_position(w->store), 0);
    assert_known(w, "");
    memset(w->heard, 0, sizeof w->heard);
    w->now_ms = NOON + DAY;
    w->behind = true; /* when the consumer saw it is not known any more, so it was not late */
    w->taken = 0;
    take_all(w);
    assert_known(w, known);
    arena_clear(&w->turn_arena); /* and as the watch does it when the log is another */
    w->turn = (struct flow_turn){.next = 0, .anew = true, .wall_ms = w->now_ms, .arena = &w->turn_arena};
    crash_env_call(w->ce, turn_work, w);
    assert_known(w, "");
    assert_int_equal(flow_store_position(w->store), 0);
    world_close(w);
    world_open(w);
    assert_null(w->anew);
    world_close(w);
    struct sim_file *f;
    assert_int_equal(sim_disk_open(w->disk, "data/flows.db", 0, &f), FICUS_ERR_OK);
    assert_int_equal(sim_file_write(f, "nonsense nonsense", 17, 0), FICUS_ERR_OK);
    sim_file_close(f);
    world_open(w);
    assert_non_null(w->anew);
    w->taken = 0;
    w->heard[0] = offset;
    take_all(w);
    assert_known(w, known);
    world_free(w);
}

/* Lists by flow and id, page by page, of one state or of all that somebody has to look after. */
static void rows_count(void *arg, const struct flow_row *row)
{
    (void)row;
    ++*(size_t *)arg;
}

static size_t count_rows(struct world *w, int which, bool trouble, size_t count_max)
{
    size_t count = 0;
    const struct flow_query q = {.state = which, .trouble = trouble, .count_max = count_max};
    assert_int_equal(flow_store_list(w->store, &q, w->now_ms, rows_count, &count, NULL), FICUS_ERR_OK);
    return count;
}

static void test_list(void **state)
{
    (void)state;
    struct world *w = world_new(order_flow, 1);
    int64_t counts[FLOW_STATE_COUNT];
    world_open(w);
    say(w, "placed of=stuck at=0");
    say(w, "placed of=running at=7000");
    say(w, "mail of=orphan at=0");
    say(w, "placed of=failed at=0");
    say(w, "rejected of=failed at=0");
    say(w, "placed of=good at=0");
    say(w, "rejected of=good at=0");
    say(w, "released of=good at=0");
    w->now_ms = NOON + 12000;
    take_all(w);
    static const enum flow_state_name all[] = {FLOW_STUCK, FLOW_RUNNING, FLOW_ORPHANED, FLOW_UNCOMPENSATED, FLOW_COMPENSATED};
    assert_int_equal(flow_store_counts(w->store, "order", w->now_ms, counts, NULL), FICUS_ERR_OK);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(count_rows(w, all[i], false, 10), 1);
        assert_int_equal(counts[all[i]], 1);
    }
    assert_int_equal(counts[FLOW_COMPLETED], 0);
    assert_int_equal(count_rows(w, -1, true, 10), 3);
    assert_int_equal(count_rows(w, -1, false, 10), 5);
    assert_int_equal(count_rows(w, -1, false, 2), 2);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),    cmocka_unit_test(test_failure),   cmocka_unit_test(test_belonging), cmocka_unit_test(test_again), cmocka_unit_test(test_letters),
        cmocka_unit_test(test_forgotten), cmocka_unit_test(test_full), cmocka_unit_test(test_anew),      cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
