/* SPDX-License-Identifier: Apache-2.0
 *
 * A value against a schema. Steps are counted against what the size of the value allows, so a schema whose branches
 * multiply, or a value made to be slow, ends in a refusal and not in a standstill.
 */
#include "jschema_private.h"

#include "map.h"
#include "mem.h"
#include "timefmt.h"
#include "uuid.h"

#include <stdlib.h>

enum {
    /* A step is some nanoseconds, and whoever checks is a loop that others wait for: some tens of milliseconds for the largest event.
     * An ordinary expression takes 2 to 13 a character. */
    STEPS_MIN = 1000000,
    STEPS_PER_BYTE = 16,
    DEPTH_MAX = 128,
    UNIQUE_ON_STACK = 64,
    /* what goes through a whole text or array costs as much as so many bytes a step, and sorting so many steps an item */
    BYTES_A_STEP = 8,
    STEPS_TO_SORT = 32,
};

struct run {
    struct jschema_faults *faults;  /* NULL: only yes or no is asked for */
    uint64_t budget;
    bool stuck;                     /* used up, or too deep: no answer is to be believed */
    unsigned depth;
};

static bool check(struct run *r, const struct jnode *n, const struct json *v, const struct jplace *place);

/* False, so that it can be returned. */
static bool __attribute__((format(printf, 4, 5))) no(struct run *r, const struct json *v, const struct jplace *place, const char *format, ...)
{
    if (r->faults == NULL || r->faults->count == JSCHEMA_FAULTS_MAX)
        return false;
    va_list args;
    va_start(args, format);
    jschema_fault_add(r->faults, jschema_pointer(r->faults->arena, place), v->offset, format, args);
    va_end(args);
    return false;
}

static bool step(struct run *r, uint64_t count)
{
    r->stuck = r->stuck || r->budget < count;
    r->budget -= r->stuck ? 0 : count;
    return !r->stuck;
}

/* Is there anything more to find out, after a no? */
static bool goes_on(const struct run *r)
{
    return r->faults != NULL && r->faults->count < JSCHEMA_FAULTS_MAX && !r->stuck;
}

/* ---- values ---- */

unsigned jschema_type_of(const struct json *v)
{
    struct jdecimal d;
    switch (v->type) {
    case JSON_NULL:
        return JTYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return JTYPE_BOOL;
    case JSON_STRING:
        return JTYPE_STRING;
    case JSON_ARRAY:
        return JTYPE_ARRAY;
    case JSON_OBJECT:
        return JTYPE_OBJECT;
    case JSON_NUMBER:
        break;
    }
    d = jdecimal_of(v->text);
    return jdecimal_is_whole(&d) ? JTYPE_WHOLE : JTYPE_FRACTION;
}

/* Recursion: as deep as the values, which the reader bounds. */
bool jschema_equal(const struct json *a, const struct json *b, uint64_t *budget)
{
    if (*budget == 0)
        return false;
    --*budget;
    if (a->type != b->type)
        return false;
    if (a->type == JSON_STRING)
        return slice_eq(a->text, b->text);
    if (a->type == JSON_NUMBER) {
        struct jdecimal x = jdecimal_of(a->text), y = jdecimal_of(b->text);
        return jdecimal_cmp(&x, &y) == 0;
    }
    if (a->count != b->count)
        return false;
    const struct json *y = b->first;
    for (const struct json *x = a->first; x != NULL; x = x->next, y = a->type == JSON_ARRAY ? y->next : y) {
        const struct json *other = y;
        if (a->type == JSON_OBJECT) {
            uint64_t cost = b->count;
            *budget -= *budget < cost ? *budget : cost;
            other = json_get_slice(b, x->key);
        }
        if (other == NULL || !jschema_equal(x, other, budget))
            return false;
    }
    return true;
}

