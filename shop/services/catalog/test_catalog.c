/* SPDX-License-Identifier: Apache-2.0
 *
 * The catalog alone: products, their lists, and the replica of what inventory says.
 */
#include "shop_test.h"

#include "catalog.h"

static int setup(void **state)
{
    t = ficus_test_start(&catalog_service, migrations, NULL);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

static struct ficus_test_answer put(const char *sku, const char *name, int pence)
{
    char path[600], body[600];
    snprintf(path, sizeof path, "/v1/products/%s", sku);
    snprintf(body, sizeof body, "{\"name\":\"%s\",\"price\":{\"amount\":%d,\"currency\":\"GBP\"}}", name, pence);
    return as_admin("PUT", path, body);
}

/* A product is made, then changed under the same id; each change is told to the world. */
static void test_put(void **state)
{
    struct ficus_test_answer a = put("22423", "CAKESTAND", 1275);
    EXPECT(a, 201, "\"sku\":\"22423\"", "\"name\":\"CAKESTAND\"", "\"price\":{\"amount\":1275,\"currency\":\"GBP\"}",
           "\"available\":null");
    const char *id = value_of(a.body, "id");
    struct ficus_test_answer b = put("22423", "CAKE STAND", 0);
    EXPECT(b, 200, "\"name\":\"CAKE STAND\"", "\"amount\":0");
    assert_string_equal(value_of(b.body, "id"), id);
    EXPECT_EMITTED(0, "product.changed", "22423",
                   "\"sku\":\"22423\",\"name\":\"CAKESTAND\",\"price\":{\"amount\":1275,\"currency\":\"GBP\"}}");
    EXPECT_EMITTED(1, "product.changed", "22423", "\"name\":\"CAKE STAND\"");
    assert_non_null(strstr(ficus_test_emitted(t, 1), id));
    EXPECT_EMITTED_COUNT(2);
}

/* Each fault of the input is named by its place, all at once, and nothing is stored or told. */
static void test_put_faults(void **state)
{
    static const char *const prices[] = {
        "null",
        "1275",
        "{\"amount\":1275}",
        "{\"amount\":-1,\"currency\":\"GBP\"}",
        "{\"amount\":12.75,\"currency\":\"GBP\"}",
        "{\"amount\":1,\"currency\":\"gbp\"}",
        "{\"amount\":100000000001,\"currency\":\"GBP\"}",
    };
    char body[600], name[202];
    for (size_t i = 0; i < sizeof prices / sizeof prices[0]; i++) {
        snprintf(body, sizeof body, "{\"name\":\"A\",\"price\":%s}", prices[i]);
        EXPECT_INVALID(as_admin("PUT", "/v1/products/a", body), "/price");
    }
    EXPECT_INVALID(put("a", "", 1), "/name");
    memset(name, 'n', 201);
    name[201] = '\0';
    EXPECT_INVALID(put("a", name, 1), "/name");
    EXPECT_INVALID(as_admin("PUT", "/v1/products/a", "{\"name\":7,\"price\":{\"amount\":1,\"currency\":\"GBP\"}}"),
                   "/name");
    EXPECT(as_admin("PUT", "/v1/products/a", "[]"), 400, "\"/name\"", "\"/price\"");
    EXPECT(as_admin("PUT", "/v1/products/a", "{\"name\":"), 400);
    EXPECT(as_admin("GET", "/v1/products", NULL), 200, "\"items\":[]");
    EXPECT_EMITTED_COUNT(0);
}

/* A sku has 1 to 64 characters, of which none need be ASCII, and is kept as it was written. */
static void test_sku(void **state)
{
    char sku[400] = "";
    for (int i = 0; i < 64; i++)
        snprintf(sku + 6 * i, sizeof sku - 6 * (size_t)i, "%%C3%%A9");
    EXPECT(put(sku, "long", 1), 201);
    snprintf(sku + 6 * 64, sizeof sku - 6 * 64, "a");
    EXPECT_INVALID(put(sku, "too long", 1), "");
    EXPECT(put("a%2Fb%20c", "blank", 1), 201, "\"sku\":\"a/b c\"");
    EXPECT(put("A%2Fb%20c", "other case", 1), 201);
    EXPECT(as_anyone("GET", "/v1/products/a%2Fb%20c", NULL), 200, "\"name\":\"blank\"");
}

/* A product is found by its id and by its sku, by anyone. */
static void test_get(void **state)
{
    char path[200];
    struct ficus_test_answer a = put("tea", "Tea", 250);
    snprintf(path, sizeof path, "/v1/products/%s", value_of(a.body, "id"));
    EXPECT(as_anyone("GET", path, NULL), 200, "\"sku\":\"tea\"");
    EXPECT(as_anyone("GET", "/v1/products/tea", NULL), 200, "\"name\":\"Tea\"");
    EXPECT(as_anyone("GET", "/v1/products/TEA", NULL), 404, "\"code\":\"unknown_product\"");
}

/* Only an administrator changes products; the lookup is for services alone. */
static void test_rights(void **state)
{
    const char *body = "{\"name\":\"A\",\"price\":{\"amount\":1,\"currency\":\"GBP\"}}";
    EXPECT(as_anyone("PUT", "/v1/products/a", body), 401);
    EXPECT(as_user("u", "PUT", "/v1/products/a", body), 403);
    EXPECT(as_admin("POST", "/v1/products/lookup", "{\"ids\":[]}"), 404);
    EXPECT(as_anyone("GET", "/v1/products", NULL), 200, "\"items\":[]");
    EXPECT(as_anyone("DELETE", "/v1/products/a", NULL), 405);
}

/* The list shows each product once over its pages, in the order in which they came. */
static void test_pages(void **state)
{
    char sku[16], keys[400];
    for (int i = 0; i < 5; i++) {
        snprintf(sku, sizeof sku, "p%d", i);
        EXPECT(put(sku, "P", i), 201);
    }
    assert_int_equal(walk_list(NULL, NULL, "/v1/products", 2, "sku", keys, sizeof keys), 3);
    assert_string_equal(keys, "p0 p1 p2 p3 p4 ");
    assert_int_equal(walk_list(NULL, NULL, "/v1/products", 5, "sku", keys, sizeof keys), 1);
    check_page_faults(NULL, NULL, "/v1/products");
}

/* Without a limit a page has 20 items. */
static void test_page_default(void **state)
{
    char sku[16];
    for (int i = 0; i < 21; i++) {
        snprintf(sku, sizeof sku, "p%d", i);
        EXPECT(put(sku, "P", i), 201);
    }
    struct ficus_test_answer a = as_anyone("GET", "/v1/products", NULL);
    EXPECT(a, 200);
    assert_int_equal(count_of(a.body, "\"sku\":"), 20);
    assert_string_not_equal(value_of(a.body, "next"), "null");
}

/* The lookup answers in the order of the question, null for what is unknown. */
static void test_lookup(void **state)
{
    struct ficus_test_answer tea = put("tea", "Tea", 250);
    put("cup", "Cup", 900);
    char body[200];
    snprintf(body, sizeof body, "{\"ids\":[\"cup\",\"nothing\",\"%s\",\"cup\",7]}", value_of(tea.body, "id"));
    struct ficus_test_answer a = as_service("orders", "POST", "/v1/products/lookup", body);
    EXPECT(a, 200);
    const char *cup = strstr(a.body, "\"sku\":\"cup\""), *unknown = strstr(a.body, "},null,{"),
               *found = strstr(a.body, "\"sku\":\"tea\"");
    assert_true(cup != NULL && unknown != NULL && found != NULL && cup < unknown && unknown < found);
    assert_int_equal(count_of(a.body, "\"sku\":\"cup\""), 2);
    assert_non_null(strstr(a.body, "},null]}"));
    EXPECT(as_service("orders", "POST", "/v1/products/lookup", "{\"ids\":[]}"), 200, "{\"items\":[]}");
}

/* A lookup takes an array of at most a thousand. */
static void test_lookup_bounds(void **state)
{
    static char body[8 * 1001 + 100];
    size_t used = (size_t)snprintf(body, sizeof body, "{\"ids\":[\"x\"");
    for (int i = 1; i < 1000; i++)
        used += (size_t)snprintf(body + used, sizeof body - used, ",\"x\"");
    snprintf(body + used, sizeof body - used, "]}");
    struct ficus_test_answer a = as_service("orders", "POST", "/v1/products/lookup", body);
    EXPECT(a, 200);
    assert_int_equal(count_of(a.body, "null"), 1000);
    snprintf(body + used, sizeof body - used, ",\"x\"]}");
    EXPECT_INVALID(as_service("orders", "POST", "/v1/products/lookup", body), "/ids");
    EXPECT_INVALID(as_service("orders", "POST", "/v1/products/lookup", "{\"ids\":\"x\"}"), "/ids");
    EXPECT_INVALID(as_service("orders", "POST", "/v1/products/lookup", "{}"), "/ids");
}

/* What inventory said last is shown, also for a sku that is named before its product is, and after a crash. */
static void test_stock(void **state)
{
    put("tea", "Tea", 250);
    assert_int_equal(
        ficus_test_event(t, "stock.changed", "tea",
                         "{\"items\":[{\"sku\":\"tea\",\"available\":7},{\"sku\":\"cup\",\"available\":3}]}"),
        0);
    EXPECT(as_anyone("GET", "/v1/products/tea", NULL), 200, "\"available\":7");
    put("cup", "Cup", 900);
    EXPECT(as_anyone("GET", "/v1/products/cup", NULL), 200, "\"available\":3");
    assert_int_equal(ficus_test_event(t, "stock.changed", "o-1", "{\"items\":[{\"sku\":\"tea\",\"available\":0}]}"), 0);
    ficus_test_restart(t);
    EXPECT(as_anyone("GET", "/v1/products", NULL), 200,
           "\"sku\":\"tea\",\"name\":\"Tea\",\"price\":{\"amount\":250,\"currency\":\"GBP\"},\"available\":0");
}

/* An event that cannot be understood is refused as a whole, ends as a dead letter, and holds nothing up. */
static void test_stock_malformed(void **state)
{
    put("tea", "Tea", 250);
    assert_int_equal(ficus_test_event(t, "stock.changed", "tea",
                                      "{\"items\":[{\"sku\":\"tea\",\"available\":7},{\"sku\":\"cup\"}]}"),
                     -1);
    assert_int_equal(ficus_test_event(t, "stock.changed", "tea", "{\"items\":[]}"), 0);
    EXPECT(as_anyone("GET", "/v1/products/tea", NULL), 200, "\"available\":null");
    EXPECT_EMITTED_COUNT(2);
    assert_string_equal(value_of(ficus_test_emitted(t, 1), "type"), "ficus.dead");
    assert_non_null(strstr(ficus_test_emitted(t, 1), "malformed_event"));
}

/* Products survive a crash, under their ids. */
static void test_restart(void **state)
{
    struct ficus_test_answer a = put("tea", "Tea", 250);
    const char *id = value_of(a.body, "id");
    ficus_test_restart(t);
    EXPECT(as_anyone("GET", "/v1/products/tea", NULL), 200, id);
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_put),          T(test_put_faults),      T(test_sku),
        T(test_get),          T(test_rights),          T(test_pages),
        T(test_page_default), T(test_lookup),          T(test_lookup_bounds),
        T(test_stock),        T(test_stock_malformed), T(test_restart),
    };
    return shop_run_tests("catalog", tests, sizeof tests / sizeof tests[0], argc, argv);
}
