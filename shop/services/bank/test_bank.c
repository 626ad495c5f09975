/* SPDX-License-Identifier: Apache-2.0
 *
 * The bank alone: cards, captures, refunds, the ledger.
 */
#include "shop_test.h"

#include "bank.h"

#include <time.h>

#define GOOD "4242424242424242"
#define DECLINED "4000000000000002"
#define INSUFFICIENT "4000000000009995"
#define FLAKY "4000000000000119"
#define SLOW "4000000000000341"

static int setup(void **state)
{
    t = ficus_test_start(&bank_service, migrations, NULL);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

static const char *token_of(const char *number)
{
    char body[100];
    snprintf(body, sizeof body, "{\"card_number\":\"%s\"}", number);
    struct ficus_test_answer a = as_service("payments", "POST", "/v1/tokens", body);
    EXPECT(a, 201);
    return value_of(a.body, "token");
}

static struct ficus_test_answer capture_within(const char *order_id, const char *token, int pence, int timeout_ms)
{
    char path[200], body[300];
    snprintf(path, sizeof path, "/v1/captures/%s", order_id);
    snprintf(body, sizeof body, "{\"amount\":{\"amount\":%d,\"currency\":\"GBP\"},\"card\":\"%s\"}", pence, token);
    return ficus_test_call(
        t, &(struct ficus_test_request){
               .method = "PUT", .path = path, .body = body, .caller = "payments", .timeout_ms = timeout_ms});
}

static struct ficus_test_answer capture(const char *order_id, const char *token, int pence)
{
    return capture_within(order_id, token, pence, 0);
}

static struct ficus_test_answer give_back(const char *order_id)
{
    char path[200];
    snprintf(path, sizeof path, "/v1/captures/%s", order_id);
    return as_service("payments", "DELETE", path, NULL);
}

static const char *ledger(const char *order_id)
{
    char path[200];
    snprintf(path, sizeof path, "/v1/ledger?order_id=%s", order_id);
    struct ficus_test_answer a = as_admin("GET", path, NULL);
    EXPECT(a, 200);
    return a.body;
}

static void expect_ledger(const char *order_id, size_t captures, size_t refunds)
{
    const char *text = ledger(order_id);
    assert_int_equal(count_of(text, "\"kind\":\"capture\""), captures);
    assert_int_equal(count_of(text, "\"kind\":\"refund\""), refunds);
}

/* A card becomes a token that does not tell its number, and each time another one. */
static void test_token(void **state)
{
    const char *one = token_of(GOOD), *two = token_of(GOOD);
    assert_memory_equal(one, "tok_", 4);
    assert_null(strstr(one, "4242"));
    assert_string_not_equal(one, two);
}

/* Only 12 to 19 digits are a card number. */
static void test_token_faults(void **state)
{
    static const char *const bodies[] = {
        "{}",
        "[]",
        "{\"card_number\":4242424242424242}",
        "{\"card_number\":\"42424242424\"}",
        "{\"card_number\":\"42424242424242424242\"}",
        "{\"card_number\":\"4242 4242 4242 4242\"}",
        "{\"card_number\":\"\"}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        EXPECT_INVALID(as_service("payments", "POST", "/v1/tokens", bodies[i]), "/card_number");
    EXPECT(as_service("payments", "POST", "/v1/tokens", "{"), 400);
}

/* Nobody comes through the gateway but an administrator to the ledger. */
static void test_rights(void **state)
{
    const char *body = "{\"card_number\":\"" GOOD "\"}";
    EXPECT(as_admin("POST", "/v1/tokens", body), 404);
    EXPECT(as_admin("PUT", "/v1/captures/o", "{}"), 404);
    EXPECT(as_admin("DELETE", "/v1/captures/o", NULL), 404);
    EXPECT(as_anyone("GET", "/v1/ledger", NULL), 401);
    EXPECT(as_user("u", "GET", "/v1/ledger", NULL), 403);
    EXPECT(as_admin("GET", "/v1/ledger", NULL), 200, "{\"items\":[],\"next\":null}");
}

/* A capture names each fault of its input. */
static void test_capture_faults(void **state)
{
    static const char *const amounts[] = {
        "null",
        "12",
        "{}",
        "{\"amount\":1}",
        "{\"amount\":-1,\"currency\":\"GBP\"}",
        "{\"amount\":1.5,\"currency\":\"GBP\"}",
        "{\"amount\":\"1\",\"currency\":\"GBP\"}",
        "{\"amount\":1,\"currency\":\"EUR\"}",
        "{\"amount\":1000000000000000001,\"currency\":\"GBP\"}",
    };
    char body[200];
    for (size_t i = 0; i < sizeof amounts / sizeof amounts[0]; i++) {
        snprintf(body, sizeof body, "{\"amount\":%s,\"card\":\"tok\"}", amounts[i]);
        EXPECT_INVALID(as_service("payments", "PUT", "/v1/captures/o", body), "/amount");
    }
    EXPECT(as_service("payments", "PUT", "/v1/captures/o", "{}"), 400, "\"/card\"", "\"/amount\"");
    EXPECT(as_service("payments", "PUT", "/v1/captures/o", "nonsense"), 400);
    expect_ledger("o", 0, 0);
}

/* A good card is captured once, however often it is asked for, also after a crash. */
static void test_good(void **state)
{
    const char *token = token_of(GOOD);
    EXPECT(capture("o-1", token, 1275), 200, "\"order_id\":\"o-1\"", "\"state\":\"captured\"", "\"amount\":1275");
    EXPECT(capture("o-1", token, 1275), 200, "\"state\":\"captured\"", "\"amount\":1275");
    ficus_test_restart(t);
    EXPECT(capture("o-1", token, 1275), 200, "\"state\":\"captured\"");
    EXPECT(capture("o-2", token, 1), 200, "\"state\":\"captured\"");
    expect_ledger("o-1", 1, 0);
    assert_non_null(strstr(ledger("o-1"), "\"amount\":{\"amount\":1275,\"currency\":\"GBP\"}"));
}

/* A card without money and an unknown token are refused and leave nothing in the ledger. */
static void test_refused_cards(void **state)
{
    EXPECT(capture("o-1", token_of(DECLINED), 5), 402, "\"code\":\"card_declined\"");
    EXPECT(capture("o-2", token_of(INSUFFICIENT), 5), 402, "\"code\":\"insufficient_funds\"");
    EXPECT(capture("o-3", "tok_unknown", 5), 402, "\"code\":\"card_declined\"");
    EXPECT(as_admin("GET", "/v1/ledger", NULL), 200, "\"items\":[]");
}

/* The flaky card fails exactly twice per charge and then succeeds; a crash between does not begin anew. */
static void test_flaky(void **state)
{
    const char *token = token_of(FLAKY);
    EXPECT(capture("o-1", token, 700), 503, "\"code\":\"processing_error\"");
    ficus_test_restart(t);
    EXPECT(capture("o-1", token, 700), 503, "\"code\":\"processing_error\"");
    ficus_test_restart(t);
    expect_ledger("o-1", 0, 0);
    EXPECT(capture("o-1", token, 700), 200, "\"state\":\"captured\"");
    EXPECT(capture("o-1", token, 700), 200, "\"state\":\"captured\"");
    expect_ledger("o-1", 1, 0);
    EXPECT(capture("o-2", token, 700), 503);
    EXPECT(capture("o-2", token, 700), 503);
    EXPECT(capture("o-2", token, 700), 200);
}

/* The slow card is captured, but not before three seconds; who cannot wait that long captured nothing. */
static void test_slow(void **state)
{
    const char *token = token_of(SLOW);
    EXPECT(capture_within("o-1", token, 9, 500), 504);
    expect_ledger("o-1", 0, 0);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    EXPECT(capture("o-1", token, 9), 200, "\"state\":\"captured\"");
    clock_gettime(CLOCK_MONOTONIC, &after);
    int64_t ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(ms >= 2990);
    expect_ledger("o-1", 1, 0);
}

/* What was captured is given back once, and can never be captured again. */
static void test_refund(void **state)
{
    const char *token = token_of(GOOD);
    EXPECT(capture("o-1", token, 40), 200);
    EXPECT(give_back("o-1"), 200, "\"state\":\"refunded\"", "\"amount\":40");
    EXPECT(give_back("o-1"), 200, "\"state\":\"refunded\"", "\"amount\":40");
    EXPECT(capture("o-1", token, 40), 409, "\"code\":\"undone\"");
    ficus_test_restart(t);
    EXPECT(capture("o-1", token, 40), 409, "\"code\":\"undone\"");
    EXPECT(give_back("o-1"), 200, "\"state\":\"refunded\"");
    expect_ledger("o-1", 1, 1);
}

/* Giving back what never came makes it void, so that a late capture is refused. */
static void test_void(void **state)
{
    const char *token = token_of(GOOD);
    EXPECT(give_back("o-1"), 200, "\"state\":\"void\"", "\"amount\":0");
    EXPECT(give_back("o-1"), 200, "\"state\":\"void\"");
    ficus_test_restart(t);
    EXPECT(capture("o-1", token, 40), 409, "\"code\":\"undone\"");
    expect_ledger("o-1", 0, 0);
}

/* A charge that is given back between its failures does not succeed later. */
static void test_void_while_trying(void **state)
{
    const char *token = token_of(FLAKY);
    EXPECT(capture("o-1", token, 7), 503);
    EXPECT(give_back("o-1"), 200, "\"state\":\"void\"");
    for (int i = 0; i < 3; i++)
        EXPECT(capture("o-1", token, 7), 409, "\"code\":\"undone\"");
    expect_ledger("o-1", 0, 0);
}

/* The ledger is read page by page, each line once, in the order in which it was written. */
static void test_ledger_pages(void **state)
{
    const char *token = token_of(GOOD);
    char id[16], keys[400];
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "o-%d", i);
        EXPECT(capture(id, token, 10), 200);
    }
    EXPECT(give_back("o-1"), 200);
    assert_int_equal(walk_list(ADMIN, "admin", "/v1/ledger", 2, "order_id", keys, sizeof keys), 3);
    assert_string_equal(keys, "o-0 o-1 o-2 o-3 o-4 o-1 ");
    assert_int_equal(walk_list(ADMIN, "admin", "/v1/ledger?order_id=o-1", 1, "kind", keys, sizeof keys), 2);
    assert_string_equal(keys, "capture refund ");
    EXPECT(as_admin("GET", "/v1/ledger?order_id=none", NULL), 200, "{\"items\":[],\"next\":null}");
    check_page_faults(ADMIN, "admin", "/v1/ledger");
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_token),
        T(test_token_faults),
        T(test_rights),
        T(test_capture_faults),
        T(test_good),
        T(test_refused_cards),
        T(test_flaky),
        T(test_slow),
        T(test_refund),
        T(test_void),
        T(test_void_while_trying),
        T(test_ledger_pages),
    };
    return shop_run_tests("bank", tests, sizeof tests / sizeof tests[0], argc, argv);
}
