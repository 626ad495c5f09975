/* SPDX-License-Identifier: Apache-2.0
 *
 * What belongs to the process gives the same figure with one loop and with two: breaker, budget, bulkhead, adaptive
 * limit, ejected addresses. Each loop is a thread with an env and an engine of its own; the callee is a loop more, which
 * holds all requests until it is told what to do with them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_private.h"
#include "http_server.h"
#include "io_env.h"
#include "mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOOPS_MAX = 2, ADDRESSES = 2, HELD_MAX = 64 };

struct world;

/* One address of the callee. */
struct instance {
    struct world *w;
    struct http_server *server;
    char address[96];
    struct http_stream *held[HELD_MAX];
    size_t held_count;          /* callee's loop only */
    bool fails;                 /* the connections of what was held break */
};

struct loop {
    struct world *w;
    struct env *e;
    struct call_engine *g;
    pthread_t thread;
    struct env_task begin, end;
    size_t begin_count;         /* written before the task is posted */
};

struct world {
    char dir[64];
    struct system_key *key;
    struct env *e;              /* the callee's */
    pthread_t thread;
    struct instance instances[ADDRESSES];
    struct env_task release, end;
    bool holds;
    size_t closing;
    struct call_shared *shared;
    struct loop loops[LOOPS_MAX];
    size_t loop_count, address_count;
    const struct call_policy *policy;
    pthread_mutex_t mutex;      /* guards what follows */
    pthread_cond_t changed;
    size_t started, held, running, running_most, answered, ok, busy, unavailable, broken;
};

/* ---- the callee ---- */

static void count(struct world *w, size_t *which)
{
    pthread_mutex_lock(&w->mutex);
    (*which)++;
    w->running_most = w->running > w->running_most ? w->running : w->running_most;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static void running_less(struct world *w)
{
    pthread_mutex_lock(&w->mutex);
    w->running--;
    pthread_mutex_unlock(&w->mutex);
}

static void stream_done(void *arg, struct http_stream *s)
{
}

static void stream_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
}

static void stream_end(struct instance *v, struct http_stream *s)
{
    running_less(v->w);
    if (v->fails)
        http_reset(s, FICUS_ERR_CANCELLED);
    else
        (void)http_respond(s, 200, NULL, 0, "text/plain", SLICE("here"));
}

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    static const struct http_handler handler = {.on_done = stream_done, .on_reset = stream_reset};
    struct instance *v = arg;
    http_stream_handle(s, &handler, v);
    count(v->w, &v->w->running);
    if (!v->w->holds) {
        stream_end(v, s);
        return;
    }
    assert_true(v->held_count < HELD_MAX);
    v->held[v->held_count++] = s;
    count(v->w, &v->w->held);
}

static void on_release(void *arg)
{
    struct world *w = arg;
    w->holds = false;
    for (size_t i = 0; i < ADDRESSES; i++) {
        struct instance *v = &w->instances[i];
        for (size_t k = 0; k < v->held_count; k++)
            stream_end(v, v->held[k]);
        v->held_count = 0;
    }
}

static void on_server_closed(void *arg)
{
    struct world *w = arg;
    if (--w->closing == 0)
        env_uv_stop(w->e);
}

static void on_end(void *arg)
{
    struct world *w = arg;
    w->closing = ADDRESSES;
    for (size_t i = 0; i < ADDRESSES; i++)
        http_server_close(w->instances[i].server, on_server_closed, w);
}

/* An env belongs to the thread that makes it. */
static void *callee_main(void *arg)
{
    struct world *w = arg;
    w->e = env_uv_new(NULL, NULL);
    for (size_t i = 0; i < ADDRESSES; i++) {
        struct instance *v = &w->instances[i];
        const struct http_server_options o = {.on_request = on_request, .arg = v};
        assert_int_equal(http_server_new(w->e, &o, &v->server), FICUS_ERR_OK);
        assert_int_equal(http_server_listen(v->server, v->address, NULL, NULL), FICUS_ERR_OK);
    }
    count(w, &w->started);
    env_uv_run(w->e);
    return NULL;
}

/* ---- the callers ---- */

static void on_head(void *arg, struct call *c, struct http_msg *head, bool end)
{
    if (!end)
        call_recv(c);
}

static void on_data(void *arg, struct call *c, struct slice data, bool end)
{
    if (!end)
        call_recv(c);
}

static void on_done(void *arg, struct call *c)
{
    struct loop *l = arg;
    count(l->w, &l->w->ok);
}

