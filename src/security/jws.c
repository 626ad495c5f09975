/* SPDX-License-Identifier: Apache-2.0
 *
 * See jws.h. One row per algorithm in alg_table; the rest of the file does not know which one it serves.
 * OpenSSL keeps a queue of errors per thread that a later SSL_get_error would misread, so each failure clears it.
 */
#include "jws.h"

#include "assert.h"
#include "mac.h"
#include "mem.h"
#include "text.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

enum {
    P256_SIZE = 32,             /* a coordinate, or the private number */
    ES256_SIZE = 2 * P256_SIZE, /* r || s, RFC 7518 3.4 */
    ES256_DER_MAX = 72,         /* SEQUENCE of two INTEGERs of at most 33 bytes */
    SIGNATURE_MAX = ES256_SIZE,
};

struct jws_key {
    enum jws_alg alg;
    bool can_sign;
    struct mac mac;     /* HS256 */
    EVP_PKEY *pkey;     /* ES256 */
    EVP_MD *md;
};

struct alg_row {
    const char *name;
    size_t signature_size;
    enum ficus_err (*sign)(const struct jws_key *key, struct slice input, uint8_t *ret_signature,
                           struct ficus_error *reterr);
    enum ficus_err (*verify)(const struct jws_key *key, struct slice input, struct slice signature,
                             struct ficus_error *reterr);
};

static enum ficus_err crypto_failed(struct ficus_error *reterr, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    enum ficus_err err = err_set(reterr, FICUS_ERR_INTERNAL, "%s: %s", what,
                                 reason != NULL ? reason : "OpenSSL failed");
    ERR_clear_error();
    return err;
}

static enum ficus_err refuse(struct ficus_error *reterr, const char *reason)
{
    return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "%s", reason);
}

/* ---- HS256 ---- */

static enum ficus_err hs256_sign(const struct jws_key *key, struct slice input, uint8_t *ret_signature,
                                 struct ficus_error *reterr)
{
    struct mac_run run;
    mac_begin(&run, &key->mac);
    mac_add(&run, input);
    if (!mac_end(&run, ret_signature))
        return err_set(reterr, FICUS_ERR_NOMEM, "HMAC-SHA256: out of memory");
    return FICUS_ERR_OK;
}

static enum ficus_err hs256_verify(const struct jws_key *key, struct slice input, struct slice signature,
                                   struct ficus_error *reterr)
{
    uint8_t expected[MAC_SIZE];
    enum ficus_err err = hs256_sign(key, input, expected, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    bool same = mem_equal_const_time(expected, signature.p, MAC_SIZE);
    mem_wipe(expected, sizeof expected);    /* it is the right signature of what a stranger wrote */
    return same ? FICUS_ERR_OK : refuse(reterr, "the signature is wrong");
}

/* ---- ES256 ---- */

static enum ficus_err es256_sign(const struct jws_key *key, struct slice input, uint8_t *ret_signature,
                                 struct ficus_error *reterr)
{
    uint8_t der[ES256_DER_MAX];
    size_t der_size = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, key->md, NULL, key->pkey) == 1 &&
              EVP_DigestSign(ctx, der, &der_size, (const unsigned char *)input.p, input.size) == 1;
    EVP_MD_CTX_free(ctx);
    const unsigned char *at = der;
    ECDSA_SIG *sig = ok ? d2i_ECDSA_SIG(NULL, &at, (long)der_size) : NULL;
    ok = sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret_signature, P256_SIZE) == P256_SIZE &&
         BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret_signature + P256_SIZE, P256_SIZE) == P256_SIZE;
    ECDSA_SIG_free(sig);
    return ok ? FICUS_ERR_OK : crypto_failed(reterr, "ES256 sign");
}

/* r || s as the DER that EVP wants; 0 when out of memory. */
static size_t es256_to_der(struct slice signature, uint8_t der[ES256_DER_MAX])
{
    const unsigned char *p = (const unsigned char *)signature.p;
    int size = -1;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(p, P256_SIZE, NULL);
    BIGNUM *s = BN_bin2bn(p + P256_SIZE, P256_SIZE, NULL);
    if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
        r = s = NULL;   /* sig owns them now */
        unsigned char *out = der;
        size = i2d_ECDSA_SIG(sig, &out);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return size > 0 ? (size_t)size : 0;
}

