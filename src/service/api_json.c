/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON for handlers: writing that cannot produce malformed text (misuse marks the value as unusable, and the answer
 * becomes a 500), and reading.
 */
#include "service_impl.h"

enum { OUT_DEPTH_MAX = 60, OUT_SIZE_MAX = 1024 * 1024 };

/* ---- writing ---- */

static bool misuse(struct ficus_out *o)
{
    o->misused = true;
    return false;
}

/* May a value with this key stand here? Then the key is written. */
static bool value_begin(struct ficus_out *o, const char *key)
{
    if (o == NULL || o->misused)
        return false;
    if (o->depth == 0) {
        if (o->begun || key != NULL)
            return misuse(o);
        o->begun = true;
        return true;
    }
    bool in_object = (o->objects >> o->depth & 1) != 0;
    if (in_object != (key != NULL))
        return misuse(o);
    if (key != NULL)
        json_write_key(&o->writer, key);
    return true;
}

static bool level_begin(struct ficus_out *o, const char *key, bool object)
{
    if (o == NULL || (o->depth == OUT_DEPTH_MAX && !misuse(o)) || !value_begin(o, key))
        return false;
    o->depth++;
    o->objects = (o->objects & ~((uint64_t)1 << o->depth)) | (uint64_t)object << o->depth;
    return true;
}

void ficus_out_object(struct ficus_out *o, const char *key)
{
    if (level_begin(o, key, true))
        json_write_object(&o->writer);
}

void ficus_out_array(struct ficus_out *o, const char *key)
{
    if (level_begin(o, key, false))
        json_write_array(&o->writer);
}

void ficus_out_end(struct ficus_out *o)
{
    if (o == NULL || o->misused)
        return;
    if (o->depth == 0) {
        (void)misuse(o);
        return;
    }
    o->depth--;
    json_write_end(&o->writer);
}

void ficus_out_str(struct ficus_out *o, const char *key, const char *value)
{
    if (value_begin(o, key))
        json_write_str(&o->writer, value);
}

void ficus_out_int(struct ficus_out *o, const char *key, int64_t value)
{
    if (value_begin(o, key))
        json_write_i64(&o->writer, value);
}

void ficus_out_bool(struct ficus_out *o, const char *key, bool value)
{
    if (value_begin(o, key))
        json_write_bool(&o->writer, value);
}

void ficus_out_null(struct ficus_out *o, const char *key)
{
    if (value_begin(o, key))
        json_write_null(&o->writer);
}

static bool is_json(struct slice text)
{
    struct arena a;
    arena_init(&a, REQUEST_ARENA_SIZE_MAX);
    struct json *root = NULL;
    enum ficus_err err = json_parse(&a, text, NULL, &root, NULL);
    arena_done(&a);
    return err == FICUS_ERR_OK;
}

void ficus_out_json(struct ficus_out *o, const char *key, const char *json)
{
    if (o == NULL)
        return;
    if (json == NULL)
        ficus_out_null(o, key);
    else if (!is_json(slice_str(json)))
        (void)misuse(o);
    else if (value_begin(o, key))
        json_write_raw(&o->writer, slice_trim(slice_str(json)));
}

struct ficus_out *ficus_out_new(struct ficus_req *req)
{
    struct ficus_out *o = arena_alloc(&req->arena, sizeof *o);
    if (o == NULL)
        return NULL;
    out_init(o, req, OUT_SIZE_MAX);
    list_add_tail(&req->outs, &o->link);
    return o;
}

/* The text moves to the request's memory, which has the ceiling. */
const char *ficus_out_text(struct ficus_out *o)
{
    if (o == NULL || !out_complete(o))
        return NULL;
    const char *text = arena_strdup(&o->req->arena, buf_slice(&o->text));
    if (o != &o->req->answer.out) {
        struct ficus_req *r = o->req;
        out_done(o);
        out_init(o, r, OUT_SIZE_MAX);
        o->misused = true;
    }
    return text;
}

/* ---- reading ---- */

static const struct json *in(const struct ficus_json *v)
{
    return (const struct json *)(const void *)v;
}

static const struct ficus_json *out(const struct json *v)
{
    return (const struct ficus_json *)(const void *)v;
}

const struct ficus_json *ficus_json_get(const struct ficus_json *object, const char *key)
{
    return key == NULL ? NULL : out(json_get(in(object), key));
}

const struct ficus_json *ficus_json_at(const struct ficus_json *array, size_t index)
{
    return ficus_json_is_array(array) ? out(json_at(in(array), index)) : NULL;
}

size_t ficus_json_count(const struct ficus_json *v)
{
    return v == NULL ? 0 : in(v)->count;
}

bool ficus_json_is_object(const struct ficus_json *v)
{
    return v != NULL && in(v)->type == JSON_OBJECT;
}

bool ficus_json_is_array(const struct ficus_json *v)
{
    return v != NULL && in(v)->type == JSON_ARRAY;
}

const char *ficus_json_str(struct ficus_req *req, const struct ficus_json *v)
{
    struct slice text = SLICE_NONE;
    if (!json_string(in(v), &text) || (text.size > 0 && memchr(text.p, '\0', text.size) != NULL))
        return NULL;
    return arena_strdup(&req->arena, text);
}

bool ficus_json_int(const struct ficus_json *v, int64_t *ret_value)
{
    return json_i64(in(v), ret_value);
}

const struct ficus_json *ficus_json_parse(struct ficus_req *req, const char *text)
{
    struct json *root = NULL;
    if (text == NULL || req->is_failed)
        return NULL;
    char *copy = arena_strdup(&req->arena, slice_str(text));
    if (copy == NULL || json_parse(&req->arena, slice_str(copy), NULL, &root, NULL) != FICUS_ERR_OK)
        return NULL;
    return out(root);
}

const char *ficus_json_text(struct ficus_req *req, const struct ficus_json *v)
{
    if (v == NULL)
        return NULL;
    struct buf text;
    struct json_writer w;
    buf_init(&text, ANSWER_SIZE_MAX);
    json_write_init(&w, &text);
    json_write_value(&w, in(v));
    const char *copy = buf_failed(&text) ? NULL : arena_strdup(&req->arena, buf_slice(&text));
    buf_done(&text);
    return copy;
}
