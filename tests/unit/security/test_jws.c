/* SPDX-License-Identifier: Apache-2.0
 *
 * Compact JWS against the examples of RFC 7515 and against forgeries.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mac.h"
#include "vectors.h"

#include <openssl/err.h>

/* The HS256 example of RFC 7515 A.1 verifies and gives its payload. */
static void rfc_hs256_verifies(void **state)
{
    struct fixture *f = *state;
    struct jws_key *key = key_of(f, A1_JWK);
    struct slice payload;
    assert_int_equal(verify(f, key, SLICE(A1_TOKEN), &payload), FICUS_ERR_OK);
    assert_true(slice_eq(payload, SLICE(JOE_PAYLOAD)));
    jws_key_free(key);
}

/* The ES256 example of RFC 7515 A.3 verifies and gives its payload. */
static void rfc_es256_verifies(void **state)
{
    struct fixture *f = *state;
    struct jws_key *key = key_of(f, "{" A3_PUBLIC "}");
    struct slice payload;
    assert_int_equal(jws_key_alg(key), JWS_ES256);
    assert_int_equal(verify(f, key, SLICE(A3_TOKEN), &payload), FICUS_ERR_OK);
    assert_true(slice_eq(payload, SLICE(JOE_PAYLOAD)));
    jws_key_free(key);
}

/* What a key signs it verifies, with kid and typ in the header; ES256 many times, since r and s vary in size. */
static void own_signatures_verify(void **state)
{
    struct fixture *f = *state;
    struct jws_key *keys[] = {key_of(f, A1_JWK), key_of(f, "{" A3_PUBLIC ",\"d\":\"" A3_D "\"}")};
    for (int i = 0; i < 600; i++) {
        char payload[32];
        snprintf(payload, sizeof payload, "{\"n\":%d}", i);
        struct slice token = sign(f, keys[i % 2], SLICE("k\"1"), SLICE("JWT"), payload), back;
        struct jws jws;
        assert_int_equal(jws_parse(&f->arena, token, &jws, &f->error), FICUS_ERR_OK);
        assert_true(slice_eq(jws.kid, SLICE("k\"1")) && slice_eq(jws.typ, SLICE("JWT")));
        assert_int_equal(jws_verify(&f->arena, &jws, keys[i % 2], &back, &f->error), FICUS_ERR_OK);
        assert_true(slice_eq_str(back, payload));
        arena_clear(&f->arena);
    }
    jws_key_free(keys[0]);
    jws_key_free(keys[1]);
}

/* No token with any single bit flipped verifies, and nothing stays in OpenSSL's queue of errors. */
static void any_flipped_bit_is_refused(void **state)
{
    struct fixture *f = *state;
    struct jws_key *keys[] = {key_of(f, A1_JWK), key_of(f, "{" A3_PUBLIC "}")};
    const struct slice tokens[] = {SLICE(A1_TOKEN), SLICE(A3_TOKEN)};
    for (int t = 0; t < 2; t++) {
        for (size_t bit = 0; bit < tokens[t].size * 8; bit++) {
            struct slice bent = arena_slice(&f->arena, tokens[t]), payload = SLICE_NONE;
            ((char *)(uintptr_t)bent.p)[bit / 8] ^= (char)(1 << bit % 8);
            assert_int_equal(verify(f, keys[t], bent, &payload), FICUS_ERR_UNAUTHENTICATED);
            assert_null(payload.p);
            assert_int_equal(ERR_peek_error(), 0);
            arena_clear(&f->arena);
        }
    }
    jws_key_free(keys[0]);
    jws_key_free(keys[1]);
}

