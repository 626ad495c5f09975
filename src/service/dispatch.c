/* SPDX-License-Identifier: Apache-2.0
 *
 * Which request a free worker takes. Two bounded lines: in front what clients and other services ask for, at the back
 * events and saga calls, which get at most half of the workers (at least one) so that a long backlog of theirs never
 * holds up a customer. When both have a claim they take turns.
 */
#include "service_impl.h"

void dispatch_init(struct dispatch *d, unsigned workers)
{
    list_init(&d->front);
    list_init(&d->back);
    d->workers = workers;
    d->back_max = workers / 2 == 0 ? 1 : workers / 2;
}

void metrics_queue(struct service *v)
{
    const struct dispatch *d = &v->dispatch;
    metric_set(metric_only(v->metrics[METRIC_WORKERS_BUSY]), d->running);
    metric_set(metric_only(v->metrics[METRIC_QUEUE_LENGTH]), (int64_t)(d->front_count + d->back_count));
    if (v->relay != NULL)
        metric_set(metric_only(v->metrics[METRIC_OUTBOX_PENDING]), outbox_relay_pending(v->relay));
    metric_set(metric_only(v->metrics[METRIC_STREAMS]), (int64_t)v->stream_count);
}

static struct ficus_req *pop(struct dispatch *d, bool back)
{
    struct list *node = list_pop_head(back ? &d->back : &d->front);
    FICUS_ASSERT(node != NULL);
    *(back ? &d->back_count : &d->front_count) -= 1;
    return CONTAINER_OF(node, struct ficus_req, queue);
}

static struct ficus_req *next(struct dispatch *d)
{
    bool back_may = d->back_count > 0 && d->running_back < d->back_max;
    if (d->running >= d->workers || (!back_may && d->front_count == 0))
        return NULL;
    bool back = back_may && (d->front_count == 0 || d->back_turn);
    if (back_may && d->front_count > 0)
        d->back_turn = !d->back_turn;
    return pop(d, back);
}

static void begin(struct service *v, struct ficus_req *r)
{
    struct dispatch *d = &v->dispatch;
    d->running++;
    d->running_back += r->is_back ? 1 : 0;
    if (r->kind != REQUEST_HTTP) {
        int64_t timeout_ms = r->kind == REQUEST_START ? START_TIMEOUT_MS : REQUEST_TIMEOUT_MS_MAX;
        r->context.deadline_ns = env_now_ns(v->env) + timeout_ms * 1000000;
        request_arm_deadline(r);
    }
    bool moved = request_move(r, REQUEST_QUEUED, REQUEST_RUNNING);
    FICUS_ASSERT(moved);
    if (v->state == SERVICE_CLOSING)
        (void)request_move(r, REQUEST_RUNNING, REQUEST_ABANDONED);
    r->job = (struct env_job){.work = request_work, .done = request_work_done, .arg = r};
    if (env_run(v->env, &r->job) == FICUS_ERR_OK)
        return;
    /* No thread and no place for the job: this one is shed, as a full queue of our own would do. */
    r->is_technical = true;
    r->result = -1;
    dispatch_release(v, r);
    if (r->kind == REQUEST_HTTP) {
        keys_leave(r);
        (void)request_move(r, REQUEST_RUNNING, REQUEST_REPLYING);
        request_problem(r, 503, "busy", "no worker could be started", true);
    } else {
        request_settled(r);
    }
    request_unref(r);
}

static void run_next(struct service *v)
{
    struct ficus_req *r;
    while ((r = next(&v->dispatch)) != NULL)
        begin(v, r);
}

bool dispatch_push(struct service *v, struct ficus_req *r)
{
    struct dispatch *d = &v->dispatch;
    if (r->kind == REQUEST_HTTP &&
        (d->front_count + d->back_count >= QUEUE_FRONT_MAX || (r->is_back && d->back_count >= QUEUE_BACK_MAX)))
        return false;
    enum request_state state = request_state(r);
    if (state != REQUEST_QUEUED) {
        bool moved = request_move(r, state, REQUEST_QUEUED);
        FICUS_ASSERT(moved);
    }
    request_ref(r);
    list_add_tail(r->is_back ? &d->back : &d->front, &r->queue);
    *(r->is_back ? &d->back_count : &d->front_count) += 1;
    run_next(v);
    return true;
}

void dispatch_remove(struct service *v, struct ficus_req *r)
{
    struct dispatch *d = &v->dispatch;
    FICUS_ASSERT(request_state(r) == REQUEST_QUEUED);
    FICUS_ASSERT(!list_empty(&r->queue));
    list_remove(&r->queue);
    *(r->is_back ? &d->back_count : &d->front_count) -= 1;
}

void dispatch_release(struct service *v, struct ficus_req *r)
{
    struct dispatch *d = &v->dispatch;
    FICUS_ASSERT(d->running > 0);
    d->running--;
    if (r->is_back) {
        FICUS_ASSERT(d->running_back > 0);
        d->running_back--;
    }
    run_next(v);
}
