/* SPDX-License-Identifier: Apache-2.0
 *
 * What every process has alike, over a real server and client on one loop.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "http_client.h"
#include "http_server.h"
#include "io_env.h"
#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char key_hex[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static struct {
    struct env *env;
    char dir[32], address[64], key_file[64];
    struct process_config config;
    struct process process;
    struct http_server *server;
    struct arena arena;
    bool ready, identified;
    char issuer[64];
    /* the client */
    struct http_client_conn *conn;
    const char *path, *token[2];
    int status;
    struct buf body;
    bool end;
} x;

static void srv_done(void *arg, struct http_stream *s) {}

static void srv_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail) {}

static void srv_data(void *arg, struct http_stream *s, struct slice data, bool end) {}

static const struct http_handler srv = {.on_data = srv_data, .on_done = srv_done, .on_reset = srv_reset};

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    http_stream_handle(s, &srv, NULL);
    if (process_answer(&x.process, s, x.ready))
        return;
    struct identity_claims claims;
    x.identified = process_identity(&x.process, s, &claims);
    if (!x.identified)
        return;
    (void)snprintf(x.issuer, sizeof x.issuer, SLICE_FMT, SLICE_ARG(claims.issuer));
    assert_int_equal(http_respond(s, 204, NULL, 0, NULL, SLICE("")), FICUS_ERR_OK);
}

static void cl_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    x.status = m->status;
    if (!end)
        http_recv(s);
}

static void cl_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    assert_true(buf_add_slice(&x.body, data));
    if (!end)
        http_recv(s);
}

static void cl_done(void *arg, struct http_stream *s)
{
    http_client_close(x.conn);
}

static void cl_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    x.status = -1;
}

static const struct http_handler cl = {
    .on_head = cl_head, .on_data = cl_data, .on_done = cl_done, .on_reset = cl_reset};

static void on_connected(void *arg, struct http_client_conn *c, enum ficus_err err)
{
    struct http_stream *s = NULL;
    struct http_msg m;
    assert_int_equal(err, FICUS_ERR_OK);
    assert_int_equal(http_client_open(c, &cl, NULL, &s), FICUS_ERR_OK);
    http_msg_init(&m, &x.arena);
    m.method = SLICE("GET");
    m.authority = SLICE("test");
    m.path = slice_str(x.path);
    for (int i = 0; i < 2; i++)
        if (x.token[i] != NULL)
            assert_true(http_msg_add(&m, SLICE("Ficus-Identity"), slice_str(x.token[i])));
    assert_int_equal(http_send_head(s, &m, true), FICUS_ERR_OK);
}

static void on_room(void *arg, struct http_client_conn *c) {}

static void on_conn_closed(void *arg, struct http_client_conn *c)
{
    env_uv_stop(x.env);
}

static int get(const char *path, const char *token, const char *second_token)
{
    static const struct http_client_handler h = {on_connected, on_room, on_conn_closed};
    x.path = path;
    x.token[0] = token;
    x.token[1] = second_token;
    x.status = 0;
    buf_clear(&x.body);
    assert_int_equal(http_client_connect(x.env, x.address, NULL, &h, NULL, &x.conn), FICUS_ERR_OK);
    env_uv_run(x.env);
    return x.status;
}

static const char *token_for(const char *audience, const char *key)
{
    struct system_key *k = NULL;
    struct slice token;
    struct identity_claims claims = {.issuer = SLICE("orders"), .audience = slice_str(audience)};
    assert_int_equal(system_key_from_hex(slice_str(key), &k, NULL), FICUS_ERR_OK);
    assert_int_equal(identity_make(k, &x.arena, &claims, env_wall_ms(x.env), &token, NULL), FICUS_ERR_OK);
    system_key_free(k);
    return arena_strdup(&x.arena, token);
}

