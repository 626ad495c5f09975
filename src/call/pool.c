/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections to one callee; see pool.h.
 */
#include "pool.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

struct pool_address {
    struct call_target target;      /* pool->targets points here. Its calls under way keep the address in memory */
    struct pool *pool;
    struct call_shared_address *shared;     /* a reference */
    struct list link;               /* pool->addresses */
    struct list conns, free;        /* struct pool_conn; free: the last one used first */
    size_t conn_count, free_count;
    bool departed;                  /* no longer among the targets: freed with its last connection and call */
    char text[];
};

static void pool_pump(struct pool *p);

static void address_free(struct pool_address *a)
{
    list_remove(&a->link);
    call_shared_address_unref(a->pool->shared, a->shared);
    mem_free(a);
}

void pool_init(struct pool *p, struct env *e, const struct call_policy *policy, struct call_shared_edge *shared,
               size_t idle_conns_max, size_t conns_max, size_t queue_max)
{
    *p = (struct pool){.env = e, .policy = policy, .shared = shared, .idle_conns_max = idle_conns_max, .conns_max = conns_max,
                       .queue_max = queue_max, .random = env_random_u64(e)};
    list_init(&p->addresses);
    list_init(&p->waiting);
}

void pool_done(struct pool *p)
{
    FICUS_ASSERT(p->conn_count == 0 && p->waiting_count == 0);
    env_timer_stop(p->env, &p->sweep);
    env_timer_stop(p->env, &p->lack);
    env_tls_client_free(p->env, p->tls);
    p->tls = NULL;
    LIST_FOREACH_SAFE(&p->addresses, l, tmp)
        address_free(CONTAINER_OF(l, struct pool_address, link));
    MEM_FREE(p->targets);
    p->target_count = 0;
}

/* ---- connections ---- */

/* The one place where a connection changes its list. */
static void conn_move(struct pool_conn *c, enum pool_conn_state next)
{
    if (c->state == POOL_CONN_FREE) {
        c->address->free_count--;
        c->pool->free_count--;
    }
    list_remove(&c->link);
    if (next == POOL_CONN_FREE) {
        list_add_head(&c->address->free, &c->link);
        c->address->free_count++;
        c->pool->free_count++;
    } else {
        list_add_tail(&c->address->conns, &c->link);
    }
    c->state = next;
}

static void conn_close(struct pool_conn *c)
{
    if (c->state == POOL_CONN_CLOSING)
        return;
    conn_move(c, POOL_CONN_CLOSING);
    http_client_close(c->http);
}

/* No new exchange on it; it closes behind the last one. */
static void conn_retire(struct pool_conn *c)
{
    if (c->state == POOL_CONN_CLOSING)
        return;
    if (http_client_running(c->http) == 0)
        conn_close(c);
    else
        conn_move(c, POOL_CONN_USED);
}

const char *pool_conn_address(const struct pool_conn *c)
{
    return c->address->text;
}

static void address_free_when_unused(struct pool_address *a)
{
    if (!a->departed || a->conn_count > 0 || a->target.load.outstanding > 0)
        return;
    address_free(a);
}

static void on_sweep(void *arg)
{
    struct pool *p = arg;
    int64_t now_ns = env_now_ns(p->env);
    bool orphans = false;
    LIST_FOREACH(&p->addresses, al) {
        struct pool_address *a = CONTAINER_OF(al, struct pool_address, link);
        LIST_FOREACH_SAFE(&a->free, l, tmp) {
            struct pool_conn *c = CONTAINER_OF(l, struct pool_conn, link);
            if (now_ns - c->since_ns >= POOL_IDLE_MS * INT64_C(1000000) && http_client_running(c->http) == 0)
                conn_close(c);
        }
        LIST_FOREACH_SAFE(&a->conns, l, tmp) {
            struct pool_conn *c = CONTAINER_OF(l, struct pool_conn, link);
            /* Those who shared an orphan wait for the next one, which the end of this one makes. */
            bool orphan = c->state == POOL_CONN_CONNECTING && c->waiter == NULL;
            int64_t most_ms = c->draining ? POOL_DRAIN_MS : orphan ? POOL_CONNECT_MS : INT64_MAX / 1000000;
            if (now_ns - c->since_ns >= most_ms * 1000000)
                conn_close(c);
            else
                orphans = orphans || orphan;
        }
    }
    if (p->free_count + p->drain_count > 0 || orphans)
        env_timer_start(p->env, &p->sweep, POOL_SWEEP_MS);
}

