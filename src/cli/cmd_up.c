/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus up: in the foreground until Ctrl-C, or with -d in the background.
 *
 * In the background a child becomes the supervisor; it tells by a pipe what became of the start: one byte, 'H' for
 * healthy and then what the user is to see, or the exit code of a failure after it has said why on the terminal. By
 * then it has let go of terminal and pipes: 0, 1 and 2 lead to /dev/null and to log/supervisor.log, all else is closed.
 *
 * In an upgrade (supervisor_upgrade.c) this is the new program: as a trial, which says whether it can take over and ends; then
 * in the supervisor's own process, with its descriptors and children. What was redirected stays so. When the manifest or the disk
 * has changed between the two, it becomes the program of before again.
 */
#include "cli.h"

#include "children.h"
#include "handover.h"
#include "io_env.h"
#include "logline.h"
#include "mem.h"
#include "up.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REPORT_SIZE_MAX = 60 * 1024 }; /* a pipe takes it without waiting for its reader */

struct running {
    const struct command_call *call;
    struct env *e;
    struct arena arena;
    struct up up;
    struct logger log;
    struct supervisor *supervisor;
    struct env_timer patience;
    bool detached;
    const char *crash_folder; /* as supervisor_options'; NULL: none */
    const char *listen;       /* a set of our own, behind those of the call; NULL: none */
    int report; /* the pipe of -d: 'H' and what the user sees, or an exit code; -1 in the foreground */
    bool colour;
    int64_t wait_ms;
    const struct handover *handover; /* NULL: starts anew */
};

/* ---- what the user sees ---- */

static void healthy_text(struct running *r, struct buf *out)
{
    struct buf status;
    struct json *root = NULL;
    struct arena a;
    arena_init(&a, 4 << 20);
    buf_init(&status, 1 << 20);
    supervisor_status(r->supervisor, &status);
    if (json_parse(&a, buf_slice(&status), NULL, &root, NULL) == FICUS_ERR_OK)
        print_status(root, r->colour, out);
    if (r->up.plan.gateway_url[0] != '\0')
        buf_printf(out, "\ngateway        %s\n", r->up.plan.gateway_url);
    if (r->up.admin_email != NULL)
        buf_printf(out, "administrator  %s  password %s  (%s)\n", r->up.admin_email, r->up.admin_password,
                   r->up.state.admin_file);
    buf_printf(out, "\n%s stops everything.\n", r->report < 0 ? "Ctrl-C" : "ficus down");
    buf_done(&status);
    arena_done(&a);
}

/* The reader has given up waiting when this fails, which is its right. */
static void report(struct running *r, char what, struct slice text)
{
    if (r->report < 0)
        return;
    (void)!write(r->report, &what, 1);
    (void)!write(r->report, text.p, text.size);
    close(r->report);
    r->report = -1;
}

static void on_healthy(void *arg)
{
    struct running *r = arg;
    struct buf text;
    env_timer_stop(r->e, &r->patience);
    buf_init(&text, REPORT_SIZE_MAX);
    if (r->report >= 0 || !r->detached)
        healthy_text(r, &text);
    if (r->report >= 0)
        report(r, 'H', buf_slice(&text));
    else
        cli_print(buf_slice(&text)); /* in the background, healthy again: nobody is there, and it is empty */
    buf_done(&text);
}

static void on_patience_over(void *arg)
{
    struct running *r = arg;
    struct buf status, text;
    struct json *root = NULL;
    struct arena a;
    arena_init(&a, 4 << 20);
    buf_init(&status, 1 << 20);
    buf_init(&text, 1 << 20);
    supervisor_status(r->supervisor, &status);
    if (json_parse(&a, buf_slice(&status), NULL, &root, NULL) == FICUS_ERR_OK) {
        print_unhealthy(root, r->wait_ms, &text);
        buf_add_str(&text, "It goes on trying; Ctrl-C stops everything.\n");
        cli_print(buf_slice(&text));
    }
    buf_done(&text);
    buf_done(&status);
    arena_done(&a);
}

static void on_stopped(void *arg)
{
    struct running *r = arg;
    env_uv_stop(r->e);
}

static enum ficus_err on_reload(void *arg, struct arena *a, const struct supervisor_plan *before,
                                struct supervisor_reload *ret_reload, struct conf_errors *errors,
                                struct ficus_error *reterr)
{
    struct running *r = arg;
    return up_reload(r->e, &r->up, a, before, ret_reload, errors, reterr);
}

