/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded log on the test disk, in virtual time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "db.h"
#include "elog_record.h"
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

/* ---- helpers: one append, one read ---- */

static struct event make(const char *topic, const char *id)
{
    return (struct event){.id = slice_str(id), .source = SLICE("/test"), .topic = slice_str(topic),
        .data = SLICE("{\"n\":1}")};
}

static struct appended append(const char *topic, const char *id)
{
    struct appended a = {0};
    struct event ev = make(topic, id);
    assert_int_equal(elog_append(elog, &ev, 1, on_append, &a), FICUS_ERR_OK);
    assert_int_equal(a.calls, 0);
    crash_env_run(ce);
    assert_int_equal(a.calls, 1);
    return a;
}

enum { SEEN_MAX = 4096 };

struct seen {
    int calls;
    enum ficus_err err;
    size_t count;
    int64_t next, offsets[SEEN_MAX];
    char ids[SEEN_MAX][16];
};

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct seen *s = arg;
    s->calls++;
    s->err = err;
    s->next = next;
    for (size_t i = 0; i < count; i++, s->count++) {
        assert_true(s->count < SEEN_MAX);
        s->offsets[s->count] = events[i].offset;
        snprintf(s->ids[s->count], sizeof s->ids[0], SLICE_FMT, SLICE_ARG(events[i].id));
        assert_true(slice_eq(events[i].data, SLICE("{\"n\":1}")));
        assert_true(s->count == 0 || s->offsets[s->count - 1] < events[i].offset);
    }
}

static struct seen seen;

static void read_now(const char *topics, int64_t offset, size_t count_max)
{
    struct elog_reader *r = NULL;
    memset(&seen, 0, sizeof seen);
    assert_int_equal(elog_reader_new(elog, &r), FICUS_ERR_OK);
    assert_int_equal(elog_read(r, topics, offset, count_max, 0, on_read, &seen), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(seen.calls, 1);
    elog_reader_free(r);
}

/* ---- tests ---- */

/* Events come back in the order of their offsets, only of the topics asked for, and `next` passes those of others. */
static void test_order(void **state)
{
    (void)state;
    static const char *const topics[] = {"a", "b", "c", "b", "a", "c"};
    for (int i = 0; i < 6; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        assert_int_equal(append(topics[i], id).last, i + 1);
    }
    read_now("a,b", 0, 0);
    assert_int_equal(seen.count, 4);
    assert_int_equal(seen.next, 6);
    static const int64_t offsets[] = {1, 2, 4, 5};
    assert_memory_equal(seen.offsets, offsets, sizeof offsets);
    assert_string_equal(seen.ids[2], "3");
    read_now("b,a", 0, 3);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.next, 4);
    read_now("b", 4, 0);
    assert_int_equal(seen.count, 0);
    assert_int_equal(seen.next, 6);
    assert_int_equal(elog_last_offset(elog), 6);
}

/* One that is larger than a record otherwise grows has one of its own, also behind others of its source. */
static void test_large(void **state)
{
    (void)state;
    static char data[ELOG_RECORD_SIZE + 1];
    struct appended a = {0};
    memset(data, ' ', sizeof data);
    memcpy(data, "{}", 2);
    assert_int_equal(append("a", "1").err, FICUS_ERR_OK);
    for (int i = 0; i < 2; i++) {
        struct event large = make("b", i == 0 ? "2" : "3");
        large.data = slice_make(data, sizeof data);
        assert_int_equal(elog_append(elog, &large, 1, on_append, &a), FICUS_ERR_OK);
        crash_env_run(ce);
        assert_int_equal(a.err, FICUS_ERR_OK);
        assert_int_equal(a.last, i + 2);
    }
    assert_int_equal(append("a", "4").last, 4);
    read_now("a", 0, 0);
    assert_int_equal(seen.count, 2);
}

