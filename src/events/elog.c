/* SPDX-License-Identifier: Apache-2.0
 *
 * Three kinds of jobs run on workers, each sees only what it was given: append (one at a time, all batches that wait in one transaction), read (one
 * a reader, from a snapshot), janitor. Everything else is loop thread.
 *
 * Reader:  IDLE -> elog_read -> JOB -> found, failed or no time left -> done, IDLE
 *                      \         |^ committed while it ran (dirty), or the pool had no room (timer)
 *                       \        v| committed
 *                        `--> WAITING -> time is up -> done, IDLE
 */
#include "elog.h"

#include "assert.h"
#include "db.h"
#include "mem.h"
#include "timefmt.h"

enum {
    READ_SIZE_MAX = 2 * 1024 * 1024,            /* bodies in one answer, if it has more than one */
    READ_ARENA_MAX = READ_SIZE_MAX + 2 * EVENT_SIZE_MAX + EVENT_BATCH_COUNT_MAX * 8192,
    APPEND_ARENA_MAX = 2 * EVENT_BATCH_SIZE_MAX,
    TOPICS_MAX = 10000,                         /* in elog_topics */
    RETRY_MS = 20,                              /* when the pool has no room */
    JANITOR_MS = 10 * 60 * 1000,
    JANITOR_SIZE = 64 * 1024 * 1024,            /* appended bytes that bring the janitor early */
    JANITOR_ROWS = 500,                         /* deleted in one transaction: appends wait that long */
    JANITOR_ROUNDS = 1000,
};

#define OLDEST_SQL "offset <= (SELECT max(offset) FROM (SELECT offset FROM event ORDER BY offset LIMIT 500))"

static const struct db_migration migrations[] = {
    {1, "0001_event.sql",
        SLICE("CREATE TABLE event(offset INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL,"
              " subject TEXT, at INTEGER NOT NULL, body TEXT NOT NULL, data_at INTEGER NOT NULL, UNIQUE(source, id)) STRICT;"
              "CREATE INDEX event_topic ON event(topic, offset);")},
};

struct append_row {
    struct slice topic, source, id, subject, body;
    size_t data_at;
};

struct append {
    struct list link;
    struct arena arena;
    struct append_row *rows;
    size_t count;
    int64_t last_offset;
    void (*done)(void *arg, enum ficus_err err, int64_t last_offset, const char *detail);
    void *arg;
};

enum reader_state { READER_IDLE, READER_JOB, READER_WAITING };

struct elog_reader {
    struct list link;
    struct elog *log;
    enum reader_state state;
    bool dirty, freed;
    char *topics_text;
    struct slice topics[EVENT_TOPICS_MAX];
    size_t topic_count, count_max;
    int64_t offset, end_ns;
    struct env_timer timer;
    struct env_job job;
    void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next);
    void *arg;
    /* the job's result */
    struct arena arena;
    struct event *events;
    size_t count;
    int64_t next;
    enum ficus_err err;
};

