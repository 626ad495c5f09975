/* SPDX-License-Identifier: Apache-2.0
 *
 * What the HTTP/1.1 parser accepts and refuses, by section of RFC 9112 and RFC 9110, and that the split of the input
 * changes nothing.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "h1_chars.h"
#include "h1_parse.h"
#include "h1_write.h"
#include "mem.h"

#include <stdio.h>

static const struct h1_parse_limits limits = {.field_count_max = 20, .target_size_max = 64};

#define H "Host: a\r\n"
#define S(text)                \
    {                          \
        text, sizeof(text) - 1 \
    }

struct request_case {
    int status; /* 0: accepted */
    struct slice head;
    const char *rule;
};

static const struct request_case requests[] = {
    /* request line */
    {0, S("GET / HTTP/1.1\r\n" H "\r\n"), "9112 3"},
    {0, S("M-SEARCH / HTTP/1.1\r\n" H "\r\n"), "9110 5.6.2: any token is a method"},
    {0, S("GET /a;b=c/:@!$&'()*+,=~_-.%7E?x=/?:@%20 HTTP/1.1\r\n" H "\r\n"), "3986 3.3, 3.4"},
    {0, S("GET /?a[]={}|^`\\ HTTP/1.1\r\n" H "\r\n"), "WHATWG URL: browsers send these"},
    {0, S("OPTIONS * HTTP/1.1\r\n" H "\r\n"), "9112 3.2.4"},
    {0, S("GET http://a/x HTTP/1.1\r\n" H "\r\n"), "9112 3.2.2"},
    {0, S("GET HTTPS://a HTTP/1.1\r\n" H "\r\n"), "9112 3.2.2, 9110 4.2.3"},
    {0, S("GET http://A:80?q HTTP/1.1\r\nHost: a:80\r\n\r\n"), "9110 4.2.3: host without case"},
    {400, S("\r\n\r\n"), "9112 2.2: no request line"},
    {400, S(" GET / HTTP/1.1\r\n" H "\r\n"), "9112 3"},
    {400, S("GET  / HTTP/1.1\r\n" H "\r\n"), "9112 3: one space"},
    {400, S("GET /  HTTP/1.1\r\n" H "\r\n"), "9112 3"},
    {400, S("GET / HTTP/1.1 \r\n" H "\r\n"), "9112 3"},
    {400, S("GET\t/ HTTP/1.1\r\n" H "\r\n"), "9112 3"},
    {400, S("GET /\tHTTP/1.1\r\n" H "\r\n"), "9112 3"},
    {400, S("GET / HTTP/1.1\n" H "\r\n"), "9112 2.2: bare LF"},
    {400, S("GET / HTTP/1.1\r" H "\r\n\r\n"), "9112 2.2: bare CR"},
    {400, S("GET /\r\n" H "\r\n"), "HTTP/0.9"},
    {400, S("GET\r\n\r\n"), "9112 3"},
    {400, S("G@T / HTTP/1.1\r\n" H "\r\n"), "9110 5.6.2"},
    {400, S("GET / http/1.1\r\n" H "\r\n"), "9112 2.3: case matters"},
    {400, S("GET / HTTP/1.10\r\n" H "\r\n"), "9112 2.3: one digit"},
    {400, S("GET / HTTP/11\r\n" H "\r\n"), "9112 2.3"},
    {400, S("GET / HTTP/1.x\r\n" H "\r\n"), "9112 2.3"},
    {505, S("GET / HTTP/2.0\r\n" H "\r\n"), "9110 15.6.6"},
    {0, S("GET / HTTP/1.2\r\n" H "\r\n"), "9110 2.5: read as 1.1"},
    {0, S("GET / HTTP/1.9\r\n" H "\r\n"), "9110 2.5: read as 1.1"},
    {400, S("GET / HTTP/1.9\r\n\r\n"), "9112 3.2: and needs a Host"},
    {505, S("GET / HTTP/0.9\r\n" H "\r\n"), "9110 15.6.6"},
    {505, S("PRI * HTTP/2.0\r\n\r\n"), "9113 3.4"},
    {400, S("PRI * HTTP/1.1\r\n" H "\r\n"), "9112 3.2.4: * is for OPTIONS"},
    {501, S("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), "9112 3.2.3: not a proxy of that kind"},
    {400, S("GET a/b HTTP/1.1\r\n" H "\r\n"), "9112 3.2"},
    {400, S("GET *x HTTP/1.1\r\n" H "\r\n"), "9112 3.2.4"},
    {400, S("GET /a#b HTTP/1.1\r\n" H "\r\n"), "9112 3.2: no fragment"},
    {400, S("GET /a\"b HTTP/1.1\r\n" H "\r\n"), "3986 3.3"},
    {400, S("GET /a\\b HTTP/1.1\r\n" H "\r\n"), "3986 3.3"},
    {400, S("GET /a|b HTTP/1.1\r\n" H "\r\n"), "3986 3.3"},
    {400, S("GET /a\x80 HTTP/1.1\r\n" H "\r\n"), "3986 3.3"},
    {400, S("GET /a\x7f HTTP/1.1\r\n" H "\r\n"), "3986 3.3"},
    {400, S("GET /a\0b HTTP/1.1\r\n" H "\r\n"), "3986 3.3"},
    {400, S("GET /%4 HTTP/1.1\r\n" H "\r\n"), "3986 2.1"},
    {400, S("GET /%zz HTTP/1.1\r\n" H "\r\n"), "3986 2.1"},
    {400, S("GET /?%g0 HTTP/1.1\r\n" H "\r\n"), "3986 2.1"},
    {400, S("GET ftp://a/ HTTP/1.1\r\n" H "\r\n"), "9112 3.2.2: http or https"},
    {400, S("GET http:///x HTTP/1.1\r\n" H "\r\n"), "9110 4.2.1: empty host"},
    {400, S("GET http://u@a/ HTTP/1.1\r\n" H "\r\n"), "9110 4.2.4: userinfo"},
    {400, S("GET http://a:b/ HTTP/1.1\r\nHost: a:b\r\n\r\n"), "3986 3.2.3"},
    {0, S("GET http://b/ HTTP/1.1\r\n" H "\r\n"), "9112 3.2.2: the target goes before Host"},
    {400, S("GET http://b/ HTTP/1.1\r\nHost: u@a\r\n\r\n"), "9112 3.2: which must be valid all the same"},
    {0, S("GET /234567890123456789012345678901234567890123456789012345678901234 HTTP/1.1\r\n" H "\r\n"), "limit 64"},
    {414, S("GET /2345678901234567890123456789012345678901234567890123456789012345 HTTP/1.1\r\n" H "\r\n"),
     "9110 15.5.15"},
    /* Host */
    {0, S("GET / HTTP/1.1\r\nhOsT:a\r\n\r\n"), "9110 5.1"},
    {0, S("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"), "3986 3.2.2"},
    {0, S("GET / HTTP/1.0\r\n\r\n"), "9112 3.2: none needed in 1.0"},
    {400, S("GET / HTTP/1.1\r\n\r\n"), "9112 3.2"},
    {400, S("GET / HTTP/1.1\r\n" H H "\r\n"), "9112 3.2"},
    {400, S("GET / HTTP/1.0\r\n" H H "\r\n"), "9112 3.2"},
    {400, S("GET / HTTP/1.1\r\nHost:\r\n\r\n"), "9110 4.2.1"},
    {400, S("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), "9112 3.2"},
    {400, S("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), "9112 3.2"},
    {400, S("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), "9112 3.2"},
    {400, S("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"), "9112 3.2"},
    {400, S("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), "3986 3.2.2"},
    {400, S("GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n"), "3986 3.2.2"},
    /* fields */
    {0, S("GET / HTTP/1.1\r\n" H "X:\r\nY:   \t z \t \r\nZ: \x80\xff\r\n\r\n"), "9110 5.5"},
    {400, S("GET / HTTP/1.1\r\n" H "X : y\r\n\r\n"), "9112 5.1: blank before the colon"},
    {400, S("GET / HTTP/1.1\r\n" H "X: y\r\n z\r\n\r\n"), "9112 5.2: obs-fold"},
    {400, S("GET / HTTP/1.1\r\n X: y\r\n" H "\r\n"), "9112 2.2: blank before the first field"},
    {400, S("GET / HTTP/1.1\r\n" H ": y\r\n\r\n"), "9110 5.1"},
    {400, S("GET / HTTP/1.1\r\n" H "X y\r\n\r\n"), "9112 5"},
    {400, S("GET / HTTP/1.1\r\n" H "X(: y\r\n\r\n"), "9110 5.1"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n"), "9110 5.5: bare CR"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\n\r\n"), "9112 2.2: bare LF"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n"), "9110 5.5: NUL"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n"), "9110 5.5"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n"), "9110 5.5"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\r\n\n"), "9112 2.2"},
    {400, S("GET / HTTP/1.1\r\n" H "X: a\r\r\n\r\n"), "9112 2.2"},
    {431,
     S("GET / HTTP/1.1\r\n" H
       "a:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n"
       "a:\r\na:\r\n\r\n"),
     "6585 5: limit 20"},
    /* framing */
    {0, S("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n"), "9112 6.2"},
    {0, S("POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"), "9112 6.2"},
    {0, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: CHUNKED\r\n\r\n"), "9112 7"},
    {0, S("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n"), "9112 6.2"},
    {0, S("POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775807\r\n\r\n"), "9112 6.2"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\n"), "9112 6.2: overflow"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n"), "9112 6.2: overflow"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n"), "9110 8.6: digits"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n"), "9110 8.6"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n"), "9110 8.6"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\n"), "9110 8.6"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n"), "9110 8.6: lists are refused"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n"), "9110 8.6"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), "9110 8.6"},
    {400, S("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), "9112 6.3"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"), "9112 6.3"},
    {400, S("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), "9112 6.1"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n"), "9112 6.1"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n"), "9112 6.1"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), "9112 6.1"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"),
     "9112 6.1: one field"},
    {501, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n"), "9112 6.1"},
    {501, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: a, b, Chunked\r\n\r\n"), "9112 6.1"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n"), "9112 6.3 #4"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"), "9112 6.3 #4"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, a, chunked\r\n\r\n"), "9112 6.1: once"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n"), "9112 6.1"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;a=b\r\n\r\n"), "9112 7"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n"), "9112 6.1"},
    {400, S("POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n"), "9112 5.1"},
    {400,
     S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
       "chunked\r\n\r\n"),
     "9110 5.5"},
    /* connection and expectations */
    {0, S("GET / HTTP/1.1\r\n" H "Connection: close, X-Foo ,, upgrade\r\n\r\n"), "9110 7.6.1"},
    {400, S("GET / HTTP/1.1\r\n" H "Connection: host\r\n\r\n"), "9110 7.6.1: would unaddress the message"},
    {400, S("GET / HTTP/1.1\r\n" H "Connection: Content-Length\r\nContent-Length: 3\r\n\r\n"), "9110 7.6.1"},
    {400, S("GET / HTTP/1.1\r\n" H "Connection: a b\r\n\r\n"), "9110 7.6.1"},
    {0, S("POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n"), "9110 10.1.1"},
    {417, S("POST / HTTP/1.1\r\n" H "Expect: soon\r\nContent-Length: 1\r\n\r\n"), "9110 10.1.1"},
    {0, S("POST / HTTP/1.0\r\nExpect: soon\r\nContent-Length: 1\r\n\r\n"), "9110 10.1.1: 1.0 cannot mean it"},
};

static int parse(struct slice head, struct arena *a, struct http_msg *m, struct h1_head *h, const char **detail)
{
    arena_init(a, 64 * 1024);
    http_msg_init(m, a);
    return h1_parse_request(head, &limits, m, h, detail);
}

/* Every request of the table is accepted, or refused with its status and a reason. */
static void test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        struct arena a;
        struct http_msg m;
        struct h1_head h;
        const char *detail = NULL;
        int status = parse(requests[i].head, &a, &m, &h, &detail);
        if (status != requests[i].status)
            print_error("case %zu (%s): %d, expected %d (%s)\n", i, requests[i].rule, status, requests[i].status,
                        detail ? detail : "-");
        assert_int_equal(status, requests[i].status);
        assert_true(status == 0 || detail != NULL);
        arena_done(&a);
    }
}