/* A repeated (source, id) is acknowledged and not kept twice, in one batch or much later. */
static void test_repeated(void **state)
{
    (void)state;
    struct appended a = {0};
    struct event batch[] = {make("a", "1"), make("a", "2"), make("a", "1")};
    assert_int_equal(elog_append(elog, batch, 3, on_append, &a), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(a.err, FICUS_ERR_OK);
    assert_int_equal(a.last, 2);
    assert_int_equal(append("a", "2").err, FICUS_ERR_OK);
    log_rig_close();
    log_rig_open((struct elog_options){0});
    assert_int_equal(append("a", "1").err, FICUS_ERR_OK);
    struct event other = make("a", "1");
    other.source = SLICE("/other");
    assert_int_equal(elog_append(elog, &other, 1, on_append, &a), FICUS_ERR_OK);
    crash_env_run(ce);
    read_now("a", 0, 0);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.offsets[2], 3);
}

/* A waiting read ends with the first event of its topics, and at its time without one; then next has passed what
 * others published. */
static void test_wait(void **state)
{
    (void)state;
    struct elog_reader *r = NULL;
    memset(&seen, 0, sizeof seen);
    assert_int_equal(elog_reader_new(elog, &r), FICUS_ERR_OK);
    assert_int_equal(elog_read(r, "a", 0, 0, 1000, on_read, &seen), FICUS_ERR_OK);
    crash_env_run_ms(ce, 100);
    append("b", "1");
    crash_env_run_ms(ce, 100);
    assert_int_equal(seen.calls, 0);
    append("a", "2");
    crash_env_run(ce);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.offsets[0], 2);
    append("b", "3");
    assert_int_equal(elog_read(r, "a", 2, 0, 1000, on_read, &seen), FICUS_ERR_OK);
    crash_env_run_ms(ce, 900);
    assert_int_equal(seen.calls, 1);
    crash_env_run_ms(ce, 200);
    assert_int_equal(seen.calls, 2);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.next, 3);
    elog_reader_free(r);
}

/* A freed reader is silent, whether it waits or its job runs. */
static void test_cancel(void **state)
{
    (void)state;
    append("a", "1");
    struct elog_reader *r[2] = {NULL};
    memset(&seen, 0, sizeof seen);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(elog_reader_new(elog, &r[i]), FICUS_ERR_OK);
        assert_int_equal(elog_read(r[i], "a", i, 0, 1000, on_read, &seen), FICUS_ERR_OK);
        elog_reader_free(r[i]);
    }
    crash_env_run_ms(ce, 2000);
    assert_int_equal(seen.calls, 0);
}

/* Topics that are none, offsets of another log and events that are not fit are refused at once. */
static void test_refused(void **state)
{
    (void)state;
    struct elog_reader *r = NULL;
    assert_int_equal(elog_reader_new(elog, &r), FICUS_ERR_OK);
    assert_int_equal(elog_read(r, "a,,b", 0, 0, 0, on_read, &seen), FICUS_ERR_INVALID);
    assert_int_equal(elog_read(r, "a", 1, 0, 0, on_read, &seen), FICUS_ERR_CONFLICT);
    elog_reader_free(r);
    struct event bad = make("a b", "1");
    assert_int_equal(elog_append(elog, &bad, 1, on_append, NULL), FICUS_ERR_INVALID);
    assert_int_equal(elog_append(elog, &bad, 0, on_append, NULL), FICUS_ERR_INVALID);
}

/* Publishers over the queue's bound hear BUSY; those within it are served. */
static void test_queue_bound(void **state)
{
    (void)state;
    log_rig_close();
    log_rig_open((struct elog_options){.queue_size_max = 10000});
    struct appended a[100] = {{0}};
    int taken = 0;
    for (int i = 0; i < 100; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        struct event ev = make("a", id);
        enum ficus_err err = elog_append(elog, &ev, 1, on_append, &a[i]);
        assert_true(err == FICUS_ERR_OK || err == FICUS_ERR_BUSY);
        taken += err == FICUS_ERR_OK;
    }
    assert_in_range(taken, 2, 99);
    crash_env_run(ce);
    read_now("a", 0, 0);
    assert_int_equal(seen.count, taken);
    assert_int_equal(append("a", "later").err, FICUS_ERR_OK);
}

/* When the sync fails, every batch of that transaction hears it, none of it is in the log, and publishing again
 * works. */
