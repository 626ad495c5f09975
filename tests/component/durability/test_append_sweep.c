/* SPDX-License-Identifier: Apache-2.0
 *
 * The failure sweep of publishing: each allocation between an event and its reader fails in turn. What fails says so and leaves
 * nothing by half; done again it works, in the same process: every event is in the log once, each at its time, what a rider writes
 * is there as often as its events, and readers find all of it, also after a restart.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "alloc_fail.h"
#include "db.h"
#include "elog_crash.h"
#include "mem.h"

#include <stdio.h>

enum { BATCH = 6, LATER = 2, EVENTS = 2 * BATCH + LATER + 1, SUBJECTS = 3, LARGE = 100000, LATER_MS = 1000, TRIES_MAX = 12 };

struct run {
    struct sim_disk *disk;
    struct crash_env *ce;
    struct elog *log;
    unsigned failures;
    /* of what was asked last */
    bool answered;
    enum ficus_err err;
    char detail[256];
    /* what is read */
    struct elog_place at;
    unsigned seen[EVENTS + 1];
};

static void open_log(struct run *r)
{
    static const struct elog_kept kept[] = {{"kept", ""}};
    struct ficus_error e = {0};
    r->ce = crash_env_new(r->disk, 1);
    if (elog_open(crash_env(r->ce), &(struct elog_options){.path = ELOG_CRASH_PATH, .kept = kept, .kept_count = 1}, &r->log, &e) != FICUS_ERR_OK)
        fail_msg("%s", e.text);
}

static void close_log(struct run *r)
{
    elog_crash_close(r->ce, r->log);
    crash_env_free(r->ce);
}

/* What fails is tried again. */
static bool again(struct run *r, enum ficus_err err, const char *what)
{
    if (err == FICUS_ERR_OK)
        return false;
    if (err != FICUS_ERR_NOMEM || ++r->failures > TRIES_MAX)
        fail_msg("%s fails: %s, \"%s\"", what, err_text(err), r->detail);
    return true;
}

/* ---- publishing ---- */

static void on_appended(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct run *r = arg;
    (void)last_offset;
    assert_false(r->answered);
    r->answered = true;
    r->err = err;
    snprintf(r->detail, sizeof r->detail, "%s", detail == NULL ? "" : detail);
}

static enum ficus_err ride(void *arg, struct db_conn *c, struct ficus_error *reterr)
{
    (void)arg;
    enum ficus_err err = db_exec(c, reterr, "CREATE TABLE IF NOT EXISTS ridden(n INTEGER)", "");
    return err == FICUS_ERR_OK ? db_exec(c, reterr, "INSERT INTO ridden VALUES(1)", "") : err;
}

static void publish(struct run *r, const struct event *events, size_t count, const struct elog_rider *rider)
{
    enum ficus_err err;
    do {
        r->answered = false;
        err = elog_append_with(r->log, events, count, rider, on_appended, r);
        if (err != FICUS_ERR_OK)
            continue;
        crash_env_run(r->ce);
        assert_true(r->answered);
        err = r->err;
        assert_true(err == FICUS_ERR_OK || r->detail[0] != '\0');
    } while (again(r, err, "append"));
}

/* Events number first and following, the third of each three of the kept topic. */
static void make(struct event *events, char (*texts)[2][16], int first, int count)
{
    for (int i = 0; i < count; i++) {
        snprintf(texts[i][0], sizeof texts[i][0], "%d", first + i);
        snprintf(texts[i][1], sizeof texts[i][1], "%d", (first + i) % SUBJECTS);
        events[i] = (struct event){.id = slice_str(texts[i][0]), .source = SLICE("/s"), .topic = (first + i) % 3 == 0 ? SLICE("kept") : SLICE("a"),
            .subject = slice_str(texts[i][1]), .data = SLICE("{\"some\":[1,2,3]}")};
    }
}

static void work(struct run *r)
{
    static char large[LARGE];
    struct event events[2 * BATCH];
    char texts[2 * BATCH][2][16];
    const struct elog_rider rider = {ride, r};
    make(events, texts, 1, 2 * BATCH);
    publish(r, events, BATCH, &rider);
    publish(r, events, 2 * BATCH, NULL); /* half of them are there already */
    make(events, texts, 2 * BATCH + 1, LATER);
    for (int i = 0; i < LATER; i++)
        events[i].at_ms = env_wall_ms(crash_env(r->ce)) + LATER_MS * (i + 1);
    publish(r, events, LATER, NULL);
    publish(r, events, LATER, NULL);
    make(events, texts, EVENTS, 1);
    memset(large, ' ', sizeof large);
    memcpy(large, "{}", 2);
    events[0].data = slice_make(large, sizeof large);
    publish(r, events, 1, NULL);
    crash_env_run_ms(r->ce, 10 * LATER_MS); /* those for later come, at once or after a rest */
}

/* ---- reading ---- */

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct run *r = arg;
    r->answered = true;
    r->err = err;
    if (err != FICUS_ERR_OK)
        return;
    r->at.next = next;
    for (size_t i = 0; i < count; i++) {
        int64_t number = 0;
        assert_true(slice_to_i64(events[i].id, &number) && number >= 1 && number <= EVENTS);
        r->seen[number]++;
    }
}

static void read_all(struct run *r)
{
    enum ficus_err err;
    memset(r->seen, 0, sizeof r->seen);
    r->at = (struct elog_place){0};
    while (again(r, elog_reader_new(r->log, &r->at.reader), "a reader"))
        ;
    while (r->at.next < elog_last_offset(r->log)) {
        r->answered = false;
        err = elog_read(r->at.reader, "a,kept", r->at.next, 0, 0, on_read, r);
        if (err == FICUS_ERR_OK) {
            crash_env_run(r->ce);
            assert_true(r->answered);
            err = r->err;
        }
        (void)again(r, err, "reading");
    }
    elog_reader_free(r->at.reader);
    for (int i = 1; i <= EVENTS; i++)
        if (r->seen[i] != 1)
            fail_msg("event %d is there %u times", i, r->seen[i]);
}

static int64_t ridden(struct run *r)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    struct ficus_error e = {0};
    assert_int_equal(db_reader_take(elog_db(r->log), &c, &e), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, &e, "SELECT count(*) FROM ridden", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &e), 1);
    int64_t count = db_i64(s, 0);
    db_finish(s);
    db_reader_give(elog_db(r->log), c);
    return count;
}

/* True: something failed. */
static bool run_one(uint64_t alloc)
{
    struct run r = {.disk = sim_disk_new()};
    open_log(&r);
    (void)alloc_env(crash_env(r.ce));
    alloc_fail_at(alloc);
    work(&r);
    read_all(&r);
    bool met = alloc_fault.failed;
    alloc_fail_at(0);
    assert_int_equal(ridden(&r), 1);
    assert_int_equal(elog_later_count(r.log), 0);
    close_log(&r);
    open_log(&r);
    read_all(&r);
    close_log(&r);
    sim_disk_free(r.disk);
    return met;
}

static void test_allocations(void **state)
{
    uint64_t n = 1;
    while (run_one(n))
        n++;
    printf("%llu allocations\n", (unsigned long long)n - 1);
    assert_true(n > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