static void sweep_arm(struct pool *p)
{
    p->sweep.fn = on_sweep;
    p->sweep.arg = p;
    if (!env_timer_armed(&p->sweep))
        env_timer_start(p->env, &p->sweep, POOL_SWEEP_MS);
}

static struct pool_address *address_of(struct call_target *t)
{
    return CONTAINER_OF(t, struct pool_address, target);
}

static void address_note(struct pool *p, struct pool_address *a, enum call_sign sign, int64_t now_ns)
{
    if (call_eject_steady(a->target.eject, sign))
        return;
    call_shared_lock(p->shared);
    size_t out = sign == CALL_SIGN_BAD ? call_out_count(p->targets, p->target_count, now_ns) : 0;
    bool ejected = call_eject_note(a->target.eject, &p->policy->eject, sign, out, p->target_count, now_ns);
    call_shared_unlock(p->shared);
    if (ejected)
        metric_inc(p->ejections[sign == CALL_SIGN_REFUSED ? POOL_REASON_REFUSED : POOL_REASON_FAILURES]);
}

static void waiter_target(struct pool *p, struct pool_waiter *w, struct pool_address *a)
{
    if (w->target == &a->target)
        return;
    pool_release(p, w);
    w->target = &a->target;
    w->last = &a->target;
    a->target.load.outstanding++;
}

void pool_note(struct pool *p, struct pool_waiter *w, enum call_sign sign, int64_t latency_ns, int64_t now_ns)
{
    if (w->target == NULL)
        return;
    bool failed = sign != CALL_SIGN_GOOD;
    if (latency_ns > 0)
        call_load_note(&w->target->load, latency_ns, failed, now_ns);
    /* That it refused was noted when it did: others may have waited for the same connection. */
    if (sign != CALL_SIGN_REFUSED)
        address_note(p, address_of(w->target), sign, now_ns);
}

void pool_release(struct pool *p, struct pool_waiter *w)
{
    struct call_target *t = w->target;
    if (t == NULL)
        return;
    w->target = NULL;
    FICUS_ASSERT(t->load.outstanding > 0);
    t->load.outstanding--;
    address_free_when_unused(address_of(t));
}

static void conn_hand_out(struct pool_conn *c, struct pool_waiter *w)
{
    /* One of HTTP/2 stays where it is: how much room is left shows when the next one asks. */
    if (!http_client_is_shared(c->http) && c->state != POOL_CONN_USED)
        conn_move(c, POOL_CONN_USED);
    c->waiter = NULL;
    w->conn = NULL;
    waiter_target(c->pool, w, c->address);
}

/* That it is not who it should be, or speaks something else, is an operator's matter: the log should say it in words. */
static void failure_note(struct pool *p, enum ficus_err err)
{
    p->failure_known = p->tls != NULL && (err == FICUS_ERR_DENIED || err == FICUS_ERR_PROTOCOL);
    if (!p->failure_known)
        return;
    const char *text = env_tls_client_failure(p->env, p->tls);
    (void)snprintf(p->failure, sizeof p->failure, "TLS: %s", text[0] != '\0' ? text : "HTTP/2 was not agreed on (ALPN)");
}

const char *pool_failure(const struct pool *p)
{
    return p->failure_known ? p->failure : "no connection could be made";
}

