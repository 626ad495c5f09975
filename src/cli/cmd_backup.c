/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus backup: each database by its owner, who streams it; those that nobody has open by ourselves; then what lies
 * beside them. Nobody else writes into the folder: an owner only answers.
 *
 *     those that nobody has open, one after another; they stay ours until the end, so they do not change
 *     -> the others, all at once, but each asked for when the one before it has fixed its moment: the moments lie
 *        milliseconds apart, whatever the sizes, and in the plan's order
 *     -> the look at each, the files, the list, the name
 */
#include "cli.h"

#include "backup.h"
#include "db.h"
#include "generation.h"
#include "io_env.h"
#include "mem.h"
#include "restore.h"
#include "timefmt.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_SIZE = 256 * 1024, PROGRESS_MS = 200, STREAM_TIMEOUT_MS = 60000 };

struct job;

/* One database. */
struct copy {
    struct job *job;
    const struct backup_store *store;
    struct backup_out out; /* out.f NULL: there is none */
    struct db *db;         /* nobody else has it: open until the end */
    struct cli_request request;
    struct ops_call call;
    bool is_asked, has_moment;
    int64_t total;
};

struct job {
    struct cli *cli;
    struct backup_plan plan;
    struct backup_maker maker;
    const struct json *status; /* NULL: the system is stopped */
    const char *const *names;  /* services asked for; none: all */
    size_t name_count;
    struct copy *copies; /* in the plan's order */
    size_t copy_count, under_way;
    int code; /* of what went wrong first */
    bool is_terminal;
    int64_t shown_ms;
    struct ficus_error error;
};

static bool wanted(const struct job *j, const char *service)
{
    for (size_t i = 0; i < j->name_count; i++)
        if (strcmp(j->names[i], service) == 0)
            return true;
    return j->name_count == 0;
}

/* ---- progress ---- */

static void show(struct job *j)
{
    int64_t now = env_now_ms(j->cli->e), done = 0, total = 0;
    if (!j->is_terminal || now < j->shown_ms + PROGRESS_MS)
        return;
    j->shown_ms = now;
    for (size_t i = 0; i < j->copy_count; i++) {
        done += j->copies[i].out.f == NULL ? 0 : j->copies[i].out.f->size;
        total += j->copies[i].total;
    }
    dprintf(2, "\r\033[K%lld of %lld MiB", (long long)(done >> 20), (long long)(total >> 20));
}

static void show_end(const struct job *j)
{
    if (j->is_terminal)
        dprintf(2, "\r\033[K");
}

/* ---- those that nobody has open ---- */

static enum ficus_err read_directly(struct copy *c)
{
    static char piece[PIECE_SIZE];
    struct job *j = c->job;
    struct db_copy from = {0};
    ssize_t n = 0;
    enum ficus_err err = db_copy_begin(c->db, &from, &j->error);
    if (err != FICUS_ERR_OK)
        return err;
    c->out.f->moment_ms = from.moment_ms;
    c->total = from.size;
    while (err == FICUS_ERR_OK && (n = db_copy_read(&from, piece, sizeof piece, &j->error)) > 0) {
        err = backup_out_add(&c->out, slice_make(piece, (size_t)n), &j->error);
        show(j);
    }
    db_copy_end(&from);
    if (n < 0)
        err = (enum ficus_err)-n;
    return err == FICUS_ERR_OK ? backup_out_end(&c->out, &j->error) : err;
}

/* Which file it is; *ret_there false: there is none yet, the service never ran. */
static enum ficus_err find_directly(struct copy *c, const char **ret_path, bool *ret_there)
{
    char path[GENERATION_PATH_SIZE_MAX];
    struct job *j = c->job;
    const struct backup_store *s = c->store;
    int64_t generation = 1;
    bool left = false;
    enum ficus_err err = s->is_rebuildable ? generation_open(j->cli->e, s->path, &generation, &left, &j->error) : FICUS_ERR_OK;
    if (err != FICUS_ERR_OK)
        return err;
    *ret_path = generation_path(s->path, generation, path, sizeof path) ? arena_strdup(&j->cli->a, slice_str(path)) : NULL;
    return *ret_path == NULL ? err_set(&j->error, FICUS_ERR_TOO_LARGE, "%s: the path is too long", s->path)
                             : db_look(j->cli->e, *ret_path, ret_there, &j->error);
}

