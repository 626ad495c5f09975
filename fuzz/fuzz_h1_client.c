/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 client connection against arbitrary bytes of a server. Byte 0 chooses the request and how the server
 * leaves. Whole and in odd pieces the outcome is the same; every exchange and every connection ends once; nothing is
 * left behind.
 */
#include "fuzz_http.h"
#include "http_client.h"

struct run {
    struct fake_net net;
    struct env_stream *peer;
    struct http_client_conn *conn;
    struct http_stream *stream;
    uint8_t mode;
    uint64_t body, log;
    bool tunnel;
    unsigned heads, ends, closes;
    size_t left;
};

/* Byte by byte: pieces do not show. */
static uint64_t mix(uint64_t log, const void *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        log = (log ^ ((const uint8_t *)p)[i]) * 1099511628211u + 1;
    return log;
}

static void on_connected(void *arg, struct http_client_conn *c, enum ficus_err err)
{
    (void)arg;
    (void)c;
    FICUS_ASSERT(err == FICUS_ERR_OK);
}
/* Not part of the outcome: bytes behind an answer prevent it, or end the connection a moment later. */
static void on_idle(void *arg, struct http_client_conn *c)
{
    (void)arg;
    (void)c;
}
static void on_closed(void *arg, struct http_client_conn *c)
{
    struct run *r = arg;
    (void)c;
    r->closes++;
    r->conn = NULL;
}
static const struct http_client_handler conn_handler = {on_connected, on_idle, on_closed};

static void on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct run *r = arg;
    r->tunnel = m->status == 101;
    FICUS_ASSERT((m->status >= 200 && m->status <= 599) || (r->tunnel && r->mode % 4 == 3 && !end));
    FICUS_ASSERT(++r->heads == 1);
    fuzz_fields_check(m->fields, m->field_count);
    r->log = mix(r->log, &m->status, sizeof m->status);
    if (!end)
        http_recv(s);
}
static void on_interim(void *arg, struct http_stream *s, struct http_msg *m)
{
    (void)arg;
    (void)s;
    FICUS_ASSERT(m->status >= 100 && m->status < 200);
}
static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct run *r = arg;
    FICUS_ASSERT(r->heads == 1 && (data.size > 0 || end));
    r->body = mix(r->body, data.p, data.size);
    if (r->tunnel)
        (void)http_send(s, data.p, data.size < 4000 ? data.size : 4000, end && data.size < 4000);
    if (r->tunnel && end)
        (void)http_send(s, "", 0, true);
    if (!end)
        http_recv(s);
}
static void on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct run *r = arg;
    (void)s;
    FICUS_ASSERT(r->heads == 1 && field_count > 0);
    fuzz_fields_check(fields, field_count);
    for (size_t i = 0; i < field_count; i++) {
        r->log = mix(r->log, fields[i].name.p, fields[i].name.size);
        r->log = mix(r->log, fields[i].value.p, fields[i].value.size);
    }
}
static void on_writable(void *arg, struct http_stream *s)
{
    struct run *r = arg;
    fuzz_pour(s, &r->left);
}
static void on_done(void *arg, struct http_stream *s)
{
    struct run *r = arg;
    (void)s;
    FICUS_ASSERT(r->heads == 1);
    r->ends++;
    r->log = r->log * 31 + r->body;
}
static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct run *r = arg;
    (void)s;
    FICUS_ASSERT(err != FICUS_ERR_OK && detail != NULL);
    r->ends++;
    r->log = r->log * 37 + (uint64_t)err;
}
static const struct http_handler handler = {on_head, on_interim, on_data, on_trailers, on_writable, on_done, on_reset};

static void on_accept(void *arg, struct env_stream *s)
{
    ((struct run *)arg)->peer = s;
}

static void request(struct run *r)
{
    struct http_msg m;
    FICUS_ASSERT(http_client_open(r->conn, &handler, r, &r->stream) == FICUS_ERR_OK);
    http_msg_init(&m, r->stream->arena);
    bool post = r->mode % 4 == 2;
    m.method = post ? SLICE("POST") : r->mode % 4 == 1 ? SLICE("HEAD") : SLICE("GET");
    m.path = SLICE("/");
    m.takes_trailers = true;
    if (r->mode % 4 == 3)
        m.protocol = SLICE("websocket");
    m.content_length = r->mode & 0x80 ? -1 : 200000;
    if (!post)
        m.content_length = 0;
    FICUS_ASSERT(http_send_head(r->stream, &m, !post) == FICUS_ERR_OK);
    r->left = post ? 200000 : 0;
    fuzz_pour(r->stream, &r->left);
}

static uint64_t run(uint8_t mode, const uint8_t *p, size_t size, bool odd)
{
    struct run r = {.mode = mode};
    fake_init(&r.net, 1 + size);
    r.net.odd = odd;
    struct env_listener *l;
    fake_listen(&r.net.env, "unix:x", NULL, on_accept, &r, &l, NULL);
    struct http_limits limits = {0};
    if (mode & 0x20)
        limits = (struct http_limits){.head_size_max = 256, .field_count_max = 4, .arena_size_max = 4096};
    if (mode & 8) /* fields fill it before there are too many of them */
        limits.arena_size_max = 2048;
    FICUS_ASSERT(http_client_connect(&r.net.env, "unix:x", &limits, &conn_handler, &r, &r.conn) == FICUS_ERR_OK);
    fake_run(&r.net);
    request(&r);
    fake_run(&r.net);
    fuzz_feed(&r.net, r.peer, p, size);
    fake_run(&r.net);
    r.peer->rx_size = 0;
    if (mode & 0x40)
        fake_close(r.peer, NULL, NULL);
    else if (r.peer->peer != NULL)
        fake_shutdown_write(r.peer);
    fake_advance(&r.net, 200000);
    FICUS_ASSERT(r.ends == 1 && r.closes == 1 && r.conn == NULL);
    FICUS_ASSERT(r.net.timer_count == 0);
    fake_done(&r.net);
    return r.log;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
    if (size < 1)
        return 0;
    uint64_t whole = run(p[0], p + 1, size - 1, false), pieces = run(p[0], p + 1, size - 1, true);
    /* While a body is being sent, when the answer comes decides how much of it is. */
    FICUS_ASSERT(whole == pieces || p[0] % 4 == 2);
    return 0;
}
