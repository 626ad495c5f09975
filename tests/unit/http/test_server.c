/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 server over a network in memory: framing of answers, keep-alive, pipelining, limits, time limits, drain,
 * back-pressure.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "fake_net.h"
#include "server_private.h"
#include "http_server.h"

#include <stdio.h>

enum { ECHO_MAX = 1024 * 1024, PAGE_SIZE = 16000 };

/* One test application; what it does is the request's path:
 *   /echo      collects the body and answers it        /stream   answers chunked, echoing pieces with back-pressure
 *   /big       answers 1 MiB with Content-Length        /ignore   answers 200 and never reads the body
 *   /hold      does not answer until released           /none     204        /early  103 and then 200
 *   /tunnel    becomes one that echoes                  /trailed  echoes chunked, and the trailers as well
 *   /reset     gives up                                  /page    answers PAGE_SIZE bytes with Content-Length
 *   others     "PATH" as text */
struct app {
    struct fake_net net;
    struct http_server *server;
    struct env_stream *client; /* the test's own end */
    struct buf got;            /* all that came */
    struct http_stream *held;
    unsigned requests, dones, resets, half_closes;
    bool patient; /* a client that shuts its side is not taken for gone */
    enum ficus_err reset_err;
    int refused;
    bool drained, closed;
    size_t sent_total; /* of /big */
    struct http_limits limits;
};

struct exchange {
    struct app *app;
    struct http_collect collect;
    bool collecting;
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
    struct exchange *x = arg;
    (void)x;
    if (err != FICUS_ERR_OK) {
        assert_int_equal(err, FICUS_ERR_TOO_LARGE);
        assert_int_equal(http_respond_problem(s, 413, NULL, "too large"), FICUS_ERR_OK);
        return;
    }
    struct http_field field = {SLICE("X-Method"), s->head_in->method};
    if (body.size <= HTTP_BODY_BUFFER_SIZE) {
        assert_int_equal(http_respond(s, 200, &field, 1, "text/plain", body), FICUS_ERR_OK);
    } else {
        assert_int_equal(http_respond(s, 200, &field, 1, "text/plain", body), FICUS_ERR_TOO_LARGE);
        http_respond_problem(s, 500, NULL, "does not fit");
    }
}

static void big_send(struct exchange *x, struct http_stream *s)
{
    static const char page[8192] = {'b'};
    while (x->left > 0) {
        size_t size = x->left < sizeof page ? x->left : sizeof page;
        size_t taken = http_send(s, page, size, x->left == size);
        x->left -= taken;
        x->app->sent_total += taken;
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
    assert_true(buf_add_slice(&x->pending, data));
    x->pending_end = end;
    stream_more(x, s);
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
    (void)s;
    x->app->dones++;
    exchange_free(x);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct exchange *x = arg;
    assert_non_null(detail);
    if (x->app->held == s)
        x->app->held = NULL;
    x->app->resets++;
    x->app->reset_err = err;
    exchange_free(x);
}

static void on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    (void)arg;
    if (slice_eq_str(s->head_in->path, "/trailed"))
        assert_int_equal(http_send_trailers(s, fields, field_count), FICUS_ERR_OK);
}

static const struct http_handler handler = {
    .on_data = on_data, .on_trailers = on_trailers, .on_writable = on_writable, .on_done = on_done, .on_reset = on_reset};

static void on_half_close(void *arg, struct http_stream *s)
{
    struct exchange *x = arg;
    (void)s;
    x->app->half_closes++;
}

