/* SPDX-License-Identifier: Apache-2.0
 *
 * A projection for tests, "sums": of each stream how many events it has and the position of the last; version 2 also adds
 * the positions up. What it must be is asked of the event store in SQL.
 */
#ifndef FICUS_PROJECTION_WORLD_H
#define FICUS_PROJECTION_WORLD_H

#include "outbox.h"
#include "projection.h"

#include <string.h>

#define SUMS_WRONG                                                                                             \
    "(SELECT count(*) FROM (SELECT stream, count(*), max(position) FROM ficus_store GROUP BY stream EXCEPT"   \
    " SELECT stream, n, last FROM sums))"                                                                      \
    " + (SELECT count(*) FROM (SELECT stream, n, last FROM sums EXCEPT"                                        \
    " SELECT stream, count(*), max(position) FROM ficus_store GROUP BY stream))"
#define SUMS_TOTAL_WRONG "(SELECT count(*) FROM (SELECT stream, sum(position) FROM ficus_store GROUP BY stream EXCEPT SELECT stream, total FROM sums))"

static const char sums_1[] = "CREATE TABLE {sums}(stream TEXT PRIMARY KEY, n INTEGER NOT NULL, last INTEGER NOT NULL) STRICT;"
                             "CREATE INDEX {sums_last} ON {sums}(last);";
static const char sums_2[] = "CREATE TABLE {sums}(stream TEXT PRIMARY KEY, n INTEGER NOT NULL, last INTEGER NOT NULL, total INTEGER NOT NULL) STRICT;"
                             "CREATE TABLE {seen}(position INTEGER PRIMARY KEY) STRICT;";
static const struct projection_def sums_defs[] = {{"sums", 1, sums_1, sums_1}, {"sums", 2, sums_2, sums_2}};

static inline enum ficus_err sums_exec(struct db_conn *c, int64_t generation, const char *sql, const struct estore_event *ev, struct ficus_error *reterr)
{
    struct buf text;
    buf_init(&text, 4096);
    enum ficus_err err = projection_expand(slice_str(sql), generation, &text, reterr);
    if (err == FICUS_ERR_OK)
        err = db_exec(c, reterr, buf_str(&text), strstr(sql, "seen") != NULL ? "i" : "iS", ev->position, ev->stream);
    buf_done(&text);
    return err;
}

static inline enum ficus_err sums_fold(void *arg, struct db_conn *c, const struct projection_def *def, int64_t generation, const struct estore_event *ev,
                                       struct ficus_error *reterr)
{
    const int64_t *refused = arg; /* a position; NULL: none */
    if (refused != NULL && *refused == ev->position)
        return err_set(reterr, FICUS_ERR_INVALID, "it is refused");
    if (def->version == 1)
        return sums_exec(c, generation, "INSERT INTO {sums}(last, n, stream) VALUES(?, 1, ?) ON CONFLICT(stream) DO UPDATE SET n = n + 1, last = excluded.last",
                         ev, reterr);
    enum ficus_err err = sums_exec(c, generation,
                                   "INSERT INTO {sums}(last, total, n, stream) VALUES(?1, ?1, 1, ?2)"
                                   " ON CONFLICT(stream) DO UPDATE SET n = n + 1, last = excluded.last, total = total + ?1",
                                   ev, reterr);
    return err == FICUS_ERR_OK ? sums_exec(c, generation, "INSERT INTO {seen}(position) VALUES(?)", ev, reterr) : err;
}

/* defs: of one name, ascending. */
static inline struct projection_set sums_set(const struct projection_def *defs, size_t count, struct projection *name)
{
    name->newest = count == 0 ? NULL : &defs[count - 1];
    return (struct projection_set){.defs = defs, .def_count = count, .names = name, .name_count = count > 0, .fold = sums_fold};
}

static inline enum ficus_err sums_migrate(struct db *db, struct ficus_error *reterr)
{
    enum ficus_err err = db_migrate(db, "ficus_events", events_migrations, events_migration_count, reterr);
    return err != FICUS_ERR_OK ? err : db_migrate(db, "ficus_projections", projection_migrations, projection_migration_count, reterr);
}

/* One transaction: an event of this stream. */
static inline enum ficus_err sums_append(struct db *db, const struct projection_set *set, const char *stream, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    struct estore_event ev = {.stream = slice_str(stream), .type = SLICE("t"), .schema = 1, .data = SLICE("{}"), .metadata = SLICE("{}")};
    enum ficus_err err = db_tx_begin(db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = estore_append(db_tx_conn(&tx), ESTORE_ANY, &ev, reterr);
    if (err == FICUS_ERR_OK)
        err = projection_append(set, db_tx_conn(&tx), &ev, reterr);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

/* One transaction: a step. */
static inline enum ficus_err sums_step(struct db *db, struct env *e, const struct projection_set *set, int64_t count_max, struct projection_step *ret_step,
                                       struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    *ret_step = (struct projection_step){0};
    enum ficus_err err = db_tx_begin(db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = projection_step(set, e, db_tx_conn(&tx), count_max, INT64_MAX, ret_step, reterr);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

#endif
