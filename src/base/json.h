/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON by RFC 8259, strict: UTF-8 checked, no duplicate members (compared decoded), no NUL in member names, numbers
 * kept as text and range-checked, depth and size bounded. The tree lives in the caller's arena and borrows
 * from the text, which must outlive it. Each value knows its byte offset in the text, for errors that name the place.
 * Writer: builds into a struct buf; it cannot produce malformed JSON (asserted), and an overflow of the buffer is
 * sticky there.
 */
#ifndef FICUS_BASE_JSON_H
#define FICUS_BASE_JSON_H

#include "arena.h"
#include "buf.h"
#include "err.h"

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_type type;
    uint32_t offset;            /* of the first byte of the value in the text */
    struct slice key;           /* decoded member name, when the parent is an object */
    struct slice text;          /* string: decoded; number, array and object: as written, with brackets */
    struct json *first, *next;  /* children in order; next sibling */
    uint32_t count;             /* children */
};

struct json_limits {
    uint32_t depth_max;     /* 0: 64 */
    uint32_t size_max;      /* bytes of text; 0: 1 MiB */
    uint32_t values_max;    /* 0: 100000 */
};

/* limits may be NULL. On failure *reterr has "line:column: what was found, what is allowed" and PARSE, TOO_LARGE or NOMEM. */
enum ficus_err json_parse(struct arena *a, struct slice text, const struct json_limits *limits, struct json **ret_root,
                          struct ficus_error *reterr);

/* Place of a byte in the text, both from 1; columns count code points. */
void json_position(struct slice text, size_t offset, uint32_t *ret_line, uint32_t *ret_column);
/* Offset of the opening quote of v's member name. v must be a member of an object parsed from text. */
size_t json_key_offset(const struct json *v, struct slice text);

struct json *json_get(const struct json *object, const char *key);          /* NULL: absent, or not an object, or object NULL */
struct json *json_get_slice(const struct json *object, struct slice key);
struct json *json_at(const struct json *array, size_t index);
/* Typed reads: false when v is NULL or of another type or out of range. i64 takes integers only: no fraction, no exponent. */
bool json_string(const struct json *v, struct slice *ret_text);
bool json_i64(const struct json *v, int64_t *ret_value);
bool json_bool(const struct json *v, bool *ret_value);
struct slice json_string_or(const struct json *v, struct slice fallback);
int64_t json_i64_or(const struct json *v, int64_t fallback);

struct json_writer {
    struct buf *out;
    /* private below */
    uint64_t is_object, has_items;  /* one bit a level: depth at most 64 */
    unsigned depth;
    bool after_key, root_done;
};

void json_write_init(struct json_writer *w, struct buf *out);
void json_write_object(struct json_writer *w);      /* opens; close with json_write_end */
void json_write_array(struct json_writer *w);
void json_write_end(struct json_writer *w);
void json_write_key(struct json_writer *w, const char *key);
void json_write_key_slice(struct json_writer *w, struct slice key);
void json_write_slice(struct json_writer *w, struct slice text);    /* string; invalid UTF-8 becomes U+FFFD; SLICE_NONE: null */
void json_write_str(struct json_writer *w, const char *text);       /* NULL: null */
void json_write_i64(struct json_writer *w, int64_t value);
void json_write_bool(struct json_writer *w, bool value);
void json_write_null(struct json_writer *w);
void json_write_raw(struct json_writer *w, struct slice json);      /* text that is one JSON value already */
void json_write_value(struct json_writer *w, const struct json *v); /* a parsed tree */
/* key and value in one */
void json_write_kv_str(struct json_writer *w, const char *key, const char *text);
void json_write_kv_slice(struct json_writer *w, const char *key, struct slice text);
void json_write_kv_i64(struct json_writer *w, const char *key, int64_t value);
void json_write_kv_bool(struct json_writer *w, const char *key, bool value);
void json_write_kv_time(struct json_writer *w, const char *key, int64_t wall_ms); /* as time_format */

#endif
