/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens from strangers: the first byte of the input chooses what the rest is. Besides the sanitizers, what must hold is
 * asserted: nothing that differs from a signed token verifies, and what is accepted obeys the rules.
 */
#include "assert.h"
#include "identity.h"
#include "jwt.h"
#include "mac.h"
#include "mem.h"
#include "text.h"

#define NOW_MS INT64_C(1700000000000)
#define SECRET "0123456789abcdef0123456789abcdef"
#define EC_KEY                                                                                     \
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","      \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""
#define EC_PRIVATE ",\"d\":\"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI\""
#define GOOD_PAYLOAD "{\"iss\":\"shop\",\"aud\":\"api\",\"sub\":\"u\",\"roles\":[\"a\"],\"iat\":1700000000,\"exp\":1700000060}"

static struct jws_key *hmac_key, *ec_key;
static struct system_key *system_key;
static struct jwks *keys;
static struct slice good_tokens[2];
static struct arena forever;

static const struct jwt_rules rules = {.issuer = {"shop", 4}, .audience = {"api", 3}};

static struct slice sign(const struct jws_key *key, struct slice kid, struct slice payload, struct arena *a)
{
    struct buf out;
    struct slice token = SLICE_NONE;
    buf_init(&out, 2 * JWS_TOKEN_SIZE_MAX);
    if (jws_sign(key, kid, SLICE_NONE, payload, &out, NULL) == FICUS_ERR_OK)
        token = arena_slice(a, buf_slice(&out));
    buf_done(&out);
    return token;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct json *jwk = NULL;
    arena_init(&forever, 1024 * 1024);
    FICUS_ASSERT(jws_key_hmac(SLICE(SECRET), &hmac_key, NULL) == FICUS_ERR_OK);
    FICUS_ASSERT(system_key_from_bytes(SLICE(SECRET), &system_key, NULL) == FICUS_ERR_OK);
    FICUS_ASSERT(json_parse(&forever, SLICE("{" EC_KEY EC_PRIVATE "}"), NULL, &jwk, NULL) == FICUS_ERR_OK);
    FICUS_ASSERT(jws_key_from_jwk(jwk, &ec_key, NULL) == FICUS_ERR_OK);
    FICUS_ASSERT(jwks_parse(SLICE("{\"keys\":[{" EC_KEY ",\"kid\":\"k\"}]}"), &keys, NULL) == FICUS_ERR_OK);
    good_tokens[0] = sign(hmac_key, SLICE_NONE, SLICE(GOOD_PAYLOAD), &forever);
    good_tokens[1] = sign(ec_key, SLICE("k"), SLICE(GOOD_PAYLOAD), &forever);
    return 0;
}

static void check_user(const struct jwt_claims *c)
{
    FICUS_ASSERT(slice_eq_str(c->issuer, "shop") && c->subject.size > 0 && c->subject.size <= JWT_STRING_SIZE_MAX);
    FICUS_ASSERT(c->role_count <= JWT_ROLES_MAX && c->expires_ms > NOW_MS - JWT_SKEW_MS_DEFAULT);
}

static enum ficus_err verify_by(struct arena *a, const struct jws_key *key, struct slice token)
{
    struct jws jws;
    struct slice payload;
    enum ficus_err err = jws_parse(a, token, &jws, NULL);
    if (err != FICUS_ERR_OK)
        return err;
    err = jws_verify(a, &jws, key, &payload, NULL);
    FICUS_ASSERT(err != FICUS_ERR_OK || slice_eq_str(jws.alg, jws_alg_name(jws_key_alg(key))));
    return err;
}

/* A token as a client sends it. */
static void fuzz_token(struct arena *a, struct slice input)
{
    struct jwt_claims c;
    struct identity_claims id;
    (void)verify_by(a, hmac_key, input);    /* the result depends on the input; what it may be is asserted within */
    if (jwt_verify(a, keys, input, &rules, NOW_MS, &c, NULL) == FICUS_ERR_OK)
        check_user(&c);
    (void)identity_check(system_key, input, SLICE("api"), NOW_MS, a, &id, NULL);
}

