/* SPDX-License-Identifier: Apache-2.0
 *
 * The chassis as a service's author meets it: the demo service behind its real socket, by way of libficus_test alone.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "demo.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <string.h>

static struct ficus_test *t;

static const char *fake_other(void *arg, const char *method, const char *path, const char *body, int *status)
{
    if (strcmp(method, "POST") != 0 || strcmp(path, "/v1/do?x=1") != 0 || body == NULL ||
        strcmp(body, "{\"n\":1}") != 0)
        return NULL;
    *status = *(const int *)arg;
    return *status < 400 ? "{\"ok\":true}" : "{\"status\":409,\"code\":\"taken\"}";
}

static int other_status = 200;

static int setup(void **state)
{
    static const char *const settings[] = {"colour", "green", NULL};
    t = ficus_test_start(&demo, DEMO_MIGRATIONS, settings);
    ficus_test_fake_service(t, "other", fake_other, &other_status);
    return 0;
}

static int teardown(void **state)
{
    gate_open();
    ficus_test_stop(t);
    return 0;
}

static struct ficus_test_answer get(const char *path)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = "GET", .path = path});
}

static struct ficus_test_answer post(const char *path, const char *body)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = "POST", .path = path, .body = body});
}

static struct ficus_test_answer hub(const char *method, const char *path)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = method, .path = path, .caller = "hub"});
}

static struct ficus_test_answer post_keyed(const char *user, const char *key, const char *path, const char *body)
{
    return ficus_test_call(
        t, &(struct ficus_test_request){.method = "POST", .path = path, .body = body, .user = user, .key = key});
}

/* How often an effect is in the database. */
static int effects(const char *what)
{
    char member[64];
    int count = 0;
    (void)snprintf(member, sizeof member, "\"%s\":", what);
    const char *at = strstr(get("/v1/effects").body, member);
    if (at != NULL)
        (void)sscanf(at + strlen(member), "%d", &count);
    return count;
}

/* What a handler wrote is there when its answer is, and its event was published. */
static void test_create_and_read(void **state)
{
    struct ficus_test_answer a = post("/v1/items", "{\"name\":\"a b\"}");
    assert_int_equal(a.status, 201);
    assert_string_equal(a.location, "/v1/items/a%20b");
    assert_string_equal(a.content_type, "application/json");
    assert_string_equal(a.body, "{\"name\":\"a b\",\"by\":null}");
    a = get("/v1/items/a%20b");
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "{\"name\":\"a b\",\"note\":null}");
    assert_int_equal(ficus_test_emitted_count(t), 1);
    const char *event = ficus_test_emitted(t, 0);
    assert_non_null(strstr(event, "\"type\":\"item.created\""));
    assert_non_null(strstr(event, "\"source\":\"/demo\""));
    assert_non_null(strstr(event, "\"data\":{\"name\":\"a b\"}"));
    assert_non_null(strstr(event, "\"traceparent\""));
}

/* What is emitted for later says so, in its place among the others; too far ahead it is refused with all that the handler did. */
static void test_emit_at(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/items", "{\"name\":\"far\",\"remind_at\":99999999999999}").status, 500);
    assert_int_equal(get("/v1/items/far").status, 404);
    char body[128];
    int64_t at_ms = ((int64_t)time(NULL) + 3600) * 1000;
    snprintf(body, sizeof body, "{\"name\":\"a\",\"remind_at\":%lld}", (long long)at_ms);
    assert_int_equal(post("/v1/items", body).status, 201);
    assert_int_equal(post("/v1/items", "{\"name\":\"b\",\"remind_at\":-5}").status, 201);
    assert_int_equal(ficus_test_emitted_count(t), 4);
    char at[32], text[96];
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm tm;
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S.000Z", gmtime_r(&seconds, &tm));
    snprintf(text, sizeof text, "\"deliverat\":\"%s\"", at);
    assert_non_null(strstr(ficus_test_emitted(t, 0), text));
    snprintf(text, sizeof text, "\"time\":\"%s\"", at);
    assert_non_null(strstr(ficus_test_emitted(t, 0), text));
    assert_null(strstr(ficus_test_emitted(t, 1), "deliverat"));
    assert_null(strstr(ficus_test_emitted(t, 2), "deliverat"));
}

/* Faults of the input are all named in the problem document; malformed bodies, wrong types and sizes have their own
 * status. */
