/* SPDX-License-Identifier: Apache-2.0
 *
 * What slices can do beyond the inline part.
 */
#include "slice.h"

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool slice_bytes_eq_nocase(const char *a, const char *b, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (a[i] != b[i] && lower(a[i]) != lower(b[i]))
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
