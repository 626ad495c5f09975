/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodings and checks of text.
 */
#include "text.h"

static const char hex_digits[] = "0123456789abcdef";
static const char base64url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool text_hex(struct buf *b, const void *p, size_t size)
{
    const unsigned char *in = p;
    if (!buf_reserve(b, size * 2))
        return false;
    for (size_t i = 0; i < size; i++) {
        char pair[2] = {hex_digits[in[i] >> 4], hex_digits[in[i] & 15]};
        (void)buf_add(b, pair, 2);  /* the room was reserved above */
    }
    return true;
}

bool text_base64url(struct buf *b, const void *p, size_t size)
{
    const unsigned char *in = p;
    if (size > SIZE_MAX / 2 || !buf_reserve(b, (size * 4 + 2) / 3))
        return false;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        unsigned bits = (unsigned)in[i] << 16;
        if (left > 1)
            bits |= (unsigned)in[i + 1] << 8;
        if (left > 2)
            bits |= in[i + 2];
        char quad[4] = {base64url_digits[bits >> 18], base64url_digits[bits >> 12 & 63],
                        base64url_digits[bits >> 6 & 63], base64url_digits[bits & 63]};
        (void)buf_add(b, quad, left > 2 ? 4 : left + 1);    /* the room was reserved above */
    }
    return true;
}

static int base64url_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool text_base64url_decode(struct arena *a, struct slice s, struct slice *ret_bytes)
{
    if (s.size % 4 == 1)
        return false;
    unsigned char *out = arena_alloc(a, s.size / 4 * 3 + 3);
    if (out == NULL)
        return false;
    size_t size = 0;
    unsigned bits = 0, have = 0;
    for (size_t i = 0; i < s.size; i++) {
        int value = base64url_value(s.p[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (unsigned)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[size++] = (unsigned char)(bits >> have & 0xff);
        }
        bits &= (1u << have) - 1;
    }
    if (bits != 0)
        return false;
    *ret_bytes = slice_make(out, size);
    return true;
}

/* RFC 3986 2.3 */
static const bool unreserved[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true};

size_t text_percent_size(struct slice s)
{
    size_t size = s.size;
    for (size_t i = 0; i < s.size; i++)
        size += unreserved[(uint8_t)s.p[i]] ? 0 : 2;
    return size;
}

char *text_percent_put(char *at, struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (unreserved[c]) {
            *at++ = s.p[i];
        } else {
            *at++ = '%';
            *at++ = "0123456789ABCDEF"[c >> 4];
            *at++ = "0123456789ABCDEF"[c & 15];
        }
    }
    return at;
}

bool text_percent_segment(struct buf *b, struct slice s)
{
    bool ok = buf_reserve(b, text_percent_size(s));
    for (size_t i = 0; ok && i < s.size; i++) {
        char one[3];
        ok = buf_add(b, one, (size_t)(text_percent_put(one, slice_make(s.p + i, 1)) - one));
    }
    return ok;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool text_percent_decode(struct arena *a, struct slice s, bool form, struct slice *ret_text)
{
    char *out = arena_alloc(a, s.size + 1);
    if (out == NULL)
        return false;
    size_t size = 0;
    for (size_t i = 0; i < s.size; i++) {
        char c = s.p[i];
        if (c == '%') {
            if (s.size - i < 3 || hex_value(s.p[i + 1]) < 0 || hex_value(s.p[i + 2]) < 0)
                return false;
            c = (char)(hex_value(s.p[i + 1]) << 4 | hex_value(s.p[i + 2]));
            i += 2;
        } else if (c == '+' && form) {
            c = ' ';
        }
        out[size++] = c;
    }
    out[size] = '\0';
    *ret_text = slice_make(out, size);
    return true;
}

size_t text_utf8_step(const char *p, size_t size)
{
    const unsigned char *s = (const unsigned char *)p;
    if (size == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2)
        return 0;
    if (s[0] < 0xe0)
        return size >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
    /* The second byte's range excludes overlong forms, surrogates and what is over U+10FFFF (RFC 3629, 4). */
    unsigned char low = 0x80, high = 0xbf;
    if (s[0] < 0xf0) {
        if (s[0] == 0xe0)
            low = 0xa0;
        else if (s[0] == 0xed)
            high = 0x9f;
        return size >= 3 && s[1] >= low && s[1] <= high && (s[2] & 0xc0) == 0x80 ? 3 : 0;
    }
    if (s[0] > 0xf4)
        return 0;
    if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    return size >= 4 && s[1] >= low && s[1] <= high && (s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80 ? 4 : 0;
}

bool text_utf8_valid(struct slice s)
{
    size_t i = 0;
    while (i < s.size) {
        uint64_t eight;
        if (s.size - i >= sizeof eight) {
            memcpy(&eight, s.p + i, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                i += sizeof eight;
                continue;
            }
        }
        size_t step = text_utf8_step(s.p + i, s.size - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

bool text_printable_ascii(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    return true;
}

enum { NEAR_WORD_MAX = 64 };

/* Edit distance with swaps of neighbours (optimal string alignment); words are at most NEAR_WORD_MAX long. */
static size_t edit_distance(struct slice a, struct slice b)
{
    size_t row[3][NEAR_WORD_MAX + 1];
    for (size_t j = 0; j <= b.size; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= a.size; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *before2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b.size; j++) {
            size_t best = before[j - 1] + (a.p[i - 1] != b.p[j - 1]);
            if (before[j] + 1 < best)
                best = before[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && before2[j - 2] + 1 < best)
                best = before2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[a.size % 3][b.size];
}

const char *text_nearest(struct slice word, const char *const *candidates, size_t count)
{
    const char *nearest = NULL;
    size_t best = 3;
    if (word.size > NEAR_WORD_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct slice candidate = slice_str(candidates[i]);
        if (candidate.size > NEAR_WORD_MAX)
            continue;
        size_t distance = edit_distance(word, candidate);
        if (distance < best && distance * 2 < word.size) {
            best = distance;
            nearest = candidates[i];
        }
    }
    return nearest;
}

size_t text_i64_many(int64_t value, char ret_text[TEXT_I64_SIZE])
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    char *begin = ret_text;
    if (value >= 10 && value < 1000) { /* nearly all: statuses, sizes, durations */
        if (value >= 100)
            *begin++ = (char)('0' + value / 100);
        memcpy(begin, pairs + value % 100 * 2, 2);
        begin[2] = '\0';
        return (size_t)(begin + 2 - ret_text);
    }
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    if (value < 0)
        *begin++ = '-';
    char *end = begin + 1;
    for (uint64_t bound = 10; rest >= bound; bound *= 10) /* ends: rest is below 10^19, which fits */
        end++;
    char *at = end;
    *at = '\0';
    for (; rest >= 10; rest /= 100)
        memcpy(at -= 2, pairs + rest % 100 * 2, 2);
    if (at > begin)
        *--at = (char)('0' + rest);
    return (size_t)(end - ret_text);
}
