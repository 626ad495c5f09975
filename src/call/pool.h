/* SPDX-License-Identifier: Apache-2.0
 *
 * The connections to one callee: its addresses, which have room (last in, first out, so that the surplus grows old and
 * is closed), what connects for whom, and the bounded queue of those that wait for a place. It knows nothing of calls.
 * A connection of HTTP/1.1 has room for one exchange, one of HTTP/2 for many at a time. Where HTTP/2 is likely, a waiter waits
 * for a connection that is being made already, instead of making one more.
 *
 * Happy path: pool_take hands out a connection with room at once. Otherwise the waiter hears on_ready (a connection
 * with room, to be used at once) or on_failed (it could not connect; the address is ejected, if it is its fault) exactly once, never from inside
 * pool_take, unless it leaves before. Its target is the address chosen for it; pool_note says what that address did,
 * and pool_release that the exchange with it is over.
 * Failure modes: a connection that closes while idle is dropped at once; one that dies while in use is the user's to
 * notice, by its stream.
 * Loop thread only.
 */
#ifndef FICUS_CALL_POOL_H
#define FICUS_CALL_POOL_H

#include "call_balance.h"
#include "call_shared.h"
#include "env.h"
#include "http_client.h"
#include "list.h"
#include "metrics.h"

enum {
    POOL_IDLE_MS = 60 * 1000,       /* less than the server's idle limit (75 s), so that the client closes first */
    POOL_DRAIN_MS = 5 * 1000,
    POOL_DRAIN_SIZE_MAX = 64 * 1024,
    POOL_SWEEP_MS = 5 * 1000,
    POOL_CONNECT_MS = 5 * 1000,     /* so long a connection may take that nobody but sharers waits for */
    POOL_LACK_MS = 100,             /* so long the queue rests when a connection could not be made for want of memory or descriptors */
    POOL_SHARERS_MAX = 100,         /* so many wait for a connection of HTTP/2 that is being made; the next makes another */
};

/* Why an address is left alone. */
enum pool_reason { POOL_REASON_REFUSED, POOL_REASON_FAILURES, POOL_REASON_CHECK, POOL_REASONS };

struct pool_address;

struct pool_conn {
    struct http_client_conn *http;
    /* private below */
    struct pool *pool;
    struct pool_address *address;
    struct pool_waiter *waiter;     /* CONNECTING: for whom; NULL: who wanted it left, and others wait for it */
    struct list link;               /* address->conns, or address->free when FREE */
    enum pool_conn_state {
        POOL_CONN_CONNECTING,
        POOL_CONN_FREE,             /* has room */
        POOL_CONN_USED,             /* has none, or is draining; comes back by on_room */
        POOL_CONN_CLOSING,
    } state;
    int64_t since_ns;               /* CONNECTING, draining: since when; FREE: when the last exchange ended */
    uint64_t side_number;           /* the pool's when it was begun */
    size_t drain_size;              /* draining: bytes thrown away */
    bool draining;
};

struct pool_waiter {
    void (*on_ready)(struct pool_waiter *w, struct pool_conn *c);
    /* UNAVAILABLE: no address (any more); NOMEM: we lack memory or descriptors; else no connection came about */
    void (*on_failed)(struct pool_waiter *w, enum ficus_err err);
    bool fresh;                     /* wants a new connection */
    bool keyed;                     /* key is valid: for ring_hash */
    uint64_t key;
    const struct call_target *avoid;    /* an address that failed just now; compared only */
    const struct call_target *last; /* the one chosen last; compared only */
    /* private below */
    struct call_target *target;     /* the one in use, which stays in memory for it; NULL: none */
    struct pool_conn *conn;         /* connecting for this waiter */
    const struct pool_conn *shares; /* queued: for this one, that connects for another; compared only */
    struct list link;               /* pool->waiting */
    bool queued;
};

