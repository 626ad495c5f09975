/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server in a test does with requests that it wants to have whole before it looks at them. Header only.
 */
#ifndef FICUS_TESTS_WHOLE_SERVER_H
#define FICUS_TESTS_WHOLE_SERVER_H

#include "http_server.h"
#include "mem.h"

/* The arg of http_server_options, whose on_request is whole_request. */
struct whole_server {
    void (*on_whole)(void *arg, struct http_stream *s, struct slice body, enum ficus_err err);   /* err: it broke off */
    void *arg;
};

struct whole {
    const struct whole_server *server;
    struct http_collect collect;
};

static inline void whole_done(void *arg, struct http_stream *s)
{
    (void)s;
    struct whole *p = arg;
    http_collect_done(&p->collect);
    mem_free(p);
}

static inline void whole_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    (void)err, (void)detail;
    whole_done(arg, s);
}

static inline void whole_body(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    const struct whole *p = arg;
    p->server->on_whole(p->server->arg, s, body, err);
}

static inline void whole_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    static const struct http_handler handler = {.on_done = whole_done, .on_reset = whole_reset};
    (void)peer;
    struct whole *p = mem_zalloc(sizeof *p);
    p->server = arg;
    http_stream_handle(s, &handler, p);
    p->collect.done = whole_body;
    p->collect.arg = p;
    if (end)
        whole_body(p, s, SLICE(""), FICUS_ERR_OK);
    else
        http_collect(s, &p->collect, 65536);
}

#endif
