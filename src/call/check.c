/* SPDX-License-Identifier: Apache-2.0
 *
 * Active health checks of an edge's addresses: GET on a connection of its own for each, 2xx in time is good
 * (call_eject.h says what follows). They run while calls come: the first call after a silence begins a round, and a
 * minute after the last call the timer is not set again, so that an idle process sleeps. Of several loops the one that
 * had this first call makes the checks of all.
 *
 * Bounded: one check at a time for each address, CHECKS_MAX for each edge; with more addresses the rounds take turns.
 * Failure modes: whatever happens to a check's connection, it comes to one result and is freed when that is closed.
 */
#include "assert.h"
#include "call_private.h"
#include "mem.h"

enum { CHECKS_MAX = 64, CHECK_AWAKE_MS = 60 * 1000, CHECK_NOTE_MS = 100, CHECK_HEAD_SIZE_MAX = 16 * 1024 };

struct call_checker {
    struct call_edge *edge;
    struct env_timer round;
    bool checking;                  /* these are the process's checks: edge->shared->checking is ours */
    struct list running;            /* struct check */
    size_t running_count;
    size_t next;                    /* address that the next round begins with */
    bool closing;
};

struct check {
    struct call_checker *checker;
    struct list link;
    struct http_client_conn *http;
    struct http_stream *stream;     /* NULL: connecting, or over */
    struct env_timer deadline;
    bool over;                      /* its result is noted */
    char address[];
};

static struct env *env_of(const struct call_checker *k)
{
    return k->edge->engine->env;
}

static void check_result(struct check *v, bool good)
{
    if (v->over)
        return;
    v->over = true;
    env_timer_stop(env_of(v->checker), &v->deadline);
    pool_checked(&v->checker->edge->pool, v->address, good);
}

static void check_close(struct check *v)
{
    if (v->http != NULL)
        http_client_close(v->http);
}

/* ---- its stream ---- */

static void check_on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct check *v = arg;
    v->stream = NULL;
    check_result(v, m->status / 100 == 2);
    http_reset(s, FICUS_ERR_CANCELLED);
    check_close(v);
}

static void check_on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct check *v = arg;
    v->stream = NULL;
    check_result(v, false);
}

static const struct http_handler check_handler = {.on_head = check_on_head, .on_reset = check_on_reset};

static bool check_send(struct check *v)
{
    const struct call_edge *edge = v->checker->edge;
    struct http_msg m;
    if (edge->policy.check == NULL || http_client_open(v->http, &check_handler, v, &v->stream) != FICUS_ERR_OK)
        return false;
    http_msg_init(&m, v->stream->arena);
    m.method = SLICE("GET");
    m.authority = edge->authority;
    m.path = slice_str(edge->policy.check->path);
    m.content_length = 0;
    ptrdiff_t mark = slice_find(m.path, '?');
    if (mark >= 0) {
        m.query = slice_from(m.path, (size_t)mark + 1);
        m.path = slice_make(m.path.p, (size_t)mark);
    }
    return http_send_head(v->stream, &m, true) == FICUS_ERR_OK;
}

/* ---- its connection ---- */

static void on_connected(void *arg, struct http_client_conn *http, enum ficus_err err)
{
    struct check *v = arg;
    if (err == FICUS_ERR_NOMEM) {
        v->over = true; /* as in check_start */
        env_timer_stop(env_of(v->checker), &v->deadline);
    } else if (err != FICUS_ERR_OK) {
        check_result(v, false);
    } else if (v->over || !check_send(v)) {
        check_result(v, false);
        check_close(v);
    }
}

static void on_room(void *arg, struct http_client_conn *http)
{
    if (http_client_running(http) == 0)
        http_client_close(http);
}

static void on_closed(void *arg, struct http_client_conn *http)
{
    struct check *v = arg;
    struct call_checker *k = v->checker;
    if (!k->closing)
        check_result(v, false);
    env_timer_stop(env_of(k), &v->deadline);
    list_remove(&v->link);
    k->running_count--;
    mem_free(v);
    if (k->closing)
        call_engine_part_closed(k->edge->engine);
}