static void on_end_signal(void *arg, int signum)
{
    struct running *r = arg;
    LOG(&r->log, LOG_INFO, NULL, "supervisor.signal", "asked to stop by a signal", LOG_INT("signal", signum));
    if (r->report < 0 && !r->detached)
        dprintf(1, "\nstopping ...\n");
    supervisor_stop(r->supervisor);
}

static void ignore_signal(void *arg, int signum)
{
    (void)arg, (void)signum;
}

/* ---- starting ---- */

/* Before anything of ours is open: everything that came from the caller but the terminal's three (and the pipe,
 * which is re-opened above them) is closed. */
static void close_foreign(int keep)
{
    if (keep > 3)
        (void)close_range(3, (unsigned)keep - 1, 0);
    (void)close_range(keep < 3 ? 3 : (unsigned)keep + 1, ~0u, 0);
}

/* fd 2 becomes the supervisor's log; in the background 0 and 1 lead nowhere. */
static enum ficus_err redirect(struct running *r, struct ficus_error *reterr)
{
    const char *path = arena_printf(&r->arena, "%s/supervisor.log", r->up.state.log);
    if (path == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        return err_sys(reterr, errno, "open %s", path);
    bool ok = dup2(log, 2) == 2 && setenv("FICUS_LOG", path, 1) == 0;
    close(log);
    if (ok && r->detached) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        ok = null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1;
        if (null >= 0)
            close(null);
    }
    return ok ? FICUS_ERR_OK : err_sys(reterr, errno, "redirect the supervisor's output");
}

/* before: the plan that another one runs, to be taken over; NULL: start. */
static enum ficus_err prepare(struct running *r, const struct supervisor_plan *before, struct conf_errors *errors, struct ficus_error *reterr)
{
    const char *sets[COMMAND_OPTIONS_MAX];
    size_t set_count = command_values(r->call, "set", sets, COMMAND_OPTIONS_MAX);
    const char **kept = ARENA_ARRAY(&r->arena, const char *, set_count + 2);
    struct env *e = env_uv_new(NULL, reterr);
    if (e == NULL || kept == NULL) {
        env_uv_free(e);
        return e == NULL ? reterr->code : err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    }
    memcpy(kept, sets, set_count * sizeof sets[0]);
    if (r->listen != NULL)
        kept[set_count++] = r->listen;
    const char *file = command_value(r->call, "file", "ficus.yaml"), *build = cli_program_folder(&r->arena);
    enum ficus_err err = before == NULL ? up_prepare(e, &r->arena, file, build, kept, set_count, &r->up, errors, reterr)
                                        : up_take_over(&r->arena, file, build, kept, set_count, before, &r->up, errors, reterr);
    env_uv_free(e);
    return err;
}

static enum ficus_err start(struct running *r, struct ficus_error *reterr)
{
    struct supervisor_options o = {.plan = &r->up.plan,
                                    .log = &r->log,
                                    .crash_folder = r->crash_folder,
                                    .reload = on_reload,
                                    .version = FICUS_VERSION,
                                    .program = r->crash_folder == NULL ? r->up.program : NULL, /* a test ends with the one who began it */
                                    .lock_fd = r->up.lock_fd,
                                    .handover = r->handover,
                                    .on_healthy = on_healthy,
                                    .on_stopped = on_stopped,
                                    .arg = r};
    static const int ends[] = {SIGINT, SIGTERM};
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < ARRAY_COUNT(ends) && err == FICUS_ERR_OK; i++)
        err = env_uv_signal(r->e, ends[i], on_end_signal, r, reterr);
    if (err == FICUS_ERR_OK) /* a terminal that goes away ends what runs in it; in the background there is none */
        err = env_uv_signal(r->e, SIGHUP, r->detached ? ignore_signal : on_end_signal, r, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    r->patience = (struct env_timer){.fn = on_patience_over, .arg = r};
    if (!r->detached && r->handover == NULL)
        env_timer_start(r->e, &r->patience, r->wait_ms);
    return supervisor_new(r->e, &o, &r->supervisor, reterr);
}

/* errors_to: where people read why it did not start. */
static int run(struct running *r, int errors_to)
{
    struct ficus_error error = {0};
    r->e = env_uv_new(NULL, &error);
    if (r->e == NULL) {
        dprintf(errors_to, "ficus: %s\n", error.text);
        return EXIT_FAILED;
    }
    logger_init(&r->log, r->e, "supervisor", "1", LOG_INFO);
    int code = EXIT_OK;
    if (start(r, &error) == FICUS_ERR_OK) {
        if (r->handover != NULL)
            handover_signals();
        else if (r->detached)
            close(errors_to); /* the terminal is let go before health is reported */
        env_uv_run(r->e);
    } else {
        dprintf(errors_to, "ficus: %s\n", error.text);
        LOG(&r->log, LOG_ERROR, NULL, "supervisor.start", "cannot start", LOG_ERR(&error));
        code = EXIT_FAILED;
    }
    supervisor_free(r->supervisor);
    env_uv_free(r->e);
    logger_done(&r->log);
    return code;
}

