/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal identities and keyed hashes, against values computed with Python's hmac and hashlib.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "identity.h"
#include "sha256.h"
#include "vectors.h"

#define NOW_MS INT64_C(1700000000999)
#define KEY_HEX "0102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
/* key 0x01..0x20; iat 1700000000, exp 1700000060, iss gateway, aud orders, sub u1, roles [admin] */
#define PYTHON_TOKEN \
    "eyJhbGciOiJIUzI1NiJ9."                                                                        \
    "eyJpc3MiOiJnYXRld2F5IiwiYXVkIjoib3JkZXJzIiwic3ViIjoidTEiLCJyb2xlcyI6WyJhZG1pbiJdLCJp" \
    "YXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMDA2MH0.7ZJCS6YKsr1iJTbALyyJa8CI4P7IPH6tIXl8DZe9nzM"

static const struct slice one_role[] = {{"admin", 5}};
static const struct identity_claims example = {
    .issuer = {"gateway", 7}, .audience = {"orders", 6}, .subject = {"u1", 2}, .roles = one_role, .role_count = 1};

static struct system_key *key_from(struct fixture *f, const char *hex)
{
    struct system_key *key = NULL;
    if (system_key_from_hex(slice_str(hex), &key, &f->error) != FICUS_ERR_OK)
        fail_msg("%s", f->error.text);
    return key;
}

static enum ficus_err check(struct fixture *f, const struct system_key *key, struct slice token, const char *aud,
                            int64_t wall_ms)
{
    struct identity_claims c;
    return identity_check(key, token, slice_str(aud), wall_ms, &f->arena, &c, &f->error);
}

/* The token made is, byte for byte, the one that another implementation makes, and it reads back. */
static void made_as_others_make_it(void **state)
{
    struct fixture *f = *state;
    struct system_key *key = key_from(f, KEY_HEX "\n");
    struct slice token;
    struct identity_claims c;
    assert_int_equal(identity_make(key, &f->arena, &example, NOW_MS, &token, &f->error), FICUS_ERR_OK);
    assert_string_equal(arena_strdup(&f->arena, token), PYTHON_TOKEN);
    assert_int_equal(identity_check(key, token, SLICE("orders"), NOW_MS, &f->arena, &c, &f->error), FICUS_ERR_OK);
    assert_true(slice_eq(c.issuer, SLICE("gateway")) && slice_eq(c.audience, SLICE("orders")) &&
                slice_eq(c.subject, SLICE("u1")));
    assert_true(c.role_count == 1 && identity_has_role(&c, SLICE("admin")) && !identity_has_role(&c, SLICE("admi")));
    assert_int_equal(c.expires_s - c.issued_s, IDENTITY_LIFE_S_MAX);
    system_key_free(key);
}

/* A call without a user has no sub, not an empty one. */
static void without_user(void **state)
{
    struct fixture *f = *state;
    struct system_key *key = key_from(f, KEY_HEX);
    struct identity_claims c, in = {.issuer = SLICE("hub"), .audience = SLICE("orders")};
    struct slice token;
    assert_int_equal(identity_make(key, &f->arena, &in, NOW_MS, &token, &f->error), FICUS_ERR_OK);
    assert_int_equal(identity_check(key, token, SLICE("orders"), NOW_MS, &f->arena, &c, &f->error), FICUS_ERR_OK);
    assert_null(c.subject.p);
    assert_int_equal(c.role_count, 0);
    system_key_free(key);
}

/* It is valid from 5 s before it was made until 65 s after, and not a second longer. */
static void life_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct system_key *key = key_from(f, KEY_HEX);
    const struct slice token = SLICE(PYTHON_TOKEN);
    assert_int_equal(check(f, key, token, "orders", INT64_C(1699999995000)), FICUS_ERR_OK);
    assert_int_equal(check(f, key, token, "orders", INT64_C(1699999994999)), FICUS_ERR_UNAUTHENTICATED);
    assert_int_equal(check(f, key, token, "orders", INT64_C(1700000064999)), FICUS_ERR_OK);
    assert_int_equal(check(f, key, token, "orders", INT64_C(1700000065000)), FICUS_ERR_UNAUTHENTICATED);
    system_key_free(key);
}

