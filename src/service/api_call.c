/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls of other services: the worker hands the call to the loop and waits. Deadline, identity, trace and correlation
 * are the request's.
 */
#include "service_impl.h"

#include "text.h"

enum { ANSWER_BODY_SIZE_MAX = 2 * 1024 * 1024 };

struct calling {
    struct blocked blocked;
    struct env_task task;
    struct env_waiter waiter;
    struct ficus_req *req;
    struct call_request request;
    struct call_fetch *fetch;
    enum ficus_err err;
    int status;
    struct slice body; /* in the request's arena: its worker waits, so it is the loop's turn */
};

/* The last touch: the worker may leave with its stack at once. */
static void calling_over(struct calling *c)
{
    list_remove(&c->blocked.link);
    env_wake(c->req->service->env, &c->waiter);
}

static void on_result(void *arg, const struct call_result *result)
{
    struct calling *c = arg;
    c->err = result->err;
    if (result->err == FICUS_ERR_OK) {
        c->status = result->status;
        c->body = slice_make(arena_strdup(&c->req->arena, result->body), result->body.size);
        if (c->body.p == NULL)
            c->err = FICUS_ERR_NOMEM;
    }
    calling_over(c);
}

static void on_cancel(struct blocked *b)
{
    struct calling *c = CONTAINER_OF(b, struct calling, blocked);
    call_fetch_cancel(c->fetch);
    c->err = FICUS_ERR_CANCELLED;
    calling_over(c);
}

static void on_begin(void *arg)
{
    struct calling *c = arg;
    struct service *v = c->req->service;
    list_add_tail(&v->blocked, &c->blocked.link);
    c->err = v->state == SERVICE_CLOSING
                 ? FICUS_ERR_CANCELLED
                 : call_fetch(v->process.calls, &c->request, ANSWER_BODY_SIZE_MAX, on_result, c, &c->fetch);
    if (c->err != FICUS_ERR_OK)
        calling_over(c);
}

static void fill_request(const struct ficus_req *r, const struct ficus_call *call, struct http_field *fields,
                         struct call_request *q)
{
    *q = (struct call_request){
        .callee = call->service,
        .method = slice_str(call->method),
        .path = slice_str(call->path),
        .fields = fields,
        .body = call->body != NULL ? slice_str(call->body) : SLICE(""),
        .deadline_ns = r->context.deadline_ns,
        .timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : 0,
        .trace = &r->log.trace,
        .tracestate = r->context.tracestate,
        .correlation = r->context.correlation,
        .user = r->user != NULL ? slice_str(r->user) : SLICE_NONE,
        .roles = r->roles,
        .role_count = r->role_count,
        .keyed = call->key != NULL,
    };
    fields[q->field_count++] = (struct http_field){SLICE("accept"),
                                                   SLICE("application/json, application/problem+json")};
    if (call->body != NULL)
        fields[q->field_count++] = (struct http_field){SLICE("content-type"), SLICE("application/json")};
    if (call->key != NULL)
        fields[q->field_count++] = (struct http_field){SLICE("idempotency-key"), slice_str(call->key)};
}

static void fill_answer(struct ficus_req *r, const struct calling *c, struct ficus_answer *a)
{
    *a = (struct ficus_answer){.code = ""};
    if (c->err != FICUS_ERR_OK) {
        a->status = c->err == FICUS_ERR_TIMEOUT ? 504 : 503;
        a->code = c->err == FICUS_ERR_TIMEOUT ? "timeout" : "unavailable";
        return;
    }
    a->status = c->status;
    a->answered = true;
    if (c->body.size == 0)
        return;
    a->json = ficus_json_parse(r, c->body.p);
    if (a->status < 400 || a->json == NULL)
        return;
    const char *code = ficus_json_str(r, ficus_json_get(a->json, "code"));
    a->code = code == NULL ? "" : code;
}

int ficus_call(struct ficus_req *req, const struct ficus_call *call, struct ficus_answer *ret_answer)
{
    if (!request_may_go_on(req))
        return -1;
    if (req->tx_open)
        return request_fail(req, 500, "internal", false, "ficus_call inside a transaction: call first, then ficus_tx");
    if (call->service == NULL || call->method == NULL || call->path == NULL || call->path[0] != '/')
        return request_fail(req, 500, "internal", false, "ficus_call needs service, method and a path");
    /* A reader that is kept over a call would keep the database's log from being checkpointed. */
    if (list_empty(&req->rows))
        request_reader_give(req);
    struct calling c = {.req = req};
    struct http_field fields[3];
    fill_request(req, call, fields, &c.request);
    c.blocked.cancel = on_cancel;
    c.task.fn = on_begin;
    c.task.arg = &c;
    env_post(req->service->env, &c.task);
    env_wait(req->service->env, &c.waiter);
    if (c.err == FICUS_ERR_INVALID)
        return request_fail(req, 500, "internal", false, "%s is not declared in service.yaml (calls: { %s: {} }), or the call is malformed",
                            call->service, call->service);
    if (c.err == FICUS_ERR_CANCELLED)
        return request_fail(req, 503, "stopping", true, "this service is stopping");
    if (!request_may_go_on(req))
        return -1;
    fill_answer(req, &c, ret_answer);
    return 0;
}

const char *ficus_segment(struct ficus_req *req, const char *text)
{
    struct buf b;
    buf_init(&b, 64 * 1024);
    const char *copy = NULL;
    if (text != NULL && text_percent_segment(&b, slice_str(text)))
        copy = arena_strdup(&req->arena, buf_slice(&b));
    buf_done(&b);
    return copy == NULL ? "" : copy;
}