/* A JWKS document. */
static void fuzz_jwks(struct arena *a, struct slice input)
{
    struct jwks *set = NULL;
    if (jwks_parse(input, &set, NULL) != FICUS_ERR_OK) {
        FICUS_ASSERT(set == NULL);
        return;
    }
    FICUS_ASSERT(jwks_count(set) > 0 && jwks_count(set) <= JWKS_KEYS_MAX);
    FICUS_ASSERT((jwks_find(set, SLICE_NONE) != NULL) == (jwks_count(set) == 1));
    const struct jws_key *key = jwks_find(set, SLICE("k"));
    if (key != NULL)
        (void)verify_by(a, key, good_tokens[1]);    /* as above */
    jwks_free(set);
}

/* A payload that is signed rightly. */
static void fuzz_payload(struct arena *a, struct slice input)
{
    struct jwt_claims c;
    struct identity_claims id;
    if (jwt_check_claims(a, input, &rules, NOW_MS, &c, NULL) == FICUS_ERR_OK)
        check_user(&c);
    struct slice token = sign(hmac_key, SLICE_NONE, input, a);
    if (token.p != NULL && identity_check(system_key, token, SLICE("api"), NOW_MS, a, &id, NULL) == FICUS_ERR_OK) {
        FICUS_ASSERT(id.expires_s - id.issued_s > 0 && id.expires_s - id.issued_s <= IDENTITY_LIFE_S_MAX);
        FICUS_ASSERT(id.issuer.size > 0 && slice_eq_str(id.audience, "api") && id.role_count <= IDENTITY_ROLES_MAX);
    }
}

/* A header over a right HMAC: only HS256 without crit may pass. */
static void fuzz_header(struct arena *a, struct slice input)
{
    struct buf b;
    struct mac mac = {0};
    struct mac_run run;
    uint8_t signature[MAC_SIZE];
    if (input.size > 2 * JWS_HEADER_SIZE_MAX)
        return;
    buf_init(&b, JWS_TOKEN_SIZE_MAX);
    text_base64url(&b, input.p, input.size);
    buf_add_str(&b, ".e30");
    FICUS_ASSERT(mac_init(&mac, SLICE(SECRET)));
    mac_begin(&run, &mac);
    mac_add(&run, buf_slice(&b));
    FICUS_ASSERT(mac_end(&run, signature));
    mac_done(&mac);
    buf_add_char(&b, '.');
    text_base64url(&b, signature, sizeof signature);
    if (verify_by(a, hmac_key, buf_slice(&b)) == FICUS_ERR_OK) {
        struct json *header = NULL;
        FICUS_ASSERT(json_parse(a, input, NULL, &header, NULL) == FICUS_ERR_OK);
        FICUS_ASSERT(slice_eq_str(json_string_or(json_get(header, "alg"), SLICE_NONE), "HS256"));
        FICUS_ASSERT(json_get(header, "crit") == NULL);
    }
    buf_done(&b);
}

/* Bytes written over a good token: unless it is the same again, it must be refused. */
static void fuzz_bent(struct arena *a, struct slice input)
{
    if (input.size < 3)
        return;
    struct slice good = good_tokens[input.p[0] & 1], bent = arena_slice(a, good);
    size_t at = ((size_t)(unsigned char)input.p[1] << 8 | (unsigned char)input.p[2]) % good.size;
    size_t size = input.size - 3 < good.size - at ? input.size - 3 : good.size - at;
    memcpy((char *)(uintptr_t)bent.p + at, input.p + 3, size);
    bool same = slice_eq(bent, good);
    FICUS_ASSERT((verify_by(a, input.p[0] & 1 ? ec_key : hmac_key, bent) == FICUS_ERR_OK) == same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const targets[])(struct arena *a, struct slice input) = {fuzz_token, fuzz_jwks, fuzz_payload,
                                                                           fuzz_header, fuzz_bent};
    struct arena arena;
    if (size == 0)
        return 0;
    arena_init(&arena, 2 * 1024 * 1024);
    targets[data[0] % ARRAY_COUNT(targets)](&arena, slice_make(data + 1, size - 1));
    arena_done(&arena);
    return 0;
}
