/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions of JSON Schema: a part of ECMA-262 with the flag u, matched in time proportional to the text times
 * the size of the expression, whatever both are (all states at once, no going back).
 *
 * Known: characters, . ^ $ | ( ) (?: ) * + ? {n} {n,} {n,m} also with a ? behind, [ ] and [^ ] with ranges,
 * \d \D \w \W \s \S, \t \n \r \f \v \0, \xHH \uHHHH \u{H...}, and \ before a character of syntax. Everything else is
 * refused by name, among it look-around, references back, named groups, \b and \p.
 *
 * A pattern lies in the arena it was compiled into and is only read from then on, by any thread. Nothing here blocks.
 */
#ifndef FICUS_SCHEMA_JPATTERN_H
#define FICUS_SCHEMA_JPATTERN_H

#include "arena.h"
#include "err.h"

struct jpattern;

enum { JPATTERN_SIZE_MAX = 1000 };  /* bytes of the expression; also of what it is compiled to, repetitions written out */

/* The expression is copied. INVALID says what is wrong and at which character (from 1); TOO_LARGE; NOMEM. */
enum ficus_err jpattern_compile(struct arena *a, struct slice text, struct jpattern **ret_pattern, struct ficus_error *reterr);
/* Is there a match anywhere in text (UTF-8)? *budget goes down by the steps that it took, which are all looks at parts of
 * the expression; when it is used up before the end, it is 0 and false is returned. Uses 8 KiB of stack. */
bool jpattern_matches(const struct jpattern *p, struct slice text, uint64_t *budget);
struct slice jpattern_text(const struct jpattern *p);

#endif