static int up(struct running *r)
{
    struct conf_errors errors;
    struct ficus_error error = {0};
    arena_init(&r->arena, 2 * (size_t)MANIFEST_ARENA_SIZE_MAX);
    conf_errors_init(&errors, &r->arena);
    umask(077);
    int code = EXIT_OK, errors_to = -1;
    enum ficus_err err = prepare(r, NULL, &errors, &error);
    if (err != FICUS_ERR_OK && errors.count > 0) {
        cli_print_errors(&errors);
        code = EXIT_USAGE;
    } else if (err != FICUS_ERR_OK || (errors_to = fcntl(2, F_DUPFD_CLOEXEC, 3)) < 0 ||
               redirect(r, &error) != FICUS_ERR_OK) {
        code = cli_fail(&error);
    } else {
        code = run(r, errors_to);
    }
    up_done(&r->up);
    arena_done(&r->arena);
    return code;
}

/* ---- in the place of another program ---- */

static enum ficus_err write_files(struct running *r, struct ficus_error *reterr)
{
    struct env *e = env_uv_new(NULL, reterr);
    enum ficus_err err = e == NULL ? reterr->code : up_write(e, &r->up, reterr);
    env_uv_free(e);
    return err;
}

/* The plan that runs, as far as the handover tells. */
static bool plan_before(struct arena *a, const struct handover *h, struct supervisor_plan *ret_plan)
{
    static const char *const unknown[] = {NULL};
    struct supervisor_process *list = ARENA_ARRAY(a, struct supervisor_process, h->count + 1);
    for (size_t i = 0; list != NULL && i < h->count; i++) {
        list[i] = (struct supervisor_process){.name = h->processes[i].name, .argv = unknown, .folder = "", .listen_count = h->processes[i].listen_count};
        memcpy(list[i].listen, h->processes[i].listen, sizeof list[i].listen);
    }
    *ret_plan = (struct supervisor_plan){.processes = list, .process_count = h->count};
    return list != NULL;
}

