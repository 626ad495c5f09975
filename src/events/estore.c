/* SPDX-License-Identifier: Apache-2.0
 *
 * See estore.h; estore_verify.c looks whether all is as it was added.
 */
#include "estore.h"

#include "event.h"
#include "hex.h"
#include "text.h"

#include <stdio.h>

enum { IMPORT_COUNT_MAX = 500, IMPORT_SIZE_MAX = 4 * 1024 * 1024, JSON_ARENA_SIZE_MAX = 64 * 1024 * 1024 };

static const char chain_label[8] = "FicusES1";

/* ---- names ---- */

bool estore_stream_valid(struct slice name)
{
    return name.size > 0 && name.size <= ESTORE_STREAM_SIZE_MAX && text_printable_ascii(name) && slice_find(name, ' ') < 0;
}

bool estore_type_valid(struct slice type)
{
    for (size_t i = 0; i < type.size; i++) {
        char c = type.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
            return false;
    }
    return type.size > 0 && type.size <= ESTORE_TYPE_SIZE_MAX;
}

/* ---- the chain ---- */

static uint8_t *put_i64(uint8_t *at, int64_t value)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        *at++ = (uint8_t)((uint64_t)value >> shift);
    return at;
}

bool estore_hash(const uint8_t previous[SHA256_SIZE], const struct estore_event *ev, uint8_t ret_hash[SHA256_SIZE])
{
    uint8_t numbers[8 * 8], *at = numbers;
    at = put_i64(at, ev->position);
    at = put_i64(at, (int64_t)ev->stream.size);
    at = put_i64(at, ev->version);
    at = put_i64(at, (int64_t)ev->type.size);
    at = put_i64(at, ev->schema);
    at = put_i64(at, ev->time_ms);
    at = put_i64(at, (int64_t)ev->data.size);
    (void)put_i64(at, (int64_t)ev->metadata.size);
    const struct slice parts[] = {
        slice_make(chain_label, sizeof chain_label),
        slice_make(previous, SHA256_SIZE),
        slice_make(numbers, 16), /* position, size of stream */
        ev->stream,
        slice_make(numbers + 16, 16), /* version, size of type */
        ev->type,
        slice_make(numbers + 32, 24), /* schema, time, size of data */
        ev->data,
        slice_make(numbers + 56, 8), /* size of metadata */
        ev->metadata,
    };
    return sha256(parts, sizeof parts / sizeof *parts, ret_hash);
}

void estore_event_at(struct db_stmt *s, struct estore_event *ret_event, struct slice *ret_hash)
{
    *ret_event = (struct estore_event){
        .position = db_i64(s, 0),
        .stream = db_text(s, 1),
        .version = db_i64(s, 2),
        .type = db_text(s, 3),
        .schema = db_i64(s, 4),
        .time_ms = db_i64(s, 5),
        .data = db_text(s, 6),
        .metadata = db_text(s, 7),
    };
    if (ret_hash != NULL)
        *ret_hash = db_blob(s, 8);
}

/* ---- appending ---- */

static enum ficus_err json_check(struct slice text, size_t size_max, const char *what, struct ficus_error *reterr)
{
    if (text.size > size_max)
        return err_set(reterr, FICUS_ERR_INVALID, "event store: %s has %zu bytes, at most %zu are allowed", what, text.size, size_max);
    struct arena a;
    struct json *v = NULL;
    struct ficus_error error = {0};
    const struct json_limits limits = {.depth_max = EVENT_DATA_DEPTH_MAX, .values_max = 200000};
    arena_init(&a, JSON_ARENA_SIZE_MAX);
    enum ficus_err err = json_parse(&a, text, &limits, &v, &error);
    arena_done(&a);
    if (err == FICUS_ERR_OK)
        return err;
    return err_set(reterr, err == FICUS_ERR_NOMEM ? err : FICUS_ERR_INVALID, "event store: %s is no JSON: %s", what, error.text);
}

static enum ficus_err check(const struct estore_event *ev, struct ficus_error *reterr)
{
    if (!estore_stream_valid(ev->stream))
        return err_set(reterr, FICUS_ERR_INVALID, "event store: a stream is named by 1 to %d printable characters without blanks, not \"%.*s\"",
                       ESTORE_STREAM_SIZE_MAX, ev->stream.size > 200 ? 200 : (int)ev->stream.size, ev->stream.p);
    if (!estore_type_valid(ev->type))
        return err_set(reterr, FICUS_ERR_INVALID, "event store: a type is 1 to %d of a-z A-Z 0-9 . _ -, not \"%.*s\"", ESTORE_TYPE_SIZE_MAX,
                       ev->type.size > 200 ? 200 : (int)ev->type.size, ev->type.p);
    if (ev->schema < 1)
        return err_set(reterr, FICUS_ERR_INVALID, "event store: schema versions begin at 1");
    enum ficus_err err = json_check(ev->data, EVENT_SIZE_MAX, "data", reterr);
    return err == FICUS_ERR_OK ? json_check(ev->metadata, ESTORE_METADATA_SIZE_MAX, "metadata", reterr) : err;
}

/* One row, or CORRUPT. */
static enum ficus_err head_read(struct db_conn *c, int64_t *ret_position, uint8_t ret_hash[SHA256_SIZE], struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT position, hash FROM ficus_store_head", "");
    int step = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (step < 0)
        err = (enum ficus_err)-step;
    else if (err == FICUS_ERR_OK && (step == 0 || db_blob(s, 1).size != SHA256_SIZE))
        err = err_set(reterr, FICUS_ERR_CORRUPT, "the event store has no head; see ficus events verify");
    if (err == FICUS_ERR_OK) {
        *ret_position = db_i64(s, 0);
        memcpy(ret_hash, db_blob(s, 1).p, SHA256_SIZE);
    }
    db_finish(s);
    return err;
}

