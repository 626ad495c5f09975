/* SPDX-License-Identifier: Apache-2.0
 *
 * From the text to a graph of nodes: one for each schema in it. References are resolved when all are known, then it is
 * seen to that no schema leads back to itself without going into the value, which would never end.
 */
#include "jschema_private.h"

#include "mem.h"
#include "text.h"

#include <stdlib.h>

enum { DEPTH_MAX = 48, REFS_MAX = JSCHEMA_NODES_MAX };

struct ref {
    struct jnode *from;
    const struct json *at;
};

struct compiler {
    struct arena *arena;
    struct jschema_faults *faults;
    bool failed, no_memory;
    size_t node_count, ref_count;
    struct ref *refs;
    const struct json *defs;    /* the root's $defs, and its nodes in the same order */
    struct jnode **def_nodes;
    struct jnode *root;
    const struct jplace *place;
};

struct keyword {
    const char *name;
    bool (*read)(struct compiler *c, struct jnode *n, const struct json *v);
    size_t offset;              /* of the field that the shared readers fill */
};

static struct jnode *compile(struct compiler *c, const struct json *v, const struct jplace *place);

/* At the place c->place; false, so that it can be returned. */
static bool __attribute__((format(printf, 3, 4))) wrong(struct compiler *c, const struct json *v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    jschema_fault_add(c->faults, jschema_pointer(c->faults->arena, c->place), v->offset, format, args);
    va_end(args);
    c->failed = true;
    return false;
}

static void __attribute__((format(printf, 4, 5))) wrong_at(struct compiler *c, const struct jnode *n, const struct json *v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    jschema_fault_add(c->faults, n->pointer, v->offset, format, args);
    va_end(args);
    c->failed = true;
}

static void *array(struct compiler *c, size_t count, size_t size)
{
    void *p = arena_zalloc(c->arena, (count + 1) * size);
    c->no_memory |= p == NULL;
    return p;
}

/* ---- values of keywords ---- */

static const char *const type_words[] = {"null", "boolean", "integer", "number", "string", "array", "object", NULL};
static const unsigned type_bits[] = {JTYPE_NULL, JTYPE_BOOL, JTYPE_WHOLE, JTYPE_NUMBER, JTYPE_STRING, JTYPE_ARRAY, JTYPE_OBJECT};

static bool read_type_word(struct compiler *c, struct jnode *n, const struct json *v)
{
    struct slice word;
    for (size_t i = 0; json_string(v, &word) && type_words[i] != NULL; i++)
        if (slice_eq_str(word, type_words[i])) {
            n->types |= type_bits[i];
            return true;
        }
    return wrong(c, v, "type: must be null, boolean, integer, number, string, array or object, or a list of these");
}

static bool read_type(struct compiler *c, struct jnode *n, const struct json *v)
{
    n->types = 0;
    if (v->type != JSON_ARRAY)
        return read_type_word(c, n, v);
    bool ok = v->count > 0 || wrong(c, v, "type: the list is empty");
    for (const struct json *one = v->first; one != NULL && ok; one = one->next)
        ok = read_type_word(c, n, one);
    return ok;
}

static bool read_enum(struct compiler *c, struct jnode *n, const struct json *v)
{
    if (v->type != JSON_ARRAY || v->count == 0)
        return wrong(c, v, "enum: must be a list with at least one value");
    n->values = v;
    return true;
}

static bool read_const(struct compiler *c, struct jnode *n, const struct json *v)
{
    (void)c;
    n->constant = v;
    return true;
}

static bool read_limit(struct compiler *c, struct jnode *n, const struct json *v, size_t offset)
{
    struct jlimit *limit = (struct jlimit *)(void *)((char *)n + offset);
    if (v->type != JSON_NUMBER)
        return wrong(c, v, SLICE_FMT ": must be a number", SLICE_ARG(v->key));
    *limit = (struct jlimit){.at = v, .value = jdecimal_of(v->text)};
    return true;
}

