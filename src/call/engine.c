/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine around the calls: edges with their policy, breaker, budget and pool, the metrics, and the end of it all.
 *
 * Close: new calls are refused at once; in the next turn the running ones end with CANCELLED, every connection is
 * closed, and when the last is gone the memory goes and closed fires.
 */
#include "assert.h"
#include "call_private.h"
#include "mem.h"

static const struct metric_def call_metric_defs[CALL_METRICS] = {
    [CALL_METRIC_REQUESTS] = {.name = "call_requests_total", .type = METRIC_COUNTER, .labels = {"callee", "outcome"},
                              .children_max = 512,
                              .help = "Outbound calls that ended, by outcome: ok, failed (answer 5xx), timeout, "
                                      "refused, reset, unavailable, busy, protocol, cancelled, other."},
    [CALL_METRIC_ATTEMPTS] = {.name = "call_attempts_total", .type = METRIC_COUNTER, .labels = {"callee"},
                              .help = "Attempts of outbound calls, repetitions included."},
    [CALL_METRIC_DURATION] = {.name = "call_duration_seconds", .type = METRIC_HISTOGRAM, .unit = METRIC_SECONDS,
                              .labels = {"callee"},
                              .help = "Duration of outbound calls with all attempts, to the end of the answer."},
    [CALL_METRIC_BREAKER] = {.name = "call_breaker_state", .type = METRIC_GAUGE, .labels = {"callee"},
                             .help = "Circuit breaker: 0 closed, 1 open, 2 half open."},
};

enum ficus_err call_engine_new(struct env *e, const struct call_engine_options *o, struct call_engine **ret_engine)
{
    if (o->self == NULL || o->key == NULL)
        return FICUS_ERR_INVALID;
    struct call_engine *g = mem_zalloc(sizeof *g);
    if (g == NULL)
        return FICUS_ERR_NOMEM;
    g->env = e;
    g->key = o->key;
    g->self = mem_strdup(o->self);
    g->conns_max = o->conns_max > 0 ? o->conns_max : 256;
    /* Under load all of a loop turn's answers come before its next requests: whatever is closed between is made anew at
     * once. What is really not needed any more goes by its age (POOL_IDLE_MS). */
    g->idle_conns_max = o->idle_conns_max > 0 ? o->idle_conns_max : g->conns_max;
    g->queue_max = o->queue_max > 0 ? o->queue_max : 1024;
    g->metrics = o->metrics;
    list_init(&g->calls);
    uint64_t seed[2];
    env_random(e, seed, sizeof seed);
    map_init(&g->edges, seed);
    identity_memo_init(&g->identities, seed);
    enum ficus_err err = g->self == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK && g->metrics != NULL)
        err = metrics_register_all(g->metrics, call_metric_defs, CALL_METRICS, g->families);
    if (err != FICUS_ERR_OK) {
        map_done(&g->edges);
        mem_free(g->self);
        mem_free(g);
        return err;
    }
    *ret_engine = g;
    return FICUS_ERR_OK;
}

/* ---- edges ---- */

static void engine_free(struct call_engine *g)
{
    size_t pos = 0;
    struct slice name;
    void *edge;
    while (map_next(&g->edges, &pos, &name, &edge)) {
        pool_done(&((struct call_edge *)edge)->pool);
        mem_free(edge);
    }
    map_done(&g->edges);
    identity_memo_done(&g->identities);
    mem_free(g->self);
    mem_free(g);
}

static void on_pool_empty(void *arg)
{
    struct call_engine *g = arg;
    FICUS_ASSERT(g->pools_closing > 0);
    if (--g->pools_closing > 0)
        return;
    void (*closed)(void *arg) = g->closed;
    void *closed_arg = g->closed_arg;
    engine_free(g);
    closed(closed_arg);
}

static struct call_edge *edge_get(const struct call_engine *g, const char *callee)
{
    return map_get(&g->edges, slice_str(callee));
}

