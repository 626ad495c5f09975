/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators say to instances: start, cancel, terminate, retry, at every moment of their life, and what of it is
 * durable when the machine dies.
 */
#include "saga_world.h"

static struct saga_command start_of(const char *id, const char *input)
{
    return (struct saga_command){
        .kind = SAGA_START, .saga = SLICE("checkout"), .id = slice_str(id), .actor = SLICE("ann"), .data = slice_str(input)};
}

static struct seen start(struct world *w, const char *id, const char *input)
{
    const struct saga_command c = start_of(id, input);
    return command(w, &c);
}

static void assert_has(const struct seen *s, const char *text)
{
    if (strstr(s->json, text) == NULL)
        fail_msg("no %s in %s", text, s->json);
}

/* ---- start ---- */

/* An instance that is started by hand runs like one of an event, with its input; who began it is in its history. The same
 * again says so, at any time; another input is a conflict; blanks make no other input; and an event of that id is the same
 * instance. */
static void test_start(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, checkout_text);
    struct seen s = start(w, "o1", "{\"items\":[1],\"total\":7}");
    assert_int_equal(s.err, FICUS_ERR_OK);
    assert_has(&s, "\"again\":false");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    s = show(w, "o1");
    assert_has(&s, "\"kind\":\"started\",\"actor\":\"ann\"");
    s = start(w, "o1", "{ \"items\": [1], \"total\": 7 }");
    assert_int_equal(s.err, FICUS_ERR_OK);
    assert_has(&s, "\"again\":true");
    assert_int_equal(start(w, "o1", "{\"items\":[1],\"total\":8}").err, FICUS_ERR_CONFLICT);
    assert_int_equal(start(w, "o1", NULL).err, FICUS_ERR_CONFLICT);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_int_equal(w->call_count, 4);
    const struct saga_command other = {.kind = SAGA_START, .saga = SLICE("chekout"), .id = SLICE("o2"), .actor = SLICE("ann")};
    assert_int_equal(command(w, &other).err, FICUS_ERR_NOT_FOUND);
    struct saga_command wrong = start_of("", NULL);
    assert_int_equal(saga_engine_command(w->g, &wrong, on_view, &s), FICUS_ERR_INVALID);
    world_free(w);
}

/* Two at once, and an event between them, are one instance. */
static void test_start_twice_at_once(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, checkout_text);
    struct seen s[3] = {0};
    const struct saga_command c = start_of("o1", "{\"total\":1,\"items\":[]}"), d = start_of("o1", "{}");
    assert_int_equal(saga_engine_command(w->g, &c, on_view, &s[0]), FICUS_ERR_OK);
    place(w, "o1");
    assert_int_equal(saga_engine_command(w->g, &c, on_view, &s[1]), FICUS_ERR_OK);
    assert_int_equal(saga_engine_command(w->g, &d, on_view, &s[2]), FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_true(s[0].done && s[1].done && s[2].done);
    assert_int_equal(w->call_count, 4);
    int conflicts = (s[0].err == FICUS_ERR_CONFLICT) + (s[1].err == FICUS_ERR_CONFLICT) + (s[2].err == FICUS_ERR_CONFLICT);
    assert_true(conflicts == 1 || conflicts == 3); /* 3: the event was first, with its own input */
    world_free(w);
}

static enum ficus_err (*true_run)(struct env *e, struct env_job *job);
static void (*held_done)(void *arg);
static void *held_arg;

static void hold(void *arg)
{
    held_arg = arg;
}

/* The first job's end is not heard of yet. */
static enum ficus_err holding_run(struct env *e, struct env_job *job)
{
    if (held_done == NULL) {
        held_done = job->done;
        job->done = hold;
    }
    return true_run(e, job);
}

