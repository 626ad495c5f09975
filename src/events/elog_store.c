/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing records: events are gathered until the record is full or the caller is done, then go into table record as one row,
 * and into record_topic as one row for each topic among them, by which readers find it.
 */
#include "elog_private.h"

#include "uuid.h"

void elog_writer_init(struct elog_writer *w)
{
    *w = (struct elog_writer){.topic_count = 0};
    buf_init(&w->body, EVENT_SIZE_MAX + ELOG_RECORD_SIZE);
}

void elog_writer_done(struct elog_writer *w)
{
    buf_done(&w->body);
}

void elog_writer_begin(struct elog_writer *w, int64_t first, int64_t at)
{
    buf_clear(&w->body);
    w->head = (struct elog_head){.first = first, .at = at};
    w->topic_count = 0;
}

bool elog_writer_has_room(const struct elog_writer *w, size_t size)
{
    return w->head.count == 0 || (w->head.count < ELOG_RECORD_COUNT && buf_slice(&w->body).size + size <= ELOG_RECORD_SIZE);
}

static void topic_add(struct elog_writer *w, struct slice topic, int64_t offset)
{
    for (size_t i = w->topic_count; i-- > 0;)
        if (slice_eq(w->topics[i].topic, topic)) {
            w->topics[i].last = offset;
            w->topics[i].count++;
            return;
        }
    FICUS_ASSERT(w->topic_count < ELOG_RECORD_COUNT);
    w->topics[w->topic_count++] = (struct elog_part){topic, 1, offset, offset};
}

bool elog_writer_add(struct elog_writer *w, struct slice packed, struct slice topic, int64_t offset)
{
    if (!buf_add_slice(&w->body, packed))
        return false;
    topic_add(w, topic, offset);
    w->head.count++;
    w->head.last = offset;
    return true;
}

static enum ficus_err topics_insert(struct elog_writer *w, struct db_conn *c, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < w->topic_count && err == FICUS_ERR_OK; i++) {
        const struct elog_part *p = &w->topics[i];
        err = db_exec(c, reterr, "INSERT INTO record_topic(topic, record, count, oldest, newest) VALUES(?, ?, ?, ?, ?)", "Siiii",
            p->topic, w->head.last, p->count, p->first, p->last);
    }
    return err;
}

enum ficus_err elog_writer_insert(struct elog_writer *w, struct db_conn *c, struct ficus_error *reterr)
{
    FICUS_ASSERT(w->head.count > 0);
    w->head.sum = elog_record_sum(&w->head, buf_slice(&w->body));
    enum ficus_err err = db_exec(c, reterr, "INSERT INTO record(last, first, at, count, sum, body) VALUES(?, ?, ?, ?, ?, ?)", "iiiiib",
        w->head.last, w->head.first, w->head.at, w->head.count, w->head.sum, buf_slice(&w->body));
    return err == FICUS_ERR_OK ? topics_insert(w, c, reterr) : err;
}

enum ficus_err elog_writer_replace(struct elog_writer *w, struct db_conn *c, int64_t key, struct ficus_error *reterr)
{
    if (w->head.count == 0)
        return db_exec(c, reterr, "DELETE FROM record WHERE last = ?", "i", key);
    w->head.last = key;
    w->head.sum = elog_record_sum(&w->head, buf_slice(&w->body));
    enum ficus_err err = db_exec(c, reterr, "UPDATE record SET count = ?, sum = ?, body = ? WHERE last = ?", "iibi", w->head.count,
        w->head.sum, buf_slice(&w->body), key);
    return err == FICUS_ERR_OK ? topics_insert(w, c, reterr) : err;
}

/* ---- rows of record ---- */

void elog_row_head(struct db_stmt *s, struct elog_head *ret_head)
{
    *ret_head = (struct elog_head){.last = db_i64(s, 0), .first = db_i64(s, 1), .at = db_i64(s, 2), .count = db_i64(s, 3),
        .sum = db_i64(s, 4)};
}

bool elog_is_once(const struct event *ev)
{
    enum { VERSION_AT = 14 };
    if (ev->id.size == UUID_TEXT_SIZE - 1 && ev->id.p[VERSION_AT] == '8')
        return true;
    return slice_eq_str(ev->topic, EVENT_TOPIC_CLOSED) || slice_starts(ev->topic, SLICE(EVENT_TOPIC_REDRIVE));
}

enum ficus_err elog_once_add(struct db_conn *c, const struct event *ev, bool *ret_repeated, struct ficus_error *reterr)
{
    enum ficus_err err = db_exec(c, reterr, "INSERT INTO once(source, id) VALUES(?, ?) ON CONFLICT DO NOTHING", "SS", ev->source, ev->id);
    *ret_repeated = err == FICUS_ERR_OK && db_changes(c) == 0;
    return err;
}
