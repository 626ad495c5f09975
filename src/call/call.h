/* SPDX-License-Identifier: Apache-2.0
 *
 * The one engine for outbound calls: gateway, sidecar, library and hub use it, so that a timeout, a retry or a
 * breaker means the same everywhere. It takes a callee's name, picks an address from the endpoints handed in
 * (src/resolve fills them), a pooled connection, adds identity, trace context and the remaining deadline, repeats
 * where that is safe, and streams both ways. Its decisions are the pure functions of call_core.h.
 *
 * Headers that it writes on each attempt, replacing any of the same name given by the user:
 *   Ficus-Identity      compact JWS: caller, callee, user, roles (security/identity.h); not to callees that Ficus does
 *                       not start: they cannot check it, and need not know who the users are
 *   Ficus-Timeout-Ms    what is left of the deadline, relative, whole ms, at least 1
 *   Ficus-Attempt       1, 2, ...
 *   traceparent, tracestate, X-Request-ID (the correlation id)
 *
 * A broken attempt is repeated when the policy has attempts left, the retry budget allows it, time is left, the body
 * can be sent again, and: the method is idempotent, or the callee is declared to keep keys and the request carries
 * Idempotency-Key, or no byte of it can have been processed (refused connection; connection lost before any byte was
 * sent). A reused connection that died before the first byte of an answer is repeated once beside the count of
 * attempts, if idempotent or key-kept. What an HTTP/2 callee says it did nothing about (REFUSED_STREAM, GOAWAY) is repeated
 * whatever its method, at most CALL_UNPROCESSED_MAX times, beside the count of attempts. Answers 502/503/504 and 429 count as failures of the attempt for the same
 * rules.
 * The last failure is what the user sees.
 *
 * Which address an attempt goes to, how many calls run at a time, hedges, faults on purpose: docs/calls.md. What is
 * known of an edge (breaker, budget, limit, ejected addresses) is known once for the whole process: with several loops
 * each has an engine, and they share it (call_shared.h).
 *
 * Loop thread only.
 */
#ifndef FICUS_CALL_H
#define FICUS_CALL_H

#include "call_policy.h"
#include "env.h"
#include "http_msg.h"
#include "identity.h"
#include "metrics.h"
#include "trace_context.h"

struct call;
struct call_engine;
struct call_shared;

struct call_engine_options {
    const char *self;                       /* the caller's name in identities, e.g. "orders", "gateway", "hub" */
    const struct system_key *key;           /* borrowed for the engine's life */
    struct metrics *metrics;                /* NULL: none. With shared, as long as that */
    struct call_shared *shared;             /* borrowed for the engine's life; NULL: there is no other engine */
    size_t idle_conns_max;                  /* per address; 0: as many as conns_max lets be */
    /* per callee and engine (one for each loop), running and idle; 0: 256. More calls wait in a queue (bounded by queue_max) */
    size_t conns_max;
    size_t queue_max;                       /* waiting calls per callee; 0: 1024; over it BUSY */
};

enum ficus_err call_engine_new(struct env *e, const struct call_engine_options *o, struct call_engine **ret_engine);
/* Cancels what runs (on_error CANCELLED fires), closes connections, then closed fires and the engine is gone. */
void call_engine_close(struct call_engine *g, void (*closed)(void *arg), void *arg);

/* Declare an edge before its first use, or anew: what runs goes on, what comes goes by the new policy, and breaker,
 * budget and what is known of the addresses stay. p is copied, with all that it points to. A call to an undeclared callee fails with INVALID.
 * p->upstream says where a callee is that Ficus does not start; its files are read anew each time (blocks). Connections that
 * were made before are closed when they are idle, and those that are being made are given up: their calls get others. NOMEM,
 * INVALID; of its files: NOT_FOUND, INVALID... with *reterr (may be NULL) naming the file. On failure all is as before. */
enum ficus_err call_engine_edge(struct call_engine *g, const char *callee, const struct call_policy *p,
                                struct ficus_error *reterr);
/* The present addresses of a callee (copied). None: calls fail at once, until there are some. Connections to addresses
 * that left are closed when idle. An edge with an upstream goes where that says, and here when it is declared without one
 * again. The edge may be declared later. NOMEM: the old ones stay. */
enum ficus_err call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses,
                                     size_t address_count);

/* At once, on g's loop: fn for each callee that g was told of, with its last addresses; the texts are borrowed for the call. fn
 * declares no edge and tells g nothing. */
typedef void call_told(void *arg, const char *callee, const char *const *addresses, size_t address_count);
void call_engine_told(const struct call_engine *g, call_told *fn, void *arg);
/* What g knows of its edges, for the engines of other loops; g ends last. */
struct call_shared *call_engine_shared(struct call_engine *g);
/* Let `to` have the addresses of all callees that g has; neither loop runs meanwhile, or it is theirs. NOMEM. */
enum ficus_err call_engine_endpoints_copy(const struct call_engine *g, struct call_engine *to);

