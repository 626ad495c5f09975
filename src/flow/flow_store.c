/* SPDX-License-Identifier: Apache-2.0
 *
 * See flow_store.h: the file, and what is read of it.
 */
#include "flow_private.h"

#include "sha256.h"

enum { TEXT_SIZE_MAX = 4 * 1024 * 1024, MARKS_MAX = FLOW_EVENTS_MAX * (FLOW_STEPS_MAX + 8) };

/* Goes into the definitions' hash: another one has all made anew, when a new Ficus judges otherwise. */
#define FOLD_VERSION "1 "

/* Steps by number: they never outlive their definitions. need: the offset that the consumer has to pass, NULL when it is not waited
 * for; told: somebody heard that the instance is in trouble since due_at. */
#define STORE_SQL                                                                                                              \
    "CREATE TABLE flow_meta(name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;\n"                              \
    "CREATE TABLE flow_consumer(service TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;\n"                 \
    "CREATE TABLE flow_instance(flow TEXT NOT NULL, id TEXT NOT NULL, open INTEGER NOT NULL, failure TEXT NOT NULL,\n"         \
    " step TEXT NOT NULL, stuck_at INTEGER NOT NULL, orphaned_at INTEGER NOT NULL, undone_at INTEGER NOT NULL,\n"              \
    " due_at INTEGER NOT NULL, late INTEGER NOT NULL, told INTEGER NOT NULL, started_at INTEGER NOT NULL,\n"                   \
    " updated_at INTEGER NOT NULL, PRIMARY KEY(flow, id)) STRICT, WITHOUT ROWID;\n"                                            \
    "CREATE INDEX flow_instance_open ON flow_instance(flow, id) WHERE open = 1;\n"                                             \
    "CREATE INDEX flow_instance_ended ON flow_instance(flow, failure) WHERE open = 0;\n"                                       \
    "CREATE INDEX flow_instance_due ON flow_instance(due_at) WHERE open = 1 AND told = 0;\n"                                   \
    "CREATE INDEX flow_instance_age ON flow_instance(updated_at);\n"                                                           \
    "CREATE TABLE flow_event(flow TEXT NOT NULL, id TEXT NOT NULL, offset INTEGER NOT NULL, topic INTEGER NOT NULL,\n"         \
    " time INTEGER NOT NULL, event TEXT NOT NULL, source TEXT NOT NULL, correlation TEXT, causation TEXT,\n"                   \
    " traceparent TEXT, PRIMARY KEY(flow, id, offset)) STRICT, WITHOUT ROWID;\n"                                               \
    "CREATE INDEX flow_event_event ON flow_event(event);\n"                                                                    \
    "CREATE TABLE flow_mark(flow TEXT NOT NULL, id TEXT NOT NULL, offset INTEGER NOT NULL, step INTEGER NOT NULL,\n"           \
    " service TEXT NOT NULL, kind INTEGER NOT NULL, at INTEGER NOT NULL, letter INTEGER NOT NULL, need INTEGER,\n"             \
    " PRIMARY KEY(flow, id, offset, step, service)) STRICT, WITHOUT ROWID;\n"                                                  \
    "CREATE INDEX flow_mark_need ON flow_mark(service, need) WHERE need IS NOT NULL;\n"                                        \
    "CREATE INDEX flow_mark_letter ON flow_mark(letter) WHERE letter <> 0;\n"

static const struct db_migration migrations[] = {{1, "flows", SLICE(STORE_SQL)}};

/* ---- what the definitions say ---- */

int flow_store_index(const struct flow_store *s, struct slice flow)
{
    for (size_t i = 0; i < s->def_count; i++)
        if (slice_eq_str(flow, s->defs[i].name))
            return (int)i;
    return -1;
}

int flow_consumer_index(const struct flow_store *s, struct slice service)
{
    for (size_t i = 0; i < s->consumer_count; i++)
        if (slice_eq_str(service, s->consumers[i].name))
            return (int)i;
    return -1;
}

static bool has_topic(struct slice list, struct slice topic)
{
    while (list.p != NULL)
        if (slice_eq(slice_cut(&list, ','), topic))
            return true;
    return false;
}

