/* SPDX-License-Identifier: Apache-2.0
 *
 * The client of include/ficus/client.h: one loop of its own, connections to one address, requests that wait in order
 * for room on one of them: one at a time has it on HTTP/1.1, many on HTTP/2.
 *
 *     WAITING --(a connection with room)--> SENT --> done, freed
 *        `---- no connection, time ----------'---- lost, time ----> done with status 0, freed
 *
 * As many connections are being opened as requests wait, up to the limit; one that cannot be opened fails the request
 * that waits longest. Nothing is called back from inside ficus_client_send or ficus_client_after: the loop does it
 * later.
 */
#include "arena.h"
#include "assert.h"
#include "call_upstream.h"
#include "event_reader.h"
#include "http_client.h"
#include "io_env.h"
#include "json.h"
#include "list.h"
#include "mem.h"
#include "tls.h"

#include <ficus/client.h>

#include <stdio.h>

enum {
    CONNS_MAX = 4096,
    WAITING_MAX = 1000000,
    BODY_SIZE_MAX = 16 * 1024 * 1024,
    TIMEOUT_MS_DEFAULT = 30000,
    DOC_SIZE_MAX = 64 * 1024 * 1024,
    DOC_VALUES_MAX = 4 * 1024 * 1024,
};

struct ficus_client {
    struct env *env;
    char *authority; /* "127.0.0.1:8080" */
    char address[CALL_ADDRESS_SIZE];
    struct tls_client *tls; /* NULL: http */
    size_t conns_max;
    size_t conn_count, connecting_count, waiting_count, timer_count, request_count;
    struct list conns; /* all */
    struct list roomy; /* of them, those with room, the last used first */
    struct list waiting, sent, timers;
    struct env_task pump;
    bool freeing, stopped;
};

struct conn {
    struct ficus_client *client;
    struct http_client_conn *http;
    struct list link, roomy_link;
    bool connecting, is_roomy;
};

struct request {
    struct ficus_client *client;
    struct list link; /* in waiting or sent */
    struct env_timer timer;
    int64_t begun_ns;
    void (*done)(void *arg, const struct ficus_client_answer *a);
    void *arg;
    char *method, *path, *authorization, *key, *last_event_id, *body;
    size_t body_size, body_sent;
    int64_t timeout_ms, stream_until_ns; /* of a stream; INT64_MAX: no bound */
    void (*event)(void *arg, const struct ficus_client_event *e);
    struct http_stream *stream; /* NULL while waiting */
    struct http_collect collect;
    struct event_reader events;
    bool collecting, streaming;
};

struct timer {
    struct ficus_client *client;
    struct list link;
    struct env_timer timer;
    void (*fn)(void *arg);
    void *arg;
};

/* ---- ends of requests ---- */

static void request_free(struct request *r)
{
    if (r->collecting)
        http_collect_done(&r->collect);
    if (r->streaming)
        event_reader_done(&r->events);
    if (r->authorization != NULL)
        mem_wipe(r->authorization, strlen(r->authorization));
    if (r->body != NULL)
        mem_wipe(r->body, r->body_size);
    mem_free(r->method);
    mem_free(r->path);
    mem_free(r->authorization);
    mem_free(r->key);
    mem_free(r->last_event_id);
    mem_free(r->body);
    mem_free(r);
}

static void stop_when_empty(struct ficus_client *c)
{
    if (c->request_count == 0 && c->timer_count == 0)
        env_uv_stop(c->env);
}

/* Tell and free. r is out of the exchange already. */
static void request_finish(struct request *r, struct ficus_client_answer *a)
{
    struct ficus_client *c = r->client;
    env_timer_stop(c->env, &r->timer);
    if (r->stream == NULL)
        c->waiting_count--;
    list_remove(&r->link);
    c->request_count--;
    a->duration_us = (env_now_ns(c->env) - r->begun_ns) / 1000;
    r->done(r->arg, a);
    request_free(r);
    stop_when_empty(c);
}

static void request_fail(struct request *r, const char *error)
{
    struct ficus_client_answer a = {.error = error, .body = "", .retry_after_s = -1};
    request_finish(r, &a);
}

static void request_timeout(void *arg)
{
    struct request *r = arg;
    if (r->stream != NULL)
        http_reset(r->stream, FICUS_ERR_TIMEOUT);
    request_fail(r, "no answer in time");
}

