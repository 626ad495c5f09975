/* SPDX-License-Identifier: Apache-2.0 */
#include "db.h"

#include <stdio.h>
#include <string.h>

enum { PATH_SIZE_MAX = 1100 };

static enum ficus_err remove_one(struct env *e, const char *path, bool *ret_was_there, struct ficus_error *reterr)
{
    enum ficus_err err = env_file_exists(e, path, ret_was_there);
    if (err == FICUS_ERR_OK && *ret_was_there)
        err = env_file_unlink(e, path);
    return err == FICUS_ERR_OK || err == FICUS_ERR_NOT_FOUND
               ? FICUS_ERR_OK
               : err_set(reterr, err, "%s: cannot be removed: %s", path, err_text(err));
}

/* The write-ahead log goes before the database: alone it would be replayed into the next one of that name. The note
 * that the database was made goes first, so that nobody misses it. */
enum ficus_err db_remove(struct env *e, const char *path, bool *ret_was_there, struct ficus_error *reterr)
{
    static const char *const affixes[][2] = {{".", ".made"}, {"", "-wal"}, {"", "-journal"}, {"", ""}};
    const char *slash = strrchr(path, '/');
    int folder_size = slash == NULL ? 0 : (int)(slash + 1 - path);
    char name[PATH_SIZE_MAX];
    *ret_was_there = false;
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++) {
        bool was_there = false;
        int n = snprintf(name, sizeof name, "%.*s%s%s%s", folder_size, path, affixes[i][0], path + folder_size,
                         affixes[i][1]);
        if (n < 0 || (size_t)n >= sizeof name)
            return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: the path is too long", path);
        enum ficus_err err = remove_one(e, name, &was_there, reterr);
        if (err != FICUS_ERR_OK)
            return err;
        *ret_was_there = *ret_was_there || was_there;
    }
    enum ficus_err err = *ret_was_there ? env_dir_sync(e, path) : FICUS_ERR_OK;
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "%s: cannot be removed: %s", path, err_text(err));
}
