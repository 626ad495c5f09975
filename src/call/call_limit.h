/* SPDX-License-Identifier: Apache-2.0
 *
 * How many calls of an edge may run at a time. Pure: no memory, no I/O, no clock.
 *
 * Fixed: as many as the policy says. Adaptive: found by how latency answers to it. Calls are judged in windows of at
 * least CALL_LIMIT_WINDOW_CALLS ends and CALL_LIMIT_WINDOW_MS. With B, the best mean latency of a window, and M, that
 * of this window, the limit L becomes L * min(1, 1.2 * B / M) + sqrt(L), a fifth of the way at a time; where latency
 * rises because calls queue in the callee, this rests a little above the number that it serves at a time. It grows
 * only while at least half of it is used, and shrinks by a fifth when a tenth of a window's calls failed.
 *
 * B must not be the latency of a callee that was always overloaded, or of one that was faster once: every
 * CALL_LIMIT_BASE_MS, L is halved for two windows; the first lets the queue drain, the mean of the second is the new B.
 *
 *             BASE_MS over              window over             window over: B = M
 *    STEADY --------------> DRAINING --------------> MEASURING --------------------> STEADY
 */
#ifndef FICUS_CALL_LIMIT_H
#define FICUS_CALL_LIMIT_H

#include "call_policy.h"

enum {
    CALL_LIMIT_MIN = 4,                 /* adaptive: never fewer (unless concurrency is) */
    CALL_LIMIT_START = 20,
    CALL_LIMIT_WINDOW_CALLS = 20,
    CALL_LIMIT_WINDOW_MS = 50,
    CALL_LIMIT_BASE_MS = 15000,
};

enum call_limit_phase { CALL_LIMIT_STEADY, CALL_LIMIT_DRAINING, CALL_LIMIT_MEASURING };

struct call_limit {
    bool adaptive;
    int64_t max;                        /* concurrency */
    double limit;                       /* adaptive */
    enum call_limit_phase phase;
    double base_ns;                     /* B; 0: none yet */
    int64_t base_since_ns;
    /* the window */
    int64_t begun_ns, count, failed, running_max;
    double sum_ns;
};

void call_limit_init(struct call_limit *l, const struct call_policy_bulkhead *p, int64_t now_ns);
/* How many may run now; at least 1. */
int64_t call_limit_places(const struct call_limit *l);
/* A call's attempt ended after latency_ns, while `running` calls ran, it included. failed: no answer, deadline, 429,
 * 502, 503, 504. */
void call_limit_note(struct call_limit *l, int64_t latency_ns, bool failed, int64_t running, int64_t now_ns);

#endif
