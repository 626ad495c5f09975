/* SPDX-License-Identifier: Apache-2.0
 *
 * The router against a linear scan, and what it refuses.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mem.h"
#include "proxy_router.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t random_state;

static unsigned pick(unsigned count)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % count;
}

static enum proxy_found match(const struct proxy_router *r, struct slice method, struct slice path, struct arena *a,
                              struct proxy_match *ret_match)
{
    const struct http_msg m = {.method = method, .path = path, .authority = SLICE_NONE, .query = SLICE_NONE};
    return proxy_router_match(r, &m, a, ret_match);
}

static struct proxy_router *router(const struct proxy_route *routes, size_t count)
{
    struct proxy_router *r = NULL;
    struct ficus_error error = {0};
    if (proxy_router_new(routes, count, &r, &error) != FICUS_ERR_OK)
        print_error("%s\n", error.text);
    assert_non_null(r);
    return r;
}

/* ---- the oracle: segments one by one, ranks compared from the left ---- */

static struct slice segment(struct slice path, size_t index, bool *ret_there)
{
    path = slice_from(path, 1);
    struct slice s = slice_cut(&path, '/');
    for (; index > 0 && path.p != NULL; index--)
        s = slice_cut(&path, '/');
    *ret_there = index == 0;
    return s;
}

/* Whether another route has the path more specifically, for whatever method. */
static bool oracle_fits(const char *template_text, struct slice path, char *ret_key);
static bool oracle_stands_back(const struct proxy_route *routes, size_t count, size_t index, struct slice path)
{
    char own[80], key[80];
    if (routes[index].answer == 0 || !oracle_fits(routes[index].path, path, own))
        return false;
    for (size_t i = 0; i < count; i++)
        if (oracle_fits(routes[i].path, path, key) && strcmp(key, own) > 0)
            return true;
    return false;
}

/* 0: no match at all; else *ret_key orders by how specific it is. */
static bool oracle_fits(const char *template_text, struct slice path, char *ret_key)
{
    size_t at = 0;
    for (;; at++) {
        bool t_there, p_there;
        struct slice t = segment(slice_str(template_text), at, &t_there), p = segment(path, at, &p_there);
        if (t_there && slice_eq_str(t, "**")) {
            ret_key[at] = 'a';
            ret_key[at + 1] = '\0';
            return p_there;
        }
        if (!t_there || !p_there) {
            ret_key[at] = '\0';
            return !t_there && !p_there;
        }
        if (t.size > 0 && t.p[0] == '{') {
            if (p.size == 0)
                return false;
            ret_key[at] = 'b';
        } else {
            if (!slice_eq(t, p))
                return false;
            ret_key[at] = 'c';
        }
    }
}

static size_t oracle(const struct proxy_route *routes, size_t count, struct slice method, struct slice path,
                     bool *ret_any)
{
    size_t best = SIZE_MAX;
    char best_key[80] = "";
    *ret_any = false;
    for (size_t i = 0; i < count; i++) {
        char key[80];
        if (!oracle_fits(routes[i].path, path, key))
            continue;
        *ret_any = true;
        if (oracle_stands_back(routes, count, i, path))
            continue;
        size_t size = strlen(key);
        bool head = slice_eq_str(method, "HEAD");
        char rank = slice_eq_str(method, routes[i].method)         ? '3'
                    : head && strcmp(routes[i].method, "GET") == 0 ? '2'
                    : routes[i].method[0] == '\0'                  ? '1'
                                                                   : '0';
        if (rank == '0')
            continue;
        key[size] = rank;
        key[size + 1] = '\0';
        if (strcmp(key, best_key) > 0) {
            memcpy(best_key, key, sizeof key);
            best = i;
        }
    }
    return best;
}

