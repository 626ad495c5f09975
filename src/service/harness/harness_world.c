/* SPDX-License-Identifier: Apache-2.0
 *
 * The world around a service under test, over real sockets: a hub that keeps events in memory, and other services
 * played by functions. It outlives restarts of the service: what was published before is still there.
 */
#include "harness.h"

enum { WORLD_BODY_SIZE_MAX = 8 * 1024 * 1024, EVENTS_MAX = 100000 };

/* One exchange with the service, answered at once or when an event comes. */
struct exchange {
    struct ficus_test *test;
    struct world_fake *fake; /* NULL: the hub's */
    struct http_stream *stream;
    struct http_collect collect;
    struct env_timer timer;
    struct list link; /* in test->pulls */
    uint64_t after, limit;
    char *topics; /* owned */
    struct buf out;
    size_t sent;
};

static void exchange_free(struct exchange *x)
{
    env_timer_stop(x->test->env, &x->timer);
    list_remove(&x->link);
    http_collect_done(&x->collect);
    buf_done(&x->out);
    mem_free(x->topics);
    mem_free(x);
}

static void on_writable(void *arg, struct http_stream *s)
{
    struct exchange *x = arg;
    struct slice rest = slice_from(buf_slice(&x->out), x->sent);
    if (rest.size > 0)
        x->sent += http_send(s, rest.p, rest.size, true);
}

static void on_done(void *arg, struct http_stream *s)
{
    exchange_free(arg);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    exchange_free(arg);
}

static void on_data(void *arg, struct http_stream *s, struct slice data, bool end) {}

static const struct http_handler handler = {
    .on_data = on_data, .on_writable = on_writable, .on_done = on_done, .on_reset = on_reset};

static void answer(struct exchange *x, int status)
{
    struct http_msg m;
    http_msg_init(&m, x->stream->arena);
    m.status = status;
    struct slice body = buf_slice(&x->out);
    m.content_length = (int64_t)body.size;
    if (buf_failed(&x->out) ||
        (body.size > 0 && !http_msg_add(&m, SLICE("content-type"),
                                        status < 400 ? SLICE("application/json") : SLICE("application/problem+json"))))
        harness_die("out of memory for the answer of a fake");
    if (http_send_head(x->stream, &m, body.size == 0) == FICUS_ERR_OK)
        on_writable(x, x->stream);
}

/* ---- the log ---- */

static struct slice member(struct ficus_test *t, const struct json *root, const char *name)
{
    return arena_slice(&t->world_arena, json_string_or(json_get(root, name), SLICE("")));
}

static bool is_known(const struct ficus_test *t, const struct world_event *e)
{
    for (size_t i = t->event_count; i > 0; i--)
        if (slice_eq(t->events[i - 1].id, e->id) && slice_eq(t->events[i - 1].source, e->source))
            return true;
    return false;
}

static void pulls_look(struct ficus_test *t);

void world_append(struct ficus_test *t, struct slice json, bool injected)
{
    struct arena a;
    struct json *root = NULL;
    arena_init(&a, 64 * 1024 * 1024);
    if (json_parse(&a, json, NULL, &root, NULL) != FICUS_ERR_OK)
        harness_die("an event is not JSON: " SLICE_FMT, SLICE_ARG(json));
    struct world_event e = {
        .topic = member(t, root, "type"),
        .id = member(t, root, "id"),
        .source = member(t, root, "source"),
        .is_injected = injected,
    };
    arena_done(&a);
    if (is_known(t, &e))
        return;
    if (t->event_count == t->event_capacity) {
        size_t capacity = t->event_capacity == 0 ? 64 : 2 * t->event_capacity;
        void *grown = capacity > EVENTS_MAX ? NULL : mem_realloc(t->events, capacity * sizeof *t->events);
        if (grown == NULL)
            harness_die("too many events");
        t->events = grown;
        t->event_capacity = capacity;
    }
    e.json = mem_strndup(json.p, json.size);
    if (e.json == NULL)
        harness_die("out of memory");
    (void)pthread_mutex_lock(&t->mutex);
    t->events[t->event_count++] = e;
    t->published_count += injected ? 0 : 1;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->mutex);
    pulls_look(t);
}

static bool topic_listed(const char *topics, struct slice topic)
{
    struct slice rest = slice_str(topics);
    while (rest.p != NULL)
        if (slice_eq(slice_cut(&rest, ','), topic))
            return true;
    return false;
}

