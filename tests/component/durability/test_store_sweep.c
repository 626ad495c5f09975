/* SPDX-License-Identifier: Apache-2.0
 *
 * The failure sweep of the event store and its projections: each allocation fails in turn, and each operation on the disk,
 * once or with several that follow. What fails says so and leaves nothing by half; done again it works, in the same
 * process, and in the end all is as if nothing had happened.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "alloc_fail.h"
#include "crash_env.h"
#include "db_ask.h"
#include "mem.h"
#include "projection_world.h"

#include <stdio.h>

enum { APPENDS = 8, IMPORTED = 6, TRIES_MAX = 12, STEPS_MAX = 100, SEVERAL = 4 };

struct run {
    struct sim_disk *disk;
    struct env *e;
    struct db *db;
    struct ficus_error error;
    unsigned failures;
};

/* What fails is tried again; an error has words. */
static bool again(struct run *r, enum ficus_err err, const char *what)
{
    if (err == FICUS_ERR_OK)
        return false;
    if (r->error.text[0] == '\0' || ++r->failures > TRIES_MAX)
        fail_msg("%s fails: %s, \"%s\"", what, err_text(err), r->error.text);
    r->error = (struct ficus_error){0};
    return true;
}

static enum ficus_err open_store(struct run *r)
{
    struct db_options o = {.path = "data/t.db", .checkpoint_pages = 8};
    enum ficus_err err = db_open(r->e, &o, &r->db, &r->error);
    if (err == FICUS_ERR_OK)
        err = sums_migrate(r->db, &r->error);
    if (err == FICUS_ERR_OK)
        return err;
    db_close(r->db);
    r->db = NULL;
    return err;
}

static enum ficus_err leave_rows(struct run *r)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(r->db, &tx, 0, &r->error);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_exec(db_tx_conn(&tx), &r->error,
                  "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 6) INSERT OR REPLACE INTO"
                  " ficus_store_import(seq, stream, type, time, data) SELECT i, 'old-' || (i % 2), 't', i, '{\"a\":[1,2]}' FROM n",
                  "");
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, &r->error);
    db_tx_rollback(&tx);
    return err;
}

/* Whether an append of unknown end (its sync failed) is there is asked before it is done again. */
static void append(struct run *r, const struct projection_set *set, int number)
{
    char stream[16];
    (void)snprintf(stream, sizeof stream, "new-%d", number);
    while (again(r, sums_append(r->db, set, stream, &r->error), "append")) {
        int64_t is_there;
        while ((is_there = db_ask(r->db, "SELECT count(*) FROM ficus_store WHERE stream = 'new-' || ?", number)) < 0)
            assert_true(++r->failures <= TRIES_MAX);
        if (is_there == 1)
            return;
        assert_int_equal(is_there, 0);
    }
}

static void steps(struct run *r, struct projection_set *set)
{
    struct projection_step step = {.work = PROJECTION_BEGUN};
    for (int i = 0; step.work != PROJECTION_NOTHING; i++) {
        assert_true(i < STEPS_MAX);
        if (again(r, sums_step(r->db, r->e, set, 3, &step, &r->error), "step"))
            step.work = PROJECTION_BEGUN;
    }
}

static enum ficus_err verify(struct run *r)
{
    struct db_conn *c = NULL;
    struct estore_check check = {0};
    enum ficus_err err = db_reader_take(r->db, &c, &r->error);
    if (err != FICUS_ERR_OK)
        return err;
    err = estore_verify(c, 1000, &check, &r->error);
    db_reader_give(r->db, c);
    assert_true(err != FICUS_ERR_OK || (check.is_done && check.finding_count == 0 && check.head_position == APPENDS + IMPORTED));
    return err;
}

static void work(struct run *r)
{
    struct projection name = {0};
    struct projection_set one = sums_set(sums_defs, 1, &name);
    while (again(r, open_store(r), "open"))
        ;
    while (again(r, leave_rows(r), "leave rows"))
        ;
    while (again(r, estore_import(r->db, &r->error), "import"))
        ;
    steps(r, &one);
    for (int i = 0; i < APPENDS / 2; i++)
        append(r, &one, i);
    struct projection_set two = sums_set(sums_defs, 2, &name);
    steps(r, &two);
    for (int i = APPENDS / 2; i < APPENDS; i++)
        append(r, &two, i);
    while (again(r, verify(r), "verify"))
        ;
}

static void check(struct run *r)
{
    assert_int_equal(db_ask(r->db, "SELECT count(*) FROM ficus_store", 0), APPENDS + IMPORTED);
    assert_int_equal(db_ask(r->db, "SELECT count(*) FROM ficus_store_import", 0), 0);
    assert_int_equal(db_ask(r->db, "SELECT " SUMS_WRONG, 0), 0);
    assert_int_equal(db_ask(r->db, "SELECT " SUMS_TOTAL_WRONG, 0), 0);
    assert_int_equal(db_ask(r->db, "SELECT count(*) FROM ficus_projection", 0), 1);
    assert_int_equal(db_ask(r->db, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%.%'", 0), 2);
    assert_int_equal(db_ask(r->db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'", 0), 1);
}

/* True: something failed. alloc 0: the disk does, with err, from operation first on, count times. */
static bool run_one(uint64_t alloc, enum ficus_err err, uint64_t first, uint64_t count)
{
    struct run r = {.disk = sim_disk_new()};
    struct crash_env *ce = crash_env_new(r.disk, 1);
    r.e = alloc_env(crash_env(ce));
    sim_disk_fail(r.disk, first, count, err);
    alloc_fail_at(alloc);
    work(&r);
    bool met = alloc > 0 ? alloc_fault.failed : sim_disk_op_count(r.disk) > first;
    alloc_fail_at(0);
    sim_disk_fail(r.disk, 0, 0, FICUS_ERR_OK);
    check(&r);
    db_close(r.db);
    crash_env_free(ce);
    sim_disk_free(r.disk);
    return met;
}

static void test_allocations(void **state)
{
    uint64_t n = 1;
    while (run_one(n, FICUS_ERR_OK, 0, 0))
        n++;
    printf("%llu allocations\n", (unsigned long long)n - 1);
    assert_true(n > 150);
}

/* A sanitizer sees nothing new in the neighbour of a fault, and takes much longer. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 7 };
#else
enum { STRIDE = 1 };
#endif

static void test_disk(void **state)
{
    static const enum ficus_err errs[] = {FICUS_ERR_FULL, FICUS_ERR_IO, FICUS_ERR_READ_ONLY};
    uint64_t n = 0;
    for (size_t i = 0; i < ARRAY_COUNT(errs); i++)
        for (uint64_t count = 1; count <= SEVERAL; count += SEVERAL - 1)
            for (uint64_t first = 0; run_one(0, errs[i], first, count); first += STRIDE)
                n += STRIDE;
    printf("%llu faults of the disk\n", (unsigned long long)n);
    assert_true(n > 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allocations), cmocka_unit_test(test_disk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
