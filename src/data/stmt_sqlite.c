/* SPDX-License-Identifier: Apache-2.0
 *
 * Statements of a connection: prepared once per text and kept, binding, stepping, columns.
 */
#include "assert.h"
#include "db_private.h"
#include "mem.h"
#include "sql_scan.h"

#include <sqlite3.h>

enum { READ_TRIES_MAX = 100 };

static sqlite3_stmt *handle(const struct db_stmt *s)
{
    return s->handle;
}

/* ---- the cache ---- */

static void stmt_forget(struct db_stmt *s)
{
    struct db_conn *c = s->conn;
    struct slice sql = slice_str(sqlite3_sql(handle(s)));
    struct db_stmt *first = map_get(&c->statements, sql);
    if (first == s && s->next_same == NULL) {
        map_remove(&c->statements, sql);
    } else if (first == s) {
        map_put(&c->statements, sql, s->next_same);     /* replaces: allocates nothing, cannot fail */
    } else {
        while (first->next_same != s)
            first = first->next_same;
        first->next_same = s->next_same;
    }
    list_remove(&s->link);
    c->statement_count--;
    sqlite3_finalize(handle(s));
    mem_free(s);
}

/* Make room for one more: drop the one that was not used for longest. */
static bool cache_make_room(struct db_conn *c)
{
    if (c->statement_count < DB_STATEMENTS_MAX)
        return true;
    for (struct list *it = c->recent.prev; it != &c->recent; it = it->prev) {
        struct db_stmt *s = CONTAINER_OF(it, struct db_stmt, link);
        if (s->busy)
            continue;
        stmt_forget(s);
        return true;
    }
    return false;
}

static enum ficus_err stmt_prepare(struct db_conn *c, const char *sql, struct db_stmt **ret_stmt,
                                   struct ficus_error *reterr)
{
    if (!cache_make_room(c))
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "more than %d statements are open at once", DB_STATEMENTS_MAX);
    sqlite3_stmt *h = NULL;
    int rc = sqlite3_prepare_v3(c->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &h, NULL);
    if (rc != SQLITE_OK)
        return db_conn_error(c, rc, reterr);
    if (h == NULL)
        return err_set(reterr, FICUS_ERR_INVALID, "there is no SQL statement");
    struct db_stmt *s = mem_zalloc(sizeof *s);
    struct slice key = slice_str(sqlite3_sql(h));
    struct db_stmt *first = map_get(&c->statements, key);
    if (s == NULL || (first == NULL && !map_put(&c->statements, key, s))) {
        sqlite3_finalize(h);
        mem_free(s);
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    }
    s->conn = c;
    s->handle = h;
    if (first != NULL) {
        s->next_same = first->next_same;
        first->next_same = s;
    }
    list_add_head(&c->recent, &s->link);
    c->statement_count++;
    *ret_stmt = s;
    return FICUS_ERR_OK;
}

static enum ficus_err stmt_get(struct db_conn *c, const char *sql, struct db_stmt **ret_stmt,
                               struct ficus_error *reterr)
{
    if (c->tx_open && c->lost.code != FICUS_ERR_OK)
        return err_set(reterr, c->lost.code, "the transaction was rolled back: %s", c->lost.text);
    struct db_stmt *s = map_get(&c->statements, slice_str(sql));
    while (s != NULL && s->busy)
        s = s->next_same;
    if (s == NULL) {
        enum ficus_err err = stmt_prepare(c, sql, &s, reterr);
        if (err != FICUS_ERR_OK)
            return err;
    } else if (c->recent.next != &s->link) {
        list_remove(&s->link);
        list_add_head(&c->recent, &s->link);
    }
    s->busy = true;
    s->has_row = false;
    s->spent_ns = s->rows = 0;
    *ret_stmt = s;
    return FICUS_ERR_OK;
}

void db_conn_reset(struct db_conn *c)
{
    LIST_FOREACH(&c->recent, it)
        db_finish(CONTAINER_OF(it, struct db_stmt, link));
}

void db_conn_forget(struct db_conn *c)
{
    LIST_FOREACH_SAFE(&c->recent, it, tmp)
        stmt_forget(CONTAINER_OF(it, struct db_stmt, link));
}

/* ---- binding ---- */

