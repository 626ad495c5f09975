/* SPDX-License-Identifier: Apache-2.0
 *
 * Which entries of a JWKS are kept, skipped or make it refused, and how a key is found.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "vectors.h"

static struct jwks *set_of(struct fixture *f, const char *text)
{
    struct jwks *set = NULL;
    if (jwks_parse(slice_str(text), &set, &f->error) != FICUS_ERR_OK)
        fail_msg("%s", f->error.text);
    return set;
}

/* A key is found by its kid only; without a kid only when there is no choice. */
static void found_by_kid(void **state)
{
    struct fixture *f = *state;
    struct jwks *two = set_of(f, "{\"keys\":[{" A3_PUBLIC ",\"kid\":\"a\"},{" OTHER_PUBLIC ",\"kid\":\"b\"}]}");
    assert_int_equal(jwks_count(two), 2);
    assert_non_null(jwks_find(two, SLICE("a")));
    assert_non_null(jwks_find(two, SLICE("b")));
    assert_ptr_not_equal(jwks_find(two, SLICE("a")), jwks_find(two, SLICE("b")));
    assert_null(jwks_find(two, SLICE("c")));
    assert_null(jwks_find(two, SLICE("")));
    assert_null(jwks_find(two, SLICE_NONE));
    jwks_free(two);
    struct jwks *one = set_of(f, "{\"keys\":[{" A3_PUBLIC "}]}");
    assert_non_null(jwks_find(one, SLICE_NONE));
    assert_null(jwks_find(one, SLICE("a")));
    jwks_free(one);
}

/* The token of RFC 7515 A.3 verifies with the key that the set gives. */
static void found_key_verifies(void **state)
{
    struct fixture *f = *state;
    struct jwks *set = set_of(f, "{\"keys\":[{" OTHER_PUBLIC ",\"kid\":\"b\"},{" A3_PUBLIC
                                 ",\"kid\":\"a\",\"alg\":\"ES256\",\"use\":\"sig\",\"key_ops\":[\"verify\"]}],"
                                 "\"more\":1}");
    struct slice payload;
    assert_int_equal(verify(f, jwks_find(set, SLICE("a")), SLICE(A3_TOKEN), &payload), FICUS_ERR_OK);
    assert_int_equal(verify(f, jwks_find(set, SLICE("b")), SLICE(A3_TOKEN), &payload), FICUS_ERR_UNAUTHENTICATED);
    jwks_free(set);
}

/* Unusable, malformed and secret entries are skipped and counted; the good one beside them stays. */
static void unusable_entries_are_skipped(void **state)
{
    static const char *const entries[] = {
        "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}",
            "{" OTHER_PUBLIC ",\"use\":\"enc\"}",
        "{" OTHER_PUBLIC ",\"alg\":\"ECDH-ES\"}", "{" OTHER_PUBLIC ",\"key_ops\":[\"sign\"]}",
            "{" OTHER_PUBLIC ",\"key_ops\":\"verify\"}", A1_JWK,
        "{" A3_PUBLIC ",\"d\":\"" A3_D "\"}",
            "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" A3_X "\",\"y\":\"" A3_X "\"}", "7", "null",
        "{" OTHER_PUBLIC ",\"kid\":\"\"}", "{" OTHER_PUBLIC ",\"kid\":7}", "{" OTHER_PUBLIC ",\"kid\":\"a\\u0000b\"}",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(entries); i++) {
        char *text = arena_printf(&f->arena, "{\"keys\":[%s,{" A3_PUBLIC ",\"kid\":\"good\"}]}", entries[i]);
        struct jwks *set = set_of(f, text), *none = NULL;
        if (jwks_count(set) != 1 || jwks_skipped(set) != 1)
            fail_msg("kept: %s", entries[i]);
        assert_non_null(jwks_find(set, SLICE("good")));
        jwks_free(set);
        text = arena_printf(&f->arena, "{\"keys\":[%s]}", entries[i]);
        assert_int_equal(jwks_parse(slice_str(text), &none, &f->error), FICUS_ERR_INVALID);
        assert_null(none);
    }
}

/* What is no key set, or not a definite one, is refused as a whole. */
static void bad_documents_are_refused(void **state)
{
    static const char *const texts[] = {
        "", "null", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "{\"keys\":[{" A3_PUBLIC "}]",
            "{\"keys\":[],\"keys\":[{" A3_PUBLIC "}]}",
        "{\"keys\":[{" A3_PUBLIC ",\"kid\":\"a\"},{" OTHER_PUBLIC ",\"kid\":\"a\"}]}",
    };
    struct fixture *f = *state;
    struct jwks *set = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        if (jwks_parse(slice_str(texts[i]), &set, &f->error) == FICUS_ERR_OK)
            fail_msg("accepted: %s", texts[i]);
        assert_true(f->error.text[0] != '\0');
    }
    assert_null(set);
}

/* 32 keys are read, a 33rd makes the set too large. */
static void count_is_bounded(void **state)
{
    struct fixture *f = *state;
    for (int count = JWKS_KEYS_MAX; count <= JWKS_KEYS_MAX + 1; count++) {
        struct jwks *set = NULL;
        struct buf b;
        buf_init(&b, JWKS_TEXT_SIZE_MAX);
        buf_add_str(&b, "{\"keys\":[");
        for (int i = 0; i < count; i++)
            buf_printf(&b, "%s{" A3_PUBLIC ",\"kid\":\"k%d\"}", i > 0 ? "," : "", i);
        buf_add_str(&b, "]}");
        enum ficus_err err = jwks_parse(buf_slice(&b), &set, &f->error);
        assert_int_equal(err, count == JWKS_KEYS_MAX ? FICUS_ERR_OK : FICUS_ERR_TOO_LARGE);
        jwks_free(set);
        buf_done(&b);
    }
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(found_by_kid), TEST(found_key_verifies), TEST(unusable_entries_are_skipped),
            TEST(bad_documents_are_refused),
        TEST(count_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
