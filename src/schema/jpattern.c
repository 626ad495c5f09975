/* SPDX-License-Identifier: Apache-2.0
 *
 * An expression becomes a tree and the tree a program of a few instructions (Thompson); matching keeps the set of places
 * in the program that the text so far can have led to (Pike), so each character costs at most one look at each.
 */
#include "jpattern.h"

#include "mem.h"
#include "text.h"

enum { GROUPS_MAX = 32, REPEAT_MAX = 1000, CODE_MAX = JPATTERN_SIZE_MAX, UNLIMITED = UINT16_MAX, RANGES_A_STEP = 8 };

enum op { OP_CHAR, OP_ANY, OP_CLASS, OP_SPLIT, OP_JUMP, OP_BEGIN, OP_END, OP_MATCH };

struct range {
    uint32_t low, high;
};

struct class {
    bool negated;
    uint16_t count;
    struct range *ranges;
};

struct instruction {
    enum op op;
    uint16_t x, y;  /* SPLIT: both; JUMP: x */
    uint32_t c;
    const struct class *set;
};

struct jpattern {
    struct slice text;
    uint16_t count;
    struct instruction *code;
};

enum kind { TREE_ONE, TREE_CAT, TREE_ALT, TREE_REPEAT };

struct tree {
    enum kind kind;
    struct instruction one;
    struct tree *first, *next;  /* what it is made of; its next sibling */
    uint16_t min, max;
};

struct parser {
    struct arena *arena;
    struct slice text;
    size_t at;
    unsigned groups;
    enum ficus_err err;
    struct ficus_error *reterr;
    struct jpattern *out;
};

/* ---- reading ---- */

static struct tree *fail(struct parser *p, const char *what)
{
    if (p->err == FICUS_ERR_OK) {
        size_t characters = 1;
        for (size_t i = 0; i < p->at && i < p->text.size; i++)
            characters += ((unsigned char)p->text.p[i] & 0xc0) != 0x80;
        p->err = err_set(p->reterr, FICUS_ERR_INVALID, "%s, at character %zu", what, characters);
    }
    return NULL;
}

static struct tree *tree_new(struct parser *p, enum kind kind)
{
    struct tree *t = ARENA_NEW(p->arena, struct tree);
    if (t == NULL && p->err == FICUS_ERR_OK)
        p->err = err_set(p->reterr, FICUS_ERR_NOMEM, "out of memory");
    if (t != NULL)
        t->kind = kind;
    return t;
}

static bool more(const struct parser *p)
{
    return p->at < p->text.size;
}

static bool take(struct parser *p, char c)
{
    if (!more(p) || p->text.p[p->at] != c)
        return false;
    p->at++;
    return true;
}

/* The text is UTF-8. */
static uint32_t decode(const char *p, size_t size, size_t *ret_step)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t step = text_utf8_step(p, size);
    *ret_step = step == 0 ? 1 : step;
    if (step <= 1)
        return s[0];
    uint32_t c = s[0] & (0xffu >> (step + 1));
    for (size_t i = 1; i < step; i++)
        c = c << 6 | (s[i] & 63u);
    return c;
}

static uint32_t take_char(struct parser *p)
{
    size_t step;
    uint32_t c = decode(p->text.p + p->at, p->text.size - p->at, &step);
    p->at += step;
    return c;
}

static bool take_hex(struct parser *p, unsigned digits, uint32_t *ret_value)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < digits; i++) {
        char c = more(p) ? p->text.p[p->at] : ' ';
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return false;
        value = value << 4 | (uint32_t)digit;
        p->at++;
    }
    *ret_value = value;
    return true;
}