struct elog {
    struct env *env;
    struct db *db;
    struct elog_options o;
    int64_t last_offset;
    struct list readers;
    struct buf scratch;
    size_t jobs;                        /* that run */
    /* append */
    struct list waiting, writing;       /* the latter belongs to the job while it runs */
    size_t queue_size;
    bool append_runs;
    struct env_job append_job;
    struct env_timer append_retry;
    int64_t write_last_offset;          /* the job's, as it begins and as it ends */
    struct ficus_error write_error;
    /* janitor */
    bool janitor_runs;
    struct env_job janitor_job;
    struct env_timer janitor_timer;
    size_t size_since;                  /* appended since it ran */
    /* close */
    bool closing, close_begun;
    struct env_timer close_timer;
    struct env_job close_job;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void append_start(void *arg);
static void janitor_start(void *arg);
static void close_go_on(struct elog *l);

static enum ficus_err job_run(struct elog *l, struct env_job *job)
{
    enum ficus_err err = env_run(l->env, job);
    if (err == FICUS_ERR_OK)
        l->jobs++;
    return err;
}

static void job_ended(struct elog *l)
{
    FICUS_ASSERT(l->jobs > 0);
    l->jobs--;
    close_go_on(l);
}

/* ---- open ---- */

static enum ficus_err last_offset_read(struct db *d, int64_t *ret_offset, struct ficus_error *reterr)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    enum ficus_err err = db_reader_take(d, &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_query(c, &s, reterr, "SELECT seq FROM sqlite_sequence WHERE name = 'event'", "");
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (row >= 0)
        *ret_offset = row > 0 ? db_i64(s, 0) : 0;
    db_finish(s);
    db_reader_give(d, c);
    return row < 0 ? (enum ficus_err)-row : err;
}

enum ficus_err elog_open(struct env *e, const struct elog_options *o, struct elog **ret_log, struct ficus_error *reterr)
{
    struct db_options options = {.path = o->path, .cache_kib = 4096};
    struct elog *l = mem_zalloc(sizeof *l);
    if (l == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
    enum ficus_err err = db_open(e, &options, &l->db, reterr);
    if (err == FICUS_ERR_OK)
        err = db_migrate(l->db, "elog", migrations, sizeof migrations / sizeof *migrations, reterr);
    if (err == FICUS_ERR_OK)
        err = last_offset_read(l->db, &l->last_offset, reterr);
    if (err != FICUS_ERR_OK) {
        db_close(l->db);
        mem_free(l);
        return err;
    }
    l->env = e;
    l->o = *o;
    l->o.path = NULL;
    if (l->o.retention_ms == 0)
        l->o.retention_ms = (int64_t)7 * 24 * 3600 * 1000;
    if (l->o.size_max == 0)
        l->o.size_max = (int64_t)4 * 1024 * 1024 * 1024;
    if (l->o.queue_size_max == 0)
        l->o.queue_size_max = 16 * 1024 * 1024;
    list_init(&l->readers);
    list_init(&l->waiting);
    list_init(&l->writing);
    buf_init(&l->scratch, EVENT_SIZE_MAX + 65536);
    l->append_retry = (struct env_timer){.fn = append_start, .arg = l};
    l->janitor_timer = (struct env_timer){.fn = janitor_start, .arg = l};
    env_timer_start(e, &l->janitor_timer, JANITOR_MS);
    *ret_log = l;
    return FICUS_ERR_OK;
}

int64_t elog_last_offset(const struct elog *l)
{
    return l->last_offset;
}

/* ---- append ---- */

static void append_free(struct append *ap)
{
    arena_done(&ap->arena);
    mem_free(ap);
}

static enum ficus_err append_row_make(struct elog *l, struct append *ap, const struct event *ev, struct append_row *ret_row)
{
    enum ficus_err err = event_check(ev, NULL);
    if (err != FICUS_ERR_OK)
        return err;
    struct event copy = *ev;
    copy.offset = 0;
    buf_clear(&l->scratch);
    err = event_encode(&l->scratch, &copy, NULL);
    if (err != FICUS_ERR_OK)
        return err;
    *ret_row = (struct append_row){
        .topic = arena_slice(&ap->arena, ev->topic),
        .source = arena_slice(&ap->arena, ev->source),
        .id = arena_slice(&ap->arena, ev->id),
        .subject = ev->subject.p == NULL ? SLICE_NONE : arena_slice(&ap->arena, ev->subject),
        .body = arena_slice(&ap->arena, buf_slice(&l->scratch)),
        .data_at = event_encoded_data_at(ev, buf_slice(&l->scratch).size),
    };
    return arena_overflowed(&ap->arena) ? FICUS_ERR_TOO_LARGE : FICUS_ERR_OK;
}

static enum ficus_err append_make(struct elog *l, const struct event *events, size_t count, struct append **ret_append)
{
    struct append *ap = mem_zalloc(sizeof *ap);
    if (ap == NULL)
        return FICUS_ERR_NOMEM;
    arena_init(&ap->arena, APPEND_ARENA_MAX);
    ap->rows = ARENA_ARRAY(&ap->arena, struct append_row, count);
    enum ficus_err err = ap->rows == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
    for (; err == FICUS_ERR_OK && ap->count < count; ap->count++)
        err = append_row_make(l, ap, &events[ap->count], &ap->rows[ap->count]);
    if (err == FICUS_ERR_OK)
        *ret_append = ap;
    else
        append_free(ap);
    return err;
}

enum ficus_err elog_append(struct elog *l, const struct event *events, size_t count,
                           void (*done)(void *arg, enum ficus_err err, int64_t last_offset, const char *detail), void *arg)
{
    struct append *ap = NULL;
    if (count == 0 || count > EVENT_BATCH_COUNT_MAX)
        return FICUS_ERR_INVALID;
    if (l->closing)
        return FICUS_ERR_CANCELLED;
    if (l->queue_size >= l->o.queue_size_max)
        return FICUS_ERR_BUSY;
    enum ficus_err err = append_make(l, events, count, &ap);
    if (err != FICUS_ERR_OK)
        return err;
    ap->done = done;
    ap->arg = arg;
    l->queue_size += arena_size(&ap->arena);
    list_add_tail(&l->waiting, &ap->link);
    if (!l->append_runs)
        append_start(l);
    return FICUS_ERR_OK;
}

/* [worker] Not by ON CONFLICT DO NOTHING: that would move sqlite_sequence, which readers take for the last offset given, over one that is not. */
static enum ficus_err rows_insert(struct db_conn *c, struct append *ap, int64_t now_ms, int64_t *last, struct ficus_error *reterr)
{
    for (size_t i = 0; i < ap->count; i++) {
        const struct append_row *r = &ap->rows[i];
        enum ficus_err err = db_exec(c, reterr,
            "INSERT INTO event(offset, topic, source, id, subject, at, body, data_at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"
            " WHERE NOT EXISTS(SELECT 1 FROM event WHERE source = ?3 AND id = ?4)", "iSSSSiSi", *last + 1, r->topic, r->source, r->id, r->subject, now_ms, r->body,
            (int64_t)r->data_at);
        if (err != FICUS_ERR_OK)
            return err;
        *last += db_changes(c);     /* a repeated one takes no offset */
    }
    ap->last_offset = *last;
    return FICUS_ERR_OK;
}

/* [worker] */
static void append_work(void *arg)
{
    struct elog *l = arg;
    struct db_tx tx = {0};
    int64_t now_ms = env_wall_ms(l->env), last = l->write_last_offset;
    enum ficus_err err = db_tx_begin(l->db, &tx, 0, &l->write_error);
    if (err == FICUS_ERR_OK) {
        LIST_FOREACH(&l->writing, it) {
            err = rows_insert(db_tx_conn(&tx), CONTAINER_OF(it, struct append, link), now_ms, &last, &l->write_error);
            if (err != FICUS_ERR_OK)
                break;
        }
        if (err == FICUS_ERR_OK)
            err = db_tx_commit_wait(&tx, &l->write_error);
        else
            db_tx_rollback(&tx);
    }
    l->write_last_offset = last;
    l->write_error.code = err;
}

static bool topics_have(const struct elog_reader *r, struct slice topic)
{
    for (size_t i = 0; i < r->topic_count; i++)
        if (slice_eq(r->topics[i], topic))
            return true;
    return false;
}

static bool written_for(const struct elog_reader *r, const struct list *written)
{
    LIST_FOREACH(written, it) {
        const struct append *ap = CONTAINER_OF(it, struct append, link);
        for (size_t i = 0; i < ap->count; i++)
            if (topics_have(r, ap->rows[i].topic))
                return true;
    }
    return false;
}

static void reader_start(void *arg);

static void readers_tell(struct elog *l, const struct list *written)
{
    LIST_FOREACH(&l->readers, it) {
        struct elog_reader *r = CONTAINER_OF(it, struct elog_reader, link);
        if (r->state == READER_IDLE || r->dirty || !written_for(r, written))
            continue;
        if (r->state == READER_JOB)
            r->dirty = true;
        else
            reader_start(r);
    }
}

/* Tell the publishers. The list is the caller's own: they may do anything to the log, but close it only later. */
static void appends_end(struct elog *l, struct list *ended, enum ficus_err err, const char *detail)
{
    for (struct list *it; (it = list_pop_head(ended)) != NULL;) {
        struct append *ap = CONTAINER_OF(it, struct append, link);
        l->queue_size -= arena_size(&ap->arena);
        if (err == FICUS_ERR_OK)
            l->size_since += arena_size(&ap->arena);
        ap->done(ap->arg, err, err == FICUS_ERR_OK ? ap->last_offset : 0, detail);
        append_free(ap);
    }
}

static void list_move(struct list *to, struct list *from)
{
    list_init(to);
    for (struct list *it; (it = list_pop_head(from)) != NULL;)
        list_add_tail(to, it);
}

static void append_done(void *arg)
{
    struct elog *l = arg;
    struct list ended;
    list_move(&ended, &l->writing);
    struct ficus_error e = l->write_error;
    if (e.code == FICUS_ERR_OK) {
        l->last_offset = l->write_last_offset;
        readers_tell(l, &ended);
    }
    l->append_runs = false;
    append_start(l);        /* what came meanwhile is written while the publishers hear of the former */
    appends_end(l, &ended, e.code, e.code == FICUS_ERR_OK ? "" : e.text);
    if (l->size_since >= JANITOR_SIZE)
        janitor_start(l);
    job_ended(l);
}

static void append_start(void *arg)
{
    struct elog *l = arg;
    if (l->append_runs || l->closing || list_empty(&l->waiting))
        return;
    l->append_job = (struct env_job){.work = append_work, .done = append_done, .arg = l};
    l->append_runs = true;
    l->write_last_offset = l->last_offset;
    list_move(&l->writing, &l->waiting);
    if (job_run(l, &l->append_job) == FICUS_ERR_OK)
        return;
    l->append_runs = false;
    list_move(&l->waiting, &l->writing);
    env_timer_start(l->env, &l->append_retry, RETRY_MS);
}

/* ---- read ---- */

enum ficus_err elog_reader_new(struct elog *l, struct elog_reader **ret_reader)
{
    struct elog_reader *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return FICUS_ERR_NOMEM;
    r->log = l;
    arena_init(&r->arena, READ_ARENA_MAX);
    list_add_tail(&l->readers, &r->link);
    *ret_reader = r;
    return FICUS_ERR_OK;
}

static void reader_delete(struct elog_reader *r)
{
    arena_done(&r->arena);
    mem_free(r->topics_text);
    mem_free(r);
}

void elog_reader_free(struct elog_reader *r)
{
    if (r == NULL)
        return;
    env_timer_stop(r->log->env, &r->timer);
    list_remove(&r->link);
    r->freed = true;
    bool job_runs = r->state == READER_JOB && r->job.work != NULL;
    if (!job_runs)
        reader_delete(r);
}

/* One row into the reader's arena. False: no room, the row is for the next read. */
static enum ficus_err row_take(struct elog_reader *r, struct db_stmt *s, bool *ret_room)
{
    struct slice body = db_text(s, 1);
    *ret_room = r->count == 0 || arena_size(&r->arena) + body.size <= READ_SIZE_MAX;
    if (!*ret_room)
        return FICUS_ERR_OK;
    char *text = arena_strdup(&r->arena, body);
    if (text == NULL)
        return FICUS_ERR_NOMEM;
    struct event *ev = &r->events[r->count];
    enum ficus_err err = event_decode_stored(&r->arena, text, body.size, (size_t)db_i64(s, 2), ev, NULL);
    if (err != FICUS_ERR_OK)
        return err;
    ev->offset = db_i64(s, 0);
    r->next = ev->offset;
    r->count++;
    return FICUS_ERR_OK;
}

/* Merge the topics' rows by offset; `rows` has one open statement each, NULL when it has no more. */
static enum ficus_err rows_merge(struct elog_reader *r, struct db_stmt **rows, bool *ret_all)
{
    for (*ret_all = false; r->count < r->count_max;) {
        size_t first = r->topic_count;
        for (size_t i = 0; i < r->topic_count; i++)
            if (rows[i] != NULL && (first == r->topic_count || db_i64(rows[i], 0) < db_i64(rows[first], 0)))
                first = i;
        if (first == r->topic_count) {
            *ret_all = true;
            return FICUS_ERR_OK;
        }
        bool room = false;
        enum ficus_err err = row_take(r, rows[first], &room);
        if (err != FICUS_ERR_OK || !room)
            return err;
        int more = db_step(rows[first], NULL);
        if (more < 0)
            return (enum ficus_err)-more;
        if (more == 0) {
            db_finish(rows[first]);
            rows[first] = NULL;
        }
    }
    return FICUS_ERR_OK;
}

static enum ficus_err rows_open(struct elog_reader *r, struct db_conn *c, struct db_stmt **rows)
{
    for (size_t i = 0; i < r->topic_count; i++) {
        enum ficus_err err = db_query(c, &rows[i], NULL,
            "SELECT offset, body, data_at FROM event WHERE topic = ? AND offset > ? ORDER BY offset LIMIT ?", "Sii", r->topics[i], r->offset,
            (int64_t)r->count_max);
        if (err != FICUS_ERR_OK)
            return err;
        int more = db_step(rows[i], NULL);
        if (more < 0)
            return (enum ficus_err)-more;
        if (more == 0) {
            db_finish(rows[i]);
            rows[i] = NULL;
        }
    }
    return FICUS_ERR_OK;
}

/* All of one snapshot: else a topic read early could miss an event that a topic read later has passed. */
static enum ficus_err reader_query(struct elog_reader *r, struct db_conn *c)
{
    struct db_stmt *rows[EVENT_TOPICS_MAX] = {NULL}, *end = NULL;
    bool all = false;
    int64_t last = 0;
    enum ficus_err err = db_reader_snapshot(c, NULL);
    if (err == FICUS_ERR_OK)
        err = db_query(c, &end, NULL, "SELECT seq FROM sqlite_sequence WHERE name = 'event'", "");
    int more = err == FICUS_ERR_OK ? db_step(end, NULL) : 0;
    if (more < 0)
        err = (enum ficus_err)-more;
    else if (more > 0)
        last = db_i64(end, 0);
    db_finish(end);
    if (err == FICUS_ERR_OK)
        err = rows_open(r, c, rows);
    if (err == FICUS_ERR_OK)
        err = rows_merge(r, rows, &all);
    for (size_t i = 0; i < r->topic_count; i++)
        db_finish(rows[i]);
    if (err == FICUS_ERR_OK && all && last > r->next)
        r->next = last;
    return err;
}

/* [worker] */
static void reader_work(void *arg)
{
    struct elog_reader *r = arg;
    struct db_conn *c = NULL;
    r->count = 0;
    r->next = r->offset;
    r->events = ARENA_ARRAY(&r->arena, struct event, r->count_max);
    r->err = r->events == NULL ? FICUS_ERR_NOMEM : db_reader_take(r->log->db, &c, NULL);
    if (c == NULL)
        return;
    r->err = reader_query(r, c);
    db_reader_give(r->log->db, c);
    /* what came through before a damaged row is good; the row's error comes when it is the first */
    if (r->count > 0)
        r->err = FICUS_ERR_OK;
}

/* The reader is idle when done is called: it may be used again or freed in there. */
static void reader_end(struct elog_reader *r, enum ficus_err err)
{
    struct arena arena = r->arena;
    const struct event *events = r->events;
    size_t count = err == FICUS_ERR_OK ? r->count : 0;
    arena_init(&r->arena, READ_ARENA_MAX);
    r->events = NULL;
    r->count = 0;
    r->state = READER_IDLE;
    r->done(r->arg, err, events, count, err == FICUS_ERR_OK ? r->next : r->offset);
    arena_done(&arena);
}

static void reader_done(void *arg)
{
    struct elog_reader *r = arg;
    struct elog *l = r->log;
    r->job.work = NULL;
    if (r->freed) {
        reader_delete(r);
        job_ended(l);
        return;
    }
    if (r->next > l->last_offset)
        l->last_offset = r->next;       /* synced and seen; append_done is on its way to say the same */
    int64_t left_ms = (r->end_ns - env_now_ns(l->env)) / 1000000;
    if (r->err != FICUS_ERR_OK || r->count > 0 || (left_ms <= 0 && !r->dirty)) {
        reader_end(r, r->err);
    } else {
        r->offset = r->next;
        arena_clear(&r->arena);
        r->state = READER_WAITING;
        if (r->dirty)
            reader_start(r);
        else
            env_timer_start(l->env, &r->timer, left_ms);
    }
    job_ended(l);
}

/* As a timer: the time is up, or the pool may have room again. */
static void reader_timer(void *arg)
{
    struct elog_reader *r = arg;
    if (r->state == READER_JOB)
        reader_start(r);
    else
        reader_end(r, FICUS_ERR_OK);
}

static void reader_start(void *arg)
{
    struct elog_reader *r = arg;
    struct elog *l = r->log;
    env_timer_stop(l->env, &r->timer);
    r->state = READER_JOB;
    r->dirty = false;
    r->job = (struct env_job){.work = reader_work, .done = reader_done, .arg = r};
    if (job_run(l, &r->job) == FICUS_ERR_OK)
        return;
    r->job.work = NULL;
    env_timer_start(l->env, &r->timer, RETRY_MS);
}

enum ficus_err elog_read(struct elog_reader *r, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms,
                         void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next), void *arg)
{
    struct elog *l = r->log;
    FICUS_ASSERT(r->state == READER_IDLE);
    if (l->closing)
        return FICUS_ERR_CANCELLED;
    if (offset > l->last_offset)
        return FICUS_ERR_CONFLICT;      /* of another log: this one never gave it */
    char *text = mem_strdup(topics);
    if (text == NULL)
        return FICUS_ERR_NOMEM;
    enum ficus_err err = event_topics_parse(slice_str(text), r->topics, &r->topic_count, NULL);
    mem_free(r->topics_text);
    r->topics_text = text;
    if (err != FICUS_ERR_OK)
        return err;
    r->offset = r->next = offset < 0 ? 0 : offset;
    r->count_max = count_max == 0 || count_max > EVENT_BATCH_COUNT_MAX ? EVENT_BATCH_COUNT_MAX : count_max;
    r->end_ns = env_now_ns(l->env) + (wait_ms > 0 ? wait_ms : 0) * 1000000;
    r->done = done;
    r->arg = arg;
    r->count = 0;
    r->timer = (struct env_timer){.fn = reader_timer, .arg = r};
    if (r->offset < l->last_offset) {
        reader_start(r);
    } else {
        r->state = READER_WAITING;
        r->dirty = false;
        env_timer_start(l->env, &r->timer, wait_ms > 0 ? wait_ms : 0);
    }
    return FICUS_ERR_OK;
}

/* ---- janitor ---- */

static int64_t number(struct db_conn *c, const char *sql)
{
    struct db_stmt *s = NULL;
    int64_t n = -1;
    if (db_query(c, &s, NULL, sql, "") == FICUS_ERR_OK && db_step(s, NULL) == 1)
        n = db_i64(s, 0);
    db_finish(s);
    return n;
}

/* [worker] One small transaction. True: there is more to do. */
static bool janitor_round(struct elog *l)
{
    struct db_tx tx = {0};
    if (db_tx_begin(l->db, &tx, 0, NULL) != FICUS_ERR_OK)
        return false;
    struct db_conn *c = db_tx_conn(&tx);
    int64_t pages = number(c, "PRAGMA page_count"), unused = number(c, "PRAGMA freelist_count");
    int64_t size = (pages - unused) * number(c, "PRAGMA page_size");
    int64_t oldest_ms = size > l->o.size_max ? INT64_MAX : env_wall_ms(l->env) - l->o.retention_ms;
    enum ficus_err err = db_exec(c, NULL, "DELETE FROM event WHERE at < ? AND " OLDEST_SQL, "i", oldest_ms);
    int64_t deleted = err == FICUS_ERR_OK ? db_changes(c) : 0;
    if (deleted == 0) {
        db_tx_rollback(&tx);
        return false;
    }
    return db_tx_commit_wait(&tx, NULL) == FICUS_ERR_OK && deleted == JANITOR_ROWS;
}

static void janitor_work(void *arg)
{
    for (int i = 0; i < JANITOR_ROUNDS; i++)
        if (!janitor_round(arg))
            return;
}

static void janitor_done(void *arg)
{
    struct elog *l = arg;
    l->janitor_runs = false;
    if (!l->closing)
        env_timer_start(l->env, &l->janitor_timer, JANITOR_MS);
    job_ended(l);
}

static void janitor_start(void *arg)
{
    struct elog *l = arg;
    if (l->janitor_runs || l->closing)
        return;
    env_timer_stop(l->env, &l->janitor_timer);
    l->janitor_job = (struct env_job){.work = janitor_work, .done = janitor_done, .arg = l};
    l->size_since = 0;
    l->janitor_runs = job_run(l, &l->janitor_job) == FICUS_ERR_OK;
    if (!l->janitor_runs)
        env_timer_start(l->env, &l->janitor_timer, JANITOR_MS);
}

/* ---- topics ---- */

struct topics_job {
    struct elog *log;
    struct env_job job;
    struct arena arena;
    struct elog_topic *topics;
    size_t count;
    enum ficus_err err;
    void (*done)(void *arg, enum ficus_err err, const struct elog_topic *topics, size_t count);
    void *arg;
};

static enum ficus_err topics_query(struct topics_job *j, struct db_conn *c)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, NULL,
        "SELECT topic, n, lo, hi, (SELECT at FROM event WHERE offset = hi) FROM"
        " (SELECT topic, count(*) AS n, min(offset) AS lo, max(offset) AS hi FROM event GROUP BY topic) ORDER BY topic LIMIT 10000", "");
    j->topics = ARENA_ARRAY(&j->arena, struct elog_topic, TOPICS_MAX);
    if (err == FICUS_ERR_OK && j->topics == NULL)
        err = FICUS_ERR_NOMEM;
    int more = 0;
    while (err == FICUS_ERR_OK && j->count < TOPICS_MAX && (more = db_step(s, NULL)) > 0) {
        char at[TIME_TEXT_SIZE];
        time_format(db_i64(s, 4), at);
        j->topics[j->count++] = (struct elog_topic){.topic = arena_slice(&j->arena, db_text(s, 0)), .count = db_i64(s, 1),
            .offset_first = db_i64(s, 2), .offset_last = db_i64(s, 3), .time_last = arena_slice(&j->arena, slice_str(at))};
        if (arena_overflowed(&j->arena))
            err = FICUS_ERR_TOO_LARGE;
    }
    db_finish(s);
    return err == FICUS_ERR_OK && more < 0 ? (enum ficus_err)-more : err;
}