static bool read_multiple(struct compiler *c, struct jnode *n, const struct json *v)
{
    if (!read_limit(c, n, v, offsetof(struct jnode, multiple)))
        return false;
    const struct jdecimal *d = &n->multiple.value;
    if (d->negative || d->count == 0 || d->count > JDECIMAL_DIVISOR_DIGITS_MAX)
        return wrong(c, v, "multipleOf: must be over 0, with at most %d digits", JDECIMAL_DIVISOR_DIGITS_MAX);
    return true;
}

static bool read_count(struct compiler *c, struct jnode *n, const struct json *v, size_t offset)
{
    uint32_t *count = (uint32_t *)(void *)((char *)n + offset);
    struct jdecimal d = v->type == JSON_NUMBER ? jdecimal_of(v->text) : (struct jdecimal){.negative = true};
    if (!jdecimal_to_u32(&d, INT32_MAX, count))
        return wrong(c, v, SLICE_FMT ": must be a whole number from 0 to %d", SLICE_ARG(v->key), INT32_MAX);
    return true;
}

static const struct jpattern *pattern_of(struct compiler *c, const struct json *v, const char *keyword, struct slice text)
{
    struct jpattern *p = NULL;
    struct ficus_error error = {0};
    if (jpattern_compile(c->arena, text, &p, &error) != FICUS_ERR_OK)
        (void)wrong(c, v, "%s: %s", keyword, error.text);
    return p;
}

static bool read_pattern(struct compiler *c, struct jnode *n, const struct json *v)
{
    struct slice text;
    if (!json_string(v, &text))
        return wrong(c, v, "pattern: must be a text");
    return (n->pattern = pattern_of(c, v, "pattern", text)) != NULL;
}

static bool read_format(struct compiler *c, struct jnode *n, const struct json *v)
{
    static const char *const words[] = {"date-time", "date", "uuid"};
    static const enum jformat formats[] = {JFORMAT_DATE_TIME, JFORMAT_DATE, JFORMAT_UUID};
    struct slice word = SLICE_NONE;
    for (size_t i = 0; json_string(v, &word) && i < ARRAY_COUNT(words); i++)
        if (slice_eq_str(word, words[i])) {
            n->format = formats[i];
            return true;
        }
    return wrong(c, v, "format: \"" SLICE_FMT "\" is not supported by this version; date-time, date and uuid are", (int)word.size, word.p == NULL ? "" : word.p);
}

static bool read_unique(struct compiler *c, struct jnode *n, const struct json *v)
{
    return json_bool(v, &n->unique) || wrong(c, v, "uniqueItems: must be true or false");
}

/* ---- schemas inside ---- */

static const struct jnode *compile_at(struct compiler *c, const struct json *v, const struct jplace *up, struct slice key, size_t index)
{
    struct jplace place = {.up = up, .key = key, .index = index};
    const struct jplace *before = c->place;
    c->place = &place;
    struct jnode *n = compile(c, v, &place);
    c->place = before;
    return n;
}

static bool read_schema(struct compiler *c, struct jnode *n, const struct json *v, size_t offset)
{
    const struct jnode **field = (const struct jnode **)(void *)((char *)n + offset);
    *field = compile_at(c, v, c->place, v->key, 0);
    return *field != NULL;
}

static bool read_list(struct compiler *c, struct jnode *n, const struct json *v, size_t offset)
{
    struct jlist *list = (struct jlist *)(void *)((char *)n + offset);
    struct jplace place = {.up = c->place, .key = v->key};
    if (v->type != JSON_ARRAY || v->count == 0)
        return wrong(c, v, SLICE_FMT ": must be a list with at least one schema", SLICE_ARG(v->key));
    list->nodes = array(c, v->count, sizeof *list->nodes);
    for (const struct json *one = v->first; one != NULL && list->nodes != NULL; one = one->next, list->count++)
        list->nodes[list->count] = compile_at(c, one, &place, SLICE_NONE, list->count);
    return list->nodes != NULL;
}

