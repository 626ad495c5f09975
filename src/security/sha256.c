/* SPDX-License-Identifier: Apache-2.0 */
#include "sha256.h"

#include "hex.h"

#include <openssl/err.h>
#include <openssl/evp.h>

static void fail(struct sha256 *h)
{
    EVP_MD_CTX_free(h->ctx);
    h->ctx = NULL;
    ERR_clear_error();
}

void sha256_begin(struct sha256 *h)
{
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx == NULL || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1)
        fail(h);
}

void sha256_add(struct sha256 *h, const void *p, size_t size)
{
    if (h->ctx != NULL && size > 0 && EVP_DigestUpdate(h->ctx, p, size) != 1)
        fail(h);
}

static bool end(struct sha256 *h, uint8_t ret_hash[SHA256_SIZE])
{
    unsigned size = 0;
    bool ok = h->ctx != NULL && EVP_DigestFinal_ex(h->ctx, ret_hash, &size) == 1 && size == SHA256_SIZE;
    fail(h);
    return ok;
}

bool sha256_end(struct sha256 *h, char ret_text[SHA256_HEX_SIZE])
{
    uint8_t hash[SHA256_SIZE];
    bool ok = end(h, hash);
    if (ok)
        *hex_put(ret_text, hash, sizeof hash) = '\0';
    return ok;
}

bool sha256(const struct slice *parts, size_t part_count, uint8_t ret_hash[SHA256_SIZE])
{
    struct sha256 h;
    sha256_begin(&h);
    for (size_t i = 0; i < part_count; i++)
        sha256_add(&h, parts[i].p, parts[i].size);
    return end(&h, ret_hash);
}

bool sha256_hex(struct slice bytes, char ret_text[SHA256_HEX_SIZE])
{
    struct sha256 h;
    sha256_begin(&h);
    sha256_add(&h, bytes.p, bytes.size);
    return sha256_end(&h, ret_text);
}
