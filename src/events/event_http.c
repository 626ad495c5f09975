/* SPDX-License-Identifier: Apache-2.0 */
#include "event_http.h"

#include "mem.h"
#include "text.h"

/* A batch of the largest size can hold millions of small values. */
enum { VALUES_MAX = EVENT_BATCH_SIZE_MAX };

#define ALLOWED_TYPES "application/cloudevents+json, application/cloudevents-batch+json, or application/json with ce- fields"

/* ---- media types ---- */

/* "application/json; charset=utf-8": type in front of the parameters; false when there is another charset, or what is none. */
static bool media_cut(struct slice value, struct slice *ret_type)
{
    struct slice rest = value;
    *ret_type = slice_trim(slice_cut(&rest, ';'));
    while (rest.p != NULL) {
        struct slice text = slice_trim(slice_cut(&rest, ';'));
        struct slice name = slice_trim(slice_cut(&text, '='));
        struct slice word = slice_trim(text);
        if (word.size >= 2 && word.p[0] == '"' && word.p[word.size - 1] == '"')
            word = slice_make(word.p + 1, word.size - 2);
        if (slice_eq_nocase(name, SLICE("charset")) && !slice_eq_nocase(word, SLICE("utf-8")))
            return false;
    }
    return true;
}

static bool is_json(struct slice content_type)
{
    struct slice type;
    return media_cut(content_type, &type) && slice_eq_nocase(type, SLICE("application/json"));
}

static enum ficus_err wrong_data_type(struct slice type, struct ficus_error *reterr)
{
    return err_set(reterr, FICUS_ERR_UNSUPPORTED, "event: data of type \"%.*s\" is not taken, only application/json",
        (int)(type.size < 100 ? type.size : 100), type.size > 0 ? type.p : "");
}

/* ---- attributes ---- */

static bool name_valid(struct slice name)
{
    for (size_t i = 0; i < name.size; i++)
        if (!((name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= '0' && name.p[i] <= '9')))
            return false;
    return name.size > 0;
}

static enum ficus_err wrong_name(struct slice name, struct ficus_error *reterr)
{
    return err_set(reterr, FICUS_ERR_PARSE, "event: \"%.*s\" is no name of an attribute (a-z 0-9 are allowed)",
        (int)(name.size < 100 ? name.size : 100), name.size > 0 ? name.p : "");
}

/* What event_read lets pass. */
static enum ficus_err object_check(const struct json *v, struct ficus_error *reterr)
{
    const struct json *base64 = json_get(v, "data_base64"), *type = json_get(v, "datacontenttype");
    struct slice text = SLICE_NONE;
    if (v->type != JSON_OBJECT)
        return err_set(reterr, FICUS_ERR_PARSE, "event: a JSON object is needed");
    for (const struct json *m = v->first; m != NULL; m = m->next) {
        if (slice_eq_str(m->key, "data") || slice_eq_str(m->key, "data_base64"))
            continue;
        if (!name_valid(m->key))
            return wrong_name(m->key, reterr);
        int64_t number;
        if (m->type == JSON_ARRAY || m->type == JSON_OBJECT || (m->type == JSON_NUMBER && !json_i64(m, &number)))
            return err_set(reterr, FICUS_ERR_PARSE, "event: %.*s must be a string, a whole number or a boolean", (int)(m->key.size < 100 ? m->key.size : 100),
                m->key.p);
    }
    if (base64 != NULL && json_get(v, "data") != NULL)
        return err_set(reterr, FICUS_ERR_PARSE, "event: data and data_base64 exclude each other");
    if (base64 != NULL)
        return err_set(reterr, FICUS_ERR_UNSUPPORTED, "event: data_base64 is not taken, data must be JSON in \"data\"");
    if (type != NULL && type->type != JSON_NULL && (!json_string(type, &text) || text.size == 0))
        return err_set(reterr, FICUS_ERR_PARSE, "event: datacontenttype must be a string that is not empty");
    return text.p == NULL || is_json(text) ? FICUS_ERR_OK : wrong_data_type(text, reterr);
}

static enum ficus_err object_read(struct arena *a, const struct json *v, struct event *ret_event, struct ficus_error *reterr)
{
    enum ficus_err err = object_check(v, reterr);
    return err == FICUS_ERR_OK ? event_read(a, v, ret_event, reterr) : err;
}

/* ---- structured and batched mode ---- */

