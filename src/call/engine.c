/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine around the calls: edges with their policy, breaker, budget, pool and the rest, the metrics, what people
 * ask, and the end of it all.
 *
 * Close: new calls are refused at once; in the next turn the running ones end with CANCELLED, every connection is
 * closed, and when the last is gone the memory goes and closed fires.
 */
#include "assert.h"
#include "call_private.h"
#include "h1_parse.h"
#include "mem.h"

#include <stdio.h>

static const struct metric_def call_metric_defs[CALL_METRICS] = {
    [CALL_METRIC_REQUESTS] = {.name = "call_requests_total", .type = METRIC_COUNTER, .labels = {"callee", "outcome"},
                              .children_max = 512, .one_thread = true,
                              .help = "Outbound calls that ended, by outcome: ok, failed (answer 5xx), timeout, "
                                      "refused, reset, unavailable, busy, protocol, cancelled, other."},
    [CALL_METRIC_ATTEMPTS] = {.name = "call_attempts_total", .type = METRIC_COUNTER, .labels = {"callee"}, .one_thread = true,
                              .help = "Attempts of outbound calls, repetitions included."},
    [CALL_METRIC_DURATION] = {.name = "call_duration_seconds", .type = METRIC_HISTOGRAM, .unit = METRIC_SECONDS,
                              .labels = {"callee"}, .one_thread = true,
                              .help = "Duration of outbound calls with all attempts, to the end of the answer."},
    [CALL_METRIC_BREAKER] = {.name = "call_breaker_state", .type = METRIC_GAUGE, .labels = {"callee"},
                             .help = "Circuit breaker: 0 closed, 1 open, 2 half open."},
    [CALL_METRIC_EJECTIONS] = {.name = "call_ejections_total", .type = METRIC_COUNTER, .labels = {"callee", "reason"},
                               .children_max = 512,
                               .help = "How often an address was left alone: refused (connections), failures (in a row), "
                                       "check (health checks)."},
    [CALL_METRIC_LIMIT] = {.name = "call_concurrency_limit", .type = METRIC_GAUGE, .labels = {"callee"},
                           .help = "Calls that the bulkhead lets run at a time."},
    [CALL_METRIC_WAITING] = {.name = "call_bulkhead_waiting", .type = METRIC_GAUGE, .labels = {"callee"},
                             .help = "Calls that wait for a place of the bulkhead."},
    [CALL_METRIC_HEDGES] = {.name = "call_hedges_total", .type = METRIC_COUNTER, .labels = {"callee", "outcome"},
                            .children_max = 512,
                            .help = "Hedges: won (answered first) and lost."},
    [CALL_METRIC_FAULTS] = {.name = "call_faults_total", .type = METRIC_COUNTER, .labels = {"callee", "kind"},
                            .children_max = 512,
                            .help = "Faults made on purpose: delay, abort, reset."},
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
    g->shared_own = o->shared == NULL ? call_shared_new() : NULL;
    g->shared = o->shared != NULL ? o->shared : g->shared_own;
    list_init(&g->calls);
    list_init(&g->spare);
    uint64_t seed[2];
    env_random(e, seed, sizeof seed);
    map_init(&g->edges, seed);
    identity_memo_init(&g->identities, seed);
    enum ficus_err err = g->self == NULL || g->shared == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK && g->metrics != NULL)
        err = metrics_register_all(g->metrics, call_metric_defs, CALL_METRICS, g->families);
    if (err != FICUS_ERR_OK) {
        map_done(&g->edges);
        call_shared_free(g->shared_own);
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
    void *value;
    while (map_next(&g->edges, &pos, &name, &value)) {
        struct call_edge *edge = value;
        pool_done(&edge->pool);
        call_policy_done(&edge->policy);
        call_checker_free(edge->checker);
        mem_free(edge->latency);
        mem_free(edge->told);
        mem_free(edge->names);
        call_edge_identity_forget(edge);
        mem_free(edge);
    }
    map_done(&g->edges);
    for (struct list *l; (l = list_pop_head(&g->spare)) != NULL;)
        mem_free(CONTAINER_OF(l, struct call, link));
    identity_memo_done(&g->identities);
    call_shared_free(g->shared_own);
    mem_free(g->self);
    mem_free(g);
}

