/* SPDX-License-Identifier: Apache-2.0 */
#include "sql_scan.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || is_digit(c) || c == '_' || c == '$' || (c & 0x80) != 0;
}

static char at(struct slice s, size_t i)
{
    return i < s.size ? s.p[i] : '\0';
}

/* The size of what begins with a quote; a doubled quote stands for itself, but not in []. 0: never closed. */
static size_t quoted_size(struct slice s)
{
    char end = s.p[0] == '[' ? ']' : s.p[0];
    for (size_t i = 1; i < s.size; i++) {
        if (s.p[i] != end)
            continue;
        if (end == ']' || at(s, i + 1) != end)
            return i + 1;
        i++;
    }
    return 0;
}

static size_t comment_size(struct slice s)
{
    size_t i = 2;
    if (s.p[0] == '-') {
        while (i < s.size && s.p[i] != '\n')
            i++;
        return i;
    }
    while (i < s.size && !(s.p[i] == '*' && at(s, i + 1) == '/'))
        i++;
    return i < s.size ? i + 2 : s.size; /* to SQLite one that is never closed is one as well */
}

static size_t number_size(struct slice s)
{
    size_t i = 1;
    while (i < s.size && (is_name(s.p[i]) || s.p[i] == '.' ||
           ((s.p[i] == '+' || s.p[i] == '-') && (s.p[i - 1] | 0x20) == 'e' && at(s, 1) != 'x' && at(s, 1) != 'X')))
        i++;
    return i;
}

static size_t name_size(struct slice s, size_t i)
{
    while (i < s.size && is_name(s.p[i]))
        i++;
    return i;
}

static enum sql_kind token_of(struct slice s, size_t *ret_size)
{
    char c = s.p[0], next = at(s, 1);
    *ret_size = 1;
    if ((c == '-' && next == '-') || (c == '/' && next == '*')) {
        *ret_size = comment_size(s);
        return SQL_COMMENT;
    }
    if (c == '\'' || c == '"' || c == '`' || c == '[') {
        *ret_size = quoted_size(s);
        return *ret_size == 0 ? SQL_BAD : c == '\'' ? SQL_STRING : SQL_QUOTED;
    }
    if ((c == 'x' || c == 'X') && next == '\'') {
        size_t size = quoted_size(slice_from(s, 1));
        *ret_size = size == 0 ? 0 : size + 1;
        return size == 0 ? SQL_BAD : SQL_BLOB;
    }
    if (is_digit(c) || (c == '.' && is_digit(next))) {
        *ret_size = number_size(s);
        return SQL_NUMBER;
    }
    if (c == '?' || ((c == ':' || c == '@' || c == '$' || c == '#') && is_name(next))) {
        *ret_size = name_size(s, 1);
        return SQL_VARIABLE;
    }
    if (is_name(c) && c != '$') {
        *ret_size = name_size(s, 1);
        return SQL_WORD;
    }
    return SQL_SIGN;
}

struct sql_token sql_next(struct slice *rest)
{
    for (;;) {
        if (rest->size > 0 && is_blank(rest->p[0]))
            *rest = slice_from(*rest, 1);
        else if (slice_starts(*rest, SLICE("\xef\xbb\xbf")))
            *rest = slice_from(*rest, 3);
        else
            break;
    }
    struct sql_token t = {SQL_END, slice_make(rest->p, 0)};
    if (rest->size == 0)
        return t;
    t.kind = token_of(*rest, &t.text.size);
    if (t.kind == SQL_BAD)
        t.text.size = rest->size;
    *rest = slice_from(*rest, t.text.size);
    return t;
}

struct sql_token sql_next_code(struct slice *rest)
{
    struct sql_token t = sql_next(rest);
    while (t.kind == SQL_COMMENT)
        t = sql_next(rest);
    return t;
}

bool sql_is(const struct sql_token *t, const char *word)
{
    return t->kind == SQL_WORD && slice_eq_nocase(t->text, slice_str(word));
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool sql_names(const struct sql_token *t, const char *name)
{
    if (t->kind == SQL_WORD)
        return slice_eq_nocase(t->text, slice_str(name));
    if (t->kind != SQL_QUOTED && t->kind != SQL_STRING)
        return false;
    char quote = t->text.p[t->text.size - 1];
    struct slice inner = slice_make(t->text.p + 1, t->text.size - 2);
    size_t n = 0;
    for (size_t i = 0; i < inner.size; i++, n++) {
        if (name[n] == '\0' || lower(name[n]) != lower(inner.p[i]))
            return false;
        i += inner.p[i] == quote;   /* doubled */
    }
    return name[n] == '\0';
}

void sql_place(struct slice text, size_t offset, uint32_t *ret_line, uint32_t *ret_column)
{
    *ret_line = *ret_column = 1;
    for (size_t i = 0; i < offset && i < text.size; i++) {
        if (text.p[i] == '\n') {
            ++*ret_line;
            *ret_column = 1;
        } else if ((text.p[i] & 0xc0) != 0x80) {
            ++*ret_column;
        }
    }
}
