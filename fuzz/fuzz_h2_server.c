/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole HTTP/2 server against arbitrary frames of a client. Byte 0 chooses what the handler does and how the bytes
 * arrive; the preface is put in front of the rest. Every exchange ends once, heads are as the model says, nothing is left
 * behind. Whole and in pieces cannot be compared as for HTTP/1.1: a stream that is reset in the same read as it began is
 * never given to the user.
 */
#include "fuzz_http.h"
#include "http_server.h"

struct run {
    struct fake_net net;
    struct http_server *server;
    uint8_t mode;
    unsigned live;
    bool closed;
};

struct exchange {
    struct run *run;
    struct http_collect collect;
    bool collecting;
    size_t left;
};

static void exchange_free(struct exchange *x)
{
    FICUS_ASSERT(x->run->live > 0);
    x->run->live--;
    if (x->collecting)
        http_collect_done(&x->collect);
    mem_free(x);
}

static void collected(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    (void)arg;
    if (err == FICUS_ERR_OK)
        FICUS_ASSERT(s->head_in->content_length < 0 || (size_t)s->head_in->content_length == body.size);
    if (err != FICUS_ERR_OK || http_respond(s, 200, NULL, 0, "text/plain", body) != FICUS_ERR_OK)
        (void)http_respond_problem(s, 413, NULL, "too large");
}

static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct exchange *x = arg;
    FICUS_ASSERT((data.size > 0 || end) && data.size <= HTTP_BODY_BUFFER_SIZE);
    if (!end) {
        http_recv(s);
        return;
    }
    struct http_msg m = {.arena = s->arena, .status = 200, .content_length = -1};
    const struct http_field trailer = {SLICE("x-end"), SLICE("1")};
    x->left = 100 * 1000;
    if (http_send_head(s, &m, false) == FICUS_ERR_OK && http_send_trailers(s, &trailer, 1) == FICUS_ERR_OK)
        fuzz_pour(s, &x->left);
}
static void on_writable(void *arg, struct http_stream *s)
{
    struct exchange *x = arg;
    fuzz_pour(s, &x->left);
}
static void on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    (void)arg;
    (void)s;
    FICUS_ASSERT(field_count > 0);
    fuzz_fields_check(fields, field_count);
}
static void on_done(void *arg, struct http_stream *s)
{
    (void)s;
    exchange_free(arg);
}
static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    (void)s;
    FICUS_ASSERT(err != FICUS_ERR_OK && detail != NULL);
    exchange_free(arg);
}
static const struct http_handler handler = {
    .on_data = on_data, .on_trailers = on_trailers, .on_writable = on_writable, .on_done = on_done, .on_reset = on_reset};

static void check_head(const struct http_msg *m)
{
    FICUS_ASSERT(http_token_valid(m->method) && m->path.size > 0 && m->authority.size > 0);
    FICUS_ASSERT(m->path.p[0] == '/' || slice_eq_str(m->path, "*"));
    FICUS_ASSERT(slice_eq_str(m->scheme, "http") && http_msg_count(m, "cookie") <= 1 && http_msg_count(m, "host") == 0);
    fuzz_fields_check(m->fields, m->field_count);
}

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct run *r = arg;
    (void)peer;
    check_head(s->head_in);
    struct exchange *x = mem_zalloc(sizeof *x);
    x->run = r;
    FICUS_ASSERT(++r->live <= 100);
    http_stream_handle(s, &handler, x);
    struct http_msg tunnel = {.arena = s->arena, .status = 101, .content_length = -1};
    if (s->head_in->protocol.p != NULL && http_send_head(s, &tunnel, false) == FICUS_ERR_OK) {
        x->left = 50 * 1000;
        fuzz_pour(s, &x->left);
        return;
    }
    switch (r->mode % 4) {
    case 0:
        x->collecting = true;
        x->collect.done = collected;
        x->collect.arg = x;
        http_collect(s, &x->collect, 20000);
        break;
    case 1:
        (void)http_respond_problem(s, 404, "none", "nothing is here");
        break;
    case 2:
        if (end)
            on_data(x, s, SLICE(""), true);
        else
            http_recv(s);
        break;
    default:
        exchange_free(x);
        http_reset(s, FICUS_ERR_CANCELLED);
    }
}

static void on_refused(void *arg, int status, const char *detail)
{
    (void)arg;
    FICUS_ASSERT(status >= 400 && status <= 505 && detail != NULL);
}

static void on_closed(void *arg)
{
    ((struct run *)arg)->closed = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t mode = p[0];
    struct run r = {.mode = mode};
    fake_init(&r.net, 1 + size);
    r.net.odd = (mode & 4) != 0;
    struct http_server_options o = {.h2c = true, .on_request = on_request, .on_refused = on_refused, .arg = &r};
    if (mode & 8)
        o.limits = (struct http_limits){
            .head_size_max = 256, .field_count_max = 4, .target_size_max = 32, .arena_size_max = 4096};
    FICUS_ASSERT(http_server_new(&r.net.env, &o, &r.server) == FICUS_ERR_OK);
    FICUS_ASSERT(http_server_listen(r.server, "fd:3", NULL, NULL) == FICUS_ERR_OK);
    struct env_stream *client, *end;
    fake_pair(&r.net, &client, &end);
    r.net.listeners[0].on_accept(r.net.listeners[0].arg, end);
    fuzz_feed(&r.net, client, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    if (mode & 0x10)
        fuzz_feed(&r.net, client, "\0\0\0\4\0\0\0\0\0", 9); /* SETTINGS */
    fuzz_feed(&r.net, client, p + 1, size - 1);
    if (mode & 0x20)
        http_server_drain(r.server, NULL, NULL);
    fake_run(&r.net);
    client->rx_size = 0;
    if (mode & 0x40)
        fake_close(client, NULL, NULL);
    fake_advance(&r.net, 300000);
    FICUS_ASSERT(http_server_conn_count(r.server) == 0 && r.live == 0);
    http_server_close(r.server, on_closed, &r);
    fake_run(&r.net);
    FICUS_ASSERT(r.closed && r.net.timer_count == 0);
    fake_done(&r.net);
    return 0;
}
