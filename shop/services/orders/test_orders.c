/* SPDX-License-Identifier: Apache-2.0
 *
 * Orders alone, with a fake catalog and fake payments: taking an order, its key, its life, what is shown and told.
 */
#include "shop_test.h"

#include "orders.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define CARD "4242424242424242"
#define PAY ",\"payment\":{\"card_number\":\"" CARD "\"}}"
#define TWO_TEAS "{\"items\":[{\"product_id\":\"tea\",\"quantity\":2}]" PAY

/* ---- the fakes ---- */

static const struct {
    const char *id, *sku, *json;
} products[] = {
    {"p-tea", "tea",
     "{\"id\":\"p-tea\",\"sku\":\"tea\",\"name\":\"Tea\",\"price\":{\"amount\":250,\"currency\":\"GBP\"},\"available\":"
     "1}"},
    {"p-cup", "cup",
     "{\"id\":\"p-cup\",\"sku\":\"cup\",\"name\":\"Cup\",\"price\":{\"amount\":900,\"currency\":\"GBP\"},\"available\":"
     "null}"},
    {"p-yacht", "yacht",
     "{\"id\":\"p-yacht\",\"sku\":\"yacht\",\"name\":\"Yacht\",\"price\":{\"amount\":4500000000000000,\"currency\":"
     "\"GBP\"},\"available\":1}"},
};

static struct world {
    atomic_int catalog_status, payments_status; /* of all their answers; 0: they work */
    atomic_bool catalog_short;                  /* answers no product at all */
    atomic_int lookups, cards;
} world;

/* "n-..." is a product with a long name, of which there are as many as you like. */
static const char *product_of(const char *id, size_t size)
{
    static char text[1000];
    if (size > 2 && memcmp(id, "n-", 2) == 0) {
        char name[601];
        memset(name, 'n', 600);
        name[600] = '\0';
        snprintf(text, sizeof text,
                 "{\"id\":\"%.*s\",\"sku\":\"%.*s\",\"name\":\"%s\",\"price\":{\"amount\":1,\"currency\":\"GBP\"}}",
                 (int)size, id, (int)size, id, name);
        return text;
    }
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++)
        if ((strlen(products[i].id) == size && memcmp(products[i].id, id, size) == 0) ||
            (strlen(products[i].sku) == size && memcmp(products[i].sku, id, size) == 0))
            return products[i].json;
    return "null";
}

/* {"ids":["a","b"]} */
static const char *fake_catalog(void *arg, const char *method, const char *path, const char *body, int *status)
{
    static char text[1024 * 1024];
    world.lookups++;
    *status = world.catalog_status == 0 ? 200 : world.catalog_status;
    if (world.catalog_status != 0 || strcmp(method, "POST") != 0 || strcmp(path, "/v1/products/lookup") != 0)
        return NULL;
    size_t used = (size_t)snprintf(text, sizeof text, "{\"items\":[");
    for (const char *at = strchr(body, '[') + 1; *at == '"' && !world.catalog_short; at += *at == ',') {
        size_t size = strcspn(++at, "\"");
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", text[used - 1] == '[' ? "" : ",",
                                 product_of(at, size));
        at += size + 1;
    }
    snprintf(text + used, sizeof text - used, "]}");
    return text;
}

static const char *fake_payments(void *arg, const char *method, const char *path, const char *body, int *status)
{
    world.cards++;
    *status = world.payments_status == 0 ? 201 : world.payments_status;
    bool right = strcmp(method, "POST") == 0 && strcmp(path, "/v1/cards") == 0 &&
                 strcmp(body, "{\"card_number\":\"" CARD "\"}") == 0;
    return world.payments_status == 0 && right ? "{\"card\":\"tok_1\"}" : "{\"code\":\"some\"}";
}

static void start(const char *dir)
{
    t = ficus_test_start(&orders_service, dir, NULL);
    ficus_test_fake_service(t, "catalog", fake_catalog, NULL);
    ficus_test_fake_service(t, "payments", fake_payments, NULL);
}

