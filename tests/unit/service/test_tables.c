/* SPDX-License-Identifier: Apache-2.0
 *
 * The chassis's tables and their janitor, on a real file without a loop.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "io_env.h"
#include "service_impl.h"

#include <ficus/store.h>

#include <stdlib.h>
#include <unistd.h>

static struct service v;
static struct service_config config;
static char dir[32], path[64];

static int setup(void **state)
{
    struct ficus_error error = {0};
    memset(&v, 0, sizeof v);
    memset(&config, 0, sizeof config);
    (void)snprintf(dir, sizeof dir, "/tmp/ficus-tab-XXXXXX");
    if (mkdtemp(dir) == NULL || (v.env = env_uv_new(NULL, &error)) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/s.db", dir);
    config.store = path;
    config.workers = 1;
    v.config = &config;
    return tables_open(&v, &error) == FICUS_ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    char file[80];
    db_close(v.db);
    env_uv_free(v.env);
    for (size_t i = 0; i < ARRAY_COUNT(suffixes); i++) {
        (void)snprintf(file, sizeof file, "%s%s", path, suffixes[i]);
        (void)unlink(file);
    }
    const char *name = strrchr(path, '/') + 1;
    (void)snprintf(file, sizeof file, "%s/.%s.made", dir, name);
    (void)unlink(file);
    return rmdir(dir);
}

static void run(const char *sql, int64_t at, int64_t count)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(v.db, &tx, 0, NULL), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), NULL, sql, "ii", at, count), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, NULL), FICUS_ERR_OK);
}

static int64_t count(const char *sql)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    assert_int_equal(db_reader_take(v.db, &c, NULL), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, NULL, sql, ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, NULL), 1);
    int64_t n = db_i64(s, 0);
    db_finish(s);
    db_reader_give(v.db, c);
    return n;
}

/* A database that a newer libficus, or a newer version of the service, has changed is refused with its place. */
static void test_newer(void **state)
{
    static const char *const inserts[] = {
        "INSERT INTO ficus_migrations VALUES('ficus', 1 + ?1, 'n', 'x', 't')",
        "INSERT INTO ficus_migrations VALUES('ficus_events', 98 + ?1, 'n', 'x', 't')",
    };
    for (size_t i = 0; i < ARRAY_COUNT(inserts); i++) {
        struct ficus_error error = {0};
        struct db_tx tx = {0};
        assert_int_equal(db_tx_begin(v.db, &tx, 0, NULL), FICUS_ERR_OK);
        assert_int_equal(db_exec(db_tx_conn(&tx), NULL, inserts[i], "i", (int64_t)1), FICUS_ERR_OK);
        assert_int_equal(db_tx_commit_wait(&tx, NULL), FICUS_ERR_OK);
        db_close(v.db);
        v.db = NULL;
        assert_int_equal(tables_open(&v, &error), FICUS_ERR_VERSION);
        assert_non_null(strstr(error.text, path));
        assert_non_null(strstr(error.text, "run the newer one again"));
        run("DELETE FROM ficus_migrations WHERE name = 'n' AND ?1 = ?2", 1, 1);
    }
}

/* Kept answers older than 48 h go, in small steps; younger ones stay. */
static void test_keys(void **state)
{
    static const char insert[] = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)"
                                 " INSERT INTO ficus_keys(key_hash, scope, body_hash, status, headers, body, at)"
                                 " SELECT CAST(?1 || '/' || i AS BLOB), 's', x'00', 200, '{}', NULL, ?1 FROM n";
    int64_t now = env_wall_ms(v.env), hour = 3600 * 1000;
    run(insert, now - 49 * hour, 700);
    run(insert, now - 25 * hour, 5);
    assert_true(janitor_sweep(&v));
    assert_int_equal(count("SELECT count(*) FROM ficus_keys"), 205);
    assert_false(janitor_sweep(&v));
    assert_int_equal(count("SELECT count(*) FROM ficus_keys"), 5);
}

