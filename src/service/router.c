/* SPDX-License-Identifier: Apache-2.0
 *
 * Path templates. A service has tens of routes: a walk over all of them costs less than the parsing of one header.
 */
#include "router.h"

#include "assert.h"
#include "mem.h"
#include "text.h"

struct router {
    struct router_route *routes;
    size_t count;
};

static bool method_valid(const char *m)
{
    for (const char *c = m; *c != '\0'; c++)
        if (*c < 'A' || *c > 'Z')
            return false;
    return m[0] != '\0' && strcmp(m, "HEAD") != 0;
}

static bool param_valid(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        char c = name.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return name.size > 0;
}

static bool add_segment(struct router_route *route, struct slice text)
{
    struct router_segment *seg = &route->segments[route->segment_count];
    bool opens = slice_find(text, '{') >= 0, closes = slice_find(text, '}') >= 0;
    *seg = (struct router_segment){.text = text};
    if (opens || closes) {
        if (text.size < 3 || text.p[0] != '{' || text.p[text.size - 1] != '}')
            return false;
        seg->text = slice_make(text.p + 1, text.size - 2);
        seg->is_param = true;
        if (!param_valid(seg->text))
            return false;
        for (size_t i = 0; i < route->segment_count; i++)
            if (route->segments[i].is_param && slice_eq(route->segments[i].text, seg->text))
                return false;
        route->param_count++;
    }
    route->segment_count++;
    return true;
}

static bool parse_route(const struct ficus_route *def, struct router_route *route)
{
    *route = (struct router_route){.def = def};
    if (def->path == NULL || def->path[0] != '/' || def->handler == NULL || !method_valid(def->method))
        return false;
    struct slice rest = slice_str(def->path + 1);
    while (rest.p != NULL) {
        if (route->segment_count == ROUTER_SEGMENTS_MAX || !add_segment(route, slice_cut(&rest, '/')))
            return false;
    }
    return true;
}

static bool routes_alike(const struct router_route *a, const struct router_route *b)
{
    if (strcmp(a->def->method, b->def->method) != 0 || a->segment_count != b->segment_count)
        return false;
    for (size_t i = 0; i < a->segment_count; i++) {
        if (a->segments[i].is_param != b->segments[i].is_param)
            return false;
        if (!a->segments[i].is_param && !slice_eq(a->segments[i].text, b->segments[i].text))
            return false;
    }
    return true;
}

static enum ficus_err fill(struct router *r, const struct ficus_route *routes, struct ficus_error *reterr)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct ficus_route *def = &routes[i];
        if (!parse_route(def, &r->routes[i]))
            return err_set(
                reterr, FICUS_ERR_INVALID,
                "route %zu, %s %s: method in capitals (not HEAD), a path of whole segments \"/a/{b}\", a handler",
                i + 1, def->method, def->path == NULL ? "(no path)" : def->path);
        for (size_t k = 0; k < i; k++)
            if (routes_alike(&r->routes[k], &r->routes[i]))
                return err_set(reterr, FICUS_ERR_INVALID, "routes %zu and %zu are the same: %s %s", k + 1, i + 1,
                               def->method, def->path);
    }
    return FICUS_ERR_OK;
}

enum ficus_err router_new(const struct ficus_route *routes, struct router **ret_router, struct ficus_error *reterr)
{
    size_t count = 0;
    while (routes != NULL && routes[count].method != NULL)
        if (++count > ROUTER_ROUTES_MAX)
            return err_set(reterr, FICUS_ERR_TOO_LARGE, "more than %d routes (is the table ended by a NULL method?)",
                           ROUTER_ROUTES_MAX);
    struct router *r = mem_zalloc(sizeof *r);
    if (r == NULL || (r->routes = mem_array(count + 1, sizeof *r->routes)) == NULL) {
        router_free(r);
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    }
    r->count = count;
    enum ficus_err err = fill(r, routes, reterr);
    if (err != FICUS_ERR_OK) {
        router_free(r);
        return err;
    }
    *ret_router = r;
    return FICUS_ERR_OK;
}

void router_free(struct router *r)
{
    if (r == NULL)
        return;
    mem_free(r->routes);
    mem_free(r);
}

