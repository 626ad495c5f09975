/* SPDX-License-Identifier: Apache-2.0 */
#include "db_private.h"

#include "assert.h"
#include "mem.h"

#include <sqlite3.h>
#include <stdio.h>

enum {
    WAL_CHECKPOINTS_MAX = 16,                   /* times checkpoint_pages: then old readers are ended */
    APPLICATION_ID = 0x46696375,                /* "Ficu" */
    WAL_SIZE_KEPT_MAX = 16 * 1024 * 1024,       /* a longer WAL is cut at its next reset */
};

static sqlite3 *handle(const struct db_conn *c)
{
    return c->handle;
}

/* ---- errors ---- */

/* What env said about the disk, as a statement's error. */
static enum ficus_err disk_error(enum ficus_err cause)
{
    return cause == FICUS_ERR_FULL || cause == FICUS_ERR_READ_ONLY || cause == FICUS_ERR_TOO_LARGE ||
        cause == FICUS_ERR_NOMEM ? cause : FICUS_ERR_IO;
}

static enum ficus_err error_code(int rc, enum ficus_err cause)
{
    switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
        return rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID
            ? FICUS_ERR_EXISTS : FICUS_ERR_CONFLICT;
    case SQLITE_NOMEM:
        return FICUS_ERR_NOMEM;
    case SQLITE_IOERR:
        return rc == SQLITE_IOERR_NOMEM ? FICUS_ERR_NOMEM : disk_error(cause);
    case SQLITE_CANTOPEN:
        return disk_error(cause);
    case SQLITE_FULL:
        return FICUS_ERR_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return FICUS_ERR_CORRUPT;
    case SQLITE_READONLY:
        return FICUS_ERR_READ_ONLY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return FICUS_ERR_BUSY;
    case SQLITE_TOOBIG:
        return FICUS_ERR_TOO_LARGE;
    case SQLITE_AUTH:
        return FICUS_ERR_DENIED;
    case SQLITE_INTERRUPT:
        return FICUS_ERR_CANCELLED;
    case SQLITE_ERROR:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH:
        return FICUS_ERR_INVALID;
    default:
        return FICUS_ERR_INTERNAL;
    }
}

/* What whoever keeps the machine can do. */
static const char *remedy(enum ficus_err err)
{
    switch (err) {
    case FICUS_ERR_FULL:
        return "; free space on its disk: then it goes on by itself";
    case FICUS_ERR_READ_ONLY:
        return "; make its file system writable: then it goes on by itself";
    case FICUS_ERR_CORRUPT:
        return "; nothing is written to it any more: look with PRAGMA integrity_check, put back a sound copy, restart";
    default:
        return "";
    }
}

static bool is_trouble(enum ficus_err err)
{
    return err == FICUS_ERR_FULL || err == FICUS_ERR_READ_ONLY || err == FICUS_ERR_IO || err == FICUS_ERR_CORRUPT ||
        err == FICUS_ERR_MISSING;
}

void db_trouble_set(struct db *d, const struct ficus_error *e)
{
    if (e->code != FICUS_ERR_OK && !is_trouble(e->code))
        return;
    pthread_mutex_lock(&d->mutex);
    if (!d->damaged)
        d->trouble = *e;
    d->damaged = d->damaged || e->code == FICUS_ERR_CORRUPT;
    pthread_mutex_unlock(&d->mutex);
}

enum ficus_err db_trouble(struct db *d, struct ficus_error *ret_trouble)
{
    pthread_mutex_lock(&d->mutex);
    *ret_trouble = d->trouble;
    pthread_mutex_unlock(&d->mutex);
    return ret_trouble->code;
}

/* Whatever SQLite makes of what it does not get any more: it is not the file's fault. */
static bool reading_ended(struct db_conn *c, struct ficus_error *reterr)
{
    if (c->is_writer || c->file == NULL || !db_vfs_expired(c->file))
        return false;
    (void)db_vfs_error(c->db->vfs);
    (void)err_set(reterr, FICUS_ERR_TIMEOUT,
        "%s: a statement, or what was read of one moment, lasted for more than %lld s and kept the write-ahead log from being "
        "cut; it was ended: read less at a time", c->db->path, (long long)(c->db->o.reader_ms_max / 1000));
    return true;
}

