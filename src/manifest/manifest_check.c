/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks across settings and files. A value that did not decode is absent here (NULL) and skipped: it was reported.
 */
#include "manifest_private.h"

#include "map.h"
#include "proxy_route.h"
#include "text.h"

struct checker {
    struct manifest *m;
    struct arena *arena;
    struct conf_errors *errors;
    struct map services;        /* name -> struct manifest_service */
    struct map topics;          /* name -> its publisher, struct manifest_service */
    struct map saga_topics;     /* that sagas begin with or wait for; the values are nothing */
    struct map stores, sagas;   /* name -> the node that named it first */
    bool names_known;           /* every file was read and told its service's name, so that "unknown" is true */
    bool all_decoded;           /* nothing was wrong before, so that "nobody publishes" is true */
};

static const struct conf_node *item(const struct conf_node *map, const char *list, size_t index)
{
    const struct conf_node *n = conf_get(map, list);
    n = n == NULL ? NULL : n->first;
    while (n != NULL && n->index != index)
        n = n->next;
    return n;
}

static void put(struct checker *c, struct map *map, const char *name, void *value)
{
    if (!map_put(map, slice_str(name), value))
        conf_error_place(c->errors, FICUS_ERR_NOMEM, c->m->file, 1, 1, "out of memory");
}

static struct manifest_service *service_named(struct checker *c, const char *name)
{
    return map_get(&c->services, slice_str(name));
}

/* ---- unknown names ---- */

static const char *nearest_of(struct checker *c, const struct map *map, const char *name)
{
    const char **names = ARENA_ARRAY(c->arena, const char *, map_count(map) + 1);
    size_t count = 0, pos = 0;
    struct slice key;
    if (names == NULL)
        return NULL;
    while (map_next(map, &pos, &key, NULL))
        if ((names[count] = arena_strdup(c->arena, key)) != NULL)
            count++;
    return text_nearest(slice_str(name), names, count);
}

static const char *known_services(struct checker *c)
{
    struct buf b;
    buf_init(&b, 400);
    for (size_t i = 0; i < c->m->service_count; i++)
        if (c->m->services[i].name != NULL)
            (void)buf_printf(&b, "%s%s", b.size > 0 ? ", " : "", c->m->services[i].name);
    const char *text = arena_strdup(c->arena, buf_slice(&b));
    buf_done(&b);
    return text == NULL ? "" : text;
}

/* at_key: the name is the key of node, else its value. */
static bool check_service(struct checker *c, const struct conf_node *node, bool at_key, const char *name)
{
    if (name == NULL || node == NULL || !c->names_known || service_named(c, name) != NULL)
        return true;
    const char *near = nearest_of(c, &c->services, name);
    const char *hint = near != NULL                     ? arena_printf(c->arena, "did you mean %s?", near)
                       : map_count(&c->services) == 0 ? "there are none"
                                                        : arena_printf(c->arena, "known: %s", known_services(c));
    if (at_key)
        conf_error_key(c->errors, node, "\"%s\" is no service of this system (%s)", name, hint == NULL ? "" : hint);
    else
        conf_error_value(c->errors, node, "\"%s\" is no service of this system (%s)", name, hint == NULL ? "" : hint);
    return false;
}

/* ---- what each service declares ---- */

static void register_service(struct checker *c, struct manifest_service *s)
{
    const struct manifest_service *other = service_named(c, s->name);
    const struct conf_node *node = conf_get(s->node, "service");
    if (other != NULL) {
        const struct conf_node *first = conf_get(other->node, "service");
        conf_error_value(c->errors, node, "\"%s\" is a service already, in %s:%u", s->name, first->file, first->line);
        return;
    }
    put(c, &c->services, s->name, s);
}

