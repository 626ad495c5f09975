/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumer groups as a state machine: by hand for each rule, and at random against a model of a log, with crashes, refusals,
 * lost answers, seeks and members that do not come back.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "event.h"
#include "group.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct group_item *item_new(int64_t offset, size_t size)
{
    struct group_item *item = mem_zalloc(sizeof *item);
    item->offset = offset;
    item->size = size;
    return item;
}

static bool offer(struct group *g, size_t partition, int64_t from, int64_t offset, size_t size)
{
    struct group_item *item = item_new(offset, size);
    bool taken = group_offer(g, partition, from, item);
    if (!taken)
        mem_free(item);
    return taken;
}

static size_t free_done(struct group *g)
{
    size_t count = 0;
    for (size_t i = 0; i < g->partition_count; i++)
        for (struct group_item *item; (item = group_take(g, i)) != NULL; count++)
            mem_free(item);
    return count;
}

static void free_all(struct group *g)
{
    for (size_t i = 0; i < g->partition_count; i++)
        if (g->partitions[i].state == GROUP_SETTLING)
            group_committed(g, i, true, 0, 0);
    group_hold(g);
    group_seek(g, 0);
    (void)free_done(g);
}

/* ---- by hand ---- */

/* One event after another; each only when the one before is committed. */
static void test_in_order(void **state)
{
    (void)state;
    struct group g;
    size_t p;
    group_init(&g, 1, 1);
    assert_true(offer(&g, 0, 0, 5, 1));
    assert_true(offer(&g, 0, 0, 7, 1));
    group_read_done(&g, 0, 9);
    assert_true(group_lease(&g, 0, 1, 0, &p));
    assert_false(group_lease(&g, 0, 1, 0, &p));
    int64_t epoch = g.partitions[0].epoch;
    assert_int_equal(group_settle(&g, 0, epoch, 7, GROUP_SUCCESS, 0, 0), GROUP_STALE);    /* it is not out */
    assert_int_equal(group_settle(&g, 0, epoch, 5, GROUP_SUCCESS, 0, 0), GROUP_COMMIT);
    assert_int_equal(group_cursor_of(&g, 0).settled, 6);
    assert_false(group_lease(&g, 0, 1, 0, &p));
    group_committed(&g, 0, true, 0, 0);
    assert_int_equal(free_done(&g), 1);
    assert_int_equal(group_settle(&g, 0, epoch, 5, GROUP_SUCCESS, 0, 0), GROUP_ALREADY);
    assert_true(group_lease(&g, 0, 1, 0, &p));
    assert_int_equal(group_settle(&g, 0, epoch, 7, GROUP_SUCCESS, 0, 0), GROUP_STALE);
    epoch = g.partitions[0].epoch;
    assert_int_equal(group_settle(&g, 0, epoch, 7, GROUP_DROP, 0, 0), GROUP_COMMIT);
    assert_int_equal(group_cursor_of(&g, 0).settled, 9);    /* all that was read is nobody's */
    group_committed(&g, 0, true, 0, 0);
    assert_int_equal(g.partitions[0].state, GROUP_IDLE);
    free_all(&g);
}

/* A lease of several: success settles all up to it; a refusal what was before it, and ends the lease. */
static void test_lease_of_several(void **state)
{
    (void)state;
    struct group g;
    size_t p;
    group_init(&g, 1, 1);
    for (int64_t i = 1; i <= 5; i++)
        assert_true(offer(&g, 0, 0, i, 1));
    assert_true(group_lease(&g, 0, 4, 1000, &p));
    int64_t epoch = g.partitions[0].epoch;
    assert_int_equal(g.partitions[0].out, 4);
    assert_int_equal(group_settle(&g, 0, epoch, 2, GROUP_SUCCESS, 0, 0), GROUP_COMMIT);
    group_committed(&g, 0, true, 900, 0);
    assert_int_equal(g.partitions[0].out, 2);
    assert_int_equal(group_tick(&g, 1000), 1900);           /* what was settled prolonged it */
    assert_int_equal(group_settle(&g, 0, epoch, 4, GROUP_RETRY, 1000, 10), GROUP_COMMIT);
    assert_int_equal(group_cursor_of(&g, 0).settled, 3);
    assert_int_equal(group_cursor_of(&g, 0).refused, 1);
    group_committed(&g, 0, true, 1000, 0);
    assert_int_equal(g.partitions[0].state, GROUP_RESTING);
    assert_int_equal(free_done(&g), 3);
    int64_t next = group_tick(&g, 1000);
    assert_in_range(next, 1001, 1000 + EVENT_BACKOFF_MS_MIN);
    assert_int_equal(group_tick(&g, next), INT64_MAX);
    assert_true(group_lease(&g, next, 9, 1000, &p));
    assert_int_equal(g.partitions[0].out, 2);
    free_all(&g);
}

