/* SPDX-License-Identifier: Apache-2.0
 *
 * What engine.c and call.c share: the engine, its edges, one call.
 */
#ifndef FICUS_CALL_PRIVATE_H
#define FICUS_CALL_PRIVATE_H

#include "call.h"
#include "call_core.h"
#include "identity_memo.h"
#include "map.h"
#include "pool.h"

enum { CALL_EDGES_MAX = 4096, CALL_NAME_SIZE_MAX = 128 };

enum call_metric { CALL_METRIC_REQUESTS, CALL_METRIC_ATTEMPTS, CALL_METRIC_DURATION, CALL_METRIC_BREAKER,
    CALL_METRICS };

/* One callee. Made by call_engine_edge or call_engine_endpoints, whichever comes first; lives as long as the engine. */
struct call_edge {
    struct call_engine *engine;
    struct call_policy policy;
    bool declared;
    struct call_breaker breaker;
    struct call_budget budget;
    struct pool pool;
    struct metric *attempts, *duration, *breaker_gauge;     /* NULL without metrics */
    char name[];
};

struct call_engine {
    struct env *env;
    const struct system_key *key;
    struct identity_memo identities;
    char *self;
    size_t idle_conns_max, conns_max, queue_max;
    struct metrics *metrics;
    struct metric_family *families[CALL_METRICS];
    struct map edges;               /* name -> struct call_edge */
    struct list calls;              /* struct call, running */
    bool closing;
    size_t pools_closing;           /* whose on_empty is to come */
    struct env_timer close_timer;
    void (*closed)(void *arg);
    void *closed_arg;
};

/*
 * STARTING  between two attempts, within one turn      WAITING  in the pool: queued, or connecting
 * RUNNING   has a stream                               PAUSED   back-off before the next attempt; pause is armed
 * FAILING   a failure is reported in the next turn     ENDED    last callback; nothing is armed any more
 */
enum call_state { CALL_STARTING, CALL_WAITING, CALL_RUNNING, CALL_PAUSED, CALL_FAILING, CALL_ENDED, CALL_STATES };

struct call {
    struct call_engine *engine;
    struct call_edge *edge;
    struct list link;               /* engine->calls */
    struct call_request r;
    struct call_handler handler;
    void *arg;
    enum call_state state;

    int64_t started_ns, deadline_ns, attempt_started_ns;
    struct env_timer deadline, pause;
    struct trace_context trace;     /* the parent of the attempts' spans */

    /* the attempts so far */
    uint32_t attempt_number;        /* 1, 2, ...: what travels */
    uint32_t attempts_counted;      /* against the policy: without the free one */
    uint64_t failures;
    bool fresh_used, maybe_processed;

    /* the present attempt */
    struct pool_waiter waiter;
    struct pool_conn *conn;         /* RUNNING */
    struct http_stream *stream;     /* RUNNING; ENDED until the last callback returned */
    bool admitted, probe;           /* the breaker's admission that still has to be noted */
    bool request_done;              /* the codec has taken the whole request */
    bool answer_done;               /* its last byte was handed to the user */
    bool head_given;                /* the answer belongs to the user */
    int status;

    /* an answer without end; idle_ns 0: it has one, the deadline counts */
    int64_t idle_ns, heard_ns;
    bool listening;                 /* call_recv waits for a byte since heard_ns */

    /* the body */
    size_t body_sent;               /* of r.body */
    bool body_taken;                /* streamed: at least one byte was taken */
    bool send_blocked, end_wanted;  /* call_send came while there was no stream */

    enum ficus_err fail_err;        /* FAILING */
    const char *fail_detail;

    unsigned depth;                 /* callbacks of the user on the stack; the memory outlives them */
};

static inline bool call_streamed(const struct call *c)
{
    return c->r.body_stream_size > 0 || c->r.body_stream_size == -1;
}

/* call.c. End with the last callback on_error(CANCELLED). */
void call_end_cancelled(struct call *c, const char *detail);

/* engine.c */
void call_edge_note(struct call_edge *edge, bool probe, enum call_health health);
enum call_admission call_edge_admit(struct call_edge *edge);
void call_edge_count(struct call_edge *edge, const char *outcome, int64_t duration_ns);

#endif
