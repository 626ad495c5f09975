/* SPDX-License-Identifier: Apache-2.0
 *
 * Projections: names in braces, which step comes next, versions that come and go, and what becomes of an event or of
 * tables that cannot be. (Crashes: tests/component/durability.)
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../../component/durability/projection_world.h"
#include "crash_env.h"
#include "mem.h"

#include <stdio.h>

static struct sim_disk *disk;
static struct crash_env *ce;
static struct db *db;
static struct ficus_error error;

static int setup(void **state)
{
    disk = sim_disk_new();
    ce = crash_env_new(disk, 47);
    if (db_open(crash_env(ce), &(struct db_options){.path = "p.db"}, &db, &error) != FICUS_ERR_OK || sums_migrate(db, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    return 0;
}

static int teardown(void **state)
{
    db_close(db);
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

static int64_t ask(const char *sql)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    if (db_query(c, &s, &error, sql, "") != FICUS_ERR_OK || db_step(s, &error) != 1)
        fail_msg("%s: %s", sql, error.text);
    int64_t n = db_i64(s, 0);
    db_finish(s);
    db_reader_give(db, c);
    return n;
}

static void script(const char *sql)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    if (db_script(db_tx_conn(&tx), slice_str(sql), &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
}

static void append(const struct projection_set *set, int count)
{
    static int n;
    char stream[16];
    for (int i = 0; i < count; i++) {
        (void)snprintf(stream, sizeof stream, "s-%d", n++ % 5);
        if (sums_append(db, set, stream, &error) != FICUS_ERR_OK)
            fail_msg("%s", error.text);
    }
}

/* The letters of the steps until there is nothing to do, or it fails (!). */
static const char *steps(const struct projection_set *set, int64_t count_max)
{
    static const char letters[] = "-cbfCLD";
    static char text[100];
    struct projection_step step = {.work = PROJECTION_BEGUN};
    size_t n = 0;
    while (step.work != PROJECTION_NOTHING) {
        bool failed = sums_step(db, crash_env(ce), set, count_max, &step, &error) != FICUS_ERR_OK;
        assert_true(n < sizeof text - 2);
        text[n++] = failed ? '!' : letters[step.work];
        if (failed)
            break;
        if (step.work == PROJECTION_BEGUN)
            set->names[0].is_asked = false;
    }
    text[n] = '\0';
    return text;
}

static void expect_sums(int64_t version)
{
    assert_int_equal(ask("SELECT " SUMS_WRONG), 0);
    if (version == 2)
        assert_int_equal(ask("SELECT " SUMS_TOTAL_WRONG), 0);
    assert_int_equal(ask("SELECT version FROM ficus_projection WHERE state = 'serving'"), version);
    assert_int_equal(ask("SELECT count(*) FROM ficus_projection"), 1);
    assert_int_equal(ask("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%.%'"), version);
    assert_int_equal(ask("SELECT count(*) FROM sqlite_schema WHERE type = 'view'"), version);
}

/* ---- names ---- */

static void expect_sql(const char *sql, const char *wanted)
{
    struct buf text;
    buf_init(&text, 4096);
    enum ficus_err err = projection_expand(slice_str(sql), 7, &text, &error);
    if (wanted == NULL)
        assert_int_equal(err, FICUS_ERR_INVALID);
    else if (err != FICUS_ERR_OK || strcmp(buf_str(&text), wanted) != 0)
        fail_msg("%s: %s, not %s", sql, err == FICUS_ERR_OK ? buf_str(&text) : error.text, wanted);
    buf_done(&text);
}