/* No proper prefix of a token, and no token with something behind it, verifies. */
static void truncated_and_extended_are_refused(void **state)
{
    struct fixture *f = *state;
    struct jws_key *keys[] = {key_of(f, A1_JWK), key_of(f, "{" A3_PUBLIC "}")};
    const char *const tokens[] = {A1_TOKEN, A3_TOKEN};
    static const char *const tails[] = {"=", "A", "AAAA", ".", ".e30", " ", "\n"};
    struct slice payload;
    for (int t = 0; t < 2; t++) {
        for (size_t size = 0; size < strlen(tokens[t]); size++) {
            assert_int_equal(verify(f, keys[t], slice_make(tokens[t], size), &payload), FICUS_ERR_UNAUTHENTICATED);
            arena_clear(&f->arena);
        }
        for (size_t i = 0; i < ARRAY_COUNT(tails); i++) {
            const char *longer = arena_printf(&f->arena, "%s%s", tokens[t], tails[i]);
            assert_int_equal(verify(f, keys[t], slice_str(longer), &payload), FICUS_ERR_UNAUTHENTICATED);
        }
    }
    jws_key_free(keys[0]);
    jws_key_free(keys[1]);
}

/* HMAC over any header under a secret that the forger knows. */
static struct slice forge(struct fixture *f, const char *header, const char *payload, struct slice secret)
{
    struct buf b;
    struct mac mac = {0};
    struct mac_run run;
    uint8_t signature[MAC_SIZE];
    buf_init(&b, 16384);
    text_base64url(&b, header, strlen(header));
    buf_add_char(&b, '.');
    text_base64url(&b, payload, strlen(payload));
    assert_true(mac_init(&mac, secret));
    mac_begin(&run, &mac);
    mac_add(&run, buf_slice(&b));
    assert_true(mac_end(&run, signature));
    mac_done(&mac);
    buf_add_char(&b, '.');
    text_base64url(&b, signature, sizeof signature);
    struct slice token = arena_slice(&f->arena, buf_slice(&b));
    buf_done(&b);
    return token;
}

/* The classic confusion: a token HMACed with the public key's bytes, saying HS256, is not accepted by the EC key; nor
 * is an honest HS256 token by an EC key or the reverse. */
static void the_key_fixes_the_algorithm(void **state)
{
    struct fixture *f = *state;
    struct jws_key *hmac = key_of(f, A1_JWK), *ec = key_of(f, "{" A3_PUBLIC "}");
    struct slice x, payload;
    assert_true(text_base64url_decode(&f->arena, SLICE(A3_X), &x));
    assert_int_equal(verify(f, ec, forge(f, "{\"alg\":\"HS256\"}", "{}", x), &payload), FICUS_ERR_UNAUTHENTICATED);
    assert_non_null(strstr(f->error.text, "\"alg\" is \"HS256\", but the key is for ES256"));
    assert_int_equal(verify(f, ec, forge(f, "{\"alg\":\"ES256\"}", "{}", x), &payload), FICUS_ERR_UNAUTHENTICATED);
    assert_int_equal(verify(f, ec, SLICE(A1_TOKEN), &payload), FICUS_ERR_UNAUTHENTICATED);
    assert_int_equal(verify(f, hmac, SLICE(A3_TOKEN), &payload), FICUS_ERR_UNAUTHENTICATED);
    jws_key_free(hmac);
    jws_key_free(ec);
}

#define DIGITS "0123456789012345678901234567890123456789012345678901234567890123" /* 64 */

/* A header is refused for what it says even under a right signature: none in any spelling, crit, wrong types, doubled
 * members. */
