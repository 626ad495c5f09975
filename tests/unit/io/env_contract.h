/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract of struct env (base/env.h) as tests, for every implementation: the product's on libuv and the
 * simulator's. A test file sets up a struct env_contract, puts it behind cmocka's state and runs ENV_CONTRACT_TESTS.
 */
#ifndef FICUS_TESTS_ENV_CONTRACT_H
#define FICUS_TESTS_ENV_CONTRACT_H

#include "env.h"
#include "mem.h"

#include <stdio.h>

struct env_contract {
    struct env *e;
    void (*run)(struct env *e);  /* serve events until stop */
    void (*stop)(struct env *e); /* [any] */
    const char *dir;             /* for files and unix sockets; at most 80 bytes */
};

struct env_contract_path {
    char text[256];
};

static inline struct env_contract_path contract_path(const struct env_contract *c, const char *prefix, const char *name)
{
    struct env_contract_path path;
    snprintf(path.text, sizeof path.text, "%s%s/%s", prefix, c->dir, name);
    return path;
}

/* A connected pair: `client` came from env_connect, `server` from env_listen. */
struct contract_pair {
    struct env_contract *c;
    struct env_listener *listener;
    struct env_stream *client, *server;
    enum ficus_err connected;
    unsigned connects, accepts, closes;
};

static inline void contract_pair_check(struct contract_pair *p)
{
    if (p->connects == 1 && (p->accepts == 1 || p->connected != FICUS_ERR_OK))
        p->c->stop(p->c->e);
}

static inline void contract_on_accept(void *arg, struct env_stream *s)
{
    struct contract_pair *p = arg;
    p->server = s;
    p->accepts++;
    contract_pair_check(p);
}

static inline void contract_on_connect(void *arg, enum ficus_err err)
{
    struct contract_pair *p = arg;
    p->connected = err;
    p->connects++;
    contract_pair_check(p);
}

static inline void contract_on_closed(void *arg)
{
    struct contract_pair *p = arg;
    p->closes++;
    if (p->client == NULL && p->server == NULL && p->closes == 2)
        p->c->stop(p->c->e);
}

static inline void contract_pair_open(struct contract_pair *p, struct env_contract *c)
{
    *p = (struct contract_pair){.c = c, .connected = FICUS_ERR_INTERNAL};
    struct env_contract_path path = contract_path(c, "unix:", "pair.sock");
    env_file_unlink(c->e, path.text + 5);
    assert_int_equal(env_listen(c->e, path.text, contract_on_accept, p, &p->listener, NULL), FICUS_ERR_OK);
    assert_int_equal(env_connect(c->e, path.text, contract_on_connect, p, &p->client), FICUS_ERR_OK);
    assert_int_equal(p->connects, 0); /* never from inside the call */
    c->run(c->e);
    assert_int_equal(p->connected, FICUS_ERR_OK);
    assert_int_equal(p->connects, 1);
    assert_non_null(p->server);
}

static inline void contract_pair_close(struct contract_pair *p)
{
    struct env *e = p->c->e;
    if (p->client != NULL)
        env_close(e, p->client, contract_on_closed, p);
    else
        p->closes++;
    if (p->server != NULL)
        env_close(e, p->server, contract_on_closed, p);
    else
        p->closes++;
    p->client = p->server = NULL;
    if (p->closes < 2)
        p->c->run(e);
    assert_int_equal(p->closes, 2);
    env_listener_close(e, p->listener);
}

/* The result of one read or write. */
struct contract_io {
    struct env_contract *c;
    ssize_t n;
    unsigned calls;
};

static inline void contract_on_io(void *arg, ssize_t n)
{
    struct contract_io *io = arg;
    io->n = n;
    io->calls++;
    io->c->stop(io->c->e);
}

static inline void contract_never(void *arg, ssize_t n)
{
    fail_msg("a cancelled callback came with %zd", n);
}