/* Who waited for this very connection. Some may wait anew meanwhile: for another one. */
static struct pool_waiter *sharer_of(const struct pool *p, const struct pool_conn *c)
{
    LIST_FOREACH(&p->waiting, l)
        if (CONTAINER_OF(l, struct pool_waiter, link)->shares == c)
            return CONTAINER_OF(l, struct pool_waiter, link);
    return NULL;
}

static void sharers_fail(struct pool *p, const struct pool_conn *c, enum ficus_err err)
{
    for (struct pool_waiter *w; (w = sharer_of(p, c)) != NULL;) {
        list_remove(&w->link);
        w->queued = false;
        p->waiting_count--;
        w->on_failed(w, err);
    }
}

static void on_connected(void *arg, struct http_client_conn *http, enum ficus_err err)
{
    struct pool_conn *c = arg;
    struct pool *p = c->pool;
    struct pool_waiter *w = c->waiter;
    if (c->state != POOL_CONN_CONNECTING)
        return;
    FICUS_ASSERT(c->side_number == p->side_number && !c->address->departed);
    if (err == FICUS_ERR_OK) {
        p->h2_likely = http_client_is_shared(http);
        c->since_ns = env_now_ns(p->env);
        if (p->h2_likely || w == NULL)
            conn_move(c, POOL_CONN_FREE);
        if (w != NULL) {
            conn_hand_out(c, w);
            w->on_ready(w, c);
        }
        sweep_arm(p);
        pool_pump(p);
        return;
    }
    conn_move(c, POOL_CONN_CLOSING);    /* it closes itself */
    c->waiter = NULL;
    if (err != FICUS_ERR_NOMEM) {
        failure_note(p, err);
        address_note(p, c->address, CALL_SIGN_REFUSED, env_now_ns(p->env));
    }
    err = err == FICUS_ERR_UNAVAILABLE ? FICUS_ERR_REFUSED : err; /* no way to this address; UNAVAILABLE is said of all */
    if (w != NULL) {
        w->conn = NULL;
        w->on_failed(w, err);
    }
    sharers_fail(p, c, err);
}

static void on_room(void *arg, struct http_client_conn *http)
{
    struct pool_conn *c = arg;
    struct pool *p = c->pool;
    if (c->state != POOL_CONN_FREE && c->state != POOL_CONN_USED)
        return;
    if (c->draining) {
        c->draining = false;
        p->drain_count--;
    }
    bool unused = http_client_running(http) == 0;
    if (p->closing || c->address->departed || c->side_number != p->side_number ||
        (unused && c->state != POOL_CONN_FREE && c->address->free_count >= p->idle_conns_max)) {
        conn_retire(c);
        return;
    }
    if (http_client_room(http) == 0) {
        if (c->state == POOL_CONN_FREE)
            conn_move(c, POOL_CONN_USED);
        return;
    }
    if (c->state != POOL_CONN_FREE)
        conn_move(c, POOL_CONN_FREE);
    c->since_ns = env_now_ns(p->env);
    sweep_arm(p);
    pool_pump(p);
}

static void on_closed(void *arg, struct http_client_conn *http)
{
    struct pool_conn *c = arg;
    struct pool *p = c->pool;
    struct pool_waiter *w = c->waiter;
    bool connecting = c->state == POOL_CONN_CONNECTING;
    conn_move(c, POOL_CONN_CLOSING);
    list_remove(&c->link);
    if (c->draining)
        p->drain_count--;
    p->conn_count--;
    c->address->conn_count--;
    address_free_when_unused(c->address);
    if (w != NULL) {                /* closed without a word while connecting */
        w->conn = NULL;
        failure_note(p, FICUS_ERR_RESET);
        w->on_failed(w, FICUS_ERR_RESET);
    }
    if (connecting)
        sharers_fail(p, c, FICUS_ERR_RESET);
    mem_free(c);
    if (p->closing) {
        if (p->conn_count == 0)
            p->on_empty(p->arg);
        return;
    }
    pool_pump(p);
}

static const struct http_client_handler conn_handler = {on_connected, on_room, on_closed};

