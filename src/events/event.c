/* SPDX-License-Identifier: Apache-2.0 */
#include "event.h"

#include "assert.h"
#include "mem.h"
#include "text.h"
#include "timefmt.h"
#include "uuid.h"

#include <stdio.h>

/* Of a tree: as many values as fit into the text, which is the real limit; and the levels around the original's data in
 * a dead letter. */
enum { TREE_VALUES_MAX = EVENT_BATCH_SIZE_MAX, DEAD_LEVELS = 2 };

#define SCHEMA_PREFIX "urn:ficus:schema:"

/* Attributes that are plain strings, in the order in which they are written. */
static const struct attribute {
    const char *name;
    size_t offset;          /* in struct event */
    size_t size_max;
    bool required;
} attributes[] = {
    {"id", offsetof(struct event, id), EVENT_ID_SIZE_MAX, true},
    {"source", offsetof(struct event, source), EVENT_SOURCE_SIZE_MAX, true},
    {"type", offsetof(struct event, topic), EVENT_TOPIC_SIZE_MAX, true},
    {"subject", offsetof(struct event, subject), EVENT_SUBJECT_SIZE_MAX, false},
    {"time", offsetof(struct event, time), 64, false},
    {"traceparent", offsetof(struct event, traceparent), EVENT_EXTENSION_SIZE_MAX, false},
    {"tracestate", offsetof(struct event, tracestate), EVENT_EXTENSION_SIZE_MAX, false},
    {"correlationid", offsetof(struct event, correlation), EVENT_EXTENSION_SIZE_MAX, false},
    {"causationid", offsetof(struct event, causation), EVENT_EXTENSION_SIZE_MAX, false},
};
enum { ATTRIBUTES = sizeof attributes / sizeof *attributes };

static struct slice attribute_get(const struct event *ev, const struct attribute *at)
{
    return *(const struct slice *)(const void *)((const char *)ev + at->offset);
}

static void attribute_set(struct event *ev, const struct attribute *at, struct slice value)
{
    *(struct slice *)(void *)((char *)ev + at->offset) = value;
}

bool event_topic_valid(struct slice topic)
{
    if (topic.size == 0 || topic.size > EVENT_TOPIC_SIZE_MAX || topic.p[0] == '.')
        return false;
    for (size_t i = 0; i < topic.size; i++) {
        char c = topic.p[i];
        bool fine = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
        if (!fine)
            return false;
    }
    return true;
}

enum ficus_err event_topics_parse(struct slice text, struct slice ret_topics[EVENT_TOPICS_MAX], size_t *ret_count,
                                  struct ficus_error *reterr)
{
    size_t count = 0;
    struct slice rest = text;
    do {
        struct slice topic = slice_cut(&rest, ',');
        if (!event_topic_valid(topic))
            return err_set(reterr, FICUS_ERR_INVALID, "\"" SLICE_FMT "\" is no topic (a-z 0-9 . _ - are allowed)",
                SLICE_ARG(topic));
        for (size_t i = 0; i < count; i++)
            if (slice_eq(ret_topics[i], topic))
                return err_set(reterr, FICUS_ERR_INVALID, "topic " SLICE_FMT " is named twice", SLICE_ARG(topic));
        if (count == EVENT_TOPICS_MAX)
            return err_set(reterr, FICUS_ERR_INVALID, "more than %d topics", EVENT_TOPICS_MAX);
        ret_topics[count++] = topic;
    } while (rest.p != NULL);
    *ret_count = count;
    return FICUS_ERR_OK;
}

/* ---- checks ---- */

static bool text_plain(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return text_utf8_valid(s);
}

static enum ficus_err attributes_check(const struct event *ev, enum ficus_err code, struct ficus_error *reterr)
{
    for (size_t i = 0; i < ATTRIBUTES; i++) {
        const struct attribute *at = &attributes[i];
        struct slice v = attribute_get(ev, at);
        if (v.p == NULL && !at->required)
            continue;
        if (v.p == NULL || v.size == 0)
            return err_set(reterr, code, "event: %s is %s", at->name, v.p == NULL ? "missing" : "empty");
        if (v.size > at->size_max)
            return err_set(reterr, code, "event: %s has %zu bytes, at most %zu are allowed", at->name, v.size,
                at->size_max);
        if (!text_plain(v))
            return err_set(reterr, code, "event: %s has control characters or is not UTF-8", at->name);
    }
    int64_t ms = 0;
    if (!event_topic_valid(ev->topic))
        return err_set(reterr, code, "event: type \"" SLICE_FMT "\" is no topic (a-z 0-9 . _ - are allowed)",
            SLICE_ARG(ev->topic));
    if (ev->time.p != NULL && !time_parse(ev->time, &ms))
        return err_set(reterr, code, "event: time \"" SLICE_FMT "\" is not RFC 3339", SLICE_ARG(ev->time));
    return FICUS_ERR_OK;
}

