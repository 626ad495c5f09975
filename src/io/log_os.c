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
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool file_init(struct log_file *f, const char *path, int64_t size_max)
{
    struct stat st;
    *f = (struct log_file){.size_max = size_max};
    pthread_mutex_init(&f->rotating, NULL);
    pthread_mutex_init(&f->writing, NULL);
    if (fstat(2, &st) == 0 && S_ISREG(st.st_mode)) {
        f->is_regular = true;
        atomic_store(&f->size_seen, st.st_size);
    }
    if (path == NULL || path[0] == '\0' || !f->is_regular)
        return true;
    struct buf old;
    buf_init(&old, 4096);
    buf_add_str(&old, path);
    buf_add_str(&old, ".old");
    f->path = mem_strdup(path);
    f->path_old = buf_failed(&old) ? NULL : buf_steal(&old);
    buf_done(&old);
    return f->path != NULL && f->path_old != NULL;
}

static void file_done(struct log_file *f)
{
    MEM_FREE(f->path);
    MEM_FREE(f->path_old);
    pthread_mutex_destroy(&f->writing);
    pthread_mutex_destroy(&f->rotating);
}

bool log_os_init(struct log_os *l, const char *path, int64_t size_max)
{
    *l = (struct log_os){.file = &l->own};
    pthread_mutex_init(&l->mutex, NULL);
    return file_init(&l->own, path, size_max);
}

void log_os_init_beside(struct log_os *l, struct log_os *other)
{
    *l = (struct log_os){.file = other->file};
    pthread_mutex_init(&l->mutex, NULL);
}

void log_os_done(struct log_os *l)
{
    log_os_flush(l);
    MEM_FREE(l->gathered);
    pthread_mutex_destroy(&l->mutex);
    if (l->file == &l->own)
        file_done(&l->own);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static void rotate(struct log_file *f)
{
    struct stat behind, named, out;
    atomic_store(&f->size_seen, f->size_max - f->size_max / 4); /* when anything below fails: look again later */
    if (fstat(2, &behind) != 0)
        return;
    bool have_name = stat(f->path, &named) == 0;
    if (have_name && same_file(&behind, &named)) {
        if (behind.st_size <= f->size_max) {
            atomic_store(&f->size_seen, behind.st_size);
            return;
        }
        if (rename(f->path, f->path_old) != 0)
            return;
    }
    int fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (fstat(1, &out) == 0 && same_file(&behind, &out))
        (void)dup2(fd, 1); /* cannot fail: both are open; the log goes on in either case */
    if (dup2(fd, 2) == 2 && fstat(2, &behind) == 0)
        atomic_store(&f->size_seen, behind.st_size);
    close(fd);
}

static ssize_t write_whole(const void *p, size_t size)
{
    ssize_t n;
    do
        n = write(2, p, size);
    while (n < 0 && errno == EINTR);
    return n;
}

static bool would_block(void)
{
    struct pollfd out = {.fd = 2, .events = POLLOUT};
    return poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0;
}

/* To a pipe or a terminal. A pipe that is writable takes PIPE_BUF bytes without blocking (pipe(7)), so whole lines up to
 * that size go at a time; when nobody reads, the rest is dropped. */
static void write_pieces(const char *p, size_t size)
{
    while (size > 0 && !would_block()) {
        size_t piece = size < PIPE_BUF ? size : PIPE_BUF;
        const char *end = memrchr(p, '\n', piece);
        piece = end != NULL ? (size_t)(end - p) + 1 : piece;
        if (write_whole(p, piece) <= 0)
            return;
        p += piece;
        size -= piece;
    }
}

static void write_out(struct log_os *l, const void *p, size_t size)
{
    struct log_file *f = l->file;
    if (!f->is_regular) {
        pthread_mutex_lock(&f->writing);
        write_pieces(p, size);
        pthread_mutex_unlock(&f->writing);
        return;
    }
    ssize_t n = write_whole(p, size);
    if (f->path == NULL || n <= 0)
        return;
    if (atomic_fetch_add(&f->size_seen, n) + n <= f->size_max)
        return;
    /* Others go on writing to the file while one thread rotates: dup2 replaces fd 2 in one step. */
    if (pthread_mutex_trylock(&f->rotating) == 0) {
        rotate(f);
        pthread_mutex_unlock(&f->rotating);
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

enum { DEADLY_COUNT = 5, KEPT_MAX = 64 };
static const int deadly[DEADLY_COUNT] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

/* Mutable globals, since a signal handler has no argument. */
static _Atomic(struct log_os *) kept[KEPT_MAX]; /* one for each loop */
static struct sigaction before_us[DEADLY_COUNT];
static pthread_mutex_t catching = PTHREAD_MUTEX_INITIALIZER; /* guards before_us while it is filled */

/* Takes no mutex: this thread, or one that will not go on, may hold it. At worst a line is written twice. */
static void on_deadly(int signum, siginfo_t *info, void *context)
{
    (void)context;
    for (size_t i = 0; i < KEPT_MAX; i++) {
        struct log_os *l = atomic_exchange(&kept[i], NULL);
        size_t size = l == NULL ? 0 : atomic_load(&l->gathered_size);
        if (size > 0 && !l->file->is_regular)
            write_pieces(l->gathered, size);
        else if (size > 0 && write(2, l->gathered, size) < 0)
            break; /* nothing can be done */
    }
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

static bool kept_replace(struct log_os *from, struct log_os *to)
{
    for (size_t i = 0; i < KEPT_MAX; i++) {
        struct log_os *expected = from;
        if (atomic_compare_exchange_strong(&kept[i], &expected, to))
            return true;
    }
    return false;
}

void log_os_keep_at_death(struct log_os *l)
{
    (void)kept_replace(NULL, l); /* one loop too many loses its last lines, as it would without us */
    pthread_mutex_lock(&catching);
    catch_deadly();
    pthread_mutex_unlock(&catching);
}

void log_os_forget_at_death(struct log_os *l)
{
    (void)kept_replace(l, NULL); /* it is not there when a signal has come */
}
