/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 (FIPS 180-4) of what comes piece by piece: checksums of files. sha256_hex of identity.h does small texts.
 */
#ifndef FICUS_SECURITY_SHA256_H
#define FICUS_SECURITY_SHA256_H

#include "identity.h"

struct sha256 {
    void *ctx; /* EVP_MD_CTX *; NULL: failed */
};

void sha256_begin(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *p, size_t size);
/* Lower-case hex; always to be called. False: out of memory, or OpenSSL failed somewhere on the way. */
bool sha256_end(struct sha256 *h, char ret_text[SHA256_HEX_SIZE]);

#endif
