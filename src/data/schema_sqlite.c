/* SPDX-License-Identifier: Apache-2.0 */
#include "schema.h"

#include "assert.h"
#include "db_private.h"
#include "mem.h"
#include "sql_scan.h"

#include <sqlite3.h>
#include <stdio.h>

enum {
    STEPS_EACH = 100,               /* instructions of SQLite's machine between two calls of on_steps */
    STEPS_MAX = 200 * 1000,         /* calls for one migration: about a second */
    PAGES_MAX = 16 * 1024,          /* 64 MiB of pages */
    HEAP_SIZE_MAX = 128 << 20,      /* of SQLite: what a query keeps for itself has no other bound */
    VALUE_SIZE_MAX = 4 << 20,
    STATEMENTS_MAX = 100 * 1000,
    PARTS_MAX = 2000,
};

struct schema_runner {
    struct arena *a;
    sqlite3 *h;
    bool trusted;                   /* our own SQL is prepared */
    bool starved;                   /* SQLite ran out of memory while we looked */
    int64_t steps;
    bool stopped;                   /* a migration did more than it may */
    struct schema_statement *now;   /* what is prepared at present; names are noted there */
};

/* ---- names ---- */

bool schema_same_name(const char *a, const char *b)
{
    return sqlite3_stricmp(a, b) == 0;
}

static const void *find(const void *list, size_t count, size_t size, const char *name)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *const *item = (const void *)((const char *)list + middle * size);
        int order = sqlite3_stricmp(name, *item);
        if (order == 0)
            return item;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

_Static_assert(offsetof(struct schema_table, name) == 0 && offsetof(struct schema_part, name) == 0, "find compares it");

const struct schema_table *schema_table(const struct schema *s, const char *name)
{
    return find(s->tables, s->table_count, sizeof *s->tables, name);
}

const struct schema_part *schema_index(const struct schema *s, const char *name)
{
    return find(s->indexes, s->index_count, sizeof *s->indexes, name);
}

const struct schema_part *schema_trigger(const struct schema *s, const char *name)
{
    return find(s->triggers, s->trigger_count, sizeof *s->triggers, name);
}

const struct schema_column *schema_column(const struct schema_table *t, const char *name)
{
    for (size_t i = 0; i < t->shape->column_count; i++)
        if (schema_same_name(t->shape->columns[i].name, name))
            return &t->shape->columns[i];
    return NULL;
}

/* ---- rights, and what a statement touches ---- */

static void note_name(struct schema_runner *r, const char *name)
{
    struct schema_statement *s = r->now;
    if (s == NULL || name == NULL || s->name_count == SCHEMA_NAMES_MAX)
        return;
    for (size_t i = 0; i < s->name_count; i++)
        if (schema_same_name(s->names[i], name))
            return;
    const char *copy = arena_strdup(r->a, slice_str(name));
    if (copy != NULL)
        s->names[s->name_count++] = copy;
}

static void note_action(struct schema_runner *r, int action, const char *a, const char *b)
{
    bool of_table = true;
    switch (action) {
    case SQLITE_CREATE_TABLE:
    case SQLITE_CREATE_VIEW:
    case SQLITE_CREATE_VTABLE:
    case SQLITE_DROP_TABLE:
    case SQLITE_DROP_VIEW:
    case SQLITE_DROP_VTABLE:
        note_name(r, a);
        break;
    case SQLITE_ALTER_TABLE:
        note_name(r, b);
        break;
    case SQLITE_CREATE_INDEX:
    case SQLITE_DROP_INDEX:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_DROP_TRIGGER:
        note_name(r, a);
        note_name(r, b);
        of_table = false;
        break;
    default:
        of_table = false;
        break;
    }
    if (r->now == NULL)
        return;
    r->now->of_table |= of_table;
    if (action == SQLITE_DROP_TABLE)
        r->now->dropped = arena_strdup(r->a, slice_str(a));
}

static int authorize(void *arg, int action, const char *a, const char *b, const char *database, const char *trigger)
{
    struct schema_runner *r = arg;
    (void)database, (void)trigger;
    if (r->trusted)
        return SQLITE_OK;
    if (db_sql_allowed(action, a, b)) {
        note_action(r, action, a, b);
        return SQLITE_OK;
    }
    if (r->now != NULL)
        r->now->denied = action == SQLITE_PRAGMA ? arena_printf(r->a, "PRAGMA %s", a)
            : action == SQLITE_ATTACH ? "ATTACH" : action == SQLITE_DETACH ? "DETACH" : "a transaction of its own";
    return SQLITE_DENY;
}

