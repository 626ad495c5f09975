/* SPDX-License-Identifier: Apache-2.0
 *
 * What a program gets that keeps its messages itself: SQLite in its own process, WAL, synchronous=FULL, one
 * transaction a batch, one table without any index. It has no consumers that wait; what is stored can be read.
 */
#include "broker.h"

#include <sqlite3.h>
#include <stdlib.h>

struct connection {
    sqlite3 *db;
    sqlite3_stmt *begin, *insert, *commit, *read;
};

static void check(struct connection *c, int code, int wanted)
{
    if (code != wanted)
        broker_die("sqlite", sqlite3_errmsg(c->db));
}

static sqlite3_stmt *statement(struct connection *c, const char *sql)
{
    sqlite3_stmt *s = NULL;
    check(c, sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL), SQLITE_OK);
    return s;
}

static void run(struct connection *c, const char *sql)
{
    check(c, sqlite3_exec(c->db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* to: the path of the file. */
static void *sqlite_open(const char *to)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        broker_die("sqlite", "out of memory");
    check(c, sqlite3_open(to, &c->db), SQLITE_OK);
    run(c, "PRAGMA journal_mode=WAL");
    run(c, "PRAGMA synchronous=FULL");
    return c;
}

static void sqlite_close(void *connection)
{
    struct connection *c = connection;
    sqlite3_finalize(c->begin);
    sqlite3_finalize(c->insert);
    sqlite3_finalize(c->commit);
    sqlite3_finalize(c->read);
    sqlite3_close(c->db);
    free(c);
}

static void sqlite_prepare(void *connection)
{
    run(connection, "DROP TABLE IF EXISTS message");
    run(connection, "CREATE TABLE message(id INTEGER PRIMARY KEY, d BLOB NOT NULL)");
}

static void step(struct connection *c, sqlite3_stmt *s)
{
    check(c, sqlite3_step(s), SQLITE_DONE);
    check(c, sqlite3_reset(s), SQLITE_OK);
}

static void sqlite_publish(void *connection, const char *messages, size_t count, bool tell)
{
    struct connection *c = connection;
    (void)tell;
    if (c->insert == NULL) {
        c->begin = statement(c, "BEGIN IMMEDIATE");
        c->insert = statement(c, "INSERT INTO message(d) VALUES(?)");
        c->commit = statement(c, "COMMIT");
    }
    if (count > 1)
        step(c, c->begin);
    for (size_t i = 0; i < count; i++) {
        check(c, sqlite3_bind_blob(c->insert, 1, messages + i * MESSAGE_SIZE, MESSAGE_SIZE, SQLITE_STATIC), SQLITE_OK);
        step(c, c->insert);
    }
    if (count > 1)
        step(c, c->commit);
}

static void sqlite_subscribe(void *connection, bool from_first)
{
    struct connection *c = connection;
    if (!from_first)
        broker_die("sqlite", "nobody is told of what comes");
    c->read = statement(c, "SELECT d FROM message ORDER BY id");
}

static size_t sqlite_take(void *connection, broker_message fn, void *arg)
{
    struct connection *c = connection;
    int code = sqlite3_step(c->read);
    if (code == SQLITE_DONE)
        return 0;
    check(c, code, SQLITE_ROW);
    fn(arg, sqlite3_column_blob(c->read, 0));
    return 1;
}

const struct broker broker_sqlite = {
    .name = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .prepare = sqlite_prepare,
    .publish = sqlite_publish,
    .subscribe = sqlite_subscribe,
    .take = sqlite_take,
};