static int setup(void **state)
{
    memset(&world, 0, sizeof world);
    start(migrations);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

/* ---- requests ---- */

static struct ficus_test_answer place_as(const char *user, const char *key, const char *body)
{
    return ficus_test_call(t, &(struct ficus_test_request){
                                  .method = "POST", .path = "/v1/orders", .body = body, .user = user, .key = key});
}

/* By ann, with a fresh key. */
static struct ficus_test_answer place(const char *body)
{
    static atomic_int last;
    char key[32];
    snprintf(key, sizeof key, "key-%d", ++last);
    return place_as("ann", key, body);
}

static const char *placed(void)
{
    struct ficus_test_answer a = place(TWO_TEAS);
    EXPECT(a, 202);
    return value_of(a.body, "id");
}

static struct ficus_test_answer step(const char *id, const char *verb, const char *body)
{
    char path[200];
    snprintf(path, sizeof path, "/v1/orders/%s/%s", id, verb);
    return as_saga("POST", path, body);
}

static struct ficus_test_answer confirm(const char *id)
{
    return step(id, "confirm", NULL);
}

static struct ficus_test_answer reject(const char *id, const char *reason)
{
    char body[100];
    snprintf(body, sizeof body, "{\"reason\":\"%s\"}", reason);
    return step(id, "reject", body);
}

static struct ficus_test_answer close_order(const char *id)
{
    return step(id, "close", NULL);
}

static struct ficus_test_answer cancel_as(const char *user, const char *role, const char *id)
{
    char path[200];
    snprintf(path, sizeof path, "/v1/orders/%s/cancel", id);
    return ficus_test_call(t, &(struct ficus_test_request){.method = "POST", .path = path, .user = user, .role = role});
}

static struct ficus_test_answer cancel(const char *id)
{
    return cancel_as("ann", NULL, id);
}

static struct ficus_test_answer get_as(const char *user, const char *role, const char *id)
{
    char path[200];
    snprintf(path, sizeof path, "/v1/orders/%s", id);
    return ficus_test_call(t, &(struct ficus_test_request){.method = "GET", .path = path, .user = user, .role = role});
}

/* The order's present status and reason ("null": none), and its history as "status status ". */
static void expect_order(const char *id, const char *status, const char *reason, const char *history)
{
    struct ficus_test_answer a = get_as("ann", NULL, id);
    EXPECT(a, 200);
    assert_string_equal(value_of(a.body, "status"), status);
    assert_string_equal(value_of(a.body, "reason"), reason);
    char statuses[200] = "";
    size_t used = 0;
    for (const char *at = strstr(a.body, "\"history\":["); (at = strstr(at, "\"status\":")) != NULL; at++)
        used += (size_t)snprintf(statuses + used, sizeof statuses - used, "%s ", value_of(at, "status"));
    assert_string_equal(statuses, history);
    assert_non_null(strstr(a.body, "\"history\":[{\"status\":\"pending\",\"at\":\"20"));
}

static size_t stored(void)
{
    struct ficus_test_answer a = as_admin("GET", "/v1/orders?limit=100", NULL);
    EXPECT(a, 200);
    return count_of(a.body, "\"history\":");
}

/* ---- taking an order ---- */

/* An order is taken without waiting for its payment, and order.placed says all that the checkout needs. */
static void test_place(void **state)
{
    struct ficus_test_answer a = place(
        "{\"items\":[{\"product_id\":\"tea\",\"quantity\":2},{\"product_id\":\"p-cup\",\"quantity\":1}]" PAY);
    EXPECT(a, 202, "\"status\":\"pending\"",
           "\"items\":[{\"product_id\":\"p-tea\",\"sku\":\"tea\",\"name\":\"Tea\",\"quantity\":2,\"price\":{\"amount\":"
           "250,\"currency\":\"GBP\"}},"
           "{\"product_id\":\"p-cup\",\"sku\":\"cup\",\"name\":\"Cup\",\"quantity\":1,\"price\":{\"amount\":900,"
           "\"currency\":\"GBP\"}}]",
           "\"total\":{\"amount\":1400,\"currency\":\"GBP\"},\"reason\":null,\"history\":[{\"status\":\"pending\"");
    char location[200];
    const char *id = value_of(a.body, "id");
    snprintf(location, sizeof location, "/api/v1/orders/%s", id);
    assert_string_equal(a.location, location);
    EXPECT_EMITTED(
        0, "order.placed", id,
        "\"data\":{\"user\":\"ann\",\"items\":[{\"sku\":\"tea\",\"quantity\":2},{\"sku\":\"cup\",\"quantity\":1}],"
        "\"total\":{\"amount\":1400,\"currency\":\"GBP\"},\"card\":\"tok_1\"}");
    EXPECT_EMITTED_COUNT(1);
    assert_null(strstr(ficus_test_emitted(t, 0), CARD));
    assert_null(strstr(a.body, CARD));
    expect_order(id, "pending", "null", "pending ");
}

/* A product that is named twice, by id and by sku, is one line with the sum of the quantities. */
static void test_place_twice_named(void **state)
{
    struct ficus_test_answer a = place(
        "{\"items\":[{\"product_id\":\"tea\",\"quantity\":2},{\"product_id\":\"cup\",\"quantity\":1},"
        "{\"product_id\":\"p-tea\",\"quantity\":3}]" PAY);
    EXPECT(a, 202, "\"sku\":\"tea\",\"name\":\"Tea\",\"quantity\":5", "\"amount\":2150");
    assert_int_equal(count_of(a.body, "\"sku\":"), 2);
    EXPECT_EMITTED(0, "order.placed", value_of(a.body, "id"),
                   "\"items\":[{\"sku\":\"tea\",\"quantity\":5},{\"sku\":\"cup\",\"quantity\":1}]");
}

/* Each fault of an order is named by its place, and no other service is asked. */
static void test_place_faults(void **state)
{
    EXPECT_INVALID(place("{\"items\":[]" PAY), "/items");
    EXPECT_INVALID(place("{\"items\":{}" PAY), "/items");
    EXPECT_INVALID(place("{\"items\":[{\"quantity\":1}]" PAY), "/items/0/product_id");
    EXPECT_INVALID(place("{\"items\":[{\"product_id\":\"\",\"quantity\":1}]" PAY), "/items/0/product_id");
    EXPECT_INVALID(place("{\"items\":[{\"product_id\":7,\"quantity\":1}]" PAY), "/items/0/product_id");
    EXPECT_INVALID(
        place("{\"items\":[{\"product_id\":\"tea\",\"quantity\":1},{\"product_id\":\"tea\",\"quantity\":0}]" PAY),
        "/items/1/quantity");
    static const char *const quantities[] = {"-1", "1.5", "\"1\"", "null", "1000001", "[]", "1e99"};
    char body[300];
    for (size_t i = 0; i < sizeof quantities / sizeof quantities[0]; i++) {
        snprintf(body, sizeof body, "{\"items\":[{\"product_id\":\"tea\",\"quantity\":%s}]" PAY, quantities[i]);
        EXPECT_INVALID(place(body), "/items/0/quantity");
    }
    static const char *const numbers[] = {
        "\"4242424242424241\"",     "\"4242-4242-4242-4242\"", "\"\"", "\"00000000000\"",
        "\"42424242424242424242\"", "4242424242424242",        "null"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        snprintf(body, sizeof body,
                 "{\"items\":[{\"product_id\":\"tea\",\"quantity\":1}],\"payment\":{\"card_number\":%s}}", numbers[i]);
        EXPECT_INVALID(place(body), "/payment/card_number");
    }
    EXPECT(place("[]"), 400, "\"/items\"", "\"/payment/card_number\"");
    EXPECT(place("{\"items\":"), 400);
    assert_int_equal(world.lookups + world.cards, 0);
    assert_int_equal(stored(), 0);
    EXPECT_EMITTED_COUNT(0);
}

/* An order has at most a thousand items and 256 KiB. */
static void test_place_bounds(void **state)
{
    static char body[300 * 1024];
    for (int count = 1000; count <= 1001; count++) {
        size_t used = (size_t)snprintf(body, sizeof body, "{\"items\":[");
        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(body + used, sizeof body - used, "%s{\"product_id\":\"%s\",\"quantity\":1000}",
                                     i == 0 ? "" : ",", i % 2 == 0 ? "tea" : "p-cup");
        snprintf(body + used, sizeof body - used, "]" PAY);
        if (count == 1000)
            EXPECT(place(body), 202, "\"quantity\":500000", "\"amount\":575000000");
        else
            EXPECT_INVALID(place(body), "/items");
    }
    memset(body, ' ', sizeof body);
    memcpy(body, TWO_TEAS, sizeof TWO_TEAS - 1);
    body[256 * 1024] = '\0';
    EXPECT(place(body), 202);
    body[256 * 1024] = ' ';
    body[256 * 1024 + 1] = '\0';
    EXPECT(place(body), 413);
}

/* What the catalog does not know is refused at once; so is a sum that no number can hold. */
static void test_place_unknown(void **state)
{
    EXPECT(place("{\"items\":[{\"product_id\":\"tea\",\"quantity\":1},{\"product_id\":\"none\",\"quantity\":1}]" PAY),
           422, "\"code\":\"unknown_product\"", "none", "\"pointer\":\"/items/1/product_id\"");
    EXPECT(place("{\"items\":[{\"product_id\":\"yacht\",\"quantity\":2}]" PAY), 202, "\"amount\":9000000000000000");
    EXPECT(place("{\"items\":[{\"product_id\":\"yacht\",\"quantity\":3}]" PAY), 422, "\"code\":\"too_expensive\"");
    EXPECT(place("{\"items\":[{\"product_id\":\"yacht\",\"quantity\":1000000}]" PAY), 422,
           "\"code\":\"too_expensive\"");
    EXPECT(place("{\"items\":[{\"product_id\":\"yacht\",\"quantity\":2},{\"product_id\":\"tea\",\"quantity\":1}]" PAY),
           422);
    assert_int_equal(stored(), 1);
}

/* Without the catalog or without payments nothing is stored, and the client is told to come again. */
static void test_place_unavailable(void **state)
{
    world.catalog_status = 503;
    struct ficus_test_answer a = place_as("ann", "k", TWO_TEAS);
    EXPECT(a, 503, "\"code\":\"try_again\"");
    assert_non_null(strcasestr(a.head, "\r\nretry-after: 1"));
    assert_int_equal(world.cards, 0);
    world.catalog_status = 0;
    world.catalog_short = true;
    EXPECT(place_as("ann", "k", TWO_TEAS), 503);
    world.catalog_short = false;
    world.payments_status = 503;
    a = place_as("ann", "k", TWO_TEAS);
    EXPECT(a, 503, "\"code\":\"try_again\"");
    assert_non_null(strcasestr(a.head, "\r\nretry-after: 1"));
    assert_int_equal(stored(), 0);
    EXPECT_EMITTED_COUNT(0);
    world.payments_status = 0;
    EXPECT(place_as("ann", "k", TWO_TEAS), 202);
}

/* A card number that only the bank finds wrong is named like any other fault. */
static void test_place_bank_refuses(void **state)
{
    world.payments_status = 400;
    EXPECT_INVALID(place(TWO_TEAS), "/payment/card_number");
    assert_int_equal(stored(), 0);
}

/* ---- the key ---- */

/* The same key with the same body has the same answer, also after a crash, and one order. */
static void test_key_repeated(void **state)
{
    struct ficus_test_answer first = place_as("ann", "k", TWO_TEAS);
    EXPECT(first, 202);
    for (int i = 0; i < 2; i++) {
        struct ficus_test_answer a = place_as("ann", "k", TWO_TEAS);
        EXPECT(a, 202);
        assert_string_equal(a.body, first.body);
        assert_string_equal(a.location, first.location);
        if (i == 0)
            ficus_test_restart(t);
    }
    assert_int_equal(stored(), 1);
    EXPECT_EMITTED_COUNT(1);
    /* The answer is that of then, whatever became of the order. */
    EXPECT(confirm(value_of(first.body, "id")), 200);
    assert_string_equal(place_as("ann", "k", TWO_TEAS).body, first.body);
}

/* The same key with another body is refused; another user's or another key is another order. */
static void test_key_scope(void **state)
{
    EXPECT(place_as("ann", "k", TWO_TEAS), 202);
    EXPECT(place_as("ann", "k", "{\"items\":[{\"product_id\":\"tea\",\"quantity\":3}]" PAY), 422);
    EXPECT(place_as("bob", "k", TWO_TEAS), 202);
    EXPECT(place_as("ann", "l", TWO_TEAS), 202);
    assert_int_equal(stored(), 3);
}

/* Without a key, or with one that is none, no order is taken. */
static void test_key_faults(void **state)
{
    char key[130];
    memset(key, 'k', 129);
    key[129] = '\0';
    EXPECT(place_as("ann", NULL, TWO_TEAS), 400);
    EXPECT(place_as("ann", "", TWO_TEAS), 400);
    EXPECT(place_as("ann", key, TWO_TEAS), 400);
    assert_int_equal(stored(), 0);
    key[128] = '\0';
    EXPECT(place_as("ann", key, TWO_TEAS), 202);
}

/* A refused request leaves its key free: corrected, it may be sent again. */
static void test_key_after_refusal(void **state)
{
    EXPECT(place_as("ann", "k", "{\"items\":[]" PAY), 400);
    EXPECT(place_as("ann", "k", "{\"items\":[{\"product_id\":\"none\",\"quantity\":1}]" PAY), 422);
    world.payments_status = 400;
    EXPECT(place_as("ann", "k", TWO_TEAS), 400);
    world.payments_status = 0;
    EXPECT(place_as("ann", "k", TWO_TEAS), 202);
    assert_int_equal(stored(), 1);
}

static void *place_same(void *arg)
{
    *(struct ficus_test_answer *)arg = place_as("ann", "k", TWO_TEAS);
    return NULL;
}

/* Of many at once with one key, one is taken and all have its answer. */
static void test_key_at_once(void **state)
{
    struct ficus_test_answer answers[8];
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, place_same, &answers[i]), 0);
    for (size_t i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 8; i++) {
        EXPECT(answers[i], 202);
        assert_string_equal(answers[i].body, answers[0].body);
    }
    assert_int_equal(stored(), 1);
    EXPECT_EMITTED_COUNT(1);
}

