/* SPDX-License-Identifier: Apache-2.0
 *
 * Payments alone, with a bank that fails in every way in which a bank can.
 */
#include "shop_test.h"

#include "payments.h"

#include <stdatomic.h>

enum bank_mood {
    BANK_WORKS,
    BANK_DOWN,     /* 503, nothing happened */
    BANK_MUMBLES,  /* does what it was asked to, but its answer is 500 */
    BANK_DECLINES, /* 402 */
    BANK_BABBLES,  /* 201 without a token */
};

/* One order's money. */
static struct bank {
    atomic_int mood, requests, amount;
    atomic_bool captured, undone;
    char last_body[300]; /* written by the loop before it answers, read after the answer */
} bank;

static const char *bank_token(const char *body, int *status)
{
    *status = 201;
    if (strstr(body, "\"card_number\":null") != NULL || strstr(body, "0000000000000000") != NULL) {
        *status = 400;
        return "{\"status\":400,\"code\":\"invalid\"}";
    }
    return bank.mood == BANK_BABBLES ? "{}" : "{\"token\":\"tok_1\"}";
}

static const char *bank_capture(const char *body, int *status)
{
    if (bank.mood == BANK_DECLINES) {
        *status = 402;
        return "{\"status\":402,\"code\":\"card_declined\"}";
    }
    if (bank.undone) {
        *status = 409;
        return "{\"status\":409,\"code\":\"undone\"}";
    }
    bank.captured = true;
    bank.amount = (int)strtol(value_of(strstr(body, "\"amount\":{") + 9, "amount"), NULL, 10);
    return "{\"state\":\"captured\"}";
}

static const char *bank_give_back(void)
{
    static char text[100];
    bank.undone = true;
    snprintf(text, sizeof text, "{\"state\":\"%s\",\"amount\":%d}", bank.captured ? "refunded" : "void",
             bank.captured ? bank.amount : 0);
    return text;
}

static const char *fake_bank(void *arg, const char *method, const char *path, const char *body, int *status)
{
    bank.requests++;
    snprintf(bank.last_body, sizeof bank.last_body, "%s", body == NULL ? "" : body);
    if (bank.mood == BANK_DOWN) {
        *status = 503;
        return "{\"status\":503,\"code\":\"processing_error\"}";
    }
    const char *answer = NULL;
    if (strcmp(method, "POST") == 0 && strcmp(path, "/v1/tokens") == 0)
        answer = bank_token(body, status);
    else if (strcmp(method, "PUT") == 0 && strcmp(path, "/v1/captures/o-1") == 0)
        answer = bank_capture(body, status);
    else if (strcmp(method, "DELETE") == 0 && strcmp(path, "/v1/captures/o-1") == 0)
        answer = bank_give_back();
    else
        *status = 404;
    if (bank.mood == BANK_MUMBLES) {
        *status = 500;
        return NULL;
    }
    return answer;
}

