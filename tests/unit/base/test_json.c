/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON reader and writer against RFC 8259.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "json.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>

#define CASE(literal) {literal, sizeof(literal) - 1}

struct fixture {
    struct arena arena;
    struct ficus_error err;
    struct json *root;
};

static enum ficus_err parse(struct fixture *f, struct slice text, const struct json_limits *limits)
{
    arena_init(&f->arena, 16 << 20);
    f->root = NULL;
    f->err = (struct ficus_error){0};
    return json_parse(&f->arena, text, limits, &f->root, &f->err);
}

/* Every text that RFC 8259 allows and our limits do not exclude is taken. */
static void test_accepts(void **state)
{
    static const struct slice cases[] = {
        CASE("{}"), CASE("[]"), CASE("null"), CASE("true"), CASE("false"), CASE("0"), CASE("-0"), CASE("-1"), CASE("1.5"),
        CASE("0.0"), CASE("-0.0"), CASE("1e1"), CASE("1E+1"), CASE("1e-1"), CASE("0e0"), CASE("1.25e300"), CASE("1e308"),
        CASE("1.7976931348623157e308"), CASE("17976931348623157e292"), CASE("1e-400"), CASE("0e999999999999"), CASE("0.0000000001e317"),
        CASE("9223372036854775807"), CASE("-9223372036854775808"), CASE("123456789012345678"), CASE("1e00000000001"),
        CASE(" \t\r\n1 \t\r\n"), CASE("\"\""), CASE("\"a\""), CASE("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), CASE("\"\\u0000\""),
        CASE("\"\\u20ac\\u20AC\""), CASE("\"\\ud83d\\ude00\""), CASE("\"\x7f\""), CASE("\"\xc2\x80\""), CASE("\"\xdf\xbf\""),
        CASE("\"\xe0\xa0\x80\""), CASE("\"\xed\x9f\xbf\""), CASE("\"\xee\x80\x80\""), CASE("\"\xef\xbf\xbf\""),
        CASE("\"\xf0\x90\x80\x80\""), CASE("\"\xf4\x8f\xbf\xbf\""), CASE("[1,2,3]"), CASE("[ 1 , 2 ]"), CASE("[[],[],{}]"),
        CASE("{\"a\":1}"), CASE("{ \"a\" : 1 , \"b\" : [ ] }"), CASE("{\"\":0}"), CASE("{\"a\":{\"a\":{\"a\":1}}}"),
        CASE("{\"a\":1,\"A\":2}"), CASE("{\"\\u0061\":1,\"b\":2}"), CASE("[\"\\ud83d\\ude00x\"]"), CASE("[1.5e3,-2E-3]"),
    };
    struct fixture f;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (parse(&f, cases[i], NULL) != FICUS_ERR_OK)
            fail_msg("case %zu: %.*s: %s", i, SLICE_ARG(cases[i]), f.err.text);
        arena_done(&f.arena);
    }
}

