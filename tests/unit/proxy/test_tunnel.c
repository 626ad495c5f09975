/* SPDX-License-Identifier: Apache-2.0
 *
 * WebSockets through the gateway, in virtual time: who gets one, what passes, and how they end.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "virtual_rig.h"

#define KEY {SLICE("Sec-WebSocket-Key"), SLICE("dGhlIHNhbXBsZSBub25jZQ==")}
#define VERSION {SLICE("Sec-WebSocket-Version"), SLICE("13")}
#define CHAT {SLICE("Sec-WebSocket-Protocol"), SLICE("chat")}

static const struct http_field handshake[] = {KEY, VERSION, CHAT};

static void socket_open_with(struct rig *r, struct page *p, const char *path, const struct http_field *fields, size_t count)
{
    *p = (struct page){.path = path, .fields = fields, .field_count = count};
    page_connect(r, p);
}

static void socket_open(struct rig *r, struct page *p)
{
    socket_open_with(r, p, "/x/socket", handshake, ARRAY_COUNT(handshake));
    assert_int_equal(p->status, 101);
}

static void say(struct rig *r, struct page *p, bool end)
{
    assert_int_equal(http_send(p->stream, "hello", 5, end), 5);
    crash_env_run_ms(r->ce, 50);
}

static void answer(struct rig *r, bool end)
{
    assert_int_equal(http_send(r->events, "world", 5, end), 5);
    crash_env_run_ms(r->ce, 50);
}

/* The values of RFC 6455 1.3, and keys that are none. */
static void test_values(void **state)
{
    static const char *const bad[] = {"",
                                      "dGhlIHNhbXBsZSBub25jZQ=",
                                      "dGhlIHNhbXBsZSBub25jZQ===",
                                      "dGhlIHNhbXBsZSBub25jZR==",
                                      "dGhlIHNhbXBsZSBub25jZQAA",
                                      "dGhlIHNhbXBsZSBub25-ZQ=="};
    char accept[WEBSOCKET_ACCEPT_SIZE], key[WEBSOCKET_KEY_SIZE];
    assert_true(websocket_key_valid(SLICE("dGhlIHNhbXBsZSBub25jZQ==")));
    assert_true(websocket_accept(SLICE("dGhlIHNhbXBsZSBub25jZQ=="), accept));
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    websocket_key_make((const uint8_t *)"the sample nonce", key);
    assert_string_equal(key, "dGhlIHNhbXBsZSBub25jZQ==");
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(websocket_key_valid(slice_str(bad[i])));
}

/* Bytes pass both ways, whoever ends first, and both ends hear of both ends. More than a body may have is fine. */
static void test_passes(void **state)
{
    for (int client_first = 0; client_first < 2; client_first++) {
        struct rig *r = rig_new();
        struct page p;
        r->lingers = true;
        socket_open(r, &p);
        for (int i = 0; i < 1000; i++) {
            say(r, &p, false);
            answer(r, false);
        }
        assert_int_equal(r->tunnel_bytes, 5000);
        assert_int_equal(p.bytes, 5000);
        if (client_first)
            say(r, &p, true);
        answer(r, true);
        assert_int_equal(r->tunnel_ended, client_first);
        assert_int_equal(p.done, client_first);
        if (!client_first)
            say(r, &p, true);
        assert_true(r->tunnel_ended && r->tunnel_done && p.done && !p.broken);
        assert_int_equal(r->tunnel_bytes, 5005);
        assert_int_equal(p.bytes, 5005);
        page_close(r, &p);
        rig_free(r);
    }
}

/* A tunnel lives as long as either side speaks within PROXY_STREAM_SILENCE_MS. */
static void test_silence(void **state)
{
    for (int side = 0; side < 2; side++) {
        struct rig *r = rig_new();
        struct page p;
        socket_open(r, &p);
        for (int i = 0; i < 60; i++) {
            crash_env_run_ms(r->ce, PROXY_STREAM_SILENCE_MS - 1000);
            assert_false(p.broken || p.ended);
            if (side == 0)
                say(r, &p, false);
            else
                answer(r, false);
        }
        crash_env_run_ms(r->ce, PROXY_STREAM_SILENCE_MS - 1000);
        assert_false(p.broken || p.ended);
        crash_env_run_ms(r->ce, 2000);
        assert_true((p.broken || p.ended) && r->tunnel_ended);
        assert_int_equal(http_server_conn_count(r->proxy->server), 0);
        page_close(r, &p);
        rig_free(r);
    }
}

/* When the service or the client is gone, the other one hears of it at once. */
static void test_broken(void **state)
{
    struct rig *r = rig_new();
    struct page p;
    socket_open(r, &p);
    struct http_stream *s = r->events;
    r->events = NULL;
    http_reset(s, FICUS_ERR_RESET);
    crash_env_run_ms(r->ce, 50);
    assert_true(p.broken || p.ended);
    page_close(r, &p);

    socket_open(r, &p);
    page_close(r, &p);
    assert_true(r->tunnel_ended && r->events == NULL);
    rig_free(r);
}

