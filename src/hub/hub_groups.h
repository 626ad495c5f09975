/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumer groups in the hub: hub_groups.c (their life, reading the log), hub_deliver.c (posting events to services),
 * hub_commit.c (cursors and dead letters, one transaction of the log), hub_groups_api.c (leases, settling, seek), hub_lag.c
 * (how far every consumer is). What is decided is decided by group.h.
 *
 * Loop thread. A group has one read and one commit under way at most; each partition one call. A commit takes the cursors of all
 * partitions that settle at that moment, so many partitions share a synced write, and share it with whatever is published meanwhile.
 *
 * Failures: the service does not answer: the partition rests and tries again, for ever, the others go on. The log cannot be written:
 * nothing is settled, what was out comes again. The log cannot be read: again after a second. kill -9: the next hub begins behind the
 * cursors.
 */
#ifndef FICUS_HUB_GROUPS_H
#define FICUS_HUB_GROUPS_H

#include "elog_record.h"
#include "group_store.h"
#include "hub_private.h"

enum {
    GROUP_READ_WAIT_MS = 60000,
    GROUP_READ_AGAIN_MS = 1000,     /* after one that failed */
    GROUP_REASON_SIZE = 256,
    GROUP_ANSWER_SIZE_MAX = 64 * 1024,
};

/* An event that waits. */
struct hub_item {
    struct group_item item; /* first */
    struct event ev;        /* borrows from packed; its offset is its place in the log, also of one that was redriven */
    char packed[];
};

/* One call at a time. */
struct hub_delivery {
    struct hub_group *group;
    size_t partition;
    int64_t epoch, offset;
    struct call_fetch *fetch; /* NULL: none is under way */
    struct buf body;
    struct trace_context trace;
};

struct hub_group_row {
    size_t partition;
    struct group_cursor cursor;
};

struct hub_group {
    struct hub *hub;
    const struct hub_group_config *config;
    char *topics; /* comma-separated; with its redrives */
    struct group g;
    struct env_timer timer;
    /* reading */
    struct elog_reader *reader;
    bool reading, reading_waits;
    int64_t read_from, read_again_ms; /* the latter: not before; after a failure */
    int64_t lost_told;
    /* delivering and leasing */
    struct hub_delivery deliveries[GROUP_PARTITIONS_MAX];
    char reasons[GROUP_PARTITIONS_MAX][GROUP_REASON_SIZE]; /* why it was not done, the last time */
    struct list waiting;                                   /* exchanges */
    struct hub_exchange *settlers[GROUP_PARTITIONS_MAX];   /* who wait for the commit */
    /* committing */
    bool committing;
    struct hub_group_row rows[GROUP_PARTITIONS_MAX]; /* the job's */
    size_t row_count;
    struct group_cursor written[GROUP_PARTITIONS_MAX];
    struct hub_exchange *seeker; /* seeks, or waits for the commit before it may */
    bool seeking;                /* the commit is the seek's */
};

struct hub_groups {
    struct hub *hub;
    struct hub_group *list;
    size_t count;
    struct metric_family *settled;
    /* nothing more is begun but commits; cut_off: nor these */
    bool stopping, cut_off;
    struct env_timer end; /* so long what is under way may take */
    void (*closed)(struct hub *h);
};

/* hub_groups.c */
/* Before the loop runs. Nothing to be done when there are none. */
enum ficus_err hub_groups_open(struct hub *h, struct ficus_error *reterr);
/* Nothing more is delivered or leased; who waits for a lease is answered. */
void hub_groups_stop(struct hub *h);
/* closed comes when nothing is under way any more, at the latest after HUB_STOP_MS_MAX and a commit; perhaps before the return. So that a
 * planned restart of the hub lets nothing come twice that ends in time. */
void hub_groups_close(struct hub *h, void (*closed)(struct hub *h));
void hub_groups_closed_if_idle(struct hub_groups *groups); /* something has ended while closing; the hub may be gone at return */
void hub_groups_free(struct hub *h); /* when the log is closed */
void hub_groups_end(struct hub_exchange *x); /* the stream has ended */
/* Services have come: whoever did not answer is tried at once. */
void hub_groups_wake(struct hub *h);
/* Something has changed: look, in the next turn of the loop, what there is to do. */
void hub_group_kick(struct hub_group *gr);
void hub_group_items_free(struct hub_group *gr, size_t partition);
void hub_group_read_cancel(struct hub_group *gr);
struct hub_group *hub_group_find(struct hub *h, struct slice name);

/* hub_deliver.c: post what is to be posted. */
void hub_deliver_all(struct hub_group *gr);
void hub_deliver_cancel(struct hub_group *gr);
/* An operator skips the event at this offset: it becomes a dead letter, if it is the first of its partition (group_skip). reason: who and
 * why. GROUP_COMMIT: *ret_partition commits. */
enum group_answer hub_group_skip(struct hub_group *gr, int64_t uid, int64_t offset, const char *reason, size_t *ret_partition);
/* What became of the first event of a lease; settles, logs, counts. reason: for dead letters. */
enum group_answer hub_group_settle(struct hub_group *gr, size_t partition, int64_t epoch, int64_t offset, enum group_outcome outcome,
                                   const char *reason);

/* hub_commit.c: commit what settles, or begin a seek that waits. */
void hub_commit_start(struct hub_group *gr);

/* hub_flows.c: cursors were committed, or some were not. */
void hub_flows_group_moved(const struct hub_group *gr);

/* hub_groups_api.c */
void hub_groups_lease(struct hub_exchange *x, struct slice body);
void hub_groups_settle(struct hub_exchange *x, struct slice body);
void hub_groups_seek(struct hub_exchange *x, struct slice body);
void hub_groups_skip(struct hub_exchange *x, struct slice body);
/* Give leases to those who wait, as long as there are some. */
void hub_lease_all(struct hub_group *gr);
void hub_group_settle_answer(struct hub_exchange *x, enum ficus_err err, const char *detail);
void hub_group_seek_answer(struct hub_exchange *x, enum ficus_err err, const char *detail);

/* ---- hub_lag.c ---- */

/* A consumer that keeps its own place, as libficus does. */
struct hub_consumer {
    const char *name;
    char *topics;
    int64_t after, seen_ms; /* of its last pull; seen_ms 0: it never came */
    size_t pulls;           /* under way */
};

struct hub_lag {
    struct hub_consumer *consumers;
    size_t count;
    struct metric_family *lag, *age;
    struct env_timer timer;
    bool counting;
};

enum ficus_err hub_lag_open(struct hub *h, struct ficus_error *reterr);
void hub_lag_stop(struct hub *h);
void hub_lag_free(struct hub *h);
void hub_lag_get(struct hub_exchange *x, struct slice body);
void hub_lag_pull(struct hub_exchange *x, int64_t after); /* somebody pulls behind this offset */
void hub_lag_end(struct hub_exchange *x);                 /* the pull is over */
/* topics of a consumer with commas, and its redrives; the caller's. NULL: out of memory. */
char *hub_consumer_topics(const struct hub_config *c, const char *name);

#endif
