/* SPDX-License-Identifier: Apache-2.0
 *
 * Small files on top of the table of effects.
 */
#include "env.h"

#include "arena.h"

#include <stdio.h>

_Thread_local struct env *env_here;

enum { PATH_SIZE_MAX = 4096 };

enum ficus_err env_file_load(struct env *e, struct arena *a, const char *path, size_t size_max, struct slice *ret_text, struct ficus_error *reterr)
{
    struct env_file *f;
    enum ficus_err err = env_file_open(e, path, ENV_OPEN_READ_ONLY, &f, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    int64_t size = 0;
    char *p = NULL;
    err = env_file_size(e, f, &size);
    if (err != FICUS_ERR_OK) {
        (void)err_set(reterr, err, "%s: %s", path, err_text(err));
    } else if (size < 0 || (uint64_t)size > size_max) {
        err = err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: %lld bytes, at most %zu are allowed", path, (long long)size, size_max);
    } else if ((p = arena_alloc(a, (size_t)size + 1)) == NULL) {
        err = err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", path);
    } else {
        ssize_t n = env_file_read(e, f, p, (size_t)size, 0);
        if (n < 0) {
            err = err_set(reterr, (enum ficus_err)-n, "%s: %s", path, err_text((enum ficus_err)-n));
        } else {
            p[n] = '\0';    /* shorter when somebody cut the file meanwhile */
            *ret_text = slice_make(p, (size_t)n);
        }
    }
    env_file_close(e, f);
    return err;
}

/* Write and sync a new file; the caller removes it on failure. */
static enum ficus_err write_new(struct env *e, const char *path, struct slice text, struct ficus_error *reterr)
{
    struct env_file *f;
    enum ficus_err err = env_file_open(e, path, ENV_OPEN_CREATE, &f, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    /* Cut first: a crash may have left a longer one behind. */
    err = env_file_truncate(e, f, 0);
    if (err == FICUS_ERR_OK && text.size > 0)
        err = env_file_write(e, f, text.p, text.size, 0);
    if (err == FICUS_ERR_OK)
        err = env_file_sync(e, f);
    env_file_close(e, f);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "%s: %s", path, err_text(err));
}

enum ficus_err env_file_store(struct env *e, const char *path, struct slice text, struct ficus_error *reterr)
{
    char tmp[PATH_SIZE_MAX];
    int n = snprintf(tmp, sizeof tmp, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof tmp)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: path too long", path);
    enum ficus_err err = write_new(e, tmp, text, reterr);
    if (err == FICUS_ERR_OK) {
        err = env_file_rename(e, tmp, path);
        if (err != FICUS_ERR_OK)
            (void)err_set(reterr, err, "%s: cannot rename %s to it: %s", path, tmp, err_text(err));
    }
    if (err != FICUS_ERR_OK) {
        (void)env_file_unlink(e, tmp);  /* the first error is the one to report */
        return err;
    }
    err = env_dir_sync(e, path);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "%s: cannot sync its folder: %s", path, err_text(err));
}
