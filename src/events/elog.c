/* SPDX-License-Identifier: Apache-2.0
 *
 * Three kinds of jobs run on workers, each sees only what it was given: append (one at a time, all batches that wait in
 * one transaction; or what is due, elog_later.c), read (one a reader, from a snapshot), janitor. Everything else is loop thread.
 */
#include "elog_private.h"

#include "assert.h"
#include "mem.h"

enum {
    APPEND_ARENA_MAX = 2 * EVENT_BATCH_SIZE_MAX,
    KEEPER_ARENA_MAX = 4 * 1024 * 1024,
    JANITOR_MS = 10 * 60 * 1000,
    JANITOR_SIZE = 64 * 1024 * 1024,            /* appended bytes that bring the janitor early */
    JANITOR_ROUNDS = 1000,
};

static const struct db_migration migrations[] = {
    {1, "0001_event.sql",
        SLICE("CREATE TABLE event(offset INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, source TEXT NOT NULL,"
              " id TEXT NOT NULL, subject TEXT, at INTEGER NOT NULL, body TEXT NOT NULL, data_at INTEGER NOT NULL,"
              " UNIQUE(source, id)) STRICT;"
              "CREATE INDEX event_topic ON event(topic, offset);")},
    {2, "0002_keep.sql",
        SLICE("CREATE TABLE kept_topic(topic TEXT PRIMARY KEY, key TEXT NOT NULL) STRICT, WITHOUT ROWID;"
              "CREATE TABLE kept(topic TEXT NOT NULL, key TEXT NOT NULL, offset INTEGER NOT NULL,"
              " PRIMARY KEY(topic, key)) STRICT, WITHOUT ROWID;"
              "CREATE INDEX kept_offset ON kept(offset);"
              "CREATE TABLE cut(topic TEXT PRIMARY KEY, offset INTEGER NOT NULL) STRICT, WITHOUT ROWID;")},
    {3, "0003_record.sql",
        SLICE("CREATE TABLE record(last INTEGER PRIMARY KEY AUTOINCREMENT, first INTEGER NOT NULL, at INTEGER NOT NULL,"
              " count INTEGER NOT NULL, sum INTEGER NOT NULL, body BLOB NOT NULL) STRICT;"
              "CREATE TABLE record_topic(topic TEXT NOT NULL, record INTEGER NOT NULL, count INTEGER NOT NULL, oldest INTEGER NOT NULL,"
              " newest INTEGER NOT NULL, PRIMARY KEY(topic, record)) STRICT, WITHOUT ROWID;"
              "CREATE TABLE recent_key(a INTEGER NOT NULL, b INTEGER NOT NULL, c INTEGER NOT NULL, d INTEGER NOT NULL) STRICT;"
              "CREATE TABLE recent(source TEXT NOT NULL, record INTEGER NOT NULL, ids BLOB NOT NULL, PRIMARY KEY(source, record))"
              " STRICT, WITHOUT ROWID;"
              "CREATE TABLE once(source TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY(source, id)) STRICT, WITHOUT ROWID;")},
    {4, "0004_later.sql",
        SLICE("CREATE TABLE later(number INTEGER PRIMARY KEY, at INTEGER NOT NULL, damaged INTEGER NOT NULL, size INTEGER NOT NULL,"
              " source TEXT NOT NULL, id TEXT NOT NULL, sum INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE(source, id)) STRICT;"
              "CREATE INDEX later_due ON later(at, number);"
              "CREATE TABLE schedule(source TEXT PRIMARY KEY, every INTEGER NOT NULL, phase INTEGER NOT NULL, at INTEGER NOT NULL)"
              " STRICT, WITHOUT ROWID;")},
};

static void append_retry(void *arg);
static void janitor_start(void *arg);
static void close_go_on(struct elog *l);

enum ficus_err elog_job_run(struct elog *l, struct env_job *job)
{
    enum ficus_err err = env_run(l->env, job);
    if (err == FICUS_ERR_OK)
        l->jobs++;
    return err;
}

void elog_job_ended(struct elog *l)
{
    FICUS_ASSERT(l->jobs > 0);
    l->jobs--;
    close_go_on(l);
}

/* ---- open ---- */