/* Behind a service that ended, a client that does not end is given up when it talks on, or falls silent. */
static void test_talks_on(void **state)
{
    static char page[8192];
    for (int silent = 0; silent < 2; silent++) {
        struct rig *r = rig_new();
        struct page p;
        socket_open(r, &p);
        answer(r, true);
        struct http_stream *s = r->events;
        r->events = NULL;
        http_reset(s, FICUS_ERR_RESET);
        crash_env_run_ms(r->ce, 50);
        for (int i = 0; i < 20 && !silent && !p.broken && !p.done; i++) {
            (void)http_send(p.stream, page, sizeof page, false);
            crash_env_run_ms(r->ce, 50);
        }
        if (silent)
            crash_env_run_ms(r->ce, PROXY_STREAM_SILENCE_MS + 1000);
        assert_int_equal(http_server_conn_count(r->proxy->server), 0);
        page_close(r, &p);
        rig_free(r);
    }
}

/* A gateway that stops ends its tunnels at once. */
static void test_stop(void **state)
{
    struct rig *r = rig_new();
    struct page p;
    socket_open(r, &p);
    proxy_stop(r->proxy, set_true, &r->stopped);
    crash_env_run_ms(r->ce, 50);
    assert_int_equal(http_send(p.stream, "", 0, true), 0);
    crash_env_run_ms(r->ce, 1000);
    assert_true(p.done && r->stopped && r->tunnel_ended);
    page_close(r, &p);
    rig_free(r);
}

/* They count as event streams do. */
static void test_too_many(void **state)
{
    struct rig *r = rig_new_for(8);
    struct page pages[7], other;
    r->speaks = false;
    for (size_t i = 0; i < ARRAY_COUNT(pages); i++)
        if (i % 2 == 0)
            socket_open(r, &pages[i]);
        else
            page_open(r, &pages[i], "/x/events");
    socket_open_with(r, &other, "/x/socket", handshake, ARRAY_COUNT(handshake));
    assert_int_equal(other.status, 503);
    page_close(r, &other);
    page_close(r, &pages[0]);
    socket_open(r, &other);
    page_close(r, &other);
    for (size_t i = 1; i < ARRAY_COUNT(pages); i++)
        page_close(r, &pages[i]);
    rig_free(r);
}

/* Only where a route takes them (elsewhere the offer is ignored), only well-formed ones, and never for a page of another
 * origin. */
static void test_refused(void **state)
{
    static const struct http_field old[] = {KEY, {SLICE("Sec-WebSocket-Version"), SLICE("8")}, CHAT}, keyless[] = {VERSION, CHAT},
                                   bad[] = {{SLICE("Sec-WebSocket-Key"), SLICE("x")}, VERSION, CHAT},
                                   two[] = {KEY, KEY, VERSION, CHAT},
                                   foreign[] = {KEY, VERSION, CHAT, {SLICE("Origin"), SLICE("https://evil.test")}},
                                   null[] = {KEY, VERSION, CHAT, {SLICE("Origin"), SLICE("null")}},
                                   cross[] = {KEY, VERSION, CHAT, {SLICE("Sec-Fetch-Site"), SLICE("cross-site")}},
                                   own[] = {KEY, VERSION, CHAT, {SLICE("Origin"), SLICE("https://shop.test")}};
    static const struct {
        const struct http_field *fields;
        size_t count;
        const char *path;
        int status;
    } cases[] = {{handshake, 3, "/long/short", 200}, {old, 3, "/x/socket", 400},     {keyless, 2, "/x/socket", 400},
                 {bad, 3, "/x/socket", 400},          {two, 4, "/x/socket", 400},     {foreign, 4, "/x/socket", 403},
                 {null, 4, "/x/socket", 403},         {cross, 4, "/x/socket", 403},   {handshake, 3, "/nothing", 404},
                 {handshake, 3, "/x/short", 200},     {handshake, 3, "/x/mute", 504}, {own, 4, "/x/socket", 101}};
    struct rig *r = rig_new();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct page p;
        r->events = NULL;
        socket_open_with(r, &p, cases[i].path, cases[i].fields, cases[i].count);
        crash_env_run_ms(r->ce, TIMEOUT_MS);
        if (p.status != cases[i].status)
            fail_msg("case %zu: %d, expected %d", i, p.status, cases[i].status);
        assert_int_equal(r->events != NULL, cases[i].status == 101);
        page_close(r, &p);
    }
    rig_free(r);
}

/* A service that says 101 without having understood the handshake gets no tunnel. */
static void test_wrong_accept(void **state)
{
    struct rig *r = rig_new();
    struct page p;
    r->accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=";
    socket_open_with(r, &p, "/x/socket", handshake, ARRAY_COUNT(handshake));
    assert_int_equal(p.status, 502);
    assert_true(r->tunnel_ended);
    page_close(r, &p);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),   cmocka_unit_test(test_passes),  cmocka_unit_test(test_silence),
        cmocka_unit_test(test_broken),   cmocka_unit_test(test_talks_on), cmocka_unit_test(test_stop),
        cmocka_unit_test(test_too_many), cmocka_unit_test(test_refused), cmocka_unit_test(test_wrong_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
