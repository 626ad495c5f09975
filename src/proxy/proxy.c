/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's life: start, ready, drain, stop. See proxy.h.
 *
 *   start -> serving (ready when addresses and keys are there) -> draining -> connections closed -> (the first one: the
 * other loops are gone) -> keys, process -> freed
 */
#include "proxy_private.h"

#include "access_log.h"
#include "assert.h"
#include "mem.h"

/* ns: from 10 us on, because that is what a request takes here */
static const int64_t added_bounds[] = {10000,   20000,   30000,    50000,    100000,    200000,    500000,
                                       1000000, 5000000, 25000000, 100000000, 1000000000, 0};

static const struct metric_def metric_defs[PROXY_METRIC_COUNT] = {
    [PROXY_REQUESTS] = {"gateway_requests_total",
                        METRIC_COUNTER,
                        METRIC_NONE,
                        "Requests by route and status of the answer.",
                        {"route", "status"},
                        METRIC_CHILDREN_MAX,
                        NULL,
                        .one_thread = true},
    [PROXY_SECONDS] = {"gateway_request_seconds",
                       METRIC_HISTOGRAM,
                       METRIC_SECONDS,
                       "From the head of a request to the end of its answer.",
                       {"route"},
                       METRIC_CHILDREN_MAX,
                       NULL,
                       .exemplars = true,
                       .one_thread = true},
    [PROXY_UPSTREAM_SECONDS] = {"gateway_upstream_seconds",
                                METRIC_HISTOGRAM,
                                METRIC_SECONDS,
                                "How long services took to the head of their answer.",
                                {"route"},
                                METRIC_CHILDREN_MAX,
                                NULL,
                                .one_thread = true},
    [PROXY_ADDED_SECONDS] = {"gateway_added_seconds",
                             METRIC_HISTOGRAM,
                             METRIC_SECONDS,
                             "Time to the head of an answer that was the gateway's own: neither the service's nor spent on "
                             "waiting for the client's body.",
                             {NULL},
                             0,
                             added_bounds,
                             .one_thread = true},
    [PROXY_AUTH_FAILURES] = {"gateway_auth_failures_total",
                             METRIC_COUNTER,
                             METRIC_NONE,
                             "Requests refused for who sent them.",
                             {"reason"},
                             0,
                             NULL},
    [PROXY_TOKENS] = {"gateway_tokens_total",
                      METRIC_COUNTER,
                      METRIC_NONE,
                      "Tokens accepted, by how: their signature was verified, or remembered.",
                      {"how"},
                      0,
                      NULL},
    [PROXY_REFUSED] = {"gateway_malformed_total",
                       METRIC_COUNTER,
                       METRIC_NONE,
                       "Input that was no acceptable HTTP request, by status.",
                       {"status"},
                       0,
                       NULL},
    [PROXY_CONNECTIONS] =
        {"gateway_connections", METRIC_GAUGE, METRIC_NONE, "Open connections of clients.", {NULL}, 0, NULL},
    [PROXY_PARTS_MISSING] = {"gateway_parts_missing_total",
                             METRIC_COUNTER,
                             METRIC_NONE,
                             "Parts of composed answers that did not come.",
                             {"route", "part"},
                             METRIC_CHILDREN_MAX,
                             NULL},
    [PROXY_SPLIT] = {"gateway_split_requests_total",
                     METRIC_COUNTER,
                     METRIC_NONE,
                     "Requests of routes with a split by the part that was taken and the status of the answer.",
                     {"route", "part", "status"},
                     METRIC_CHILDREN_MAX,
                     NULL},
    [PROXY_FALLBACKS] = {"gateway_fallbacks_total",
                         METRIC_COUNTER,
                         METRIC_NONE,
                         "Requests whose service was not available, by what was tried instead: stale, service, static.",
                         {"route", "by"},
                         METRIC_CHILDREN_MAX,
                         NULL},
    [PROXY_SHED] = {"gateway_shed_total",
                    METRIC_COUNTER,
                    METRIC_NONE,
                    "Requests refused because the gateway itself was overloaded, by why: lag, memory, descriptors.",
                    {"why"},
                    0,
                    NULL},
};

const struct metric_def *const proxy_conns_metric = &metric_defs[PROXY_CONNECTIONS];

static void on_refused(void *arg, int status, const char *detail)
{
    struct proxy *p = arg;
    char text[4] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10), (char)('0' + status % 10), '\0'};
    metric_inc(METRIC(p->metrics[PROXY_REFUSED], slice_str(text)));
    LOG(&p->process.log, LOG_DEBUG, NULL, "gateway.malformed", "input was refused", LOG_INT("status", status),
        LOG_STR("reason", detail));
}

