/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups of parallel steps in the engine: several calls of one instance under way, answers that come while others are
 * written, a refusal in the midst, waits beside calls, and power that is lost after every single operation of the disk.
 */
#include "saga_world.h"

/* Three at once before the pivot, two behind it. */
static const char pack_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"hold\":{\"call\":\"PUT i:/h/{id}\",\"undo\":\"DELETE i:/h/{id}\"}},"
    "{\"parallel\":[{\"a\":{\"call\":\"PUT i:/a/{id}\",\"body\":{\"all\":\"{input.items}\"},\"undo\":\"DELETE i:/a/{id}\"}},"
    "{\"b\":{\"call\":\"PUT i:/b/{id}\",\"undo\":\"DELETE i:/b/{id}\"}},"
    "{\"c\":{\"call\":\"PUT i:/c/{id}\",\"undo\":\"DELETE i:/c/{id}\",\"give_up\":\"1m\",\"code\":\"c_is_away\"}}]},"
    "{\"pivot\":{\"call\":\"POST i:/p/{id}\",\"pivot\":true}},"
    "{\"parallel\":[{\"x\":{\"call\":\"POST i:/x/{id}\",\"retry\":\"forever\"}},{\"y\":{\"call\":\"POST i:/y/{id}\",\"retry\":\"forever\"}}]}]}";

/* The same one after another: an older version of it. */
static const char line_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"hold\":{\"call\":\"PUT i:/h/{id}\",\"undo\":\"DELETE i:/h/{id}\"}},"
    "{\"a\":{\"call\":\"PUT i:/a/{id}\",\"undo\":\"DELETE i:/a/{id}\"}},"
    "{\"b\":{\"call\":\"PUT i:/b/{id}\",\"undo\":\"DELETE i:/b/{id}\"}},"
    "{\"pivot\":{\"call\":\"POST i:/p/{id}\",\"pivot\":true}}]}";

/* A call beside a signal and a wait. */
static const char mix_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"parallel\":[{\"check\":{\"call\":\"PUT i:/k/{id}\",\"undo\":\"DELETE i:/k/{id}\"}},"
    "{\"approval\":{\"signal\":\"approved\",\"timeout\":\"1h\"}},{\"cool\":{\"wait\":\"10m\"}}]},"
    "{\"pay\":{\"call\":\"POST i:/p/{id}/{signals.approved.by}\",\"pivot\":true}}]}";

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE };

static void assert_has(struct seen s, const char *text)
{
    if (strstr(s.json, text) == NULL)
        fail_msg("no %s in %s", text, s.json);
}

static size_t calls_of(const struct world *w, const char *key)
{
    size_t count = 0;
    for (size_t i = 0; i < w->call_count; i++)
        count += strcmp(w->keys[i], key) == 0;
    return count;
}

/* What the participants know at the end: a do is done when it was called last, an undo undone. */
static bool is_in_effect(const struct world *w, const char *step)
{
    char done[64], undone[64];
    bool effect = false;
    snprintf(done, sizeof done, "checkout/o1/%s/do", step);
    snprintf(undone, sizeof undone, "checkout/o1/%s/undo", step);
    for (size_t i = 0; i < w->call_count; i++)
        effect = strcmp(w->keys[i], done) == 0 || (effect && strcmp(w->keys[i], undone) != 0);
    return effect;
}

static struct seen signal_to(struct world *w, const char *signal, bool refuse)
{
    const struct saga_command c = {.kind = SAGA_SIGNAL, .saga = SLICE("checkout"), .id = SLICE("o1"), .actor = SLICE("ann"),
                                   .signal = slice_str(signal), .data = SLICE("{\"by\":\"ann\"}"), .refuse = refuse};
    return command(w, &c);
}

/* All of a group are under way at once, each with its own key and body; the next step comes when all are done. */
static void test_at_once(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, pack_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_int_equal(w->calling_max, 3);
    assert_calls(w, "checkout/o1/hold/do checkout/o1/a/do checkout/o1/b/do checkout/o1/c/do checkout/o1/pivot/do "
                    "checkout/o1/x/do checkout/o1/y/do");
    assert_state(w, "o1", "completed");
    assert_int_equal(saga_engine_live(w->g), 0);
    world_free(w);
}

