/* SPDX-License-Identifier: Apache-2.0
 *
 * Inventory alone: stock, and reservations as steps of sagas in every order in which they may come.
 */
#include "shop_test.h"

#include "inventory.h"

static int setup(void **state)
{
    t = ficus_test_start(&inventory_service, migrations, NULL);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

static struct ficus_test_answer put_stock(const char *sku, int64_t on_hand)
{
    char path[600], body[100];
    snprintf(path, sizeof path, "/v1/stock/%s", sku);
    snprintf(body, sizeof body, "{\"on_hand\":%lld}", (long long)on_hand);
    return as_admin("PUT", path, body);
}

static void expect_stock(const char *sku, int on_hand, int reserved)
{
    char path[100], want[100];
    snprintf(path, sizeof path, "/v1/stock/%s", sku);
    snprintf(want, sizeof want, "\"on_hand\":%d,\"reserved\":%d,\"available\":%d}", on_hand, reserved,
             on_hand - reserved);
    EXPECT(as_admin("GET", path, NULL), 200, want);
}

static struct ficus_test_answer step(const char *method, const char *id, const char *verb, const char *body)
{
    char path[200];
    snprintf(path, sizeof path, "/v1/reservations/%s%s", id, verb);
    return as_saga(method, path, body);
}

/* items: "sku quantity sku quantity ..." as JSON. */
static struct ficus_test_answer reserve(const char *id, const char *items)
{
    char body[500];
    snprintf(body, sizeof body, "{\"items\":%s}", items);
    return step("PUT", id, "", body);
}

#define TEA(quantity) "[{\"sku\":\"tea\",\"quantity\":" #quantity "}]"

static struct ficus_test_answer release(const char *id)
{
    return step("DELETE", id, "", NULL);
}

static struct ficus_test_answer take(const char *id)
{
    return step("POST", id, "/take", NULL);
}

/* The kinds of an order's movements, in their order. */
static void expect_movements(const char *id, const char *kinds)
{
    char path[100], keys[400];
    snprintf(path, sizeof path, "/v1/stock-movements?order_id=%s", id);
    walk_list(ADMIN, "admin", path, 100, "kind", keys, sizeof keys);
    assert_string_equal(keys, kinds);
}

/* Stock is set by its absolute number, told to the world, and read back, also after a crash. */
static void test_stock(void **state)
{
    EXPECT(put_stock("tea", 10), 200, "{\"sku\":\"tea\",\"on_hand\":10,\"reserved\":0,\"available\":10}");
    EXPECT(put_stock("tea", 0), 200, "\"on_hand\":0");
    EXPECT(put_stock("tea", 1000000000000), 200, "\"available\":1000000000000");
    EXPECT_EMITTED(0, "stock.changed", "tea", "\"data\":{\"items\":[{\"sku\":\"tea\",\"available\":10}]}");
    EXPECT_EMITTED(1, "stock.changed", "tea", "\"available\":0}");
    EXPECT_EMITTED_COUNT(3);
    ficus_test_restart(t);
    EXPECT(as_admin("GET", "/v1/stock/tea", NULL), 200, "\"on_hand\":1000000000000");
    EXPECT(as_admin("GET", "/v1/stock/cup", NULL), 404, "\"code\":\"unknown_sku\"");
}

/* Stock must be a whole number in range, and the sku 1 to 64 characters. */
static void test_stock_faults(void **state)
{
    static const char *const bodies[] = {
        "{}",
        "[]",
        "{\"on_hand\":-1}",
        "{\"on_hand\":1.5}",
        "{\"on_hand\":\"1\"}",
        "{\"on_hand\":null}",
        "{\"on_hand\":1000000000001}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        EXPECT_INVALID(as_admin("PUT", "/v1/stock/tea", bodies[i]), "/on_hand");
    char sku[66];
    memset(sku, 's', 65);
    sku[65] = '\0';
    EXPECT_INVALID(put_stock(sku, 1), "");
    sku[64] = '\0';
    EXPECT(put_stock(sku, 1), 200);
    EXPECT(as_admin("PUT", "/v1/stock/tea", "{"), 400);
    EXPECT(as_admin("GET", "/v1/stock/tea", NULL), 404);
}

/* Stock cannot be set below what orders hold. */
static void test_stock_below_reserved(void **state)
{
    put_stock("tea", 10);
    EXPECT(reserve("o-1", TEA(4)), 200);
    size_t emitted = ficus_test_emitted_count(t);
    EXPECT(put_stock("tea", 3), 409, "\"code\":\"below_reserved\"");
    expect_stock("tea", 10, 4);
    EXPECT_EMITTED_COUNT(emitted);
    EXPECT(put_stock("tea", 4), 200, "\"available\":0");
}

/* Stock belongs to administrators, reservations to sagas. */
static void test_rights(void **state)
{
    static const char *const paths[] = {"/v1/stock/tea", "/v1/stock-movements"};
    for (size_t i = 0; i < 2; i++) {
        EXPECT(as_anyone("GET", paths[i], NULL), 401);
        EXPECT(as_user("u", "GET", paths[i], NULL), 403);
    }
    EXPECT(as_anyone("PUT", "/v1/stock/tea", "{\"on_hand\":1}"), 401);
    EXPECT(as_user("u", "PUT", "/v1/stock/tea", "{\"on_hand\":1}"), 403);
    EXPECT(as_admin("PUT", "/v1/reservations/o-1", "{\"items\":" TEA(1) "}"), 404);
    EXPECT(as_admin("DELETE", "/v1/reservations/o-1", NULL), 404);
    EXPECT(as_admin("POST", "/v1/reservations/o-1/take", NULL), 404);
}

/* A reservation holds each sku once, a sku that is named twice as its sum; doing it twice is doing it once. */
static void test_reserve(void **state)
{
    put_stock("tea", 10);
    put_stock("cup", 5);
    const char *items =
        "[{\"sku\":\"tea\",\"quantity\":3},{\"sku\":\"cup\",\"quantity\":5},{\"sku\":\"tea\",\"quantity\":4}]";
    EXPECT(reserve("o-1", items), 200, "{\"order_id\":\"o-1\",\"state\":\"reserved\"}");
    EXPECT_EMITTED(2, "stock.changed", "o-1",
                   "\"data\":{\"items\":[{\"sku\":\"cup\",\"available\":0},{\"sku\":\"tea\",\"available\":3}]}");
    EXPECT(reserve("o-1", items), 200, "\"state\":\"reserved\"");
    ficus_test_restart(t);
    EXPECT(reserve("o-1", items), 200, "\"state\":\"reserved\"");
    expect_stock("tea", 10, 7);
    expect_stock("cup", 5, 5);
    expect_movements("o-1", "reserved reserved ");
    EXPECT_EMITTED_COUNT(3);
}

/* What is short is refused as a whole, and stays refused when stock has come since. */
static void test_refuse(void **state)
{
    put_stock("tea", 10);
    put_stock("cup", 1);
    const char *items = "[{\"sku\":\"tea\",\"quantity\":3},{\"sku\":\"cup\",\"quantity\":2}]";
    EXPECT(reserve("o-1", items), 409, "\"code\":\"out_of_stock\"", "cup");
    expect_stock("tea", 10, 0);
    put_stock("cup", 100);
    EXPECT(reserve("o-1", items), 409, "\"code\":\"out_of_stock\"");
    ficus_test_restart(t);
    EXPECT(reserve("o-1", items), 409, "\"code\":\"out_of_stock\"");
    EXPECT(release("o-1"), 200, "\"state\":\"released\"");
    EXPECT(reserve("o-1", items), 409, "\"code\":\"out_of_stock\"");
    EXPECT(reserve("o-2", "[{\"sku\":\"unknown\",\"quantity\":1}]"), 409, "\"code\":\"out_of_stock\"");
    expect_stock("tea", 10, 0);
    expect_stock("cup", 100, 0);
    expect_movements("o-1", "");
}

/* The last piece goes to one order only. */
static void test_last_piece(void **state)
{
    put_stock("tea", 1);
    EXPECT(reserve("o-1", TEA(1)), 200);
    EXPECT(reserve("o-2", TEA(1)), 409, "\"code\":\"out_of_stock\"");
    EXPECT(release("o-1"), 200);
    EXPECT(reserve("o-3", TEA(1)), 200);
    expect_stock("tea", 1, 1);
}

/* Items that make no sense are named by their place and refused for this time only. */
static void test_reserve_faults(void **state)
{
    put_stock("tea", 10);
    EXPECT_INVALID(step("PUT", "o-1", "", "{}"), "/items");
    EXPECT_INVALID(reserve("o-1", "[]"), "/items");
    EXPECT_INVALID(reserve("o-1", "{}"), "/items");
    EXPECT_INVALID(reserve("o-1", "[{\"sku\":\"tea\",\"quantity\":1},{\"sku\":\"tea\"}]"), "/items/1");
    EXPECT_INVALID(reserve("o-1", "[{\"quantity\":1}]"), "/items/0");
    EXPECT_INVALID(reserve("o-1", TEA(0)), "/items/0");
    EXPECT_INVALID(reserve("o-1", TEA(-1)), "/items/0");
    EXPECT_INVALID(reserve("o-1", TEA(1.5)), "/items/0");
    EXPECT_INVALID(reserve("o-1", TEA(1000000001)), "/items/0");
    EXPECT(step("PUT", "o-1", "", "nonsense"), 400);
    EXPECT(reserve("o-1", TEA(1)), 200);
    expect_stock("tea", 10, 1);
}

/* A reservation takes up to a thousand items. */
static void test_reserve_many(void **state)
{
    static char body[1001 * 40];
    put_stock("tea", 2000);
    for (int count = 1000; count <= 1001; count++) {
        size_t used = (size_t)snprintf(body, sizeof body, "{\"items\":[");
        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(body + used, sizeof body - used, "%s{\"sku\":\"tea\",\"quantity\":1}",
                                     i == 0 ? "" : ",");
        snprintf(body + used, sizeof body - used, "]}");
        struct ficus_test_answer a = step("PUT", count == 1000 ? "o-1" : "o-2", "", body);
        if (count == 1000)
            EXPECT(a, 200);
        else
            EXPECT_INVALID(a, "/items");
    }
    expect_stock("tea", 2000, 1000);
}

/* A release gives back what was held, once, and nothing can be reserved after it. */
static void test_release(void **state)
{
    put_stock("tea", 10);
    EXPECT(reserve("o-1", TEA(4)), 200);
    EXPECT(release("o-1"), 200, "\"state\":\"released\"");
    EXPECT_EMITTED(2, "stock.changed", "o-1", "\"available\":10}");
    EXPECT(release("o-1"), 200, "\"state\":\"released\"");
    ficus_test_restart(t);
    EXPECT(release("o-1"), 200, "\"state\":\"released\"");
    EXPECT(reserve("o-1", TEA(4)), 409, "\"code\":\"undone\"");
    expect_stock("tea", 10, 0);
    expect_movements("o-1", "reserved released ");
    EXPECT_EMITTED_COUNT(3);
}

/* A release that overtakes its reservation leaves a tombstone: the late reservation is refused without effect. */
static void test_tombstone(void **state)
{
    put_stock("tea", 10);
    EXPECT(release("o-1"), 200, "\"state\":\"released\"");
    EXPECT(release("o-1"), 200, "\"state\":\"released\"");
    ficus_test_restart(t);
    EXPECT(reserve("o-1", TEA(4)), 409, "\"code\":\"undone\"");
    EXPECT(reserve("o-1", TEA(4)), 409, "\"code\":\"undone\"");
    EXPECT(take("o-1"), 404, "\"code\":\"unknown_reservation\"");
    expect_stock("tea", 10, 0);
    expect_movements("o-1", "");
}

/* What is taken leaves the shelf once; what can be bought does not change by it. */
static void test_take(void **state)
{
    put_stock("tea", 10);
    EXPECT(reserve("o-1", TEA(4)), 200);
    EXPECT(take("o-1"), 200, "\"state\":\"taken\"");
    EXPECT(take("o-1"), 200, "\"state\":\"taken\"");
    ficus_test_restart(t);
    EXPECT(take("o-1"), 200, "\"state\":\"taken\"");
    EXPECT(reserve("o-1", TEA(4)), 200);
    expect_stock("tea", 6, 0);
    expect_movements("o-1", "reserved taken ");
    EXPECT_EMITTED_COUNT(2);
}

/* What was taken comes back onto the shelf when the order is cancelled, once. */
static void test_return(void **state)
{
    put_stock("tea", 10);
    EXPECT(reserve("o-1", TEA(4)), 200);
    EXPECT(take("o-1"), 200);
    EXPECT(release("o-1"), 200, "\"state\":\"returned\"");
    EXPECT_EMITTED(2, "stock.changed", "o-1", "\"available\":10}");
    EXPECT(release("o-1"), 200, "\"state\":\"returned\"");
    EXPECT(reserve("o-1", TEA(4)), 409, "\"code\":\"undone\"");
    expect_stock("tea", 10, 0);
    expect_movements("o-1", "reserved taken returned ");
}

/* A take that comes after the cancellation gave all back takes nothing, and is content. */
static void test_take_after_give_back(void **state)
{
    put_stock("tea", 10);
    EXPECT(reserve("o-1", TEA(4)), 200);
    EXPECT(release("o-1"), 200);
    EXPECT(take("o-1"), 200, "\"state\":\"released\"");
    EXPECT(reserve("o-2", TEA(4)), 200);
    EXPECT(take("o-2"), 200);
    EXPECT(release("o-2"), 200);
    EXPECT(take("o-2"), 200, "\"state\":\"returned\"");
    EXPECT(take("o-3"), 404, "\"code\":\"unknown_reservation\"");
    expect_stock("tea", 10, 0);
    expect_movements("o-1", "reserved released ");
    expect_movements("o-2", "reserved taken returned ");
}

/* Movements are read page by page, all or those of an order, of a sku, or of both. */
static void test_movements(void **state)
{
    char keys[600];
    put_stock("tea", 10);
    put_stock("cup", 10);
    EXPECT(reserve("o-1", "[{\"sku\":\"tea\",\"quantity\":1},{\"sku\":\"cup\",\"quantity\":2}]"), 200);
    EXPECT(reserve("o-2", TEA(3)), 200);
    EXPECT(take("o-1"), 200);
    assert_int_equal(walk_list(ADMIN, "admin", "/v1/stock-movements", 2, "quantity", keys, sizeof keys), 3);
    assert_string_equal(keys, "2 1 3 2 1 ");
    assert_int_equal(walk_list(ADMIN, "admin", "/v1/stock-movements?sku=tea", 2, "quantity", keys, sizeof keys), 2);
    assert_string_equal(keys, "1 3 1 ");
    walk_list(ADMIN, "admin", "/v1/stock-movements?order_id=o-1", 3, "quantity", keys, sizeof keys);
    assert_string_equal(keys, "2 1 2 1 ");
    walk_list(ADMIN, "admin", "/v1/stock-movements?order_id=o-1&sku=cup", 1, "kind", keys, sizeof keys);
    assert_string_equal(keys, "reserved taken ");
    EXPECT(as_admin("GET", "/v1/stock-movements?sku=none", NULL), 200, "{\"items\":[],\"next\":null}");
    check_page_faults(ADMIN, "admin", "/v1/stock-movements");
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_stock),
        T(test_stock_faults),
        T(test_stock_below_reserved),
        T(test_rights),
        T(test_reserve),
        T(test_refuse),
        T(test_last_piece),
        T(test_reserve_faults),
        T(test_reserve_many),
        T(test_release),
        T(test_tombstone),
        T(test_take),
        T(test_return),
        T(test_take_after_give_back),
        T(test_movements),
    };
    return shop_run_tests("inventory", tests, sizeof tests / sizeof tests[0], argc, argv);
}
