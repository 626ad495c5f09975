/* SPDX-License-Identifier: Apache-2.0
 *
 * Outbox, relay and inbox with a bus in memory that can fail, hold and count.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "hub_reads.h"
#include "mem.h"
#include "outbox.h"

#include <stdio.h>

enum { PUBLISHED_MAX = 4000 };

static struct sim_disk *disk;
static struct crash_env *ce;
static struct db *db;
static struct outbox_relay *relay;
static struct ficus_error error;

/* ---- the bus ---- */

static struct fake_bus {
    struct bus bus;
    struct env_task answer;
    void (*done)(void *arg, enum ficus_err err, const char *detail);
    void *arg;
    enum ficus_err err;         /* what it answers */
    int fails_left;             /* how often it answers err instead of OK */
    bool holds;                 /* does not answer */
    bool outstanding;
    int tries;
    size_t count;
    char ids[PUBLISHED_MAX][8]; /* acknowledged, in order */
    struct slice batch;
} bus;

static void bus_take(void)
{
    struct arena a;
    struct event *events = NULL;
    size_t count = 0;
    arena_init(&a, 64 * 1024 * 1024);
    assert_int_equal(hub_reads(&a, bus.batch, &events, &count, &error), FICUS_ERR_OK);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++)
        snprintf(bus.ids[bus.count++], sizeof bus.ids[0], SLICE_FMT, SLICE_ARG(events[i].id));
    arena_done(&a);
}

static void bus_answer(void *arg)
{
    (void)arg;
    enum ficus_err err = bus.fails_left > 0 ? bus.err : FICUS_ERR_OK;
    if (bus.fails_left > 0)
        bus.fails_left--;
    if (err == FICUS_ERR_OK)
        bus_take();
    bus.outstanding = false;
    bus.done(bus.arg, err, err == FICUS_ERR_OK ? "" : "not today");
}

static enum ficus_err bus_publish(struct bus *b, struct slice batch, void (*done)(void *arg, enum ficus_err err,
                                  const char *detail), void *arg)
{
    (void)b;
    assert_false(bus.outstanding);
    bus.outstanding = true;
    bus.tries++;
    bus.batch = batch;
    bus.done = done;
    bus.arg = arg;
    if (!bus.holds)
        env_post(crash_env(ce), &bus.answer);
    return FICUS_ERR_OK;
}

static const struct bus_ops bus_ops = {.publish = bus_publish};

/* ---- helpers ---- */

static void relay_open(void)
{
    assert_int_equal(outbox_relay_new(crash_env(ce), db, &bus.bus, &relay), FICUS_ERR_OK);
}

static bool relay_gone;

static void on_closed(void *arg)
{
    (void)arg;
    relay_gone = true;
}

static void relay_close(void)
{
    relay_gone = false;
    outbox_relay_close(relay, on_closed, NULL);
    crash_env_run_ms(ce, 100);
    assert_true(relay_gone);
    relay = NULL;
}

static int setup(void **state)
{
    (void)state;
    disk = sim_disk_new();
    ce = crash_env_new(disk, 21);
    memset(&bus, 0, sizeof bus);
    bus.bus.ops = &bus_ops;
    bus.answer = (struct env_task){.fn = bus_answer};
    if (db_open(crash_env(ce), &(struct db_options){.path = "s.db"}, &db, &error) != FICUS_ERR_OK)
        return -1;
    return db_migrate(db, "events", events_migrations, events_migration_count, &error) == FICUS_ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    if (relay != NULL)
        relay_close();
    db_close(db);
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

static struct db_tx begin(void)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    return tx;
}

static void add(struct db_tx *tx, int id)
{
    char text[8];
    snprintf(text, sizeof text, "%d", id);
    struct event ev = {.id = slice_str(text), .source = SLICE("/s"), .topic = SLICE("t"), .data = SLICE("{}")};
    if (outbox_add(db_tx_conn(tx), &ev, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

static void emit(int id)
{
    struct db_tx tx = begin();
    add(&tx, id);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    if (relay != NULL)
        outbox_relay_kick(relay);
}

static int64_t rows(void)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, &error, "SELECT count(*) FROM ficus_outbox", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), 1);
    int64_t n = db_i64(s, 0);
    db_reader_give(db, c);
    return n;
}

