/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate_lint_private.h"

#include "buf.h"
#include "mem.h"

enum { NORMAL_SIZE_MAX = 1 << 20 };

/* ---- one table before and after ---- */

/* Columns of now that have another name than they had; they stand at the same place. */
struct pair {
    struct lint *l;
    const struct schema_table *base, *was, *now;
};

static const char *old_name(const struct pair *p, const char *name)
{
    const struct schema_shape *was = p->was->shape, *now = p->now->shape;
    if (schema_column(p->was, name) != NULL)
        return name;
    for (size_t i = 0; i < now->column_count && i < was->column_count; i++)
        if (schema_same_name(now->columns[i].name, name))
            return schema_column(p->now, was->columns[i].name) == NULL &&
                schema_same_name(was->columns[i].type, now->columns[i].type) ? was->columns[i].name : NULL;
    return NULL;
}

/* The running version knows the column, under the name that it had. */
static bool is_old_column(const struct pair *p, const char *name)
{
    const char *old = old_name(p, name);
    return old != NULL && schema_column(p->base, old) != NULL;
}

static const char *type_name(const char *type)
{
    return type[0] == '\0' ? "no type" : type;
}

static void judge_changed_column(const struct pair *p, const struct schema_column *was, const struct schema_column *now)
{
    struct lint *l = p->l;
    const char *table = p->was->name;
    if (!schema_same_name(was->name, now->name))
        lint_report_table(l, RENAME_COLUMN, table, was->name,
            arena_printf(l->a, "%s is called %s now, or was replaced by it: what the running version reads and writes of it fails", was->name, now->name));
    if (!schema_same_name(was->type, now->type))
        lint_report_table(l, CHANGE_TYPE, table, was->name,
            arena_printf(l->a, "its type changes from %s to %s: the running version reads and compares other values than it wrote",
            type_name(was->type), type_name(now->type)));
    if (now->generated && !was->generated)
        lint_report_table(l, CHANGE_TYPE, table, was->name, "it becomes a generated column: the running version's INSERT and UPDATE of it fail");
    if (now->not_null && !was->not_null)
        lint_report_table(l, NEW_NOT_NULL, table, was->name, "it becomes NOT NULL: rows that the running version writes without it are refused");
    if (now->not_null && was->fallback != NULL && now->fallback == NULL)
        lint_report_table(l, DROP_DEFAULT, table, was->name, "its DEFAULT goes: an INSERT of the running version that does not name it fails");
}

static bool refers(const struct schema_table *t, const char *column)
{
    for (size_t i = 0; i < t->shape->reference_count; i++)
        for (size_t k = 0; k < t->shape->references[i].column_count; k++)
            if (schema_same_name(t->shape->references[i].columns[k], column))
                return true;
    return false;
}

/* Here the table is empty, and SQLite lets columns be added that it refuses where there are rows. */
static void judge_new_column(const struct pair *p, const struct schema_column *c)
{
    struct lint *l = p->l;
    const char *why = "";
    bool demanded = c->not_null && (c->fallback == NULL || schema_same_name(c->fallback, "NULL"));
    if (c->generated)
        return;
    bool fits = p->was->root != p->now->root || schema_can_add(l->runner, c, refers(p->now, c->name), &why);
    if (demanded)
        lint_report_table(l, ADD_NOT_NULL, p->now->name, c->name, fits
            ? "it is NOT NULL without a DEFAULT: the running version's INSERTs do not name it and fail"
            : "it is NOT NULL without a DEFAULT: the running version's INSERTs do not name it and fail, and the migration fails on a table with rows");
    else if (!fits)
        lint_report_table(l, ADD_COMPUTED, p->now->name, c->name, arena_printf(l->a, "the migration fails on a table with rows: %s", why));
}