static bool read_patterns(struct compiler *c, struct jnode *n, const struct json *v)
{
    struct jplace place = {.up = c->place, .key = v->key};
    if (v->type != JSON_OBJECT)
        return wrong(c, v, "patternProperties: must be an object of schemas");
    struct jpattern_member *list = array(c, v->count, sizeof *list);
    for (const struct json *one = v->first; one != NULL && list != NULL; one = one->next, n->pattern_count++)
        list[n->pattern_count] = (struct jpattern_member){.pattern = pattern_of(c, one, "patternProperties", one->key),
                                                          .node = compile_at(c, one, &place, one->key, 0)};
    n->patterns = list;
    return list != NULL;
}

/* ---- properties and required, together ---- */

static int by_name(const void *a, const void *b)
{
    return slice_cmp(((const struct jname *)a)->name, ((const struct jname *)b)->name);
}

static bool read_names(struct compiler *c, struct jnode *n, const struct json *schema)
{
    const struct json *properties = json_get(schema, "properties"), *required = json_get(schema, "required");
    struct jplace place = {.up = c->place, .key = SLICE("properties")};
    if (properties != NULL && properties->type != JSON_OBJECT)
        return wrong(c, properties, "properties: must be an object of schemas");
    if (required != NULL && required->type != JSON_ARRAY)
        return wrong(c, required, "required: must be a list of names");
    size_t size = (properties == NULL ? 0 : properties->count) + (required == NULL ? 0 : required->count), count = 0;
    if (size > JSCHEMA_NAMES_MAX)
        return wrong(c, schema, "properties: has more than %d names, those in required counted again", JSCHEMA_NAMES_MAX);
    struct jname *names = array(c, size, sizeof *names);
    if (names == NULL)
        return false;
    for (const struct json *p = properties == NULL ? NULL : properties->first; p != NULL; p = p->next)
        names[count++] = (struct jname){.name = p->key, .node = compile_at(c, p, &place, p->key, 0)};
    qsort(names, count, sizeof *names, by_name);
    size_t property_count = count;
    for (const struct json *r = required == NULL ? NULL : required->first; r != NULL; r = r->next) {
        struct slice name;
        if (!json_string(r, &name))
            return wrong(c, r, "required: must be a list of names");
        struct jname *known = bsearch(&(struct jname){.name = name}, names, property_count, sizeof *names, by_name);
        bool twice = known != NULL && known->required;
        for (size_t i = property_count; i < count; i++)
            twice |= slice_eq(names[i].name, name);
        if (twice)
            return wrong(c, r, "required: names a member twice");
        if (known != NULL)
            known->required = true;
        else
            names[count++] = (struct jname){.name = name, .required = true};
        n->required_count++;
    }
    qsort(names, count, sizeof *names, by_name);
    n->names = names;
    n->name_count = count;
    return true;
}

/* ---- references ---- */

static bool read_ref(struct compiler *c, struct jnode *n, const struct json *v)
{
    struct slice text;
    if (!json_string(v, &text) || !(slice_eq_str(text, "#") || slice_starts(text, SLICE("#/$defs/"))))
        return wrong(c, v, "$ref: must be \"#\" or \"#/$defs/NAME\"; others are not supported by this version");
    c->refs[c->ref_count++] = (struct ref){.from = n, .at = v};
    return true;
}

/* NAME, with its escapes of URI fragment and of JSON pointer undone. */
static bool ref_name(struct compiler *c, struct slice text, struct slice *ret_name)
{
    if (!text_percent_decode(c->arena, slice_from(text, strlen("#/$defs/")), false, &text))
        return false;
    char *out = arena_strdup(c->arena, text);
    size_t size = 0;
    for (size_t i = 0; out != NULL && i < text.size; i++) {
        if (text.p[i] == '/' || (text.p[i] == '~' && (i + 1 == text.size || (text.p[i + 1] != '0' && text.p[i + 1] != '1'))))
            return false;
        out[size++] = text.p[i] != '~' ? text.p[i] : text.p[++i] == '0' ? '~' : '/';
    }
    *ret_name = slice_make(out, size);
    return out != NULL;
}

