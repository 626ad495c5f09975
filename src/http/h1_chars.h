/* SPDX-License-Identifier: Apache-2.0
 *
 * Character classes of RFC 9110 and RFC 3986 in one table: one byte a character, one bit a class. Runs of one class are
 * what parsers spend their time on, so they have functions of their own.
 */
#ifndef FICUS_HTTP_H1_CHARS_H
#define FICUS_HTTP_H1_CHARS_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    H1_TOKEN = 1, /* tchar, RFC 9110 5.6.2 */
    H1_VALUE = 2, /* field-vchar, SP, HTAB, obs-text, RFC 9110 5.5: no other control characters, no DEL */
    H1_PATH = 4,  /* pchar and "/", RFC 3986 3.3; "%" is checked apart */
    H1_QUERY =
        8, /* RFC 3986 3.4, and []{}|^`\ which browsers send as they are (WHATWG URL, query percent-encode set) */
    H1_NAME = 16, /* reg-name, RFC 3986 3.2.2 */
    H1_HEX = 32,
    H1_DIGIT = 64,
};

extern const uint8_t h1_chars[256];

static inline bool h1_is(char c, unsigned class)
{
    return (h1_chars[(uint8_t)c] & class) != 0;
}

/* Where the run of one class that begins at p ends, at most at end. */
static inline const char *h1_span(const char *p, const char *end, unsigned class)
{
    while (p < end && h1_is(*p, class))
        p++;
    return p;
}

/* The same for H1_VALUE. Values are the bulk of a head, and all of their characters but HTAB are no control characters
 * (below 0x20, or 0x7f): eight are looked at together. A byte of the mask is right up to the first that is set. */
static inline const char *h1_value_span(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    while (end - p >= 8) {
        uint64_t x, del, mask;
        memcpy(&x, p, sizeof x);
        x = le64toh(x);
        del = x ^ ones * 0x7f;
        mask = (((x - ones * 0x20) & ~x) | ((del - ones) & ~del)) & highs;
        if (mask == 0) {
            p += 8;
            continue;
        }
        p += __builtin_ctzll(mask) / 8;
        if (*p != '\t')
            return p;
        p++;
    }
    return h1_span(p, end, H1_VALUE);
}

/* Value of a hex digit; only for characters of class H1_HEX. */
static inline unsigned h1_hex_value(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

#endif
