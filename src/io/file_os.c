/* SPDX-License-Identifier: Apache-2.0
 *
 * Files. Reads and writes carry their offset, so that one env_file may be used from several threads. Locks belong to
 * the open file description (F_OFD_*), so that closing another descriptor of the same file does not drop them.
 */
#include "io_file.h"

#include "io_crash.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct env_file {
    int fd;
    dev_t device; /* with inode: which file it is, whatever name it has */
    ino_t inode;
    struct crash *crash; /* NULL: nobody counts what is written */
    int crash_file;
    atomic_ullong crash_batch;
};

enum ficus_err file_os_open(struct env *e, const char *path, unsigned flags, struct env_file **ret_file,
                            struct ficus_error *reterr)
{
    int mode = O_CLOEXEC | ((flags & ENV_OPEN_READ_ONLY) != 0 ? O_RDONLY : O_RDWR);
    if ((flags & ENV_OPEN_CREATE) != 0)
        mode |= O_CREAT;
    if ((flags & ENV_OPEN_EXCLUSIVE) != 0)
        mode |= O_CREAT | O_EXCL;
    struct env_file *f = mem_zalloc(sizeof *f);
    if (f == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "open %s: out of memory", path);
    do
        f->fd = open(path, mode, 0600);
    while (f->fd < 0 && errno == EINTR);
    if (f->fd >= 0 && f->fd < 3) { /* a process that was started with 0..2 closed: keep data away from them */
        int low = f->fd;
        f->fd = fcntl(low, F_DUPFD_CLOEXEC, 3);
        close(low);
    }
    struct stat opened;
    if (f->fd < 0 || fstat(f->fd, &opened) != 0) {
        enum ficus_err err = err_sys(reterr, errno, "open %s", path);
        if (f->fd >= 0)
            close(f->fd);
        mem_free(f);
        return err;
    }
    f->device = opened.st_dev;
    f->inode = opened.st_ino;
    f->crash = file_os_crash(e);
    if (f->crash != NULL)
        f->crash_file = crash_file(f->crash, path, false);
    *ret_file = f;
    return FICUS_ERR_OK;
}

void file_os_close(struct env_file *f)
{
    if (f == NULL)
        return;
    close(f->fd);
    mem_free(f);
}

ssize_t file_os_read(struct env_file *f, void *p, size_t size, int64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(f->fd, (char *)p + done, size - done, offset + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -(ssize_t)err_from_errno(errno);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

enum ficus_err file_os_write(struct env_file *f, const void *p, size_t size, int64_t offset)
{
    size_t done = 0;
    if (f->crash != NULL)
        crash_begin(f->crash, f->crash_file, &f->crash_batch);
    while (done < size) {
        ssize_t n = pwrite(f->fd, (const char *)p + done, size - done, offset + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            return FICUS_ERR_IO;
        done += (size_t)n;
    }
    return FICUS_ERR_OK;
}

static enum ficus_err result(int rc)
{
    return rc == 0 ? FICUS_ERR_OK : err_from_errno(errno);
}

enum ficus_err file_os_truncate(struct env_file *f, int64_t size)
{
    if (f->crash != NULL)
        crash_begin(f->crash, f->crash_file, &f->crash_batch);
    return result(ftruncate(f->fd, size));
}

enum ficus_err file_os_sync(struct env_file *f)
{
    enum ficus_err err = result(fdatasync(f->fd));
    if (f->crash != NULL && err == FICUS_ERR_OK)
        crash_end(f->crash, f->crash_file, &f->crash_batch);
    return err;
}

enum ficus_err file_os_size(struct env_file *f, int64_t *ret_size)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return err_from_errno(errno);
    *ret_size = st.st_size;
    return FICUS_ERR_OK;
}

enum ficus_err file_os_lock(struct env_file *f, int64_t offset, int64_t size)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = size};
    if (fcntl(f->fd, F_OFD_SETLK, &lock) == 0)
        return FICUS_ERR_OK;
    return errno == EAGAIN || errno == EACCES ? FICUS_ERR_BUSY : err_from_errno(errno);
}

enum ficus_err file_os_unlink(struct env *e, const char *path)
{
    return result(unlink(path));
}

enum ficus_err file_os_rename(struct env *e, const char *from, const char *to)
{
    return result(rename(from, to));
}

enum ficus_err file_os_exists(struct env *e, const char *path, bool *ret_exists)
{
    struct stat st;
    if (stat(path, &st) == 0)
        *ret_exists = true;
    else if (errno == ENOENT || errno == ENOTDIR)
        *ret_exists = false;
    else
        return err_from_errno(errno);
    return FICUS_ERR_OK;
}

enum ficus_err file_os_in_place(struct env *e, struct env_file *f, const char *path, bool *ret_in_place)
{
    struct stat named;
    if (stat(path, &named) == 0)
        *ret_in_place = named.st_dev == f->device && named.st_ino == f->inode;
    else if (errno == ENOENT || errno == ENOTDIR)
        *ret_in_place = false;
    else
        return err_from_errno(errno);
    return FICUS_ERR_OK;
}

enum ficus_err file_os_dir_sync(struct env *e, const char *path_in_dir)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path_in_dir, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - path_in_dir);
    if (size >= sizeof dir)
        return FICUS_ERR_TOO_LARGE;
    memcpy(dir, path_in_dir, size);
    dir[size] = '\0';
    int fd = open(slash == NULL ? "." : size == 0 ? "/" : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    struct crash *crash = file_os_crash(e);
    atomic_ullong batch = 0;
    int name = crash == NULL ? -1 : crash_file(crash, path_in_dir, true);
    if (crash != NULL)
        crash_begin(crash, name, &batch);
    enum ficus_err err = result(fsync(fd));
    if (crash != NULL && err == FICUS_ERR_OK)
        crash_end(crash, name, &batch);
    close(fd);
    return err;
}
