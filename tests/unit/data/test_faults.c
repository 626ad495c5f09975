/* SPDX-License-Identifier: Apache-2.0
 *
 * Trouble with the file: removed, replaced, emptied, full, read-only, damaged. What is refused and what goes on, what the
 * error says, and that all goes on when the trouble has passed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db.h"

static struct sim_disk *disk;
static struct crash_env *ce;
static struct env *env;
static struct db *db;
static struct ficus_error error;

static const struct db_migration migrations[] = {
    {1, "0001_t.sql", SLICE("CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT); CREATE TABLE u(id INTEGER PRIMARY KEY, b TEXT)")}};

static enum ficus_err open_db(void)
{
    struct db_options o = {.path = "data/t.db", .cache_kib = 16};
    enum ficus_err err = db_open(env, &o, &db, &error);
    if (err != FICUS_ERR_OK)
        db = NULL;
    return err;
}

static int setup(void **state)
{
    (void)state;
    disk = sim_disk_new();
    ce = crash_env_new(disk, 7);
    env = crash_env(ce);
    return open_db() == FICUS_ERR_OK && db_migrate(db, "app", migrations, 1, &error) == FICUS_ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    db_close(db);
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

static enum ficus_err insert(int64_t id)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(db, &tx, 0, &error);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_exec(db_tx_conn(&tx), &error, "INSERT INTO t VALUES(?, printf('%0900d', 1))", "i", id);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, &error);
    db_tx_rollback(&tx);
    return err;
}

/* -1: failed, see error */
static int64_t ask(const char *sql)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    int64_t n = -1;
    if (db_reader_take(db, &c, &error) != FICUS_ERR_OK)
        return -1;
    if (db_query(c, &s, &error, sql, "") == FICUS_ERR_OK && db_step(s, &error) == 1)
        n = db_i64(s, 0);
    db_finish(s);
    db_reader_give(db, c);
    return n;
}

static int64_t count(void)
{
    return ask("SELECT count(*) FROM t");
}

static void move(const char *from, const char *to)
{
    assert_int_equal(env_file_rename(env, from, to), FICUS_ERR_OK);
}

static void write_file(const char *path, const char *text, int64_t offset)
{
    struct env_file *f = NULL;
    assert_int_equal(env_file_open(env, path, ENV_OPEN_CREATE, &f, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_write(env, f, text, strlen(text), offset), FICUS_ERR_OK);
    env_file_close(env, f);
}

static void expect_says(const char *text)
{
    if (strstr(error.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, text);
}

/* A file that lost its name takes no transaction, is read from all the same, and goes on when it is back. */
static void test_removed(void **state)
{
    (void)state;
    static const char *const names[] = {"data/t.db", "data/t.db-wal"};
    for (int64_t i = 0; i < 2; i++) {
        assert_int_equal(insert(10 * i + 1), FICUS_ERR_OK);
        move(names[i], "elsewhere");
        assert_int_equal(insert(10 * i + 2), FICUS_ERR_MISSING);
        expect_says(names[i]);
        assert_int_equal(db_trouble(db, &error), FICUS_ERR_MISSING);
        assert_int_equal(count(), i + 1);
        move("elsewhere", names[i]);
        db_probe(db);
        assert_int_equal(db_trouble(db, &error), FICUS_ERR_OK);
    }
    assert_int_equal(insert(3), FICUS_ERR_OK);
    assert_int_equal(count(), 3);
}

/* Removed while a transaction runs: it is not confirmed, and nothing of it is there when the file is back. */
static void test_removed_before_commit(void **state)
{
    (void)state;
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, "INSERT INTO t VALUES(1, '')", ""), FICUS_ERR_OK);
    move("data/t.db", "elsewhere");
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_MISSING);
    move("elsewhere", "data/t.db");
    assert_int_equal(count(), 0);
    assert_int_equal(insert(1), FICUS_ERR_OK);
}

/* Another file in its place is as bad as none. */
static void test_replaced(void **state)
{
    (void)state;
    move("data/t.db", "elsewhere");
    write_file("data/t.db", "a copy", 0);
    assert_int_equal(insert(1), FICUS_ERR_MISSING);
    assert_int_equal(env_file_unlink(env, "data/t.db"), FICUS_ERR_OK);
    move("elsewhere", "data/t.db");
    assert_int_equal(insert(1), FICUS_ERR_OK);
}

/* When its name is lost the main file is made whole, so that a copy of it alone saves everything; and the end of the
 * process removes no WAL that somebody put there. */
static void test_saved_from_outside(void **state)
{
    (void)state;
    assert_int_equal(insert(1), FICUS_ERR_OK);
    move("data/t.db", "elsewhere");
    assert_int_equal(insert(2), FICUS_ERR_MISSING);
    struct sim_disk *copy = sim_disk_clone(disk);
    assert_int_equal(env_file_unlink(env, "data/t.db-wal"), FICUS_ERR_OK);
    write_file("data/t.db-wal", "put back", 0);
    db_close(db);
    db = NULL;
    bool there = false;
    assert_int_equal(env_file_exists(env, "data/t.db-wal", &there), FICUS_ERR_OK);
    assert_true(there);
    crash_env_free(ce);
    sim_disk_free(disk);
    disk = copy;
    ce = crash_env_new(disk, 8);
    env = crash_env(ce);
    assert_int_equal(env_file_unlink(env, "data/t.db-wal"), FICUS_ERR_OK);
    move("elsewhere", "data/t.db");
    assert_int_equal(open_db(), FICUS_ERR_OK);
    assert_int_equal(count(), 1);
}

