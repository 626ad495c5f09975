/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_template.h.
 */
#include "saga_template.h"

#include "text.h"

enum { TEMPLATE_TEXT_SIZE_MAX = 64 * 1024 };

const char *saga_id_check(struct slice id)
{
    bool fits = id.size >= 1 && id.size <= SAGA_ID_SIZE_MAX && text_printable_ascii(id) && slice_find(id, '/') < 0 &&
                !slice_eq_str(id, ".") && !slice_eq_str(id, "..");
    return fits ? NULL : "1 to 128 printable ASCII characters without \"/\", and neither \".\" nor \"..\": it becomes one segment of a path";
}

/* The next piece of *rest: text before a template, or (true) a template's name without braces. *rest is not empty. */
static bool next_piece(struct slice *rest, struct slice *ret_piece)
{
    if (rest->p[0] == '{') {
        ptrdiff_t end = slice_find(*rest, '}');
        if (end > 0) {
            *ret_piece = (struct slice){rest->p + 1, (size_t)end - 1};
            *rest = slice_from(*rest, (size_t)end + 1);
            return true;
        }
    }
    ptrdiff_t brace = slice_find(slice_from(*rest, 1), '{');
    size_t size = brace < 0 ? rest->size : (size_t)brace + 1;
    *ret_piece = (struct slice){rest->p, size};
    *rest = slice_from(*rest, size);
    return false;
}

static const struct slice input_prefix = SLICE("input."), signals_prefix = SLICE("signals.");

static bool name_valid(struct slice name, bool reason_allowed)
{
    if (slice_eq_str(name, "id"))
        return true;
    if (slice_eq_str(name, "reason"))
        return reason_allowed;
    bool input = slice_starts(name, input_prefix);
    if (!input && !slice_starts(name, signals_prefix))
        return false;
    struct slice rest = slice_from(name, input ? input_prefix.size : signals_prefix.size);
    do {
        struct slice member = slice_cut(&rest, '.');
        if (member.size == 0)
            return false;
        for (size_t i = 0; i < member.size; i++) {
            char c = member.p[i];
            if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
                return false;
        }
    } while (rest.p != NULL);
    return true;
}

const char *saga_template_check(struct slice text, bool reason_allowed)
{
    const char *allowed = reason_allowed ? "{id}, {input.NAME}, {signals.SIGNAL.NAME} and {reason}"
                                         : "{id}, {input.NAME} and {signals.SIGNAL.NAME}";
    while (text.size > 0) {
        struct slice piece;
        if (next_piece(&text, &piece)) {
            if (!name_valid(piece, reason_allowed))
                return allowed;
        } else if (slice_find(piece, '{') >= 0 || slice_find(piece, '}') >= 0) {
            return allowed;
        }
    }
    return NULL;
}

bool saga_template_signal(struct slice *text, struct slice *ret_name)
{
    struct slice piece;
    while (text->size > 0) {
        if (!next_piece(text, &piece) || !slice_starts(piece, signals_prefix))
            continue;
        piece = slice_from(piece, signals_prefix.size);
        *ret_name = slice_cut(&piece, '.');
        return true;
    }
    return false;
}

/* Of {input...} and {signals...}; NULL: absent. */
static const struct json *json_value(const struct saga_vars *vars, struct slice name)
{
    const struct json *v = vars->input;
    bool input = slice_starts(name, input_prefix);
    struct slice rest = slice_from(name, input ? input_prefix.size : signals_prefix.size);
    if (!input) {
        struct slice signal = slice_cut(&rest, '.');
        v = NULL;
        for (size_t i = 0; i < vars->signal_count; i++)
            if (slice_eq_str(signal, vars->signals[i].name))
                v = vars->signals[i].data;
    }
    while (v != NULL && rest.p != NULL)
        v = json_get_slice(v, slice_cut(&rest, '.'));
    return v;
}

/* The value as text: strings decoded, numbers as written. */
static enum ficus_err text_value(const struct saga_vars *vars, struct slice name, struct slice *ret_text,
                                 struct ficus_error *reterr)
{
    struct slice text = SLICE_NONE;
    if (slice_eq_str(name, "id")) {
        text = vars->id;
    } else if (slice_eq_str(name, "reason")) {
        text = vars->reason;
    } else {
        const struct json *v = json_value(vars, name);
        if (v != NULL && (v->type == JSON_STRING || v->type == JSON_NUMBER))
            text = v->text;
    }
    if (text.size == 0)
        return err_set(reterr, FICUS_ERR_INVALID, "{" SLICE_FMT "} is absent, empty, or neither text nor number",
                       SLICE_ARG(name));
    *ret_text = text;
    return FICUS_ERR_OK;
}

