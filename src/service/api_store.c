/* SPDX-License-Identifier: Apache-2.0
 *
 * The event store, as a handler sees it. The schema version of a type is one more than the upcasters that there are for
 * it, so it cannot be forgotten when one is added. A snapshot is sealed with a keyed hash: one that was changed by
 * somebody without the system's key is not believed, and made again.
 */
#include "estore.h"
#include "service_impl.h"

#include <ficus/store.h>

enum { SNAPSHOTS_KEPT = 3, SCHEMA_MAX = 1000, COLUMN_COUNT = 8 };

/* ---- upcasters ---- */

static const struct ficus_upcaster *upcaster(const struct ficus_upcaster *list, const char *type, int64_t from)
{
    for (const struct ficus_upcaster *u = list; u != NULL && u->type != NULL; u++)
        if (u->from == from && strcmp(u->type, type) == 0)
            return u;
    return NULL;
}

static int64_t schema_of(const struct ficus_upcaster *list, const char *type)
{
    int64_t schema = 1;
    while (upcaster(list, type, schema) != NULL)
        schema++;
    return schema;
}

enum ficus_err store_check_upcasters(const struct ficus_upcaster *list, struct ficus_error *reterr)
{
    for (const struct ficus_upcaster *u = list; u != NULL && u->type != NULL; u++) {
        if (!estore_type_valid(slice_str(u->type)) || u->upcast == NULL || u->from < 1 || u->from > SCHEMA_MAX)
            return err_set(reterr, FICUS_ERR_INVALID, "upcaster of type \"%.64s\" from %d: it needs a valid type, a function and from 1 to %d",
                           u->type, u->from, SCHEMA_MAX);
        if (upcaster(list, u->type, u->from) != u)
            return err_set(reterr, FICUS_ERR_INVALID, "there are two upcasters of type %s from %d", u->type, u->from);
        if (u->from >= schema_of(list, u->type))
            return err_set(reterr, FICUS_ERR_INVALID, "there is an upcaster of type %s from %d, but none from %d", u->type, u->from,
                           (int)schema_of(list, u->type));
    }
    return FICUS_ERR_OK;
}

/* ---- adding ---- */

static bool may_write(struct ficus_req *req)
{
    if (!request_may_go_on(req))
        return false;
    if (req->kind == REQUEST_PROJECTION)
        (void)request_fail(req, 500, "internal", false, "a projection only changes its tables: it cannot append");
    else if (!req->tx_open)
        (void)request_fail(req, 500, "internal", false, "the event store is written before ficus_tx");
    else if (req->service->config->rebuildable)
        (void)request_fail(req, 500, "internal", false, "the store is rebuildable: it holds nothing but what came by events, so no streams");
    return !req->is_failed;
}

static void write_known(struct json_writer *w, const char *key, struct slice text)
{
    if (text.size > 0)
        json_write_kv_slice(w, key, text);
}

static bool metadata_write(struct ficus_req *req, struct buf *out)
{
    struct json_writer w;
    char parent[TRACE_PARENT_TEXT_SIZE];
    trace_format(&req->log.trace, parent);
    json_write_init(&w, out);
    json_write_object(&w);
    write_known(&w, "caller", slice_str(req->caller));
    write_known(&w, "user", slice_str(req->user));
    write_known(&w, "correlation", req->context.correlation);
    write_known(&w, "causation", req->event.id);
    write_known(&w, "traceparent", slice_str(parent));
    json_write_end(&w);
    return !buf_failed(out);
}

int ficus_store_append(struct ficus_req *req, const char *stream, int64_t expected, const char *type, const char *data, int64_t *ret_version)
{
    if (!may_write(req))
        return -1;
    if (stream == NULL || type == NULL || data == NULL || expected < FICUS_STREAM_ANY)
        return request_fail(req, 500, "internal", false, "an event needs stream, type, data, and FICUS_STREAM_ANY or a version from 0");
    struct buf metadata;
    struct ficus_error error = {0};
    enum ficus_err err = FICUS_ERR_NOMEM;
    struct estore_event ev = {.stream = slice_str(stream),
                              .type = slice_str(type),
                              .schema = schema_of(req->service->def->upcasters, type),
                              .time_ms = env_wall_ms(req->service->env),
                              .data = slice_str(data)};
    buf_init(&metadata, ESTORE_METADATA_SIZE_MAX);
    if (metadata_write(req, &metadata)) {
        ev.metadata = buf_slice(&metadata);
        err = estore_append(db_tx_conn(&req->tx), expected, &ev, &error);
    }
    bool is_elsewhere = err == FICUS_ERR_CONFLICT;
    if (err == FICUS_ERR_OK)
        err = projections_append(req, &ev, &error);
    buf_done(&metadata);
    if (err != FICUS_ERR_OK && !is_elsewhere)
        return request_fail_store(req, err, &error, "append to the event store");
    if (ret_version != NULL)
        *ret_version = ev.version;
    return is_elsewhere ? 1 : 0;
}

/* ---- reading ---- */

struct ficus_rows *ficus_store_read(struct ficus_req *req, const char *stream, int64_t from)
{
    return ficus_query(req,
                       "SELECT position, stream, version, type, schema, time, data, metadata FROM ficus_store"
                       " WHERE stream = ? AND version >= ? ORDER BY version",
                       "si", stream, from);
}

