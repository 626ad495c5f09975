/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting for time and for signals: over restarts, with a clock that jumps, with signals that come before, at, after and
 * beside their step; how many rest costs nothing; journals of before are read.
 */
#include "saga_world.h"

static const char trip_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"hold\":{\"call\":\"PUT seats:/holds/{id}\",\"undo\":\"DELETE seats:/holds/{id}\"}},"
    "{\"cool_off\":{\"wait\":\"10m\"}},"
    "{\"buy\":{\"call\":\"POST seats:/holds/{id}/buy\",\"pivot\":true}}]}";

static const char loan_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"block\":{\"call\":\"PUT accounts:/blocks/{id}\",\"undo\":\"DELETE accounts:/blocks/{id}\"}},"
    "{\"approval\":{\"signal\":\"approved\",\"timeout\":\"24h\",\"code\":\"not_approved\"}},"
    "{\"check\":{\"call\":\"PUT accounts:/checks/{id}\",\"undo\":\"DELETE accounts:/checks/{id}\"}},"
    "{\"contract\":{\"signal\":\"signed\",\"timeout\":\"never\"}},"
    "{\"notice\":{\"signal\":\"heard\",\"timeout\":\"1h\",\"on_timeout\":\"go_on\"}},"
    "{\"pay\":{\"call\":\"POST accounts:/blocks/{id}/pay/{signals.approved.by}\","
    "\"body\":{\"limit\":\"{signals.approved.limit}\",\"all\":\"{signals.approved}\",\"heard\":\"{signals.heard.at}\"},\"pivot\":true}}]}";

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE };

/* ---- a clock that jumps ---- */

static int64_t jump_ms;
static int64_t (*true_wall_ms)(struct env *e);
static struct env_ops jumping_ops;

static int64_t jumping_wall_ms(struct env *e)
{
    return true_wall_ms(e) + jump_ms;
}

/* The engine's env has this clock from now on. */
static void take_clock(struct world *w)
{
    true_wall_ms = w->env->ops->wall_ms;
    jumping_ops = *w->env->ops;
    jumping_ops.wall_ms = jumping_wall_ms;
    w->env->ops = &jumping_ops;
}

static struct seen signal_with(struct world *w, const char *id, const char *signal, const char *data, bool refuse)
{
    const struct saga_command c = {.kind = SAGA_SIGNAL,
                                   .saga = SLICE("checkout"),
                                   .id = slice_str(id),
                                   .actor = SLICE("ann"),
                                   .reason = SLICE("because"),
                                   .signal = slice_str(signal),
                                   .data = slice_str(data),
                                   .refuse = refuse};
    return command(w, &c);
}

static void assert_has(struct seen s, const char *text)
{
    if (strstr(s.json, text) == NULL)
        fail_msg("no %s in %s", text, s.json);
}

/* ---- time ---- */

/* A wait lasts as long as it says, to the timer, in virtual time; nothing is in memory meanwhile, and it is listed with its
 * end. */
static void test_wait(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, trip_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 10 * MINUTE - 1000);
    assert_calls(w, "checkout/o1/hold/do");
    assert_int_equal(saga_engine_live(w->g), 0);
    assert_state(w, "o1", "waiting");
    assert_has(show(w, "o1"), "\"step\":\"cool_off\",\"until\":\"");
    crash_env_run_ms(w->ce, 2000);
    assert_calls(w, "checkout/o1/hold/do checkout/o1/buy/do");
    assert_state(w, "o1", "completed");
    assert_has(show(w, "o1"), "\"kind\":\"wait_done\",\"step\":\"cool_off\"");
    world_free(w);
}

/* A restart in the middle of a wait, by power loss too, neither shortens nor forgets it: here the clock of the next engine
 * is set back to the beginning, and the wait is at most its own length from then. */
