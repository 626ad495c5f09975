/* SPDX-License-Identifier: Apache-2.0
 *
 * The database, as a handler sees it: a reading connection before ficus_tx, the transaction behind it. Any failure of a
 * statement but a unique key that was there already ends the request: what was half done can never be committed by a
 * handler that forgot to look.
 */
#include "projection.h"
#include "service_impl.h"

enum { SQL_SIZE_MAX = 64 * 1024 };

static bool format_valid(const char *format)
{
    for (const char *c = format; *c != '\0'; c++)
        if (*c != 'i' && *c != 's' && *c != 'n')
            return false;
    return true;
}

int request_reader(struct ficus_req *r)
{
    if (r->reader != NULL)
        return 0;
    if (r->service->db == NULL)
        return request_fail(r, 500, "internal", false, "this service has no store");
    struct ficus_error error = {0};
    enum ficus_err err = db_reader_take(r->service->db, &r->reader, &error);
    if (err == FICUS_ERR_OK)
        db_conn_for(r->reader, r);
    return err == FICUS_ERR_OK ? 0 : request_fail_store(r, err, &error, "take a reading connection");
}

void request_reader_give(struct ficus_req *r)
{
    if (r->reader == NULL)
        return;
    db_rows_close(r, true);
    db_reader_give(r->service->db, r->reader);
    r->reader = NULL;
}

static void rows_close(struct ficus_rows *rows)
{
    db_finish(rows->stmt);
    rows->stmt = NULL;
    list_remove(&rows->link);
}

void db_rows_close(struct ficus_req *r, bool readers_only)
{
    LIST_FOREACH_SAFE (&r->rows, it, tmp) {
        struct ficus_rows *rows = CONTAINER_OF(it, struct ficus_rows, link);
        if (!readers_only || rows->is_reader)
            rows_close(rows);
    }
}

static bool reads_now(const struct ficus_req *r)
{
    LIST_FOREACH (&r->rows, it)
        if (CONTAINER_OF(it, struct ficus_rows, link)->is_reader)
            return true;
    return false;
}

/* What belongs to every transaction, before the handler's own statements. */
static int tx_opened(struct ficus_req *r)
{
    struct service *v = r->service;
    struct ficus_error error = {0};
    struct db_conn *c = db_tx_conn(&r->tx);
    enum ficus_err err = v->relay == NULL ? FICUS_ERR_OK : outbox_trim(v->relay, c, &error);
    if (err != FICUS_ERR_OK)
        return request_fail_store(r, err, &error, "trim the outbox");
    if (r->kind == REQUEST_EVENT) {
        bool is_new = false;
        err = inbox_accept(c, v->def->name, r->event.offset, &is_new, &error);
        if (err != FICUS_ERR_OK)
            return request_fail_store(r, err, &error, "accept the event");
        if (is_new && r->event_redriven)
            err = inbox_take_back(c, &r->event, &is_new, &error);
        if (err != FICUS_ERR_OK)
            return request_fail_store(r, err, &error, "take the event back");
        if (!is_new) {
            r->is_duplicate = r->is_failed = true;
            return -1;
        }
    }
    if (r->idempotency_key == NULL)
        return 0;
    int kept = keys_lookup(r, c);
    if (kept == 1)
        r->is_failed = true; /* and is_replayed: the kept answer is the answer */
    return kept == 0 ? 0 : -1;
}

int ficus_tx(struct ficus_req *req)
{
    if (!request_may_go_on(req))
        return -1;
    if (req->tx_open)
        return 0;
    if (req->service->db == NULL)
        return request_fail(req, 500, "internal", false, "this service has no store");
    if (req->service->config->rebuildable && req->kind == REQUEST_HTTP)
        return request_fail(req, 500, "internal", false, "the store is rebuildable: only events may change it");
    if (!reads_now(req))
        request_reader_give(req);
    struct ficus_error error = {0};
    enum ficus_err err = db_tx_begin(req->service->db, &req->tx, req->context.deadline_ns, &error);
    if (err != FICUS_ERR_OK)
        return request_fail_store(req, err, &error, "begin a transaction");
    req->tx_open = true;
    db_conn_for(db_tx_conn(&req->tx), req);
    return request_may_go_on(req) ? tx_opened(req) : -1;
}