static struct call_edge *edge_make(struct call_engine *g, const char *callee)
{
    struct call_edge *edge = edge_get(g, callee);
    size_t size = strlen(callee);
    if (edge != NULL || map_count(&g->edges) >= CALL_EDGES_MAX || size == 0 || size > CALL_NAME_SIZE_MAX)
        return edge;
    edge = mem_zalloc(sizeof *edge + size + 1);
    if (edge == NULL)
        return NULL;
    memcpy(edge->name, callee, size + 1);
    if (!map_put(&g->edges, slice_str(callee), edge)) {
        mem_free(edge);
        return NULL;
    }
    edge->engine = g;
    call_budget_init(&edge->budget, env_now_ns(g->env));
    pool_init(&edge->pool, g->env, g->idle_conns_max, g->conns_max, g->queue_max);
    edge->pool.on_empty = on_pool_empty;
    edge->pool.arg = g;
    return edge;
}

static void edge_declare(struct call_edge *edge)
{
    struct call_engine *g = edge->engine;
    if (edge->declared || g->metrics == NULL)
        return;
    struct slice name = slice_str(edge->name);
    edge->attempts = METRIC(g->families[CALL_METRIC_ATTEMPTS], name);
    edge->duration = METRIC(g->families[CALL_METRIC_DURATION], name);
    edge->breaker_gauge = METRIC(g->families[CALL_METRIC_BREAKER], name);
    metric_set(edge->breaker_gauge, edge->breaker.state);
}

enum ficus_err call_engine_edge(struct call_engine *g, const char *callee, const struct call_policy *p)
{
    struct call_edge *edge = edge_make(g, callee);
    if (edge == NULL)
        return callee[0] == '\0' || strlen(callee) > CALL_NAME_SIZE_MAX ? FICUS_ERR_INVALID : FICUS_ERR_NOMEM;
    edge_declare(edge);
    edge->policy = *p;
    edge->declared = true;
    return FICUS_ERR_OK;
}

enum ficus_err call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses,
                                     size_t address_count)
{
    if (g->closing)
        return FICUS_ERR_OK;
    struct call_edge *edge = edge_make(g, callee);
    return edge == NULL ? FICUS_ERR_NOMEM : pool_set_addresses(&edge->pool, addresses, address_count);
}

bool call_engine_has_endpoints(const struct call_engine *g, const char *callee)
{
    const struct call_edge *edge = edge_get(g, callee);
    return edge != NULL && edge->pool.had_target;
}

/* ---- breaker and metrics ---- */

enum call_admission call_edge_admit(struct call_edge *edge)
{
    enum call_admission a = call_breaker_admit(&edge->breaker, &edge->policy, env_now_ns(edge->engine->env));
    metric_set(edge->breaker_gauge, edge->breaker.state);
    return a;
}

void call_edge_note(struct call_edge *edge, bool probe, enum call_health health)
{
    call_breaker_note(&edge->breaker, &edge->policy, probe, health, env_now_ns(edge->engine->env));
    metric_set(edge->breaker_gauge, edge->breaker.state);
}

void call_edge_count(struct call_edge *edge, const char *outcome, int64_t duration_ns)
{
    struct call_engine *g = edge->engine;
    if (g->metrics == NULL)
        return;
    metric_inc(METRIC(g->families[CALL_METRIC_REQUESTS], slice_str(edge->name), slice_str(outcome)));
    metric_observe(edge->duration, duration_ns);
}

const char *call_engine_breaker_state(const struct call_engine *g, const char *callee)
{
    const struct call_edge *edge = edge_get(g, callee);
    return call_breaker_state_name(edge == NULL ? CALL_BREAKER_CLOSED : edge->breaker.state);
}

/* ---- close ---- */

static void engine_close_now(void *arg)
{
    struct call_engine *g = arg;
    while (!list_empty(&g->calls))
        call_end_cancelled(CONTAINER_OF(g->calls.next, struct call, link), "the engine closes");
    size_t pos = 0;
    struct slice name;
    void *edge;
    g->pools_closing = 1;           /* this function's own share, so that it cannot end meanwhile */
    while (map_next(&g->edges, &pos, &name, &edge))
        if (!pool_close(&((struct call_edge *)edge)->pool))
            g->pools_closing++;
    on_pool_empty(g);
}

void call_engine_close(struct call_engine *g, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!g->closing);
    g->closing = true;
    g->closed = closed;
    g->closed_arg = arg;
    g->close_timer = (struct env_timer){.fn = engine_close_now, .arg = g};
    env_timer_start(g->env, &g->close_timer, 0);
}