/* Random tables and paths: the trie finds what a scan over all routes finds. */
static void test_oracle(void **state)
{
    (void)state;
    static const char *const words[] = {"a", "b", "c", "{p}", "{q}"};
    static const char *const methods[] = {"", "GET", "POST", "PUT"};
    static const char *const asked[] = {"GET", "HEAD", "POST", "DELETE"};
    unsigned found = 0, other = 0, none = 0;
    for (random_state = 1; random_state < 4000; random_state++) {
        uint64_t seed = random_state;
        struct arena a;
        arena_init(&a, 1024 * 1024);
        struct proxy_route routes[24];
        size_t count = 0;
        for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
            struct buf path;
            buf_init(&path, 256);
            for (unsigned n = pick(4) + 1; n > 0; n--)
                buf_printf(&path, "/%s", n == 1 && pick(4) == 0 ? pick(2) == 0 ? "**" : "" : words[pick(5)]);
            struct proxy_route route = {
                .method = methods[pick(4)], .path = arena_strdup(&a, buf_slice(&path)), .target = "/", .service = "s"};
            if (pick(4) == 0)
                route = (struct proxy_route){.method = route.method, .path = route.path, .answer = 404};
            buf_done(&path);
            /* Only tables that the router takes: no two the same but for names of parameters. */
            struct proxy_router *r = NULL;
            routes[count] = route;
            if (proxy_router_new(routes, count + 1, &r, NULL) == FICUS_ERR_OK)
                count++;
            proxy_router_free(r);
        }
        struct proxy_router *r = router(routes, count);
        for (int k = 0; k < 40; k++) {
            struct buf path;
            buf_init(&path, 256);
            for (unsigned n = pick(4) + 1; n > 0; n--)
                buf_printf(&path, "/%s", n == 1 && pick(5) == 0 ? "" : words[pick(3)]);
            struct slice method = slice_str(asked[pick(4)]);
            struct proxy_match m;
            enum proxy_found result = match(r, method, buf_slice(&path), &a, &m);
            bool any;
            size_t expected = oracle(routes, count, method, buf_slice(&path), &any);
            if (expected != SIZE_MAX) {
                if (result != PROXY_FOUND || m.route != expected)
                    print_error("seed %llu: %s %s\n", (unsigned long long)seed, method.p, buf_str(&path));
                assert_int_equal(result, PROXY_FOUND);
                assert_int_equal(m.route, expected);
                found++;
            } else {
                assert_int_equal(result, any ? PROXY_OTHER_METHODS : PROXY_NO_ROUTE);
                *(any ? &other : &none) += 1;
            }
            buf_done(&path);
        }
        proxy_router_free(r);
        arena_done(&a);
        random_state = seed;
    }
    assert_true(found > 10000 && other > 1000 && none > 1000);
}

/* ---- the whole order of precedence, as HTTPRoute of the Gateway API words it: a scan over all routes ---- */

struct asked {
    const char *method, *path, *host, *query;
    const char *beta, *zone; /* headers; NULL: absent */
};

static size_t host_chars(const char *host, bool wildcards)
{
    return host == NULL || (host[0] == '*' && !wildcards) ? 0 : strlen(host);
}

/* Host names of the test have lower case and no port. */
static bool scan_host(const char *host, const char *asked)
{
    if (host == NULL)
        return true;
    if (host[0] != '*')
        return strcmp(host, asked) == 0;
    size_t all = strlen(asked), tail = strlen(host + 1);
    return all > tail && strcmp(asked + all - tail, host + 1) == 0;
}

static bool scan_conds(const struct proxy_route *r, const struct asked *q)
{
    for (size_t i = 0; i < r->header_count; i++) {
        const char *value = r->headers[i].name[2] == 'B' || r->headers[i].name[2] == 'b' ? q->beta : q->zone;
        if (value == NULL || (r->headers[i].value != NULL && strcmp(r->headers[i].value, value) != 0))
            return false;
    }
    for (size_t i = 0; i < r->query_count; i++) {
        char with[16]; /* the test's queries: v=1&w=2, each at most once, nothing encoded */
        (void)snprintf(with, sizeof with, "%s=%s", r->query[i].name,
                       r->query[i].value == NULL ? "" : r->query[i].value);
        if (q->query == NULL || strstr(q->query, with) == NULL)
            return false;
    }
    return true;
}

static int scan_method(const char *method, const char *asked)
{
    if (strcmp(method, asked) == 0)
        return 3;
    if (strcmp(asked, "HEAD") == 0 && strcmp(method, "GET") == 0)
        return 2;
    return method[0] == '\0';
}