static int on_steps(void *arg)
{
    struct schema_runner *r = arg;
    if (!r->trusted && (++r->steps > STEPS_MAX || sqlite3_memory_used() > HEAP_SIZE_MAX))
        r->stopped = true;
    return r->stopped;
}

/* ---- opening ---- */

static enum ficus_err run_own(struct schema_runner *r, const char *sql, struct ficus_error *reterr)
{
    r->trusted = true;
    int rc = sqlite3_exec(r->h, sql, NULL, NULL, NULL);
    r->trusted = false;
    return rc == SQLITE_OK ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_INTERNAL, "%s: %s", sql, sqlite3_errmsg(r->h));
}

enum ficus_err schema_runner_new(struct arena *a, struct schema_runner **ret_runner, struct ficus_error *reterr)
{
    struct schema_runner *r = mem_zalloc(sizeof *r);
    if (r == NULL || sqlite3_open_v2(":memory:", &r->h, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
        SQLITE_OPEN_MEMORY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL) != SQLITE_OK) {
        schema_runner_free(r);
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    }
    r->a = a;
    sqlite3_set_authorizer(r->h, authorize, r);
    sqlite3_progress_handler(r->h, STEPS_EACH, on_steps, r);
    sqlite3_limit(r->h, SQLITE_LIMIT_LENGTH, VALUE_SIZE_MAX);
    char sql[96];
    snprintf(sql, sizeof sql, "PRAGMA max_page_count=%d; PRAGMA temp_store=MEMORY", PAGES_MAX);
    db_handle_harden(r->h);
    enum ficus_err err = run_own(r, sql, reterr);
    if (err == FICUS_ERR_OK)
        err = run_own(r, DB_STORE_IMPORT_SQL, reterr);
    if (err != FICUS_ERR_OK)
        schema_runner_free(r);
    else
        *ret_runner = r;
    return err;
}

void schema_runner_free(struct schema_runner *r)
{
    if (r == NULL)
        return;
    int rc = sqlite3_close(r->h);
    FICUS_ASSERT(rc == SQLITE_OK);
    mem_free(r);
}

/* ---- running ---- */

static void run_failed(struct schema_runner *r, struct schema_run *run, const char *text, size_t place)
{
    run->failed = r->stopped ? "does more than a migration may do while it is checked" : arena_strdup(r->a, slice_str(text));
    run->failed_at = place;
}

/* Prepare and run what begins at s->first; sets s->end. */
static void run_statement(struct schema_runner *r, const char *text, struct schema_run *run, struct schema_statement *s)
{
    sqlite3_stmt *h = NULL;
    const char *end = NULL;
    r->now = s;
    int rc = sqlite3_prepare_v2(r->h, text + s->first, -1, &h, &end);
    r->now = NULL;
    if (rc != SQLITE_OK && s->denied != NULL) {
        /* these have no semicolon inside */
        struct slice rest = slice_str(text + s->first);
        struct sql_token t = sql_next(&rest);
        while (t.kind != SQL_END && !slice_eq_str(t.text, ";"))
            t = sql_next(&rest);
        s->end = (size_t)(rest.p - text);
        return;
    }
    s->denied = NULL;
    while (rc == SQLITE_OK && (rc = sqlite3_step(h)) == SQLITE_ROW)
        rc = SQLITE_OK;
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        run_failed(r, run, sqlite3_errmsg(r->h), s->first);
    sqlite3_finalize(h);
    s->end = end == NULL ? s->first : (size_t)(end - text);
}

/* Where the next statement begins; false: there is none. A lone semicolon is none. */
static bool next_first(const char *text, size_t from, size_t *ret_first)
{
    struct slice rest = slice_str(text + from);
    struct sql_token t = sql_next_code(&rest);
    while (t.kind != SQL_END && slice_eq_str(t.text, ";"))
        t = sql_next_code(&rest);
    *ret_first = (size_t)(t.text.p - text);
    return t.kind != SQL_END;
}

