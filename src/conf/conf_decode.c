/* SPDX-License-Identifier: Apache-2.0
 *
 * From tree to struct by a table. Nothing stops at an error: what is wrong keeps its default and is reported.
 */
#include "assert.h"
#include "conf.h"
#include "map.h"
#include "text.h"
#include "timefmt.h"

#include <stdio.h>

enum { STRING_SIZE_MAX_DEFAULT = 1024, NAMES_MAX = 128, ALLOWED_SIZE_MAX = 1024 };

struct decoder {
    enum conf_form form;
    struct arena *arena;
    struct conf_errors *errors;
};

/* ---- defaults ---- */

static void set_default(const struct conf_setting *s, char *base)
{
    char *field = base + s->offset;
    switch (s->type) {
    case CONF_BOOL: *(bool *)(void *)field = s->fallback != 0; break;
    case CONF_INT: case CONF_DURATION: case CONF_SIZE: *(int64_t *)(void *)field = s->fallback; break;
    case CONF_ENUM: *(int *)(void *)field = (int)s->fallback; break;
    case CONF_STRING: *(const char **)(void *)field = s->fallback_text; break;
    case CONF_TABLE: case CONF_INLINE: conf_defaults(s->table, field); break;
    case CONF_ANY: case CONF_TABLE_PTR: case CONF_LIST: case CONF_MAP: case CONF_CUSTOM: break;  /* zero already */
    }
}

void conf_defaults(const struct conf_table *table, void *value)
{
    memset(value, 0, table->size);
    for (size_t i = 0; i < table->count; i++)
        set_default(&table->settings[i], value);
}

/* ---- messages ---- */

static void bounds(const struct conf_setting *s, int64_t *ret_min, int64_t *ret_max)
{
    bool none = s->min == 0 && s->max == 0;
    *ret_min = s->min;
    *ret_max = none ? INT64_MAX : s->max;
}

static void put_number(struct buf *b, enum conf_type type, int64_t value)
{
    char text[32];
    if (type == CONF_DURATION) {
        duration_format(value, text, sizeof text);
        (void)buf_add_str(b, text);
    } else if (type == CONF_SIZE) {
        conf_size_format(value, text, sizeof text);
        (void)buf_add_str(b, text);
    } else {
        (void)buf_printf(b, "%lld", (long long)value);
    }
}

static void put_range(struct buf *b, const struct conf_setting *s)
{
    int64_t min, max;
    bounds(s, &min, &max);
    (void)buf_add_str(b, max == INT64_MAX ? " of at least " : " from ");
    put_number(b, s->type, min);
    if (max != INT64_MAX) {
        (void)buf_add_str(b, " to ");
        put_number(b, s->type, max);
    }
}

static void put_words(struct buf *b, const struct conf_setting *s)
{
    (void)buf_add_str(b, "one of ");
    for (size_t i = 0; s->words[i] != NULL; i++)
        (void)buf_printf(b, "%s%s", i > 0 ? ", " : "", s->words[i]);
}

/* What a setting takes, in words. A text that is cut at the buffer's end still helps. */
static const char *allowed(struct buf *b, const struct conf_setting *s)
{
    buf_init(b, ALLOWED_SIZE_MAX);
    switch (s->type) {
    case CONF_BOOL: (void)buf_add_str(b, "true or false"); break;
    case CONF_INT: (void)buf_add_str(b, "a whole number"); put_range(b, s); break;
    case CONF_DURATION: (void)buf_add_str(b, "a duration"); put_range(b, s); break;
    case CONF_SIZE: (void)buf_add_str(b, "a size"); put_range(b, s); break;
    case CONF_STRING: (void)buf_add_str(b, "text"); break;
    case CONF_ENUM: put_words(b, s); break;
    case CONF_ANY: (void)buf_add_str(b, "a value"); break;
    case CONF_TABLE: case CONF_TABLE_PTR: case CONF_INLINE: (void)buf_add_str(b, "a map"); break;
    case CONF_LIST: (void)buf_add_str(b, "a list"); break;
    case CONF_MAP: (void)buf_add_str(b, s->flags & CONF_AS_LIST ? "a list of maps with one entry each" : "a map"); break;
    case CONF_CUSTOM: (void)buf_add_str(b, s->custom->allowed); break;
    }
    return buf_str(b);
}

