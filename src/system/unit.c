/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of unit.h.
 */
#include "unit.h"

#include "assert.h"

const char *unit_state_name(enum unit_state state)
{
    static const char *const names[UNIT_STATE_COUNT] = {
        [UNIT_WAITING] = "waiting",       [UNIT_STARTING] = "starting", [UNIT_READY] = "running",
        [UNIT_REPLACING] = "replacing",   [UNIT_RESTARTING] = "restarting", [UNIT_STOPPING] = "stopping", [UNIT_BACKOFF] = "backoff",
        [UNIT_STOPPED] = "stopped",
    };
    FICUS_ASSERT(state < UNIT_STATE_COUNT);
    return names[state];
}

struct rule {
    bool known;
    enum unit_state to;
    unsigned actions;
};

/* What is not here does not happen or changes nothing. The back-off after an EXIT is worked out in unit_step. */
static const struct rule rules[UNIT_STATE_COUNT][UNIT_EVENT_COUNT] =
    {
        [UNIT_WAITING] =
            {
                [UNIT_START] = {true, UNIT_STARTING, UNIT_SPAWN},
                [UNIT_STOP] = {true, UNIT_STOPPED, 0},
            },
        [UNIT_STARTING] =
            {
                [UNIT_IS_READY] = {true, UNIT_READY, 0},
                [UNIT_EXIT] = {true, UNIT_BACKOFF, UNIT_SET_TIMER},
                [UNIT_RESTART] = {true, UNIT_RESTARTING, UNIT_TERM | UNIT_SET_TIMER},
                [UNIT_STOP] = {true, UNIT_STOPPING, UNIT_TERM | UNIT_SET_TIMER},
            },
        [UNIT_READY] =
            {
                [UNIT_EXIT] = {true, UNIT_BACKOFF, UNIT_SET_TIMER},
                [UNIT_RESTART] = {true, UNIT_RESTARTING, UNIT_TERM | UNIT_SET_TIMER},
                [UNIT_REPLACE] = {true, UNIT_REPLACING, UNIT_SPAWN_NEXT | UNIT_SET_TIMER},
                [UNIT_STOP] = {true, UNIT_STOPPING, UNIT_TERM | UNIT_SET_TIMER},
            },
        [UNIT_REPLACING] =
            {
                [UNIT_NEXT_READY] = {true, UNIT_READY, UNIT_TAKE_NEXT | UNIT_CLEAR_TIMER},
                [UNIT_NEXT_EXIT] = {true, UNIT_READY, UNIT_CLEAR_TIMER},
                [UNIT_TIMER] = {true, UNIT_READY, UNIT_DROP_NEXT},
                [UNIT_EXIT] = {true, UNIT_STARTING, UNIT_TAKE_NEXT | UNIT_CLEAR_TIMER},
                [UNIT_STOP] = {true, UNIT_STOPPING, UNIT_TERM | UNIT_DROP_NEXT | UNIT_SET_TIMER},
            },
        [UNIT_RESTARTING] =
            {
                [UNIT_EXIT] = {true, UNIT_STARTING, UNIT_SPAWN | UNIT_CLEAR_TIMER},
                [UNIT_TIMER] = {true, UNIT_RESTARTING, UNIT_KILL},
                [UNIT_STOP] = {true, UNIT_STOPPING, 0}, /* it is draining already, and its timer runs */
            },
        [UNIT_STOPPING] =
            {
                [UNIT_EXIT] = {true, UNIT_STOPPED, UNIT_CLEAR_TIMER},
                [UNIT_TIMER] = {true, UNIT_STOPPING, UNIT_KILL},
                /* it is draining already, and its timer runs */
                [UNIT_START] = {true, UNIT_RESTARTING, 0},
                [UNIT_RESTART] = {true, UNIT_RESTARTING, 0},
            },
        [UNIT_STOPPED] =
            {
                [UNIT_START] = {true, UNIT_WAITING, 0},
                [UNIT_RESTART] = {true, UNIT_WAITING, 0},
            },
        [UNIT_BACKOFF] =
            {
                [UNIT_TIMER] = {true, UNIT_STARTING, UNIT_SPAWN},
                [UNIT_RESTART] = {true, UNIT_STARTING, UNIT_SPAWN | UNIT_CLEAR_TIMER},
                [UNIT_STOP] = {true, UNIT_STOPPED, UNIT_CLEAR_TIMER},
            },
};

/* 0, 100, 200, 400, ... 3000 ms. */
static int64_t backoff_ms(uint32_t deaths)
{
    if (deaths <= 1)
        return 0;
    int64_t ms = UNIT_BACKOFF_FIRST_MS;
    for (uint32_t i = 2; i < deaths && ms < UNIT_BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms < UNIT_BACKOFF_MAX_MS ? ms : UNIT_BACKOFF_MAX_MS;
}

static void died(struct unit *u, enum unit_state from, int64_t now_ms)
{
    if (from == UNIT_READY && now_ms - u->ready_since_ms >= UNIT_STABLE_MS)
        u->deaths = 0;
    if (u->deaths < UINT32_MAX)
        u->deaths++;
    u->timer_ms = backoff_ms(u->deaths);
}

unsigned unit_step(struct unit *u, enum unit_event event, int64_t now_ms)
{
    FICUS_ASSERT(u->state < UNIT_STATE_COUNT && event < UNIT_EVENT_COUNT);
    const struct rule *rule = &rules[u->state][event];
    if (!rule->known)
        return 0;
    enum unit_state from = u->state;
    unsigned actions = rule->actions;
    bool listed = u->listed;
    u->state = rule->to;
    if (u->state == UNIT_BACKOFF)
        died(u, from, now_ms);
    else if ((actions & UNIT_SET_TIMER) != 0)
        u->timer_ms = u->state == UNIT_REPLACING ? UNIT_REPLACE_MS : UNIT_DRAIN_MS;
    if (u->state == UNIT_READY) {
        u->listed = true;
        if (event == UNIT_IS_READY || event == UNIT_NEXT_READY)
            u->ready_since_ms = now_ms;
    } else if (u->state == UNIT_BACKOFF) {
        u->listed = u->listed && from == UNIT_READY && u->timer_ms == 0;
    } else if (u->state == UNIT_STOPPING || u->state == UNIT_STOPPED) {
        u->listed = false;
    }
    if (u->state == UNIT_STOPPED)
        u->deaths = 0;
    if ((actions & UNIT_TAKE_NEXT) != 0)
        u->restarts++;
    if ((actions & UNIT_SPAWN) != 0) {
        u->restarts += u->started ? 1 : 0;
        u->started = true;
    }
    if (listed != u->listed)
        actions |= UNIT_LISTING;
    FICUS_ASSERT(!u->listed || (u->state != UNIT_WAITING && u->state != UNIT_STOPPING && u->state != UNIT_STOPPED));
    return actions;
}
