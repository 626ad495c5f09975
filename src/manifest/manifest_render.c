/* SPDX-License-Identifier: Apache-2.0
 *
 * One resolved file per process: its slice of the manifest and nothing else, defaults filled in, by the tables of the floors that read
 * it. What a process may do is derived here: whom it calls, who may call it, what it may publish and read.
 */
#include "manifest_private.h"

#include "assert.h"
#include "hub_config.h"
#include "proxy_config.h"

#include <stdio.h>

struct renderer {
    const struct manifest *m;
    const struct manifest_process *p;
    struct arena *arena;
    bool failed;            /* out of memory */
};

/* ---- small helpers: NULL only when out of memory, which is remembered ---- */

/* STATE/folder/name and ending. */
static const char *state_path(struct renderer *r, const char *folder, const char *name, const char *ending)
{
    const char *text = arena_printf(r->arena, "%s%s%s/%s%s", r->m->options.state, folder[0] == '\0' ? "" : "/", folder, name, ending);
    r->failed |= text == NULL;
    return text;
}

static void *array(struct renderer *r, size_t count, size_t size)
{
    void *p = arena_zalloc(r->arena, (count + 1) * size);
    r->failed |= p == NULL;
    return p;
}

/* Room for what all services have of a kind; count: where struct manifest_service says how many of it. */
static void *array_of_all(struct renderer *r, size_t count, size_t size)
{
    size_t all = 0;
    for (size_t i = 0; i < r->m->service_count; i++)
        all += *(const size_t *)(const void *)((const char *)&r->m->services[i] + count);
    return array(r, all, size);
}

static const char **one_word(struct renderer *r, const char *word)
{
    const char **list = array(r, 1, sizeof *list);
    if (list != NULL)
        list[0] = word;
    return list;
}

static const char *level_word(const struct manifest *m, int level)
{
    return manifest_levels[level < 0 ? m->log_level : level];
}

/* ---- who is called by whom ---- */

static bool route_calls(const struct manifest_route *r, const char *service)
{
    if (r->to.service != NULL && strcmp(r->to.service, service) == 0)
        return true;
    for (size_t i = 0; i < r->split_count; i++)
        if (strcmp(r->splits[i].to.service, service) == 0)
            return true;
    if (r->fallback != NULL && r->fallback->to.service != NULL && strcmp(r->fallback->to.service, service) == 0)
        return true;
    for (size_t i = 0; i < r->part_count; i++)
        if (strcmp(r->parts[i].get.service, service) == 0)
            return true;
    return false;
}

bool manifest_gateway_calls(const struct manifest *m, const char *service)
{
    const struct manifest_gateway *g = m->gateway;
    if (g == NULL)
        return false;
    if (g->auth != NULL && strcmp(g->auth->jwks.service, service) == 0)
        return true;
    for (size_t i = 0; i < g->route_count; i++)
        if (route_calls(&g->routes[i], service))
            return true;
    return false;
}

static bool saga_calls(const struct saga_def *d, const char *service)
{
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_step *s = &d->steps[i];
        if ((saga_call_present(&s->call) && strcmp(s->call.service, service) == 0) || (saga_call_present(&s->undo) && strcmp(s->undo.service, service) == 0))
            return true;
    }
    return false;
}

static bool hub_calls(const struct manifest *m, const char *service)
{
    const struct manifest_service *called = manifest_find_service(m, service);
    if (called != NULL && called->group != NULL && called->group->to != NULL)
        return true;
    for (size_t i = 0; i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].saga_count; k++)
            if (saga_calls(&m->services[i].sagas[k], service))
                return true;
    return false;
}

static bool service_calls(const struct manifest_service *s, const char *service)
{
    for (size_t i = 0; i < s->call_count; i++)
        if (strcmp(s->calls[i].callee, service) == 0)
            return true;
    return false;
}

static bool consumes(const struct manifest_service *s, const char *topic)
{
    for (size_t i = 0; i < s->consume_count; i++)
        if (strcmp(s->consumes[i], topic) == 0)
            return true;
    return false;
}

