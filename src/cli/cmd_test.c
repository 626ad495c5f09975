/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus test saga: a system of its own in a folder of its own, and the crash matrix of a saga on it.
 *
 *     FOLDER/state    its state folder, as any other: ficus status, logs, saga, events look at it while it runs
 *     FOLDER/crash    a page for each process (io_crash.h)
 *
 * The supervisor is a child of this process, forked before anything is open, and ends with it.
 */
#include "cli.h"

#include "io_env.h"
#include "io_socket.h"
#include "manifest.h"
#include "mem.h"
#include "program.h"
#include "saga_test.h"
#include "text.h"
#include "timefmt.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES_MAX = 512, OUT_SIZE_MAX = 16 << 20, SOCKETS_SIZE_MAX = 4096 };

struct testing {
    const struct command_call *call;
    struct arena a;
    struct conf_errors errors;
    struct manifest *m;
    const struct manifest_service *service;
    const struct saga_def *saga;
    const char *folder, *state_folder, *crash_folder;
    const char *url, *listen; /* of the gateway; listen: a set, NULL: as the manifest says */
    int64_t settle_ms;
    bool json, terminal, failed;
    size_t cell_count, bad_count;
    struct json_writer w;
    struct buf out;
    const struct saga_scenario *scenario; /* of now */
};

/* ---- what the user sees ---- */

/* On a terminal a line that the next one takes the place of. */
static void show_note(void *arg, const char *text)
{
    struct testing *t = arg;
    if (!t->json)
        dprintf(1, "%s%s: %s ...%s", t->terminal ? "\r\033[K" : "", t->scenario->name, text, t->terminal ? "" : "\n");
}

static void show_cell(void *arg, const struct matrix_cell *cell, int64_t took_ms)
{
    struct testing *t = arg;
    static const char *const words[] = {[MATRIX_OK] = "ok", [MATRIX_FAILED] = "FAILED", [MATRIX_NOBODY_DIED] = "NOBODY DIED",
                                        [MATRIX_NOT_MET] = "not met: it does not come in each run"};
    bool ok = cell->verdict == MATRIX_OK || cell->verdict == MATRIX_NOT_MET;
    const char *aim = matrix_aim_text(&t->a, &cell->aim);
    t->cell_count += took_ms > 0;
    t->bad_count += !ok;
    if (t->json)
        return;
    dprintf(1, "%s%-12s %-60s %s  %.1f s\n", t->terminal ? "\r\033[K" : "", t->scenario->name, aim == NULL ? "?" : aim,
            words[cell->verdict], (double)took_ms / 1000);
    if (!ok && cell->text != NULL)
        dprintf(1, "    %s\n", cell->text);
    if (t->terminal)
        show_note(t, "the next kill");
}

/* For a shell: as it is when it is plain. */
static void add_word(struct buf *out, const char *word)
{
    bool plain = word[0] != '\0' && strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") == strlen(word);
    (void)buf_add_str(out, plain ? " " : " '");
    for (const char *at = word; *at != '\0'; at++)
        (void)(*at == '\'' ? buf_add_str(out, "'\\''") : buf_add_char(out, *at));
    if (!plain)
        (void)buf_add_char(out, '\'');
}

/* The command of now, for this kill alone. */
static void add_repeat(struct testing *t, const struct matrix_cell *c, struct buf *out)
{
    static const char *const dropped[] = {"scenario", "process", "only", "state", "json"};
    const char *aim = matrix_aim_text(&t->a, &c->aim);
    (void)buf_printf(out, "ficus test saga %s", t->saga->name);
    for (size_t i = 0; i < t->call->given_count; i++) {
        const struct command_given *g = &t->call->given[i];
        bool kept = true;
        for (size_t k = 0; k < ARRAY_COUNT(dropped); k++)
            kept = kept && strcmp(g->option->name, dropped[k]) != 0;
        if (!kept)
            continue;
        (void)buf_printf(out, " --%s", g->option->name);
        if (g->option->value != NULL)
            add_word(out, g->value);
    }
    (void)buf_printf(out, " --scenario %s --only", t->scenario->name);
    add_word(out, aim == NULL ? "?" : aim);
}

