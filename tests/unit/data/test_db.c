/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections, statements and errors of one database file, on the test disk: the contract of all engines, and what is
 * SQLite's own.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "mem.h"

#include <stdio.h>

#include "db_contract.h"

struct fixture {
    struct sim_disk *disk;
    struct crash_env *ce;
    struct db *db;
};

static struct fixture fx;
static struct ficus_error error;

static void open_db(struct db_options o)
{
    o.path = "data/t.db";
    assert_int_equal(db_open(crash_env(fx.ce), &o, &fx.db, &error), FICUS_ERR_OK);
}

static int setup(void **state)
{
    (void)state;
    fx.disk = sim_disk_new();
    fx.ce = crash_env_new(fx.disk, 7);
    fx.db = NULL;
    error = (struct ficus_error){0};
    return 0;
}

/* An empty database, open, as the contract wants it. */
static int setup_contract(void **state)
{
    static struct db_contract contract;
    int err = setup(state);
    open_db((struct db_options){0});
    contract = (struct db_contract){.db = fx.db, .name = "data/t.db", .blob = "BLOB"};
    *state = &contract;
    return err;
}

static int teardown(void **state)
{
    (void)state;
    db_close(fx.db);
    crash_env_free(fx.ce);
    sim_disk_free(fx.disk);
    return 0;
}

static void must(enum ficus_err err)
{
    if (err != FICUS_ERR_OK)
        fail_msg("%s: %s", err_text(err), error.text);
}

/* One committed transaction around one statement. */
static enum ficus_err write_sql(const char *sql)
{
    struct db_tx tx = {0};
    must(db_tx_begin(fx.db, &tx, 0, &error));
    enum ficus_err err = db_exec(db_tx_conn(&tx), &error, sql, "");
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, &error);
    db_tx_rollback(&tx);
    return err;
}

static int64_t read_number(struct db_conn *c, const char *sql)
{
    struct db_stmt *s = NULL;
    must(db_query(c, &s, &error, sql, ""));
    assert_int_equal(db_step(s, &error), 1);
    int64_t n = db_i64(s, 0);
    db_finish(s);
    return n;
}

static int64_t ask(const char *sql)
{
    struct db_conn *c = NULL;
    must(db_reader_take(fx.db, &c, &error));
    int64_t n = read_number(c, sql);
    db_reader_give(fx.db, c);
    return n;
}

/* SQL from outside can neither end a transaction nor change how the file is kept. */
static void test_refused_sql(void **state)
{
    (void)state;
    static const char *const refused[] = {"COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT x", "RELEASE tx", "ATTACH 'x' AS x",
        "PRAGMA journal_mode=DELETE", "PRAGMA synchronous=OFF", "PRAGMA wal_checkpoint", "PRAGMA foreign_keys=OFF",
        "PRAGMA user_version=7", "PRAGMA query_only=OFF"};
    open_db((struct db_options){0});
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_int_equal(write_sql(refused[i]), FICUS_ERR_DENIED);
    must(write_sql("PRAGMA integrity_check"));
    must(write_sql("PRAGMA defer_foreign_keys=ON"));
    assert_int_equal(ask("PRAGMA user_version"), 0);
}

/* The same text may be open twice, each with its own place; statements over the cache's bound are replaced, open
 * ones over it refused. */
static void test_statements(void **state)
{
    (void)state;
    enum { OPEN_MAX = 128 };
    struct db_stmt *s[OPEN_MAX + 1];
    struct db_conn *c = NULL;
    open_db((struct db_options){0});
    must(db_reader_take(fx.db, &c, &error));
    for (int i = 0; i < 300; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "SELECT %d", i);
        assert_int_equal(read_number(c, sql), i);
    }
    for (int64_t i = 0; i < OPEN_MAX; i++) {
        must(db_query(c, &s[i], &error, "SELECT ?", "i", i));
        assert_int_equal(db_step(s[i], &error), 1);
    }
    assert_int_equal(db_query(c, &s[OPEN_MAX], &error, "SELECT 1", ""), FICUS_ERR_TOO_LARGE);
    for (int i = 0; i < OPEN_MAX; i++)
        assert_int_equal(db_i64(s[i], 0), i);
    for (int i = 0; i < OPEN_MAX; i += 2)
        db_finish(s[i]);
    assert_int_equal(read_number(c, "SELECT 42"), 42);
    db_reader_give(fx.db, c);       /* ends the others */
    assert_int_equal(ask("SELECT 43"), 43);
}

