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

static void write_out(struct log_os *l, const void *p, size_t size)
{
    struct log_file *f = l->file;
    ssize_t n = -1;
    if (f->is_regular) {
        n = write_whole(p, size);
    } else {
        struct pollfd out = {.fd = 2, .events = POLLOUT};
        pthread_mutex_lock(&f->writing);
        if (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0)
            n = write_whole(p, size);
        pthread_mutex_unlock(&f->writing);
    }
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
    bool first = l->gathered_size == 0;
    if (l->gathered == NULL || l->gathered_size + size > LOG_GATHER_SIZE)
        flush_locked(l);
    bool keeps = l->gathered != NULL && size <= LOG_GATHER_SIZE;
    if (keeps) {
        memcpy(l->gathered + l->gathered_size, p, size);
        l->gathered_size += size;
    }
    pthread_mutex_unlock(&l->mutex);
    if (!keeps)
        write_out(l, p, size);
    return keeps && first;
}