static int setup(void **state)
{
    struct ficus_error error = {0};
    memset(&x, 0, sizeof x);
    x.env = env_uv_new(NULL, &error);
    arena_init(&x.arena, 1024 * 1024);
    buf_init(&x.body, 1024 * 1024);
    (void)snprintf(x.dir, sizeof x.dir, "/tmp/ficus-proc-XXXXXX");
    if (x.env == NULL || mkdtemp(x.dir) == NULL)
        return -1;
    (void)snprintf(x.address, sizeof x.address, "unix:%s/s", x.dir);
    (void)snprintf(x.key_file, sizeof x.key_file, "%s/key", x.dir);
    assert_int_equal(env_file_store(x.env, x.key_file, slice_str(key_hex), &error), FICUS_ERR_OK);
    x.config = (struct process_config){.version = 1,
                                       .system = "shop",
                                       .process = "catalog",
                                       .instance = 3,
                                       .state = x.dir,
                                       .key_file = x.key_file,
                                       .log_level = "error",
                                       .hub = "",
                                       .snapshot_file = ""};
    assert_int_equal(process_init(&x.process, x.env, &x.config, &error), FICUS_ERR_OK);
    const struct http_server_options options = {.on_request = on_request};
    assert_int_equal(http_server_new(x.env, &options, &x.server), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(x.server, x.address, NULL, &error), FICUS_ERR_OK);
    return 0;
}

static void on_process_closed(void *arg)
{
    env_uv_stop(x.env);
}

static void on_server_closed(void *arg)
{
    process_close(&x.process, on_process_closed, NULL);
}

static int teardown(void **state)
{
    http_server_close(x.server, on_server_closed, NULL);
    env_uv_run(x.env);
    env_uv_free(x.env);
    (void)unlink(x.key_file);
    (void)unlink(x.address + strlen("unix:"));
    (void)rmdir(x.dir);
    buf_done(&x.body);
    arena_done(&x.arena);
    return 0;
}

/* The three paths answer without an identity; /health follows ready; /metrics is the exposition, also when it is larger
 * than a stream's buffer. */
static void test_answers(void **state)
{
    assert_int_equal(get("/alive", NULL, NULL), 200);
    assert_int_equal(get("/health", NULL, NULL), 503);
    x.ready = true;
    assert_int_equal(get("/health", NULL, NULL), 200);
    static const struct metric_def def = {
        .name = "things_total", .type = METRIC_COUNTER, .help = "Things.", .labels = {"name"}, .children_max = 1000};
    struct metric_family *f = metrics_register(x.process.metrics, &def);
    for (int i = 0; i < 900; i++) {
        char name[120];
        (void)snprintf(name, sizeof name, "%0100d", i);
        metric_inc(METRIC(f, slice_str(name)));
    }
    assert_int_equal(get("/metrics", NULL, NULL), 200);
    assert_true(buf_slice(&x.body).size > 2 * HTTP_BODY_BUFFER_SIZE);
    assert_non_null(strstr(buf_str(&x.body), "0899\"} 1\n"));
}

/* Only a valid identity for this very process passes: not none, not two, not another's, not another key's. */
static void test_identity(void **state)
{
    static const char other_key[] = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const char *good = token_for("catalog", key_hex);
    assert_int_equal(get("/v1", good, NULL), 204);
    assert_string_equal(x.issuer, "orders");
    assert_int_equal(get("/v1", NULL, NULL), 401);
    assert_non_null(strstr(buf_str(&x.body), "\"status\":401"));
    assert_int_equal(get("/v1", good, good), 401);
    assert_int_equal(get("/v1", token_for("payments", key_hex), NULL), 401);
    assert_int_equal(get("/v1", token_for("catalog", other_key), NULL), 401);
    assert_int_equal(get("/v1", "x", NULL), 401);
}

/* Trace and correlation are taken over when valid and made when not; the deadline is only ever shortened by the caller.
 */