static void test_wait_over_restart(void **state)
{
    (void)state;
    for (int mode = SIM_CRASH_KEEP; mode <= SIM_CRASH_TEAR; mode++) {
        struct world *w = world_new();
        open_engine(w, trip_text);
        crash_env_run_ms(w->ce, 3 * HOUR); /* the next engine's clock is three hours behind */
        place(w, "o1");
        crash_env_run_ms(w->ce, 5 * MINUTE);
        crash(w, (enum sim_crash)mode);
        open_engine(w, trip_text);
        crash_env_run_ms(w->ce, 10 * MINUTE - 1000);
        assert_calls(w, "checkout/o1/hold/do");
        crash_env_run_ms(w->ce, 2000);
        assert_calls(w, "checkout/o1/hold/do checkout/o1/buy/do");
        world_free(w);
    }
}

/* The wait goes on while no engine lives: over at the restart, it ends at once. */
static void test_wait_over_while_down(void **state)
{
    (void)state;
    struct world *w = world_new();
    jump_ms = 0;
    open_engine(w, trip_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, MINUTE);
    crash(w, SIM_CRASH_FORGET);
    open_engine(w, trip_text);
    jump_ms = 20 * MINUTE;
    take_clock(w);
    crash_env_run_ms(w->ce, MINUTE + 1000); /* the engine was made with the old clock: as if it were set forward */
    assert_calls(w, "checkout/o1/hold/do checkout/o1/buy/do");
    world_free(w);
}

/* A clock that is set back by a day, or ten times, while the engine runs does not prolong a wait; one that is set forward
 * ends it within a minute. */
static void test_clock_jumps(void **state)
{
    (void)state;
    struct world *w = world_new();
    jump_ms = 0;
    open_engine(w, trip_text);
    take_clock(w);
    place(w, "o1");
    for (int i = 0; i < 10; i++) {
        crash_env_run_ms(w->ce, MINUTE - 1000);
        jump_ms -= 24 * HOUR;
    }
    assert_calls(w, "checkout/o1/hold/do");
    crash_env_run_ms(w->ce, 11 * 1000);
    assert_calls(w, "checkout/o1/hold/do checkout/o1/buy/do");
    place(w, "o2");
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o2", "waiting");
    jump_ms += 11 * 24 * HOUR;
    crash_env_run_ms(w->ce, MINUTE + 1000);
    assert_state(w, "o2", "completed");
    /* Back again: time for waits stays where it was, and the next wait is as long as it says. */
    jump_ms -= 11 * 24 * HOUR;
    place(w, "o3");
    crash_env_run_ms(w->ce, 10 * MINUTE - 1000);
    assert_state(w, "o3", "waiting");
    crash_env_run_ms(w->ce, 2000);
    assert_state(w, "o3", "completed");
    world_free(w);
}

/* More than may be in memory at a time wait and wake; none is lost, over a crash in the midst of waking. */
static void test_many_wait(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, trip_text);
    for (int i = 0; i < EVENTS_MAX; i++)
        place(w, arena_printf(&w->arena, "o%d", i));
    crash_env_run_ms(w->ce, 10 * MINUTE - 1);
    assert_int_equal(w->call_count, EVENTS_MAX);
    assert_int_equal(saga_engine_live(w->g), 0);
    for (int i = 0; i < 1000 && w->call_count < EVENTS_MAX + 300; i++)
        crash_env_run_ms(w->ce, 1);
    assert_true(w->call_count < 2 * EVENTS_MAX);
    crash(w, SIM_CRASH_TEAR);
    open_engine(w, trip_text);
    crash_env_run_ms(w->ce, 11 * MINUTE);
    for (int i = 0; i < EVENTS_MAX; i++)
        assert_state(w, arena_printf(&w->arena, "o%d", i), "completed");
    world_free(w);
}

/* A waiting instance is cancelled and terminated like another, and its timer does nothing more. */
static void test_wait_ended_by_hand(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, trip_text);
    place(w, "o1");
    place(w, "o2");
    crash_env_run_ms(w->ce, MINUTE);
    assert_int_equal(say(w, SAGA_CANCEL, "o1").err, FICUS_ERR_OK);
    assert_int_equal(say(w, SAGA_TERMINATE, "o2").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, HOUR / 2);
    assert_state(w, "o1", "compensated");
    assert_state(w, "o2", "terminated");
    assert_has(show(w, "o2"), "\"left\":[\"hold\"]");
    assert_int_equal(w->call_count, 3);
    world_free(w);
}

