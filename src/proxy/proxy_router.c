/* SPDX-License-Identifier: Apache-2.0
 *
 * A request visits a node of a trie at most once, because a tree has one way to each: literal children first, then the
 * parameter, then the rest, each deeper before the next. So the first leaf with a route that fits has the most specific
 * path of its trie, and the tries are asked from the most specific host on.
 *
 *   host -> trie of segments -> leaf (a path) -> group (a method) -> shape (names of conditions) -> values -> route
 *
 * With thousands of routes each request reads memory that nobody has read for long, so what counts is how many cache lines that
 * are. What a route adds lies together: its arena is filled route by route, with the nodes of its own end of the path, the group,
 * the shape, the cut targets; a node and a shape fit into a line each.
 */
#include "proxy_router.h"

#include "map.h"
#include "mem.h"
#include "proxy_target.h"

#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

/* A route at its place. Of two that have the same values of the same shape there is but one. */
struct end {
    const struct proxy_target *targets; /* one, or one for each part of its split or its composed answer, and one for its
                                           fallback; NULL: there is no route */
    uint32_t route;
    bool stands_back;
};

/* Routes of a group that ask for the same names. */
struct shape {
    uint32_t header_count, query_count;
    struct end only;                        /* when they ask for no value */
    struct map *by_values;                  /* else: values -> struct end; NULL: all ask for none */
    const struct proxy_cond *headers, *query; /* each sorted by name; their values are those of the first route */
    struct shape *next;                     /* more headers before fewer, then more parameters before fewer */
};

/* What ends at one place of a trie, by method: at most one group for each that HTTP has and the manifest names. */
struct group {
    const char *method; /* "" any */
    struct shape *shapes;
    struct group *next;
};

struct node {
    struct slice literal;         /* its segment, of a route's path, which outlives the router; p NULL: a root, or a parameter */
    struct node *only;            /* the only literal child, found without hashing; NULL: there is none, or there are several */
    struct literals *literals;    /* several */
    struct node *param;
    struct group *end, *rest_end; /* of routes that end here; that end here with **. NULL: none */
};

_Static_assert(sizeof(struct node) <= 64 && sizeof(struct shape) <= 64, "a cache line each");

/* Open addressing, never more than three quarters full; a child knows its own text, so that a place is all that is read of the
 * table. Not keyed: segments come from the configuration. */
struct literals {
    size_t count, capacity; /* a power of two */
    struct place {
        uint64_t hash;
        struct node *child; /* NULL: free */
    } *places;              /* owned */
};

struct proxy_router {
    struct arena arena;  /* nodes and all below, pieces */
    struct node *root;   /* of routes without a host */
    struct map hosts;    /* "shop.example" -> struct node */
    struct map suffixes; /* ".shop.example", of *.shop.example -> struct node */
    size_t suffix_dots_max;
    const struct proxy_route *routes;
};

enum { ROUTER_SIZE_MAX = 64 * 1024 * 1024 };

/* ---- building ---- */

static const uint64_t config_seed[2]; /* keys come from the configuration */

static struct node *node_new(struct proxy_router *r, struct slice literal)
{
    struct node *n = ARENA_NEW(&r->arena, struct node);
    if (n != NULL)
        n->literal = literal;
    return n;
}

static void groups_done(struct group *groups)
{
    for (struct group *g = groups; g != NULL; g = g->next)
        for (struct shape *h = g->shapes; h != NULL; h = h->next)
            if (h->by_values != NULL)
                map_done(h->by_values);
}

static void node_done(struct node *n)
{
    if (n == NULL)
        return;
    node_done(n->only);
    for (size_t i = 0; n->literals != NULL && i < n->literals->capacity; i++)
        node_done(n->literals->places[i].child);
    if (n->literals != NULL)
        mem_free(n->literals->places);
    node_done(n->param);
    groups_done(n->end);
    groups_done(n->rest_end);
}

/* The child, or NULL; *ret_at is where it is, or belongs. */
static struct node *literals_find(const struct literals *l, struct slice segment, uint64_t hash, size_t *ret_at)
{
    for (size_t i = hash & (l->capacity - 1);; i = (i + 1) & (l->capacity - 1)) {
        const struct place *place = &l->places[i];
        *ret_at = i;
        if (place->child == NULL || (place->hash == hash && slice_eq(place->child->literal, segment)))
            return place->child;
    }
}

static uint64_t literal_hash(struct slice segment)
{
    return hash_sip13(config_seed, segment.p, segment.size);
}

