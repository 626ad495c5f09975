/* SPDX-License-Identifier: Apache-2.0
 *
 * From struct to JSON by a table, and the table itself as JSON Schema.
 */
#include "assert.h"
#include "conf.h"
#include "timefmt.h"

static void encode_settings(const struct conf_table *table, const char *value, struct json_writer *w);
static void encode_value(const struct conf_setting *s, const char *base, struct json_writer *w);

static const char *at(const struct conf_setting *s, const char *base)
{
    return base + s->offset;
}

static int64_t number_at(const struct conf_setting *s, const char *base)
{
    return *(const int64_t *)(const void *)at(s, base);
}

static const char *string_at(const struct conf_setting *s, const char *base)
{
    return *(const char *const *)(const void *)at(s, base);
}

static bool is_present(const struct conf_setting *s, const char *base)
{
    switch (s->type) {
    case CONF_INT: case CONF_DURATION: case CONF_SIZE: {
        int64_t v = number_at(s, base);
        return s->min == 0 && s->max == 0 ? v >= 0 : v >= s->min && v <= s->max;
    }
    case CONF_ENUM: return *(const int *)(const void *)at(s, base) >= 0;
    case CONF_STRING: case CONF_ANY: case CONF_TABLE_PTR: return string_at(s, base) != NULL;
    case CONF_LIST: case CONF_MAP: return !(s->flags & CONF_NOT_EMPTY) || *(const size_t *)(const void *)(base + s->count_offset) > 0;
    case CONF_CUSTOM: return s->custom->present == NULL || s->custom->present(s, at(s, base));
    case CONF_BOOL: case CONF_TABLE: case CONF_INLINE: return true;
    }
    FICUS_UNREACHABLE();
}

/* The item's group; 0: none. */
static uint32_t group_at(const struct conf_setting *s, const char *item)
{
    return s->group_word == NULL ? 0 : *(const uint32_t *)(const void *)(item + s->group_offset);
}

/* "{NAME: value}" of a list of one-entry maps, the frame of its group around the first and the last of one. */
static void encode_entry(const struct conf_setting *s, const char *items, size_t i, size_t count, struct json_writer *w)
{
    const char *item = items + i * s->item_size;
    uint32_t group = group_at(s, item);
    json_write_object(w);
    if (group != 0 && (i == 0 || group_at(s, item - s->item_size) != group)) {
        json_write_key(w, s->group_word);
        json_write_array(w);
        json_write_object(w);
    }
    json_write_key(w, *(const char *const *)(const void *)(item + s->key_offset));
    encode_value(s->item, item, w);
    json_write_end(w);
    if (group != 0 && (i + 1 == count || group_at(s, item + s->item_size) != group)) {
        json_write_end(w);
        json_write_end(w);
    }
}

static void encode_items(const struct conf_setting *s, const char *base, struct json_writer *w)
{
    const char *items = string_at(s, base);
    size_t count = *(const size_t *)(const void *)(base + s->count_offset);
    bool map = s->type == CONF_MAP, as_list = (s->flags & CONF_AS_LIST) != 0;
    if (map && !as_list)
        json_write_object(w);
    else
        json_write_array(w);
    for (size_t i = 0; i < count; i++) {
        const char *item = items + i * s->item_size;
        if (map && as_list) {
            encode_entry(s, items, i, count, w);
            continue;
        }
        if (map)
            json_write_key(w, *(const char *const *)(const void *)(item + s->key_offset));
        encode_value(s->item, item, w);
    }
    json_write_end(w);
}

