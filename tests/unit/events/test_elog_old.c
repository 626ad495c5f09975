/* SPDX-License-Identifier: Apache-2.0
 *
 * A log of the first format, a row for each event, is taken over whole.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "elog_old.h"
#include "elog_private.h"

#include <stdio.h>

enum { EVENTS = 1400, KEPT_UP_TO = 100, HOUR_MS = 3600 * 1000 };

static struct sim_disk *disk;
static struct crash_env *ce;
static struct elog *elog;
static struct ficus_error error;
static const struct elog_kept kept[] = {{"kept", ""}};

static int setup(void **state)
{
    (void)state;
    disk = sim_disk_new();
    ce = crash_env_new(disk, 5);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (elog != NULL)
        elog_close(elog, NULL, NULL);
    elog = NULL;
    crash_env_run_ms(ce, 100);
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

static enum ficus_err open_log(void)
{
    elog = NULL;
    return elog_open(crash_env(ce), &(struct elog_options){.path = "log.db", .kept = kept, .kept_count = 1, .retention_ms = HOUR_MS}, &elog, &error);
}

static void must(enum ficus_err err)
{
    if (err != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

static void sql(struct db *d, const char *text)
{
    struct db_tx tx = {0};
    must(db_tx_begin(d, &tx, 0, &error));
    must(db_script(db_tx_conn(&tx), slice_str(text), &error));
    must(db_tx_commit_wait(&tx, &error));
}

/* Events 1..EVENTS, appended by four; what only the newest of each key is left of: "kept" up to KEPT_UP_TO. The last offsets were given
 * to events that are gone. */
static struct db *build(void)
{
    struct db *d = NULL;
    must(elog_old_create(crash_env(ce), "log.db", &d, &error));
    for (int first = 1; first <= EVENTS; first += 100)
        must(elog_old_add(d, first, 100, env_wall_ms(crash_env(ce)) + first, &error));
    sql(d, "DELETE FROM event WHERE offset <= 100 AND (topic <> 'kept' OR offset < 90);"
           "INSERT INTO kept_topic VALUES('kept', '');"
           "INSERT INTO kept SELECT topic, subject, max(offset) FROM event WHERE topic = 'kept' GROUP BY subject;"
           "INSERT INTO cut VALUES('a', 100);"
           "UPDATE sqlite_sequence SET seq = 2000 WHERE name = 'event';");
    return d;
}

struct seen {
    int64_t next;
    size_t count, cuts;
    int64_t offsets[EVENTS];
};

static struct elog_reader *reader;

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct seen *s = arg;
    const struct event_cut *cuts;
    assert_int_equal(err, FICUS_ERR_OK);
    s->next = next;
    s->cuts += elog_read_cuts(reader, &cuts);
    for (size_t i = 0; i < count; i++) {
        assert_true(elog_old_is(&events[i], (int)events[i].offset));
        s->offsets[s->count++] = events[i].offset;
    }
}

static struct seen read_all(const char *topics)
{
    struct seen s = {0};
    int64_t before = -1;
    while (s.next > before) {
        before = s.next;
        assert_int_equal(elog_reader_new(elog, &reader), FICUS_ERR_OK);
        assert_int_equal(elog_read(reader, topics, s.next, 0, 0, on_read, &s), FICUS_ERR_OK);
        crash_env_run(ce);
        elog_reader_free(reader);
    }
    return s;
}

static int64_t listed;

static void on_topics(void *arg, enum ficus_err err, const struct elog_topic *topics, size_t count)
{
    (void)arg;
    assert_int_equal(err, FICUS_ERR_OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++)
        listed += topics[i].count;
    assert_true(slice_eq_str(topics[0].topic, "a"));
    assert_int_equal(topics[0].offset_first, 102);
}

static void on_append(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    (void)detail;
    assert_int_equal(err, FICUS_ERR_OK);
    *(int64_t *)arg = last_offset;
}

static int64_t append_again(int number)
{
    struct event ev;
    char id[16], subject[16], data[64];
    int64_t last = 0;
    elog_old_event(number, &ev, id, subject, data);
    assert_int_equal(elog_append(elog, &ev, 1, on_append, &last), FICUS_ERR_OK);
    crash_env_run(ce);
    return last;
}

/* Every event comes back as it was, at its offset; topics, cuts and kept keys are those of before; offsets go on behind the
 * last that was given, and the newest of each source are known when they come again. */
static void test_whole(void **state)
{
    (void)state;
    db_close(build());
    must(open_log());
    struct seen s = read_all("a,b,kept");
    assert_int_equal(s.cuts, 1);
    assert_int_equal(s.next, 2000);
    size_t of_kept = 0;
    while (s.offsets[of_kept] <= KEPT_UP_TO)
        of_kept++;
    assert_in_range(of_kept, 1, 10);
    assert_int_equal(s.count, EVENTS - KEPT_UP_TO + of_kept);
    for (size_t i = of_kept; i < s.count; i++)
        assert_int_equal(s.offsets[i], KEPT_UP_TO + 1 + (int64_t)(i - of_kept));
    assert_int_equal(elog_topics(elog, on_topics, NULL), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(listed, s.count);
    assert_int_equal(elog_last_offset(elog), 2000);
    for (int i = EVENTS - 300; i <= EVENTS; i++)
        assert_int_equal(append_again(i), 2000);
    assert_int_equal(append_again(EVENTS + 2), 2001);
    crash_env_run_ms(ce, (int64_t)3 * HOUR_MS);
    assert_int_equal(read_all("a,b").count, 0);
    s = read_all("kept");
    assert_int_equal(s.count, ELOG_OLD_SUBJECTS);       /* the newest of each */
}

/* An old event that is damaged stops the opening with its offset; nothing is lost, and when it is repaired all is taken
 * over. */
static void test_damaged(void **state)
{
    (void)state;
    struct db *d = build();
    sql(d, "CREATE TABLE aside AS SELECT offset AS o, body AS b FROM event WHERE offset = 500;"
           "UPDATE event SET body = substr(body, 2) WHERE offset = 500");
    db_close(d);
    assert_int_equal(open_log(), FICUS_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "the event at offset 500 is damaged"));
    must(db_open(crash_env(ce), &(struct db_options){.path = "log.db"}, &d, &error));
    sql(d, "UPDATE event SET body = (SELECT b FROM aside) WHERE offset = 500");
    db_close(d);
    must(open_log());
    assert_int_equal(read_all("a,b").count + read_all("kept").count, read_all("a,b,kept").count);
    assert_int_equal(elog_last_offset(elog), 2000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(test_whole), TEST(test_damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
