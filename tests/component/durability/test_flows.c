/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of flows, on a disk that dies after every single operation: the next process finds what some whole number of turns made
 * of it, none by half and no acknowledged one missing, with the position behind it; and it comes to the same end as one that nobody killed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../../unit/flow/flow_world.h"

enum { TURNS = 9, EVENTS_A_TURN = 3, CONSUMER = 0 };

static const char *const flow_texts[] = {
    ORDER_FLOW(""),
    "{\"name\":\"chain\",\"owner\":\"x\",\"id\":\"event\",\"start\":\"placed\",\"steps\":[{\"s\":{\"event\":\"confirmed\",\"within\":\"1s\"}},"
    "{\"t\":{\"event\":\"mail\",\"after\":\"confirmed\",\"within\":\"1s\"}}]}",
};
/* Two orders, one of which comes in wrong order; a dead letter and its redrive; one that is never confirmed. */
static const char *const event_texts[TURNS * EVENTS_A_TURN] = {
    "placed id=p1 of=o1 at=0", "placed id=p2 of=o2 at=10", "mail id=m3 of=o3 due=c3 by=mailer at=30",
    "confirmed id=c1 of=o1 due=p1 at=100", "confirmed id=c2 of=o2 due=p2 at=110", "mail id=m1 of=o1 due=c1 by=mailer at=120",
    "confirmed id=c3 of=o3 due=p3 at=130", "ficus.dead id=d1 by=search due=c1 at=140", "mail id=m2 of=o2 due=c2 by=mailer at=150",
    "placed id=p3 of=o3 at=20", "placed id=p4 of=o4 at=160", "rejected id=r5 of=o5 due=p5 at=170",
    "placed id=p5 of=o5 at=165", "confirmed id=c1 of=o1 due=p1 at=100", "ficus.dead.closed by=hub data={\"letter\":80,\"as\":\"redriven\"} at=180",
    "placed id=p6 of=o6 at=190", "released id=l5 of=o5 due=r5 at=200", "placed id=p7 of=o7 at=210",
    "confirmed id=c6 of=o6 due=p6 at=220", "rejected id=r7 of=o7 due=p7 at=230", "mail id=m6 of=o6 due=c6 by=mailer at=240",
    "placed id=p8 of=o8 at=250", "placed id=p9 of=o9 at=260", "confirmed id=c8 of=o8 due=p8 at=270",
    "mail id=m8 of=o8 due=c8 by=mailer at=280", "confirmed id=c9 of=o9 due=p9 at=290", "placed id=p10 of=o10 at=300",
};
/* Where the consumer is, turn by turn. */
static const int64_t places[TURNS] = {0, 0, 45, 75, 75, 151, 151, 215, 250};

struct run {
    struct world *w; /* for its definitions and events; its own disk is not used */
    struct flow_store *store;
    size_t tried, acknowledged;
    bool alive;
};

static struct buf references[TURNS + 1]; /* what is known after so many turns */

static int64_t position_after(size_t turns)
{
    return (int64_t)(turns * EVENTS_A_TURN * 10);
}

static struct world *events_new(void)
{
    struct world *w = world_new(flow_texts, 2);
    for (size_t i = 0; i < TURNS * EVENTS_A_TURN; i++)
        say(w, event_texts[i]);
    return w;
}

static bool one_turn(struct world *w, struct flow_store *s, size_t i)
{
    const int64_t heard[FLOW_CONSUMERS_MAX] = {[CONSUMER] = places[i]};
    arena_clear(&w->turn_arena);
    w->turn = (struct flow_turn){.events = w->events + i * EVENTS_A_TURN, .count = EVENTS_A_TURN, .next = position_after(i + 1), .heard = heard,
                                 .wall_ms = NOON + 400 + (int64_t)i, .live = true, .tell = true, .trim = true, .judged_ms = NOON + 400 + (int64_t)i,
                                 .arena = &w->turn_arena};
    return flow_store_turn(s, &w->turn, NULL) == FICUS_ERR_OK;
}

static void turns(void *arg)
{
    struct run *r = arg;
    for (size_t i = r->acknowledged; i < TURNS && r->alive; i++) {
        r->tried = i + 1;
        r->alive = one_turn(r->w, r->store, i);
        r->acknowledged = r->alive ? i + 1 : r->acknowledged;
    }
}

static void *run_new(uint64_t seed)
{
    (void)seed;
    struct run *r = mem_zalloc(sizeof *r);
    r->w = events_new();
    r->alive = true;
    return r;
}

static void run_free(void *state)
{
    struct run *r = state;
    world_free(r->w);
    mem_free(r);
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    const char *anew;
    if (flow_store_open(crash_env(ce), &r->w->options, &r->store, &anew, NULL) != FICUS_ERR_OK)
        return;
    crash_env_call(ce, turns, r);
    flow_store_close(r->store);
    r->store = NULL;
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run *r = state;
    const char *anew;
    struct ficus_error error = {0};
    struct buf out;
    enum ficus_err err = flow_store_open(crash_env(ce), &r->w->options, &r->store, &anew, &error);
    if (err == FICUS_ERR_IO)
        return false;
    if (err != FICUS_ERR_OK)
        fail_msg("open after the crash: %s", error.text);
    size_t found = (size_t)flow_store_position(r->store) / EVENTS_A_TURN / 10;
    assert_int_equal(flow_store_position(r->store), position_after(found));
    if (found != r->acknowledged && found != r->tried)
        fail_msg("%zu turns instead of %zu or %zu (%s)", found, r->acknowledged, r->tried, anew == NULL ? "" : anew);
    buf_init(&out, 1 << 20);
    bool alive = dump(ce, r->store, NOON + DAY, &out);
    if (alive)
        assert_string_equal(buf_str(&out), buf_str(&references[found]));
    if (alive) { /* goes on as if nothing had been; the state is for other ways of crashing, too */
        struct run on = {.w = r->w, .store = r->store, .acknowledged = found, .alive = true};
        crash_env_call(ce, turns, &on);
        alive = on.alive && dump(ce, r->store, NOON + DAY, &out);
        if (alive)
            assert_string_equal(buf_str(&out), buf_str(&references[TURNS]));
    }
    buf_done(&out);
    flow_store_close(r->store);
    r->store = NULL;
    return alive;
}

static void one_turn_work(void *arg)
{
    struct run *r = arg;
    r->alive = one_turn(r->w, r->store, r->acknowledged++);
}

static void make_references(void)
{
    struct run r = {.w = events_new()};
    world_open(r.w);
    r.store = r.w->store;
    for (size_t i = 0; i <= TURNS; i++) {
        buf_init(&references[i], 1 << 20);
        assert_true(dump(r.w->ce, r.store, NOON + DAY, &references[i]));
        if (i == TURNS)
            break;
        crash_env_call(r.w->ce, one_turn_work, &r);
        assert_true(r.alive);
    }
    print_message("%s", buf_str(&references[TURNS]));
    world_free(r.w);
}

/* Crash after every single operation on the disk, in every way. */
static void test_flows_durable(void **state)
{
    (void)state;
    static const struct crash_case cc = {run_new, run_free, run_work, run_check};
    make_references();
    crash_sweep(&cc, "flows");
    for (size_t i = 0; i <= TURNS; i++)
        buf_done(&references[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_flows_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
