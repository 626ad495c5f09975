/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy_target.h"

#include "assert.h"
#include "h1_chars.h"
#include "mem.h"
#include "text.h"

enum { TARGET_SIZE_MAX = 64 * 1024 };
enum { PARAM_NONE = -1 /* the last piece has none */, PARAM_REST = -2, PARAM_USER = -3 };

struct piece {
    struct slice text;
    int param; /* index into params, or one of PARAM_* */
};

/* ---- cutting ---- */

/* Which value a segment of a target stands for: PARAM_NONE when it is none that the path has. */
static int param_index(struct slice path, struct slice segment, bool last)
{
    if (slice_eq_str(segment, "**"))
        return last && slice_ends(path, SLICE("/**")) ? PARAM_REST : PARAM_NONE;
    if (slice_eq_str(segment, "{jwt.sub}"))
        return PARAM_USER;
    for (int index = 0; path.p != NULL;) {
        struct slice other = slice_cut(&path, '/');
        if (!proxy_is_param(other))
            continue;
        if (slice_eq(other, segment))
            return index;
        index++;
    }
    return PARAM_NONE;
}

static bool path_chars_valid(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        bool broken = s.p[i] == '%' && (s.size - i < 3 || !h1_is(s.p[i + 1], H1_HEX) || !h1_is(s.p[i + 2], H1_HEX));
        if (broken || !h1_is(s.p[i], H1_PATH))
            return false;
    }
    return true;
}

/* What RFC 9112 3.2 allows in a target, but for its parameters: what is made of it is not judged again. */
static bool target_valid(const char *text)
{
    struct slice query = slice_str(text), path = slice_cut(&query, '?');
    if (path.size == 0 || path.p[0] != '/')
        return false;
    while (path.p != NULL) {
        struct slice segment = slice_cut(&path, '/');
        if (!proxy_is_param(segment) && !path_chars_valid(segment))
            return false;
    }
    return query.size == 0 || h1_span(query.p, query.p + query.size, H1_QUERY) == query.p + query.size;
}

static enum ficus_err target_compile(struct arena *a, const char *path, const char *text, struct proxy_target *t,
                                     struct ficus_error *reterr)
{
    struct slice query = slice_str(text), rest = slice_cut(&query, '?');
    struct piece pieces[PROXY_PARAMS_MAX + 2];
    if (!target_valid(text))
        return err_set(reterr, FICUS_ERR_INVALID,
                       "route %s: target %s has a character that a path cannot have, or does not begin with / (others are written as %%XX)",
                       path, text);
    const char *begin = text;
    size_t count = 0;
    while (rest.p != NULL) {
        struct slice segment = slice_cut(&rest, '/');
        if (!proxy_is_param(segment) && !slice_eq_str(segment, "**"))
            continue;
        int param = param_index(slice_str(path), segment, rest.p == NULL);
        if (param == PARAM_NONE || count > PROXY_PARAMS_MAX)
            return err_set(reterr, FICUS_ERR_INVALID, "route %s: target %s has " SLICE_FMT ", the path has not", path,
                           text, SLICE_ARG(segment));
        pieces[count++] = (struct piece){slice_make(begin, (size_t)(segment.p - begin)), param};
        begin = segment.p + segment.size;
    }
    pieces[count++] = (struct piece){slice_str(begin), PARAM_NONE};
    struct piece *own = ARENA_ARRAY(a, struct piece, count);
    if (own == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    memcpy(own, pieces, count * sizeof *own);
    *t = (struct proxy_target){own, count};
    return FICUS_ERR_OK;
}

enum ficus_err proxy_targets_compile(struct arena *a, const struct proxy_route *route,
                                     const struct proxy_target **ret_targets, struct ficus_error *reterr)
{
    enum proxy_kind kind = proxy_route_kind(route);
    size_t count = kind == PROXY_COMPOSE    ? route->part_count
                   : route->split_count > 0 ? route->split_count
                                            : kind == PROXY_FORWARD;
    bool falls_back = kind == PROXY_FORWARD && route->fallback != NULL && route->fallback->service != NULL;
    enum ficus_err err = FICUS_ERR_OK;
    struct proxy_target *targets = ARENA_ARRAY(a, struct proxy_target, count + falls_back);
    if (targets == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    for (size_t i = 0; err == FICUS_ERR_OK && i < count; i++)
        err = target_compile(a, route->path,
                             kind == PROXY_COMPOSE    ? route->parts[i].target
                             : route->split_count > 0 ? route->splits[i].target
                                                      : route->target,
                             &targets[i], reterr);
    if (err == FICUS_ERR_OK && falls_back)
        err = target_compile(a, route->path, route->fallback->target, &targets[count], reterr);
    *ret_targets = targets;
    return err;
}

/* ---- writing ---- */

/* What follows a piece's text: so many values, with slashes between. */
static const struct slice *piece_values(const struct piece *piece, const struct proxy_match *m, const struct slice *user,
                                        size_t *ret_count)
{
    *ret_count = piece->param == PARAM_NONE ? 0 : piece->param == PARAM_REST ? m->rest_count : 1;
    return piece->param >= 0 ? &m->params[piece->param] : piece->param == PARAM_REST ? m->rest : user;
}

/* Of a user, who cannot be a segment that means another one. */
static bool is_segment(struct slice user)
{
    return user.size > 0 && !slice_eq_str(user, ".") && !slice_eq_str(user, "..");
}

struct slice proxy_target_write(const struct proxy_target *t, const struct proxy_match *m, struct slice user,
                                struct slice query, struct arena *a)
{
    if (t->count == 1 && query.p == NULL)
        return t->pieces[0].text;
    size_t size = query.p == NULL ? 0 : query.size + 1, count;
    for (size_t i = 0; i < t->count; i++) {
        const struct slice *values = piece_values(&t->pieces[i], m, &user, &count);
        if (values == &user && count > 0 && !is_segment(user))
            return SLICE_NONE;
        size += t->pieces[i].text.size + (count > 1 ? count - 1 : 0);
        for (size_t k = 0; k < count; k++)
            size += text_percent_size(values[k]);
    }
    char *text = size > TARGET_SIZE_MAX ? NULL : arena_alloc(a, size), *at = text;
    if (text == NULL)
        return SLICE_NONE;
    for (size_t i = 0; i < t->count; i++) {
        const struct slice *values = piece_values(&t->pieces[i], m, &user, &count);
        at = mempcpy(at, t->pieces[i].text.p, t->pieces[i].text.size);
        for (size_t k = 0; k < count; k++) {
            if (k > 0)
                *at++ = '/';
            at = text_percent_put(at, values[k]);
        }
    }
    if (query.p != NULL) {
        *at++ = '?';
        at = mempcpy(at, query.p, query.size);
    }
    FICUS_ASSERT((size_t)(at - text) == size);
    return slice_make(text, size);
}
