/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines: their exact form, that they are JSON whatever is put in, their bound, and the limit on repetition.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "json.h"
#include "logline.h"
#include "mem.h"

#include <stdio.h>

/* An env that has a clock set by hand and keeps what is logged. */
struct log_env {
    struct env env;
    int64_t now_ns, wall_ms;
    struct buf lines;
    size_t line_count;
    bool at_once; /* of the last line */
};

static int64_t fake_now_ns(struct env *e)
{
    return ((struct log_env *)e)->now_ns;
}

static int64_t fake_wall_ms(struct env *e)
{
    return ((struct log_env *)e)->wall_ms;
}

static void fake_log_write(struct env *e, const void *p, size_t size, bool at_once)
{
    struct log_env *l = (struct log_env *)e;
    l->at_once = at_once;
    assert_true(buf_add(&l->lines, p, size));
    l->line_count++;
}

static const struct env_ops fake_ops = {.now_ns = fake_now_ns, .wall_ms = fake_wall_ms, .log_write = fake_log_write};

struct fixture {
    struct log_env env;
    struct logger logger;
    struct arena arena;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->env.env.ops = &fake_ops;
    f->env.wall_ms = 1700000000123;
    buf_init(&f->env.lines, 1024 * 1024);
    logger_init(&f->logger, &f->env.env, "orders", "orders-1", LOG_INFO);
    arena_init(&f->arena, 4 * 1024 * 1024);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    logger_done(&f->logger);
    buf_done(&f->env.lines);
    arena_done(&f->arena);
    mem_free(f);
    return 0;
}

static struct log_context context(void)
{
    struct log_context ctx = {.correlation = SLICE("req-7")};
    assert_true(trace_parse(SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), &ctx.trace));
    return ctx;
}

/* Members come in the agreed order, then the call's own. */
static void the_whole_form(void **state)
{
    struct fixture *f = *state;
    struct log_context ctx = context();
    struct ficus_error error = {0};
    err_set(&error, FICUS_ERR_TIMEOUT, "call \"bank\"");
    LOG(&f->logger, LOG_WARN, &ctx, "request.done", "request answered", LOG_STR("route", "/v1/{id}"),
        LOG_INT("status", 200),
        LOG_BOOL("cached", false), LOG_SLICE("user", SLICE_NONE), LOG_STR("peer", NULL), LOG_ERR(&error),
            LOG_INT("min", INT64_MIN));
    assert_string_equal(buf_str(&f->env.lines),
        "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warn\",\"service\":\"orders\",\"instance\":\"orders-1\","
        "\"event\":\"request.done\",\"msg\":\"request answered\",\"trace\":\"4bf92f3577b34da6a3ce929d0e0e4736\","
        "\"span\":\"00f067aa0ba902b7\",\"correlation\":\"req-7\",\"route\":\"/v1/{id}\",\"status\":200,"
        "\"cached\":false,\"user\":null,\"peer\":null,\"error\":\"call \\\"bank\\\"\",\"min\":-9223372036854775808}\n");
}

/* Without context and fields the line is short; a formatted message works; one call is one write. */
static void the_short_form(void **state)
{
    struct fixture *f = *state;
    LOG(&f->logger, LOG_INFO, NULL, "start", "up");
    LOGF(&f->logger, LOG_ERROR, &(struct log_context){0}, "stop", LOG_FIELDS(LOG_INT("n", 1)), "%d of %s", 3, "4");
    assert_string_equal(buf_str(&f->env.lines),
        "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"info\",\"service\":\"orders\",\"instance\":\"orders-1\","
        "\"event\":\"start\",\"msg\":\"up\"}\n"
        "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"error\",\"service\":\"orders\",\"instance\":\"orders-1\","
        "\"event\":\"stop\",\"msg\":\"3 of 4\",\"n\":1}\n");
    assert_int_equal(f->env.line_count, 2);
}

