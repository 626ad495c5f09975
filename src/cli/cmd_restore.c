/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus restore: a backup into the state folder of a system that does not run.
 */
#include "cli.h"

#include "manifest.h"
#include "mem.h"
#include "restore.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct job {
    struct cli *cli;
    const char *folder;
    const char *const *names; /* services asked for; none: all */
    size_t name_count;
    bool replace, is_terminal;
    struct backup backup; /* then only the files that are wanted */
    struct ficus_error error;
};

static void show(void *arg, const struct backup_file *f)
{
    struct job *j = arg;
    if (j->is_terminal)
        dprintf(2, "\r\033[K%s %lld MiB", f->path, (long long)(f->size >> 20));
}

/* Another system's data would start, and be wrong in every way that nobody looks for. */
static int check_system(struct job *j)
{
    struct arena a;
    struct manifest *m = NULL;
    struct conf_errors errors;
    const struct manifest_options o = {0};
    int code = EXIT_OK;
    arena_init(&a, MANIFEST_ARENA_SIZE_MAX);
    conf_errors_init(&errors, &a);
    if (manifest_load(&a, j->cli->file, &o, &m, &errors) != FICUS_ERR_OK) {
        cli_print_errors(&errors);
        code = EXIT_USAGE;
    } else if (strcmp(m->system, j->backup.system) != 0) {
        dprintf(2, "ficus: %s: is a backup of the system \"%s\", %s is \"%s\"\n", j->folder, j->backup.system, j->cli->file, m->system);
        code = EXIT_FAILED;
    }
    arena_done(&a);
    return code;
}

static bool wanted(const struct job *j, const char *service)
{
    for (size_t i = 0; i < j->name_count; i++)
        if (strcmp(j->names[i], service) == 0)
            return true;
    return j->name_count == 0;
}

/* Leaves only those of the services that were asked for; each has to have some. */
static int choose(struct job *j)
{
    size_t count = 0;
    for (size_t i = 0; i < j->name_count; i++) {
        bool known = false;
        for (size_t k = 0; k < j->backup.count && !known; k++)
            known = strcmp(j->backup.files[k].service, j->names[i]) == 0;
        if (!known) {
            dprintf(2, "ficus: %s: holds nothing of a service \"%s\"\n", j->folder, j->names[i]);
            return EXIT_USAGE;
        }
    }
    for (size_t i = 0; i < j->backup.count; i++)
        if (wanted(j, j->backup.files[i].service))
            j->backup.files[count++] = j->backup.files[i];
    j->backup.count = count;
    return EXIT_OK;
}

static void print(const struct job *j, const char *aside)
{
    struct buf out;
    buf_init(&out, 4 << 20);
    if (j->cli->json) {
        struct json_writer w;
        json_write_init(&w, &out);
        json_write_object(&w);
        json_write_kv_str(&w, "state", j->cli->state.root);
        json_write_kv_str(&w, "replaced", aside[0] == '\0' ? NULL : aside);
        json_write_key(&w, "files");
        json_write_array(&w);
        for (size_t i = 0; i < j->backup.count; i++)
            json_write_str(&w, j->backup.files[i].path);
        json_write_end(&w);
        json_write_end(&w);
        buf_add_char(&out, '\n');
    } else {
        buf_printf(&out, "%zu files of %s are in %s\n", j->backup.count, j->folder, j->cli->state.root);
        if (aside[0] != '\0')
            buf_printf(&out, "what was there lies in %s\n", aside);
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
}

/* The copies lie in the state folder: the backup is not needed any more. */
static int go_on(struct job *j)
{
    const char *aside = "";
    if (restore_finish(j->cli->e, &j->cli->a, &j->cli->state, &aside, &j->error) != FICUS_ERR_OK)
        return cli_fail(&j->error);
    dprintf(2, "ficus: a restore had been interrupted, and is finished now%s%s\n",
            aside[0] == '\0' ? "" : "; what was there lies in ", aside);
    return EXIT_OK;
}

static int restore(struct job *j)
{
    struct cli *cli = j->cli;
    const char *aside = "";
    const struct restore r = {.e = cli->e, .a = &cli->a, .s = &cli->state, .folder = j->folder, .backup = &j->backup,
                              .whole = j->name_count == 0 && !j->backup.is_part, .replace = j->replace, .progress = show, .arg = j};
    enum ficus_err err = restore_stage(&r, &j->error);
    if (j->is_terminal)
        dprintf(2, "\r\033[K");
    if (err != FICUS_ERR_OK) {
        int code = cli_fail(&j->error);
        if (!restore_is_pending(&cli->state))
            dprintf(2, "ficus: nothing was changed\n");
        return code;
    }
    if (restore_finish(cli->e, &cli->a, &cli->state, &aside, &j->error) != FICUS_ERR_OK) {
        int code = cli_fail(&j->error);
        dprintf(2, "ficus: half of it is done; the same command goes on from here\n");
        return code;
    }
    print(j, aside);
    return EXIT_OK;
}

/* From here nothing can start. */
static int lock(struct job *j, int *ret_fd)
{
    const struct state *s = &j->cli->state;
    if (state_create(j->cli->e, s, &j->error) != FICUS_ERR_OK)
        return cli_fail(&j->error);
    enum ficus_err err = state_lock(s, ret_fd, &j->error);
    if (err == FICUS_ERR_BUSY) {
        dprintf(2, "ficus: the system is running (state %s); ficus down stops it, then its data can be put back\n", s->root);
        return EXIT_FAILED;
    }
    return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&j->error);
}

/* Everything that can be said before the state is touched. */
static int prepare(struct job *j)
{
    if (backup_read(j->cli->e, &j->cli->a, j->folder, &j->backup, &j->error) != FICUS_ERR_OK)
        return cli_fail(&j->error);
    int code = check_system(j);
    return code == EXIT_OK ? choose(j) : code;
}

int cmd_restore(const struct command_call *c)
{
    struct cli cli;
    int code = EXIT_FAILED, fd = -1;
    umask(077);
    if (cli_init(&cli, c)) {
        struct job j = {.cli = &cli, .folder = c->operands[0], .names = c->operands + 1, .name_count = c->operand_count - 1,
                        .replace = command_has(c, "replace"), .is_terminal = isatty(2) == 1};
        bool pending = restore_is_pending(&cli.state);
        code = pending ? EXIT_OK : prepare(&j);
        if (code == EXIT_OK)
            code = lock(&j, &fd);
        if (code == EXIT_OK)
            code = pending ? go_on(&j) : restore(&j);
    }
    if (fd >= 0)
        close(fd);
    cli_done(&cli);
    return code;
}