static enum ficus_err conn_new(struct pool *p, struct pool_address *a, struct pool_waiter *w)
{
    /* How long a body may stall is bounded by the call's deadline, not by the codec. */
    static const struct http_limits limits = {.head_size_max = 32 * 1024, .body_timeout_ms = -1};
    struct pool_conn *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return FICUS_ERR_NOMEM;
    c->pool = p;
    c->address = a;
    c->waiter = w;
    c->since_ns = env_now_ns(p->env);
    c->side_number = p->side_number;
    const struct http_upstream upstream = {.address = a->text, .tls = p->tls, .h2 = p->h2};
    enum ficus_err err = http_client_connect_to(p->env, &upstream, &limits, &conn_handler, c, &c->http);
    if (err != FICUS_ERR_OK) {
        mem_free(c);
        if (err != FICUS_ERR_NOMEM)
            address_note(p, a, CALL_SIGN_REFUSED, env_now_ns(p->env));
        return err == FICUS_ERR_NOMEM ? err : FICUS_ERR_REFUSED;
    }
    list_add_tail(&a->conns, &c->link);
    a->conn_count++;
    p->conn_count++;
    w->conn = c;
    return FICUS_ERR_OK;
}

/* ---- taking ---- */

/* One with room; unused: without any exchange. */
static struct pool_conn *free_of(struct pool_address *a, bool unused)
{
    LIST_FOREACH_SAFE(&a->free, l, tmp) {
        struct pool_conn *c = CONTAINER_OF(l, struct pool_conn, link);
        if (http_client_is_shared(c->http) && http_client_room(c->http) == 0)
            conn_move(c, POOL_CONN_USED);   /* until on_room */
        else if (!unused || http_client_running(c->http) == 0)
            return c;
    }
    return NULL;
}

/* One with room at any address, those of ejected ones last. */
static struct pool_conn *free_anywhere(struct pool *p, bool unused)
{
    int64_t now_ns = env_now_ns(p->env);
    struct pool_conn *second = NULL;
    for (size_t i = 0; i < p->target_count; i++) {
        struct pool_conn *c = free_of(address_of(p->targets[i]), unused);
        if (c != NULL && !call_eject_out(p->targets[i]->eject, now_ns))
            return c;
        second = c != NULL ? c : second;
    }
    return second;
}

/* One that is being made and will have room for more than the one who wanted it. Looked for only while HTTP/2 is likely, so
 * that the list is short. */
static struct pool_conn *connecting_of(const struct pool *p, struct pool_address *a)
{
    struct pool_conn *found = NULL;
    size_t count = 0;
    LIST_FOREACH(&a->conns, l) {
        struct pool_conn *c = CONTAINER_OF(l, struct pool_conn, link);
        if (c->state == POOL_CONN_CONNECTING) {
            found = c;
            count++;
        }
    }
    return p->waiting_count < count * POOL_SHARERS_MAX ? found : NULL;
}

static enum ficus_err pool_queue(struct pool *p, struct pool_waiter *w, bool first)
{
    if (!first && p->waiting_count >= p->queue_max)
        return FICUS_ERR_BUSY;
    if (first)
        list_add_head(&p->waiting, &w->link);
    else
        list_add_tail(&p->waiting, &w->link);
    w->queued = true;
    p->waiting_count++;
    return FICUS_ERR_OK;
}