static void encode_value(const struct conf_setting *s, const char *base, struct json_writer *w)
{
    char text[32];
    switch (s->type) {
    case CONF_BOOL: json_write_bool(w, *(const bool *)(const void *)at(s, base)); return;
    case CONF_INT: json_write_i64(w, number_at(s, base)); return;
    case CONF_DURATION:
        duration_format(number_at(s, base), text, sizeof text);
        json_write_str(w, text);
        return;
    case CONF_SIZE:
        conf_size_format(number_at(s, base), text, sizeof text);
        json_write_str(w, text);
        return;
    case CONF_STRING: json_write_str(w, string_at(s, base)); return;
    case CONF_ENUM: json_write_str(w, s->words[*(const int *)(const void *)at(s, base)]); return;
    case CONF_ANY: json_write_raw(w, slice_str(string_at(s, base))); return;
    case CONF_TABLE: conf_encode(s->table, at(s, base), w); return;
    case CONF_TABLE_PTR: conf_encode(s->table, string_at(s, base), w); return;
    case CONF_LIST: case CONF_MAP: encode_items(s, base, w); return;
    case CONF_CUSTOM: s->custom->encode(s, at(s, base), w); return;
    case CONF_INLINE: break;    /* handled by encode_settings */
    }
    FICUS_UNREACHABLE();
}

static void encode_settings(const struct conf_table *table, const char *value, struct json_writer *w)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_setting *s = &table->settings[i];
        if (s->flags & (CONF_NOT_BUILT | CONF_MANIFEST_ONLY))
            continue;
        if (s->type == CONF_INLINE) {
            encode_settings(s->table, at(s, value), w);
        } else if (is_present(s, value)) {
            json_write_key(w, s->name);
            encode_value(s, value, w);
        }
    }
}

void conf_encode(const struct conf_table *table, const void *value, struct json_writer *w)
{
    json_write_object(w);
    encode_settings(table, value, w);
    json_write_end(w);
}

/* ---- JSON Schema ---- */

/* Tables that contain themselves end here; the writer has 64 levels. */
enum { SCHEMA_DEPTH_MAX = 40 };

static void schema_table(const struct conf_table *table, enum conf_form form, struct json_writer *w);

static void schema_default(const struct conf_setting *s, struct json_writer *w)
{
    /* The default is encoded from a field that holds it, so that it reads as people write it. */
    union {
        int64_t number;
        bool boolean;
        int word;
        const char *text;
    } field = {0};
    struct conf_setting alone = *s;
    alone.offset = 0;
    switch (s->type) {
    case CONF_BOOL: field.boolean = s->fallback != 0; break;
    case CONF_INT: case CONF_DURATION: case CONF_SIZE: field.number = s->fallback; break;
    case CONF_ENUM: field.word = (int)s->fallback; break;
    case CONF_STRING: field.text = s->fallback_text; break;
    default: return;
    }
    if ((s->flags & CONF_REQUIRED) || !is_present(&alone, (const char *)&field))
        return;
    json_write_key(w, "default");
    encode_value(&alone, (const char *)&field, w);
}

static void schema_pattern(struct json_writer *w, const char *pattern)
{
    json_write_kv_str(w, "type", "string");
    json_write_kv_str(w, "pattern", pattern);
}

static void schema_words(const struct conf_setting *s, struct json_writer *w)
{
    json_write_key(w, "enum");
    json_write_array(w);
    for (size_t i = 0; s->words[i] != NULL; i++)
        json_write_str(w, s->words[i]);
    json_write_end(w);
}

static void schema_value(const struct conf_setting *s, enum conf_form form, struct json_writer *w);

/* "items" of a list of one-entry maps; with groups: one of its properties may be a list of such maps. */
static void schema_entries(const struct conf_setting *s, bool groups, enum conf_form form, struct json_writer *w)
{
    json_write_key(w, "items");
    json_write_object(w);
    json_write_kv_str(w, "type", "object");
    json_write_kv_i64(w, "minProperties", 1);
    json_write_kv_i64(w, "maxProperties", 1);
    if (groups) {
        json_write_key(w, "properties");
        json_write_object(w);
        json_write_key(w, s->group_word);
        json_write_object(w);
        json_write_kv_str(w, "type", "array");
        json_write_kv_i64(w, "minItems", 1);
        schema_entries(s, false, form, w);
        json_write_end(w);
        json_write_end(w);
    }
    json_write_key(w, "additionalProperties");
    schema_value(s->item, form, w);
    json_write_end(w);
}

