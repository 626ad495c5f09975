/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus routes, ficus routes explain: what the manifest's routes are and which one a request takes, by the gateway's
 * own router (proxy_router.h), from the manifest alone.
 */
#include "cli.h"

#include "manifest.h"
#include "mem.h"
#include "proxy.h"
#include "proxy_router.h"
#include "timefmt.h"

#include <stdio.h>
#include <stdlib.h>

enum { NEAR_MAX = 5, TARGET_SIZE = 1024 };

struct table {
    struct arena arena;
    struct manifest *m;
    struct proxy_config config;
    struct proxy_router *router;
    size_t *order; /* indices of routes, by precedence */
};

/* ---- the manifest's routes ---- */

struct ranked {
    const struct proxy_route *route;
    size_t index;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    int order = proxy_route_compare(x->route, y->route, NULL);
    return order != 0 ? order : x->index < y->index ? -1 : 1;
}

static enum ficus_err sort(struct table *t, struct ficus_error *reterr)
{
    size_t count = t->config.route_count;
    struct ranked *ranked = ARENA_ARRAY(&t->arena, struct ranked, count + 1);
    t->order = ARENA_ARRAY(&t->arena, size_t, count + 1);
    if (ranked == NULL || t->order == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        ranked[i] = (struct ranked){&t->config.routes[i], i};
    qsort(ranked, count, sizeof *ranked, compare_ranked);
    for (size_t i = 0; i < count; i++)
        t->order[i] = ranked[i].index;
    return FICUS_ERR_OK;
}

/* Returns an exit code; EXIT_OK: table_done follows. */
static int table_load(struct table *t, const struct command_call *c)
{
    struct conf_errors errors;
    struct ficus_error error = {0};
    const char *sets[COMMAND_OPTIONS_MAX];
    const struct manifest_options o = {.sets = sets, .set_count = command_values(c, "set", sets, COMMAND_OPTIONS_MAX)};
    const char *file = command_value(c, "file", "ficus.yaml");
    *t = (struct table){.m = NULL};
    arena_init(&t->arena, MANIFEST_ARENA_SIZE_MAX);
    conf_errors_init(&errors, &t->arena);
    enum ficus_err err = manifest_load(&t->arena, file, &o, &t->m, &errors);
    if (err != FICUS_ERR_OK) {
        cli_print_errors(&errors);
        arena_done(&t->arena);
        return EXIT_USAGE;
    }
    if (t->m->gateway == NULL)
        err = err_set(&error, FICUS_ERR_INVALID, "%s: there is no gateway", file);
    if (err == FICUS_ERR_OK)
        err = manifest_render_routes(t->m, &t->arena, &t->config, &error);
    if (err == FICUS_ERR_OK)
        err = proxy_router_new(t->config.routes, t->config.route_count, &t->router, &error);
    if (err == FICUS_ERR_OK)
        err = sort(t, &error);
    if (err == FICUS_ERR_OK)
        return EXIT_OK;
    int code = cli_fail(&error);
    proxy_router_free(t->router);
    arena_done(&t->arena);
    return code;
}

static void table_done(struct table *t)
{
    proxy_router_free(t->router);
    arena_done(&t->arena);
}

/* ---- one route as text ---- */

static void put_conds(struct buf *out, const struct proxy_cond *conds, size_t count, const char *equals)
{
    for (size_t i = 0; i < count; i++)
        buf_printf(out, " [%s%s%s]", conds[i].name, conds[i].value == NULL ? " present" : equals,
                   conds[i].value == NULL ? "" : conds[i].value);
}

/* "GET shop.example/api/{id} [X-Beta: 1] [v=2]" */
static void put_asked(struct buf *out, const struct proxy_route *r)
{
    buf_printf(out, "%s %s%s", r->method[0] == '\0' ? "*" : r->method, r->host == NULL ? "" : r->host, r->path);
    put_conds(out, r->headers, r->header_count, ": ");
    put_conds(out, r->query, r->query_count, "=");
}

/* "95 % orders:/v1, 5 % orders2:/v1, sticky by cookie ab": shares to a tenth. */
static void put_splits(struct buf *out, const struct proxy_route *r)
{
    static const char *const by[] = {"", ", sticky by user", ", sticky by cookie ", ", sticky by header "};
    int64_t all = 0;
    for (size_t i = 0; i < r->split_count; i++)
        all += r->splits[i].weight;
    for (size_t i = 0; i < r->split_count; i++) {
        int64_t tenths = (r->splits[i].weight * 1000 + all / 2) / all;
        buf_printf(out, "%s%lld.%lld %% %s:%s", i == 0 ? "" : ", ", (long long)(tenths / 10), (long long)(tenths % 10),
                   r->splits[i].service, r->splits[i].target);
    }
    buf_printf(out, "%s%s", by[r->sticky.by], r->sticky.name == NULL ? "" : r->sticky.name);
}

/* ", fallback stale 5m or other:/v1 or 200" */
static void put_fallback(struct buf *out, const struct proxy_fallback *f)
{
    const char *before = ", fallback ";
    char age[32];
    duration_format(f->stale_ms, age, sizeof age);
    if (f->stale_ms > 0)
        buf_printf(out, "%sstale %s", before, age);
    before = f->stale_ms > 0 ? " or " : before;
    if (f->service != NULL)
        buf_printf(out, "%s%s:%s", before, f->service, f->target);
    before = f->service != NULL ? " or " : before;
    if (f->status > 0)
        buf_printf(out, "%s%d", before, (int)f->status);
}

static void put_target(struct buf *out, const struct table *t, size_t index)
{
    const struct proxy_route *r = &t->config.routes[index];
    static const char *const auths[] = {"", ", auth optional", ", auth required"};
    switch (proxy_route_kind(r)) {
    case PROXY_FORWARD:
        if (r->split_count > 0)
            put_splits(out, r);
        else
            buf_printf(out, "%s:%s", r->service, r->target);
        break;
    case PROXY_COMPOSE:
        buf_printf(out, "composed of %zu parts", r->part_count);
        break;
    case PROXY_FILES:
        buf_printf(out, "files of %s", t->m->gateway->routes[index].files);
        break;
    case PROXY_ANSWER:
        buf_printf(out, "answer %d", (int)r->answer);
        break;
    }
    if (r->fallback != NULL)
        put_fallback(out, r->fallback);
    buf_add_str(out, auths[r->auth]);
    for (size_t i = 0; i < r->role_count; i++)
        buf_printf(out, "%s%s", i == 0 ? ", roles " : " ", r->roles[i]);
}

static const struct conf_node *place_of(const struct table *t, size_t index)
{
    return t->m->gateway->routes[index].node;
}

static void write_route(struct json_writer *w, const struct table *t, size_t index)
{
    const struct conf_node *node = place_of(t, index);
    json_write_kv_str(w, "file", node->file);
    json_write_kv_i64(w, "line", node->line);
    json_write_key(w, "route");
    conf_encode(&proxy_route_table, &t->config.routes[index], w);
}

/* ---- ficus routes ---- */

static void list_text(const struct table *t, struct buf *out)
{
    struct buf line;
    int width = 0;
    buf_init(&line, 1 << 16);
    for (size_t i = 0; i < t->config.route_count; i++) {
        buf_clear(&line);
        put_asked(&line, &t->config.routes[i]);
        width = (int)line.size > width && line.size <= 60 ? (int)line.size : width;
    }
    for (size_t i = 0; i < t->config.route_count; i++) {
        const struct conf_node *node = place_of(t, t->order[i]);
        buf_clear(&line);
        put_asked(&line, &t->config.routes[t->order[i]]);
        buf_printf(out, "%-*s -> ", width, buf_str(&line));
        put_target(out, t, t->order[i]);
        buf_printf(out, "  (%s:%u)\n", node->file, node->line);
    }
    buf_done(&line);
}

int cmd_routes(const struct command_call *c)
{
    struct table t;
    struct buf out;
    int code = table_load(&t, c);
    if (code != EXIT_OK)
        return code;
    buf_init(&out, 64 << 20);
    if (command_has(c, "json")) {
        struct json_writer w;
        json_write_init(&w, &out);
        json_write_array(&w);
        for (size_t i = 0; i < t.config.route_count; i++) {
            json_write_object(&w);
            write_route(&w, &t, t.order[i]);
            json_write_end(&w);
        }
        json_write_end(&w);
        buf_add_char(&out, '\n');
    } else {
        list_text(&t, &out);
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    table_done(&t);
    return EXIT_OK;
}

/* ---- ficus routes explain: the request ---- */

static bool wrong_usage(const char *what, const char *found)
{
    dprintf(2, "ficus: routes explain: %s: \"%s\"\n", what, found);
    return false;
}

static bool add_header(struct http_msg *m, const char *text)
{
    struct slice value = slice_str(text), name = slice_cut(&value, ':');
    if (value.p == NULL)
        return wrong_usage("a header is NAME: VALUE", text);
    value = slice_trim(value);
    if (slice_eq_nocase(name, SLICE("host"))) {
        m->authority = value;
        return true;
    }
    return http_msg_add(m, name, value) || wrong_usage("no valid header", text);
}

static bool request_read(const struct table *t, const struct command_call *c, struct http_msg *m)
{
    static const struct slice schemes[] = {{"http://", 7}, {"https://", 8}};
    const char *headers[COMMAND_OPTIONS_MAX];
    size_t count = command_values(c, "header", headers, COMMAND_OPTIONS_MAX);
    struct slice rest = slice_str(c->operands[1]), path = slice_cut(&rest, '#');
    m->method = slice_str(c->operands[0]);
    if (!http_token_valid(m->method))
        return wrong_usage("no method", c->operands[0]);
    m->authority = slice_str(t->config.hosts[0]);
    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++) {
        if (!slice_starts(path, schemes[i]))
            continue;
        path = slice_from(path, schemes[i].size);
        size_t size = 0;
        while (size < path.size && path.p[size] != '/' && path.p[size] != '?')
            size++;
        m->authority = slice_make(path.p, size);
        path = slice_from(path, size);
    }
    m->query = path;
    m->path = slice_cut(&m->query, '?');
    if (m->path.size == 0)
        m->path = SLICE("/");
    if (m->path.p[0] != '/')
        return wrong_usage("neither a path nor a URL", c->operands[1]);
    for (size_t i = 0; i < count; i++)
        if (!add_header(m, headers[i]))
            return false;
    return true;
}

/* ---- the explanation ---- */

struct verdict {
    enum proxy_found found;
    bool unrouted; /* the routes are not asked */
    struct proxy_match match;
    int status; /* that the gateway answers by itself; 0: the route decides */
    const char *words;
};

static struct verdict decide(struct table *t, const struct http_msg *m)
{
    struct verdict v = {.found = PROXY_NO_ROUTE, .status = 0, .words = ""};
    if (slice_eq_str(m->path, PROXY_HEALTH_PATH) || slice_eq_str(m->path, PROXY_ALIVE_PATH)) {
        v.unrouted = true;
        v.status = 200;
        v.words = "the gateway answers this path by itself: its own health";
        return v;
    }
    if (!proxy_router_knows_host(t->router, &t->config, m->authority)) {
        v.unrouted = true;
        v.status = 421;
        v.words = "the host is none of gateway.hosts, and no route names it";
        return v;
    }
    v.found = proxy_router_match(t->router, m, &t->arena, &v.match);
    switch (v.found) {
    case PROXY_FOUND:
        break;
    case PROXY_BAD_PATH:
        v.status = 400;
        v.words = "the path has dot segments, empty segments or characters that are not allowed there";
        break;
    case PROXY_NO_ROUTE:
        v.status = 404;
        v.words = "no route fits";
        break;
    case PROXY_OTHER_METHODS:
        v.status = 405;
        v.words = arena_printf(&t->arena, "routes fit, but for other methods; Allow: %s", v.match.allow);
        break;
    case PROXY_NO_MEMORY:
        v.status = 431;
        v.words = "the request takes too much memory";
        break;
    }
    return v;
}

static void put_missed(struct buf *out, const struct proxy_cond *c, const char *what, struct slice value)
{
    buf_printf(out, "%sneeds %s %s", out->size > 0 ? "; " : "", what, c->name);
    if (c->value != NULL)
        buf_printf(out, " to be \"%s\"", c->value);
    if (value.p == NULL)
        buf_add_str(out, ", which is absent");
    else
        buf_printf(out, ", which is \"" SLICE_FMT "\"", SLICE_ARG(value));
}

/* Why a route that fits is not the one that was found; winner NULL: none was. */
static const char *why_behind(const struct proxy_route *r, const struct proxy_route *winner)
{
    static const char *const words[] = {
        [PROXY_BY_HOST] = "fits, but its host is less specific",
        [PROXY_BY_PATH] = "fits, but its path is less specific",
        [PROXY_BY_METHOD] = "fits, but names the method less exactly",
        [PROXY_BY_HEADERS] = "fits, but asks for fewer headers",
        [PROXY_BY_QUERY] = "fits, but asks for fewer parameters",
        [PROXY_BY_PLACE] = "fits, but comes later in the manifest",
    };
    enum proxy_criterion by = PROXY_BY_PLACE;
    if (winner == NULL || proxy_route_compare(r, winner, &by) < 0) /* only what stands back can be first and not win */
        return "would fit, but stands back: a route of a more specific host or path is there";
    return words[by];
}

static const char *why_not(struct table *t, const struct http_msg *m, const struct proxy_route *r,
                           const struct proxy_judgement *j, const struct proxy_route *winner)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    if (!j->path)
        buf_add_str(&out, "has another path");
    if (!j->host)
        buf_printf(&out, "%sis for host %s", out.size > 0 ? "; " : "", r->host);
    if (!j->method)
        buf_printf(&out, "%sis for %s", out.size > 0 ? "; " : "", r->method);
    if (j->header != NULL)
        put_missed(&out, j->header, "header", proxy_header_value(m, j->header, &t->arena));
    if (j->query != NULL)
        put_missed(&out, j->query, "parameter", proxy_query_value(m, j->query, &t->arena));
    const char *text = out.size == 0 ? why_behind(r, winner) : arena_strdup(&t->arena, buf_slice(&out));
    buf_done(&out);
    return text == NULL ? "" : text;
}

