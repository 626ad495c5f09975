/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate_lint.h"

#include "assert.h"
#include "buf.h"
#include "mem.h"
#include "schema.h"
#include "sql_scan.h"

#include <stdlib.h>

enum { NORMAL_SIZE_MAX = 1 << 20, ALLOW_RULES_MAX = 8 };

/* ---- rules ---- */

enum rule {
    DROP_TABLE, RENAME_TABLE, CHANGE_TABLE, DROP_REFERENCED, DROP_COLUMN, RENAME_COLUMN, ADD_NOT_NULL, ADD_COMPUTED, CHANGE_TYPE,
    DROP_DEFAULT, NEW_NOT_NULL, NEW_CHECK, NEW_FOREIGN_KEY, NEW_UNIQUE, DROP_UNIQUE, DROP_INDEX, DROP_VIEW, CHANGE_VIEW, BROKEN_VIEW,
    BROKEN_TRIGGER, NEW_TRIGGER, DROP_TRIGGER, WHOLE_TABLE, NOT_ALLOWED, FAILS, NUMBERING, BAD_NOLINT, UNUSED_NOLINT,
};

const struct lint_rule lint_rules[] = {
    [DROP_TABLE] = {"drop-table", LINT_ERROR, false,
        "release a version that no longer uses it; drop it one release later, when no older one runs, and say so in a comment"},
    [RENAME_TABLE] = {"rename-table", LINT_ERROR, false,
        "make a new table beside it; let triggers keep both in step and copy the rows; move the program; drop the old one a release later"},
    [CHANGE_TABLE] = {"change-table", LINT_ERROR, false,
        "make a new table beside it with triggers that keep both in step; move the program; drop the old one a release later"},
    [DROP_REFERENCED] = {"drop-referenced", LINT_ERROR, false,
        "do not drop it to build it anew: add columns to it, or make a new table beside it and move the rows that refer to it first"},
    [DROP_COLUMN] = {"drop-column", LINT_ERROR, false,
        "release a version that no longer names it; drop it one release later, when no older one runs, and say so in a comment"},
    [RENAME_COLUMN] = {"rename-column", LINT_ERROR, false,
        "add a column with the new name; let triggers keep both in step and copy the values; move the program; drop the old one a release later"},
    [ADD_NOT_NULL] = {"add-not-null", LINT_ERROR, false,
        "give it a constant DEFAULT; or add it without NOT NULL and demand it a release after every writer fills it in"},
    [ADD_COMPUTED] = {"add-computed", LINT_ERROR, false,
        "add it with a constant DEFAULT (a foreign key: without one); let the program or a trigger fill it in"},
    [CHANGE_TYPE] = {"change-type", LINT_ERROR, false,
        "add a column of the new type; let triggers keep both in step and copy the values; move the program; drop the old one a release later"},
    [DROP_DEFAULT] = {"drop-default", LINT_ERROR, false,
        "keep the DEFAULT until every version that runs names the column in its INSERTs"},
    [NEW_NOT_NULL] = {"new-not-null", LINT_ERROR, false,
        "release a version that always writes it; fill the old rows; demand it one release later"},
    [NEW_CHECK] = {"new-check", LINT_ERROR, false,
        "release a version that keeps the rule; mend the old rows; add the constraint one release later"},
    [NEW_FOREIGN_KEY] = {"new-foreign-key", LINT_ERROR, false,
        "release a version that keeps the rule; mend the old rows; add the constraint one release later, or to a new column"},
    [NEW_UNIQUE] = {"new-unique", LINT_ERROR, false,
        "release a version that writes no duplicates; remove those that are there; add the index one release later"},
    [DROP_UNIQUE] = {"drop-unique", LINT_ERROR, false,
        "release a version that has no ON CONFLICT for it and does not rely on it; drop it one release later"},
    [DROP_INDEX] = {"drop-index", LINT_WARNING, false, "drop it one release after the last version whose queries need it"},
    [DROP_VIEW] = {"drop-view", LINT_ERROR, false, "release a version that no longer reads it; drop it one release later"},
    [CHANGE_VIEW] = {"change-view", LINT_ERROR, false, "keep its columns, or make a second view and drop this one a release later"},
    [BROKEN_VIEW] = {"broken-view", LINT_ERROR, false, "make the view anew in the same migration, with the columns that it had"},
    [BROKEN_TRIGGER] = {"broken-trigger", LINT_ERROR, false, "drop the trigger, or make it anew, in the same migration"},
    [NEW_TRIGGER] = {"new-trigger", LINT_ERROR, false,
        "release a version that keeps the rule; mend the old rows; add the trigger one release later"},
    [DROP_TRIGGER] = {"drop-trigger", LINT_ERROR, false,
        "release a version that does by itself what the trigger did; drop it one release later"},
    [WHOLE_TABLE] = {"whole-table", LINT_WARNING, false,
        "on a large table: change the rows in small transactions after the start, such as a thousand by key at a time"},
    [NOT_ALLOWED] = {"not-allowed", LINT_ERROR, true, "leave it out: every migration is one transaction that Ficus begins and ends"},
    [FAILS] = {"fails", LINT_ERROR, true, "every new installation runs the migrations on an empty database; this must end well"},
    [NUMBERING] = {"numbering", LINT_ERROR, true, "number the files without gaps: 0001_NAME.sql, 0002_NAME.sql, ..."},
    [BAD_NOLINT] = {"bad-nolint", LINT_ERROR, true, "write: -- ficus:nolint RULE[, RULE]: REASON"},
    [UNUSED_NOLINT] = {"unused-nolint", LINT_WARNING, true, "remove the comment, or put it above the statement that a finding names"},
};
const size_t lint_rule_count = ARRAY_COUNT(lint_rules);

