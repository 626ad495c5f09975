/* SPDX-License-Identifier: Apache-2.0
 *
 * For operators: what waits for its time, and taking one of it out.
 */
#include "elog_private.h"

#include "mem.h"

enum { LIST_ARENA_MAX = 8 * 1024 * 1024, LIST_SIZE = 2 * 1024 * 1024 };

struct list_job {
    struct elog *log;
    struct env_job job;
    struct arena arena;
    int64_t after_ms, after_number;
    size_t count_max;
    bool of_schedules;
    struct elog_waiting *list;
    size_t count;
    enum ficus_err err;
    void (*done)(void *arg, enum ficus_err err, const struct elog_waiting *list, size_t count);
    void *arg;
};

static enum ficus_err waiting_add(struct list_job *j, const struct elog_waiting *w)
{
    struct elog_waiting *to = &j->list[j->count];
    *to = *w;
    enum ficus_err err = event_copy(&j->arena, &w->event, &to->event);
    j->count += err == FICUS_ERR_OK;
    return err;
}

static enum ficus_err event_take(struct list_job *j, struct db_stmt *s)
{
    struct elog_waiting w = {.number = db_i64(s, 0), .at_ms = db_i64(s, 1)};
    struct elog_head head = {.first = w.number, .last = w.number, .at = w.at_ms, .count = 1, .sum = db_i64(s, 2)};
    struct elog_cursor cu;
    w.damaged = elog_record_open(&cu, &head, db_blob(s, 3), NULL) != FICUS_ERR_OK || elog_record_next(&cu, &w.event, NULL, NULL) != 1;
    if (w.damaged)
        w.event = (struct event){.source = db_text(s, 4), .id = db_text(s, 5)};
    w.event.offset = 0;
    w.event.at_ms = w.at_ms;
    return waiting_add(j, &w);
}

static enum ficus_err events_query(struct list_job *j, struct db_conn *c)
{
    struct db_stmt *s = NULL;
    int row = 0;
    enum ficus_err err = db_query(c, &s, NULL, "SELECT number, at, sum, body, source, id FROM later WHERE (at, number) > (?, ?)"
        " ORDER BY at, number LIMIT ?", "iii", j->after_ms, j->after_number, (int64_t)j->count_max);
    while (err == FICUS_ERR_OK && (j->count == 0 || arena_size(&j->arena) < LIST_SIZE) && (row = db_step(s, NULL)) == 1)
        err = event_take(j, s);
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err schedules_query(struct list_job *j, struct db_conn *c)
{
    const struct elog_later *l = &j->log->later;    /* of the options, which do not change */
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < l->schedule_count && err == FICUS_ERR_OK; i++) {
        const struct elog_schedule *def = &l->schedules[i];
        struct db_stmt *s = NULL;
        err = db_query(c, &s, NULL, "SELECT at FROM schedule WHERE source = ?", "s", def->source);
        int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 0;
        if (row == 1)
            err = waiting_add(j, &(struct elog_waiting){.at_ms = db_i64(s, 0), .every_ms = def->every_ms,
                .event = {.source = slice_str(def->source), .topic = slice_str(def->topic), .subject = slice_str(def->name)}});
        db_finish(s);
        if (row < 0)
            err = (enum ficus_err)-row;
    }
    return err;
}

static void list_work(void *arg)
{
    struct list_job *j = arg;
    struct db_conn *c = NULL;
    j->list = ARENA_ARRAY(&j->arena, struct elog_waiting, j->count_max);
    j->err = j->list == NULL ? FICUS_ERR_NOMEM : db_reader_take(j->log->db, &c, NULL);
    if (j->err != FICUS_ERR_OK)
        return;
    j->err = j->of_schedules ? schedules_query(j, c) : events_query(j, c);
    db_reader_give(j->log->db, c);
}

static void list_done(void *arg)
{
    struct list_job *j = arg;
    struct elog *l = j->log;
    j->done(j->arg, j->err, j->list, j->err == FICUS_ERR_OK ? j->count : 0);
    arena_done(&j->arena);
    mem_free(j);
    elog_job_ended(l);
}

static enum ficus_err list_run(struct elog *l, const struct list_job *wanted)
{
    struct list_job *j = l->closing ? NULL : mem_zalloc(sizeof *j);
    if (j == NULL)
        return l->closing ? FICUS_ERR_CANCELLED : FICUS_ERR_NOMEM;
    *j = *wanted;
    j->log = l;
    j->job = (struct env_job){.work = list_work, .done = list_done, .arg = j};
    arena_init(&j->arena, LIST_ARENA_MAX);
    enum ficus_err err = elog_job_run(l, &j->job);
    if (err != FICUS_ERR_OK) {
        arena_done(&j->arena);
        mem_free(j);
    }
    return err;
}

enum ficus_err elog_later_list(struct elog *l, int64_t after_ms, int64_t after_number, size_t count_max,
                               void (*done)(void *arg, enum ficus_err err, const struct elog_waiting *list, size_t count), void *arg)
{
    return list_run(l, &(struct list_job){.after_ms = after_ms, .after_number = after_number,
        .count_max = count_max == 0 || count_max > ELOG_WAITING_MAX ? ELOG_WAITING_MAX : count_max, .done = done, .arg = arg});
}

enum ficus_err elog_schedules_list(struct elog *l, void (*done)(void *arg, enum ficus_err err, const struct elog_waiting *list,
                                   size_t count), void *arg)
{
    return list_run(l, &(struct list_job){.of_schedules = true, .count_max = l->later.schedule_count + 1, .done = done, .arg = arg});
}

enum ficus_err elog_later_remove(struct elog *l, int64_t number, void (*done)(void *arg, enum ficus_err err,
                                 const struct elog_waiting *was, const char *detail), void *arg)
{
    if (l->closing)
        return FICUS_ERR_CANCELLED;
    struct append *ap = elog_append_new();
    if (ap == NULL || (ap->was = ARENA_NEW(&ap->arena, struct elog_waiting)) == NULL) {
        elog_append_free(ap);
        return FICUS_ERR_NOMEM;
    }
    ap->remove = number;
    ap->removed = done;
    ap->arg = arg;
    elog_append_queue(l, ap);
    return FICUS_ERR_OK;
}
