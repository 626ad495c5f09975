/* SPDX-License-Identifier: Apache-2.0
 *
 * The failure sweep of opening an event log: of the first format, whose events become records, and of the present one,
 * whose newest ids are read into memory. Each allocation fails in turn, and each operation on the disk, once or with
 * several that follow: then the opening fails with words, and the next one finds every event, once.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "alloc_fail.h"
#include "elog_old_read.h"
#include "mem.h"

enum { SEVERAL = 4, TRIES_MAX = 8 };

struct run {
    struct crash_env *ce;
    struct elog *log;
    struct elog_old_found found;
    enum ficus_err append_err;
};

static struct sim_disk *old_log, *new_log;

static void must_open(struct run *r)
{
    struct ficus_error e = {0};
    unsigned tries = 0;
    while (elog_crash_open(r->ce, &r->log, &e) != FICUS_ERR_OK) {
        if (e.text[0] == '\0' || ++tries > TRIES_MAX)
            fail_msg("open: \"%s\" after %u tries", e.text, tries);
        e = (struct ficus_error){0};
    }
}

static void on_appended(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct run *r = arg;
    (void)last_offset, (void)detail;
    r->append_err = err;
}

/* All is there once; and an event that is published again is known, so the newest ids are, too. */
static void check(struct run *r)
{
    struct event again;
    char id[16], subject[16], data[64];
    assert_true(elog_old_read_all(r->ce, r->log, &r->found));
    assert_int_equal(r->found.count, ELOG_OLD_EVENTS);
    for (int number = ELOG_OLD_EVENTS - 10; number <= ELOG_OLD_EVENTS; number++) {
        elog_old_event(number, &again, id, subject, data);
        assert_int_equal(elog_append(r->log, &again, 1, on_appended, r), FICUS_ERR_OK);
        crash_env_run(r->ce);
        assert_int_equal(r->append_err, FICUS_ERR_OK);
    }
    assert_int_equal(elog_last_offset(r->log), ELOG_OLD_EVENTS);
}

/* True: something failed. alloc 0: the disk does. */
static bool run_one(const struct sim_disk *from, uint64_t alloc, enum ficus_err err, uint64_t first, uint64_t count)
{
    struct sim_disk *d = sim_disk_clone(from);
    struct run *r = mem_zalloc(sizeof *r);
    r->ce = crash_env_new(d, 1);
    (void)alloc_env(crash_env(r->ce));
    uint64_t before = sim_disk_op_count(d);
    sim_disk_fail(d, first, count, err);
    alloc_fail_at(alloc);
    must_open(r);
    bool met = alloc > 0 ? alloc_fault.failed : sim_disk_op_count(d) > before + first;
    alloc_fail_at(0);
    sim_disk_fail(d, 0, 0, FICUS_ERR_OK);
    check(r);
    elog_crash_close(r->ce, r->log);
    crash_env_free(r->ce);
    mem_free(r);
    sim_disk_free(d);
    return met;
}

/* A sanitizer sees nothing new in the neighbour of a fault, and takes twenty times as long. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 7 };
#else
enum { STRIDE = 1 };
#endif

static void sweep(const struct sim_disk *from, const char *name, uint64_t faults_min)
{
    static const enum ficus_err errs[] = {FICUS_ERR_FULL, FICUS_ERR_IO};
    uint64_t allocs = 0, faults = 0;
    while (run_one(from, allocs + 1, FICUS_ERR_OK, 0, 0))
        allocs++;
    for (size_t i = 0; i < ARRAY_COUNT(errs); i++)
        for (uint64_t count = 1; count <= SEVERAL; count += SEVERAL - 1)
            for (uint64_t first = 0; run_one(from, 0, errs[i], first, count); first += STRIDE)
                faults += STRIDE;
    printf("%s: %llu allocations, %llu faults of the disk\n", name, (unsigned long long)allocs, (unsigned long long)faults);
    assert_true(allocs > 20);
    assert_true(faults >= faults_min);
}

static void test_old(void **state)
{
    sweep(old_log, "first format", 100);
}

static void test_new(void **state)
{
    sweep(new_log, "present format", 1); /* it is only read */
}

static int make_logs(void **state)
{
    struct ficus_error e;
    struct db *d = NULL;
    old_log = sim_disk_new();
    struct run r = {.ce = crash_env_new(old_log, 1)};
    assert_int_equal(elog_old_create(crash_env(r.ce), ELOG_CRASH_PATH, &d, &e), FICUS_ERR_OK);
    assert_int_equal(elog_old_add(d, 1, ELOG_OLD_EVENTS, 1000000, &e), FICUS_ERR_OK);
    db_close(d);
    crash_env_free(r.ce);
    new_log = sim_disk_clone(old_log);
    r.ce = crash_env_new(new_log, 1);
    must_open(&r);
    elog_crash_close(r.ce, r.log);
    crash_env_free(r.ce);
    return 0;
}

static int free_logs(void **state)
{
    sim_disk_free(old_log);
    sim_disk_free(new_log);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_old), cmocka_unit_test(test_new)};
    return cmocka_run_group_tests(tests, make_logs, free_logs);
}
