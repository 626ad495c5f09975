/* SPDX-License-Identifier: Apache-2.0
 *
 * Preparing a start. The manifest is read twice: the folder of the sockets depends on the longest name in it.
 */
#include "up.h"

#include "mem.h"
#include "program.h"
#include "restore.h"
#include "status.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The longest of our own names. */
#define GATEWAY_ADMIN "gateway-admin.sock"

static size_t longest_socket_name(const struct manifest *m)
{
    size_t size = sizeof GATEWAY_ADMIN - 1;
    for (size_t i = 0; i < m->service_count; i++) {
        size_t own = strlen(m->services[i].name) + sizeof ".1.sock" - 1;
        size = own > size ? own : size;
    }
    return size;
}

static enum ficus_err make_private_folders(const struct up *u, struct ficus_error *reterr)
{
    for (size_t i = 0; i < u->manifest->service_count; i++) {
        if (u->manifest->services[i].url != NULL)
            continue;
        const char *path = arena_printf(u->arena, "%s/%s", u->state.private_root, u->manifest->services[i].name);
        if (path == NULL)
            return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return err_sys(reterr, errno, "make folder %s", path);
    }
    return FICUS_ERR_OK;
}

/* "127.0.0.1:8080"; a gateway that listens everywhere is reached by the loopback address. */
static const char *gateway_url(struct arena *a, const struct manifest *m)
{
    if (m->gateway == NULL)
        return "";
    const char *scheme = m->gateway->tls != NULL ? "https" : "http";
    struct slice listen = slice_str(m->gateway->listen);
    if (slice_starts(listen, SLICE("0.0.0.0:")))
        return arena_printf(a, "%s://127.0.0.1:%s", scheme, m->gateway->listen + 8);
    if (slice_starts(listen, SLICE("[::]:")))
        return arena_printf(a, "%s://[::1]:%s", scheme, m->gateway->listen + 5);
    return arena_printf(a, "%s://%s", scheme, m->gateway->listen);
}

/* What the kernel says behind the name of a file that was replaced or removed. */
#define REPLACED " (deleted)"

/* NULL: not known. */
static const char *own_program(struct arena *a)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    if (n <= 0 || (size_t)n >= sizeof path)
        return NULL;
    struct slice s = slice_make(path, (size_t)n);
    if (slice_ends(s, SLICE(REPLACED)))
        s.size -= sizeof REPLACED - 1;
    return arena_strdup(a, s);
}

static bool plan_process(struct up *u, const struct manifest_process *from, struct supervisor_process *p)
{
    static const char *const own[][3] = {
        [MANIFEST_HUB] = {"ficus", "hub", NULL}, [MANIFEST_GATEWAY] = {"ficus", "gateway", NULL}};
    static const enum child_kind kinds[] = {
        [MANIFEST_HUB] = CHILD_HUB, [MANIFEST_GATEWAY] = CHILD_GATEWAY, [MANIFEST_SERVICE] = CHILD_SERVICE};
    *p = (struct supervisor_process){.kind = kinds[from->kind],
                                     .name = from->name,
                                     .team = from->team,
                                     .argv = from->argv,
                                     .folder = from->folder,
                                     .config_file = from->config_path,
                                     .needs = from->needs,
                                     .need_count = from->need_count,
                                     .listen_count = 1};
    if (from->argv == NULL) {
        p->argv = own[from->kind];
        p->file = "/proc/self/exe"; /* this very program, also when its file was replaced meanwhile ... */
        p->upgrade = u->program;    /* ... but a restart takes the new one */
    }
    p->listen[0] = from->address;
    p->listen_names[0] = from->name;
    if (from->kind == MANIFEST_HUB) {
        u->plan.hub_operator_address = arena_printf(u->arena, "unix:%s/hub-ops.sock", u->state.sockets);
        p->listen[1] = u->plan.hub_operator_address;
        p->listen_names[1] = "operators";
        p->listen_count = 2;
    }
    if (from->kind == MANIFEST_GATEWAY) {
        p->listen[1] = arena_printf(u->arena, "unix:%s/" GATEWAY_ADMIN, u->state.sockets);
        p->listen_names[1] = "operators";
        p->listen_count = 2;
    }
    return p->listen[0] != NULL && (p->listen_count == 1 || p->listen[1] != NULL);
}

