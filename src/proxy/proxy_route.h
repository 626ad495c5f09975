/* SPDX-License-Identifier: Apache-2.0
 *
 * One route by itself: what makes it fit a request, what makes two of them the same, and which of two goes first. The
 * router finds a route among many with these rules; explanations and lists use them one route at a time. Pure.
 *
 * The order of precedence is that of HTTPRoute in the Kubernetes Gateway API (v1, "HTTPRouteRule.matches"): of all
 * routes that fit a request, the first by
 *   1. host:    a whole name before *.name, of two *.name the longer, then routes without a host;
 *   2. path:    the first segment in which two paths differ decides: literal before {parameter} before **. For paths
 *               without {parameter} this is the Gateway API's rule (Exact before PathPrefix, the longer prefix first);
 * it has none for parameters, so there ours refines it;
 *   3. method:  one that is named before any; HEAD before GET, which answers HEAD as well;
 *   4. headers: the one with more of them;
 *   5. query:   the one with more of them;
 *   6. the first in the manifest.
 * A header or parameter that only has to be present counts as one with a value (the Gateway API says this with the
 * regular expression ".*").
 */
#ifndef FICUS_PROXY_PROXY_ROUTE_H
#define FICUS_PROXY_PROXY_ROUTE_H

#include "arena.h"
#include "http_msg.h"
#include "proxy_config.h"

enum { PROXY_SEGMENTS_MAX = 64, PROXY_PARAMS_MAX = 16, PROXY_HOST_SIZE_MAX = 253 };

enum proxy_found { PROXY_FOUND, PROXY_BAD_PATH, PROXY_NO_ROUTE, PROXY_OTHER_METHODS, PROXY_NO_MEMORY };

/* A path cut into decoded segments. */
struct proxy_path {
    size_t segment_count;
    bool separators; /* a segment holds an encoded '/' or '\\' */
    struct slice segments[PROXY_SEGMENTS_MAX];
};
/* path: raw, without query. FOUND, BAD_PATH, NO_ROUTE (it is no path but "*"), NO_MEMORY. */
enum proxy_found proxy_path_split(struct slice path, struct arena *a, struct proxy_path *ret_path);

/* The host that a request names, in lower case and without its port; size 0: none, or none that a route can have. text:
 * where it is put. */
struct slice proxy_host_of(struct slice authority, char text[PROXY_HOST_SIZE_MAX]);

/* What the request has for a condition: the value of the header (of several ones, joined by ", " as RFC 9110 5.3 reads
 * them) or of the query's first parameter of that name, decoded. SLICE_NONE: it has none, or it cannot be decoded, or
 * the arena is full. */
struct slice proxy_header_value(const struct http_msg *m, const struct proxy_cond *c, struct arena *a);
struct slice proxy_query_value(const struct http_msg *m, const struct proxy_cond *c, struct arena *a);

/* What of a route fits a request, and what does not. */
struct proxy_judgement {
    bool host, path, method;
    size_t segments;                         /* of the path that fit, from its begin: how near it is */
    const struct proxy_cond *header, *query; /* the first that does not; NULL: all do */
};
/* Takes the path as proxy_path_split gave it. */
struct proxy_judgement proxy_route_judge(const struct proxy_route *r, const struct http_msg *m,
                                         const struct proxy_path *path, struct arena *a);
bool proxy_judgement_fits(const struct proxy_judgement *j);

enum proxy_criterion {
    PROXY_BY_HOST,
    PROXY_BY_PATH,
    PROXY_BY_METHOD,
    PROXY_BY_HEADERS,
    PROXY_BY_QUERY,
    PROXY_BY_PLACE
};

/* Below 0: a goes before b for each request that both fit; 0: neither, so the place in the manifest decides. A total
 * order: routes that no request can both fit have a place in it, too. *ret_by (may be NULL): what decided. */
int proxy_route_compare(const struct proxy_route *a, const struct proxy_route *b, enum proxy_criterion *ret_by);

/* Equal texts: the same host, path (but for the names of parameters), method and conditions. False: out of memory. */
bool proxy_route_key(const struct proxy_route *r, struct buf *out);

/* The route stands back (proxy_router.h). */
static inline bool proxy_route_stands_back(const struct proxy_route *r)
{
    enum proxy_kind kind = proxy_route_kind(r);
    return kind == PROXY_FILES || kind == PROXY_ANSWER;
}

/* A segment of a template is {name}. */
static inline bool proxy_is_param(struct slice segment)
{
    return segment.size > 2 && segment.p[0] == '{' && segment.p[segment.size - 1] == '}';
}

#endif
