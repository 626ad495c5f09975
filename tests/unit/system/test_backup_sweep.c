/* SPDX-License-Identifier: Apache-2.0
 *
 * The failure sweep of making a backup: each allocation fails in turn, from the new folder to its name. What fails says so, what was
 * begun is removed without a trace, the database that was copied goes on; and the next backup is whole.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../../component/durability/alloc_fail.h"
#include "backup.h"
#include "db.h"
#include "io_env.h"
#include "mem.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 100 };

static struct env *e;
static struct arena a;
static struct state s;
static struct ficus_error error;
static char dir[64], made[80]; /* of the backup: while allocations fail, nothing of the test's own may allocate */

static const char *at(const char *path)
{
    return arena_printf(&a, "%s/%s", dir, path);
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(at(path), &st) == 0;
}

static void remove_folder(const char *path)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

static struct db *open_database(const char *path)
{
    const struct db_options o = {.path = path, .is_derived = true, .readers_max = 1};
    struct db *d = NULL;
    if (db_open(e, &o, &d, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    return d;
}

static int64_t rows(struct db *d)
{
    struct db_conn *c = NULL;
    struct db_stmt *q = NULL;
    assert_int_equal(db_reader_take(d, &c, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &q, &error, "SELECT count(*) FROM t WHERE length(b) = 500", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(q, &error), 1);
    int64_t n = db_i64(q, 0);
    db_finish(q);
    db_reader_give(d, c);
    return n;
}

static void add_row(struct db *d)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(d, &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, "INSERT INTO t VALUES(printf('%0500d', 1))", ""), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
}

/* ---- one backup ---- */

static enum ficus_err copy_database(struct backup_maker *m, struct db *d)
{
    char piece[4096];
    struct backup_out out;
    struct db_copy copy = {0};
    ssize_t n = 0;
    enum ficus_err err = backup_out_begin(&out, m, "data/x.db", "x", &error);
    if (err != FICUS_ERR_OK)
        return err;
    out.f->is_database = true;
    err = db_copy_begin(d, &copy, &error);
    while (err == FICUS_ERR_OK && (n = db_copy_read(&copy, piece, sizeof piece, &error)) > 0)
        err = backup_out_add(&out, slice_make(piece, (size_t)n), &error);
    db_copy_end(&copy);
    if (err == FICUS_ERR_OK && n < 0)
        err = (enum ficus_err)-n;
    if (err == FICUS_ERR_OK)
        err = backup_out_end(&out, &error);
    backup_out_drop(&out);
    return err;
}

static enum ficus_err back_up(struct arena *of, struct db *d)
{
    static struct backup_maker m;
    error = (struct ficus_error){0};
    enum ficus_err err = backup_make(&m, e, of, made, &error);
    m.backup.system = "shop";
    m.backup.ficus = "0.1.0";
    m.backup.begun_ms = 1700000000000;
    if (err == FICUS_ERR_OK)
        err = copy_database(&m, d);
    if (err == FICUS_ERR_OK)
        err = backup_add_tree(&m, &s, "private/id", "id", &error);
    if (err == FICUS_ERR_OK)
        err = backup_finish(&m, &error);
    if (err != FICUS_ERR_OK)
        backup_give_up(&m);
    return err;
}

static void assert_whole(int64_t count)
{
    struct backup b;
    if (backup_read(e, &a, at("b"), &b, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    assert_int_equal(b.count, 3);
    assert_int_equal(db_check(e, at("b/data/x.db"), &error), FICUS_ERR_OK);
    struct db *d = open_database(at("b/data/x.db"));
    assert_int_equal(rows(d), count);
    db_close(d);
    assert_true(exists("b/private/id/keys/a.pem"));
}

/* True: something failed. */
static bool run_one(struct db *d, int64_t number)
{
    struct arena of;
    arena_init(&of, 16 << 20);
    alloc_fail_at((uint64_t)number);
    enum ficus_err err = back_up(&of, d);
    bool met = alloc_fault.failed;
    alloc_fail_at(0);
    add_row(d);
    if (err != FICUS_ERR_OK) {
        if (err != FICUS_ERR_NOMEM || error.text[0] == '\0')
            fail_msg("allocation %lld: %s, \"%s\"", (long long)number, err_text(err), error.text);
        if (exists("b") || exists("b.partial"))
            fail_msg("allocation %lld: something is left of it", (long long)number);
        arena_done(&of);
        arena_init(&of, 16 << 20);
        if (back_up(&of, d) != FICUS_ERR_OK)
            fail_msg("again: %s", error.text);
    }
    assert_whole(err == FICUS_ERR_OK ? ROWS + number - 1 : ROWS + number);
    remove_folder(at("b"));
    arena_done(&of);
    return met;
}

static void test_allocations(void **state)
{
    (void)state;
    const struct db_migration m = {1, "0001_t.sql", SLICE("CREATE TABLE t(b TEXT)")};
    struct db *d = open_database(at("state/data/x.db"));
    assert_int_equal(db_migrate(d, "t", &m, 1, &error), FICUS_ERR_OK);
    for (int i = 0; i < ROWS; i++)
        add_row(d);
    int64_t n = 1;
    while (run_one(d, n))
        n++;
    db_close(d);
    printf("%lld allocations\n", (long long)n - 1);
    assert_true(n > 8);
}

/* ---- the folder ---- */

static void put(const char *path, const char *text)
{
    assert_int_equal(env_file_store(e, at(path), slice_str(text), &error), FICUS_ERR_OK);
}

static int set_up(void **state)
{
    (void)state;
    e = env_uv_new(NULL, NULL);
    arena_init(&a, 256 << 20);
    /* in memory where there is some: no power fails here */
    snprintf(dir, sizeof dir, "%s/ficus-backup-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(made, sizeof made, "%s/b", dir);
    setenv("FICUS_STATE", at("state"), 1);
    if (state_locate(&a, "ficus.yaml", &s, &error) != FICUS_ERR_OK || state_create(e, &s, &error) != FICUS_ERR_OK ||
        mkdir(at("state/private/id"), 0700) != 0 || mkdir(at("state/private/id/keys"), 0700) != 0)
        return -1;
    put("state/private/id/keys/a.pem", "key a");
    put("state/private/id/empty", "");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    remove_folder(dir);
    arena_done(&a);
    env_uv_free(e);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allocations)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
