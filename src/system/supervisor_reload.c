/* SPDX-License-Identifier: Apache-2.0
 *
 * Reloading: the manifest is read again by who gave the plan, the plan is replaced, the gateway hears of its new file by
 * SIGHUP, and of everybody else it is known that their files are newer than they are.
 *
 * The manifest is read on the loop: it takes some milliseconds in which nothing else is done, and nothing here is in the
 * way of a request.
 */
#include "supervisor_private.h"

#include "conf.h"
#include "json.h"
#include "mem.h"

#include <signal.h>

enum { RELOAD_ARENA_SIZE_MAX = 256 << 20, ERRORS_TEXT_MAX = 64 * 1024 };

static void hangup(struct supervised *p)
{
    if (p->reloading || (p->unit.state != UNIT_READY && p->unit.state != UNIT_STARTING))
        return; /* who is started later reads what is there then */
    p->reloading = true;
    kill((pid_t)p->record.pid, SIGHUP);
}

static void plan_replace(struct supervisor *s, struct arena *a, const struct supervisor_reload *r)
{
    s->o.plan = r->plan;
    for (size_t i = 0; i < s->count; i++) {
        struct supervised *p = &s->processes[i];
        p->process = &r->plan->processes[i];
        p->record.name = p->process->name;
        p->record.team = p->process->team;
        p->record.address = p->process->listen_count > 0 ? p->process->listen[0] : "";
        p->leaving.name = p->record.name; /* there is no next one now */
        p->leaving.team = p->record.team;
        p->leaving.address = p->record.address;
        if (p->process->kind == CHILD_GATEWAY)
            hangup(p); /* also without a new file: there may be other pages in its folders */
        else
            p->changed |= r->changed[i];
    }
    s->registry.address = r->plan->hub_operator_address;
    if (s->plan_arena != NULL)
        arena_done(s->plan_arena);
    mem_free(s->plan_arena);
    s->plan_arena = a;
}

static void write_errors(const struct conf_errors *errors, const struct ficus_error *error, struct json_writer *w)
{
    struct buf text;
    buf_init(&text, ERRORS_TEXT_MAX);
    conf_errors_print(errors, &text); /* what does not fit is cut: there are more than anybody reads */
    if (errors->count == 0)
        buf_printf(&text, "ficus: %s\n", error->text);
    json_write_kv_bool(w, "ok", false);
    json_write_kv_slice(w, "text", buf_slice(&text));
    json_write_key(w, "errors");
    conf_errors_write(errors, w);
    buf_done(&text);
}

static void write_changed(const struct supervisor *s, struct json_writer *w)
{
    json_write_kv_bool(w, "ok", true);
    json_write_key(w, "restart");
    json_write_array(w);
    for (size_t i = 0; i < s->count; i++)
        if (s->processes[i].changed)
            json_write_str(w, s->processes[i].process->name);
    json_write_end(w);
}

enum ficus_err supervisor_reload(struct supervisor *s, struct buf *out)
{
    struct ficus_error error = {0};
    struct conf_errors errors;
    struct supervisor_reload r = {0};
    struct json_writer w;
    for (size_t i = 0; i < s->count; i++)
        if (s->processes[i].reloading || s->processes[i].next.pid > 0)
            return FICUS_ERR_BUSY;
    if (s->stopping || s->o.reload == NULL)
        return FICUS_ERR_CONFLICT;
    struct arena *a = mem_zalloc(sizeof *a);
    if (a == NULL)
        return FICUS_ERR_NOMEM;
    arena_init(a, RELOAD_ARENA_SIZE_MAX);
    conf_errors_init(&errors, a);
    enum ficus_err err = s->o.reload(s->o.arg, a, s->o.plan, &r, &errors, &error);
    json_write_init(&w, out);
    json_write_object(&w);
    if (err == FICUS_ERR_OK) {
        plan_replace(s, a, &r);
        write_changed(s, &w);
        s->record_wanted = true;
        supervisor_flush(s);
        LOG(s->o.log, LOG_INFO, NULL, "supervisor.reloaded", "the manifest was read again");
    } else {
        write_errors(&errors, &error, &w);
        LOG(s->o.log, LOG_ERROR, NULL, "supervisor.reload", "the manifest was refused, nothing has changed",
            LOG_ERR(&error));
        arena_done(a);
        mem_free(a);
    }
    json_write_end(&w);
    return FICUS_ERR_OK;
}
