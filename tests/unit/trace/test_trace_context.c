/* SPDX-License-Identifier: Apache-2.0
 *
 * traceparent and tracestate as W3C Trace Context level 1 has them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "trace_context.h"

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"
#define EXAMPLE "00-" ID "-" SPAN "-01"

/* Each row of the specification's grammar and of its rule for higher versions is taken or refused as it says. */
static void accepted_and_refused(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {EXAMPLE, true},
        {"00-" ID "-" SPAN "-00", true},
        {"00-" ID "-" SPAN "-ff", true},
        {"01-" ID "-" SPAN "-01", true},
        {"cc-" ID "-" SPAN "-01-what-the-future-brings", true},
        {"cc-" ID "-" SPAN "-01-", true},
        {"cc-" ID "-" SPAN "-01.what", false},
        {"cc-" ID "-" SPAN "-010", false},
        {"ff-" ID "-" SPAN "-01", false},
        {"00-" ID "-" SPAN "-01-", false},
        {"00-" ID "-" SPAN "-01-extra", false},
        {"00-" ID "-" SPAN "-0", false},
        {"00-" ID "-" SPAN "-", false},
        {"00-" ID "-" SPAN, false},
        {"0-" ID "-" SPAN "-01", false},
        {"00-" ID "-" SPAN "-0g", false},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", false},
        {"00-" ID "-00F067AA0BA902B7-01", false},
        {"0A-" ID "-" SPAN "-01", false},
        {"00-" ID "-" SPAN "-0A", false},
        {"00-00000000000000000000000000000000-" SPAN "-01", false},
        {"00-" ID "-0000000000000000-01", false},
        {"00_" ID "-" SPAN "-01", false},
        {"00-" ID "_" SPAN "-01", false},
        {"00-" ID "-" SPAN "_01", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e473.-" SPAN "-01", false},
        {" " EXAMPLE, false},
        {EXAMPLE " ", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct trace_context t;
        if (trace_parse(slice_str(rows[i].text), &t) != rows[i].good)
            fail_msg("%s", rows[i].text);
    }
    struct trace_context t;
    assert_false(trace_parse(SLICE_NONE, &t));
}

/* What is read is written again, with version 00 and only the flag that is known. */
static void reads_and_writes(void **state)
{
    struct trace_context t;
    char text[TRACE_PARENT_TEXT_SIZE], id[TRACE_ID_TEXT_SIZE], span[TRACE_SPAN_TEXT_SIZE];
    assert_true(trace_parse(SLICE(EXAMPLE), &t));
    trace_format(&t, text);
    assert_string_equal(text, EXAMPLE);
    trace_id_text(&t, id);
    trace_span_text(&t, span);
    assert_string_equal(id, ID);
    assert_string_equal(span, SPAN);
    assert_true(trace_parse(SLICE("07-" ID "-" SPAN "-ff-x"), &t));
    trace_format(&t, text);
    assert_string_equal(text, EXAMPLE);
}

/* A child stays in its parent's trace with its flags and gets a span of its own, in place too; ids are never all
 * zero. */
static void roots_and_children(void **state)
{
    uint8_t random[24];
    static const uint8_t zeros[24];
    struct trace_context root, child;
    char text[TRACE_PARENT_TEXT_SIZE];
    for (size_t i = 0; i < sizeof random; i++)
        random[i] = (uint8_t)(i + 1);
    trace_root(random, true, &root);
    trace_format(&root, text);
    assert_string_equal(text, "00-0102030405060708090a0b0c0d0e0f10-1112131415161718-01");
    trace_child(&root, random, &child);
    trace_format(&child, text);
    assert_string_equal(text, "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01");
    trace_child(&child, random + 8, &child);
    assert_memory_equal(child.trace_id, root.trace_id, sizeof root.trace_id);
    trace_root(zeros, false, &root);
    trace_format(&root, text);
    assert_string_equal(text, "00-00000000000000000000000000000001-0000000000000001-00");
    assert_true(trace_present(&root));
    assert_false(trace_present(&(struct trace_context){0}));
    assert_false(trace_present(NULL));
}

/* tracestate is passed on up to 512 bytes of printable text, and else dropped. */
static void states(void **state)
{
    char text[TRACE_STATE_SIZE_MAX + 1];
    memset(text, 'a', sizeof text);
    assert_true(trace_state_valid(slice_make(text, TRACE_STATE_SIZE_MAX)));
    assert_false(trace_state_valid(slice_make(text, TRACE_STATE_SIZE_MAX + 1)));
    assert_true(trace_state_valid(SLICE("rojo=00f067aa0ba902b7,\tcongo=t61rcWkgMzE")));
    assert_false(trace_state_valid(SLICE("")));
    assert_false(trace_state_valid(SLICE_NONE));
    assert_false(trace_state_valid(SLICE("a=b\r\nx: y")));
    assert_false(trace_state_valid(SLICE("a=\xc3\xa9")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_and_refused), cmocka_unit_test(reads_and_writes),
            cmocka_unit_test(roots_and_children),
        cmocka_unit_test(states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
