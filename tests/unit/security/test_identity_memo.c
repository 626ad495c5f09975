/* SPDX-License-Identifier: Apache-2.0
 *
 * Remembered identities: the same token for the same claims and for nobody else, and never one that is old.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "identity_memo.h"
#include "vectors.h"

#include <stdio.h>

#define NOW_MS INT64_C(1700000000999)
#define KEY_HEX "0102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"

static const struct slice roles[] = {{"admin", 5}, {"clerk", 5}, {"adminclerk", 10}};
static const struct identity_claims example = {
    .issuer = {"gateway", 7}, .audience = {"orders", 6}, .subject = {"u1", 2}, .roles = roles, .role_count = 1};

struct world {
    struct system_key *key;
    struct identity_memo memo;
};

static struct world world_new(struct fixture *f)
{
    struct world w = {0};
    static const uint64_t seed[2] = {1, 2};
    if (system_key_from_hex(slice_str(KEY_HEX), &w.key, &f->error) != FICUS_ERR_OK)
        fail_msg("%s", f->error.text);
    identity_memo_init(&w.memo, seed);
    return w;
}

static void world_free(struct world *w)
{
    identity_memo_done(&w->memo);
    system_key_free(w->key);
}

/* The token, copied to where it stays. */
static const char *made(struct fixture *f, struct world *w, const struct identity_claims *c, int64_t wall_ms)
{
    struct slice token;
    assert_int_equal(identity_memo_make(&w->memo, w->key, &f->arena, c, wall_ms, &token, &f->error), FICUS_ERR_OK);
    return arena_strdup(&f->arena, token);
}

/* For IDENTITY_MEMO_REUSE_MS the same token is handed out, and not a millisecond longer, nor before it was made. */
static void reused_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct world w = world_new(f);
    const char *first = made(f, &w, &example, NOW_MS);
    assert_string_equal(made(f, &w, &example, NOW_MS + IDENTITY_MEMO_REUSE_MS - 1), first);
    const char *second = made(f, &w, &example, NOW_MS + IDENTITY_MEMO_REUSE_MS);
    assert_string_not_equal(second, first);
    assert_string_not_equal(made(f, &w, &example, NOW_MS - 5000), second);
    world_free(&w);
}

/* What a receiver checks stays true for every token that is handed out: it has at least two thirds of its life. */
static void always_valid_at_the_receiver(void **state)
{
    struct fixture *f = *state;
    struct world w = world_new(f);
    for (int64_t ms = 0; ms < 3 * IDENTITY_MEMO_REUSE_MS; ms += 997) {
        struct identity_claims c;
        const char *token = made(f, &w, &example, NOW_MS + ms);
        assert_int_equal(identity_check(w.key, slice_str(token), example.audience, NOW_MS + ms, &f->arena, &c, &f->error),
                         FICUS_ERR_OK);
        assert_true(c.expires_s * 1000 - (NOW_MS + ms) >= IDENTITY_LIFE_S_MAX * 1000 - IDENTITY_MEMO_REUSE_MS - 1000);
        assert_true(slice_eq(c.subject, example.subject) && c.role_count == 1);
        arena_clear(&f->arena);
    }
    world_free(&w);
}

/* Each different issuer, audience, subject or row of roles has a token of its own, also when the letters run together. */
static void never_for_somebody_else(void **state)
{
    struct fixture *f = *state;
    struct world w = world_new(f);
    struct identity_claims others[] = {example, example, example, example, example, example, example};
    others[0].issuer = SLICE("gatewayo");
    others[1].audience = SLICE("rders");
    others[2].subject = SLICE("u2");
    others[3].subject = SLICE_NONE;
    others[4].role_count = 2;
    others[5].roles = roles + 2;
    others[6].role_count = 0;
    for (int round = 0; round < 2; round++) {
        (void)made(f, &w, &example, NOW_MS);
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            struct identity_claims c;
            const char *token = made(f, &w, &others[i], NOW_MS);
            assert_int_equal(
                identity_check(w.key, slice_str(token), others[i].audience, NOW_MS, &f->arena, &c, &f->error), FICUS_ERR_OK);
            assert_true(slice_eq(c.issuer, others[i].issuer) && slice_eq(c.subject, others[i].subject));
            assert_int_equal(c.role_count, others[i].role_count);
            for (size_t k = 0; k < c.role_count; k++)
                assert_true(slice_eq(c.roles[k], others[i].roles[k]));
        }
    }
    world_free(&w);
}

/* More users than places: what is pushed out is signed anew, and every token is its user's. */
static void more_users_than_places(void **state)
{
    struct fixture *f = *state;
    struct world w = world_new(f);
    for (int i = 0; i < 4 * IDENTITY_MEMO_MAX; i++) {
        char name[16];
        struct identity_claims c, claims = example;
        claims.subject = slice_make(name, (size_t)snprintf(name, sizeof name, "user-%d", i % 700));
        const char *token = made(f, &w, &claims, NOW_MS);
        assert_int_equal(identity_check(w.key, slice_str(token), claims.audience, NOW_MS, &f->arena, &c, &f->error),
                         FICUS_ERR_OK);
        assert_true(slice_eq(c.subject, claims.subject));
        arena_clear(&f->arena);
    }
    world_free(&w);
}

/* What cannot be remembered is judged as identity_make does: an empty user is refused, long names are signed each time. */
static void what_does_not_fit(void **state)
{
    struct fixture *f = *state;
    struct world w = world_new(f);
    struct identity_claims c = example;
    struct slice token;
    c.subject = SLICE_NONE;
    (void)made(f, &w, &c, NOW_MS);
    c.subject = SLICE("");
    assert_int_equal(identity_memo_make(&w.memo, w.key, &f->arena, &c, NOW_MS, &token, &f->error), FICUS_ERR_INVALID);
    struct slice many[IDENTITY_ROLES_MAX];
    char name[IDENTITY_NAME_SIZE_MAX];
    memset(name, 'r', sizeof name);
    for (size_t i = 0; i < IDENTITY_ROLES_MAX; i++)
        many[i] = slice_make(name, sizeof name);
    c = example;
    c.roles = many;
    c.role_count = IDENTITY_ROLES_MAX;
    const char *first = made(f, &w, &c, NOW_MS);
    assert_string_not_equal(made(f, &w, &c, NOW_MS + 1000), first);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reused_for_a_while, setup, teardown),
        cmocka_unit_test_setup_teardown(always_valid_at_the_receiver, setup, teardown),
        cmocka_unit_test_setup_teardown(never_for_somebody_else, setup, teardown),
        cmocka_unit_test_setup_teardown(more_users_than_places, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
