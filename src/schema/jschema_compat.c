/* SPDX-License-Identifier: Apache-2.0
 *
 * Does the new schema take everything that the old one takes? Shown keyword by keyword: for each of the new one, what the
 * old one says must not allow more. The old side is a set of schemas that all hold for the same value (struct facts): a
 * node with its $ref and allOf. Where the old one has alternatives (anyOf, oneOf, if, several types), each is looked at by
 * itself. An old enum or const is a list of values, and those are simply checked.
 *
 * What cannot be shown is reported as a fault: it is never wrong to say "no", only a pity. A pair that is met again inside
 * itself holds if the rest holds, because values are finite; what was concluded from a pair that failed is forgotten.
 */
#include "jschema_private.h"

#include "mem.h"

enum { FACTS_MAX = 32, SPLITS_MAX = 6, STEPS_MAX = 200000, DEPTH_MAX = 64, VALUES_MAX = 1000 };

struct facts {
    const struct jnode *list[FACTS_MAX];
    size_t count;
    unsigned types;             /* JTYPE_...: that are looked at */
    const struct jnode *split[SPLITS_MAX]; /* whose alternatives were taken apart already */
    size_t split_count;
};

struct pair {
    const struct jnode *new;
    struct facts old;
    struct pair *before;
};

struct compare {
    struct arena *arena;
    struct jschema_faults *faults;
    unsigned silent;            /* over 0: somebody tries something */
    uint64_t steps;
    unsigned depth;
    struct pair *known;
};

static bool reads(struct compare *c, const struct jnode *new, const struct facts *old);

static bool __attribute__((format(printf, 4, 5))) no(struct compare *c, const struct jnode *n, const char *keyword, const char *format, ...)
{
    if (c->silent > 0 || c->faults->count == JSCHEMA_FAULTS_MAX)
        return false;
    const struct json *at = json_get(n->at, keyword);
    const char *text = arena_printf(c->arena, "%s: %s", keyword, format);
    va_list args;
    va_start(args, format);
    jschema_fault_add(c->faults, n->pointer, at == NULL ? n->at->offset : at->offset, text == NULL ? format : text, args);
    va_end(args);
    return false;
}

/* False: all steps are used up, and nothing more can be shown. */
static bool spend(struct compare *c)
{
    c->steps -= c->steps > 0 ? 1 : 0;
    return c->steps > 0;
}

#define NOT_SHOWN "cannot be shown compatible: "

/* ---- the old side ---- */

static bool facts_add(struct facts *f, const struct jnode *n)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->list[i] == n)
            return true;
    if (n->at->type == JSON_TRUE)
        return true;
    if (f->count == FACTS_MAX)
        return false;
    f->list[f->count++] = n;
    f->types &= n->types;
    bool ok = n->ref == NULL || facts_add(f, n->ref);
    for (size_t i = 0; i < n->all.count && ok; i++)
        ok = facts_add(f, n->all.nodes[i]);
    return ok;
}

/* Too many to keep is only less to go by. */
static struct facts facts_of(const struct jnode *n)
{
    struct facts f = {.types = JTYPE_ALL};
    if (n != NULL)
        (void)facts_add(&f, n);
    return f;
}

static bool facts_same(const struct facts *a, const struct facts *b)
{
    return a->count == b->count && a->types == b->types && a->split_count == b->split_count &&
           memcmp(a->list, b->list, a->count * sizeof *a->list) == 0 && memcmp(a->split, b->split, a->split_count * sizeof *a->split) == 0;
}

/* The values that an old enum or const leaves, or NULL. */
static const struct jnode *listed(const struct facts *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->list[i]->constant != NULL)
            return f->list[i];
    for (size_t i = 0; i < f->count; i++)
        if (f->list[i]->values != NULL && f->list[i]->values->count <= VALUES_MAX)
            return f->list[i];
    return NULL;
}

static bool facts_take(const struct facts *f, const struct json *v)
{
    bool ok = (jschema_type_of(v) & f->types) != 0;
    for (size_t i = 0; i < f->count && ok; i++)
        ok = jschema_node_takes(f->list[i], v);
    return ok;
}

/* ---- the same on both sides ---- */

