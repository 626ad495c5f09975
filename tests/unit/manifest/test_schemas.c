/* SPDX-License-Identifier: Apache-2.0
 *
 * Schemas of topics in a manifest: what is wrong has its place, in the manifest or in the schema's own file; each version
 * reads the one before or says that it does not; what is registered never changes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "hub_config.h"
#include "manifest.h"
#include "manifest_files.h"
#include "mem.h"

#define ROOT "ficus: 1\nsystem: post\ninclude: [services/*.yaml]\n"
#define SENDER "service: sender\nteam: t\ndoes: d\nrun: ./sender\nstore: sqlite:s.db\npublishes:\n  parcel.sent: { schema: "
#define TRACKING "service: tracking\nteam: t\ndoes: d\nrun: ./tracking\nstore: sqlite:t.db\nconsumes: [parcel.sent]\n"
#define V1 "{ \"type\": \"object\", \"title\": \"x\",\n  \"properties\": { \"kg\": { \"type\": \"number\" } }, \"additionalProperties\": false }\n"
#define V2 "{ \"type\": \"object\", \"properties\": { \"kg\": { \"type\": \"number\" }, \"note\": { \"type\": \"string\" } }, \"additionalProperties\": false }\n"
#define V3 "{ \"type\": \"object\", \"properties\": { \"g\": { \"type\": \"integer\" } },\n  \"required\": [\"g\"], \"additionalProperties\": false }\n"

struct system {
    struct files files;
    struct arena arena;
    struct conf_errors errors;
    struct manifest *m;
    struct buf text; /* the errors, without the folder */
    char registered[512], state[512];
};

static void system_init(struct system *s)
{
    *s = (struct system){0};
    files_init(&s->files);
    arena_init(&s->arena, MANIFEST_ARENA_SIZE_MAX);
    buf_init(&s->text, 1 << 16);
    files_put(&s->files, "ficus.yaml", ROOT);
    files_put(&s->files, "services/tracking.yaml", TRACKING);
    files_put(&s->files, "services/e/1.json", V1);
    files_put(&s->files, "services/e/2.json", V2);
    files_put(&s->files, "services/e/3.json", V3);
    files_put(&s->files, "state/run/x", "");
    (void)files_path(&s->files, "state/schemas.json", s->registered, sizeof s->registered);
    (void)files_path(&s->files, "state", s->state, sizeof s->state);
}

static void system_done(struct system *s)
{
    buf_done(&s->text);
    arena_done(&s->arena);
    files_done(&s->files);
}

/* With `schema: WHAT }` and more behind it. */
static bool load(struct system *s, const char *schema, bool registered)
{
    const struct manifest_options options = {.state = s->state, .registered = registered ? s->registered : NULL};
    files_put(&s->files, "services/sender.yaml", arena_printf(&s->arena, SENDER "%s", schema));
    return manifest_files_load(&s->files, &s->arena, &options, &s->m, &s->errors, &s->text) == FICUS_ERR_OK;
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *said;
    } cases[] = {
        {"[] }\n", "services/sender.yaml:7:26: publishes.parcel.sent.schema: the list is empty"},
        {"{ file: e/1.json } }\n", "7:26: publishes.parcel.sent.schema: found a map outside a list, expected a file such as"},
        {"[{ upcast: true }] }\n", "7:27: publishes.parcel.sent.schema[0]: found a map without file, expected a file"},
        {"[{ file: e/1.json, when: 1 }] }\n", "schema[0].when: is unknown here, expected file or upcast"},
        {"[{ file: e/1.json, upcast: 1 }] }\n", "schema[0].upcast: expected true or false"},
        {"[{ file: e/1.json, upcast: true }] }\n", "schema[0]: \"upcast\" has no meaning for the first version"},
        {"../1.json }\n", "found \"../1.json\", expected a path without \"..\""},
        {"e/4.json }\n", "7:26: publishes.parcel.sent.schema: services/e/4.json cannot be read: not found"},
        {"[e/1.json, e/3.json] }\n", "services/e/3.json:2:15: required: \"g\" became required"},
        {"[e/1.json, e/3.json] }\n", "services/e/3.json:2:46: additionalProperties: \"kg\" is no longer allowed"},
        {"[e/1.json, e/3.json] }\n", "services/sender.yaml:7:37: publishes.parcel.sent.schema[1]: version 2 of parcel.sent does not read what version 1 allows (services/e/3.json has why)"},
        {"[e/2.json, e/1.json] }\n", "\"note\" is no longer allowed, and old data may have it"},
        {"[e/1.json, { file: e/3.json, upcast: true }] }\nsagas:\n  s: { start: parcel.sent, steps: [ { a: { undo: \"POST tracking:/x\" } } ] }\n",
         "schema[1]: \"upcast\" is not for a topic that a saga begins with or waits for (\"s\")"},
        {"[e/1.json, { file: e/3.json, upcast: true }] }\nsagas:\n  s: { steps: [ { a: { signal: ok, given_by: parcel.sent } } ] }\n",
         "schema[1]: \"upcast\" is not for a topic that a saga begins with or waits for (\"s\")"},
        {"e/1.json }\nschedules:\n  nightly: { topic: parcel.sent, every: 24h }\n", "\"schema\" is not for the topic of a schedule (\"nightly\")"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct system s;
        system_init(&s);
        bool ok = load(&s, cases[i].schema, false);
        if (ok || strstr(buf_str(&s.text), cases[i].said) == NULL)
            fail_msg("%s: \"%s\" is not in \"%s\"", cases[i].schema, cases[i].said, buf_str(&s.text));
        system_done(&s);
    }
}

