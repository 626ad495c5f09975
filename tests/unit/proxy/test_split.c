/* SPDX-License-Identifier: Apache-2.0
 *
 * Splits: shares, keys that stay where they are, and what the running gateway does with users, headers and cookies.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#define HOST "Host: " RIG_HOST "\r\nConnection: close\r\n"

static struct proxy_route route_of(struct proxy_split *splits, const int64_t *weights, size_t count)
{
    for (size_t i = 0; i < count; i++)
        splits[i] = (struct proxy_split){"s", "/", weights[i]};
    return (struct proxy_route){.method = "", .path = "/", .splits = splits, .split_count = count};
}

/* Each part has its weight's share of the points, to one point. */
static void test_shares(void **state)
{
    (void)state;
    static const int64_t weights[][4] = {{95, 5}, {1, 1, 1}, {0, 7}, {7, 0}, {1, 9999}, {10000, 10000, 1, 10000}, {3}};
    static const size_t counts[] = {2, 3, 2, 2, 2, 4, 1};
    for (size_t k = 0; k < ARRAY_COUNT(counts); k++) {
        struct proxy_split splits[4];
        const struct proxy_route r = route_of(splits, weights[k], counts[k]);
        int64_t got[4] = {0}, all = 0;
        for (unsigned point = 0; point < PROXY_POINTS; point++)
            got[proxy_split_at(&r, point)]++;
        for (size_t i = 0; i < counts[k]; i++)
            all += weights[k][i];
        for (size_t i = 0; i < counts[k]; i++) {
            assert_true(llabs(got[i] * all - weights[k][i] * PROXY_POINTS) <= all);
            assert_true(weights[k][i] > 0 || got[i] == 0);
        }
    }
    /* keys are spread evenly: 100,000 of them over ten parts */
    unsigned tenths[10] = {0};
    for (unsigned i = 0; i < 100000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "user-%u", i);
        tenths[proxy_split_point(slice_str(key)) / (PROXY_POINTS / 10)]++;
    }
    for (size_t i = 0; i < 10; i++)
        assert_in_range(tenths[i], 9500, 10500);
}

/* When one weight grows, each point stays or moves towards that part; when it shrinks, the other way. */
static void test_moves(void **state)
{
    (void)state;
    uint64_t random = 1;
    size_t moved = 0;
    for (int turn = 0; turn < 300; turn++) {
        struct proxy_split before[5], after[5];
        int64_t weights[5];
        for (size_t i = 0; i < 5; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            weights[i] = (int64_t)((random >> 33) % 100);
        }
        size_t grows = (random >> 40) % 5;
        weights[(grows + 1) % 5]++; /* never all zero */
        const struct proxy_route a = route_of(before, weights, 5);
        weights[grows] += 1 + (int64_t)((random >> 50) % 50);
        const struct proxy_route b = route_of(after, weights, 5);
        for (unsigned point = 0; point < PROXY_POINTS; point += 7) {
            size_t x = proxy_split_at(&a, point), y = proxy_split_at(&b, point);
            assert_true(x == y || (x < grows && y > x && y <= grows) || (x > grows && y < x && y >= grows));
            moved += x != y;
        }
    }
    assert_true(moved > 1000);
}

/* ---- the running gateway ---- */

static struct proxy_split halves[] = {{"orders", "/v1/a", 50}, {"orders", "/v1/b", 50}};

static struct rig *rig_split(int by, const char *name, int auth)
{
    struct rig *r = rig_new(false);
    gateway_stop(r);
    r->routes[r->config.route_count++] = (struct proxy_route){.method = "",
                                                              .path = "/split",
                                                              .splits = halves,
                                                              .split_count = 2,
                                                              .sticky = {by, name, 86400000},
                                                              .auth = auth,
                                                              .timeout_ms = 2000,
                                                              .body_size_max = 1000};
    gateway_start(r);
    rig_wait(r, is_ready, r);
    return r;
}