static void resolve(struct compiler *c, const struct ref *r)
{
    struct slice text = r->at->text, name;
    if (text.size == 1) {
        r->from->ref = c->root;
        return;
    }
    size_t index = 0;
    bool fine = ref_name(c, text, &name);
    for (const struct json *d = c->defs == NULL || !fine ? NULL : c->defs->first; d != NULL; d = d->next, index++)
        if (slice_eq(d->key, name))
            r->from->ref = c->def_nodes[index];
    if (r->from->ref == NULL)
        wrong_at(c, r->from, r->at, "$ref: \"" SLICE_FMT "\" is not there", SLICE_ARG(text));
}

static bool read_defs(struct compiler *c, const struct json *v)
{
    struct jplace place = {.up = c->place, .key = v->key};
    if (v->type != JSON_OBJECT)
        return wrong(c, v, "$defs: must be an object of schemas");
    struct jnode **nodes = array(c, v->count, sizeof *nodes);
    size_t count = 0;
    for (const struct json *d = v->first; d != NULL && nodes != NULL; d = d->next) {
        struct jplace inner = {.up = &place, .key = d->key};
        c->place = &inner;
        nodes[count++] = compile(c, d, &inner);
    }
    c->place = place.up;
    c->defs = v;
    c->def_nodes = nodes;
    return nodes != NULL;
}

/* ---- the table of keywords ---- */

#define LIMIT(word, field) {.name = (word), .offset = offsetof(struct jnode, field)}

static const struct keyword plain[] = {
    {"type", read_type, 0}, {"enum", read_enum, 0}, {"const", read_const, 0}, {"multipleOf", read_multiple, 0}, {"pattern", read_pattern, 0},
    {"format", read_format, 0}, {"uniqueItems", read_unique, 0}, {"patternProperties", read_patterns, 0}, {"$ref", read_ref, 0},
};
static const struct keyword limits[] = {
    LIMIT("minimum", minimum), LIMIT("maximum", maximum), LIMIT("exclusiveMinimum", above), LIMIT("exclusiveMaximum", below),
};
static const struct keyword counts[] = {
    LIMIT("minLength", length_min), LIMIT("maxLength", length_max), LIMIT("minItems", items_min), LIMIT("maxItems", items_max),
    LIMIT("minProperties", members_min), LIMIT("maxProperties", members_max),
};
static const struct keyword schemas[] = {
    LIMIT("additionalProperties", additional), LIMIT("propertyNames", member_names), LIMIT("items", items), LIMIT("contains", contains),
    LIMIT("not", not_), LIMIT("if", if_), LIMIT("then", then), LIMIT("else", else_),
};
static const struct keyword lists[] = {LIMIT("prefixItems", prefix), LIMIT("allOf", all), LIMIT("anyOf", any), LIMIT("oneOf", one)};

/* Words of the draft, and of older ones, that are not built. */
static const char *const not_built[] = {"$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "minContains", "maxContains", "dependentRequired",
                                        "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "contentEncoding", "contentMediaType",
                                        "contentSchema", "definitions", "dependencies", "additionalItems", "$recursiveRef", "$recursiveAnchor"};

static const struct keyword *find(const struct keyword *list, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_str(name, list[i].name))
            return &list[i];
    return NULL;
}

static bool unknown(struct compiler *c, const struct json *v)
{
    const char *names[64] = {"properties", "required"};
    size_t count = 2;
    const struct keyword *const tables[] = {plain, limits, counts, schemas, lists};
    const size_t sizes[] = {ARRAY_COUNT(plain), ARRAY_COUNT(limits), ARRAY_COUNT(counts), ARRAY_COUNT(schemas), ARRAY_COUNT(lists)};
    for (size_t i = 0; i < ARRAY_COUNT(not_built); i++)
        if (slice_eq_str(v->key, not_built[i]))
            return wrong(c, v, "%s: is not supported by this version%s", not_built[i], slice_eq_str(v->key, "definitions") ? " (did you mean $defs?)" : "");
    for (size_t t = 0; t < ARRAY_COUNT(tables); t++)
        for (size_t i = 0; i < sizes[t]; i++)
            names[count++] = tables[t][i].name;
    const char *near = text_nearest(v->key, names, count);
    return wrong(c, v, "\"" SLICE_FMT "\" is no keyword%s%s%s", v->key.size > 60 ? 60 : (int)v->key.size, v->key.p,
                 near == NULL ? ", and unknown ones are not passed over" : " (did you mean ", near == NULL ? "" : near, near == NULL ? "" : "?)");
}

