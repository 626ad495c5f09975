/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls over HTTP/2: many on one connection of a real server, and what a server that refuses, goes away or dies does to
 * them, played frame by frame on a socket.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_core.h"
#include "call_rig.h"
#include "json.h"

static void edge_to(struct rig *r, uint16_t port, struct call_policy p)
{
    char url[40];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    struct call_upstream u = {.url = url, .protocol = CALL_PROTOCOL_H2C};
    p.upstream = &u;
    assert_int_equal(call_engine_edge(r->g, "far", &p, NULL), FICUS_ERR_OK);
}

/* The real server, on TCP; returns what has to be closed. */
static int serve(struct rig *r, struct call_policy p)
{
    uint16_t port;
    char address[16];
    int fd = listen_somewhere(&port);
    (void)snprintf(address, sizeof address, "fd:%d", fd);
    rig_server_stop(r);
    const struct http_server_options o = {.h2c = true, .on_request = serve_request, .arg = r};
    assert_int_equal(http_server_new(r->e, &o, &r->server), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(r->server, address, NULL, NULL), FICUS_ERR_OK);
    edge_to(r, port, p);
    return fd;
}

static int64_t described(struct rig *r, const char *word)
{
    struct buf text;
    struct json_writer w;
    struct arena a;
    struct json *root;
    int64_t value = -1;
    buf_init(&text, 1 << 20);
    arena_init(&a, 1 << 20);
    json_write_init(&w, &text);
    (void)call_engine_describe(r->g, &w);
    assert_int_equal(json_parse(&a, buf_slice(&text), NULL, &root, NULL), FICUS_ERR_OK);
    for (const struct json *edge = root->first; edge != NULL; edge = edge->next) {
        struct slice callee;
        if (json_string(json_get(edge, "callee"), &callee) && slice_eq_str(callee, "far"))
            assert_true(json_i64(json_get(json_get(edge, "addresses")->first, word), &value));
    }
    arena_done(&a);
    buf_done(&text);
    return value;
}

static bool all_over(void *arg)
{
    const struct client *c = arg;
    for (; c->r != NULL; c++)
        if (!c->over)
            return false;
    return true;
}

/* count calls at once, to their ends. clients has one more, which is zero. */
static void many(struct rig *r, struct client *clients, size_t count, const char *method, const char *path)
{
    struct call_request request = rig_request("far", method, path);
    for (size_t i = 0; i < count; i++)
        client_begin(r, &clients[i], &request);
    rig_wait(r, all_over, clients);
}

/* A burst shares one connection, made once, as far as its room goes; then there is a second. */
static void test_shared(void **state)
{
    struct rig *r = *state;
    int fd = serve(r, rig_policy(1, 10000));
    static struct client clients[401];
    memset(clients, 0, sizeof clients);
    many(r, clients, 90, "GET", "/hello");
    for (size_t i = 0; i < 90; i++)
        assert_int_equal(clients[i].status, 200);
    assert_int_equal(described(r, "connections"), 1);
    assert_int_equal(described(r, "idle"), 1);
    assert_false(r->seen[0].identity_good);
    memset(clients, 0, sizeof clients);
    many(r, clients, 400, "GET", "/hello");
    for (size_t i = 0; i < 400; i++)
        assert_int_equal(clients[i].status, 200);
    assert_true(described(r, "connections") <= 5);
    struct client big = rig_call(r, "far", "GET", "/big");
    assert_int_equal(big.received, 16 << 20);
    struct call_request request = rig_request("far", "POST", "/echo");
    request.body_stream_size = -1;
    struct client echo = {.send_left = 3 << 20};
    client_begin(r, &echo, &request);
    rig_wait(r, rig_is_true, &echo.over);
    assert_int_equal(echo.received, 3 << 20);
    rig_engine_close(r);
    rig_server_stop(r);
    (void)close(fd);
}

