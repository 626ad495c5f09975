/* SPDX-License-Identifier: Apache-2.0
 *
 * The settings table of an edge's policy; see call_policy.h.
 */
#include "call_policy.h"

static const struct conf_setting retry_settings[] = {
    {.name = "attempts", .type = CONF_INT, CONF_AT(struct call_policy_retry, attempts), .min = 1, .max = 5,
     .fallback = 2,
     .doc = "How often a call is tried in all. It is repeated only when that is safe: the method is idempotent, the "
            "callee keeps Idempotency-Keys and the request has one, or nothing of it was sent."},
};
static const struct conf_table retry_table = CONF_TABLE_OF("retry", struct call_policy_retry, retry_settings);

static const struct conf_setting breaker_settings[] = {
    {.name = "enabled", .type = CONF_BOOL, CONF_AT(struct call_policy_breaker, enabled), .fallback = true,
     .doc = "Whether calls are refused at once while the callee fails."},
    {.name = "failures", .type = CONF_INT, CONF_AT(struct call_policy_breaker, failures), .min = 1, .max = 1000,
     .fallback = 5,
     .doc = "Failures in a row (no connection, lost connection, deadline, 502, 503 and 504 only after half of the "
            "timeout) that open the breaker."},
    {.name = "open", .type = CONF_DURATION, CONF_AT(struct call_policy_breaker, open_ms), .min = 10, .max = 600000,
     .fallback = 1000,
     .doc = "How long the breaker stays open before one call at a time may try the callee again."},
};
static const struct conf_table breaker_table = CONF_TABLE_OF("breaker", struct call_policy_breaker, breaker_settings);

static const struct conf_setting policy_settings[] = {
    {.name = "timeout", .type = CONF_DURATION, CONF_AT(struct call_policy, timeout_ms), .min = 1, .max = 600000,
     .fallback = 2000,
     .doc = "How long a call may take, all its attempts together."},
    {.name = "retry", .type = CONF_TABLE, CONF_AT(struct call_policy, retry), .table = &retry_table,
     .doc = "When a call is repeated."},
    {.name = "breaker", .type = CONF_TABLE, CONF_AT(struct call_policy, breaker), .table = &breaker_table,
     .doc = "The circuit breaker of this edge."},
    {.name = "keeps_keys", .type = CONF_BOOL, .flags = CONF_RESOLVED_ONLY, CONF_AT(struct call_policy, keeps_keys),
     .fallback = false,
     .doc = "The callee is declared to remember Idempotency-Keys."},
};
const struct conf_table call_policy_table = CONF_TABLE_OF("call policy", struct call_policy, policy_settings);

struct call_policy call_policy_default(void)
{
    struct call_policy p;
    conf_defaults(&call_policy_table, &p);
    return p;
}
