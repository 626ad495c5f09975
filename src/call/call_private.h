/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the engine share: the engine, its edges, one call. Beside it call_shared.h: what of an edge belongs to
 * the process.
 */
#ifndef FICUS_CALL_PRIVATE_H
#define FICUS_CALL_PRIVATE_H

#include "call.h"
#include "call_latency.h"
#include "call_shared.h"
#include "identity_memo.h"
#include "map.h"
#include "pool.h"
#include "text.h"

/* Under load the calls of a turn begin together and end together: more than malloc keeps at hand. AddressSanitizer shall
 * see who uses one that ended. */
#ifdef __SANITIZE_ADDRESS__
enum { CALL_SPARE_MAX = 0 };
#else
enum { CALL_SPARE_MAX = 64 };
#endif
enum { CALL_EDGES_MAX = 4096, CALL_NAME_SIZE_MAX = 128 };

enum call_metric { CALL_METRIC_REQUESTS, CALL_METRIC_ATTEMPTS, CALL_METRIC_DURATION, CALL_METRIC_BREAKER,
    CALL_METRIC_EJECTIONS, CALL_METRIC_LIMIT, CALL_METRIC_WAITING, CALL_METRIC_HEDGES, CALL_METRIC_FAULTS,
    CALL_METRICS };

enum call_hedge_end { CALL_HEDGE_WON, CALL_HEDGE_LOST, CALL_HEDGE_ENDS };
/* What became of a call, for its metric. */
enum call_end { CALL_END_OK, CALL_END_FAILED, CALL_END_TIMEOUT, CALL_END_REFUSED, CALL_END_RESET, CALL_END_UNAVAILABLE,
    CALL_END_BUSY, CALL_END_PROTOCOL, CALL_END_CANCELLED, CALL_END_OTHER, CALL_ENDS };
enum call_fault_kind { CALL_FAULT_DELAY, CALL_FAULT_ABORT, CALL_FAULT_RESET, CALL_FAULT_KINDS };

struct call_checker;
struct call_names;
struct call_hedge;

/* Addresses of a callee, in one block of memory. */
struct call_addresses {
    size_t count;
    const char *list[];
};

/* One callee. Made by call_engine_edge or call_engine_endpoints, whichever comes first; lives as long as the engine. */
struct call_edge {
    struct call_engine *engine;
    struct call_policy policy;      /* a copy of its own */
    bool declared;
    struct call_shared_edge *shared;
    struct pool pool;
    struct call_addresses *told;    /* the last ones of call_engine_endpoints, not in use while there is an upstream; NULL: none */
    /* what is off costs a test for NULL; what was on once stays in memory */
    struct call_bulkhead *bulkhead; /* the shared one */
    struct env_task grant;          /* to our loop: calls in granted may go on */
    struct list granted;            /* struct call by place_link; with grant_posted under the shared edge's mutex */
    bool grant_posted, grant_awaited;   /* awaited: the engine closes, and this message is the last that keeps it */
    struct call_latency *latency;   /* hedge after a percentile */
    struct call_checker *checker;
    struct call_names *names;       /* its url has a name, or had one */
    struct slice fault_name, fault_value;   /* of policy.fault->header */
    uint64_t random;                /* call_random: faults */
    struct metric *hedges[CALL_HEDGE_ENDS], *faults[CALL_FAULT_KINDS];
    struct metric *attempts, *duration;     /* NULL without metrics */
    struct metric *ends[CALL_ENDS];         /* NULL: did not happen yet, or without metrics */
    struct slice authority;         /* what its requests name: its name, or the host of its url */
    bool authority_valid;
    /* the line Ficus-Identity for calls of no user, as it was signed at identity_ms; NULL: none was yet */
    char *identity;
    size_t identity_size;           /* with CR LF */
    int64_t identity_ms;
    size_t name_size;
    char name[];
};

enum { CALL_RECENT = 16 };

struct call_engine {
    struct env *env;
    const struct system_key *key;
    struct identity_memo identities;
    char *self;
    struct call_shared *shared, *shared_own;    /* own: NULL when it is somebody else's */
    size_t idle_conns_max, conns_max, queue_max;
    struct metrics *metrics;
    struct metric_family *families[CALL_METRICS];
    struct map edges;               /* name -> struct call_edge */
    struct call_edge *recent[CALL_RECENT];  /* some of them, found without a hash of many steps; NULL: none */
    struct list calls;              /* struct call, running */
    struct list spare;              /* memory of calls that ended, by link, for those to come */
    size_t spare_count;
    bool closing;
    size_t parts_closing;           /* pools and checks whose end is to come */
    struct env_timer close_timer;
    void (*closed)(void *arg);
    void *closed_arg;
};