/* Of the participants' table only what is finished goes, after 30 days; what was done may still have to be undone. */
static void test_steps(void **state)
{
    static const char insert[] =
        "INSERT INTO ficus_steps(kind, id, state, at) SELECT 'k', ?1 || s, s, ?1 FROM"
        " (SELECT 'done' AS s UNION SELECT 'undone' UNION SELECT 'refused' UNION SELECT 'tombstone') WHERE ?2";
    int64_t now = env_wall_ms(v.env), day = (int64_t)24 * 3600 * 1000;
    run(insert, now - 31 * day, 1);
    run(insert, now - 29 * day, 1);
    assert_false(janitor_sweep(&v));
    assert_int_equal(count("SELECT count(*) FROM ficus_steps"), 5);
    assert_int_equal(count("SELECT count(*) FROM ficus_steps WHERE state = 'done'"), 2);
}

static const char *same(struct ficus_req *req, const struct ficus_stored *old)
{
    return old->data;
}

/* Upcasters of a type go from 1 up without gaps, in whatever order they stand in the table; the one that is wrong is
 * named. */
static void test_upcasters(void **state)
{
    static const struct {
        struct ficus_upcaster list[4];
        const char *says; /* NULL: fine */
    } cases[] = {
        {{{NULL}}, NULL},
        {{{"a", 2, same}, {"b", 1, same}, {"a", 1, same}, {NULL}}, NULL},
        {{{"a", 1, same}, {"a", 3, same}, {NULL}}, "type a from 3, but none from 2"},
        {{{"a", 2, same}, {NULL}}, "type a from 2, but none from 1"},
        {{{"a", 1, same}, {"a", 1, same}, {NULL}}, "two upcasters of type a from 1"},
        {{{"a", 0, same}, {NULL}}, "from 1 to"},
        {{{"a", 1, NULL}, {NULL}}, "a function"},
        {{{"a b", 1, same}, {NULL}}, "a valid type"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct ficus_error error = {0};
        enum ficus_err err = store_check_upcasters(cases[i].list, &error);
        assert_int_equal(err, cases[i].says == NULL ? FICUS_ERR_OK : FICUS_ERR_INVALID);
        if (cases[i].says != NULL && strstr(error.text, cases[i].says) == NULL)
            fail_msg("%s", error.text);
    }
}

static char line[LOG_LINE_SIZE_MAX + 1];

static void keep_line(struct env *e, const void *p, size_t size, bool at_once)
{
    (void)e, (void)at_once;
    (void)snprintf(line, sizeof line, "%.*s", (int)size, (const char *)p);
}

/* A statement that takes long is one line: what the program wrote, not what it bound, and the request that it ran for. */
static void test_slow_line(void **state)
{
    static const char sql[] = "WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < 4200000) SELECT count(*) FROM n";
    const struct env_ops *before = v.env->ops;
    struct env_ops ops = *before;
    struct ficus_req r = {.service = &v};
    struct db_stmt *s = NULL;
    memset(r.log.trace.trace_id, 0xab, sizeof r.log.trace.trace_id);
    ops.log_write = keep_line;
    v.env->ops = &ops;
    logger_init(&v.process.log, v.env, "tables", "1", LOG_INFO);
    db_close(v.db);
    config.slow_statement_ms = 1;
    assert_int_equal(tables_open(&v, NULL), FICUS_ERR_OK);
    line[0] = '\0';
    assert_int_equal(request_reader(&r), 0);
    assert_int_equal(db_query(r.reader, &s, NULL, sql, "i", (int64_t)7654), FICUS_ERR_OK);
    assert_int_equal(db_step(s, NULL), 1);
    db_finish(s);
    db_reader_give(v.db, r.reader);
    assert_non_null(strstr(line, "\"event\":\"store.slow\""));
    assert_non_null(strstr(line, "SELECT ? UNION ALL"));
    assert_non_null(strstr(line, "\"rows\":1"));
    assert_non_null(strstr(line, "\"trace\":\"abababab"));
    assert_null(strstr(line, "7654"));
    config.slow_statement_ms = 0;
    db_close(v.db);
    assert_int_equal(tables_open(&v, NULL), FICUS_ERR_OK);
    line[0] = '\0';
    (void)count("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4200000) SELECT count(*) FROM n");
    assert_string_equal(line, "");
    logger_done(&v.process.log);
    v.env->ops = before;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_newer), TEST(test_keys), TEST(test_steps), TEST(test_upcasters), TEST(test_slow_line)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
