/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of users' tokens: claims at their borders, and the whole way from token to claims.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "jwt.h"
#include "vectors.h"

#define NOW_S INT64_C(1700000000)
#define NOW_MS (NOW_S * 1000)

static const struct jwt_rules rules = {.issuer = {"shop", 4}};
static const struct jwt_rules rules_aud = {.issuer = {"shop", 4}, .audience = {"api", 3}, .skew_ms = 1000};

/* A complete token's claims come out as they went in. */
static void claims_come_out(void **state)
{
    struct fixture *f = *state;
    struct jwt_claims c;
    struct slice payload = SLICE("{\"iss\":\"shop\",\"sub\":\"u-\\u00e9\",\"exp\":1700000060.9,"
                                 "\"iat\":1700000000,\"nbf\":1700000000,"
                                 "\"aud\":[\"web\",\"api\"],\"roles\":[\"admin\",\"clerk\"],\"other\":{\"a\":[1]}}");
    assert_int_equal(jwt_check_claims(&f->arena, payload, &rules_aud, NOW_MS, &c, &f->error), FICUS_ERR_OK);
    assert_true(slice_eq(c.issuer, SLICE("shop")) && slice_eq(c.subject, SLICE("u-\xc3\xa9")));
    assert_int_equal(c.role_count, 2);
    assert_true(jwt_has_role(&c, SLICE("clerk")) && jwt_has_role(&c, SLICE("admin")) &&
                !jwt_has_role(&c, SLICE("adm")));
    assert_int_equal(c.expires_ms, NOW_MS + 60000);
}