/* A lease that is over is somebody else's, and what the first one says then is stale. */
static void test_fencing(void **state)
{
    (void)state;
    struct group g;
    size_t p;
    group_init(&g, 1, 7);
    assert_true(offer(&g, 0, 0, 1, 1));
    assert_true(group_lease(&g, 0, 1, 1000, &p));
    int64_t first = g.partitions[0].epoch;
    assert_true(first > INT64_C(7) << 32);
    assert_int_equal(group_tick(&g, 999), 1000);
    assert_int_equal(group_tick(&g, 1000), INT64_MAX);
    assert_true(group_lease(&g, 1000, 1, 1000, &p));
    assert_true(g.partitions[0].epoch > first);
    assert_int_equal(group_settle(&g, 0, first, 1, GROUP_SUCCESS, 1001, 0), GROUP_STALE);
    assert_int_equal(group_settle(&g, 1, first, 1, GROUP_SUCCESS, 1001, 0), GROUP_STALE);
    assert_int_equal(group_settle(&g, 0, 0, 1, GROUP_SUCCESS, 1001, 0), GROUP_STALE);
    assert_int_equal(group_settle(&g, 0, g.partitions[0].epoch, 1, GROUP_SUCCESS, 1001, 0), GROUP_COMMIT);
    assert_int_equal(group_settle(&g, 0, g.partitions[0].epoch, 1, GROUP_RETRY, 1001, 0), GROUP_STALE);
    group_committed(&g, 0, false, 1001, 0);                 /* the disk: the lease is as it was */
    assert_int_equal(g.partitions[0].state, GROUP_OUT);
    assert_int_equal(group_settle(&g, 0, g.partitions[0].epoch, 1, GROUP_SUCCESS, 1001, 0), GROUP_COMMIT);
    free_all(&g);
}

/* Refused so often it is given up, also when the hub was another one meanwhile; no answer counts for nothing. */
static void test_given_up(void **state)
{
    (void)state;
    struct group g;
    size_t p;
    struct group_cursor durable = {0};
    for (int n = 1; n <= EVENT_REFUSALS_MAX; n++) {
        group_init(&g, 1, n);
        group_begin(&g, 0, durable);
        assert_true(offer(&g, 0, durable.settled, 3, 1));
        int64_t now = 0;
        for (int k = 0; k < 20; k++) {
            assert_true(group_lease(&g, now, 1, 0, &p));
            assert_int_equal(group_settle(&g, 0, g.partitions[0].epoch, 3, GROUP_AWAY, now, (uint64_t)k * 99991), GROUP_RESTS);
            now = group_tick(&g, now);
            assert_int_equal(group_tick(&g, now), INT64_MAX);
        }
        assert_true(group_lease(&g, now, 1, 0, &p));
        assert_int_equal(group_settle(&g, 0, g.partitions[0].epoch, 3, GROUP_AWAY, now, UINT64_MAX), GROUP_RESTS);
        assert_true(group_tick(&g, now) > now);
        group_wake(&g, now);            /* somebody has come */
        (void)group_tick(&g, now);
        assert_true(group_lease(&g, now, 1, 0, &p));
        assert_int_equal(group_settle(&g, 0, g.partitions[0].epoch, 3, GROUP_RETRY, now, 1), GROUP_COMMIT);
        assert_int_equal(g.partitions[0].is_dead, n == EVENT_REFUSALS_MAX);
        durable = group_cursor_of(&g, 0);
        group_committed(&g, 0, true, now, 0);
        if (n < EVENT_REFUSALS_MAX) {
            group_wake(&g, now);        /* one that was refused rests all the same */
            (void)group_tick(&g, now);
            assert_false(group_lease(&g, now, 1, 0, &p));
        }
        free_all(&g);
    }
    assert_int_equal(durable.settled, 3);
    assert_int_equal(durable.refused, 0);
}