/* Every text outside the grammar, ill-formed UTF-8, a duplicate or a number out of range is refused as PARSE. */
static void test_rejects(void **state)
{
    static const struct slice cases[] = {
        CASE(""), CASE(" "), CASE("nul"), CASE("nulll"), CASE("True"), CASE("NaN"), CASE("Infinity"), CASE("-Infinity"), CASE("-"),
        CASE("+1"), CASE("01"), CASE("-01"), CASE("00"), CASE("1."), CASE(".5"), CASE("-.5"), CASE("1.e1"), CASE("1e"), CASE("1e+"),
        CASE("1e1.5"), CASE("0x10"), CASE("1_000"), CASE("9223372036854775808"), CASE("-9223372036854775809"),
        CASE("99999999999999999999"), CASE("1e309"), CASE("1.8e308"), CASE("-1e400"), CASE("1e999999999999999999999"),
        CASE("1.7976931348623159e308"), CASE("179769313486231590000000000e282"), CASE("0.00001e314"),
        CASE("\""), CASE("\"a"), CASE("\"\\"), CASE("\"\\\""), CASE("\"\\a\""), CASE("\"\\u\""), CASE("\"\\u12\""), CASE("\"\\u12g4\""),
        CASE("\"\\U1234\""), CASE("\"\\ud800\""), CASE("\"\\ud800x\""), CASE("\"\\ud800\\n\""), CASE("\"\\ud800\\ud800\""),
        CASE("\"\\udc00\""), CASE("\"\\ud83d\\u0041\""), CASE("\"\n\""), CASE("\"\t\""), CASE("\"\0\""), CASE("\"\x1f\""), CASE("'a'"),
        CASE("\"\x80\""), CASE("\"\xbf\""), CASE("\"\xc0\x80\""), CASE("\"\xc1\xbf\""), CASE("\"\xc2\""), CASE("\"\xc2x\""),
        CASE("\"\xe0\x80\x80\""), CASE("\"\xe0\x9f\xbf\""), CASE("\"\xed\xa0\x80\""), CASE("\"\xed\xbf\xbf\""), CASE("\"\xe2\x82\""),
        CASE("\"\xf0\x80\x80\x80\""), CASE("\"\xf0\x8f\xbf\xbf\""), CASE("\"\xf4\x90\x80\x80\""), CASE("\"\xf5\x80\x80\x80\""),
        CASE("\"\xf0\x90\x80\""), CASE("\"\xff\""), CASE("\xef\xbb\xbf{}"), CASE("[") , CASE("]"), CASE("[1"), CASE("[1,"), CASE("[1,]"),
        CASE("[,1]"), CASE("[1 2]"), CASE("[1}"), CASE("{"), CASE("}"), CASE("{]"), CASE("{\"a\"}"), CASE("{\"a\":}"), CASE("{\"a\":1"),
        CASE("{\"a\":1,}"), CASE("{,}"), CASE("{a:1}"), CASE("{'a':1}"), CASE("{1:1}"), CASE("{\"a\" 1}"), CASE("{\"a\"::1}"),
        CASE("{\"a\":1 \"b\":2}"), CASE("{\"a\":1]"), CASE("{}{}"), CASE("1 2"), CASE("[] x"), CASE("{\"a\":1,\"a\":2}"),
        CASE("{\"a\":1,\"\\u0061\":2}"), CASE("{\"\\u0061\\u0062\":1,\"ab\":2}"), CASE("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}"),
        CASE("{\"a\\u0000b\":1}"), CASE("{\"\\u0000\":1}"), CASE("// c\n1"), CASE("/* c */1"), CASE("[1]\0"), CASE("\0"), CASE("1\f"),
        CASE("\xc2\xa0""1"), CASE("[\"a\" \"b\"]"), CASE("undefined"), CASE("{\"x\":tru}"), CASE("[nul]"),
    };
    struct fixture f;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum ficus_err err = parse(&f, cases[i], NULL);
        if (err != FICUS_ERR_PARSE)
            fail_msg("case %zu: %.*s: code %d", i, SLICE_ARG(cases[i]), err);
        assert_int_equal(f.err.code, FICUS_ERR_PARSE);
        assert_true(strlen(f.err.text) > 4);
        arena_done(&f.arena);
    }
}

/* Each proper prefix of a document is refused, and reading one never looks behind its end (seen by ASan: the copy is exact). */
static void test_prefixes(void **state)
{
    static const char text[] = "{\"a\":[1,-2.5e+3,true,false,null,\"x\\u20ac\\ud83d\\ude00\xe2\x82\xac\"],\"b\":{\"c\":\"\"}}";
    struct fixture f;
    for (size_t size = 0; size < sizeof text; size++) {
        char *copy = mem_alloc(size);
        memcpy(copy, text, size);
        enum ficus_err err = parse(&f, slice_make(copy, size), NULL);
        assert_int_equal(err, size == sizeof text - 1 ? FICUS_ERR_OK : FICUS_ERR_PARSE);
        arena_done(&f.arena);
        mem_free(copy);
    }
}

/* Values arrive with their types, decoded texts, order, counts and offsets. */
static void test_tree(void **state)
{
    struct fixture f;
    struct slice text = SLICE("{\"k\\u0065y\": \"a\\n\\u00e9\\ud83d\\ude00\", \"list\":[10,true,null,-7], \"o\":{}}");
    assert_int_equal(parse(&f, text, NULL), FICUS_ERR_OK);
    assert_int_equal(f.root->type, JSON_OBJECT);
    assert_int_equal(f.root->count, 3);
    struct slice s;
    assert_true(json_string(json_get(f.root, "key"), &s));
    assert_true(slice_eq_str(s, "a\n\xc3\xa9\xf0\x9f\x98\x80"));
    const struct json *list = json_get(f.root, "list");
    assert_int_equal(list->count, 4);
    assert_int_equal(text.p[list->offset], '[');
    int64_t i = 0;
    bool b = false;
    assert_true(json_i64(json_at(list, 0), &i));
    assert_int_equal(i, 10);
    assert_true(json_bool(json_at(list, 1), &b));
    assert_true(b);
    assert_int_equal(json_at(list, 2)->type, JSON_NULL);
    assert_int_equal(json_i64_or(json_at(list, 3), 0), -7);
    assert_null(json_at(list, 4));
    assert_null(json_get(f.root, "missing"));
    assert_null(json_get(list, "key"));
    assert_null(json_get(NULL, "key"));
    assert_false(json_i64(json_get(f.root, "key"), &i));
    assert_int_equal(json_key_offset(json_get(f.root, "key"), text), 1);
    assert_int_equal(json_key_offset(list, text), (size_t)(strstr(text.p, "\"list\"") - text.p));
    arena_done(&f.arena);
}

