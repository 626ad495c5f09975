/* SPDX-License-Identifier: Apache-2.0
 *
 * The store of good answers: what may be kept, who finds it, how old it gets, and that it stays within its bounds.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "mem.h"
#include "stale.h"

#include <stdio.h>

#define FIELDS_MAX 4

static struct http_msg message(struct http_field *fields, int status, const char *const *pairs)
{
    struct http_msg m = {.status = status, .content_length = -1, .fields = fields};
    for (; *pairs != NULL; pairs += 2)
        fields[m.field_count++] = (struct http_field){slice_str(pairs[0]), slice_str(pairs[1])};
    return m;
}

/* RFC 9111: what forbids storing, or serving stale, keeps an answer out. */
static void test_may_keep(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *request[3], *answer[3];
        bool anybody, user;
    } cases[] = {
        {200, {NULL}, {NULL}, true, true},
        {200, {NULL}, {"Cache-Control", "max-age=5, public"}, true, true},
        {200, {NULL}, {"Cache-Control", "private"}, false, true},
        {200, {NULL}, {"cache-control", "max-age=5, No-Store"}, false, false},
        {200, {NULL}, {"Cache-Control", "no-cache"}, false, false},
        {200, {NULL}, {"Cache-Control", "no-cache=\"set-cookie\""}, false, false},
        {200, {NULL}, {"Cache-Control", "must-revalidate"}, false, false},
        {200, {NULL}, {"Cache-Control", "proxy-revalidate"}, false, false},
        {200, {NULL}, {"Cache-Control", "s-maxage=10"}, false, false},
        {200, {NULL}, {"Cache-Control", "x-no-store"}, true, true},
        {200, {"Cache-Control", "no-store"}, {NULL}, false, false},
        {200, {"Cache-Control", "no-cache"}, {NULL}, true, true},
        {200, {NULL}, {"Set-Cookie", "a=1"}, false, false},
        {200, {NULL}, {"Vary", "accept, *"}, false, false},
        {200, {NULL}, {"Vary", "accept"}, true, true},
        {200, {NULL}, {"Content-Type", "text/event-stream; charset=utf-8"}, false, false},
        {206, {NULL}, {NULL}, false, false},
        {404, {NULL}, {NULL}, false, false},
        {203, {NULL}, {NULL}, false, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct http_field in[FIELDS_MAX], out[FIELDS_MAX];
        const struct http_msg request = message(in, 0, cases[i].request),
                              answer = message(out, cases[i].status, cases[i].answer);
        if (stale_may_keep(&request, &answer, false) != cases[i].anybody ||
            stale_may_keep(&request, &answer, true) != cases[i].user)
            fail_msg("case %zu", i);
    }
    struct http_field none[1];
    const char *const no_fields[] = {NULL};
    struct http_msg request = message(none, 0, no_fields), answer = message(none, 200, no_fields);
    answer.content_length = STALE_ANSWER_SIZE_MAX + 1;
    assert_false(stale_may_keep(&request, &answer, false));
}

struct rig {
    struct env *e;
    struct stale *s;
};

static void keep(struct rig *r, const char *key, const char *const *request, const char *const *answer,
                 const char *body, int64_t age_ms_max)
{
    struct http_field in[FIELDS_MAX], out[FIELDS_MAX];
    const struct http_msg q = message(in, 0, request), a = message(out, 200, answer);
    stale_keep(r->s, slice_str(key), &q, &a, slice_str(body), age_ms_max);
}

/* The body that is found, "" when none is. */
static const char *find(struct rig *r, const char *key, const char *const *request, int64_t *ret_age_s)
{
    static char text[64];
    struct http_field in[FIELDS_MAX];
    const struct http_msg q = message(in, 0, request);
    struct stale_answer a;
    if (!stale_find(r->s, slice_str(key), &q, &a))
        return "";
    (void)snprintf(text, sizeof text, SLICE_FMT, SLICE_ARG(a.body));
    if (ret_age_s != NULL)
        *ret_age_s = a.age_s;
    stale_release(r->s, &a);
    return text;
}

static const char *const plain[] = {NULL};

static struct sim_disk *disk;
static struct crash_env *world;

static struct rig rig_new(void)
{
    disk = sim_disk_new();
    world = crash_env_new(disk, 1);
    struct rig r = {.e = crash_env(world)};
    r.s = stale_new(r.e);
    assert_non_null(r.s);
    return r;
}

static void rig_done(struct rig *r)
{
    stale_free(r->s);
    crash_env_free(world);
    sim_disk_free(disk);
}