static void write_event(struct exchange *x, const struct world_event *e, size_t offset, bool first)
{
    /* {"a":...} -> {"sequence":"7","a":...} */
    (void)buf_printf(&x->out, "%s{\"sequence\":\"%zu\",", first ? "" : ",", offset);
    (void)buf_add_str(&x->out, e->json + 1);
}

/* True: answered. */
static bool pull_answer(struct exchange *x, bool even_empty)
{
    struct ficus_test *t = x->test;
    uint64_t next = x->after, found = 0;
    buf_clear(&x->out);
    (void)buf_add_str(&x->out, "{\"events\":[");
    for (size_t i = x->after; i < t->event_count && found < x->limit; i++) {
        next = i + 1;
        if (!topic_listed(x->topics, t->events[i].topic))
            continue;
        write_event(x, &t->events[i], i + 1, found == 0);
        found++;
    }
    (void)buf_printf(&x->out, "],\"next\":%llu}", (unsigned long long)next);
    if (found == 0 && !even_empty)
        return false;
    env_timer_stop(t->env, &x->timer);
    list_remove(&x->link);
    answer(x, 200);
    return true;
}

static void pulls_look(struct ficus_test *t)
{
    LIST_FOREACH_SAFE (&t->pulls, it, tmp)
        (void)pull_answer(CONTAINER_OF(it, struct exchange, link), false);
}

static void on_pull_over(void *arg)
{
    (void)pull_answer(arg, true);
}

/* ---- the hub ---- */

static uint64_t query_number(struct exchange *x, const char *name, uint64_t fallback)
{
    bool ok = true;
    uint64_t value = fallback;
    struct slice text = http_query_get(x->stream->head_in->query, name, x->stream->arena, &ok);
    return slice_to_u64(text, &value) ? value : fallback;
}

static void hub_pull(struct exchange *x)
{
    bool ok = true;
    struct slice topics = http_query_get(x->stream->head_in->query, "topics", x->stream->arena, &ok);
    x->topics = mem_strndup(topics.p == NULL ? "" : topics.p, topics.size);
    x->after = query_number(x, "after", 0);
    x->limit = query_number(x, "limit", 256);
    list_add_tail(&x->test->pulls, &x->link);
    if (x->topics == NULL)
        harness_die("out of memory");
    if (pull_answer(x, false))
        return;
    x->timer.fn = on_pull_over;
    x->timer.arg = x;
    env_timer_start(x->test->env, &x->timer, (int64_t)query_number(x, "wait", 0));
}

static void hub_publish(struct exchange *x, struct slice body)
{
    struct arena a;
    struct json *root = NULL;
    arena_init(&a, 64 * 1024 * 1024);
    if (json_parse(&a, body, &(struct json_limits){.size_max = WORLD_BODY_SIZE_MAX}, &root, NULL) != FICUS_ERR_OK)
        harness_die("a published batch is not JSON: " SLICE_FMT, SLICE_ARG(body));
    for (const struct json *v = root->first; v != NULL; v = v->next) {
        struct buf text;
        struct json_writer w;
        buf_init(&text, WORLD_BODY_SIZE_MAX);
        json_write_init(&w, &text);
        json_write_value(&w, v);
        world_append(x->test, buf_slice(&text), false);
        buf_done(&text);
    }
    arena_done(&a);
    (void)buf_printf(&x->out, "{\"last\":%zu}", x->test->event_count);
    answer(x, 200);
}

static void fake_request(struct exchange *x, struct slice body)
{
    const struct http_msg *m = x->stream->head_in;
    struct arena *a = x->stream->arena;
    const char *method = arena_strdup(a, m->method);
    const char *path = m->query.p == NULL
                           ? arena_strdup(a, m->path)
                           : arena_printf(a, SLICE_FMT "?" SLICE_FMT, SLICE_ARG(m->path), SLICE_ARG(m->query));
    char *text = body.size == 0 ? NULL : mem_strndup(body.p, body.size);
    int status = 200;
    const char *out = x->fake->fn(x->fake->arg, method, path, text, &status);
    mem_free(text);
    if (out != NULL)
        (void)buf_add_str(&x->out, out);
    answer(x, status);
}

/* What of the hub a test answers itself: how sagas are. */
static struct world_fake *hub_fake(const struct ficus_test *t, struct slice path)
{
    struct world_fake *f = slice_starts(path, SLICE("/v1/sagas/")) ? t->fakes : NULL;
    while (f != NULL && strcmp(f->name, "hub") != 0)
        f = f->next;
    return f;
}

