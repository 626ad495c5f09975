/* SPDX-License-Identifier: Apache-2.0
 *
 * The schemas of topics: the setting `schema`, the files that it names, whether each version reads the one before it, and
 * what is registered. Versions are numbered by their place in the list, from 1; the last one is what is published.
 *
 * Registered is what a start or a reload accepted, so whatever a process of this system may have published under. It is
 * kept in the state folder (manifest_options.registered) by its meaning (jschema_meaning), and never changes.
 */
#include "manifest_private.h"

#include "jschema.h"

#include <stdio.h>

enum { REGISTERED_VERSION = 1, REGISTERED_SIZE_MAX = CONF_JSON_SIZE_MAX, VERSIONS_MAX = 100 };

#define ALLOWED "a file such as events/order.placed.json, or a list of them with { file: ..., upcast: true } for a version that cannot read the one before"

/* ---- the setting ---- */

static bool fail_version(const struct conf_node *node, struct conf_errors *errors)
{
    conf_error_value(errors, node, "found %s, expected " ALLOWED, node->kind == CONF_NULL ? "nothing" : node->kind == CONF_SCALAR ? "no file" : node->kind == CONF_LIST_NODE ? "a list" : conf_get(node, "file") == NULL ? "a map without file" : "a map outside a list");
    return false;
}

static bool decode_file(const struct conf_node *node, struct manifest_schema *s, struct arena *a, struct conf_errors *errors)
{
    const char *wrong = NULL;
    if (node->kind != CONF_SCALAR || node->text.size == 0 || node->text.size > 256)
        return fail_version(node, errors);
    if ((wrong = manifest_check_inside(node->text)) != NULL) {
        conf_error_value(errors, node, "found \"" SLICE_FMT "\", expected %s", SLICE_ARG(node->text), wrong);
        return false;
    }
    s->file = arena_strdup(a, node->text);
    return s->file != NULL;
}

static bool decode_version(const struct conf_node *node, struct manifest_schema *s, struct arena *a, struct conf_errors *errors)
{
    s->node = node;
    if (node->kind != CONF_MAP_NODE)
        return decode_file(node, s, a, errors);
    const struct conf_node *file = conf_get(node, "file");
    for (const struct conf_node *n = node->first; n != NULL; n = n->next) {
        bool upcast = slice_eq_str(n->key, "upcast");
        if (!upcast && n != file) {
            conf_error_key(errors, n, "is unknown here, expected file or upcast");
            return false;
        }
        if (upcast && (n->kind != CONF_SCALAR || n->quoted || (!slice_eq_str(n->text, "true") && !slice_eq_str(n->text, "false")))) {
            conf_error_value(errors, n, "expected true or false");
            return false;
        }
        s->upcast |= upcast && slice_eq_str(n->text, "true");
    }
    return file == NULL ? fail_version(node, errors) : decode_file(file, s, a, errors);
}

static bool schemas_decode(const struct conf_setting *setting, const struct conf_node *node, void *field, struct arena *a, struct conf_errors *errors)
{
    (void)setting;
    struct manifest_schemas *out = field;
    size_t count = node->kind == CONF_LIST_NODE ? node->count : 1;
    struct manifest_schema *list = ARENA_ARRAY(a, struct manifest_schema, count + 1);
    bool ok = true;
    if (list == NULL || count == 0 || count > VERSIONS_MAX) {
        conf_error_value(errors, node, list == NULL ? "out of memory" : count == 0 ? "the list is empty, expected " ALLOWED : "has more than 100 versions");
        return false;
    }
    list[0].node = node;
    if (node->kind != CONF_LIST_NODE)
        ok = decode_file(node, &list[0], a, errors);
    else
        for (const struct conf_node *n = node->first; n != NULL; n = n->next)
            ok = decode_version(n, &list[n->index], a, errors) && ok;
    if (ok)
        *out = (struct manifest_schemas){.list = list, .count = count};
    return ok;
}

