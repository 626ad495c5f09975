/* SPDX-License-Identifier: Apache-2.0
 *
 * Durable writer 1, a service's commit: after any crash every acknowledged transaction is there whole, none is there by
 * half, and the file is sound.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db_ask.h"
#include "db.h"
#include "mem.h"

enum { ITEMS = 40, ROLLBACK_EACH = 7 };

enum item_state { ITEM_TRIED, ITEM_ROLLED_BACK, ITEM_ACKNOWLEDGED };

struct item {
    struct run *run;
    int64_t id;
    struct env_job job;
    struct db_tx tx;
    enum item_state state;
};

struct run {
    struct db *db;
    bool migrated;
    struct item items[ITEMS];
};

static const struct db_migration migrations[] = {
    {1, "0001_a.sql", SLICE("CREATE TABLE a(id INTEGER PRIMARY KEY, text TEXT NOT NULL)")},
    {2, "0002_b.sql",
    SLICE("CREATE TABLE b(id INTEGER PRIMARY KEY, text TEXT NOT NULL); CREATE INDEX b_text ON b(text)")},
};

static void *run_new(uint64_t seed)
{
    (void)seed;
    return mem_zalloc(sizeof(struct run));
}

static void committed(void *arg, enum ficus_err err, const char *detail)
{
    struct item *it = arg;
    (void)detail;
    if (err == FICUS_ERR_OK)
        it->state = ITEM_ACKNOWLEDGED;
}

/* The two halves that belong together, some hundred bytes each so that pages split and the WAL is checkpointed. */
static void item_work(void *arg)
{
    struct item *it = arg;
    it->tx = (struct db_tx){.committed = committed, .arg = it};
    if (db_tx_begin(it->run->db, &it->tx, 0, NULL) != FICUS_ERR_OK)
        return;
    struct db_conn *c = db_tx_conn(&it->tx);
    enum ficus_err err = db_exec(c, NULL, "INSERT INTO a VALUES(?1, printf('%0400d', ?1))", "i", it->id);
    if (err == FICUS_ERR_OK)
        err = db_exec(c, NULL, "INSERT INTO b VALUES(?1, printf('%0300d', ?1))", "i", it->id);
    if (err == FICUS_ERR_OK && it->id % ROLLBACK_EACH != 0) {
        db_tx_commit(&it->tx);
        return;
    }
    if (err == FICUS_ERR_OK)
        it->state = ITEM_ROLLED_BACK;
    db_tx_rollback(&it->tx);
}

static enum ficus_err open_db(struct crash_env *ce, struct db **ret_db, struct ficus_error *reterr)
{
    struct db_options o = {.path = "data/t.db", .checkpoint_pages = 8, .group_count_max = 5};
    return db_open(crash_env(ce), &o, ret_db, reterr);
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct ficus_error e;
    if (open_db(ce, &r->db, &e) != FICUS_ERR_OK)
        return;
    r->migrated = db_migrate(r->db, "app", migrations, 2, &e) == FICUS_ERR_OK;
    for (int64_t i = 0; r->migrated && i < ITEMS; i++) {
        struct item *it = &r->items[i];
        *it = (struct item){.run = r, .id = i + 1, .job = {.work = item_work, .arg = it}};
        assert_int_equal(env_run(crash_env(ce), &it->job), FICUS_ERR_OK);
    }
    crash_env_run(ce);
    db_close(r->db);
}

static void check_item(struct db *db, const struct item *it, int64_t id)
{
    int64_t a = db_ask(db, "SELECT count(*) FROM a WHERE id = ?1 AND text = printf('%0400d', ?1)", id);
    int64_t b = db_ask(db, "SELECT count(*) FROM b WHERE id = ?1 AND text = printf('%0300d', ?1)", id);
    if (a == -1 || b == -1)
        return;
    assert_int_equal(a, b);
    if (it->state == ITEM_ACKNOWLEDGED)
        assert_int_equal(a, 1);
    if (it->state == ITEM_ROLLED_BACK)
        assert_int_equal(a, 0);
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct db *db = NULL;
    struct ficus_error e;
    enum ficus_err err = open_db(ce, &db, &e);
    if (err == FICUS_ERR_IO)
        return false;
    if (err != FICUS_ERR_OK)
        fail_msg("open after the crash: %s", e.text);
    /* what was cut short is finished */
    err = db_migrate(db, "app", migrations, 2, &e);
    int64_t sound = db_ask(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'", 0);
    bool alive = err == FICUS_ERR_OK && sound != -1;
    if (alive) {
        assert_int_equal(sound, 1);
        for (int64_t i = 0; i < ITEMS; i++)
            check_item(db, &r->items[i], i + 1);
    } else if (err != FICUS_ERR_OK && err != FICUS_ERR_IO) {
        fail_msg("migrate after the crash: %s", e.text);
    }
    db_close(db);
    return alive;
}

/* Crash after every single operation on the disk, in every way. */
static void test_tx_durable(void **state)
{
    (void)state;
    static const struct crash_case cc = {run_new, mem_free, run_work, run_check};
    crash_sweep(&cc, "db_tx");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tx_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