int store_upcast(struct ficus_req *req, struct ficus_stored *ev)
{
    const struct ficus_upcaster *list = req->service->def->upcasters;
    int64_t newest = schema_of(list, ev->type);
    if (ev->schema > newest)
        return request_fail(req, 500, "internal", true,
                            "the event at position %lld has version %d of type %s, this program knows %lld: it is older than its data",
                            (long long)ev->position, ev->schema, ev->type, (long long)newest);
    for (int64_t schema = ev->schema; schema < newest; schema++) {
        ev->data = upcaster(list, ev->type, schema)->upcast(req, ev);
        if (ev->data == NULL)
            return request_fail(req, 500, "internal", false, "the event at position %lld cannot be brought from version %d of type %s to the next",
                                (long long)ev->position, (int)schema, ev->type);
    }
    return 0;
}

int ficus_store_row(struct ficus_rows *rows, struct ficus_stored *ret_event)
{
    int row = ficus_row(rows);
    if (row != 1)
        return row;
    if (db_column_count(rows->stmt) != COLUMN_COUNT)
        return request_fail(rows->req, 500, "internal", false, "ficus_store_row takes rows of ficus_store_read");
    struct ficus_stored ev = {
        .position = ficus_col_int(rows, 0),
        .stream = ficus_col_str(rows, 1),
        .version = ficus_col_int(rows, 2),
        .type = ficus_col_str(rows, 3),
        .schema = (int)ficus_col_int(rows, 4),
        .time_ms = ficus_col_int(rows, 5),
        .data = ficus_col_str(rows, 6),
        .metadata = ficus_col_str(rows, 7),
    };
    if (rows->req->is_failed || store_upcast(rows->req, &ev) != 0)
        return -1;
    *ret_event = ev;
    return 1;
}

int64_t ficus_store_version(struct ficus_req *req, const char *stream)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT max(version) FROM ficus_store WHERE stream = ?", "s", stream);
    int64_t version = ficus_row(rows) == 1 ? ficus_col_int(rows, 0) : -1;
    ficus_rows_done(rows);
    return version;
}

/* ---- snapshots ---- */

/* NULL: failed. */
static const char *seal(struct ficus_req *req, const char *stream, int64_t version, int schema, const char *data)
{
    const char *text = ficus_printf(req, "%zu:%s:%lld:%d:%s", strlen(stream), stream, (long long)version, schema, data);
    if (text == NULL)
        (void)request_fail(req, 503, "out_of_memory", false, "over the request's memory");
    const char *hash = text == NULL ? NULL : ficus_keyed_hash(req, "ficus.snapshot", text);
    return req->is_failed ? NULL : hash;
}

int ficus_store_snapshot_save(struct ficus_req *req, const char *stream, int64_t version, int schema, const char *data)
{
    if (!may_write(req))
        return -1;
    if (stream == NULL || data == NULL || version < 1 || version > ficus_store_version(req, stream) || strlen(data) > EVENT_SIZE_MAX)
        return request_fail(req, 500, "internal", false, "a snapshot needs data of at most %d bytes and a version that its stream has", EVENT_SIZE_MAX);
    const char *sealed = seal(req, stream, version, schema, data);
    if (sealed == NULL || ficus_exec(req, "INSERT OR REPLACE INTO ficus_store_snapshot(stream, version, schema, data, seal) VALUES(?, ?, ?, ?, ?)",
                                     "siiss", stream, version, (int64_t)schema, data, sealed) != 0)
        return -1;
    return ficus_exec(req,
                      "DELETE FROM ficus_store_snapshot WHERE stream = ?1 AND version <"
                      " (SELECT version FROM ficus_store_snapshot WHERE stream = ?1 ORDER BY version DESC LIMIT 1 OFFSET ?2)",
                      "si", stream, (int64_t)SNAPSHOTS_KEPT - 1);
}

int ficus_store_snapshot_load(struct ficus_req *req, const char *stream, int64_t version, int schema, int64_t *ret_version, const char **ret_data)
{
    struct ficus_rows *rows = ficus_query(req,
                                          "SELECT version, data, seal FROM ficus_store_snapshot"
                                          " WHERE stream = ? AND version <= ? AND schema = ? ORDER BY version DESC",
                                          "sii", stream, version, (int64_t)schema);
    int row, found = 0;
    while (found == 0 && (row = ficus_row(rows)) == 1) {
        int64_t at = ficus_col_int(rows, 0);
        const char *data = ficus_col_str(rows, 1), *sealed = ficus_col_str(rows, 2);
        const char *expected = data == NULL ? NULL : seal(req, stream, at, schema, data);
        if (expected == NULL || sealed == NULL || strcmp(expected, sealed) != 0) {
            LOG(&req->service->process.log, LOG_WARN, &req->log, "snapshot.ignored", "a snapshot was not made by this service, or was changed",
                LOG_STR("stream", stream), LOG_INT("version", at));
            continue;
        }
        *ret_version = at;
        *ret_data = data;
        found = 1;
    }
    ficus_rows_done(rows);
    return req->is_failed ? -1 : found;
}
