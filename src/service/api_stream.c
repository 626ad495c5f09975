/* SPDX-License-Identifier: Apache-2.0
 *
 * Streaming answers, as a handler begins and feeds them; sse.c sends them.
 */
#include "service_impl.h"

static struct stream_note *make_note(struct ficus_req *req, const char *key, int64_t id, const char *event,
                                     const char *data, bool last)
{
    bool usable = data != NULL && strchr(data, '\r') == NULL &&
                  (event == NULL || (strchr(event, '\n') == NULL && strchr(event, '\r') == NULL));
    struct stream_note *n = usable ? ARENA_NEW(&req->arena, struct stream_note) : NULL;
    if (n != NULL)
        *n = (struct stream_note){
            .key = ficus_strdup(req, key),
            .id = id,
            .frame = sse_frame(&req->arena, id, event, data),
            .last = last,
        };
    if (n != NULL && n->key != NULL && n->frame.p != NULL)
        return n;
    (void)request_fail(req, 500, "internal", false,
                       "an event for a stream has a line break in its name or data, or is too large");
    return NULL;
}

static bool key_valid(const char *key)
{
    return key != NULL && key[0] != '\0' && strlen(key) <= STREAM_KEY_SIZE_MAX;
}

int ficus_stream(struct ficus_req *req, const char *key)
{
    if (!request_may_go_on(req))
        return -1;
    if (req->is_streaming || req->kind != REQUEST_HTTP || !key_valid(key))
        return request_fail(req, 500, "internal", false, "ficus_stream twice, outside a request, or with a bad key");
    req->is_streaming = true;
    return sse_open(req, key);
}

int ficus_stream_first(struct ficus_req *req, int64_t id, const char *event, const char *data, bool last)
{
    if (!request_may_go_on(req))
        return -1;
    if (!req->is_streaming || req->first_last)
        return request_fail(req, 500, "internal", false, "ficus_stream_first before ficus_stream, or behind the last");
    struct stream_note *n = make_note(req, "", id, event, data, last);
    if (n == NULL)
        return -1;
    *req->first_end = n;
    req->first_end = &n->next;
    req->first_last = last;
    return 0;
}

int ficus_stream_send(struct ficus_req *req, const char *key, int64_t id, const char *event, const char *data,
                      bool last)
{
    if (!request_may_go_on(req))
        return -1;
    if (req->kind == REQUEST_PROJECTION)
        return request_fail(req, 500, "internal", false, "a projection only changes its tables: it cannot send to streams");
    if (!req->tx_open || !key_valid(key) || req->note_count == STREAM_SENDS_MAX)
        return request_fail(req, 500, "internal", false,
                            "ficus_stream_send before ficus_tx, too often, or with a bad key");
    struct stream_note *n = make_note(req, key, id, event, data, last);
    if (n == NULL)
        return -1;
    *req->notes_end = n;
    req->notes_end = &n->next;
    req->note_count++;
    return 0;
}
