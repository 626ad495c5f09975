/* SPDX-License-Identifier: Apache-2.0
 *
 * The timers of one loop, ordered by due time, then by order of arming, so that runs repeat: a binary heap, and beside it a
 * queue for those that are due at once, which every exchange has some of. Used by every implementation of env. Loop
 * thread only.
 */
#ifndef FICUS_BASE_TIMERS_H
#define FICUS_BASE_TIMERS_H

#include "env.h"

struct timers {
    /* private */
    struct timers_entry *heap;
    size_t count, capacity;
    struct timers_entry *soon;  /* a ring; an entry without timer was disarmed */
    uint32_t soon_at, soon_end, soon_capacity;  /* places count on and wrap; capacity is a power of two */
    uint64_t sequence;
    int64_t firing_ns;      /* now of the timers_fire that runs, else INT64_MIN */
};

void timers_init(struct timers *t);
void timers_done(struct timers *t);                 /* disarms all */
/* false: out of memory. Re-arms when armed. */
bool timers_add(struct timers *t, struct env_timer *timer, int64_t due_ns);
/* The same for what is due now, when now never goes back from call to call: nothing is sorted. */
bool timers_add_soon(struct timers *t, struct env_timer *timer, int64_t now_ns);
void timers_remove(struct timers *t, struct env_timer *timer);
int64_t timers_next_due_ns(const struct timers *t); /* INT64_MAX when none */
/* Fire those that are due at now_ns and were armed before this call began. Returns how many. */
size_t timers_fire(struct timers *t, int64_t now_ns);

#endif
