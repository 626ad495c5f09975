/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer's queue: groups, and what becomes of each member when something fails.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db.h"

enum { JOBS = 60 };

static struct sim_disk *disk;
static struct crash_env *ce;
static struct db *db;
static struct ficus_error error;
static size_t group_count_max;

static int setup(void **state)
{
    (void)state;
    disk = sim_disk_new();
    ce = crash_env_new(disk, 11);
    struct db_options o = {.path = "t.db", .group_count_max = group_count_max};
    if (db_open(crash_env(ce), &o, &db, &error) != FICUS_ERR_OK)
        return -1;
    static const struct db_migration m[] = {{1, "0001_t.sql",
        SLICE("CREATE TABLE p(id INTEGER PRIMARY KEY);"
              "CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT,"
              " p INTEGER REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)")}};
    return db_migrate(db, "app", m, 1, &error) == FICUS_ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    db_close(db);
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

static int64_t ask(const char *sql)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, &error, sql, ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), 1);
    int64_t n = db_i64(s, 0);
    db_finish(s);
    db_reader_give(db, c);
    return n;
}

/* One worker's transaction: what it does, and what became of it. */
struct piece {
    int64_t id;
    const char *sql;            /* one parameter: the id */
    bool rolls_back, waits;
    int64_t deadline_ns;
    struct db_tx tx;
    struct env_job job;
    int told;                   /* how often the end was told */
    enum ficus_err err_begin, err_exec, err_end;
};

static void piece_committed(void *arg, enum ficus_err err, const char *detail)
{
    struct piece *p = arg;
    assert_non_null(detail);
    p->told++;
    p->err_end = err;
}

static void piece_work(void *arg)
{
    struct piece *p = arg;
    struct ficus_error e;
    p->err_end = FICUS_ERR_CANCELLED;
    p->tx = (struct db_tx){.committed = piece_committed, .arg = p};
    p->err_begin = db_tx_begin(db, &p->tx, p->deadline_ns, &e);
    if (p->err_begin != FICUS_ERR_OK)
        return;
    p->err_exec = db_exec(db_tx_conn(&p->tx), &e, p->sql, "i", p->id);
    if (p->rolls_back || p->err_exec != FICUS_ERR_OK) {
        db_tx_rollback(&p->tx);
    } else if (p->waits) {
        p->err_end = db_tx_commit_wait(&p->tx, &e);
        p->told++;
    } else {
        db_tx_commit(&p->tx);
    }
}

static void run_all(struct piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pieces[i].id = (int64_t)i;
        if (pieces[i].sql == NULL)
            pieces[i].sql = "INSERT INTO t(id) VALUES(?)";
        pieces[i].job = (struct env_job){.work = piece_work, .arg = &pieces[i]};
        assert_int_equal(env_run(crash_env(ce), &pieces[i].job), FICUS_ERR_OK);
    }
    crash_env_run(ce);
}

/* All members of all groups are told OK exactly once, be it by callback or waiting; those that rolled back are the only
 * ones missing; and there were fewer commits than transactions. */
static void test_groups(void **state)
{
    (void)state;
    struct piece p[JOBS] = {0};
    for (int i = 0; i < JOBS; i++) {
        p[i].waits = i % 3 == 0;
        p[i].rolls_back = i % 5 == 0;
    }
    int64_t version = ask("PRAGMA data_version");
    uint64_t ops = sim_disk_op_count(disk);
    run_all(p, JOBS);
    ops = sim_disk_op_count(disk) - ops;
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(p[i].told, p[i].rolls_back ? 0 : 1);
        assert_int_equal(p[i].err_end, p[i].rolls_back ? FICUS_ERR_CANCELLED : FICUS_ERR_OK);
    }
    assert_int_equal(ask("SELECT count(*) FROM t WHERE id % 5 <> 0"), JOBS - JOBS / 5);
    assert_int_equal(ask("SELECT count(*) FROM t WHERE id % 5 = 0"), 0);
    assert_true(version != ask("PRAGMA data_version"));
    /* a commit is at least one frame header, one page and one sync */
    assert_true(ops < 3 * JOBS * 4 / 5);
}

/* A failed sync fails every member of its group and nobody else; nothing of the group is there, and the next
 * transaction works. */
static void test_sync_fails(void **state)
{
    (void)state;
    for (uint64_t first = 0; first < 4; first++) {     /* a commit has more than that */
        struct piece p[JOBS] = {0};
        int64_t before = ask("SELECT count(*) FROM t"), acknowledged = 0;
        for (int i = 0; i < JOBS; i++)
            p[i].sql = "INSERT INTO t(id) VALUES(? * 0 + coalesce((SELECT max(id) FROM t), 0) + 1)";
        sim_disk_fail(disk, first, 1, FICUS_ERR_IO);
        run_all(p, JOBS);
        for (int i = 0; i < JOBS; i++) {
            assert_true(p[i].told == 1 || p[i].err_begin != FICUS_ERR_OK || p[i].err_exec != FICUS_ERR_OK);
            acknowledged += p[i].err_end == FICUS_ERR_OK;
        }
        assert_true(acknowledged < JOBS);
        assert_int_equal(ask("SELECT count(*) FROM t"), before + acknowledged);
        struct piece after[1] = {{.sql = "DELETE FROM t WHERE ? = 0"}};
        sim_disk_fail(disk, 0, 0, FICUS_ERR_OK);
        run_all(after, 1);
        assert_int_equal(after[0].err_end, FICUS_ERR_OK);
    }
}