enum ficus_err db_conn_error(struct db_conn *c, int rc, struct ficus_error *reterr)
{
    if (reading_ended(c, reterr))
        return FICUS_ERR_TIMEOUT;
    enum ficus_err cause = db_vfs_error(c->db->vfs), err = error_code(rc, cause);
    struct ficus_error e;
    bool of_disk = (rc & 0xff) == SQLITE_IOERR && cause != FICUS_ERR_OK;
    err_set(&e, err, "%s: %s%s", c->db->path, of_disk ? err_text(cause) : sqlite3_errmsg(handle(c)), remedy(err));
    /* a virtual table that contradicts itself is a matter of its own tables, not of the file */
    if (rc != SQLITE_CORRUPT_VTAB)
        db_trouble_set(c->db, &e);
    if (c->tx_open && c->lost.code == FICUS_ERR_OK && sqlite3_get_autocommit(handle(c)))
        c->lost = e;
    if (reterr != NULL)
        *reterr = e;
    return err;
}

/* ---- what SQL from outside may do ---- */

static bool pragma_allowed(const char *name, const char *value)
{
    static const char *const any[] = {"table_info", "table_xinfo", "table_list", "index_list", "index_info",
        "index_xinfo", "foreign_key_list", "foreign_key_check", "integrity_check", "quick_check", "defer_foreign_keys"};
    static const char *const reads[] = {"page_count", "freelist_count", "page_size", "user_version", "data_version",
        "schema_version"};
    for (size_t i = 0; i < ARRAY_COUNT(any); i++)
        if (sqlite3_stricmp(name, any[i]) == 0)
            return true;
    for (size_t i = 0; value == NULL && i < ARRAY_COUNT(reads); i++)
        if (sqlite3_stricmp(name, reads[i]) == 0)
            return true;
    return false;
}

bool db_sql_allowed(int action, const char *a, const char *b)
{
    switch (action) {
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
        return false;
    case SQLITE_PRAGMA:
        return pragma_allowed(a, b);
    default:
        return true;
    }
}

static int authorize(void *arg, int action, const char *a, const char *b, const char *database, const char *trigger)
{
    const struct db_conn *c = arg;
    (void)database, (void)trigger;
    return c->trusted || db_sql_allowed(action, a, b) ? SQLITE_OK : SQLITE_DENY;
}

/* ---- connections ---- */

static enum ficus_err conn_run(struct db_conn *c, const char *sql, struct ficus_error *reterr)
{
    c->trusted = true;
    int rc = sqlite3_exec(handle(c), sql, NULL, NULL, NULL);
    c->trusted = false;
    return rc == SQLITE_OK ? FICUS_ERR_OK : db_conn_error(c, rc, reterr);
}

