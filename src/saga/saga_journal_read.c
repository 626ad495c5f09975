/* SPDX-License-Identifier: Apache-2.0
 *
 * What is read from the journal, and folded. See saga_journal.h.
 */
#include "saga_journal.h"

#include "db.h"

#include <stdio.h>
#include <string.h>

static enum ficus_err read_i64(struct saga_journal *j, const char *sql, int64_t *ret_value, struct ficus_error *reterr)
{
    struct db_conn *c;
    enum ficus_err err = db_reader_take(saga_journal_db(j), &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct db_stmt *s = NULL;
    int64_t value = 0;
    err = db_query(c, &s, reterr, sql, "");
    if (err == FICUS_ERR_OK) {
        int row = db_step(s, reterr);
        if (row > 0)
            value = db_i64(s, 0);
        else if (row < 0)
            err = (enum ficus_err) - row;
    }
    db_finish(s);
    db_reader_give(saga_journal_db(j), c);
    if (err == FICUS_ERR_OK)
        *ret_value = value;
    return err;
}

enum ficus_err saga_journal_position(struct saga_journal *j, int64_t *ret_position, struct ficus_error *reterr)
{
    return read_i64(j, "SELECT position FROM saga_position WHERE reader = 'start'", ret_position, reterr);
}

enum ficus_err saga_journal_count(struct saga_journal *j, enum saga_state_name state, int64_t *ret_count,
                                  struct ficus_error *reterr)
{
    char sql[128]; /* the state stands in the text, so that the partial index fits */
    snprintf(sql, sizeof sql, "SELECT count(*) FROM saga_instance WHERE state = '%s'", saga_state_text(state));
    return read_i64(j, sql, ret_count, reterr);
}

static struct slice copy(struct arena *a, struct slice s, bool *failed)
{
    if (s.p == NULL)
        return s;
    struct slice c = arena_slice(a, s);
    if (c.p == NULL)
        *failed = true;
    return c;
}

static const char *copy_str(struct arena *a, struct slice s, bool *failed)
{
    const char *c = arena_strdup(a, s.p == NULL ? SLICE("") : s);
    if (c == NULL)
        *failed = true;
    return c;
}

#define ROW_COLUMNS                                                                                                \
    "i.saga, i.id, i.definition, i.state, i.step, i.failure, i.started_at, i.updated_at, i.event, i.traceparent, " \
    "i.tracestate, i.correlation, i.wake_at, i.parent_saga, i.parent_id, i.parent_step"

static enum ficus_err read_row(struct db_stmt *s, struct arena *a, struct saga_stored *st, struct ficus_error *reterr)
{
    bool failed = false;
    st->start.saga = copy(a, db_text(s, 0), &failed);
    st->start.id = copy(a, db_text(s, 1), &failed);
    st->start.def_hash = copy(a, db_text(s, 2), &failed);
    if (!saga_state_parse(db_text(s, 3), &st->state))
        return err_set(reterr, FICUS_ERR_CORRUPT, "saga " SLICE_FMT "/" SLICE_FMT ": unknown state \"" SLICE_FMT "\"",
                       SLICE_ARG(db_text(s, 0)), SLICE_ARG(db_text(s, 1)), SLICE_ARG(db_text(s, 3)));
    st->step = copy_str(a, db_text(s, 4), &failed);
    st->failure = copy_str(a, db_text(s, 5), &failed);
    st->started_ms = db_i64(s, 6);
    st->updated_ms = db_i64(s, 7);
    st->start.event_id = copy(a, db_text(s, 8), &failed);
    st->start.traceparent = copy(a, db_text(s, 9), &failed);
    st->start.tracestate = copy(a, db_text(s, 10), &failed);
    st->start.correlation = copy(a, db_text(s, 11), &failed);
    st->wake_at_ms = db_i64(s, 12);
    st->start.parent = (struct saga_parent){copy(a, db_text(s, 13), &failed), copy(a, db_text(s, 14), &failed), copy(a, db_text(s, 15), &failed)};
    return failed ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
}

static enum ficus_err load_instance(struct db_conn *c, struct arena *a, struct slice saga, struct slice id,
                                    struct saga_stored *st, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(
        c, &s, reterr,
        "SELECT " ROW_COLUMNS
        ", i.input, d.text FROM saga_instance i LEFT JOIN saga_definition d ON d.hash = i.definition "
        "WHERE i.saga = ? AND i.id = ?",
        "SS", saga, id);
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (err == FICUS_ERR_OK && row < 0)
        err = (enum ficus_err) - row;
    if (err == FICUS_ERR_OK && row == 0)
        err = err_set(reterr, FICUS_ERR_NOT_FOUND, "there is no saga " SLICE_FMT "/" SLICE_FMT, SLICE_ARG(saga),
                      SLICE_ARG(id));
    if (err == FICUS_ERR_OK)
        err = read_row(s, a, st, reterr);
    if (err == FICUS_ERR_OK) {
        bool failed = false;
        st->start.input = copy(a, db_text(s, 16), &failed);
        st->start.def_text = copy(a, db_text(s, 17), &failed);
        if (failed)
            err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    }
    db_finish(s);
    return err;
}

static enum ficus_err read_record(struct db_stmt *s, struct arena *a, struct saga_stored_record *r,
                                  struct ficus_error *reterr)
{
    bool failed = false;
    r->seq = db_i64(s, 0);
    r->at_ms = db_i64(s, 1);
    if (!saga_record_parse(db_text(s, 2), &r->kind))
        return err_set(reterr, FICUS_ERR_CORRUPT, "unknown record \"" SLICE_FMT "\"", SLICE_ARG(db_text(s, 2)));
    r->step = copy_str(a, db_text(s, 3), &failed);
    r->status = db_i64(s, 4);
    r->code = copy_str(a, db_text(s, 5), &failed);
    r->attempts = db_i64(s, 6);
    r->actor = copy(a, db_text(s, 7), &failed);
    r->reason = copy(a, db_text(s, 8), &failed);
    r->data = copy(a, db_text(s, 9), &failed);
    return failed ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
}

static enum ficus_err load_records(struct db_conn *c, struct arena *a, struct saga_stored *st,
                                   struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(
        c, &s, reterr,
        "SELECT seq, at, kind, step, status, code, attempts, actor, reason, data FROM saga_record WHERE saga = ? AND id = ? "
        "ORDER BY seq",
        "SS", st->start.saga, st->start.id);
    size_t capacity = 0;
    int row = 0;
    while (err == FICUS_ERR_OK && (row = db_step(s, reterr)) > 0) {
        if (st->record_count == capacity) {
            capacity = capacity == 0 ? 16 : capacity * 2;
            struct saga_stored_record *more = ARENA_ARRAY(a, struct saga_stored_record, capacity);
            if (more == NULL) {
                err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
                break;
            }
            if (st->record_count > 0)
                memcpy(more, st->records, st->record_count * sizeof *more);
            st->records = more;
        }
        err = read_record(s, a, &st->records[st->record_count], reterr);
        if (err == FICUS_ERR_OK)
            st->record_count++;
    }
    if (err == FICUS_ERR_OK && row < 0)
        err = (enum ficus_err) - row;
    db_finish(s);
    return err;
}

enum ficus_err saga_journal_load(struct saga_journal *j, struct arena *a, struct slice saga, struct slice id,
                                 struct saga_stored **ret_stored, struct ficus_error *reterr)
{
    struct saga_stored *st = ARENA_NEW(a, struct saga_stored);
    if (st == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    struct db_conn *c;
    enum ficus_err err = db_reader_take(saga_journal_db(j), &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = load_instance(c, a, saga, id, st, reterr);
    if (err == FICUS_ERR_OK)
        err = load_records(c, a, st, reterr);
    db_reader_give(saga_journal_db(j), c);
    if (err == FICUS_ERR_OK)
        *ret_stored = st;
    return err;
}

/* A query on a reader of its own. On OK query_end follows. */
struct query {
    struct saga_journal *j;
    struct db_conn *c;
    struct db_stmt *s;
};

/* Binds as db_query does. query_end in every case. */
static enum ficus_err query_begin(struct query *q, struct ficus_error *reterr, const char *sql, const char *format, ...)
{
    va_list args;
    enum ficus_err err = db_reader_take(saga_journal_db(q->j), &q->c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    va_start(args, format);
    err = db_vquery(q->c, &q->s, reterr, sql, format, args);
    va_end(args);
    return err;
}

static enum ficus_err query_end(struct query *q, enum ficus_err err)
{
    db_finish(q->s);
    if (q->c != NULL)
        db_reader_give(saga_journal_db(q->j), q->c);
    return err;
}

/* True: there is a row. Else *ret_err says whether that is the end. */
static bool query_row(struct query *q, enum ficus_err *ret_err, struct ficus_error *reterr)
{
    int row = *ret_err == FICUS_ERR_OK ? db_step(q->s, reterr) : 0;
    if (row < 0)
        *ret_err = (enum ficus_err) - row;
    return row > 0;
}

/* All rows of ROW_COLUMNS to fn. err: of the query. */
static enum ficus_err each_row(struct query *q, enum ficus_err err, void (*fn)(void *arg, const struct saga_stored *row), void *arg,
                               struct ficus_error *reterr)
{
    struct arena a;
    arena_init(&a, 64 * 1024);
    while (query_row(q, &err, reterr)) {
        struct saga_stored st = {0};
        err = read_row(q->s, &a, &st, reterr);
        if (err == FICUS_ERR_OK)
            fn(arg, &st);
        arena_clear(&a);
    }
    arena_done(&a);
    return err;
}

enum ficus_err saga_journal_row(struct saga_journal *j, struct arena *a, struct slice saga, struct slice id, struct saga_stored *ret_row,
                                struct ficus_error *reterr)
{
    struct query r = {.j = j};
    enum ficus_err err = query_begin(&r, reterr, "SELECT " ROW_COLUMNS " FROM saga_instance i WHERE i.saga = ? AND i.id = ?", "SS", saga, id);
    if (query_row(&r, &err, reterr))
        err = read_row(r.s, a, ret_row, reterr);
    else if (err == FICUS_ERR_OK)
        err = err_set(reterr, FICUS_ERR_NOT_FOUND, "there is no saga " SLICE_FMT "/" SLICE_FMT, SLICE_ARG(saga), SLICE_ARG(id));
    return query_end(&r, err);
}

enum ficus_err saga_journal_list(struct saga_journal *j, const struct saga_journal_query *q,
                                 void (*fn)(void *arg, const struct saga_stored *row), void *arg,
                                 struct ficus_error *reterr)
{
    char sql[512], state[64] = "";
    bool one = q->saga.p != NULL, same = one && slice_eq(q->saga, q->after_saga);
    if (q->state != SAGA_NONE)
        snprintf(state, sizeof state, "i.state = '%s' AND ", saga_state_text(q->state));
    snprintf(sql, sizeof sql, "SELECT " ROW_COLUMNS " FROM saga_instance i WHERE %s%s ORDER BY i.saga, i.id LIMIT ?", state,
             one ? "i.saga = ? AND i.id > ?" : "(i.saga, i.id) > (?, ?)");
    struct query r = {.j = j};
    bool begin = one ? !same : q->after_saga.p == NULL;
    struct slice saga = one ? q->saga : begin ? SLICE("") : q->after_saga;
    enum ficus_err err = query_begin(&r, reterr, sql, "SSi", saga, begin ? SLICE("") : q->after_id, (int64_t)q->count_max);
    return query_end(&r, each_row(&r, err, fn, arg, reterr));
}

enum ficus_err saga_journal_versions(struct saga_journal *j, struct slice saga,
                                     void (*fn)(void *arg, struct slice hash, enum saga_state_name state, int64_t count),
                                     void *arg, struct ficus_error *reterr)
{
    struct query r = {.j = j};
    enum ficus_err err = query_begin(&r, reterr,
                   "SELECT definition, state, count(*) FROM saga_instance INDEXED BY saga_instance_open "
                   "WHERE state IN ('running', 'undoing', 'stuck', 'waiting') AND saga = ? GROUP BY definition, state "
                   "ORDER BY definition, state",
                   "S", saga);
    while (query_row(&r, &err, reterr)) {
        enum saga_state_name state;
        if (saga_state_parse(db_text(r.s, 1), &state))
            fn(arg, db_text(r.s, 0), state, db_i64(r.s, 2));
    }
    return query_end(&r, err);
}

enum ficus_err saga_journal_definition(struct saga_journal *j, struct arena *a, struct slice hash, struct slice *ret_text,
                                       struct ficus_error *reterr)
{
    struct query r = {.j = j};
    enum ficus_err err = query_begin(&r, reterr, "SELECT text FROM saga_definition WHERE hash = ?", "S", hash);
    if (query_row(&r, &err, reterr)) {
        *ret_text = arena_slice(a, db_text(r.s, 0));
        if (ret_text->p == NULL)
            err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    } else if (err == FICUS_ERR_OK) {
        err = err_set(reterr, FICUS_ERR_NOT_FOUND, "there is no definition " SLICE_FMT, SLICE_ARG(hash));
    }
    return query_end(&r, err);
}

enum ficus_err saga_journal_awaiting(struct saga_journal *j, void (*fn)(void *arg, struct slice hash, struct slice text), void *arg,
                                     struct ficus_error *reterr)
{
    struct query r = {.j = j};
    enum ficus_err err = query_begin(&r, reterr,
                   "SELECT hash, text FROM saga_definition WHERE text LIKE '%\"given\\_by\":%' ESCAPE '\\' OR text LIKE "
                   "'%\"refused\\_by\":%' ESCAPE '\\'", "");
    while (query_row(&r, &err, reterr))
        fn(arg, db_text(r.s, 0), db_text(r.s, 1));
    return query_end(&r, err);
}

enum ficus_err saga_journal_due(struct saga_journal *j, int64_t now_ms, size_t count_max,
                                void (*fn)(void *arg, struct slice saga, struct slice id), void *arg, int64_t *ret_next_ms,
                                struct ficus_error *reterr)
{
    struct query r = {.j = j};
    enum ficus_err err = query_begin(&r, reterr,
                   "SELECT saga, id FROM saga_instance INDEXED BY saga_instance_wake WHERE state = 'waiting' AND wake_at <= ? "
                   "ORDER BY wake_at LIMIT ?",
                   "ii", now_ms, (int64_t)count_max);
    while (query_row(&r, &err, reterr))
        fn(arg, db_text(r.s, 0), db_text(r.s, 1));
    db_finish(r.s);
    r.s = NULL;
    int64_t next_ms = INT64_MAX;
    if (err == FICUS_ERR_OK)
        err = db_query(r.c, &r.s, reterr,
                       "SELECT wake_at FROM saga_instance INDEXED BY saga_instance_wake WHERE state = 'waiting' AND wake_at > ? "
                       "ORDER BY wake_at LIMIT 1",
                       "i", now_ms);
    if (query_row(&r, &err, reterr))
        next_ms = db_i64(r.s, 0);
    if (err == FICUS_ERR_OK)
        *ret_next_ms = next_ms;
    return query_end(&r, err);
}

enum ficus_err saga_journal_untold(struct saga_journal *j, size_t count_max, void (*fn)(void *arg, const struct saga_stored *row), void *arg,
                                   struct ficus_error *reterr)
{
    struct query r = {.j = j};
    /* A damaged row is left alone, and keeps no other from being told. */
    enum ficus_err err = query_begin(&r, reterr,
                   "SELECT " ROW_COLUMNS " FROM saga_instance i INDEXED BY saga_instance_untold WHERE untold = 1 AND "
                   "state IN ('completed', 'compensated', 'terminated') AND parent_id <> '' AND parent_step <> '' LIMIT ?",
                   "i", (int64_t)count_max);
    return query_end(&r, each_row(&r, err, fn, arg, reterr));
}

enum ficus_err saga_stored_fold(const struct saga_stored *stored, const struct saga_def *def,
                                struct saga_state *ret_state, struct ficus_error *reterr)
{
    struct saga_state state = {0};
    for (size_t i = 0; i < stored->record_count; i++) {
        const struct saga_stored_record *sr = &stored->records[i];
        struct saga_record r = {.kind = sr->kind, .at_ms = sr->at_ms};
        if (sr->step[0] != '\0') {
            r.step = saga_step_named(def, slice_str(sr->step));
            if (r.step == def->step_count)
                return err_set(reterr, FICUS_ERR_CORRUPT, "saga %s has no step \"%s\"", def->name, sr->step);
        }
        snprintf(r.code, sizeof r.code, "%s", sr->code);
        enum ficus_err err = saga_fold(def, &state, &r, reterr);
        if (err != FICUS_ERR_OK)
            return err;
    }
    *ret_state = state;
    return FICUS_ERR_OK;
}
