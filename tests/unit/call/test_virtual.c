/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole engine in virtual time: what needs minutes, and what depends on how long a callee takes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call.h"
#include "crash_env.h"
#include "http_server.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>

enum { SERVERS = 2, CLIENTS = 100, WORK_MS = 20 };

/* A request that the callee works on. */
struct work {
    struct server *server;
    struct http_stream *stream;
    struct env_timer timer;
    struct list link;       /* server->queue */
    bool queued;
};

/* Works on `slots` requests at a time, each for work_ms; the others wait. */
struct server {
    struct world *w;
    struct http_server *http;
    size_t slots, busy, queued, done, most, calls, checks;
    int64_t work_ms, checked_ms;
    struct list queue;
};

struct caller {
    struct world *w;
    struct env_timer again;
};

struct world {
    struct sim_disk *disk;
    struct crash_env *ce;
    struct env *e;
    struct system_key *key;
    struct call_engine *g;
    struct server servers[SERVERS];
    struct caller callers[CLIENTS];
    bool stopping, closed;
    size_t outcomes[FICUS_ERR_COUNT], running;
    const char *hosts[SERVERS];     /* what the name leads to; [0] NULL: nowhere */
    size_t lookups;
    char detail[128];
};

static const char *const addresses[SERVERS] = {"unix:/t/a", "unix:/t/b"};

/* ---- the callee ---- */

static void work_begin(struct work *k);

static void work_end(struct work *k)
{
    struct server *v = k->server;
    env_timer_stop(v->w->e, &k->timer);
    if (k->queued) {
        list_remove(&k->link);
        v->queued--;
    } else {
        v->busy--;
    }
    mem_free(k);
    if (v->queued > 0 && v->busy < v->slots) {
        struct work *next = CONTAINER_OF(list_pop_head(&v->queue), struct work, link);
        v->queued--;
        next->queued = false;
        work_begin(next);
    }
}

static void work_stream_done(void *arg, struct http_stream *s)
{
    work_end(arg);
}

static void work_stream_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    work_end(arg);
}

static void work_due(void *arg)
{
    struct work *k = arg;
    k->server->done++;
    (void)http_respond(k->stream, 200, NULL, 0, "text/plain", SLICE("done"));
}

static void work_begin(struct work *k)
{
    k->server->busy++;
    k->timer = (struct env_timer){.fn = work_due, .arg = k};
    env_timer_start(k->server->w->e, &k->timer, k->server->work_ms);
}

static void serve(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    static const struct http_handler handler = {.on_done = work_stream_done, .on_reset = work_stream_reset};
    struct server *v = arg;
    if (slice_eq_str(s->head_in->path, "/health")) {
        v->checks++;
        v->checked_ms = env_now_ms(v->w->e);
    } else {
        v->calls++;
    }
    struct work *k = mem_zalloc(sizeof *k);
    k->server = v;
    k->stream = s;
    http_stream_handle(s, &handler, k);
    if (v->busy < v->slots) {
        work_begin(k);
    } else {
        k->queued = true;
        v->queued++;
        list_add_tail(&v->queue, &k->link);
    }
    v->most = v->busy + v->queued > v->most ? v->busy + v->queued : v->most;
}

/* ---- the world ---- */

