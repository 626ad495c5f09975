/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole small answers in one call.
 */
#include "http_stream.h"

enum { RESPOND_FIELDS_MAX = 32 };

enum ficus_err http_respond(struct http_stream *s, int status, const struct http_field *fields, size_t field_count,
                            const char *content_type, struct slice body)
{
    if (body.size > HTTP_BODY_BUFFER_SIZE)
        return FICUS_ERR_TOO_LARGE;
    /* Not from the arena: an answer must be possible when a request has used it up. */
    struct http_field own[RESPOND_FIELDS_MAX];
    if (field_count >= RESPOND_FIELDS_MAX)
        return FICUS_ERR_TOO_LARGE;
    struct http_msg m = {.arena = s->arena,
                         .status = status,
                         .content_length = (int64_t)body.size,
                         .fields = own,
                         .field_capacity = RESPOND_FIELDS_MAX};
    if (content_type != NULL && !http_msg_add(&m, SLICE("Content-Type"), slice_str(content_type)))
        return FICUS_ERR_INVALID;
    for (size_t i = 0; i < field_count; i++)
        if (!http_msg_add(&m, fields[i].name, fields[i].value))
            return FICUS_ERR_INVALID;
    enum ficus_err err = http_send_head(s, &m, body.size == 0);
    if (err != FICUS_ERR_OK || body.size == 0)
        return err;
    if (http_send(s, body.p, body.size, true) == body.size)
        return FICUS_ERR_OK;
    /* Only with heads of many KiB: the head is out and promised a body that has no room. */
    http_reset(s, FICUS_ERR_TOO_LARGE);
    return FICUS_ERR_TOO_LARGE;
}

enum ficus_err http_respond_problem(struct http_stream *s, int status, const char *code, const char *detail)
{
    struct buf body;
    buf_init(&body, 4096);
    http_problem_write(&body, status, code, detail, SLICE_NONE);
    enum ficus_err err = buf_failed(&body)
                             ? FICUS_ERR_NOMEM
                             : http_respond(s, status, NULL, 0, "application/problem+json", buf_slice(&body));
    buf_done(&body);
    return err;
}
