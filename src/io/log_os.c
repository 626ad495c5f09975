/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines to fd 2 and the rotation of the file behind it. Failure modes: when rename or open fails, the old file goes
 * on being used and rotation is tried again a quarter of the bound later. Two processes with one file behind fd 2 do
 * not disturb each other: who finds that the path is a new file already only reopens it.
 */
#include "io_log.h"

#include "buf.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool log_os_init(struct log_os *l, const char *path, int64_t size_max)
{
    struct stat st;
    *l = (struct log_os){.size_max = size_max};
    pthread_mutex_init(&l->rotating, NULL);
    pthread_mutex_init(&l->mutex, NULL);
    if (fstat(2, &st) == 0 && S_ISREG(st.st_mode)) {
        l->is_regular = true;
        atomic_store(&l->size_seen, st.st_size);
    }
    if (path == NULL || path[0] == '\0' || !l->is_regular)
        return true;
    struct buf old;
    buf_init(&old, 4096);
    buf_add_str(&old, path);
    buf_add_str(&old, ".old");
    l->path = mem_strdup(path);
    l->path_old = buf_failed(&old) ? NULL : buf_steal(&old);
    buf_done(&old);
    return l->path != NULL && l->path_old != NULL;
}

void log_os_done(struct log_os *l)
{
    log_os_flush(l);
    MEM_FREE(l->gathered);
    pthread_mutex_destroy(&l->mutex);
    MEM_FREE(l->path);
    MEM_FREE(l->path_old);
    pthread_mutex_destroy(&l->rotating);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static void rotate(struct log_os *l)
{
    struct stat behind, named, out;
    atomic_store(&l->size_seen, l->size_max - l->size_max / 4); /* when anything below fails: look again later */
    if (fstat(2, &behind) != 0)
        return;
    bool have_name = stat(l->path, &named) == 0;
    if (have_name && same_file(&behind, &named)) {
        if (behind.st_size <= l->size_max) {
            atomic_store(&l->size_seen, behind.st_size);
            return;
        }
        if (rename(l->path, l->path_old) != 0)
            return;
    }
    int fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (fstat(1, &out) == 0 && same_file(&behind, &out))
        (void)dup2(fd, 1); /* cannot fail: both are open; the log goes on in either case */
    if (dup2(fd, 2) == 2 && fstat(2, &behind) == 0)
        atomic_store(&l->size_seen, behind.st_size);
    close(fd);
}

static bool would_block(const struct log_os *l)
{
    struct pollfd out = {.fd = 2, .events = POLLOUT};
    return !l->is_regular && (poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0);
}

static void write_out(struct log_os *l, const void *p, size_t size)
{
    if (would_block(l))
        return;
    ssize_t n;
    do
        n = write(2, p, size);
    while (n < 0 && errno == EINTR);
    if (l->path == NULL || n <= 0)
        return;
    if (atomic_fetch_add(&l->size_seen, n) + n <= l->size_max)
        return;
    /* Others go on writing to the file while one thread rotates: dup2 replaces fd 2 in one step. */
    if (pthread_mutex_trylock(&l->rotating) == 0) {
        rotate(l);
        pthread_mutex_unlock(&l->rotating);
    }
}

/* [mutex held] */
static void flush_locked(struct log_os *l)
{
    if (l->gathered_size > 0)
        write_out(l, l->gathered, l->gathered_size);
    l->gathered_size = 0;
}

void log_os_flush(struct log_os *l)
{
    pthread_mutex_lock(&l->mutex);
    flush_locked(l);
    pthread_mutex_unlock(&l->mutex);
}

void log_os_write(struct log_os *l, const void *p, size_t size)
{
    pthread_mutex_lock(&l->mutex);
    flush_locked(l);
    pthread_mutex_unlock(&l->mutex);
    write_out(l, p, size);
}

bool log_os_gather(struct log_os *l, const void *p, size_t size)
{
    pthread_mutex_lock(&l->mutex);
    if (l->gathered == NULL)
        l->gathered = mem_alloc(LOG_GATHER_SIZE);
    size_t before = l->gathered_size;
    bool first = before == 0;
    if (l->gathered == NULL || before + size > LOG_GATHER_SIZE) {
        flush_locked(l);
        before = 0;
    }
    bool keeps = l->gathered != NULL && size <= LOG_GATHER_SIZE;
    if (keeps) {
        memcpy(l->gathered + before, p, size);
        l->gathered_size = before + size;
    }
    pthread_mutex_unlock(&l->mutex);
    if (!keeps)
        write_out(l, p, size);
    return keeps && first;
}

/* ---- the process's death ---- */

enum { DEADLY_COUNT = 5 };
static const int deadly[DEADLY_COUNT] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

/* Mutable globals, since a signal handler has no argument. */
static _Atomic(struct log_os *) kept;
static struct sigaction before_us[DEADLY_COUNT];

/* Takes no mutex: this thread, or one that will not go on, may hold it. At worst a line is written twice. */
static void on_deadly(int signum, siginfo_t *info, void *context)
{
    (void)context;
    struct log_os *l = atomic_exchange(&kept, NULL);
    size_t size = l == NULL ? 0 : atomic_load(&l->gathered_size);
    if (size > 0 && !would_block(l) && write(2, l->gathered, size) < 0)
        l = NULL; /* nothing can be done */
    /* What was there before us, such as the sanitizer's report, has its turn at return: an instruction that failed fails
     * again, a signal that somebody sent is sent again. */
    for (size_t i = 0; i < DEADLY_COUNT; i++)
        if (deadly[i] == signum)
            sigaction(signum, &before_us[i], NULL);
    if (info->si_code <= 0)
        (void)raise(signum); /* cannot fail */
}

static void catch_deadly(void)
{
    struct sigaction action = {.sa_sigaction = on_deadly, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < DEADLY_COUNT; i++) {
        struct sigaction now;
        sigaction(deadly[i], NULL, &now); /* neither can fail: signals that may be caught */
        if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_deadly)
            continue;
        before_us[i] = now;
        sigaction(deadly[i], &action, NULL);
    }
}

void log_os_keep_at_death(struct log_os *l)
{
    atomic_store(&kept, l);
    if (l != NULL)
        catch_deadly();
}
