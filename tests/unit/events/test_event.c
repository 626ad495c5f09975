/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents as text, and what is no event.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "elog_old.h"
#include "event.h"
#include "hub_reads.h"
#include "mem.h"

static struct arena arena;
static struct ficus_error error;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 16 * 1024 * 1024);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static struct event sample(void)
{
    return (struct event){.id = SLICE("0190-1"), .source = SLICE("/orders"), .topic = SLICE("order.placed"),
        .subject = SLICE("o \"7\" \xc3\xa4"), .time = SLICE("2026-01-02T03:04:05.006Z"),
        .data = SLICE("{\"items\":[1,2.50,{\"x\":null}]}"),
        .traceparent = SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), .tracestate = SLICE("a=b"),
        .correlation = SLICE("c-1"), .causation = SLICE("0190-0"), .offset = 12, .schema = 3, .at_ms = 1796000000123};
}

static void assert_same(const struct event *a, const struct event *b)
{
    assert_true(slice_eq(a->id, b->id) && slice_eq(a->source, b->source) && slice_eq(a->topic, b->topic));
    assert_true(slice_eq(a->subject, b->subject) && slice_eq(a->time, b->time) && slice_eq(a->data, b->data));
    assert_true(slice_eq(a->traceparent, b->traceparent) && slice_eq(a->tracestate, b->tracestate));
    assert_true(slice_eq(a->correlation, b->correlation) && slice_eq(a->causation, b->causation));
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->at_ms, b->at_ms);
    assert_int_equal(a->schema, b->schema);
}

/* What was written is read back the same, with and without its optional attributes. */
static void test_round_trip(void **state)
{
    (void)state;
    struct event ev[2] = {sample(), {.id = SLICE("1"), .source = SLICE("s"), .topic = SLICE("t")}}, back;
    for (int i = 0; i < 2; i++) {
        struct buf b;
        buf_init(&b, EVENT_SIZE_MAX);
        assert_int_equal(event_check(&ev[i], &error), FICUS_ERR_OK);
        assert_int_equal(event_encode(&b, &ev[i], &error), FICUS_ERR_OK);
        assert_int_equal(event_decode(&arena, buf_slice(&b), &back, &error), FICUS_ERR_OK);
        assert_same(&ev[i], &back);
        char *stored = arena_strdup(&arena, buf_slice(&b));
        size_t data_at = elog_old_data_at(&ev[i], buf_slice(&b).size);
        assert_int_equal(event_decode_stored(&arena, stored, buf_slice(&b).size, data_at, &back, &error), FICUS_ERR_OK);
        assert_same(&ev[i], &back);
        buf_done(&b);
    }
}

/* dataschema is a version of the topic's own schema, or another system's name, which is not kept. */
static void test_schema(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t version; /* -1: refused */
    } cases[] = {{"urn:ficus:schema:order.placed:7", 7}, {"urn:ficus:schema:order.placed:1000", 1000}, {"https://example.org/order.json", 0},
                 {"urn:ficus:schema:order.placed:0", -1}, {"urn:ficus:schema:order.placed:1001", -1}, {"urn:ficus:schema:order.placed:x", -1},
                 {"urn:ficus:schema:order.placed", -1}, {"urn:ficus:schema:order.placed2:1", -1}, {"urn:ficus:schema:other:1", -1}, {"", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct event ev = {.offset = 0};
        const char *text = arena_printf(&arena, "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"order.placed\",\"dataschema\":\"%s\"}", cases[i].name);
        enum ficus_err err = event_decode(&arena, slice_str(text), &ev, &error);
        assert_int_equal(err, cases[i].version < 0 ? FICUS_ERR_PARSE : FICUS_ERR_OK);
        assert_true(cases[i].version < 0 ? strstr(error.text, "dataschema must be urn:ficus:schema:order.placed:VERSION") != NULL : ev.schema == cases[i].version);
    }
}

