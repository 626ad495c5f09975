/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub's subscriber against a small hub of its own: news, warming, a dead hub, the kept file, and every way to
 * close.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../call/call_rig.h"
#include "resolve_hub.h"

/* ---- an engine without memory ---- */

enum ficus_err __real_call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses, size_t count);
enum ficus_err __wrap_call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses, size_t count);

static size_t refusals_left;    /* of what is told of "orders" */

enum ficus_err __wrap_call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses, size_t count)
{
    if (strcmp(callee, "orders") != 0 || refusals_left == 0)
        return __real_call_engine_endpoints(g, callee, addresses, count);
    refusals_left--;
    return FICUS_ERR_NOMEM;
}

/* ---- a hub that knows only endpoints ---- */

struct fake_hub {
    struct rig *r;
    char address[96], path[96];
    struct http_server *server;
    const char *snapshot;       /* whole JSON; NULL: answers 503 */
    int64_t version;
    size_t polls, changes;
    struct http_stream *held;   /* the poll that waits */
    struct resolve_hub *resolve;
};

static void hub_answer(struct fake_hub *h, struct http_stream *s)
{
    if (h->snapshot == NULL)
        (void)http_respond_problem(s, 503, NULL, "not now");
    else
        (void)http_respond(s, 200, NULL, 0, "application/json", slice_str(h->snapshot));
}

static void hub_done(void *arg, struct http_stream *s)
{
}

static void hub_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct fake_hub *h = arg;
    h->held = h->held == s ? NULL : h->held;
}

static void hub_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    static const struct http_handler handler = {.on_done = hub_done, .on_reset = hub_reset};
    struct fake_hub *h = arg;
    bool fine;
    int64_t version = -1;
    http_stream_handle(s, &handler, h);
    h->polls++;
    assert_true(slice_eq_str(s->head_in->path, "/v1/endpoints"));
    assert_true(slice_to_i64(http_query_get(s->head_in->query, "version", s->arena, &fine), &version));
    assert_true(slice_eq_str(http_query_get(s->head_in->query, "wait", s->arena, &fine), "20000"));
    if (h->snapshot != NULL && version == h->version)
        h->held = s;
    else
        hub_answer(h, s);
}

static void hub_say(struct fake_hub *h, int64_t version, const char *snapshot)
{
    struct http_stream *s = h->held;
    h->version = version;
    h->snapshot = snapshot;
    h->held = NULL;
    if (s != NULL)
        hub_answer(h, s);
}

static void hub_start(struct fake_hub *h)
{
    struct http_server_options o = {.on_request = hub_request, .arg = h};
    assert_int_equal(http_server_new(h->r->e, &o, &h->server), FICUS_ERR_OK);
    (void)unlink(h->address + 5);
    assert_int_equal(http_server_listen(h->server, h->address, NULL, NULL), FICUS_ERR_OK);
}

static void hub_stop(struct fake_hub *h)
{
    bool closed = false;
    if (h->server == NULL)
        return;
    http_server_close(h->server, rig_set_closed, &closed);
    rig_wait(h->r, rig_is_true, &closed);
    h->server = NULL;
    (void)unlink(h->address + 5);
}

static void on_change(void *arg)
{
    ((struct fake_hub *)arg)->changes++;
}

static void resolve_start(struct fake_hub *h)
{
    const struct resolve_hub_options o = {
        .engine = h->r->g, .snapshot_path = h->path, .wait_ms = 20000, .on_change = on_change, .arg = h};
    assert_int_equal(resolve_hub_new(h->r->e, &o, &h->resolve), FICUS_ERR_OK);
}

static void resolve_stop(struct fake_hub *h)
{
    bool closed = false;
    resolve_hub_close(h->resolve, rig_set_closed, &closed);
    rig_wait(h->r, rig_is_true, &closed);
    h->resolve = NULL;
}

static void edges(struct fake_hub *h)
{
    struct call_policy p = rig_policy(1, 5000);
    p.breaker.enabled = false;
    rig_edge(h->r, "hub", p, h->address);
    rig_edge(h->r, "orders", p, NULL);
}

static void begin(struct fake_hub *h, struct rig *r)
{
    *h = (struct fake_hub){.r = r};
    (void)snprintf(h->address, sizeof h->address, "unix:%s/hub.sock", r->dir);
    (void)snprintf(h->path, sizeof h->path, "%s/endpoints.json", r->dir);
    edges(h);
}

