/* SPDX-License-Identifier: Apache-2.0
 *
 * What stays in the log and what goes. Table kept: topic and key -> offset of the newest event; it is written with the
 * event. Table kept_topic: how the keys of a topic were found; when that is not what the options say (any more), the
 * topic's keys are found anew, from what the log holds. Table cut: how far a topic that is not kept was cut.
 * A record of which only a part stays is written anew in its place.
 */
#include "elog_private.h"

#include <stdio.h>

enum {
    SWEEP_RECORDS = 500, SWEEP_SIZE = 2 * 1024 * 1024,      /* looked at in one transaction: appends wait that long */
    EVENT_ROWS_SIZE = 256,      /* of an event, in other tables */
};

/* ---- keys ---- */

static bool keeper_make(struct elog *l, const struct elog_kept *k, struct elog_keeper *ret_keeper)
{
    struct slice member = slice_str(k->key), list = SLICE_NONE;
    if (slice_find(member, '.') >= 0)
        list = slice_cut(&member, '.');
    *ret_keeper = (struct elog_keeper){.topic = arena_slice(&l->keeper_arena, slice_str(k->topic)),
        .by_subject = k->key[0] == '\0'};
    int n = snprintf(ret_keeper->member, sizeof ret_keeper->member, "$." SLICE_FMT, SLICE_ARG(member));
    int m = list.p == NULL ? 0 : snprintf(ret_keeper->list, sizeof ret_keeper->list, "$." SLICE_FMT, SLICE_ARG(list));
    return n < ELOG_KEY_PATH_SIZE && m < ELOG_KEY_PATH_SIZE && !arena_overflowed(&l->keeper_arena);
}

const struct elog_keeper *elog_keeper_of(const struct elog *l, struct slice topic)
{
    for (size_t i = 0; i < l->keeper_count; i++)
        if (slice_eq(l->keepers[i].topic, topic))
            return &l->keepers[i];
    return NULL;
}

#define KEEP_SQL "INSERT INTO kept(topic, key, offset) "
/* The larger offset is the newer one, in whatever order they come. */
#define KEEP_END " ON CONFLICT(topic, key) DO UPDATE SET offset = max(offset, excluded.offset)"

enum ficus_err elog_keep(struct db_conn *c, const struct elog_keeper *k, const struct event *ev, int64_t offset,
                         struct ficus_error *reterr)
{
    if (k->by_subject)
        return db_exec(c, reterr, KEEP_SQL "SELECT ?1, coalesce(?2, ''), ?3 WHERE true" KEEP_END, "SSi", k->topic,
            ev->subject, offset);
    if (k->list[0] == '\0')
        return db_exec(c, reterr, KEEP_SQL "SELECT ?1, CAST(coalesce(json_extract(?2, ?4), '') AS TEXT), ?3 WHERE true"
            KEEP_END, "SSis", k->topic, ev->data, offset, k->member);
    return db_exec(c, reterr, KEEP_SQL "SELECT DISTINCT ?1, CAST(coalesce(json_extract(value, ?5), '') AS TEXT), ?3"
        " FROM json_each(?2, ?4) WHERE json_valid(value)" KEEP_END, "SSiss", k->topic, ev->data, offset, k->list,
        k->member);
}

/* ---- opening ---- */

static enum ficus_err keep_record(struct db_conn *c, const struct elog_keeper *k, struct db_stmt *row, struct ficus_error *reterr)
{
    struct elog_head head;
    struct elog_cursor cu;
    struct event ev;
    int more = 0;
    elog_row_head(row, &head);
    enum ficus_err err = elog_record_open(&cu, &head, db_blob(row, ELOG_BODY_COLUMN), reterr);
    while (err == FICUS_ERR_OK && (more = elog_record_next(&cu, &ev, NULL, reterr)) == 1)
        if (slice_eq(ev.topic, k->topic))
            err = elog_keep(c, k, &ev, ev.offset, reterr);
    return more < 0 ? (enum ficus_err)-more : err;
}

/* As elog_keep, for all events of the topic. */
static enum ficus_err keep_stored(struct db_conn *c, const struct elog_keeper *k, const char *key,
                                  struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    int row = 0;
    enum ficus_err err = db_exec(c, reterr, "DELETE FROM kept WHERE topic = ?", "S", k->topic);
    if (err == FICUS_ERR_OK)
        err = db_query(c, &s, reterr, "SELECT " ELOG_RECORD_COLUMNS " FROM record WHERE last IN"
            " (SELECT record FROM record_topic WHERE topic = ?)", "S", k->topic);
    while (err == FICUS_ERR_OK && (row = db_step(s, reterr)) == 1)
        err = keep_record(c, k, s, reterr);
    db_finish(s);
    if (err == FICUS_ERR_OK && row < 0)
        err = (enum ficus_err)-row;
    return err != FICUS_ERR_OK ? err : db_exec(c, reterr,
        "INSERT INTO kept_topic(topic, key) VALUES(?, ?) ON CONFLICT(topic) DO UPDATE SET key = excluded.key", "Ss",
        k->topic, key);
}

