/* SPDX-License-Identifier: Apache-2.0
 *
 * The enumeration of kills: every write of every file that each instance writes, both sides, none twice, none left out when there are
 * more than before; and what nobody died at is no pass.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mem.h"
#include "saga_matrix.h"

enum { WRITES_MAX = 8 };

static struct arena a;
static struct matrix m;

static int setup(void **state)
{
    (void)state;
    arena_init(&a, 4 << 20);
    matrix_init(&m, &a);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&a);
    return 0;
}

/* What a system would do: its files, and how often each is written by an instance now. */
struct system {
    const char *process, *file;
    uint32_t writes;
    bool sometimes; /* only in the first run */
};

static void whole_run(const struct system *s, size_t count, bool first)
{
    for (size_t i = 0; i < count; i++)
        if (s[i].writes > 0 && (first || !s[i].sometimes))
            assert_true(matrix_seen(&m, s[i].process, s[i].file, s[i].writes));
}

static void plain_runs(const struct system *s, size_t count)
{
    for (int i = 0; i < MATRIX_PLAIN_RUNS; i++) {
        whole_run(s, count, i == 0);
        matrix_plain_end(&m);
    }
}

static const struct system *aimed(const struct system *s, size_t count, const struct matrix_aim *aim)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(s[i].process, aim->process) == 0 && strcmp(s[i].file, aim->file) == 0)
            return &s[i];
    fail_msg("%s:%s is aimed at, and there is no such file", aim->process, aim->file);
    return NULL;
}

/* One run with a kill: it dies when there are so many writes. The cell, NULL: none. */
static const struct matrix_cell *kill_run(const struct system *s, size_t count, const char *process, bool *ret_more, const char *text)
{
    struct matrix_aim aim;
    const struct matrix_cell *cell = NULL;
    *ret_more = matrix_next(&m, process, &aim);
    if (!*ret_more)
        return NULL;
    bool died = aim.number <= aimed(s, count, &aim)->writes;
    if (!died)
        whole_run(s, count, false);
    assert_true(matrix_result(&m, died, text, &cell));
    assert_true(cell != NULL || !died);
    return cell;
}

/* All of them, in order, and then the end. */
static void test_every(void **state)
{
    static const struct system s[] = {
        {"hub", "hub-log.db-wal", 3, false}, {"hub", "hub-sagas.db-wal", 5, false}, {"orders", "orders.db", 1, true},
        {"orders", "orders.db-wal", 2, false}};
    bool seen[ARRAY_COUNT(s)][WRITES_MAX + 1][2] = {{{false}}};
    bool more = true;
    (void)state;
    plain_runs(s, ARRAY_COUNT(s));
    assert_true(matrix_is_aimed(&m, "orders", "orders.db-wal"));
    assert_false(matrix_is_aimed(&m, "orders", "orders.db")); /* a checkpoint: not in each run */
    while (more) {
        const struct matrix_cell *c = kill_run(s, ARRAY_COUNT(s), NULL, &more, NULL);
        if (c == NULL)
            continue;
        size_t i = (size_t)(aimed(s, ARRAY_COUNT(s), &c->aim) - s);
        assert_false(seen[i][c->aim.number][c->aim.side]);
        seen[i][c->aim.number][c->aim.side] = true;
        assert_int_equal(c->verdict, MATRIX_OK);
    }
    for (size_t i = 0; i < ARRAY_COUNT(s); i++)
        for (uint32_t n = 1; n <= WRITES_MAX; n++)
            for (int side = 0; side < 2; side++)
                assert_int_equal(seen[i][n][side], n <= s[i].writes && !s[i].sometimes);
    assert_int_equal(m.cell_count, 2 * (3 + 5 + 2));
    assert_int_equal(m.bad_count, 0);
}

/* Only one process, only one kill. */
static void test_some(void **state)
{
    static const struct system s[] = {{"hub", "a", 3, false}, {"orders", "a", 2, false}};
    bool more = true;
    (void)state;
    plain_runs(s, 2);
    while (more)
        (void)kill_run(s, 2, "orders", &more, NULL);
    assert_int_equal(m.cell_count, 4);
    matrix_init(&m, &a);
    plain_runs(s, 2);
    assert_false(matrix_only(&m, &(struct matrix_aim){"orders", "b", 1, CRASH_BEFORE}));
    assert_true(matrix_only(&m, &(struct matrix_aim){"hub", "a", 2, CRASH_AFTER}));
    const struct matrix_cell *c = kill_run(s, 2, NULL, &more, "wrong");
    assert_non_null(c);
    assert_string_equal(matrix_aim_text(&a, &c->aim), "hub:a:2:after");
    assert_int_equal(c->verdict, MATRIX_FAILED);
    assert_null(kill_run(s, 2, NULL, &more, NULL));
    assert_false(more);
}

/* One that is asked for alone and does not come is no pass either, whatever its number. */
static void test_only_none(void **state)
{
    static const struct system s[] = {{"hub", "a", 3, false}};
    bool more = true;
    const struct matrix_cell *last = NULL;
    (void)state;
    plain_runs(s, 1);
    assert_true(matrix_only(&m, &(struct matrix_aim){"hub", "a", 9, CRASH_BEFORE}));
    while (more) {
        const struct matrix_cell *c = kill_run(s, 1, NULL, &more, NULL);
        last = c == NULL ? last : c;
    }
    assert_non_null(last);
    assert_int_equal(last->verdict, MATRIX_NOBODY_DIED);
    assert_int_equal(m.bad_count, 1);
}

