/* SPDX-License-Identifier: Apache-2.0
 *
 * Settings tables: decoding with all errors at once, encoding back, JSON Schema; on trees read from JSON.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "conf.h"
#include "mem.h"

#include <string.h>

struct point {
    int64_t x, y;
};

struct part {
    const char *name;
    int64_t weight;
    const char *note;
    uint32_t group;
};

struct inner {
    bool deep;
    int64_t left, right;
};

struct sample {
    const struct conf_node *node;
    bool on;
    int64_t count, wait_ms, size_bytes, optional;
    const char *title;
    int color, shade;
    const char *any;
    struct inner inner;
    struct point *point;
    const char *const *tags;
    size_t tag_count;
    struct part *parts, *steps;
    size_t part_count, step_count;
    struct point spot;
    const char *manifest_only, *resolved_only;
};

static const struct conf_setting point_settings[] = {
    {.name = "x", .type = CONF_INT, CONF_AT(struct point, x), .flags = CONF_REQUIRED, .min = -10, .max = 10},
    {.name = "y", .type = CONF_INT, CONF_AT(struct point, y), .min = -10, .max = 10, .fallback = 1},
};
static const struct conf_table point_table = CONF_TABLE_OF("point", struct point, point_settings);

static const struct conf_setting inner_settings[] = {
    {.name = "deep", .type = CONF_BOOL, CONF_AT(struct inner, deep), .fallback = true},
    {.name = "left", .type = CONF_INT, CONF_AT(struct inner, left)},
    {.name = "right", .type = CONF_INT, CONF_AT(struct inner, right), .fallback = 5},
};
static void inner_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct inner *i = value;
    if (i->left > i->right)
        conf_error_value(errors, conf_get(node, "left"), "is more than right");
}
static const struct conf_table inner_table = {.name = "inner", .size = sizeof(struct inner), .settings = inner_settings, .count = 3, .check = inner_check};

static const struct conf_setting part_settings[] = {
    {.name = "weight", .type = CONF_INT, CONF_AT(struct part, weight), .fallback = 3},
    {.name = "note", .type = CONF_STRING, CONF_AT(struct part, note)},
};
static const struct conf_table part_table = CONF_TABLE_OF("part", struct part, part_settings);
static const struct conf_setting part_item = {.name = "part", .type = CONF_TABLE, .table = &part_table};
static const struct conf_setting tag_item = {.name = "tag", .type = CONF_STRING, .min = 1, .max = 5};
static const char *const colors[] = {"red", "green", "blue", NULL};

static const struct conf_setting sample_settings[] = {
    {.name = "on", .type = CONF_BOOL, CONF_AT(struct sample, on)},
    {.name = "count", .type = CONF_INT, CONF_AT(struct sample, count), .min = 1, .max = 64, .fallback = 4, .doc = "How many."},
    {.name = "wait", .type = CONF_DURATION, CONF_AT(struct sample, wait_ms), .min = 1, .max = 600000, .fallback = 1500},
    {.name = "size", .type = CONF_SIZE, CONF_AT(struct sample, size_bytes), .min = 512, .max = 1 << 30, .fallback = 65536},
    {.name = "optional", .type = CONF_DURATION, CONF_AT(struct sample, optional), .min = 1, .max = 600000, .fallback = 0},
    {.name = "title", .type = CONF_STRING, CONF_AT(struct sample, title), .max = 20, .check = conf_check_name, .example = "abc"},
    {.name = "color", .type = CONF_ENUM, CONF_AT(struct sample, color), .words = colors, .fallback = 1},
    {.name = "shade", .type = CONF_ENUM, CONF_AT(struct sample, shade), .words = colors, .fallback = -1},
    {.name = "any", .type = CONF_ANY, CONF_AT(struct sample, any)},
    {.name = "inner", .type = CONF_TABLE, CONF_AT(struct sample, inner), .table = &inner_table},
    {.name = "point", .type = CONF_TABLE_PTR, CONF_AT(struct sample, point), .table = &point_table},
    {.name = "tags", .type = CONF_LIST, CONF_LIST_AT(struct sample, tags, tag_count), .item = &tag_item},
    {.name = "parts", .type = CONF_MAP, CONF_MAP_AT(struct sample, parts, part_count, struct part, name), .item = &part_item, .check = conf_check_name},
    {.name = "steps", .type = CONF_MAP, .flags = CONF_AS_LIST | CONF_NOT_EMPTY, CONF_MAP_AT(struct sample, steps, step_count, struct part, name), .item = &part_item,
     .group_word = "together", .group_offset = offsetof(struct part, group)},
    {.name = "spot", .type = CONF_INLINE, CONF_AT(struct sample, spot), .table = &point_table},
    {.name = "later", .type = CONF_ANY, .flags = CONF_NOT_BUILT},
    {.name = "mine", .type = CONF_STRING, .flags = CONF_MANIFEST_ONLY, CONF_AT(struct sample, manifest_only)},
    {.name = "theirs", .type = CONF_STRING, .flags = CONF_RESOLVED_ONLY, CONF_AT(struct sample, resolved_only)},
};
static const struct conf_table sample_table = {.name = "sample", .size = sizeof(struct sample), .settings = sample_settings,
    .count = sizeof sample_settings / sizeof sample_settings[0], .has_node = true, .node_offset = offsetof(struct sample, node)};

struct fixture {
    struct arena arena;
    struct conf_errors errors;
    struct conf_node *root;
    struct sample sample;
    struct buf text;
};

static bool decode(struct fixture *f, const char *json, enum conf_form form)
{
    arena_init(&f->arena, 16 << 20);
    conf_errors_init(&f->errors, &f->arena);
    buf_init(&f->text, 1 << 20);
    memset(&f->sample, 0xaa, sizeof f->sample);
    assert_int_equal(conf_json_parse(&f->arena, slice_str(json), "f.json", &f->root, &f->errors), FICUS_ERR_OK);
    bool ok = conf_decode(f->root, &sample_table, form, &f->sample, &f->arena, &f->errors);
    conf_errors_print(&f->errors, &f->text);
    return ok;
}

static void done(struct fixture *f)
{
    buf_done(&f->text);
    arena_done(&f->arena);
}

/* What is not written has the table's defaults. */
static void test_defaults(void **state)
{
    struct fixture f;
    assert_true(decode(&f, "{\"x\": 0}", CONF_MANIFEST));
    const struct sample *s = &f.sample;
    assert_false(s->on);
    assert_int_equal(s->count, 4);
    assert_int_equal(s->wait_ms, 1500);
    assert_int_equal(s->size_bytes, 65536);
    assert_int_equal(s->optional, 0);
    assert_null(s->title);
    assert_int_equal(s->color, 1);
    assert_int_equal(s->shade, -1);
    assert_null(s->any);
    assert_true(s->inner.deep);
    assert_int_equal(s->inner.right, 5);
    assert_null(s->point);
    assert_int_equal(s->tag_count + s->part_count + s->step_count, 0);
    assert_int_equal(s->spot.y, 1);
    assert_ptr_equal(s->node, f.root);
    done(&f);
}

