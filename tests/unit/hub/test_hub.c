/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub over its sockets, on the product's env: events, endpoints, sagas with participants over HTTP, and who may do
 * what.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "bus.h"
#include "hub_rig.h"
#include "timefmt.h"

#include <inttypes.h>

enum { REQUESTS_MAX = 64 };

static const char config_text[] =
    "{\"version\":1,\"system\":\"shop\",\"process\":\"hub\",\"state\":\"%1$s\",\"key_file\":\"%1$s/"
    "system.key\",\"log_level\":\"error\","
    "\"edges\":{\"orders\":{},\"inventory\":{}},"
    "\"listen\":[\"unix:%1$s/hub.sock\"],\"operator_listen\":[\"unix:%1$s/ops.sock\"],\"log_file\":\"%1$s/"
    "log.db\",\"journal_file\":\"%1$s/sagas.db\","
    "\"topics\":{\"order.placed\":{\"publisher\":\"orders\",\"consumers\":[\"notifications\"]},\"stock.changed\":{"
    "\"publisher\":\"inventory\"},\"parcel.sent\":{\"publisher\":\"orders\",\"consumers\":[\"notifications\"],\"schemas\":["
    "\"{\\\"required\\\":[\\\"kilograms\\\"],\\\"type\\\":\\\"object\\\"}\","
    "\"{\\\"properties\\\":{\\\"grams\\\":{\\\"minimum\\\":1}},\\\"required\\\":[\\\"grams\\\"],\\\"type\\\":\\\"object\\\"}\"]}},"
    "\"services\":[\"orders\",\"inventory\",\"notifications\"],"
    "\"sagas\":[{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"reserve\":{\"call\":\"PUT inventory:/r/{id}\",\"body\":{\"items\":\"{input.items}\"},\"undo\":\"DELETE "
    "inventory:/r/{id}\"}},"
    "{\"confirm\":{\"call\":\"POST orders:/o/{id}/confirm\",\"pivot\":true}},"
    "{\"take\":{\"call\":\"POST inventory:/r/{id}/take\",\"retry\":\"forever\"}}]},"
    "{\"name\":\"loan\",\"owner\":\"orders\",\"start\":\"loan.requested\",\"steps\":["
    "{\"approval\":{\"signal\":\"approved\",\"timeout\":\"24h\"}},"
    "{\"pay\":{\"call\":\"POST orders:/o/{id}/pay\",\"body\":\"{signals.approved.limit}\",\"pivot\":true}}]}],"
    "\"retention\":\"3650d\",\"flow_file\":\"%1$s/flows.db\",\"flows\":[{\"name\":\"told\",\"owner\":\"notifications\",\"start\":\"order.placed\",\"steps\":["
    "{\"seen\":{\"consumed_by\":\"notifications\",\"within\":\"365d\"}}]}]}";

struct world {
    struct hub_rig rig;
    struct call_engine *orders, *notifications; /* as which a request is made */
    char seen[REQUESTS_MAX][256]; /* "inventory PUT /r/1 key body" */
    size_t seen_count;
    int refuse_take;
};

/* ---- participants ---- */

static void part_body(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    struct world *w = arg;
    assert_int_equal(err, FICUS_ERR_OK);
    assert_true(w->seen_count < REQUESTS_MAX);
    struct slice key = http_msg_get(s->head_in, "idempotency-key");
    snprintf(w->seen[w->seen_count++], sizeof w->seen[0], SLICE_FMT " " SLICE_FMT " " SLICE_FMT " " SLICE_FMT,
             SLICE_ARG(s->head_in->method), SLICE_ARG(s->head_in->path), SLICE_ARG(key), SLICE_ARG(body));
    bool is_take = slice_ends(s->head_in->path, SLICE("/take"));
    if (is_take && w->refuse_take > 0) {
        w->refuse_take--;
        http_respond_problem(s, 409, "gone", "no");
    } else {
        http_respond(s, 200, NULL, 0, "application/json", SLICE("{}"));
    }
}

static void wait_for_state(struct world *w, const char *id, const char *state)
{
    char path[128], member[64];
    snprintf(path, sizeof path, "/v1/sagas/checkout/%s", id);
    snprintf(member, sizeof member, "\"state\":\"%s\"", state);
    for (;;) { /* ended by the alarm when it never comes */
        struct asked *a = ask(&w->rig, w->orders, "ops", "GET", path, NULL);
        if (a->status == 200 && strstr(a->body, member) != NULL)
            return;
        pause_ms(&w->rig, 5);
    }
}

/* ---- life ---- */

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    hub_rig_init(&w->rig, "part.sock", part_body, w);
    w->rig.config_text = arena_printf(&w->rig.arena, config_text, w->rig.dir);
    hub_rig_start(&w->rig);
    w->orders = hub_rig_caller(&w->rig, "orders", w->rig.key);
    w->notifications = hub_rig_caller(&w->rig, "notifications", w->rig.key);
    return w;
}

static void world_free(struct world *w)
{
    hub_rig_stop(&w->rig);
    hub_rig_close_caller(&w->rig, w->orders);
    hub_rig_close_caller(&w->rig, w->notifications);
    hub_rig_done(&w->rig);
    free(w);
}

static void tell_registry(struct world *w)
{
    char body[512];
    snprintf(body, sizeof body,
             "{\"services\":{\"orders\":[\"unix:%1$s/part.sock\"],\"inventory\":[\"unix:%1$s/part.sock\"]}}", w->rig.dir);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "PUT", "/v1/registry", body)->status, 204);
}

