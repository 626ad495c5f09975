/* SPDX-License-Identifier: Apache-2.0
 *
 * One request at a time; a change meanwhile makes it dirty again, and the next request carries the newest truth. A
 * failure is tried again after 100 ms doubling to 2 s as long as the hub lives; without a hub nothing is tried and no
 * timer runs.
 */
#include "registry_push.h"

#include "arena.h"

enum { RETRY_FIRST_MS = 100, RETRY_MAX_MS = 2000, REGISTRY_SIZE_MAX = 1 << 20 };

static void push(struct registry_push *r);

static void on_pushed(void *arg, enum ficus_err err, int status, struct slice body)
{
    struct registry_push *r = arg;
    if (r->closing) {
        buf_done(&r->body);
        r->closed(r->closed_arg);
        return;
    }
    if (err == FICUS_ERR_OK && status / 100 == 2) {
        r->retry_ms = RETRY_FIRST_MS;
        if (r->dirty)
            push(r);
        return;
    }
    r->dirty = true;
    if (r->hub_ready) {
        env_timer_start(r->env, &r->retry, r->retry_ms);
        r->retry_ms = r->retry_ms * 2 < RETRY_MAX_MS ? r->retry_ms * 2 : RETRY_MAX_MS;
    }
}

static void push(struct registry_push *r)
{
    if (!r->hub_ready || !r->dirty || r->closing || ops_call_busy(&r->call))
        return;
    env_timer_stop(r->env, &r->retry);
    buf_clear(&r->body);
    if (!r->write(r->arg, &r->body))
        return; /* bounded by the number of processes; cannot be larger */
    r->dirty = false;
    r->call = (struct ops_call){.env = r->env,
                                .address = r->address,
                                .method = "PUT",
                                .target = "/v1/registry",
                                .body = buf_slice(&r->body),
                                .timeout_ms = RETRY_MAX_MS,
                                .done = on_pushed,
                                .arg = r};
    enum ficus_err err = ops_call_start(&r->call);
    if (err != FICUS_ERR_OK)
        on_pushed(r, err, 0, SLICE_NONE);
}

static void on_retry(void *arg)
{
    push(arg);
}

void registry_push_init(struct registry_push *r)
{
    r->retry = (struct env_timer){.fn = on_retry, .arg = r};
    r->retry_ms = RETRY_FIRST_MS;
    buf_init(&r->body, REGISTRY_SIZE_MAX);
}

void registry_push_hub(struct registry_push *r, bool ready)
{
    r->hub_ready = ready;
    r->retry_ms = RETRY_FIRST_MS;
    if (ready) {
        r->dirty = true;
        push(r);
    } else {
        env_timer_stop(r->env, &r->retry);
    }
}

void registry_push_changed(struct registry_push *r)
{
    r->dirty = true;
    if (!env_timer_armed(&r->retry))
        push(r);
}

void registry_push_close(struct registry_push *r, void (*closed)(void *arg), void *arg)
{
    r->closing = true;
    r->closed = closed;
    r->closed_arg = arg;
    env_timer_stop(r->env, &r->retry);
    if (ops_call_busy(&r->call))
        return; /* bounded by its time limit */
    buf_done(&r->body);
    closed(arg);
}