static void test_sync_fails(void **state)
{
    (void)state;
    append("a", "first");
    struct appended a[5] = {{0}};
    for (int i = 0; i < 5; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        struct event ev = make("a", id);
        assert_int_equal(elog_append(elog, &ev, 1, on_append, &a[i]), FICUS_ERR_OK);
    }
    sim_disk_fail(disk, 0, 1000, FICUS_ERR_FULL);
    crash_env_run(ce);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(a[i].calls, 1);
        assert_int_equal(a[i].err, FICUS_ERR_FULL);
    }
    sim_disk_fail(disk, 0, 0, FICUS_ERR_OK);
    read_now("a", 0, 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(append("a", "0").last, 2);
}

/* ---- many at once ---- */

enum { PUBLISHERS = 6, ROUNDS = 25, BATCH = 4, READERS = 4 };

struct publisher {
    int number, round;
    bool repeats;
};

static void publish_round(struct publisher *p);

static void on_round(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct publisher *p = arg;
    (void)last_offset, (void)detail;
    assert_int_equal(err, FICUS_ERR_OK);
    p->repeats = !p->repeats && p->round % 3 == 0;      /* as a relay does that lost the answer */
    if (!p->repeats)
        p->round++;
    if (p->round < ROUNDS)
        publish_round(p);
}

static void publish_round(struct publisher *p)
{
    static const char *const topics[] = {"a", "b", "c"};
    char ids[BATCH][16];
    struct event batch[BATCH];
    for (int i = 0; i < BATCH; i++) {
        snprintf(ids[i], sizeof ids[i], "%d-%d", p->number, p->round * BATCH + i);
        batch[i] = make(topics[(p->number + p->round + i) % 3], ids[i]);
    }
    assert_int_equal(elog_append(elog, batch, BATCH, on_round, p), FICUS_ERR_OK);
}

struct follower {
    struct elog_reader *reader;
    const char *topics;
    int64_t offset;
    struct seen *seen;
};

static void follow(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct follower *f = arg;
    assert_int_equal(err, FICUS_ERR_OK);
    assert_true(next >= f->offset);
    assert_true(count == 0 || next >= events[count - 1].offset);
    on_read(f->seen, err, events, count, next);
    f->offset = next;
    assert_int_equal(elog_read(f->reader, f->topics, next, 7, 5000, follow, f), FICUS_ERR_OK);
}

/* Readers that follow while publishers write see every event of their topics once, in order, whatever the schedule:
 * none is passed. */
static void test_followers(void **state)
{
    (void)state;
    static const char *const topics[READERS] = {"a", "a,b", "c,b,a", "b"};
    struct publisher p[PUBLISHERS] = {{0}};
    struct follower f[READERS] = {{0}};
    for (int i = 0; i < READERS; i++) {
        f[i].topics = topics[i];
        f[i].seen = mem_zalloc(sizeof *f[i].seen);
        assert_int_equal(elog_reader_new(elog, &f[i].reader), FICUS_ERR_OK);
        assert_int_equal(elog_read(f[i].reader, topics[i], 0, 7, 5000, follow, &f[i]), FICUS_ERR_OK);
    }
    for (int i = 0; i < PUBLISHERS; i++) {
        p[i].number = i;
        publish_round(&p[i]);
    }
    crash_env_run_ms(ce, 100);
    for (int i = 0; i < READERS; i++) {
        read_now(topics[i], 0, 0);
        struct seen all = seen;
        while (seen.count > 0) {
            read_now(topics[i], seen.next, 0);
            for (size_t n = 0; n < seen.count; n++)
                all.offsets[all.count++] = seen.offsets[n];
        }
        assert_int_equal(f[i].seen->count, all.count);
        assert_memory_equal(f[i].seen->offsets, all.offsets, all.count * sizeof all.offsets[0]);
        elog_reader_free(f[i].reader);
        mem_free(f[i].seen);
    }
    assert_int_equal(elog_last_offset(elog), PUBLISHERS * ROUNDS * BATCH);
}

/* ---- retention, topics, closing ---- */

/* The janitor takes what is older than the retention, in every step of which the log works; offsets go on from where
 * they were. */
