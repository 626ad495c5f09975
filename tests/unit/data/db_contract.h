/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract of a service's database (data/db.h) as tests, for every engine behind it: SQLite today, PostgreSQL when it
 * comes. A test file opens an empty database, puts a struct db_contract behind cmocka's state and runs DB_CONTRACT_TESTS.
 * The SQL is what engines have in common, with types of their own names; what only a file has (damage, a full disk, one
 * owner) is asked in the engine's own tests.
 */
#ifndef FICUS_TESTS_DB_CONTRACT_H
#define FICUS_TESTS_DB_CONTRACT_H

#include "db.h"
#include "mem.h"

struct db_contract {
    struct db *db;
    const char *name;           /* of the database, as errors have to say it */
    const char *blob;           /* the type of bytes: BLOB, BYTEA */
    /* private below */
    struct ficus_error error;
    int told;
    enum ficus_err told_err;
};

static inline void db_contract_must(struct db_contract *c, enum ficus_err err)
{
    if (err != FICUS_ERR_OK)
        fail_msg("%s: %s", err_text(err), c->error.text);
}

/* One committed transaction around one statement. */
static inline enum ficus_err db_contract_write(struct db_contract *c, const char *sql)
{
    struct db_tx tx = {0};
    db_contract_must(c, db_tx_begin(c->db, &tx, 0, &c->error));
    enum ficus_err err = db_exec(db_tx_conn(&tx), &c->error, sql, "");
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, &c->error);
    db_tx_rollback(&tx);
    return err;
}

static inline int64_t db_contract_number(struct db_contract *c, struct db_conn *conn, const char *sql)
{
    struct db_stmt *s = NULL;
    db_contract_must(c, db_query(conn, &s, &c->error, sql, ""));
    assert_int_equal(db_step(s, &c->error), 1);
    int64_t n = db_i64(s, 0);
    db_finish(s);
    return n;
}

static inline int64_t db_contract_ask(struct db_contract *c, const char *sql)
{
    struct db_conn *conn = NULL;
    db_contract_must(c, db_reader_take(c->db, &conn, &c->error));
    int64_t n = db_contract_number(c, conn, sql);
    db_reader_give(c->db, conn);
    return n;
}

/* ---- values, statements, errors ---- */

/* Every kind of value comes back as it was bound; nothing and an empty value are two things. */
static inline void db_contract_test_values(void **state)
{
    struct db_contract *c = *state;
    char sql[256];
    snprintf(sql, sizeof sql, "CREATE TABLE t(a BIGINT, b TEXT, c TEXT, d %1$s, e TEXT, f TEXT, g %1$s)", c->blob);
    db_contract_must(c, db_contract_write(c, sql));
    struct db_tx tx = {0};
    db_contract_must(c, db_tx_begin(c->db, &tx, 0, &c->error));
    struct db_conn *conn = db_tx_conn(&tx);
    db_contract_must(c, db_exec(conn, &c->error, "INSERT INTO t VALUES(?, ?, ?, ?, ?, ?, ?)", "isSbnsb", (int64_t)INT64_MIN, "text",
                                SLICE("sl\xc3\xa4ice"), SLICE("\0\1blob"), NULL, SLICE("")));
    assert_int_equal(db_changes(conn), 1);
    struct db_stmt *s = NULL;
    db_contract_must(c, db_query(conn, &s, &c->error, "SELECT * FROM t WHERE a = ?", "i", (int64_t)INT64_MIN));
    assert_int_equal(db_step(s, &c->error), 1);
    assert_int_equal(db_column_count(s), 7);
    assert_string_equal(db_column_name(s, 6), "g");
    assert_true(db_i64(s, 0) == INT64_MIN);
    assert_true(slice_eq(db_text(s, 1), SLICE("text")));
    assert_true(slice_eq(db_text(s, 2), SLICE("sl\xc3\xa4ice")));
    assert_true(slice_eq(db_blob(s, 3), SLICE("\0\1blob")));
    assert_true(db_is_null(s, 4));
    assert_null(db_text(s, 4).p);
    assert_true(db_is_null(s, 5));
    assert_non_null(db_blob(s, 6).p);
    assert_int_equal(db_blob(s, 6).size, 0);
    assert_int_equal(db_step(s, &c->error), 0);
    db_finish(s);
    db_contract_must(c, db_tx_commit_wait(&tx, &c->error));
}

