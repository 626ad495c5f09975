/* SPDX-License-Identifier: Apache-2.0
 *
 * Ejection of one address; see call_eject.h.
 */
#include "call_eject.h"

enum call_sign call_sign_of(enum call_outcome outcome, int64_t ran_ms, int64_t timeout_ms)
{
    switch (outcome) {
    case CALL_OUTCOME_ANSWER:
    case CALL_OUTCOME_THROTTLED:
        return CALL_SIGN_GOOD;
    case CALL_OUTCOME_REFUSED:
        return CALL_SIGN_REFUSED;
    case CALL_OUTCOME_FAILED:
    case CALL_OUTCOME_LOST:
    case CALL_OUTCOME_BROKEN:
        return CALL_SIGN_BAD;
    case CALL_OUTCOME_TIMEOUT:
        return call_health_of(outcome, ran_ms, timeout_ms) == CALL_HEALTH_BAD ? CALL_SIGN_BAD : CALL_SIGN_NONE;
    default:
        return CALL_SIGN_NONE;
    }
}

bool call_eject_out(const struct call_eject *e, int64_t now_ns)
{
    return e->unhealthy || e->until_ns > now_ns;
}

bool call_eject_steady(const struct call_eject *e, enum call_sign sign)
{
    return sign == CALL_SIGN_NONE || (sign == CALL_SIGN_GOOD && e->failures == 0);
}

static int64_t eject_ms(const struct call_policy_eject *p, int64_t times)
{
    int64_t ms = p->base_ms;
    for (int64_t i = 1; i < times && ms < p->max_ms; i++)
        ms *= 2;
    return ms < p->max_ms ? ms : p->max_ms;
}

bool call_eject_note(struct call_eject *e, const struct call_policy_eject *p, enum call_sign sign, size_t out,
                     size_t count, int64_t now_ns)
{
    bool was_out = e->until_ns > now_ns;
    if (sign == CALL_SIGN_GOOD)
        e->failures = 0;
    if (sign == CALL_SIGN_REFUSED) {
        int64_t until_ns = now_ns + p->base_ms * 1000000;
        e->until_ns = e->until_ns > until_ns ? e->until_ns : until_ns;
        return !was_out;
    }
    /* What was under way when it was ejected says nothing new. */
    if (sign != CALL_SIGN_BAD || p->failures == 0 || was_out)
        return false;
    e->failures++;
    size_t out_then = out + (e->unhealthy ? 0 : 1);
    if (e->failures < p->failures || out_then * 100 > count * (size_t)p->percent)
        return false;
    bool soon = e->times > 0 && now_ns - e->until_ns <= p->max_ms * 1000000;
    e->times = soon ? e->times + 1 : 1;
    e->until_ns = now_ns + eject_ms(p, e->times) * 1000000;
    e->failures = 0;
    return true;
}

bool call_eject_check(struct call_eject *e, const struct call_policy_check *p, bool good)
{
    if (good == !e->unhealthy) {
        e->checks = 0;
        return false;
    }
    e->checks++;
    if (e->checks < (good ? p->healthy : p->unhealthy))
        return false;
    e->unhealthy = !good;
    e->checks = 0;
    e->failures = 0;
    return true;
}

void call_eject_unchecked(struct call_eject *e)
{
    e->unhealthy = false;
    e->checks = 0;
}
