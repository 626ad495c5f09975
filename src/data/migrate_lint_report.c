/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate_lint_private.h"

#include "assert.h"
#include "mem.h"

enum { ALLOW_RULES_MAX = 8 };

/* ---- rules ---- */

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

/* A comment that allows. */
struct allow {
    size_t statement, offset;
    const struct lint_rule *rules[ALLOW_RULES_MAX];
    bool used[ALLOW_RULES_MAX];
    size_t rule_count;
    const char *reason;
    struct allow *next;
};

bool lint_is_released(const struct lint *l, const char *table)
{
    return schema_table(l->base, table) != NULL;
}

void lint_add(struct lint *l, enum lint_rule_id rule, size_t offset, const char *allowed, const char *object, const char *text)
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

struct slice lint_text_of(const struct lint *l, const struct schema_statement *s)
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
bool lint_find_name(const struct lint *l, const struct schema_statement *s, const char *name, size_t *ret_offset)
{
    struct slice rest = lint_text_of(l, s);
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
    return 1 + s->of_table + (detail != NULL && lint_find_name(l, s, detail, &offset) ? 2 : 0);
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
    bool placed = (detail != NULL && lint_find_name(l, s, detail, ret_offset)) || lint_find_name(l, s, name, ret_offset);
    for (size_t i = 0; i < s->name_count && !placed; i++)
        placed = lint_find_name(l, s, s->names[i], ret_offset);
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
            lint_add(l, BAD_NOLINT, offset, NULL, "", name.size == 0 ? "the comment names no rule"
                : arena_printf(l->a, "\"" SLICE_FMT "\" is no rule that a comment can allow", (int)(name.size > 60 ? 60 : name.size), name.p));
            return;
        }
        w->rules[w->rule_count++] = rule;
    }
    if (reason.size == 0) {
        lint_add(l, BAD_NOLINT, offset, NULL, "", "the comment gives no reason");
        return;
    }
    w->next = l->allows;
    l->allows = w;
}

/* A comment belongs to the statement that follows, or to the one on whose last line it begins. */
void lint_read_allows(struct lint *l)
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

const char *lint_allowed_by(struct lint *l, size_t statement, enum lint_rule_id rule)
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

void lint_judge_allows(struct lint *l)
{
    for (struct allow *w = l->allows; w != NULL; w = w->next)
        for (size_t i = 0; i < w->rule_count; i++)
            if (!w->used[i])
                lint_add(l, UNUSED_NOLINT, w->offset, NULL, "",
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
void lint_report_table(struct lint *l, enum lint_rule_id rule, const char *name, const char *detail, const char *text)
{
    size_t offset = 0;
    size_t statement = find_statement(l, name, detail, &offset);
    const char *object = detail == NULL ? name : arena_printf(l->a, "%s.%s", name, detail);
    lint_add(l, rule, offset, lint_allowed_by(l, statement, rule), object, text);
}

/* Of a key of a table: of the index, or of what is written in the table. */
void lint_report_key(struct lint *l, enum lint_rule_id rule, const char *table, const struct schema_key *key, const char *text)
{
    size_t offset = 0;
    const char *column = key->column_count == 0 ? NULL : key->columns[0].name;
    bool touched = key->index != NULL && is_touched(l, key->index);
    size_t statement = find_statement(l, touched ? key->index : table, column, &offset);
    lint_add(l, rule, offset, lint_allowed_by(l, statement, rule), column == NULL ? table : arena_printf(l->a, "%s.%s", table, column), text);
}

/* Of an index or trigger; it may also have gone with its table. */
void lint_report_part(struct lint *l, enum lint_rule_id rule, const struct schema_part *part, const char *text)
{
    size_t offset = 0;
    size_t statement = find_statement(l, is_touched(l, part->name) ? part->name : part->table, NULL, &offset);
    lint_add(l, rule, offset, lint_allowed_by(l, statement, rule), part->name, text);
}