static bool plan_externals(struct up *u)
{
    const struct manifest *m = u->manifest;
    struct status_external *list = ARENA_ARRAY(u->arena, struct status_external, m->service_count + 1);
    u->plan.externals = list;
    for (size_t i = 0; list != NULL && i < m->service_count; i++)
        if (m->services[i].url != NULL)
            list[u->plan.external_count++] = (struct status_external){m->services[i].name, m->services[i].team, m->services[i].url};
    return list != NULL;
}

static enum ficus_err make_plan(struct up *u, struct ficus_error *reterr)
{
    const struct manifest *m = u->manifest;
    if (m->process_count > SUPERVISOR_PROCESSES_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: %zu processes, at most %d are allowed", m->file,
                       m->process_count, SUPERVISOR_PROCESSES_MAX);
    struct supervisor_process *list = ARENA_ARRAY(u->arena, struct supervisor_process, m->process_count + 1);
    u->plan = (struct supervisor_plan){.system = m->system,
                                       .gateway_url = gateway_url(u->arena, m),
                                       .state = &u->state,
                                       .processes = list,
                                       .process_count = m->process_count};
    bool ok = list != NULL && u->plan.gateway_url != NULL && plan_externals(u);
    for (size_t i = 0; i < m->process_count && ok; i++)
        ok = plan_process(u, &m->processes[i], &list[i]);
    return ok ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
}

static enum ficus_err prepare_state(struct env *e, struct up *u, struct manifest_options *o, const char *file,
                                    struct conf_errors *errors, struct ficus_error *reterr)
{
    enum ficus_err err = state_create(e, &u->state, reterr);
    if (err == FICUS_ERR_OK)
        err = state_lock(&u->state, &u->lock_fd, reterr);
    if (err == FICUS_ERR_OK && restore_is_pending(&u->state))
        err = err_set(reterr, FICUS_ERR_CONFLICT, "%s: a restore was interrupted half way: ficus restore finishes it", u->state.root);
    if (err == FICUS_ERR_OK && restore_is_begun(&u->state)) /* an empty system would serve in place of the one that was to come back */
        err = err_set(reterr, FICUS_ERR_CONFLICT, "%s: a restore was interrupted while it copied: ficus restore FOLDER begins it again; to go on "
                      "without it, remove %s/" RESTORE_PARTIAL, u->state.root, u->state.root);
    if (err == FICUS_ERR_OK)
        err = state_choose_sockets(e, u->arena, &u->state, longest_socket_name(u->manifest), reterr);
    if (err == FICUS_ERR_OK)
        err = state_key(e, &u->state, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    o->state = u->state.root;
    o->sockets = u->state.sockets;
    o->registered = u->state.schemas_file;
    err = manifest_load(u->arena, file, o, &u->manifest, errors);
    if (err != FICUS_ERR_OK)
        return conf_errors_first(errors, reterr);
    if (u->manifest->administrator != NULL) {
        u->admin_email = u->manifest->administrator->email;
        err = state_admin(e, u->arena, &u->state, u->admin_email, &u->admin_password, reterr);
    }
    if (err == FICUS_ERR_OK)
        err = make_private_folders(u, reterr);
    if (err == FICUS_ERR_OK)
        err = manifest_render(u->manifest, u->arena, NULL, reterr);
    return err == FICUS_ERR_OK ? make_plan(u, reterr) : err;
}

/* A start that waits for what was never built would only say much later that it is not healthy. */
static enum ficus_err check_programs(struct arena *a, const struct manifest *m, struct conf_errors *errors)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < m->service_count; i++) {
        const struct manifest_service *s = &m->services[i];
        const char *path, *makefile = arena_printf(a, "%s/Makefile", s->folder);
        if (s->url != NULL) /* somebody else starts it */
            continue;
        if (program_find(a, s->folder, s->run.argv[0], &path))
            continue;
        bool made = makefile != NULL && access(makefile, F_OK) == 0;
        conf_error_value(errors, conf_get(s->node, "run"), "%s is not there, or may not be executed: %s%s, or correct this",
                         path == NULL ? s->run.argv[0] : path, made ? "make -C " : "build it", made ? s->folder : "");
        err = FICUS_ERR_NOT_FOUND;
    }
    return err;
}