static void list_callers(struct renderer *r, const char *service, const char *const **ret_list, size_t *ret_count)
{
    const struct manifest *m = r->m;
    const char **list = array(r, m->service_count + 2, sizeof *list);
    size_t count = 0;
    if (list == NULL)
        return;
    if (manifest_gateway_calls(m, service))
        list[count++] = "gateway";
    if (hub_calls(m, service))
        list[count++] = "hub";
    for (size_t i = 0; i < m->service_count; i++)
        if (service_calls(&m->services[i], service))
            list[count++] = m->services[i].name;
    *ret_list = list;
    *ret_count = count;
}

/* ---- what all processes share ---- */

static void add_edge(struct renderer *r, struct process_config *c, const char *callee, struct call_policy policy)
{
    const struct manifest_service *s = manifest_find_service(r->m, callee); /* NULL: the hub */
    /* Who was not built with libficus keeps keys only if somebody says so. */
    policy.keeps_keys = s != NULL && s->keeps_keys && (s->url == NULL || conf_get(s->node, "keeps_keys") != NULL);
    policy.upstream = s != NULL ? s->upstream : NULL;
    c->edges[c->edge_count++] = (struct process_edge){.callee = callee, .policy = policy};
}

static void fill_common(struct renderer *r, struct process_config *c, int level)
{
    const struct manifest *m = r->m;
    bool hub = r->p->kind == MANIFEST_HUB;
    c->version = PROCESS_CONFIG_VERSION;
    c->system = m->system;
    c->process = r->p->name;
    c->instance = 1;
    c->state = m->options.state;
    c->key_file = state_path(r, "", "system.key", "");
    c->log_level = level_word(m, level);
    c->hub = hub ? "" : manifest_find_process(m, "hub")->address;
    c->snapshot_file = hub ? "" : state_path(r, "run", r->p->name, ".endpoints.json");
    c->edges = array(r, m->service_count + 2, sizeof *c->edges);
    if (!hub && c->edges != NULL)
        add_edge(r, c, "hub", call_policy_default());
}

/* Edges of gateway and hub: one layer repeats, and they are not it (the gateway's clients and the saga engine repeat). */
static void add_derived_edges(struct renderer *r, struct process_config *c, bool (*calls)(const struct manifest *m, const char *service), int64_t timeout_ms)
{
    struct call_policy policy = call_policy_default();
    policy.retry.attempts = 1;
    policy.timeout_ms = timeout_ms > 0 ? timeout_ms : policy.timeout_ms;
    for (size_t i = 0; c->edges != NULL && i < r->m->service_count; i++)
        if (calls(r->m, r->m->services[i].name))
            add_edge(r, c, r->m->services[i].name, policy);
}

/* ---- services ---- */

static const struct manifest_topic *topic_named(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].publish_count; k++)
            if (strcmp(m->services[i].publishes[k].name, name) == 0)
                return &m->services[i].publishes[k];
    return NULL;
}

/* Of a topic without schemas nothing is said. is_published: else it is only consumed. */
static void add_schema(struct renderer *r, struct service_config *c, const struct manifest_topic *t, bool is_published)
{
    struct service_schema *s = NULL;
    if (t == NULL || t->schemas.count == 0 || c->schemas == NULL)
        return;
    for (size_t i = 0; i < c->schema_count; i++)
        if (strcmp(c->schemas[i].topic, t->name) == 0)
            return; /* it is published as well */
    s = &c->schemas[c->schema_count++];
    *s = (struct service_schema){.topic = t->name, .version = (int64_t)t->schemas.count, .text = is_published ? t->schemas.list[t->schemas.count - 1].meaning : ""};
    int64_t *upcasts = array(r, t->schemas.count, sizeof *upcasts);
    for (size_t i = 0; upcasts != NULL && i < t->schemas.count; i++)
        if (t->schemas.list[i].upcast)
            upcasts[s->upcast_count++] = (int64_t)i + 1;
    s->upcasts = upcasts;
}

