/* SPDX-License-Identifier: Apache-2.0 */
#include "sha256.h"

#include "hex.h"

#include <openssl/err.h>
#include <openssl/evp.h>

enum { HASH_SIZE = 32 };

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
    if (h->ctx != NULL && EVP_DigestUpdate(h->ctx, p, size) != 1)
        fail(h);
}

bool sha256_end(struct sha256 *h, char ret_text[SHA256_HEX_SIZE])
{
    uint8_t hash[HASH_SIZE];
    unsigned size = 0;
    bool ok = h->ctx != NULL && EVP_DigestFinal_ex(h->ctx, hash, &size) == 1 && size == sizeof hash;
    fail(h);
    if (ok)
        *hex_put(ret_text, hash, sizeof hash) = '\0';
    return ok;
}