static void on_error(void *arg, struct call *c, enum ficus_err err, bool maybe_processed, const char *detail)
{
    struct world *w = ((struct loop *)arg)->w;
    count(w, err == FICUS_ERR_BUSY ? &w->busy : err == FICUS_ERR_UNAVAILABLE ? &w->unavailable : &w->broken);
}

static void on_begin(void *arg)
{
    static const struct call_handler handler = {.on_head = on_head, .on_data = on_data, .on_done = on_done,
                                                .on_error = on_error};
    static const struct call_request request = {.callee = "orders", .method = {"GET", 3}, .path = {"/", 1}};
    struct loop *l = arg;
    struct call *c;
    for (size_t i = 0; i < l->begin_count; i++)
        assert_int_equal(call_start(l->g, &request, &handler, l, &c), FICUS_ERR_OK);
}

static void on_engine_closed(void *arg)
{
    struct loop *l = arg;
    env_uv_stop(l->e);
}

static void on_loop_end(void *arg)
{
    struct loop *l = arg;
    call_engine_close(l->g, on_engine_closed, l);
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    struct world *w = l->w;
    l->e = env_uv_new(NULL, NULL);
    const struct call_engine_options o = {.self = "tester", .key = w->key, .shared = w->shared};
    const char *addresses[ADDRESSES];
    for (size_t i = 0; i < ADDRESSES; i++)
        addresses[i] = w->instances[i].address;
    assert_int_equal(call_engine_new(l->e, &o, &l->g), FICUS_ERR_OK);
    assert_int_equal(call_engine_edge(l->g, "orders", w->policy, NULL), FICUS_ERR_OK);
    assert_int_equal(call_engine_endpoints(l->g, "orders", addresses, w->address_count), FICUS_ERR_OK);
    count(w, &w->started);
    env_uv_run(l->e);
    return NULL;
}

/* So many calls at once, spread evenly over the loops. */
static void begin(struct world *w, size_t calls)
{
    for (size_t i = 0; i < w->loop_count; i++) {
        struct loop *l = &w->loops[i];
        l->begin_count = calls / w->loop_count + (i < calls % w->loop_count);
        env_post(l->e, &l->begin);
    }
}

static void wait_for(struct world *w, const size_t *which, size_t least)
{
    pthread_mutex_lock(&w->mutex);
    while (*which < least)
        pthread_cond_wait(&w->changed, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
}

static void release(struct world *w)
{
    env_post(w->e, &w->release);
}

static struct call_policy policy(void)
{
    struct call_policy p = call_policy_default();
    p.retry.attempts = 1;
    p.timeout_ms = 60000;
    p.breaker.enabled = false;
    p.eject.failures = 0;
    return p;
}

static void world_start(struct world *w, size_t loop_count, const struct call_policy *p, size_t address_count)
{
    *w = (struct world){.loop_count = loop_count, .policy = p, .address_count = address_count, .holds = true};
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/ficus-loops-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(system_key_from_hex(SLICE("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"), &w->key,
                                         NULL), FICUS_ERR_OK);
    w->shared = call_shared_new();
    w->release = (struct env_task){.fn = on_release, .arg = w};
    w->end = (struct env_task){.fn = on_end, .arg = w};
    for (size_t i = 0; i < ADDRESSES; i++) {
        w->instances[i].w = w;
        (void)snprintf(w->instances[i].address, sizeof w->instances[i].address, "unix:%s/%zu.sock", w->dir, i);
    }
    assert_int_equal(pthread_create(&w->thread, NULL, callee_main, w), 0);
    for (size_t i = 0; i < loop_count; i++) {
        struct loop *l = &w->loops[i];
        *l = (struct loop){.w = w, .begin = {.fn = on_begin, .arg = l}, .end = {.fn = on_loop_end, .arg = l}};
        assert_int_equal(pthread_create(&l->thread, NULL, loop_main, l), 0);
    }
    wait_for(w, &w->started, loop_count + 1);
}

static void world_end(struct world *w)
{
    for (size_t i = 0; i < w->loop_count; i++)
        env_post(w->loops[i].e, &w->loops[i].end);
    for (size_t i = 0; i < w->loop_count; i++) {
        pthread_join(w->loops[i].thread, NULL);
        env_uv_free(w->loops[i].e);
    }
    env_post(w->e, &w->end);
    pthread_join(w->thread, NULL);
    env_uv_free(w->e);
    call_shared_free(w->shared);
    system_key_free(w->key);
    for (size_t i = 0; i < ADDRESSES; i++)
        (void)unlink(w->instances[i].address + 5);
    assert_int_equal(rmdir(w->dir), 0);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mutex);
}

/* From outside of its loop: only what any thread may read. */
static struct call_edge *edge_of(struct world *w, size_t loop)
{
    return map_get(&w->loops[loop].g->edges, SLICE("orders"));
}