/* Below 0: what fits by a is more specific than by b in host, then path. */
static int scan_place(const struct proxy_route *a, const char *a_key, const struct proxy_route *b, const char *b_key)
{
    for (int wildcards = 0; wildcards < 2; wildcards++) {
        size_t x = host_chars(a->host, wildcards), y = host_chars(b->host, wildcards);
        if (x != y)
            return x > y ? -1 : 1;
    }
    return -strcmp(a_key, b_key);
}

static size_t scan(const struct proxy_route *routes, size_t count, const struct asked *q, enum proxy_found *ret_found)
{
    size_t best = SIZE_MAX;
    char best_key[80] = "";
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        char key[80], other[80];
        const struct proxy_route *r = &routes[i];
        if (!scan_host(r->host, q->host) || !oracle_fits(r->path, slice_str(q->path), key) || !scan_conds(r, q))
            continue;
        any = true;
        bool stands_back = false;
        for (size_t k = 0; r->answer != 0 && k < count; k++)
            stands_back |= scan_host(routes[k].host, q->host) &&
                           oracle_fits(routes[k].path, slice_str(q->path), other) && scan_conds(&routes[k], q) &&
                           scan_place(&routes[k], other, r, key) < 0;
        int rank = scan_method(r->method, q->method);
        if (stands_back || rank == 0)
            continue;
        int order = -1;
        if (best != SIZE_MAX) {
            const struct proxy_route *b = &routes[best];
            order = scan_place(r, key, b, best_key);
            if (order == 0)
                order = scan_method(b->method, q->method) - rank;
            if (order == 0)
                order = (int)b->header_count - (int)r->header_count;
            if (order == 0)
                order = (int)b->query_count - (int)r->query_count;
        }
        if (order < 0) { /* in a tie the first one stays */
            best = i;
            memcpy(best_key, key, sizeof key);
        }
    }
    *ret_found = best != SIZE_MAX ? PROXY_FOUND : any ? PROXY_OTHER_METHODS : PROXY_NO_ROUTE;
    return best;
}

static const struct proxy_route *sorted_routes; /* for qsort */
static int by_precedence(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    int order = proxy_route_compare(&sorted_routes[x], &sorted_routes[y], NULL);
    return order != 0 ? order : x < y ? -1 : 1;
}

/* The first route in the order of precedence that fits: what a reader of the sorted list would say. */
static size_t first_of_list(const struct proxy_route *routes, const size_t *order, size_t count,
                            const struct http_msg *m, struct arena *a)
{
    struct proxy_path path;
    bool known = false; /* something more specific fits but for its method */
    assert_int_equal(proxy_path_split(m->path, a, &path), PROXY_FOUND);
    for (size_t i = 0, place = 0; i < count; i++) {
        const struct proxy_route *r = &routes[order[i]];
        const struct proxy_route before = routes[order[place]];
        bool same_place =
            (r->host == before.host || (r->host != NULL && before.host != NULL && strcmp(r->host, before.host) == 0)) &&
            proxy_route_compare(&(struct proxy_route){.method = "", .path = r->path},
                                &(struct proxy_route){.method = "", .path = before.path}, NULL) == 0;
        if (!same_place) {
            for (size_t k = place; k < i; k++) {
                struct proxy_judgement j = proxy_route_judge(&routes[order[k]], m, &path, a);
                j.method = true;
                known |= proxy_judgement_fits(&j);
            }
            place = i;
        }
        struct proxy_judgement j = proxy_route_judge(r, m, &path, a);
        if (proxy_judgement_fits(&j) && !(known && proxy_route_stands_back(r)))
            return order[i];
    }
    return SIZE_MAX;
}

static size_t pick_conds(struct proxy_cond *conds, const char *const names[2], const char *const values[3])
{
    size_t count = 0;
    for (size_t i = 0; i < 2; i++)
        if (pick(3) == 0)
            conds[count++] = (struct proxy_cond){names[i], values[pick(3)]};
    if (count == 2 && pick(2) == 0) { /* the order in which they are written does not matter */
        struct proxy_cond first = conds[0];
        conds[0] = conds[1];
        conds[1] = first;
    }
    return count;
}

