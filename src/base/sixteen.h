/* SPDX-License-Identifier: Apache-2.0
 *
 * Sixteen bytes looked at together, for the scanners that every request runs through: each comparison gives a byte of ones or
 * zeros for each, sixteen_mask makes a bit of each. Vectors of the compiler, so that it is the same everywhere; only the mask has an
 * instruction of its own on x86-64. Pure.
 */
#ifndef FICUS_BASE_SIXTEEN_H
#define FICUS_BASE_SIXTEEN_H

#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef uint8_t sixteen __attribute__((vector_size(16)));

static inline sixteen sixteen_load(const void *p)
{
    sixteen x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline sixteen sixteen_all(uint8_t c)
{
    return (sixteen){c, c, c, c, c, c, c, c, c, c, c, c, c, c, c, c};
}

static inline sixteen sixteen_is(sixteen x, char c)
{
    return (sixteen)(x == sixteen_all((uint8_t)c));
}

/* first <= byte <= last */
static inline sixteen sixteen_within(sixteen x, uint8_t first, uint8_t last)
{
    return (sixteen)(x - sixteen_all(first) <= sixteen_all((uint8_t)(last - first)));
}

/* Bit i is set when byte i of a result is not zero. */
static inline unsigned sixteen_mask(sixteen result)
{
#ifdef __SSE2__
    return (unsigned)_mm_movemask_epi8((__m128i)result);
#else
    unsigned mask = 0;
    for (unsigned i = 0; i < 16; i++)
        mask |= (result[i] & 1U) << i;
    return mask;
#endif
}

#endif