static void fill_schemas(struct renderer *r, const struct manifest_service *s, struct service_config *c)
{
    c->schemas = array(r, s->publish_count + s->consume_count, sizeof *c->schemas);
    for (size_t i = 0; i < s->publish_count; i++)
        add_schema(r, c, &s->publishes[i], true);
    for (size_t i = 0; i < s->consume_count; i++)
        add_schema(r, c, topic_named(r->m, s->consumes[i]), false);
}

static void fill_settings(struct renderer *r, const struct manifest_service *s, struct service_config *c)
{
    const struct manifest_administrator *admin = r->m->administrator;
    c->settings = array(r, s->setting_count + 1, sizeof *c->settings);
    if (c->settings == NULL)
        return;
    for (size_t i = 0; i < s->setting_count; i++)
        c->settings[c->setting_count++] = s->settings[i];
    if (admin != NULL && strcmp(admin->service, s->name) == 0)
        c->settings[c->setting_count++] = (struct service_setting){.name = "admin_file", .value = r->m->admin_file};
}

static void fill_own_sagas(struct renderer *r, const struct manifest_service *s, struct service_config *c)
{
    const struct manifest *m = r->m;
    const char **names = array_of_all(r, offsetof(struct manifest_service, saga_count), sizeof *names);
    for (size_t i = 0; names != NULL && i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].saga_count; k++)
            if (strcmp(m->services[i].sagas[k].owner, s->name) == 0)
                names[c->saga_count++] = m->services[i].sagas[k].name;
    c->sagas = names;
}

static void render_service(struct renderer *r, struct json_writer *w)
{
    const struct manifest_service *s = manifest_find_service(r->m, r->p->name);
    struct service_config c;
    conf_defaults(&service_config_table, &c);
    fill_common(r, &c.common, s->log_level);
    for (size_t i = 0; c.common.edges != NULL && i < s->call_count; i++)
        add_edge(r, &c.common, s->calls[i].callee, s->calls[i].policy);
    c.listen = one_word(r, "fd:3");
    c.listen_count = 1;
    if (s->store != NULL)
        c.store = state_path(r, "data", s->store + strlen("sqlite:"), "");
    c.rebuildable = s->rebuildable;
    c.migrations = s->migration_files;
    c.migration_count = s->migration_count;
    c.workers = s->workers;
    c.private_dir = state_path(r, "private", s->name, "");
    c.slow_statement_ms = s->slow_statement_ms < 0 ? r->m->slow_statement_ms : s->slow_statement_ms;
    list_callers(r, s->name, &c.callers, &c.caller_count);
    const char **topics = array(r, s->publish_count, sizeof *topics);
    for (size_t i = 0; topics != NULL && i < s->publish_count; i++)
        topics[i] = s->publishes[i].name;
    c.publishes = topics;
    c.publish_count = s->publish_count;
    fill_own_sagas(r, s, &c);
    c.consumes = s->consumes;
    c.consume_count = s->group == NULL ? s->consume_count : 0;      /* else they are brought */
    fill_schemas(r, s, &c);
    fill_settings(r, s, &c);
    if (!r->failed)
        conf_encode(&service_config_table, &c, w);
}

/* ---- hub ---- */

static void fill_topics(struct renderer *r, struct hub_config *c)
{
    const struct manifest *m = r->m;
    c->topics = array_of_all(r, offsetof(struct manifest_service, publish_count), sizeof *c->topics);
    for (size_t i = 0; c->topics != NULL && i < m->service_count; i++) {
        for (size_t k = 0; k < m->services[i].publish_count; k++) {
            const struct manifest_topic *p = &m->services[i].publishes[k];
            struct hub_topic *t = &c->topics[c->topic_count++];
            t->name = p->name;
            t->publisher = m->services[i].name;
            t->keep_latest = p->keep >= 0;
            t->key = p->key != NULL ? p->key : "";
            const char **schemas = array(r, p->schemas.count, sizeof *schemas);
            for (size_t n = 0; schemas != NULL && n < p->schemas.count; n++)
                schemas[t->schema_count++] = p->schemas.list[n].meaning;
            t->schemas = schemas;
            const char **list = array(r, m->service_count, sizeof *list);
            for (size_t n = 0; list != NULL && n < m->service_count; n++)
                if (consumes(&m->services[n], t->name))
                    list[t->consumer_count++] = m->services[n].name;
            t->consumers = list;
        }
    }
}