/* ---- its life ---- */

/* The pivot confirms once, tells it once, and stays done after a crash. */
static void test_confirm(void **state)
{
    const char *id = placed();
    EXPECT(confirm(id), 200, "\"status\":\"confirmed\"");
    EXPECT(confirm(id), 200, "\"status\":\"confirmed\"");
    ficus_test_restart(t);
    EXPECT(confirm(id), 200, "\"status\":\"confirmed\"");
    expect_order(id, "confirmed", "null", "pending confirmed ");
    EXPECT_EMITTED(1, "order.confirmed", id,
                   "\"data\":{\"user\":\"ann\",\"total\":{\"amount\":500,\"currency\":\"GBP\"},\"reason\":null}");
    EXPECT_EMITTED_COUNT(2);
    EXPECT(reject(id, "out_of_stock"), 409, "\"code\":\"not_pending\"");
    EXPECT(close_order(id), 409, "\"code\":\"not_asked\"");
    expect_order(id, "confirmed", "null", "pending confirmed ");
}

/* A rejected order is cancelled for its reason, once, and can never be confirmed. */
static void test_reject(void **state)
{
    const char *id = placed();
    EXPECT(reject(id, "out_of_stock"), 200, "\"status\":\"cancelled\"");
    EXPECT(reject(id, "payment_declined"), 200, "\"status\":\"cancelled\"");
    ficus_test_restart(t);
    EXPECT(confirm(id), 409, "\"code\":\"not_pending\"");
    EXPECT(confirm(id), 409, "\"code\":\"not_pending\"");
    expect_order(id, "cancelled", "out_of_stock", "pending cancelled ");
    EXPECT_EMITTED(
        1, "order.cancelled", id,
        "\"data\":{\"user\":\"ann\",\"total\":{\"amount\":500,\"currency\":\"GBP\"},\"reason\":\"out_of_stock\"}");
    EXPECT_EMITTED_COUNT(2);
    EXPECT(cancel(id), 409, "\"code\":\"already_cancelled\"");
}

