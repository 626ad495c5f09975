/* SPDX-License-Identifier: Apache-2.0
 *
 * The policy of one edge (caller -> callee): the words of `calls:` in the manifest. The table call_policy_table
 * serves YAML, the resolved files, JSON Schema and the reference; docs/calls.md says what the words do together.
 *
 * What is a pointer is off when it is NULL, which is its default.
 */
#ifndef FICUS_CALL_POLICY_H
#define FICUS_CALL_POLICY_H

#include "call_upstream.h"
#include "conf.h"

#include <stdbool.h>
#include <stdint.h>

enum call_balance { CALL_BALANCE_LEAST_REQUEST, CALL_BALANCE_ROUND_ROBIN, CALL_BALANCE_RING_HASH };

/* When a hedge goes out: one of both is 0. */
struct call_hedge_after {
    int64_t ms;                     /* after so long */
    int64_t percentile;             /* when so many percent of the answers had come, 50..99 */
};

struct call_policy {
    int64_t timeout_ms;             /* whole call with all attempts; default 2 s */
    int balance;                    /* enum call_balance */
    const char *hash_header;        /* ring_hash without a user: the field whose value is the key; NULL: none */
    struct call_policy_retry {
        int64_t attempts;           /* total, 1..5; default 2 (the gateway sets 1) */
        int64_t budget_percent;     /* repetitions and hedges per hundred requests; 0, the default: 20 */
        int64_t base_ms, max_ms;    /* back-off; default 25 ms to 1 s */
    } retry;
    struct call_policy_breaker {
        bool enabled;               /* on by default; `breaker: { enabled: false }` turns it off */
        int64_t failures;           /* consecutive failures that open it; default 5 */
        int64_t open_ms;            /* how long it stays open before one probe; default 1 s */
    } breaker;
    struct call_policy_eject {
        int64_t failures;           /* of one address in a row; 0: off; default 5 */
        int64_t base_ms, max_ms;    /* how long an address stays away; default 1 s, doubled up to 30 s */
        int64_t percent;            /* of the addresses may be away for failures; default 50 */
    } eject;
    struct call_policy_check {
        const char *path;
        int64_t every_ms, timeout_ms;
        int64_t unhealthy, healthy; /* results in a row that change its mind */
    } *check;
    struct call_policy_bulkhead {
        int64_t concurrency;        /* calls at a time; adaptive: at most */
        int64_t queue;              /* calls that wait for a place */
        int64_t wait_ms;            /* and how long */
        bool adaptive;              /* find the number by latency */
    } *bulkhead;
    struct call_policy_hedge {
        struct call_hedge_after after;
    } *hedge;
    struct call_policy_fault {
        int64_t percent;            /* of the attempts */
        int64_t delay_ms;           /* 0: none */
        int64_t abort;              /* status; 0: none */
        bool reset;
        const char *header;         /* "name: value" that a request must carry; NULL: none */
    } *fault;
    /* derived by manifest/ from the callee: */
    bool keeps_keys;                /* it remembers Idempotency-Keys */
    struct call_upstream *upstream; /* Ficus does not start it; NULL: it does */
};

extern const struct conf_table call_policy_table;   /* see conf.h */
struct call_policy call_policy_default(void);

/* A copy that shares nothing with p. NOMEM leaves *ret_copy alone. */
enum ficus_err call_policy_copy(const struct call_policy *p, struct call_policy *ret_copy);
/* Free what a copy owns. */
void call_policy_done(struct call_policy *copy);

#endif