/* An instance that an event began, and that rests already, when a start by hand hears that the journal had none. */
static void test_start_late(void **state)
{
    static const char text[] = "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
                               "{\"go\":{\"signal\":\"go\",\"timeout\":\"never\"}},{\"confirm\":{\"call\":\"POST orders:/v1/orders/{id}\",\"pivot\":true}}]}";
    (void)state;
    struct world *w = world_new();
    struct seen s = {0};
    const struct saga_command c = start_of("o1", "{}");
    open_engine(w, text);
    crash_env_run_ms(w->ce, 10);
    const struct env_ops *ops = w->env->ops;
    struct env_ops holding = *ops;
    true_run = ops->run;
    held_done = NULL;
    holding.run = holding_run;
    w->env->ops = &holding;
    assert_int_equal(saga_engine_command(w->g, &c, on_view, &s), FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 10);
    assert_non_null(held_arg);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_false(s.done);
    w->env->ops = ops;
    held_done(held_arg);
    crash_env_run_ms(w->ce, 1000);
    assert_true(s.done);
    assert_int_equal(s.err, FICUS_ERR_CONFLICT); /* it began with the event's input */
    assert_state(w, "o1", "waiting");
    world_free(w);
}

/* ---- cancel ---- */

static struct plan no_charge(struct world *w, const char *key)
{
    if (strstr(key, "/charge/do") != NULL && w->step == 0)
        return (struct plan){.err = FICUS_ERR_REFUSED};
    return (struct plan){.status = 200};
}

/* Cancelled while a step is repeated: that step is perhaps done, and undone with those before it; who and why is in the
 * history; again is the same; and of an ended one it is refused. */
static void test_cancel(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = no_charge;
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 2000);
    struct seen s = say(w, SAGA_CANCEL, "o1");
    assert_int_equal(s.err, FICUS_ERR_OK);
    assert_has(&s, "\"state\":\"undoing\",\"again\":false");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "compensated");
    assert_string_equal(w->keys[w->call_count - 3], "checkout/o1/charge/undo");
    assert_string_equal(w->last_body, "{\"reason\":\"cancelled\"}");
    s = show(w, "o1");
    assert_has(&s, "\"kind\":\"cancelled\",\"code\":\"cancelled\",\"actor\":\"ann\",\"reason\":\"because\"");
    s = say(w, SAGA_CANCEL, "o1");
    assert_int_equal(s.err, FICUS_ERR_OK);
    assert_has(&s, "\"again\":true");
    w->step = 1;
    place(w, "o2");
    crash_env_run_ms(w->ce, 1000);
    s = say(w, SAGA_CANCEL, "o2");
    assert_int_equal(s.err, FICUS_ERR_CONFLICT);
    assert_non_null(strstr(s.detail, "it is completed"));
    assert_int_equal(say(w, SAGA_CANCEL, "o3").err, FICUS_ERR_NOT_FOUND);
    world_free(w);
}

static struct plan no_answer_of(struct world *w, const char *key)
{
    static const char *const steps[] = {"/reserve/do", "/charge/do", "/confirm/do", "/take/do"};
    return strstr(key, steps[w->step]) != NULL ? (struct plan){.err = FICUS_ERR_REFUSED} : (struct plan){.status = 200};
}

/* Before the pivot it is undone, whichever step is under way; at the pivot and behind it the reason why not is said, and
 * nothing changes. */
static void test_cancel_around_the_pivot(void **state)
{
    (void)state;
    static const char *const reasons[] = {NULL, NULL, "its pivot is under way", "its pivot is done"};
    for (int at = 0; at < 4; at++) {
        struct world *w = world_new();
        w->answer = no_answer_of;
        w->step = at;
        open_engine(w, checkout_text);
        place(w, "o1");
        crash_env_run_ms(w->ce, 2000);
        struct seen s = say(w, SAGA_CANCEL, "o1");
        assert_int_equal(s.err, reasons[at] == NULL ? FICUS_ERR_OK : FICUS_ERR_CONFLICT);
        crash_env_run_ms(w->ce, 2000);
        assert_state(w, "o1", reasons[at] == NULL ? "compensated" : "running");
        if (reasons[at] != NULL)
            assert_non_null(strstr(s.detail, reasons[at]));
        world_free(w);
    }
}

/* ---- terminate ---- */