static void register_store(struct checker *c, struct manifest_service *s)
{
    const struct conf_node *node = conf_get(s->node, "store");
    struct conf_node *first = s->store == NULL ? NULL : map_get(&c->stores, slice_str(s->store));
    if (s->store == NULL && s->migrations != NULL && node == NULL)
        conf_error_key(c->errors, conf_get(s->node, "migrations"), "needs a store");
    if (s->store == NULL)
        return;
    if (first != NULL)
        conf_error_value(c->errors, node, "\"%s\" is the store of another service, in %s:%u; a store has one owner", s->store, first->file, first->line);
    else
        put(c, &c->stores, s->store, (void *)(uintptr_t)node);
}

static void register_topics(struct checker *c, struct manifest_service *s)
{
    for (size_t i = 0; i < s->publish_count; i++) {
        const char *topic = s->publishes[i].name;
        const struct manifest_service *other = topic == NULL ? NULL : map_get(&c->topics, slice_str(topic));
        if (other != NULL)
            conf_error_key(c->errors, conf_get(conf_get(s->node, "publishes"), topic), "is published by \"%s\" already; a topic has one source", other->name == NULL ? "?" : other->name);
        else if (topic != NULL)
            put(c, &c->topics, topic, s);
    }
}

/* ---- services that somebody else starts ---- */

static bool is_elsewhere(const struct manifest_service *s)
{
    return s->url != NULL || conf_get(s->node, "url") != NULL;
}

/* A service is started, or is somewhere; most words are for those that are started. */
static void check_place(struct checker *c, const struct manifest_service *s)
{
    static const char *const only_started[] = {"run", "store", "rebuildable", "migrations", "workers", "log_level", "slow_statement", "calls", "publishes",
                                               "consumes", "schedules", "needs", "settings", "sagas", "flows"};
    const struct conf_node *url = conf_get(s->node, "url"), *tls = conf_get(s->node, "tls"), *node;
    if (url == NULL && conf_get(s->node, "run") == NULL)
        conf_error_value(c->errors, s->node, "is neither started nor anywhere: say \"run\", or \"url\" when somebody else starts it");
    if (url == NULL && tls != NULL)
        conf_error_key(c->errors, tls, "needs \"url\": services that Ficus starts are reached by unix sockets");
    if (tls != NULL && s->url != NULL && strncmp(s->url, "http:", 5) == 0)
        conf_error_value(c->errors, url, "\"%s\" is plain, and \"tls\" stands beside it (did you mean https%s?)", s->url, s->url + 4);
    if (url == NULL && (node = conf_get(s->node, "protocol")) != NULL)
        conf_error_key(c->errors, node, "needs \"url\": with services that Ficus starts HTTP/1.1 is spoken");
    bool plain = s->url != NULL && strncmp(s->url, "http:", 5) == 0;
    if (plain && s->protocol == CALL_PROTOCOL_H2)
        conf_error_value(c->errors, conf_get(s->node, "protocol"), "\"h2\" needs https (did you mean h2c?)");
    if (s->url != NULL && !plain && s->protocol == CALL_PROTOCOL_H2C)
        conf_error_value(c->errors, conf_get(s->node, "protocol"), "\"h2c\" is without TLS, and the url is https (did you mean h2?)");
    for (size_t i = 0; url != NULL && i < sizeof only_started / sizeof only_started[0]; i++)
        if ((node = conf_get(s->node, only_started[i])) != NULL && strcmp(only_started[i], "consumes") != 0)
            conf_error_key(c->errors, node, "has no meaning beside \"url\": Ficus does not start this service");
}

/* what: who needs it to be started here. */
static void check_started(struct checker *c, const struct conf_node *node, const char *name, const char *what)
{
    const struct manifest_service *s = name == NULL ? NULL : service_named(c, name);
    if (s != NULL && node != NULL && is_elsewhere(s))
        conf_error_value(c->errors, node, "\"%s\" is started by somebody else; %s", name, what);
}

/* ---- edges of the graph ---- */