static const char full[] =
    "{\"on\":true,\"count\":64,\"wait\":\"2s\",\"size\":\"1MiB\",\"optional\":\"1ms\",\"title\":\"ab-c\",\"color\":\"blue\",\"shade\":\"red\","
    "\"any\":{\"a\":[1,\"2\",null,true]},\"inner\":{\"deep\":false,\"left\":1,\"right\":2},\"point\":{\"x\":-10,\"y\":10},\"tags\":[\"a\",\"b\"],"
    "\"parts\":{\"zeta\":{\"weight\":9,\"note\":\"n\"},\"alpha\":{\"weight\":3}},\"steps\":[{\"second\":{\"weight\":3}},{\"together\":[{\"u\":{\"weight\":5}},{\"v\":{\"weight\":6}}]},"
    "{\"together\":[{\"w\":{\"weight\":7}}]},{\"first\":{\"weight\":4}}],"
    "\"x\":3,\"y\":4}";

/* Every kind of setting arrives in its field, lists and maps in the order written. */
static void test_values(void **state)
{
    struct fixture f;
    bool ok = decode(&f, full, CONF_MANIFEST);
    assert_string_equal(buf_str(&f.text), "");
    assert_true(ok);
    const struct sample *s = &f.sample;
    assert_true(s->on);
    assert_int_equal(s->count, 64);
    assert_int_equal(s->wait_ms, 2000);
    assert_int_equal(s->size_bytes, 1 << 20);
    assert_string_equal(s->title, "ab-c");
    assert_int_equal(s->color, 2);
    assert_int_equal(s->shade, 0);
    assert_string_equal(s->any, "{\"a\":[1,\"2\",null,true]}");
    assert_false(s->inner.deep);
    assert_int_equal(s->point->x, -10);
    assert_int_equal(s->tag_count, 2);
    assert_string_equal(s->tags[1], "b");
    assert_int_equal(s->part_count, 2);
    assert_string_equal(s->parts[0].name, "zeta");
    assert_int_equal(s->parts[0].weight, 9);
    assert_string_equal(s->parts[1].name, "alpha");
    assert_int_equal(s->parts[1].weight, 3);
    assert_null(s->parts[1].note);
    assert_string_equal(s->steps[0].name, "second");
    static const int64_t weights[] = {3, 5, 6, 7, 4};
    static const uint32_t groups[] = {0, 1, 1, 2, 0};
    assert_int_equal(s->step_count, 5);
    for (size_t i = 0; i < s->step_count; i++) {
        assert_int_equal(s->steps[i].weight, weights[i]);
        assert_int_equal(s->steps[i].group, groups[i]);
    }
    assert_int_equal(s->spot.x, 3);
    assert_int_equal(s->spot.y, 4);
    done(&f);
}