static void test_retention_age(void **state)
{
    (void)state;
    log_rig_close();
    log_rig_open((struct elog_options){.retention_ms = 3600 * 1000});
    for (int i = 0; i < 30; i++) {
        struct event batch[50];
        char ids[50][16];
        struct appended a = {0};
        for (int n = 0; n < 50; n++) {
            snprintf(ids[n], sizeof ids[n], "%d", i * 50 + n);
            batch[n] = make("a", ids[n]);
        }
        assert_int_equal(elog_append(elog, batch, 50, on_append, &a), FICUS_ERR_OK);
        crash_env_run(ce);
    }
    crash_env_run_ms(ce, 50 * 60 * 1000);
    assert_int_equal(append("a", "young").last, 1501);
    crash_env_run_ms(ce, 25 * 60 * 1000);
    read_now("a", 0, 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.offsets[0], 1501);
    crash_env_run_ms(ce, 120 * 60 * 1000);
    log_rig_close();
    log_rig_open((struct elog_options){0});
    read_now("a", 0, 0);
    assert_int_equal(seen.count, 0);
    assert_int_equal(append("a", "new").last, 1502);
}

/* Over its size the log loses its oldest events only. */
static void test_retention_size(void **state)
{
    (void)state;
    log_rig_close();
    log_rig_open((struct elog_options){.size_max = 1000000});
    static char data[2000];
    memset(data, 'x', sizeof data);
    data[0] = data[sizeof data - 1] = '"';
    for (int i = 0; i < 1500; i++) {
        char id[16];
        struct appended a = {0};
        snprintf(id, sizeof id, "%d", i);
        struct event ev = make("a", id);
        ev.data = slice_make(data, sizeof data);
        assert_int_equal(elog_append(elog, &ev, 1, on_append, &a), FICUS_ERR_OK);
        crash_env_run(ce);
    }
    append("b", "last");
    crash_env_run_ms(ce, 11 * 60 * 1000);
    read_now("b", 0, 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.offsets[0], 1501);
}

static struct elog_topic listed[4];
static char listed_names[4][8];
static size_t listed_count;

static void on_topics(void *arg, enum ficus_err err, const struct elog_topic *topics, size_t count)
{
    (void)arg;
    assert_int_equal(err, FICUS_ERR_OK);
    listed_count = count;
    for (size_t i = 0; i < count && i < 4; i++) {
        listed[i] = topics[i];
        snprintf(listed_names[i], sizeof listed_names[i], SLICE_FMT, SLICE_ARG(topics[i].topic));
        assert_int_equal(topics[i].time_last.size, 24);
    }
}

static void test_topics(void **state)
{
    (void)state;
    append("a", "1");
    append("b", "2");
    append("a", "3");
    assert_int_equal(elog_topics(elog, on_topics, NULL), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_int_equal(listed_count, 2);
    assert_string_equal(listed_names[0], "a");
    assert_int_equal(listed[0].count, 2);
    assert_int_equal(listed[0].offset_first, 1);
    assert_int_equal(listed[0].offset_last, 3);
    assert_int_equal(listed[1].count, 1);
}

/* Closing tells everybody: what was being written ends, what waited hears CANCELLED, nobody hears twice. */
static void test_close(void **state)
{
    (void)state;
    struct appended a[3] = {{0}};
    for (int i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        struct event ev = make("a", id);
        assert_int_equal(elog_append(elog, &ev, 1, on_append, &a[i]), FICUS_ERR_OK);
    }
    log_rig_close();
    int64_t ok = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a[i].calls, 1);
        assert_true(a[i].err == FICUS_ERR_OK || a[i].err == FICUS_ERR_CANCELLED);
        ok += a[i].err == FICUS_ERR_OK;
    }
    log_rig_open((struct elog_options){0});
    read_now("a", 0, 0);
    assert_int_equal(seen.count, ok);
}

/* A log that was put back from an old copy gives no offset again that was given after the copy was made: who has read
 * further than it reaches misses nothing of what comes now, and is not told CONFLICT. */
