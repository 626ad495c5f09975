/* SPDX-License-Identifier: Apache-2.0
 *
 * Only the names that this gateway goes by, its own and those of its routes: a page elsewhere whose name is made to
 * lead here (DNS rebinding) sends its own name and is refused, 421 (RFC 9110 15.5.20).
 */
#include "proxy_private.h"

enum proxy_verdict filter_host(struct proxy_request *q)
{
    const struct proxy_snapshot *s = q->snapshot;
    if (proxy_router_knows_host(s->router, s->config, q->stream->head_in->authority))
        return PROXY_PASS;
    proxy_problem(q, 421, "unknown_host", "this gateway does not answer for the host that the request names", NULL, 0);
    return PROXY_ANSWERED;
}
