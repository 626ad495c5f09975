/* SPDX-License-Identifier: Apache-2.0
 *
 * See identity.h.
 */
#include "identity.h"

#include "assert.h"
#include "claims.h"
#include "mac.h"
#include "mem.h"
#include "text.h"

#include <openssl/err.h>
#include <openssl/evp.h>

struct system_key {
    struct jws_key *jws;
    struct mac mac;
};

void system_key_free(struct system_key *key)
{
    if (key == NULL)
        return;
    jws_key_free(key->jws);
    mac_done(&key->mac);
    mem_free(key);
}

enum ficus_err system_key_from_bytes(struct slice bytes, struct system_key **ret_key, struct ficus_error *reterr)
{
    static const uint8_t zeros[SYSTEM_KEY_SIZE];
    if (bytes.size != SYSTEM_KEY_SIZE)
        return err_set(reterr, FICUS_ERR_INVALID, "system key: %zu bytes, not %d", bytes.size, SYSTEM_KEY_SIZE);
    if (mem_equal_const_time(bytes.p, zeros, SYSTEM_KEY_SIZE))
        return err_set(reterr, FICUS_ERR_INVALID, "system key: all zero");
    struct system_key *key = mem_zalloc(sizeof *key);
    if (key == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = jws_key_hmac(bytes, &key->jws, reterr);
    if (err == FICUS_ERR_OK && !mac_init(&key->mac, bytes))
        err = err_set(reterr, FICUS_ERR_INTERNAL, "HMAC-SHA256 is not available from OpenSSL");
    if (err == FICUS_ERR_OK)
        *ret_key = key;
    else
        system_key_free(key);
    return err;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum ficus_err system_key_from_hex(struct slice hex, struct system_key **ret_key, struct ficus_error *reterr)
{
    uint8_t bytes[SYSTEM_KEY_SIZE];
    if (hex.size == 2 * SYSTEM_KEY_SIZE + 1 && hex.p[hex.size - 1] == '\n')
        hex.size--;
    if (hex.size != 2 * SYSTEM_KEY_SIZE)
        return err_set(reterr, FICUS_ERR_INVALID, "system key: not %d hex digits", 2 * SYSTEM_KEY_SIZE);
    int bad = 0;
    for (size_t i = 0; i < SYSTEM_KEY_SIZE; i++) {
        int high = hex_digit(hex.p[2 * i]), low = hex_digit(hex.p[2 * i + 1]);
        bad |= high | low;
        bytes[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    enum ficus_err err = bad < 0
                         ? err_set(reterr, FICUS_ERR_INVALID, "system key: not %d hex digits", 2 * SYSTEM_KEY_SIZE)
                                 : system_key_from_bytes(slice_make(bytes, sizeof bytes), ret_key, reterr);
    mem_wipe(bytes, sizeof bytes);
    return err;
}

static bool claims_valid(const struct identity_claims *c)
{
    if (!claim_text_valid(c->issuer, IDENTITY_NAME_SIZE_MAX) ||
        !claim_text_valid(c->audience, IDENTITY_NAME_SIZE_MAX) ||
        (c->subject.p != NULL && !claim_text_valid(c->subject, IDENTITY_SUBJECT_SIZE_MAX)) ||
            c->role_count > IDENTITY_ROLES_MAX)
        return false;
    for (size_t i = 0; i < c->role_count; i++)
        if (!claim_text_valid(c->roles[i], IDENTITY_NAME_SIZE_MAX))
            return false;
    return true;
}

static void write_payload(const struct identity_claims *c, int64_t now_s, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    json_write_kv_slice(&w, "iss", c->issuer);
    json_write_kv_slice(&w, "aud", c->audience);
    if (c->subject.p != NULL)
        json_write_kv_slice(&w, "sub", c->subject);
    if (c->role_count > 0) {
        json_write_key(&w, "roles");
        json_write_array(&w);
        for (size_t i = 0; i < c->role_count; i++)
            json_write_slice(&w, c->roles[i]);
        json_write_end(&w);
    }
    json_write_kv_i64(&w, "iat", now_s);
    json_write_kv_i64(&w, "exp", now_s + IDENTITY_LIFE_S_MAX);
    json_write_end(&w);
}

enum ficus_err identity_make(const struct system_key *key, struct arena *a, const struct identity_claims *claims,
                             int64_t wall_ms,
                             struct slice *ret_token, struct ficus_error *reterr)
{
    if (!claims_valid(claims))
        return err_set(reterr, FICUS_ERR_INVALID,
                       "identity: a name is empty, too long or not plain text, or over %d roles", IDENTITY_ROLES_MAX);
    struct buf payload, token;
    buf_init(&payload, IDENTITY_TOKEN_SIZE_MAX);
    buf_init(&token, IDENTITY_TOKEN_SIZE_MAX);
    write_payload(claims, wall_ms / 1000, &payload);
    enum ficus_err err = buf_failed(&payload)
                         ? err_set(reterr, FICUS_ERR_NOMEM, "identity: out of memory, or too many names")
                             : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK)
        err = jws_sign(key->jws, SLICE_NONE, SLICE_NONE, buf_slice(&payload), &token, reterr);
    if (err == FICUS_ERR_OK) {
        *ret_token = arena_slice(a, buf_slice(&token));
        if (ret_token->p == NULL)
            err = err_set(reterr, FICUS_ERR_NOMEM, "identity: out of memory");
    }
    buf_done(&payload);
    buf_done(&token);
    return err;
}

static enum ficus_err check_life(struct identity_claims *c, int64_t wall_ms, struct ficus_error *reterr)
{
    int64_t now_s = wall_ms / 1000, life_s = c->expires_s - c->issued_s;
    const char *reason = NULL;
    if (life_s <= 0 || life_s > IDENTITY_LIFE_S_MAX)
        reason = "identity: exp is not within a minute after iat";
    else if (now_s >= c->expires_s + IDENTITY_SKEW_S)
        reason = "identity: expired";
    else if (now_s < c->issued_s - IDENTITY_SKEW_S)
        reason = "identity: issued in the future";
    return reason == NULL ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "%s", reason);
}

static enum ficus_err read_claims(struct arena *a, struct slice payload, struct identity_claims *c,
                                  struct ficus_error *reterr)
{
    const struct json *claims = NULL;
    enum ficus_err err = claims_parse(a, payload, &claims, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_string(claims, "iss", IDENTITY_NAME_SIZE_MAX, true, &c->issuer, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_string(claims, "aud", IDENTITY_NAME_SIZE_MAX, true, &c->audience, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_string(claims, "sub", IDENTITY_SUBJECT_SIZE_MAX, false, &c->subject, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_time_s(claims, "iat", true, &c->issued_s, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_time_s(claims, "exp", true, &c->expires_s, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_roles(a, claims, IDENTITY_ROLES_MAX, IDENTITY_NAME_SIZE_MAX, &c->roles, &c->role_count, reterr);
    return err;
}

enum ficus_err identity_check(const struct system_key *key, struct slice token, struct slice expected_aud,
                              int64_t wall_ms, struct arena *a,
                              struct identity_claims *ret_claims, struct ficus_error *reterr)
{
    struct jws jws;
    struct slice payload;
    struct identity_claims claims = {0};
    if (token.size == 0 || token.size > IDENTITY_TOKEN_SIZE_MAX)
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED,
                       token.size == 0 ? "identity: missing" : "identity: too large");
    enum ficus_err err = jws_parse(a, token, &jws, reterr);
    if (err == FICUS_ERR_OK)
        err = jws_verify(a, &jws, key->jws, &payload, reterr);
    if (err == FICUS_ERR_OK)
        err = read_claims(a, payload, &claims, reterr);
    if (err != FICUS_ERR_OK) {
        err_wrap(reterr, "identity");
        return err;
    }
    if (!slice_eq(claims.audience, expected_aud))
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "identity: made for \"" SLICE_FMT "\"",
                       SLICE_ARG(claims.audience));
    err = check_life(&claims, wall_ms, reterr);
    if (err == FICUS_ERR_OK)
        *ret_claims = claims;
    return err;
}

bool identity_has_role(const struct identity_claims *claims, struct slice role)
{
    for (size_t i = 0; i < claims->role_count; i++)
        if (slice_eq(claims->roles[i], role))
            return true;
    return false;
}

static void add_framed(struct mac_run *run, struct slice part)
{
    uint8_t size[8];
    for (int i = 0; i < 8; i++)
        size[i] = (uint8_t)((uint64_t)part.size >> (56 - 8 * i));
    mac_add(run, slice_make(size, sizeof size));
    mac_add(run, part);
}

enum ficus_err keyed_hash(const struct system_key *key, const char *label, const struct slice *parts, size_t part_count,
                          uint8_t ret_hash[KEYED_HASH_SIZE])
{
    _Static_assert((int)KEYED_HASH_SIZE == (int)MAC_SIZE, "one HMAC-SHA256");
    FICUS_ASSERT(label[0] != '\0');
    struct mac_run run;
    /* The first framed size begins with a zero byte, which is not base64url: no input is ever a JWS signing input. */
    mac_begin(&run, &key->mac);
    add_framed(&run, slice_str(label));
    for (size_t i = 0; i < part_count; i++)
        add_framed(&run, parts[i]);
    return mac_end(&run, ret_hash) ? FICUS_ERR_OK : FICUS_ERR_NOMEM;
}
