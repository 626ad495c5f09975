/* SPDX-License-Identifier: Apache-2.0
 *
 * See proxy_snapshot.h.
 */
#include "proxy_snapshot.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

enum {
    CONFIG_SIZE_MAX = 8 * 1024 * 1024,
    CONFIG_ARENA_SIZE_MAX = 64 * 1024 * 1024,
};

/* ---- the issuer ---- */

static void issuer_unref(struct proxy_issuer *i)
{
    if (i == NULL || --i->refs > 0)
        return;
    proxy_keys_free(i->keys);
    proxy_tokens_free(i->tokens);
    const char *const strings[] = {i->auth.service, i->auth.path, i->auth.issuer, i->auth.keys_file};
    for (size_t k = 0; k < ARRAY_COUNT(strings); k++)
        mem_free((void *)(uintptr_t)strings[k]); /* our copies: the const is the table's */
    mem_free(i);
}

static bool issuer_is(const struct proxy_issuer *i, const struct proxy_auth *auth)
{
    return strcmp(i->auth.service, auth->service) == 0 && strcmp(i->auth.path, auth->path) == 0 &&
           strcmp(i->auth.issuer, auth->issuer) == 0 && strcmp(i->auth.keys_file, auth->keys_file) == 0;
}

static enum ficus_err issuer_new(const struct proxy_auth *auth, struct process *p, void (*on_loaded)(void *arg),
                                 void *arg, struct proxy_issuer **ret_issuer)
{
    struct proxy_issuer *i = mem_zalloc(sizeof *i);
    if (i == NULL)
        return FICUS_ERR_NOMEM;
    i->refs = 1;
    i->auth = (struct proxy_auth){mem_strdup(auth->service), mem_strdup(auth->path), mem_strdup(auth->issuer),
                                  mem_strdup(auth->keys_file)};
    i->tokens = proxy_tokens_new(p->env);
    bool ok = i->auth.service != NULL && i->auth.path != NULL && i->auth.issuer != NULL &&
              i->auth.keys_file != NULL && i->tokens != NULL;
    enum ficus_err err = ok ? proxy_keys_new(p, &i->auth, on_loaded, arg, &i->keys) : FICUS_ERR_NOMEM;
    if (err == FICUS_ERR_OK)
        *ret_issuer = i;
    else
        issuer_unref(i);
    return err;
}

/* ---- making ---- */

bool proxy_snapshot_needs_keys(const struct proxy_snapshot *s)
{
    for (size_t i = 0; i < s->config->route_count; i++)
        if (s->config->routes[i].auth != PROXY_AUTH_NONE)
            return true;
    return false;
}

bool proxy_snapshot_has_path(const struct proxy_snapshot *s, struct slice path)
{
    return map_get(&s->paths, path) != NULL;
}

static bool counts_alloc(struct proxy_snapshot *s)
{
    s->counts = mem_array(s->config->route_count + 1, sizeof *s->counts); /* one more: there may be no route */
    return s->counts != NULL;
}

void proxy_snapshot_forget_counts(struct proxy_snapshot *s)
{
    memset(s->counts, 0, s->config->route_count * sizeof *s->counts);
}

static enum ficus_err note_paths(struct proxy_snapshot *s, struct ficus_error *reterr)
{
    for (size_t i = 0; i < s->config->route_count; i++)
        if (!map_put(&s->paths, slice_str(s->config->routes[i].path), &s->config->routes[i]))
            return err_set(reterr, FICUS_ERR_NOMEM, "routes");
    return FICUS_ERR_OK;
}

static enum ficus_err read_files(struct proxy_snapshot *s, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; err == FICUS_ERR_OK && i < s->config->route_count; i++) {
        const char *folder = s->config->routes[i].files;
        if (folder == NULL)
            continue;
        if (s->files == NULL && (s->files = files_new()) == NULL)
            return err_set(reterr, FICUS_ERR_NOMEM, "files");
        err = files_read(s->files, folder, reterr);
    }
    return err;
}

static enum ficus_err read_trusted(struct proxy_snapshot *s, struct ficus_error *reterr)
{
    const struct proxy_config *c = s->config;
    if (c->trusted_count == 0)
        return FICUS_ERR_OK;
    s->trusted = ARENA_ARRAY(&s->arena, struct address_block, c->trusted_count);
    if (s->trusted == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "trusted_proxies");
    for (; s->trusted_count < c->trusted_count; s->trusted_count++)
        if (!address_block_parse(slice_str(c->trusted_proxies[s->trusted_count]), &s->trusted[s->trusted_count]))
            return err_set(reterr, FICUS_ERR_INVALID, "trusted_proxies: %s is no block of addresses",
                           c->trusted_proxies[s->trusted_count]);
    return FICUS_ERR_OK;
}