static void judge_columns(const struct pair *p)
{
    const struct schema_shape *was = p->was->shape, *now = p->now->shape;
    for (size_t i = 0; i < now->column_count; i++) {
        const char *old = old_name(p, now->columns[i].name);
        if (old == NULL)
            judge_new_column(p, &now->columns[i]);
        else if (schema_column(p->base, old) != NULL)
            judge_changed_column(p, schema_column(p->was, old), &now->columns[i]);
    }
    for (size_t i = 0; i < was->column_count; i++) {
        const char *name = was->columns[i].name;
        bool kept = schema_column(p->now, name) != NULL;
        for (size_t k = 0; k < now->column_count && !kept; k++) {
            const char *old = old_name(p, now->columns[k].name);
            kept = old != NULL && schema_same_name(old, name);
        }
        if (!kept && schema_column(p->base, name) != NULL)
            lint_report_table(p->l, DROP_COLUMN, p->was->name, name, "it goes: what the running version reads and writes of it fails");
    }
}

/* ---- expressions, of which SQLite only tells the text ---- */

/* One spelling for what means the same: words in lower case, names without quotes and, of now, as they were called. */
static void normalise(const struct pair *p, bool is_now, struct slice sql, struct buf *out)
{
    buf_clear(out);
    for (struct sql_token t = sql_next_code(&sql); t.kind != SQL_END; t = sql_next_code(&sql)) {
        const struct schema_shape *shape = is_now ? p->now->shape : p->was->shape;
        const char *name = NULL;
        for (size_t i = 0; i < shape->column_count && name == NULL && (t.kind == SQL_WORD || t.kind == SQL_QUOTED); i++)
            if (sql_names(&t, shape->columns[i].name))
                name = is_now ? old_name(p, shape->columns[i].name) : shape->columns[i].name;
        struct slice text = name == NULL ? t.text : slice_str(name);
        if (out->size > 0)
            buf_add_char(out, ' ');
        for (size_t i = 0; i < text.size; i++) {
            bool upper = text.p[i] >= 'A' && text.p[i] <= 'Z' && t.kind != SQL_STRING;
            buf_add_char(out, upper ? (char)(text.p[i] | 0x20) : text.p[i]);
        }
    }
}

/* The next CHECK of a CREATE TABLE: what stands between its parentheses. */
static bool next_check(struct slice *rest, struct slice *ret_expression)
{
    struct sql_token t = sql_next_code(rest);
    for (; t.kind != SQL_END; t = sql_next_code(rest)) {
        if (!sql_is(&t, "CHECK"))
            continue;
        t = sql_next_code(rest);
        if (!slice_eq_str(t.text, "("))
            continue;
        const char *begin = rest->p;
        for (size_t depth = 1; depth > 0 && t.kind != SQL_END;) {
            t = sql_next_code(rest);
            depth += slice_eq_str(t.text, "(");
            depth -= slice_eq_str(t.text, ")");
        }
        *ret_expression = slice_make(begin, (size_t)(t.text.p - begin));
        return true;
    }
    return false;
}

static bool has_check(const struct pair *p, struct slice expression, struct buf *tmp)
{
    struct slice rest = slice_str(p->was->sql), old;
    struct buf mine;
    bool found = false;
    buf_init(&mine, NORMAL_SIZE_MAX);
    normalise(p, true, expression, &mine);
    while (!found && next_check(&rest, &old)) {
        normalise(p, false, old, tmp);
        found = slice_eq(buf_slice(&mine), buf_slice(tmp));
    }
    buf_done(&mine);
    return found;
}

static const char *old_column_in(const struct pair *p, struct slice expression)
{
    for (struct sql_token t = sql_next_code(&expression); t.kind != SQL_END; t = sql_next_code(&expression))
        for (size_t i = 0; i < p->now->shape->column_count && (t.kind == SQL_WORD || t.kind == SQL_QUOTED); i++)
            if (sql_names(&t, p->now->shape->columns[i].name) && is_old_column(p, p->now->shape->columns[i].name))
                return p->now->shape->columns[i].name;
    return NULL;
}