/* ---- what is known while one migration is judged ---- */

/* A comment that allows. */
struct allow {
    size_t statement, offset;
    const struct lint_rule *rules[ALLOW_RULES_MAX];
    bool used[ALLOW_RULES_MAX];
    size_t rule_count;
    const char *reason;
    struct allow *next;
};

struct lint {
    struct arena *a;
    struct schema_runner *runner;
    struct lint_result *result;
    size_t index;
    struct slice sql;
    struct schema_run run;
    const struct schema *base, *was, *now;  /* what the running version knows; before the migration; after it */
    struct allow *allows;
};

static bool is_released(const struct lint *l, const char *table)
{
    return schema_table(l->base, table) != NULL;
}

static void add(struct lint *l, enum rule rule, size_t offset, const char *allowed, const char *object, const char *text)
{
    struct lint_result *r = l->result;
    const struct lint_rule *what = &lint_rules[rule];
    if (object == NULL || text == NULL)
        return;                 /* the arena is full, which is told at the end */
    r->error_count += allowed == NULL && what->level == LINT_ERROR;
    r->warning_count += allowed == NULL && what->level == LINT_WARNING;
    r->allowed_count += allowed != NULL;
    if (r->count == LINT_FINDINGS_MAX)
        return;
    struct lint_finding *f = &r->findings[r->count++];
    *f = (struct lint_finding){.migration = l->index, .rule = what, .object = object, .text = text, .allowed = allowed};
    sql_place(l->sql, offset, &f->line, &f->column);
}

/* ---- places ---- */

static struct slice text_of(const struct lint *l, const struct schema_statement *s)
{
    return slice_make(l->sql.p + s->first, s->end - s->first);
}

static bool touches(const struct schema_statement *s, const char *name)
{
    for (size_t i = 0; i < s->name_count; i++)
        if (schema_same_name(s->names[i], name))
            return true;
    return false;
}

/* The first token in the statement that is the name. */
static bool find_name(const struct lint *l, const struct schema_statement *s, const char *name, size_t *ret_offset)
{
    struct slice rest = text_of(l, s);
    for (struct sql_token t = sql_next_code(&rest); t.kind != SQL_END; t = sql_next_code(&rest)) {
        if (!sql_names(&t, name))
            continue;
        *ret_offset = (size_t)(t.text.p - l->sql.p);
        return true;
    }
    return false;
}

/* How likely it is that the statement did something to a table or part, or to a detail of it (NULL: nothing more). */
static int likeness(const struct lint *l, const struct schema_statement *s, const char *name, const char *detail)
{
    size_t offset;
    if (!touches(s, name))
        return 0;
    return 1 + s->of_table + (detail != NULL && find_name(l, s, detail, &offset) ? 2 : 0);
}