static void check_calls(struct checker *c, const struct manifest_service *s)
{
    const struct conf_node *calls = conf_get(s->node, "calls");
    for (size_t i = 0; i < s->call_count; i++) {
        const char *callee = s->calls[i].callee;
        if (callee == NULL)
            continue;
        const struct conf_node *node = conf_get(calls, callee);
        if (check_service(c, node, true, callee) && s->name != NULL && strcmp(callee, s->name) == 0)
            conf_error_key(c->errors, node, "a service does not call itself");
    }
}

static void check_topic(struct checker *c, const struct conf_node *node, const char *topic)
{
    const char *near = nearest_of(c, &c->topics, topic);
    if (near != NULL)
        conf_error_value(c->errors, node, "\"%s\" is published by no service (did you mean %s?)", topic, near);
    else
        conf_error_value(c->errors, node, "\"%s\" is published by no service", topic);
}

static void check_consumes(struct checker *c, const struct manifest_service *s)
{
    for (size_t i = 0; i < s->consume_count; i++) {
        const char *topic = s->consumes[i];
        const struct conf_node *node = item(s->node, "consumes", i);
        if (topic == NULL)
            continue;
        for (size_t k = 0; k < i; k++)
            if (s->consumes[k] != NULL && strcmp(s->consumes[k], topic) == 0)
                conf_error_value(c->errors, node, "\"%s\" is in the list already", topic);
        if (c->all_decoded && map_get(&c->topics, slice_str(topic)) == NULL)
            check_topic(c, node, topic);
    }
}

/* Who keeps the place of a consumer. */
static void check_group(struct checker *c, const struct manifest_service *s)
{
    const struct conf_node *consumes = conf_get(s->node, "consumes"), *group = conf_get(s->node, "group");
    if (group != NULL && consumes == NULL)
        conf_error_key(c->errors, group, "needs consumes: the topics whose events it gets");
    if (is_elsewhere(s) && consumes != NULL && group == NULL)
        conf_error_key(c->errors, consumes, "needs \"group\" beside \"url\": the hub posts events to a service that Ficus does not start");
    if (is_elsewhere(s) && s->group != NULL && s->group->node != NULL && conf_get(s->group->node, "to") == NULL)
        conf_error_key(c->errors, group, "needs \"to\" beside \"url\": a service that Ficus does not start cannot reach the hub to lease events");
    if (group != NULL && s->rebuildable)
        conf_error_key(c->errors, group, "is not for a rebuildable service, which keeps its place in its store");
}

/* One reader reads all topics of sagas, so there is an end to them. */
static void count_saga_topic(struct checker *c, const struct conf_node *node, const char *topic)
{
    if (node == NULL || topic == NULL || map_get(&c->saga_topics, slice_str(topic)) != NULL)
        return;
    put(c, &c->saga_topics, topic, (void *)(uintptr_t)node);
    if (map_count(&c->saga_topics) == SAGA_TOPICS_MAX + 1)
        conf_error_value(c->errors, node, "is one more than the %d topics that all sagas together may begin with and wait for", SAGA_TOPICS_MAX);
}

/* Of a step's signal: it has to be published by somebody. */
static void check_saga_topic(struct checker *c, const struct conf_node *node, const char *topic)
{
    count_saga_topic(c, node, topic);
    if (topic != NULL && c->all_decoded && map_get(&c->topics, slice_str(topic)) == NULL)
        check_topic(c, node, topic);
}

