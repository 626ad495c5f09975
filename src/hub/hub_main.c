/* SPDX-License-Identifier: Apache-2.0
 *
 * The program `ficus hub`. Apart from hub.c, which the simulator starts on an env of its own.
 */
#include "hub.h"

#include "io_env.h"
#include "process.h"
#include "tls.h"

#include <signal.h>
#include <stdio.h>

enum { CONFIG_SIZE_MAX = 8 * 1024 * 1024 };

struct hub_program {
    struct env *env;
    struct hub *hub;
    bool stopping;
};

static void on_closed(void *arg)
{
    struct hub_program *p = arg;
    env_uv_stop(p->env);
}

static void on_signal(void *arg, int signum)
{
    (void)signum;
    struct hub_program *p = arg;
    if (p->stopping)
        return;
    p->stopping = true;
    process_notify("STOPPING=1");
    hub_stop(p->hub, on_closed, p);
}

static enum ficus_err load_config(struct env *e, struct arena *a, const char *path, struct hub_config *ret_config,
                                  struct ficus_error *reterr)
{
    struct slice text;
    enum ficus_err err = env_file_load(e, a, path, CONFIG_SIZE_MAX, &text, reterr);
    return err == FICUS_ERR_OK ? process_config_read(a, path, text, &hub_config_table, ret_config, reterr) : err;
}

static enum ficus_err serve(struct hub_program *p, struct arena *a, const char *config_path, struct ficus_error *reterr)
{
    struct hub_config config;
    enum ficus_err err = load_config(p->env, a, config_path, &config, reterr);
    if (err == FICUS_ERR_OK)
        err = hub_start(p->env, &config, &p->hub, reterr);
    if (err == FICUS_ERR_OK)
        err = env_uv_signal(p->env, SIGTERM, on_signal, p, reterr);
    if (err == FICUS_ERR_OK)
        err = env_uv_signal(p->env, SIGINT, on_signal, p, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    hub_process(p->hub)->on_trouble = process_notify_status;
    process_notify("READY=1");
    env_uv_run(p->env);
    return FICUS_ERR_OK;
}

int hub_main(const char *config_path)
{
    struct hub_program p = {0};
    struct ficus_error error = {0};
    struct arena a;
    arena_init(&a, 64 * 1024 * 1024);
    p.env = env_uv_new(NULL, &error);
    if (p.env != NULL)
        tls_clients_enable(p.env);
    enum ficus_err err = p.env == NULL ? error.code : serve(&p, &a, config_path, &error);
    if (err != FICUS_ERR_OK) {
        fprintf(stderr, "ficus hub: %s\n", error.text);
        process_notify_status(error.text);
    }
    env_uv_free(p.env);
    arena_done(&a);
    return err_exit_code(err);
}