/* One value of one of our own statements. Text is cut to size. */
static enum ficus_err conn_ask(struct db_conn *c, const char *sql, int64_t *ret_number, char *ret_text, size_t size,
                               struct ficus_error *reterr)
{
    sqlite3_stmt *s = NULL;
    c->trusted = true;
    int rc = sqlite3_prepare_v2(handle(c), sql, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    c->trusted = false;
    enum ficus_err err = FICUS_ERR_OK;
    if (rc != SQLITE_ROW) {
        err = db_conn_error(c, rc, reterr);
    } else {
        if (ret_number != NULL)
            *ret_number = sqlite3_column_int64(s, 0);
        const char *text = ret_text == NULL ? NULL : (const char *)sqlite3_column_text(s, 0);
        if (ret_text != NULL)
            snprintf(ret_text, size, "%s", text == NULL ? "" : text);
        /* what the statement changes is committed at its end */
        c->trusted = true;
        rc = sqlite3_step(s);
        c->trusted = false;
        if (rc != SQLITE_DONE)
            err = db_conn_error(c, rc, reterr);
    }
    sqlite3_finalize(s);
    return err;
}

static enum ficus_err conn_prepare_control(struct db_conn *c, struct ficus_error *reterr)
{
    static const char *const sql[DB_CONTROL_COUNT] = {
        [DB_BEGIN] = "BEGIN IMMEDIATE",
        [DB_SAVEPOINT] = "SAVEPOINT tx",
        [DB_RELEASE] = "RELEASE tx",
        [DB_ROLLBACK_TO] = "ROLLBACK TO tx",
        [DB_COMMIT] = "COMMIT",
        [DB_ROLLBACK] = "ROLLBACK",
        [DB_BEGIN_READ] = "BEGIN",
    };
    for (size_t i = 0; i < DB_CONTROL_COUNT; i++) {
        sqlite3_stmt *s = NULL;
        c->trusted = true;
        int rc = sqlite3_prepare_v3(handle(c), sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s, NULL);
        c->trusted = false;
        if (rc != SQLITE_OK)
            return db_conn_error(c, rc, reterr);
        c->control[i] = s;
    }
    return FICUS_ERR_OK;
}

/* After each commit. A checkpoint that fails is tried again after the next one. */
static int on_wal(void *arg, sqlite3 *h, const char *database, int pages)
{
    struct db_conn *c = arg;
    struct db *d = c->db;
    int frames = 0, done = 0;
    if ((size_t)pages < d->o.checkpoint_pages || atomic_load(&d->checkpoints_held))
        return SQLITE_OK;
    int rc = sqlite3_wal_checkpoint_v2(h, database, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);
    if (rc == SQLITE_OK && c->file != NULL && (size_t)frames >= WAL_CHECKPOINTS_MAX * d->o.checkpoint_pages &&
        db_vfs_expire(d->vfs, env_now_ms(d->env) - d->o.reader_ms_max, c->file))
        (void)sqlite3_wal_checkpoint_v2(h, database, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return SQLITE_OK;
}

static enum ficus_err writer_setup(struct db_conn *c, struct ficus_error *reterr)
{
    char text[64];
    int64_t id = 0;
    enum ficus_err err = conn_ask(c, "PRAGMA journal_mode=WAL", NULL, text, sizeof text, reterr);
    if (err == FICUS_ERR_OK && strcmp(text, "wal") != 0)
        err = err_set(reterr, FICUS_ERR_IO, "%s: write-ahead logging cannot be set, the journal mode stays %s",
            c->db->path, text);
    if (err == FICUS_ERR_OK)
        err = conn_ask(c, "PRAGMA application_id", &id, NULL, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (id != 0 && id != APPLICATION_ID)
        return err_set(reterr, FICUS_ERR_CORRUPT, "%s: belongs to another application (application_id 0x%llx)",
            c->db->path, (unsigned long long)id);
    c->is_new = id == 0;
    char sql[256];
    (void)sqlite3_wal_hook(handle(c), on_wal, c);
    snprintf(sql, sizeof sql, "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=%d; %s", WAL_SIZE_KEPT_MAX,
        id == 0 ? "PRAGMA application_id=0x46696375;" : "");
    return conn_run(c, sql, reterr);
}

void db_handle_harden(void *sqlite)
{
    sqlite3 *h = sqlite;
    sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
}

static enum ficus_err conn_setup(struct db_conn *c, struct ficus_error *reterr)
{
    sqlite3 *h = handle(c);
    char sql[256];
    sqlite3_extended_result_codes(h, 1);
    sqlite3_set_authorizer(h, authorize, c);
    db_handle_harden(h);
    sqlite3_db_config(h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !c->is_writer, NULL);
    snprintf(sql, sizeof sql,
        "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; PRAGMA cell_size_check=ON; PRAGMA cache_size=-%zu;", c->db->o.cache_kib);
    enum ficus_err err = conn_run(c, sql, reterr);
    if (err == FICUS_ERR_OK)
        err = c->is_writer ? writer_setup(c, reterr) : conn_run(c, "PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0;",
            reterr);
    /* the first look at the content: recovery happens here, and damage shows */
    if (err == FICUS_ERR_OK)
        err = conn_ask(c, "SELECT count(*) FROM sqlite_schema", NULL, NULL, 0, reterr);
    (void)sqlite3_file_control(h, "main", SQLITE_FCNTL_FILE_POINTER, &c->file);
    return err == FICUS_ERR_OK ? conn_prepare_control(c, reterr) : err;
}

enum ficus_err db_conn_open(struct db *d, bool is_writer, struct db_conn **ret_conn, struct ficus_error *reterr)
{
    struct db_conn *c = mem_zalloc(sizeof *c);
    const char *vfs = db_vfs_enter(d->vfs);
    if (c == NULL || vfs == NULL) {
        if (vfs != NULL)
            db_vfs_leave(d->vfs);
        mem_free(c);
        return err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", d->path);
    }
    uint64_t seed[2];
    env_random(d->env, seed, sizeof seed);
    map_init(&c->statements, seed);
    list_init(&c->recent);
    c->db = d;
    c->is_writer = is_writer;
    sqlite3 *h = NULL;
    int rc = sqlite3_open_v2(d->path, &h, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, vfs);
    db_vfs_leave(d->vfs);
    c->handle = h;
    enum ficus_err err = rc == SQLITE_OK ? conn_setup(c, reterr)
        : h == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", d->path) : db_conn_error(c, rc, reterr);
    if (err != FICUS_ERR_OK) {
        db_conn_close(c);
        return err;
    }
    *ret_conn = c;
    return FICUS_ERR_OK;
}

void db_conn_close(struct db_conn *c)
{
    if (c == NULL)
        return;
    db_conn_forget(c);
    for (size_t i = 0; i < DB_CONTROL_COUNT; i++)
        sqlite3_finalize(c->control[i]);
    int rc = sqlite3_close(handle(c));
    FICUS_ASSERT(rc == SQLITE_OK);
    map_done(&c->statements);
    mem_free(c);
}

enum ficus_err db_conn_control(struct db_conn *c, enum db_control what, struct ficus_error *reterr)
{
    sqlite3_stmt *s = c->control[what];
    c->trusted = true;
    int rc = sqlite3_step(s);
    c->trusted = false;
    enum ficus_err err = rc == SQLITE_DONE ? FICUS_ERR_OK : db_conn_error(c, rc, reterr);
    sqlite3_reset(s);
    return err;
}

enum ficus_err db_conn_touch(struct db_conn *c, struct ficus_error *reterr)
{
    return conn_run(c, "PRAGMA application_id=0x46696375", reterr);
}

void db_conn_checkpoint(struct db_conn *c)
{
    if (!atomic_load(&c->db->checkpoints_held))
        (void)sqlite3_wal_checkpoint_v2(handle(c), NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

enum ficus_err db_conn_checkpoint_all(struct db_conn *c, bool *ret_whole, struct ficus_error *reterr)
{
    int frames = 0, done = 0;
    int rc = sqlite3_wal_checkpoint_v2(handle(c), NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);
    if (rc != SQLITE_OK)
        return db_conn_error(c, rc, reterr);
    *ret_whole = done == frames;
    return FICUS_ERR_OK;
}

bool db_conn_in_transaction(struct db_conn *c)
{
    return !sqlite3_get_autocommit(handle(c));
}

bool db_conn_keys_open(struct db_conn *c)
{
    int now = 0, peak = 0;
    sqlite3_db_status(handle(c), SQLITE_DBSTATUS_DEFERRED_FKS, &now, &peak, 0);
    return now != 0;
}

/* ---- open and close ---- */

enum ficus_err db_open(struct env *e, const struct db_options *o, struct db **ret_db, struct ficus_error *reterr)
{
    struct db *d = mem_zalloc(sizeof *d);
    if (d == NULL || (d->path = mem_strdup(o->path)) == NULL) {
        mem_free(d);
        return err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", o->path);
    }
    d->env = e;
    d->o = *o;
    d->o.path = d->path;
    if (d->o.readers_max == 0)
        d->o.readers_max = 4;
    if (d->o.cache_kib == 0)
        d->o.cache_kib = 1024;
    if (d->o.group_count_max == 0)
        d->o.group_count_max = 64;
    if (d->o.checkpoint_pages == 0)
        d->o.checkpoint_pages = 1000;
    if (d->o.reader_ms_max == 0)
        d->o.reader_ms_max = 60000;
    pthread_mutex_init(&d->mutex, NULL);
    list_init(&d->waiting);
    list_init(&d->group);
    list_init(&d->readers_idle);
    list_init(&d->readers_waiting);
    bool there = false;
    enum ficus_err err = o->is_derived ? FICUS_ERR_OK : db_look(e, d->path, &there, reterr);
    if (err == FICUS_ERR_OK)
        err = db_vfs_new(e, d->path, &d->vfs, reterr);
    if (err == FICUS_ERR_OK)
        err = db_conn_open(d, true, &d->writer, reterr);
    if (err == FICUS_ERR_OK && !o->is_derived)
        err = db_made_note(d, d->writer->is_new, reterr);
    if (err != FICUS_ERR_OK) {
        db_close(d);
        return err;
    }
    *ret_db = d;
    return FICUS_ERR_OK;
}

void db_close(struct db *d)
{
    if (d == NULL)
        return;
    FICUS_ASSERT(!d->turn_taken);
    FICUS_ASSERT(!d->is_copying);
    FICUS_ASSERT(list_empty(&d->waiting));
    size_t given = d->reader_count;
    for (struct list *it; (it = list_pop_head(&d->readers_idle)) != NULL; given--)
        db_conn_close(CONTAINER_OF(it, struct db_conn, link));
    FICUS_ASSERT(given == 0);
    if (d->vfs != NULL)
        db_vfs_closing(d->vfs);
    db_conn_close(d->writer);       /* the last one checkpoints and removes the WAL */
    db_vfs_free(d->vfs);
    pthread_mutex_destroy(&d->mutex);
    mem_free(d->path);
    mem_free(d);
}

/* ---- readers ---- */

struct reader_wait {
    struct list link;
    struct env_waiter waiter;
    struct db_conn *conn;       /* handed over; NULL: a place became free, open one yourself */
};

/* A connection that is there, or else a place to open one (*ret_conn NULL), or wait for either. */
static void reader_turn(struct db *d, struct db_conn **ret_conn)
{
    struct reader_wait w = {.conn = NULL};
    pthread_mutex_lock(&d->mutex);
    struct list *idle = list_pop_head(&d->readers_idle);
    bool waits = idle == NULL && d->reader_count >= d->o.readers_max;
    if (waits)
        list_add_tail(&d->readers_waiting, &w.link);
    else if (idle == NULL)
        d->reader_count++;
    pthread_mutex_unlock(&d->mutex);
    if (waits)
        env_wait(d->env, &w.waiter);
    *ret_conn = idle != NULL ? CONTAINER_OF(idle, struct db_conn, link) : w.conn;
}

/* conn NULL: a place is given back that could not be filled. */
static void reader_pass_on(struct db *d, struct db_conn *conn)
{
    pthread_mutex_lock(&d->mutex);
    struct list *it = list_pop_head(&d->readers_waiting);
    struct reader_wait *next = it == NULL ? NULL : CONTAINER_OF(it, struct reader_wait, link);
    if (next != NULL)
        next->conn = conn;
    else if (conn != NULL)
        list_add_head(&d->readers_idle, &conn->link);
    else
        d->reader_count--;
    pthread_mutex_unlock(&d->mutex);
    if (next != NULL)
        env_wake(d->env, &next->waiter);
}

enum ficus_err db_reader_take(struct db *d, struct db_conn **ret_conn, struct ficus_error *reterr)
{
    struct db_conn *c = NULL;
    reader_turn(d, &c);
    enum ficus_err err = c != NULL ? FICUS_ERR_OK : db_conn_open(d, false, &c, reterr);
    if (err == FICUS_ERR_OK)
        *ret_conn = c;
    else
        reader_pass_on(d, NULL);
    return err;
}

enum ficus_err db_reader_snapshot(struct db_conn *c, struct ficus_error *reterr)
{
    FICUS_ASSERT(!c->is_writer);
    return db_conn_in_transaction(c) ? FICUS_ERR_OK : db_conn_control(c, DB_BEGIN_READ, reterr);
}

void db_reader_give(struct db *d, struct db_conn *c)
{
    FICUS_ASSERT(c->db == d && !c->is_writer);
    db_conn_reset(c);
    if (db_conn_in_transaction(c))
        (void)db_conn_control(c, DB_ROLLBACK, NULL);    /* nothing was written; a failure leaves nothing either */
    db_vfs_renew(c->file);
    c->who = NULL;
    reader_pass_on(d, c);
}