static bool same(struct compare *c, const struct jnode *a, const struct jnode *b, unsigned depth);

static bool same_limit(const struct jlimit *a, const struct jlimit *b)
{
    return (a->at == NULL) == (b->at == NULL) && (a->at == NULL || jdecimal_cmp(&a->value, &b->value) == 0);
}

static bool same_value(struct compare *c, const struct json *a, const struct json *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || jschema_equal(a, b, &c->steps));
}

static bool same_pattern(const struct jpattern *a, const struct jpattern *b)
{
    return a == b || (a != NULL && b != NULL && slice_eq(jpattern_text(a), jpattern_text(b)));
}

static bool same_list(struct compare *c, const struct jlist *a, const struct jlist *b, unsigned depth)
{
    bool ok = a->count == b->count;
    for (size_t i = 0; i < a->count && ok; i++)
        ok = same(c, a->nodes[i], b->nodes[i], depth);
    return ok;
}

static bool same_members(struct compare *c, const struct jnode *a, const struct jnode *b, unsigned depth)
{
    bool ok = a->name_count == b->name_count && a->pattern_count == b->pattern_count;
    for (size_t i = 0; i < a->name_count && ok; i++)
        ok = slice_eq(a->names[i].name, b->names[i].name) && a->names[i].required == b->names[i].required &&
             same(c, a->names[i].node, b->names[i].node, depth);
    for (size_t i = 0; i < a->pattern_count && ok; i++)
        ok = same_pattern(a->patterns[i].pattern, b->patterns[i].pattern) && same(c, a->patterns[i].node, b->patterns[i].node, depth);
    return ok;
}

/* Written alike. Depth ends what refers to itself: then it is not shown. */
static bool same(struct compare *c, const struct jnode *a, const struct jnode *b, unsigned depth)
{
    if (a == b)
        return true;
    if (a == NULL || b == NULL || depth-- == 0 || !spend(c))
        return false;
    return a->types == b->types && same_value(c, a->values, b->values) && same_value(c, a->constant, b->constant) &&
           same_limit(&a->minimum, &b->minimum) && same_limit(&a->maximum, &b->maximum) && same_limit(&a->above, &b->above) &&
           same_limit(&a->below, &b->below) && same_limit(&a->multiple, &b->multiple) && a->length_min == b->length_min &&
           a->length_max == b->length_max && a->items_min == b->items_min && a->items_max == b->items_max && a->members_min == b->members_min &&
           a->members_max == b->members_max && same_pattern(a->pattern, b->pattern) && a->format == b->format && a->unique == b->unique &&
           same_members(c, a, b, depth) && same(c, a->additional, b->additional, depth) && same(c, a->member_names, b->member_names, depth) &&
           same(c, a->items, b->items, depth) && same(c, a->contains, b->contains, depth) && same_list(c, &a->prefix, &b->prefix, depth) &&
           same_list(c, &a->all, &b->all, depth) && same_list(c, &a->any, &b->any, depth) && same_list(c, &a->one, &b->one, depth) &&
           same(c, a->not_, b->not_, depth) && same(c, a->if_, b->if_, depth) && same(c, a->then, b->then, depth) &&
           same(c, a->else_, b->else_, depth) && same(c, a->ref, b->ref, depth);
}

static bool same_tree(struct compare *c, const struct jnode *a, const struct jnode *b)
{
    return a != NULL && b != NULL && same(c, a, b, 24);
}

/* ---- types, values, numbers, texts ---- */

static bool reads_types(struct compare *c, const struct jnode *n, const struct facts *old)
{
    struct buf lost, allowed;
    if ((old->types & ~n->types) == 0)
        return true;
    if (n->types == 0)
        return no(c, n, "false", "nothing is allowed here any more, and old data may have something");
    buf_init(&lost, 100);
    buf_init(&allowed, 100);
    (void)no(c, n, "type", "old data may be %s here, only %s is allowed now", jschema_type_text(old->types & ~n->types, &lost),
             jschema_type_text(n->types, &allowed));
    buf_done(&lost);
    buf_done(&allowed);
    return false;
}