/* Encoding gives the same text that was decoded, and encoding defaults gives a text that decodes to them. */
static void test_encode(void **state)
{
    struct fixture f, g;
    struct buf b;
    struct json_writer w;
    assert_true(decode(&f, full, CONF_MANIFEST));
    buf_init(&b, 65536);
    json_write_init(&w, &b);
    conf_encode(&sample_table, &f.sample, &w);
    assert_string_equal(buf_str(&b), full);
    done(&f);
    buf_clear(&b);

    assert_true(decode(&f, "{\"x\":0,\"mine\":\"m\"}", CONF_MANIFEST));
    assert_string_equal(f.sample.manifest_only, "m");
    json_write_init(&w, &b);
    conf_encode(&sample_table, &f.sample, &w);
    assert_string_equal(buf_str(&b), "{\"on\":false,\"count\":4,\"wait\":\"1500ms\",\"size\":\"64KiB\",\"color\":\"green\","
                        "\"inner\":{\"deep\":true,\"left\":0,\"right\":5},\"tags\":[],\"parts\":{},\"x\":0,\"y\":1}");
    assert_true(decode(&g, buf_str(&b), CONF_RESOLVED));
    assert_int_equal(g.sample.wait_ms, 1500);
    done(&g);
    done(&f);
    buf_done(&b);
}

