/* SPDX-License-Identifier: Apache-2.0
 *
 * The one line of a request: what it says in each case, and that the documentation has all of it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "access_log.h"
#include "gateway_rig.h"
#include "io_socket.h"
#include "json.h"

#include <fcntl.h>

#define HOST "Host: " RIG_HOST "\r\n"
#define REQUEST(line) line " HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* ---- the lines: what is written to fd 2 ---- */

static int log_fd = -1, stderr_kept = -1;

static void log_begin(struct rig *r)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/log", r->dir);
    log_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    stderr_kept = fcntl(2, F_DUPFD_CLOEXEC, 100);
    assert_true(log_fd >= 0 && stderr_kept >= 0 && dup2(log_fd, 2) == 2);
    (void)unlink(path);
    r->proxy->process.log.level_min = LOG_INFO;
}

/* The last line "gateway.request", until the next. */
static const char *log_line(void)
{
    static char text[65536];
    ssize_t n = pread(log_fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    char *line = NULL;
    struct arena a;
    arena_init(&a, 1024 * 1024);
    for (struct slice rest = slice_make(text, (size_t)n); rest.size > 0;) {
        struct json *root; /* no member twice, whatever the logger's own are */
        assert_int_equal(json_parse(&a, slice_cut(&rest, '\n'), NULL, &root, NULL), FICUS_ERR_OK);
    }
    arena_done(&a);
    for (char *at = text; (at = strstr(at, "\"event\":\"gateway.request\"")) != NULL; at++)
        line = at;
    assert_non_null(line);
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static void log_end(void)
{
    assert_int_equal(dup2(stderr_kept, 2), 2);
    close(stderr_kept);
    close(log_fd);
}

static const char *line_of(struct rig *r, const char *request)
{
    assert_int_equal(ftruncate(log_fd, 0), 0);
    assert_int_equal(lseek(log_fd, 0, SEEK_SET), 0);
    (void)ask(r, request);
    return log_line();
}

#define assert_has(line, part)                                  \
    do {                                                        \
        if (!has((line), (part)))                               \
            fail_msg("no %s in %s", (part), (line));            \
    } while (0)

/* Every member, for a request that went well. */
static void test_whole(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    char address[128];
    log_begin(r);
    const char *line = line_of(r, "POST /open/1 HTTP/1.1\r\n" HOST "Connection: close\r\nContent-Length: 5\r\n\r\nhello");
    log_end();
    (void)snprintf(address, sizeof address, "\"address\":\"%.63s\"", r->orders);
    assert_has(line, "\"method\":\"POST\",\"route\":\"/open/{id}\",\"status\":202,\"upstream\":\"orders\"");
    assert_has(line, address);
    assert_has(line, "\"attempts\":1,");
    assert_has(line, "\"upstream_ms\":");
    assert_has(line, "\"added_us\":");
    assert_has(line, "\"bytes_in\":5,\"bytes_out\":11,\"protocol\":\"HTTP/1.1\"");
    assert_false(has(line, "\"flags\""));
    assert_false(has(line, "\"error\""));
    rig_free(r);
}

/* Who asked: the peer, or whom a trusted proxy names; then the proxy is told too. */
static void test_client(void **state)
{
    (void)state;
    static const char *const trusted[] = {"127.0.0.0/8"};
    static const char through[] = "GET /open/1 HTTP/1.1\r\n" HOST "X-Forwarded-For: 6.6.6.6, 192.0.2.9\r\nConnection: close\r\n\r\n";
    struct rig *r = rig_new(false);
    char listen[16];
    int fd = -1;
    gateway_stop(r);
    assert_int_equal(socket_listen("tcp:127.0.0.1:0", &fd, NULL), FICUS_ERR_OK);
    (void)snprintf(listen, sizeof listen, "fd:%d", fd);
    (void)unlink(r->front + 5);
    (void)snprintf(r->front, sizeof r->front, "tcp:127.0.0.1:%u", socket_port(fd));
    r->listen[0] = listen;
    gateway_start(r);
    rig_wait(r, is_ready, r);
    log_begin(r);
    const char *line = line_of(r, through);
    assert_has(line, "\"client\":\"127.0.0.1\"");
    assert_false(has(line, "\"peer\""));
    log_end();
    gateway_stop(r);
    r->config.trusted_proxies = trusted;
    r->config.trusted_count = 1;
    gateway_start(r);
    rig_wait(r, is_ready, r);
    log_begin(r);
    assert_has(line_of(r, through), "\"client\":\"192.0.2.9\",\"peer\":\"127.0.0.1:");
    log_end();
    rig_free(r);
    close(fd);
}

static bool orders_is_held(void *arg)
{
    return ((struct rig *)arg)->held != NULL;
}

static bool nobody_is_held(void *arg)
{
    return ((struct rig *)arg)->held == NULL;
}

/* Each flag that a peer can cause here; the others come from the same two functions. */
static void test_flags(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    log_begin(r);
    assert_has(line_of(r, REQUEST("GET /nothing")), "\"route\":\"none\",\"status\":404,\"flags\":\"NR\"");
    assert_has(line_of(r, REQUEST("POST /api/v1/orders")), "\"status\":401,\"flags\":\"UAEX\"");
    assert_has(line_of(r, REQUEST("GET /do/die")), "\"status\":502,\"flags\":\"UC\"");
    assert_has(line_of(r, "GET /do/hold HTTP/1.1\r\n" HOST "Connection: close\r\nFicus-Timeout-Ms: 30\r\n\r\n"),
               "\"status\":504,\"flags\":\"UT\"");
    static const char hold[] = REQUEST("GET /do/hold");
    assert_int_equal(ftruncate(log_fd, 0), 0);
    struct client *gone = client_new(r);
    rig_wait(r, nobody_is_held, r);
    client_send(gone, hold, sizeof hold - 1);
    rig_wait(r, orders_is_held, r);
    client_free(gone);
    http_server_close(r->orders_server, on_service_closed, r);
    r->services_closed = 0;
    r->orders_server = NULL;
    (void)unlink(r->orders + 5);
    assert_has(line_of(r, REQUEST("GET /open/1")), "\"status\":503,\"flags\":\"UF\"");
    log_end();
    r->services_closed = 0;
    rig_free(r);
}

static const struct env_ops *real_ops;

static enum ficus_err connect_without(struct env *e, const char *address, struct tls_client *tls,
                                      void (*on_connect)(void *arg, enum ficus_err err), void *arg, struct env_stream **ret_stream)
{
    bool is_orders = strstr(address, "orders") != NULL;
    return is_orders ? FICUS_ERR_NOMEM : real_ops->connect(e, address, tls, on_connect, arg, ret_stream);
}

/* No descriptor is left for a connection to the service: that is the gateway's own trouble, and it says so. */
static void test_lack(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* the env's table is exchanged while workers may look into it */
#endif
    struct rig *r = rig_new(false);
    log_begin(r);
    real_ops = r->e->ops;
    struct env_ops ops = *real_ops;
    ops.connect = connect_without;
    r->e->ops = &ops;
    assert_has(line_of(r, REQUEST("GET /open/1")), "\"status\":503,\"flags\":\"OM\",\"upstream\":\"orders\"");
    const char *answer = ask(r, REQUEST("GET /open/1"));
    assert_has(answer, "Retry-After: 1\r\n");
    assert_has(answer, "\"code\":\"overloaded\"");
    r->e->ops = real_ops;
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1"))), 202);
    log_end();
    rig_free(r);
}

/* All places of a service's bulkhead are taken: 503 at once, when to come again, and the flag; nothing of it reaches the service, and a
 * place that is given back is taken by the next. */
static void test_bulkhead(void **state)
{
    (void)state;
    static struct call_policy_bulkhead one = {.concurrency = 1};
    static const char hold[] = REQUEST("GET /do/hold");
    struct rig *r = rig_new(false);
    gateway_stop(r);
    r->edges[0].policy.bulkhead = &one;
    gateway_start(r);
    rig_wait(r, is_ready, r);
    log_begin(r);
    struct client *first = client_new(r);
    client_send(first, hold, sizeof hold - 1);
    rig_wait(r, orders_is_held, r);
    unsigned asked = r->orders_asked;
    assert_has(line_of(r, REQUEST("GET /open/1")),
               "\"status\":503,\"flags\":\"UO\",\"upstream\":\"orders\"");
    const char *answer = ask(r, REQUEST("GET /open/1"));
    assert_int_equal(status_of(answer), 503);
    assert_has(answer, "Retry-After: 1\r\n");
    assert_int_equal(r->orders_asked, asked);
    (void)http_respond(r->held, 200, NULL, 0, "text/plain", SLICE("done"));
    rig_wait(r, client_has_ended, first);
    assert_int_equal(status_of(buf_str(&first->got)), 200);
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1"))), 202);
    client_free(first);
    log_end();
    rig_free(r);
}

/* docs/gateway.md has a row for each member and each flag, word for word, and no other in those tables. */
static void test_documented(void **state)
{
    (void)state;
    struct arena a;
    struct slice text;
    struct env *e = env_uv_new(NULL, NULL);
    arena_init(&a, 1024 * 1024);
    struct slice here = SLICE(__FILE__);
    char *path = arena_printf(&a, SLICE_FMT "docs/gateway.md", (int)(here.size - strlen("tests/unit/proxy/test_access_log.c")), here.p);
    assert_int_equal(env_file_load(e, &a, path, 256 * 1024, &text, NULL), FICUS_ERR_OK);
    const char *doc = arena_strdup(&a, text);
    for (size_t i = 0; i < access_field_count; i++)
        assert_has(doc, arena_printf(&a, "\n| `%s` | %s |\n", access_field(i).name, access_field(i).doc));
    for (size_t i = 0; i < access_flag_count; i++)
        assert_has(doc, arena_printf(&a, "\n| `%s` | %s |\n", access_flags[i].name, access_flags[i].doc));
    size_t rows = 0;
    const char *at = strstr(doc, "\n## Its log\n"), *end = at == NULL ? NULL : strstr(at + 1, "\n## ");
    assert_non_null(at);
    for (; (at = strstr(at, "\n| `")) != NULL && (end == NULL || at < end); at++)
        rows++;
    assert_int_equal(rows, access_field_count + access_flag_count);
    assert_true((size_t)1 << (access_flag_count - 1) == ACCESS_OM);
    arena_done(&a);
    env_uv_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole), cmocka_unit_test(test_flags),
                                       cmocka_unit_test(test_client),
                                       cmocka_unit_test(test_bulkhead), cmocka_unit_test(test_lack),
                                       cmocka_unit_test(test_documented)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
