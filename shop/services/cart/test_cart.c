/* SPDX-License-Identifier: Apache-2.0
 *
 * The cart alone, with a fake catalog: what is put is shown with the newest prices, and an order empties it without
 * taking away what was put after it.
 */
#include "shop_test.h"

#include "cart.h"

#include <stdatomic.h>
#include <time.h>

#define EMPTY "{\"items\":[],\"total\":{\"amount\":0,\"currency\":\"GBP\"}}"

/* ---- the fake ---- */

static struct world {
    atomic_int status; /* of all its answers; 0: it works */
    atomic_int lookups, asked;
    atomic_bool garbage;
} world;

/* Knows "new-..." (ids "id-new-..."), at 70 pence. {"ids":["a","b"]} */
static const char *fake_catalog(void *arg, const char *method, const char *path, const char *body, int *status)
{
    static char text[1024 * 1024];
    world.lookups++;
    *status = world.status == 0 ? 200 : world.status;
    if (world.status != 0 || strcmp(method, "POST") != 0 || strcmp(path, "/v1/products/lookup") != 0)
        return NULL;
    size_t used = (size_t)snprintf(text, sizeof text, "{\"items\":[");
    for (const char *at = strchr(body, '[') + 1; *at == '"'; at += *at == ',') {
        int size = (int)strcspn(++at, "\"");
        const char *comma = text[used - 1] == '[' ? "" : ",";
        int skip = strncmp(at, "id-", 3) == 0 ? 3 : 0;
        world.asked++;
        if (world.garbage)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s{\"sku\":\"x\"}", comma);
        else if (strncmp(at + skip, "new-", 4) == 0)
            used += (size_t)snprintf(text + used, sizeof text - used,
                                     "%s{\"id\":\"id-%.*s\",\"sku\":\"%.*s\",\"name\":\"N\",\"price\":{\"amount\":70,"
                                     "\"currency\":\"GBP\"},\"available\":null}",
                                     comma, size - skip, at + skip, size - skip, at + skip);
        else
            used += (size_t)snprintf(text + used, sizeof text - used, "%snull", comma);
        at += size + 1;
    }
    snprintf(text + used, sizeof text - used, "]}");
    return text;
}

static void changed(const char *sku, const char *name, long long price)
{
    char data[500];
    snprintf(data, sizeof data,
             "{\"id\":\"p-%s\",\"sku\":\"%s\",\"name\":\"%s\",\"price\":{\"amount\":%lld,\"currency\":\"GBP\"}}", sku,
             sku, name, price);
    assert_int_equal(ficus_test_event(t, "product.changed", sku, data), 0);
}

/* The service with a look at what it does not show. */
static int put_ms_get(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT put_ms FROM cart WHERE user_id = ?", "s", ficus_user(req));
    struct ficus_out *o = ficus_reply(req, 200);
    if (rows == NULL || o == NULL || ficus_row(rows) != 1)
        return -1;
    ficus_out_int(o, NULL, ficus_col_int(rows, 0));
    ficus_rows_done(rows);
    return 0;
}

static struct ficus_route routes[8];
static struct ficus_service service;

static void service_make(void)
{
    size_t count = 0;
    for (; cart_service.routes[count].method != NULL; count++)
        routes[count] = cart_service.routes[count];
    assert_true(count + 1 < sizeof routes / sizeof routes[0]);
    routes[count] = (struct ficus_route){"GET", "/test/put_ms", put_ms_get, FICUS_USERS, NULL, false};
    service = cart_service;
    service.routes = routes;
}

