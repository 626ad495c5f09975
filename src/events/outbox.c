/* SPDX-License-Identifier: Apache-2.0 */
#include "outbox.h"

const struct db_migration events_migrations[] = {
    {1, "0001_outbox_inbox.sql",
        SLICE("CREATE TABLE ficus_outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL) STRICT;"
              "CREATE TABLE ficus_inbox(consumer TEXT PRIMARY KEY, next_offset INTEGER NOT NULL,"
              " attempts INTEGER NOT NULL) STRICT;")},
    {2, "0002_dead.sql",
        SLICE("CREATE TABLE ficus_dead(seq INTEGER PRIMARY KEY, source TEXT NOT NULL, id TEXT NOT NULL, UNIQUE(source, id)) STRICT;")},
    {3, "0003_store.sql", /* estore.h */
        SLICE("CREATE TABLE ficus_store(position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL, type TEXT NOT NULL,"
              " schema INTEGER NOT NULL, time INTEGER NOT NULL, data TEXT NOT NULL, metadata TEXT NOT NULL, hash BLOB NOT NULL,"
              " UNIQUE(stream, version)) STRICT;"
              "CREATE TABLE ficus_store_head(one INTEGER PRIMARY KEY CHECK(one = 1), position INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;"
              "INSERT INTO ficus_store_head(one, position, hash) VALUES(1, 0, zeroblob(32));"
              DB_STORE_IMPORT_SQL
              "CREATE TABLE ficus_store_snapshot(stream TEXT NOT NULL, version INTEGER NOT NULL, schema INTEGER NOT NULL,"
              " data TEXT NOT NULL, seal TEXT NOT NULL, PRIMARY KEY(stream, version)) STRICT;")},
};
const size_t events_migration_count = sizeof events_migrations / sizeof *events_migrations;

/* Whoever writes has the one writer's turn until the commit, so seq ascends in the order of commits. */
enum ficus_err outbox_add(struct db_conn *c, const struct event *ev, struct ficus_error *reterr)
{
    /* an event that the log would refuse would stop all that come after it */
    enum ficus_err err = event_check(ev, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct event fresh = *ev;
    fresh.offset = 0;
    struct buf b;
    buf_init(&b, EVENT_SIZE_MAX);
    err = event_encode(&b, &fresh, reterr);
    if (err == FICUS_ERR_OK)
        err = db_exec(c, reterr, "INSERT INTO ficus_outbox(event) VALUES(?)", "S", buf_slice(&b));
    buf_done(&b);
    return err;
}