/* A cancel before the pivot: the pivot is refused for the customer's sake, also when repeated, and the order is
 * rejected. */
static void test_cancel_then_confirm(void **state)
{
    const char *id = placed();
    EXPECT(cancel(id), 202, "\"status\":\"pending\"");
    EXPECT(cancel(id), 202, "\"status\":\"pending\"");
    EXPECT_EMITTED_COUNT(1);
    ficus_test_restart(t);
    EXPECT(confirm(id), 409, "\"code\":\"by_customer\"");
    EXPECT(confirm(id), 409, "\"code\":\"by_customer\"");
    expect_order(id, "pending", "null", "pending ");
    EXPECT(reject(id, "by_customer"), 200);
    expect_order(id, "cancelled", "by_customer", "pending cancelled ");
    EXPECT(cancel(id), 409, "\"code\":\"already_cancelled\"");
    EXPECT_EMITTED(1, "order.cancelled", id, "\"reason\":\"by_customer\"}");
    EXPECT_EMITTED_COUNT(2);
}

/* A cancel after the pivot starts the cancellation, once; the order stays confirmed until that closes it. */
static void test_confirm_then_cancel(void **state)
{
    const char *id = placed();
    EXPECT(confirm(id), 200);
    EXPECT(cancel(id), 202, "\"status\":\"confirmed\"");
    EXPECT(cancel(id), 202, "\"status\":\"confirmed\"");
    EXPECT_EMITTED(2, "order.cancel_requested", id, "\"data\":{\"by\":\"by_customer\"}");
    EXPECT_EMITTED_COUNT(3);
    expect_order(id, "confirmed", "null", "pending confirmed ");
    ficus_test_restart(t);
    EXPECT(close_order(id), 200, "\"status\":\"cancelled\"");
    EXPECT(close_order(id), 200, "\"status\":\"cancelled\"");
    EXPECT(confirm(id), 200, "\"status\":\"cancelled\"");
    expect_order(id, "cancelled", "by_customer", "pending confirmed cancelled ");
    EXPECT_EMITTED(3, "order.cancelled", id, "\"reason\":\"by_customer\"}");
    EXPECT_EMITTED_COUNT(4);
    EXPECT(cancel(id), 409, "\"code\":\"already_cancelled\"");
}

