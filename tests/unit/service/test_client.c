/* SPDX-License-Identifier: Apache-2.0
 *
 * The client for programs outside, against a real server on loopback that runs in a thread with an env of its own.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ficus/client.h>

#include "event_reader.h"
#include "http_server.h"
#include "io_env.h"
#include "io_socket.h"
#include "mem.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { BIG_SIZE = 300 * 1024 };

/* ---- the server: /echo answers with what it was sent, /silent never, /lost closes the connection, /big with BIG_SIZE
 * bytes, /events with two events and an end, /cut with one and a lost connection, /endless with bytes of one event,
 * /open with one event and no end ---- */

struct server {
    pthread_t thread;
    pthread_barrier_t ready;
    struct env *env;
    struct http_server *http;
    int fd;
    char url[64];
    struct env_task close;
};

struct exchange {
    struct http_collect collect;
    size_t sent;
};

static void exchange_done(void *arg, struct http_stream *s)
{
    struct exchange *x = arg;
    http_collect_done(&x->collect);
    mem_free(x);
}

static void exchange_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    exchange_done(arg, s);
}

static void big_send(void *arg, struct http_stream *s)
{
    static const char block[4096] = {'b'};
    struct exchange *x = arg;
    size_t taken = 1;
    while (x->sent < BIG_SIZE && taken > 0) {
        size_t size = BIG_SIZE - x->sent < sizeof block ? BIG_SIZE - x->sent : sizeof block;
        taken = http_send(s, block, size, x->sent + size == BIG_SIZE);
        x->sent += taken;
    }
}

static void text_send(struct http_stream *s, const char *text, bool end)
{
    http_send(s, text, strlen(text), end);
}

/* More of one event than anybody holds. */
static void endless_send(void *arg, struct http_stream *s)
{
    static char block[4096];
    memset(block, 'e', sizeof block);
    while (http_send(s, block, sizeof block, false) == sizeof block)
        ;
}

static void events_send(struct http_stream *s, struct slice path)
{
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = -1;
    http_msg_add(&m, SLICE("Content-Type"), SLICE("text/event-stream; charset=utf-8"));
    http_send_head(s, &m, false);
    struct slice last = http_msg_get(s->head_in, "Last-Event-ID");
    if (slice_eq_str(path, "/endless")) {
        endless_send(NULL, s);
    } else if (slice_eq_str(path, "/cut")) {
        text_send(s, "id: 1\ndata: whole\n\nid: 2\ndata: half", true);
    } else if (slice_eq_str(path, "/open")) {
        text_send(s, "id: 4\ndata: first\n\n", false);
    } else {
        text_send(s, last.p == NULL ? ": hello\n\nid: 0\ndata: zero\n\n" : "id: 7\ndata: back\n\n", false);
        text_send(s, "id: 8\nevent: status\ndata: a\ndata: b\n\n", true);
    }
}

static void endless_writable(void *arg, struct http_stream *s)
{
    if (slice_eq_str(s->head_in->path, "/endless"))
        endless_send(arg, s);
    else
        big_send(arg, s);
}

static const struct http_handler handler = {
    .on_writable = endless_writable, .on_done = exchange_done, .on_reset = exchange_reset};

static void echo(struct http_stream *s, struct slice body)
{
    struct buf text;
    buf_init(&text, 4096);
    struct slice key = http_msg_get(s->head_in, "Idempotency-Key"),
                 authorization = http_msg_get(s->head_in, "Authorization");
    buf_printf(&text, SLICE_FMT " " SLICE_FMT "?" SLICE_FMT " [" SLICE_FMT "] [" SLICE_FMT "] %zu",
               SLICE_ARG(s->head_in->method), SLICE_ARG(s->head_in->path), SLICE_ARG(s->head_in->query), SLICE_ARG(key),
               SLICE_ARG(authorization), body.size);
    const struct http_field fields[] = {
        {SLICE("Location"), SLICE("/there")}, {SLICE("Retry-After"), SLICE("7")}, {SLICE("X-Request-ID"), SLICE("r1")}};
    assert_int_equal(http_respond(s, 202, fields, 3, "text/plain", buf_slice(&text)), FICUS_ERR_OK);
    buf_done(&text);
}

