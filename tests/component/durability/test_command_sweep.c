/* SPDX-License-Identifier: Apache-2.0
 *
 * The failure sweep of what operators say to sagas: start, signal, cancel, retry and terminate, with each allocation failing in
 * turn, of the engine's own way as well. Every command is answered, once; one that failed says why and may be said again; in the
 * end all instances are where they were sent, and also after a restart.
 */
#include "saga_world.h"

#include "alloc_fail.h"

enum { TRIES_MAX = 12, WAIT_MS = 60 * 1000 };

static const char trip_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"hold\":{\"call\":\"PUT seats:/holds/{id}\",\"body\":{\"items\":\"{input.items}\"},\"undo\":\"DELETE seats:/holds/{id}\"}},"
    "{\"go\":{\"signal\":\"go\",\"timeout\":\"never\"}},"
    "{\"buy\":{\"call\":\"POST seats:/holds/{id}/buy\",\"body\":{\"by\":\"{signals.go.by}\"},\"pivot\":true}}]}";

struct run {
    struct world *w;
    unsigned failures;
};

/* As long as step is 0 no seat is given back. */
static struct plan answer(struct world *w, const char *key)
{
    bool refused = w->step == 0 && strstr(key, "/hold/undo") != NULL;
    return refused ? (struct plan){.status = 409, .code = "no"} : (struct plan){.status = 200};
}

static void again(struct run *r, enum ficus_err err, const char *what, const char *detail)
{
    if (err != FICUS_ERR_NOMEM || detail[0] == '\0' || ++r->failures > TRIES_MAX)
        fail_msg("%s fails: %s, \"%s\"", what, err_text(err), detail);
}

static void say_to(struct run *r, enum saga_command_kind kind, const char *id)
{
    static const char *const names[] = {[SAGA_START] = "start", [SAGA_RETRY] = "retry", [SAGA_CANCEL] = "cancel",
                                        [SAGA_TERMINATE] = "terminate", [SAGA_SIGNAL] = "signal"};
    const struct saga_command c = {.kind = kind, .saga = SLICE("checkout"), .id = slice_str(id), .actor = SLICE("ann"), .reason = SLICE("because"),
                                   .signal = kind == SAGA_SIGNAL ? SLICE("go") : SLICE_NONE,
                                   .data = kind == SAGA_START ? SLICE("{\"items\":[1,2]}") : kind == SAGA_SIGNAL ? SLICE("{\"by\":\"bob\"}") : SLICE_NONE};
    for (;;) {
        struct seen s = {0};
        enum ficus_err err = saga_engine_command(r->w->g, &c, on_view, &s);
        if (err != FICUS_ERR_OK) {
            again(r, err, names[kind], "at once");
            continue;
        }
        crash_env_run_ms(r->w->ce, WAIT_MS);
        if (!s.done)
            fail_msg("%s of %s is not answered", names[kind], id);
        if (s.err == FICUS_ERR_OK) {
            if (strstr(s.json, "\"state\":") == NULL || strstr(s.json, "\"again\":") == NULL)
                fail_msg("%s of %s is answered \"%s\"", names[kind], id, s.json);
            return;
        }
        again(r, s.err, names[kind], s.detail);
    }
}

static void must_be(struct run *r, const char *id, const char *state)
{
    char member[64];
    snprintf(member, sizeof member, "\"state\":\"%s\"", state);
    for (;;) {
        struct seen s = {0};
        enum ficus_err err = saga_engine_show(r->w->g, SLICE("checkout"), slice_str(id), SLICE_NONE, on_view, &s);
        if (err == FICUS_ERR_OK) {
            crash_env_run(r->w->ce);
            assert_true(s.done);
            err = s.err;
        }
        if (err == FICUS_ERR_OK && strstr(s.json, member) == NULL)
            fail_msg("%s is not %s: %s", id, state, s.json);
        if (err == FICUS_ERR_OK)
            return;
        again(r, err, "show", s.done ? s.detail : "at once");
    }
}

static void work(struct run *r)
{
    say_to(r, SAGA_START, "done");
    must_be(r, "done", "waiting");
    say_to(r, SAGA_SIGNAL, "done");
    say_to(r, SAGA_START, "ended");
    say_to(r, SAGA_TERMINATE, "ended");
    say_to(r, SAGA_START, "undone");
    say_to(r, SAGA_CANCEL, "undone");
    must_be(r, "undone", "stuck");
    r->w->step = 1;
    say_to(r, SAGA_RETRY, "undone");
}

static void check(struct run *r)
{
    must_be(r, "done", "completed");
    must_be(r, "ended", "terminated");
    must_be(r, "undone", "compensated");
}

/* True: something failed. */
static bool run_one(uint64_t alloc)
{
    struct run r = {.w = world_new()};
    r.w->answer = answer;
    open_engine(r.w, trip_text);
    (void)alloc_env(r.w->env);
    crash_env_run(r.w->ce);
    alloc_fail_at(alloc);
    work(&r);
    bool met = alloc_fault.failed;
    alloc_fail_at(0);
    check(&r);
    close_engine(r.w);
    open_engine(r.w, trip_text);
    check(&r);
    world_free(r.w);
    return met;
}

/* Under the sanitizer each piece of an arena is an allocation by itself, and all takes longer. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 3 };
#else
enum { STRIDE = 1 };
#endif

static void test_allocations(void **state)
{
    (void)state;
    uint64_t n = 1;
    while (run_one(n))
        n += STRIDE;
    printf("%llu allocations\n", (unsigned long long)n - 1);
    assert_true(n > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
