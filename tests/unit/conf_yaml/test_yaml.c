/* SPDX-License-Identifier: Apache-2.0
 *
 * The YAML reader: trees with places, and what it refuses.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "conf_yaml.h"
#include "mem.h"

#include <string.h>

struct fixture {
    struct arena arena;
    struct conf_errors errors;
    struct conf_node *root;
    struct buf text;
};

static enum ficus_err parse(struct fixture *f, struct slice yaml)
{
    arena_init(&f->arena, 64 << 20);
    conf_errors_init(&f->errors, &f->arena);
    buf_init(&f->text, 1 << 20);
    f->root = NULL;
    enum ficus_err err = conf_yaml_parse(&f->arena, yaml, "f.yaml", &f->root, &f->errors);
    conf_errors_print(&f->errors, &f->text);
    assert_int_equal(err == FICUS_ERR_OK, f->errors.count == 0);
    return err;
}

static void done(struct fixture *f)
{
    buf_done(&f->text);
    arena_done(&f->arena);
}

/* Block and flow forms give the same tree as the JSON beside them. */
static void test_trees(void **state)
{
    static const struct { const char *yaml, *json; } cases[] = {
        {"a: 1\nb:\n  - x\n  - y: 2\n    z: []\nc: {d: e, f: [1, 2]}\n", "{\"a\":1,\"b\":[\"x\",{\"y\":2,\"z\":[]}],\"c\":{\"d\":\"e\",\"f\":[1,2]}}"},
        {"a: '1'\nb: \"tr\\u00fce\"\nc: true\nd: false\ne: ~\nf:\ng: null\nh: ''\n", "{\"a\":\"1\",\"b\":\"tr\xc3\xbc" "e\",\"c\":true,\"d\":false,\"e\":null,\"f\":null,\"g\":null,\"h\":\"\"}"},
        {"a: |\n  two\n  lines\nb: >-\n  folded\n  text\n", "{\"a\":\"two\\nlines\\n\",\"b\":\"folded text\"}"},
        {"# only\n--- # a comment\na: b # c\n", "{\"a\":\"b\"}"},
        {"- 1\n- -2\n- 007\n- 1.5\n- yes\n", "[1,-2,\"007\",\"1.5\",\"yes\"]"},
        {"word", "\"word\""}, {"", "null"}, {"# nothing\n", "null"}, {"{}", "{}"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fixture f;
        struct buf b;
        struct json_writer w;
        enum ficus_err err = parse(&f, slice_str(cases[i].yaml));
        assert_string_equal(buf_str(&f.text), "");
        assert_int_equal(err, FICUS_ERR_OK);
        buf_init(&b, 10000);
        json_write_init(&w, &b);
        conf_node_write(f.root, &w);
        assert_string_equal(buf_str(&b), cases[i].json);
        buf_done(&b);
        done(&f);
    }
}

/* Every key and value knows its line and its column in code points; paths are readable. */
static void test_places(void **state)
{
    struct fixture f;
    assert_int_equal(parse(&f, SLICE("top:\n  - \xe2\x82\xac: {inner:   value}\n  - x\n")), FICUS_ERR_OK);
    const struct conf_node *top = conf_get(f.root, "top");
    assert_int_equal(top->key_line, 1);
    assert_int_equal(top->key_column, 1);
    assert_int_equal(top->line, 2);
    assert_int_equal(top->column, 3);
    const struct conf_node *inner = conf_get(top->first->first, "inner");
    assert_int_equal(inner->key_line, 2);
    assert_int_equal(inner->key_column, 9);
    assert_int_equal(inner->column, 18);
    assert_string_equal(conf_path(&f.arena, inner), "top[0].\xe2\x82\xac.inner");
    assert_string_equal(conf_path(&f.arena, top->first->next), "top[1]");
    assert_int_equal(top->first->next->index, 1);
    done(&f);
}

/* What could surprise or harm is refused, with its place. */
static void test_refused(void **state)
{
    static const struct { struct slice yaml; const char *message; } cases[] = {
        {{"a: &x 1\n", 8}, "f.yaml:1:4: anchors are not allowed\n"},
        {{"a: *x\n", 6}, "f.yaml:1:4: aliases are not allowed\n"},
        {{"a: !!str 1\n", 11}, "f.yaml:1:4: tags are not allowed\n"},
        {{"a: ! 1\n", 7}, "f.yaml:1:4: tags are not allowed\n"},
        {{"a: 1\n---\nb: 2\n", 14}, "f.yaml:2:1: a second document is not allowed\n"},
        {{"a: 1\nb: 2\na: 3\n", 15}, "f.yaml:3:1: a: the key occurs twice, first in line 1\n"},
        {{"m: {a: 1, \"a\": 2}\nm: 3\n", 23}, "f.yaml:1:11: m.a: the key occurs twice, first in line 1\nf.yaml:2:1: m: the key occurs twice, first in line 1\n"},
        {{"? [1]\n: 2\n", 10}, "f.yaml:1:3: found a list or map as key, expected a plain word\n"},
        {{"a: \"\xff\"\n", 7}, "f.yaml:1:5: not valid UTF-8\n"},
        {{"\xff\xfe" "a\0:\0", 6}, "f.yaml:1:1: not valid UTF-8\n"},
        {{"a: 1\nb: \0\n", 10}, "f.yaml:2:4: control characters are not allowed\n"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fixture f;
        assert_int_not_equal(parse(&f, cases[i].yaml), FICUS_ERR_OK);
        assert_string_equal(buf_str(&f.text), cases[i].message);
        done(&f);
    }
}

/* Broken syntax is told with its line; nothing of it crashes or hangs. */
static void test_syntax(void **state)
{
    static const struct { const char *yaml, *place; } cases[] = {
        {"a: [1, 2\nb: 3\n", "f.yaml:2:"}, {"a: {b: 1\n", "f.yaml:2:"}, {"a:\n\t- b\n", "f.yaml:2:1: found a tab; YAML takes only spaces here"}, {"a: b: c\n", "f.yaml:1:5"},
        {"a: 'x\n", "f.yaml:"}, {"- a\nb: c\n", "f.yaml:2:1"}, {"a: \"\\q\"\n", "f.yaml:1:"}, {"%FOO\n", "f.yaml:"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fixture f;
        assert_int_equal(parse(&f, slice_str(cases[i].yaml)), FICUS_ERR_PARSE);
        if (strncmp(buf_str(&f.text), cases[i].place, strlen(cases[i].place)) != 0)
            fail_msg("case %zu: %s", i, buf_str(&f.text));
        done(&f);
    }
}

/* Deep nesting ends at the limit (libyaml alone would take minutes), and a text over the size limit is not read. */
static void test_limits(void **state)
{
    size_t size = CONF_TEXT_SIZE_MAX;
    char *deep = mem_alloc(size + 1);
    struct fixture f;
    memset(deep, '[', size + 1);
    assert_int_equal(parse(&f, slice_make(deep, size)), FICUS_ERR_TOO_LARGE);
    assert_string_equal(buf_str(&f.text), "f.yaml:1:64: nested too deeply\n");
    done(&f);
    assert_int_equal(parse(&f, slice_make(deep, size + 1)), FICUS_ERR_TOO_LARGE);
    done(&f);
    for (size_t i = 0; i < size; i++)
        deep[i] = "- "[i % 2];
    assert_int_equal(parse(&f, slice_make(deep, size)), FICUS_ERR_TOO_LARGE);
    done(&f);
    for (size_t i = 0; i < size; i++)
        deep[i] = "{a: "[i % 4];
    assert_int_equal(parse(&f, slice_make(deep, size)), FICUS_ERR_TOO_LARGE);
    done(&f);
    memset(deep, '[', 63);
    memset(deep + 63, ']', 63);
    assert_int_equal(parse(&f, slice_make(deep, 126)), FICUS_ERR_OK);
    done(&f);
    mem_free(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trees), cmocka_unit_test(test_places), cmocka_unit_test(test_refused), cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