/* Even an answer to garbage can be asked about later. */
static size_t refusal_fields(void *arg, struct http_field ret_fields[HTTP_REFUSAL_FIELDS_MAX])
{
    struct proxy *p = arg;
    uint8_t random[24];
    struct trace_context trace;
    env_random(p->env, random, sizeof random);
    trace_root(random, false, &trace);
    trace_format(&trace, p->refusal_trace);
    env_random(p->env, random, 10);
    uuid_v7(env_wall_ms(p->env), random, p->refusal_id);
    ret_fields[0] = (struct http_field){SLICE("X-Request-ID"), slice_str(p->refusal_id)};
    ret_fields[1] = (struct http_field){SLICE(TRACE_PARENT_HEADER), slice_str(p->refusal_trace)};
    ret_fields[2] = (struct http_field){SLICE("Cache-Control"), SLICE("no-store")};
    ret_fields[3] = (struct http_field){SLICE("X-Content-Type-Options"), SLICE("nosniff")};
    return 4;
}

static bool has_endpoints(const struct proxy *p)
{
    const struct proxy_config *config = p->current->config;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct proxy_route *r = &config->routes[i];
        if (r->service != NULL && !call_engine_has_endpoints(p->process.calls, r->service))
            return false;
        for (size_t k = 0; k < r->split_count; k++)
            if (!call_engine_has_endpoints(p->process.calls, r->splits[k].service))
                return false;
        for (size_t k = 0; k < r->part_count; k++)
            if (!call_engine_has_endpoints(p->process.calls, r->parts[k].service))
                return false;
    }
    return true;
}

/* Something that readiness needs has come: the keys, or addresses. */
static void become_ready(void *arg)
{
    struct proxy *p = arg;
    if (p->ready || p->stopping || !has_endpoints(p) ||
        (proxy_snapshot_needs_keys(p->current) && proxy_keys_use(p->current->issuer->keys) == NULL))
        return;
    p->ready = true;
    if (atomic_fetch_add(&p->loops->ready, 1) + 1 < p->loops->count)
        return;
    LOG(&p->process.log, LOG_INFO, NULL, "gateway.ready", "the gateway can serve all routes",
        LOG_INT("routes", p->current->config->route_count));
    if (p->o.on_ready != NULL)
        p->o.on_ready(p->o.arg);
}

/* ---- addresses, to the other loops ---- */

struct addresses_tour {
    struct proxy_tour tour;
    char *callee;
    bool refused;       /* by some loop, for want of memory */
    size_t count;
    const char *addresses[];
};

enum { RETELL_MS = 1000 };

static void retell_later(struct proxy *p)
{
    if (!p->stopping && !env_timer_armed(&p->retell))
        env_timer_start(p->env, &p->retell, RETELL_MS);
}

static void addresses_visit(struct proxy_tour *tour, struct proxy *p)
{
    struct addresses_tour *t = CONTAINER_OF(tour, struct addresses_tour, tour);
    if (call_engine_endpoints(p->process.calls, t->callee, t->addresses, t->count) != FICUS_ERR_OK) {
        LOG(&p->process.log, LOG_ERROR, NULL, "gateway.addresses", "new addresses did not fit the memory of a thread",
            LOG_STR("callee", t->callee));
        t->refused = true;
    }
    become_ready(p);
}

static void addresses_done(struct proxy_tour *tour)
{
    struct addresses_tour *t = CONTAINER_OF(tour, struct addresses_tour, tour);
    if (t->refused)
        retell_later(tour->loops->loop[0].proxy);
    mem_free(t->callee);
    mem_free(t);
}

static void on_addresses(void *arg, const char *callee, const char *const *addresses, size_t count)
{
    struct proxy *p = arg;
    size_t size = sizeof(struct addresses_tour) + count * sizeof addresses[0];
    if (p->loops->others == 0)
        return;
    for (size_t i = 0; i < count; i++)
        size += strlen(addresses[i]) + 1;
    struct addresses_tour *t = mem_zalloc(size);
    if (t == NULL || (t->callee = mem_strdup(callee)) == NULL) {
        mem_free(t);
        LOG(&p->process.log, LOG_ERROR, NULL, "gateway.addresses", "new addresses could not be told to all threads",
            LOG_STR("callee", callee));
        retell_later(p);
        return;
    }
    char *at = (char *)&t->addresses[count];
    for (t->count = 0; t->count < count; t->count++) {
        size_t text_size = strlen(addresses[t->count]) + 1;
        memcpy(at, addresses[t->count], text_size);
        t->addresses[t->count] = at;
        at += text_size;
    }
    t->tour = (struct proxy_tour){.visit = addresses_visit, .done = addresses_done};
    proxy_tour_begin(p->loops, &t->tour);
}