/* A CHECK of new columns alone holds for what the running version writes: they have their default there. */
static void judge_checks(const struct pair *p)
{
    struct slice rest = slice_str(p->now->sql), expression;
    struct buf tmp;
    buf_init(&tmp, NORMAL_SIZE_MAX);
    while (next_check(&rest, &expression)) {
        const char *column = old_column_in(p, expression);
        if (column == NULL || has_check(p, expression, &tmp))
            continue;
        int size = (int)(expression.size > 80 ? 80 : expression.size);
        lint_report_table(p->l, NEW_CHECK, p->now->name, column,
            arena_printf(p->l->a, "CHECK(%.*s%s is new: rows that the running version writes may be refused", size, expression.p,
            expression.size > 80 ? "..." : ")"));
    }
    buf_done(&tmp);
}

/* ---- keys ---- */

/* What a CREATE INDEX says of its table: from the first parenthesis on. */
static struct slice key_text(const struct schema_key *k)
{
    struct slice rest = slice_str(k->sql);
    struct sql_token t = sql_next_code(&rest);
    while (t.kind != SQL_END && !slice_eq_str(t.text, "("))
        t = sql_next_code(&rest);
    return slice_make(t.text.p, t.text.size + rest.size);
}

static bool is_plain(const struct schema_key *k)
{
    bool plain = !k->partial;
    for (size_t i = 0; i < k->column_count; i++)
        plain = plain && k->columns[i].name != NULL;
    return plain || k->sql == NULL;
}

static bool same_key(const struct pair *p, const struct schema_key *was, const struct schema_key *now)
{
    if (is_plain(was) != is_plain(now) || was->column_count != now->column_count)
        return false;
    if (!is_plain(was)) {
        struct buf a, b;
        buf_init(&a, NORMAL_SIZE_MAX);
        buf_init(&b, NORMAL_SIZE_MAX);
        normalise(p, false, key_text(was), &a);
        normalise(p, true, key_text(now), &b);
        bool same = slice_eq(buf_slice(&a), buf_slice(&b));
        buf_done(&a);
        buf_done(&b);
        return same;
    }
    /* in any order: uniqueness and ON CONFLICT know none */
    size_t found = 0;
    for (size_t i = 0; i < now->column_count; i++) {
        const char *old = old_name(p, now->columns[i].name);
        for (size_t k = 0; old != NULL && k < was->column_count; k++)
            found += schema_same_name(was->columns[k].name, old) &&
                schema_same_name(was->columns[k].collation, now->columns[i].collation);
    }
    return found == now->column_count;
}

static bool has_key(const struct pair *p, const struct schema_shape *shape, const struct schema_key *key, bool key_is_now)
{
    for (size_t i = 0; i < shape->key_count; i++)
        if (key_is_now ? same_key(p, &shape->keys[i], key) : same_key(p, key, &shape->keys[i]))
            return true;
    return false;
}

static const char *key_name(struct lint *l, const struct schema_key *k)
{
    struct buf b;
    buf_init(&b, 4096);
    for (size_t i = 0; i < k->column_count; i++)
        buf_printf(&b, "%s%s", i == 0 ? "" : ", ", k->columns[i].name == NULL ? "an expression" : k->columns[i].name);
    const char *name = arena_strdup(l->a, slice_str(buf_str(&b)));
    buf_done(&b);
    return name;
}

/* With a new column that is NULL in all rows of the running version none of them is a duplicate. */
static bool is_harmless(const struct pair *p, const struct schema_key *key)
{
    for (size_t i = 0; i < key->column_count; i++) {
        const char *name = key->columns[i].name;
        if (name != NULL && !is_old_column(p, name) && schema_column(p->now, name)->fallback == NULL)
            return true;
    }
    return false;
}

