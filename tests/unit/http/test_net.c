/* SPDX-License-Identifier: Apache-2.0
 *
 * Server and client against each other over real unix sockets: what the network in memory cannot show about the kernel.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "assert.h"
#include "http_client.h"
#include "http_server.h"
#include "io_env.h"
#include "mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BODY_SIZE = 3 * 1024 * 1024 + 17 };

struct rig {
    struct env *env;
    struct http_server *server;
    char folder[64], address[96];
    struct http_client_conn *conn;
    struct http_stream *stream; /* client's */
    struct env_timer watchdog;
    size_t to_send, received, echoed_pending_max;
    unsigned rounds_left, dones, closes;
    enum ficus_err reset_err;
    bool wrong, server_closed, slow;
    struct env_timer pause;
    uint64_t write_hash, read_hash;
};

static uint64_t hash_add(uint64_t hash, const char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)p[i]) * 1099511628211u;
    return hash;
}

/* ---- server: echo as a stream ---- */

struct echo {
    struct buf pending;
    bool end;
};

static void echo_send(struct echo *x, struct http_stream *s)
{
    struct slice p = buf_slice(&x->pending);
    size_t taken = http_send(s, p.p, p.size, x->end);
    bool all = taken == p.size;
    buf_consume(&x->pending, taken);
    if (all && !x->end)
        http_recv(s);
}
static void echo_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct echo *x = arg;
    FICUS_ASSERT(buf_add_slice(&x->pending, data));
    x->end = end;
    echo_send(x, s);
}
static void echo_writable(void *arg, struct http_stream *s)
{
    echo_send(arg, s);
}
static void echo_free(struct echo *x)
{
    buf_done(&x->pending);
    mem_free(x);
}
static void echo_done(void *arg, struct http_stream *s)
{
    echo_free(arg);
}
static void echo_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    echo_free(arg);
}
static const struct http_handler echo_handler = {
    .on_data = echo_data, .on_writable = echo_writable, .on_done = echo_done, .on_reset = echo_reset};

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct echo *x = mem_zalloc(sizeof *x);
    buf_init(&x->pending, HTTP_BODY_BUFFER_SIZE);
    http_stream_handle(s, &echo_handler, x);
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = s->head_in->content_length;
    http_send_head(s, &m, end);
    if (!end)
        http_recv(s);
    FICUS_ASSERT(peer->is_unix);
}

/* ---- client ---- */

static void body_send(struct rig *r)
{
    while (r->to_send > 0) {
        char page[5000];
        size_t size = r->to_send < sizeof page ? r->to_send : sizeof page;
        for (size_t i = 0; i < size; i++)
            page[i] = (char)((r->to_send - i) * 2654435761u >> 24);
        size_t taken = http_send(r->stream, page, size, size == r->to_send);
        r->write_hash = hash_add(r->write_hash, page, taken);
        r->to_send -= taken;
        if (taken < size)
            return;
    }
}

static void round_begin(struct rig *r);

static void on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct rig *r = arg;
    r->wrong |= m->status != 200;
    if (!end)
        http_recv(s);
}
static void resume(void *arg)
{
    http_recv(((struct rig *)arg)->stream);
}
static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct rig *r = arg;
    r->received += data.size;
    r->read_hash = hash_add(r->read_hash, data.p, data.size);
    if (end)
        return;
    if (r->slow && r->received % 7 == 0)
        env_timer_start(r->env, &r->pause, 1);
    else
        http_recv(s);
}
static void on_writable(void *arg, struct http_stream *s)
{
    body_send(arg);
}
static void on_done(void *arg, struct http_stream *s)
{
    ((struct rig *)arg)->dones++;
}
static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    ((struct rig *)arg)->reset_err = err;
}
static const struct http_handler client_handler = {on_head, NULL, on_data, NULL, on_writable, on_done, on_reset};