static bool read_keyword(struct compiler *c, struct jnode *n, const struct json *v, bool is_root)
{
    const struct keyword *k;
    struct slice text;
    if ((k = find(plain, ARRAY_COUNT(plain), v->key)) != NULL)
        return k->read(c, n, v);
    if ((k = find(limits, ARRAY_COUNT(limits), v->key)) != NULL)
        return read_limit(c, n, v, k->offset);
    if ((k = find(counts, ARRAY_COUNT(counts), v->key)) != NULL)
        return read_count(c, n, v, k->offset);
    if ((k = find(schemas, ARRAY_COUNT(schemas), v->key)) != NULL)
        return read_schema(c, n, v, k->offset);
    if ((k = find(lists, ARRAY_COUNT(lists), v->key)) != NULL)
        return read_list(c, n, v, k->offset);
    if (slice_eq_str(v->key, "properties") || slice_eq_str(v->key, "required"))
        return true; /* read_names */
    if (slice_eq_str(v->key, "$defs"))
        return is_root ? read_defs(c, v) : wrong(c, v, "$defs: only at the root; elsewhere it is not supported by this version");
    if (slice_eq_str(v->key, "$id") && !is_root)
        return wrong(c, v, "$id: only at the root; elsewhere it is not supported by this version");
    if (slice_eq_str(v->key, "$schema") && !(json_string(v, &text) && slice_eq_str(text, "https://json-schema.org/draft/2020-12/schema")))
        return wrong(c, v, "$schema: only https://json-schema.org/draft/2020-12/schema is supported");
    return jschema_word_is_empty(v->key) || unknown(c, v);
}

/* NULL: out of memory, or too many. What else is wrong is among the faults. */
static struct jnode *compile(struct compiler *c, const struct json *v, const struct jplace *place)
{
    bool is_root = place->up == NULL;
    struct jnode *n = array(c, 1, sizeof *n);
    if (n == NULL)
        return NULL;
    *n = (struct jnode){.at = v, .types = JTYPE_ALL, .length_max = JSCHEMA_NO_MAX, .items_max = JSCHEMA_NO_MAX, .members_max = JSCHEMA_NO_MAX,
                        .pointer = jschema_pointer(c->arena, place)};
    if (is_root)
        c->root = n;
    if (++c->node_count > JSCHEMA_NODES_MAX) {
        if (c->node_count == JSCHEMA_NODES_MAX + 1)
            (void)wrong(c, v, "has more than %d schemas in it", JSCHEMA_NODES_MAX);
        return NULL;
    }
    if (v->type == JSON_TRUE || v->type == JSON_FALSE) {
        n->types = v->type == JSON_TRUE ? JTYPE_ALL : 0;
        return n;
    }
    if (v->type != JSON_OBJECT) {
        (void)wrong(c, v, "a schema is an object, true or false");
        return n;
    }
    for (const struct json *k = v->first; k != NULL; k = k->next)
        (void)read_keyword(c, n, k, is_root); /* the faults tell */
    (void)read_names(c, n, v);
    return n;
}

/* ---- no circles in one place ---- */

struct heights {
    struct compiler *c;
    bool failed;
};

