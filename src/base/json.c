/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict JSON reader (RFC 8259). One pass without recursion: the open containers are on a bounded stack of frames.
 * A string without escapes borrows from the text. Duplicate members are found by comparing up to SMALL_OBJECT members with
 * each other; larger objects are sorted when they close, which no choice of names can make slow.
 */
#include "json.h"

#include "assert.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>

enum { DEPTH_DEFAULT = 64, SIZE_DEFAULT = 1 << 20, VALUES_DEFAULT = 100000, SMALL_OBJECT = 16, FRAMES_ON_STACK = 64 };

struct frame {
    struct json *container, *last;
};

struct reader {
    struct arena *arena;
    struct slice text;
    const char *at, *end;
    struct json_limits limits;
    uint32_t values;
    struct frame *frames;
    uint32_t depth;
    struct slice key;           /* of the next value, when in an object */
    enum ficus_err code;        /* of the failure, when a function said so */
    struct ficus_error *reterr;
};

void json_position(struct slice text, size_t offset, uint32_t *ret_line, uint32_t *ret_column)
{
    uint32_t line = 1, column = 1;
    for (size_t i = 0; i < offset && i < text.size; i++) {
        if (text.p[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)text.p[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    *ret_line = line;
    *ret_column = column;
}

size_t json_key_offset(const struct json *v, struct slice text)
{
    FICUS_ASSERT(v->offset <= text.size);
    size_t at = v->offset;
    while (at > 0 && text.p[at - 1] != '"')     /* blanks and the colon */
        at--;
    FICUS_ASSERT(at >= 2);
    size_t quote = at - 2;
    for (;; quote--) {
        size_t slashes = 0;
        while (text.p[quote] == '"' && slashes < quote && text.p[quote - 1 - slashes] == '\\')
            slashes++;
        if (text.p[quote] == '"' && slashes % 2 == 0)
            return quote;
        FICUS_ASSERT(quote > 0);
    }
}

/* ---- failures: each returns false, so that "return fail_...()" is one statement ---- */

static bool fail(struct reader *r, enum ficus_err code, const char *at, const char *text)
{
    uint32_t line, column;
    json_position(r->text, (size_t)(at - r->text.p), &line, &column);
    r->code = err_set(r->reterr, code, "%u:%u: %s", line, column, text);
    return false;
}

static bool fail_expected(struct reader *r, const char *expected)
{
    char found[96];
    unsigned char c = r->at < r->end ? (unsigned char)*r->at : 0;
    if (r->at >= r->end)
        (void)snprintf(found, sizeof found, "found the end of the text, expected %s", expected);
    else if (c > 0x20 && c < 0x7f)
        (void)snprintf(found, sizeof found, "found '%c', expected %s", c, expected);
    else
        (void)snprintf(found, sizeof found, "found byte 0x%02x, expected %s", c, expected);
    return fail(r, FICUS_ERR_PARSE, r->at, found);
}

static bool fail_memory(struct reader *r, size_t size)
{
    bool ceiling = size > r->arena->size_max || arena_size(r->arena) > r->arena->size_max - size;
    return ceiling ? fail(r, FICUS_ERR_TOO_LARGE, r->at, "the document needs more memory than it may have")
                   : fail(r, FICUS_ERR_NOMEM, r->at, "out of memory");
}

/* ---- strings ---- */

enum { PLAIN = 0, QUOTE, ESCAPE, CONTROL, HIGH };

#define C4 CONTROL, CONTROL, CONTROL, CONTROL
#define P4 PLAIN, PLAIN, PLAIN, PLAIN
#define H4 HIGH, HIGH, HIGH, HIGH
#define H16 H4, H4, H4, H4
static const unsigned char string_class[256] = {
    C4, C4, C4, C4, C4, C4, C4, C4,
    PLAIN, PLAIN, QUOTE, PLAIN, P4, P4, P4, P4, P4, P4, P4,
    P4, P4, P4, P4, P4, P4, P4, ESCAPE, PLAIN, PLAIN, PLAIN,
    P4, P4, P4, P4, P4, P4, P4, P4,
    H16, H16, H16, H16, H16, H16, H16, H16,
};
#undef C4
#undef P4
#undef H4
#undef H16

/* Four hex digits at p, or -1. */
static int hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* r->at is at a backslash; leaves it behind the escape. */
static bool check_escape(struct reader *r, bool *ret_nul)
{
    const char *start = r->at;
    if (r->end - start < 2) {
        r->at = r->end;
        return fail_expected(r, "an escape");
    }
    if (start[1] != 'u') {
        if (memchr("\"\\/bfnrt", start[1], 8) == NULL)
            return fail(r, FICUS_ERR_PARSE, start, "unknown escape, allowed are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX");
        r->at += 2;
        return true;
    }
    int unit = hex4(start + 2, r->end);
    if (unit < 0)
        return fail(r, FICUS_ERR_PARSE, start, "\\u needs four hexadecimal digits");
    r->at += 6;
    if (unit == 0)
        *ret_nul = true;
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return fail(r, FICUS_ERR_PARSE, start, "low surrogate without a high one before it");
    if (unit < 0xd800 || unit > 0xdbff)
        return true;
    int low = r->end - r->at >= 2 && r->at[0] == '\\' && r->at[1] == 'u' ? hex4(r->at + 2, r->end) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return fail(r, FICUS_ERR_PARSE, start, "high surrogate without a low one behind it");
    r->at += 6;
    return true;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    }
    return out;
}

/* Decode a string that check_escape has found right. out has room for raw.size bytes: no escape grows. */
static size_t decode_string(struct slice raw, char *out)
{
    char *start = out;
    const char *end = raw.p + raw.size;
    for (const char *p = raw.p; p < end;) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        char c = p[1];
        p += 2;
        if (c == 'u') {
            uint32_t unit = (uint32_t)hex4(p, end);
            p += 4;
            if (unit >= 0xd800 && unit <= 0xdbff) {
                unit = 0x10000 + ((unit - 0xd800) << 10) + ((uint32_t)hex4(p + 2, end) - 0xdc00);
                p += 6;
            }
            out = put_utf8(out, unit);
            continue;
        }
        *out++ = (char)(c == 'b' ? '\b' : c == 'f' ? '\f' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c);
    }
    return (size_t)(out - start);
}

/* r->at is at the opening quote; leaves it behind the closing one. */
static bool read_string(struct reader *r, bool is_key, struct slice *ret_text)
{
    const char *open = r->at++;
    bool escaped = false, nul = false;
    for (;;) {
        while (r->at < r->end && string_class[(unsigned char)*r->at] == PLAIN)
            r->at++;
        if (r->at == r->end)
            return fail(r, FICUS_ERR_PARSE, open, "string has no end");
        unsigned char class = string_class[(unsigned char)*r->at];
        if (class == QUOTE)
            break;
        if (class == CONTROL)
            return fail(r, FICUS_ERR_PARSE, r->at, "control character in a string, write it as an escape");
        if (class == ESCAPE) {
            escaped = true;
            if (!check_escape(r, &nul))
                return false;
            continue;
        }
        size_t step = text_utf8_step(r->at, (size_t)(r->end - r->at));
        if (step == 0)
            return fail(r, FICUS_ERR_PARSE, r->at, "not valid UTF-8");
        r->at += step;
    }
    struct slice raw = {open + 1, (size_t)(r->at - open - 1)};
    r->at++;
    if (is_key && nul)
        return fail(r, FICUS_ERR_PARSE, open, "NUL in a member name");
    if (!escaped) {
        *ret_text = raw;
        return true;
    }
    char *out = arena_alloc(r->arena, raw.size);
    if (out == NULL)
        return fail_memory(r, raw.size);
    *ret_text = slice_make(out, decode_string(raw, out));
    return true;
}

/* ---- numbers ---- */

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* Decimal exponent that is written at p (sign and digits), held within +-100 million. */
static int64_t read_exponent(const char *p, const char *end)
{
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    int64_t value = 0;
    for (; p < end; p++)
        value = value < 100000000 ? value * 10 + (*p - '0') : value;
    return negative ? -value : value;
}

/*
 * Whether the decimal number rounds to a finite double. digits is the part before the exponent, without sign. From the
 * midpoint between DBL_MAX and 2^1024 on it does not; the midpoint's first 40 digits decide (nearer calls are refused).
 */
static bool fits_double(struct slice digits, int64_t exponent)
{
    static const char midpoint[] = "1797693134862315807937289714053034150799";
    ptrdiff_t dot = slice_find(digits, '.');
    size_t whole = dot < 0 ? digits.size : (size_t)dot;
    size_t first = 0;
    while (first < digits.size && (digits.p[first] == '0' || digits.p[first] == '.'))
        first++;
    if (first == digits.size)
        return true;
    int64_t scale = first < whole ? (int64_t)(whole - first) - 1 : -(int64_t)(first - whole);
    scale += exponent;
    if (scale != 308)
        return scale < 308;
    size_t at = first;
    for (size_t i = 0; i < sizeof midpoint - 1; i++, at++) {
        if (at < digits.size && digits.p[at] == '.')
            at++;
        char c = at < digits.size ? digits.p[at] : '0';
        if (c != midpoint[i])
            return c < midpoint[i];
    }
    return false;
}

static bool read_number(struct reader *r, struct slice *ret_text)
{
    const char *start = r->at;
    if (*r->at == '-')
        r->at++;
    const char *digits = r->at;
    r->at = skip_digits(r->at, r->end);
    if (r->at == digits)
        return fail_expected(r, "a digit");
    if (*digits == '0' && r->at - digits > 1)
        return fail(r, FICUS_ERR_PARSE, start, "number with a leading zero");
    bool integer = true;
    if (r->at < r->end && *r->at == '.') {
        integer = false;
        const char *fraction = ++r->at;
        r->at = skip_digits(r->at, r->end);
        if (r->at == fraction)
            return fail_expected(r, "a digit");
    }
    struct slice mantissa = {digits, (size_t)(r->at - digits)};
    int64_t exponent = 0;
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        integer = false;
        const char *sign = ++r->at;
        if (r->at < r->end && (*r->at == '-' || *r->at == '+'))
            r->at++;
        const char *first = r->at;
        r->at = skip_digits(r->at, r->end);
        if (r->at == first)
            return fail_expected(r, "a digit");
        exponent = read_exponent(sign, r->at);
    }
    *ret_text = (struct slice){start, (size_t)(r->at - start)};
    int64_t ignored;
    if (integer && mantissa.size > 18 && !slice_to_i64(*ret_text, &ignored))
        return fail(r, FICUS_ERR_PARSE, start, "whole number beyond 64 bits");
    if (!integer && !fits_double(mantissa, exponent))
        return fail(r, FICUS_ERR_PARSE, start, "number too large for a double");
    return true;
}

