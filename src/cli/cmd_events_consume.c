/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus events consume: a member of a consumer group for programs in any language. It leases events from the hub, runs the command
 * for each, and settles by its exit code. When it dies, the command dies with it, and the lease goes to somebody else by its time.
 */
#include "cli.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CODE_DROP = 65,         /* EX_DATAERR */
    CANNOT_RUN = -1, TOO_LONG = -2,
    WAIT_MS = 5000,         /* for events, in one request */
    DRAIN_MS = 1000,        /* so long without one: there is none */
    AGAIN_MS = 500,         /* after a request without an answer */
    LEASE_COUNT = 16,
    ROUND_ARENA_SIZE = 64 << 20,
    CONFIG_SIZE_MAX = 8 << 20,  /* of a process's configuration, with the schemas of what it publishes (CONF_JSON_SIZE_MAX) */
};

static volatile sig_atomic_t is_asked_to_end;

static void on_signal(int signum)
{
    (void)signum;
    is_asked_to_end = 1;
}

/* While we have a lease, a signal lets the command end, and what is left of the lease is given back; otherwise it ends us. */
static void catch_signals(bool caught)
{
    struct sigaction sa = {.sa_handler = caught ? on_signal : SIG_DFL};
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the command ---- */

/* In the child, system calls only. */
static _Noreturn void child_main(const struct command_call *c, int input, int failed, pid_t parent)
{
    (void)signal(SIGPIPE, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGINT, SIG_DFL);
    if (setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent && dup2(input, 0) == 0)
        execvp(c->operands[1], (char *const *)(uintptr_t)&c->operands[1]);
    int error = errno;
    (void)!write(failed, &error, sizeof error); /* nobody reads it only when nobody is left */
    _exit(127);
}

static bool write_all(int fd, struct slice text)
{
    while (text.size > 0) {
        ssize_t n = write(fd, text.p, text.size);
        if (n <= 0 && errno != EINTR)
            return false;
        text = slice_from(text, n > 0 ? (size_t)n : 0);
    }
    return lseek(fd, 0, SEEK_SET) == 0;
}

/* *ret_error: an errno value; 0: it runs. */
static pid_t spawn(const struct command_call *c, struct slice event, int *ret_error)
{
    int failed[2], error = 0;
    pid_t parent = getpid(), pid = -1;
    int input = memfd_create("event", MFD_CLOEXEC);     /* a file: a command that does not read it keeps nobody waiting */
    if (input < 0 || !write_all(input, event) || pipe2(failed, O_CLOEXEC) != 0) {
        *ret_error = errno;
        if (input >= 0)
            close(input);
        return -1;
    }
    pid = fork();
    if (pid == 0)
        child_main(c, input, failed[1], parent);
    if (pid < 0)
        error = errno;
    close(failed[1]);
    close(input);
    ssize_t n = 0;
    do
        n = pid < 0 ? 0 : read(failed[0], &error, sizeof error);
    while (n < 0 && errno == EINTR);
    close(failed[0]);
    if (pid > 0 && n > 0)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    *ret_error = n > 0 || pid < 0 ? error : 0;
    return pid;
}

/* Exit code, 128 + signal, TOO_LONG or CANNOT_RUN. What it leaves running in its process group is killed. */
static int run(const struct command_call *c, struct slice event, int64_t time_ms)
{
    int error = 0, status = 0;
    int64_t end_ms = now_ms() + time_ms;
    pid_t pid = spawn(c, event, &error);
    if (error != 0) {
        dprintf(2, "ficus: run %s: %s\n", c->operands[1], strerror(error));
        return CANNOT_RUN;
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool ended = false;
    while (pidfd >= 0 && !ended && now_ms() < end_ms) {
        int64_t left = end_ms - now_ms();
        struct pollfd fd = {.fd = pidfd, .events = POLLIN};
        ended = poll(&fd, 1, left > 1000 ? 1000 : left > 0 ? (int)left : 0) > 0;
    }
    if (pidfd >= 0)
        close(pidfd);
    (void)kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return !ended ? TOO_LONG : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- what is said to the hub ---- */

struct consumer {
    struct cli *cli;
    const struct command_call *call;
    const char *name;
    bool drain, has_leased;
};

/* One POST; *ret_status 0: nobody answered. */
static int post(struct consumer *m, struct cli *once, const char *target, struct slice body, int expected, bool quiet, int *ret_status,
                const struct json **ret_root)
{
    struct ficus_error error = {0};
    struct ops_call call;
    struct slice answer = SLICE_NONE;
    const struct cli_request r = {.socket = "hub-ops.sock", .who = "the hub", .method = "POST", .target = target, .expected = expected,
                                  .quiet = quiet, .body = body};
    (void)m;
    *ret_status = 0;
    int code = target == NULL ? EXIT_FAILED : cli_call(once, &r, &call);
    if (code != EXIT_OK)
        return code;
    (void)ops_call_wait(&call, &once->a, ret_status, &answer, &error);  /* the error is cli_answer's */
    return cli_answer(once, &r, &error, *ret_status, answer, ret_root);
}

static const char *reason_of(int code, char text[64])
{
    if (code == TOO_LONG)
        snprintf(text, 64, "took too long");
    else if (code > 128)
        snprintf(text, 64, "signal %d", code - 128);
    else
        snprintf(text, 64, "exit %d", code);
    return text;
}

/* EXIT_OK: it is taken. *ret_status as of post. */
static int say(struct consumer *m, struct cli *once, const struct json *lease, const struct json *event, const char *word, const char *reason,
               int *ret_status)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, 4096);
    json_write_init(&w, &body);
    json_write_object(&w);
    json_write_kv_i64(&w, "partition", json_i64_or(json_get(lease, "partition"), 0));
    json_write_kv_i64(&w, "epoch", json_i64_or(json_get(lease, "epoch"), 0));
    json_write_kv_slice(&w, "offset", json_string_or(json_get(event, "sequence"), SLICE("0")));
    json_write_kv_str(&w, "status", word);
    if (reason != NULL)
        json_write_kv_str(&w, "reason", reason);
    json_write_end(&w);
    const char *target = arena_printf(&once->a, "/v1/groups/%s/settle", m->name);
    int said = post(m, once, target, buf_slice(&body), 204, true, ret_status, NULL);
    buf_done(&body);
    return said;
}

/* So that the partition goes on at once with somebody else. It counts as no refusal; unheard, it goes on when the lease is over. */
static void give_back(struct consumer *m, struct cli *once, const struct json *lease, const struct json *event)
{
    int status;
    if (event != NULL)
        (void)say(m, once, lease, event, "AWAY", "its member ended", &status);
}

static void tell_unsettled(struct slice id, int status)
{
    if (status == 409)
        dprintf(2, "ficus: event " SLICE_FMT ": too late; the lease is over and it comes again\n", SLICE_ARG(id));
    else if (status == 0)
        dprintf(2, "ficus: event " SLICE_FMT ": the hub did not answer what became of it; if it did not hear it, it comes again\n", SLICE_ARG(id));
    else
        dprintf(2, "ficus: event " SLICE_FMT ": the hub answered %d to what became of it; it comes again when the lease is over\n", SLICE_ARG(id), status);
}

/* False: the rest of the lease is not ours any more, or comes again. */
static bool settle(struct consumer *m, struct cli *once, const struct json *lease, const struct json *event, int code)
{
    char reason[64];
    int status;
    struct slice id = json_string_or(json_get(event, "id"), SLICE("?"));
    int said = say(m, once, lease, event, code == 0 ? "SUCCESS" : code == CODE_DROP ? "DROP" : "RETRY", code == 0 ? NULL : reason_of(code, reason),
                   &status);
    if (said != EXIT_OK)
        tell_unsettled(id, status);
    else if (code != 0)
        dprintf(2, "ficus: event " SLICE_FMT ": %s: %s\n", SLICE_ARG(id), reason_of(code, reason), code == CODE_DROP ? "dropped" : "it comes again");
    return said == EXIT_OK && code >= 0 && (code == 0 || code == CODE_DROP);
}

/* Exit code; -1: go on. */
static int work(struct consumer *m, struct cli *once, const struct json *lease)
{
    const struct json *events = json_get(lease, "events");
    int64_t time_ms = json_i64_or(json_get(lease, "lease_ms"), 0) * 9 / 10;     /* so that there is time to say so */
    const struct json *ev = events == NULL ? NULL : events->first;
    int code = 0;
    bool on = true;
    catch_signals(true);
    for (; ev != NULL && on && !is_asked_to_end; ev = on ? ev->next : NULL) {
        code = run(m->call, ev->text, time_ms);
        if (code == CANNOT_RUN)
            break;
        on = settle(m, once, lease, ev, code);
    }
    give_back(m, once, lease, ev);
    catch_signals(false);
    return code == CANNOT_RUN ? EXIT_FAILED : is_asked_to_end ? EXIT_OK : -1;
}

static int round_once(struct consumer *m, bool is_supervised)
{
    struct cli once = *m->cli; /* its answers would fill the arena */
    const struct json *lease = NULL;
    int status = 0;
    arena_init(&once.a, ROUND_ARENA_SIZE);
    const char *target = arena_printf(&once.a, "/v1/groups/%s/lease?limit=%d&wait=%d", m->name, LEASE_COUNT, m->drain ? DRAIN_MS : WAIT_MS);
    bool patient = (m->has_leased || is_supervised) && !m->drain;
    if (!patient && cli_hub_is_stopped(&once)) {
        dprintf(2, "ficus: the hub was stopped; ficus start hub\n");
        arena_done(&once.a);
        return EXIT_NOT_RUNNING;
    }
    int code = post(m, &once, target, SLICE_NONE, 200, patient, &status, &lease);
    bool answered = code == EXIT_OK;
    m->has_leased |= answered;
    const struct json *events = json_get(lease, "events");
    if (answered)
        code = events != NULL && events->count > 0 ? work(m, &once, lease) : m->drain ? EXIT_OK : -1;
    else if (patient && (status == 0 || status == 503))
        code = -1;
    else if (patient)
        dprintf(2, "ficus: the hub answered %d; is %s a group whose members lease?\n", status, m->name);
    if (!answered && code < 0)
        nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000000L}, NULL);
    arena_done(&once.a);
    return code;
}