/* A database that was made here before is not begun anew when it is gone or empty, unless the operator says so. */
static void test_gone_at_start(void **state)
{
    (void)state;
    assert_int_equal(insert(1), FICUS_ERR_OK);
    db_close(db);
    move("data/t.db", "elsewhere");
    assert_int_equal(open_db(), FICUS_ERR_MISSING);
    expect_says("data/t.db");
    expect_says("remove data/.t.db.made");
    bool there = true;
    assert_int_equal(env_file_exists(env, "data/t.db", &there), FICUS_ERR_OK);
    assert_false(there);
    write_file("data/t.db", "", 0);
    assert_int_equal(open_db(), FICUS_ERR_MISSING);
    expect_says("empty");
    move("elsewhere", "data/t.db");
    assert_int_equal(open_db(), FICUS_ERR_OK);
    assert_int_equal(count(), 1);
    db_close(db);
    assert_int_equal(env_file_unlink(env, "data/t.db"), FICUS_ERR_OK);
    assert_int_equal(env_file_unlink(env, "data/.t.db.made"), FICUS_ERR_OK);
    assert_int_equal(open_db(), FICUS_ERR_OK);
    assert_int_equal(ask("SELECT count(*) FROM sqlite_schema"), 0);
}

/* What was made out of other data is simply begun anew. */
static void test_derived(void **state)
{
    (void)state;
    struct db_options o = {.path = "data/d.db", .is_derived = true};
    for (int i = 0; i < 2; i++) {
        struct db *d = NULL;
        assert_int_equal(db_open(env, &o, &d, &error), FICUS_ERR_OK);
        db_close(d);
        assert_int_equal(env_file_unlink(env, "data/d.db"), FICUS_ERR_OK);
    }
}

/* A full disk: refused with place and remedy, reads go on, and with space again so do writes. */
static void test_full(void **state)
{
    (void)state;
    assert_int_equal(insert(1), FICUS_ERR_OK);
    sim_disk_size_max(disk, 1);
    assert_int_equal(insert(2), FICUS_ERR_FULL);
    expect_says("data/t.db: ");
    expect_says("free space");
    assert_int_equal(count(), 1);
    db_probe(db);
    assert_int_equal(db_trouble(db, &error), FICUS_ERR_FULL);
    sim_disk_size_max(disk, 0);
    db_probe(db);
    assert_int_equal(db_trouble(db, &error), FICUS_ERR_OK);
    assert_int_equal(insert(2), FICUS_ERR_OK);
    assert_int_equal(count(), 2);
}

/* The same of storage that became read-only and of one that fails. */
static void test_read_only_and_failing(void **state)
{
    (void)state;
    static const enum ficus_err errs[] = {FICUS_ERR_READ_ONLY, FICUS_ERR_IO};
    for (int64_t i = 0; i < 2; i++) {
        sim_disk_fail(disk, 0, 1000000, errs[i]);
        assert_int_equal(insert(i), errs[i]);
        expect_says(err_text(errs[i]));
        assert_int_equal(db_trouble(db, &error), errs[i]);
        assert_int_equal(count(), i);
        sim_disk_fail(disk, 0, 0, FICUS_ERR_OK);
        assert_int_equal(insert(i), FICUS_ERR_OK);
        assert_int_equal(db_trouble(db, &error), FICUS_ERR_OK);
    }
}

/* What an operating system says besides is an input/output error to whoever asked for a row. */
static void test_other_errors(void **state)
{
    (void)state;
    sim_disk_fail(disk, 0, 1000000, FICUS_ERR_DENIED);
    assert_int_equal(insert(1), FICUS_ERR_IO);
    expect_says(err_text(FICUS_ERR_DENIED));
    sim_disk_fail(disk, 0, 0, FICUS_ERR_OK);
}

/* Damage that was met ends writing until the file is opened anew; what lies elsewhere can still be read. */
static void test_damaged(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 100; i++)
        assert_int_equal(insert(i), FICUS_ERR_OK);
    int64_t root = ask("SELECT rootpage FROM sqlite_schema WHERE name = 't'");
    db_close(db);
    write_file("data/t.db", "rubbish, rubbish", (root - 1) * 4096);
    assert_int_equal(open_db(), FICUS_ERR_OK);
    assert_int_equal(count(), -1);
    assert_int_equal(error.code, FICUS_ERR_CORRUPT);
    expect_says("data/t.db: ");
    expect_says("integrity_check");
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_CORRUPT);
    db_probe(db);
    assert_int_equal(db_trouble(db, &error), FICUS_ERR_CORRUPT);
    assert_int_equal(ask("SELECT count(*) FROM u"), 0);
}

/* A header that is none is said at once. */
static void test_no_database(void **state)
{
    (void)state;
    assert_int_equal(insert(1), FICUS_ERR_OK);
    db_close(db);
    write_file("data/t.db", "rubbish, rubbish, rubbish", 0);
    assert_int_equal(open_db(), FICUS_ERR_CORRUPT);
    expect_says("data/t.db: ");
    expect_says("integrity_check");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_before_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_saved_from_outside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone_at_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_derived, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only_and_failing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_database, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
