/* SPDX-License-Identifier: Apache-2.0
 *
 * The notify socket (sd_notify convention): datagrams of lines, "READY=1", "STATUS=what `ficus status` is to say of it",
 * and "RELOADED=1" when it is done with a SIGHUP. Who sent one is what the kernel says (SO_PASSCRED), so a process can only speak for itself and for the session
 * that it belongs to.
 */
#include "supervisor_private.h"

#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { DATAGRAMS_PER_TURN = 64 };

/* It is ready: what it said before is over, unless it says so again. True: it is. */
static bool take(struct supervised *p, struct slice text)
{
    bool ready = false;
    while (text.p != NULL && text.size > 0) {
        struct slice line = slice_cut(&text, '\n');
        if (slice_eq_str(line, "READY=1")) {
            ready = true;
            p->reloading = false; /* one that came before it knew the signal was not needed */
            p->message[0] = '\0';
        } else if (slice_eq_str(line, "RELOADED=1")) {
            p->reloading = false;
            p->message[0] = '\0';
        } else if (slice_starts(line, SLICE("STATUS="))) {
            struct slice says = slice_from(line, sizeof "STATUS=" - 1);
            bool valid = text_utf8_valid(says);
            p->message_is_end = false;
            (void)snprintf(p->message, sizeof p->message, "%.*s", valid ? (int)says.size : 0, valid ? says.p : "");
            for (char *at = p->message; *at != '\0'; at++)
                if ((unsigned char)*at < ' ' || *at == 0x7f)
                    *at = '?'; /* it is shown on terminals */
        }
    }
    return ready;
}

/* Of the one that is to take its place only one thing matters. */
static void take_next(struct supervised *p, struct slice text)
{
    while (text.p != NULL && text.size > 0) {
        if (!slice_eq_str(slice_cut(&text, '\n'), "READY=1"))
            continue;
        LOG(p->s->o.log, LOG_INFO, NULL, "process.replaced", "process is ready and takes the place of the one before",
            LOG_STR("process", p->process->name), LOG_INT("pid", p->next.pid), LOG_INT("before", p->record.pid));
        supervisor_event(p, UNIT_NEXT_READY);
        return;
    }
}

/* The sender's pid and its text; false when nothing is left. A datagram without credentials comes with pid 0. */
static bool receive(int fd, char *text, size_t size, size_t *ret_size, int64_t *ret_pid)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    do
        n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return false;
    *ret_size = (size_t)n;
    *ret_pid = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
            continue;
        struct ucred cred;
        memcpy(&cred, CMSG_DATA(c), sizeof cred);
        *ret_pid = cred.pid;
    }
    return true;
}

static void on_notify(void *arg)
{
    struct supervisor *s = arg;
    char text[1024];
    size_t size;
    int64_t pid;
    for (int i = 0; i < DATAGRAMS_PER_TURN && receive(s->notify_fd, text, sizeof text, &size, &pid); i++) {
        const struct child_record *record = NULL;
        struct supervised *p = supervisor_find_pid(s, pid, &record);
        if (p == NULL || record == &p->leaving)
            continue;
        if (record == &p->next) {
            take_next(p, slice_make(text, size));
            continue;
        }
        if (!take(p, slice_make(text, size)))
            continue;
        LOG(s->o.log, LOG_INFO, NULL, "process.ready", "process is ready", LOG_STR("process", p->process->name),
            LOG_INT("pid", p->record.pid), LOG_INT("after_ms", env_wall_ms(s->env) - p->record.started_at_ms));
        supervisor_event(p, UNIT_IS_READY);
    }
    supervisor_flush(s);
}

void supervisor_notify_read(struct supervisor *s)
{
    on_notify(s);
}

enum ficus_err supervisor_notify_open(struct supervisor *s, struct ficus_error *reterr)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int on = 1;
    bool handed_over = s->notify_fd >= 0; /* bound already, with what was said meanwhile */
    int size = snprintf(s->notify_path, sizeof s->notify_path, "%s/notify.sock", s->o.plan->state->sockets);
    if (size < 0 || (size_t)size >= sizeof un.sun_path)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: path too long for a socket", s->notify_path);
    memcpy(un.sun_path, s->notify_path, (size_t)size + 1);
    if (handed_over)
        return env_uv_watch(s->env, s->notify_fd, on_notify, s, &s->notify_watch, reterr);
    (void)unlink(s->notify_path); /* left by a dead supervisor: we hold the lock */
    s->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->notify_fd < 0 || fchmod(s->notify_fd, 0600) != 0 ||
        setsockopt(s->notify_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
        bind(s->notify_fd, (const void *)&un, sizeof un) != 0)
        return err_sys(reterr, errno, "%s", s->notify_path);
    return env_uv_watch(s->env, s->notify_fd, on_notify, s, &s->notify_watch, reterr);
}

void supervisor_notify_close(struct supervisor *s)
{
    env_uv_unwatch(s->notify_watch);
    s->notify_watch = NULL;
    if (s->notify_fd >= 0) {
        close(s->notify_fd);
        (void)unlink(s->notify_path);
    }
    s->notify_fd = -1;
}
