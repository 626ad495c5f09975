/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of a backup as JSON, and what of a system belongs into one.
 */
#include "backup.h"

#include "hub_config.h"
#include "json.h"
#include "mem.h"
#include "operator.h"
#include "service_config.h"
#include "text.h"
#include "timefmt.h"

#include <stdio.h>

enum { LIST_SIZE_MAX = 4 << 20, CONFIG_SIZE_MAX = 8 << 20 };

/* ---- the list, out ---- */

static void write_file(struct json_writer *w, const struct backup_file *f)
{
    json_write_object(w);
    json_write_kv_str(w, "path", f->path);
    json_write_kv_str(w, "kind", f->is_database ? "database" : "file");
    if (f->service[0] != '\0')
        json_write_kv_str(w, "service", f->service);
    json_write_kv_i64(w, "size", f->size);
    json_write_kv_str(w, "sha256", f->sha256);
    json_write_kv_time(w, "moment", f->moment_ms);
    if (f->offset >= 0)
        json_write_kv_i64(w, "offset", f->offset);
    json_write_end(w);
}

void backup_write(const struct backup *b, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    json_write_kv_i64(&w, "version", BACKUP_VERSION);
    json_write_kv_str(&w, "ficus", b->ficus);
    json_write_kv_str(&w, "system", b->system);
    json_write_kv_time(&w, "begun", b->begun_ms);
    json_write_kv_time(&w, "ended", b->ended_ms);
    json_write_kv_bool(&w, "part", b->is_part);
    json_write_key(&w, "files");
    json_write_array(&w);
    for (size_t i = 0; i < b->count; i++)
        write_file(&w, &b->files[i]);
    json_write_end(&w);
    json_write_end(&w);
    buf_add_char(out, '\n');
}

/* ---- the list, in ---- */

/* Where a backup may put something: a list that was tampered with must not lead out of the state folder, nor to what is
 * not a backup's. */
static bool path_allowed(struct slice path)
{
    if (slice_eq_str(path, "system.key") || slice_eq_str(path, "admin.json") || slice_eq_str(path, "schemas.json"))
        return true;
    if (path.size >= BACKUP_PATH_SIZE_MAX || memchr(path.p, '\0', path.size) != NULL)
        return false;
    bool is_data = slice_starts(path, SLICE("data/"));
    if (!is_data && !slice_starts(path, SLICE("private/")))
        return false;
    size_t depth = 0;
    for (struct slice rest = path; rest.p != NULL; depth++) {
        struct slice part = slice_cut(&rest, '/');
        if (part.size == 0 || slice_eq_str(part, ".") || slice_eq_str(part, ".."))
            return false;
    }
    return is_data ? depth == 2 && slice_ends(path, SLICE(".db")) && path.p[sizeof "data/" - 1] != '.' : depth >= 2;
}

static bool read_text(struct arena *a, const struct json *v, const char **ret_text)
{
    struct slice text;
    *ret_text = json_string(v, &text) ? arena_strdup(a, text) : NULL;
    return *ret_text != NULL;
}

static bool read_time(const struct json *v, int64_t *ret_ms)
{
    struct slice text;
    return json_string(v, &text) && time_parse(text, ret_ms);
}

static bool read_file(struct arena *a, const struct json *v, struct backup_file *f)
{
    struct slice path, kind, hash;
    *f = (struct backup_file){.service = "", .offset = json_i64_or(json_get(v, "offset"), -1)};
    if (!json_string(json_get(v, "path"), &path) || !path_allowed(path) || !json_string(json_get(v, "kind"), &kind) ||
        !json_string(json_get(v, "sha256"), &hash) || hash.size != sizeof f->sha256 - 1)
        return false;
    memcpy(f->sha256, hash.p, hash.size);
    f->is_database = slice_eq_str(kind, "database");
    if (f->is_database != slice_starts(path, SLICE("data/")))
        return false;
    f->path = arena_strdup(a, path);
    if (json_get(v, "service") != NULL && !read_text(a, json_get(v, "service"), &f->service))
        return false;
    return f->path != NULL && json_i64(json_get(v, "size"), &f->size) && f->size >= 0 &&
           read_time(json_get(v, "moment"), &f->moment_ms);
}

