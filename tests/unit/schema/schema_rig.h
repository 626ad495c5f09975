/* SPDX-License-Identifier: Apache-2.0
 *
 * Schemas and values from texts, written with ' for ", and the reasons as one text.
 */
#ifndef FICUS_TESTS_SCHEMA_RIG_H
#define FICUS_TESTS_SCHEMA_RIG_H

#include "jschema.h"
#include "mem.h"

#include <string.h>

struct rig {
    struct arena arena;
    struct jschema_faults faults;
    char said[4096];
};

static inline void rig_init(struct rig *r)
{
    *r = (struct rig){.faults = {.arena = &r->arena}};
    arena_init(&r->arena, 64 << 20);
}

static inline void rig_done(struct rig *r)
{
    arena_done(&r->arena);
}

static inline struct slice rig_text(struct rig *r, const char *text)
{
    char *copy = arena_strdup(&r->arena, slice_str(text));
    for (char *p = copy; *p != '\0'; p++)
        *p = *p == '\'' ? '"' : *p;
    return slice_str(copy);
}

static inline void rig_tell(struct rig *r)
{
    size_t size = 0;
    r->said[0] = '\0';
    for (size_t i = 0; i < r->faults.count && size < sizeof r->said - 600; i++)
        size += (size_t)snprintf(r->said + size, sizeof r->said - size, "%s: %s\n", r->faults.list[i].pointer, r->faults.list[i].text);
}

/* NULL: r->said tells. */
static inline struct jschema *rig_compile(struct rig *r, const char *text)
{
    struct jschema *s = NULL;
    enum ficus_err err = jschema_compile(&r->arena, rig_text(r, text), &s, &r->faults);
    rig_tell(r);
    assert_int_equal(err == FICUS_ERR_OK, s != NULL);
    return s;
}

static inline bool rig_check(struct rig *r, const struct jschema *s, const char *value)
{
    struct json *v = NULL;
    struct ficus_error error = {0};
    if (json_parse(&r->arena, rig_text(r, value), NULL, &v, &error) != FICUS_ERR_OK)
        fail_msg("%s: %s", value, error.text);
    bool quiet = jschema_check(s, v, NULL), ok = jschema_check(s, v, &r->faults);
    assert_int_equal(ok, quiet);
    assert_int_equal(ok, r->faults.count == 0);
    rig_tell(r);
    return ok;
}

#endif
