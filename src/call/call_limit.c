/* SPDX-License-Identifier: Apache-2.0
 *
 * The limit of calls at a time; see call_limit.h.
 */
#include "call_limit.h"

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

static double bounded(const struct call_limit *l, double limit)
{
    double max = (double)l->max, min = smaller(CALL_LIMIT_MIN, max);
    return limit < min ? min : smaller(limit, max);
}

/* Newton's way, good to a hundredth for 1..65536: no mathematics library for this alone. */
static double root(double v)
{
    double r = v > 64 ? v / 16 : v > 4 ? v / 2 : v;
    for (int i = 0; i < 12; i++)
        r = (r + v / r) / 2;
    return r;
}

static void window_begin(struct call_limit *l, int64_t now_ns)
{
    l->begun_ns = now_ns;
    l->count = l->failed = l->running_max = 0;
    l->sum_ns = 0;
}

void call_limit_init(struct call_limit *l, const struct call_policy_bulkhead *p, int64_t now_ns)
{
    *l = (struct call_limit){.adaptive = p->adaptive, .max = p->concurrency, .base_since_ns = now_ns};
    l->limit = bounded(l, CALL_LIMIT_START);
    window_begin(l, now_ns);
}

int64_t call_limit_places(const struct call_limit *l)
{
    if (!l->adaptive)
        return l->max;
    return (int64_t)(l->phase == CALL_LIMIT_STEADY ? l->limit : bounded(l, l->limit / 2));
}

static void window_steady(struct call_limit *l, double mean_ns, int64_t now_ns)
{
    if (l->failed * 10 >= l->count) {
        l->limit = bounded(l, l->limit * 0.8);
    } else {
        l->base_ns = l->base_ns == 0 ? mean_ns : smaller(l->base_ns, mean_ns);
        double aim = l->limit * smaller(1, 1.2 * l->base_ns / mean_ns) + root(l->limit);
        bool used = (double)l->running_max * 2 >= l->limit;
        if (used || aim < l->limit)
            l->limit = bounded(l, l->limit + (aim - l->limit) / 5);
    }
    if (now_ns - l->base_since_ns >= CALL_LIMIT_BASE_MS * INT64_C(1000000))
        l->phase = CALL_LIMIT_DRAINING;
}

static void window_over(struct call_limit *l, int64_t now_ns)
{
    double mean_ns = l->sum_ns / (double)l->count;
    if (l->phase == CALL_LIMIT_STEADY) {
        window_steady(l, mean_ns, now_ns);
    } else if (l->phase == CALL_LIMIT_DRAINING) {
        l->phase = CALL_LIMIT_MEASURING;
    } else {
        l->phase = CALL_LIMIT_STEADY;
        l->base_ns = mean_ns;
        l->base_since_ns = now_ns;
    }
    window_begin(l, now_ns);
}

void call_limit_note(struct call_limit *l, int64_t latency_ns, bool failed, int64_t running, int64_t now_ns)
{
    if (!l->adaptive)
        return;
    l->count++;
    l->failed += failed;
    l->sum_ns += latency_ns > 0 ? (double)latency_ns : 1;
    l->running_max = running > l->running_max ? running : l->running_max;
    if (l->count >= CALL_LIMIT_WINDOW_CALLS && now_ns - l->begun_ns >= CALL_LIMIT_WINDOW_MS * INT64_C(1000000))
        window_over(l, now_ns);
}
