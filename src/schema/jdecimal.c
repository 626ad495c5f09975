/* SPDX-License-Identifier: Apache-2.0 */
#include "jdecimal.h"

#include "assert.h"

enum { EXPONENT_MAX = 100 * 1000 * 1000 };

static int64_t exponent_read(const char *p, const char *end)
{
    bool negative = p < end && *p == '-';
    int64_t value = 0;
    p += p < end && (*p == '-' || *p == '+') ? 1 : 0;
    for (; p < end; p++)
        value = value < EXPONENT_MAX ? value * 10 + (*p - '0') : value; /* as the reader holds it */
    return negative ? -value : value;
}

struct jdecimal jdecimal_of(struct slice text)
{
    struct jdecimal d = {.negative = text.size > 0 && text.p[0] == '-'};
    const char *p = text.p + (d.negative ? 1 : 0), *end = text.p + text.size, *digits_end = p;
    while (digits_end < end && *digits_end != 'e' && *digits_end != 'E')
        digits_end++;
    int64_t exponent = digits_end < end ? exponent_read(digits_end + 1, end) : 0;
    int64_t behind_dot = 0, behind_last = 0; /* digits behind the dot; those behind the last that is not 0 */
    bool dot = false;
    for (; p < digits_end; p++) {
        if (*p == '.') {
            dot = true;
            continue;
        }
        behind_dot += dot ? 1 : 0;
        if (d.first == NULL && *p == '0')
            continue;
        if (d.first == NULL)
            d.first = p;
        behind_last = *p == '0' ? behind_last + 1 : 0;
        d.count++;
    }
    d.count -= d.first == NULL ? 0 : (size_t)behind_last;
    d.exponent = d.count == 0 ? 0 : exponent - behind_dot + behind_last;
    d.negative = d.negative && d.count > 0;
    return d;
}

/* The digit at *p, which moves behind it. */
static unsigned digit_next(const char **p)
{
    if (**p == '.')
        (*p)++;
    return (unsigned)(*(*p)++ - '0');
}

static int magnitude_cmp(const struct jdecimal *a, const struct jdecimal *b)
{
    int64_t top_a = a->exponent + (int64_t)a->count, top_b = b->exponent + (int64_t)b->count;
    if (a->count == 0 || b->count == 0)
        return (a->count > 0) - (b->count > 0);
    if (top_a != top_b)
        return top_a < top_b ? -1 : 1;
    const char *p = a->first, *q = b->first;
    size_t count = a->count < b->count ? a->count : b->count;
    for (size_t i = 0; i < count; i++) {
        unsigned x = digit_next(&p), y = digit_next(&q);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return (a->count > b->count) - (a->count < b->count);
}

int jdecimal_cmp(const struct jdecimal *a, const struct jdecimal *b)
{
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    int cmp = magnitude_cmp(a, b);
    return a->negative ? -cmp : cmp;
}

bool jdecimal_is_whole(const struct jdecimal *d)
{
    return d->exponent >= 0;
}

bool jdecimal_to_u32(const struct jdecimal *d, uint32_t max, uint32_t *ret_value)
{
    uint64_t value = 0;
    if (d->negative || d->exponent < 0 || d->exponent > 10 || d->count > 10)
        return false;
    const char *p = d->first;
    for (size_t i = 0; i < d->count; i++)
        value = value * 10 + digit_next(&p);
    for (int64_t i = 0; i < d->exponent && value <= max; i++)
        value *= 10;
    if (value > max)
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

/* b is a whole number m below 10^15 times a power of ten; products stay below 10^30 < 2^128. */
bool jdecimal_is_multiple(const struct jdecimal *a, const struct jdecimal *b)
{
    FICUS_ASSERT(b->count > 0);
    FICUS_ASSERT(b->count <= JDECIMAL_DIVISOR_DIGITS_MAX);
    uint64_t m = 0, rest = 0;
    const char *p = b->first;
    for (size_t i = 0; i < b->count; i++)
        m = m * 10 + digit_next(&p);
    if (a->count == 0)
        return true;
    if (a->exponent < b->exponent)
        return false; /* a's digits do not end in 0, so no power of ten divides them */
    p = a->first;
    for (size_t i = 0; i < a->count; i++)
        rest = (uint64_t)(((unsigned __int128)rest * 10 + digit_next(&p)) % m);
    uint64_t power = 10 % m;
    for (int64_t e = a->exponent - b->exponent; e > 0; e >>= 1) {
        if (e & 1)
            rest = (uint64_t)((unsigned __int128)rest * power % m);
        power = (uint64_t)((unsigned __int128)power * power % m);
    }
    return rest == 0;
}

uint64_t jdecimal_hash(const struct jdecimal *d)
{
    uint64_t h = (uint64_t)d->exponent * 0x9e3779b97f4a7c15u + (d->negative ? 1 : 2);
    const char *p = d->first;
    for (size_t i = 0; i < d->count; i++)
        h = (h ^ digit_next(&p)) * 0x100000001b3u;
    return h;
}