static const char *found(struct arena *a, const struct conf_node *node)
{
    switch (node->kind) {
    case CONF_NULL: return "nothing";
    case CONF_LIST_NODE: return "a list";
    case CONF_MAP_NODE: return "a map";
    case CONF_SCALAR: break;
    }
    const char *text = arena_printf(a, "\"%.*s\"", (int)(node->text.size < 80 ? node->text.size : 80), node->text.p);
    return text == NULL ? "text" : text;
}

static bool fail_found(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, const char *hint)
{
    struct buf b;
    conf_error_value(d->errors, node, "found %s, expected %s%s", found(d->arena, node), allowed(&b, s), hint);
    buf_done(&b);
    return false;
}

static bool fail_memory(struct decoder *d, const struct conf_node *node)
{
    conf_error_value(d->errors, node, "out of memory");
    return false;
}

/* ---- scalars ---- */

static bool decode_bool(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, bool *field)
{
    static const char *const yes[] = {"yes", "Yes", "YES", "on", "On", "ON", "True", "TRUE"};
    static const char *const no[] = {"no", "No", "NO", "off", "Off", "OFF", "False", "FALSE"};
    if (node->kind != CONF_SCALAR || node->quoted)
        return fail_found(d, s, node, "");
    if (slice_eq_str(node->text, "true") || slice_eq_str(node->text, "false")) {
        *field = node->text.p[0] == 't';
        return true;
    }
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (slice_eq_str(node->text, yes[i]))
            return fail_found(d, s, node, " (did you mean true?)");
        if (slice_eq_str(node->text, no[i]))
            return fail_found(d, s, node, " (did you mean false?)");
    }
    return fail_found(d, s, node, "");
}

static bool all_digits(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.size > 0;
}

static bool decode_number(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, int64_t *field)
{
    int64_t value, min, max;
    bool duration = s->type == CONF_DURATION, plain = s->type == CONF_INT;
    if (node->kind != CONF_SCALAR || (plain && node->quoted))
        return fail_found(d, s, node, "");
    bool ok = duration ? duration_parse(node->text, &value) : plain ? slice_to_i64(node->text, &value) : conf_size_parse(node->text, &value);
    if (!ok && !plain && all_digits(node->text) && node->text.size < 16) {
        conf_error_value(d->errors, node, "\"%s\" has no unit (did you mean %s%s?)", node->text.p, node->text.p, duration ? "ms" : "B");
        return false;
    }
    if (!ok)
        return fail_found(d, s, node, duration ? ", such as 300ms, 3s, 10m, 24h or 7d" : plain ? "" : ", such as 512B, 64KiB, 16MiB or 2GiB");
    bounds(s, &min, &max);
    if (value < min || value > max)
        return fail_found(d, s, node, "");
    *field = value;
    return true;
}

/* The rules that texts and names of map entries share. */
static bool check_text(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, struct slice text, bool at_key)
{
    size_t max = s->max == 0 ? STRING_SIZE_MAX_DEFAULT : (size_t)s->max;
    const char *wrong = NULL;
    char range[64];
    if (text.size < (size_t)s->min || text.size > max) {
        (void)snprintf(range, sizeof range, "%lld to %zu bytes", (long long)s->min, max);
        wrong = range;
    } else if (memchr(text.p, '\0', text.size) != NULL) {
        wrong = "text without NUL";
    } else if (s->check != NULL) {
        wrong = s->check(text);
    }
    if (wrong == NULL)
        return true;
    int shown = (int)(text.size < 80 ? text.size : 80);
    if (at_key)
        conf_error_key(d->errors, node, "found \"%.*s\", allowed is %s", shown, text.p, wrong);
    else
        conf_error_value(d->errors, node, "found \"%.*s\", allowed is %s", shown, text.p, wrong);
    return false;
}

static bool decode_string(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, const char **field)
{
    if (node->kind != CONF_SCALAR)
        return fail_found(d, s, node, "");
    if (!check_text(d, s, node, node->text, false))
        return false;
    *field = arena_strdup(d->arena, node->text);
    return *field != NULL || fail_memory(d, node);
}

static bool decode_enum(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, int *field)
{
    if (node->kind != CONF_SCALAR)
        return fail_found(d, s, node, "");
    size_t count = 0;
    for (; s->words[count] != NULL; count++) {
        if (slice_eq_str(node->text, s->words[count])) {
            *field = (int)count;
            return true;
        }
    }
    const char *near = text_nearest(node->text, s->words, count);
    const char *hint = near == NULL ? "" : arena_printf(d->arena, " (did you mean %s?)", near);
    return fail_found(d, s, node, hint == NULL ? "" : hint);
}

