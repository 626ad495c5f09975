/* SPDX-License-Identifier: Apache-2.0
 *
 * Event streams through the gateway, in virtual time: they outlive every deadline while their service speaks, and end
 * when it ends, breaks or falls silent, when the client goes, and when the gateway stops.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "virtual_rig.h"

/* ---- tests ---- */

/* A comment every 15 s keeps a stream for hours, whatever the route's timeout; requests go on beside it; and its
 * service's end is its end. */
static void test_long(void **state)
{
    struct rig *r = rig_new();
    struct page p, other;
    page_open(r, &p, "/x/events");
    for (int hour = 0; hour < 3; hour++) {
        crash_env_run_ms(r->ce, HOUR_MS);
        assert_true(p.status == 200 && !p.done && !p.broken);
        page_open(r, &other, "/x/short");
        assert_true(other.done && other.status == 200);
        page_close(r, &other);
    }
    assert_in_range(p.bytes / 3, 3 * HOUR_MS / COMMENT_MS, 3 * HOUR_MS / COMMENT_MS + 2);
    r->speaks = false;
    assert_int_equal(http_send(r->events, "last\n\n", 6, true), 6);
    crash_env_run_ms(r->ce, 50);
    assert_true(p.done && strcmp(p.tail, "last\n\n") == 0);
    page_close(r, &p);
    rig_free(r);
}

/* The timeout holds until the head has come, and for every other answer until its end. */
static void test_timeout(void **state)
{
    struct rig *r = rig_new();
    struct page p;
    page_open(r, &p, "/x/mute");
    crash_env_run_ms(r->ce, TIMEOUT_MS);
    assert_true(p.done && p.status == 504);
    page_close(r, &p);
    page_open(r, &p, "/x/download");
    crash_env_run_ms(r->ce, TIMEOUT_MS);
    assert_true(p.status == 200 && p.broken);
    page_close(r, &p);
    rig_free(r);
}

/* A silent service is given up after PROXY_STREAM_SILENCE_MS, or after the route's timeout when that is longer. */
static void test_silence(void **state)
{
    static const struct {
        const char *path;
        int64_t ms;
    } cases[] = {{"/x/events", PROXY_STREAM_SILENCE_MS}, {"/long/events", 4 * PROXY_STREAM_SILENCE_MS}};
    struct rig *r = rig_new();
    struct page p;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        r->speaks = true;
        page_open(r, &p, cases[i].path);
        crash_env_run_ms(r->ce, HOUR_MS);
        r->speaks = false;
        crash_env_run_ms(r->ce, cases[i].ms - COMMENT_MS - 1000);
        assert_false(p.broken || p.done);
        crash_env_run_ms(r->ce, COMMENT_MS + 2000);
        assert_true(p.broken && r->events == NULL);
        page_close(r, &p);
    }
    rig_free(r);
}

/* When the service dies the client hears of it at once, and when the client goes the service does. */
static void test_broken(void **state)
{
    struct rig *r = rig_new();
    struct page p;
    page_open(r, &p, "/x/events");
    struct http_stream *s = r->events;
    r->events = NULL;
    http_reset(s, FICUS_ERR_RESET);
    crash_env_run_ms(r->ce, 50);
    assert_true(p.status == 200 && p.broken && !p.done);
    page_close(r, &p);

    page_open(r, &p, "/x/events");
    assert_non_null(r->events);
    unsigned before = r->service_resets;
    page_close(r, &p);
    assert_int_equal(r->service_resets, before + 1);
    rig_free(r);
}

/* A gateway that stops ends its streams in order and at once: their clients come back elsewhere. One whose head comes
 * while it stops ends as well. */
static void test_stop(void **state)
{
    struct rig *r = rig_new();
    struct page p, late;
    page_open(r, &p, "/x/events");
    page_open(r, &late, "/x/mute");
    struct http_stream *s = r->events;
    proxy_stop(r->proxy, set_true, &r->stopped);
    crash_env_run_ms(r->ce, 50);
    assert_true(p.done && !p.broken);
    assert_false(late.done || r->stopped);
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = -1;
    assert_true(http_msg_add(&m, SLICE("Content-Type"), SLICE("text/event-stream")));
    assert_int_equal(http_send_head(s, &m, false), FICUS_ERR_OK);
    crash_env_run_ms(r->ce, 1000);
    assert_true(late.done && late.status == 200 && r->stopped);
    page_close(r, &p);
    page_close(r, &late);
    rig_free(r);
}

/* Streams take at most seven eighths of the connections; one more is told to come later, and requests go on. */
static void test_too_many(void **state)
{
    struct rig *r = rig_new_for(8);
    struct page pages[7], other;
    r->speaks = false;
    for (size_t i = 0; i < ARRAY_COUNT(pages); i++) {
        page_open(r, &pages[i], "/x/events");
        assert_true(pages[i].status == 200 && !pages[i].done);
    }
    page_open(r, &other, "/x/events");
    assert_true(other.status == 503 && other.done);
    page_close(r, &other);
    page_open(r, &other, "/x/short");
    assert_true(other.status == 200 && other.done);
    page_close(r, &other);
    page_close(r, &pages[0]);
    page_open(r, &other, "/x/events");
    assert_true(other.status == 200 && !other.done);
    page_close(r, &other);
    for (size_t i = 1; i < ARRAY_COUNT(pages); i++)
        page_close(r, &pages[i]);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long),   cmocka_unit_test(test_timeout), cmocka_unit_test(test_silence),
        cmocka_unit_test(test_broken), cmocka_unit_test(test_stop),   cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