static void bad_headers_are_refused(void **state)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\"}", "{\"alg\":\"None\"}", "{\"alg\":\"hs256\"}", "{\"alg\":\"HS512\"}", "{\"alg\":\"\"}",
            "{}", "[]", "\"HS256\"",
        "null", "", "{\"alg\":\"HS256\"", "{\"alg\":[\"HS256\"]}", "{\"alg\":null}", "{\"alg\":256}",
        "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", "{\"alg\":\"HS256\",\"crit\":[]}",
            "{\"alg\":\"HS256\",\"crit\":null}",
        "{\"alg\":\"HS256\",\"b64\":false,\"crit\":[\"b64\"]}", "{\"alg\":\"HS256\",\"kid\":7}",
            "{\"alg\":\"HS256\",\"typ\":{}}",
        "{\"alg\":\"none\",\"alg\":\"HS256\"}", "{\"alg\":\"HS256\",\"al\\u0067\":\"HS256\"}", "{\"alg\":\"HS256\"} x",
        "{\"alg\":\"HS256\",\"kid\":\"" DIGITS DIGITS "012345678\"}",
    };
    struct fixture *f = *state;
    static const char secret[] = "0123456789abcdef0123456789abcdef";
    struct jws_key *key = NULL;
    struct slice payload;
    assert_int_equal(jws_key_hmac(SLICE(secret), &key, &f->error), FICUS_ERR_OK);
    assert_int_equal(verify(f, key, forge(f, "{\"alg\":\"HS256\",\"kid\":\"a\",\"x\":[1]}", "{}", SLICE(secret)),
                            &payload), FICUS_ERR_OK);
    for (size_t i = 0; i < ARRAY_COUNT(headers); i++) {
        if (verify(f, key, forge(f, headers[i], "{}", SLICE(secret)), &payload) != FICUS_ERR_UNAUTHENTICATED)
            fail_msg("accepted: %s", headers[i]);
        assert_true(f->error.text[0] != '\0');
    }
    assert_int_equal(verify(f, key, SLICE("eyJhbGciOiJub25lIn0.e30."), &payload), FICUS_ERR_UNAUTHENTICATED);
    jws_key_free(key);
}

/* Over 8 KiB a token is refused unread, and the signer does not make one. */
static void size_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct jws_key *key = key_of(f, A1_JWK);
    char *big = arena_alloc(&f->arena, 9000);
    struct slice payload;
    struct buf out;
    memset(big, 'A', 9000);
    assert_int_equal(verify(f, key, slice_make(big, 9000), &payload), FICUS_ERR_UNAUTHENTICATED);
    assert_string_equal(f->error.text, "the token is too large");
    buf_init(&out, 32768);
    assert_true(buf_add_str(&out, "before"));
    assert_int_equal(jws_sign(key, SLICE_NONE, SLICE_NONE, slice_make(big, 6200), &out, &f->error),
                     FICUS_ERR_TOO_LARGE);
    assert_int_equal(jws_sign(key, SLICE_NONE, SLICE_NONE, slice_make(big, 9000), &out, &f->error),
                     FICUS_ERR_TOO_LARGE);
    assert_string_equal(buf_str(&out), "before");
    assert_int_equal(jws_sign(key, SLICE_NONE, SLICE_NONE, slice_make(big, 6000), &out, &f->error), FICUS_ERR_OK);
    assert_int_equal(verify(f, key, slice_from(buf_slice(&out), 6), &payload), FICUS_ERR_OK);
    assert_int_equal(payload.size, 6000);
    buf_done(&out);
    jws_key_free(key);
}

/* An ES256 signature whose r or s is 0 or not below the order of the group is refused, not an internal error. */
static void es256_numbers_out_of_range_are_refused(void **state)
{
    struct fixture *f = *state;
    struct jws_key *key = key_of(f, "{" A3_PUBLIC "}");
    for (int mask = 0; mask < 4; mask++) {
        uint8_t signature[64];
        struct slice payload;
        struct buf b;
        memset(signature, mask & 1 ? 0xff : 0, 32);
        memset(signature + 32, mask & 2 ? 0xff : 0, 32);
        buf_init(&b, 1024);
        buf_add_str(&b, "eyJhbGciOiJFUzI1NiJ9.e30.");
        text_base64url(&b, signature, sizeof signature);
        assert_int_equal(verify(f, key, buf_slice(&b), &payload), FICUS_ERR_UNAUTHENTICATED);
        assert_int_equal(ERR_peek_error(), 0);
        buf_done(&b);
    }
    jws_key_free(key);
}

