/* SPDX-License-Identifier: Apache-2.0
 *
 * See proxy_keys.h. A fetch and a write of the file may each be under way once.
 */
#include "proxy_keys.h"

#include "mem.h"

enum {
    RETRY_MS_MIN = 100, /* while there are no keys */
    RETRY_MS_MAX = 2000,
    FETCH_TIMEOUT_MS = 2000,
};

/* A write of the file: frees itself, because it may outlive the keys. */
struct keep {
    struct env_job job;
    struct env *env;
    struct proxy_keys *keys; /* NULL: they are gone */
    char *path, *text;
    size_t text_size;
    enum ficus_err err;
    struct ficus_error error;
};

struct proxy_keys {
    struct process *process;
    const struct proxy_auth *auth;
    struct jwks *set;
    uint64_t version;             /* of set */
    struct buf text;              /* the document in the file, as far as is known */
    int64_t fetched_ms, asked_ms; /* last success; last begin of a fetch */
    int64_t retry_ms;
    struct call_fetch *fetch;
    struct keep *keep;
    struct env_timer retry;
    struct list waiters;
    bool loaded_told;
    struct env_timer loaded;
    void (*on_loaded)(void *arg);
    void *arg;
};

static void fetch_begin(struct proxy_keys *k);

static void loaded_fire(void *arg)
{
    struct proxy_keys *k = arg;
    k->on_loaded(k->arg);
}

/* True when the document was usable; then it is the present one. */
static bool keys_take(struct proxy_keys *k, struct slice text, const char *from)
{
    struct ficus_error error = {0};
    struct jwks *set = NULL;
    if (jwks_parse(text, &set, &error) != FICUS_ERR_OK) {
        LOG(&k->process->log, LOG_WARN, NULL, "gateway.keys_refused", "the keys of tokens cannot be used",
            LOG_STR("from", from), LOG_ERR(&error));
        return false;
    }
    jwks_free(k->set);
    k->set = set;
    k->version++;
    if (!k->loaded_told) {
        k->loaded_told = true;
        env_timer_start(k->process->env, &k->loaded, 0);
    }
    LOG(&k->process->log, LOG_DEBUG, NULL, "gateway.keys", "the keys of tokens are loaded", LOG_STR("from", from),
        LOG_INT("count", jwks_count(set)));
    return true;
}

static void keep_work(void *arg)
{
    struct keep *keep = arg;
    keep->err = env_file_store(keep->env, keep->path, slice_make(keep->text, keep->text_size), &keep->error);
}

static void keep_free(struct keep *keep)
{
    mem_free(keep->path);
    mem_free(keep->text);
    mem_free(keep);
}

static void keep_done(void *arg)
{
    struct keep *keep = arg;
    if (keep->keys != NULL)
        keep->keys->keep = NULL;
    if (keep->keys != NULL && keep->err != FICUS_ERR_OK)
        LOG(&keep->keys->process->log, LOG_WARN, NULL, "gateway.keys_file", "the keys of tokens could not be kept",
            LOG_ERR(&keep->error));
    keep_free(keep);
}

/* Keep a document that differs from the last one kept. What fails here is tried again after a later fetch; nothing
 * depends on it now. */
static void keys_keep(struct proxy_keys *k, struct slice text)
{
    if (k->auth->keys_file[0] == '\0' || k->process->beside || k->keep != NULL || slice_eq(buf_slice(&k->text), text))
        return;
    buf_clear(&k->text);
    struct keep *keep = mem_zalloc(sizeof *keep);
    if (keep == NULL)
        return;
    *keep = (struct keep){.env = k->process->env,
                          .keys = k,
                          .path = mem_strdup(k->auth->keys_file),
                          .text = mem_strndup(text.p, text.size),
                          .text_size = text.size};
    keep->job = (struct env_job){.work = keep_work, .done = keep_done, .arg = keep};
    if (keep->path == NULL || keep->text == NULL || env_run(k->process->env, &keep->job) != FICUS_ERR_OK) {
        keep_free(keep);
        return;
    }
    k->keep = keep;
    (void)buf_add_slice(&k->text, text); /* without memory it is only written once more */
}

static void waiters_wake(struct proxy_keys *k)
{
    struct list woken;
    list_init(&woken);
    for (struct list *it = list_pop_head(&k->waiters); it != NULL; it = list_pop_head(&k->waiters))
        list_add_tail(&woken, it);
    /* A callback may begin to wait again, or cancel others that are still in woken: both only touch lists. */
    for (struct list *it = list_pop_head(&woken); it != NULL; it = list_pop_head(&woken)) {
        struct proxy_keys_waiter *w = CONTAINER_OF(it, struct proxy_keys_waiter, link);
        env_timer_stop(k->process->env, &w->timer);
        w->fn(w->arg);
    }
}

