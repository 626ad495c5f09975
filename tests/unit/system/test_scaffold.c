/* SPDX-License-Identifier: Apache-2.0
 *
 * Words, names and folders of new services.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "scaffold.h"

static struct arena a;

static int setup(void **state)
{
    arena_init(&a, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    arena_done(&a);
    return 0;
}

/* Every occurrence is replaced, by the first word that fits; what was put in is not looked at again. */
static void test_expand(void **state)
{
    static const struct scaffold_word words[] = {{"sample_", "a_b_"}, {"sample", "a-sample"}, {"SYSTEM", "s"}};
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"", ""},
        {"nothing", "nothing"},
        {"sample", "a-sample"},
        {"samplesample_service", "a-samplea_b_service"},
        {"test_sample.c: \"sample\" sampl SYSTEM", "test_a-sample.c: \"a-sample\" sampl s"},
    };
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buf_clear(&out);
        assert_true(scaffold_expand(slice_str(cases[i].text), words, 3, &out));
        assert_string_equal(buf_str(&out), cases[i].wanted);
    }
    buf_done(&out);
    buf_init(&out, 8);
    assert_false(scaffold_expand(SLICE("more than eight bytes"), words, 3, &out));
    buf_done(&out);
}

/* The identifier differs from the name in its dashes alone. */
static void test_identifier(void **state)
{
    assert_string_equal(scaffold_identifier(&a, "orders"), "orders");
    assert_string_equal(scaffold_identifier(&a, "price-list-2"), "price_list_2");
}

/* Only a pattern that says plainly where services lie gives a folder. */
static void test_folder(void **state)
{
    assert_string_equal(scaffold_folder(&a, "services/*/service.yaml", "x"), "services/x");
    assert_string_equal(scaffold_folder(&a, "*/service.yaml", "x"), "x");
    assert_string_equal(scaffold_folder(&a, "teams/a/*/service.yaml", "x"), "teams/a/x");
    static const char *const others[] = {"services/orders/service.yaml",
                                         "service.yaml",
                                         "*/*/service.yaml",
                                         "services/*/other.yaml",
                                         "services/a*/service.yaml",
                                         "t?/*/service.yaml",
                                         "[ab]/*/service.yaml",
                                         "*service.yaml",
                                         ""};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_null(scaffold_folder(&a, others[i], "x"));
}

/* Whatever a folder is called, the system's name has small letters, digits and single dashes, a letter first. */
static void test_system(void **state)
{
    assert_string_equal(scaffold_system(&a, "shop"), "shop");
    assert_string_equal(scaffold_system(&a, "My Shop_2!"), "my-shop-2");
    assert_string_equal(scaffold_system(&a, "2024 report"), "report");
    assert_string_equal(scaffold_system(&a, "\xc3\xa4pfel"), "pfel");
    assert_string_equal(scaffold_system(&a, "..."), "system");
    assert_string_equal(scaffold_system(&a, ""), "system");
    assert_string_equal(scaffold_system(&a, "an-exceedingly-long-name-of-a-fo der"),
                        "an-exceedingly-long-name-of-a-fo");
    assert_string_equal(scaffold_system(&a, "an-exceedingly-long-name-of-a-f older"),
                        "an-exceedingly-long-name-of-a-f");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {T(test_expand), T(test_identifier), T(test_folder), T(test_system)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
