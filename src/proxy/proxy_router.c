/* SPDX-License-Identifier: Apache-2.0
 *
 * The trie of routes. A request visits a node at most once, because a tree has one way to each: literal children first,
 * then the parameter, then the rest, each deeper before the next. So the first end that fits the method is the most
 * specific one.
 */
#include "proxy_router.h"

#include "map.h"
#include "mem.h"
#include "text.h"

struct end {
    const char *method; /* "" any */
    size_t route;
    bool stands_back; /* leads to no service */
};

struct node {
    struct map literals; /* segment -> struct node */
    struct node *param;
    struct end *ends, *rest_ends; /* routes that end here; that end here with ** */
    size_t end_count, rest_end_count;
};

/* A target, cut once: literal text before each value. */
struct piece {
    struct slice text;
    int param; /* index into params, or one of PARAM_* */
};

struct target {
    struct piece *pieces;
    size_t count;
};

struct proxy_router {
    struct arena arena; /* nodes, ends, pieces */
    struct node *root;
    const struct proxy_route *routes;
    struct target **targets; /* of each route: one, or one for each of its parts */
};

enum { ROUTER_SIZE_MAX = 64 * 1024 * 1024 };
enum { PARAM_NONE = -1 /* the last piece has none */, PARAM_REST = -2, PARAM_USER = -3 };

/* ---- building ---- */

static struct node *node_new(struct proxy_router *r)
{
    static const uint64_t seed[2]; /* keys come from the configuration */
    struct node *n = ARENA_NEW(&r->arena, struct node);
    if (n != NULL)
        map_init(&n->literals, seed);
    return n;
}

static void node_done(struct node *n)
{
    if (n == NULL)
        return;
    size_t pos = 0;
    struct slice key;
    void *child;
    while (map_next(&n->literals, &pos, &key, &child))
        node_done(child);
    map_done(&n->literals);
    node_done(n->param);
}

static bool is_param(struct slice segment)
{
    return segment.size > 2 && segment.p[0] == '{' && segment.p[segment.size - 1] == '}';
}

