/* SPDX-License-Identifier: Apache-2.0 */
#include "group.h"

#include "assert.h"
#include "event.h"
#include "map.h"
#include "mem.h"

enum { EPOCH_BITS = 32, SHIFT_MAX = 16 };

void group_init(struct group *g, size_t count, int64_t boot)
{
    FICUS_ASSERT(count >= 1 && count <= GROUP_PARTITIONS_MAX);
    *g = (struct group){.partition_count = count, .epoch = boot << EPOCH_BITS};
    for (size_t i = 0; i < count; i++) {
        list_init(&g->partitions[i].items);
        list_init(&g->partitions[i].done);
    }
}

void group_begin(struct group *g, size_t partition, struct group_cursor cursor)
{
    g->partitions[partition].cursor = cursor;
    g->partitions[partition].loaded = cursor.settled;
}

size_t group_partition_of(const struct group *g, struct slice key)
{
    static const uint64_t nobodys[2] = {0, 0};
    return (size_t)(hash_sip13(nobodys, key.p, key.size) % g->partition_count);
}

static struct group_item *head_of(const struct group_partition *p)
{
    return p->count == 0 ? NULL : CONTAINER_OF(p->items.next, struct group_item, link);
}

/* Of the events that wait, but for those up to an offset. */
static struct group_item *first_behind(const struct group_partition *p, int64_t offset)
{
    LIST_FOREACH(&p->items, it) {
        struct group_item *item = CONTAINER_OF(it, struct group_item, link);
        if (item->offset > offset)
            return item;
    }
    return NULL;
}

/* ---- reading ---- */

/* Half empty, so that a partition that was behind reads several at once. */
static bool has_room(const struct group_partition *p)
{
    return p->count <= GROUP_QUEUE_COUNT / 2 && p->size <= GROUP_QUEUE_SIZE / 2;
}

static int64_t front_of(const struct group *g)
{
    int64_t front = 0;
    for (size_t i = 0; i < g->partition_count; i++)
        if (g->partitions[i].loaded > front)
            front = g->partitions[i].loaded;
    return front;
}

/* The smallest place behind the front where somebody has room; -1: none. */
static int64_t behind_of(const struct group *g, int64_t front, bool *ret_at_front)
{
    int64_t behind = -1;
    *ret_at_front = false;
    for (size_t i = 0; i < g->partition_count; i++) {
        const struct group_partition *p = &g->partitions[i];
        if (!has_room(p))
            continue;
        *ret_at_front |= p->loaded == front;
        if (p->loaded < front && (behind < 0 || p->loaded < behind))
            behind = p->loaded;
    }
    return behind;
}

bool group_read_next(struct group *g, int64_t *ret_from, bool *ret_wait)
{
    bool at_front;
    int64_t front = front_of(g), behind = behind_of(g, front, &at_front);
    if (behind < 0 && !at_front)
        return false;
    /* by turns: neither waits for the other */
    bool take_behind = behind >= 0 && (!at_front || !g->read_behind);
    *ret_from = take_behind ? behind : front;
    *ret_wait = behind < 0;
    g->read_behind = take_behind;
    return true;
}

size_t group_read_count(const struct group *g, int64_t from)
{
    size_t room = 0, standing = 0;
    for (size_t i = 0; i < g->partition_count; i++) {
        const struct group_partition *p = &g->partitions[i];
        if (p->loaded < from || p->count >= GROUP_QUEUE_COUNT)
            continue;
        standing++;
        room += GROUP_QUEUE_COUNT - p->count;
    }
    size_t count = standing == 0 ? 1 : room * g->partition_count / standing;
    return count < GROUP_READ_COUNT ? count : GROUP_READ_COUNT;
}

bool group_read_better(const struct group *g, int64_t from)
{
    bool at_front;
    int64_t front = front_of(g);
    int64_t behind = behind_of(g, front, &at_front);
    return behind >= 0 && behind < from;
}

bool group_wants(const struct group *g, size_t partition, int64_t from, int64_t offset)
{
    const struct group_partition *p = &g->partitions[partition];
    return p->loaded >= from && offset > p->loaded && !p->cut;
}

bool group_offer(struct group *g, size_t partition, int64_t from, struct group_item *item)
{
    struct group_partition *p = &g->partitions[partition];
    if (!group_wants(g, partition, from, item->offset))
        return false;
    p->cut = p->count > 0 && (p->count >= GROUP_QUEUE_COUNT || p->size + item->size > GROUP_QUEUE_SIZE);
    if (p->cut)
        return false;
    list_add_tail(&p->items, &item->link);
    p->count++;
    p->size += item->size;
    p->loaded = item->offset;
    if (p->state == GROUP_IDLE)
        p->state = GROUP_READY;
    return true;
}

