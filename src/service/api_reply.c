/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer, as a handler makes it.
 */
#include "service_impl.h"

static bool status_valid(struct ficus_req *req, int status)
{
    if (status >= 200 && status <= 599)
        return true;
    (void)request_fail(req, 500, "internal", false, "the handler answered with status %d", status);
    return false;
}

struct ficus_out *ficus_reply(struct ficus_req *req, int status)
{
    if (req->is_failed || !status_valid(req, status))
        return NULL;
    answer_clear(req);
    req->answer.status = status;
    req->answer.content_type = "application/json";
    return &req->answer.out;
}

int ficus_reply_empty(struct ficus_req *req, int status)
{
    if (req->is_failed || !status_valid(req, status))
        return -1;
    answer_clear(req);
    req->answer.status = status;
    return 0;
}

static bool is_own_header(const char *name)
{
    static const char *const own[] = {"content-length", "content-type", "transfer-encoding", "connection", "keep-alive",
                                      "upgrade",        "trailer"};
    for (size_t i = 0; i < ARRAY_COUNT(own); i++)
        if (slice_eq_nocase(slice_str(name), slice_str(own[i])))
            return true;
    return false;
}

int ficus_reply_header(struct ficus_req *req, const char *name, const char *value)
{
    if (req->is_failed)
        return -1;
    if (name != NULL && value != NULL && !is_own_header(name) && answer_header(req, name, value))
        return 0;
    return request_fail(req, 500, "internal", false, "the handler set a header that cannot be sent: %s",
                        name == NULL ? "(none)" : name);
}

int ficus_problem(struct ficus_req *req, int status, const char *code, const char *format, ...)
{
    if (req->is_failed || !status_valid(req, status))
        return -1;
    char detail[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    answer_problem(req, status, code, detail);
    return -1;
}

void ficus_invalid(struct ficus_req *req, const char *pointer, const char *format, ...)
{
    if (req->invalid_count == INVALID_MAX)
        return;
    va_list args;
    va_start(args, format);
    struct invalid_note *n = &req->invalid[req->invalid_count];
    n->detail = arena_vprintf(&req->arena, format, args);
    va_end(args);
    n->pointer = arena_strdup(&req->arena, slice_str(pointer == NULL ? "" : pointer));
    if (n->detail != NULL && n->pointer != NULL)
        req->invalid_count++;
    else
        (void)request_fail(req, 503, "out_of_memory", false, "over the request's memory");
}

bool ficus_is_invalid(struct ficus_req *req)
{
    return req->invalid_count > 0 || req->is_failed;
}

int ficus_problem_invalid(struct ficus_req *req)
{
    if (!req->is_failed)
        answer_problem(req, 400, "invalid", "the input is not valid, see errors");
    return -1;
}
