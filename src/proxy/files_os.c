/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading folders, directly: the loop does not run yet.
 */
#include "files.h"

#include "buf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

struct reader {
    struct files *files;
    struct buf path; /* of what is being read */
    struct buf body;
    struct ficus_error *reterr;
};

static enum ficus_err read_folder(struct reader *r, int fd, unsigned depth);

static enum ficus_err read_file(struct reader *r, int fd)
{
    buf_clear(&r->body);
    for (;;) {
        if (!buf_reserve(&r->body, 64 * 1024))
            return err_set(r->reterr, FICUS_ERR_TOO_LARGE, "%s: the files that the gateway serves are over %d MiB",
                           buf_str(&r->path), FILES_SIZE_MAX / (1024 * 1024));
        char page[64 * 1024];
        ssize_t n = read(fd, page, sizeof page);
        if (n < 0 && errno != EINTR)
            return err_sys(r->reterr, errno, "%s", buf_str(&r->path));
        if (n == 0)
            return files_add(r->files, buf_slice(&r->path), buf_slice(&r->body), r->reterr);
        if (n > 0)
            (void)buf_add(&r->body, page, (size_t)n); /* there is room */
    }
}

/* One name of a folder; r->path is its whole path. */
static enum ficus_err read_entry(struct reader *r, int folder_fd, const char *name, unsigned depth)
{
    int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && (errno == ELOOP || errno == ENXIO))
        return FICUS_ERR_OK; /* a symbolic link, a socket */
    if (fd < 0)
        return err_sys(r->reterr, errno, "%s", buf_str(&r->path));
    struct stat st;
    enum ficus_err err = FICUS_ERR_OK;
    if (fstat(fd, &st) != 0)
        err = err_sys(r->reterr, errno, "%s", buf_str(&r->path));
    else if (S_ISREG(st.st_mode))
        err = read_file(r, fd);
    else if (S_ISDIR(st.st_mode))
        return read_folder(r, fd, depth + 1);
    (void)close(fd); /* it was only read */
    return err;
}

/* Closes fd. */
static enum ficus_err read_folder(struct reader *r, int fd, unsigned depth)
{
    DIR *dir = fdopendir(fd);
    size_t size = buf_slice(&r->path).size;
    enum ficus_err err = FICUS_ERR_OK;
    if (dir == NULL) {
        err = err_sys(r->reterr, errno, "%s", buf_str(&r->path));
        (void)close(fd);
        return err;
    }
    if (depth > FILES_DEPTH_MAX)
        err = err_set(r->reterr, FICUS_ERR_TOO_LARGE, "%s: more than %d folders deep", buf_str(&r->path),
                      FILES_DEPTH_MAX);
    while (err == FICUS_ERR_OK) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (d == NULL && errno != 0)
            err = err_sys(r->reterr, errno, "%s", buf_str(&r->path));
        if (d == NULL)
            break;
        if (d->d_name[0] == '.')
            continue;
        if (!buf_printf(&r->path, "/%s", d->d_name))
            err = err_set(r->reterr, FICUS_ERR_TOO_LARGE, "%s: a path in it is too long", buf_str(&r->path));
        else
            err = read_entry(r, dirfd(dir), d->d_name, depth);
        (void)buf_truncate(&r->path, size);
    }
    (void)closedir(dir);
    return err;
}

enum ficus_err files_read(struct files *f, const char *folder, struct ficus_error *reterr)
{
    if (files_has_folder(f, folder))
        return FICUS_ERR_OK;
    struct reader r = {.files = f, .reterr = reterr};
    buf_init(&r.path, PATH_MAX - 1);
    buf_init(&r.body, FILES_SIZE_MAX + 64 * 1024);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum ficus_err err = fd < 0 ? err_sys(reterr, errno, "%s", folder) : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK) {
        (void)buf_add_str(&r.path, folder); /* a path that could be opened fits */
        err = read_folder(&r, fd, 1);
    }
    if (err == FICUS_ERR_OK && !files_note_folder(f, folder))
        err = err_set(reterr, FICUS_ERR_NOMEM, "files");
    buf_done(&r.path);
    buf_done(&r.body);
    return err == FICUS_ERR_OK ? err : err_wrap(reterr, "files to serve");
}