/* More writes than in the runs before: the enumeration goes on to the last. */
static void test_grows(void **state)
{
    struct system s[] = {{"hub", "a", 2, false}};
    bool more = true;
    (void)state;
    plain_runs(s, 1);
    s[0].writes = 4;
    while (more)
        (void)kill_run(s, 1, NULL, &more, NULL);
    assert_int_equal(m.cell_count, 8);
    assert_int_equal(m.bad_count, 0);
}

/* Fewer than before: those that did not come, asked several times, are said not to be of each instance. */
static void test_shrinks(void **state)
{
    struct system s[] = {{"hub", "a", 3, false}};
    bool more = true;
    size_t runs = 0;
    (void)state;
    plain_runs(s, 1);
    s[0].writes = 2;
    for (; more; runs++)
        (void)kill_run(s, 1, NULL, &more, NULL);
    assert_int_equal(m.cell_count, 6);
    assert_int_equal(m.bad_count, 0);
    assert_int_equal(m.not_met_count, 2); /* the third, before and after */
    for (const struct matrix_cell *c = m.cells; c != NULL; c = c->next)
        assert_int_equal(c->verdict, c->aim.number == 3 ? MATRIX_NOT_MET : MATRIX_OK);
    assert_int_equal(runs, 4 + 2 * MATRIX_TRIES_MAX + 1 + 1);
}

/* The write comes and nobody dies: then the test itself does not work, and says so. A file that was through and is written more
 * often later is taken up again. */
static void test_goes_back(void **state)
{
    struct system s[] = {{"hub", "a", 2, false}, {"hub", "b", 1, false}};
    bool more = true;
    (void)state;
    plain_runs(s, 2);
    for (int i = 0; more; i++) {
        s[0].writes = i > 6 ? 3 : 2; /* 5 runs, and it is through; two more for the other */
        (void)kill_run(s, 2, NULL, &more, NULL);
    }
    assert_int_equal(m.bad_count, 0);
    assert_string_equal(matrix_aim_text(&a, &m.last_cell->aim), "hub:a:3:after");
    assert_int_equal(m.cell_count, 8);
}

/* The table and the JSON say what failed; a cell that turns out to be wrong later counts as well. */
static void test_report(void **state)
{
    static const struct system s[] = {{"hub", "a", 2, false}};
    struct buf out;
    struct json_writer w;
    struct json *root = NULL;
    bool more = true;
    (void)state;
    plain_runs(s, 1);
    for (int i = 0; more; i++)
        (void)kill_run(s, 1, NULL, &more, i == 2 ? "two payments" : NULL);
    assert_int_equal(m.bad_count, 1);
    assert_true(matrix_spoil(&m, m.cells->next, "a notification came twice"));
    assert_int_equal(m.bad_count, 2);
    buf_init(&out, 1 << 16);
    matrix_print(&m, &out);
    assert_non_null(strstr(buf_str(&out), "FAILED 2"));
    assert_non_null(strstr(buf_str(&out), "FAILED 1"));
    buf_clear(&out);
    json_write_init(&w, &out);
    json_write_object(&w);
    matrix_write(&m, &w);
    json_write_end(&w);
    assert_int_equal(json_parse(&a, buf_slice(&out), NULL, &root, NULL), FICUS_ERR_OK);
    assert_int_equal(json_get(root, "cells")->count, 4);
    const struct json *cell = json_at(json_get(root, "cells"), 1);
    assert_true(slice_eq_str(json_string_or(json_get(cell, "verdict"), SLICE_NONE), "failed"));
    assert_true(slice_eq_str(json_string_or(json_get(cell, "text"), SLICE_NONE), "a notification came twice"));
    buf_done(&out);
}

/* What is printed is taken, and nothing else. */
static void test_aims(void **state)
{
    static const char *const wrong[] = {"", "orders", "orders:a:1", "orders:a:0:before", "orders:a:x:before", "orders:a:1:between",
                                        ":a:1:after", "orders::1:after", "orders:a:1:after:", "orders:a:-1:after", "a:b:99999999999:after"};
    struct matrix_aim aim;
    struct ficus_error error = {0};
    (void)state;
    assert_int_equal(matrix_aim_parse(&a, "orders:orders.db-wal:3:before", &aim, &error), FICUS_ERR_OK);
    assert_string_equal(matrix_aim_text(&a, &aim), "orders:orders.db-wal:3:before");
    assert_int_equal(matrix_aim_parse(&a, "hub:name of hub.db:12:after", &aim, &error), FICUS_ERR_OK);
    assert_string_equal(aim.file, "name of hub.db");
    assert_int_equal(aim.side, CRASH_AFTER);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        assert_int_equal(matrix_aim_parse(&a, wrong[i], &aim, &error), FICUS_ERR_INVALID);
        assert_non_null(strstr(error.text, "expected PROCESS:FILE:NUMBER:before"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every, setup, teardown),   cmocka_unit_test_setup_teardown(test_some, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_none, setup, teardown), cmocka_unit_test_setup_teardown(test_grows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shrinks, setup, teardown), cmocka_unit_test_setup_teardown(test_goes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_report, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aims, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