/* Each mistake gives exactly the message that tells place, finding, what is allowed and a hint. */
static void test_messages(void **state)
{
    static const struct { const char *json, *message; } cases[] = {
        {"{\"x\":0,\n  \"cuont\": 3}", "f.json:2:3: cuont: unknown key (did you mean count?)\n"},
        {"{\"x\":0, \"inner\": {\"zzzzzzzz\": 3}}", "f.json:1:19: inner.zzzzzzzz: unknown key, allowed here: deep, left, right\n"},
        {"{\"x\":0,\"later\": {}}", "f.json:1:8: later: not supported by this version\n"},
        {"{\"x\":0,\"theirs\": \"a\"}", "f.json:1:8: theirs: unknown key, allowed here: on, count, wait, size, optional, title, color, shade, any, inner, point, tags, parts, steps, x, y, mine\n"},
        {"{\"x\":0,\"on\": \"yes\"}", "f.json:1:14: on: found \"yes\", expected true or false\n"},
        {"{\"x\":0,\"on\": 1}", "f.json:1:14: on: found \"1\", expected true or false\n"},
        {"{\"x\":0,\"count\": 65}", "f.json:1:17: count: found \"65\", expected a whole number from 1 to 64\n"},
        {"{\"x\":0,\"count\": 1.5}", "f.json:1:17: count: found \"1.5\", expected a whole number from 1 to 64\n"},
        {"{\"x\":0,\"count\": \"3\"}", "f.json:1:17: count: found \"3\", expected a whole number from 1 to 64\n"},
        {"{\"x\":0,\"wait\": 300}", "f.json:1:16: wait: \"300\" has no unit (did you mean 300ms?)\n"},
        {"{\"x\":0,\"wait\": \"5 min\"}", "f.json:1:16: wait: found \"5 min\", expected a duration from 1ms to 10m, such as 300ms, 3s, 10m, 24h or 7d\n"},
        {"{\"x\":0,\"wait\": \"11m\"}", "f.json:1:16: wait: found \"11m\", expected a duration from 1ms to 10m\n"},
        {"{\"x\":0,\"size\": 1024}", "f.json:1:16: size: \"1024\" has no unit (did you mean 1024B?)\n"},
        {"{\"x\":0,\"size\": \"1kb\"}", "f.json:1:16: size: found \"1kb\", expected a size from 512B to 1GiB, such as 512B, 64KiB, 16MiB or 2GiB\n"},
        {"{\"x\":0,\"title\": []}", "f.json:1:17: title: found a list, expected text\n"},
        {"{\"x\":0,\"title\": \"A\"}", "f.json:1:17: title: found \"A\", allowed is 1 to 63 lower-case letters, digits, '-' and '_', with a letter first\n"},
        {"{\"x\":0,\"title\": \"abcdefghijklmnopqrstuvwxyz\"}", "f.json:1:17: title: found \"abcdefghijklmnopqrstuvwxyz\", allowed is 0 to 20 bytes\n"},
        {"{\"x\":0,\"title\": null}", "f.json:1:17: title: found nothing, expected text\n"},
        {"{\"x\":0,\"color\": \"gren\"}", "f.json:1:17: color: found \"gren\", expected one of red, green, blue (did you mean green?)\n"},
        {"{\"x\":0,\"inner\": 3}", "f.json:1:17: inner: found \"3\", expected a map\n"},
        {"{\"x\":0,\"inner\": null}", "f.json:1:17: inner: found nothing, expected a map (write {} for all defaults)\n"},
        {"{\"x\":0,\"inner\": {\"left\": 9}}", "f.json:1:26: inner.left: is more than right\n"},
        {"{\"x\":0,\"point\": {}}", "f.json:1:8: point: \"x\" is missing: a whole number from -10 to 10\n"},
        {"{\"x\":0,\"tags\": {}}", "f.json:1:16: tags: found a map, expected a list\n"},
        {"{\"x\":0,\"tags\": [\"a\", \"abcdef\"]}", "f.json:1:22: tags[1]: found \"abcdef\", allowed is 1 to 5 bytes\n"},
        {"{\"x\":0,\"parts\": {\"Big\": {}}}", "f.json:1:18: parts.Big: found \"Big\", allowed is 1 to 63 lower-case letters, digits, '-' and '_', with a letter first\n"},
        {"{\"x\":0,\"steps\": {\"a\": {}}}", "f.json:1:17: steps: found a map, expected a list of maps with one entry each\n"},
        {"{\"x\":0,\"steps\": []}", "f.json:1:17: steps: found nothing in it, expected at least one entry\n"},
        {"{\"x\":0,\"steps\": [{\"a\": {}, \"b\": {}}]}", "f.json:1:18: steps[0]: found a map with other than one entry, expected a map with one entry\n"},
        {"{\"x\":0,\"steps\": [{\"a\": {}}, {\"a\": {}}]}", "f.json:1:30: steps[1].a: \"a\" occurs twice, first in line 1\n"},
        {"{\"x\":0,\"steps\": [{\"together\": [{\"a\": {}}, {\"a\": {}}]}]}", "f.json:1:44: steps[0].together[1].a: \"a\" occurs twice, first in line 1\n"},
        {"{\"x\":0,\"steps\": [{\"a\": {}}, {\"together\": [{\"a\": {}}]}]}", "f.json:1:44: steps[1].together[0].a: \"a\" occurs twice, first in line 1\n"},
        {"{\"x\":0,\"steps\": [{\"together\": []}]}", "f.json:1:31: steps[0].together: found nothing in it, expected at least one entry\n"},
        {"{\"x\":0,\"steps\": [{\"togther\": [{\"a\": {}}]}]}", "f.json:1:19: steps[0].togther: found a list, expected a map; a list stands behind \"together\" only\n"},
        {"{\"x\":0,\"steps\": [{\"together\": [{\"together\": [{\"a\": {}}]}]}]}",
         "f.json:1:33: steps[0].together[0].together: stands inside another \"together\"; write its entries into that one\n"},
        {"{\"x\":0,\"steps\": [{\"a\": {\"weight\": true}}]}", "f.json:1:35: steps[0].a.weight: found \"true\", expected a whole number of at least 0\n"},
        {"{}", "f.json:1:1: \"x\" is missing: a whole number from -10 to 10\n"},
        {"[]", "f.json:1:1: found a list, expected a map\n"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fixture f;
        bool ok = decode(&f, cases[i].json, CONF_MANIFEST);
        assert_string_equal(buf_str(&f.text), cases[i].message);
        assert_false(ok);
        done(&f);
    }
}

/* All errors of a file come at once, in the order of their places. */
static void test_all_errors(void **state)
{
    struct fixture f;
    assert_false(decode(&f, "{\"wait\": 3,\n \"count\": 0,\n \"tags\": [1, \"toolong\", {}],\n \"nope\": 1,\n \"inner\": {\"left\": -1, \"deep\": 2}}", CONF_MANIFEST));
    const char *text = buf_str(&f.text);
    static const char *const places[] = {"f.json:1:1: \"x\" is missing", "f.json:1:10: wait", "f.json:2:11: count", "f.json:3:14: tags[1]", "f.json:3:25: tags[2]",
                                         "f.json:4:2: nope", "f.json:5:20: inner.left", "f.json:5:32: inner.deep"};
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        const char *at = strstr(text, places[i]);
        if (at == NULL)
            fail_msg("%s is not in, or before others of\n%s", places[i], buf_str(&f.text));
        text = at;
    }
    assert_int_equal(f.errors.count, ARRAY_COUNT(places));
    done(&f);
}