/* json_i64 takes whole numbers only. */
static void test_integers(void **state)
{
    static const struct { const char *text; bool ok; int64_t value; } cases[] = {
        {"0", true, 0}, {"-0", true, 0}, {"9223372036854775807", true, INT64_MAX}, {"-9223372036854775808", true, INT64_MIN},
        {"1.0", false, 0}, {"1e2", false, 0}, {"\"1\"", false, 0},
    };
    struct fixture f;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(parse(&f, slice_str(cases[i].text), NULL), FICUS_ERR_OK);
        int64_t value = 0;
        assert_int_equal(json_i64(f.root, &value), cases[i].ok);
        assert_true(value == cases[i].value);
        arena_done(&f.arena);
    }
}

/* A failure names line and column; columns count code points. */
static void test_error_place(void **state)
{
    static const struct { const char *text, *place; } cases[] = {
        {"{\n  \"a\": 1,\n  \"b\": x\n}", "3:8: found 'x', expected a value"},
        {"[\"\xe2\x82\xac\xe2\x82\xac\", }", "1:8: "},
        {"{\"a\":1,\n \"a\":2}", "2:2: member \"a\" occurs twice"},
        {"[1,2", "1:5: found the end of the text, expected ',' or ']'"},
        {"\"ab\\q\"", "1:4: unknown escape"},
    };
    struct fixture f;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(parse(&f, slice_str(cases[i].text), NULL), FICUS_ERR_PARSE);
        if (strncmp(f.err.text, cases[i].place, strlen(cases[i].place)) != 0)
            fail_msg("found \"%s\", expected \"%s\"", f.err.text, cases[i].place);
        arena_done(&f.arena);
    }
}

/* Depth, size, number of values and memory end with TOO_LARGE at their limit and not before; nesting does not recurse. */
static void test_limits(void **state)
{
    struct fixture f;
    struct json_limits limits = {.depth_max = 3, .size_max = 20, .values_max = 5};
    assert_int_equal(parse(&f, SLICE("[[[]]]"), &limits), FICUS_ERR_OK);
    arena_done(&f.arena);
    assert_int_equal(parse(&f, SLICE("[[[[]]]]"), &limits), FICUS_ERR_TOO_LARGE);
    arena_done(&f.arena);
    assert_int_equal(parse(&f, SLICE("[1,2,3,4]"), &limits), FICUS_ERR_OK);
    arena_done(&f.arena);
    assert_int_equal(parse(&f, SLICE("[1,2,3,4,5]"), &limits), FICUS_ERR_TOO_LARGE);
    arena_done(&f.arena);
    assert_int_equal(parse(&f, SLICE("\"123456789012345678\""), &limits), FICUS_ERR_OK);
    arena_done(&f.arena);
    assert_int_equal(parse(&f, SLICE("\"1234567890123456789\""), &limits), FICUS_ERR_TOO_LARGE);
    arena_done(&f.arena);

    size_t depth = 200000;
    char *deep = mem_alloc(depth * 2);
    memset(deep, '[', depth);
    memset(deep + depth, ']', depth);
    assert_int_equal(parse(&f, slice_make(deep, depth * 2), NULL), FICUS_ERR_TOO_LARGE);
    arena_done(&f.arena);
    struct json_limits wide = {.depth_max = (uint32_t)depth, .values_max = (uint32_t)depth};
    arena_init(&f.arena, 64 << 20);
    assert_int_equal(json_parse(&f.arena, slice_make(deep, depth * 2), &wide, &f.root, &f.err), FICUS_ERR_OK);
    arena_done(&f.arena);
    mem_free(deep);

    arena_init(&f.arena, 256);
    assert_int_equal(json_parse(&f.arena, SLICE("[1,2,3,4,5,6,7,8,9]"), NULL, &f.root, &f.err), FICUS_ERR_TOO_LARGE);
    arena_done(&f.arena);
}

