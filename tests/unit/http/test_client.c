/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 client connection over a network in memory, against a server end that the test plays byte by byte, and
 * against the server.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "fake_net.h"
#include "http_client.h"

#include <stdio.h>

struct rig {
    struct fake_net net;
    struct env_stream *peer; /* the server's end, played by the test */
    struct http_client_conn *conn;
    struct http_stream *stream;
    struct buf sent, body;
    char trailers[32];
    unsigned connected, idles, closes, heads, interims, dones, resets;
    enum ficus_err connect_err, reset_err;
    int status;
    int64_t length;
    bool ended, hold; /* hold: do not ask for the body */
    struct http_progress progress;
    size_t left; /* of a large request body */
};

static void on_connected(void *arg, struct http_client_conn *c, enum ficus_err err)
{
    struct rig *r = arg;
    assert_ptr_equal(c, r->conn);
    r->connected++;
    r->connect_err = err;
}
static void on_room(void *arg, struct http_client_conn *c)
{
    ((struct rig *)arg)->idles++;
}
static void on_closed(void *arg, struct http_client_conn *c)
{
    struct rig *r = arg;
    r->closes++;
    r->conn = NULL;
}
static const struct http_client_handler conn_handler = {on_connected, on_room, on_closed};

static void on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct rig *r = arg;
    r->heads++;
    r->status = m->status;
    r->length = m->content_length;
    r->ended = end;
    assert_ptr_equal(s->head_in, m);
    if (!end && !r->hold)
        http_recv(s);
}
static void on_interim(void *arg, struct http_stream *s, struct http_msg *m)
{
    ((struct rig *)arg)->interims++;
}
static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct rig *r = arg;
    assert_true(buf_add_slice(&r->body, data));
    r->ended = end;
    if (!end && !r->hold)
        http_recv(s);
}
static void body_send(struct rig *r)
{
    static const char page[8192] = {'q'};
    while (r->left > 0) {
        size_t size = r->left < sizeof page ? r->left : sizeof page;
        size_t taken = http_send(r->stream, page, size, size == r->left);
        r->left -= taken;
        if (taken < size)
            return;
    }
}
static void on_writable(void *arg, struct http_stream *s)
{
    body_send(arg);
}
static void on_done(void *arg, struct http_stream *s)
{
    struct rig *r = arg;
    http_stream_progress(s, &r->progress);
    r->dones++;
    r->stream = NULL;
}
static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct rig *r = arg;
    assert_non_null(detail);
    http_stream_progress(s, &r->progress);
    r->resets++;
    r->reset_err = err;
    r->stream = NULL;
}
static void on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct rig *r = arg;
    assert_false(r->ended);
    assert_int_equal(field_count, 1);
    (void)snprintf(r->trailers, sizeof r->trailers, SLICE_FMT "=" SLICE_FMT, SLICE_ARG(fields[0].name),
                   SLICE_ARG(fields[0].value));
}
static const struct http_handler handler = {on_head, on_interim, on_data, on_trailers, on_writable, on_done, on_reset};

static void on_accept(void *arg, struct env_stream *s)
{
    ((struct rig *)arg)->peer = s;
}

static struct rig *rig_new(uint64_t seed)
{
    struct rig *r = mem_zalloc(sizeof *r);
    fake_init(&r->net, seed);
    r->net.odd = seed > 1;
    buf_init(&r->sent, 4 * 1024 * 1024);
    buf_init(&r->body, 4 * 1024 * 1024);
    struct env_listener *l;
    fake_listen(&r->net.env, "unix:x", NULL, on_accept, r, &l, NULL);
    assert_int_equal(http_client_connect(&r->net.env, "unix:x", NULL, &conn_handler, r, &r->conn), FICUS_ERR_OK);
    assert_int_equal(r->connected, 0);
    fake_run(&r->net);
    assert_int_equal(r->connected, 1);
    assert_int_equal(r->connect_err, FICUS_ERR_OK);
    return r;
}

