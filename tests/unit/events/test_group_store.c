/* SPDX-License-Identifier: Apache-2.0
 *
 * What is durable of consumer groups, committed with events; how much lies behind a place in the log, and which place a time has.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "group_store.h"
#include "log_rig.h"
#include "mem.h"

#include <stdio.h>

static struct ficus_error error;

static int setup(void **state)
{
    (void)state;
    log_rig_init((struct elog_options){0});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_rig_done();
    return 0;
}

struct ride {
    struct group_cursor cursor;
    enum ficus_err err;
};

static enum ficus_err write_cursor(void *arg, struct db_conn *c, struct ficus_error *reterr)
{
    const struct ride *r = arg;
    enum ficus_err err = group_store_write(c, "mailer", 1, &r->cursor, reterr);
    return err == FICUS_ERR_OK ? r->err : err;
}

static struct appended append(const char *topic, int id, struct ride *ride)
{
    static int64_t text_id;
    char text[32];
    struct appended a = {0};
    snprintf(text, sizeof text, "%d-%lld", id, (long long)text_id++);
    struct event ev = {.id = slice_str(text), .source = SLICE("/test"), .topic = slice_str(topic), .data = SLICE("1")};
    struct elog_rider rider = {write_cursor, ride};
    assert_int_equal(elog_append_with(elog, &ev, topic[0] == '\0' ? 0 : 1, ride != NULL ? &rider : NULL, on_append, &a), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(a.calls, 1);
    return a;
}

static void load(size_t count, struct group_cursor *cursors, bool repartitioned)
{
    bool told = !repartitioned;
    if (group_store_load(elog_db(elog), "mailer", count, 7, cursors, &told, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    assert_int_equal(told, repartitioned);
}

/* Each life has a larger number; cursors come back, of each group its own. */
static void test_cursors(void **state)
{
    (void)state;
    int64_t boot = 0, second = 0;
    struct group_cursor c[4], other[1];
    assert_int_equal(group_store_open(elog_db(elog), &boot, &error), FICUS_ERR_OK);
    load(2, c, false);
    assert_int_equal(c[0].settled, 0);
    struct ride ride = {.cursor = {41, 3, 42}};
    struct appended a = append("a", 1, &ride);
    assert_int_equal(a.err, FICUS_ERR_OK);
    assert_int_equal(a.last, 1);
    log_rig_close();
    log_rig_open((struct elog_options){0});
    assert_int_equal(group_store_open(elog_db(elog), &second, &error), FICUS_ERR_OK);
    assert_true(second > boot);
    load(2, c, false);
    assert_int_equal(c[0].settled, 0);
    assert_int_equal(c[1].settled, 41);
    assert_int_equal(c[1].refused, 3);
    assert_int_equal(c[1].refused_offset, 42);
    assert_int_equal(group_store_load(elog_db(elog), "other", 1, 7, other, NULL, &error), FICUS_ERR_OK);
    assert_int_equal(other[0].settled, 0);
    /* without an event */
    int64_t last = elog_last_offset(elog);
    ride.cursor = (struct group_cursor){50, 0, 0};
    assert_int_equal(append("", 0, &ride).err, FICUS_ERR_OK);
    load(2, c, false);
    assert_int_equal(c[1].settled, 50);
    assert_int_equal(elog_last_offset(elog), last);
}

/* Another number of partitions: all begin at the smallest, and that stays so. */
static void test_repartition(void **state)
{
    (void)state;
    int64_t boot = 0;
    struct group_cursor c[4];
    struct ride ride = {.cursor = {41, 3, 42}};
    assert_int_equal(group_store_open(elog_db(elog), &boot, &error), FICUS_ERR_OK);
    load(2, c, false);
    (void)append("", 0, &ride);
    load(4, c, true);
    for (int i = 0; i < 4; i++)
        assert_int_equal(c[i].settled, 0);
    (void)append("", 0, &ride);
    load(4, c, false);
    assert_int_equal(c[1].settled, 41);
    load(1, c, true);
    assert_int_equal(c[0].settled, 0);
    load(1, c, false);
}

/* So do other keys, with as many partitions. */
static void test_other_keys(void **state)
{
    (void)state;
    int64_t boot = 0;
    bool told = false;
    struct group_cursor c[2];
    struct ride ride = {.cursor = {41, 3, 42}};
    assert_int_equal(group_store_open(elog_db(elog), &boot, &error), FICUS_ERR_OK);
    load(2, c, false);
    (void)append("", 0, &ride);
    assert_int_equal(group_store_load(elog_db(elog), "mailer", 2, 8, c, &told, &error), FICUS_ERR_OK);
    assert_true(told);
    assert_int_equal(c[1].settled, 0);
    assert_int_equal(group_store_load(elog_db(elog), "mailer", 2, 8, c, &told, &error), FICUS_ERR_OK);
    assert_false(told);
}

