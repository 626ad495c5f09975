/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub as a bus: what is asked of the call engine (which is replaced here), and what becomes of each answer.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "bus.h"
#include "mem.h"

#include <stdio.h>

/* ---- in place of the engine ---- */

struct call_fetch {
    int unused;
};

static struct {
    struct call_request request;
    void (*done)(void *arg, const struct call_result *result);
    void *arg;
    struct call_fetch fetch;
    char path[512], body[512];
    enum ficus_err err;
    int cancelled;
} engine;

enum ficus_err call_fetch(struct call_engine *g, const struct call_request *r, size_t body_size_max,
                          void (*done)(void *arg, const struct call_result *result), void *arg,
                          struct call_fetch **ret_fetch)
{
    (void)g;
    assert_true(body_size_max > 0);
    engine.request = *r;
    engine.done = done;
    engine.arg = arg;
    snprintf(engine.path, sizeof engine.path, SLICE_FMT, SLICE_ARG(r->path));
    snprintf(engine.body, sizeof engine.body, SLICE_FMT, SLICE_ARG(r->body));
    if (engine.err == FICUS_ERR_OK)
        *ret_fetch = &engine.fetch;
    return engine.err;
}

void call_fetch_cancel(struct call_fetch *f)
{
    assert_ptr_equal(f, &engine.fetch);
    engine.cancelled++;
}

static struct bus *bus;

static int setup(void **state)
{
    (void)state;
    memset(&engine, 0, sizeof engine);
    return bus_hub_new(NULL, NULL, &bus) == FICUS_ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bus_hub_free(bus);
    return 0;
}

static void reply(enum ficus_err err, int status, const char *body)
{
    struct call_result r = {.err = err, .status = status, .body = slice_str(body), .detail = err == FICUS_ERR_OK ? NULL
        : "broken"};
    engine.done(engine.arg, &r);
}

static struct {
    int calls;
    enum ficus_err err;
    char detail[256];
    size_t count;
    int64_t next, first, last;
    size_t cut_count;
    int64_t cut_offset;
} got;

static void on_published(void *arg, enum ficus_err err, const char *detail)
{
    (void)arg;
    got.calls++;
    got.err = err;
    snprintf(got.detail, sizeof got.detail, "%s", detail);
}

static void on_pulled(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    (void)arg;
    got.calls++;
    got.err = err;
    got.count = count;
    got.next = next;
    got.cut_count = bus->cut_count;
    if (bus->cut_count > 0) {
        assert_true(slice_eq(bus->cuts[0].topic, SLICE("a")));
        got.cut_offset = bus->cuts[0].offset;
    }
    got.first = count > 0 ? events[0].offset : 0;
    got.last = count > 0 ? events[count - 1].offset : 0;
}