static enum ficus_err is_as_before(struct db_conn *c, const struct elog_kept *k, bool *ret_same,
                                   struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT 1 FROM kept_topic WHERE topic = ? AND key = ?", "ss", k->topic,
        k->key);
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    db_finish(s);
    *ret_same = row == 1;
    return row < 0 ? (enum ficus_err)-row : err;
}

/* A topic that is kept no longer, in the arena; SLICE_NONE: there is none. */
static enum ficus_err find_other(struct elog *l, struct db_conn *c, struct slice *ret_topic, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    int row = 0;
    *ret_topic = SLICE_NONE;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT topic FROM kept_topic", "");
    while (err == FICUS_ERR_OK && ret_topic->p == NULL && (row = db_step(s, reterr)) == 1)
        if (elog_keeper_of(l, db_text(s, 0)) == NULL)
            *ret_topic = arena_slice(&l->keeper_arena, db_text(s, 0));
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err forget_others(struct elog *l, struct db_conn *c, struct ficus_error *reterr)
{
    struct slice topic;
    enum ficus_err err;
    while ((err = find_other(l, c, &topic, reterr)) == FICUS_ERR_OK && topic.p != NULL) {
        err = db_exec(c, reterr, "DELETE FROM kept WHERE topic = ?", "S", topic);
        if (err == FICUS_ERR_OK)
            err = db_exec(c, reterr, "DELETE FROM kept_topic WHERE topic = ?", "S", topic);
        if (err != FICUS_ERR_OK)
            break;
    }
    return err;
}

static enum ficus_err topics_take(struct elog *l, const struct elog_options *o, struct db_conn *c,
                                  struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < o->kept_count && err == FICUS_ERR_OK; i++) {
        bool same = false;
        err = is_as_before(c, &o->kept[i], &same, reterr);
        if (err == FICUS_ERR_OK && !same)
            err = keep_stored(c, &l->keepers[i], o->kept[i].key, reterr);
    }
    return err == FICUS_ERR_OK ? forget_others(l, c, reterr) : err;
}

