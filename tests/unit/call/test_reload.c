/* SPDX-License-Identifier: Apache-2.0
 *
 * An edge that is declared anew while it is used: who waits for a connection gets one that is made for what the edge is now,
 * and who comes goes where it leads now.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_rig.h"
#include "tls.h"

enum { CALLS = 5 };

/* A listener that never accepts: the kernel connects, and then nothing is ever said. And the rig's server on TCP. */
struct ends {
    struct rig *r;
    int silent_fd, server_fd;
    uint16_t silent, server;
};

static void ends_open(struct ends *d, struct rig *r)
{
    char address[16];
    *d = (struct ends){.r = r};
    tls_clients_enable(r->e);
    d->silent_fd = listen_somewhere(&d->silent);
    d->server_fd = listen_somewhere(&d->server);
    (void)snprintf(address, sizeof address, "fd:%d", d->server_fd);
    rig_server_stop(r);
    const struct http_server_options o = {.h2c = true, .on_request = serve_request, .arg = r};
    assert_int_equal(http_server_new(r->e, &o, &r->server), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(r->server, address, NULL, NULL), FICUS_ERR_OK);
}

static void ends_close(struct ends *d)
{
    rig_engine_close(d->r);
    rig_server_stop(d->r);
    (void)close(d->silent_fd);
    (void)close(d->server_fd);
}

static void edge_to(struct rig *r, const char *scheme, uint16_t port, int protocol)
{
    struct call_policy p = rig_policy(1, 20000);
    char url[40];
    (void)snprintf(url, sizeof url, "%s://127.0.0.1:%u", scheme, port);
    struct call_upstream u = {.url = url, .protocol = protocol};
    p.upstream = &u;
    assert_int_equal(call_engine_edge(r->g, "far", &p, NULL), FICUS_ERR_OK);
}

static void begin(struct rig *r, struct client clients[CALLS])
{
    static const struct call_request request = {.callee = "far", .method = {"POST", 4}, .path = {"/", 1}};
    memset(clients, 0, CALLS * sizeof *clients);
    for (int i = 0; i < CALLS; i++)
        client_begin(r, &clients[i], &request);
}

static void all_answered(struct rig *r, struct client clients[CALLS])
{
    for (int i = 0; i < CALLS; i++) {
        rig_wait(r, rig_is_true, &clients[i].over);
        assert_int_equal(clients[i].err, FICUS_ERR_OK);
        assert_int_equal(clients[i].status, 200);
    }
}

/* The url changes while connections are being made to the old one. They come about, and nobody uses them. */
static void test_url(void **state)
{
    struct ends d;
    struct client clients[CALLS];
    ends_open(&d, *state);
    edge_to(d.r, "http", d.silent, CALL_PROTOCOL_ANY);
    begin(d.r, clients);
    edge_to(d.r, "http", d.server, CALL_PROTOCOL_ANY);
    all_answered(d.r, clients);
    assert_int_equal(d.r->seen_count, CALLS);
    ends_close(&d);
}

/* A handshake hangs when the edge becomes plain; the calls that came before it and those that share a connection of HTTP/2
 * that is being made. */
static void test_tls(void **state)
{
    static const int protocols[] = {CALL_PROTOCOL_HTTP1, CALL_PROTOCOL_ANY, CALL_PROTOCOL_H2};
    struct ends d;
    struct client clients[CALLS];
    ends_open(&d, *state);
    for (size_t i = 0; i < ARRAY_COUNT(protocols); i++) {
        edge_to(d.r, "https", d.silent, protocols[i]);
        begin(d.r, clients);
        rig_turns(d.r, 10);
        assert_false(clients[0].over);
        edge_to(d.r, "http", d.server, CALL_PROTOCOL_H2C);
        all_answered(d.r, clients);
    }
    assert_int_equal(d.r->seen_count, ARRAY_COUNT(protocols) * CALLS);
    ends_close(&d);
}

/* Only what is spoken changes: the address is the same, what is under way to it is not used. */
static void test_protocol(void **state)
{
    static const int protocols[] = {CALL_PROTOCOL_H2C, CALL_PROTOCOL_HTTP1, CALL_PROTOCOL_H2C};
    struct ends d;
    struct client clients[CALLS];
    ends_open(&d, *state);
    edge_to(d.r, "http", d.server, CALL_PROTOCOL_HTTP1);
    for (size_t i = 0; i < ARRAY_COUNT(protocols); i++) {
        call_engine_close_idle(d.r->g);
        begin(d.r, clients);
        edge_to(d.r, "http", d.server, protocols[i]);
        all_answered(d.r, clients);
        for (size_t k = 0; k < CALLS; k++)
            assert_string_equal(d.r->seen[i * CALLS + k].protocol, protocols[i] == CALL_PROTOCOL_H2C ? "h2" : "HTTP/1.1");
    }
    ends_close(&d);
}

/* From the addresses that discovery tells to a url and back: each time the calls go where the edge leads now, and what was told
 * while there was a url counts afterwards. */
static void test_url_comes_and_goes(void **state)
{
    struct ends d;
    struct client clients[CALLS];
    char silent[32], server[32];
    const char *to_silent = silent, *to_server = server;
    struct call_policy told = rig_policy(1, 20000);
    ends_open(&d, *state);
    (void)snprintf(silent, sizeof silent, "tcp:127.0.0.1:%u", d.silent);
    (void)snprintf(server, sizeof server, "tcp:127.0.0.1:%u", d.server);
    rig_edge(d.r, "far", told, silent);
    edge_to(d.r, "http", d.server, CALL_PROTOCOL_ANY);
    begin(d.r, clients);
    all_answered(d.r, clients);
    assert_false(d.r->seen[0].identity_good);
    edge_to(d.r, "http", d.silent, CALL_PROTOCOL_ANY);
    assert_int_equal(call_engine_endpoints(d.r->g, "far", &to_server, 1), FICUS_ERR_OK);
    begin(d.r, clients);
    rig_turns(d.r, 5);
    for (int i = 0; i < CALLS; i++)
        client_cancel(&clients[i]);
    rig_edge(d.r, "far", told, NULL);
    begin(d.r, clients);
    all_answered(d.r, clients);
    assert_int_equal(d.r->seen_count, 2 * CALLS);
    assert_true(d.r->seen[CALLS].identity_good);
    /* as another loop that starts now */
    struct call_engine *first = d.r->g;
    edge_to(d.r, "http", d.server, CALL_PROTOCOL_ANY);
    assert_int_equal(call_engine_endpoints(first, "far", &to_silent, 1), FICUS_ERR_OK);
    assert_int_equal(call_engine_endpoints(first, "far", &to_server, 1), FICUS_ERR_OK);
    rig_engine(d.r, 0, 0);
    assert_int_equal(call_engine_endpoints_copy(first, d.r->g), FICUS_ERR_OK);
    rig_edge(d.r, "far", told, NULL);
    begin(d.r, clients);
    all_answered(d.r, clients);
    /* nothing was ever told: no address */
    edge_to(d.r, "http", d.server, CALL_PROTOCOL_ANY);
    assert_int_equal(call_engine_endpoints(d.r->g, "far", NULL, 0), FICUS_ERR_OK);
    rig_edge(d.r, "far", told, NULL);
    assert_int_equal(rig_call(d.r, "far", "POST", "/").err, FICUS_ERR_UNAVAILABLE);
    rig_engine_close(d.r);
    d.r->g = first;
    ends_close(&d);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {CASE(test_url), CASE(test_tls), CASE(test_protocol), CASE(test_url_comes_and_goes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