void call_engine_part_closed(void *engine)
{
    struct call_engine *g = engine;
    FICUS_ASSERT(g->parts_closing > 0);
    if (--g->parts_closing > 0)
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

struct call_edge *call_edge_find(struct call_engine *g, const char *callee)
{
    struct slice name = slice_str(callee);
    if (name.size == 0)
        return NULL;
    struct call_edge **recent = &g->recent[(name.size + (unsigned char)name.p[0] + (unsigned char)name.p[name.size - 1]) % CALL_RECENT];
    if (*recent == NULL || !slice_eq(name, slice_make((*recent)->name, (*recent)->name_size))) {
        struct call_edge *edge = map_get(&g->edges, name);
        if (edge == NULL)
            return NULL;
        *recent = edge;
    }
    return *recent;
}

void call_edge_identity_forget(struct call_edge *edge)
{
    if (edge->identity != NULL)
        mem_wipe(edge->identity, edge->identity_size);
    MEM_FREE(edge->identity);
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
    edge->name_size = size;
    edge->shared = call_shared_edge(g->shared, callee, env_now_ns(g->env));
    if (edge->shared == NULL || !map_put(&g->edges, slice_str(callee), edge)) {
        mem_free(edge);
        return NULL;
    }
    edge->engine = g;
    edge->grant = (struct env_task){.fn = call_bulkhead_granted, .arg = edge};
    list_init(&edge->granted);
    edge->random = env_random_u64(g->env);
    pool_init(&edge->pool, g->env, &edge->policy, edge->shared, g->idle_conns_max, g->conns_max, g->queue_max);
    edge->pool.on_empty = call_engine_part_closed;
    edge->pool.arg = g;
    return edge;
}

static void edge_count_by(struct call_edge *edge, enum call_metric family, const char *const *words, size_t count,
                          struct metric **ret_metrics)
{
    for (size_t i = 0; i < count; i++)
        ret_metrics[i] = METRIC(edge->engine->families[family], slice_str(edge->name), slice_str(words[i]));
}

/* What the process has once is shown once, by the engine that comes first. */
static void edge_gauges(struct call_edge *edge)
{
    struct call_engine *g = edge->engine;
    struct call_shared_edge *shared = edge->shared;
    struct call_bulkhead *b = edge->bulkhead;
    struct slice name = slice_str(edge->name);
    call_shared_lock(shared);
    if (shared->breaker_gauge == NULL)
        shared->breaker_gauge = METRIC(g->families[CALL_METRIC_BREAKER], name);
    if (b != NULL && b->limit_gauge == NULL) {
        b->limit_gauge = METRIC(g->families[CALL_METRIC_LIMIT], name);
        b->waiting_gauge = METRIC(g->families[CALL_METRIC_WAITING], name);
    }
    call_shared_unlock(shared);
}

static void edge_metrics(struct call_edge *edge)
{
    static const char *const reasons[POOL_REASONS] = {"refused", "failures", "check"};
    static const char *const ends[CALL_HEDGE_ENDS] = {"won", "lost"};
    static const char *const kinds[CALL_FAULT_KINDS] = {"delay", "abort", "reset"};
    struct call_engine *g = edge->engine;
    struct slice name = slice_str(edge->name);
    if (g->metrics == NULL)
        return;
    edge->attempts = METRIC(g->families[CALL_METRIC_ATTEMPTS], name);
    edge->duration = METRIC(g->families[CALL_METRIC_DURATION], name);
    edge_gauges(edge);
    edge_count_by(edge, CALL_METRIC_EJECTIONS, reasons, POOL_REASONS, edge->pool.ejections);
    if (edge->policy.hedge != NULL)
        edge_count_by(edge, CALL_METRIC_HEDGES, ends, CALL_HEDGE_ENDS, edge->hedges);
    if (edge->policy.fault != NULL)
        edge_count_by(edge, CALL_METRIC_FAULTS, kinds, CALL_FAULT_KINDS, edge->faults);
}

/* The memory that p's words need and the edge has not yet. */
static enum ficus_err edge_parts(struct call_edge *edge, const struct call_policy *p)
{
    enum ficus_err err = FICUS_ERR_OK;
    if (p->bulkhead != NULL && edge->bulkhead == NULL)
        err = call_bulkhead_make(edge);
    if (err == FICUS_ERR_OK && p->check != NULL && edge->checker == NULL)
        err = call_checker_make(edge);
    if (err == FICUS_ERR_OK && p->hedge != NULL && p->hedge->after.percentile > 0 && edge->latency == NULL)
        edge->latency = mem_zalloc(sizeof *edge->latency);
    bool wants = p->hedge != NULL && p->hedge->after.percentile > 0;
    return err == FICUS_ERR_OK && wants && edge->latency == NULL ? FICUS_ERR_NOMEM : err;
}

/* The side of TLS towards an upstream; *ret_tls NULL: plain. */
static enum ficus_err upstream_tls(struct call_edge *edge, const struct call_upstream *u, const struct call_url *url,
                                   struct tls_client **ret_tls, struct ficus_error *reterr)
{
    static const char *const offers[] = {"h2", "http/1.1", NULL}, *const only_h2[] = {"h2", NULL};
    char host[ENV_HOST_SIZE];
    (void)snprintf(host, sizeof host, SLICE_FMT, SLICE_ARG(url->host));
    const struct tls_client_options options = {.name = u->name != NULL ? u->name : host,
                                               .ca_file = u->ca,
                                               .certificate_file = u->certificate,
                                               .key_file = u->key,
                                               .protocols = u->protocol == CALL_PROTOCOL_HTTP1 ? offers + 1
                                                            : u->protocol == CALL_PROTOCOL_H2  ? only_h2
                                                                                               : offers};
    return url->secure ? env_tls_client_new(edge->engine->env, &options, ret_tls, reterr) : FICUS_ERR_OK;
}

/* Where the edge leads from now on: to its url, or to what was told of it. */
static enum ficus_err edge_lead(struct call_edge *edge, const struct call_url *url)
{
    char address[CALL_ADDRESS_SIZE];
    const char *list[] = {address};
    enum ficus_err err;
    if (url != NULL && url->is_name)
        return call_names_lead(edge, url);
    if (url == NULL) {
        err = pool_set_addresses(&edge->pool, edge->told == NULL ? NULL : edge->told->list, edge->told == NULL ? 0 : edge->told->count);
    } else {
        call_url_address(url->host, url->port, address);
        err = pool_set_addresses(&edge->pool, list, 1);
    }
    if (err == FICUS_ERR_OK)
        call_names_stop(edge);  /* who waited for a name goes there */
    return err;
}

enum ficus_err call_engine_edge(struct call_engine *g, const char *callee, const struct call_policy *p,
                                struct ficus_error *reterr)
{
    struct call_edge *edge = edge_make(g, callee);
    struct call_policy own;
    struct call_url url = {0};
    struct tls_client *tls = NULL;
    if (edge == NULL && (callee[0] == '\0' || strlen(callee) > CALL_NAME_SIZE_MAX))
        return err_set(reterr, FICUS_ERR_INVALID, "a name has 1 to %d bytes", CALL_NAME_SIZE_MAX);
    if (edge == NULL || call_policy_copy(p, &own) != FICUS_ERR_OK)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = edge_parts(edge, &own);
    if (err != FICUS_ERR_OK)
        err_set(reterr, err, "out of memory");
    else if (own.upstream != NULL && !call_url_parse(slice_str(own.upstream->url), &url))
        err = err_set(reterr, FICUS_ERR_INVALID, "url \"%s\"", own.upstream->url);
    else if (own.upstream != NULL)
        err = upstream_tls(edge, own.upstream, &url, &tls, reterr);
    bool leads_elsewhere = own.upstream != NULL || edge->policy.upstream != NULL;
    if (err == FICUS_ERR_OK && leads_elsewhere && edge_lead(edge, own.upstream != NULL ? &url : NULL) != FICUS_ERR_OK)
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    if (err != FICUS_ERR_OK) {
        env_tls_client_free(edge->engine->env, tls);
        call_policy_done(&own);
        return err;
    }
    call_policy_done(&edge->policy);
    edge->policy = own;
    edge->authority = own.upstream != NULL ? url.authority : slice_str(edge->name);
    edge->authority_valid = h1_authority_valid(edge->authority);
    int protocol = own.upstream != NULL ? own.upstream->protocol : CALL_PROTOCOL_HTTP1;
    pool_set_side(&edge->pool, tls, protocol == CALL_PROTOCOL_H2 || protocol == CALL_PROTOCOL_H2C,
                  tls != NULL && protocol == CALL_PROTOCOL_ANY);
    edge->declared = true;
    bool many = own.bulkhead != NULL && (size_t)own.bulkhead->concurrency > g->conns_max;
    edge->pool.conns_max = many ? (size_t)own.bulkhead->concurrency : g->conns_max;
    struct slice field = slice_str(own.fault != NULL ? own.fault->header : NULL);
    edge->fault_name = slice_cut(&field, ':');
    edge->fault_value = slice_trim(field);
    edge_metrics(edge);
    if (edge->bulkhead != NULL)
        call_bulkhead_apply(edge);
    if (own.check == NULL)  /* with several loops the one that checks comes to this as well, and nobody says so again */
        pool_unchecked(&edge->pool);
    return FICUS_ERR_OK;
}

/* NULL: out of memory. */
static struct call_addresses *addresses_new(const char *const *list, size_t count)
{
    struct call_addresses *a;
    size_t size = sizeof *a + count * sizeof a->list[0];
    for (size_t i = 0; i < count; i++)
        size += strlen(list[i]) + 1;
    a = mem_alloc(size);
    if (a == NULL)
        return NULL;
    char *at = (char *)&a->list[count];
    for (a->count = 0; a->count < count; a->count++) {
        size_t text_size = strlen(list[a->count]) + 1;
        a->list[a->count] = memcpy(at, list[a->count], text_size);
        at += text_size;
    }
    return a;
}

enum ficus_err call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses,
                                     size_t address_count)
{
    if (g->closing)
        return FICUS_ERR_OK;
    struct call_edge *edge = edge_make(g, callee);
    struct call_addresses *told = edge == NULL ? NULL : addresses_new(addresses, address_count);
    if (told == NULL)
        return FICUS_ERR_NOMEM;
    if (edge->policy.upstream == NULL && pool_set_addresses(&edge->pool, told->list, told->count) != FICUS_ERR_OK) {
        mem_free(told);
        return FICUS_ERR_NOMEM;
    }
    mem_free(edge->told);
    edge->told = told;
    return FICUS_ERR_OK;
}

