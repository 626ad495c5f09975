/* SPDX-License-Identifier: Apache-2.0
 *
 * Durable writer 5, projections: while events are appended the tables are built anew with another version, which takes
 * over. After any crash the tables that serve are whole and have each acknowledged event, once; the build goes on from
 * where it was, and in the end nothing is left of the old ones.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db_ask.h"
#include "mem.h"
#include "projection_world.h"

#include <stdio.h>

enum { BEFORE = 10, STEP_EVENTS = 3, STEPS_MAX = 200 };

struct run {
    struct db *db;
    int64_t appended;  /* acknowledged */
    bool was_servable; /* acknowledged */
    bool has_changed;  /* version 2 serves, acknowledged */
    int64_t built;     /* checkpoint of what is built, acknowledged */
};

static void *run_new(uint64_t seed)
{
    (void)seed;
    return mem_zalloc(sizeof(struct run));
}

static enum ficus_err open_store(struct crash_env *ce, struct db **ret_db, struct ficus_error *reterr)
{
    struct db_options o = {.path = "data/t.db", .checkpoint_pages = 8};
    enum ficus_err err = db_open(crash_env(ce), &o, ret_db, reterr);
    return err != FICUS_ERR_OK ? err : sums_migrate(*ret_db, reterr);
}

/* Until nothing is left to do, with an event before each step as long as version 2 is built. False: the disk died. */
static bool steps(struct crash_env *ce, struct run *r, size_t versions, bool appends)
{
    struct projection name = {0};
    struct projection_set set = sums_set(sums_defs, versions, &name);
    struct projection_step step = {.work = PROJECTION_BEGUN};
    char stream[16];
    for (int i = 0; step.work != PROJECTION_NOTHING; i++) {
        assert_true(i < STEPS_MAX);
        if (sums_step(r->db, crash_env(ce), &set, STEP_EVENTS, &step, NULL) != FICUS_ERR_OK)
            return false;
        r->was_servable = r->was_servable || step.is_servable;
        r->built = step.work == PROJECTION_FED ? step.checkpoint : 0;
        r->has_changed = r->has_changed || (step.work == PROJECTION_CHANGED && step.version == 2);
        (void)snprintf(stream, sizeof stream, "s-%d", i % 4);
        if (appends && step.work == PROJECTION_FED) {
            if (sums_append(r->db, &set, stream, NULL) != FICUS_ERR_OK)
                return false;
            r->appended++;
        }
    }
    return true;
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct projection name = {0};
    struct projection_set first = sums_set(sums_defs, 1, &name);
    char stream[16];
    struct ficus_error e;
    bool ready = open_store(ce, &r->db, &e) == FICUS_ERR_OK && steps(ce, r, 1, false);
    for (int i = 0; ready && i < BEFORE; i++) {
        (void)snprintf(stream, sizeof stream, "s-%d", i % 3);
        ready = sums_append(r->db, &first, stream, NULL) == FICUS_ERR_OK;
        r->appended += ready;
    }
    if (ready)
        (void)steps(ce, r, 2, true);
    crash_env_run(ce);
    db_close(r->db);
}

/* -1: the disk died again. */
static int64_t must_be(struct db *db, const char *sql, int64_t wanted)
{
    int64_t n = db_ask(db, sql, 0);
    if (n != -1 && n != wanted)
        fail_msg("%s: %lld, not %lld", sql, (long long)n, (long long)wanted);
    return n;
}

#define ALIVE(expr) do { if ((expr) == -1) return false; } while (0)

static bool check_open(struct crash_env *ce, struct run *r)
{
    int64_t servable = db_ask(r->db, "SELECT count(*) FROM ficus_projection WHERE state = 'serving'", 0);
    int64_t appended = db_ask(r->db, "SELECT count(*) FROM ficus_store", 0), before = r->appended;
    if (servable == -1 || appended == -1)
        return false;
    assert_true(servable == 1 || !r->was_servable);
    assert_true(appended == before || appended == before + 1);
    if (servable == 1) { /* at once, before anything is done */
        ALIVE(must_be(r->db, "SELECT " SUMS_WRONG, 0));
        ALIVE(must_be(r->db, "SELECT checkpoint - (SELECT position FROM ficus_store_head) FROM ficus_projection WHERE state = 'serving'", 0));
    }
    if (r->has_changed)
        ALIVE(must_be(r->db, "SELECT version FROM ficus_projection WHERE state = 'serving'", 2));
    int64_t built = db_ask(r->db, "SELECT coalesce(max(checkpoint), 0) FROM ficus_projection WHERE state = 'building' OR version = 2", 0);
    assert_true(built == -1 || built >= r->built);
    if (built == -1 || !steps(ce, r, 2, false))
        return false;
    ALIVE(must_be(r->db, "SELECT " SUMS_WRONG, 0));
    ALIVE(must_be(r->db, "SELECT " SUMS_TOTAL_WRONG, 0));
    ALIVE(must_be(r->db, "SELECT count(*) FROM ficus_store WHERE position NOT IN (SELECT position FROM seen)", 0));
    ALIVE(must_be(r->db, "SELECT count(*) FROM ficus_projection", 1));
    ALIVE(must_be(r->db, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%.%'", 2));
    return true;
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run r = *(const struct run *)state; /* the same is checked after each way of crashing */
    struct ficus_error e;
    r.db = NULL;
    enum ficus_err err = open_store(ce, &r.db, &e);
    if (err != FICUS_ERR_OK && err != FICUS_ERR_IO)
        fail_msg("open after the crash: %s", e.text);
    bool alive = err == FICUS_ERR_OK && check_open(ce, &r);
    db_close(r.db);
    return alive;
}

/* Crash after every single operation on the disk, in every way. */
static void test_projection_durable(void **state)
{
    static const struct crash_case cc = {run_new, mem_free, run_work, run_check};
    crash_sweep(&cc, "projection");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_projection_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
