/* SPDX-License-Identifier: Apache-2.0
 *
 * The call engine against a peer that speaks bytes: the race of a kept connection that the server closes just as the
 * next request goes out (RFC 9112 9.3.1), peers that close, fall silent or talk nonsense, and what the peer sees of a
 * call that is given up.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_rig.h"

enum raw_mode {
    RAW_KEEP,           /* answers every request */
    RAW_STALE,          /* answers the first request of a connection, takes the second and closes without a word */
    RAW_STALE_BEGUN,    /* as before, but the second gets the first bytes of an answer */
    RAW_STALE_BUSY,     /* as RAW_STALE on the first connection; later ones answer 503 at first */
    RAW_LEAVE,          /* answers, and closes while the connection is idle */
    RAW_SILENT,         /* never answers */
    RAW_NONSENSE,       /* answers in another language */
};

struct raw {
    struct rig *r;
    struct env_listener *listener;
    enum raw_mode mode;
    size_t conns, requests, ends, open;
    char attempts[16][4];       /* Ficus-Attempt of each request */
};

struct raw_conn {
    struct raw *raw;
    struct env_stream *s;
    size_t requests, size;
    char in[8192];
};

static void raw_gone(void *arg)
{
    struct raw_conn *c = arg;
    c->raw->open--;
    mem_free(c);
}

static void raw_close(struct raw_conn *c)
{
    env_close(c->raw->r->e, c->s, raw_gone, c);
}

static void raw_written(void *arg, ssize_t n)
{
}

static void raw_write(struct raw_conn *c, const char *text)
{
    struct iovec iov = {(char *)(uintptr_t)text, strlen(text)};
    (void)env_write(c->raw->r->e, c->s, &iov, 1, raw_written, c);
}

/* One request with its short body is there. False: the connection was closed. */
static bool raw_request(struct raw_conn *c)
{
    struct raw *raw = c->raw;
    const char *attempt = strcasestr(c->in, "ficus-attempt: ");
    (void)snprintf(raw->attempts[raw->requests % 16], sizeof raw->attempts[0], "%.1s",
                   attempt != NULL ? attempt + 15 : "");
    raw->requests++;
    c->requests++;
    bool stale = c->requests > 1 && (raw->mode == RAW_STALE || raw->mode == RAW_STALE_BEGUN ||
                                     (raw->mode == RAW_STALE_BUSY && raw->conns == 1));
    bool busy = raw->mode == RAW_STALE_BUSY && raw->conns > 1 && c->requests == 1;
    if (stale && raw->mode == RAW_STALE_BEGUN)
        raw_write(c, "HTTP/1.1 2");
    if (raw->mode == RAW_NONSENSE)
        raw_write(c, "220 mail.example ESMTP\r\n\r\n");
    else if (busy)
        raw_write(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    else if (!stale && raw->mode != RAW_SILENT)
        raw_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    if (stale || raw->mode == RAW_LEAVE) {
        raw_close(c);
        return false;
    }
    return true;
}

static void raw_read(struct raw_conn *c);

static void raw_on_read(void *arg, ssize_t n)
{
    struct raw_conn *c = arg;
    if (n <= 0) {
        c->raw->ends++;
        raw_close(c);
        return;
    }
    c->size += (size_t)n;
    c->in[c->size] = '\0';
    char *end = strstr(c->in, "\r\n\r\n"), *length = strcasestr(c->in, "content-length: ");
    int64_t body = 0;
    struct slice text = slice_str(length);
    if (end != NULL && length != NULL && length < end) {
        text = slice_cut(&(struct slice){length + 16, (size_t)(end - length) - 16}, '\r');
        assert_true(slice_to_i64(text, &body));
    }
    if (end != NULL && c->size >= (size_t)(end + 4 - c->in) + (size_t)body) {
        bool open = raw_request(c);
        if (!open)
            return;
        c->size = 0;
    }
    raw_read(c);
}

static void raw_read(struct raw_conn *c)
{
    assert_true(c->size < sizeof c->in - 1);
    env_read(c->raw->r->e, c->s, c->in + c->size, sizeof c->in - 1 - c->size, raw_on_read, c);
}

static void raw_accept(void *arg, struct env_stream *s)
{
    struct raw *raw = arg;
    struct raw_conn *c = mem_zalloc(sizeof *c);
    c->raw = raw;
    c->s = s;
    raw->conns++;
    raw->open++;
    raw_read(c);
}

static void raw_start(struct rig *r, struct raw *raw, enum raw_mode mode)
{
    *raw = (struct raw){.r = r, .mode = mode};
    rig_server_stop(r);
    assert_int_equal(env_listen(r->e, r->address, raw_accept, raw, &raw->listener, NULL), FICUS_ERR_OK);
}

static bool raw_quiet(void *arg)
{
    return ((struct raw *)arg)->open == 0;
}

static void raw_stop(struct raw *raw)
{
    struct rig *r = raw->r;
    env_listener_close(r->e, raw->listener);
    (void)unlink(r->address + 5);
    rig_engine_close(r);
    rig_wait(r, raw_quiet, raw);
}

static struct call_policy strict_policy(bool keeps_keys)
{
    struct call_policy p = rig_policy(1, 20000);
    p.breaker.failures = 1;     /* any failure would show */
    p.keeps_keys = keeps_keys;
    return p;
}

/* GET on a kept connection that dies before an answer is sent again once, on a new connection, beside the count of
 * attempts (of which there is one), and the breaker hears nothing of it. */
static void test_stale_idempotent(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_STALE);
    rig_edge(r, "orders", strict_policy(false), r->address);
    for (int i = 0; i < 10; i++) {
        struct client c = rig_call(r, "orders", "GET", "/");
        assert_int_equal(c.err, FICUS_ERR_OK);
        assert_string_equal(c.body, "ok");
    }
    /* the first alone, then each one twice: on the kept connection and on a new one */
    assert_int_equal(raw.requests, 19);
    assert_int_equal(raw.conns, 10);
    assert_string_equal(raw.attempts[1], "1");
    assert_string_equal(raw.attempts[2], "2");
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "closed");
    raw_stop(&raw);
}