static const char *placed(struct world *w, const char *id)
{
    return arena_printf(
        &w->rig.arena,
        "[{\"specversion\":\"1.0\",\"id\":\"ev-%s\",\"source\":\"/"
        "orders\",\"type\":\"order.placed\",\"subject\":\"%s\","
        "\"time\":\"2026-11-21T00:00:00Z\",\"datacontenttype\":\"application/json\",\"data\":{\"items\":[1,2]}}]",
        id, id);
}

/* ---- tests ---- */

/* A published start event runs its saga through participants over HTTP, in order, with keys and bodies, and a repeated
 * one does nothing. */
static void test_saga_runs(void **state)
{
    (void)state;
    struct world *w = world_new();
    tell_registry(w);
    struct asked *a = ask(&w->rig, w->orders, "hub", "POST", "/v1/events", placed(w, "o1"));
    assert_int_equal(a->status, 200);
    assert_memory_equal(a->body, "{\"last\":", 8);
    wait_for_state(w, "o1", "completed");
    assert_int_equal(w->seen_count, 3);
    assert_string_equal(w->seen[0], "PUT /r/o1 checkout/o1/reserve/do {\"items\":[1,2]}");
    assert_string_equal(w->seen[1], "POST /o/o1/confirm checkout/o1/confirm/do ");
    assert_string_equal(w->seen[2], "POST /r/o1/take checkout/o1/take/do ");
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/events", placed(w, "o1"))->status, 200);
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/topics", NULL)->body,
                           "\"topic\":\"order.placed\",\"publisher\":\"orders\","
                           "\"consumers\":[\"notifications\"],\"count\":1"));
    assert_int_equal(w->seen_count, 3);
    world_free(w);
}

/* A saga whose participants are not there waits, survives the hub's restart, and ends when they are told. */
static void test_saga_survives_restart(void **state)
{
    (void)state;
    struct world *w = world_new();
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/events", placed(w, "o1"))->status, 200);
    wait_for_state(w, "o1", "running");
    hub_rig_stop(&w->rig);
    hub_rig_start(&w->rig);
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/sagas?state=running", NULL)->body, "\"id\":\"o1\""));
    tell_registry(w);
    wait_for_state(w, "o1", "completed");
    world_free(w);
}

/* A refused step behind the pivot is stuck and listed so; retry continues it, and is 409 for what is not stuck, 404 for
 * what is not there. */
static void test_stuck_retry(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->refuse_take = 1;
    tell_registry(w);
    ask(&w->rig, w->orders, "hub", "POST", "/v1/events", placed(w, "o1"));
    wait_for_state(w, "o1", "stuck");
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/sagas?state=stuck&limit=10", NULL)->body,
                           "\"id\":\"o1\",\"state\":\"stuck\",\"step\":\"take\""));
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", "/v1/sagas/checkout/o1/retry", NULL)->status, 202);
    wait_for_state(w, "o1", "completed");
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", "/v1/sagas/checkout/o1/retry", NULL)->status, 409);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", "/v1/sagas/checkout/o9/retry", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/sagas?state=asleep", NULL)->status, 400);
    world_free(w);
}

/* What operators say to sagas: begun without an event, cancelled, terminated with a reason, described; each answer has the
 * documented status, and the history says who it was. */
static void test_saga_commands(void **state)
{
    (void)state;
    struct world *w = world_new(); /* nobody takes part: what begins stays under way */
    struct asked *a = ask(&w->rig, w->orders, "ops", "PUT", "/v1/sagas/checkout/o1", "{\"by\":\"ann\",\"input\":{\"items\":[1]}}");
    assert_int_equal(a->status, 202);
    assert_string_equal(a->body, "{\"saga\":\"checkout\",\"id\":\"o1\",\"state\":\"running\",\"again\":false}");
    a = ask(&w->rig, w->orders, "ops", "PUT", "/v1/sagas/checkout/o1", "{\"input\":{\"items\":[1]}}");
    assert_non_null(strstr(a->body, "\"again\":true"));
    a = ask(&w->rig, w->orders, "ops", "PUT", "/v1/sagas/checkout/o1", "{\"input\":{\"items\":[2]}}");
    assert_int_equal(a->status, 409);
    assert_non_null(strstr(a->body, "\"code\":\"other_input\""));
    assert_int_equal(ask(&w->rig, w->orders, "ops", "PUT", "/v1/sagas/nothing/o1", NULL)->status, 404);
    static const char *const wrong[] = {"[]", "{", "{\"by\":7}", "{\"reason\":{}}", "{\"refuse\":\"yes\"}"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_int_equal(ask(&w->rig, w->orders, "ops", "PUT", "/v1/sagas/checkout/o9", wrong[i])->status, 400);
    a = ask(&w->rig, w->orders, "ops", "GET", "/v1/sagas/checkout", NULL);
    assert_non_null(strstr(a->body, "\"versions\":[{\"definition\":\""));
    assert_non_null(strstr(a->body, "\"running\":1}"));
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/sagas/nothing", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", "/v1/sagas/checkout/o1/terminate", "{\"by\":\"ann\"}")->status, 400);
    a = ask(&w->rig, w->orders, "ops", "POST", "/v1/sagas/checkout/o1/terminate", "{\"by\":\"ann\",\"reason\":\"stock is gone\"}");
    assert_int_equal(a->status, 202);
    a = ask(&w->rig, w->orders, "ops", "GET", "/v1/sagas/checkout/o1", NULL);
    assert_non_null(strstr(a->body, "\"state\":\"terminated\""));
    assert_non_null(strstr(a->body, "\"left\":[\"reserve\"]"));
    assert_non_null(strstr(a->body, "\"actor\":\"ann (uid "));
    assert_non_null(strstr(a->body, "\"reason\":\"stock is gone\""));
    a = ask(&w->rig, w->orders, "ops", "POST", "/v1/sagas/checkout/o1/cancel", NULL);
    assert_int_equal(a->status, 409);
    assert_non_null(strstr(a->body, "\"code\":\"no_way_back\""));
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", "/v1/sagas/checkout/o2/cancel", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "PUT", "/v1/sagas/checkout/o3", "{\"input\":{\"items\":[1]}}")->status, 202);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", "/v1/sagas/checkout/o3/cancel", NULL)->status, 202);
    tell_registry(w);
    wait_for_state(w, "o3", "compensated");
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/sagas?saga=checkout&state=terminated", NULL)->body, "\"id\":\"o1\""));
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/sagas?saga=other", NULL)->body, "\"sagas\":[]"));
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/sagas/checkout/o3/cancel", NULL)->status, 404);
    world_free(w);
}