static void collected(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    assert_int_equal(err, FICUS_ERR_OK);
    echo(s, body);
}

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct exchange *x = mem_zalloc(sizeof *x);
    http_stream_handle(s, &handler, x);
    struct slice path = s->head_in->path;
    if (slice_eq_str(path, "/lost")) {
        http_reset(s, FICUS_ERR_RESET);
        mem_free(x);
    } else if (slice_eq_str(path, "/big")) {
        struct http_msg m;
        http_msg_init(&m, s->arena);
        m.status = 200;
        m.content_length = -1;
        http_send_head(s, &m, false);
        big_send(x, s);
    } else if (slice_eq_str(path, "/silent")) {
        return;
    } else if (slice_eq_str(path, "/events") || slice_eq_str(path, "/cut") || slice_eq_str(path, "/endless") ||
               slice_eq_str(path, "/open")) {
        events_send(s, path);
    } else if (end) {
        echo(s, SLICE_NONE);
    } else {
        x->collect = (struct http_collect){.done = collected, .arg = x};
        http_collect(s, &x->collect, 1024 * 1024);
    }
}

static void server_closed(void *arg)
{
    struct server *v = arg;
    env_uv_stop(v->env);
}

static void server_close(void *arg)
{
    struct server *v = arg;
    http_server_close(v->http, server_closed, v);
}

static void *server_run(void *arg)
{
    struct server *v = arg;
    const struct http_server_options options = {.on_request = on_request, .arg = v};
    char address[32];
    v->env = env_uv_new(NULL, NULL);
    snprintf(address, sizeof address, "fd:%d", v->fd);
    assert_int_equal(http_server_new(v->env, &options, &v->http), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(v->http, address, NULL, NULL), FICUS_ERR_OK);
    pthread_barrier_wait(&v->ready);
    env_uv_run(v->env);
    env_uv_free(v->env);
    return NULL;
}

static int server_start(void **state)
{
    struct server *v = mem_zalloc(sizeof *v);
    struct ficus_error error = {0};
    assert_int_equal(socket_listen("tcp:127.0.0.1:0", &v->fd, &error), FICUS_ERR_OK);
    snprintf(v->url, sizeof v->url, "http://127.0.0.1:%u/", socket_port(v->fd));
    pthread_barrier_init(&v->ready, NULL, 2);
    pthread_create(&v->thread, NULL, server_run, v);
    pthread_barrier_wait(&v->ready);
    *state = v;
    return 0;
}

static int server_stop(void **state)
{
    struct server *v = *state;
    v->close = (struct env_task){.fn = server_close, .arg = v};
    env_post(v->env, &v->close);
    pthread_join(v->thread, NULL);
    pthread_barrier_destroy(&v->ready);
    close(v->fd);
    mem_free(v);
    return 0;
}

/* ---- what came back ---- */

struct seen {
    int count, status, retry_after_s;
    size_t body_size;
    char body[256], location[64], request_id[64], error[64];
};

static void see(void *arg, const struct ficus_client_answer *a)
{
    struct seen *seen = arg;
    seen->count++;
    seen->status = a->status;
    seen->retry_after_s = a->retry_after_s;
    seen->body_size = a->body_size;
    assert_int_equal(strlen(a->body), a->body_size);
    snprintf(seen->body, sizeof seen->body, "%s", a->body);
    snprintf(seen->location, sizeof seen->location, "%s", a->location == NULL ? "" : a->location);
    snprintf(seen->request_id, sizeof seen->request_id, "%s", a->request_id == NULL ? "" : a->request_id);
    snprintf(seen->error, sizeof seen->error, "%s", a->error == NULL ? "" : a->error);
    assert_true(a->duration_us >= 0);
}