static void finish(struct fake_hub *h)
{
    if (h->resolve != NULL)
        resolve_stop(h);
    hub_stop(h);
    (void)unlink(h->path);
}

static struct resolve_hub_status status_of(const struct fake_hub *h)
{
    struct resolve_hub_status s;
    resolve_hub_status(h->resolve, &s);
    return s;
}

static bool is_held(void *arg)
{
    return ((struct fake_hub *)arg)->held != NULL;
}

static bool has_failed_twice(void *arg)
{
    return status_of(arg).polls_failed >= 2;
}

static bool file_has(const struct fake_hub *h, const char *part)
{
    char text[4096] = "";
    FILE *f = fopen(h->path, "re");
    if (f == NULL)
        return false;
    size_t size = fread(text, 1, sizeof text - 1, f);
    text[size] = '\0';
    (void)fclose(f);
    return strstr(text, part) != NULL;
}

struct file_wait {
    const struct fake_hub *h;
    const char *part;
};

static bool file_has_it(void *arg)
{
    const struct file_wait *w = arg;
    return file_has(w->h, w->part);
}

static const char *snapshot_text(const struct fake_hub *h, char text[512], int64_t version, bool warming,
                                 const char *address)
{
    (void)snprintf(text, 512,
                   "{\"version\": %lld, \"warming\": %s, \"services\": {\"orders\": [%s%s%s], "
                   "\"hub\": [\"unix:/nowhere/hub.sock\"]}}",
                   (long long)version, warming ? "true" : "false", address != NULL ? "\"" : "",
                   address != NULL ? address : "",
                   address != NULL ? "\"" : "");
    return text;
}

/* The first snapshot is applied and kept in the file; news comes while a poll waits; the hub's own address is never
 * taken from a snapshot. */
static void test_news(void **state)
{
    struct fake_hub h;
    char a[512], b[512];
    begin(&h, *state);
    h.snapshot = snapshot_text(&h, a, 1001, false, h.r->dead_address);
    h.version = 1001;
    hub_start(&h);
    resolve_start(&h);
    rig_wait(h.r, is_held, &h);
    assert_int_equal(h.changes, 1);
    assert_int_equal(rig_call(h.r, "orders", "POST", "/").err, FICUS_ERR_REFUSED);
    hub_say(&h, 1002, snapshot_text(&h, b, 1002, false, h.r->address));
    rig_wait(h.r, is_held, &h);
    assert_int_equal(h.changes, 2);
    assert_int_equal(h.polls, 3);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").status, 200);
    struct resolve_hub_status s = status_of(&h);
    assert_int_equal(s.version, 1002);
    assert_true(s.connected);
    assert_int_equal(s.polls_failed, 0);
    assert_int_equal(s.service_count, 1);
    struct file_wait w = {&h, h.r->address};
    rig_wait(h.r, file_has_it, &w);
    finish(&h);
}

/* An answer that has only what changed leaves the rest as it is, in the engine and in the file. One that begins elsewhere than
 * at what is known is not taken: the whole is asked for. */
static void test_changes(void **state)
{
    struct fake_hub h;
    char whole[512], change[512], gap[512], all[512];
    begin(&h, *state);
    rig_edge(h.r, "carts", rig_policy(1, 5000), NULL);
    (void)snprintf(whole, sizeof whole, "{\"version\":1001,\"warming\":false,\"services\":{\"orders\":[\"%s\"],\"carts\":[\"%s\"]}}",
                   h.r->address, h.r->dead_address);
    (void)snprintf(change, sizeof change, "{\"version\":1002,\"since\":1001,\"warming\":false,\"services\":{\"carts\":[\"%s\"]}}",
                   h.r->address);
    (void)snprintf(gap, sizeof gap, "{\"version\":1004,\"since\":1003,\"warming\":false,\"services\":{\"carts\":[\"%s\"]}}",
                   h.r->dead_address);
    (void)snprintf(all, sizeof all, "{\"version\":1004,\"warming\":false,\"services\":{\"orders\":[],\"carts\":[\"%s\"]}}",
                   h.r->address);
    h.snapshot = whole;
    h.version = 1001;
    hub_start(&h);
    resolve_start(&h);
    rig_wait(h.r, is_held, &h);
    assert_int_equal(rig_call(h.r, "carts", "GET", "/").err, FICUS_ERR_REFUSED);
    hub_say(&h, 1002, change);
    rig_wait(h.r, is_held, &h);
    assert_int_equal(rig_call(h.r, "carts", "GET", "/").status, 200);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").status, 200);
    char carts[128], orders[128];
    (void)snprintf(carts, sizeof carts, "\"carts\":[\"%s\"]", h.r->address);
    (void)snprintf(orders, sizeof orders, "\"orders\":[\"%s\"]", h.r->address);
    struct file_wait new_one = {&h, carts}, old_one = {&h, orders};
    rig_wait(h.r, file_has_it, &new_one);
    assert_true(file_has_it(&old_one));
    size_t polls = h.polls;
    hub_say(&h, 1004, gap);
    h.snapshot = all;
    rig_wait(h.r, is_held, &h);
    assert_int_equal(h.polls, polls + 2);       /* the whole, and what waits now */
    assert_int_equal(status_of(&h).polls_failed, 1);
    assert_int_equal(rig_call(h.r, "carts", "GET", "/").status, 200);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").err, FICUS_ERR_UNAVAILABLE);
    resolve_stop(&h);       /* what was not written for the sake of its cost is now */
    assert_true(file_has(&h, "\"version\":1004"));
    finish(&h);
}

