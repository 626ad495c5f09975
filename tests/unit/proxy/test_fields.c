/* SPDX-License-Identifier: Apache-2.0
 *
 * Which fields pass the gateway, by the names that are known: whatever the table of rules says, what is Ficus' own stays inside.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mem.h"
#include "proxy_private.h"

static bool passes(bool (*filter)(const struct http_field *f), struct slice name, enum http_name id)
{
    struct http_field f = {name, SLICE("1"), id};
    return filter(&f);
}

/* No client's field may be taken for one of ours, and none of ours reaches a client, but for Ficus-Complete; whether the name was
 * looked up before or not, and whatever its case. */
static void test_own(void **state)
{
    static const struct slice others[] = {{"ficus-path", 10}, {"FICUS-anything", 14}, {"Ficus-", 6}};
    (void)state;
    for (unsigned id = HTTP_OTHER + 1; id < HTTP_NAME_COUNT; id++) {
        struct slice name = http_names[id];
        bool own = slice_starts(name, SLICE("ficus-"));
        assert_true(!own || !passes(filter_request_field, name, (enum http_name)id));
        assert_true(!own || passes(filter_response_field, name, (enum http_name)id) == (id == HTTP_FICUS_COMPLETE));
        assert_int_equal(passes(filter_request_field, name, HTTP_UNREAD), passes(filter_request_field, name, (enum http_name)id));
        assert_int_equal(passes(filter_response_field, name, HTTP_UNREAD), passes(filter_response_field, name, (enum http_name)id));
    }
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        assert_false(passes(filter_request_field, others[i], HTTP_UNREAD));
        assert_false(passes(filter_request_field, others[i], HTTP_OTHER));
        assert_false(passes(filter_response_field, others[i], HTTP_OTHER));
    }
}

/* What says who asks, from where or for what belongs to the gateway; all else is the client's to say. */
static void test_others(void **state)
{
    static const enum http_name stopped[] = {HTTP_AUTHORIZATION, HTTP_COOKIE, HTTP_FORWARDED, HTTP_TRACEPARENT, HTTP_X_FORWARDED_FOR,
                                             HTTP_X_REAL_IP, HTTP_X_REQUEST_ID, HTTP_X_ORIGINAL_URL, HTTP_X_HTTP_METHOD_OVERRIDE};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(stopped); i++)
        assert_false(passes(filter_request_field, http_names[stopped[i]], stopped[i]));
    assert_true(passes(filter_request_field, SLICE("Accept"), HTTP_UNREAD));
    assert_true(passes(filter_request_field, SLICE("Ficus"), HTTP_UNREAD));
    assert_true(passes(filter_request_field, SLICE("ficusx-a"), HTTP_UNREAD));
    assert_true(passes(filter_request_field, SLICE("Content-Type"), HTTP_UNREAD));
    assert_true(passes(filter_response_field, SLICE("Set-Cookie"), HTTP_UNREAD));
    assert_true(passes(filter_response_field, SLICE("Server"), HTTP_UNREAD));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_own), cmocka_unit_test(test_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
