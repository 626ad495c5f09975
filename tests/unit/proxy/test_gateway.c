/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway between raw clients and fake services: who is let in, what passes, what is hidden, and what happens when
 * something breaks.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#define HOST "Host: " RIG_HOST "\r\n"
#define CLOSE "Connection: close\r\n"
#define REQUEST(line) line " HTTP/1.1\r\n" HOST CLOSE

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static const char *with_token(struct rig *r, const char *line, char *token)
{
    static char text[8192];
    (void)snprintf(text, sizeof text,
                   "%s HTTP/1.1\r\n" HOST CLOSE "Authorization: Bearer %s\r\nContent-Length: 0\r\n\r\n", line, token);
    mem_free(token);
    return ask(r, text);
}

/* Every answer, of services and of the gateway itself, carries request id and trace: the client's when valid, else new.
 */
static void test_marks(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    const char *trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    static const char *const lines[] = {"GET /open/1",         "GET /nothing", "PUT /api/v1/orders",
                                        "POST /api/v1/orders", "GET /health",  "GET /open/%2f"};
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        char text[1024];
        (void)snprintf(text, sizeof text, "%s HTTP/1.1\r\n" HOST CLOSE "X-Request-ID: my.id-1\r\n%s\r\n", lines[i],
                       trace);
        const char *answer = ask(r, text);
        assert_true(has(answer, "X-Request-ID: my.id-1\r\n"));
        assert_true(has(answer, trace));
        (void)snprintf(text, sizeof text,
                       "%s HTTP/1.1\r\n" HOST CLOSE "X-Request-ID: bad id\r\ntraceparent: 00-00-00-00\r\n\r\n",
                       lines[i]);
        answer = ask(r, text);
        assert_true(has(answer, "X-Request-ID: 0")); /* a UUIDv7 of this millennium */
        assert_true(has(answer, "traceparent: 00-"));
        assert_false(has(answer, "bad id"));
        assert_false(has(answer, "not-yours"));
    }
    const char *answer = ask(r, "GET /\x01 HTTP/1.1\r\n\r\n");
    assert_int_equal(status_of(answer), 400);
    assert_true(has(answer, "X-Request-ID: 0") && has(answer, "traceparent: 00-") && has(answer, "nosniff"));
    rig_free(r);
}

/* What reaches a service: mapped path, query as it was, no credentials, nothing that looks internal but what the
 * gateway itself says. */
static void test_forward(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    const char *answer = ask(
        r, REQUEST("POST /open/a%20b?x=%2F&y") "Content-Type: application/json\r\nIdempotency-Key: k\r\n"
                                               "Authorization: Bearer zzTOKENzz\r\nCookie: c=1\r\nFicus-Identity: "
                                               "forged\r\nFicus-Path: /forged\r\n"
                                               "FICUS-Timeout-Ms: 1500\r\nficus-attempt: 9\r\n"
                                               "X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nForwarded: "
                                               "for=x\r\nX-Mine: yes\r\nConnection: x-hop\r\nX-Hop: no\r\n"
                                               "Content-Length: 7\r\n\r\n{\"a\":1}");
    assert_int_equal(status_of(answer), 202);
    assert_true(has(answer, "Location: /api/v1/orders/7\r\n"));
    assert_true(has(answer, "Ficus-Complete: true\r\n"));
    assert_false(has(answer, "secret"));
    assert_true(has(answer, "\r\n\r\n{\"ok\":true}"));
    const char *seen = buf_str(&r->seen);
    assert_true(has(seen, "POST /v1/open/a%20b?x=%2F&y\n"));
    assert_true(has(seen, "X-Mine: yes\n"));
    assert_true(has(seen, "Ficus-Path: /open/a%20b\n"));
    assert_false(has(seen, "Ficus-Path: /forged"));
    assert_true(has(seen, "Idempotency-Key: k\n"));
    assert_true(has(seen, "X-Forwarded-Proto: http\nX-Forwarded-Host: " RIG_HOST "\nVia: 1.1 ficus\n"));
    assert_false(has(seen, "X-Forwarded-For")); /* a peer on a unix socket has no address */
    assert_true(has(seen, "from=gateway user= roles=\n"));
    assert_true(has(seen, "body={\"a\":1}\n"));
    static const char *const hidden[] = {"zzTOKENzz", "c=1",   "forged",        "1.2.3.4",
                                         "for=x",     "X-Hop", "FICUS-Timeout", "ttempt: 9"};
    for (size_t i = 0; i < ARRAY_COUNT(hidden); i++)
        if (has(seen, hidden[i]))
            fail_msg("%s came through: %s", hidden[i], seen);
    answer = ask(r, REQUEST("HEAD /open/1") "\r\n");
    assert_int_equal(status_of(answer), 202);
    assert_true(has(answer, "Content-Length: 11\r\n"));
    assert_false(has(answer, "ok"));
    rig_free(r);
}