/* The list of errors is bounded, and says how many were left out. */
static void test_error_bound(void **state)
{
    struct buf json;
    buf_init(&json, 1 << 20);
    (void)buf_add_str(&json, "{\"x\":0,\"tags\":[");
    for (int i = 0; i < 1000; i++)
        (void)buf_add_str(&json, "[],");
    (void)buf_add_str(&json, "[]]}");
    struct fixture f;
    assert_false(decode(&f, buf_str(&json), CONF_MANIFEST));
    assert_non_null(strstr(buf_str(&f.text), "(801 more errors)"));
    done(&f);
    buf_done(&json);
}

/* A resolved file takes what only resolved files have, refuses what only manifests have, and its first error is told. */
static void test_load(void **state)
{
    struct arena a;
    struct sample s;
    struct ficus_error err = {0};
    arena_init(&a, 1 << 20);
    assert_int_equal(conf_json_load(&a, SLICE("{\"x\":1,\"theirs\":\"t\"}"), "r.json", &sample_table, &s, &err), FICUS_ERR_OK);
    assert_string_equal(s.resolved_only, "t");
    assert_int_equal(conf_json_load(&a, SLICE("{\"x\":1,\"mine\":\"t\"}"), "r.json", &sample_table, &s, &err), FICUS_ERR_INVALID);
    assert_non_null(strstr(err.text, "r.json:1:8: mine: unknown key"));
    assert_int_equal(conf_json_load(&a, SLICE("{\"x\":1,\n\"y\":}"), "r.json", &sample_table, &s, &err), FICUS_ERR_PARSE);
    assert_string_equal(err.text, "r.json:2:5: found '}', expected a value");
    arena_done(&a);
}