/* Old data whose values are listed was checked before. */
static bool reads_values(struct compare *c, const struct jnode *n)
{
    if (n->values != NULL)
        return no(c, n, "enum", "old data is not held to a list of values here");
    return n->constant == NULL || no(c, n, "const", "old data is not held to one value here");
}

/* Is the old lower end (upper: sign -1) at or inside the new one? */
static bool end_holds(const struct facts *old, const struct jlimit *limit, bool strict, bool upper)
{
    for (size_t i = 0; i < old->count; i++) {
        const struct jlimit *with = upper ? &old->list[i]->maximum : &old->list[i]->minimum;
        const struct jlimit *without = upper ? &old->list[i]->below : &old->list[i]->above;
        int cmp = with->at == NULL ? -1 : (upper ? -1 : 1) * jdecimal_cmp(&with->value, &limit->value);
        if (with->at != NULL && (strict ? cmp > 0 : cmp >= 0))
            return true;
        cmp = without->at == NULL ? -1 : (upper ? -1 : 1) * jdecimal_cmp(&without->value, &limit->value);
        if (without->at != NULL && cmp >= 0)
            return true;
    }
    return false;
}

static bool multiple_holds(const struct facts *old, const struct jlimit *multiple)
{
    struct jdecimal one = jdecimal_of(SLICE("1"));
    if ((old->types & JTYPE_FRACTION) == 0 && jdecimal_is_multiple(&one, &multiple->value))
        return true;
    for (size_t i = 0; i < old->count; i++)
        if (old->list[i]->multiple.at != NULL && jdecimal_is_multiple(&old->list[i]->multiple.value, &multiple->value))
            return true;
    return false;
}

static bool reads_numbers(struct compare *c, const struct jnode *n, const struct facts *old)
{
    const struct {
        const struct jlimit *limit;
        const char *word;
        bool strict, upper;
    } ends[] = {{&n->minimum, "minimum", false, false}, {&n->above, "exclusiveMinimum", true, false},
                {&n->maximum, "maximum", false, true},  {&n->below, "exclusiveMaximum", true, true}};
    bool ok = true;
    for (size_t i = 0; i < ARRAY_COUNT(ends); i++)
        if (ends[i].limit->at != NULL && !end_holds(old, ends[i].limit, ends[i].strict, ends[i].upper))
            ok = no(c, n, ends[i].word, "old data may be %s here", ends[i].upper ? "greater" : "smaller");
    if (n->multiple.at != NULL && !multiple_holds(old, &n->multiple))
        ok = no(c, n, "multipleOf", "old data may be no multiple of this");
    return ok;
}

/* The old end of a count at this offset in struct jnode: the highest minimum, or the lowest maximum. */
static uint32_t count_end(const struct facts *old, size_t offset, bool upper)
{
    uint32_t end = upper ? JSCHEMA_NO_MAX : 0;
    for (size_t i = 0; i < old->count; i++) {
        uint32_t one = *(const uint32_t *)(const void *)((const char *)old->list[i] + offset);
        end = (upper ? one < end : one > end) ? one : end;
    }
    return end;
}

static bool counts_hold(struct compare *c, const struct jnode *n, const char *const words[2], const uint32_t now[2], const uint32_t before[2], const char *what)
{
    bool ok = before[0] >= now[0] || no(c, n, words[0], "old data may have fewer %s", what);
    return (before[1] <= now[1] || no(c, n, words[1], "old data may have more %s", what)) && ok;
}

static bool reads_strings(struct compare *c, const struct jnode *n, const struct facts *old)
{
    static const char *const words[] = {"minLength", "maxLength"};
    const uint32_t now[] = {n->length_min, n->length_max};
    const uint32_t before[] = {count_end(old, offsetof(struct jnode, length_min), false), count_end(old, offsetof(struct jnode, length_max), true)};
    bool ok = counts_hold(c, n, words, now, before, "characters"), pattern = n->pattern == NULL, format = n->format == JFORMAT_NONE;
    for (size_t i = 0; i < old->count; i++) {
        pattern |= old->list[i]->pattern != NULL && same_pattern(n->pattern, old->list[i]->pattern);
        format |= old->list[i]->format == n->format;
    }
    if (!format)
        ok = no(c, n, "format", "old data may have another form");
    return (pattern || no(c, n, "pattern", NOT_SHOWN "it is not the pattern of before")) && ok;
}

