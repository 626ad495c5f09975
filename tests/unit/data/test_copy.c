/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of a database that is written to: of one moment, whole, and nobody waits for them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db.h"

#include <stdio.h>

enum { PIECE = 4096 };

static struct sim_disk *disk;
static struct crash_env *ce;
static struct env *env;
static struct db *db;
static struct ficus_error error;

static const struct db_migration migrations[] = {{1, "0001_t.sql", SLICE("CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT)")}};

static struct db *open_db(const char *path)
{
    const struct db_options o = {.path = path, .cache_kib = 16, .checkpoint_pages = 8};
    struct db *d = NULL;
    assert_int_equal(db_open(env, &o, &d, &error), FICUS_ERR_OK);
    return d;
}

static int setup(void **state)
{
    (void)state;
    disk = sim_disk_new();
    ce = crash_env_new(disk, 7);
    env = crash_env(ce);
    db = open_db("data/t.db");
    return db_migrate(db, "app", migrations, 1, &error) == FICUS_ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    db_close(db);
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

static void insert(int64_t id)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, "INSERT INTO t VALUES(?, printf('%0900d', 1))", "i", id), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
}

static int64_t count(struct db *d)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    assert_int_equal(db_reader_take(d, &c, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, &error, "SELECT count(*) FROM t", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), 1);
    int64_t n = db_i64(s, 0);
    db_finish(s);
    db_reader_give(d, c);
    return n;
}