/* An administrator's cancel is told apart from the customer's; who asked first is the reason. */
static void test_cancel_by_admin(void **state)
{
    const char *one = placed(), *two = placed();
    EXPECT(cancel_as(ADMIN, "admin", one), 202);
    EXPECT(cancel(one), 202);
    EXPECT(confirm(one), 409, "\"code\":\"by_admin\"");
    EXPECT(confirm(two), 200);
    EXPECT(cancel_as(ADMIN, "admin", two), 202);
    EXPECT(close_order(two), 200);
    expect_order(two, "cancelled", "by_admin", "pending confirmed cancelled ");
}

struct racer {
    const char *id;
    struct ficus_test_answer answer;
};

static void *race_confirm(void *arg)
{
    struct racer *r = arg;
    r->answer = confirm(r->id);
    return NULL;
}

/* However a cancel and the pivot race, exactly one of the two ways out is taken: refused pivot, or started
 * cancellation. */
static void test_race(void **state)
{
    for (int round = 0; round < 15; round++) {
        struct racer r = {.id = placed()};
        size_t emitted = ficus_test_emitted_count(t);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, race_confirm, &r), 0);
        EXPECT(cancel(r.id), 202);
        pthread_join(thread, NULL);
        if (r.answer.status == 200) {
            EXPECT_EMITTED(emitted, "order.confirmed", r.id, "");
            EXPECT_EMITTED(emitted + 1, "order.cancel_requested", r.id, "");
            EXPECT_EMITTED_COUNT(emitted + 2);
        } else {
            EXPECT(r.answer, 409, "\"code\":\"by_customer\"");
            EXPECT_EMITTED_COUNT(emitted);
            expect_order(r.id, "pending", "null", "pending ");
        }
    }
}

