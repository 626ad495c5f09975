/* SPDX-License-Identifier: Apache-2.0
 *
 * Which route a request takes: templates of whole segments, literal before parameter. Immutable after router_new, any
 * thread. Pure.
 */
#ifndef FICUS_SERVICE_ROUTER_H
#define FICUS_SERVICE_ROUTER_H

#include "arena.h"
#include "err.h"

#include <ficus/ficus.h>

enum { ROUTER_ROUTES_MAX = 256, ROUTER_SEGMENTS_MAX = 32 };

struct router_segment {
    struct slice text; /* literal, decoded; or the parameter's name */
    bool is_param;
};

struct router_route {
    const struct ficus_route *def;
    struct router_segment segments[ROUTER_SEGMENTS_MAX];
    size_t segment_count, param_count;
};

struct router;

/* routes: ends with a NULL method; borrowed. INVALID names the route that is wrong (bad method or path, a parameter
 * twice, two routes alike). */
enum ficus_err router_new(const struct ficus_route *routes, struct router **ret_router, struct ficus_error *reterr);
void router_free(struct router *r);

enum router_match { ROUTER_FOUND, ROUTER_NOT_FOUND, ROUTER_OTHER_METHOD, ROUTER_NOMEM };

/* path: raw. HEAD takes the GET route. FOUND: *ret_route, and *ret_params: its parameters, decoded, NUL-terminated, in
 * the arena. OTHER_METHOD: *ret_allow is the value for Allow, in the arena. A parameter is never empty and holds no
 * NUL. */
enum router_match router_find(const struct router *r, struct slice method, struct slice path, struct arena *a,
                              const struct router_route **ret_route, struct slice **ret_params,
                              struct slice *ret_allow);

#endif