/* A signal is given by an operator, or by the service that the saga belongs to and no other; what a service says is in the
 * history under its name. */
static void test_saga_signals(void **state)
{
    (void)state;
    struct world *w = world_new();
    tell_registry(w);
    for (int i = 0; i < 2; i++) {
        char start[64], path[64];
        snprintf(start, sizeof start, "/v1/sagas/loan/l%d", i);
        snprintf(path, sizeof path, "/v1/sagas/loan/l%d/signals/approved", i);
        assert_int_equal(ask(&w->rig, w->orders, "ops", "PUT", start, NULL)->status, 202);
        assert_int_equal(ask(&w->rig, w->notifications, "hub", "PUT", path, "{\"data\":{\"limit\":5}}")->status, 403);
        struct asked *a = ask(&w->rig, w->orders, i == 0 ? "ops" : "hub", "PUT", path, "{\"by\":\"ann\",\"data\":{\"limit\":5}}");
        assert_int_equal(a->status, 202);
        assert_non_null(strstr(a->body, "\"again\":false"));
        for (;;) { /* ended by the alarm when it never comes */
            a = ask(&w->rig, w->orders, "ops", "GET", start, NULL);
            if (strstr(a->body, "\"state\":\"completed\"") != NULL)
                break;
        }
        assert_non_null(strstr(a->body, i == 0 ? "\"actor\":\"ann (uid " : "\"actor\":\"service orders\""));
        char seen[64];
        snprintf(seen, sizeof seen, "POST /o/l%d/pay loan/l%d/pay/do 5", i, i);
        assert_string_equal(w->seen[i], seen);
    }
    struct asked *a = ask(&w->rig, w->orders, "hub", "PUT", "/v1/sagas/loan/l1/signals/approved", "{\"data\":{\"limit\":6}}");
    assert_int_equal(a->status, 409);
    assert_non_null(strstr(a->body, "\"code\":\"too_late\""));
    assert_int_equal(ask(&w->rig, w->orders, "hub", "PUT", "/v1/sagas/loan/l1/signals/other", NULL)->status, 404);
    a = ask(&w->rig, w->orders, "hub", "GET", "/v1/sagas/loan/l1", NULL);
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(a->body, "\"state\":\"completed\""));
    assert_int_equal(ask(&w->rig, w->notifications, "hub", "GET", "/v1/sagas/loan/l1", NULL)->status, 403);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "GET", "/v1/sagas/loan/l9", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "PUT", "/v1/sagas/loan/l9/signals/approved", NULL)->status, 404);
    world_free(w);
}

/* A saga's owner says by an event what is to be done: it is; another service says the same, and it is not; neither is refused, since
 * that would keep their other events back. In the name of another nobody says anything. */
static void test_saga_told(void **state)
{
    (void)state;
    struct world *w = world_new();
    static const char told[] = "[{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/%s\",\"type\":\"ficus.saga\",\"subject\":\"%s\","
                               "\"data\":{\"command\":\"start\",\"saga\":\"loan\",\"input\":{}}}]";
    char body[512];
    tell_registry(w);
    snprintf(body, sizeof body, told, "t1", "notifications", "l1");
    assert_int_equal(ask(&w->rig, w->notifications, "hub", "POST", "/v1/events", body)->status, 200);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/events", body)->status, 403);
    snprintf(body, sizeof body, told, "t2", "orders", "l2");
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/events", body)->status, 200);
    while (ask(&w->rig, w->orders, "hub", "GET", "/v1/sagas/loan/l2", NULL)->status != 200)
        ; /* ended by the alarm when it never comes */
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/sagas/loan/l1", NULL)->status, 404);
    world_free(w);
}

/* A pull by a declared consumer waits for the first event and gets it with its sequence. */
static void test_pull_waits(void **state)
{
    (void)state;
    struct world *w = world_new();
    static struct asked pulled;
    ask_begin(&w->rig, w->notifications, "hub", "GET", "/v1/events?topics=order.placed&after=0&limit=10&wait=15000", NULL,
              &pulled);
    struct asked *published = ask(&w->rig, w->orders, "hub", "POST", "/v1/events", placed(w, "o1"));
    assert_int_equal(published->status, 200);
    long long last = 0;
    char expected[64];
    assert_int_equal(sscanf(published->body, "{\"last\":%lld}", &last), 1);
    assert_true(last > 1000000);    /* a new log begins where no earlier one was */
    ask_end(&pulled);
    assert_int_equal(pulled.status, 200);
    assert_non_null(strstr(pulled.body, "\"subject\":\"o1\""));
    snprintf(expected, sizeof expected, "\"sequence\":\"%lld\"", last);
    assert_non_null(strstr(pulled.body, expected));
    snprintf(expected, sizeof expected, "\"next\":%lld}", last);
    assert_non_null(strstr(pulled.body, expected));
    assert_int_equal(ask(&w->rig, w->notifications, "hub", "GET", "/v1/events?topics=order.placed&after=x", NULL)->status,
                     400);
    assert_int_equal(ask(&w->rig, w->notifications, "hub", "GET", "/v1/events?topics=order.placed&wait=60001", NULL)->status,
                     400);
    world_free(w);
}