/* A public key cannot sign, and says so. */
static void public_keys_do_not_sign(void **state)
{
    struct fixture *f = *state;
    struct jws_key *key = key_of(f, "{" A3_PUBLIC "}");
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(jws_sign(key, SLICE_NONE, SLICE_NONE, SLICE("{}"), &out, &f->error), FICUS_ERR_INVALID);
    buf_done(&out);
    jws_key_free(key);
}

/* Keys that are no keys are refused with the right code: off the curve, wrong sizes, short secrets, foreign kinds. */
static void bad_jwks_are_refused(void **state)
{
    static const struct {
        const char *jwk;
        enum ficus_err err;
    } rows[] = {
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" A3_X "\",\"y\":\"" A3_X "\"}", FICUS_ERR_INVALID},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
         "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", FICUS_ERR_INVALID},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"__________________________________________8\",\"y\":\"" A3_Y "\"}",
         FICUS_ERR_INVALID},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" A3_X "\"}", FICUS_ERR_INVALID},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" A3_X "\",\"y\":7}", FICUS_ERR_INVALID},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" A3_X "=\",\"y\":\"" A3_Y "\"}", FICUS_ERR_INVALID},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"" A3_Y "\"}", FICUS_ERR_INVALID},
        {"{" OTHER_PUBLIC ",\"d\":\"" A3_D "\"}", FICUS_ERR_INVALID},
        {"{" A3_PUBLIC ",\"alg\":\"HS256\"}", FICUS_ERR_INVALID},
        {"{" A3_PUBLIC ",\"alg\":null}", FICUS_ERR_INVALID},
        {"{" A3_PUBLIC ",\"use\":\"enc\"}", FICUS_ERR_INVALID},
        {"{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" A3_X "\",\"y\":\"" A3_Y "\"}", FICUS_ERR_UNSUPPORTED},
        {"{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", FICUS_ERR_UNSUPPORTED},
        {"{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}", FICUS_ERR_INVALID},
        {"{\"kty\":\"oct\"}", FICUS_ERR_INVALID},
        {"{\"kty\":7}", FICUS_ERR_INVALID},
        {"{}", FICUS_ERR_INVALID},
        {"[]", FICUS_ERR_INVALID},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct json *json = NULL;
        struct jws_key *key = NULL;
        assert_int_equal(json_parse(&f->arena, slice_str(rows[i].jwk), NULL, &json, &f->error), FICUS_ERR_OK);
        if (jws_key_from_jwk(json, &key, &f->error) != rows[i].err)
            fail_msg("%s: %s", rows[i].jwk, f->error.text);
        assert_null(key);
        assert_int_equal(ERR_peek_error(), 0);
    }
}

/* When the arena is full the answer is NOMEM, not "forged". */
static void a_full_arena_is_not_a_forgery(void **state)
{
    struct fixture *f = *state;
    struct jws_key *key = key_of(f, A1_JWK);
    struct slice payload;
    bool starved = false;
    for (size_t size = 0; size < 4096; size += 16) {
        struct arena small;
        struct jws jws;
        arena_init(&small, size);
        enum ficus_err err = jws_parse(&small, SLICE(A1_TOKEN), &jws, &f->error);
        if (err == FICUS_ERR_OK)
            err = jws_verify(&small, &jws, key, &payload, &f->error);
        arena_done(&small);
        assert_true(err == FICUS_ERR_NOMEM || err == FICUS_ERR_OK);
        starved = starved || err == FICUS_ERR_NOMEM;
    }
    assert_true(starved);
    jws_key_free(key);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(rfc_hs256_verifies), TEST(rfc_es256_verifies), TEST(own_signatures_verify),
            TEST(any_flipped_bit_is_refused),
        TEST(truncated_and_extended_are_refused), TEST(the_key_fixes_the_algorithm), TEST(bad_headers_are_refused),
        TEST(size_is_bounded), TEST(es256_numbers_out_of_range_are_refused), TEST(public_keys_do_not_sign),
        TEST(bad_jwks_are_refused), TEST(a_full_arena_is_not_a_forgery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