struct call_shared *call_engine_shared(struct call_engine *g)
{
    return g->shared;
}

void call_engine_told(const struct call_engine *g, call_told *fn, void *arg)
{
    size_t pos = 0;
    struct slice name;
    void *value;
    while (map_next(&g->edges, &pos, &name, &value)) {
        const struct call_edge *edge = value;
        if (edge->told != NULL)
            fn(arg, edge->name, edge->told->list, edge->told->count);
    }
}

struct copying {
    struct call_engine *to;
    enum ficus_err err;
};

static void copy_told(void *arg, const char *callee, const char *const *addresses, size_t address_count)
{
    struct copying *c = arg;
    if (c->err == FICUS_ERR_OK)
        c->err = call_engine_endpoints(c->to, callee, addresses, address_count);
}

enum ficus_err call_engine_endpoints_copy(const struct call_engine *g, struct call_engine *to)
{
    struct copying c = {.to = to};
    call_engine_told(g, copy_told, &c);
    return c.err;
}

bool call_engine_has_endpoints(const struct call_engine *g, const char *callee)
{
    const struct call_edge *edge = edge_get(g, callee);
    return edge != NULL && (edge->pool.had_target || edge->policy.upstream != NULL);
}

/* ---- breaker, budget and metrics ---- */

enum call_admission call_edge_admit(struct call_edge *edge)
{
    struct call_shared_edge *s = edge->shared;
    if (!edge->policy.breaker.enabled || s->breaker.state == CALL_BREAKER_CLOSED)
        return CALL_ADMIT_YES;
    call_shared_lock(s);
    enum call_admission a = call_breaker_admit(&s->breaker, &edge->policy, env_now_ns(edge->engine->env));
    metric_set(s->breaker_gauge, s->breaker.state);
    call_shared_unlock(s);
    return a;
}