static enum ficus_err es256_verify(const struct jws_key *key, struct slice input, struct slice signature,
                                   struct ficus_error *reterr)
{
    uint8_t der[ES256_DER_MAX];
    size_t der_size = es256_to_der(signature, der);
    FICUS_ASSERT(der_size <= sizeof der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ready = der_size > 0 && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, key->md, NULL, key->pkey) == 1;
    int verified = ready ? EVP_DigestVerify(ctx, der, der_size, (const unsigned char *)input.p, input.size) : -1;
    EVP_MD_CTX_free(ctx);
    if (!ready)
        return crypto_failed(reterr, "ES256 verify");
    if (verified == 1)
        return FICUS_ERR_OK;
    ERR_clear_error();  /* 0 is a wrong signature, negative one out of range: refused alike */
    return refuse(reterr, "the signature is wrong");
}

static const struct alg_row alg_table[JWS_ALG_COUNT] = {
    [JWS_HS256] = {"HS256", MAC_SIZE, hs256_sign, hs256_verify},
    [JWS_ES256] = {"ES256", ES256_SIZE, es256_sign, es256_verify},
};

const char *jws_alg_name(enum jws_alg alg)
{
    FICUS_ASSERT(alg < JWS_ALG_COUNT);
    return alg_table[alg].name;
}

/* ---- keys ---- */

enum jws_alg jws_key_alg(const struct jws_key *key)
{
    return key->alg;
}

void jws_key_free(struct jws_key *key)
{
    if (key == NULL)
        return;
    mac_done(&key->mac);
    EVP_PKEY_free(key->pkey);
    EVP_MD_free(key->md);
    mem_free(key);
}

enum ficus_err jws_key_hmac(struct slice secret, struct jws_key **ret_key, struct ficus_error *reterr)
{
    if (secret.size < JWS_SECRET_SIZE_MIN || secret.size > JWS_SECRET_SIZE_MAX)
        return err_set(reterr, FICUS_ERR_INVALID, "a secret of %zu bytes; HS256 takes %d to %d", secret.size,
                       JWS_SECRET_SIZE_MIN, JWS_SECRET_SIZE_MAX);
    struct jws_key *key = mem_zalloc(sizeof *key);
    if (key == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    key->alg = JWS_HS256;
    key->can_sign = true;
    if (!mac_init(&key->mac, secret)) {
        jws_key_free(key);
        return err_set(reterr, FICUS_ERR_INTERNAL, "HMAC-SHA256 is not available from OpenSSL");
    }
    *ret_key = key;
    return FICUS_ERR_OK;
}

/* A base64url member of exactly size bytes, or 1..size_max when size is 0. */
static enum ficus_err jwk_bytes(struct arena *a, const struct json *jwk, const char *name, size_t size, size_t size_max,
                                struct slice *ret_bytes, struct ficus_error *reterr)
{
    struct slice text;
    if (!json_string(json_get(jwk, name), &text))
        return err_set(reterr, FICUS_ERR_INVALID, "JWK: \"%s\" is missing or not a string", name);
    if (text.size > 2 * size_max || !text_base64url_decode(a, text, ret_bytes))
        return err_set(reterr, FICUS_ERR_INVALID, "JWK: \"%s\" is not base64url of at most %zu bytes", name, size_max);
    if (ret_bytes->size > size_max || (size != 0 && ret_bytes->size != size))
        return err_set(reterr, FICUS_ERR_INVALID, "JWK: \"%s\" has %zu bytes, not %zu", name, ret_bytes->size,
                       size_max);
    return FICUS_ERR_OK;
}

static EVP_PKEY *p256_from_params(OSSL_PARAM *params, bool has_private)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    bool ok = ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, &pkey, has_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) == 1;
    EVP_PKEY_CTX_free(ctx);
    /* The point must be on the curve and not at infinity, and a private number must be the one of this point. */
    EVP_PKEY_CTX *check = ok ? EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL) : NULL;
    ok = check != NULL && EVP_PKEY_public_check(check) == 1 && (!has_private || EVP_PKEY_pairwise_check(check) == 1);
    EVP_PKEY_CTX_free(check);
    if (!ok) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    return pkey;
}

