/* SPDX-License-Identifier: Apache-2.0
 *
 * Which migrations break the version of a program that is still running, and what to do instead (expand and contract).
 *
 * Each migration is run by SQLite in memory, and the schema after it is compared with the one before: the difference is
 * judged, however it was made. Text is only read for places, for comments and for what changes rows. See ADR 35.
 *
 * What was not there before cannot break anybody: a first migration has no findings, nor has what a migration makes and
 * takes away again.
 *
 *     -- ficus:nolint drop-column: no release since 1.8 reads it
 *
 * above a statement (or behind it on its last line) says "I know" to one or more rules, separated by commas, and why. It
 * is part of the migration's text, so it is written before the migration ran anywhere.
 */
#ifndef FICUS_DATA_MIGRATE_LINT_H
#define FICUS_DATA_MIGRATE_LINT_H

#include "arena.h"
#include "db.h"

enum { LINT_FINDINGS_MAX = 200, LINT_ARENA_SIZE_MAX = 256 << 20 };

enum lint_level { LINT_WARNING, LINT_ERROR };

/* What it is called, what it finds, and what to do instead. */
struct lint_rule {
    const char *name;           /* "drop-column" */
    enum lint_level level;
    bool fixed;                 /* no comment allows it: the migration could not run */
    const char *help;
};
extern const struct lint_rule lint_rules[];
extern const size_t lint_rule_count;

struct lint_finding {
    size_t migration;           /* index into the list */
    uint32_t line, column;      /* from 1; columns count code points */
    const struct lint_rule *rule;
    const char *object;         /* "orders.note", "orders"; "": none */
    const char *text;           /* what breaks */
    const char *allowed;        /* the reason that a comment gives; NULL: it is not allowed */
};

struct lint_result {
    struct lint_finding *findings;      /* in order of migrations, lines and columns; at most LINT_FINDINGS_MAX are kept */
    size_t count;
    size_t error_count, warning_count, allowed_count;   /* of all */
};

/* Judge the migrations of one database, in memory. released: so many of them ran with the version that is still running;
 * they are not judged, and what later ones do to each other breaks nobody. -1: each was released by itself. A version 0
 * stands for a file whose name has no number. Names and texts are borrowed; the result is in the arena, whose ceiling
 * should be LINT_ARENA_SIZE_MAX. NOMEM, TOO_LARGE (more than the arena or than a schema may hold). Whatever is wrong with
 * the migrations is a finding. [any; takes some seconds at worst for each] */
enum ficus_err migrate_lint(struct arena *a, const struct db_migration *list, size_t count, int64_t released,
                            struct lint_result *ret_result, struct ficus_error *reterr);

#endif