static const struct http_client_handler conn_handler = {on_connected, on_room, on_closed};

static void on_deadline(void *arg)
{
    struct check *v = arg;
    check_result(v, false);
    check_close(v);
}

static void check_start(struct call_checker *k, const char *address)
{
    static const struct http_limits limits = {.head_size_max = CHECK_HEAD_SIZE_MAX, .body_timeout_ms = -1};
    size_t size = strlen(address) + 1;
    struct check *v = mem_zalloc(sizeof *v + size);
    if (v == NULL)
        return;         /* says nothing about the address */
    v->checker = k;
    memcpy(v->address, address, size);
    v->deadline = (struct env_timer){.fn = on_deadline, .arg = v};
    const struct http_upstream upstream = {.address = address, .tls = k->edge->pool.tls, .h2 = k->edge->pool.h2};
    enum ficus_err err = http_client_connect_to(env_of(k), &upstream, &limits, &conn_handler, v, &v->http);
    if (err != FICUS_ERR_OK) {
        if (err != FICUS_ERR_NOMEM)
            check_result(v, false);
        mem_free(v);
        return;
    }
    list_add_tail(&k->running, &v->link);
    k->running_count++;
    env_timer_start(env_of(k), &v->deadline, k->edge->policy.check->timeout_ms);
}

/* ---- rounds ---- */

static void checking_end(struct call_checker *k)
{
    if (k->checking)
        k->edge->shared->checking = false;
    k->checking = false;
}

static bool is_running(const struct call_checker *k, const char *address)
{
    LIST_FOREACH(&k->running, l)
        if (strcmp(CONTAINER_OF(l, struct check, link)->address, address) == 0)
            return true;
    return false;
}

static void on_round(void *arg)
{
    struct call_checker *k = arg;
    const struct call_policy_check *p = k->edge->policy.check;
    const struct pool *pool = &k->edge->pool;
    /* A call that comes now and still finds us checking is late by one: the next one begins anew. */
    if (p == NULL || env_now_ns(env_of(k)) - k->edge->shared->called_ns > CHECK_AWAKE_MS * INT64_C(1000000)) {
        checking_end(k);
        return;
    }
    size_t count = pool->target_count, first = count == 0 ? 0 : k->next % count;
    for (size_t i = 0; i < count && k->running_count < CHECKS_MAX; i++) {
        const char *address = pool_address_text(pool, (first + i) % count);
        if (!is_running(k, address))
            check_start(k, address);
        k->next = first + i + 1;
    }
    env_timer_start(env_of(k), &k->round, p->every_ms);
}

void call_checker_poke(struct call_checker *k)
{
    struct call_shared_edge *shared = k->edge->shared;
    int64_t now_ns = env_now_ns(env_of(k));
    if (now_ns - shared->called_ns >= CHECK_NOTE_MS * INT64_C(1000000)) /* else each call would take it from the others' caches */
        shared->called_ns = now_ns;
    if (shared->checking || k->edge->policy.check == NULL || k->closing || atomic_exchange(&shared->checking, true))
        return;
    k->checking = true;
    env_timer_start(env_of(k), &k->round, 0);
}

enum ficus_err call_checker_make(struct call_edge *edge)
{
    struct call_checker *k = mem_zalloc(sizeof *k);
    if (k == NULL)
        return FICUS_ERR_NOMEM;
    k->edge = edge;
    k->round = (struct env_timer){.fn = on_round, .arg = k};
    list_init(&k->running);
    edge->checker = k;
    return FICUS_ERR_OK;
}

size_t call_checker_close(struct call_checker *k)
{
    size_t count = k->running_count;
    k->closing = true;
    checking_end(k);
    env_timer_stop(env_of(k), &k->round);
    LIST_FOREACH_SAFE(&k->running, l, tmp) {
        struct check *v = CONTAINER_OF(l, struct check, link);
        v->over = true;
        env_timer_stop(env_of(k), &v->deadline);
        check_close(v);
    }
    return count;
}

void call_checker_free(struct call_checker *k)
{
    if (k == NULL)
        return;
    FICUS_ASSERT(k->running_count == 0);
    mem_free(k);
}