static const char *pick_path(struct arena *a, const char *const *words, unsigned word_count, bool rest)
{
    struct buf path;
    buf_init(&path, 256);
    for (unsigned n = pick(3) + 1; n > 0; n--)
        buf_printf(&path, "/%s", n == 1 && pick(5) == 0 ? rest && pick(2) == 0 ? "**" : "" : words[pick(word_count)]);
    const char *text = arena_strdup(a, buf_slice(&path));
    buf_done(&path);
    return text;
}

/* Routes with hosts, methods, headers and parameters of the query: the router finds what the scan finds, and so does
 * who reads the sorted list from the top. */
static void test_precedence(void **state)
{
    (void)state;
    static const char *const words[] = {"a", "b", "{p}", "{q}"};
    static const char *const methods[] = {"", "GET", "POST", "HEAD"}, *const verbs[] = {"GET", "HEAD", "POST",
                                                                                        "DELETE"};
    static const char *const hosts[] = {NULL, NULL, "x.org", "y.x.org", "*.org", "*.x.org", "*.y.x.org"};
    static const char *const names[] = {"x.org", "y.x.org", "z.y.x.org", "z.x.org", "org", "other.net"};
    static const char *const headers[] = {"X-Beta", "x-zone"}, *const parameters[] = {"v", "w"};
    static const char *const values[] = {"1", "2", NULL};
    static const char *const queries[] = {NULL, "v=1", "v=2&w=1", "w=1", "w=2&v=1", "q=1"};
    unsigned counts[PROXY_NO_MEMORY + 1] = {0}, by_header = 0, by_query = 0, by_host = 0;
    for (unsigned set = 1; set < 500; set++) {
        random_state = set;
        struct arena a;
        arena_init(&a, 4 * 1024 * 1024);
        struct proxy_route routes[40];
        struct proxy_cond conds[40][4];
        size_t order[40], count = 0;
        for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
            struct proxy_route r = {
                .method = methods[pick(4)], .host = hosts[pick(7)], .path = pick_path(&a, words, 4, true)};
            if (pick(5) == 0)
                r.answer = 404;
            else
                r.service = "s", r.target = "/";
            r.headers = conds[count];
            r.header_count = pick_conds(r.headers, headers, values);
            r.query = conds[count] + 2;
            r.query_count = pick_conds(r.query, parameters, values);
            struct proxy_router *made = NULL;
            routes[count] = r;
            order[count] = count;
            /* A route that is there already is refused, and only that. */
            struct buf key, other;
            bool same = false;
            buf_init(&key, 1024);
            buf_init(&other, 1024);
            assert_true(proxy_route_key(&r, &key));
            for (size_t k = 0; k < count; k++) {
                buf_clear(&other);
                assert_true(proxy_route_key(&routes[k], &other));
                same |= slice_eq(buf_slice(&key), buf_slice(&other));
            }
            buf_done(&key);
            buf_done(&other);
            assert_int_equal(proxy_router_new(routes, count + 1, &made, NULL), same ? FICUS_ERR_INVALID : FICUS_ERR_OK);
            count += !same;
            proxy_router_free(made);
        }
        struct proxy_router *r = router(routes, count);
        sorted_routes = routes;
        qsort(order, count, sizeof order[0], by_precedence);
        for (int k = 0; k < 60; k++) {
            const struct asked q = {.method = verbs[pick(4)],
                                    .path = pick_path(&a, words, 2, false),
                                    .host = names[pick(6)],
                                    .query = queries[pick(6)],
                                    .beta = values[pick(3)],
                                    .zone = values[pick(3)]};
            struct http_field fields[3] = {{SLICE("Accept"), SLICE("*/*")}};
            struct http_msg m = {.method = slice_str(q.method),
                                 .path = slice_str(q.path),
                                 .query = slice_str(q.query),
                                 .fields = fields,
                                 .field_count = 1,
                                 .authority = slice_str(arena_printf(&a, "%s%s", q.host, pick(2) == 0 ? "" : ":8080"))};
            if (q.beta != NULL)
                fields[m.field_count++] = (struct http_field){SLICE("x-beta"), slice_str(q.beta)};
            if (q.zone != NULL)
                fields[m.field_count++] = (struct http_field){SLICE("X-Zone"), slice_str(q.zone)};
            struct proxy_match match_found;
            enum proxy_found expected_found, found = proxy_router_match(r, &m, &a, &match_found);
            size_t expected = scan(routes, count, &q, &expected_found);
            if (found != expected_found || (found == PROXY_FOUND && match_found.route != expected))
                print_error("set %u: %s %s%s?%s: found %d, route %zu, expected %d, %zu\n", set, q.method, q.host,
                            q.path, q.query == NULL ? "" : q.query, found, match_found.route, expected_found, expected);
            assert_int_equal(found, expected_found);
            assert_int_equal(first_of_list(routes, order, count, &m, &a), expected);
            counts[found]++;
            if (found != PROXY_FOUND)
                continue;
            assert_int_equal(match_found.route, expected);
            by_host += routes[expected].host != NULL;
            by_header += routes[expected].header_count > 0;
            by_query += routes[expected].query_count > 0;
        }
        proxy_router_free(r);
        arena_done(&a);
    }
    assert_true(counts[PROXY_FOUND] > 8000 && counts[PROXY_OTHER_METHODS] > 1000 && counts[PROXY_NO_ROUTE] > 1000);
    assert_true(by_host > 2000 && by_header > 2000 && by_query > 2000);
}