static bool decode_any(struct decoder *d, const struct conf_node *node, const char **field)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, CONF_TEXT_SIZE_MAX * 2);
    json_write_init(&w, &b);
    conf_node_write(node, &w);
    *field = buf_failed(&b) ? NULL : arena_strdup(d->arena, buf_slice(&b));
    buf_done(&b);
    return *field != NULL || fail_memory(d, node);
}

/* ---- containers ---- */

static bool decode_value(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, char *base);
static bool decode_table(struct decoder *d, const struct conf_table *table, const struct conf_node *node, void *value);

static bool decode_pointer(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, void **field)
{
    void *value = arena_zalloc(d->arena, s->table->size);
    if (value == NULL)
        return fail_memory(d, node);
    *field = value;
    return decode_table(d, s->table, node, value);
}

static void default_item(const struct conf_setting *item, char *base)
{
    if (item->type == CONF_LIST || item->type == CONF_MAP)
        return;     /* zero already */
    set_default(item, base);
}

/* The list of a group, when the entry of a list of one-entry maps is one; else NULL. */
static const struct conf_node *group_of(const struct conf_setting *s, const struct conf_node *entry)
{
    bool grouped = s->group_word != NULL && entry->kind == CONF_MAP_NODE && entry->count == 1 && entry->first->kind == CONF_LIST_NODE;
    return grouped && slice_eq_str(entry->first->key, s->group_word) ? entry->first : NULL;
}

static uint32_t count_items(const struct conf_setting *s, const struct conf_node *node)
{
    uint32_t count = node->count;
    for (const struct conf_node *n = s->group_word == NULL ? NULL : node->first; n != NULL; n = n->next)
        if (group_of(s, n) != NULL)
            count += group_of(s, n)->count - 1;
    return count;
}