/* All of them as they are now: the ones that were refused may have changed since. */
static void retell(void *arg)
{
    struct proxy *p = arg;
    call_engine_told(p->process.calls, on_addresses, p);
}

/* ---- TLS ---- */

static void tls_log(struct proxy *p, const struct proxy_tls *c)
{
    int64_t days = (tls_server_expires_ms(p->tls) - env_wall_ms(p->env)) / (86400 * 1000);
    LOG(&p->process.log, days < 7 ? LOG_WARN : LOG_INFO, NULL, "gateway.tls",
        days < 7 ? "a certificate has expired or will within a week" : "certificates were read",
        LOG_INT("certificates", c->pair_count), LOG_INT("days_left", days));
}

static enum ficus_err tls_start(struct proxy *p, const struct proxy_tls *c, struct ficus_error *reterr)
{
    struct tls_server_options o = {.pairs = c->pairs,
                                   .pair_count = c->pair_count,
                                   .min = (enum tls_version)c->min,
                                   .protocols = http_protocols,
                                   .tickets_file = c->tickets_file[0] == '\0' ? NULL : c->tickets_file};
    enum ficus_err err = tls_server_new(p->env, &o, &p->tls, reterr);
    if (err == FICUS_ERR_OK)
        tls_log(p, c);
    return err;
}

/* Connections go on with the certificate that they were shown. */
static enum ficus_err tls_take(struct proxy *p, const struct proxy_tls *c, struct ficus_error *reterr)
{
    if (p->tls == NULL || p->beside)
        return FICUS_ERR_OK;
    enum ficus_err err = tls_server_reload(p->tls, c->pairs, c->pair_count, reterr);
    if (err == FICUS_ERR_OK)
        tls_log(p, c);
    return err;
}

/* ---- snapshots ---- */

/* What the manifest says, as far as the process has files for it. */
static struct http_limits limits_of(const struct proxy *p)
{
    const struct proxy_limits *l = &p->current->config->limits;
    size_t most = p->o.conn_count_max, wanted = (size_t)l->conn_count_max;
    return (struct http_limits){.head_size_max = (size_t)l->head_size_max,
                                .field_count_max = (size_t)l->field_count_max,
                                .target_size_max = (size_t)l->target_size_max,
                                .conn_count_max = most > 0 && (wanted == 0 || most < wanted) ? most : wanted,
                                .conn_request_count_max = (uint64_t)l->conn_request_count_max,
                                .head_timeout_ms = l->head_ms,
                                .idle_timeout_ms = l->idle_ms,
                                .body_timeout_ms = l->body_ms};
}

size_t proxy_conn_count_max(const struct proxy *p)
{
    size_t count = limits_of(p).conn_count_max;
    return count > 0 ? count : 1024; /* as http_limits has it */
}

/* What this file says is now what new requests go by. */
static enum ficus_err snapshot_begin(struct proxy *p, struct proxy_snapshot *s, struct ficus_error *reterr)
{
    struct proxy_snapshot *before = p->current;
    enum ficus_err err = proxy_snapshot_begin(s, before, &p->process, become_ready, p, reterr);
    if (err == FICUS_ERR_OK)
        err = tls_take(p, s->config->tls, reterr);
    if (err == FICUS_ERR_OK)
        err = process_reload(&p->process, &s->config->common, reterr);
    if (err != FICUS_ERR_OK) {
        (void)proxy_snapshot_unref(s);
        return err;
    }
    list_add_tail(&p->snapshots, &s->link);
    p->current = s;
    if (p->server != NULL) {
        struct http_limits limits = limits_of(p);
        http_server_limit(p->server, &limits);
    }
    if (s->files != NULL && !p->beside)
        LOG(&p->process.log, LOG_INFO, NULL, "gateway.files", "folders are served from memory",
            LOG_INT("files", files_count(s->files)));
    if (before != NULL)
        proxy_snapshot_leave(p, before);
    return FICUS_ERR_OK;
}

enum ficus_err proxy_swap(struct proxy *p, struct proxy_snapshot *s, struct ficus_error *reterr)
{
    enum ficus_err err = snapshot_begin(p, s, reterr);
    if (err == FICUS_ERR_OK)
        become_ready(p);
    return err;
}

