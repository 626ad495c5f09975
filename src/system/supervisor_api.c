/* SPDX-License-Identifier: Apache-2.0
 *
 * The supervisor's operator socket: who runs as the same user (or root) may look and command; the kernel says who it
 * is.
 *
 *     GET  /v1/status           200 the document of status.h
 *     POST /v1/restart/NAME     202; 404 when there is no such process; 409 while everything stops
 *     POST /v1/stop/NAME        the same; it stays away until it is started
 *     POST /v1/kill/NAME        the same at once, without time to finish its work
 *     POST /v1/start/NAME       the same
 *     POST /v1/reload           200 {"ok": ...} as supervisor_reload has it; 409 while it cannot be
 *     POST /v1/upgrade          ?binary=FILE (absolute; without it the file that this one came from): 200 {"ok": true, "from", "to"},
 *                               then that program takes this one's place and all others'; 200 {"ok": false, "usage", "text"}: it
 *                               cannot, and nothing has changed; 409 while something else is under way
 *     POST /v1/down             202, then everything stops
 */
#include "supervisor_private.h"

#include "assert.h"
#include "io_socket.h"
#include "mem.h"

#include <stdio.h>
#include <unistd.h>

enum { STATUS_SIZE_MAX = 1 << 20 };

/* Lives in the stream's arena; text is freed with the exchange. */
struct answer {
    struct buf text;
    size_t sent;
};

static void ignore_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    /* no request of this API has a body; whoever sends one loses the connection at its end */
    (void)arg, (void)s, (void)data, (void)end;
}

static void on_writable(void *arg, struct http_stream *s)
{
    struct answer *a = arg;
    struct slice rest = a == NULL ? SLICE_NONE : slice_from(buf_slice(&a->text), a->sent);
    if (rest.size > 0)
        a->sent += http_send(s, rest.p, rest.size, true);
}

static void on_done(void *arg, struct http_stream *s)
{
    struct answer *a = arg;
    if (a != NULL)
        buf_done(&a->text);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    on_done(arg, s);
}

static const struct http_handler handler = {
    .on_data = ignore_data, .on_writable = on_writable, .on_done = on_done, .on_reset = on_reset};

/* 200 with what write says; an error of it is a problem. */
static void answer_document(struct supervisor *v, struct http_stream *s,
                            enum ficus_err (*write)(struct supervisor *v, struct buf *out))
{
    struct answer *a = ARENA_NEW(s->arena, struct answer);
    if (a == NULL) {
        (void)http_respond_problem(s, 503, NULL, "out of memory");
        return;
    }
    buf_init(&a->text, STATUS_SIZE_MAX);
    http_stream_handle(s, &handler, a);
    enum ficus_err err = write(v, &a->text);
    if (err != FICUS_ERR_OK) {
        (void)http_respond_problem(s, err == FICUS_ERR_NOMEM ? 503 : 409, NULL,
                                   err == FICUS_ERR_BUSY ? "a reload or a restart of the gateway is under way"
                                                         : "the system is stopping");
        return;
    }
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = (int64_t)buf_slice(&a->text).size;
    if (buf_failed(&a->text) || !http_msg_add(&m, SLICE("Content-Type"), SLICE("application/json")) ||
        http_send_head(s, &m, false) != FICUS_ERR_OK) {
        http_reset(s, FICUS_ERR_TOO_LARGE);
        buf_done(&a->text); /* no callback follows a reset of ours */
        return;
    }
    on_writable(a, s);
}

static enum ficus_err write_status(struct supervisor *v, struct buf *out)
{
    supervisor_status(v, out);
    return FICUS_ERR_OK;
}

static const struct {
    const char *prefix;
    enum supervisor_order order;
} orders[] = {
    {"/v1/restart/", SUPERVISOR_RESTART},
    {"/v1/stop/", SUPERVISOR_STOP},
    {"/v1/kill/", SUPERVISOR_KILL},
    {"/v1/start/", SUPERVISOR_START},
};

/* False: the path is none of these. */
static bool answer_order(struct supervisor *v, struct http_stream *s, struct slice path)
{
    size_t i = 0;
    while (i < ARRAY_COUNT(orders) && !slice_starts(path, slice_str(orders[i].prefix)))
        i++;
    if (i == ARRAY_COUNT(orders))
        return false;
    enum ficus_err err = supervisor_order(v, slice_from(path, strlen(orders[i].prefix)), orders[i].order);
    /* a failure to answer shows at the peer, and the order is carried out in either case */
    if (err == FICUS_ERR_OK)
        (void)http_respond(s, 202, NULL, 0, "application/json", SLICE("{}"));
    else if (err == FICUS_ERR_NOT_FOUND)
        (void)http_respond_problem(s, 404, "no_such_process", "no process of this name");
    else
        (void)http_respond_problem(s, 409, "stopping", "the system is stopping");
    return true;
}

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct supervisor *v = arg;
    const struct http_msg *m = s->head_in;
    http_stream_handle(s, &handler, NULL);
    if (!peer->is_unix || (peer->uid != (int64_t)getuid() && peer->uid != 0)) {
        (void)http_respond_problem(s, 403, "not_permitted", "only the user who runs the system may use this socket");
    } else if (slice_eq_str(m->path, "/v1/status") && slice_eq_str(m->method, "GET")) {
        answer_document(v, s, write_status);
    } else if (slice_eq_str(m->path, "/v1/reload") && slice_eq_str(m->method, "POST")) {
        answer_document(v, s, supervisor_reload);
    } else if (slice_eq_str(m->path, "/v1/upgrade") && slice_eq_str(m->method, "POST")) {
        supervisor_upgrade(v, s);
    } else if (slice_eq_str(m->method, "POST") && answer_order(v, s, m->path)) {
        return;
    } else if (slice_eq_str(m->path, "/v1/down") && slice_eq_str(m->method, "POST")) {
        (void)http_respond(s, 202, NULL, 0, "application/json", SLICE("{}"));
        if (!v->stopping)
            supervisor_stop(v);
    } else {
        (void)http_respond_problem(s, 404, NULL, "see GET /v1/status, POST /v1/{restart,stop,kill,start}/NAME, POST /v1/{reload,upgrade,down}");
    }
}

enum ficus_err supervisor_api_open(struct supervisor *s, struct ficus_error *reterr)
{
    struct http_server_options o = {
        .limits = {.conn_count_max = 64}, .server_name = "ficus", .on_request = on_request, .arg = s};
    char number[16];
    snprintf(s->api_address, sizeof s->api_address, "unix:%s/supervisor.sock", s->o.plan->state->sockets);
    enum ficus_err err = http_server_new(s->env, &o, &s->api);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "supervisor: operator socket: %s", err_text(err));
    /* its descriptor is ours, so that it can outlive this program: whoever asks meanwhile waits in its queue */
    if (s->api_fd < 0)
        err = socket_listen(s->api_address, &s->api_fd, reterr);
    snprintf(number, sizeof number, "fd:%d", s->api_fd);
    return err == FICUS_ERR_OK ? http_server_listen(s->api, number, NULL, reterr) : err;
}

void supervisor_api_close(struct supervisor *s)
{
    if (s->api_fd < 0)
        return;
    close(s->api_fd);
    s->api_fd = -1;
    (void)unlink(s->api_address + strlen("unix:"));
}
