/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's own health and metrics. Health is asked before the host is checked, because probes come by address;
 * metrics are for the machine itself: loopback, and not through another proxy.
 */
#include "proxy_private.h"

enum { METRICS_SIZE_MAX = 4 * 1024 * 1024 };

static bool is_read(struct slice method)
{
    return slice_eq_str(method, "GET") || slice_eq_str(method, "HEAD");
}

static void refuse_method(struct proxy_request *q)
{
    struct http_field allow = {SLICE("Allow"), SLICE("GET, HEAD")};
    proxy_problem(q, 405, NULL, "this path can only be read", &allow, 1);
}

enum proxy_verdict filter_health(struct proxy_request *q)
{
    struct slice path = q->stream->head_in->path;
    bool health = slice_eq_str(path, PROXY_HEALTH_PATH);
    if (!health && !slice_eq_str(path, PROXY_ALIVE_PATH))
        return PROXY_PASS;
    if (!is_read(q->stream->head_in->method))
        refuse_method(q);
    else if (!health)
        proxy_answer(q, 200, NULL, 0, "application/json", SLICE("{\"status\":\"alive\"}\n"));
    else if (!q->proxy->stopping)
        /* About the gateway alone: it does not mirror the services, also not those that it still waits for before READY=1. */
        proxy_answer(q, 200, NULL, 0, "application/json", SLICE("{\"status\":\"ready\"}\n"));
    else
        proxy_answer(q, 503, NULL, 0, "application/json", SLICE("{\"status\":\"stopping\"}\n"));
    return PROXY_ANSWERED;
}

static bool is_local(const struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    struct slice peer = slice_str(q->peer->text);
    bool loopback = q->peer->is_unix || slice_starts(peer, SLICE("127.")) || slice_starts(peer, SLICE("[::1]"));
    return loopback &&
           http_msg_count(m, "x-forwarded-for") + http_msg_count(m, "forwarded") + http_msg_count(m, "x-real-ip") == 0;
}

const char *proxy_metrics_write(struct proxy *p, const struct http_msg *m, struct buf *out)
{
    struct slice value;
    bool open = false;
    for (size_t pos = 0; http_msg_next(m, "accept", &pos, &value);)
        while (value.p != NULL) {
            struct slice type = slice_cut(&value, ',');
            open |= slice_eq_nocase(slice_trim(slice_cut(&type, ';')), SLICE("application/openmetrics-text"));
        }
    struct metrics *all = proxy_loops_metrics(p->loops);
    if (all == NULL)
        return NULL;
    metric_set(metric_only(metrics_register(all, proxy_conns_metric)), (int64_t)p->loops->clients.conn_count);
    bool fits = open ? metrics_render_open(all, out) : metrics_render(all, out);
    metrics_free(all);
    if (!fits)
        return NULL;
    return open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                : "text/plain; version=0.0.4; charset=utf-8";
}

enum proxy_verdict filter_metrics(struct proxy_request *q)
{
    if (!slice_eq_str(q->stream->head_in->path, "/metrics") || !is_local(q))
        return PROXY_PASS; /* to a stranger this path does not exist; the router says so */
    if (!is_read(q->stream->head_in->method)) {
        refuse_method(q);
        return PROXY_ANSWERED;
    }
    struct buf text;
    buf_init(&text, METRICS_SIZE_MAX);
    const char *type = proxy_metrics_write(q->proxy, q->stream->head_in, &text);
    if (type != NULL)
        proxy_answer(q, 200, NULL, 0, type, buf_slice(&text));
    else
        proxy_problem(q, 500, NULL, "the metrics do not fit their buffer", NULL, 0);
    buf_done(&text);
    return PROXY_ANSWERED;
}
