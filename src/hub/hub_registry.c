/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of the running instances: told whole by the supervisor, handed on to everyone who asks, and to this
 * process's own calls. Memory only: a young hub is "warming" until the first word of the supervisor.
 *
 * Each service knows the version that changed it last, so whoever has any version of this hub's is told what changed since, without
 * a history; who has none, or another hub's, is told all. A service that is no longer named needs no word: its callers keep what
 * they have, in both cases.
 */
#include "hub_groups.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

enum { REGISTRY_ARENA_SIZE_MAX = 4 * HUB_REGISTRY_SIZE_MAX };

void hub_registry_init(struct hub *h)
{
    struct hub_registry *r = &h->registry;
    arena_init(&r->arena, REGISTRY_ARENA_SIZE_MAX);
    list_init(&r->waiting);
    r->warming = true;
    /* Random, so that a restarted hub never looks the same; exact in JSON numbers of any reader, with room to grow. */
    r->first_version = r->version = (int64_t)((1ull << 40) | (env_random_u64(h->env) >> 13));
}

void hub_registry_done(struct hub *h)
{
    arena_done(&h->registry.arena);
}

/* ---- asking ---- */

static void answer_snapshot(struct hub_exchange *x)
{
    const struct hub_registry *r = &x->hub->registry;
    bool known = x->version >= r->first_version && x->version <= r->version;
    struct json_writer w;
    json_write_init(&w, &x->out);
    json_write_object(&w);
    json_write_kv_i64(&w, "version", r->version);
    if (known)
        json_write_kv_i64(&w, "since", x->version);
    json_write_kv_bool(&w, "warming", r->warming);
    json_write_key(&w, "services");
    json_write_object(&w);
    for (size_t i = 0; i < r->service_count; i++) {
        const struct hub_service *s = &r->services[i];
        if (known && s->version <= x->version)
            continue;
        json_write_key_slice(&w, s->name);
        json_write_raw(&w, s->addresses);
    }
    json_write_end(&w);
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
    int64_t wait_ms;
    if (!hub_query_i64(x, "version", 0, INT64_MAX, 0, &x->version) ||
        !hub_query_i64(x, "wait", 0, HUB_WAIT_MS_MAX, 0, &wait_ms))
        return;
    if (x->version != r->version || wait_ms == 0 || x->hub->stopping) {
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
static enum ficus_err tell_calls(struct hub *h, struct arena *a, const struct json *service)
{
    const char *addresses[HUB_REGISTRY_ADDRESSES_MAX];
    const char *name = arena_strdup(a, service->key);
    size_t count = 0;
    if (name == NULL)
        return FICUS_ERR_NOMEM;
    for (const struct json *v = service->first; v != NULL; v = v->next)
        if ((addresses[count++] = arena_strdup(a, v->text)) == NULL)
            return FICUS_ERR_NOMEM;
    return call_engine_endpoints(h->process.calls, name, addresses, count);
}

/* *place: where the one before was found. They mostly come in the same order, so this mostly looks at one. */
static const struct hub_service *find(const struct hub_registry *r, struct slice name, size_t *place)
{
    for (size_t i = 0; i < r->service_count; i++) {
        size_t k = (*place + 1 + i) % r->service_count;
        if (!slice_eq(r->services[k].name, name))
            continue;
        *place = k;
        return &r->services[k];
    }
    return NULL;
}

/* What it becomes by these services, into *next, whose arena is empty; *ret_changed: it is not what it was. a: for the time of the
 * call. On failure it stays, and the next word tells again whatever the calls were told of this one. */
static enum ficus_err registry_next(struct hub *h, struct arena *a, const struct json *services, struct hub_registry *next,
                                    bool *ret_changed)
{
    const struct hub_registry *r = &h->registry;
    size_t place = r->service_count - 1, same = 0;  /* the last: the first is looked at first */
    struct buf text;
    enum ficus_err err = FICUS_ERR_OK;
    buf_init(&text, HUB_REGISTRY_SIZE_MAX);
    next->service_count = 0;
    next->services = ARENA_ARRAY(&next->arena, struct hub_service, services->count);
    if (next->services == NULL)
        err = FICUS_ERR_NOMEM;
    for (const struct json *s = services->first; s != NULL && err == FICUS_ERR_OK; s = s->next) {
        struct hub_service *service = &next->services[next->service_count++];
        const struct hub_service *old = find(r, s->key, &place);
        struct json_writer w;
        buf_clear(&text);
        json_write_init(&w, &text);
        json_write_value(&w, s);
        bool is_same = old != NULL && !old->owed && slice_eq(old->addresses, buf_slice(&text));
        *service = (struct hub_service){.name = arena_slice(&next->arena, s->key),
                                        .addresses = arena_slice(&next->arena, buf_slice(&text)),
                                        .version = is_same ? old->version : r->version + 1};
        same += is_same;
        if (buf_failed(&text) || service->name.p == NULL || service->addresses.p == NULL)
            err = FICUS_ERR_NOMEM;
        else if (!is_same)
            err = tell_calls(h, a, s);
    }
    buf_done(&text);
    *ret_changed = same < next->service_count || same < r->service_count;
    return err;
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
    struct hub_registry *r = &h->registry, next = {0};
    bool changed;
    arena_init(&next.arena, REGISTRY_ARENA_SIZE_MAX);
    err = registry_next(h, a, services, &next, &changed);
    changed = changed || r->warming;
    for (size_t i = 0; err != FICUS_ERR_OK && i < r->service_count; i++)
        r->services[i].owed = true;
    if (err != FICUS_ERR_OK || !changed) {
        arena_done(&next.arena);
        return err == FICUS_ERR_OK ? err : err_set(reterr, err, "%s", err_text(err));
    }
    arena_done(&r->arena);
    r->arena = next.arena;
    r->services = next.services;
    r->service_count = next.service_count;
    r->warming = false;
    r->version++;
    hub_registry_wake(h);
    hub_groups_wake(h);
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