static enum ficus_err read_defs(struct flow_store *s, struct ficus_error *reterr)
{
    struct buf topics;
    bool fits = true;
    buf_init(&topics, 2 + EVENT_TOPICS_MAX * (size_t)(EVENT_TOPIC_SIZE_MAX + 1));
    buf_add_str(&topics, EVENT_TOPIC_DEAD "," EVENT_TOPIC_CLOSED);
    s->graphs = ARENA_ARRAY(&s->arena, struct flow_graph, s->def_count);
    for (size_t d = 0; d < s->def_count && fits && s->graphs != NULL; d++) {
        struct flow_graph *g = &s->graphs[d];
        fits = flow_graph_make(&s->defs[d], g);
        for (size_t i = 0; i < g->topic_count && fits; i++)
            if (!has_topic(buf_slice(&topics), slice_str(g->topics[i])))
                fits = buf_printf(&topics, ",%s", g->topics[i]);
        for (size_t i = 0; i < s->defs[d].step_count && fits; i++) {
            const char *consumer = s->defs[d].steps[i].consumer;
            if (consumer == NULL || flow_consumer_index(s, slice_str(consumer)) >= 0)
                continue;
            fits = s->consumer_count < FLOW_CONSUMERS_MAX;
            if (fits)
                s->consumers[s->consumer_count++].name = consumer;
        }
    }
    s->topics = arena_strdup(&s->arena, buf_slice(&topics));
    buf_done(&topics);
    if (s->graphs == NULL || s->topics == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    return fits ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_TOO_LARGE, "the flows have more topics or consumers than can be followed");
}

static enum ficus_err hash_defs(const struct flow_store *s, char ret_hash[SHA256_HEX_SIZE])
{
    struct buf out;
    struct buf text;
    buf_init(&out, TEXT_SIZE_MAX);
    buf_init(&text, TEXT_SIZE_MAX + sizeof FOLD_VERSION);
    bool fine = flow_defs_write(s->defs, s->def_count, &out) && buf_add_str(&text, FOLD_VERSION) && buf_add_slice(&text, buf_slice(&out)) &&
                sha256_hex(buf_slice(&text), ret_hash);
    buf_done(&out);
    buf_done(&text);
    return fine ? FICUS_ERR_OK : FICUS_ERR_NOMEM;
}

/* ---- opening ---- */

enum ficus_err flow_meta_put(struct db_conn *c, const char *name, int64_t value, struct ficus_error *reterr)
{
    return db_exec(c, reterr, "INSERT INTO flow_meta(name, value) VALUES(?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", "si", name, value);
}

enum ficus_err flow_wipe(struct db_conn *c, struct ficus_error *reterr)
{
    static const char *const statements[] = {"DELETE FROM flow_instance", "DELETE FROM flow_event", "DELETE FROM flow_mark",
                                             "DELETE FROM flow_meta WHERE name <> 'definitions'"};
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < ARRAY_COUNT(statements) && err == FICUS_ERR_OK; i++)
        err = db_exec(c, reterr, statements[i], "");
    return err;
}

static enum ficus_err begin_anew(struct db_conn *c, const char *hash, struct ficus_error *reterr)
{
    enum ficus_err err = flow_wipe(c, reterr);
    return err != FICUS_ERR_OK ? err : db_exec(c, reterr,
                                                "INSERT INTO flow_meta(name, value) VALUES('definitions', ?) ON CONFLICT DO UPDATE SET value = "
                                                "excluded.value",
                                                "s", hash);
}

/* Of these definitions, of others, or of none yet. */
static enum ficus_err compare_defs(struct db_conn *c, const char *hash, const char **ret_anew, struct ficus_error *reterr)
{
    struct db_stmt *st = NULL;
    enum ficus_err err = db_query(c, &st, reterr, "SELECT value FROM flow_meta WHERE name = 'definitions'", "");
    int row = err == FICUS_ERR_OK ? db_step(st, reterr) : 0;
    bool same = row > 0 && slice_eq_str(db_text(st, 0), hash);
    if (row < 0)
        err = (enum ficus_err)-row;
    else if (!same)
        *ret_anew = row > 0 ? "the definitions are others" : "";
    db_finish(st);
    return err != FICUS_ERR_OK || same ? err : begin_anew(c, hash, reterr);
}

