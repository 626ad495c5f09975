/* SPDX-License-Identifier: Apache-2.0
 *
 * See proxy_route.h.
 */
#include "proxy_route.h"

#include "text.h"

#include <stdio.h>
#include <strings.h>

/* ---- the request's side ---- */

enum { CHAR_ESCAPE = 1, CHAR_CONTROL = 2, CHAR_SEPARATOR = 4 };

static const uint8_t char_kinds[256] = {
    [0 ... 0x1f] = CHAR_CONTROL, [0x7f] = CHAR_CONTROL, ['%'] = CHAR_ESCAPE, ['/'] = CHAR_SEPARATOR, ['\\'] = CHAR_SEPARATOR};

/* Which kinds of characters are in it. */
static unsigned kinds_in(struct slice s)
{
    unsigned kinds = 0;
    for (size_t i = 0; i < s.size; i++)
        kinds |= char_kinds[(uint8_t)s.p[i]];
    return kinds;
}

static bool is_dots(struct slice s)
{
    return s.size <= 2 && s.size > 0 && s.p[0] == '.' && s.p[s.size - 1] == '.';
}

/* Where the segment at p ends, and which kinds of characters are in it. */
static const char *segment_end(const char *p, const char *end, unsigned *ret_kinds)
{
    unsigned kinds = 0;
    for (; p < end && *p != '/'; p++)
        kinds |= char_kinds[(uint8_t)*p];
    *ret_kinds = kinds;
    return p;
}

enum proxy_found proxy_path_split(struct slice path, struct arena *a, struct proxy_path *ret_path)
{
    const char *at = path.p, *end = path.p + path.size;
    ret_path->segment_count = 0;
    ret_path->separators = false;
    if (path.size == 0 || *at != '/')
        return PROXY_NO_ROUTE; /* "*" */
    while (at < end) {
        unsigned kinds;
        const char *begin = at + 1;
        at = segment_end(begin, end, &kinds);
        struct slice segment = slice_make(begin, (size_t)(at - begin));
        if (ret_path->segment_count == PROXY_SEGMENTS_MAX)
            return PROXY_BAD_PATH;
        if ((kinds & CHAR_ESCAPE) != 0) {
            if (!text_percent_decode(a, segment, false, &segment))
                return arena_overflowed(a) ? PROXY_NO_MEMORY : PROXY_BAD_PATH;
            kinds = kinds_in(segment);
        }
        if ((kinds & CHAR_CONTROL) != 0 || is_dots(segment) || (segment.size == 0 && at < end))
            return PROXY_BAD_PATH;
        ret_path->separators |= (kinds & CHAR_SEPARATOR) != 0;
        ret_path->segments[ret_path->segment_count++] = segment;
    }
    return PROXY_FOUND;
}

