/* SPDX-License-Identifier: Apache-2.0
 *
 * Host names, by the system's resolver, which may take as long as resolv.conf(5) says: each on a thread of its own that nobody has to wait
 * for. Those of libuv's pool are joined when a process ends, so that a resolver that hangs would hold its end up.
 *
 *     waiting --a place is free--> running (its thread asks) --> ended (its task is posted) --> done
 *        |                            |                            |
 *        | cancel                     | cancel: done will not be called, the place is taken until it ends
 *        v                            | the env goes: the thread alone has it, and frees it
 *      freed                          v
 */
#include <uv.h>

#include "io_uv.h"
#include "mem.h"

#include <arpa/inet.h>
#include <netdb.h>

enum { RUNNING_MAX = 8, LOOKUPS_MAX = 1024 };

struct lookup {
    struct list link; /* env->lookups */
    void (*done)(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail); /* NULL: cancelled */
    void *arg;
    bool running;
    struct env_task task;
    char host[ENV_HOST_SIZE];

    pthread_mutex_t mutex; /* guards what follows */
    struct env_uv *env;    /* NULL: gone */
    bool ended;
    int status;
    struct addrinfo *list;
};

static void lookup_free(struct lookup *l)
{
    if (l->list != NULL)
        freeaddrinfo(l->list);
    pthread_mutex_destroy(&l->mutex);
    mem_free(l);
}

static void hosts_add(struct env_hosts *hosts, const struct addrinfo *info)
{
    char *text = hosts->host[hosts->count];
    const void *address = info->ai_family == AF_INET ? (const void *)&((const struct sockaddr_in *)(const void *)info->ai_addr)->sin_addr
                                                     : (const void *)&((const struct sockaddr_in6 *)(const void *)info->ai_addr)->sin6_addr;
    if (inet_ntop(info->ai_family, address, text, sizeof hosts->host[0]) == NULL)
        return;
    for (size_t i = 0; i < hosts->count; i++)
        if (strcmp(hosts->host[i], text) == 0)
            return;
    hosts->count++;
}

/* ---- on its thread ---- */

static void *lookup_main(void *arg)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct lookup *l = arg;
    struct addrinfo *list = NULL;
    int status = getaddrinfo(l->host, NULL, &hints, &list);
    pthread_mutex_lock(&l->mutex);
    l->status = status;
    l->list = status == 0 ? list : NULL;
    l->ended = true;
    bool left = l->env == NULL;
    if (!left) /* it cannot go while we have the mutex */
        env_post(&l->env->base, &l->task);
    pthread_mutex_unlock(&l->mutex);
    if (left)
        lookup_free(l);
    return NULL;
}

/* ---- on the loop ---- */

static void start(struct lookup *l)
{
    pthread_t thread;
    pthread_attr_t attr;
    l->running = true;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) {
        (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED); /* cannot fail */
        rc = env_uv_thread(&thread, &attr, lookup_main, l);
        (void)pthread_attr_destroy(&attr);
    }
    if (rc == 0)
        return;
    l->status = EAI_MEMORY; /* no thread has it */
    l->ended = true;
    env_post(&l->env->base, &l->task);
}

static void start_who_may(struct env_uv *e)
{
    size_t running = 0;
    LIST_FOREACH (&e->lookups, it) {
        struct lookup *l = CONTAINER_OF(it, struct lookup, link);
        if (!l->running)
            start(l);
        if (++running == RUNNING_MAX)
            return;
    }
}

static void on_ended(void *arg)
{
    struct lookup *l = arg;
    struct env_uv *e = l->env;
    struct env_hosts hosts = {0};
    struct ficus_error error = {0};
    enum ficus_err err = FICUS_ERR_OK;
    /* the thread has posted us inside of the mutex: it must be through with it */
    pthread_mutex_lock(&l->mutex);
    pthread_mutex_unlock(&l->mutex);
    for (const struct addrinfo *info = l->list; info != NULL && hosts.count < ENV_HOSTS_MAX; info = info->ai_next)
        if (info->ai_family == AF_INET || info->ai_family == AF_INET6)
            hosts_add(&hosts, info);
    if (l->status != 0 || hosts.count == 0)
        err = err_set(&error, FICUS_ERR_UNAVAILABLE, "%s: %s", l->host, l->status != 0 ? gai_strerror(l->status) : "no address");
    list_remove(&l->link);
    e->lookup_count--;
    start_who_may(e);
    if (l->done != NULL)
        l->done(l->arg, err, &hosts, error.text);
    lookup_free(l);
}

enum ficus_err lookup_uv(struct env *base, const char *host, void (*done)(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail),
                         void *arg)
{
    struct env_uv *e = env_uv_of(base);
    struct lookup *l = e->lookup_count >= LOOKUPS_MAX ? NULL : mem_zalloc(sizeof *l);
    if (l == NULL || strlen(host) >= sizeof l->host) {
        mem_free(l);
        return l == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
    }
    *l = (struct lookup){.done = done, .arg = arg, .task = {.fn = on_ended, .arg = l}, .env = e};
    memcpy(l->host, host, strlen(host) + 1);
    pthread_mutex_init(&l->mutex, NULL);
    list_add_tail(&e->lookups, &l->link);
    e->lookup_count++;
    start_who_may(e);
    return FICUS_ERR_OK;
}

void lookup_uv_cancel(struct env *base, const void *arg)
{
    struct env_uv *e = env_uv_of(base);
    LIST_FOREACH_SAFE (&e->lookups, it, tmp) {
        struct lookup *l = CONTAINER_OF(it, struct lookup, link);
        if (l->arg != arg)
            continue;
        l->done = NULL;
        if (l->running)
            continue;
        list_remove(&l->link);
        e->lookup_count--;
        lookup_free(l);
    }
}

void lookup_uv_leave_all(struct env_uv *e)
{
    LIST_FOREACH_SAFE (&e->lookups, it, tmp) {
        struct lookup *l = CONTAINER_OF(it, struct lookup, link);
        list_remove(&l->link);
        pthread_mutex_lock(&l->mutex);
        bool ours = !l->running || l->ended;
        l->env = NULL;
        pthread_mutex_unlock(&l->mutex);
        if (!ours)
            continue;
        env_uv_unpost(e, &l->task);
        lookup_free(l);
    }
    e->lookup_count = 0;
}