/* Terminated it ends at once, undoes nothing, is called no more after a restart either, and shows what it has left. */
static void test_terminate(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = no_charge;
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 2000);
    struct seen s = say(w, SAGA_TERMINATE, "o1");
    assert_int_equal(s.err, FICUS_ERR_OK);
    size_t calls = w->call_count;
    assert_int_equal(saga_engine_live(w->g), 0);
    close_engine(w);
    open_engine(w, checkout_text);
    crash_env_run_ms(w->ce, 60000);
    assert_int_equal(w->call_count, calls);
    s = show(w, "o1");
    assert_has(&s, "\"state\":\"terminated\"");
    assert_has(&s, "\"left\":[\"placed\",\"reserve\",\"charge\"]");
    assert_has(&s, "\"kind\":\"terminated\",\"actor\":\"ann\",\"reason\":\"because\"");
    s = say(w, SAGA_TERMINATE, "o1");
    assert_has(&s, "\"again\":true");
    assert_int_equal(say(w, SAGA_CANCEL, "o1").err, FICUS_ERR_CONFLICT);
    assert_int_equal(say(w, SAGA_RETRY, "o1").err, FICUS_ERR_CONFLICT);
    world_free(w);
}

static struct plan no_undo(struct world *w, const char *key)
{
    (void)w;
    if (strstr(key, "/charge/do") != NULL)
        return (struct plan){.status = 402, .code = "declined"};
    return strstr(key, "/reserve/undo") != NULL ? (struct plan){.status = 409, .code = "no"} : (struct plan){.status = 200};
}

/* A stuck one can be terminated, in its undo, too; what was undone is not left. */
static void test_terminate_stuck(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = no_undo;
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 2000);
    assert_state(w, "o1", "stuck");
    struct seen s = say(w, SAGA_CANCEL, "o1");
    assert_non_null(strstr(s.detail, "an undo was refused"));
    assert_int_equal(say(w, SAGA_TERMINATE, "o1").err, FICUS_ERR_OK);
    s = show(w, "o1");
    assert_has(&s, "\"state\":\"terminated\"");
    assert_has(&s, "\"left\":[\"placed\",\"reserve\"]");
    assert_has(&s, "\"failure\":\"declined\"");
    world_free(w);
}

/* ---- while a call is under way ---- */

static void terminate_inside(struct world *w, const struct call_request *r, const char *key)
{
    static struct seen s;
    (void)r;
    if (strstr(key, "/charge/do") == NULL || w->step > 0)
        return;
    w->step = 1;
    s = (struct seen){0};
    const struct saga_command c = {.kind = SAGA_TERMINATE,
                                   .saga = SLICE("checkout"),
                                   .id = SLICE("o1"),
                                   .actor = SLICE("ann"),
                                   .reason = SLICE("now")};
    assert_int_equal(saga_engine_command(w->g, &c, on_view, &s), FICUS_ERR_OK);
}

/* A call under way does not hold up a termination, and its answer is not heard any more. */
static void test_terminate_while_calling(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->on_call = terminate_inside;
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_calls(w, "checkout/o1/reserve/do checkout/o1/charge/do");
    assert_state(w, "o1", "terminated");
    assert_int_equal(w->calling, 0);
    world_free(w);
}

/* ---- durable before the answer ---- */

struct asked {
    struct seen seen;
    struct world *w;
    struct sim_disk *at_answer; /* the disk as it was when the answer came */
};

static void on_asked(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    struct asked *q = arg;
    on_view(&q->seen, err, json, detail);
    if (err == FICUS_ERR_OK)
        q->at_answer = sim_disk_clone(q->w->disk);
}