/* The newest answer of a key is found, with its age, until it is too old; the answer's own limit goes before ours. */
static void test_age(void **state)
{
    (void)state;
    struct rig r = rig_new();
    int64_t age_s = -1;
    static const char *const aged[] = {"Age", "7", NULL}, *const limited[] = {"Cache-Control",
                                                                              "max-age=10, stale-if-error=\"20\"",
                                                                              NULL};
    static const char *const reload[] = {"Cache-Control", "no-cache", NULL};
    assert_string_equal(find(&r, "a", plain, NULL), "");
    keep(&r, "a", plain, plain, "one", 60000);
    keep(&r, "a", plain, aged, "two", 60000);
    keep(&r, "b", plain, limited, "short", 60000);
    assert_int_equal(stale_count(r.s), 2);
    crash_env_run_ms(world, 30000);
    assert_string_equal(find(&r, "a", plain, &age_s), "two");
    assert_int_equal(age_s, 37);
    assert_string_equal(find(&r, "a", reload, NULL), "");
    assert_string_equal(find(&r, "b", plain, NULL), "short");
    crash_env_run_ms(world, 1000);
    assert_string_equal(find(&r, "b", plain, NULL), "");
    crash_env_run_ms(world, 29001);
    assert_string_equal(find(&r, "a", plain, NULL), "");
    assert_int_equal(stale_count(r.s), 0);
    assert_int_equal(stale_size(r.s), 0);
    keep(&r, "c", plain, plain, "", 1000);
    assert_int_equal(stale_count(r.s), 1);
    stale_drop(r.s, SLICE("c"));
    stale_drop(r.s, SLICE("never there"));
    assert_int_equal(stale_size(r.s), 0);
    rig_done(&r);
}

/* An answer that varies is for requests with the same fields only. */
static void test_vary(void **state)
{
    (void)state;
    struct rig r = rig_new();
    static const char *const vary[] = {"Vary", "Accept-Language, X-Key", NULL};
    static const char *const german[] = {"accept-language", "de", NULL}, *const english[] = {"Accept-Language", "en",
                                                                                             NULL};
    static const char *const more[] = {"accept-language", "de", "X-Key", "", NULL}, *const other[] = {"Accept-Language",
                                                                                                      "de", "Accept",
                                                                                                      "x", NULL};
    keep(&r, "a", german, vary, "gut", 60000);
    assert_string_equal(find(&r, "a", german, NULL), "gut");
    assert_string_equal(find(&r, "a", other, NULL), "gut");
    assert_string_equal(find(&r, "a", english, NULL), "");
    assert_string_equal(find(&r, "a", plain, NULL), "");
    assert_string_equal(find(&r, "a", more, NULL), "");
    rig_done(&r);
}

/* Neither count nor size is ever passed, and what was used last stays. */
static void test_bounds(void **state)
{
    (void)state;
    struct rig r = rig_new();
    char key[32], *body = mem_zalloc(STALE_ANSWER_SIZE_MAX + 2);
    keep(&r, "used", plain, plain, "still", 60000);
    for (int i = 0; i < 3 * STALE_COUNT_MAX; i++) {
        (void)snprintf(key, sizeof key, "small-%d", i);
        keep(&r, key, plain, plain, "x", 60000);
        assert_string_equal(find(&r, "used", plain, NULL), "still");
        assert_true(stale_count(r.s) <= STALE_COUNT_MAX && stale_size(r.s) <= STALE_SIZE_MAX);
    }
    assert_int_equal(stale_count(r.s), STALE_COUNT_MAX);
    assert_string_equal(find(&r, key, plain, NULL), "x");
    assert_string_equal(find(&r, "small-0", plain, NULL), "");
    memset(body, 'b', STALE_ANSWER_SIZE_MAX);
    for (int i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof key, "big-%d", i);
        keep(&r, key, plain, plain, body, 60000);
        assert_true(stale_count(r.s) <= STALE_COUNT_MAX && stale_size(r.s) <= STALE_SIZE_MAX);
    }
    assert_in_range(stale_count(r.s), 100, STALE_SIZE_MAX / STALE_ANSWER_SIZE_MAX);
    body[STALE_ANSWER_SIZE_MAX] = 'b'; /* one byte too many: and what was there is gone, too */
    keep(&r, key, plain, plain, body, 60000);
    assert_string_equal(find(&r, key, plain, NULL), "");
    mem_free(body);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_may_keep),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_vary),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
