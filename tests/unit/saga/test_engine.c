/* SPDX-License-Identifier: Apache-2.0
 *
 * The saga engine in virtual time: journal on a disk that can crash, start events from a bus in memory, participants
 * that answer as told.
 */
#include "saga_world.h"

/* The same with one step more: what a later version of the manifest says. */
static const char checkout2_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"reserve\":{\"call\":\"PUT inventory:/v2/reservations/{id}\",\"undo\":\"DELETE "
    "inventory:/v2/reservations/{id}\"}},"
    "{\"weigh\":{\"call\":\"PUT inventory:/v2/weights/{id}\",\"undo\":\"DELETE inventory:/v2/weights/{id}\"}},"
    "{\"confirm\":{\"call\":\"POST orders:/v2/orders/{id}/confirm\",\"pivot\":true}}]}";

/* ---- tests ---- */

/* A start event runs all steps in order, each with its own key, and leaves a completed instance with its history. */
static void test_happy(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_calls(w, "checkout/o1/reserve/do checkout/o1/charge/do checkout/o1/confirm/do checkout/o1/take/do");
    assert_string_equal(w->last_path, "POST inventory:/v1/reservations/o1/take");
    assert_state(w, "o1", "completed");
    assert_int_equal(saga_engine_live(w->g), 0);
    struct seen s = show(w, "o1");
    assert_non_null(strstr(s.json, "\"kind\":\"do_done\",\"step\":\"charge\",\"status\":200,\"attempts\":1"));
    world_free(w);
}

/* However often the start event of one subject comes, while the instance runs, later, or after a restart, there is one
 * instance. */
static void test_started_once(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, checkout_text);
    place(w, "o1");
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    close_engine(w);
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_int_equal(w->call_count, 4);
    world_free(w);
}

static void see_bodies(struct world *w, const struct call_request *r, const char *key)
{
    (void)r;
    if (strstr(key, "/reserve/do") != NULL)
        assert_string_equal(w->last_body, "{\"items\":[{\"sku\":\"85123A\",\"quantity\":6}]}");
    if (strstr(key, "/charge/do") != NULL)
        assert_string_equal(w->last_body, "{\"amount\":1530}");
    if (strstr(key, "/undo") != NULL)
        assert_string_equal(w->last_body, "{\"reason\":\"declined\"}");
}

static struct plan decline(struct world *w, const char *key)
{
    (void)w;
    return strstr(key, "/charge/do") != NULL ? (struct plan){.status = 402, .code = "declined"}
                                             : (struct plan){.status = 204};
}

/* A refusal is undone in reverse, down to what was done before the saga; the undos carry the problem's code as reason,
 * the calls what the templates say. */
static void test_refused(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = decline;
    w->on_call = see_bodies;
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_calls(w, "checkout/o1/reserve/do checkout/o1/charge/do checkout/o1/reserve/undo checkout/o1/placed/undo");
    assert_state(w, "o1", "compensated");
    assert_non_null(strstr(show(w, "o1").json, "\"failure\":\"declined\""));
    world_free(w);
}

/* ---- journal before effect ---- */

struct look {
    struct crash_env *ce;
    char key[128];
    bool found;
};

static void look_into(void *arg)
{
    struct look *l = arg;
    struct saga_journal *j;
    struct ficus_error error = {0};
    struct arena a;
    struct saga_stored *stored;
    if (saga_journal_open(crash_env(l->ce), "/sagas.db", &j, &error) != FICUS_ERR_OK)
        return;
    arena_init(&a, 1024 * 1024);
    char *id = strchr(l->key, '/') + 1, *step = strchr(id, '/') + 1, *kind = strchr(step, '/') + 1;
    if (saga_journal_load(j, &a, SLICE("checkout"), slice_make(id, (size_t)(step - id) - 1), &stored, &error) ==
            FICUS_ERR_OK &&
        stored->record_count > 0) {
        const struct saga_stored_record *r = &stored->records[stored->record_count - 1];
        enum saga_record_kind want = strcmp(kind, "undo") == 0 ? SAGA_RECORD_UNDO_BEGUN : SAGA_RECORD_DO_BEGUN;
        l->found = r->kind == want && slice_eq_str(slice_make(step, (size_t)(kind - step) - 1), r->step);
    }
    arena_done(&a);
    saga_journal_close(j);
}