static const struct http_handler patient_handler = {.on_data = on_data,
                                                    .on_writable = on_writable,
                                                    .on_done = on_done,
                                                    .on_reset = on_reset,
                                                    .on_half_close = on_half_close};

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct app *app = arg;
    assert_true(peer->is_unix);
    app->requests++;
    struct exchange *x = mem_zalloc(sizeof *x);
    x->app = app;
    buf_init(&x->pending, 64 * 1024);
    http_stream_handle(s, app->patient ? &patient_handler : &handler, x);
    struct slice path = s->head_in->path;
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    if (slice_eq_str(path, "/echo")) {
        x->collecting = true;
        x->collect.done = collected;
        x->collect.arg = x;
        http_collect(s, &x->collect, ECHO_MAX);
    } else if (slice_eq_str(path, "/stream")) {
        m.content_length = -1;
        assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
        http_recv(s);
    } else if (slice_eq_str(path, "/trailed")) {
        m.content_length = -1;
        assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
        http_recv(s);
    } else if (slice_eq_str(path, "/tunnel")) {
        assert_true(end);
        m.status = 101;
        enum ficus_err err = http_send_head(s, &m, false);
        assert_int_equal(err, s->head_in->protocol.p == NULL ? FICUS_ERR_INVALID : FICUS_ERR_OK);
        if (err == FICUS_ERR_OK)
            http_recv(s);
        else
            assert_int_equal(http_respond(s, 426, NULL, 0, NULL, SLICE("no")), FICUS_ERR_OK);
    } else if (slice_eq_str(path, "/big")) {
        x->left = 1024 * 1024;
        m.content_length = (int64_t)x->left;
        assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
        big_send(x, s);
    } else if (slice_eq_str(path, "/page")) {
        char page[PAGE_SIZE];
        memset(page, 'p', sizeof page);
        m.content_length = PAGE_SIZE;
        assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
        assert_int_equal(http_send(s, page, sizeof page, true), PAGE_SIZE);
    } else if (slice_eq_str(path, "/hold")) {
        app->held = s;
    } else if (slice_eq_str(path, "/none")) {
        assert_int_equal(http_respond(s, 204, NULL, 0, NULL, SLICE("")), FICUS_ERR_OK);
    } else if (slice_eq_str(path, "/early")) {
        m.status = 103;
        http_msg_add(&m, SLICE("Link"), SLICE("</x>"));
        assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
        assert_int_equal(http_respond(s, 200, NULL, 0, NULL, SLICE("late")), FICUS_ERR_OK);
    } else if (slice_eq_str(path, "/reset")) {
        http_reset(s, FICUS_ERR_INTERNAL);
        exchange_free(x);
    } else {
        assert_int_equal(http_respond(s, 200, NULL, 0, "text/plain", path), FICUS_ERR_OK);
    }
    (void)end;
}

static void on_refused(void *arg, int status, const char *detail)
{
    assert_non_null(detail);
    ((struct app *)arg)->refused = status;
}

static void client_new(struct app *app)
{
    struct env_stream *server_end;
    fake_pair(&app->net, &app->client, &server_end);
    app->net.listeners[0].on_accept(app->net.listeners[0].arg, server_end);
}

static struct app *app_new(uint64_t seed, const struct http_limits *limits)
{
    struct app *app = mem_zalloc(sizeof *app);
    fake_init(&app->net, seed);
    app->net.odd = seed > 1;
    buf_init(&app->got, 8 * 1024 * 1024);
    struct http_server_options o = {.on_request = on_request, .on_refused = on_refused, .arg = app, .server_name = "t"};
    if (limits != NULL)
        o.limits = *limits;
    assert_int_equal(http_server_new(&app->net.env, &o, &app->server), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(app->server, "fd:3", NULL, NULL), FICUS_ERR_OK);
    client_new(app);
    return app;
}

static void on_closed(void *arg)
{
    ((struct app *)arg)->closed = true;
}
static void on_drained(void *arg)
{
    ((struct app *)arg)->drained = true;
}

static void app_free(struct app *app)
{
    http_server_close(app->server, on_closed, app);
    fake_run(&app->net);
    assert_true(app->closed);
    assert_int_equal(app->dones + app->resets <= app->requests, 1);
    assert_int_equal(app->net.timer_count, 0);
    fake_done(&app->net);
    buf_done(&app->got);
    mem_free(app);
}

static void receive(struct app *app)
{
    struct env_stream *c = app->client;
    assert_true(buf_add(&app->got, c->rx, c->rx_size));
    c->rx_size = 0;
}

/* Send all, taking what comes meanwhile. */
static void send_bytes(struct app *app, const char *p, size_t size)
{
    while (size > 0 && app->client->peer != NULL) {
        size_t n = fake_push(app->client, p, size);
        p += n;
        size -= n;
        fake_run(&app->net);
        receive(app);
    }
    for (size_t before = SIZE_MAX; before != buf_slice(&app->got).size;) {
        before = buf_slice(&app->got).size;
        fake_run(&app->net);
        receive(app);
    }
}

static void send_text(struct app *app, const char *text)
{
    send_bytes(app, text, strlen(text));
}

static size_t count_of(const struct app *app, const char *text)
{
    size_t count = 0;
    for (const char *p = buf_str(&app->got); (p = strstr(p, text)) != NULL; p++)
        count++;
    return count;
}

static bool got(const struct app *app, const char *text)
{
    return count_of(app, text) > 0;
}
static bool got_end(const struct app *app)
{
    return app->client->rx_eof;
}

