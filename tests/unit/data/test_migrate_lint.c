/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus migrations lint: which migrations break a version that is still running.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "buf.h"
#include "mem.h"
#include "migrate_lint.h"
#include "sql_scan.h"

#include <stdio.h>

static const struct sample {
    const char *property;
    const char *before, *sql, *after;   /* migrations 1, 2 and, where there is one, 3 */
    const char *expected;               /* of each finding: "NUMBER:LINE:COLUMN RULE OBJECT;", with '+' when it is allowed */
    int64_t released;                   /* 0: each by itself */
} samples[] = {
#define SAME "id INTEGER PRIMARY KEY, a TEXT, b TEXT NOT NULL DEFAULT 'x'"
#define T "CREATE TABLE t(" SAME ");"
#define CHILD "CREATE TABLE c(id INTEGER PRIMARY KEY, t INTEGER REFERENCES t(id)"
    /* expanding */
    {"a new table breaks nobody", T, "CREATE TABLE u(a NOT NULL, b UNIQUE, CHECK(a > b)); CREATE UNIQUE INDEX ui ON u(a);", NULL, ""},
    {"a nullable column is fine", T, "ALTER TABLE t ADD COLUMN c TEXT", NULL, ""},
    {"so is one that is NOT NULL with a constant default", T, "ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT ''", NULL, ""},
    {"so is a generated one", T, "ALTER TABLE t ADD COLUMN c TEXT NOT NULL AS (a || 'x') VIRTUAL", NULL, ""},
    {"an index that is not unique is fine", T, "CREATE INDEX i ON t(a)", NULL, ""},
    {"a view is fine", T, "CREATE VIEW v AS SELECT a FROM t", NULL, ""},
    {"a trigger that refuses nothing is fine", T, "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = 1 WHERE id = new.id; END", NULL, ""},
    {"rows may be changed where some are meant", T, "UPDATE t SET a = 'y' WHERE a IS NULL; DELETE FROM t WHERE id < 0", NULL, ""},
    {"what a migration makes and takes away again breaks nobody", T, "CREATE TABLE u(a); ALTER TABLE u RENAME TO w; DROP TABLE w;", NULL, ""},
    {"a column too", T, "ALTER TABLE t ADD COLUMN c; ALTER TABLE t DROP COLUMN c", NULL, ""},
    {"an empty migration does nothing", T, "-- later\n;;", NULL, ""},
    /* tables and views */
    {"a table goes", T, "CREATE TABLE u(a);\n  DROP TABLE t;", NULL, "2:2:14 drop-table t;"},
    {"a name may be quoted", T, "DROP TABLE main.\"T\"", NULL, "2:1:17 drop-table t;"},
    {"a table is renamed", T, "ALTER TABLE t RENAME TO u", NULL, "2:1:13 rename-table t;"},
    {"a table goes and another comes", T, "DROP TABLE t; CREATE TABLE u(id INTEGER PRIMARY KEY, z);", NULL, "2:1:12 drop-table t;"},
    {"a table becomes a view", T, "ALTER TABLE t RENAME TO u; CREATE VIEW t AS SELECT * FROM u", NULL, "2:1:40 change-table t;"},
    {"a view goes", T "CREATE VIEW v AS SELECT a, b FROM t;", "DROP VIEW v", NULL, "2:1:11 drop-view v;"},
    {"a view loses a column", T "CREATE VIEW v AS SELECT a, b FROM t;", "DROP VIEW v; CREATE VIEW v AS SELECT a FROM t", NULL,
     "2:1:26 change-view v.b;"},
    {"a view gains a column", T "CREATE VIEW v AS SELECT a FROM t;", "DROP VIEW v; CREATE VIEW v AS SELECT a, b FROM t", NULL, ""},
    {"a view loses its table", T "CREATE TABLE u(z); CREATE VIEW v AS SELECT z FROM u;", "DROP TABLE u", NULL,
     "2:1:12 drop-table u;2:1:12 broken-view v;"},
    {"a trigger loses its table", T "CREATE TABLE u(z); CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO u VALUES(1); END;", "DROP TABLE u", NULL,
     "2:1:12 drop-table u;2:1:12 broken-trigger t;"},
    {"of an update only, too", T "CREATE TABLE u(z); CREATE TRIGGER g AFTER UPDATE OF a ON t BEGIN INSERT INTO u VALUES(1); END;", "DROP TABLE u", NULL,
     "2:1:12 drop-table u;2:1:12 broken-trigger t;"},
    /* columns */
    {"a column goes", T, "ALTER TABLE t\n  DROP COLUMN a", NULL, "2:2:15 drop-column t.a;"},
    {"one of several", T, "ALTER TABLE t ADD COLUMN z; ALTER TABLE t DROP COLUMN [a]; ALTER TABLE t ADD COLUMN y", NULL, "2:1:55 drop-column t.a;"},
    {"a column is renamed", T, "ALTER TABLE t RENAME COLUMN a TO z", NULL, "2:1:29 rename-column t.a;"},
    {"a column is demanded", T, "ALTER TABLE t ADD COLUMN c TEXT NOT NULL", NULL, "2:1:26 add-not-null t.c;"},
    {"SQLite refuses a computed default on rows", T,
     "ALTER TABLE t ADD COLUMN c TEXT DEFAULT (1 + 1); ALTER TABLE t ADD COLUMN d DEFAULT CURRENT_TIMESTAMP", NULL,
     "2:1:26 add-computed t.c;2:1:75 add-computed t.d;"},
    {"it takes what is constant", T,
     "ALTER TABLE t ADD COLUMN c TEXT DEFAULT ('it''s'); ALTER TABLE t ADD COLUMN d DEFAULT -1; ALTER TABLE t ADD COLUMN e DEFAULT x'00'", NULL, ""},
    {"and refuses a foreign key with a default", T, "CREATE TABLE p(id INTEGER PRIMARY KEY); ALTER TABLE t ADD COLUMN p DEFAULT 1 REFERENCES p", NULL,
     "2:1:66 add-computed t.p;"},
    {"NULL is no default for it", T, "ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT null", NULL, "2:1:26 add-not-null t.c;"},
#define REBUILD(columns, copied) \
    "CREATE TABLE n(" columns ");\nINSERT INTO n(" copied ") SELECT " copied " FROM t;\nDROP TABLE t;\nALTER TABLE n RENAME TO t;"
    {"a table that is built anew as it was breaks nobody", T, REBUILD(SAME, "id, a, b"), NULL, ""},
    {"a type changes", T, REBUILD("id INTEGER PRIMARY KEY, a INT, b TEXT NOT NULL DEFAULT 'x'", "id, a, b"), NULL, "2:3:12 change-type t.a;"},
    {"NOT NULL comes", T, REBUILD("id INTEGER PRIMARY KEY, a TEXT NOT NULL, b TEXT NOT NULL DEFAULT 'x'", "id, a, b"), NULL, "2:3:12 new-not-null t.a;"},
    {"NOT NULL goes", T, REBUILD("id INTEGER PRIMARY KEY, a TEXT, b TEXT", "id, a, b"), NULL, ""},
    {"a default goes", T, REBUILD("id INTEGER PRIMARY KEY, a TEXT, b TEXT NOT NULL", "id, a, b"), NULL, "2:3:12 drop-default t.b;"},
    {"a demanded column comes by building anew", T, REBUILD(SAME ", c NOT NULL", "id, a, b"), NULL,
     "2:3:12 add-not-null t.c;"},
    {"a column becomes generated", T, REBUILD("id INTEGER PRIMARY KEY, a TEXT AS (b), b TEXT NOT NULL DEFAULT 'x'", "id, b"), NULL, "2:3:12 change-type t.a;"},
    {"a table becomes strict", T, REBUILD(SAME ") STRICT, WITHOUT ROWID; CREATE TABLE o(x", "id, a, b"), NULL,
     "2:3:12 change-table t;2:3:12 change-table t;2:3:12 new-not-null t.id;"},
    {"a column goes by building anew", T, REBUILD("id INTEGER PRIMARY KEY, b TEXT NOT NULL DEFAULT 'x'", "id, b"), NULL, "2:3:12 drop-column t.a;"},
    /* constraints */
    {"a CHECK of an old column", T, "ALTER TABLE t ADD COLUMN c TEXT CHECK(c <> A)", NULL, "2:1:44 new-check t.a;"},
    {"a CHECK of a new column alone", T, "ALTER TABLE t ADD COLUMN c TEXT CHECK(c <> 'a')", NULL, ""},
    {"a CHECK that is only spelt otherwise", "CREATE TABLE t(a, CHECK(a > 0 AND (a) < 9));", REBUILD("a, CHECK ( \"A\">0 /* so */ and([a])<9 )", "a"), NULL,
     ""},
    {"text in a CHECK is not only spelt otherwise", "CREATE TABLE t(a CHECK(a <> 'x'));", REBUILD("a CHECK(a <> 'X')", "a"), NULL, "2:3:12 new-check t.a;"},
    {"a CHECK goes", "CREATE TABLE t(a CHECK(a <> 'x'));", REBUILD("a", "a"), NULL, ""},
    {"a CHECK follows its column's name", "CREATE TABLE t(a CHECK(a <> 'x'), UNIQUE(a));", "ALTER TABLE t RENAME COLUMN a TO b", NULL,
     "2:1:29 rename-column t.a;"},
    {"a foreign key of a new column", T, "CREATE TABLE p(id INTEGER PRIMARY KEY); ALTER TABLE t ADD COLUMN p REFERENCES p", NULL, ""},
    {"a foreign key of an old one", T "CREATE TABLE p(a TEXT PRIMARY KEY);",
     REBUILD("id INTEGER PRIMARY KEY, a TEXT REFERENCES p, b TEXT NOT NULL DEFAULT 'x'", "id, a, b"), NULL, "2:3:12 new-foreign-key t.a;"},
    {"a foreign key that was there", T CHILD ");",
     "CREATE TABLE n(id INTEGER PRIMARY KEY, t INTEGER REFERENCES t(id)); DROP TABLE c; ALTER TABLE n RENAME TO c", NULL, ""},
    {"a unique index", T, "CREATE UNIQUE INDEX i ON t(b, a)", NULL, "2:1:28 new-unique t.b;"},
    {"a unique index of an expression", T, "CREATE UNIQUE INDEX i ON t(lower(a))", NULL, "2:1:21 new-unique t;"},
    {"a unique index where some rows are meant", T, "CREATE UNIQUE INDEX i ON t(a) WHERE b = 'y'", NULL, "2:1:28 new-unique t.a;"},
    {"a unique index with a new column that is NULL", T, "ALTER TABLE t ADD COLUMN c; CREATE UNIQUE INDEX i ON t(a, c)", NULL, ""},
    {"a unique index with a new column that is not", T, "ALTER TABLE t ADD COLUMN c DEFAULT 1; CREATE UNIQUE INDEX i ON t(c)", NULL, "2:1:66 new-unique t.c;"},
    {"a unique index goes", T "CREATE UNIQUE INDEX i ON t(a);", "DROP INDEX i", NULL, "2:1:12 drop-unique t.a;"},
    {"a unique index becomes a constraint", T "CREATE UNIQUE INDEX i ON t(a, b);",
     REBUILD(SAME ", UNIQUE(b, a)", "id, a, b"), NULL, ""},
    {"an index of an expression gets another name", T "CREATE UNIQUE INDEX i ON t(lower(a)) WHERE b > 1;",
     "DROP INDEX i; CREATE UNIQUE INDEX j ON \"t\" (LOWER(\"a\")) where b>1", NULL, ""},
    {"a primary key changes", T, REBUILD("id INTEGER, a TEXT, b TEXT NOT NULL DEFAULT 'x'", "id, a, b"), NULL, "2:3:12 drop-unique t.id;"},
    {"a key is compared in another way", "CREATE TABLE t(a TEXT UNIQUE);", REBUILD("a TEXT COLLATE NOCASE UNIQUE", "a"), NULL,
     "2:3:12 new-unique t.a;2:3:12 drop-unique t.a;"},
    {"an index goes", T "CREATE INDEX i ON t(a);", "DROP INDEX i", NULL, "2:1:12 drop-index i;"},
    {"an index goes with its table built anew", T "CREATE INDEX i ON t(a);", REBUILD(SAME, "id, a, b"), NULL,
     "2:3:12 drop-index i;"},
    /* the place is that of the statement that did it, whatever comes behind */
    {"an index of the new column behind", T, "ALTER TABLE t ADD COLUMN c NOT NULL; CREATE INDEX i ON t(c)", NULL, "2:1:26 add-not-null t.c;"},
    {"an index of a table built anew behind", T,
     REBUILD("id INTEGER PRIMARY KEY, a INT, b TEXT NOT NULL DEFAULT 'x'", "id, a, b") " CREATE INDEX i ON t(b);", NULL,
     "2:3:12 change-type t.a;"},
    {"a trigger of a dropped column's table behind", T, "ALTER TABLE t DROP COLUMN a; CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1 AS a; END", NULL,
     "2:1:27 drop-column t.a;"},
    {"one unique index instead of another", T "CREATE UNIQUE INDEX i ON t(a);", "DROP INDEX i;\nCREATE UNIQUE INDEX j ON t(b);", NULL,
     "2:1:12 drop-unique t.a;2:2:28 new-unique t.b;"},
    {"another index of the same column behind", T, "CREATE UNIQUE INDEX i ON t(a); CREATE INDEX j ON t(a, b);", NULL, "2:1:28 new-unique t.a;"},
    /* triggers */
    {"a trigger that refuses", T, "CREATE TRIGGER g BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'no'); END;", NULL, "2:1:16 new-trigger g;"},
    {"a trigger that refuses on a new table", T, "CREATE TABLE u(a); CREATE TRIGGER g BEFORE INSERT ON u BEGIN SELECT RAISE(ABORT, 'no'); END;", NULL, ""},
    {"RAISE in a text is no RAISE", T, "CREATE TRIGGER g BEFORE INSERT ON t BEGIN SELECT 'RAISE(ABORT)'; END;", NULL, ""},
    {"a trigger goes", T "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END;", "DROP TRIGGER g", NULL, "2:1:14 drop-trigger g;"},
    {"a trigger goes with its table built anew", T "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END;",
     REBUILD(SAME, "id, a, b"), NULL, "2:3:12 drop-trigger g;"},
    /* rows */
    {"every row is changed", T, "UPDATE t SET a = (SELECT b FROM t WHERE id = 1)", NULL, "2:1:8 whole-table t;"},
    {"every row goes", T, "WITH x AS (SELECT 1 WHERE 1) DELETE FROM main.t", NULL, "2:1:47 whole-table t;"},
    {"every row with a conflict clause", T, "UPDATE OR IGNORE t SET a = 1", NULL, "2:1:18 whole-table t;"},
    {"every row of a new table", T, "CREATE TABLE u(a); UPDATE u SET a = 1; DELETE FROM u;", NULL, ""},
    {"a parent is built anew", T CHILD " ON DELETE CASCADE);", REBUILD(SAME, "id, a, b"), NULL,
     "2:3:12 drop-referenced t;"},
    {"its children wait until the end", T CHILD ");", "PRAGMA defer_foreign_keys = ON;\n" REBUILD(SAME, "id, a, b"),
     NULL, ""},
    {"its children do not wait", T CHILD ");", REBUILD(SAME, "id, a, b"), NULL, "2:3:12 drop-referenced t;"},
    {"its children forget it", T CHILD " ON DELETE SET NULL);", "DROP TABLE t", NULL, "2:1:12 drop-table t;2:1:12 drop-referenced t;"},
    {"its children went before", T CHILD " ON DELETE CASCADE);", "DROP TABLE c; DROP TABLE t", NULL, "2:1:12 drop-table c;2:1:26 drop-table t;"},
    /* what cannot run */
    {"transactions and pragmas, each", T, "BEGIN;\nPRAGMA foreign_keys = OFF; ALTER TABLE t DROP COLUMN a;\nCOMMIT;\nATTACH 'x;y' AS z; SAVEPOINT s", NULL,
     "2:1:1 not-allowed ;2:2:1 not-allowed ;2:2:54 drop-column t.a;2:3:1 not-allowed ;2:4:1 not-allowed ;2:4:20 not-allowed ;"},
    {"what SQLite refuses", T, "CREATE TABLE u(a);\nINSRT INTO u;", "DROP TABLE t", "2:2:1 fails ;"},
    {"what fails when it is run", T, "\xc3\xa4;", NULL, "2:1:1 fails ;"},
    {"what fails on an empty database", T "CREATE TABLE u(a NOT NULL);", "INSERT INTO u SELECT max(id) FROM t;", NULL, "2:1:1 fails ;"},
    {"a key that is violated at the end", T CHILD " DEFERRABLE INITIALLY DEFERRED);", "INSERT INTO c VALUES(1, 1); SELECT 1", NULL, "2:1:29 fails ;"},
    {"a first migration may fail too", "CREATE TABL t(a);", "DROP TABLE t", NULL, "1:1:1 fails ;"},
    {"VACUUM is outside of transactions", T, "VACUUM", NULL, "2:1:1 fails ;"},
    {"an unclosed text", T, "INSERT INTO t(a) VALUES('x);\n", NULL, "2:1:1 fails ;"},
    {"an unclosed name", T, "CREATE TABLE u(\"a);\n", NULL, "2:1:1 fails ;"},
    {"an unclosed comment is one", T, "ALTER TABLE t DROP COLUMN a; /* so", NULL, "2:1:27 drop-column t.a;"},
    {"a transaction in the midst of an unclosed text", T, "COMMIT 'x; DROP TABLE t", NULL, "2:1:1 fails ;"},
    {"it would never end", T, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n", NULL, "2:1:1 fails ;"},
    {"it would keep too much to itself", T,
     "WITH RECURSIVE n(i, b) AS (SELECT 1, '' UNION SELECT i + 1, randomblob(4000000) FROM n) SELECT count(*) FROM n", NULL, "2:1:1 fails ;"},
    {"it would fill memory", T, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t(a) SELECT zeroblob(4000000) FROM n", NULL,
     "2:1:1 fails ;"},
    {"columns count code points", T, "/* \xc3\xa4\xc3\xb6 */ DROP TABLE t", NULL, "2:1:21 drop-table t;"},
    {"a byte order mark is none", T, "\xef\xbb\xbf" "DROP TABLE t", NULL, "2:1:13 drop-table t;"},
    /* comments that allow */
    {"a comment above", T, "-- ficus:nolint drop-column: unused since 2\nALTER TABLE t DROP COLUMN a", NULL, "+2:2:27 drop-column t.a;"},
    {"behind on the last line", T, "ALTER TABLE t\n DROP COLUMN a; -- ficus:nolint drop-column: unused since 2\n", NULL, "+2:2:14 drop-column t.a;"},
    {"inside", T, "ALTER TABLE t /*ficus:nolint drop-column:x*/ DROP COLUMN a", NULL, "+2:1:58 drop-column t.a;"},
    {"several rules, one for nothing", T, "-- ficus:nolint drop-column , drop-table: x\nALTER TABLE t DROP COLUMN a", NULL,
     "2:1:1 unused-nolint ;+2:2:27 drop-column t.a;"},
    {"above another statement", T, "-- ficus:nolint drop-column: x\nCREATE TABLE u(a);\nALTER TABLE t DROP COLUMN a", NULL,
     "2:1:1 unused-nolint ;2:3:27 drop-column t.a;"},
    {"without a reason", T, "-- ficus:nolint drop-column\nALTER TABLE t DROP COLUMN a", NULL, "2:1:1 bad-nolint ;2:2:27 drop-column t.a;"},
    {"with an empty one", T, "-- ficus:nolint drop-column: \nALTER TABLE t DROP COLUMN a", NULL, "2:1:1 bad-nolint ;2:2:27 drop-column t.a;"},
    {"without a rule", T, "-- ficus:nolint : x\nSELECT 1", NULL, "2:1:1 bad-nolint ;"},
    {"with a rule that is none", T, "-- ficus:nolint drop-colum: x\nALTER TABLE t DROP COLUMN a", NULL, "2:1:1 bad-nolint ;2:2:27 drop-column t.a;"},
    {"with one that cannot be allowed", T, "-- ficus:nolint not-allowed: x\nBEGIN", NULL, "2:1:1 bad-nolint ;2:2:1 not-allowed ;"},
    {"in a text it is no comment", T, "SELECT '-- ficus:nolint drop-column: x';\nALTER TABLE t DROP COLUMN a", NULL, "2:2:27 drop-column t.a;"},
    {"with the line ends of others", T, "-- ficus:nolint drop-column: x\r\nALTER TABLE t DROP COLUMN a\r\n", NULL, "+2:2:27 drop-column t.a;"},
    /* what was released */
    {"each is a release of its own", T, "ALTER TABLE t ADD COLUMN c", "ALTER TABLE t DROP COLUMN c", "3:1:27 drop-column t.c;"},
    {"what was not released breaks nobody", T, "ALTER TABLE t ADD COLUMN c; CREATE TABLE u(a); CREATE UNIQUE INDEX i ON u(a); CREATE UNIQUE INDEX k ON t(c)",
     "DROP INDEX i; DROP INDEX k; ALTER TABLE t DROP COLUMN c; ALTER TABLE u RENAME TO w; CREATE UNIQUE INDEX j ON w(a)", "", 1},
    {"what was released does", T, "ALTER TABLE t ADD COLUMN c", "ALTER TABLE t DROP COLUMN a; DROP INDEX IF EXISTS z", "3:1:27 drop-column t.a;", 1},
    {"what was released is not judged any more", T, "ALTER TABLE t DROP COLUMN a; -- ficus:nolint so\n", "SELECT 1", "", 2},
};

static void lint(struct arena *a, const struct db_migration *list, size_t count, int64_t released, struct lint_result *r)
{
    struct ficus_error error = {0};
    arena_init(a, LINT_ARENA_SIZE_MAX);
    if (migrate_lint(a, list, count, released, r, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

static void describe(const struct lint_result *r, struct buf *out)
{
    buf_clear(out);
    for (size_t i = 0; i < r->count; i++) {
        const struct lint_finding *f = &r->findings[i];
        buf_printf(out, "%s%zu:%u:%u %s %s;", f->allowed == NULL ? "" : "+", f->migration + 1, f->line, f->column, f->rule->name, f->object);
        assert_true(f->text[0] != '\0' && f->rule->help[0] != '\0');
    }
}

/* Each sample has the findings that it should have, at their places, and no others. */
static void test_samples(void **state)
{
    (void)state;
    struct buf out;
    size_t failed = 0;
    buf_init(&out, 65536);
    for (size_t i = 0; i < ARRAY_COUNT(samples); i++) {
        const struct sample *s = &samples[i];
        const struct db_migration list[] = {{1, "0001_a.sql", slice_str(s->before)}, {2, "0002_b.sql", slice_str(s->sql)},
            {3, "0003_c.sql", slice_str(s->after)}};
        struct arena a;
        struct lint_result r;
        lint(&a, list, s->after == NULL ? 2 : 3, s->released == 0 ? -1 : s->released, &r);
        describe(&r, &out);
        if (strcmp(buf_str(&out), s->expected) != 0) {
            printf("%s:\n    %s\n  expected\n    %s\n  found\n    %s\n", s->property, s->sql, s->expected, buf_str(&out));
            for (size_t k = 0; k < r.count; k++)
                printf("      %s\n", r.findings[k].text);
            failed++;
        }
        arena_done(&a);
    }
    buf_done(&out);
    assert_int_equal(failed, 0);
}

/* No rule that is never found, and no two of one name. */
static void test_rules_are_used(void **state)
{
    (void)state;
    for (size_t k = 0; k < lint_rule_count; k++) {
        char word[64];
        size_t found = strcmp(lint_rules[k].name, "numbering") == 0;    /* below */
        snprintf(word, sizeof word, " %s ", lint_rules[k].name);
        for (size_t i = 0; i < ARRAY_COUNT(samples); i++)
            found += strstr(samples[i].expected, word) != NULL;
        if (found == 0)
            fail_msg("%s is found in no sample", lint_rules[k].name);
        for (size_t i = 0; i < k; i++)
            assert_string_not_equal(lint_rules[i].name, lint_rules[k].name);
    }
}

/* The first migration has no finding, whatever it does; gaps and repetitions are found, and nothing behind them is judged. */
static void test_lists(void **state)
{
    (void)state;
    static const char all[] = T "DROP TABLE t;" T "ALTER TABLE t DROP COLUMN a; UPDATE t SET b = 1; CREATE UNIQUE INDEX i ON t(b);"
        CHILD " ON DELETE CASCADE); DROP TABLE t;";
    struct arena a;
    struct lint_result r;
    lint(&a, &(struct db_migration){1, "0001_a.sql", slice_str(all)}, 1, -1, &r);
    assert_int_equal(r.count, 0);
    arena_done(&a);
    lint(&a, NULL, 0, -1, &r);
    assert_int_equal(r.count, 0);
    arena_done(&a);
    for (int64_t second = 0; second < 4; second++) {
        const struct db_migration list[] = {{1, "a", slice_str(T)}, {second, "b", slice_str("DROP TABLE t")}};
        lint(&a, list, 2, -1, &r);
        assert_int_equal(r.count, 1);
        assert_string_equal(r.findings[0].rule->name, second == 2 ? "drop-table" : "numbering");
        assert_int_equal(r.error_count, 1);
        arena_done(&a);
    }
}

/* A NUL is found, at its place, instead of being the end of the text. */
static void test_nul(void **state)
{
    (void)state;
    struct arena a;
    struct lint_result r;
    const struct db_migration list[] = {{1, "a", SLICE("CREATE TABLE t(a);\n\0DROP TABLE t")}, {2, "b", SLICE("DROP TABLE t")}};
    lint(&a, list, 2, -1, &r);
    assert_int_equal(r.count, 1);
    assert_string_equal(r.findings[0].rule->name, "fails");
    assert_int_equal(r.findings[0].line, 2);
    arena_done(&a);
}

/* The piece again and again; a number stands for its '#'. */
static char *repeat(const char *piece, size_t size, size_t *ret_count)
{
    struct buf b;
    buf_init(&b, 2 << 20);
    size_t n = 0, head = strcspn(piece, "#");
    for (; b.size < size; n++)
        buf_printf(&b, "%.*s%zu%s", (int)head, piece, n, piece + head + 1);
    *ret_count = n;
    return buf_steal(&b);
}

/* A mebibyte of anything (less of what takes long) comes to an end, within the arena: many findings are counted and the
 * first are kept; a schema that is too large is refused. */
static void test_large(void **state)
{
    (void)state;
    static const struct {
        const char *before, *piece;
        enum ficus_err err;
        bool counted;
        size_t size;            /* 0: a mebibyte */
    } texts[] = {
        {T, "UPDATE t SET a = #;\n", FICUS_ERR_OK, true},
        {T, "INSERT INTO t(a) VALUES('#');\n", FICUS_ERR_OK, false},
        {T, "-- #\n", FICUS_ERR_OK, false},
        {T, "-- ficus:nolint drop-table: #\n", FICUS_ERR_OK, true},
        {T, ";#", FICUS_ERR_OK, false},
        {T, "((#", FICUS_ERR_OK, false},
        {T, "'#", FICUS_ERR_OK, false},
        {T, "PRAGMA x#;", FICUS_ERR_OK, true, 200000},
        {T, "CREATE TABLE n#(a);", FICUS_ERR_OK, false, 200000},
        {T, "CREATE VIEW n#(a) AS SELECT 1;", FICUS_ERR_TOO_LARGE, false, 80000},
        {T, "/*#*/[", FICUS_ERR_OK, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct arena a;
        struct lint_result r = {0};
        struct ficus_error error = {0};
        size_t count;
        char *text = repeat(texts[i].piece, texts[i].size == 0 ? 1 << 20 : texts[i].size, &count);
        const struct db_migration list[] = {{1, "a", slice_str(texts[i].before)}, {2, "b", slice_str(text)}};
        arena_init(&a, LINT_ARENA_SIZE_MAX);
        assert_int_equal(migrate_lint(&a, list, 2, -1, &r, &error), texts[i].err);
        if (texts[i].counted) {
            assert_int_equal(r.count, LINT_FINDINGS_MAX);
            assert_int_equal(r.error_count + r.warning_count, count);
        }
        arena_done(&a);
        mem_free(text);
    }
}

/* An arena that is too small says so, wherever it ends. */
static void test_memory(void **state)
{
    (void)state;
    const struct db_migration list[] = {{1, "a", slice_str(T CHILD ");")}, {2, "b", slice_str("DROP TABLE c; ALTER TABLE t DROP COLUMN a")}};
    size_t refused = 0;
    for (size_t size = 0;; size += 64) {
        struct arena a;
        struct lint_result r = {0};
        struct ficus_error error = {0};
        arena_init(&a, size);
        enum ficus_err err = migrate_lint(&a, list, 2, -1, &r, &error);
        assert_true(err == FICUS_ERR_OK || err == FICUS_ERR_NOMEM || err == FICUS_ERR_TOO_LARGE);
        if (err == FICUS_ERR_OK) {
            assert_int_equal(r.count, 2);
            assert_int_equal(r.error_count, 2);
            arena_done(&a);
            break;
        }
        refused++;
        arena_done(&a);
    }
    assert_true(refused > 100);
}

/* ---- tokens ---- */

/* SQL text falls into tokens as SQLite has it. */
static void test_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *text, *kinds;   /* c comment, w word, q quoted, s string, b blob, n number, v variable, . sign, ! bad */
    } texts[] = {
        {"", ""}, {" \t\r\n\f", ""}, {"a b", "ww"}, {"a--b\nc", "wcw"}, {"--", "c"}, {"a/*b*/c", "wcw"}, {"/*/", "c"}, {"/*", "c"}, {"/**/a", "cw"},
        {"a - b", "w.w"}, {"a/b", "w.w"}, {"'a'", "s"}, {"'a''b'", "s"}, {"''", "s"}, {"'a", "!"}, {"'a''", "!"}, {"\"a\"\"b\"", "q"}, {"\"a", "!"},
        {"`a``b`", "q"}, {"[a]]", "q."}, {"[a", "!"}, {"x'00'", "b"}, {"X''", "b"}, {"x'0", "!"}, {"x 'a'", "ws"}, {"1", "n"}, {"1.5e-3+2", "n.n"},
        {".5", "n"}, {"0x1e-2", "n.n"}, {"1e", "n"}, {"?", "v"}, {"?12", "v"}, {":a@b$c ::", "vv.."}, {"a$b", "w"}, {"\xc3\xa4", "w"}, {"a.b", "w.w"},
        {"(a,b)", ".w.w."}, {"-- 'a\n'b'", "cs"}, {"/* ' */ 'b'", "cs"}, {"'--'", "s"}, {"\"/*\"", "q"}, {"\xef\xbb\xbf" "a", "w"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        static const char letters[] = {[SQL_COMMENT] = 'c', [SQL_WORD] = 'w', [SQL_QUOTED] = 'q', [SQL_STRING] = 's', [SQL_BLOB] = 'b',
            [SQL_NUMBER] = 'n', [SQL_VARIABLE] = 'v', [SQL_SIGN] = '.', [SQL_BAD] = '!'};
        char found[16] = "";
        struct slice rest = slice_str(texts[i].text);
        size_t n = 0;
        for (struct sql_token t = sql_next(&rest); t.kind != SQL_END; t = sql_next(&rest))
            found[n++] = letters[t.kind];
        if (strcmp(found, texts[i].kinds) != 0)
            fail_msg("%s: %s instead of %s", texts[i].text, found, texts[i].kinds);
    }
}

/* Names are the same whatever their quotes and case. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
        bool same;
    } names[] = {
        {"abc", "ABC", true}, {"\"Abc\"", "aBC", true}, {"[abc]", "abc", true}, {"`a``c`", "a`c", true}, {"\"a\"\"c\"", "a\"c", true}, {"'abc'", "abc", true},
        {"abc", "ab", false}, {"\"ab\"", "abc", false}, {"\"abc\"", "ab", false}, {"\"\"", "", true}, {"1", "1", false}, {"x'61'", "a", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct slice rest = slice_str(names[i].text);
        struct sql_token t = sql_next(&rest);
        assert_int_equal(sql_names(&t, names[i].name), names[i].same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples), cmocka_unit_test(test_rules_are_used), cmocka_unit_test(test_lists), cmocka_unit_test(test_nul),
        cmocka_unit_test(test_large), cmocka_unit_test(test_memory), cmocka_unit_test(test_tokens), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
