/* SPDX-License-Identifier: Apache-2.0
 *
 * The failure sweep of a service's commit: each operation on the disk fails in turn, once or from there on until the
 * trouble passes; with a full disk, an I/O error or read-only storage. Nothing acknowledged is lost, nothing is there by
 * half, the file stays sound, and all goes on in the same process as soon as the disk does.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#include "crash_env.h"
#include "db.h"

enum { ITEMS = 24, HEALED_AFTER = ITEMS / 2, OPENS_MAX = 4 };

static const struct db_migration migrations[] = {
    {1, "0001_a.sql", SLICE("CREATE TABLE a(id INTEGER PRIMARY KEY, text TEXT NOT NULL)")},
    {2, "0002_b.sql",
    SLICE("CREATE TABLE b(id INTEGER PRIMARY KEY, text TEXT NOT NULL); CREATE INDEX b_text ON b(text)")},
};

struct fault {
    enum ficus_err err;
    uint64_t first;
    bool lasts;         /* until it is healed */
};

struct run {
    struct sim_disk *disk;
    struct crash_env *ce;
    struct db *db;
    bool acknowledged[ITEMS + 1];
    size_t failed_count;
};

static enum ficus_err try_open(struct run *r)
{
    struct db_options o = {.path = "data/t.db", .checkpoint_pages = 6, .cache_kib = 8};
    struct ficus_error e;
    enum ficus_err err = db_open(crash_env(r->ce), &o, &r->db, &e);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_migrate(r->db, "app", migrations, 2, &e);
    if (err == FICUS_ERR_OK)
        return err;
    db_close(r->db);
    r->db = NULL;
    return err;
}

static enum ficus_err put(struct run *r, int64_t id)
{
    struct db_tx tx = {0};
    struct ficus_error e;
    enum ficus_err err = db_tx_begin(r->db, &tx, 0, &e);
    if (err != FICUS_ERR_OK)
        return err;
    struct db_conn *c = db_tx_conn(&tx);
    err = db_exec(c, &e, "INSERT OR REPLACE INTO a VALUES(?1, printf('%0900d', ?1))", "i", id);
    if (err == FICUS_ERR_OK)
        err = db_exec(c, &e, "INSERT OR REPLACE INTO b VALUES(?1, printf('%0700d', ?1))", "i", id);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, &e);
    db_tx_rollback(&tx);
    return err;
}

static int64_t ask(struct run *r, const char *sql, int64_t id)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    struct ficus_error e;
    assert_int_equal(db_reader_take(r->db, &c, &e), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, &e, sql, "i", id), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &e), 1);
    int64_t n = db_i64(s, 0);
    db_finish(s);
    db_reader_give(r->db, c);
    return n;
}

static void check(struct run *r, bool all)
{
    for (int64_t id = 1; id <= ITEMS; id++) {
        int64_t a = ask(r, "SELECT count(*) FROM a WHERE id = ?1 AND text = printf('%0900d', ?1)", id);
        int64_t b = ask(r, "SELECT count(*) FROM b WHERE id = ?1 AND text = printf('%0700d', ?1)", id);
        assert_int_equal(a, b);
        if (all || r->acknowledged[id])
            assert_int_equal(a, 1);
    }
    assert_int_equal(
        ask(r, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok' AND ? = 0", 0), 1);
}

static void heal(struct run *r)
{
    sim_disk_fail(r->disk, 0, 0, FICUS_ERR_OK);
}

static void open_again(struct run *r)
{
    for (int i = 0; i < OPENS_MAX && r->db == NULL; i++)
        if (try_open(r) != FICUS_ERR_OK && i > 0)
            heal(r);
    assert_non_null(r->db);
}

static void write_all(struct run *r)
{
    for (int64_t id = 1; id <= ITEMS; id++) {
        if (id == HEALED_AFTER)
            heal(r);
        enum ficus_err err = put(r, id);
        r->acknowledged[id] = err == FICUS_ERR_OK;
        r->failed_count += err != FICUS_ERR_OK;
        if (id >= HEALED_AFTER)
            assert_int_equal(err, FICUS_ERR_OK);    /* it goes on in the same process */
    }
}

/* True: the fault was met by some operation. */
static bool run_one(const struct fault *f)
{
    struct run r = {.disk = sim_disk_new()};
    r.ce = crash_env_new(r.disk, f->first);
    sim_disk_fail(r.disk, f->first, f->lasts ? UINT32_MAX : 1, f->err);
    open_again(&r);
    write_all(&r);
    bool met = sim_disk_op_count(r.disk) > f->first;
    check(&r, false);
    /* a power failure without any notice: what was acknowledged is there */
    struct sim_disk *after = sim_disk_clone(r.disk);
    sim_disk_crash(after, SIM_CRASH_FORGET, f->first);
    struct run again = {.disk = after, .ce = crash_env_new(after, 1)};
    memcpy(again.acknowledged, r.acknowledged, sizeof r.acknowledged);
    assert_int_equal(try_open(&again), FICUS_ERR_OK);
    check(&again, false);
    db_close(again.db);
    crash_env_free(again.ce);
    sim_disk_free(after);
    for (int64_t id = 1; id <= ITEMS; id++)
        assert_int_equal(put(&r, id), FICUS_ERR_OK);
    check(&r, true);
    db_close(r.db);
    crash_env_free(r.ce);
    sim_disk_free(r.disk);
    return met;
}

/* Every operation fails once, and every operation is the first of many that fail. */
static void test_every_operation_fails(void **state)
{
    (void)state;
    static const enum ficus_err errs[] = {FICUS_ERR_FULL, FICUS_ERR_IO, FICUS_ERR_READ_ONLY};
    size_t runs = 0;
    for (size_t i = 0; i < 3; i++)
        for (unsigned lasts = 0; lasts < 2; lasts++)
            for (uint64_t first = 0; run_one(&(struct fault){errs[i], first, lasts == 1}); first++)
                runs++;
    printf("%zu faults checked\n", runs);
    assert_true(runs > 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_operation_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