static void schemas_encode(const struct conf_setting *setting, const void *field, struct json_writer *w)
{
    (void)setting;
    const struct manifest_schemas *s = field;
    json_write_array(w);
    for (size_t i = 0; i < s->count; i++) {
        json_write_object(w);
        json_write_kv_str(w, "file", s->list[i].file);
        json_write_kv_bool(w, "upcast", s->list[i].upcast);
        json_write_end(w);
    }
    json_write_end(w);
}

static bool schemas_present(const struct conf_setting *setting, const void *field)
{
    (void)setting;
    return ((const struct manifest_schemas *)field)->count > 0;
}

#define VERSION_SCHEMA "{\"oneOf\":[{\"type\":\"string\",\"minLength\":1},{\"type\":\"object\",\"properties\":{\"file\":{\"type\":\"string\",\"minLength\":1}," \
                       "\"upcast\":{\"type\":\"boolean\"}},\"required\":[\"file\"],\"additionalProperties\":false}]}"

const struct conf_custom manifest_schemas_custom = {
    .decode = schemas_decode,
    .encode = schemas_encode,
    .present = schemas_present,
    .size = sizeof(struct manifest_schemas),
    .schema = "{\"oneOf\":[" VERSION_SCHEMA ",{\"type\":\"array\",\"minItems\":1,\"items\":" VERSION_SCHEMA "}]}",
    .allowed = ALLOWED,
    .wrong = "../outside.json",
    .example = "[events/example.json]",
};

/* ---- the files ---- */

struct schemas {
    struct manifest *m;
    struct arena *arena;
    struct conf_errors *errors;
};

/* A number that ends with ':'. The text behind it, or NULL. */
static const char *place_number(const char *text, uint32_t *ret)
{
    const char *p = text;
    for (*ret = 0; text != NULL && *p >= '0' && *p <= '9' && p - text < 9; p++)
        *ret = *ret * 10 + (uint32_t)(*p - '0');
    return text != NULL && p > text && *p == ':' ? p + 1 : NULL;
}

/* Faults of a schema, each at its place in the file. What is no JSON has its place before the text (json_parse). */
static void tell(struct schemas *c, const char *shown, struct slice text, const struct jschema_faults *faults)
{
    for (size_t i = 0; i < faults->count; i++) {
        const struct jschema_fault *f = &faults->list[i];
        uint32_t line = 1, column = 1;
        const char *said = f->pointer[0] != '\0' ? NULL : place_number(place_number(f->text, &line), &column);
        if (said == NULL || *said != ' ')
            json_position(text, f->offset, &line, &column);
        conf_error_place(c->errors, FICUS_ERR_INVALID, shown, line, column, "%s%s%s", f->pointer, f->pointer[0] == '\0' ? "" : ": ",
                         said == NULL || *said != ' ' ? f->text : said + 1);
    }
}

/* "services/orders/events/x.json", as the user would write it. */
static const char *shown_path(struct schemas *c, const struct manifest_schema *s)
{
    const char *folder = manifest_dirname(c->arena, s->node->file);
    const char *shown = folder == NULL || strcmp(folder, ".") == 0 ? s->file : arena_printf(c->arena, "%s/%s", folder, s->file);
    return shown == NULL ? s->file : shown;
}

static void load_one(struct schemas *c, const struct manifest_service *service, struct manifest_schema *s)
{
    struct ficus_error error = {0};
    struct jschema_faults faults = {.arena = c->arena};
    struct buf meaning;
    const char *path = arena_printf(c->arena, "%s/%s", service->folder, s->file);
    s->shown = shown_path(c, s);
    if (path == NULL || manifest_read_file(c->arena, path, JSCHEMA_TEXT_SIZE_MAX, &s->source, &error) != FICUS_ERR_OK) {
        conf_error_value(c->errors, s->node, "%s cannot be read: %s", s->shown, path == NULL ? "out of memory" : err_text(error.code));
        return;
    }
    if (jschema_compile(c->arena, s->source, &s->schema, &faults) != FICUS_ERR_OK) {
        tell(c, s->shown, s->source, &faults);
        return;
    }
    buf_init(&meaning, 4 * JSCHEMA_TEXT_SIZE_MAX);
    s->meaning = jschema_meaning(s->schema, &meaning) ? arena_strdup(c->arena, buf_slice(&meaning)) : NULL;
    if (s->meaning == NULL || s->meaning[0] != '{' || buf_slice(&meaning).size > JSCHEMA_TEXT_SIZE_MAX)
        conf_error_place(c->errors, FICUS_ERR_INVALID, s->shown, 1, 1, s->meaning == NULL ? "out of memory" : s->meaning[0] != '{' ? "a topic's schema is an object" : "the schema has more than 64 KiB");
    buf_done(&meaning);
}

