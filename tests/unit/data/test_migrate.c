/* SPDX-License-Identifier: Apache-2.0
 *
 * Migrations: what runs, what is refused, and that a failing one leaves nothing.
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
static struct db *db;
static struct ficus_error error;

static int setup(void **state)
{
    (void)state;
    disk = sim_disk_new();
    ce = crash_env_new(disk, 3);
    return db_open(crash_env(ce), &(struct db_options){.path = "t.db"}, &db, &error) == FICUS_ERR_OK ? 0 : -1;
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

static const struct db_migration good[] = {
    {1, "0001_t.sql", SLICE("CREATE TABLE t(a); INSERT INTO t VALUES(1);")},
    {2, "0002_more.sql", SLICE("INSERT INTO t VALUES(10);")},
    {3, "0003_most.sql", SLICE("ALTER TABLE t ADD COLUMN b; INSERT INTO t VALUES(100, 2);")},
};

/* Each migration runs once, however often and in however many steps it is asked for; sets do not know each other. */
static void test_once(void **state)
{
    (void)state;
    assert_int_equal(db_migrate(db, "app", good, 1, &error), FICUS_ERR_OK);
    assert_int_equal(db_migrate(db, "app", good, 3, &error), FICUS_ERR_OK);
    assert_int_equal(db_migrate(db, "app", good, 3, &error), FICUS_ERR_OK);
    assert_int_equal(ask("SELECT sum(a) FROM t"), 111);
    static const struct db_migration other[] = {{1, "0001_o.sql", SLICE("CREATE TABLE o(a)")}};
    assert_int_equal(db_migrate(db, "chassis", other, 1, &error), FICUS_ERR_OK);
    assert_int_equal(ask("SELECT count(*) FROM ficus_migrations"), 4);
}

/* A gap, a changed text and a newer database are refused, each by its own code and by name. */
static void test_refused(void **state)
{
    (void)state;
    const struct db_migration gap[] = {good[0], good[2]};
    assert_int_equal(db_migrate(db, "app", gap, 2, &error), FICUS_ERR_INVALID);
    assert_int_equal(db_migrate(db, "app", good, 2, &error), FICUS_ERR_OK);
    struct db_migration changed[] = {good[0], good[1]};
    changed[1].sql = SLICE("INSERT INTO t VALUES(11);");
    assert_int_equal(db_migrate(db, "app", changed, 2, &error), FICUS_ERR_CONFLICT);
    assert_non_null(strstr(error.text, "0002_more.sql"));
    assert_int_equal(db_migrate(db, "app", good, 1, &error), FICUS_ERR_VERSION);
    assert_non_null(strstr(error.text, "0002_more.sql"));
    assert_int_equal(ask("SELECT sum(a) FROM t"), 11);
}

/* A migration that fails in its middle leaves nothing of itself, and those before it stay. */
static void test_failing(void **state)
{
    (void)state;
    const struct db_migration bad[] = {good[0],
        {2, "0002_bad.sql", SLICE("INSERT INTO t VALUES(5);\nINSERT INTO missing VALUES(1);")}};
    assert_int_equal(db_migrate(db, "app", bad, 2, &error), FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "0002_bad.sql"));
    assert_int_equal(ask("SELECT sum(a) FROM t"), 1);
    assert_int_equal(db_migrate(db, "app", good, 3, &error), FICUS_ERR_OK);
    assert_int_equal(ask("SELECT sum(a) FROM t"), 111);
}

/* A migration cannot end its own transaction. */
static void test_no_commit(void **state)
{
    (void)state;
    const struct db_migration bad[] = {{1, "0001_bad.sql", SLICE("CREATE TABLE x(a); COMMIT;")}};
    assert_int_equal(db_migrate(db, "app", bad, 1, &error), FICUS_ERR_DENIED);
    assert_int_equal(ask("SELECT count(*) FROM sqlite_schema WHERE name = 'x'"), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_once), TEST(test_refused), TEST(test_failing), TEST(test_no_commit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