/* Levels that the data of an event of the topic may have. */
static uint32_t depth_max_of(struct slice topic)
{
    bool dead = slice_eq_str(topic, EVENT_TOPIC_DEAD) || slice_starts(topic, SLICE(EVENT_TOPIC_REDRIVE));
    return EVENT_DATA_DEPTH_MAX + (dead ? DEAD_LEVELS : 0);
}

enum ficus_err event_check_attributes(const struct event *ev, struct ficus_error *reterr)
{
    enum ficus_err err = attributes_check(ev, FICUS_ERR_INVALID, reterr);
    if (err == FICUS_ERR_OK && ev->data.size > EVENT_SIZE_MAX)
        err = err_set(reterr, FICUS_ERR_INVALID, "event: data has %zu bytes, at most %d are allowed", ev->data.size, EVENT_SIZE_MAX);
    return err;
}

enum ficus_err event_check(const struct event *ev, struct ficus_error *reterr)
{
    enum ficus_err err = event_check_attributes(ev, reterr);
    if (err != FICUS_ERR_OK || ev->data.p == NULL)
        return err;
    struct arena a;
    struct json *v = NULL;
    struct json_limits limits = {.values_max = TREE_VALUES_MAX, .depth_max = depth_max_of(ev->topic)};
    arena_init(&a, 64 * 1024 * 1024);
    if (json_parse(&a, ev->data, &limits, &v, reterr) != FICUS_ERR_OK) {
        err = FICUS_ERR_INVALID;
        if (reterr != NULL) {
            (void)err_wrap(reterr, "event: data");
            reterr->code = err;
        }
    }
    arena_done(&a);
    return err;
}

/* ---- writing ---- */

void event_write(struct json_writer *w, const struct event *ev)
{
    json_write_object(w);
    json_write_kv_str(w, "specversion", "1.0");
    for (size_t i = 0; i < ATTRIBUTES; i++) {
        struct slice v = attribute_get(ev, &attributes[i]);
        if (v.p != NULL)
            json_write_kv_slice(w, attributes[i].name, v);
    }
    if (ev->schema > 0) {
        char text[sizeof SCHEMA_PREFIX + EVENT_TOPIC_SIZE_MAX + TEXT_I64_SIZE];
        (void)snprintf(text, sizeof text, SCHEMA_PREFIX SLICE_FMT ":%lld", SLICE_ARG(ev->topic), (long long)ev->schema);
        json_write_kv_str(w, "dataschema", text);
    }
    if (ev->at_ms > 0) {
        char text[TIME_TEXT_SIZE];
        time_format(ev->at_ms, text);
        json_write_kv_str(w, "deliverat", text);
    }
    if (ev->offset > 0) {
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)ev->offset);
        json_write_kv_str(w, "sequence", text);
    }
    if (ev->data.p != NULL) {
        json_write_kv_str(w, "datacontenttype", "application/json");
        json_write_key(w, "data");
        json_write_raw(w, ev->data);
    }
    json_write_end(w);
}

enum ficus_err event_encode(struct buf *out, const struct event *ev, struct ficus_error *reterr)
{
    struct json_writer w;
    size_t before = buf_slice(out).size;
    json_write_init(&w, out);
    event_write(&w, ev);
    if (buf_failed(out))
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "event: over the limit of its buffer");
    size_t size = buf_slice(out).size - before;
    if (size > EVENT_SIZE_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "event: %zu bytes, at most %d are allowed", size, EVENT_SIZE_MAX);
    return FICUS_ERR_OK;
}

/* ---- reading ---- */

static bool is_container(const struct json *v)
{
    return v->type == JSON_ARRAY || v->type == JSON_OBJECT;
}

static bool depth_fits(const struct json *root, uint32_t depth_max)
{
    const struct json *path[EVENT_DATA_DEPTH_MAX + DEAD_LEVELS], *v = root;
    FICUS_ASSERT(depth_max <= ARRAY_COUNT(path));
    uint32_t depth = 0;
    for (;;) {
        if (is_container(v) && depth == depth_max)
            return false;
        if (is_container(v) && v->first != NULL) {
            path[depth++] = v;
            v = v->first;
            continue;
        }
        while (depth > 0 && v->next == NULL)
            v = path[--depth];
        if (depth == 0)
            return true;
        v = v->next;
    }
}

