/* SPDX-License-Identifier: Apache-2.0
 *
 * Lower-case hex digits for ids that every request has several of; for all else there is text_hex.
 */
#ifndef FICUS_BASE_HEX_H
#define FICUS_BASE_HEX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern const char hex_pairs[512];   /* "000102...ff" */

/* Two digits for each byte at at, without a terminator; returns the end. */
static inline char *hex_put(char *at, const uint8_t *bytes, size_t count)
{
#pragma GCC unroll 8 /* counts are constants of 8 and 16 where it matters: no loop is left of them */
    for (size_t i = 0; i < count; i++, at += 2)
        memcpy(at, &hex_pairs[2 * bytes[i]], 2);
    return at;
}

#endif
