/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of PostgreSQL, one transaction a batch: one INSERT of so many rows. Consumers LISTEN and then read behind the
 * last id they have; with several writers that would miss rows that commit late, so delivery is measured with one.
 */
#include "broker.h"

#include <poll.h>
#include <postgresql/libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAKE_MS = 1000, READ_COUNT = 1000, SQL_MAX = 4096 };

struct connection {
    PGconn *pg;
    size_t prepared; /* the statement "insert" has so many rows; 0: there is none */
    bool tells;      /* and wakes */
    bool reads;      /* "read" is prepared */
    char last[32];   /* id */
};

static PGresult *checked(struct connection *c, PGresult *r)
{
    ExecStatusType s = PQresultStatus(r);
    if (s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK)
        broker_die("postgres", PQerrorMessage(c->pg));
    return r;
}

static void run(struct connection *c, const char *sql)
{
    PQclear(checked(c, PQexec(c->pg, sql)));
}

static void *postgres_open(const char *to)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        broker_die("postgres", "out of memory");
    c->pg = PQconnectdb(to);
    if (PQstatus(c->pg) != CONNECTION_OK)
        broker_die("postgres", PQerrorMessage(c->pg));
    return c;
}

static void postgres_close(void *connection)
{
    struct connection *c = connection;
    PQfinish(c->pg);
    free(c);
}

static void postgres_prepare(void *connection)
{
    run(connection, "SET client_min_messages TO error");
    run(connection, "DROP TABLE IF EXISTS message");
    run(connection, "CREATE TABLE message(id bigserial PRIMARY KEY, d bytea NOT NULL)");
}

static void prepare_insert(struct connection *c, size_t count, bool tell)
{
    char sql[SQL_MAX];
    int at = snprintf(sql, sizeof sql, "%sINSERT INTO message(d) VALUES ", tell ? "WITH i AS (" : "");
    for (size_t i = 1; i <= count; i++)
        at += snprintf(sql + at, sizeof sql - (size_t)at, "%s($%zu)", i > 1 ? "," : "", i);
    if (tell)
        snprintf(sql + at, sizeof sql - (size_t)at, " RETURNING 1) SELECT pg_notify('bench', '') FROM i LIMIT 1");
    if (c->prepared > 0)
        run(c, "DEALLOCATE insert");
    PQclear(checked(c, PQprepare(c->pg, "insert", sql, (int)count, NULL)));
    c->prepared = count;
    c->tells = tell;
}

static void postgres_publish(void *connection, const char *messages, size_t count, bool tell)
{
    struct connection *c = connection;
    const char *values[BATCH_MAX];
    int sizes[BATCH_MAX], binary[BATCH_MAX];
    if (c->prepared != count || c->tells != tell)
        prepare_insert(c, count, tell);
    for (size_t i = 0; i < count; i++) {
        values[i] = messages + i * MESSAGE_SIZE;
        sizes[i] = MESSAGE_SIZE;
        binary[i] = 1;
    }
    PQclear(checked(c, PQexecPrepared(c->pg, "insert", (int)count, values, sizes, binary, 1)));
}

static void postgres_subscribe(void *connection, bool from_first)
{
    struct connection *c = connection;
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT id, d FROM message WHERE id > $1::bigint ORDER BY id LIMIT %d", READ_COUNT);
    run(c, "LISTEN bench");
    PQclear(checked(c, PQprepare(c->pg, "read", sql, 1, NULL)));
    snprintf(c->last, sizeof c->last, "0");
    if (!from_first) {
        PGresult *r = checked(c, PQexec(c->pg, "SELECT coalesce(max(id), 0) FROM message"));
        snprintf(c->last, sizeof c->last, "%s", PQgetvalue(r, 0, 0));
        PQclear(r);
    }
}

static void wait_notified(struct connection *c)
{
    struct pollfd p = {.fd = PQsocket(c->pg), .events = POLLIN};
    PGnotify *n = PQnotifies(c->pg);
    if (n == NULL && poll(&p, 1, TAKE_MS) > 0 && PQconsumeInput(c->pg) == 0)
        broker_die("postgres", PQerrorMessage(c->pg));
    while (n != NULL || (n = PQnotifies(c->pg)) != NULL) {
        PQfreemem(n);
        n = NULL;
    }
}

/* Rows in binary form: an id in network order, and the message. */
static size_t take_rows(struct connection *c, broker_message fn, void *arg)
{
    const char *values[] = {c->last};
    PGresult *r = checked(c, PQexecPrepared(c->pg, "read", 1, values, NULL, NULL, 1));
    int count = PQntuples(r);
    for (int i = 0; i < count; i++) {
        if (PQgetlength(r, i, 1) != MESSAGE_SIZE)
            broker_die("postgres", "a message of another size");
        fn(arg, PQgetvalue(r, i, 1));
    }
    if (count > 0) {
        const unsigned char *p = (const unsigned char *)PQgetvalue(r, count - 1, 0);
        unsigned long long id = 0;
        for (int i = 0; i < 8; i++)
            id = id << 8 | p[i];
        snprintf(c->last, sizeof c->last, "%llu", id);
    }
    PQclear(r);
    return (size_t)count;
}

static size_t postgres_take(void *connection, broker_message fn, void *arg)
{
    size_t count = take_rows(connection, fn, arg);
    if (count == 0) {
        wait_notified(connection);
        count = take_rows(connection, fn, arg);
    }
    return count;
}

const struct broker broker_postgres = {
    .name = "postgres",
    .open = postgres_open,
    .close = postgres_close,
    .prepare = postgres_prepare,
    .publish = postgres_publish,
    .subscribe = postgres_subscribe,
    .take = postgres_take,
};