static void print_failures(struct testing *t, const struct matrix *m, struct buf *out)
{
    for (const struct matrix_cell *c = m->cells; c != NULL; c = c->next) {
        const char *aim = c->verdict == MATRIX_OK || c->verdict == MATRIX_NOT_MET ? NULL : matrix_aim_text(&t->a, &c->aim);
        if (aim == NULL)
            continue;
        (void)buf_printf(out, "\n%s: %s\n  again: ", aim,
                         c->verdict == MATRIX_NOBODY_DIED ? "nobody died there, though undisturbed runs write so often: this kill was not tested"
                         : c->text == NULL                ? "failed"
                                                          : c->text);
        add_repeat(t, c, out);
        (void)buf_add_char(out, '\n');
    }
}

static void print_matrix(struct testing *t, const struct matrix *m)
{
    struct buf out;
    buf_init(&out, OUT_SIZE_MAX);
    (void)buf_printf(&out, "%s\n%s, scenario %s: %zu kills, %zu failed, %zu not met\n", t->terminal ? "\r\033[K" : "", t->saga->name, t->scenario->name,
                     m->cell_count - m->not_met_count, m->bad_count, m->not_met_count);
    matrix_print(m, &out);
    print_failures(t, m, &out);
    (void)buf_add_char(&out, '\n');
    cli_print(buf_slice(&out));
    buf_done(&out);
}

/* ---- what is to be tested ---- */

/* False: said why. */
static bool find_saga(struct testing *t, const char *name)
{
    const char *names[NAMES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < t->m->service_count; i++)
        for (size_t k = 0; k < t->m->services[i].saga_count; k++) {
            const struct saga_def *d = &t->m->services[i].sagas[k];
            if (strcmp(d->name, name) == 0) {
                t->service = &t->m->services[i];
                t->saga = d;
            }
            if (count < NAMES_MAX)
                names[count++] = d->name;
        }
    const char *near = t->saga != NULL ? NULL : text_nearest(slice_str(name), names, count);
    if (t->saga == NULL)
        dprintf(2, "ficus: %s has no saga \"%s\"%s%s%s\n", t->m->file, name, near == NULL ? "" : "; did you mean \"",
                near == NULL ? "" : near, near == NULL ? "" : "\"?");
    else if (t->saga->scenario_count == 0)
        dprintf(2, "ficus: %s:%u: the saga \"%s\" does not say how it is tested: give it a test, such as\n\n"
                "    test:\n      good: { start: [./test/start], check: [./test/check], ends: completed }\n\n"
                "docs/sagas-testing.md says what these programs do\n", t->saga->node->file, t->saga->node->line, name);
    return t->saga != NULL && t->saga->scenario_count > 0;
}

static bool wanted(const struct testing *t, const struct saga_scenario *s)
{
    const char *only = command_value(t->call, "scenario", NULL);
    return only == NULL || strcmp(only, s->name) == 0;
}

/* False: said why. */
static bool check_scenarios(struct testing *t)
{
    const char *names[NAMES_MAX];
    size_t count = 0, chosen = 0;
    for (size_t i = 0; i < t->saga->scenario_count; i++) {
        const struct saga_scenario *s = &t->saga->scenarios[i];
        const struct {
            const char *word;
            const struct saga_program *program;
        } programs[] = {{"prepare", &s->prepare}, {"start", &s->start}, {"check", &s->check}};
        if (count < NAMES_MAX)
            names[count++] = s->name;
        chosen += wanted(t, s);
        for (size_t k = 0; k < ARRAY_COUNT(programs); k++) {
            const char *path;
            if (programs[k].program->count > 0 && !program_find(&t->a, t->service->folder, programs[k].program->words[0], &path))
                conf_error_value(&t->errors, conf_get(s->node, programs[k].word),
                                 "%s is not there, or may not be executed: make it (chmod +x), or correct this",
                                 path == NULL ? programs[k].program->words[0] : path);
        }
    }
    const char *only = command_value(t->call, "scenario", "");
    const char *near = chosen > 0 ? NULL : text_nearest(slice_str(only), names, count);
    if (chosen == 0)
        dprintf(2, "ficus: the saga \"%s\" has no test \"%s\"%s%s%s\n", t->saga->name, only, near == NULL ? "" : "; did you mean \"",
                near == NULL ? "" : near, near == NULL ? "" : "\"?");
    cli_print_errors(&t->errors);
    return chosen > 0 && t->errors.count == 0;
}