/* An answer that is repeated, one that is cut, one that never comes: the neighbours go on, on the same connection. */
static void test_neighbours(void **state)
{
    struct rig *r = *state;
    int fd = serve(r, rig_policy(2, 300));
    r->fail_first = 1;
    struct client c = rig_call(r, "far", "GET", "/flaky");
    assert_int_equal(c.status, 200);
    struct client hanging = {0}, cut = {0};
    struct call_request hang = rig_request("far", "GET", "/hang"), short_one = rig_request("far", "GET", "/cut");
    client_begin(r, &hanging, &hang);
    client_begin(r, &cut, &short_one);
    assert_int_equal(rig_call(r, "far", "GET", "/hello").status, 200);
    rig_wait(r, rig_is_true, &hanging.over);
    rig_wait(r, rig_is_true, &cut.over);
    assert_int_equal(hanging.err, FICUS_ERR_TIMEOUT);
    assert_int_equal(cut.err, FICUS_ERR_TIMEOUT);
    assert_int_equal(rig_call(r, "far", "GET", "/hello").status, 200);
    assert_int_equal(described(r, "connections"), 1);
    rig_wait_count(r, &r->resets, 2);
    rig_engine_close(r);
    rig_server_stop(r);
    (void)close(fd);
}

/* The engine closes with calls under way. */
static void test_close(void **state)
{
    struct rig *r = *state;
    int fd = serve(r, rig_policy(1, 10000));
    struct client clients[4] = {0};
    struct call_request request = rig_request("far", "GET", "/hang");
    for (int i = 0; i < 3; i++)
        client_begin(r, &clients[i], &request);
    size_t three = 3;
    rig_wait_count(r, &r->streams_open, three);
    rig_engine_close(r);
    for (int i = 0; i < 3; i++)
        assert_int_equal(clients[i].err, FICUS_ERR_CANCELLED);
    rig_wait_count(r, &r->resets, three);
    rig_server_stop(r);
    (void)close(fd);
}

/* Nobody listens: everybody who waited for the connection hears so, and nobody hangs. */
static void test_nobody(void **state)
{
    struct rig *r = *state;
    uint16_t port;
    (void)close(listen_somewhere(&port));
    struct call_policy p = rig_policy(1, 10000);
    p.breaker.enabled = false;
    edge_to(r, port, p);
    struct client clients[41] = {0};
    many(r, clients, 40, "POST", "/hello");
    for (int i = 0; i < 40; i++)
        assert_true(clients[i].err == FICUS_ERR_REFUSED && !clients[i].maybe);
}

/* ---- a server played frame by frame ---- */

struct player {
    struct rig *r;
    int fd;
    struct env_listener *listener;
    struct player_conn {
        struct player *player;
        struct env_stream *s;
        uint8_t in[65536];
        size_t size;
        bool preface;
    } conns[64];
    size_t conn_count, request_count, refuse_left;
    bool shut;      /* MAX_CONCURRENT_STREAMS: 0, and no word more */
    bool go_away;   /* with the first request of a connection: GOAWAY that leaves it out, and the end */
    size_t go_away_left;
};

static void player_written(void *arg, ssize_t n)
{
    fail_msg("so little always fits");
}

static void player_write(struct player_conn *c, const void *bytes, size_t size)
{
    struct iovec iov = {(void *)(uintptr_t)bytes, size};
    assert_true(env_write(c->player->r->e, c->s, &iov, 1, player_written, c) > 0);
}

static void player_request(struct player_conn *c, const uint8_t id[4])
{
    struct player *p = c->player;
    p->request_count++;
    if (p->go_away_left > 0) {
        static const uint8_t away[17] = {0, 0, 8, 7};
        p->go_away_left--;
        player_write(c, away, sizeof away);
    } else if (p->refuse_left > 0) {
        uint8_t rst[13] = {0, 0, 4, 3, 0, id[0], id[1], id[2], id[3], 0, 0, 0, 7};
        p->refuse_left--;
        player_write(c, rst, sizeof rst);
    } else {
        uint8_t answer[10] = {0, 0, 1, 1, 5, id[0], id[1], id[2], id[3], 0x88};  /* :status: 200, the end */
        player_write(c, answer, sizeof answer);
    }
}

static void player_read(void *arg, ssize_t n);

static void player_more(struct player_conn *c)
{
    env_read(c->player->r->e, c->s, c->in + c->size, sizeof c->in - c->size, player_read, c);
}

static void player_read(void *arg, ssize_t n)
{
    struct player_conn *c = arg;
    if (n <= 0) {
        env_close(c->player->r->e, c->s, NULL, NULL);
        c->s = NULL;
        return;
    }
    c->size += (size_t)n;
    size_t at = c->preface ? 0 : 24;
    while (c->size >= at + 9) {
        const uint8_t *f = c->in + at;
        size_t size = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        if (c->size < at + 9 + size)
            break;
        at += 9 + size;
        c->preface = true;
        if (f[3] == 1)
            player_request(c, f + 5);
    }
    if (!c->preface)
        at = 0;
    memmove(c->in, c->in + at, c->size - at);
    c->size -= at;
    player_more(c);
}

