/* SPDX-License-Identifier: Apache-2.0
 *
 * From a time to a place in the log. Records are in the order of their offsets and each has the time of its append, so a
 * search by halves finds the place without an index over times, which every publisher would have to pay for.
 */
#include "elog_private.h"

#include "mem.h"

struct time_job {
    struct elog *log;
    struct env_job job;
    int64_t at_ms, offset;
    enum ficus_err err;
    void (*done)(void *arg, enum ficus_err err, int64_t offset);
    void *arg;
};

/* The first record that ends at or behind this offset. *ret_last 0: there is none. */
static enum ficus_err record_at(struct db_conn *c, int64_t offset, int64_t *ret_last, int64_t *ret_first, int64_t *ret_at)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, NULL, "SELECT last, first, at FROM record WHERE last >= ? ORDER BY last LIMIT 1", "i", offset);
    int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 0;
    *ret_last = row == 1 ? db_i64(s, 0) : 0;
    *ret_first = row == 1 ? db_i64(s, 1) : 0;
    *ret_at = row == 1 ? db_i64(s, 2) : 0;
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

/* Invariant: records that end before `from` are too early; the one that ends at or behind `to` is not, or there is none. */
static enum ficus_err search(struct time_job *j, struct db_conn *c)
{
    int64_t from = 1, to, last, first, at;
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, NULL, "SELECT coalesce(max(last), 0) FROM record", "");
    int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 0;
    int64_t end = row == 1 ? db_i64(s, 0) : 0;
    db_finish(s);
    if (row < 0)
        return (enum ficus_err)-row;
    for (to = end + 1; err == FICUS_ERR_OK && from < to;) {
        int64_t middle = from + (to - from) / 2;
        err = record_at(c, middle, &last, &first, &at);
        if (err != FICUS_ERR_OK || last == 0 || at >= j->at_ms)
            to = middle;
        else
            from = last + 1;
    }
    if (err == FICUS_ERR_OK)
        err = record_at(c, from, &last, &first, &at);
    j->offset = last == 0 ? end : first - 1;
    return err;
}

static void time_work(void *arg)
{
    struct time_job *j = arg;
    struct db_conn *c = NULL;
    j->err = db_reader_take(j->log->db, &c, NULL);
    if (j->err != FICUS_ERR_OK)
        return;
    j->err = db_reader_snapshot(c, NULL);
    if (j->err == FICUS_ERR_OK)
        j->err = search(j, c);
    db_reader_give(j->log->db, c);
}

static void time_done(void *arg)
{
    struct time_job *j = arg;
    struct elog *l = j->log;
    /* synced and seen; append_done is on its way to say the same */
    if (j->err == FICUS_ERR_OK && j->offset > l->last_offset)
        l->last_offset = j->offset;
    j->done(j->arg, j->err, j->offset);
    mem_free(j);
    elog_job_ended(l);
}

enum ficus_err elog_offset_at(struct elog *l, int64_t at_ms, void (*done)(void *arg, enum ficus_err err, int64_t offset), void *arg)
{
    struct time_job *j = l->closing ? NULL : mem_zalloc(sizeof *j);
    if (j == NULL)
        return l->closing ? FICUS_ERR_CANCELLED : FICUS_ERR_NOMEM;
    *j = (struct time_job){.log = l, .at_ms = at_ms, .done = done, .arg = arg};
    j->job = (struct env_job){.work = time_work, .done = time_done, .arg = j};
    enum ficus_err err = elog_job_run(l, &j->job);
    if (err != FICUS_ERR_OK)
        mem_free(j);
    return err;
}