/* Only the declared publisher may publish a topic under its own source, only declared consumers may read it; a batch
 * with one forbidden event leaves nothing. */
static void test_rights(void **state)
{
    (void)state;
    struct world *w = world_new();
    assert_int_equal(ask(&w->rig, w->notifications, "hub", "POST", "/v1/events", placed(w, "o1"))->status, 403);
    struct asked *a = ask(
        &w->rig, w->orders, "hub", "POST", "/v1/events",
        "[{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/orders\",\"type\":\"order.placed\",\"subject\":\"x\"},"
        "{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/orders\",\"type\":\"stock.changed\",\"subject\":\"x\"}]");
    assert_int_equal(a->status, 403);
    assert_non_null(strstr(a->body, "stock.changed"));
    a = ask(&w->rig, w->orders, "hub", "POST", "/v1/events",
            "[{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/"
            "inventory\",\"type\":\"order.placed\",\"subject\":\"x\"}]");
    assert_int_equal(a->status, 403);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "GET", "/v1/events?topics=order.placed", NULL)->status, 403);
    assert_int_equal(
        ask(&w->rig, w->notifications, "hub", "GET", "/v1/events?topics=order.placed,stock.changed", NULL)->status, 403);
    a = ask(&w->rig, w->notifications, "hub", "GET", "/v1/events?topics=order.placed", NULL);
    assert_string_equal(a->body, "{\"events\":[],\"next\":0}");
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/events", "{}")->status, 400);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/events", "[{\"id\":1}]")->status, 400);
    a = ask(&w->rig, w->notifications, "hub", "POST", "/v1/events",
            "[{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/"
            "notifications\",\"type\":\"ficus.dead\",\"subject\":\"x\",\"data\":{}}]");
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/dead", NULL)->body, "\"source\":\"/notifications\""));
    world_free(w);
}

/* The peer of the socket is this program. */
static const char *by_operator(struct world *w, const char *id, const char *topic, const char *more)
{
    return arena_printf(&w->rig.arena, "[{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/operator/%ld\",\"type\":\"%s\",\"subject\":\"x\"%s}]", id,
                        (long)geteuid(), topic, more);
}

/* An operator publishes declared topics under his number, reads all, and takes out what waits; a service can do none of that. */
static void test_operators(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct asked *a = ask(&w->rig, w->orders, "ops", "POST", "/v1/events", by_operator(w, "1", "order.placed", ""));
    assert_int_equal(a->status, 200);
    a = ask(&w->rig, w->orders, "ops", "POST", "/v1/events", by_operator(w, "2", "nobody.has", ""));
    assert_int_equal(a->status, 403);
    assert_non_null(strstr(a->body, "published by no service"));
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", "/v1/events", by_operator(w, "2", "ficus.dead", ""))->status, 403);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", "/v1/events", placed(w, "o1"))->status, 403);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/events", by_operator(w, "2", "order.placed", ""))->status, 403);
    a = ask(&w->rig, w->orders, "ops", "GET", "/v1/events?topics=order.placed,stock.changed", NULL);
    assert_non_null(strstr(a->body, "\"source\":\"/operator/"));
    a = ask(&w->rig, w->orders, "ops", "GET", "/v1/events?topics=order.placed&after=999999999999999999", NULL);
    assert_int_equal(a->status, 409);
    a = ask(&w->rig, w->orders, "ops", "POST", "/v1/events", by_operator(w, "3", "order.placed", ",\"deliverat\":\"9999-01-01T00:00:00Z\""));
    assert_int_equal(a->status, 400);
    assert_non_null(strstr(a->body, "event 0: deliverat is more than 366 days ahead"));
    char at[TIME_TEXT_SIZE];
    time_format(env_wall_ms(w->rig.env) + 3600000, at);
    a = ask(&w->rig, w->orders, "ops", "POST", "/v1/events", by_operator(w, "3", "order.placed", arena_printf(&w->rig.arena, ",\"deliverat\":\"%s\"", at)));
    assert_int_equal(a->status, 200);
    long long number = 0;
    assert_int_equal(sscanf(a->body, "{\"last\":%lld}", &number), 1);
    a = ask(&w->rig, w->orders, "ops", "GET", "/v1/scheduled", NULL);
    assert_non_null(strstr(a->body, at));
    assert_non_null(strstr(a->body, "\"damaged\":false"));
    assert_non_null(strstr(a->body, "\"waiting\":1"));
    assert_string_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/scheduled?schedules=1", NULL)->body, "{\"schedules\":[]}");
    const char *path = arena_printf(&w->rig.arena, "/v1/scheduled/%lld", number);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "DELETE", path, NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "DELETE", "/v1/scheduled/x", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "DELETE", path, NULL)->status, 204);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "DELETE", path, NULL)->status, 404);
    assert_string_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/scheduled", NULL)->body, "{\"events\":[],\"waiting\":0}");
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/offset?at=noon", NULL)->status, 400);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/offset", NULL)->status, 400);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/offset?at=2026-01-01T00:00:00Z", NULL)->status, 200);
    world_free(w);
}

#define PARCEL(id, more)                                                                                             \
    "{\"specversion\":\"1.0\",\"id\":\"" id "\",\"source\":\"/orders\",\"type\":\"parcel.sent\",\"subject\":\"x\"" more "}"