struct call_request {
    const char *callee;
    struct slice method;
    struct slice path;                      /* with query; values already percent-encoded */
    const struct http_field *fields;
    size_t field_count;
    /* a parser has judged method, path and fields, and none of these is one that the engine writes: they are not looked at again */
    bool judged;
    struct slice body;                      /* borrowed until the call ends; may be sent again */
    /* < -1 or 0: none; > 0: that many bytes follow by call_send; -1: unknown many follow */
    int64_t body_stream_size;
    /* env_now_ns scale; 0: only the policy's timeout. The earlier of both counts */
    int64_t deadline_ns;
    int64_t timeout_ms;                     /* > 0: instead of the policy's */
    const struct trace_context *trace;      /* parent; NULL: a new trace begins. A child span is made per attempt */
    struct slice tracestate;
    struct slice correlation;               /* SLICE_NONE: none */
    struct slice user;                      /* on whose behalf; SLICE_NONE: nobody's */
    const struct slice *roles;
    size_t role_count;
    bool keyed;                             /* carries Idempotency-Key */
    /* what the connection shall become, as http_msg.protocol; SLICE_NONE: nothing. Without a body. When the answer is
     * 101 the call is a tunnel: call_send and call_recv carry its bytes, on_done comes when both sides have ended. */
    struct slice protocol;
    bool takes_trailers;                    /* the user wants on_trailers: the callee is told */
};

struct call_handler {
    /* The final answer's head, also 4xx/5xx. head lives as long as the call. */
    void (*on_head)(void *arg, struct call *c, struct http_msg *head, bool end);
    void (*on_data)(void *arg, struct call *c, struct slice data, bool end);    /* one for each call_recv */
    /* may be NULL without a streamed body */
    void (*on_writable)(void *arg, struct call *c);
    void (*on_done)(void *arg, struct call *c);                                 /* last callback: all went well */
    /* Last callback: TIMEOUT, REFUSED, RESET, UNAVAILABLE (no endpoint, breaker open), BUSY (queue
     * or bulkhead full), PROTOCOL, CANCELLED
     * (engine closing), INVALID (a head that cannot be written: fields, user, roles), NOMEM (also: no descriptor is left
     * for a connection).
     * maybe_processed: the callee may have acted on it. May come after on_head (answer cut short). */
    void (*on_error)(void *arg, struct call *c, enum ficus_err err, bool maybe_processed, const char *detail);
    /* An interim answer but 100 (103 Early Hints, say), before on_head; may be NULL. */
    void (*on_interim)(void *arg, struct call *c, const struct http_msg *head);
    /* As that of http_handler; may be NULL. */
    void (*on_trailers)(void *arg, struct call *c, const struct http_field *fields, size_t field_count);
};

/* Everything that r points to is borrowed until the last callback, strings, fields and roles too (not from the
 * stack!); r itself and h may be on the stack (h's functions are copied).
 * No callback comes before it returned. INVALID: undeclared callee, malformed method or path. CANCELLED: the engine
 * is closing. NOMEM. */
enum ficus_err call_start(struct call_engine *g, const struct call_request *r, const struct call_handler *h, void *arg,
                          struct call **ret_call);
size_t call_send(struct call *c, const void *p, size_t size, bool end);     /* as http_send */
/* What goes behind a streamed body; before the call_send that ends it. Borrowed until the call ends; only such as
 * http_send_trailers takes, or the call fails with INVALID. */
void call_send_trailers(struct call *c, const struct http_field *fields, size_t field_count);
void call_recv(struct call *c);                                             /* as http_recv */
/* From on_head on: this answer has no end of its own (an event stream, a tunnel). The deadline has done its work;
 * instead the call fails with TIMEOUT when a call_recv waits for idle_ms (> 0) without a byte either way. */
void call_endless(struct call *c, int64_t idle_ms);
/* No further callback; the callee sees a reset. */
void call_cancel(struct call *c);

/* For logs, from inside a callback of h: attempts so far, and the address of the one whose answer this is ("" without
 * one; as long as the callback runs). */
struct call_trail {
    unsigned attempts;
    const char *address;
    bool is_h2; /* HTTP/2 is spoken there */
};
void call_trail(const struct call *c, struct call_trail *ret_trail);

/* Whole small answers in one piece. done fires exactly once. */
struct call_result {
    enum ficus_err err;             /* OK: status, head and body are set */
    bool maybe_processed;
    const char *detail;             /* of an error, for logs */
    int status;
    struct http_msg *head;
    struct slice body;              /* borrowed until done returns */
};
struct call_fetch;
enum ficus_err call_fetch(struct call_engine *g, const struct call_request *r, size_t body_size_max,
                          void (*done)(void *arg, const struct call_result *result), void *arg,
                          struct call_fetch **ret_fetch /* may be NULL */);
void call_fetch_cancel(struct call_fetch *f);   /* done will not fire */

/* Whether it has an address, or had one: it may be away at present. One with a url always has: nobody tells when its name is found. */
bool call_engine_has_endpoints(const struct call_engine *g, const char *callee);
/* Breaker states etc. for status pages: "closed", "open", "half_open". */
const char *call_engine_breaker_state(const struct call_engine *g, const char *callee);
/* [loop] Close all connections that nobody uses at present: descriptors are short. */
void call_engine_close_idle(struct call_engine *g);
/* One JSON array with an object for each edge: callee, breaker, waiting (for a connection), bulkhead (when it has one:
 * limit, running, waiting), and addresses: address, outstanding (calls under way), latency_us (peak EWMA; 0: not known),
 * connections, idle, failures (in a row), ejected_ms (how much longer), unhealthy (by its checks). Returns how many edges. */
size_t call_engine_describe(const struct call_engine *g, struct json_writer *w);

#endif
