/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys and tokens over time, in virtual time: when keys are asked for, and that a remembered token dies with its time
 * or its key.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "virtual_rig.h"

#define RIG_EC_PRIVATE "{" RIG_EC ",\"d\":\"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI\"}"

/* "Bearer TOKEN", to be freed. */
static char *token_for(struct rig *r, const char *kid, const char *roles, int life_s)
{
    struct jws_key *key = NULL;
    struct json *jwk = NULL;
    struct arena a;
    struct buf token;
    arena_init(&a, 64 * 1024);
    assert_int_equal(json_parse(&a, SLICE(RIG_EC_PRIVATE), NULL, &jwk, NULL), FICUS_ERR_OK);
    assert_int_equal(jws_key_from_jwk(jwk, &key, NULL), FICUS_ERR_OK);
    long long now_s = env_wall_ms(r->e) / 1000;
    char *payload = arena_printf(&a, "{\"iss\":\"shop\",\"sub\":\"u-1\",\"roles\":[%s],\"iat\":%lld,\"exp\":%lld}",
                                 roles, now_s, now_s + life_s);
    buf_init(&token, JWS_TOKEN_SIZE_MAX);
    assert_true(buf_add_str(&token, "Bearer "));
    assert_int_equal(jws_sign(key, slice_str(kid), SLICE("JWT"), slice_str(payload), &token, NULL), FICUS_ERR_OK);
    jws_key_free(key);
    arena_done(&a);
    return buf_steal(&token);
}

static int ask_as(struct rig *r, const char *token)
{
    struct page p;
    page_open_as(r, &p, "/mine/short", token);
    crash_env_run_ms(r->ce, PROXY_KEYS_WAIT_MS + 100);
    int status = p.status;
    page_close(r, &p);
    return status;
}

static uint64_t remembered(struct rig *r)
{
    struct buf text;
    buf_init(&text, 1024 * 1024);
    assert_true(metrics_render(r->proxy->process.metrics, &text));
    const char *at = strstr(buf_str(&text), "gateway_tokens_total{how=\"remembered\"} ");
    uint64_t count = 0;
    if (at != NULL) {
        struct slice rest = slice_str(strchr(at, ' ') + 1);
        assert_true(slice_to_u64(slice_cut(&rest, '\n'), &count));
    }
    buf_done(&text);
    return count;
}

/* A token is verified once and then known, until it expires: that is judged by the clock each time. */
static void test_expiry(void **state)
{
    struct rig *r = rig_new();
    char *token = token_for(r, "k1", "\"user\"", 60), *forged = mem_strdup(token);
    assert_int_equal(ask_as(r, token), 200);
    assert_int_equal(remembered(r), 0);
    assert_int_equal(ask_as(r, token), 200);
    assert_int_equal(ask_as(r, token), 200);
    assert_int_equal(remembered(r), 2);
    for (size_t i = strlen("Bearer "); forged[i] != '\0'; i++) { /* nothing but the token itself is known */
        char before = forged[i];
        forged[i] = before == 'A' ? 'B' : 'A';
        if (i % 16 == 7 && ask_as(r, forged) != 401)
            fail_msg("byte %zu", i);
        forged[i] = before;
    }
    assert_int_equal(remembered(r), 2);
    crash_env_run_ms(r->ce, 60 * 1000 + JWT_SKEW_MS_DEFAULT);
    assert_int_equal(ask_as(r, token), 401);
    mem_free(token);
    mem_free(forged);
    rig_free(r);
}

/* Keys are asked for again after five minutes when they are used, and by no timer when they are not. */
static void test_refresh(void **state)
{
    struct rig *r = rig_new();
    char *token = token_for(r, "k1", "", 24 * 3600);
    assert_int_equal(r->keys_asked, 1);
    for (int64_t ms = 0; ms < PROXY_KEYS_AGE_MS - 10000; ms += 10000) {
        assert_int_equal(ask_as(r, token), 200);
        crash_env_run_ms(r->ce, 10000 - 2200);
    }
    assert_int_equal(r->keys_asked, 1);
    crash_env_run_ms(r->ce, HOUR_MS);
    assert_int_equal(r->keys_asked, 1);
    assert_int_equal(ask_as(r, token), 200);
    assert_int_equal(r->keys_asked, 2);
    assert_int_equal(ask_as(r, token), 200);
    assert_int_equal(r->keys_asked, 2);
    mem_free(token);
    rig_free(r);
}

/* A new key is found by the first token that names it, unless keys were asked for less than ten seconds ago; however
 * many tokens with made-up keys come, the issuer is asked once in ten seconds. */