/* The last of the statements that are likeliest; of it, the place of the name. */
static size_t find_statement(const struct lint *l, const char *name, const char *detail, size_t *ret_offset)
{
    FICUS_ASSERT(l->run.count > 0);     /* nothing changes by nothing */
    size_t found = l->run.count - 1;
    for (size_t i = l->run.count, best = 0; i-- > 0;) {
        size_t like = (size_t)likeness(l, &l->run.statements[i], name, detail);
        found = like > best ? i : found;
        best = like > best ? like : best;
    }
    const struct schema_statement *s = &l->run.statements[found];
    *ret_offset = s->first;
    bool placed = (detail != NULL && find_name(l, s, detail, ret_offset)) || find_name(l, s, name, ret_offset);
    for (size_t i = 0; i < s->name_count && !placed; i++)
        placed = find_name(l, s, s->names[i], ret_offset);
    return found;
}

/* ---- comments that allow ---- */

static const struct lint_rule *find_rule(struct slice name)
{
    for (size_t i = 0; i < lint_rule_count; i++)
        if (!lint_rules[i].fixed && slice_eq_str(name, lint_rules[i].name))
            return &lint_rules[i];
    return NULL;
}

static struct slice trim(struct slice s)
{
    for (;;) {
        struct slice t = slice_trim(s);
        while (t.size > 0 && (t.p[t.size - 1] == '\r' || t.p[t.size - 1] == '\n'))
            t.size--;
        if (t.size == s.size)
            return t;
        s = t;
    }
}

static void read_allow(struct lint *l, struct slice comment, size_t offset, size_t statement)
{
    static const struct slice mark = {"ficus:nolint", 12};
    bool block = slice_starts(comment, SLICE("/*"));
    struct slice rest = slice_from(comment, 2);
    if (block && slice_ends(rest, SLICE("*/")))
        rest.size -= 2;
    rest = trim(rest);
    if (!slice_starts(rest, mark))
        return;
    rest = slice_from(rest, mark.size);
    struct slice names = slice_cut(&rest, ':'), reason = rest.p == NULL ? SLICE("") : trim(rest);
    struct allow *w = ARENA_NEW(l->a, struct allow);
    if (w == NULL)
        return;
    *w = (struct allow){.statement = statement, .offset = offset, .reason = arena_strdup(l->a, reason)};
    while (names.p != NULL) {
        struct slice name = trim(slice_cut(&names, ','));
        const struct lint_rule *rule = find_rule(name);
        if (rule == NULL || w->rule_count == ALLOW_RULES_MAX) {
            add(l, BAD_NOLINT, offset, NULL, "", name.size == 0 ? "the comment names no rule"
                : arena_printf(l->a, "\"" SLICE_FMT "\" is no rule that a comment can allow", (int)(name.size > 60 ? 60 : name.size), name.p));
            return;
        }
        w->rules[w->rule_count++] = rule;
    }
    if (reason.size == 0) {
        add(l, BAD_NOLINT, offset, NULL, "", "the comment gives no reason");
        return;
    }
    w->next = l->allows;
    l->allows = w;
}

/* A comment belongs to the statement that follows, or to the one on whose last line it begins. */
static void read_allows(struct lint *l)
{
    struct slice rest = l->sql;
    size_t statement = 0, line_end = 0;     /* statements that ended before; end of the line on which the last of them did */
    l->allows = NULL;
    for (struct sql_token t = sql_next(&rest); t.kind != SQL_END; t = sql_next(&rest)) {
        size_t offset = (size_t)(t.text.p - l->sql.p), before = statement;
        if (t.kind != SQL_COMMENT)
            continue;
        while (statement < l->run.count && offset >= l->run.statements[statement].end)
            statement++;
        if (statement > before) {
            struct slice behind = slice_from(l->sql, l->run.statements[statement - 1].end);
            ptrdiff_t size = slice_find(behind, '\n');
            line_end = (size_t)(behind.p - l->sql.p) + (size < 0 ? behind.size : (size_t)size);
        }
        read_allow(l, t.text, offset, offset < line_end ? statement - 1 : statement);
    }
}

static const char *allowed_by(struct lint *l, size_t statement, enum rule rule)
{
    for (struct allow *w = l->allows; w != NULL; w = w->next) {
        if (w->statement != statement)
            continue;
        for (size_t i = 0; i < w->rule_count; i++) {
            if (w->rules[i] != &lint_rules[rule])
                continue;
            w->used[i] = true;
            return w->reason;
        }
    }
    return NULL;
}

