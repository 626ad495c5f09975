/* SPDX-License-Identifier: Apache-2.0
 *
 * Lower-case hex digits for ids that every request has several of; for all else there is text_hex.
 */
#ifndef FICUS_BASE_HEX_H
#define FICUS_BASE_HEX_H

#include "sixteen.h"

#include <stddef.h>

extern const char hex_pairs[512];   /* "000102...ff" */

/* The digits of eight bytes, all made together. */
static inline void hex_put_eight(char *at, const uint8_t *bytes)
{
    sixteen x = {0};
    memcpy(&x, bytes, 8);
    sixteen nibbles = __builtin_shufflevector(x >> 4, x & 15, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    sixteen digits = nibbles + '0' + (sixteen_within(nibbles, 10, 15) & ('a' - '0' - 10));
    memcpy(at, &digits, sizeof digits);
}

/* Two digits for each byte at at, without a terminator; returns the end. */
static inline char *hex_put(char *at, const uint8_t *bytes, size_t count)
{
    for (; count >= 8; at += 16, bytes += 8, count -= 8)
        hex_put_eight(at, bytes);
    for (; count > 0; at += 2, count--)
        memcpy(at, &hex_pairs[2 * *bytes++], 2);
    return at;
}

#endif