enum ficus_err up_prepare(struct env *e, struct arena *a, const char *manifest, const char *build,
                          const char *const *sets, size_t set_count, struct up *ret_up, struct conf_errors *errors,
                          struct ficus_error *reterr)
{
    struct manifest_options o = {.build = build, .sets = sets, .set_count = set_count};
    *ret_up = (struct up){
        .arena = a, .lock_fd = -1, .file = manifest, .build = build, .sets = sets, .set_count = set_count};
    enum ficus_err err = manifest_load(a, manifest, &o, &ret_up->manifest, errors);
    if (err == FICUS_ERR_OK)
        err = check_programs(a, ret_up->manifest, errors);
    if (err != FICUS_ERR_OK)
        return conf_errors_first(errors, reterr);
    ret_up->program = own_program(a);
    err = state_locate(a, manifest, &ret_up->state, reterr);
    if (err == FICUS_ERR_OK)
        err = prepare_state(e, ret_up, &o, manifest, errors, reterr);
    if (err != FICUS_ERR_OK)
        up_done(ret_up);
    return err;
}

/* ---- again ---- */

static const struct supervisor_process *find(const struct supervisor_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->process_count; i++)
        if (strcmp(plan->processes[i].name, name) == 0)
            return &plan->processes[i];
    return NULL;
}

/* What the sockets that are open stand in the way of. */
static enum ficus_err check_plan(const struct supervisor_plan *before, const struct supervisor_plan *now,
                                 struct ficus_error *reterr)
{
    struct buf what;
    buf_init(&what, 256);
    for (size_t i = 0; i < before->process_count; i++) {
        const struct supervisor_process *old = &before->processes[i], *new = find(now, old->name);
        if (new == NULL)
            buf_printf(&what, "%s has left, ", old->name);
        else if (new->listen_count != old->listen_count || strcmp(new->listen[0], old->listen[0]) != 0)
            buf_printf(&what, "%s has another address, ", old->name);
    }
    for (size_t i = 0; i < now->process_count; i++)
        if (find(before, now->processes[i].name) == NULL)
            buf_printf(&what, "%s is new, ", now->processes[i].name);
    enum ficus_err err = buf_slice(&what).size == 0 && !buf_failed(&what)
                             ? FICUS_ERR_OK
                             : err_set(reterr, FICUS_ERR_CONFLICT,
                                       "%sand that takes a new start: ficus down, then ficus up; nothing has changed",
                                       buf_str(&what));
    buf_done(&what);
    return err;
}

static bool argv_equal(const char *const *a, const char *const *b)
{
    size_t i = 0;
    while (a[i] != NULL && b[i] != NULL && strcmp(a[i], b[i]) == 0)
        i++;
    return a[i] == NULL && b[i] == NULL;
}

