/* SPDX-License-Identifier: Apache-2.0
 *
 * Events that wait for their time, schedules, and places by time, on the test disk in virtual time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "db.h"
#include "log_rig.h"
#include "mem.h"
#include "timefmt.h"
#include "uuid.h"

#include <stdio.h>

#define HOUR_MS (3600ll * 1000)
#define DAY_MS (24 * HOUR_MS)

static struct ficus_error error;
static int64_t damaged_number;

static void on_damaged(void *arg, int64_t number)
{
    (void)arg;
    damaged_number = number;
}

static void open_log(struct elog_options o)
{
    o.damaged = on_damaged;
    log_rig_open(o);
}

static int setup(void **state)
{
    (void)state;
    damaged_number = 0;
    log_rig_init((struct elog_options){.damaged = on_damaged});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_rig_done();
    return 0;
}

static int64_t now_ms(void)
{
    return env_wall_ms(crash_env(ce));
}

/* ---- helpers ---- */

static struct event make(const char *id, int64_t at_ms)
{
    return (struct event){.id = slice_str(id), .source = SLICE("/test"), .topic = SLICE("a"), .subject = SLICE("s"),
        .time = SLICE("2026-11-30T00:00:00Z"), .correlation = SLICE("c"), .data = SLICE("{\"n\":1}"), .at_ms = at_ms};
}

static int64_t publish(const char *id, int64_t at_ms)
{
    struct appended a = {0};
    struct event ev = make(id, at_ms);
    assert_int_equal(elog_append(elog, &ev, 1, on_append, &a), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.err, FICUS_ERR_OK);
    return a.last;
}

enum { SEEN_MAX = 4096 };
static struct seen {
    enum ficus_err err;
    size_t count;
    int64_t next, offsets[SEEN_MAX];
    char ids[SEEN_MAX][40], data[128];
} seen;

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    (void)arg;
    seen.err = err;
    seen.next = next;
    for (size_t i = 0; i < count; i++, seen.count++) {
        assert_true(seen.count < SEEN_MAX);
        assert_int_equal(events[i].at_ms, 0);
        seen.offsets[seen.count] = events[i].offset;
        snprintf(seen.ids[seen.count], sizeof seen.ids[0], SLICE_FMT, SLICE_ARG(events[i].id));
        snprintf(seen.data, sizeof seen.data, SLICE_FMT, SLICE_ARG(events[i].data));
    }
}

/* All of the topic behind this offset, as "id id id". */
static const char *read_ids(const char *topic, int64_t after)
{
    static char text[SEEN_MAX];
    struct elog_reader *r = NULL;
    memset(&seen, 0, sizeof seen);
    assert_int_equal(elog_reader_new(elog, &r), FICUS_ERR_OK);
    for (int64_t next = -1; next != seen.next;) {
        next = seen.next;
        assert_int_equal(elog_read(r, topic, next > after ? next : after, 0, 0, on_read, NULL), FICUS_ERR_OK);
        crash_env_run(ce);
        assert_int_equal(seen.err, FICUS_ERR_OK);
    }
    elog_reader_free(r);
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < seen.count && at < sizeof text - 48; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i > 0 ? " " : "", seen.ids[i]);
    return text;
}

static struct {
    enum ficus_err err;
    size_t count;
    struct elog_waiting list[ELOG_WAITING_MAX];
    char ids[ELOG_WAITING_MAX][40];
} listed;

static void on_list(void *arg, enum ficus_err err, const struct elog_waiting *list, size_t count)
{
    (void)arg;
    listed.err = err;
    listed.count = count;
    for (size_t i = 0; i < count; i++) {
        listed.list[i] = list[i];
        snprintf(listed.ids[i], sizeof listed.ids[i], SLICE_FMT, SLICE_ARG(list[i].event.id));
    }
}