static int set_up(void **state)
{
    struct world *w = mem_zalloc(sizeof *w);
    char key[SYSTEM_KEY_SIZE];
    memset(key, 7, sizeof key);
    w->disk = sim_disk_new();
    w->ce = crash_env_new(w->disk, 1);
    w->e = crash_env(w->ce);
    assert_int_equal(system_key_from_bytes(slice_make(key, sizeof key), &w->key, NULL), FICUS_ERR_OK);
    for (size_t i = 0; i < SERVERS; i++) {
        struct server *v = &w->servers[i];
        *v = (struct server){.w = w, .slots = 10, .work_ms = WORK_MS};
        list_init(&v->queue);
        struct http_server_options o = {.on_request = serve, .arg = v};
        o.limits.conn_count_max = 1024;
        assert_int_equal(http_server_new(w->e, &o, &v->http), FICUS_ERR_OK);
        assert_int_equal(http_server_listen(v->http, addresses[i], NULL, NULL), FICUS_ERR_OK);
    }
    const struct call_engine_options o = {.self = "tester", .key = w->key};
    assert_int_equal(call_engine_new(w->e, &o, &w->g), FICUS_ERR_OK);
    *state = w;
    return 0;
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    bool closed[SERVERS] = {false};
    w->stopping = true;
    for (size_t i = 0; i < CLIENTS; i++)
        env_timer_stop(w->e, &w->callers[i].again);
    call_engine_close(w->g, set_true, &w->closed);
    crash_env_run_ms(w->ce, 1000);
    assert_true(w->closed);
    assert_int_equal(w->running, 0);
    for (size_t i = 0; i < SERVERS; i++)
        http_server_close(w->servers[i].http, set_true, &closed[i]);
    crash_env_run_ms(w->ce, 1000);
    assert_true(closed[0] && closed[1]);
    system_key_free(w->key);
    crash_env_free(w->ce);
    sim_disk_free(w->disk);
    mem_free(w);
    return 0;
}

static void declare(struct world *w, const struct call_policy *p, size_t count)
{
    assert_int_equal(call_engine_edge(w->g, "orders", p, NULL), FICUS_ERR_OK);
    assert_int_equal(call_engine_endpoints(w->g, "orders", addresses, count), FICUS_ERR_OK);
}

/* ---- callers ---- */

static void call_again(void *arg);

static void called(void *arg, const struct call_result *result)
{
    struct caller *c = arg;
    c->w->running--;
    c->w->outcomes[result->err]++;
    snprintf(c->w->detail, sizeof c->w->detail, "%s", result->detail == NULL ? "" : result->detail);
    c->again = (struct env_timer){.fn = call_again, .arg = c};
    if (!c->w->stopping)
        env_timer_start(c->w->e, &c->again, result->err == FICUS_ERR_OK ? 0 : 5);
}

static void call_again(void *arg)
{
    struct caller *c = arg;
    const struct call_request r = {.callee = "orders", .method = SLICE("GET"), .path = SLICE("/")};
    c->w->running++;
    assert_int_equal(call_fetch(c->w->g, &r, 4096, called, c, NULL), FICUS_ERR_OK);
}

static void callers_start(struct world *w, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        w->callers[i].w = w;
        call_again(&w->callers[i]);
    }
}

/* ---- tests ---- */

/* Checks run while calls come and for a minute after the last one; then the process sleeps, until the next call. */
static void test_checks_sleep(void **state)
{
    struct world *w = *state;
    struct call_policy p = call_policy_default();
    struct call_policy_check check = {.path = "/health", .every_ms = 2000, .timeout_ms = 500, .unhealthy = 2,
                                      .healthy = 2};
    p.check = &check;
    declare(w, &p, 2);
    crash_env_run_ms(w->ce, 600000);
    assert_int_equal(w->servers[0].checks + w->servers[1].checks, 0);
    for (size_t round = 1; round <= 2; round++) {
        int64_t began_ms = env_now_ms(w->e);
        w->stopping = true;
        callers_start(w, 1);
        crash_env_run_ms(w->ce, 600000);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(w->servers[i].checks, round * 31);
            assert_in_range(w->servers[i].checked_ms - began_ms, 58000, 61000);
        }
    }
}