static int setup(void **state)
{
    memset(&world, 0, sizeof world);
    service_make();
    t = ficus_test_start(&service, migrations, NULL);
    ficus_test_fake_service(t, "catalog", fake_catalog, NULL);
    changed("tea", "Tea", 250);
    changed("cup", "Cup", 900);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

static struct ficus_test_answer put(const char *user, const char *items)
{
    char body[2000];
    assert_true(snprintf(body, sizeof body, "{\"items\":[%s]}", items) < (int)sizeof body);
    return as_user(user, "PUT", "/v1/cart", body);
}

#define ITEM(product, quantity) "{\"product_id\":\"" product "\",\"quantity\":" #quantity "}"
#define GET_CART(user) as_user(user, "GET", "/v1/cart", NULL)

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What orders emits, cut down to what matters here. */
static int placed(const char *user, int64_t time_ms)
{
    char data[200];
    snprintf(data, sizeof data, "{\"user\":\"%s\",\"items\":[{\"sku\":\"tea\",\"quantity\":1}]}", user);
    return ficus_test_event_at(t, "order.placed", "o-1", data, time_ms);
}

/* ---- putting and showing ---- */

/* A cart that was never filled is empty and costs nothing. */
static void test_never_filled(void **state)
{
    struct ficus_test_answer a = GET_CART("ann");
    EXPECT(a, 200);
    assert_string_equal(a.body, EMPTY);
}

/* What was put is answered at once and shown later, also after a crash, with names, prices and the total. */
static void test_put(void **state)
{
    static const char *const wanted =
        "{\"items\":[{\"product_id\":\"p-tea\",\"sku\":\"tea\",\"name\":\"Tea\",\"quantity\":3,\"price\":{\"amount\":"
        "250,\"currency\":\"GBP\"}},{\"product_id\":\"p-cup\",\"sku\":\"cup\",\"name\":\"Cup\",\"quantity\":1,"
        "\"price\":{\"amount\":900,\"currency\":\"GBP\"}}],\"total\":{\"amount\":1650,\"currency\":\"GBP\"}}";
    struct ficus_test_answer a = put("ann", ITEM("tea", 3) "," ITEM("p-cup", 1));
    EXPECT(a, 200);
    assert_string_equal(a.body, wanted);
    ficus_test_restart(t);
    assert_string_equal(GET_CART("ann").body, wanted);
    assert_int_equal(world.lookups, 0);
}

/* A PUT replaces the whole cart; an empty one empties it. */
static void test_replace(void **state)
{
    EXPECT(put("ann", ITEM("tea", 3)), 200);
    struct ficus_test_answer a = put("ann", ITEM("cup", 2));
    EXPECT(a, 200, "\"amount\":1800");
    assert_int_equal(count_of(a.body, "\"sku\""), 1);
    assert_string_equal(put("ann", "").body, EMPTY);
    assert_string_equal(GET_CART("ann").body, EMPTY);
}

/* A product named twice, by id and by sku, is one item with the sum. */
static void test_named_twice(void **state)
{
    struct ficus_test_answer a = put("ann", ITEM("tea", 3) "," ITEM("cup", 1) "," ITEM("p-tea", 1000000));
    EXPECT(a, 200, "\"sku\":\"tea\",\"name\":\"Tea\",\"quantity\":1000003");
    assert_int_equal(count_of(a.body, "\"sku\""), 2);
}

/* Each has a cart of his own, and nobody without an account has one. */
static void test_rights(void **state)
{
    EXPECT(put("ann", ITEM("tea", 1)), 200);
    assert_string_equal(GET_CART("bob").body, EMPTY);
    EXPECT(put("bob", ""), 200);
    EXPECT(GET_CART("ann"), 200, "\"amount\":250");
    EXPECT(as_admin("GET", "/v1/cart", NULL), 200, EMPTY);
    EXPECT(as_anyone("GET", "/v1/cart", NULL), 401);
    EXPECT(as_anyone("PUT", "/v1/cart", "{\"items\":[]}"), 401);
}

/* Faulty input names every place, and the cart stays as it was. */
static void test_faults(void **state)
{
    static const struct {
        const char *body, *place;
    } cases[] = {
        {"{}", "/items"},
        {"[]", "/items"},
        {"{\"items\":{}}", "/items"},
        {"{\"items\":null}", "/items"},
        {"{\"items\":[1]}", "/items/0/product_id"},
        {"{\"items\":[" ITEM("tea", 1) "," ITEM("", 1) "]}", "/items/1/product_id"},
        {"{\"items\":[{\"product_id\":5,\"quantity\":1}]}", "/items/0/product_id"},
        {"{\"items\":[{\"product_id\":\"tea\"}]}", "/items/0/quantity"},
        {"{\"items\":[" ITEM("tea", 0) "]}", "/items/0/quantity"},
        {"{\"items\":[" ITEM("tea", 1000001) "]}", "/items/0/quantity"},
        {"{\"items\":[" ITEM("tea", 1.5) "]}", "/items/0/quantity"},
        {"{\"items\":[" ITEM("tea", "1") "]}", "/items/0/quantity"},
    };
    EXPECT(put("ann", ITEM("tea", 7)), 200);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char pointer[80];
        snprintf(pointer, sizeof pointer, "\"pointer\":\"%s\"", cases[i].place);
        EXPECT(as_user("ann", "PUT", "/v1/cart", cases[i].body), 400, "\"errors\":[", pointer);
    }
    EXPECT(as_user("ann", "PUT", "/v1/cart", "{"), 400);
    char sku[200];
    snprintf(sku, sizeof sku, "{\"product_id\":\"%065d\",\"quantity\":1}", 7);
    EXPECT_INVALID(put("ann", sku), "/items/0/product_id");
    EXPECT(GET_CART("ann"), 200, "\"quantity\":7");
}