/* A name in braces is the generation's table; what is quoted or commented is left as it is. */
static void test_expand(void **state)
{
    expect_sql("SELECT * FROM {a}", "SELECT * FROM \"a.7\"");
    expect_sql("{a}{b_1}{C}", "\"a.7\"\"b_1.7\"\"C.7\"");
    expect_sql("INSERT INTO {a} VALUES('{b}', \"{c}\", [{d}], `{e}`, '''{f}') -- {g}\n/* {h} */",
               "INSERT INTO \"a.7\" VALUES('{b}', \"{c}\", [{d}], `{e}`, '''{f}') -- {g}\n/* {h} */");
    expect_sql("{a} -- {b", "\"a.7\" -- {b");
    static const char *const bad[] = {"", "SELECT 1", "SELECT '{a}'", "{}", "{a", "{a b}", "{1}", "{_a}", "{a.b}", "{\"a\"}", "{a} {", "SELECT * FROM orders"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_sql(bad[i], NULL);
    char longest[PROJECTION_NAME_SIZE_MAX + 4] = "{";
    memset(longest + 1, 'a', PROJECTION_NAME_SIZE_MAX + 1);
    longest[PROJECTION_NAME_SIZE_MAX + 2] = '}';
    expect_sql(longest, NULL);
}

/* What a program may not say of its projections is named. */
static void test_check(void **state)
{
    struct projection_def many[PROJECTION_COUNT_MAX + 1];
    static const struct {
        struct projection_def def;
        const char *text;
    } bad[] = {
        {{"", 1, sums_1, sums_1}, "named by"},        {{"1a", 1, sums_1, sums_1}, "1a"},        {{"a b", 1, sums_1, sums_1}, "a b"},
        {{"a", 0, sums_1, sums_1}, "version from 1"}, {{"a", 1, NULL, sums_1}, "tables"},       {{"a", 1, sums_1, NULL}, "handler"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(projection_check(&bad[i].def, 1, &error), FICUS_ERR_INVALID);
        assert_non_null(strstr(error.text, bad[i].text));
    }
    many[0] = many[1] = sums_defs[0];
    assert_int_equal(projection_check(many, 2, &error), FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "sums has version 1 twice"));
    for (int i = 0; i <= PROJECTION_COUNT_MAX; i++)
        many[i] = (struct projection_def){"sums", i + 1, sums_1, sums_1};
    assert_int_equal(projection_check(many, PROJECTION_COUNT_MAX, &error), FICUS_ERR_OK);
    assert_int_equal(projection_check(many, PROJECTION_COUNT_MAX + 1, &error), FICUS_ERR_INVALID);
}

/* ---- building ---- */

/* A new one is needed before anything is served; fed by appends from then on; built anew when that is asked for, while
 * what is appended meanwhile is in the old and, in the end, in the new. */
static void test_rebuild(void **state)
{
    struct projection name = {0};
    struct projection_set none = sums_set(sums_defs, 0, &name), set = sums_set(sums_defs, 1, &name);
    struct projection_step step;
    append(&none, 10);
    assert_int_equal(sums_step(db, crash_env(ce), &set, 4, &step, &error), FICUS_ERR_OK);
    assert_int_equal(step.work, PROJECTION_BEGUN);
    assert_false(step.is_servable);
    assert_string_equal(step.name, "sums");
    assert_string_equal(steps(&set, 4), "ffC-");
    expect_sums(1);
    append(&set, 7);
    expect_sums(1);
    assert_string_equal(steps(&set, 4), "-");
    name.is_asked = true;
    assert_int_equal(sums_step(db, crash_env(ce), &set, 4, &step, &error), FICUS_ERR_OK);
    name.is_asked = false;
    assert_true(step.is_servable);
    for (int i = 0; step.work != PROJECTION_CHANGED; i++) {
        assert_true(i < 20);
        append(&set, 2);
        assert_int_equal(ask("SELECT " SUMS_WRONG), 0);
        assert_int_equal(sums_step(db, crash_env(ce), &set, 4, &step, &error), FICUS_ERR_OK);
        assert_true(step.is_servable);
    }
    assert_true(step.checkpoint == step.head && step.head > 17);
    assert_int_equal(ask("SELECT " SUMS_WRONG), 0);
    assert_string_equal(steps(&set, 4), "DD-"); /* its table, it */
    expect_sums(1);
    assert_int_equal(ask("SELECT max(generation) FROM ficus_projection"), 2);
}

/* Nobody but the handler writes to the tables: by their name they are a view. */
static void test_view(void **state)
{
    struct projection name = {0};
    struct projection_set set = sums_set(sums_defs, 1, &name);
    (void)steps(&set, 100);
    append(&set, 3);
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, "DELETE FROM sums", ""), FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "cannot modify sums because it is a view"));
    db_tx_rollback(&tx);
}

