/* SPDX-License-Identifier: Apache-2.0
 *
 * The policy of one edge (caller -> callee): the words of `calls:` in the manifest. The table call_policy_table
 * serves YAML, the resolved files, JSON Schema and the reference.
 */
#ifndef FICUS_CALL_POLICY_H
#define FICUS_CALL_POLICY_H

#include "conf.h"

#include <stdbool.h>
#include <stdint.h>

struct call_policy {
    int64_t timeout_ms;             /* whole call with all attempts; default 2 s */
    struct call_policy_retry {
        int64_t attempts;           /* total, 1..5; default 2 (the gateway sets 1) */
    } retry;
    struct call_policy_breaker {
        bool enabled;               /* on by default; `breaker: { enabled: false }` turns it off */
        int64_t failures;           /* consecutive failures that open it; default 5 */
        int64_t open_ms;            /* how long it stays open before one probe; default 1 s */
    } breaker;
    bool keeps_keys;                /* derived by manifest/ from the callee: it remembers Idempotency-Keys */
};

extern const struct conf_table call_policy_table;   /* see conf.h */
struct call_policy call_policy_default(void);

#endif
