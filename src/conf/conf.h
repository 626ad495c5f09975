/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of settings. One table (struct conf_table) describes one C struct: it decodes the struct from a tree (YAML or
 * JSON, with the place of every key and value), encodes it back to JSON with all defaults filled in, and gives its JSON Schema.
 * Decoding never stops at the first error: all are collected in struct conf_errors, each with file, line, column,
 * path, what was found, what is allowed and, where there is one, a suggestion:
 *
 *   services/orders/service.yaml:14:16: calls.catalog.timeout: "300" has no unit (did you mean 300ms?)
 *
 * How to make a table (call/, saga/, proxy/, service/, hub/ each keep theirs beside the struct):
 *
 *   struct call_policy { int64_t timeout_ms; struct call_retry *retry; const char *const *tags; size_t tag_count; };
 *
 *   static const struct conf_setting call_policy_settings[] = {
 *       {.name = "timeout", .type = CONF_DURATION, CONF_AT(struct call_policy, timeout_ms), .min = 1, .max = 600000,
 *        .fallback = 5000, .doc = "How long a call may take, all attempts together."},
 *       {.name = "retry", .type = CONF_TABLE_PTR, CONF_AT(struct call_policy, retry), .table = &call_retry_table, .doc = "..."},
 *       {.name = "tags", .type = CONF_LIST, CONF_LIST_AT(struct call_policy, tags, tag_count), .item = &tag_item, .doc = "..."},
 *   };
 *   const struct conf_table call_policy_table = CONF_TABLE_OF("call policy", struct call_policy, call_policy_settings);
 *
 * The floor knows no word of Ficus. Everything is pure: no I/O, no globals; trees and decoded values live in the caller's arena.
 */
#ifndef FICUS_CONF_CONF_H
#define FICUS_CONF_CONF_H

#include "arena.h"
#include "err.h"
#include "json.h"

/* ---- trees with places ---- */

enum conf_kind { CONF_NULL, CONF_SCALAR, CONF_LIST_NODE, CONF_MAP_NODE };

struct conf_node {
    enum conf_kind kind;
    bool quoted;                        /* scalar: written in quotes (or as a block), so never a number, bool or null */
    const char *file;
    uint32_t line, column;              /* of the value, from 1; columns count code points */
    uint32_t key_line, key_column;      /* of the key, when the parent is a map; else as the value's */
    uint32_t index;                     /* place among the siblings, from 0 */
    uint32_t count;                     /* children */
    struct slice key;                   /* when the parent is a map; NUL-terminated */
    struct slice text;                  /* scalar; NUL-terminated */
    struct conf_node *parent, *first, *next;
};

enum { CONF_DEPTH_MAX = 64, CONF_TEXT_SIZE_MAX = 4 << 20, CONF_JSON_SIZE_MAX = 8 << 20, CONF_ERRORS_MAX = 200 };

/* The child with the key, or NULL (also when map is NULL or no map). */
const struct conf_node *conf_get(const struct conf_node *map, const char *key);
/* "calls.catalog.timeout", "gateway.routes[2].to"; "" for a root. In the arena. */
const char *conf_path(struct arena *a, const struct conf_node *node);
/* The tree as JSON. Plain scalars that look like bool, null or whole number become that, all else strings. */
void conf_node_write(const struct conf_node *node, struct json_writer *w);

/* ---- errors ---- */

struct conf_error {
    const char *file;
    uint32_t line, column;
    enum ficus_err code;
    const char *text;                   /* "path: message" */
    struct conf_error *next;
};

struct conf_errors {
    struct arena *arena;                /* texts live here */
    /* private below */
    struct conf_error *first, *last;
    size_t count;                       /* may exceed CONF_ERRORS_MAX; only so many are kept */
};