/* While the journal cannot be written a wait that is over goes nowhere, without a crowd gathering; then it ends. */
static void test_journal_fails_at_wake(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, trip_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, MINUTE);
    sim_disk_fail(w->disk, 0, 10000000, FICUS_ERR_FULL);
    crash_env_run_ms(w->ce, HOUR / 2);
    assert_int_equal(w->call_count, 1);
    assert_int_equal(saga_engine_live(w->g), 1);
    sim_disk_fail(w->disk, 0, 0, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, MINUTE);
    assert_state(w, "o1", "completed");
    world_free(w);
}

/* ---- signals ---- */

/* A signal ends its wait, its data goes where the templates say, and each is in the history with who gave it. */
static void test_signal(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, loan_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 3 * HOUR);
    assert_has(show(w, "o1"), "\"signal\":\"approved\"");
    struct seen s = signal_with(w, "o1", "approved", "{\"limit\":5000,\"by\":\"ann b\"}", false);
    assert_int_equal(s.err, FICUS_ERR_OK);
    assert_has(s, "\"again\":false");
    crash_env_run_ms(w->ce, 1000);
    assert_has(show(w, "o1"), "\"signal\":\"signed\"");
    assert_null(strstr(show(w, "o1").json, "\"until\""));
    close_engine(w); /* what the signal brought is in the journal alone */
    open_engine(w, loan_text);
    crash_env_run_ms(w->ce, 100ll * 24 * HOUR);
    assert_state(w, "o1", "waiting");
    assert_int_equal(signal_with(w, "o1", "signed", NULL, false).err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, HOUR + 1000); /* nobody heard, and it goes on */
    assert_state(w, "o1", "completed");
    assert_string_equal(w->last_path, "POST accounts:/blocks/o1/pay/ann%20b");
    assert_string_equal(w->last_body, "{\"limit\":5000,\"all\":{\"limit\":5000,\"by\":\"ann b\"},\"heard\":null}");
    s = show(w, "o1");
    assert_has(s, "\"kind\":\"signalled\",\"step\":\"approval\",\"actor\":\"ann\",\"reason\":\"because\",\"data\":{\"limit\":5000");
    assert_has(s, "\"kind\":\"wait_done\",\"step\":\"notice\"");
    world_free(w);
}

/* Signals that come before their steps, in any order, are kept over a restart, and the steps are passed over. The same again
 * is the same, also later; with other data, or refused, it is an error; a stranger's name is told. */
static void test_early_signals(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, loan_text);
    assert_int_equal(signal_with(w, "o1", "signed", NULL, false).err, FICUS_ERR_NOT_FOUND);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    assert_int_equal(signal_with(w, "o1", "heard", "{\"at\":[1,2]}", false).err, FICUS_ERR_OK);
    assert_int_equal(signal_with(w, "o1", "signed", NULL, false).err, FICUS_ERR_OK);
    assert_state(w, "o1", "waiting");
    close_engine(w);
    open_engine(w, loan_text);
    struct seen s = signal_with(w, "o1", "heard", "{ \"at\": [1, 2] }", false);
    assert_int_equal(s.err, FICUS_ERR_OK);
    assert_has(s, "\"again\":true");
    assert_int_equal(signal_with(w, "o1", "heard", "{\"at\":[1]}", false).err, FICUS_ERR_CONFLICT);
    assert_int_equal(signal_with(w, "o1", "heard", NULL, true).err, FICUS_ERR_CONFLICT);
    assert_int_equal(signal_with(w, "o1", "herd", NULL, false).err, FICUS_ERR_NOT_FOUND);
    assert_int_equal(signal_with(w, "o1", "approved", "{\"by\":\"x\"}", false).err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "o1", "completed");
    assert_string_equal(w->last_body, "{\"limit\":null,\"all\":{\"by\":\"x\"},\"heard\":[1,2]}");
    s = signal_with(w, "o1", "approved", "{\"by\":\"x\"}", false);
    assert_has(s, "\"again\":true");
    world_free(w);
}