/* ---- one version and the next ---- */

static void check_step(struct schemas *c, const struct manifest_topic *t, size_t index)
{
    const struct manifest_schema *old = &t->schemas.list[index - 1], *new = &t->schemas.list[index];
    struct jschema_faults faults;
    struct arena a;
    arena_init(&a, JSCHEMA_ARENA_SIZE);
    faults = (struct jschema_faults){.arena = &a};
    if (!jschema_reads(new->schema, old->schema, &faults)) {
        tell(c, new->shown, new->source, &faults);
        conf_error_value(c->errors, new->node, "version %zu of %s does not read what version %zu allows (%s has why): change it; or say "
                         "{ file: %s, upcast: true } and give each consumer an upcaster from %zu; or publish a new topic", index + 1, t->name, index, new->shown,
                         new->file, index);
    }
    arena_done(&a);
}

/* Who takes events as they were published cannot be given upcasters. */
static void check_sagas(struct schemas *c, const struct manifest_topic *t, const struct manifest_schema *s)
{
    for (size_t i = 0; i < c->m->service_count; i++)
        for (size_t k = 0; k < c->m->services[i].saga_count; k++) {
            const struct saga_def *d = &c->m->services[i].sagas[k];
            bool starts = d->start != NULL && strcmp(d->start, t->name) == 0, refuses = false;
            if (d->name != NULL && (starts || saga_topic_step(d, slice_str(t->name), &refuses) < d->step_count))
                conf_error_value(c->errors, s->node, "\"upcast\" is not for a topic that a saga begins with or waits for (\"%s\"): it takes the data as it was "
                                 "published; publish a new topic", d->name);
        }
}

static void check_schedules(struct schemas *c, const struct manifest_service *service, const struct manifest_topic *t)
{
    for (size_t i = 0; i < service->schedule_count && t->schemas.count > 0 && t->name != NULL; i++) {
        const struct manifest_schedule *s = &service->schedules[i];
        if (s->topic != NULL && s->name != NULL && strcmp(s->topic, t->name) == 0)
            conf_error_value(c->errors, t->schemas.list[0].node, "\"schema\" is not for the topic of a schedule (\"%s\"): what its events have is Ficus' own", s->name);
    }
}

static void check_topic(struct schemas *c, const struct manifest_service *service, struct manifest_topic *t)
{
    check_schedules(c, service, t);
    for (size_t i = 0; i < t->schemas.count; i++) {
        struct manifest_schema *s = &t->schemas.list[i];
        load_one(c, service, s);
        if (s->upcast && i == 0)
            conf_error_value(c->errors, s->node, "\"upcast\" has no meaning for the first version");
        else if (s->upcast && t->name != NULL)
            check_sagas(c, t, s);
        else if (i > 0 && t->name != NULL && s->schema != NULL && t->schemas.list[i - 1].schema != NULL)
            check_step(c, t, i);
    }
}

/* ---- what is registered ---- */