/* ---- arrays ---- */

/* What holds for the item at this place; of the last place: for all behind. */
static struct facts item_facts(const struct facts *old, size_t index)
{
    struct facts f = {.types = JTYPE_ALL};
    for (size_t i = 0; i < old->count; i++) {
        const struct jnode *n = old->list[i], *one = index < n->prefix.count ? n->prefix.nodes[index] : n->items;
        if (one != NULL)
            (void)facts_add(&f, one); /* too many: less to go by */
    }
    return f;
}

static bool reads_contains(struct compare *c, const struct jnode *n, const struct facts *old)
{
    bool ok = n->contains == NULL;
    c->silent++;
    for (size_t i = 0; i < old->count && !ok; i++) {
        struct facts f = facts_of(old->list[i]->contains);
        ok = old->list[i]->contains != NULL && reads(c, n->contains, &f);
    }
    c->silent--;
    return ok || no(c, n, "contains", "old data may lack such an item");
}

static bool reads_arrays(struct compare *c, const struct jnode *n, const struct facts *old)
{
    static const char *const words[] = {"minItems", "maxItems"};
    const uint32_t now[] = {n->items_min, n->items_max};
    const uint32_t before[] = {count_end(old, offsetof(struct jnode, items_min), false), count_end(old, offsetof(struct jnode, items_max), true)};
    bool ok = counts_hold(c, n, words, now, before, "items"), unique = !n->unique || before[1] <= 1;
    size_t places = n->prefix.count;
    for (size_t i = 0; i < old->count; i++) {
        unique |= old->list[i]->unique;
        places = old->list[i]->prefix.count > places ? old->list[i]->prefix.count : places;
    }
    if (!unique)
        ok = no(c, n, "uniqueItems", "old data may have the same item twice");
    for (size_t i = 0; i <= places && i < before[1]; i++) {
        const struct jnode *one = i < n->prefix.count ? n->prefix.nodes[i] : n->items;
        struct facts f = item_facts(old, i);
        ok = (one == NULL || reads(c, one, &f)) && ok;
    }
    return reads_contains(c, n, old) && ok;
}

/* ---- objects ---- */

/* What one old schema says of a member of this name; of one without patterns. NULL: nothing. */
static void member_add(struct facts *f, const struct jnode *n, struct slice name)
{
    const struct jname *known = jschema_name_find(n, name);
    uint64_t budget = STEPS_MAX;
    bool found = known != NULL && known->node != NULL;
    if (found)
        (void)facts_add(f, known->node);
    for (size_t i = 0; i < n->pattern_count; i++) {
        bool matches = jpattern_matches(n->patterns[i].pattern, name, &budget);
        found |= matches || budget == 0;
        if (matches)
            (void)facts_add(f, n->patterns[i].node);
    }
    if (!found && n->additional != NULL)
        (void)facts_add(f, n->additional);
}

static struct facts member_facts(const struct facts *old, struct slice name)
{
    struct facts f = {.types = JTYPE_ALL};
    for (size_t i = 0; i < old->count; i++)
        member_add(&f, old->list[i], name);
    return f;
}

/* Each of the new node's rules for a member of this name has to hold, however many there are (facts are too few for that). */
static bool reads_rules(struct compare *c, const struct jnode *n, const struct facts *f, struct slice name)
{
    const struct jname *known = jschema_name_find(n, name);
    uint64_t budget = STEPS_MAX;
    bool found = known != NULL && known->node != NULL;
    bool ok = !found || reads(c, known->node, f);
    for (size_t i = 0; i < n->pattern_count; i++) {
        bool matches = jpattern_matches(n->patterns[i].pattern, name, &budget);
        found |= matches;
        if (matches || budget == 0) /* not known: then it may */
            ok = reads(c, n->patterns[i].node, f) && ok;
    }
    if (found || n->additional == NULL)
        return ok;
    if (known == NULL && n->additional->types == 0 && f->types != 0)
        return no(c, n, "additionalProperties", "\"" SLICE_FMT "\" is no longer allowed, and old data may have it", SLICE_ARG(name));
    return reads(c, n->additional, f) && ok;
}

