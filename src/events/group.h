/* SPDX-License-Identifier: Apache-2.0
 *
 * A consumer group as a pure state machine: events and the time in, decisions out; no I/O, no clock, no memory of its own but
 * the struct. Who reads the log, calls services, answers members and writes cursors is the hub (hub_groups.c).
 *
 * The events of a group are spread over its partitions by key. Each partition goes through its events strictly one behind the
 * other, all partitions side by side:
 *
 *              offered            leased                 settled            committed
 *      IDLE ------------> READY ------------> OUT ------------------> SETTLING ----------> IDLE, READY (the next one), OUT (the
 *                           ^                  |                          |                                  rest of the lease)
 *                           |     no answer,   v        refused           v
 *                           +--------------- RESTING <--------------------+ (its time is up: READY)
 *     IDLE .. RESTING but SETTLING -> SETTLING: its first event is skipped by an operator (group_skip)
 *
 * Nothing is settled before its cursor is committed, and the next event goes out only then. So after a crash at most what was
 * out comes twice, nothing is skipped, and the order of a key holds.
 *
 * Reading. Each partition says up to which offset its events were read (loaded). One read serves all that stand at its
 * beginning. A partition whose queue is full is left behind by a read, at the event that it had no room for, and reads again
 * from there when it has some: so a partition that does not get on holds up none of the others, however long, and memory is
 * bounded.
 *
 * Fencing. Each lease has an epoch, larger than any before, also of earlier lives (boot). What is said under another
 * than the partition's present one is stale and changes nothing.
 */
#ifndef FICUS_EVENTS_GROUP_H
#define FICUS_EVENTS_GROUP_H

#include "list.h"
#include "slice.h"

enum {
    GROUP_PARTITIONS_MAX = 64,
    GROUP_LEASE_MAX = 32,               /* events in one lease */
    GROUP_QUEUE_COUNT = 32,             /* of a partition; */
    GROUP_QUEUE_SIZE = 256 * 1024,      /* and bytes, but always one event */
    GROUP_READ_COUNT = 256,             /* events in a read, at most */
};

/* An event that waits in a partition; its owner puts it at the head of a struct of his own. */
struct group_item {
    struct list link;
    int64_t offset;
    size_t size;
};

enum group_state { GROUP_IDLE, GROUP_READY, GROUP_OUT, GROUP_SETTLING, GROUP_RESTING };
enum group_outcome {
    GROUP_SUCCESS,      /* it is done, with all before it in the lease */
    GROUP_RETRY,        /* refused: counted, again after a back-off; at the EVENT_REFUSALS_MAX-th time given up */
    GROUP_DROP,         /* it is not to come again */
    GROUP_AWAY,         /* nobody answered, not now, or given back: again after a back-off, as often as it takes */
};
enum group_answer {
    GROUP_STALE,        /* of a lease that is over; nothing has changed */
    GROUP_ALREADY,      /* was settled before */
    GROUP_COMMIT,       /* SETTLING: write the cursor (group_cursor_of; is_dead: with the dead letter of the event at dead_offset), then say
                           group_committed */
    GROUP_RESTS,        /* it comes again after a back-off */
    GROUP_BUSY,         /* of group_skip: it is being settled at this moment */
};

/* What is durable of a partition. */
struct group_cursor {
    int64_t settled;                    /* everything up to there is settled */
    int64_t refused, refused_offset;    /* how often the event at that offset was refused; 0: never */
};

struct group_partition {
    struct list items;                  /* struct group_item, offsets ascending */
    size_t count, size;
    enum group_state state;
    struct group_cursor cursor;         /* as committed */
    int64_t loaded;
    int64_t epoch;                      /* of the last lease */
    size_t out;                         /* so many from the head are leased */
    int64_t until_ms;                   /* RESTING: the rest's end; OUT: the lease's; INT64_MAX: none */
    int64_t lease_ms;                   /* of that */
    uint32_t tries;                     /* without an answer, in a row */
    /* Of the event at the head: since this life began it was leased so often, and first at that time; 0: never */
    int64_t head_offset, deliveries, since_ms;
    /* SETTLING */
    enum group_outcome outcome;
    int64_t settle_to;                  /* the cursor, when it is committed */
    int64_t refused, refused_offset;
    bool is_dead;
    int64_t dead_offset, dead_attempts; /* refusals; of one that is skipped, deliveries */
    int64_t rest_ms;
    bool in_commit;                     /* the hub's: its cursor is being written */
    bool cut;                           /* it had no room for an event of the read that is being offered */
    struct list done;                   /* for group_take */
};