/* ---- versions ---- */

/* With both versions in the program the old one serves until the new one is ready; with the new one alone nothing can. */
static void test_versions(void **state)
{
    struct projection name = {0};
    struct projection_set one = sums_set(sums_defs, 1, &name);
    (void)steps(&one, 100);
    append(&one, 10);
    struct projection_set both = sums_set(sums_defs, 2, &name);
    struct projection_step step;
    assert_int_equal(sums_step(db, crash_env(ce), &both, 4, &step, &error), FICUS_ERR_OK);
    assert_int_equal(step.work, PROJECTION_BEGUN);
    assert_true(step.is_servable);
    append(&both, 3);
    assert_int_equal(ask("SELECT " SUMS_WRONG), 0);
    /* The release after it, before it was ready: it goes on from there, and is needed now. */
    assert_int_equal(sums_step(db, crash_env(ce), &both, 4, &step, &error), FICUS_ERR_OK);
    assert_int_equal(step.checkpoint, 4);
    struct projection_set two = sums_set(sums_defs + 1, 1, &name);
    assert_int_equal(sums_step(db, crash_env(ce), &two, 4, &step, &error), FICUS_ERR_OK);
    assert_false(step.is_servable);
    assert_int_equal(step.checkpoint, 8);
    assert_string_equal(steps(&two, 4), "fCDD-");
    expect_sums(2);
    /* And back: the older program does not know it, and makes its own. */
    struct projection_set old = sums_set(sums_defs, 1, &name);
    assert_string_equal(steps(&old, 100), "bCDDD-");
    expect_sums(1);
}

/* A program that did not know the projection left it behind: it is caught up before it serves. Without its name in the
 * program it goes. */
static void test_behind(void **state)
{
    struct projection name = {0};
    struct projection_set none = sums_set(sums_defs, 0, &name), set = sums_set(sums_defs, 1, &name);
    (void)steps(&set, 100);
    append(&set, 3);
    append(&none, 5);
    struct estore_event ev = {.stream = SLICE("s"), .position = 9};
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(projection_append(&set, db_tx_conn(&tx), &ev, &error), FICUS_ERR_CONFLICT);
    assert_non_null(strstr(error.text, "projection sums is at position 3, the event store at 8"));
    db_tx_rollback(&tx);
    assert_string_equal(steps(&set, 2), "ccc-");
    expect_sums(1);
    assert_string_equal(steps(&none, 100), "LDD-");
    assert_int_equal(ask("SELECT count(*) FROM ficus_projection"), 0);
    assert_int_equal(ask("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sums%'"), 0);
}

/* Under another name, the same table: the old one goes first. */
static void test_renamed(void **state)
{
    struct projection name = {0};
    struct projection_set set = sums_set(sums_defs, 1, &name);
    (void)steps(&set, 100);
    append(&set, 3);
    static const struct projection_def other = {"totals", 1, sums_1, sums_1};
    struct projection_set renamed = sums_set(&other, 1, &name);
    assert_string_equal(steps(&renamed, 100), "LbCDD-");
    expect_sums(1);
}

/* ---- what cannot be ---- */

