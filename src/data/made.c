/* SPDX-License-Identifier: Apache-2.0
 *
 * The note that a database was made: FOLDER/.NAME.made beside FOLDER/NAME. A service that finds no database at its
 * start either is new or has lost everything that it ever confirmed; the note tells which. It is written when the new
 * database is on the disk, before anything is kept in it, and goes only by an operator's hand or a purge. Its name
 * begins otherwise than the database's, so that `rm NAME*` does not take it along unseen.
 */
#include "db_private.h"
#include "mem.h"

#include <stdio.h>

enum { NOTE_SIZE_MAX = 512 };

static enum ficus_err note_path(const struct db *d, char *ret_path, size_t size, struct ficus_error *reterr)
{
    const char *slash = strrchr(d->path, '/');
    int folder_size = slash == NULL ? 0 : (int)(slash + 1 - d->path);
    int n = snprintf(ret_path, size, "%.*s.%s.made", folder_size, d->path, d->path + folder_size);
    return n > 0 && (size_t)n < size ? FICUS_ERR_OK
        : err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: the path is too long", d->path);
}

static enum ficus_err missing(const struct db *d, const char *note, const char *what, struct ficus_error *reterr)
{
    return err_set(reterr, FICUS_ERR_MISSING,
        "%s: %s, but a database was made here before: put it back from a copy; or, to begin with an empty one, remove %s",
        d->path, what, note);
}

enum ficus_err db_made_check(struct db *d, struct ficus_error *reterr)
{
    char note[DB_PATH_SIZE_MAX];
    bool noted = false, there = false;
    enum ficus_err err = note_path(d, note, sizeof note, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = env_file_exists(d->env, note, &noted);
    if (err == FICUS_ERR_OK)
        err = env_file_exists(d->env, d->path, &there);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: cannot be looked for: %s", d->path, err_text(err));
    return noted && !there ? missing(d, note, "the file is gone", reterr) : FICUS_ERR_OK;
}

enum ficus_err db_made_note(struct db *d, bool is_new, struct ficus_error *reterr)
{
    char note[DB_PATH_SIZE_MAX], text[NOTE_SIZE_MAX];
    bool noted = false;
    enum ficus_err err = note_path(d, note, sizeof note, reterr);
    if (err == FICUS_ERR_OK)
        err = env_file_exists(d->env, note, &noted);
    if (err != FICUS_ERR_OK)
        return err;
    if (noted)
        return is_new ? missing(d, note, "the file is empty", reterr) : FICUS_ERR_OK;
    const char *slash = strrchr(d->path, '/');
    int n = snprintf(text, sizeof text,
        "The database %.300s was made. If it is ever missing, Ficus does not begin with an empty one\n"
        "as long as this file is here.\n", slash == NULL ? d->path : slash + 1);
    return env_file_store(d->env, note, slice_make(text, (size_t)n), reterr);
}