static void test_context(void **state)
{
    static const char parent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    struct http_msg m;
    struct process_context c;
    http_msg_init(&m, &x.arena);
    (void)http_msg_add(&m, SLICE("traceparent"), slice_str(parent));
    (void)http_msg_add(&m, SLICE("X-Request-ID"), SLICE("abc-1"));
    (void)http_msg_add(&m, SLICE("Ficus-Timeout-Ms"), SLICE("40"));
    int64_t before = env_now_ns(x.env);
    assert_int_equal(process_context_read(&x.process, &m, 1000, &x.arena, &c), FICUS_ERR_OK);
    char text[TRACE_PARENT_TEXT_SIZE];
    trace_format(&c.trace, text);
    assert_string_equal(text, parent);
    assert_true(slice_eq_str(c.correlation, "abc-1"));
    assert_true(c.deadline_ns >= before + 40000000 && c.deadline_ns < before + 1000000000);
    (void)http_msg_set(&m, SLICE("Ficus-Timeout-Ms"), SLICE("999999999"));
    (void)http_msg_set(&m, SLICE("X-Request-ID"), SLICE("a b"));
    (void)http_msg_set(&m, SLICE("traceparent"), SLICE("00-0-0-00"));
    assert_int_equal(process_context_read(&x.process, &m, 1000, &x.arena, &c), FICUS_ERR_OK);
    assert_true(c.deadline_ns <= env_now_ns(x.env) + 1000000000);
    assert_true(trace_present(&c.trace));
    assert_int_equal(c.correlation.size, 36);
}

/* A missing or damaged key fails the start with the file's name. */
static void test_bad_key(void **state)
{
    struct process p;
    struct ficus_error error = {0};
    struct process_config config = x.config;
    config.key_file = "/nowhere/key";
    assert_int_not_equal(process_init(&p, x.env, &config, &error), FICUS_ERR_OK);
    assert_non_null(strstr(error.text, "/nowhere/key"));
    assert_int_equal(env_file_store(x.env, x.key_file, SLICE("00"), &error), FICUS_ERR_OK);
    assert_int_not_equal(process_init(&p, x.env, &x.config, &error), FICUS_ERR_OK);
}

/* The supervisor's socket gets each state as one datagram; without one nothing happens. */
static void test_notify(void **state)
{
    char text[32] = "";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/n", x.dir);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    process_notify("READY=1");
    assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
    process_notify("STOPPING=1");
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    assert_int_equal(recv(fd, text, sizeof text - 1, 0), 10);
    assert_string_equal(text, "STOPPING=1");
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(address.sun_path), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* A reload that fails leaves callees as they were, also those behind one whose files cannot be read any more. */
static void test_reload_undone(void **state)
{
    struct call_upstream unreadable = {.url = "https://127.0.0.1:1", .ca = "/nonexistent"};
    struct call_policy_bulkhead three = {.concurrency = 3, .wait_ms = 100}, seven = {.concurrency = 7, .wait_ms = 100};
    struct process_edge before[] = {{"a", call_policy_default()}, {"b", call_policy_default()}},
                        after[] = {{"a", call_policy_default()}, {"b", call_policy_default()}, {"c", call_policy_default()}};
    struct process_config was = x.config, next = x.config;
    struct ficus_error error = {0};
    before[0].policy.upstream = after[2].policy.upstream = &unreadable;
    before[1].policy.bulkhead = &three;
    after[1].policy.bulkhead = &seven;
    was.edges = before, was.edge_count = 2;
    next.edges = after, next.edge_count = 3;
    x.process.config = &was;
    assert_int_not_equal(process_reload(&x.process, &next, &error), FICUS_ERR_OK);
    assert_non_null(strstr(error.text, "edge to c"));
    struct json_writer w;
    json_write_init(&w, &x.body);
    (void)call_engine_describe(x.process.calls, &w);
    assert_non_null(strstr(buf_str(&x.body), "{\"limit\":3,"));
    assert_null(strstr(buf_str(&x.body), "{\"limit\":7,"));
    x.process.config = &x.config;
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_answers), TEST(test_identity), TEST(test_context), TEST(test_bad_key),
                                       TEST(test_notify), TEST(test_reload_undone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
