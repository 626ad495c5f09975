/* SPDX-License-Identifier: Apache-2.0
 *
 * A saga in a saga: steps that are instances of another saga. Their beginning, their ends, how they are undone, what is said to
 * either of them by hand, and power that is lost after every single operation of the disk.
 */
#include "saga_world.h"

#include "saga_template.h"

/* A step before, the child beside nothing, a step behind. */
static const char order_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"hold\":{\"call\":\"PUT i:/h/{id}\",\"undo\":\"DELETE i:/h/{id}\"}},"
    "{\"pack\":{\"saga\":\"packing\",\"body\":{\"order\":\"{id}\",\"items\":\"{input.items}\"},\"undo\":\"DELETE i:/packed/{id}\","
    "\"give_up\":\"1h\",\"code\":\"packing_is_late\"}},"
    "{\"check\":{\"call\":\"PUT i:/c/{id}\",\"undo\":\"DELETE i:/c/{id}\"}},"
    "{\"confirm\":{\"call\":\"POST i:/o/{id}\",\"pivot\":true}}]}";

static const char packing_text[] =
    "{\"name\":\"packing\",\"owner\":\"stock\",\"steps\":["
    "{\"pick\":{\"call\":\"PUT s:/picks/{input.order}\",\"undo\":\"DELETE s:/picks/{input.order}\"}},"
    "{\"box\":{\"call\":\"POST s:/boxes/{id}\",\"pivot\":true}},"
    "{\"label\":{\"call\":\"POST s:/labels/{id}\",\"retry\":\"forever\"}}]}";

/* One that somebody has to approve. */
static const char approval_text[] =
    "{\"name\":\"packing\",\"owner\":\"stock\",\"steps\":["
    "{\"pick\":{\"call\":\"PUT s:/picks/{input.order}\",\"undo\":\"DELETE s:/picks/{input.order}\"}},"
    "{\"approval\":{\"signal\":\"approved\",\"timeout\":\"never\"}}]}";

/* Two children beside a call, and one that has a child itself. */
static const char wide_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"parallel\":[{\"left\":{\"saga\":\"packing\",\"body\":{\"order\":\"l\"},\"undo\":\"DELETE i:/l/{id}\"}},"
    "{\"right\":{\"saga\":\"middle\",\"body\":{\"order\":\"r\"},\"undo\":\"DELETE i:/r/{id}\"}},"
    "{\"tag\":{\"call\":\"PUT i:/t/{id}\",\"undo\":\"DELETE i:/t/{id}\"}}]}]}";
static const char middle_text[] =
    "{\"name\":\"middle\",\"steps\":[{\"ship\":{\"saga\":\"packing\",\"body\":{\"order\":\"{input.order}\"},\"pivot\":true}}]}";

static const char *const plain[] = {order_text, packing_text}, *const approved[] = {order_text, approval_text},
                  *const wide[] = {wide_text, packing_text, middle_text}, *const wide_approved[] = {wide_text, approval_text, middle_text};

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE };

static void assert_has(struct seen s, const char *text)
{
    if (strstr(s.json, text) == NULL)
        fail_msg("no %s in %s", text, s.json);
}

static struct seen say_to(struct world *w, enum saga_command_kind kind, const char *saga, const char *id)
{
    const struct saga_command c = {.kind = kind, .saga = slice_str(saga), .id = slice_str(id), .actor = SLICE("ann"),
                                   .reason = SLICE("because"), .signal = kind == SAGA_SIGNAL ? SLICE("approved") : SLICE_NONE};
    return command(w, &c);
}

static size_t calls_of(const struct world *w, const char *key)
{
    size_t count = 0;
    for (size_t i = 0; i < w->call_count; i++)
        count += strcmp(w->keys[i], key) == 0;
    return count;
}

static struct world *begin(const char *const *texts, size_t count, struct plan (*answer)(struct world *w, const char *key))
{
    struct world *w = world_new();
    w->answer = answer;
    open_engine_of(w, texts, count);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    return w;
}

/* ---- forward ---- */

static void note_paths(struct world *w, const struct call_request *r, const char *key)
{
    if (strcmp(key, "packing/o1.pack/pick/do") != 0)
        return;
    w->step++;
    assert_true(slice_eq_str(r->path, "/picks/o1"));
    assert_true(slice_eq(r->correlation, SLICE("corr-1")));
}

/* The step is done when its saga is completed; the child has the step's body as input and its parent's correlation, and both show
 * each other. */