/* What the engine had no memory for, new addresses and that there are none any more, it is told again. */
static void test_no_memory(void **state)
{
    struct fake_hub h;
    char a[512], b[512], c[512];
    begin(&h, *state);
    h.snapshot = snapshot_text(&h, a, 1001, false, h.r->dead_address);
    h.version = 1001;
    hub_start(&h);
    resolve_start(&h);
    rig_wait(h.r, is_held, &h);
    refusals_left = 2;
    hub_say(&h, 1002, snapshot_text(&h, b, 1002, false, h.r->address));
    rig_wait(h.r, is_held, &h);
    assert_int_equal(refusals_left, 0);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").status, 200);
    refusals_left = 2;
    hub_say(&h, 1003, snapshot_text(&h, c, 1003, false, NULL));
    rig_wait(h.r, is_held, &h);
    assert_int_equal(refusals_left, 0);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").err, FICUS_ERR_UNAVAILABLE);
    finish(&h);
}

/* A warming hub takes no addresses away and is asked again until it has warmed up; a warm one's empty list does. */
static void test_warming(void **state)
{
    struct fake_hub h;
    char a[512], b[512], c[512];
    begin(&h, *state);
    h.snapshot = snapshot_text(&h, a, 1, false, h.r->address);
    h.version = 1;
    hub_start(&h);
    resolve_start(&h);
    rig_wait(h.r, is_held, &h);
    size_t polls = h.polls;
    hub_say(&h, 2, snapshot_text(&h, b, 2, true, NULL));
    rig_wait_count(h.r, &h.polls, polls + 3);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").status, 200);
    polls = h.polls;
    hub_say(&h, 3, snapshot_text(&h, c, 3, true, h.r->dead_address));
    rig_wait_count(h.r, &h.polls, polls + 3);
    assert_true(status_of(&h).warming);
    assert_int_equal(h.changes, 1);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").status, 200);
    /* the same version, warm now, is taken */
    hub_say(&h, 3, snapshot_text(&h, b, 3, false, h.r->dead_address));
    rig_wait(h.r, is_held, &h);
    assert_false(status_of(&h).warming);
    assert_int_equal(h.changes, 2);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").err, FICUS_ERR_REFUSED);
    hub_say(&h, 4, snapshot_text(&h, a, 4, false, NULL));
    rig_wait(h.r, is_held, &h);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").err, FICUS_ERR_UNAVAILABLE);
    finish(&h);
}

/* While the hub is away, answers errors or nonsense, the addresses stay and polls go on; when it is back it is asked
 * for everything. */
