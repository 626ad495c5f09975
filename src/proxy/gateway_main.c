/* SPDX-License-Identifier: Apache-2.0
 *
 * The program `ficus gateway`. Apart from proxy.c, which the simulator may start on an env of its own.
 */
#include "proxy.h"

#include "io_env.h"
#include "process.h"
#include "tls.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

enum {
    CONFIG_SIZE_MAX = 8 * 1024 * 1024,
    FILES_SPARE = 256, /* for all that is not a client or its call */
    FILES_OTHER = 32,  /* that are open, beside connections */
};

/* One of the threads beside the first. */
struct gateway_thread {
    struct gateway_program *program;
    pthread_t id;
    struct env *env;
    bool reported;             /* under program's mutex: started, or failed */
    struct ficus_error *error; /* of who waits for that */
};

struct gateway_program {
    struct env *env;
    struct proxy *proxy;
    pthread_mutex_t mutex;
    pthread_cond_t reported;
    struct gateway_thread threads[PROXY_THREADS_MAX];
    size_t thread_count;
    const char *config_path;
    size_t files_max;
    bool stopping;
    bool reloading, reload_again; /* again: the file may have changed since it was read */
};

static void on_stopped(void *arg)
{
    struct gateway_program *g = arg;
    env_uv_stop(g->env);
}

static void on_signal(void *arg, int signum)
{
    struct gateway_program *g = arg;
    (void)signum;
    if (g->stopping)
        return;
    g->stopping = true;
    process_notify("STOPPING=1");
    proxy_stop(g->proxy, on_stopped, g);
}

static void reload(struct gateway_program *g);

/* Not READY=1: it may have been told to reload because it is not. */
static void on_reloaded(void *arg, const struct ficus_error *result)
{
    struct gateway_program *g = arg;
    g->reloading = false;
    if (g->reload_again) {
        reload(g);
        return;
    }
    struct ficus_error refused = *result;
    for (char *at = refused.text; *at != '\0'; at++)
        if (*at == '\n')
            *at = ' '; /* the convention's separator */
    char state[128 + FICUS_ERROR_TEXT_MAX] = "RELOADED=1";
    if (result->code != FICUS_ERR_OK)
        (void)snprintf(state, sizeof state, "RELOADED=1\nSTATUS=reload failed: %s", refused.text);
    process_notify(state);
}

static void reload(struct gateway_program *g)
{
    g->reload_again = false;
    struct ficus_error error = {0};
    enum ficus_err err = proxy_reload(g->proxy, g->config_path, on_reloaded, g);
    g->reloading = err == FICUS_ERR_OK;
    if (err == FICUS_ERR_OK)
        return;
    (void)err_set(&error, err, err == FICUS_ERR_BUSY ? "the gateway is stopping" : "out of memory");
    on_reloaded(g, &error);
}

static void on_hangup(void *arg, int signum)
{
    struct gateway_program *g = arg;
    (void)signum;
    if (g->stopping || g->proxy == NULL)
        return;
    if (g->reloading)
        g->reload_again = true;
    else
        reload(g);
}

/* FILES_OTHER: listeners, the loop's own, the log, the store of keys. */
static void usage(void *arg, struct proxy_usage *ret_usage)
{
    struct gateway_program *g = arg;
    struct env_uv_usage u;
    env_uv_usage(g->env, &u);
    size_t used = u.stream_count + FILES_OTHER;
    *ret_usage = (struct proxy_usage){.memory_size = u.memory_size, .files_free = used < g->files_max ? g->files_max - used : 0};
}

static void memory_low(void *arg, struct env *e)
{
    (void)arg;
    env_uv_trim_later(e);
}

static void on_ready(void *arg)
{
    (void)arg;
    process_notify("READY=1");
}

/* Each client may need a second file, to its service. */
static size_t conn_count_max(size_t files)
{
    return files > 4 * FILES_SPARE ? (files - FILES_SPARE) / 2 : files / 4;
}

/* ---- threads ---- */

static void thread_report(struct gateway_thread *t)
{
    pthread_mutex_lock(&t->program->mutex);
    t->reported = true;
    pthread_cond_signal(&t->program->reported);
    pthread_mutex_unlock(&t->program->mutex);
}

