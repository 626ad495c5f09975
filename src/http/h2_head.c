/* SPDX-License-Identifier: Apache-2.0
 *
 * Fields of HTTP/2; see h2_head.h.
 */
#include "h2_head.h"

#include "assert.h"
#include "h1_parse.h"

static void refuse(struct h2_head *h, int status, const char *detail)
{
    if (h->status == 0) {
        h->status = status;
        h->detail = detail;
    }
}

static void refuse_memory(struct h2_head *h, const struct http_msg *m)
{
    if (arena_overflowed(m->arena))
        refuse(h, 431, "fields take too much memory");
    else
        refuse(h, 503, "out of memory");
}

static struct slice copy(struct h2_head *h, struct http_msg *m, struct slice s)
{
    struct slice own = arena_slice(m->arena, s);
    if (own.p == NULL)
        refuse_memory(h, m);
    return own;
}

/* Every field counts as RFC 9113 6.5.2 has it, also those that are dropped. */
static bool count_field(struct h2_head *h, const struct http_limits *limits, struct slice name, struct slice value)
{
    h->size += name.size + value.size + 32;
    h->count++;
    if (h->size > limits->head_size_max)
        refuse(h, 431, "request head is too large");
    else if (h->count > limits->field_count_max)
        refuse(h, 431, "too many fields");
    return h->status == 0;
}

/* nghttp2 has checked name and value (RFC 9113 8.2.1), as strictly as http_msg_add. */
static void add_field(struct h2_head *h, struct http_msg *m, enum http_name id, struct slice name, struct slice value)
{
    size_t name_size = id == HTTP_OTHER ? name.size : 0; /* the others are literals */
    char *p = arena_alloc(m->arena, name_size + value.size);
    if (p == NULL) {
        refuse_memory(h, m);
        return;
    }
    memcpy(p, name.p, name_size);
    if (value.size > 0)
        memcpy(p + name_size, value.p, value.size);
    const struct http_field field = {.name = id == HTTP_OTHER ? slice_make(p, name_size) : http_names[id],
                                     .value = slice_make(p + name_size, value.size),
                                     .id = id};
    FICUS_ASSERT_HOT(http_token_valid(field.name) && http_value_valid(field.value));
    if (!http_msg_keep(m, field))
        refuse_memory(h, m);
}

static void pseudo_field(struct h2_head *h, const struct http_limits *limits, struct http_msg *m, struct slice name,
                         struct slice value)
{
    struct slice *place = NULL;
    if (slice_eq(name, SLICE(":method")))
        place = &m->method;
    else if (slice_eq(name, SLICE(":scheme")))
        place = &m->scheme;
    else if (slice_eq(name, SLICE(":authority")))
        place = &m->authority;
    else if (slice_eq(name, SLICE(":path")))
        place = &m->path;
    else if (slice_eq(name, SLICE(":protocol")))
        place = &m->protocol;
    if (place == NULL)
        refuse(h, 400, "unknown pseudo-header field");
    else if (place == &m->path && value.size > limits->target_size_max)
        refuse(h, 414, "request target is too long");
    else
        *place = copy(h, m, value);
}

static void length_field(struct h2_head *h, struct http_msg *m, struct slice value)
{
    uint64_t length;
    if (h->has_length)
        refuse(h, 400, "more than one Content-Length");
    else if (!slice_to_u64(value, &length) || length > INT64_MAX)
        refuse(h, 400, "Content-Length is not a number");
    else
        m->content_length = (int64_t)length;
    h->has_length = true;
}

void h2_head_field(struct h2_head *h, const struct http_limits *limits, struct http_msg *m, struct slice name,
                   struct slice value)
{
    if (h->status != 0 || !count_field(h, limits, name, value))
        return;
    if (name.size > 0 && name.p[0] == ':') {
        h->count--; /* HTTP/1.1 has them in the request line */
        pseudo_field(h, limits, m, name, value);
        return;
    }
    enum http_name id = http_name_of(name);
    switch (id) {
    case HTTP_HOST:
        if (h->has_host)
            refuse(h, 400, "more than one Host");
        h->has_host = true;
        h->host = copy(h, m, value);
        return;
    case HTTP_CONTENT_LENGTH:
        length_field(h, m, value);
        return;
    case HTTP_EXPECT:
        if (h->expect_continue || !slice_eq_nocase(value, SLICE("100-continue")))
            refuse(h, 417, "unknown expectation");
        h->expect_continue = true;
        return;
    case HTTP_TE:
        m->takes_trailers = slice_eq_nocase(value, SLICE("trailers")); /* RFC 9113 8.2.2: nothing else may stand there */
        return;
    default:
        h->cookie_count += id == HTTP_COOKIE ? 1 : 0;
        if ((http_name_facts[id] & HTTP_NAME_HOP) == 0)
            add_field(h, m, id, name, value);
    }
}