/* A partition that stands still holds up none of the others, however long, in bounded memory; later it reads what it had no room for. */
static void test_one_stands_still(void **state)
{
    (void)state;
    enum { EVENTS = 20000, BATCH = 50 };
    struct group g;
    int64_t seen[2] = {0, 0}, count[2] = {0, 0}, now = 0;
    group_init(&g, 2, 1);
    for (int phase = 0; phase < 2; phase++) {       /* partition 0 stands still, then it goes on */
        for (int turn = 0; turn < EVENTS * 4; turn++, now += 10) {
            int64_t from;
            bool wait;
            size_t p;
            if (group_read_next(&g, &from, &wait)) {
                int64_t next = from;
                for (int64_t o = from + 1; o <= EVENTS && o <= from + BATCH; o++, next++)
                    (void)offer(&g, o % 3 == 0 ? 0 : 1, from, o, 100);
                group_read_done(&g, from, next);
                if (wait && next == from && phase == 1 && g.partitions[0].count + g.partitions[1].count == 0)
                    break;
            }
            while (group_lease(&g, now, 1, 0, &p)) {
                int64_t o = CONTAINER_OF(g.partitions[p].items.next, struct group_item, link)->offset;
                bool stands = phase == 0 && p == 0;
                enum group_answer a = group_settle(&g, p, g.partitions[p].epoch, o, stands ? GROUP_AWAY : GROUP_SUCCESS, now, UINT64_MAX);
                assert_int_equal(a, stands ? GROUP_RESTS : GROUP_COMMIT);
                if (stands)
                    continue;
                assert_true(o > seen[p]);
                seen[p] = o;
                count[p]++;
                group_committed(&g, p, true, now, 0);
            }
            (void)free_done(&g);
            (void)group_tick(&g, now);
            assert_true(g.partitions[0].count <= GROUP_QUEUE_COUNT);
            assert_true(g.partitions[1].count <= GROUP_QUEUE_COUNT);
        }
        assert_int_equal(count[1], EVENTS - EVENTS / 3);
        assert_int_equal(count[0], phase == 0 ? 0 : EVENTS / 3);
    }
    free_all(&g);
}

/* Bytes are bounded as well, but there is always room for one event. */
static void test_sizes(void **state)
{
    (void)state;
    struct group g;
    group_init(&g, 1, 1);
    assert_true(offer(&g, 0, 0, 1, EVENT_SIZE_MAX));
    assert_false(offer(&g, 0, 0, 2, 1));
    assert_false(offer(&g, 0, 0, 3, 1));            /* nothing behind one that had no room */
    group_read_done(&g, 0, 10);
    assert_int_equal(g.partitions[0].loaded, 1);
    int64_t from;
    bool wait;
    assert_false(group_read_next(&g, &from, &wait));
    free_all(&g);
}

/* Stable, in the range, spread. */
static void test_keys(void **state)
{
    (void)state;
    struct group g;
    int counts[8] = {0};
    group_init(&g, 8, 1);
    for (int i = 0; i < 8000; i++) {
        char key[16];
        snprintf(key, sizeof key, "key-%d", i);
        size_t p = group_partition_of(&g, slice_str(key));
        assert_true(p < 8);
        assert_int_equal(p, group_partition_of(&g, slice_str(key)));
        counts[p]++;
    }
    for (int i = 0; i < 8; i++)
        assert_in_range(counts[i], 800, 1200);
    /* written down: a partition's cursor is of these keys, in every version and on every machine */
    assert_int_equal(group_partition_of(&g, SLICE("key-1")), 6);
    assert_int_equal(group_partition_of(&g, SLICE("")), 4);
}