/* A wait's end is not moved by a signal for a later step. */
static void test_early_signal_moves_no_timer(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, loan_text);
    place(w, "o1");
    for (int i = 0; i < 23; i++)
        crash_env_run_ms(w->ce, HOUR);
    assert_int_equal(signal_with(w, "o1", "signed", NULL, false).err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, HOUR + 1000);
    assert_state(w, "o1", "compensated");
    assert_has(show(w, "o1"), "\"failure\":\"not_approved\"");
    assert_has(show(w, "o1"), "\"kind\":\"wait_given_up\",\"step\":\"approval\",\"code\":\"not_approved\"");
    assert_calls(w, "checkout/o1/block/do checkout/o1/block/undo");
    assert_int_equal(signal_with(w, "o1", "approved", NULL, false).err, FICUS_ERR_CONFLICT);
    world_free(w);
}

/* Refused, at its step or before it, it undoes at once what was done. Refused again is the same. */
static void test_refused_signal(void **state)
{
    (void)state;
    static const char *const signals[] = {"approved", "signed"};
    for (int i = 0; i < 2; i++) {
        struct world *w = world_new();
        open_engine(w, loan_text);
        place(w, "o1");
        crash_env_run_ms(w->ce, 1000);
        assert_int_equal(signal_with(w, "o1", signals[i], NULL, true).err, FICUS_ERR_OK);
        crash_env_run_ms(w->ce, 1000);
        assert_state(w, "o1", "compensated");
        assert_calls(w, "checkout/o1/block/do checkout/o1/block/undo");
        assert_has(show(w, "o1"), i == 0 ? "\"failure\":\"not_approved\"" : "\"failure\":\"refused\"");
        assert_has(signal_with(w, "o1", signals[i], NULL, true), "\"again\":true");
        assert_int_equal(signal_with(w, "o1", signals[i], NULL, false).err, FICUS_ERR_CONFLICT);
        world_free(w);
    }
}

static void signal_inside(struct world *w, const struct call_request *r, const char *key)
{
    static struct seen seen;
    (void)r;
    if (strstr(key, "/block/do") == NULL || w->step++ > 0)
        return;
    seen = (struct seen){0};
    const struct saga_command c = {.kind = SAGA_SIGNAL, .saga = SLICE("checkout"), .id = SLICE("o1"), .actor = SLICE("ann"),
                                   .signal = SLICE("approved"), .data = SLICE("{\"by\":\"x\"}")};
    assert_int_equal(saga_engine_command(w->g, &c, on_view, &seen), FICUS_ERR_OK);
}

static struct plan block_resets(struct world *w, const char *key)
{
    return strstr(key, "/block/do") != NULL && w->step < 2 ? (struct plan){.err = FICUS_ERR_RESET} : (struct plan){.status = 200};
}

/* A signal beside a call neither disturbs the call nor is lost, whether that has an answer or not. */
static void test_signal_while_calling(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world *w = world_new();
        w->on_call = signal_inside;
        w->answer = i == 0 ? NULL : block_resets;
        open_engine(w, loan_text);
        place(w, "o1");
        crash_env_run_ms(w->ce, 5000);
        assert_calls(w, i == 0 ? "checkout/o1/block/do checkout/o1/check/do" : "checkout/o1/block/do checkout/o1/block/do checkout/o1/check/do");
        assert_has(show(w, "o1"), "\"signal\":\"signed\"");
        world_free(w);
    }
}

/* Only the service that the saga belongs to may signal it. */
static void test_owner(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, loan_text);
    place(w, "o1");
    crash_env_run_ms(w->ce, 1000);
    struct saga_command c = {.kind = SAGA_SIGNAL, .saga = SLICE("checkout"), .id = SLICE("o1"), .actor = SLICE("service cart"),
                             .signal = SLICE("approved"), .owner = SLICE("cart")};
    assert_int_equal(command(w, &c).err, FICUS_ERR_DENIED);
    c.owner = SLICE("orders");
    assert_int_equal(command(w, &c).err, FICUS_ERR_OK);
    char large[SAGA_NOTE_SIZE_MAX + 2];
    memset(large, '1', sizeof large);
    c.data = slice_make(large, sizeof large);
    assert_int_equal(saga_engine_command(w->g, &c, on_view, NULL), FICUS_ERR_TOO_LARGE);
    world_free(w);
}

