/* SPDX-License-Identifier: Apache-2.0
 *
 * Migrations are resumed: after a crash at any operation the database is as one of them left it, never between two; what
 * was told to be done is done; and the next start finishes the rest. The cache is so small that statements write pages
 * while they run, so that the machine also dies in the midst of each.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db_ask.h"
#include "db.h"
#include "mem.h"

enum { MIGRATIONS = 4 };

struct run {
    size_t done;    /* migrations that were told to be done */
};

/* Each changes tables and rows of others by several statements. */
static const struct db_migration migrations[MIGRATIONS] = {
    {1, "0001_item.sql", SLICE("CREATE TABLE item(id INTEGER PRIMARY KEY, text TEXT NOT NULL DEFAULT '');"
        "CREATE INDEX item_text ON item(text);"
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 30)"
        " INSERT INTO item SELECT i, printf('%0300d', i) FROM n;")},
    {2, "0002_title.sql", SLICE("ALTER TABLE item ADD COLUMN title TEXT;"
        "CREATE TRIGGER item_title AFTER INSERT ON item WHEN new.title IS NULL"
        " BEGIN UPDATE item SET title = new.text WHERE id = new.id; END;"
        "UPDATE item SET title = text WHERE title IS NULL;"
        "INSERT INTO item(id, text) VALUES(31, 'by the trigger');")},
    {3, "0003_text_goes.sql", SLICE("DROP TRIGGER item_title; DROP INDEX item_text; ALTER TABLE item DROP COLUMN text;")},
    {4, "0004_anew.sql", SLICE("CREATE TABLE anew(id INTEGER PRIMARY KEY, title TEXT NOT NULL, size INTEGER NOT NULL) STRICT;"
        "INSERT INTO anew SELECT id, title, length(title) FROM item;"
        "DROP TABLE item; ALTER TABLE anew RENAME TO item; CREATE UNIQUE INDEX item_title ON item(title);")},
};

#define COLUMNS "(SELECT group_concat(name) FROM pragma_table_info('item'))"
#define PARTS                                                                                                              \
    "(SELECT group_concat(name) FROM"                                                                                      \
    " (SELECT name FROM sqlite_schema WHERE tbl_name IN ('item', 'anew') AND sql IS NOT NULL ORDER BY name))"

/* True of the database after so many migrations, and after no other number of them. */
static const char *const states[MIGRATIONS + 1] = {
    "SELECT NOT EXISTS(SELECT 1 FROM sqlite_schema WHERE name GLOB 'item*' OR name = 'anew')",
    "SELECT " COLUMNS " = 'id,text'"
        " AND " PARTS " = 'item,item_text'"
        " AND (SELECT count(*) = 30 AND sum(text = printf('%0300d', id)) = 30 FROM item)",
    "SELECT " COLUMNS " = 'id,text,title'"
        " AND " PARTS " = 'item,item_text,item_title'"
        " AND (SELECT count(*) = 31 AND sum(title = text) = 31 FROM item)",
    "SELECT " COLUMNS " = 'id,title'"
        " AND " PARTS " = 'item'"
        " AND (SELECT count(*) = 31 AND sum(length(title) IN (300, 14)) = 31 FROM item)",
    "SELECT " COLUMNS " = 'id,title,size'"
        " AND " PARTS " = 'item,item_title'"
        " AND (SELECT count(*) = 31 AND sum(size = length(title)) = 31 FROM item)",
};

static void *run_new(uint64_t seed)
{
    (void)seed;
    return mem_zalloc(sizeof(struct run));
}

static enum ficus_err open_db(struct crash_env *ce, struct db **ret_db, struct ficus_error *reterr)
{
    struct db_options o = {.path = "data/t.db", .checkpoint_pages = 20, .cache_kib = 8};
    return db_open(crash_env(ce), &o, ret_db, reterr);
}

/* As starts of a service with ever more migrations, so that some are done when others begin. */
static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct db *db = NULL;
    struct ficus_error e;
    if (open_db(ce, &db, &e) != FICUS_ERR_OK)
        return;
    for (size_t count = 1; count <= MIGRATIONS && db_migrate(db, "app", migrations, count, &e) == FICUS_ERR_OK; count++)
        r->done = count;
    db_close(db);
}

/* How many migrations the database has seen by its tables and rows; fails when by none. False: the disk died. (A state asks for columns that
 * another has not, and that is an error as well: told from a dead disk by a question that no state makes fail.) */
static bool find_state(struct db *db, size_t *ret_count)
{
    size_t found = 0;
    for (size_t i = 0; i <= MIGRATIONS; i++) {
        if (db_ask(db, states[i], 0) != 1)
            continue;
        *ret_count = i;
        found++;
    }
    int64_t sound = db_ask(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'", 0);
    if (sound < 0)
        return false;
    assert_int_equal(sound, 1);
    assert_int_equal(found, 1);
    return true;
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct db *db = NULL;
    struct ficus_error e;
    size_t count = 0;
    enum ficus_err err = open_db(ce, &db, &e);
    if (err == FICUS_ERR_IO)
        return false;
    if (err != FICUS_ERR_OK)
        fail_msg("open after the crash: %s", e.text);
    bool alive = find_state(db, &count);
    if (alive) {
        assert_true(count >= r->done);
        int64_t noted = db_ask(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'ficus_migrations'", 0);
        if (noted == 1)
            noted = db_ask(db, "SELECT count(*) FROM ficus_migrations", 0);
        assert_true(noted == (int64_t)count || noted == -1);
        /* what was cut short is finished */
        err = db_migrate(db, "app", migrations, MIGRATIONS, &e);
        alive = err == FICUS_ERR_OK && find_state(db, &count);
        if (err != FICUS_ERR_OK && err != FICUS_ERR_IO)
            fail_msg("migrate after the crash: %s", e.text);
        if (alive)
            assert_int_equal(count, MIGRATIONS);
    }
    db_close(db);
    return alive;
}

static void test_migrate_durable(void **state)
{
    (void)state;
    static const struct crash_case cc = {run_new, mem_free, run_work, run_check};
    crash_sweep(&cc, "db_migrate");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_migrate_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