/* d has size 0 for a public key. NULL on any failure, with OpenSSL's errors still queued. */
static EVP_PKEY *p256_key(struct slice x, struct slice y, struct slice d)
{
    uint8_t point[1 + 2 * P256_SIZE];
    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    memcpy(point + 1, x.p, P256_SIZE);
    memcpy(point + 1 + P256_SIZE, y.p, P256_SIZE);

    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = NULL;
    BIGNUM *number = d.size > 0 ? BN_secure_new() : NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    bool ok = builder != NULL &&
              OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
              OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) == 1;
    if (ok && d.size > 0)
        ok = number != NULL && BN_bin2bn((const unsigned char *)d.p, (int)d.size, number) != NULL &&
             OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, number) == 1;
    if (ok)
        params = OSSL_PARAM_BLD_to_param(builder);
    if (params != NULL)
        pkey = p256_from_params(params, d.size > 0);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BN_clear_free(number);
    return pkey;
}

static enum ficus_err key_from_ec(struct arena *a, const struct json *jwk, struct jws_key **ret_key,
                                  struct ficus_error *reterr)
{
    struct slice x, y, d = SLICE_NONE;
    if (!slice_eq_str(json_string_or(json_get(jwk, "crv"), SLICE_NONE), "P-256"))
        return err_set(reterr, FICUS_ERR_UNSUPPORTED, "JWK: EC with a \"crv\" other than P-256");
    enum ficus_err err = jwk_bytes(a, jwk, "x", P256_SIZE, P256_SIZE, &x, reterr);
    if (err == FICUS_ERR_OK)
        err = jwk_bytes(a, jwk, "y", P256_SIZE, P256_SIZE, &y, reterr);
    if (err == FICUS_ERR_OK && json_get(jwk, "d") != NULL)
        err = jwk_bytes(a, jwk, "d", P256_SIZE, P256_SIZE, &d, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct jws_key *key = mem_zalloc(sizeof *key);
    if (key == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    key->alg = JWS_ES256;
    key->can_sign = d.size > 0;
    key->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    key->pkey = key->md != NULL ? p256_key(x, y, d) : NULL;
    if (d.size > 0)
        mem_wipe((void *)(uintptr_t)d.p, d.size);
    if (key->pkey == NULL) {
        jws_key_free(key);
        ERR_clear_error();
        return err_set(reterr, FICUS_ERR_INVALID, "JWK: not a point of P-256, or \"d\" does not belong to it");
    }
    *ret_key = key;
    return FICUS_ERR_OK;
}

static enum ficus_err key_from_oct(struct arena *a, const struct json *jwk, struct jws_key **ret_key,
                                   struct ficus_error *reterr)
{
    struct slice secret;
    enum ficus_err err = jwk_bytes(a, jwk, "k", 0, JWS_SECRET_SIZE_MAX, &secret, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = jws_key_hmac(secret, ret_key, reterr);
    mem_wipe((void *)(uintptr_t)secret.p, secret.size);
    return err;
}

/* "alg" and "use" are optional, but what they say must be true of the key. */
static enum ficus_err jwk_purpose(const struct json *jwk, enum jws_alg alg, struct ficus_error *reterr)
{
    const struct json *use = json_get(jwk, "use"), *named = json_get(jwk, "alg");
    if (use != NULL && !slice_eq_str(json_string_or(use, SLICE_NONE), "sig"))
        return err_set(reterr, FICUS_ERR_INVALID, "JWK: \"use\" is not sig");
    if (named != NULL && !slice_eq_str(json_string_or(named, SLICE_NONE), jws_alg_name(alg)))
        return err_set(reterr, FICUS_ERR_INVALID, "JWK: \"alg\" does not fit the key, which is for %s",
                       jws_alg_name(alg));
    return FICUS_ERR_OK;
}

enum ficus_err jws_key_from_jwk(const struct json *jwk, struct jws_key **ret_key, struct ficus_error *reterr)
{
    struct slice kty;
    if (!json_string(json_get(jwk, "kty"), &kty))
        return err_set(reterr, FICUS_ERR_INVALID, "JWK: \"kty\" is missing or not a string");
    bool is_ec = slice_eq_str(kty, "EC");
    if (!is_ec && !slice_eq_str(kty, "oct"))
        return err_set(reterr, FICUS_ERR_UNSUPPORTED, "JWK: kty \"" SLICE_FMT "\"",
                       (int)(kty.size < 16 ? kty.size : 16), kty.p);
    enum ficus_err err = jwk_purpose(jwk, is_ec ? JWS_ES256 : JWS_HS256, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct arena scratch;
    arena_init(&scratch, 4096);
    err = is_ec ? key_from_ec(&scratch, jwk, ret_key, reterr) : key_from_oct(&scratch, jwk, ret_key, reterr);
    arena_done(&scratch);
    return err;
}

/* ---- tokens ---- */

static enum ficus_err write_header(const struct jws_key *key, struct slice kid, struct slice typ, struct buf *out)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, JWS_HEADER_SIZE_MAX);
    json_write_init(&w, &json);
    json_write_object(&w);
    json_write_kv_str(&w, "alg", jws_alg_name(key->alg));
    if (typ.p != NULL)
        json_write_kv_slice(&w, "typ", typ);
    if (kid.p != NULL)
        json_write_kv_slice(&w, "kid", kid);
    json_write_end(&w);
    bool ok = !buf_failed(&json) && text_base64url(out, buf_slice(&json).p, buf_slice(&json).size) &&
        buf_add_char(out, '.');
    buf_done(&json);
    return ok ? FICUS_ERR_OK : FICUS_ERR_NOMEM;
}

enum ficus_err jws_sign(const struct jws_key *key, struct slice kid, struct slice typ, struct slice payload,
                        struct buf *out,
                        struct ficus_error *reterr)
{
    const struct alg_row *row = &alg_table[key->alg];
    size_t before = buf_slice(out).size;
    uint8_t signature[SIGNATURE_MAX];
    if (!key->can_sign)
        return err_set(reterr, FICUS_ERR_INVALID, "the key has no private part and cannot sign");
    if (kid.size > JWS_KID_SIZE_MAX || typ.size > JWS_KID_SIZE_MAX || payload.size > JWS_TOKEN_SIZE_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "kid, typ or payload is too large for a token of %d bytes",
                       JWS_TOKEN_SIZE_MAX);
    enum ficus_err err = write_header(key, kid, typ, out);
    if (err == FICUS_ERR_OK && !text_base64url(out, payload.p, payload.size))
        err = FICUS_ERR_NOMEM;
    if (err == FICUS_ERR_OK)
        err = row->sign(key, slice_from(buf_slice(out), before), signature, reterr);
    else
        err_set(reterr, err, "out of memory, or the buffer is too small");
    if (err == FICUS_ERR_OK && !(buf_add_char(out, '.') && text_base64url(out, signature, row->signature_size)))
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory, or the buffer is too small");
    if (err == FICUS_ERR_OK && buf_slice(out).size - before > JWS_TOKEN_SIZE_MAX)
        err = err_set(reterr, FICUS_ERR_TOO_LARGE, "the token would have over %d bytes", JWS_TOKEN_SIZE_MAX);
    if (err != FICUS_ERR_OK)
        buf_truncate(out, before);
    return err;
}

/* An optional string of the header; false when it is there and is not one, or is too long. */
static bool header_string(const struct json *header, const char *name, struct slice *ret_text)
{
    const struct json *v = json_get(header, name);
    *ret_text = SLICE_NONE;
    return v == NULL || (json_string(v, ret_text) && ret_text->size <= JWS_KID_SIZE_MAX);
}

static enum ficus_err parse_header(struct arena *a, struct slice text, struct jws *jws, struct ficus_error *reterr)
{
    static const struct json_limits limits = {.depth_max = 8, .size_max = JWS_HEADER_SIZE_MAX, .values_max = 64};
    struct json *header = NULL;
    struct ficus_error detail = {0};
    enum ficus_err err = json_parse(a, text, &limits, &header, &detail);
    if (err != FICUS_ERR_OK && (err == FICUS_ERR_NOMEM || arena_overflowed(a)))
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    if (err != FICUS_ERR_OK)
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "token header: %s", detail.text);
    if (header->type != JSON_OBJECT)
        return refuse(reterr, "token header: not an object");
    if (json_get(header, "crit") != NULL)
        return refuse(reterr, "token header: \"crit\" asks for an extension, and none is understood");
    if (json_get(header, "alg") == NULL || !header_string(header, "alg", &jws->alg))
        return refuse(reterr, "token header: \"alg\" is missing or not a short string");
    if (!header_string(header, "kid", &jws->kid) || !header_string(header, "typ", &jws->typ))
        return refuse(reterr, "token header: \"kid\" or \"typ\" is not a short string");
    return FICUS_ERR_OK;
}

/* Decoding fails for two reasons that the caller must tell apart. */
static enum ficus_err decode_part(struct arena *a, struct slice text, const char *name, struct slice *ret_bytes,
                                  struct ficus_error *reterr)
{
    if (text_base64url_decode(a, text, ret_bytes))
        return FICUS_ERR_OK;
    if (arena_overflowed(a))
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "token %s: not base64url", name);
}

