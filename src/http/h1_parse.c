/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 heads by RFC 9112, strict: whatever two parsers could read in two ways is refused, never repaired. One pass
 * over the bytes, driven by the table of character classes.
 */
#include "h1_parse.h"

#include "assert.h"
#include "h1_chars.h"

enum { CONNECTION_OPTIONS_MAX = 16 };

/* Whether the LF at lf ends an empty line. */
static bool ends_empty_line(const char *p, size_t lf)
{
    if (lf > 0 && p[lf - 1] == '\r')
        lf--;
    return lf == 0 || p[lf - 1] == '\n';
}

/* A bit for each LF among 32 bytes. */
static uint32_t lfs_of(const char *p)
{
    return sixteen_mask(sixteen_is(sixteen_load(p), '\n')) | sixteen_mask(sixteen_is(sixteen_load(p + 16), '\n')) << 16;
}

/* As h1_head_end from at on, byte by byte. */
static size_t head_end_slow(const char *p, size_t size, size_t at)
{
    for (; at < size; at++)
        if (p[at] == '\n' && ends_empty_line(p, at))
            return at + 1;
    return 0;
}

/* The LF of an empty line has another one close before it, which few others have: so 32 bytes are looked at together, and each
 * block begins two bytes before the end of the last one. */
size_t h1_head_end(const char *p, size_t size, struct h1_scan *scan)
{
    size_t at = scan->at < 2 ? 0 : scan->at - 2;
    FICUS_ASSERT_HOT(scan->at <= size);
    scan->at = size;
    if (size < 32)
        return head_end_slow(p, size, at);
    if (p[0] == '\n' || (p[0] == '\r' && p[1] == '\n'))
        return head_end_slow(p, 2, 0);
    for (;;) {
        at = at < size - 32 ? at : size - 32;
        uint32_t lfs = lfs_of(p + at), close = lfs & (lfs << 1 | lfs << 2);
        for (; close != 0; close &= close - 1)
            if (ends_empty_line(p, at + (size_t)__builtin_ctz(close)))
                return at + (size_t)__builtin_ctz(close) + 1;
        if (at == size - 32)
            return 0;
        at += 30;
    }
}

/* ---- fields ---- */

bool h1_trailer_allowed(struct slice name)
{
    return http_token_valid(name) && http_name_facts[http_name_of(name)] == 0;
}

/* What the fields said about the message as a whole. */
struct field_facts {
    struct slice host, content_length, transfer_encoding, expect, upgrade;
    unsigned host_count, content_length_count, transfer_encoding_count, expect_count, upgrade_count;
    bool close, keep_alive, upgrades; /* what Connection listed */
    bool takes_trailers;
    struct slice *options; /* other names that Connection listed, at most CONNECTION_OPTIONS_MAX */
    size_t option_count;
};

/* RFC 9110 7.6.1. False: too many options, a broken one, or one that would take away what frames or addresses the
 * message. */
static bool connection_options(struct field_facts *facts, struct slice value)
{
    while (value.p != NULL) {
        struct slice option = slice_trim(slice_cut(&value, ','));
        if (option.size == 0)
            continue;
        if (!http_token_valid(option))
            return false;
        if (slice_eq_nocase(option, SLICE("close"))) {
            facts->close = true;
            continue;
        }
        if (slice_eq_nocase(option, SLICE("keep-alive"))) {
            facts->keep_alive = true;
            continue;
        }
        enum http_name id = http_name_of(option);
        facts->upgrades |= id == HTTP_UPGRADE;
        if (id == HTTP_HOST || id == HTTP_CONTENT_LENGTH || id == HTTP_TRANSFER_ENCODING)
            return false;
        if ((http_name_facts[id] & HTTP_NAME_HOP) != 0 || id == HTTP_EXPECT)
            continue;
        if (facts->option_count == CONNECTION_OPTIONS_MAX)
            return false;
        facts->options[facts->option_count++] = option;
    }
    return true;
}