/* Does the new node take, for a member called so, whatever the old one allows there? */
static bool reads_member(struct compare *c, const struct jnode *n, const struct facts *old, struct slice name)
{
    struct facts f = member_facts(old, name);
    const struct jname *known = jschema_name_find(n, name);
    if (f.types == 0)
        return true;
    if (known != NULL && known->node != NULL && f.count == 0) {
        c->silent++;
        bool ok = reads(c, known->node, &f);
        c->silent--;
        if (!ok)
            return no(c, known->node, "properties", "the old schema says nothing of \"" SLICE_FMT "\", so old data may have it in any form "
                                                    "(with additionalProperties: false it could not have it)", SLICE_ARG(name));
    }
    return reads_rules(c, n, &f, name);
}

/* Members that neither side knows by name. What one old schema may say of such a member is one of its patterns' schemas or
 * its additionalProperties; which of them is not known, so all have to be fine. */
static bool reads_others_of(struct compare *c, const struct jnode *n, const struct jnode *rule, const struct jnode *old, const struct jpattern *only)
{
    bool ok = true;
    for (size_t i = 0; i < old->pattern_count; i++) {
        struct facts f = facts_of(old->patterns[i].node);
        if (only != NULL && same_pattern(only, old->patterns[i].pattern))
            return reads(c, rule, &f); /* it matches, so this one does hold */
    }
    for (size_t i = 0; i < old->pattern_count && ok; i++) {
        struct facts f = facts_of(old->patterns[i].node);
        bool elsewhere = false; /* additionalProperties has no say where a pattern of the same node has */
        for (size_t k = 0; k < n->pattern_count && only == NULL; k++)
            elsewhere |= same_pattern(n->patterns[k].pattern, old->patterns[i].pattern);
        ok = elsewhere || reads(c, rule, &f);
    }
    struct facts f = facts_of(old->additional);
    return ok && reads(c, rule, &f);
}

static bool reads_others(struct compare *c, const struct jnode *n, const struct facts *old, const struct jnode *rule, const struct jpattern *only)
{
    bool ok = false;
    struct facts none = {.types = JTYPE_ALL};
    c->silent++;
    for (size_t i = 0; i < old->count && !ok; i++)
        ok = reads_others_of(c, n, rule, old->list[i], only);
    ok = ok || reads(c, rule, &none);
    c->silent--;
    if (ok)
        return true;
    if (only != NULL) {
        struct slice text = jpattern_text(only);
        return no(c, n, "patternProperties", "old data may have members like " SLICE_FMT " that are otherwise", SLICE_ARG(text));
    }
    return no(c, n, "additionalProperties", rule->types == 0 ? "is closed now, and old data may have members that are not named here"
                                                             : "old data may have other members, that are otherwise");
}

/* When no old schema allows names that it does not list, these are all that there can be. */
static const struct jnode *closed_by(const struct facts *old)
{
    for (size_t i = 0; i < old->count; i++)
        if (old->list[i]->additional != NULL && old->list[i]->additional->types == 0 && old->list[i]->pattern_count == 0)
            return old->list[i];
    return NULL;
}

static bool reads_names(struct compare *c, const struct jnode *n, const struct facts *old)
{
    const struct jnode *closed = closed_by(old);
    bool ok = n->member_names == NULL;
    if (ok)
        return true;
    c->silent++;
    for (size_t i = 0; i < old->count && !ok; i++) {
        struct facts f = facts_of(old->list[i]->member_names);
        ok = old->list[i]->member_names != NULL && reads(c, n->member_names, &f);
    }
    c->silent--;
    if (ok || closed == NULL)
        return ok || no(c, n, "propertyNames", NOT_SHOWN "old data may have members of other names");
    ok = true;
    for (size_t i = 0; i < closed->name_count; i++) {
        const struct json name = {.type = JSON_STRING, .text = closed->names[i].name};
        if (closed->names[i].node != NULL && !jschema_node_takes(n->member_names, &name))
            ok = no(c, n, "propertyNames", "old data may have a member \"" SLICE_FMT "\"", SLICE_ARG(name.text));
    }
    return ok;
}