/* Data has to fit the schema that the event names, or the newest; nothing of a batch is stored when one does not. */
static void test_schemas(void **state)
{
    (void)state;
    static const struct {
        const char *batch;
        int status;
        const char *said;
    } cases[] = {
        {"[" PARCEL("a", ",\"data\":{\"grams\":5}") "," PARCEL("b", ",\"data\":{\"grams\":0}") "]", 400,
         "event 1: parcel.sent: the data does not fit version 2 of its schema: /grams: minimum: is below 1"},
        {"[" PARCEL("c", ",\"data\":{\"kilograms\":5}") "]", 400, "required: \\\"grams\\\" is missing"},
        {"[" PARCEL("d", "") "]", 400, "type: found null, allowed is object"},
        {"[" PARCEL("e", ",\"dataschema\":\"urn:ficus:schema:parcel.sent:1\",\"data\":{\"grams\":5}") "]", 400, "version 1 of its schema: required"},
        {"[" PARCEL("f", ",\"dataschema\":\"urn:ficus:schema:parcel.sent:3\",\"data\":{}") "]", 503, "this hub knows version 2 of its schema, the event has 3"},
        {"[" PARCEL("g", ",\"dataschema\":\"urn:ficus:schema:parcel.sent:1\",\"data\":{\"kilograms\":5}") "]", 200, NULL},
        {"[" PARCEL("h", ",\"data\":{\"grams\":6}") "]", 200, NULL},
    };
    struct world *w = world_new();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct asked *a = ask(&w->rig, w->orders, "hub", "POST", "/v1/events", cases[i].batch);
        if (a->status != cases[i].status || (cases[i].said != NULL && strstr(a->body, cases[i].said) == NULL))
            fail_msg("%zu: %d %s", i, a->status, a->body);
    }
    const char *body = ask(&w->rig, w->notifications, "hub", "GET", "/v1/events?topics=parcel.sent", NULL)->body;
    const char *first = strstr(body, "\"id\":\"g\""), *second = strstr(body, "\"id\":\"h\"");
    assert_non_null(first);
    assert_non_null(second);
    assert_null(strstr(body, "\"id\":\"a\""));
    first = strstr(first, "urn:ficus:schema:parcel.sent:1\"");
    assert_true(first != NULL && first < second);
    assert_non_null(strstr(second, "urn:ficus:schema:parcel.sent:2\""));
    world_free(w);
}

#define LETTER(id, data)                                                                                           \
    "[{\"specversion\":\"1.0\",\"id\":\"" id "\",\"source\":\"/notifications\",\"type\":\"ficus.dead\",\"subject\":\"o1\"," \
    "\"data\":" data "}]"

/* Its number; with action: where to say what is to be done with it. */
static const char *letter_path(struct world *w, const char *letter, const char *action)
{
    static char path[64];
    long long number = 0;
    struct asked *a = ask(&w->rig, w->notifications, "hub", "POST", "/v1/events", letter);
    assert_int_equal(a->status, 200);
    assert_int_equal(sscanf(a->body, "{\"last\":%lld}", &number), 1);
    snprintf(path, sizeof path, "/v1/dead/%lld/%s", number, action);
    return path;
}

/* A dead letter goes back to its consumer alone, once; one that cannot is told why. */
static void test_dead_letters(void **state)
{
    (void)state;
    const char *own = "/v1/events?topics=ficus.redrive.notifications";
    struct world *w = world_new();
    const char *path = letter_path(w, LETTER("1", "{\"consumer\":\"notifications\",\"reason\":\"r\",\"attempts\":10,\"event\":{"
        "\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"/orders\",\"type\":\"order.placed\",\"subject\":\"o1\"}}"), "redrive");
    assert_int_equal(ask(&w->rig, w->notifications, "hub", "POST", path, "")->status, 404); /* for operators */
    assert_null(strstr(ask(&w->rig, w->notifications, "hub", "GET", own, NULL)->body, "ficus.redrive"));
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", path, "")->status, 202);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", path, "")->status, 202);
    const char *events = ask(&w->rig, w->notifications, "hub", "GET", own, NULL)->body;
    const char *first = strstr(events, "\"source\":\"/hub\",\"type\":\"ficus.redrive.notifications\"");
    assert_non_null(first);
    assert_null(strstr(first + 1, "\"source\":\"/hub\""));
    assert_non_null(strstr(first, "\"type\":\"order.placed\""));
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/dead", NULL)->body, "\"as\":\"redriven\""));
    assert_int_equal(ask(&w->rig, w->orders, "hub", "GET", own, NULL)->status, 403);
    assert_int_equal(ask(&w->rig, w->notifications, "hub", "POST", "/v1/events",
        "[{\"specversion\":\"1.0\",\"id\":\"9\",\"source\":\"/notifications\",\"type\":\"ficus.redrive.notifications\",\"subject\":\"x\"}]")->status, 403);

    struct asked *a = ask(&w->rig, w->orders, "ops", "POST", letter_path(w, LETTER("2", "{}"), "redrive"), "");
    assert_int_equal(a->status, 409);
    assert_non_null(strstr(a->body, "no_letter"));
    a = ask(&w->rig, w->orders, "ops", "POST", letter_path(w, LETTER("3", "{\"consumer\":\"orders\",\"event\":{"
        "\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"/orders\",\"type\":\"order.placed\",\"subject\":\"o1\"}}"), "redrive"), "");
    assert_int_equal(a->status, 409);
    assert_non_null(strstr(a->body, "no_letter"));
    a = ask(&w->rig, w->orders, "ops", "POST", letter_path(w, LETTER("6", "{\"consumer\":\"notifications\",\"event\":{"
        "\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"/orders\",\"type\":\"stock.changed\",\"subject\":\"o1\"}}"), "redrive"), "");
    assert_int_equal(a->status, 409);
    assert_non_null(strstr(a->body, "no_consumer"));
    a = ask(&w->rig, w->orders, "ops", "POST", letter_path(w, LETTER("4", "{\"consumer\":\"notifications\",\"data_omitted\":true,\"event\":{"
        "\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"/orders\",\"type\":\"order.placed\",\"subject\":\"o1\"}}"), "redrive"), "");
    assert_int_equal(a->status, 409);
    assert_non_null(strstr(a->body, "data_omitted"));
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", letter_path(w, LETTER("5", "{}"), "drop"), "")->status, 202);
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/dead", NULL)->body, "\"as\":\"dropped\""));
    for (size_t i = 0; i < 3; i++) {
        static const char *const none[] = {"/v1/dead/1/redrive", "/v1/dead/x/drop", "/v1/dead/9223372036854775807/redrive"};
        assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", none[i], "")->status, 404);
    }
    world_free(w);
}