/* When the rider fails, the event is not in the log, nor what else was to be committed with it. */
static void test_rider_fails(void **state)
{
    (void)state;
    int64_t boot = 0;
    struct group_cursor c[2];
    struct ride ride = {.cursor = {41, 3, 42}, .err = FICUS_ERR_IO};
    struct appended first = {0}, second = {0};
    struct event ev = {.id = SLICE("x"), .source = SLICE("/test"), .topic = SLICE("a"), .data = SLICE("1")};
    struct elog_rider rider = {write_cursor, &ride};
    assert_int_equal(group_store_open(elog_db(elog), &boot, &error), FICUS_ERR_OK);
    load(2, c, false);
    assert_int_equal(elog_append_with(elog, &ev, 1, &rider, on_append, &first), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(first.err, FICUS_ERR_IO);
    load(2, c, false);
    assert_int_equal(c[1].settled, 0);
    assert_int_equal(elog_last_offset(elog), 0);
    assert_int_equal(elog_append(elog, &ev, 1, on_append, &second), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(second.err, FICUS_ERR_OK);
    assert_int_equal(second.last, 1);   /* it was not remembered as one that came before */
}

/* ---- lag ---- */

static enum ficus_err counted_err;
static int64_t found_offset;

static void on_counted(void *arg, enum ficus_err err)
{
    (void)arg;
    counted_err = err;
}

static void on_found(void *arg, enum ficus_err err, int64_t offset)
{
    (void)arg;
    assert_int_equal(err, FICUS_ERR_OK);
    found_offset = offset;
}

static struct elog_lag lag_of(const char *topics, int64_t after)
{
    struct elog_lag l = {.topics = topics, .after = after};
    assert_int_equal(elog_lag(elog, &l, 1, on_counted, NULL), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(counted_err, FICUS_ERR_OK);
    return l;
}

static int64_t offset_at(int64_t ms)
{
    found_offset = -1;
    assert_int_equal(elog_offset_at(elog, ms, on_found, NULL), FICUS_ERR_OK);
    crash_env_run(ce);
    return found_offset;
}

/* Exact for every place, also in the middle of a record; and when the first of what waits was stored. */
static void test_lag(void **state)
{
    (void)state;
    enum { RECORDS = 20, EVENTS = 7 };
    int64_t at[RECORDS * EVENTS + 1] = {0};
    int number = 0;
    assert_int_equal(offset_at(INT64_MAX), 0);
    assert_int_equal(offset_at(0), 0);
    for (int r = 0; r < RECORDS; r++) {
        struct event events[EVENTS];
        char ids[EVENTS][16];
        struct appended a = {0};
        for (int i = 0; i < EVENTS; i++) {
            snprintf(ids[i], sizeof ids[i], "%d", ++number);
            at[number] = env_wall_ms(crash_env(ce));
            events[i] = (struct event){.id = slice_str(ids[i]), .source = SLICE("/test"), .topic = number % 3 == 0 ? SLICE("a") : number % 5 == 0 ? SLICE("b")
                : SLICE("c"), .data = SLICE("1")};
        }
        assert_int_equal(elog_append(elog, events, EVENTS, on_append, &a), FICUS_ERR_OK);
        crash_env_run(ce);
        assert_int_equal(a.err, FICUS_ERR_OK);
        crash_env_run_ms(ce, 1000);
    }
    for (int after = 0; after <= number; after++) {
        int64_t behind = 0, oldest = 0;
        for (int o = after + 1; o <= number; o++)
            if (o % 3 == 0 || o % 5 == 0) {
                behind++;
                oldest = oldest == 0 ? at[o] : oldest;
            }
        struct elog_lag l = lag_of("a,b", after);
        assert_int_equal(l.behind, behind);
        assert_int_equal(l.oldest_ms, oldest);
        assert_false(l.more);
    }
    assert_int_equal(lag_of("unknown", 0).behind, 0);
    assert_int_equal(offset_at(INT64_MAX), number);
    assert_int_equal(offset_at(0), 0);
    assert_int_equal(offset_at(at[number] + 1), number);
    for (int o = 1; o <= number; o += EVENTS)
        assert_int_equal(offset_at(at[o]), o - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cursors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_repartition, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rider_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lag, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