static void judge_allows(struct lint *l)
{
    for (struct allow *w = l->allows; w != NULL; w = w->next)
        for (size_t i = 0; i < w->rule_count; i++)
            if (!w->used[i])
                add(l, UNUSED_NOLINT, w->offset, NULL, "",
                    arena_printf(l->a, "the comment allows %s, but its statement does nothing of that kind", w->rules[i]->name));
}

/* ---- findings about a table or a part ---- */

static bool is_touched(const struct lint *l, const char *name)
{
    for (size_t i = 0; i < l->run.count; i++)
        if (touches(&l->run.statements[i], name))
            return true;
    return false;
}

/* Of a table, and of detail in it when that is not NULL. */
static void report_table(struct lint *l, enum rule rule, const char *name, const char *detail, const char *text)
{
    size_t offset = 0;
    size_t statement = find_statement(l, name, detail, &offset);
    const char *object = detail == NULL ? name : arena_printf(l->a, "%s.%s", name, detail);
    add(l, rule, offset, allowed_by(l, statement, rule), object, text);
}

/* Of a key of a table: of the index, or of what is written in the table. */
static void report_key(struct lint *l, enum rule rule, const char *table, const struct schema_key *key, const char *text)
{
    size_t offset = 0;
    const char *column = key->column_count == 0 ? NULL : key->columns[0].name;
    bool touched = key->index != NULL && is_touched(l, key->index);
    size_t statement = find_statement(l, touched ? key->index : table, column, &offset);
    add(l, rule, offset, allowed_by(l, statement, rule), column == NULL ? table : arena_printf(l->a, "%s.%s", table, column), text);
}

/* Of an index or trigger; it may also have gone with its table. */
static void report_part(struct lint *l, enum rule rule, const struct schema_part *part, const char *text)
{
    size_t offset = 0;
    size_t statement = find_statement(l, is_touched(l, part->name) ? part->name : part->table, NULL, &offset);
    add(l, rule, offset, allowed_by(l, statement, rule), part->name, text);
}

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
        report_table(l, RENAME_COLUMN, table, was->name,
            arena_printf(l->a, "%s is called %s now, or was replaced by it: what the running version reads and writes of it fails", was->name, now->name));
    if (!schema_same_name(was->type, now->type))
        report_table(l, CHANGE_TYPE, table, was->name,
            arena_printf(l->a, "its type changes from %s to %s: the running version reads and compares other values than it wrote",
            type_name(was->type), type_name(now->type)));
    if (now->generated && !was->generated)
        report_table(l, CHANGE_TYPE, table, was->name, "it becomes a generated column: the running version's INSERT and UPDATE of it fail");
    if (now->not_null && !was->not_null)
        report_table(l, NEW_NOT_NULL, table, was->name, "it becomes NOT NULL: rows that the running version writes without it are refused");
    if (now->not_null && was->fallback != NULL && now->fallback == NULL)
        report_table(l, DROP_DEFAULT, table, was->name, "its DEFAULT goes: an INSERT of the running version that does not name it fails");
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
        report_table(l, ADD_NOT_NULL, p->now->name, c->name, fits
            ? "it is NOT NULL without a DEFAULT: the running version's INSERTs do not name it and fail"
            : "it is NOT NULL without a DEFAULT: the running version's INSERTs do not name it and fail, and the migration fails on a table with rows");
    else if (!fits)
        report_table(l, ADD_COMPUTED, p->now->name, c->name, arena_printf(l->a, "the migration fails on a table with rows: %s", why));
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
            report_table(p->l, DROP_COLUMN, p->was->name, name, "it goes: what the running version reads and writes of it fails");
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
        report_table(p->l, NEW_CHECK, p->now->name, column,
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
            report_key(l, NEW_UNIQUE, p->now->name, &now->keys[i],
                arena_printf(l->a, "(%s) becomes unique: duplicates that the running version writes are refused, and the migration fails if there are any",
                key_name(l, &now->keys[i])));
    const struct schema_shape *base = p->base->shape;
    for (size_t i = 0; i < was->key_count; i++)
        if (!has_key(p, now, &was->keys[i], false) && (p->base == p->was || has_key(p, base, &was->keys[i], false)))
            report_key(l, DROP_UNIQUE, p->was->name, &was->keys[i],
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
            report_table(p->l, NEW_FOREIGN_KEY, p->now->name, r->columns[0],
                arena_printf(p->l->a, "it has to be in %s now: rows that the running version writes may be refused", r->parent));
    }
}