static void judge_keys(const struct pair *p)
{
    const struct schema_shape *was = p->was->shape, *now = p->now->shape;
    struct lint *l = p->l;
    for (size_t i = 0; i < now->key_count; i++)
        if (!has_key(p, was, &now->keys[i], true) && !is_harmless(p, &now->keys[i]))
            lint_report_key(l, NEW_UNIQUE, p->now->name, &now->keys[i],
                arena_printf(l->a, "(%s) becomes unique: duplicates that the running version writes are refused, and the migration fails if there are any",
                key_name(l, &now->keys[i])));
    const struct schema_shape *base = p->base->shape;
    for (size_t i = 0; i < was->key_count; i++)
        if (!has_key(p, now, &was->keys[i], false) && (p->base == p->was || has_key(p, base, &was->keys[i], false)))
            lint_report_key(l, DROP_UNIQUE, p->was->name, &was->keys[i],
                arena_printf(l->a, "(%s) is unique no longer: an ON CONFLICT of the running version for it fails, and duplicates are let in",
                key_name(l, &was->keys[i])));
}

/* ---- references ---- */

static bool same_reference(const struct pair *p, const struct schema_reference *was, const struct schema_reference *now)
{
    const struct schema *s = p->l->now;
    const struct schema_table *parent = schema_table(s, now->parent), *before = schema_table(p->l->was, was->parent);
    bool same_parent = schema_same_name(was->parent, now->parent) ||
        (parent != NULL && before != NULL && parent->root == before->root);
    if (!same_parent || was->column_count != now->column_count)
        return false;
    for (size_t i = 0; i < now->column_count; i++) {
        const char *old = old_name(p, now->columns[i]);
        if (old == NULL || !schema_same_name(old, was->columns[i]))
            return false;
    }
    return true;
}

static void judge_references(const struct pair *p)
{
    for (size_t i = 0; i < p->now->shape->reference_count; i++) {
        const struct schema_reference *r = &p->now->shape->references[i];
        bool known = false, old = false;
        for (size_t k = 0; k < p->was->shape->reference_count && !known; k++)
            known = same_reference(p, &p->was->shape->references[k], r);
        for (size_t k = 0; k < r->column_count; k++)
            old |= is_old_column(p, r->columns[k]);
        if (!known && old)
            lint_report_table(p->l, NEW_FOREIGN_KEY, p->now->name, r->columns[0],
                arena_printf(p->l->a, "it has to be in %s now: rows that the running version writes may be refused", r->parent));
    }
}

/* ---- the whole of it ---- */

void lint_judge_pair(struct lint *l, const struct schema_table *was, const struct schema_table *now)
{
    const struct pair p = {l, schema_table(l->base, was->name), was, now};
    static const char *const kinds[] = {"a table", "a virtual table", "a view"};
    if (was->kind != now->kind) {
        lint_report_table(l, CHANGE_TABLE, was->name, NULL,
            arena_printf(l->a, "%s becomes %s: the running version's statements do something else or fail", kinds[was->kind], kinds[now->kind]));
        return;
    }
    if (now->broken != NULL && was->broken == NULL) {
        bool view = now->kind == SCHEMA_VIEW;
        lint_report_table(l, view ? BROKEN_VIEW : BROKEN_TRIGGER, now->name, NULL,
            arena_printf(l->a, "%s: %s", view ? "it cannot be read any more" : "its triggers no longer fit: writing to it fails", now->broken));
        return;
    }
    if (now->kind == SCHEMA_VIEW) {
        for (size_t i = 0; i < was->shape->column_count; i++)
            if (now->broken == NULL && schema_column(now, was->shape->columns[i].name) == NULL)
                lint_report_table(l, CHANGE_VIEW, now->name, was->shape->columns[i].name, "it goes: what the running version reads of it fails");
        return;
    }
    if (now->strict && !was->strict)
        lint_report_table(l, CHANGE_TABLE, was->name, NULL, "it becomes STRICT: values of another type that the running version writes are refused");
    if (now->without_rowid && !was->without_rowid)
        lint_report_table(l, CHANGE_TABLE, was->name, NULL, "it becomes WITHOUT ROWID: what the running version reads of rowid fails");
    judge_columns(&p);
    if (now->kind == SCHEMA_TABLE) {
        judge_checks(&p);
        judge_keys(&p);
        judge_references(&p);
    }
}
