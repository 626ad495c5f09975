/* SPDX-License-Identifier: Apache-2.0
 *
 * A log of the first format is taken over when it is opened: after a crash at any operation, also of the taking over itself,
 * the next opening has every event that was kept, once, at its offset.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "elog_old_read.h"
#include "mem.h"

struct run {
    bool kept;          /* the old file is whole */
};

static void *run_new(uint64_t seed)
{
    (void)seed;
    return mem_zalloc(sizeof(struct run));
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct ficus_error e;
    struct db *d = NULL;
    struct elog *log = NULL;
    enum ficus_err err = elog_old_create(crash_env(ce), ELOG_CRASH_PATH, &d, &e);
    if (err == FICUS_ERR_OK)
        err = elog_old_add(d, 1, ELOG_OLD_EVENTS, 1000000, &e);
    r->kept = err == FICUS_ERR_OK;
    db_close(d);
    if (!r->kept || elog_crash_open(ce, &log, &e) != FICUS_ERR_OK)
        return;
    elog_crash_close(ce, log);
}

static bool run_check(struct crash_env *ce, void *state)
{
    const struct run *kept = state;
    struct elog_old_found f = {.count = 0};
    struct ficus_error e;
    struct elog *log = NULL;
    enum ficus_err err = elog_crash_open(ce, &log, &e);
    if (!elog_crash_opened(err, &e))
        return false;
    bool alive = elog_old_read_all(ce, log, &f);
    if (alive) {
        assert_true(f.count == ELOG_OLD_EVENTS || (f.count == 0 && !kept->kept));
        assert_int_equal(elog_last_offset(log), f.count);
    }
    elog_crash_close(ce, log);
    return alive;
}

static void test_taken_over(void **state)
{
    (void)state;
    static const struct crash_case cc = {run_new, mem_free, run_work, run_check};
    crash_sweep(&cc, "elog_old");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_taken_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
