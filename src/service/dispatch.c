/* SPDX-License-Identifier: Apache-2.0
 *
 * Which request a free worker takes. Two bounded lines: in front what clients and other services ask for, at the back
 * events and saga calls, which get at most half of the workers (at least one) so that a long backlog of theirs never
 * holds up a customer. When both have a claim they take turns. The last free worker is not for a route that holds all
 * the others: a dear one (a sign-in hashes a password) does not hold up the cheap ones of its service.
 */
#include "service_impl.h"

void dispatch_init(struct dispatch *d, unsigned workers)
{
    list_init(&d->front);
    list_init(&d->back);
    list_init(&d->at_work);
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

static struct ficus_req *request_of(struct list *node)
{
    return CONTAINER_OF(node, struct ficus_req, queue);
}

/* The route that holds all workers but the last, which is free. */
static const struct router_route *hog(struct dispatch *d)
{
    if (d->running == 0 || d->running + 1 != d->workers)
        return NULL;
    const struct router_route *route = request_of(d->at_work.next)->route;
    LIST_FOREACH (&d->at_work, it)
        if (request_of(it)->route != route)
            return NULL;
    return route;
}

/* The first in front that may have a worker. The search is long only behind a route that holds all but one. */
static struct ficus_req *first_in_front(struct dispatch *d)
{
    const struct router_route *route = hog(d);
    LIST_FOREACH (&d->front, it)
        if (route == NULL || request_of(it)->route != route)
            return request_of(it);
    return NULL;
}

static struct ficus_req *next(struct dispatch *d)
{
    bool back_may = d->back_count > 0 && d->running_back < d->back_max;
    if (d->running >= d->workers)
        return NULL;
    struct ficus_req *front = first_in_front(d);
    bool back = back_may && (front == NULL || d->back_turn);
    if (back_may && front != NULL)
        d->back_turn = !d->back_turn;
    struct ficus_req *r = back ? request_of(d->back.next) : front;
    if (r == NULL)
        return NULL;
    list_remove(&r->queue);
    *(back ? &d->back_count : &d->front_count) -= 1;
    return r;
}

static void begin(struct service *v, struct ficus_req *r)
{
    struct dispatch *d = &v->dispatch;
    d->running++;
    d->running_back += r->is_back ? 1 : 0;
    list_add_tail(&d->at_work, &r->queue);
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
    list_remove(&r->queue);
    if (r->is_back) {
        FICUS_ASSERT(d->running_back > 0);
        d->running_back--;
    }
    run_next(v);
}
