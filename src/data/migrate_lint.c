/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate_lint_private.h"

#include "mem.h"

#include <stdlib.h>

/* ---- tables ---- */

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
        if (!lint_is_released(l, was->name))
            continue;
        if (now != NULL)
            lint_judge_pair(l, was, now);
        else if (was->kind == SCHEMA_VIEW)
            lint_report_table(l, DROP_VIEW, was->name, NULL, "it goes: what the running version reads of it fails");
        else if ((other = renamed(l, was)) != NULL)
            lint_report_table(l, RENAME_TABLE, was->name, NULL,
                arena_printf(l->a, "it is called %s now: every statement of the running version that names it fails", other->name));
        else
            lint_report_table(l, DROP_TABLE, was->name, NULL, "it goes: every statement of the running version that names it fails");
    }
}

/* ---- indexes and triggers ---- */

static void judge_indexes(struct lint *l)
{
    for (size_t i = 0; i < l->was->index_count; i++) {
        const struct schema_part *p = &l->was->indexes[i];
        bool released = schema_index(l->base, p->name) != NULL, table_stays = schema_table(l->now, p->table) != NULL;
        if (!p->unique && released && table_stays && schema_index(l->now, p->name) == NULL)
            lint_report_part(l, DROP_INDEX, p, "it goes: the running version's queries that use it read the whole table");
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
        if (lint_is_released(l, p->table) && may_refuse(p) && (was == NULL || strcmp(was->sql, p->sql) != 0))
            lint_report_part(l, NEW_TRIGGER, p,
                arena_printf(l->a, "it may refuse (RAISE) what the running version writes to %s", p->table));
    }
    for (size_t i = 0; i < l->was->trigger_count; i++) {
        const struct schema_part *p = &l->was->triggers[i];
        if (schema_trigger(l->base, p->name) != NULL && schema_trigger(l->now, p->name) == NULL && schema_table(l->now, p->table) != NULL)
            lint_report_part(l, DROP_TRIGGER, p, "it goes: the running version may rely on what it does");
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
    (void)lint_find_name(l, s, s->dropped, &offset);
    for (size_t i = 0; i < l->was->table_count; i++) {
        const struct schema_table *t = &l->was->tables[i];
        for (size_t k = 0; k < t->shape->reference_count; k++) {
            const struct schema_reference *r = &t->shape->references[k];
            bool waits = deferred && schema_same_name(r->on_delete, "NO ACTION") && schema_table(l->now, parent->name) != NULL;
            bool goes = schema_same_name(r->on_delete, "CASCADE"), set = slice_starts(slice_str(r->on_delete), SLICE("SET"));
            if (!schema_same_name(r->parent, parent->name) || t == parent || waits || schema_table(l->now, t->name) == NULL)
                continue;
            lint_add(l, DROP_REFERENCED, offset, lint_allowed_by(l, index, DROP_REFERENCED), parent->name,
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
    if (!whole_table(lint_text_of(l, &l->run.statements[index]), &table))
        return;
    for (size_t i = 0; i < l->was->table_count; i++) {
        const char *name = l->was->tables[i].name;
        if (lint_is_released(l, name) && sql_names(&table, name))
            lint_add(l, WHOLE_TABLE, (size_t)(table.text.p - l->sql.p), lint_allowed_by(l, index, WHOLE_TABLE), name,
                "every row is changed in one transaction: nobody else can write until it is through");
    }
}

static bool defers_keys(const struct lint *l)
{
    for (size_t i = 0; i < l->run.count; i++) {
        size_t offset;
        if (lint_find_name(l, &l->run.statements[i], "defer_foreign_keys", &offset))
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
            lint_add(l, NOT_ALLOWED, s->first, NULL, "", arena_printf(l->a, "%s is not allowed in a migration", s->denied));
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
        lint_add(l, FAILS, l->run.failed_at, NULL, "", l->run.failed);
        return;
    }
    judge_tables(l);
    judge_indexes(l);
    judge_triggers(l);
    lint_judge_allows(l);
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
            lint_add(l, NUMBERING, 0, NULL, "", list[i].version == 0 ? "is not called NNNN_NAME.sql"
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
            lint_read_allows(l);
            judge(l);
        } else if (l->run.failed != NULL) {
            lint_add(l, FAILS, l->run.failed_at, NULL, "", l->run.failed);
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