static void fill_schedules(struct renderer *r, struct hub_config *c)
{
    const struct manifest *m = r->m;
    c->schedules = array_of_all(r, offsetof(struct manifest_service, schedule_count), sizeof *c->schedules);
    for (size_t i = 0; c->schedules != NULL && i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].schedule_count; k++) {
            const struct manifest_schedule *s = &m->services[i].schedules[k];
            c->schedules[c->schedule_count++] = (struct hub_schedule){
                .source = arena_printf(r->arena, "/%s/schedules/%s", m->services[i].name, s->name), .name = s->name, .topic = s->topic,
                .every_ms = s->every_ms, .phase_ms = manifest_schedule_phase(s)};
            r->failed |= c->schedules[c->schedule_count - 1].source == NULL;
        }
}

static void fill_sagas(struct renderer *r, struct hub_config *c)
{
    const struct manifest *m = r->m;
    c->sagas = array_of_all(r, offsetof(struct manifest_service, saga_count), sizeof *c->sagas);
    for (size_t i = 0; c->sagas != NULL && i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].saga_count; k++)
            c->sagas[c->saga_count++] = m->services[i].sagas[k];
}

static void fill_groups(struct renderer *r, struct hub_config *c)
{
    const struct manifest *m = r->m;
    c->groups = array(r, m->service_count, sizeof *c->groups);
    for (size_t i = 0; c->groups != NULL && i < m->service_count; i++) {
        const struct manifest_group *g = m->services[i].group;
        if (g != NULL)
            c->groups[c->group_count++] = (struct hub_group_config){m->services[i].name, g->to, g->partitions, g->timeout_ms};
    }
}

static void fill_flows(struct renderer *r, struct hub_config *c)
{
    const struct manifest *m = r->m;
    c->flows = array_of_all(r, offsetof(struct manifest_service, flow_count), sizeof *c->flows);
    for (size_t i = 0; c->flows != NULL && i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].flow_count; k++)
            c->flows[c->flow_count++] = m->services[i].flows[k];
}

/* The longest step: a breaker judges a deadline by the edge's timeout. */
static int64_t longest_step(const struct manifest *m)
{
    int64_t longest = 0;
    for (size_t i = 0; i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].saga_count; k++)
            for (size_t n = 0; n < m->services[i].sagas[k].step_count; n++)
                if (m->services[i].sagas[k].steps[n].signal == NULL && m->services[i].sagas[k].steps[n].timeout_ms > longest)
                    longest = m->services[i].sagas[k].steps[n].timeout_ms;
    return longest;
}

/* A service that events are posted to may take its time for each. */
static void allow_deliveries(const struct manifest *m, struct process_config *c)
{
    for (size_t i = 0; i < c->edge_count; i++) {
        const struct manifest_service *s = manifest_find_service(m, c->edges[i].callee);
        if (s != NULL && s->group != NULL && s->group->to != NULL && s->group->timeout_ms > c->edges[i].policy.timeout_ms)
            c->edges[i].policy.timeout_ms = s->group->timeout_ms;
    }
}

static void render_hub(struct renderer *r, struct json_writer *w)
{
    const struct manifest *m = r->m;
    struct hub_config c;
    conf_defaults(&hub_config_table, &c);
    fill_common(r, &c.common, m->hub.log_level);
    add_derived_edges(r, &c.common, hub_calls, longest_step(m));
    allow_deliveries(m, &c.common);
    c.listen = one_word(r, "fd:3");
    c.listen_count = 1;
    c.operator_listen = one_word(r, "fd:4");
    c.operator_listen_count = 1;
    c.log_file = state_path(r, "data", "hub-log.db", "");
    c.journal_file = state_path(r, "data", "hub-sagas.db", "");
    c.retention_ms = m->events.retention_ms;
    c.size_max = m->events.size_max;
    fill_topics(r, &c);
    fill_schedules(r, &c);
    const char **names = array(r, m->service_count, sizeof *names);
    for (size_t i = 0; names != NULL && i < m->service_count; i++)
        if (m->services[i].url == NULL)
            names[c.service_count++] = m->services[i].name;
    c.services = names;
    fill_groups(r, &c);
    fill_sagas(r, &c);
    c.flow_file = state_path(r, "data", "hub-flows.db", "");
    fill_flows(r, &c);
    if (!r->failed)
        conf_encode(&hub_config_table, &c, w);
}

