/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub's subscriber; see resolve_hub.h. Two independent loops: poll -> pause -> poll, and state changed -> write
 * the file -> pause -> state has moved on -> write.
 */
#include "resolve_hub.h"

#include "assert.h"
#include "call_core.h"
#include "mem.h"
#include "snapshot.h"

#include <stdio.h>

enum {
    PARSE_ARENA_SIZE_MAX = 16 << 20,
    POLL_GRACE_MS = 5000,       /* beyond wait_ms until a poll is given up */
    POLL_SHORT_MS = 1000,       /* an answer without news before that is followed by a pause */
    SAVE_PAUSE_MS = 1000,
    POLL_WARMING_MS = 200,      /* between polls while the hub is warming */
};

struct resolve_hub {
    struct env *env;
    struct call_engine *engine;
    char *hub, *path;
    int64_t wait_ms;
    void (*on_change)(void *arg);
    void (*on_addresses)(void *arg, const char *callee, const char *const *addresses, size_t address_count);
    void *arg;
    struct snapshot_state state;
    struct resolve_hub_status status;
    bool changed;                   /* on_change is due */
    bool loading;                   /* what the file says is applied */

    struct call_fetch *fetch;       /* a poll runs */
    char poll_path[96];
    int64_t asked_version, poll_began_ms;
    uint64_t failures;              /* in a row */
    struct env_timer pause;