/* Changing any one byte of a valid request into NUL or a bare CR makes it invalid. */
static void test_poison(void **state)
{
    (void)state;
    static const char text[] = "POST /a/b?c=d HTTP/1.1\r\nHost: a:80\r\nX-Y: z z\r\nContent-Length: 5\r\n\r\n";
    static const char poisons[] = {'\0', '\r', '\n', '\x7f', '\x01'};
    for (size_t i = 0; i < sizeof text - 1; i++) {
        for (size_t k = 0; k < sizeof poisons; k++) {
            char copy[sizeof text];
            memcpy(copy, text, sizeof text);
            if (copy[i] == poisons[k])
                continue;
            copy[i] = poisons[k];
            struct arena a;
            struct http_msg m;
            struct h1_head h;
            const char *detail;
            assert_int_not_equal(parse(slice_make(copy, sizeof copy - 1), &a, &m, &h, &detail), 0);
            arena_done(&a);
        }
    }
}

/* The parts of a request come out as they were sent, without the fields of the connection. */
static void test_request_parts(void **state)
{
    (void)state;
    struct arena a;
    struct http_msg m;
    struct h1_head h;
    const char *detail;
    assert_int_equal(
        parse(
            SLICE("PUT http://shop.test:80/a%2fb?x=1&y HTTP/1.1\r\nHost: shop.test:80\r\nX-A:  1 \r\nConnection: "
                  "x-hop, TE\r\n"
                  "X-Hop: secret\r\nTE: trailers\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nx-a: 2\r\nExpect: 100-continue\r\n"
                  "Trailer: z\r\nProxy-Connection: q\r\nTransfer-Encoding: chunked\r\n\r\n"),
            &a, &m, &h, &detail),
        0);
    assert_true(slice_eq_str(m.method, "PUT"));
    assert_true(slice_eq_str(m.authority, "shop.test:80"));
    assert_true(slice_eq_str(m.path, "/a%2fb"));
    assert_true(slice_eq_str(m.query, "x=1&y"));
    assert_true(slice_eq_str(m.scheme, "http"));
    assert_int_equal(m.content_length, -1);
    assert_int_equal(h.framing, H1_BODY_CHUNKED);
    assert_true(h.keep_alive);
    assert_true(h.expect_continue);
    assert_int_equal(m.field_count, 3);
    assert_int_equal(http_msg_count(&m, "X-A"), 2);
    assert_true(slice_eq_str(http_msg_get(&m, "x-A"), "1"));
    assert_true(slice_eq_str(http_msg_get(&m, "trailer"), "z"));
    assert_true(m.takes_trailers);
    assert_null(m.protocol.p);
    arena_done(&a);

    assert_int_equal(
        parse(SLICE("OPTIONS http://a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), &a, &m, &h, &detail), 0);
    assert_true(slice_eq_str(m.path, "*"));
    assert_null(m.query.p);
    assert_false(h.keep_alive);
    arena_done(&a);

    assert_int_equal(parse(SLICE("GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n"), &a, &m, &h, &detail), 0);
    assert_true(slice_eq_str(m.path, "/"));
    assert_true(slice_eq_str(m.query, "q"));
    arena_done(&a);

    assert_int_equal(parse(SLICE("GET /? HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), &a, &m, &h, &detail), 0);
    assert_non_null(m.query.p);
    assert_int_equal(m.query.size, 0);
    assert_false(h.keep_alive);
    arena_done(&a);
}

/* The end of a head is found at the same place however the bytes arrive. */
static void test_head_end_splits(void **state)
{
    (void)state;
    static const struct slice heads[] = {
        S("GET / HTTP/1.1\r\nHost: a\r\n\r\nrest\r\n\r\n"),
        S("GET /\n\nrest"),
        S("\r\nGET /"),
        S("A\r\nB\n\r\nrest\n\n"),
    };
    static const size_t ends[] = {27, 7, 2, 7};
    for (size_t i = 0; i < ARRAY_COUNT(heads); i++) {
        for (size_t split = 0; split <= heads[i].size; split++) {
            struct h1_scan scan = {0};
            size_t end = h1_head_end(heads[i].p, split, &scan);
            assert_int_equal(end, split >= ends[i] ? ends[i] : 0);
            if (end == 0)
                assert_int_equal(h1_head_end(heads[i].p, heads[i].size, &scan), ends[i]);
        }
        struct h1_scan scan = {0};
        size_t size = 0, end = 0;
        while (end == 0 && size < heads[i].size)
            end = h1_head_end(heads[i].p, ++size, &scan);
        assert_int_equal(end, ends[i]);
    }
}

struct response_case {
    enum ficus_err err;
    bool answers_head;
    enum h1_framing framing;
    int64_t length;
    struct slice head;
    const char *rule;
};

#define P FICUS_ERR_PROTOCOL
static const struct response_case responses[] = {
    {0, false, H1_BODY_LENGTH, 5, S("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "9112 6.3 #6"},
    {0, false, H1_BODY_NONE, 0, S("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"), "9112 4: empty reason"},
    {0, false, H1_BODY_CHUNKED, -1, S("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"), "9112 6.3 #4"},
    {0, false, H1_BODY_UNTIL_CLOSE, -1, S("HTTP/1.1 200 OK\r\n\r\n"), "9112 6.3 #8"},
    {0, false, H1_BODY_UNTIL_CLOSE, -1, S("HTTP/1.0 200 OK\r\n\r\n"), "9112 6.3 #8"},
    {0, true, H1_BODY_NONE, 5, S("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "9112 6.3 #1"},
    {0, true, H1_BODY_NONE, -1, S("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "9112 6.3 #1"},
    {0, true, H1_BODY_NONE, -1, S("HTTP/1.1 200 OK\r\n\r\n"), "9112 6.3 #1"},
    {0, false, H1_BODY_NONE, 0, S("HTTP/1.1 204 No Content\r\n\r\n"), "9112 6.3 #1"},
    {0, false, H1_BODY_NONE, 0, S("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), "9110 8.6: harmless"},
    {0, false, H1_BODY_NONE, 5, S("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), "9112 6.3 #1"},
    {0, false, H1_BODY_NONE, 0, S("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), "9110 15.2"},
    {P, false, 0, 0, S("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"), "9110 8.6"},
    {P, false, 0, 0, S("HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n"), "9112 6.1"},
    {P, false, 0, 0, S("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"), "9112 6.3 #5"},
    {P, false, 0, 0, S("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), "9112 6.3 #3"},
    {P, false, 0, 0, S("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), "9112 6.1"},
    {P, false, 0, 0, S("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "9112 6.1"},
    {P, false, 0, 0, S("HTTP/1.1 200\r\n\r\n"), "9112 4"},
    {P, false, 0, 0, S("HTTP/1.1 20 OK\r\n\r\n"), "9112 4"},
    {P, false, 0, 0, S("HTTP/1.1 2000 OK\r\n\r\n"), "9112 4"},
    {P, false, 0, 0, S("HTTP/1.1 099 OK\r\n\r\n"), "9110 15"},
    {P, false, 0, 0, S("HTTP/1.1 600 OK\r\n\r\n"), "9110 15"},
    {P, false, 0, 0, S("HTTP/1.1  200 OK\r\n\r\n"), "9112 4"},
    {P, false, 0, 0, S("HTTP/2 200 OK\r\n\r\n"), "9112 2.3"},
    {P, false, 0, 0, S("ICY 200 OK\r\n\r\n"), "9112 4"},
    {P, false, 0, 0, S("HTTP/1.1 200 O\x01\r\n\r\n"), "9112 4"},
    {P, false, 0, 0, S("HTTP/1.1 200 OK\r\nX : y\r\n\r\n"), "9112 5.1"},
    {P, false, 0, 0, S("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n"), "9112 5.2"},
    {P, false, 0, 0, S("HTTP/1.1 200 OK\nX: y\r\n\r\n"), "9112 2.2"},
};

/* Every response of the table is framed as RFC 9112 6.3 orders, or refused. */
static void test_responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(responses); i++) {
        const struct response_case *r = &responses[i];
        struct arena a;
        arena_init(&a, 64 * 1024);
        struct http_msg m;
        http_msg_init(&m, &a);
        struct h1_head h;
        const char *detail = NULL;
        enum ficus_err err = h1_parse_response(r->head, &limits, r->answers_head, &m, &h, &detail);
        if (err != r->err || (err == 0 && (h.framing != r->framing || m.content_length != r->length)))
            print_error("case %zu (%s): %s\n", i, r->rule, detail ? detail : "-");
        assert_int_equal(err, r->err);
        if (err == FICUS_ERR_OK) {
            assert_int_equal(h.framing, r->framing);
            assert_int_equal(m.content_length, r->length);
        }
        arena_done(&a);
    }
}

struct chunk_case {
    bool ok;
    struct slice raw;
    const char *body; /* when ok */
    size_t rest;      /* bytes behind the message */
    const char *rule;
};

static const struct chunk_case chunks[] = {
    {true, S("5\r\nhello\r\n0\r\n\r\n"), "hello", 0, "9112 7.1"},
    {true, S("0\r\n\r\nGET "), "", 4, "9112 7.1"},
    {true, S("1\r\na\r\nB\r\nbcdefghijkl\r\n00\r\n\r\nx"), "abcdefghijkl", 1, "9112 7.1"},
    {true, S("2;a=b;c=\"d e\"\r\nab\r\n1 ; x\r\nc\r\n0;z\r\n\r\n"), "abc", 0, "9112 7.1.1"},
    {true, S("1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n"), "a", 0, "9112 7.1.2"},
    {true, S("000000000000001\r\na\r\n0\r\n\r\n"), "a", 0, "fifteen digits"},
    {false, S("0000000000000001\r\na\r\n0\r\n\r\n"), NULL, 0, "sixteen digits"},
    {false, S("ffffffffffffffffff\r\na"), NULL, 0, "9112 7.1: overflow"},
    {false, S("\r\n0\r\n\r\n"), NULL, 0, "9112 7.1: no size"},
    {false, S(" 1\r\na\r\n0\r\n\r\n"), NULL, 0, "9112 7.1"},
    {false, S("1 \r\na\r\n0\r\n\r\n"), NULL, 0, "9112 7.1: blank without extension"},
    {false, S("0x1\r\na\r\n0\r\n\r\n"), NULL, 0, "9112 7.1"},
    {false, S("-1\r\na\r\n0\r\n\r\n"), NULL, 0, "9112 7.1"},
    {false, S("g\r\na\r\n0\r\n\r\n"), NULL, 0, "9112 7.1"},
    {false, S("1\na\r\n0\r\n\r\n"), NULL, 0, "9112 2.2: bare LF"},
    {false, S("1\rXa\r\n0\r\n\r\n"), NULL, 0, "9112 2.2: bare CR"},
    {false, S("1\r\nab\r\n0\r\n\r\n"), NULL, 0, "9112 7.1: too much data"},
    {false, S("1\r\na\n0\r\n\r\n"), NULL, 0, "9112 7.1"},
    {false, S("1\r\na\rX0\r\n\r\n"), NULL, 0, "9112 7.1"},
    {false, S("1;a\nb\r\na\r\n0\r\n\r\n"), NULL, 0, "9112 7.1.1: bare LF in an extension"},
    {false, S("1;a\0b\r\na\r\n0\r\n\r\n"), NULL, 0, "9112 7.1.1"},
    {false, S("0\r\nX y\r\n\r\n"), NULL, 0, "9112 7.1.2"},
    {false, S("0\r\n: y\r\n\r\n"), NULL, 0, "9112 7.1.2"},
    {false, S("0\r\nX : y\r\n\r\n"), NULL, 0, "9112 5.1"},
    {false, S("0\r\nX: y\r\n z\r\n\r\n"), NULL, 0, "9112 5.2"},
    {false, S("0\r\nX: y\n\r\n"), NULL, 0, "9112 2.2"},
    {false, S("0\r\nX: a\rb\r\n\r\n"), NULL, 0, "9110 5.5"},
    {false, S("0\r\n\rX"), NULL, 0, "9112 7.1"},
};

/* Decodes raw in pieces of the given sizes; returns false on refusal. */
static bool decode(struct slice raw, size_t first, size_t step, char *ret_body, size_t *ret_size, size_t *ret_rest)
{
    struct h1_body b;
    h1_body_init(&b, H1_BODY_CHUNKED, -1, NULL);
    size_t at = 0, body_size = 0, piece = first;
    while (at < raw.size && !b.done) {
        size_t size = piece < raw.size - at ? piece : raw.size - at, used, data;
        char *copy = mem_alloc(size);
        memcpy(copy, raw.p + at, size);
        const char *detail = NULL;
        bool ok = h1_body_decode(&b, copy, size, &used, &data, &detail);
        if (ok) {
            assert_true(data <= used && used <= size);
            assert_true(used == size || b.done);
            memcpy(ret_body + body_size, copy, data);
            body_size += data;
            at += used;
        }
        mem_free(copy);
        if (!ok) {
            assert_non_null(detail);
            return false;
        }
        piece = step;
    }
    *ret_size = body_size;
    *ret_rest = raw.size - at;
    return b.done;
}

/* Every chunked body of the table gives the same result whole, in bytes, and in every split. */
static void test_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(chunks); i++) {
        for (size_t split = 0; split <= chunks[i].raw.size; split++) {
            char body[256];
            size_t size = 0, rest = 0;
            bool ok = decode(chunks[i].raw, split == 0 ? 1 : split, split == 0 ? 1 : SIZE_MAX, body, &size, &rest);
            if (ok != chunks[i].ok)
                print_error("case %zu (%s) split %zu\n", i, chunks[i].rule, split);
            assert_int_equal(ok, chunks[i].ok);
            if (!ok)
                continue;
            assert_true(slice_eq_str(slice_make(body, size), chunks[i].body));
            assert_int_equal(rest, chunks[i].rest);
        }
    }
}

/* Only a request that can be nothing else asks for a tunnel; every other Upgrade is as if it were not there. */
static void test_upgrade(void **state)
{
    (void)state;
    static const struct {
        bool wanted;
        const char *text;
    } cases[] = {
        {true, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
        {true, "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n\r\n"},
        {true, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket/13\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"},
        {false, "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
        {false, "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Transfer-Encoding: chunked\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena a;
        struct http_msg m;
        struct h1_head h;
        const char *detail;
        assert_int_equal(parse(slice_str(cases[i].text), &a, &m, &h, &detail), 0);
        assert_int_equal(m.protocol.p != NULL, cases[i].wanted);
        assert_int_equal(http_msg_count(&m, "upgrade"), 0);
        arena_done(&a);
    }
}

/* The trailer section is kept whatever the pieces it comes in; what may not stand there is left out of it. */
static void test_trailers(void **state)
{
    (void)state;
    static const char text[] = "3\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Length: 7\r\nHost: b\r\nAuthorization: c\r\n"
                               "Transfer-Encoding: chunked\r\nX-Sum:  2 \r\nTrailer: x\r\nSet-Cookie: d=1\r\n\r\nrest";
    size_t size = sizeof text - 1;
    for (size_t cut = 0; cut < size; cut++) {
        struct arena a;
        struct h1_body b;
        struct http_msg m;
        char copy[sizeof text];
        const char *detail = NULL;
        size_t used = 0, used_more = 0, data;
        memcpy(copy, text, size);
        arena_init(&a, 64 * 1024);
        h1_body_init(&b, H1_BODY_CHUNKED, -1, &a);
        assert_true(h1_body_decode(&b, copy, cut, &used, &data, &detail));
        assert_true(h1_body_decode(&b, copy + used, size - used, &used_more, &data, &detail));
        assert_true(b.done);
        assert_int_equal(used + used_more, size - 4);
        http_msg_init(&m, &a);
        assert_int_equal(h1_parse_trailers(h1_body_trailers(&b), 8, &m, &detail), FICUS_ERR_OK);
        assert_int_equal(m.field_count, 2);
        assert_true(slice_eq_str(m.fields[0].value, "1") && slice_eq_str(m.fields[1].value, "2"));
        assert_int_equal(h1_parse_trailers(h1_body_trailers(&b), 7, &m, &detail), FICUS_ERR_PROTOCOL);
        arena_done(&a);
    }
    struct h1_body b;
    struct arena a;
    char none[] = "0\r\n\r\n";
    const char *detail;
    size_t used, data;
    arena_init(&a, 64 * 1024);
    h1_body_init(&b, H1_BODY_CHUNKED, -1, &a);
    assert_true(h1_body_decode(&b, none, sizeof none - 1, &used, &data, &detail) && b.done);
    assert_int_equal(h1_body_trailers(&b).size, 0);
    arena_done(&a);
}

/* Extensions and trailers are bounded, for one chunk and for the message. */
static void test_chunk_bounds(void **state)
{
    (void)state;
    struct h1_body b;
    const char *detail = NULL;
    size_t used, data;
    char text[H1_TRAILER_SIZE_MAX + 16];

    h1_body_init(&b, H1_BODY_CHUNKED, -1, NULL);
    memset(text, 'x', sizeof text);
    memcpy(text, "1;", 2);
    assert_true(h1_body_decode(&b, text, H1_CHUNK_EXT_SIZE_MAX + 2, &used, &data, &detail));
    assert_false(h1_body_decode(&b, text + 2, 1, &used, &data, &detail));

    h1_body_init(&b, H1_BODY_CHUNKED, -1, NULL);
    size_t count = 0;
    for (bool ok = true; ok; count++) {
        char chunk[210];
        memset(chunk, 'x', sizeof chunk);
        memcpy(chunk, "1;", 2);
        memcpy(chunk + 200, "\r\na\r\n", 5);
        ok = h1_body_decode(&b, chunk, 205, &used, &data, &detail);
    }
    assert_in_range(count, 70, 90);

    h1_body_init(&b, H1_BODY_CHUNKED, -1, NULL);
    memset(text, 'x', sizeof text);
    memcpy(text, "0\r\nx:", 5);
    assert_false(h1_body_decode(&b, text, sizeof text, &used, &data, &detail));
}

/* A head that was written is read back as it was meant. */
static void test_write_read(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64 * 1024);
    struct http_msg m;
    http_msg_init(&m, &a);
    m.method = SLICE("POST");
    m.path = SLICE("/x");
    m.query = SLICE("y=z");
    m.authority = SLICE("h:1");
    assert_true(http_msg_add(&m, SLICE("A"), SLICE("1")));
    assert_true(http_msg_add(&m, SLICE("Connection"), SLICE("close"))); /* the codec's: not written */
    assert_true(http_msg_add(&m, SLICE("Content-Length"), SLICE("7")));
    struct h1_write w = {.m = &m, .framing = H1_BODY_LENGTH, .content_length = 42};
    size_t size_max = h1_request_size_max(&w);
    char *text = arena_alloc(&a, size_max);
    size_t size = h1_request_write(&w, text);
    assert_true(size <= size_max);
    assert_true(slice_eq_str(slice_make(text, size),
                             "POST /x?y=z HTTP/1.1\r\nHost: h:1\r\nA: 1\r\nContent-Length: 42\r\n\r\n"));

    m.path = SLICE("/x y");
    assert_int_equal(h1_request_size_max(&w), 0);
    m.path = SLICE("/x\r\nEvil: 1");
    assert_int_equal(h1_request_size_max(&w), 0);
    m.path = SLICE("/x");
    m.method = SLICE("G T");
    assert_int_equal(h1_request_size_max(&w), 0);
    m.method = SLICE("GET");
    m.authority = SLICE("h\r\nEvil: 1");
    assert_int_equal(h1_request_size_max(&w), 0);

    http_msg_init(&m, &a);
    m.status = 404;
    w = (struct h1_write){
        .m = &m, .framing = H1_BODY_CHUNKED, .content_length = -1, .close = true, .date = "Thu, 01 Jan 1970 00:00:00 GMT", .server = "S"};
    size_max = h1_response_size_max(&w);
    text = arena_alloc(&a, size_max);
    size = h1_response_write(&w, text);
    assert_true(size <= size_max);
    assert_true(slice_eq_str(slice_make(text, size), "HTTP/1.1 404 Not Found\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: S\r\n"
                                                     "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"));
    arena_done(&a);
}

/* Lines go on as they came where they are as we would write them, and what a field between them was taken out of stays out. */
static void test_write_lines(void **state)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nA: 1\r\nb:  2 \r\nC:\t3\r\nD:4\r\nE: \r\nF:\r\nKeep-Alive: 5\r\nG: 6 \r\n"
                               "Server: own\r\nDate: today\r\nH: 7\r\n\r\n";
    static const char out[] = "HTTP/1.1 200 OK\r\nA: 1\r\nb: 2\r\nC: 3\r\nD: 4\r\nE: \r\nF: \r\nG: 6\r\n"
                              "Server: own\r\nDate: today\r\nX-Line: of ours\r\n\r\n";
    struct arena a;
    struct http_msg m;
    struct h1_head h;
    const char *detail = NULL;
    (void)state;
    arena_init(&a, 1 << 16);
    http_msg_init(&m, &a);
    assert_int_equal(h1_parse_response(slice_str(head), &limits, false, &m, &h, &detail), FICUS_ERR_OK);
    http_msg_remove(&m, SLICE("h"));
    assert_true(http_msg_keep(&m, HTTP_LINE(HTTP_OTHER, "X-Line", "of ours")));
    struct h1_write w = {.m = &m, .framing = H1_BODY_UNTIL_CLOSE, .content_length = -1, .date = "Thu, 01 Jan 1970 00:00:00 GMT", .server = "S"};
    size_t size_max = h1_response_size_max(&w);
    char *text = arena_alloc(&a, size_max);
    size_t size = h1_response_write(&w, text);
    assert_in_range(size, 1, size_max);
    assert_true(slice_eq_str(slice_make(text, size), out));
    arena_done(&a);
}

/* Looking at sixteen bytes together finds the first empty line as looking at each does: lines of every length, ended both ways. */
static void test_head_end_places(void **state)
{
    static const char *const ends[] = {"\n\n", "\r\n\r\n", "\n\r\n", "\r\n\n"};
    (void)state;
    for (size_t first = 1; first <= 36; first++) {
        for (size_t second = 1; second <= 36; second++) {
            for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
                char text[128];
                memset(text, '\r', sizeof text); /* only at the end of a line is it more than a character */
                text[first - 1] = 'a';
                text[first] = '\n';
                text[first + second] = 'b';
                size_t end = first + 1 + second + strlen(ends[i]);
                memcpy(text + first + 1 + second, ends[i], strlen(ends[i]));
                memcpy(text + end, "\n\n", 2);
                struct h1_scan whole = {0}, twice = {0};
                size_t expected = end;
                assert_int_equal(h1_head_end(text, end + 2, &whole), expected);
                assert_int_equal(h1_head_end(text, first + second, &twice), 0);
                assert_int_equal(h1_head_end(text, end + 2, &twice), expected);
            }
        }
    }
}

/* Sixteen together say what each says by itself. */
static void test_sixteen(void **state)
{
    (void)state;
    for (unsigned ch = 0; ch < 256; ch++) {
        for (unsigned at = 0; at < 16; at++) {
            uint8_t bytes[16] = {0};
            bytes[at] = (uint8_t)ch;
            unsigned zeros = 0xffffU & ~(1U << at);
            sixteen x = sixteen_load(bytes);
            assert_int_equal(sixteen_mask(sixteen_is(x, 'q')), (unsigned)(ch == 'q') << at);
            assert_int_equal(sixteen_mask(sixteen_within(x, 'a', 'z')), (unsigned)(ch >= 'a' && ch <= 'z') << at);
            assert_int_equal(sixteen_mask(sixteen_within(x, 0, 0x1f)), zeros | (unsigned)(ch <= 0x1f) << at);
            assert_int_equal(sixteen_mask(sixteen_within(x, 0x80, 0xff)), (unsigned)(ch >= 0x80) << at);
        }
    }
}

/* Looking at sixteen characters together finds the same end as looking at each: every character at every place, beside
 * each of a few others. */
static void test_value_span(void **state)
{
    static const char others[] = {'a', '\t', ' ', '~', '\x80', '\xff'};
    (void)state;
    for (size_t size = 0; size <= 42; size++) {
        for (size_t at = 0; at < size; at++) {
            for (int ch = 0; ch < 256; ch++) {
                for (size_t other = 0; other < sizeof others; other++) {
                    char text[42];
                    memset(text, others[other], sizeof text);
                    text[at] = (char)ch;
                    size_t expected = h1_is((char)ch, H1_VALUE) ? size : at;
                    assert_int_equal(h1_value_span(text, text + size) - text, expected);
                }
            }
        }
    }
}

/* The same of a field name. */
static void test_name_span(void **state)
{
    static const char others[] = {'a', 'Z', '-', '0', '_'};
    (void)state;
    for (size_t size = 0; size <= 36; size++) {
        for (size_t at = 0; at < size; at++) {
            for (int ch = 0; ch < 256; ch++) {
                for (size_t other = 0; other < sizeof others; other++) {
                    char text[36];
                    memset(text, others[other], sizeof text);
                    text[at] = (char)ch;
                    size_t expected = h1_is((char)ch, H1_TOKEN) ? size : at;
                    assert_int_equal(h1_name_span(text, text + size) - text, expected);
                }
            }
        }
    }
}

/* Dates are those of RFC 9110 5.6.7, also around leap days. */
static void test_dates(void **state)
{
    (void)state;
    char text[HTTP_DATE_SIZE];
    http_date_format(784111777000, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    http_date_format(0, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    http_date_format(951782400000, text);
    assert_string_equal(text, "Tue, 29 Feb 2000 00:00:00 GMT");
    http_date_format(1709251199999, text);
    assert_string_equal(text, "Thu, 29 Feb 2024 23:59:59 GMT");
    http_date_format(253402300799000, text);
    assert_string_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT");
}

/* The table of character classes agrees with the grammars, written down a second time. */
static void test_chars(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool unreserved = alnum || (c != 0 && strchr("-._~", c) != NULL);
        bool sub = c != 0 && strchr("!$&'()*+,;=", c) != NULL;
        bool path = unreserved || sub || (c != 0 && strchr(":@/%", c) != NULL);
        assert_int_equal(h1_is((char)c, H1_TOKEN), alnum || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL));
        assert_int_equal(h1_is((char)c, H1_VALUE), c == '\t' || (c >= 0x20 && c != 0x7f));
        assert_int_equal(h1_is((char)c, H1_PATH), path);
        assert_int_equal(h1_is((char)c, H1_QUERY), path || (c != 0 && strchr("?[]{}|^`\\", c) != NULL));
        assert_int_equal(h1_is((char)c, H1_NAME), unreserved || sub || c == '%');
    }
}

/* Every known name has its number, in whatever case; what differs in one character has another one, or none. */
static void test_names(void **state)
{
    (void)state;
    for (unsigned id = HTTP_OTHER + 1; id < HTTP_NAME_COUNT; id++) {
        struct slice name = http_names[id];
        char text[32];
        assert_in_range(name.size, 2, 24); /* is_known looks at three words */
        memcpy(text, name.p, name.size);
        if (http_name_of(slice_make(text, name.size)) != id)
            fail_msg("%s: belongs to slot %u of http_name.c, or the next free one", name.p, http_name_slot(name));
        for (size_t i = 0; i < name.size; i++) {
            assert_non_null(strchr("abcdefghijklmnopqrstuvwxyz0123456789-", name.p[i]));
            for (int c = 0x21; c < 0x7f; c++) {
                text[i] = (char)c;
                if (h1_is((char)c, H1_TOKEN))
                    assert_int_equal(http_name_of(slice_make(text, name.size)) == id,
                                     slice_eq_nocase(slice_make(text, name.size), name));
            }
            text[i] = name.p[i];
        }
        text[name.size] = 's';
        assert_int_not_equal(http_name_of(slice_make(text, name.size + 1)), id);
        assert_int_not_equal(http_name_of(slice_make(text, name.size - 1)), id);
    }
    assert_int_equal(http_name_of(SLICE("")), HTTP_OTHER);
    assert_int_equal(http_name_of(SLICE("a")), HTTP_OTHER);
    assert_int_equal(http_name_of(SLICE("accept")), HTTP_OTHER);
    assert_int_equal(http_name_of(SLICE("a-name-that-is-longer-than-all-of-them")), HTTP_OTHER);
}

/* By number: the first, and the only one, whether its number was known when it was added or not. */
static void test_names_found(void **state)
{
    (void)state;
    struct http_field fields[] = {{SLICE("X-Request-Id"), SLICE("1")},
                                  {SLICE("cookie"), SLICE("2"), HTTP_COOKIE},
                                  {SLICE("Cookie"), SLICE("3")},
                                  {SLICE("x-other"), SLICE("4")}};
    struct http_msg m = {.fields = fields, .field_count = 4, .field_capacity = 4};
    assert_true(slice_eq_str(http_msg_first(&m, HTTP_X_REQUEST_ID), "1"));
    assert_true(slice_eq_str(http_msg_single(&m, HTTP_X_REQUEST_ID), "1"));
    assert_true(slice_eq_str(http_msg_first(&m, HTTP_COOKIE), "2"));
    assert_null(http_msg_single(&m, HTTP_COOKIE).p);
    assert_null(http_msg_first(&m, HTTP_RANGE).p);
    assert_null(http_msg_single(&m, HTTP_RANGE).p);
}

/* Fields: found without case, replaced in place, refused when they could split a head. */
static void test_fields(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64 * 1024);
    struct http_msg m;
    http_msg_init(&m, &a);
    assert_true(http_msg_add(&m, SLICE("A"), SLICE("1")));
    assert_true(http_msg_add(&m, SLICE("b"), SLICE("2")));
    assert_true(http_msg_add(&m, SLICE("a"), SLICE("3")));
    assert_true(http_msg_set(&m, SLICE("a"), SLICE("4")));
    assert_int_equal(m.field_count, 2);
    assert_true(slice_eq_str(m.fields[0].value, "4"));
    http_msg_remove(&m, SLICE("B"));
    assert_int_equal(m.field_count, 1);
    assert_true(http_msg_set(&m, SLICE("c"), SLICE("")));
    assert_null(http_msg_get(&m, "d").p);
    assert_false(http_msg_add(&m, SLICE("a b"), SLICE("1")));
    assert_false(http_msg_add(&m, SLICE(""), SLICE("1")));
    assert_false(http_msg_add(&m, SLICE("a"), SLICE("1\r\nb: 2")));
    assert_false(http_msg_set(&m, SLICE("a"), SLICE("1\n")));
    assert_false(http_msg_add(&m, SLICE("a"), SLICE(" 1")));
    assert_int_equal(m.field_count, 2);
    bool added = true;
    for (int i = 0; i < 10000 && added; i++)
        added = http_msg_add(&m, SLICE("x"), SLICE("y"));
    assert_false(added);
    assert_true(arena_overflowed(&a));
    arena_done(&a);
}

/* Query parameters: first value, decoded, with broken escapes told apart from absence. */
static void test_query(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64 * 1024);
    bool ok;
    struct slice q = SLICE("a=1&b=x%20y+z&b=2&c&d=&%65=e&f=%zz");
    assert_true(slice_eq_str(http_query_get(q, "a", &a, &ok), "1") && ok);
    assert_true(slice_eq_str(http_query_get(q, "b", &a, &ok), "x y z") && ok);
    struct slice c = http_query_get(q, "c", &a, &ok);
    assert_true(c.p != NULL && c.size == 0 && ok);
    assert_true(http_query_get(q, "d", &a, &ok).size == 0 && ok);
    assert_true(slice_eq_str(http_query_get(q, "e", &a, &ok), "e") && ok);
    assert_true(http_query_get(q, "g", &a, &ok).p == NULL && ok);
    assert_true(http_query_get(q, "f", &a, &ok).p == NULL && !ok);
    assert_true(http_query_get(SLICE_NONE, "a", &a, &ok).p == NULL && ok);
    arena_done(&a);
}

/* Problem documents are as RFC 9457 3.1 has them. */
static void test_problem(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1024);
    http_problem_write(&b, 409, "out_of_stock", "none \"left\"", SLICE("/v1/x"));
    assert_string_equal(
        buf_str(&b), "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,\"detail\":\"none \\\"left\\\"\","
                     "\"code\":\"out_of_stock\",\"instance\":\"/v1/x\"}");
    buf_done(&b);
    assert_string_equal(http_status_text(418), "Unknown");
    assert_string_equal(http_status_text(100), "Continue");
    assert_string_equal(http_status_text(507), "Insufficient Storage");
    assert_true(http_method_idempotent(SLICE("PUT")));
    assert_false(http_method_idempotent(SLICE("POST")));
    assert_false(http_method_idempotent(SLICE("PATCH")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_requests),        cmocka_unit_test(test_poison),     cmocka_unit_test(test_request_parts),
        cmocka_unit_test(test_head_end_splits), cmocka_unit_test(test_responses),  cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunk_bounds),    cmocka_unit_test(test_write_read), cmocka_unit_test(test_dates),
        cmocka_unit_test(test_write_lines),     cmocka_unit_test(test_head_end_places), cmocka_unit_test(test_sixteen),
        cmocka_unit_test(test_chars),           cmocka_unit_test(test_value_span), cmocka_unit_test(test_fields),     cmocka_unit_test(test_query),
        cmocka_unit_test(test_name_span),       cmocka_unit_test(test_names),      cmocka_unit_test(test_names_found),
        cmocka_unit_test(test_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