static void test_hub_away(void **state)
{
    struct fake_hub h;
    char a[512];
    begin(&h, *state);
    h.snapshot = snapshot_text(&h, a, 9, false, h.r->address);
    h.version = 9;
    hub_start(&h);
    resolve_start(&h);
    rig_wait(h.r, is_held, &h);
    hub_stop(&h);
    rig_wait(h.r, has_failed_twice, &h);
    assert_false(status_of(&h).connected);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").status, 200);
    /* another hub, whose version happens to be the same, has other news */
    h.snapshot = NULL;
    hub_start(&h);
    size_t polls = h.polls;
    rig_wait_count(h.r, &h.polls, polls + 1);
    hub_say(&h, 9, "{\"version\": 9, \"services\": {\"orders\": [\"gopher:x\"]}}");
    polls = h.polls;
    rig_wait_count(h.r, &h.polls, polls + 1);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").status, 200);
    hub_say(&h, 9, snapshot_text(&h, a, 9, false, h.r->dead_address));
    rig_wait(h.r, is_held, &h);
    assert_true(status_of(&h).connected);
    assert_int_equal(status_of(&h).poll_err, FICUS_ERR_OK);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").err, FICUS_ERR_REFUSED);
    /* once more, and now the first thing that it answers to is a poll */
    hub_stop(&h);
    uint64_t failed = status_of(&h).polls_failed;
    rig_wait_count(h.r, &h.changes, 2);
    while (status_of(&h).polls_failed == failed)
        rig_turns(h.r, 5);
    h.snapshot = snapshot_text(&h, a, 9, false, h.r->address);
    hub_start(&h);
    rig_wait(h.r, is_held, &h);
    assert_int_equal(h.changes, 3);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").status, 200);
    finish(&h);
}

/* A process that starts while the hub is dead has the addresses of the file at once. */
static void test_file(void **state)
{
    struct fake_hub h;
    char a[512];
    begin(&h, *state);
    h.snapshot = snapshot_text(&h, a, 5, false, h.r->address);
    h.version = 5;
    hub_start(&h);
    resolve_start(&h);
    struct file_wait w = {&h, h.r->address};
    rig_wait(h.r, file_has_it, &w);
    resolve_stop(&h);
    hub_stop(&h);
    rig_engine_close(h.r);

    rig_engine(h.r, 0, 0);
    edges(&h);
    h.changes = 0;
    resolve_start(&h);
    assert_int_equal(h.changes, 0);
    assert_int_equal(rig_call(h.r, "orders", "GET", "/").status, 200);
    assert_int_equal(h.changes, 1);
    struct resolve_hub_status s = status_of(&h);
    assert_true(s.from_file);
    assert_int_equal(s.service_count, 1);
    assert_int_equal(s.version, 0);
    finish(&h);
}

/* A damaged file, or one of a newer version, is ignored and told of, and does no harm. */
static void test_file_bad(void **state)
{
    static const struct {
        const char *text;
        enum ficus_err err;
    } files[] = {
        {"", FICUS_ERR_PARSE},
        {"{\"version\":1,\"services\":{\"orders\":[\"un", FICUS_ERR_PARSE},
        {"{\"ficus_endpoints\":99,\"version\":1,\"services\":{}}", FICUS_ERR_VERSION},
    };
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        struct fake_hub h;
        begin(&h, *state);
        FILE *f = fopen(h.path, "we");
        assert_non_null(f);
        (void)fputs(files[i].text, f);
        (void)fclose(f);
        resolve_start(&h);
        assert_int_equal(status_of(&h).file_err, files[i].err);
        assert_int_equal(rig_call(h.r, "orders", "GET", "/").err, FICUS_ERR_UNAVAILABLE);
        finish(&h);
    }
}

/* It may be closed at once, in a poll, in a pause, while the file is written, and after the engine; nothing fires
 * afterwards. */
static void test_close(void **state)
{
    struct fake_hub h;
    char a[512];
    begin(&h, *state);
    resolve_start(&h);
    resolve_stop(&h);                       /* at once */
    resolve_start(&h);
    rig_wait(h.r, has_failed_twice, &h);
    resolve_stop(&h);                       /* in a pause */
    h.snapshot = snapshot_text(&h, a, 1, false, h.r->address);
    h.version = 1;
    hub_start(&h);
    resolve_start(&h);
    rig_wait_count(h.r, &h.changes, 1);
    resolve_stop(&h);                       /* the file is being written */
    assert_true(file_has(&h, h.r->address));
    resolve_start(&h);
    rig_wait(h.r, is_held, &h);
    size_t changes = h.changes;
    resolve_stop(&h);                       /* in a poll */
    resolve_start(&h);
    h.held = NULL;
    rig_wait(h.r, is_held, &h);
    rig_engine_close(h.r);
    rig_turns(h.r, 10);
    resolve_stop(&h);                       /* after the engine */
    assert_int_equal(h.changes, changes + 1);
    finish(&h);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_news), TEST(test_changes), TEST(test_no_memory), TEST(test_warming), TEST(test_hub_away), TEST(test_file), TEST(test_file_bad),
        TEST(test_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