static int setup(void **state)
{
    memset(&bank, 0, sizeof bank);
    t = ficus_test_start(&payments_service, migrations, NULL);
    ficus_test_fake_service(t, "bank", fake_bank, NULL);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

static struct ficus_test_answer card(const char *number)
{
    char body[100];
    snprintf(body, sizeof body, "{\"card_number\":\"%s\"}", number);
    return as_service("orders", "POST", "/v1/cards", body);
}

static struct ficus_test_answer charge(void)
{
    return as_saga("PUT", "/v1/charges/o-1", "{\"amount\":{\"amount\":1275,\"currency\":\"GBP\"},\"card\":\"tok_1\"}");
}

static struct ficus_test_answer give_back(void)
{
    return as_saga("DELETE", "/v1/charges/o-1", NULL);
}

/* The one payment of the order is this one; "": there is none. */
static void expect_payment(const char *status)
{
    struct ficus_test_answer a = as_admin("GET", "/v1/payments?order_id=o-1", NULL);
    EXPECT(a, 200);
    assert_int_equal(count_of(a.body, "\"order_id\":\"o-1\""), *status == '\0' ? 0 : 1);
    assert_string_equal(value_of(a.body, "status"), status);
    if (*status != '\0')
        EXPECT(a, 200, "\"amount\":{\"amount\":1275,\"currency\":\"GBP\"}");
}

/* A card passes to the bank and comes back as its token. */
static void test_card(void **state)
{
    struct ficus_test_answer a = card("4242424242424242");
    EXPECT(a, 201, "{\"card\":\"tok_1\"}");
    assert_string_equal(bank.last_body, "{\"card_number\":\"4242424242424242\"}");
}

/* A card that the bank does not take is the sender's fault; a bank that cannot be reached is not. */
static void test_card_faults(void **state)
{
    EXPECT(card("0000000000000000"), 400, "\"code\":\"invalid_card\"");
    EXPECT(as_service("orders", "POST", "/v1/cards", "{}"), 400, "\"code\":\"invalid_card\"");
    EXPECT(as_service("orders", "POST", "/v1/cards", "nonsense"), 400);
    bank.mood = BANK_BABBLES;
    EXPECT(card("4242424242424242"), 503, "\"code\":\"bank_unavailable\"");
    bank.mood = BANK_DOWN;
    EXPECT(card("4242424242424242"), 503, "\"code\":\"bank_unavailable\"");
}

/* Only services and sagas charge; only an administrator sees payments. */
static void test_rights(void **state)
{
    EXPECT(as_admin("POST", "/v1/cards", "{}"), 404);
    EXPECT(as_admin("PUT", "/v1/charges/o-1", "{}"), 404);
    EXPECT(as_admin("DELETE", "/v1/charges/o-1", NULL), 404);
    EXPECT(as_anyone("GET", "/v1/payments", NULL), 401);
    EXPECT(as_user("u", "GET", "/v1/payments", NULL), 403);
    EXPECT(as_admin("GET", "/v1/payments", NULL), 200, "{\"items\":[],\"next\":null}");
}

/* A charge names the faults of its input before the bank hears of it. */
static void test_charge_faults(void **state)
{
    static const char *const amounts[] = {
        "null",
        "5",
        "{\"amount\":5}",
        "{\"amount\":-5,\"currency\":\"GBP\"}",
        "{\"amount\":5,\"currency\":\"USD\"}",
        "{\"amount\":0.5,\"currency\":\"GBP\"}",
    };
    char body[200];
    for (size_t i = 0; i < sizeof amounts / sizeof amounts[0]; i++) {
        snprintf(body, sizeof body, "{\"amount\":%s,\"card\":\"tok_1\"}", amounts[i]);
        EXPECT_INVALID(as_saga("PUT", "/v1/charges/o-1", body), "/amount");
    }
    EXPECT_INVALID(as_saga("PUT", "/v1/charges/o-1", "{\"amount\":{\"amount\":1,\"currency\":\"GBP\"}}"), "/card");
    EXPECT(as_saga("PUT", "/v1/charges/o-1", "[]"), 400, "\"/amount\"", "\"/card\"");
    EXPECT(as_saga("PUT", "/v1/charges/o-1", "{"), 400);
    assert_int_equal(bank.requests, 0);
    EXPECT(charge(), 200);
}

/* A charge is captured and written down once, however often it comes, also after a crash; the bank is not asked again.
 */
static void test_charge(void **state)
{
    EXPECT(charge(), 200, "{\"order_id\":\"o-1\",\"status\":\"captured\"}");
    assert_non_null(strstr(bank.last_body, "\"card\":\"tok_1\""));
    EXPECT(charge(), 200, "\"status\":\"captured\"");
    ficus_test_restart(t);
    EXPECT(charge(), 200, "\"status\":\"captured\"");
    assert_int_equal(bank.requests, 1);
    expect_payment("captured");
}

/* While the bank cannot be reached nothing is stored and nothing is decided: the same charge works later. */
static void test_bank_down(void **state)
{
    bank.mood = BANK_DOWN;
    EXPECT(charge(), 503, "\"code\":\"bank_unavailable\"");
    expect_payment("");
    ficus_test_restart(t);
    expect_payment("");
    bank.mood = BANK_WORKS;
    EXPECT(charge(), 200, "\"status\":\"captured\"");
    expect_payment("captured");
}

/* A declined card is refused with the reason of the shop; the refusal is remembered, and the bank is not asked again.
 */
static void test_declined(void **state)
{
    bank.mood = BANK_DECLINES;
    EXPECT(charge(), 409, "\"code\":\"payment_declined\"");
    expect_payment("declined");
    bank.mood = BANK_WORKS;
    EXPECT(charge(), 409, "\"code\":\"payment_declined\"");
    ficus_test_restart(t);
    EXPECT(charge(), 409, "\"code\":\"payment_declined\"");
    assert_int_equal(bank.requests, 1);
    EXPECT(give_back(), 200, "\"status\":\"void\"");
    EXPECT(charge(), 409, "\"code\":\"payment_declined\"");
    expect_payment("declined");
}

/* What was captured is given back once, and never captured again. */
static void test_refund(void **state)
{
    EXPECT(charge(), 200);
    EXPECT(give_back(), 200, "{\"order_id\":\"o-1\",\"status\":\"refunded\"}");
    EXPECT(give_back(), 200, "\"status\":\"refunded\"");
    ficus_test_restart(t);
    EXPECT(give_back(), 200, "\"status\":\"refunded\"");
    EXPECT(charge(), 409, "\"code\":\"undone\"");
    expect_payment("refunded");
}

/* An undo that overtakes its charge leaves a tombstone: the late charge is refused without effect. */
static void test_tombstone(void **state)
{
    EXPECT(give_back(), 200, "\"status\":\"void\"");
    EXPECT(give_back(), 200, "\"status\":\"void\"");
    ficus_test_restart(t);
    int requests = bank.requests;
    EXPECT(charge(), 409, "\"code\":\"undone\"");
    EXPECT(charge(), 409, "\"code\":\"undone\"");
    assert_int_equal(bank.requests, requests);
    assert_false(bank.captured);
    expect_payment("");
}

/* What the bank captured without our hearing of it is written down when the charge is repeated. */
static void test_unheard_then_repeated(void **state)
{
    bank.mood = BANK_MUMBLES;
    EXPECT(charge(), 503, "\"code\":\"bank_unavailable\"");
    assert_true(bank.captured);
    expect_payment("");
    bank.mood = BANK_WORKS;
    EXPECT(charge(), 200, "\"status\":\"captured\"");
    expect_payment("captured");
}

/* What the bank captured without our hearing of it, and was then undone, shows as refunded, as in the bank's ledger. */
static void test_unheard_then_undone(void **state)
{
    bank.mood = BANK_MUMBLES;
    EXPECT(charge(), 503);
    assert_true(bank.captured);
    ficus_test_restart(t);
    bank.mood = BANK_WORKS;
    EXPECT(give_back(), 200, "\"status\":\"refunded\"");
    expect_payment("refunded");
    EXPECT(charge(), 409, "\"code\":\"undone\"");
    EXPECT(give_back(), 200, "\"status\":\"refunded\"");
    expect_payment("refunded");
}

/* An undo while the bank is down says so and changes nothing: repeated later, it works. */
static void test_undo_bank_down(void **state)
{
    EXPECT(charge(), 200);
    bank.mood = BANK_DOWN;
    EXPECT(give_back(), 503, "\"code\":\"bank_unavailable\"");
    expect_payment("captured");
    bank.mood = BANK_MUMBLES;
    EXPECT(give_back(), 503);
    expect_payment("captured");
    bank.mood = BANK_WORKS;
    EXPECT(give_back(), 200, "\"status\":\"refunded\"");
    expect_payment("refunded");
}

/* A charge that the bank refuses because it gave it back already is refused here too. */
static void test_bank_undone(void **state)
{
    bank.undone = true;
    EXPECT(charge(), 409, "\"code\":\"undone\"");
    expect_payment("");
}

static const char *any_bank(void *arg, const char *method, const char *path, const char *body, int *status)
{
    return "{\"state\":\"captured\"}";
}

/* Payments are read page by page, in the order in which they were made. */
static void test_pages(void **state)
{
    char path[100], keys[200];
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "/v1/charges/p-%d", i);
        EXPECT(as_saga("PUT", path, "{\"amount\":{\"amount\":1,\"currency\":\"GBP\"},\"card\":\"tok\"}"), 200);
    }
    assert_int_equal(walk_list(ADMIN, "admin", "/v1/payments", 2, "order_id", keys, sizeof keys), 3);
    assert_string_equal(keys, "p-0 p-1 p-2 p-3 p-4 ");
    check_page_faults(ADMIN, "admin", "/v1/payments");
}

static int setup_any(void **state)
{
    t = ficus_test_start(&payments_service, migrations, NULL);
    ficus_test_fake_service(t, "bank", any_bank, NULL);
    return 0;
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_card),
        T(test_card_faults),
        T(test_rights),
        T(test_charge_faults),
        T(test_charge),
        T(test_bank_down),
        T(test_declined),
        T(test_refund),
        T(test_tombstone),
        T(test_unheard_then_repeated),
        T(test_unheard_then_undone),
        T(test_undo_bank_down),
        T(test_bank_undone),
        cmocka_unit_test_setup_teardown(test_pages, setup_any, teardown),
    };
    return shop_run_tests("payments", tests, sizeof tests / sizeof tests[0], argc, argv);
}