/* Another audience, another key, a flipped bit, nothing at all: refused, with a reason. */
static void strangers_are_refused(void **state)
{
    struct fixture *f = *state;
    struct system_key *key = key_from(f, KEY_HEX),
        *other = key_from(f, "ff" "02030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
    const struct slice token = SLICE(PYTHON_TOKEN);
    assert_int_equal(check(f, key, token, "payments", NOW_MS), FICUS_ERR_UNAUTHENTICATED);
    assert_string_equal(f->error.text, "identity: made for \"orders\"");
    assert_int_equal(check(f, key, token, "", NOW_MS), FICUS_ERR_UNAUTHENTICATED);
    assert_int_equal(check(f, other, token, "orders", NOW_MS), FICUS_ERR_UNAUTHENTICATED);
    assert_int_equal(check(f, key, SLICE_NONE, "orders", NOW_MS), FICUS_ERR_UNAUTHENTICATED);
    assert_int_equal(check(f, key, SLICE(A3_TOKEN), "orders", NOW_MS), FICUS_ERR_UNAUTHENTICATED);
    assert_int_equal(check(f, key, SLICE("eyJhbGciOiJub25lIn0.e30."), "orders", NOW_MS), FICUS_ERR_UNAUTHENTICATED);
    for (size_t bit = 0; bit < token.size * 8; bit++) {
        struct slice bent = arena_slice(&f->arena, token);
        ((char *)(uintptr_t)bent.p)[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(check(f, key, bent, "orders", NOW_MS), FICUS_ERR_UNAUTHENTICATED);
        arena_clear(&f->arena);
    }
    system_key_free(key);
    system_key_free(other);
}

/* Under the right key, but not what the rules say: life over a minute, none, backwards, claims missing or of a wrong
 * type. */
static void rules_bind_members_too(void **state)
{
    static const struct {
        const char *payload;
        bool good;
    } rows[] = {
        {"{\"iss\":\"a\",\"aud\":\"b\",\"iat\":1700000000,\"exp\":1700000060}", true},
        {"{\"iss\":\"a\",\"aud\":\"b\",\"iat\":1700000000,\"exp\":1700000061}", false},
        {"{\"iss\":\"a\",\"aud\":\"b\",\"iat\":1700000000,\"exp\":1700000000}", false},
        {"{\"iss\":\"a\",\"aud\":\"b\",\"iat\":1700000060,\"exp\":1700000000}", false},
        {"{\"iss\":\"a\",\"aud\":\"b\",\"exp\":1700000060}", false},
        {"{\"iss\":\"a\",\"aud\":\"b\",\"iat\":1700000000}", false},
        {"{\"iss\":\"a\",\"aud\":[\"b\"],\"iat\":1700000000,\"exp\":1700000060}", false},
        {"{\"aud\":\"b\",\"iat\":1700000000,\"exp\":1700000060}", false},
        {"{\"iss\":\"a\",\"iat\":1700000000,\"exp\":1700000060}", false},
        {"{\"iss\":\"a\",\"aud\":\"b\",\"sub\":\"\",\"iat\":1700000000,\"exp\":1700000060}", false},
        {"{\"iss\":\"a\",\"aud\":\"b\",\"roles\":{},\"iat\":1700000000,\"exp\":1700000060}", false},
        {"\"x\"", false},
    };
    struct fixture *f = *state;
    struct system_key *key = key_from(f, KEY_HEX);
    struct jws_key *raw = key_of(f, "{\"kty\":\"oct\",\"k\":\"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA\"}");
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slice token = sign(f, raw, SLICE_NONE, SLICE_NONE, rows[i].payload);
        if (check(f, key, token, "b", NOW_MS) != (rows[i].good ? FICUS_ERR_OK : FICUS_ERR_UNAUTHENTICATED))
            fail_msg("%s: %s", rows[i].payload, f->error.text);
    }
    jws_key_free(raw);
    system_key_free(key);
}

/* Names that could break a log, a header or a bound are not signed. */
static void bad_names_are_not_signed(void **state)
{
    struct fixture *f = *state;
    struct system_key *key = key_from(f, KEY_HEX);
    struct slice token, roles[IDENTITY_ROLES_MAX + 1],
        longest = {arena_zalloc(&f->arena, 256), IDENTITY_NAME_SIZE_MAX + 1};
    const struct slice bad[] = {SLICE_NONE, SLICE(""), SLICE("a\nb"), SLICE("a\0b"), SLICE("\xff"), longest};
    memset((char *)(uintptr_t)longest.p, 'x', longest.size);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct identity_claims c = example;
        c.issuer = bad[i];
        assert_int_equal(identity_make(key, &f->arena, &c, NOW_MS, &token, &f->error), FICUS_ERR_INVALID);
        c = example;
        c.roles = &bad[i];
        assert_int_equal(identity_make(key, &f->arena, &c, NOW_MS, &token, &f->error), FICUS_ERR_INVALID);
    }
    struct identity_claims c = example;
    for (size_t i = 0; i < ARRAY_COUNT(roles); i++)
        roles[i] = SLICE("r");
    c.roles = roles;
    c.role_count = IDENTITY_ROLES_MAX;
    assert_int_equal(identity_make(key, &f->arena, &c, NOW_MS, &token, &f->error), FICUS_ERR_OK);
    assert_int_equal(check(f, key, token, "orders", NOW_MS), FICUS_ERR_OK);
    c.role_count++;
    assert_int_equal(identity_make(key, &f->arena, &c, NOW_MS, &token, &f->error), FICUS_ERR_INVALID);
    system_key_free(key);
}

