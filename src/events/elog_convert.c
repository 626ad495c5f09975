/* SPDX-License-Identifier: Apache-2.0
 *
 * A log of the first format has one row of table event for each event. When it is opened, they become records, a part of them
 * in each transaction, oldest first, and go from the old table in the same one: killed at any point, the next opening goes on
 * where it was. The last transaction drops the table.
 */
#include "elog_private.h"

enum { CONVERT_ROWS = 512, CONVERT_SIZE = 4 * 1024 * 1024 };

struct conversion {
    struct elog *log;
    struct db_conn *conn;
    struct arena arena;         /* of one transaction */
    struct elog_writer writer;
    int64_t last;               /* offset that was taken */
};

static enum ficus_err flush(struct conversion *cv, struct ficus_error *reterr)
{
    if (cv->writer.head.count == 0)
        return FICUS_ERR_OK;
    enum ficus_err err = elog_writer_insert(&cv->writer, cv->conn, reterr);
    if (err == FICUS_ERR_OK)
        err = elog_recent_store(&cv->log->recent, cv->conn, cv->writer.head.last, reterr);
    elog_writer_begin(&cv->writer, 0, 0);
    return err;
}

/* Those of one append have the same time: they become a record, as they would today. */
static enum ficus_err event_take(struct conversion *cv, const struct event *ev, int64_t at, struct ficus_error *reterr)
{
    struct event packed;
    bool ignored = false;
    size_t size = elog_pack_size(ev);
    char *bytes = arena_alloc(&cv->arena, size);
    if (bytes == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
    elog_pack(bytes, ev, &packed);
    bool fits = cv->writer.head.count > 0 && cv->writer.head.at == at && elog_writer_has_room(&cv->writer, size)
        && elog_pack_offset(bytes, cv->writer.head.first, ev->offset);
    enum ficus_err err = fits ? FICUS_ERR_OK : flush(cv, reterr);
    if (err == FICUS_ERR_OK && !fits) {
        elog_writer_begin(&cv->writer, ev->offset, at);
        (void)elog_pack_offset(bytes, ev->offset, ev->offset);
    }
    if (err == FICUS_ERR_OK && elog_recent_add(&cv->log->recent, &packed) != FICUS_ERR_OK)
        err = err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
    if (err == FICUS_ERR_OK && elog_is_once(&packed))
        err = elog_once_add(cv->conn, &packed, &ignored, reterr);
    if (err == FICUS_ERR_OK && !elog_writer_add(&cv->writer, slice_make(bytes, size), packed.topic, ev->offset))
        err = err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
    return err;
}

static enum ficus_err row_take(struct conversion *cv, struct db_stmt *s, struct ficus_error *reterr)
{
    struct slice body = db_text(s, 2);
    struct event ev;
    char *text = arena_strdup(&cv->arena, body);
    if (text == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
    enum ficus_err err = event_decode_stored(&cv->arena, text, body.size, (size_t)db_i64(s, 3), &ev, reterr);
    if (err == FICUS_ERR_CORRUPT)
        return err_set(reterr, err, "event log: the event at offset %lld is damaged; put back a sound copy of the log's file",
            (long long)db_i64(s, 0));
    ev.offset = db_i64(s, 0);
    if (err == FICUS_ERR_OK)
        err = event_take(cv, &ev, db_i64(s, 1), reterr);
    cv->last = ev.offset;
    return err;
}

/* What fits into one transaction. last stays 0: there was nothing left. */
static enum ficus_err rows_take(struct conversion *cv, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    int row = 0;
    enum ficus_err err = db_query(cv->conn, &s, reterr, "SELECT offset, at, body, data_at FROM event ORDER BY offset LIMIT ?", "i",
        (int64_t)CONVERT_ROWS);
    while (err == FICUS_ERR_OK && arena_size(&cv->arena) < CONVERT_SIZE && (row = db_step(s, reterr)) == 1)
        err = row_take(cv, s, reterr);
    db_finish(s);
    if (err == FICUS_ERR_OK && row < 0)
        err = (enum ficus_err)-row;
    return err == FICUS_ERR_OK ? flush(cv, reterr) : err;
}

static enum ficus_err table_drop(struct db_conn *c, struct ficus_error *reterr)
{
    return db_script(c, SLICE(
        "INSERT INTO sqlite_sequence(name, seq) SELECT 'record', 0 WHERE NOT EXISTS(SELECT 1 FROM sqlite_sequence WHERE name = 'record');"
        "UPDATE sqlite_sequence SET seq = max(seq, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0))"
        " WHERE name = 'record';"
        "DROP TABLE event;"), reterr);
}

static enum ficus_err part_convert(struct conversion *cv, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    cv->last = 0;
    enum ficus_err err = db_tx_begin(cv->log->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    cv->conn = db_tx_conn(&tx);
    err = rows_take(cv, reterr);
    if (err == FICUS_ERR_OK && cv->last != 0)
        err = db_exec(cv->conn, reterr, "DELETE FROM event WHERE offset <= ?", "i", cv->last);
    else if (err == FICUS_ERR_OK)
        err = table_drop(cv->conn, reterr);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

static enum ficus_err is_old(struct db *d, bool *ret_old, struct ficus_error *reterr)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    enum ficus_err err = db_reader_take(d, &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_query(c, &s, reterr, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'event'", "");
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    *ret_old = row == 1;
    db_finish(s);
    db_reader_give(d, c);
    return row < 0 ? (enum ficus_err)-row : err;
}

enum ficus_err elog_convert(struct elog *l, struct ficus_error *reterr)
{
    struct conversion cv = {.log = l, .last = 1};
    bool old = false;
    enum ficus_err err = is_old(l->db, &old, reterr);
    if (err != FICUS_ERR_OK || !old)
        return err;
    elog_writer_init(&cv.writer);
    arena_init(&cv.arena, CONVERT_SIZE + 4 * EVENT_SIZE_MAX + 1024 * 1024);
    while (err == FICUS_ERR_OK && cv.last != 0) {
        elog_writer_begin(&cv.writer, 0, 0);
        err = part_convert(&cv, reterr);
        arena_clear(&cv.arena);
    }
    arena_done(&cv.arena);
    elog_writer_done(&cv.writer);
    return err;
}