/* Tokens: required, optional, wrong in every way; roles; and the user's name behind the gateway. */
static void test_auth(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    const char *answer = ask(r, REQUEST("POST /api/v1/orders") "\r\n");
    assert_int_equal(status_of(answer), 401);
    assert_true(has(answer, "WWW-Authenticate: Bearer\r\n"));
    assert_true(has(answer, "application/problem+json"));
    assert_int_equal(status_of(with_token(r, "POST /api/v1/orders", token_for(r, "k1", "shop", "\"user\"", 60))), 202);
    assert_true(has(buf_str(&r->seen), "from=gateway user=u-1 roles=user,\n"));
    assert_false(has(buf_str(&r->seen), "Bearer"));

    assert_int_equal(status_of(with_token(r, "POST /api/v1/orders", token_for(r, "k1", "other", "", 60))), 401);
    assert_int_equal(status_of(with_token(r, "POST /api/v1/orders", token_for(r, "k1", "shop", "", -60))), 401);
    assert_int_equal(status_of(with_token(r, "POST /api/v1/orders", mem_strdup("a.b.c"))), 401);
    char *forged = token_for(r, "k1", "shop", "\"admin\"", 60);
    forged[strlen(forged) - 10] ^= 1;
    assert_int_equal(status_of(with_token(r, "POST /api/v1/orders", forged)), 401);
    answer = ask(r, REQUEST("POST /api/v1/orders") "Authorization: Basic abc\r\n\r\n");
    assert_int_equal(status_of(answer), 401);
    assert_true(has(answer, "invalid_token"));

    assert_int_equal(status_of(with_token(r, "GET /admin", token_for(r, "k1", "shop", "\"user\"", 60))), 403);
    assert_int_equal(status_of(with_token(r, "GET /admin", token_for(r, "k1", "shop", "\"user\",\"admin\"", 60))), 202);

    assert_int_equal(status_of(ask(r, REQUEST("GET /maybe") "\r\n")), 202);
    assert_true(has(buf_str(&r->seen), "user= "));
    assert_int_equal(status_of(with_token(r, "GET /maybe", token_for(r, "k1", "shop", "", 60))), 202);
    assert_true(has(buf_str(&r->seen), "user=u-1 "));
    assert_int_equal(status_of(with_token(r, "GET /maybe", mem_strdup("bad"))), 401);
    assert_int_equal(status_of(with_token(r, "GET /open/1", mem_strdup("bad"))), 202);
    rig_free(r);
}

/* Ready means that every route can be served: not before the services of all routes have an address. */
static void test_ready(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    rig_wait(r, file_is_there, r); /* with the kept keys nothing but addresses is missing at the next start */
    gateway_stop(r);
    (void)unlink(r->front + 5);
    gateway_start_blind(r);
    assert_int_equal(status_of(ask(r, REQUEST("GET /health") "\r\n")), 200); /* of the gateway itself */
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1") "\r\n")), 503);
    assert_false(r->ready);
    const char *address = r->orders;
    assert_int_equal(call_engine_endpoints(r->proxy->process.calls, "orders", &address, 1), FICUS_ERR_OK);
    r->proxy->process.on_endpoints(r->proxy->process.endpoints_arg); /* as the resolver does */
    assert_true(r->ready);
    assert_int_equal(status_of(ask(r, REQUEST("GET /health") "\r\n")), 200);
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1") "\r\n")), 202);
    rig_free(r);
}

/* Keys: an unknown one is asked for once per ten seconds; the last good ones are kept on disk and serve when the issuer
 * is away. */
