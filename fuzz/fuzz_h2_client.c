/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/2 client connection against arbitrary frames of a server, with several exchanges under way. Byte 0 chooses how
 * the bytes arrive, the limits, what the user gives up and how the server leaves. Every exchange and every connection ends
 * once, an answer is given in its order, what the server did nothing about had no answer, nothing is left behind.
 */
#include "fuzz_http.h"
#include "http_client.h"

enum { EXCHANGES = 6 };

struct run;

struct exchange {
    struct run *run;
    struct http_stream *s; /* NULL: over */
    unsigned heads, datas, trailers;
    bool ended, cancels;
    size_t left;
};

struct run {
    struct fake_net net;
    struct env_stream *peer;
    struct http_client_conn *conn;
    struct exchange x[EXCHANGES];
    uint8_t mode;
    unsigned closes;
};

static void on_connected(void *arg, struct http_client_conn *c, enum ficus_err err)
{
    (void)arg;
    (void)c;
    FICUS_ASSERT(err == FICUS_ERR_OK);
}
static void on_room(void *arg, struct http_client_conn *c)
{
    (void)arg;
    FICUS_ASSERT(http_client_room(c) + http_client_running(c) <= 100);
}
static void on_closed(void *arg, struct http_client_conn *c)
{
    struct run *r = arg;
    (void)c;
    r->closes++;
    r->conn = NULL;
}
static const struct http_client_handler conn_handler = {on_connected, on_room, on_closed};

static bool gives_up(struct exchange *x)
{
    if (x->cancels) {
        http_reset(x->s, FICUS_ERR_CANCELLED);
        x->s = NULL;
    }
    return x->s == NULL;
}
static void on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct exchange *x = arg;
    FICUS_ASSERT(m->status >= 200 && m->status <= 599 && ++x->heads == 1 && s->head_in == m);
    fuzz_fields_check(m->fields, m->field_count);
    x->ended = end;
    if (!gives_up(x) && !end)
        http_recv(s);
}
static void on_interim(void *arg, struct http_stream *s, struct http_msg *m)
{
    struct exchange *x = arg;
    (void)s;
    FICUS_ASSERT(m->status >= 100 && m->status < 200 && m->status != 101 && x->heads == 0);
}
static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct exchange *x = arg;
    FICUS_ASSERT(x->heads == 1 && !x->ended && (data.size > 0 || end) && data.size <= HTTP_BODY_BUFFER_SIZE);
    x->datas++;
    x->ended = end;
    if (!end)
        http_recv(s);
}
static void on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct exchange *x = arg;
    (void)s;
    FICUS_ASSERT(x->heads == 1 && !x->ended && ++x->trailers == 1 && field_count > 0);
    fuzz_fields_check(fields, field_count);
}
static void on_writable(void *arg, struct http_stream *s)
{
    struct exchange *x = arg;
    fuzz_pour(s, &x->left);
}
static void on_done(void *arg, struct http_stream *s)
{
    struct exchange *x = arg;
    FICUS_ASSERT(x->s == s && x->ended);
    x->s = NULL;
}
static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct exchange *x = arg;
    struct http_progress progress;
    FICUS_ASSERT(x->s == s && err != FICUS_ERR_OK && detail != NULL);
    http_stream_progress(s, &progress);
    FICUS_ASSERT(!progress.unprocessed || (x->heads == 0 && !progress.request_sent && !progress.response_begun));
    x->s = NULL;
}
static const struct http_handler handler = {on_head, on_interim, on_data, on_trailers, on_writable, on_done, on_reset};

static void on_accept(void *arg, struct env_stream *s)
{
    ((struct run *)arg)->peer = s;
}

static void request(struct run *r, unsigned i)
{
    static const struct http_field trailer = {{"x-end", 5}, {"1", 1}};
    struct exchange *x = &r->x[i];
    struct http_msg m;
    x->run = r;
    if (r->conn == NULL || http_client_room(r->conn) == 0 || http_client_open(r->conn, &handler, x, &x->s) != FICUS_ERR_OK)
        return;
    http_msg_init(&m, x->s->arena);
    bool post = i % 3 == 2;
    m.method = post ? SLICE("POST") : i % 3 == 1 ? SLICE("HEAD") : SLICE("GET");
    m.authority = SLICE("x");
    m.path = SLICE("/");
    m.takes_trailers = true;
    m.content_length = !post ? 0 : i == 2 ? 100000 : -1;
    x->left = post ? 100000 : 0;
    x->cancels = (r->mode & 4) != 0 && i % 2 == 0;
    if (http_send_head(x->s, &m, !post) != FICUS_ERR_OK || (post && http_send_trailers(x->s, &trailer, 1) != FICUS_ERR_OK)) {
        http_reset(x->s, FICUS_ERR_NOMEM);
        x->s = NULL;
        return;
    }
    fuzz_pour(x->s, &x->left);
}

static void run(uint8_t mode, const uint8_t *p, size_t size)
{
    static struct run r; /* large */
    r = (struct run){.mode = mode};
    fake_init(&r.net, 1 + size);
    r.net.odd = (mode & 1) != 0;
    struct env_listener *l;
    fake_listen(&r.net.env, "unix:x", NULL, on_accept, &r, &l, NULL);
    struct http_limits limits = {0};
    if (mode & 2)
        limits = (struct http_limits){.head_size_max = 512, .field_count_max = 6, .arena_size_max = 4096};
    const struct http_upstream upstream = {.address = "unix:x", .h2 = true};
    FICUS_ASSERT(http_client_connect_to(&r.net.env, &upstream, &limits, &conn_handler, &r, &r.conn) == FICUS_ERR_OK);
    fake_run(&r.net);
    for (unsigned i = 0; i < 4; i++)
        request(&r, i);
    if ((mode & 8) == 0)
        fake_run(&r.net);
    for (size_t pieces = 0; size > 0 && r.peer->peer != NULL && pieces < 100000; pieces++) {
        size_t n = fake_push(r.peer, (const char *)p, (mode & 16) && size > 100 ? 100 : size);
        p += n;
        size -= n;
        fake_run(&r.net);
        r.peer->rx_size = 0;
        if (pieces == 1) { /* later ones, after what came so far */
            request(&r, 4);
            request(&r, 5);
        }
        if (pieces == 2 && (mode & 32) && r.x[1].s != NULL) {
            http_reset(r.x[1].s, FICUS_ERR_TIMEOUT);
            r.x[1].s = NULL;
        }
    }
    for (int i = 0; i < 20; i++) {
        fake_run(&r.net);
        r.peer->rx_size = 0;
    }
    if (mode & 0x40)
        fake_close(r.peer, NULL, NULL);
    else if (r.peer->peer != NULL)
        fake_shutdown_write(r.peer);
    fake_advance(&r.net, 10000);
    FICUS_ASSERT(r.closes == 1 && r.conn == NULL && r.net.timer_count == 0);
    for (unsigned i = 0; i < EXCHANGES; i++)
        FICUS_ASSERT(r.x[i].s == NULL);
    fake_done(&r.net);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
    if (size >= 1)
        run(p[0], p + 1, size - 1);
    return 0;
}