/* A flow's instance, from the event to the consumer's next pull; over another hub; what is asked wrongly is refused. */
static void test_flows(void **state)
{
    struct world *w = *state = world_new();
    const char *body;
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows", NULL)->body, "\"sagas\":[]"));
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/events", placed(w, "f1"))->status, 200);
    do
        body = ask(&w->rig, w->orders, "ops", "GET", "/v1/flows/told/f1", NULL)->body;
    while (strstr(body, "\"state\":\"running\"") == NULL); /* the alarm ends what would not */
    assert_non_null(strstr(body, "{\"step\":\"seen\",\"consumed_by\":\"notifications\",\"after\":\"order.placed\",\"since\":\"2026-11-21T00:00:00.000Z\""));
    int64_t offset = 0;
    const char *at = strstr(body, "\"offset\":");
    assert_true(at != NULL && sscanf(at, "\"offset\":%" SCNd64, &offset) == 1);
    const char *pull = arena_printf(&w->rig.arena, "/v1/events?topics=order.placed&after=%lld", (long long)offset + 1000);
    assert_int_equal(ask(&w->rig, w->notifications, "hub", "GET", pull, NULL)->status, 409); /* of another log: nothing is heard */
    hub_rig_stop(&w->rig);
    hub_rig_start(&w->rig);
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows/told/f1", NULL)->body, "\"state\":\"running\""));
    pull = arena_printf(&w->rig.arena, "/v1/events?topics=order.placed&after=%lld", (long long)offset);
    assert_int_equal(ask(&w->rig, w->notifications, "hub", "GET", pull, NULL)->status, 200);
    do
        body = ask(&w->rig, w->orders, "ops", "GET", "/v1/flows/told/f1", NULL)->body;
    while (strstr(body, "\"state\":\"completed\"") == NULL);
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows?state=completed&flow=told", NULL)->body, "\"id\":\"f1\""));
    assert_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows?trouble=true", NULL)->body, "\"id\":\"f1\""));
    assert_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows?after=told/f1", NULL)->body, "\"id\":\"f1\""));
    assert_non_null(strstr(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows/told", NULL)->body, "\"completed\":1"));
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows?state=waiting", NULL)->status, 400);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows?trouble=maybe", NULL)->status, 400);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows/none", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/flows/told/f2", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "GET", "/v1/flows/told", NULL)->status, 404); /* for operators alone */
    world_free(w);
}

/* Endpoints: a young hub is warming; the supervisor's word ends that and wakes who waits; the same word again changes
 * nothing; a restarted hub has another version. */
static void test_endpoints(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct asked *a = ask(&w->rig, w->orders, "hub", "GET", "/v1/endpoints?version=0&wait=15000", NULL);
    assert_non_null(strstr(a->body, "\"warming\":true,\"services\":{}"));
    long long version = atoll(strstr(a->body, "\"version\":") + 10);
    char path[128];
    snprintf(path, sizeof path, "/v1/endpoints?version=%lld&wait=15000", version);
    static struct asked waited;
    ask_begin(&w->rig, w->orders, "hub", "GET", path, NULL, &waited);
    tell_registry(w);
    ask_end(&waited);
    assert_non_null(strstr(waited.body, "\"warming\":false"));
    assert_non_null(strstr(waited.body, "\"orders\":[\"unix:/"));
    assert_int_equal(atoll(strstr(waited.body, "\"version\":") + 10), version + 1);
    tell_registry(w);
    snprintf(path, sizeof path, "/v1/endpoints?version=%lld&wait=1", version + 1);
    assert_int_equal(atoll(strstr(ask(&w->rig, w->orders, "hub", "GET", path, NULL)->body, "\"version\":") + 10),
                     version + 1);
    assert_int_equal(
        ask(&w->rig, w->orders, "ops", "PUT", "/v1/registry", "{\"services\":{\"orders\":[\"nowhere\"]}}")->status, 400);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "PUT", "/v1/registry", "{\"services\":{\"Or ders\":[]}}")->status, 400);
    hub_rig_stop(&w->rig);
    hub_rig_start(&w->rig);
    a = ask(&w->rig, w->orders, "hub", "GET", path, NULL);
    assert_non_null(strstr(a->body, "\"warming\":true"));
    assert_int_not_equal(atoll(strstr(a->body, "\"version\":") + 10), version + 1);
    world_free(w);
}

static long long number_in(const char *body, const char *name)
{
    const char *at = strstr(body, name);
    assert_non_null(at);
    return atoll(at + strlen(name));
}

static const char *endpoints(struct world *w, long long version)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/endpoints?version=%lld&wait=0", version);
    return arena_printf(&w->rig.arena, "%s", ask(&w->rig, w->orders, "hub", "GET", path, NULL)->body);
}

static void put_registry(struct world *w, const char *services)
{
    char body[512];
    snprintf(body, sizeof body, "{\"services\":%s}", services);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "PUT", "/v1/registry", body)->status, 204);
}

/* Who asks with a version of this hub's gets what changed behind it, whichever it is, also who waits; who asks with any other
 * number, or another hub, gets all. */