static bool literals_grow(struct literals *l)
{
    struct literals grown = {.count = l->count, .capacity = l->capacity == 0 ? 4 : 2 * l->capacity};
    grown.places = mem_array(grown.capacity, sizeof *grown.places);
    if (grown.places == NULL)
        return false;
    for (size_t i = 0; i < l->capacity; i++) {
        size_t at;
        if (l->places[i].child == NULL)
            continue;
        (void)literals_find(&grown, l->places[i].child->literal, l->places[i].hash, &at);
        grown.places[at] = l->places[i];
    }
    mem_free(l->places);
    *l = grown;
    return true;
}

/* One that is not there yet. False: out of memory. */
static bool literals_add(struct literals *l, struct node *child)
{
    size_t at;
    uint64_t hash = literal_hash(child->literal);
    if (4 * (l->count + 1) > 3 * l->capacity && !literals_grow(l))
        return false;
    (void)literals_find(l, child->literal, hash, &at);
    l->places[at] = (struct place){hash, child};
    l->count++;
    return true;
}

static struct node *literal_child(const struct node *n, struct slice segment)
{
    size_t at;
    if (n->only != NULL)
        return slice_eq(n->only->literal, segment) ? n->only : NULL;
    return n->literals == NULL ? NULL : literals_find(n->literals, segment, literal_hash(segment), &at);
}

static int compare_headers(const void *a, const void *b)
{
    return strcasecmp(((const struct proxy_cond *)a)->name, ((const struct proxy_cond *)b)->name);
}

static int compare_parameters(const void *a, const void *b)
{
    return strcmp(((const struct proxy_cond *)a)->name, ((const struct proxy_cond *)b)->name);
}

/* Sorted by name. NULL: out of memory. */
static const struct proxy_cond *conds_sort(struct proxy_router *r, const struct proxy_cond *conds, size_t count,
                                           int (*compare)(const void *, const void *))
{
    static const struct proxy_cond none;
    if (count < 2)
        return count == 0 ? &none : conds; /* most routes have none: they shall lie close together */
    struct proxy_cond *sorted = ARENA_ARRAY(&r->arena, struct proxy_cond, count);
    if (sorted != NULL) {
        memcpy(sorted, conds, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, compare);
    }
    return sorted;
}

static bool has_twice(const struct proxy_cond *sorted, size_t count, int (*compare)(const void *, const void *))
{
    for (size_t i = 1; i < count; i++)
        if (compare(&sorted[i - 1], &sorted[i]) == 0)
            return true;
    return false;
}

static bool same_names(const struct proxy_cond *a, const struct proxy_cond *b, size_t count,
                       int (*compare)(const void *, const void *))
{
    for (size_t i = 0; i < count; i++)
        if (compare(&a[i], &b[i]) != 0 || (a[i].value == NULL) != (b[i].value == NULL))
            return false;
    return true;
}

/* A value as part of a key; those of different sizes must not run into each other. */
static bool value_add(struct buf *key, struct slice value)
{
    uint32_t size = (uint32_t)value.size;
    return buf_add(key, &size, sizeof size) && buf_add_slice(key, value);
}

static bool values_add(struct buf *key, const struct proxy_cond *conds, size_t count)
{
    bool ok = true;
    for (size_t i = 0; i < count; i++)
        ok = (conds[i].value == NULL || value_add(key, slice_str(conds[i].value))) && ok;
    return ok;
}

/* The shape like want, made at its place in the order when missing. NULL: out of memory. */
static struct shape *shape_for(struct proxy_router *r, struct group *g, const struct shape *want)
{
    struct shape **at = &g->shapes;
    for (; *at != NULL; at = &(*at)->next) {
        const struct shape *h = *at;
        if (h->header_count < want->header_count ||
            (h->header_count == want->header_count && h->query_count < want->query_count))
            break;
        if (h->header_count == want->header_count && h->query_count == want->query_count &&
            same_names(h->headers, want->headers, h->header_count, compare_headers) &&
            same_names(h->query, want->query, h->query_count, compare_parameters))
            return *at;
    }
    struct shape *made = ARENA_NEW(&r->arena, struct shape);
    if (made == NULL)
        return NULL;
    *made = *want;
    made->next = *at;
    *at = made;
    return made;
}

static struct group *group_find(struct group *groups, struct slice method)
{
    struct group *g = groups;
    while (g != NULL && !slice_eq_str(method, g->method))
        g = g->next;
    return g;
}