/* All parts of a request arrive, and all parts of the answer come back. */
static void request_and_answer_are_whole(void **state)
{
    struct server *v = *state;
    struct ficus_client *c = ficus_client_new(v->url, 4);
    struct seen seen = {0};
    const struct ficus_client_request r = {
        .method = "POST", .path = "/echo?a=1", .body = "{\"x\":1}", .authorization = "Bearer t", .key = "k1"};
    assert_int_equal(ficus_client_send(c, &r, see, &seen), 0);
    assert_int_equal(seen.count, 0);
    ficus_client_run(c);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.status, 202);
    assert_string_equal(seen.body, "POST /echo?a=1 [k1] [Bearer t] 7");
    assert_string_equal(seen.location, "/there");
    assert_string_equal(seen.request_id, "r1");
    assert_int_equal(seen.retry_after_s, 7);
    ficus_client_free(c);
}

/* A body larger than the codec's buffer is sent whole; an answer larger than it comes back whole. */
static void large_bodies_pass_both_ways(void **state)
{
    struct server *v = *state;
    struct ficus_client *c = ficus_client_new(v->url, 1);
    char *body = mem_alloc(BIG_SIZE + 1);
    memset(body, ' ', BIG_SIZE);
    body[BIG_SIZE] = '\0';
    struct seen up = {0}, down = {0};
    assert_int_equal(
        ficus_client_send(c, &(struct ficus_client_request){.method = "PUT", .path = "/echo", .body = body}, see, &up),
        0);
    mem_free(body);
    ficus_client_run(c);
    assert_string_equal(up.body, "PUT /echo? [] [] 307200");
    struct ficus_client_request get = {.method = "GET", .path = "/echo"};
    assert_int_equal(ficus_client_send(c, &get, see, &down), 0);
    ficus_client_run(c);
    assert_string_equal(down.body, "GET /echo? [] [] 0");
    ficus_client_free(c);
}

static void count_big(void *arg, const struct ficus_client_answer *a)
{
    *(size_t *)arg += a->body_size;
}

/* A chunked answer of many buffers is collected whole, on each of several connections. */
static void chunked_answers_are_collected(void **state)
{
    struct server *v = *state;
    struct ficus_client *c = ficus_client_new(v->url, 3);
    size_t size = 0;
    for (int i = 0; i < 10; i++)
        assert_int_equal(
            ficus_client_send(c, &(struct ficus_client_request){.method = "GET", .path = "/big"}, count_big, &size), 0);
    ficus_client_run(c);
    assert_int_equal(size, 10 * BIG_SIZE);
    ficus_client_free(c);
}

/* More requests than connections all get their answer, and the run ends by itself. */
static void many_requests_share_few_connections(void **state)
{
    struct server *v = *state;
    struct ficus_client *c = ficus_client_new(v->url, 4);
    struct seen seen = {0};
    for (int i = 0; i < 500; i++)
        assert_int_equal(
            ficus_client_send(c, &(struct ficus_client_request){.method = "GET", .path = "/echo"}, see, &seen), 0);
    ficus_client_run(c);
    assert_int_equal(seen.count, 500);
    ficus_client_free(c);
}

/* Silence, a lost connection and a refused one are answers with status 0 and a reason; the client works on afterwards.
 */
