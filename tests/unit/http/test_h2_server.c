/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/2 server over a network in memory: exchanges, windows, what is malformed, floods, time limits, drain. The client
 * is made of raw frames (h2_rig.h).
 */
#include "h2_rig.h"

#include <malloc.h>
#include <stdio.h>

/* What the application does is the request's path:
 *   /echo     collects the body and answers it       /stream   answers, echoing pieces with back-pressure, and trailers
 *   /big      answers 1 MiB with Content-Length      /hold     does nothing
 *   /early    103 and then 200                       /none     204          /same   304
 *   /reset    gives up                               /tunnel   accepts an upgrade and echoes
 *   /refuse   answers 401 and leaves the body        others    "PATH" as text */
struct exchange {
    struct rig *r;
    struct http_collect collect;
    bool collecting, echo_trailers;
    struct buf pending;
    bool pending_end;
    size_t left;
};

static void exchange_free(struct exchange *x)
{
    if (x->collecting)
        http_collect_done(&x->collect);
    buf_done(&x->pending);
    mem_free(x);
}

static void collected(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    (void)arg;
    if (err != FICUS_ERR_OK)
        assert_int_equal(http_respond_problem(s, 413, NULL, "too large"), FICUS_ERR_OK);
    else
        assert_int_equal(http_respond(s, 200, NULL, 0, "text/plain", body), FICUS_ERR_OK);
}

static void big_send(struct exchange *x, struct http_stream *s)
{
    static const char page[8192] = {'b'};
    while (x->left > 0) {
        size_t size = x->left < sizeof page ? x->left : sizeof page;
        size_t taken = http_send(s, page, size, x->left == size);
        x->left -= taken;
        if (taken < size)
            return;
    }
}

static void stream_more(struct exchange *x, struct http_stream *s)
{
    struct slice out = buf_slice(&x->pending);
    size_t taken = http_send(s, out.p, out.size, x->pending_end);
    bool all = taken == out.size;
    buf_consume(&x->pending, taken);
    if (all && !x->pending_end)
        http_recv(s);
}

static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct exchange *x = arg;
    assert_true(data.size > 0 || end);
    assert_true(data.size <= HTTP_BODY_BUFFER_SIZE);
    x->r->read_total += data.size;
    assert_true(buf_add_slice(&x->pending, data));
    x->pending_end = end;
    stream_more(x, s);
}

static void on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    (void)arg;
    assert_int_equal(http_send_trailers(s, fields, field_count), FICUS_ERR_OK);
}

static void on_writable(void *arg, struct http_stream *s)
{
    struct exchange *x = arg;
    if (x->left > 0)
        big_send(x, s);
    else
        stream_more(x, s);
}

static void on_done(void *arg, struct http_stream *s)
{
    struct exchange *x = arg;
    if (x->r->held == s)
        x->r->held = NULL;
    x->r->dones++;
    exchange_free(x);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct exchange *x = arg;
    assert_non_null(detail);
    if (x->r->held == s)
        x->r->held = NULL;
    x->r->resets++;
    x->r->reset_err = err;
    exchange_free(x);
}

static void on_half_close(void *arg, struct http_stream *s)
{
    (void)s;
    ((struct exchange *)arg)->r->half_closes++;
}

static const struct http_handler handler = {.on_data = on_data,
                                            .on_trailers = on_trailers,
                                            .on_writable = on_writable,
                                            .on_done = on_done,
                                            .on_reset = on_reset,
                                            .on_half_close = on_half_close};

static void note_request(struct rig *r, const struct http_msg *m)
{
    for (size_t i = 0; i < m->field_count; i++)
        assert_true(http_token_valid(m->fields[i].name) && http_value_valid(m->fields[i].value));
    buf_clear(&r->request);
    buf_printf(&r->request, "%.*s %.*s", SLICE_ARG(m->method), SLICE_ARG(m->path));
    if (m->query.p != NULL)
        buf_printf(&r->request, "?%.*s", SLICE_ARG(m->query));
    buf_printf(&r->request, " %.*s %.*s %lld\n", SLICE_ARG(m->scheme), SLICE_ARG(m->authority),
               (long long)m->content_length);
    for (size_t i = 0; i < m->field_count; i++)
        buf_printf(&r->request, "%.*s: %.*s\n", SLICE_ARG(m->fields[i].name), SLICE_ARG(m->fields[i].value));
}

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct rig *r = arg;
    struct slice path = s->head_in->path;
    (void)peer;
    r->requests++;
    note_request(r, s->head_in);
    struct exchange *x = mem_zalloc(sizeof *x);
    x->r = r;
    buf_init(&x->pending, 256 * 1024);
    http_stream_handle(s, &handler, x);
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    if (slice_eq_str(path, "/echo")) {
        x->collecting = true;
        x->collect.done = collected;
        x->collect.arg = x;
        http_collect(s, &x->collect, 20000);
    } else if (slice_eq_str(path, "/stream")) {
        m.content_length = -1;
        assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
        if (end)
            assert_int_equal(http_send(s, "", 0, true), 0);
        else
            http_recv(s);
    } else if (slice_eq_str(path, "/tunnel")) {
        assert_true(slice_eq_str(s->head_in->protocol, "websocket"));
        m.status = 200; /* would say yes */
        assert_int_equal(http_send_head(s, &m, true), FICUS_ERR_INVALID);
        m.status = 101;
        assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
        http_recv(s);
    } else if (slice_eq_str(path, "/big")) {
        m.content_length = x->left = 1024 * 1024;
        assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
        big_send(x, s);
    } else if (slice_eq_str(path, "/early")) {
        m.status = 103;
        assert_int_equal(http_send_head(s, &m, true), FICUS_ERR_OK);
        assert_int_equal(http_respond(s, 200, NULL, 0, NULL, SLICE("later")), FICUS_ERR_OK);
    } else if (slice_eq_str(path, "/none")) {
        assert_int_equal(http_respond(s, 204, NULL, 0, NULL, SLICE("")), FICUS_ERR_OK);
    } else if (slice_eq_str(path, "/same")) {
        assert_int_equal(http_respond(s, 304, NULL, 0, NULL, SLICE("")), FICUS_ERR_OK);
    } else if (slice_eq_str(path, "/refuse")) {
        assert_int_equal(http_respond(s, 401, NULL, 0, NULL, SLICE("who?")), FICUS_ERR_OK);
    } else if (slice_eq_str(path, "/reset")) {
        exchange_free(x);
        http_reset(s, FICUS_ERR_CANCELLED);
    } else if (slice_eq_str(path, "/hold")) {
        r->held = s;
    } else {
        assert_int_equal(http_respond(s, 200, NULL, 0, "text/plain", path), FICUS_ERR_OK);
    }
}