static void check_saga(struct checker *c, const struct manifest_service *s, struct saga_def *d)
{
    if (d->name == NULL || d->node == NULL)
        return;
    struct conf_node *first = map_get(&c->sagas, slice_str(d->name));
    if (first != NULL)
        conf_error_key(c->errors, d->node, "\"%s\" is the name of another saga, in %s:%u", d->name, first->file, first->key_line);
    else
        put(c, &c->sagas, d->name, (void *)(uintptr_t)d->node);
    if (d->owner == NULL)
        d->owner = s->name;
    else if (!check_service(c, conf_get(d->node, "owner"), false, d->owner))
        return;
    const struct manifest_service *publisher = d->start == NULL ? NULL : map_get(&c->topics, slice_str(d->start));
    const struct conf_node *start = conf_get(d->node, "start");
    count_saga_topic(c, start, d->start);
    if (c->all_decoded && publisher == NULL && d->start != NULL)
        check_topic(c, start, d->start);
    else if (c->all_decoded && publisher != NULL && strcmp(publisher->name, d->owner) != 0)
        conf_error_value(c->errors, start, "\"%s\" is published by \"%s\", not by the owner \"%s\"", d->start, publisher->name, d->owner);
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_step *step = &d->steps[i];
        if (step->node == NULL)
            continue;
        (void)check_service(c, conf_get(step->node, "call"), false, step->call.service);   /* reported, nothing else depends on it */
        (void)check_service(c, conf_get(step->node, "undo"), false, step->undo.service);
        check_saga_topic(c, conf_get(step->node, "given_by"), step->given_by);
        check_saga_topic(c, conf_get(step->node, "refused_by"), step->refused_by);
    }
}

/* ---- rebuildable: all that is in the store can be read in the log again ---- */

static bool saga_calls(const struct saga_def *d, const char *service)
{
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_call *calls[] = {&d->steps[i].call, &d->steps[i].undo};
        for (size_t k = 0; k < 2; k++)
            if (saga_call_present(calls[k]) && strcmp(calls[k]->service, service) == 0)
                return true;
    }
    return false;
}

static void check_rebuildable(struct checker *c, const struct manifest_service *s)
{
    const struct conf_node *node = conf_get(s->node, "rebuildable");
    if (!s->rebuildable)
        return;
    if (s->store == NULL && conf_get(s->node, "store") == NULL)
        conf_error_value(c->errors, node, "needs a store");
    if (s->consume_count == 0 && conf_get(s->node, "consumes") == NULL)
        conf_error_value(c->errors, node, "needs consumes: the store is made of events");
    if (s->publish_count > 0)
        conf_error_value(c->errors, node, "is not for a service that publishes: a rebuild would publish all again");
    if (s->saga_count > 0)
        conf_error_value(c->errors, node, "is not for a service with sagas");
    for (size_t i = 0; i < c->m->service_count; i++)
        for (size_t k = 0; k < c->m->services[i].saga_count; k++)
            if (saga_calls(&c->m->services[i].sagas[k], s->name))
                conf_error_value(c->errors, node, "is not for a service that takes part in a saga (\"%s\"): what its steps do is in no event",
                                 c->m->services[i].sagas[k].name);
}

/* ---- needs: no circles ---- */

enum { NEW = 0, OPEN, DONE };

struct needs_walk {
    struct checker *c;
    unsigned char *state;               /* per service */
    const struct manifest_service **path;
    size_t depth;
};

static void report_circle(struct needs_walk *w, const struct conf_node *node, const struct manifest_service *back_to)
{
    struct buf b;
    buf_init(&b, 400);
    size_t i = 0;
    while (w->path[i] != back_to)
        i++;
    for (; i < w->depth; i++)
        (void)buf_printf(&b, "%s -> ", w->path[i]->name);
    conf_error_value(w->c->errors, node, "is a circle: %s%s", buf_str(&b), back_to->name);
    buf_done(&b);
}

/* Recursion is bounded by the number of services, at most MANIFEST_FILES_MAX. */
static void walk_needs(struct needs_walk *w, const struct manifest_service *s)
{
    size_t self = (size_t)(s - w->c->m->services);
    w->state[self] = OPEN;
    w->path[w->depth++] = s;
    for (size_t i = 0; i < s->need_count; i++) {
        const struct conf_node *node = item(s->node, "needs", i);
        const struct manifest_service *next = s->needs[i] == NULL ? NULL : service_named(w->c, s->needs[i]);
        if (!check_service(w->c, node, false, s->needs[i]) || next == NULL)
            continue;
        check_started(w->c, node, s->needs[i], "when it is healthy is not known here");
        unsigned char state = w->state[next - w->c->m->services];
        if (state == OPEN)
            report_circle(w, node, next);
        else if (state == NEW)
            walk_needs(w, next);
    }
    w->depth--;
    w->state[self] = DONE;
}

