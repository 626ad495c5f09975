/* SPDX-License-Identifier: Apache-2.0
 *
 * Durable writer 4, the cursors of consumer groups: after any crash a cursor stands where it was said to be or further, never behind an
 * event that nobody settled; a dead letter is in the log exactly if its cursor has passed; publishing beside it keeps its word; and
 * the next life has a larger number.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "elog_crash.h"
#include "group_store.h"
#include "mem.h"

#include <stdio.h>

enum { PARTITIONS = 3, STEPS = 8, DEAD_EVERY = 3 };

/* One partition settles an event after another, numbered from 1; every third as a dead letter. */
struct worker {
    struct run *run;
    size_t partition;
    int64_t begun, acknowledged;
};

struct run {
    struct elog *log;
    int64_t boot;
    struct worker workers[PARTITIONS];
};

static void *run_new(uint64_t seed)
{
    (void)seed;
    struct run *r = mem_zalloc(sizeof *r);
    for (size_t i = 0; i < PARTITIONS; i++)
        r->workers[i] = (struct worker){.run = r, .partition = i};
    return r;
}

static enum ficus_err open_log(struct crash_env *ce, struct elog **ret_log, int64_t *ret_boot, struct group_cursor *cursors, struct ficus_error *reterr)
{
    enum ficus_err err = elog_open(crash_env(ce), &(struct elog_options){.path = ELOG_CRASH_PATH}, ret_log, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    int64_t boot = 0;
    err = group_store_open(elog_db(*ret_log), &boot, reterr);
    *ret_boot = err == FICUS_ERR_OK ? boot : 0; /* else it may count again */
    if (err == FICUS_ERR_OK)
        err = group_store_load(elog_db(*ret_log), "mailer", PARTITIONS, 7, cursors, NULL, reterr);
    if (err == FICUS_ERR_OK)
        return err;
    elog_close(*ret_log, NULL, NULL);
    crash_env_run_ms(ce, 100);
    return err;
}

static enum ficus_err write_cursor(void *arg, struct db_conn *c, struct ficus_error *reterr)
{
    const struct worker *w = arg;
    return group_store_write(c, "mailer", w->partition, &(struct group_cursor){.settled = w->begun, .refused = w->begun, .refused_offset = w->begun + 1}, reterr);
}

static void settled(void *arg, enum ficus_err err, int64_t last, const char *detail);

static void settle(struct worker *w)
{
    char id[32];
    w->begun++;
    snprintf(id, sizeof id, "%zu-%lld", w->partition, (long long)w->begun);
    const struct event ev = {.id = slice_str(id), .source = SLICE("/mailer"), .topic = SLICE(EVENT_TOPIC_DEAD), .data = SLICE("1")};
    /* refused only while closing */
    (void)elog_append_with(w->run->log, &ev, w->begun % DEAD_EVERY == 0 ? 1 : 0, &(struct elog_rider){write_cursor, w}, settled, w);
}

static void settled(void *arg, enum ficus_err err, int64_t last, const char *detail)
{
    struct worker *w = arg;
    (void)last, (void)detail;
    if (err != FICUS_ERR_OK)
        return;
    w->acknowledged = w->begun;
    if (w->begun < STEPS)
        settle(w);
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct ficus_error e;
    struct group_cursor cursors[PARTITIONS];
    if (open_log(ce, &r->log, &r->boot, cursors, &e) != FICUS_ERR_OK)
        return;
    for (size_t i = 0; i < PARTITIONS; i++)
        settle(&r->workers[i]);
    crash_env_run(ce);
    elog_crash_close(ce, r->log);
}

/* ---- after the crash ---- */

struct found {
    enum ficus_err err;
    size_t count[PARTITIONS];
    bool dead[PARTITIONS][STEPS + 1];
};

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct found *f = arg;
    (void)next;
    f->err = err;
    for (size_t i = 0; i < count; i++) {
        unsigned partition = 0, number = 0;
        char id[32];
        snprintf(id, sizeof id, SLICE_FMT, SLICE_ARG(events[i].id));
        assert_int_equal(sscanf(id, "%u-%u", &partition, &number), 2);
        assert_true(partition < PARTITIONS && number <= STEPS && !f->dead[partition][number]);
        f->dead[partition][number] = true;
    }
}

static bool run_check(struct crash_env *ce, void *state)
{
    const struct run *r = state;
    struct elog *log = NULL;
    struct ficus_error e;
    struct group_cursor cursors[PARTITIONS];
    struct elog_reader *reader = NULL;
    struct found f = {0};
    int64_t boot = 0;
    enum ficus_err err = open_log(ce, &log, &boot, cursors, &e);
    if (!elog_crash_opened(err, &e))
        return false;
    assert_true(boot > r->boot);
    assert_int_equal(elog_reader_new(log, &reader), FICUS_ERR_OK);
    assert_int_equal(elog_read(reader, EVENT_TOPIC_DEAD, 0, 0, 0, on_read, &f), FICUS_ERR_OK);
    crash_env_run(ce);
    elog_reader_free(reader);
    for (size_t i = 0; i < PARTITIONS && f.err == FICUS_ERR_OK; i++) {
        const struct worker *w = &r->workers[i];
        assert_in_range(cursors[i].settled, w->acknowledged, w->begun);
        assert_int_equal(cursors[i].refused, cursors[i].settled);
        for (int64_t n = 1; n <= STEPS; n++)
            assert_int_equal(f.dead[i][n], n <= cursors[i].settled && n % DEAD_EVERY == 0);
    }
    elog_crash_close(ce, log);
    return f.err == FICUS_ERR_OK;
}

/* Crash after every single operation on the disk, in every way. */
static void test_group_durable(void **state)
{
    (void)state;
    static const struct crash_case cc = {run_new, mem_free, run_work, run_check};
    crash_sweep(&cc, "group");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_group_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