static bool required_before(const struct facts *old, struct slice name)
{
    for (size_t i = 0; i < old->count; i++) {
        const struct jname *known = jschema_name_find(old->list[i], name);
        if (known != NULL && known->required)
            return true;
    }
    return false;
}

static bool reads_counts(struct compare *c, const struct jnode *n, const struct facts *old)
{
    static const char *const words[] = {"minProperties", "maxProperties"};
    const uint32_t now[] = {n->members_min, n->members_max};
    uint32_t before[] = {count_end(old, offsetof(struct jnode, members_min), false), count_end(old, offsetof(struct jnode, members_max), true)};
    const struct jnode *closed = closed_by(old);
    for (size_t i = 0; i < old->count; i++)
        before[0] = old->list[i]->required_count > before[0] ? (uint32_t)old->list[i]->required_count : before[0];
    if (closed != NULL && closed->name_count < before[1])
        before[1] = (uint32_t)closed->name_count;
    return counts_hold(c, n, words, now, before, "members");
}

static bool reads_objects(struct compare *c, const struct jnode *n, const struct facts *old)
{
    bool ok = reads_counts(c, n, old);
    for (size_t i = 0; i < n->name_count; i++)
        if (n->names[i].required && !required_before(old, n->names[i].name))
            ok = no(c, n, "required", "\"" SLICE_FMT "\" became required, and old data may lack it (leave it optional: who reads fills it in)",
                    SLICE_ARG(n->names[i].name));
    for (size_t i = 0; i < n->name_count; i++)
        ok = (n->names[i].node == NULL || reads_member(c, n, old, n->names[i].name)) && ok;
    for (size_t i = 0; i < old->count; i++)
        for (size_t k = 0; k < old->list[i]->name_count; k++) {
            const struct jname *known = jschema_name_find(n, old->list[i]->names[k].name);
            if (known == NULL || known->node == NULL)
                ok = reads_member(c, n, old, old->list[i]->names[k].name) && ok;
        }
    for (size_t i = 0; i < n->pattern_count; i++)
        ok = reads_others(c, n, old, n->patterns[i].node, n->patterns[i].pattern) && ok;
    if (n->additional != NULL)
        ok = reads_others(c, n, old, n->additional, NULL) && ok;
    return reads_names(c, n, old) && ok;
}

/* ---- schemas for the same value ---- */

/* No value is right by both: shown by types, by listed values, or by a member that both need and list differently (the
 * kind of a thing). */
static bool apart(struct compare *c, const struct facts *a, const struct facts *b, unsigned depth)
{
    const struct jnode *values = listed(a);
    const struct facts *other = values == NULL ? a : b;
    if ((a->types & b->types) == 0)
        return true;
    if (values == NULL)
        values = listed(b);
    if (values != NULL) {
        bool any = false;
        if (values->constant != NULL)
            return !facts_take(other, values->constant);
        for (const struct json *v = values->values->first; v != NULL && !any; v = v->next)
            any = !spend(c) || facts_take(other, v);
        return !any;
    }
    if ((a->types & b->types) != JTYPE_OBJECT || depth == 0)
        return false;
    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < a->list[i]->name_count; k++) {
            const struct jname *name = &a->list[i]->names[k];
            if (!name->required && !required_before(b, name->name))
                continue;
            struct facts x = member_facts(a, name->name), y = member_facts(b, name->name);
            if ((required_before(a, name->name) || required_before(b, name->name)) && apart(c, &x, &y, depth - 1))
                return true;
        }
    return false;
}

static bool reads_any(struct compare *c, const struct jnode *n, const struct facts *old)
{
    bool ok = n->any.count == 0;
    for (size_t i = 0; i < old->count && !ok; i++)
        ok = n->any.count == old->list[i]->any.count && same_list(c, &n->any, &old->list[i]->any, 24);
    c->silent++;
    for (size_t i = 0; i < n->any.count && !ok; i++)
        ok = reads(c, n->any.nodes[i], old);
    c->silent--;
    return ok || no(c, n, "anyOf", NOT_SHOWN "old data is not known to fit one of these");
}