/* ---- a journal of before ---- */

/* As the first version of the journal made it, with the canonical text and hash that the first version wrote. */
static const char old_sql[] =
    "CREATE TABLE saga_definition(hash TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE saga_instance(saga TEXT NOT NULL, id TEXT NOT NULL, definition TEXT NOT NULL,\n"
    " state TEXT NOT NULL, step TEXT NOT NULL, failure TEXT NOT NULL,\n"
    " started_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,\n"
    " event TEXT, traceparent TEXT, tracestate TEXT, correlation TEXT, input TEXT,\n"
    " PRIMARY KEY(saga, id)) STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX saga_instance_open ON saga_instance(state, saga, id)\n"
    " WHERE state IN ('running', 'undoing', 'stuck');\n"
    "CREATE INDEX saga_instance_finished ON saga_instance(updated_at)\n"
    " WHERE state IN ('completed', 'compensated');\n"
    "CREATE TABLE saga_record(seq INTEGER PRIMARY KEY AUTOINCREMENT, saga TEXT NOT NULL, id TEXT NOT NULL,\n"
    " at INTEGER NOT NULL, kind TEXT NOT NULL, step TEXT NOT NULL, status INTEGER NOT NULL, code TEXT NOT NULL,\n"
    " attempts INTEGER NOT NULL) STRICT;\n"
    "CREATE INDEX saga_record_instance ON saga_record(saga, id, seq);\n"
    "CREATE TABLE saga_position(reader TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;\n";
