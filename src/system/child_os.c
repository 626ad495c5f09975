/* SPDX-License-Identifier: Apache-2.0
 *
 * fork, gate, exec. Everything that allocates happens before fork; the child only makes system calls. Failure modes:
 * what goes wrong in the child is written to its log and ends it with status 127 (126 when the gate closed).
 */
#include "child.h"

#include "arena.h"
#include "buf.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
    FIRST_SOCKET = 3, /* SD_LISTEN_FDS_START */
    PARKING = 64,     /* descriptors are moved up here first, so that none is overwritten */
    PID_DIGITS = 20,
    ENVIRONMENT_MAX = 4096,
};

struct prepared {
    const struct child_spec *spec;
    char **environment;
    char *listen_pid; /* where the child writes its own pid; NULL without sockets */
    int gate;
    pid_t parent;
};

static bool is_ours(const char *variable)
{
    struct slice s = slice_str(variable);
    return slice_starts(s, SLICE("FICUS_")) || slice_starts(s, SLICE("LISTEN_")) ||
           slice_starts(s, SLICE("NOTIFY_SOCKET="));
}

static bool make_environment(struct prepared *p, struct arena *a)
{
    const struct child_spec *spec = p->spec;
    size_t count = 0, at = 0;
    for (char **v = environ; *v != NULL && count < ENVIRONMENT_MAX; v++)
        count++;
    for (const char *const *v = spec->environment; *v != NULL; v++)
        count++;
    char **list = ARENA_ARRAY(a, char *, count + 4);
    if (list == NULL)
        return false;
    for (char **v = environ; *v != NULL && at < ENVIRONMENT_MAX; v++)
        if (!is_ours(*v))
            list[at++] = *v;
    for (const char *const *v = spec->environment; *v != NULL; v++)
        list[at++] = arena_strdup(a, slice_str(*v));
    if (spec->socket_count > 0) {
        struct buf names;
        buf_init(&names, 1024);
        for (size_t i = 0; i < spec->socket_count; i++)
            buf_printf(&names, "%s%s", i == 0 ? "LISTEN_FDNAMES=" : ":", spec->socket_names[i]);
        list[at++] = buf_failed(&names) ? NULL : arena_strdup(a, buf_slice(&names));
        buf_done(&names);
        list[at++] = arena_printf(a, "LISTEN_FDS=%zu", spec->socket_count);
        list[at] = arena_printf(a, "LISTEN_PID=%*s", PID_DIGITS, "");
        if (list[at] != NULL)
            p->listen_pid = list[at] + strlen("LISTEN_PID=");
    }
    p->environment = list;
    return !arena_overflowed(a) && (spec->socket_count == 0 || (p->listen_pid != NULL && list[at - 2] != NULL));
}

/* ---- in the child: async-signal-safe calls only ---- */

static void say(const char *what, const char *which)
{
    int error = errno;
    const char *parts[] = {"ficus: ", what, " ", which, ": ", strerrordesc_np(error), "\n"};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        (void)!write(2, parts[i], parts[i] == NULL ? 0 : strlen(parts[i]));
}

static void put_pid(char *at)
{
    char digits[PID_DIGITS];
    size_t count = 0;
    for (pid_t pid = getpid(); pid > 0; pid /= 10)
        digits[count++] = (char)('0' + pid % 10);
    while (count > 0)
        *at++ = digits[--count];
    *at = '\0';
}

static void reset_signals(void)
{
    for (int signum = 1; signum < NSIG; signum++)
        (void)signal(signum, SIG_DFL); /* KILL and STOP refuse, which is fine */
    (void)signal(SIGHUP, SIG_IGN); /* says that there is a new file: who does not know it, or has not read it yet, lives on */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool place_descriptors(const struct prepared *p)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int log = open(p->spec->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) {
        say("open", p->spec->log_path);
        return false;
    }
    int parked[CHILD_SOCKETS_MAX];
    for (size_t i = 0; i < p->spec->socket_count; i++)
        if ((parked[i] = fcntl(p->spec->sockets[i], F_DUPFD_CLOEXEC, PARKING)) < 0)
            return false;
    for (size_t i = 0; i < p->spec->socket_count; i++)
        if (dup2(parked[i], FIRST_SOCKET + (int)i) < 0)
            return false;
    return true;
}

static _Noreturn void child_main(const struct prepared *p)
{
    setsid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != p->parent)
        _exit(126);
    reset_signals();
    int gate = fcntl(p->gate, F_DUPFD_CLOEXEC, PARKING);
    char go = 0;
    ssize_t n;
    if (gate < 0 || !place_descriptors(p))
        _exit(127);
    do
        n = read(gate, &go, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        _exit(126);
    if (chdir(p->spec->folder) != 0) {
        say("cannot enter", p->spec->folder);
        _exit(127);
    }
    if (p->listen_pid != NULL)
        put_pid(p->listen_pid);
    const char *file = p->spec->file != NULL ? p->spec->file : p->spec->argv[0];
    execvpe(file, (char *const *)(uintptr_t)p->spec->argv, p->environment);
    say("cannot run", file);
    _exit(127);
}

/* ---- in the supervisor ---- */

enum ficus_err child_spawn(const struct child_spec *spec, int64_t *ret_pid, int *ret_gate, struct ficus_error *reterr)
{
    struct arena a;
    struct prepared p = {.spec = spec, .parent = getpid()};
    int gate[2];
    if (spec->socket_count > CHILD_SOCKETS_MAX)
        return err_set(reterr, FICUS_ERR_INVALID, "start %s: %zu sockets, at most %d are allowed", spec->argv[0],
                       spec->socket_count, CHILD_SOCKETS_MAX);
    arena_init(&a, 1 << 20);
    if (!make_environment(&p, &a)) {
        arena_done(&a);
        return err_set(reterr, FICUS_ERR_NOMEM, "start %s: out of memory", spec->argv[0]);
    }
    if (pipe2(gate, O_CLOEXEC) != 0) {
        arena_done(&a);
        return err_sys(reterr, errno, "start %s", spec->argv[0]);
    }
    p.gate = gate[0];
    /* Blocked until the child has reset its handlers: ours would tell our loop about the child's signals. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        close(gate[1]); /* with it open the child would never notice that we died */
        child_main(&p);
    }
    int error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(gate[0]);
    arena_done(&a);
    if (pid < 0) {
        close(gate[1]);
        return err_sys(reterr, error, "start %s", spec->argv[0]);
    }
    *ret_pid = pid;
    *ret_gate = gate[1];
    return FICUS_ERR_OK;
}

void child_release(int gate)
{
    (void)!write(gate, "g", 1); /* fails only when the child is dead already, and SIGCHLD tells that */
    close(gate);
}