static void test_completed(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->on_call = note_paths;
    open_engine_of(w, plain, 2);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_int_equal(w->step, 1);
    assert_calls(w, "checkout/o1/hold/do packing/o1.pack/pick/do packing/o1.pack/box/do packing/o1.pack/label/do checkout/o1/check/do "
                    "checkout/o1/confirm/do");
    assert_state(w, "o1", "completed");
    assert_has(show(w, "o1"), "\"children\":[{\"step\":\"pack\",\"saga\":\"packing\",\"id\":\"o1.pack\",\"state\":\"completed\"}]");
    assert_has(show_of(w, "packing", "o1.pack"), "\"parent\":{\"saga\":\"checkout\",\"id\":\"o1\",\"step\":\"pack\"}");
    assert_has(show_of(w, "packing", "o1.pack"), "\"actor\":\"saga checkout/o1\"");
    assert_int_equal(saga_engine_live(w->g), 0);
    world_free(w);
}

/* While its child waits for somebody the parent rests, too: no memory holds either of them, and a restart takes up neither. */
static void test_rests(void **state)
{
    (void)state;
    struct world *w = begin(approved, 2, NULL);
    assert_state(w, "o1", "waiting");
    assert_state_of(w, "packing", "o1.pack", "waiting");
    assert_int_equal(saga_engine_live(w->g), 0);
    crash(w, SIM_CRASH_TEAR);
    open_engine_of(w, approved, 2);
    assert_int_equal(saga_engine_live(w->g), 0);
    assert_int_equal(say_to(w, SAGA_SIGNAL, "packing", "o1.pack").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    world_free(w);
}

static struct plan no_box(struct world *w, const char *key)
{
    (void)w;
    return strstr(key, "/box/do") != NULL ? (struct plan){.status = 409, .code = "no_box"} : (struct plan){.status = 200};
}

/* A child that ends undone refuses its step with its failure's code; what it did, it has undone itself. */
static void test_failed(void **state)
{
    (void)state;
    struct world *w = begin(plain, 2, no_box);
    assert_calls(w, "checkout/o1/hold/do packing/o1.pack/pick/do packing/o1.pack/box/do packing/o1.pack/pick/undo checkout/o1/hold/undo");
    assert_state(w, "o1", "compensated");
    assert_has(show(w, "o1"), "\"failure\":\"no_box\"");
    world_free(w);
}

static struct plan no_label(struct world *w, const char *key)
{
    return strstr(key, "/label/do") != NULL && w->step == 0 ? (struct plan){.status = 409} : (struct plan){.status = 200};
}

/* A stuck child keeps its parent waiting, which says whom it waits for; what an operator does with the child decides. */
static void test_stuck(void **state)
{
    (void)state;
    for (int terminate = 0; terminate < 2; terminate++) {
        struct world *w = begin(plain, 2, no_label);
        assert_state(w, "o1", "waiting");
        assert_has(show(w, "o1"), "\"id\":\"o1.pack\",\"state\":\"stuck\"");
        assert_int_equal(saga_engine_live(w->g), 0);
        w->step = 1;
        assert_int_equal(say_to(w, terminate ? SAGA_TERMINATE : SAGA_RETRY, "packing", "o1.pack").err, FICUS_ERR_OK);
        crash_env_run_ms(w->ce, 1000);
        assert_state(w, "o1", terminate ? "compensated" : "completed");
        if (terminate)
            assert_has(show(w, "o1"), "\"failure\":\"terminated\"");
        world_free(w);
    }
}

/* A child that an operator cancels refuses its step. */
static void test_child_cancelled_by_hand(void **state)
{
    (void)state;
    struct world *w = begin(approved, 2, NULL);
    assert_int_equal(say_to(w, SAGA_CANCEL, "packing", "o1.pack").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state_of(w, "packing", "o1.pack", "compensated");
    assert_has(show(w, "o1"), "\"failure\":\"cancelled\"");
    assert_state(w, "o1", "compensated");
    world_free(w);
}

/* ---- what cannot begin ---- */

/* Somebody else's instance with the child's id is not taken for the child, nor touched when the parent is undone. */
static void test_other_instance(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine_of(w, approved, 2);
    const struct saga_command c = {.kind = SAGA_START, .saga = SLICE("packing"), .id = SLICE("o1.pack"), .data = SLICE("{\"order\":\"o1\"}")};
    assert_int_equal(command(w, &c).err, FICUS_ERR_OK);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "compensated");
    assert_has(show(w, "o1"), "\"failure\":\"child_exists\"");
    assert_has(show(w, "o1"), "\"children\":[{\"step\":\"pack\",\"saga\":\"packing\",\"id\":\"o1.pack\"}]");
    assert_state_of(w, "packing", "o1.pack", "waiting");
    world_free(w);
}

/* An id that is too long for an instance, and a saga that the manifest has no more: the step is refused. */
static void test_cannot_begin(void **state)
{
    (void)state;
    char id[SAGA_ID_SIZE_MAX + 1];
    struct world *w = begin(plain, 1, NULL);
    assert_has(show(w, "o1"), "\"failure\":\"no_such_saga\"");
    memset(id, 'x', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    place(w, id);
    crash_env_run_ms(w->ce, 1000);
    assert_has(show(w, id), "\"failure\":\"id_too_long\"");
    assert_state(w, id, "compensated");
    world_free(w);
}

/* ---- undoing ---- */

/* A parent that is cancelled cancels its child and waits until that is undone; the child's steps are undone before the parent's. */
static void test_parent_cancelled(void **state)
{
    (void)state;
    struct world *w = begin(approved, 2, NULL);
    assert_int_equal(say(w, SAGA_CANCEL, "o1").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_calls(w, "checkout/o1/hold/do packing/o1.pack/pick/do packing/o1.pack/pick/undo checkout/o1/hold/undo");
    assert_state(w, "o1", "compensated");
    assert_state_of(w, "packing", "o1.pack", "compensated");
    assert_has(show_of(w, "packing", "o1.pack"), "\"reason\":\"cancelled\"");
    world_free(w);
}

static struct plan no_check(struct world *w, const char *key)
{
    (void)w;
    return strstr(key, "/check/do") != NULL ? (struct plan){.status = 409, .code = "no"} : (struct plan){.status = 200};
}

/* A child that is completed is undone by the step's undo. */
static void test_completed_is_undone(void **state)
{
    (void)state;
    struct world *w = begin(plain, 2, no_check);
    assert_state(w, "o1", "compensated");
    assert_int_equal(calls_of(w, "checkout/o1/pack/undo"), 1);
    assert_state_of(w, "packing", "o1.pack", "completed");
    assert_string_equal(w->keys[w->call_count - 1], "checkout/o1/hold/undo");
    world_free(w);
}

static struct plan label_is_away(struct world *w, const char *key)
{
    return strstr(key, "/label/do") != NULL && w->step == 0 ? (struct plan){.err = FICUS_ERR_REFUSED} : (struct plan){.status = 200};
}

/* A child behind its pivot cannot be cancelled: the parent waits for its end, without memory, over restarts, and then undoes what it
 * completed. The same when it is given up in its time. */
static void test_behind_its_pivot(void **state)
{
    (void)state;
    for (int given_up = 0; given_up < 2; given_up++) {
        struct world *w = begin(plain, 2, label_is_away);
        if (given_up)
            crash_env_run_ms(w->ce, HOUR + MINUTE);
        else
            assert_int_equal(say(w, SAGA_CANCEL, "o1").err, FICUS_ERR_OK);
        crash_env_run_ms(w->ce, MINUTE);
        assert_state(w, "o1", "undoing");
        assert_has(show(w, "o1"), given_up ? "\"failure\":\"packing_is_late\"" : "\"failure\":\"cancelled\"");
        assert_int_equal(saga_engine_live(w->g), 1); /* the child */
        assert_int_equal(calls_of(w, "checkout/o1/pack/undo"), 0);
        crash(w, SIM_CRASH_TEAR);
        open_engine_of(w, plain, 2);
        crash_env_run_ms(w->ce, 1000);
        assert_state(w, "o1", "undoing");
        w->step = 1;
        crash_env_run_ms(w->ce, MINUTE);
        assert_state_of(w, "packing", "o1.pack", "completed");
        assert_state(w, "o1", "compensated");
        assert_int_equal(calls_of(w, "checkout/o1/pack/undo"), 1);
        world_free(w);
    }
}

/* A parent that is terminated leaves its child alone, and says that it does. */
static void test_parent_terminated(void **state)
{
    (void)state;
    struct world *w = begin(approved, 2, NULL);
    assert_int_equal(say(w, SAGA_TERMINATE, "o1").err, FICUS_ERR_OK);
    assert_has(show(w, "o1"), "\"left\":[\"hold\",\"pack\"]");
    assert_has(show(w, "o1"), "\"id\":\"o1.pack\",\"state\":\"waiting\"");
    assert_int_equal(say_to(w, SAGA_SIGNAL, "packing", "o1.pack").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state_of(w, "packing", "o1.pack", "completed");
    assert_state(w, "o1", "terminated");
    world_free(w);
}

static struct plan stuck_undo(struct world *w, const char *key)
{
    return strstr(key, "/tag/undo") != NULL && w->step == 0 ? (struct plan){.status = 409} : (struct plan){.status = 200};
}

/* A child whose end comes while its parent is stuck at another undo is not forgotten: long after, when the child is out of the
 * journal, a retry undoes the completed one by its undo, and skips the undone one. */
static void test_ends_while_parent_is_stuck(void **state)
{
    (void)state;
    struct world *w = begin(wide_approved, 3, stuck_undo);
    assert_int_equal(say(w, SAGA_CANCEL, "o1").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "stuck");
    assert_int_equal(say_to(w, SAGA_SIGNAL, "packing", "o1.left").err, FICUS_ERR_OK);
    assert_int_equal(say_to(w, SAGA_CANCEL, "packing", "o1.right.ship").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 3 * HOUR); /* the retention is one */
    assert_int_equal(show_of(w, "packing", "o1.left").err, FICUS_ERR_NOT_FOUND);
    assert_int_equal(show_of(w, "middle", "o1.right").err, FICUS_ERR_NOT_FOUND);
    w->step = 1;
    assert_int_equal(say(w, SAGA_RETRY, "o1").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "compensated");
    assert_int_equal(calls_of(w, "checkout/o1/left/undo"), 1);
    assert_int_equal(calls_of(w, "checkout/o1/right/undo"), 0);
    world_free(w);
}

/* ---- several, and in each other ---- */

static struct plan no_tag(struct world *w, const char *key)
{
    (void)w;
    return strstr(key, "/tag/do") != NULL ? (struct plan){.status = 409, .code = "no_tag"} : (struct plan){.status = 200};
}

/* Children run beside each other and beside a call; one that is refused has all undone, down to children's children; a pivot that is
 * a child is cancelled by nobody. */
static void test_wide(void **state)
{
    (void)state;
    struct world *w = begin(wide, 3, NULL);
    assert_state(w, "o1", "completed");
    assert_int_equal(calls_of(w, "packing/o1.right.ship/label/do"), 1);
    assert_int_equal(calls_of(w, "packing/o1.left/label/do"), 1);
    world_free(w);
    w = begin(wide_approved, 3, no_tag);
    crash_env_run_ms(w->ce, 5000);
    assert_state(w, "o1", "undoing"); /* "right" has no way back until its pivot is refused */
    assert_state_of(w, "middle", "o1.right", "waiting");
    assert_int_equal(say_to(w, SAGA_CANCEL, "packing", "o1.right.ship").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 5000);
    assert_state(w, "o1", "compensated");
    assert_state_of(w, "packing", "o1.left", "compensated");
    assert_state_of(w, "packing", "o1.right.ship", "compensated");
    assert_state_of(w, "middle", "o1.right", "compensated");
    world_free(w);
}

/* An event with more values than a step's texts are made of is refused by whichever step comes first; a child beside it is cancelled
 * without them. */
static void test_input_over_the_limit(void **state)
{
    static const char text[] =
        "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
        "{\"parallel\":[{\"tag\":{\"call\":\"PUT i:/t/{id}\",\"undo\":\"DELETE i:/t/{id}\"}},"
        "{\"pack\":{\"saga\":\"packing\",\"undo\":\"DELETE i:/l/{id}\"}}]}]}";
    (void)state;
    struct world *w = world_new();
    open_engine_of(w, (const char *const[]){text, packing_text}, 2);
    struct buf data;
    buf_init(&data, 1024 * 1024);
    buf_add_str(&data, "{\"items\":[0");
    for (int i = 0; i < 100000; i++)
        buf_add_str(&data, ",0");
    buf_add_str(&data, "]}");
    assert_false(buf_failed(&data));
    place(w, "o1");
    w->events[0].data = buf_slice(&data);
    crash_env_run_ms(w->ce, 5000);
    assert_state(w, "o1", "compensated");
    assert_has(show(w, "o1"), "\"failure\":\"input_invalid\"");
    assert_int_equal(w->call_count, 0);
    buf_done(&data);
    world_free(w);
}

static struct plan hold_is_away(struct world *w, const char *key)
{
    return strstr(key, "/hold/do") != NULL && w->step == 0 ? (struct plan){.status = 503} : (struct plan){.status = 200};
}

/* A child begins on the definition of its beginning, and ends on it. */
static void test_versions(void **state)
{
    (void)state;
    struct world *w = begin(plain, 2, hold_is_away);
    crash(w, SIM_CRASH_TEAR);
    w->step = 1;
    open_engine_of(w, approved, 2);
    crash_env_run_ms(w->ce, 10000);
    assert_state_of(w, "packing", "o1.pack", "waiting");
    crash(w, SIM_CRASH_TEAR);
    open_engine_of(w, plain, 2);
    assert_int_equal(say_to(w, SAGA_SIGNAL, "packing", "o1.pack").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    assert_int_equal(calls_of(w, "packing/o1.pack/box/do"), 0);
    world_free(w);
}

/* More parents at once than fit into one batch of anything: each has its child, once, and its end. */
static void test_many(void **state)
{
    (void)state;
    char id[16];
    struct world *w = world_new();
    open_engine_of(w, plain, 2);
    for (int i = 0; i < 600; i++) {
        snprintf(id, sizeof id, "m%d", i);
        place(w, id);
    }
    crash_env_run_ms(w->ce, 60000);
    assert_int_equal(saga_engine_live(w->g), 0);
    for (int i = 0; i < 600; i += 7) {
        snprintf(id, sizeof id, "m%d", i);
        assert_state(w, id, "completed");
    }
    assert_int_equal(w->call_count, 600 * 6);
    world_free(w);
}

/* As many parents as may be in memory, all of which come to their child at once: the children find room. */
static void test_full(void **state)
{
    (void)state;
    char id[16];
    struct world *w = world_new();
    w->answer = hold_is_away;
    open_engine_of(w, plain, 2);
    for (int i = 0; i < SAGA_LIVE_MAX; i++) {
        snprintf(id, sizeof id, "m%d", i);
        place(w, id);
    }
    while (saga_engine_live(w->g) < SAGA_LIVE_MAX)
        crash_env_run_ms(w->ce, 10);
    w->step = 1;
    crash_env_run_ms(w->ce, 60000);
    assert_int_equal(saga_engine_live(w->g), 0);
    assert_state_of(w, "checkout", "m0", "completed");
    world_free(w);
}

/* ---- at every moment ---- */

/* Says something so many milliseconds, and then turns of the loop, after a call. */
struct later {
    struct world *w;
    struct env_timer timer;
    const char *key;
    struct saga_command command;
    int64_t after_ms;
    int turns;
    bool said;
    struct seen seen;
};
static struct later *later;

static void on_turn(void *arg)
{
    struct later *l = arg;
    if (l->turns > 0) {
        l->turns--;
        env_timer_start(l->w->env, &l->timer, 0);
        return;
    }
    l->said = true;
    assert_int_equal(saga_engine_command(l->w->g, &l->command, on_view, &l->seen), FICUS_ERR_OK);
}

static void begin_later(struct world *w, const struct call_request *r, const char *key)
{
    (void)r;
    if (strcmp(key, later->key) != 0 || later->said || env_timer_armed(&later->timer))
        return;
    if (later->turns < 0) /* before anything else that is done now */
        on_turn(later);
    else
        env_timer_start(w->env, &later->timer, later->after_ms);
}

static struct world *say_later(struct later *l, const char *const *texts, size_t count, struct plan (*answer)(struct world *w, const char *key))
{
    struct world *w = world_new();
    l->w = w;
    l->timer = (struct env_timer){.fn = on_turn, .arg = l};
    later = l;
    w->on_call = begin_later;
    w->answer = answer;
    open_engine_of(w, texts, count);
    return w;
}

/* The parent is cancelled at every turn of the loop from its first call on, to its end: either that is too late, or nothing is left
 * of both: the child has never begun, or is undone, or was completed and is undone by its step. */
static void test_cancelled_at_any_time(void **state)
{
    (void)state;
    enum { TURNS = 12 };
    bool cancelled = true, ways[3] = {false};
    for (int at = 0; cancelled; at++) {
        struct later l = {.key = "checkout/o1/hold/do", .command = {.kind = SAGA_CANCEL, .saga = SLICE("checkout"), .id = SLICE("o1")},
                          .after_ms = at / TURNS, .turns = at % TURNS};
        struct world *w = say_later(&l, plain, 2, NULL);
        place(w, "o1");
        crash_env_run_ms(w->ce, 1000);
        assert_true(l.seen.done);
        cancelled = l.seen.err == FICUS_ERR_OK;
        assert_int_equal(saga_engine_live(w->g), 0);
        assert_state(w, "o1", cancelled ? "compensated" : "completed");
        struct seen child = show_of(w, "packing", "o1.pack");
        bool begun = child.err == FICUS_ERR_OK, completed = begun && strstr(child.json, "\"state\":\"completed\"") != NULL;
        assert_true(!begun || completed || strstr(child.json, "\"state\":\"compensated\"") != NULL);
        assert_int_equal(calls_of(w, "checkout/o1/pack/undo"), cancelled && completed ? 1 : 0);
        assert_true(cancelled || completed);
        ways[!begun ? 0 : completed ? 2 : 1] = true;
        world_free(w);
    }
    assert_true(ways[0] && ways[1] && ways[2]);
}

/* The same in the turn in which its child is being begun, where an instance of its id is there already: somebody else's is left alone. */
static void test_cancelled_while_it_begins(void **state)
{
    (void)state;
    static const char text[] = "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
                               "{\"parallel\":[{\"tag\":{\"call\":\"PUT i:/t/{id}\",\"undo\":\"DELETE i:/t/{id}\"}},"
                               "{\"pack\":{\"saga\":\"packing\",\"body\":{\"order\":\"{id}\"},\"undo\":\"DELETE i:/p/{id}\"}}]}]}";
    static const char *const texts[] = {text, approval_text};
    bool cancelled = false;
    for (int turns = -1; turns < 8; turns++) {
        struct later l = {.key = "checkout/o1/tag/do", .command = {.kind = SAGA_CANCEL, .saga = SLICE("checkout"), .id = SLICE("o1")}, .turns = turns};
        struct world *w = say_later(&l, texts, 2, NULL);
        const struct saga_command c = {.kind = SAGA_START, .saga = SLICE("packing"), .id = SLICE("o1.pack"), .data = SLICE("{\"order\":\"o1\"}")};
        assert_int_equal(command(w, &c).err, FICUS_ERR_OK);
        place(w, "o1");
        crash_env_run_ms(w->ce, 1000);
        assert_true(l.seen.done);
        assert_state_of(w, "packing", "o1.pack", "waiting");
        assert_state(w, "o1", "compensated");
        assert_int_equal(calls_of(w, "checkout/o1/pack/undo"), 0);
        cancelled = cancelled || l.seen.err == FICUS_ERR_OK;
        world_free(w);
    }
    assert_true(cancelled);
}

/* ---- crashes ---- */

static bool is_in_effect(const struct world *w, const char *step)
{
    char done[64], undone[64];
    bool effect = false;
    snprintf(done, sizeof done, "%s/do", step);
    snprintf(undone, sizeof undone, "%s/undo", step);
    for (size_t i = 0; i < w->call_count; i++)
        effect = strcmp(w->keys[i], done) == 0 || (effect && strcmp(w->keys[i], undone) != 0);
    return effect;
}

/* What each way through leaves in effect; "pack" is in effect when the child's box is and its undo was not called. */
static void assert_left(struct world *w, bool completed)
{
    static const char *const steps[] = {"checkout/o1/hold", "checkout/o1/check", "checkout/o1/confirm", "packing/o1.pack/pick"};
    static const char *const refused[] = {"checkout/o1/check/do", "checkout/o1/confirm/do"};
    bool packed = calls_of(w, "packing/o1.pack/label/do") > 0 && calls_of(w, "checkout/o1/pack/undo") == 0;
    assert_int_equal(packed, completed);
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
        bool was_refused = w->answer == no_check && (i == 1 || i == 2);
        bool by_parent = i == 3 && calls_of(w, "checkout/o1/pack/undo") > 0; /* undone whole */
        assert_int_equal(is_in_effect(w, steps[i]) && !was_refused && !by_parent, completed);
    }
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++)
        assert_true(calls_of(w, refused[i]) <= 2);
}

/* Power is lost after every operation of the disk, with all ways to lose it, while the child is completed, is refused, is completed
 * and undone, and while the parent is cancelled as its child runs: both end as without. */
static void test_crash_everywhere(void **state)
{
    (void)state;
    struct plan (*const answers[])(struct world *, const char *) = {NULL, no_box, no_check, NULL};
    for (size_t way = 0; way < ARRAY_COUNT(answers); way++) {
        const char *const *texts = way == 3 ? approved : plain;
        bool died = true;
        for (uint64_t op = 0; died; op++) {
            died = false;
            for (int mode = SIM_CRASH_FORGET; mode <= SIM_CRASH_TEAR; mode++) {
                struct world *w = world_new();
                struct seen said = {0};
                w->answer = answers[way];
                open_engine_of(w, texts, 2);
                if (way == 3) {
                    place(w, "o1");
                    crash_env_run_ms(w->ce, 1000);
                }
                sim_disk_die_after(w->disk, op);
                const struct saga_command c = {.kind = SAGA_CANCEL, .saga = SLICE("checkout"), .id = SLICE("o1")};
                if (way == 3)
                    assert_int_equal(saga_engine_command(w->g, &c, on_view, &said), FICUS_ERR_OK);
                else
                    place(w, "o1");
                crash_env_run_ms(w->ce, 5000);
                if (sim_disk_dead(w->disk)) {
                    close_engine(w);
                    sim_disk_crash(w->disk, (enum sim_crash)mode, op);
                    open_engine_of(w, texts, 2);
                    if (way == 3) /* what was not answered is said again */
                        assert_int_equal(say(w, SAGA_CANCEL, "o1").err, FICUS_ERR_OK);
                    crash_env_run_ms(w->ce, 5000);
                    died = true;
                }
                assert_state(w, "o1", way == 0 ? "completed" : "compensated");
                assert_state_of(w, "packing", "o1.pack", way == 0 || way == 2 ? "completed" : "compensated");
                assert_int_equal(saga_engine_live(w->g), 0);
                assert_left(w, way == 0);
                world_free(w);
            }
            assert_true(died || op > 10);
        }
    }
}

/* ---- damage ---- */

/* A child's row that says nothing of its end, or not whose it is, is left alone, and keeps no other parent from hearing of its child. */
static void test_damaged(void **state)
{
    (void)state;
    struct world *w = begin(approved, 2, NULL);
    for (int i = 2; i <= 4; i++)
        place(w, arena_printf(&w->arena, "o%d", i));
    crash_env_run_ms(w->ce, 1000);
    close_engine(w);
    w->ce = crash_env_new(w->disk, 1);
    w->env = crash_env(w->ce);
    crash_env_call(w->ce, run_on_journal, &(struct journal_script){w, "UPDATE saga_instance SET state = 'compleied', untold = 1 WHERE id = 'o1.pack';"
                                           "UPDATE saga_instance SET state = 'waiting', untold = 1 WHERE id = 'o2.pack';"
                                           "UPDATE saga_instance SET state = 'completed', untold = 1, parent_id = NULL WHERE id = 'o3.pack'"});
    crash_env_free(w->ce);
    open_engine_of(w, approved, 2);
    assert_int_equal(say_to(w, SAGA_SIGNAL, "packing", "o4.pack").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 3000);
    assert_state(w, "o4", "completed");
    for (int i = 1; i <= 3; i++)
        assert_state(w, arena_printf(&w->arena, "o%d", i), "waiting");
    world_free(w);
}

/* ---- whatever is said, whenever ---- */

static uint32_t chance; /* of 100: an answer is none, or a refusal */
static uint64_t dice = 1;

static uint32_t roll(uint32_t below)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(dice >> 33) % below;
}

static struct plan any_answer(struct world *w, const char *key)
{
    (void)w;
    (void)key;
    if (roll(100) >= chance)
        return (struct plan){.status = 200};
    return roll(2) == 0 ? (struct plan){.err = FICUS_ERR_REFUSED} : (struct plan){.status = 409, .code = "no"};
}

static const char *const tree[][2] = {{"checkout", "o1"}, {"packing", "o1.left"}, {"middle", "o1.right"}, {"packing", "o1.right.ship"}, {"packing", "o1.pack"}};

static void say_anything(struct world *w)
{
    static const enum saga_command_kind kinds[] = {SAGA_SIGNAL, SAGA_SIGNAL, SAGA_CANCEL, SAGA_RETRY, SAGA_TERMINATE};
    size_t at = roll(ARRAY_COUNT(tree)), kind = roll(roll(4) == 0 ? ARRAY_COUNT(kinds) : 4);
    const struct saga_command c = {.kind = kinds[kind], .saga = slice_str(tree[at][0]), .id = slice_str(tree[at][1]), .actor = SLICE("ann"),
                                   .reason = SLICE("because"), .refuse = roll(4) == 0, .signal = kinds[kind] == SAGA_SIGNAL ? SLICE("approved") : SLICE_NONE};
    (void)command(w, &c);
}

static bool is_in(struct world *w, const char *saga, const char *id, const char *state)
{
    struct seen s = show_of(w, saga, id);
    return is_in_state(&s, state);
}

static bool all_ended(struct world *w)
{
    bool ended = true;
    for (size_t i = 0; i < ARRAY_COUNT(tree); i++) {
        struct seen s = show_of(w, tree[i][0], tree[i][1]);
        ended = ended && (s.err == FICUS_ERR_NOT_FOUND || is_in_state(&s, "completed") || is_in_state(&s, "compensated") || is_in_state(&s, "terminated"));
    }
    return ended;
}

/* A completed parent has completed children; of one that is compensated each child was undone, or never began: by itself, or, when it
 * was completed, by the step's undo. */
static void assert_agree(struct world *w, const char *const parent[2], const char *step, const char *const child[2])
{
    char undo[64];
    snprintf(undo, sizeof undo, "%s/%s/%s/undo", parent[0], parent[1], step);
    if (is_in(w, parent[0], parent[1], "completed"))
        assert_true(is_in(w, child[0], child[1], "completed"));
    else if (is_in(w, parent[0], parent[1], "compensated") && is_in(w, child[0], child[1], "completed"))
        assert_int_not_equal(calls_of(w, undo), 0);
    else if (!is_in(w, parent[0], parent[1], "terminated"))
        assert_int_equal(calls_of(w, undo), 0);
}

/* Answers that are refusals or none, commands to any instance, crashes, and then perhaps another definition of the child's saga, or none:
 * afterwards all come to an end when participants answer, what is stuck is retried and what waits is signalled. */
static void test_anything(void **state)
{
    (void)state;
    static const char *const *const systems[] = {plain, approved, wide, wide_approved};
    static const size_t counts[] = {2, 2, 3, 3};
    const char *text = getenv("FICUS_TEST_ROUNDS");
    uint64_t rounds = text != NULL ? strtoull(text, NULL, 10) : 150;
    for (uint64_t round = 1; round <= rounds; round++) {
        dice = round;
        size_t system = roll(ARRAY_COUNT(systems));
        chance = roll(60);
        struct world *w = world_new();
        w->answer = any_answer;
        open_engine_of(w, systems[system], counts[system]);
        place(w, "o1");
        for (uint32_t step = roll(12); step > 0; step--) {
            crash_env_run_ms(w->ce, roll(3) == 0 ? roll(3000) : roll(20));
            if (roll(4) == 0) {
                sim_disk_die_after(w->disk, roll(40));
                crash_env_run_ms(w->ce, roll(10));
                crash(w, SIM_CRASH_TEAR);
                system ^= roll(2);
                open_engine_of(w, systems[system], roll(5) == 0 ? 1 : counts[system]);
            } else {
                say_anything(w);
            }
        }
        chance = 0;
        bool ended = false;
        for (int tries = 0; tries < 8 && !ended; tries++) {
            crash_env_run_ms(w->ce, 60000);
            for (size_t i = 0; i < ARRAY_COUNT(tree); i++) {
                (void)say_to(w, SAGA_RETRY, tree[i][0], tree[i][1]);
                crash_env_run_ms(w->ce, 1000);
                (void)say_to(w, SAGA_SIGNAL, tree[i][0], tree[i][1]);
                crash_env_run_ms(w->ce, 1000);
            }
            ended = all_ended(w);
        }
        if (!ended)
            fail_msg("seed %llu: %s", (unsigned long long)round, show(w, "o1").json);
        crash_env_run_ms(w->ce, 5000);
        assert_int_equal(saga_engine_live(w->g), 0);
        if (counts[system] == 2) {
            assert_agree(w, tree[0], "pack", tree[4]);
        } else {
            assert_agree(w, tree[0], "left", tree[1]);
            assert_agree(w, tree[0], "right", tree[2]);
            assert_agree(w, tree[2], "ship", tree[3]);
        }
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_completed),
        cmocka_unit_test(test_rests),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_stuck),
        cmocka_unit_test(test_child_cancelled_by_hand),
        cmocka_unit_test(test_other_instance),
        cmocka_unit_test(test_cannot_begin),
        cmocka_unit_test(test_parent_cancelled),
        cmocka_unit_test(test_completed_is_undone),
        cmocka_unit_test(test_behind_its_pivot),
        cmocka_unit_test(test_parent_terminated),
        cmocka_unit_test(test_ends_while_parent_is_stuck),
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_input_over_the_limit),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_cancelled_at_any_time),
        cmocka_unit_test(test_cancelled_while_it_begins),
        cmocka_unit_test(test_crash_everywhere),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