static uint64_t hash_of(const struct json *v)
{
    static const uint64_t seed[2] = {0, 0};
    uint64_t h = (uint64_t)v->type + 1;
    if (v->type == JSON_STRING)
        return h ^ hash_sip13(seed, v->text.p, v->text.size);
    if (v->type == JSON_NUMBER) {
        struct jdecimal d = jdecimal_of(v->text);
        return h ^ jdecimal_hash(&d);
    }
    for (const struct json *c = v->first; c != NULL; c = c->next) {
        uint64_t one = hash_of(c);
        if (v->type == JSON_ARRAY)
            h = h * 0x9e3779b97f4a7c15u + one;
        else /* in any order */
            h += one * 0x9e3779b97f4a7c15u ^ hash_sip13(seed, c->key.p, c->key.size);
    }
    return h;
}

struct hashed {
    uint64_t hash;
    const struct json *v;
    size_t index;
};

static int by_hash(const void *a, const void *b)
{
    const struct hashed *x = a, *y = b;
    return x->hash != y->hash ? (x->hash > y->hash) - (x->hash < y->hash) : (x->index > y->index) - (x->index < y->index);
}

/* Equal ones have equal hashes, so they lie beside each other; of others with the same hash the steps are counted. */
static bool check_unique(struct run *r, const struct json *v, const struct jplace *place)
{
    struct hashed few[UNIQUE_ON_STACK], *all = v->count <= UNIQUE_ON_STACK ? few : mem_array(v->count, sizeof *all);
    size_t count = 0;
    bool ok = true;
    if (all == NULL || !step(r, v->text.size / BYTES_A_STEP + STEPS_TO_SORT * (uint64_t)v->count)) {
        r->stuck = true;
        if (all != few)
            mem_free(all);
        return false;
    }
    for (const struct json *c = v->first; c != NULL; c = c->next, count++)
        all[count] = (struct hashed){hash_of(c), c, count};
    qsort(all, count, sizeof *all, by_hash);
    for (size_t i = 0; i < count && ok; i++)
        for (size_t k = i + 1; k < count && all[k].hash == all[i].hash && ok && step(r, 1); k++)
            if (jschema_equal(all[i].v, all[k].v, &r->budget))
                ok = no(r, all[k].v, &(struct jplace){.up = place, .index = all[k].index}, "uniqueItems: is the same as item %zu", all[i].index);
    if (all != few)
        mem_free(all);
    return ok && !r->stuck;
}

/* ---- keywords of one type ---- */

static bool date_valid(struct slice s)
{
    char whole[21] = "0000-00-00T00:00:00Z";
    int64_t ms;
    if (s.size != 10)
        return false;
    memcpy(whole, s.p, 10);
    return time_parse(slice_make(whole, 20), &ms);
}

static bool format_fits(enum jformat format, struct slice s)
{
    int64_t ms;
    switch (format) {
    case JFORMAT_DATE_TIME:
        return time_parse(s, &ms);
    case JFORMAT_DATE:
        return date_valid(s);
    case JFORMAT_UUID:
        return uuid_valid(s);
    case JFORMAT_NONE:
        break;
    }
    return true;
}

static const char *const format_words[] = {"", "date-time", "date", "uuid"};