static void test_changes(void **state)
{
    (void)state;
    struct world *w = world_new();
    long long young = number_in(endpoints(w, 0), "\"version\":");
    put_registry(w, "{\"a\":[\"tcp:127.0.0.1:1\"],\"b\":[\"tcp:127.0.0.1:2\"],\"c\":[]}");
    put_registry(w, "{\"a\":[\"tcp:127.0.0.1:1\"],\"b\":[\"tcp:127.0.0.1:3\"],\"c\":[]}");
    char path[128];
    snprintf(path, sizeof path, "/v1/endpoints?version=%lld&wait=15000", young + 2);
    static struct asked waited;
    ask_begin(&w->rig, w->orders, "hub", "GET", path, NULL, &waited);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "GET", "/health", NULL)->status, 200);
    put_registry(w, "{\"d\":[\"tcp:127.0.0.1:4\"],\"c\":[],\"b\":[\"tcp:127.0.0.1:3\"]}");    /* another order, a is gone */
    ask_end(&waited);
    put_registry(w, "{\"b\":[\"tcp:127.0.0.1:3\"],\"c\":[],\"d\":[\"tcp:127.0.0.1:4\"]}");    /* the same */
    const struct {
        long long version;
        const char *services;
    } cases[] = {
        {0, "{\"d\":[\"tcp:127.0.0.1:4\"],\"c\":[],\"b\":[\"tcp:127.0.0.1:3\"]}"},
        {young - 1, "{\"d\":[\"tcp:127.0.0.1:4\"],\"c\":[],\"b\":[\"tcp:127.0.0.1:3\"]}"},
        {young + 4, "{\"d\":[\"tcp:127.0.0.1:4\"],\"c\":[],\"b\":[\"tcp:127.0.0.1:3\"]}"},
        {young, "{\"d\":[\"tcp:127.0.0.1:4\"],\"c\":[],\"b\":[\"tcp:127.0.0.1:3\"]}"},
        {young + 1, "{\"d\":[\"tcp:127.0.0.1:4\"],\"b\":[\"tcp:127.0.0.1:3\"]}"},
        {young + 2, "{\"d\":[\"tcp:127.0.0.1:4\"]}"},
        {young + 3, "{}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char expected[512], since[64] = "";
        if (i >= 3)
            snprintf(since, sizeof since, "\"since\":%lld,", cases[i].version);
        snprintf(expected, sizeof expected, "{\"version\":%lld,%s\"warming\":false,\"services\":%s}", young + 3, since,
                 cases[i].services);
        assert_string_equal(endpoints(w, cases[i].version), expected);
        if (i == 5)
            assert_string_equal(waited.body, expected);
    }
    hub_rig_stop(&w->rig);
    hub_rig_start(&w->rig);
    put_registry(w, "{\"a\":[\"tcp:127.0.0.1:1\"]}");
    const char *other = endpoints(w, young + 3);
    assert_null(strstr(other, "since"));
    assert_non_null(strstr(other, "\"services\":{\"a\":[\"tcp:127.0.0.1:1\"]}"));
    world_free(w);
}

enum ficus_err __real_call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses, size_t count);
enum ficus_err __wrap_call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses, size_t count);

static char told_of_a[64];     /* the last address */

/* There is never memory for "full". */
enum ficus_err __wrap_call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses, size_t count)
{
    if (strcmp(callee, "full") == 0)
        return FICUS_ERR_NOMEM;
    if (strcmp(callee, "a") == 0)
        snprintf(told_of_a, sizeof told_of_a, "%s", count > 0 ? addresses[0] : "");
    return __real_call_engine_endpoints(g, callee, addresses, count);
}

/* The hub's own calls were told the first half of a word that failed: the next one corrects them, though to all others nothing
 * has changed. */
static void test_half_told(void **state)
{
    (void)state;
    struct world *w = world_new();
    put_registry(w, "{\"a\":[\"tcp:127.0.0.1:1\"]}");
    struct asked *a = ask(&w->rig, w->orders, "ops", "PUT", "/v1/registry",
                           "{\"services\":{\"a\":[\"tcp:127.0.0.1:2\"],\"full\":[\"tcp:127.0.0.1:3\"]}}");
    assert_true(a->status >= 500);
    assert_string_equal(told_of_a, "tcp:127.0.0.1:2");
    assert_non_null(strstr(endpoints(w, 0), "{\"a\":[\"tcp:127.0.0.1:1\"]}"));
    put_registry(w, "{\"a\":[\"tcp:127.0.0.1:1\"]}");
    assert_string_equal(told_of_a, "tcp:127.0.0.1:1");
    world_free(w);
}

/* A stopping hub answers those that wait at once, instead of letting them hang or cutting them off. */
static void test_stop_wakes(void **state)
{
    (void)state;
    struct world *w = world_new();
    static struct asked a[2];
    tell_registry(w);
    char path[128];
    snprintf(path, sizeof path, "/v1/endpoints?version=%lld&wait=15000",
             atoll(strstr(ask(&w->rig, w->orders, "hub", "GET", "/v1/endpoints", NULL)->body, "\"version\":") + 10));
    ask_begin(&w->rig, w->orders, "hub", "GET", path, NULL, &a[0]);
    ask_begin(&w->rig, w->notifications, "hub", "GET", "/v1/events?topics=order.placed&wait=15000", NULL, &a[1]);
    ask(&w->rig, w->orders, "hub", "GET", "/health", NULL);
    hub_rig_stop(&w->rig);
    ask_end(&a[0]);
    ask_end(&a[1]);
    assert_int_equal(a[0].status, 200);
    assert_int_equal(a[1].status, 503);
    hub_rig_start(&w->rig);
    world_free(w);
}

/* Without a valid identity there is nothing but health and metrics; operators' routes are not on the services' socket,
 * nor the reverse. */