/* Only when all else has failed. */
static void give_back(struct running *r, const struct handover *h, const struct conf_errors *errors, const struct ficus_error *error)
{
    char path[PATH_MAX];
    struct handover back = *h;
    struct ficus_error wrong = {0};
    char number[64];
    snprintf(number, sizeof number, "/proc/self/fd/%d", h->previous);
    ssize_t n = h->previous < 0 ? -1 : readlink(number, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *const *argv = handover_argv(&r->arena, path);
    back.failed = arena_printf(&r->arena, "ficus " FICUS_VERSION " could not take over: %s", error->text);
    back.previous = -1;
    if (n > 0 && argv != NULL && back.failed != NULL)
        (void)handover_exec(&back, h->previous, argv, &wrong);
    cli_print_errors(errors);
}

static int take_over(struct running *r, int fd, bool trial)
{
    struct handover h;
    struct conf_errors errors;
    struct ficus_error error = {0};
    struct supervisor_plan before;
    arena_init(&r->arena, 2 * (size_t)MANIFEST_ARENA_SIZE_MAX);
    conf_errors_init(&errors, &r->arena);
    (void)prctl(PR_SET_NAME, "ficus"); /* it would be the number of a descriptor */
    (void)unsetenv(trial ? HANDOVER_TRIAL_VARIABLE : HANDOVER_VARIABLE);
    enum ficus_err err = handover_load(&r->arena, fd, &h, &error);
    close(fd);
    if (err != FICUS_ERR_OK)
        return cli_fail(&error);
    if (!trial)
        handover_keep(&h, false);
    err = plan_before(&r->arena, &h, &before) ? prepare(r, &before, &errors, &error) : err_set(&error, FICUS_ERR_NOMEM, "out of memory");
    if (err == FICUS_ERR_OK && !trial && write_files(r, &error) != FICUS_ERR_OK && h.failed == NULL)
        err = error.code; /* when we are back, what was written before is good enough to go on with */
    int code = EXIT_OK;
    if (trial && err == FICUS_ERR_OK) {
        cli_print(SLICE("ficus " FICUS_VERSION " " HANDOVER_TRIAL_WORDS));
    } else if (trial) {
        cli_print_errors(&errors);
        code = errors.count > 0 ? EXIT_USAGE : cli_fail(&error);
    } else {
        if (err != FICUS_ERR_OK) {
            give_back(r, &h, &errors, &error);
            return cli_fail(&error); /* nobody could take it back: our end is that of what runs */
        }
        if (h.previous >= 0)
            close(h.previous);
        r->handover = &h;
        r->up.lock_fd = h.lock_fd;
        code = run(r, 2);
        up_done(&r->up);
    }
    arena_done(&r->arena);
    return code;
}

/* The descriptor of a handover; -1: there is none. */
static int handover_variable(const char *name)
{
    uint64_t fd;
    const char *text = getenv(name);
    return text != NULL && slice_to_u64(slice_str(text), &fd) && fd > 2 && fd < INT_MAX ? (int)fd : -1;
}

/* ---- in the background ---- */

/* What does not run and why, asked from the supervisor. */
static int not_healthy(const struct command_call *c, int64_t wait_ms)
{
    struct cli cli;
    struct buf text;
    int code;
    buf_init(&text, 1 << 20);
    if (cli_init(&cli, c)) {
        struct slice ignored;
        const struct json *status = cli_status(&cli, &ignored, &code);
        if (status != NULL)
            print_unhealthy(status, wait_ms, &text);
        dprintf(2, "ficus: %sIt goes on trying: ficus status shows how far it is, ficus down stops everything.\n",
                buf_str(&text));
    }
    cli_done(&cli);
    buf_done(&text);
    return EXIT_NOT_HEALTHY;
}

/* quiet: what it says when all is well is not printed. */
static int wait_for_report(const struct command_call *c, int fd, int64_t wait_ms, bool quiet)
{
    struct pollfd report = {.fd = fd, .events = POLLIN};
    char what = 0;
    int rc = poll(&report, 1, wait_ms > INT_MAX ? INT_MAX : (int)wait_ms);
    if (rc == 0)
        return not_healthy(c, wait_ms);
    if (rc < 0 || read(fd, &what, 1) != 1) {
        dprintf(2, "ficus: the supervisor has ended; see log/supervisor.log in the state folder\n");
        return EXIT_FAILED;
    }
    if (what != 'H')
        return what;
    char text[4096];
    ssize_t n;
    while ((n = read(fd, text, sizeof text)) > 0 && !quiet)
        cli_print(slice_make(text, (size_t)n));
    return EXIT_OK;
}

static int detach(const struct command_call *c, const struct cli_up_test *test, int64_t wait_ms)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return cli_fail(&(struct ficus_error){.code = err_from_errno(errno)});
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return cli_fail(&(struct ficus_error){.code = err_from_errno(errno)});
    if (pid == 0) {
        struct running r = {.call = c, .report = ends[1], .detached = true, .colour = cli_colour(1), .wait_ms = wait_ms};
        if (test != NULL) {
            r.crash_folder = test->crash_folder;
            r.listen = test->listen;
            (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* a test that is killed leaves no system behind */
            if (getppid() != parent)
                _exit(EXIT_FAILED);
        }
        setsid();
        close_foreign(ends[1]);
        int code = up(&r);
        report(&r, (char)code, SLICE_NONE);
        _exit(code);
    }
    close(ends[1]);
    int code = wait_for_report(c, ends[0], wait_ms, test != NULL);
    close(ends[0]);
    return code;
}

int cli_up_test(const struct command_call *c, const struct cli_up_test *test, int64_t wait_ms)
{
    return detach(c, test, wait_ms);
}

int cmd_up(const struct command_call *c)
{
    int64_t wait_ms;
    if (!cli_duration(c, "wait", "30s", &wait_ms))
        return EXIT_USAGE;
    int trial = handover_variable(HANDOVER_TRIAL_VARIABLE), handover = handover_variable(HANDOVER_VARIABLE);
    if (trial >= 0 || handover >= 0) {
        struct running r = {.call = c, .report = -1, .detached = command_has(c, "detach"), .colour = cli_colour(1), .wait_ms = wait_ms};
        return take_over(&r, trial >= 0 ? trial : handover, trial >= 0);
    }
    if (command_has(c, "detach"))
        return detach(c, NULL, wait_ms);
    struct running r = {.call = c, .report = -1, .colour = cli_colour(1), .wait_ms = wait_ms};
    return up(&r);
}
