/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus migrations lint: which migrations break the version that is still running. Decided by migrate_lint; here files are
 * found, read and named.
 */
#include "cli.h"

#include "io_env.h"
#include "manifest.h"
#include "mem.h"
#include "migrate_lint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct lint_run {
    struct env *e;
    struct arena a;             /* of the manifest and all texts */
    int64_t released;
    bool json, colour;
    struct buf out;
    struct json_writer w;
    size_t database_count, migration_count, error_count, warning_count, allowed_count;
};

/* The migrations of one database. */
struct lint_set {
    const char *service;        /* NULL: a folder */
    const char **shown;         /* how each file is called in what is printed */
    const char **paths;
    size_t count;
};

/* ---- what is found ---- */

static void put_text(struct lint_run *run, const struct lint_set *set, const struct lint_finding *f)
{
    static const char *const colours[] = {[LINT_WARNING] = "\033[33m", [LINT_ERROR] = "\033[31m"};
    static const char *const levels[] = {[LINT_WARNING] = "warning", [LINT_ERROR] = "error"};
    if (f->allowed != NULL)
        return;
    buf_printf(&run->out, "%s:%u:%u: %s%s%s: %s: %s%s%s\n", set->shown[f->migration], f->line, f->column,
               run->colour ? colours[f->rule->level] : "", levels[f->rule->level], run->colour ? "\033[0m" : "", f->rule->name, f->object,
               f->object[0] == '\0' ? "" : ": ", f->text);
    buf_printf(&run->out, "    instead: %s\n", f->rule->help);
}

static void put_json(struct lint_run *run, const struct lint_set *set, const struct lint_finding *f)
{
    struct json_writer *w = &run->w;
    json_write_object(w);
    json_write_kv_str(w, "service", set->service);
    json_write_kv_str(w, "file", set->shown[f->migration]);
    json_write_kv_i64(w, "line", f->line);
    json_write_kv_i64(w, "column", f->column);
    json_write_kv_str(w, "level", f->rule->level == LINT_ERROR ? "error" : "warning");
    json_write_kv_str(w, "rule", f->rule->name);
    json_write_kv_str(w, "object", f->object);
    json_write_kv_str(w, "message", f->text);
    json_write_kv_str(w, "instead", f->rule->help);
    json_write_kv_str(w, "allowed", f->allowed);
    json_write_end(w);
}

static void put_end(struct lint_run *run)
{
    if (run->json) {
        json_write_end(&run->w);
        json_write_kv_bool(&run->w, "ok", run->error_count == 0);
        json_write_kv_i64(&run->w, "migrations", (int64_t)run->migration_count);
        json_write_kv_i64(&run->w, "errors", (int64_t)run->error_count);
        json_write_kv_i64(&run->w, "warnings", (int64_t)run->warning_count);
        json_write_kv_i64(&run->w, "allowed", (int64_t)run->allowed_count);
        json_write_end(&run->w);
        buf_add_char(&run->out, '\n');
        return;
    }
    buf_printf(&run->out, "%zu migration%s of %zu database%s: %zu error%s, %zu warning%s", run->migration_count,
               run->migration_count == 1 ? "" : "s", run->database_count, run->database_count == 1 ? "" : "s", run->error_count,
               run->error_count == 1 ? "" : "s", run->warning_count, run->warning_count == 1 ? "" : "s");
    if (run->allowed_count > 0)
        buf_printf(&run->out, ", %zu allowed by comments", run->allowed_count);
    buf_add_char(&run->out, '\n');
}

/* ---- one database ---- */

static enum ficus_err set_read(struct lint_run *run, const struct lint_set *set, struct db_migration **ret_list, struct ficus_error *reterr)
{
    struct db_migration *list = ARENA_ARRAY(&run->a, struct db_migration, set->count + 1);
    enum ficus_err err = list == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
    for (size_t i = 0; i < set->count && err == FICUS_ERR_OK; i++) {
        struct slice name;
        if (!db_migration_name(set->paths[i], &list[i].version, &name))
            list[i].version = 0;        /* no number comes next: a finding */
        list[i].name = set->shown[i];
        err = env_file_load(run->e, &run->a, set->paths[i], DB_MIGRATION_SIZE_MAX, &list[i].sql, reterr);
    }
    *ret_list = list;
    return err;
}

static int set_lint(struct lint_run *run, const struct lint_set *set)
{
    struct ficus_error error = {0};
    struct db_migration *list = NULL;
    struct lint_result r = {0};
    struct arena a;
    if (run->released > (int64_t)set->count) {
        dprintf(2, "ficus: migrations lint: --released: there are only %zu migrations\n", set->count);
        return EXIT_USAGE;
    }
    arena_init(&a, LINT_ARENA_SIZE_MAX);
    enum ficus_err err = set_read(run, set, &list, &error);
    if (err == FICUS_ERR_OK) {
        err = migrate_lint(&a, list, set->count, run->released, &r, &error);
        if (err != FICUS_ERR_OK)
            (void)err_wrap(&error, "migrations of %s", set->service == NULL ? "the folder" : set->service);
    }
    for (size_t i = 0; i < r.count; i++) {
        if (run->json)
            put_json(run, set, &r.findings[i]);
        else
            put_text(run, set, &r.findings[i]);
    }
    size_t found = r.error_count + r.warning_count + r.allowed_count;
    if (!run->json && found > r.count)
        buf_printf(&run->out, "and %zu more\n", found - r.count);
    arena_done(&a);
    run->database_count++;
    run->migration_count += set->count;
    run->error_count += r.error_count;
    run->warning_count += r.warning_count;
    run->allowed_count += r.allowed_count;
    return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&error);
}

