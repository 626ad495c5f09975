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
#include <time.h>
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

/* ---- readers that lose their moment, and copies, among writers ---- */

enum { ROWS = 100, WANTED = 20, COPIES = 10, PIECE = 16384 };

static atomic_int expired, copied;
static atomic_bool may_stop;

static bool wanted_more(void)
{
    return atomic_load(&expired) < WANTED || atomic_load(&copied) < COPIES;
}

/* All rows say the same number, always. */
static void write_all(void *arg)
{
    (void)arg;
    while (!atomic_load(&may_stop)) {
        struct ficus_error e;
        struct db_tx tx = {0};
        if (db_tx_begin(db, &tx, 0, &e) != FICUS_ERR_OK || db_exec(db_tx_conn(&tx), &e, "UPDATE r SET n = n + 1", "") != FICUS_ERR_OK ||
            db_tx_commit_wait(&tx, &e) != FICUS_ERR_OK)
            abort();
    }
}

/* True: it was ended. */
static bool read_slowly(struct db *d, bool slowly)
{
    struct ficus_error e;
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    int64_t n = -1;
    int rows = 0, row;
    if (db_reader_take(d, &c, &e) != FICUS_ERR_OK || db_query(c, &s, &e, "SELECT n FROM r", "") != FICUS_ERR_OK)
        abort();
    for (; (row = db_step(s, &e)) == 1; rows++) {
        if (n >= 0 && db_i64(s, 0) != n) /* rows of two moments */
            abort();
        n = db_i64(s, 0);
        if (slowly)
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    if (row == 0 ? rows != ROWS : row != -(int)FICUS_ERR_TIMEOUT)
        abort();
    db_finish(s);
    db_reader_give(d, c);
    return row < 0;
}

static void read_all(void *arg)
{
    (void)arg;
    while (wanted_more())
        if (read_slowly(db, true))
            atomic_fetch_add(&expired, 1);
}

static void copy_once(const char *to)
{
    struct ficus_error e;
    struct db_copy c = {0};
    struct env_file *f = NULL;
    static char piece[PIECE];
    int64_t at = 0;
    ssize_t n;
    if (db_copy_begin(db, &c, &e) != FICUS_ERR_OK)
        return; /* a reader is in the way: once more */
    if (env_file_open(env, to, ENV_OPEN_CREATE, &f, &e) != FICUS_ERR_OK || env_file_truncate(env, f, 0) != FICUS_ERR_OK)
        abort();
    for (; (n = db_copy_read(&c, piece, sizeof piece, &e)) > 0; at += n)
        if (env_file_write(env, f, piece, (size_t)n, at) != FICUS_ERR_OK)
            abort();
    db_copy_end(&c);
    env_file_close(env, f);
    if (n != 0 || db_check(env, to, &e) != FICUS_ERR_OK)
        abort();
    struct db *d = NULL;
    if (db_open(env, &(struct db_options){.path = to, .is_derived = true}, &d, &e) != FICUS_ERR_OK || read_slowly(d, false))
        abort();
    db_close(d);
    atomic_fetch_add(&copied, 1);
}

static void copy_all(void *arg)
{
    char to[160];
    (void)arg;
    snprintf(to, sizeof to, "%s.copy", path);
    while (wanted_more())
        copy_once(to);
    unlink(to);
}

static void reader_done(void *arg)
{
    (void)arg;
    if (atomic_fetch_sub(&jobs_left, 1) == 3)
        atomic_store(&may_stop, true);
    if (atomic_load(&jobs_left) == 0)
        env_uv_stop(env);
}

/* Readers that are too slow for the writers are ended, none of them sees rows of two moments before; copies made meanwhile are
 * sound and of one moment. */
static void test_moments(void **state)
{
    (void)state;
    static const struct db_migration m[] = {
        {1, "0001_r.sql", SLICE("CREATE TABLE r(id INTEGER PRIMARY KEY, n INTEGER, b TEXT);"
                                "WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i WHERE x < 100)"
                                " INSERT INTO r SELECT x, 0, printf('%0900d', x) FROM i")}};
    const struct db_options o = {.path = path, .cache_kib = 16, .readers_max = 2, .checkpoint_pages = 4, .reader_ms_max = 1};
    static void (*const work[])(void *arg) = {write_all, read_all, read_all, copy_all, write_all};
    static struct env_job jobs[5];
    db_close(db);
    assert_int_equal(db_open(env, &o, &db, &error), FICUS_ERR_OK);
    assert_int_equal(db_migrate(db, "app", m, 1, &error), FICUS_ERR_OK);
    atomic_store(&jobs_left, 5);
    for (size_t i = 0; i < 5; i++) {
        jobs[i] = (struct env_job){.work = work[i], .done = reader_done};
        assert_int_equal(env_run(env, &jobs[i]), FICUS_ERR_OK);
    }
    env_uv_run(env);
    assert_false(read_slowly(db, false));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_many), TEST(test_moments), TEST(test_locked_for_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