/* As it stands in the text; what has several lines is written anew, for answers and lists have an event in a line. */
static enum ficus_err data_read(struct arena *a, const struct json *data, struct slice *ret_text,
                                struct ficus_error *reterr)
{
    struct buf b;
    struct json_writer w;
    if (is_container(data) && data->text.size <= EVENT_SIZE_MAX && slice_find(data->text, '\n') < 0 && slice_find(data->text, '\r') < 0) {
        *ret_text = data->text;
        return FICUS_ERR_OK;
    }
    buf_init(&b, EVENT_SIZE_MAX);
    json_write_init(&w, &b);
    json_write_value(&w, data);
    enum ficus_err err = FICUS_ERR_OK;
    if (buf_failed(&b))
        err = err_set(reterr, FICUS_ERR_PARSE, "event: data is over %d bytes", EVENT_SIZE_MAX);
    else if ((*ret_text = arena_slice(a, buf_slice(&b))).p == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "event: out of memory");
    buf_done(&b);
    return err;
}

/* Another's names are ignored, as extensions that we do not know. */
static bool schema_read(struct event *ev, const struct json *v)
{
    struct slice text = SLICE_NONE;
    if (v == NULL || v->type == JSON_NULL)
        return true;
    if (!json_string(v, &text) || text.size == 0)
        return false;
    if (!slice_starts(text, SLICE(SCHEMA_PREFIX)))
        return true;
    text = slice_from(text, sizeof SCHEMA_PREFIX - 1);
    return slice_starts(text, ev->topic) && text.size > ev->topic.size && text.p[ev->topic.size] == ':' &&
           slice_to_i64(slice_from(text, ev->topic.size + 1), &ev->schema) && ev->schema >= 1 && ev->schema <= EVENT_SCHEMA_MAX;
}