/* first: it comes from the head of the queue and goes back there when there is no place. */
static enum ficus_err pool_take_some(struct pool *p, struct pool_waiter *w, bool first, struct pool_conn **ret_conn)
{
    *ret_conn = NULL;
    if (p->target_count == 0)
        return p->awaited ? pool_queue(p, w, first) : FICUS_ERR_UNAVAILABLE;
    const struct call_choice choice = {.balance = p->policy->balance, .keyed = w->keyed, .key = w->key,
                                       .avoid = w->avoid};
    size_t i = call_choose(p->targets, p->target_count, &choice, env_now_ns(p->env), &p->cursor, &p->random);
    struct pool_address *a = address_of(p->targets[i]);
    struct pool_conn *c = w->fresh ? NULL : free_of(a, false);
    w->shares = c == NULL && p->h2_likely && !w->fresh ? connecting_of(p, a) : NULL;
    waiter_target(p, w, a);
    if (c == NULL && w->shares == NULL && p->conn_count < p->conns_max)
        return conn_new(p, a, w);
    if (c == NULL && w->shares == NULL && !w->fresh)
        c = free_anywhere(p, false);
    if (c == NULL) {
        /* One that wants a new connection makes place by closing an idle one. */
        struct pool_conn *victim = w->fresh ? free_anywhere(p, true) : NULL;
        if (victim != NULL)
            conn_close(victim);
        pool_release(p, w);
        return pool_queue(p, w, first);
    }
    conn_hand_out(c, w);
    *ret_conn = c;
    return FICUS_ERR_OK;
}

enum ficus_err pool_take(struct pool *p, struct pool_waiter *w, struct pool_conn **ret_conn)
{
    FICUS_ASSERT(w->conn == NULL && !w->queued && !p->closing);
    return pool_take_some(p, w, false, ret_conn);
}

bool pool_leave(struct pool *p, struct pool_waiter *w)
{
    if (w->queued) {
        list_remove(&w->link);
        w->queued = false;
        p->waiting_count--;
        return false;
    }
    struct pool_conn *c = w->conn;
    if (c == NULL)
        return false;
    w->conn = NULL;
    c->waiter = NULL;
    if (!p->h2_likely || p->waiting_count == 0)
        conn_close(c);
    else
        sweep_arm(p);       /* others wait for it */
    return true;
}

static void on_lack_over(void *arg)
{
    pool_pump(arg);
}

/* A place became free: serve the queue while it lasts. What we lack ourselves (memory, descriptors) is the first one's bad luck and no
 * more: the others wait for what the next place, or a moment, brings. */
static void pool_pump(struct pool *p)
{
    while (p->waiting_count > 0 && (p->free_count > 0 || p->conn_count < p->conns_max)) {
        struct pool_waiter *w = CONTAINER_OF(list_pop_head(&p->waiting), struct pool_waiter, link);
        struct pool_conn *c;
        w->queued = false;
        p->waiting_count--;
        enum ficus_err err = pool_take_some(p, w, true, &c);
        if (err == FICUS_ERR_NOMEM && p->waiting_count > 0) {
            p->lack.fn = on_lack_over;
            p->lack.arg = p;
            env_timer_start(p->env, &p->lack, POOL_LACK_MS);
            w->on_failed(w, err);
            return;
        }
        if (err != FICUS_ERR_OK)
            w->on_failed(w, err);
        else if (c != NULL)
            w->on_ready(w, c);
        else if (w->queued)
            return;
    }
}

void pool_discard(struct pool_conn *c)
{
    if (http_client_is_shared(c->http))
        conn_retire(c);
    else
        conn_close(c);
}

bool pool_has_another(const struct pool *p, const struct pool_waiter *w, int64_t now_ns)
{
    return call_another(p->targets, p->target_count, w->last, now_ns);
}

/* ---- draining an unwanted answer ---- */

static void drain_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct pool_conn *c = arg;
    c->drain_size += data.size;
    if (end)
        return;
    if (c->drain_size > POOL_DRAIN_SIZE_MAX)
        http_reset(s, FICUS_ERR_CANCELLED);
    else
        http_recv(s);
}

static void drain_done(void *arg, struct http_stream *s)
{
}

static void drain_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
}

static const struct http_handler drain_handler = {.on_data = drain_data, .on_done = drain_done,
                                                  .on_reset = drain_reset};