static enum ficus_err sequence_read(struct db *d, int64_t *ret_offset, struct ficus_error *reterr)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    enum ficus_err err = db_reader_take(d, &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_query(c, &s, reterr, "SELECT seq FROM sqlite_sequence WHERE name = 'record'", "");
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (row >= 0)
        *ret_offset = row > 0 ? db_i64(s, 0) : 0;
    db_finish(s);
    db_reader_give(d, c);
    return row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err recent_open(struct elog *l, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(l->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = elog_recent_load(&l->recent, db_tx_conn(&tx), reterr);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

static enum ficus_err file_open(struct elog *l, const struct elog_options *o, struct ficus_error *reterr)
{
    struct db_options options = {.path = o->path, .cache_kib = 4096, .checkpoint_pages = 4000};
    enum ficus_err err = db_open(l->env, &options, &l->db, reterr);
    if (err == FICUS_ERR_OK)
        err = db_migrate(l->db, "elog", migrations, sizeof migrations / sizeof *migrations, reterr);
    if (err == FICUS_ERR_OK)
        err = recent_open(l, reterr);
    if (err == FICUS_ERR_OK)
        err = elog_convert(l, reterr);
    if (err == FICUS_ERR_OK)
        err = sequence_read(l->db, &l->sequence, reterr);
    l->last_offset = l->sequence;
    if (err == FICUS_ERR_OK)
        err = elog_keep_open(l, o, reterr);
    return err == FICUS_ERR_OK ? elog_later_open(l, o, reterr) : err;
}

static void log_free(struct elog *l)
{
    elog_recent_done(&l->recent);
    elog_writer_done(&l->writer);
    elog_writer_done(&l->janitor_writer);
    buf_done(&l->janitor_record);
    buf_done(&l->scratch);
    arena_done(&l->keeper_arena);
    mem_free(l);
}

static void options_take(struct elog *l, const struct elog_options *o)
{
    l->o = *o;
    l->o.kept = NULL;
    l->o.schedules = NULL;
    l->o.path = NULL;
    if (l->last_offset < o->offset_min)
        l->last_offset = o->offset_min;
    if (l->o.retention_ms == 0)
        l->o.retention_ms = (int64_t)7 * 24 * 3600 * 1000;
    if (l->o.size_max == 0)
        l->o.size_max = (int64_t)4 * 1024 * 1024 * 1024;
    if (l->o.queue_size_max == 0)
        l->o.queue_size_max = 16 * 1024 * 1024;
}

enum ficus_err elog_open(struct env *e, const struct elog_options *o, struct elog **ret_log, struct ficus_error *reterr)
{
    struct elog *l = mem_zalloc(sizeof *l);
    if (l == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
    l->env = l->recent.env = e;
    env_random(e, l->recent.keys, sizeof l->recent.keys);
    map_init(&l->recent.sources, l->recent.keys);
    list_init(&l->recent.fresh);
    list_init(&l->readers);
    list_init(&l->waiting);
    list_init(&l->writing);
    elog_writer_init(&l->writer);
    elog_writer_init(&l->janitor_writer);
    buf_init(&l->janitor_record, EVENT_SIZE_MAX + ELOG_RECORD_SIZE);
    buf_init(&l->scratch, EVENT_SIZE_MAX + 65536);
    arena_init(&l->keeper_arena, KEEPER_ARENA_MAX);
    enum ficus_err err = file_open(l, o, reterr);
    if (err != FICUS_ERR_OK) {
        db_close(l->db);
        log_free(l);
        return err;
    }
    options_take(l, o);
    l->append_retry = (struct env_timer){.fn = append_retry, .arg = l};
    l->janitor_timer = (struct env_timer){.fn = janitor_start, .arg = l};
    env_timer_start(e, &l->janitor_timer, JANITOR_MS);
    elog_later_start(l);
    *ret_log = l;
    return FICUS_ERR_OK;
}

int64_t elog_last_offset(const struct elog *l)
{
    return l->last_offset;
}

struct db *elog_db(const struct elog *l)
{
    return l->db;
}

/* ---- append ---- */

struct append *elog_append_new(void)
{
    struct append *ap = mem_zalloc(sizeof *ap);
    if (ap != NULL)
        arena_init(&ap->arena, APPEND_ARENA_MAX);
    return ap;
}

void elog_append_free(struct append *ap)
{
    if (ap == NULL)
        return;
    arena_done(&ap->arena);
    mem_free(ap);
}

/* An event must fit into EVENT_SIZE_MAX as text, for readers get it as such. Only of large ones that has to be tried. */
static enum ficus_err size_check(struct elog *l, const struct event *ev)
{
    enum { PLAIN_SIZE_MAX = EVENT_SIZE_MAX / 2 };   /* the attributes escaped and all that is around them: far less than the rest */
    if (ev->data.size <= PLAIN_SIZE_MAX)
        return FICUS_ERR_OK;
    struct event copy = *ev;
    copy.offset = 0;
    buf_clear(&l->scratch);
    return event_encode(&l->scratch, &copy, NULL);
}

static enum ficus_err append_row_make(struct elog *l, struct append *ap, const struct event *ev,
                                      struct append_row *ret_row)
{
    enum ficus_err err = event_check_attributes(ev, NULL);
    if (err == FICUS_ERR_OK)
        err = size_check(l, ev);
    if (err != FICUS_ERR_OK)
        return err;
    ret_row->size = elog_pack_size(ev);
    ret_row->packed = arena_alloc(&ap->arena, ret_row->size);
    if (ret_row->packed == NULL)
        return arena_size(&ap->arena) + ret_row->size > APPEND_ARENA_MAX ? FICUS_ERR_TOO_LARGE : FICUS_ERR_NOMEM;
    elog_pack(ret_row->packed, ev, &ret_row->ev);
    ret_row->keeper = elog_keeper_of(l, ev->topic);
    return FICUS_ERR_OK;
}

static enum ficus_err append_make(struct elog *l, const struct event *events, size_t count, struct append **ret_append)
{
    struct append *ap = elog_append_new();
    if (ap == NULL)
        return FICUS_ERR_NOMEM;
    ap->rows = ARENA_ARRAY(&ap->arena, struct append_row, count + 1);
    enum ficus_err err = ap->rows == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
    for (; err == FICUS_ERR_OK && ap->count < count; ap->count++)
        err = append_row_make(l, ap, &events[ap->count], &ap->rows[ap->count]);
    if (err == FICUS_ERR_OK)
        err = elog_later_reserve(l, ap);
    if (err == FICUS_ERR_OK)
        *ret_append = ap;
    else
        elog_append_free(ap);
    return err;
}

void elog_append_queue(struct elog *l, struct append *ap)
{
    ap->queued_size = arena_size(&ap->arena);
    l->queue_size += ap->queued_size;
    list_add_tail(&l->waiting, &ap->link);
    elog_append_start(l);
}

enum ficus_err elog_append(struct elog *l, const struct event *events, size_t count,
                           void (*done)(void *arg, enum ficus_err err, int64_t last_offset, const char *detail),
                           void *arg)
{
    return elog_append_with(l, events, count, NULL, done, arg);
}

enum ficus_err elog_append_with(struct elog *l, const struct event *events, size_t count, const struct elog_rider *rider,
                                void (*done)(void *arg, enum ficus_err err, int64_t last_offset, const char *detail), void *arg)
{
    struct append *ap = NULL;
    if ((count == 0 && rider == NULL) || count > EVENT_BATCH_COUNT_MAX)
        return FICUS_ERR_INVALID;
    if (l->closing)
        return FICUS_ERR_CANCELLED;
    if (l->queue_size >= l->o.queue_size_max)
        return FICUS_ERR_BUSY;
    enum ficus_err err = append_make(l, events, count, &ap);
    if (err != FICUS_ERR_OK)
        return err;
    if (rider != NULL)
        ap->rider = *rider;
    ap->done = done;
    ap->arg = arg;
    elog_append_queue(l, ap);
    return FICUS_ERR_OK;
}

/* ---- [worker] writing ---- */

/* What is only for later is in no record: its ids get the key that a record with it would have. */
static enum ficus_err record_end(struct elog *l, struct db_conn *c)
{
    int64_t key = l->writer.head.count > 0 ? l->writer.head.last : l->write_last_offset;
    enum ficus_err err = l->writer.head.count > 0 ? elog_writer_insert(&l->writer, c, &l->write_error) : FICUS_ERR_OK;
    if (err != FICUS_ERR_OK || l->write_fresh == 0)
        return err;
    l->write_fresh = 0;
    return elog_recent_store(&l->recent, c, key, &l->write_error);
}

/* Else it is remembered. */
static enum ficus_err is_repeated(struct elog *l, struct db_conn *c, const struct event *ev, bool *ret_repeated)
{
    *ret_repeated = elog_recent_knows(&l->recent, ev);
    enum ficus_err err = *ret_repeated || !elog_is_once(ev) ? FICUS_ERR_OK : elog_once_add(c, ev, ret_repeated, &l->write_error);
    if (err != FICUS_ERR_OK || *ret_repeated)
        return err;
    l->write_fresh++;
    err = elog_recent_add(&l->recent, ev);
    return err == FICUS_ERR_OK ? err : err_set(&l->write_error, err, "event log: out of memory");
}

static enum ficus_err record_room(struct elog *l, struct db_conn *c, size_t size, int64_t now_ms)
{
    if (elog_writer_has_room(&l->writer, size) && l->write_fresh < ELOG_RECORD_COUNT)
        return FICUS_ERR_OK;
    enum ficus_err err = record_end(l, c);
    elog_writer_begin(&l->writer, 0, now_ms);
    return err;
}

enum ficus_err elog_row_store(struct elog *l, struct db_conn *c, struct append_row *r, int64_t now_ms)
{
    struct elog_writer *w = &l->writer;
    int64_t offset = l->write_last_offset + 1;
    enum ficus_err err = record_room(l, c, r->size, now_ms);
    if (err != FICUS_ERR_OK)
        return err;
    if (w->head.count == 0)
        elog_writer_begin(w, offset, now_ms);
    bool near = elog_pack_offset(r->packed, w->head.first, offset);
    FICUS_ASSERT(near);
    if (!elog_writer_add(w, slice_make(r->packed, r->size), r->ev.topic, offset))
        return err_set(&l->write_error, FICUS_ERR_NOMEM, "event log: out of memory");
    l->write_last_offset = offset;
    return r->keeper == NULL ? err : elog_keep(c, r->keeper, &r->ev, offset, &l->write_error);
}

/* A repeated one takes no offset. */
static enum ficus_err row_write(struct elog *l, struct db_conn *c, struct append_row *r, int64_t now_ms)
{
    bool repeated = false;
    enum ficus_err err = record_room(l, c, r->size, now_ms);
    if (err == FICUS_ERR_OK)
        err = is_repeated(l, c, &r->ev, &repeated);
    if (err == FICUS_ERR_OK && !repeated && r->ev.at_ms <= now_ms)  /* else elog_later_add sees to that */
        err = elog_later_knows(l, c, &r->ev, &repeated);
    if (err != FICUS_ERR_OK || repeated)
        return err;
    return r->ev.at_ms > now_ms ? elog_later_add(l, c, r, ++l->write_last_offset) : elog_row_store(l, c, r, now_ms);
}

static enum ficus_err append_write(struct elog *l, struct db_conn *c, struct append *ap, int64_t now_ms)
{
    enum ficus_err err = ap->remove == 0 ? FICUS_ERR_OK : elog_later_take_out(l, c, ap);
    for (size_t i = 0; i < ap->count && err == FICUS_ERR_OK; i++)
        err = row_write(l, c, &ap->rows[i], now_ms);
    if (err == FICUS_ERR_OK && ap->rider.write != NULL)
        err = ap->rider.write(ap->rider.arg, c, &l->write_error);
    ap->last_offset = l->write_last_offset;
    return err;
}

/* An insert into record does not touch the sequence as long as that is not behind: its page would be one more in each commit. */
static enum ficus_err sequence_store(struct elog *l, struct db_conn *c)
{
    if (l->write_last_offset <= l->sequence)
        return FICUS_ERR_OK;
    l->write_sequence = l->write_last_offset + ELOG_SEQUENCE_STEP;
    enum ficus_err err = db_exec(c, &l->write_error, "UPDATE sqlite_sequence SET seq = ? WHERE name = 'record'", "i", l->write_sequence);
    return err != FICUS_ERR_OK || db_changes(c) > 0 ? err
        : db_exec(c, &l->write_error, "INSERT INTO sqlite_sequence(name, seq) VALUES('record', ?)", "i", l->write_sequence);
}

static enum ficus_err appends_write(struct elog *l, struct db_conn *c)
{
    int64_t now_ms = env_wall_ms(l->env);
    enum ficus_err err = l->recent.is_loaded ? FICUS_ERR_OK : elog_recent_load(&l->recent, c, &l->write_error);
    elog_writer_begin(&l->writer, 0, now_ms);
    l->write_fresh = 0;
    elog_later_begin(l);
    if (err == FICUS_ERR_OK && l->later.moves)
        err = elog_later_move(l, c);
    LIST_FOREACH(&l->writing, it)
        err = err == FICUS_ERR_OK ? append_write(l, c, CONTAINER_OF(it, struct append, link), now_ms) : err;
    if (err == FICUS_ERR_OK)
        err = record_end(l, c);
    if (err == FICUS_ERR_OK)
        err = sequence_store(l, c);
    return err == FICUS_ERR_OK ? elog_later_end(l, c) : err;
}

static void append_work(void *arg)
{
    struct elog *l = arg;
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(l->db, &tx, 0, &l->write_error);
    if (err == FICUS_ERR_OK) {
        err = appends_write(l, db_tx_conn(&tx));
        if (err == FICUS_ERR_OK)
            err = db_tx_commit_wait(&tx, &l->write_error);
        else
            db_tx_rollback(&tx);
    }
    if (err != FICUS_ERR_OK)
        l->recent.is_loaded = false;    /* it has what was not kept */
    l->write_error.code = err;
}

/* ---- append, on the loop again ---- */

/* Tell the publishers. The list is the caller's own: they may do anything to the log, but close it only later. */
static void appends_end(struct elog *l, struct list *ended, enum ficus_err err, const char *detail)
{
    for (struct list *it; (it = list_pop_head(ended)) != NULL;) {
        struct append *ap = CONTAINER_OF(it, struct append, link);
        l->queue_size -= ap->queued_size;
        elog_later_release(l, ap);
        if (err == FICUS_ERR_OK)
            l->size_since += arena_size(&ap->arena);
        if (ap->remove != 0)
            ap->removed(ap->arg, err == FICUS_ERR_OK ? ap->err : err, ap->was, detail);
        else
            ap->done(ap->arg, err, err == FICUS_ERR_OK ? ap->last_offset : 0, detail);
        elog_append_free(ap);
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
        l->sequence = l->write_sequence;
        elog_readers_tell(l, &ended);
    }
    elog_later_done(l, e.code == FICUS_ERR_OK);
    l->append_runs = false;
    elog_append_start(l);   /* what came meanwhile is written while the publishers hear of the former */
    if (!l->append_runs)
        elog_later_start(l);
    appends_end(l, &ended, e.code, e.code == FICUS_ERR_OK ? "" : e.text);
    if (l->size_since >= JANITOR_SIZE)
        janitor_start(l);
    elog_job_ended(l);
}

void elog_append_start(struct elog *l)
{
    bool idle = list_empty(&l->waiting), due = elog_later_is_due(l);
    if (l->append_runs || l->closing || (idle && !due))
        return;
    l->append_job = (struct env_job){.work = append_work, .done = append_done, .arg = l};
    l->append_runs = true;
    l->write_last_offset = l->last_offset;
    l->write_sequence = l->sequence;
    l->later.moves = due && (idle || !l->later.moved_last);
    if (!l->later.moves)
        list_move(&l->writing, &l->waiting);
    if (elog_job_run(l, &l->append_job) == FICUS_ERR_OK)
        return;
    l->append_runs = false;
    if (!l->later.moves)
        list_move(&l->waiting, &l->writing);
    env_timer_start(l->env, &l->append_retry, ELOG_RETRY_MS);
}

static void append_retry(void *arg)
{
    elog_append_start(arg);
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
    int64_t size = (pages - unused) * number(c, "PRAGMA page_size") - l->janitor_spared - l->janitor_kept;
    bool more = false;
    int64_t deleted = elog_sweep(l, c, env_wall_ms(l->env) - l->o.retention_ms, size - l->o.size_max, &more);
    if (deleted <= 0) {
        db_tx_rollback(&tx);
        return deleted == 0 && more;
    }
    return db_tx_commit_wait(&tx, NULL) == FICUS_ERR_OK && more;
}

/* A run that was not through goes on there the next time. */
static void janitor_work(void *arg)
{
    struct elog *l = arg;
    for (int i = 0; i < JANITOR_ROUNDS; i++)
        if (!janitor_round(l)) {
            l->janitor_after = l->janitor_kept = 0;
            return;
        }
}

static void janitor_done(void *arg)
{
    struct elog *l = arg;
    l->janitor_runs = false;
    if (!l->closing)
        env_timer_start(l->env, &l->janitor_timer, JANITOR_MS);
    elog_job_ended(l);
}

static void janitor_start(void *arg)
{
    struct elog *l = arg;
    if (l->janitor_runs || l->closing)
        return;
    env_timer_stop(l->env, &l->janitor_timer);
    l->janitor_job = (struct env_job){.work = janitor_work, .done = janitor_done, .arg = l};
    l->size_since = 0;
    l->janitor_spared = l->later.size;
    l->janitor_runs = elog_job_run(l, &l->janitor_job) == FICUS_ERR_OK;
    if (!l->janitor_runs)
        env_timer_start(l->env, &l->janitor_timer, JANITOR_MS);
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
    log_free(l);
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
    env_timer_start(l->env, &l->close_timer, ELOG_RETRY_MS);
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
    elog_later_stop(l);
    /* from the loop, not from in here: publishers are told */
    l->close_timer = (struct env_timer){.fn = close_timer, .arg = l};
    env_timer_start(l->env, &l->close_timer, 0);
}