static void check_needs(struct checker *c)
{
    struct needs_walk w = {.c = c, .state = arena_zalloc(c->arena, c->m->service_count + 1),
                           .path = ARENA_ARRAY(c->arena, const struct manifest_service *, c->m->service_count + 1)};
    if (w.state == NULL || w.path == NULL) {
        conf_error_place(c->errors, FICUS_ERR_NOMEM, c->m->file, 1, 1, "out of memory");
        return;
    }
    for (size_t i = 0; i < c->m->service_count; i++)
        if (c->m->services[i].name != NULL && w.state[i] == NEW && service_named(c, c->m->services[i].name) == &c->m->services[i])
            walk_needs(&w, &c->m->services[i]);
}

/* ---- gateway ---- */

static void check_parameters(struct checker *c, const struct manifest_route *r, const struct conf_node *node, const char *target)
{
    struct slice path = slice_str(r->path), to = slice_str(target), name;
    size_t at = 0;
    while (manifest_template_next(to, &at, &name)) {
        if (slice_eq_str(name, "jwt.sub")) {
            if (r->auth != MANIFEST_AUTH_REQUIRED)
                conf_error_value(c->errors, node, MANIFEST_USER " needs \"auth: required\"");
        } else if (!manifest_template_has(path, name)) {
            conf_error_value(c->errors, node, "{" SLICE_FMT "} does not occur in the path %s", SLICE_ARG(name), r->path);
        }
    }
}

static void check_target(struct checker *c, const struct manifest_route *r, const struct conf_node *node, const struct manifest_target *to)
{
    (void)check_service(c, node, false, to->service);     /* reported, nothing else depends on it */
    if (to->path == NULL)
        return;
    check_parameters(c, r, node, to->path);
    if (manifest_template_has_rest(slice_str(to->path)) != manifest_template_has_rest(slice_str(r->path)))
        conf_error_value(c->errors, node, "/** must end both the path and the target, or none of them");
}

static void check_splits(struct checker *c, const struct manifest_route *r)
{
    const struct conf_node *node = conf_get(r->node, "split"), *sticky = conf_get(r->node, "sticky");
    int64_t sum = 0;
    for (size_t i = 0; i < r->split_count; i++) {
        const struct manifest_split *part = &r->splits[i];
        sum += part->weight;
        if (part->node != NULL && part->to.service != NULL)
            check_target(c, r, conf_get(part->node, "to"), &part->to);
    }
    if (c->all_decoded && r->split_count > 0 && sum == 0)
        conf_error_value(c->errors, node, "has no part with a weight over 0");
    if (r->split_count > PROXY_SPLITS_MAX)
        conf_error_value(c->errors, node, "has more than %d parts", PROXY_SPLITS_MAX);
    if (sticky != NULL && node == NULL)
        conf_error_key(c->errors, sticky, "needs \"split\"");
    if (r->sticky.by == PROXY_STICKY_USER && r->auth == MANIFEST_AUTH_NONE)
        conf_error_value(c->errors, sticky, "needs \"auth: required\" or \"auth: optional\"");
}

