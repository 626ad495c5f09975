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

#include "crash_env.h"
#include "elog.h"
#include "elog_old.h"
#include "mem.h"

enum { EVENTS = 520 };

struct run {
    bool kept;          /* the old file is whole */
    bool seen[EVENTS + 1];
    size_t count;
    int64_t next;
    enum ficus_err err;
};

static void *run_new(uint64_t seed)
{
    (void)seed;
    return mem_zalloc(sizeof(struct run));
}

static enum ficus_err open_log(struct crash_env *ce, struct elog **ret_log, struct ficus_error *reterr)
{
    return elog_open(crash_env(ce), &(struct elog_options){.path = "data/log.db"}, ret_log, reterr);
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct ficus_error e;
    struct db *d = NULL;
    struct elog *log = NULL;
    enum ficus_err err = elog_old_create(crash_env(ce), "data/log.db", &d, &e);
    if (err == FICUS_ERR_OK)
        err = elog_old_add(d, 1, EVENTS, 1000000, &e);
    r->kept = err == FICUS_ERR_OK;
    db_close(d);
    if (!r->kept || open_log(ce, &log, &e) != FICUS_ERR_OK)
        return;
    elog_close(log, NULL, NULL);
    crash_env_run_ms(ce, 100);
}

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct run *r = arg;
    r->err = err;
    r->next = next;
    r->count += count;
    for (size_t i = 0; i < count; i++) {
        assert_in_range(events[i].offset, 1, EVENTS);
        assert_true(elog_old_is(&events[i], (int)events[i].offset));
        assert_false(r->seen[events[i].offset]);
        r->seen[events[i].offset] = true;
    }
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run *kept = state, r = {.next = 0};
    struct ficus_error e;
    struct elog *log = NULL;
    struct elog_reader *reader = NULL;
    enum ficus_err err = open_log(ce, &log, &e);
    if (err == FICUS_ERR_IO)
        return false;
    if (err != FICUS_ERR_OK)
        fail_msg("open after the crash: %s", e.text);
    assert_int_equal(elog_reader_new(log, &reader), FICUS_ERR_OK);
    do {
        assert_int_equal(elog_read(reader, "a,b,kept", r.next, 0, 0, on_read, &r), FICUS_ERR_OK);
        crash_env_run(ce);
    } while (r.err == FICUS_ERR_OK && r.next < elog_last_offset(log));
    elog_reader_free(reader);
    if (r.err == FICUS_ERR_OK) {
        assert_true(r.count == EVENTS || (r.count == 0 && !kept->kept));
        assert_int_equal(elog_last_offset(log), r.count);
    }
    elog_close(log, NULL, NULL);
    crash_env_run_ms(ce, 100);
    return r.err == FICUS_ERR_OK;
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