static bool load(struct testing *t)
{
    const char *sets[COMMAND_OPTIONS_MAX];
    size_t set_count = command_values(t->call, "set", sets, COMMAND_OPTIONS_MAX);
    const struct manifest_options o = {.build = cli_program_folder(&t->a), .sets = sets, .set_count = set_count};
    if (manifest_load(&t->a, command_value(t->call, "file", "ficus.yaml"), &o, &t->m, &t->errors) == FICUS_ERR_OK)
        return find_saga(t, t->call->operands[0]) && check_scenarios(t);
    cli_print_errors(&t->errors);
    return false;
}

/* ---- its system ---- */

static const char *make_folder(struct testing *t, const char *name, struct ficus_error *reterr)
{
    const char *path = arena_printf(&t->a, "%s/%s", t->folder, name);
    if (path == NULL)
        (void)err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    else if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return path;
    else
        (void)err_sys(reterr, errno, "make folder %s", path);
    return NULL;
}

static enum ficus_err make_folders(struct testing *t, struct ficus_error *reterr)
{
    const char *given = command_value(t->call, "state", NULL), *base = getenv("TMPDIR");
    char real[PATH_MAX];
    char *made = arena_printf(&t->a, "%s/ficus-test-XXXXXX", base == NULL || base[0] != '/' ? "/tmp" : base);
    if (made == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    if (given != NULL ? mkdir(given, 0700) != 0 && errno != EEXIST : mkdtemp(made) == NULL)
        return err_sys(reterr, errno, "make folder %s", given == NULL ? made : given);
    if (realpath(given == NULL ? made : given, real) == NULL)
        return err_sys(reterr, errno, "%s", given == NULL ? made : given);
    t->folder = arena_strdup(&t->a, slice_str(real));
    t->state_folder = t->folder == NULL ? NULL : arena_printf(&t->a, "%s/state", t->folder);
    t->crash_folder = t->folder == NULL ? NULL : make_folder(t, "crash", reterr);
    if (t->state_folder == NULL || t->crash_folder == NULL)
        return t->state_folder == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : reterr->code;
    if (access(t->state_folder, F_OK) == 0)
        return err_set(reterr, FICUS_ERR_EXISTS, "%s is there from a test before: remove %s, or name another folder", t->state_folder,
                       t->folder);
    return setenv("FICUS_STATE", t->state_folder, 1) == 0 ? FICUS_ERR_OK : err_sys(reterr, errno, "environment");
}

/* A port that is free now; who takes it in the next moment makes the start fail, which says so. */
static enum ficus_err choose_address(struct testing *t, struct ficus_error *reterr)
{
    const char *sets[COMMAND_OPTIONS_MAX];
    size_t count = command_values(t->call, "set", sets, COMMAND_OPTIONS_MAX);
    bool given = false;
    int fd = -1;
    t->url = "";
    if (t->m->gateway == NULL)
        return FICUS_ERR_OK;
    const char *scheme = t->m->gateway->tls != NULL ? "https" : "http";
    for (size_t i = 0; i < count; i++)
        given = given || slice_starts(slice_str(sets[i]), SLICE("gateway.listen="));
    if (given) {
        t->url = arena_printf(&t->a, "%s://%s", scheme, t->m->gateway->listen);
        return FICUS_ERR_OK;
    }
    enum ficus_err err = socket_listen("tcp:127.0.0.1:0", &fd, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    unsigned port = socket_port(fd);
    close(fd);
    t->listen = arena_printf(&t->a, "gateway.listen=127.0.0.1:%u", port);
    t->url = arena_printf(&t->a, "%s://127.0.0.1:%u", scheme, port);
    return t->listen == NULL || t->url == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
}

/* ---- the runs ---- */

static enum ficus_err map_pages(struct testing *t, struct saga_test *test, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < t->m->process_count && err == FICUS_ERR_OK; i++)
        err = saga_test_page(test, t->crash_folder, t->m->processes[i].name, reterr);
    return err;
}

/* One scenario; what is wrong with it is printed. */
static enum ficus_err run_scenario(struct testing *t, struct cli *cli, const struct matrix_aim *only, struct ficus_error *reterr)
{
    char real[PATH_MAX];
    struct arena a;
    struct matrix m;
    const char *bin = cli_program_folder(&t->a), *path = getenv("PATH");
    arena_init(&a, MANIFEST_ARENA_SIZE_MAX);
    matrix_init(&m, &a);
    struct saga_test test = {.env = cli->e,
                             .arena = &a,
                             .state = &cli->state,
                             .url = t->url,
                             .manifest = realpath(t->m->file, real) == NULL ? t->m->file : real,
                             .folder = t->service->folder,
                             .path = arena_printf(&t->a, "%s:%s", bin == NULL ? "" : bin, path == NULL ? "/usr/bin:/bin" : path),
                             .saga = t->saga,
                             .scenario = t->scenario,
                             .settle_ms = t->settle_ms,
                             .note = show_note,
                             .on_cell = show_cell,
                             .arg = t};
    enum ficus_err err = test.path == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : map_pages(t, &test, reterr);
    if (err == FICUS_ERR_OK)
        err = saga_test_run(&test, &m, command_value(t->call, "process", NULL), only, reterr);
    if (err != FICUS_ERR_OK)
        (void)err_wrap(reterr, "%s/%s", t->saga->name, t->scenario->name);
    if (t->json) {
        json_write_object(&t->w);
        json_write_kv_str(&t->w, "scenario", t->scenario->name);
        json_write_kv_str(&t->w, "error", err == FICUS_ERR_OK ? NULL : reterr->text);
        json_write_kv_i64(&t->w, "kills", (int64_t)m.cell_count);
        json_write_kv_i64(&t->w, "failed", (int64_t)m.bad_count);
        matrix_write(&m, &t->w);
        json_write_end(&t->w);
    } else {
        print_matrix(t, &m);
    }
    t->failed = t->failed || m.bad_count > 0 || err != FICUS_ERR_OK || m.cell_count == 0;
    if (err == FICUS_ERR_OK && m.cell_count == 0)
        err = err_set(reterr, FICUS_ERR_INVALID, "%s/%s: nobody was killed: %s writes nothing durably in it", t->saga->name,
                      t->scenario->name, command_value(t->call, "process", "any process"));
    saga_test_done(&test);
    arena_done(&a);
    return err;
}

static int run_all(struct testing *t)
{
    struct cli cli;
    struct matrix_aim aim;
    struct ficus_error error = {0};
    const char *only = command_value(t->call, "only", NULL);
    int code = EXIT_OK;
    if (!cli_init(&cli, t->call))
        code = EXIT_FAILED;
    if (code == EXIT_OK && only != NULL && matrix_aim_parse(&t->a, only, &aim, &error) != FICUS_ERR_OK)
        code = cli_fail(&error);
    json_write_init(&t->w, &t->out);
    json_write_object(&t->w);
    json_write_kv_str(&t->w, "saga", t->saga->name);
    json_write_key(&t->w, "scenarios");
    json_write_array(&t->w);
    for (size_t i = 0; i < t->saga->scenario_count && code == EXIT_OK; i++) {
        t->scenario = &t->saga->scenarios[i];
        if (!wanted(t, t->scenario))
            continue;
        /* the next scenario tells something as well, unless the test itself cannot go on */
        if (run_scenario(t, &cli, only == NULL ? NULL : &aim, &error) != FICUS_ERR_OK)
            (void)cli_fail(&error);
    }
    json_write_end(&t->w);
    json_write_end(&t->w);
    (void)buf_add_char(&t->out, '\n');
    if (t->json && code == EXIT_OK)
        cli_print(buf_slice(&t->out));
    cli_done(&cli);
    return code != EXIT_OK ? code : t->failed ? EXIT_FAILED : EXIT_OK;
}

static int stop(struct testing *t)
{
    static const struct command_option purge[] = {{0, "purge", NULL, ""}};
    struct command_call call = *t->call;
    call.given_count = 0;
    const char *file = command_value(t->call, "file", NULL);
    for (size_t i = 0; i < t->call->given_count && file != NULL; i++)
        if (strcmp(t->call->given[i].option->name, "file") == 0)
            call.given[call.given_count++] = t->call->given[i];
    if (!t->failed)
        call.given[call.given_count++] = (struct command_given){.option = purge, .value = ""};
    int code = cmd_down(&call);
    char path[PATH_MAX];
    if (t->failed) {
        dprintf(2, "ficus: what was tested is in %s: FICUS_STATE=%s ficus logs\n", t->folder, t->state_folder);
        return code;
    }
    for (size_t i = 0; i < t->m->process_count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s.1", t->crash_folder, t->m->processes[i].name);
        (void)unlink(path);
    }
    (void)rmdir(t->crash_folder);
    (void)rmdir(t->folder); /* stays when it was given and something else is in it */
    return code;
}

/* The supervisor, and the program that runs, end with this process; the folder stays. */
static char interrupted_text[PATH_MAX + 64];

static void on_interrupt(int signum)
{
    (void)!write(2, interrupted_text, strlen(interrupted_text));
    _exit(128 + signum);
}

static void note_interrupts(const struct testing *t)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    (void)snprintf(interrupted_text, sizeof interrupted_text, "\nficus: interrupted; what was tested is in %s\n", t->folder);
    for (size_t i = 0; i < ARRAY_COUNT(signals); i++)
        (void)signal(signals[i], on_interrupt);
}