/* An event that its partition does not get past is skipped: only the first one, only once, and whoever has it out is fenced. */
static void test_skip(void **state)
{
    (void)state;
    struct group g;
    size_t p, at = 9;
    group_init(&g, 2, 1);
    for (int64_t i = 1; i <= 4; i++)
        assert_true(offer(&g, i == 4 ? 1 : 0, 0, i, 1));
    group_read_done(&g, 0, 6);
    assert_int_equal(group_skip(&g, 2, &at), GROUP_STALE);  /* behind another */
    assert_int_equal(group_skip(&g, 5, &at), GROUP_STALE);  /* nobody's, and not passed by all */
    for (int64_t now = 10; now <= 30; now += 10) {          /* a member that dies of it each time, and another that is at work */
        assert_true(group_lease(&g, now, 2, 10, &p));
        (void)group_tick(&g, now + 10);
        if (p == 1)
            now -= 10;
    }
    while (g.partitions[0].state != GROUP_OUT)
        assert_true(group_lease(&g, 50, 2, 1000, &p));
    assert_int_equal(g.partitions[0].head_offset, 1);
    assert_int_equal(g.partitions[0].since_ms, 10);
    int64_t epoch = g.partitions[0].epoch, deliveries = g.partitions[0].deliveries;
    assert_true(deliveries >= 4);
    assert_int_equal(group_skip(&g, 1, &at), GROUP_COMMIT);
    assert_int_equal(at, 0);
    assert_true(g.partitions[0].is_dead);
    assert_int_equal(g.partitions[0].dead_offset, 1);
    assert_int_equal(g.partitions[0].dead_attempts, deliveries);
    assert_int_equal(group_cursor_of(&g, 0).settled, 1);
    assert_int_equal(group_settle(&g, 0, epoch, 1, GROUP_SUCCESS, 50, 0), GROUP_STALE);
    assert_int_equal(group_skip(&g, 1, &at), GROUP_BUSY);
    group_committed(&g, 0, false, 50, 0);                   /* it could not be written: nothing has changed, nobody has a lease */
    assert_int_equal(g.partitions[0].state, GROUP_RESTING);
    assert_int_equal(group_cursor_of(&g, 0).settled, 0);
    assert_int_equal(group_settle(&g, 0, epoch, 1, GROUP_SUCCESS, 50, 0), GROUP_STALE);
    assert_int_equal(group_skip(&g, 1, &at), GROUP_COMMIT); /* while it rests */
    group_committed(&g, 0, true, 60, 0);
    assert_int_equal(g.partitions[0].state, GROUP_READY);
    assert_int_equal(group_settle(&g, 0, epoch, 2, GROUP_SUCCESS, 60, 0), GROUP_STALE);
    assert_int_equal(group_skip(&g, 1, &at), GROUP_ALREADY); /* said again it skips nothing */
    assert_int_equal(group_skip(&g, 2, &at), GROUP_COMMIT); /* before it was given out */
    assert_int_equal(g.partitions[0].dead_attempts, 0);
    group_committed(&g, 0, true, 60, 0);
    assert_int_equal(group_skip(&g, 3, &at), GROUP_COMMIT);
    group_committed(&g, 0, true, 60, 0);
    assert_int_equal(group_cursor_of(&g, 0).settled, 6);
    assert_int_equal(group_skip(&g, 4, &at), GROUP_COMMIT);
    assert_int_equal(at, 1);
    group_committed(&g, 1, true, 60, 0);
    assert_int_equal(group_skip(&g, 4, &at), GROUP_ALREADY);
    free_all(&g);
}

/* ---- at random ---- */

enum { PARTITIONS = 5, EVENTS = 400, STEPS = 6000 };

struct world {
    struct group g;
    uint64_t random;
    int64_t now, boot;
    int64_t end;                                /* so far the log is written */
    size_t owner[EVENTS + 1];                   /* partition; PARTITIONS: of another topic */
    bool settled[EVENTS + 1];                   /* somebody was told so, or it was given up */
    struct group_cursor durable[PARTITIONS];
    struct { size_t partition; int64_t epoch, first, last; bool is_pull; } members[4];
    bool reading;
    int64_t read_from;
    int64_t floor;                              /* of the last seek */
};

static uint64_t dice(struct world *w, uint64_t sides)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (w->random >> 33) % sides;
}

/* No cursor has passed an event that nobody settled. */
static void check_durable(const struct world *w)
{
    for (int64_t o = 1; o <= w->end; o++)
        if (w->owner[o] < PARTITIONS && o > w->floor && !w->settled[o])
            assert_true(w->durable[w->owner[o]].settled < o);
}

static void begin(struct world *w)
{
    group_init(&w->g, PARTITIONS, ++w->boot);
    for (size_t i = 0; i < PARTITIONS; i++)
        group_begin(&w->g, i, w->durable[i]);
    w->reading = false;
}

static void crash(struct world *w)
{
    free_all(&w->g);
    begin(w);   /* members go on with the leases of the life before */
}

