/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests in, answers out: who may ask, which route, the body, and the sending of answers larger than a stream's
 * buffer.
 */
#include "hub_groups.h"

#include "assert.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>
#include <unistd.h>

enum { OUT_SIZE_MAX = 12 * 1024 * 1024 };

static const struct hub_route routes[] = {
    {"POST", "/v1/events", false, EVENT_BATCH_SIZE_MAX, hub_events_publish},
    {"GET", "/v1/events", false, 0, hub_events_pull},
    {"GET", "/v1/endpoints", false, 0, hub_registry_get},
    {"PUT", "/v1/registry", true, HUB_REGISTRY_SIZE_MAX, hub_registry_put},
    {"GET", "/v1/sagas", true, 0, hub_sagas_list},
    {"GET", "/v1/sagas/{}/{}", true, 0, hub_sagas_show},
    {"GET", "/v1/sagas/{}/{}", false, 0, hub_sagas_show},
    {"PUT", "/v1/sagas/{}/{}", true, EVENT_SIZE_MAX, hub_sagas_start},
    {"GET", "/v1/sagas/{}", true, 0, hub_sagas_describe},
    {"POST", "/v1/sagas/{}/{}/retry", true, HUB_COMMAND_SIZE_MAX, hub_sagas_retry},
    {"POST", "/v1/sagas/{}/{}/cancel", true, HUB_COMMAND_SIZE_MAX, hub_sagas_cancel},
    {"POST", "/v1/sagas/{}/{}/terminate", true, HUB_COMMAND_SIZE_MAX, hub_sagas_terminate},
    {"PUT", "/v1/sagas/{}/{}/signals/{}", true, HUB_COMMAND_SIZE_MAX, hub_sagas_signal},
    {"PUT", "/v1/sagas/{}/{}/signals/{}", false, HUB_COMMAND_SIZE_MAX, hub_sagas_signal},
    {"GET", "/v1/flows", true, 0, hub_flows_list},
    {"GET", "/v1/flows/{}", true, 0, hub_flows_describe},
    {"GET", "/v1/flows/{}/{}", true, 0, hub_flows_show},
    {"GET", "/v1/copies/{}", true, 0, hub_copies_get},
    {"GET", "/v1/topics", true, 0, hub_events_topics},
    {"POST", "/v1/events", true, EVENT_BATCH_SIZE_MAX, hub_events_publish},
    {"GET", "/v1/events", true, 0, hub_events_pull},
    {"GET", "/v1/offset", true, 0, hub_offset_at},
    {"GET", "/v1/scheduled", true, 0, hub_later_list},
    {"DELETE", "/v1/scheduled/{}", true, 0, hub_later_remove},
    {"GET", "/v1/dead", true, 0, hub_events_dead},
    {"POST", "/v1/dead/{}/redrive", true, 0, hub_events_redrive},
    {"POST", "/v1/dead/{}/drop", true, 0, hub_events_drop},
    {"GET", "/v1/consumers", true, 0, hub_lag_get},
    {"POST", "/v1/groups/{}/lease", true, 0, hub_groups_lease},
    {"POST", "/v1/groups/{}/lease", false, 0, hub_groups_lease},
    {"POST", "/v1/groups/{}/settle", true, HUB_COMMAND_SIZE_MAX, hub_groups_settle},
    {"POST", "/v1/groups/{}/settle", false, HUB_COMMAND_SIZE_MAX, hub_groups_settle},
    {"POST", "/v1/groups/{}/seek", true, HUB_COMMAND_SIZE_MAX, hub_groups_seek},
    {"POST", "/v1/groups/{}/skip", true, HUB_COMMAND_SIZE_MAX, hub_groups_skip},
};

/* ---- life of an exchange ---- */

static void exchange_free_if_over(struct hub_exchange *x)
{
    if (x->s != NULL || x->busy)
        return;
    if (x->publishing)
        x->hub->publishing--;
    env_timer_stop(x->hub->env, &x->timer);
    list_remove(&x->link);
    if (x->collecting)
        http_collect_done(&x->collect);
    buf_done(&x->out);
    mem_free(x->topics);
    mem_free(x);
}

static void stream_ended(struct hub_exchange *x)
{
    x->s = NULL;
    hub_events_end(x);
    hub_registry_end(x);
    hub_groups_end(x);
    exchange_free_if_over(x);
}