bool call_edge_lets(struct call_edge *edge, int64_t now_ns)
{
    call_shared_lock(edge->shared);
    bool lets = call_breaker_lets(&edge->shared->breaker, &edge->policy, now_ns);
    call_shared_unlock(edge->shared);
    return lets;
}

void call_edge_note(struct call_edge *edge, bool probe, enum call_health health)
{
    struct call_shared_edge *s = edge->shared;
    if (call_breaker_steady(&s->breaker, &edge->policy, probe, health))
        return;
    call_shared_lock(s);
    call_breaker_note(&s->breaker, &edge->policy, probe, health, env_now_ns(edge->engine->env));
    metric_set(s->breaker_gauge, s->breaker.state);
    call_shared_unlock(s);
}

void call_edge_request(struct call_edge *edge)
{
    struct call_shared_edge *s = edge->shared;
    if (call_budget_full(&s->budget))
        return;
    call_shared_lock(s);
    call_budget_request(&s->budget, &edge->policy.retry, env_now_ns(edge->engine->env));
    call_shared_unlock(s);
}

bool call_edge_repeat(struct call_edge *edge)
{
    call_shared_lock(edge->shared);
    bool may = call_budget_repeat(&edge->shared->budget, env_now_ns(edge->engine->env));
    call_shared_unlock(edge->shared);
    return may;
}