static int readers_through;

static void read_slowly(void *arg)
{
    (void)arg;
    struct db_conn *c = NULL;
    struct db_tx tx = {0};
    must(db_reader_take(fx.db, &c, &error));
    must(db_tx_begin(fx.db, &tx, 0, &error));   /* something to be delayed by while the reader is held */
    must(db_exec(db_tx_conn(&tx), &error, "INSERT INTO t VALUES(1)", ""));
    must(db_tx_commit_wait(&tx, &error));
    assert_true(read_number(c, "SELECT count(*) FROM t") > 0);
    db_reader_give(fx.db, c);
    readers_through++;
}

/* More workers than reading connections: all get their turn. */
static void test_readers_wait(void **state)
{
    (void)state;
    open_db((struct db_options){.readers_max = 2});
    must(write_sql("CREATE TABLE t(a)"));
    struct env_job jobs[8];
    readers_through = 0;
    for (int i = 0; i < 8; i++) {
        jobs[i] = (struct env_job){.work = read_slowly};
        must(env_run(crash_env(fx.ce), &jobs[i]));
    }
    crash_env_run(fx.ce);
    assert_int_equal(readers_through, 8);
    assert_int_equal(ask("SELECT count(*) FROM t"), 8);
}

/* A savepoint that outgrows SQLite's memory for it is undone from the temporary file. */
static void test_large_rollback(void **state)
{
    (void)state;
    open_db((struct db_options){0});
    must(write_sql("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)"));
    must(write_sql("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
                   " SELECT i, printf('%0500d', i) FROM n"));
    struct db_tx tx = {0};
    must(db_tx_begin(fx.db, &tx, 0, &error));
    must(db_exec(db_tx_conn(&tx), &error, "UPDATE t SET b = printf('%0600d', a + 1)", ""));
    db_tx_rollback(&tx);
    assert_int_equal(ask("SELECT sum(CAST(b AS INTEGER) = a AND length(b) = 500) FROM t"), 2000);
}

/* A script runs all its statements, and an error says in which line its statement begins. */
static void test_script(void **state)
{
    (void)state;
    open_db((struct db_options){0});
    struct db_tx tx = {0};
    must(db_tx_begin(fx.db, &tx, 0, &error));
    must(db_script(db_tx_conn(&tx),
        SLICE("-- first\nCREATE TABLE t(a);\nINSERT INTO t VALUES(1); INSERT INTO t VALUES(2);\n-- end\n"), &error));
    must(db_tx_commit_wait(&tx, &error));
    assert_int_equal(ask("SELECT sum(a) FROM t"), 3);
    must(db_tx_begin(fx.db, &tx, 0, &error));
    assert_int_equal(db_script(db_tx_conn(&tx), SLICE("SELECT 1;\nINSERT INTO t VALUES(3);\nINSRT INTO t;"), &error),
        FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "line 3"));
    db_tx_rollback(&tx);
    assert_int_equal(ask("SELECT sum(a) FROM t"), 3);
}

