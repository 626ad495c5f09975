/* SPDX-License-Identifier: Apache-2.0
 *
 * SQL text as tokens, by the lexical rules of SQLite: for places in a text, comments, and the comparison of expressions
 * of which only the text is known. What a statement means, SQLite is asked. Pure; text of any kind is taken.
 */
#ifndef FICUS_DATA_SQL_SCAN_H
#define FICUS_DATA_SQL_SCAN_H

#include "slice.h"

enum sql_kind {
    SQL_END,
    SQL_COMMENT,    /* with its marks */
    SQL_WORD,       /* keyword or name without quotes */
    SQL_QUOTED,     /* "name", `name` or [name] */
    SQL_STRING,     /* 'text' */
    SQL_BLOB,       /* x'00' */
    SQL_NUMBER,
    SQL_VARIABLE,   /* ?1 :a @a $a */
    SQL_SIGN,       /* one byte */
    SQL_BAD,        /* a quote that is never closed: all that is left */
};

struct sql_token {
    enum sql_kind kind;
    struct slice text;  /* as it stands in the source */
};

/* The next token of *rest, which is shortened by it; blanks and a byte order mark are passed over. */
struct sql_token sql_next(struct slice *rest);
/* The same without comments. */
struct sql_token sql_next_code(struct slice *rest);

/* Is it this keyword? Case does not matter. */
bool sql_is(const struct sql_token *t, const char *word);
/* Is it this name, with or without quotes? ASCII case does not matter, as for SQLite. */
bool sql_names(const struct sql_token *t, const char *name);

/* Line and column of text.p[offset], from 1; columns count code points. */
void sql_place(struct slice text, size_t offset, uint32_t *ret_line, uint32_t *ret_column);

#endif
