/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON to a tree with places, on the strict reader of base.
 */
#include "assert.h"
#include "conf.h"

struct converter {
    struct arena *arena;
    struct slice text;
    const char *file;
    /* Places are asked for in rising order: count on from the last one. */
    size_t offset;
    uint32_t line, column;
};

static void place(struct converter *c, size_t offset, uint32_t *ret_line, uint32_t *ret_column)
{
    FICUS_ASSERT(offset >= c->offset);
    uint32_t lines, columns;
    json_position(slice_from(c->text, c->offset), offset - c->offset, &lines, &columns);
    c->column = lines > 1 ? columns : c->column + columns - 1;
    c->line += lines - 1;
    c->offset = offset;
    *ret_line = c->line;
    *ret_column = c->column;
}

static bool copy_text(struct converter *c, struct slice from, struct slice *ret_text)
{
    *ret_text = arena_slice(c->arena, from);
    return ret_text->p != NULL;
}

/* Recursion is bounded by CONF_DEPTH_MAX: the reader was told so. */
static struct conf_node *convert(struct converter *c, const struct json *v, struct conf_node *parent)
{
    struct conf_node *n = ARENA_NEW(c->arena, struct conf_node);
    if (n == NULL)
        return NULL;
    n->file = c->file;
    n->parent = parent;
    if (parent != NULL && parent->kind == CONF_MAP_NODE) {
        place(c, json_key_offset(v, c->text), &n->key_line, &n->key_column);
        if (!copy_text(c, v->key, &n->key))
            return NULL;
    }
    place(c, v->offset, &n->line, &n->column);
    if (n->key_line == 0) {
        n->key_line = n->line;
        n->key_column = n->column;
    }
    n->kind = v->type == JSON_OBJECT ? CONF_MAP_NODE : v->type == JSON_ARRAY ? CONF_LIST_NODE : v->type == JSON_NULL ? CONF_NULL : CONF_SCALAR;
    n->quoted = v->type == JSON_STRING;
    if (n->kind == CONF_SCALAR &&
        !copy_text(c, v->type == JSON_TRUE ? SLICE("true") : v->type == JSON_FALSE ? SLICE("false") : v->text, &n->text))
        return NULL;
    struct conf_node **link = &n->first;
    for (const struct json *child = v->first; child != NULL; child = child->next) {
        struct conf_node *inner = convert(c, child, n);
        if (inner == NULL)
            return NULL;
        inner->index = n->count++;
        *link = inner;
        link = &inner->next;
    }
    return n;
}

/* "12:3: message" from the reader to place and message. */
static enum ficus_err add_reader_error(struct conf_errors *errors, const char *file, const struct ficus_error *err)
{
    struct slice rest = slice_str(err->text);
    uint64_t line = 1, column = 1;
    struct slice line_text = slice_cut(&rest, ':');
    struct slice column_text = slice_cut(&rest, ':');
    if (slice_to_u64(line_text, &line) && slice_to_u64(column_text, &column))
        conf_error_place(errors, err->code, file, (uint32_t)line, (uint32_t)column, "%.*s", SLICE_ARG(slice_trim(rest)));
    else
        conf_error_place(errors, err->code, file, 1, 1, "%s", err->text);
    return err->code;
}

enum ficus_err conf_json_parse(struct arena *a, struct slice text, const char *file, struct conf_node **ret_root, struct conf_errors *errors)
{
    const struct json_limits limits = {.depth_max = CONF_DEPTH_MAX - 1, .size_max = CONF_JSON_SIZE_MAX,
                                       .values_max = CONF_JSON_SIZE_MAX};   /* the size bounds them well enough */
    struct ficus_error err = {0};
    struct json *root;
    enum ficus_err code = json_parse(a, text, &limits, &root, &err);
    if (code != FICUS_ERR_OK)
        return add_reader_error(errors, file, &err);
    struct converter c = {.arena = a, .text = text, .file = file, .line = 1, .column = 1};
    struct conf_node *node = convert(&c, root, NULL);
    if (node == NULL) {
        conf_error_place(errors, FICUS_ERR_NOMEM, file, 1, 1, "out of memory");
        return FICUS_ERR_NOMEM;
    }
    *ret_root = node;
    return FICUS_ERR_OK;
}

enum ficus_err conf_json_load(struct arena *a, struct slice text, const char *file, const struct conf_table *table, void *value,
                              struct ficus_error *reterr)
{
    struct conf_errors errors;
    struct conf_node *root;
    conf_errors_init(&errors, a);
    if (conf_json_parse(a, text, file, &root, &errors) == FICUS_ERR_OK)
        (void)conf_decode(root, table, CONF_RESOLVED, value, a, &errors);   /* failures are in errors */
    return conf_errors_first(&errors, reterr);
}
