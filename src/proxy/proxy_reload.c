/* SPDX-License-Identifier: Apache-2.0
 *
 * Reloading: a worker makes a snapshot of the file, the first loop swaps it in, and then each of the others one that
 * borrows from it.
 *
 * Failure modes: a file that cannot be read, or says something wrong, or something that holds for the life of the
 * process, changes nothing. A proxy that stops meanwhile is not told; the job then frees what it made. One of the other
 * loops goes on by the old file when it has no memory, or a file that the first one could read (a service's ca) is gone; the
 * result says so, and that it is to be tried again.
 */
#include "proxy_private.h"

#include "mem.h"

struct proxy_reload {
    struct env_job job;
    struct proxy_tour tour;
    struct proxy_snapshot **others; /* for each of the other loops; NULL: it took its own */
    size_t other_count;
    struct env *env;
    struct proxy *proxy; /* NULL: it is gone, or stops */
    char *path;
    struct proxy_snapshot *made;
    bool taken; /* by the first loop */
    struct ficus_error result;
    void (*done)(void *arg, const struct ficus_error *result);
    void *arg;
};

static void reload_free(struct proxy_reload *r)
{
    for (size_t i = 0; i < r->other_count; i++)
        (void)proxy_snapshot_unref(r->others[i]);
    mem_free(r->others);
    (void)proxy_snapshot_unref(r->made);
    mem_free(r->path);
    mem_free(r);
}

/* What the process has taken from its first file for good. The listeners are the supervisor's; what they need beside
 * their address is to be taken over where the snapshots are swapped. NULL: nothing of it differs. */
static bool same_tls(const struct proxy_tls *a, const struct proxy_tls *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->min == b->min && strcmp(a->tickets_file, b->tickets_file) == 0;
}

static const char *fixed_word(const struct proxy_config *was, const struct proxy_config *now)
{
    const struct process_config *a = &was->common, *b = &now->common;
    const struct {
        const char *word, *was, *now;
    } words[] = {{"system", a->system, b->system},       {"process", a->process, b->process},
                 {"state", a->state, b->state},          {"key_file", a->key_file, b->key_file},
                 {"hub", a->hub, b->hub},                {"snapshot_file", a->snapshot_file, b->snapshot_file},
                 {"admin", was->admin, now->admin}};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (strcmp(words[i].was, words[i].now) != 0)
            return words[i].word;
    if (a->instance != b->instance)
        return "instance";
    if (was->threads != now->threads)
        return "threads";
    if (!same_tls(was->tls, now->tls))
        return "tls (but for its certificates and hsts)";
    bool same = was->listen_count == now->listen_count;
    for (size_t i = 0; same && i < was->listen_count; i++)
        same = strcmp(was->listen[i], now->listen[i]) == 0;
    return same ? NULL : "listen";
}

static void reload_work(void *arg)
{
    struct proxy_reload *r = arg;
    r->result.code = proxy_snapshot_read(r->env, r->path, &r->made, &r->result);
}

static bool others_make(struct proxy_reload *r, const struct proxy_loops *loops)
{
    if (loops->others == 0)
        return true;
    r->others = mem_array(loops->others, sizeof r->others[0]);
    for (; r->others != NULL && r->other_count < loops->others; r->other_count++) {
        struct proxy_snapshot *s = proxy_snapshot_beside(r->made);
        if (s == NULL)
            return false;
        r->others[r->other_count] = s;
    }
    return r->others != NULL;
}

static enum ficus_err take_over(struct proxy *p, struct proxy_reload *r)
{
    struct proxy_snapshot *made = r->made;
    const char *word = fixed_word(p->first, made->config);
    if (word != NULL)
        return err_set(&r->result, FICUS_ERR_CONFLICT, "%s cannot change while it runs: ficus restart gateway", word);
    if (!others_make(r, p->loops))
        return err_set(&r->result, FICUS_ERR_NOMEM, "out of memory");
    r->made = NULL;
    enum ficus_err err = proxy_swap(p, made, &r->result);
    r->taken = err == FICUS_ERR_OK;
    return err;
}

/* On each of the other loops. */
static void swap_visit(struct proxy_tour *tour, struct proxy *p)
{
    struct proxy_reload *r = CONTAINER_OF(tour, struct proxy_reload, tour);
    struct proxy_snapshot *s = r->others[tour->at - 1];
    struct ficus_error error = {0};
    r->others[tour->at - 1] = NULL;
    if (proxy_swap(p, s, &error) != FICUS_ERR_OK)
        r->result.code = err_set(&r->result, error.code, "one of the threads goes on by the old file, try again: %s",
                                 error.text);
}

static void reload_end(struct proxy_tour *tour)
{
    struct proxy_reload *r = CONTAINER_OF(tour, struct proxy_reload, tour);
    struct proxy *p = r->proxy;
    p->reload = NULL;
    if (r->result.code == FICUS_ERR_OK)
        LOG(&p->process.log, LOG_INFO, NULL, "gateway.reloaded", "the configuration was read again",
            LOG_INT("routes", p->current->config->route_count));
    else if (r->taken)
        LOG(&p->process.log, LOG_ERROR, NULL, "gateway.reload_part", "a new configuration was not taken over by all threads",
            LOG_ERR(&r->result));
    else
        LOG(&p->process.log, LOG_ERROR, NULL, "gateway.reload", "a new configuration was refused, the old one stays",
            LOG_ERR(&r->result));
    if (r->result.code != FICUS_ERR_OK && !r->taken)
        err_wrap(&r->result, "the one before stays");
    r->done(r->arg, &r->result);
    reload_free(r);
}

static void reload_done(void *arg)
{
    struct proxy_reload *r = arg;
    struct proxy *p = r->proxy;
    if (p == NULL) {
        reload_free(r);
        return;
    }
    r->tour = (struct proxy_tour){.visit = swap_visit, .done = reload_end};
    if (r->result.code == FICUS_ERR_OK)
        r->result.code = take_over(p, r);
    if (r->result.code == FICUS_ERR_OK)
        proxy_tour_begin(p->loops, &r->tour);
    else
        reload_end(&r->tour);
}

enum ficus_err proxy_reload(struct proxy *p, const char *path,
                            void (*done)(void *arg, const struct ficus_error *result), void *arg)
{
    if (p->reload != NULL || p->stopping)
        return FICUS_ERR_BUSY;
    struct proxy_reload *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return FICUS_ERR_NOMEM;
    *r = (struct proxy_reload){.env = p->env, .proxy = p, .path = mem_strdup(path), .done = done, .arg = arg};
    r->job = (struct env_job){.work = reload_work, .done = reload_done, .arg = r};
    enum ficus_err err = r->path == NULL ? FICUS_ERR_NOMEM : env_run(p->env, &r->job);
    if (err != FICUS_ERR_OK)
        reload_free(r);
    else
        p->reload = r;
    return err;
}

void proxy_reload_cancel(struct proxy *p)
{
    if (p->reload != NULL)
        p->reload->proxy = NULL;
    p->reload = NULL;
}