static void on_refused(void *arg, int status, const char *detail)
{
    struct rig *r = arg;
    assert_non_null(detail);
    r->refused = status;
    r->refusals++;
}

static struct rig *rig_new(uint64_t seed, const struct http_limits *limits)
{
    struct rig *r = mem_zalloc(sizeof *r);
    fake_init(&r->net, seed);
    r->net.odd = seed > 1;
    buf_init(&r->got, 4 * 1024 * 1024);
    buf_init(&r->block, 1024 * 1024);
    buf_init(&r->text, 4 * 1024 * 1024);
    buf_init(&r->body, 8 * 1024 * 1024);
    buf_init(&r->request, 1024 * 1024);
    assert_int_equal(nghttp2_hd_inflate_new(&r->inflater), 0);
    r->goaway = -1;
    for (size_t i = 0; i < RIG_STREAMS; i++)
        r->streams[i].rst = -1;
    struct http_server_options o = {
        .h2c = true, .on_request = on_request, .on_refused = on_refused, .arg = r, .server_name = "t"};
    if (limits != NULL)
        o.limits = *limits;
    assert_int_equal(http_server_new(&r->net.env, &o, &r->server), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(r->server, "fd:3", NULL, NULL), FICUS_ERR_OK);
    rig_connect(r);
    return r;
}

static void on_closed(void *arg)
{
    ((struct rig *)arg)->closed = true;
}
static void on_drained(void *arg)
{
    ((struct rig *)arg)->drained = true;
}

static void rig_free(struct rig *r)
{
    http_server_close(r->server, on_closed, r);
    fake_run(&r->net);
    assert_true(r->closed);
    assert_int_equal(r->half_closes, 0);
    assert_int_equal(r->net.timer_count, 0);
    fake_done(&r->net);
    nghttp2_hd_inflate_del(r->inflater);
    buf_done(&r->got);
    buf_done(&r->block);
    buf_done(&r->text);
    buf_done(&r->body);
    buf_done(&r->request);
    mem_free(r);
}

/* The client is still served. */
static void assert_alive(struct rig *r, uint32_t id)
{
    rig_get(r, id, "/alive");
    assert_int_equal(rig_at(r, id)->status, 200);
    assert_true(rig_at(r, id)->end);
}

/* A request and its answer, in pieces of any size. */
static void test_get(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 40; seed++) {
        struct rig *r = rig_new(seed, NULL);
        rig_preface(r);
        assert_int_equal(r->settings, 1);
        assert_int_equal(r->settings_acks, 1);
        rig_request(r, 1, "GET", "/a%20b?x=1", "user-agent: t\ncookie: a=1\nx: y\ncookie: b=2\nte: trailers", true);
        assert_string_equal(buf_str(&r->request),
                            "GET /a%20b?x=1 http shop.example 0\nuser-agent: t\ncookie: a=1; b=2\nx: y\n");
        assert_int_equal(rig_at(r, 1)->status, 200);
        assert_true(rig_at(r, 1)->end);
        assert_true(rig_text(r, "1 date: Sun, 06 Nov 1994 08:49:3"));
        assert_true(rig_text(r, "1 server: t\n"));
        assert_true(rig_text(r, "1 content-type: text/plain\n"));
        assert_true(rig_text(r, "1 content-length: 6\n"));
        assert_string_equal(buf_str(&r->body), "/a%20b");
        assert_int_equal(r->dones, 1);
        rig_get(r, 3, "/none");
        rig_get(r, 5, "/same");
        rig_request(r, 7, "HEAD", "/head", "", true);
        assert_int_equal(rig_at(r, 3)->status, 204);
        assert_int_equal(rig_at(r, 5)->status, 304);
        assert_false(rig_text(r, "3 content-length"));
        assert_false(rig_text(r, "5 content-length"));
        assert_true(rig_text(r, "7 content-length: 5\n"));
        assert_true(rig_at(r, 7)->end && rig_at(r, 7)->body_size == 0);
        rig_get(r, 9, "/early");
        assert_int_equal(rig_at(r, 9)->interim, 103);
        assert_int_equal(rig_at(r, 9)->status, 200);
        assert_int_equal(r->dones, 5);
        assert_int_equal(r->goaways, 0);
        rig_free(r);
    }
}