static struct plan refuse_b(struct world *w, const char *key)
{
    (void)w;
    if (strstr(key, "/b/do") != NULL)
        return (struct plan){.status = 409, .code = "sold_out"};
    return strstr(key, "/c/do") != NULL ? (struct plan){.err = FICUS_ERR_RESET} : (struct plan){.status = 200};
}

/* A refusal turns the instance back: another that has no answer is called no more, counts as perhaps done, and all are
 * undone one after another, from the last to the first. */
static void test_refused(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = refuse_b;
    open_engine(w, pack_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 10000);
    assert_state(w, "o1", "compensated");
    assert_has(show(w, "o1"), "\"failure\":\"sold_out\"");
    assert_calls(w, "checkout/o1/hold/do checkout/o1/a/do checkout/o1/b/do checkout/o1/c/do "
                    "checkout/o1/c/undo checkout/o1/a/undo checkout/o1/hold/undo");
    world_free(w);
}

static struct plan c_is_away(struct world *w, const char *key)
{
    return strstr(key, "/c/do") != NULL && w->step == 0 ? (struct plan){.err = FICUS_ERR_REFUSED} : (struct plan){.status = 200};
}

/* One that is repeated keeps no other from its answer; the view shows which are open; by its give_up all is undone. */
static void test_one_is_away(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = c_is_away;
    open_engine(w, pack_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 20000);
    assert_state(w, "o1", "running");
    assert_has(show(w, "o1"), "\"step\":\"c\"");
    assert_has(show(w, "o1"), "\"open\":[\"c\"]");
    assert_int_equal(calls_of(w, "checkout/o1/a/do"), 1);
    assert_true(calls_of(w, "checkout/o1/c/do") > 3);
    crash_env_run_ms(w->ce, MINUTE);
    assert_state(w, "o1", "compensated");
    assert_has(show(w, "o1"), "\"failure\":\"c_is_away\"");
    world_free(w);
}

/* Cancelled and terminated in the midst: undone, or left with what is done and perhaps done. */
static void test_by_hand(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = c_is_away;
    open_engine(w, pack_text);
    place(w, "o1");
    place(w, "o2");
    crash_env_run_ms(w->ce, 5000);
    assert_int_equal(say(w, SAGA_CANCEL, "o1").err, FICUS_ERR_OK);
    assert_int_equal(say(w, SAGA_TERMINATE, "o2").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 5000);
    assert_state(w, "o1", "compensated");
    assert_false(is_in_effect(w, "a") || is_in_effect(w, "b") || is_in_effect(w, "c") || is_in_effect(w, "hold"));
    assert_has(show(w, "o2"), "\"left\":[\"hold\",\"a\",\"b\",\"c\"]");
    assert_int_equal(saga_engine_live(w->g), 0);
    world_free(w);
}

static struct plan y_refuses(struct world *w, const char *key)
{
    return strstr(key, "/y/do") != NULL && w->step == 0 ? (struct plan){.status = 409, .code = "no"} : (struct plan){.status = 200};
}

