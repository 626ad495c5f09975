/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process knows of its edges, whichever of its loops made the call: breaker, retry budget, places of the
 * bulkhead, ejected addresses. The engine of each loop has connections and calls of its own, and all of them this.
 *
 * Threads: any. Reading needs no lock: each value that a call looks at is one atomic, and whatever it was a moment ago
 * was true then. Changes are made by the pure functions of call_core, call_eject and call_limit under the edge's mutex,
 * in one order; nobody calls back or waits under it. As long as all is well nothing changes but the number of calls in
 * the bulkhead.
 */
#ifndef FICUS_CALL_SHARED_H
#define FICUS_CALL_SHARED_H

#include "call_core.h"
#include "call_eject.h"
#include "call_limit.h"
#include "list.h"
#include "metrics.h"

#include <pthread.h>
#include <stdatomic.h>

struct call_shared;

/* Places of an edge and who waits for one. */
struct call_bulkhead {
    atomic_int_fast64_t places;         /* how many calls may run; INT64_MAX: as many as come */
    atomic_int_fast64_t running;
    atomic_int_fast64_t waiting_count;  /* written under the mutex */
    /* under the mutex */
    struct call_limit limit;
    struct list waiting;                /* struct call by place_link, of any loop; the first came first */
    struct metric *limit_gauge, *waiting_gauge;
};

/* One address of an edge, as long as some loop knows it. */
struct call_shared_address {
    struct list link;
    size_t refs;
    struct call_eject eject;
    char text[];
};

/* One callee. */
struct call_shared_edge {
    pthread_mutex_t mutex;
    struct call_breaker breaker;
    struct call_budget budget;
    atomic_int_fast64_t called_ns;      /* health checks: the last call; */
    atomic_bool checking;               /* some loop makes them */
    /* under the mutex */
    struct list addresses;              /* struct call_shared_address */
    struct call_bulkhead *bulkhead;     /* NULL: there was none so far. It stays where it is */
    struct metric *breaker_gauge;       /* NULL: without metrics */
};

struct call_shared *call_shared_new(void);      /* NULL: out of memory */
void call_shared_free(struct call_shared *s);   /* all engines are gone. NULL is fine */
/* The edge to callee, made when it is new; lives as long as s. NULL: out of memory. */
struct call_shared_edge *call_shared_edge(struct call_shared *s, const char *callee, int64_t now_ns);

/* One reference to an address. NULL: out of memory. */
struct call_shared_address *call_shared_address_ref(struct call_shared_edge *edge, const char *text);
void call_shared_address_unref(struct call_shared_edge *edge, struct call_shared_address *a);

static inline void call_shared_lock(struct call_shared_edge *edge)
{
    (void)pthread_mutex_lock(&edge->mutex);     /* cannot fail: it is no special kind, and never taken twice */
}
static inline void call_shared_unlock(struct call_shared_edge *edge)
{
    (void)pthread_mutex_unlock(&edge->mutex);
}

#endif