static enum ficus_err begin(struct copy *c)
{
    struct job *j = c->job;
    enum ficus_err err = backup_out_begin(&c->out, &j->maker, c->store->name, c->store->service, &j->error);
    if (err == FICUS_ERR_OK)
        c->out.f->is_database = true;
    return err;
}

static int copy_directly(struct copy *c)
{
    struct job *j = c->job;
    const char *path = NULL;
    bool there = false;
    enum ficus_err err = find_directly(c, &path, &there);
    if (err == FICUS_ERR_OK && there) {
        const struct db_options o = {.path = path, .is_derived = true};
        err = begin(c);
        if (err == FICUS_ERR_OK)
            err = db_open(j->cli->e, &o, &c->db, &j->error);
        if (err == FICUS_ERR_OK)
            err = read_directly(c);
    }
    return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&j->error);
}

/* ---- those whose owners run ---- */

static void ask_next(struct job *j);

/* The first failure counts, and ends the others. */
static void give_up(struct job *j, int code)
{
    if (j->code != EXIT_OK)
        return;
    j->code = code;
    for (size_t i = 0; i < j->copy_count; i++)
        if (ops_call_busy(&j->copies[i].call))
            ops_call_cancel(&j->copies[i].call);
    env_uv_stop(j->cli->e);
}

static void on_head(void *arg, const struct http_msg *head)
{
    struct copy *c = arg;
    (void)time_parse(http_msg_get(head, "ficus-moment"), &c->out.f->moment_ms);
    (void)slice_to_i64(http_msg_get(head, "ficus-offset"), &c->out.f->offset);
    c->total = head->content_length;
    c->has_moment = true;
    ask_next(c->job);
}

static bool on_piece(void *arg, struct slice piece)
{
    struct copy *c = arg;
    show(c->job);
    return backup_out_add(&c->out, piece, &c->job->error) == FICUS_ERR_OK;
}

static void on_copied(void *arg, enum ficus_err err, int status, struct slice body)
{
    struct copy *c = arg;
    struct job *j = c->job;
    struct ficus_error error = {.code = err};
    if (err != FICUS_ERR_OK)
        (void)err_set(&error, err, "%s: %s", c->request.who, err == FICUS_ERR_RESET ? "ended in the middle of its copy" : err_text(err));
    int code = j->error.code != FICUS_ERR_OK ? cli_fail(&j->error) : cli_answer(j->cli, &c->request, &error, status, body, NULL);
    if (code == EXIT_OK && backup_out_end(&c->out, &j->error) != FICUS_ERR_OK)
        code = cli_fail(&j->error);
    if (code != EXIT_OK)
        give_up(j, code);
    else if (--j->under_way == 0)
        env_uv_stop(j->cli->e);
}

static int ask(struct copy *c)
{
    const struct backup_store *s = c->store;
    struct job *j = c->job;
    bool is_hub = strcmp(s->service, BACKUP_HUB) == 0;
    c->request = (struct cli_request){.socket = s->socket, .who = is_hub ? "the hub" : s->service, .method = "GET", .target = s->target,
                                      .expected = 200, .service = is_hub ? NULL : s->service};
    c->is_asked = true;
    int code = cli_call(j->cli, &c->request, &c->call);
    if (code != EXIT_OK)
        return code;
    c->call.timeout_ms = STREAM_TIMEOUT_MS;
    c->call.sink = on_piece;
    c->call.sink_head = on_head;
    c->call.sink_arg = c->call.arg = c;
    c->call.done = on_copied;
    if (begin(c) != FICUS_ERR_OK)
        return cli_fail(&j->error);
    struct ficus_error error = {.code = ops_call_start(&c->call)};
    return error.code == FICUS_ERR_OK ? EXIT_OK : cli_answer(j->cli, &c->request, &error, 0, SLICE_NONE, NULL);
}

static bool runs(const struct job *j, const char *service)
{
    return j->status != NULL && json_i64_or(json_get(status_process(j->status, service), "pid"), 0) > 0;
}

/* The first that was not asked, when those before it know their moments. */
static void ask_next(struct job *j)
{
    for (size_t i = 0; i < j->copy_count && j->code == EXIT_OK; i++) {
        struct copy *c = &j->copies[i];
        if (c->db != NULL || !runs(j, c->store->service) || c->has_moment)
            continue;
        int code = c->is_asked ? EXIT_OK : ask(c);
        if (code != EXIT_OK)
            give_up(j, code);
        return;
    }
}