/* The steps of sagas name an order that is there, and a rejection says a reason as JSON. An undo of what never came, as
 * after a backup, has nothing to do. */
static void test_step_faults(void **state)
{
    EXPECT(confirm("none"), 404, "\"code\":\"unknown_order\"");
    EXPECT(reject("none", "x"), 200, "\"status\":\"cancelled\"");
    EXPECT(close_order("none"), 404, "\"code\":\"unknown_order\"");
    EXPECT(step(placed(), "reject", "{"), 400);
}

/* ---- who may, and what is shown ---- */

/* Strangers see nothing, the signed-in their own, the gateway no step of a saga. */
static void test_rights(void **state)
{
    const char *id = placed();
    char path[200];
    snprintf(path, sizeof path, "/v1/orders/%s", id);
    EXPECT(as_anyone("GET", path, NULL), 401);
    EXPECT(as_anyone("GET", "/v1/orders", NULL), 401);
    EXPECT(place_as(NULL, "k", TWO_TEAS), 401);
    EXPECT(cancel_as(NULL, NULL, id), 401);
    EXPECT(get_as("bob", NULL, id), 404, "\"code\":\"unknown_order\"");
    EXPECT(get_as("bob", "other", id), 404);
    EXPECT(cancel_as("bob", NULL, id), 404, "\"code\":\"unknown_order\"");
    EXPECT(get_as("ann", NULL, "none"), 404, "\"code\":\"unknown_order\"");
    EXPECT(get_as(ADMIN, "admin", id), 200, id);
    static const char *const verbs[] = {"confirm", "reject", "close"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/v1/orders/%s/%s", id, verbs[i]);
        EXPECT(as_admin("POST", path, "{}"), 404, "\"code\":\"not_found\"");
    }
    snprintf(path, sizeof path, "/v1/orders/%s/events", id);
    EXPECT(as_anyone("GET", path, NULL), 401);
    EXPECT(as_user("bob", "GET", path, NULL), 404);
    expect_order(id, "pending", "null", "pending ");
}

/* The list is newest first, one's own or all, by status if wished, and read page by page. */
static void test_list(void **state)
{
    char ids[5][100], want[1000], keys[1000];
    for (int i = 0; i < 5; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        struct ficus_test_answer a = place_as(i == 2 ? "bob" : "ann", key, TWO_TEAS);
        EXPECT(a, 202);
        snprintf(ids[i], sizeof ids[i], "%s", value_of(a.body, "id"));
    }
    EXPECT(confirm(ids[1]), 200);
    EXPECT(reject(ids[3], "out_of_stock"), 200);
    snprintf(want, sizeof want, "%s %s %s %s ", ids[4], ids[3], ids[1], ids[0]);
    assert_int_equal(walk_list("ann", NULL, "/v1/orders", 3, "id", keys, sizeof keys), 2);
    assert_string_equal(keys, want);
    snprintf(want, sizeof want, "%s %s %s %s %s ", ids[4], ids[3], ids[2], ids[1], ids[0]);
    assert_int_equal(walk_list(ADMIN, "admin", "/v1/orders", 2, "id", keys, sizeof keys), 3);
    assert_string_equal(keys, want);
    snprintf(want, sizeof want, "%s %s ", ids[4], ids[0]);
    walk_list("ann", NULL, "/v1/orders?status=pending", 1, "id", keys, sizeof keys);
    assert_string_equal(keys, want);
    snprintf(want, sizeof want, "%s ", ids[1]);
    walk_list(ADMIN, "admin", "/v1/orders?status=confirmed", 9, "id", keys, sizeof keys);
    assert_string_equal(keys, want);
    EXPECT(as_user("ann", "GET", "/v1/orders?status=cancelled", NULL), 200, ids[3], "\"reason\":\"out_of_stock\"");
    EXPECT(as_user("eve", "GET", "/v1/orders", NULL), 200, "{\"items\":[],\"next\":null}");
    EXPECT_INVALID(as_user("ann", "GET", "/v1/orders?status=lost", NULL), "/status");
    check_page_faults("ann", NULL, "/v1/orders");
}

