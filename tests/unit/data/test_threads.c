/* SPDX-License-Identifier: Apache-2.0
 *
 * The same file on the product's env: real threads, a real disk, a real other owner.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "db.h"
#include "io_env.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { JOBS = 200, WRITES = 10 };

static struct env *env;
static struct db *db;
static struct ficus_error error;
static char folder[64], path[128], note[128];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/ficus-db-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/t.db", folder);
    snprintf(note, sizeof note, "%s/.t.db.made", folder);
    env = env_uv_new(&(struct env_uv_options){.workers_count = 6, .jobs_max = 2 * JOBS}, &error);
    return env != NULL && db_open(env, &(struct db_options){.path = path, .readers_max = 2}, &db,
        &error) == FICUS_ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    db_close(db);
    env_uv_free(env);
    unlink(path);
    unlink(note);
    return rmdir(folder);       /* fails when a WAL was left behind */
}

static atomic_int acknowledged, failed_count, jobs_left;

static void told(void *arg, enum ficus_err err, const char *detail)
{
    (void)detail;
    free(arg);
    atomic_fetch_add(err == FICUS_ERR_OK ? &acknowledged : &failed_count, 1);
}

static void write_some(void *arg)
{
    (void)arg;
    for (int i = 0; i < WRITES; i++) {
        struct ficus_error e;
        struct db_tx *tx = calloc(1, sizeof *tx);
        *tx = (struct db_tx){.committed = told, .arg = tx};
        if (db_tx_begin(db, tx, 0, &e) != FICUS_ERR_OK)
            abort();
        if (db_exec(db_tx_conn(tx), &e, "UPDATE t SET n = n + 1", "") != FICUS_ERR_OK)
            abort();
        if (i % 5 == 4) {
            db_tx_rollback(tx);
            free(tx);
        } else {
            db_tx_commit(tx);
        }
    }
}

static void read_some(void *arg)
{
    (void)arg;
    int64_t last = 0;
    for (int i = 0; i < WRITES; i++) {
        struct ficus_error e;
        struct db_conn *c = NULL;
        struct db_stmt *s = NULL;
        if (db_reader_take(db, &c, &e) != FICUS_ERR_OK || db_query(c, &s, &e, "SELECT n FROM t", "") != FICUS_ERR_OK
            || db_step(s, &e) != 1)
            abort();
        if (db_i64(s, 0) < last)
            abort();
        last = db_i64(s, 0);
        db_finish(s);
        db_reader_give(db, c);
    }
}

static void job_done(void *arg)
{
    (void)arg;
    if (atomic_fetch_sub(&jobs_left, 1) == 1)
        env_uv_stop(env);
}

/* Writers and readers at once on real threads: each acknowledged write counts once, rolled back ones never, readers
 * never go back in time. */
static void test_many(void **state)
{
    (void)state;
    static const struct db_migration m[] = {{1, "0001_t.sql", SLICE("CREATE TABLE t(n); INSERT INTO t VALUES(0)")}};
    assert_int_equal(db_migrate(db, "app", m, 1, &error), FICUS_ERR_OK);
    static struct env_job jobs[JOBS];
    atomic_store(&jobs_left, JOBS);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct env_job){.work = i % 2 == 0 ? write_some : read_some, .done = job_done};
        assert_int_equal(env_run(env, &jobs[i]), FICUS_ERR_OK);
    }
    env_uv_run(env);
    /* the last groups were told by the workers that made their commits, all of which have returned */
    assert_int_equal(failed_count, 0);
    assert_int_equal(acknowledged, JOBS / 2 * (WRITES - WRITES / 5));
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, &error, "SELECT n FROM t", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), 1);
    assert_int_equal(db_i64(s, 0), acknowledged);
    db_reader_give(db, c);
}

/* Another process, SQLite's command line tool for one, finds all of SQLite's lock bytes taken. */
static void test_locked_for_others(void **state)
{
    (void)state;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x40000000, .l_len = 512};
    assert_int_equal(fcntl(fd, F_GETLK, &lock), 0);
    assert_int_equal(lock.l_type, F_WRLCK);
    lock = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0x40000002, .l_len = 510};
    assert_int_equal(fcntl(fd, F_SETLK, &lock), -1);
    close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_many), TEST(test_locked_for_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