static void assert_published(int first, int last)
{
    assert_int_equal(bus.count, last - first + 1);
    for (int i = first; i <= last; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        assert_string_equal(bus.ids[i - first], id);
    }
}

/* ---- the relay ---- */

/* All is published in the order of commits, in as many batches as it takes, and the rows go after a quiet while. */
static void test_order(void **state)
{
    (void)state;
    for (int i = 0; i < 600; i++)
        emit(i);
    relay_open();
    crash_env_run(ce);
    assert_published(0, 599);
    assert_int_equal(outbox_relay_pending(relay), 0);
    for (int i = 600; i < 700; i++)
        emit(i);
    crash_env_run(ce);
    assert_published(0, 699);
    assert_true(rows() > 0);
    crash_env_run_ms(ce, 6000);
    assert_int_equal(rows(), 0);
    const char *detail = NULL;
    assert_int_equal(outbox_relay_error(relay, &detail), FICUS_ERR_OK);
}

/* An event of a transaction that was rolled back is never published; one that could not be in the log does not get
 * into the outbox. */
static void test_rollback(void **state)
{
    (void)state;
    relay_open();
    struct db_tx tx = begin();
    add(&tx, 1);
    db_tx_rollback(&tx);
    emit(2);
    tx = begin();
    struct event bad = {.id = SLICE("3"), .source = SLICE("/s"), .topic = SLICE("t"), .data = SLICE("{")};
    assert_int_equal(outbox_add(db_tx_conn(&tx), &bad, &error), FICUS_ERR_INVALID);
    db_tx_rollback(&tx);
    crash_env_run(ce);
    assert_published(2, 2);
}

/* Whatever the bus answers, nothing is skipped or reordered: the same rows are tried until they are taken. */
static void test_bus_away(void **state)
{
    (void)state;
    static const enum ficus_err errs[] = {FICUS_ERR_UNAVAILABLE, FICUS_ERR_DENIED, FICUS_ERR_INVALID,
        FICUS_ERR_TIMEOUT};
    int id = 0;
    relay_open();
    for (size_t i = 0; i < ARRAY_COUNT(errs); i++) {
        const char *detail = NULL;
        bus.err = errs[i];
        bus.fails_left = 5;
        int tries = bus.tries;
        emit(id++);
        emit(id++);
        crash_env_run_ms(ce, 200);
        emit(id++);
        assert_int_equal(outbox_relay_error(relay, &detail), errs[i]);
        assert_string_equal(detail, "not today");
        assert_true(outbox_relay_pending(relay) > 0);
        crash_env_run_ms(ce, 60000);
        assert_published(0, id - 1);
        assert_true(bus.tries - tries >= 6);
        assert_int_equal(outbox_relay_error(relay, &detail), FICUS_ERR_OK);
    }
}

/* The pauses between tries grow, and end at three seconds. */
static void test_backoff(void **state)
{
    (void)state;
    relay_open();
    bus.err = FICUS_ERR_REFUSED;
    bus.fails_left = 1000000;
    emit(1);
    crash_env_run_ms(ce, 10000);
    int early = bus.tries;
    assert_in_range(early, 6, 14);
    crash_env_run_ms(ce, 60000);
    assert_in_range(bus.tries - early, 20, 41);
}

/* A process that dies between the acknowledgement and the deletion publishes those rows again, the log's matter to
 * drop, and no others. */