static enum ficus_err fill(struct proxy_snapshot *s, const struct proxy_config *config, struct ficus_error *reterr)
{
    s->config = config;
    if (config->tls != NULL && config->tls->hsts_ms >= 1000)
        (void)snprintf(s->hsts, sizeof s->hsts, "max-age=%lld", (long long)(config->tls->hsts_ms / 1000));
    if (!counts_alloc(s))
        return err_set(reterr, FICUS_ERR_NOMEM, "gateway");
    enum ficus_err err = proxy_router_new(config->routes, config->route_count, &s->router, reterr);
    if (err == FICUS_ERR_OK)
        err = note_paths(s, reterr);
    if (err == FICUS_ERR_OK)
        err = read_files(s, reterr);
    if (err == FICUS_ERR_OK)
        err = read_trusted(s, reterr);
    if (err == FICUS_ERR_OK && config->auth == NULL && proxy_snapshot_needs_keys(s))
        err = err_set(reterr, FICUS_ERR_INVALID, "a route has auth, but the gateway has no issuer of tokens (auth)");
    return err;
}

static struct proxy_snapshot *snapshot_alloc(struct ficus_error *reterr)
{
    struct proxy_snapshot *s = mem_zalloc(sizeof *s);
    if (s == NULL) {
        (void)err_set(reterr, FICUS_ERR_NOMEM, "gateway");
        return NULL;
    }
    s->refs = 1;
    s->uses = 1;
    list_init(&s->link);
    arena_init(&s->arena, CONFIG_ARENA_SIZE_MAX);
    map_init(&s->paths, (const uint64_t[2]){0}); /* the manifest is trusted */
    return s;
}

enum ficus_err proxy_snapshot_new(const struct proxy_config *config, struct proxy_snapshot **ret_snapshot,
                                  struct ficus_error *reterr)
{
    struct proxy_snapshot *s = snapshot_alloc(reterr);
    if (s == NULL)
        return FICUS_ERR_NOMEM;
    enum ficus_err err = fill(s, config, reterr);
    if (err == FICUS_ERR_OK)
        *ret_snapshot = s;
    else
        (void)proxy_snapshot_unref(s);
    return err;
}

enum ficus_err proxy_snapshot_read(struct env *e, const char *path, struct proxy_snapshot **ret_snapshot,
                                   struct ficus_error *reterr)
{
    struct proxy_snapshot *s = snapshot_alloc(reterr);
    struct slice text;
    if (s == NULL)
        return FICUS_ERR_NOMEM;
    struct proxy_config *config = ARENA_NEW(&s->arena, struct proxy_config);
    enum ficus_err err = config == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "gateway")
                                        : env_file_load(e, &s->arena, path, CONFIG_SIZE_MAX, &text, reterr);
    if (err == FICUS_ERR_OK)
        err = process_config_read(&s->arena, path, text, &proxy_config_table, config, reterr);
    if (err == FICUS_ERR_OK)
        err = fill(s, config, reterr);
    if (err == FICUS_ERR_OK)
        *ret_snapshot = s;
    else
        (void)proxy_snapshot_unref(s);
    return err;
}

struct proxy_snapshot *proxy_snapshot_beside(struct proxy_snapshot *s)
{
    FICUS_ASSERT(s->origin == NULL);
    struct proxy_snapshot *other = mem_zalloc(sizeof *other);
    if (other == NULL)
        return NULL;
    other->config = s->config;
    if (!counts_alloc(other)) {
        mem_free(other);
        return NULL;
    }
    atomic_fetch_add(&s->uses, 1);
    other->refs = 1;
    list_init(&other->link);
    other->origin = s;
    other->router = s->router;
    other->files = s->files;
    other->paths = s->paths;
    memcpy(other->hsts, s->hsts, sizeof other->hsts);
    other->trusted = s->trusted;
    other->trusted_count = s->trusted_count;
    return other;
}

/* ---- life ---- */

/* The last of all loops. */
static void unuse(struct proxy_snapshot *s)
{
    if (atomic_fetch_sub(&s->uses, 1) > 1)
        return;
    proxy_router_free(s->router);
    files_free(s->files);
    map_done(&s->paths);
    arena_done(&s->arena);
    mem_free(s);
}

enum ficus_err proxy_snapshot_begin(struct proxy_snapshot *s, const struct proxy_snapshot *before, struct process *p,
                                    void (*on_loaded)(void *arg), void *arg, struct ficus_error *reterr)
{
    FICUS_ASSERT(s->issuer == NULL);
    if (s->config->auth == NULL)
        return FICUS_ERR_OK;
    if (before != NULL && before->issuer != NULL && issuer_is(before->issuer, s->config->auth)) {
        s->issuer = before->issuer;
        s->issuer->refs++;
        return FICUS_ERR_OK;
    }
    enum ficus_err err = issuer_new(s->config->auth, p, on_loaded, arg, &s->issuer);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "gateway");
}

bool proxy_snapshot_unref(struct proxy_snapshot *s)
{
    if (s == NULL)
        return false;
    FICUS_ASSERT(s->refs > 0);
    if (--s->refs > 0)
        return false;
    list_remove(&s->link);
    issuer_unref(s->issuer);
    s->issuer = NULL;
    MEM_FREE(s->counts);
    if (s->origin == NULL) {
        unuse(s);
        return true;
    }
    unuse(s->origin);
    mem_free(s);
    return true;
}