static void schema_items(const struct conf_setting *s, enum conf_form form, struct json_writer *w)
{
    bool map = s->type == CONF_MAP, as_list = (s->flags & CONF_AS_LIST) != 0;
    json_write_kv_str(w, "type", map && !as_list ? "object" : "array");
    if (s->flags & CONF_NOT_EMPTY)
        json_write_kv_i64(w, map && !as_list ? "minProperties" : "minItems", 1);
    if (map && as_list) {
        schema_entries(s, s->group_word != NULL, form, w);
        return;
    }
    json_write_key(w, map ? "additionalProperties" : "items");
    schema_value(s->item, form, w);
}

static void schema_keywords(const struct conf_setting *s, enum conf_form form, struct json_writer *w)
{
    switch (s->type) {
    case CONF_BOOL: json_write_kv_str(w, "type", "boolean"); break;
    case CONF_INT:
        json_write_kv_str(w, "type", "integer");
        json_write_kv_i64(w, "minimum", s->min);
        if (s->max != 0)
            json_write_kv_i64(w, "maximum", s->max);
        break;
    case CONF_DURATION: schema_pattern(w, "^[0-9]+(ms|s|m|h|d)$"); break;
    case CONF_SIZE: schema_pattern(w, "^[0-9]+(B|KiB|MiB|GiB)$"); break;
    case CONF_STRING:
        json_write_kv_str(w, "type", "string");
        if (s->min > 0)
            json_write_kv_i64(w, "minLength", 1);   /* JSON Schema counts characters, the table bytes */
        if (s->max > 0)
            json_write_kv_i64(w, "maxLength", s->max);
        break;
    case CONF_ENUM: schema_words(s, w); break;
    case CONF_LIST: case CONF_MAP: schema_items(s, form, w); break;
    default: break;
    }
    schema_default(s, w);
}

static void schema_value(const struct conf_setting *s, enum conf_form form, struct json_writer *w)
{
    if (s->type == CONF_CUSTOM && s->custom->schema != NULL) {
        json_write_raw(w, slice_str(s->custom->schema));
        return;
    }
    json_write_object(w);
    if (s->doc != NULL)
        json_write_kv_str(w, "description", s->doc);
    if (s->type == CONF_TABLE || s->type == CONF_TABLE_PTR) {
        if (w->depth < SCHEMA_DEPTH_MAX)
            schema_table(s->table, form, w);
        else
            json_write_kv_str(w, "type", "object");
    } else {
        schema_keywords(s, form, w);
    }
    json_write_end(w);
}

static bool shown(const struct conf_setting *s, enum conf_form form)
{
    return !(s->flags & (CONF_NOT_BUILT | (form == CONF_MANIFEST ? CONF_RESOLVED_ONLY : CONF_MANIFEST_ONLY)));
}

static void schema_properties(const struct conf_table *table, enum conf_form form, struct json_writer *w)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_setting *s = &table->settings[i];
        if (!shown(s, form))
            continue;
        if (s->type == CONF_INLINE) {
            schema_properties(s->table, form, w);
            continue;
        }
        json_write_key(w, s->name);
        schema_value(s, form, w);
    }
}

static void schema_required(const struct conf_table *table, enum conf_form form, struct json_writer *w)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_setting *s = &table->settings[i];
        if (!shown(s, form))
            continue;
        if (s->type == CONF_INLINE)
            schema_required(s->table, form, w);
        else if (s->flags & CONF_REQUIRED)
            json_write_str(w, s->name);
    }
}

/* Members of an object that is open already. */
static void schema_table(const struct conf_table *table, enum conf_form form, struct json_writer *w)
{
    json_write_kv_str(w, "type", "object");
    json_write_kv_bool(w, "additionalProperties", false);
    json_write_key(w, "properties");
    json_write_object(w);
    schema_properties(table, form, w);
    json_write_end(w);
    json_write_key(w, "required");
    json_write_array(w);
    schema_required(table, form, w);
    json_write_end(w);
}

void conf_schema(const struct conf_table *table, enum conf_form form, struct json_writer *w)
{
    json_write_object(w);
    json_write_kv_str(w, "$schema", "https://json-schema.org/draft/2020-12/schema");
    json_write_kv_str(w, "title", table->name);
    if (table->doc != NULL)
        json_write_kv_str(w, "description", table->doc);
    schema_table(table, form, w);
    json_write_end(w);
}