/* Which host a route has, and how headers and parameters are read. */
static void test_conditions(void **state)
{
    (void)state;
    static const struct proxy_cond beta[] = {{"X-Beta", "a, b"}}, any[] = {{"x-debug", NULL}},
                                   query[] = {{"q x", "1 2"}};
    const struct proxy_route routes[] = {
        {.method = "", .host = "*.shop.example", .path = "/**", .target = "/**"},
        {.method = "", .path = "/h", .headers = (struct proxy_cond *)(uintptr_t)beta, .header_count = 1, .target = "/"},
        {.method = "", .path = "/d", .headers = (struct proxy_cond *)(uintptr_t)any, .header_count = 1, .target = "/"},
        {.method = "", .path = "/q", .query = (struct proxy_cond *)(uintptr_t)query, .query_count = 1, .target = "/"},
    };
    static const struct {
        const char *host, *path, *query, *header, *first, *second;
        size_t route; /* SIZE_MAX: none */
    } cases[] = {
        {"a.shop.example", "/x", NULL, NULL, NULL, NULL, 0},
        {"A.B.Shop.Example:8080", "/x", NULL, NULL, NULL, NULL, 0},
        {"shop.example", "/x", NULL, NULL, NULL, NULL, SIZE_MAX},
        {".shop.example", "/x", NULL, NULL, NULL, NULL, SIZE_MAX},
        {"ashop.example", "/x", NULL, NULL, NULL, NULL, SIZE_MAX},
        {"[::1]:80", "/h", NULL, "X-BETA", "a", "b", 1},
        {"o", "/h", NULL, "x-beta", "a, b", NULL, 1},
        {"o", "/h", NULL, "x-beta", "a", NULL, SIZE_MAX},
        {"o", "/h", NULL, "x-beta", "A, b", NULL, SIZE_MAX},
        {"o", "/d", NULL, "X-Debug", "", NULL, 2},
        {"o", "/d", NULL, NULL, NULL, NULL, SIZE_MAX},
        {"o", "/q", "q+x=1%202", NULL, NULL, NULL, 3},
        {"o", "/q", "a=1&q%20x=1+2&q+x=3", NULL, NULL, NULL, 3},
        {"o", "/q", "q+x=3&q+x=1+2", NULL, NULL, NULL, SIZE_MAX},
        {"o", "/q", "q+x=%zz", NULL, NULL, NULL, SIZE_MAX},
    };
    struct proxy_router *r = router(routes, ARRAY_COUNT(routes));
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct arena a;
        struct proxy_match found;
        arena_init(&a, 64 * 1024);
        struct http_field fields[] = {{slice_str(cases[i].header), slice_str(cases[i].first)},
                                      {slice_str(cases[i].header), slice_str(cases[i].second)}};
        const struct http_msg m = {.method = SLICE("GET"),
                                   .authority = slice_str(cases[i].host),
                                   .path = slice_str(cases[i].path),
                                   .query = slice_str(cases[i].query),
                                   .fields = fields,
                                   .field_count = (cases[i].first != NULL) + (cases[i].second != NULL)};
        enum proxy_found result = proxy_router_match(r, &m, &a, &found);
        if (result != (cases[i].route == SIZE_MAX ? PROXY_NO_ROUTE : PROXY_FOUND))
            print_error("case %zu\n", i);
        assert_int_equal(result, cases[i].route == SIZE_MAX ? PROXY_NO_ROUTE : PROXY_FOUND);
        if (result == PROXY_FOUND)
            assert_int_equal(found.route, cases[i].route);
        arena_done(&a);
    }
    static const char *const own[] = {"o:80"};
    const struct proxy_config config = {.hosts = own, .host_count = 1};
    assert_true(proxy_router_knows_host(r, &config, SLICE("x.shop.example:1")));
    assert_true(proxy_router_knows_host(r, &config, SLICE("O:80")));
    static const char *const strange[] = {"o", "o:81", "shop.example", "", ".shop.example"};
    for (size_t i = 0; i < ARRAY_COUNT(strange); i++)
        assert_false(proxy_router_knows_host(r, &config, slice_str(strange[i])));
    assert_false(proxy_router_knows_host(r, &config, SLICE_NONE));
    proxy_router_free(r);
    /* A request whose memory is at its end is never routed by half of its conditions. */
    r = router(routes, ARRAY_COUNT(routes));
    struct http_field twice[] = {{SLICE("x-beta"), SLICE("a")}, {SLICE("x-beta"), SLICE("b")}};
    const struct http_msg m = {
        .method = SLICE("GET"), .authority = SLICE("o"), .path = SLICE("/h"), .fields = twice, .field_count = 2};
    struct proxy_match found;
    struct arena small;
    arena_init(&small, 1);
    assert_int_equal(proxy_router_match(r, &m, &small, &found), PROXY_NO_MEMORY);
    arena_done(&small);
    proxy_router_free(r);
}