/* Stored text that was damaged is CORRUPT wherever the damage is that can be seen, and never read out of bounds. */
static void test_stored_damage(void **state)
{
    (void)state;
    struct event ev = sample(), back;
    struct buf b;
    buf_init(&b, EVENT_SIZE_MAX);
    assert_int_equal(event_encode(&b, &ev, &error), FICUS_ERR_OK);
    size_t size = buf_slice(&b).size, data_at = elog_old_data_at(&ev, size);
    for (size_t at = 0; at <= size + 2; at++) {
        char *text = mem_strndup(buf_str(&b), size);
        enum ficus_err err = event_decode_stored(&arena, text, size, at, &back, &error);
        if (at == data_at || at == 0)
            assert_int_equal(err, FICUS_ERR_OK);
        else
            assert_int_equal(err, FICUS_ERR_CORRUPT);
        mem_free(text);
    }
    buf_done(&b);
}

/* Each text that is not an event of ours is refused with PARSE, and the error names the attribute. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *names;
    } cases[] = {
        {"[]", "object"},
        {"{}", "specversion"},
        {"{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}", "specversion"},
        {"{\"specversion\":\"1.0\",\"source\":\"s\",\"type\":\"t\"}", "id"},
        {"{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"s\",\"type\":\"t\"}", "id"},
        {"{\"specversion\":\"1.0\",\"id\":7,\"source\":\"s\",\"type\":\"t\"}", "id"},
        {"{\"specversion\":\"1.0\",\"id\":\"a\\nb\",\"source\":\"s\",\"type\":\"t\"}", "id"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"t\"}", "source"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\"}", "type"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"a,b\"}", "type"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"time\":\"yesterday\"}", "time"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"subject\":\"\"}", "subject"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"sequence\":\"x\"}", "sequence"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"data_base64\":\"AA==\"}",
        "data_base64"},
    };
    struct event ev;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(event_decode(&arena, slice_str(cases[i].text), &ev, &error), FICUS_ERR_PARSE);
        assert_non_null(strstr(error.text, cases[i].names));
    }
}

/* Unknown extensions are ignored, a null attribute is an absent one, and a list is read one after another. Data stays as it was sent, but in one
 * line. */
static void test_list(void **state)
{
    (void)state;
    struct json *list = NULL;
    struct event events[3], *none = NULL;
    size_t count = 0;
    struct slice text = SLICE(
        "[{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"x\":[1],\"subject\":null},"
        "{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"s\",\"type\":\"u\",\"data\":  [ 1 , 2 ] },"
        "{\"specversion\":\"1.0\",\"id\":\"3\",\"source\":\"s\",\"type\":\"u\",\"data\":  [ \n 1 , \"\\n\" ]}]");
    assert_int_equal(json_parse(&arena, text, NULL, &list, &error), FICUS_ERR_OK);
    assert_int_equal(list->count, ARRAY_COUNT(events));
    for (const struct json *v = list->first; v != NULL; v = v->next)
        assert_int_equal(event_read(&arena, v, &events[count++], &error), FICUS_ERR_OK);
    assert_true(slice_eq(events[0].id, SLICE("1")));
    assert_null(events[0].subject.p);
    assert_true(slice_eq(events[1].id, SLICE("2")));
    assert_true(slice_eq(events[1].data, SLICE("[ 1 , 2 ]")));
    assert_true(slice_eq(events[2].data, SLICE("[1,\"\\n\"]")));
    assert_int_equal(hub_reads(&arena, SLICE("{}"), &none, &count, &error), FICUS_ERR_PARSE);
}

/* An event that the log could not give back is not fit to be published. */
static void test_check(void **state)
{
    (void)state;
    struct event ev = sample();
    ev.data = SLICE("{\"a\":1}}");
    assert_int_equal(event_check(&ev, &error), FICUS_ERR_INVALID);
    ev = sample();
    ev.topic = SLICE("Order Placed");
    assert_int_equal(event_check(&ev, &error), FICUS_ERR_INVALID);
    ev = sample();
    ev.source = SLICE_NONE;
    assert_int_equal(event_check(&ev, &error), FICUS_ERR_INVALID);
    ev = sample();
    ev.subject = SLICE("\xff");
    assert_int_equal(event_check(&ev, &error), FICUS_ERR_INVALID);
}