/* What is wrong inside a schema is told at its place there, all at once, also of a service's part alone. */
static void test_places(void **state)
{
    (void)state;
    struct system s;
    system_init(&s);
    files_put(&s.files, "services/e/1.json", "{\n  \"type\": \"objct\",\n  \"dependentRequired\": {} }");
    assert_false(load(&s, "e/1.json }\n", false));
    assert_string_equal(buf_str(&s.text), "services/e/1.json:2:11: type: must be null, boolean, integer, number, string, array or object, or a list of these\n"
                                          "services/e/1.json:3:24: dependentRequired: is not supported by this version\n");
    files_put(&s.files, "services/e/1.json", "{ \"type\": }");
    assert_false(load(&s, "e/1.json }\n", false));
    assert_non_null(strstr(buf_str(&s.text), "services/e/1.json:1:11: found '}'"));
    files_put(&s.files, "services/e/1.json", "true");
    assert_false(load(&s, "e/1.json }\n", false));
    assert_non_null(strstr(buf_str(&s.text), "a topic's schema is an object"));
    system_done(&s);
}

static const char *rendered(struct system *s, const char *process)
{
    struct buf out;
    struct ficus_error error = {0};
    buf_init(&out, 1 << 20);
    assert_int_equal(manifest_render_process(s->m, manifest_find_process(s->m, process), &s->arena, &out, &error), FICUS_ERR_OK);
    const char *text = arena_strdup(&s->arena, buf_slice(&out));
    buf_done(&out);
    return text;
}

/* The hub gets all versions, the publisher the newest, the consumer how many there are and which of them break. */
static void test_rendered(void **state)
{
    (void)state;
    struct system s;
    struct hub_config hub;
    struct service_config service;
    struct ficus_error error = {0};
    system_init(&s);
    assert_true(load(&s, "[e/1.json, e/2.json, { file: e/3.json, upcast: true }] }\n", false));
    assert_int_equal(conf_json_load(&s.arena, slice_str(rendered(&s, "hub")), "hub", &hub_config_table, &hub, &error), FICUS_ERR_OK);
    assert_int_equal(hub.topics[0].schema_count, 3);
    assert_string_equal(hub.topics[0].schemas[0], "{\"additionalProperties\":false,\"properties\":{\"kg\":{\"type\":\"number\"}},\"type\":\"object\"}");
    assert_int_equal(conf_json_load(&s.arena, slice_str(rendered(&s, "sender")), "sender", &service_config_table, &service, &error), FICUS_ERR_OK);
    assert_int_equal(service.schema_count, 1);
    assert_string_equal(service.schemas[0].topic, "parcel.sent");
    assert_int_equal(service.schemas[0].version, 3);
    assert_string_equal(service.schemas[0].text, hub.topics[0].schemas[2]);
    assert_int_equal(conf_json_load(&s.arena, slice_str(rendered(&s, "tracking")), "tracking", &service_config_table, &service, &error), FICUS_ERR_OK);
    assert_int_equal(service.schema_count, 1);
    assert_string_equal(service.schemas[0].text, "");
    assert_int_equal(service.schemas[0].version, 3);
    assert_int_equal(service.schemas[0].upcast_count, 1);
    assert_int_equal(service.schemas[0].upcasts[0], 3);
    system_done(&s);
}