static void test_bad_input(void **state)
{
    struct ficus_test_answer a = post("/v1/items", "{\"name\":\"\"}");
    assert_int_equal(a.status, 400);
    assert_string_equal(a.content_type, "application/problem+json");
    assert_non_null(strstr(a.body, "\"errors\":[{\"pointer\":\"/name\",\"detail\":\"a text that is not empty\"}]"));
    assert_int_equal(post("/v1/items", "{\"name\":").status, 400);
    assert_int_equal(post("/v1/items", "").status, 400);
    static char large[70 * 1024];
    memset(large, ' ', sizeof large - 1);
    assert_int_equal(post("/v1/items", large).status, 413);
    static const char *const text[] = {"Content-Type", "text/plain", "Content-Length", "2", NULL};
    a = ficus_test_call(
        t, &(struct ficus_test_request){.method = "DELETE", .path = "/v1/steps/1", .caller = "hub", .headers = text});
    assert_int_equal(a.status, 415);
}

/* Unknown paths are 404, known ones with another method 405. */
static void test_routes(void **state)
{
    assert_int_equal(get("/v1/nothing").status, 404);
    assert_int_equal(hub("PATCH", "/v1/items").status, 405);
    assert_int_equal(get("/v1/items/missing").status, 404);
    assert_int_equal(get("/alive").status, 200);
    assert_int_equal(get("/health").status, 200);
    struct ficus_test_answer a = get("/metrics");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "http_requests_total{route=\"/v1/items/{name}\",status=\"404\"} 1"));
}

/* A problem speaks of the path that the gateway's client asked for, whoever writes it. */
static void test_instance(void **state)
{
    static const char *const asked[] = {"Ficus-Path", "/api/v1/\"x", NULL};
    static const struct {
        const char *path;
        int status;
    } cases[] = {{"/v1/nothing", 404}, {"/v1/items/missing", 404}};
    for (size_t i = 0; i < 2; i++) {
        char own[64];
        struct ficus_test_request r = {.method = "GET", .path = cases[i].path};
        struct ficus_test_answer a = ficus_test_call(t, &r);
        (void)snprintf(own, sizeof own, "\"instance\":\"%s\"", cases[i].path);
        assert_int_equal(a.status, cases[i].status);
        assert_non_null(strstr(a.body, own));
        r.headers = asked;
        a = ficus_test_call(t, &r);
        assert_int_equal(a.status, cases[i].status);
        assert_non_null(strstr(a.body, "\"instance\":\"/api/v1/\\\"x\""));
    }
}

/* Who may come: users' routes need a user, roles count behind the gateway, services' routes do not exist for it. */
static void test_who(void **state)
{
    struct ficus_test_request r = {.method = "GET", .path = "/v1/me"};
    assert_int_equal(ficus_test_call(t, &r).status, 401);
    r.user = "u1";
    assert_int_equal(ficus_test_call(t, &r).status, 200);
    r.path = "/v1/admin";
    assert_int_equal(ficus_test_call(t, &r).status, 403);
    r.role = "admin";
    static const char *const headers[] = {"X-Agent", "me", NULL};
    r.headers = headers;
    struct ficus_test_answer a = ficus_test_call(t, &r);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "{\"caller\":\"gateway\",\"user\":\"u1\",\"admin\":true,\"identity\":null,\"setting\":"
                                "\"green\",\"data\":\"made at start\","
                                "\"agent\":\"me\"}");
    r.path = "/v1/inside";
    assert_int_equal(ficus_test_call(t, &r).status, 404);
    r.caller = "orders";
    assert_int_equal(ficus_test_call(t, &r).status, 200);
}

/* A handler that refuses after it wrote leaves nothing: no row, no event; headers set for the problem go with it. */
static void test_rollback(void **state)
{
    struct ficus_test_answer a = post("/v1/fail", NULL);
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.body, "\"code\":\"later\""));
    assert_int_equal(effects("failed"), 0);
    assert_int_equal(ficus_test_emitted_count(t), 0);
}

/* Misuse is an error of the service, never a half-done commit. */
static void test_misuse(void **state)
{
    assert_int_equal(post("/v1/call-in-tx", NULL).status, 500);
    assert_int_equal(post("/v1/bad-answer", NULL).status, 500);
    assert_int_equal(post("/v1/no-tx", NULL).status, 500);
    assert_string_equal(get("/v1/effects").body, "{\"start\":1}");
}