static void assert_durable(enum saga_command_kind kind, const char *state_then, struct plan (*answer)(struct world *, const char *))
{
    struct world *w = world_new();
    struct asked q = {.w = w};
    w->answer = answer;
    open_engine(w, checkout_text);
    if (kind != SAGA_START) {
        place(w, "o1");
        crash_env_run_ms(w->ce, 2000);
    }
    struct saga_command c = start_of("o1", kind == SAGA_START ? "{\"items\":[],\"total\":1}" : NULL);
    c.kind = kind;
    c.reason = SLICE("because");
    assert_int_equal(saga_engine_command(w->g, &c, on_asked, &q), FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 50);
    assert_true(q.seen.done && q.seen.err == FICUS_ERR_OK);
    /* Power is lost at the very answer. */
    close_engine(w);
    sim_disk_free(w->disk);
    w->disk = q.at_answer;
    sim_disk_crash(w->disk, SIM_CRASH_FORGET, 1);
    w->answer = no_charge;
    open_engine(w, checkout_text);
    crash_env_run_ms(w->ce, 2000);
    assert_state(w, "o1", state_then);
    world_free(w);
}

static struct plan no_take(struct world *w, const char *key)
{
    (void)w;
    return strstr(key, "/take/do") != NULL ? (struct plan){.status = 409, .code = "gone"} : (struct plan){.status = 200};
}

/* What was answered is true after a power loss at the moment of the answer. */
static void test_durable_before_answer(void **state)
{
    (void)state;
    assert_durable(SAGA_START, "running", no_charge);
    assert_durable(SAGA_CANCEL, "compensated", no_charge);
    assert_durable(SAGA_TERMINATE, "terminated", no_charge);
    assert_durable(SAGA_RETRY, "completed", no_take);
}

/* While the journal cannot be written no command is answered and nothing is called; then all is. At the engine's end those
 * that wait are told. */
static void test_journal_fails(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = no_charge;
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 2000);
    size_t calls = w->call_count;
    sim_disk_fail(w->disk, 0, 1000000, FICUS_ERR_FULL);
    struct seen s[2] = {0};
    const struct saga_command c = {.kind = SAGA_CANCEL, .saga = SLICE("checkout"), .id = SLICE("o1"), .actor = SLICE("ann")};
    assert_int_equal(saga_engine_command(w->g, &c, on_view, &s[0]), FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 30000);
    assert_false(s[0].done);
    assert_int_equal(w->call_count, calls);
    sim_disk_fail(w->disk, 0, 0, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 5000);
    assert_true(s[0].done && s[0].err == FICUS_ERR_OK);
    assert_state(w, "o1", "compensated");
    place(w, "o2");
    crash_env_run_ms(w->ce, 2000);
    sim_disk_fail(w->disk, 0, 1000000, FICUS_ERR_FULL);
    const struct saga_command d = {.kind = SAGA_CANCEL, .saga = SLICE("checkout"), .id = SLICE("o2"), .actor = SLICE("ann")};
    struct seen other = {0};
    assert_int_equal(saga_engine_command(w->g, &d, on_view, &s[1]), FICUS_ERR_OK);
    assert_int_equal(saga_engine_command(w->g, &d, on_view, &other), FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 2000);
    close_engine(w);
    assert_true(s[1].done && s[1].err == FICUS_ERR_CANCELLED);
    assert_true(other.done && other.err == FICUS_ERR_CANCELLED);
    sim_disk_fail(w->disk, 0, 0, FICUS_ERR_OK);
    open_engine(w, checkout_text);
    world_free(w);
}

/* ---- list and describe ---- */

static struct seen list(struct world *w, const struct saga_query *q)
{
    struct seen s = {0};
    assert_int_equal(saga_engine_list(w->g, q, on_view, &s), FICUS_ERR_OK);
    crash_env_run(w->ce);
    assert_true(s.done && s.err == FICUS_ERR_OK);
    return s;
}

/* The list of one saga has no other's; its pages join. */
static void test_list_of_saga(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, checkout_text);
    for (int i = 0; i < 5; i++)
        start(w, arena_printf(&w->arena, "o%d", i), "{\"items\":[],\"total\":1}");
    crash_env_run_ms(w->ce, 1000);
    struct saga_query q = {.saga = SLICE("checkout"), .count_max = 3};
    struct seen s = list(w, &q);
    assert_has(&s, "\"id\":\"o2\"");
    assert_has(&s, "\"after\":\"checkout/o2\"");
    q.after = SLICE("checkout/o2");
    s = list(w, &q);
    assert_null(strstr(s.json, "\"id\":\"o2\""));
    assert_has(&s, "\"id\":\"o4\"");
    assert_null(strstr(s.json, "\"after\""));
    q = (struct saga_query){.saga = SLICE("check"), .count_max = 3};
    s = list(w, &q);
    assert_string_equal(s.json, "{\"sagas\":[]}");
    world_free(w);
}