static void test_identity(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct system_key *other;
    assert_int_equal(
        system_key_from_hex(SLICE("ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"), &other, NULL),
        FICUS_ERR_OK);
    struct call_engine *stranger = hub_rig_caller(&w->rig, "orders", other);
    assert_int_equal(ask(&w->rig, stranger, "hub", "GET", "/v1/endpoints", NULL)->status, 401);
    assert_int_equal(ask(&w->rig, stranger, "hub", "POST", "/v1/events", placed(w, "o1"))->status, 401);
    assert_int_equal(ask(&w->rig, stranger, "hub", "GET", "/nothing", NULL)->status, 401);
    assert_int_equal(ask(&w->rig, stranger, "hub", "GET", "/health", NULL)->status, 200);
    assert_int_equal(ask(&w->rig, stranger, "hub", "GET", "/metrics", NULL)->status, 200);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "PUT", "/v1/registry", "{\"services\":{}}")->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "GET", "/v1/sagas", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "GET", "/v1/copies/log", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/endpoints", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "hub", "DELETE", "/v1/events", NULL)->status, 405);
    hub_rig_close_caller(&w->rig, stranger);
    system_key_free(other);
    world_free(w);
}

/* Operators get each of the two databases as a whole file, again and again; there is no third. */
static void test_copies(void **state)
{
    (void)state;
    static const char *const targets[] = {"/v1/copies/log", "/v1/copies/journal", "/v1/copies/log"};
    struct world *w = world_new();
    assert_int_equal(ask(&w->rig, w->orders, "hub", "POST", "/v1/events", placed(w, "o1"))->status, 200);
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        struct asked *a = ask(&w->rig, w->orders, "ops", "GET", targets[i], NULL);
        assert_int_equal(a->status, 200);
        assert_string_equal(a->body, "SQLite format 3"); /* and a NUL */
    }
    assert_int_equal(ask(&w->rig, w->orders, "ops", "GET", "/v1/copies/keys", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->orders, "ops", "POST", "/v1/copies/log", "{}")->status, 405);
    world_free(w);
}

/* ---- libficus' side of the same API ---- */

struct bus_seen {
    struct world *w;
    bool done;
    enum ficus_err err;
    size_t count;
    int64_t next;
};

static void on_published(void *arg, enum ficus_err err, const char *detail)
{
    (void)detail;
    struct bus_seen *b = arg;
    b->done = true;
    b->err = err;
    env_uv_stop(b->w->rig.env);
}

static void on_bus_pulled(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct bus_seen *b = arg;
    b->done = true;
    b->err = err;
    b->count = count;
    b->next = next;
    if (count > 0)
        assert_true(slice_eq_str(events[0].subject, "o1"));
    env_uv_stop(b->w->rig.env);
}

/* The bus that relays and consumers use works against this hub: publish, pull, and DENIED where the rights end. */
static void test_bus_of_services(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct bus *orders, *notifications;
    struct bus_seen seen = {.w = w};
    assert_int_equal(bus_hub_new(w->rig.env, w->orders, &orders), FICUS_ERR_OK);
    assert_int_equal(bus_hub_new(w->rig.env, w->notifications, &notifications), FICUS_ERR_OK);
    const char *batch = placed(w, "o1");
    assert_int_equal(orders->ops->publish(orders, slice_str(batch), on_published, &seen), FICUS_ERR_OK);
    while (!seen.done)
        env_uv_run(w->rig.env);
    assert_int_equal(seen.err, FICUS_ERR_OK);
    seen = (struct bus_seen){.w = w};
    assert_int_equal(notifications->ops->publish(notifications, slice_str(batch), on_published, &seen), FICUS_ERR_OK);
    while (!seen.done)
        env_uv_run(w->rig.env);
    assert_int_equal(seen.err, FICUS_ERR_DENIED);
    seen = (struct bus_seen){.w = w};
    assert_int_equal(notifications->ops->pull(notifications, "order.placed", 0, 10, 1000, on_bus_pulled, &seen),
                     FICUS_ERR_OK);
    while (!seen.done)
        env_uv_run(w->rig.env);
    assert_int_equal(seen.err, FICUS_ERR_OK);
    assert_int_equal(seen.count, 1);
    assert_true(seen.next > 0);
    bus_hub_free(orders);
    bus_hub_free(notifications);
    world_free(w);
}

/* A second hub on the same files is refused with the reason, leaves nothing behind, and does not disturb the first. */
static void test_second_hub(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct ficus_error error = {0};
    struct hub *second = NULL;
    assert_int_equal(hub_start(w->rig.env, &w->rig.config, &second, &error), FICUS_ERR_BUSY);
    assert_non_null(strstr(error.text, "log.db"));
    assert_null(second);
    tell_registry(w);
    ask(&w->rig, w->orders, "hub", "POST", "/v1/events", placed(w, "o1"));
    wait_for_state(w, "o1", "completed");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saga_commands),   cmocka_unit_test(test_saga_signals),
        cmocka_unit_test(test_saga_told),
        cmocka_unit_test(test_saga_runs),       cmocka_unit_test(test_saga_survives_restart),
        cmocka_unit_test(test_stuck_retry),     cmocka_unit_test(test_pull_waits),
        cmocka_unit_test(test_schemas),
        cmocka_unit_test(test_rights),          cmocka_unit_test(test_operators),
        cmocka_unit_test(test_dead_letters),    cmocka_unit_test(test_flows),
        cmocka_unit_test(test_endpoints),       cmocka_unit_test(test_changes),
        cmocka_unit_test(test_half_told),
        cmocka_unit_test(test_stop_wakes),      cmocka_unit_test(test_identity),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_bus_of_services), cmocka_unit_test(test_second_hub),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