static void rig_free(struct rig *r)
{
    if (r->conn != NULL)
        http_client_close(r->conn);
    fake_run(&r->net);
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->net.timer_count, 0);
    fake_done(&r->net);
    buf_done(&r->sent);
    buf_done(&r->body);
    mem_free(r);
}

static void request(struct rig *r, const char *method, int64_t length, bool end)
{
    buf_clear(&r->sent);
    buf_clear(&r->body);
    r->ended = false;
    assert_int_equal(http_client_open(r->conn, &handler, r, &r->stream), FICUS_ERR_OK);
    struct http_stream *second;
    assert_int_equal(http_client_open(r->conn, &handler, r, &second), FICUS_ERR_BUSY);
    struct http_msg m;
    http_msg_init(&m, r->stream->arena);
    m.method = slice_str(method);
    m.path = SLICE("/p");
    m.authority = SLICE("svc");
    m.content_length = length;
    assert_int_equal(http_send_head(r->stream, &m, end), FICUS_ERR_OK);
}

static void request_tunnel(struct rig *r)
{
    buf_clear(&r->sent);
    buf_clear(&r->body);
    r->ended = false;
    assert_int_equal(http_client_open(r->conn, &handler, r, &r->stream), FICUS_ERR_OK);
    struct http_msg m;
    http_msg_init(&m, r->stream->arena);
    m.method = SLICE("GET");
    m.path = SLICE("/t");
    m.protocol = SLICE("websocket");
    assert_int_equal(http_send_head(r->stream, &m, false), FICUS_ERR_INVALID);
    assert_int_equal(http_send_head(r->stream, &m, true), FICUS_ERR_OK);
}

static void take(struct rig *r)
{
    fake_run(&r->net);
    assert_true(buf_add(&r->sent, r->peer->rx, r->peer->rx_size));
    r->peer->rx_size = 0;
}

static void answer(struct rig *r, const char *text)
{
    size_t size = strlen(text);
    while (size > 0 && r->peer->peer != NULL) {
        size_t n = fake_push(r->peer, text, size);
        text += n;
        size -= n;
        fake_run(&r->net);
    }
    fake_run(&r->net);
}

static void hang_up(struct rig *r)
{
    fake_close(r->peer, NULL, NULL);
    fake_run(&r->net);
}

