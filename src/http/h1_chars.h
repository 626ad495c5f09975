/* SPDX-License-Identifier: Apache-2.0
 *
 * Character classes of RFC 9110 and RFC 3986 in one table: one byte a character, one bit a class. Runs of one class are
 * what parsers spend their time on, so they have functions of their own.
 */
#ifndef FICUS_HTTP_H1_CHARS_H
#define FICUS_HTTP_H1_CHARS_H

#include "sixteen.h"

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

/* The same for H1_TOKEN, where a field name begins: most have letters and "-" only, and sixteen of them are looked at together. */
static inline const char *h1_name_span(const char *p, const char *end)
{
    while (end - p >= 16) {
        sixteen x = sixteen_load(p);
        unsigned others = ~sixteen_mask(sixteen_within(x | sixteen_all(0x20), 'a', 'z') | sixteen_is(x, '-')) & 0xffff;
        p += others == 0 ? 16 : __builtin_ctz(others);
        if (others != 0)
            return *p == ':' ? p : h1_span(p, end, H1_TOKEN);
    }
    return h1_span(p, end, H1_TOKEN);
}

/* The same for H1_VALUE. Values are the bulk of a head, and all of their characters but HTAB are no control characters:
 * sixteen are looked at together. */
static inline const char *h1_value_span(const char *p, const char *end)
{
    while (end - p >= 16) {
        sixteen x = sixteen_load(p);
        unsigned controls = sixteen_mask(sixteen_within(x, 0, 0x1f) | sixteen_is(x, 0x7f));
        p += controls == 0 ? 16 : __builtin_ctz(controls);
        if (controls == 0)
            continue;
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
