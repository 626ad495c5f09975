/* SPDX-License-Identifier: Apache-2.0
 *
 * The router alone.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "router.h"

static int handler(struct ficus_req *req)
{
    return 0;
}

static const struct ficus_route routes[] = {
    {"GET", "/", handler},
    {"GET", "/v1/orders", handler},
    {"POST", "/v1/orders", handler},
    {"GET", "/v1/orders/{id}", handler},
    {"GET", "/v1/orders/latest", handler},
    {"DELETE", "/v1/orders/{id}", handler},
    {"PUT", "/v1/{kind}/{id}/state", handler},
    {0},
};

struct found {
    enum router_match match;
    const struct router_route *route;
    struct slice *params;
    struct slice allow;
};

static struct arena arena;
static struct router *router;

static struct found find(const char *method, const char *path)
{
    struct found f = {0};
    f.match = router_find(router, slice_str(method), slice_str(path), &arena, &f.route, &f.params, &f.allow);
    return f;
}

static int setup(void **state)
{
    arena_init(&arena, 1024 * 1024);
    return router_new(routes, &router, NULL) == FICUS_ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    router_free(router);
    arena_done(&arena);
    return 0;
}

/* A literal segment wins over a parameter, whatever the order of the table. */
static void test_literal_first(void **state)
{
    assert_string_equal(find("GET", "/v1/orders/latest").route->def->path, "/v1/orders/latest");
    assert_string_equal(find("GET", "/v1/orders/x").route->def->path, "/v1/orders/{id}");
    assert_string_equal(find("DELETE", "/v1/orders/latest").route->def->path, "/v1/orders/{id}");
    assert_string_equal(find("GET", "/").route->def->path, "/");
}

/* Parameters are whole segments, decoded once, never empty. */
static void test_params(void **state)
{
    struct found f = find("PUT", "/v1/a%2Fb/%7Bid%7D%2520/state");
    assert_int_equal(f.match, ROUTER_FOUND);
    assert_string_equal(f.params[0].p, "a/b");
    assert_string_equal(f.params[1].p, "{id}%20");
    assert_int_equal(find("GET", "/v1/orders/").match, ROUTER_NOT_FOUND);
    assert_int_equal(find("GET", "/v1/orders/%00").match, ROUTER_NOT_FOUND);
    assert_int_equal(find("GET", "/v1/orders/%zz").match, ROUTER_NOT_FOUND);
    /* not text, which no store would take */
    assert_int_equal(find("GET", "/v1/orders/%ff").match, ROUTER_NOT_FOUND);
    assert_int_equal(find("GET", "/v1/orders/%c0%af").match, ROUTER_NOT_FOUND);
    assert_int_equal(find("GET", "/v1/orders/%E2%82%AC").match, ROUTER_FOUND);
    assert_int_equal(find("GET", "/v1/orders/a/b").match, ROUTER_NOT_FOUND);
}

/* A path that exists with other methods says which; HEAD takes the GET route. */
static void test_methods(void **state)
{
    struct found f = find("PATCH", "/v1/orders");
    assert_int_equal(f.match, ROUTER_OTHER_METHOD);
    assert_true(slice_eq_str(f.allow, "GET, HEAD, POST"));
    assert_int_equal(find("HEAD", "/v1/orders").match, ROUTER_FOUND);
    assert_int_equal(find("PATCH", "/v2").match, ROUTER_NOT_FOUND);
}

/* A table that could not work is refused, with the route named. */
static void test_bad_tables(void **state)
{
    static const struct ficus_route bad[][3] = {
        {{"GET", "v1", handler}},
        {{"get", "/v1", handler}},
        {{"GET", "/v1/{a}/{a}", handler}},
        {{"GET", "/v1/x{a}", handler}},
        {{"GET", "/v1/{}", handler}},
        {{"GET", "/v1", NULL}},
        {{"GET", "/{a}", handler}, {"GET", "/{b}", handler}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct router *r = NULL;
        struct ficus_error error = {0};
        assert_int_equal(router_new(bad[i], &r, &error), FICUS_ERR_INVALID);
        assert_non_null(strstr(error.text, "route"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literal_first),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_bad_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
