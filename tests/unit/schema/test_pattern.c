/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions: what matches, what is refused by name, and that nothing is slow.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "jpattern.h"
#include "mem.h"

#include <string.h>

static enum ficus_err matches(const char *pattern, const char *text, bool *ret_matches, struct ficus_error *error)
{
    struct arena a;
    struct jpattern *p = NULL;
    uint64_t budget = 100000000;
    arena_init(&a, 4 << 20);
    enum ficus_err err = jpattern_compile(&a, slice_str(pattern), &p, error);
    if (err == FICUS_ERR_OK) {
        *ret_matches = jpattern_matches(p, slice_str(text), &budget);
        assert_true(budget > 0);
    }
    arena_done(&a);
    return err;
}

static void test_matching(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *yes, *no;
    } cases[] = {
        {"a", "bab", "b"}, {"^a", "ab", "ba"}, {"a$", "ba", "ab"}, {"^$", "", "x"}, {"^a|b$", "ax", "xa"}, {"", "x", NULL},
        {"^(a|bc)*$", "abcbca", "abcb"}, {"^a{2}$", "aa", "aaa"}, {"^a{2,}$", "aaa", "a"}, {"^a{1,3}$", "aaa", "aaaa"}, {"^a{0}b$", "b", "ab"},
        {"^(?:ab)+?c$", "ababc", "abac"}, {"^a?$", "", "aa"}, {"^[a-c_]+$", "ab_c", "abd"}, {"^[^a-c]+$", "xyz", "xaz"}, {"^[]$", NULL, "x"},
        {"^[^]$", "\n", ""}, {"^\\d+$", "0123", "a"}, {"^\\D$", "a", "1"}, {"^\\w$", "_", "\u00e4"}, {"^\\W$", "\u00e4", "a"}, {"^\\s$", "\u00a0", "x"},
        {"^[\\s\\d]+$", " 1", "a"}, {"^[\\D]$", "a", "1"}, {"^.$", "\U0001F600", "\n"}, {"^..$", "\u00e4\u00f6", "\u00e4"}, {"^\\x41\\u0042\\u{43}$", "ABC", "ab"},
        {"^\\ud83d\\ude00$", "\U0001F600", "x"}, {"^\\\\\\.\\-?$", NULL, NULL}, {"^[\\-a]$", "-", "b"}, {"^[a-]$", "-", "b"}, {"^[.]$", ".", "a"},
        {"^(a*)*$", "aaa", "b"}, {"(^a|b)c", "xbc", "xac"}, {"^($|a)", "", "b"}, {"^[\U0001F600-\U0001F610]$", "\U0001F605", "a"},
        {"^(a|b|c|d)$", "d", "e"}, {"^((a|b)(c|d)){2}$", "acbd", "ac"}, {"\\^\\$", "^$", "a"}, {"\\t\\n\\0", NULL, "x"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct ficus_error error = {0};
        bool found = false;
        enum ficus_err err = matches(cases[i].pattern, "", &found, &error);
        if (cases[i].yes == NULL && cases[i].no == NULL) {
            assert_int_equal(err, FICUS_ERR_INVALID);
            continue;
        }
        if (err != FICUS_ERR_OK)
            fail_msg("%s: %s", cases[i].pattern, error.text);
        if (cases[i].yes != NULL && (matches(cases[i].pattern, cases[i].yes, &found, &error) != FICUS_ERR_OK || !found))
            fail_msg("%s does not match \"%s\"", cases[i].pattern, cases[i].yes);
        if (cases[i].no != NULL && (matches(cases[i].pattern, cases[i].no, &found, &error) != FICUS_ERR_OK || found))
            fail_msg("%s matches \"%s\"", cases[i].pattern, cases[i].no);
    }
}