/*
 * QUEUED    waits for a place of the bulkhead; pause is armed for the longest wait
 * STARTING  between two attempts, within one turn      WAITING  in the pool: queued, or connecting
 * RUNNING   has a stream                               PAUSED   back-off before the next attempt; pause is armed
 * FAULTY    an injected fault; pause is armed
 * FAILING   a failure is reported in the next turn     ENDED    last callback; nothing is armed any more
 *
 * WAITING, RUNNING and FAULTY may have a hedge beside them, until an answer's head was given.
 */
enum call_state { CALL_QUEUED, CALL_STARTING, CALL_WAITING, CALL_RUNNING, CALL_PAUSED, CALL_FAULTY, CALL_FAILING,
    CALL_ENDED, CALL_STATES };

/* In the order of use: what an answer touches comes first, so that it is half of the lines. */
struct call {
    struct call_engine *engine;
    struct call_edge *edge;
    struct list link;               /* engine->calls */
    struct call_handler handler;
    void *arg;
    enum call_state state;
    unsigned depth;                 /* callbacks of the user on the stack; the memory outlives them */

    /* the present attempt */
    struct pool_conn *conn;         /* RUNNING */
    struct http_stream *stream;     /* RUNNING; ENDED until the last callback returned */
    int status;
    bool admitted, probe;           /* the breaker's admission that still has to be noted */
    bool request_done;              /* the codec has taken the whole request */
    bool answer_done;               /* its last byte was handed to the user */
    bool head_given;                /* the answer belongs to the user */
    bool hedged;                    /* had one: there is no second */
    bool tunnel;                    /* the answer was 101 */
    bool placed;                    /* has a place of the bulkhead */
    struct call_hedge *hedge;       /* the attempt beside the present one; NULL: none */

    int64_t started_ns, deadline_ns, attempt_started_ns;
    struct env_timer deadline, pause;
    struct pool_waiter waiter;

    /* an answer without end; idle_ns 0: it has one, the deadline counts */
    int64_t idle_ns, heard_ns;
    bool listening;                 /* call_recv waits for a byte since heard_ns */

    /* the attempts so far */
    bool fresh_used, maybe_processed;
    uint32_t attempt_number;        /* 1, 2, ...: what travels */
    uint32_t attempts_counted;      /* against the policy: without the free one */
    uint32_t unprocessed;           /* repetitions of attempts that the callee did nothing about */
    uint64_t failures;
    struct call_made_answer *made;  /* the answer of an injected abort; NULL: none */
    struct list place_link;         /* QUEUED: bulkhead->waiting or edge->granted; with placed under the shared mutex then */

    struct call_request r;
    struct trace_context trace;     /* the parent of the attempts' spans */

    /* the body */
    size_t body_sent;               /* of r.body */
    bool body_taken;                /* streamed: at least one byte was taken */
    bool send_blocked, end_wanted;  /* call_send came while there was no stream */
    const struct http_field *trailers;  /* the user's, for the end of the body */
    size_t trailer_count;

    struct env_timer hedge_due;
    struct call_fault {             /* FAULTY: what follows the delay */
        int64_t abort;
        bool reset;
    } fault;
    enum ficus_err fail_err;        /* FAILING */
    const char *fail_detail;
};

static inline bool call_streamed(const struct call *c)
{
    return c->tunnel || c->r.body_stream_size > 0 || c->r.body_stream_size == -1;
}

/* call.c */
void call_end_cancelled(struct call *c, const char *detail);   /* end with the last callback on_error(CANCELLED) */
void call_move(struct call *c, enum call_state next);
void call_check(const struct call *c);
int64_t call_now_ns(const struct call *c);
/* For failures inside functions that the user called: the last callback comes in the next turn. */
void call_fail_later(struct call *c, enum ficus_err err, const char *detail);
/* The last callback, now. */
void call_fail(struct call *c, enum ficus_err err, const char *detail);
/* What the present attempt came to, once: for the breaker, its address, the limit. */
void call_attempt_note(struct call *c, enum call_outcome outcome);
/* An attempt ended without an answer for the user: decide whether another follows. True: it does. The stream is
 * detached or dead. */
