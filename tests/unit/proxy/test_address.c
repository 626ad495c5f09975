/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of addresses, and who is believed about where a request comes from.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proxy_private.h"

#include "mem.h"

#include <stdio.h>

/* An address lies in a block, or it does not; an IPv4 address is the same as what stands for it in IPv6. */
static void test_blocks(void **state)
{
    static const struct {
        const char *block, *address;
        bool has;
    } cases[] = {{"10.0.0.0/8", "10.255.0.1", true},        {"10.0.0.0/8", "11.0.0.0", false},
                 {"10.0.0.0/8", "::ffff:10.1.2.3", true},   {"::ffff:10.0.0.0/104", "10.1.2.3", true},
                 {"192.0.2.7", "192.0.2.7", true},          {"192.0.2.7", "192.0.2.6", false},
                 {"0.0.0.0/0", "1.2.3.4", true},            {"0.0.0.0/0", "2001:db8::1", false},
                 {"::/0", "1.2.3.4", true},                 {"fd00::/8", "fdff::1", true},
                 {"fd00::/8", "fe00::1", false},            {"2001:db8::8000/113", "2001:db8::ffff", true},
                 {"2001:db8::8000/113", "2001:db8::7fff", false}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct address_block b;
        uint8_t bytes[16];
        assert_true(address_block_parse(slice_str(cases[i].block), &b));
        assert_true(address_parse(slice_str(cases[i].address), bytes));
        if (address_block_has(&b, bytes) != cases[i].has)
            fail_msg("%s in %s", cases[i].address, cases[i].block);
    }
}

static void test_no_blocks(void **state)
{
    static const char *const bad[] = {"",           "10",         "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/",  "10.0.0.0/-1", "fd00::1/8",
                                      "fd00::/129", "10.0.0.0/8 ", "example.com", "10.0.0.256",  "1.2.3.4:80", "/8"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct address_block b;
        assert_false(address_block_parse(slice_str(bad[i]), &b));
        assert_non_null(proxy_check_block(slice_str(bad[i])));
    }
    assert_null(proxy_check_block(SLICE("10.0.0.0/8")));
}

static void test_peers(void **state)
{
    assert_true(slice_eq_str(address_of_peer(SLICE("192.0.2.7:80")), "192.0.2.7"));
    assert_true(slice_eq_str(address_of_peer(SLICE("[2001:db8::1]:80")), "2001:db8::1"));
    assert_int_equal(address_of_peer(SLICE("unix")).size, 0);
}