/* Only 32 bytes, or 64 hex digits and at most one newline, and not all zero, make a system key. */
static void system_keys_are_whole(void **state)
{
    static const char *const bad[] = {
        "", "01", KEY_HEX "00", KEY_HEX "\n\n", KEY_HEX " ",
            "g102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
        "0000000000000000000000000000000000000000000000000000000000000000",
    };
    struct fixture *f = *state;
    struct system_key *key = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(system_key_from_hex(slice_str(bad[i]), &key, &f->error), FICUS_ERR_INVALID);
    assert_int_equal(system_key_from_bytes(slice_make("0123456789abcdef0123456789abcde", 31), &key, &f->error),
                     FICUS_ERR_INVALID);
    assert_null(key);
    assert_int_equal(system_key_from_bytes(slice_make("0123456789abcdef0123456789abcdef", 32), &key, &f->error),
                     FICUS_ERR_OK);
    system_key_free(key);
}

/* The keyed hash is the framed HMAC, and every change of key, label, part or border changes it. */
static void keyed_hashes_differ(void **state)
{
    struct fixture *f = *state;
    struct system_key *key = key_from(f, KEY_HEX);
    const struct slice parts[] = {SLICE("POST /v1/orders"), SLICE("{\"a\":1}")},
        moved[] = {SLICE("POST /v1/orders{"), SLICE("\"a\":1}")};
    uint8_t hash[KEYED_HASH_SIZE], other[KEYED_HASH_SIZE];
    struct buf hex;
    buf_init(&hex, 100);
    assert_int_equal(keyed_hash(key, "idempotency", parts, 2, hash), FICUS_ERR_OK);
    text_hex(&hex, hash, sizeof hash);
    assert_string_equal(buf_str(&hex), "29151183c6bfa1c4a719e2a8de3b6392df2870b301671b37685ce5f1109a1a80");
    buf_done(&hex);
    assert_int_equal(keyed_hash(key, "idempotency", moved, 2, other), FICUS_ERR_OK);
    assert_memory_not_equal(hash, other, sizeof hash);
    assert_int_equal(keyed_hash(key, "idempotencx", parts, 2, other), FICUS_ERR_OK);
    assert_memory_not_equal(hash, other, sizeof hash);
    assert_int_equal(keyed_hash(key, "idempotency", parts, 1, other), FICUS_ERR_OK);
    assert_memory_not_equal(hash, other, sizeof hash);
    system_key_free(key);
}

/* SHA-256 of FIPS 180-4's example and of nothing. */
static void sha256_known_answers(void **state)
{
    char text[SHA256_HEX_SIZE];
    assert_true(sha256_hex(SLICE("abc"), text));
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(sha256_hex(SLICE(""), text));
    assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(made_as_others_make_it), TEST(without_user), TEST(life_is_bounded), TEST(strangers_are_refused),
            TEST(rules_bind_members_too),
        TEST(bad_names_are_not_signed), TEST(system_keys_are_whole), TEST(keyed_hashes_differ),
            TEST(sha256_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