/* ---- duplicate members ---- */

static int member_cmp(const struct json *a, const struct json *b)
{
    int order = slice_cmp(a->key, b->key);
    return order != 0 ? order : a->offset < b->offset ? -1 : a->offset > b->offset;
}

static void sift_down(struct json **heap, size_t root, size_t count)
{
    for (;;) {
        size_t child = root * 2 + 1;
        if (child >= count)
            return;
        if (child + 1 < count && member_cmp(heap[child], heap[child + 1]) < 0)
            child++;
        if (member_cmp(heap[root], heap[child]) >= 0)
            return;
        struct json *swap = heap[root];
        heap[root] = heap[child];
        heap[child] = swap;
        root = child;
    }
}

/* Heapsort: in place and never quadratic, whatever names a peer chooses. */
static void sort_members(struct json **members, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(members, i, count);
    for (size_t last = count; last-- > 1;) {
        struct json *swap = members[0];
        members[0] = members[last];
        members[last] = swap;
        sift_down(members, 0, last);
    }
}

static bool fail_duplicate(struct reader *r, const struct json *v)
{
    char text[160];
    (void)snprintf(text, sizeof text, "member \"%.*s\" occurs twice", (int)(v->key.size < 64 ? v->key.size : 64), v->key.p);
    return fail(r, FICUS_ERR_PARSE, r->text.p + json_key_offset(v, r->text), text);
}