void group_read_done(struct group *g, int64_t from, int64_t next)
{
    for (size_t i = 0; i < g->partition_count; i++) {
        struct group_partition *p = &g->partitions[i];
        if (!p->cut && p->loaded >= from && p->loaded < next)
            p->loaded = next;
        p->cut = false;
    }
}

/* ---- leases ---- */

static void head_delivered(struct group_partition *p, int64_t now_ms)
{
    int64_t offset = head_of(p)->offset;
    if (p->head_offset != offset) {
        p->deliveries = 0;
        p->since_ms = now_ms;
    }
    p->head_offset = offset;
    p->deliveries++;
}

bool group_lease(struct group *g, int64_t now_ms, size_t count_max, int64_t lease_ms, size_t *ret_partition)
{
    FICUS_ASSERT(count_max >= 1);
    for (size_t n = 0; n < g->partition_count && !g->held; n++) {
        size_t i = (g->next_lease + n) % g->partition_count;
        struct group_partition *p = &g->partitions[i];
        if (p->state != GROUP_READY)
            continue;
        if (count_max > GROUP_LEASE_MAX)
            count_max = GROUP_LEASE_MAX;
        p->state = GROUP_OUT;
        p->epoch = ++g->epoch;
        p->out = p->count < count_max ? p->count : count_max;
        p->lease_ms = lease_ms;
        p->until_ms = lease_ms > 0 ? now_ms + lease_ms : INT64_MAX;
        head_delivered(p, now_ms);
        g->next_lease = i + 1;
        *ret_partition = i;
        return true;
    }
    return false;
}

/* Full jitter: anything from 1 ms to the doubled step, so that what was refused together does not come again together. */
static int64_t back_off(int64_t times, uint64_t random)
{
    int64_t ms = (int64_t)EVENT_BACKOFF_MS_MIN << (times < SHIFT_MAX ? times : SHIFT_MAX);
    if (ms > EVENT_BACKOFF_MS_MAX)
        ms = EVENT_BACKOFF_MS_MAX;
    return 1 + (int64_t)(random % (uint64_t)ms);
}

static void rest(struct group_partition *p, int64_t now_ms, int64_t ms)
{
    p->state = GROUP_RESTING;
    p->until_ms = now_ms + ms;
    p->out = 0;
}

static bool is_out(const struct group_partition *p, int64_t offset)
{
    size_t n = 0;
    LIST_FOREACH(&p->items, it) {
        if (n++ == p->out)
            break;
        if (CONTAINER_OF(it, struct group_item, link)->offset == offset)
            return true;
    }
    return false;
}

/* How far is settled when everything up to this offset is: what lies between two events is not of this partition. */
static int64_t settled_by(const struct group_partition *p, int64_t offset)
{
    const struct group_item *next = first_behind(p, offset);
    return next != NULL ? next->offset - 1 : p->loaded > offset ? p->loaded : offset;
}

enum group_answer group_settle(struct group *g, size_t partition, int64_t epoch, int64_t offset, enum group_outcome outcome, int64_t now_ms,
                               uint64_t random)
{
    if (partition >= g->partition_count)
        return GROUP_STALE;
    struct group_partition *p = &g->partitions[partition];
    if (epoch != p->epoch || epoch == 0)
        return GROUP_STALE;
    if (offset <= p->cursor.settled)
        return GROUP_ALREADY;
    if (p->state != GROUP_OUT || !is_out(p, offset))
        return GROUP_STALE;
    if (outcome == GROUP_AWAY) {
        rest(p, now_ms, back_off(p->tries++, random));
        return GROUP_RESTS;
    }
    p->state = GROUP_SETTLING;
    p->outcome = outcome;
    p->tries = 0;
    p->refused = p->refused_offset = 0;
    p->is_dead = false;
    if (outcome != GROUP_RETRY) {
        p->settle_to = settled_by(p, offset);
        return GROUP_COMMIT;
    }
    int64_t refused = 1 + (p->cursor.refused_offset == offset ? p->cursor.refused : 0);
    if (refused >= EVENT_REFUSALS_MAX) {
        p->is_dead = true;
        p->dead_offset = offset;
        p->dead_attempts = refused;
        p->settle_to = settled_by(p, offset);
        p->outcome = GROUP_DROP;
    } else {
        p->settle_to = offset - 1;
        p->refused = refused;
        p->refused_offset = offset;
        p->rest_ms = back_off(refused - 1, random);
    }
    return GROUP_COMMIT;
}

struct group_item *group_head(const struct group *g, size_t partition)
{
    return head_of(&g->partitions[partition]);
}