static void power_off_and_look(struct world *w, const struct call_request *r, const char *key)
{
    (void)r;
    struct look l = {0};
    struct sim_disk *copy = sim_disk_clone(w->disk);
    snprintf(l.key, sizeof l.key, "%s", key);
    sim_disk_crash(copy, SIM_CRASH_FORGET, 1);
    l.ce = crash_env_new(copy, 1);
    crash_env_call(l.ce, look_into, &l);
    crash_env_free(l.ce);
    sim_disk_free(copy);
    if (!l.found)
        fail_msg("%s was called before its begin was durable", key);
    w->step++;
}

/* Teeth "journal after the effect": at the moment a participant is called, a disk that loses power has the record that
 * this very step began. */
static void test_journal_before_effect(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->on_call = power_off_and_look;
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    w->answer = decline;
    place(w, "o2");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    assert_state(w, "o2", "compensated");
    assert_int_equal(w->step, 8);
    world_free(w);
}

/* ---- crashes ---- */

static void count_and_stop(struct world *w, const struct call_request *r, const char *key)
{
    (void)r;
    (void)key;
    if (w->step > 0 && --w->step == 0)
        sim_disk_die_after(w->disk, 0);
}

/* A crash at any call, with any loss of unsynced bytes, changes nothing: the next engine repeats that request under the
 * same key and ends the same. */
static void test_crash_at_each_call(void **state)
{
    (void)state;
    for (int mode = SIM_CRASH_KEEP; mode <= SIM_CRASH_TEAR; mode++) {
        for (int at = 1; at <= 4; at++) {
            for (int declined = 0; declined < 2; declined++) {
                struct world *w = world_new();
                w->answer = declined ? decline : NULL;
                w->on_call = count_and_stop;
                w->step = at;
                open_engine(w, checkout_text);
                place(w, "o1");
                crash_env_run_ms(w->ce, 20);
                char *repeated = w->keys[at - 1];
                assert_int_equal(w->call_count, at);
                crash(w, (enum sim_crash)mode);
                open_engine(w, checkout_text);
                crash_env_run_ms(w->ce, 1000);
                assert_int_equal(w->call_count, 5);
                assert_string_equal(w->keys[at], repeated);
                assert_state(w, "o1", declined ? "compensated" : "completed");
                world_free(w);
            }
        }
    }
}

static struct plan no_payments(struct world *w, const char *key)
{
    return strstr(key, "/charge/do") != NULL && w->step == 0 ? (struct plan){.err = FICUS_ERR_REFUSED}
                                                             : (struct plan){.status = 200};
}

/* A running instance ends on the definition that it began with, also when the next start has another one; new instances
 * take the new one. */
static void test_versions(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = no_payments;
    open_engine(w, checkout_text);
    place(w, "old");
    crash_env_run_ms(w->ce, 2000);
    assert_state(w, "old", "running");
    close_engine(w);
    w->step = 1;
    open_engine(w, checkout2_text);
    place(w, "new");
    size_t before = w->call_count;
    crash_env_run_ms(w->ce, 2000);
    assert_state(w, "old", "completed");
    assert_state(w, "new", "completed");
    bool weighed = false, taken = false;
    for (size_t i = before; i < w->call_count; i++) {
        weighed = weighed || strcmp(w->keys[i], "checkout/new/weigh/do") == 0;
        taken = taken || strcmp(w->keys[i], "checkout/old/take/do") == 0;
        assert_string_not_equal(w->keys[i], "checkout/old/weigh/do");
    }
    assert_true(weighed && taken);
    world_free(w);
}

/* ---- give up, stuck ---- */

/* Charge without an answer for ten minutes is given up, and undone as perhaps done. */
static void test_give_up(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = no_payments;
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 599000);
    assert_state(w, "o1", "running");
    crash_env_run_ms(w->ce, 2000);
    assert_state(w, "o1", "compensated");
    assert_non_null(strstr(show(w, "o1").json, "\"failure\":\"payment_unavailable\""));
    assert_true(w->call_count > 100);
    assert_string_equal(w->keys[w->call_count - 3], "checkout/o1/charge/undo");
    world_free(w);
}

static struct plan no_take(struct world *w, const char *key)
{
    return strstr(key, "/take/do") != NULL && w->step == 0 ? (struct plan){.status = 409, .code = "gone"}
                                                           : (struct plan){.status = 200};
}

