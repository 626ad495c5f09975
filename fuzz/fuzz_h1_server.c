/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole HTTP/1.1 server against arbitrary bytes of a client. Byte 0 chooses what the handler does. The same bytes
 * run twice, whole and in odd pieces, and what the handler saw must be the same; every exchange ends once; nothing is
 * left behind.
 */
#include "fuzz_http.h"
#include "http_server.h"
#include "map.h"

struct run {
    struct fake_net net;
    struct http_server *server;
    uint8_t mode;
    uint64_t log;
    unsigned live, refused;
    bool closed;
};

struct exchange {
    struct run *run;
    struct http_collect collect;
    bool collecting, tunnel;
};

static void note(struct run *r, const void *p, size_t size)
{
    const uint64_t seed[2] = {r->log, size};
    r->log = hash_sip13(seed, p, size);
}

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
    struct exchange *x = arg;
    note(x->run, &err, sizeof err);
    if (err == FICUS_ERR_OK) {
        note(x->run, body.p, body.size);
        FICUS_ASSERT(s->head_in->content_length < 0 || (size_t)s->head_in->content_length == body.size);
    }
    if (err != FICUS_ERR_OK || http_respond(s, 200, NULL, 0, "text/plain", body) != FICUS_ERR_OK)
        (void)http_respond_problem(s, 413, NULL, "too large");
}

static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct exchange *x = arg;
    FICUS_ASSERT(data.size > 0 || end);
    if (x->tunnel)
        (void)http_send(s, data.p, data.size, false);
    if (!end)
        http_recv(s);
    else if (x->tunnel)
        (void)http_send(s, "", 0, true);
    else
        (void)http_respond(s, 200, NULL, 0, NULL, SLICE("end"));
}
static void on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct exchange *x = arg;
    (void)s;
    FICUS_ASSERT(field_count > 0);
    fuzz_fields_check(fields, field_count);
    for (size_t i = 0; i < field_count; i++) {
        note(x->run, fields[i].name.p, fields[i].name.size);
        note(x->run, fields[i].value.p, fields[i].value.size);
    }
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
static void on_half_close(void *arg, struct http_stream *s)
{
    (void)arg;
    (void)s;
}
static const struct http_handler handler = {
    .on_data = on_data, .on_trailers = on_trailers, .on_done = on_done, .on_reset = on_reset};
static const struct http_handler patient_handler = {
    .on_data = on_data, .on_trailers = on_trailers, .on_done = on_done, .on_reset = on_reset, .on_half_close = on_half_close};

static void check_head(struct run *r, const struct http_msg *m)
{
    FICUS_ASSERT(http_token_valid(m->method) && m->path.size > 0 &&
                 (m->path.p[0] == '/' || slice_eq_str(m->path, "*")));
    note(r, m->method.p, m->method.size);
    note(r, m->path.p, m->path.size);
    note(r, m->query.p == NULL ? "" : m->query.p, m->query.size);
    note(r, m->authority.p == NULL ? "" : m->authority.p, m->authority.size);
    fuzz_fields_check(m->fields, m->field_count);
    for (size_t i = 0; i < m->field_count; i++) {
        note(r, m->fields[i].name.p, m->fields[i].name.size);
        note(r, m->fields[i].value.p, m->fields[i].value.size);
    }
}

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct run *r = arg;
    (void)peer;
    check_head(r, s->head_in);
    struct exchange *x = mem_zalloc(sizeof *x);
    x->run = r;
    r->live++;
    http_stream_handle(s, r->mode & 4 ? &patient_handler : &handler, x);
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
        if (s->head_in->protocol.p != NULL) {
            struct http_msg m = {.status = 101};
            x->tunnel = true;
            FICUS_ASSERT(end && http_send_head(s, &m, false) == FICUS_ERR_OK);
            http_recv(s);
        } else if (end)
            (void)http_respond(s, 204, NULL, 0, NULL, SLICE(""));
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
    struct run *r = arg;
    FICUS_ASSERT(status >= 400 && status <= 505 && detail != NULL);
    r->refused++;
    if (status != 408)
        note(r, &status, sizeof status);
}

static void on_closed(void *arg)
{
    ((struct run *)arg)->closed = true;
}

static uint64_t run(uint8_t mode, const uint8_t *p, size_t size, bool odd)
{
    struct run r = {.mode = mode};
    fake_init(&r.net, 1 + size);
    r.net.odd = odd;
    if (mode & 0x10)
        r.net.piece_max = 1;
    struct http_server_options o = {.on_request = on_request, .on_refused = on_refused, .arg = &r};
    if (mode & 0x20)
        o.limits = (struct http_limits){
            .head_size_max = 256, .field_count_max = 4, .target_size_max = 32, .arena_size_max = 4096};
    if (mode & 8) /* fields fill it before there are too many of them */
        o.limits.arena_size_max = 2048;
    FICUS_ASSERT(http_server_new(&r.net.env, &o, &r.server) == FICUS_ERR_OK);
    FICUS_ASSERT(http_server_listen(r.server, "fd:3", NULL, NULL) == FICUS_ERR_OK);
    struct env_stream *client, *end;
    fake_pair(&r.net, &client, &end);
    r.net.listeners[0].on_accept(r.net.listeners[0].arg, end);
    fuzz_feed(&r.net, client, p, size);
    fake_run(&r.net);
    client->rx_size = 0;
    if (mode & 0x40)
        fake_close(client, NULL, NULL);
    else if (client->peer != NULL)
        fake_shutdown_write(client);
    fake_advance(&r.net, 200000);
    FICUS_ASSERT(http_server_conn_count(r.server) == 0);
    FICUS_ASSERT(r.live == 0 && r.refused <= 1);
    http_server_close(r.server, on_closed, &r);
    fake_run(&r.net);
    FICUS_ASSERT(r.closed && r.net.timer_count == 0);
    fake_done(&r.net);
    return r.log;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
    if (size < 1)
        return 0;
    uint64_t whole = run(p[0], p + 1, size - 1, false), pieces = run(p[0], p + 1, size - 1, true);
    FICUS_ASSERT(whole == pieces);
    return 0;
}