static void player_accept(void *arg, struct env_stream *s)
{
    static const uint8_t settings[9] = {0, 0, 0, 4}, none[15] = {0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0};
    struct player *p = arg;
    assert_true(p->conn_count < ARRAY_COUNT(p->conns));
    struct player_conn *c = &p->conns[p->conn_count++];
    c->player = p;
    c->s = s;
    player_write(c, p->shut ? none : settings, p->shut ? sizeof none : sizeof settings);
    player_more(c);
}

static struct player *player_new(struct rig *r, struct call_policy policy)
{
    struct player *p = mem_zalloc(sizeof *p);
    uint16_t port;
    char address[16];
    p->r = r;
    p->fd = listen_somewhere(&port);
    (void)snprintf(address, sizeof address, "fd:%d", p->fd);
    assert_int_equal(env_listen(r->e, address, player_accept, p, &p->listener, NULL), FICUS_ERR_OK);
    edge_to(r, port, policy);
    return p;
}

static void player_free(struct player *p)
{
    rig_engine_close(p->r);
    env_listener_close(p->r->e, p->listener);
    for (size_t i = 0; i < p->conn_count; i++)
        if (p->conns[i].s != NULL)
            env_close(p->r->e, p->conns[i].s, NULL, NULL);
    (void)close(p->fd);
    rig_turns(p->r, 3);
    mem_free(p);
}

static struct call_policy once(void)
{
    struct call_policy p = rig_policy(1, 5000);
    p.breaker.enabled = false;
    return p;
}

/* What was refused is sent again, also a POST, beside the count of attempts, on the same connection. */
static void test_refused(void **state)
{
    struct player *p = player_new(*state, once());
    p->refuse_left = 2;
    struct client c = rig_call(p->r, "far", "POST", "/pay");
    assert_int_equal(c.status, 200);
    assert_int_equal(p->request_count, 3);
    assert_int_equal(p->conn_count, 1);
    player_free(p);
}

/* ...but not for ever; and the caller hears that nothing was done. */
static void test_always_refused(void **state)
{
    struct player *p = player_new(*state, once());
    p->refuse_left = 1000;
    struct client c = rig_call(p->r, "far", "POST", "/pay");
    assert_true(c.err == FICUS_ERR_RESET && !c.maybe);
    assert_int_equal(p->request_count, CALL_UNPROCESSED_MAX + 1);
    player_free(p);
}

/* Nor when its body cannot be sent again. */
static void test_refused_stream(void **state)
{
    struct player *p = player_new(*state, once());
    p->refuse_left = 1;
    struct call_request request = rig_request("far", "POST", "/pay");
    request.body_stream_size = 200000;
    struct client c = {.send_left = 200000};
    client_begin(p->r, &c, &request);
    rig_wait(p->r, rig_is_true, &c.over);
    assert_true(c.err == FICUS_ERR_RESET && !c.maybe);
    assert_int_equal(p->request_count, 1);
    player_free(p);
}

/* A server that goes away loses nobody: all that it left out comes again, on a connection that is made once. */
static void test_goaway(void **state)
{
    struct player *p = player_new(*state, once());
    p->go_away_left = 1;
    struct client clients[21] = {0};
    many(p->r, clients, 20, "POST", "/pay");
    for (int i = 0; i < 20; i++)
        assert_int_equal(clients[i].status, 200);
    assert_int_equal(p->conn_count, 2);
    player_free(p);
}

/* A server that allows no request at a time and does not go away: calls hear it at once, not at their deadlines, and no connection to
 * it is kept; when it allows some again, they go through. */
static void test_none_allowed(void **state)
{
    struct player *p = player_new(*state, once());
    p->shut = true;
    p->refuse_left = 1000;
    for (int i = 0; i < 2; i++) {
        struct client c = rig_call(p->r, "far", "POST", "/pay");
        assert_true(c.err == FICUS_ERR_RESET && !c.maybe);
    }
    assert_int_equal(described(p->r, "connections"), 0);
    p->shut = false;
    p->refuse_left = 0;
    assert_int_equal(rig_call(p->r, "far", "POST", "/pay").status, 200);
    player_free(p);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_shared),  CASE(test_neighbours),     CASE(test_close),          CASE(test_nobody),
        CASE(test_refused), CASE(test_always_refused), CASE(test_refused_stream), CASE(test_goaway),
        CASE(test_none_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
