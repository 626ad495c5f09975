/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of a schema without what has no effect. Whether a word is a keyword depends on where it stands: in
 * "properties" and "$defs" the members are names of any kind, in "enum" and "const" all is data.
 */
#include "jschema_private.h"

#include "mem.h"

#include <stdlib.h>

enum place { AT_SCHEMA, AT_NAMES, AT_DATA };

bool jschema_word_is_empty(struct slice keyword)
{
    static const char *const words[] = {"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (slice_eq_str(keyword, words[i]))
            return true;
    return false;
}

static enum place place_of(enum place at, struct slice key)
{
    static const char *const names[] = {"properties", "patternProperties", "$defs"};
    if (at == AT_NAMES)
        return AT_SCHEMA;
    if (at == AT_DATA || slice_eq_str(key, "enum") || slice_eq_str(key, "const"))
        return AT_DATA;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (slice_eq_str(key, names[i]))
            return AT_NAMES;
    return AT_SCHEMA;
}

static int by_key(const void *a, const void *b)
{
    return slice_cmp((*(const struct json *const *)a)->key, (*(const struct json *const *)b)->key);
}

/* Recursion: as deep as the text, which the reader bounds. */
static bool write(struct json_writer *w, const struct json *v, enum place at)
{
    if (v->type == JSON_ARRAY) {
        bool ok = true;
        json_write_array(w);
        for (const struct json *c = v->first; c != NULL && ok; c = c->next)
            ok = write(w, c, at);
        json_write_end(w);
        return ok;
    }
    if (v->type != JSON_OBJECT) {
        json_write_value(w, v);
        return true;
    }
    const struct json **members = mem_array(v->count + 1, sizeof *members);
    size_t count = 0;
    if (members == NULL)
        return false;
    for (const struct json *c = v->first; c != NULL; c = c->next)
        if (at != AT_SCHEMA || !jschema_word_is_empty(c->key))
            members[count++] = c;
    qsort(members, count, sizeof *members, by_key);
    bool ok = true;
    json_write_object(w);
    for (size_t i = 0; i < count && ok; i++) {
        json_write_key_slice(w, members[i]->key);
        ok = write(w, members[i], place_of(at, members[i]->key));
    }
    json_write_end(w);
    mem_free(members);
    return ok;
}

bool jschema_meaning(const struct jschema *s, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    return write(&w, s->root->at, AT_SCHEMA) && !buf_failed(out);
}