/* The same text where all routes have it, so that it is at hand: each configuration has a copy of its own for every route. */
static const char *method_word(const char *method)
{
    static const char *const words[] = {"", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (strcmp(words[i], method) == 0)
            return words[i];
    return method;
}

static struct group *group_for(struct proxy_router *r, struct group **groups, const char *method)
{
    struct group *g = group_find(*groups, slice_str(method));
    if (g != NULL)
        return g;
    struct group **at = groups;
    while (*at != NULL)
        at = &(*at)->next;
    if ((g = ARENA_NEW(&r->arena, struct group)) == NULL)
        return NULL;
    g->method = method_word(method);
    *at = g;
    return g;
}

static const char *method_name(const struct proxy_route *route)
{
    return route->method[0] == '\0' ? "(any method)" : route->method;
}

static const struct end *end_find(const struct shape *h, struct slice key)
{
    if (key.size == 0)
        return h->only.targets != NULL ? &h->only : NULL;
    return h->by_values == NULL ? NULL : map_get(h->by_values, key);
}

/* False: out of memory. */
static bool end_put(struct proxy_router *r, struct shape *h, struct slice key, const struct end *end)
{
    if (key.size == 0) {
        h->only = *end;
        return true;
    }
    if (h->by_values == NULL) {
        struct map *map = ARENA_NEW(&r->arena, struct map);
        if (map == NULL)
            return false;
        map_init(map, config_seed);
        h->by_values = map;
    }
    struct end *own = ARENA_NEW(&r->arena, struct end);
    if (own == NULL)
        return false;
    *own = *end;
    return map_put(h->by_values, key, own);
}

/* At the place in h that the values of conds, h's own sorted ones, give it. */
static enum ficus_err shape_add(struct proxy_router *r, struct shape *h, const struct shape *conds, size_t index,
                                struct ficus_error *reterr)
{
    const struct proxy_route *route = &r->routes[index];
    struct end end = {.route = (uint32_t)index, .stands_back = proxy_route_stands_back(route)};
    struct buf key;
    buf_init(&key, 64 * 1024);
    enum ficus_err err = FICUS_ERR_OK;
    if (!values_add(&key, conds->headers, conds->header_count) || !values_add(&key, conds->query, conds->query_count))
        err = err_set(reterr, FICUS_ERR_NOMEM, "routes");
    const struct end *other = err == FICUS_ERR_OK ? end_find(h, buf_slice(&key)) : NULL;
    if (other != NULL)
        err = err_set(reterr, FICUS_ERR_INVALID, "route %zu, %s %s: the same as route %" PRIu32 ", %s", index,
                      method_name(route), route->path, other->route, r->routes[other->route].path);
    if (err == FICUS_ERR_OK)
        err = proxy_targets_compile(&r->arena, route, &end.targets, reterr);
    if (err == FICUS_ERR_OK && !end_put(r, h, buf_slice(&key), &end))
        err = err_set(reterr, FICUS_ERR_NOMEM, "routes");
    buf_done(&key);
    return err;
}

static enum ficus_err end_add(struct proxy_router *r, struct group **groups, size_t index, struct ficus_error *reterr)
{
    const struct proxy_route *route = &r->routes[index];
    struct shape want = {
        .headers = conds_sort(r, route->headers, route->header_count, compare_headers),
        .header_count = (uint32_t)route->header_count,
        .query = conds_sort(r, route->query, route->query_count, compare_parameters),
        .query_count = (uint32_t)route->query_count,
    };
    if (want.headers == NULL || want.query == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    if (has_twice(want.headers, want.header_count, compare_headers) ||
        has_twice(want.query, want.query_count, compare_parameters))
        return err_set(reterr, FICUS_ERR_INVALID, "route %s %s: two conditions for one name", method_name(route),
                       route->path);
    struct group *group = group_for(r, groups, route->method);
    struct shape *shape = group == NULL ? NULL : shape_for(r, group, &want);
    if (shape == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    return shape_add(r, shape, &want, index, reterr);
}

/* Make a literal child, which n does not have. NULL: out of memory. */
static struct node *literal_new(struct proxy_router *r, struct node *n, struct slice segment)
{
    struct node *child = node_new(r, segment);
    if (child == NULL)
        return NULL;
    if (n->only == NULL && n->literals == NULL) {
        n->only = child;
        return child;
    }
    if (n->literals == NULL && (n->literals = ARENA_NEW(&r->arena, struct literals)) == NULL)
        return NULL;
    if (n->only != NULL && !literals_add(n->literals, n->only))
        return NULL;
    n->only = NULL;
    return literals_add(n->literals, child) ? child : NULL;
}

/* The child for a segment of a template, made when missing. NULL: out of memory. */
static struct node *child_for(struct proxy_router *r, struct node *n, struct slice segment)
{
    if (!proxy_is_param(segment)) {
        struct node *child = literal_child(n, segment);
        return child != NULL ? child : literal_new(r, n, segment);
    }
    if (n->param == NULL)
        n->param = node_new(r, SLICE_NONE);
    return n->param;
}

/* The trie of a host, made when missing. NULL: out of memory. */
static struct node *root_for(struct proxy_router *r, const char *host)
{
    if (host == NULL)
        return r->root;
    struct slice name = slice_from(slice_str(host), host[0] == '*' ? 1 : 0);
    struct map *map = host[0] == '*' ? &r->suffixes : &r->hosts;
    struct node *root = map_get(map, name);
    if (root != NULL)
        return root;
    size_t dots = 0;
    for (size_t i = 0; i < name.size; i++)
        dots += name.p[i] == '.';
    if (host[0] == '*' && dots > r->suffix_dots_max)
        r->suffix_dots_max = dots;
    root = node_new(r, SLICE_NONE);
    return root != NULL && map_put(map, name, root) ? root : NULL;
}

static enum ficus_err route_add(struct proxy_router *r, size_t index, struct ficus_error *reterr)
{
    struct slice rest = slice_str(r->routes[index].path);
    if (rest.size == 0 || rest.p[0] != '/')
        return err_set(reterr, FICUS_ERR_INVALID, "route %s: a path begins with /", r->routes[index].path);
    if (r->routes[index].header_count > PROXY_CONDS_MAX || r->routes[index].query_count > PROXY_CONDS_MAX)
        return err_set(reterr, FICUS_ERR_INVALID, "route %s: more than %d conditions", r->routes[index].path,
                       PROXY_CONDS_MAX);
    rest = slice_from(rest, 1);
    struct node *n = root_for(r, r->routes[index].host);
    size_t depth = 0, params = 0;
    if (n == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    do {
        struct slice segment = slice_cut(&rest, '/');
        params += proxy_is_param(segment);
        if (++depth > PROXY_SEGMENTS_MAX || params > PROXY_PARAMS_MAX)
            return err_set(reterr, FICUS_ERR_INVALID, "route %s: more than %d segments or %d parameters",
                           r->routes[index].path, PROXY_SEGMENTS_MAX, PROXY_PARAMS_MAX);
        if (slice_eq_str(segment, "**")) {
            if (rest.p != NULL)
                return err_set(reterr, FICUS_ERR_INVALID, "route %s: ** is not the last segment",
                               r->routes[index].path);
            return end_add(r, &n->rest_end, index, reterr);
        }
        n = child_for(r, n, segment);
        if (n == NULL)
            return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    } while (rest.p != NULL);
    return end_add(r, &n->end, index, reterr);
}

enum ficus_err proxy_router_new(const struct proxy_route *routes, size_t route_count, struct proxy_router **ret_router,
                                struct ficus_error *reterr)
{
    struct proxy_router *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    arena_init(&r->arena, ROUTER_SIZE_MAX);
    map_init(&r->hosts, config_seed);
    map_init(&r->suffixes, config_seed);
    r->routes = routes;
    r->root = node_new(r, SLICE_NONE);
    enum ficus_err err = FICUS_ERR_OK;
    if (r->root == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "routes");
    for (size_t i = 0; i < route_count && err == FICUS_ERR_OK; i++)
        err = route_add(r, i, reterr);
    if (err == FICUS_ERR_OK)
        *ret_router = r;
    else
        proxy_router_free(r);
    return err;
}

static void roots_done(struct map *roots)
{
    size_t pos = 0;
    struct slice key;
    void *root;
    while (map_next(roots, &pos, &key, &root))
        node_done(root);
    map_done(roots);
}

void proxy_router_free(struct proxy_router *r)
{
    if (r == NULL)
        return;
    node_done(r->root);
    roots_done(&r->hosts);
    roots_done(&r->suffixes);
    arena_done(&r->arena);
    mem_free(r);
}

/* ---- matching ---- */

struct search {
    const struct http_msg *request;
    const struct proxy_route *routes;
    struct arena *arena;
    struct proxy_match *match;
    bool any_path; /* a route fits in all but perhaps the method */
    bool no_memory;
    struct buf allow, key;
    struct proxy_path path;
};

static void allow_add(struct search *s, const char *method)
{
    struct slice known = buf_slice(&s->allow);
    while (known.p != NULL && known.size > 0)
        if (slice_eq_str(slice_trim(slice_cut(&known, ',')), method))
            return;
    if (buf_slice(&s->allow).size > 0)
        (void)buf_add_str(&s->allow, ", ");
    (void)buf_add_str(&s->allow, method);
}

/* The values that the request has for the names of a shape, into s->key. False: it lacks one. */
static bool values_of(struct search *s, const struct proxy_cond *conds, size_t count,
                      struct slice (*value_of)(const struct http_msg *, const struct proxy_cond *, struct arena *))
{
    for (size_t i = 0; i < count; i++) {
        struct slice value = value_of(s->request, &conds[i], s->arena);
        if (value.p == NULL)
            return false;
        if (conds[i].value == NULL)
            continue;
        if (value.size > PROXY_COND_SIZE_MAX)
            return false; /* no route's is so long */
        if (!value_add(&s->key, value))
            s->no_memory = true;
    }
    return true;
}

static const struct end *shape_match(struct search *s, const struct shape *h)
{
    if (h->header_count + h->query_count == 0)
        return end_find(h, SLICE(""));
    buf_clear(&s->key);
    if (!values_of(s, h->headers, h->header_count, proxy_header_value) ||
        !values_of(s, h->query, h->query_count, proxy_query_value))
        return NULL;
    return end_find(h, buf_slice(&s->key));
}

/* The first of a group's routes whose conditions the request meets. known: those that stand back do not count. */
static const struct end *group_match(struct search *s, const struct group *g, bool known)
{
    const struct end *best = NULL;
    const struct shape *best_shape = NULL;
    for (const struct shape *h = g->shapes; h != NULL; h = h->next) {
        if (best != NULL && (h->header_count < best_shape->header_count || h->query_count < best_shape->query_count))
            break;
        const struct end *e = shape_match(s, h);
        if (e == NULL || (known && e->stands_back) || (best != NULL && best->route < e->route))
            continue;
        best = e;
        best_shape = h;
    }
    return best;
}

/* The route for the method: by its name, HEAD by GET, then any. */
static bool leaf_match(struct search *s, struct group *groups)
{
    if (groups == NULL)
        return false;
    const bool known = s->any_path; /* a route of a more specific host or path fits, with other methods */
    struct slice method = s->request->method;
    const struct slice names[] = {method, slice_eq_str(method, "HEAD") ? SLICE("GET") : SLICE_NONE, SLICE("")};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        const struct group *g = names[i].p == NULL ? NULL : group_find(groups, names[i]);
        const struct end *e = g == NULL ? NULL : group_match(s, g, known);
        if (e != NULL) {
            s->match->route = e->route;
            s->match->targets = e->targets;
            proxy_route_soon(&s->routes[e->route]);
            return true;
        }
    }
    for (const struct group *g = groups; g != NULL; g = g->next) {
        if (group_match(s, g, known) == NULL)
            continue;
        s->any_path = true;
        allow_add(s, g->method);
        if (strcmp(g->method, "GET") == 0)
            allow_add(s, "HEAD");
    }
    return false;
}

static bool search(struct search *s, const struct node *n, size_t depth)
{
    struct proxy_match *m = s->match;
    const struct proxy_path *path = &s->path;
    if (depth == path->segment_count)
        return leaf_match(s, n->end);
    const struct node *child = literal_child(n, path->segments[depth]);
    if (child != NULL && search(s, child, depth + 1))
        return true;
    if (n->param != NULL && path->segments[depth].size > 0) {
        m->params[m->param_count++] = path->segments[depth];
        if (search(s, n->param, depth + 1))
            return true;
        m->param_count--;
    }
    /* A {param} is encoded again as one segment, so an encoded separator in it is data; the rest of a path is not so
     * sure. */
    if (path->separators || !leaf_match(s, n->rest_end))
        return false;
    m->rest = path->segments + depth;
    m->rest_count = path->segment_count - depth;
    return true;
}

/* The next trie of a *.name that the host has, from the longest name on; *at is 0 first. NULL: none is left. */
static const struct node *suffix_next(const struct proxy_router *r, struct slice host, size_t *at)
{
    size_t dots = 0;
    if (map_count(&r->suffixes) == 0)
        return NULL;
    for (size_t i = *at + 1; i < host.size; i++)
        dots += host.p[i] == '.';
    for (size_t i = *at + 1; i < host.size; i++) {
        if (host.p[i] != '.' || dots-- > r->suffix_dots_max)
            continue;
        const struct node *n = map_get(&r->suffixes, slice_from(host, i));
        if (n != NULL) {
            *at = i;
            return n;
        }
    }
    return NULL;
}

static bool search_hosts(struct search *s, const struct proxy_router *r)
{
    if (map_count(&r->hosts) + map_count(&r->suffixes) == 0)
        return search(s, r->root, 0);
    __attribute__((uninitialized)) char text[PROXY_HOST_SIZE_MAX]; /* of which host has what was written */
    struct slice host = proxy_host_of(s->request->authority, text);
    const struct node *n = map_get(&r->hosts, host);
    if (n != NULL && search(s, n, 0))
        return true;
    for (size_t at = 0; (n = suffix_next(r, host, &at)) != NULL;)
        if (search(s, n, 0))
            return true;
    return search(s, r->root, 0);
}

bool proxy_router_knows_host(const struct proxy_router *r, const struct proxy_config *config, struct slice authority)
{
    __attribute__((uninitialized)) char text[PROXY_HOST_SIZE_MAX]; /* of which host has what was written */
    size_t at = 0;
    if (authority.p == NULL)
        return false;
    for (size_t i = 0; i < config->host_count; i++)
        if (slice_eq_nocase(authority, slice_str(config->hosts[i])))
            return true;
    struct slice host = proxy_host_of(authority, text);
    return map_get(&r->hosts, host) != NULL || suffix_next(r, host, &at) != NULL;
}

enum proxy_found proxy_router_match(const struct proxy_router *r, const struct http_msg *m, struct arena *a,
                                    struct proxy_match *ret_match)
{
    /* not zeroed: the segments are many, and filled in as far as they count */
    __attribute__((uninitialized)) struct search s;
    s.request = m;
    s.routes = r->routes;
    s.arena = a;
    s.match = ret_match;
    s.any_path = s.no_memory = false;
    ret_match->param_count = ret_match->rest_count = ret_match->part = 0;
    ret_match->rest = NULL;
    ret_match->allow = NULL;
    enum proxy_found found = proxy_path_split(m->path, a, &s.path);
    if (found != PROXY_FOUND)
        return found;
    buf_init(&s.allow, 1024);
    buf_init(&s.key, 2 * PROXY_CONDS_MAX * (PROXY_COND_SIZE_MAX + sizeof(uint32_t)));
    bool matched = search_hosts(&s, r);
    if (s.no_memory || arena_overflowed(a)) {
        found = PROXY_NO_MEMORY; /* a condition may have been met */
    } else if (matched && ret_match->rest_count > 0) {
        struct slice *rest = ARENA_ARRAY(a, struct slice, ret_match->rest_count);
        if (rest != NULL)
            memcpy(rest, ret_match->rest, ret_match->rest_count * sizeof *rest);
        ret_match->rest = rest;
        found = rest == NULL ? PROXY_NO_MEMORY : PROXY_FOUND;
    } else if (matched) {
        found = PROXY_FOUND;
    } else if (s.any_path) {
        ret_match->allow = arena_strdup(a, buf_slice(&s.allow));
        found = ret_match->allow == NULL ? PROXY_NO_MEMORY : PROXY_OTHER_METHODS;
    } else {
        found = s.path.separators ? PROXY_BAD_PATH : PROXY_NO_ROUTE;
    }
    buf_done(&s.allow);
    buf_done(&s.key);
    return found;
}

struct slice proxy_router_target(const struct proxy_match *m, struct slice query, struct arena *a)
{
    return proxy_target_write(&m->targets[m->part], m, SLICE_NONE, query, a);
}

struct slice proxy_router_fallback(const struct proxy_router *r, const struct proxy_match *m, struct slice query,
                                   struct arena *a)
{
    const size_t splits = r->routes[m->route].split_count;
    return proxy_target_write(&m->targets[splits > 0 ? splits : 1], m, SLICE_NONE, query, a);
}

struct slice proxy_router_part(const struct proxy_match *m, size_t part, struct slice user, struct arena *a)
{
    return proxy_target_write(&m->targets[part], m, user, SLICE_NONE, a);
}