static inline ssize_t contract_read(struct env_contract *c, struct env_stream *s, void *p, size_t size)
{
    struct contract_io io = {.c = c};
    env_read(c->e, s, p, size, contract_on_io, &io);
    assert_int_equal(io.calls, 0); /* never from inside the call */
    c->run(c->e);
    assert_int_equal(io.calls, 1);
    return io.n;
}

static inline ssize_t contract_write(struct env_contract *c, struct env_stream *s, const char *text)
{
    struct contract_io io = {.c = c};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    ssize_t n = env_write(c->e, s, &iov, 1, contract_on_io, &io);
    if (n != 0)
        return n;
    c->run(c->e);
    assert_int_equal(io.calls, 1);
    return io.n;
}

/* Let the loop turn for delay_ms of its own time: what has been cancelled has the chance to come. */
static inline void contract_stop_task(void *arg)
{
    struct env_contract *c = arg;
    c->stop(c->e);
}

static inline void contract_turn(struct env_contract *c, int64_t delay_ms)
{
    struct env_timer t = {.fn = contract_stop_task, .arg = c};
    env_timer_start(c->e, &t, delay_ms);
    c->run(c->e);
}

/* ---- streams ---- */

/* Bytes arrive in both directions, in order, and from several pieces. */
static inline void contract_test_echo(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    struct iovec iov[3] = {
        {(void *)(uintptr_t) "one ", 4}, {(void *)(uintptr_t) "two ", 4}, {(void *)(uintptr_t) "three", 5}};
    struct contract_io io = {.c = c};
    assert_int_equal(env_write(c->e, p.client, iov, 3, contract_on_io, &io), 13);
    assert_int_equal(io.calls, 0); /* written at once: no callback follows */
    char text[64];
    size_t got = 0;
    while (got < 13) {
        ssize_t n = contract_read(c, p.server, text + got, sizeof text - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_memory_equal(text, "one two three", 13);
    assert_int_equal(contract_write(c, p.server, "back"), 4);
    assert_int_equal(contract_read(c, p.client, text, 2), 2);
    assert_int_equal(contract_read(c, p.client, text + 2, 60), 2);
    assert_memory_equal(text, "back", 4);
    contract_pair_close(&p);
}

/* A read that is pending before the bytes exist gets them; the peer of a unix socket is known. */
static inline void contract_test_read_first(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    struct env_peer peer;
    env_stream_peer(c->e, p.server, &peer);
    assert_true(peer.is_unix);
    char text[8];
    struct contract_io io = {.c = c};
    env_read(c->e, p.server, text, sizeof text, contract_on_io, &io);
    contract_turn(c, 1);
    assert_int_equal(io.calls, 0);
    assert_int_equal(contract_write(c, p.client, "late"), 4);
    c->run(c->e);
    assert_int_equal(io.calls, 1);
    assert_int_equal(io.n, 4);
    contract_pair_close(&p);
}

/* Two streams may read into the same memory, the loop's scratch: each finds its bytes there when its callback comes. */
struct contract_shared {
    struct env_contract *c;
    char seen[2];
    unsigned calls;
};

static inline void contract_on_shared(void *arg, ssize_t n)
{
    struct contract_shared *x = arg;
    assert_int_equal(n, 1);
    x->seen[x->calls++] = x->c->e->scratch[0];
    if (x->calls == 2)
        x->c->stop(x->c->e);
}

static inline void contract_test_read_shared(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    struct contract_shared x = {.c = c};
    env_read(c->e, p.server, c->e->scratch, ENV_SCRATCH_SIZE, contract_on_shared, &x);
    env_read(c->e, p.client, c->e->scratch, ENV_SCRATCH_SIZE, contract_on_shared, &x);
    assert_int_equal(contract_write(c, p.client, "s"), 1);
    assert_int_equal(contract_write(c, p.server, "c"), 1);
    c->run(c->e);
    assert_int_equal(x.calls, 2);
    assert_int_equal(x.seen[0] + x.seen[1], 's' + 'c');
    contract_pair_close(&p);
}

/* env_write_now takes bytes from the first on until there is no room, leaves nothing pending, and those that it took
 * arrive, and nothing else. An env may take none. */
static inline void contract_test_write_now(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    char sent[1000], got[4096];
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (char)(i % 251);
    size_t total = 0;
    for (;;) {
        size_t at = total % sizeof sent;
        const struct iovec iov[2] = {{sent + at, sizeof sent - at}, {sent, at}};
        ssize_t n = env_write_now(c->e, p.client, iov, 2);
        assert_true(n >= 0 && n <= (ssize_t)sizeof sent);
        memset(got, 0, sizeof got);
        total += (size_t)n;
        if (n == 0)
            break;
    }
    for (size_t received = 0; received < total;) {
        ssize_t n = contract_read(c, p.server, got, sizeof got);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(got[i], sent[received++ % sizeof sent]);
    }
    assert_int_equal(contract_write(c, p.client, "e"), 1);
    assert_int_equal(contract_read(c, p.server, got, sizeof got), 1);
    assert_int_equal(got[0], 'e');
    contract_pair_close(&p);
}

/* Half close: after shutdown_write the other side reads the rest and then 0, and can still answer. */
static inline void contract_test_half_close(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    assert_int_equal(contract_write(c, p.client, "last"), 4);
    env_shutdown_write(c->e, p.client);
    char text[8];
    assert_int_equal(contract_read(c, p.server, text, sizeof text), 4);
    assert_int_equal(contract_read(c, p.server, text, sizeof text), 0);
    assert_int_equal(contract_read(c, p.server, text, sizeof text), 0);
    assert_int_equal(contract_write(c, p.server, "answer"), 6);
    assert_int_equal(contract_read(c, p.client, text, sizeof text), 6);
    contract_pair_close(&p);
}

/* Closing cancels a pending read: its callback never comes. The peer sees the end of input. */
static inline void contract_test_close_cancels_read(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    char text[8];
    env_read(c->e, p.server, text, sizeof text, contract_never, NULL);
    assert_int_equal(contract_write(c, p.client, "x"), 1);
    env_close(c->e, p.server, contract_on_closed, &p);
    p.server = NULL;
    contract_turn(c, 1);
    ssize_t n = contract_read(c, p.client, text, sizeof text);
    assert_true(n == 0 || n == -(ssize_t)FICUS_ERR_RESET); /* a byte was left unread: the kernel may say reset */
    env_close(c->e, p.client, contract_on_closed, &p);
    p.client = NULL;
    if (p.closes < 2)
        c->run(c->e);
    assert_int_equal(p.closes, 2);
    env_listener_close(c->e, p.listener);
}

struct contract_close_inside {
    struct contract_pair *p;
    unsigned reads;
};

static inline void contract_on_read_close(void *arg, ssize_t n)
{
    struct contract_close_inside *x = arg;
    x->reads++;
    struct env_stream *s = x->p->server;
    x->p->server = NULL;
    env_close(x->p->c->e, s, contract_on_closed, x->p);
    x->p->c->stop(x->p->c->e);
}

/* A stream may be closed inside its own callback. */
static inline void contract_test_close_inside(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    struct contract_close_inside x = {.p = &p};
    char text[8];
    env_read(c->e, p.server, text, sizeof text, contract_on_read_close, &x);
    assert_int_equal(contract_write(c, p.client, "x"), 1);
    c->run(c->e);
    assert_int_equal(x.reads, 1);
    env_close(c->e, p.client, contract_on_closed, &p);
    p.client = NULL;
    if (p.closes < 2)
        c->run(c->e);
    assert_int_equal(p.closes, 2);
    env_listener_close(c->e, p.listener);
}

enum { CONTRACT_BULK = 8 * 1024 * 1024 };

struct contract_bulk {
    struct env_contract *c;
    struct env_stream *from, *to;
    unsigned char *bytes, part[65536];
    size_t got;
    ssize_t written;
};

static inline void contract_bulk_on_write(void *arg, ssize_t n)
{
    struct contract_bulk *b = arg;
    b->written = n;
    env_shutdown_write(b->c->e, b->from);
}

static inline void contract_bulk_on_read(void *arg, ssize_t n)
{
    struct contract_bulk *b = arg;
    assert_true(n >= 0);
    if (n == 0) {
        b->c->stop(b->c->e);
        return;
    }
    assert_true(b->got + (size_t)n <= CONTRACT_BULK);
    assert_memory_equal(b->part, b->bytes + b->got, n);
    b->got += (size_t)n;
    env_read(b->c->e, b->to, b->part, sizeof b->part, contract_bulk_on_read, b);
}

/* A write that is larger than any buffer is pending, completes once with its total, and arrives whole; a read may be
 * started inside a read's callback. */
static inline void contract_test_bulk(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    struct contract_bulk *b = mem_zalloc(sizeof *b);
    *b = (struct contract_bulk){.c = c, .from = p.client, .to = p.server, .bytes = mem_alloc(CONTRACT_BULK)};
    env_random(c->e, b->bytes, CONTRACT_BULK);
    struct iovec iov[16];
    size_t part = CONTRACT_BULK / 16;
    for (size_t i = 0; i < 16; i++)
        iov[i] = (struct iovec){b->bytes + i * part, part};
    assert_int_equal(env_write(c->e, p.client, iov, 16, contract_bulk_on_write, b), 0);
    memset(iov, 0, sizeof iov); /* the array was copied */
    env_read(c->e, p.server, b->part, sizeof b->part, contract_bulk_on_read, b);
    c->run(c->e);
    assert_int_equal(b->written, CONTRACT_BULK);
    assert_int_equal(b->got, CONTRACT_BULK);
    contract_pair_close(&p);
    mem_free(b->bytes);
    mem_free(b);
}

/* Closing cancels a pending write. */
static inline void contract_test_close_cancels_write(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    char *bytes = mem_zalloc(CONTRACT_BULK);
    struct iovec iov = {bytes, CONTRACT_BULK};
    assert_int_equal(env_write(c->e, p.client, &iov, 1, contract_never, NULL), 0);
    contract_pair_close(&p);
    contract_turn(c, 1);
    mem_free(bytes);
}

/* Writing to a peer that has closed fails with RESET, sooner or later, and harms nothing else. */
static inline void contract_test_write_to_closed(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    env_close(c->e, p.server, contract_on_closed, &p);
    p.server = NULL;
    contract_turn(c, 1);
    ssize_t n = 1;
    for (int i = 0; i < 10 && n > 0; i++)
        n = contract_write(c, p.client, "x");
    assert_int_equal(n, -(ssize_t)FICUS_ERR_RESET);
    env_close(c->e, p.client, contract_on_closed, &p);
    p.client = NULL;
    if (p.closes < 2)
        c->run(c->e);
    env_listener_close(c->e, p.listener);
}

/* Connecting where nobody listens is reported as REFUSED, once, and the stream must still be closed. */
static inline void contract_test_refused(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p = {.c = c};
    struct env_contract_path path = contract_path(c, "unix:", "nobody.sock");
    assert_int_equal(env_connect(c->e, path.text, contract_on_connect, &p, &p.client), FICUS_ERR_OK);
    assert_int_equal(p.connects, 0);
    c->run(c->e);
    assert_int_equal(p.connects, 1);
    assert_int_equal(p.connected, FICUS_ERR_REFUSED);
    env_close(c->e, p.client, NULL, NULL);
    contract_turn(c, 1);
    assert_int_equal(p.connects, 1);
}

/* Closing before the connection stands cancels: on_connect does not fire. */
static inline void contract_test_close_cancels_connect(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p = {.c = c};
    struct env_contract_path path = contract_path(c, "unix:", "nobody.sock");
    assert_int_equal(env_connect(c->e, path.text, contract_on_connect, &p, &p.client), FICUS_ERR_OK);
    env_close(c->e, p.client, NULL, NULL);
    contract_turn(c, 1);
    assert_int_equal(p.connects, 0);
}

/* A unix path of more than 107 bytes is TOO_LARGE, and neither callback nor file comes of it; nonsense is INVALID. */
static inline void contract_test_bad_address(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p = {.c = c};
    char path[256];
    memset(path, 'x', sizeof path);
    memcpy(path, "unix:/tmp/", 10);
    path[5 + 108] = '\0';
    assert_int_equal(env_connect(c->e, path, contract_on_connect, &p, &p.client), FICUS_ERR_TOO_LARGE);
    assert_int_equal(env_listen(c->e, path, contract_on_accept, &p, &p.listener, NULL), FICUS_ERR_TOO_LARGE);
    assert_int_equal(env_connect(c->e, "localhost:80", contract_on_connect, &p, &p.client), FICUS_ERR_INVALID);
    contract_turn(c, 1);
    assert_int_equal(p.connects, 0);
}

/* A paused listener takes nothing; what waited is taken when it goes on. */
static inline void contract_test_pause(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p = {.c = c};
    struct env_contract_path path = contract_path(c, "unix:", "pause.sock");
    env_file_unlink(c->e, path.text + 5);
    assert_int_equal(env_listen(c->e, path.text, contract_on_accept, &p, &p.listener, NULL), FICUS_ERR_OK);
    env_listener_pause(c->e, p.listener, true);
    assert_int_equal(env_connect(c->e, path.text, contract_on_connect, &p, &p.client), FICUS_ERR_OK);
    contract_turn(c, 1);
    assert_int_equal(p.accepts, 0);
    env_listener_pause(c->e, p.listener, false);
    if (p.connects == 0 || p.accepts == 0)
        c->run(c->e);
    assert_int_equal(p.accepts, 1);
    assert_int_equal(p.connected, FICUS_ERR_OK);
    contract_pair_close(&p);
}

/* ---- timers and tasks ---- */

struct contract_trace {
    struct env_contract *c;
    char text[32];
    unsigned wanted; /* stop when so many have come */
};

struct contract_mark {
    struct contract_trace *trace;
    char name;
};

static inline void contract_on_mark(void *arg)
{
    struct contract_mark *m = arg;
    size_t size = strlen(m->trace->text);
    m->trace->text[size] = m->name;
    m->trace->text[size + 1] = '\0';
    if (size + 1 == m->trace->wanted)
        m->trace->c->stop(m->trace->c->e);
}

/* Timers fire in the order of their due times, equal ones in the order of arming; a stopped one never; a re-armed
 * one once, at its new time. */
static inline void contract_test_timer_order(void **state)
{
    struct env_contract *c = *state;
    struct contract_trace trace = {.c = c, .wanted = 4};
    struct contract_mark marks[5] = {{&trace, 'a'}, {&trace, 'b'}, {&trace, 'c'}, {&trace, 'd'}, {&trace, 'e'}};
    struct env_timer timers[5];
    for (size_t i = 0; i < 5; i++)
        timers[i] = (struct env_timer){.fn = contract_on_mark, .arg = &marks[i]};
    int64_t begin_ns = env_now_ns(c->e);
    env_timer_start(c->e, &timers[0], 60);
    env_timer_start(c->e, &timers[1], 20);
    env_timer_start(c->e, &timers[2], 40);
    env_timer_start(c->e, &timers[3], 1);
    env_timer_start(c->e, &timers[4], 5);
    assert_true(env_timer_armed(&timers[4]));
    env_timer_stop(c->e, &timers[4]);
    env_timer_stop(c->e, &timers[4]);
    assert_false(env_timer_armed(&timers[4]));
    env_timer_start(c->e, &timers[3], 80);
    c->run(c->e);
    assert_string_equal(trace.text, "bcad");
    assert_true(env_now_ns(c->e) - begin_ns >= 80 * 1000000); /* never early; how late is not asserted */
    assert_false(env_timer_armed(&timers[0]));
}

struct contract_rearm {
    struct env_contract *c;
    struct env_timer timer;
    unsigned count;
};

static inline void contract_on_rearm(void *arg)
{
    struct contract_rearm *r = arg;
    if (++r->count < 3)
        env_timer_start(r->c->e, &r->timer, 0);
    else
        r->c->stop(r->c->e);
}

/* A timer may arm itself again in its own callback, also with 0. */
static inline void contract_test_timer_rearm(void **state)
{
    struct env_contract *c = *state;
    struct contract_rearm r = {.c = c};
    r.timer = (struct env_timer){.fn = contract_on_rearm, .arg = &r};
    env_timer_start(c->e, &r.timer, 0);
    assert_int_equal(r.count, 0);
    c->run(c->e);
    assert_int_equal(r.count, 3);
}

/* Tasks run in the order of posting, never inside env_post; posting a queued one again changes nothing; it may be
 * posted anew once it ran. */
static inline void contract_test_post(void **state)
{
    struct env_contract *c = *state;
    struct contract_trace trace = {.c = c, .wanted = 3};
    struct contract_mark marks[3] = {{&trace, 'a'}, {&trace, 'b'}, {&trace, 'c'}};
    struct env_task tasks[3] = {{.fn = contract_on_mark, .arg = &marks[0]},
                                {.fn = contract_on_mark, .arg = &marks[1]},
                                {.fn = contract_on_mark, .arg = &marks[2]}};
    for (size_t i = 0; i < 3; i++)
        env_post(c->e, &tasks[i]);
    env_post(c->e, &tasks[0]);
    assert_string_equal(trace.text, "");
    c->run(c->e);
    assert_string_equal(trace.text, "abc");
    trace.wanted = 4;
    env_post(c->e, &tasks[0]);
    c->run(c->e);
    assert_string_equal(trace.text, "abca");
}

/* ---- workers ---- */

struct contract_worker {
    struct env_contract *c;
    struct env_job job;
    struct env_task task;
    struct env_waiter waiter;
    struct contract_trace *trace;
    char name;
    bool worked;
};

static inline void contract_work_mark(void *arg)
{
    struct contract_worker *w = arg;
    w->worked = true;
}

static inline void contract_done_mark(void *arg)
{
    struct contract_worker *w = arg;
    assert_true(w->worked);
    struct contract_mark m = {w->trace, w->name};
    contract_on_mark(&m);
}

/* A job works on a worker and is done on the loop, never inside env_run. */
static inline void contract_test_run(void **state)
{
    struct env_contract *c = *state;
    struct contract_trace trace = {.c = c, .wanted = 8};
    struct contract_worker workers[8];
    for (size_t i = 0; i < 8; i++) {
        workers[i] = (struct contract_worker){.c = c, .trace = &trace, .name = 'x'};
        workers[i].job = (struct env_job){.work = contract_work_mark, .done = contract_done_mark, .arg = &workers[i]};
        assert_int_equal(env_run(c->e, &workers[i].job), FICUS_ERR_OK);
    }
    assert_string_equal(trace.text, "");
    c->run(c->e);
    assert_string_equal(trace.text, "xxxxxxxx");
}

static inline void contract_wake_task(void *arg)
{
    struct contract_worker *w = arg;
    env_wake(w->c->e, &w->waiter);
}

static inline void contract_work_wait(void *arg)
{
    struct contract_worker *w = arg;
    env_post(w->c->e, &w->task); /* the loop wakes us, before or after we wait */
    env_wait(w->c->e, &w->waiter);
    env_wake(w->c->e, &w->waiter); /* woken before the wait: it returns at once */
    env_wait(w->c->e, &w->waiter);
    w->worked = true;
}

/* A worker posts to the loop and waits for it; a wake before the wait counts, and each wait consumes one. */
static inline void contract_test_wait(void **state)
{
    struct env_contract *c = *state;
    struct contract_trace trace = {.c = c, .wanted = 3};
    struct contract_worker workers[3];
    for (size_t i = 0; i < 3; i++) {
        workers[i] = (struct contract_worker){.c = c, .trace = &trace, .name = 'w'};
        workers[i].job = (struct env_job){.work = contract_work_wait, .done = contract_done_mark, .arg = &workers[i]};
        workers[i].task = (struct env_task){.fn = contract_wake_task, .arg = &workers[i]};
        assert_int_equal(env_run(c->e, &workers[i].job), FICUS_ERR_OK);
    }
    c->run(c->e);
    assert_string_equal(trace.text, "www");
    for (size_t i = 0; i < 3; i++)
        assert_false(workers[i].waiter.woken);
}

/* ---- files ---- */

/* What is written is read back, also behind a hole; reads are short only at the end; size and truncate agree. */
static inline void contract_test_file(void **state)
{
    struct env_contract *c = *state;
    struct env_contract_path path = contract_path(c, "", "file");
    struct env_file *f = NULL;
    int64_t size = -1;
    char text[32];
    env_file_unlink(c->e, path.text);
    assert_int_equal(env_file_open(c->e, path.text, 0, &f, NULL), FICUS_ERR_NOT_FOUND);
    assert_int_equal(env_file_open(c->e, path.text, ENV_OPEN_CREATE | ENV_OPEN_EXCLUSIVE, &f, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_write(c->e, f, "hello", 5, 0), FICUS_ERR_OK);
    assert_int_equal(env_file_write(c->e, f, "world", 5, 10), FICUS_ERR_OK);
    assert_int_equal(env_file_sync(c->e, f), FICUS_ERR_OK);
    assert_int_equal(env_file_size(c->e, f, &size), FICUS_ERR_OK);
    assert_int_equal(size, 15);
    assert_int_equal(env_file_read(c->e, f, text, sizeof text, 0), 15);
    assert_memory_equal(text, "hello\0\0\0\0\0world", 15);
    assert_int_equal(env_file_read(c->e, f, text, 5, 10), 5);
    assert_int_equal(env_file_read(c->e, f, text, 5, 15), 0);
    assert_int_equal(env_file_truncate(c->e, f, 3), FICUS_ERR_OK);
    assert_int_equal(env_file_read(c->e, f, text, sizeof text, 0), 3);
    env_file_close(c->e, f);
    assert_int_equal(env_file_open(c->e, path.text, ENV_OPEN_CREATE | ENV_OPEN_EXCLUSIVE, &f, NULL), FICUS_ERR_EXISTS);
    assert_int_equal(env_file_open(c->e, path.text, ENV_OPEN_READ_ONLY, &f, NULL), FICUS_ERR_OK);
    assert_int_not_equal(env_file_write(c->e, f, "x", 1, 0), FICUS_ERR_OK);
    env_file_close(c->e, f);
}

/* Rename replaces, unlink removes, exists tells, and the folder can be made durable. */
static inline void contract_test_file_names(void **state)
{
    struct env_contract *c = *state;
    struct env_contract_path from = contract_path(c, "", "from"), to = contract_path(c, "", "to");
    struct env_file *f = NULL;
    bool exists = false;
    assert_int_equal(env_file_open(c->e, from.text, ENV_OPEN_CREATE, &f, NULL), FICUS_ERR_OK);
    env_file_close(c->e, f);
    assert_int_equal(env_file_rename(c->e, from.text, to.text), FICUS_ERR_OK);
    assert_int_equal(env_dir_sync(c->e, to.text), FICUS_ERR_OK);
    assert_int_equal(env_file_exists(c->e, from.text, &exists), FICUS_ERR_OK);
    assert_false(exists);
    assert_int_equal(env_file_exists(c->e, to.text, &exists), FICUS_ERR_OK);
    assert_true(exists);
    assert_int_equal(env_file_unlink(c->e, to.text), FICUS_ERR_OK);
    assert_int_equal(env_file_unlink(c->e, to.text), FICUS_ERR_NOT_FOUND);
    assert_int_equal(env_file_rename(c->e, from.text, to.text), FICUS_ERR_NOT_FOUND);
}

/* An open file knows whether a path still names it: not when it was moved away or replaced, again when it is back. */
static inline void contract_test_file_in_place(void **state)
{
    struct env_contract *c = *state;
    struct env_contract_path path = contract_path(c, "", "placed"), away = contract_path(c, "", "away");
    struct env_file *f = NULL, *other = NULL;
    bool in_place = false;
    assert_int_equal(env_file_open(c->e, path.text, ENV_OPEN_CREATE, &f, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_in_place(c->e, f, path.text, &in_place), FICUS_ERR_OK);
    assert_true(in_place);
    assert_int_equal(env_file_rename(c->e, path.text, away.text), FICUS_ERR_OK);
    assert_int_equal(env_file_in_place(c->e, f, path.text, &in_place), FICUS_ERR_OK);
    assert_false(in_place);
    assert_int_equal(env_file_open(c->e, path.text, ENV_OPEN_CREATE, &other, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_in_place(c->e, f, path.text, &in_place), FICUS_ERR_OK);
    assert_false(in_place);
    env_file_close(c->e, other);
    assert_int_equal(env_file_rename(c->e, away.text, path.text), FICUS_ERR_OK);
    assert_int_equal(env_file_in_place(c->e, f, path.text, &in_place), FICUS_ERR_OK);
    assert_true(in_place);
    assert_int_equal(env_file_unlink(c->e, path.text), FICUS_ERR_OK);
    assert_int_equal(env_file_in_place(c->e, f, path.text, &in_place), FICUS_ERR_OK);
    assert_false(in_place);
    env_file_close(c->e, f);
}

/* The clock does not go back, and random bytes differ. */
static inline void contract_test_clock_random(void **state)
{
    struct env_contract *c = *state;
    int64_t before_ns = env_now_ns(c->e);
    contract_turn(c, 2);
    assert_true(env_now_ns(c->e) - before_ns >= 2 * 1000000);
    assert_true(env_wall_ms(c->e) > 1600000000000);
    uint64_t a = env_random_u64(c->e), b = env_random_u64(c->e);
    assert_true(a != b);
}

#define ENV_CONTRACT_TESTS                                                                                    \
    cmocka_unit_test(contract_test_echo), cmocka_unit_test(contract_test_read_first),                         \
        cmocka_unit_test(contract_test_half_close), cmocka_unit_test(contract_test_close_cancels_read),       \
        cmocka_unit_test(contract_test_close_inside), cmocka_unit_test(contract_test_bulk),                   \
        cmocka_unit_test(contract_test_close_cancels_write), cmocka_unit_test(contract_test_write_to_closed), \
        cmocka_unit_test(contract_test_refused), cmocka_unit_test(contract_test_close_cancels_connect),       \
        cmocka_unit_test(contract_test_bad_address), cmocka_unit_test(contract_test_pause),                   \
        cmocka_unit_test(contract_test_timer_order), cmocka_unit_test(contract_test_timer_rearm),             \
        cmocka_unit_test(contract_test_post), cmocka_unit_test(contract_test_run),                            \
        cmocka_unit_test(contract_test_wait), cmocka_unit_test(contract_test_file),                           \
        cmocka_unit_test(contract_test_file_names), cmocka_unit_test(contract_test_file_in_place),            \
        cmocka_unit_test(contract_test_clock_random), cmocka_unit_test(contract_test_read_shared),            \
        cmocka_unit_test(contract_test_write_now)

#endif
