/* SPDX-License-Identifier: Apache-2.0
 *
 * Which route the request takes, and whether its body may be as large as it says.
 */
#include "access_log.h"
#include "proxy_private.h"

/* RFC 9110 9.3, RFC 5789. Case matters. */
static bool is_known(struct slice method)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (slice_eq_str(method, methods[i]))
            return true;
    return false;
}

static void refuse_method(struct proxy_request *q, const char *allowed)
{
    struct http_field allow = {SLICE("Allow"), slice_str(allowed)};
    proxy_problem(q, 405, "method", "this path does not take this method", &allow, 1);
}

enum proxy_verdict filter_route(struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    switch (proxy_router_match(q->snapshot->router, m, q->stream->arena, &q->match)) {
    case PROXY_FOUND:
        q->route = &q->snapshot->config->routes[q->match.route];
        if (!slice_eq_str(m->method, "TRACE"))
            return PROXY_PASS;
        /* A service that does what RFC 9110 9.3.8 says would show its caller what the gateway adds: Ficus-Identity. */
        refuse_method(q, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
        break;
    case PROXY_BAD_PATH:
        proxy_problem(q, 400, "path",
                      "the path has dot segments, empty segments or characters that are not allowed there", NULL, 0);
        break;
    case PROXY_NO_ROUTE:
        q->flags |= ACCESS_NR;
        proxy_problem(q, 404, "no_route", "there is nothing under this path", NULL, 0);
        break;
    case PROXY_OTHER_METHODS:
        if (is_known(m->method))
            refuse_method(q, q->match.allow);
        else /* RFC 9110 9.1 */
            proxy_problem(q, 501, "method", "there is no such method", NULL, 0);
        break;
    case PROXY_NO_MEMORY:
        proxy_problem(q, 431, NULL, "the request head takes too much memory", NULL, 0);
        break;
    }
    return PROXY_ANSWERED;
}

enum proxy_verdict filter_size(struct proxy_request *q)
{
    if (q->stream->head_in->content_length <= q->route->body_size_max)
        return PROXY_PASS;
    proxy_problem(q, 413, "body_size", "the body is larger than this path takes", NULL, 0);
    return PROXY_ANSWERED;
}