static int bind_slice(sqlite3_stmt *h, int i, struct slice v, bool is_blob, sqlite3_destructor_type life)
{
    if (v.p == NULL)
        return sqlite3_bind_null(h, i);
    if (is_blob)
        return v.size == 0 ? sqlite3_bind_zeroblob(h, i, 0) : sqlite3_bind_blob64(h, i, v.p, v.size, life);
    return sqlite3_bind_text64(h, i, v.p, v.size, life, SQLITE_UTF8);
}

static enum ficus_err stmt_bind(struct db_stmt *s, const char *format, va_list args, sqlite3_destructor_type life,
                                struct ficus_error *reterr)
{
    sqlite3_stmt *h = handle(s);
    int wanted = sqlite3_bind_parameter_count(h);
    if ((size_t)wanted != strlen(format))
        return err_set(reterr, FICUS_ERR_INVALID, "the statement has %d parameters, the format \"%s\" has %zu: %s",
            wanted, format, strlen(format), sqlite3_sql(h));
    for (int i = 1; i <= wanted; i++) {
        int rc = SQLITE_OK;
        switch (format[i - 1]) {
        case 'i':
            rc = sqlite3_bind_int64(h, i, va_arg(args, int64_t));
            break;
        case 's':
            rc = bind_slice(h, i, slice_str(va_arg(args, const char *)), false, life);
            break;
        case 'S':
            rc = bind_slice(h, i, va_arg(args, struct slice), false, life);
            break;
        case 'b':
            rc = bind_slice(h, i, va_arg(args, struct slice), true, life);
            break;
        case 'n':
            rc = sqlite3_bind_null(h, i);
            break;
        default:
            return err_set(reterr, FICUS_ERR_INVALID, "unknown letter '%c' in the format \"%s\"", format[i - 1],
                format);
        }
        if (rc != SQLITE_OK)
            return db_conn_error(s->conn, rc, reterr);
    }
    return FICUS_ERR_OK;
}

/* ---- running ---- */

/* SQLite lets a reader that meets an update of the WAL index try again for a while only; nothing waits here, so go
 * on a little longer. */
static int step_reader(struct db_stmt *s)
{
    int rc = sqlite3_step(handle(s));
    for (int i = 0; i < READ_TRIES_MAX && !s->has_row; i++) {
        if ((rc & 0xff) != SQLITE_BUSY && (rc & 0xff) != SQLITE_PROTOCOL)
            break;
        sqlite3_reset(handle(s));
        rc = sqlite3_step(handle(s));
    }
    return rc;
}

/* The clock is only asked where somebody wants to know. */
static int step_timed(struct db_stmt *s)
{
    struct db_conn *c = s->conn;
    int64_t begun_ns = c->db->o.slow_ms > 0 ? env_now_ns(c->db->env) : 0;
    int rc = c->is_writer ? sqlite3_step(handle(s)) : step_reader(s);
    if (begun_ns != 0)
        s->spent_ns += env_now_ns(c->db->env) - begun_ns;
    return rc;
}

void db_conn_for(struct db_conn *c, void *who)
{
    c->who = who;
}

void db_slow_tell(struct db_conn *c, const char *sql, int64_t spent_ns, int64_t rows)
{
    const struct db_options *o = &c->db->o;
    if (o->slow_ms == 0 || spent_ns < o->slow_ms * 1000000)
        return;
    const struct db_slow slow = {.sql = sql, .ms = spent_ns / 1000000, .rows = rows, .who = c->who};
    o->slow(o->slow_arg, &slow);
}

int db_step(struct db_stmt *s, struct ficus_error *reterr)
{
    struct db_conn *c = s->conn;
    FICUS_ASSERT(s->busy);
    if (c->tx_open && c->lost.code != FICUS_ERR_OK)
        return -(int)err_set(reterr, c->lost.code, "the transaction was rolled back: %s", c->lost.text);
    int rc = step_timed(s);
    s->has_row = rc == SQLITE_ROW;
    s->rows += s->has_row;
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    return -(int)db_conn_error(c, rc, reterr);
}

void db_finish(struct db_stmt *s)
{
    if (s == NULL || !s->busy)
        return;
    db_slow_tell(s->conn, sqlite3_sql(handle(s)), s->spent_ns,
        sqlite3_column_count(handle(s)) == 0 ? sqlite3_changes64(s->conn->handle) : s->rows);
    sqlite3_reset(handle(s));
    sqlite3_clear_bindings(handle(s));
    s->busy = s->has_row = false;
}