static struct slice nested(int depth)
{
    char *text = arena_alloc(&arena, (size_t)depth * 2);
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    return slice_make(text, (size_t)depth * 2);
}

/* Through the batch to the hub and through its answer: still fit, and parsed by anybody's defaults. */
static void assert_travels(const struct event *ev)
{
    struct arena a;
    struct buf b;
    struct event *back;
    struct json *v = NULL;
    size_t count = 0;
    const struct json_limits limits = {.size_max = EVENT_BATCH_SIZE_MAX};
    arena_init(&a, 16 * 1024 * 1024);
    buf_init(&b, 2 * EVENT_SIZE_MAX);
    (void)buf_add_char(&b, '[');
    assert_int_equal(event_encode(&b, ev, &error), FICUS_ERR_OK);
    (void)buf_add_char(&b, ']');
    assert_int_equal(hub_reads(&a, buf_slice(&b), &back, &count, &error), FICUS_ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(event_check(&back[0], &error), FICUS_ERR_OK);
    struct buf answer;
    buf_init(&answer, 2 * EVENT_SIZE_MAX);
    (void)buf_add_str(&answer, "{\"events\":[");
    assert_int_equal(event_encode(&answer, &back[0], &error), FICUS_ERR_OK);
    (void)buf_add_str(&answer, "]}");
    assert_int_equal(json_parse(&a, buf_slice(&answer), &limits, &v, &error), FICUS_ERR_OK);
    buf_done(&answer);
    buf_done(&b);
    arena_done(&a);
}

/* Reading refuses what has too many levels as checking does, wherever in the data they are. */
static void test_depth(void **state)
{
    (void)state;
    static const char *const topics[] = {"t", EVENT_TOPIC_DEAD, EVENT_TOPIC_REDRIVE "x"};
    enum { SHAPES = 3 };
    for (int depth = EVENT_DATA_DEPTH_MAX - 3; depth <= EVENT_DATA_DEPTH_MAX + 4; depth++)
        for (size_t i = 0; i < ARRAY_COUNT(topics) * SHAPES; i++) {
            struct event ev = sample(), back;
            struct buf b;
            buf_init(&b, 4096);
            struct slice inner = nested(depth);
            ev.topic = slice_str(topics[i / SHAPES]);
            size_t shape = i % SHAPES;
            ev.data = slice_str(shape == 0 ? arena_printf(&arena, SLICE_FMT, SLICE_ARG(inner))
                : shape == 1 ? arena_printf(&arena, "[[],1,{\"a\":[[]]}," SLICE_FMT ",[{}],2]", SLICE_ARG(inner))
                : arena_printf(&arena, "{\"a\":{},\"b\":[0," SLICE_FMT "],\"c\":[[[]]]}", SLICE_ARG(inner)));
            assert_int_equal(event_encode(&b, &ev, &error), FICUS_ERR_OK);
            bool fit = event_check(&ev, &error) == FICUS_ERR_OK;
            assert_int_equal(fit, depth + (int)shape <= EVENT_DATA_DEPTH_MAX + (i / SHAPES > 0 ? 2 : 0));
            assert_int_equal(event_decode(&arena, buf_slice(&b), &back, &error), fit ? FICUS_ERR_OK : FICUS_ERR_PARSE);
            buf_done(&b);
        }
}

/* What event_check passes can travel, also as a dead letter; else an outbox or a consumer would try it for ever. */
static void test_travels(void **state)
{
    (void)state;
    struct sim_disk *disk = sim_disk_new();
    struct crash_env *ce = crash_env_new(disk, 1);
    struct buf big;
    buf_init(&big, EVENT_SIZE_MAX);
    (void)buf_add_char(&big, '"');
    while (buf_slice(&big).size < EVENT_SIZE_MAX - 2000)
        (void)buf_add_str(&big, "\\b\\f");      /* must not grow on the way */
    (void)buf_add_char(&big, '"');
    struct event ev = sample(), dead;
    ev.data = nested(EVENT_DATA_DEPTH_MAX + 1);
    assert_int_equal(event_check(&ev, &error), FICUS_ERR_INVALID);
    const struct slice data[] = {nested(EVENT_DATA_DEPTH_MAX), buf_slice(&big)};
    for (size_t i = 0; i < ARRAY_COUNT(data); i++) {
        ev = sample();
        ev.data = data[i];
        assert_int_equal(event_check(&ev, &error), FICUS_ERR_OK);
        assert_travels(&ev);
        assert_int_equal(event_dead_letter(crash_env(ce), &arena, &ev, "x", "y", 1, &dead, &error), FICUS_ERR_OK);
        assert_int_equal(event_check(&dead, &error), FICUS_ERR_OK);
        assert_travels(&dead);
    }
    buf_done(&big);
    crash_env_free(ce);
    sim_disk_free(disk);
}

static void test_topics(void **state)
{
    (void)state;
    struct slice topics[EVENT_TOPICS_MAX];
    size_t count = 0;
    assert_int_equal(event_topics_parse(SLICE("a,b.c,d-e"), topics, &count, &error), FICUS_ERR_OK);
    assert_int_equal(count, 3);
    assert_true(slice_eq(topics[2], SLICE("d-e")));
    static const char *const bad[] = {"", "a,", ",a", "a,,b", "a b", "A", "a,a", ".a"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(event_topics_parse(slice_str(bad[i]), topics, &count, &error), FICUS_ERR_INVALID);
}

/* A dead letter carries the whole original; one that would be too large tells of it without its data. */
static void test_dead_letter(void **state)
{
    (void)state;
    struct sim_disk *disk = sim_disk_new();
    struct crash_env *ce = crash_env_new(disk, 1);
    struct event ev = sample(), dead, inner;
    struct json *v = NULL;
    int64_t attempts = 0;
    assert_int_equal(event_dead_letter(crash_env(ce), &arena, &ev, "payments", "no \"such\" card", 5, &dead, &error),
        FICUS_ERR_OK);
    assert_int_equal(event_check(&dead, &error), FICUS_ERR_OK);
    assert_true(slice_eq_str(dead.topic, EVENT_TOPIC_DEAD));
    assert_true(slice_eq_str(dead.source, "/payments"));
    assert_true(slice_eq(dead.causation, ev.id));
    assert_true(slice_eq(dead.traceparent, ev.traceparent));
    assert_int_equal(json_parse(&arena, dead.data, NULL, &v, &error), FICUS_ERR_OK);
    assert_true(json_i64(json_get(v, "attempts"), &attempts) && attempts == 5);
    assert_true(slice_eq_str(json_string_or(json_get(v, "reason"), SLICE_NONE), "no \"such\" card"));
    assert_int_equal(event_read(&arena, json_get(v, "event"), &inner, &error), FICUS_ERR_OK);
    assert_same(&ev, &inner);

    struct buf big;
    buf_init(&big, EVENT_SIZE_MAX);
    (void)buf_add_char(&big, '"');
    while (buf_slice(&big).size < EVENT_SIZE_MAX - 2000)
        (void)buf_add_char(&big, 'x');
    (void)buf_add_char(&big, '"');
    ev.data = buf_slice(&big);
    assert_int_equal(event_dead_letter(crash_env(ce), &arena, &ev, "payments", "large", 1, &dead, &error),
        FICUS_ERR_OK);
    assert_int_equal(event_check(&dead, &error), FICUS_ERR_OK);
    assert_int_equal(json_parse(&arena, dead.data, NULL, &v, &error), FICUS_ERR_OK);
    bool omitted = false;
    assert_true(json_bool(json_get(v, "data_omitted"), &omitted) && omitted);
    assert_null(json_get(json_get(v, "event"), "data"));
    buf_done(&big);
    crash_env_free(ce);
    sim_disk_free(disk);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_round_trip), TEST(test_schema), TEST(test_stored_damage), TEST(test_refused),
        TEST(test_list), TEST(test_check), TEST(test_depth), TEST(test_travels),
        TEST(test_topics), TEST(test_dead_letter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
