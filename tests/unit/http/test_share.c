/* SPDX-License-Identifier: Apache-2.0
 *
 * Two servers that accept from one inherited socket, as those of two loops do: each gets its part of the connections,
 * and the limit is one for both. They run on one loop here; what they share does not know.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "http_server.h"
#include "io_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SERVERS = 2, CLIENTS = 40, LIMIT = 6, WAIT_MS = 30000 };

struct rig {
    struct env *e;
    struct http_server_share share;
    struct http_server *servers[SERVERS];
    char dir[64], address[32];
    struct sockaddr_un path;
    int listener, clients[CLIENTS];
    size_t closed, most;    /* most: connections seen at a time */
    bool (*until)(struct rig *r);
    struct env_timer poll;
    int64_t give_up_ms;
};

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    fail();     /* nobody asks */
}

static void on_poll(void *arg)
{
    struct rig *r = arg;
    size_t count = r->share.conn_count;
    r->most = count > r->most ? count : r->most;
    assert_true(env_now_ms(r->e) < r->give_up_ms);
    if (r->until(r))
        env_uv_stop(r->e);
    else
        env_timer_start(r->e, &r->poll, 1);
}

static void run_until(struct rig *r, bool (*until)(struct rig *r))
{
    r->until = until;
    r->give_up_ms = env_now_ms(r->e) + WAIT_MS;
    r->poll = (struct env_timer){.fn = on_poll, .arg = r};
    env_timer_start(r->e, &r->poll, 0);
    env_uv_run(r->e);
}

static bool all_accepted(struct rig *r)
{
    return r->share.conn_count == CLIENTS;
}

/* All but as many as the limit lets be have seen their end. */
static bool rest_ended(struct rig *r)
{
    size_t ended = 0;
    char byte;
    for (int i = 0; i < CLIENTS; i++)
        ended += recv(r->clients[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
    return ended >= CLIENTS - LIMIT;
}

static void on_closed(void *arg)
{
    struct rig *r = arg;
    r->closed++;
}

static bool all_closed(struct rig *r)
{
    return r->closed == SERVERS;
}

static void rig_start(struct rig *r, size_t conn_count_max)
{
    *r = (struct rig){.share = {.server_count = SERVERS}, .path = {.sun_family = AF_UNIX}};
    r->e = env_uv_new(NULL, NULL);
    (void)snprintf(r->dir, sizeof r->dir, "/tmp/ficus-share-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(r->path.sun_path, sizeof r->path.sun_path, "%s/s", r->dir);
    r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (const void *)&r->path, sizeof r->path), 0);
    assert_int_equal(listen(r->listener, CLIENTS), 0);
    (void)snprintf(r->address, sizeof r->address, "fd:%d", r->listener);
    for (size_t i = 0; i < SERVERS; i++) {
        const struct http_server_options o = {
            .limits = {.conn_count_max = conn_count_max}, .share = &r->share, .on_request = on_request, .arg = r};
        assert_int_equal(http_server_new(r->e, &o, &r->servers[i]), FICUS_ERR_OK);
        assert_int_equal(http_server_listen(r->servers[i], r->address, NULL, NULL), FICUS_ERR_OK);
    }
    for (int i = 0; i < CLIENTS; i++) {
        r->clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(r->clients[i], (const void *)&r->path, sizeof r->path), 0);
    }
}

static void rig_end(struct rig *r)
{
    for (int i = 0; i < CLIENTS; i++)
        close(r->clients[i]);
    for (size_t i = 0; i < SERVERS; i++)
        http_server_close(r->servers[i], on_closed, r);
    run_until(r, all_closed);
    env_uv_free(r->e);
    close(r->listener);
    (void)unlink(r->path.sun_path);
    assert_int_equal(rmdir(r->dir), 0);
}

/* However many connections come at once, none of the servers has much more than its half. */
static void test_spread(void **state)
{
    struct rig r;
    rig_start(&r, 0);
    run_until(&r, all_accepted);
    size_t sum = 0;
    for (size_t i = 0; i < SERVERS; i++) {
        sum += http_server_conn_count(r.servers[i]);
        assert_in_range(http_server_conn_count(r.servers[i]), CLIENTS / SERVERS - CLIENTS / 8 - 2,
                        CLIENTS / SERVERS + CLIENTS / 8 + 2);
    }
    assert_int_equal(sum, CLIENTS);
    rig_end(&r);
}

/* The limit counts the connections of both, but for the one that each may just have accepted. */
static void test_limit(void **state)
{
    struct rig r;
    rig_start(&r, LIMIT);
    run_until(&r, rest_ended);
    assert_in_range(r.most, LIMIT - 1, LIMIT + SERVERS);
    rig_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spread), cmocka_unit_test(test_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