/* What the service is told, for a peer and what it says itself. */
static void test_forwarded(void **state)
{
    static const struct {
        const char *peer, *said_for, *said_proto, *said_host, *told_for, *told_proto, *told_host, *client;
    } cases[] = {
        {"192.0.2.9:1", "6.6.6.6", "https", "evil", "192.0.2.9", "http", "shop", "192.0.2.9"},
        {"10.1.2.3:1", "6.6.6.6, 7.7.7.7", "https", "shop.example:443", "6.6.6.6, 7.7.7.7, 10.1.2.3", "https", "shop.example:443", "7.7.7.7"},
        {"10.1.2.3:1", NULL, NULL, NULL, "10.1.2.3", "http", "shop", "10.1.2.3"},
        {"10.1.2.3:1", "", "gopher", "a b", "10.1.2.3", "http", "shop", "10.1.2.3"},
        {"[fd00::1]:1", "6.6.6.6", NULL, NULL, "6.6.6.6, fd00::1", "http", "shop", "6.6.6.6"},
        {"10.1.2.3:1", "6.6.6.6, 10.9.9.9,, [fd00::2]:80", NULL, NULL, "6.6.6.6, 10.9.9.9,, [fd00::2]:80, 10.1.2.3", "http", "shop", "6.6.6.6"},
        {"10.1.2.3:1", "6.6.6.6, unknown, 10.9.9.9:4, [fd00::2]", NULL, NULL, "6.6.6.6, unknown, 10.9.9.9:4, [fd00::2], 10.1.2.3", "http", "shop",
         "10.9.9.9"},
        {"10.1.2.3:1", "10.0.0.1, 10.0.0.2", NULL, NULL, "10.0.0.1, 10.0.0.2, 10.1.2.3", "http", "shop", "10.0.0.1"},
        {"10.1.2.3:1", "10.0.0.1, <x>", NULL, NULL, "10.0.0.1, <x>, 10.1.2.3", "http", "shop", "10.1.2.3"},
        {"unix", "6.6.6.6", "https", "evil", NULL, "http", "shop", ""},
    };
    struct address_block trusted[2];
    assert_true(address_block_parse(SLICE("10.0.0.0/8"), &trusted[0]) && address_block_parse(SLICE("fd00::/8"), &trusted[1]));
    struct proxy_snapshot snapshot = {.trusted = trusted, .trusted_count = 2};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct arena a;
        struct http_msg m, told;
        arena_init(&a, 64 * 1024);
        http_msg_init(&m, &a);
        http_msg_init(&told, &a);
        m.method = SLICE("GET");
        m.authority = SLICE("shop");
        const char *const said[] = {"X-Forwarded-For", cases[i].said_for, "x-forwarded-proto", cases[i].said_proto,
                                    "X-FORWARDED-HOST", cases[i].said_host};
        for (size_t k = 0; k < 6; k += 2)
            if (said[k + 1] != NULL)
                assert_true(http_msg_add(&m, slice_str(said[k]), slice_str(said[k + 1])));
        static const struct http_stream_ops ops = {.protocol = "HTTP/1.1"};
        struct http_stream s = {.ops = &ops, .arena = &a, .head_in = &m};
        struct env_peer peer = {.pid = -1};
        (void)snprintf(peer.text, sizeof peer.text, "%s", cases[i].peer);
        struct proxy_request q = {
            .snapshot = &snapshot, .stream = &s, .peer = &peer, .peer_address = address_of_peer(slice_str(peer.text))};
        struct http_field fields[PROXY_FORWARDED_FIELDS];
        size_t count = 0;
        assert_true(proxy_forwarded_fields(&q, fields, &count));
        told.fields = fields;
        told.field_count = count;
        struct slice told_for = http_msg_get(&told, "x-forwarded-for");
        if (cases[i].told_for == NULL ? told_for.p != NULL : !slice_eq_str(told_for, cases[i].told_for))
            fail_msg("case %zu: " SLICE_FMT, i, SLICE_ARG(told_for));
        assert_true(slice_eq_str(http_msg_get(&told, "x-forwarded-proto"), cases[i].told_proto));
        assert_true(slice_eq_str(http_msg_get(&told, "x-forwarded-host"), cases[i].told_host));
        assert_true(slice_eq_str(http_msg_get(&told, "via"), "1.1 ficus"));
        struct slice client = proxy_client_address(&q);
        if (!slice_eq_str(client, cases[i].client))
            fail_msg("case %zu: client " SLICE_FMT, i, SLICE_ARG(client));
        arena_done(&a);
    }
}

/* A list that comes as several fields is one list (RFC 9110 5.3). */
static void test_client_of_several_fields(void **state)
{
    struct address_block trusted;
    struct arena a;
    struct http_msg m;
    assert_true(address_block_parse(SLICE("10.0.0.0/8"), &trusted));
    struct proxy_snapshot snapshot = {.trusted = &trusted, .trusted_count = 1};
    arena_init(&a, 64 * 1024);
    http_msg_init(&m, &a);
    assert_true(http_msg_add(&m, SLICE("X-Forwarded-For"), SLICE("6.6.6.6, 7.7.7.7")) &&
                http_msg_add(&m, SLICE("x-forwarded-for"), SLICE("10.0.0.1")));
    struct http_stream s = {.arena = &a, .head_in = &m};
    const struct env_peer peer = {.text = "10.0.0.2:1"};
    struct proxy_request q = {.snapshot = &snapshot, .stream = &s, .peer = &peer, .peer_address = SLICE("10.0.0.2")};
    assert_true(slice_eq_str(proxy_client_address(&q), "7.7.7.7"));
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks), cmocka_unit_test(test_no_blocks), cmocka_unit_test(test_peers), cmocka_unit_test(test_forwarded),
        cmocka_unit_test(test_client_of_several_fields)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
