/* SPDX-License-Identifier: Apache-2.0
 *
 * What stays in the log and what goes. Table kept: topic and key -> offset of the newest event; it is written with the
 * event. Table kept_topic: how the keys of a topic were found; when that is not what the options say (any more), the
 * topic's keys are found anew, from what the log holds. Table cut: how far a topic that is not kept was cut.
 */
#include "elog_private.h"

#include <stdio.h>

enum { SWEEP_ROWS = 500 };      /* looked at in one transaction: appends wait that long */

/* ---- keys ---- */

static bool keeper_make(struct elog *l, const struct elog_kept *k, struct elog_keeper *ret_keeper)
{
    struct slice member = slice_str(k->key), list = SLICE_NONE;
    if (slice_find(member, '.') >= 0)
        list = slice_cut(&member, '.');
    *ret_keeper = (struct elog_keeper){.topic = arena_slice(&l->keeper_arena, slice_str(k->topic)),
        .by_subject = k->key[0] == '\0'};
    int n = snprintf(ret_keeper->member, sizeof ret_keeper->member, list.p == NULL ? "$.data." SLICE_FMT : "$." SLICE_FMT,
        SLICE_ARG(member));
    int m = list.p == NULL ? 0 : snprintf(ret_keeper->list, sizeof ret_keeper->list, "$.data." SLICE_FMT,
        SLICE_ARG(list));
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

enum ficus_err elog_keep(struct db_conn *c, const struct append_row *r, int64_t offset, struct ficus_error *reterr)
{
    const struct elog_keeper *k = r->keeper;
    if (k->by_subject)
        return db_exec(c, reterr, KEEP_SQL "SELECT ?1, coalesce(?2, ''), ?3 WHERE true" KEEP_END, "SSi", r->topic,
            r->subject, offset);
    if (k->list[0] == '\0')
        return db_exec(c, reterr, KEEP_SQL "SELECT ?1, CAST(coalesce(json_extract(?2, ?4), '') AS TEXT), ?3 WHERE true"
            KEEP_END, "SSis", r->topic, r->body, offset, k->member);
    return db_exec(c, reterr, KEEP_SQL "SELECT DISTINCT ?1, CAST(coalesce(json_extract(value, ?5), '') AS TEXT), ?3"
        " FROM json_each(?2, ?4) WHERE json_valid(value)" KEEP_END, "SSiss", r->topic, r->body, offset, k->list,
        k->member);
}

/* ---- opening ---- */

/* As elog_keep, for all events of the topic. */
static enum ficus_err keep_stored(struct db_conn *c, const struct elog_keeper *k, const char *key,
                                  struct ficus_error *reterr)
{
    enum ficus_err err = db_exec(c, reterr, "DELETE FROM kept WHERE topic = ?", "S", k->topic);
    if (err == FICUS_ERR_OK && k->by_subject)
        err = db_exec(c, reterr, KEEP_SQL "SELECT topic, coalesce(subject, ''), offset FROM event WHERE topic = ?"
            KEEP_END, "S", k->topic);
    else if (err == FICUS_ERR_OK && k->list[0] == '\0')
        err = db_exec(c, reterr, KEEP_SQL "SELECT topic, CAST(coalesce(json_extract(body, ?2), '') AS TEXT), offset"
            " FROM event WHERE topic = ?1" KEEP_END, "Ss", k->topic, k->member);
    else if (err == FICUS_ERR_OK)
        err = db_exec(c, reterr, KEEP_SQL "SELECT topic, CAST(coalesce(json_extract(value, ?3), '') AS TEXT), offset"
            " FROM event, json_each(body, ?2) WHERE topic = ?1 AND json_valid(value)" KEEP_END, "Sss", k->topic,
            k->list, k->member);
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

static enum ficus_err look(struct db_conn *c, int64_t after, int64_t oldest_ms, int64_t *ret_last, int64_t *ret_count,
                           int64_t *ret_young)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, NULL,
        "SELECT max(offset), count(*), coalesce(sum(at >= ?2), 0) FROM"
        " (SELECT offset, at FROM event WHERE offset > ?1 ORDER BY offset LIMIT ?3)", "iii", after, oldest_ms,
        (int64_t)SWEEP_ROWS);
    int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 0;
    if (row == 1) {
        *ret_last = db_i64(s, 0);
        *ret_count = db_i64(s, 1);
        *ret_young = db_i64(s, 2);
    }
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

#define GONE_SQL " offset > ?1 AND offset <= ?2 AND at < ?3"

int64_t elog_sweep(struct elog *l, struct db_conn *c, int64_t oldest_ms, bool *ret_more)
{
    int64_t last = 0, count = 0, young = 0, after = l->janitor_after;
    *ret_more = false;
    enum ficus_err err = look(c, after, oldest_ms, &last, &count, &young);
    if (err != FICUS_ERR_OK || count == 0)
        return -(int64_t)err;
    err = db_exec(c, NULL,
        "INSERT INTO cut(topic, offset) SELECT topic, max(offset) FROM event WHERE" GONE_SQL
        " AND topic NOT IN (SELECT topic FROM kept_topic) GROUP BY topic"
        " ON CONFLICT(topic) DO UPDATE SET offset = max(offset, excluded.offset)", "iii", after, last, oldest_ms);
    if (err == FICUS_ERR_OK)
        err = db_exec(c, NULL, "DELETE FROM event WHERE" GONE_SQL
            " AND NOT EXISTS(SELECT 1 FROM kept WHERE kept.offset = event.offset)", "iii", after, last, oldest_ms);
    if (err != FICUS_ERR_OK)
        return -(int64_t)err;
    *ret_more = count == SWEEP_ROWS && young == 0;
    l->janitor_after = last;
    return db_changes(c);
}