void pool_drain(struct pool_conn *c, struct http_stream *s, bool at_end)
{
    if (http_client_is_shared(c->http)) {
        http_reset(s, FICUS_ERR_CANCELLED);
        return;
    }
    c->drain_size = 0;
    c->draining = true;
    c->since_ns = env_now_ns(c->pool->env);
    c->pool->drain_count++;
    sweep_arm(c->pool);
    http_stream_handle(s, &drain_handler, c);
    if (!at_end)
        http_recv(s);
}

/* ---- addresses ---- */

static struct pool_address *address_find(struct pool *p, const char *text)
{
    LIST_FOREACH(&p->addresses, l) {
        struct pool_address *a = CONTAINER_OF(l, struct pool_address, link);
        if (strcmp(a->text, text) == 0)
            return a;
    }
    return NULL;
}

static struct pool_address *address_new(struct pool *p, const char *text)
{
    size_t size = strlen(text) + 1;
    struct pool_address *a = mem_zalloc(sizeof *a + size);
    if (a == NULL)
        return NULL;
    a->pool = p;
    a->shared = call_shared_address_ref(p->shared, text);
    if (a->shared == NULL) {
        mem_free(a);
        return NULL;
    }
    memcpy(a->text, text, size);
    a->target.eject = &a->shared->eject;
    a->target.hash = call_hash(slice_make(text, size - 1));
    list_init(&a->conns);
    list_init(&a->free);
    a->departed = true;             /* until it is among the targets */
    list_add_tail(&p->addresses, &a->link);
    return a;
}

/* No call begins on a connection that was made, or is being made, to a. Who waits for one goes to the head of the queue, and gets
 * one that fits what the pool is now when this one is gone. */
static void address_retire(struct pool_address *a)
{
    struct pool *p = a->pool;
    LIST_FOREACH_SAFE(&a->free, l, tmp)
        conn_retire(CONTAINER_OF(l, struct pool_conn, link));
    LIST_FOREACH_SAFE(&a->conns, l, tmp) {
        struct pool_conn *c = CONTAINER_OF(l, struct pool_conn, link);
        struct pool_waiter *w = c->waiter;
        if (c->state != POOL_CONN_CONNECTING)
            continue;
        if (w != NULL) {
            c->waiter = NULL;
            w->conn = NULL;
            pool_release(p, w);
            (void)pool_queue(p, w, true); /* at the head there is always room */
        }
        conn_close(c);
    }
}

/* Mark those that are no longer targets, use them no more, free what is unused. */
static void addresses_leave(struct pool *p)
{
    LIST_FOREACH(&p->addresses, l)
        CONTAINER_OF(l, struct pool_address, link)->departed = true;
    for (size_t i = 0; i < p->target_count; i++)
        address_of(p->targets[i])->departed = false;
    LIST_FOREACH_SAFE(&p->addresses, l, tmp) {
        struct pool_address *a = CONTAINER_OF(l, struct pool_address, link);
        if (!a->departed)
            continue;
        address_retire(a);
        address_free_when_unused(a);
    }
}

enum ficus_err pool_set_addresses(struct pool *p, const char *const *addresses, size_t count)
{
    struct call_target **targets = count == 0 ? NULL : mem_array(count, sizeof(struct call_target *));
    if (targets == NULL && count > 0)
        return FICUS_ERR_NOMEM;
    size_t filled = 0;
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++) {
        struct pool_address *a = address_find(p, addresses[i]);
        if (a == NULL && (a = address_new(p, addresses[i])) == NULL) {
            err = FICUS_ERR_NOMEM;
            break;
        }
        bool twice = false;
        for (size_t k = 0; k < filled; k++)
            twice = twice || targets[k] == &a->target;
        if (!twice)
            targets[filled++] = &a->target;
    }
    if (err == FICUS_ERR_OK) {
        mem_free(p->targets);
        p->targets = targets;
        p->target_count = filled;
        p->had_target = p->had_target || filled > 0;
    } else {
        mem_free(targets);
    }
    addresses_leave(p);
    return err;
}

void pool_await(struct pool *p, bool awaited)
{
    p->awaited = awaited;
    if (!awaited)
        pool_pump(p);
}