static void test_restart(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        emit(i);
    relay_open();
    crash_env_run(ce);
    assert_published(0, 9);
    struct sim_disk *left = sim_disk_clone(disk);       /* what the dead process leaves */
    sim_disk_crash(left, SIM_CRASH_FORGET, 0);
    relay_close();
    db_close(db);
    crash_env_free(ce);
    sim_disk_free(disk);
    disk = left;
    ce = crash_env_new(disk, 22);
    assert_int_equal(db_open(crash_env(ce), &(struct db_options){.path = "s.db"}, &db, &error), FICUS_ERR_OK);
    bus.count = 0;
    relay_open();
    crash_env_run(ce);
    assert_published(0, 9);
    crash_env_run_ms(ce, 6000);
    assert_int_equal(rows(), 0);
}

/* outbox_trim deletes what is acknowledged and nothing else; rolled back, the rows go with the next chance. */
static void test_trim(void **state)
{
    (void)state;
    relay_open();
    emit(1);
    crash_env_run(ce);
    bus.holds = true;
    emit(2);
    crash_env_run(ce);
    struct db_tx tx = begin();
    assert_int_equal(outbox_trim(relay, db_tx_conn(&tx), &error), FICUS_ERR_OK);
    db_tx_rollback(&tx);
    assert_int_equal(rows(), 2);
    tx = begin();
    assert_int_equal(outbox_trim(relay, db_tx_conn(&tx), &error), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    bus.holds = false;
    env_post(crash_env(ce), &bus.answer);
    crash_env_run(ce);
    tx = begin();
    assert_int_equal(outbox_trim(relay, db_tx_conn(&tx), &error), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    assert_int_equal(rows(), 0);
    assert_published(1, 2);
}

/* However much waits in the outbox, and also when the disk takes no deletes for a while: of what is acknowledged no more rows are
 * left than the log will know again. */
static void test_again(void **state)
{
    (void)state;
    enum { ROWS = 3000 };
    struct db_tx tx = begin();
    for (int i = 1; i <= ROWS; i++)
        add(&tx, i);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    sim_disk_fail(disk, 0, 100000, FICUS_ERR_FULL);
    bus.holds = true;
    relay_open();
    for (int turn = 0; bus.count < ROWS; turn++) {
        assert_true(turn < 100);
        crash_env_run(ce);
        if (turn == 20)
            sim_disk_fail(disk, 0, 0, FICUS_ERR_OK);
        if (!bus.outstanding) {
            crash_env_run_ms(ce, 1000);
            continue;
        }
        assert_in_range((int64_t)bus.count + EVENT_BATCH_COUNT_MAX - (ROWS - rows()), 0, EVENT_AGAIN_MAX);
        env_post(crash_env(ce), &bus.answer);
        crash_env_run(ce);
        assert_true(turn > 20 || bus.count <= EVENT_AGAIN_MAX);
    }
    assert_published(1, ROWS);
    outbox_relay_kick(relay);
    crash_env_run_ms(ce, 6000);
    assert_int_equal(rows(), 0);
}

/* Closing waits for the publish that runs, keeps what was not published, and deletes what was. */
static void test_close(void **state)
{
    (void)state;
    relay_open();
    bus.holds = true;
    emit(1);
    crash_env_run(ce);
    assert_true(bus.outstanding);
    relay_gone = false;
    outbox_relay_close(relay, on_closed, NULL);
    crash_env_run_ms(ce, 1000);
    assert_false(relay_gone);
    struct db_tx tx = begin();
    add(&tx, 2);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    env_post(crash_env(ce), &bus.answer);
    crash_env_run(ce);
    assert_true(relay_gone);
    relay = NULL;
    assert_published(1, 1);
    assert_int_equal(rows(), 1);
}

/* ---- the inbox ---- */

/* An offset is new once, an older one never; the position is the last that was processed, and goes back with its
 * transaction. */
static void test_inbox(void **state)
{
    (void)state;
    bool is_new = false;
    int64_t offset = -1, attempts = -1;
    struct db_tx tx = begin();
    struct db_conn *c = db_tx_conn(&tx);
    assert_int_equal(inbox_position(c, "s", &offset, &attempts, &error), FICUS_ERR_OK);
    assert_int_equal(offset, 0);
    static const struct {
        int64_t offset;
        bool is_new;
    } steps[] = {{5, true}, {5, false}, {4, false}, {9, true}, {6, false}, {10, true}};
    bool found[ARRAY_COUNT(steps)];
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++)
        assert_int_equal(inbox_accept(c, "s", steps[i].offset, &found[i], &error), FICUS_ERR_OK);
    assert_int_equal(inbox_accept(c, "other", 5, &is_new, &error), FICUS_ERR_OK);
    assert_true(is_new);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) /* no transaction is open: a failure here can be told */
        assert_int_equal(found[i], steps[i].is_new);
    tx = begin();
    assert_int_equal(inbox_accept(db_tx_conn(&tx), "s", 11, &is_new, &error), FICUS_ERR_OK);
    assert_true(is_new);
    db_tx_rollback(&tx);
    tx = begin();
    assert_int_equal(inbox_position(db_tx_conn(&tx), "s", &offset, &attempts, &error), FICUS_ERR_OK);
    assert_int_equal(offset, 10);
    db_tx_rollback(&tx);
}