/* behind "\u" */
static bool take_unicode(struct parser *p, uint32_t *ret_value)
{
    uint32_t low;
    if (take(p, '{')) {
        uint32_t value = 0, digit;
        bool any = false;
        while (!take(p, '}')) {
            if (!take_hex(p, 1, &digit) || (value = value << 4 | digit) > 0x10ffff)
                return false;
            any = true;
        }
        *ret_value = value;
        return any;
    }
    if (!take_hex(p, 4, ret_value))
        return false;
    if (*ret_value < 0xd800 || *ret_value > 0xdfff)
        return true;
    if (*ret_value > 0xdbff || !take(p, '\\') || !take(p, 'u') || !take_hex(p, 4, &low) || low < 0xdc00 || low > 0xdfff)
        return false;
    *ret_value = 0x10000 + ((*ret_value - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* ---- classes ---- */

static const struct range digit_ranges[] = {{'0', '9'}};
static const struct range word_ranges[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct range space_ranges[] = {{9, 13}, {32, 32}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
                                            {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};

struct set_builder {
    struct range ranges[64];
    size_t count;
};

static bool add_range(struct set_builder *b, uint32_t low, uint32_t high)
{
    if (b->count == ARRAY_COUNT(b->ranges))
        return false;
    b->ranges[b->count++] = (struct range){low, high};
    return true;
}

/* Ranges that ascend; negated: what lies between them. */
static bool add_known(struct set_builder *b, const struct range *ranges, size_t count, bool negated)
{
    uint32_t next = 0;
    bool fits = true;
    for (size_t i = 0; i < count; i++) {
        if (!negated)
            fits = fits && add_range(b, ranges[i].low, ranges[i].high);
        else if (ranges[i].low > next)
            fits = fits && add_range(b, next, ranges[i].low - 1);
        next = ranges[i].high + 1;
    }
    return fits && (!negated || add_range(b, next, 0x10ffff));
}

/* \d and the like; c is the letter. False: it is none of them. *ret_fits: there was room. */
static bool add_shorthand(struct set_builder *b, char c, bool *ret_fits)
{
    switch (c) {
    case 'd':
    case 'D':
        *ret_fits = add_known(b, digit_ranges, ARRAY_COUNT(digit_ranges), c == 'D');
        return true;
    case 'w':
    case 'W':
        *ret_fits = add_known(b, word_ranges, ARRAY_COUNT(word_ranges), c == 'W');
        return true;
    case 's':
    case 'S':
        *ret_fits = add_known(b, space_ranges, ARRAY_COUNT(space_ranges), c == 'S');
        return true;
    default:
        return false;
    }
}

static struct tree *tree_set(struct parser *p, const struct set_builder *b, bool negated)
{
    struct tree *t = tree_new(p, TREE_ONE);
    struct class *set = ARENA_NEW(p->arena, struct class);
    if (t == NULL || set == NULL)
        return fail(p, "out of memory");
    set->ranges = ARENA_ARRAY(p->arena, struct range, b->count + 1);
    if (set->ranges == NULL)
        return fail(p, "out of memory");
    memcpy(set->ranges, b->ranges, b->count * sizeof *b->ranges);
    set->count = (uint16_t)b->count;
    set->negated = negated;
    t->one = (struct instruction){.op = OP_CLASS, .set = set};
    return t;
}

/* A single character behind a backslash; in_set: in brackets, where '-' may have one too. */
static bool take_escaped(struct parser *p, bool in_set, uint32_t *ret_c)
{
    static const char letters[] = "tnrfv", values[] = "\t\n\r\f\v";
    if (!more(p)) {
        (void)fail(p, "ends in a backslash");
        return false;
    }
    char c = p->text.p[p->at];
    const char *letter = strchr(letters, c);
    bool ok = true;
    p->at++;
    if (c != '\0' && letter != NULL)
        *ret_c = (unsigned char)values[letter - letters];
    else if (c == 'x')
        ok = take_hex(p, 2, ret_c);
    else if (c == 'u')
        ok = take_unicode(p, ret_c);
    else if (c == '0' && !(more(p) && p->text.p[p->at] >= '0' && p->text.p[p->at] <= '9'))
        *ret_c = 0;
    else if (c != '\0' && (strchr("^$\\.*+?()[]{}|/", c) != NULL || (in_set && c == '-')))
        *ret_c = (unsigned char)c;
    else
        ok = false;
    if (!ok) {
        p->at -= p->at > 0 ? 1 : 0;
        (void)fail(p, c == 'b' || c == 'B'                ? "\\b is not supported by this version"
                      : c == 'p' || c == 'P'              ? "\\p is not supported by this version"
                      : c == 'k' || (c >= '1' && c <= '9') ? "references back are not supported"
                                                           : "unknown escape (allowed are \\d \\w \\s, \\t \\n \\r \\f \\v \\0, \\xHH, \\uHHHH, and \\ "
                                                             "before a character of syntax)");
    }
    return ok;
}

/* One end of a range, or a shorthand, which goes into b: *ret_is_set. */
static bool take_member(struct parser *p, struct set_builder *b, uint32_t *ret_c, bool *ret_is_set)
{
    bool fits = true;
    *ret_is_set = false;
    if (!take(p, '\\')) {
        *ret_c = take_char(p);
        return true;
    }
    if (more(p) && add_shorthand(b, p->text.p[p->at], &fits)) {
        p->at++;
        *ret_is_set = true;
        if (!fits)
            (void)fail(p, "has more than 64 ranges in brackets");
        return fits;
    }
    return take_escaped(p, true, ret_c);
}

/* behind '[' */
static struct tree *parse_set(struct parser *p)
{
    struct set_builder b = {.count = 0};
    bool negated = take(p, '^');
    while (!take(p, ']')) {
        uint32_t low = 0, high = 0;
        bool is_set = false;
        if (!more(p))
            return fail(p, "lacks a ]");
        if (!take_member(p, &b, &low, &is_set))
            return NULL;
        bool range = more(p) && p->text.p[p->at] == '-' && p->at + 1 < p->text.size && p->text.p[p->at + 1] != ']';
        if (range && is_set)
            return fail(p, "a range needs characters at both ends");
        if (is_set)
            continue;
        high = low;
        if (range) {
            p->at++;
            if (!take_member(p, &b, &high, &is_set))
                return NULL;
            if (is_set || high < low)
                return fail(p, is_set ? "a range needs characters at both ends" : "a range runs backwards");
        }
        if (!add_range(&b, low, high))
            return fail(p, "has more than 64 ranges in brackets");
    }
    return tree_set(p, &b, negated);
}

/* ---- expressions ---- */

static struct tree *parse_alternatives(struct parser *p);

static struct tree *tree_one(struct parser *p, enum op op, uint32_t c)
{
    struct tree *t = tree_new(p, TREE_ONE);
    if (t != NULL)
        t->one = (struct instruction){.op = op, .c = c};
    return t;
}

/* behind '(' */
static struct tree *parse_group(struct parser *p)
{
    if (take(p, '?') && !take(p, ':'))
        return fail(p, "(?= (?! (?<: look-around and named groups are not supported");
    if (p->groups == GROUPS_MAX)
        return fail(p, "groups are nested too deeply");
    p->groups++;
    struct tree *t = parse_alternatives(p);
    p->groups--;
    return t != NULL && !take(p, ')') ? fail(p, "lacks a )") : t;
}

static struct tree *parse_atom(struct parser *p)
{
    struct set_builder b = {.count = 0};
    bool fits = true;
    uint32_t c;
    if (take(p, '('))
        return parse_group(p);
    if (take(p, '['))
        return parse_set(p);
    if (take(p, '.'))
        return tree_one(p, OP_ANY, 0);
    if (take(p, '^'))
        return tree_one(p, OP_BEGIN, 0);
    if (take(p, '$'))
        return tree_one(p, OP_END, 0);
    if (take(p, '\\')) {
        if (more(p) && add_shorthand(&b, p->text.p[p->at], &fits)) {
            p->at++;
            return tree_set(p, &b, false);
        }
        return take_escaped(p, false, &c) ? tree_one(p, OP_CHAR, c) : NULL;
    }
    if (strchr("*+?", p->text.p[p->at]) != NULL)
        return fail(p, "nothing to repeat");
    if (strchr("{}]", p->text.p[p->at]) != NULL)
        return fail(p, "{ } ] need a backslash when they stand for themselves");
    return tree_one(p, OP_CHAR, take_char(p));
}

static bool take_count(struct parser *p, uint16_t *ret_value)
{
    unsigned value = 0;
    size_t before = p->at;
    while (more(p) && p->text.p[p->at] >= '0' && p->text.p[p->at] <= '9' && value <= REPEAT_MAX)
        value = value * 10 + (unsigned)(p->text.p[p->at++] - '0');
    *ret_value = (uint16_t)value;
    if (p->at > before && value <= REPEAT_MAX)
        return true;
    (void)fail(p, "{n,m} needs whole numbers up to 1000");
    return false;
}

/* False: there is none, or (p->err) it is wrong. */
static bool take_repeat(struct parser *p, uint16_t *ret_min, uint16_t *ret_max)
{
    *ret_min = 0;
    *ret_max = UNLIMITED;
    if (take(p, '{')) {
        if (!take_count(p, ret_min))
            return false;
        *ret_max = *ret_min;
        if (take(p, ',')) {
            *ret_max = UNLIMITED;
            if (more(p) && p->text.p[p->at] != '}' && !take_count(p, ret_max))
                return false;
        }
        if (!take(p, '}') || *ret_max < *ret_min)
            return fail(p, "{n,m} lacks its }, or runs backwards") != NULL;
    } else if (take(p, '+')) {
        *ret_min = 1;
    } else if (take(p, '?')) {
        *ret_max = 1;
    } else if (!take(p, '*')) {
        return false;
    }
    (void)take(p, '?'); /* which of several matches is of no interest here */
    return true;
}

static struct tree *parse_sequence(struct parser *p)
{
    struct tree *t = tree_new(p, TREE_CAT), **end = t == NULL ? NULL : &t->first;
    while (t != NULL && more(p) && p->text.p[p->at] != '|' && p->text.p[p->at] != ')') {
        struct tree *atom = parse_atom(p);
        uint16_t min, max;
        if (atom == NULL)
            return NULL;
        bool place = atom->kind == TREE_ONE && (atom->one.op == OP_BEGIN || atom->one.op == OP_END);
        if (take_repeat(p, &min, &max)) {
            struct tree *repeat = tree_new(p, TREE_REPEAT);
            if (repeat == NULL)
                return NULL;
            if (place)
                return fail(p, "^ and $ cannot be repeated");
            repeat->first = atom;
            repeat->min = min;
            repeat->max = max;
            atom = repeat;
        }
        if (p->err != FICUS_ERR_OK)
            return NULL;
        *end = atom;
        end = &atom->next;
    }
    return t;
}

static struct tree *parse_alternatives(struct parser *p)
{
    struct tree *t = parse_sequence(p), *alt = NULL, **end;
    if (t == NULL || !more(p) || p->text.p[p->at] != '|')
        return t;
    if ((alt = tree_new(p, TREE_ALT)) == NULL)
        return NULL;
    alt->first = t;
    end = &t->next;
    while (take(p, '|')) {
        if ((t = parse_sequence(p)) == NULL)
            return NULL;
        *end = t;
        end = &t->next;
    }
    return alt;
}

/* ---- writing the program ---- */

static uint16_t emit(struct parser *p, struct instruction i)
{
    struct jpattern *out = p->out;
    if (out->count == CODE_MAX) {
        if (p->err == FICUS_ERR_OK)
            p->err = err_set(p->reterr, FICUS_ERR_TOO_LARGE, "is too large: with its repetitions written out it may have %d parts", CODE_MAX);
        return 0;
    }
    out->code[out->count] = i;
    return out->count++;
}

static void emit_tree(struct parser *p, const struct tree *t);

static void emit_repeat(struct parser *p, const struct tree *t)
{
    for (unsigned i = 0; i < t->min && p->err == FICUS_ERR_OK; i++) {
        uint16_t before = p->out->count;
        emit_tree(p, t->first);
        if (p->out->count == before)
            break; /* nothing, however often; else nested repetitions of an empty group would multiply and no bound would end them */
    }
    if (t->max == UNLIMITED) {
        uint16_t split = emit(p, (struct instruction){.op = OP_SPLIT});
        emit_tree(p, t->first);
        (void)emit(p, (struct instruction){.op = OP_JUMP, .x = split});
        p->out->code[split].x = (uint16_t)(split + 1);
        p->out->code[split].y = p->out->count;
        return;
    }
    for (unsigned i = t->min; i < t->max && p->err == FICUS_ERR_OK; i++) {
        uint16_t split = emit(p, (struct instruction){.op = OP_SPLIT});
        emit_tree(p, t->first);
        p->out->code[split].x = (uint16_t)(split + 1);
        p->out->code[split].y = p->out->count; /* nothing more; the rest of the repetitions then finds its own way */
    }
}

/* One of several: split to it, else on to the next; each ends with a jump behind them all. */
static void emit_alternatives(struct parser *p, const struct tree *t)
{
    uint16_t last_jump = 0;
    bool any_jump = false;
    for (const struct tree *one = t->first; one != NULL && p->err == FICUS_ERR_OK; one = one->next) {
        uint16_t split = one->next == NULL ? 0 : emit(p, (struct instruction){.op = OP_SPLIT});
        emit_tree(p, one);
        if (one->next == NULL)
            break;
        uint16_t jump = emit(p, (struct instruction){.op = OP_JUMP, .x = last_jump, .y = any_jump});
        p->out->code[split].x = (uint16_t)(split + 1);
        p->out->code[split].y = p->out->count;
        last_jump = jump;
        any_jump = true;
    }
    while (any_jump && p->err == FICUS_ERR_OK) { /* the jumps are a chain until it is known where they lead */
        struct instruction *jump = &p->out->code[last_jump];
        any_jump = jump->y != 0;
        last_jump = jump->x;
        jump->x = p->out->count;
    }
}

/* Recursion: at most three levels for each group. */
static void emit_tree(struct parser *p, const struct tree *t)
{
    if (p->err != FICUS_ERR_OK)
        return;
    switch (t->kind) {
    case TREE_ONE:
        (void)emit(p, t->one);
        break;
    case TREE_CAT:
        for (const struct tree *one = t->first; one != NULL; one = one->next)
            emit_tree(p, one);
        break;
    case TREE_ALT:
        emit_alternatives(p, t);
        break;
    case TREE_REPEAT:
        emit_repeat(p, t);
        break;
    }
}

enum ficus_err jpattern_compile(struct arena *a, struct slice text, struct jpattern **ret_pattern, struct ficus_error *reterr)
{
    struct parser p = {.arena = a, .text = text, .reterr = reterr, .out = ARENA_NEW(a, struct jpattern)};
    if (text.size > JPATTERN_SIZE_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "has %zu bytes, at most %d are allowed", text.size, JPATTERN_SIZE_MAX);
    if (p.out == NULL || (p.out->text = arena_slice(a, text)).p == NULL || (p.out->code = ARENA_ARRAY(a, struct instruction, CODE_MAX)) == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    struct tree *t = parse_alternatives(&p);
    if (t != NULL && p.at < text.size)
        (void)fail(&p, "has a ) without a (");
    if (p.err == FICUS_ERR_OK && t != NULL)
        emit_tree(&p, t);
    if (p.err == FICUS_ERR_OK)
        (void)emit(&p, (struct instruction){.op = OP_MATCH});
    if (p.err == FICUS_ERR_OK)
        *ret_pattern = p.out;
    return p.err;
}

struct slice jpattern_text(const struct jpattern *p)
{
    return p->text;
}

/* ---- matching ---- */

struct places {
    uint16_t list[CODE_MAX];
    size_t count;
    uint8_t seen[(CODE_MAX + 7) / 8];
};

static bool in_class(const struct class *set, uint32_t c)
{
    bool found = false;
    for (size_t i = 0; i < set->count && !found; i++)
        found = c >= set->ranges[i].low && c <= set->ranges[i].high;
    return found != set->negated;
}

static bool takes(const struct instruction *i, uint32_t c)
{
    switch (i->op) {
    case OP_CHAR:
        return i->c == c;
    case OP_ANY:
        return c != '\n' && c != '\r' && c != 0x2028 && c != 0x2029;
    case OP_CLASS:
        return in_class(i->set, c);
    default:
        return false;
    }
}

/* Everything that pc leads to without a character. True: a match. Each place is looked into once and then replaces itself
 * by at most two: the stack never holds more than there are places, and one. *cost grows by the places that were looked at. */
static bool add_place(const struct jpattern *p, struct places *to, uint16_t *stack, uint16_t pc, bool begin, bool end, uint64_t *cost)
{
    size_t depth = 0;
    stack[depth++] = pc;
    while (depth > 0) {
        pc = stack[--depth];
        ++*cost;
        if (to->seen[pc / 8] & 1u << pc % 8)
            continue;
        to->seen[pc / 8] |= (uint8_t)(1u << pc % 8);
        const struct instruction *i = &p->code[pc];
        switch (i->op) {
        case OP_MATCH:
            return true;
        case OP_SPLIT:
            stack[depth++] = i->x;
            stack[depth++] = i->y;
            break;
        case OP_JUMP:
            stack[depth++] = i->x;
            break;
        case OP_BEGIN:
        case OP_END:
            if (i->op == OP_BEGIN ? begin : end)
                stack[depth++] = (uint16_t)(pc + 1);
            break;
        case OP_CHAR:
        case OP_ANY:
        case OP_CLASS:
            to->list[to->count++] = pc;
            break;
        }
    }
    return false;
}

static void places_clear(struct places *s)
{
    s->count = 0;
    memset(s->seen, 0, sizeof s->seen);
}

/* False: there is not so much left, and now nothing. */
static bool pay(uint64_t *budget, uint64_t cost)
{
    bool enough = *budget >= cost;
    *budget -= enough ? cost : *budget;
    return enough;
}

/* What a look at one place may cost. */
static uint64_t cost_of(const struct instruction *i)
{
    return i->op == OP_CLASS ? 1 + i->set->count / RANGES_A_STEP : 1;
}

bool jpattern_matches(const struct jpattern *p, struct slice text, uint64_t *budget)
{
    struct places sets[2], *now = &sets[0], *next = &sets[1];
    uint16_t stack[CODE_MAX + 1]; /* of add_place; here, for the compiler clears what is on the stack each time */
    uint64_t cost = 0;            /* since it was paid: of one character, which is bounded by the expression */
    bool found;
    places_clear(now);
    for (size_t at = 0;;) {
        found = add_place(p, now, stack, 0, at == 0, at == text.size, &cost); /* a match may begin anywhere */
        if (!pay(budget, cost) || found || at == text.size)
            return found;
        size_t step;
        uint32_t c = decode(text.p + at, text.size - at, &step);
        at += step;
        cost = 1;
        places_clear(next);
        for (size_t i = 0; i < now->count && !found; i++) {
            const struct instruction *place = &p->code[now->list[i]];
            cost += cost_of(place);
            found = takes(place, c) && add_place(p, next, stack, (uint16_t)(now->list[i] + 1), false, at == text.size, &cost);
        }
        if (found) {
            (void)pay(budget, cost); /* it is known now */
            return true;
        }
        struct places *old = now;
        now = next;
        next = old;
    }
}