/* A plain request gets one answer, in one write, with a date, and the connection stays. */
static void test_simple(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    send_text(app, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(
        buf_str(&app->got),
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:38 GMT\r\nServer: t\r\nContent-Type: text/plain\r\n"
        "Content-Length: 2\r\n\r\n/x");
    assert_int_equal(app->net.write_calls, 1);
    assert_false(got_end(app));
    assert_int_equal(app->dones, 1);
    send_text(app, "\r\nGET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(got(app, "Connection: close\r\n\r\n/y"));
    assert_true(got_end(app));
    app_free(app);
}

/* A head and the whole of a large body that is there leave in one write, from where they are; no memory is held for them after. */
static void test_page(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    for (uint64_t i = 1; i <= 3; i++) {
        send_text(app, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_int_equal(app->net.write_calls, i);
        assert_int_equal(count_of(app, "Content-Length: 16000\r\n\r\nppp"), i);
        assert_int_equal(buf_slice(&app->got).size % PAGE_SIZE, i * 90); /* the heads */
        assert_false(app->net.env.loan_taken);
    }
    app_free(app);
}

/* A client that does not read keeps what the loop lends for output; others are answered from memory of their own. It is given back
 * when that client has read, or is gone. */
static void test_loan(void **state)
{
    (void)state;
    for (int reads = 0; reads < 2; reads++) {
        struct app *app = app_new(1, NULL);
        struct env_stream *others = app->client;
        app->net.window = 1024;
        client_new(app);
        struct env_stream *slow = app->client;
        char path[1500], request[1600];
        memset(path, 's', sizeof path);
        snprintf(request, sizeof request, "GET /%.*s HTTP/1.1\r\nHost: a\r\n\r\n", (int)sizeof path, path);
        slow->peer->rx_capacity = sizeof request;
        slow->peer->rx = mem_realloc(slow->peer->rx, sizeof request);
        assert_int_equal(fake_say(slow, request), strlen(request));
        fake_run(&app->net);
        assert_int_equal(slow->rx_size, 1024);
        app->client = others;
        for (int i = 1; i <= 3; i++) {
            send_text(app, "GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_int_equal(count_of(app, "\r\n\r\n/other"), i);
        }
        app->client = slow;
        if (reads)
            send_text(app, "");
        else
            fake_close(slow, NULL, NULL);
        fake_run(&app->net);
        assert_int_equal(count_of(app, "sss") > 0, reads);
        assert_int_equal(app->dones, 3 + reads);
        assert_false(app->net.env.loan_taken);
        app_free(app);
    }
}

/* After so many requests the answer says that it was the last; nothing behind it is read. A new limit holds for connections
 * that are open. */
static void test_requests_per_connection(void **state)
{
    (void)state;
    static const char get[] = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    struct http_limits limits = {.conn_request_count_max = 3};
    struct app *app = app_new(1, &limits);
    send_text(app, get);
    send_text(app, get);
    assert_false(got(app, "Connection: close"));
    char two[2 * sizeof get];
    (void)snprintf(two, sizeof two, "%s%s", get, get);
    send_text(app, two);
    assert_int_equal(app->requests, 3);
    assert_int_equal(count_of(app, "Connection: close"), 1);
    assert_true(got_end(app));
    app_free(app);

    app = app_new(1, NULL);
    for (int i = 0; i < 5; i++)
        send_text(app, get);
    assert_false(got(app, "Connection: close"));
    http_server_limit(app->server, &limits);
    send_text(app, get);
    assert_int_equal(app->requests, 6);
    assert_true(got(app, "Connection: close") && got_end(app));
    app_free(app);
}

/* The conversation is the same for every seed of odd reads and writes. */
static void test_conversation(void **state)
{
    (void)state;
    static const char text[] = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
                               "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
                               "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                               "chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
                               "HEAD /b HTTP/1.1\r\nHost: a\r\n\r\n"
                               "GET /none HTTP/1.1\r\nHost: a\r\n\r\n"
                               "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nwxyz"
                               "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET "
                               "GET /early HTTP/1.1\r\nHost: a\r\n\r\n"
                               "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
                               "GET /last HTTP/1.0\r\n\r\n";
    for (uint64_t seed = 1; seed < 300; seed++) {
        struct app *app = app_new(seed, NULL);
        send_text(app, text);
        assert_int_equal(app->requests, 10);
        assert_int_equal(app->dones, 10);
        assert_int_equal(app->resets, 0);
        assert_int_equal(app->refused, 0);
        assert_int_equal(count_of(app, "HTTP/1.1 200 OK"), 9);
        assert_true(got(app, "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200"));
        assert_true(got(app, "Content-Length: 5\r\n\r\nabcdeHTTP/1.1 200"));
        assert_true(got(app, "Content-Length: 2\r\n\r\nHTTP/1.1 204 No Content\r\n"));
        assert_true(got(app, "\r\n0\r\n\r\nHTTP/1.1 200 OK"));
        assert_true(got(app, "\r\n\r\n/ignoreHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK"));
        assert_true(got(app, "Content-Length: 5\r\nConnection: close\r\n\r\n/last"));
        assert_true(got_end(app));
        app_free(app);
    }
}

/* A split at any byte, even within the empty line before a request, changes nothing. */
static void test_every_split(void **state)
{
    (void)state;
    static const char text[] = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                               "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\r\nGET /z HTTP/1.1\r\nHost: a\r\n\r\n";
    for (size_t split = 0; split < sizeof text; split++) {
        struct app *app = app_new(1, NULL);
        send_bytes(app, text, split);
        send_bytes(app, text + split, sizeof text - 1 - split);
        assert_true(got(app, "\r\n\r\nabcHTTP/1.1 200 OK"));
        assert_true(got(app, "\r\n\r\n/z"));
        assert_int_equal(app->dones, 2);
        app_free(app);
    }
}

/* Malformed input is answered once, with the status and a problem document, and the connection ends; nothing behind it
 * is served. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"\x16\x03\x01", 400},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct app *app = app_new(i % 2 + 1, NULL);
        send_text(app, cases[i].text);
        char line[32];
        snprintf(line, sizeof line, "HTTP/1.1 %d ", cases[i].status);
        assert_true(got(app, line));
        assert_int_equal(count_of(app, "HTTP/1.1 "), 1);
        assert_true(got(app, "application/problem+json"));
        assert_true(got(app, "Connection: close"));
        assert_true(got_end(app));
        assert_int_equal(app->refused, cases[i].status);
        assert_int_equal(app->requests, 0);
        app_free(app);
    }
}

/* A body that turns malformed resets the stream; if nothing was answered, the client is told 400. */
static void test_malformed_body(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    send_text(app, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n");
    assert_int_equal(app->resets, 1);
    assert_int_equal(app->reset_err, FICUS_ERR_PROTOCOL);
    assert_true(got(app, "HTTP/1.1 400 "));
    assert_true(got_end(app));
    app_free(app);

    app = app_new(1, NULL);
    send_text(app, "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n");
    assert_int_equal(app->resets, 1);
    assert_false(got(app, " 400 "));
    assert_false(got(app, "\r\n0\r\n\r\n")); /* the answer is cut, visibly */
    assert_true(got_end(app));
    app_free(app);
}

/* Heads over the limits are refused with 431 or 414, whole or dripping. */
static void test_head_limits(void **state)
{
    (void)state;
    char big[20000];
    for (int drip = 0; drip < 2; drip++) {
        struct app *app = app_new(drip == 0 ? 1 : 7, NULL);
        memset(big, 'a', sizeof big);
        memcpy(big, "GET /", 5);
        send_bytes(app, big, sizeof big);
        assert_true(got(app, "HTTP/1.1 414 "));
        app_free(app);

        app = app_new(drip == 0 ? 1 : 7, NULL);
        memset(big, 'a', sizeof big);
        memcpy(big, "GET / HTTP/1.1\r\nX: ", 19);
        send_bytes(app, big, sizeof big);
        assert_true(got(app, "HTTP/1.1 431 "));
        app_free(app);

        app = app_new(drip == 0 ? 1 : 7, NULL);
        memset(big, 'a', sizeof big);
        memcpy(big, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 28);
        memcpy(big + 16000, "\r\n\r\n", 4);
        send_bytes(app, big, 16004);
        assert_true(got(app, "HTTP/1.1 200 "));
        app_free(app);
    }
}

/* Slow heads get 408; idle connections and stalled bodies end; a client that does not read is given up. */
static void test_timeouts(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    send_text(app, "GET / HT");
    fake_advance(&app->net, 9900);
    assert_false(got_end(app));
    send_text(app, "TP"); /* a drip does not help: the limit is for the whole head */
    fake_advance(&app->net, 200);
    receive(app);
    assert_true(got(app, "HTTP/1.1 408 "));
    assert_true(got_end(app));
    app_free(app);

    app = app_new(1, NULL);
    fake_advance(&app->net, 74000);
    assert_false(got_end(app));
    fake_advance(&app->net, 1100);
    assert_true(got_end(app));
    assert_int_equal(http_server_conn_count(app->server), 0);
    app_free(app);

    app = app_new(1, NULL);
    send_text(app, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    fake_advance(&app->net, 29000);
    send_text(app, "d");
    fake_advance(&app->net, 29000);
    assert_int_equal(app->resets, 0);
    fake_advance(&app->net, 1100);
    receive(app);
    assert_int_equal(app->resets, 1);
    assert_int_equal(app->reset_err, FICUS_ERR_TIMEOUT);
    assert_true(got(app, "HTTP/1.1 408 "));
    app_free(app);

    app = app_new(1, NULL);
    fake_say(app->client, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    fake_advance(&app->net, 29900);
    assert_int_equal(app->resets, 0);
    fake_advance(&app->net, 200);
    assert_int_equal(app->resets, 1);
    assert_int_equal(app->reset_err, FICUS_ERR_TIMEOUT);
    app_free(app);

    app = app_new(1, NULL); /* a handler may take its time */
    send_text(app, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    fake_advance(&app->net, 600000);
    assert_int_equal(app->resets, 0);
    assert_int_equal(http_respond(app->held, 200, NULL, 0, NULL, SLICE("now")), FICUS_ERR_OK);
    fake_run(&app->net);
    receive(app);
    assert_true(got(app, "\r\n\r\nnow"));
    app_free(app);
}

/* A client that reads slowly stops the sender: no more than the buffer and the window are ever under way. */
static void test_slow_reader(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    fake_say(app->client, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    fake_run(&app->net);
    size_t window = app->net.window;
    assert_in_range(app->sent_total, window / 2, window + 2 * HTTP_BODY_BUFFER_SIZE);
    size_t before = app->sent_total;
    fake_run(&app->net);
    assert_int_equal(app->sent_total, before);
    send_bytes(app, "", 0); /* now read it all */
    assert_int_equal(app->sent_total, 1024 * 1024);
    assert_true(buf_slice(&app->got).size > 1024 * 1024);
    assert_int_equal(app->dones, 1);
    app_free(app);
}

/* A handler that does not read stops the client: no more than the buffer is taken from the kernel. */
static void test_slow_handler(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    const char *head = "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    fake_push(app->client, head, strlen(head));
    char page[4096] = {0};
    size_t total = 0;
    for (int i = 0; i < 100; i++) {
        total += fake_push(app->client, page, sizeof page);
        fake_run(&app->net);
    }
    assert_in_range(total, HTTP_BODY_BUFFER_SIZE, HTTP_BODY_BUFFER_SIZE + app->net.window);
    app_free(app);
}

/* Bodies that nobody reads: small ones are drained and the connection goes on; large ones end it, after the answer
 * arrived. */
static void test_unread_body(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    send_text(app, "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
    assert_true(got(app, "\r\n\r\n/ignore"));
    assert_false(got(app, "Connection: close"));
    static char junk[60000];
    send_bytes(app, junk, sizeof junk);
    send_text(app, "GET /after HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(got(app, "\r\n\r\n/after"));
    app_free(app);

    app = app_new(1, NULL);
    send_text(app, "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    send_bytes(app, junk, sizeof junk);
    assert_true(got(app, "\r\n\r\n/ignore"));
    send_bytes(app, junk, 10000);
    assert_true(got_end(app));
    assert_false(app->client->rx_reset);
    app_free(app);

    app = app_new(1, NULL); /* chunked: how much comes is not known before */
    send_text(app, "POST /ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n");
    assert_false(got_end(app));
    send_bytes(app, junk, sizeof junk);
    send_bytes(app, junk, sizeof junk);
    assert_true(got_end(app));
    app_free(app);
}

/* Expect: 100-continue is answered when the handler asks for the body, and not when it answers without. */
static void test_expect(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    send_text(app, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_string_equal(buf_str(&app->got), "HTTP/1.1 100 Continue\r\n\r\n");
    send_text(app, "abc");
    assert_true(got(app, "\r\n\r\nabc"));
    assert_false(got(app, "Connection: close"));
    send_text(app, "POST /ignore HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_int_equal(count_of(app, " 100 Continue"), 1);
    assert_true(got(app, "Connection: close\r\n\r\n/ignore"));
    assert_true(got_end(app));
    app_free(app);
}

/* A body over the handler's limit: 413, also when its length says so from the start. */
static void test_too_large(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    static char junk[2 * ECHO_MAX];
    send_text(app, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\nx");
    assert_true(got(app, "HTTP/1.1 413 "));
    app_free(app);

    app = app_new(1, NULL);
    send_text(app, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1fffff\r\n");
    send_bytes(app, junk, sizeof junk);
    assert_true(got(app, "HTTP/1.1 413 "));
    assert_true(got_end(app));
    app_free(app);
}

/* A client that shuts its side gets what is answered by then; one that waits for more, or resets, is gone. */
static void test_half_close(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    send_text(app, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    fake_shutdown_write(app->client);
    fake_run(&app->net);
    assert_int_equal(app->resets, 1);
    assert_int_equal(app->reset_err, FICUS_ERR_RESET);
    assert_true(got_end(app));
    app_free(app);

    app = app_new(1, NULL); /* answered, but not read yet */
    fake_say(app->client, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    fake_shutdown_write(app->client);
    fake_run(&app->net);
    assert_int_equal(app->resets, 1); /* a megabyte does not fit the buffers: still being answered */
    app_free(app);

    app = app_new(1, NULL); /* both pipelined requests are served */
    fake_say(app->client, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    fake_shutdown_write(app->client);
    send_text(app, "");
    assert_true(got(app, "/2"));
    assert_true(got_end(app));
    app_free(app);

    app = app_new(1, NULL);
    send_text(app, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    app->client->peer->rx_reset = true;
    fake_run(&app->net);
    assert_int_equal(app->resets, 1);
    assert_int_equal(app->reset_err, FICUS_ERR_RESET);
    assert_int_equal(http_server_conn_count(app->server), 0);
    app_free(app);

    app = app_new(1, NULL); /* gone inside its body */
    send_text(app, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    fake_close(app->client, NULL, NULL);
    fake_run(&app->net);
    assert_int_equal(app->resets, 1);
    app_free(app);
}

/* With on_half_close the exchange goes on to its end, whatever was answered by then. */
static void test_half_close_patient(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct app *app = app_new(seed, NULL);
        app->patient = true;
        send_text(app, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
        fake_shutdown_write(app->client);
        fake_run(&app->net);
        assert_int_equal(app->half_closes, 1);
        assert_int_equal(app->resets, 0);
        assert_int_equal(http_respond(app->held, 200, NULL, 0, "text/plain", SLICE("late")), FICUS_ERR_OK);
        fake_run(&app->net);
        send_text(app, "");
        assert_true(got(app, "late"));
        assert_true(got_end(app));
        assert_int_equal(app->dones, 1);
        app_free(app);

        app = app_new(seed, NULL); /* many buffers long */
        app->patient = true;
        fake_say(app->client, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
                              "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
        fake_shutdown_write(app->client);
        for (unsigned i = 0; i < 1000 && app->dones < 2; i++)
            send_text(app, "");
        assert_int_equal(app->dones, 2);
        assert_int_equal(app->sent_total, 1024 * 1024);
        assert_true(got(app, "abc"));
        assert_true(got_end(app));
        app_free(app);

        app = app_new(seed, NULL); /* gone after all: writing tells */
        app->patient = true;
        send_text(app, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
        fake_close(app->client, NULL, NULL);
        fake_run(&app->net);
        if (app->held != NULL)
            assert_int_equal(http_respond(app->held, 200, NULL, 0, "text/plain", SLICE("late")), FICUS_ERR_OK);
        fake_run(&app->net);
        assert_int_equal(app->resets + app->dones, 1);
        assert_int_equal(http_server_conn_count(app->server), 0);
        app_free(app);
    }
}

/* http_reset ends the connection without any callback. */
static void test_reset(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    send_text(app, "GET /reset HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(got_end(app));
    assert_int_equal(buf_slice(&app->got).size, 0);
    assert_int_equal(app->requests, 1);
    assert_int_equal(app->dones + app->resets, 0);
    app_free(app);
}

/* Drain: idle connections get one more request answered or end soon, running exchanges end with Connection: close, then
 * it is told once. */
static void test_drain(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    struct env_stream *busy = app->client;
    send_text(app, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    client_new(app);
    struct env_stream *idle = app->client;
    send_text(app, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    client_new(app);
    struct env_stream *late = app->client;
    send_text(app, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    client_new(app);
    struct env_stream *fresh = app->client;
    fake_run(&app->net);
    http_server_drain(app->server, on_drained, app);
    fake_run(&app->net);
    assert_false(idle->rx_eof);
    app->client = late;
    send_text(app, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n"); /* it was on its way: served, and the last */
    assert_true(got(app, "Connection: close\r\n\r\n/late"));
    fake_close(late, NULL, NULL);
    fake_advance(&app->net, 300);
    assert_true(idle->rx_eof);
    assert_false(fresh->rx_eof);
    app->client = fresh;
    assert_false(app->drained);
    assert_false(app->net.listeners[0].open);
    send_text(app, "GET /fresh HTTP/1.1\r\nHost: a\r\n\r\n"); /* accepted before: served, once */
    assert_true(got(app, "Connection: close\r\n\r\n/fresh"));
    fake_close(fresh, NULL, NULL);
    app->client = busy;
    http_respond(app->held, 200, NULL, 0, NULL, SLICE("held"));
    send_text(app, "");
    assert_true(got(app, "Connection: close\r\n\r\nheld"));
    fake_close(busy, NULL, NULL);
    fake_run(&app->net);
    assert_true(app->drained);
    app_free(app);
}

/* Draining without connections is told too, and closing resets what runs. */
static void test_close(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    fake_close(app->client, NULL, NULL);
    fake_run(&app->net);
    http_server_drain(app->server, on_drained, app);
    assert_false(app->drained);
    fake_run(&app->net);
    assert_true(app->drained);
    app_free(app);

    app = app_new(1, NULL);
    send_text(app, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    http_server_close(app->server, on_closed, app);
    assert_int_equal(app->resets, 0);
    fake_run(&app->net);
    assert_int_equal(app->resets, 1);
    assert_int_equal(app->reset_err, FICUS_ERR_CANCELLED);
    assert_true(app->closed);
    fake_done(&app->net);
    buf_done(&app->got);
    mem_free(app);
}

/* At the highest number of connections a new one takes the place of the one that has waited longest without a request,
 * a part of a head counting as none, and is served. */
static void test_conn_max_waiting(void **state)
{
    (void)state;
    struct app *app = app_new(1, &(struct http_limits){.conn_count_max = 3});
    send_text(app, "GET /slow HTTP/1.1\r\nX:");
    struct env_stream *first = app->client;
    for (int i = 0; i < 10; i++) {
        client_new(app);
        fake_run(&app->net);
        assert_false(app->net.listeners[0].paused);
        assert_in_range(http_server_conn_count(app->server), 2, 3);
        send_text(app, i % 2 == 0 ? "GET /x HTTP/1.1\r\nHost: a\r\n\r\n" : "GET /y");
    }
    assert_int_equal(app->requests, 5);
    assert_int_equal(app->dones, 5);
    fake_close(first, NULL, NULL);
    app_free(app);
}

/* While all connections run requests accepting pauses; their answers then end their connections, and a newcomer that
 * asks nothing holds the last place for a second at most. */
static void test_conn_max_busy(void **state)
{
    (void)state;
    struct app *app = app_new(1, &(struct http_limits){.conn_count_max = 2});
    send_text(app, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_false(app->net.listeners[0].paused);
    struct env_stream *busy = app->client;
    client_new(app);
    fake_run(&app->net);
    assert_true(app->net.listeners[0].paused);
    assert_int_equal(http_server_conn_count(app->server), 2);
    fake_advance(&app->net, 1100);
    assert_false(app->net.listeners[0].paused);
    assert_int_equal(http_server_conn_count(app->server), 1);
    fake_close(app->client, NULL, NULL);

    client_new(app);
    fake_run(&app->net);
    struct env_stream *idle = app->client;
    app->client = busy;
    assert_int_equal(http_respond(app->held, 200, NULL, 0, "text/plain", SLICE("")), FICUS_ERR_OK);
    fake_run(&app->net);
    receive(app);
    assert_true(got(app, "Connection: close"));
    fake_close(app->client, NULL, NULL);
    app->client = idle;
    fake_run(&app->net);
    assert_false(app->net.listeners[0].paused);
    app_free(app);
}

/* Saying one content length and sending another breaks the exchange instead of the framing. */
static void test_wrong_length(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct app *app = app_new(1, NULL);
        send_text(app, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
        struct http_msg m;
        http_msg_init(&m, app->held->arena);
        m.status = 200;
        m.content_length = 5;
        assert_int_equal(http_send_head(app->held, &m, false), FICUS_ERR_OK);
        http_send(app->held, "0123456789", more ? 10 : 3, true);
        fake_run(&app->net);
        assert_int_equal(app->resets, 1);
        assert_int_equal(app->reset_err, FICUS_ERR_INVALID);
        assert_true(got_end(app));
        app_free(app);
    }
}

/* Bodies of a megabyte pass through chunked in both directions, whatever the sizes of reads and writes. */
static void test_stream_large(void **state)
{
    (void)state;
    static char body[1024 * 1024 + 7];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)('a' + i % 23);
    for (uint64_t seed = 1; seed < 4; seed++) {
        struct app *app = app_new(seed, NULL);
        send_text(app, "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100007\r\n");
        send_bytes(app, body, sizeof body);
        send_text(app, "\r\n0\r\n\r\n");
        struct slice all = buf_slice(&app->got);
        struct h1_scan scan = {0};
        size_t head = h1_head_end(all.p, all.size, &scan), used, data;
        assert_true(head > 0);
        struct h1_body b;
        h1_body_init(&b, H1_BODY_CHUNKED, -1, NULL);
        const char *detail;
        char *copy = mem_alloc(all.size);
        memcpy(copy, all.p, all.size);
        assert_true(h1_body_decode(&b, copy + head, all.size - head, &used, &data, &detail));
        assert_true(b.done);
        assert_int_equal(data, sizeof body);
        assert_memory_equal(copy + head, body, sizeof body);
        mem_free(copy);
        assert_int_equal(app->dones, 1);
        app_free(app);
    }
}

/* Trailers are sent to clients that take them, and to no others; those that may not stand there are dropped. */
static void test_trailers(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 50; seed++) {
        struct app *app = app_new(seed, NULL);
        send_text(app, "POST /trailed HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
                       "2\r\nab\r\n0\r\nX-Sum: 9\r\nContent-Length: 4\r\n\r\n");
        assert_true(got(app, "\r\n0\r\nX-Sum: 9\r\n\r\n"));
        assert_false(got(app, "Content-Length"));
        buf_clear(&app->got);
        send_text(app, "POST /trailed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 9\r\n\r\n");
        assert_true(got(app, "\r\n0\r\n\r\n"));
        assert_false(got(app, "X-Sum"));
        assert_int_equal(app->dones, 2);
        app_free(app);
    }
}

/* Behind a 101 everything is the tunnel's, what came with the handshake too; each direction ends by itself. Nobody gets
 * one who did not ask, and then the connection goes on as ever. */
static void test_tunnel(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 100; seed++) {
        struct app *app = app_new(seed, NULL);
        send_text(app, "GET /tunnel HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
        assert_true(got(app, "HTTP/1.1 426 Upgrade Required\r\n"));
        send_text(app, "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                       "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_true(got(app, "HTTP/1.1 101 Switching Protocols\r\n"));
        assert_true(got(app, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_int_equal(app->requests, 2);
        fake_advance(&app->net, 3600 * 1000);
        assert_int_equal(app->resets, 0);
        send_text(app, "more");
        assert_true(got(app, "\r\n\r\nmore"));
        assert_int_equal(app->dones, 1);
        fake_shutdown_write(app->client);
        fake_run(&app->net);
        assert_int_equal(app->dones, 2);
        assert_true(got_end(app));
        app_free(app);
    }
}

/* A client that is gone ends a tunnel at once. */
static void test_tunnel_lost(void **state)
{
    (void)state;
    struct app *app = app_new(1, NULL);
    send_text(app, "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    app->client->peer->rx_reset = true;
    fake_run(&app->net);
    assert_int_equal(app->resets, 1);
    assert_int_equal(app->reset_err, FICUS_ERR_RESET);
    app_free(app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_tunnel),
        cmocka_unit_test(test_tunnel_lost),
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_loan), cmocka_unit_test(test_requests_per_connection), cmocka_unit_test(test_conversation), cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_malformed_body), cmocka_unit_test(test_head_limits),
        cmocka_unit_test(test_timeouts),     cmocka_unit_test(test_slow_reader),    cmocka_unit_test(test_slow_handler),
        cmocka_unit_test(test_unread_body),  cmocka_unit_test(test_expect),         cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_half_close),   cmocka_unit_test(test_half_close_patient),
        cmocka_unit_test(test_reset),          cmocka_unit_test(test_drain),
        cmocka_unit_test(test_close),        cmocka_unit_test(test_conn_max_waiting),
        cmocka_unit_test(test_conn_max_busy),       cmocka_unit_test(test_wrong_length),
        cmocka_unit_test(test_stream_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