/* A line of an event is the line that log_write makes, also when time has gone on. */
static void an_event_is_the_same_line(void **state)
{
    struct fixture *f = *state;
    struct log_context ctx = context();
    struct log_event event;
    log_event_init(&event, &f->logger, LOG_INFO, "request.done", "a \"quoted\" message");
    for (int i = 0; i < 4; i++) {
        f->env.wall_ms += i / 2 * 86400001;
        const struct log_field *fields = LOG_FIELDS(LOG_STR("route", "/v1/{id}"), LOG_STR("word", "as it is"), LOG_STR("none", NULL), LOG_INT("i", i));
        buf_clear(&f->env.lines);
        log_write(&f->logger, LOG_INFO, i % 2 == 0 ? &ctx : NULL, "request.done", fields, "%s", "a \"quoted\" message");
        char *line = mem_strdup(buf_str(&f->env.lines));
        buf_clear(&f->env.lines);
        char text[LOG_LINE_SIZE_MAX];
        struct log_line written = {.p = text};
        log_event_begin(&event, &f->logger, i % 2 == 0 ? &ctx : NULL, &written);
        log_line_text(&written, LOG_KEY("route"), SLICE("/v1/{id}"));
        log_line_plain(&written, LOG_KEY("word"), SLICE("as it is"));
        log_line_text(&written, LOG_KEY("none"), SLICE_NONE);
        log_line_int(&written, LOG_KEY("i"), i);
        log_event_end(&f->logger, &written);
        assert_string_equal(buf_str(&f->env.lines), line);
        mem_free(line);
    }
}

static int calls;

static const char *costly(void)
{
    calls++;
    return "x";
}

/* Below the level nothing is written and no field is computed; without a logger too. */
static void levels_are_kept(void **state)
{
    struct fixture *f = *state;
    LOG(&f->logger, LOG_DEBUG, NULL, "a", "b", LOG_STR("k", costly()));
    LOG((struct logger *)NULL, LOG_ERROR, NULL, "a", "b", LOG_STR("k", costly()));
    assert_int_equal(f->env.line_count, 0);
    assert_int_equal(calls, 0);
    enum log_level level;
    assert_true(log_level_parse(SLICE("debug"), &level));
    f->logger.level_min = level;
    LOG(&f->logger, LOG_DEBUG, NULL, "a", "b", LOG_STR("k", costly()));
    assert_int_equal(f->env.line_count, 1);
    assert_int_equal(calls, 1);
    assert_false(log_level_parse(SLICE("loud"), &level));
}

/* The line as JSON; fails when it is not exactly one object and one newline. */
static struct json *parsed(struct fixture *f, const char *line, size_t size)
{
    struct json *root = NULL;
    struct ficus_error error = {0};
    assert_true(size > 0 && size <= LOG_LINE_SIZE_MAX);
    assert_ptr_equal(memchr(line, '\n', size), line + size - 1);
    if (json_parse(&f->arena, slice_make(line, size - 1), NULL, &root, &error) != FICUS_ERR_OK)
        fail_msg("%s\n%.*s", error.text, (int)size, line);
    assert_int_equal(root->type, JSON_OBJECT);
    return root;
}

/* Every byte value, alone and in broken sequences, comes out as JSON, and good UTF-8 unchanged. */
static void any_bytes_are_json(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 65536; i++) {
        char line[LOG_LINE_SIZE_MAX], bytes[4] = {(char)(i >> 8), (char)i, '"', (char)(i >> 8)};
        struct log_record r = {.level = LOG_INFO, .service = "s", .instance = "i", .event = "e", .msg = "m",
                               .fields = LOG_FIELDS(LOG_SLICE("k", slice_make(bytes, 4)))};
        parsed(f, line, log_format(&r, line));
        arena_clear(&f->arena);
    }
    char line[LOG_LINE_SIZE_MAX];
    struct log_record r = {.level = LOG_INFO, .service = "s", .instance = "i", .event = "e",
                           .msg = "\xe2\x82\xac \xf0\x9f\x8c\xb3\x7f\x1b"};
    struct json *root = parsed(f, line, log_format(&r, line));
    assert_true(slice_eq(json_string_or(json_get(root, "msg"), SLICE_NONE), slice_str(r.msg)));
}