/* ---- tables ---- */

static void judge_pair(struct lint *l, const struct schema_table *was, const struct schema_table *now)
{
    const struct pair p = {l, schema_table(l->base, was->name), was, now};
    static const char *const kinds[] = {"a table", "a virtual table", "a view"};
    if (was->kind != now->kind) {
        report_table(l, CHANGE_TABLE, was->name, NULL,
            arena_printf(l->a, "%s becomes %s: the running version's statements do something else or fail", kinds[was->kind], kinds[now->kind]));
        return;
    }
    if (now->broken != NULL && was->broken == NULL) {
        bool view = now->kind == SCHEMA_VIEW;
        report_table(l, view ? BROKEN_VIEW : BROKEN_TRIGGER, now->name, NULL,
            arena_printf(l->a, "%s: %s", view ? "it cannot be read any more" : "its triggers no longer fit: writing to it fails", now->broken));
        return;
    }
    if (now->kind == SCHEMA_VIEW) {
        for (size_t i = 0; i < was->shape->column_count; i++)
            if (now->broken == NULL && schema_column(now, was->shape->columns[i].name) == NULL)
                report_table(l, CHANGE_VIEW, now->name, was->shape->columns[i].name, "it goes: what the running version reads of it fails");
        return;
    }
    if (now->strict && !was->strict)
        report_table(l, CHANGE_TABLE, was->name, NULL, "it becomes STRICT: values of another type that the running version writes are refused");
    if (now->without_rowid && !was->without_rowid)
        report_table(l, CHANGE_TABLE, was->name, NULL, "it becomes WITHOUT ROWID: what the running version reads of rowid fails");
    judge_columns(&p);
    if (now->kind == SCHEMA_TABLE) {
        judge_checks(&p);
        judge_keys(&p);
        judge_references(&p);
    }
}

/* The table that has the pages of one that is gone. */
static const struct schema_table *renamed(const struct lint *l, const struct schema_table *was)
{
    for (size_t i = 0; i < l->now->table_count && was->kind == SCHEMA_TABLE; i++) {
        const struct schema_table *t = &l->now->tables[i];
        const struct schema_shape *a = was->shape, *b = t->shape;
        if (t->kind != SCHEMA_TABLE || t->root != was->root || schema_table(l->was, t->name) != NULL || a->column_count != b->column_count)
            continue;
        bool same = true;
        for (size_t k = 0; k < a->column_count; k++)
            same = same && schema_same_name(a->columns[k].name, b->columns[k].name);
        if (same)
            return t;
    }
    return NULL;
}

static void judge_tables(struct lint *l)
{
    for (size_t i = 0; i < l->was->table_count; i++) {
        const struct schema_table *was = &l->was->tables[i], *now = schema_table(l->now, was->name), *other;
        if (!is_released(l, was->name))
            continue;
        if (now != NULL)
            judge_pair(l, was, now);
        else if (was->kind == SCHEMA_VIEW)
            report_table(l, DROP_VIEW, was->name, NULL, "it goes: what the running version reads of it fails");
        else if ((other = renamed(l, was)) != NULL)
            report_table(l, RENAME_TABLE, was->name, NULL,
                arena_printf(l->a, "it is called %s now: every statement of the running version that names it fails", other->name));
        else
            report_table(l, DROP_TABLE, was->name, NULL, "it goes: every statement of the running version that names it fails");
    }
}

/* ---- indexes and triggers ---- */

static void judge_indexes(struct lint *l)
{
    for (size_t i = 0; i < l->was->index_count; i++) {
        const struct schema_part *p = &l->was->indexes[i];
        bool released = schema_index(l->base, p->name) != NULL, table_stays = schema_table(l->now, p->table) != NULL;
        if (!p->unique && released && table_stays && schema_index(l->now, p->name) == NULL)
            report_part(l, DROP_INDEX, p, "it goes: the running version's queries that use it read the whole table");
    }
}

