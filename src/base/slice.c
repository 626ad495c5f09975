/* SPDX-License-Identifier: Apache-2.0
 *
 * What slices can do beyond the inline part.
 */
#include "slice.h"

/* The bytes of p in a word: all of them for size from 4 to 8, as two halves that may overlap. */
static uint64_t word_of(const char *p, size_t size)
{
    uint32_t first, last;
    memcpy(&first, p, sizeof first);
    memcpy(&last, p + size - sizeof last, sizeof last);
    return first | (uint64_t)last << 32;
}

/* Each byte of a is that of b, or both are the same letter: they differ in 0x20 alone, and a's is a letter with it. */
static bool word_eq_nocase(uint64_t a, uint64_t b)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t differ = a ^ b;
    if (differ == 0)
        return true;
    uint64_t lower = (a & ~highs) | ones * 0x20;
    uint64_t letter = (lower + ones * (0x80 - 'a')) & ~(lower + ones * (0x7f - 'z')) & ~a & highs;
    return (differ & ~(letter >> 2)) == 0;
}

bool slice_bytes_eq_nocase(const char *a, const char *b, size_t size)
{
    for (; size > 8; a += 8, b += 8, size -= 8)
        if (!word_eq_nocase(word_of(a, 8), word_of(b, 8)))
            return false;
    if (size >= 4)
        return word_eq_nocase(word_of(a, size), word_of(b, size));
    for (size_t i = 0; i < size; i++)
        if (!word_eq_nocase((unsigned char)a[i], (unsigned char)b[i]))
            return false;
    return true;
}

bool slice_starts(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size && (prefix.size == 0 || memcmp(s.p, prefix.p, prefix.size) == 0);
}

bool slice_ends(struct slice s, struct slice suffix)
{
    return s.size >= suffix.size &&
           (suffix.size == 0 || memcmp(s.p + (s.size - suffix.size), suffix.p, suffix.size) == 0);
}

int slice_cmp(struct slice a, struct slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.p, b.p, common);
    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

ptrdiff_t slice_find(struct slice s, char c)
{
    const char *at = s.size == 0 ? NULL : memchr(s.p, c, s.size);
    return at == NULL ? -1 : at - s.p;
}

struct slice slice_cut(struct slice *rest, char sep)
{
    ptrdiff_t at = slice_find(*rest, sep);
    struct slice part = *rest;
    if (at < 0) {
        *rest = SLICE_NONE;
        return part;
    }
    part.size = (size_t)at;
    rest->p += at + 1;
    rest->size -= (size_t)at + 1;
    return part;
}

bool slice_to_u64(struct slice s, uint64_t *ret_value)
{
    if (s.size == 0)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < s.size; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value))
            return false;
    }
    *ret_value = value;
    return true;
}

bool slice_to_i64(struct slice s, int64_t *ret_value)
{
    bool negative = s.size > 0 && s.p[0] == '-';
    uint64_t value;
    if (!slice_to_u64(negative ? slice_from(s, 1) : s, &value))
        return false;
    if (value > (uint64_t)INT64_MAX + negative)
        return false;
    *ret_value = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}