/* A label that may have been cut stands for a path that we cannot know. */
static bool route_is_gone(void *arg, struct slice label)
{
    const struct proxy *p = arg;
    if (slice_eq_str(label, PROXY_ROUTE_NONE) || label.size > METRIC_LABEL_SIZE_MAX - 4)
        return false;
    LIST_FOREACH (&p->snapshots, it)
        if (proxy_snapshot_has_path(CONTAINER_OF(it, struct proxy_snapshot, link), label))
            return false;
    return true;
}

void proxy_snapshot_leave(struct proxy *p, struct proxy_snapshot *s)
{
    if (!proxy_snapshot_unref(s))
        return;
    for (size_t i = 0; i < PROXY_METRIC_COUNT; i++)
        if (metric_defs[i].labels[0] != NULL && strcmp(metric_defs[i].labels[0], "route") == 0)
            (void)metrics_forget(p->metrics[i], 0, route_is_gone, p);
    /* Where there is room again, routes that were counted as "other" have children of their own. */
    LIST_FOREACH (&p->snapshots, it)
        proxy_snapshot_forget_counts(CONTAINER_OF(it, struct proxy_snapshot, link));
}

/* ---- stop ---- */

static void process_closed(void *arg)
{
    struct proxy *p = arg;
    void (*stopped)(void *) = p->stopped;
    void *stopped_arg = p->stopped_arg;
    if (!p->beside)
        proxy_loops_free(p->loops);
    mem_free(p);
    if (stopped != NULL)
        stopped(stopped_arg);
}

/* No request is left, of clients or operators. */
static void rest_close(struct proxy *p)
{
    env_timer_stop(p->env, &p->drain_limit);
    env_timer_stop(p->env, &p->ready_kick);
    env_timer_stop(p->env, &p->probe);
    env_timer_stop(p->env, &p->retell);
    proxy_reload_cancel(p);
    p->process.config = &p->first->common;
    (void)proxy_snapshot_unref(p->current);
    FICUS_ASSERT(list_empty(&p->snapshots));
    if (!p->beside)
        tls_server_free(p->tls);
    process_close(&p->process, process_closed, p);
}

static void admin_closed(void *arg)
{
    struct proxy *p = arg;
    p->admin = NULL;
    rest_close(p);
}

/* Operators are answered until all clients have gone, from all loops. */
static void clients_gone(void *arg)
{
    struct proxy *p = arg;
    if (p->server != NULL || (!p->beside && !proxy_loops_gone(p->loops)))
        return;
    if (p->admin != NULL)
        http_server_close(p->admin, admin_closed, p);
    else
        rest_close(p);
}

static void server_closed(void *arg)
{
    struct proxy *p = arg;
    p->server = NULL;
    clients_gone(p);
}

static void drained(void *arg)
{
    struct proxy *p = arg;
    env_timer_stop(p->env, &p->drain_limit);
    http_server_close(p->server, server_closed, p);
}

static void drain_limit(void *arg)
{
    struct proxy *p = arg;
    LOG(&p->process.log, LOG_WARN, NULL, "gateway.drain_limit", "connections were still open when draining had to end",
        LOG_INT("connections", http_server_conn_count(p->server)));
    http_server_close(p->server, server_closed, p);
}

void proxy_stop(struct proxy *p, void (*stopped)(void *arg), void *arg)
{
    FICUS_ASSERT(!p->stopping);
    p->stopping = true;
    p->stopped = stopped;
    p->stopped_arg = arg;
    if (!p->beside) {
        LOG(&p->process.log, LOG_INFO, NULL, "gateway.draining", "the gateway takes no new connections",
            LOG_INT("connections", p->loops->clients.conn_count));
        proxy_loops_end(p->loops);
    }
    env_timer_start(p->env, &p->drain_limit, PROXY_DRAIN_MS);
    proxy_forward_end_streams(p);
    http_server_drain(p->server, drained, p);
}

/* ---- start ---- */

static enum ficus_err listen_all(struct proxy *p, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; err == FICUS_ERR_OK && i < p->first->listen_count; i++) {
        const char *address = p->first->listen[i];
        if (p->loops->count > 1 && !slice_starts(slice_str(address), SLICE("fd:")))
            return err_set(reterr, FICUS_ERR_UNSUPPORTED,
                           "listen on %s: with several threads only sockets that are inherited (fd:3)", address);
        err = http_server_listen(p->server, address, p->tls, reterr);
        if (err != FICUS_ERR_OK)
            err_wrap(reterr, "listen on %s", address);
    }
    return err;
}