static const char old_def[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":[{\"placed\":{\"undo\":\"POST orders:/o/{id}/reject\","
    "\"pivot\":false,\"timeout\":\"5s\"}},{\"charge\":{\"call\":\"PUT payments:/c/{id}\",\"body\":{\"amount\":\"{input.total}\"},\"undo\":"
    "\"DELETE payments:/c/{id}\",\"pivot\":false,\"timeout\":\"8s\",\"give_up\":\"10m\",\"code\":\"late\"}},{\"confirm\":{\"call\":"
    "\"POST orders:/o/{id}/confirm\",\"pivot\":true,\"timeout\":\"5s\"}},{\"take\":{\"call\":\"POST inventory:/r/{id}/take\",\"pivot\":false,"
    "\"retry\":\"forever\",\"timeout\":\"5s\"}}]}";
#define OLD_HASH "e9bd1ea06ddaaecafcb038013d9838e530be85279b3ce04b7824f2a2e0651761"

static const char *const old_rows[] = {
    "INSERT INTO saga_instance VALUES('checkout', 'running', '" OLD_HASH "', 'running', 'charge', '', 1790000000000, 1790000000000, 'e1', NULL, NULL, "
    "NULL, '{\"total\":7}')",
    "INSERT INTO saga_record(saga, id, at, kind, step, status, code, attempts) VALUES('checkout', 'running', 1790000000000, 'started', '', 0, '', 0), "
    "('checkout', 'running', 1790000000000, 'do_begun', 'charge', 0, '', 0)",
    "INSERT INTO saga_instance VALUES('checkout', 'stuck', '" OLD_HASH "', 'stuck', 'take', '', 1790000000000, 1790000000000, 'e2', NULL, NULL, NULL, "
    "'{\"total\":7}')",
    "INSERT INTO saga_record(saga, id, at, kind, step, status, code, attempts) VALUES('checkout', 'stuck', 1790000000000, 'started', '', 0, '', 0), "
    "('checkout', 'stuck', 1790000000000, 'do_begun', 'charge', 0, '', 0), ('checkout', 'stuck', 1790000000000, 'do_done', 'charge', 200, '', 1), "
    "('checkout', 'stuck', 1790000000000, 'do_begun', 'confirm', 0, '', 0), ('checkout', 'stuck', 1790000000000, 'do_done', 'confirm', 200, '', 1), "
    "('checkout', 'stuck', 1790000000000, 'do_begun', 'take', 0, '', 0), ('checkout', 'stuck', 1790000000000, 'do_refused', 'take', 409, 'gone', 1)",
    "INSERT INTO saga_position VALUES('start', 0)",
};

static void make_old_journal(void *arg)
{
    struct world *w = arg;
    struct db *d;
    struct db_tx tx = {0};
    struct ficus_error error = {0};
    const struct db_options o = {.path = "/sagas.db"};
    const struct db_migration first = {1, "journal", SLICE(old_sql)};
    assert_int_equal(db_open(w->env, &o, &d, &error), FICUS_ERR_OK);
    assert_int_equal(db_migrate(d, "saga", &first, 1, &error), FICUS_ERR_OK);
    assert_int_equal(db_tx_begin(d, &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, "INSERT INTO saga_definition VALUES('" OLD_HASH "', ?)", "s", old_def), FICUS_ERR_OK);
    for (size_t i = 0; i < ARRAY_COUNT(old_rows); i++)
        if (db_exec(db_tx_conn(&tx), &error, old_rows[i], "") != FICUS_ERR_OK)
            fail_msg("%s", error.text);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    db_close(d);
}

/* A journal of the first version is read: its running instance ends on its own definition though the manifest has another one
 * by now, its stuck one is retried, and both have their histories. */
static void test_old_journal(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->ce = crash_env_new(w->disk, 1);
    w->env = crash_env(w->ce);
    crash_env_call(w->ce, make_old_journal, w);
    crash_env_free(w->ce);
    open_engine(w, loan_text);
    crash_env_run_ms(w->ce, 1000);
    assert_calls(w, "checkout/running/charge/do checkout/running/confirm/do checkout/running/take/do");
    assert_state(w, "running", "completed");
    assert_has(show(w, "running"), OLD_HASH);
    assert_state(w, "stuck", "stuck");
    assert_int_equal(say(w, SAGA_RETRY, "stuck").err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "stuck", "completed");
    place(w, "new");
    crash_env_run_ms(w->ce, 1000);
    assert_has(show(w, "new"), "\"signal\":\"approved\"");
    world_free(w);
}

/* One that waits ends on the definition that it began with: the signal that it waits for is the old one's, and what the new
 * version calls otherwise is called as it was. */
static void test_versions_of_waits(void **state)
{
    (void)state;
    static const char loan2_text[] =
        "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
        "{\"approval\":{\"signal\":\"agreed\",\"timeout\":\"1m\"}},"
        "{\"pay\":{\"call\":\"POST accounts:/v2/{id}\",\"pivot\":true}}]}";
    struct world *w = world_new();
    open_engine(w, loan_text);
    place(w, "old");
    crash_env_run_ms(w->ce, 1000);
    close_engine(w);
    open_engine(w, loan2_text);
    place(w, "new");
    crash_env_run_ms(w->ce, 1000);
    assert_int_equal(signal_with(w, "old", "agreed", NULL, false).err, FICUS_ERR_NOT_FOUND);
    assert_int_equal(signal_with(w, "new", "approved", NULL, false).err, FICUS_ERR_NOT_FOUND);
    static const char *const signals[] = {"signed", "heard", "approved"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(signal_with(w, "old", signals[i], "{\"by\":\"x\"}", false).err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "old", "completed");
    assert_string_equal(w->last_path, "POST accounts:/blocks/old/pay/x");
    assert_int_equal(signal_with(w, "new", "agreed", NULL, false).err, FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 1000);
    assert_state(w, "new", "completed");
    assert_string_equal(w->last_path, "POST accounts:/v2/new");
    world_free(w);
}

/* Waiting instances whose records cannot be followed, more than are woken at a time, are left alone and keep no other from
 * waking. */
static void test_damaged(void **state)
{
    (void)state;
    struct world *w = world_new();
    open_engine(w, trip_text);
    for (int i = 0; i < 600; i++)
        place(w, arena_printf(&w->arena, "bad%d", i));
    place(w, "good");
    crash_env_run_ms(w->ce, MINUTE);
    close_engine(w);
    w->ce = crash_env_new(w->disk, 1);
    w->env = crash_env(w->ce);
    crash_env_call(w->ce, run_on_journal, &(struct journal_script){w, "DELETE FROM saga_record WHERE id LIKE 'bad%' AND kind = 'do_done'"});
    crash_env_free(w->ce);
    open_engine(w, trip_text);
    crash_env_run_ms(w->ce, 12 * MINUTE);
    assert_state(w, "good", "completed");
    assert_state(w, "bad7", "waiting");
    assert_int_equal(say(w, SAGA_CANCEL, "bad7").err, FICUS_ERR_CORRUPT);
    world_free(w);
}

/* ---- crashes ---- */

/* Power is lost after every operation of the disk while a loan runs with all its signals; whenever that is, what was
 * acknowledged holds, nothing is done twice that was done, and the rest of the story ends the same. */
static void test_crash_everywhere(void **state)
{
    (void)state;
    static const char *const signals[] = {"heard", "approved", "signed"};
    for (uint64_t op = 0;; op++) {
        for (int mode = SIM_CRASH_FORGET; mode <= SIM_CRASH_TEAR; mode++) {
            struct world *w = world_new();
            bool given[3] = {false}, died = false;
            open_engine(w, loan_text);
            sim_disk_die_after(w->disk, op);
            place(w, "o1");
            crash_env_run_ms(w->ce, 1000);
            for (int i = 0; i < 3; i++) {
                struct seen s = {0};
                const struct saga_command c = {.kind = SAGA_SIGNAL, .saga = SLICE("checkout"), .id = SLICE("o1"), .actor = SLICE("ann"),
                                               .signal = slice_str(signals[i]), .data = SLICE("{\"by\":\"x\"}")};
                assert_int_equal(saga_engine_command(w->g, &c, on_view, &s), FICUS_ERR_OK);
                crash_env_run_ms(w->ce, 1000);
                if (!s.done) /* nobody is told of what is not written, but of the end */
                    close_engine(w);
                assert_true(s.done);
                given[i] = s.err == FICUS_ERR_OK;
                if (sim_disk_dead(w->disk)) {
                    if (w->ce != NULL)
                        close_engine(w);
                    sim_disk_crash(w->disk, (enum sim_crash)mode, op);
                    open_engine(w, loan_text);
                    crash_env_run_ms(w->ce, 1000);
                    died = true;
                    break;
                }
                assert_true(given[i]);
            }
            for (int i = 0; i < 3; i++) {
                struct seen s = signal_with(w, "o1", signals[i], "{\"by\":\"x\"}", false);
                assert_int_equal(s.err, FICUS_ERR_OK);
                if (given[i])
                    assert_has(s, "\"again\":true");
            }
            crash_env_run_ms(w->ce, 1000);
            assert_state(w, "o1", "completed");
            assert_int_equal(w->call_count >= 3 && w->call_count <= 4, 1); /* at most the one under way is repeated */
            assert_string_equal(w->last_body, "{\"limit\":null,\"all\":{\"by\":\"x\"},\"heard\":null}");
            world_free(w);
            if (!died && mode == SIM_CRASH_TEAR) {
                assert_true(op > 10);
                return;
            }
        }
    }
}

/* A wait is due when the hub comes back, and its start event comes again at the same time. */
static void test_due_and_started_again(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct world *w = world_new();
        w->seed = seed * 7;
        open_engine(w, trip_text);
        place(w, "o1");
        crash_env_run_ms(w->ce, 5 * MINUTE);
        crash(w, SIM_CRASH_KEEP);
        w->event_count = 1;
        place(w, "o1");
        jump_ms = 20 * MINUTE;
        open_engine(w, trip_text);
        take_clock(w);
        crash_env_run_ms(w->ce, 2 * MINUTE);
        assert_state(w, "o1", "completed");
        world_free(w);
        jump_ms = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_due_and_started_again),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_wait_over_restart),
        cmocka_unit_test(test_wait_over_while_down),
        cmocka_unit_test(test_clock_jumps),
        cmocka_unit_test(test_many_wait),
        cmocka_unit_test(test_wait_ended_by_hand),
        cmocka_unit_test(test_journal_fails_at_wake),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_early_signals),
        cmocka_unit_test(test_early_signal_moves_no_timer),
        cmocka_unit_test(test_refused_signal),
        cmocka_unit_test(test_signal_while_calling),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_old_journal),
        cmocka_unit_test(test_versions_of_waits),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_crash_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