static bool may_refuse(const struct schema_part *trigger)
{
    struct slice rest = slice_str(trigger->sql);
    for (struct sql_token t = sql_next_code(&rest); t.kind != SQL_END; t = sql_next_code(&rest))
        if (sql_is(&t, "RAISE"))
            return true;
    return false;
}

static void judge_triggers(struct lint *l)
{
    for (size_t i = 0; i < l->now->trigger_count; i++) {
        const struct schema_part *p = &l->now->triggers[i], *was = schema_trigger(l->was, p->name);
        if (is_released(l, p->table) && may_refuse(p) && (was == NULL || strcmp(was->sql, p->sql) != 0))
            report_part(l, NEW_TRIGGER, p,
                arena_printf(l->a, "it may refuse (RAISE) what the running version writes to %s", p->table));
    }
    for (size_t i = 0; i < l->was->trigger_count; i++) {
        const struct schema_part *p = &l->was->triggers[i];
        if (schema_trigger(l->base, p->name) != NULL && schema_trigger(l->now, p->name) == NULL && schema_table(l->now, p->table) != NULL)
            report_part(l, DROP_TRIGGER, p, "it goes: the running version may rely on what it does");
    }
}

/* ---- what statements do to rows ---- */

/* Dropping a table deletes its rows first, and keys are enforced; nothing but the rows that refer to it shows it. */
static void judge_drop(struct lint *l, size_t index, bool deferred)
{
    const struct schema_statement *s = &l->run.statements[index];
    const struct schema_table *parent = s->dropped == NULL ? NULL : schema_table(l->was, s->dropped);
    size_t offset = s->first;
    if (parent == NULL || parent->kind != SCHEMA_TABLE)
        return;
    (void)find_name(l, s, s->dropped, &offset);
    for (size_t i = 0; i < l->was->table_count; i++) {
        const struct schema_table *t = &l->was->tables[i];
        for (size_t k = 0; k < t->shape->reference_count; k++) {
            const struct schema_reference *r = &t->shape->references[k];
            bool waits = deferred && schema_same_name(r->on_delete, "NO ACTION") && schema_table(l->now, parent->name) != NULL;
            bool goes = schema_same_name(r->on_delete, "CASCADE"), set = slice_starts(slice_str(r->on_delete), SLICE("SET"));
            if (!schema_same_name(r->parent, parent->name) || t == parent || waits || schema_table(l->now, t->name) == NULL)
                continue;
            add(l, DROP_REFERENCED, offset, allowed_by(l, index, DROP_REFERENCED), parent->name,
                arena_printf(l->a, "%s.%s refers to it%s%s: DROP TABLE deletes its rows first, and %s", t->name, r->columns[0],
                goes || set ? " ON DELETE " : "", goes || set ? r->on_delete : "",
                goes ? "with them those that refer to them" : set ? "changes those that refer to them"
                : "the migration fails as soon as one refers to them"));
        }
    }
}

/* The table that an UPDATE or DELETE without a WHERE of its own changes; in parentheses there may be others. */
static bool whole_table(struct slice text, struct sql_token *ret_table)
{
    bool found = false;
    int depth = 0;
    struct sql_token t = sql_next_code(&text);
    if (!sql_is(&t, "WITH") && !sql_is(&t, "UPDATE") && !sql_is(&t, "DELETE"))
        return false;
    for (; t.kind != SQL_END; t = sql_next_code(&text)) {
        depth += slice_eq_str(t.text, "(") - slice_eq_str(t.text, ")");
        if (depth != 0)
            continue;
        if (!found && (sql_is(&t, "INSERT") || sql_is(&t, "REPLACE") || sql_is(&t, "SELECT")))
            return false;
        if (!found && (sql_is(&t, "UPDATE") || sql_is(&t, "DELETE"))) {
            found = true;
            t = sql_next_code(&text);
            if (sql_is(&t, "OR")) {
                (void)sql_next_code(&text);
                t = sql_next_code(&text);
            } else if (sql_is(&t, "FROM")) {
                t = sql_next_code(&text);
            }
            *ret_table = t;
            struct slice behind = text;
            t = sql_next_code(&behind);
            if (slice_eq_str(t.text, ".")) {
                *ret_table = sql_next_code(&behind);
                text = behind;
            }
            t = *ret_table;
        } else if (found && sql_is(&t, "WHERE")) {
            return false;
        }
    }
    return found;
}