/* The free repetition takes nothing from the attempts: of two, both are still there afterwards. */
static void test_stale_then_busy(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_STALE_BUSY);
    rig_edge(r, "orders", rig_policy(2, 20000), r->address);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    assert_int_equal(rig_call(r, "orders", "GET", "/").status, 200);
    assert_int_equal(raw.requests, 4);
    assert_string_equal(raw.attempts[3], "3");
    assert_int_equal(raw.conns, 2);     /* the unwanted 503 did not cost the connection */
    raw_stop(&raw);
}

/* POST in the same race is not sent again, for the callee may have acted on it; a key alone does not change that. */
static void test_stale_post(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_STALE);
    struct call_policy p = strict_policy(false);
    p.breaker.failures = 100;
    p.retry.attempts = 5;
    rig_edge(r, "orders", p, r->address);
    for (int keyed = 0; keyed < 2; keyed++) {
        raw.requests = 0;
        assert_int_equal(rig_call(r, "orders", "POST", "/").err, FICUS_ERR_OK);
        struct call_request request = rig_request("orders", "POST", "/");
        request.keyed = keyed;
        struct client c = rig_call_with(r, &request);
        assert_int_equal(c.err, FICUS_ERR_RESET);
        assert_true(c.maybe);
        assert_int_equal(raw.requests, 2);
    }
    raw_stop(&raw);
}

/* POST with a key to a callee that keeps keys is sent again, with its body. */
static void test_stale_kept_key(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_STALE);
    rig_edge(r, "payments", strict_policy(true), r->address);
    struct call_request request = rig_request("payments", "POST", "/");
    request.keyed = true;
    request.body = SLICE("{\"amount\":100}");
    for (int i = 0; i < 5; i++)
        assert_int_equal(rig_call_with(r, &request).err, FICUS_ERR_OK);
    assert_int_equal(raw.requests, 9);
    /* without a key it is a plain POST again */
    request.keyed = false;
    assert_int_equal(rig_call_with(r, &request).err, FICUS_ERR_RESET);
    raw_stop(&raw);
}

/* However many kept connections are stale, a call meets at most one of them: its repetition takes a new connection. */
static void test_stale_many(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_STALE);
    rig_edge(r, "orders", strict_policy(false), r->address);
    struct client c[6] = {0};
    struct call_request request = rig_request("orders", "GET", "/");
    for (int i = 0; i < 6; i++)
        client_begin(r, &c[i], &request);
    for (int i = 0; i < 6; i++)
        rig_wait(r, rig_is_true, &c[i].over);
    assert_int_equal(raw.conns, 6);
    assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_OK);
    assert_int_equal(raw.conns, 7);
    assert_int_equal(raw.requests, 8);
    raw_stop(&raw);
}