/* Behind the pivot a refused one makes the instance stuck, over a restart too; a retry does what is left, not what is done. */
static void test_stuck(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = y_refuses;
    open_engine(w, pack_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "stuck");
    close_engine(w);
    open_engine(w, pack_text);
    w->step = 1;
    assert_int_equal(say(w, SAGA_RETRY, "o1").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    assert_int_equal(calls_of(w, "checkout/o1/x/do"), 1);
    assert_int_equal(calls_of(w, "checkout/o1/y/do"), 2);
    world_free(w);
}

/* ---- waits beside calls ---- */

static struct plan check_is_away(struct world *w, const char *key)
{
    return strstr(key, "/check/do") != NULL && w->step == 0 ? (struct plan){.err = FICUS_ERR_REFUSED} : (struct plan){.status = 200};
}

/* Call, signal and wait end in any order, over a restart; each for itself, and none is forgotten. */
static void test_waits(void **state)
{
    (void)state;
    for (int order = 0; order < 3; order++) {
        struct world *w = world_new();
        w->answer = check_is_away;
        w->step = order == 0;
        open_engine(w, mix_text);
        place(w, "o1");
        crash_env_run_ms(w->ce, MINUTE);
        assert_state(w, "o1", order == 0 ? "waiting" : "running");
        if (order == 1)
            assert_int_equal(signal_to(w, "approved", false).err, FICUS_ERR_OK);
        crash(w, SIM_CRASH_TEAR);
        open_engine(w, mix_text); /* the clock of the next engine begins anew: the wait is at most its own length from now */
        crash_env_run_ms(w->ce, 11 * MINUTE);
        if (order != 1)
            assert_int_equal(signal_to(w, "approved", false).err, FICUS_ERR_OK);
        w->step = 1;
        crash_env_run_ms(w->ce, MINUTE);
        assert_state(w, "o1", "completed");
        assert_string_equal(w->last_path, "POST i:/p/o1/ann");
        assert_has(show(w, "o1"), "\"kind\":\"wait_done\",\"step\":\"cool\"");
        world_free(w);
    }
}

/* A signal that does not come in time is noticed beside a call that is repeated, and the call counts as perhaps done; one
 * that is refused ends it at once. */
static void test_wait_given_up(void **state)
{
    (void)state;
    for (int refuse = 0; refuse < 2; refuse++) {
        struct world *w = world_new();
        w->answer = check_is_away;
        open_engine(w, mix_text);
        place(w, "o1");
        crash_env_run_ms(w->ce, HOUR - 1000);
        assert_state(w, "o1", "running");
        if (refuse)
            assert_int_equal(signal_to(w, "approved", true).err, FICUS_ERR_OK);
        crash_env_run_ms(w->ce, MINUTE);
        assert_state(w, "o1", "compensated");
        assert_has(show(w, "o1"), refuse ? "\"failure\":\"refused\"" : "\"failure\":\"timed_out\"");
        assert_string_equal(w->keys[w->call_count - 1], "checkout/o1/check/undo");
        world_free(w);
    }
}

/* ---- versions and crashes ---- */

/* An instance of the version before, one step after another, and one of this: each ends on its own. */
static void test_versions(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = c_is_away;
    open_engine(w, line_text);
    sim_disk_fail(w->disk, 0, 0, FICUS_ERR_OK);
    place(w, "old");
    crash_env_run_ms(w->ce, 1); /* somewhere in the midst */
    crash(w, SIM_CRASH_TEAR);
    open_engine(w, pack_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 5000);
    assert_state(w, "o1", "running");
    crash(w, SIM_CRASH_TEAR);
    w->step = 1;
    open_engine(w, line_text);
    place(w, "o2");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "old", "completed");
    assert_state(w, "o1", "completed");
    assert_state(w, "o2", "completed");
    assert_int_equal(calls_of(w, "checkout/o1/y/do"), 1);
    assert_int_equal(calls_of(w, "checkout/o2/y/do"), 0);
    world_free(w);
}

/* Power is lost after every operation of the disk, with all ways to lose it: the instance ends as without, what was answered
 * and written is not called again, and compensated means that nothing is left. */
static void test_crash_everywhere(void **state)
{
    (void)state;
    static const char *const steps[] = {"hold", "a", "b", "c", "pivot", "x", "y"};
    for (int refused = 0; refused < 2; refused++) {
        bool died = true;
        for (uint64_t op = 0; died; op++) {
            died = false;
            for (int mode = SIM_CRASH_FORGET; mode <= SIM_CRASH_TEAR; mode++) {
                struct world *w = world_new();
                w->answer = refused ? refuse_b : NULL;
                open_engine(w, pack_text);
                sim_disk_die_after(w->disk, op);
                place(w, "o1");
                crash_env_run_ms(w->ce, 5000);
                if (sim_disk_dead(w->disk)) {
                    close_engine(w);
                    sim_disk_crash(w->disk, (enum sim_crash)mode, op);
                    open_engine(w, pack_text);
                    crash_env_run_ms(w->ce, 5000);
                    died = true;
                }
                assert_state(w, "o1", refused ? "compensated" : "completed");
                for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
                    char key[64];
                    snprintf(key, sizeof key, "checkout/o1/%s/do", steps[i]);
                    assert_int_equal(is_in_effect(w, steps[i]) && !(refused && i == 2), !refused);
                    assert_true(refused || calls_of(w, key) <= 2);
                }
                world_free(w);
            }
            assert_true(died || op > 10);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_once),      cmocka_unit_test(test_refused),  cmocka_unit_test(test_one_is_away),
        cmocka_unit_test(test_by_hand),      cmocka_unit_test(test_stuck),    cmocka_unit_test(test_waits),
        cmocka_unit_test(test_wait_given_up), cmocka_unit_test(test_versions), cmocka_unit_test(test_crash_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
