/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of the manifest, directly: the commands and the supervisor read it before there is any loop.
 */
#include "manifest_private.h"

#include "assert.h"
#include "mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum ficus_err manifest_read_file(struct arena *a, const char *path, size_t size_max, struct slice *ret_text, struct ficus_error *reterr)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_sys(reterr, errno, "%s", path);
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return err_set(reterr, FICUS_ERR_INVALID, "%s: not a file", path);
    }
    size_t size = 0;
    char *p = (uint64_t)st.st_size > size_max ? NULL : arena_alloc(a, (size_t)st.st_size + 1);
    enum ficus_err err = FICUS_ERR_OK;
    if ((uint64_t)st.st_size > size_max)
        err = err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: %lld bytes, at most %zu are allowed", path, (long long)st.st_size, size_max);
    else if (p == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", path);
    while (err == FICUS_ERR_OK && size < (size_t)st.st_size) {
        ssize_t n = read(fd, p + size, (size_t)st.st_size - size);
        if (n < 0 && errno != EINTR)
            err = err_sys(reterr, errno, "%s", path);
        if (n == 0)
            break;
        size += n > 0 ? (size_t)n : 0;
    }
    (void)close(fd);    /* it was only read */
    if (err != FICUS_ERR_OK)
        return err;
    p[size] = '\0';
    *ret_text = slice_make(p, size);
    return FICUS_ERR_OK;
}

enum ficus_err manifest_real_path(struct arena *a, const char *path, const char **ret_path, struct ficus_error *reterr)
{
    char real[PATH_MAX];
    if (realpath(path, real) == NULL)
        return err_sys(reterr, errno, "%s", path);
    *ret_path = arena_strdup(a, slice_str(real));
    return *ret_path == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
}

const char *manifest_dirname(struct arena *a, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return ".";
    return slash == path ? "/" : arena_strdup(a, slice_make(path, (size_t)(slash - path)));
}

static enum ficus_err copy_names(struct arena *a, char *const *names, size_t count, const char *const **ret_names, struct ficus_error *reterr)
{
    const char **out = ARENA_ARRAY(a, const char *, count + 1);
    for (size_t i = 0; out != NULL && i < count; i++) {
        out[i] = arena_strdup(a, slice_str(names[i]));
        if (out[i] == NULL)
            out = NULL;
    }
    if (out == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    *ret_names = out;
    return FICUS_ERR_OK;
}

/* A folder that is not there matches nothing; one that cannot be read could hide a service. */
static int on_glob_error(const char *path, int sys_errno)
{
    (void)path;
    return sys_errno != ENOENT && sys_errno != ENOTDIR;
}

enum ficus_err manifest_glob(struct arena *a, const char *folder, const char *pattern, size_t count_max, const char *const **ret_paths,
                             size_t *ret_count, struct ficus_error *reterr)
{
    struct buf b;
    buf_init(&b, PATH_MAX * 2);
    for (const char *p = folder; *p != '\0'; p++) {
        if (strchr("*?[]\\{}", *p) != NULL)
            (void)buf_add_char(&b, '\\');
        (void)buf_add_char(&b, *p);
    }
    if (!buf_printf(&b, "/%s", pattern) || buf_failed(&b)) {
        buf_done(&b);
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: too long", pattern);
    }
    glob_t found = {0};
    int status = glob(buf_str(&b), 0, on_glob_error, &found);
    buf_done(&b);
    enum ficus_err err = FICUS_ERR_OK;
    *ret_count = 0;
    if (status == GLOB_NOSPACE)
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    else if (status != 0 && status != GLOB_NOMATCH)
        err = err_set(reterr, FICUS_ERR_IO, "%s: a folder cannot be read", pattern);
    else if (status == 0 && found.gl_pathc > count_max)
        err = err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: matches %zu files, at most %zu are allowed", pattern, (size_t)found.gl_pathc, count_max);
    else if (status == 0 && (err = copy_names(a, found.gl_pathv, found.gl_pathc, ret_paths, reterr)) == FICUS_ERR_OK)
        *ret_count = found.gl_pathc;
    globfree(&found);
    return err;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum ficus_err manifest_list(struct arena *a, const char *folder, size_t count_max, const char *const **ret_names, size_t *ret_count,
                             struct ficus_error *reterr)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return err_sys(reterr, errno, "%s", folder);
    const char **names = ARENA_ARRAY(a, const char *, count_max);
    size_t count = 0;
    enum ficus_err err = names == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
    for (const struct dirent *d; err == FICUS_ERR_OK && (d = readdir(dir)) != NULL;) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        if (count == count_max)
            err = err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: more than %zu entries", folder, count_max);
        else if ((names[count++] = arena_strdup(a, slice_str(d->d_name))) == NULL)
            err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    }
    (void)closedir(dir);
    if (err != FICUS_ERR_OK)
        return err;
    qsort(names, count, sizeof *names, by_name);
    *ret_names = names;
    *ret_count = count;
    return FICUS_ERR_OK;
}

bool manifest_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool manifest_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static enum ficus_err write_all(int fd, const char *path, struct slice text, struct ficus_error *reterr)
{
    while (text.size > 0) {
        ssize_t n = write(fd, text.p, text.size);
        if (n < 0 && errno != EINTR)
            return err_sys(reterr, errno, "%s", path);
        text = slice_from(text, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd) != 0 ? err_sys(reterr, errno, "%s", path) : FICUS_ERR_OK;
}

static enum ficus_err sync_folder_of(const char *path, struct ficus_error *reterr)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    FICUS_ASSERT(slash != NULL);
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path) + 1, path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(reterr, errno, "%s", folder);
    enum ficus_err err = fsync(fd) != 0 ? err_sys(reterr, errno, "%s", folder) : FICUS_ERR_OK;
    (void)close(fd);
    return err;
}

static enum ficus_err stage_path(const char *path, char tmp[PATH_MAX], struct ficus_error *reterr)
{
    int n = snprintf(tmp, PATH_MAX, "%s.tmp", path);
    return n > 0 && n < PATH_MAX ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: path too long", path);
}

enum ficus_err manifest_stage_file(const char *path, struct slice text, struct ficus_error *reterr)
{
    char tmp[PATH_MAX];
    enum ficus_err err = stage_path(path, tmp, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    /* A left-over one may have other rights: make it anew. */
    (void)unlink(tmp);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(reterr, errno, "%s", tmp);
    err = write_all(fd, tmp, text, reterr);
    if (close(fd) != 0 && err == FICUS_ERR_OK)
        err = err_sys(reterr, errno, "%s", tmp);
    if (err != FICUS_ERR_OK)
        (void)unlink(tmp);  /* the first error is the one to report */
    return err;
}

enum ficus_err manifest_place_file(const char *path, struct ficus_error *reterr)
{
    char tmp[PATH_MAX];
    enum ficus_err err = stage_path(path, tmp, reterr);
    if (err == FICUS_ERR_OK && rename(tmp, path) != 0)
        err = err_sys(reterr, errno, "%s", path);
    return err == FICUS_ERR_OK ? sync_folder_of(path, reterr) : err;
}

void manifest_unstage_file(const char *path)
{
    char tmp[PATH_MAX];
    if (stage_path(path, tmp, NULL) == FICUS_ERR_OK)
        (void)unlink(tmp);
}

int64_t manifest_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