/* Without leave the preface is HTTP/1.1's to refuse, and HTTP/1.1 is served beside. */
static void test_preface(void **state)
{
    (void)state;
    struct rig *r = rig_new(1, NULL);
    r->stuck = true;
    rig_bytes(r, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 47);
    fake_run(&r->net);
    assert_memory_equal(r->client->rx, "HTTP/1.1 200 OK\r\n", 17);
    /* Only the first bytes of a connection count. */
    r->client->rx_size = 0;
    rig_bytes(r, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    fake_run(&r->net);
    assert_memory_equal(r->client->rx, "HTTP/1.1 505", 12);
    rig_connect(r);
    rig_bytes(r, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 24);
    fake_run(&r->net);
    assert_memory_equal(r->client->rx, "HTTP/1.1 505", 12);
    rig_free(r);
}

/* A body of any length goes both ways, and window is given back exactly for what was read. */
static void test_bodies(void **state)
{
    (void)state;
    static const char page[8000] = {'p'};
    for (uint64_t seed = 1; seed < 6; seed++) {
        struct rig *r = rig_new(seed, NULL);
        rig_preface(r);
        rig_request(r, 1, "POST", "/echo", "content-length: 16000", false);
        rig_send(r, DATA, 0, 1, page, 8000);
        rig_send(r, DATA, END_STREAM, 1, page, 8000);
        rig_run(r);
        assert_int_equal(rig_at(r, 1)->status, 200);
        assert_int_equal(rig_at(r, 1)->body_size, 16000);
        rig_request(r, 3, "POST", "/echo", "", false);
        for (int i = 0; i < 4; i++)
            rig_send(r, DATA, 0, 3, page, 8000);
        rig_run(r);
        assert_int_equal(rig_at(r, 3)->status, 413);

        size_t sent = 0, total = 300000;
        rig_request(r, 5, "POST", "/stream", "content-length: 300000", false);
        rig_window(r, 0, 1000000);
        rig_window(r, 5, 1000000);
        while (sent < total) {
            size_t room = 32768 + rig_at(r, 5)->window - sent, n = total - sent < room ? total - sent : room;
            n = n < sizeof page ? n : sizeof page;
            assert_true(n > 0);
            sent += n;
            rig_send(r, DATA, sent == total ? END_STREAM : 0, 5, page, n);
            rig_run(r);
        }
        assert_int_equal(rig_at(r, 5)->body_size, total);
        assert_true(rig_at(r, 5)->end);
        assert_int_equal(r->dones, 3);
        rig_free(r);
    }
}

/* The client's windows hold the server back, and the user behind it. */
static void test_windows(void **state)
{
    (void)state;
    struct rig *r = rig_new(1, NULL);
    rig_preface(r);
    rig_get(r, 1, "/big");
    assert_int_equal(rig_at(r, 1)->body_size, 65535);
    rig_window(r, 1, 100000);
    rig_run(r);
    assert_int_equal(rig_at(r, 1)->body_size, 65535); /* the connection's own window is used up */
    rig_window(r, 0, 2000000);
    rig_run(r);
    assert_int_equal(rig_at(r, 1)->body_size, 165535);
    rig_window(r, 1, 2000000);
    rig_run(r);
    assert_int_equal(rig_at(r, 1)->body_size, 1024 * 1024);
    assert_true(rig_at(r, 1)->end);
    assert_int_equal(r->dones, 1);

    /* What nobody reads stays in its window: 32 KiB of a stream, and no more window for it. */
    static const char page[16384] = {'p'};
    rig_request(r, 3, "POST", "/hold", "", false);
    rig_send(r, DATA, 0, 3, page, sizeof page);
    rig_send(r, DATA, 0, 3, page, sizeof page);
    rig_run(r);
    assert_int_equal(rig_at(r, 3)->window, 0);
    assert_int_equal(rig_at(r, 3)->rst, -1);
    rig_send(r, DATA, 0, 3, page, 1);
    rig_run(r);
    assert_int_equal(rig_at(r, 3)->rst, NGHTTP2_FLOW_CONTROL_ERROR);
    assert_int_equal(r->resets, 1);
    assert_alive(r, 5);
    rig_free(r);
}

/* Window that streams took with them when they died is given back to the connection. */
static void test_credit(void **state)
{
    (void)state;
    static const char page[16384] = {'p'};
    struct rig *r = rig_new(1, NULL);
    rig_preface(r);
    uint64_t before = r->window, sent = 0;
    for (uint32_t id = 1; id < 1 + 2 * 80; id += 2) {
        rig_request(r, id, "POST", "/hold", "", false);
        rig_send(r, DATA, 0, id, page, sizeof page);
        rig_send(r, DATA, 0, id, page, sizeof page);
        rig_rst(r, id, NGHTTP2_CANCEL);
        rig_run(r);
        sent += 2 * sizeof page;
    }
    assert_int_equal(r->resets, 80);
    assert_int_equal(r->reset_err, FICUS_ERR_RESET);
    assert_true(sent > 2 * 1024 * 1024);
    assert_true(r->window - before + 1024 * 1024 >= sent);
    assert_alive(r, 1001);
    rig_free(r);
}

static void test_trailers(void **state)
{
    (void)state;
    struct rig *r = rig_new(1, NULL);
    rig_preface(r);
    rig_request(r, 1, "POST", "/stream", "", false);
    rig_send(r, DATA, 0, 1, "hello", 5);
    rig_headers(r, 1, "grpc-status: 0\ncontent-type: no\ndigest: x", true);
    assert_int_equal(rig_at(r, 1)->heads, 2);
    assert_true(rig_at(r, 1)->end);
    assert_string_equal(buf_str(&r->body), "hello");
    assert_true(rig_text(r, "1 grpc-status: 0\n1 digest: x\n"));
    assert_false(rig_text(r, "1 content-type: no\n"));
    /* Fields after the body that do not end the stream, and pseudo-fields there, are malformed. */
    rig_request(r, 3, "POST", "/stream", "", false);
    rig_headers(r, 3, "a: b", false);
    assert_int_equal(rig_at(r, 3)->rst, NGHTTP2_PROTOCOL_ERROR);
    rig_request(r, 5, "POST", "/stream", "", false);
    rig_headers(r, 5, ":path: /", true);
    assert_int_equal(rig_at(r, 5)->rst, NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(r->resets, 2);
    assert_alive(r, 7);
    rig_free(r);
}

/* RFC 8441. */
static void test_tunnel(void **state)
{
    (void)state;
    struct rig *r = rig_new(1, NULL);
    rig_preface(r);
    rig_request(r, 1, "CONNECT", "/tunnel", ":protocol: websocket\nsec-websocket-version: 13", false);
    assert_int_equal(rig_at(r, 1)->status, 200);
    assert_string_equal(buf_str(&r->request), "GET /tunnel http shop.example -1\nsec-websocket-version: 13\n");
    assert_false(rig_text(r, "content-length"));
    rig_send(r, DATA, 0, 1, "ping", 4);
    rig_run(r);
    assert_string_equal(buf_str(&r->body), "ping");
    rig_send(r, DATA, END_STREAM, 1, "", 0);
    rig_run(r);
    assert_true(rig_at(r, 1)->end);
    assert_int_equal(r->dones, 1);
    rig_headers(r, 3, ":method: CONNECT\n:authority: a:1", false);
    assert_int_equal(rig_at(r, 3)->status, 501);
    rig_request(r, 5, "CONNECT", "/tunnel", ":protocol: other", false);
    assert_int_equal(rig_at(r, 5)->status, 501);
    rig_request(r, 7, "GET", "/tunnel", ":protocol: websocket", false);
    assert_int_equal(rig_at(r, 7)->rst, NGHTTP2_PROTOCOL_ERROR);
    rig_free(r);
}

static void test_expect(void **state)
{
    (void)state;
    struct rig *r = rig_new(1, NULL);
    rig_preface(r);
    rig_request(r, 1, "POST", "/echo", "expect: 100-continue", false);
    assert_int_equal(rig_at(r, 1)->interim, 100);
    rig_send(r, DATA, END_STREAM, 1, "x", 1);
    rig_run(r);
    assert_int_equal(rig_at(r, 1)->status, 200);
    rig_request(r, 3, "POST", "/refuse", "expect: 100-continue", false);
    assert_int_equal(rig_at(r, 3)->interim, 0);
    assert_int_equal(rig_at(r, 3)->status, 401);
    rig_request(r, 5, "POST", "/echo", "expect: tea", false);
    assert_int_equal(rig_at(r, 5)->status, 417);
    rig_free(r);
}

/* Whatever byte stands in a name or a value: a user gets only what RFC 9110 5.1 and 5.5 allow (note_request), and gets all of
 * that but for capitals in names. */
static void test_field_bytes(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        struct rig *r = rig_new(1, NULL);
        rig_preface(r);
        char inside[] = {'a', (char)byte, 'c'};
        const struct http_field fields[] = {{SLICE("x"), slice_make(inside, 3)},
                                            {SLICE("x"), slice_make(inside, 2)},
                                            {SLICE("x"), slice_make(inside + 1, 2)},
                                            {slice_make(inside, 3), SLICE("y")}};
        for (uint32_t i = 0; i < ARRAY_COUNT(fields); i++) {
            struct buf b;
            buf_init(&b, 1024);
            block_fields(&b, ":method: GET\n:scheme: http\n:authority: a\n:path: /");
            block_field(&b, fields[i].name, fields[i].value);
            struct slice block = buf_slice(&b);
            rig_send(r, HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, block.p, block.size);
            rig_run(r);
            buf_done(&b);
            bool capital = i == 3 && byte >= 'A' && byte <= 'Z';
            bool valid = http_token_valid(fields[i].name) && http_value_valid(fields[i].value) && !capital;
            bool given = r->requests == 1 && strchr(buf_str(&r->request), '\n')[1] != '\0';
            if (valid != given)
                fail_msg("byte %d, field %u: %s", byte, i, given ? "given" : "not given");
            r->requests = 0;
            buf_clear(&r->request);
        }
        rig_free(r);
    }
}

/* RFC 9113 8.1.1 to 8.5: each of these resets its stream and nothing else. */
static void test_malformed(void **state)
{
    (void)state;
    static const char *const heads[] = {
        ":method: GET\n:scheme: http\n:authority: a",
        ":method: GET\n:path: /\n:authority: a",
        ":scheme: http\n:path: /\n:authority: a",
        ":method: GET\n:scheme: http\n:path: /",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\n:method: GET",
        ":method: GET\n:scheme: http\n:path: /\na: b\n:authority: a",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\n:status: 200",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\n:other: x",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nUpper: x",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nconnection: close",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nkeep-alive: 1",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nproxy-connection: x",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\ntransfer-encoding: chunked",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nupgrade: h2c",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nte: gzip",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\na b: x",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nx: a\rb",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nx:  a",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nx: a ",
        ":method: G T\n:scheme: http\n:path: /\n:authority: a",
        ":method: GET\n:scheme: https\n:path: /\n:authority: a",
        ":method: GET\n:scheme: ftp\n:path: /\n:authority: a",
        ":method: GET\n:scheme: http\n:path: \n:authority: a",
        ":method: GET\n:scheme: http\n:path: x\n:authority: a",
        ":method: GET\n:scheme: http\n:path: http://a/\n:authority: a",
        ":method: GET\n:scheme: http\n:path: *\n:authority: a",
        ":method: GET\n:scheme: http\n:path: /%zz\n:authority: a",
        ":method: GET\n:scheme: http\n:path: /%2\n:authority: a",
        ":method: GET\n:scheme: http\n:path: /a b\n:authority: a",
        ":method: GET\n:scheme: http\n:path: /a#b\n:authority: a",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a/b",
        ":method: GET\n:scheme: http\n:path: /\n:authority: u@a",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a:99999",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nhost: b",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\nhost: a\nhost: a",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\ncontent-length: 1",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\ncontent-length: -1",
        ":method: GET\n:scheme: http\n:path: /\n:authority: a\ncontent-length: 0\ncontent-length: 0",
    };
    struct http_limits limits = {.idle_timeout_ms = 10 * 60 * 1000};
    struct rig *r = rig_new(1, &limits);
    rig_preface(r);
    uint32_t id = 1;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++, id += 2) {
        unsigned refusals = r->refusals;
        rig_headers(r, id, heads[i], true);
        if (rig_at(r, id)->rst != NGHTTP2_PROTOCOL_ERROR)
            fail_msg("not refused: %s", heads[i]);
        assert_int_equal(rig_at(r, id)->status, 0);
        assert_int_equal(r->refusals, refusals + 1);
        assert_int_equal(r->refused, 400);
        rig_advance(r, 200); /* the budget for nonsense grows again */
    }
    assert_int_equal(r->requests, 0);
    assert_int_equal(r->goaways, 0);
    assert_alive(r, id);
    rig_headers(r, id + 2, ":method: OPTIONS\n:scheme: http\n:path: *\nhost: a", true);
    assert_int_equal(rig_at(r, id + 2)->status, 200);
    assert_string_equal(buf_str(&r->request), "OPTIONS * http a 0\n");
    /* Content-Length and DATA must agree. */
    rig_request(r, id + 4, "POST", "/hold", "content-length: 3", false);
    rig_send(r, DATA, END_STREAM, id + 4, "xx", 2);
    rig_run(r);
    assert_int_equal(rig_at(r, id + 4)->rst, NGHTTP2_PROTOCOL_ERROR);
    rig_request(r, id + 6, "POST", "/hold", "content-length: 3", false);
    rig_send(r, DATA, END_STREAM, id + 6, "xxxx", 4);
    rig_run(r);
    assert_int_equal(rig_at(r, id + 6)->rst, NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(r->resets, 2);
    assert_int_equal(r->reset_err, FICUS_ERR_PROTOCOL);
    rig_free(r);
}

/* Well-formed, but too much: answered. */
static void test_limits(void **state)
{
    (void)state;
    struct http_limits limits = {.head_size_max = 4000, .field_count_max = 10, .target_size_max = 100};
    struct rig *r = rig_new(1, &limits);
    rig_preface(r);
    char text[6000] = "x: ";
    memset(text + 3, 'a', 3990);
    rig_request(r, 1, "GET", "/", text, true);
    assert_int_equal(rig_at(r, 1)->status, 431);
    assert_int_equal(r->refused, 431);
    assert_true(rig_text(r, "1 content-type: application/problem+json\n"));
    rig_request(r, 3, "GET", "/", "a: 1\na: 1\na: 1\na: 1\na: 1\na: 1\na: 1\na: 1\na: 1\na: 1\na: 1", true);
    assert_int_equal(rig_at(r, 3)->status, 431);
    text[0] = '/';
    memset(text + 1, 'a', 120);
    text[121] = '\0';
    rig_get(r, 5, text);
    assert_int_equal(rig_at(r, 5)->status, 414);
    assert_alive(r, 7);
    assert_int_equal(r->requests, 1);
    rig_free(r);
    limits = (struct http_limits){.arena_size_max = 2048};
    r = rig_new(1, &limits);
    rig_preface(r);
    memset(text, 'a', 3000);
    memcpy(text, "x: ", 3);
    text[3000] = '\0';
    rig_request(r, 1, "GET", "/", text, true);
    assert_int_equal(rig_at(r, 1)->status, 431);
    rig_free(r);
}

/* A hundred streams at once. Who opens one more loses that one and nothing else, be it before or after the client knows. */
static void test_stream_count(void **state)
{
    (void)state;
    struct rig *r = rig_new(1, NULL);
    rig_bytes(r, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    rig_send(r, SETTINGS, 0, 0, "", 0);
    for (uint32_t id = 1; id < 2 * 110; id += 2)
        rig_get(r, id, "/hold");
    assert_int_equal(r->streams_max, 100);
    assert_int_equal(r->requests, 100);
    assert_int_equal(rig_at(r, 199)->rst, -1);
    for (uint32_t id = 201; id < 2 * 110; id += 2)
        assert_int_equal(rig_at(r, id)->rst, NGHTTP2_REFUSED_STREAM);
    rig_send(r, SETTINGS, ACK, 0, "", 0);
    rig_get(r, 221, "/hold");
    assert_int_equal(rig_at(r, 221)->rst, NGHTTP2_REFUSED_STREAM);
    rig_rst(r, 7, NGHTTP2_CANCEL); /* room for one */
    rig_get(r, 223, "/hold");
    assert_int_equal(rig_at(r, 223)->rst, -1);
    assert_int_equal(r->requests, 101);
    rig_get(r, 225, "/hold");
    assert_int_equal(rig_at(r, 225)->rst, NGHTTP2_REFUSED_STREAM);
    assert_int_equal(r->resets, 1);
    assert_int_equal(r->refusals, 0); /* nothing was malformed */
    assert_int_equal(r->goaways, 0);
    rig_free(r);
}

/* All that a client can make its connection hold at once stays below what h2_server.h says: a hundred large heads, the
 * window of bodies that nobody reads, and a hundred answers that its own windows keep from going. */
static void test_memory(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* has a heap of its own */
#endif
    enum { STREAMS = 100, HEAD_SIZE = 6000, BODY_SIZE = 10000, ARENA_SIZE = 8 * 1024, KIB = 1024 };
    static const char zero_window[] = {0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0, 0, 0, 0};
    static char body[BODY_SIZE], field[HEAD_SIZE];
    memset(field, 'a', sizeof field - 1);
    memcpy(field, "x: ", 3);
    struct http_limits limits = {.arena_size_max = ARENA_SIZE};
    struct rig *r = rig_new(1, &limits);
    rig_preface(r);
    rig_send(r, SETTINGS, 0, 0, zero_window, sizeof zero_window);
    struct mallinfo2 before = mallinfo2();
    for (uint32_t id = 1; id < 2 * STREAMS; id += 2) {
        rig_request(r, id, "POST", "/big", field, false);
        rig_send(r, DATA, 0, id, body, sizeof body);
    }
    rig_run(r);
    struct mallinfo2 after = mallinfo2();
    assert_int_equal(r->requests, STREAMS);
    assert_int_equal(rig_at(r, 2 * STREAMS - 1)->status, 200);
    assert_int_equal(r->goaways + r->resets, 0);
    size_t used = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    assert_in_range(used, STREAMS * (HEAD_SIZE + BODY_SIZE + 32 * KIB),
                    STREAMS * (2 * ARENA_SIZE + 32 * KIB + 4 * KIB) + 2 * 1024 * KIB + 128 * KIB);
    rig_free(r);
}

/* An answer before the end of the request: the client is asked to stop, and the stream is gone. */
static void test_early_answer(void **state)
{
    (void)state;
    struct rig *r = rig_new(1, NULL);
    rig_preface(r);
    rig_request(r, 1, "POST", "/refuse", "content-length: 100000", false);
    rig_send(r, DATA, 0, 1, "some", 4);
    rig_run(r);
    assert_int_equal(rig_at(r, 1)->status, 401);
    assert_true(rig_at(r, 1)->end);
    assert_int_equal(r->dones, 1);
    assert_int_equal(rig_at(r, 1)->rst, -1); /* time to look at the answer first */
    rig_send(r, DATA, 0, 1, "more", 4);
    rig_advance(r, 2000);
    assert_int_equal(rig_at(r, 1)->rst, NGHTTP2_NO_ERROR);
    rig_request(r, 7, "POST", "/refuse", "content-length: 4", false);
    rig_send(r, DATA, END_STREAM, 7, "some", 4);
    rig_advance(r, 2000);
    assert_int_equal(rig_at(r, 7)->rst, -1);
    assert_int_equal(r->dones, 2);
    rig_get(r, 9, "/reset");
    assert_int_equal(rig_at(r, 9)->rst, NGHTTP2_CANCEL);
    assert_alive(r, 11);
    rig_free(r);
}

/* The client gives up: the user hears it once. */
static void test_reset(void **state)
{
    (void)state;
    struct rig *r = rig_new(1, NULL);
    rig_preface(r);
    rig_get(r, 1, "/hold");
    assert_non_null(r->held);
    struct http_progress progress;
    http_stream_progress(r->held, &progress);
    assert_false(progress.conn_reused || progress.response_begun);
    rig_rst(r, 1, NGHTTP2_CANCEL);
    rig_run(r);
    assert_null(r->held);
    assert_int_equal(r->reset_err, FICUS_ERR_RESET);
    rig_get(r, 3, "/hold");
    rig_get(r, 5, "/hold");
    fake_close(r->client, NULL, NULL);
    fake_run(&r->net);
    assert_int_equal(r->resets, 3);
    assert_int_equal(http_server_conn_count(r->server), 0);
    rig_connect(r);
    rig_preface(r);
    rig_get(r, 1, "/hold");
    http_server_close(r->server, on_closed, r);
    fake_run(&r->net);
    assert_true(r->closed);
    assert_int_equal(r->resets, 4);
    assert_int_equal(r->reset_err, FICUS_ERR_CANCELLED);
    r->closed = false;
    struct http_server_options o = {.on_request = on_request, .arg = r};
    assert_int_equal(http_server_new(&r->net.env, &o, &r->server), FICUS_ERR_OK);
    rig_free(r);
}

/* Two words of goodbye: what came before the second is served. */
static void test_drain(void **state)
{
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        struct rig *r = rig_new(1, NULL);
        rig_preface(r);
        if (busy)
            rig_get(r, 1, "/hold");
        http_server_drain(r->server, on_drained, r);
        rig_run(r);
        assert_int_equal(r->goaways, 1);
        assert_int_equal(r->goaway_last, 0x7fffffff);
        assert_int_equal(r->pings, 1);
        assert_alive(r, 3); /* it was on its way */
        rig_send(r, PING, ACK, 0, "drained?", 8);
        rig_run(r);
        assert_int_equal(r->goaways, 2);
        assert_int_equal(r->goaway, NGHTTP2_NO_ERROR);
        assert_int_equal(r->goaway_last, 3);
        rig_get(r, 5, "/late");
        assert_int_equal(rig_at(r, 5)->status, 0);
        if (busy) {
            assert_false(r->client->rx_eof);
            assert_int_equal(http_respond(r->held, 200, NULL, 0, NULL, SLICE("ok")), FICUS_ERR_OK);
            rig_run(r);
            assert_int_equal(rig_at(r, 1)->status, 200);
        }
        assert_true(r->client->rx_eof);
        assert_false(r->drained);
        fake_close(r->client, NULL, NULL);
        fake_run(&r->net);
        assert_true(r->drained);
        rig_free(r);
    }
    struct rig *r = rig_new(1, NULL); /* one that goes on asking behind the second word */
    rig_preface(r);
    rig_get(r, 1, "/hold");
    http_server_drain(r->server, on_drained, r);
    rig_run(r);
    rig_send(r, PING, ACK, 0, "drained?", 8);
    rig_run(r);
    assert_int_equal(r->goaways, 2);
    for (uint32_t id = 5; id < 5 + 2 * 1100 && r->client->peer != NULL && r->goaways == 2; id += 2) {
        rig_send(r, HEADERS, END_HEADERS | END_STREAM, id, "\x82\x86\x84\x41\1x", 6);
        rig_run(r);
    }
    assert_int_equal(r->goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    rig_free(r);
    r = rig_new(1, NULL); /* one that does not answer the ping */
    rig_preface(r);
    http_server_drain(r->server, on_drained, r);
    rig_advance(r, 4000);
    assert_int_equal(r->goaways, 2);
    assert_true(r->drained);
    rig_free(r);
}

/* After so many requests the client is told to go, twice: what came before the second word is served. */
static void test_requests_per_connection(void **state)
{
    struct http_limits limits = {.conn_request_count_max = 2};
    struct rig *r = rig_new(1, &limits);
    rig_preface(r);
    assert_alive(r, 1);
    assert_int_equal(r->goaways, 0);
    rig_get(r, 3, "/hold");
    assert_int_equal(r->goaways, 1);
    assert_int_equal(r->goaway_last, 0x7fffffff);
    assert_alive(r, 5);
    rig_send(r, PING, ACK, 0, "drained?", 8);
    rig_run(r);
    assert_int_equal(r->goaways, 2);
    assert_int_equal(r->goaway, NGHTTP2_NO_ERROR);
    assert_int_equal(r->goaway_last, 5);
    rig_get(r, 7, "/late");
    assert_int_equal(rig_at(r, 7)->status, 0);
    assert_int_equal(http_respond(r->held, 200, NULL, 0, NULL, SLICE("ok")), FICUS_ERR_OK);
    rig_run(r);
    assert_int_equal(rig_at(r, 3)->status, 200);
    assert_true(r->client->rx_eof);
    rig_free(r);
}

/* A client that reads in small steps and says so each time is no flood. */
static void test_small_updates(void **state)
{
    (void)state;
    enum { STEP = 4096, DOWNLOADS = 4, SIZE = 1024 * 1024 };
    struct rig *r = rig_new(1, NULL);
    rig_preface(r);
    rig_window(r, 0, 16 * SIZE); /* so that frames are as large as they get */
    for (uint32_t id = 1; id < 2 * DOWNLOADS; id += 2) {
        size_t said = 0;
        rig_get(r, id, "/big");
        rig_window(r, id, 2 * SIZE);
        rig_run(r);
        assert_int_equal(rig_at(r, id)->body_size, SIZE);
        for (; said < SIZE; said += STEP) {
            rig_window(r, 0, STEP);
            rig_window(r, id, STEP); /* late for a stream that has ended; allowed (RFC 9113 6.9) */
        }
        rig_run(r);
        assert_int_equal(r->goaways, 0);
    }
    rig_free(r);
}

/* Whoever sends what only costs is sent away. */
static void test_floods(void **state)
{
    (void)state;
    for (int kind = 0; kind < 11; kind++) {
        struct rig *r = rig_new(1, NULL);
        rig_preface(r);
        rig_request(r, 1, "POST", "/hold", "", false);
        uint32_t id = 3;
        if (kind == 7 || kind == 8) { /* a stream that is closed */
            rig_get(r, id, "/");
            assert_true(rig_at(r, id)->end);
        }
        for (; kind == 6 && id < 1 + 2 * 100; id += 2)
            rig_get(r, id, "/hold");
        unsigned i = 0;
        for (; i < 3000 && r->client->peer != NULL && r->goaways == 0; i++, id += 2) {
            if (kind == 0)
                rig_send(r, PING, 0, 0, "12345678", 8);
            else if (kind == 1)
                rig_send(r, SETTINGS, 0, 0, "", 0);
            else if (kind == 2)
                rig_send(r, DATA, 0, 1, "", 0);
            else if (kind == 3)
                rig_send(r, PRIORITY, 0, 1, "\0\0\0\0\1", 5);
            else if (kind == 4)
                rig_window(r, 0, 1);
            else if (kind == 7)
                rig_send(r, DATA, 0, 3, "abc", 3);
            else if (kind == 10) /* nothing but padding */
                rig_send(r, DATA, NGHTTP2_FLAG_PADDED, 1, "\3\0\0\0", 4);
            else if (kind == 9)
                rig_send(r, 0x42, 0, 0, "abc", 3);
            else if (kind == 8)
                rig_send(r, HEADERS, END_HEADERS | END_STREAM, 3, "\x82\x86\x84\x41\1x", 6);
            else {
                rig_get(r, id, "/hold");
                if (kind == 6) /* more streams than there may be */
                    continue;
                rig_rst(r, id, NGHTTP2_CANCEL);
            }
            rig_run(r);
        }
        rig_run(r);
        if (r->goaway != NGHTTP2_ENHANCE_YOUR_CALM && !(kind == 5 && r->goaway == NGHTTP2_INTERNAL_ERROR))
            fail_msg("flood %d: %u frames, GOAWAY %d", kind, i, r->goaway);
        assert_true(i < (kind == 5 ? 150 : 1100));
        assert_true(r->resets >= 1);
        assert_true(r->client->rx_eof);
        rig_free(r);
    }
}

/* A field section without end is cut off, by number of frames. */
static void test_continuations(void **state)
{
    (void)state;
    struct rig *r = rig_new(1, NULL);
    rig_preface(r);
    rig_send(r, HEADERS, END_STREAM, 1, "\x82", 1);
    for (int i = 0; i < 20 && r->client->peer != NULL; i++)
        rig_send(r, CONTINUATION, 0, 1, "\x84", 1);
    rig_run(r);
    assert_int_equal(r->requests, 0);
    assert_int_equal(http_server_conn_count(r->server), 0);
    rig_free(r);
}

/* Answers that nobody takes: what waits for them is bounded, because then nothing is read either. It goes on when they are
 * taken, and the connection is ended when they never are. */
static void test_pings_not_read(void **state)
{
    (void)state;
    enum { WINDOW_SIZE = 2048, FRAME = 17, PINGS = 800 }; /* fewer than are a flood */
    static const uint8_t ping[FRAME + 1] = "\0\0\x08\x06\0\0\0\0\0" "12345678";
    for (int takes = 0; takes < 2; takes++) {
        struct rig *r = rig_new(1, NULL);
        r->net.window = WINDOW_SIZE;
        rig_connect(r);
        rig_preface(r);
        r->stuck = true;
        size_t pushed = 0;
        for (size_t n = FRAME; n == FRAME && pushed < PINGS * FRAME; pushed += n) {
            n = fake_push(r->client, (const char *)ping, FRAME);
            fake_run(&r->net);
        }
        size_t read = pushed - r->client->peer->rx_size;
        assert_int_equal(r->client->peer->rx_size, WINDOW_SIZE); /* the transport is full: nobody reads */
        assert_int_equal(r->client->rx_size, WINDOW_SIZE);       /* nor do we */
        /* What was read is answered in the transport, or waits: one write, 64 frames and what one read had more. */
        assert_in_range(read, WINDOW_SIZE, WINDOW_SIZE + (64 + 1) * FRAME + 2 * 1024);
        assert_int_equal(r->goaways, 0);
        if (takes == 0) {
            fake_advance(&r->net, 100 * 1000);
            assert_int_equal(http_server_conn_count(r->server), 0);
        } else {
            r->stuck = false;
            rig_run(r);
            assert_int_equal(r->ping_acks, pushed / FRAME);
            assert_int_equal(r->client->peer->rx_size, 0);
        }
        rig_free(r);
    }
}

static void test_time_limits(void **state)
{
    (void)state;
    struct http_limits limits = {.head_timeout_ms = 5000, .idle_timeout_ms = 20000, .body_timeout_ms = 8000};
    struct rig *r = rig_new(1, &limits); /* no SETTINGS */
    rig_bytes(r, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    rig_advance(r, 4900);
    assert_int_equal(r->goaways, 0);
    rig_advance(r, 200);
    assert_int_equal(r->goaway, NGHTTP2_SETTINGS_TIMEOUT);
    rig_free(r);

    r = rig_new(1, &limits); /* pings do not keep it open */
    rig_preface(r);
    for (int i = 0; i < 19; i++) {
        rig_send(r, PING, 0, 0, "12345678", 8);
        rig_advance(r, 1000);
    }
    assert_int_equal(r->goaways, 0);
    rig_advance(r, 1100);
    assert_int_equal(r->goaway, NGHTTP2_NO_ERROR);
    assert_true(r->client->rx_eof);
    rig_free(r);

    r = rig_new(1, &limits); /* half a field section */
    rig_preface(r);
    rig_get(r, 1, "/hold");
    rig_send(r, HEADERS, END_STREAM, 3, "\x82", 1);
    rig_advance(r, 5100);
    assert_true(r->goaways == 1 && r->resets == 1);
    rig_free(r);

    r = rig_new(1, &limits); /* a body that stops; the others go on */
    rig_preface(r);
    rig_request(r, 1, "POST", "/echo", "", false);
    rig_send(r, DATA, 0, 1, "x", 1);
    rig_advance(r, 7900);
    assert_int_equal(r->resets, 0);
    rig_advance(r, 300);
    assert_int_equal(r->resets, 1);
    assert_int_equal(r->reset_err, FICUS_ERR_TIMEOUT);
    assert_int_equal(rig_at(r, 1)->status, 408);
    assert_alive(r, 3);

    rig_get(r, 5, "/big"); /* a client that does not take the answer */
    rig_advance(r, 7900);
    assert_int_equal(r->resets, 1);
    rig_advance(r, 300);
    assert_int_equal(r->resets, 2);
    assert_int_equal(rig_at(r, 5)->rst, NGHTTP2_CANCEL);
    rig_window(r, 0, 100000);
    rig_get(r, 7, "/hold"); /* the user may take its time */
    rig_advance(r, 60000);
    assert_non_null(r->held);
    assert_alive(r, 9);
    rig_free(r);
}

/* Whoever waits gives its place to a newcomer. */
static void test_eviction(void **state)
{
    (void)state;
    struct http_limits limits = {.conn_count_max = 2};
    struct rig *r = rig_new(1, &limits);
    struct env_stream *first = r->client;
    rig_preface(r);
    assert_alive(r, 1);
    rig_connect(r);
    fake_run(&r->net);
    assert_true(first->rx_eof);
    assert_int_equal(http_server_conn_count(r->server), 1);
    rig_free(r);
    r = rig_new(1, &limits); /* not while it runs a request */
    first = r->client;
    rig_preface(r);
    rig_get(r, 1, "/hold");
    rig_connect(r);
    fake_run(&r->net);
    assert_false(first->rx_eof);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),          cmocka_unit_test(test_preface),       cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_windows),      cmocka_unit_test(test_credit),        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_tunnel),       cmocka_unit_test(test_expect),        cmocka_unit_test(test_field_bytes), cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_stream_count),  cmocka_unit_test(test_memory),
        cmocka_unit_test(test_early_answer), cmocka_unit_test(test_reset),         cmocka_unit_test(test_drain),
        cmocka_unit_test(test_requests_per_connection), cmocka_unit_test(test_small_updates), cmocka_unit_test(test_floods), cmocka_unit_test(test_continuations),
        cmocka_unit_test(test_pings_not_read), cmocka_unit_test(test_time_limits), cmocka_unit_test(test_eviction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