/* Ten thousand routes are found as ten are: the place of each decides, not their number. */
static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    struct arena a;
    arena_init(&a, 64 * 1024 * 1024);
    struct proxy_route *routes = ARENA_ARRAY(&a, struct proxy_route, COUNT);
    struct proxy_cond *tenants = ARENA_ARRAY(&a, struct proxy_cond, COUNT);
    for (int i = 0; i < COUNT; i++) {
        tenants[i] = (struct proxy_cond){"X-Tenant", arena_printf(&a, "t%d", i)};
        routes[i] = (struct proxy_route){
            .method = "GET", .path = "/same", .headers = &tenants[i], .header_count = 1, .target = "/"};
        if (i % 2 == 0)
            routes[i] = (struct proxy_route){
                .method = "GET", .host = arena_printf(&a, "h%d.example", i), .path = "/{x}/y", .target = "/"};
    }
    struct proxy_router *r = router(routes, COUNT);
    for (int i = 0; i < COUNT; i++) {
        struct http_field field = {SLICE("x-tenant"), slice_str(tenants[i].value)};
        const struct http_msg m = {.method = SLICE("GET"),
                                   .path = i % 2 == 0 ? SLICE("/z/y") : SLICE("/same"),
                                   .fields = &field,
                                   .field_count = 1,
                                   .authority = i % 2 == 0 ? slice_str(routes[i].host) : SLICE("o")};
        struct proxy_match found;
        assert_int_equal(proxy_router_match(r, &m, &a, &found), PROXY_FOUND);
        assert_int_equal(found.route, i);
    }
    proxy_router_free(r);
    arena_done(&a);
}

static const struct proxy_route shop[] = {
    {.method = "GET", .path = "/api/v1/orders", .service = "orders", .target = "/v1/orders"},
    {.method = "POST", .path = "/api/v1/orders", .service = "orders", .target = "/v1/orders"},
    {.method = "GET", .path = "/api/v1/orders/{id}", .service = "orders", .target = "/v1/orders/{id}"},
    {.method = "", .path = "/swap/{a}/{b}", .service = "s", .target = "/{b}/x/{a}"},
    {.method = "GET", .path = "/files/**", .service = "files", .target = "/f/**"},
    {.method = "GET", .path = "/files/{x}/**", .service = "files", .target = "/g/{x}/h/**"},
    {.method = "GET", .path = "/", .service = "front", .target = "/index"},
};

