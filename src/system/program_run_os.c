/* SPDX-License-Identifier: Apache-2.0
 *
 * See program.h. Both outputs are read until the program has ended or its time is over; a pipe that somebody else still holds then
 * keeps nobody waiting.
 */
#include "program.h"

#include "buf.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ENVIRONMENT_MAX = 4096 };

struct running {
    pid_t pid;
    int pidfd, ends[2]; /* what we read of its outputs; -1: at its end */
    struct buf texts[2];
    size_t output_max;
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool is_named(const char *variable, const char *const *list)
{
    const char *equals = strchr(variable, '=');
    size_t size = equals == NULL ? 0 : (size_t)(equals - variable) + 1;
    for (size_t i = 0; size > 0 && list[i] != NULL; i++)
        if (strncmp(variable, list[i], size) == 0)
            return true;
    return slice_starts(slice_str(variable), SLICE("FICUS_"));
}

/* NULL: out of memory. */
static const char **environment(struct arena *a, const char *const *own)
{
    size_t count = 1, at = 0;
    for (char **v = environ; *v != NULL && count < ENVIRONMENT_MAX; v++)
        count++;
    for (size_t i = 0; own[i] != NULL; i++)
        count++;
    const char **list = ARENA_ARRAY(a, const char *, count);
    for (char **v = environ; list != NULL && *v != NULL && at < ENVIRONMENT_MAX - 1; v++)
        if (!is_named(*v, own))
            list[at++] = *v;
    for (size_t i = 0; list != NULL && own[i] != NULL; i++)
        list[at++] = own[i];
    return list;
}

/* In the child, system calls only. It dies with us: a program that repeats until it is answered would do so for ever. */
static _Noreturn void child_main(const struct program_call *c, const char **variables, const int *outputs, int failed, pid_t parent)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)signal(SIGPIPE, SIG_DFL); /* ignored here */
    bool ok = setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent && null >= 0 && dup2(null, 0) == 0 &&
              dup2(outputs[0], 1) == 1 && dup2(outputs[1], 2) == 2 && chdir(c->folder) == 0;
    if (ok)
        execvpe(c->argv[0], (char *const *)(uintptr_t)c->argv, (char *const *)(uintptr_t)variables);
    int error = errno;
    (void)!write(failed, &error, sizeof error); /* nobody reads it only when nobody is left */
    _exit(127);
}

/* An errno value; 0: it runs. */
static int spawn(const struct program_call *c, const char **variables, const int *outputs, pid_t *ret_pid)
{
    int failed[2], error = 0;
    pid_t parent = getpid();
    if (pipe2(failed, O_CLOEXEC) != 0)
        return errno;
    pid_t pid = fork();
    if (pid == 0)
        child_main(c, variables, outputs, failed[1], parent);
    if (pid < 0)
        error = errno;
    close(failed[1]);
    ssize_t n = 0;
    do
        n = pid < 0 ? 0 : read(failed[0], &error, sizeof error);
    while (n < 0 && errno == EINTR);
    close(failed[0]);
    if (pid > 0 && n > 0)
        (void)waitpid(pid, NULL, 0); /* it has never become what it should */
    *ret_pid = pid;
    return error;
}

static void take(struct running *r, int which)
{
    char piece[4096];
    ssize_t n = read(r->ends[which], piece, sizeof piece);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        close(r->ends[which]);
        r->ends[which] = -1;
        return;
    }
    size_t room = r->output_max - buf_slice(&r->texts[which]).size;
    (void)buf_add(&r->texts[which], piece, (size_t)n < room ? (size_t)n : room); /* what does not fit is left out */
}

/* True: it has ended. */
static bool read_until(struct running *r, int64_t end_ms)
{
    for (;;) {
        int64_t left = end_ms - now_ms();
        struct pollfd fds[3] = {{.fd = r->ends[0], .events = POLLIN}, {.fd = r->ends[1], .events = POLLIN},
                                {.fd = r->pidfd, .events = POLLIN}};
        if (left <= 0)
            return false;
        int n = poll(fds, 3, left > 1000 ? 1000 : (int)left);
        for (int i = 0; i < 2 && n > 0; i++)
            if (fds[i].revents != 0)
                take(r, i);
        /* the outputs first: what it wrote last is there when it has ended */
        if (n > 0 && fds[2].revents != 0 && fds[0].revents == 0 && fds[1].revents == 0)
            return true;
    }
}

static int reap(struct running *r, bool ended)
{
    int status = 0;
    (void)kill(-r->pid, SIGKILL);
    while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!ended)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static enum ficus_err run_to_end(struct arena *a, const struct program_call *c, struct running *r, struct program_end *ret_end,
                                 struct ficus_error *reterr)
{
    r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    if (r->pidfd < 0) {
        int error = errno;
        (void)reap(r, false);
        return err_sys(reterr, error, "watch %s", c->argv[0]);
    }
    bool ended = read_until(r, now_ms() + c->timeout_ms);
    *ret_end = (struct program_end){.status = reap(r, ended)};
    close(r->pidfd);
    ret_end->output = arena_strdup(a, buf_slice(&r->texts[0]));
    ret_end->errors = arena_strdup(a, buf_slice(&r->texts[1]));
    bool lacks = ret_end->output == NULL || ret_end->errors == NULL || buf_failed(&r->texts[0]) || buf_failed(&r->texts[1]);
    return lacks ? err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", c->argv[0]) : FICUS_ERR_OK;
}

enum ficus_err program_run(struct arena *a, const struct program_call *c, struct program_end *ret_end, struct ficus_error *reterr)
{
    struct running r = {.pidfd = -1, .ends = {-1, -1}, .output_max = c->output_max};
    int writers[2] = {-1, -1};
    const char **variables = environment(a, c->environment);
    enum ficus_err err = variables == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", c->argv[0]) : FICUS_ERR_OK;
    for (int i = 0; i < 2; i++) {
        int ends[2];
        buf_init(&r.texts[i], c->output_max + 1);
        if (err == FICUS_ERR_OK && pipe2(ends, O_CLOEXEC) != 0) {
            err = err_sys(reterr, errno, "run %s", c->argv[0]);
        } else if (err == FICUS_ERR_OK) {
            r.ends[i] = ends[0];
            writers[i] = ends[1];
        }
    }
    int failed = err != FICUS_ERR_OK ? 0 : spawn(c, variables, writers, &r.pid);
    if (failed != 0)
        err = err_sys(reterr, failed, "run %s", c->argv[0]);
    for (int i = 0; i < 2; i++)
        if (writers[i] >= 0)
            close(writers[i]);
    if (err == FICUS_ERR_OK)
        err = run_to_end(a, c, &r, ret_end, reterr);
    for (int i = 0; i < 2; i++) {
        if (r.ends[i] >= 0)
            close(r.ends[i]);
        buf_done(&r.texts[i]);
    }
    return err;
}