enum group_answer group_skip(struct group *g, int64_t offset, size_t *ret_partition)
{
    for (size_t i = 0; i < g->partition_count; i++) {
        struct group_partition *p = &g->partitions[i];
        const struct group_item *head = head_of(p);
        if (head == NULL || head->offset != offset)
            continue;
        if (p->state == GROUP_SETTLING || g->held)
            return GROUP_BUSY;
        p->state = GROUP_SETTLING;
        p->outcome = GROUP_DROP;
        p->epoch = ++g->epoch;
        p->out = 0;
        p->lease_ms = 0;        /* when it cannot be written, nobody has a lease that would go on */
        p->tries = 0;
        p->refused = p->refused_offset = 0;
        p->is_dead = true;
        p->dead_offset = offset;
        p->dead_attempts = p->head_offset == offset ? p->deliveries : 0;
        p->settle_to = settled_by(p, offset);
        *ret_partition = i;
        return GROUP_COMMIT;
    }
    /* an offset belongs to one partition, so the least cursor says nothing; all do */
    for (size_t i = 0; i < g->partition_count; i++)
        if (group_cursor_of(g, i).settled < offset)
            return GROUP_STALE;
    return GROUP_ALREADY;
}

struct group_cursor group_cursor_of(const struct group *g, size_t partition)
{
    const struct group_partition *p = &g->partitions[partition];
    struct group_cursor c = p->cursor;
    if (p->state == GROUP_SETTLING)
        return (struct group_cursor){p->settle_to, p->refused, p->refused_offset};
    const struct group_item *head = head_of(p);
    int64_t settled = head != NULL ? head->offset - 1 : p->loaded;
    if (settled > c.settled)
        c.settled = settled;
    return c;
}

static void items_done(struct group_partition *p, int64_t upto)
{
    for (struct group_item *item; (item = head_of(p)) != NULL && item->offset <= upto;) {
        list_remove(&item->link);
        list_add_tail(&p->done, &item->link);
        p->count--;
        p->size -= item->size;
        p->out -= p->out > 0 ? 1 : 0;
    }
}

void group_committed(struct group *g, size_t partition, bool done, int64_t now_ms, uint64_t random)
{
    struct group_partition *p = &g->partitions[partition];
    FICUS_ASSERT(p->state == GROUP_SETTLING);
    if (!done && p->lease_ms > 0) {
        p->state = GROUP_OUT;
        return;
    }
    if (!done) {
        rest(p, now_ms, back_off(p->tries++, random));
        return;
    }
    p->cursor = (struct group_cursor){p->settle_to, p->refused, p->refused_offset};
    items_done(p, p->settle_to);
    if (p->outcome == GROUP_RETRY) {
        rest(p, now_ms, p->rest_ms);
    } else if (p->out > 0) {
        p->state = GROUP_OUT;
        p->until_ms = p->lease_ms > 0 ? now_ms + p->lease_ms : INT64_MAX;
        head_delivered(p, now_ms);
    } else {
        p->state = p->count > 0 ? GROUP_READY : GROUP_IDLE;
    }
}

struct group_item *group_take(struct group *g, size_t partition)
{
    struct list *it = list_pop_head(&g->partitions[partition].done);
    return it == NULL ? NULL : CONTAINER_OF(it, struct group_item, link);
}

int64_t group_tick(struct group *g, int64_t now_ms)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < g->partition_count; i++) {
        struct group_partition *p = &g->partitions[i];
        if (p->state != GROUP_RESTING && p->state != GROUP_OUT)
            continue;
        if (p->until_ms <= now_ms) {
            p->state = GROUP_READY;
            p->out = 0;
        } else if (p->until_ms < next) {
            next = p->until_ms;
        }
    }
    return next;
}

void group_wake(struct group *g, int64_t now_ms)
{
    for (size_t i = 0; i < g->partition_count; i++) {
        struct group_partition *p = &g->partitions[i];
        if (p->state == GROUP_RESTING && p->tries > 0 && p->until_ms > now_ms)
            p->until_ms = now_ms;
    }
}

/* ---- seek ---- */

void group_hold(struct group *g)
{
    g->held = true;
    for (size_t i = 0; i < g->partition_count; i++) {
        struct group_partition *p = &g->partitions[i];
        FICUS_ASSERT(p->state != GROUP_SETTLING);
        p->epoch = ++g->epoch;
        p->out = 0;
        if (p->state == GROUP_OUT)
            p->state = GROUP_READY;
    }
}

void group_go(struct group *g)
{
    g->held = false;
}

void group_seek(struct group *g, int64_t offset)
{
    FICUS_ASSERT(g->held);
    for (size_t i = 0; i < g->partition_count; i++) {
        struct group_partition *p = &g->partitions[i];
        items_done(p, INT64_MAX);
        p->state = GROUP_IDLE;
        p->cursor = (struct group_cursor){.settled = offset};
        p->loaded = offset;
        p->tries = 0;
        p->head_offset = p->deliveries = 0;
        p->cut = false;
    }
    g->read_behind = false;
    group_go(g);
}