static int test(struct testing *t, int64_t wait_ms)
{
    struct ficus_error error = {0};
    if (!load(t))
        return EXIT_USAGE;
    if (make_folders(t, &error) != FICUS_ERR_OK || choose_address(t, &error) != FICUS_ERR_OK)
        return cli_fail(&error);
    t->failed = true; /* until it is known to be well */
    int code = cli_up_test(t->call, &(struct cli_up_test){.crash_folder = t->crash_folder, .listen = t->listen}, wait_ms);
    if (code != EXIT_OK) {
        dprintf(2, "ficus: what did not start is in %s\n", t->state_folder);
        return code;
    }
    t->failed = false;
    note_interrupts(t);
    code = run_all(t);
    t->failed = t->failed || code != EXIT_OK;
    int down = stop(t);
    if (!t->json && code == EXIT_OK)
        dprintf(1, "%zu kills, all as they have to be\n", t->cell_count);
    else if (!t->json && t->bad_count > 0)
        dprintf(1, "%zu kills, %zu FAILED\n", t->cell_count, t->bad_count);
    return code != EXIT_OK ? code : down;
}

int cmd_test_saga(const struct command_call *c)
{
    int64_t wait_ms, settle_ms;
    if (!cli_duration(c, "wait", "30s", &wait_ms) || !cli_duration(c, "settle", "6s", &settle_ms))
        return EXIT_USAGE;
    struct testing t = {.call = c, .settle_ms = settle_ms, .json = command_has(c, "json"), .terminal = isatty(1) == 1};
    arena_init(&t.a, 2 * (size_t)MANIFEST_ARENA_SIZE_MAX);
    buf_init(&t.out, OUT_SIZE_MAX);
    conf_errors_init(&t.errors, &t.a);
    int code = test(&t, wait_ms);
    buf_done(&t.out);
    arena_done(&t.a);
    return code;
}