enum ficus_err event_read(struct arena *a, const struct json *v, struct event *ret_event, struct ficus_error *reterr)
{
    struct event ev = {.offset = 0};
    struct slice text = SLICE_NONE;
    if (v == NULL || v->type != JSON_OBJECT)
        return err_set(reterr, FICUS_ERR_PARSE, "event: a JSON object is needed");
    if (!json_string(json_get(v, "specversion"), &text) || !slice_eq_str(text, "1.0"))
        return err_set(reterr, FICUS_ERR_PARSE, "event: specversion must be \"1.0\"");
    for (size_t i = 0; i < ATTRIBUTES; i++) {
        const struct json *member = json_get(v, attributes[i].name);
        if (member == NULL || member->type == JSON_NULL)
            continue;
        if (!json_string(member, &text))
            return err_set(reterr, FICUS_ERR_PARSE, "event: %s must be a string", attributes[i].name);
        attribute_set(&ev, &attributes[i], text);
    }
    enum ficus_err err = attributes_check(&ev, FICUS_ERR_PARSE, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    const struct json *sequence = json_get(v, "sequence");
    if (sequence != NULL && !(json_string(sequence, &text) && slice_to_i64(text, &ev.offset) && ev.offset > 0))
        return err_set(reterr, FICUS_ERR_PARSE, "event: sequence must be a string of digits");
    if (!schema_read(&ev, json_get(v, "dataschema")))
        return err_set(reterr, FICUS_ERR_PARSE, "event: dataschema must be " SCHEMA_PREFIX SLICE_FMT ":VERSION, or another system's name", SLICE_ARG(ev.topic));
    const struct json *later = json_get(v, "deliverat");
    if (later != NULL && later->type != JSON_NULL && !(json_string(later, &text) && time_parse(text, &ev.at_ms) && ev.at_ms > 0))
        return err_set(reterr, FICUS_ERR_PARSE, "event: deliverat must be a string with a time by RFC 3339, such as 2026-11-30T02:00:00Z");
    if (json_get(v, "data_base64") != NULL)
        return err_set(reterr, FICUS_ERR_PARSE, "event: data_base64 is not accepted, data must be JSON");
    const struct json *data = json_get(v, "data");
    if (data != NULL && !depth_fits(data, depth_max_of(ev.topic)))
        return err_set(reterr, FICUS_ERR_PARSE, "event: data has more than %u levels of arrays and objects", depth_max_of(ev.topic));
    err = data == NULL ? FICUS_ERR_OK : data_read(a, data, &ev.data, reterr);
    if (err == FICUS_ERR_OK)
        *ret_event = ev;
    return err;
}

enum ficus_err event_decode(struct arena *a, struct slice text, struct event *ret_event, struct ficus_error *reterr)
{
    struct json *v = NULL;
    struct json_limits limits = {.size_max = EVENT_SIZE_MAX, .values_max = TREE_VALUES_MAX};
    enum ficus_err err = json_parse(a, text, &limits, &v, reterr);
    return err == FICUS_ERR_OK ? event_read(a, v, ret_event, reterr) : err;
}

enum ficus_err event_decode_stored(struct arena *a, char *text, size_t size, size_t data_at, struct event *ret_event,
                                   struct ficus_error *reterr)
{
    static const struct slice before_data = SLICE(",\"datacontenttype\":\"application/json\",\"data\":");
    struct slice head = slice_make(text, size), data = SLICE_NONE;
    if (data_at != 0) {
        bool fits = data_at > before_data.size && data_at + 1 < size && text[size - 1] == '}'
            && memcmp(text + data_at - before_data.size, before_data.p, before_data.size) == 0;
        if (!fits)
            return err_set(reterr, FICUS_ERR_CORRUPT, "event: the stored text is damaged");
        data = slice_make(text + data_at, size - 1 - data_at);
        head.size = data_at - before_data.size + 1;
        text[head.size - 1] = '}';      /* ends the object in front of its data */
    }
    struct event ev;
    enum ficus_err err = event_decode(a, head, &ev, reterr);
    if (err == FICUS_ERR_PARSE)
        return err_set(reterr, FICUS_ERR_CORRUPT, "event: the stored text is damaged");
    if (err != FICUS_ERR_OK)
        return err;
    if (data_at != 0)
        ev.data = data;
    *ret_event = ev;
    return FICUS_ERR_OK;
}

enum ficus_err event_copy(struct arena *a, const struct event *ev, struct event *ret_event)
{
    struct event copy = *ev;
    for (size_t i = 0; i < ATTRIBUTES; i++) {
        struct slice v = attribute_get(ev, &attributes[i]);
        if (v.p != NULL)
            attribute_set(&copy, &attributes[i], arena_slice(a, v));
    }
    if (ev->data.p != NULL)
        copy.data = arena_slice(a, ev->data);
    if (arena_overflowed(a))
        return FICUS_ERR_NOMEM;
    *ret_event = copy;
    return FICUS_ERR_OK;
}

/* ---- dead letters ---- */

static void dead_data_write(struct buf *b, const struct event *original, const char *consumer, const char *reason,
                            int64_t attempts, bool whole)
{
    struct json_writer w;
    struct event ev = *original;
    json_write_init(&w, b);
    json_write_object(&w);
    json_write_kv_str(&w, "consumer", consumer);
    json_write_kv_slice(&w, "reason", slice_make(reason, strnlen(reason, 1024)));
    json_write_kv_i64(&w, "attempts", attempts);
    if (!whole) {
        json_write_kv_bool(&w, "data_omitted", true);
        ev.data = SLICE_NONE;
    }
    json_write_key(&w, "event");
    event_write(&w, &ev);
    json_write_end(&w);
}

enum ficus_err event_dead_letter(struct env *e, struct arena *a, const struct event *original, const char *consumer,
                                 const char *reason, int64_t attempts, struct event *ret_event,
                                 struct ficus_error *reterr)
{
    enum { ENVELOPE_SIZE_MAX = 16 * 1024 };     /* attributes around data, all at their bounds and escaped */
    struct event ev = {.topic = SLICE(EVENT_TOPIC_DEAD), .subject = original->subject,
        .traceparent = original->traceparent, .tracestate = original->tracestate, .correlation = original->correlation,
        .causation = original->id};
    struct buf b;
    uint8_t random[10];
    char id[UUID_TEXT_SIZE], at[TIME_TEXT_SIZE];
    env_random(e, random, sizeof random);
    uuid_v7(env_wall_ms(e), random, id);
    time_format(env_wall_ms(e), at);
    buf_init(&b, EVENT_SIZE_MAX - ENVELOPE_SIZE_MAX);
    dead_data_write(&b, original, consumer, reason, attempts, true);
    if (buf_failed(&b)) {
        buf_clear(&b);
        dead_data_write(&b, original, consumer, reason, attempts, false);
    }
    char *source = arena_printf(a, "/%s", consumer);
    ev.id = slice_str(id);
    ev.time = slice_str(at);
    ev.source = slice_str(source);
    ev.data = buf_slice(&b);
    enum ficus_err err = buf_failed(&b) || source == NULL ? FICUS_ERR_NOMEM : event_copy(a, &ev, ret_event);
    buf_done(&b);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "dead letter: out of memory");
}

enum ficus_err event_letter_read(struct arena *a, struct slice data, struct event_letter *ret_letter,
                                 struct ficus_error *reterr)
{
    struct json *root = NULL;
    enum ficus_err err = json_parse(a, data, &(struct json_limits){.size_max = EVENT_SIZE_MAX, .values_max = EVENT_SIZE_MAX}, &root, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    ret_letter->consumer = json_string_or(json_get(root, "consumer"), SLICE_NONE);
    ret_letter->data_omitted = json_get(root, "data_omitted") != NULL;
    if (ret_letter->consumer.size == 0)
        return err_set(reterr, FICUS_ERR_PARSE, "dead letter: it names no consumer");
    err = event_read(a, json_get(root, "event"), &ret_letter->original, reterr);
    return err == FICUS_ERR_OK ? err : err_wrap(reterr, "dead letter");
}
