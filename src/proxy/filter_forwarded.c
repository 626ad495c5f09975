/* SPDX-License-Identifier: Apache-2.0
 *
 * What a service is told of the way a request came: X-Forwarded-For, -Proto and -Host, and Via (RFC 9110 7.6.3). What a
 * client says of that itself is dropped, or anybody could be anybody; but a peer in one of the blocks of trusted_proxies
 * is believed: its X-Forwarded-For is continued, its -Proto and -Host are kept when they can be true. Forwarded (RFC 7239)
 * is always dropped: two fields that say the same can differ. Who is the client then is decided as nginx does it
 * (real_ip_recursive).
 *
 * Max-Forwards (RFC 9110 7.6.2) counts the hops of OPTIONS; at 0 the gateway is where they end. TRACE comes to nobody.
 */
#include "proxy_private.h"

#include "h1_parse.h"
#include "text.h"

#include <string.h>

static bool counts_hops(struct slice method)
{
    return slice_eq_str(method, "OPTIONS");
}

enum proxy_verdict filter_hops(struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    uint64_t hops;
    if (!counts_hops(m->method) || !slice_to_u64(http_msg_first(m, HTTP_MAX_FORWARDS), &hops) || hops > 0)
        return PROXY_PASS;
    proxy_answer_with(q, 204, NULL, 0, SLICE(""), false);
    return PROXY_ANSWERED;
}

static bool is_trusted_address(const struct proxy_snapshot *s, const uint8_t bytes[16])
{
    for (size_t i = 0; i < s->trusted_count; i++)
        if (address_block_has(&s->trusted[i], bytes))
            return true;
    return false;
}

static bool is_trusted(const struct proxy_request *q, struct slice address)
{
    uint8_t bytes[16];
    return q->snapshot->trusted_count > 0 && address_parse(address, bytes) && is_trusted_address(q->snapshot, bytes);
}

/* "1.2.3.4, 5.6.7.8": what came, and who sent it. p NULL: the arena is full. */
static struct slice continued(struct proxy_request *q, struct slice address)
{
    const struct http_msg *m = q->stream->head_in;
    struct buf list;
    struct slice value;
    buf_init(&list, HTTP_HEAD_SIZE_MAX);
    bool ok = true;
    for (size_t pos = 0; http_msg_next(m, "x-forwarded-for", &pos, &value);)
        ok = (value.size == 0 || (buf_add_slice(&list, value) && buf_add_str(&list, ", "))) && ok;
    ok = buf_add_slice(&list, address) && ok;
    struct slice copy = ok ? arena_slice(q->stream->arena, buf_slice(&list)) : SLICE_NONE;
    buf_done(&list);
    return copy;
}

/* "1.2.3.4", "1.2.3.4:80", "[::1]:80", "::1": all of these are written. False: no address. */
static bool is_hop(struct slice text, struct slice *ret_address, uint8_t ret_bytes[16])
{
    *ret_address = text;
    if (address_parse(text, ret_bytes))
        return true;
    if (text.size > 2 && text.p[0] == '[' && text.p[text.size - 1] == ']')
        *ret_address = slice_make(text.p + 1, text.size - 2);
    else
        *ret_address = address_of_peer(text);
    return address_parse(*ret_address, ret_bytes);
}

struct slice proxy_client_address(const struct proxy_request *q)
{
    struct slice peer = q->peer_address, client = SLICE(""), value;
    if (!is_trusted(q, peer))
        return peer;
    /* From the front: whoever is not trusted is the client for all that is known so far; of trusted ones the first is, when
     * nobody stands before it. */
    for (size_t pos = 0; http_msg_next(q->stream->head_in, "x-forwarded-for", &pos, &value);)
        while (value.p != NULL) {
            struct slice hop;
            uint8_t bytes[16];
            struct slice element = slice_trim(slice_cut(&value, ','));
            if (element.size == 0)
                continue; /* RFC 9110 5.6.1.2 */
            if (!is_hop(element, &hop, bytes))
                client = SLICE("");
            else if (client.size == 0 || !is_trusted_address(q->snapshot, bytes))
                client = hop;
        }
    return client.size > 0 ? client : peer;
}

/* The one value of a field that a trusted proxy may set, when it is valid; else what we see ourselves. */
static struct slice believed(const struct http_msg *m, enum http_name id, bool (*valid)(struct slice), struct slice own)
{
    struct slice value = http_msg_single(m, id);
    return value.p != NULL && valid(value) ? value : own;
}

static bool is_scheme(struct slice s)
{
    return slice_eq_str(s, "http") || slice_eq_str(s, "https");
}

static bool add(struct http_field *fields, size_t *count, enum http_name id, struct slice name, struct slice value)
{
    if (value.size > 0)
        fields[(*count)++] = (struct http_field){name, value, id};
    return value.p != NULL;
}

static bool add_field(struct http_field *fields, size_t *count, struct http_field field)
{
    fields[(*count)++] = field;
    return true;
}

/* What a scheme of ours is said with. */
static struct http_field proto_field(struct slice proto)
{
    return slice_eq(proto, SLICE("http"))    ? HTTP_LINE(HTTP_X_FORWARDED_PROTO, "X-Forwarded-Proto", "http")
           : slice_eq(proto, SLICE("https")) ? HTTP_LINE(HTTP_X_FORWARDED_PROTO, "X-Forwarded-Proto", "https")
                                             : (struct http_field){SLICE("X-Forwarded-Proto"), proto, HTTP_X_FORWARDED_PROTO};
}

static struct slice hops_left(struct proxy_request *q)
{
    uint64_t hops;
    if (!counts_hops(q->stream->head_in->method) ||
        !slice_to_u64(http_msg_first(q->stream->head_in, HTTP_MAX_FORWARDS), &hops) || hops > INT64_MAX)
        return SLICE("");
    char *text = arena_alloc(q->stream->arena, TEXT_I64_SIZE);
    return text == NULL ? SLICE_NONE : slice_make(text, text_i64((int64_t)hops - 1, text));
}

bool proxy_forwarded_fields(struct proxy_request *q, struct http_field *fields, size_t *count)
{
    const struct http_msg *m = q->stream->head_in;
    struct slice address = q->peer_address;
    bool trusted = is_trusted(q, address), is_h1 = strcmp(q->stream->ops->protocol, "HTTP/1.1") == 0;
    struct slice proto = m->scheme, host = m->authority.p != NULL ? m->authority : SLICE("");
    if (trusted) {
        address = continued(q, address);
        proto = believed(m, HTTP_X_FORWARDED_PROTO, is_scheme, proto);
        host = believed(m, HTTP_X_FORWARDED_HOST, h1_authority_valid, host);
    }
    return add(fields, count, HTTP_X_FORWARDED_FOR, SLICE("X-Forwarded-For"), address) &&
           add_field(fields, count, proto_field(proto)) &&
           add(fields, count, HTTP_X_FORWARDED_HOST, SLICE("X-Forwarded-Host"), host) &&
           add_field(fields, count, is_h1 ? HTTP_LINE(HTTP_OTHER, "Via", "1.1 ficus") : HTTP_LINE(HTTP_OTHER, "Via", "2.0 ficus")) &&
           add(fields, count, HTTP_MAX_FORWARDS, SLICE("Max-Forwards"), hops_left(q));
}