/* Requests go out as they should; the connection is idle between exchanges and knows that it was used. */
static void test_exchanges(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 60; seed++) {
        struct rig *r = rig_new(seed);
        request(r, "GET", 0, true);
        take(r);
        assert_string_equal(buf_str(&r->sent), "GET /p HTTP/1.1\r\nHost: svc\r\n\r\n");
        answer(r, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
        assert_string_equal(buf_str(&r->body), "abc");
        assert_int_equal(r->interims, 1);
        assert_int_equal(r->dones, 1);
        assert_int_equal(r->idles, 1);
        assert_false(r->progress.conn_reused);

        request(r, "POST", 0, true);
        take(r);
        assert_string_equal(buf_str(&r->sent), "POST /p HTTP/1.1\r\nHost: svc\r\nContent-Length: 0\r\n\r\n");
        answer(r, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x\r\nf\r\n0\r\nT: u\r\n\r\n");
        assert_string_equal(buf_str(&r->body), "def");
        assert_int_equal(r->idles, 2);
        assert_true(r->progress.conn_reused);

        request(r, "PUT", 5, false);
        assert_int_equal(http_send(r->stream, "hello", 5, true), 5);
        take(r);
        assert_string_equal(buf_str(&r->sent), "PUT /p HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello");
        answer(r, "HTTP/1.1 204 No Content\r\n\r\n");
        assert_true(r->ended);

        request(r, "POST", -1, false);
        assert_int_equal(http_send(r->stream, "hello", 5, false), 5);
        assert_int_equal(http_send(r->stream, "", 0, true), 0);
        take(r);
        assert_true(strstr(buf_str(&r->sent), "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n") != NULL);
        answer(r, "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n");
        assert_int_equal(r->length, 77);

        request(r, "HEAD", 0, true);
        take(r);
        answer(r, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
        assert_int_equal(r->length, 99);
        assert_true(r->ended);
        assert_int_equal(r->idles, 5);

        request(r, "GET", 0, true);
        take(r);
        answer(r, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
        assert_false(r->ended);
        fake_shutdown_write(r->peer);
        fake_run(&r->net);
        assert_true(r->ended);
        assert_string_equal(buf_str(&r->body), "until the end");
        assert_int_equal(r->dones, 6);
        assert_int_equal(r->idles, 5);
        assert_int_equal(r->closes, 1);
        rig_free(r);
    }
}

/* Answers that break the protocol reset the exchange and end the connection. */
static void test_bad_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum ficus_err err;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", FICUS_ERR_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", FICUS_ERR_PROTOCOL},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", FICUS_ERR_PROTOCOL},
        {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", FICUS_ERR_PROTOCOL},
        {"garbage\r\n\r\n", FICUS_ERR_PROTOCOL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct rig *r = rig_new(i % 2 + 1);
        request(r, "GET", 0, true);
        take(r);
        answer(r, cases[i].text);
        assert_int_equal(r->resets, 1);
        assert_int_equal(r->reset_err, cases[i].err);
        assert_int_equal(r->closes, 1);
        rig_free(r);
    }
    struct rig *r = rig_new(1);
    request(r, "GET", 0, true);
    take(r);
    for (int i = 0; i < 17; i++)
        answer(r, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(r->reset_err, FICUS_ERR_PROTOCOL);
    rig_free(r);
    r = rig_new(1);
    request(r, "GET", 0, true);
    take(r);
    answer(r, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 700 && r->resets == 0; i++)
        answer(r, "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n");
    assert_int_equal(r->reset_err, FICUS_ERR_TOO_LARGE);
    rig_free(r);
}

/* A lost connection says what a caller must know: reused or not, anything sent, anything answered. */
static void test_lost(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    request(r, "GET", 0, true);
    take(r);
    hang_up(r);
    assert_int_equal(r->reset_err, FICUS_ERR_RESET);
    assert_false(r->progress.conn_reused);
    assert_true(r->progress.request_sent);
    assert_false(r->progress.response_begun);
    assert_int_equal(r->closes, 1);
    rig_free(r);

    r = rig_new(1);
    request(r, "GET", 0, true);
    take(r);
    answer(r, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    fake_close(r->peer, NULL, NULL); /* the stale keep-alive race: closed, not noticed yet */
    request(r, "GET", 0, true);
    fake_run(&r->net);
    assert_int_equal(r->resets, 1);
    assert_true(r->progress.conn_reused);
    assert_false(r->progress.response_begun);
    assert_int_equal(r->closes, 1);
    rig_free(r);

    r = rig_new(1);
    request(r, "GET", 0, true);
    take(r);
    answer(r, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    assert_string_equal(buf_str(&r->body), "abc");
    hang_up(r);
    assert_int_equal(r->resets, 1);
    assert_true(r->progress.response_begun);
    rig_free(r);

    r = rig_new(1);
    request(r, "GET", 0, true);
    take(r);
    answer(r, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    hang_up(r);
    assert_int_equal(r->resets, 1); /* without its last chunk a body is not complete */
    rig_free(r);
}

/* An idle connection ends when the server closes it or says something unasked. */
static void test_idle(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    hang_up(r);
    assert_int_equal(r->closes, 1);
    rig_free(r);

    r = rig_new(1);
    answer(r, "HTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(r->closes, 1);
    rig_free(r);

    r = rig_new(1); /* bytes behind an answer: the connection is not used again */
    request(r, "GET", 0, true);
    take(r);
    answer(r, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(r->dones, 1);
    assert_int_equal(r->idles, 0);
    assert_int_equal(r->closes, 1);
    rig_free(r);
}

/* A final answer while the body is still being sent ends the exchange well, and the connection; also when writing has
 * failed already. */
static void test_early_answer(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    request(r, "POST", 1000000, false);
    r->left = 1000000;
    body_send(r);
    fake_run(&r->net);
    assert_true(r->left > 800000); /* back-pressure: window and buffer are full */
    answer(r, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
    assert_int_equal(r->dones, 1);
    assert_int_equal(r->status, 413);
    assert_int_equal(r->idles, 0);
    assert_int_equal(r->closes, 1);
    rig_free(r);

    r = rig_new(1);
    request(r, "POST", 1000000, false);
    r->left = 1000000;
    body_send(r);
    fake_run(&r->net);
    fake_say(r->peer, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    r->peer->rx_size = 0;
    hang_up(r);
    assert_int_equal(r->dones, 1);
    assert_int_equal(r->status, 401);
    rig_free(r);
}

/* A large body passes when the server reads; a response that nobody asks for stays with the kernel. */
static void test_back_pressure(void **state)
{
    (void)state;
    struct rig *r = rig_new(3);
    request(r, "POST", 1000000, false);
    r->left = 1000000;
    body_send(r);
    while (buf_slice(&r->sent).size < 1000000)
        take(r);
    assert_int_equal(r->left, 0);
    r->hold = true;
    answer(r, "HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n");
    static const char page[4096];
    size_t total = 0;
    for (int i = 0; i < 200; i++) {
        total += fake_push(r->peer, page, sizeof page);
        fake_run(&r->net);
    }
    assert_in_range(total, r->net.window, r->net.window + HTTP_BODY_BUFFER_SIZE + 4096);
    assert_int_equal(buf_slice(&r->body).size, 0);
    r->hold = false;
    http_recv(r->stream);
    fake_run(&r->net);
    assert_int_equal(buf_slice(&r->body).size, total);
    for (total = 500000 - total; total > 0;) {
        total -= fake_push(r->peer, page, total < sizeof page ? total : sizeof page);
        fake_run(&r->net);
    }
    assert_int_equal(r->dones, 1);
    assert_int_equal(r->idles, 1);
    rig_free(r);
}

/* Refused connections, closing while connecting, cancelling, resetting: one last callback each. */
static void test_ends(void **state)
{
    (void)state;
    struct rig *r = mem_zalloc(sizeof *r);
    fake_init(&r->net, 1);
    buf_init(&r->sent, 1024);
    buf_init(&r->body, 1024);
    assert_int_equal(http_client_connect(&r->net.env, "unix:no", NULL, &conn_handler, r, &r->conn), FICUS_ERR_OK);
    fake_run(&r->net);
    assert_int_equal(r->connect_err, FICUS_ERR_REFUSED);
    assert_int_equal(r->closes, 1);
    r->closes = r->connected = 0;
    assert_int_equal(http_client_connect(&r->net.env, "unix:no", NULL, &conn_handler, r, &r->conn), FICUS_ERR_OK);
    http_client_close(r->conn);
    fake_timers_fire(&r->net);
    fake_run(&r->net);
    assert_int_equal(r->connected, 0);
    rig_free(r);

    r = rig_new(1);
    request(r, "GET", 0, true);
    take(r);
    http_client_close(r->conn);
    assert_int_equal(r->resets, 0);
    fake_run(&r->net);
    assert_int_equal(r->reset_err, FICUS_ERR_CANCELLED);
    assert_int_equal(r->closes, 1);
    rig_free(r);

    r = rig_new(1);
    request(r, "GET", 0, true);
    take(r);
    http_reset(r->stream, FICUS_ERR_CANCELLED);
    fake_run(&r->net);
    assert_int_equal(r->resets + r->dones, 0);
    assert_int_equal(r->closes, 1);
    rig_free(r);
}

/* A body that stalls, and a server that does not read, end with TIMEOUT; waiting for a head does not. */
static void test_timeouts(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    request(r, "GET", 0, true);
    take(r);
    fake_advance(&r->net, 600000);
    assert_int_equal(r->resets, 0);
    answer(r, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    fake_advance(&r->net, 29000);
    assert_int_equal(r->resets, 0);
    fake_advance(&r->net, 1100);
    assert_int_equal(r->reset_err, FICUS_ERR_TIMEOUT);
    rig_free(r);

    r = rig_new(1);
    request(r, "POST", 1000000, false);
    r->left = 1000000;
    body_send(r);
    fake_advance(&r->net, 30100);
    assert_int_equal(r->reset_err, FICUS_ERR_TIMEOUT);
    rig_free(r);
}

/* Heads that cannot be written are refused before a byte leaves. */
static void test_bad_requests(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    assert_int_equal(http_client_open(r->conn, &handler, r, &r->stream), FICUS_ERR_OK);
    struct http_msg m;
    http_msg_init(&m, r->stream->arena);
    m.method = SLICE("GET");
    m.path = SLICE("/a b");
    assert_int_equal(http_send_head(r->stream, &m, true), FICUS_ERR_INVALID);
    m.path = SLICE("/");
    m.content_length = 5;
    assert_int_equal(http_send_head(r->stream, &m, true), FICUS_ERR_INVALID);
    m.content_length = 0;
    m.method = SLICE("CONNECT");
    assert_int_equal(http_send_head(r->stream, &m, true), FICUS_ERR_INVALID);
    fake_run(&r->net);
    assert_int_equal(r->peer->rx_size, 0);
    m.method = SLICE("GET");
    assert_int_equal(http_send_head(r->stream, &m, true), FICUS_ERR_OK);
    take(r);
    assert_string_equal(buf_str(&r->sent), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    rig_free(r);
}

/* A 101 that was asked for makes both directions bytes as they are, each with its own end, whoever ends first; the
 * connection is never used again. */
static void test_tunnel(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 100; seed++) {
        struct rig *r = rig_new(seed);
        bool we_first = seed % 2 == 0;
        request_tunnel(r);
        take(r);
        assert_non_null(strstr(buf_str(&r->sent), "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"));
        answer(r, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                  "Upgrade: WebSocket\r\n\r\n\x81\x01x");
        assert_int_equal(r->stream->head_in->status, 101);
        assert_int_equal(r->stream->head_in->content_length, -1);
        assert_string_equal(buf_str(&r->body), "\x81\x01x");
        fake_advance(&r->net, 3600 * 1000); /* silence is the user's to judge */
        assert_int_equal(r->resets, 0);
        buf_clear(&r->sent);
        assert_int_equal(http_send(r->stream, "GET / HTTP/1.1", 14, we_first), 14);
        take(r);
        assert_string_equal(buf_str(&r->sent), "GET / HTTP/1.1");
        assert_int_equal(r->peer->rx_eof, we_first);
        answer(r, "late");
        assert_string_equal(buf_str(&r->body), "\x81\x01xlate");
        fake_shutdown_write(r->peer);
        fake_run(&r->net);
        assert_true(r->ended);
        assert_int_equal(r->dones, we_first);
        if (!we_first) {
            assert_int_equal(http_send(r->stream, "!", 1, true), 1);
            take(r);
            assert_string_equal(buf_str(&r->sent), "GET / HTTP/1.1!");
        }
        assert_int_equal(r->dones, 1);
        assert_int_equal(r->idles, 0);
        assert_int_equal(r->closes, 1);
        r->conn = NULL;
        rig_free(r);
    }
}

/* Any other answer is an ordinary one, and the connection is kept; a tunnel to something else is no answer. */
static void test_tunnel_refused(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    request_tunnel(r);
    take(r);
    answer(r, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    assert_int_equal(r->dones, 1);
    assert_int_equal(r->idles, 1);
    request_tunnel(r);
    take(r);
    answer(r, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
    assert_int_equal(r->reset_err, FICUS_ERR_PROTOCOL);
    r->conn = NULL;
    rig_free(r);
}

/* A server that keeps its side open behind our end has to say something. */
static void test_tunnel_half_open(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    request_tunnel(r);
    take(r);
    answer(r, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_int_equal(http_send(r->stream, "", 0, true), 0);
    fake_run(&r->net);
    fake_advance(&r->net, 20 * 1000);
    answer(r, "x");
    fake_advance(&r->net, 20 * 1000);
    assert_int_equal(r->resets, 0);
    fake_advance(&r->net, 11 * 1000);
    assert_int_equal(r->resets, 1);
    assert_int_equal(r->reset_err, FICUS_ERR_TIMEOUT);
    r->conn = NULL;
    rig_free(r);
}

/* Trailers go behind a chunked body, and come before its end. */
static void test_trailers(void **state)
{
    (void)state;
    static const struct http_field fields[] = {{SLICE("X-Sum"), SLICE("abc")}, {SLICE("X-N"), SLICE("")}};
    static const struct http_field bad[] = {{SLICE("Content-Length"), SLICE("1")}};
    struct rig *r = rig_new(1);
    request(r, "POST", -1, false);
    assert_int_equal(http_send_trailers(r->stream, bad, 1), FICUS_ERR_INVALID);
    assert_int_equal(http_send_trailers(r->stream, fields, 2), FICUS_ERR_OK);
    assert_int_equal(http_send(r->stream, "hello", 5, true), 5);
    take(r);
    assert_non_null(strstr(buf_str(&r->sent), "\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: abc\r\nX-N: \r\n\r\n"));
    answer(r, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-End: 7\r\nHost: evil\r\n\r\n");
    assert_int_equal(r->dones, 1);
    assert_string_equal(buf_str(&r->body), "a");
    assert_string_equal(r->trailers, "X-End=7");

    request(r, "POST", 2, false); /* no place for them */
    assert_int_equal(http_send_trailers(r->stream, fields, 2), FICUS_ERR_OK);
    assert_int_equal(http_send(r->stream, "hi", 2, true), 2);
    take(r);
    assert_true(slice_ends(buf_slice(&r->sent), SLICE("\r\n\r\nhi")));
    answer(r, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(r->dones, 2);
    rig_free(r);
}

/* An answer may be whole while the end of the request waits for the server to read: it arrives as it was. */
static void test_trailers_behind_answer(void **state)
{
    (void)state;
    static const struct http_field fields[] = {{SLICE("X-Sum"), SLICE("abc")}};
    struct rig *r = rig_new(1);
    request(r, "POST", -1, false);
    assert_int_equal(http_send_trailers(r->stream, fields, 1), FICUS_ERR_OK);
    r->left = 75000; /* more than the window */
    body_send(r);
    fake_run(&r->net);
    body_send(r);
    assert_int_equal(r->left, 0);
    answer(r, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    assert_true(r->dones == 1 && r->idles == 0);
    for (int i = 0; i < 4; i++)
        take(r);
    assert_true(slice_ends(buf_slice(&r->sent), SLICE("\r\n0\r\nX-Sum: abc\r\n\r\n")));
    assert_int_equal(r->idles, 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tunnel),
        cmocka_unit_test(test_tunnel_refused),
        cmocka_unit_test(test_tunnel_half_open),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_trailers_behind_answer),
        cmocka_unit_test(test_exchanges), cmocka_unit_test(test_bad_answers),  cmocka_unit_test(test_lost),
        cmocka_unit_test(test_idle),      cmocka_unit_test(test_early_answer), cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_ends),      cmocka_unit_test(test_timeouts),     cmocka_unit_test(test_bad_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
