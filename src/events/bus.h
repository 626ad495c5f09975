/* SPDX-License-Identifier: Apache-2.0
 *
 * What outbox relays and consumers need of a broker, as a table: the hub over HTTP (bus_hub.c), the log in the same
 * process (hub itself), NATS and Kafka later. Loop thread; callbacks exactly once. What it promises is also a suite of
 * tests that each of them passes: tests/unit/events/bus_contract.h.
 */
#ifndef FICUS_EVENTS_BUS_H
#define FICUS_EVENTS_BUS_H

#include "call.h"
#include "event.h"

struct bus;
struct bus_ops {
    /* Publish in order; done(OK) only after all are synced in the log. An event that is published again (not further
     * back than EVENT_AGAIN_MAX) is dropped and counts as done. batch: JSON array of CloudEvents, borrowed until done.
     * DENIED / INVALID: will never work (say so in logs); others: try again. */
    enum ficus_err (*publish)(struct bus *b, struct slice batch, void (*done)(void *arg, enum ficus_err err,
        const char *detail), void *arg);
    /* Events of the topics (comma-separated) after `offset`, at most count_max, oldest first; waits up to wait_ms for
     * the first. events: borrowed until done returns; their offsets ascend. next: everything up to this offset has
     * been seen (>= the last event's). */
    enum ficus_err (*pull)(struct bus *b, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms,
                           void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count,
                           int64_t next), void *arg);
    void (*cancel_pull)(struct bus *b);     /* a waiting pull of this bus object: done will not fire */
};
struct bus {
    const struct bus_ops *ops;
    /* Inside pull's done: what is missing between the offset that was asked for and the events. */
    const struct event_cut *cuts;
    size_t cut_count;
};

/* The hub of the system through the call engine (callee "hub": POST /v1/events, GET /v1/events). One object per
 * puller or relay. */
enum ficus_err bus_hub_new(struct env *e, struct call_engine *g, struct bus **ret_bus);
void bus_hub_free(struct bus *b);       /* cancels */

#endif
