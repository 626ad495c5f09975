/* SPDX-License-Identifier: Apache-2.0
 *
 * A service as a process of its own: the file named by FICUS_CONFIG, one loop, signals. SIGTERM and SIGINT drain:
 * nothing new is taken, what runs ends within its deadlines, then the process exits with 0; a second one, or
 * DRAIN_MS_MAX, ends it at once. A start that fails exits with the error's code, reason logged.
 */
#include "host.h"
#include "service_impl.h"

#include "io_env.h"
#include "tls.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    CONFIG_SIZE_MAX = 8 * 1024 * 1024,
    CONFIG_ARENA_SIZE_MAX = 64 * 1024 * 1024,
    ENV_WORKERS = 64, /* threads start when needed; the dispatcher keeps to the configured number */
    DRAIN_MS_MAX = REQUEST_TIMEOUT_MS_MAX + 5000,
};

struct program {
    struct env *env;
    struct host *host;
    struct env_timer patience;
    bool is_draining, is_closing;
    int code;
    struct logger log;
};

static void on_closed(void *arg)
{
    struct program *p = arg;
    p->host = NULL;
    env_uv_stop(p->env);
}

static void close_now(void *arg)
{
    struct program *p = arg;
    if (p->is_closing)
        return;
    p->is_closing = true;
    env_timer_stop(p->env, &p->patience);
    host_close(p->host, on_closed, p);
}

static void on_signal(void *arg, int signum)
{
    struct program *p = arg;
    if (p->is_draining) {
        close_now(p);
        return;
    }
    p->is_draining = true;
    process_notify("STOPPING=1");
    p->patience.fn = close_now;
    p->patience.arg = p;
    env_timer_start(p->env, &p->patience, DRAIN_MS_MAX);
    host_drain(p->host, close_now, p);
}

static void on_ready(void *arg, enum ficus_err err, const char *detail)
{
    struct program *p = arg;
    if (err == FICUS_ERR_OK) {
        process_notify("READY=1");
        return;
    }
    if (p->is_draining || p->is_closing)
        return;
    LOG(&p->log, LOG_ERROR, NULL, "service.failed", "the service could not start", LOG_STR("error", detail));
    process_notify_status(detail);
    p->code = err_exit_code(err);
    close_now(p);
}

static void on_changed(void *arg, struct service *s)
{
    (void)arg;
    service_process(s)->on_trouble = process_notify_status;
}

/* The supervisor starts the process again, on the store that could not take over in this one. */
static void on_broken(void *arg, const char *detail)
{
    struct program *p = arg;
    (void)detail; /* it is logged */
    p->code = 1;
    close_now(p);
}

static enum ficus_err load_config(struct env *e, struct arena *a, struct service_config *ret_config,
                                  struct ficus_error *reterr)
{
    const char *path = getenv("FICUS_CONFIG");
    if (path == NULL)
        return err_set(reterr, FICUS_ERR_INVALID, "FICUS_CONFIG is not set: services are started by `ficus up`");
    struct slice text = SLICE_NONE;
    enum ficus_err err = env_file_load(e, a, path, CONFIG_SIZE_MAX, &text, reterr);
    if (err == FICUS_ERR_OK)
        err = process_config_read(a, path, text, &service_config_table, ret_config, reterr);
    if (err == FICUS_ERR_OK && ret_config->private_dir[0] != '\0' && mkdir(ret_config->private_dir, 0700) != 0 &&
        errno != EEXIST)
        err = err_sys(reterr, errno, "private folder %s", ret_config->private_dir);
    return err;
}

static enum ficus_err run(struct program *p, const struct ficus_service *def, const struct service_config *config,
                          struct ficus_error *reterr)
{
    const struct host_hooks hooks = {.ready = on_ready, .changed = on_changed, .broken = on_broken, .arg = p};
    enum ficus_err err = host_start(p->env, def, config, &hooks, &p->host, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    on_changed(p, host_service(p->host));
    err = env_uv_signal(p->env, SIGTERM, on_signal, p, reterr);
    if (err == FICUS_ERR_OK)
        err = env_uv_signal(p->env, SIGINT, on_signal, p, reterr);
    if (err != FICUS_ERR_OK)
        close_now(p);
    env_uv_run(p->env);
    return err;
}

/* Large blocks (a password hash takes 32 MiB) go back to the system when they are freed, and many short-lived threads
 * do not each keep a heap of their own. */
static void limit_heaps(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
    (void)mallopt(M_ARENA_MAX, 2);
}

int ficus_main(const struct ficus_service *service, int argc, char **argv)
{
    limit_heaps();
    (void)process_files_raise();
    struct ficus_error error = {0};
    struct program p = {0};
    const struct env_uv_options options = {.workers_count = ENV_WORKERS, .jobs_max = 1024};
    p.env = env_uv_new(&options, &error);
    if (p.env == NULL) {
        (void)fprintf(stderr, "%s: %s\n", argc > 0 ? argv[0] : "service", error.text);
        return err_exit_code(error.code);
    }
    tls_clients_enable(p.env);
    logger_init(&p.log, p.env, service->name, "0", LOG_INFO);
    struct arena a;
    arena_init(&a, CONFIG_ARENA_SIZE_MAX);
    struct service_config config;
    enum ficus_err err = load_config(p.env, &a, &config, &error);
    if (err == FICUS_ERR_OK)
        err = run(&p, service, &config, &error);
    if (err != FICUS_ERR_OK) {
        LOG(&p.log, LOG_ERROR, NULL, "service.failed", "the service could not start", LOG_ERR(&error));
        process_notify_status(error.text);
        p.code = err_exit_code(err);
    }
    env_uv_free(p.env);
    logger_done(&p.log);
    arena_done(&a);
    return p.code;
}