static void look_again(void *arg)
{
    env_uv_stop(arg);
}

/* Calls that were cancelled are on the loop for a moment more. */
static void wait_for_calls(struct job *j)
{
    for (size_t i = 0; i < j->copy_count; i++)
        while (ops_call_busy(&j->copies[i].call)) {
            struct env_timer look = {.fn = look_again, .arg = j->cli->e};
            env_timer_start(j->cli->e, &look, 1);
            env_uv_run(j->cli->e);
        }
}

static int copy_running(struct job *j)
{
    for (size_t i = 0; i < j->copy_count; i++)
        j->under_way += runs(j, j->copies[i].store->service);
    if (j->under_way == 0)
        return EXIT_OK;
    ask_next(j);
    if (j->code == EXIT_OK)
        env_uv_run(j->cli->e);
    wait_for_calls(j);
    return j->code;
}

/* ---- the look at them ---- */

static int check(struct job *j)
{
    for (size_t i = 0; i < j->copy_count; i++) {
        if (j->copies[i].out.f == NULL)
            continue;
        const char *path = arena_printf(&j->cli->a, "%s/%s", j->maker.partial, j->copies[i].out.f->path);
        if (path == NULL)
            return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
        if (db_check(j->cli->e, path, &j->error) != FICUS_ERR_OK) {
            (void)err_wrap(&j->error, "the copy of %s is not sound", j->copies[i].store->name);
            return cli_fail(&j->error);
        }
    }
    return EXIT_OK;
}

static int copy_databases(struct job *j)
{
    int code = EXIT_OK;
    j->copies = ARENA_ARRAY(&j->cli->a, struct copy, j->plan.store_count + 1);
    if (j->copies == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    for (size_t i = 0; i < j->plan.store_count; i++)
        if (wanted(j, j->plan.stores[i].service))
            j->copies[j->copy_count++] = (struct copy){.job = j, .store = &j->plan.stores[i]};
    for (size_t i = 0; i < j->copy_count && code == EXIT_OK; i++)
        if (!runs(j, j->copies[i].store->service))
            code = copy_directly(&j->copies[i]);
    if (code == EXIT_OK)
        code = copy_running(j);
    for (size_t i = 0; i < j->copy_count; i++) {
        if (j->copies[i].out.m != NULL)
            backup_out_drop(&j->copies[i].out);
        db_close(j->copies[i].db);
    }
    show_end(j);
    return code == EXIT_OK ? check(j) : code;
}

/* ---- all of it ---- */

static int copy_files(struct job *j)
{
    struct arena *a = &j->cli->a;
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < j->plan.service_count && err == FICUS_ERR_OK; i++) {
        const char *name = j->plan.services[i], *path = arena_printf(a, "private/%s", name);
        if (path == NULL)
            err = err_set(&j->error, FICUS_ERR_NOMEM, "out of memory");
        else if (wanted(j, name) && strcmp(name, BACKUP_HUB) != 0)
            err = backup_add_tree(&j->maker, &j->cli->state, path, name, &j->error);
    }
    static const char *const own[] = {"system.key", "admin.json", "schemas.json"};
    for (size_t i = 0; j->name_count == 0 && i < ARRAY_COUNT(own) && err == FICUS_ERR_OK; i++)
        err = backup_add_tree(&j->maker, &j->cli->state, own[i], "", &j->error);
    return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&j->error);
}

static int fill(struct job *j)
{
    int code = copy_databases(j);
    if (code == EXIT_OK)
        code = copy_files(j);
    if (code == EXIT_OK && backup_finish(&j->maker, &j->error) != FICUS_ERR_OK)
        code = cli_fail(&j->error);
    return code;
}

static void print(struct job *j)
{
    struct buf out;
    const struct backup *b = &j->maker.backup;
    int64_t bytes = 0;
    buf_init(&out, 4 << 20);
    if (j->cli->json)
        backup_write(b, &out);
    else
        buf_printf(&out, "%-36s %-16s %12s  %s\n", "file", "service", "bytes", "moment");
    for (size_t i = 0; i < b->count && !j->cli->json; i++) {
        char moment[TIME_TEXT_SIZE];
        const struct backup_file *f = &b->files[i];
        time_format(f->moment_ms, moment);
        buf_printf(&out, "%-36s %-16s %12lld  %s\n", f->path, f->service[0] == '\0' ? "-" : f->service, (long long)f->size, moment);
        bytes += f->size;
    }
    if (!j->cli->json)
        buf_printf(&out, "%zu files, %lld bytes in %s\n", b->count, (long long)bytes, j->maker.folder);
    cli_print(buf_slice(&out));
    buf_done(&out);
}