enum ficus_err jws_parse(struct arena *a, struct slice token, struct jws *ret_jws, struct ficus_error *reterr)
{
    if (token.size > JWS_TOKEN_SIZE_MAX)
        return refuse(reterr, "the token is too large");
    ptrdiff_t first = slice_find(token, '.');
    ptrdiff_t second = first < 0 ? -1 : slice_find(slice_from(token, (size_t)first + 1), '.');
    if (second < 0)
        return refuse(reterr, "the token does not have three parts");
    struct jws jws = {
        .signing_input = {token.p, (size_t)first + 1 + (size_t)second},
        .payload_text = {token.p + first + 1, (size_t)second},
    };
    jws.signature = slice_from(token, jws.signing_input.size + 1);
    if (slice_find(jws.signature, '.') >= 0)
        return refuse(reterr, "the token does not have three parts");
    struct slice header_text = {token.p, (size_t)first}, header;
    if (header_text.size > JWS_HEADER_SIZE_MAX / 3 * 4 + 4)
        return refuse(reterr, "token header: too large");
    enum ficus_err err = decode_part(a, header_text, "header", &header, reterr);
    if (err == FICUS_ERR_OK)
        err = parse_header(a, header, &jws, reterr);
    if (err == FICUS_ERR_OK)
        *ret_jws = jws;
    return err;
}

enum ficus_err jws_verify(struct arena *a, const struct jws *jws, const struct jws_key *key, struct slice *ret_payload,
                          struct ficus_error *reterr)
{
    const struct alg_row *row = &alg_table[key->alg];
    struct slice signature;
    if (!slice_eq_str(jws->alg, row->name))
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED,
                       "token header: \"alg\" is \"" SLICE_FMT "\", but the key is for %s",
                       (int)(jws->alg.size < 16 ? jws->alg.size : 16), jws->alg.p, row->name);
    if (jws->signature.size != (row->signature_size * 8 + 5) / 6)
        return refuse(reterr, "token signature: wrong size");
    enum ficus_err err = decode_part(a, jws->signature, "signature", &signature, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    FICUS_ASSERT(signature.size == row->signature_size);
    err = row->verify(key, jws->signing_input, signature, reterr);
    return err == FICUS_ERR_OK ? decode_part(a, jws->payload_text, "payload", ret_payload, reterr) : err;
}
