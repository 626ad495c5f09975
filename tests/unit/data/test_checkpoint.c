/* SPDX-License-Identifier: Apache-2.0
 *
 * The WAL has a bound whatever readers do: one that holds its moment for too long loses it, with a clear error and no wrong
 * row, and everybody else goes on.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db.h"

enum { PAGES = 8, PAGE_SIZE = 4096, MS_MAX = 5000, ROWS = 200 };
/* 16 checkpoints' worth, and room for frame heads and one transaction. */
#define WAL_BOUND ((int64_t)(16 * PAGES + 8) * (PAGE_SIZE + 24))

static struct sim_disk *disk;
static struct crash_env *ce;
static struct env *env;
static struct db *db;
static struct ficus_error error;
static int64_t next_id;

static const struct db_migration migrations[] = {
    {1, "0001_t.sql", SLICE("CREATE TABLE t(id INTEGER PRIMARY KEY, life INTEGER, b TEXT)")}};

static void exec(const char *sql)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, sql, "i", next_id++), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
}

static void insert(void)
{
    exec("INSERT INTO t VALUES(?, 1, printf('%0900d', 1))");
}

/* Every page of the table changes. */
static void update(void)
{
    exec("UPDATE t SET life = ?");
}

static int setup(void **state)
{
    (void)state;
    const struct db_options o = {.path = "data/t.db", .cache_kib = 16, .checkpoint_pages = PAGES, .reader_ms_max = MS_MAX};
    disk = sim_disk_new();
    ce = crash_env_new(disk, 7);
    env = crash_env(ce);
    next_id = 1;
    assert_int_equal(db_open(env, &o, &db, &error), FICUS_ERR_OK);
    assert_int_equal(db_migrate(db, "app", migrations, 1, &error), FICUS_ERR_OK);
    for (int i = 0; i < ROWS; i++)
        insert();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_close(db);
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

static int64_t wal_size(void)
{
    struct env_file *f = NULL;
    int64_t size = 0;
    assert_int_equal(env_file_open(env, "data/t.db-wal", 0, &f, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_size(env, f, &size), FICUS_ERR_OK);
    env_file_close(env, f);
    return size;
}

struct reading {
    struct db_conn *c;
    struct db_stmt *s;
    int64_t rows, life;
};

static struct reading begin(void)
{
    struct reading r = {.rows = 0};
    assert_int_equal(db_reader_take(db, &r.c, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(r.c, &r.s, &error, "SELECT life FROM t", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(r.s, &error), 1);
    r.life = db_i64(r.s, 0);
    r.rows = 1;
    return r;
}

/* To the end, or to where it fails; all rows are of one moment. */
static enum ficus_err go_on(struct reading *r)
{
    int row;
    while ((row = db_step(r->s, &error)) == 1) {
        assert_int_equal(db_i64(r->s, 0), r->life);
        r->rows++;
    }
    return row < 0 ? (enum ficus_err)-row : FICUS_ERR_OK;
}

static void end(struct reading *r)
{
    db_finish(r->s);
    db_reader_give(db, r->c);
}

/* One that takes long, but not too long, reads its moment to the end, however much is written meanwhile. */
static void test_patience(void **state)
{
    (void)state;
    struct reading r = begin();
    for (int i = 0; i < 20; i++)
        update();
    assert_true(wal_size() > WAL_BOUND); /* it has to be kept for him */
    crash_env_run_ms(ce, MS_MAX - 100);
    update();
    assert_int_equal(go_on(&r), FICUS_ERR_OK);
    assert_int_equal(r.rows, ROWS);
    end(&r);
}

/* One that does nothing but hold its moment loses it: the WAL ends then, and stays so short; he is told. */
static void test_stuck(void **state)
{
    (void)state;
    struct reading r = begin();
    for (int i = 0; i < 20; i++)
        update();
    int64_t grown = wal_size();
    crash_env_run_ms(ce, MS_MAX + 100);
    for (int i = 0; i < 200; i++)
        update();
    assert_true(wal_size() <= grown + 2 * (ROWS / 4 + 2) * (PAGE_SIZE + 24));
    assert_int_equal(go_on(&r), FICUS_ERR_TIMEOUT);
    assert_non_null(strstr(error.text, "was ended"));
    assert_int_equal(db_trouble(db, &error), FICUS_ERR_OK); /* no damage, no trouble */
    end(&r);
    struct reading again = begin(); /* on the same connection */
    assert_int_equal(go_on(&again), FICUS_ERR_OK);
    assert_int_equal(again.rows, ROWS);
    end(&again);
    update();
}

/* As long as the WAL is short nobody is ended, however long he reads; and whoever began late is not ended with the old. */
static void test_only_who_is_in_the_way(void **state)
{
    (void)state;
    struct reading quiet = begin();
    crash_env_run_ms(ce, 10 * MS_MAX);
    update();
    assert_int_equal(go_on(&quiet), FICUS_ERR_OK);
    end(&quiet);
    struct reading old = begin();
    for (int i = 0; i < 20; i++)
        update();
    crash_env_run_ms(ce, MS_MAX + 100);
    struct reading late = begin();
    update();
    assert_int_equal(go_on(&old), FICUS_ERR_TIMEOUT);
    for (int i = 0; i < 20; i++)
        update();
    assert_int_equal(go_on(&late), FICUS_ERR_OK);
    assert_int_equal(late.rows, ROWS);
    end(&late);
    end(&old);
}

/* The same for several statements of one moment. */
static void test_snapshot(void **state)
{
    (void)state;
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    assert_int_equal(db_reader_snapshot(c, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, &error, "SELECT count(*) FROM t", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), 1);
    db_finish(s);
    for (int i = 0; i < 20; i++)
        update();
    crash_env_run_ms(ce, MS_MAX + 100);
    update();
    assert_int_equal(db_query(c, &s, &error, "SELECT sum(life) FROM t", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), -(int)FICUS_ERR_TIMEOUT);
    db_finish(s);
    db_reader_give(db, c);
    struct reading again = begin();
    assert_int_equal(go_on(&again), FICUS_ERR_OK);
    end(&again);
}

/* While a copy is made nobody is ended for what the copy holds up. */
static void test_copy(void **state)
{
    (void)state;
    struct db_copy copy = {0};
    struct reading r = begin();
    assert_int_equal(db_copy_begin(db, &copy, &error), FICUS_ERR_OK);
    for (int i = 0; i < 20; i++)
        update();
    crash_env_run_ms(ce, MS_MAX + 100);
    update();
    assert_int_equal(go_on(&r), FICUS_ERR_OK);
    end(&r);
    db_copy_end(&copy);
    for (int i = 0; i < 3; i++)
        update();
    int64_t size = wal_size();
    for (int i = 0; i < 50; i++)
        update();
    assert_int_equal(wal_size(), size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_patience, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stuck, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_who_is_in_the_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
