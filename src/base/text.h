/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodings and checks of text: hex, base64url (RFC 4648, 5, no padding), percent (RFC 3986), UTF-8, near words.
 */
#ifndef FICUS_BASE_TEXT_H
#define FICUS_BASE_TEXT_H

#include "arena.h"
#include "buf.h"

bool text_hex(struct buf *b, const void *p, size_t size);                       /* lower case */
bool text_base64url(struct buf *b, const void *p, size_t size);
/* Strict: no padding, no blanks, no leftover bits set. ret: in the arena. */
bool text_base64url_decode(struct arena *a, struct slice s, struct slice *ret_bytes);

bool text_percent_segment(struct buf *b, struct slice s);   /* all but RFC 3986 unreserved is encoded */
/* The same into memory of text_percent_size(s) bytes at at; returns the end. */
size_t text_percent_size(struct slice s);
char *text_percent_put(char *at, struct slice s);
/* Decode %XX; plus stays plus unless form is true. False on a broken escape. */
bool text_percent_decode(struct arena *a, struct slice s, bool form, struct slice *ret_text);

bool text_utf8_valid(struct slice s);       /* no overlong forms, no surrogates, at most U+10FFFF */
/* Size (1 to 4) of the valid UTF-8 sequence that p begins with, 0 when there is none. */
size_t text_utf8_step(const char *p, size_t size);
bool text_printable_ascii(struct slice s);  /* 0x20..0x7e only */

enum { TEXT_I64_SIZE = 21 }; /* "-9223372036854775808" and a NUL */
/* Decimal digits and a NUL; returns how many characters come before it. */
size_t text_i64_many(int64_t value, char ret_text[TEXT_I64_SIZE]); /* behind it */
static inline size_t text_i64(int64_t value, char ret_text[TEXT_I64_SIZE])
{
    if ((uint64_t)value >= 10)
        return text_i64_many(value, ret_text);
    ret_text[0] = (char)('0' + value);
    ret_text[1] = '\0';
    return 1;
}

/* The candidate nearest to word (edit distance at most 2 and less than half its size), or NULL: for "did you mean". */
const char *text_nearest(struct slice word, const char *const *candidates, size_t count);

#endif