/* A refusal behind the pivot rests as stuck, over a restart too, is called no more, and goes on when an operator says
 * so; only then. */
static void test_stuck_and_retry(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = no_take;
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 60000);
    assert_int_equal(w->call_count, 4);
    assert_state(w, "o1", "stuck");
    close_engine(w);
    open_engine(w, checkout_text);
    crash_env_run_ms(w->ce, 60000);
    assert_int_equal(w->call_count, 4);
    assert_int_equal(say(w, SAGA_RETRY, "unknown").err, FICUS_ERR_NOT_FOUND);
    assert_int_equal(say(w, SAGA_RETRY, "o1").err, FICUS_ERR_OK);
    assert_state(w, "o1", "stuck");
    w->step = 1;
    assert_int_equal(say(w, SAGA_RETRY, "o1").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    assert_int_equal(say(w, SAGA_RETRY, "o1").err, FICUS_ERR_CONFLICT);
    world_free(w);
}

/* The list pages through all instances of a state, in order, without loss. */
static void test_list_pages(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, checkout_text);
    for (int i = 0; i < 7; i++) {
        char id[16];
        snprintf(id, sizeof id, "o%d", i);
        place(w, id);
    }
    crash_env_run_ms(w->ce, 1000);
    char after[32] = "";
    int pages = 0, rows = 0;
    do {
        struct seen s = {0};
        const struct saga_query q = {.state = SAGA_COMPLETED, .after = slice_str(after), .count_max = 3};
        assert_int_equal(saga_engine_list(w->g, &q, on_view, &s), FICUS_ERR_OK);
        crash_env_run(w->ce);
        assert_true(s.done && s.err == FICUS_ERR_OK);
        for (const char *p = s.json; (p = strstr(p, "\"id\":\"o")) != NULL; p++)
            assert_int_equal(p[7] - '0', rows++);
        const char *next = strstr(s.json, "\"after\":\"");
        snprintf(after, sizeof after, "%.11s", next != NULL ? next + 9 : "");
        pages++;
    } while (after[0] != '\0');
    assert_int_equal(rows, 7);
    assert_int_equal(pages, 3);
    world_free(w);
}

/* ---- many at once, and a journal that fails ---- */

static struct plan mixed(struct world *w, const char *key)
{
    uint64_t n = sim_random(&w->seed);
    if (n % 3 == 0)
        return (struct plan){.err = FICUS_ERR_RESET};
    if (strstr(key, "7/charge/do") != NULL)
        return (struct plan){.status = 402, .code = "declined"};
    return n % 7 == 0 ? (struct plan){.status = 503} : (struct plan){.status = 200};
}

/* A thousand instances, a third of all calls without an answer, a crash in between: each ends as its card says. */
static void test_many(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = mixed;
    open_engine(w, checkout_text);
    for (int i = 0; i < 1000; i++) {
        char id[16];
        snprintf(id, sizeof id, "o%d", i);
        place(w, id);
    }
    crash_env_run_ms(w->ce, 100);
    crash(w, SIM_CRASH_TEAR);
    open_engine(w, checkout_text);
    crash_env_run_ms(w->ce, 600000);
    assert_int_equal(saga_engine_live(w->g), 0);
    for (int i = 0; i < 1000; i++) {
        char id[16];
        snprintf(id, sizeof id, "o%d", i);
        assert_state(w, id, i % 10 == 7 ? "compensated" : "completed");
    }
    assert_true(w->calling_max > 10 && w->calling_max <= SAGA_CALLING_MAX);
    world_free(w);
}

/* While the journal cannot be written nothing is called; when it can again, everything goes on. */
static void test_journal_fails(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    size_t calls = w->call_count;
    sim_disk_fail(w->disk, 0, 1000000, FICUS_ERR_FULL);
    place(w, "o2");
    crash_env_run_ms(w->ce, 30000);
    assert_int_equal(w->call_count, calls);
    sim_disk_fail(w->disk, 0, 0, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 30000);
    assert_state(w, "o2", "completed");
    world_free(w);
}

static int64_t rows_of(struct world *w, const char *table)
{
    struct db *d = saga_engine_db(w->g);
    struct db_conn *c;
    struct db_stmt *s;
    char sql[64];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    assert_int_equal(db_reader_take(d, &c, NULL), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &s, NULL, sql, ""), FICUS_ERR_OK);
    assert_true(db_step(s, NULL) > 0);
    int64_t count = db_i64(s, 0);
    db_finish(s);
    db_reader_give(d, c);
    return count;
}

