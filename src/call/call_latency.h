/* SPDX-License-Identifier: Apache-2.0
 *
 * Percentiles of an edge's latency, for hedging: counts in buckets that grow by an eighth of a power of two, so that a
 * percentile is off by an eighth at most; old counts lose half of their weight each CALL_LATENCY_HALVE answers. Pure.
 */
#ifndef FICUS_CALL_LATENCY_H
#define FICUS_CALL_LATENCY_H

#include <stdint.h>

enum {
    CALL_LATENCY_BUCKETS = 8 * 28,  /* 1 us to some 4 minutes */
    CALL_LATENCY_LEAST = 50,        /* fewer answers say nothing yet */
    CALL_LATENCY_HALVE = 1000,
    CALL_LATENCY_FRESH = 32,        /* the percentile is found anew after so many */
};

struct call_latency {               /* zero: nothing known */
    uint16_t counts[CALL_LATENCY_BUCKETS];
    uint32_t total, since;
    int64_t known_ns, known_percentile;
};

void call_latency_note(struct call_latency *l, int64_t latency_ns);
/* percentile: 1..99. 0: too few answers so far. */
int64_t call_latency_ns(struct call_latency *l, int64_t percentile);

#endif