/* Whatever the sizes, the line is JSON, within its bound, and says when something was cut; the members before are
 * whole. */
static void any_size_is_bounded(void **state)
{
    struct fixture *f = *state;
    static const char *const units[] = {"a", "\"", "\x01", "\xff", "\xe2\x82\xac", "\xf0\x9f\x8c\xb3"};
    for (size_t u = 0; u < ARRAY_COUNT(units); u++) {
        for (size_t count = 1; count < 9000; count += 1 + count / 3) {
            struct buf text;
            buf_init(&text, 64 * 1024);
            for (size_t i = 0; i < count; i++)
                buf_add_str(&text, units[u]);
            char line[LOG_LINE_SIZE_MAX];
            struct slice s = buf_slice(&text);
            struct log_context ctx = context();
            ctx.correlation = s;
            struct log_record r = {
                .level = LOG_INFO, .service = buf_str(&text), .instance = buf_str(&text), .event = buf_str(&text),
                    .msg = buf_str(&text),
                .ctx = &ctx, .suppressed = UINT32_MAX,
                .fields = LOG_FIELDS(LOG_SLICE("a", s), LOG_SLICE("b", s), LOG_INT("c", INT64_MIN), LOG_SLICE("d", s),
                                     LOG_SLICE("f", s),
                                     LOG_SLICE("g", s), LOG_SLICE("h", s), LOG_BOOL("i", true)),
            };
            struct json *root = parsed(f, line, log_format(&r, line));
            bool whole = slice_eq(json_string_or(json_get(root, "h"), SLICE_NONE),
                                  json_string_or(json_get(root, "a"), SLICE_NONE));
            assert_true(count < 2000 || json_get(root, "cut") != NULL);
            assert_true(json_get(root, "cut") != NULL || (whole && json_get(root, "i") != NULL));
            assert_non_null(json_get(root, "trace"));
            assert_non_null(json_get(root, "suppressed"));
            buf_done(&text);
            arena_clear(&f->arena);
        }
    }
}

/* A plain field is there as a whole, or left out when what is before it has taken its place. */
static void plain_is_whole_or_not_there(void **state)
{
    struct fixture *f = *state;
    static char filler[LOG_VALUE_SIZE_MAX], text[64];
    size_t there = 0, left_out = 0;
    struct log_event event;
    log_event_init(&event, &f->logger, LOG_INFO, "e", "m");
    memset(filler, 'a', sizeof filler);
    memset(text, 'b', sizeof text);
    struct slice full = slice_make(filler, sizeof filler);
    for (size_t size = sizeof filler - 400; size <= sizeof filler; size++) {
        char line[LOG_LINE_SIZE_MAX];
        struct slice plain = slice_make(text, size % (sizeof text + 1));
        struct log_line l = {.p = line};
        buf_clear(&f->env.lines);
        log_event_begin(&event, &f->logger, NULL, &l);
        log_line_text(&l, LOG_KEY("a"), full);
        log_line_text(&l, LOG_KEY("b"), full);
        log_line_text(&l, LOG_KEY("c"), full);
        log_line_text(&l, LOG_KEY("d"), slice_make(filler, size));
        log_line_plain(&l, LOG_KEY("p"), plain);
        log_event_end(&f->logger, &l);
        struct json *root = parsed(f, buf_str(&f->env.lines), buf_slice(&f->env.lines).size);
        struct json *p = json_get(root, "p");
        assert_true(p == NULL || slice_eq(p->text, plain));
        assert_true(p != NULL || json_get(root, "cut") != NULL);
        there += p != NULL;
        left_out += p == NULL;
        arena_clear(&f->arena);
    }
    assert_true(there > 0 && left_out > 0);
}

