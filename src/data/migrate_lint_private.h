/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of migrate_lint: what is known of one migration while it is judged, and how findings are reported
 * (migrate_lint_report.c); one table before and after it (migrate_lint_table.c).
 */
#ifndef FICUS_DATA_MIGRATE_LINT_PRIVATE_H
#define FICUS_DATA_MIGRATE_LINT_PRIVATE_H

#include "migrate_lint.h"
#include "schema.h"
#include "sql_scan.h"

/* The places of lint_rules. */
enum lint_rule_id {
    DROP_TABLE, RENAME_TABLE, CHANGE_TABLE, DROP_REFERENCED, DROP_COLUMN, RENAME_COLUMN, ADD_NOT_NULL, ADD_COMPUTED, CHANGE_TYPE,
    DROP_DEFAULT, NEW_NOT_NULL, NEW_CHECK, NEW_FOREIGN_KEY, NEW_UNIQUE, DROP_UNIQUE, DROP_INDEX, DROP_VIEW, CHANGE_VIEW, BROKEN_VIEW,
    BROKEN_TRIGGER, NEW_TRIGGER, DROP_TRIGGER, WHOLE_TABLE, NOT_ALLOWED, FAILS, NUMBERING, BAD_NOLINT, UNUSED_NOLINT,
};

struct allow;

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

/* Whether the running version knows the table or view. */
bool lint_is_released(const struct lint *l, const char *table);

struct slice lint_text_of(const struct lint *l, const struct schema_statement *s);
/* The place in the migration of the first token in the statement that is the name. */
bool lint_find_name(const struct lint *l, const struct schema_statement *s, const char *name, size_t *ret_offset);

/* Reads the comments that allow something, after l->run is there: each belongs to one statement. */
void lint_read_allows(struct lint *l);
/* The reason that a comment gives for allowing the rule in a statement; NULL when none does. */
const char *lint_allowed_by(struct lint *l, size_t statement, enum lint_rule_id rule);
/* Reports the comments that allowed nothing, after everything else was judged. */
void lint_judge_allows(struct lint *l);

/* A finding at a place of the migration. An object or text of NULL is memory that was not there, which the caller of
 * migrate_lint hears in the end. */
void lint_add(struct lint *l, enum lint_rule_id rule, size_t offset, const char *allowed, const char *object, const char *text);
/* Of a table, and of detail in it when that is not NULL; the place and what is allowed there are looked up. */
void lint_report_table(struct lint *l, enum lint_rule_id rule, const char *name, const char *detail, const char *text);
/* Of a key of a table: of the index, or of what is written in the table. */
void lint_report_key(struct lint *l, enum lint_rule_id rule, const char *table, const struct schema_key *key, const char *text);
/* Of an index or trigger; it may also have gone with its table. */
void lint_report_part(struct lint *l, enum lint_rule_id rule, const struct schema_part *part, const char *text);

/* Judges what becomes of a table or view that is there before and after the migration. */
void lint_judge_pair(struct lint *l, const struct schema_table *was, const struct schema_table *now);

#endif
