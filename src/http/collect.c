/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole small bodies in memory. The bytes are not in the arena, because the arena bounds heads, and the size of a body
 * is bounded here.
 */
#include "http_stream.h"

static void collect_finish(struct http_collect *c, struct http_stream *s, struct slice body, enum ficus_err err)
{
    http_stream_handle(s, c->handler_before, c->arg_before);
    c->done(c->arg, s, body, err);
}

static void collect_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct http_collect *c = arg;
    /* A body that says that it is too large is not read to the limit first. */
    if (s->head_in->content_length > 0 && (uint64_t)s->head_in->content_length > c->body.size_max) {
        collect_finish(c, s, SLICE_NONE, FICUS_ERR_TOO_LARGE);
    } else if (!buf_add_slice(&c->body, data)) {
        bool over = data.size > c->body.size_max - c->body.size;
        collect_finish(c, s, SLICE_NONE, over ? FICUS_ERR_TOO_LARGE : FICUS_ERR_NOMEM);
    } else if (end) {
        collect_finish(c, s, buf_slice(&c->body), FICUS_ERR_OK);
    } else {
        http_recv(s);
    }
}

static void collect_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct http_collect *c = arg;
    if (c->handler_before->on_head != NULL)
        c->handler_before->on_head(c->arg_before, s, m, end);
}

static void collect_interim(void *arg, struct http_stream *s, struct http_msg *m)
{
    struct http_collect *c = arg;
    if (c->handler_before->on_interim != NULL)
        c->handler_before->on_interim(c->arg_before, s, m);
}

static void collect_writable(void *arg, struct http_stream *s)
{
    struct http_collect *c = arg;
    if (c->handler_before->on_writable != NULL)
        c->handler_before->on_writable(c->arg_before, s);
}

static void collect_stream_done(void *arg, struct http_stream *s)
{
    struct http_collect *c = arg;
    c->handler_before->on_done(c->arg_before, s);
}

static void collect_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct http_collect *c = arg;
    c->handler_before->on_reset(c->arg_before, s, err, detail);
}

static void collect_half_close(void *arg, struct http_stream *s)
{
    struct http_collect *c = arg;
    c->handler_before->on_half_close(c->arg_before, s);
}

void http_collect(struct http_stream *s, struct http_collect *c, size_t size_max)
{
    c->handler_before = s->handler;
    c->arg_before = s->arg;
    c->handler = (struct http_handler){collect_head,
                                       collect_interim,
                                       collect_data,
                                       NULL,
                                       collect_writable,
                                       collect_stream_done,
                                       collect_reset,
                                       c->handler_before->on_half_close != NULL ? collect_half_close : NULL};
    buf_init(&c->body, size_max);
    if (s->head_in != NULL && s->head_in->content_length > 0 && (uint64_t)s->head_in->content_length <= size_max)
        (void)buf_reserve(&c->body, (size_t)s->head_in->content_length); /* a failure shows at the first byte */
    http_stream_handle(s, &c->handler, c);
    http_recv(s);
}

void http_collect_done(struct http_collect *c)
{
    buf_done(&c->body);
}