static bool check_large_object(struct reader *r, const struct json *object)
{
    struct json **members = mem_array(object->count, sizeof *members);
    if (members == NULL)
        return fail(r, FICUS_ERR_NOMEM, r->at, "out of memory");
    size_t count = 0;
    for (struct json *v = object->first; v != NULL; v = v->next)
        members[count++] = v;
    sort_members(members, count);
    const struct json *duplicate = NULL;
    for (size_t i = 1; i < count; i++)
        if (slice_eq(members[i - 1]->key, members[i]->key) && (duplicate == NULL || members[i]->offset < duplicate->offset))
            duplicate = members[i];
    mem_free(members);
    return duplicate == NULL || fail_duplicate(r, duplicate);
}

/* ---- values ---- */

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

static bool read_word(struct reader *r, struct slice word, enum json_type type, struct json *v)
{
    if (!slice_starts(slice_make(r->at, (size_t)(r->end - r->at)), word))
        return fail_expected(r, "a value");
    r->at += word.size;
    v->type = type;
    return true;
}

/* A scalar is read whole; of a container only the opening bracket, and its text has no size yet. */
static bool read_start(struct reader *r, struct json *v)
{
    switch (r->at < r->end ? *r->at : '\0') {
    case '"':
        v->type = JSON_STRING;
        return read_string(r, false, &v->text);
    case '{':
        v->type = JSON_OBJECT;
        v->text.p = r->at++;
        return true;
    case '[':
        v->type = JSON_ARRAY;
        v->text.p = r->at++;
        return true;
    case 't': return read_word(r, SLICE("true"), JSON_TRUE, v);
    case 'f': return read_word(r, SLICE("false"), JSON_FALSE, v);
    case 'n': return read_word(r, SLICE("null"), JSON_NULL, v);
    case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        v->type = JSON_NUMBER;
        return read_number(r, &v->text);
    default: return fail_expected(r, "a value");
    }
}