static enum ficus_err buf_error(const struct buf *b, struct ficus_error *reterr, const char *over)
{
    return buf_starved(b) ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory")
        : buf_failed(b) ? err_set(reterr, FICUS_ERR_TOO_LARGE, "%s", over) : FICUS_ERR_OK;
}

enum ficus_err saga_template_path(const char *path, const struct saga_vars *vars, struct buf *out,
                                  struct ficus_error *reterr)
{
    struct slice rest = slice_str(path), piece, text;
    while (rest.size > 0) {
        if (!next_piece(&rest, &piece)) {
            buf_add_slice(out, piece);
            continue;
        }
        enum ficus_err err = text_value(vars, piece, &text, reterr);
        if (err != FICUS_ERR_OK)
            return err;
        /* "." and ".." would be removed as dot segments on the way (RFC 3986, 5.2.4), encoded or not. */
        if (slice_eq_str(text, ".") || slice_eq_str(text, ".."))
            return err_set(reterr, FICUS_ERR_INVALID, "{" SLICE_FMT "} is a dot segment", SLICE_ARG(piece));
        text_percent_segment(out, text);
    }
    return buf_error(out, reterr, "the path is over its limit");
}

static enum ficus_err write_string(struct json_writer *w, struct slice text, const struct saga_vars *vars,
                                   struct ficus_error *reterr)
{
    struct slice rest = text, piece, value;
    if (rest.size > 0 && next_piece(&rest, &piece) && rest.size == 0 &&
        (slice_starts(piece, input_prefix) || slice_starts(piece, signals_prefix))) {
        const struct json *v = json_value(vars, piece);
        if (v == NULL)
            json_write_null(w);
        else
            json_write_value(w, v);
        return FICUS_ERR_OK;
    }
    struct buf filled;
    buf_init(&filled, TEMPLATE_TEXT_SIZE_MAX);
    enum ficus_err err = FICUS_ERR_OK;
    rest = text;
    while (rest.size > 0 && err == FICUS_ERR_OK) {
        if (!next_piece(&rest, &piece)) {
            buf_add_slice(&filled, piece);
            continue;
        }
        err = text_value(vars, piece, &value, reterr);
        if (err == FICUS_ERR_OK)
            buf_add_slice(&filled, value);
    }
    if (err == FICUS_ERR_OK)
        err = buf_error(&filled, reterr, "a text of the body is over 64 KiB");
    if (err == FICUS_ERR_OK)
        json_write_slice(w, (struct slice){buf_str(&filled), buf_slice(&filled).size});
    buf_done(&filled);
    return err;
}

/* Depth is bounded by the parser. */
static enum ficus_err write_filled(struct json_writer *w, const struct json *v, const struct saga_vars *vars,
                                   struct ficus_error *reterr)
{
    if (v->type == JSON_STRING)
        return write_string(w, v->text, vars, reterr);
    if (v->type != JSON_OBJECT && v->type != JSON_ARRAY) {
        json_write_value(w, v);
        return FICUS_ERR_OK;
    }
    bool is_object = v->type == JSON_OBJECT;
    if (is_object)
        json_write_object(w);
    else
        json_write_array(w);
    for (const struct json *child = v->first; child != NULL; child = child->next) {
        if (is_object)
            json_write_key_slice(w, child->key);
        enum ficus_err err = write_filled(w, child, vars, reterr);
        if (err != FICUS_ERR_OK)
            return err;
    }
    json_write_end(w);
    return FICUS_ERR_OK;
}

enum ficus_err saga_template_body(const char *body, const struct saga_vars *vars, struct arena *a, struct buf *out,
                                  struct ficus_error *reterr)
{
    struct json *root;
    const struct json_limits limits = {.depth_max = 24}; /* filled-in values may nest up to the writer's 64 */
    enum ficus_err err = json_parse(a, slice_str(body), &limits, &root, reterr);
    if (err != FICUS_ERR_OK)
        return err_wrap(reterr, "body");
    struct json_writer w;
    json_write_init(&w, out);
    err = write_filled(&w, root, vars, reterr);
    return err == FICUS_ERR_OK ? buf_error(out, reterr, "the body is over its limit") : err;
}
