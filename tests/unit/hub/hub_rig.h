/* SPDX-License-Identifier: Apache-2.0
 *
 * The rig of the hub's tests: a hub on the product's env in a private folder, a server that takes part, callers, and their
 * questions. Whoever waits for what never comes is ended by an alarm. Header only; included behind cmocka.h.
 */
#ifndef FICUS_TESTS_HUB_RIG_H
#define FICUS_TESTS_HUB_RIG_H

#include "../http/whole_server.h"
#include "call.h"
#include "hub.h"
#include "hub_private.h"
#include "io_env.h"
#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char hub_rig_key[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

struct hub_rig {
    const char *config_text;    /* of hub.json; in the arena */
    /* private below, but to be looked at */
    char dir[64];
    struct env *env;
    struct arena arena;
    struct hub *hub;
    struct hub_config config;
    struct system_key *key;
    struct whole_server whole;
    struct http_server *server;
    int to_close;
};

/* ---- waiting ---- */

static inline void hub_rig_closed(void *arg)
{
    struct hub_rig *r = arg;
    r->to_close--;
    env_uv_stop(r->env);
}

static inline void hub_rig_wait_closed(struct hub_rig *r)
{
    while (r->to_close > 0)
        env_uv_run(r->env);
}

static inline void hub_rig_on_pause(void *arg)
{
    env_uv_stop(arg);
}

static inline void pause_ms(struct hub_rig *r, int64_t ms)
{
    struct env_timer pause = {.fn = hub_rig_on_pause, .arg = r->env};
    env_timer_start(r->env, &pause, ms);
    env_uv_run(r->env);
    env_timer_stop(r->env, &pause);
}

/* ---- asking ---- */

struct asked {
    struct hub_rig *r;
    enum ficus_err err;
    int status;
    char path[256], body[65536], *sent;
    bool done;
};

static inline void hub_rig_on_answer(void *arg, const struct call_result *result)
{
    struct asked *q = arg;
    q->err = result->err;
    q->status = result->status;
    snprintf(q->body, sizeof q->body, "%.*s", (int)result->body.size, result->body.p != NULL ? result->body.p : "");
    q->done = true;
    env_uv_stop(q->r->env);
}

/* q lives until ask_end. */
static inline void ask_begin(struct hub_rig *r, struct call_engine *as, const char *callee, const char *method, const char *path, const char *body, struct asked *q)
{
    static const struct http_field fields[] = {{SLICE("Content-Type"), SLICE("application/json")}};
    memset(q, 0, sizeof *q);
    q->r = r;
    q->sent = body != NULL ? strdup(body) : NULL;
    snprintf(q->path, sizeof q->path, "%s", path);
    const struct call_request request = {.callee = callee, .method = slice_str(method), .path = slice_str(q->path), .body = slice_str(q->sent),
                                         .fields = fields, .field_count = body != NULL ? 1 : 0, .timeout_ms = 20000};
    assert_int_equal(call_fetch(as, &request, 1 << 20, hub_rig_on_answer, q, NULL), FICUS_ERR_OK);
}

static inline void ask_end(struct asked *q)
{
    while (!q->done)
        env_uv_run(q->r->env);
    free(q->sent);
    q->sent = NULL;
}

/* Until the next. */
static inline struct asked *ask(struct hub_rig *r, struct call_engine *as, const char *callee, const char *method, const char *path, const char *body)
{
    static struct asked q;
    ask_begin(r, as, callee, method, path, body, &q);
    ask_end(&q);
    assert_int_equal(q.err, FICUS_ERR_OK);
    return &q;
}

/* ---- life ---- */

static inline void hub_rig_address(const struct hub_rig *r, const char *name, char ret_text[128])
{
    snprintf(ret_text, 128, "unix:%s/%s", r->dir, name);
}

