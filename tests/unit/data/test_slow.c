/* SPDX-License-Identifier: Apache-2.0
 *
 * Statements that take long are told: which, how long, how many rows, for whom. The clock goes on by 30 ms whenever it is asked.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db.h"

#include <stdio.h>
#include <string.h>

enum {
    TICK_MS = 30,
    TOLD_MAX = 16,
    READ_MS = 4 * TICK_MS, /* two rows, the end, and the look at the clock when reading begins */
};

static struct sim_disk *disk;
static struct crash_env *ce;
static struct env *env;
static struct db *db;
static struct ficus_error error;
static struct env_ops ops;
static const struct env_ops *ops_before;
static int64_t now_ns;

static struct told {
    char sql[64];
    int64_t ms, rows;
    void *who;
} told[TOLD_MAX];
static size_t told_count;

static const struct db_migration migrations[] = {{1, "0001_t.sql", SLICE("CREATE TABLE t(id INTEGER PRIMARY KEY)")}};

static int64_t ticking(struct env *e)
{
    (void)e;
    now_ns += (int64_t)TICK_MS * 1000000;
    return now_ns;
}

static void on_slow(void *arg, const struct db_slow *s)
{
    assert_ptr_equal(arg, &told);
    assert_true(told_count < TOLD_MAX);
    struct told *t = &told[told_count++];
    *t = (struct told){.ms = s->ms, .rows = s->rows, .who = s->who};
    (void)snprintf(t->sql, sizeof t->sql, "%s", s->sql);
}

static void open_with(int64_t slow_ms)
{
    const struct db_options o = {.path = "data/t.db", .slow_ms = slow_ms, .slow = on_slow, .slow_arg = &told};
    db_close(db);
    db = NULL;
    assert_int_equal(db_open(env, &o, &db, &error), FICUS_ERR_OK);
    assert_int_equal(db_migrate(db, "app", migrations, 1, &error), FICUS_ERR_OK);
    told_count = 0;
}

static int setup(void **state)
{
    (void)state;
    disk = sim_disk_new();
    ce = crash_env_new(disk, 7);
    env = crash_env(ce);
    ops_before = env->ops;
    ops = *env->ops;
    ops.now_ns = ticking;
    env->ops = &ops;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_close(db);
    db = NULL;
    env->ops = ops_before;
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

static void insert(int64_t id, void *who)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    db_conn_for(db_tx_conn(&tx), who);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, "INSERT INTO t VALUES(?), (? + 1)", "ii", id, id), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
}

/* Returns the rows. */
static int64_t read_all(void *who)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    int64_t rows = 0;
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    db_conn_for(c, who);
    assert_int_equal(db_query(c, &s, &error, "SELECT id FROM t WHERE id > ?", "i", (int64_t)0), FICUS_ERR_OK);
    while (db_step(s, &error) == 1)
        rows++;
    db_reader_give(db, c); /* ends the statement */
    return rows;
}

static void expect(size_t i, const char *sql, int64_t ms, int64_t rows, const void *who)
{
    assert_true(i < told_count);
    assert_string_equal(told[i].sql, sql);
    assert_int_equal(told[i].ms, ms);
    assert_int_equal(told[i].rows, rows);
    assert_ptr_equal(told[i].who, who);
}

/* What took so long, with the statement as written; a commit too. */
static void test_told(void **state)
{
    (void)state;
    int someone = 0, other = 0;
    open_with(TICK_MS);
    insert(1, &someone);
    expect(0, "INSERT INTO t VALUES(?), (? + 1)", TICK_MS, 2, &someone);
    expect(1, "COMMIT", TICK_MS, 1, NULL);
    assert_int_equal(told_count, 2);
    assert_int_equal(read_all(&other), 2);
    expect(2, "SELECT id FROM t WHERE id > ?", READ_MS, 2, &other);
    assert_int_equal(read_all(NULL), 2); /* the same statement and connection, for nobody */
    expect(3, "SELECT id FROM t WHERE id > ?", READ_MS, 2, NULL);
}

/* What did not take so long is not told, nor anything when nobody wants to know. */
static void test_not_told(void **state)
{
    (void)state;
    open_with(3 * TICK_MS);
    insert(1, NULL);
    assert_int_equal(told_count, 0);
    assert_int_equal(read_all(NULL), 2);
    assert_int_equal(told_count, 1);
    open_with(0);
    assert_int_equal(read_all(NULL), 2);
    assert_int_equal(told_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