/* RFC 9113 8.2.3: crumbs become one field again, or a service would take only the first. */
static void cookies_join(struct h2_head *h, struct http_msg *m)
{
    if (h->cookie_count < 2)
        return;
    size_t size = 0, pos = 0;
    struct slice value;
    while (http_msg_next(m, "cookie", &pos, &value))
        size += value.size + 2;
    char *joined = arena_alloc(m->arena, size);
    if (joined == NULL) {
        refuse_memory(h, m);
        return;
    }
    size_t at = 0;
    pos = 0;
    while (http_msg_next(m, "cookie", &pos, &value)) {
        if (at > 0) {
            memcpy(joined + at, "; ", 2);
            at += 2;
        }
        if (value.size > 0)
            memcpy(joined + at, value.p, value.size);
        at += value.size;
    }
    if (!http_msg_set(m, SLICE("cookie"), slice_make(joined, at)))
        refuse(h, 400, "malformed Cookie");
}

/* RFC 9113 8.3.1: an empty or different Host beside :authority is an attack on whoever reads the other one. */
static void authority_decide(struct h2_head *h, struct http_msg *m)
{
    if (m->authority.p == NULL && !h->has_host)
        refuse(h, 400, "neither :authority nor Host");
    else if (h->has_host && !h1_authority_valid(h->host))
        refuse(h, 400, "malformed Host");
    else if (m->authority.p == NULL)
        m->authority = h->host;
    else if (!h1_authority_valid(m->authority))
        refuse(h, 400, "malformed :authority");
    else if (h->has_host && !slice_eq_nocase(h->host, m->authority))
        refuse(h, 400, "Host differs from :authority");
}

/* RFC 8441: CONNECT with :protocol asks for a tunnel, which the model calls an upgrade of a GET. */
static void protocol_decide(struct h2_head *h, struct http_msg *m, bool end)
{
    bool is_connect = slice_eq_str(m->method, "CONNECT");
    if (m->protocol.p == NULL) {
        if (is_connect)
            refuse(h, 501, "CONNECT is not supported");
        return;
    }
    if (!is_connect)
        refuse(h, 400, ":protocol without CONNECT");
    else if (!slice_eq_nocase(m->protocol, SLICE("websocket")))
        refuse(h, 501, "protocol other than websocket");
    else if (end || h->has_length)
        refuse(h, 400, "a tunnel that is no stream of bytes");
    m->method = SLICE("GET");
}

void h2_head_end(struct h2_head *h, struct http_msg *m, bool end, struct slice scheme)
{
    if (h->status != 0)
        return;
    if (!http_token_valid(m->method))
        refuse(h, 400, "malformed method");
    protocol_decide(h, m, end);
    if (h->status != 0)
        return;
    if (!slice_eq_nocase(m->scheme, scheme))
        refuse(h, 400, "scheme differs from the connection's");
    m->scheme = scheme;
    struct slice target = m->path;
    bool is_server = slice_eq_str(target, "*") && slice_eq_str(m->method, "OPTIONS");
    if (!is_server && !h1_target_parse(target, m))
        refuse(h, 400, "malformed :path");
    authority_decide(h, m);
    cookies_join(h, m);
    if (!h->has_length)
        m->content_length = end ? 0 : -1;
    else if (end && m->content_length != 0)
        refuse(h, 400, "Content-Length without a body");
    h->expect_continue = h->expect_continue && !end;
}

void h2_answer_field(struct h2_head *h, const struct http_limits *limits, struct http_msg *m, struct slice name,
                     struct slice value)
{
    uint64_t number;
    if (h->status != 0 || !count_field(h, limits, name, value))
        return;
    enum http_name id = http_name_of(name);
    if (slice_eq(name, SLICE(":status"))) {
        h->count--; /* as above */
        if (value.size != 3 || !slice_to_u64(value, &number) || number < 100 || number > 599)
            refuse(h, 400, "malformed :status");
        else
            m->status = (int)number;
    } else if (name.size > 0 && name.p[0] == ':') {
        refuse(h, 400, "unknown pseudo-header field");
    } else if (id == HTTP_CONTENT_LENGTH) {
        length_field(h, m, value);
    } else if ((http_name_facts[id] & HTTP_NAME_HOP) == 0) {
        add_field(h, m, id, name, value);
    }
}

void h2_answer_end(struct h2_head *h, struct http_msg *m, bool end, bool answers_head)
{
    if (h->status != 0)
        return;
    if (m->status == 0)
        refuse(h, 400, "no :status");
    else if (m->status == 101) /* RFC 9113 8.6 */
        refuse(h, 400, "status 101");
    else if (m->status < 200 && end)
        refuse(h, 400, "an interim answer that ends");
    bool bodiless = answers_head || m->status == 304;
    if (!h->has_length)
        m->content_length = end && !bodiless ? 0 : m->status == 204 ? 0 : -1;
    else if (end && m->content_length != 0 && !bodiless)
        refuse(h, 400, "Content-Length without a body");
}

void h2_trailer_field(struct h2_head *h, const struct http_limits *limits, struct http_msg *m, struct slice name,
                      struct slice value)
{
    if (h->status == 0 && count_field(h, limits, name, value) && h1_trailer_allowed(name))
        add_field(h, m, http_name_of(name), name, value);
}