/* ---- gateway ---- */
/* What clients may send as Host: the listening address, localhost when it is local, and what the manifest says, with the port. */
static void fill_hosts(struct renderer *r, struct proxy_config *c)
{
    const struct manifest_gateway *g = r->m->gateway;
    const char *port = strrchr(g->listen, ':');
    FICUS_ASSERT(port != NULL);
    bool any = strncmp(g->listen, "0.0.0.0:", 8) == 0 || strncmp(g->listen, "[::]:", 5) == 0;
    bool local = any || strncmp(g->listen, "127.", 4) == 0 || strncmp(g->listen, "[::1]:", 6) == 0;
    const char **list = array(r, g->host_count * 2 + 4, sizeof *list);
    size_t count = 0;
    if (list == NULL)
        return;
    if (!any)
        list[count++] = g->listen;
    if (local)
        list[count++] = arena_printf(r->arena, "localhost%s", port);
    if (local && strncmp(g->listen, "127.0.0.1:", 10) != 0)
        list[count++] = arena_printf(r->arena, "127.0.0.1%s", port);
    for (size_t i = 0; i < g->host_count; i++) {
        list[count++] = g->hosts[i];
        if (strchr(g->hosts[i], ':') == NULL)
            list[count++] = arena_printf(r->arena, "%s%s", g->hosts[i], port);
    }
    for (size_t i = 0; i < count; i++)
        r->failed |= list[i] == NULL;
    c->hosts = list;
    c->host_count = count;
}

static struct proxy_part *parts_of(struct renderer *r, const struct manifest_route *from)
{
    struct proxy_part *parts = array(r, from->part_count, sizeof *parts);
    for (size_t i = 0; parts != NULL && i < from->part_count; i++)
        parts[i] = (struct proxy_part){.service = from->parts[i].get.service, .target = from->parts[i].get.path, .shape = from->parts[i].shape};
    return parts;
}

static struct proxy_split *splits_of(struct renderer *r, const struct manifest_route *from)
{
    struct proxy_split *splits = array(r, from->split_count, sizeof *splits);
    for (size_t i = 0; splits != NULL && i < from->split_count; i++)
        splits[i] = (struct proxy_split){.service = from->splits[i].to.service, .target = from->splits[i].to.path == NULL ? from->path : from->splits[i].to.path,
                                         .weight = from->splits[i].weight};
    return splits;
}

static struct proxy_fallback *fallback_of(struct renderer *r, const struct manifest_route *from)
{
    const struct manifest_fallback *f = from->fallback;
    struct proxy_fallback *fallback = f == NULL ? NULL : array(r, 1, sizeof *fallback);
    if (fallback != NULL)
        *fallback = (struct proxy_fallback){.stale_ms = f->stale_ms, .service = f->to.service,
                                            .target = f->to.service == NULL ? NULL : f->to.path == NULL ? from->path : f->to.path,
                                            .status = f->status, .body = f->body, .type = f->type};
    return fallback;
}

static const char *method_of(const struct manifest_route *from)
{
    return from->method >= 0 ? manifest_methods[from->method] : from->part_count > 0 ? "GET" : "";
}

