/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading trees, and the list of errors.
 */
#include "assert.h"
#include "conf.h"
#include "text.h"

#include <stdio.h>

const struct conf_node *conf_get(const struct conf_node *map, const char *key)
{
    if (map == NULL || map->kind != CONF_MAP_NODE)
        return NULL;
    for (const struct conf_node *n = map->first; n != NULL; n = n->next)
        if (slice_eq_str(n->key, key))
            return n;
    return NULL;
}

const char *conf_path(struct arena *a, const struct conf_node *node)
{
    enum { PATH_SIZE_MAX = 2048, PATH_BUF = 256 };
    const struct conf_node *up[CONF_DEPTH_MAX + 2];
    size_t depth = 0;
    for (const struct conf_node *n = node; n->parent != NULL && depth < CONF_DEPTH_MAX + 2; n = n->parent)
        up[depth++] = n;
    struct buf b;
    buf_init(&b, PATH_SIZE_MAX);
    for (size_t i = depth; i-- > 0;) {
        if (up[i]->parent->kind == CONF_MAP_NODE)
            (void)buf_printf(&b, "%s%.*s", b.size > 0 ? "." : "", (int)(up[i]->key.size < PATH_BUF ? up[i]->key.size : PATH_BUF), up[i]->key.p);
        else
            (void)buf_printf(&b, "[%u]", up[i]->index);
    }
    /* A path that was cut still helps. */
    const char *path = arena_strdup(a, buf_slice(&b));
    buf_done(&b);
    return path == NULL ? "" : path;
}

static void write_plain(const struct conf_node *n, struct json_writer *w)
{
    int64_t number;
    if (!n->quoted && slice_eq_str(n->text, "true"))
        json_write_bool(w, true);
    else if (!n->quoted && slice_eq_str(n->text, "false"))
        json_write_bool(w, false);
    else if (!n->quoted && slice_to_i64(n->text, &number) && (n->text.size == 1 || n->text.p[0] != '0'))
        json_write_i64(w, number);
    else
        json_write_slice(w, n->text);
}

/* Recursion is bounded by CONF_DEPTH_MAX, which both readers keep; the writer has as many levels. */
void conf_node_write(const struct conf_node *node, struct json_writer *w)
{
    switch (node->kind) {
    case CONF_NULL:
        json_write_null(w);
        return;
    case CONF_SCALAR:
        write_plain(node, w);
        return;
    case CONF_LIST_NODE:
        json_write_array(w);
        for (const struct conf_node *n = node->first; n != NULL; n = n->next)
            conf_node_write(n, w);
        json_write_end(w);
        return;
    case CONF_MAP_NODE:
        json_write_object(w);
        for (const struct conf_node *n = node->first; n != NULL; n = n->next) {
            json_write_key_slice(w, n->key);
            conf_node_write(n, w);
        }
        json_write_end(w);
        return;
    }
}

/* ---- errors ---- */

void conf_errors_init(struct conf_errors *e, struct arena *arena)
{
    *e = (struct conf_errors){.arena = arena};
}

static void add(struct conf_errors *e, enum ficus_err code, const char *file, uint32_t line, uint32_t column, const char *path,
                const char *format, va_list args)
{
    if (e->count++ >= CONF_ERRORS_MAX)
        return;
    struct conf_error *error = ARENA_NEW(e->arena, struct conf_error);
    const char *message = arena_vprintf(e->arena, format, args);
    if (error == NULL || message == NULL)
        return;     /* counted, so that the caller still sees a failure */
    if (path != NULL && path[0] != '\0')
        message = arena_printf(e->arena, "%s: %s", path, message);
    *error = (struct conf_error){.file = file, .line = line, .column = column, .code = code, .text = message == NULL ? "" : message};
    if (e->last == NULL)
        e->first = error;
    else
        e->last->next = error;
    e->last = error;
}

void conf_error_value(struct conf_errors *e, const struct conf_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(e, FICUS_ERR_INVALID, node->file, node->line, node->column, conf_path(e->arena, node), format, args);
    va_end(args);
}

void conf_error_key(struct conf_errors *e, const struct conf_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(e, FICUS_ERR_INVALID, node->file, node->key_line, node->key_column, conf_path(e->arena, node), format, args);
    va_end(args);
}

void conf_error_place(struct conf_errors *e, enum ficus_err code, const char *file, uint32_t line, uint32_t column, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(e, code, file, line, column, NULL, format, args);
    va_end(args);
}

/* Number of the file in the order of first errors. */
static size_t file_rank(const struct conf_errors *e, const char *file)
{
    size_t rank = 0;
    for (const struct conf_error *x = e->first; x != NULL && strcmp(x->file, file) != 0; x = x->next)
        rank++;
    return rank;
}

static bool comes_before(const struct conf_errors *e, const struct conf_error *a, const struct conf_error *b)
{
    size_t ra = file_rank(e, a->file), rb = file_rank(e, b->file);
    if (ra != rb)
        return ra < rb;
    return a->line != b->line ? a->line < b->line : a->column < b->column;
}

/* Stable insertion sort of at most CONF_ERRORS_MAX errors into out. */
static size_t sorted(const struct conf_errors *e, const struct conf_error *out[CONF_ERRORS_MAX])
{
    size_t count = 0;
    for (const struct conf_error *x = e->first; x != NULL; x = x->next) {
        size_t i = count++;
        for (; i > 0 && comes_before(e, x, out[i - 1]); i--)
            out[i] = out[i - 1];
        out[i] = x;
    }
    return count;
}

void conf_errors_print(const struct conf_errors *e, struct buf *out)
{
    const struct conf_error *list[CONF_ERRORS_MAX];
    size_t count = sorted(e, list);
    for (size_t i = 0; i < count; i++)
        (void)buf_printf(out, "%s:%u:%u: %s\n", list[i]->file, list[i]->line, list[i]->column, list[i]->text);
    if (e->count > count)
        (void)buf_printf(out, "(%zu more errors)\n", e->count - count);
}

void conf_errors_write(const struct conf_errors *e, struct json_writer *w)
{
    const struct conf_error *list[CONF_ERRORS_MAX];
    size_t count = sorted(e, list);
    json_write_array(w);
    for (size_t i = 0; i < count; i++) {
        json_write_object(w);
        json_write_kv_str(w, "file", list[i]->file);
        json_write_kv_i64(w, "line", list[i]->line);
        json_write_kv_i64(w, "column", list[i]->column);
        json_write_kv_str(w, "message", list[i]->text);
        json_write_end(w);
    }
    json_write_end(w);
}

enum ficus_err conf_errors_first(const struct conf_errors *e, struct ficus_error *reterr)
{
    if (e->count == 0)
        return FICUS_ERR_OK;
    const struct conf_error *x = e->first;
    if (x == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    return err_set(reterr, x->code, "%s:%u:%u: %s", x->file, x->line, x->column, x->text);
}