/* What each loop has. s is taken over. */
static enum ficus_err start_parts(struct proxy *p, struct proxy_snapshot *s, struct ficus_error *reterr)
{
    enum ficus_err err = snapshot_begin(p, s, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (metrics_register_all(p->process.metrics, metric_defs, PROXY_METRIC_COUNT, p->metrics) != FICUS_ERR_OK)
        return err_set(reterr, FICUS_ERR_NOMEM, "metrics");
    struct http_server_options o = {.limits = limits_of(p),
                                    .share = &p->loops->clients,
                                    .h2c = true,
                                    .on_request = proxy_on_request,
                                    .on_refused = on_refused,
                                    .refusal_fields = refusal_fields,
                                    .arg = p};
    err = http_server_new(p->env, &o, &p->server);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "gateway");
    if (p->first->tls != NULL && p->tls == NULL)
        err = tls_start(p, p->first->tls, reterr);
    return err == FICUS_ERR_OK ? listen_all(p, reterr) : err;
}

static struct proxy *proxy_alloc(struct env *e, const struct proxy_config *config)
{
    struct proxy *p = mem_zalloc(sizeof *p);
    if (p == NULL)
        return NULL;
    p->env = e;
    p->first = config;
    list_init(&p->streams);
    list_init(&p->snapshots);
    p->ready_kick = (struct env_timer){.fn = become_ready, .arg = p};
    p->retell = (struct env_timer){.fn = retell, .arg = p};
    p->drain_limit = (struct env_timer){.fn = drain_limit, .arg = p};
    p->probe = (struct env_timer){.fn = proxy_overload_probe, .arg = p};
    return p;
}

/* What start_parts left is released. */
static void start_undo(struct proxy *p)
{
    if (p->server != NULL)
        http_server_close(p->server, server_closed, p);
    else
        server_closed(p);
}

static void started(struct proxy *p)
{
    p->process.endpoints_arg = p;
    if (!proxy_snapshot_needs_keys(p->current))
        env_timer_start(p->env, &p->ready_kick, 0);
}

enum ficus_err proxy_start(struct env *e, const struct proxy_config *config, const struct proxy_options *o,
                           struct proxy **ret_proxy, struct ficus_error *reterr)
{
    struct proxy *p = proxy_alloc(e, config);
    if (p != NULL)
        p->loops = proxy_loops_new(e, config->threads > 1 ? (size_t)config->threads : 1, clients_gone, p);
    if (p == NULL || p->loops == NULL) {
        mem_free(p);
        return err_set(reterr, FICUS_ERR_NOMEM, "gateway");
    }
    p->o = o != NULL ? *o : (struct proxy_options){0};
    p->stale = p->loops->stale;
    enum ficus_err err = process_init(&p->process, e, &config->common, reterr);
    if (err != FICUS_ERR_OK) {
        proxy_loops_free(p->loops);
        mem_free(p);
        return err;
    }
    access_log_init(p);
    p->loops->loop[0].metrics = p->process.metrics;
    struct proxy_snapshot *snapshot;
    err = proxy_snapshot_new(config, &snapshot, reterr);
    if (err == FICUS_ERR_OK)
        err = start_parts(p, snapshot, reterr);
    if (err == FICUS_ERR_OK)
        err = proxy_admin_open(p, reterr);
    if (err != FICUS_ERR_OK) {
        start_undo(p);
        return err;
    }
    p->process.on_endpoints = become_ready;
    p->process.on_addresses = on_addresses;
    started(p);
    *ret_proxy = p;
    return FICUS_ERR_OK;
}

enum ficus_err proxy_start_beside(struct env *e, struct proxy *first, void (*released)(void *arg), void *arg,
                                  struct ficus_error *reterr)
{
    struct proxy_loops *loops = first->loops;
    struct proxy_loop *loop = proxy_loops_enter(loops, e);
    struct proxy *p = loop == NULL ? NULL : proxy_alloc(e, first->first);
    if (p == NULL) {
        if (loop != NULL)
            proxy_loops_leave(loops);
        released(arg);
        return err_set(reterr, FICUS_ERR_NOMEM, "gateway");
    }
    loop->proxy = p;
    p->beside = true;
    p->loops = loops;
    p->o = first->o;
    p->tls = first->tls;
    p->stale = first->stale;
    enum ficus_err err = process_init_beside(&p->process, e, &first->process, loop->metrics, reterr);
    if (err == FICUS_ERR_OK) {
        access_log_init(p);
        struct proxy_snapshot *snapshot = proxy_snapshot_beside(first->current);
        err = snapshot == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "gateway") : start_parts(p, snapshot, reterr);
    }
    if (err != FICUS_ERR_OK) {
        p->stopped = released;
        p->stopped_arg = arg;
        proxy_loops_leave(loops);
        start_undo(p);
        return err;
    }
    started(p);
    return FICUS_ERR_OK;
}