static void on_released(void *arg)
{
    struct gateway_thread *t = arg;
    env_uv_stop(t->env);
}

static void *thread_main(void *arg)
{
    struct gateway_thread *t = arg;
    const struct env_uv_options options = {.beside = t->program->env};
    pthread_setname_np(pthread_self(), "ficus-loop");
    t->env = env_uv_new(&options, t->error);
    if (t->env != NULL)
        tls_clients_enable(t->env);
    bool ok = t->env != NULL && proxy_start_beside(t->env, t->program->proxy, on_released, t, t->error) == FICUS_ERR_OK;
    if (t->env != NULL && !ok)
        env_uv_run(t->env); /* until released: the first proxy is stopped after that */
    thread_report(t);
    if (ok)
        env_uv_run(t->env);
    return NULL;
}

static enum ficus_err thread_start(struct gateway_program *g, struct ficus_error *reterr)
{
    struct gateway_thread *t = &g->threads[g->thread_count];
    *t = (struct gateway_thread){.program = g, .error = reterr};
    int rc = env_uv_thread(&t->id, NULL, thread_main, t);
    if (rc != 0)
        return err_sys(reterr, rc, "start a thread");
    g->thread_count++;
    pthread_mutex_lock(&g->mutex);
    while (!t->reported)
        pthread_cond_wait(&g->reported, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
    return reterr->code;
}

/* The proxies are gone. */
static void threads_end(struct gateway_program *g)
{
    for (size_t i = 0; i < g->thread_count; i++) {
        struct gateway_thread *t = &g->threads[i];
        if (t->env != NULL)
            env_uv_stop(t->env);
        (void)pthread_join(t->id, NULL); /* cannot fail: it is ours and joined once */
        env_uv_free(t->env);
    }
}

static enum ficus_err run(struct gateway_program *g, const struct proxy_config *config, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (int64_t i = 1; err == FICUS_ERR_OK && i < config->threads; i++)
        err = thread_start(g, reterr);
    if (err != FICUS_ERR_OK) {
        g->stopping = true;
        proxy_stop(g->proxy, on_stopped, g);
    }
    env_uv_run(g->env);
    threads_end(g);
    return err;
}

static enum ficus_err serve(struct gateway_program *g, struct arena *a, const char *config_path,
                            struct ficus_error *reterr)
{
    struct proxy_config config;
    g->files_max = process_files_raise();
    struct proxy_options options = {.on_ready = on_ready, .usage = usage, .memory_low = memory_low, .arg = g,
                                    .conn_count_max = conn_count_max(g->files_max)};
    struct slice text;
    /* first: a file that comes after it was read is told by a signal that is not lost */
    enum ficus_err err = env_uv_signal(g->env, SIGHUP, on_hangup, g, reterr);
    if (err == FICUS_ERR_OK)
        err = env_file_load(g->env, a, config_path, CONFIG_SIZE_MAX, &text, reterr);
    if (err == FICUS_ERR_OK)
        err = process_config_read(a, config_path, text, &proxy_config_table, &config, reterr);
    if (err == FICUS_ERR_OK)
        err = env_uv_signal(g->env, SIGTERM, on_signal, g, reterr);
    if (err == FICUS_ERR_OK)
        err = env_uv_signal(g->env, SIGINT, on_signal, g, reterr);
    if (err == FICUS_ERR_OK)
        err = proxy_start(g->env, &config, &options, &g->proxy, reterr);
    return err == FICUS_ERR_OK ? run(g, &config, reterr) : err;
}

int gateway_main(const char *config_path)
{
    struct gateway_program g = {.config_path = config_path, .mutex = PTHREAD_MUTEX_INITIALIZER,
                                .reported = PTHREAD_COND_INITIALIZER};
    struct ficus_error error = {0};
    struct arena a;
    arena_init(&a, 64 * 1024 * 1024);
    g.env = env_uv_new(NULL, &error);
    if (g.env != NULL)
        tls_clients_enable(g.env);
    enum ficus_err err = g.env == NULL ? error.code : serve(&g, &a, config_path, &error);
    if (err != FICUS_ERR_OK)
        fprintf(stderr, "ficus gateway: %s\n", error.text);
    env_uv_free(g.env);
    arena_done(&a);
    return err_exit_code(err);
}
