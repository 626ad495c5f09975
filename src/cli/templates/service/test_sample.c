/*
 * The sample service alone, with a database of its own in a temporary folder: real server, real transactions, no other
 * process.
 *
 *     ./test_sample [FOLDER OF THE MIGRATIONS]
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ficus/test.h>

#include <stdio.h>
#include <string.h>

#include "sample.h"

static struct ficus_test *t;
static const char *migrations = "migrations";

static int setup(void **state)
{
    t = ficus_test_start(&sample_service, migrations, NULL);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

static struct ficus_test_answer call(const char *method, const char *path, const char *body)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = method, .path = path, .body = body});
}

/* A text that was answered 201 is there, also after a crash; another one replaces it. */
static void test_put_and_get(void **state)
{
    assert_int_equal(call("PUT", "/v1/sample/one", "{\"text\":\"first\"}").status, 201);
    ficus_test_restart(t);
    struct ficus_test_answer a = call("GET", "/v1/sample/one", NULL);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\"id\":\"one\",\"text\":\"first\""));
    assert_int_equal(call("PUT", "/v1/sample/one", "{\"text\":\"second\"}").status, 200);
    assert_non_null(strstr(call("GET", "/v1/sample/one", NULL).body, "\"text\":\"second\""));
    assert_int_equal(call("GET", "/v1/sample/two", NULL).status, 404);
}

/* Each change is told once, with the id as its subject. */
static void test_events(void **state)
{
    call("PUT", "/v1/sample/one", "{\"text\":\"first\"}");
    assert_int_equal(ficus_test_emitted_count(t), 1);
    assert_non_null(strstr(ficus_test_emitted(t, 0), "\"sample.changed\""));
    assert_non_null(strstr(ficus_test_emitted(t, 0), "\"subject\":\"one\""));
}

/* What is refused changes nothing and tells nobody. */
static void test_refused(void **state)
{
    static const char *const bodies[] = {"{}", "{\"text\":\"\"}", "{\"text\":1}", "[]", "no json"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        assert_int_equal(call("PUT", "/v1/sample/one", bodies[i]).status, 400);
    char path[200];
    snprintf(path, sizeof path, "/v1/sample/%0100d", 1);
    assert_int_equal(call("PUT", path, "{\"text\":\"long id\"}").status, 400);
    assert_int_equal(call("GET", "/v1/sample/one", NULL).status, 404);
    assert_int_equal(ficus_test_emitted_count(t), 0);
}

/* The list is read page by page, each item once. */
static void test_list(void **state)
{
    char path[200];
    assert_string_equal(call("GET", "/v1/sample", NULL).body, "{\"items\":[],\"next\":null}");
    for (int i = 0; i < 60; i++) {
        snprintf(path, sizeof path, "/v1/sample/%03d", i);
        assert_int_equal(call("PUT", path, "{\"text\":\"x\"}").status, 201);
    }
    struct ficus_test_answer a = call("GET", "/v1/sample", NULL);
    assert_non_null(strstr(a.body, "\"id\":\"049\""));
    assert_null(strstr(a.body, "\"id\":\"050\""));
    assert_non_null(strstr(a.body, "\"next\":\"049\""));
    a = call("GET", "/v1/sample?after=049", NULL);
    assert_null(strstr(a.body, "\"id\":\"049\""));
    assert_non_null(strstr(a.body, "\"id\":\"059\""));
    assert_non_null(strstr(a.body, "\"next\":null"));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        migrations = argv[1];
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {T(test_put_and_get), T(test_events), T(test_refused), T(test_list)};
    return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}
