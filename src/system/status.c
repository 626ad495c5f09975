/* SPDX-License-Identifier: Apache-2.0
 *
 * The status document.
 */
#include "status.h"

#include "json.h"
#include "proc.h"
#include "timefmt.h"

static void write_id(struct json_writer *w, const char *key, int64_t pid)
{
    json_write_key(w, key);
    if (pid > 0)
        json_write_i64(w, pid);
    else
        json_write_null(w);
}

static void write_process(struct json_writer *w, const struct status_process *p)
{
    int64_t rss = 0, pss = 0;
    char started[TIME_TEXT_SIZE];
    if (p->record.pid > 0)
        (void)proc_memory(p->record.pid, &rss, &pss); /* it may just have ended: then 0 */
    write_id(w, "pid", p->record.pid);
    json_write_kv_str(w, "address", p->record.address);
    json_write_kv_str(w, "state", p->state);
    if (p->message != NULL && p->message[0] != '\0')
        json_write_kv_str(w, "message", p->message);
    if (p->reloading)
        json_write_kv_bool(w, "reloading", true);
    if (p->changed)
        json_write_kv_bool(w, "changed", true);
    json_write_kv_i64(w, "restarts", p->record.restarts);
    json_write_kv_i64(w, "rss_bytes", rss);
    json_write_kv_i64(w, "pss_bytes", pss);
    json_write_key(w, "started_at");
    if (p->record.pid > 0 && p->record.started_at_ms > 0) {
        time_format(p->record.started_at_ms, started);
        json_write_str(w, started);
    } else {
        json_write_null(w);
    }
}

static void write_single(struct json_writer *w, const struct status *s, enum child_kind kind)
{
    json_write_key(w, child_kind_name(kind));
    json_write_object(w);
    if (kind == CHILD_GATEWAY)
        json_write_kv_str(w, "url", s->gateway_url);
    for (size_t i = 0; i < s->count; i++) {
        if (s->processes[i].record.kind == kind) {
            write_process(w, &s->processes[i]);
            break;
        }
    }
    json_write_end(w);
}

static void write_services(struct json_writer *w, const struct status *s)
{
    const char *open_name = NULL;
    json_write_key(w, "services");
    json_write_array(w);
    for (size_t i = 0; i < s->count; i++) {
        const struct status_process *p = &s->processes[i];
        if (p->record.kind != CHILD_SERVICE)
            continue;
        if (open_name == NULL || strcmp(open_name, p->record.name) != 0) {
            if (open_name != NULL) {
                json_write_end(w);
                json_write_end(w);
            }
            open_name = p->record.name;
            json_write_object(w);
            json_write_kv_str(w, "name", p->record.name);
            json_write_kv_str(w, "team", p->record.team);
            json_write_key(w, "instances");
            json_write_array(w);
        }
        json_write_object(w);
        write_process(w, p);
        json_write_end(w);
    }
    if (open_name != NULL) {
        json_write_end(w);
        json_write_end(w);
    }
    for (size_t i = 0; i < s->external_count; i++) {
        const struct status_external *e = &s->externals[i];
        json_write_object(w);
        json_write_kv_str(w, "name", e->name);
        json_write_kv_str(w, "team", e->team);
        json_write_kv_str(w, "url", e->url);
        json_write_key(w, "instances");
        json_write_array(w);
        json_write_end(w);
        json_write_end(w);
    }
    json_write_end(w);
}

static void write_upgrade(struct json_writer *w, const struct status_upgrade *u)
{
    json_write_key(w, "upgrade");
    json_write_object(w);
    json_write_kv_str(w, "state", u->state);
    json_write_kv_str(w, "from", u->from);
    json_write_kv_str(w, "to", u->to);
    json_write_kv_str(w, "process", u->process);
    json_write_kv_i64(w, "done", (int64_t)u->done);
    json_write_kv_i64(w, "of", (int64_t)u->count);
    json_write_kv_str(w, "message", u->message);
    json_write_end(w);
}

void status_write(const struct status *s, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    json_write_kv_str(&w, "system", s->system);
    json_write_key(&w, "supervisor");
    json_write_object(&w);
    write_id(&w, "pid", s->supervisor_pid);
    if (s->version != NULL)
        json_write_kv_str(&w, "version", s->version);
    if (s->upgrade != NULL)
        write_upgrade(&w, s->upgrade);
    json_write_end(&w);
    write_single(&w, s, CHILD_GATEWAY);
    write_single(&w, s, CHILD_HUB);
    write_services(&w, s);
    json_write_end(&w);
}

enum ficus_err status_from_record(struct env *e, const char *children_file, struct buf *out, struct ficus_error *reterr)
{
    struct arena a;
    struct children c;
    arena_init(&a, 4 * CHILDREN_FILE_SIZE_MAX);
    enum ficus_err err = children_read(e, &a, children_file, &c, reterr);
    struct status_process *list = err == FICUS_ERR_OK ? ARENA_ARRAY(&a, struct status_process, c.count + 1) : NULL;
    if (err == FICUS_ERR_OK && list == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "status: out of memory");
    if (err == FICUS_ERR_OK) {
        for (size_t i = 0; i < c.count; i++) {
            bool alive = c.records[i].pid > 0 && proc_is(c.records[i].pid, c.records[i].start_ticks);
            list[i] = (struct status_process){.record = c.records[i], .state = alive ? "running" : "stopped"};
            if (!alive)
                list[i].record.pid = 0;
        }
        struct status s = {.system = c.system, .gateway_url = c.gateway_url, .processes = list, .count = c.count};
        if (c.supervisor_pid > 0 && proc_is(c.supervisor_pid, c.supervisor_start_ticks))
            s.supervisor_pid = c.supervisor_pid;
        status_write(&s, out);
    }
    arena_done(&a);
    return err;
}
