/* SPDX-License-Identifier: Apache-2.0
 *
 * The record of started processes as JSON.
 */
#include "children.h"

#include "json.h"
#include "proc.h"

#include <stdio.h>

const char *child_kind_name(enum child_kind kind)
{
    return kind == CHILD_GATEWAY ? "gateway" : kind == CHILD_HUB ? "hub" : "service";
}

static void encode(const struct children *c, struct buf *out)
{
    char boot_id[PROC_BOOT_ID_SIZE];
    struct json_writer w;
    proc_boot_id(boot_id);
    json_write_init(&w, out);
    json_write_object(&w);
    json_write_kv_i64(&w, "version", CHILDREN_VERSION);
    json_write_kv_str(&w, "boot", boot_id);
    json_write_kv_str(&w, "system", c->system);
    json_write_kv_str(&w, "gateway_url", c->gateway_url);
    json_write_kv_i64(&w, "supervisor_pid", c->supervisor_pid);
    json_write_kv_i64(&w, "supervisor_start", (int64_t)c->supervisor_start_ticks);
    json_write_key(&w, "children");
    json_write_array(&w);
    for (size_t i = 0; i < c->count; i++) {
        const struct child_record *r = &c->records[i];
        json_write_object(&w);
        json_write_kv_str(&w, "kind", child_kind_name(r->kind));
        json_write_kv_str(&w, "name", r->name);
        json_write_kv_str(&w, "team", r->team);
        json_write_kv_i64(&w, "instance", r->instance);
        json_write_kv_str(&w, "address", r->address);
        json_write_kv_i64(&w, "pid", r->pid);
        json_write_kv_i64(&w, "start", (int64_t)r->start_ticks);
        json_write_kv_i64(&w, "started_at_ms", r->started_at_ms);
        json_write_kv_i64(&w, "restarts", r->restarts);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
    buf_add_char(out, '\n');
}

enum ficus_err children_write(struct env *e, const char *path, const struct children *c, struct ficus_error *reterr)
{
    char tmp[4096];
    struct buf text;
    struct env_file *f = NULL;
    if (snprintf(tmp, sizeof tmp, "%s.tmp", path) >= (int)sizeof tmp)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: path too long", path);
    buf_init(&text, CHILDREN_FILE_SIZE_MAX);
    encode(c, &text);
    enum ficus_err err = buf_failed(&text) ? err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: too many processes", path)
                                           : env_file_open(e, tmp, ENV_OPEN_CREATE, &f, reterr);
    if (err == FICUS_ERR_OK) {
        err = env_file_truncate(e, f, 0);
        if (err == FICUS_ERR_OK)
            err = env_file_write(e, f, buf_slice(&text).p, buf_slice(&text).size, 0);
        env_file_close(e, f);
        if (err == FICUS_ERR_OK)
            err = env_file_rename(e, tmp, path);
        if (err != FICUS_ERR_OK)
            (void)err_set(reterr, err, "%s: %s", path, err_text(err));
    }
    buf_done(&text);
    return err;
}

static bool decode_record(struct arena *a, const struct json *v, bool this_boot, struct child_record *r)
{
    struct slice kind = json_string_or(json_get(v, "kind"), SLICE_NONE), name;
    if (!json_string(json_get(v, "name"), &name))
        return false;
    *r = (struct child_record){
        .kind = slice_eq_str(kind, "gateway") ? CHILD_GATEWAY
                : slice_eq_str(kind, "hub")   ? CHILD_HUB
                                              : CHILD_SERVICE,
        .name = arena_strdup(a, name),
        .team = arena_strdup(a, json_string_or(json_get(v, "team"), SLICE(""))),
        .address = arena_strdup(a, json_string_or(json_get(v, "address"), SLICE(""))),
        .instance = json_i64_or(json_get(v, "instance"), 1),
        .pid = this_boot ? json_i64_or(json_get(v, "pid"), 0) : 0,
        .start_ticks = (uint64_t)json_i64_or(json_get(v, "start"), 0),
        .started_at_ms = json_i64_or(json_get(v, "started_at_ms"), 0),
        .restarts = json_i64_or(json_get(v, "restarts"), 0),
    };
    return r->name != NULL && r->team != NULL && r->address != NULL && r->pid >= 0;
}

enum ficus_err children_read(struct env *e, struct arena *a, const char *path, struct children *ret_children,
                             struct ficus_error *reterr)
{
    struct slice text;
    struct json *root;
    char boot_id[PROC_BOOT_ID_SIZE];
    struct ficus_error error = {0};
    enum ficus_err err = env_file_load(e, a, path, CHILDREN_FILE_SIZE_MAX, &text, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (json_parse(a, text, NULL, &root, &error) != FICUS_ERR_OK)
        return err_set(reterr, FICUS_ERR_CORRUPT, "%s:%s", path, error.text);
    int64_t version = json_i64_or(json_get(root, "version"), 0);
    if (version > CHILDREN_VERSION)
        return err_set(reterr, FICUS_ERR_VERSION,
                       "%s: record of version %lld, this ficus knows up to %d: use the newer one; or, when none of its "
                       "processes runs any more, remove the file", path, (long long)version, CHILDREN_VERSION);
    const struct json *list = json_get(root, "children");
    if (list == NULL || list->type != JSON_ARRAY || list->count > CHILDREN_MAX)
        return err_set(reterr, FICUS_ERR_CORRUPT, "%s: no list \"children\" of at most %d", path, CHILDREN_MAX);
    proc_boot_id(boot_id);
    bool this_boot = slice_eq_str(json_string_or(json_get(root, "boot"), SLICE_NONE), boot_id);
    struct child_record *records = ARENA_ARRAY(a, struct child_record, list->count + 1);
    struct children c = {
        .system = arena_strdup(a, json_string_or(json_get(root, "system"), SLICE(""))),
        .gateway_url = arena_strdup(a, json_string_or(json_get(root, "gateway_url"), SLICE(""))),
        .supervisor_pid = this_boot ? json_i64_or(json_get(root, "supervisor_pid"), 0) : 0,
        .supervisor_start_ticks = (uint64_t)json_i64_or(json_get(root, "supervisor_start"), 0),
        .records = records,
    };
    if (records == NULL || c.system == NULL || c.gateway_url == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", path);
    for (const struct json *v = list->first; v != NULL; v = v->next)
        if (!decode_record(a, v, this_boot, &records[c.count++]))
            return err_set(reterr, FICUS_ERR_CORRUPT, "%s: a child without a name", path);
    *ret_children = c;
    return FICUS_ERR_OK;
}

unsigned children_end(const struct children *c, const char *state_root, int wait_ms)
{
    unsigned ended = 0;
    for (size_t i = 0; i < c->count; i++)
        if (c->records[i].pid > 0)
            ended += proc_end_session(c->records[i].pid, c->records[i].start_ticks, state_root, wait_ms);
    return ended;
}