/* RFC 9110 10.1.4. Codings and weights do not matter: nothing but chunked is ever sent. */
static bool te_has_trailers(struct slice value)
{
    while (value.p != NULL)
        if (slice_eq_nocase(slice_trim(slice_cut(&value, ',')), SLICE("trailers")))
            return true;
    return false;
}

struct cursor {
    const char *at, *end;
};

/* True, and past it, when CR LF is next. */
static bool take_crlf(struct cursor *c)
{
    if (c->end - c->at < 2 || memcmp(c->at, "\r\n", 2) != 0)
        return false;
    c->at += 2;
    return true;
}

static int refuse(int status, const char *detail, const char **reterr_detail)
{
    *reterr_detail = detail;
    return status;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* One "name: value" CR LF (RFC 9112 5). 0 or a status. */
static inline __attribute__((always_inline)) int field_parse(struct cursor *c, struct http_field *ret_field, const char **reterr_detail)
{
    const char *name = c->at, *end = c->end;
    const char *at = h1_name_span(name, end);
    if (at == name) {
        bool folded = at < end && is_blank(*at);
        return refuse(400, folded ? "folded field line" : "field name is not a token", reterr_detail);
    }
    if (at == end || *at != ':')
        return refuse(400, "field name is not followed by a colon", reterr_detail);
    ret_field->name = slice_make(name, (size_t)(at - name));
    ret_field->id = http_name_of(ret_field->name);
    const char *value = at + 1;
    c->at = h1_value_span(value, end);
    /* nearly always one blank is before a value and none behind it: then the line can go on as it is */
    ret_field->whole = c->at - value >= 2 && value[0] == ' ' && (uint8_t)value[1] > ' ' && (uint8_t)c->at[-1] > ' ';
    ret_field->value = ret_field->whole ? slice_make(value + 1, (size_t)(c->at - value - 1))
                                        : slice_trim(slice_make(value, (size_t)(c->at - value)));
    if (!take_crlf(c))
        return refuse(400, "control character in a field value", reterr_detail);
    return 0;
}

static int arena_refusal(const struct http_msg *m, const char **reterr_detail)
{
    return arena_overflowed(m->arena) ? refuse(431, "fields take too much memory", reterr_detail)
                                      : refuse(503, "out of memory", reterr_detail);
}

/* All field lines and the empty line. 0 or a status. */
static int fields_parse(const struct cursor *begin, size_t field_count_max, struct http_msg *m, struct field_facts *facts,
                        const char **reterr_detail)
{
    struct cursor c = *begin; /* a copy that nobody else sees can live in registers */
    uint64_t seen = 0;
    for (size_t count = 0; !take_crlf(&c);) {
        if (m->field_count == m->field_capacity && !http_msg_grow(m))
            return arena_refusal(m, reterr_detail);
        struct http_field *field = &m->fields[m->field_count]; /* counted below, if it stays */
        int status = field_parse(&c, field, reterr_detail);
        if (status != 0)
            return status;
        if (++count > field_count_max)
            return refuse(431, "too many fields", reterr_detail);
        if ((http_name_facts[field->id] & HTTP_NAME_HOP) == 0 && field->id != HTTP_EXPECT) {
            m->field_count++;
            seen |= http_name_bit(field->id);
            continue;
        }
        switch (field->id) {
        case HTTP_HOST:
            facts->host = field->value;
            facts->host_count++;
            break;
        case HTTP_CONTENT_LENGTH:
            facts->content_length = field->value;
            facts->content_length_count++;
            break;
        case HTTP_TRANSFER_ENCODING:
            facts->transfer_encoding = field->value;
            facts->transfer_encoding_count++;
            break;
        case HTTP_CONNECTION:
            if (!connection_options(facts, field->value))
                return refuse(400, "unacceptable connection option", reterr_detail);
            break;
        case HTTP_EXPECT:
            facts->expect = field->value;
            facts->expect_count++;
            break; /* it is answered here, and goes no further */
        case HTTP_UPGRADE:
            facts->upgrade = field->value;
            facts->upgrade_count++;
            break;
        case HTTP_TE:
            facts->takes_trailers |= te_has_trailers(field->value);
            break;
        default: /* belongs to the connection */
            break;
        }
    }
    if (c.at != c.end)
        return refuse(400, "bytes after the empty line", reterr_detail);
    m->absent = ~seen;
    for (size_t i = 0; i < facts->option_count; i++)
        http_msg_remove(m, facts->options[i]);
    return 0;
}

/* Which refusal a Transfer-Encoding other than "chunked" deserves: without chunked at its end nobody can tell where the
 * body ends, 400 (RFC 9112 6.3, 4); with it there is only a coding that is not known here, 501 (6.1). */
static int coding_refuse(struct slice codings, const char **reterr_detail)
{
    bool chunked = false;
    while (codings.p != NULL) {
        struct slice coding = slice_trim(slice_cut(&codings, ','));
        if (chunked || !http_token_valid(coding))
            return refuse(400, "malformed Transfer-Encoding", reterr_detail);
        chunked = slice_eq_nocase(coding, SLICE("chunked"));
    }
    return chunked ? refuse(501, "transfer coding other than chunked", reterr_detail)
                   : refuse(400, "Transfer-Encoding does not end in chunked", reterr_detail);
}

/* RFC 9112 6.1, 6.3: exactly one way to tell where the body ends, or none. */
static int framing_decide(const struct field_facts *facts, int minor, enum h1_framing *ret_framing, int64_t *ret_length,
                          const char **reterr_detail)
{
    *ret_framing = H1_BODY_NONE;
    *ret_length = 0;
    if (facts->transfer_encoding_count > 0) {
        if (minor == 0)
            return refuse(400, "Transfer-Encoding in HTTP/1.0", reterr_detail);
        if (facts->content_length_count > 0)
            return refuse(400, "both Transfer-Encoding and Content-Length", reterr_detail);
        if (facts->transfer_encoding_count > 1)
            return refuse(400, "more than one Transfer-Encoding", reterr_detail);
        if (!slice_eq_nocase(facts->transfer_encoding, SLICE("chunked")))
            return coding_refuse(facts->transfer_encoding, reterr_detail);
        *ret_framing = H1_BODY_CHUNKED;
        *ret_length = -1;
        return 0;
    }
    if (facts->content_length_count == 0)
        return 0;
    if (facts->content_length_count > 1)
        return refuse(400, "more than one Content-Length", reterr_detail);
    uint64_t length;
    if (!slice_to_u64(facts->content_length, &length) || length > INT64_MAX)
        return refuse(400, "Content-Length is not a number", reterr_detail);
    *ret_framing = length == 0 ? H1_BODY_NONE : H1_BODY_LENGTH;
    *ret_length = (int64_t)length;
    return 0;
}

/* ---- request line ---- */

/* 0 or a status; on 0 *ret_minor is 0 or 1. */
static int version_parse(struct cursor *c, int *ret_minor, const char **reterr_detail)
{
    const char *p = c->at;
    if (c->end - p < 8 || memcmp(p, "HTTP/", 5) != 0 || !h1_is(p[5], H1_DIGIT) || p[6] != '.' || !h1_is(p[7], H1_DIGIT))
        return refuse(400, "malformed HTTP version", reterr_detail);
    if (p[5] != '1')
        return refuse(505, "HTTP version is not 1", reterr_detail);
    *ret_minor = p[7] == '0' ? 0 : 1; /* RFC 9110 2.5: a higher minor version is read as the highest that is known */
    c->at += 8;
    return 0;
}

static bool port_valid(struct slice port)
{
    uint64_t number;
    return port.size == 0 || (port.size <= 5 && slice_to_u64(port, &number) && number <= 65535);
}

/* RFC 3986 2.1: each "%" has two hex digits behind it. */
static bool escapes_whole(const char *p, const char *end)
{
    while ((p = memchr(p, '%', (size_t)(end - p))) != NULL) {
        if (end - p < 3 || !h1_is(p[1], H1_HEX) || !h1_is(p[2], H1_HEX))
            return false;
        p += 3;
    }
    return true;
}

bool h1_authority_valid(struct slice s)
{
    if (s.size == 0)
        return false;
    size_t host_size = 0;
    if (s.p[0] == '[') {
        ptrdiff_t close = slice_find(s, ']');
        if (close < 3)
            return false;
        for (ptrdiff_t i = 1; i < close; i++)
            if (!h1_is(s.p[i], H1_HEX) && s.p[i] != ':' && s.p[i] != '.')
                return false;
        host_size = (size_t)close + 1;
    } else {
        host_size = (size_t)(h1_span(s.p, s.p + s.size, H1_NAME) - s.p);
        if (host_size == 0 || !escapes_whole(s.p, s.p + host_size))
            return false;
    }
    if (host_size == s.size)
        return true;
    return s.p[host_size] == ':' && port_valid(slice_from(s, host_size + 1));
}

/* Path and query in origin-form (RFC 9112 3.2.1): fills m->path and m->query. Consumes up to the first character that
 * fits neither. */
static bool origin_parse(struct cursor *c, struct http_msg *m)
{
    const char *begin = c->at, *path_end = h1_span(begin, c->end, H1_PATH);
    bool has_query = path_end < c->end && *path_end == '?';
    c->at = has_query ? h1_span(path_end + 1, c->end, H1_QUERY) : path_end;
    m->path = slice_make(begin, (size_t)(path_end - begin));
    m->query = has_query ? slice_make(path_end + 1, (size_t)(c->at - path_end - 1)) : SLICE_NONE;
    return escapes_whole(begin, c->at);
}

bool h1_target_parse(struct slice target, struct http_msg *m)
{
    struct cursor c = {target.p, target.p + target.size};
    return target.size > 0 && *target.p == '/' && origin_parse(&c, m) && c.at == c.end;
}

/* "http://authority/path" (RFC 9112 3.2.2). */
static bool absolute_parse(struct cursor *c, struct http_msg *m)
{
    static const struct slice schemes[] = {{"http", 4}, {"https", 5}};
    struct slice rest = slice_make(c->at, (size_t)(c->end - c->at));
    struct slice scheme = SLICE_NONE;
    for (size_t i = 0; i < 2; i++) {
        size_t size = schemes[i].size;
        if (rest.size > size + 3 && slice_eq_nocase(slice_make(rest.p, size), schemes[i]) &&
            memcmp(rest.p + size, "://", 3) == 0)
            scheme = schemes[i];
    }
    if (scheme.p == NULL)
        return false;
    m->scheme = scheme;
    c->at += scheme.size + 3;
    const char *authority = c->at;
    while (c->at < c->end && *c->at != '/' && *c->at != '?' && *c->at != ' ')
        c->at++;
    m->authority = slice_make(authority, (size_t)(c->at - authority));
    if (!h1_authority_valid(m->authority) || !origin_parse(c, m))
        return false;
    if (m->path.size == 0) /* RFC 9112 3.2.4: OPTIONS on the whole server; RFC 9110 4.2.3: else the same as "/" */
        m->path = slice_eq_str(m->method, "OPTIONS") && m->query.p == NULL ? SLICE("*") : SLICE("/");
    return true;
}

static bool target_parse(struct cursor *c, struct http_msg *m)
{
    if (c->at < c->end && *c->at == '/')
        return origin_parse(c, m);
    if (c->end - c->at >= 2 && c->at[0] == '*' && c->at[1] == ' ') {
        m->path = slice_make(c->at, 1);
        c->at++;
        return slice_eq_str(m->method, "OPTIONS");
    }
    return absolute_parse(c, m);
}

static int request_line_parse(struct cursor *c, const struct h1_parse_limits *limits, struct http_msg *m,
                              int *ret_minor, const char **reterr_detail)
{
    const char *method = c->at;
    c->at = h1_span(method, c->end, H1_TOKEN);
    if (c->at == method || c->at == c->end || *c->at != ' ')
        return refuse(400, "malformed method", reterr_detail);
    m->method = slice_make(method, (size_t)(c->at - method));
    c->at++;

    const char *target_end = memchr(c->at, ' ', (size_t)(c->end - c->at));
    if (target_end == NULL)
        return refuse(400, "malformed request line", reterr_detail);
    if ((size_t)(target_end - c->at) > limits->target_size_max)
        return refuse(414, "request target is too long", reterr_detail);
    if (slice_eq_str(m->method, "CONNECT"))
        return refuse(501, "CONNECT is not supported", reterr_detail);
    /* The version first: an HTTP/2 preface deserves its 505 whatever its target looks like. */
    struct cursor rest = {target_end + 1, c->end};
    int status = version_parse(&rest, ret_minor, reterr_detail);
    if (status != 0)
        return status;
    if (!take_crlf(&rest))
        return refuse(400, "malformed request line", reterr_detail);
    if (!target_parse(c, m) || c->at != target_end)
        return refuse(400, "malformed request target", reterr_detail);
    *c = rest;
    return 0;
}

/* RFC 9110 7.8. What cannot be made a tunnel without a doubt is no wish for one: ignoring it is always allowed. */
static struct slice protocol_wanted(const struct http_msg *m, const struct field_facts *facts, const struct h1_head *h)
{
    bool wanted = h->minor == 1 && facts->upgrades && facts->upgrade_count == 1 && h->framing == H1_BODY_NONE &&
                  facts->expect_count == 0 && !facts->close && slice_eq_str(m->method, "GET") &&
                  slice_eq_nocase(facts->upgrade, SLICE("websocket"));
    return wanted ? facts->upgrade : SLICE_NONE;
}

/* RFC 9112 3.2: exactly one valid Host; 3.2.2: an absolute-form target goes before it. */
static int authority_decide(struct http_msg *m, const struct field_facts *facts, int minor, const char **reterr_detail)
{
    if (facts->host_count > 1)
        return refuse(400, "more than one Host", reterr_detail);
    if (facts->host_count == 0)
        return minor == 0 ? 0 : refuse(400, "no Host", reterr_detail);
    if (!h1_authority_valid(facts->host))
        return refuse(400, "malformed Host", reterr_detail);
    if (m->authority.p == NULL)
        m->authority = facts->host;
    return 0;
}

int h1_parse_request(struct slice head, const struct h1_parse_limits *limits, struct http_msg *m,
                     struct h1_head *ret_head, const char **reterr_detail)
{
    struct cursor c = {head.p, head.p + head.size};
    __attribute__((uninitialized)) struct slice options[CONNECTION_OPTIONS_MAX]; /* read as far as they were counted */
    struct field_facts facts = {.options = options};
    struct h1_head h = {0};

    int status = request_line_parse(&c, limits, m, &h.minor, reterr_detail);
    if (status == 0)
        status = fields_parse(&c, limits->field_count_max, m, &facts, reterr_detail);
    if (status == 0)
        status = authority_decide(m, &facts, h.minor, reterr_detail);
    if (status == 0)
        status = framing_decide(&facts, h.minor, &h.framing, &m->content_length, reterr_detail);
    if (status != 0)
        return status;

    if (facts.expect_count > 0 && h.minor == 1) {
        if (facts.expect_count > 1 || !slice_eq_nocase(facts.expect, SLICE("100-continue")))
            return refuse(417, "unknown expectation", reterr_detail);
        h.expect_continue = h.framing != H1_BODY_NONE;
    }
    h.keep_alive = h.minor == 1 && !facts.close;
    m->protocol = protocol_wanted(m, &facts, &h);
    m->takes_trailers = h.minor == 1 && facts.takes_trailers;
    *ret_head = h;
    return 0;
}

/* ---- responses ---- */

static int status_line_parse(struct cursor *c, struct http_msg *m, int *ret_minor, const char **reterr_detail)
{
    int status = version_parse(c, ret_minor, reterr_detail);
    if (status != 0)
        return status;
    const char *p = c->at;
    if (c->end - p < 5 || p[0] != ' ' || !h1_is(p[1], H1_DIGIT) || !h1_is(p[2], H1_DIGIT) || !h1_is(p[3], H1_DIGIT) ||
        p[4] != ' ')
        return refuse(400, "malformed status line", reterr_detail);
    m->status = (p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0');
    if (m->status < 100 || m->status > 599)
        return refuse(400, "status out of range", reterr_detail);
    c->at += 5;
    c->at = h1_value_span(c->at, c->end);
    return take_crlf(c) ? 0 : refuse(400, "malformed status line", reterr_detail);
}

/* RFC 9112 6.3, in its order. */
static int response_framing(const struct field_facts *facts, bool answers_head, struct http_msg *m, struct h1_head *h,
                            const char **reterr_detail)
{
    int status = framing_decide(facts, h->minor, &h->framing, &m->content_length, reterr_detail);
    if (status != 0)
        return status;
    bool framed = facts->transfer_encoding_count + facts->content_length_count > 0;
    if (m->status < 200 || m->status == 204) {
        /* RFC 9112 6.1, RFC 9110 8.6: a server must send neither here; a length of 0 cannot be misread and is let pass.
         */
        if (h->framing != H1_BODY_NONE)
            return refuse(400, "body framing in an answer that has no body", reterr_detail);
        m->content_length = 0;
        return 0;
    }
    if (answers_head || m->status == 304) {
        h->framing = H1_BODY_NONE;
        if (!framed)
            m->content_length = -1;
        return 0;
    }
    if (!framed) {
        h->framing = H1_BODY_UNTIL_CLOSE;
        h->keep_alive = false;
        m->content_length = -1;
    }
    return 0;
}

enum ficus_err h1_parse_response(struct slice head, const struct h1_parse_limits *limits, bool answers_head,
                                 struct http_msg *m, struct h1_head *ret_head, const char **reterr_detail)
{
    struct cursor c = {head.p, head.p + head.size};
    __attribute__((uninitialized)) struct slice options[CONNECTION_OPTIONS_MAX]; /* read as far as they were counted */
    struct field_facts facts = {.options = options};
    struct h1_head h = {0};

    int status = status_line_parse(&c, m, &h.minor, reterr_detail);
    if (status == 0)
        status = fields_parse(&c, limits->field_count_max, m, &facts, reterr_detail);
    h.keep_alive = h.minor == 1 && !facts.close;
    if (status == 0)
        status = response_framing(&facts, answers_head, m, &h, reterr_detail);
    if (status == 503)
        return FICUS_ERR_NOMEM;
    if (status == 431)
        return FICUS_ERR_TOO_LARGE;
    if (status != 0)
        return FICUS_ERR_PROTOCOL;
    if (m->status == 101 && h.minor == 1 && facts.upgrades && facts.upgrade_count == 1)
        m->protocol = facts.upgrade;
    *ret_head = h;
    return FICUS_ERR_OK;
}

/* ---- trailers ---- */

enum ficus_err h1_parse_trailers(struct slice text, size_t field_count_max, struct http_msg *m,
                                 const char **reterr_detail)
{
    struct cursor c = {text.p, text.p + text.size};
    for (size_t count = 0; c.at < c.end; count++) {
        struct http_field field;
        if (count == field_count_max) {
            *reterr_detail = "too many trailers";
            return FICUS_ERR_PROTOCOL;
        }
        if (field_parse(&c, &field, reterr_detail) != 0)
            return FICUS_ERR_PROTOCOL;
        if (h1_trailer_allowed(field.name) && !http_msg_keep(m, field)) {
            *reterr_detail = "trailers take too much memory";
            return FICUS_ERR_NOMEM;
        }
    }
    return FICUS_ERR_OK;
}
