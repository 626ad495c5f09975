/* SPDX-License-Identifier: Apache-2.0 */
#include "db_watch.h"

enum { WATCH_MS = 1000 };

static void look(struct db_watch *w)
{
    struct ficus_error trouble;
    enum ficus_err err = db_trouble(w->db, &trouble);
    if (err != w->told) {
        w->told = err;
        w->changed(w->arg, &trouble);
    }
}

static void probe_work(void *arg)
{
    struct db_watch *w = arg;
    db_probe(w->db);
}

static void probe_done(void *arg)
{
    struct db_watch *w = arg;
    w->is_probing = false;
    if (w->is_stopped) {
        w->idle(w->arg);
        return;
    }
    look(w);
    env_timer_start(w->env, &w->timer, WATCH_MS);
}

static void on_timer(void *arg)
{
    struct db_watch *w = arg;
    look(w);
    w->probe = (struct env_job){.work = probe_work, .done = probe_done, .arg = w};
    w->is_probing = w->told != FICUS_ERR_OK && env_run(w->env, &w->probe) == FICUS_ERR_OK;
    if (!w->is_probing)
        env_timer_start(w->env, &w->timer, WATCH_MS);
}

void db_watch_start(struct db_watch *w)
{
    w->timer = (struct env_timer){.fn = on_timer, .arg = w};
    w->is_stopped = false;
    env_timer_start(w->env, &w->timer, WATCH_MS);
}

bool db_watch_stop(struct db_watch *w)
{
    if (w->env == NULL)
        return true;
    env_timer_stop(w->env, &w->timer);
    w->is_stopped = true;
    return !w->is_probing;
}