void call_edge_count(struct call_edge *edge, enum call_end end, int64_t duration_ns)
{
    static const char *const words[CALL_ENDS] = {"ok", "failed", "timeout", "refused", "reset", "unavailable", "busy", "protocol",
                                                 "cancelled", "other"};
    struct call_engine *g = edge->engine;
    if (g->metrics == NULL)
        return;
    if (edge->ends[end] == NULL)
        edge->ends[end] = METRIC(g->families[CALL_METRIC_REQUESTS], slice_str(edge->name), slice_str(words[end]));
    metric_inc(edge->ends[end]);
    metric_observe(edge->duration, duration_ns);
}

const char *call_engine_breaker_state(const struct call_engine *g, const char *callee)
{
    const struct call_edge *edge = edge_get(g, callee);
    return call_breaker_state_name(edge == NULL ? CALL_BREAKER_CLOSED : edge->shared->breaker.state);
}

/* ---- what people ask ---- */

static void edge_describe(const struct call_edge *edge, struct json_writer *w)
{
    const struct call_bulkhead *b = edge->bulkhead;
    json_write_object(w);
    json_write_kv_str(w, "callee", edge->name);
    json_write_kv_str(w, "breaker", call_breaker_state_name(edge->shared->breaker.state));
    json_write_kv_i64(w, "waiting", (int64_t)edge->pool.waiting_count);
    if (edge->policy.bulkhead != NULL) {
        json_write_key(w, "bulkhead");
        json_write_object(w);
        json_write_kv_i64(w, "limit", b->places);
        json_write_kv_i64(w, "running", b->running);
        json_write_kv_i64(w, "waiting", b->waiting_count);
        json_write_end(w);
    }
    json_write_key(w, "addresses");
    json_write_array(w);
    pool_describe(&edge->pool, w);
    json_write_end(w);
    json_write_end(w);
}

size_t call_engine_describe(const struct call_engine *g, struct json_writer *w)
{
    size_t pos = 0, count = 0;
    struct slice name;
    void *edge;
    json_write_array(w);
    while (map_next(&g->edges, &pos, &name, &edge)) {
        edge_describe(edge, w);
        count++;
    }
    json_write_end(w);
    return count;
}

void call_engine_close_idle(struct call_engine *g)
{
    size_t pos = 0;
    struct slice name;
    void *value;
    while (map_next(&g->edges, &pos, &name, &value))
        pool_close_idle(&((struct call_edge *)value)->pool);
}

/* ---- close ---- */

static void engine_close_now(void *arg)
{
    struct call_engine *g = arg;
    while (!list_empty(&g->calls))
        call_end_cancelled(CONTAINER_OF(g->calls.next, struct call, link), "the engine closes");
    size_t pos = 0;
    struct slice name;
    void *value;
    g->parts_closing = 1;           /* this function's own share, so that it cannot end meanwhile */
    while (map_next(&g->edges, &pos, &name, &value)) {
        struct call_edge *edge = value;
        g->parts_closing += edge->checker != NULL ? call_checker_close(edge->checker) : 0;
        call_names_stop(edge);
        g->parts_closing += !call_bulkhead_close(edge);
        g->parts_closing += !pool_close(&edge->pool);
    }
    call_engine_part_closed(g);
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