    struct env_timer save_pause;    /* behind a write: it costs a hundred times what a change costs */
    struct env_job job;
    bool job_runs, save_wanted;
    struct buf saving;              /* what the job writes; untouched while it runs */
    struct ficus_error job_error;

    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void save_start(struct resolve_hub *r);

/* ---- the state ---- */

static enum ficus_err snapshot_apply(struct resolve_hub *r, const struct snapshot *s)
{
    enum ficus_err worst = FICUS_ERR_OK;
    for (size_t i = 0; i < s->service_count; i++) {
        const struct snapshot_service *service = &s->services[i];
        bool changed;
        if (strcmp(service->name, r->hub) == 0)
            continue;
        if (!snapshot_state_take(&r->state, service, s->warming, &changed)) {
            worst = FICUS_ERR_NOMEM;
            continue;
        }
        if (!changed)
            continue;
        r->changed = true;
        enum ficus_err err = call_engine_endpoints(r->engine, service->name, service->addresses,
                                                   service->address_count);
        if (err != FICUS_ERR_OK) {
            snapshot_state_owe(&r->state, service->name);
            worst = err;
        }
        if (r->on_addresses != NULL && !r->loading)
            r->on_addresses(r->arg, service->name, service->addresses, service->address_count);
    }
    r->status.service_count = map_count(&r->state.services);
    return worst;
}

static void tell_change(struct resolve_hub *r)
{
    if (!r->changed)
        return;
    r->changed = false;
    if (r->on_change != NULL)
        r->on_change(r->arg);
}

/* ---- the file ---- */

static void file_load(struct resolve_hub *r)
{
    struct arena a;
    struct slice text;
    struct snapshot s;
    bool exists;
    if (r->path == NULL || env_file_exists(r->env, r->path, &exists) != FICUS_ERR_OK || !exists)
        return;
    arena_init(&a, PARSE_ARENA_SIZE_MAX);
    enum ficus_err err = env_file_load(r->env, &a, r->path, RESOLVE_SNAPSHOT_SIZE_MAX, &text, NULL);
    if (err == FICUS_ERR_OK)
        err = snapshot_parse(&a, text, &s, NULL);
    if (err == FICUS_ERR_OK) {
        s.warming = true; /* what is here was true once: it fills in for what the hub says */
        r->loading = true;
        err = snapshot_apply(r, &s);
        r->loading = false;
        r->status.from_file = s.service_count > 0;
    }
    r->status.file_err = err;
    arena_done(&a);
}

static void free_when_quiet(struct resolve_hub *r)
{
    if (!r->closing || r->job_runs || env_timer_armed(&r->pause))
        return;
    void (*closed)(void *arg) = r->closed;
    void *closed_arg = r->closed_arg;
    snapshot_state_done(&r->state);
    buf_done(&r->saving);
    mem_free(r->hub);
    mem_free(r->path);
    mem_free(r);
    closed(closed_arg);
}

/* Worker. */
static void save_work(void *arg)
{
    struct resolve_hub *r = arg;
    r->job_error = (struct ficus_error){0};
    if (env_file_store(r->env, r->path, buf_slice(&r->saving), &r->job_error) != FICUS_ERR_OK &&
        r->job_error.code == FICUS_ERR_OK)
        r->job_error.code = FICUS_ERR_IO;
}

static void save_done(void *arg)
{
    struct resolve_hub *r = arg;
    r->job_runs = false;
    r->status.file_err = r->job_error.code;
    if (r->closing) {
        save_start(r);
        free_when_quiet(r);
    } else {
        env_timer_start(r->env, &r->save_pause, SAVE_PAUSE_MS);
    }
}

static void on_save_pause(void *arg)
{
    save_start(arg);
}

/* A save that cannot begin is wanted still, and tried again after the next poll. */
static void save_start(struct resolve_hub *r)
{
    if (r->path == NULL || r->job_runs || !r->save_wanted || env_timer_armed(&r->save_pause))
        return;
    buf_clear(&r->saving);
    if (!snapshot_state_write(&r->state, r->status.version, &r->saving)) {
        r->status.file_err = FICUS_ERR_TOO_LARGE;
        r->save_wanted = false;
        return;
    }
    r->job = (struct env_job){.work = save_work, .done = save_done, .arg = r};
    enum ficus_err err = env_run(r->env, &r->job);
    r->job_runs = err == FICUS_ERR_OK;
    r->save_wanted = !r->job_runs;
    if (err != FICUS_ERR_OK)
        r->status.file_err = err;
}

/* ---- the poll ---- */

static void poll_again(struct resolve_hub *r, int64_t pause_ms)
{
    env_timer_start(r->env, &r->pause, pause_ms);
}

static void poll_failed(struct resolve_hub *r, enum ficus_err err, const char *detail)
{
    r->status.connected = false;
    r->status.poll_err = err;
    r->status.detail = detail;
    r->status.polls_failed++;
    r->failures++;
    /* Another hub may answer next time, whose versions mean nothing to us: ask for everything. */
    r->asked_version = 0;
    poll_again(r, call_backoff_ms(RESOLVE_BACKOFF_BASE_MS, RESOLVE_BACKOFF_MAX_MS, r->failures,
                                  env_random_u64(r->env)));
}

static void poll_answered(struct resolve_hub *r, bool news)
{
    bool brief = env_now_ms(r->env) - r->poll_began_ms < POLL_SHORT_MS;
    r->status.connected = true;
    r->status.poll_err = FICUS_ERR_OK;
    r->status.detail = NULL;
    r->failures = 0;
    poll_again(r, news || !brief ? 0 : RESOLVE_BACKOFF_BASE_MS);
}

static void poll_read(struct resolve_hub *r, struct slice body)
{
    struct arena a;
    struct snapshot s;
    arena_init(&a, PARSE_ARENA_SIZE_MAX);
    enum ficus_err err = snapshot_parse(&a, body, &s, NULL);
    if (err == FICUS_ERR_OK && s.since > 0 && s.since != r->asked_version)
        err = FICUS_ERR_PROTOCOL; /* something may lie between */
    if (err == FICUS_ERR_OK)
        err = snapshot_apply(r, &s);
    if (err == FICUS_ERR_OK) {
        bool news = s.version != r->asked_version;
        r->save_wanted = r->save_wanted || r->changed;
        r->asked_version = r->status.version = s.version;
        r->status.warming = s.warming;
        r->status.from_file = r->status.from_file && s.warming;
        poll_answered(r, news);
        if (s.warming) {
            /* What was held back has to be asked for again. */
            r->asked_version = 0;
            poll_again(r, POLL_WARMING_MS);
        }
    } else {
        poll_failed(r, err, "the hub's snapshot could not be used");
    }
    arena_done(&a);
}

static void on_polled(void *arg, const struct call_result *result)
{
    struct resolve_hub *r = arg;
    r->fetch = NULL;
    if (result->err == FICUS_ERR_CANCELLED) {       /* the engine closes */
        r->status.connected = false;
        return;
    }
    if (result->err != FICUS_ERR_OK)
        poll_failed(r, result->err, result->detail);
    else if (result->status == 200)
        poll_read(r, result->body);
    else if (result->status == 204 || result->status == 304)
        poll_answered(r, false);
    else
        poll_failed(r, FICUS_ERR_UNAVAILABLE, "the hub answered with an error");
    save_start(r);
    tell_change(r);
}

static void on_pause(void *arg)
{
    struct resolve_hub *r = arg;
    if (r->closing) {
        free_when_quiet(r);
        return;
    }
    if (r->changed) {               /* from the file */
        tell_change(r);
        if (r->closing)
            return;
    }
    (void)snprintf(r->poll_path, sizeof r->poll_path, "/v1/endpoints?version=%lld&wait=%lld",
                   (long long)r->asked_version, (long long)r->wait_ms);
    const struct call_request request = {
        .callee = r->hub,
        .method = SLICE("GET"),
        .path = slice_str(r->poll_path),
        .timeout_ms = r->wait_ms + POLL_GRACE_MS,
    };
    r->poll_began_ms = env_now_ms(r->env);
    enum ficus_err err = call_fetch(r->engine, &request, RESOLVE_SNAPSHOT_SIZE_MAX, on_polled, r, &r->fetch);
    if (err == FICUS_ERR_CANCELLED)
        r->status.connected = false;
    else if (err != FICUS_ERR_OK)
        poll_failed(r, err, "the poll could not begin");
}

/* ---- life ---- */

enum ficus_err resolve_hub_new(struct env *e, const struct resolve_hub_options *o, struct resolve_hub **ret_resolve)
{
    if (o->engine == NULL || o->wait_ms < 0)
        return FICUS_ERR_INVALID;
    struct resolve_hub *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return FICUS_ERR_NOMEM;
    r->env = e;
    r->engine = o->engine;
    r->hub = mem_strdup(o->hub != NULL ? o->hub : "hub");
    r->path = o->snapshot_path != NULL ? mem_strdup(o->snapshot_path) : NULL;
    r->wait_ms = o->wait_ms > 0 ? o->wait_ms : 25000;
    r->on_change = o->on_change;
    r->on_addresses = o->on_addresses;
    r->arg = o->arg;
    r->pause = (struct env_timer){.fn = on_pause, .arg = r};
    r->save_pause = (struct env_timer){.fn = on_save_pause, .arg = r};
    buf_init(&r->saving, RESOLVE_SNAPSHOT_SIZE_MAX);
    if (r->hub == NULL || (o->snapshot_path != NULL && r->path == NULL)) {
        mem_free(r->hub);
        mem_free(r->path);
        mem_free(r);
        return FICUS_ERR_NOMEM;
    }
    uint64_t seed[2];
    env_random(e, seed, sizeof seed);
    snapshot_state_init(&r->state, seed);
    file_load(r);
    poll_again(r, 0);
    *ret_resolve = r;
    return FICUS_ERR_OK;
}

void resolve_hub_close(struct resolve_hub *r, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!r->closing);
    r->closing = true;
    r->closed = closed;
    r->closed_arg = arg;
    if (r->fetch != NULL)
        call_fetch_cancel(r->fetch);
    r->fetch = NULL;
    env_timer_stop(r->env, &r->save_pause);
    save_start(r);
    env_timer_start(r->env, &r->pause, 0);
}

enum ficus_err resolve_hub_keep(struct resolve_hub *r, const char *path)
{
    FICUS_ASSERT(r->path == NULL && !r->closing);
    r->path = mem_strdup(path);
    if (r->path == NULL)
        return FICUS_ERR_NOMEM;
    r->save_wanted = r->status.service_count > 0;
    save_start(r);
    return FICUS_ERR_OK;
}

void resolve_hub_status(const struct resolve_hub *r, struct resolve_hub_status *ret_status)
{
    *ret_status = r->status;
}