/* What is run: to a projection's handler the names in braces are its tables. NULL: failed. */
static const char *sql_for(struct ficus_req *req, const char *sql)
{
    if (req->kind != REQUEST_PROJECTION)
        return sql;
    struct buf text;
    struct ficus_error error = {0};
    buf_init(&text, SQL_SIZE_MAX);
    enum ficus_err err = projection_expand(slice_str(sql), req->generation, &text, &error);
    const char *copy = err == FICUS_ERR_OK ? arena_strdup(&req->arena, buf_slice(&text)) : NULL;
    buf_done(&text);
    if (copy == NULL)
        (void)request_fail(req, 500, "internal", false, "%s", err == FICUS_ERR_OK ? "over the request's memory" : error.text);
    return copy;
}

int ficus_exec(struct ficus_req *req, const char *sql, const char *format, ...)
{
    if (!request_may_go_on(req))
        return -1;
    if (!req->tx_open)
        return request_fail(req, 500, "internal", false, "ficus_exec before ficus_tx");
    if (!format_valid(format))
        return request_fail(req, 500, "internal", false, "unknown letter in the format \"%s\"", format);
    if ((sql = sql_for(req, sql)) == NULL)
        return -1;
    struct ficus_error error = {0};
    struct db_stmt *s = NULL;
    struct db_conn *c = db_tx_conn(&req->tx);
    va_list args;
    va_start(args, format);
    enum ficus_err err = db_vquery(c, &s, &error, sql, format, args);
    va_end(args);
    int step = err == FICUS_ERR_OK ? 1 : 0;
    while (step == 1)
        step = db_step(s, &error);
    if (step < 0)
        err = (enum ficus_err) - step;
    else if (err == FICUS_ERR_OK)
        req->changes = db_changes(c);
    db_finish(s);
    if (err == FICUS_ERR_EXISTS)
        return 1;
    return err == FICUS_ERR_OK ? 0 : request_fail_store(req, err, &error, sql);
}

int64_t ficus_changes(struct ficus_req *req)
{
    return req->changes;
}

struct ficus_rows *ficus_query(struct ficus_req *req, const char *sql, const char *format, ...)
{
    if (!request_may_go_on(req) || (!req->tx_open && request_reader(req) != 0) || (sql = sql_for(req, sql)) == NULL)
        return NULL;
    struct ficus_rows *rows = format_valid(format) ? ARENA_NEW(&req->arena, struct ficus_rows) : NULL;
    if (rows == NULL) {
        (void)request_fail(req, 500, "internal", false, "out of memory, or an unknown letter in the format \"%s\"",
                           format);
        return NULL;
    }
    struct ficus_error error = {0};
    va_list args;
    va_start(args, format);
    enum ficus_err err = db_vquery(req->tx_open ? db_tx_conn(&req->tx) : req->reader, &rows->stmt, &error, sql, format,
                                   args);
    va_end(args);
    if (err != FICUS_ERR_OK) {
        (void)request_fail_store(req, err, &error, sql);
        return NULL;
    }
    rows->req = req;
    rows->is_reader = !req->tx_open;
    list_add_tail(&req->rows, &rows->link);
    return rows;
}

int ficus_row(struct ficus_rows *r)
{
    if (r == NULL || !request_may_go_on(r->req))
        return -1;
    if (r->stmt == NULL)
        return 0;
    struct ficus_error error = {0};
    int step = db_step(r->stmt, &error);
    if (step == 1)
        return 1;
    rows_close(r);
    return step == 0 ? 0 : request_fail_store(r->req, (enum ficus_err) - step, &error, "read a row");
}

static bool column_valid(const struct ficus_rows *r, int column)
{
    return r != NULL && r->stmt != NULL && column >= 0 && column < db_column_count(r->stmt);
}

int64_t ficus_col_int(struct ficus_rows *r, int column)
{
    return column_valid(r, column) ? db_i64(r->stmt, column) : 0;
}

const char *ficus_col_str(struct ficus_rows *r, int column)
{
    if (!column_valid(r, column) || db_is_null(r->stmt, column))
        return NULL;
    const char *copy = arena_strdup(&r->req->arena, db_text(r->stmt, column));
    if (copy != NULL)
        return copy;
    (void)request_fail(r->req, 503, "out_of_memory", false, "over the request's memory");
    return ""; /* never NULL for a value that is there; the request has failed */
}

bool ficus_col_null(struct ficus_rows *r, int column)
{
    return !column_valid(r, column) || db_is_null(r->stmt, column);
}

void ficus_rows_done(struct ficus_rows *r)
{
    if (r != NULL && r->stmt != NULL)
        rows_close(r);
}