/* Which of the halves was asked: 'a', 'b'. */
static char half(struct rig *r, const char *fields)
{
    char text[8192];
    (void)snprintf(text, sizeof text, "GET /split HTTP/1.1\r\n" HOST "%s\r\n", fields);
    assert_int_equal(status_of(ask(r, text)), 202);
    assert_true(strncmp(buf_str(&r->seen), "GET /v1/", 8) == 0);
    return buf_str(&r->seen)[8];
}

/* A key stays, different keys are spread, and the part is what the key's point says. */
static void test_header(void **state)
{
    (void)state;
    struct rig *r = rig_split(PROXY_STICKY_HEADER, "X-Tenant", PROXY_AUTH_NONE);
    unsigned counts[2] = {0};
    for (int i = 0; i < 20; i++) {
        char field[64], key[16];
        (void)snprintf(key, sizeof key, "t%d", i);
        (void)snprintf(field, sizeof field, "x-tenant: %s\r\n", key);
        char expected = proxy_split_point(slice_str(key)) < PROXY_POINTS / 2 ? 'a' : 'b';
        for (int k = 0; k < 3; k++)
            assert_int_equal(half(r, field), expected);
        counts[expected - 'a']++;
    }
    assert_true(counts[0] > 2 && counts[1] > 2);
    /* without the header: by chance, so soon the other one */
    bool seen[2] = {false};
    for (int i = 0; i < 200 && !(seen[0] && seen[1]); i++)
        seen[half(r, "") - 'a'] = true;
    assert_true(seen[0] && seen[1]);
    struct buf metrics;
    buf_init(&metrics, 1024 * 1024);
    assert_true(metrics_render(r->proxy->process.metrics, &metrics));
    assert_non_null(strstr(buf_str(&metrics),
                           "gateway_split_requests_total{route=\"/split\",part=\"orders:/v1/a\",status=\"202\"}"));
    buf_done(&metrics);
    rig_free(r);
}

/* A client without the cookie gets one, and stays where it came first; one that has it gets none. */
static void test_cookie(void **state)
{
    (void)state;
    struct rig *r = rig_split(PROXY_STICKY_COOKIE, "ab", PROXY_AUTH_NONE);
    bool seen[2] = {false};
    for (int i = 0; i < 100 && !(seen[0] && seen[1]); i++) {
        const char *answer = ask(r, "GET /split HTTP/1.1\r\n" HOST "Cookie: xab=1; ab=; other=2\r\n\r\n");
        const char *cookie = strstr(answer, "\r\nSet-Cookie: ab=");
        assert_non_null(cookie);
        assert_non_null(strstr(cookie, "; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax\r\n"));
        char first = buf_str(&r->seen)[8], field[128], twice[256];
        assert_null(strstr(buf_str(&r->seen), "ookie: "));
        (void)snprintf(field, sizeof field, "Cookie: %.19s\r\n", cookie + 14);
        (void)snprintf(twice, sizeof twice, "Cookie: a=1\r\nCookie: b=2; %.19s; c=3\r\n", cookie + 14);
        assert_int_equal(half(r, field), first);
        assert_int_equal(half(r, twice), first);
        (void)snprintf(twice, sizeof twice, "GET /split HTTP/1.1\r\n" HOST "%s\r\n", field);
        assert_null(strstr(ask(r, twice), "Set-Cookie"));
        seen[first - 'a'] = true;
    }
    assert_true(seen[0] && seen[1]);
    rig_free(r);
}

/* By user: the token's subject decides. */
static void test_user(void **state)
{
    (void)state;
    struct rig *r = rig_split(PROXY_STICKY_USER, NULL, PROXY_AUTH_REQUIRED);
    char expected = proxy_split_point(SLICE("u-1")) < PROXY_POINTS / 2 ? 'a' : 'b';
    for (int i = 0; i < 10; i++) {
        char field[4096], *token = token_for(r, "k1", "shop", "", 60 + i);
        (void)snprintf(field, sizeof field, "Authorization: Bearer %s\r\n", token);
        mem_free(token);
        assert_int_equal(half(r, field), expected);
    }
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares), cmocka_unit_test(test_moves), cmocka_unit_test(test_header),
        cmocka_unit_test(test_cookie), cmocka_unit_test(test_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