static enum proxy_found ask(const char *method, const char *path, const char *query, struct arena *a,
                            struct proxy_match *m, struct slice *target)
{
    struct proxy_router *r = router(shop, ARRAY_COUNT(shop));
    enum proxy_found found = match(r, slice_str(method), slice_str(path), a, m);
    if (found == PROXY_FOUND)
        *target = arena_slice(a, proxy_router_target(m, slice_str(query), a));
    proxy_router_free(r);
    return found;
}

/* Targets carry the values as one segment each, and the query unchanged. */
static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *path, *query, *target;
    } cases[] = {
        {"/api/v1/orders", NULL, "/v1/orders"},
        {"/api/v1/orders", "", "/v1/orders?"},
        {"/api/v1/orders", "limit=1&a=%2F", "/v1/orders?limit=1&a=%2F"},
        {"/api/v1/orders/42", NULL, "/v1/orders/42"},
        {"/api/v1/orders/a%20b%3Fc", "q", "/v1/orders/a%20b%3Fc?q"},
        {"/api/v1/orders/a%2fb%5C", NULL, "/v1/orders/a%2Fb%5C"},
        {"/api/v1/orders/a;b=c", NULL, "/v1/orders/a%3Bb%3Dc"},
        {"/api/%761/orders", NULL, "/v1/orders"},
        {"/swap/1/2", NULL, "/2/x/1"},
        {"/files/", NULL, "/f/"},
        {"/files/a", NULL, "/f/a"},
        {"/files/a/b%25/c", NULL, "/g/a/h/b%25/c"},
        {"/files/a/", NULL, "/g/a/h/"},
        {"/", NULL, "/index"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct arena a;
        arena_init(&a, 64 * 1024);
        struct proxy_match m;
        struct slice target = SLICE_NONE;
        assert_int_equal(ask("GET", cases[i].path, cases[i].query, &a, &m, &target), PROXY_FOUND);
        if (!slice_eq_str(target, cases[i].target))
            print_error("%s: " SLICE_FMT "\n", cases[i].path, SLICE_ARG(target));
        assert_true(slice_eq_str(target, cases[i].target));
        arena_done(&a);
    }
}

/* Paths that two servers could read differently are refused, whatever route they would fit. */
static void test_tricks(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "/api/v1/orders/..",     "/api/v1/orders/../x",
        "/api/v1/orders/.",      "/api/v1/./orders",
        "/api/v1/orders/%2e%2e", "/api/v1/orders/%2E%2e/admin",
        "/api/v1/orders%2fa",    "/api%2Fv1/orders/a",
        "/files/a%5cb",          "/api/v1/orders/%00",
        "/api/v1/orders/a%0ab",  "/api/v1/orders/%7f",
        "/api//v1/orders",       "//api/v1/orders",
        "/api/v1/orders//",      "/files/%2e%2e/etc",
        "/files/a/../b",         "/files//a",
        "/files/a%2f..%2fb",     "/%2e",
    };
    struct arena a;
    struct proxy_match m;
    struct slice target;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        arena_init(&a, 64 * 1024);
        if (ask("GET", bad[i], NULL, &a, &m, &target) != PROXY_BAD_PATH)
            print_error("%s\n", bad[i]);
        assert_int_equal(ask("GET", bad[i], NULL, &a, &m, &target), PROXY_BAD_PATH);
        arena_done(&a);
    }
    arena_init(&a, 64 * 1024);
    char deep[400];
    for (size_t i = 0; i < sizeof deep - 1; i++)
        deep[i] = i % 2 == 0 ? '/' : 'a';
    deep[sizeof deep - 1] = '\0';
    assert_int_equal(ask("GET", deep, NULL, &a, &m, &target), PROXY_BAD_PATH);
    assert_int_equal(ask("GET", "/api/v1/orders/", NULL, &a, &m, &target), PROXY_NO_ROUTE);
    assert_int_equal(ask("GET", "/files", NULL, &a, &m, &target), PROXY_NO_ROUTE);
    assert_int_equal(ask("OPTIONS", "*", NULL, &a, &m, &target), PROXY_NO_ROUTE);
    assert_int_equal(ask("PUT", "/api/v1/orders", NULL, &a, &m, &target), PROXY_OTHER_METHODS);
    assert_string_equal(m.allow, "GET, HEAD, POST");
    assert_int_equal(ask("HEAD", "/api/v1/orders", NULL, &a, &m, &target), PROXY_FOUND);
    assert_int_equal(m.route, 0);
    arena_done(&a);
}