static void read_step(struct world *w)
{
    bool wait;
    if (!w->reading) {
        w->reading = group_read_next(&w->g, &w->read_from, &wait);
        return;
    }
    int64_t next = w->read_from, batch = (int64_t)dice(w, 60);
    for (int64_t o = w->read_from + 1; o <= w->end && o <= w->read_from + batch; o++, next++)
        if (w->owner[o] < PARTITIONS)
            (void)offer(&w->g, w->owner[o], w->read_from, o, 1 + dice(w, 20000));
    group_read_done(&w->g, w->read_from, next);
    w->reading = false;
}

static void commit(struct world *w, size_t p, bool may_fail)
{
    bool done = !may_fail || dice(w, 10) > 0;
    if (done) {
        struct group_cursor c = group_cursor_of(&w->g, p);
        assert_true(c.settled >= w->durable[p].settled);
        w->durable[p] = c;
        for (size_t q = 0; q < PARTITIONS; q++)     /* the others' places go with it */
            if (w->g.partitions[q].state != GROUP_SETTLING)
                w->durable[q] = group_cursor_of(&w->g, q);
    }
    group_committed(&w->g, p, done, w->now, dice(w, 1000));
    (void)free_done(&w->g);
}

static void lease_step(struct world *w)
{
    size_t m = dice(w, 4), p;
    bool is_pull = dice(w, 2) == 0;
    if (!group_lease(&w->g, w->now, 1 + dice(w, is_pull ? 4 : 1), is_pull ? 1 + (int64_t)dice(w, 300) : 0, &p))
        return;
    const struct group_partition *part = &w->g.partitions[p];
    struct list *it = part->items.next;
    int64_t first = CONTAINER_OF(it, struct group_item, link)->offset;
    /* order: everything of this partition before it was settled */
    for (int64_t o = w->floor + 1; o < first; o++)
        assert_true(w->owner[o] != p || w->settled[o] || o <= w->durable[p].settled);
    assert_true(first > w->durable[p].settled);
    assert_int_equal(w->owner[first], p);
    for (size_t n = 1; n < part->out; n++)
        it = it->next;
    w->members[m].partition = p;    /* one that it had before is forgotten: it will not come back */
    w->members[m].epoch = part->epoch;
    w->members[m].first = first;
    w->members[m].last = CONTAINER_OF(it, struct group_item, link)->offset;
    w->members[m].is_pull = is_pull;
    if (!is_pull && dice(w, 4) == 0)
        assert_int_equal(group_settle(&w->g, p, part->epoch, first, GROUP_AWAY, w->now, dice(w, 5000)), GROUP_RESTS);
}

static void settle_step(struct world *w)
{
    size_t m = dice(w, 4);
    if (w->members[m].epoch == 0)
        return;
    size_t p = w->members[m].partition;
    int64_t first = w->members[m].first, offset = first + (int64_t)dice(w, (uint64_t)(w->members[m].last - first + 1));
    enum group_outcome outcome = dice(w, 6) == 0 ? GROUP_RETRY : dice(w, 20) == 0 ? GROUP_DROP : GROUP_SUCCESS;
    enum group_answer a = group_settle(&w->g, p, w->members[m].epoch, offset, outcome, w->now, dice(w, 100000));
    if (a != GROUP_COMMIT)
        return;
    assert_int_equal(w->owner[offset], p);
    bool dead = w->g.partitions[p].is_dead;
    for (int64_t o = first; o <= offset; o++)
        if (w->owner[o] == p && (o < offset || outcome != GROUP_RETRY || dead))
            w->settled[o] = true;
    commit(w, p, true);
}

/* What a push that is lost for good (the hub's own calls always end) would leave behind. */
static void end_pushes(struct world *w)
{
    for (size_t p = 0; p < PARTITIONS; p++) {
        const struct group_partition *part = &w->g.partitions[p];
        if (part->state == GROUP_OUT && part->until_ms == INT64_MAX)
            (void)group_settle(&w->g, p, part->epoch, CONTAINER_OF(part->items.next, struct group_item, link)->offset, GROUP_AWAY, w->now,
                               dice(w, 5000));
    }
}