static void topics_work(void *arg)
{
    struct topics_job *j = arg;
    struct db_conn *c = NULL;
    j->err = db_reader_take(j->log->db, &c, NULL);
    if (j->err != FICUS_ERR_OK)
        return;
    j->err = topics_query(j, c);
    db_reader_give(j->log->db, c);
}

static void topics_done(void *arg)
{
    struct topics_job *j = arg;
    struct elog *l = j->log;
    j->done(j->arg, j->err, j->topics, j->err == FICUS_ERR_OK ? j->count : 0);
    arena_done(&j->arena);
    mem_free(j);
    job_ended(l);
}

enum ficus_err elog_topics(struct elog *l, void (*done)(void *arg, enum ficus_err err, const struct elog_topic *topics, size_t count), void *arg)
{
    struct topics_job *j = l->closing ? NULL : mem_zalloc(sizeof *j);
    if (j == NULL)
        return l->closing ? FICUS_ERR_CANCELLED : FICUS_ERR_NOMEM;
    *j = (struct topics_job){.log = l, .done = done, .arg = arg};
    j->job = (struct env_job){.work = topics_work, .done = topics_done, .arg = j};
    arena_init(&j->arena, 4 * 1024 * 1024);
    enum ficus_err err = job_run(l, &j->job);
    if (err != FICUS_ERR_OK) {
        arena_done(&j->arena);
        mem_free(j);
    }
    return err;
}

