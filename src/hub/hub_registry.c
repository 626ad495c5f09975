/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of the running instances: told whole by the supervisor, handed on to everyone who asks, and to this
 * process's own calls. Memory only: a young hub is "warming" until the first word of the supervisor.
 */
#include "hub_private.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

void hub_registry_init(struct hub *h)
{
    struct hub_registry *r = &h->registry;
    buf_init(&r->services, HUB_REGISTRY_SIZE_MAX * 2);
    buf_add_str(&r->services, "{}");
    list_init(&r->waiting);
    r->warming = true;
    /* Random, so that a restarted hub never looks the same; exact in JSON numbers of any reader, with room to grow. */
    r->version = (int64_t)((1ull << 40) | (env_random_u64(h->env) >> 13));
}

void hub_registry_done(struct hub *h)
{
    buf_done(&h->registry.services);
}

/* ---- asking ---- */

static void answer_snapshot(struct hub_exchange *x)
{
    const struct hub_registry *r = &x->hub->registry;
    struct json_writer w;
    json_write_init(&w, &x->out);
    json_write_object(&w);
    json_write_kv_i64(&w, "version", r->version);
    json_write_kv_bool(&w, "warming", r->warming);
    json_write_key(&w, "services");
    json_write_raw(&w, buf_slice(&r->services));
    json_write_end(&w);
    hub_answer(x, 200, "application/json");
}

void hub_registry_end(struct hub_exchange *x)
{
    struct hub_registry *r = &x->hub->registry;
    if (list_empty(&x->wait_link))
        return;
    list_remove(&x->wait_link);
    env_timer_stop(x->hub->env, &x->timer);
    FICUS_ASSERT(r->waiting_count > 0);
    r->waiting_count--;
}

void hub_registry_wake(struct hub *h)
{
    /* Only those that wait now: an answered client may ask again from inside. */
    for (size_t n = h->registry.waiting_count; n > 0 && !list_empty(&h->registry.waiting); n--) {
        struct hub_exchange *x = CONTAINER_OF(h->registry.waiting.next, struct hub_exchange, wait_link);
        hub_registry_end(x);
        answer_snapshot(x);
    }
}

static void on_wait_over(void *arg)
{
    struct hub_exchange *x = arg;
    hub_registry_end(x);
    answer_snapshot(x);
}

void hub_registry_get(struct hub_exchange *x, struct slice body)
{
    (void)body;
    struct hub_registry *r = &x->hub->registry;
    int64_t version, wait_ms;
    if (!hub_query_i64(x, "version", 0, INT64_MAX, 0, &version) ||
        !hub_query_i64(x, "wait", 0, HUB_WAIT_MS_MAX, 0, &wait_ms))
        return;
    if (version != r->version || wait_ms == 0 || x->hub->stopping) {
        answer_snapshot(x);
        return;
    }
    if (r->waiting_count >= HUB_WAITING_MAX) {
        hub_problem(x, 503, "busy", "too many requests wait for endpoints");
        return;
    }
    r->waiting_count++;
    list_add_tail(&r->waiting, &x->wait_link);
    x->timer = (struct env_timer){.fn = on_wait_over, .arg = x};
    env_timer_start(x->hub->env, &x->timer, wait_ms);
}

/* ---- telling ---- */

static bool address_valid(const struct json *v)
{
    struct slice text;
    if (!json_string(v, &text) || text.size > 107 + 5 || memchr(text.p, '\0', text.size) != NULL)
        return false;
    return slice_starts(text, SLICE("unix:/")) || (slice_starts(text, SLICE("tcp:")) && text.size > 4);
}

static enum ficus_err check_services(const struct json *services, struct ficus_error *reterr)
{
    if (services == NULL || services->type != JSON_OBJECT)
        return err_set(reterr, FICUS_ERR_INVALID, "services must be an object: name to list of addresses");
    if (services->count > HUB_REGISTRY_SERVICES_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "at most %d services", HUB_REGISTRY_SERVICES_MAX);
    for (const struct json *s = services->first; s != NULL; s = s->next) {
        if (s->key.size > 63 || conf_check_name(s->key) != NULL)
            return err_set(reterr, FICUS_ERR_INVALID, "\"" SLICE_FMT "\" is not a name of a service",
                           SLICE_ARG(s->key));
        if (s->type != JSON_ARRAY || s->count > HUB_REGISTRY_ADDRESSES_MAX)
            return err_set(reterr, FICUS_ERR_INVALID, "services." SLICE_FMT " must be a list of at most %d addresses",
                           SLICE_ARG(s->key), HUB_REGISTRY_ADDRESSES_MAX);
        for (const struct json *v = s->first; v != NULL; v = v->next)
            if (!address_valid(v))
                return err_set(reterr, FICUS_ERR_INVALID,
                               "services." SLICE_FMT " has something that is no address (unix:/path, tcp:ip:port)",
                               SLICE_ARG(s->key));
    }
    return FICUS_ERR_OK;
}

/* This process's own calls (saga steps) go to the same addresses. */
static enum ficus_err tell_calls(struct hub *h, struct arena *a, const struct json *services)
{
    for (const struct json *s = services->first; s != NULL; s = s->next) {
        const char *addresses[HUB_REGISTRY_ADDRESSES_MAX];
        const char *name = arena_strdup(a, s->key);
        size_t count = 0;
        if (name == NULL)
            return FICUS_ERR_NOMEM;
        for (const struct json *v = s->first; v != NULL; v = v->next)
            if ((addresses[count++] = arena_strdup(a, v->text)) == NULL)
                return FICUS_ERR_NOMEM;
        enum ficus_err err = call_engine_endpoints(h->process.calls, name, addresses, count);
        if (err != FICUS_ERR_OK)
            return err;
    }
    return FICUS_ERR_OK;
}

static enum ficus_err take_registry(struct hub *h, struct arena *a, struct slice body, struct ficus_error *reterr)
{
    struct json *root;
    enum ficus_err err = json_parse(a, body, NULL, &root, reterr);
    const struct json *services = err == FICUS_ERR_OK ? json_get(root, "services") : NULL;
    if (err == FICUS_ERR_OK)
        err = check_services(services, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct hub_registry *r = &h->registry;
    struct buf text;
    struct json_writer w;
    buf_init(&text, r->services.size_max);
    json_write_init(&w, &text);
    json_write_value(&w, services);
    err = buf_failed(&text) ? FICUS_ERR_NOMEM : tell_calls(h, a, services);
    if (err != FICUS_ERR_OK) {
        buf_done(&text);
        return err_set(reterr, err, "%s", err_text(err));
    }
    bool changed = r->warming || !slice_eq(buf_slice(&text), buf_slice(&r->services));
    buf_done(&r->services);
    r->services = text;
    r->warming = false;
    if (changed) {
        r->version++;
        hub_registry_wake(h);
    }
    return FICUS_ERR_OK;
}

void hub_registry_put(struct hub_exchange *x, struct slice body)
{
    struct arena a;
    struct ficus_error error = {0};
    arena_init(&a, 32 * 1024 * 1024);
    enum ficus_err err = take_registry(x->hub, &a, body, &error);
    arena_done(&a);
    if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, error.text);
    else
        hub_answer(x, 204, NULL);
}