static struct plan no_confirm(struct world *w, const char *key)
{
    return strstr(key, "/confirm/do") != NULL && w->step == 0 ? (struct plan){.status = 503} : (struct plan){.status = 200};
}

struct rows {
    struct world *w;
    int64_t instances, records;
};

static void count_rows(void *arg)
{
    struct rows *r = arg;
    r->instances = rows_of(r->w, "saga_instance");
    r->records = rows_of(r->w, "saga_record");
}

/* Hours of repeating one step, over restarts, write nothing: one row, and a record for what began and what was done. When the
 * retention is over both are gone. */
static void test_history_is_bounded(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct rows r = {.w = w};
    w->answer = no_confirm;
    for (int hour = 0; hour < 4; hour++) {
        open_engine(w, checkout_text);
        if (hour == 0)
            place(w, "o1");
        crash_env_run_ms(w->ce, 3600 * 1000);
        crash_env_call(w->ce, count_rows, &r);
        assert_int_equal(r.instances, 1);
        assert_int_equal(r.records, 6);
        if (hour < 3)
            crash(w, SIM_CRASH_TEAR);
    }
    assert_true(w->call_count > 1000);
    w->step = 1;
    crash_env_run_ms(w->ce, 1000 * 60);
    assert_state(w, "o1", "completed");
    crash_env_run_ms(w->ce, 2 * 3600 * 1000);
    crash_env_call(w->ce, count_rows, &r);
    assert_int_equal(r.instances + r.records, 0);
    world_free(w);
}

static void count_definitions(void *arg)
{
    struct rows *r = arg;
    r->records = rows_of(r->w, "saga_definition");
}

static void expect_definitions(struct world *w, int64_t wanted)
{
    struct rows r = {.w = w};
    crash_env_call(w->ce, count_definitions, &r);
    assert_int_equal(r.records, wanted);
}

/* A definition is kept for as long as there is an instance of it. */
static void test_definitions_forgotten(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, checkout_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    close_engine(w);
    open_engine(w, checkout2_text);
    place(w, "o2");
    crash_env_run_ms(w->ce, 30 * 60 * 1000);
    assert_state(w, "o2", "completed");
    expect_definitions(w, 2);
    place(w, "o3");
    crash_env_run_ms(w->ce, 50 * 60 * 1000);
    assert_int_equal(show(w, "o1").err, FICUS_ERR_NOT_FOUND);
    assert_state(w, "o3", "completed");
    expect_definitions(w, 1);
    crash_env_run_ms(w->ce, 3 * 3600 * 1000);
    expect_definitions(w, 0);
    place(w, "o4");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o4", "completed");
    expect_definitions(w, 1);
    world_free(w);
}

/* Finished instances are forgotten after their retention, unfinished and stuck ones never. */
static void test_retention(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = no_take;
    open_engine(w, checkout_text);
    place(w, "stuck");
    crash_env_run_ms(w->ce, 1000);
    w->step = 1;
    place(w, "done");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "done", "completed");
    crash_env_run_ms(w->ce, 2 * 3600 * 1000);
    assert_int_equal(show(w, "done").err, FICUS_ERR_NOT_FOUND);
    assert_state(w, "stuck", "stuck");
    world_free(w);
}

/* An event that does not fit the definition's templates is refused like a participant would, not repeated for ever. */
static void test_input_invalid(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, "{\"name\":\"checkout\",\"start\":\"order.placed\",\"steps\":["
                   "{\"a\":{\"call\":\"PUT x:/a/{id}\",\"undo\":\"DELETE x:/a/{id}\"}},"
                   "{\"b\":{\"call\":\"PUT x:/b/{input.nothing}\",\"undo\":\"DELETE x:/b/{id}\"}}]}");
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_calls(w, "checkout/o1/a/do checkout/o1/a/undo");
    assert_non_null(strstr(show(w, "o1").json, "\"failure\":\"input_invalid\""));
    world_free(w);
}