/* A disk that fills up says FULL to the members of the group that met it, takes nothing of it, and goes on when
 * there is room again. */
static void test_disk_full(void **state)
{
    (void)state;
    struct piece p[JOBS] = {0};
    for (int i = 0; i < JOBS; i++)
        p[i].sql = "INSERT INTO t(id, b) VALUES(?, printf('%060000d', 1))";
    sim_disk_size_max(disk, 1500000);
    run_all(p, JOBS);
    int64_t acknowledged = 0, full = 0;
    for (int i = 0; i < JOBS; i++) {
        acknowledged += p[i].err_end == FICUS_ERR_OK;
        full += p[i].err_end == FICUS_ERR_FULL || p[i].err_exec == FICUS_ERR_FULL || p[i].err_begin == FICUS_ERR_FULL;
    }
    assert_true(full > 0);
    assert_int_equal(acknowledged + full, JOBS);
    assert_int_equal(ask("SELECT count(*) FROM t"), acknowledged);
    sim_disk_size_max(disk, 0);
    struct piece after[1] = {{.sql = "DELETE FROM t WHERE id >= ?"}};
    run_all(after, 1);
    assert_int_equal(after[0].err_end, FICUS_ERR_OK);
    assert_int_equal(ask("SELECT count(*) FROM t"), 0);
}

/* A member whose SQL rolls the whole transaction back takes its group with it: all are told so, and nobody is told
 * OK whose row is missing. */
static void test_member_rolls_all_back(void **state)
{
    (void)state;
    struct piece p[JOBS] = {0};
    struct piece first[1] = {0};
    run_all(first, 1);
    for (int i = 1; i < JOBS; i++)
        if (i % 20 == 0)
            p[i].sql = "INSERT OR ROLLBACK INTO t(id) VALUES(? * 0)";
    p[0].sql = "DELETE FROM p WHERE id = ?";
    run_all(p, JOBS);
    int64_t acknowledged = 0;
    for (int i = 1; i < JOBS; i++) {
        if (i % 20 == 0)
            assert_int_equal(p[i].err_exec, FICUS_ERR_EXISTS);
        else
            assert_true(p[i].err_end == FICUS_ERR_OK || p[i].err_end == FICUS_ERR_UNAVAILABLE);
        acknowledged += p[i].err_end == FICUS_ERR_OK;
    }
    assert_int_equal(ask("SELECT count(*) FROM t WHERE id > 0"), acknowledged);
}

/* After SQLite rolled the transaction back by itself, further statements of its owner are refused instead of
 * committing alone. */
static void test_lost_transaction(void **state)
{
    (void)state;
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    struct db_conn *c = db_tx_conn(&tx);
    assert_int_equal(db_exec(c, &error, "INSERT INTO t(id) VALUES(1)", ""), FICUS_ERR_OK);
    assert_int_equal(db_exec(c, &error, "INSERT OR ROLLBACK INTO t(id) VALUES(1)", ""), FICUS_ERR_EXISTS);
    assert_int_equal(db_exec(c, &error, "INSERT INTO t(id) VALUES(2)", ""), FICUS_ERR_EXISTS);
    assert_int_equal(db_script(c, SLICE("INSERT INTO t(id) VALUES(3)"), &error), FICUS_ERR_EXISTS);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_EXISTS);
    assert_int_equal(ask("SELECT count(*) FROM t"), 0);
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(c, &error, "INSERT INTO t(id) VALUES(4)", ""), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    assert_int_equal(ask("SELECT id FROM t"), 4);
}

/* A deferred foreign key that is still violated fails its own transaction only. */
static void test_deferred_key(void **state)
{
    (void)state;
    struct piece p[JOBS] = {0};
    for (int i = 0; i < JOBS; i += 10)
        p[i].sql = "INSERT INTO t(id, p) VALUES(?, 99)";
    run_all(p, JOBS);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(p[i].err_end, i % 10 == 0 ? FICUS_ERR_CONFLICT : FICUS_ERR_OK);
    assert_int_equal(ask("SELECT count(*) FROM t"), JOBS - JOBS / 10);
}

/* A transaction whose deadline passed before its turn does not begin, and the turn goes on. */
static void test_deadline(void **state)
{
    (void)state;
    struct piece p[JOBS] = {0};
    for (int i = 0; i < JOBS; i += 2)
        p[i].deadline_ns = 1;
    run_all(p, JOBS);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(i % 2 == 0 ? p[i].err_begin : p[i].err_end, i % 2 == 0 ? FICUS_ERR_TIMEOUT : FICUS_ERR_OK);
    assert_int_equal(ask("SELECT count(*) FROM t"), JOBS / 2);
}

/* Groups of one: every transaction has its own commit. */
static void test_group_bound(void **state)
{
    (void)state;
    struct piece p[JOBS] = {0};
    uint64_t ops = sim_disk_op_count(disk);
    run_all(p, JOBS);
    assert_true(sim_disk_op_count(disk) - ops >= 3 * JOBS);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(p[i].err_end, FICUS_ERR_OK);
}

static int setup_group_of_one(void **state)
{
    group_count_max = 1;
    int r = setup(state);
    group_count_max = 0;
    return r;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_groups), TEST(test_sync_fails), TEST(test_disk_full), TEST(test_member_rolls_all_back),
            TEST(test_lost_transaction),
        TEST(test_deferred_key), TEST(test_deadline), cmocka_unit_test_setup_teardown(test_group_bound,
        setup_group_of_one, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