static void check_fallback(struct checker *c, const struct manifest_route *r)
{
    const struct manifest_fallback *f = r->fallback;
    const struct conf_node *node;
    if (f == NULL || f->node == NULL)
        return;
    if (conf_get(r->node, "to") == NULL && conf_get(r->node, "split") == NULL)
        conf_error_key(c->errors, f->node, "needs \"to\" or \"split\"%s", conf_get(r->node, "files") != NULL ? " (the file for pages without one is \"page\")" : "");
    if (conf_get(f->node, "stale") == NULL && conf_get(f->node, "to") == NULL && conf_get(f->node, "status") == NULL)
        conf_error_value(c->errors, f->node, "says nothing: say one or more of \"stale\", \"to\" and \"status\"");
    if ((node = conf_get(f->node, "body")) != NULL && (conf_get(f->node, "status") == NULL || f->status == 204 || f->status == 304))
        conf_error_key(c->errors, node, "needs a status that has a body");
    if ((node = conf_get(f->node, "type")) != NULL && conf_get(f->node, "body") == NULL)
        conf_error_key(c->errors, node, "needs \"body\"");
    bool reads = r->method < 0 || strcmp(manifest_methods[r->method], "GET") == 0 || strcmp(manifest_methods[r->method], "HEAD") == 0;
    static const char *const only_read[] = {"stale", "to"};
    for (size_t i = 0; i < 2 && !reads; i++)
        if ((node = conf_get(f->node, only_read[i])) != NULL)
            conf_error_key(c->errors, node, "is for GET and HEAD alone; a %s may have been done already", manifest_methods[r->method]);
    if (f->to.service != NULL)
        check_target(c, r, conf_get(f->node, "to"), &f->to);
}

static void check_parts(struct checker *c, const struct manifest_route *r)
{
    const struct conf_node *method = conf_get(r->node, "method");
    if (r->part_count > 0 && method != NULL && !slice_eq_str(method->text, "GET"))
        conf_error_value(c->errors, method, "a composed answer is only read: GET");
    if (r->part_count > PROXY_PARTS_MAX)
        conf_error_key(c->errors, conf_get(r->node, "compose"), "has more than %d parts", PROXY_PARTS_MAX);
    for (size_t i = 0; i < r->part_count; i++) {
        const struct manifest_part *part = &r->parts[i];
        const struct conf_node *get = part->node == NULL ? NULL : conf_get(part->node, "get");
        if (get == NULL || part->get.service == NULL)
            continue;
        (void)check_service(c, get, false, part->get.service);     /* as above */
        check_parameters(c, r, get, part->get.path);
        for (size_t k = 0; part->shape.group != NULL && k < i; k++)
            if (r->parts[k].shape.group != NULL && strcmp(r->parts[k].shape.group, part->shape.group) == 0)
                conf_error_value(c->errors, conf_get(part->node, "group"), "\"%s\" is the name of another part", part->shape.group);
    }
}

static bool has_names(const struct proxy_cond *conds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (conds[i].name == NULL)
            return false;
    return true;
}

/* What makes two routes the same. */
static const char *route_key(struct checker *c, const struct manifest_route *r)
{
    const struct proxy_route route = {.method = r->method < 0 ? "" : manifest_methods[r->method], .host = r->host, .path = r->path, .headers = r->headers,
                                      .header_count = r->header_count, .query = r->query, .query_count = r->query_count};
    struct buf b;
    buf_init(&b, 128 * 1024);
    const char *key = proxy_route_key(&route, &b) ? arena_strdup(c->arena, buf_slice(&b)) : NULL;
    buf_done(&b);
    return key == NULL ? "" : key;
}

static void check_conditions(struct checker *c, const struct manifest_route *r)
{
    const struct conf_node *headers = conf_get(r->node, "headers");
    for (size_t i = 0; i < r->header_count; i++)
        for (size_t k = 0; k < i; k++)
            if (r->headers[i].name != NULL && r->headers[k].name != NULL && slice_eq_nocase(slice_str(r->headers[i].name), slice_str(r->headers[k].name)))
                conf_error_key(c->errors, conf_get(headers, r->headers[i].name), "is the same header as \"%s\"", r->headers[k].name);
    if (r->header_count > PROXY_CONDS_MAX)
        conf_error_key(c->errors, headers, "has more than %d headers", PROXY_CONDS_MAX);
    if (r->query_count > PROXY_CONDS_MAX)
        conf_error_key(c->errors, conf_get(r->node, "query"), "has more than %d parameters", PROXY_CONDS_MAX);
}