enum ficus_err estore_version(struct db_conn *c, struct slice stream, int64_t *ret_version, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT max(version) FROM ficus_store WHERE stream = ?", "S", stream);
    int step = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (step < 0)
        err = (enum ficus_err)-step;
    if (err == FICUS_ERR_OK)
        *ret_version = db_i64(s, 0);
    db_finish(s);
    return err;
}

/* It is checked, and its version is that which the stream has now. */
static enum ficus_err append(struct db_conn *c, struct estore_event *ev, struct ficus_error *reterr)
{
    uint8_t previous[SHA256_SIZE], hash[SHA256_SIZE];
    int64_t head = 0;
    enum ficus_err err = head_read(c, &head, previous, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    ev->position = head + 1;
    ev->version++;
    if (!estore_hash(previous, ev, hash))
        return err_set(reterr, FICUS_ERR_NOMEM, "event store: SHA-256");
    struct slice bytes = slice_make(hash, sizeof hash);
    err = db_exec(c, reterr, "INSERT INTO ficus_store(" ESTORE_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", "iSiSiiSSb", ev->position, ev->stream,
                  ev->version, ev->type, ev->schema, ev->time_ms, ev->data, ev->metadata, bytes);
    if (err == FICUS_ERR_EXISTS)
        return err_set(reterr, FICUS_ERR_CORRUPT, "the event store has an event behind its head, at position %lld; see ficus events verify",
                       (long long)ev->position);
    return err != FICUS_ERR_OK ? err : db_exec(c, reterr, "UPDATE ficus_store_head SET position = ?, hash = ?", "ib", ev->position, bytes);
}

enum ficus_err estore_append(struct db_conn *c, int64_t expected, struct estore_event *ev, struct ficus_error *reterr)
{
    enum ficus_err err = check(ev, reterr);
    if (err == FICUS_ERR_OK)
        err = estore_version(c, ev->stream, &ev->version, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (expected != ESTORE_ANY && expected != ev->version)
        return err_set(reterr, FICUS_ERR_CONFLICT, "stream " SLICE_FMT " is at version %lld, not %lld", SLICE_ARG(ev->stream),
                       (long long)ev->version, (long long)expected);
    return append(c, ev, reterr);
}

/* ---- what migrations left ---- */

static enum ficus_err import_some(struct db_conn *c, int64_t *ret_last, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    size_t size = 0;
    int step = 0;
    *ret_last = 0;
    enum ficus_err err = db_query(c, &s, reterr,
                                  "SELECT seq, stream, type, schema, time, data FROM ficus_store_import ORDER BY seq LIMIT ?", "i",
                                  (int64_t)IMPORT_COUNT_MAX);
    while (err == FICUS_ERR_OK && size < IMPORT_SIZE_MAX && (step = db_step(s, reterr)) > 0) {
        struct estore_event ev = {.stream = db_text(s, 1),
                                  .type = db_text(s, 2),
                                  .schema = db_i64(s, 3),
                                  .time_ms = db_i64(s, 4),
                                  .data = db_text(s, 5),
                                  .metadata = SLICE("{\"imported\":true}")};
        err = estore_append(c, ESTORE_ANY, &ev, reterr);
        if (err == FICUS_ERR_INVALID)
            (void)err_wrap(reterr, "row %lld of ficus_store_import", (long long)db_i64(s, 0));
        *ret_last = db_i64(s, 0);
        size += ev.data.size;
    }
    db_finish(s);
    if (step < 0)
        err = (enum ficus_err)-step;
    return err != FICUS_ERR_OK || *ret_last == 0 ? err : db_exec(c, reterr, "DELETE FROM ficus_store_import WHERE seq <= ?", "i", *ret_last);
}

enum ficus_err estore_import(struct db *d, struct ficus_error *reterr)
{
    int64_t last = 0;
    do {
        struct db_tx tx = {0};
        enum ficus_err err = db_tx_begin(d, &tx, 0, reterr);
        if (err != FICUS_ERR_OK)
            return err;
        err = import_some(db_tx_conn(&tx), &last, reterr);
        if (err == FICUS_ERR_OK && last > 0)
            err = db_tx_commit_wait(&tx, reterr);
        else
            db_tx_rollback(&tx);
        if (err != FICUS_ERR_OK)
            return err;
    } while (last > 0);
    return FICUS_ERR_OK;
}

/* ---- heads in words ---- */

void estore_head_format(int64_t position, const uint8_t hash[SHA256_SIZE], char ret_text[ESTORE_HEAD_TEXT_SIZE])
{
    int n = snprintf(ret_text, ESTORE_HEAD_TEXT_SIZE, "%lld:", (long long)position);
    *hex_put(ret_text + n, hash, SHA256_SIZE) = '\0';
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool estore_head_parse(struct slice text, int64_t *ret_position, uint8_t ret_hash[SHA256_SIZE])
{
    struct slice hex = text, position = slice_cut(&hex, ':');
    if (!slice_to_i64(position, ret_position) || *ret_position < 0 || hex.size != 2 * SHA256_SIZE)
        return false;
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        int high = digit(hex.p[2 * i]), low = digit(hex.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret_hash[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