/* Room for the items of a list or map; NULL when out of memory. */
static char *make_items(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, char *base)
{
    size_t size;
    uint32_t count = count_items(s, node);
    char *items = __builtin_mul_overflow(s->item_size, (size_t)count, &size) ? NULL : arena_zalloc(d->arena, size);
    if (items == NULL) {
        (void)fail_memory(d, node);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        default_item(s->item, items + i * s->item_size);
    *(void **)(void *)(base + s->offset) = items;
    *(size_t *)(void *)(base + s->count_offset) = count;
    return items;
}

static bool check_not_empty(struct decoder *d, const struct conf_setting *s, const struct conf_node *node)
{
    if (node->count > 0 || !(s->flags & CONF_NOT_EMPTY))
        return true;
    conf_error_value(d->errors, node, "found nothing in it, expected at least one entry");
    return false;
}

static bool decode_list(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, char *base)
{
    if (node->kind != CONF_LIST_NODE)
        return fail_found(d, s, node, "");
    char *items = make_items(d, s, node, base);
    bool ok = items != NULL && check_not_empty(d, s, node);
    if (items == NULL)
        return false;
    for (const struct conf_node *n = node->first; n != NULL; n = n->next)
        ok &= decode_value(d, s->item, n, items + n->index * s->item_size);
    return ok;
}

static bool decode_entry(struct decoder *d, const struct conf_setting *s, const struct conf_node *entry, char *item)
{
    /* The check of names stands in the map's setting, or in its item's when that is no text with a check of its own. */
    struct conf_setting name = {.type = CONF_STRING, .min = 1, .max = s->max, .check = s->check};
    if (name.check == NULL && s->item->type != CONF_STRING)
        name.check = s->item->check;
    bool ok = check_text(d, &name, entry, entry->key, true);
    const char *key = arena_strdup(d->arena, entry->key);
    if (key == NULL)
        return fail_memory(d, entry);
    ok &= decode_value(d, s->item, entry, item);
    /* After the value: a table's defaults clear the whole item. */
    *(const char **)(void *)(item + s->key_offset) = key;
    return ok;
}

/* Names that occur twice in a list of one-entry maps, its groups included; within one map the readers have refused them already. */
static bool check_names_once(struct decoder *d, const struct conf_setting *s, const struct conf_node *list, struct map *seen)
{
    bool ok = true;
    for (const struct conf_node *n = list->first; n != NULL && ok; n = n->next) {
        if (n->kind != CONF_MAP_NODE || n->first == NULL)
            continue;
        if (group_of(s, n) != NULL) {
            ok = check_names_once(d, s, group_of(s, n), seen);
            continue;
        }
        const struct conf_node *before = map_get(seen, n->first->key);
        if (before != NULL) {
            conf_error_key(d->errors, n->first, "\"%s\" occurs twice, first in line %u", n->first->key.p, before->key_line);
            ok = false;
        } else {
            ok = map_put(seen, n->first->key, n->first) || fail_memory(d, n);
        }
    }
    return ok;
}

/* The entries of one list to items from *at on. group: 0, or the number of the group that they are. */
static bool decode_entries(struct decoder *d, const struct conf_setting *s, const struct conf_node *list, uint32_t group, uint32_t *groups, char **at)
{
    bool ok = check_not_empty(d, s, list);
    for (const struct conf_node *n = list->first; n != NULL; n = n->next) {
        const struct conf_node *inner = group_of(s, n);
        if (inner != NULL && group == 0) {
            ++*groups;
            ok &= decode_entries(d, s, inner, *groups, groups, at);
            continue;
        }
        if (inner != NULL) {
            conf_error_key(d->errors, inner, "stands inside another \"%s\"; write its entries into that one", s->group_word);
            ok = false;
        } else if (s->group_word != NULL && n->kind == CONF_MAP_NODE && n->count == 1 && n->first->kind == CONF_LIST_NODE) {
            conf_error_key(d->errors, n->first, "found a list, expected a map; a list stands behind \"%s\" only", s->group_word);
            ok = false;
        } else if (n->kind == CONF_MAP_NODE && n->count == 1) {
            ok &= decode_entry(d, s, n->first, *at);
            if (s->group_word != NULL)
                *(uint32_t *)(void *)(*at + s->group_offset) = group;
        } else {
            conf_error_value(d->errors, n, "found %s, expected a map with one entry", n->kind == CONF_MAP_NODE ? "a map with other than one entry" : found(d->arena, n));
            ok = false;
        }
        *at += s->item_size;
    }
    return ok;
}

static bool decode_entries_as_list(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, char *base)
{
    if (node->kind != CONF_LIST_NODE)
        return fail_found(d, s, node, "");
    char *items = make_items(d, s, node, base);
    if (items == NULL)
        return false;
    struct map seen;
    uint32_t groups = 0;
    map_init(&seen, (const uint64_t[2]){0, 0});
    bool ok = check_names_once(d, s, node, &seen);
    map_done(&seen);
    return decode_entries(d, s, node, 0, &groups, &items) && ok;
}

static bool decode_map(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, char *base)
{
    if (s->flags & CONF_AS_LIST)
        return decode_entries_as_list(d, s, node, base);
    if (node->kind != CONF_MAP_NODE)
        return fail_found(d, s, node, "");
    char *items = make_items(d, s, node, base);
    if (items == NULL)
        return false;
    bool ok = check_not_empty(d, s, node);
    for (const struct conf_node *n = node->first; n != NULL; n = n->next)
        ok &= decode_entry(d, s, n, items + n->index * s->item_size);
    return ok;
}

static bool decode_value(struct decoder *d, const struct conf_setting *s, const struct conf_node *node, char *base)
{
    void *field = base + s->offset;
    switch (s->type) {
    case CONF_BOOL: return decode_bool(d, s, node, field);
    case CONF_INT: case CONF_DURATION: case CONF_SIZE: return decode_number(d, s, node, field);
    case CONF_STRING: return decode_string(d, s, node, field);
    case CONF_ENUM: return decode_enum(d, s, node, field);
    case CONF_ANY: return decode_any(d, node, field);
    case CONF_TABLE: return decode_table(d, s->table, node, field);
    case CONF_TABLE_PTR: return decode_pointer(d, s, node, field);
    case CONF_LIST: return decode_list(d, s, node, base);
    case CONF_MAP: return decode_map(d, s, node, base);
    case CONF_CUSTOM: return s->custom->decode(s, node, field, d->arena, d->errors);
    case CONF_INLINE: break;    /* never found by name */
    }
    FICUS_UNREACHABLE();
}

/* ---- tables ---- */

static bool hidden(const struct conf_setting *s, enum conf_form form)
{
    return (s->flags & (form == CONF_MANIFEST ? CONF_RESOLVED_ONLY : CONF_MANIFEST_ONLY)) != 0;
}

/* The setting of that name in the table or one inlined in it; *ret_base is where its offset counts from. */
static const struct conf_setting *find_setting(const struct conf_table *table, struct slice key, enum conf_form form, char *base, char **ret_base)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_setting *s = &table->settings[i];
        if (hidden(s, form))
            continue;
        if (s->type == CONF_INLINE) {
            const struct conf_setting *inner = find_setting(s->table, key, form, base + s->offset, ret_base);
            if (inner != NULL)
                return inner;
        } else if (slice_eq_str(key, s->name)) {
            *ret_base = base;
            return s;
        }
    }
    return NULL;
}

