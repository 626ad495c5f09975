/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines by table.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "command.h"

static const struct command_option common[] = {{'f', "file", "FILE", "a file"}};
static const struct command_option list_options[] = {{0, "stuck", NULL, "only those"},
                                                     {'n', "lines", "COUNT", "so many"}};
static const struct command commands[] = {
    {.name = "up", .operands = "", .doc = "start"},
    {.name = "saga list",
     .operands = "[NAME...]",
     .operand_max = 3,
     .doc = "list",
     .options = list_options,
     .option_count = 2},
    {.name = "restart", .operands = "NAME", .operand_min = 1, .operand_max = 1, .doc = "again"},
    {.name = "secret", .operands = "", .doc = "internal", .hidden = true},
};
static const struct command_table table = {
    .program = "tool", .doc = "does", .commands = commands, .count = 4, .common = common, .common_count = 1};

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct command_call call;
static struct ficus_error error;

static enum ficus_err parse(const char *const *words)
{
    error = (struct ficus_error){0};
    return command_parse(&table, words, &call, &error);
}

/* Options come in all four spellings, before and after operands; the last value counts; what follows "--" is an
 * operand. */
static void test_options(void **state)
{
    assert_int_equal(
        parse(WORDS("saga", "list", "-n", "3", "a", "--file=x", "-n5", "--file", "y", "--stuck", "--", "-b")),
        FICUS_ERR_OK);
    assert_string_equal(call.command->name, "saga list");
    assert_string_equal(command_value(&call, "lines", ""), "5");
    assert_string_equal(command_value(&call, "file", ""), "y");
    assert_true(command_has(&call, "stuck"));
    assert_int_equal(call.operand_count, 2);
    assert_string_equal(call.operands[1], "-b");
    const char *values[4];
    assert_int_equal(command_values(&call, "file", values, 4), 2);
    assert_string_equal(values[0], "x");
    assert_string_equal(command_value(&call, "none", "fallback"), "fallback");
}

/* What is wrong is refused in words that help: the nearest name, the members of a group, the usage. */
static void test_errors(void **state)
{
    static const struct {
        const char *words[5];
        const char *text;
    } cases[] = {
        {{NULL}, "missing"},
        {{"restrat", "x"}, "did you mean \"restart\"?"},
        {{"saga"}, "\"saga\" is no command; there are: saga list"},
        {{"saga", "lsit"}, "saga list"},
        {{"up", "--fiel", "x"}, "did you mean --file?"},
        {{"up", "-x"}, "is no option"},
        {{"up", "extra"}, "one word too many; usage: tool up"},
        {{"up", "--file"}, "needs a value"},
        {{"saga", "list", "--stuck=yes"}, "takes no value"},
        {{"restart"}, "usage: tool restart NAME"},
        {{"secrte"}, "is no command"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(parse(cases[i].words), FICUS_ERR_INVALID);
        if (strstr(error.text, cases[i].text) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", error.text, cases[i].text);
    }
    assert_null(strstr(error.text, "secret")); /* hidden commands are not suggested */
}

/* Help is asked for even when operands are missing; help and manual name every command but the hidden ones, and every
 * option. */
static void test_help(void **state)
{
    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(parse(WORDS("restart", "--help")), FICUS_ERR_OK);
    assert_true(call.help_wanted);
    command_help(&table, &commands[1], &out);
    assert_non_null(strstr(buf_str(&out), "--stuck"));
    assert_non_null(strstr(buf_str(&out), "-f, --file FILE"));
    buf_clear(&out);
    command_help(&table, NULL, &out);
    assert_non_null(strstr(buf_str(&out), "saga list"));
    assert_null(strstr(buf_str(&out), "secret"));
    buf_clear(&out);
    assert_true(command_help_group(&table, "saga", &out));
    assert_non_null(strstr(buf_str(&out), "tool saga list [NAME...] [OPTIONS]"));
    assert_null(strstr(buf_str(&out), "restart"));
    assert_false(command_help_group(&table, "sag", &out));
    assert_false(command_help_group(&table, "up", &out));
    buf_clear(&out);
    command_manual(&table, "1", &out);
    assert_non_null(strstr(buf_str(&out), ".TH TOOL 1"));
    assert_non_null(strstr(buf_str(&out), "\\-\\-lines"));
    assert_null(strstr(buf_str(&out), "secret"));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_options), cmocka_unit_test(test_errors),
                                       cmocka_unit_test(test_help)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
