/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of IP addresses ("10.0.0.0/8", "fd00::/8", "192.0.2.7") and what lies in them. An IPv4 address and the IPv6
 * address that stands for it (::ffff:a.b.c.d) are the same. Pure.
 */
#ifndef FICUS_PROXY_ADDRESS_BLOCK_H
#define FICUS_PROXY_ADDRESS_BLOCK_H

#include "slice.h"

struct address_block {
    uint8_t bytes[16]; /* as IPv6 */
    unsigned bits;     /* how many of them are fixed: 0..128 */
};

/* False: no block, or one with bits set behind those that are fixed, which nobody can have meant. */
bool address_block_parse(struct slice text, struct address_block *ret_block);
/* One address. */
bool address_parse(struct slice text, uint8_t ret_bytes[16]);
bool address_block_has(const struct address_block *b, const uint8_t bytes[16]);
/* The address of "192.0.2.7:80" or "[2001:db8::1]:80", as a peer is written; size 0: it has none. */
struct slice address_of_peer(struct slice text);

#endif
