/* SPDX-License-Identifier: Apache-2.0
 *
 * Notifications alone: one for each event that tells of an order's end, shown to its user.
 */
#include "shop_test.h"

#include "notifications.h"

static int setup(void **state)
{
    t = ficus_test_start(&notifications_service, migrations, NULL);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

static int confirmed(const char *user, const char *order_id)
{
    char data[300];
    snprintf(data, sizeof data, "{\"user\":\"%s\",\"total\":{\"amount\":1,\"currency\":\"GBP\"},\"reason\":null}",
             user);
    return ficus_test_event(t, "order.confirmed", order_id, data);
}

static int cancelled(const char *user, const char *order_id, const char *reason)
{
    char data[300];
    snprintf(data, sizeof data, "{\"user\":\"%s\",\"total\":{\"amount\":1,\"currency\":\"GBP\"},\"reason\":%s%s%s}",
             user, reason == NULL ? "" : "\"", reason == NULL ? "null" : reason, reason == NULL ? "" : "\"");
    return ficus_test_event(t, "order.cancelled", order_id, data);
}

static const char *list_of(const char *user)
{
    struct ficus_test_answer a = as_user(user, "GET", "/v1/notifications?limit=100", NULL);
    EXPECT(a, 200);
    return a.body;
}

/* Each event makes exactly one notification for its user, newest first, also over a crash. */
static void test_one_per_event(void **state)
{
    assert_int_equal(confirmed("ann", "o-1"), 0);
    assert_int_equal(cancelled("ann", "o-1", "by_customer"), 0);
    assert_int_equal(confirmed("bob", "o-2"), 0);
    ficus_test_restart(t);
    assert_int_equal(confirmed("ann", "o-3"), 0);
    char keys[200];
    walk_list("ann", NULL, "/v1/notifications", 100, "kind", keys, sizeof keys);
    assert_string_equal(keys, "order.confirmed order.cancelled order.confirmed ");
    walk_list("ann", NULL, "/v1/notifications", 100, "order_id", keys, sizeof keys);
    assert_string_equal(keys, "o-3 o-1 o-1 ");
    assert_int_equal(count_of(list_of("bob"), "\"id\":"), 1);
    assert_int_equal(count_of(list_of("eve"), "\"id\":"), 0);
}

/* A repetition with another event id is another event: nothing hides it (the once-only is the inbox's to keep). */
static void test_not_hidden(void **state)
{
    assert_int_equal(confirmed("ann", "o-1"), 0);
    assert_int_equal(confirmed("ann", "o-1"), 0);
    assert_int_equal(count_of(list_of("ann"), "\"order_id\":\"o-1\""), 2);
}

/* The text says in words why an order was cancelled, also for a reason that is not known here. */
static void test_texts(void **state)
{
    static const struct {
        const char *reason, *words;
    } cases[] = {
        {"out_of_stock", "out of stock"},
        {"payment_declined", "the payment was declined"},
        {"payment_unavailable", "the payment could not be made"},
        {"unknown_product", "a product that we do not sell"},
        {"by_customer", "you asked for it"},
        {"by_admin", "our staff"},
        {"something_new", "it could not be completed"},
        {NULL, "it could not be completed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(cancelled("ann", "o-1", cases[i].reason), 0);
        EXPECT(as_user("ann", "GET", "/v1/notifications?limit=1", NULL), 200, "\"kind\":\"order.cancelled\"",
               "Your order was cancelled: ", cases[i].words);
    }
    assert_int_equal(confirmed("ann", "o-2"), 0);
    EXPECT(as_user("ann", "GET", "/v1/notifications?limit=1", NULL), 200, "\"text\":\"Your order is confirmed.\"",
           "\"read\":false");
}

/* Reading one changes it and the count of unread ones, twice as once, and lasts. */
static void test_read(void **state)
{
    char path[200];
    confirmed("ann", "o-1");
    confirmed("ann", "o-2");
    const char *list = list_of("ann");
    assert_string_equal(value_of(list, "unread"), "2");
    snprintf(path, sizeof path, "/v1/notifications/%s/read", value_of(list, "id"));
    for (int i = 0; i < 2; i++) {
        struct ficus_test_answer a = as_user("ann", "POST", path, NULL);
        EXPECT(a, 204);
        assert_string_equal(a.body, "");
    }
    ficus_test_restart(t);
    list = list_of("ann");
    assert_string_equal(value_of(list, "unread"), "1");
    assert_int_equal(count_of(list, "\"read\":true"), 1);
    assert_string_equal(value_of(list, "order_id"), "o-2");
    assert_string_equal(value_of(list, "read"), "true");
}

/* Nobody sees, counts or reads another's, not even an administrator. */
static void test_rights(void **state)
{
    char path[200];
    confirmed("ann", "o-1");
    EXPECT(as_anyone("GET", "/v1/notifications", NULL), 401);
    EXPECT(as_admin("GET", "/v1/notifications", NULL), 200, "{\"items\":[],\"unread\":0,\"next\":null}");
    snprintf(path, sizeof path, "/v1/notifications/%s/read", value_of(list_of("ann"), "id"));
    EXPECT(as_anyone("POST", path, NULL), 401);
    EXPECT(as_user("bob", "POST", path, NULL), 404, "\"code\":\"unknown_notification\"");
    EXPECT(as_admin("POST", path, NULL), 404);
    EXPECT(as_user("ann", "POST", "/v1/notifications/none/read", NULL), 404);
    assert_string_equal(value_of(list_of("ann"), "unread"), "1");
}

/* The list is read page by page; the count of unread ones stands on each and is of all. */
static void test_pages(void **state)
{
    char id[16], keys[400];
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "o-%d", i);
        confirmed(i == 2 ? "bob" : "ann", id);
    }
    assert_int_equal(walk_list("ann", NULL, "/v1/notifications", 3, "order_id", keys, sizeof keys), 2);
    assert_string_equal(keys, "o-4 o-3 o-1 o-0 ");
    EXPECT(as_user("ann", "GET", "/v1/notifications?limit=1", NULL), 200, "\"unread\":4");
    check_page_faults("ann", NULL, "/v1/notifications");
}

/* An event that names no user is refused, ends as a dead letter, and holds nothing up. */
static void test_malformed(void **state)
{
    assert_int_equal(ficus_test_event(t, "order.confirmed", "o-1", "{\"total\":1}"), -1);
    assert_int_equal(confirmed("ann", "o-2"), 0);
    assert_int_equal(count_of(list_of("ann"), "\"id\":"), 1);
    EXPECT_EMITTED_COUNT(1);
    assert_string_equal(value_of(ficus_test_emitted(t, 0), "type"), "ficus.dead");
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_one_per_event), T(test_not_hidden), T(test_texts),     T(test_read),
        T(test_rights),        T(test_pages),      T(test_malformed),
    };
    return shop_run_tests("notifications", tests, sizeof tests / sizeof tests[0], argc, argv);
}
