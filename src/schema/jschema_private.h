/* SPDX-License-Identifier: Apache-2.0
 *
 * What a schema is compiled to. Not for other floors. All of it lies in the arena that was given to jschema_compile and borrows from
 * the schema's text; once compiled it is only read, by any thread. Nothing here blocks.
 */
#ifndef FICUS_SCHEMA_JSCHEMA_PRIVATE_H
#define FICUS_SCHEMA_JSCHEMA_PRIVATE_H

#include "jdecimal.h"
#include "jpattern.h"
#include "jschema.h"

#include <stdarg.h>

enum {
    JTYPE_NULL = 1,
    JTYPE_BOOL = 2,
    JTYPE_WHOLE = 4,        /* numbers without fraction */
    JTYPE_FRACTION = 8,     /* the others */
    JTYPE_STRING = 16,
    JTYPE_ARRAY = 32,
    JTYPE_OBJECT = 64,
    JTYPE_ALL = 127,
    JTYPE_NUMBER = JTYPE_WHOLE | JTYPE_FRACTION,
};

enum jformat { JFORMAT_NONE, JFORMAT_DATE_TIME, JFORMAT_DATE, JFORMAT_UUID };

enum {
    JSCHEMA_IN_PLACE_MAX = 24,  /* schemas that apply to one and the same value, one inside the other */
    JSCHEMA_NAMES_MAX = 1024,   /* names in one properties and required */
    JSCHEMA_NO_MAX = UINT32_MAX,
};

struct jnode;

/* A member that the schema knows by name. */
struct jname {
    struct slice name;
    const struct jnode *node;   /* NULL: only required */
    bool required;
};

struct jpattern_member {
    const struct jpattern *pattern;
    const struct jnode *node;
};

struct jlimit {
    const struct json *at;      /* NULL: none */
    struct jdecimal value;
};

struct jlist {
    const struct jnode **nodes;
    size_t count;
};

/* One schema. Whatever is absent is NULL, 0 or the widest bound, so that every keyword can be asked without a look at
 * what stands in the text. */
struct jnode {
    const struct json *at;      /* where it stands */
    const char *pointer;
    unsigned types;             /* JTYPE_...; 0: the schema false */
    const struct json *values;  /* enum */
    const struct json *constant;
    struct jlimit minimum, maximum, above, below, multiple;
    uint32_t length_min, length_max, items_min, items_max, members_min, members_max;
    const struct jpattern *pattern;
    enum jformat format;
    const struct jname *names;  /* sorted */
    size_t name_count, required_count;
    const struct jpattern_member *patterns;
    size_t pattern_count;
    const struct jnode *additional, *member_names, *items, *contains;
    struct jlist prefix, all, any, one;
    const struct jnode *not_, *if_, *then, *else_, *ref;
    bool unique;
    uint8_t height;             /* private to compiling */
    bool on_path;
};

struct jschema {
    const struct jnode *root;
    struct slice text;
};

/* ---- jschema_fault.c ---- */

/* A place in a value or a schema, on the way down; on the stack. */
struct jplace {
    const struct jplace *up;    /* NULL: the whole */
    struct slice key;           /* p NULL: an index */
    size_t index;
};

/* In the arena, cut at 200 bytes. */
const char *jschema_pointer(struct arena *a, const struct jplace *place);
/* faults NULL: nothing happens. */
void jschema_fault_add(struct jschema_faults *faults, const char *pointer, size_t offset, const char *format, va_list args);
/* "a string", "a whole number"; of several types in *buf: "string or null". */
const char *jschema_type_text(unsigned types, struct buf *b);

/* ---- jschema_check.c ---- */

unsigned jschema_type_of(const struct json *v);             /* one JTYPE_... */
/* As a schema's enum and uniqueItems see it: 1 is 1.0, the order of members is of no account. *budget as in jpattern.h. */
bool jschema_equal(const struct json *a, const struct json *b, uint64_t *budget);
bool jschema_node_takes(const struct jnode *n, const struct json *v);    /* without reasons */
const struct jname *jschema_name_find(const struct jnode *n, struct slice name);

/* ---- jschema_meaning.c ---- */

bool jschema_word_is_empty(struct slice keyword);           /* it has no effect */

#endif
