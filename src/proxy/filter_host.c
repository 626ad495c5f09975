/* SPDX-License-Identifier: Apache-2.0
 *
 * Only the names that this gateway goes by: a page elsewhere whose name is made to lead here (DNS rebinding) sends its
 * own name and is refused, 421 (RFC 9110 15.5.20).
 */
#include "proxy_private.h"

enum proxy_verdict filter_host(struct proxy_request *q)
{
    const struct proxy_config *config = q->snapshot->config;
    struct slice host = q->stream->head_in->authority;
    for (size_t i = 0; host.p != NULL && i < config->host_count; i++)
        if (slice_eq_nocase(host, slice_str(config->hosts[i])))
            return PROXY_PASS;
    proxy_problem(q, 421, "unknown_host", "this gateway does not answer for the host that the request names", NULL, 0);
    return PROXY_ANSWERED;
}
