/* SPDX-License-Identifier: Apache-2.0
 *
 * The numbers of JSON as what they say, decimals, without rounding: 0.1 is a tenth, and 1, 1.0 and 10e-1 are the same.
 * A decimal borrows from the number's text, which may have any length. All functions are pure; time: linear in the digits.
 */
#ifndef FICUS_SCHEMA_JDECIMAL_H
#define FICUS_SCHEMA_JDECIMAL_H

#include "slice.h"

struct jdecimal {
    const char *first;  /* the first digit that is not 0; a dot may stand between digits */
    size_t count;       /* digits from there to the last one that is not 0; 0: the number is 0 */
    int64_t exponent;   /* of that last digit: value = digits * 10^exponent */
    bool negative;      /* false for 0 */
};

/* text: a number by RFC 8259. */
struct jdecimal jdecimal_of(struct slice text);
int jdecimal_cmp(const struct jdecimal *a, const struct jdecimal *b);   /* <0, 0, >0 */
bool jdecimal_is_whole(const struct jdecimal *d);
/* The value as a whole number of at most max; false: it is none. */
bool jdecimal_to_u32(const struct jdecimal *d, uint32_t max, uint32_t *ret_value);

enum { JDECIMAL_DIVISOR_DIGITS_MAX = 15 };
/* Is a a multiple of b? b is over 0 and has at most JDECIMAL_DIVISOR_DIGITS_MAX digits (count). */
bool jdecimal_is_multiple(const struct jdecimal *a, const struct jdecimal *b);
/* Equal numbers have equal hashes. */
uint64_t jdecimal_hash(const struct jdecimal *d);

#endif
