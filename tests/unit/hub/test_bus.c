/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub as a broker: the contract of struct bus, by a service over HTTP, and read by what runs in the hub itself.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../events/bus_contract.h"
#include "hub_rig.h"

static const char config_text[] =
    "{\"version\":1,\"system\":\"shop\",\"process\":\"hub\",\"state\":\"%1$s\",\"key_file\":\"%1$s/system.key\",\"log_level\":\"error\",\"retention\":\"1m\","
    "\"listen\":[\"unix:%1$s/hub.sock\"],\"operator_listen\":[\"unix:%1$s/ops.sock\"],\"log_file\":\"%1$s/log.db\",\"journal_file\":\"%1$s/sagas.db\","
    "\"topics\":{\"a\":{\"publisher\":\"shop\",\"consumers\":[\"shop\"]},\"b.c\":{\"publisher\":\"shop\",\"consumers\":[\"shop\"]},\"other\":{\"publisher\":\"bank\"}},"
    "\"services\":[\"shop\",\"bank\"]}";

struct world {
    struct bus_contract contract;
    struct hub_rig rig;
    struct call_engine *shop;
    bool inside;                /* the reader is the hub's own */
};

/* ---- a clock that is ahead, and a janitor who comes soon: what was published is too old to be kept ---- */

enum { AHEAD_MS = 120000, JANITOR_MS = 10 * 60 * 1000, SOON_MS = 5, CUT_MS = 200 };
static const struct env_ops *usual;

static int64_t wall_ms_ahead(struct env *e)
{
    return usual->wall_ms(e) + AHEAD_MS;
}

static void timer_start_sooner(struct env *e, struct env_timer *t, int64_t delay_ms)
{
    usual->timer_start(e, t, delay_ms == JANITOR_MS ? SOON_MS : delay_ms);
}

/* ---- life ---- */

static void on_part(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    (void)arg;
    (void)body;
    (void)err;
    http_respond_problem(s, 404, "not_found", "nothing takes part");
}

static void open_reader(struct world *w)
{
    if (w->inside)
        assert_int_equal(hub_bus_new(w->rig.hub->log, &w->contract.reader), FICUS_ERR_OK);
    else
        assert_int_equal(bus_hub_new(w->rig.env, w->shop, &w->contract.reader), FICUS_ERR_OK);
}

static void close_reader(struct world *w)
{
    if (w->inside)
        hub_bus_free(w->contract.reader);
    else
        bus_hub_free(w->contract.reader);
}

static void restart(struct bus_contract *c)
{
    struct world *w = c->arg;
    close_reader(w);
    hub_rig_stop(&w->rig);
    hub_rig_start(&w->rig);
    open_reader(w);
}

static void cut(struct bus_contract *c)
{
    struct world *w = c->arg;
    struct env_ops later = *w->rig.env->ops;
    usual = w->rig.env->ops;
    later.wall_ms = wall_ms_ahead;
    later.timer_start = timer_start_sooner;
    close_reader(w);
    hub_rig_stop(&w->rig);
    w->rig.env->ops = &later;
    hub_rig_start(&w->rig);
    bus_contract_pause(c, CUT_MS);
    hub_rig_stop(&w->rig);
    w->rig.env->ops = usual;
    hub_rig_start(&w->rig);
    open_reader(w);
}

static int set_up(void **state, bool inside)
{
    struct world *w = calloc(1, sizeof *w);
    w->inside = inside;
    hub_rig_init(&w->rig, "part.sock", on_part, w);
    w->rig.config_text = arena_printf(&w->rig.arena, config_text, w->rig.dir);
    hub_rig_start(&w->rig);
    w->shop = hub_rig_caller(&w->rig, "shop", w->rig.key);
    w->contract = (struct bus_contract){.env = w->rig.env, .run = env_uv_run, .stop = env_uv_stop, .topics = {"a", "b.c"}, .denied = "other",
                                        .restart = restart, .cut = cut, .arg = w};
    assert_int_equal(bus_hub_new(w->rig.env, w->shop, &w->contract.publisher), FICUS_ERR_OK);
    open_reader(w);
    *state = &w->contract;
    return 0;
}

static int outside(void **state)
{
    return set_up(state, false);
}

static int inside(void **state)
{
    return set_up(state, true);
}

static int tear_down(void **state)
{
    struct bus_contract *c = *state;
    struct world *w = c->arg;
    close_reader(w);
    bus_hub_free(c->publisher);
    hub_rig_stop(&w->rig);
    hub_rig_close_caller(&w->rig, w->shop);
    hub_rig_done(&w->rig);
    free(w);
    return 0;
}

int main(void)
{
    const struct CMUnitTest over_http[] = {BUS_CONTRACT_TESTS(outside, tear_down)};
    const struct CMUnitTest in_the_hub[] = {BUS_CONTRACT_TESTS(inside, tear_down)};
    int failed = cmocka_run_group_tests_name("over HTTP", over_http, NULL, NULL);
    return failed + cmocka_run_group_tests_name("in the hub", in_the_hub, NULL, NULL);
}
