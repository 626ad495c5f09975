/* SPDX-License-Identifier: Apache-2.0
 *
 * Decimals: equal numbers are equal however they are written, order and multiples are exact.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "jdecimal.h"
#include "mem.h"

#include <stdio.h>

static int cmp(const char *a, const char *b)
{
    struct jdecimal x = jdecimal_of(slice_str(a)), y = jdecimal_of(slice_str(b));
    int result = jdecimal_cmp(&x, &y);
    assert_int_equal(jdecimal_cmp(&y, &x), -result);
    if (result == 0)
        assert_true(jdecimal_hash(&x) == jdecimal_hash(&y));
    return result;
}

static void test_order(void **state)
{
    (void)state;
    static const char *const same[][2] = {{"1", "1.0"}, {"1", "10e-1"}, {"1", "0.1E1"}, {"0", "-0"}, {"0.0e5", "0"}, {"1200", "1.2e3"}, {"-1.50", "-15e-1"}, {"1e2", "100"}};
    for (size_t i = 0; i < ARRAY_COUNT(same); i++)
        assert_int_equal(cmp(same[i][0], same[i][1]), 0);
    static const char *const rising[] = {"-1e300", "-12", "-1.5", "-1.4999", "-1e-300", "0", "1e-300", "0.1", "0.10000000000000000000001", "0.2", "1", "9", "10", "10.5",
                                         "9007199254740992", "9007199254740993", "1e300"};
    for (size_t i = 0; i < ARRAY_COUNT(rising); i++)
        for (size_t k = i + 1; k < ARRAY_COUNT(rising); k++)
            assert_int_equal(cmp(rising[i], rising[k]), -1);
}

static bool multiple(const char *a, const char *b)
{
    struct jdecimal x = jdecimal_of(slice_str(a)), y = jdecimal_of(slice_str(b));
    return jdecimal_is_multiple(&x, &y);
}

static void test_multiples(void **state)
{
    (void)state;
    assert_true(multiple("0.3", "0.1") && multiple("4.35", "0.01") && multiple("0", "7") && multiple("-6", "3") && multiple("1e300", "2") && multiple("19.99", "0.01"));
    assert_true(multiple("123456789012345678901234567890", "10") && multiple("1.5e2", "50") && multiple("0.0075", "0.0001"));
    assert_false(multiple("0.35", "0.1") || multiple("1", "3") || multiple("1e300", "3") || multiple("0.001", "0.01") || multiple("9007199254740993", "2"));
    for (int a = -60; a <= 60; a++)
        for (int b = 1; b <= 30; b++) {
            char x[16], y[16];
            (void)snprintf(x, sizeof x, "%d", a);
            (void)snprintf(y, sizeof y, "%d", b);
            assert_int_equal(multiple(x, y), a % b == 0);
        }
}

static void test_whole(void **state)
{
    (void)state;
    struct jdecimal d;
    uint32_t value = 0;
    static const char *const whole[] = {"0", "1.0", "1e3", "-5", "1.20e1"}, *const broken[] = {"0.5", "1e-1", "1.25e1"};
    for (size_t i = 0; i < ARRAY_COUNT(whole); i++) {
        d = jdecimal_of(slice_str(whole[i]));
        assert_true(jdecimal_is_whole(&d));
    }
    for (size_t i = 0; i < ARRAY_COUNT(broken); i++) {
        d = jdecimal_of(slice_str(broken[i]));
        assert_false(jdecimal_is_whole(&d));
    }
    d = jdecimal_of(SLICE("1.2e2"));
    assert_true(jdecimal_to_u32(&d, 120, &value) && value == 120);
    assert_false(jdecimal_to_u32(&d, 119, &value));
    d = jdecimal_of(SLICE("-1"));
    assert_false(jdecimal_to_u32(&d, 100, &value));
    d = jdecimal_of(SLICE("1e18"));
    assert_false(jdecimal_to_u32(&d, INT32_MAX, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_multiples), cmocka_unit_test(test_whole)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
