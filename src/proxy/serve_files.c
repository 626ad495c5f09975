/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers from the files of a folder: GET and HEAD, validated by ETag (RFC 9110 13.1.2), under a strict content
 * security policy. Ranges are ignored, as RFC 9110 14.2 allows; nothing is compressed.
 */
#include "proxy_private.h"

#include "mem.h"

static const struct http_field security[] = {
    {SLICE("Cache-Control"), SLICE("no-cache")}, /* kept, but asked about each time */
    {SLICE("Content-Security-Policy"),
     SLICE("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
           "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")},
    {SLICE("X-Content-Type-Options"), SLICE("nosniff")},
    {SLICE("Referrer-Policy"), SLICE("same-origin")},
    {SLICE("Cross-Origin-Opener-Policy"), SLICE("same-origin")},
    {SLICE("Cross-Origin-Resource-Policy"), SLICE("same-origin")},
    {SLICE("Permissions-Policy"), SLICE("camera=(), geolocation=(), microphone=()")},
};

/* Whether a list of entity tags has this one, by weak comparison (RFC 9110 8.8.3.2). */
static bool list_has_tag(struct slice list, struct slice tag)
{
    while (list.size > 0) {
        if (list.p[0] != '"') {
            list = slice_from(list, 1); /* blank, comma, the mark W/ */
            continue;
        }
        ptrdiff_t close = slice_find(slice_from(list, 1), '"');
        if (close < 0)
            return false;
        struct slice one = slice_make(list.p, (size_t)close + 2);
        if (slice_eq(one, tag))
            return true;
        list = slice_from(list, one.size);
    }
    return false;
}

static bool is_known(const struct http_msg *m, struct slice tag)
{
    struct slice value;
    for (size_t pos = 0; http_msg_next(m, "if-none-match", &pos, &value);)
        if (slice_eq_str(value, "*") || list_has_tag(value, tag))
            return true;
    return false;
}

static void answer_entry(struct proxy_request *q, const struct files_entry *e)
{
    struct http_field fields[PROXY_FIELDS_MAX] = {{SLICE("ETag"), slice_str(e->etag)},
                                                  {SLICE("Content-Type"), slice_str(e->type)}};
    size_t own = 2;
    bool known = is_known(q->stream->head_in, fields[0].value);
    if (known)
        own = 1;
    memcpy(fields + own, security, sizeof security);
    proxy_answer_with(q, known ? 304 : 200, fields, own + ARRAY_COUNT(security), known ? SLICE_NONE : e->body, true);
}

/* A folder without its slash: relative links in its page would lead elsewhere. */
static void redirect(struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    char *place = arena_printf(q->stream->arena, SLICE_FMT "/%s" SLICE_FMT, SLICE_ARG(m->path),
                               m->query.p == NULL ? "" : "?", SLICE_ARG(m->query));
    struct http_field fields[1 + ARRAY_COUNT(security)] = {{SLICE("Location"), slice_str(place)}};
    memcpy(fields + 1, security, sizeof security);
    if (place != NULL)
        proxy_answer_with(q, 308, fields, ARRAY_COUNT(fields), SLICE_NONE, true);
    else
        proxy_problem(q, 431, NULL, "the request head takes too much memory", NULL, 0);
}

/* A browser that goes to a page, not one that misses a picture. */
static bool wants_page(const struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    struct slice last = q->match.rest[q->match.rest_count - 1], value;
    if (slice_find(last, '.') >= 0)
        return false;
    for (size_t pos = 0; http_msg_next(m, "accept", &pos, &value);)
        while (value.p != NULL) {
            struct slice type = slice_cut(&value, ',');
            if (slice_eq_nocase(slice_trim(slice_cut(&type, ';')), SLICE("text/html")))
                return true;
        }
    return false;
}

/* The file of the path; a folder's is its index.html. *ret_folder: the path names a folder and lacks the slash. */
static const struct files_entry *find(struct proxy_request *q, bool *ret_folder)
{
    const struct files *files = q->snapshot->files;
    const char *folder = q->route->files;
    struct buf path;
    buf_init(&path, 16 * 1024);
    for (size_t i = 0; i < q->match.rest_count; i++) {
        (void)buf_add_str(&path, i == 0 ? "" : "/");
        (void)buf_add_slice(&path, q->match.rest[i]);
    }
    bool is_folder = q->match.rest[q->match.rest_count - 1].size == 0;
    const struct files_entry *e = is_folder ? NULL : files_get(files, folder, buf_slice(&path));
    if (e == NULL) {
        (void)buf_add_str(&path, is_folder ? "index.html" : "/index.html");
        e = buf_failed(&path) ? NULL : files_get(files, folder, buf_slice(&path));
        *ret_folder = e != NULL && !is_folder;
    }
    buf_done(&path);
    return e;
}

void proxy_answer_file(struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    if (!slice_eq_str(m->method, "GET") && !slice_eq_str(m->method, "HEAD")) {
        struct http_field allow = {SLICE("Allow"), SLICE("GET, HEAD")};
        proxy_problem(q, 405, "method", "this path can only be read", &allow, 1);
        return;
    }
    bool lacks_slash = false;
    const struct files_entry *e = find(q, &lacks_slash);
    if (e == NULL && q->route->fallback != NULL && wants_page(q))
        e = files_get(q->snapshot->files, q->route->files, slice_str(q->route->fallback));
    if (e == NULL)
        proxy_problem(q, 404, "no_route", "there is nothing under this path", NULL, 0);
    else if (lacks_slash)
        redirect(q);
    else
        answer_entry(q, e);
}
