/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators may ask the gateway, by a unix socket in a private folder; the kernel says who asks. Nothing here changes
 * anything.
 *
 *     GET /ready      200 or 503 {"ready": bool, "stopping": bool}
 *     GET /config     the configuration that holds now, as in its resolved file
 *     GET /routes     [{method, path, to, auth, timeout_ms}]
 *     GET /clusters   who is called, and how that goes: call_engine_describe of the first loop
 *     GET /stats      metrics, as text or OpenMetrics
 */
#include "proxy_private.h"

#include "json.h"
#include "mem.h"

#include <unistd.h>

enum { ADMIN_CONNS_MAX = 16, DOCUMENT_SIZE_MAX = 16 * 1024 * 1024 };

/* One answer, in the stream's arena; the text is freed with the exchange. */
struct admin_answer {
    struct buf text;
    size_t sent;
};

static void ignore_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    (void)arg, (void)s, (void)data, (void)end; /* nobody asks with a body */
}

static void on_writable(void *arg, struct http_stream *s)
{
    struct admin_answer *a = arg;
    struct slice rest = slice_from(buf_slice(&a->text), a->sent);
    if (rest.size > 0)
        a->sent += http_send(s, rest.p, rest.size, true);
}

static void on_done(void *arg, struct http_stream *s)
{
    (void)s;
    buf_done(&((struct admin_answer *)arg)->text);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    (void)err, (void)detail;
    on_done(arg, s);
}

static const struct http_handler handler = {
    .on_data = ignore_data, .on_writable = on_writable, .on_done = on_done, .on_reset = on_reset};

/* ---- documents ---- */

/* All loops. */
static bool is_ready(const struct proxy *p)
{
    return p->loops->ready == p->loops->count && !p->stopping;
}

static void write_ready(const struct proxy *p, struct json_writer *w)
{
    json_write_object(w);
    json_write_kv_bool(w, "ready", is_ready(p));
    json_write_kv_bool(w, "stopping", p->stopping);
    json_write_end(w);
}

static void write_config(const struct proxy *p, struct json_writer *w)
{
    conf_encode(&proxy_config_table, p->current->config, w);
}

static void write_place(const struct proxy_route *r, struct json_writer *w)
{
    json_write_key(w, "to");
    json_write_object(w);
    switch (proxy_route_kind(r)) {
    case PROXY_FORWARD:
        json_write_kv_str(w, "service", r->service);
        json_write_kv_str(w, "target", r->target);
        break;
    case PROXY_COMPOSE:
        json_write_key(w, "parts");
        json_write_array(w);
        for (size_t i = 0; i < r->part_count; i++)
            json_write_str(w, r->parts[i].service);
        json_write_end(w);
        break;
    case PROXY_FILES:
        json_write_kv_str(w, "files", r->files);
        break;
    case PROXY_ANSWER:
        json_write_kv_i64(w, "answer", r->answer);
        break;
    }
    json_write_end(w);
}

static void write_routes(const struct proxy *p, struct json_writer *w)
{
    static const char *const auth[] = {"none", "optional", "required"};
    json_write_array(w);
    for (size_t i = 0; i < p->current->config->route_count; i++) {
        const struct proxy_route *r = &p->current->config->routes[i];
        json_write_object(w);
        json_write_kv_str(w, "method", r->method);
        json_write_kv_str(w, "path", r->path);
        write_place(r, w);
        json_write_kv_str(w, "auth", auth[r->auth]);
        json_write_kv_i64(w, "timeout_ms", r->timeout_ms);
        json_write_end(w);
    }
    json_write_end(w);
}

static void write_clusters(const struct proxy *p, struct json_writer *w)
{
    (void)call_engine_describe(p->process.calls, w); /* how many they are nobody asks */
}

static const struct {
    const char *path;
    void (*write)(const struct proxy *p, struct json_writer *w); /* NULL: metrics */
} documents[] = {
    {"/ready", write_ready},       {"/config", write_config}, {"/routes", write_routes},
    {"/clusters", write_clusters}, {"/stats", NULL},
};

/* ---- answering ---- */

static void answer(struct proxy *p, struct http_stream *s, struct admin_answer *a, size_t document)
{
    const char *type = "application/json";
    struct json_writer w;
    struct http_msg m;
    if (documents[document].write == NULL) {
        type = proxy_metrics_write(p, s->head_in, &a->text);
    } else {
        json_write_init(&w, &a->text);
        documents[document].write(p, &w);
        (void)buf_add_char(&a->text, '\n');
    }
    if (type == NULL || buf_failed(&a->text)) {
        (void)http_respond_problem(s, 500, NULL, "the document does not fit its buffer");
        return;
    }
    http_msg_init(&m, s->arena);
    m.status = documents[document].write == write_ready && !is_ready(p) ? 503 : 200;
    m.content_length = (int64_t)buf_slice(&a->text).size;
    if (!http_msg_add(&m, SLICE("Content-Type"), slice_str(type)) || http_send_head(s, &m, false) != FICUS_ERR_OK) {
        http_reset(s, FICUS_ERR_NOMEM);
        buf_done(&a->text); /* no callback follows a reset of ours */
        return;
    }
    on_writable(a, s);
}

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    static const struct http_handler none = {.on_data = NULL};
    static const struct http_field allow = {SLICE("Allow"), SLICE("GET")};
    const struct http_msg *m = s->head_in;
    struct admin_answer *a = ARENA_NEW(s->arena, struct admin_answer);
    (void)end;
    if (a == NULL) {
        http_stream_handle(s, &none, NULL);
        http_reset(s, FICUS_ERR_NOMEM);
        return;
    }
    buf_init(&a->text, DOCUMENT_SIZE_MAX);
    http_stream_handle(s, &handler, a);
    /* The folder is 0700 already; this also holds when someone opens it. */
    if (!peer->is_unix || (peer->uid != 0 && peer->uid != (int64_t)geteuid())) {
        (void)http_respond_problem(s, 403, "not_permitted", "only the user who runs the system may use this socket");
        return;
    }
    size_t i = 0;
    while (i < ARRAY_COUNT(documents) && !slice_eq_str(m->path, documents[i].path))
        i++;
    if (i == ARRAY_COUNT(documents))
        (void)http_respond_problem(s, 404, NULL, "see /ready, /config, /routes, /clusters, /stats");
    else if (!slice_eq_str(m->method, "GET"))
        (void)http_respond(s, 405, &allow, 1, NULL, SLICE(""));
    else
        answer(arg, s, a, i);
}

enum ficus_err proxy_admin_open(struct proxy *p, struct ficus_error *reterr)
{
    const char *address = p->first->admin;
    struct http_server_options o = {.limits = {.conn_count_max = ADMIN_CONNS_MAX}, .on_request = on_request, .arg = p};
    if (address[0] == '\0')
        return FICUS_ERR_OK;
    enum ficus_err err = http_server_new(p->env, &o, &p->admin);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "operators' socket");
    err = http_server_listen(p->admin, address, NULL, reterr);
    return err == FICUS_ERR_OK ? err : err_wrap(reterr, "listen on %s", address);
}
