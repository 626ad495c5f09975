/* SPDX-License-Identifier: Apache-2.0
 *
 * Is every event of a store as it was added? The rows are walked in the order of positions, and each hash is computed
 * anew from the row and the hash before it. Where it does not fit, neighbours tell what happened: the same hash
 * function is asked whether all would fit if this row were not there, if it stood elsewhere, if some were missing before
 * it. From there the walk goes on with the hash that is right, so that one fault is not told of all that follows.
 *
 *     chain    position that an event had when it was added, which its hash knows
 *     position where its row stands now; behind rows that were inserted or removed with renumbering the two differ
 *
 * Of a store whose later hashes were all computed anew nothing is found here: then only a head that was written down
 * before tells (estore_verify_head).
 */
#include "estore.h"

#include "assert.h"
#include "hex.h"

#include <stdio.h>

enum {
    WINDOW = 1000,          /* rows on both sides among which one is looked for that was moved */
    INSERTED_MAX = 8,       /* in a row, with hashes that fit */
    REMOVED_MAX = 16,       /* in a row, with the later ones renumbered */
    STEP_SIZE_MAX = 16 * 1024 * 1024,
    LOOK_COUNT_MAX = 100000, /* rows in which the stream of a missing event is looked for */
};

const char *const estore_fault_names[ESTORE_FAULT_COUNT] = {
    [ESTORE_CHANGED] = "changed",   [ESTORE_MISSING] = "missing",     [ESTORE_REORDERED] = "reordered", [ESTORE_INSERTED] = "inserted",
    [ESTORE_TRUNCATED] = "truncated", [ESTORE_HEAD] = "head", [ESTORE_DAMAGED] = "damaged",
};

struct row {
    struct db_stmt *stmt; /* NULL: there is none */
    struct estore_event ev;
    struct slice hash;
};

struct walk {
    struct db_conn *c;
    struct estore_check *check;
    struct ficus_error *error;
    enum ficus_err err;
    struct row row; /* at hand */
};

/* ---- rows ---- */

#define SELECT_AT "SELECT " ESTORE_COLUMNS " FROM ficus_store WHERE position = ? + ?"

static void row_done(struct row *r)
{
    db_finish(r->stmt);
    *r = (struct row){0};
}

/* The first row of a query; none there: stmt NULL. */
static void row_find(struct walk *w, struct row *r, const char *sql, int64_t a, int64_t b)
{
    *r = (struct row){0};
    if (w->err == FICUS_ERR_OK)
        w->err = db_query(w->c, &r->stmt, w->error, sql, "ii", a, b);
    int step = w->err == FICUS_ERR_OK ? db_step(r->stmt, w->error) : 0;
    if (step == 1)
        estore_event_at(r->stmt, &r->ev, &r->hash);
    else
        row_done(r);
    if (step < 0)
        w->err = (enum ficus_err)-step;
}

/* Would this row's hash be that, if it stood at this place of the chain behind this hash? */
static bool fits(struct walk *w, const uint8_t previous[SHA256_SIZE], int64_t chain, const struct row *r, struct slice hash)
{
    uint8_t computed[SHA256_SIZE];
    struct estore_event ev = r->ev;
    if (r->stmt == NULL)
        return false;
    ev.position = chain;
    if (!estore_hash(previous, &ev, computed))
        w->err = err_set(w->error, FICUS_ERR_NOMEM, "SHA-256");
    return w->err == FICUS_ERR_OK && slice_eq(hash, slice_make(computed, SHA256_SIZE));
}

static bool fits_own(struct walk *w, struct slice previous, int64_t chain, const struct row *r)
{
    return previous.size == SHA256_SIZE && fits(w, (const uint8_t *)previous.p, chain, r, r->hash);
}

/* ---- findings ---- */

static void finding_fill(struct estore_finding *f, enum estore_fault fault, int64_t position, const struct estore_event *ev, const char *format, va_list args)
{
    *f = (struct estore_finding){.fault = fault, .position = position, .version = ev == NULL ? 0 : ev->version};
    size_t size = ev == NULL ? 0 : ev->stream.size > ESTORE_STREAM_SIZE_MAX ? ESTORE_STREAM_SIZE_MAX : ev->stream.size;
    if (size > 0)
        memcpy(f->stream, ev->stream.p, size);
    (void)vsnprintf(f->text, sizeof f->text, format, args);
}

