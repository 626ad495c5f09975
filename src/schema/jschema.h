/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON Schema, draft 2020-12: compiled once, then checked against any number of values by any number of threads; and the
 * question whether one schema takes everything that another one takes.
 *
 * Known: type enum const; properties required additionalProperties patternProperties propertyNames minProperties
 * maxProperties; items prefixItems minItems maxItems uniqueItems contains; minLength maxLength (code points) pattern
 * (jpattern.h) format (date-time, date, uuid; asserted); minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
 * (exact decimals); allOf anyOf oneOf not if then else; $ref to "#" and "#/$defs/NAME", $defs at the root. Without
 * effect: $schema (must be this draft), $id at the root, $comment title description default examples deprecated readOnly
 * writeOnly. Every other word is an error when the schema is compiled: nothing is passed over in silence.
 *
 * Bounds: a schema has at most JSCHEMA_TEXT_SIZE_MAX bytes and JSCHEMA_NODES_MAX schemas in it. A check takes a number
 * of steps that is proportional to the size of the value, and at most 128 KiB of stack; what needs more fails ("too costly").
 * All functions are pure.
 */
#ifndef FICUS_SCHEMA_JSCHEMA_H
#define FICUS_SCHEMA_JSCHEMA_H

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "json.h"

struct jschema;

enum {
    JSCHEMA_TEXT_SIZE_MAX = 64 * 1024,
    JSCHEMA_NODES_MAX = 2000,
    JSCHEMA_FAULTS_MAX = 16,
    JSCHEMA_ARENA_SIZE = 16 << 20,  /* what an arena for compiling should allow; small schemas take some KiB */
};

/* What is wrong, and where: of a schema that is compiled or compared, the place in the schema; of a value, that in the
 * value. Texts say what was found and what is allowed, never what a value's texts and numbers are. */
struct jschema_fault {
    const char *pointer;        /* JSON pointer (RFC 6901), "" for the whole; long ones are cut */
    uint32_t offset;            /* byte in the text of the schema or value */
    const char *text;           /* begins with the keyword: "maxLength: has 12 characters, at most 10 are allowed" */
};
struct jschema_faults {
    struct arena *arena;        /* pointers and texts live here; set by the caller */
    struct jschema_fault list[JSCHEMA_FAULTS_MAX];
    size_t count;               /* kept; there may be more */
};

/* text must outlive the schema, which lives in a. INVALID, PARSE, TOO_LARGE or NOMEM: faults says why (PARSE: one, with
 * line:column in its text). */
enum ficus_err jschema_compile(struct arena *a, struct slice text, struct jschema **ret_schema, struct jschema_faults *faults);

/* Is the value right? When not, faults has at least one reason; NULL: nobody wants to know. value is a tree of
 * json_parse. */
bool jschema_check(const struct jschema *s, const struct json *value, struct jschema_faults *faults);

/* Is every value that is right by `old` right by `new` as well, so that who reads by `new` can read what was written by
 * `old`? True only when that is shown. False: faults has what is in the way, with the place in `new` (what cannot be
 * decided says so: "cannot be shown"). Takes memory of faults->arena, which the caller should bound by
 * JSCHEMA_ARENA_SIZE. */
bool jschema_reads(const struct jschema *new, const struct jschema *old, struct jschema_faults *faults);

/* The schema as one line of JSON without what has no effect, members sorted: equal texts mean the same. False: out is
 * full. */
bool jschema_meaning(const struct jschema *s, struct buf *out);

#endif
