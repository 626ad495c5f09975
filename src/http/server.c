/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP server: listeners, the set of connections, their number, drain and close. Life of one connection:
 * h1_server_conn.c.
 *
 *   open -> draining (no listener, connections end by themselves) -> gone
 *       `-> closing  (no listener, connections are ended)         -> gone, freed
 */
#include "server_private.h"

#include "assert.h"
#include "h1_io.h"
#include "mem.h"

enum { ROOM_MS = 1000, HANDSHAKES_MS = 1000, REST_MS = 2 };

const char *const http_protocols[] = {"h2", "http/1.1", NULL};

/* Close the connection that has waited longest; the newest one is spared unless it is wanted as well. */
static void evict(struct http_server *v, bool newest_too)
{
    if (list_empty(&v->waiting) || (!newest_too && v->waiting.next == v->waiting.prev))
        return;
    struct server_conn *c = CONTAINER_OF(v->waiting.next, struct server_conn, waiting);
    c->ops->evict(c);
}

/* Connections that count for the limit. */
static size_t conns_counted(const struct http_server *v)
{
    return v->o.share != NULL ? v->o.share->conn_count : v->conn_count;
}

static bool is_full(const struct http_server *v)
{
    return conns_counted(v) >= v->o.limits.conn_count_max;
}

static void listeners_pause(struct http_server *v, bool paused);

static void room_fire(void *arg)
{
    struct http_server *v = arg;
    if (!is_full(v)) { /* another server's connections went */
        listeners_pause(v, false);
        return;
    }
    evict(v, true);
    env_timer_start(v->env, &v->room, ROOM_MS);
}

static void gone_check(void *arg)
{
    struct http_server *v = arg;
    if (v->conn_count > 0 || v->listener_count > 0 || !(v->draining || v->closing))
        return;
    void (*gone)(void *) = v->gone;
    void *gone_arg = v->gone_arg;
    bool closing = v->closing;
    v->gone = NULL;
    while (v->spare_count > 0)
        arena_done(&v->spares[--v->spare_count]);
    if (closing)
        mem_free(v);
    if (gone != NULL)
        gone(gone_arg);
}

/* A client that has shaken hands may have sent its request with its last message: it would be lost without a trace. So
 * those listeners only take nobody new for a while. */
static void listeners_close(struct http_server *v, bool secure_too)
{
    size_t count = 0;
    for (size_t i = 0; i < v->listener_count; i++) {
        if (secure_too || !v->secure[i]) {
            env_listener_close(v->env, v->listeners[i]);
        } else {
            env_listener_pause(v->env, v->listeners[i], true);
            v->secure[count] = true;
            v->listeners[count++] = v->listeners[i];
        }
    }
    v->listener_count = count;
    env_timer_stop(v->env, &v->room);
    env_timer_stop(v->env, &v->rest);
    env_timer_stop(v->env, &v->handshakes);
    if (count > 0)
        env_timer_start(v->env, &v->handshakes, HANDSHAKES_MS);
}

static void handshakes_over(void *arg)
{
    struct http_server *v = arg;
    listeners_close(v, true);
    gone_check(v);
}

static void listeners_set(struct http_server *v)
{
    bool quiet = v->paused || env_timer_armed(&v->rest);
    if (v->quiet == quiet || v->draining)
        return;
    v->quiet = quiet;
    for (size_t i = 0; i < v->listener_count; i++)
        env_listener_pause(v->env, v->listeners[i], quiet);
}

static void listeners_pause(struct http_server *v, bool paused)
{
    if (v->paused == paused || v->draining)
        return;
    v->paused = paused;
    listeners_set(v);
    if (paused)
        env_timer_start(v->env, &v->room, ROOM_MS);
    else
        env_timer_stop(v->env, &v->room);
}

static void rest_over(void *arg)
{
    listeners_set(arg);
}

/* All loops watch the same sockets, and who is awake takes what is there: one would come to serve nearly all connections
 * and the others none. So who has an eighth, and one, more than its part looks away for a moment. */
static void rest_when_ahead(struct http_server *v)
{
    if (v->o.share == NULL)
        return;
    size_t all = v->o.share->conn_count;
    if (v->conn_count <= all / v->o.share->server_count + all / 8 + 1)
        return;
    env_timer_start(v->env, &v->rest, REST_MS);
    listeners_set(v);
}

void http_server_limit(struct http_server *v, const struct http_limits *limits)
{
    struct http_limits *l = &v->o.limits;
    *l = *limits;
    l->head_size_max = l->head_size_max == 0 ? 16 * 1024 : l->head_size_max;
    l->head_size_max = l->head_size_max > HTTP_HEAD_SIZE_MAX ? HTTP_HEAD_SIZE_MAX : l->head_size_max;
    l->field_count_max = l->field_count_max == 0 ? 100 : l->field_count_max;
    l->target_size_max = l->target_size_max == 0 ? 8 * 1024 : l->target_size_max;
    l->arena_size_max = l->arena_size_max == 0 ? 256 * 1024 : l->arena_size_max;
    l->conn_count_max = l->conn_count_max == 0 ? 1024 : l->conn_count_max;
    l->head_timeout_ms = l->head_timeout_ms == 0 ? 10 * 1000 : l->head_timeout_ms;
    l->idle_timeout_ms = l->idle_timeout_ms == 0 ? 75 * 1000 : l->idle_timeout_ms;
    l->body_timeout_ms = l->body_timeout_ms == 0 ? 30 * 1000 : l->body_timeout_ms;
}

enum ficus_err http_server_new(struct env *e, const struct http_server_options *o, struct http_server **ret_server)
{
    FICUS_ASSERT(o->on_request != NULL);
    struct http_server *v = mem_zalloc(sizeof *v);
    if (v == NULL)
        return FICUS_ERR_NOMEM;
    v->env = e;
    v->o = *o;
    http_server_limit(v, &o->limits);
    list_init(&v->conns);
    list_init(&v->waiting);
    v->room = (struct env_timer){.fn = room_fire, .arg = v};
    v->rest = (struct env_timer){.fn = rest_over, .arg = v};
    v->handshakes = (struct env_timer){.fn = handshakes_over, .arg = v};
    v->gone_kick = (struct env_timer){.fn = gone_check, .arg = v};
    v->date_second = -1;
    http_date_format(0, v->date); /* said while the clock stands before 1970 */
    *ret_server = v;
    return FICUS_ERR_OK;
}

const char *server_date(struct http_server *v)
{
    int64_t wall_ms = env_wall_ms(v->env);
    if (wall_ms / 1000 != v->date_second && wall_ms >= 0) {
        v->date_second = wall_ms / 1000;
        http_date_format(wall_ms, v->date);
    }
    return v->date;
}

/* Whoever only holds connections open must not keep others out: at the limit each new one takes the place of the one
 * that has waited longest. Accepting pauses only while all of them run requests. */
static void accepted(void *arg, struct env_stream *stream)
{
    struct http_server *v = arg;
    struct env_tls_info tls;
    if (env_stream_tls(v->env, stream, &tls) && strcmp(tls.protocol, "h2") == 0)
        h2_server_conn_new(v, stream, SLICE(""));
    else
        h1_server_conn_new(v, stream);
    rest_when_ahead(v);
    if (!is_full(v))
        return;
    listeners_pause(v, true); /* at least until the evicted one is gone */
    evict(v, false);
}

enum ficus_err http_server_listen(struct http_server *v, const char *address, struct tls_server *tls,
                                  struct ficus_error *reterr)
{
    if (v->draining || v->closing)
        return err_set(reterr, FICUS_ERR_UNAVAILABLE, "server is draining");
    if (v->listener_count == SERVER_LISTENERS_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "more than %d listeners", SERVER_LISTENERS_MAX);
    struct env_listener *listener;
    enum ficus_err err = env_listen_tls(v->env, address, tls, accepted, v, &listener, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    v->secure[v->listener_count] = tls != NULL;
    v->listeners[v->listener_count++] = listener;
    if (v->quiet)
        env_listener_pause(v->env, listener, true);
    return FICUS_ERR_OK;
}

void server_conn_enter(struct http_server *v, struct server_conn *c, const struct server_conn_ops *ops)
{
    c->ops = ops;
    c->server = v;
    list_add_tail(&v->conns, &c->link);
    list_add_tail(&v->waiting, &c->waiting);
    v->conn_count++;
    if (v->o.share != NULL)
        atomic_fetch_add(&v->o.share->conn_count, 1);
}

void server_conn_wait(struct server_conn *c, bool waiting)
{
    list_remove(&c->waiting);
    if (waiting)
        list_add_tail(&c->server->waiting, &c->waiting);
}

void server_conn_leave(struct server_conn *c)
{
    list_remove(&c->waiting);
    list_remove(&c->link);
}

void server_conn_gone(struct http_server *v)
{
    FICUS_ASSERT(v->conn_count > 0);
    v->conn_count--;
    if (v->o.share != NULL)
        atomic_fetch_sub(&v->o.share->conn_count, 1);
    if (!is_full(v))
        listeners_pause(v, false);
    gone_check(v);
}


struct arena server_spare_take(struct http_server *v)
{
    struct arena spare = {0};
    if (v->spare_count > 0)
        spare = v->spares[--v->spare_count];
    spare.size_max = v->o.limits.arena_size_max;
    return spare;
}

void server_spare_give(struct http_server *v, struct arena spare)
{
    arena_clear(&spare);
    if (v->spare_count < SERVER_SPARES_MAX)
        v->spares[v->spare_count++] = spare;
    else
        arena_done(&spare);
}

void http_server_drain(struct http_server *v, void (*drained)(void *arg), void *arg)
{
    FICUS_ASSERT(!v->draining);
    FICUS_ASSERT(!v->closing);
    v->draining = true;
    v->gone = drained;
    v->gone_arg = arg;
    listeners_close(v, false);
    LIST_FOREACH (&v->conns, it) {
        struct server_conn *c = CONTAINER_OF(it, struct server_conn, link);
        c->ops->drain(c);
    }
    env_timer_start(v->env, &v->gone_kick, 0);
}

void http_server_close(struct http_server *v, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!v->closing);
    v->closing = true;
    v->gone = closed;
    v->gone_arg = arg;
    listeners_close(v, true);
    LIST_FOREACH (&v->conns, it) {
        struct server_conn *c = CONTAINER_OF(it, struct server_conn, link);
        c->ops->abort(c);
    }
    if (v->conn_count == 0)
        env_timer_start(v->env, &v->gone_kick, 0);
    else
        env_timer_stop(v->env, &v->gone_kick);
}

size_t http_server_conn_count(const struct http_server *v)
{
    return v->conn_count;
}