/* There is room: a step ends when there is little. */
static void found(struct walk *w, enum estore_fault fault, int64_t position, const struct estore_event *ev, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static void found(struct walk *w, enum estore_fault fault, int64_t position, const struct estore_event *ev, const char *format, ...)
{
    va_list args;
    FICUS_ASSERT(w->check->finding_count < ESTORE_FINDINGS_MAX);
    va_start(args, format);
    finding_fill(&w->check->findings[w->check->finding_count++], fault, position, ev, format, args);
    va_end(args);
}

static bool has_room(const struct estore_check *k)
{
    return k->finding_count + 4 <= ESTORE_FINDINGS_MAX; /* one row leads to three at most */
}

/* ---- going on ---- */

static void head_reached(struct walk *w)
{
    struct estore_check *k = w->check;
    if (k->chain == k->head_position && memcmp(k->hash, k->head_hash, SHA256_SIZE) != 0)
        found(w, ESTORE_HEAD, k->position, NULL, "the head is not the hash of the last event: the head was changed, or the last event computed anew");
}

/* The row at hand is the event of this place in the chain, with this hash. */
static void go_on(struct walk *w, int64_t chain, struct slice hash)
{
    struct estore_check *k = w->check;
    k->position = w->row.ev.position;
    k->chain = chain;
    if (hash.size == SHA256_SIZE)
        memcpy(k->hash, hash.p, SHA256_SIZE);
    else
        memset(k->hash, 0, SHA256_SIZE); /* was told already; what follows cannot be verified by it */
    head_reached(w);
}

static void next_of(struct walk *w, struct row *ret_next)
{
    row_find(w, ret_next, SELECT_AT, w->row.ev.position, 1);
}

/* ---- what happened here ---- */

/* The row at hand was put in: the next one fits without it, and so does the one behind that (two that were exchanged
 * would fit by the first alone). */
static bool is_inserted(struct walk *w, const struct row *next)
{
    struct estore_check *k = w->check;
    struct row second;
    if (!fits(w, k->hash, k->chain + 1, next, next->hash))
        return false;
    row_find(w, &second, SELECT_AT, w->row.ev.position, 2);
    bool is = second.stmt != NULL ? fits_own(w, next->hash, k->chain + 2, &second) : k->chain + 1 == k->head_position;
    row_done(&second);
    if (!is)
        return false;
    found(w, ESTORE_INSERTED, w->row.ev.position, &w->row.ev, "it does not belong here; the event behind it follows the one before it");
    k->position = w->row.ev.position;
    return true;
}

/* Rows before it were put in, with hashes that fit: it fits without them. */
static bool follows_inserted(struct walk *w)
{
    struct estore_check *k = w->check;
    static const uint8_t zeros[SHA256_SIZE];
    for (int64_t count = 1; count <= INSERTED_MAX && count <= k->chain && w->err == FICUS_ERR_OK; count++) {
        struct row before, first;
        int64_t at = w->row.ev.position - count;
        row_find(w, &before, SELECT_AT, at, -1);
        bool fit = fits_own(w, at == 1 ? slice_make(zeros, SHA256_SIZE) : before.hash, k->chain + 1 - count, &w->row);
        row_done(&before);
        if (!fit)
            continue;
        row_find(w, &first, SELECT_AT, at, 0);
        found(w, ESTORE_INSERTED, at, &first.ev, "%lld event%s put in here, and later ones moved down", (long long)count, count == 1 ? " was" : "s were");
        row_done(&first);
        go_on(w, k->chain + 1 - count, w->row.hash);
        return true;
    }
    return false;
}

/* A row that stands elsewhere is the event of this place; *ret_hash is its hash. It was moved alone, or its hash stayed here. */
static bool find_moved(struct walk *w, int64_t position, int64_t chain, struct slice hash_here, const struct estore_event *here, uint8_t ret_hash[SHA256_SIZE])
{
    struct row r;
    bool is = false;
    row_find(w, &r,
             "SELECT " ESTORE_COLUMNS " FROM ficus_store WHERE position <> ?1 AND"
             " (position BETWEEN ?1 - ?2 AND ?1 + ?2 OR position < 1 OR position > (SELECT position FROM ficus_store_head))",
             position, WINDOW);
    for (int step = r.stmt == NULL ? 0 : 1; step == 1 && !is; step = is ? 0 : db_step(r.stmt, w->error)) {
        estore_event_at(r.stmt, &r.ev, &r.hash);
        bool carries_its_own = fits(w, w->check->hash, chain, &r, r.hash);
        is = carries_its_own || fits(w, w->check->hash, chain, &r, hash_here);
        if (is)
            memcpy(ret_hash, carries_its_own ? r.hash.p : hash_here.p, SHA256_SIZE);
    }
    if (is)
        found(w, ESTORE_REORDERED, position, here == NULL ? &r.ev : here, "the event of this place, version %lld of %.*s, stands at position %lld",
              (long long)r.ev.version, r.ev.stream.size > 60 ? 60 : (int)r.ev.stream.size, r.ev.stream.p, (long long)r.ev.position);
    row_done(&r);
    return is;
}

static bool is_moved(struct walk *w)
{
    uint8_t hash[SHA256_SIZE];
    int64_t chain = w->check->chain + 1;
    if (!find_moved(w, w->row.ev.position, chain, w->row.hash, &w->row.ev, hash))
        return false;
    go_on(w, chain, slice_make(hash, SHA256_SIZE));
    return true;
}

/* Its content is right, its hash is not: the next one follows what its hash should be. */
static bool is_hash_changed(struct walk *w, const struct row *next)
{
    struct estore_check *k = w->check;
    uint8_t right[SHA256_SIZE];
    struct estore_event ev = w->row.ev;
    ev.position = k->chain + 1;
    if (!estore_hash(k->hash, &ev, right))
        return false;
    bool is = next->stmt != NULL ? fits(w, right, k->chain + 2, next, next->hash)
                                 : k->chain + 1 == k->head_position && memcmp(right, k->head_hash, SHA256_SIZE) == 0;
    if (!is)
        return false;
    found(w, ESTORE_CHANGED, w->row.ev.position, &w->row.ev, "its hash was changed; its content is what was added");
    go_on(w, k->chain + 1, slice_make(right, SHA256_SIZE));
    return true;
}

static void missing(struct walk *w, int64_t position, int64_t count, const char *how);

/* Some before it were removed, and it and the later ones renumbered: the next one fits so many places further on. */
static bool follows_removed(struct walk *w, const struct row *next)
{
    struct estore_check *k = w->check;
    for (int64_t count = 1; count <= REMOVED_MAX && w->err == FICUS_ERR_OK; count++) {
        int64_t chain = k->chain + 1 + count;
        bool is = next->stmt != NULL ? fits_own(w, w->row.hash, chain + 1, next)
                                     : chain == k->head_position && slice_eq(w->row.hash, slice_make(k->head_hash, SHA256_SIZE));
        if (!is)
            continue;
        missing(w, w->row.ev.position, count, " before it, and it and later ones moved up");
        go_on(w, chain, w->row.hash);
        return true;
    }
    return false;
}

static void look_closer(struct walk *w)
{
    struct estore_check *k = w->check;
    struct row next;
    next_of(w, &next);
    if (!is_hash_changed(w, &next) && !is_inserted(w, &next) && !is_moved(w) && !follows_inserted(w) && !follows_removed(w, &next) &&
        w->err == FICUS_ERR_OK) {
        found(w, ESTORE_CHANGED, w->row.ev.position, &w->row.ev, "it is not what was added: another stream, version, type, schema, time, data or metadata");
        go_on(w, k->chain + 1, w->row.hash);
    }
    row_done(&next);
}

/* ---- gaps ---- */

/* The first event from here on whose predecessor in its stream is not there names it. */
static void missing(struct walk *w, int64_t position, int64_t count, const char *how)
{
    struct row r;
    row_find(w, &r,
             "SELECT " ESTORE_COLUMNS " FROM ficus_store AS later WHERE position BETWEEN ?1 AND ?1 + ?2 AND version > 1 AND NOT EXISTS"
             " (SELECT 1 FROM ficus_store AS before WHERE before.stream = later.stream AND before.version = later.version - 1)"
             " ORDER BY position LIMIT 1",
             position, LOOK_COUNT_MAX);
    struct estore_event ev = {0};
    if (r.stmt != NULL && count == 1) {
        ev = r.ev;
        ev.version--;
    }
    if (count == 1)
        found(w, ESTORE_MISSING, position, ev.stream.size > 0 ? &ev : NULL, "the event is gone%s", how);
    else
        found(w, ESTORE_MISSING, position, NULL, "%lld events are gone%s", (long long)count, how);
    row_done(&r);
}

/* Rows are missing before the one at hand. Some of these events may stand elsewhere. */
static void check_gap(struct walk *w)
{
    struct estore_check *k = w->check;
    uint8_t hash[SHA256_SIZE];
    while (k->position + 1 < w->row.ev.position) {
        if (w->err != FICUS_ERR_OK || !has_room(k))
            return; /* the next step goes on here */
        if (!find_moved(w, k->position + 1, k->chain + 1, SLICE_NONE, NULL, hash))
            break;
        memcpy(k->hash, hash, SHA256_SIZE);
        k->position++;
        k->chain++;
    }
    int64_t count = w->row.ev.position - k->position - 1;
    if (count == 0 || w->err != FICUS_ERR_OK)
        return;
    missing(w, k->position + 1, count, "");
    /* The row at hand cannot be verified without the hash before it, but the next one says whether its hash is right. */
    go_on(w, k->chain + count + 1, w->row.hash);
}

/* ---- one row, and the end ---- */

static bool is_found_by_name(struct walk *w)
{
    struct db_stmt *s = NULL;
    const struct estore_event *ev = &w->row.ev;
    w->err = db_query(w->c, &s, w->error, "SELECT position FROM ficus_store WHERE stream = ? AND version = ?", "Si", ev->stream, ev->version);
    int step = w->err == FICUS_ERR_OK ? db_step(s, w->error) : 0;
    bool is = step == 1 && db_i64(s, 0) == ev->position;
    if (step < 0)
        w->err = (enum ficus_err)-step;
    db_finish(s);
    return is || w->err != FICUS_ERR_OK;
}

static void check_row(struct walk *w)
{
    struct estore_check *k = w->check;
    if (w->row.ev.position - k->position > k->head_position - k->chain) {
        if (k->chain < k->head_position)
            missing(w, k->position + 1, k->head_position - k->chain, " before the head");
        found(w, ESTORE_INSERTED, w->row.ev.position, &w->row.ev, "it is behind the head, which is position %lld", (long long)k->head_position);
        k->position = w->row.ev.position;
        k->chain = k->head_position;
        return;
    }
    if (w->row.ev.position > k->position + 1)
        check_gap(w);
    if (w->err != FICUS_ERR_OK || k->position + 1 != w->row.ev.position)
        return;
    if (fits(w, k->hash, k->chain + 1, &w->row, w->row.hash))
        go_on(w, k->chain + 1, w->row.hash);
    else if (w->err == FICUS_ERR_OK)
        look_closer(w);
    if (w->err == FICUS_ERR_OK && !is_found_by_name(w))
        found(w, ESTORE_DAMAGED, w->row.ev.position, &w->row.ev, "the index does not lead to it under its stream and version");
}

static void read_head(struct walk *w)
{
    struct db_stmt *s = NULL;
    struct estore_check *k = w->check;
    w->err = db_query(w->c, &s, w->error, "SELECT position, hash FROM ficus_store_head", "");
    int step = w->err == FICUS_ERR_OK ? db_step(s, w->error) : 0;
    bool is_whole = step == 1 && db_blob(s, 1).size == SHA256_SIZE;
    k->head_position = is_whole ? db_i64(s, 0) : INT64_MAX;
    if (is_whole)
        memcpy(k->head_hash, db_blob(s, 1).p, SHA256_SIZE);
    else if (step >= 0 && k->position == 0)
        found(w, ESTORE_HEAD, 0, NULL, "the head is gone, so nobody knows where the store ended");
    if (step < 0)
        w->err = (enum ficus_err)-step;
    db_finish(s);
}

static void check_beginning(struct walk *w)
{
    struct row r;
    if (w->check->position != 0)
        return;
    row_find(w, &r, "SELECT " ESTORE_COLUMNS " FROM ficus_store WHERE position < ? + ? ORDER BY position LIMIT 1", 1, 0);
    if (r.stmt != NULL)
        found(w, ESTORE_INSERTED, r.ev.position, &r.ev, "positions begin at 1");
    row_done(&r);
    head_reached(w); /* of an empty store */
}

static void check_end(struct walk *w)
{
    struct estore_check *k = w->check;
    k->is_done = true;
    if (k->head_position != INT64_MAX && k->chain < k->head_position)
        found(w, ESTORE_TRUNCATED, k->position + 1, NULL, "the store ends here, but its head is position %lld: the last %lld event%s gone",
              (long long)k->head_position, (long long)(k->head_position - k->chain), k->head_position - k->chain == 1 ? " is" : "s are");
}

static void walk_rows(struct walk *w, size_t count_max)
{
    size_t size = 0;
    int step = 1;
    w->err = db_query(w->c, &w->row.stmt, w->error, "SELECT " ESTORE_COLUMNS " FROM ficus_store WHERE position > ? ORDER BY position", "i",
                      w->check->position);
    for (size_t i = 0; w->err == FICUS_ERR_OK && i < count_max && size < STEP_SIZE_MAX && has_room(w->check); i++) {
        step = db_step(w->row.stmt, w->error);
        if (step != 1)
            break;
        estore_event_at(w->row.stmt, &w->row.ev, &w->row.hash);
        size += w->row.ev.data.size;
        check_row(w);
    }
    row_done(&w->row);
    if (step < 0 && w->err == FICUS_ERR_OK)
        w->err = (enum ficus_err)-step;
    if (step == 0 && w->err == FICUS_ERR_OK)
        check_end(w);
}

enum ficus_err estore_verify(struct db_conn *c, size_t count_max, struct estore_check *check, struct ficus_error *reterr)
{
    struct walk w = {.c = c, .check = check, .error = reterr};
    check->finding_count = 0;
    check->is_done = false;
    read_head(&w);
    if (w.err == FICUS_ERR_OK)
        check_beginning(&w);
    if (w.err == FICUS_ERR_OK)
        walk_rows(&w, count_max);
    return w.err;
}

static void head_finding(struct estore_finding *f, enum estore_fault fault, int64_t position, const char *format, ...) __attribute__((format(printf, 4, 5)));
static void head_finding(struct estore_finding *f, enum estore_fault fault, int64_t position, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    finding_fill(f, fault, position, NULL, format, args);
    va_end(args);
}

enum ficus_err estore_verify_head(struct db_conn *c, int64_t position, const uint8_t hash[SHA256_SIZE], bool *ret_is_there,
                                  struct estore_finding *ret_finding, struct ficus_error *reterr)
{
    static const uint8_t zeros[SHA256_SIZE];
    struct walk w = {.c = c, .error = reterr};
    *ret_is_there = position == 0 && memcmp(hash, zeros, SHA256_SIZE) == 0;
    if (*ret_is_there)
        return FICUS_ERR_OK;
    row_find(&w, &w.row, SELECT_AT, position, 0);
    *ret_is_there = w.row.stmt != NULL && slice_eq(w.row.hash, slice_make(hash, SHA256_SIZE));
    if (w.err == FICUS_ERR_OK && !*ret_is_there && w.row.stmt == NULL)
        head_finding(ret_finding, ESTORE_TRUNCATED, position, "the store once ended here, and does not reach so far any more");
    else if (w.err == FICUS_ERR_OK && !*ret_is_there)
        head_finding(ret_finding, ESTORE_HEAD, position, "the store once ended here with another hash: this or an earlier event is another one now");
    row_done(&w.row);
    return w.err;
}
