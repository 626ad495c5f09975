/* SPDX-License-Identifier: Apache-2.0
 *
 * Transactional outbox and the relay that empties it, inbox and consumer offsets: the two ends of "exactly once".
 * Tables (in the service's own database, made by outbox_migrations): ficus_outbox(seq INTEGER PRIMARY KEY
 * AUTOINCREMENT, event TEXT), ficus_inbox(consumer TEXT PRIMARY KEY, next_offset INTEGER, attempts INTEGER),
 * ficus_dead(source TEXT, id TEXT): events that were given up; and those of the event store (estore.h).
 */
#ifndef FICUS_EVENTS_OUTBOX_H
#define FICUS_EVENTS_OUTBOX_H

#include "bus.h"
#include "db.h"

extern const struct db_migration events_migrations[];
extern const size_t events_migration_count;

/* [worker, inside the transaction whose effects the event tells of] */
enum ficus_err outbox_add(struct db_conn *c, const struct event *ev, struct ficus_error *reterr);

/* The relay: publishes rows in the order of commits and deletes what the log acknowledged. The delete rides on the next
 * transaction that runs anyway (outbox_trim, called by the chassis at the start of a write transaction), or on its own
 * after 5 s of quiet, and before there are more than EVENT_AGAIN_MAX of them. A row published twice after a crash is dropped
 * by the log.
 * While the bus is away: back-off 100 ms doubling to 3 s with jitter, for ever. */
struct outbox_relay;
enum ficus_err outbox_relay_new(struct env *e, struct db *d, struct bus *b, struct outbox_relay **ret_relay);
void outbox_relay_kick(struct outbox_relay *r);     /* [any] something was committed; not after outbox_relay_close */
/* [worker, in a transaction] */
enum ficus_err outbox_trim(struct outbox_relay *r, struct db_conn *c, struct ficus_error *reterr);
/* Ends after the publish that runs; what is not published stays for the next process. Free the bus only after
 * closed. */
void outbox_relay_close(struct outbox_relay *r, void (*closed)(void *arg), void *arg);
int64_t outbox_relay_pending(const struct outbox_relay *r);  /* rows not acknowledged, approximately, for metrics */

/* [loop] Why it cannot publish at present (the row that fails keeps all later ones back, it is never skipped), for
 * logs; OK when it can. The text is borrowed until the next turn of the loop. DENIED and INVALID need a person. */
enum ficus_err outbox_relay_error(const struct outbox_relay *r, const char **ret_detail);

/* [worker, in the transaction] Is this event new to the consumer? true: process it; the offset is advanced in the
 * same transaction. false: it was processed before, skip. */
enum ficus_err inbox_accept(struct db_conn *c, const char *consumer, int64_t offset, bool *ret_is_new,
                            struct ficus_error *reterr);
/* Where to go on after a restart, as consumer_options.offset: the offset of the last event processed, 0 for a new
 * consumer. [worker] */
enum ficus_err inbox_position(struct db_conn *c, const char *consumer, int64_t *ret_offset, int64_t *ret_attempts,
                              struct ficus_error *reterr);
/* The handler refused the event: count it, durably. Returns the count so far. [worker, in a transaction] */
enum ficus_err inbox_refused(struct db_conn *c, const char *consumer, int64_t *ret_attempts,
                             struct ficus_error *reterr);

/* The consumer got past this event without an effect, by a dead letter. [worker, in the transaction that says so] */
enum ficus_err inbox_give_up(struct db_conn *c, const struct event *ev, struct ficus_error *reterr);
/* It comes again. *ret_given_up false: this store never gave it up, as one that was built anew by a handler that takes it, or it
 * was taken back before: skip it. [worker, in the transaction of its effects] */
enum ficus_err inbox_take_back(struct db_conn *c, const struct event *ev, bool *ret_given_up, struct ficus_error *reterr);

/* The puller: reads batches from the bus and hands events one by one to deliver(), which must end with
 * consumer_next(). */
struct consumer;
struct consumer_options {
    const char *name;                   /* the consumer group: the service's name */
    const char *topics;                 /* comma-separated */
    int64_t offset;                     /* from inbox_position */
    /* Deliver one event [loop]; it is borrowed until consumer_next, or closed. */
    void (*deliver)(void *arg, struct consumer *c, const struct event *ev);
    /* Events of the topic behind `after` and up to `upto` are gone from the log: retention removed them before this
     * consumer came. It goes on with what is there. May be NULL. */
    void (*lost)(void *arg, struct slice topic, int64_t after, int64_t upto);
    /* Once: everything up to the log's end was delivered; until then pulls do not wait for events. May be NULL. */
    void (*caught_up)(void *arg);
    void *arg;
};
enum ficus_err consumer_new(struct env *e, struct bus *b, const struct consumer_options *o,
                            struct consumer **ret_consumer);
/* done: go on with the next event; else deliver the same again after delay_ms. */
void consumer_next(struct consumer *c, bool done, int64_t delay_ms);     /* [loop] also from inside deliver() */
/* [loop] Why it cannot pull at present, OK when it can. CONFLICT: the log does not know the consumer's offset, so it
 * is another log. */
enum ficus_err consumer_error(const struct consumer *c, const char **ret_detail);
/* [loop] At any time; an event that is being delivered needs no consumer_next and stays readable until closed. Free
 * the bus only after closed. */
void consumer_close(struct consumer *c, void (*closed)(void *arg), void *arg);

#endif