static void start(struct system *s)
{
    struct ficus_error error = {0};
    if (manifest_render(s->m, &s->arena, NULL, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

/* What was accepted once stays as it was; a shorter list and other titles are no change; new versions come behind it. */
static void test_registered(void **state)
{
    (void)state;
    struct system s;
    system_init(&s);
    assert_true(load(&s, "e/1.json }\n", true));
    start(&s);
    assert_int_equal(access(s.registered, R_OK), 0);
    files_put(&s.files, "services/e/1.json", "{ \"additionalProperties\": false, \"type\": \"object\", \"properties\": { \"kg\": { \"description\": \"weight\", \"type\": \"number\" } } }");
    assert_true(load(&s, "[e/1.json, e/2.json] }\n", true));
    start(&s);
    assert_true(load(&s, "e/1.json }\n", true)); /* the release before */
    start(&s);
    assert_false(load(&s, "[e/1.json, { file: e/3.json, upcast: true }] }\n", true));
    assert_string_equal(buf_str(&s.text),
                        "services/sender.yaml:7:37: publishes.parcel.sent.schema[1]: version 2 of parcel.sent was registered otherwise, and events may have been published under it: leave it as it "
                        "was (ficus events schema parcel.sent 2 shows it) and write what is new into another file, as the last of the list\n");
    assert_false(load(&s, "e/2.json }\n", true));
    assert_true(load(&s, "e/2.json }\n", false)); /* another system */
    assert_true(load(&s, "[e/1.json, e/2.json, { file: e/3.json, upcast: true }] }\n", true));
    start(&s);
    files_put(&s.files, "services/sender.yaml", "");
    files_put(&s.files, "state/schemas.json", "{\"version\":1,\"topics\":{}"); /* torn */
    assert_false(load(&s, "e/1.json }\n", true));
    assert_non_null(strstr(buf_str(&s.text), "state/schemas.json:1:1: is damaged"));
    files_put(&s.files, "state/schemas.json", "{\"version\":2,\"topics\":{}}");
    assert_false(load(&s, "e/1.json }\n", true));
    assert_non_null(strstr(buf_str(&s.text), "was made by a newer Ficus (version 2)"));
    system_done(&s);
}

/* What a start wrote the next one reads, also with more values in it than a file of JSON has by default (100,000). */
static void test_many_registered(void **state)
{
    (void)state;
    enum { VERSIONS = 20, NAMES = 1000 };
    struct system s;
    struct buf schema, list;
    system_init(&s);
    buf_init(&schema, 1 << 20);
    buf_init(&list, 1 << 16);
    buf_add_char(&list, '[');
    for (int v = 0; v < VERSIONS; v++) {
        char name[64];
        buf_clear(&schema);
        buf_add_str(&schema, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
        for (int i = 0; i < NAMES; i++)
            buf_printf(&schema, "%s\"m%d\":{\"type\":[\"null\",\"string\",\"integer\",\"boolean\"]}", i > 0 ? "," : "", i);
        buf_add_str(&schema, "}}");
        snprintf(name, sizeof name, "services/e/many%d.json", v);
        files_put(&s.files, name, buf_str(&schema));
        buf_printf(&list, "%se/many%d.json", v > 0 ? ", " : "", v);
    }
    buf_add_str(&list, "] }\n");
    assert_true(load(&s, buf_str(&list), true));
    start(&s);
    if (!load(&s, buf_str(&list), true))
        fail_msg("%s", buf_str(&s.text));
    buf_done(&schema);
    buf_done(&list);
    system_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused), cmocka_unit_test(test_places), cmocka_unit_test(test_rendered), cmocka_unit_test(test_registered),
                                       cmocka_unit_test(test_many_registered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
