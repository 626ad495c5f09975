/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading resolved files.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "process_config.h"

#define HEAD "{\"version\":1,\"system\":\"shop\",\"process\":\"orders\",\"state\":\"/s\",\"key_file\":\"/s/system.key\""

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, 1024 * 1024);
    return 0;
}

static int teardown(void **state)
{
    arena_done(&arena);
    return 0;
}

static enum ficus_err read_text(const char *text, struct process_config *ret_config, struct ficus_error *reterr)
{
    return process_config_read(&arena, "run/orders.json", slice_str(text), &process_config_table, ret_config, reterr);
}

/* What is not said has its default; edges keep their order and policies. */
static void test_read(void **state)
{
    struct process_config c;
    struct ficus_error error = {0};
    assert_int_equal(
        read_text(HEAD ",\"edges\":{\"hub\":{},\"catalog\":{\"timeout\":\"300ms\",\"keeps_keys\":true}}}", &c, &error),
        FICUS_ERR_OK);
    assert_string_equal(c.process, "orders");
    assert_int_equal(c.instance, 1);
    assert_string_equal(c.log_level, "info");
    assert_string_equal(c.hub, "");
    assert_int_equal(c.edge_count, 2);
    assert_string_equal(c.edges[1].callee, "catalog");
    assert_int_equal(c.edges[1].policy.timeout_ms, 300);
    assert_true(c.edges[1].policy.keeps_keys);
    assert_int_equal(c.edges[0].policy.timeout_ms, call_policy_default().timeout_ms);
}

/* A file of a newer version is refused for that, not for the words that this version does not know. */
static void test_newer(void **state)
{
    struct process_config c;
    struct ficus_error error = {0};
    assert_int_equal(read_text("{\"version\":2,\"marvel\":true}", &c, &error), FICUS_ERR_VERSION);
    assert_non_null(strstr(error.text, "newer"));
}

/* All faults are named at once, each with its place. */
static void test_all_errors(void **state)
{
    struct process_config c;
    struct ficus_error error = {0};
    assert_int_not_equal(
        read_text("{\"version\":1,\n\"system\":7,\n\"proces\":\"orders\",\"state\":\"s\"}", &c, &error), FICUS_ERR_OK);
    assert_non_null(strstr(error.text, "run/orders.json:3:1: proces"));
    assert_non_null(strstr(error.text, "state"));
    assert_non_null(strstr(error.text, "key_file"));
    assert_int_not_equal(read_text("{\"version\":1", &c, &error), FICUS_ERR_OK);
}

/* What is written can be read again and says the same. */
static void test_round_trip(void **state)
{
    struct process_config c, again;
    struct buf text;
    struct json_writer w;
    assert_int_equal(
        read_text(HEAD ",\"hub\":\"unix:/s/hub.sock\",\"edges\":{\"hub\":{\"timeout\":\"1s\"}}}", &c, NULL),
        FICUS_ERR_OK);
    buf_init(&text, 64 * 1024);
    json_write_init(&w, &text);
    conf_encode(&process_config_table, &c, &w);
    assert_int_equal(read_text(buf_str(&text), &again, NULL), FICUS_ERR_OK);
    assert_string_equal(again.hub, "unix:/s/hub.sock");
    assert_int_equal(again.edges[0].policy.timeout_ms, 1000);
    buf_done(&text);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_read), TEST(test_newer), TEST(test_all_errors), TEST(test_round_trip)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