/* The free repetition also finds a place when all places are taken by idle connections. */
static void test_stale_full(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    rig_engine_close(r);
    rig_engine(r, 3, 8);
    raw_start(r, &raw, RAW_STALE);
    rig_edge(r, "orders", strict_policy(false), r->address);
    struct client c[3] = {0};
    struct call_request request = rig_request("orders", "GET", "/");
    for (int i = 0; i < 3; i++)
        client_begin(r, &c[i], &request);
    for (int i = 0; i < 3; i++)
        rig_wait(r, rig_is_true, &c[i].over);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_OK);
    assert_true(raw.open <= 4);     /* three, and one whose end we have not read yet */
    raw_stop(&raw);
}

/* Once a byte of an answer came it was no race: that costs an attempt, and here there is only one. */
static void test_stale_begun(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_STALE_BEGUN);
    rig_edge(r, "orders", strict_policy(false), r->address);
    assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_OK);
    assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_RESET);
    assert_int_equal(raw.requests, 2);
    raw_stop(&raw);
}

/* A connection that the peer closes while it is idle is dropped at once: the next request, even a POST, takes a new
 * one. */
static void test_closed_while_idle(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_LEAVE);
    rig_edge(r, "orders", strict_policy(false), r->address);
    for (size_t i = 1; i <= 10; i++) {
        assert_int_equal(rig_call(r, "orders", "POST", "/").err, FICUS_ERR_OK);
        rig_turns(r, 10);
        assert_int_equal(raw.conns, i);
    }
    raw_stop(&raw);
}

/* What is given up, by the deadline or by the user, the peer sees as the end of the connection. */
static void test_given_up(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_SILENT);
    rig_edge(r, "orders", rig_policy(1, 20000), r->address);
    struct call_request request = rig_request("orders", "GET", "/");
    request.timeout_ms = 20;
    assert_int_equal(rig_call_with(r, &request).err, FICUS_ERR_TIMEOUT);
    rig_wait_count(r, &raw.ends, 1);
    struct client c = {0};
    request.timeout_ms = 0;
    client_begin(r, &c, &request);
    rig_wait_count(r, &raw.requests, 2);
    client_cancel(&c);
    rig_wait_count(r, &raw.ends, 2);
    /* a call with so little time says nothing about the callee; one with the edge's own does */
    struct call_policy p = strict_policy(false);
    rig_edge(r, "orders", p, NULL);
    request.timeout_ms = 20;
    assert_int_equal(rig_call_with(r, &request).err, FICUS_ERR_TIMEOUT);
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "closed");
    p.timeout_ms = 20;
    rig_edge(r, "orders", p, NULL);
    assert_int_equal(rig_call_with(r, &request).err, FICUS_ERR_TIMEOUT);
    assert_string_equal(call_engine_breaker_state(r->g, "orders"), "open");
    raw_stop(&raw);
}

/* A peer that speaks no HTTP is reported as such and not asked again. */
static void test_nonsense(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_NONSENSE);
    rig_edge(r, "orders", rig_policy(3, 20000), r->address);
    assert_int_equal(rig_call(r, "orders", "GET", "/").err, FICUS_ERR_PROTOCOL);
    assert_int_equal(raw.requests, 1);
    raw_stop(&raw);
}

/* Of many connections that become idle at once only idle_conns_max are kept. */
static void test_idle_bound(void **state)
{
    struct rig *r = *state;
    struct raw raw;
    raw_start(r, &raw, RAW_KEEP);
    rig_edge(r, "orders", rig_policy(1, 20000), r->address);
    struct client c[40] = {0};
    struct call_request request = rig_request("orders", "GET", "/");
    for (int i = 0; i < 40; i++)
        client_begin(r, &c[i], &request);
    for (int i = 0; i < 40; i++)
        rig_wait(r, rig_is_true, &c[i].over);
    rig_wait_count(r, &raw.ends, 40 - RIG_IDLE_CONNS_MAX);
    rig_turns(r, 10);
    assert_int_equal(raw.open, RIG_IDLE_CONNS_MAX);
    raw_stop(&raw);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_stale_idempotent), TEST(test_stale_then_busy), TEST(test_stale_post),  TEST(test_stale_kept_key),
        TEST(test_stale_many), TEST(test_stale_full),
        TEST(test_stale_begun),      TEST(test_closed_while_idle), TEST(test_given_up), TEST(test_nonsense),
        TEST(test_idle_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