static bool route_matches(const struct router_route *route, const struct slice *segments, size_t count)
{
    if (route->segment_count != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct router_segment *seg = &route->segments[i];
        if (seg->is_param ? segments[i].size == 0 : !slice_eq(seg->text, segments[i]))
            return false;
    }
    return true;
}

/* At the first segment where they differ in kind, the literal one is nearer. */
static bool route_nearer(const struct router_route *a, const struct router_route *b)
{
    for (size_t i = 0; i < a->segment_count; i++)
        if (a->segments[i].is_param != b->segments[i].is_param)
            return b->segments[i].is_param;
    return false;
}

static bool split(struct slice path, struct arena *a, struct slice *segments, size_t *ret_count, bool *ret_nomem)
{
    size_t count = 0;
    if (path.size == 0 || path.p[0] != '/')
        return false;
    struct slice rest = slice_from(path, 1);
    while (rest.p != NULL) {
        if (count == ROUTER_SEGMENTS_MAX)
            return false;
        struct slice raw = slice_cut(&rest, '/'), text = SLICE_NONE;
        if (!text_percent_decode(a, raw, false, &text))
            return false;
        char *copy = arena_strdup(a, text);
        if (copy == NULL) {
            *ret_nomem = true;
            return false;
        }
        if (text.size > 0 && (memchr(text.p, '\0', text.size) != NULL || !text_utf8_valid(text)))
            return false;
        segments[count++] = slice_make(copy, text.size);
    }
    *ret_count = count;
    return true;
}

static bool params_of(const struct router_route *route, const struct slice *segments, struct arena *a,
                      struct slice **ret_params)
{
    struct slice *params = ARENA_ARRAY(a, struct slice, route->param_count + 1);
    if (params == NULL)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < route->segment_count; i++)
        if (route->segments[i].is_param)
            params[n++] = segments[i];
    FICUS_ASSERT(n == route->param_count);
    *ret_params = params;
    return true;
}

static bool method_takes(const struct ficus_route *def, struct slice method)
{
    return slice_eq_str(method, def->method) || (slice_eq(method, SLICE("HEAD")) && strcmp(def->method, "GET") == 0);
}

static void allow_add(struct buf *allow, const char *method)
{
    struct slice have = buf_slice(allow);
    struct slice rest = have;
    while (rest.p != NULL && rest.size > 0)
        if (slice_eq_str(slice_trim(slice_cut(&rest, ',')), method))
            return;
    if (have.size > 0)
        (void)buf_add_str(allow, ", ");
    (void)buf_add_str(allow, method);
    if (strcmp(method, "GET") == 0)
        (void)buf_add_str(allow, ", HEAD");
}

enum router_match router_find(const struct router *r, struct slice method, struct slice path, struct arena *a,
                              const struct router_route **ret_route, struct slice **ret_params, struct slice *ret_allow)
{
    struct slice segments[ROUTER_SEGMENTS_MAX];
    size_t count = 0;
    bool nomem = false;
    if (!split(path, a, segments, &count, &nomem))
        return nomem ? ROUTER_NOMEM : ROUTER_NOT_FOUND;
    const struct router_route *best = NULL;
    struct buf allow;
    buf_init(&allow, 4096);
    for (size_t i = 0; i < r->count; i++) {
        const struct router_route *route = &r->routes[i];
        if (!route_matches(route, segments, count))
            continue;
        allow_add(&allow, route->def->method);
        if (method_takes(route->def, method) && (best == NULL || route_nearer(route, best)))
            best = route;
    }
    enum router_match match = ROUTER_FOUND;
    if (best != NULL) {
        *ret_route = best;
        if (!params_of(best, segments, a, ret_params))
            match = ROUTER_NOMEM;
    } else if (buf_slice(&allow).size > 0) {
        *ret_allow = arena_slice(a, buf_slice(&allow));
        match = ret_allow->p == NULL ? ROUTER_NOMEM : ROUTER_OTHER_METHOD;
    } else {
        match = ROUTER_NOT_FOUND;
    }
    buf_done(&allow);
    return match;
}