/* ---- one exchange ---- */

static void exchange_send(struct request *r)
{
    if (r->body_sent < r->body_size)
        r->body_sent += http_send(r->stream, r->body + r->body_sent, r->body_size - r->body_sent, true);
}

static void exchange_writable(void *arg, struct http_stream *s)
{
    (void)s;
    exchange_send(arg);
}

static void exchange_collected(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    struct request *r = arg;
    (void)body;
    if (err == FICUS_ERR_OK)
        return; /* on_done follows */
    http_reset(s, FICUS_ERR_TOO_LARGE);
    request_fail(r, "the answer is too large");
}

/* Silence is counted anew from here, but not beyond the stream's own end. */
static void stream_timer_start(struct request *r)
{
    int64_t rest_ms = (r->stream_until_ns - env_now_ns(r->client->env)) / 1000000;
    env_timer_start(r->client->env, &r->timer, rest_ms < 0 ? 0 : rest_ms < r->timeout_ms ? rest_ms : r->timeout_ms);
}

static void exchange_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct request *r = arg;
    if (end)
        return;
    if (r->event != NULL && m->status == 200 && http_msg_is_type(m, "text/event-stream")) {
        r->streaming = true;
        event_reader_init(&r->events, r->event, r->arg);
        stream_timer_start(r);
        http_recv(s);
        return;
    }
    r->collecting = true;
    r->collect.done = exchange_collected;
    r->collect.arg = r;
    http_collect(s, &r->collect, BODY_SIZE_MAX);
}

static void exchange_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct request *r = arg;
    if (!event_reader_feed(&r->events, data)) {
        http_reset(s, FICUS_ERR_TOO_LARGE);
        request_fail(r, "an event is too large");
    } else if (!end) {
        stream_timer_start(r);
        http_recv(s);
    }
}

/* NULL when absent. In the arena of the exchange. */
static const char *field_text(struct http_stream *s, const char *name)
{
    struct slice value = http_msg_get(s->head_in, name);
    return value.p == NULL ? NULL : arena_strdup(s->arena, value);
}

static int retry_after_read(struct http_stream *s)
{
    uint64_t seconds;
    struct slice value = http_msg_get(s->head_in, "Retry-After");
    return value.p != NULL && slice_to_u64(value, &seconds) && seconds <= 86400 ? (int)seconds : -1;
}

static void exchange_done(void *arg, struct http_stream *s)
{
    struct request *r = arg;
    struct ficus_client_answer a = {
        .status = s->head_in->status,
        .body = r->collecting ? buf_str(&r->collect.body) : "",
        .body_size = r->collecting ? buf_slice(&r->collect.body).size : 0,
        .location = field_text(s, "Location"),
        .request_id = field_text(s, "X-Request-ID"),
        .traceparent = field_text(s, "traceparent"),
        .retry_after_s = retry_after_read(s),
    };
    request_finish(r, &a);
}

static void exchange_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    (void)s;
    request_fail(arg, detail != NULL ? detail : err_text(err));
}

static bool head_write(const struct request *r, struct http_msg *m)
{
    m->method = slice_str(r->method);
    m->authority = slice_str(r->client->authority);
    struct slice target = slice_str(r->path);
    m->path = slice_cut(&target, '?');
    m->query = target;
    m->content_length = (int64_t)r->body_size;
    return http_msg_add(m, SLICE("User-Agent"), SLICE("ficus-client")) &&
           (r->body == NULL || http_msg_add(m, SLICE("Content-Type"), SLICE("application/json"))) &&
           (r->authorization == NULL || http_msg_add(m, SLICE("Authorization"), slice_str(r->authorization))) &&
           (r->key == NULL || http_msg_add(m, SLICE("Idempotency-Key"), slice_str(r->key))) &&
           (r->event == NULL || http_msg_add(m, SLICE("Accept"), SLICE("text/event-stream"))) &&
           (r->last_event_id == NULL || http_msg_add(m, SLICE("Last-Event-ID"), slice_str(r->last_event_id)));
}