static enum ficus_err run_all(struct schema_runner *r, const char *text, struct schema_run *run, struct ficus_error *reterr)
{
    size_t capacity = 0, at = 0, first;
    while (run->failed == NULL && next_first(text, at, &first)) {
        if (run->count == capacity) {
            struct schema_statement *old = run->statements;
            capacity = capacity == 0 ? 16 : capacity * 2;
            run->statements = capacity > 2 * STATEMENTS_MAX ? NULL : ARENA_ARRAY(r->a, struct schema_statement, capacity);
            if (run->statements == NULL)
                return err_set(reterr, FICUS_ERR_TOO_LARGE, "the migration has too many statements");
            if (old != NULL)
                memcpy(run->statements, old, run->count * sizeof *old);
        }
        struct schema_statement *s = &run->statements[run->count++];
        *s = (struct schema_statement){.first = first};
        run_statement(r, text, run, s);
        at = s->end;
    }
    return FICUS_ERR_OK;
}

enum ficus_err schema_run(struct schema_runner *r, struct slice sql, struct schema_run *ret_run, struct ficus_error *reterr)
{
    *ret_run = (struct schema_run){0};
    r->steps = 0;
    r->stopped = false;
    const char *nul = sql.size == 0 ? NULL : memchr(sql.p, '\0', sql.size);
    if (nul != NULL) {
        run_failed(r, ret_run, "a NUL, where the text would end for SQLite", (size_t)(nul - sql.p));
        return FICUS_ERR_OK;
    }
    /* a terminator saves SQLite a copy of the rest for each statement */
    const char *text = arena_strdup(r->a, sql);
    if (text == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = run_own(r, "BEGIN", reterr);
    if (err == FICUS_ERR_OK)
        err = run_all(r, text, ret_run, reterr);
    r->trusted = true;
    r->stopped = false;
    if (err == FICUS_ERR_OK && ret_run->failed == NULL && sqlite3_exec(r->h, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        run_failed(r, ret_run, sqlite3_errmsg(r->h), ret_run->count == 0 ? 0 : ret_run->statements[ret_run->count - 1].first);
    if (!sqlite3_get_autocommit(r->h))
        (void)sqlite3_exec(r->h, "ROLLBACK", NULL, NULL, NULL); /* of what failed already */
    r->trusted = false;
    return err;
}

bool schema_can_add(struct schema_runner *r, const struct schema_column *c, bool refers, const char **ret_why)
{
    char *sql = sqlite3_mprintf("ALTER TABLE ficus_probe ADD COLUMN c %s DEFAULT (%s) %s", c->not_null ? "NOT NULL" : "",
        c->fallback == NULL ? "NULL" : c->fallback, refers ? "REFERENCES ficus_probe" : "");
    r->trusted = true;
    int rc = sqlite3_exec(r->h, "SAVEPOINT probe; CREATE TABLE ficus_probe(a PRIMARY KEY); INSERT INTO ficus_probe VALUES(1)", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sql == NULL ? SQLITE_NOMEM : sqlite3_exec(r->h, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        *ret_why = arena_strdup(r->a, slice_str(sqlite3_errmsg(r->h)));
    (void)sqlite3_exec(r->h, "ROLLBACK TO probe; RELEASE probe", NULL, NULL, NULL);     /* in memory: cannot fail */
    r->trusted = false;
    sqlite3_free(sql);
    return rc == SQLITE_OK;
}

/* ---- looking ---- */

/* One of our queries; rows of it go into a list that grows. */
struct look {
    struct schema_runner *r;
    sqlite3_stmt *h;
    int rc;
};

static void look_begin(struct look *q, struct schema_runner *r, const char *sql, const char *name)
{
    *q = (struct look){.r = r};
    r->trusted = true;
    q->rc = sqlite3_prepare_v2(r->h, sql, -1, &q->h, NULL);
    if (q->rc == SQLITE_OK && name != NULL)
        q->rc = sqlite3_bind_text(q->h, 1, name, -1, SQLITE_STATIC);
}

static bool look_row(struct look *q)
{
    if (q->rc == SQLITE_OK || q->rc == SQLITE_ROW)
        q->rc = sqlite3_step(q->h);
    return q->rc == SQLITE_ROW;
}

static bool look_end(struct look *q)
{
    sqlite3_finalize(q->h);
    q->r->trusted = false;
    q->r->starved |= (q->rc & 0xff) == SQLITE_NOMEM;
    return q->rc == SQLITE_DONE;
}

/* NULL for NULL. Out of memory is found in the arena at the end. */
static const char *text_at(struct look *q, int column)
{
    const char *p = (const char *)sqlite3_column_text(q->h, column);
    return p == NULL ? NULL : arena_strdup(q->r->a, slice_str(p));
}

static const char *word_at(struct look *q, int column)
{
    const char *p = text_at(q, column);
    return p == NULL ? "" : p;
}

/* Room for one more: made at 0 and at each power of two. On failure the list stays as it is. */
static bool look_room(struct arena *a, void **list, size_t count, size_t size)
{
    if (count > 0 && (count & (count - 1)) != 0)
        return true;
    void *out = arena_zalloc(a, size * (count == 0 ? 1 : 2 * count));
    if (out == NULL)
        return false;
    if (count > 0)
        memcpy(out, *list, count * size);
    *list = out;
    return true;
}

/* The next item of a list, NULL without memory. */
#define LOOK_ADD(a, list, count) \
    (look_room((a), (void **)&(list), (count), sizeof *(list)) ? &(list)[(count)++] : NULL)

static bool look_columns(struct schema_runner *r, const char *table, struct schema_shape *shape)
{
    struct look q;
    look_begin(&q, r, "SELECT name, type, dflt_value, \"notnull\", hidden FROM pragma_table_xinfo(?)", table);
    while (look_row(&q)) {
        struct schema_column *c = LOOK_ADD(r->a, shape->columns, shape->column_count);
        if (c != NULL)
            *c = (struct schema_column){word_at(&q, 0), word_at(&q, 1), text_at(&q, 2), sqlite3_column_int(q.h, 3) != 0,
                sqlite3_column_int(q.h, 4) > 1};
    }
    return look_end(&q);
}

static void look_key_columns(struct schema_runner *r, const char *index, struct schema_key *key)
{
    struct look q;
    look_begin(&q, r, "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key", index);
    while (look_row(&q)) {
        struct schema_key_column *c = LOOK_ADD(r->a, key->columns, key->column_count);
        if (c != NULL)
            *c = (struct schema_key_column){text_at(&q, 0), word_at(&q, 1)};
    }
    (void)look_end(&q);
}

/* A rowid's name (INTEGER PRIMARY KEY) has no index. */
static void look_primary(struct schema_runner *r, const char *table, struct schema_shape *shape)
{
    struct look q;
    struct schema_key *key = NULL;
    look_begin(&q, r, "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 AND NOT EXISTS"
        "(SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk') ORDER BY pk", table);
    while (look_row(&q)) {
        if (key == NULL)
            key = LOOK_ADD(r->a, shape->keys, shape->key_count);
        struct schema_key_column *c = key == NULL ? NULL : LOOK_ADD(r->a, key->columns, key->column_count);
        if (c != NULL)
            *c = (struct schema_key_column){word_at(&q, 0), "BINARY"};
    }
    (void)look_end(&q);
}

static void look_keys(struct schema_runner *r, const char *table, struct schema_shape *shape)
{
    struct look q;
    look_primary(r, table, shape);
    look_begin(&q, r, "SELECT l.name, partial, s.sql FROM pragma_index_list(?) AS l LEFT JOIN sqlite_schema AS s"
        " ON s.type = 'index' AND s.name = l.name WHERE \"unique\"", table);
    while (look_row(&q)) {
        struct schema_key *key = LOOK_ADD(r->a, shape->keys, shape->key_count);
        if (key == NULL)
            break;
        const char *name = word_at(&q, 0);
        *key = (struct schema_key){.sql = text_at(&q, 2), .partial = sqlite3_column_int(q.h, 1) != 0};
        key->index = key->sql == NULL ? NULL : name;
        look_key_columns(r, name, key);
        r->trusted = true;
    }
    (void)look_end(&q);
}

static void look_references(struct schema_runner *r, const char *table, struct schema_shape *shape)
{
    struct look q;
    struct schema_reference *ref = NULL;
    look_begin(&q, r, "SELECT seq, \"table\", \"from\", on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq",
        table);
    while (look_row(&q)) {
        if (sqlite3_column_int(q.h, 0) == 0) {
            ref = LOOK_ADD(r->a, shape->references, shape->reference_count);
            if (ref != NULL)
                *ref = (struct schema_reference){.parent = word_at(&q, 1), .on_delete = word_at(&q, 3)};
        }
        if (ref == NULL)
            break;
        const char **column = LOOK_ADD(r->a, ref->columns, ref->column_count);
        if (column != NULL)
            *column = word_at(&q, 2);
    }
    (void)look_end(&q);
}

static const struct schema_shape *look_shape(struct schema_runner *r, const struct schema_table *t)
{
    struct schema_shape *shape = ARENA_NEW(r->a, struct schema_shape);
    if (shape == NULL)
        return NULL;
    (void)look_columns(r, t->name, shape);  /* fails for a view that is broken: then it has none */
    if (t->kind == SCHEMA_TABLE) {
        look_keys(r, t->name, shape);
        look_references(r, t->name, shape);
    }
    return shape;
}

/* NULL: it can be prepared; else why not. */
static const char *try(struct schema_runner *r, const char *format, const char *name, const char *column)
{
    sqlite3_stmt *h = NULL;
    char *sql = sqlite3_mprintf(format, name, column, column);
    r->trusted = true;
    int rc = sql == NULL ? SQLITE_NOMEM : sqlite3_prepare_v2(r->h, sql, -1, &h, NULL);
    r->trusted = false;
    sqlite3_finalize(h);
    sqlite3_free(sql);
    return rc == SQLITE_OK ? NULL : arena_strdup(r->a, slice_str(sqlite3_errmsg(r->h)));
}

/* SQLite does not look into views and triggers when a table is dropped; those who use them find out. */
static const char *look_broken(struct schema_runner *r, const struct schema_table *t, bool has_trigger)
{
    const char *why = NULL;
    if (t->kind == SCHEMA_VIEW)
        why = try(r, "SELECT * FROM \"%w\"", t->name, NULL);
    if (t->kind != SCHEMA_TABLE || !has_trigger)
        return why;
    why = try(r, "DELETE FROM \"%w\"", t->name, NULL);
    if (why == NULL)
        why = try(r, "INSERT INTO \"%w\" DEFAULT VALUES", t->name, NULL);
    for (size_t i = 0; why == NULL && i < t->shape->column_count; i++)
        if (!t->shape->columns[i].generated)
            why = try(r, "UPDATE \"%w\" SET \"%w\" = \"%w\"", t->name, t->shape->columns[i].name);
    return why;
}

static bool is_ours(const char *name)
{
    return sqlite3_strnicmp(name, "sqlite_", 7) != 0;
}

/* The text of a column; old when it says the same, so that what stays costs no memory at each look. */
static const char *same_at(struct look *q, int column, const char *old)
{
    const char *p = (const char *)sqlite3_column_text(q->h, column);
    return p != NULL && old != NULL && strcmp(p, old) == 0 ? old : word_at(q, column);
}

static void look_table(struct look *q, const struct schema_table *was, struct schema *s)
{
    int64_t root = sqlite3_column_int64(q->h, 3);
    bool view = sqlite3_column_text(q->h, 2)[0] == 'v';
    struct schema_table *t = LOOK_ADD(q->r->a, s->tables, s->table_count);
    if (t != NULL)
        *t = (struct schema_table){.name = same_at(q, 0, was == NULL ? NULL : was->name), .sql = same_at(q, 4, was == NULL ? NULL : was->sql),
            .root = root, .kind = view ? SCHEMA_VIEW : root == 0 ? SCHEMA_VIRTUAL : SCHEMA_TABLE};
}

static void look_part(struct look *q, const struct schema_part *was, struct schema_part *p)
{
    static const struct schema_part none;
    was = was == NULL ? &none : was;
    if (p != NULL)
        *p = (struct schema_part){same_at(q, 0, was->name), same_at(q, 1, was->table), same_at(q, 4, was->sql), sqlite3_column_int(q->h, 5) != 0};
}

static void look_names(struct schema_runner *r, const struct schema *before, struct schema *s)
{
    static const struct schema none;
    struct look q;
    before = before == NULL ? &none : before;
    look_begin(&q, r, "SELECT name, tbl_name, type, rootpage, sql, sql LIKE 'CREATE UNIQUE%' FROM sqlite_schema"
        " WHERE sql IS NOT NULL ORDER BY name COLLATE NOCASE", NULL);
    while (look_row(&q)) {
        const char *name = (const char *)sqlite3_column_text(q.h, 0), *type = (const char *)sqlite3_column_text(q.h, 2);
        if (name == NULL || type == NULL || !is_ours(name))
            continue;
        if (type[0] == 't' && type[1] == 'r')
            look_part(&q, schema_trigger(before, name), LOOK_ADD(r->a, s->triggers, s->trigger_count));
        else if (type[0] == 'i')
            look_part(&q, schema_index(before, name), LOOK_ADD(r->a, s->indexes, s->index_count));
        else
            look_table(&q, schema_table(before, name), s);
    }
    (void)look_end(&q);
}

/* What only the list of tables tells; tables that belong to a virtual one are left out: nobody names them. */
static void look_flags(struct schema_runner *r, struct schema *s)
{
    struct look q;
    size_t kept = 0;
    bool *shadow = ARENA_ARRAY(r->a, bool, s->table_count + 1);
    if (shadow == NULL)
        return;
    look_begin(&q, r, "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'", NULL);
    while (look_row(&q)) {
        const char *name = (const char *)sqlite3_column_text(q.h, 0), *type = (const char *)sqlite3_column_text(q.h, 1);
        const struct schema_table *t = name == NULL || type == NULL ? NULL : schema_table(s, name);
        if (t == NULL)
            continue;
        size_t i = (size_t)(t - s->tables);
        shadow[i] = strcmp(type, "shadow") == 0;
        s->tables[i].without_rowid = sqlite3_column_int(q.h, 2) != 0;
        s->tables[i].strict = sqlite3_column_int(q.h, 3) != 0;
    }
    (void)look_end(&q);
    for (size_t i = 0; i < s->table_count; i++)
        if (!shadow[i])
            s->tables[kept++] = s->tables[i];
    s->table_count = kept;
}

/* Every unique index of the table in one schema is the same in the other. */
static bool keys_are_in(const struct schema *one, const struct schema *other, const char *table)
{
    for (size_t i = 0; i < one->index_count; i++) {
        const struct schema_part *p = &one->indexes[i];
        if (!p->unique || !schema_same_name(p->table, table))
            continue;
        const struct schema_part *same = schema_index(other, p->name);
        if (same == NULL || strcmp(same->sql, p->sql) != 0)
            return false;
    }
    return true;
}

/* The shape of a table follows from its text and that of its unique indexes; a view's from those of others. */
static bool is_as_before(const struct schema *before, const struct schema *s, const struct schema_table *was,
                         const struct schema_table *t)
{
    return was != NULL && was->kind == t->kind && t->kind != SCHEMA_VIEW && strcmp(was->sql, t->sql) == 0 &&
        keys_are_in(s, before, t->name) && keys_are_in(before, s, t->name);
}

static bool has_trigger(const struct schema *s, const struct schema_table *t)
{
    for (size_t i = 0; i < s->trigger_count; i++)
        if (schema_same_name(s->triggers[i].table, t->name))
            return true;
    return false;
}

enum ficus_err schema_look(struct schema_runner *r, const struct schema *before, const struct schema **ret_schema,
                           struct ficus_error *reterr)
{
    struct schema *s = ARENA_NEW(r->a, struct schema);
    if (s == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    look_names(r, before, s);
    if (s->table_count + s->index_count + s->trigger_count > PARTS_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "the schema has more than %d tables, indexes and triggers", PARTS_MAX);
    look_flags(r, s);
    for (size_t i = 0; i < s->table_count && !arena_overflowed(r->a); i++) {
        struct schema_table *t = &s->tables[i];
        const struct schema_table *was = before == NULL ? NULL : schema_table(before, t->name);
        t->shape = is_as_before(before, s, was, t) ? was->shape : look_shape(r, t);
        if (t->shape != NULL)
            t->broken = look_broken(r, t, has_trigger(s, t));
    }
    if (arena_overflowed(r->a))
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "the schema takes more than %zu bytes of memory", r->a->size_max);
    if (r->starved)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    *ret_schema = s;
    return FICUS_ERR_OK;
}
