/* SPDX-License-Identifier: Apache-2.0
 *
 * Which route a request takes: a trie over the segments of the path templates. Pure.
 *
 * Templates: "/a/{x}/b"; "**" as the last segment is all that follows, at least an empty segment. Among the routes that
 * fit path and method the most specific wins: the first segment in which two of them differ decides, literal before
 * {parameter} before **. A route without method fits every method, but one that names it goes before; HEAD falls back
 * to GET. A route that leads to no service (files, answer) stands back: it takes only paths that no more specific route
 * has, whatever its method, so that a catch-all hides no 405. Paths are compared decoded. Refused, because two servers
 * could read them differently: "." and ".." and empty segments (but one at the end), encoded '/', '\', NUL and other
 * control characters.
 */
#ifndef FICUS_PROXY_ROUTER_H
#define FICUS_PROXY_ROUTER_H

#include "arena.h"
#include "err.h"
#include "proxy_config.h"

enum { PROXY_SEGMENTS_MAX = 64, PROXY_PARAMS_MAX = 16 };

struct proxy_router;

/* routes are borrowed for the router's life. Errors: NOMEM; INVALID with the place: malformed template, unknown
 * parameter in a target, two routes with the same method and (but for the names of parameters) the same path. */
enum ficus_err proxy_router_new(const struct proxy_route *routes, size_t route_count, struct proxy_router **ret_router,
                                struct ficus_error *reterr);
void proxy_router_free(struct proxy_router *r); /* NULL is fine */

enum proxy_found { PROXY_FOUND, PROXY_BAD_PATH, PROXY_NO_ROUTE, PROXY_OTHER_METHODS, PROXY_NO_MEMORY };

struct proxy_match {
    size_t route;                          /* index: FOUND */
    struct slice params[PROXY_PARAMS_MAX]; /* decoded, in order of the path template */
    size_t param_count;
    const struct slice *rest; /* decoded segments of ** */
    size_t rest_count;
    const char *allow; /* OTHER_METHODS: value of the field Allow, in the arena */
};

/* path: raw, without query. */
enum proxy_found proxy_router_match(const struct proxy_router *r, struct slice method, struct slice path,
                                    struct arena *a, struct proxy_match *ret_match);
/* The service's path: the target with its parameters put in, each encoded as one segment; then the query unchanged. p
 * NULL: arena full. */
struct slice proxy_router_target(const struct proxy_router *r, const struct proxy_match *m, struct slice query,
                                 struct arena *a);
/* The same for one part of a composed answer; {jwt.sub} is user. p NULL: arena full, or a user whose name cannot stand
 * in a path. */
struct slice proxy_router_part(const struct proxy_router *r, const struct proxy_match *m, size_t part,
                               struct slice user, struct arena *a);

#endif