/* On a connection with room. False: it has none after all, or is closing; r still waits. */
static bool request_start(struct conn *k, struct request *r)
{
    static const struct http_handler handler = {.on_head = exchange_head,
                                                .on_data = exchange_data,
                                                .on_writable = exchange_writable,
                                                .on_done = exchange_done,
                                                .on_reset = exchange_reset};
    struct ficus_client *c = k->client;
    struct http_stream *s;
    if (http_client_open(k->http, &handler, r, &s) != FICUS_ERR_OK)
        return false;
    r->stream = s;
    c->waiting_count--;
    list_remove(&r->link);
    list_add_tail(&c->sent, &r->link);
    struct http_msg m;
    http_msg_init(&m, s->arena);
    if (!head_write(r, &m) || http_send_head(s, &m, r->body_size == 0) != FICUS_ERR_OK) {
        http_reset(s, FICUS_ERR_INVALID);
        request_fail(r, "the request cannot be written");
        return true;
    }
    exchange_send(r);
    return true;
}

/* ---- connections ---- */

static void conn_roomy_leave(struct conn *k)
{
    if (k->is_roomy)
        list_remove(&k->roomy_link);
    k->is_roomy = false;
}

static void conn_roomy_enter(struct conn *k)
{
    if (!k->is_roomy)
        list_add_head(&k->client->roomy, &k->roomy_link);
    k->is_roomy = true;
    env_post(k->client->env, &k->client->pump);
}

static void conn_connected(void *arg, struct http_client_conn *http, enum ficus_err err)
{
    struct conn *k = arg;
    struct ficus_client *c = k->client;
    (void)http;
    k->connecting = false;
    c->connecting_count--;
    const char *failure = c->tls == NULL ? NULL : env_tls_client_failure(c->env, c->tls);
    if (err == FICUS_ERR_OK)
        conn_roomy_enter(k);
    else if (!list_empty(&c->waiting))
        request_fail(CONTAINER_OF(c->waiting.next, struct request, link),
                     failure != NULL && failure[0] != '\0' ? failure : err_text(err));
}

static void conn_room(void *arg, struct http_client_conn *http)
{
    (void)http;
    conn_roomy_enter(arg);
}

static void conn_closed(void *arg, struct http_client_conn *http)
{
    struct conn *k = arg;
    struct ficus_client *c = k->client;
    (void)http;
    conn_roomy_leave(k);
    list_remove(&k->link);
    if (k->connecting)
        c->connecting_count--;
    c->conn_count--;
    mem_free(k);
    if (!c->freeing)
        env_post(c->env, &c->pump);
    else if (c->conn_count == 0)
        env_uv_stop(c->env);
}

static enum ficus_err conn_open(struct ficus_client *c)
{
    static const struct http_client_handler handler = {conn_connected, conn_room, conn_closed};
    const struct http_upstream upstream = {.address = c->address, .tls = c->tls};
    struct conn *k = mem_zalloc(sizeof *k);
    if (k == NULL)
        return FICUS_ERR_NOMEM;
    k->client = c;
    k->connecting = true;
    enum ficus_err err = http_client_connect_to(c->env, &upstream, NULL, &handler, k, &k->http);
    if (err != FICUS_ERR_OK) {
        mem_free(k);
        return err;
    }
    list_add_tail(&c->conns, &k->link);
    c->conn_count++;
    c->connecting_count++;
    return FICUS_ERR_OK;
}

/* Bring waiting requests and connections together. */
static void pump(void *arg)
{
    struct ficus_client *c = arg;
    while (!c->freeing && !list_empty(&c->waiting)) {
        struct request *r = CONTAINER_OF(c->waiting.next, struct request, link);
        if (!list_empty(&c->roomy)) {
            struct conn *k = CONTAINER_OF(c->roomy.next, struct conn, roomy_link);
            /* One that is closing reports itself, one that is full comes back; the next turn takes another. */
            if (!request_start(k, r) || http_client_room(k->http) == 0)
                conn_roomy_leave(k);
        } else if (c->connecting_count < c->waiting_count && c->conn_count < c->conns_max) {
            enum ficus_err err = conn_open(c);
            if (err != FICUS_ERR_OK)
                request_fail(r, err_text(err));
        } else {
            break;
        }
    }
}

/* ---- the interface ---- */

