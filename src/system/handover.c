/* SPDX-License-Identifier: Apache-2.0
 *
 * A handover as JSON.
 */
#include "handover.h"

#include "json.h"

void handover_write(const struct handover *h, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    json_write_kv_i64(&w, "handover", HANDOVER_VERSION);
    json_write_kv_str(&w, "from", h->from);
    json_write_kv_str(&w, "failed", h->failed);
    json_write_kv_i64(&w, "lock", h->lock_fd);
    json_write_kv_i64(&w, "notify", h->notify_fd);
    json_write_kv_i64(&w, "api", h->api_fd);
    json_write_kv_i64(&w, "previous", h->previous);
    json_write_kv_bool(&w, "told_healthy", h->told_healthy);
    json_write_key(&w, "processes");
    json_write_array(&w);
    for (size_t i = 0; i < h->count; i++) {
        const struct handover_process *p = &h->processes[i];
        json_write_object(&w);
        json_write_kv_str(&w, "name", p->name);
        json_write_kv_i64(&w, "instance", p->instance);
        json_write_kv_str(&w, "state", unit_state_name(p->unit.state));
        json_write_kv_bool(&w, "listed", p->unit.listed);
        json_write_kv_bool(&w, "started", p->unit.started);
        json_write_kv_i64(&w, "restarts", p->unit.restarts);
        json_write_kv_i64(&w, "deaths", p->unit.deaths);
        json_write_kv_i64(&w, "ready_ms", p->unit.ready_since_ms);
        json_write_kv_i64(&w, "pid", p->pid);
        json_write_kv_i64(&w, "start", (int64_t)p->start_ticks);
        json_write_kv_i64(&w, "started_at_ms", p->started_at_ms);
        json_write_kv_bool(&w, "was_ready", p->was_ready);
        json_write_kv_bool(&w, "message_is_end", p->message_is_end);
        json_write_kv_str(&w, "message", p->message);
        json_write_key(&w, "listen");
        json_write_array(&w);
        for (size_t j = 0; j < p->listen_count; j++)
            json_write_str(&w, p->listen[j]);
        json_write_end(&w);
        json_write_key(&w, "sockets");
        json_write_array(&w);
        for (size_t j = 0; j < p->listen_count; j++)
            json_write_i64(&w, p->sockets[j]);
        json_write_end(&w);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
}

static bool truth(const struct json *v)
{
    bool is = false;
    return json_bool(v, &is) && is;
}

static bool parse_state(struct slice name, enum unit_state *ret_state)
{
    for (int i = 0; i < UNIT_STATE_COUNT; i++) {
        if (!slice_eq_str(name, unit_state_name((enum unit_state)i)))
            continue;
        *ret_state = (enum unit_state)i;
        return true;
    }
    return false;
}

static int descriptor(const struct json *v)
{
    int64_t fd = json_i64_or(v, -1);
    return fd >= 0 && fd <= INT32_MAX ? (int)fd : -1;
}

static bool parse_process(struct arena *a, const struct json *v, struct handover_process *p)
{
    struct slice name;
    const struct json *listen = json_get(v, "listen"), *sockets = json_get(v, "sockets");
    if (!json_string(json_get(v, "name"), &name) || listen == NULL || listen->count > SUPERVISOR_SOCKETS_MAX || sockets == NULL ||
        sockets->count != listen->count)
        return false;
    *p = (struct handover_process){
        .name = arena_strdup(a, name),
        .instance = json_i64_or(json_get(v, "instance"), 1),
        .listen_count = listen->count,
        .unit = {.listed = truth(json_get(v, "listed")),
                 .started = truth(json_get(v, "started")),
                 .restarts = (uint32_t)json_i64_or(json_get(v, "restarts"), 0),
                 .deaths = (uint32_t)json_i64_or(json_get(v, "deaths"), 0),
                 .ready_since_ms = json_i64_or(json_get(v, "ready_ms"), 0)},
        .pid = json_i64_or(json_get(v, "pid"), 0),
        .start_ticks = (uint64_t)json_i64_or(json_get(v, "start"), 0),
        .started_at_ms = json_i64_or(json_get(v, "started_at_ms"), 0),
        .was_ready = truth(json_get(v, "was_ready")),
        .message_is_end = truth(json_get(v, "message_is_end")),
        .message = arena_strdup(a, json_string_or(json_get(v, "message"), SLICE(""))),
    };
    for (size_t j = 0; j < p->listen_count; j++) {
        p->listen[j] = arena_strdup(a, json_string_or(json_at(listen, j), SLICE("")));
        p->sockets[j] = descriptor(json_at(sockets, j));
        if (p->listen[j] == NULL || p->sockets[j] < 0)
            return false;
    }
    return p->name != NULL && p->message != NULL && p->pid >= 0 &&
           parse_state(json_string_or(json_get(v, "state"), SLICE("")), &p->unit.state);
}

enum ficus_err handover_parse(struct arena *a, struct slice text, struct handover *ret_handover, struct ficus_error *reterr)
{
    struct json *root;
    const struct json_limits limits = {.size_max = HANDOVER_SIZE_MAX, .values_max = 100000};
    struct slice failed;
    if (json_parse(a, text, &limits, &root, NULL) != FICUS_ERR_OK || json_get(root, "handover") == NULL)
        return err_set(reterr, FICUS_ERR_INVALID, HANDOVER_VARIABLE ": what it names is no handover; only ficus upgrade sets it");
    int64_t version = json_i64_or(json_get(root, "handover"), 0);
    if (version != HANDOVER_VERSION)
        return err_set(reterr, FICUS_ERR_VERSION, "the running supervisor hands over in form %lld, this ficus knows form %d: ficus down, then "
                       "ficus up with the new program", (long long)version, HANDOVER_VERSION);
    const struct json *list = json_get(root, "processes");
    size_t count = list == NULL ? 0 : list->count;
    struct handover_process *processes = ARENA_ARRAY(a, struct handover_process, count + 1);
    struct handover h = {
        .from = arena_strdup(a, json_string_or(json_get(root, "from"), SLICE("?"))),
        .failed = json_string(json_get(root, "failed"), &failed) ? arena_strdup(a, failed) : NULL,
        .lock_fd = descriptor(json_get(root, "lock")),
        .notify_fd = descriptor(json_get(root, "notify")),
        .api_fd = descriptor(json_get(root, "api")),
        .previous = descriptor(json_get(root, "previous")),
        .told_healthy = truth(json_get(root, "told_healthy")),
        .processes = processes,
    };
    if (processes == NULL || h.from == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    bool ok = list != NULL && count <= SUPERVISOR_PROCESSES_MAX && h.lock_fd >= 0 && h.notify_fd >= 0 && h.api_fd >= 0;
    for (const struct json *v = ok ? list->first : NULL; v != NULL && ok; v = v->next)
        ok = parse_process(a, v, &processes[h.count++]);
    if (!ok)
        return err_set(reterr, FICUS_ERR_INVALID, "the handover of the running supervisor lacks something");
    *ret_handover = h;
    return FICUS_ERR_OK;
}