static size_t collect_names(const struct conf_table *table, enum conf_form form, const char **names, size_t count)
{
    for (size_t i = 0; i < table->count && count < NAMES_MAX; i++) {
        const struct conf_setting *s = &table->settings[i];
        if (hidden(s, form) || (s->flags & CONF_NOT_BUILT))
            continue;
        if (s->type == CONF_INLINE)
            count = collect_names(s->table, form, names, count);
        else
            names[count++] = s->name;
    }
    return count;
}

static bool fail_unknown(struct decoder *d, const struct conf_table *table, const struct conf_node *node)
{
    const char *names[NAMES_MAX];
    size_t count = collect_names(table, d->form, names, 0);
    const char *near = text_nearest(node->key, names, count);
    if (near != NULL) {
        conf_error_key(d->errors, node, "unknown key (did you mean %s?)", near);
        return false;
    }
    struct buf b;
    buf_init(&b, ALLOWED_SIZE_MAX);
    for (size_t i = 0; i < count; i++)
        (void)buf_printf(&b, "%s%s", i > 0 ? ", " : "", names[i]);
    conf_error_key(d->errors, node, "unknown key, allowed here: %s", buf_str(&b));
    buf_done(&b);
    return false;
}

static bool check_required(struct decoder *d, const struct conf_table *table, const struct conf_node *node)
{
    bool ok = true;
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_setting *s = &table->settings[i];
        if (hidden(s, d->form))
            continue;
        if (s->type == CONF_INLINE) {
            ok &= check_required(d, s->table, node);
        } else if ((s->flags & CONF_REQUIRED) && conf_get(node, s->name) == NULL) {
            struct buf b;
            conf_error_key(d->errors, node, "\"%s\" is missing: %s", s->name, allowed(&b, s));
            buf_done(&b);
            ok = false;
        }
    }
    return ok;
}

static void set_nodes(const struct conf_table *table, const struct conf_node *node, char *value)
{
    if (table->has_node)
        *(const struct conf_node **)(void *)(value + table->node_offset) = node;
    for (size_t i = 0; i < table->count; i++)
        if (table->settings[i].type == CONF_INLINE)
            set_nodes(table->settings[i].table, node, value + table->settings[i].offset);
}

static void run_checks(struct decoder *d, const struct conf_table *table, const struct conf_node *node, char *value)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->settings[i].type == CONF_INLINE)
            run_checks(d, table->settings[i].table, node, value + table->settings[i].offset);
    if (table->check != NULL)
        table->check(node, value, d->errors);
}

static bool decode_table(struct decoder *d, const struct conf_table *table, const struct conf_node *node, void *value)
{
    conf_defaults(table, value);
    set_nodes(table, node, value);
    if (node->kind != CONF_MAP_NODE) {
        conf_error_value(d->errors, node, "found %s, expected a map%s", found(d->arena, node), node->kind == CONF_NULL ? " (write {} for all defaults)" : "");
        return false;
    }
    bool ok = true;
    for (const struct conf_node *n = node->first; n != NULL; n = n->next) {
        char *base = NULL;
        const struct conf_setting *s = find_setting(table, n->key, d->form, value, &base);
        if (s == NULL) {
            ok = fail_unknown(d, table, n);
        } else if (s->flags & CONF_NOT_BUILT) {
            conf_error_key(d->errors, n, "not supported by this version");
            ok = false;
        } else {
            ok &= decode_value(d, s, n, base);
        }
    }
    ok &= check_required(d, table, node);
    if (!ok)
        return false;
    size_t before = d->errors->count;
    run_checks(d, table, node, value);
    return d->errors->count == before;
}

bool conf_decode(const struct conf_node *node, const struct conf_table *table, enum conf_form form, void *value, struct arena *a,
                 struct conf_errors *errors)
{
    struct decoder d = {.form = form, .arena = a, .errors = errors};
    size_t before = errors->count;
    bool ok = decode_table(&d, table, node, value);
    FICUS_ASSERT(ok == (errors->count == before));
    return ok;
}
