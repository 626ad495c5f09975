/* SPDX-License-Identifier: Apache-2.0
 *
 * See mac.h.
 */
#include "mac.h"

#include "assert.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

bool mac_init(struct mac *m, struct slice secret)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    m->ready = hmac != NULL ? EVP_MAC_CTX_new(hmac) : NULL;
    EVP_MAC_free(hmac); /* the context holds a reference of its own */
    if (m->ready != NULL && EVP_MAC_init(m->ready, (const unsigned char *)secret.p, secret.size, params) == 1)
        return true;
    ERR_clear_error();
    mac_done(m);
    return false;
}

void mac_done(struct mac *m)
{
    EVP_MAC_CTX_free(m->ready);
    m->ready = NULL;
}

void mac_begin(struct mac_run *run, const struct mac *m)
{
    FICUS_ASSERT(m->ready != NULL);
    run->ctx = EVP_MAC_CTX_dup(m->ready);
    run->failed = run->ctx == NULL;
}

void mac_add(struct mac_run *run, struct slice bytes)
{
    if (!run->failed && bytes.size > 0)
        run->failed = EVP_MAC_update(run->ctx, (const unsigned char *)bytes.p, bytes.size) != 1;
}

bool mac_end(struct mac_run *run, uint8_t ret_mac[MAC_SIZE])
{
    size_t size = 0;
    if (!run->failed)
        run->failed = EVP_MAC_final(run->ctx, ret_mac, &size, MAC_SIZE) != 1 || size != MAC_SIZE;
    EVP_MAC_CTX_free(run->ctx);
    run->ctx = NULL;
    if (run->failed)
        ERR_clear_error();
    return !run->failed;
}
