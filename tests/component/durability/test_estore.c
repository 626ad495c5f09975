/* SPDX-License-Identifier: Apache-2.0
 *
 * Durable writer 4, the event store: after any crash every acknowledged event is there and whole, of each transaction
 * all or none, and the chain is intact; what a migration left to be added is added once, by whichever start gets so far.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db_ask.h"
#include "estore.h"
#include "mem.h"
#include "outbox.h"

#include <stdio.h>

enum { ITEMS = 30, ROLLBACK_EACH = 7, IMPORTED = 40, PAIR = 2 };

struct item {
    struct run *run;
    int64_t id;
    struct env_job job;
    struct db_tx tx;
    bool acknowledged, rolled_back;
};

struct run {
    struct db *db;
    bool left; /* the rows for import were acknowledged */
    struct item items[ITEMS];
};

static void *run_new(uint64_t seed)
{
    (void)seed;
    return mem_zalloc(sizeof(struct run));
}

static enum ficus_err open_store(struct crash_env *ce, struct db **ret_db, struct ficus_error *reterr)
{
    struct db_options o = {.path = "data/t.db", .checkpoint_pages = 8, .group_count_max = 5};
    enum ficus_err err = db_open(crash_env(ce), &o, ret_db, reterr);
    return err != FICUS_ERR_OK ? err : db_migrate(*ret_db, "ficus_events", events_migrations, events_migration_count, reterr);
}

/* What a migration of a service would do. */
static bool leave(struct db *db)
{
    static const char sql[] = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO"
                              " ficus_store_import(stream, type, time, data) SELECT 'old-' || i, 'imported', i, printf('\"%0200d\"', i) FROM n";
    struct db_tx tx = {0};
    if (db_tx_begin(db, &tx, 0, NULL) != FICUS_ERR_OK)
        return false;
    if (db_exec(db_tx_conn(&tx), NULL, sql, "") == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, NULL) == FICUS_ERR_OK;
    db_tx_rollback(&tx);
    return false;
}

static void committed(void *arg, enum ficus_err err, const char *detail)
{
    struct item *it = arg;
    (void)detail;
    it->acknowledged = err == FICUS_ERR_OK;
}

static enum ficus_err add(struct db_conn *c, int64_t id)
{
    char stream[24], data[400];
    (void)snprintf(stream, sizeof stream, "s-%lld", (long long)id);
    (void)snprintf(data, sizeof data, "\"%0300d\"", (int)id);
    struct estore_event ev = {.stream = slice_str(stream), .type = SLICE("t"), .schema = 1, .data = slice_str(data), .metadata = SLICE("{}")};
    enum ficus_err err = estore_append(c, 0, &ev, NULL);
    return err != FICUS_ERR_OK ? err : estore_append(c, 1, &ev, NULL);
}

static void item_work(void *arg)
{
    struct item *it = arg;
    it->tx = (struct db_tx){.committed = committed, .arg = it};
    if (db_tx_begin(it->run->db, &it->tx, 0, NULL) != FICUS_ERR_OK)
        return;
    enum ficus_err err = add(db_tx_conn(&it->tx), it->id);
    it->rolled_back = err == FICUS_ERR_OK && it->id % ROLLBACK_EACH == 0;
    if (err == FICUS_ERR_OK && !it->rolled_back)
        db_tx_commit(&it->tx);
    else
        db_tx_rollback(&it->tx);
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct ficus_error e;
    bool ready = open_store(ce, &r->db, &e) == FICUS_ERR_OK && (r->left = leave(r->db)) && estore_import(r->db, &e) == FICUS_ERR_OK;
    for (int64_t i = 0; ready && i < ITEMS; i++) {
        struct item *it = &r->items[i];
        *it = (struct item){.run = r, .id = i + 1, .job = {.work = item_work, .arg = it}};
        assert_int_equal(env_run(crash_env(ce), &it->job), FICUS_ERR_OK);
    }
    crash_env_run(ce);
    db_close(r->db);
}

/* False: the disk died again. */
static bool check_chain(struct db *db)
{
    struct estore_check check = {0};
    struct db_conn *c = NULL;
    struct ficus_error e;
    if (db_reader_take(db, &c, NULL) != FICUS_ERR_OK)
        return false;
    enum ficus_err err = estore_verify(c, 100000, &check, &e);
    db_reader_give(db, c);
    if (err != FICUS_ERR_OK)
        return false;
    if (check.finding_count > 0)
        fail_msg("%s %lld: %s", estore_fault_names[check.findings[0].fault], (long long)check.findings[0].position, check.findings[0].text);
    assert_true(check.is_done);
    return true;
}

static void check_item(struct db *db, const struct item *it, int64_t id)
{
    int64_t n = db_ask(db, "SELECT count(*) FROM ficus_store WHERE stream = 's-' || ?1 AND data = printf('\"%0300d\"', ?1)", id);
    if (n == -1)
        return;
    assert_true(n == 0 || n == PAIR);
    if (it->acknowledged)
        assert_int_equal(n, PAIR);
    if (it->rolled_back)
        assert_int_equal(n, 0);
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct db *db = NULL;
    struct ficus_error e;
    enum ficus_err err = open_store(ce, &db, &e);
    if (err == FICUS_ERR_OK)
        err = estore_import(db, &e);
    if (err != FICUS_ERR_OK && err != FICUS_ERR_IO)
        fail_msg("open after the crash: %s", e.text);
    int64_t imported = err == FICUS_ERR_OK ? db_ask(db, "SELECT count(*) FROM ficus_store WHERE type = 'imported'", 0) : -1;
    bool alive = imported != -1 && check_chain(db);
    if (alive) {
        assert_true(imported == IMPORTED || (imported == 0 && !r->left));
        for (size_t i = 0; i < ITEMS; i++)
            check_item(db, &r->items[i], (int64_t)i + 1);
    }
    db_close(db);
    return alive;
}

/* Crash after every single operation on the disk, in every way. */
static void test_estore_durable(void **state)
{
    static const struct crash_case cc = {run_new, mem_free, run_work, run_check};
    crash_sweep(&cc, "event store");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_estore_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
