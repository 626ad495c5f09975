/* SPDX-License-Identifier: Apache-2.0
 *
 * Percentiles of latency; see call_latency.h.
 */
#include "call_latency.h"

#include <stddef.h>

/* Below 8 us each microsecond is a bucket; then the three bits behind the highest choose among eight. */
static size_t bucket_of(int64_t latency_ns)
{
    uint64_t us = latency_ns > 0 ? (uint64_t)latency_ns / 1000 : 0;
    if (us < 8)
        return (size_t)us;
    unsigned top = 63 - (unsigned)__builtin_clzll(us);
    size_t bucket = (size_t)(top - 2) * 8 + (size_t)(us >> (top - 3) & 7);
    return bucket < CALL_LATENCY_BUCKETS ? bucket : CALL_LATENCY_BUCKETS - 1;
}

/* The upper end of a bucket. */
static int64_t bucket_ns(size_t bucket)
{
    if (bucket < 8)
        return (int64_t)(bucket + 1) * 1000;
    unsigned top = (unsigned)(bucket / 8) + 2;
    return (int64_t)((8 + bucket % 8 + 1) << (top - 3)) * 1000;
}

static void halve(struct call_latency *l)
{
    l->total = 0;
    for (size_t i = 0; i < CALL_LATENCY_BUCKETS; i++) {
        l->counts[i] /= 2;
        l->total += l->counts[i];
    }
}

void call_latency_note(struct call_latency *l, int64_t latency_ns)
{
    if (l->total >= CALL_LATENCY_HALVE)
        halve(l);
    l->counts[bucket_of(latency_ns)]++;
    l->total++;
    l->since++;
}

int64_t call_latency_ns(struct call_latency *l, int64_t percentile)
{
    if (l->total < CALL_LATENCY_LEAST)
        return 0;
    if (l->known_percentile == percentile && l->since < CALL_LATENCY_FRESH)
        return l->known_ns;
    uint64_t rank = ((uint64_t)l->total * (uint64_t)percentile + 99) / 100, seen = 0;
    size_t bucket = 0;
    for (; bucket < CALL_LATENCY_BUCKETS - 1; bucket++) {
        seen += l->counts[bucket];
        if (seen >= rank)
            break;
    }
    l->known_ns = bucket_ns(bucket);
    l->known_percentile = percentile;
    l->since = 0;
    return l->known_ns;
}
