/* SPDX-License-Identifier: Apache-2.0
 *
 * Binary heap and ring of armed timers. Each timer knows its place (slot), so that disarming is O(log n), in the ring
 * O(1). The ring is in order by itself, since time does not go back.
 */
#include "timers.h"

#include "assert.h"
#include "mem.h"

struct timers_entry {
    struct env_timer *timer;
    uint64_t sequence;
};

/* A slot is the place in the heap, from 1; or this bit and the low bits of the place in the ring. */
#define SLOT_SOON (UINT32_C(1) << 31)

void timers_init(struct timers *t)
{
    *t = (struct timers){.firing_ns = INT64_MIN};
}

static bool in_ring(const struct env_timer *timer)
{
    return (timer->slot & SLOT_SOON) != 0;
}

static struct timers_entry *ring_entry(const struct timers *t, uint32_t place)
{
    return &t->soon[place & (t->soon_capacity - 1)];
}

void timers_done(struct timers *t)
{
    for (size_t i = 0; i < t->count; i++)
        t->heap[i].timer->slot = 0;
    for (uint32_t place = t->soon_at; place != t->soon_end; place++)
        if (ring_entry(t, place)->timer != NULL)
            ring_entry(t, place)->timer->slot = 0;
    mem_free(t->heap);
    mem_free(t->soon);
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
    e.timer->slot = (uint32_t)(i + 1);
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
        if (capacity >= SLOT_SOON)
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

static bool ring_grow(struct timers *t)
{
    uint32_t capacity = t->soon_capacity == 0 ? 64 : t->soon_capacity * 2;
    struct timers_entry *soon = capacity >= SLOT_SOON ? NULL : mem_array(capacity, sizeof *soon);
    if (soon == NULL)
        return false;
    for (uint32_t place = t->soon_at; place != t->soon_end; place++)
        soon[place & (capacity - 1)] = *ring_entry(t, place);
    mem_free(t->soon);
    t->soon = soon;
    t->soon_capacity = capacity;
    return true;
}

bool timers_add_soon(struct timers *t, struct env_timer *timer, int64_t now_ns)
{
    FICUS_ASSERT(timer->fn != NULL);
    timers_remove(t, timer);
    if (t->soon_end - t->soon_at == t->soon_capacity && !ring_grow(t))
        return false;
    timer->due_ns = now_ns < t->firing_ns ? t->firing_ns : now_ns;
    FICUS_ASSERT(t->soon_at == t->soon_end || ring_entry(t, t->soon_end - 1)->timer->due_ns <= timer->due_ns);
    timer->slot = SLOT_SOON | t->soon_end;
    *ring_entry(t, t->soon_end++) = (struct timers_entry){timer, t->sequence++};
    return true;
}

/* The ring begins and ends with an armed timer, or is empty. */
static void ring_remove(struct timers *t, struct env_timer *timer)
{
    struct timers_entry *e = ring_entry(t, timer->slot);
    FICUS_ASSERT(e->timer == timer);
    timer->slot = 0;
    e->timer = NULL;
    while (t->soon_at != t->soon_end && ring_entry(t, t->soon_at)->timer == NULL)
        t->soon_at++;
    while (t->soon_at != t->soon_end && ring_entry(t, t->soon_end - 1)->timer == NULL)
        t->soon_end--;
}

void timers_remove(struct timers *t, struct env_timer *timer)
{
    if (timer->slot == 0)
        return;
    if (in_ring(timer)) {
        ring_remove(t, timer);
        return;
    }
    size_t i = timer->slot - 1;
    FICUS_ASSERT(i < t->count);
    FICUS_ASSERT(t->heap[i].timer == timer);
    timer->slot = 0;
    t->count--;
    if (i == t->count)
        return;
    put(t, i, t->heap[t->count]);
    move_up(t, i);
    move_down(t, t->heap[i].timer->slot - 1);
}

/* The first of both; NULL: none is armed. */
static const struct timers_entry *first_of(const struct timers *t)
{
    const struct timers_entry *a = t->count == 0 ? NULL : &t->heap[0];
    const struct timers_entry *b = t->soon_at == t->soon_end ? NULL : ring_entry(t, t->soon_at);
    return a == NULL || (b != NULL && before(b, a)) ? b : a;
}

int64_t timers_next_due_ns(const struct timers *t)
{
    const struct timers_entry *e = first_of(t);
    return e == NULL ? INT64_MAX : e->timer->due_ns;
}

size_t timers_fire(struct timers *t, int64_t now_ns)
{
    /* What a callback arms has a higher sequence and a due time of now_ns or later, so it is behind all that were due before and
     * waits for the next call: the loop gets its turn between. */
    uint64_t limit = t->sequence;
    size_t fired = 0;
    t->firing_ns = now_ns;
    const struct timers_entry *e;
    while ((e = first_of(t)) != NULL && e->timer->due_ns <= now_ns && e->sequence < limit) {
        struct env_timer *timer = e->timer;
        timers_remove(t, timer);
        fired++;
        timer->fn(timer->arg);
    }
    t->firing_ns = INT64_MIN;
    return fired;
}
