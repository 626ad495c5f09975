/* SPDX-License-Identifier: Apache-2.0
 *
 * Host names, by the system's resolver on a thread of libuv's own: a resolver that hangs takes no worker away.
 */
#include <uv.h>

#include "io_uv.h"
#include "mem.h"

#include <arpa/inet.h>

struct lookup {
    uv_getaddrinfo_t request;
    struct env_uv *env;
    void (*done)(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail);
    void *arg;
    char host[ENV_HOST_SIZE];
};

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

static void on_lookup(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct lookup *l = request->data;
    struct env_hosts hosts = {0};
    for (const struct addrinfo *info = list; info != NULL && hosts.count < ENV_HOSTS_MAX; info = info->ai_next)
        if (info->ai_family == AF_INET || info->ai_family == AF_INET6)
            hosts_add(&hosts, info);
    uv_freeaddrinfo(list);
    struct ficus_error error = {0};
    enum ficus_err err = FICUS_ERR_OK;
    if (status != 0 || hosts.count == 0)
        err = err_set(&error, FICUS_ERR_UNAVAILABLE, "%s: %s", l->host, status != 0 ? uv_strerror(status) : "no address");
    env_uv_event(l->env);
    l->done(l->arg, err, &hosts, error.text);
    mem_free(l);
}

enum ficus_err lookup_uv(struct env *base, const char *host, void (*done)(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail),
                         void *arg)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct env_uv *e = env_uv_of(base);
    struct lookup *l = mem_zalloc(sizeof *l);
    if (l == NULL || strlen(host) >= sizeof l->host) {
        mem_free(l);
        return l == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_INVALID;
    }
    *l = (struct lookup){.env = e, .done = done, .arg = arg, .request.data = l};
    memcpy(l->host, host, strlen(host) + 1);
    if (uv_getaddrinfo(&e->loop, &l->request, on_lookup, host, NULL, &hints) == 0)
        return FICUS_ERR_OK;
    mem_free(l);
    return FICUS_ERR_NOMEM;
}
