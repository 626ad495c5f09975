/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes with hosts, headers and parameters of the query, in the running gateway.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#define CLOSE "Connection: close\r\n"

static struct proxy_cond beta = {"X-Beta", "1"}, version = {"v", "2"};

/* Which path orders was asked under, or the status when it was not asked. */
static const char *led_to(struct rig *r, const char *text)
{
    static char seen[64];
    unsigned before = r->orders_asked;
    int status = status_of(ask(r, text));
    if (r->orders_asked == before)
        (void)snprintf(seen, sizeof seen, "%d", status);
    else
        (void)snprintf(seen, sizeof seen, "%.*s", (int)strcspn(buf_str(&r->seen), "\n"), buf_str(&r->seen));
    return seen;
}

/* Host, headers and query decide which service's path is asked; a host of a route is no stranger, any other still is.
 */
static void test_routes(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    gateway_stop(r);
    const struct proxy_route common = {
        .method = "GET", .path = "/x", .service = "orders", .timeout_ms = 2000, .body_size_max = 1000};
    static const char *const targets[] = {"/v1/plain", "/v1/beta", "/v1/query", "/v1/host", "/v1/below"};
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        struct proxy_route *route = &r->routes[r->config.route_count++];
        *route = common;
        route->target = targets[i];
        if (i == 1) {
            route->headers = &beta;
            route->header_count = 1;
        } else if (i == 2) {
            route->query = &version;
            route->query_count = 1;
        } else if (i >= 3) {
            route->host = i == 3 ? "api.test" : "*.api.test";
        }
    }
    gateway_start(r);
    rig_wait(r, is_ready, r);
    static const struct {
        const char *text, *seen;
    } cases[] = {
        {"GET /x HTTP/1.1\r\nHost: shop.test:80\r\n" CLOSE "\r\n", "GET /v1/plain?"},
        {"GET /x HTTP/1.1\r\nHost: shop.test:80\r\nx-beta: 1\r\n" CLOSE "\r\n", "GET /v1/beta?"},
        {"GET /x HTTP/1.1\r\nHost: shop.test:80\r\nx-beta: 2\r\n" CLOSE "\r\n", "GET /v1/plain?"},
        {"GET /x?v=2 HTTP/1.1\r\nHost: shop.test:80\r\n" CLOSE "\r\n", "GET /v1/query?v=2"},
        {"GET /x?v=2 HTTP/1.1\r\nHost: shop.test:80\r\nx-beta: 1\r\n" CLOSE "\r\n", "GET /v1/beta?v=2"},
        {"GET /x HTTP/1.1\r\nHost: api.test\r\nx-beta: 1\r\n" CLOSE "\r\n", "GET /v1/host?"},
        {"GET /x HTTP/1.1\r\nHost: API.test:8080\r\n" CLOSE "\r\n", "GET /v1/host?"},
        {"GET /x HTTP/1.1\r\nHost: a.b.api.test\r\n" CLOSE "\r\n", "GET /v1/below?"},
        {"GET /open/1 HTTP/1.1\r\nHost: api.test\r\n" CLOSE "\r\n", "GET /v1/open/1?"},
        {"GET /x HTTP/1.1\r\nHost: napi.test\r\n" CLOSE "\r\n", "421"},
        {"GET /x HTTP/1.1\r\nHost: .api.test\r\n" CLOSE "\r\n", "421"},
        {"PUT /x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n" CLOSE "\r\n", "405"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_string_equal(led_to(r, cases[i].text), cases[i].seen);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