static void test_keys(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    assert_int_equal(r->keys_asked, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(status_of(with_token(r, "POST /api/v1/orders", token_for(r, "k2", "shop", "", 60))), 401);
    assert_int_equal(r->keys_asked, 1); /* asked just now, at start */
    rig_wait(r, file_is_there, r);
    gateway_stop(r);

    r->identity_down = true;
    (void)unlink(r->front + 5);
    gateway_start(r);
    rig_wait(r, is_ready, r);
    assert_int_equal(status_of(with_token(r, "POST /api/v1/orders", token_for(r, "k1", "shop", "", 60))), 202);
    gateway_stop(r);

    (void)unlink(r->keys_file); /* no keys at all: who needs none is served, who needs them is told */
    (void)unlink(r->front + 5);
    gateway_start(r);
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1") "\r\n")), 202);
    assert_int_equal(status_of(ask(r, REQUEST("GET /health") "\r\n")), 200);
    assert_int_equal(status_of(ask(r, REQUEST("GET /alive") "\r\n")), 200);
    const char *answer = with_token(r, "POST /api/v1/orders", token_for(r, "k1", "shop", "", 60));
    assert_int_equal(status_of(answer), 503);
    assert_true(has(answer, "Retry-After: 1\r\n"));
    assert_false(r->ready);

    struct client *c = client_new(r); /* a request that waits gets the keys when they come */
    char text[2048];
    char *token = token_for(r, "k1", "shop", "", 60);
    (void)snprintf(text, sizeof text, "POST /api/v1/orders HTTP/1.1\r\n" HOST CLOSE "Authorization: bearer %s\r\n\r\n",
                   token);
    mem_free(token);
    client_send(c, text, strlen(text));
    r->identity_down = false;
    rig_wait(r, client_has_ended, c);
    assert_int_equal(status_of(buf_str(&c->got)), 202);
    client_free(c);
    assert_true(r->ready);
    assert_int_equal(status_of(ask(r, REQUEST("GET /health") "\r\n")), 200);
    rig_free(r);
}

/* What pages and strangers try: foreign names, foreign origins, forms, dot segments, methods, internal paths. */
static void test_strangers(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    static const struct {
        int status;
        const char *text;
    } cases[] = {
        {421, "GET /open/1 HTTP/1.1\r\nHost: evil.test\r\n" CLOSE "\r\n"},
        {421, "GET /open/1 HTTP/1.1\r\nHost: shop.test\r\n" CLOSE "\r\n"},
        {421, "GET /open/1 HTTP/1.0\r\n\r\n"},
        {421, "GET http://evil.test/open/1 HTTP/1.1\r\nHost: evil.test\r\n" CLOSE "\r\n"},
        {202, "GET http://shop.test:80/open/1 HTTP/1.1\r\n" HOST CLOSE "\r\n"},
        {421, "GET http://evil.test/open/1 HTTP/1.1\r\n" HOST CLOSE "\r\n"},
        {202, "GET http://shop.test:80/open/1 HTTP/1.1\r\nHost: evil.test\r\n" CLOSE "\r\n"},
        {202, REQUEST("GET /open/1") "Content-Length: 3\r\n\r\na=b"},
        {202, REQUEST("GET /open/1") "Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"},
        {501, REQUEST("BREW /api/v1/orders") "\r\n"},
        {501, REQUEST("post /api/v1/orders") "\r\n"},
        {202, REQUEST("POST /open/1") "Origin: http://shop.test:80\r\n\r\n"},
        {403, REQUEST("POST /open/1") "Origin: http://evil.test\r\n\r\n"},
        {403, REQUEST("POST /open/1") "Origin: http://shop.test:80.evil.test\r\n\r\n"},
        {403, REQUEST("POST /open/1") "Origin: null\r\n\r\n"},
        {403, REQUEST("DELETE /open/1") "Sec-Fetch-Site: cross-site\r\n\r\n"},
        {202, REQUEST("GET /open/1") "Origin: http://evil.test\r\nSec-Fetch-Site: cross-site\r\n\r\n"},
        {415,
         REQUEST("POST /open/1") "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b"},
        {415, REQUEST("POST /open/1") "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: 2\r\n\r\n{}"},
        {415, REQUEST("POST /open/1") "Content-Type: MULTIPART/form-data; boundary=x\r\nContent-Length: 2\r\n\r\n{}"},
        {400, REQUEST("GET /open/..") "\r\n"},
        {400, REQUEST("GET /open/%2e%2e") "\r\n"},
        {202, REQUEST("GET /open/a%2fb") "\r\n"},
        {400, REQUEST("GET /open/a%00") "\r\n"},
        {400, REQUEST("GET //open/1") "\r\n"},
        {202, REQUEST("GET /open/a%5c") "\r\n"},
        {404, REQUEST("GET /v1/open/1") "\r\n"},
        {404, REQUEST("GET /open/1/") "\r\n"},
        {404, REQUEST("GET /") "\r\n"},
        {404, REQUEST("OPTIONS *") "\r\n"},
        {405, REQUEST("GET /api/v1/orders") "\r\n"},
        {405, REQUEST("POST /health") "\r\n"},
        {404, REQUEST("GET /metrics") "X-Forwarded-For: 127.0.0.1\r\n\r\n"},
        {404, REQUEST("GET /metrics") "Forwarded: for=127.0.0.1\r\n\r\n"},
        {200, REQUEST("GET /metrics") "\r\n"},
        {200, "GET /health HTTP/1.1\r\nHost: 10.0.0.1\r\n" CLOSE "\r\n"},
        {413, REQUEST("POST /open/1") "Content-Length: 1048577\r\n\r\n"},
        {400, REQUEST("POST /open/1") "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {501, "CONNECT shop.test:80 HTTP/1.1\r\n" HOST "\r\n"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const char *answer = ask(r, cases[i].text);
        if (status_of(answer) != cases[i].status)
            print_error("case %zu: %s\n%s\n", i, cases[i].text, answer);
        assert_int_equal(status_of(answer), cases[i].status);
        assert_true(has(answer, "X-Request-ID: "));
        if (cases[i].status >= 400) {
            assert_true(has(answer, "application/problem+json"));
            assert_true(has(answer, "nosniff"));
            assert_true(has(answer, "Cache-Control: no-store"));
        }
    }
    assert_true(has(ask(r, REQUEST("GET /api/v1/orders") "\r\n"), "Allow: POST\r\n"));
    const char *metrics = ask(r, REQUEST("GET /metrics") "\r\n");
    assert_true(has(metrics, "gateway_requests_total{route=\"/open/{id}\",status=\"202\"}"));
    assert_true(has(metrics, "gateway_connections "));
    rig_free(r);
}

static bool is_held(void *arg)
{
    return ((struct rig *)arg)->held != NULL;
}
static bool is_let_go(void *arg)
{
    return ((struct rig *)arg)->orders_reset > 0;
}

/* Services that break: late, dead, cut off, gone; each has its status, and an answer that began ends visibly short. */
static void test_failures(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    r->routes[4].timeout_ms = 100;
    const char *answer = ask(r, REQUEST("GET /do/hold") "\r\n");
    assert_int_equal(status_of(answer), 504);
    r->routes[4].timeout_ms = 20000;
    answer = ask(r, REQUEST("GET /do/hold") "Ficus-Timeout-Ms: 100\r\n\r\n"); /* a client may want less */
    assert_int_equal(status_of(answer), 504);
    answer = ask(r, REQUEST("GET /do/die") "\r\n");
    assert_int_equal(status_of(answer), 502);

    struct client *c = client_new(r);
    const char *text = REQUEST("GET /do/cut") "\r\n";
    r->held = NULL;
    client_send(c, text, strlen(text));
    rig_wait(r, is_held, r);
    service_free(r->held->arg);
    http_reset(r->held, FICUS_ERR_INTERNAL);
    rig_wait(r, client_has_ended, c);
    assert_int_equal(status_of(buf_str(&c->got)), 200);
    assert_true(has(buf_str(&c->got), "Content-Length: 100\r\n"));
    client_free(c);

    http_server_close(r->orders_server, on_service_closed, r);
    r->orders_server = NULL;
    (void)unlink(r->orders + 5);
    answer = ask(r, REQUEST("GET /open/1") "\r\n");
    assert_int_equal(status_of(answer), 503);
    assert_true(has(answer, "Retry-After: 1\r\n"));
    r->orders_server = service_start(r, r->orders, orders_request);
    rig_free(r);
}

static bool are_held(void *arg)
{
    return ((struct rig *)arg)->orders_asked >= 300;
}

/* Requests that stay open, as event streams do, keep no other request from the same service. */
static void test_many_open(void **state)
{
    (void)state;
    static struct client *clients[300];
    struct rig *r = rig_new(false);
    const char *text = REQUEST("GET /do/hold") "\r\n";
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        clients[i] = client_new(r);
        client_send(clients[i], text, strlen(text));
    }
    rig_wait(r, are_held, r);
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1") "\r\n")), 202);
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        client_close(clients[i]);
        client_free(clients[i]);
    }
    rig_free(r);
}