/* As a process of a system we know its state from what the supervisor gave us. */
static enum ficus_err state_of_system(struct cli *cli, const char *config, struct ficus_error *reterr)
{
    struct slice text;
    struct json *root = NULL;
    enum ficus_err err = env_file_load(cli->e, &cli->a, config, CONFIG_SIZE_MAX, &text, reterr);
    if (err == FICUS_ERR_OK)
        err = json_parse(&cli->a, text, &(struct json_limits){.size_max = CONFIG_SIZE_MAX, .values_max = CONFIG_SIZE_MAX}, &root, reterr);
    const char *state = err == FICUS_ERR_OK ? arena_strdup(&cli->a, json_string_or(json_get(root, "state"), SLICE(""))) : NULL;
    if (state != NULL && setenv("FICUS_STATE", state, 1) == 0)
        err = state_locate(&cli->a, cli->file, &cli->state, reterr);
    return err;
}

int cmd_events_consume(const struct command_call *c)
{
    struct cli cli;
    struct ficus_error error = {0};
    const char *config = command_has(c, "file") ? NULL : getenv("FICUS_CONFIG");
    int code = EXIT_FAILED;
    if (cli_init(&cli, c)) {
        struct consumer m = {.cli = &cli, .call = c, .name = cli_segment(&cli, c->operands[0]), .drain = command_has(c, "drain")};
        code = config == NULL || state_of_system(&cli, config, &error) == FICUS_ERR_OK ? -1 : cli_fail(&error);
        if (code < 0)
            process_notify("READY=1");
        /* the command is no part of the system: what was ours to say, it must not say */
        unsetenv("NOTIFY_SOCKET");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_PID");
        while (code < 0)
            code = round_once(&m, config != NULL);
    }
    cli_done(&cli);
    return code;
}