enum ficus_err elog_keep_open(struct elog *l, const struct elog_options *o, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    l->keepers = ARENA_ARRAY(&l->keeper_arena, struct elog_keeper, o->kept_count + 1);
    for (size_t i = 0; l->keepers != NULL && i < o->kept_count; i++, l->keeper_count++)
        if (!keeper_make(l, &o->kept[i], &l->keepers[i]))
            return err_set(reterr, FICUS_ERR_INVALID, "event log: kept topic %s: the key is too long", o->kept[i].topic);
    if (l->keepers == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
    enum ficus_err err = db_tx_begin(l->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = topics_take(l, o, db_tx_conn(&tx), reterr);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

/* ---- going ---- */

/* The next record into l->janitor_record; *ret_found false: there is none. One that is young stays unread. */
static enum ficus_err record_look(struct elog *l, struct db_conn *c, int64_t oldest_ms, struct elog_head *ret_head, bool *ret_found)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, NULL,
        "SELECT last, first, at, count, sum, CASE WHEN at < ?2 THEN body END FROM record WHERE last > ?1 ORDER BY last LIMIT 1",
        "ii", l->janitor_after, oldest_ms);
    int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 0;
    *ret_found = row == 1;
    if (row == 1) {
        elog_row_head(s, ret_head);
        buf_clear(&l->janitor_record);
        if (!buf_add_slice(&l->janitor_record, db_blob(s, ELOG_BODY_COLUMN)))
            err = FICUS_ERR_NOMEM;
    }
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err is_kept(const struct elog *l, struct db_conn *c, const struct event *ev, bool *ret_kept)
{
    struct db_stmt *s = NULL;
    *ret_kept = false;
    if (elog_keeper_of(l, ev->topic) == NULL)
        return FICUS_ERR_OK;
    enum ficus_err err = db_query(c, &s, NULL, "SELECT 1 FROM kept WHERE offset = ?", "i", ev->offset);
    int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 0;
    *ret_kept = row == 1;
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

/* Gather in l->janitor_writer what stays, and say which. */
static enum ficus_err events_sift(struct elog *l, struct db_conn *c, struct elog_cursor cu, bool stays[ELOG_RECORD_COUNT])
{
    struct event ev;
    struct slice packed;
    int more = 0;
    enum ficus_err err = FICUS_ERR_OK;
    elog_writer_begin(&l->janitor_writer, cu.head.first, cu.head.at);
    for (size_t i = 0; err == FICUS_ERR_OK && (more = elog_record_next(&cu, &ev, &packed, NULL)) == 1; i++) {
        err = is_kept(l, c, &ev, &stays[i]);
        if (err == FICUS_ERR_OK && stays[i] && !elog_writer_add(&l->janitor_writer, packed, ev.topic, ev.offset))
            err = FICUS_ERR_NOMEM;
    }
    return more < 0 ? (enum ficus_err)-more : err;
}

/* Events of a topic up to there are gone from the record. */
static enum ficus_err topic_forget(const struct elog *l, struct db_conn *c, int64_t key, struct slice topic, int64_t gone)
{
    enum ficus_err err = db_exec(c, NULL, "DELETE FROM record_topic WHERE topic = ? AND record = ?", "Si", topic, key);
    if (err != FICUS_ERR_OK || gone == 0 || elog_keeper_of(l, topic) != NULL)
        return err;
    return db_exec(c, NULL, "INSERT INTO cut(topic, offset) VALUES(?, ?)"
        " ON CONFLICT(topic) DO UPDATE SET offset = max(offset, excluded.offset)", "Si", topic, gone);
}

/* What other tables say of those that do not stay. Neighbours of one topic are done at once. */
static enum ficus_err events_forget(const struct elog *l, struct db_conn *c, struct elog_cursor cu, const bool stays[ELOG_RECORD_COUNT])
{
    struct event ev;
    struct slice topic = SLICE_NONE;
    int64_t gone = 0;
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; err == FICUS_ERR_OK && elog_record_next(&cu, &ev, NULL, NULL) == 1; i++) {
        if (topic.p != NULL && !slice_eq(topic, ev.topic)) {
            err = topic_forget(l, c, cu.head.last, topic, gone);
            gone = 0;
        }
        topic = ev.topic;
        if (stays[i])
            continue;
        gone = ev.offset;
        if (err == FICUS_ERR_OK && elog_is_once(&ev))
            err = db_exec(c, NULL, "DELETE FROM once WHERE source = ? AND id = ?", "SS", ev.source, ev.id);
    }
    return err == FICUS_ERR_OK ? topic_forget(l, c, cu.head.last, topic, gone) : err;
}

/* How many of its events went, < 0: -(enum ficus_err). */
static int64_t record_sweep(struct elog *l, struct db_conn *c, const struct elog_head *head)
{
    bool stays[ELOG_RECORD_COUNT];
    struct elog_cursor cu;
    enum ficus_err err = elog_record_open(&cu, head, buf_slice(&l->janitor_record), NULL);
    if (err == FICUS_ERR_OK)
        err = events_sift(l, c, cu, stays);
    int64_t gone = head->count - l->janitor_writer.head.count;
    if (err == FICUS_ERR_CORRUPT || (err == FICUS_ERR_OK && gone == 0))
        return 0;       /* damaged: for whoever reads it to find */
    if (err == FICUS_ERR_OK)
        err = events_forget(l, c, cu, stays);
    if (err == FICUS_ERR_OK)
        err = elog_writer_replace(&l->janitor_writer, c, head->last, NULL);
    return err == FICUS_ERR_OK ? gone : -(int64_t)err;
}

/* About so many bytes of the file hold these events: their pages are perhaps half empty, and they have rows in other tables. Rather too
 * many: then the log is larger than it may be, not emptier. */
static int64_t file_size_of(size_t size, int64_t count)
{
    return 2 * (int64_t)size + EVENT_ROWS_SIZE * count;
}

/* The next record. *excess falls by what it had and by what of it stays. How many of its events went, < 0: -(enum ficus_err). */
static int64_t sweep_next(struct elog *l, struct db_conn *c, int64_t oldest_ms, int64_t *excess, bool *ret_found, bool *ret_young)
{
    struct elog_head head;
    enum ficus_err err = record_look(l, c, oldest_ms, &head, ret_found);
    if (err != FICUS_ERR_OK || !*ret_found)
        return -(int64_t)err;
    *ret_young = head.at >= oldest_ms;
    elog_writer_begin(&l->janitor_writer, head.first, head.at);
    int64_t gone = *ret_young ? 0 : record_sweep(l, c, &head);
    if (gone < 0)
        return gone;
    l->janitor_after = head.last;
    l->janitor_kept += file_size_of(buf_slice(&l->janitor_writer.body).size, l->janitor_writer.head.count);
    if (!*ret_young)
        *excess -= file_size_of(buf_slice(&l->janitor_record).size, head.count);
    return gone;
}

int64_t elog_sweep(struct elog *l, struct db_conn *c, int64_t aged_ms, int64_t excess, bool *ret_more)
{
    int64_t gone = 0;
    size_t size = 0;
    bool young = false, found = true, over = excess > 0;
    *ret_more = false;
    for (int i = 0; i < SWEEP_RECORDS && size < SWEEP_SIZE && found && over == (excess > 0); i++) {
        bool is_young = false;
        int64_t n = sweep_next(l, c, over ? INT64_MAX : aged_ms, &excess, &found, &is_young);
        if (n < 0)
            return n;
        size += found ? buf_slice(&l->janitor_record).size : 0;
        young |= is_young;
        gone += n;
    }
    *ret_more = found && !young;    /* also when it is no longer over by our reckoning: the file is asked again, and where it is, no more goes */
    return gone;
}