static int check_names(const struct job *j)
{
    for (size_t i = 0; i < j->name_count; i++) {
        bool known = false;
        for (size_t k = 0; k < j->plan.service_count && !known; k++)
            known = strcmp(j->plan.services[k], j->names[i]) == 0;
        if (!known) {
            dprintf(2, "ficus: %s is no service that was started here, nor \"" BACKUP_HUB "\"\n", j->names[i]);
            return EXIT_USAGE;
        }
    }
    return EXIT_OK;
}

static int make(struct job *j, const char *folder)
{
    if (backup_make(&j->maker, j->cli->e, &j->cli->a, folder, &j->error) != FICUS_ERR_OK)
        return cli_fail(&j->error);
    j->maker.backup.system = j->plan.system;
    j->maker.backup.ficus = FICUS_VERSION;
    j->maker.backup.begun_ms = env_wall_ms(j->cli->e);
    j->maker.backup.is_part = j->name_count > 0;
    int code = fill(j);
    if (code == EXIT_OK) {
        print(j);
        return code;
    }
    backup_give_up(&j->maker);
    dprintf(2, "ficus: no backup was made\n");
    return code;
}

/* Below the state folder ficus down --purge would remove it with what it is the copy of. */
static bool folder_is_fit(const struct job *j, const char *folder)
{
    char parent[PATH_MAX], whole[PATH_MAX];
    const char *slash = strrchr(folder, '/');
    (void)snprintf(parent, sizeof parent, "%.*s", slash == NULL ? 1 : slash == folder ? 1 : (int)(slash - folder), slash == NULL ? "." : folder);
    if (folder[0] == '\0') {
        dprintf(2, "ficus: the name of the backup's folder is empty\n");
        return false;
    }
    size_t size = strlen(j->cli->state.root);
    if (realpath(parent, whole) == NULL || strncmp(whole, j->cli->state.root, size) != 0 || (whole[size] != '\0' && whole[size] != '/'))
        return true; /* a parent that is not there is told when the folder is made */
    dprintf(2, "ficus: %s: lies in the state folder %s, which ficus down --purge removes; say another place\n", folder, j->cli->state.root);
    return false;
}

/* Whether it runs; stopped, it stays so for as long as we have the lock. */
static int look(struct job *j, int *ret_lock)
{
    if (restore_is_pending(&j->cli->state)) {
        dprintf(2, "ficus: %s: a restore was interrupted half way: ficus restore finishes it\n", j->cli->state.root);
        return EXIT_FAILED;
    }
    if (backup_plan_read(j->cli->e, &j->cli->a, &j->cli->state, &j->plan, &j->error) != FICUS_ERR_OK)
        return state_closed_to_us(&j->cli->state) ? cli_not_running(j->cli, "") : cli_fail(&j->error);
    int code = check_names(j);
    if (code != EXIT_OK)
        return code;
    if (state_lock_holder(&j->cli->state) != 0)
        return cli_ask(j->cli, &(struct cli_request){.socket = "supervisor.sock", .who = "the supervisor", .method = "GET",
                                                      .target = "/v1/status", .expected = 200},
                       NULL, NULL, &j->status);
    return state_lock(&j->cli->state, ret_lock, &j->error) == FICUS_ERR_OK ? EXIT_OK : cli_fail(&j->error);
}

int cmd_backup(const struct command_call *c)
{
    static struct job j;
    struct cli cli;
    int code = EXIT_FAILED, lock = -1;
    umask(077);
    if (cli_init(&cli, c)) {
        j = (struct job){.cli = &cli, .names = c->operands + 1, .name_count = c->operand_count - 1, .is_terminal = isatty(2) == 1};
        code = folder_is_fit(&j, c->operands[0]) ? look(&j, &lock) : EXIT_USAGE;
        if (code == EXIT_OK)
            code = make(&j, c->operands[0]);
    }
    if (lock >= 0)
        close(lock);
    cli_done(&cli);
    return code;
}