static void hub_request(struct exchange *x, struct slice body)
{
    const struct http_msg *m = x->stream->head_in;
    if (slice_eq(m->path, SLICE("/v1/events")) && slice_eq(m->method, SLICE("POST"))) {
        hub_publish(x, body);
    } else if (slice_eq(m->path, SLICE("/v1/events"))) {
        hub_pull(x);
    } else if (slice_eq(m->path, SLICE("/v1/endpoints")) && query_number(x, "version", 0) == 0) {
        (void)buf_add_str(&x->out, "{\"version\":1,\"warming\":true,\"services\":{}}");
        answer(x, 200);
    } else if (slice_eq(m->path, SLICE("/v1/endpoints"))) {
        /* Addresses of fakes are set directly: this poll stays open. */
    } else if ((x->fake = hub_fake(x->test, m->path)) != NULL) {
        fake_request(x, body);
    } else {
        answer(x, 404);
    }
}

static void take(struct exchange *x, struct slice body)
{
    if (x->fake != NULL)
        fake_request(x, body);
    else
        hub_request(x, body);
}

static void on_body(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    if (err != FICUS_ERR_OK)
        harness_die("the service sent a body over %d bytes", WORLD_BODY_SIZE_MAX);
    take(arg, body);
}

static void begin(struct ficus_test *t, struct world_fake *fake, struct http_stream *s, bool end)
{
    struct exchange *x = mem_zalloc(sizeof *x);
    if (x == NULL)
        harness_die("out of memory");
    x->test = t;
    x->fake = fake;
    x->stream = s;
    list_init(&x->link);
    buf_init(&x->out, 2 * WORLD_BODY_SIZE_MAX);
    http_stream_handle(s, &handler, x);
    if (end) {
        take(x, SLICE(""));
        return;
    }
    x->collect.done = on_body;
    x->collect.arg = x;
    http_collect(s, &x->collect, WORLD_BODY_SIZE_MAX);
}

static void on_hub_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    begin(arg, NULL, s, end);
}

static void on_fake_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct world_fake *f = arg;
    begin(f->test, f, s, end);
}

/* ---- open and close ---- */

static struct http_server *
serve(struct ficus_test *t, const char *address,
      void (*on_request)(void *arg, struct http_stream *s, bool end, const struct env_peer *peer), void *arg)
{
    struct http_server *server = NULL;
    struct ficus_error error = {0};
    const struct http_server_options options = {.on_request = on_request, .arg = arg};
    if (http_server_new(t->env, &options, &server) != FICUS_ERR_OK ||
        http_server_listen(server, address, NULL, &error) != FICUS_ERR_OK)
        harness_die("cannot listen on %s: %s", address, error.text);
    t->servers_open++;
    return server;
}

void world_fake_open(struct ficus_test *t, struct world_fake *f)
{
    if (strcmp(f->name, "hub") == 0) /* the hub's own socket (hub_fake) */
        return;
    f->server = serve(t, f->address, on_fake_request, f);
    if (t->service == NULL)
        return;
    struct call_policy policy = call_policy_default();
    policy.timeout_ms = 10000;
    policy.keeps_keys = true;
    struct call_engine *calls = service_process(t->service)->calls;
    const char *address = f->address;
    if (call_engine_edge(calls, f->name, &policy, NULL) != FICUS_ERR_OK ||
        call_engine_endpoints(calls, f->name, &address, 1) != FICUS_ERR_OK)
        harness_die("cannot declare the fake service %s", f->name);
}

void world_open(struct ficus_test *t)
{
    list_init(&t->pulls);
    t->hub = serve(t, t->config.common.hub, on_hub_request, t);
}

static void on_server_closed(void *arg)
{
    struct ficus_test *t = arg;
    FICUS_ASSERT(t->servers_open > 0);
    if (--t->servers_open == 0)
        t->world_closed(t);
}

void world_close(struct ficus_test *t, void (*closed)(struct ficus_test *t))
{
    t->world_closed = closed;
    struct http_server *hub = t->hub;
    t->hub = NULL;
    http_server_close(hub, on_server_closed, t);
    for (struct world_fake *f = t->fakes; f != NULL; f = f->next) {
        if (f->server != NULL)
            http_server_close(f->server, on_server_closed, t);
        f->server = NULL;
    }
}

void world_free(struct ficus_test *t)
{
    for (size_t i = 0; i < t->event_count; i++)
        mem_free(t->events[i].json);
    mem_free(t->events);
    while (t->fakes != NULL) {
        struct world_fake *f = t->fakes;
        t->fakes = f->next;
        mem_free(f->name);
        mem_free(f);
    }
    arena_done(&t->world_arena);
}