/* "http://127.0.0.1:8080", with or without a slash behind. */
static bool url_read(struct ficus_client *c, const char *text, struct call_url *ret_url)
{
    struct slice rest = slice_str(text);
    if (slice_ends(rest, SLICE("/")))
        rest.size--;
    if (rest.p == NULL || !call_url_parse(rest, ret_url))
        return false;
    if (!ret_url->is_name)
        call_url_address(ret_url->host, ret_url->port, c->address);
    c->authority = mem_strndup(ret_url->authority.p, ret_url->authority.size);
    return c->authority != NULL;
}

/* The server must be who the url says, by an authority that this machine believes. */
static bool tls_make(struct ficus_client *c, const struct call_url *url)
{
    static const char *const protocols[] = {"h2", "http/1.1", NULL};
    char name[ENV_HOST_SIZE];
    (void)snprintf(name, sizeof name, SLICE_FMT, SLICE_ARG(url->host));
    tls_clients_enable(c->env);
    const struct tls_client_options options = {.name = name, .protocols = protocols};
    return env_tls_client_new(c->env, &options, &c->tls, NULL) == FICUS_ERR_OK;
}

struct look {
    struct ficus_client *client;
    uint16_t port;
};

static void looked(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail)
{
    struct look *l = arg;
    if (err == FICUS_ERR_OK)
        call_url_address(slice_str(hosts->host[0]), l->port, l->client->address);
    env_uv_stop(l->client->env);
}

/* Waits for the resolver. */
static bool look_up(struct ficus_client *c, const struct call_url *url)
{
    char name[ENV_HOST_SIZE];
    struct look l = {c, url->port};
    (void)snprintf(name, sizeof name, SLICE_FMT, SLICE_ARG(url->host));
    if (env_lookup(c->env, name, looked, &l) == FICUS_ERR_OK)
        env_uv_run(c->env);
    return c->address[0] != '\0';
}

static void client_free(struct ficus_client *c)
{
    if (c->env != NULL) {
        env_tls_client_free(c->env, c->tls);
        env_uv_free(c->env);
    }
    mem_free(c->authority);
    mem_free(c);
}

struct ficus_client *ficus_client_new(const char *url, size_t conns_max)
{
    struct ficus_client *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return NULL;
    list_init(&c->conns);
    list_init(&c->roomy);
    list_init(&c->waiting);
    list_init(&c->sent);
    list_init(&c->timers);
    c->conns_max = conns_max < 1 ? 1 : conns_max > CONNS_MAX ? CONNS_MAX : conns_max;
    c->pump = (struct env_task){.fn = pump, .arg = c};
    struct call_url parsed;
    if (url_read(c, url, &parsed))
        c->env = env_uv_new(NULL, NULL);
    if (c->env == NULL || (parsed.is_name && !look_up(c, &parsed)) || (parsed.secure && !tls_make(c, &parsed))) {
        client_free(c);
        return NULL;
    }
    return c;
}

static bool copy(char **ret_copy, const char *text)
{
    *ret_copy = text == NULL ? NULL : mem_strdup(text);
    return text == NULL || *ret_copy != NULL;
}

int ficus_client_send(struct ficus_client *c, const struct ficus_client_request *q,
                      void (*done)(void *arg, const struct ficus_client_answer *a), void *arg)
{
    if (q->method == NULL || q->path == NULL || q->path[0] != '/' || c->waiting_count >= WAITING_MAX)
        return -1;
    struct request *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return -1;
    if (!copy(&r->method, q->method) || !copy(&r->path, q->path) || !copy(&r->authorization, q->authorization) ||
        !copy(&r->key, q->key) || !copy(&r->last_event_id, q->last_event_id) || !copy(&r->body, q->body)) {
        request_free(r);
        return -1;
    }
    r->client = c;
    r->body_size = r->body == NULL ? 0 : strlen(r->body);
    r->begun_ns = env_now_ns(c->env);
    r->done = done;
    r->arg = arg;
    r->event = q->event;
    r->stream_until_ns = q->stream_ms_max > 0 ? r->begun_ns + (int64_t)q->stream_ms_max * 1000000 : INT64_MAX;
    r->timeout_ms = q->timeout_ms > 0 ? q->timeout_ms : TIMEOUT_MS_DEFAULT;
    r->timer = (struct env_timer){.fn = request_timeout, .arg = r};
    env_timer_start(c->env, &r->timer, r->timeout_ms);
    list_add_tail(&c->waiting, &r->link);
    c->waiting_count++;
    c->request_count++;
    env_post(c->env, &c->pump);
    return 0;
}