/* The answer of a call is data, whatever its status; a callee that is not declared is a fault of the service. */
static void test_call(void **state)
{
    other_status = 200;
    assert_string_equal(post("/v1/call", NULL).body, "{\"status\":200,\"code\":\"\",\"json\":{\"ok\":true}}");
    other_status = 409;
    assert_string_equal(post("/v1/call", NULL).body,
                        "{\"status\":409,\"code\":\"taken\",\"json\":{\"status\":409,\"code\":\"taken\"}}");
    other_status = 200;
}

/* The same key and body give the same answer and one effect, over a restart too; another body is 422, no key or a bad
 * one 400. */
static void test_key(void **state)
{
    char first[128];
    struct ficus_test_answer a = post_keyed("u1", "k1", "/v1/keyed", "{\"a\":1}");
    assert_int_equal(a.status, 202);
    (void)snprintf(first, sizeof first, "%s", a.body);
    for (int i = 0; i < 2; i++) {
        a = post_keyed("u1", "k1", "/v1/keyed", "{\"a\":1}");
        assert_int_equal(a.status, 202);
        assert_string_equal(a.body, first);
        assert_string_equal(a.location, "/v1/keyed/1");
        assert_string_equal(a.content_type, "application/json");
        ficus_test_restart(t);
        ficus_test_fake_service(t, i == 0 ? "again" : "again2", fake_other, &other_status);
    }
    assert_int_equal(effects("keyed"), 1);
    assert_int_equal(post_keyed("u1", "k1", "/v1/keyed", "{\"a\":2}").status, 422);
    assert_int_equal(post_keyed("u2", "k1", "/v1/keyed", "{\"a\":2}").status, 202);
    assert_int_equal(post_keyed("u1", NULL, "/v1/keyed", "{\"a\":1}").status, 400);
    assert_int_equal(post_keyed("u1", "\x7f", "/v1/keyed", "{\"a\":1}").status, 400);
    char longest[130];
    memset(longest, 'k', sizeof longest);
    longest[129] = '\0';
    assert_int_equal(post_keyed("u1", longest, "/v1/keyed", "{\"a\":1}").status, 400);
    longest[128] = '\0';
    assert_int_equal(post_keyed("u1", longest, "/v1/keyed", "{\"a\":1}").status, 202);
    assert_int_equal(effects("keyed"), 3);
}

/* A request that was refused is not remembered: it may be corrected and sent again under its key. */
static void test_key_refused(void **state)
{
    assert_int_equal(post_keyed("u1", "k", "/v1/keyed?wish=refuse", "{\"a\":1}").status, 422);
    assert_int_equal(effects("keyed"), 0);
    assert_int_equal(post_keyed("u1", "k", "/v1/keyed", "{\"a\":2}").status, 202);
    assert_int_equal(effects("keyed"), 1);
}

static void *post_same_key(void *arg)
{
    *(int *)arg = post_keyed("u1", "same", "/v1/keyed", "{\"a\":1}").status;
    return NULL;
}

/* Many at once with one key: all get the answer, one has the effect. */
static void test_key_at_once(void **state)
{
    enum { COUNT = 12 };
    pthread_t threads[COUNT];
    int status[COUNT];
    gate_close();
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_same_key, &status[i]), 0);
    gate_wait_for(1);
    /* One more, that has no patience, is told to come later while the first runs. */
    struct ficus_test_answer a = ficus_test_call(
        t,
        &(struct ficus_test_request){
            .method = "POST", .path = "/v1/keyed", .body = "{\"a\":1}", .user = "u1", .key = "same", .timeout_ms = 20});
    assert_int_equal(a.status, 409);
    gate_open();
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(status[i], 202);
    }
    assert_int_equal(effects("keyed"), 1);
}

/* At the deadline the client gets 504, and the handler can no longer begin a transaction. */
static void test_abandoned(void **state)
{
    gate_close();
    atomic_store(&demo_after_gate, 99);
    struct ficus_test_answer a = ficus_test_call(
        t, &(struct ficus_test_request){.method = "POST", .path = "/v1/gate", .timeout_ms = 30});
    assert_int_equal(a.status, 504);
    gate_open();
    while (atomic_load(&demo_after_gate) == 99)
        (void)get("/alive");
    assert_int_equal(atomic_load(&demo_after_gate), -1);
    assert_int_equal(effects("gate"), 0);
}