static void expect_bad(const struct projection_set *set, const char *wanted_steps, const char *text)
{
    assert_string_equal(steps(set, 100), wanted_steps);
    assert_int_equal(error.code, FICUS_ERR_INVALID);
    if (strstr(error.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, text);
}

/* An event that cannot be handled is named; the append fails, a build is given up, the old tables serve on. */
static void test_refused(void **state)
{
    int64_t refused = 4;
    struct projection name = {0};
    struct projection_set one = sums_set(sums_defs, 1, &name);
    (void)steps(&one, 100);
    append(&one, 3);
    one.arg = &refused;
    assert_int_equal(sums_append(db, &one, "bad", &error), FICUS_ERR_INVALID);
    assert_string_equal(error.text, "projection sums, event at position 4 (stream bad, version 1, t): it is refused");
    assert_int_equal(ask("SELECT count(*) FROM ficus_store"), 3);
    refused = 2;
    struct projection_set both = sums_set(sums_defs, 2, &name);
    both.arg = &refused;
    expect_bad(&both, "b!", "event at position 2");
    append(&both, 3);
    name.is_given_up = true;
    assert_string_equal(steps(&both, 100), "LDDD-");
    expect_sums(1);
    name.is_given_up = false; /* the next start: with a program that can */
    refused = 0;
    assert_string_equal(steps(&both, 100), "bCDD-");
    expect_sums(2);
}

/* Other tables are another version, and nothing but tables and indexes of one's own names may be made. */
static void test_tables(void **state)
{
    static const struct {
        const char *tables, *steps, *text;
    } cases[] = {
        {"CREATE TABLE {sums}(a INTEGER); CREATE TABLE other(a INTEGER)", "!", "table other is not"},
        {"CREATE TABLE {sums}(a INTEGER); CREATE VIEW {v} AS SELECT a FROM {sums}", "!", "view v.1 is not"},
        {"CREATE TABLE {sums}(a INTEGER); CREATE TRIGGER {t} AFTER INSERT ON {sums} BEGIN SELECT 1; END", "!", "trigger t.1 is not"},
        {"CREATE TABLE {sums}(a INTEGER); CREATE INDEX i ON {sums}(a)", "!", "index i is not"},
        {"CREATE INDEX {i} ON ficus_store(type)", "!", "index i.1 is not"},
        {"DELETE FROM ficus_store", "!", "in braces"},
        {"/* {a} */", "!", "in braces"},
        {"CREATE TABLE {sums}(a", "!", "projection sums, version 1: "},
        {"CREATE TABLE {ficus_store}(a INTEGER)", "b!", "there is a table ficus_store that is not its own"},
        {"CREATE TABLE {Mine}(a INTEGER)", "b!", "there is a table mine that is not its own"},
    };
    struct projection name = {0};
    script("CREATE TABLE mine(a INTEGER)");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct projection_def def = {"sums", 1, cases[i].tables, sums_1};
        struct projection_set set = sums_set(&def, 1, &name);
        expect_bad(&set, cases[i].steps, cases[i].text);
        if (cases[i].steps[0] == '!')
            assert_int_equal(ask("SELECT count(*) FROM ficus_projection"), 0);
        name.is_given_up = true;
        (void)steps(&set, 100);
        name.is_given_up = false;
        script("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'ficus_projection'");
    }
    struct projection_set set = sums_set(sums_defs, 1, &name);
    (void)steps(&set, 100);
    struct projection_def changed = {"sums", 1, sums_2, sums_1};
    struct projection_set bad = sums_set(&changed, 1, &name);
    expect_bad(&bad, "!", "its tables are not those that version 1 had; they need a new version");
}

/* An event that the store has lost is not passed over. */
static void test_damaged(void **state)
{
    struct projection name = {0};
    struct projection_set none = sums_set(sums_defs, 0, &name), set = sums_set(sums_defs, 1, &name);
    append(&none, 5);
    script("DELETE FROM ficus_store WHERE position = 3");
    assert_string_equal(steps(&set, 100), "b!");
    assert_int_equal(error.code, FICUS_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "no event at position 3; see ficus events verify"));
    script("DELETE FROM ficus_store WHERE position > 3");
    assert_string_equal(steps(&set, 2), "f!");
    assert_int_equal(error.code, FICUS_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "ends before its head"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expand), cmocka_unit_test(test_check), T(test_rebuild), T(test_view), T(test_versions), T(test_behind), T(test_renamed),
        T(test_refused), T(test_tables), T(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