static void timer_drop(struct timer *t)
{
    list_remove(&t->link);
    t->client->timer_count--;
    mem_free(t);
}

static void timer_fired(void *arg)
{
    struct timer *t = arg;
    struct ficus_client *c = t->client;
    void (*fn)(void *arg) = t->fn;
    void *fn_arg = t->arg;
    timer_drop(t);
    fn(fn_arg);
    stop_when_empty(c);
}

int ficus_client_after(struct ficus_client *c, int64_t ms, void (*fn)(void *arg), void *arg)
{
    struct timer *t = mem_zalloc(sizeof *t);
    if (t == NULL)
        return -1;
    t->client = c;
    t->fn = fn;
    t->arg = arg;
    t->timer = (struct env_timer){.fn = timer_fired, .arg = t};
    list_add_tail(&c->timers, &t->link);
    c->timer_count++;
    env_timer_start(c->env, &t->timer, ms < 0 ? 0 : ms);
    return 0;
}

int64_t ficus_client_now_us(struct ficus_client *c)
{
    return env_now_ns(c->env) / 1000;
}

void ficus_client_run(struct ficus_client *c)
{
    c->stopped = false;
    /* A stop that was left over from an earlier end may wake the loop once too early. */
    while (!c->stopped && (c->request_count > 0 || c->timer_count > 0))
        env_uv_run(c->env);
}

void ficus_client_stop(struct ficus_client *c)
{
    c->stopped = true;
    env_uv_stop(c->env);
}

static void requests_drop(struct ficus_client *c, struct list *requests)
{
    for (struct list *it; (it = list_pop_head(requests)) != NULL;) {
        struct request *r = CONTAINER_OF(it, struct request, link);
        env_timer_stop(c->env, &r->timer);
        if (r->stream != NULL)
            http_reset(r->stream, FICUS_ERR_CANCELLED);
        request_free(r);
    }
}

void ficus_client_free(struct ficus_client *c)
{
    if (c == NULL)
        return;
    c->freeing = true;
    requests_drop(c, &c->waiting);
    requests_drop(c, &c->sent);
    LIST_FOREACH_SAFE (&c->timers, it, tmp) {
        struct timer *t = CONTAINER_OF(it, struct timer, link);
        env_timer_stop(c->env, &t->timer);
        timer_drop(t);
    }
    LIST_FOREACH_SAFE (&c->conns, it, tmp)
        http_client_close(CONTAINER_OF(it, struct conn, link)->http);
    while (c->conn_count > 0)
        env_uv_run(c->env);
    client_free(c);
}

/* ---- documents ---- */

struct ficus_doc {
    struct arena arena;
    struct json *root;
};

struct ficus_doc *ficus_doc_parse(const char *text)
{
    struct ficus_doc *d = mem_zalloc(sizeof *d);
    if (d == NULL)
        return NULL;
    size_t size = strlen(text);
    arena_init(&d->arena, (size_t)DOC_VALUES_MAX * sizeof(struct json));
    const struct json_limits limits = {.size_max = DOC_SIZE_MAX, .values_max = DOC_VALUES_MAX};
    struct slice own = size > DOC_SIZE_MAX ? SLICE_NONE : arena_slice(&d->arena, slice_make(text, size));
    if (own.p == NULL || json_parse(&d->arena, own, &limits, &d->root, NULL) != FICUS_ERR_OK) {
        ficus_doc_free(d);
        return NULL;
    }
    return d;
}

/* struct ficus_json is struct json under the name that authors of services see. */
const struct ficus_json *ficus_doc_root(const struct ficus_doc *d)
{
    return (const struct ficus_json *)(const void *)d->root;
}

const char *ficus_doc_str(struct ficus_doc *d, const struct ficus_json *v)
{
    struct slice text;
    if (!json_string((const struct json *)(const void *)v, &text) || memchr(text.p, '\0', text.size) != NULL)
        return NULL;
    return arena_strdup(&d->arena, text);
}

void ficus_doc_free(struct ficus_doc *d)
{
    if (d == NULL)
        return;
    arena_done(&d->arena);
    mem_free(d);
}