/* However large the orders are, the whole list can be read: a page that would be too large has fewer than `limit`. */
static void test_list_large(void **state)
{
    static char body[100 * 1024];
    char keys[1000];
    size_t used = (size_t)snprintf(body, sizeof body, "{\"items\":[");
    for (int i = 0; i < 1000; i++)
        used += (size_t)snprintf(body + used, sizeof body - used, "%s{\"product_id\":\"n-%d\",\"quantity\":1}",
                                 i == 0 ? "" : ",", i);
    snprintf(body + used, sizeof body - used, "]" PAY);
    for (int i = 0; i < 8; i++)
        EXPECT(place(body), 202);
    walk_list("ann", NULL, "/v1/orders", 100, "total", keys, sizeof keys);
    assert_int_equal(count_of(keys, "amount"), 8);
}

static struct ficus_test_answer events_of(const char *id, const char *seen)
{
    char path[200];
    snprintf(path, sizeof path, "/v1/orders/%s/events", id);
    const char *const headers[] = {"Last-Event-ID", seen, NULL};
    return ficus_test_call(t,
                           &(struct ficus_test_request){
                               .method = "GET", .path = path, .user = "ann", .headers = seen == NULL ? NULL : headers});
}

/* The stream of a finished order says where it stands, or all since what the client saw, and ends. */
static void test_events_finished(void **state)
{
    const char *id = placed();
    EXPECT(confirm(id), 200);
    struct ficus_test_answer a = events_of(id, NULL);
    EXPECT(a, 200, "id: 1\n", "event: status\n", "data: {\"status\":\"confirmed\"");
    assert_string_equal(a.content_type, "text/event-stream");
    assert_int_equal(count_of(a.body, "id: "), 1);
    assert_int_equal(count_of(events_of(id, "0").body, "id: "), 1);
    assert_int_equal(events_of(id, "1").status, 204);    /* nothing more will come */
    EXPECT(events_of(id, "-1"), 200, "id: 0\n", "\"status\":\"pending\"", "id: 1\n");
    assert_string_equal(events_of(id, "none of ours").body, a.body);
    EXPECT(cancel(id), 202);
    EXPECT(close_order(id), 200);
    EXPECT(events_of(id, "0"), 200, "id: 1\n", "\"status\":\"confirmed\"", "id: 2\n", "\"status\":\"cancelled\"");
    a = events_of(id, NULL);
    EXPECT(a, 200, "id: 2\n");
    assert_int_equal(count_of(a.body, "id: "), 1);
}

static void *watch(void *arg)
{
    struct racer *r = arg;
    r->answer = events_of(r->id, "-1");
    return NULL;
}

/* Whoever watches from the beginning sees each change once and in order, whenever the change comes. */
static void test_events_live(void **state)
{
    for (int round = 0; round < 5; round++) {
        struct racer r = {.id = placed()};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, watch, &r), 0);
        EXPECT(reject(r.id, "out_of_stock"), 200);
        pthread_join(thread, NULL);
        EXPECT(r.answer, 200, "\"reason\":\"out_of_stock\"");
        assert_int_equal(count_of(r.answer.body, "id: 0\n"), 1);
        assert_int_equal(count_of(r.answer.body, "id: 1\n"), 1);
        assert_true(strstr(r.answer.body, "id: 0\n") < strstr(r.answer.body, "id: 1\n"));
    }
}

/* ---- orders from before they were streams ---- */

