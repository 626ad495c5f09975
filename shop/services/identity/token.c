/* SPDX-License-Identifier: Apache-2.0
 *
 * Signing with ES256 (RFC 7518, 3.4): the signature is r and s as two 32-byte numbers, while OpenSSL makes DER.
 */
#include "identity.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COORDINATE_SIZE = 32 };

struct signing_key {
    EVP_PKEY *pkey;
    char kid[17];
    char jwks[512];
};

/* RFC 4648, 5, no padding. text: at least 4 * size / 3 + 3 bytes. */
static void base64url(const unsigned char *p, size_t size, char *ret_text)
{
    int n = EVP_EncodeBlock((unsigned char *)ret_text, p, (int)size);
    while (n > 0 && ret_text[n - 1] == '=')
        n--;
    ret_text[n] = '\0';
    for (int i = 0; i < n; i++)
        ret_text[i] = ret_text[i] == '+' ? '-' : ret_text[i] == '/' ? '_' : ret_text[i];
}

/* A new key is written to a file beside and renamed, so that a crash leaves none or a whole one. */
static EVP_PKEY *key_make(const char *path)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return NULL;
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    bool ok = pkey != NULL && f != NULL && PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL) == 1 && fflush(f) == 0 && fsync(fd) == 0;
    if (f != NULL)
        fclose(f);
    else if (fd >= 0)
        close(fd);
    if (ok && rename(temporary, path) == 0)
        return pkey;
    EVP_PKEY_free(pkey);
    return NULL;
}

static EVP_PKEY *key_read(const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return NULL;
    EVP_PKEY *pkey = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    return pkey;
}

static bool jwks_make(struct signing_key *key)
{
    unsigned char point[2 * COORDINATE_SIZE + 1], hash[SHA256_DIGEST_LENGTH];
    size_t size = 0;
    if (EVP_PKEY_get_octet_string_param(key->pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &size) != 1 || size != sizeof point || point[0] != 4)
        return false;
    SHA256(point, sizeof point, hash);
    for (int i = 0; i < 8; i++)
        snprintf(key->kid + 2 * i, 3, "%02x", hash[i]);
    char x[48], y[48];
    base64url(point + 1, COORDINATE_SIZE, x);
    base64url(point + 1 + COORDINATE_SIZE, COORDINATE_SIZE, y);
    return snprintf(key->jwks, sizeof key->jwks,
                    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"use\":\"sig\",\"kid\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"}]}", key->kid, x,
                    y) < (int)sizeof key->jwks;
}

struct signing_key *signing_key_load(const char *path, const char **ret_why)
{
    struct signing_key *key = calloc(1, sizeof *key);
    if (key == NULL) {
        *ret_why = "out of memory";
        return NULL;
    }
    bool missing = access(path, F_OK) != 0 && errno == ENOENT;
    key->pkey = missing ? key_make(path) : key_read(path);
    if (key->pkey != NULL && EVP_PKEY_is_a(key->pkey, "EC") && jwks_make(key))
        return key;
    *ret_why = missing ? "a new signing key cannot be written there" : "the file is not a P-256 private key in PEM";
    signing_key_free(key);
    return NULL;
}

void signing_key_free(struct signing_key *key)
{
    if (key == NULL)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

const char *signing_key_jwks(const struct signing_key *key)
{
    return key->jwks;
}

static bool sign(EVP_PKEY *pkey, const char *text, unsigned char ret_signature[2 * COORDINATE_SIZE])
{
    unsigned char der[128];
    size_t size = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1 &&
              EVP_DigestSign(ctx, der, &size, (const unsigned char *)text, strlen(text)) == 1;
    EVP_MD_CTX_free(ctx);
    const unsigned char *at = der;
    ECDSA_SIG *sig = ok ? d2i_ECDSA_SIG(NULL, &at, (long)size) : NULL;
    ok = sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret_signature, COORDINATE_SIZE) == COORDINATE_SIZE &&
         BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret_signature + COORDINATE_SIZE, COORDINATE_SIZE) == COORDINATE_SIZE;
    ECDSA_SIG_free(sig);
    return ok;
}

const char *token_sign(struct ficus_req *req, const struct signing_key *key, const char *claims)
{
    const char *header = ficus_printf(req, "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", key->kid);
    char *header_text = ficus_alloc(req, strlen(header) * 4 / 3 + 8), *claims_text = ficus_alloc(req, strlen(claims) * 4 / 3 + 8);
    unsigned char signature[2 * COORDINATE_SIZE];
    char signature_text[2 * COORDINATE_SIZE * 4 / 3 + 8];
    if (header_text == NULL || claims_text == NULL)
        return NULL;
    base64url((const unsigned char *)header, strlen(header), header_text);
    base64url((const unsigned char *)claims, strlen(claims), claims_text);
    const char *input = ficus_printf(req, "%s.%s", header_text, claims_text);
    if (!sign(key->pkey, input, signature))
        return NULL;
    base64url(signature, sizeof signature, signature_text);
    return ficus_printf(req, "%s.%s", input, signature_text);
}