static int64_t size_of(const char *path)
{
    struct env_file *f = NULL;
    int64_t size = 0;
    assert_int_equal(env_file_open(env, path, 0, &f, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_size(env, f, &size), FICUS_ERR_OK);
    env_file_close(env, f);
    return size;
}

/* Copy what is left to a file; a row is written between two pieces. Returns the next free id. */
static int64_t copy_to(struct db_copy *c, const char *path, int64_t id)
{
    struct env_file *f = NULL;
    char piece[PIECE];
    int64_t at = 0;
    ssize_t n;
    assert_int_equal(env_file_open(env, path, ENV_OPEN_CREATE | ENV_OPEN_EXCLUSIVE, &f, NULL), FICUS_ERR_OK);
    while ((n = db_copy_read(c, piece, sizeof piece, &error)) > 0) {
        assert_int_equal(env_file_write(env, f, piece, (size_t)n, at), FICUS_ERR_OK);
        at += n;
        insert(id++);
    }
    assert_int_equal(n, 0);
    assert_int_equal(at, c->size);
    env_file_close(env, f);
    return id;
}

/* What was committed before it began is in it, what comes while it is made is not; each page is of that moment. */
static void test_of_one_moment(void **state)
{
    (void)state;
    int64_t id = 1;
    for (int round = 0; round < 3; round++) {
        char path[32];
        (void)snprintf(path, sizeof path, "backup/%d.db", round);
        for (int i = 0; i < 50; i++)
            insert(id++);
        struct db_copy c = {0};
        int64_t before = count(db);
        assert_int_equal(db_copy_begin(db, &c, &error), FICUS_ERR_OK);
        id = copy_to(&c, path, id);
        db_copy_end(&c);
        assert_int_equal(count(db), id - 1);
        assert_true(id - 1 > before);
        assert_int_equal(db_check(env, path, &error), FICUS_ERR_OK);
        struct db *copy = open_db(path);
        assert_int_equal(count(copy), before);
        db_close(copy);
    }
}

/* Checkpoints wait for its end and no longer: the WAL has an end then. */
static void test_checkpoints_wait(void **state)
{
    (void)state;
    struct db_copy c = {0};
    int64_t id = 1;
    assert_int_equal(db_copy_begin(db, &c, &error), FICUS_ERR_OK);
    int64_t still = size_of("data/t.db");
    while (size_of("data/t.db-wal") < 40 * PIECE)
        insert(id++);
    assert_int_equal(size_of("data/t.db"), still);
    db_copy_end(&c);
    insert(id++);
    assert_true(size_of("data/t.db") > still);
    int64_t wal = size_of("data/t.db-wal");
    for (int i = 0; i < 100; i++)
        insert(id++);
    assert_int_equal(size_of("data/t.db-wal"), wal);
}

/* One at a time; one that ended makes room, and ending twice is ending once. */
static void test_one_at_a_time(void **state)
{
    (void)state;
    struct db_copy c = {0}, second = {0};
    assert_int_equal(db_copy_begin(db, &c, &error), FICUS_ERR_OK);
    assert_int_equal(db_copy_begin(db, &second, &error), FICUS_ERR_BUSY);
    db_copy_end(&second);
    assert_int_equal(db_copy_begin(db, &second, &error), FICUS_ERR_BUSY);
    db_copy_end(&c);
    db_copy_end(&c);
    assert_int_equal(db_copy_begin(db, &second, &error), FICUS_ERR_OK);
    db_copy_end(&second);
}

/* Somebody who still reads from before keeps the checkpoint from passing: it says so, and works when he is through. */
static void test_reader(void **state)
{
    (void)state;
    struct db_copy c = {0};
    struct db_conn *reader = NULL;
    struct db_stmt *s = NULL;
    insert(1);
    insert(2);
    assert_int_equal(db_reader_take(db, &reader, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(reader, &s, &error, "SELECT id FROM t", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), 1);
    insert(3);
    assert_int_equal(db_copy_begin(db, &c, &error), FICUS_ERR_UNAVAILABLE);
    insert(4);
    db_reader_give(db, reader);
    assert_int_equal(db_copy_begin(db, &c, &error), FICUS_ERR_OK);
    (void)copy_to(&c, "backup/t.db", 5);
    db_copy_end(&c);
    assert_int_equal(db_check(env, "backup/t.db", &error), FICUS_ERR_OK);
}

/* A transaction that waits for its group's commit is committed before, and in the copy. */
static void on_committed(void *arg, enum ficus_err err, const char *detail)
{
    (void)detail;
    *(enum ficus_err *)arg = err;
}

struct two {
    struct db_tx first;
    enum ficus_err told;
    struct db_copy copy;
    enum ficus_err begun;
};

static void begin_copy(void *arg)
{
    struct two *t = arg;
    t->begun = db_copy_begin(db, &t->copy, &error);
}

static void test_group(void **state)
{
    (void)state;
    struct two t = {.told = FICUS_ERR_COUNT, .begun = FICUS_ERR_COUNT};
    t.first.committed = on_committed;
    t.first.arg = &t.told;
    assert_int_equal(db_tx_begin(db, &t.first, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&t.first), &error, "INSERT INTO t VALUES(1, '')", ""), FICUS_ERR_OK);
    struct env_job job = {.work = begin_copy, .arg = &t};
    assert_int_equal(env_run(env, &job), FICUS_ERR_OK);
    crash_env_run(ce); /* it waits for the turn */
    assert_int_equal(t.begun, FICUS_ERR_COUNT);
    db_tx_commit(&t.first); /* somebody waits: it stays in the group */
    crash_env_run(ce);
    assert_int_equal(t.told, FICUS_ERR_OK);
    assert_int_equal(t.begun, FICUS_ERR_OK);
    (void)copy_to(&t.copy, "backup/t.db", 2);
    db_copy_end(&t.copy);
    struct db *copy = open_db("backup/t.db");
    assert_int_equal(count(copy), 1);
    db_close(copy);
}

/* What is no sound database of ours is told from one: damaged, cut, empty, not there. Looking changes no byte. */
static void test_check(void **state)
{
    (void)state;
    struct db_copy c = {0};
    struct env_file *f = NULL;
    char page[PIECE] = {0}, before[PIECE], after[PIECE];
    for (int64_t id = 1; id < 50; id++)
        insert(id);
    assert_int_equal(db_copy_begin(db, &c, &error), FICUS_ERR_OK);
    (void)copy_to(&c, "backup/t.db", 50);
    db_copy_end(&c);
    assert_int_equal(env_file_open(env, "backup/t.db", 0, &f, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_read(env, f, before, PIECE, 0), PIECE);
    assert_int_equal(db_check(env, "backup/t.db", &error), FICUS_ERR_OK);
    assert_int_equal(env_file_read(env, f, after, PIECE, 0), PIECE);
    assert_memory_equal(before, after, PIECE);
    bool left = true;
    assert_int_equal(env_file_exists(env, "backup/t.db-wal", &left), FICUS_ERR_OK);
    assert_false(left);
    assert_int_equal(env_file_write(env, f, page, PIECE, 5 * PIECE), FICUS_ERR_OK);
    assert_int_equal(db_check(env, "backup/t.db", &error), FICUS_ERR_CORRUPT);
    assert_int_equal(env_file_truncate(env, f, 3 * PIECE), FICUS_ERR_OK);
    assert_int_equal(db_check(env, "backup/t.db", &error), FICUS_ERR_CORRUPT);
    assert_int_equal(env_file_truncate(env, f, 0), FICUS_ERR_OK);
    assert_int_equal(db_check(env, "backup/t.db", &error), FICUS_ERR_CORRUPT);
    env_file_close(env, f);
    assert_int_equal(db_check(env, "backup/none.db", &error), FICUS_ERR_NOT_FOUND);
}

/* The disk of the service has trouble in the very checkpoint, or in reading: it is said, and nothing stays held. */
static void test_faults(void **state)
{
    (void)state;
    struct db_copy c = {0};
    insert(1);
    for (uint64_t n = 0;; n++) {
        sim_disk_fail(disk, n, 1, FICUS_ERR_IO);
        enum ficus_err err = db_copy_begin(db, &c, &error);
        sim_disk_fail(disk, 0, 0, FICUS_ERR_OK);
        if (err == FICUS_ERR_OK)
            break;
        assert_int_equal(err, FICUS_ERR_IO);
        insert((int64_t)n + 2);
    }
    (void)copy_to(&c, "backup/t.db", 1000);
    db_copy_end(&c);
    assert_int_equal(db_check(env, "backup/t.db", &error), FICUS_ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_of_one_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoints_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check, setup, teardown),
        cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