/* Tables that cannot be meant are refused with the place. */
static void test_tables(void **state)
{
    (void)state;
    static const struct proxy_route bad[][2] = {
        {{.method = "GET", .path = "/a/{x}", .target = "/"}, {.method = "GET", .path = "/a/{y}", .target = "/"}},
        {{.method = "", .path = "/a/**", .target = "/"}, {.method = "", .path = "/a/**", .target = "/"}},
        {{.method = "", .path = "/a/**/b", .target = "/"}, {.method = "", .path = "/b", .target = "/"}},
        {{.method = "", .path = "/a", .target = "/{x}"}, {.method = "", .path = "/b", .target = "/"}},
        {{.method = "", .path = "/a", .target = "/**"}, {.method = "", .path = "/b", .target = "/"}},
        {{.method = "", .path = "a", .target = "/"}, {.method = "", .path = "/b", .target = "/"}},
        {{.method = "", .path = "/a", .target = "b"}, {.method = "", .path = "/b", .target = "/"}},
        {{.method = "", .path = "/a", .target = "/b c"}, {.method = "", .path = "/b", .target = "/"}},
        {{.method = "", .path = "/a", .target = "/b\r\nEvil: 1"}, {.method = "", .path = "/b", .target = "/"}},
        {{.method = "", .path = "/a/{x}", .target = "/b{x}c"}, {.method = "", .path = "/b", .target = "/"}},
        {{.method = "", .path = "/a", .target = "/%4"}, {.method = "", .path = "/b", .target = "/"}},
        {{.method = "", .path = "/a", .target = "/b?c d"}, {.method = "", .path = "/b", .target = "/"}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct proxy_router *r = NULL;
        struct ficus_error error = {0};
        assert_int_equal(proxy_router_new(bad[i], 2, &r, &error), FICUS_ERR_INVALID);
        assert_true(strlen(error.text) > 0);
    }
}

/* A part's path has parameters and the user as one segment each; a user that no segment can be makes no path. */
static void test_parts(void **state)
{
    (void)state;
    struct proxy_part parts[] = {{.service = "s", .target = "/v1/{b}/x/{a}?limit=5&p=/{a}"},
                                 {.service = "s", .target = "/v1/{jwt.sub}"},
                                 {.service = "s", .target = "/v1/me"}};
    const struct proxy_route routes[] = {{.method = "GET", .path = "/h/{a}/{b}", .parts = parts, .part_count = 3}};
    struct proxy_router *r = router(routes, 1);
    struct proxy_match m;
    struct arena a;
    arena_init(&a, 64 * 1024);
    assert_int_equal(match(r, SLICE("GET"), SLICE("/h/1%2F2/%C3%A9"), &a, &m), PROXY_FOUND);
    assert_true(slice_eq_str(proxy_router_part(&m, 0, SLICE_NONE, &a), "/v1/%C3%A9/x/1%2F2?limit=5&p=/{a}"));
    assert_true(slice_eq_str(proxy_router_part(&m, 1, SLICE("u/../1?"), &a), "/v1/u%2F..%2F1%3F"));
    assert_true(slice_eq_str(proxy_router_part(&m, 2, SLICE_NONE, &a), "/v1/me"));
    static const char *const users[] = {"", ".", ".."};
    for (size_t i = 0; i < 3; i++)
        assert_null(proxy_router_part(&m, 1, slice_str(users[i]), &a).p);
    assert_null(proxy_router_part(&m, 1, SLICE_NONE, &a).p);
    arena_done(&a);
    proxy_router_free(r);
    parts[1].target = "/v1/{c}";
    struct ficus_error error = {0};
    assert_int_equal(proxy_router_new(routes, 1, &r, &error), FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "{c}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),      cmocka_unit_test(test_oracle), cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_conditions), cmocka_unit_test(test_many),   cmocka_unit_test(test_targets),
        cmocka_unit_test(test_tricks),     cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