/* Append v to the innermost open container. */
static bool link_value(struct reader *r, struct json *v)
{
    struct frame *f = &r->frames[r->depth - 1];
    if (f->container->type == JSON_OBJECT) {
        v->key = r->key;
        if (f->container->count < SMALL_OBJECT)
            for (const struct json *other = f->container->first; other != NULL; other = other->next)
                if (slice_eq(other->key, v->key))
                    return fail_duplicate(r, v);
    }
    if (f->last == NULL)
        f->container->first = v;
    else
        f->last->next = v;
    f->last = v;
    f->container->count++;
    return true;
}

static struct json *read_value(struct reader *r)
{
    skip_blanks(r);
    if (r->values++ >= r->limits.values_max) {
        (void)fail(r, FICUS_ERR_TOO_LARGE, r->at, "too many values");
        return NULL;
    }
    struct json *v = ARENA_NEW(r->arena, struct json);
    if (v == NULL) {
        (void)fail_memory(r, sizeof *v);
        return NULL;
    }
    v->offset = (uint32_t)(r->at - r->text.p);
    if (r->depth > 0 && !link_value(r, v))
        return NULL;
    return read_start(r, v) ? v : NULL;
}

/* Member name and colon, into r->key. */
static bool read_key(struct reader *r)
{
    skip_blanks(r);
    if (r->at >= r->end || *r->at != '"')
        return fail_expected(r, "a member name in double quotes");
    if (!read_string(r, true, &r->key))
        return false;
    skip_blanks(r);
    if (r->at >= r->end || *r->at != ':')
        return fail_expected(r, "':'");
    r->at++;
    return true;
}

/* After the opening bracket of v. *ret_value_follows is false when it is closed already. */
static bool open_container(struct reader *r, struct json *v, bool *ret_value_follows)
{
    if (r->depth >= r->limits.depth_max)
        return fail(r, FICUS_ERR_TOO_LARGE, r->at - 1, "nested too deeply");
    skip_blanks(r);
    if (r->at < r->end && *r->at == (v->type == JSON_OBJECT ? '}' : ']')) {
        v->text.size = (size_t)(++r->at - v->text.p);
        *ret_value_follows = false;
        return true;
    }
    r->frames[r->depth++] = (struct frame){v, NULL};
    *ret_value_follows = true;
    return v->type == JSON_ARRAY || read_key(r);
}