/* The schema is valid JSON, lists every setting of the form and leaves out what is not built. */
static void test_schema(void **state)
{
    struct buf b;
    struct json_writer w;
    struct arena a;
    struct json *root;
    buf_init(&b, 65536);
    json_write_init(&w, &b);
    conf_schema(&sample_table, CONF_MANIFEST, &w);
    arena_init(&a, 1 << 20);
    assert_int_equal(json_parse(&a, buf_slice(&b), NULL, &root, NULL), FICUS_ERR_OK);
    const struct json *p = json_get(root, "properties");
    assert_int_equal(p->count, 17);     /* 18 settings: less spot, later, theirs; and spot's x and y */
    assert_null(json_get(p, "later"));
    assert_null(json_get(p, "theirs"));
    assert_true(slice_eq_str(json_string_or(json_get(json_get(p, "wait"), "default"), SLICE("")), "1500ms"));
    assert_int_equal(json_i64_or(json_get(json_get(p, "count"), "maximum"), 0), 64);
    assert_int_equal(json_get(json_get(p, "color"), "enum")->count, 3);
    assert_true(slice_eq_str(json_string_or(json_at(json_get(root, "required"), 0), SLICE("")), "x"));
    assert_int_equal(json_get(json_get(json_get(json_get(p, "parts"), "additionalProperties"), "properties"), "weight")->type, JSON_OBJECT);
    arena_done(&a);
    buf_done(&b);
}

/* Sizes need a unit and print in their shortest exact form. */
static void test_sizes(void **state)
{
    static const struct { const char *text; int64_t bytes; const char *shortest; } cases[] = {
        {"0B", 0, "0B"}, {"512B", 512, "512B"}, {"1024B", 1024, "1KiB"}, {"1536KiB", 1536 << 10, "1536KiB"}, {"2GiB", INT64_C(2) << 30, "2GiB"},
    };
    char text[32];
    int64_t bytes;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_true(conf_size_parse(slice_str(cases[i].text), &bytes) && bytes == cases[i].bytes);
        conf_size_format(bytes, text, sizeof text);
        assert_string_equal(text, cases[i].shortest);
    }
    static const char *const wrong[] = {"", "1", "KiB", "1KB", "-1B", "1.5KiB", "1 KiB", "9223372036854775807KiB"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_false(conf_size_parse(slice_str(wrong[i]), &bytes));
}

/* Failing at any size of memory is reported as an error and never crashes. */
static void test_out_of_memory(void **state)
{
    bool succeeded = false;
    for (size_t size = 100; size < 20000 && !succeeded; size += 48) {
        struct arena a;
        struct sample s;
        struct ficus_error err = {0};
        arena_init(&a, size);
        enum ficus_err code = conf_json_load(&a, slice_str(full), "f.json", &sample_table, &s, &err);
        succeeded = code == FICUS_ERR_OK;
        if (!succeeded)
            assert_true(err.text[0] != '\0');
        arena_done(&a);
    }
    assert_true(succeeded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_values), cmocka_unit_test(test_encode), cmocka_unit_test(test_messages),
        cmocka_unit_test(test_all_errors), cmocka_unit_test(test_error_bound), cmocka_unit_test(test_load), cmocka_unit_test(test_schema),
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