/* Several statements are open at once on one connection, each with its own place, also twice the same. */
static inline void db_contract_test_open_statements(void **state)
{
    struct db_contract *c = *state;
    enum { OPEN = 3, ROWS = 5 };
    struct db_stmt *s[OPEN];
    struct db_conn *conn = NULL;
    db_contract_must(c, db_contract_write(c, "CREATE TABLE t(id BIGINT PRIMARY KEY)"));
    db_contract_must(c, db_contract_write(c, "INSERT INTO t VALUES(0), (1), (2), (3), (4)"));
    db_contract_must(c, db_reader_take(c->db, &conn, &c->error));
    for (int i = 0; i < OPEN; i++)
        db_contract_must(c, db_query(conn, &s[i], &c->error, "SELECT id FROM t WHERE id >= ? ORDER BY id", "i", (int64_t)i));
    for (int row = 0; row <= ROWS; row++)
        for (int i = 0; i < OPEN && row + i <= ROWS; i++) {
            bool there = row + i < ROWS;
            assert_int_equal(db_step(s[i], &c->error), there);
            if (there)
                assert_int_equal(db_i64(s[i], 0), row + i);
        }
    for (int i = 0; i < OPEN; i++)
        db_finish(s[i]);
    db_reader_give(c->db, conn);
}

/* A taken key says EXISTS, any other constraint CONFLICT, wrong SQL INVALID; each error names the database or the fault, and
 * nothing of the transaction is kept. */
static inline void db_contract_test_error_codes(void **state)
{
    struct db_contract *c = *state;
    db_contract_must(c, db_contract_write(c, "CREATE TABLE t(id BIGINT PRIMARY KEY, u TEXT UNIQUE, n BIGINT CHECK(n > 0))"));
    db_contract_must(c, db_contract_write(c, "INSERT INTO t VALUES(1, 'a', 1)"));
    assert_int_equal(db_contract_write(c, "INSERT INTO t VALUES(1, 'b', 1)"), FICUS_ERR_EXISTS);
    assert_int_equal(db_contract_write(c, "INSERT INTO t VALUES(2, 'a', 1)"), FICUS_ERR_EXISTS);
    assert_int_equal(db_contract_write(c, "INSERT INTO t VALUES(3, 'c', 0)"), FICUS_ERR_CONFLICT);
    assert_non_null(strstr(c->error.text, c->name));
    assert_int_equal(db_contract_write(c, "INSERT INTO nowhere VALUES(3)"), FICUS_ERR_INVALID);
    assert_int_equal(db_contract_write(c, "SELECT ?"), FICUS_ERR_INVALID);
    assert_non_null(strstr(c->error.text, "1 parameters"));
    assert_int_equal(db_contract_write(c, ""), FICUS_ERR_INVALID);
    assert_int_equal(db_contract_ask(c, "SELECT count(*) FROM t"), 1);
}

/* A reader cannot write. */
static inline void db_contract_test_reader_writes(void **state)
{
    struct db_contract *c = *state;
    db_contract_must(c, db_contract_write(c, "CREATE TABLE t(a BIGINT)"));
    struct db_conn *conn = NULL;
    db_contract_must(c, db_reader_take(c->db, &conn, &c->error));
    assert_int_equal(db_exec(conn, &c->error, "INSERT INTO t VALUES(1)", ""), FICUS_ERR_READ_ONLY);
    db_reader_give(c->db, conn);
}

/* ---- transactions ---- */

/* What a snapshot reads is of one moment; without it each statement sees the latest commit. */
static inline void db_contract_test_snapshot(void **state)
{
    struct db_contract *c = *state;
    struct db_conn *old = NULL, *fresh = NULL;
    db_contract_must(c, db_contract_write(c, "CREATE TABLE t(a BIGINT)"));
    db_contract_must(c, db_reader_take(c->db, &old, &c->error));
    db_contract_must(c, db_reader_take(c->db, &fresh, &c->error));
    db_contract_must(c, db_reader_snapshot(old, &c->error));
    assert_int_equal(db_contract_number(c, old, "SELECT count(*) FROM t"), 0);
    assert_int_equal(db_contract_number(c, fresh, "SELECT count(*) FROM t"), 0);
    db_contract_must(c, db_contract_write(c, "INSERT INTO t VALUES(1)"));
    assert_int_equal(db_contract_number(c, old, "SELECT count(*) FROM t"), 0);
    assert_int_equal(db_contract_number(c, fresh, "SELECT count(*) FROM t"), 1);
    db_reader_give(c->db, old);
    db_reader_give(c->db, fresh);
    db_contract_must(c, db_reader_take(c->db, &old, &c->error));
    assert_int_equal(db_contract_number(c, old, "SELECT count(*) FROM t"), 1);
    db_reader_give(c->db, old);
}