/* A route leads to one place, and has only the words that mean something there. */
static void check_kind(struct checker *c, const struct manifest_route *r)
{
    static const char *const kinds[] = {"to", "split", "compose", "files", "answer"};
    static const char *const only_served[] = {"auth", "roles", "timeout", "body_max"};
    const struct conf_node *kind = NULL, *node;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        node = conf_get(r->node, kinds[i]);
        if (node != NULL && kind != NULL)
            conf_error_key(c->errors, node, "stands beside \"" SLICE_FMT "\"; a route leads to one place", SLICE_ARG(kind->key));
        kind = kind == NULL ? node : kind;
    }
    if (kind == NULL) {
        conf_error_value(c->errors, r->node, "leads nowhere: say one of \"to\", \"split\", \"compose\", \"files\" and \"answer\"");
        return;
    }
    bool files = slice_eq_str(kind->key, "files");
    for (size_t i = 0; i < sizeof only_served / sizeof only_served[0] && (files || slice_eq_str(kind->key, "answer")); i++)
        if ((node = conf_get(r->node, only_served[i])) != NULL)
            conf_error_key(c->errors, node, "has no meaning beside \"" SLICE_FMT "\"", SLICE_ARG(kind->key));
    if (r->websocket && !slice_eq_str(kind->key, "to") && !slice_eq_str(kind->key, "split"))
        conf_error_key(c->errors, conf_get(r->node, "websocket"), "has no meaning beside \"" SLICE_FMT "\"", SLICE_ARG(kind->key));
    if (r->websocket && r->method >= 0 && strcmp(manifest_methods[r->method], "GET") != 0)
        conf_error_key(c->errors, conf_get(r->node, "websocket"), "begins with a GET, which this route does not take");
    if (files && (node = conf_get(r->node, "method")) != NULL)
        conf_error_key(c->errors, node, "has no meaning beside \"files\": they are only read");
    if (files && !manifest_template_has_rest(slice_str(r->path)))
        conf_error_value(c->errors, conf_get(r->node, "path"), "has to end in /**, because the folder's files are below it");
    if (!files && (node = conf_get(r->node, "page")) != NULL)
        conf_error_key(c->errors, node, "needs \"files\"");
}

static void check_route(struct checker *c, const struct manifest_route *r, struct map *routes)
{
    const struct manifest_gateway *g = c->m->gateway;
    if (r->node == NULL || r->path == NULL)
        return;
    check_kind(c, r);
    check_conditions(c, r);
    check_target(c, r, conf_get(r->node, "to"), &r->to);
    check_splits(c, r);
    check_fallback(c, r);
    check_parts(c, r);
    if (r->auth != MANIFEST_AUTH_NONE && g->auth == NULL && conf_get(g->node, "auth") == NULL)
        conf_error_value(c->errors, conf_get(r->node, "auth"), "needs gateway.auth, which says how users are known");
    if (r->role_count > 0 && r->auth != MANIFEST_AUTH_REQUIRED)
        conf_error_key(c->errors, conf_get(r->node, "roles"), "needs \"auth: required\"");
    if (!has_names(r->headers, r->header_count) || !has_names(r->query, r->query_count))
        return;
    const char *key = route_key(c, r);
    struct conf_node *first = map_get(routes, slice_str(key));
    if (first != NULL)
        conf_error_value(c->errors, conf_get(r->node, "path"), "is the same route as in line %u", first->line);
    else
        put(c, routes, key, (void *)(uintptr_t)r->node);
}

static void check_gateway_call(struct checker *c, const struct manifest_gateway *g, const char *callee)
{
    const struct conf_node *node = callee == NULL ? NULL : conf_get(conf_get(g->node, "calls"), callee);
    const struct conf_node *timeout = conf_get(node, "timeout");
    if (node == NULL)
        return;
    if (timeout != NULL)
        conf_error_key(c->errors, timeout, "is not said here: routes have timeout, and gateway.timeout is for those that say none");
    if (check_service(c, node, true, callee) && c->all_decoded && !manifest_gateway_calls(c->m, callee))
        conf_error_key(c->errors, node, "no route of the gateway leads to \"%s\"", callee);
}

