/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents in HTTP requests: the examples of the specification in the three modes, and what is wrong.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "event_http.h"
#include "mem.h"

#include <stdio.h>

static struct arena arena;
static struct ficus_error error;
static struct event *events;
static size_t count;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 256 * 1024 * 1024);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

/* fields: "Name: value" lines. */
static enum ficus_err read_request(const char *fields, const char *body)
{
    struct http_msg head;
    struct slice rest = slice_str(arena_strdup(&arena, slice_str(fields)));
    http_msg_init(&head, &arena);
    while (rest.size > 0) {
        struct slice value = slice_cut(&rest, '\n'), name = slice_cut(&value, ':');
        assert_true(http_msg_add(&head, name, slice_trim(value)));
    }
    memset(&error, 0, sizeof error);
    count = 0;
    return event_http_read(&arena, &head, slice_str(arena_strdup(&arena, slice_str(body))), &events, &count, &error);
}

static void taken(const char *fields, const char *body)
{
    enum ficus_err err = read_request(fields, body);
    if (err != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

#define ONE "Content-Type: application/cloudevents+json; charset=UTF-8"
#define BATCH "Content-Type: application/cloudevents-batch+json; charset=UTF-8"
#define JSON "Content-Type: application/json; charset=utf-8"
#define SPEC "ce-specversion: 1.0\nce-type: com.example.someevent\nce-time: 2018-04-05T03:56:24Z\nce-id: 1234-1234-1234\nce-source: /mycontext/subcontext\n"

/* Structured mode. */
static void test_structured(void **state)
{
    (void)state;
    taken(ONE, "{\"specversion\":\"1.0\",\"type\":\"com.example.someevent\",\"source\":\"/mycontext\",\"subject\":null,\"id\":\"C234-1234-1234\","
               "\"time\":\"2018-04-05T17:31:00Z\",\"comexampleextension1\":\"value\",\"comexampleothervalue\":5,\"flag\":true,"
               "\"datacontenttype\":\"application/json\",\"data\":{\"appinfoA\":\"abc\",\"appinfoB\":123,\"appinfoC\":true}}");
    assert_int_equal(count, 1);
    assert_true(slice_eq_str(events[0].topic, "com.example.someevent"));
    assert_true(slice_eq_str(events[0].source, "/mycontext"));
    assert_true(slice_eq_str(events[0].id, "C234-1234-1234"));
    assert_null(events[0].subject.p);
    assert_true(slice_eq_str(events[0].data, "{\"appinfoA\":\"abc\",\"appinfoB\":123,\"appinfoC\":true}"));
    /* fields beside it do not count */
    taken(ONE "\nce-id: other", "{\"specversion\":\"1.0\",\"type\":\"t\",\"source\":\"s\",\"id\":\"1\",\"deliverat\":\"2026-11-30T02:00:00+01:00\"}");
    assert_true(slice_eq_str(events[0].id, "1"));
    assert_int_equal(events[0].at_ms, 1796000400000);
    assert_null(events[0].data.p);
}

/* Batched mode; a plain list of JSON is the same. */
static void test_batched(void **state)
{
    (void)state;
    static const char two[] = "[{\"specversion\":\"1.0\",\"type\":\"a\",\"source\":\"s\",\"id\":\"1\",\"data\":{}},\n"
                              "{\"specversion\":\"1.0\",\"type\":\"b\",\"source\":\"s\",\"id\":\"2\",\"data\":[\n1,\n2]}]";
    static const char *const types[] = {BATCH, JSON, "content-type: Application/JSON"};
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        taken(types[i], two);
        assert_int_equal(count, 2);
        assert_true(slice_eq_str(events[1].topic, "b"));
        assert_true(slice_eq_str(events[1].data, "[1,2]"));
    }
}

/* Binary mode: the specification's example, its escapes, quotes of older versions, an event without data. */
static void test_binary(void **state)
{
    (void)state;
    taken(SPEC JSON, "{\n  \"a\": [1, 2]\n}");
    assert_int_equal(count, 1);
    assert_true(slice_eq_str(events[0].topic, "com.example.someevent"));
    assert_true(slice_eq_str(events[0].source, "/mycontext/subcontext"));
    assert_true(slice_eq_str(events[0].time, "2018-04-05T03:56:24Z"));
    assert_true(slice_eq_str(events[0].data, "{\"a\":[1,2]}"));
    taken(SPEC JSON "\nCE-Subject: Euro%20%E2%82%AC%20%f0%9f%98%80", "1");
    assert_true(slice_eq_str(events[0].subject, "Euro \xe2\x82\xac \xf0\x9f\x98\x80"));
    taken(SPEC JSON "\nce-subject: \"a \\\"b\\\\ %25\"", "1");
    assert_true(slice_eq_str(events[0].subject, "a \"b\\ %"));
    taken(SPEC "ce-subject: %41%2562", "");
    assert_true(slice_eq_str(events[0].subject, "A%62"));     /* one round */
    assert_null(events[0].data.p);
    taken(SPEC "ce-deliverat: 1970-01-01T00:00:01Z\nce-correlationid: c", "");
    assert_int_equal(events[0].at_ms, 1000);
    assert_true(slice_eq_str(events[0].correlation, "c"));
}

#define OK1 "\"specversion\":\"1.0\",\"type\":\"t\",\"source\":\"s\""
#define OK2 OK1 ",\"id\":\"1\""

/* What is wrong is named, with its code. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *body;
        enum ficus_err err;
        const char *names;
    } cases[] = {
        {ONE, "", FICUS_ERR_PARSE, "1:1"},
        {ONE, "[]", FICUS_ERR_PARSE, "object"},
        {ONE, "{" OK1 "}", FICUS_ERR_PARSE, "id is missing"},
        {ONE, "{" OK2 ",\"specversion\":\"1.0\"}", FICUS_ERR_PARSE, "specversion"},
        {ONE, "{\"specversion\":\"1.1\",\"type\":\"t\",\"source\":\"s\",\"id\":\"1\"}", FICUS_ERR_PARSE, "specversion"},
        {ONE, "{" OK2 ",\"Ext\":\"1\"}", FICUS_ERR_PARSE, "\"Ext\""},
        {ONE, "{" OK2 ",\"a_b\":\"1\"}", FICUS_ERR_PARSE, "\"a_b\""},
        {ONE, "{" OK2 ",\"\":\"1\"}", FICUS_ERR_PARSE, "\"\""},
        {ONE, "{" OK2 ",\"ext\":{}}", FICUS_ERR_PARSE, "ext must be"},
        {ONE, "{" OK2 ",\"ext\":[1]}", FICUS_ERR_PARSE, "ext must be"},
        {ONE, "{" OK2 ",\"ext\":1.5}", FICUS_ERR_PARSE, "ext must be"},
        {ONE, "{" OK2 ",\"data\":1,\"data_base64\":\"MQ==\"}", FICUS_ERR_PARSE, "exclude each other"},
        {ONE, "{" OK2 ",\"data_base64\":\"MQ==\"}", FICUS_ERR_UNSUPPORTED, "data_base64"},
        {ONE, "{" OK2 ",\"datacontenttype\":\"text/xml\",\"data\":\"<x/>\"}", FICUS_ERR_UNSUPPORTED, "text/xml"},
        {ONE, "{" OK2 ",\"datacontenttype\":\"\",\"data\":1}", FICUS_ERR_PARSE, "datacontenttype"},
        {ONE, "{" OK2 ",\"datacontenttype\":1,\"data\":1}", FICUS_ERR_PARSE, "datacontenttype"},
        {ONE, "{" OK2 ",\"deliverat\":\"2026-13-01T00:00:00Z\"}", FICUS_ERR_PARSE, "deliverat"},
        {ONE, "{" OK2 ",\"deliverat\":1}", FICUS_ERR_PARSE, "deliverat"},
        {ONE, "{" OK2 ",\"time\":\"noon\"}", FICUS_ERR_PARSE, "time"},
        {BATCH, "{" OK2 "}", FICUS_ERR_PARSE, "array"},
        {BATCH, "[]", FICUS_ERR_INVALID, "1 to 256"},
        {BATCH, "[{" OK2 "},{" OK1 "}]", FICUS_ERR_PARSE, "event 1: event: id"},
        {BATCH, "[{" OK2 "},7]", FICUS_ERR_PARSE, "event 1"},
        {JSON, "{" OK2 "}", FICUS_ERR_PARSE, "array"},
        {"", "[{" OK2 "}]", FICUS_ERR_UNSUPPORTED, "Content-Type"},
        {"Content-Type: text/plain", "x", FICUS_ERR_UNSUPPORTED, "text/plain"},
        {"Content-Type: application/cloudevents+avro", "x", FICUS_ERR_UNSUPPORTED, "avro"},
        {"Content-Type: application/cloudevents+json; charset=latin1", "{" OK2 "}", FICUS_ERR_UNSUPPORTED, "utf-8"},
        {ONE "\nContent-Type: application/json", "{" OK2 "}", FICUS_ERR_PARSE, "more than one"},
        {"ce-id: 1\n" JSON, "1", FICUS_ERR_PARSE, "specversion"},
        {SPEC "ce-id: 2\n" JSON, "1", FICUS_ERR_PARSE, "ce-id is there 2 times"},
        {SPEC "ce-data: 2\n" JSON, "1", FICUS_ERR_PARSE, "the data is the body"},
        {SPEC "ce-datacontenttype: application/json\n" JSON, "1", FICUS_ERR_PARSE, "Content-Type"},
        {SPEC "ce-my_ext: 2\n" JSON, "1", FICUS_ERR_PARSE, "my_ext"},
        {SPEC "ce-: 2\n" JSON, "1", FICUS_ERR_PARSE, "\"\""},
        {SPEC "ce-subject: %C0%A0\n" JSON, "1", FICUS_ERR_PARSE, "ce-subject"},
        {SPEC "ce-subject: 5%\n" JSON, "1", FICUS_ERR_PARSE, "ce-subject"},
        {SPEC "ce-subject: %4\n" JSON, "1", FICUS_ERR_PARSE, "ce-subject"},
        {SPEC "ce-subject: %0a\n" JSON, "1", FICUS_ERR_PARSE, "subject"},
        {SPEC "ce-subject: \"a\n" JSON, "1", FICUS_ERR_PARSE, "ce-subject"},
        {SPEC "ce-subject: \"a\"b\n" JSON, "1", FICUS_ERR_PARSE, "ce-subject"},
        {SPEC "ce-subject: \"a\\\n" JSON, "1", FICUS_ERR_PARSE, "ce-subject"},
        {SPEC "ce-subject: \xe2\x82\xac\n" JSON, "1", FICUS_ERR_PARSE, "ce-subject"},
        {SPEC "ce-subject:\n" JSON, "1", FICUS_ERR_PARSE, "subject is empty"},
        {SPEC "Content-Type: text/plain", "x", FICUS_ERR_UNSUPPORTED, "text/plain"},
        {SPEC, "x", FICUS_ERR_UNSUPPORTED, "\"\""},
        {SPEC "Content-Type: application/octet-stream", "", FICUS_ERR_UNSUPPORTED, "octet-stream"},
        {SPEC JSON, "{\"a\":", FICUS_ERR_PARSE, "event: data"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum ficus_err err = read_request(cases[i].fields, cases[i].body);
        if (err != cases[i].err || strstr(error.text, cases[i].names) == NULL)
            fail_msg("case %zu: %s (%d), not %s", i, error.text, err, cases[i].names);
    }
}

/* Data in binary mode may be as large and as deep as in the others. */
static void test_limits(void **state)
{
    (void)state;
    char *body = arena_alloc(&arena, EVENT_SIZE_MAX + 2);
    memset(body, ' ', EVENT_SIZE_MAX + 1);
    body[0] = '1';
    body[EVENT_SIZE_MAX + 1] = '\0';
    assert_int_equal(read_request(SPEC JSON, body), FICUS_ERR_TOO_LARGE);
    body[EVENT_SIZE_MAX] = '\0';
    taken(SPEC JSON, body);
    char deep[2 * (EVENT_DATA_DEPTH_MAX + 1) + 1] = "";
    for (int i = 0; i <= EVENT_DATA_DEPTH_MAX; i++) {
        deep[i] = '[';
        deep[2 * EVENT_DATA_DEPTH_MAX + 1 - i] = ']';
    }
    assert_int_equal(read_request(SPEC JSON, deep), FICUS_ERR_INVALID);
    deep[2 * EVENT_DATA_DEPTH_MAX + 1] = '\0';
    taken(SPEC JSON, deep + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_structured, setup, teardown), cmocka_unit_test_setup_teardown(test_batched, setup, teardown),
        cmocka_unit_test_setup_teardown(test_binary, setup, teardown),     cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
