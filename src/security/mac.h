/* SPDX-License-Identifier: Apache-2.0
 *
 * HMAC-SHA256 with a key that is prepared once: algorithm fetch and key schedule are dear in OpenSSL 3, copying a
 * ready context is not. A prepared struct mac is only read afterwards, by any thread. Inside src/security only.
 */
#ifndef FICUS_SECURITY_MAC_H
#define FICUS_SECURITY_MAC_H

#include "slice.h"

#include <openssl/types.h>

enum { MAC_SIZE = 32 };

struct mac {
    EVP_MAC_CTX *ready;     /* key is set, nothing hashed yet */
};

/* One computation; on the stack of its thread. */
struct mac_run {
    EVP_MAC_CTX *ctx;
    bool failed;
};

bool mac_init(struct mac *m, struct slice secret);
void mac_done(struct mac *m);       /* OpenSSL wipes the key schedule; harmless on a zeroed struct */

void mac_begin(struct mac_run *run, const struct mac *m);
void mac_add(struct mac_run *run, struct slice bytes);
bool mac_end(struct mac_run *run, uint8_t ret_mac[MAC_SIZE]);   /* always to be called; false: out of memory */

#endif