static void judge_rows(struct lint *l, size_t index)
{
    struct sql_token table;
    if (!whole_table(text_of(l, &l->run.statements[index]), &table))
        return;
    for (size_t i = 0; i < l->was->table_count; i++) {
        const char *name = l->was->tables[i].name;
        if (is_released(l, name) && sql_names(&table, name))
            add(l, WHOLE_TABLE, (size_t)(table.text.p - l->sql.p), allowed_by(l, index, WHOLE_TABLE), name,
                "every row is changed in one transaction: nobody else can write until it is through");
    }
}

static bool defers_keys(const struct lint *l)
{
    for (size_t i = 0; i < l->run.count; i++) {
        size_t offset;
        if (find_name(l, &l->run.statements[i], "defer_foreign_keys", &offset))
            return true;
    }
    return false;
}

static void judge_statements(struct lint *l)
{
    bool deferred = defers_keys(l);
    for (size_t i = 0; i < l->run.count; i++) {
        const struct schema_statement *s = &l->run.statements[i];
        if (s->denied != NULL)
            add(l, NOT_ALLOWED, s->first, NULL, "", arena_printf(l->a, "%s is not allowed in a migration", s->denied));
        if (l->run.failed != NULL)
            continue;
        judge_drop(l, i, deferred);
        judge_rows(l, i);
    }
}

/* ---- one migration, and all ---- */

static void judge(struct lint *l)
{
    judge_statements(l);
    if (l->run.failed != NULL) {
        add(l, FAILS, l->run.failed_at, NULL, "", l->run.failed);
        return;
    }
    judge_tables(l);
    judge_indexes(l);
    judge_triggers(l);
    judge_allows(l);
}

static int compare_findings(const void *a, const void *b)
{
    const struct lint_finding *x = a, *y = b;
    if (x->migration != y->migration)
        return x->migration < y->migration ? -1 : 1;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->column != y->column)
        return x->column < y->column ? -1 : 1;
    return x->rule < y->rule ? -1 : x->rule > y->rule;
}

static enum ficus_err lint_all(struct lint *l, const struct db_migration *list, size_t count, int64_t released, struct ficus_error *reterr)
{
    struct schema_runner *r = l->runner;
    enum ficus_err err = schema_look(r, NULL, &l->was, reterr);
    l->base = l->was;
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++) {
        l->index = i;
        l->sql = list[i].sql;
        if (list[i].version != (int64_t)i + 1) {
            add(l, NUMBERING, 0, NULL, "", list[i].version == 0 ? "is not called NNNN_NAME.sql"
                : arena_printf(l->a, "has number %lld, but %zu comes next", (long long)list[i].version, i + 1));
            break;
        }
        err = schema_run(r, list[i].sql, &l->run, reterr);
        if (err == FICUS_ERR_OK)
            err = schema_look(r, l->was, &l->now, reterr);
        if (err != FICUS_ERR_OK)
            break;
        bool judged = (int64_t)i >= released;
        if (judged) {
            read_allows(l);
            judge(l);
        } else if (l->run.failed != NULL) {
            add(l, FAILS, l->run.failed_at, NULL, "", l->run.failed);
        }
        if (l->run.failed != NULL)
            break;              /* what follows builds on it */
        l->was = l->now;
        if (released < 0 || !judged)
            l->base = l->now;
    }
    return err;
}

enum ficus_err migrate_lint(struct arena *a, const struct db_migration *list, size_t count, int64_t released,
                            struct lint_result *ret_result, struct ficus_error *reterr)
{
    struct lint_result result = {.findings = ARENA_ARRAY(a, struct lint_finding, LINT_FINDINGS_MAX)};
    struct lint l = {.a = a, .result = &result};
    enum ficus_err err = result.findings == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory")
        : schema_runner_new(a, &l.runner, reterr);
    if (err == FICUS_ERR_OK)
        err = lint_all(&l, list, count, released, reterr);
    schema_runner_free(l.runner);
    if (err == FICUS_ERR_OK && arena_overflowed(a))
        err = err_set(reterr, FICUS_ERR_TOO_LARGE, "the findings take too much memory");
    if (err != FICUS_ERR_OK)
        return err;
    qsort(result.findings, result.count, sizeof *result.findings, compare_findings);
    *ret_result = result;
    return FICUS_ERR_OK;
}