/* Refusals are counted until an event is accepted, also of a consumer that never accepted one. */
static void test_refusals(void **state)
{
    (void)state;
    bool is_new = false;
    int64_t offset = -1, attempts = -1;
    struct db_tx tx = begin();
    struct db_conn *c = db_tx_conn(&tx);
    for (int64_t i = 1; i <= 3; i++) {
        assert_int_equal(inbox_refused(c, "s", &attempts, &error), FICUS_ERR_OK);
        assert_int_equal(attempts, i);
    }
    assert_int_equal(inbox_position(c, "s", &offset, &attempts, &error), FICUS_ERR_OK);
    assert_int_equal(offset, 0);
    assert_int_equal(attempts, 3);
    assert_int_equal(inbox_accept(c, "s", 1, &is_new, &error), FICUS_ERR_OK);
    assert_true(is_new);
    assert_int_equal(inbox_refused(c, "s", &attempts, &error), FICUS_ERR_OK);
    assert_int_equal(attempts, 1);
    assert_int_equal(inbox_position(c, "s", &offset, &attempts, &error), FICUS_ERR_OK);
    assert_int_equal(offset, 1);
    db_tx_rollback(&tx);
}

/* Of the events that were given up, the newest 100,000 are remembered. */
static void test_given_up(void **state)
{
    (void)state;
    struct event ev = {.id = SLICE("new"), .source = SLICE("/s")}, old = {.id = SLICE("old"), .source = SLICE("/s")};
    bool was = true;
    struct db_tx tx = begin();
    struct db_conn *c = db_tx_conn(&tx);
    assert_int_equal(db_exec(c, &error, "INSERT INTO ficus_dead(seq, source, id) VALUES(1, '/s', 'old'), (2, '/s', 'kept'), (100000, '/s', 'last')", ""),
                     FICUS_ERR_OK);
    assert_int_equal(inbox_give_up(c, &ev, &error), FICUS_ERR_OK);
    assert_int_equal(inbox_take_back(c, &old, &was, &error), FICUS_ERR_OK);
    assert_false(was);
    old.id = SLICE("kept");
    assert_int_equal(inbox_take_back(c, &old, &was, &error), FICUS_ERR_OK);
    assert_true(was);
    assert_int_equal(inbox_take_back(c, &ev, &was, &error), FICUS_ERR_OK);
    assert_true(was);
    assert_int_equal(inbox_take_back(c, &ev, &was, &error), FICUS_ERR_OK);
    assert_false(was);
    db_tx_rollback(&tx);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_order), TEST(test_rollback), TEST(test_bus_away), TEST(test_backoff),
        TEST(test_restart),
        TEST(test_trim), TEST(test_again), TEST(test_close), TEST(test_inbox), TEST(test_refusals), TEST(test_given_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
