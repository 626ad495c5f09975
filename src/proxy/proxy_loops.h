/* SPDX-License-Identifier: Apache-2.0
 *
 * The loops of one gateway: what their proxies have in common, and messages among them. Private to src/proxy.
 *
 * The first loop is the one that knows of changes (addresses, configurations, the end), and sends them as tours: a
 * message that visits the loops one after the other, in the order in which it was sent. It is also the last to end:
 *
 *   proxy_loops_end -> tours come home -> the word to end goes to each -> each drains, closes, says that it is gone
 *
 * After that word the first sends nothing more, so no message reaches a loop whose proxy is gone.
 */
#ifndef FICUS_PROXY_LOOPS_H
#define FICUS_PROXY_LOOPS_H

#include "env.h"
#include "http_server.h"
#include "metrics.h"
#include "stale.h"

#include <stdatomic.h>

struct proxy;

struct proxy_loops {
    size_t count;       /* as many as there will be, the first one included */
    struct http_server_share clients;
    atomic_size_t streams;      /* of clients, event streams and tunnels */
    atomic_size_t ready;        /* loops that can serve all routes */
    struct stale *stale;
    /* that were started, loop[1..others]: set when the place is filled, because those before it ask for all metrics */
    atomic_size_t others;
    /* first loop only */
    size_t gone;                /* of the others that have ended */
    size_t tours;               /* under way */
    bool ending;
    void (*on_gone)(void *arg); /* the last of the others is gone */
    void *arg;
    struct proxy_loop {
        struct proxy_loops *loops;
        struct env *env;
        struct proxy *proxy;
        struct metrics *metrics;        /* of the proxy; owned, but for the first's */
        struct env_task task;           /* to end; that it is gone */
    } loop[];
};

/* NULL: out of memory. e: the first loop's. */
struct proxy_loops *proxy_loops_new(struct env *e, size_t count, void (*on_gone)(void *arg), void *arg);
void proxy_loops_free(struct proxy_loops *l); /* all are gone. NULL is fine */
/* One more, whose loop calls this while the first one does not run; those entered before may serve. Returns its place, with
 * metrics; NULL: out of memory. */
struct proxy_loop *proxy_loops_enter(struct proxy_loops *l, struct env *e);

/* The newest could not start. */
void proxy_loops_leave(struct proxy_loops *l);

/* Lives in its owner until done. */
struct proxy_tour {
    void (*visit)(struct proxy_tour *t, struct proxy *p); /* on the loop of each of the others */
    void (*done)(struct proxy_tour *t);                   /* on the first loop */
    /* private below */
    struct env_task task;
    struct proxy_loops *loops;
    size_t at;
};
/* [first loop] done may come before it returns: there is no other loop, or all are told to end. */
void proxy_tour_begin(struct proxy_loops *l, struct proxy_tour *t);

/* [first loop] Once: end all others; on_gone. */
void proxy_loops_end(struct proxy_loops *l);
static inline bool proxy_loops_gone(const struct proxy_loops *l)
{
    return l->gone == l->others;
}

/* What the metrics of all loops say together, to be freed with metrics_free; NULL: out of memory. */
struct metrics *proxy_loops_metrics(const struct proxy_loops *l);

#endif
