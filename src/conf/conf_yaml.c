/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML to a tree, by libyaml's event interface. libyaml 0.2.5 has no depth limit and is quadratic in nesting, does not see
 * duplicate keys, accepts UTF-16, and loses the place of a broken byte; all of that is handled here. Its own
 * document interface is not used: aliases make cycles there.
 */
#include "conf_yaml.h"

#include "assert.h"
#include "map.h"
#include "text.h"

#include <yaml.h>

struct yaml_reader {
    struct arena *arena;
    const char *file;
    struct conf_errors *errors;
    yaml_parser_t parser;
    struct conf_node *root, *open;
    struct conf_node *tail[CONF_DEPTH_MAX];     /* last child so far, per open container */
    unsigned depth;
    bool has_key;                           /* in a map: the key was read, its value follows */
    struct conf_node key;
    enum ficus_err code;
};

static bool fail_at(struct yaml_reader *r, const yaml_mark_t *mark, enum ficus_err code, const char *text)
{
    conf_error_place(r->errors, code, r->file, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1, "%s", text);
    r->code = code;
    return false;
}

static bool is_null(struct slice s)
{
    return s.size == 0 || slice_eq_str(s, "~") || slice_eq_str(s, "null") || slice_eq_str(s, "Null") || slice_eq_str(s, "NULL");
}

/* A key that stands before a value: kept until the value comes. */
static bool take_key(struct yaml_reader *r, const yaml_event_t *e)
{
    if (e->type != YAML_SCALAR_EVENT)
        return fail_at(r, &e->start_mark, FICUS_ERR_PARSE, "found a list or map as key, expected a plain word");
    r->key.key = arena_slice(r->arena, slice_make(e->data.scalar.value, e->data.scalar.length));
    if (r->key.key.p == NULL)
        return fail_at(r, &e->start_mark, FICUS_ERR_NOMEM, "out of memory");
    r->key.key_line = (uint32_t)e->start_mark.line + 1;
    r->key.key_column = (uint32_t)e->start_mark.column + 1;
    r->has_key = true;
    return true;
}

static struct conf_node *add_node(struct yaml_reader *r, const yaml_event_t *e, enum conf_kind kind)
{
    struct conf_node *n = ARENA_NEW(r->arena, struct conf_node);
    if (n == NULL) {
        (void)fail_at(r, &e->start_mark, FICUS_ERR_NOMEM, "out of memory");
        return NULL;
    }
    n->kind = kind;
    n->file = r->file;
    n->line = n->key_line = (uint32_t)e->start_mark.line + 1;
    n->column = n->key_column = (uint32_t)e->start_mark.column + 1;
    n->parent = r->open;
    if (r->open == NULL) {
        r->root = n;
        return n;
    }
    if (r->open->kind == CONF_MAP_NODE) {
        n->key = r->key.key;
        n->key_line = r->key.key_line;
        n->key_column = r->key.key_column;
        r->has_key = false;
    }
    n->index = r->open->count++;
    struct conf_node **tail = &r->tail[r->depth - 1];
    if (*tail == NULL)
        r->open->first = n;
    else
        (*tail)->next = n;
    *tail = n;
    return n;
}

static bool on_scalar(struct yaml_reader *r, const yaml_event_t *e)
{
    struct slice text = slice_make(e->data.scalar.value, e->data.scalar.length);
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (plain && is_null(text))
        return add_node(r, e, CONF_NULL) != NULL;
    struct conf_node *n = add_node(r, e, CONF_SCALAR);
    if (n == NULL)
        return false;
    n->quoted = !plain;
    n->text = arena_slice(r->arena, text);
    return n->text.p != NULL || fail_at(r, &e->start_mark, FICUS_ERR_NOMEM, "out of memory");
}

static bool on_open(struct yaml_reader *r, const yaml_event_t *e, enum conf_kind kind)
{
    if (r->depth == CONF_DEPTH_MAX - 1)
        return fail_at(r, &e->start_mark, FICUS_ERR_TOO_LARGE, "nested too deeply");
    struct conf_node *n = add_node(r, e, kind);
    if (n == NULL)
        return false;
    r->open = n;
    r->tail[r->depth++] = NULL;
    return true;
}

/* Every key that occurred before in the same map is an error of its own; reading goes on. */
static bool check_duplicates(struct yaml_reader *r, const struct conf_node *map)
{
    struct map seen;
    bool ok = true;
    map_init(&seen, (const uint64_t[2]){0, 0});
    for (struct conf_node *n = map->first; n != NULL && ok; n = n->next) {
        const struct conf_node *before = map_get(&seen, n->key);
        if (before != NULL) {
            conf_error_key(r->errors, n, "the key occurs twice, first in line %u", before->key_line);
            r->code = FICUS_ERR_INVALID;
        } else {
            ok = map_put(&seen, n->key, n);
        }
    }
    map_done(&seen);
    if (!ok)
        conf_error_key(r->errors, map, "out of memory");
    return ok;
}