/* An address whose checks take longer than their timeout is out, though it answers in the end. */
static void test_check_timeout(void **state)
{
    struct world *w = *state;
    struct call_policy p = call_policy_default();
    struct call_policy_check check = {.path = "/health", .every_ms = 1000, .timeout_ms = 500, .unhealthy = 2,
                                      .healthy = 2};
    p.check = &check;
    p.balance = CALL_BALANCE_ROUND_ROBIN;
    declare(w, &p, 2);
    w->servers[0].work_ms = 600;
    callers_start(w, 1);
    crash_env_run_ms(w->ce, 5000);
    size_t before = w->servers[0].calls;
    crash_env_run_ms(w->ce, 5000);
    assert_int_equal(w->servers[0].calls, before);
    assert_int_equal(w->servers[0].checks, 10);
    w->servers[0].work_ms = 10;
    crash_env_run_ms(w->ce, 5000);
    assert_true(w->servers[0].calls > before + 10);
}

/* A hundred callers without pause at a callee that works on ten requests at a time: the adaptive bulkhead keeps its queue
 * short, what it does is not less than nine tenths of what it can do, and the surplus hears BUSY. Without it all hundred
 * lie in the callee's queue. */
static void test_adaptive(void **state)
{
    struct world *w = *state;
    struct call_policy_bulkhead b = {.concurrency = 200, .queue = 10, .wait_ms = 50, .adaptive = true};
    struct call_policy p = call_policy_default();
    p.retry.attempts = 1;
    p.timeout_ms = 60000;
    declare(w, &p, 1);
    callers_start(w, CLIENTS);
    crash_env_run_ms(w->ce, 5000);
    assert_int_equal(w->servers[0].most, CLIENTS);
    p.bulkhead = &b;
    declare(w, &p, 1);
    crash_env_run_ms(w->ce, 20000);
    w->servers[0].most = 0;
    size_t before = w->servers[0].done;
    crash_env_run_ms(w->ce, 60000);
    size_t done = w->servers[0].done - before;
    print_message("done %zu of 30000, most at a time %zu, refused %zu\n", done, w->servers[0].most,
                  w->outcomes[FICUS_ERR_BUSY]);
    assert_true(done > 27000);
    assert_in_range(w->servers[0].most, 10, 30);
    assert_true(w->outcomes[FICUS_ERR_BUSY] > 1000);
    assert_int_equal(w->outcomes[FICUS_ERR_TIMEOUT], 0);
}

/* Two addresses, one ten times slower: least_request does more than round_robin, which waits for the slow one. */
static void test_balance_matters(void **state)
{
    struct world *w = *state;
    size_t done[2];
    w->servers[1].work_ms = 10 * WORK_MS;
    for (int way = 0; way < 2; way++) {
        struct call_policy p = call_policy_default();
        p.balance = way == 0 ? CALL_BALANCE_ROUND_ROBIN : CALL_BALANCE_LEAST_REQUEST;
        p.timeout_ms = 60000;
        declare(w, &p, 2);
        size_t before = w->servers[0].done + w->servers[1].done;
        w->stopping = false;
        callers_start(w, 10);
        crash_env_run_ms(w->ce, 20000);
        done[way] = w->servers[0].done + w->servers[1].done - before;
        w->stopping = true;
        crash_env_run_ms(w->ce, 5000);
        assert_int_equal(w->running, 0);
    }
    print_message("round_robin %zu, least_request %zu\n", done[0], done[1]);
    assert_true(done[1] > 3 * done[0]);
}

/* Every second one of the addresses takes two seconds instead of its 20 ms, for a tenth of a second: with hedges after
 * the ninetieth percentile the callers get more than twice as much done as without, at a fifth more attempts at most. */
