/* SPDX-License-Identifier: Apache-2.0
 *
 * What services say to their sagas by the log: in order with the start events, by the owner alone, once, and not lost when
 * power is, or the journal cannot be written.
 */
#include "saga_world.h"

static const char loan_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"block\":{\"call\":\"PUT accounts:/blocks/{id}\",\"body\":{\"amount\":\"{input.total}\"},\"undo\":\"DELETE accounts:/blocks/{id}\"}},"
    "{\"approval\":{\"signal\":\"approved\",\"timeout\":\"24h\",\"code\":\"not_approved\"}},"
    "{\"pay\":{\"call\":\"POST accounts:/blocks/{id}/pay\",\"body\":{\"by\":\"{signals.approved.by}\"},\"pivot\":true}}]}";

static void tell(struct world *w, const char *source, const char *id, const char *data)
{
    place(w, id);
    struct event *ev = &w->events[w->event_count - 1];
    ev->source = slice_str(source);
    ev->topic = SLICE(EVENT_TOPIC_SAGA);
    ev->data = slice_str(data);
}

#define START "{\"command\":\"start\",\"saga\":\"checkout\",\"input\":{\"total\":7}}"
#define SIGNAL(rest) "{\"command\":\"signal\",\"saga\":\"checkout\",\"signal\":\"approved\"" rest "}"
#define BY_ANN ",\"data\":{\"by\":\"ann\"}"

static void assert_has(struct seen s, const char *text)
{
    if (strstr(s.json, text) == NULL)
        fail_msg("no %s in %s", text, s.json);
}

/* Start and signal of one batch: the second finds what the first has begun, with input, data, and who said it. Both again
 * change nothing; nor does the start event of the same id. */
static void test_in_order(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, loan_text);
    tell(w, "/orders", "o1", START);
    tell(w, "/orders", "o1", SIGNAL(BY_ANN));
    place(w, "o2"); /* by its event */
    tell(w, "/orders", "o2", SIGNAL(BY_ANN));
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    assert_state(w, "o2", "completed");
    assert_string_equal(w->last_body, "{\"by\":\"ann\"}");
    assert_has(show(w, "o1"), "\"kind\":\"started\",\"actor\":\"service orders\"");
    assert_has(show(w, "o1"), "\"kind\":\"signalled\",\"step\":\"approval\",\"actor\":\"service orders\",\"data\":{\"by\":\"ann\"}");
    assert_has(show(w, "o1"), "\"event\":\"e1\"");
    size_t calls = w->call_count;
    tell(w, "/orders", "o1", START);
    tell(w, "/orders", "o1", SIGNAL(BY_ANN));
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_int_equal(w->call_count, calls);
    world_free(w);
}

/* A refused signal turns the instance back with the step's code. */
static void test_refuse(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, loan_text);
    tell(w, "/orders", "o1", START);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "waiting");
    tell(w, "/orders", "o1", SIGNAL(",\"refuse\":true"));
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "compensated");
    assert_has(show(w, "o1"), "\"failure\":\"not_approved\"");
    world_free(w);
}

/* What is wrong, another's, or too late changes nothing, and keeps nothing behind it back, nor comes again after a restart. */
static void test_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "7", "{}", "{\"command\":\"cancel\",\"saga\":\"checkout\"}", "{\"command\":\"start\",\"saga\":\"checkin\"}", "{\"command\":\"start\"}",
        "{\"command\":\"signal\",\"saga\":\"checkout\",\"signal\":\"aproved\"}", "{\"command\":\"signal\",\"saga\":\"checkin\",\"signal\":\"approved\"}",
        "{\"command\":\"signal\",\"saga\":\"checkout\"}",
    };
    struct world *w = world_new();
    open_engine(w, loan_text);
    tell(w, "/orders", "o1", START);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        tell(w, "/orders", "o1", wrong[i]);
    tell(w, "/thief", "o1", SIGNAL(BY_ANN));
    tell(w, "/thief", "o3", START);
    tell(w, "/orders", "a/b", START);
    tell(w, "/orders", "nobody", SIGNAL(BY_ANN));
    w->events[w->event_count - 1].data = SLICE_NONE;
    tell(w, "/orders", "nobody", SIGNAL(BY_ANN));
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "waiting");
    assert_int_equal(show(w, "o3").err, FICUS_ERR_NOT_FOUND);
    tell(w, "/orders", "o1", SIGNAL(BY_ANN));
    tell(w, "/orders", "o1", SIGNAL(",\"data\":{\"by\":\"bob\"}")); /* with other data */
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    close_engine(w);
    open_engine(w, loan_text);
    crash_env_run_ms(w->ce, 1000);
    assert_int_equal(w->pull_offset, (int64_t)w->event_count);
    assert_int_equal(w->call_count, 2);
    world_free(w);
}

/* While the journal cannot be written a signal waits in the log, and is given then. */
static void test_journal_fails(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, loan_text);
    tell(w, "/orders", "o1", START);
    crash_env_run_ms(w->ce, 1000);
    sim_disk_fail(w->disk, 0, 10000000, FICUS_ERR_FULL);
    tell(w, "/orders", "o1", SIGNAL(BY_ANN));
    crash_env_run_ms(w->ce, 60000);
    sim_disk_fail(w->disk, 0, 0, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 60000);
    assert_state(w, "o1", "completed");
    world_free(w);
}

