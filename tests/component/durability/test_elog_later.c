/* SPDX-License-Identifier: Apache-2.0
 *
 * Durable writer 2, events that wait for their time: after any crash (while they are published, while they are moved into the
 * log, while one is taken out) every acknowledged one comes, at its time, once; one that was taken out never; of a schedule each
 * time at most once, and after a pause the last.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "elog_crash.h"
#include "mem.h"

#include <stdio.h>

enum { COUNT = 9, TIMES_MAX = 64, EVERY_MS = 700, REMOVED = 7 };

struct item {
    struct run *run;
    int number;
    bool acknowledged;
    int64_t place;          /* its number among those that wait; 0: not known */
};

struct run {
    struct elog *log;
    struct item items[COUNT];
    bool taken_out, taking_out;
};

static const struct elog_schedule schedule = {.source = "/s/often", .name = "often", .topic = "often", .every_ms = EVERY_MS};

static void *run_new(uint64_t seed)
{
    (void)seed;
    struct run *r = mem_zalloc(sizeof *r);
    for (int i = 0; i < COUNT; i++)
        r->items[i] = (struct item){.run = r, .number = i};
    return r;
}

static enum ficus_err open_log(struct crash_env *ce, struct elog **ret_log, struct ficus_error *reterr)
{
    return elog_open(crash_env(ce), &(struct elog_options){.path = ELOG_CRASH_PATH, .schedules = &schedule, .schedule_count = 1}, ret_log, reterr);
}

/* Every third at once, others for later, some of them only after the work's end. */
static enum ficus_err publish(struct crash_env *ce, struct item *it, void (*done)(void *arg, enum ficus_err err, int64_t last_offset,
                              const char *detail))
{
    static char data[700];
    char id[16];
    memset(data, 'd', sizeof data);
    data[0] = data[sizeof data - 1] = '"';
    snprintf(id, sizeof id, "%d", it->number);
    int64_t at_ms = it->number % 3 == 0 ? 0 : env_wall_ms(crash_env(ce)) + 250 * it->number;
    const struct event ev = {.id = slice_str(id), .source = SLICE("/s"), .topic = SLICE("a"), .data = slice_make(data, sizeof data), .at_ms = at_ms};
    return elog_append(it->run->log, &ev, 1, done, it);
}

static void published(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct item *it = arg;
    (void)detail;
    it->acknowledged |= err == FICUS_ERR_OK;
    if (err == FICUS_ERR_OK)
        it->place = last_offset;
}

static void taken_out(void *arg, enum ficus_err err, const struct elog_waiting *was, const char *detail)
{
    struct run *r = arg;
    (void)was, (void)detail;
    r->taken_out |= err == FICUS_ERR_OK || err == FICUS_ERR_NOT_FOUND;
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct ficus_error e;
    if (open_log(ce, &r->log, &e) != FICUS_ERR_OK)
        return;
    for (int i = 0; i < COUNT; i++) {
        (void)publish(ce, &r->items[i], published);
        crash_env_run(ce);
    }
    if (r->items[REMOVED].place != 0) {
        r->taking_out = true;
        (void)elog_later_remove(r->log, r->items[REMOVED].place, taken_out, r);
    }
    crash_env_run_ms(ce, 1500);
    elog_crash_close(ce, r->log);
}

/* ---- after the crash ---- */

struct found {
    struct elog_place at;
    int items[COUNT];
    char ids[TIMES_MAX][40];
    size_t times;
};

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct found *f = arg;
    f->at.err = err;
    f->at.next = next;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = 0;
        if (slice_eq_str(events[i].topic, "often")) {
            assert_true(f->times < TIMES_MAX && events[i].id.size < sizeof f->ids[0]);
            snprintf(f->ids[f->times], sizeof f->ids[0], SLICE_FMT, SLICE_ARG(events[i].id));
            for (size_t k = 0; k < f->times; k++)
                assert_string_not_equal(f->ids[k], f->ids[f->times]);
            f->times++;
            continue;
        }
        assert_true(slice_to_u64(events[i].id, &id) && id < COUNT);
        assert_int_equal(events[i].data.size, 700);
        f->items[id]++;
    }
}

static bool read_all(struct crash_env *ce, struct elog *log, struct found *f)
{
    memset(f, 0, sizeof *f);
    return elog_read_all(ce, log, "a,often", &f->at, on_read, f);
}

static void check_items(const struct run *r, const struct found *f, bool all)
{
    for (int i = 0; i < COUNT; i++) {
        bool maybe_gone = i == REMOVED && r->taking_out;
        assert_true(f->items[i] <= 1);
        if (i == REMOVED && r->taken_out)
            assert_int_equal(f->items[i], 0);
        else if (!maybe_gone && (all || r->items[i].acknowledged))
            assert_int_equal(f->items[i], 1);
    }
}

/* Wait until all that waits has come. False: the disk died again. */
static bool wait_for_all(struct crash_env *ce, struct elog *log)
{
    for (int i = 0; i < 20 && elog_later_count(log) > 0; i++)
        crash_env_run_ms(ce, 1000);
    return elog_later_count(log) == 0;
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run *r = state, again = *r;
    struct ficus_error e;
    struct found f;
    enum ficus_err err = open_log(ce, &again.log, &e);
    if (!elog_crash_opened(err, &e))
        return false;
    bool alive = wait_for_all(ce, again.log) && read_all(ce, again.log, &f);
    if (alive) {
        check_items(r, &f, false);
        /* Said again all are repetitions, or come now. */
        for (int i = 0; i < COUNT; i++) {
            again.items[i].run = &again;
            assert_int_equal(publish(ce, &again.items[i], elog_crash_republished), FICUS_ERR_OK);
        }
        crash_env_run(ce);
        alive = wait_for_all(ce, again.log) && read_all(ce, again.log, &f);
        for (int i = 0; alive && i < COUNT; i++)
            alive = f.items[i] > 0 || (i == REMOVED && r->taking_out);     /* else it met the dead disk; the sweep asserts that it is dead */
    }
    if (alive)
        check_items(r, &f, true);
    elog_crash_close(ce, again.log);
    return alive;
}

/* Crash after every single operation on the disk, in every way. */
static void test_elog_later_durable(void **state)
{
    (void)state;
    static const struct crash_case cc = {run_new, mem_free, run_work, run_check};
    crash_sweep(&cc, "elog_later");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_elog_later_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