static enum ficus_err read_places(struct flow_store *s, struct db_conn *c, struct ficus_error *reterr)
{
    struct db_stmt *st = NULL;
    int row = 0;
    enum ficus_err err = db_query(c, &st, reterr,
                                  "SELECT name, value FROM flow_meta WHERE name <> 'definitions' UNION ALL SELECT '/' || service, position FROM "
                                  "flow_consumer", "");
    while (err == FICUS_ERR_OK && (row = db_step(st, reterr)) > 0) {
        struct slice name = db_text(st, 0);
        int consumer = name.size > 0 && name.p[0] == '/' ? flow_consumer_index(s, slice_from(name, 1)) : -1;
        if (slice_eq_str(name, "position"))
            s->position = db_i64(st, 1);
        else if (slice_eq_str(name, "judged"))
            s->judged_ms = db_i64(st, 1);
        else if (consumer >= 0)
            s->consumers[consumer].position = db_i64(st, 1);
    }
    db_finish(st);
    return err == FICUS_ERR_OK && row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err open_file(struct flow_store *s, const char *path, const char *hash, const char **ret_anew, struct ficus_error *reterr)
{
    const struct db_options options = {.path = path, .is_derived = true};
    struct db_tx tx = {0};
    enum ficus_err err = db_open(s->env, &options, &s->db, reterr);
    if (err == FICUS_ERR_OK)
        err = db_migrate(s->db, "flow", migrations, ARRAY_COUNT(migrations), reterr);
    if (err == FICUS_ERR_OK)
        err = db_tx_begin(s->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = compare_defs(db_tx_conn(&tx), hash, ret_anew, reterr);
    if (err == FICUS_ERR_OK)
        err = read_places(s, db_tx_conn(&tx), reterr);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

/* What of the file cannot be used is no loss. */
static enum ficus_err open_or_replace(struct flow_store *s, const char *path, const char **ret_anew, struct ficus_error *reterr)
{
    char hash[SHA256_HEX_SIZE];
    bool was_there;
    if (hash_defs(s, hash) != FICUS_ERR_OK)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = open_file(s, path, hash, ret_anew, reterr);
    if (err != FICUS_ERR_CORRUPT && err != FICUS_ERR_VERSION && err != FICUS_ERR_CONFLICT)
        return err;
    db_close(s->db);
    s->db = NULL;
    err = db_remove(s->env, path, &was_there, reterr);
    if (err == FICUS_ERR_OK)
        err = open_file(s, path, hash, ret_anew, reterr);
    *ret_anew = "the file was damaged, or another Ficus made it";
    return err;
}

enum ficus_err flow_store_open(struct env *e, const struct flow_store_options *o, struct flow_store **ret_store, const char **ret_anew,
                               struct ficus_error *reterr)
{
    FICUS_ASSERT(o->def_count > 0);
    struct flow_store *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    s->env = e;
    s->defs = o->defs;
    s->def_count = o->def_count;
    s->retention_ms = o->retention_ms > 0 ? o->retention_ms : INT64_MAX / 2;
    s->ended_max = o->ended_max > 0 ? o->ended_max : FLOW_ENDED_MAX;
    arena_init(&s->arena, TEXT_SIZE_MAX);
    s->work = mem_zalloc(sizeof *s->work);
    *ret_anew = NULL;
    enum ficus_err err = s->work == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : read_defs(s, reterr);
    if (err == FICUS_ERR_OK)
        err = open_or_replace(s, o->path, ret_anew, reterr);
    if (err != FICUS_ERR_OK) {
        flow_store_close(s);
        return err_wrap(reterr, "flows");
    }
    *ret_store = s;
    return FICUS_ERR_OK;
}

void flow_store_close(struct flow_store *s)
{
    if (s == NULL)
        return;
    db_close(s->db);
    arena_done(&s->arena);
    mem_free(s->work);
    mem_free(s);
}

int64_t flow_store_position(const struct flow_store *s)
{
    return s->position;
}

int64_t flow_store_judged_ms(const struct flow_store *s)
{
    return s->judged_ms;
}

const char *flow_store_topics(const struct flow_store *s)
{
    return s->topics;
}

size_t flow_store_consumer_count(const struct flow_store *s)
{
    return s->consumer_count;
}

const char *flow_store_consumer(const struct flow_store *s, size_t i)
{
    return s->consumers[i].name;
}

int64_t flow_store_consumer_position(const struct flow_store *s, size_t i)
{
    return s->consumers[i].position;
}

/* ---- one instance ---- */

static struct slice keep(struct arena *a, struct slice text, bool *failed)
{
    if (text.p == NULL || a == NULL)
        return SLICE_NONE;
    struct slice copy = arena_slice(a, text);
    *failed = *failed || copy.p == NULL;
    return copy;
}

static enum ficus_err load_events(struct db_conn *c, struct arena *a, struct slice id, struct flow_stored *st, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    bool failed = false;
    int row = 0;
    st->event_count = 0;
    enum ficus_err err = db_query(c, &s, reterr,
                                  "SELECT offset, topic, time, event, source, correlation, causation, traceparent FROM flow_event WHERE flow = ? AND "
                                  "id = ? "
                                  "ORDER BY offset LIMIT ?",
                                  "sSi", st->graph->def->name, id, (int64_t)FLOW_EVENTS_MAX);
    while (err == FICUS_ERR_OK && (row = db_step(s, reterr)) > 0) {
        int64_t topic = db_i64(s, 1);
        if (topic < 0 || topic >= (int64_t)st->graph->topic_count) {
            err = err_set(reterr, FICUS_ERR_CORRUPT, "flow %s has no topic %lld", st->graph->def->name, (long long)topic);
            break;
        }
        st->events[st->event_count] = (struct flow_seen){.offset = db_i64(s, 0), .topic = (int)topic, .time_ms = db_i64(s, 2)};
        if (a != NULL)
            st->details[st->event_count] = (struct flow_stored_event){.id = keep(a, db_text(s, 3), &failed),
                                                                      .source = keep(a, db_text(s, 4), &failed),
                                                                      .correlation = keep(a, db_text(s, 5), &failed),
                                                                      .causation = keep(a, db_text(s, 6), &failed),
                                                                      .traceparent = keep(a, db_text(s, 7), &failed)};
        st->event_count++;
    }
    db_finish(s);
    if (err == FICUS_ERR_OK && row < 0)
        err = (enum ficus_err)-row;
    return err == FICUS_ERR_OK && failed ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : err;
}

/* Marks by event: those of steps for the fold, in one array that the events point into; all of them for the history. */
static enum ficus_err load_marks(struct db_conn *c, struct arena *a, struct slice id, struct flow_stored *st, struct flow_mark *of_steps,
                                 struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    size_t at = 0, count = 0;
    int row = 0;
    st->mark_count = 0;
    enum ficus_err err = db_query(c, &s, reterr,
                                  "SELECT offset, step, kind, at, letter, service FROM flow_mark WHERE flow = ? AND id = ? ORDER BY offset, "
                                  "step", "sS",
                                  st->graph->def->name, id);
    while (err == FICUS_ERR_OK && count < MARKS_MAX && (row = db_step(s, reterr)) > 0) {
        int64_t offset = db_i64(s, 0), step = db_i64(s, 1);
        while (at < st->event_count && st->events[at].offset < offset)
            at++;
        if (at == st->event_count || st->events[at].offset != offset || step >= (int64_t)st->graph->def->step_count)
            continue; /* of an event that a full instance goes without */
        enum flow_mark_kind kind = (enum flow_mark_kind)db_i64(s, 2);
        if (step >= 0) {
            if (st->events[at].marks == NULL)
                st->events[at].marks = &of_steps[count];
            of_steps[count++] = (struct flow_mark){.step = (uint8_t)step, .kind = kind, .at_ms = db_i64(s, 3), .letter = db_i64(s, 4)};
            st->events[at].mark_count++;
        }
        if (a == NULL || st->mark_count == MARKS_MAX)
            continue;
        st->marks[st->mark_count++] = (struct flow_stored_mark){.event = at, .step = (int)step, .service = arena_strdup(a, db_text(s, 5)),
                                                                .kind = kind,
                                                                .at_ms = db_i64(s, 3), .letter = db_i64(s, 4)};
    }
    db_finish(s);
    return err == FICUS_ERR_OK && row < 0 ? (enum ficus_err)-row : err;
}

enum ficus_err flow_load(struct db_conn *c, struct arena *a, struct slice id, struct flow_stored *st, struct ficus_error *reterr)
{
    enum ficus_err err = load_events(c, a, id, st, reterr);
    struct flow_mark *marks = err == FICUS_ERR_OK ? mem_array(MARKS_MAX, sizeof *marks) : NULL;
    if (err == FICUS_ERR_OK && a != NULL)
        st->marks = ARENA_ARRAY(a, struct flow_stored_mark, MARKS_MAX);
    if (err == FICUS_ERR_OK && (marks == NULL || (a != NULL && st->marks == NULL)))
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    if (err == FICUS_ERR_OK)
        err = load_marks(c, a, id, st, marks, reterr);
    if (err == FICUS_ERR_OK)
        flow_fold(st->graph, st->events, st->event_count, &st->fold);
    for (size_t i = 0; i < st->event_count; i++)
        st->events[i].marks = NULL;
    mem_free(marks);
    return err;
}

/* ---- reading ---- */

#define ROW_COLUMNS "flow, id, open, failure, step, stuck_at, orphaned_at, undone_at, due_at, late, started_at, updated_at"

static bool read_row(struct db_stmt *s, struct arena *a, int64_t judged_ms, struct flow_row *r)
{
    bool failed = false;
    struct slice failure = db_text(s, 3);
    *r = (struct flow_row){
        .flow = keep(a, db_text(s, 0), &failed),
        .id = keep(a, db_text(s, 1), &failed),
        .state = flow_state_of(db_i64(s, 2) != 0, failure.size > 0, db_i64(s, 5), db_i64(s, 6), db_i64(s, 7), judged_ms),
        .failure = arena_strdup(a, failure),
        .step = arena_strdup(a, db_text(s, 4)),
        .due_ms = db_i64(s, 8),
        .late = db_i64(s, 9) != 0,
        .started_ms = db_i64(s, 10),
        .updated_ms = db_i64(s, 11),
    };
    return !failed && r->failure != NULL && r->step != NULL;
}

/* In SQL what flow_state_of says; all but the ended ones by the index of the open ones. */
static const char *const state_conditions[FLOW_STATE_COUNT] = {
    [FLOW_RUNNING] = "open = 1 AND due_at >= ?1",
    [FLOW_STUCK] = "open = 1 AND undone_at >= ?1 AND orphaned_at >= ?1 AND stuck_at < ?1",
    [FLOW_ORPHANED] = "open = 1 AND undone_at >= ?1 AND orphaned_at < ?1",
    [FLOW_UNCOMPENSATED] = "open = 1 AND undone_at < ?1",
    [FLOW_COMPLETED] = "open = 0 AND failure = '' AND ?1 = ?1",
    [FLOW_COMPENSATED] = "open = 0 AND failure <> '' AND ?1 = ?1",
};

static enum ficus_err list_rows(struct db_conn *c, const struct flow_query *q, int64_t judged_ms, void (*fn)(void *arg, const struct flow_row *row),
                                void *arg,
                                struct ficus_error *reterr)
{
    const char *condition = q->state >= 0 ? state_conditions[q->state] : q->trouble ? "open = 1 AND due_at < ?1" : "?1 = ?1";
    struct db_stmt *s = NULL;
    struct arena a;
    struct buf sql;
    int row = 0;
    buf_init(&sql, 2048);
    arena_init(&a, 64 * 1024);
    (void)buf_printf(&sql, /* room for all of it */
                     "SELECT " ROW_COLUMNS " FROM flow_instance WHERE (flow, id) > (?2, ?3) AND (?4 IS NULL OR flow = ?4) AND %s ORDER BY flow, id "
                                           "LIMIT ?5",
                     condition);
    struct slice empty = SLICE("");
    enum ficus_err err = db_query(c, &s, reterr, buf_str(&sql), "iSSSi", judged_ms, q->after_flow.p == NULL ? empty : q->after_flow,
                                  q->after_id.p == NULL ? empty : q->after_id, q->flow, (int64_t)q->count_max);
    while (err == FICUS_ERR_OK && (row = db_step(s, reterr)) > 0) {
        struct flow_row r;
        arena_clear(&a);
        if (read_row(s, &a, judged_ms, &r))
            fn(arg, &r);
        else
            err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    }
    db_finish(s);
    buf_done(&sql);
    arena_done(&a);
    return err == FICUS_ERR_OK && row < 0 ? (enum ficus_err)-row : err;
}

enum ficus_err flow_store_list(struct flow_store *s, const struct flow_query *q, int64_t judged_ms,
                               void (*fn)(void *arg, const struct flow_row *row), void *arg,
                               struct ficus_error *reterr)
{
    struct db_conn *c;
    enum ficus_err err = db_reader_take(s->db, &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = list_rows(c, q, judged_ms, fn, arg, reterr);
    db_reader_give(s->db, c);
    return err;
}

enum ficus_err flow_counts(struct db_conn *c, const char *flow, int64_t judged_ms, int64_t ret_counts[FLOW_STATE_COUNT], struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    struct buf sql;
    buf_init(&sql, 512);
    for (size_t i = 0; i < FLOW_STATE_COUNT && err == FICUS_ERR_OK; i++) {
        struct db_stmt *s = NULL;
        buf_clear(&sql);
        (void)buf_printf(&sql, "SELECT count(*) FROM flow_instance WHERE %s AND flow = ?2", state_conditions[i]);
        err = db_query(c, &s, reterr, buf_str(&sql), "is", judged_ms, flow);
        int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
        if (row > 0)
            ret_counts[i] = db_i64(s, 0);
        else if (row < 0)
            err = (enum ficus_err)-row;
        db_finish(s);
    }
    buf_done(&sql);
    return err;
}

enum ficus_err flow_store_counts(struct flow_store *s, const char *flow, int64_t judged_ms, int64_t ret_counts[FLOW_STATE_COUNT],
                                 struct ficus_error *reterr)
{
    struct db_conn *c;
    enum ficus_err err = db_reader_take(s->db, &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = flow_counts(c, flow, judged_ms, ret_counts, reterr);
    db_reader_give(s->db, c);
    return err;
}

static enum ficus_err load_row(struct db_conn *c, struct arena *a, struct slice flow, struct slice id, int64_t judged_ms, struct flow_row *ret_row,
                               struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT " ROW_COLUMNS " FROM flow_instance WHERE flow = ? AND id = ?", "SS", flow, id);
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (row < 0)
        err = (enum ficus_err)-row;
    else if (err == FICUS_ERR_OK && row == 0)
        err = err_set(reterr, FICUS_ERR_NOT_FOUND, "there is no instance " SLICE_FMT " of flow " SLICE_FMT, SLICE_ARG(id), SLICE_ARG(flow));
    else if (err == FICUS_ERR_OK && !read_row(s, a, judged_ms, ret_row))
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    db_finish(s);
    return err;
}

enum ficus_err flow_store_load(struct flow_store *s, struct arena *a, struct slice flow, struct slice id, int64_t judged_ms,
                               struct flow_stored **ret_stored,
                               struct ficus_error *reterr)
{
    int index = flow_store_index(s, flow);
    struct db_conn *c;
    if (index < 0)
        return err_set(reterr, FICUS_ERR_NOT_FOUND, "there is no flow " SLICE_FMT, SLICE_ARG(flow));
    struct flow_stored *st = ARENA_NEW(a, struct flow_stored);
    if (st == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    st->graph = &s->graphs[index];
    enum ficus_err err = db_reader_take(s->db, &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_reader_snapshot(c, reterr);
    if (err == FICUS_ERR_OK)
        err = load_row(c, a, flow, id, judged_ms, &st->row, reterr);
    if (err == FICUS_ERR_OK)
        err = flow_load(c, a, id, st, reterr);
    db_reader_give(s->db, c);
    if (err == FICUS_ERR_OK)
        *ret_stored = st;
    return err;
}