static inline void db_contract_on_committed(void *arg, enum ficus_err err, const char *detail)
{
    struct db_contract *c = arg;
    assert_non_null(detail);
    c->told++;
    c->told_err = err;
}

/* A transaction sees what it wrote and nobody else does before its commit, whose end is told once. */
static inline void db_contract_test_commit(void **state)
{
    struct db_contract *c = *state;
    struct db_tx tx = {.committed = db_contract_on_committed, .arg = c};
    db_contract_must(c, db_contract_write(c, "CREATE TABLE t(a BIGINT)"));
    db_contract_must(c, db_tx_begin(c->db, &tx, 0, &c->error));
    db_contract_must(c, db_exec(db_tx_conn(&tx), &c->error, "INSERT INTO t VALUES(1)", ""));
    assert_int_equal(db_contract_number(c, db_tx_conn(&tx), "SELECT count(*) FROM t"), 1);
    assert_int_equal(db_contract_ask(c, "SELECT count(*) FROM t"), 0);
    db_contract_must(c, db_tx_check(&tx, &c->error));
    db_tx_commit(&tx);          /* nobody else is in its group: it is through */
    assert_int_equal(c->told, 1);
    assert_int_equal(c->told_err, FICUS_ERR_OK);
    assert_int_equal(db_contract_ask(c, "SELECT count(*) FROM t"), 1);
    db_contract_must(c, db_tx_begin(c->db, &tx, 0, &c->error));
    db_contract_must(c, db_exec(db_tx_conn(&tx), &c->error, "DELETE FROM t", ""));
    db_tx_rollback(&tx);
    assert_int_equal(c->told, 1);
    assert_int_equal(db_contract_ask(c, "SELECT count(*) FROM t"), 1);
}

/* A deferred foreign key may be broken within a transaction, is told when one asks, and refuses the commit. */
static inline void db_contract_test_deferred_key(void **state)
{
    struct db_contract *c = *state;
    struct db_tx tx = {0};
    db_contract_must(c, db_contract_write(c, "CREATE TABLE p(id BIGINT PRIMARY KEY)"));
    db_contract_must(c, db_contract_write(c, "CREATE TABLE t(p BIGINT REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)"));
    assert_int_equal(db_contract_write(c, "INSERT INTO t VALUES(99)"), FICUS_ERR_CONFLICT);
    db_contract_must(c, db_tx_begin(c->db, &tx, 0, &c->error));
    db_contract_must(c, db_exec(db_tx_conn(&tx), &c->error, "INSERT INTO t VALUES(7)", ""));
    assert_int_equal(db_tx_check(&tx, &c->error), FICUS_ERR_CONFLICT);
    db_contract_must(c, db_exec(db_tx_conn(&tx), &c->error, "INSERT INTO p VALUES(7)", ""));
    db_contract_must(c, db_tx_check(&tx, &c->error));
    db_contract_must(c, db_tx_commit_wait(&tx, &c->error));
    assert_int_equal(db_contract_ask(c, "SELECT p FROM t"), 7);
}

/* ---- migrations ---- */

static const struct db_migration db_contract_good[] = {
    {1, "0001_t.sql", SLICE("CREATE TABLE t(a BIGINT); INSERT INTO t VALUES(1);")},
    {2, "0002_more.sql", SLICE("INSERT INTO t VALUES(10);")},
    {3, "0003_most.sql", SLICE("ALTER TABLE t ADD COLUMN b BIGINT; INSERT INTO t VALUES(100, 2);")},
};