static void *hub_gate(void *arg)
{
    *(int *)arg = hub("POST", "/v1/gate").status;
    return NULL;
}

static void *hub_keyed_gate(void *arg)
{
    *(int *)arg = ficus_test_call(t, &(struct ficus_test_request){.method = "POST",
                                                                  .path = "/v1/gate",
                                                                  .caller = "hub",
                                                                  .key = "checkout/1/take/do"})
                      .status;
    return NULL;
}

/* Saga calls take at most half of the workers: with all of them stuck a customer is still served. */
static void test_half(void **state)
{
    enum { COUNT = 6 };
    pthread_t threads[COUNT];
    int status[COUNT];
    gate_close();
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hub_gate, &status[i]), 0);
    gate_wait_for(2);
    for (int i = 0; i < 8; i++)
        assert_int_equal(get("/v1/effects").status, 200);
    gate_open();
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(status[i], 204);
    }
    assert_int_equal(effects("gate"), COUNT);
}

static void *any_gate(void *arg)
{
    *(int *)arg = post("/v1/gate", NULL).status;
    return NULL;
}

/* One route takes all workers but one: with it stuck the others are still served. Who waited for a worker until the
 * deadline is told that nothing was done. */
static void test_one_route(void **state)
{
    enum { COUNT = 6 };
    pthread_t threads[COUNT];
    int status[COUNT];
    gate_close();
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, any_gate, &status[i]), 0);
    gate_wait_for(3);
    for (int i = 0; i < 8; i++)
        assert_int_equal(get("/v1/effects").status, 200);
    struct ficus_test_answer a =
        ficus_test_call(t, &(struct ficus_test_request){.method = "POST", .path = "/v1/gate", .timeout_ms = 50});
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.body, "nothing was done"));
    gate_open();
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(status[i], 204);
    }
    assert_int_equal(effects("gate"), COUNT);
}

/* More saga calls than the line holds are told to come later at once; the others all have their turn. */
static void test_line_full(void **state)
{
    enum { COUNT = 400, PLACES = 384 + 2 };
    static pthread_t threads[COUNT];
    static int status[COUNT];
    int refused = 0, done = 0;
    gate_close();
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hub_gate, &status[i]), 0);
    while (get("/v1/effects").status != 200 || strstr(get("/metrics").body, "status=\"503\"} 14\n") == NULL)
        continue;
    gate_open();
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        refused += status[i] == 503;
        done += status[i] == 204;
    }
    assert_int_equal(refused, COUNT - PLACES);
    assert_int_equal(done, PLACES);
    assert_int_equal(effects("gate"), PLACES);
}

/* A saga that repeats a call while the first one runs is told 503, never 409, which it would take for a refusal. */
static void test_key_of_saga(void **state)
{
    pthread_t thread;
    int status = 0;
    gate_close();
    assert_int_equal(pthread_create(&thread, NULL, hub_keyed_gate, &status), 0);
    gate_wait_for(1);
    struct ficus_test_answer a = ficus_test_call(
        t, &(struct ficus_test_request){
               .method = "POST", .path = "/v1/gate", .caller = "hub", .key = "checkout/1/take/do", .timeout_ms = 20});
    assert_int_equal(a.status, 503);
    gate_open();
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(status, 204);
    assert_int_equal(effects("gate"), 1);
}

static void step(const char *method, const char *id, int status, const char *body)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/v1/steps/%s", id);
    struct ficus_test_answer a = hub(method, path);
    assert_int_equal(a.status, status);
    if (body[0] == '"')
        assert_non_null(strstr(a.body, body));
    else
        assert_string_equal(a.body, body);
}

static void step_is(const char *id, const char *state)
{
    char path[64], text[32];
    (void)snprintf(path, sizeof path, "/v1/steps/%s", id);
    (void)snprintf(text, sizeof text, "\"%s\"", state);
    assert_string_equal(hub("GET", path).body, text);
}

/* The four rules: in whatever order do and undo come, twice or late, there is one effect each, and none after an undo.
 */