static bool reads_one(struct compare *c, const struct jnode *n, const struct facts *old)
{
    bool ok = n->one.count == 0;
    for (size_t i = 0; i < old->count && !ok; i++)
        ok = n->one.count == old->list[i]->one.count && same_list(c, &n->one, &old->list[i]->one, 24);
    c->silent++;
    for (size_t i = 0; i < n->one.count && !ok; i++) {
        ok = reads(c, n->one.nodes[i], old);
        for (size_t k = 0; k < n->one.count && ok; k++) {
            struct facts f = facts_of(n->one.nodes[k]);
            ok = k == i || apart(c, old, &f, 2);
        }
    }
    c->silent--;
    return ok || no(c, n, "oneOf", NOT_SHOWN "old data is not known to fit exactly one of these");
}

static bool reads_not(struct compare *c, const struct jnode *n, const struct facts *old)
{
    struct facts f = facts_of(n->not_);
    bool ok = n->not_ == NULL || apart(c, old, &f, 2);
    c->silent++;
    for (size_t i = 0; i < old->count && !ok; i++) /* who kept out more kept out this */
        ok = old->list[i]->not_ != NULL && reads(c, old->list[i]->not_, &f);
    c->silent--;
    return ok || no(c, n, "not", NOT_SHOWN "old data may be as it must not be now");
}

static bool reads_if(struct compare *c, const struct jnode *n, const struct facts *old)
{
    bool ok = n->if_ == NULL || (n->then == NULL && n->else_ == NULL);
    for (size_t i = 0; i < old->count && !ok; i++)
        ok = same_tree(c, n->if_, old->list[i]->if_) && (n->then == NULL || same_tree(c, n->then, old->list[i]->then)) &&
             (n->else_ == NULL || same_tree(c, n->else_, old->list[i]->else_));
    if (!ok) {
        struct facts f = *old;
        (void)facts_add(&f, n->if_);
        c->silent++;
        ok = (n->then == NULL || reads(c, n->then, &f)) && (n->else_ == NULL || reads(c, n->else_, old));
        c->silent--;
    }
    return ok || no(c, n, "if", NOT_SHOWN "old data is not known to be as then and else say");
}

static bool reads_keywords(struct compare *c, const struct jnode *n, const struct facts *old)
{
    if (!reads_types(c, n, old))
        return false;
    bool ok = reads_values(c, n);
    if ((old->types & JTYPE_NUMBER) != 0)
        ok = reads_numbers(c, n, old) && ok;
    if ((old->types & JTYPE_STRING) != 0)
        ok = reads_strings(c, n, old) && ok;
    if ((old->types & JTYPE_ARRAY) != 0)
        ok = reads_arrays(c, n, old) && ok;
    if ((old->types & JTYPE_OBJECT) != 0)
        ok = reads_objects(c, n, old) && ok;
    ok = (n->ref == NULL || reads(c, n->ref, old)) && ok;
    for (size_t i = 0; i < n->all.count; i++)
        ok = reads(c, n->all.nodes[i], old) && ok;
    ok = reads_any(c, n, old) && ok;
    ok = reads_one(c, n, old) && ok;
    ok = reads_not(c, n, old) && ok;
    return reads_if(c, n, old) && ok;
}

/* ---- cases ---- */

static bool was_split(const struct facts *f, const struct jnode *n)
{
    for (size_t i = 0; i < f->split_count; i++)
        if (f->split[i] == n)
            return true;
    return false;
}