bool call_attempt_over(struct call *c, enum call_outcome outcome, const struct http_progress *progress,
                       int64_t retry_after_ms);
/* From FAULTY: the attempt goes out after all. */
void call_attempt_go(struct call *c);
/* What the head of a request is made of, until it is sent: on the stack, which is in the cache, not in the arena, whose next lines
 * are not. */
enum { CALL_FIELDS_NEAR = 32, CALL_LINES_SIZE = 2 * (32 + TEXT_I64_SIZE) + TRACE_LINE_SIZE };
struct call_head_room {
    struct http_field fields[CALL_FIELDS_NEAR];
    char lines[CALL_LINES_SIZE];
};
/* The head of an attempt's request, which lives as long as room and a. INVALID, NOMEM. */
enum ficus_err call_attempt_head(struct call *c, struct http_msg *m, struct arena *a, struct call_head_room *room);
/* The final answer's head for the user; m lives as long as the call. */
void call_give_head(struct call *c, struct http_msg *m, bool end);
void call_note_progress(struct call *c);
extern const struct http_handler call_stream_handler;

/* bulkhead.c */
enum ficus_err call_bulkhead_make(struct call_edge *edge);      /* for the first policy that has one */
void call_bulkhead_apply(struct call_edge *edge);               /* after the policy changed */
/* From STARTING. True: go on. False: the call is QUEUED or FAILING. */
bool call_bulkhead_enter(struct call *c);
void call_bulkhead_leave_now(struct call *c);
/* Give the place back, or stop waiting. */
static inline void call_bulkhead_leave(struct call *c)
{
    if (c->edge->bulkhead != NULL)
        call_bulkhead_leave_now(c);
}
void call_bulkhead_granted(void *edge);     /* of edge->grant */
/* After its last call ended. False: a message is under way; call_engine_part_closed comes with it. */
bool call_bulkhead_close(struct call_edge *edge);
void call_bulkhead_note(struct call_edge *edge, int64_t latency_ns, bool failed, int64_t now_ns);

/* hedge.c */
void call_hedge_arm(struct call *c);        /* an attempt begins; the edge hedges */
void call_hedge_drop_now(struct call *c);
/* No hedge any more, running or due. */
static inline void call_hedge_drop(struct call *c)
{
    if (c->hedge != NULL || env_timer_armed(&c->hedge_due))
        call_hedge_drop_now(c);
}
/* Has a byte of the hedge's request gone out? */
bool call_hedge_sent(const struct call *c);
/* The present attempt is over and noted: the hedge takes its place. False: there is none that has a stream. */
bool call_hedge_succeed(struct call *c);

/* fault.c. From STARTING, when the edge has a policy for faults. True: one strikes, the call is FAULTY. */
bool call_fault_strike(struct call *c);
void call_fault_due(struct call *c);        /* its pause is over */
void call_fault_free(struct call *c);

/* names.c */
/* The edge leads to the url's host, a name, from now on; what it leads to at present is looked up first, and calls wait. NOMEM. */
enum ficus_err call_names_lead(struct call_edge *edge, const struct call_url *url);
/* It leads elsewhere. */
void call_names_stop(struct call_edge *edge);
/* Why the name had no address when it was looked up last; NULL: it is no name, or was found. */
const char *call_names_failure(const struct call_edge *edge);

/* check.c */
enum ficus_err call_checker_make(struct call_edge *edge);
void call_checker_poke(struct call_checker *k);     /* a call begins */
/* Returns how many checks run; call_engine_part_closed comes for each. */
size_t call_checker_close(struct call_checker *k);
void call_checker_free(struct call_checker *k);

/* engine.c */
struct call_edge *call_edge_find(struct call_engine *g, const char *callee);    /* NULL: there is none */
void call_edge_identity_forget(struct call_edge *edge);
void call_edge_note(struct call_edge *edge, bool probe, enum call_health health);
enum call_admission call_edge_admit(struct call_edge *edge);
bool call_edge_lets(struct call_edge *edge, int64_t now_ns);    /* would it be admitted then? */
void call_edge_request(struct call_edge *edge);                 /* a call begins: for the budget */
bool call_edge_repeat(struct call_edge *edge);                  /* take a repetition from the budget */
void call_edge_count(struct call_edge *edge, enum call_end end, int64_t duration_ns);
void call_engine_part_closed(void *engine);

#endif
