/* SPDX-License-Identifier: Apache-2.0
 *
 * Search alone: what it heard by events is found as people type, whatever they type.
 */
#include "shop_test.h"

#include "search.h"

static int setup(void **state)
{
    t = ficus_test_start(&search_service, migrations, NULL);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

static void product(const char *sku, const char *name, int price)
{
    char data[2000];
    snprintf(data, sizeof data,
             "{\"id\":\"id-%s\",\"sku\":\"%s\",\"name\":\"%s\",\"price\":{\"amount\":%d,\"currency\":\"GBP\"}}", sku,
             sku, name, price);
    assert_int_equal(ficus_test_event(t, "product.changed", sku, data), 0);
}

static void stock(const char *sku, int available)
{
    char data[300];
    snprintf(data, sizeof data, "{\"items\":[{\"sku\":\"%s\",\"available\":%d}]}", sku, available);
    assert_int_equal(ficus_test_event(t, "stock.changed", sku, data), 0);
}

static void encode(const char *text, char *ret_text, size_t size)
{
    size_t n = 0;
    for (; *text != '\0'; text++) {
        assert_true(n + 4 < size);
        n += (size_t)snprintf(ret_text + n, size - n, "%%%02x", (unsigned char)*text);
    }
    ret_text[n] = '\0';
}

static struct ficus_test_answer ask(const char *q, const char *more)
{
    static char path[40000];
    static char q_encoded[39000];
    encode(q, q_encoded, sizeof q_encoded);
    snprintf(path, sizeof path, "/v1/search?q=%s%s", q_encoded, more);
    return as_anyone("GET", path, NULL);
}

/* The skus found, each with a blank behind it, in the order of the answer. */
static const char *found(const char *q)
{
    static char skus[4000];
    struct ficus_test_answer a = ask(q, "&limit=100");
    EXPECT(a, 200, "\"items\":[");
    size_t used = 0;
    skus[0] = '\0';
    for (const char *at = a.body; (at = strstr(at, "\"sku\":")) != NULL; at++)
        used += (size_t)snprintf(skus + used, sizeof skus - used, "%s ", value_of(at, "sku"));
    assert_int_equal(atoi(value_of(a.body, "total")), (int)count_of(a.body, "\"sku\":"));
    return skus;
}

static void some_products(void)
{
    product("85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 255);
    product("71053", "WHITE METAL LANTERN", 339);
    product("22423", "REGENCY CAKESTAND 3 TIER", 1275);
    product("22424", "Caf\\u00e9 Cr\\u00e8me mug", 165);
    product("22425", "Red mug", 165);
    product("gift_0001/b", "Gift voucher", 1000);
}

/* An item is what catalog writes of the product: all members, the price as money, stock unknown as null. */
static void test_item(void **state)
{
    product("71053", "WHITE METAL LANTERN", 339);
    EXPECT(
        ask("lantern", ""), 200,
        "{\"items\":[{\"id\":\"id-71053\",\"sku\":\"71053\",\"name\":\"WHITE METAL LANTERN\",\"price\":{\"amount\":339,"
        "\"currency\":\"GBP\"},\"available\":null}],\"total\":1}");
    stock("71053", 7);
    EXPECT(ask("lantern", ""), 200, "\"available\":7}");
}

/* Every word must match, in any order and case, the last one perhaps unfinished, accents or not. */
static void test_words(void **state)
{
    some_products();
    assert_string_equal(found("white"), "71053 85123A "); /* the shorter name says it more clearly */
    assert_string_equal(found("lantern white"), "71053 ");
    assert_string_equal(found("white met"), "71053 ");
    assert_string_equal(found("REGENCY c"), "22423 ");
    assert_string_equal(found("  creme \t cafe  "), "22424 ");
    assert_string_equal(found("CAF\xc3\x89 CR\xc3\x88ME"), "22424 ");
    assert_string_equal(found("t-light"), "85123A ");
    assert_string_equal(found("ligh"), "85123A ");
    assert_string_equal(found("met white"),
                        "71053 85123A "); /* only the last word may be unfinished: now any will do */
    assert_string_equal(found("antern"), "");
    assert_string_equal(found("sofa"), "");
}

/* A sku is found whole and from its first characters, in any case, also one with signs in it, and also among words. */
static void test_skus(void **state)
{
    some_products();
    assert_string_equal(found("85123A"), "85123A ");
    assert_string_equal(found("85123a"), "85123A ");
    assert_string_equal(found("851"), "85123A ");
    assert_string_equal(found("8"), "85123A ");
    assert_string_equal(found("2242"), "22425 22424 22423 ");
    assert_string_equal(found("22424 mug"), "22424 ");
    assert_string_equal(found("gift_0001/b"), "gift_0001/b ");
    assert_string_equal(found("GIFT_0"), "gift_0001/b ");
    assert_string_equal(found("gift_0001/"), "gift_0001/b ");
    product("---", "Nothing but signs", 1);
    assert_string_equal(found("---"), "--- ");
    assert_string_equal(found("--"), "--- ");
}

/* The product with exactly this sku is the first, then the one with exactly this name, whatever else matches better. */
static void test_exact_first(void **state)
{
    product("a1", "mug mug mug", 1);
    product("a2", "Mug", 1);
    product("a3", "red mug", 1);
    product("mug", "something else altogether, with a long name", 1);
    product("MUG", "and one more of these", 1);
    product("mug2", "mug", 1);
    assert_int_equal(strncmp(found("mug"), "mug MUG mug2 a2 ", 16), 0);
    assert_int_equal(strncmp(found("MUG"), "MUG mug mug2 a2 ", 16), 0);
    assert_int_equal(count_of(found("mug"), " "), 6);
    product("b1", "Heart, of \\\"wicker\\\" (small)", 1);
    product("b2", "heart of wicker small and large heart of wicker small", 1);
    assert_string_equal(found("heart of wicker small"), "b1 b2 ");
    assert_string_equal(found("HEART of wicker, small!"), "b1 b2 ");
}

/* When nothing has all words, what has any of them is better than nothing. */
static void test_any(void **state)
{
    some_products();
    assert_string_equal(found("regency sofa"), "22423 ");
    assert_string_equal(found("sofa rege"), "22423 ");
    assert_string_equal(found("regency mug red"), "22425 22423 22424 ");
}

/* total counts all matches, limit cuts the list, and the order of equals is by name and sku, not by when they came. */
static void test_total_and_ties(void **state)
{
    char sku[20], first[4000], second[4000];
    for (int i = 0; i < 30; i++) {
        snprintf(sku, sizeof sku, "k%02d", (i * 7) % 30);
        product(sku, "blue bowl", i);
    }
    struct ficus_test_answer a = ask("bowl", "");
    EXPECT(a, 200, "\"total\":30}");
    assert_int_equal(count_of(a.body, "\"sku\":"), 20);
    EXPECT(ask("bowl", "&limit=1"), 200, "{\"items\":[{\"id\":\"id-k00\"", "\"total\":30}");
    snprintf(first, sizeof first, "%s", found("bow"));
    for (int i = 0; i < 30; i++) {
        snprintf(sku, sizeof sku, "k%02d", i);
        product(sku, "blue bowl", i);
    }
    snprintf(second, sizeof second, "%s", found("bow"));
    assert_string_equal(first, second);
    assert_int_equal(strncmp(first, "k00 k01 k02 ", 12), 0);
}

/* A change of name is found by the new name and no longer by the old one; nothing stands there twice; also after a
 * crash. */
static void test_change(void **state)
{
    product("71053", "WHITE METAL LANTERN", 339);
    product("71053", "Green lamp", 500);
    ficus_test_restart(t);
    assert_string_equal(found("lantern"), "");
    assert_string_equal(found("lamp"), "71053 ");
    EXPECT(ask("green", ""), 200, "\"name\":\"Green lamp\",\"price\":{\"amount\":500,", "\"total\":1}");
}

/* Stock that comes before its product waits for it; the last figure said is the truth. */
static void test_stock_first(void **state)
{
    stock("71053", 3);
    assert_string_equal(found("71053"), "");
    product("71053", "WHITE METAL LANTERN", 339);
    EXPECT(ask("lantern", ""), 200, "\"available\":3}");
    assert_int_equal(
        ficus_test_event(t, "stock.changed", "o-1",
                         "{\"items\":[{\"sku\":\"71053\",\"available\":2},{\"sku\":\"x\",\"available\":0}]}"),
        0);
    EXPECT(ask("lantern", ""), 200, "\"available\":2}");
}

/* Whatever is typed is looked for and never an operator of the index, nor an error. */
static void test_hostile(void **state)
{
    static const char *const queries[] = {
        "\"",
        "\"\"",
        "\"\"\"",
        "'",
        "''; DROP TABLE product; --",
        "*",
        "**",
        "a*",
        "*a",
        "^mug",
        "mug^",
        "(",
        ")",
        "(mug",
        "mug)",
        "()",
        "{name}",
        "{name sku} : mug",
        "name:mug",
        "sku : mug",
        "whole:mug",
        "NEAR",
        "NEAR(a b)",
        "NEAR(\"a\" \"b\", 2)",
        "AND",
        "OR",
        "NOT",
        "mug AND",
        "mug OR red",
        "NOT mug",
        "mug NOT red",
        "-mug",
        "+",
        "+ mug",
        "- - -",
        "!!!",
        "?",
        "%",
        "_",
        "\\",
        "\\\"",
        "[",
        "]",
        "~",
        "`",
        "$1",
        "?1",
        ":a",
        "@x",
        "\x01",
        "\x7f",
        "\xf0\x9f\x8e\x89",
        "\xf0\x9f\x8e\x89 mug",
        "mug \xf0\x9f\x8e\x89",
        "\xe2\x80\x8b",
        "\xef\xbb\xbf",
        "\xee\x80\x80",
        "\xee\x80\x80 mug \xee\x80\x81",
        "\xee\x80\x81",
        "\xf4\x8f\xbf\xbf",
        "\xcc\x81",
        "e\xcc\x81",
        "\xd8\xa7",
        "\xe4\xb8\xad\xe6\x96\x87",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n o p q r s t u v w x y z a b c "
        "d",
        "\" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" \" "
        "\" \"",
    };
    some_products();
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        struct ficus_test_answer a = ask(queries[i], "");
        if (a.status != 200)
            print_error("for %s\n", queries[i]);
        EXPECT(a, 200, "{\"items\":[", "\"total\":");
    }
    assert_int_equal(strncmp(found("mug NOT red"), "22425 22424 ", 12), 0);
    assert_string_equal(found("\"mug\""), "22425 22424 ");
    assert_string_equal(found("mug \xf0\x9f\x8e\x89 red"), "22425 ");
    assert_string_equal(found("name:mug"), "");
    assert_string_equal(found("\xee\x80\x80"), "");
}

/* A blank q is a search box that is still empty; none, or one that is too long, is a fault of the client. */
static void test_input(void **state)
{
    char q[10300];
    some_products();
    EXPECT(ask("", ""), 200, "{\"items\":[],\"total\":0}");
    EXPECT(ask(" \t\n ", ""), 200, "{\"items\":[],\"total\":0}");
    EXPECT_INVALID(as_anyone("GET", "/v1/search", NULL), "/q");
    EXPECT_INVALID(as_anyone("GET", "/v1/search?limit=2", NULL), "/q");
    static const char *const limits[] = {"0", "101", "-1", "x", "1x", "", "99999999999999999999", "1.5"};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        char path[100];
        snprintf(path, sizeof path, "/v1/search?q=mug&limit=%s", limits[i]);
        EXPECT_INVALID(as_anyone("GET", path, NULL), "/limit");
    }
    EXPECT(as_anyone("GET", "/v1/search?q=mug%00", NULL), 400);
    EXPECT(as_anyone("GET", "/v1/search?q=%ff", NULL), 400);
    EXPECT(as_anyone("GET", "/v1/search?q=%zz", NULL), 400);
    EXPECT(as_anyone("POST", "/v1/search?q=mug", "{}"), 405);
    /* 200 characters, not bytes */
    for (size_t i = 0; i < 200; i++)
        memcpy(q + 2 * i, "\xc3\xa9", 3);
    EXPECT(ask(q, ""), 200);
    memcpy(q + 400, "x", 2);
    EXPECT_INVALID(ask(q, ""), "/q");
    memset(q, 'x', 10240);
    q[7000] = '\0';
    EXPECT_INVALID(ask(q, ""), "/q");
}

/* An event without what it must tell is refused, ends as a dead letter, and holds nothing up. */
static void test_malformed(void **state)
{
    assert_int_equal(ficus_test_event(t, "product.changed", "x", "{\"sku\":\"x\",\"name\":\"y\"}"), -1);
    assert_int_equal(ficus_test_event(t, "stock.changed", "x", "{\"items\":[{\"sku\":\"x\"}]}"), -1);
    product("71053", "WHITE METAL LANTERN", 339);
    assert_string_equal(found("lantern"), "71053 ");
    EXPECT_EMITTED_COUNT(2);
    assert_string_equal(value_of(ficus_test_emitted(t, 0), "type"), "ficus.dead");
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_item),    T(test_words),          T(test_skus),      T(test_exact_first),
        T(test_any),     T(test_total_and_ties), T(test_change),    T(test_stock_first),
        T(test_hostile), T(test_input),          T(test_malformed),
    };
    return shop_run_tests("search", tests, sizeof tests / sizeof tests[0], argc, argv);
}
