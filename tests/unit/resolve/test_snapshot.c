/* SPDX-License-Identifier: Apache-2.0
 *
 * Snapshots of endpoints: what is accepted, and what may replace what.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "resolve_hub.h"
#include "snapshot.h"

#include <stdio.h>

static enum ficus_err parse(struct arena *a, const char *text, struct snapshot *s)
{
    struct ficus_error error = {0};
    arena_init(a, 1 << 20);
    enum ficus_err err = snapshot_parse(a, slice_str(text), s, &error);
    assert_true(err == FICUS_ERR_OK || error.text[0] != '\0');
    return err;
}

/* A snapshot is read whole, with lists in their order. */
static void test_parse(void **state)
{
    struct arena a;
    struct snapshot s;
    assert_int_equal(parse(&a,
                           "{\"version\": 7, \"warming\": true, \"services\": {\"orders\": "
                           "[\"unix:/a\", \"tcp:127.0.0.1:80\"], \"bank\": []}, \"more\": 1}", &s),
                     FICUS_ERR_OK);
    assert_int_equal(s.version, 7);
    assert_true(s.warming);
    assert_int_equal(s.service_count, 2);
    assert_string_equal(s.services[0].name, "orders");
    assert_int_equal(s.services[0].address_count, 2);
    assert_string_equal(s.services[0].addresses[0], "unix:/a");
    assert_string_equal(s.services[0].addresses[1], "tcp:127.0.0.1:80");
    assert_int_equal(s.services[1].address_count, 0);
    arena_done(&a);
}

/* Whatever is malformed, anywhere, refuses the whole snapshot, so that no half of it is applied. */
static void test_parse_refused(void **state)
{
    static const char *const texts[] = {
        "", "null", "[]", "{}", "{\"version\": 1}", "{\"services\": {}}", "{\"version\": -1, \"services\": {}}",
        "{\"version\": 1.5, \"services\": {}}",
        "{\"version\": 5, \"since\": 6, \"services\": {}}", "{\"version\": 5, \"since\": 0, \"services\": {}}",
        "{\"version\": 5, \"since\": \"5\", \"services\": {}}",
        "{\"version\": \"1\", \"services\": {}}", "{\"version\": 1, \"services\": []}",
        "{\"version\": 1, \"warming\": 1, \"services\": {}}",
        "{\"version\": 1, \"services\": {\"a\": \"unix:/x\"}}", "{\"version\": 1, \"services\": {\"a\": [1]}}",
        "{\"version\": 1, \"services\": {\"a\": [\"http://x\"]}}",
        "{\"version\": 1, \"services\": {\"a\": [\"unix:relative\"]}}",
        "{\"version\": 1, \"services\": {\"a\": [\"unix:/x\\u0000y\"]}}",
        "{\"version\": 1, \"services\": {\"\": [\"unix:/x\"]}}",
        "{\"version\": 1, \"services\": {\"a\": [\"unix:/x\"]}",
        "{\"ficus_endpoints\": \"1\", \"version\": 1, \"services\": {}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct arena a;
        struct snapshot s;
        assert_int_not_equal(parse(&a, texts[i], &s), FICUS_ERR_OK);
        arena_done(&a);
    }
    struct arena a;
    struct snapshot s;
    assert_int_equal(parse(&a, "{\"ficus_endpoints\": 2, \"version\": 1, \"services\": {}}", &s), FICUS_ERR_VERSION);
    arena_done(&a);
    char text[RESOLVE_ADDRESS_SIZE_MAX + 100], path[RESOLVE_ADDRESS_SIZE_MAX + 2];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    (void)snprintf(text, sizeof text, "{\"version\": 1, \"services\": {\"a\": [\"unix:/%s\"]}}", path);
    assert_int_equal(parse(&a, text, &s), FICUS_ERR_PARSE);
    arena_done(&a);
}

static bool take(struct snapshot_state *state, const char *name, const char *const *addresses, size_t count,
                 bool warming)
{
    const struct snapshot_service service = {name, addresses, count};
    bool changed;
    assert_true(snapshot_state_take(state, &service, warming, &changed));
    return changed;
}

static const char *text_of(const struct snapshot_state *state, struct buf *out)
{
    buf_clear(out);
    assert_true(snapshot_state_write(state, 3, out));
    return buf_str(out);
}

/* A filled list replaces, and so does an empty one, but not in what is written; a warming one only fills what was
 * unknown; an equal one is no change. */
static void test_take(void **unused)
{
    static const uint64_t seed[2];
    static const char *const one[] = {"unix:/1"}, *const two[] = {"unix:/2", "unix:/3"};
    struct snapshot_state state;
    struct buf out;
    buf_init(&out, 4096);
    snapshot_state_init(&state, seed);
    assert_false(take(&state, "b", NULL, 0, false));
    assert_string_equal(text_of(&state, &out), "{\"ficus_endpoints\":1,\"version\":3,\"services\":{}}");
    assert_true(take(&state, "b", one, 1, true));
    assert_false(take(&state, "b", NULL, 0, false)); /* not there yet */
    assert_false(take(&state, "b", one, 1, false));
    assert_false(take(&state, "b", NULL, 0, true));
    assert_true(take(&state, "b", NULL, 0, false));
    assert_false(take(&state, "b", NULL, 0, false));
    assert_string_equal(text_of(&state, &out),
                        "{\"ficus_endpoints\":1,\"version\":3,\"services\":{\"b\":[\"unix:/1\"]}}");
    assert_true(take(&state, "b", one, 1, false));
    assert_false(take(&state, "b", one, 1, false));
    assert_false(take(&state, "b", two, 2, true));
    assert_true(take(&state, "b", two, 2, false));
    assert_true(take(&state, "a", one, 1, false));
    assert_string_equal(text_of(&state, &out),
                        "{\"ficus_endpoints\":1,\"version\":3,\"services\":{\"a\":[\"unix:/1\"],"
                        "\"b\":[\"unix:/2\",\"unix:/3\"]}}");
    snapshot_state_done(&state);
    buf_done(&out);
}

/* What was written is read back to the same state. */
static void test_round_trip(void **unused)
{
    static const uint64_t seed[2];
    struct snapshot_state state, again;
    struct buf out, out_again;
    buf_init(&out, 1 << 20);
    buf_init(&out_again, 1 << 20);
    snapshot_state_init(&state, seed);
    snapshot_state_init(&again, seed);
    for (int i = 0; i < 200; i++) {
        char name[16], address[32];
        const char *list[] = {address, "tcp:10.0.0.1:1"};
        (void)snprintf(name, sizeof name, "s%d", i * 7919 % 200);
        (void)snprintf(address, sizeof address, "unix:/run/%d.sock", i);
        assert_true(take(&state, name, list, 1 + (size_t)(i % 2), false));
    }
    const char *text = text_of(&state, &out);
    struct arena a;
    struct snapshot s;
    assert_int_equal(parse(&a, text, &s), FICUS_ERR_OK);
    for (size_t i = 0; i < s.service_count; i++)
        assert_true(take(&again, s.services[i].name, s.services[i].addresses, s.services[i].address_count, false));
    assert_string_equal(text_of(&again, &out_again), text);
    arena_done(&a);
    snapshot_state_done(&state);
    snapshot_state_done(&again);
    buf_done(&out);
    buf_done(&out_again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_refused),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
