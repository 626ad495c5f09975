/* SPDX-License-Identifier: Apache-2.0
 *
 * Binary heap of armed timers. Each timer knows its place (heap_slot, from 1), so that disarming is O(log n).
 */
#include "timers.h"

#include "assert.h"
#include "mem.h"

struct timers_entry {
    struct env_timer *timer;
    uint64_t sequence;
};

void timers_init(struct timers *t)
{
    *t = (struct timers){.firing_ns = INT64_MIN};
}

void timers_done(struct timers *t)
{
    for (size_t i = 0; i < t->count; i++)
        t->heap[i].timer->heap_slot = 0;
    mem_free(t->heap);
    timers_init(t);
}

static bool before(const struct timers_entry *a, const struct timers_entry *b)
{
    if (a->timer->due_ns != b->timer->due_ns)
        return a->timer->due_ns < b->timer->due_ns;
    return a->sequence < b->sequence;
}

static void put(struct timers *t, size_t i, struct timers_entry e)
{
    t->heap[i] = e;
    e.timer->heap_slot = (uint32_t)(i + 1);
}

static void move_up(struct timers *t, size_t i)
{
    struct timers_entry e = t->heap[i];
    for (; i > 0 && before(&e, &t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        put(t, i, t->heap[(i - 1) / 2]);
    put(t, i, e);
}

static void move_down(struct timers *t, size_t i)
{
    struct timers_entry e = t->heap[i];
    for (;;) {
        size_t child = i * 2 + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && before(&t->heap[child + 1], &t->heap[child]))
            child++;
        if (!before(&t->heap[child], &e))
            break;
        put(t, i, t->heap[child]);
        i = child;
    }
    put(t, i, e);
}

bool timers_add(struct timers *t, struct env_timer *timer, int64_t due_ns)
{
    FICUS_ASSERT(timer->fn != NULL);
    timers_remove(t, timer);
    if (t->count == t->capacity) {
        size_t capacity = t->capacity == 0 ? 64 : t->capacity * 2;
        if (capacity > UINT32_MAX)
            return false;
        struct timers_entry *heap = mem_realloc(t->heap, capacity * sizeof *heap);
        if (heap == NULL)
            return false;
        t->heap = heap;
        t->capacity = capacity;
    }
    /* One that a callback arms in the past must not get before those that are due already: see timers_fire. */
    timer->due_ns = due_ns < t->firing_ns ? t->firing_ns : due_ns;
    t->count++;
    put(t, t->count - 1, (struct timers_entry){timer, t->sequence++});
    move_up(t, t->count - 1);
    return true;
}

void timers_remove(struct timers *t, struct env_timer *timer)
{
    if (timer->heap_slot == 0)
        return;
    size_t i = timer->heap_slot - 1;
    FICUS_ASSERT(i < t->count);
    FICUS_ASSERT(t->heap[i].timer == timer);
    timer->heap_slot = 0;
    t->count--;
    if (i == t->count)
        return;
    put(t, i, t->heap[t->count]);
    move_up(t, i);
    move_down(t, t->heap[i].timer->heap_slot - 1);
}

int64_t timers_next_due_ns(const struct timers *t)
{
    return t->count == 0 ? INT64_MAX : t->heap[0].timer->due_ns;
}

size_t timers_fire(struct timers *t, int64_t now_ns)
{
    /* What a callback arms has a higher sequence and a due time of now_ns or later, so it is behind all that were due before and
     * waits for the next call: the loop gets its turn between. */
    uint64_t limit = t->sequence;
    size_t fired = 0;
    t->firing_ns = now_ns;
    while (t->count > 0 && t->heap[0].timer->due_ns <= now_ns && t->heap[0].sequence < limit) {
        struct env_timer *timer = t->heap[0].timer;
        timers_remove(t, timer);
        fired++;
        timer->fn(timer->arg);
    }
    t->firing_ns = INT64_MIN;
    return fired;
}