/* More signals in one batch than operators' commands may be at a time in all batches of a row: each finds its instance. */
static void test_many(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, loan_text);
    for (int i = 0; i < 500; i++)
        tell(w, "/orders", arena_printf(&w->arena, "o%d", i), START);
    for (int i = 0; i < 500; i++)
        tell(w, "/orders", arena_printf(&w->arena, "o%d", i), SIGNAL(BY_ANN));
    crash_env_run_ms(w->ce, 10000);
    assert_int_equal(w->call_count, 1000);
    for (int i = 0; i < 500; i++)
        assert_state(w, arena_printf(&w->arena, "o%d", i), "completed");
    world_free(w);
}

/* ---- events that give or refuse a signal ---- */

#define TRADE(steps) "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":[" \
    "{\"block\":{\"call\":\"PUT accounts:/blocks/{id}\",\"undo\":\"DELETE accounts:/blocks/{id}\"}}," steps \
    "{\"send\":{\"call\":\"POST accounts:/blocks/{id}/send\",\"body\":{\"ref\":\"{signals.paid.ref}\"},\"pivot\":true}}]}"
static const char trade_text[] = TRADE("{\"payment\":{\"signal\":\"paid\",\"given_by\":\"payment.settled\",\"refused_by\":\"payment.failed\","
                                       "\"timeout\":\"1h\",\"code\":\"not_paid\"}},");
static const char trade_by_hand_text[] = TRADE("{\"payment\":{\"signal\":\"paid\",\"timeout\":\"1h\"}},");

static void tell_event(struct world *w, const char *topic, const char *id, const char *data)
{
    tell(w, "/payments", id, data);
    w->events[w->event_count - 1].topic = slice_str(topic);
}

/* An event of the topic with the instance's id gives its signal, or refuses it; one of another key, or of no instance, says
 * nothing; the same again changes nothing; by hand it can be given as well. */
static void test_event(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->topics = "order.placed,ficus.saga,payment.settled,payment.failed";
    open_engine(w, trade_text);
    place(w, "o1");
    place(w, "o2");
    place(w, "o3");
    tell_event(w, "payment.settled", "o1", "{\"ref\":\"p1\"}"); /* perhaps before its step */
    tell_event(w, "payment.settled", "another", "{\"ref\":\"p1\"}");
    tell_event(w, "payment.settled", "no/key \x01", "{}");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    assert_string_equal(w->last_body, "{\"ref\":\"p1\"}");
    assert_has(show(w, "o1"), "\"kind\":\"signalled\",\"step\":\"payment\",\"actor\":\"service payments\",\"reason\":\"payment.settled\"");
    assert_state(w, "o2", "waiting");
    tell_event(w, "payment.failed", "o2", "{\"why\":\"no money\"}");
    tell_event(w, "payment.settled", "o1", "{\"ref\":\"p1\"}");
    tell_event(w, "payment.failed", "o1", "{}"); /* too late */
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    assert_state(w, "o2", "compensated");
    assert_has(show(w, "o2"), "\"failure\":\"not_paid\"");
    tell(w, "/orders", "o3", "{\"command\":\"signal\",\"saga\":\"checkout\",\"signal\":\"paid\",\"data\":{\"ref\":\"x\"}}");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o3", "completed");
    world_free(w);
}

/* An instance of before goes on by its event although the manifest knows that topic no more; a new one does not. */
static void test_event_of_before(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->topics = "order.placed,ficus.saga,payment.settled,payment.failed";
    open_engine(w, trade_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    close_engine(w);
    open_engine(w, trade_by_hand_text);
    place(w, "o2");
    crash_env_run_ms(w->ce, 1000);
    tell_event(w, "payment.settled", "o1", "{\"ref\":\"p1\"}");
    tell_event(w, "payment.settled", "o2", "{\"ref\":\"p2\"}");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    assert_state(w, "o2", "waiting");
    world_free(w);
}

/* Power is lost after every operation of the disk: what the log has said is done, and once. */
static void test_crash_everywhere(void **state)
{
    (void)state;
    bool died = true;
    for (uint64_t op = 0; died; op++) {
        died = false;
        for (int mode = SIM_CRASH_FORGET; mode <= SIM_CRASH_TEAR; mode++) {
            struct world *w = world_new();
            open_engine(w, loan_text);
            sim_disk_die_after(w->disk, op);
            tell(w, "/orders", "o1", START);
            tell(w, "/orders", "o1", SIGNAL(BY_ANN));
            crash_env_run_ms(w->ce, 20);
            tell(w, "/orders", "o2", START);
            crash_env_run_ms(w->ce, 20);
            tell(w, "/orders", "o2", SIGNAL(",\"refuse\":true"));
            crash_env_run_ms(w->ce, 2000);
            if (sim_disk_dead(w->disk)) {
                close_engine(w);
                sim_disk_crash(w->disk, (enum sim_crash)mode, op);
                open_engine(w, loan_text);
                crash_env_run_ms(w->ce, 2000);
                died = true;
            }
            assert_state(w, "o1", "completed");
            assert_state(w, "o2", "compensated");
            /* One that is refused before its first call leaves is undone all the same; at most what is under way is repeated. */
            assert_true(w->call_count >= 3 && w->call_count <= 6);
            world_free(w);
        }
        assert_true(died || op > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),      cmocka_unit_test(test_refuse), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_journal_fails), cmocka_unit_test(test_many),   cmocka_unit_test(test_crash_everywhere),
        cmocka_unit_test(test_event),         cmocka_unit_test(test_event_of_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
