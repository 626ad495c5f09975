/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of one supervised process as a table: pure, fed with events and the time, answers with actions. Who spawns,
 * signals and sets timers is supervisor.c.
 *
 *                    START                READY
 *      WAITING ----------------> STARTING -----> READY
 *                                 |  ^ ^          |  |
 *                            EXIT |  | +-TIMER-+  |  | RESTART             EXIT
 *                                 v  |         |  |  +---------> RESTARTING ----> STARTING
 *                               BACKOFF <---------+ EXIT          (TERM; TIMER: KILL)
 *
 *      REPLACE starts another process beside one that is READY; the two change places when it is ready:
 *
 *                 REPLACE                          NEXT_READY (TAKE_NEXT)
 *          READY ---------> REPLACING ------------------------------------> READY
 *                           (SPAWN_NEXT)  NEXT_EXIT, TIMER (DROP_NEXT): as before
 *
 *      If the old one dies meanwhile, the other is the process: STARTING.
 *
 *      STOP leads from WAITING and BACKOFF to STOPPED, from the others to STOPPING (TERM; TIMER: KILL), and its EXIT to
 *      STOPPED. START and RESTART lead from there to WAITING, from STOPPING to RESTARTING.
 *
 * Invariants: (1) a process exists exactly in STARTING, READY, REPLACING, RESTARTING and
 * STOPPING, a second one that is to take its place only in REPLACING; (2) only START and RESTART leave
 * STOPPED, where earlier deaths are forgotten; (3) the unit is listed (its address is in the registry) only after a
 * process said READY. It stays so while another process is started at once, planned or after a single death: the
 * listening socket is the supervisor's, connections wait in its queue. When that one dies as well, or the unit is
 * stopped, it is not listed until the next READY: whoever calls it hears at once that it is not there.
 */
#ifndef FICUS_SYSTEM_UNIT_H
#define FICUS_SYSTEM_UNIT_H

#include <stdbool.h>
#include <stdint.h>

enum unit_state {
    UNIT_WAITING,
    UNIT_STARTING,
    UNIT_READY,
    UNIT_REPLACING,
    UNIT_RESTARTING,
    UNIT_STOPPING,
    UNIT_BACKOFF,
    UNIT_STOPPED,
    UNIT_STATE_COUNT
};
enum unit_event {
    UNIT_START,
    UNIT_IS_READY,
    UNIT_EXIT,
    UNIT_RESTART,
    UNIT_REPLACE, /* known by READY alone */
    UNIT_NEXT_READY,
    UNIT_NEXT_EXIT,
    UNIT_STOP,
    UNIT_TIMER,
    UNIT_EVENT_COUNT
};

enum unit_action {
    UNIT_SPAWN = 1,
    UNIT_TERM = 2,
    UNIT_KILL = 4,
    UNIT_SET_TIMER = 8, /* to timer_ms from now; replaces one that is set */
    UNIT_CLEAR_TIMER = 16,
    UNIT_LISTING = 32, /* listed has changed */
    UNIT_SPAWN_NEXT = 64,
    UNIT_TAKE_NEXT = 128, /* it is the process now; the one before, if there is one, ends its work and goes */
    UNIT_DROP_NEXT = 256, /* kill it */
};

enum {
    UNIT_DRAIN_MS = 10000, /* from TERM to KILL */
    UNIT_REPLACE_MS = 10000, /* for the next one to be ready */
    UNIT_BACKOFF_FIRST_MS = 100,
    UNIT_BACKOFF_MAX_MS = 3000,
    UNIT_STABLE_MS = 10000, /* so long ready: earlier deaths are forgotten */
};

struct unit {
    enum unit_state state;
    bool listed;
    bool started;           /* there was a process */
    uint32_t restarts;      /* processes started after the first */
    uint32_t deaths;        /* unplanned, in a row */
    int64_t ready_since_ms; /* while READY, and until the next start */
    int64_t timer_ms;       /* for UNIT_SET_TIMER */
};

const char *unit_state_name(enum unit_state state); /* "running" for READY, else lower case */
static inline bool unit_has_process(const struct unit *u)
{
    return u->state == UNIT_STARTING || u->state == UNIT_READY || u->state == UNIT_REPLACING ||
           u->state == UNIT_RESTARTING || u->state == UNIT_STOPPING;
}

/* Zeroed unit: WAITING. Returns actions, or-ed. An event that a state does not know changes nothing and returns 0. */
unsigned unit_step(struct unit *u, enum unit_event event, int64_t now_ms);

#endif
