/* SPDX-License-Identifier: Apache-2.0
 *
 * A log of the first format, a row for each event, for tests that take it over. Header only.
 */
#ifndef FICUS_SIM_ELOG_OLD_H
#define FICUS_SIM_ELOG_OLD_H

#include "db.h"
#include "event.h"

#include <stdio.h>

enum { ELOG_OLD_SUBJECTS = 5 };

static const struct db_migration elog_old_migrations[] = {
    {1, "0001_event.sql",
        SLICE("CREATE TABLE event(offset INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, source TEXT NOT NULL,"
              " id TEXT NOT NULL, subject TEXT, at INTEGER NOT NULL, body TEXT NOT NULL, data_at INTEGER NOT NULL,"
              " UNIQUE(source, id)) STRICT;"
              "CREATE INDEX event_topic ON event(topic, offset);")},
    {2, "0002_keep.sql",
        SLICE("CREATE TABLE kept_topic(topic TEXT PRIMARY KEY, key TEXT NOT NULL) STRICT, WITHOUT ROWID;"
              "CREATE TABLE kept(topic TEXT NOT NULL, key TEXT NOT NULL, offset INTEGER NOT NULL,"
              " PRIMARY KEY(topic, key)) STRICT, WITHOUT ROWID;"
              "CREATE INDEX kept_offset ON kept(offset);"
              "CREATE TABLE cut(topic TEXT PRIMARY KEY, offset INTEGER NOT NULL) STRICT, WITHOUT ROWID;")},
};

static inline enum ficus_err elog_old_create(struct env *e, const char *path, struct db **ret_db, struct ficus_error *reterr)
{
    enum ficus_err err = db_open(e, &(struct db_options){.path = path}, ret_db, reterr);
    return err != FICUS_ERR_OK ? err : db_migrate(*ret_db, "elog", elog_old_migrations, 2, reterr);
}

/* Where the data begins in what event_encode wrote; 0: there is none. */
static inline size_t elog_old_data_at(const struct event *ev, size_t encoded_size)
{
    return ev->data.p == NULL ? 0 : encoded_size - 1 - ev->data.size;
}

/* The event with this number: of topic a, b or kept, from one of two sources, every seventh without data. */
static inline void elog_old_event(int number, struct event *ret_event, char id[16], char subject[16], char data[64])
{
    static const char *const topics[] = {"a", "b", "kept"};
    snprintf(id, 16, "%d", number);
    snprintf(subject, 16, "s%d", number / 3 % ELOG_OLD_SUBJECTS);
    snprintf(data, 64, "{\"number\":%d,\"text\":\"\\\"quoted\\\" \\u00e4\"}", number);
    *ret_event = (struct event){.id = slice_str(id), .source = number % 2 ? SLICE("/odd") : SLICE("/even"), .topic = slice_str(topics[number % 3]),
        .subject = slice_str(subject), .time = SLICE("2026-11-01T10:00:00Z"), .correlation = SLICE("\"c\""),
        .data = number % 7 == 0 ? SLICE_NONE : slice_str(data)};
}

static inline bool elog_old_is(const struct event *ev, int number)
{
    struct event e;
    char id[16], subject[16], data[64];
    elog_old_event(number, &e, id, subject, data);
    return slice_eq(e.id, ev->id) && slice_eq(e.source, ev->source) && slice_eq(e.topic, ev->topic) && slice_eq(e.subject, ev->subject)
        && slice_eq(e.time, ev->time) && slice_eq(e.correlation, ev->correlation) && slice_eq(e.data, ev->data)
        && (e.data.p == NULL) == (ev->data.p == NULL) && ev->causation.p == NULL;
}

/* Events first..first + count - 1 at offsets of their numbers in one transaction; four of them at a time were appended in the same
 * millisecond. */
static inline enum ficus_err elog_old_add(struct db *d, int first, int count, int64_t at, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    struct buf body;
    buf_init(&body, 4096);
    enum ficus_err err = db_tx_begin(d, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    for (int i = 0; i < count && err == FICUS_ERR_OK; i++) {
        struct event ev;
        char id[16], subject[16], data[64];
        elog_old_event(first + i, &ev, id, subject, data);
        buf_clear(&body);
        (void)event_encode(&body, &ev, NULL);
        err = db_exec(db_tx_conn(&tx), reterr, "INSERT INTO event(offset, topic, source, id, subject, at, body, data_at)"
            " VALUES(?, ?, ?, ?, ?, ?, ?, ?)", "iSSSSiSi", (int64_t)(first + i), ev.topic, ev.source, ev.id, ev.subject, at + i / 4, buf_slice(&body),
            (int64_t)elog_old_data_at(&ev, buf_slice(&body).size));
    }
    buf_done(&body);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

#endif