static void on_connected(void *arg, struct http_client_conn *c, enum ficus_err err)
{
    struct rig *r = arg;
    r->wrong |= err != FICUS_ERR_OK;
    if (err == FICUS_ERR_OK)
        round_begin(r);
}
static void on_room(void *arg, struct http_client_conn *c)
{
    struct rig *r = arg;
    if (r->rounds_left > 0)
        round_begin(r);
    else
        http_client_close(c);
}
static void server_closed(void *arg)
{
    struct rig *r = arg;
    r->server_closed = true;
    env_uv_stop(r->env);
}
static void on_closed(void *arg, struct http_client_conn *c)
{
    struct rig *r = arg;
    r->closes++;
    r->conn = NULL;
    http_server_close(r->server, server_closed, r);
}
static const struct http_client_handler conn_handler = {on_connected, on_room, on_closed};

static void round_begin(struct rig *r)
{
    r->rounds_left--;
    if (http_client_open(r->conn, &client_handler, r, &r->stream) != FICUS_ERR_OK) {
        r->wrong = true;
        return;
    }
    struct http_msg m;
    http_msg_init(&m, r->stream->arena);
    m.method = SLICE("POST");
    m.path = SLICE("/echo");
    m.content_length = r->rounds_left % 2 == 0 ? -1 : BODY_SIZE;
    r->wrong |= http_send_head(r->stream, &m, false) != FICUS_ERR_OK;
    r->to_send = BODY_SIZE;
    body_send(r);
}

static void watchdog(void *arg)
{
    FICUS_UNREACHABLE();
}

static void rig_init(struct rig *r)
{
    *r = (struct rig){0};
    struct ficus_error error;
    r->env = env_uv_new(NULL, &error);
    assert_non_null(r->env);
    snprintf(r->folder, sizeof r->folder, "/tmp/ficus-http-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    snprintf(r->address, sizeof r->address, "unix:%s/s", r->folder);
    struct http_server_options o = {.on_request = on_request};
    assert_int_equal(http_server_new(r->env, &o, &r->server), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(r->server, r->address, NULL, &error), FICUS_ERR_OK);
    r->watchdog = (struct env_timer){.fn = watchdog};
    env_timer_start(r->env, &r->watchdog, 60000);
    r->pause = (struct env_timer){.fn = resume, .arg = r};
}

static void rig_done(struct rig *r)
{
    assert_true(r->server_closed);
    env_timer_stop(r->env, &r->watchdog);
    env_uv_free(r->env);
    unlink(r->address + 5);
    rmdir(r->folder);
}

static void run_rounds(unsigned rounds, bool slow)
{
    struct rig r;
    rig_init(&r);
    r.rounds_left = rounds;
    r.slow = slow;
    assert_int_equal(http_client_connect(r.env, r.address, NULL, &conn_handler, &r, &r.conn), FICUS_ERR_OK);
    env_uv_run(r.env);
    assert_false(r.wrong);
    assert_int_equal(r.reset_err, FICUS_ERR_OK);
    assert_int_equal(r.dones, rounds);
    assert_int_equal(r.received, (size_t)rounds * BODY_SIZE);
    assert_int_equal(r.read_hash, r.write_hash);
    rig_done(&r);
}

/* Large bodies echo unchanged over one kept connection, counted and chunked, both directions at once. */
static void test_echo(void **state)
{
    (void)state;
    run_rounds(4, false);
}

/* The same with a reader that pauses, so that every buffer on the way fills. */
static void test_echo_slow(void **state)
{
    (void)state;
    run_rounds(2, true);
}

/* The server drains while a client is idle: the client learns it and nothing leaks. */
static void drained(void *arg)
{
    struct rig *r = arg;
    r->dones++;
    http_server_close(r->server, server_closed, r);
}
static void drain_closed(void *arg, struct http_client_conn *c)
{
    ((struct rig *)arg)->closes++;
}
static void idle_drain(void *arg, struct http_client_conn *c)
{
    struct rig *r = arg;
    http_server_drain(r->server, drained, r);
}
static const struct http_client_handler drain_handler = {on_connected, idle_drain, drain_closed};
static void test_drain(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.rounds_left = 1;
    assert_int_equal(http_client_connect(r.env, r.address, NULL, &drain_handler, &r, &r.conn), FICUS_ERR_OK);
    env_uv_run(r.env);
    assert_false(r.wrong);
    assert_int_equal(r.closes, 1);
    assert_int_equal(r.dones, 2);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_echo), cmocka_unit_test(test_echo_slow),
                                       cmocka_unit_test(test_drain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