static struct seen describe(struct world *w, const char *hash)
{
    struct seen s = {0};
    assert_int_equal(saga_engine_describe(w->g, SLICE("checkout"), slice_str(hash), on_view, &s), FICUS_ERR_OK);
    crash_env_run(w->ce);
    assert_true(s.done);
    return s;
}

static const char checkout2_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"reserve\":{\"call\":\"PUT inventory:/v2/reservations/{id}\",\"undo\":\"DELETE inventory:/v2/reservations/{id}\"}},"
    "{\"charge\":{\"call\":\"PUT payments:/v2/charges/{id}\",\"undo\":\"DELETE payments:/v2/charges/{id}\"}}]}";

/* describe shows the steps of the version that new instances take, or of another one, and how many run on each. */
static void test_describe_versions(void **state)
{
    (void)state;
    struct world *w = world_new();
    char old_hash[80];
    w->answer = no_charge;
    open_engine(w, checkout_text);
    place(w, "o1");
    place(w, "o2");
    crash_env_run_ms(w->ce, 1000);
    struct seen s = describe(w, NULL);
    assert_has(&s, "\"step\":\"confirm\",\"call\":\"POST orders:/v1/orders/{id}/confirm\",\"pivot\":true");
    snprintf(old_hash, sizeof old_hash, "%.64s", strstr(s.json, "\"definition\":\"") + 14);
    close_engine(w);
    open_engine(w, checkout2_text);
    place(w, "o3");
    crash_env_run_ms(w->ce, 1000);
    s = describe(w, NULL);
    assert_null(strstr(s.json, "confirm"));
    assert_has(&s, arena_printf(&w->arena, "{\"definition\":\"%s\",\"running\":2}", old_hash));
    assert_has(&s, "\"running\":1}");
    s = describe(w, old_hash);
    assert_has(&s, "\"step\":\"confirm\"");
    assert_int_equal(describe(w, "0000").err, FICUS_ERR_NOT_FOUND);
    assert_int_equal(saga_engine_describe(w->g, SLICE("nothing"), SLICE_NONE, on_view, &s), FICUS_ERR_NOT_FOUND);
    world_free(w);
}

/* A start event comes again, and a command meets the instance that is made of it before the journal says that there is one already:
 * it finds the one that there is. */
static void test_start_event_again(void **state)
{
    static const struct saga_command cancel = {.kind = SAGA_CANCEL, .saga = SLICE("checkout"), .id = SLICE("o1"), .actor = SLICE("ann"),
                                               .reason = SLICE("because")};
    (void)state;
    for (int after = 0; after < 2; after++) {
        struct world *w = world_new();
        struct seen s = {0};
        open_engine(w, checkout_text);
        place(w, "o1");
        crash_env_run_ms(w->ce, 1000);
        assert_state(w, "o1", "completed");
        if (after)
            place(w, "o1");
        assert_int_equal(saga_engine_command(w->g, &cancel, on_view, &s), FICUS_ERR_OK);
        if (!after)
            place(w, "o1");
        crash_env_run_ms(w->ce, 1000);
        assert_true(s.done);
        assert_int_equal(s.err, FICUS_ERR_CONFLICT);
        assert_state(w, "o1", "completed");
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_start_event_again),
        cmocka_unit_test(test_start_twice_at_once), cmocka_unit_test(test_start_late),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_around_the_pivot),
        cmocka_unit_test(test_terminate),
        cmocka_unit_test(test_terminate_stuck),
        cmocka_unit_test(test_terminate_while_calling),
        cmocka_unit_test(test_durable_before_answer),
        cmocka_unit_test(test_journal_fails),
        cmocka_unit_test(test_list_of_saga),
        cmocka_unit_test(test_describe_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