/* A batch is posted as it is, and each answer means what the contract of the bus says. */
static void test_publish(void **state)
{
    (void)state;
    static const struct {
        enum ficus_err err;
        int status;
        const char *body;
        enum ficus_err want;
        const char *detail;
    } cases[] = {
        {FICUS_ERR_OK, 200, "{\"last\":7}", FICUS_ERR_OK, ""},
        {FICUS_ERR_OK, 403, "{\"status\":403,\"detail\":\"orders may not publish x\"}", FICUS_ERR_DENIED,
        "orders may not publish x"},
        {FICUS_ERR_OK, 400, "nonsense", FICUS_ERR_INVALID, "400"},
        {FICUS_ERR_OK, 503, "", FICUS_ERR_UNAVAILABLE, "503"},
        {FICUS_ERR_OK, 507, "", FICUS_ERR_FULL, "507"},
        {FICUS_ERR_OK, 404, "", FICUS_ERR_PROTOCOL, "404"},
        {FICUS_ERR_REFUSED, 0, "", FICUS_ERR_REFUSED, "broken"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        memset(&got, 0, sizeof got);
        assert_int_equal(bus->ops->publish(bus, SLICE("[{}]"), on_published, NULL), FICUS_ERR_OK);
        assert_string_equal(engine.request.callee, "hub");
        assert_true(slice_eq_str(engine.request.method, "POST"));
        assert_string_equal(engine.path, "/v1/events");
        assert_string_equal(engine.body, "[{}]");
        assert_true(slice_eq_str(engine.request.fields[0].value, "application/cloudevents-batch+json"));
        reply(cases[i].err, cases[i].status, cases[i].body);
        assert_int_equal(got.calls, 1);
        assert_int_equal(got.err, cases[i].want);
        assert_non_null(strstr(got.detail, cases[i].detail));
    }
    engine.err = FICUS_ERR_BUSY;
    assert_int_equal(bus->ops->publish(bus, SLICE("[{}]"), on_published, NULL), FICUS_ERR_BUSY);
}

#define EV(n)                                                                                               \
    "{\"specversion\":\"1.0\",\"id\":\"" #n "\",\"source\":\"/s\",\"type\":\"t\",\"sequence\":\"" #n "\",\"data\":{}}"

/* A pull asks for exactly this, waits longer than the hub does, and takes only an answer whose offsets ascend from
 * where it asked. */
static void test_pull(void **state)
{
    (void)state;
    static const struct {
        enum ficus_err err;
        int status;
        const char *body;
        enum ficus_err want;
        size_t count;
        int64_t next;
    } cases[] = {
        {FICUS_ERR_OK, 200, "{\"events\":[" EV(6) "," EV(9) "],\"next\":12}", FICUS_ERR_OK, 2, 12},
        {FICUS_ERR_OK, 200, "{\"events\":[],\"next\":5}", FICUS_ERR_OK, 0, 5},
        {FICUS_ERR_OK, 200, "{\"events\":[],\"next\":4}", FICUS_ERR_PROTOCOL, 0, 5},
        {FICUS_ERR_OK, 200, "{\"events\":[" EV(9) "," EV(6) "],\"next\":12}", FICUS_ERR_PROTOCOL, 0, 5},
        {FICUS_ERR_OK, 200, "{\"events\":[" EV(5) "],\"next\":12}", FICUS_ERR_PROTOCOL, 0, 5},
        {FICUS_ERR_OK, 200, "{\"events\":[" EV(6) "],\"next\":5}", FICUS_ERR_PROTOCOL, 0, 5},
        {FICUS_ERR_OK, 200, "{\"events\":[{}],\"next\":9}", FICUS_ERR_PROTOCOL, 0, 5},
        {FICUS_ERR_OK, 200, "{\"events\":[]}", FICUS_ERR_PROTOCOL, 0, 5},
        {FICUS_ERR_OK, 200, "<html>", FICUS_ERR_PROTOCOL, 0, 5},
        {FICUS_ERR_OK, 409, "", FICUS_ERR_CONFLICT, 0, 5},
        {FICUS_ERR_OK, 503, "", FICUS_ERR_UNAVAILABLE, 0, 5},
        {FICUS_ERR_TIMEOUT, 0, "", FICUS_ERR_TIMEOUT, 0, 5},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        memset(&got, 0, sizeof got);
        assert_int_equal(bus->ops->pull(bus, "a,b.c", 5, 64, 20000, on_pulled, NULL), FICUS_ERR_OK);
        assert_true(slice_eq_str(engine.request.method, "GET"));
        assert_string_equal(engine.path, "/v1/events?topics=a,b.c&after=5&limit=64&wait=20000");
        assert_int_equal(engine.request.timeout_ms, 25000);
        reply(cases[i].err, cases[i].status, cases[i].body);
        assert_int_equal(got.calls, 1);
        assert_int_equal(got.err, cases[i].want);
        assert_int_equal(got.count, cases[i].count);
        assert_int_equal(got.next, cases[i].next);
        assert_int_equal(got.cut_count, 0);
    }
}

/* What the hub says of events that are gone stands beside those that are there, and not longer than in that answer. */
static void test_cuts(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "{\"events\":[" EV(9) "],\"next\":12,\"cut\":[{\"topic\":\"a\",\"offset\":8},{\"topic\":\"b.c\",\"offset\":7}]}",
        "{\"events\":[],\"next\":12,\"cut\":[{\"topic\":\"a\",\"offset\":12}]}",
        "{\"events\":[],\"next\":12,\"cut\":[{\"topic\":\"a\"},{\"offset\":12},7]}",
        "{\"events\":[],\"next\":12,\"cut\":7}",
        "{\"events\":[],\"next\":12}",
    };
    static const size_t counts[] = {2, 1, 0, 0, 0};
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        memset(&got, 0, sizeof got);
        assert_int_equal(bus->ops->pull(bus, "a,b.c", 5, 64, 20000, on_pulled, NULL), FICUS_ERR_OK);
        reply(FICUS_ERR_OK, 200, answers[i]);
        assert_int_equal(got.err, FICUS_ERR_OK);
        assert_int_equal(got.next, 12);
        assert_int_equal(got.cut_count, counts[i]);
        assert_int_equal(got.cut_offset, i == 0 ? 8 : i == 1 ? 12 : 0);
    }
}

/* Cancelling and freeing end what runs, once. */
static void test_cancel(void **state)
{
    (void)state;
    bus->ops->cancel_pull(bus);
    assert_int_equal(engine.cancelled, 0);
    assert_int_equal(bus->ops->pull(bus, "a", 5, 64, 20000, on_pulled, NULL), FICUS_ERR_OK);
    bus->ops->cancel_pull(bus);
    bus->ops->cancel_pull(bus);
    assert_int_equal(engine.cancelled, 1);
    assert_int_equal(bus->ops->publish(bus, SLICE("[]"), on_published, NULL), FICUS_ERR_OK);
    bus_hub_free(bus);
    assert_int_equal(engine.cancelled, 2);
    bus = NULL;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_publish), TEST(test_pull), TEST(test_cuts), TEST(test_cancel)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
