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

static enum ficus_err note_path(const char *path, char *ret_path, size_t size, struct ficus_error *reterr)
{
    const char *slash = strrchr(path, '/');
    int folder_size = slash == NULL ? 0 : (int)(slash + 1 - path);
    int n = snprintf(ret_path, size, "%.*s.%s.made", folder_size, path, path + folder_size);
    return n > 0 && (size_t)n < size ? FICUS_ERR_OK
        : err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: the path is too long", path);
}

static enum ficus_err missing(const char *path, const char *note, const char *what, struct ficus_error *reterr)
{
    return err_set(reterr, FICUS_ERR_MISSING,
        "%s: %s, but a database was made here before: put it back from a copy; or, to begin with an empty one, remove %s",
        path, what, note);
}

enum ficus_err db_look(struct env *e, const char *path, bool *ret_there, struct ficus_error *reterr)
{
    char note[DB_PATH_SIZE_MAX];
    bool noted = false;
    enum ficus_err err = note_path(path, note, sizeof note, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = env_file_exists(e, note, &noted);
    if (err == FICUS_ERR_OK)
        err = env_file_exists(e, path, ret_there);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: cannot be looked for: %s", path, err_text(err));
    return noted && !*ret_there ? missing(path, note, "the file is gone", reterr) : FICUS_ERR_OK;
}

enum ficus_err db_note(struct env *e, const char *path, struct ficus_error *reterr)
{
    char note[DB_PATH_SIZE_MAX], text[NOTE_SIZE_MAX];
    const char *slash = strrchr(path, '/');
    enum ficus_err err = note_path(path, note, sizeof note, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    int n = snprintf(text, sizeof text,
        "The database %.300s was made. If it is ever missing, Ficus does not begin with an empty one\n"
        "as long as this file is here.\n", slash == NULL ? path : slash + 1);
    return env_file_store(e, note, slice_make(text, (size_t)n), reterr);
}

enum ficus_err db_made_note(struct db *d, bool is_new, struct ficus_error *reterr)
{
    char note[DB_PATH_SIZE_MAX];
    bool noted = false;
    enum ficus_err err = note_path(d->path, note, sizeof note, reterr);
    if (err == FICUS_ERR_OK)
        err = env_file_exists(d->env, note, &noted);
    if (err != FICUS_ERR_OK)
        return err;
    if (noted)
        return is_new ? missing(d->path, note, "the file is empty", reterr) : FICUS_ERR_OK;
    return db_note(d->env, d->path, reterr);
}