static void on_done(void *arg, struct http_stream *s)
{
    (void)s;
    stream_ended(arg);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    (void)s;
    (void)err;
    (void)detail;
    stream_ended(arg);
}

static void send_more(struct hub_exchange *x)
{
    struct slice rest = slice_from(buf_slice(&x->out), x->sent);
    if (x->answered && rest.size > 0)
        x->sent += http_send(x->s, rest.p, rest.size, true);
}

static void on_writable(void *arg, struct http_stream *s)
{
    (void)s;
    send_more(arg);
}

static const struct http_handler exchange_handler = {
    .on_writable = on_writable, .on_done = on_done, .on_reset = on_reset};

bool hub_exchange_back(struct hub_exchange *x)
{
    x->busy = false;
    if (x->s != NULL)
        return true;
    exchange_free_if_over(x);
    return false;
}

void hub_exchange_begun(struct hub_exchange *x, enum ficus_err err, const char *detail)
{
    if (err == FICUS_ERR_OK)
        return;
    x->busy = false;
    hub_problem_err(x, err, detail);
}

void hub_on_json(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    struct hub_exchange *x = arg;
    if (!hub_exchange_back(x))
        return;
    if (err == FICUS_ERR_OK && !buf_add_slice(&x->out, json))
        err = FICUS_ERR_NOMEM;
    if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, detail);
    else
        hub_answer(x, 200, "application/json");
}

struct http_stream *hub_exchange_hand_over(struct hub_exchange *x)
{
    struct http_stream *s = x->s;
    metric_inc(METRIC(x->hub->requests, slice_str(x->route->path), SLICE("200")));
    stream_ended(x);
    return s;
}

/* ---- answers ---- */

void hub_answer(struct hub_exchange *x, int status, const char *content_type)
{
    FICUS_ASSERT(x->s != NULL && !x->answered);
    x->answered = true;
    char code[8];
    snprintf(code, sizeof code, "%d", status);
    metric_inc(METRIC(x->hub->requests, slice_str(x->route != NULL ? x->route->path : "none"), slice_str(code)));
    struct slice body = buf_slice(&x->out);
    struct http_msg m;
    http_msg_init(&m, x->s->arena);
    m.status = status;
    m.content_length = (int64_t)body.size;
    bool ok = content_type == NULL || http_msg_add(&m, SLICE("Content-Type"), slice_str(content_type));
    ok = ok && http_msg_add(&m, SLICE("Cache-Control"), SLICE("no-store"));
    if (status == 503 || status == 507)
        ok = ok && http_msg_add(&m, SLICE("Retry-After"), SLICE("1"));
    if (!ok || http_send_head(x->s, &m, body.size == 0) != FICUS_ERR_OK) {
        struct http_stream *s = x->s;
        http_reset(s, FICUS_ERR_INTERNAL); /* no further callback */
        stream_ended(x);
        return;
    }
    send_more(x);
}

void hub_problem(struct hub_exchange *x, int status, const char *code, const char *detail)
{
    buf_clear(&x->out);
    http_problem_write(&x->out, status, code, detail, SLICE_NONE);
    hub_answer(x, status, "application/problem+json");
}

void hub_problem_err(struct hub_exchange *x, enum ficus_err err, const char *detail)
{
    /* What happens to an operation of ours is not a client's word: a cancelled one means that the hub is going, and a
     * disk that fails may be repaired. */
    bool passes = err == FICUS_ERR_CANCELLED || err == FICUS_ERR_IO || err == FICUS_ERR_CORRUPT;
    hub_problem(x, passes ? 503 : err_http_status(err), NULL,
                detail != NULL && detail[0] != '\0' ? detail : err_text(err));
}

/* ---- queries ---- */

bool hub_query_text(struct hub_exchange *x, const char *name, struct slice *ret_text)
{
    bool ok = true;
    *ret_text = http_query_get(x->s->head_in->query, name, x->s->arena, &ok);
    if (!ok)
        hub_problem(x, 400, "query", "the query has a broken escape");
    return ok;
}