static uint32_t characters(struct slice s)
{
    size_t count = 0;
    for (size_t i = 0; i < s.size; i++)
        count += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

static bool check_string(struct run *r, const struct jnode *n, const struct json *v, const struct jplace *place)
{
    bool ok = true;
    if (n->length_min > 0 || n->length_max != JSCHEMA_NO_MAX) {
        (void)step(r, v->text.size / BYTES_A_STEP);
        uint32_t count = characters(v->text);
        if (count < n->length_min)
            ok = no(r, v, place, "minLength: has %u characters, at least %u are needed", count, n->length_min);
        if (count > n->length_max)
            ok = no(r, v, place, "maxLength: has %u characters, at most %u are allowed", count, n->length_max);
    }
    if (n->format != JFORMAT_NONE && !format_fits(n->format, v->text))
        ok = no(r, v, place, "format: is no %s", format_words[n->format]);
    if (n->pattern != NULL && !jpattern_matches(n->pattern, v->text, &r->budget)) {
        struct slice text = jpattern_text(n->pattern);
        r->stuck |= r->budget == 0;
        ok = no(r, v, place, "pattern: does not match " SLICE_FMT, SLICE_ARG(text));
    }
    return ok;
}

static bool check_number(struct run *r, const struct jnode *n, const struct json *v, const struct jplace *place)
{
    struct jdecimal d = jdecimal_of(v->text);
    bool ok = true;
    (void)step(r, v->text.size / (n->multiple.at != NULL ? 1 : BYTES_A_STEP)); /* as many digits as somebody likes */
    if (n->minimum.at != NULL && jdecimal_cmp(&d, &n->minimum.value) < 0)
        ok = no(r, v, place, "minimum: is below " SLICE_FMT, SLICE_ARG(n->minimum.at->text));
    if (n->maximum.at != NULL && jdecimal_cmp(&d, &n->maximum.value) > 0)
        ok = no(r, v, place, "maximum: is above " SLICE_FMT, SLICE_ARG(n->maximum.at->text));
    if (n->above.at != NULL && jdecimal_cmp(&d, &n->above.value) <= 0)
        ok = no(r, v, place, "exclusiveMinimum: is not above " SLICE_FMT, SLICE_ARG(n->above.at->text));
    if (n->below.at != NULL && jdecimal_cmp(&d, &n->below.value) >= 0)
        ok = no(r, v, place, "exclusiveMaximum: is not below " SLICE_FMT, SLICE_ARG(n->below.at->text));
    if (n->multiple.at != NULL && !jdecimal_is_multiple(&d, &n->multiple.value))
        ok = no(r, v, place, "multipleOf: is no multiple of " SLICE_FMT, SLICE_ARG(n->multiple.at->text));
    return ok;
}

static bool check_array(struct run *r, const struct jnode *n, const struct json *v, const struct jplace *place)
{
    bool ok = true, contained = n->contains == NULL;
    size_t index = 0;
    if (v->count < n->items_min)
        ok = no(r, v, place, "minItems: has %u items, at least %u are needed", v->count, n->items_min);
    if (v->count > n->items_max)
        ok = no(r, v, place, "maxItems: has %u items, at most %u are allowed", v->count, n->items_max);
    if (n->unique && (ok || goes_on(r)))
        ok = check_unique(r, v, place) && ok;
    for (const struct json *c = v->first; c != NULL && (ok || goes_on(r)); c = c->next, index++) {
        const struct jnode *one = index < n->prefix.count ? n->prefix.nodes[index] : n->items;
        const struct jplace at = {.up = place, .index = index};
        if (one != NULL)
            ok = check(r, one, c, &at) && ok;
        if (!contained) {
            struct jschema_faults *faults = r->faults;
            r->faults = NULL;
            contained = check(r, n->contains, c, &at);
            r->faults = faults;
        }
    }
    if (!contained && (ok || goes_on(r)))
        ok = no(r, v, place, "contains: no item is as one has to be");
    return ok;
}

const struct jname *jschema_name_find(const struct jnode *n, struct slice name)
{
    size_t low = 0, high = n->name_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int cmp = slice_cmp(n->names[middle].name, name);
        if (cmp == 0)
            return &n->names[middle];
        if (cmp < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool check_member(struct run *r, const struct jnode *n, const struct json *c, const struct jname *name, const struct jplace *place)
{
    const struct jplace at = {.up = place, .key = c->key};
    bool ok = true, known = name != NULL && name->node != NULL;
    if (known)
        ok = check(r, name->node, c, &at);
    for (size_t i = 0; i < n->pattern_count && (ok || goes_on(r)); i++) {
        if (!jpattern_matches(n->patterns[i].pattern, c->key, &r->budget)) {
            r->stuck |= r->budget == 0;
            continue;
        }
        known = true;
        ok = check(r, n->patterns[i].node, c, &at) && ok;
    }
    if (n->member_names != NULL && (ok || goes_on(r))) {
        const struct json key = {.type = JSON_STRING, .offset = c->offset, .text = c->key};
        ok = check(r, n->member_names, &key, &at) && ok;
    }
    if (!known && n->additional != NULL && (ok || goes_on(r)))
        ok = (n->additional->types == 0 ? no(r, c, &at, "additionalProperties: is no member that is allowed") : check(r, n->additional, c, &at)) && ok;
    return ok;
}

static bool check_object(struct run *r, const struct jnode *n, const struct json *v, const struct jplace *place)
{
    bool ok = true;
    uint64_t seen[JSCHEMA_NAMES_MAX / 64] = {0};
    size_t required = 0;
    if (v->count < n->members_min)
        ok = no(r, v, place, "minProperties: has %u members, at least %u are needed", v->count, n->members_min);
    if (v->count > n->members_max)
        ok = no(r, v, place, "maxProperties: has %u members, at most %u are allowed", v->count, n->members_max);
    for (const struct json *c = v->first; c != NULL && (ok || goes_on(r)); c = c->next) {
        const struct jname *name = n->name_count == 0 ? NULL : jschema_name_find(n, c->key);
        if (name != NULL && name->required) {
            seen[(name - n->names) / 64] |= UINT64_C(1) << (name - n->names) % 64;
            required++;
        }
        ok = check_member(r, n, c, name, place) && ok;
    }
    for (size_t i = 0; i < n->name_count && required < n->required_count && (ok || goes_on(r)); i++)
        if (n->names[i].required && !(seen[i / 64] & UINT64_C(1) << i % 64))
            ok = no(r, v, place, "required: \"" SLICE_FMT "\" is missing", SLICE_ARG(n->names[i].name));
    return ok;
}

/* ---- schemas that apply to the same value ---- */

static bool quiet(struct run *r, const struct jnode *n, const struct json *v, const struct jplace *place)
{
    struct jschema_faults *faults = r->faults;
    r->faults = NULL;
    bool ok = check(r, n, v, place);
    r->faults = faults;
    return ok;
}

static size_t count_fitting(struct run *r, const struct jlist *list, const struct json *v, const struct jplace *place, size_t enough)
{
    size_t count = 0;
    for (size_t i = 0; i < list->count && count < enough; i++)
        count += quiet(r, list->nodes[i], v, place) ? 1 : 0;
    return count;
}

/* When only one of several can be meant, by the type of the value, its reasons are the ones to tell. */
static bool tell_branch(struct run *r, const struct jlist *list, const struct json *v, const struct jplace *place, const char *keyword)
{
    const struct jnode *meant = NULL;
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct jnode *n = list->nodes[i]->ref != NULL ? list->nodes[i]->ref : list->nodes[i];
        if ((n->types & jschema_type_of(v)) != 0) {
            meant = list->nodes[i];
            count++;
        }
    }
    if (count == 1 && r->faults != NULL)
        (void)check(r, meant, v, place); /* the faults are what it is for */
    else
        (void)no(r, v, place, "%s: is as none of the %zu schemas", keyword, list->count);
    return false;
}

static bool check_in_place(struct run *r, const struct jnode *n, const struct json *v, const struct jplace *place)
{
    bool ok = n->ref == NULL || check(r, n->ref, v, place);
    for (size_t i = 0; i < n->all.count && (ok || goes_on(r)); i++)
        ok = check(r, n->all.nodes[i], v, place) && ok;
    if (n->any.count > 0 && (ok || goes_on(r)) && count_fitting(r, &n->any, v, place, 1) == 0)
        ok = tell_branch(r, &n->any, v, place, "anyOf");
    if (n->one.count > 0 && (ok || goes_on(r))) {
        size_t count = count_fitting(r, &n->one, v, place, 2);
        if (count != 1)
            ok = count == 0 ? tell_branch(r, &n->one, v, place, "oneOf") : no(r, v, place, "oneOf: is as several of the schemas, one is allowed");
    }
    if (n->not_ != NULL && (ok || goes_on(r)) && quiet(r, n->not_, v, place))
        ok = no(r, v, place, "not: is as it must not be");
    if (n->if_ != NULL && (n->then != NULL || n->else_ != NULL) && (ok || goes_on(r))) {
        const struct jnode *next = quiet(r, n->if_, v, place) ? n->then : n->else_;
        ok = (next == NULL || check(r, next, v, place)) && ok;
    }
    return ok;
}

static bool check_values(struct run *r, const struct jnode *n, const struct json *v, const struct jplace *place)
{
    bool found = n->values == NULL;
    for (const struct json *one = found ? NULL : n->values->first; one != NULL && !found && step(r, 1); one = one->next)
        found = jschema_equal(one, v, &r->budget);
    if (!found)
        return no(r, v, place, "enum: is none of the %u allowed values", n->values->count);
    if (n->constant != NULL && !jschema_equal(n->constant, v, &r->budget))
        return no(r, v, place, "const: is not the one allowed value");
    return true;
}

static bool no_type(struct run *r, const struct jnode *n, const struct json *v, unsigned type, const struct jplace *place)
{
    struct buf found, allowed;
    if (r->faults == NULL)
        return false;
    buf_init(&found, 100);
    buf_init(&allowed, 100);
    (void)no(r, v, place, "type: found %s, allowed is %s", jschema_type_text(type, &found), jschema_type_text(n->types, &allowed));
    buf_done(&found);
    buf_done(&allowed);
    return false;
}

/* Recursion: DEPTH_MAX levels of some 600 bytes, and below the last one the 8 KiB of a pattern. */
static bool check(struct run *r, const struct jnode *n, const struct json *v, const struct jplace *place)
{
    if (!step(r, 1 + (v->type == JSON_NUMBER ? v->text.size / BYTES_A_STEP : 0)))
        return false;
    unsigned type = jschema_type_of(v);
    if (r->depth == DEPTH_MAX) {
        r->stuck = true;
        return false;
    }
    if ((n->types & type) == 0)
        return no_type(r, n, v, type, place);
    r->depth++;
    bool ok = (n->values == NULL && n->constant == NULL) || check_values(r, n, v, place);
    if (ok || goes_on(r))
        ok = (type == JTYPE_STRING            ? check_string(r, n, v, place)
              : (type & JTYPE_NUMBER) != 0    ? check_number(r, n, v, place)
              : type == JTYPE_ARRAY           ? check_array(r, n, v, place)
              : type == JTYPE_OBJECT          ? check_object(r, n, v, place)
                                              : true) && ok;
    if (ok || goes_on(r))
        ok = check_in_place(r, n, v, place) && ok;
    r->depth--;
    return ok && !r->stuck;
}

static uint64_t budget_for(const struct json *v)
{
    return STEPS_MIN + STEPS_PER_BYTE * (uint64_t)v->text.size;
}

bool jschema_check(const struct jschema *s, const struct json *value, struct jschema_faults *faults)
{
    struct run r = {.faults = faults, .budget = budget_for(value)};
    const struct jplace whole = {.up = NULL};
    if (faults != NULL)
        faults->count = 0;
    bool ok = check(&r, s->root, value, &whole) && !r.stuck;
    if (r.stuck && faults != NULL)
        faults->count = 0;
    if (!ok && faults != NULL && faults->count == 0)
        (void)no(&r, value, &whole, "the value is too costly to check, or nested too deeply");
    return ok;
}

bool jschema_node_takes(const struct jnode *n, const struct json *v)
{
    struct run r = {.budget = budget_for(v)};
    return check(&r, n, v, &(const struct jplace){.up = NULL}) && !r.stuck;
}
