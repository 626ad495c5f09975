/* SPDX-License-Identifier: Apache-2.0
 *
 * See address_block.h.
 */
#include "address_block.h"

#include <arpa/inet.h>

enum { TEXT_SIZE_MAX = 64, MAPPED_BITS = 96 };

/* 4, 6, or 0: no address. */
static int parse(struct slice text, uint8_t ret_bytes[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char copy[TEXT_SIZE_MAX];
    if (text.size == 0 || text.size >= sizeof copy)
        return 0;
    memcpy(copy, text.p, text.size);
    copy[text.size] = '\0';
    if (strlen(copy) != text.size)
        return 0;
    if (inet_pton(AF_INET, copy, ret_bytes + 12) == 1) {
        memcpy(ret_bytes, mapped, sizeof mapped);
        return 4;
    }
    return inet_pton(AF_INET6, copy, ret_bytes) == 1 ? 6 : 0;
}

bool address_parse(struct slice text, uint8_t ret_bytes[16])
{
    return parse(text, ret_bytes) != 0;
}

/* Whether the bits from `from` on are all 0. */
static bool is_clear(const uint8_t bytes[16], unsigned from)
{
    for (unsigned i = from; i < 128; i++)
        if ((bytes[i / 8] >> (7 - i % 8) & 1) != 0)
            return false;
    return true;
}

bool address_block_parse(struct slice text, struct address_block *ret_block)
{
    struct address_block b;
    struct slice bits = text, address = slice_cut(&bits, '/');
    int family = parse(address, b.bytes);
    uint64_t number = family == 4 ? 32 : 128;
    if (family == 0 || (bits.p != NULL && (!slice_to_u64(bits, &number) || number > (family == 4 ? 32 : 128))))
        return false;
    b.bits = (unsigned)number + (family == 4 ? MAPPED_BITS : 0);
    if (!is_clear(b.bytes, b.bits))
        return false;
    *ret_block = b;
    return true;
}

bool address_block_has(const struct address_block *b, const uint8_t bytes[16])
{
    for (unsigned i = 0; i < b->bits; i++)
        if (((b->bytes[i / 8] ^ bytes[i / 8]) >> (7 - i % 8) & 1) != 0)
            return false;
    return true;
}

struct slice address_of_peer(struct slice text)
{
    size_t colon = text.size; /* the last one, close to the end: a port has few digits */
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return SLICE("");
    struct slice host = slice_make(text.p, colon - 1);
    if (host.size > 2 && host.p[0] == '[' && host.p[host.size - 1] == ']')
        host = slice_make(host.p + 1, host.size - 2);
    return host;
}