static void fetched(void *arg, const struct call_result *result)
{
    struct proxy_keys *k = arg;
    k->fetch = NULL;
    bool good = result->err == FICUS_ERR_OK && result->status == 200 && keys_take(k, result->body, "issuer");
    if (good) {
        k->fetched_ms = env_now_ms(k->process->env);
        keys_keep(k, result->body);
    } else if (result->err != FICUS_ERR_OK || result->status != 200) {
        LOG(&k->process->log, LOG_WARN, NULL, "gateway.keys_fetch", "the keys of tokens could not be fetched",
            LOG_STR("error", result->err == FICUS_ERR_OK ? "status" : err_text(result->err)),
            LOG_INT("status", result->status));
    }
    if (k->set == NULL) {
        k->retry_ms = k->retry_ms == 0 ? RETRY_MS_MIN : k->retry_ms * 2 < RETRY_MS_MAX ? k->retry_ms * 2 : RETRY_MS_MAX;
        env_timer_start(k->process->env, &k->retry, k->retry_ms);
        return; /* who waits, waits on: the next try may come in time */
    }
    waiters_wake(k);
}

static void fetch_begin(struct proxy_keys *k)
{
    if (k->fetch != NULL)
        return;
    struct call_request r = {.callee = k->auth->service,
                             .method = SLICE("GET"),
                             .path = slice_str(k->auth->path),
                             .timeout_ms = FETCH_TIMEOUT_MS};
    k->asked_ms = env_now_ms(k->process->env);
    enum ficus_err err = call_fetch(k->process->calls, &r, JWKS_TEXT_SIZE_MAX, fetched, k, &k->fetch);
    if (err == FICUS_ERR_OK)
        return;
    k->fetch = NULL;
    LOG(&k->process->log, LOG_WARN, NULL, "gateway.keys_fetch", "the keys of tokens could not be asked for",
        LOG_STR("error", err_text(err)));
    if (k->set == NULL)
        env_timer_start(k->process->env, &k->retry, RETRY_MS_MAX);
}

static void retry_fire(void *arg)
{
    fetch_begin(arg);
}

static void keys_load(struct proxy_keys *k)
{
    if (k->auth->keys_file[0] == '\0')
        return;
    struct arena a;
    struct slice text;
    arena_init(&a, JWKS_TEXT_SIZE_MAX + 1024);
    /* Missing at the first start, and then not worth a word. */
    if (env_file_load(k->process->env, &a, k->auth->keys_file, JWKS_TEXT_SIZE_MAX, &text, NULL) == FICUS_ERR_OK &&
        keys_take(k, text, "file"))
        (void)buf_add_slice(&k->text, text);
    arena_done(&a);
}

enum ficus_err proxy_keys_new(struct process *p, const struct proxy_auth *auth, void (*on_loaded)(void *arg), void *arg,
                              struct proxy_keys **ret_keys)
{
    struct proxy_keys *k = mem_zalloc(sizeof *k);
    if (k == NULL)
        return FICUS_ERR_NOMEM;
    k->process = p;
    k->auth = auth;
    k->on_loaded = on_loaded;
    k->arg = arg;
    buf_init(&k->text, JWKS_TEXT_SIZE_MAX);
    list_init(&k->waiters);
    k->retry = (struct env_timer){.fn = retry_fire, .arg = k};
    k->loaded = (struct env_timer){.fn = loaded_fire, .arg = k};
    keys_load(k);
    fetch_begin(k);
    *ret_keys = k;
    return FICUS_ERR_OK;
}

void proxy_keys_free(struct proxy_keys *k)
{
    if (k == NULL)
        return;
    if (k->fetch != NULL)
        call_fetch_cancel(k->fetch);
    if (k->keep != NULL)
        k->keep->keys = NULL;
    env_timer_stop(k->process->env, &k->retry);
    env_timer_stop(k->process->env, &k->loaded);
    jwks_free(k->set);
    buf_done(&k->text);
    mem_free(k);
}

const struct jwks *proxy_keys_use(struct proxy_keys *k)
{
    int64_t now_ms = env_now_ms(k->process->env);
    bool old = k->fetched_ms == 0 || now_ms - k->fetched_ms >= PROXY_KEYS_AGE_MS;
    if (k->set != NULL && old && now_ms - k->asked_ms >= PROXY_KEYS_UNKNOWN_MS)
        fetch_begin(k);
    return k->set;
}

uint64_t proxy_keys_version(const struct proxy_keys *k)
{
    return k->version;
}

bool proxy_keys_unknown(struct proxy_keys *k)
{
    if (k->fetch == NULL && env_now_ms(k->process->env) - k->asked_ms >= PROXY_KEYS_UNKNOWN_MS)
        fetch_begin(k);
    return k->fetch != NULL;
}

static void wait_timeout(void *arg)
{
    struct proxy_keys_waiter *w = arg;
    list_remove(&w->link);
    w->fn(w->arg);
}

void proxy_keys_wait(struct proxy_keys *k, struct proxy_keys_waiter *w)
{
    w->keys = k;
    w->timer = (struct env_timer){.fn = wait_timeout, .arg = w};
    list_add_tail(&k->waiters, &w->link);
    env_timer_start(k->process->env, &w->timer, PROXY_KEYS_WAIT_MS);
}

void proxy_keys_wait_cancel(struct proxy_keys_waiter *w)
{
    if (w->keys == NULL)
        return;
    list_remove(&w->link);
    env_timer_stop(w->keys->process->env, &w->timer);
}