static void test_hedges_cut_the_tail(void **state)
{
    struct world *w = *state;
    struct call_policy_hedge h = {.after.percentile = 90};
    size_t done[2], attempts[2];
    for (int way = 0; way < 2; way++) {
        struct call_policy p = call_policy_default();
        p.timeout_ms = 60000;
        p.balance = CALL_BALANCE_ROUND_ROBIN;
        p.hedge = way == 0 ? NULL : &h;
        declare(w, &p, 2);
        w->stopping = false;
        callers_start(w, 4);
        crash_env_run_ms(w->ce, 5000);
        size_t before = w->outcomes[FICUS_ERR_OK], calls = w->servers[0].calls + w->servers[1].calls;
        for (int i = 0; i < 30; i++) {
            w->servers[i % 2].work_ms = 2000;
            crash_env_run_ms(w->ce, 100);
            w->servers[i % 2].work_ms = WORK_MS;
            crash_env_run_ms(w->ce, 900);
        }
        done[way] = w->outcomes[FICUS_ERR_OK] - before;
        attempts[way] = w->servers[0].calls + w->servers[1].calls - calls;
        w->stopping = true;
        crash_env_run_ms(w->ce, 10000);
        assert_int_equal(w->running, 0);
    }
    print_message("answers %zu and with hedges %zu (%zu attempts)\n", done[0], done[1], attempts[1]);
    assert_true(done[1] > 2 * done[0]);
    assert_true(attempts[1] < done[1] + done[1] / 5 + 50);
}

/* ---- names ---- */

static enum ficus_err look_up(void *arg, const char *host, struct env_hosts *ret_hosts)
{
    struct world *w = arg;
    w->lookups++;
    if (strcmp(host, "old.example") == 0) { /* where nobody is */
        snprintf(ret_hosts->host[ret_hosts->count++], sizeof ret_hosts->host[0], "10.0.0.9");
        return FICUS_ERR_OK;
    }
    assert_string_equal(host, "orders.example");
    for (size_t i = 0; i < SERVERS && w->hosts[i] != NULL; i++)
        snprintf(ret_hosts->host[ret_hosts->count++], sizeof ret_hosts->host[0], "%s", w->hosts[i]);
    return ret_hosts->count > 0 ? FICUS_ERR_OK : FICUS_ERR_UNAVAILABLE;
}

static void lead(struct world *w, const char *url)
{
    struct call_policy p = call_policy_default();
    p.balance = CALL_BALANCE_ROUND_ROBIN;
    struct call_upstream u = {.url = url, .protocol = CALL_PROTOCOL_HTTP1};
    p.upstream = url == NULL ? NULL : &u;
    assert_int_equal(call_engine_edge(w->g, "orders", &p, NULL), FICUS_ERR_OK);
}

static void call_once(struct world *w)
{
    w->stopping = true;
    callers_start(w, 1);
}

/* The servers on TCP as well, with the addresses that the resolver knows. */
static void on_tcp(struct world *w)
{
    assert_int_equal(http_server_listen(w->servers[0].http, "tcp:10.0.0.1:8080", NULL, NULL), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(w->servers[1].http, "tcp:[fd00::2]:8080", NULL, NULL), FICUS_ERR_OK);
    sim_set_resolver(crash_env_world(w->ce), &(struct sim_resolver){look_up, w, 200});
}

/* Calls wait for the first answer; all of a name's addresses are used; every 30 s it is looked up again, and who is gone gets no more
 * calls; while it is not found, what was known stays. */
static void test_name(void **state)
{
    struct world *w = *state;
    on_tcp(w);
    w->hosts[0] = "10.0.0.1";
    lead(w, "http://orders.example:8080");
    call_once(w);
    crash_env_run_ms(w->ce, 100);
    assert_int_equal(w->running, 1);
    crash_env_run_ms(w->ce, 200);
    assert_int_equal(w->outcomes[FICUS_ERR_OK], 1);
    w->hosts[1] = "fd00::2";
    crash_env_run_ms(w->ce, 29000);
    assert_int_equal(w->lookups, 1);
    crash_env_run_ms(w->ce, 2000);
    assert_int_equal(w->lookups, 2);
    for (int i = 0; i < 10; i++) {
        call_once(w);
        crash_env_run_ms(w->ce, 100);
    }
    assert_int_equal(w->servers[0].calls, 6);
    assert_int_equal(w->servers[1].calls, 5);
    w->hosts[0] = NULL;
    crash_env_run_ms(w->ce, 60000);
    assert_true(w->lookups > 4);
    call_once(w);
    crash_env_run_ms(w->ce, 100);
    assert_int_equal(w->outcomes[FICUS_ERR_OK], 12);
    size_t first = w->servers[0].calls;
    w->hosts[0] = "fd00::2";
    crash_env_run_ms(w->ce, 31000);
    for (int i = 0; i < 10; i++) {
        call_once(w);
        crash_env_run_ms(w->ce, 100);
    }
    assert_int_equal(w->servers[0].calls, first);
    assert_int_equal(w->outcomes[FICUS_ERR_OK], 22);
    size_t lookups = w->lookups;
    lead(w, NULL);      /* nobody asks any more */
    crash_env_run_ms(w->ce, 120000);
    assert_int_equal(w->lookups, lookups);
}

