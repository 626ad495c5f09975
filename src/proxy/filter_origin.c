/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages of other origins may not change anything here: a request that changes state and says that it comes from
 * elsewhere is refused (a WebSocket handshake as well, although it is a GET: browsers let any page make one, and its
 * answer can be read), and so are the content types that a form can send without being asked (Fetch standard,
 * "CORS-safelisted request-header").
 */
#include "proxy_private.h"

static bool changes_state(struct slice method)
{
    return !slice_eq_str(method, "GET") && !slice_eq_str(method, "HEAD") && !slice_eq_str(method, "OPTIONS");
}

/* "https://shop.example:8080": the authority; size 0 for "null", the malformed, and for a page of the plain kind that
 * anybody on its way may have changed when we speak TLS. (Without TLS there may be a proxy with it before us.) */
static struct slice origin_authority(struct slice origin, bool secure)
{
    static const struct slice schemes[] = {{"https://", 8}, {"http://", 7}};
    for (size_t i = 0; i < (secure ? 1 : 2); i++)
        if (origin.size > schemes[i].size && slice_eq_nocase(slice_make(origin.p, schemes[i].size), schemes[i]))
            return slice_from(origin, schemes[i].size);
    return SLICE("");
}

static bool is_form(struct slice content_type)
{
    static const char *const forms[] = {"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"};
    struct slice type = slice_trim(slice_cut(&content_type, ';'));
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (slice_eq_nocase(type, slice_str(forms[i])))
            return true;
    return false;
}

enum proxy_verdict filter_origin(struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    if (!changes_state(m->method) && m->protocol.p == NULL)
        return PROXY_PASS;
    struct slice value;
    bool foreign = false, secure = slice_eq_str(m->scheme, "https");
    for (size_t pos = 0; http_msg_next(m, "origin", &pos, &value);)
        foreign |= !slice_eq_nocase(origin_authority(value, secure), m->authority);
    for (size_t pos = 0; http_msg_next(m, "sec-fetch-site", &pos, &value);)
        foreign |= slice_eq_nocase(value, SLICE("cross-site"));
    if (foreign) {
        proxy_problem(q, 403, "cross_origin", "pages of another origin may not change anything here", NULL, 0);
        return PROXY_ANSWERED;
    }
    for (size_t pos = 0; http_msg_next(m, "content-type", &pos, &value);) {
        if (is_form(value)) {
            proxy_problem(q, 415, "form", "forms are not accepted; send application/json", NULL, 0);
            return PROXY_ANSWERED;
        }
    }
    return PROXY_PASS;
}
