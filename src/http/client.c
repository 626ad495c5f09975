/* SPDX-License-Identifier: Apache-2.0
 *
 * The beginning of a client connection: the transport, with TLS or without, and the choice of the codec that goes on.
 */
#include "client_private.h"

#include "assert.h"
#include "mem.h"

void client_conn_gone(struct http_client_conn *conn)
{
    conn->handler->on_closed(conn->arg, conn);
    mem_free(conn);
}

static void connecting_closed(void *arg)
{
    client_conn_gone(arg);
}

/* Before a codec has it. */
static void connecting_close(struct http_client_conn *c)
{
    c->closing = true;
    env_close(c->env, c->stream, connecting_closed, c);
}

static enum ficus_err choose(struct http_client_conn *c)
{
    struct env_tls_info tls;
    bool agreed = c->secure && env_stream_tls(c->env, c->stream, &tls) && strcmp(tls.protocol, "h2") == 0;
    if (c->secure && c->h2 && !agreed)
        return FICUS_ERR_PROTOCOL;
    c->codec = agreed || c->h2 ? &h2_client_codec : &h1_client_codec;
    return FICUS_ERR_OK;
}

static void connected(void *arg, enum ficus_err err)
{
    struct http_client_conn *c = arg;
    if (err == FICUS_ERR_OK)
        err = choose(c);
    if (err == FICUS_ERR_OK) {
        if (c->codec->begin(c, c->stream))
            return;
        c->codec = NULL;
        err = FICUS_ERR_NOMEM;
    }
    c->handler->on_connected(c->arg, c, err);
    if (!c->closing)
        connecting_close(c);
}

enum ficus_err http_client_connect_to(struct env *e, const struct http_upstream *upstream,
                                      const struct http_limits *limits, const struct http_client_handler *h, void *arg,
                                      struct http_client_conn **ret_conn)
{
    struct http_client_conn *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return FICUS_ERR_NOMEM;
    c->env = e;
    c->handler = h;
    c->arg = arg;
    c->h2 = upstream->h2;
    c->secure = upstream->tls != NULL;
    c->limits = limits != NULL ? *limits : (struct http_limits){0};
    struct http_limits *l = &c->limits;
    l->head_size_max = l->head_size_max == 0 || l->head_size_max > HTTP_HEAD_SIZE_MAX ? HTTP_HEAD_SIZE_MAX : l->head_size_max;
    l->field_count_max = l->field_count_max == 0 ? 100 : l->field_count_max;
    l->arena_size_max = l->arena_size_max == 0 ? 256 * 1024 : l->arena_size_max;
    l->body_timeout_ms = l->body_timeout_ms == 0 ? 30 * 1000 : l->body_timeout_ms;
    enum ficus_err err = env_connect_tls(e, upstream->address, upstream->tls, connected, c, &c->stream);
    if (err != FICUS_ERR_OK) {
        mem_free(c);
        return err;
    }
    *ret_conn = c;
    return FICUS_ERR_OK;
}

enum ficus_err http_client_connect(struct env *e, const char *address, const struct http_limits *limits,
                                   const struct http_client_handler *h, void *arg, struct http_client_conn **ret_conn)
{
    const struct http_upstream upstream = {.address = address};
    return http_client_connect_to(e, &upstream, limits, h, arg, ret_conn);
}

enum ficus_err http_client_open(struct http_client_conn *c, const struct http_handler *h, void *arg,
                                struct http_stream **ret_stream)
{
    if (c->codec == NULL)
        return c->closing ? FICUS_ERR_RESET : FICUS_ERR_BUSY;
    return c->codec->open(c->self, h, arg, ret_stream);
}

size_t http_client_room(const struct http_client_conn *c)
{
    return c->codec == NULL ? 0 : c->codec->room(c->self);
}

size_t http_client_running(const struct http_client_conn *c)
{
    return c->codec == NULL ? 0 : c->codec->running(c->self);
}

bool http_client_is_shared(const struct http_client_conn *c)
{
    return c->codec == &h2_client_codec;
}

void http_client_close(struct http_client_conn *c)
{
    if (c->codec != NULL)
        c->codec->close(c->self);
    else if (!c->closing)
        connecting_close(c);
}