/* A log that was lost and begins anew is read from its beginning; what began already does not begin again. */
static void test_log_lost(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, checkout_text);
    place(w, "o1");
    place(w, "o2");
    crash_env_run_ms(w->ce, 1000);
    close_engine(w);
    size_t calls = w->call_count;
    w->event_count = 0;
    place(w, "o1");
    open_engine(w, checkout_text);
    crash_env_run_ms(w->ce, 5000);
    assert_int_equal(w->call_count, calls);
    place(w, "o3");
    crash_env_run_ms(w->ce, 5000);
    assert_state(w, "o3", "completed");
    world_free(w);
}

/* How often within a second. */
static uint32_t logged(const struct world *w, const char *event)
{
    for (uint32_t i = 0; i < w->log.event_count; i++)
        if (strcmp(w->log.repeats[i].event, event) == 0)
            return w->log.repeats[i].count + w->log.repeats[i].suppressed;
    return 0;
}

static bool was_logged(const struct world *w, const char *event)
{
    return logged(w, event) > 0;
}

/* What retention took before it was read is an error in the hub's log; what an engine that begins was never to read is none. */
static void test_events_lost(void **state)
{
    (void)state;
    struct event_cut cut = {SLICE("order.placed"), 1};
    struct world *w = world_new();
    open_engine(w, checkout_text);
    w->bus.cuts = &cut;
    w->bus.cut_count = 1;
    place(w, "o1");
    place(w, "o2");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o2", "completed");
    assert_false(was_logged(w, "events.lost"));
    place(w, "o3");                     /* the cut lies behind what was read */
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o3", "completed");
    assert_false(was_logged(w, "events.lost"));
    cut.offset = 4;
    place(w, "o4");
    place(w, "o5");
    crash_env_run_ms(w->ce, 1000);
    assert_true(was_logged(w, "events.lost"));
    assert_state(w, "o5", "completed");
    cut.offset = 205;                   /* two batches of what is left are before it */
    for (int i = 6; i <= 205; i++)
        place(w, arena_printf(&w->arena, "o%d", i));
    crash_env_run_ms(w->ce, 1000 - env_wall_ms(w->env) % 1000);
    crash_env_run_ms(w->ce, 900);
    assert_state(w, "o205", "completed");
    assert_int_equal(logged(w, "events.lost"), 1);
    world_free(w);
}

/* An instance whose records cannot be followed is left alone, and keeps no other from going on. */
static void test_damaged(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->answer = no_payments;
    open_engine(w, checkout_text);
    place(w, "bad");
    place(w, "good");
    crash_env_run_ms(w->ce, 1000);
    close_engine(w);
    w->ce = crash_env_new(w->disk, 1);
    w->env = crash_env(w->ce);
    crash_env_call(w->ce, run_on_journal, &(struct journal_script){w, "DELETE FROM saga_record WHERE id = 'bad' AND kind = 'do_done'"});
    crash_env_free(w->ce);
    w->step = 1;
    open_engine(w, checkout_text);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "good", "completed");
    assert_state(w, "bad", "running");
    world_free(w);
}

/* A journal that a newer hub has changed is refused with its place. */
static void test_newer(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct crash_env *ce = crash_env_new(disk, 3);
    struct saga_journal *j;
    struct ficus_error error;
    struct db_tx tx = {0};
    assert_int_equal(saga_journal_open(crash_env(ce), "/sagas.db", &j, &error), FICUS_ERR_OK);
    assert_int_equal(db_tx_begin(saga_journal_db(j), &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(
        db_exec(db_tx_conn(&tx), &error,
                "INSERT INTO ficus_migrations SELECT set_name, max(version) + 1, 'next', 'x', at FROM ficus_migrations", ""),
        FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    saga_journal_close(j);
    assert_int_equal(saga_journal_open(crash_env(ce), "/sagas.db", &j, &error), FICUS_ERR_VERSION);
    assert_non_null(strstr(error.text, "/sagas.db: "));
    crash_env_free(ce);
    sim_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_happy),
        cmocka_unit_test(test_started_once),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_journal_before_effect),
        cmocka_unit_test(test_crash_at_each_call),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_give_up),
        cmocka_unit_test(test_stuck_and_retry),
        cmocka_unit_test(test_list_pages),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_journal_fails),
        cmocka_unit_test(test_history_is_bounded),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_definitions_forgotten),
        cmocka_unit_test(test_input_invalid),
        cmocka_unit_test(test_log_lost), cmocka_unit_test(test_events_lost),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_newer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