/* After a value: close what closes. *ret_value_follows is false at the end of the root. */
static bool after_value(struct reader *r, bool *ret_value_follows)
{
    while (r->depth > 0) {
        struct json *container = r->frames[r->depth - 1].container;
        bool object = container->type == JSON_OBJECT;
        skip_blanks(r);
        char c = r->at < r->end ? *r->at : '\0';
        if (c == ',') {
            r->at++;
            *ret_value_follows = true;
            return !object || read_key(r);
        }
        if (c != (object ? '}' : ']'))
            return fail_expected(r, object ? "',' or '}'" : "',' or ']'");
        container->text.size = (size_t)(++r->at - container->text.p);
        if (object && container->count > SMALL_OBJECT && !check_large_object(r, container))
            return false;
        r->depth--;
    }
    *ret_value_follows = false;
    return true;
}

static bool read_document(struct reader *r, struct json **ret_root)
{
    struct json *root = NULL;
    for (bool more = true; more;) {
        struct json *v = read_value(r);
        if (v == NULL)
            return false;
        if (root == NULL)
            root = v;
        more = false;
        if ((v->type == JSON_OBJECT || v->type == JSON_ARRAY) && !open_container(r, v, &more))
            return false;
        if (!more && !after_value(r, &more))
            return false;
    }
    skip_blanks(r);
    if (r->at != r->end)
        return fail_expected(r, "the end of the text");
    *ret_root = root;
    return true;
}

enum ficus_err json_parse(struct arena *a, struct slice text, const struct json_limits *limits, struct json **ret_root,
                          struct ficus_error *reterr)
{
    struct json_limits l = limits == NULL ? (struct json_limits){0} : *limits;
    l.depth_max = l.depth_max == 0 ? DEPTH_DEFAULT : l.depth_max;
    l.size_max = l.size_max == 0 ? SIZE_DEFAULT : l.size_max;
    l.values_max = l.values_max == 0 ? VALUES_DEFAULT : l.values_max;
    if (text.p == NULL)
        text = SLICE("");
    struct frame frames[FRAMES_ON_STACK];
    struct reader r = {.arena = a, .text = text, .at = text.p, .end = text.p + text.size, .limits = l, .frames = frames, .reterr = reterr};
    if (text.size > l.size_max)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "1:1: %zu bytes, at most %u are allowed", text.size, l.size_max);
    if (l.depth_max > FRAMES_ON_STACK) {
        r.frames = ARENA_ARRAY(a, struct frame, l.depth_max);
        if (r.frames == NULL)
            return err_set(reterr, FICUS_ERR_NOMEM, "1:1: out of memory");
    }
    return read_document(&r, ret_root) ? FICUS_ERR_OK : r.code;
}

/* ---- reading the tree ---- */

struct json *json_get_slice(const struct json *object, struct slice key)
{
    if (object == NULL || object->type != JSON_OBJECT)
        return NULL;
    for (struct json *v = object->first; v != NULL; v = v->next)
        if (slice_eq(v->key, key))
            return v;
    return NULL;
}

struct json *json_get(const struct json *object, const char *key)
{
    return json_get_slice(object, slice_str(key));
}

struct json *json_at(const struct json *array, size_t index)
{
    if (array == NULL || array->type != JSON_ARRAY)
        return NULL;
    struct json *v = array->first;
    while (v != NULL && index-- > 0)
        v = v->next;
    return v;
}

bool json_string(const struct json *v, struct slice *ret_text)
{
    if (v == NULL || v->type != JSON_STRING)
        return false;
    *ret_text = v->text;
    return true;
}

bool json_i64(const struct json *v, int64_t *ret_value)
{
    return v != NULL && v->type == JSON_NUMBER && slice_to_i64(v->text, ret_value);
}

bool json_bool(const struct json *v, bool *ret_value)
{
    if (v == NULL || (v->type != JSON_TRUE && v->type != JSON_FALSE))
        return false;
    *ret_value = v->type == JSON_TRUE;
    return true;
}

struct slice json_string_or(const struct json *v, struct slice fallback)
{
    struct slice text;
    return json_string(v, &text) ? text : fallback;
}

int64_t json_i64_or(const struct json *v, int64_t fallback)
{
    int64_t value;
    return json_i64(v, &value) ? value : fallback;
}