static int64_t fill_routes(struct renderer *r, struct proxy_config *c)
{
    const struct manifest_gateway *g = r->m->gateway;
    int64_t timeout_ms_max = g->timeout_ms;
    c->routes = array(r, g->route_count, sizeof *c->routes);
    for (size_t i = 0; c->routes != NULL && i < g->route_count; i++) {
        const struct manifest_route *from = &g->routes[i];
        int64_t timeout_ms = from->timeout_ms > 0 ? from->timeout_ms : g->timeout_ms;
        timeout_ms_max = timeout_ms > timeout_ms_max ? timeout_ms : timeout_ms_max;
        c->routes[c->route_count++] = (struct proxy_route){
            .method = method_of(from), .host = from->host, .path = from->path, .headers = from->headers, .header_count = from->header_count,
            .query = from->query, .query_count = from->query_count, .service = from->to.service,
            .target = from->to.service == NULL ? NULL : from->to.path == NULL ? from->path : from->to.path, .splits = splits_of(r, from), .split_count = from->split_count,
            .sticky = from->sticky, .parts = parts_of(r, from), .part_count = from->part_count,
            .files = from->folder, .page = from->page, .fallback = fallback_of(r, from), .answer = from->answer, .auth = from->auth, .roles = from->roles,
            .role_count = from->role_count, .timeout_ms = timeout_ms, .body_size_max = from->body_size_max, .websocket = from->websocket};
    }
    return timeout_ms_max;
}

_Static_assert((int)PROXY_AUTH_REQUIRED == (int)MANIFEST_AUTH_REQUIRED && (int)PROXY_AUTH_OPTIONAL == (int)MANIFEST_AUTH_OPTIONAL, "auth is copied as it is");

/* What gateway.calls says of an edge; what it leaves open stays as it is: the time, and one attempt. */
static void refine_edge(const struct manifest *m, struct process_edge *edge)
{
    const struct manifest_gateway *g = m->gateway;
    for (size_t i = 0; i < g->call_count; i++) {
        if (strcmp(g->calls[i].callee, edge->callee) != 0)
            continue;
        struct call_policy policy = g->calls[i].policy;
        const struct conf_node *node = conf_get(conf_get(g->node, "calls"), edge->callee);
        policy.timeout_ms = edge->policy.timeout_ms;
        policy.keeps_keys = edge->policy.keeps_keys;
        policy.upstream = edge->policy.upstream;
        if (conf_get(conf_get(node, "retry"), "attempts") == NULL)
            policy.retry.attempts = edge->policy.retry.attempts;
        edge->policy = policy;
    }
}

static struct proxy_tls *tls_of(struct renderer *r, const struct manifest_tls *t, struct proxy_tls *tls)
{
    *tls = (struct proxy_tls){.min = t->min, .hsts_ms = t->hsts_ms, .tickets_file = state_path(r, "private", "gateway.tickets", "")};
    tls->pairs = array(r, t->certificate_count, sizeof *tls->pairs);
    for (; tls->pairs != NULL && tls->pair_count < t->certificate_count; tls->pair_count++)
        tls->pairs[tls->pair_count] = t->certificates[tls->pair_count].files;
    return tls;
}

static void render_gateway(struct renderer *r, struct json_writer *w)
{
    const struct manifest_gateway *g = r->m->gateway;
    struct proxy_config c;
    struct proxy_auth auth;
    struct proxy_tls tls;
    conf_defaults(&proxy_config_table, &c);
    fill_common(r, &c.common, g->log_level);
    c.listen = one_word(r, "fd:3");
    c.listen_count = 1;
    c.admin = "fd:4";
    c.threads = g->threads;
    c.limits = g->limits;
    c.overload = g->overload;
    c.trusted_proxies = g->trusted_proxies;
    c.trusted_count = g->trusted_count;
    fill_hosts(r, &c);
    if (g->tls != NULL)
        c.tls = tls_of(r, g->tls, &tls);
    if (g->auth != NULL) {
        auth = (struct proxy_auth){.service = g->auth->jwks.service, .path = g->auth->jwks.path, .issuer = g->auth->issuer,
                                   .keys_file = state_path(r, "run", "gateway.jwks.json", "")};
        c.auth = &auth;
    }
    add_derived_edges(r, &c.common, manifest_gateway_calls, fill_routes(r, &c));
    for (size_t i = 0; i < c.common.edge_count; i++)
        refine_edge(r->m, &c.common.edges[i]);
    if (!r->failed)
        conf_encode(&proxy_config_table, &c, w);
}

