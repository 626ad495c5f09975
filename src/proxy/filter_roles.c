/* SPDX-License-Identifier: Apache-2.0
 *
 * What the user may do: any of the route's roles. What a user may see of other users' things is the service's to
 * decide.
 */
#include "access_log.h"
#include "proxy_private.h"

enum proxy_verdict filter_roles(struct proxy_request *q)
{
    const struct proxy_route *route = q->route;
    if (route->role_count == 0)
        return PROXY_PASS;
    for (size_t i = 0; i < route->role_count; i++)
        for (size_t k = 0; k < q->role_count; k++)
            if (slice_eq_str(q->roles[k], route->roles[i]))
                return PROXY_PASS;
    metric_inc(METRIC(q->proxy->metrics[PROXY_AUTH_FAILURES], SLICE("role")));
    q->flags |= ACCESS_UAEX;
    proxy_problem(q, 403, "role", "this path needs a role that the user has not", NULL, 0);
    return PROXY_ANSWERED;
}