static enum ficus_err batch_read(struct arena *a, const struct json *root, struct event **ret_events, size_t *ret_count,
                                 struct ficus_error *reterr)
{
    if (root->type != JSON_ARRAY)
        return err_set(reterr, FICUS_ERR_PARSE, "the body must be a JSON array of CloudEvents");
    if (root->count < 1 || root->count > EVENT_BATCH_COUNT_MAX)
        return err_set(reterr, FICUS_ERR_INVALID, "a batch has 1 to %d events, this one has %u", EVENT_BATCH_COUNT_MAX, root->count);
    struct event *events = ARENA_ARRAY(a, struct event, root->count);
    if (events == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    size_t count = 0;
    for (const struct json *v = root->first; v != NULL; v = v->next, count++) {
        enum ficus_err err = object_read(a, v, &events[count], reterr);
        if (err != FICUS_ERR_OK)
            return err_wrap(reterr, "event %zu", count);
    }
    *ret_events = events;
    *ret_count = count;
    return FICUS_ERR_OK;
}

static enum ficus_err json_read(struct arena *a, struct slice body, bool is_batch, struct event **ret_events, size_t *ret_count,
                                struct ficus_error *reterr)
{
    struct json *root = NULL;
    const struct json_limits limits = {.size_max = EVENT_BATCH_SIZE_MAX, .values_max = VALUES_MAX};
    enum ficus_err err = json_parse(a, body, &limits, &root, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (is_batch)
        return batch_read(a, root, ret_events, ret_count, reterr);
    if ((*ret_events = ARENA_NEW(a, struct event)) == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    *ret_count = 1;
    return object_read(a, root, *ret_events, reterr);
}

/* ---- binary mode ---- */

/* A field's value as the binding's 3.1.3.2 says: quoted strings first, then one round of percent-decoding. */
static enum ficus_err value_decode(struct arena *a, struct slice value, struct slice *ret_text)
{
    struct slice plain = value;
    if (value.size > 0 && value.p[0] == '"') {
        char *at = arena_alloc(a, value.size);
        size_t size = 0, i = 1;
        if (at == NULL)
            return FICUS_ERR_NOMEM;
        for (; i < value.size && value.p[i] != '"'; i++) {
            i += value.p[i] == '\\';
            if (i < value.size)
                at[size++] = value.p[i];
        }
        if (i + 1 != value.size)
            return FICUS_ERR_PARSE;     /* it does not end with its quote, or goes on behind it */
        plain = slice_make(at, size);
    }
    for (size_t i = 0; i < plain.size; i++)
        if ((unsigned char)plain.p[i] < 0x20 || (unsigned char)plain.p[i] > 0x7e)
            return FICUS_ERR_PARSE;
    if (!text_percent_decode(a, plain, false, ret_text))
        return arena_overflowed(a) ? FICUS_ERR_NOMEM : FICUS_ERR_PARSE;
    return text_utf8_valid(*ret_text) ? FICUS_ERR_OK : FICUS_ERR_PARSE;
}

/* Names of fields have no case. SLICE_NONE: it is no attribute's. */
static struct slice attribute_name(struct arena *a, const struct http_field *f)
{
    if (f->name.size < 3 || !slice_eq_nocase(slice_make(f->name.p, 3), SLICE("ce-")))
        return SLICE_NONE;
    char *text = arena_strdup(a, slice_from(f->name, 3));
    for (char *p = text; p != NULL && *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return text == NULL ? SLICE_NONE : slice_make(text, f->name.size - 3);
}

static enum ficus_err field_check(const struct http_msg *head, const struct http_field *f, struct slice name, struct ficus_error *reterr)
{
    static const char *const others[] = {"data", "datacontenttype"};
    if (!name_valid(name))
        return wrong_name(name, reterr);
    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        if (slice_eq_str(name, others[i]))
            return err_set(reterr, FICUS_ERR_PARSE, "event: ce-%s is no field: %s", others[i],
                i == 0 ? "the data is the body" : "the data's type is the Content-Type");
    size_t count = 0;
    for (size_t i = 0; i < head->field_count; i++)
        count += slice_eq_nocase(head->fields[i].name, f->name);
    return count == 1 ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_PARSE, "event: ce-" SLICE_FMT " is there %zu times", SLICE_ARG(name), count);
}

/* The event without its data as an object of strings, so that its attributes are judged in one place. */
static enum ficus_err attributes_write(struct arena *a, const struct http_msg *head, struct json_writer *w, struct ficus_error *reterr)
{
    for (size_t i = 0; i < head->field_count; i++) {
        struct slice name = attribute_name(a, &head->fields[i]), value = SLICE_NONE;
        if (name.p == NULL)
            continue;
        enum ficus_err err = field_check(head, &head->fields[i], name, reterr);
        if (err != FICUS_ERR_OK)
            return err;
        err = value_decode(a, head->fields[i].value, &value);
        if (err == FICUS_ERR_PARSE)
            return err_set(reterr, err, "event: ce-" SLICE_FMT ": the value is not percent-encoded as it has to be, or is not UTF-8", SLICE_ARG(name));
        if (err != FICUS_ERR_OK)
            return err_set(reterr, err, "out of memory");
        json_write_key_slice(w, name);
        json_write_slice(w, value);
    }
    return arena_overflowed(a) ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
}

static enum ficus_err attributes_read(struct arena *a, const struct http_msg *head, struct event *ret_event, struct ficus_error *reterr)
{
    enum { OBJECT_SIZE_MAX = 256 * 1024 };
    struct buf b;
    struct json_writer w;
    struct json *root = NULL;
    buf_init(&b, OBJECT_SIZE_MAX);
    json_write_init(&w, &b);
    json_write_object(&w);
    enum ficus_err err = attributes_write(a, head, &w, reterr);
    if (err == FICUS_ERR_OK) {
        json_write_end(&w);
        struct slice text = arena_slice(a, buf_slice(&b));
        err = buf_failed(&b) || text.p == NULL ? err_set(reterr, FICUS_ERR_TOO_LARGE, "event: the ce- fields are over their limit")
                                               : json_parse(a, text, NULL, &root, reterr);
    }
    buf_done(&b);
    return err == FICUS_ERR_OK ? event_read(a, root, ret_event, reterr) : err;
}

/* Written anew, for answers and lists have an event in a line. */
static enum ficus_err body_read(struct arena *a, struct slice body, struct event *ev, struct ficus_error *reterr)
{
    enum { ROOM = 64 };
    if (body.size > EVENT_SIZE_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "event: data has %zu bytes, at most %d are allowed", body.size, EVENT_SIZE_MAX);
    struct json *value = NULL;
    const struct json_limits limits = {.size_max = EVENT_SIZE_MAX, .values_max = VALUES_MAX};
    enum ficus_err err = json_parse(a, body, &limits, &value, reterr);
    if (err != FICUS_ERR_OK)
        return err_wrap(reterr, "event: data");
    struct buf b;
    struct json_writer w;
    buf_init(&b, EVENT_SIZE_MAX + ROOM);
    json_write_init(&w, &b);
    json_write_value(&w, value);
    ev->data = buf_failed(&b) ? SLICE_NONE : arena_slice(a, buf_slice(&b));
    if (buf_failed(&b))
        err = err_set(reterr, FICUS_ERR_TOO_LARGE, "event: data is over %d bytes", EVENT_SIZE_MAX);
    else if (ev->data.p == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    buf_done(&b);
    return err == FICUS_ERR_OK ? event_check(ev, reterr) : err;
}

static enum ficus_err binary_read(struct arena *a, const struct http_msg *head, struct slice type, struct slice body, struct event **ret_events,
                                  size_t *ret_count, struct ficus_error *reterr)
{
    struct event *ev = ARENA_NEW(a, struct event);
    if (ev == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = attributes_read(a, head, ev, reterr);
    if (err == FICUS_ERR_OK && (body.size > 0 || type.p != NULL) && !is_json(type))
        err = wrong_data_type(type, reterr);
    if (err == FICUS_ERR_OK && body.size > 0)
        err = body_read(a, body, ev, reterr);
    *ret_events = ev;
    *ret_count = 1;
    return err;
}

/* ---- which of them ---- */

static bool is_binary(const struct http_msg *head)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (head->fields[i].name.size > 3 && slice_eq_nocase(slice_make(head->fields[i].name.p, 3), SLICE("ce-")))
            return true;
    return false;
}

enum ficus_err event_http_read(struct arena *a, const struct http_msg *head, struct slice body, struct event **ret_events,
                               size_t *ret_count, struct ficus_error *reterr)
{
    struct slice value = http_msg_get(head, "content-type"), type = SLICE_NONE;
    if (http_msg_count(head, "content-type") > 1)
        return err_set(reterr, FICUS_ERR_PARSE, "there is more than one Content-Type");
    bool utf8 = value.p == NULL || media_cut(value, &type);
    /* Structured mode may repeat attributes in fields; those of the body count. */
    bool is_one = slice_eq_nocase(type, SLICE("application/cloudevents+json"));
    bool is_batch = slice_eq_nocase(type, SLICE("application/cloudevents-batch+json"));
    if (!is_one && !is_batch && is_binary(head))
        return binary_read(a, head, value, body, ret_events, ret_count, reterr);
    if (!utf8)
        return err_set(reterr, FICUS_ERR_UNSUPPORTED, "only charset=utf-8 is taken");
    if (is_one || is_batch || slice_eq_nocase(type, SLICE("application/json")))
        return json_read(a, body, !is_one, ret_events, ret_count, reterr);
    return err_set(reterr, FICUS_ERR_UNSUPPORTED, "Content-Type \"%.*s\" is not taken: " ALLOWED_TYPES " are",
        (int)(type.size < 100 ? type.size : 100), type.size > 0 ? type.p : "");
}