/* Each migration runs once, however often and in however many steps it is asked for; sets do not know each other. */
static inline void db_contract_test_migrations(void **state)
{
    struct db_contract *c = *state;
    db_contract_must(c, db_migrate(c->db, "app", db_contract_good, 1, &c->error));
    db_contract_must(c, db_migrate(c->db, "app", db_contract_good, 3, &c->error));
    db_contract_must(c, db_migrate(c->db, "app", db_contract_good, 3, &c->error));
    assert_int_equal(db_contract_ask(c, "SELECT sum(a) FROM t"), 111);
    static const struct db_migration other[] = {{1, "0001_o.sql", SLICE("CREATE TABLE o(a BIGINT)")}};
    db_contract_must(c, db_migrate(c->db, "chassis", other, 1, &c->error));
    assert_int_equal(db_contract_ask(c, "SELECT count(*) FROM ficus_migrations"), 4);
}

/* A gap, a changed text and a newer database are refused, each by its own code and by name. */
static inline void db_contract_test_migrations_refused(void **state)
{
    struct db_contract *c = *state;
    const struct db_migration *good = db_contract_good;
    const struct db_migration gap[] = {good[0], good[2]};
    assert_int_equal(db_migrate(c->db, "app", gap, 2, &c->error), FICUS_ERR_INVALID);
    db_contract_must(c, db_migrate(c->db, "app", good, 2, &c->error));
    struct db_migration changed[] = {good[0], good[1]};
    changed[1].sql = SLICE("INSERT INTO t VALUES(11);");
    assert_int_equal(db_migrate(c->db, "app", changed, 2, &c->error), FICUS_ERR_CONFLICT);
    assert_non_null(strstr(c->error.text, "0002_more.sql"));
    assert_int_equal(db_migrate(c->db, "app", good, 1, &c->error), FICUS_ERR_VERSION);
    assert_non_null(strstr(c->error.text, "0002_more.sql"));
    assert_int_equal(db_contract_ask(c, "SELECT sum(a) FROM t"), 11);
}

/* A migration that fails in its middle leaves nothing of itself, and those before it stay; none can end its transaction. */
static inline void db_contract_test_migration_fails(void **state)
{
    struct db_contract *c = *state;
    const struct db_migration bad[] = {db_contract_good[0], {2, "0002_bad.sql", SLICE("INSERT INTO t VALUES(5);\nINSERT INTO missing VALUES(1);")}};
    assert_int_equal(db_migrate(c->db, "app", bad, 2, &c->error), FICUS_ERR_INVALID);
    assert_non_null(strstr(c->error.text, "0002_bad.sql"));
    assert_int_equal(db_contract_ask(c, "SELECT sum(a) FROM t"), 1);
    const struct db_migration ends[] = {db_contract_good[0], {2, "0002_bad.sql", SLICE("INSERT INTO t VALUES(5); COMMIT;")}};
    assert_int_equal(db_migrate(c->db, "app", ends, 2, &c->error), FICUS_ERR_DENIED);
    assert_int_equal(db_contract_ask(c, "SELECT sum(a) FROM t"), 1);
    db_contract_must(c, db_migrate(c->db, "app", db_contract_good, 3, &c->error));
    assert_int_equal(db_contract_ask(c, "SELECT sum(a) FROM t"), 111);
}

#define DB_CONTRACT_TESTS(setup, teardown)                                                 \
    cmocka_unit_test_setup_teardown(db_contract_test_values, setup, teardown),             \
        cmocka_unit_test_setup_teardown(db_contract_test_open_statements, setup, teardown), \
        cmocka_unit_test_setup_teardown(db_contract_test_error_codes, setup, teardown),    \
        cmocka_unit_test_setup_teardown(db_contract_test_reader_writes, setup, teardown),  \
        cmocka_unit_test_setup_teardown(db_contract_test_snapshot, setup, teardown),       \
        cmocka_unit_test_setup_teardown(db_contract_test_commit, setup, teardown),         \
        cmocka_unit_test_setup_teardown(db_contract_test_deferred_key, setup, teardown),   \
        cmocka_unit_test_setup_teardown(db_contract_test_migrations, setup, teardown),     \
        cmocka_unit_test_setup_teardown(db_contract_test_migrations_refused, setup, teardown), \
        cmocka_unit_test_setup_teardown(db_contract_test_migration_fails, setup, teardown)

#endif