static void test_offset_min(void **state)
{
    (void)state;
    append("a", "1");
    log_rig_close();
    struct sim_disk *copy = sim_disk_clone(disk);
    log_rig_open((struct elog_options){0});
    append("a", "2");
    assert_int_equal(append("a", "3").last, 3);
    log_rig_close();
    crash_env_free(ce);
    sim_disk_free(disk);
    disk = copy;
    ce = crash_env_new(disk, 6);
    log_rig_open((struct elog_options){.offset_min = 1000});
    read_now("a", 3, 0);
    assert_int_equal(seen.err, FICUS_ERR_OK);
    assert_int_equal(seen.count, 0);
    assert_int_equal(append("a", "4").last, 1001);
    read_now("a", 3, 0);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.ids[0], "4");
    log_rig_close();
    log_rig_open((struct elog_options){.offset_min = 500});     /* the clock was put back */
    assert_int_equal(append("a", "5").last, 1002);
}

static void spoil(const char *sql)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(elog_db(elog), &tx, 0, &error), FICUS_ERR_OK);
    enum ficus_err err = db_exec(db_tx_conn(&tx), &error, sql, "");
    int64_t changes = db_changes(db_tx_conn(&tx));
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    if (err != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    assert_int_equal(changes, 1);
}

/* A damaged record is CORRUPT to who comes to it, be it a number, its bytes or the whole of it; what stands before it is read, others'
 * topics are, publishing goes on, and the janitor leaves it where it is. */
static void test_damaged(void **state)
{
    (void)state;
    static const char *const ways[] = {"UPDATE record SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB) WHERE last = 2",
        "UPDATE record SET at = at - 1 WHERE last = 2", "UPDATE record SET body = x'' WHERE last = 2", "DELETE FROM record WHERE last = 2"};
    for (size_t i = 0; i < ARRAY_COUNT(ways); i++) {
        append("a", "1");
        append("a", "2");
        append("b", "3");
        spoil(ways[i]);
        read_now("a", 0, 0);
        assert_int_equal(seen.err, FICUS_ERR_OK);
        assert_int_equal(seen.next, 1);
        read_now("a", 1, 0);
        assert_int_equal(seen.err, FICUS_ERR_CORRUPT);
        read_now("b", 0, 0);
        assert_int_equal(seen.count, 1);
        assert_int_equal(append("a", "4").last, 4);
        read_now("a", 2, 0);
        assert_int_equal(seen.count, 1);
        crash_env_run_ms(ce, (int64_t)8 * 24 * 3600 * 1000);
        read_now("a", 1, 0);
        assert_int_equal(seen.err, FICUS_ERR_CORRUPT);
        read_now("a,b", 2, 0);
        assert_int_equal(seen.count, 0);
        (void)teardown(state);
        (void)setup(state);
    }
}

/* A newly kept topic is looked through: a damaged record in it is named by its place. */
static void test_damaged_at_opening(void **state)
{
    (void)state;
    append("a", "1");
    spoil("UPDATE record SET count = 2");
    log_rig_close();
    const struct elog_kept kept = {"a", ""};
    const struct elog_options o = {.path = "log.db", .kept = &kept, .kept_count = 1};
    assert_int_equal(elog_open(crash_env(ce), &o, &elog, &error), FICUS_ERR_CORRUPT);
    elog = NULL;
    assert_non_null(strstr(error.text, "up to offset 1 is damaged"));
}

/* A log that a newer hub has changed is refused with its place. */
static void test_newer(void **state)
{
    (void)state;
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(elog_db(elog), &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error,
        "INSERT INTO ficus_migrations SELECT set_name, max(version) + 1, 'next', 'x', at FROM ficus_migrations", ""),
        FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    log_rig_close();
    const struct elog_options o = {.path = "log.db"};
    assert_int_equal(elog_open(crash_env(ce), &o, &elog, &error), FICUS_ERR_VERSION);
    elog = NULL;
    assert_non_null(strstr(error.text, "log.db: "));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order), TEST(test_large), TEST(test_repeated), TEST(test_wait), TEST(test_cancel), TEST(test_refused),
            TEST(test_queue_bound), TEST(test_sync_fails),
        TEST(test_followers), TEST(test_retention_age), TEST(test_retention_size), TEST(test_topics), TEST(test_close),
        TEST(test_offset_min), TEST(test_damaged), TEST(test_damaged_at_opening), TEST(test_newer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