/* A body that is never complete is answered when the route's time is over, and never reaches the service. */
static void test_slow_body(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    for (size_t i = 0; i < r->config.route_count; i++)
        if (strcmp(r->routes[i].path, "/open/{id}") == 0)
            r->routes[i].timeout_ms = 100;
    unsigned before = r->orders_asked;
    const char *answer = ask(r, REQUEST("POST /open/1") "Content-Length: 10\r\n\r\n12345");
    assert_int_equal(status_of(answer), 408);
    assert_true(has(answer, "application/problem+json"));
    assert_int_equal(r->orders_asked, before);
    rig_free(r);
}

/* A client that goes takes its call with it. */
static void test_client_gone(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    struct client *c = client_new(r);
    const char *text = REQUEST("GET /do/hold") "\r\n";
    client_send(c, text, strlen(text));
    rig_wait(r, is_held, r);
    client_close(c);
    rig_wait(r, is_let_go, r);
    client_free(c);
    rig_free(r);
}

static bool service_is_stuck(void *arg)
{
    struct rig *r = arg;
    static size_t last, same;
    same = r->orders_sent == last && last > 0 ? same + 1 : 0;
    last = r->orders_sent;
    return same > 50;
}

/* Large answers: a client that does not read stops the service; when it reads, all comes. */
static void test_big_answer(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    struct client *c = client_new(r);
    r->routes[5].timeout_ms = 20000;
    c->hold = true;
    const char *text = REQUEST("GET /do/big") "\r\n";
    client_send(c, text, strlen(text));
    rig_wait(r, service_is_stuck, r);
    /* Kernel buffers, and the few of the gateway and the service. */
    assert_in_range(r->orders_sent, 1, 1500 * 1000);
    c->hold = false;
    client_read(c);
    rig_wait(r, client_has_ended, c);
    const char *body = strstr(buf_str(&c->got), "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(buf_slice(&c->got).size - (size_t)(body + 4 - buf_str(&c->got)), RIG_BIG_SIZE);
    client_free(c);
    rig_free(r);
}

/* Large requests stream through, counted or chunked; over the route's limit they are refused, also when that shows
 * late. */
static void test_big_request(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    struct buf text;
    buf_init(&text, 10 * 1024 * 1024);
    buf_printf(&text, REQUEST("POST /do/count") "Content-Length: %d\r\n\r\n", RIG_BIG_SIZE);
    size_t head = buf_slice(&text).size;
    assert_true(buf_reserve(&text, RIG_BIG_SIZE));
    for (int i = 0; i < RIG_BIG_SIZE; i++)
        buf_add_char(&text, 'q');
    const char *answer = ask_size(r, buf_str(&text), head + RIG_BIG_SIZE);
    assert_int_equal(status_of(answer), 200);
    assert_true(has(answer, "\r\n\r\n3000000"));

    buf_clear(&text);
    buf_add_str(&text, REQUEST("POST /do/count") "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        buf_printf(&text, "3e8\r\n%01000d\r\n", i);
    buf_add_str(&text, "0\r\n\r\n");
    answer = ask_size(r, buf_str(&text), buf_slice(&text).size);
    assert_int_equal(status_of(answer), 200);
    assert_true(has(answer, "\r\n\r\n1000000"));

    r->routes[8].body_size_max = 500000;
    answer = ask_size(r, buf_str(&text), buf_slice(&text).size);
    assert_int_equal(status_of(answer), 413);

    answer = ask(r, REQUEST("POST /do/early") "Content-Length: 900000\r\n\r\nxxxx"); /* answered before the body came */
    assert_int_equal(status_of(answer), 403);
    buf_done(&text);
    rig_free(r);
}

static bool has_two(void *arg)
{
    struct client *c = arg;
    const char *first = strstr(buf_str(&c->got), "{\"ok\":true}");
    return c->ended || (first != NULL && strstr(first + 1, "{\"ok\":true}") != NULL);
}

/* A kept connection serves one request after the other, and draining ends it after the one that runs. */
static void test_drain(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    struct client *c = client_new(r);
    const char *text = "GET /open/1 HTTP/1.1\r\n" HOST "\r\nGET /open/2 HTTP/1.1\r\n" HOST "\r\n";
    client_send(c, text, strlen(text));
    rig_wait(r, has_two, c);
    assert_false(c->ended);
    const char *held = "GET /do/hold HTTP/1.1\r\n" HOST "\r\n";
    client_send(c, held, strlen(held));
    rig_wait(r, is_held, r);
    proxy_stop(r->proxy, on_stopped, r);
    http_respond(r->held, 200, NULL, 0, "text/plain", SLICE("last words"));
    rig_wait(r, client_has_ended, c);
    assert_true(has(buf_str(&c->got), "Connection: close\r\n\r\nlast words"));
    client_close(c);
    rig_wait(r, is_stopped, r);
    r->proxy = NULL;
    client_free(c);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),       cmocka_unit_test(test_forward),    cmocka_unit_test(test_auth),
        cmocka_unit_test(test_ready),       cmocka_unit_test(test_keys),
        cmocka_unit_test(test_strangers),   cmocka_unit_test(test_failures),
        cmocka_unit_test(test_client_gone), cmocka_unit_test(test_big_answer), cmocka_unit_test(test_big_request),
        cmocka_unit_test(test_drain),       cmocka_unit_test(test_many_open),  cmocka_unit_test(test_slow_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