/* Each rule at its border, with the reason that the log gets; NULL: accepted. */
static void each_rule_refuses_at_its_border(void **state)
{
#define REST "\"iss\":\"shop\",\"sub\":\"u\""
    static const struct {
        const char *payload, *reason;
    } rows[] = {
        {"{" REST ",\"exp\":1700000001}", NULL},
        {"{" REST ",\"exp\":1699999971}", NULL},    /* 29 s ago */
        {"{" REST ",\"exp\":1699999970}", "expired 30 s ago"},
        {"{" REST ",\"exp\":0}", "expired"},
        {"{" REST "}", "exp is missing"},
        {"{" REST ",\"exp\":\"1700000060\"}", "exp is not a number"},
        {"{" REST ",\"exp\":-1}", "exp is not a number"},
        {"{" REST ",\"exp\":17e8}", "exp is not a number"},
        {"{" REST ",\"exp\":1700000060.5e3}", "exp is not a number"},
        {"{" REST ",\"exp\":9223372036854775807}", "exp is not a number"},
        {"{" REST ",\"exp\":99999999999}", NULL},
        {"{" REST ",\"exp\":1700000060,\"nbf\":1700000030}", NULL},
        {"{" REST ",\"exp\":1700000060,\"nbf\":1700000031}", "not valid yet"},
        {"{" REST ",\"exp\":1700000060,\"nbf\":null}", "nbf is not a number"},
        {"{" REST ",\"exp\":1700000060,\"iat\":1700000030}", NULL},
        {"{" REST ",\"exp\":1700000060,\"iat\":1700000031}", "issued in the future"},
        {"{\"sub\":\"u\",\"exp\":1700000060}", "iss is missing"},
        {"{\"iss\":\"Shop\",\"sub\":\"u\",\"exp\":1700000060}", "another issuer"},
        {"{\"iss\":[\"shop\"],\"sub\":\"u\",\"exp\":1700000060}", "iss is not a plain string"},
        {"{\"iss\":\"shop\",\"exp\":1700000060}", "sub is missing"},
        {"{\"iss\":\"shop\",\"sub\":\"\",\"exp\":1700000060}", "sub is not a plain string"},
        {"{\"iss\":\"shop\",\"sub\":\"a\\nb\",\"exp\":1700000060}", "sub is not a plain string"},
        {"{\"iss\":\"shop\",\"sub\":7,\"exp\":1700000060}", "sub is not a plain string"},
        {"{" REST ",\"exp\":1700000060,\"roles\":[]}", NULL},
        {"{" REST ",\"exp\":1700000060,\"roles\":\"admin\"}", "roles is not an array"},
        {"{" REST ",\"exp\":1700000060,\"roles\":[\"a\",7]}", "roles holds something else"},
        {"{" REST ",\"exp\":1700000060,\"roles\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}",
         "roles is not an array of at most 16"},
        {"{" REST ",\"exp\":1,\"exp\":1700000060}", "token payload"},
        {"[]", "not an object"},
        {"", "token payload"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct jwt_claims c;
        enum ficus_err err = jwt_check_claims(&f->arena, slice_str(rows[i].payload), &rules, NOW_MS, &c, &f->error);
        if (err != (rows[i].reason == NULL ? FICUS_ERR_OK : FICUS_ERR_UNAUTHENTICATED))
            fail_msg("%s: %s", rows[i].payload, f->error.text);
        if (rows[i].reason != NULL && strstr(f->error.text, rows[i].reason) == NULL)
            fail_msg("%s: %s", rows[i].payload, f->error.text);
    }
}

/* With a configured audience a token must name it, as string or in an array. */
static void audience_is_checked_when_configured(void **state)
{
    static const struct {
        const char *aud;
        bool fits;
    } rows[] = {
        {",\"aud\":\"api\"", true}, {",\"aud\":[\"api\"]", true}, {",\"aud\":[7,\"web\",\"api\"]", true}, {"", false},
            {",\"aud\":\"apis\"", false},
        {",\"aud\":[]", false}, {",\"aud\":{\"api\":\"api\"}", false}, {",\"aud\":null", false},
            {",\"aud\":\"API\"", false},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct jwt_claims c;
        char *payload = arena_printf(&f->arena, "{" REST ",\"exp\":1700000060%s}", rows[i].aud);
        enum ficus_err err = jwt_check_claims(&f->arena, slice_str(payload), &rules_aud, NOW_MS, &c, &f->error);
        assert_int_equal(err, rows[i].fits ? FICUS_ERR_OK : FICUS_ERR_UNAUTHENTICATED);
        assert_int_equal(jwt_check_claims(&f->arena, slice_str(payload), &rules, NOW_MS, &c, &f->error), FICUS_ERR_OK);
    }
}

/* The whole way: a good token passes, and each way of being bad has its own end. */
static void whole_tokens(void **state)
{
    struct fixture *f = *state;
    static const char good[] = "{" REST ",\"exp\":1700000060,\"roles\":[\"customer\"]}";
    struct jws_key *key = key_of(f, "{" A3_PUBLIC ",\"d\":\"" A3_D "\"}");
    struct jwks *keys = NULL;
    struct jwt_claims c;
    assert_int_equal(jwks_parse(SLICE("{\"keys\":[{" A3_PUBLIC ",\"kid\":\"a\"},{" OTHER_PUBLIC ",\"kid\":\"b\"}]}"),
                                &keys, &f->error),
                     FICUS_ERR_OK);
    const struct {
        struct slice token;
        enum ficus_err err;
    } rows[] = {
        {sign(f, key, SLICE("a"), SLICE("JWT"), good), FICUS_ERR_OK},
        {sign(f, key, SLICE("a"), SLICE("application/at+JWT"), good), FICUS_ERR_OK},
        {sign(f, key, SLICE("a"), SLICE_NONE, good), FICUS_ERR_OK},
        {sign(f, key, SLICE("a"), SLICE("logout+jwt"), good), FICUS_ERR_UNAUTHENTICATED},
        {sign(f, key, SLICE("b"), SLICE("JWT"), good), FICUS_ERR_UNAUTHENTICATED},
        {sign(f, key, SLICE("c"), SLICE("JWT"), good), FICUS_ERR_NOT_FOUND},
        {sign(f, key, SLICE_NONE, SLICE("JWT"), good), FICUS_ERR_NOT_FOUND},
        {sign(f, key, SLICE("a"), SLICE("JWT"), "{" REST ",\"exp\":1600000000}"), FICUS_ERR_UNAUTHENTICATED},
        {SLICE("not.a.token"), FICUS_ERR_UNAUTHENTICATED},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_int_equal(jwt_verify(&f->arena, keys, rows[i].token, &rules, NOW_MS, &c, &f->error), rows[i].err);
    assert_int_equal(jwt_verify(&f->arena, keys, rows[0].token, &rules, NOW_MS, &c, &f->error), FICUS_ERR_OK);
    assert_true(jwt_has_role(&c, SLICE("customer")));
    jwks_free(keys);
    jws_key_free(key);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(claims_come_out), TEST(each_rule_refuses_at_its_border), TEST(audience_is_checked_when_configured),
            TEST(whole_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