void conf_errors_init(struct conf_errors *e, struct arena *arena);
/* Add an error at the value of node, or at its key. node must not be NULL. The path is put before the text. */
void conf_error_value(struct conf_errors *e, const struct conf_node *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
void conf_error_key(struct conf_errors *e, const struct conf_node *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Add an error at any place, without path. */
void conf_error_place(struct conf_errors *e, enum ficus_err code, const char *file, uint32_t line, uint32_t column, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* One line each, "file:line:column: path: message\n", ordered by file (as first met), line and column. */
void conf_errors_print(const struct conf_errors *e, struct buf *out);
/* As above, into an array of {file, line, column, message}. */
void conf_errors_write(const struct conf_errors *e, struct json_writer *w);
/* The first error into *reterr: returns its code; FICUS_ERR_OK when there is none. */
enum ficus_err conf_errors_first(const struct conf_errors *e, struct ficus_error *reterr);

/* ---- tables ---- */

enum conf_type {            /* the C field at .offset            written as */
    CONF_BOOL,              /* bool                              true, false */
    CONF_INT,               /* int64_t, .min .max                12 */
    CONF_DURATION,          /* int64_t ms, .min .max             300ms, 3s, 10m, 24h, 7d */
    CONF_SIZE,              /* int64_t bytes, .min .max          512B, 64KiB, 16MiB, 2GiB */
    CONF_STRING,            /* const char *, NULL absent         text of .min to .max bytes (.max 0: 1024), .check */
    CONF_ENUM,              /* int, index into .words            one of the words */
    CONF_ANY,               /* const char *: JSON text, or NULL  any tree (templates) */
    CONF_TABLE,             /* the struct itself; defaults when absent */
    CONF_TABLE_PTR,         /* pointer to the struct; NULL when absent */
    CONF_INLINE,            /* the struct itself, its settings written beside those of the outer table */
    CONF_LIST,              /* pointer to items, size_t at .count_offset; each item by .item */
    CONF_MAP,               /* as list; the name goes to const char * at .key_offset of the item, the value by .item. Order is kept */
    CONF_CUSTOM,            /* .custom decodes and encodes, e.g. "50/s per user" */
};

enum conf_flags {
    CONF_REQUIRED = 1,
    CONF_NOT_BUILT = 2,         /* known word, refused: "not supported by this version" */
    CONF_MANIFEST_ONLY = 4,     /* people write it; resolved files do not have it */
    CONF_RESOLVED_ONLY = 8,     /* only resolved files have it; in a manifest it is an unknown key */
    CONF_AS_LIST = 16,          /* CONF_MAP written as a list of maps with one entry each: "- reserve: {...}" */
    CONF_NOT_EMPTY = 32,        /* list or map with at least one entry */
};

enum conf_form { CONF_MANIFEST, CONF_RESOLVED };

struct conf_setting;
struct conf_table;

struct conf_custom {
    /* Decode node into *field and return true, or add errors (conf_error_value) and return false. */
    bool (*decode)(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a, struct conf_errors *errors);
    /* Write one JSON value that decode takes. *field holds a decoded value. */
    void (*encode)(const struct conf_setting *s, const void *field, struct json_writer *w);
    /* Whether the field holds a value; when not it is not encoded. NULL: always. */
    bool (*present)(const struct conf_setting *s, const void *field);
    size_t size;                /* of the field: for lists of it */
    const char *schema;         /* JSON Schema as text, one value */
    const char *allowed;        /* for messages and docs: "a rate such as 50/s or 100/m per user" */
    const char *wrong;          /* one plain scalar that decode refuses, for the generated tests; NULL: none */
    const char *example;        /* one plain scalar, list or map in YAML flow form that decode takes, for the same tests */
};

struct conf_setting {
    const char *name;           /* key; for items of lists: what one is called */
    enum conf_type type;
    unsigned flags;             /* enum conf_flags */
    size_t offset;
    const char *doc;            /* one or two sentences */
    int64_t min, max;           /* both 0: no bound below INT64_MAX, none negative */
    int64_t fallback;           /* bool, int, duration, size, enum. One outside min..max means "absent" and is not encoded;
                                   enum: -1 means absent */
    const char *fallback_text;  /* string; NULL: absent */
    const char *const *words;   /* enum: NULL-terminated */
    /* String (and map names): NULL when fine, else what is allowed: "lower case letters, digits and '-'". */
    const char *(*check)(struct slice text);
    const struct conf_table *table;     /* table, table_ptr, inline */
    const struct conf_setting *item;    /* list, map: how one is written; .offset counts inside the item */
    size_t count_offset, item_size, key_offset;
    const char *group_word;     /* CONF_AS_LIST: "- WORD: [ ... ]" is a list of entries that belong together; NULL: none. They become
                                   items like the others, which know the number of their group, from 1; 0: none. No group in a group */
    size_t group_offset;        /* of a uint32_t in the item */
    const struct conf_custom *custom;
    const char *example;        /* a value in YAML flow form that is taken; needed where a string has a .check; goes before custom->example */
};

struct conf_table {
    const char *name;           /* for schema and docs: "route" */
    const char *doc;
    size_t size;
    const struct conf_setting *settings;
    size_t count;
    /* Where the struct keeps its const struct conf_node * (for later cross checks); used when has_node. */
    bool has_node;
    size_t node_offset;
    /* Relations between the settings of one struct; called after all of them decoded without error. May be NULL. */
    void (*check)(const struct conf_node *node, void *value, struct conf_errors *errors);
};

#define CONF_AT(struct_type, field) .offset = offsetof(struct_type, field)
#define CONF_LIST_AT(struct_type, field, count_field)                                                                       \
    .offset = offsetof(struct_type, field), .count_offset = offsetof(struct_type, count_field),                             \
    .item_size = sizeof *((struct_type *)0)->field
/* item_type: struct with a const char *key_field that takes the name. */
#define CONF_MAP_AT(struct_type, field, count_field, item_type, key_field)                                                  \
    .offset = offsetof(struct_type, field), .count_offset = offsetof(struct_type, count_field),                             \
    .item_size = sizeof(item_type), .key_offset = offsetof(item_type, key_field)
#define CONF_TABLE_OF(table_name, struct_type, array)                                                                       \
    {.name = (table_name), .size = sizeof(struct_type), .settings = (array), .count = sizeof(array) / sizeof((array)[0])}

/* Fill *value (table->size bytes, any content before) with the table's defaults. */
void conf_defaults(const struct conf_table *table, void *value);
/* Defaults, then what node says. True when no error was added. node is a map; anything else is an error. Strings and items go to a. */
bool conf_decode(const struct conf_node *node, const struct conf_table *table, enum conf_form form, void *value, struct arena *a,
                 struct conf_errors *errors);
/* One object with every setting (defaults filled in) but the absent ones and CONF_MANIFEST_ONLY. */
void conf_encode(const struct conf_table *table, const void *value, struct json_writer *w);
/* JSON Schema (draft 2020-12) of the form as one object. */
void conf_schema(const struct conf_table *table, enum conf_form form, struct json_writer *w);

/* ---- texts ---- */

/* JSON to a tree. Text and file must outlive it. On failure one error is added and its code returned. */
enum ficus_err conf_json_parse(struct arena *a, struct slice text, const char *file, struct conf_node **ret_root, struct conf_errors *errors);
/* What gateway, hub and services do with their resolved file: parse, decode as CONF_RESOLVED; the first error goes to *reterr. */
enum ficus_err conf_json_load(struct arena *a, struct slice text, const char *file, const struct conf_table *table, void *value,
                              struct ficus_error *reterr);

/* "64KiB", "512B", "2GiB": a whole number and one unit. */
bool conf_size_parse(struct slice s, int64_t *ret_bytes);
/* The shortest exact form of it; text: at least 24 bytes. */
void conf_size_format(int64_t bytes, char *ret_text, size_t size);
/* Checks for .check: a lower-case name with digits, '-' and '_' (1 to 63, starts with a letter); one with dots as well. */
const char *conf_check_name(struct slice text);
const char *conf_check_dotted(struct slice text);

#endif
