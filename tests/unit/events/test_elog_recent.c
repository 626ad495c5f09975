/* SPDX-License-Identifier: Apache-2.0
 *
 * What is promised about events that are published again: the newest of each source are known, whatever happened since.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "elog_private.h"
#include "log_rig.h"
#include "mem.h"

#include <stdio.h>

enum { HOUR_MS = 3600 * 1000, BATCH = EVENT_BATCH_COUNT_MAX };

static bool made;   /* ids are of UUIDv8 */

static const struct elog_options options = {.retention_ms = HOUR_MS};

static void reopen_log(void)
{
    log_rig_close();
    log_rig_open(options);
}

/* The power fails: what was not synced is gone. */
static void crash(void)
{
    sim_disk_die_after(disk, 0);
    log_rig_close();
    crash_env_free(ce);
    sim_disk_crash(disk, SIM_CRASH_FORGET, 7);
    ce = crash_env_new(disk, 6);
    log_rig_open(options);
}

static int setup(void **state)
{
    (void)state;
    made = false;
    log_rig_init(options);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_rig_done();
    return 0;
}

static enum ficus_err appended_err; /* of the last */

/* Events number..number + count - 1 of the source; returns how many of them the log took for new. */
static int64_t publish_topic(const char *source, const char *topic, int number, int count)
{
    static char ids[BATCH][40];
    struct event events[BATCH];
    struct appended a = {0};
    int64_t before = elog_last_offset(elog);
    for (int i = 0; i < count; i++) {
        snprintf(ids[i], sizeof ids[i], made ? "%08d-0000-8000-8000-000000000000" : "%d", number + i);
        events[i] = (struct event){.id = slice_str(ids[i]), .source = slice_str(source), .topic = slice_str(topic), .data = SLICE("1")};
    }
    assert_int_equal(elog_append(elog, events, (size_t)count, on_append, &a), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(a.calls, 1);
    appended_err = a.err;
    return elog_last_offset(elog) - before;
}

static int64_t publish(const char *source, int number, int count)
{
    return publish_topic(source, "a", number, count);
}

static int64_t count_of(const char *sql)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    assert_int_equal(db_reader_take(elog_db(elog), &c, NULL), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, NULL, sql, ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, NULL), 1);
    int64_t n = db_i64(s, 0);
    db_finish(s);
    db_reader_give(elog_db(elog), c);
    return n;
}

/* The last batch of a publisher is known: after others published much, after the janitor took the events, after a
 * restart, after a crash, and after all of that again. */
static void test_last_batch_is_known(void **state)
{
    (void)state;
    assert_int_equal(publish("/quiet", 0, BATCH), BATCH);
    for (int i = 0; i < 20; i++)
        assert_int_equal(publish("/loud", i * BATCH, BATCH), BATCH);
    assert_int_equal(publish("/quiet", 0, BATCH), 0);
    for (int round = 0; round < 2; round++) {
        crash_env_run_ms(ce, (int64_t)3 * HOUR_MS);
        assert_int_equal(count_of("SELECT count(*) FROM record"), 0);
        assert_int_equal(publish("/quiet", 0, BATCH), 0);
        reopen_log();
        assert_int_equal(publish("/quiet", 0, BATCH), 0);
        crash();
        assert_int_equal(publish("/quiet", 0, BATCH), 0);
        assert_int_equal(publish("/loud", 19 * BATCH, BATCH), 0);
    }
    assert_int_equal(publish("/other", 0, BATCH), BATCH);
}

/* Whatever the sizes of batches and wherever restarts fall, the newest ELOG_RECENT are known, those before a while ago are
 * not, and the table does not grow with the log. */
static void test_window(void **state)
{
    (void)state;
    uint64_t random = 3;
    int number = 0;
    while (number < 8 * ELOG_RECENT) {
        int count = 1 + (int)(sim_random(&random) % (sim_random(&random) % 2 ? 5 : BATCH));
        assert_int_equal(publish("/s", number, count), count);
        number += count;
        if (sim_random(&random) % 4 == 0)
            crash();
        if (sim_random(&random) % 8 == 0 && number > ELOG_RECENT)
            for (int i = number - ELOG_RECENT; i < number; i += BATCH)
                assert_int_equal(publish("/s", i, BATCH), 0);
        assert_true(count_of("SELECT coalesce(sum(length(ids)) / 16, 0) FROM recent") <= 2 * ELOG_RECENT + 2 * BATCH);
    }
    assert_int_equal(publish("/s", number - BATCH / 2, BATCH), BATCH / 2);
    assert_int_equal(publish("/s", 0, 1), 1);
}

/* A batch that was not kept is new when it comes again, and it is so once. */
static void test_failed_batch_is_new(void **state)
{
    (void)state;
    assert_int_equal(publish("/s", 0, 10), 10);
    sim_disk_fail(disk, 0, 1000, FICUS_ERR_FULL);
    assert_int_equal(publish("/s", 10, 10), 0);
    assert_int_equal(appended_err, FICUS_ERR_FULL);
    sim_disk_fail(disk, 0, 0, FICUS_ERR_OK);
    assert_int_equal(publish("/s", 5, 15), 10);
    assert_int_equal(appended_err, FICUS_ERR_OK);
    assert_int_equal(publish("/s", 0, 20), 0);
    crash();
    assert_int_equal(publish("/s", 0, 20), 0);
}

/* Ids made of their cause (UUIDv8) are known for as long as the event is in the log: who was put back from a backup brings about
 * again what it did since. After that the newest of a source still are. */
static void test_made_ids(void **state)
{
    (void)state;
    const int count = 3 * ELOG_RECENT;
    made = true;
    for (int i = 0; i < count; i += BATCH)
        assert_int_equal(publish("/s", i, BATCH), BATCH);
    crash();
    for (int i = 0; i < count; i += BATCH)
        assert_int_equal(publish("/s", i, BATCH), 0);
    assert_int_equal(publish("/other", 0, BATCH), BATCH);
    crash_env_run_ms(ce, (int64_t)3 * HOUR_MS);
    assert_int_equal(count_of("SELECT count(*) FROM once"), 0);
    for (int i = count - ELOG_RECENT; i < count; i += BATCH)
        assert_int_equal(publish("/s", i, BATCH), 0);
    assert_int_equal(count_of("SELECT count(*) FROM once"), 0);
    assert_int_equal(publish("/s", 0, BATCH), BATCH);
}

/* What the hub says of dead letters is known for as long as it is in the log, not only among the newest. */
static void test_letters(void **state)
{
    (void)state;
    const char *const topics[] = {EVENT_TOPIC_CLOSED, EVENT_TOPIC_REDRIVE "orders"};
    for (int i = 0; i < 3 * ELOG_RECENT; i += BATCH)
        for (int t = 0; t < 2; t++)
            assert_int_equal(publish_topic("/hub", topics[t], i + t * 10000, BATCH), BATCH);
    crash();
    for (int i = 0; i < 3 * ELOG_RECENT; i += BATCH)
        for (int t = 0; t < 2; t++)
            assert_int_equal(publish_topic("/hub", topics[t], i + t * 10000, BATCH), 0);
    crash_env_run_ms(ce, (int64_t)3 * HOUR_MS);
    assert_int_equal(count_of("SELECT count(*) FROM once"), 0);
    assert_int_equal(publish_topic("/hub", topics[0], 0, BATCH), BATCH);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(test_last_batch_is_known), TEST(test_window), TEST(test_failed_batch_is_new),
        TEST(test_made_ids), TEST(test_letters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
