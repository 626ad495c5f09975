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

static uint64_t random_state;

static unsigned pick(unsigned count)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % count;
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
            enum proxy_found result = proxy_router_match(r, method, buf_slice(&path), &a, &m);
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
    enum proxy_found found = proxy_router_match(r, slice_str(method), slice_str(path), a, m);
    if (found == PROXY_FOUND)
        *target = arena_slice(a, proxy_router_target(r, m, slice_str(query), a));
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
    assert_int_equal(proxy_router_match(r, SLICE("GET"), SLICE("/h/1%2F2/%C3%A9"), &a, &m), PROXY_FOUND);
    assert_true(slice_eq_str(proxy_router_part(r, &m, 0, SLICE_NONE, &a), "/v1/%C3%A9/x/1%2F2?limit=5&p=/{a}"));
    assert_true(slice_eq_str(proxy_router_part(r, &m, 1, SLICE("u/../1?"), &a), "/v1/u%2F..%2F1%3F"));
    assert_true(slice_eq_str(proxy_router_part(r, &m, 2, SLICE_NONE, &a), "/v1/me"));
    static const char *const users[] = {"", ".", ".."};
    for (size_t i = 0; i < 3; i++)
        assert_null(proxy_router_part(r, &m, 1, slice_str(users[i]), &a).p);
    assert_null(proxy_router_part(r, &m, 1, SLICE_NONE, &a).p);
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
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_tricks),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