static void seek_step(struct world *w)
{
    int64_t to = (int64_t)dice(w, (uint64_t)w->end + 1);
    group_hold(&w->g);
    for (size_t i = 0; i < 4; i++)
        if (w->members[i].epoch != 0)
            assert_int_not_equal(group_settle(&w->g, w->members[i].partition, w->members[i].epoch, w->members[i].last, GROUP_SUCCESS, w->now, 0), GROUP_COMMIT);
    size_t none;
    assert_false(group_lease(&w->g, w->now, 1, 0, &none));
    if (dice(w, 3) == 0) {
        group_go(&w->g);
        return;
    }
    w->reading = false;
    for (size_t i = 0; i < PARTITIONS; i++)
        w->durable[i] = (struct group_cursor){.settled = to};
    group_seek(&w->g, to);
    (void)free_done(&w->g);
    w->floor = to;
    for (int64_t o = to + 1; o <= EVENTS; o++)
        w->settled[o] = false;
}

/* An operator skips what some partition begins with; whoever had it is fenced, and the same again skips nothing. */
static void skip_step(struct world *w)
{
    size_t p = dice(w, PARTITIONS), at = PARTITIONS;
    const struct group_item *head = group_head(&w->g, p);
    if (head == NULL)
        return;
    int64_t epoch = w->g.partitions[p].epoch, offset = head->offset;
    assert_int_equal(group_skip(&w->g, offset, &at), GROUP_COMMIT);
    assert_int_equal(at, p);
    assert_int_equal(group_settle(&w->g, p, epoch, offset, GROUP_SUCCESS, w->now, 0), GROUP_STALE);
    w->settled[offset] = true;
    commit(w, p, true);
    bool kept = w->g.partitions[p].cursor.settled >= offset;
    if (kept)
        assert_int_not_equal(group_skip(&w->g, offset, &at), GROUP_COMMIT);
}

/* All that is in the log is settled in the end. */
static void finish(struct world *w)
{
    for (int turn = 0; turn < 100000; turn++) {
        size_t p;
        w->now += 500;
        read_step(w);
        end_pushes(w);
        (void)group_tick(&w->g, w->now);
        while (group_lease(&w->g, w->now, 1, 0, &p)) {
            const struct group_partition *part = &w->g.partitions[p];
            int64_t o = CONTAINER_OF(part->items.next, struct group_item, link)->offset;
            assert_int_equal(group_settle(&w->g, p, part->epoch, o, GROUP_SUCCESS, w->now, 0), GROUP_COMMIT);
            w->settled[o] = true;
            commit(w, p, false);
        }
        bool all = true;
        for (int64_t o = w->floor + 1; o <= w->end; o++)
            all &= w->owner[o] >= PARTITIONS || w->settled[o];
        if (all)
            return;
    }
    fail_msg("not all was settled");
}

static void run(uint64_t seed, bool with_seek)
{
    static struct world w;
    w = (struct world){.random = seed * 2654435761u + 1};
    for (int64_t o = 1; o <= EVENTS; o++)
        w.owner[o] = dice(&w, PARTITIONS + 1);
    begin(&w);
    for (int i = 0; i < STEPS; i++) {
        w.now += (int64_t)dice(&w, 20);
        switch (dice(&w, 12)) {
        case 0:
        case 1:
            if (w.end < EVENTS)
                w.end += (int64_t)dice(&w, 3) % (EVENTS - w.end + 1);
            break;
        case 2:
        case 3:
        case 4:
            read_step(&w);
            break;
        case 5:
        case 6:
            lease_step(&w);
            break;
        case 7:
        case 8:
        case 9:
            settle_step(&w);
            break;
        case 10:
            (void)group_tick(&w.g, w.now);
            if (dice(&w, 3) == 0)
                end_pushes(&w);
            break;
        default:
            if (dice(&w, 60) == 0)
                crash(&w);
            else if (dice(&w, 20) == 0)
                skip_step(&w);
            else if (with_seek && dice(&w, 60) == 0)
                seek_step(&w);
        }
        check_durable(&w);
    }
    w.end = EVENTS;
    finish(&w);
    check_durable(&w);
    free_all(&w.g);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++)
        run(seed, false);
}

static void test_random_with_seek(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++)
        run(seed, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order), cmocka_unit_test(test_lease_of_several), cmocka_unit_test(test_fencing), cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_one_stands_still), cmocka_unit_test(test_sizes), cmocka_unit_test(test_keys), cmocka_unit_test(test_skip), cmocka_unit_test(test_random),
        cmocka_unit_test(test_random_with_seek),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