static inline void hub_rig_start(struct hub_rig *r)
{
    struct ficus_error error = {0};
    char *text = arena_strdup(&r->arena, slice_str(r->config_text)), path[128];
    if (process_config_read(&r->arena, "hub.json", slice_str(text), &hub_config_table, &r->config, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    snprintf(path, sizeof path, "%s/hub.sock", r->dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/ops.sock", r->dir);
    unlink(path);
    if (hub_start(r->env, &r->config, &r->hub, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

static inline void hub_rig_stop(struct hub_rig *r)
{
    r->to_close = 1;
    hub_stop(r->hub, hub_rig_closed, r);
    hub_rig_wait_closed(r);
}

/* Over the env's own from the beginning: workers read what is there while a test goes on. */
static struct env_ops hub_rig_ops;
static const struct env_ops *hub_rig_own_ops;
static bool hub_rig_hurries;    /* [loop] */

static inline void hub_rig_timer_start(struct env *e, struct env_timer *t, int64_t delay_ms)
{
    enum { SOON_MS = 100 };
    hub_rig_own_ops->timer_start(e, t, hub_rig_hurries && delay_ms == HUB_STOP_MS_MAX ? SOON_MS : delay_ms);
}

/* The same where something is under way that does not end by itself: the hub loses its patience sooner than after HUB_STOP_MS_MAX. */
static inline void hub_rig_stop_hurried(struct hub_rig *r)
{
    hub_rig_hurries = true;
    hub_rig_stop(r);
    hub_rig_hurries = false;
}

/* Its callees are the hub, by its two sockets. */
static inline struct call_engine *hub_rig_caller(struct hub_rig *r, const char *self, struct system_key *key)
{
    struct call_engine *g;
    const struct call_engine_options o = {.self = self, .key = key};
    assert_int_equal(call_engine_new(r->env, &o, &g), FICUS_ERR_OK);
    const struct call_policy policy = {.timeout_ms = 20000, .retry.attempts = 1};
    char hub[128], ops[128];
    hub_rig_address(r, "hub.sock", hub);
    hub_rig_address(r, "ops.sock", ops);
    const char *addresses[] = {hub, ops};
    call_engine_edge(g, "hub", &policy, NULL);
    call_engine_edge(g, "ops", &policy, NULL);
    call_engine_endpoints(g, "hub", &addresses[0], 1);
    call_engine_endpoints(g, "ops", &addresses[1], 1);
    return g;
}

static inline void hub_rig_close_caller(struct hub_rig *r, struct call_engine *g)
{
    r->to_close = 1;
    call_engine_close(g, hub_rig_closed, r);
    hub_rig_wait_closed(r);
}

/* All but the hub and its callers. name: of the socket of the server that takes part. */
static inline void hub_rig_init(struct hub_rig *r, const char *name, void (*on_whole)(void *arg, struct http_stream *s, struct slice body, enum ficus_err err), void *arg)
{
    struct ficus_error error = {0};
    char path[128];
    alarm(60);
    snprintf(r->dir, sizeof r->dir, "/tmp/ficus-hub-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(path, sizeof path, "%s/system.key", r->dir);
    FILE *f = fopen(path, "w");
    fprintf(f, "%s\n", hub_rig_key);
    fclose(f);
    r->env = env_uv_new(NULL, &error);
    hub_rig_own_ops = r->env->ops;
    hub_rig_ops = *r->env->ops;
    hub_rig_ops.timer_start = hub_rig_timer_start;
    r->env->ops = &hub_rig_ops;
    arena_init(&r->arena, 8 * 1024 * 1024);
    assert_int_equal(system_key_from_hex(slice_str(hub_rig_key), &r->key, &error), FICUS_ERR_OK);
    r->whole = (struct whole_server){.on_whole = on_whole, .arg = arg};
    const struct http_server_options o = {.on_request = whole_request, .arg = &r->whole};
    assert_int_equal(http_server_new(r->env, &o, &r->server), FICUS_ERR_OK);
    hub_rig_address(r, name, path);
    if (http_server_listen(r->server, path, NULL, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

/* The hub has stopped, the callers are closed. */
static inline void hub_rig_done(struct hub_rig *r)
{
    char command[128];
    r->to_close = 1;
    http_server_close(r->server, hub_rig_closed, r);
    hub_rig_wait_closed(r);
    env_uv_free(r->env);
    arena_done(&r->arena);
    system_key_free(r->key);
    snprintf(command, sizeof command, "rm -rf %s", r->dir);
    assert_int_equal(system(command), 0);
    alarm(0);
}

#endif