static void list_waiting(int64_t after_ms, int64_t after_number, size_t count_max)
{
    assert_int_equal(elog_later_list(elog, after_ms, after_number, count_max, on_list, NULL), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(listed.err, FICUS_ERR_OK);
}

static struct {
    int calls;
    enum ficus_err err;
    char id[40];
} removed;

static void on_removed(void *arg, enum ficus_err err, const struct elog_waiting *was, const char *detail)
{
    (void)arg;
    assert_non_null(detail);
    removed.calls++;
    removed.err = err;
    snprintf(removed.id, sizeof removed.id, "%.*s", err == FICUS_ERR_OK ? (int)was->event.id.size : 0, err == FICUS_ERR_OK ? was->event.id.p : "");
}

static enum ficus_err take_out(int64_t number)
{
    removed.calls = 0;
    assert_int_equal(elog_later_remove(elog, number, on_removed, NULL), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(removed.calls, 1);
    return removed.err;
}

/* ---- events ---- */

/* One for later is not in the log until its time, then it is there once, whole, and no more among those that wait. */
static void test_comes_at_its_time(void **state)
{
    (void)state;
    int64_t at = now_ms() + 5000;
    int64_t number = publish("later", at);
    assert_int_equal(number, 1);
    publish("now", 0);
    publish("past", now_ms() - 1);
    assert_string_equal(read_ids("a", 0), "now past");
    assert_int_equal(elog_later_count(elog), 1);
    crash_env_run_ms(ce, 4900);
    assert_string_equal(read_ids("a", 0), "now past");
    list_waiting(0, 0, 0);
    assert_int_equal(listed.count, 1);
    assert_int_equal(listed.list[0].number, 1);
    assert_int_equal(listed.list[0].at_ms, at);
    crash_env_run_ms(ce, 200);
    assert_string_equal(read_ids("a", 0), "now past later");
    assert_string_equal(seen.data, "{\"n\":1}");
    assert_int_equal(seen.offsets[2], 4);
    assert_int_equal(elog_later_count(elog), 0);
    list_waiting(0, 0, 0);
    assert_int_equal(listed.count, 0);
}

/* Those due together come by time, then in the order of their publishing, however many transactions that takes. */
static void test_order(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    char id[16];
    int64_t at = now_ms() + HOUR_MS;
    for (int i = 0; i < COUNT; i++) {
        snprintf(id, sizeof id, "%d", i);
        publish(id, at + (i % 3 == 0 ? 1000 : 0));
    }
    log_rig_close();
    sim_wall_jump(crash_env_world(ce), 2 * HOUR_MS);
    open_log((struct elog_options){0});
    crash_env_run_ms(ce, 1000);
    (void)read_ids("a", 0);
    assert_int_equal(seen.count, COUNT);
    for (int i = 0, at_i = 0; i < COUNT; i++) {
        while (at_i < COUNT && at_i % 3 == 0)
            at_i++;
        int want = i < COUNT - COUNT / 3 ? at_i++ : (i - (COUNT - COUNT / 3)) * 3;
        snprintf(id, sizeof id, "%d", want);
        assert_string_equal(seen.ids[i], id);
    }
}

/* A reader that waits hears of an event whose time has come. */
static void test_wakes_readers(void **state)
{
    (void)state;
    struct elog_reader *r = NULL;
    publish("1", now_ms() + 3000);
    memset(&seen, 0, sizeof seen);
    assert_int_equal(elog_reader_new(elog, &r), FICUS_ERR_OK);
    assert_int_equal(elog_read(r, "a", 1, 0, 20000, on_read, NULL), FICUS_ERR_OK);
    crash_env_run_ms(ce, 4000);
    assert_int_equal(seen.count, 1);
    elog_reader_free(r);
}

/* The wall clock counts. An hour forth: what is due comes within a second. An hour back: what waits waits for the clock, and what
 * came does not come again. */
static void test_clock_jumps(void **state)
{
    (void)state;
    int64_t begin = now_ms();
    publish("half", begin + HOUR_MS / 2);
    publish("two", begin + 2 * HOUR_MS);
    sim_wall_jump(crash_env_world(ce), HOUR_MS);
    crash_env_run_ms(ce, 1100);
    assert_string_equal(read_ids("a", 0), "half");
    sim_wall_jump(crash_env_world(ce), -HOUR_MS);
    crash_env_run_ms(ce, HOUR_MS + HOUR_MS / 2);
    assert_string_equal(read_ids("a", 0), "half");
    crash_env_run_ms(ce, HOUR_MS / 2);
    assert_string_equal(read_ids("a", 0), "half two");
}

/* A repetition is one while the first waits, after it came, and after a restart; also beyond the newest ids of its source. */
static void test_repeated(void **state)
{
    (void)state;
    int64_t at = now_ms() + 10000;
    publish("1", at);
    publish("1", at);
    publish("1", 0);
    log_rig_close();
    open_log((struct elog_options){0});
    publish("1", at);
    assert_int_equal(elog_later_count(elog), 1);
    for (int i = 0; i < 12; i++) {
        struct event batch[EVENT_BATCH_COUNT_MAX];
        char ids[EVENT_BATCH_COUNT_MAX][16];
        struct appended a = {0};
        for (int k = 0; k < EVENT_BATCH_COUNT_MAX; k++) {
            snprintf(ids[k], sizeof ids[k], "x%d", i * EVENT_BATCH_COUNT_MAX + k);
            batch[k] = make(ids[k], k % 2 == 0 ? now_ms() + DAY_MS : 0);
        }
        assert_int_equal(elog_append(elog, batch, EVENT_BATCH_COUNT_MAX, on_append, &a), FICUS_ERR_OK);
        crash_env_run(ce);
        assert_int_equal(a.err, FICUS_ERR_OK);
    }
    publish("1", 0);    /* at once, when it is known only as what waits */
    publish("1", at);
    assert_int_equal(elog_later_count(elog), 1 + 12 * EVENT_BATCH_COUNT_MAX / 2);
    crash_env_run_ms(ce, 11000);
    publish("x3070", now_ms() + DAY_MS);
    log_rig_close();
    open_log((struct elog_options){0});
    assert_int_equal(elog_later_count(elog), 12 * EVENT_BATCH_COUNT_MAX / 2);
    (void)read_ids("a", 0);
    assert_int_equal(seen.count, 12 * EVENT_BATCH_COUNT_MAX / 2 + 1);
    assert_string_equal(seen.ids[seen.count - 1], "1");
}

enum { TOGETHER = 4 };

static void publish_together(void)
{
    static char ids[TOGETHER][EVENT_BATCH_COUNT_MAX][16];
    static struct event batches[TOGETHER][EVENT_BATCH_COUNT_MAX];
    struct appended a[TOGETHER] = {{0}};
    for (int i = 0; i < TOGETHER; i++) {
        for (int k = 0; k < EVENT_BATCH_COUNT_MAX; k++) {
            snprintf(ids[i][k], sizeof ids[i][k], "%d", i * EVENT_BATCH_COUNT_MAX + k);
            batches[i][k] = make(ids[i][k], k % 2 == 0 ? now_ms() + DAY_MS : 0);
        }
        assert_int_equal(elog_append(elog, batches[i], EVENT_BATCH_COUNT_MAX, on_append, &a[i]), FICUS_ERR_OK);
    }
    crash_env_run(ce);
    for (int i = 0; i < TOGETHER; i++)
        assert_int_equal(a[i].err, FICUS_ERR_OK);
}

/* Many of both kinds in one transaction: each is known again, also after a restart. */
static void test_together(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        publish_together();
        publish_together();
        assert_int_equal(elog_later_count(elog), TOGETHER * EVENT_BATCH_COUNT_MAX / 2);
        (void)read_ids("a", 0);
        assert_int_equal(seen.count, TOGETHER * EVENT_BATCH_COUNT_MAX / 2);
        log_rig_close();
        open_log((struct elog_options){0});
    }
}

/* Batches of delayed events alone, one after the other, survive restarts: offsets and ids of them are in no record. */
static void test_only_later(void **state)
{
    (void)state;
    int64_t at = now_ms() + HOUR_MS;
    assert_int_equal(publish("1", at), 1);
    assert_int_equal(publish("2", at), 2);
    log_rig_close();
    open_log((struct elog_options){0});
    int64_t last = elog_last_offset(elog);
    assert_true(last >= 2);
    assert_int_equal(publish("3", at), last + 1);
    assert_int_equal(publish("1", at), last + 1);
    assert_int_equal(publish("now", 0), last + 2);
    assert_int_equal(elog_later_count(elog), 3);
}

/* The bounds: by count, by size, by horizon; a batch that does not fit is refused whole, and fits again later. */
static void test_bounds(void **state)
{
    (void)state;
    struct appended a = {0};
    log_rig_close();
    open_log((struct elog_options){.later_count_max = 3});
    struct event batch[] = {make("1", now_ms() + 1000), make("2", now_ms() + 5000), make("3", 0)};
    assert_int_equal(elog_append(elog, batch, 3, on_append, &a), FICUS_ERR_OK);
    struct event more[] = {make("4", now_ms() + 1000), make("5", now_ms() + 1000)};
    assert_int_equal(elog_append(elog, more, 2, on_append, &a), FICUS_ERR_BUSY);     /* what is under way counts */
    crash_env_run(ce);
    assert_int_equal(elog_append(elog, more, 2, on_append, &a), FICUS_ERR_BUSY);
    assert_int_equal(elog_append(elog, more, 1, on_append, &a), FICUS_ERR_OK);
    crash_env_run_ms(ce, 2000);
    assert_int_equal(elog_append(elog, more, 2, on_append, &a), FICUS_ERR_OK);
    more[0] = make("6", now_ms() + EVENT_LATER_MS_MAX + 2 * DAY_MS);
    assert_int_equal(elog_append(elog, more, 1, on_append, &a), FICUS_ERR_INVALID);
    crash_env_run(ce);
    log_rig_close();
    open_log((struct elog_options){.later_size_max = 150});
    crash_env_run_ms(ce, 10000);
    assert_int_equal(elog_later_count(elog), 0);
    more[0] = make("7", now_ms() + 1000);
    more[1] = make("8", now_ms() + 1000);
    assert_int_equal(elog_append(elog, more, 2, on_append, &a), FICUS_ERR_OK);
    crash_env_run(ce);
    more[0] = make("9", now_ms() + 1000);
    assert_int_equal(elog_append(elog, more, 1, on_append, &a), FICUS_ERR_BUSY);
}

/* What is taken out never comes; taking it out again, or what came, is NOT_FOUND. */
static void test_take_out(void **state)
{
    (void)state;
    int64_t first = publish("1", now_ms() + 1000), second = publish("01234567-89ab-8def-8123-456789abcdef", now_ms() + 2000);
    publish("3", now_ms() + 3000);
    assert_int_equal(take_out(first), FICUS_ERR_OK);
    assert_string_equal(removed.id, "1");
    assert_int_equal(take_out(second), FICUS_ERR_OK);
    assert_int_equal(take_out(first), FICUS_ERR_NOT_FOUND);
    crash_env_run_ms(ce, 5000);
    assert_string_equal(read_ids("a", 0), "3");
    assert_int_equal(take_out(3), FICUS_ERR_NOT_FOUND);
    assert_int_equal(elog_later_count(elog), 0);
}

/* Pages of the list: next due first, all of them once. */
static void test_pages(void **state)
{
    (void)state;
    static const int order[] = {3, 1, 2, 1, 3};
    for (int i = 0; i < 5; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        publish(id, now_ms() + order[i] * 1000);
    }
    char all[32] = "";
    int64_t after_ms = 0, after = 0;
    do {
        list_waiting(after_ms, after, 2);
        for (size_t i = 0; i < listed.count; i++) {
            strncat(all, listed.ids[i], sizeof all - strlen(all) - 1);
            after_ms = listed.list[i].at_ms;
            after = listed.list[i].number;
        }
    } while (listed.count > 0);
    assert_string_equal(all, "13204");
}

/* When the disk is full at its time, it comes when there is room again; publishers are not kept waiting by it. */
static void test_disk_full(void **state)
{
    (void)state;
    publish("1", now_ms() + 1000);
    sim_disk_fail(disk, 0, 1000000, FICUS_ERR_FULL);
    crash_env_run_ms(ce, 5000);
    assert_string_equal(read_ids("a", 0), "");
    assert_int_equal(elog_later_count(elog), 1);
    sim_disk_fail(disk, 0, 0, FICUS_ERR_OK);
    crash_env_run_ms(ce, 1100);
    assert_string_equal(read_ids("a", 0), "1");
    assert_int_equal(elog_later_count(elog), 0);
}

static void publish_until_taken(const char *id, int64_t at_ms)
{
    for (int i = 0; i < 100; i++) {
        struct appended a = {0};
        struct event ev = make(id, at_ms);
        assert_int_equal(elog_append(elog, &ev, 1, on_append, &a), FICUS_ERR_OK);
        crash_env_run(ce);
        assert_int_equal(a.calls, 1);
        if (a.err == FICUS_ERR_OK)
            return;
    }
    fail_msg("never taken");
}

/* Whichever operations on the disk fail, some in a row, each event comes once: publishers try again, and so does what moves. */
static void test_each_write_fails(void **state)
{
    static const enum ficus_err errors[] = {FICUS_ERR_FULL, FICUS_ERR_IO};
    enum { SKIPS = 80 };
    for (int i = 0; i < 2 * SKIPS; i++) {
        teardown(state);
        setup(state);
        sim_disk_fail(disk, (uint64_t)i / 2, 3, errors[i % 2]);
        publish_until_taken("1", now_ms() + 1000);
        publish_until_taken("2", 0);
        publish_until_taken("3", now_ms() + 1500);
        crash_env_run_ms(ce, 10000);
        sim_disk_fail(disk, 0, 0, FICUS_ERR_OK);
        crash_env_run_ms(ce, 2000);
        assert_string_equal(read_ids("a", 0), "2 1 3");
        assert_int_equal(elog_later_count(elog), 0);
    }
}

/* What waits does not count when the log's size is looked at: else a large store of it would drive all that came out of the log. */
static void test_size_spared(void **state)
{
    (void)state;
    enum { COUNT = 200, DATA = 50000 };
    static char data[DATA];
    memset(data, 'd', sizeof data);
    data[0] = data[DATA - 1] = '"';
    log_rig_close();
    open_log((struct elog_options){.size_max = 4000000, .retention_ms = 30 * DAY_MS});
    for (int i = 0; i < 10; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        publish(id, 0);
    }
    for (int i = 0; i < COUNT; i++) {
        char id[8];
        struct appended a = {0};
        snprintf(id, sizeof id, "w%d", i);
        struct event ev = make(id, now_ms() + DAY_MS);
        ev.data = slice_make(data, sizeof data);
        assert_int_equal(elog_append(elog, &ev, 1, on_append, &a), FICUS_ERR_OK);
        crash_env_run(ce);
        assert_int_equal(a.err, FICUS_ERR_OK);
    }
    crash_env_run_ms(ce, HOUR_MS);
    (void)read_ids("a", 0);
    assert_int_equal(seen.count, 10);
    crash_env_run_ms(ce, DAY_MS);   /* they come: now they count, and most of them go */
    (void)read_ids("a", 0);
    assert_true(seen.count > 0 && seen.count < COUNT / 2);
    assert_int_equal(elog_later_count(elog), 0);
}

static void damage(void *arg)
{
    struct db_tx tx = {0};
    (void)arg;
    assert_int_equal(db_tx_begin(elog_db(elog), &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, "UPDATE later SET body = zeroblob(length(body)) WHERE id = 'bad'", ""), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
}

/* A damaged one is told and kept from coming; the others come. */
static void test_damaged(void **state)
{
    (void)state;
    publish("1", now_ms() + 1000);
    int64_t bad = publish("bad", now_ms() + 1000);
    publish("3", now_ms() + 1000);
    crash_env_call(ce, damage, NULL);
    crash_env_run_ms(ce, 3000);
    assert_string_equal(read_ids("a", 0), "1 3");
    assert_int_equal(damaged_number, bad);
    list_waiting(0, 0, 0);
    assert_int_equal(listed.count, 1);
    assert_true(listed.list[0].damaged);
    assert_string_equal(listed.ids[0], "bad");
    assert_int_equal(take_out(bad), FICUS_ERR_OK);
    assert_int_equal(elog_later_count(elog), 0);
}

/* ---- schedules ---- */

static const struct elog_schedule nightly = {.source = "/s/nightly", .name = "nightly", .topic = "due", .every_ms = DAY_MS, .phase_ms = 2 * HOUR_MS};

static void check_due(int64_t day, int missed)
{
    char at[TIME_TEXT_SIZE], data[128];
    time_format(day * DAY_MS + 2 * HOUR_MS, at);
    snprintf(data, sizeof data, "{\"schedule\":\"nightly\",\"at\":\"%s\",\"missed\":%d}", at, missed);
    assert_string_equal(seen.data, data);
}

/* An event at each of its times, with an id made of the time; after a pause one that says how many were missed. */
static void test_schedule(void **state)
{
    (void)state;
    log_rig_close();
    const struct elog_options o = {.schedules = &nightly, .schedule_count = 1};
    open_log(o);
    int64_t today = now_ms() / DAY_MS;
    bool before_two = now_ms() % DAY_MS < 2 * HOUR_MS;
    int64_t first = before_two ? today : today + 1;
    assert_string_equal(read_ids("due", 0), "");
    crash_env_run_ms(ce, first * DAY_MS + 2 * HOUR_MS - now_ms() - 1000);
    (void)read_ids("due", 0);
    assert_int_equal(seen.count, 0);
    crash_env_run_ms(ce, 2000);
    (void)read_ids("due", 0);
    assert_int_equal(seen.count, 1);
    check_due(first, 0);
    assert_true(uuid_valid(slice_str(seen.ids[0])) && seen.ids[0][14] == '8');
    log_rig_close();
    sim_wall_jump(crash_env_world(ce), 3 * DAY_MS);
    open_log(o);
    crash_env_run_ms(ce, 1000);
    (void)read_ids("due", 0);
    assert_int_equal(seen.count, 2);
    check_due(first + 3, 2);
    assert_int_equal(elog_schedules_list(elog, on_list, NULL), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(listed.count, 1);
    assert_int_equal(listed.list[0].at_ms, (first + 4) * DAY_MS + 2 * HOUR_MS);
    /* back: no time again */
    sim_wall_jump(crash_env_world(ce), -2 * DAY_MS);
    crash_env_run_ms(ce, 2 * DAY_MS);
    (void)read_ids("due", 0);
    assert_int_equal(seen.count, 2);
    crash_env_run_ms(ce, DAY_MS);
    (void)read_ids("due", 0);
    assert_int_equal(seen.count, 3);
    check_due(first + 4, 0);
}

/* One that is gone from the options is forgotten; other times begin anew from now on. */
static void test_schedule_changes(void **state)
{
    (void)state;
    log_rig_close();
    open_log((struct elog_options){.schedules = &nightly, .schedule_count = 1});
    log_rig_close();
    open_log((struct elog_options){0});
    crash_env_run_ms(ce, 3 * DAY_MS);
    assert_string_equal(read_ids("due", 0), "");
    log_rig_close();
    struct elog_schedule minutely = nightly;
    minutely.every_ms = 60000;
    minutely.phase_ms = 0;
    open_log((struct elog_options){.schedules = &minutely, .schedule_count = 1});
    crash_env_run_ms(ce, 5 * 60000 + 100);
    (void)read_ids("due", 0);
    assert_int_equal(seen.count, 5);
    assert_non_null(strstr(seen.data, "\"missed\":0"));
}

/* ---- times ---- */

static int64_t place;

static void on_place(void *arg, enum ficus_err err, int64_t offset)
{
    (void)arg;
    assert_int_equal(err, FICUS_ERR_OK);
    place = offset;
}

static int64_t place_at(int64_t at_ms)
{
    assert_int_equal(elog_offset_at(elog, at_ms, on_place, NULL), FICUS_ERR_OK);
    crash_env_run(ce);
    return place;
}

/* For each moment the place behind which everything is that came then or later, whatever gaps the offsets have. */
static void test_places(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    int64_t at[COUNT], offset[COUNT];
    assert_int_equal(place_at(now_ms()), 0);
    for (int i = 0; i < COUNT; i++) {
        char id[8];
        snprintf(id, sizeof id, "gap%d", i);
        if (i % 7 == 0)
            publish(id, now_ms() + DAY_MS);
        snprintf(id, sizeof id, "%d", i);
        at[i] = now_ms();
        offset[i] = publish(id, 0);
        crash_env_run_ms(ce, 1000);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(place_at(at[i]), offset[i] - 1);
        int64_t behind = place_at(at[i] + 1);
        assert_true(behind >= offset[i] && (i + 1 == COUNT || behind < offset[i + 1]));
    }
    assert_int_equal(place_at(now_ms() + DAY_MS), offset[COUNT - 1]);
    assert_int_equal(place_at(0), offset[0] - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_comes_at_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wakes_readers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clock_jumps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_together, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_take_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_write_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_size_spared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_schedule, setup, teardown),
        cmocka_unit_test_setup_teardown(test_schedule_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