/* The old side has alternatives: look at each. 1: fine, 0: not, -1: there are none (left). */
static int reads_cases(struct compare *c, const struct jnode *n, const struct facts *old)
{
    for (size_t i = 0; i < old->count && old->split_count < SPLITS_MAX; i++) {
        const struct jnode *o = old->list[i];
        const struct jlist *lists[] = {&o->any, &o->one};
        if (was_split(old, o) || (o->any.count == 0 && o->one.count == 0 && (o->then == NULL || o->if_ == NULL)))
            continue;
        struct facts rest = *old;
        rest.split[rest.split_count++] = o;
        bool ok = true;
        const struct jlist *list = lists[o->any.count > 0 ? 0 : 1];
        for (size_t k = 0; k < list->count; k++) {
            struct facts one = rest;
            (void)facts_add(&one, list->nodes[k]);
            ok = reads(c, n, &one) && ok;
        }
        if (list->count == 0) { /* if: as both say, or as else says */
            struct facts then = rest, else_ = rest;
            (void)facts_add(&then, o->if_);
            (void)facts_add(&then, o->then);
            if (o->else_ != NULL)
                (void)facts_add(&else_, o->else_);
            ok = reads(c, n, &then) && reads(c, n, &else_);
        }
        return ok ? 1 : 0;
    }
    bool branches = n->any.count > 0 || n->one.count > 0;
    if (!branches || (old->types & (old->types - 1)) == 0 || old->types == JTYPE_NUMBER)
        return -1;
    bool ok = true;
    for (unsigned type = 1; type <= JTYPE_OBJECT; type <<= 1) {
        struct facts one = *old;
        one.types &= type == JTYPE_WHOLE ? JTYPE_NUMBER : type == JTYPE_FRACTION ? 0 : type;
        ok = (one.types == 0 || reads(c, n, &one)) && ok;
    }
    return ok ? 1 : 0;
}

static bool reads_listed(struct compare *c, const struct jnode *n, const struct facts *old, const struct jnode *values)
{
    size_t lost = 0;
    const struct json *first = values->constant != NULL ? values->constant : values->values->first;
    for (const struct json *v = first; v != NULL; v = values->constant != NULL ? NULL : v->next) {
        if (spend(c) && (!facts_take(old, v) || jschema_node_takes(n, v)))
            continue;
        if (lost++ > 0)
            continue;
        const char *word = n->constant != NULL ? "const" : n->values != NULL ? "enum" : "type", *quote = v->type == JSON_STRING ? "\"" : "";
        struct slice text = v->type == JSON_NULL ? SLICE("null") : v->type == JSON_TRUE ? SLICE("true") : v->type == JSON_FALSE ? SLICE("false") : v->text;
        (void)no(c, n, word, "the old value %s%.*s%s is not allowed any more", quote, text.size > 60 ? 60 : (int)text.size, text.p, quote);
    }
    if (lost > 1)
        (void)no(c, n, n->values != NULL ? "enum" : "type", "%zu old values are not allowed any more", lost);
    return lost == 0;
}

static bool decide(struct compare *c, const struct jnode *n, const struct facts *old)
{
    const struct jnode *values = listed(old);
    if (values != NULL)
        return reads_listed(c, n, old, values);
    for (size_t i = 0; i < old->count; i++)
        if (same_tree(c, n, old->list[i]))
            return true;
    c->silent++;
    bool ok = reads_keywords(c, n, old);
    c->silent--;
    if (ok)
        return true;
    int cases = reads_cases(c, n, old);
    if (cases >= 0)
        return cases == 1;
    return c->silent == 0 && reads_keywords(c, n, old); /* again, for the reasons; else the answer is known */
}

/* Recursion: DEPTH_MAX pairs. */
static bool reads(struct compare *c, const struct jnode *n, const struct facts *old)
{
    if (old->types == 0)
        return true;
    if (!spend(c) || c->depth == DEPTH_MAX)
        return no(c, n, "$ref", NOT_SHOWN "too much to look at");
    for (const struct pair *p = c->known; p != NULL; p = p->before)
        if (p->new == n && facts_same(&p->old, old))
            return true;
    struct pair *before = c->known, *p = ARENA_NEW(c->arena, struct pair);
    if (p == NULL)
        return no(c, n, "$ref", NOT_SHOWN "too much to look at");
    *p = (struct pair){.new = n, .old = *old, .before = before};
    c->known = p;
    c->depth++;
    bool ok = decide(c, n, old);
    c->depth--;
    if (!ok)
        c->known = before;
    return ok;
}

bool jschema_reads(const struct jschema *new, const struct jschema *old, struct jschema_faults *faults)
{
    struct compare c = {.arena = faults->arena, .faults = faults, .steps = STEPS_MAX};
    struct facts f = facts_of(old->root);
    faults->count = 0;
    bool ok = reads(&c, new->root, &f);
    if (!ok && faults->count == 0)
        (void)no(&c, new->root, "schema", NOT_SHOWN "too much to look at");
    return ok;
}
