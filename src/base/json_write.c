/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON writer. Wrong use (a value without a key in an object, an end too many) is a programmer's error and asserted;
 * a full buffer is an operating error and sticky in the buffer.
 */
#include "assert.h"
#include "json.h"
#include "text.h"
#include "timefmt.h"

enum { LEVELS_MAX = 64 };

void json_write_init(struct json_writer *w, struct buf *out)
{
    *w = (struct json_writer){.out = out};
}

static bool in_object(const struct json_writer *w)
{
    return w->depth > 0 && (w->is_object >> (w->depth - 1) & 1);
}

static void comma(struct json_writer *w)
{
    uint64_t bit = UINT64_C(1) << (w->depth - 1);
    if (w->has_items & bit)
        (void)buf_add_char(w->out, ',');    /* a failure is sticky in the buffer, here and below */
    w->has_items |= bit;
}

static void before_value(struct json_writer *w)
{
    if (w->depth == 0) {
        FICUS_ASSERT(!w->root_done);
        w->root_done = true;
        return;
    }
    if (in_object(w)) {
        FICUS_ASSERT(w->after_key);
        w->after_key = false;
        return;
    }
    comma(w);
}

static void open_level(struct json_writer *w, bool object)
{
    FICUS_ASSERT(w->depth < LEVELS_MAX);
    before_value(w);
    uint64_t bit = UINT64_C(1) << w->depth++;
    w->is_object = object ? w->is_object | bit : w->is_object & ~bit;
    w->has_items &= ~bit;
    (void)buf_add_char(w->out, object ? '{' : '[');
}

void json_write_object(struct json_writer *w)
{
    open_level(w, true);
}

void json_write_array(struct json_writer *w)
{
    open_level(w, false);
}

void json_write_end(struct json_writer *w)
{
    FICUS_ASSERT(w->depth > 0);
    FICUS_ASSERT(!w->after_key);
    (void)buf_add_char(w->out, in_object(w) ? '}' : ']');
    w->depth--;
}

static void put_escape(struct buf *out, unsigned char c)
{
    switch (c) {
    case '"': (void)buf_add(out, "\\\"", 2); break;
    case '\\': (void)buf_add(out, "\\\\", 2); break;
    case '\n': (void)buf_add(out, "\\n", 2); break;
    case '\r': (void)buf_add(out, "\\r", 2); break;
    case '\t': (void)buf_add(out, "\\t", 2); break;
    /* also these two: what was read never grows when it is written again */
    case '\b': (void)buf_add(out, "\\b", 2); break;
    case '\f': (void)buf_add(out, "\\f", 2); break;
    default: (void)buf_printf(out, "\\u%04x", c); break;
    }
}

static void put_string(struct buf *out, struct slice text)
{
    (void)buf_add_char(out, '"');
    size_t start = 0, i = 0;
    while (i < text.size) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t step = c < 0x80 ? 0 : text_utf8_step(text.p + i, text.size - i);
        if (step > 0) {
            i += step;
            continue;
        }
        (void)buf_add(out, text.p + start, i - start);
        if (c < 0x80)
            put_escape(out, c);
        else
            (void)buf_add(out, "\xef\xbf\xbd", 3);
        start = ++i;
    }
    (void)buf_add(out, text.p + start, text.size - start);
    (void)buf_add_char(out, '"');
}

void json_write_key_slice(struct json_writer *w, struct slice key)
{
    FICUS_ASSERT(in_object(w));
    FICUS_ASSERT(!w->after_key);
    FICUS_ASSERT(key.p != NULL);
    comma(w);
    put_string(w->out, key);
    (void)buf_add_char(w->out, ':');
    w->after_key = true;
}

void json_write_key(struct json_writer *w, const char *key)
{
    json_write_key_slice(w, slice_str(key));
}

void json_write_slice(struct json_writer *w, struct slice text)
{
    before_value(w);
    if (text.p == NULL)
        (void)buf_add(w->out, "null", 4);
    else
        put_string(w->out, text);
}

void json_write_str(struct json_writer *w, const char *text)
{
    json_write_slice(w, slice_str(text));
}

void json_write_i64(struct json_writer *w, int64_t value)
{
    before_value(w);
    char digits[24];
    char *at = digits + sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (value < 0)
        *--at = '-';
    (void)buf_add(w->out, at, (size_t)(digits + sizeof digits - at));
}

void json_write_bool(struct json_writer *w, bool value)
{
    before_value(w);
    (void)buf_add_str(w->out, value ? "true" : "false");
}

void json_write_null(struct json_writer *w)
{
    before_value(w);
    (void)buf_add(w->out, "null", 4);
}

void json_write_raw(struct json_writer *w, struct slice json)
{
    FICUS_ASSERT(json.size > 0);
    before_value(w);
    (void)buf_add_slice(w->out, json);
}

/* Recursion is bounded by LEVELS_MAX, like the writer. */
void json_write_value(struct json_writer *w, const struct json *v)
{
    switch (v->type) {
    case JSON_NULL: json_write_null(w); return;
    case JSON_FALSE: json_write_bool(w, false); return;
    case JSON_TRUE: json_write_bool(w, true); return;
    case JSON_NUMBER: json_write_raw(w, v->text); return;
    case JSON_STRING: json_write_slice(w, v->text); return;
    case JSON_ARRAY: case JSON_OBJECT: break;
    }
    if (w->depth == LEVELS_MAX) {
        /* A peer's tree may be as deep as the reader allows: that is an operating error, not ours. */
        w->out->failed = true;
        json_write_null(w);
        return;
    }
    open_level(w, v->type == JSON_OBJECT);
    for (const struct json *child = v->first; child != NULL; child = child->next) {
        if (v->type == JSON_OBJECT)
            json_write_key_slice(w, child->key);
        json_write_value(w, child);
    }
    json_write_end(w);
}

void json_write_kv_str(struct json_writer *w, const char *key, const char *text)
{
    json_write_key(w, key);
    json_write_str(w, text);
}

void json_write_kv_slice(struct json_writer *w, const char *key, struct slice text)
{
    json_write_key(w, key);
    json_write_slice(w, text);
}

void json_write_kv_i64(struct json_writer *w, const char *key, int64_t value)
{
    json_write_key(w, key);
    json_write_i64(w, value);
}

void json_write_kv_bool(struct json_writer *w, const char *key, bool value)
{
    json_write_key(w, key);
    json_write_bool(w, value);
}

void json_write_kv_time(struct json_writer *w, const char *key, int64_t wall_ms)
{
    char text[TIME_TEXT_SIZE];
    time_format(wall_ms, text);
    json_write_kv_str(w, key, text);
}