static void failures_are_answers_without_status(void **state)
{
    struct server *v = *state;
    struct ficus_client *c = ficus_client_new(v->url, 2);
    struct seen silent = {0}, lost = {0}, fine = {0}, refused = {0};
    assert_int_equal(
        ficus_client_send(c, &(struct ficus_client_request){.method = "GET", .path = "/silent", .timeout_ms = 50}, see,
                          &silent),
        0);
    assert_int_equal(ficus_client_send(c, &(struct ficus_client_request){.method = "GET", .path = "/lost"}, see, &lost),
                     0);
    ficus_client_run(c);
    assert_int_equal(silent.count, 1);
    assert_int_equal(silent.status, 0);
    assert_string_not_equal(silent.error, "");
    assert_int_equal(lost.count, 1);
    assert_int_equal(lost.status, 0);
    assert_string_not_equal(lost.error, "");
    assert_int_equal(ficus_client_send(c, &(struct ficus_client_request){.method = "GET", .path = "/echo"}, see, &fine),
                     0);
    ficus_client_run(c);
    assert_int_equal(fine.status, 202);
    ficus_client_free(c);

    int fd;
    char url[64];
    assert_int_equal(socket_listen("tcp:127.0.0.1:0", &fd, NULL), FICUS_ERR_OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", socket_port(fd));
    close(fd);
    c = ficus_client_new(url, 2);
    assert_int_equal(
        ficus_client_send(c, &(struct ficus_client_request){.method = "GET", .path = "/echo"}, see, &refused), 0);
    ficus_client_run(c);
    assert_int_equal(refused.count, 1);
    assert_int_equal(refused.status, 0);
    ficus_client_free(c);
}

struct told {
    struct seen seen;
    char events[256];
};

static void tell(void *arg, const struct ficus_client_event *e)
{
    struct told *t = arg;
    size_t size = strlen(t->events);
    assert_int_equal(t->seen.count, 0);
    snprintf(t->events + size, sizeof t->events - size, "%s %s %s|", e->id, e->name, e->data);
}

static void told_end(void *arg, const struct ficus_client_answer *a)
{
    see(&((struct told *)arg)->seen, a);
}

static void stream(struct ficus_client *c, const char *path, const char *last_event_id, struct told *ret_told)
{
    memset(ret_told, 0, sizeof *ret_told);
    const struct ficus_client_request r = {
        .method = "GET", .path = path, .event = tell, .last_event_id = last_event_id, .stream_ms_max = 500};
    assert_int_equal(ficus_client_send(c, &r, told_end, ret_told), 0);
    ficus_client_run(c);
    assert_int_equal(ret_told->seen.count, 1);
}

/* Events are told one by one before the end, which tells a whole stream from a broken one; the last id is passed on; an
 * event without end is not held without end, nor is a stream; other answers are collected as ever. */
static void events_are_told_as_they_come(void **state)
{
    struct server *v = *state;
    struct ficus_client *c = ficus_client_new(v->url, 1);
    struct told t;
    stream(c, "/events", NULL, &t);
    assert_string_equal(t.events, "0 message zero|8 status a\nb|");
    assert_int_equal(t.seen.status, 200);
    assert_string_equal(t.seen.body, "");
    stream(c, "/events", "6", &t);
    assert_string_equal(t.events, "7 message back|8 status a\nb|");
    stream(c, "/cut", NULL, &t);
    assert_string_equal(t.events, "1 message whole|");
    stream(c, "/endless", NULL, &t);
    assert_int_equal(t.seen.status, 0);
    assert_string_equal(t.seen.error, "an event is too large");
    stream(c, "/open", NULL, &t);
    assert_string_equal(t.events, "4 message first|");
    assert_int_equal(t.seen.status, 0);
    stream(c, "/echo", NULL, &t);
    assert_int_equal(t.seen.status, 202);
    assert_string_equal(t.seen.body, "GET /echo? [] [] 0");
    assert_string_equal(t.events, "");
    ficus_client_free(c);
}

static void note(void *arg, const struct ficus_client_event *e)
{
    struct told *t = arg;
    size_t size = strlen(t->events);
    snprintf(t->events + size, sizeof t->events - size, "%s/%s/%s|", e->id, e->name, e->data);
}

/* However the bytes are cut, the same events come out: all three ends of lines, the byte order mark, comments, unknown
 * fields, a field without a colon, an event without data, an unfinished last one. */
static void events_do_not_depend_on_pieces(void **state)
{
    static const char text[] = "\xef\xbb\xbfid: 1\r\ndata: a\r\n\r\n:comment\n\nretry: 5\ndata:b\rdata\r\rid: 3\n\n"
                               "event: x\nwhat: ever\ndata:  two blanks\n\nevent: lost\n\ndata: unfinished";
    for (size_t step = 1; step < sizeof text; step++) {
        struct told t = {0};
        struct event_reader r;
        event_reader_init(&r, note, &t);
        for (size_t i = 0; i < sizeof text - 1; i += step)
            assert_true(
                event_reader_feed(&r, slice_make(text + i, sizeof text - 1 - i < step ? sizeof text - 1 - i : step)));
        assert_string_equal(t.events, "1/message/a|1/message/b\n|3/x/ two blanks|");
        event_reader_done(&r);
    }
}

struct chain {
    struct ficus_client *client;
    int fired;
};

static void chain_timer(void *arg)
{
    struct chain *chain = arg;
    if (++chain->fired < 3)
        ficus_client_after(chain->client, 1, chain_timer, chain);
}

/* Timers set by timers keep the run going until the last one fired. */
static void timers_keep_the_run_going(void **state)
{
    struct server *v = *state;
    struct chain chain = {.client = ficus_client_new(v->url, 1)};
    ficus_client_after(chain.client, 0, chain_timer, &chain);
    ficus_client_run(chain.client);
    assert_int_equal(chain.fired, 3);
    assert_true(ficus_client_now_us(chain.client) > 0);
    ficus_client_free(chain.client);
}

static void stop_it(void *arg)
{
    ficus_client_stop(arg);
}

/* A stop leaves what runs as it is; freeing the client then ends it without a callback. */
static void stop_and_free_end_everything(void **state)
{
    struct server *v = *state;
    struct ficus_client *c = ficus_client_new(v->url, 2);
    struct seen seen = {0};
    for (int i = 0; i < 5; i++)
        assert_int_equal(
            ficus_client_send(c, &(struct ficus_client_request){.method = "GET", .path = "/silent"}, see, &seen), 0);
    ficus_client_after(c, 20, stop_it, c);
    ficus_client_after(c, 60000, stop_it, c);
    ficus_client_run(c);
    assert_int_equal(seen.count, 0);
    ficus_client_free(c);
    assert_int_equal(seen.count, 0);
}

/* Only http and https URLs are taken, with a host that has an address (example.invalid has none: RFC 6761). */
static void urls_are_checked(void **state)
{
    static const char *const bad[] = {"ftp://127.0.0.1",       "http://",
                                      "http://example.invalid", "http://127.0.0.1:99999",
                                      "http://127.0.0.1:80/x", "127.0.0.1:80"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_null(ficus_client_new(bad[i], 1));
    struct ficus_client *c = ficus_client_new("http://localhost:80", 1);
    assert_non_null(c);
    ficus_client_free(c);
    c = ficus_client_new("http://[::1]:80", 1);
    assert_non_null(c);
    assert_int_equal(
        ficus_client_send(c, &(struct ficus_client_request){.method = "GET", .path = "no-slash"}, see, NULL), -1);
    ficus_client_free(c);
}

/* A document gives its values, and malformed text gives none. */
static void documents_are_read(void **state)
{
    struct ficus_doc *d = ficus_doc_parse("{\"a\":\"\\u00e4\",\"n\":\"a\\u0000b\"}");
    assert_non_null(d);
    assert_string_equal(ficus_doc_str(d, ficus_json_get(ficus_doc_root(d), "a")), "\xc3\xa4");
    assert_null(ficus_doc_str(d, ficus_json_get(ficus_doc_root(d), "n")));
    assert_null(ficus_doc_str(d, NULL));
    ficus_doc_free(d);
    assert_null(ficus_doc_parse("{"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(request_and_answer_are_whole, server_start, server_stop),
        cmocka_unit_test_setup_teardown(large_bodies_pass_both_ways, server_start, server_stop),
        cmocka_unit_test_setup_teardown(chunked_answers_are_collected, server_start, server_stop),
        cmocka_unit_test_setup_teardown(many_requests_share_few_connections, server_start, server_stop),
        cmocka_unit_test_setup_teardown(failures_are_answers_without_status, server_start, server_stop),
        cmocka_unit_test_setup_teardown(events_are_told_as_they_come, server_start, server_stop),
        cmocka_unit_test(events_do_not_depend_on_pieces),
        cmocka_unit_test_setup_teardown(timers_keep_the_run_going, server_start, server_stop),
        cmocka_unit_test_setup_teardown(stop_and_free_end_everything, server_start, server_stop),
        cmocka_unit_test(urls_are_checked),
        cmocka_unit_test(documents_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