/* The object of topics, or NULL: there is none yet, or an error was added. */
static const struct json *registered_read(struct schemas *c, const char *file)
{
    struct slice text;
    struct ficus_error error = {0};
    struct json *root = NULL;
    enum ficus_err err = manifest_read_file(c->arena, file, REGISTERED_SIZE_MAX, &text, &error);
    if (err == FICUS_ERR_NOT_FOUND)
        return NULL;
    if (err == FICUS_ERR_OK)
        err = json_parse(c->arena, text, &(struct json_limits){.size_max = REGISTERED_SIZE_MAX, .values_max = REGISTERED_SIZE_MAX}, &root, &error);
    const struct json *topics = json_get(root, "topics");
    int64_t version = json_i64_or(json_get(root, "version"), 0);
    if (err == FICUS_ERR_OK && version > REGISTERED_VERSION)
        conf_error_place(c->errors, FICUS_ERR_VERSION, file, 1, 1, "was made by a newer Ficus (version %lld)", (long long)version);
    else if (err != FICUS_ERR_OK || topics == NULL || topics->type != JSON_OBJECT)
        conf_error_place(c->errors, FICUS_ERR_CORRUPT, file, 1, 1, "is damaged: %s; put a backup's copy there, or remove it, and what is published now counts as the first",
                         err != FICUS_ERR_OK ? error.text : "it lists no topics");
    return c->errors->count > 0 ? NULL : topics;
}

static void check_registered(struct schemas *c, const struct json *topics, const struct manifest_topic *t)
{
    const struct json *list = json_get(topics, t->name);
    for (size_t i = 0; i < t->schemas.count; i++) {
        const struct json *was = json_at(list, i);
        const struct manifest_schema *s = &t->schemas.list[i];
        if (was == NULL || slice_eq_str(was->text, s->meaning))
            continue;
        conf_error_value(c->errors, s->node, "version %zu of %s was registered otherwise, and events may have been published under it: leave it as it was "
                         "(ficus events schema %s %zu shows it) and write what is new into another file, as the last of the list", i + 1, t->name, t->name, i + 1);
    }
}

void manifest_check_schemas(struct manifest *m, struct arena *a, struct conf_errors *errors)
{
    struct schemas c = {.m = m, .arena = a, .errors = errors};
    for (size_t i = 0; i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].publish_count; k++)
            check_topic(&c, &m->services[i], &m->services[i].publishes[k]);
    if (errors->count > 0 || m->options.registered == NULL)
        return;
    m->registered = registered_read(&c, m->options.registered);
    for (size_t i = 0; i < m->service_count && m->registered != NULL; i++)
        for (size_t k = 0; k < m->services[i].publish_count; k++)
            check_registered(&c, m->registered, &m->services[i].publishes[k]);
}

/* ---- registering ---- */

static const struct manifest_topic *topic_named(const struct manifest *m, struct slice name)
{
    for (size_t i = 0; i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].publish_count; k++)
            if (slice_eq_str(name, m->services[i].publishes[k].name))
                return &m->services[i].publishes[k];
    return NULL;
}

/* What was registered, and behind it what is new. */
static void write_versions(struct json_writer *w, const struct json *was, const struct manifest_topic *t)
{
    size_t count = 0;
    json_write_array(w);
    for (const struct json *v = was == NULL ? NULL : was->first; v != NULL; v = v->next, count++)
        json_write_raw(w, v->text);
    for (; t != NULL && count < t->schemas.count; count++)
        json_write_raw(w, slice_str(t->schemas.list[count].meaning));
    json_write_end(w);
}

bool manifest_write_registered(const struct manifest *m, struct buf *out)
{
    struct json_writer w;
    bool any = m->registered != NULL;
    json_write_init(&w, out);
    json_write_object(&w);
    json_write_kv_i64(&w, "version", REGISTERED_VERSION);
    json_write_key(&w, "topics");
    json_write_object(&w);
    for (const struct json *was = m->registered == NULL ? NULL : m->registered->first; was != NULL; was = was->next) {
        json_write_key_slice(&w, was->key);
        write_versions(&w, was, topic_named(m, was->key));
    }
    for (size_t i = 0; i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].publish_count; k++) {
            const struct manifest_topic *t = &m->services[i].publishes[k];
            if (t->schemas.count == 0 || json_get(m->registered, t->name) != NULL)
                continue;
            json_write_key(&w, t->name);
            write_versions(&w, NULL, t);
            any = true;
        }
    json_write_end(&w);
    json_write_end(&w);
    buf_add_char(out, '\n');
    return any;
}