static void check_gateway(struct checker *c)
{
    const struct manifest_gateway *g = c->m->gateway;
    struct map routes;
    if (g == NULL || g->node == NULL)
        return;
    if (g->auth != NULL && g->auth->node != NULL)
        (void)check_service(c, conf_get(g->auth->node, "jwks"), false, g->auth->jwks.service);   /* reported, nothing else depends on it */
    map_init(&routes, (const uint64_t[2]){0, 0});
    for (size_t i = 0; i < g->route_count; i++)
        check_route(c, &g->routes[i], &routes);
    map_done(&routes);
    for (size_t i = 0; i < g->call_count; i++)
        check_gateway_call(c, g, g->calls[i].callee);
}

static void check_administrator(struct checker *c)
{
    const struct manifest_administrator *a = c->m->administrator;
    if (a == NULL || a->node == NULL || a->service == NULL)
        return;
    (void)check_service(c, conf_get(a->node, "service"), false, a->service);
    check_started(c, conf_get(a->node, "service"), a->service, "it cannot be given the administrator's file");
    const struct manifest_service *s = service_named(c, a->service);
    const struct conf_node *taken = s == NULL ? NULL : conf_get(conf_get(s->node, "settings"), "admin_file");
    if (taken != NULL)
        conf_error_key(c->errors, taken, "is set by administrator in %s:%u", a->node->file, a->node->key_line);
}

/* ---- all ---- */

static void check_services(struct checker *c)
{
    struct manifest *m = c->m;
    for (size_t i = 0; i < m->service_count; i++)
        if (m->services[i].name != NULL)
            register_service(c, &m->services[i]);
    for (size_t i = 0; i < m->service_count; i++) {
        if (m->services[i].node == NULL)
            continue;
        check_place(c, &m->services[i]);
        register_store(c, &m->services[i]);
        register_topics(c, &m->services[i]);
    }
    for (size_t i = 0; i < m->service_count; i++) {
        struct manifest_service *s = &m->services[i];
        if (s->node == NULL || s->name == NULL)
            continue;
        check_calls(c, s);
        check_consumes(c, s);
        check_group(c, s);
        check_rebuildable(c, s);
        manifest_check_schedules(s, c->errors);
        for (size_t k = 0; k < s->saga_count; k++)
            check_saga(c, s, &s->sagas[k]);
    }
    check_needs(c);
}

void manifest_check(struct manifest *m, struct arena *a, struct conf_errors *errors)
{
    static const uint64_t trusted[2] = {0, 0};      /* the keys come from the user's own files */
    struct checker c = {.m = m, .arena = a, .errors = errors, .names_known = !m->is_part, .all_decoded = !m->is_part && errors->count == 0};
    map_init(&c.services, trusted);
    map_init(&c.topics, trusted);
    map_init(&c.stores, trusted);
    map_init(&c.saga_topics, trusted);
    map_init(&c.sagas, trusted);
    for (size_t i = 0; i < m->service_count; i++)
        c.names_known &= m->services[i].name != NULL;
    const struct conf_node *include = conf_get(m->node, "include");
    if (m->service_count == 0 && (errors->count > 0 || (include != NULL && include->kind != CONF_LIST_NODE)))
        c.names_known = false;
    check_services(&c);
    if (c.all_decoded)
        manifest_check_sagas(m, a, errors);
    manifest_check_flows(m, a, errors, c.all_decoded);
    check_gateway(&c);
    check_administrator(&c);
    map_done(&c.services);
    map_done(&c.topics);
    map_done(&c.stores);
    map_done(&c.saga_topics);
    map_done(&c.sagas);
}
