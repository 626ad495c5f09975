/* SPDX-License-Identifier: Apache-2.0
 *
 * Durable writer 2, publishing to the log: after any crash every acknowledged batch is there at the offset that was
 * told, no batch by half, nothing twice, and what was published again after the crash is no second event.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "elog_crash.h"
#include "mem.h"

#include <stdio.h>

enum { PUBLISHERS = 4, ROUNDS = 8, BATCH = 3, BATCHES = PUBLISHERS * ROUNDS };

struct batch {
    struct run *run;
    int number;
    int64_t acknowledged;       /* last offset; 0: not */
};

struct run {
    struct elog *log;
    struct batch batches[BATCHES];
};

static void *run_new(uint64_t seed)
{
    (void)seed;
    struct run *r = mem_zalloc(sizeof *r);
    for (int i = 0; i < BATCHES; i++)
        r->batches[i] = (struct batch){.run = r, .number = i};
    return r;
}

static enum ficus_err publish(struct batch *b, void (*done)(void *arg, enum ficus_err err, int64_t last_offset,
                              const char *detail))
{
    static char data[700];
    char ids[BATCH][16];
    struct event events[BATCH];
    memset(data, 'd', sizeof data);
    data[0] = data[sizeof data - 1] = '"';
    for (int i = 0; i < BATCH; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", b->number * BATCH + i);
        events[i] = (struct event){.id = slice_str(ids[i]), .source = SLICE("/s"), .topic = i == 1 ? SLICE("b")
            : SLICE("a"), .data = slice_make(data, sizeof data)};
    }
    return elog_append(b->run->log, events, BATCH, done, b);
}

static void published(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct batch *b = arg;
    (void)detail;
    if (err != FICUS_ERR_OK)
        return;
    b->acknowledged = last_offset;
    if (b->number % ROUNDS < ROUNDS - 1)
        (void)publish(b + 1, published);    /* refused only while closing */
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct ficus_error e;
    if (elog_crash_open(ce, &r->log, &e) != FICUS_ERR_OK)
        return;
    for (int i = 0; i < PUBLISHERS; i++)
        assert_int_equal(publish(&r->batches[i * ROUNDS], published), FICUS_ERR_OK);
    crash_env_run(ce);
    elog_crash_close(ce, r->log);
}

/* ---- after the crash ---- */

struct found {
    struct elog_place at;
    int64_t offsets[BATCHES * BATCH];
    size_t count;
};

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct found *f = arg;
    f->at.err = err;
    f->at.next = next;
    f->count += count;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = 0;
        assert_true(slice_to_u64(events[i].id, &id) && id < BATCHES * BATCH);
        assert_int_equal(f->offsets[id], 0);
        assert_int_equal(events[i].data.size, 700);
        f->offsets[id] = events[i].offset;
    }
}

static bool read_all(struct crash_env *ce, struct elog *log, struct found *f)
{
    memset(f, 0, sizeof *f);
    return elog_read_all(ce, log, "a,b", &f->at, on_read, f);
}

static void check_batches(const struct run *r, const struct found *f)
{
    for (int i = 0; i < BATCHES; i++) {
        const int64_t *offsets = &f->offsets[i * BATCH];
        int64_t acknowledged = r->batches[i].acknowledged;
        for (int n = 1; n < BATCH; n++)
            assert_int_equal(offsets[n], offsets[0] == 0 ? 0 : offsets[0] + n);
        if (acknowledged != 0)
            assert_int_equal(offsets[BATCH - 1], acknowledged);
    }
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run *r = state, again = *r;
    struct ficus_error e;
    struct found f;
    enum ficus_err err = elog_crash_open(ce, &again.log, &e);
    if (!elog_crash_opened(err, &e))
        return false;
    bool alive = read_all(ce, again.log, &f);
    if (alive) {
        check_batches(r, &f);
        for (int i = 0; i < BATCHES; i++) {
            again.batches[i].run = &again;
            assert_int_equal(publish(&again.batches[i], elog_crash_republished), FICUS_ERR_OK);
        }
        crash_env_run(ce);
        alive = read_all(ce, again.log, &f);
        if (alive && f.count != BATCHES * BATCH)
            alive = false;      /* publishing met the dead disk; the sweep asserts that it is dead */
    }
    if (alive)
        check_batches(r, &f);
    elog_crash_close(ce, again.log);
    return alive;
}

/* Crash after every single operation on the disk, in every way. */
static void test_elog_durable(void **state)
{
    (void)state;
    static const struct crash_case cc = {run_new, mem_free, run_work, run_check};
    crash_sweep(&cc, "elog");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_elog_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