struct other {
    size_t route;
    const char *why;
};

/* Routes with the request's path, in their order; when there is none, up to NEAR_MAX whose path begins like it. */
static size_t others_of(struct table *t, const struct http_msg *m, const struct verdict *v, struct other *ret_others)
{
    const struct proxy_route *routes = t->config.routes,
                             *winner = v->found == PROXY_FOUND ? &routes[v->match.route] : NULL;
    struct proxy_path path;
    size_t count = 0, best = 1;
    bool any_path = false;
    if (proxy_path_split(m->path, &t->arena, &path) != PROXY_FOUND)
        return 0;
    for (size_t i = 0; i < t->config.route_count; i++) {
        struct proxy_judgement j = proxy_route_judge(&routes[i], m, &path, &t->arena);
        any_path |= j.path;
        best = j.segments > best ? j.segments : best;
    }
    for (size_t i = 0; i < t->config.route_count; i++) {
        size_t index = t->order[i];
        struct proxy_judgement j = proxy_route_judge(&routes[index], m, &path, &t->arena);
        bool shown = any_path ? j.path : j.segments == best && count < NEAR_MAX;
        if (shown && &routes[index] != winner)
            ret_others[count++] = (struct other){index, why_not(t, m, &routes[index], &j, winner)};
    }
    return count;
}

