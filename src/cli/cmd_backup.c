/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus backup: each database by its owner, who streams it; those that nobody has open by ourselves; then what lies
 * beside them. Nobody else writes into the folder: an owner only answers.
 */
#include "cli.h"

#include "backup.h"
#include "db.h"
#include "generation.h"
#include "io_env.h"
#include "mem.h"
#include "restore.h"
#include "timefmt.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_SIZE = 256 * 1024, PROGRESS_MS = 200 };

struct job {
    struct cli *cli;
    struct backup_plan plan;
    struct backup_maker maker;
    const struct json *status; /* NULL: the system is stopped */
    const char *const *names;  /* services asked for; none: all */
    size_t name_count;
    bool is_terminal;
    /* the file that comes */
    struct backup_file *file;
    const char *path;
    int64_t total, shown_ms;
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

static void show(struct job *j, bool last)
{
    int64_t now = env_now_ms(j->cli->e);
    if (!j->is_terminal || (!last && now < j->shown_ms + PROGRESS_MS))
        return;
    j->shown_ms = now;
    dprintf(2, "\r\033[K%s %lld of %lld MiB%s", j->file->path, (long long)(j->file->size >> 20), (long long)(j->total >> 20),
            last ? "\r\033[K" : "");
}

/* ---- one database ---- */

static void on_head(void *arg, const struct http_msg *head)
{
    struct job *j = arg;
    (void)time_parse(http_msg_get(head, "ficus-moment"), &j->file->moment_ms);
    (void)slice_to_i64(http_msg_get(head, "ficus-offset"), &j->file->offset);
    j->total = head->content_length;
}

static bool on_piece(void *arg, struct slice piece)
{
    struct job *j = arg;
    bool ok = backup_file_add(&j->maker, piece, &j->error) == FICUS_ERR_OK;
    show(j, false);
    return ok;
}

/* Its owner runs. */
static int ask_owner(struct job *j, const struct backup_store *s)
{
    bool is_hub = strcmp(s->service, BACKUP_HUB) == 0;
    const struct cli_request r = {.socket = s->socket, .who = is_hub ? "the hub" : s->service, .method = "GET", .target = s->target,
                                  .expected = 200, .service = is_hub ? NULL : s->service, .sink = on_piece, .sink_head = on_head,
                                  .sink_arg = j};
    int code = cli_ask(j->cli, &r, NULL, NULL, NULL);
    return j->error.code == FICUS_ERR_OK ? code : cli_fail(&j->error);
}

static enum ficus_err read_directly(struct job *j, struct db *d)
{
    static char piece[PIECE_SIZE];
    struct db_copy c = {0};
    ssize_t n = 0;
    enum ficus_err err = db_copy_begin(d, &c, &j->error);
    if (err != FICUS_ERR_OK)
        return err;
    j->file->moment_ms = c.moment_ms;
    j->total = c.size;
    while (err == FICUS_ERR_OK && (n = db_copy_read(&c, piece, sizeof piece, &j->error)) > 0) {
        err = backup_file_add(&j->maker, slice_make(piece, (size_t)n), &j->error);
        show(j, false);
    }
    db_copy_end(&c);
    return n < 0 ? (enum ficus_err)-n : err;
}

/* Nobody has it open: for as long as we read it is ours, and a service that starts meanwhile waits for it. */
static int copy_directly(struct job *j, const char *path)
{
    const struct db_options o = {.path = path, .is_derived = true};
    struct db *d = NULL;
    enum ficus_err err = db_open(j->cli->e, &o, &d, &j->error);
    if (err == FICUS_ERR_OK)
        err = read_directly(j, d);
    db_close(d);
    return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&j->error);
}

/* Which file it is; *ret_there false: there is none yet, the service never ran. */
static enum ficus_err find_directly(struct job *j, const struct backup_store *s, const char **ret_path, bool *ret_there)
{
    char path[GENERATION_PATH_SIZE_MAX];
    int64_t generation = 1;
    bool left = false;
    *ret_path = s->path;
    enum ficus_err err = s->is_rebuildable ? generation_open(j->cli->e, s->path, &generation, &left, &j->error) : FICUS_ERR_OK;
    if (err != FICUS_ERR_OK)
        return err;
    if (!generation_path(s->path, generation, path, sizeof path) ||
        (*ret_path = arena_strdup(&j->cli->a, slice_str(path))) == NULL)
        return err_set(&j->error, FICUS_ERR_TOO_LARGE, "%s: the path is too long", s->path);
    return db_look(j->cli->e, *ret_path, ret_there, &j->error);
}

static bool runs(const struct job *j, const char *service)
{
    return j->status != NULL && json_i64_or(json_get(status_process(j->status, service), "pid"), 0) > 0;
}

static int finish_database(struct job *j)
{
    enum ficus_err err = backup_file_end(&j->maker, &j->error);
    const char *path = arena_printf(&j->cli->a, "%s/%s", j->maker.partial, j->file->path);
    if (err == FICUS_ERR_OK && path == NULL)
        err = err_set(&j->error, FICUS_ERR_NOMEM, "out of memory");
    if (err == FICUS_ERR_OK && db_check(j->cli->e, path, &j->error) != FICUS_ERR_OK)
        err = err_wrap(&j->error, "the copy of %s is not sound", j->file->path);
    show(j, true);
    return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&j->error);
}

static int copy_store(struct job *j, const struct backup_store *s)
{
    const char *path = NULL;
    bool running = runs(j, s->service), there = true;
    enum ficus_err err = running ? FICUS_ERR_OK : find_directly(j, s, &path, &there);
    if (err == FICUS_ERR_OK && !there)
        return EXIT_OK;
    if (err == FICUS_ERR_OK)
        err = backup_file_begin(&j->maker, s->name, s->service, &j->file, &j->error);
    if (err != FICUS_ERR_OK)
        return cli_fail(&j->error);
    j->file->is_database = true;
    int code = running ? ask_owner(j, s) : copy_directly(j, path);
    return code == EXIT_OK ? finish_database(j) : code;
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
    static const char *const own[] = {"system.key", "admin.json"};
    for (size_t i = 0; j->name_count == 0 && i < ARRAY_COUNT(own) && err == FICUS_ERR_OK; i++)
        err = backup_add_tree(&j->maker, &j->cli->state, own[i], "", &j->error);
    return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&j->error);
}

static int fill(struct job *j)
{
    int code = EXIT_OK;
    for (size_t i = 0; i < j->plan.store_count && code == EXIT_OK; i++)
        if (wanted(j, j->plan.stores[i].service))
            code = copy_store(j, &j->plan.stores[i]);
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
        code = look(&j, &lock);
        if (code == EXIT_OK)
            code = make(&j, c->operands[0]);
    }
    if (lock >= 0)
        close(lock);
    cli_done(&cli);
    return code;
}
