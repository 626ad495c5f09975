/* SPDX-License-Identifier: Apache-2.0
 *
 * Clock, ids, memory, settings, sleep and log lines for handlers.
 */
#include "service_impl.h"

#include "text.h"
#include "timefmt.h"
#include "uuid.h"

int64_t ficus_now_ms(struct ficus_req *req)
{
    return env_wall_ms(req->service->env);
}

const char *ficus_time(struct ficus_req *req, int64_t wall_ms)
{
    char *text = arena_alloc(&req->arena, TIME_TEXT_SIZE);
    if (text == NULL)
        return "";
    time_format(wall_ms, text);
    return text;
}

const char *ficus_new_id(struct ficus_req *req)
{
    char *text = arena_alloc(&req->arena, UUID_TEXT_SIZE);
    if (text == NULL) {
        (void)request_fail(req, 503, "out_of_memory", false, "over the request's memory");
        return ""; /* nothing under it can be committed any more */
    }
    uint8_t random[10];
    env_random(req->service->env, random, sizeof random);
    uuid_v7(env_wall_ms(req->service->env), random, text);
    return text;
}

void ficus_random(struct ficus_req *req, void *p, size_t size)
{
    env_random(req->service->env, p, size);
}

void *ficus_alloc(struct ficus_req *req, size_t size)
{
    return arena_zalloc(&req->arena, size);
}

const char *ficus_printf(struct ficus_req *req, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = arena_vprintf(&req->arena, format, args);
    va_end(args);
    return text;
}

const char *ficus_strdup(struct ficus_req *req, const char *s)
{
    return s == NULL ? NULL : arena_strdup(&req->arena, slice_str(s));
}

const char *ficus_keyed_hash(struct ficus_req *req, const char *label, const char *text)
{
    uint8_t hash[KEYED_HASH_SIZE];
    const struct slice parts[] = {slice_str(label), slice_str(text)};
    struct buf hex;
    buf_init(&hex, 2 * KEYED_HASH_SIZE + 1);
    const char *result = NULL;
    /* A label of its own keeps the hashes of applications apart from those of Ficus. */
    if (keyed_hash(req->service->process.key, "application", parts, 2, hash) == FICUS_ERR_OK &&
        text_hex(&hex, hash, sizeof hash))
        result = arena_strdup(&req->arena, buf_slice(&hex));
    buf_done(&hex);
    if (result == NULL)
        (void)request_fail(req, 503, "out_of_memory", true, "a hash could not be made");
    return result == NULL ? "" : result;
}

/* ---- sleep ---- */

struct sleeper {
    struct blocked blocked; /* first */
    struct env_task task;
    struct env_timer timer;
    struct env_waiter waiter;
    struct service *service;
    int64_t ms;
};

/* The last touch: the worker may leave with its stack at once. */
static void sleeper_wake(struct sleeper *s)
{
    list_remove(&s->blocked.link);
    env_wake(s->service->env, &s->waiter);
}

static void sleeper_over(void *arg)
{
    sleeper_wake(arg);
}

static void sleeper_cancel(struct blocked *b)
{
    struct sleeper *s = CONTAINER_OF(b, struct sleeper, blocked);
    env_timer_stop(s->service->env, &s->timer);
    sleeper_wake(s);
}

static void sleeper_begin(void *arg)
{
    struct sleeper *s = arg;
    list_add_tail(&s->service->blocked, &s->blocked.link);
    s->timer.fn = sleeper_over;
    s->timer.arg = s;
    if (s->service->state == SERVICE_CLOSING)
        sleeper_wake(s);
    else
        env_timer_start(s->service->env, &s->timer, s->ms);
}

int ficus_sleep(struct ficus_req *req, int ms)
{
    if (!request_may_go_on(req))
        return -1;
    if (req->tx_open)
        return request_fail(req, 500, "internal", false, "ficus_sleep inside a transaction");
    int64_t left_ms = (req->context.deadline_ns - env_now_ns(req->service->env)) / 1000000 + 1;
    struct sleeper s = {.service = req->service, .ms = ms < 0 ? 0 : ms < left_ms ? ms : left_ms < 0 ? 0 : left_ms};
    s.blocked.cancel = sleeper_cancel;
    s.task.fn = sleeper_begin;
    s.task.arg = &s;
    env_post(req->service->env, &s.task);
    env_wait(req->service->env, &s.waiter);
    return request_may_go_on(req) ? 0 : -1;
}

/* ---- settings, data, log ---- */

const char *ficus_setting(struct ficus_req *req, const char *name)
{
    const struct service_config *c = req->service->config;
    for (size_t i = 0; name != NULL && i < c->setting_count; i++)
        if (strcmp(c->settings[i].name, name) == 0)
            return c->settings[i].value;
    return NULL;
}

const char *ficus_private_dir(struct ficus_req *req)
{
    const char *dir = req->service->config->private_dir;
    return dir[0] == '\0' ? NULL : dir;
}

void ficus_set_data(struct ficus_req *req, void *data)
{
    atomic_store_explicit(&req->service->data, data, memory_order_release);
}

void *ficus_data(struct ficus_req *req)
{
    return atomic_load_explicit(&req->service->data, memory_order_acquire);
}

void ficus_log(struct ficus_req *req, const char *level, const char *event, const char *format, ...)
{
    enum log_level at = LOG_INFO;
    (void)log_level_parse(slice_str(level), &at); /* an unknown word is "info": a log line is no reason to fail */
    if (!log_enabled(&req->service->process.log, at))
        return;
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    LOG(&req->service->process.log, at, &req->log, event, text);
}