static bool is_twice(const struct backup *b, const struct backup_file *f)
{
    for (size_t i = 0; i < b->count; i++)
        if (strcmp(b->files[i].path, f->path) == 0)
            return true;
    return false;
}

static bool read_list(struct arena *a, const struct json *root, struct backup *b)
{
    const struct json *files = json_get(root, "files");
    if (files == NULL || files->type != JSON_ARRAY || files->count > BACKUP_FILES_MAX ||
        !read_text(a, json_get(root, "system"), &b->system) || !read_text(a, json_get(root, "ficus"), &b->ficus) ||
        !read_time(json_get(root, "begun"), &b->begun_ms) || !read_time(json_get(root, "ended"), &b->ended_ms) ||
        !json_bool(json_get(root, "part"), &b->is_part))
        return false;
    b->files = ARENA_ARRAY(a, struct backup_file, files->count + 1);
    if (b->files == NULL)
        return false;
    for (const struct json *v = files->first; v != NULL; v = v->next) {
        if (!read_file(a, v, &b->files[b->count]) || is_twice(b, &b->files[b->count]))
            return false;
        b->count++;
    }
    return true;
}

enum ficus_err backup_read(struct env *e, struct arena *a, const char *folder, struct backup *ret_backup,
                           struct ficus_error *reterr)
{
    const char *path = arena_printf(a, "%s/" BACKUP_LIST, folder);
    const struct json_limits limits = {.size_max = LIST_SIZE_MAX};
    struct slice text;
    struct json *root = NULL;
    int64_t version = 0;
    *ret_backup = (struct backup){0};
    if (path == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = env_file_load(e, a, path, LIST_SIZE_MAX, &text, reterr);
    if (err == FICUS_ERR_NOT_FOUND)
        return err_set(reterr, err, "%s: is no backup: there is no " BACKUP_LIST " in it", folder);
    if (err != FICUS_ERR_OK)
        return err;
    err = json_parse(a, text, &limits, &root, reterr);
    if (err != FICUS_ERR_OK) {
        (void)err_wrap(reterr, "%s", path);
        return FICUS_ERR_CORRUPT;
    }
    if (!json_i64(json_get(root, "version"), &version) || version < 1)
        return err_set(reterr, FICUS_ERR_CORRUPT, "%s: does not say its version", path);
    if (version > BACKUP_VERSION)
        return err_set(reterr, FICUS_ERR_VERSION, "%s: a backup of version %lld, this ficus knows up to %d: use the newer one",
                       path, (long long)version, BACKUP_VERSION);
    return read_list(a, root, ret_backup) ? FICUS_ERR_OK
                                          : err_set(reterr, FICUS_ERR_CORRUPT, "%s: is not as ficus backup writes it", path);
}

/* ---- what a system has ---- */

struct planning {
    struct env *e;
    struct arena *a;
    const struct state *s;
    struct service_config *configs; /* of those that Ficus starts */
    size_t config_count;
    struct backup_store *stores;
    size_t store_count;
};

static enum ficus_err load_config(struct planning *p, const char *name, const struct conf_table *table, void *ret_config,
                                  struct ficus_error *reterr)
{
    struct slice text;
    const char *path = arena_printf(p->a, "%s/%s.json", p->s->run, name);
    if (path == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = env_file_load(p->e, p->a, path, CONFIG_SIZE_MAX, &text, reterr);
    return err == FICUS_ERR_OK ? process_config_read(p->a, path, text, table, ret_config, reterr) : err;
}

static bool calls(const struct service_config *caller, const struct service_config *callee)
{
    for (size_t i = 0; i < caller->common.edge_count; i++)
        if (strcmp(caller->common.edges[i].callee, callee->common.process) == 0)
            return true;
    return false;
}

/* Comes a before b when nobody has to wait? Those that call others first: the others are likely to be asked by somebody
 * whom we do not know, as accounts are by all. Then by name, so that the order is always the same. */
static bool precedes(const struct service_config *a, const struct service_config *b)
{
    bool a_calls = a->common.edge_count > 1, b_calls = b->common.edge_count > 1; /* the hub is one */
    return a_calls != b_calls ? a_calls : strcmp(a->common.process, b->common.process) < 0;
}

/* The one that nobody left calls; in a ring of callers somebody has to be first. */
static size_t choose_next(const struct planning *p, const bool *taken)
{
    size_t best = p->config_count, fallback = p->config_count;
    for (size_t i = 0; i < p->config_count; i++) {
        if (taken[i])
            continue;
        bool called = false;
        for (size_t j = 0; j < p->config_count && !called; j++)
            called = j != i && !taken[j] && calls(&p->configs[j], &p->configs[i]);
        size_t *chosen = called ? &fallback : &best;
        if (*chosen == p->config_count || precedes(&p->configs[i], &p->configs[*chosen]))
            *chosen = i;
    }
    return best < p->config_count ? best : fallback;
}

static bool add_store(struct planning *p, const char *service, const char *path, const char *socket, const char *target,
                      bool is_rebuildable)
{
    size_t root = strlen(p->s->root);
    if (path == NULL || socket == NULL || strncmp(path, p->s->root, root) != 0 || path[root] != '/')
        return false;
    p->stores[p->store_count++] = (struct backup_store){.service = service, .path = path, .name = path + root + 1,
                                                        .socket = socket, .target = target, .is_rebuildable = is_rebuildable};
    return true;
}

static bool add_services(struct planning *p)
{
    bool *taken = ARENA_ARRAY(p->a, bool, p->config_count + 1);
    for (size_t n = 0; taken != NULL && n < p->config_count; n++) {
        size_t i = choose_next(p, taken);
        const struct service_config *c = &p->configs[i];
        taken[i] = true;
        if (c->store[0] != '\0' && !add_store(p, c->common.process, c->store, arena_printf(p->a, "%s.1.sock", c->common.process),
                                              OPERATOR_COPY_PATH, c->rebuildable))
            return false;
    }
    return taken != NULL;
}

static enum ficus_err read_services(struct planning *p, const struct hub_config *hub, struct ficus_error *reterr)
{
    for (size_t i = 0; i < hub->service_count; i++) {
        bool exists = false;
        const char *path = arena_printf(p->a, "%s/%s.json", p->s->run, hub->services[i]);
        enum ficus_err err = path == NULL ? FICUS_ERR_NOMEM : env_file_exists(p->e, path, &exists);
        if (err != FICUS_ERR_OK)
            return err_set(reterr, err, "%s: %s", hub->services[i], err_text(err));
        if (!exists) /* somebody else starts it, and has its data */
            continue;
        err = load_config(p, hub->services[i], &service_config_table, &p->configs[p->config_count], reterr);
        if (err != FICUS_ERR_OK)
            return err;
        p->config_count++;
    }
    return FICUS_ERR_OK;
}

enum ficus_err backup_plan_read(struct env *e, struct arena *a, const struct state *s, struct backup_plan *ret_plan,
                                struct ficus_error *reterr)
{
    struct planning p = {.e = e, .a = a, .s = s};
    struct hub_config hub;
    enum ficus_err err = load_config(&p, "hub", &hub_config_table, &hub, reterr);
    if (err == FICUS_ERR_NOT_FOUND)
        return err_set(reterr, err, "nothing was ever started with the state %s (-f or FICUS_STATE names another)", s->root);
    if (err != FICUS_ERR_OK)
        return err;
    p.configs = ARENA_ARRAY(a, struct service_config, hub.service_count + 1);
    p.stores = ARENA_ARRAY(a, struct backup_store, hub.service_count + 2);
    const char **services = ARENA_ARRAY(a, const char *, hub.service_count + 1);
    if (p.configs == NULL || p.stores == NULL || services == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    err = read_services(&p, &hub, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (!add_store(&p, BACKUP_HUB, hub.journal_file, "hub-ops.sock", "/v1/copies/journal", false) || !add_services(&p) ||
        !add_store(&p, BACKUP_HUB, hub.log_file, "hub-ops.sock", "/v1/copies/log", false))
        return err_set(reterr, FICUS_ERR_CORRUPT, "%s: names databases outside of %s", s->run, s->root);
    services[0] = BACKUP_HUB;
    for (size_t i = 0; i < p.config_count; i++)
        services[i + 1] = p.configs[i].common.process;
    *ret_plan = (struct backup_plan){.system = hub.common.system, .stores = p.stores, .store_count = p.store_count,
                                     .services = services, .service_count = p.config_count + 1};
    return FICUS_ERR_OK;
}
