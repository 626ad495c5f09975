/* SPDX-License-Identifier: Apache-2.0
 *
 * What migrations make of a schema, found out by running them with SQLite in memory: no file is touched. For
 * migrate_lint.c.
 */
#ifndef FICUS_DATA_SCHEMA_H
#define FICUS_DATA_SCHEMA_H

#include "arena.h"
#include "err.h"

/* ---- a schema at one moment; names as written ---- */

struct schema_column {
    const char *name, *type, *fallback;     /* fallback: the DEFAULT's text; NULL: none */
    bool not_null, generated;
};

/* What may be there only once: PRIMARY KEY, UNIQUE or a unique index. */
struct schema_key {
    struct schema_key_column {
        const char *name;                   /* NULL: an expression */
        const char *collation;              /* "BINARY" by default */
    } *columns;
    size_t column_count;
    const char *index, *sql;                /* the name of its CREATE INDEX, and that; NULL: a constraint of the table */
    bool partial;
};

struct schema_reference {
    const char **columns;
    size_t column_count;
    const char *parent, *on_delete;
};

enum schema_kind { SCHEMA_TABLE, SCHEMA_VIRTUAL, SCHEMA_VIEW };

struct schema_table {
    const char *name, *sql;
    enum schema_kind kind;
    int64_t root;                           /* page; a renamed table keeps it */
    bool strict, without_rowid;
    const char *broken;                     /* why a view cannot be read or a table not be written (a trigger); NULL: fine */
    const struct schema_shape {
        struct schema_column *columns;
        struct schema_key *keys;
        struct schema_reference *references;
        size_t column_count, key_count, reference_count;
    } *shape;
};

/* An index or a trigger. */
struct schema_part {
    const char *name, *table, *sql;
    bool unique;
};

struct schema {
    struct schema_table *tables;            /* and views, ordered by name */
    struct schema_part *indexes, *triggers; /* ordered by name */
    size_t table_count, index_count, trigger_count;
};

/* By name, as SQLite compares names; NULL: not there. */
const struct schema_table *schema_table(const struct schema *s, const char *name);
const struct schema_part *schema_index(const struct schema *s, const char *name);
const struct schema_part *schema_trigger(const struct schema *s, const char *name);
const struct schema_column *schema_column(const struct schema_table *t, const char *name);
bool schema_same_name(const char *a, const char *b);

/* ---- running migrations ---- */

enum { SCHEMA_NAMES_MAX = 4 };

/* One statement of a migration. */
struct schema_statement {
    size_t first, end;                      /* offsets: of its first word, behind its end */
    const char *names[SCHEMA_NAMES_MAX];    /* tables and parts that it creates, changes or drops */
    size_t name_count;
    bool of_table;                          /* it is about a table or view itself, not about an index or trigger of one */
    const char *dropped;                    /* the table that it drops; NULL: none */
    const char *denied;                     /* what no migration may do: it did not run; NULL: it ran */
};

struct schema_run {
    struct schema_statement *statements;
    size_t count;
    const char *failed;                     /* SQLite's words; nothing of the migration is there; NULL: it ran to its end */
    size_t failed_at;                       /* offset */
};

struct schema_runner;

/* With what libficus has made before the first migration of a service, as far as those may use it. Everything that a
 * runner returns lives in the arena, which must outlive it. NOMEM. */
enum ficus_err schema_runner_new(struct arena *a, struct schema_runner **ret_runner, struct ficus_error *reterr);
void schema_runner_free(struct schema_runner *r);   /* NULL is fine */
/* Run one migration as db_migrate does: in one transaction, with the same rights, keys enforced. Its work is bounded, so
 * that no text keeps it for ever. NOMEM, TOO_LARGE: the arena's ceiling; what is wrong with the text is in *ret_run. */
enum ficus_err schema_run(struct schema_runner *r, struct slice sql, struct schema_run *ret_run, struct ficus_error *reterr);
/* The schema that is there now; before: an earlier answer, of which unchanged tables are taken over; NULL: none. */
enum ficus_err schema_look(struct schema_runner *r, const struct schema *before, const struct schema **ret_schema,
                           struct ficus_error *reterr);
/* Would ALTER TABLE add this column to a table that has rows? refers: it has a foreign key. False: *ret_why says why not, in
 * SQLite's words (in the arena; NULL: no memory). */
bool schema_can_add(struct schema_runner *r, const struct schema_column *c, bool refers, const char **ret_why);

#endif
