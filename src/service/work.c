/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything around a handler, on its worker: the look for a kept answer before it, commit or rollback after it.
 *
 * The handler returned 0: its writes, its events, the consumed event's offset and the answer kept for its key go into
 * one commit; the worker is free again before the disk has synced, and the answer leaves from the commit's end. It
 * returned anything else, failed or was abandoned: all is rolled back. When the commit itself fails (the disk is full,
 * say) the client gets that instead of the answer.
 */
#include "service_impl.h"

static void on_committed_loop(void *arg)
{
    struct ficus_req *r = arg;
    struct service *v = r->service;
    r->commit_over = true;
    if (r->commit_err == FICUS_ERR_OK) {
        if (r->emitted_count > 0)
            feed_emitted(v, r->emitted_count);
        if (r->notes != NULL)
            sse_publish(v, r->notes);
        r->event_processed = true;
    } else {
        struct ficus_error error = {.code = r->commit_err};
        (void)err_set(&error, r->commit_err, "%s", r->commit_detail);
        r->is_failed = false;
        (void)request_fail_store(r, r->commit_err, &error, "commit");
        r->result = -1;
    }
    request_settled(r);
    if (r->job_over)
        request_unref(r);
}

/* On any worker: only what the loop needs to know is put down. */
static void on_committed(void *arg, enum ficus_err err, const char *detail)
{
    struct ficus_req *r = arg;
    r->commit_err = err;
    (void)snprintf(r->commit_detail, sizeof r->commit_detail, "%s",
                   err == FICUS_ERR_OK || detail == NULL ? "" : detail);
    r->committed.fn = on_committed_loop;
    r->committed.arg = r;
    env_post(r->service->env, &r->committed);
}

static void roll_back(struct ficus_req *r)
{
    db_rows_close(r, false);
    if (r->tx_open)
        db_tx_rollback(&r->tx);
    r->tx_open = false;
    request_reader_give(r);
}

static bool answer_ready(struct ficus_req *r)
{
    struct answer *a = &r->answer;
    if (r->kind != REQUEST_HTTP || r->is_streaming)
        return true;
    if (a->status == 0) {
        answer_clear(r);
        a->status = 204;
    }
    if (a->content_type == NULL || out_complete(&a->out))
        return true;
    if (a->out.misused || !buf_failed(&a->out.text))
        (void)request_fail(r, 500, "internal", false, "the handler's answer is not one whole JSON value");
    else
        (void)request_fail(r, 503, "out_of_memory", false, "the answer is over %d bytes", ANSWER_SIZE_MAX);
    return false;
}

/* True: the commit is on its way, and the request is no longer ours. */
static bool commit(struct ficus_req *r)
{
    if (r->idempotency_key != NULL && r->kind == REQUEST_HTTP && !r->is_streaming && keys_remember(r) != 0)
        return false;
    db_rows_close(r, false);
    request_reader_give(r);
    /* The handler's own fault, as if it had refused: an event would else be tried for ever. */
    struct ficus_error error = {0};
    if (db_tx_check(&r->tx, &error) != FICUS_ERR_OK) {
        (void)request_fail_store(r, error.code, &error, "commit");
        return false;
    }
    if (!request_move(r, REQUEST_RUNNING, REQUEST_COMMITTING)) {
        (void)request_may_go_on(r);
        return false;
    }
    r->tx_open = false;
    r->commit_begun = true;
    r->tx.committed = on_committed;
    r->tx.arg = r;
    db_tx_commit(&r->tx);
    return true;
}

static void end_failed(struct ficus_req *r)
{
    roll_back(r);
    if (r->result == 0)
        r->result = -1;
    if (r->kind == REQUEST_EVENT && r->is_duplicate) {
        r->event_processed = true;
        return;
    }
    if (r->kind == REQUEST_EVENT && !r->is_technical)
        feed_refused(r);
    if (r->answer.status >= 400)
        return;
    if (!r->is_failed)
        LOG(&r->service->process.log, LOG_ERROR, &r->log, "request.failed", "a handler failed without saying why",
            LOG_INT("status", 500), LOG_STR("code", "internal"), LOG_INT("result", r->result));
    answer_problem(r, 500, "internal", "the service failed");
}

static void run_handler(struct ficus_req *r)
{
    if (r->idempotency_key != NULL) {
        int kept = request_reader(r) != 0 ? -1 : keys_lookup(r, r->reader);
        if (kept != 0) {
            r->result = kept == 1 ? 0 : -1;
            return;
        }
    }
    r->result = r->kind == REQUEST_EVENT && schemas_upcast(r) != 0 ? -1 : r->handler(r);
}

void request_work(void *arg)
{
    struct ficus_req *r = arg;
    if (request_may_go_on(r))
        run_handler(r);
    else
        r->result = -1;
    if (r->is_replayed) {
        roll_back(r);
        return;
    }
    bool good = r->result == 0 && !r->is_failed && answer_ready(r);
    if (good && r->kind == REQUEST_EVENT)
        good = ficus_tx(r) == 0;
    if (!good)
        end_failed(r);
    else if (!r->tx_open)
        roll_back(r);
    else if (!commit(r))
        end_failed(r);
}

void request_work_done(void *arg)
{
    struct ficus_req *r = arg;
    r->job_over = true;
    dispatch_release(r->service, r);
    if (!r->commit_begun)
        request_settled(r);
    else if (!r->commit_over)
        return;
    request_unref(r);
}