static void test_new_key(void **state)
{
    struct rig *r = rig_new();
    char *token = token_for(r, "k2", "", 24 * 3600), *made_up = token_for(r, "zz", "", 24 * 3600);
    crash_env_run_ms(r->ce, PROXY_KEYS_UNKNOWN_MS);
    r->kids[1] = "k2";
    assert_int_equal(ask_as(r, token), 200);
    assert_int_equal(r->keys_asked, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask_as(r, made_up), 401);
    assert_int_equal(r->keys_asked, 2);
    crash_env_run_ms(r->ce, PROXY_KEYS_UNKNOWN_MS);
    assert_int_equal(ask_as(r, made_up), 401);
    assert_int_equal(r->keys_asked, 3);
    assert_int_equal(ask_as(r, token), 200);
    mem_free(token);
    mem_free(made_up);
    rig_free(r);
}

/* A key that its issuer takes back takes its tokens with it, also those that were known. While the issuer is away, or
 * shows nothing usable, the last good keys stay. */
static void test_revoked(void **state)
{
    struct rig *r = rig_new();
    char *token = token_for(r, "k1", "\"user\"", 24 * 3600), *other = token_for(r, "k2", "", 24 * 3600);
    assert_int_equal(ask_as(r, token), 200);
    r->identity_down = true;
    crash_env_run_ms(r->ce, PROXY_KEYS_AGE_MS);
    assert_int_equal(ask_as(r, token), 200);
    r->identity_down = false;
    r->kids[0] = NULL;
    crash_env_run_ms(r->ce, PROXY_KEYS_AGE_MS);
    assert_int_equal(ask_as(r, token), 200);
    assert_true(r->keys_asked >= 3);
    r->kids[0] = "k2";
    crash_env_run_ms(r->ce, PROXY_KEYS_AGE_MS);
    (void)ask_as(r, token); /* may still be taken: it is what makes the gateway ask */
    assert_int_equal(ask_as(r, token), 401);
    assert_int_equal(ask_as(r, other), 200);
    mem_free(token);
    mem_free(other);
    rig_free(r);
}

/* The table alone: bounded, by exact token, by version of the keys, by the clock in both directions. */
static void test_table(void **state)
{
    struct rig *r = rig_new();
    struct proxy_tokens *t = proxy_tokens_new(r->e);
    struct arena a;
    char text[PROXY_TOKEN_SIZE_MAX_KEPT + 1];
    const struct slice roles[] = {SLICE("admin"), SLICE("")};
    struct jwt_claims in = {.subject = SLICE("u-1"), .roles = roles, .role_count = 2, .expires_ms = 1000}, out;
    arena_init(&a, 16 * 1024 * 1024);
    assert_false(proxy_tokens_find(t, 1, SLICE("t"), 500, &a, &out));
    proxy_tokens_note(t, 1, SLICE("t"), 500, &in);
    assert_true(proxy_tokens_find(t, 1, SLICE("t"), 999, &a, &out));
    assert_true(slice_eq_str(out.subject, "u-1") && out.role_count == 2 && slice_eq_str(out.roles[0], "admin") &&
                out.roles[1].size == 0 && out.expires_ms == 1000);
    assert_false(proxy_tokens_find(t, 1, SLICE("T"), 999, &a, &out));
    assert_false(proxy_tokens_find(t, 1, SLICE("t"), 1000, &a, &out));
    proxy_tokens_note(t, 1, SLICE("t"), 500, &in);
    assert_false(proxy_tokens_find(t, 1, SLICE("t"), 499, &a, &out));
    proxy_tokens_note(t, 1, SLICE("t"), 500, &in);
    assert_false(proxy_tokens_find(t, 2, SLICE("t"), 600, &a, &out));
    assert_false(proxy_tokens_find(t, 1, SLICE("t"), 600, &a, &out));
    memset(text, 'x', sizeof text);
    proxy_tokens_note(t, 1, slice_make(text, sizeof text), 500, &in);
    assert_false(proxy_tokens_find(t, 1, slice_make(text, sizeof text), 600, &a, &out));
    size_t known = 0;
    for (int turn = 0; turn < 2; turn++)
        for (int i = 0; i < 4 * PROXY_TOKENS_MAX; i++) {
            int n = snprintf(text, sizeof text, "token %d", i);
            if (turn == 0)
                proxy_tokens_note(t, 1, slice_make(text, (size_t)n), 500, &in);
            else
                known += proxy_tokens_find(t, 1, slice_make(text, (size_t)n), 600, &a, &out);
        }
    assert_in_range(known, PROXY_TOKENS_MAX / 2, PROXY_TOKENS_MAX);
    struct arena small;
    arena_init(&small, 16);
    proxy_tokens_note(t, 1, SLICE("t"), 500, &in);
    assert_false(proxy_tokens_find(t, 1, SLICE("t"), 600, &small, &out));
    arena_done(&small);
    arena_done(&a);
    proxy_tokens_free(t);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expiry),  cmocka_unit_test(test_refresh), cmocka_unit_test(test_new_key),
        cmocka_unit_test(test_revoked), cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