/* What is not known is refused, and the reason names it. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *reason;
    } cases[] = {
        {"(?=a)", "look-around"}, {"(?<n>a)", "named groups"}, {"(a)\\1", "references back"}, {"\\bx", "\\b is not"}, {"\\p{L}", "\\p is not"}, {"(a", "lacks a )"},
        {"a)", "without a ("}, {"[a", "lacks a ]"}, {"*a", "nothing to repeat"}, {"a**", "nothing to repeat"}, {"a{2,1}", "backwards"}, {"a{2", "lacks its }"},
        {"a{x}", "whole numbers"}, {"a}", "need a backslash"}, {"[b-a]", "backwards"}, {"[\\d-z]", "both ends"}, {"\\", "backslash"}, {"\\ud800", "unknown escape"},
        {"\\u{110000}", "unknown escape"}, {"\\e", "unknown escape"}, {"^*", "cannot be repeated"}, {"(((a{9}){9}){9}){9}", "too large"}, {"a{1001}", "up to 1000"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct ficus_error error = {0};
        bool found;
        if (matches(cases[i].pattern, "", &found, &error) == FICUS_ERR_OK)
            fail_msg("%s is taken", cases[i].pattern);
        if (strstr(error.text, cases[i].reason) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].pattern, error.text, cases[i].reason);
    }
    struct ficus_error error = {0};
    bool found;
    char nested[80] = "";
    memset(nested, '(', 40);
    assert_int_equal(matches(nested, "", &found, &error), FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "too deeply"));
}

/* An empty group gives nothing to write out, so no bound on what is written ends its repetitions: 10^24 of them are none. */
static void test_nothing_repeated(void **state)
{
    (void)state;
    struct ficus_error error = {0};
    bool found = false;
    assert_int_equal(matches("^((((((((){1000}){1000}){1000}){1000}){1000}){1000}){1000}){1000}a$", "a", &found, &error), FICUS_ERR_OK);
    assert_true(found);
    assert_int_equal(matches("^(((((a{0}){1000}){1000}){1000}){1000}){1000}b$", "b", &found, &error), FICUS_ERR_OK);
    assert_true(found);
}

/* The expressions that take others for ever cost at most states times characters; and a budget ends even that. */
static void test_no_bombs(void **state)
{
    (void)state;
    static const char *const bombs[] = {"^(a+)+$", "^(a|a)*$", "^(a*)*b$", "^(a|aa)+$", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"};
    static char text[20001];
    memset(text, 'a', sizeof text - 2);
    text[sizeof text - 2] = '!';
    for (size_t i = 0; i < ARRAY_COUNT(bombs); i++) {
        struct arena a;
        struct jpattern *p = NULL;
        uint64_t budget = 60 * sizeof text, before = budget;
        arena_init(&a, 4 << 20);
        assert_int_equal(jpattern_compile(&a, slice_str(bombs[i]), &p, NULL), FICUS_ERR_OK);
        assert_false(jpattern_matches(p, slice_str(text), &budget));
        assert_true(budget > 0 && before - budget < 60 * sizeof text);
        budget = 100;
        assert_false(jpattern_matches(p, slice_str(text), &budget));
        assert_int_equal(budget, 0);
        arena_done(&a);
    }
}

/* Each look at a part is paid for, also at those that only lead to others, and at the ranges in brackets. */
static void test_all_is_paid(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        uint64_t least; /* a character */
    } cases[] = {
        {"(a?){300}b$", 1200}, {"(|||||||||||||||||||)b", 50},
        {"[\\u0100\\u0102\\u0104\\u0106\\u0108\\u010a\\u010c\\u010e\\u0110\\u0112\\u0114\\u0116\\u0118\\u011a\\u011c\\u011e]", 4},
    };
    static char text[1001];
    memset(text, 'a', sizeof text - 1);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct arena a;
        struct jpattern *p = NULL;
        uint64_t budget = UINT64_MAX;
        arena_init(&a, 4 << 20);
        assert_int_equal(jpattern_compile(&a, slice_str(cases[i].pattern), &p, NULL), FICUS_ERR_OK);
        assert_false(jpattern_matches(p, slice_str(text), &budget));
        assert_true((UINT64_MAX - budget) / (sizeof text - 1) >= cases[i].least - 5 * (cases[i].least > 100));
        arena_done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matching), cmocka_unit_test(test_refused), cmocka_unit_test(test_nothing_repeated),
                                       cmocka_unit_test(test_no_bombs), cmocka_unit_test(test_all_is_paid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