/* What the winner is ahead of the others that fit by. */
static const char *why_first(struct table *t, const struct http_msg *m, size_t index)
{
    struct proxy_path path;
    size_t fit = 0;
    if (proxy_path_split(m->path, &t->arena, &path) != PROXY_FOUND)
        return "";
    for (size_t i = 0; i < t->config.route_count; i++) {
        struct proxy_judgement j = proxy_route_judge(&t->config.routes[i], m, &path, &t->arena);
        fit += i != index && proxy_judgement_fits(&j);
    }
    const char *text = fit == 0 ? "it is the only route that fits"
                                : arena_printf(&t->arena, "%zu other%s, and this one goes first", fit,
                                               fit == 1 ? " fits as well" : "s fit as well");
    return text == NULL ? "" : text;
}

/* Where the request goes, by one part of a split or without; NULL: there is no such part, or no service's path. */
static const char *target_of(struct table *t, const struct http_msg *m, const struct verdict *v, size_t part)
{
    const struct proxy_route *r = &t->config.routes[v->match.route];
    struct proxy_match match = v->match;
    if (proxy_route_kind(r) != PROXY_FORWARD || part >= (r->split_count > 0 ? r->split_count : 1))
        return NULL;
    match.part = part;
    struct slice target = proxy_router_target(&match, m->query, &t->arena);
    return arena_printf(&t->arena, "%s:" SLICE_FMT, r->split_count > 0 ? r->splits[part].service : r->service,
                        SLICE_ARG(target));
}