/* To SQLite a NUL ends the text. What stands behind it is not passed over in silence: the script is refused as a whole. */
static void test_script_with_nul(void **state)
{
    static const struct slice texts[] = {{"\0", 1}, {"CREATE TABLE t(a);\0", 19}, {"CREATE TABLE t(a);\n\0DROP TABLE t;", 33},
        {"CREATE TABLE t(a DEFAULT '\0');", 31}};
    (void)state;
    open_db((struct db_options){0});
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct db_tx tx = {0};
        must(db_tx_begin(fx.db, &tx, 0, &error));
        assert_int_equal(db_script(db_tx_conn(&tx), texts[i], &error), FICUS_ERR_INVALID);
        assert_non_null(strstr(error.text, i == 2 ? "line 2" : "line 1"));
        must(db_tx_commit_wait(&tx, &error));
    }
    assert_int_equal(ask("SELECT count(*) FROM sqlite_schema"), 0);
}

static void put_file(const char *path, const void *p, size_t size)
{
    struct sim_file *f = NULL;
    must(sim_disk_open(fx.disk, path, ENV_OPEN_CREATE, &f));
    must(sim_file_write(f, p, size, 0));
    sim_file_close(f);
}

/* A file that is no database, or another program's, is refused with its path and left as it was. */
static void test_foreign_files(void **state)
{
    (void)state;
    struct db_options o = {.path = "data/t.db"};
    char text[4096];
    memset(text, 'x', sizeof text);
    put_file(o.path, text, sizeof text);
    assert_int_equal(db_open(crash_env(fx.ce), &o, &fx.db, &error), FICUS_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "data/t.db"));

    o.path = "data/other.db";
    must(db_open(crash_env(fx.ce), &o, &fx.db, &error));
    must(write_sql("CREATE TABLE t(a)"));
    db_close(fx.db);
    fx.db = NULL;
    put_file(o.path, "SQLite format 3", 16);
    struct sim_file *f = NULL;
    must(sim_disk_open(fx.disk, o.path, 0, &f));
    must(sim_file_write(f, "\0\0\0\1", 4, 68));        /* application_id */
    sim_file_close(f);
    assert_int_equal(db_open(crash_env(fx.ce), &o, &fx.db, &error), FICUS_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "another application"));
}

/* A damaged page is reported as CORRUPT when it is met. */
static void test_damage(void **state)
{
    (void)state;
    open_db((struct db_options){0});
    must(write_sql("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)"));
    must(write_sql("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
                   " SELECT i, printf('%0500d', i) FROM n"));
    db_close(fx.db);
    struct sim_file *f = NULL;
    char junk[4096 * 4];
    memset(junk, 0xa5, sizeof junk);
    must(sim_disk_open(fx.disk, "data/t.db", 0, &f));
    must(sim_file_write(f, junk, sizeof junk, 4096 * 3));
    sim_file_close(f);
    open_db((struct db_options){0});
    assert_int_equal(write_sql("UPDATE t SET b = 'x'"), FICUS_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "data/t.db"));
}

/* One file, one owner: a second open says BUSY until the first is closed. */
static void test_one_owner(void **state)
{
    (void)state;
    struct db_options o = {.path = "data/t.db"};
    struct db *second = NULL;
    open_db(o);
    assert_int_equal(db_open(crash_env(fx.ce), &o, &second, &error), FICUS_ERR_BUSY);
    assert_non_null(strstr(error.text, "data/t.db"));
    db_close(fx.db);
    open_db(o);
}

/* Closing checkpoints: the file alone holds everything. */
static void test_close_checkpoints(void **state)
{
    (void)state;
    open_db((struct db_options){0});
    must(write_sql("CREATE TABLE t(a)"));
    must(write_sql("INSERT INTO t VALUES(5)"));
    assert_true(sim_disk_exists(fx.disk, "data/t.db-wal"));
    db_close(fx.db);
    assert_false(sim_disk_exists(fx.disk, "data/t.db-wal"));
    open_db((struct db_options){0});
    assert_int_equal(ask("SELECT a FROM t"), 5);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_CONTRACT_TESTS(setup_contract, teardown), TEST(test_refused_sql), TEST(test_statements), TEST(test_readers_wait), TEST(test_large_rollback), TEST(test_script), TEST(test_script_with_nul), TEST(test_foreign_files),
        TEST(test_damage), TEST(test_one_owner),
        TEST(test_close_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
