/* SPDX-License-Identifier: Apache-2.0
 *
 * Character classes of RFC 9110 and RFC 3986 in one table: one byte a character, one bit a class.
 */
#ifndef FICUS_HTTP_H1_CHARS_H
#define FICUS_HTTP_H1_CHARS_H

#include <stdbool.h>
#include <stdint.h>

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

/* Value of a hex digit; only for characters of class H1_HEX. */
static inline unsigned h1_hex_value(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

#endif
