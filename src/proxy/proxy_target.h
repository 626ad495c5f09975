/* SPDX-License-Identifier: Apache-2.0
 *
 * The service's path that a route's request goes on with: a template, cut once when the routes are loaded, written for each
 * request with the values of its match.
 */
#ifndef FICUS_PROXY_PROXY_TARGET_H
#define FICUS_PROXY_PROXY_TARGET_H

#include "proxy_router.h"

/* Cut: literal text before each value. */
struct piece;
struct proxy_target {
    const struct piece *pieces; /* behind the route's targets */
    size_t count;
};

/* Those of a route: one, or one for each part of its split or its composed answer, and one for its fallback, in this order; in the
 * arena. INVALID: one names what the route's path has not, or has a character that no target may have (RFC 9112 3.2); NOMEM. */
enum ficus_err proxy_targets_compile(struct arena *a, const struct proxy_route *route,
                                     const struct proxy_target **ret_targets, struct ficus_error *reterr);
/* With the values of a match, each encoded as one segment, and {jwt.sub} of user; then the query unchanged (SLICE_NONE: none). p NULL:
 * the arena is full, or the user is nobody whose name can stand in a path. */
struct slice proxy_target_write(const struct proxy_target *t, const struct proxy_match *m, struct slice user,
                                struct slice query, struct arena *a);

#endif