static void test_steps(void **state)
{
    step_is("a", "");
    step("PUT", "a", 200, "1"); /* do, do, undo, undo, do */
    step("PUT", "a", 200, "2");
    step_is("a", "done");
    step("DELETE", "a", 200, "1");
    step("DELETE", "a", 200, "2");
    step("PUT", "a", 409, "\"code\":\"undone\"");
    step_is("a", "undone");
    step("DELETE", "b", 200, "4"); /* undo before do */
    step("PUT", "b", 409, "\"code\":\"undone\"");
    step("DELETE", "b", 200, "4");
    step_is("b", "undone");
    step("PUT", "c?refuse=1", 409, "\"code\":\"no_way\""); /* refused, and again, and undone, and again */
    step("PUT", "c", 409, "\"code\":\"no_way\"");
    step_is("c", "refused");
    step("DELETE", "c", 200, "4");
    step("PUT", "c", 409, "\"code\":\"no_way\"");
    assert_int_equal(effects("step_do"), 1);
    assert_int_equal(effects("step_undo"), 1);
}

/* Events are processed once each, in spite of restarts; what they emit is published once. */
static void test_events(void **state)
{
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ficus_test_event(t, "thing.happened", "s", "{\"action\":\"count\"}"), 0);
        if (i % 2 == 0)
            ficus_test_restart(t);
    }
    assert_int_equal(ficus_test_event(t, "thing.happened", "s", "{\"action\":\"nothing\"}"), 0);
    ficus_test_restart(t);
    assert_int_equal(effects("event"), 4);
    assert_int_equal(ficus_test_emitted_count(t), 4);
    assert_non_null(strstr(ficus_test_emitted(t, 3), "\"causationid\""));
}

/* An event whose effects contradict each other, seen at their commit only, becomes a dead letter as well. */
static void test_dead_letter_by_key(void **state)
{
    assert_int_equal(ficus_test_event(t, "thing.happened", "s", "{\"action\":\"dangle\"}"), -1);
    assert_int_equal(ficus_test_event(t, "thing.happened", "s", "{\"action\":\"count\"}"), 0);
    assert_int_equal(effects("event"), 1);
    const char *dead = ficus_test_emitted(t, 0);
    assert_non_null(strstr(dead, "\"type\":\"ficus.dead\""));
    assert_non_null(strstr(dead, "\"attempts\":10"));
}

/* The data of the dead letter that was emitted as the i-th. */
static const char *letter(size_t i, char *text, size_t size)
{
    const char *emitted = ficus_test_emitted(t, i), *data = strstr(emitted, "\"data\":");
    assert_non_null(strstr(emitted, "\"type\":\"ficus.dead\""));
    assert_non_null(data);
    (void)snprintf(text, size, "%.*s", (int)(strlen(data) - strlen("\"data\":") - strlen("}")), data + strlen("\"data\":"));
    return text;
}

static void refused(const char *topic, const char *data)
{
    assert_int_equal(ficus_test_event(t, topic, "s", data), -1);
    assert_int_equal(ficus_test_event(t, "thing.happened", "s", "{\"action\":\"nothing\"}"), 0); /* behind its tenth refusal */
}

/* Brought back while its reason is still there, it becomes a dead letter again; afterwards it has its effect, once. */
static void test_redrive(void **state)
{
    char text[4096];
    refused("thing.happened", "{\"action\":\"dangle\"}");
    refused("ficus.redrive.demo", letter(0, text, sizeof text));
    assert_int_equal(effects("event"), 0);
    assert_int_equal(ficus_test_emitted_count(t), 2);
    assert_int_equal(post("/v1/items", "{\"name\":\"of nothing\"}").status, 201);
    size_t emitted = ficus_test_emitted_count(t);
    assert_int_equal(ficus_test_event(t, "ficus.redrive.demo", "s", letter(1, text, sizeof text)), 0);
    assert_int_equal(effects("event"), 1);
    assert_int_equal(ficus_test_event(t, "ficus.redrive.demo", "s", text), 0); /* given up no more, as in a store that is built anew */
    assert_int_equal(effects("event"), 1);
    ficus_test_restart(t);
    assert_int_equal(ficus_test_event(t, "thing.happened", "s", "{\"action\":\"count\"}"), 0);
    assert_int_equal(effects("event"), 2);
    assert_int_equal(ficus_test_emitted_count(t), emitted + 1);
}