/* A name that was never found fails calls at once and says why, until it is found: looked up after 1 s, 2 s, 4 s, ... */
static void test_no_name(void **state)
{
    struct world *w = *state;
    on_tcp(w);
    lead(w, "http://orders.example:8080");
    call_once(w);
    crash_env_run_ms(w->ce, 250);
    assert_int_equal(w->outcomes[FICUS_ERR_UNAVAILABLE], 1);
    assert_string_equal(w->detail, "DNS: no such name");
    call_once(w);
    crash_env_run_ms(w->ce, 1);
    assert_int_equal(w->outcomes[FICUS_ERR_UNAVAILABLE], 2);
    crash_env_run_ms(w->ce, 120000);
    assert_in_range(w->lookups, 7, 9);
    w->hosts[0] = "10.0.0.1";
    crash_env_run_ms(w->ce, 31000);
    call_once(w);
    crash_env_run_ms(w->ce, 100);
    assert_int_equal(w->outcomes[FICUS_ERR_OK], 1);
}

/* A reload leads elsewhere while an answer is under way: it counts for nothing, and the calls that wait go where the url leads now.
 * The engine is closed with a lookup under way. */
static void test_name_changes(void **state)
{
    struct world *w = *state;
    on_tcp(w);
    w->hosts[0] = "10.0.0.9";
    lead(w, "http://orders.example:8080");
    call_once(w);
    lead(w, "http://10.0.0.1:8080");
    crash_env_run_ms(w->ce, 400);
    assert_int_equal(w->outcomes[FICUS_ERR_OK], 1);
    assert_int_equal(w->servers[0].calls, 1);
    lead(w, "http://old.example:8080");
    call_once(w);
    crash_env_run_ms(w->ce, 100);
    w->hosts[0] = "fd00::2";
    lead(w, "http://orders.example:8080");
    crash_env_run_ms(w->ce, 500);
    assert_int_equal(w->outcomes[FICUS_ERR_OK], 2);
    assert_int_equal(w->servers[1].calls, 1);
    lead(w, NULL);
    lead(w, "http://orders.example:8080");
    crash_env_run_ms(w->ce, 1);
}

/* A resolver that hangs holds nobody up: a reload that leads elsewhere goes through at once, and so does the end, which tear_down awaits. */
static void test_name_hangs(void **state)
{
    struct world *w = *state;
    on_tcp(w);
    sim_set_resolver(crash_env_world(w->ce), &(struct sim_resolver){look_up, w, 3600 * 1000});
    lead(w, "http://orders.example:8080");
    call_once(w);
    crash_env_run_ms(w->ce, 500);
    lead(w, "http://10.0.0.1:8080");
    crash_env_run_ms(w->ce, 400);
    assert_int_equal(w->outcomes[FICUS_ERR_OK], 1);
    lead(w, "http://old.example:8080");
    lead(w, "http://orders.example:8080");
    crash_env_run_ms(w->ce, 1);
    assert_int_equal(w->lookups, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_checks_sleep),
        TEST(test_check_timeout),
        TEST(test_adaptive),
        TEST(test_balance_matters),
        TEST(test_hedges_cut_the_tail),
        TEST(test_name),
        TEST(test_no_name),
        TEST(test_name_changes),
        TEST(test_name_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
