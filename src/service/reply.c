/* SPDX-License-Identifier: Apache-2.0
 *
 * Sending the finished answer, with the client's window as the pace.
 */
#include "service_impl.h"

static bool fill_head(const struct ficus_req *r, struct http_msg *m)
{
    const struct answer *a = &r->answer;
    bool fits = true;
    m->status = a->status;
    if (a->content_type != NULL)
        fits = http_msg_add(m, SLICE("content-type"), slice_str(a->content_type));
    for (size_t i = 0; i < a->header_count; i++)
        fits = fits && http_msg_set(m, a->headers[i].name, a->headers[i].value);
    if ((a->status == 503 || a->status == 507) && http_msg_get(m, "retry-after").p == NULL)
        fits = fits && http_msg_add(m, SLICE("retry-after"), SLICE("1"));
    return fits;
}

static bool has_body(const struct answer *a)
{
    return a->content_type != NULL && a->status != 204 && a->status != 304;
}

void reply_send(struct ficus_req *r)
{
    if (r->stream == NULL)
        return;
    if (r->is_streaming && r->result == 0 && r->sse != NULL) {
        sse_begin(r);
        return;
    }
    if (r->sse != NULL)
        sse_discard(r);
    struct http_msg m;
    http_msg_init(&m, r->stream->arena);
    struct slice body = has_body(&r->answer) ? buf_slice(&r->answer.out.text) : SLICE("");
    m.content_length = (int64_t)body.size;
    r->status_sent = r->answer.status;
    enum ficus_err err = fill_head(r, &m) ? http_send_head(r->stream, &m, body.size == 0) : FICUS_ERR_NOMEM;
    if (err != FICUS_ERR_OK)
        request_broken(r, err);
    else if (body.size > 0)
        reply_more(r);
}

void reply_more(struct ficus_req *r)
{
    if (r->sse != NULL) {
        sse_more(r);
        return;
    }
    struct slice body = buf_slice(&r->answer.out.text);
    if (r->stream == NULL || r->sent >= body.size)
        return;
    r->sent += http_send(r->stream, body.p + r->sent, body.size - r->sent, true);
}