/* ---- breaker ---- */

/* The breaker opens at the tenth failure in a row, whichever loop saw it, and then no loop gets through. */
static void test_breaker(void **state)
{
    for (size_t loops = 1; loops <= LOOPS_MAX; loops++)
        for (size_t calls = 9; calls <= 10; calls++) {
            struct world w;
            struct call_policy p = policy();
            p.breaker = (struct call_policy_breaker){.enabled = true, .failures = 10, .open_ms = 600000};
            world_start(&w, loops, &p, 1);
            w.instances[0].fails = true;
            begin(&w, calls);
            wait_for(&w, &w.held, calls);
            release(&w);
            wait_for(&w, &w.broken, calls);
            bool open = call_shared_edge(w.shared, "orders", 0)->breaker.state == CALL_BREAKER_OPEN;
            assert_int_equal(open, calls == 10);
            begin(&w, 2 * loops);
            if (open)
                wait_for(&w, &w.unavailable, 2 * loops);
            else
                wait_for(&w, &w.broken, calls + 1);
            world_end(&w);
        }
}

/* ---- bulkhead ---- */

/* Of twenty calls six run, four wait, ten are refused; those that wait run when places become free, wherever they became
 * free, and never more than six at a time. */
static void test_bulkhead(void **state)
{
    for (size_t loops = 1; loops <= LOOPS_MAX; loops++)
        for (int round = 0; round < 10; round++) {
            struct world w;
            struct call_policy p = policy();
            struct call_policy_bulkhead b = {.concurrency = 6, .queue = 4, .wait_ms = 60000};
            p.bulkhead = &b;
            world_start(&w, loops, &p, 1);
            begin(&w, 20);
            wait_for(&w, &w.held, 6);
            wait_for(&w, &w.busy, 10);
            struct call_bulkhead *shared = call_shared_edge(w.shared, "orders", 0)->bulkhead;
            assert_int_equal(shared->running, 6);
            assert_int_equal(shared->waiting_count, 4);
            release(&w);
            wait_for(&w, &w.ok, 10);
            assert_int_equal(w.busy, 10);
            assert_int_equal(w.running_most, 6);
            begin(&w, 6);
            wait_for(&w, &w.ok, 16);
            assert_int_equal(shared->waiting_count, 0);
            world_end(&w);
            assert_int_equal(w.broken + w.unavailable, 0);
        }
}

/* Many calls through few places: each ends well, none is forgotten in the queue, none runs beside the places. */
static void test_bulkhead_flow(void **state)
{
    for (size_t loops = 1; loops <= LOOPS_MAX; loops++) {
        struct world w;
        struct call_policy p = policy();
        struct call_policy_bulkhead b = {.concurrency = 3, .queue = 4096, .wait_ms = 600000};
        p.bulkhead = &b;
        world_start(&w, loops, &p, 1);
        release(&w);
        begin(&w, 3000);
        wait_for(&w, &w.ok, 3000);
        assert_true(w.running_most <= 3);
        world_end(&w);
        assert_int_equal(w.broken + w.unavailable + w.busy, 0);
    }
}

/* A loop that ends while its calls wait, and while places are handed to it, leaves the places to the others. */
static void test_bulkhead_leave(void **state)
{
    for (int round = 0; round < 20; round++) {
        struct world w;
        struct call_policy p = policy();
        struct call_policy_bulkhead b = {.concurrency = 4, .queue = 100, .wait_ms = 600000};
        p.bulkhead = &b;
        world_start(&w, 2, &p, 1);
        begin(&w, 40);
        wait_for(&w, &w.held, 4);
        release(&w);
        world_end(&w);
        assert_int_equal(w.ok + w.broken + w.busy, 40);
        assert_int_equal(w.busy, 0);
    }
}

/* ---- threads that note and ask ---- */

struct worker {
    struct call_edge *edge;
    atomic_int_fast64_t *clock_ns;
    size_t count, repeats;
};

static void workers_run(struct world *w, void *(*fn)(void *arg), struct worker workers[LOOPS_MAX])
{
    pthread_t threads[LOOPS_MAX];
    for (size_t i = 0; i < w->loop_count; i++) {
        workers[i].edge = edge_of(w, i);
        assert_int_equal(pthread_create(&threads[i], NULL, fn, &workers[i]), 0);
    }
    for (size_t i = 0; i < w->loop_count; i++)
        pthread_join(threads[i], NULL);
}

static void *note_latencies(void *arg)
{
    struct worker *k = arg;
    for (size_t i = 0; i < k->count; i++)
        call_bulkhead_note(k->edge, 2000000, false, atomic_fetch_add(k->clock_ns, 5000000));
    return NULL;
}

