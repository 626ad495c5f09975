/* SPDX-License-Identifier: Apache-2.0
 *
 * The addresses of a callee whose url has a name. They are looked up when the edge begins to lead there, and again from
 * time to time: the system's resolver does not tell how long an answer holds.
 *
 *     IDLE -> names_lead -> LOOKING -> found -> the pool has them; RESTING 30 s -> LOOKING
 *                             |    `-> not found -> what was known stays; RESTING 1 s, 2 s, .. 30 s -> LOOKING
 *                             `-----> names_stop, or it leads elsewhere: what is looked for is given up -> IDLE
 *
 * Until the first result calls wait, as they do for a place. A name that is not found fails them at once, with the
 * resolver's reason, until it is.
 */
#include "call_private.h"

#include "mem.h"

#include <stdio.h>

enum { REFRESH_MS = 30 * 1000, RETRY_MS_MIN = 1000 };

enum names_state { NAMES_IDLE, NAMES_LOOKING, NAMES_RESTING };

struct call_names {
    struct call_edge *edge;
    enum names_state state;
    bool wanted;                /* the edge leads to a name */
    char host[ENV_HOST_SIZE];
    uint16_t port;
    int64_t retry_ms;
    struct env_timer timer;
    char failure[ENV_HOST_SIZE + 128];
};

static void look(struct call_names *n);

static void rest(struct call_names *n, int64_t ms)
{
    n->state = NAMES_RESTING;
    env_timer_start(n->edge->engine->env, &n->timer, ms);
}

static void rested(void *arg)
{
    struct call_names *n = arg;
    n->state = NAMES_IDLE;
    look(n);
}

/* Once more, later and later. Who waits for the first result hears why there is none. */
static void not_found(struct call_names *n, const char *why)
{
    (void)snprintf(n->failure, sizeof n->failure, "DNS: %s", why);
    n->retry_ms = n->retry_ms == 0 ? RETRY_MS_MIN : n->retry_ms * 2 > REFRESH_MS ? REFRESH_MS : n->retry_ms * 2;
    rest(n, n->retry_ms);
    pool_await(&n->edge->pool, false);
}

static void found(struct call_names *n, const struct env_hosts *hosts)
{
    char texts[ENV_HOSTS_MAX][CALL_ADDRESS_SIZE];
    const char *list[ENV_HOSTS_MAX];
    for (size_t i = 0; i < hosts->count; i++) {
        call_url_address(slice_str(hosts->host[i]), n->port, texts[i]);
        list[i] = texts[i];
    }
    if (pool_set_addresses(&n->edge->pool, list, hosts->count) != FICUS_ERR_OK) {
        not_found(n, "out of memory");
        return;
    }
    n->retry_ms = 0;
    n->failure[0] = '\0';
    rest(n, REFRESH_MS);
    pool_await(&n->edge->pool, false);
}

static void looked(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail)
{
    struct call_names *n = arg;
    n->state = NAMES_IDLE;
    if (err == FICUS_ERR_OK)
        found(n, hosts);
    else
        not_found(n, detail);
}

static void give_up(struct call_names *n)
{
    if (n->state == NAMES_LOOKING)
        env_lookup_cancel(n->edge->engine->env, n);
    env_timer_stop(n->edge->engine->env, &n->timer);
    n->state = NAMES_IDLE;
}

static void look(struct call_names *n)
{
    n->state = NAMES_LOOKING;
    if (env_lookup(n->edge->engine->env, n->host, looked, n) != FICUS_ERR_OK)
        not_found(n, "out of memory");
}

enum ficus_err call_names_lead(struct call_edge *edge, const struct call_url *url)
{
    struct call_names *n = edge->names;
    if (n == NULL) {
        n = edge->names = mem_zalloc(sizeof *n);
        if (n == NULL)
            return FICUS_ERR_NOMEM;
        n->edge = edge;
        n->timer = (struct env_timer){.fn = rested, .arg = n};
    }
    if (n->wanted && n->port == url->port && slice_eq_str(url->host, n->host))
        return FICUS_ERR_OK;
    enum ficus_err err = pool_set_addresses(&edge->pool, NULL, 0);  /* those of elsewhere */
    if (err != FICUS_ERR_OK)
        return err;
    (void)snprintf(n->host, sizeof n->host, SLICE_FMT, SLICE_ARG(url->host));
    n->port = url->port;
    n->wanted = true;
    n->retry_ms = 0;
    pool_await(&edge->pool, true);
    give_up(n);
    look(n);
    return FICUS_ERR_OK;
}

void call_names_stop(struct call_edge *edge)
{
    struct call_names *n = edge->names;
    if (n == NULL || !n->wanted)
        return;
    n->wanted = false;
    give_up(n);
    pool_await(&edge->pool, false);
}

const char *call_names_failure(const struct call_edge *edge)
{
    const struct call_names *n = edge->names;
    return n != NULL && n->wanted && n->failure[0] != '\0' ? n->failure : NULL;
}
