/* SPDX-License-Identifier: Apache-2.0
 *
 * Load shedding: a gateway that is overloaded refuses new requests at once, so that those under way are served in time
 * (Envoy: overload manager). Its own health and metrics are answered all the same.
 *
 * A probe looks while requests come, and as long as it is overloaded; an idle gateway is not woken by it. How late the
 * probe comes is how long whatever is ready has to wait for its turn of the loop.
 */
#include "access_log.h"
#include "proxy_private.h"

enum { PROBE_MS = 100 };

static void look(struct proxy *p, struct overload_look *ret_look)
{
    struct proxy_usage usage = {.files_free = SIZE_MAX};
    if (p->o.usage != NULL)
        p->o.usage(p->o.arg, &usage);
    *ret_look = (struct overload_look){
        .lag_ms = (env_now_ns(p->env) - p->probe_due_ns) / 1000000, .memory_size = usage.memory_size, .files_free = usage.files_free};
}

static void probe_start(struct proxy *p)
{
    p->probe_seen = false;
    p->probe_due_ns = env_now_ns(p->env) + (int64_t)PROBE_MS * 1000000;
    env_timer_start(p->env, &p->probe, PROBE_MS);
}

void proxy_overload_probe(void *arg)
{
    struct proxy *p = arg;
    struct overload_look l;
    look(p, &l);
    enum overload_why before = p->overload.why, why = overload_note(&p->overload, &p->current->config->overload, &l);
    if (why != before && why != OVERLOAD_NONE)
        LOG(&p->process.log, LOG_WARN, NULL, "gateway.overloaded", "new requests are refused", LOG_STR("why", overload_word(why)),
            LOG_INT("lag_ms", l.lag_ms), LOG_INT("memory", l.memory_size));
    else if (why != before)
        LOG(&p->process.log, LOG_WARN, NULL, "gateway.recovered", "new requests are taken again", LOG_STR("was", overload_word(before)));
    if (why == OVERLOAD_FILES)
        call_engine_close_idle(p->process.calls);
    /* Clients that keep their connections would keep it refusing: what requests have freed is resident until it is given back. */
    if (why == OVERLOAD_MEMORY && p->o.memory_low != NULL)
        p->o.memory_low(p->o.arg, p->env);
    if (p->probe_seen || p->overload.late_count > 0 || why != OVERLOAD_NONE)
        probe_start(p);
}

enum proxy_verdict filter_overload(struct proxy_request *q)
{
    struct proxy *p = q->proxy;
    p->probe_seen = true;
    if (!env_timer_armed(&p->probe))
        probe_start(p);
    if (p->overload.why == OVERLOAD_NONE)
        return PROXY_PASS;
    struct http_field retry = {SLICE("Retry-After"), SLICE("1")};
    q->flags |= ACCESS_OM;
    metric_inc(METRIC(p->metrics[PROXY_SHED], slice_str(overload_word(p->overload.why))));
    proxy_problem(q, 503, "overloaded", "the gateway has more to do than it can", &retry, 1);
    return PROXY_ANSWERED;
}