/* ---- where migrations are ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int folder_lint(struct lint_run *run, const char *folder)
{
    struct ficus_error error = {0};
    struct lint_set set = {.paths = ARENA_ARRAY(&run->a, const char *, MANIFEST_MIGRATIONS_MAX)};
    DIR *d = set.paths == NULL ? NULL : opendir(folder);
    if (d == NULL) {
        (void)err_sys(&error, set.paths == NULL ? ENOMEM : errno, "%s", folder);
        return cli_fail(&error);
    }
    size_t size = strlen(folder);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        if (!slice_ends(slice_str(entry->d_name), SLICE(".sql")))
            continue;
        const char *path = set.count == MANIFEST_MIGRATIONS_MAX ? NULL
            : arena_printf(&run->a, "%s%s%s", folder, folder[size - 1] == '/' ? "" : "/", entry->d_name);
        if (path == NULL) {
            (void)err_set(&error, FICUS_ERR_TOO_LARGE, "%s: more than %d migrations", folder, MANIFEST_MIGRATIONS_MAX);
            break;
        }
        set.paths[set.count++] = path;
    }
    (void)closedir(d);          /* it was only read */
    if (error.code == FICUS_ERR_OK && set.count == 0)
        (void)err_set(&error, FICUS_ERR_NOT_FOUND, "%s has no file 0001_NAME.sql", folder);
    if (error.code != FICUS_ERR_OK)
        return cli_fail(&error);
    qsort(set.paths, set.count, sizeof *set.paths, compare_names);
    set.shown = set.paths;
    return set_lint(run, &set);
}

/* Files are shown beside the service's part of the manifest, as that was named. */
static int service_lint(struct lint_run *run, const struct manifest_service *s)
{
    const char *file = s->node->file, *slash = strrchr(file, '/');
    struct lint_set set = {.service = s->name, .count = s->migration_count, .shown = ARENA_ARRAY(&run->a, const char *, s->migration_count + 1),
                           .paths = ARENA_ARRAY(&run->a, const char *, s->migration_count + 1)};
    for (size_t i = 0; set.shown != NULL && set.paths != NULL && i < set.count; i++) {
        set.paths[i] = s->migration_files[i];
        set.shown[i] = arena_printf(&run->a, "%.*s%s/%s", slash == NULL ? 0 : (int)(slash + 1 - file), file, s->migrations,
                                    strrchr(s->migration_files[i], '/') + 1);
        if (set.shown[i] == NULL)
            set.shown = NULL;
    }
    if (set.shown == NULL || set.paths == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    return set_lint(run, &set);
}

static int manifest_lint(struct lint_run *run, const struct command_call *c)
{
    struct conf_errors errors;
    struct manifest *m = NULL;
    const struct manifest_options o = {.part_allowed = true};
    conf_errors_init(&errors, &run->a);
    if (manifest_load(&run->a, command_value(c, "file", "ficus.yaml"), &o, &m, &errors) != FICUS_ERR_OK) {
        cli_print_errors(&errors);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < c->operand_count; i++) {
        const struct manifest_service *s = manifest_find_service(m, c->operands[i]);
        if (s == NULL || s->migrations == NULL) {
            dprintf(2, "ficus: migrations lint: %s %s\n", c->operands[i],
                    s == NULL ? "is no service of the manifest (a folder is named with a slash: ./migrations)" : "has no migrations");
            return EXIT_USAGE;
        }
        int code = service_lint(run, s);
        if (code != EXIT_OK)
            return code;
    }
    int code = EXIT_OK;
    for (size_t i = 0; c->operand_count == 0 && i < m->service_count && code == EXIT_OK; i++)
        if (m->services[i].migrations != NULL)
            code = service_lint(run, &m->services[i]);
    return code;
}

static bool released_read(const struct command_call *c, int64_t *ret_released)
{
    const char *text = command_value(c, "released", NULL);
    *ret_released = -1;
    if (text == NULL)
        return true;
    if (!slice_to_i64(slice_str(text), ret_released) || *ret_released < 0 || *ret_released > MANIFEST_MIGRATIONS_MAX)
        dprintf(2, "ficus: migrations lint: --released: \"%s\" is no number of a migration\n", text);
    else if (c->operand_count != 1)
        dprintf(2, "ficus: migrations lint: --released is about one service or folder: name it\n");
    else
        return true;
    return false;
}

int cmd_migrations_lint(const struct command_call *c)
{
    struct ficus_error error = {0};
    struct lint_run run = {.json = command_has(c, "json"), .colour = cli_colour(1)};
    bool folder = c->operand_count == 1 && strchr(c->operands[0], '/') != NULL;
    if (!released_read(c, &run.released))
        return EXIT_USAGE;
    run.e = env_uv_new(NULL, &error);
    if (run.e == NULL)
        return cli_fail(&error);
    arena_init(&run.a, MANIFEST_ARENA_SIZE_MAX);
    buf_init(&run.out, 64 << 20);
    if (run.json) {
        json_write_init(&run.w, &run.out);
        json_write_object(&run.w);
        json_write_key(&run.w, "findings");
        json_write_array(&run.w);
    }
    int code = folder ? folder_lint(&run, c->operands[0]) : manifest_lint(&run, c);
    if (code == EXIT_OK) {
        put_end(&run);
        code = run.error_count == 0 ? EXIT_OK : EXIT_FAILED;
        cli_print(buf_slice(&run.out));
    }
    buf_done(&run.out);
    arena_done(&run.a);
    env_uv_free(run.e);
    return code;
}
