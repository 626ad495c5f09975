/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 (FIPS 180-4): checksums and chains, not for secrets (keyed_hash of identity.h is). Pure.
 */
#ifndef FICUS_SECURITY_SHA256_H
#define FICUS_SECURITY_SHA256_H

#include "slice.h"

enum {
    SHA256_SIZE = 32,
    SHA256_HEX_SIZE = 65, /* 64 digits and a NUL */
};

/* Of what comes piece by piece. */
struct sha256 {
    void *ctx; /* EVP_MD_CTX *; NULL: failed */
};
void sha256_begin(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *p, size_t size);
/* Lower-case hex; always to be called. False: out of memory, or OpenSSL failed somewhere on the way. */
bool sha256_end(struct sha256 *h, char ret_text[SHA256_HEX_SIZE]);

/* Of the parts one behind the other; of one, as lower-case hex. False: as above. */
bool sha256(const struct slice *parts, size_t part_count, uint8_t ret_hash[SHA256_SIZE]);
bool sha256_hex(struct slice bytes, char ret_text[SHA256_HEX_SIZE]);

#endif