static enum ficus_err end_add(struct proxy_router *r, struct end **ends, size_t *count, size_t route,
                              struct ficus_error *reterr)
{
    const char *method = r->routes[route].method;
    for (size_t i = 0; i < *count; i++)
        if (strcmp((*ends)[i].method, method) == 0)
            return err_set(reterr, FICUS_ERR_INVALID, "route %s %s: the same as route %s",
                           method[0] == '\0' ? "(any method)" : method, r->routes[route].path,
                           r->routes[(*ends)[i].route].path);
    struct end *more = ARENA_ARRAY(&r->arena, struct end, *count + 1);
    if (more == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    if (*count > 0)
        memcpy(more, *ends, *count * sizeof *more);
    enum proxy_kind kind = proxy_route_kind(&r->routes[route]);
    more[(*count)++] = (struct end){method, route, kind == PROXY_FILES || kind == PROXY_ANSWER};
    *ends = more;
    return FICUS_ERR_OK;
}

/* The child for a segment of a template, made when missing. NULL: out of memory. */
static struct node *child_for(struct proxy_router *r, struct node *n, struct slice segment)
{
    if (is_param(segment)) {
        if (n->param == NULL)
            n->param = node_new(r);
        return n->param;
    }
    struct node *child = map_get(&n->literals, segment);
    if (child != NULL)
        return child;
    child = node_new(r);
    return child != NULL && map_put(&n->literals, segment, child) ? child : NULL;
}

static enum ficus_err route_add(struct proxy_router *r, size_t index, struct ficus_error *reterr)
{
    struct slice rest = slice_str(r->routes[index].path);
    if (rest.size == 0 || rest.p[0] != '/')
        return err_set(reterr, FICUS_ERR_INVALID, "route %s: a path begins with /", r->routes[index].path);
    rest = slice_from(rest, 1);
    struct node *n = r->root;
    size_t depth = 0, params = 0;
    do {
        struct slice segment = slice_cut(&rest, '/');
        params += is_param(segment);
        if (++depth > PROXY_SEGMENTS_MAX || params > PROXY_PARAMS_MAX)
            return err_set(reterr, FICUS_ERR_INVALID, "route %s: more than %d segments or %d parameters",
                           r->routes[index].path, PROXY_SEGMENTS_MAX, PROXY_PARAMS_MAX);
        if (slice_eq_str(segment, "**")) {
            if (rest.p != NULL)
                return err_set(reterr, FICUS_ERR_INVALID, "route %s: ** is not the last segment",
                               r->routes[index].path);
            return end_add(r, &n->rest_ends, &n->rest_end_count, index, reterr);
        }
        n = child_for(r, n, segment);
        if (n == NULL)
            return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    } while (rest.p != NULL);
    return end_add(r, &n->ends, &n->end_count, index, reterr);
}

/* Which value a segment of a target stands for: PARAM_NONE when it is none that the path has. */
static int param_index(struct slice path, struct slice segment, bool last)
{
    if (slice_eq_str(segment, "**"))
        return last && slice_ends(path, SLICE("/**")) ? PARAM_REST : PARAM_NONE;
    if (slice_eq_str(segment, "{jwt.sub}"))
        return PARAM_USER;
    for (int index = 0; path.p != NULL;) {
        struct slice other = slice_cut(&path, '/');
        if (!is_param(other))
            continue;
        if (slice_eq(other, segment))
            return index;
        index++;
    }
    return PARAM_NONE;
}

static enum ficus_err target_compile(struct proxy_router *r, const char *path, const char *text, struct target *t,
                                     struct ficus_error *reterr)
{
    struct slice query = slice_str(text), rest = slice_cut(&query, '?');
    t->pieces = ARENA_ARRAY(&r->arena, struct piece, PROXY_PARAMS_MAX + 2);
    if (t->pieces == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    const char *begin = text;
    while (rest.p != NULL) {
        struct slice segment = slice_cut(&rest, '/');
        if (!is_param(segment) && !slice_eq_str(segment, "**"))
            continue;
        int param = param_index(slice_str(path), segment, rest.p == NULL);
        if (param == PARAM_NONE || t->count > PROXY_PARAMS_MAX)
            return err_set(reterr, FICUS_ERR_INVALID, "route %s: target %s has " SLICE_FMT ", the path has not", path,
                           text, SLICE_ARG(segment));
        t->pieces[t->count++] = (struct piece){slice_make(begin, (size_t)(segment.p - begin)), param};
        begin = segment.p + segment.size;
    }
    t->pieces[t->count++] = (struct piece){slice_str(begin), PARAM_NONE};
    return FICUS_ERR_OK;
}

static enum ficus_err targets_compile(struct proxy_router *r, size_t index, struct ficus_error *reterr)
{
    const struct proxy_route *route = &r->routes[index];
    enum proxy_kind kind = proxy_route_kind(route);
    size_t count = kind == PROXY_FORWARD ? 1 : kind == PROXY_COMPOSE ? route->part_count : 0;
    enum ficus_err err = FICUS_ERR_OK;
    r->targets[index] = ARENA_ARRAY(&r->arena, struct target, count + 1);
    if (r->targets[index] == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    for (size_t i = 0; err == FICUS_ERR_OK && i < count; i++)
        err = target_compile(r, route->path, kind == PROXY_FORWARD ? route->target : route->parts[i].target,
                             &r->targets[index][i], reterr);
    return err;
}

enum ficus_err proxy_router_new(const struct proxy_route *routes, size_t route_count, struct proxy_router **ret_router,
                                struct ficus_error *reterr)
{
    struct proxy_router *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    arena_init(&r->arena, ROUTER_SIZE_MAX);
    r->routes = routes;
    r->root = node_new(r);
    r->targets = ARENA_ARRAY(&r->arena, struct target *, route_count + 1);
    enum ficus_err err = FICUS_ERR_OK;
    if (r->root == NULL || r->targets == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "routes");
    for (size_t i = 0; i < route_count && err == FICUS_ERR_OK; i++) {
        err = route_add(r, i, reterr);
        if (err == FICUS_ERR_OK)
            err = targets_compile(r, i, reterr);
    }
    if (err == FICUS_ERR_OK)
        *ret_router = r;
    else
        proxy_router_free(r);
    return err;
}

void proxy_router_free(struct proxy_router *r)
{
    if (r == NULL)
        return;
    node_done(r->root);
    arena_done(&r->arena);
    mem_free(r);
}

/* ---- matching ---- */

struct search {
    const struct proxy_router *router;
    struct slice method;
    struct slice segments[PROXY_SEGMENTS_MAX];
    size_t segment_count;
    struct proxy_match *match;
    bool separators; /* a segment holds an encoded '/' or '\\' */
    bool any_path;   /* some route fits the path */
    struct buf allow;
};

static bool segment_safe(struct slice s, bool last)
{
    if (s.size == 0)
        return last;
    if (slice_eq_str(s, ".") || slice_eq_str(s, ".."))
        return false;
    for (size_t i = 0; i < s.size; i++)
        if ((uint8_t)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return true;
}

static bool has_separator(struct slice s)
{
    return slice_find(s, '/') >= 0 || slice_find(s, '\\') >= 0;
}

static enum proxy_found path_split(struct search *s, struct slice path, struct arena *a)
{
    if (path.size == 0 || path.p[0] != '/')
        return PROXY_NO_ROUTE; /* "*" */
    path = slice_from(path, 1);
    do {
        struct slice segment = slice_cut(&path, '/');
        if (s->segment_count == PROXY_SEGMENTS_MAX)
            return PROXY_BAD_PATH;
        if (slice_find(segment, '%') >= 0 && !text_percent_decode(a, segment, false, &segment))
            return arena_overflowed(a) ? PROXY_NO_MEMORY : PROXY_BAD_PATH;
        if (!segment_safe(segment, path.p == NULL))
            return PROXY_BAD_PATH;
        s->separators |= has_separator(segment);
        s->segments[s->segment_count++] = segment;
    } while (path.p != NULL);
    return PROXY_FOUND;
}

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

/* The end for the method: by its name, HEAD by GET, then any. */
static bool ends_match(struct search *s, const struct end *ends, size_t count)
{
    const struct end *best = NULL;
    int best_rank = 0;
    const bool known = s->any_path; /* a more specific route has this path, with other methods */
    for (size_t i = 0; i < count; i++) {
        const char *method = ends[i].method;
        if (known && ends[i].stands_back)
            continue;
        s->any_path = true;
        int rank = slice_eq_str(s->method, method)                                 ? 3
                   : slice_eq_str(s->method, "HEAD") && strcmp(method, "GET") == 0 ? 2
                                                                                   : method[0] == '\0';
        if (rank > best_rank) {
            best_rank = rank;
            best = &ends[i];
        }
    }
    if (best != NULL) {
        s->match->route = best->route;
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (known && ends[i].stands_back)
            continue;
        allow_add(s, ends[i].method);
        if (strcmp(ends[i].method, "GET") == 0)
            allow_add(s, "HEAD");
    }
    return false;
}

static bool search(struct search *s, const struct node *n, size_t depth)
{
    struct proxy_match *m = s->match;
    if (depth == s->segment_count)
        return ends_match(s, n->ends, n->end_count);
    const struct node *child = map_get(&n->literals, s->segments[depth]);
    if (child != NULL && search(s, child, depth + 1))
        return true;
    if (n->param != NULL && s->segments[depth].size > 0) {
        m->params[m->param_count++] = s->segments[depth];
        if (search(s, n->param, depth + 1))
            return true;
        m->param_count--;
    }
    /* A {param} is encoded again as one segment, so an encoded separator in it is data; the rest of a path is not so sure. */
    if (n->rest_end_count == 0 || s->separators || !ends_match(s, n->rest_ends, n->rest_end_count))
        return false;
    m->rest = s->segments + depth;
    m->rest_count = s->segment_count - depth;
    return true;
}

enum proxy_found proxy_router_match(const struct proxy_router *r, struct slice method, struct slice path,
                                    struct arena *a, struct proxy_match *ret_match)
{
    struct search s = {.router = r, .method = method, .match = ret_match};
    *ret_match = (struct proxy_match){0};
    enum proxy_found found = path_split(&s, path, a);
    if (found != PROXY_FOUND)
        return found;
    buf_init(&s.allow, 1024);
    if (search(&s, r->root, 0)) {
        if (ret_match->rest_count > 0) {
            struct slice *rest = ARENA_ARRAY(a, struct slice, ret_match->rest_count);
            if (rest != NULL)
                memcpy(rest, ret_match->rest, ret_match->rest_count * sizeof *rest);
            ret_match->rest = rest;
            found = rest == NULL ? PROXY_NO_MEMORY : PROXY_FOUND;
        }
    } else if (s.any_path) {
        ret_match->allow = arena_strdup(a, buf_slice(&s.allow));
        found = ret_match->allow == NULL ? PROXY_NO_MEMORY : PROXY_OTHER_METHODS;
    } else {
        found = s.separators ? PROXY_BAD_PATH : PROXY_NO_ROUTE;
    }
    buf_done(&s.allow);
    return found;
}

static bool piece_value(struct buf *out, const struct piece *piece, const struct proxy_match *m, struct slice user)
{
    if (piece->param >= 0)
        return text_percent_segment(out, m->params[piece->param]);
    if (piece->param == PARAM_USER) {
        bool segment = user.size > 0 && !slice_eq_str(user, ".") && !slice_eq_str(user, "..");
        return segment && text_percent_segment(out, user);
    }
    bool ok = true;
    for (size_t k = 0; piece->param == PARAM_REST && k < m->rest_count; k++)
        ok = (k == 0 || buf_add_char(out, '/')) && text_percent_segment(out, m->rest[k]) && ok;
    return ok;
}

static struct slice target_write(const struct target *t, const struct proxy_match *m, struct slice user,
                                 struct slice query, struct arena *a)
{
    if (t->count == 1 && query.p == NULL)
        return t->pieces[0].text;
    struct buf out;
    bool ok = true;
    buf_init(&out, 64 * 1024);
    for (size_t i = 0; i < t->count; i++)
        ok = buf_add_slice(&out, t->pieces[i].text) && piece_value(&out, &t->pieces[i], m, user) && ok;
    if (query.p != NULL)
        ok = buf_add_char(&out, '?') && buf_add_slice(&out, query) && ok;
    struct slice target = ok ? arena_slice(a, buf_slice(&out)) : SLICE_NONE;
    buf_done(&out);
    return target;
}

struct slice proxy_router_target(const struct proxy_router *r, const struct proxy_match *m, struct slice query,
                                 struct arena *a)
{
    return target_write(&r->targets[m->route][0], m, SLICE_NONE, query, a);
}

struct slice proxy_router_part(const struct proxy_router *r, const struct proxy_match *m, size_t part,
                               struct slice user, struct arena *a)
{
    return target_write(&r->targets[m->route][part], m, user, SLICE_NONE, a);
}