/* More than 24 fields are cut off, and a long message is cut and marked. */
static void counts_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct log_field fields[LOG_FIELDS_MAX + 2];
    char line[LOG_LINE_SIZE_MAX], keys[LOG_FIELDS_MAX + 1][16], big[3000];
    for (size_t i = 0; i <= LOG_FIELDS_MAX; i++) {
        snprintf(keys[i], sizeof keys[i], ",\"k%zu\":", i);
        fields[i] = (struct log_field){.key = slice_str(keys[i]), .kind = LOG_FIELD_INT, .number = (int64_t)i};
    }
    fields[LOG_FIELDS_MAX + 1] = (struct log_field){.kind = LOG_FIELD_END};
    struct log_record r = {.level = LOG_INFO, .service = "s", .instance = "i", .event = "e", .msg = "m",
                           .fields = fields};
    struct json *root = parsed(f, line, log_format(&r, line));
    assert_non_null(json_get(root, "k23"));
    assert_null(json_get(root, "k24"));
    assert_non_null(json_get(root, "cut"));
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    LOG(&f->logger, LOG_INFO, NULL, "e", big);
    root = parsed(f, buf_str(&f->env.lines), buf_slice(&f->env.lines).size);
    assert_int_equal(json_get(root, "msg")->text.size, LOG_VALUE_SIZE_MAX);
    assert_non_null(json_get(root, "cut"));
}

/* Of one warning 20 a second pass; the first of the next second says how many did not; other events and info are not
 * touched. */
static void repetition_is_limited(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 50; i++)
        LOG(&f->logger, LOG_WARN, NULL, "call.failed", "m");
    assert_int_equal(f->env.line_count, LOG_REPEATS_MAX);
    LOG(&f->logger, LOG_ERROR, NULL, "call.other", "m");
    assert_int_equal(f->env.line_count, LOG_REPEATS_MAX + 1);
    for (int i = 0; i < 50; i++)
        LOG(&f->logger, LOG_INFO, NULL, "call.failed", "m");
    assert_int_equal(f->env.line_count, LOG_REPEATS_MAX + 51);
    f->env.now_ns += INT64_C(1000000000);
    buf_clear(&f->env.lines);
    LOG(&f->logger, LOG_WARN, NULL, "call.failed", "m");
    assert_non_null(strstr(buf_str(&f->env.lines), "\"msg\":\"m\",\"suppressed\":30}"));
    buf_clear(&f->env.lines);
    LOG(&f->logger, LOG_WARN, NULL, "call.failed", "m");
    assert_null(strstr(buf_str(&f->env.lines), "suppressed"));
}

/* Warnings and errors may be the last words of a process: they do not wait for others. */
static void urgent_levels_go_at_once(void **state)
{
    struct fixture *f = *state;
    static const bool at_once[LOG_LEVEL_COUNT] = {[LOG_WARN] = true, [LOG_ERROR] = true};
    f->logger.level_min = LOG_DEBUG;
    for (int level = 0; level < LOG_LEVEL_COUNT; level++) {
        LOG(&f->logger, (enum log_level)level, NULL, "any", "m");
        assert_int_equal(f->env.at_once, at_once[level]);
    }
}

/* A flood of ever new event names is limited too: those past the table share one allowance. */
static void event_names_are_bounded(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 1000; i++) {
        char event[100];
        snprintf(event, sizeof event, "event.%d", i);
        LOG(&f->logger, LOG_WARN, NULL, event, "m");
    }
    assert_int_equal(f->env.line_count, LOG_EVENTS_MAX + LOG_REPEATS_MAX);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_whole_form), TEST(the_short_form), TEST(an_event_is_the_same_line), TEST(levels_are_kept), TEST(any_bytes_are_json),
            TEST(any_size_is_bounded), TEST(plain_is_whole_or_not_there),
        TEST(counts_are_bounded), TEST(repetition_is_limited), TEST(urgent_levels_go_at_once), TEST(event_names_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