struct pool {
    struct env *env;
    const struct call_policy *policy;   /* the edge's, borrowed: balance, eject, check */
    struct call_shared_edge *shared;    /* what is known of the addresses in the whole process */
    size_t idle_conns_max, conns_max, queue_max;
    struct metric *ejections[POOL_REASONS]; /* counters; NULL: none */
    void (*on_empty)(void *arg);    /* after pool_close: the last connection is gone */
    void *arg;
    /* private below */
    struct call_target **targets;
    size_t target_count, cursor;
    uint64_t random;
    bool had_target;            /* ever */
    bool awaited;               /* addresses are on their way */
    struct tls_client *tls;         /* owned; NULL: plain */
    bool h2;                        /* HTTP/2 must be spoken */
    bool h2_likely;                 /* ...or is, as far as we know */
    uint64_t side_number;           /* grows with each pool_set_side: which one a connection was made with */
    bool failure_known;             /* failure says why the last connection failed */
    char failure[256];              /* never emptied: the last callback of a call may still point to it */
    struct list addresses;          /* struct pool_address, also those that left but have connections */
    struct list waiting;
    size_t waiting_count, conn_count, free_count, drain_count;
    struct env_timer sweep;
    struct env_timer lack;          /* the queue goes on then */
    bool closing;
};

void pool_init(struct pool *p, struct env *e, const struct call_policy *policy, struct call_shared_edge *shared,
               size_t idle_conns_max, size_t conns_max, size_t queue_max);
/* Frees addresses; there is no connection and no waiter any more. */
void pool_done(struct pool *p);
/* Close all connections; the waiters have left before. True: there was none, on_empty does not fire. */
bool pool_close(struct pool *p);

/* Replace the addresses, perhaps with none. Connections to those that left are closed when they are idle, and given up while
 * they are being made: who waits for one gets another. NOMEM leaves the old ones. */
enum ficus_err pool_set_addresses(struct pool *p, const char *const *addresses, size_t count);

/* Whether addresses are on their way: then who takes waits while there are none, as for a place. When they are not any more,
 * those that wait are served, or hear UNAVAILABLE. */
void pool_await(struct pool *p, bool awaited);

/* Connections are made with this side of TLS from now on (NULL: plain), which is the pool's then; what becomes of the others:
 * as above. h2: HTTP/2 must be spoken; h2_likely: TLS offers it. */
void pool_set_side(struct pool *p, struct tls_client *tls, bool h2, bool h2_likely);
/* Why the last connection could not be made, for logs. */
const char *pool_failure(const struct pool *p);

/* OK with *ret_conn: it has room; open your stream at once. OK with NULL: wait. UNAVAILABLE: no address. BUSY: the queue is
 * full. NOMEM: or no descriptor is left. REFUSED: the address cannot even be tried (malformed); it is ejected. w stays in memory until it was
 * called or left. */
enum ficus_err pool_take(struct pool *p, struct pool_waiter *w, struct pool_conn **ret_conn);
/* Stop waiting; harmless when not waiting. True: a connection was being made for it (and is given up). */
bool pool_leave(struct pool *p, struct pool_waiter *w);
/* Give up what is idle: descriptors are short. */
void pool_close_idle(struct pool *p);
/* A connection that pool_take gave turned out to be dead: no more of it. */
void pool_discard(struct pool_conn *c);
/* Where it leads. */
const char *pool_conn_address(const struct pool_conn *c);
/* Throw the rest of an unwanted answer away, so that the connection can be used again; s is no longer the caller's. (Of
 * HTTP/2 it is simply reset.) */
void pool_drain(struct pool_conn *c, struct http_stream *s, bool at_end);
/* What w's target did with an attempt: the sign, and how long it took to answer; 0: it says nothing of latency. */
void pool_note(struct pool *p, struct pool_waiter *w, enum call_sign sign, int64_t latency_ns, int64_t now_ns);
/* w's exchange with its target is over, or never began. Harmless without a target. */
void pool_release(struct pool *p, struct pool_waiter *w);
/* Are there other addresses than w's last that could be tried at once? */
bool pool_has_another(const struct pool *p, const struct pool_waiter *w, int64_t now_ns);

/* Addresses by number, 0..target_count - 1; valid until they change. */
const char *pool_address_text(const struct pool *p, size_t i);
/* The result of a health check; an address that left meanwhile is no matter. */
void pool_checked(struct pool *p, const char *address, bool good);
/* Nobody checks any more: what checks have said is forgotten. */
void pool_unchecked(struct pool *p);
/* One object for each address: what is known of it. */
void pool_describe(const struct pool *p, struct json_writer *w);

#endif