void pool_set_side(struct pool *p, struct tls_client *tls, bool h2, bool h2_likely)
{
    if (tls == NULL && p->tls == NULL && h2 == p->h2)
        return;
    env_tls_client_free(p->env, p->tls);
    p->tls = tls;
    p->h2 = h2;
    p->h2_likely = h2 || h2_likely;
    p->side_number++;
    p->failure_known = false;
    LIST_FOREACH(&p->addresses, l)
        address_retire(CONTAINER_OF(l, struct pool_address, link));
}

bool pool_close(struct pool *p)
{
    p->closing = true;
    env_timer_stop(p->env, &p->sweep);
    env_timer_stop(p->env, &p->lack);
    FICUS_ASSERT(p->waiting_count == 0);
    LIST_FOREACH(&p->addresses, al) {
        struct pool_address *a = CONTAINER_OF(al, struct pool_address, link);
        LIST_FOREACH_SAFE(&a->free, l, tmp)
            conn_close(CONTAINER_OF(l, struct pool_conn, link));
        LIST_FOREACH_SAFE(&a->conns, l, tmp)
            conn_close(CONTAINER_OF(l, struct pool_conn, link));
    }
    return p->conn_count == 0;
}

void pool_close_idle(struct pool *p)
{
    LIST_FOREACH(&p->addresses, al) {
        LIST_FOREACH_SAFE(&CONTAINER_OF(al, struct pool_address, link)->free, l, tmp) {
            struct pool_conn *c = CONTAINER_OF(l, struct pool_conn, link);
            if (http_client_running(c->http) == 0)
                conn_close(c);
        }
    }
}

/* ---- health checks and what people ask ---- */

const char *pool_address_text(const struct pool *p, size_t i)
{
    FICUS_ASSERT(i < p->target_count);
    return address_of(p->targets[i])->text;
}

void pool_checked(struct pool *p, const char *address, bool good)
{
    struct pool_address *a = address_find(p, address);
    if (a == NULL || a->departed || p->policy->check == NULL)
        return;
    call_shared_lock(p->shared);
    bool changed = call_eject_check(a->target.eject, p->policy->check, good);
    call_shared_unlock(p->shared);
    if (changed && !good)
        metric_inc(p->ejections[POOL_REASON_CHECK]);
}

void pool_unchecked(struct pool *p)
{
    call_shared_lock(p->shared);
    LIST_FOREACH(&p->addresses, l)
        call_eject_unchecked(CONTAINER_OF(l, struct pool_address, link)->target.eject);
    call_shared_unlock(p->shared);
}

static size_t unused_count(const struct pool_address *a)
{
    size_t count = 0;
    LIST_FOREACH(&a->free, l)
        count += http_client_running(CONTAINER_OF(l, struct pool_conn, link)->http) == 0;
    return count;
}

void pool_describe(const struct pool *p, struct json_writer *w)
{
    int64_t now_ns = env_now_ns(p->env);
    for (size_t i = 0; i < p->target_count; i++) {
        const struct pool_address *a = address_of(p->targets[i]);
        const struct call_eject *e = a->target.eject;
        json_write_object(w);
        json_write_kv_str(w, "address", a->text);
        json_write_kv_i64(w, "outstanding", a->target.load.outstanding);
        json_write_kv_i64(w, "latency_us", (int64_t)(a->target.load.latency_ns / 1000));
        json_write_kv_i64(w, "connections", (int64_t)a->conn_count);
        json_write_kv_i64(w, "idle", (int64_t)unused_count(a));
        json_write_kv_i64(w, "failures", e->failures);
        int64_t ejected_ns = e->until_ns - now_ns;
        json_write_kv_i64(w, "ejected_ms", ejected_ns > 0 ? (ejected_ns + 999999) / 1000000 : 0);
        json_write_kv_bool(w, "unhealthy", e->unhealthy);
        json_write_end(w);
    }
}