/* 1,000 items are fine, 1,001 are not, and over 256 KiB is 413. */
static void test_bounds(void **state)
{
    static char body[300 * 1024];
    for (int count = 1000; count <= 1001; count++) {
        size_t used = (size_t)snprintf(body, sizeof body, "{\"items\":[");
        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(body + used, sizeof body - used, "%s{\"product_id\":\"new-%d\",\"quantity\":1}",
                                     i == 0 ? "" : ",", i);
        snprintf(body + used, sizeof body - used, "]}");
        struct ficus_test_answer a = as_user("ann", "PUT", "/v1/cart", body);
        if (count == 1000) {
            EXPECT(a, 200, "{\"amount\":70000,\"currency\":\"GBP\"}}");
            assert_int_equal(count_of(a.body, "\"sku\""), 1000);
        } else
            EXPECT_INVALID(a, "/items");
    }
    memset(body, ' ', 256 * 1024 + 1);
    body[256 * 1024 + 1] = '\0';
    EXPECT(as_user("ann", "PUT", "/v1/cart", body), 413);
}

/* A total that numbers in JSON cannot carry is refused: when put, and when prices rise later. */
static void test_total_range(void **state)
{
    changed("yacht", "Yacht", 8999999999999999);
    changed("pin", "Pin", 1);
    EXPECT(put("ann", ITEM("yacht", 1) "," ITEM("pin", 1)), 200, "{\"amount\":9000000000000000,");
    EXPECT(put("ann", ITEM("yacht", 1) "," ITEM("pin", 2)), 422, "\"code\":\"too_expensive\"");
    EXPECT(put("ann", ITEM("yacht", 1000000)), 422, "\"code\":\"too_expensive\"");
    EXPECT(GET_CART("ann"), 200, "{\"amount\":9000000000000000,");
    changed("pin", "Pin", 2);
    EXPECT(GET_CART("ann"), 422, "\"code\":\"too_expensive\"");
    EXPECT(put("ann", ITEM("pin", 1)), 200, "{\"amount\":2,");
}

/* ---- the replica ---- */

/* Prices and names are those of now, without the catalog. */
static void test_newest_price(void **state)
{
    world.status = 503;
    EXPECT(put("ann", ITEM("tea", 2)), 200);
    changed("tea", "Green tea", 300);
    EXPECT(GET_CART("ann"), 200, "\"name\":\"Green tea\"", "\"total\":{\"amount\":600,");
    assert_int_equal(world.lookups, 0);
}

/* Only what the replica does not know is asked for, once, and then known; an event of it is newer than what was asked.
 */
static void test_lookup(void **state)
{
    EXPECT(put("ann", ITEM("tea", 1) "," ITEM("new-1", 1) "," ITEM("id-new-1", 1) "," ITEM("new-2", 2)), 200,
           "\"product_id\":\"id-new-1\",\"sku\":\"new-1\",\"name\":\"N\",\"quantity\":2", "{\"amount\":530,");
    assert_int_equal(world.lookups, 1);
    assert_int_equal(world.asked, 3);
    world.status = 503;
    EXPECT(put("bob", ITEM("id-new-1", 1)), 200, "{\"amount\":70,");
    changed("new-1", "New", 80);
    world.status = 0;
    EXPECT(put("bob", ITEM("new-1", 1) "," ITEM("new-3", 1)), 200, "{\"amount\":150,");
}

/* A product that nobody knows is refused with its place, and nothing is changed. */
static void test_unknown_product(void **state)
{
    EXPECT(put("ann", ITEM("tea", 7)), 200);
    EXPECT(put("ann", ITEM("tea", 1) "," ITEM("none", 1) "," ITEM("new-1", 1) "," ITEM("TEA", 1)), 422,
           "\"code\":\"unknown_product\"", "\"pointer\":\"/items/1/product_id\"",
           "\"pointer\":\"/items/3/product_id\"");
    EXPECT(GET_CART("ann"), 200, "\"quantity\":7");
}

/* Without the catalog a product that the replica lacks is 503 with Retry-After, and nothing is changed; also when the
 * catalog answers nonsense. */