static void explain_text(struct table *t, const struct http_msg *m, const struct verdict *v, const struct other *others,
                         size_t other_count, struct buf *out)
{
    if (v->found == PROXY_FOUND) {
        const struct conf_node *node = place_of(t, v->match.route);
        const char *target;
        put_asked(out, &t->config.routes[v->match.route]);
        buf_add_str(out, " -> ");
        put_target(out, t, v->match.route);
        buf_printf(out, "  (%s:%u)\n", node->file, node->line);
        for (size_t part = 0; (target = target_of(t, m, v, part)) != NULL; part++)
            buf_printf(out, "  %s   %s\n", part == 0 ? "asks" : "or  ", target);
        buf_printf(out, "  why    %s\n", why_first(t, m, v->match.route));
    } else {
        buf_printf(out, "%d: %s\n", v->status, v->words);
    }
    if (other_count > 0)
        buf_add_str(out, "\nnot taken:\n");
    for (size_t i = 0; i < other_count; i++) {
        const struct conf_node *node = place_of(t, others[i].route);
        buf_add_str(out, "  ");
        put_asked(out, &t->config.routes[others[i].route]);
        buf_printf(out, "  (%s:%u)\n      %s\n", node->file, node->line, others[i].why);
    }
}

static void explain_json(struct table *t, const struct http_msg *m, const struct verdict *v, const struct other *others,
                         size_t other_count, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    if (v->found == PROXY_FOUND) {
        const char *target;
        json_write_key(&w, "match");
        json_write_object(&w);
        write_route(&w, t, v->match.route);
        json_write_kv_str(&w, "why", why_first(t, m, v->match.route));
        json_write_key(&w, "asks");
        json_write_array(&w);
        for (size_t part = 0; (target = target_of(t, m, v, part)) != NULL; part++)
            json_write_str(&w, target);
        json_write_end(&w);
        json_write_end(&w);
    } else {
        json_write_kv_i64(&w, "status", v->status);
        json_write_kv_str(&w, "why", v->words);
    }
    json_write_key(&w, "others");
    json_write_array(&w);
    for (size_t i = 0; i < other_count; i++) {
        json_write_object(&w);
        write_route(&w, t, others[i].route);
        json_write_kv_str(&w, "why", others[i].why);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
    buf_add_char(out, '\n');
}

int cmd_routes_explain(const struct command_call *c)
{
    struct table t;
    struct http_msg m;
    struct buf out;
    int code = table_load(&t, c);
    if (code != EXIT_OK)
        return code;
    http_msg_init(&m, &t.arena);
    struct other *others = ARENA_ARRAY(&t.arena, struct other, t.config.route_count + 1);
    code = EXIT_USAGE;
    buf_init(&out, 64 << 20);
    if (others != NULL && request_read(&t, c, &m)) {
        const struct verdict v = decide(&t, &m);
        size_t count = v.unrouted ? 0 : others_of(&t, &m, &v, others);
        if (command_has(c, "json"))
            explain_json(&t, &m, &v, others, count, &out);
        else
            explain_text(&t, &m, &v, others, count, &out);
        code = v.found == PROXY_FOUND ? EXIT_OK : EXIT_FAILED;
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    table_done(&t);
    return code;
}
