/* SPDX-License-Identifier: Apache-2.0
 *
 * Which route a request takes. Pure.
 *
 * Templates: "/a/{x}/b"; "**" as the last segment is all that follows, at least an empty segment. Of the routes that
 * fit host, path, method, headers and query the first in the order of proxy_route.h wins. A route without method fits
 * every method; GET answers HEAD too. A route that leads to no service (files, answer) stands back: it takes only what
 * no route of a more specific host or path fits, whatever its method, so that a catch-all hides no 405. Paths are
 * compared decoded. Refused, because two servers could read them differently: "." and ".." and empty segments (but one
 * at the end), encoded '/', '\', NUL and other control characters.
 *
 * One trie over the segments of the paths for each host, and one for routes without; hosts and segments are found by
 * hash, and at the end of a path the methods, and for each set of names of conditions the values, by hash as well. So
 * the cost of a request depends on its own size, on how many kinds of conditions its path has, and not on how many
 * routes there are.
 */
#ifndef FICUS_PROXY_ROUTER_H
#define FICUS_PROXY_ROUTER_H

#include "arena.h"
#include "err.h"
#include "proxy_route.h"

struct proxy_router;

/* routes are borrowed for the router's life. Errors: NOMEM; INVALID with the place: malformed template, unknown
 * parameter in a target, two routes that are the same (proxy_route_key), one with too many conditions, or two for one
 * name. */
enum ficus_err proxy_router_new(const struct proxy_route *routes, size_t route_count, struct proxy_router **ret_router,
                                struct ficus_error *reterr);
void proxy_router_free(struct proxy_router *r); /* NULL is fine */

struct proxy_target; /* what is known of a target beforehand */

struct proxy_match {
    size_t route;                          /* index: FOUND */
    const struct proxy_target *targets;    /* of that route, in the router */
    struct slice params[PROXY_PARAMS_MAX]; /* decoded, in order of the path template */
    size_t param_count;
    const struct slice *rest; /* decoded segments of ** */
    size_t rest_count;
    size_t part;       /* of a split, chosen behind the router; 0: the first, or the only one */
    const char *allow; /* OTHER_METHODS: value of the field Allow, in the arena */
};

/* Of the request its method, authority, path, query and fields. OTHER_METHODS: routes fit it in all but the method. */
enum proxy_found proxy_router_match(const struct proxy_router *r, const struct http_msg *m, struct arena *a,
                                    struct proxy_match *ret_match);
/* Whether clients may name this host: one of config's (as it is written there, port and all), or, whatever the port,
 * one that some route names, by itself or by *.name. */
bool proxy_router_knows_host(const struct proxy_router *r, const struct proxy_config *config, struct slice authority);
/* The service's path: the target (of the split's part) with its parameters put in, each encoded as one segment; then
 * the query unchanged. p NULL: arena full. The router that matched still lives. */
struct slice proxy_router_target(const struct proxy_match *m, struct slice query, struct arena *a);
/* The same for the other service of the route's fallback, which must have one. */
struct slice proxy_router_fallback(const struct proxy_router *r, const struct proxy_match *m, struct slice query,
                                   struct arena *a);
/* The same for one part of a composed answer; {jwt.sub} is user. p NULL: arena full, or a user whose name cannot stand
 * in a path. */
struct slice proxy_router_part(const struct proxy_match *m, size_t part, struct slice user, struct arena *a);

#endif