static void test_catalog_dead(void **state)
{
    EXPECT(put("ann", ITEM("tea", 7)), 200);
    for (int i = 0; i < 2; i++) {
        world.status = i == 0 ? 500 : 0;
        world.garbage = i == 1;
        struct ficus_test_answer a = put("ann", ITEM("new-1", 1));
        EXPECT(a, 503, "\"code\":\"try_again\"");
        assert_non_null(strcasestr(a.head, "\r\nretry-after: 1\r\n"));
        EXPECT(GET_CART("ann"), 200, "\"quantity\":7");
    }
}

/* A product whose catalog was begun anew keeps its sku, gets another id, and stays in the carts. */
static void test_new_id(void **state)
{
    EXPECT(put("ann", ITEM("tea", 1)), 200);
    ficus_test_event(t, "product.changed", "tea",
                     "{\"id\":\"p-2\",\"sku\":\"tea\",\"name\":\"Tea\",\"price\":{\"amount\":1,\"currency\":\"GBP\"}}");
    EXPECT(GET_CART("ann"), 200, "\"product_id\":\"p-2\",\"sku\":\"tea\"", "\"total\":{\"amount\":1,");
}

/* ---- orders ---- */

/* An order placed after the last PUT empties its user's cart, and nobody else's. */
static void test_emptied(void **state)
{
    EXPECT(put("ann", ITEM("tea", 1)), 200);
    EXPECT(put("bob", ITEM("tea", 1)), 200);
    assert_int_equal(placed("ann", now_ms()), 0);
    assert_string_equal(GET_CART("ann").body, EMPTY);
    EXPECT(GET_CART("bob"), 200, "\"amount\":250");
    assert_int_equal(placed("eve", now_ms()), 0);
    EXPECT(put("eve", ITEM("tea", 1)), 200);
}

/* What was put after an order stays, when the event of the order comes late, in the same millisecond too, twice, and
 * after a crash. */
static void test_late_event(void **state)
{
    EXPECT(put("ann", ITEM("cup", 9)), 200);
    int64_t placed_ms = now_ms();
    EXPECT(put("ann", ITEM("tea", 1)), 200);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(placed("ann", placed_ms), 0);
        EXPECT(GET_CART("ann"), 200, "\"sku\":\"tea\"");
        ficus_test_restart(t);
    }
}

/* An order of the millisecond in which the PUT began may have been first: the PUT stays. One of the next empties it, and
 * when the PUT is answered it is the next. */
static void test_same_millisecond(void **state)
{
    EXPECT(put("ann", ITEM("tea", 1)), 200);
    int64_t put_ms = strtoll(as_user("ann", "GET", "/test/put_ms", NULL).body, NULL, 10);
    assert_true(put_ms > 0 && now_ms() > put_ms);
    assert_int_equal(placed("ann", put_ms), 0);
    EXPECT(GET_CART("ann"), 200, "\"sku\":\"tea\"");
    assert_int_equal(placed("ann", put_ms + 1), 0);
    assert_string_equal(GET_CART("ann").body, EMPTY);
}

/* The same order's event again empties nothing that was put since, and an empty cart stays empty. */
static void test_replayed(void **state)
{
    EXPECT(put("ann", ITEM("tea", 1)), 200);
    int64_t placed_ms = now_ms();
    assert_int_equal(placed("ann", placed_ms), 0);
    assert_int_equal(placed("ann", placed_ms), 0);
    assert_string_equal(GET_CART("ann").body, EMPTY);
    EXPECT(put("ann", ITEM("cup", 2)), 200);
    assert_int_equal(placed("ann", placed_ms), 0);
    EXPECT(GET_CART("ann"), 200, "\"quantity\":2");
}

/* Events that lack what they must have end as dead letters and hold nothing up. */
static void test_malformed(void **state)
{
    assert_int_equal(ficus_test_event(t, "order.placed", "o-1", "{}"), -1);
    assert_int_equal(ficus_test_event(t, "product.changed", "x", "{\"id\":\"1\",\"sku\":\"x\",\"name\":\"X\"}"), -1);
    changed("pot", "Pot", 5);
    EXPECT(put("ann", ITEM("pot", 1)), 200);
    EXPECT_EMITTED_COUNT(2);
    assert_string_equal(value_of(ficus_test_emitted(t, 0), "type"), "ficus.dead");
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_never_filled),     T(test_put),          T(test_replace),     T(test_named_twice),  T(test_rights),
        T(test_faults),           T(test_bounds),       T(test_total_range), T(test_newest_price), T(test_lookup),
        T(test_unknown_product),  T(test_catalog_dead), T(test_new_id),      T(test_emptied),      T(test_late_event),
        T(test_same_millisecond), T(test_replayed),     T(test_malformed),
    };
    return shop_run_tests("cart", tests, sizeof tests / sizeof tests[0], argc, argv);
}