/* The adaptive limit sees every answer: 2000 of them in ten seconds make the same 100 windows, and the same limit; but for
 * one or two that a thread that was late to note ended later. With a limit for each loop there would be half of them. */
static void test_limit(void **state)
{
    int64_t places[LOOPS_MAX + 1];
    for (size_t loops = 1; loops <= LOOPS_MAX; loops++) {
        struct world w;
        struct call_policy p = policy();
        struct call_policy_bulkhead b = {.concurrency = 1000, .queue = 4, .wait_ms = 60000, .adaptive = true};
        p.bulkhead = &b;
        world_start(&w, loops, &p, 1);
        struct call_shared_edge *shared = call_shared_edge(w.shared, "orders", 0);
        assert_int_equal(shared->bulkhead->places, CALL_LIMIT_START);
        atomic_int_fast64_t clock_ns = shared->bulkhead->limit.begun_ns;
        struct worker workers[LOOPS_MAX] = {{.clock_ns = &clock_ns, .count = 2000 / loops},
                                            {.clock_ns = &clock_ns, .count = 2000 / loops}};
        shared->bulkhead->running = 900;        /* all that is allowed is used */
        workers_run(&w, note_latencies, workers);
        places[loops] = shared->bulkhead->places;
        shared->bulkhead->running = 0;
        world_end(&w);
    }
    assert_true(places[1] > CALL_LIMIT_START);
    assert_in_range(places[2], places[1] * 95 / 100, places[1] * 105 / 100);
}

static void *ask_repeats(void *arg)
{
    struct worker *k = arg;
    for (size_t i = 0; i < k->count; i++) {
        call_edge_request(k->edge);
        k->repeats += call_edge_repeat(k->edge);
    }
    return NULL;
}

/* The budget gives no token twice and loses none: all that was there at the beginning, that requests brought, and that
 * time brought meanwhile. */
static void test_budget(void **state)
{
    for (size_t loops = 1; loops <= LOOPS_MAX; loops++) {
        struct world w;
        struct call_policy p = policy();
        world_start(&w, loops, &p, 1);
        struct worker workers[LOOPS_MAX] = {{.count = 10000 / loops}, {.count = 10000 / loops}};
        int64_t begun_ms = env_now_ms(w.e);
        workers_run(&w, ask_repeats, workers);
        int64_t passed_ms = env_now_ms(w.e) - begun_ms + 1000;  /* from the edge's beginning on */
        int64_t given = (int64_t)(workers[0].repeats + workers[1].repeats) * CALL_BUDGET_TOKEN;
        int64_t least = CALL_BUDGET_FLOOR * CALL_BUDGET_TOKEN + 10000 * CALL_BUDGET_PERCENT - CALL_BUDGET_TOKEN;
        assert_true(given > least);
        assert_true(given <= least + CALL_BUDGET_TOKEN + passed_ms / 10);
        world_end(&w);
    }
}

/* ---- ejection ---- */

/* One of two addresses is left alone after its eighth failure in a row, by all loops. */
static void test_eject(void **state)
{
    for (size_t loops = 1; loops <= LOOPS_MAX; loops++)
        for (int64_t limit = 8; limit <= 9; limit++) {
            struct world w;
            struct call_policy p = policy();
            p.balance = CALL_BALANCE_ROUND_ROBIN;
            p.eject = (struct call_policy_eject){.failures = limit, .base_ms = 600000, .max_ms = 600000,
                                                 .percent = 50};
            world_start(&w, loops, &p, 2);
            w.instances[0].fails = true;
            begin(&w, 16);              /* each loop goes round: eight of them come to the first address */
            wait_for(&w, &w.held, 16);
            release(&w);
            wait_for(&w, &w.ok, 8);
            wait_for(&w, &w.broken, 8);
            struct call_shared_edge *shared = call_shared_edge(w.shared, "orders", 0);
            struct call_shared_address *first = call_shared_address_ref(shared, w.instances[0].address);
            bool out = call_eject_out(&first->eject, env_now_ns(w.e));
            call_shared_address_unref(shared, first);
            assert_int_equal(out, limit == 8);
            begin(&w, 8);
            wait_for(&w, out ? &w.ok : &w.broken, out ? 16 : 9); /* the ninth failure may come before the others have chosen */
            world_end(&w);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_breaker),    cmocka_unit_test(test_bulkhead), cmocka_unit_test(test_bulkhead_flow),
        cmocka_unit_test(test_bulkhead_leave), cmocka_unit_test(test_limit), cmocka_unit_test(test_budget),
        cmocka_unit_test(test_eject),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