struct group {
    size_t partition_count;
    struct group_partition partitions[GROUP_PARTITIONS_MAX];
    int64_t epoch;
    size_t next_lease;                  /* partitions take turns */
    bool read_behind;                   /* the read before last went to those behind */
    bool held;                          /* no lease: the cursors are being moved (group_hold) */
};

/* count: 1..GROUP_PARTITIONS_MAX. All begin at offset 0. boot: larger than that of any life before, under 2^20. */
void group_init(struct group *g, size_t count, int64_t boot);
/* Before anything else: a partition begins behind what is settled there. */
void group_begin(struct group *g, size_t partition, struct group_cursor cursor);
/* Where a key's events go. The same for ever: a hash that has no secret and does not depend on the machine. */
size_t group_partition_of(const struct group *g, struct slice key);

/* ---- reading ---- */

/* What to read next: events behind *ret_from; *ret_wait: all that have room are at the end, wait there for events. False: nobody has room. */
bool group_read_next(struct group *g, int64_t *ret_from, bool *ret_wait);
/* How many events to read from there: about as many as have room, when keys are spread evenly. */
size_t group_read_count(const struct group *g, int64_t from);
/* Is there room for a read that would bring something at once, so that one that waits at `from` had better be given up? */
bool group_read_better(const struct group *g, int64_t from);
/* Is the partition interested in the event at this offset, of a read from `from`? Else it was elsewhere, or has no room and reads it again. */
bool group_wants(const struct group *g, size_t partition, int64_t from, int64_t offset);
/* One event of a read from `from`, oldest first. True: taken, item is the group's until group_take; false: not wanted, or no room. */
bool group_offer(struct group *g, size_t partition, int64_t from, struct group_item *item);
/* The read is over: everything up to next was seen. */
void group_read_done(struct group *g, int64_t from, int64_t next);

/* ---- leases ---- */

/* Lease up to count_max events of a partition that is READY (in turn) to somebody, until lease_ms from now (0: without an end). False: there
 * is none. Its events are the first partitions[*ret_partition].out of items; it is under its epoch. */
bool group_lease(struct group *g, int64_t now_ms, size_t count_max, int64_t lease_ms, size_t *ret_partition);
/* What became of the event at this offset, under that epoch. random: for the back-off (full jitter). */
enum group_answer group_settle(struct group *g, size_t partition, int64_t epoch, int64_t offset, enum group_outcome outcome, int64_t now_ms,
                               uint64_t random);
/* The event at this offset becomes a dead letter without a refusal, if it is the first one that a partition has: GROUP_COMMIT, as of
 * group_settle; whoever has it out is fenced. Of no other event, so who says it twice skips one: GROUP_ALREADY: what had it has settled
 * it; GROUP_STALE: no partition begins with it; GROUP_BUSY. */
enum group_answer group_skip(struct group *g, int64_t offset, size_t *ret_partition);
/* The first event of a partition; NULL: it has none. */
struct group_item *group_head(const struct group *g, size_t partition);
/* The cursor that a SETTLING partition wants to be committed; of others, how far it is at present, without a wait for its next commit:
 * what is not the group's or was read and is nobody's counts as settled. */
struct group_cursor group_cursor_of(const struct group *g, size_t partition);
/* The commit of a SETTLING partition ended. done: the cursor is in the log; else the lease goes on as if nothing had been said, one without an
 * end rests and is leased again. */
void group_committed(struct group *g, size_t partition, bool done, int64_t now_ms, uint64_t random);
/* Items that are settled: to be freed. NULL: there are no more. */
struct group_item *group_take(struct group *g, size_t partition);
/* Rests and leases that are over. Returns when to call again, INT64_MAX: not by the time. */
int64_t group_tick(struct group *g, int64_t now_ms);

/* Whoever rests because nobody answered need not any more. */
void group_wake(struct group *g, int64_t now_ms);

/* ---- seek ---- */

/* What is out is fenced, nothing is leased until group_go. No partition may be SETTLING. */
void group_hold(struct group *g);
/* Without a move: all that was out comes again. */
void group_go(struct group *g);
/* Held, and the cursors are committed: all partitions go on behind this offset. Every item comes out of group_take. */
void group_seek(struct group *g, int64_t offset);

#endif