/* An event that the handler refuses ten times becomes a dead letter without effect, and the next one has its turn. */
static void test_dead_letter(void **state)
{
    assert_int_equal(ficus_test_event(t, "thing.happened", "s", "{\"action\":\"refuse\"}"), -1);
    ficus_test_restart(t);
    assert_int_equal(ficus_test_event(t, "thing.happened", "s", "{\"action\":\"count\"}"), 0);
    assert_int_equal(effects("event"), 1);
    assert_int_equal(ficus_test_emitted_count(t), 2);
    const char *dead = ficus_test_emitted(t, 0);
    assert_non_null(strstr(dead, "\"type\":\"ficus.dead\""));
    assert_non_null(strstr(dead, "\"attempts\":10"));
    assert_non_null(strstr(dead, "cannot: never"));
    assert_non_null(strstr(dead, "{\"action\":\"refuse\"}"));
}

static void *send_steps(void *arg)
{
    for (int i = 0; i < 5; i++) {
        char body[64];
        (void)snprintf(body, sizeof body, "{\"id\":%d,\"last\":%d}", i, i == 4);
        *(int *)arg = post("/v1/streams/k", body).status;
    }
    return NULL;
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void *read_stream(void *arg)
{
    struct ficus_test_answer a = get("/v1/streams/k");
    bool *whole = arg;
    *whole = a.status == 200 && a.content_type != NULL && strcmp(a.content_type, "text/event-stream") == 0;
    for (int i = 0; i < 5; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "id: %d\n", i);
        *whole = *whole && count_of(a.body, id) == 1;
    }
    return NULL;
}

/* Whenever a reader comes, it gets each event once and in order, and the stream ends behind the last; Last-Event-ID
 * goes on from there. */
static void test_stream(void **state)
{
    enum { READERS = 4 };
    pthread_t sender, reader;
    int status = 0;
    bool whole = false;
    assert_int_equal(pthread_create(&reader, NULL, read_stream, &whole), 0);
    assert_int_equal(post("/v1/streams/other", "{\"id\":0,\"last\":1}").status, 204);
    assert_int_equal(pthread_create(&sender, NULL, send_steps, &status), 0);
    assert_int_equal(pthread_join(sender, NULL), 0);
    assert_int_equal(status, 204);
    assert_int_equal(pthread_join(reader, NULL), 0);
    struct ficus_test_answer a = get("/v1/streams/k");
    assert_int_equal(count_of(a.body, "id: "), 5);
    static const char *const seen[] = {"Last-Event-ID", "2", NULL};
    a = ficus_test_call(t, &(struct ficus_test_request){.method = "GET", .path = "/v1/streams/k", .headers = seen});
    assert_string_equal(a.body,
                        "id: 3\nevent: step\ndata: {\"first\":true}\n\nid: 4\nevent: step\ndata: {\"first\":true}\n\n");
}

/* An answer larger than any buffer on the way arrives whole. */
static void test_big(void **state)
{
    struct ficus_test_answer a = get("/v1/big");
    assert_int_equal(a.status, 200);
    assert_int_equal(strlen(a.body), 588891);
    assert_string_equal(a.body + strlen(a.body) - 7, ",99999]");
}

/* After a kill what was answered is there, and what was not answered either all there or not at all. */
static void test_restart(void **state)
{
    assert_int_equal(post("/v1/items", "{\"name\":\"x\"}").status, 201);
    ficus_test_restart(t);
    assert_int_equal(get("/v1/items/x").status, 200);
    assert_int_equal(post("/v1/items", "{\"name\":\"x\"}").status, 409);
    assert_int_equal(ficus_test_emitted_count(t), 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_create_and_read), TEST(test_emit_at), TEST(test_bad_input),   TEST(test_routes),    TEST(test_instance), TEST(test_who),
        TEST(test_rollback),        TEST(test_misuse),      TEST(test_call),      TEST(test_key),
        TEST(test_key_refused),     TEST(test_key_at_once), TEST(test_abandoned), TEST(test_half),
        TEST(test_line_full),       TEST(test_key_of_saga), TEST(test_steps),     TEST(test_events),
        TEST(test_one_route),       TEST(test_dead_letter_by_key),
        TEST(test_dead_letter),     TEST(test_redrive),     TEST(test_stream),      TEST(test_big),       TEST(test_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