static unsigned height_of(struct heights *h, const struct jnode *node)
{
    struct jnode *n = (struct jnode *)(uintptr_t)node; /* ours until it is given away */
    if (n == NULL || h->failed)
        return 0;
    if (n->height > 0)
        return n->height;
    if (n->on_path) {
        h->failed = true;
        wrong_at(h->c, n, n->at, "$ref: leads back here without going into the value, so no check would end");
        return 0;
    }
    n->on_path = true;
    unsigned highest = 0, one;
    const struct jnode *const single[] = {n->not_, n->if_, n->then, n->else_, n->ref};
    const struct jlist *const lists_of[] = {&n->all, &n->any, &n->one};
    for (size_t i = 0; i < ARRAY_COUNT(single); i++)
        highest = (one = height_of(h, single[i])) > highest ? one : highest;
    for (size_t l = 0; l < ARRAY_COUNT(lists_of); l++)
        for (size_t i = 0; i < lists_of[l]->count; i++)
            highest = (one = height_of(h, lists_of[l]->nodes[i])) > highest ? one : highest;
    n->on_path = false;
    if (!h->failed && highest == JSCHEMA_IN_PLACE_MAX) {
        h->failed = true;
        wrong_at(h->c, n, n->at, "more than %d schemas apply to one value, one inside the other", JSCHEMA_IN_PLACE_MAX);
        return 0;
    }
    n->height = (uint8_t)(highest + 1);
    return n->height;
}

/* Recursion: as deep as the text. */
static void check_heights(const struct jnode *n, struct heights *h)
{
    if (n == NULL || h->failed)
        return;
    (void)height_of(h, n);
    const struct jnode *const single[] = {n->not_, n->if_, n->then, n->else_, n->additional, n->member_names, n->items, n->contains};
    const struct jlist *const lists_of[] = {&n->all, &n->any, &n->one, &n->prefix};
    for (size_t i = 0; i < ARRAY_COUNT(single); i++)
        check_heights(single[i], h);
    for (size_t l = 0; l < ARRAY_COUNT(lists_of); l++)
        for (size_t i = 0; i < lists_of[l]->count; i++)
            check_heights(lists_of[l]->nodes[i], h);
    for (size_t i = 0; i < n->name_count; i++)
        check_heights(n->names[i].node, h);
    for (size_t i = 0; i < n->pattern_count; i++)
        check_heights(n->patterns[i].node, h);
}

/* ---- all ---- */

static enum ficus_err fail_whole(struct jschema_faults *faults, enum ficus_err err, const char *text)
{
    faults->count = 1;
    faults->list[0] = (struct jschema_fault){.pointer = "", .text = text};
    return err;
}

enum ficus_err jschema_compile(struct arena *a, struct slice text, struct jschema **ret_schema, struct jschema_faults *faults)
{
    struct compiler c = {.arena = a, .faults = faults};
    struct ficus_error error = {0};
    struct json *root = NULL;
    struct jplace place = {.up = NULL};
    faults->count = 0;
    if (text.size > JSCHEMA_TEXT_SIZE_MAX)
        return fail_whole(faults, FICUS_ERR_TOO_LARGE, "the schema has more than 64 KiB");
    enum ficus_err err = json_parse(a, text, &(struct json_limits){.depth_max = DEPTH_MAX, .size_max = JSCHEMA_TEXT_SIZE_MAX}, &root, &error);
    if (err != FICUS_ERR_OK) {
        const char *said = arena_strdup(faults->arena, slice_str(error.text));
        return fail_whole(faults, err, said == NULL ? "out of memory" : said);
    }
    struct jschema *s = array(&c, 1, sizeof *s);
    c.refs = array(&c, REFS_MAX, sizeof *c.refs);
    c.place = &place;
    if (s == NULL || c.refs == NULL)
        return fail_whole(faults, FICUS_ERR_NOMEM, "out of memory");
    struct jnode *n = compile(&c, root, &place);
    for (size_t i = 0; i < c.ref_count && !c.no_memory; i++)
        resolve(&c, &c.refs[i]);
    struct heights h = {.c = &c};
    if (!c.failed && !c.no_memory) {
        check_heights(n, &h);
        for (size_t i = 0; c.defs != NULL && i < c.defs->count; i++)
            check_heights(c.def_nodes[i], &h);
    }
    if (c.no_memory)
        return fail_whole(faults, FICUS_ERR_NOMEM, "out of memory");
    if (c.failed)
        return FICUS_ERR_INVALID;
    *s = (struct jschema){.root = n, .text = text};
    *ret_schema = s;
    return FICUS_ERR_OK;
}
