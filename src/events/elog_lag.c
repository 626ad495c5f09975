/* SPDX-License-Identifier: Apache-2.0
 *
 * How much lies behind a place in the log: on a worker, from a reading connection.
 */
#include "elog_private.h"

#include "mem.h"

enum { LAG_RECORDS_MAX = 200000 };  /* looked at for one topic: who is further behind than that knows enough */

struct lag_job {
    struct elog *log;
    struct env_job job;
    struct elog_lag *list;
    size_t count;
    enum ficus_err err;
    void (*done)(void *arg, enum ficus_err err);
    void *arg;
};

/* One row with one number, or none. *ret is left alone when it is none or NULL. */
static enum ficus_err number_of(struct db_stmt *s, int64_t *ret)
{
    int row = db_step(s, NULL);
    if (row == 1 && !db_is_null(s, 0))
        *ret = db_i64(s, 0);
    return row < 0 ? (enum ficus_err)-row : FICUS_ERR_OK;
}

/* The record that the place lies in: which of its events are behind it. */
static enum ficus_err count_in_record(struct db_conn *c, struct slice topic, struct elog_lag *lag)
{
    struct db_stmt *s = NULL;
    struct elog_cursor cu;
    struct event ev;
    enum ficus_err err = db_query(c, &s, NULL, "SELECT " ELOG_RECORD_COLUMNS " FROM record WHERE last ="
        " (SELECT record FROM record_topic WHERE topic = ?1 AND record > ?2 AND oldest <= ?2 AND newest > ?2 ORDER BY record LIMIT 1)",
        "Si", topic, lag->after);
    int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 0, more = 0;
    if (row == 1) {
        struct elog_head head;
        elog_row_head(s, &head);
        err = elog_record_open(&cu, &head, db_blob(s, ELOG_BODY_COLUMN), NULL);
        while (err == FICUS_ERR_OK && (more = elog_record_next(&cu, &ev, NULL, NULL)) == 1)
            lag->behind += ev.offset > lag->after && slice_eq(ev.topic, topic) ? 1 : 0;
    }
    db_finish(s);
    if (err == FICUS_ERR_CORRUPT || more < 0)
        return FICUS_ERR_OK;    /* for whoever reads it to find */
    return row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err count_topic(struct db_conn *c, struct slice topic, struct elog_lag *lag)
{
    struct db_stmt *s = NULL;
    int64_t records = 0, at_ms = 0;
    enum ficus_err err = db_query(c, &s, NULL, "SELECT sum(count), count(*) FROM (SELECT count FROM record_topic"
        " WHERE topic = ?1 AND record > ?2 AND oldest > ?2 LIMIT ?3)", "Sii", topic, lag->after, (int64_t)LAG_RECORDS_MAX);
    int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 0;
    if (row == 1) {
        lag->behind += db_i64(s, 0);
        records = db_i64(s, 1);
    }
    db_finish(s);
    if (err != FICUS_ERR_OK || row < 0)
        return err != FICUS_ERR_OK ? err : (enum ficus_err)-row;
    lag->more |= records == LAG_RECORDS_MAX;
    err = count_in_record(c, topic, lag);
    if (err == FICUS_ERR_OK)
        err = db_query(c, &s, NULL, "SELECT at FROM record WHERE last = (SELECT record FROM record_topic"
            " WHERE topic = ?1 AND record > ?2 AND newest > ?2 ORDER BY record LIMIT 1)", "Si", topic, lag->after);
    if (err != FICUS_ERR_OK)
        return err;
    err = number_of(s, &at_ms);
    db_finish(s);
    if (at_ms > 0 && (lag->oldest_ms == 0 || at_ms < lag->oldest_ms))
        lag->oldest_ms = at_ms;
    return err;
}

static enum ficus_err count_all(struct db_conn *c, struct elog_lag *lag)
{
    struct slice topics[EVENT_TOPICS_MAX];
    size_t count = 0;
    lag->behind = lag->oldest_ms = 0;
    lag->more = false;
    enum ficus_err err = event_topics_parse(slice_str(lag->topics), topics, &count, NULL);
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++)
        err = count_topic(c, topics[i], lag);
    return err;
}

static void lag_work(void *arg)
{
    struct lag_job *j = arg;
    struct db_conn *c = NULL;
    j->err = db_reader_take(j->log->db, &c, NULL);
    if (j->err != FICUS_ERR_OK)
        return;
    for (size_t i = 0; i < j->count && j->err == FICUS_ERR_OK; i++)
        j->err = count_all(c, &j->list[i]);
    db_reader_give(j->log->db, c);
}

static void lag_done(void *arg)
{
    struct lag_job *j = arg;
    struct elog *l = j->log;
    j->done(j->arg, j->err);
    mem_free(j);
    elog_job_ended(l);
}

enum ficus_err elog_lag(struct elog *l, struct elog_lag *list, size_t count, void (*done)(void *arg, enum ficus_err err), void *arg)
{
    struct lag_job *j = l->closing ? NULL : mem_zalloc(sizeof *j);
    if (j == NULL)
        return l->closing ? FICUS_ERR_CANCELLED : FICUS_ERR_NOMEM;
    *j = (struct lag_job){.log = l, .list = list, .count = count, .done = done, .arg = arg};
    j->job = (struct env_job){.work = lag_work, .done = lag_done, .arg = j};
    enum ficus_err err = elog_job_run(l, &j->job);
    if (err != FICUS_ERR_OK)
        mem_free(j);
    return err;
}