struct slice proxy_host_of(struct slice authority, char text[PROXY_HOST_SIZE_MAX])
{
    ptrdiff_t colon = slice_find(authority, ':'); /* an address in brackets is the host of no route */
    size_t size = colon >= 0 ? (size_t)colon : authority.size;
    if (authority.p == NULL || size > PROXY_HOST_SIZE_MAX)
        return SLICE("");
    for (size_t i = 0; i < size; i++) {
        char c = authority.p[i];
        text[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    return slice_make(text, size);
}

struct slice proxy_header_value(const struct http_msg *m, const struct proxy_cond *c, struct arena *a)
{
    struct slice value, all = SLICE_NONE;
    for (size_t pos = 0; http_msg_next(m, c->name, &pos, &value);) {
        if (all.p == NULL) {
            all = value;
            continue;
        }
        char *joined = arena_printf(a, SLICE_FMT ", " SLICE_FMT, SLICE_ARG(all), SLICE_ARG(value));
        if (joined == NULL)
            return SLICE_NONE;
        all = slice_make(joined, all.size + 2 + value.size);
    }
    return all;
}

struct slice proxy_query_value(const struct http_msg *m, const struct proxy_cond *c, struct arena *a)
{
    bool ok;
    return http_query_get(m->query, c->name, a, &ok);
}

/* ---- one route ---- */

static bool host_fits(const char *host, struct slice asked)
{
    if (host == NULL)
        return true;
    if (host[0] != '*')
        return slice_eq_str(asked, host);
    struct slice suffix = slice_from(slice_str(host), 1); /* ".example.org" */
    return asked.size > suffix.size && slice_ends(asked, suffix);
}

static bool path_fits(struct slice rest, const struct proxy_path *path, size_t *ret_segments)
{
    rest = slice_from(rest, 1);
    for (size_t i = 0; i < path->segment_count; i++) {
        *ret_segments = i;
        if (rest.p == NULL)
            return false;
        struct slice segment = slice_cut(&rest, '/');
        if (slice_eq_str(segment, "**"))
            return !path->separators;
        if (proxy_is_param(segment) ? path->segments[i].size == 0 : !slice_eq(segment, path->segments[i]))
            return false;
    }
    *ret_segments = path->segment_count;
    return rest.p == NULL;
}

static bool method_fits(const char *method, struct slice asked)
{
    return method[0] == '\0' || slice_eq_str(asked, method) ||
           (slice_eq_str(asked, "HEAD") && strcmp(method, "GET") == 0);
}

static const struct proxy_cond *
cond_missed(const struct proxy_cond *conds, size_t count, const struct http_msg *m, struct arena *a,
            struct slice (*value_of)(const struct http_msg *, const struct proxy_cond *, struct arena *))
{
    for (size_t i = 0; i < count; i++) {
        struct slice value = value_of(m, &conds[i], a);
        if (value.p == NULL || (conds[i].value != NULL && !slice_eq_str(value, conds[i].value)))
            return &conds[i];
    }
    return NULL;
}

struct proxy_judgement proxy_route_judge(const struct proxy_route *r, const struct http_msg *m,
                                         const struct proxy_path *path, struct arena *a)
{
    char text[PROXY_HOST_SIZE_MAX];
    struct proxy_judgement j = {
        .host = host_fits(r->host, proxy_host_of(m->authority, text)),
        .method = method_fits(r->method, m->method),
        .header = cond_missed(r->headers, r->header_count, m, a, proxy_header_value),
        .query = cond_missed(r->query, r->query_count, m, a, proxy_query_value),
    };
    j.path = path_fits(slice_str(r->path), path, &j.segments);
    return j;
}

bool proxy_judgement_fits(const struct proxy_judgement *j)
{
    return j->host && j->path && j->method && j->header == NULL && j->query == NULL;
}

/* ---- two routes ---- */

static int compare_sizes(size_t a, size_t b) /* the larger first */
{
    return a > b ? -1 : a < b;
}

static int host_class(const char *host)
{
    return host == NULL ? 2 : host[0] == '*';
}

static int compare_hosts(const char *a, const char *b)
{
    if (host_class(a) != host_class(b) || a == NULL || b == NULL)
        return host_class(a) - host_class(b);
    int longer = a[0] == '*' ? compare_sizes(strlen(a), strlen(b)) : 0;
    return longer != 0 ? longer : strcmp(a, b);
}

static int segment_class(struct slice segment)
{
    return slice_eq_str(segment, "**") ? 2 : proxy_is_param(segment);
}

static int compare_paths(struct slice a, struct slice b)
{
    while (a.p != NULL && b.p != NULL) {
        struct slice x = slice_cut(&a, '/'), y = slice_cut(&b, '/');
        int order = segment_class(x) - segment_class(y);
        if (order == 0 && segment_class(x) == 0)
            order = slice_cmp(x, y);
        if (order != 0)
            return order;
    }
    return (a.p != NULL) - (b.p != NULL);
}

static int method_class(const char *method)
{
    return method[0] == '\0' ? 2 : strcmp(method, "HEAD") != 0;
}

static int compare_methods(const char *a, const char *b)
{
    int order = method_class(a) - method_class(b);
    return order != 0 ? order : strcmp(a, b);
}

int proxy_route_compare(const struct proxy_route *a, const struct proxy_route *b, enum proxy_criterion *ret_by)
{
    const int orders[] = {
        [PROXY_BY_HOST] = compare_hosts(a->host, b->host),
        [PROXY_BY_PATH] = compare_paths(slice_str(a->path), slice_str(b->path)),
        [PROXY_BY_METHOD] = compare_methods(a->method, b->method),
        [PROXY_BY_HEADERS] = compare_sizes(a->header_count, b->header_count),
        [PROXY_BY_QUERY] = compare_sizes(a->query_count, b->query_count),
    };
    size_t by = 0;
    while (by < PROXY_BY_PLACE && orders[by] == 0)
        by++;
    if (ret_by != NULL)
        *ret_by = (enum proxy_criterion)by;
    return by < PROXY_BY_PLACE ? orders[by] : 0;
}

/* Conditions in the order of their names, each with its size, so that no value reads like another condition. */
static bool key_conds(struct buf *out, const struct proxy_cond *conds, size_t count, bool nocase)
{
    bool ok = buf_add_char(out, '\n');
    const struct proxy_cond *last = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct proxy_cond *next = NULL;
        for (size_t k = 0; k < count; k++) {
            int (*compare)(const char *, const char *) = nocase ? strcasecmp : strcmp;
            if ((last == NULL || compare(conds[k].name, last->name) > 0) &&
                (next == NULL || compare(conds[k].name, next->name) < 0))
                next = &conds[k];
        }
        if (next == NULL)
            break; /* a name twice; who makes routes refuses it */
        last = next;
        for (const char *c = next->name; *c != '\0'; c++)
            ok = buf_add_char(out, (char)(nocase && *c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c)) && ok;
        ok = (next->value == NULL ? buf_add_str(out, "?\n")
                                  : buf_printf(out, "=%zu:%s\n", strlen(next->value), next->value)) &&
             ok;
    }
    return ok;
}

bool proxy_route_key(const struct proxy_route *r, struct buf *out)
{
    bool ok = buf_printf(out, "%s %s ", r->method, r->host == NULL ? "" : r->host);
    for (struct slice rest = slice_from(slice_str(r->path), 1); rest.p != NULL;) {
        struct slice segment = slice_cut(&rest, '/');
        ok = buf_add_char(out, '/') && buf_add_slice(out, proxy_is_param(segment) ? SLICE("{}") : segment) && ok;
    }
    return key_conds(out, r->headers, r->header_count, true) && key_conds(out, r->query, r->query_count, false) && ok;
}