enum ficus_err manifest_render_routes(const struct manifest *m, struct arena *a, struct proxy_config *ret_config, struct ficus_error *reterr)
{
    struct renderer r = {.m = m, .arena = a};
    struct proxy_config c;
    conf_defaults(&proxy_config_table, &c);
    fill_hosts(&r, &c);
    (void)fill_routes(&r, &c);  /* the longest timeout does not matter here */
    if (r.failed)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    *ret_config = c;
    return FICUS_ERR_OK;
}

/* ---- all ---- */

enum ficus_err manifest_render_process(const struct manifest *m, const struct manifest_process *p, struct arena *a, struct buf *out, struct ficus_error *reterr)
{
    FICUS_ASSERT(m->options.state != NULL);
    struct renderer r = {.m = m, .p = p, .arena = a};
    struct json_writer w;
    json_write_init(&w, out);
    if (p->kind == MANIFEST_HUB)
        render_hub(&r, &w);
    else if (p->kind == MANIFEST_GATEWAY)
        render_gateway(&r, &w);
    else
        render_service(&r, &w);
    if (r.failed || (buf_failed(out) && out->size < out->size_max / 2))
        return err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", p->name);
    if (buf_failed(out))
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: its resolved file is over %zu bytes", p->name, out->size_max);
    return FICUS_ERR_OK;
}

static bool is_there(struct arena *a, const char *path, struct slice text)
{
    struct slice old;
    return manifest_read_file(a, path, CONF_JSON_SIZE_MAX, &old, NULL) == FICUS_ERR_OK && slice_eq(old, text);
}

static enum ficus_err write_changed(const struct manifest *m, struct arena *a, const struct slice *texts, bool *changed, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    size_t staged = 0;
    for (; err == FICUS_ERR_OK && staged < m->process_count; staged++) {
        changed[staged] = !is_there(a, m->processes[staged].config_path, texts[staged]);
        if (changed[staged])
            err = manifest_stage_file(m->processes[staged].config_path, texts[staged], reterr);
    }
    bool whole = err == FICUS_ERR_OK;
    for (size_t i = 0; i < staged; i++) {
        if (whole && changed[i] && err == FICUS_ERR_OK)
            err = manifest_place_file(m->processes[i].config_path, reterr);
        else if (changed[i])
            manifest_unstage_file(m->processes[i].config_path);
    }
    return err;
}

static enum ficus_err write_registered(const struct manifest *m, struct arena *a, struct buf *text, struct ficus_error *reterr)
{
    const char *path = m->options.registered;
    if (buf_failed(text))
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: the schemas of all topics and versions are over %zu bytes", path, text->size_max);
    if (is_there(a, path, buf_slice(text)))
        return FICUS_ERR_OK;
    enum ficus_err err = manifest_stage_file(path, buf_slice(text), reterr);
    return err == FICUS_ERR_OK ? manifest_place_file(path, reterr) : err;
}

enum ficus_err manifest_render(const struct manifest *m, struct arena *a, bool *ret_changed, struct ficus_error *reterr)
{
    struct slice *texts = ARENA_ARRAY(a, struct slice, m->process_count + 1);
    bool *changed = ARENA_ARRAY(a, bool, m->process_count + 1);
    enum ficus_err err = texts == NULL || changed == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
    struct buf b;
    buf_init(&b, CONF_JSON_SIZE_MAX);
    for (size_t i = 0; err == FICUS_ERR_OK && i < m->process_count; i++) {
        buf_clear(&b);
        err = manifest_render_process(m, &m->processes[i], a, &b, reterr);
        if (err == FICUS_ERR_OK && (texts[i] = arena_slice(a, buf_slice(&b))).p == NULL)
            err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    }
    buf_clear(&b);
    if (err == FICUS_ERR_OK && m->options.registered != NULL && manifest_write_registered(m, &b))
        err = write_registered(m, a, &b, reterr);
    buf_done(&b);
    if (err == FICUS_ERR_OK)
        err = write_changed(m, a, texts, changed, reterr);
    if (err == FICUS_ERR_OK && ret_changed != NULL)
        memcpy(ret_changed, changed, m->process_count * sizeof *changed);
    return err;
}