/* ---- close ---- */

static void close_work(void *arg)
{
    struct elog *l = arg;
    db_close(l->db);
}

static void close_done(void *arg)
{
    struct elog *l = arg;
    void (*closed)(void *arg) = l->closed;
    void *closed_arg = l->closed_arg;
    buf_done(&l->scratch);
    mem_free(l);
    if (closed != NULL)
        closed(closed_arg);
}

static void close_timer(void *arg)
{
    close_go_on(arg);
}

/* Once no job runs, close the file on a worker: closing checkpoints. */
static void close_go_on(struct elog *l)
{
    if (!l->closing || l->close_begun || l->jobs > 0)
        return;
    l->close_begun = true;
    env_timer_stop(l->env, &l->close_timer);
    struct list left;
    list_move(&left, &l->waiting);
    appends_end(l, &left, FICUS_ERR_CANCELLED, "the event log is closing");
    l->close_job = (struct env_job){.work = close_work, .done = close_done, .arg = l};
    if (env_run(l->env, &l->close_job) == FICUS_ERR_OK)
        return;
    l->close_begun = false;
    env_timer_start(l->env, &l->close_timer, RETRY_MS);
}

void elog_close(struct elog *l, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!l->closing);
    FICUS_ASSERT(list_empty(&l->readers));
    l->closing = true;
    l->closed = closed;
    l->closed_arg = arg;
    env_timer_stop(l->env, &l->append_retry);
    env_timer_stop(l->env, &l->janitor_timer);
    /* from the loop, not from in here: publishers are told */
    l->close_timer = (struct env_timer){.fn = close_timer, .arg = l};
    env_timer_start(l->env, &l->close_timer, 0);
}