static void copy_file(const char *from_dir, const char *from, const char *to_dir, const char *to)
{
    static char text[64 * 1024];
    char path[300];
    snprintf(path, sizeof path, "%s/%s", from_dir, from);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t size = fread(text, 1, sizeof text, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/%s", to_dir, to);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    fclose(f);
}

#define OLD_HISTORY(id, idx, status, reason, at) "('" id "', " #idx ", '" status "', " reason ", '2026-11-0" #at "T01:02:03.045Z')"
static const char old_rows[] =
    "INSERT INTO orders (id, user_id, status, reason, total, cancel_by) VALUES"
    " ('o-pending', 'ann', 'pending', NULL, 500, NULL), ('o-asked', 'ann', 'pending', NULL, 500, 'by_customer'),"
    " ('o-confirmed', 'ann', 'confirmed', NULL, 500, NULL), ('o-wanted', 'ann', 'confirmed', NULL, 500, 'by_admin'),"
    " ('o-rejected', 'ann', 'cancelled', 'out_of_stock', 500, NULL), ('o-closed', 'ann', 'cancelled', 'by_customer', 500, 'by_customer'),"
    " ('o-large', 'ann', 'pending', NULL, 600, NULL);"
    "INSERT INTO item SELECT id, 0, 'p-tea', 'tea', 'Tea \"\u00fc\"', 2, 250 FROM orders WHERE id <> 'o-large';"
    "WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM n WHERE i < 599)"
    " INSERT INTO item SELECT 'o-large', i, 'p-' || i, 's-' || i, 'n', 1, 1 FROM n;"
    "INSERT INTO history (order_id, idx, status, reason, at) SELECT id, 0, 'pending', NULL, '2026-11-01T01:02:03.045Z' FROM orders;"
    "INSERT INTO history (order_id, idx, status, reason, at) VALUES"
    OLD_HISTORY("o-confirmed", 1, "confirmed", "NULL", 2) "," OLD_HISTORY("o-wanted", 1, "confirmed", "NULL", 2) ","
    OLD_HISTORY("o-rejected", 1, "cancelled", "'out_of_stock'", 2) "," OLD_HISTORY("o-closed", 1, "confirmed", "NULL", 2) ","
    OLD_HISTORY("o-closed", 2, "cancelled", "'by_customer'", 3) ";";

static void start_with_old_rows(char *dir)
{
    char path[300];
    static const char *const names[] = {"0001_orders.sql", "0002_rows.sql", "0003_streams.sql", "0004_projection.sql"};
    assert_non_null(mkdtemp(dir));
    copy_file(migrations, "0001_orders.sql", dir, names[0]);
    copy_file(migrations, "0002_streams.sql", dir, names[2]);
    copy_file(migrations, "0003_projection.sql", dir, names[3]);
    snprintf(path, sizeof path, "%s/%s", dir, names[1]);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(old_rows, f) >= 0);
    fclose(f);
    ficus_test_stop(t);
    start(dir);
    ficus_test_restart(t);
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

/* They are shown as ever, in their order, and their life goes on. */
static void test_from_before(void **state)
{
    char dir[] = "/tmp/ficus-orders-XXXXXX", keys[1000];
    start_with_old_rows(dir);
    struct ficus_test_answer a = get_as("ann", NULL, "o-closed");
    EXPECT(a, 200, "{\"id\":\"o-closed\",\"status\":\"cancelled\",\"items\":[{\"product_id\":\"p-tea\",\"sku\":\"tea\",\"name\":\"Tea ",
           "\"quantity\":2,\"price\":{\"amount\":250,\"currency\":\"GBP\"}}],\"total\":{\"amount\":500,\"currency\":\"GBP\"},\"reason\":\"by_customer\","
           "\"history\":[{\"status\":\"pending\",\"at\":\"2026-11-01T01:02:03.045Z\",\"reason\":null},"
           "{\"status\":\"confirmed\",\"at\":\"2026-11-02T01:02:03.045Z\",\"reason\":null},"
           "{\"status\":\"cancelled\",\"at\":\"2026-11-03T01:02:03.045Z\",\"reason\":\"by_customer\"}]}");
    expect_order("o-rejected", "cancelled", "out_of_stock", "pending cancelled ");
    a = get_as("ann", NULL, "o-large");
    EXPECT(a, 200);
    assert_int_equal(count_of(a.body, "\"sku\":"), 600);
    for (int i = 0; i < 600; i++) {
        char item[60];
        snprintf(item, sizeof item, "\"product_id\":\"p-%d\"", i);
        assert_non_null(a.body = strstr(a.body, item)); /* each, in order */
    }
    walk_list("ann", NULL, "/v1/orders", 3, "id", keys, sizeof keys);
    assert_string_equal(keys, "o-large o-closed o-rejected o-wanted o-confirmed o-asked o-pending ");
    EXPECT(confirm("o-pending"), 200);
    expect_order("o-pending", "confirmed", "null", "pending confirmed ");
    EXPECT(confirm("o-asked"), 409, "\"code\":\"by_customer\"");
    EXPECT(reject("o-asked", "by_customer"), 200);
    expect_order("o-asked", "cancelled", "by_customer", "pending cancelled ");
    EXPECT(cancel("o-confirmed"), 202);
    EXPECT(close_order("o-wanted"), 200);
    expect_order("o-wanted", "cancelled", "by_admin", "pending confirmed cancelled ");
    EXPECT(close_order("o-confirmed"), 200);
    EXPECT(confirm("o-large"), 200);
    EXPECT(cancel("o-closed"), 409, "\"code\":\"already_cancelled\"");
    EXPECT(place(TWO_TEAS), 202);
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_place),
        T(test_place_twice_named),
        T(test_place_faults),
        T(test_place_bounds),
        T(test_place_unknown),
        T(test_place_unavailable),
        T(test_place_bank_refuses),
        T(test_key_repeated),
        T(test_key_scope),
        T(test_key_faults),
        T(test_key_after_refusal),
        T(test_key_at_once),
        T(test_confirm),
        T(test_reject),
        T(test_cancel_then_confirm),
        T(test_confirm_then_cancel),
        T(test_cancel_by_admin),
        T(test_race),
        T(test_step_faults),
        T(test_rights),
        T(test_list),
        T(test_list_large),
        T(test_events_finished),
        T(test_events_live),
        T(test_from_before),
    };
    return shop_run_tests("orders", tests, sizeof tests / sizeof tests[0], argc, argv);
}