static bool on_close(struct yaml_reader *r)
{
    FICUS_ASSERT(r->depth > 0);
    struct conf_node *closed = r->open;
    r->depth--;
    r->open = closed->parent;
    return closed->kind != CONF_MAP_NODE || check_duplicates(r, closed);
}

static bool refuse_properties(struct yaml_reader *r, const yaml_event_t *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (anchor != NULL)
        return fail_at(r, &e->start_mark, FICUS_ERR_PARSE, "anchors are not allowed");
    if (tag != NULL)
        return fail_at(r, &e->start_mark, FICUS_ERR_PARSE, "tags are not allowed");
    return true;
}

static bool on_event(struct yaml_reader *r, const yaml_event_t *e)
{
    if (!refuse_properties(r, e))
        return false;
    bool starts_value = e->type == YAML_SCALAR_EVENT || e->type == YAML_SEQUENCE_START_EVENT || e->type == YAML_MAPPING_START_EVENT;
    if (starts_value && r->open != NULL && r->open->kind == CONF_MAP_NODE && !r->has_key)
        return take_key(r, e);
    switch (e->type) {
    case YAML_SCALAR_EVENT: return on_scalar(r, e);
    case YAML_SEQUENCE_START_EVENT: return on_open(r, e, CONF_LIST_NODE);
    case YAML_MAPPING_START_EVENT: return on_open(r, e, CONF_MAP_NODE);
    case YAML_SEQUENCE_END_EVENT: case YAML_MAPPING_END_EVENT: return on_close(r);
    case YAML_ALIAS_EVENT: return fail_at(r, &e->start_mark, FICUS_ERR_PARSE, "aliases are not allowed");
    case YAML_DOCUMENT_START_EVENT:
        return r->root == NULL || fail_at(r, &e->start_mark, FICUS_ERR_PARSE, "a second document is not allowed");
    default: return true;
    }
}

static bool fail_syntax(struct yaml_reader *r, struct slice text)
{
    yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return fail_at(r, &p->mark, FICUS_ERR_NOMEM, "out of memory");
    yaml_mark_t mark = p->problem_mark;
    if (p->error == YAML_READER_ERROR) {
        uint32_t line, column;
        json_position(text, p->problem_offset, &line, &column);
        mark.line = line - 1;
        mark.column = column - 1;
    }
    const char *problem = p->problem == NULL ? "not valid YAML" : p->problem;
    if (p->error == YAML_SCANNER_ERROR && mark.index < text.size && text.p[mark.index] == '\t')
        problem = "found a tab; YAML takes only spaces here";
    const char *message = p->context == NULL
        ? arena_printf(r->arena, "%s", problem)
        : arena_printf(r->arena, "%s, %s (begun in line %zu)", problem, p->context, p->context_mark.line + 1);
    return fail_at(r, &mark, FICUS_ERR_PARSE, message == NULL ? problem : message);
}

static bool check_text(struct yaml_reader *r, struct slice text)
{
    if (text.size > CONF_TEXT_SIZE_MAX) {
        conf_error_place(r->errors, FICUS_ERR_TOO_LARGE, r->file, 1, 1, "%zu bytes, at most %d are allowed", text.size, (int)CONF_TEXT_SIZE_MAX);
        r->code = FICUS_ERR_TOO_LARGE;
        return false;
    }
    for (size_t i = 0; i < text.size;) {
        size_t step = text_utf8_step(text.p + i, text.size - i);
        if (step == 0) {
            uint32_t line, column;
            json_position(text, i, &line, &column);
            conf_error_place(r->errors, FICUS_ERR_PARSE, r->file, line, column, "not valid UTF-8");
            r->code = FICUS_ERR_PARSE;
            return false;
        }
        i += step;
    }
    return true;
}

static void read_events(struct yaml_reader *r, struct slice text)
{
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r->parser, &event)) {
            (void)fail_syntax(r, text);
            return;
        }
        more = event.type != YAML_STREAM_END_EVENT && on_event(r, &event);
        yaml_event_delete(&event);
    }
}

enum ficus_err conf_yaml_parse(struct arena *a, struct slice text, const char *file, struct conf_node **ret_root, struct conf_errors *errors)
{
    struct yaml_reader r = {.arena = a, .file = file, .errors = errors};
    if (!check_text(&r, text))
        return r.code;
    if (!yaml_parser_initialize(&r.parser)) {
        conf_error_place(errors, FICUS_ERR_NOMEM, file, 1, 1, "out of memory");
        return FICUS_ERR_NOMEM;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.p == NULL ? "" : text.p), text.size);
    read_events(&r, text);
    yaml_parser_delete(&r.parser);
    if (r.code != FICUS_ERR_OK)
        return r.code;
    if (r.root == NULL) {
        r.root = ARENA_NEW(a, struct conf_node);
        if (r.root == NULL) {
            conf_error_place(errors, FICUS_ERR_NOMEM, file, 1, 1, "out of memory");
            return FICUS_ERR_NOMEM;
        }
        *r.root = (struct conf_node){.kind = CONF_NULL, .file = file, .line = 1, .column = 1, .key_line = 1, .key_column = 1};
    }
    *ret_root = r.root;
    return FICUS_ERR_OK;
}