/* The new plan's processes in the order of the old one's, and what differs. */
static enum ficus_err match_plans(struct arena *a, const struct supervisor_plan *before, struct up *now,
                                  const bool *file_changed, struct supervisor_reload *ret_reload,
                                  struct ficus_error *reterr)
{
    size_t count = before->process_count;
    struct supervisor_process *list = ARENA_ARRAY(a, struct supervisor_process, count + 1);
    bool *changed = ARENA_ARRAY(a, bool, count + 1);
    if (list == NULL || changed == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const struct supervisor_process *old = &before->processes[i], *new = find(&now->plan, old->name);
        list[i] = *new;
        changed[i] = file_changed == NULL || file_changed[new - now->plan.processes] || strcmp(old->folder, new->folder) != 0 ||
                     !argv_equal(old->argv, new->argv);
    }
    now->plan.processes = list;
    *ret_reload = (struct supervisor_reload){.plan = &now->plan, .changed = changed};
    return FICUS_ERR_OK;
}

enum ficus_err up_reload(struct env *e, const struct up *u, struct arena *a, const struct supervisor_plan *before,
                         struct supervisor_reload *ret_reload, struct conf_errors *errors, struct ficus_error *reterr)
{
    struct manifest_options o = {.build = u->build,
                                 .sets = u->sets,
                                 .set_count = u->set_count,
                                 .state = u->state.root,
                                 .sockets = u->state.sockets,
                                 .registered = u->state.schemas_file};
    struct up *now = ARENA_NEW(a, struct up);
    if (now == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    *now = (struct up){.arena = a, .state = u->state, .lock_fd = -1, .program = u->program};
    enum ficus_err err = manifest_load(a, u->file, &o, &now->manifest, errors);
    if (err != FICUS_ERR_OK)
        return conf_errors_first(errors, reterr);
    err = make_plan(now, reterr);
    if (err == FICUS_ERR_OK)
        err = check_plan(before, &now->plan, reterr);
    bool *changed = ARENA_ARRAY(a, bool, now->manifest->process_count + 1);
    if (err == FICUS_ERR_OK && changed == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    if (err == FICUS_ERR_OK && now->manifest->administrator != NULL)
        err = state_admin(e, a, &now->state, now->manifest->administrator->email, &now->admin_password, reterr);
    if (err == FICUS_ERR_OK)
        err = manifest_render(now->manifest, a, changed, reterr);
    return err == FICUS_ERR_OK ? match_plans(a, before, now, changed, ret_reload, reterr) : err;
}

enum ficus_err up_take_over(struct arena *a, const char *manifest, const char *build, const char *const *sets, size_t set_count,
                            const struct supervisor_plan *before, struct up *ret_up, struct conf_errors *errors, struct ficus_error *reterr)
{
    struct manifest_options o = {.build = build, .sets = sets, .set_count = set_count};
    struct supervisor_reload matched;
    struct up *u = ret_up;
    *u = (struct up){.arena = a, .lock_fd = -1, .file = manifest, .build = build, .sets = sets, .set_count = set_count};
    enum ficus_err err = state_locate(a, manifest, &u->state, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    u->program = own_program(a);
    o.state = u->state.root;
    o.sockets = u->state.sockets;
    err = manifest_load(a, manifest, &o, &u->manifest, errors);
    if (err == FICUS_ERR_OK)
        err = check_programs(a, u->manifest, errors);
    if (err != FICUS_ERR_OK)
        return conf_errors_first(errors, reterr);
    err = make_plan(u, reterr);
    if (err == FICUS_ERR_OK)
        err = check_plan(before, &u->plan, reterr);
    return err == FICUS_ERR_OK ? match_plans(a, before, u, NULL, &matched, reterr) : err;
}

enum ficus_err up_write(struct env *e, struct up *u, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    if (u->manifest->administrator != NULL)
        err = state_admin(e, u->arena, &u->state, u->manifest->administrator->email, &u->admin_password, reterr);
    return err == FICUS_ERR_OK ? manifest_render(u->manifest, u->arena, NULL, reterr) : err;
}

void up_done(struct up *u)
{
    if (u->lock_fd >= 0)
        close(u->lock_fd);
    u->lock_fd = -1;
}