/* In objects of every size around the change of method a repeated member is found wherever it stands, and none is made up. */
static void test_duplicates(void **state)
{
    struct fixture f;
    char text[4096];
    for (size_t count = 2; count <= 40; count++) {
        for (size_t twin = 0; twin < count; twin++) {
            size_t size = 0;
            for (size_t i = 0; i < count; i++)
                size += (size_t)snprintf(text + size, sizeof text - size, "%s\"key%zu\":0", i == 0 ? "{" : ",", i == count - 1 ? twin : i);
            size += (size_t)snprintf(text + size, sizeof text - size, "}");
            assert_int_equal(parse(&f, slice_make(text, size), NULL), twin == count - 1 ? FICUS_ERR_OK : FICUS_ERR_PARSE);
            arena_done(&f.arena);
        }
    }
}

static const char *write_and_get(struct buf *b, void (*fn)(struct json_writer *w))
{
    struct json_writer w;
    buf_init(b, 65536);
    json_write_init(&w, b);
    fn(&w);
    return buf_str(b);
}

static void write_sample(struct json_writer *w)
{
    json_write_object(w);
    json_write_kv_str(w, "s", "a\"\\\n\t\r\x01/\xe2\x82\xac");
    json_write_kv_slice(w, "bad", slice_make("x\xff\xc3y\0z", 6));
    json_write_kv_str(w, "none", NULL);
    json_write_kv_i64(w, "min", INT64_MIN);
    json_write_kv_i64(w, "zero", 0);
    json_write_kv_bool(w, "yes", true);
    json_write_key(w, "list");
    json_write_array(w);
    json_write_null(w);
    json_write_array(w);
    json_write_end(w);
    json_write_object(w);
    json_write_end(w);
    json_write_raw(w, SLICE("1.50"));
    json_write_end(w);
    json_write_end(w);
}

/* What is written is exactly this text: escapes, replacement of bad UTF-8, commas, nesting. */
static void test_writer(void **state)
{
    struct buf b;
    assert_string_equal(write_and_get(&b, write_sample),
                        "{\"s\":\"a\\\"\\\\\\n\\t\\r\\u0001/\xe2\x82\xac\",\"bad\":\"x\xef\xbf\xbd\xef\xbf\xbdy\\u0000z\",\"none\":null,"
                        "\"min\":-9223372036854775808,\"zero\":0,\"yes\":true,\"list\":[null,[],{},1.50]}");
    buf_done(&b);
}

/* A tree that is read, written, and read again is the same, for every accepted form of value. */
static void test_round_trip(void **state)
{
    struct fixture f;
    struct slice text = SLICE("{\"a\":[1,-2.50e+3,true,false,null,\"x\\u0000\\\"\\u20ac\\ud83d\\ude00\"],\"\":{\"c\\n\":\"\"},\"d\":[[[]]]}");
    assert_int_equal(parse(&f, text, NULL), FICUS_ERR_OK);
    struct buf once, twice;
    struct json_writer w;
    buf_init(&once, 4096);
    json_write_init(&w, &once);
    json_write_value(&w, f.root);
    struct fixture g;
    assert_int_equal(parse(&g, buf_slice(&once), NULL), FICUS_ERR_OK);
    buf_init(&twice, 4096);
    json_write_init(&w, &twice);
    json_write_value(&w, g.root);
    assert_string_equal(buf_str(&once), buf_str(&twice));
    assert_string_equal(buf_str(&once), "{\"a\":[1,-2.50e+3,true,false,null,\"x\\u0000\\\"\xe2\x82\xac\xf0\x9f\x98\x80\"],\"\":{\"c\\n\":\"\"},\"d\":[[[]]]}");
    buf_done(&once);
    buf_done(&twice);
    arena_done(&f.arena);
    arena_done(&g.arena);
}

/* A writer whose buffer is full says so and keeps to its maximum; a tree deeper than the writer fails instead of asserting. */
static void test_writer_bounds(void **state)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 10);
    json_write_init(&w, &b);
    json_write_array(&w);
    for (int i = 0; i < 100; i++)
        json_write_str(&w, "abc");
    json_write_end(&w);
    assert_true(buf_failed(&b));
    assert_true(buf_slice(&b).size <= 10);
    buf_done(&b);

    struct fixture f;
    assert_int_equal(parse(&f, SLICE("[[[[1]]]]"), NULL), FICUS_ERR_OK);
    buf_init(&b, 1000);
    json_write_init(&w, &b);
    for (int i = 0; i < 62; i++)
        json_write_array(&w);
    json_write_value(&w, f.root);
    assert_true(buf_failed(&b));
    buf_done(&b);
    arena_done(&f.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts), cmocka_unit_test(test_rejects), cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_tree), cmocka_unit_test(test_integers), cmocka_unit_test(test_error_place),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_duplicates), cmocka_unit_test(test_writer),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_writer_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