bool hub_query_i64(struct hub_exchange *x, const char *name, int64_t min, int64_t max, int64_t fallback,
                   int64_t *ret_value)
{
    struct slice text;
    if (!hub_query_text(x, name, &text))
        return false;
    *ret_value = fallback;
    if (text.p == NULL)
        return true;
    if (slice_to_i64(text, ret_value) && *ret_value >= min && *ret_value <= max)
        return true;
    char detail[160];
    snprintf(detail, sizeof detail, "%s must be a whole number from %lld to %lld", name, (long long)min,
             (long long)max);
    hub_problem(x, 400, "query", detail);
    return false;
}

/* ---- requests ---- */

/* Match one segment after another; "{}" takes any one, not empty. False also when a segment does not decode. */
static bool path_matches(struct hub_exchange *x, const char *pattern, struct slice path)
{
    struct slice want = slice_str(pattern);
    size_t params = 0;
    for (;;) {
        struct slice w = slice_cut(&want, '/'), p = slice_cut(&path, '/');
        if (slice_eq_str(w, "{}")) {
            FICUS_ASSERT(params < ARRAY_COUNT(x->params));
            if (p.size == 0 || !text_percent_decode(x->s->arena, p, false, &x->params[params++]))
                return false;
        } else if (!slice_eq(w, p)) {
            return false;
        }
        if (want.p == NULL || path.p == NULL)
            return want.p == NULL && path.p == NULL;
    }
}

/* NULL: answered with 404 or 405. */
static const struct hub_route *find_route(struct hub_exchange *x, bool is_operator)
{
    bool path_known = false;
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        if (routes[i].is_operator != is_operator || !path_matches(x, routes[i].path, x->s->head_in->path))
            continue;
        path_known = true;
        if (slice_eq_str(x->s->head_in->method, routes[i].method))
            return &routes[i];
    }
    if (path_known)
        hub_problem(x, 405, "method", "this path has no such method");
    else
        hub_problem(x, 404, "no_route", "there is no such path");
    return NULL;
}

static void on_body(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    (void)s;
    struct hub_exchange *x = arg;
    if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, err == FICUS_ERR_TOO_LARGE ? "the body is over its limit" : NULL);
    else
        x->route->handle(x, body);
}

static void route_request(struct hub_exchange *x, bool end, bool is_operator)
{
    struct hub *h = x->hub;
    x->route = find_route(x, is_operator);
    if (x->route == NULL)
        return;
    if (x->route->handle == hub_events_publish) {
        if (h->publishing >= HUB_PUBLISHING_MAX) {
            hub_problem(x, 503, "busy", "too many batches are being stored");
            return;
        }
        h->publishing++;
        x->publishing = true;
    }
    if (x->route->body_size_max == 0 || end) {
        x->route->handle(x, SLICE(""));
        return;
    }
    x->collecting = true;
    x->collect.done = on_body;
    x->collect.arg = x;
    http_collect(x->s, &x->collect, x->route->body_size_max);
}

static struct hub_exchange *exchange_new(struct hub *h, struct http_stream *s)
{
    struct hub_exchange *x = mem_zalloc(sizeof *x);
    http_stream_handle(s, &exchange_handler, x);
    if (x == NULL) {
        http_reset(s, FICUS_ERR_NOMEM);
        return NULL;
    }
    x->hub = h;
    x->s = s;
    buf_init(&x->out, OUT_SIZE_MAX);
    list_init(&x->wait_link);
    list_add_tail(&h->exchanges, &x->link);
    return x;
}

void hub_on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    (void)peer;
    struct hub *h = arg;
    struct hub_exchange *x = exchange_new(h, s);
    if (x == NULL)
        return;
    if (process_answer(&h->process, s, !h->stopping) || !process_identity(&h->process, s, &x->claims)) {
        x->answered = true;
        return;
    }
    route_request(x, end, false);
}

void hub_on_operator_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct hub *h = arg;
    struct hub_exchange *x = exchange_new(h, s);
    if (x == NULL)
        return;
    if (process_answer(&h->process, s, !h->stopping)) {
        x->answered = true;
        return;
    }
    /* The folder is 0700 already; this also holds when someone opens it. */
    if (!peer->is_unix || (peer->uid != 0 && peer->uid != (int64_t)geteuid())) {
        hub_problem(x, 403, "operator", "only the system's own user may use this socket");
        return;
    }
    x->uid = peer->uid;
    route_request(x, end, true);
}