enum ficus_err db_exec(struct db_conn *c, struct ficus_error *reterr, const char *sql, const char *format, ...)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = stmt_get(c, sql, &s, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    va_list args;
    va_start(args, format);
    err = stmt_bind(s, format, args, SQLITE_STATIC, reterr);
    va_end(args);
    int more = err == FICUS_ERR_OK ? 1 : 0;
    while (more > 0)
        more = db_step(s, reterr);
    db_finish(s);
    return more < 0 ? (enum ficus_err)-more : err;
}

enum ficus_err db_vquery(struct db_conn *c, struct db_stmt **ret_stmt, struct ficus_error *reterr, const char *sql,
                         const char *format, va_list args)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = stmt_get(c, sql, &s, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = stmt_bind(s, format, args, SQLITE_TRANSIENT, reterr);
    if (err != FICUS_ERR_OK)
        db_finish(s);
    else
        *ret_stmt = s;
    return err;
}

enum ficus_err db_query(struct db_conn *c, struct db_stmt **ret_stmt, struct ficus_error *reterr, const char *sql,
                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum ficus_err err = db_vquery(c, ret_stmt, reterr, sql, format, args);
    va_end(args);
    return err;
}

static int64_t line_of(struct slice sql, const char *at)
{
    uint32_t line, column;
    sql_place(sql, (size_t)(at - sql.p), &line, &column);
    return line;
}

enum ficus_err db_script(struct db_conn *c, struct slice sql, struct ficus_error *reterr)
{
    const char *nul = sql.size == 0 ? NULL : memchr(sql.p, '\0', sql.size);
    if (nul != NULL)
        return err_set(reterr, FICUS_ERR_INVALID, "line %lld has a NUL, where the text would end for SQLite",
            (long long)line_of(sql, nul));
    for (struct slice rest = sql; rest.size > 0;) {
        if (c->tx_open && c->lost.code != FICUS_ERR_OK)
            return err_set(reterr, c->lost.code, "the transaction was rolled back: %s", c->lost.text);
        sqlite3_stmt *h = NULL;
        const char *end = NULL;
        int rc = sqlite3_prepare_v2(c->handle, rest.p, (int)rest.size, &h, &end);
        while (rc == SQLITE_OK && h != NULL && (rc = sqlite3_step(h)) == SQLITE_ROW)
            rc = SQLITE_OK;
        enum ficus_err err = rc == SQLITE_OK || rc == SQLITE_DONE ? FICUS_ERR_OK : db_conn_error(c, rc, reterr);
        sqlite3_finalize(h);
        if (err != FICUS_ERR_OK) {
            struct sql_token first = sql_next_code(&rest);
            (void)err_wrap(reterr, "statement that begins in line %lld", (long long)line_of(sql, first.text.p));
            return err;
        }
        rest = slice_from(rest, (size_t)(end - rest.p));
    }
    return FICUS_ERR_OK;
}

int64_t db_changes(struct db_conn *c)
{
    return sqlite3_changes64(c->handle);
}

/* ---- columns ---- */

int64_t db_i64(struct db_stmt *s, int column)
{
    FICUS_ASSERT(s->has_row);
    return sqlite3_column_int64(handle(s), column);
}

struct slice db_text(struct db_stmt *s, int column)
{
    FICUS_ASSERT(s->has_row);
    const char *p = (const char *)sqlite3_column_text(handle(s), column);
    return p == NULL ? SLICE_NONE : slice_make(p, (size_t)sqlite3_column_bytes(handle(s), column));
}

struct slice db_blob(struct db_stmt *s, int column)
{
    if (db_is_null(s, column))
        return SLICE_NONE;
    const void *p = sqlite3_column_blob(handle(s), column);
    return p == NULL ? SLICE("") : slice_make(p, (size_t)sqlite3_column_bytes(handle(s), column));
}

bool db_is_null(struct db_stmt *s, int column)
{
    FICUS_ASSERT(s->has_row);
    return sqlite3_column_type(handle(s), column) == SQLITE_NULL;
}

int db_column_count(struct db_stmt *s)
{
    return sqlite3_column_count(handle(s));
}

const char *db_column_name(struct db_stmt *s, int column)
{
    return sqlite3_column_name(handle(s), column);
}
