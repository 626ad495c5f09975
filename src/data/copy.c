/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of a database that is in use, and the look at one.
 *
 *     turn -> checkpoint -> whole? -> checkpoints held -> turn given on; read to the end -> checkpoints go on
 *               \-> somebody reads from an earlier moment: UNAVAILABLE, as if nothing had been
 *
 * In WAL mode nothing but a checkpoint writes to the database file, and all checkpoints are the writer's. So after one
 * that was complete, and while no other is made, the file is the database of that moment. SQLite's own way
 * (sqlite3_backup) would start over whenever somebody commits, or hold a reader's snapshot, which costs the same WAL.
 */
#include "db_private.h"

enum { WAL_SIZE_MAX = 256 * 1024 * 1024 };  /* that may gather meanwhile; of a database that is larger, its size */

static enum ficus_err take(struct db *d, struct ficus_error *reterr)
{
    pthread_mutex_lock(&d->mutex);
    bool busy = d->is_copying;
    d->is_copying = true;
    pthread_mutex_unlock(&d->mutex);
    return busy ? err_set(reterr, FICUS_ERR_BUSY, "%s: another copy of it is being made", d->path) : FICUS_ERR_OK;
}

static void give(struct db *d)
{
    pthread_mutex_lock(&d->mutex);
    d->is_copying = false;
    pthread_mutex_unlock(&d->mutex);
}

/* The caller has the writer's turn. */
static enum ficus_err stand_still(struct db *d, struct db_copy *c, struct ficus_error *reterr)
{
    bool whole = false;
    enum ficus_err err = db_conn_checkpoint_all(d->writer, &whole, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (!whole)
        return err_set(reterr, FICUS_ERR_UNAVAILABLE, "%s: a handler has been reading from it for long; try again", d->path);
    err = db_vfs_size(d->vfs, &c->size);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: %s", d->path, err_text(err));
    c->moment_ms = env_wall_ms(d->env);
    c->wal_size = db_vfs_wal_size(d->vfs); /* of before: the first commit from here cuts it */
    atomic_store(&d->checkpoints_held, true);
    return FICUS_ERR_OK;
}

enum ficus_err db_copy_begin(struct db *d, struct db_copy *ret_copy, struct ficus_error *reterr)
{
    struct db_copy c = {.db = d};
    enum ficus_err err = take(d, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    db_writer_take(d);
    err = stand_still(d, &c, reterr);
    db_writer_give(d);
    if (err == FICUS_ERR_OK)
        *ret_copy = c;
    else
        give(d);
    return err;
}

ssize_t db_copy_read(struct db_copy *c, void *p, size_t size, struct ficus_error *reterr)
{
    struct db *d = c->db;
    int64_t left = c->size - c->at, wal = db_vfs_wal_size(d->vfs);
    if (wal > WAL_SIZE_MAX && wal > c->size && wal != c->wal_size)
        return -(ssize_t)err_set(reterr, FICUS_ERR_TIMEOUT,
            "%s: %lld bytes were written while it was copied, more than may wait; try again to a faster disk", d->path,
            (long long)wal);
    if ((int64_t)size > left)
        size = (size_t)left;
    ssize_t n = size == 0 ? 0 : db_vfs_read(d->vfs, p, size, c->at);
    if (n >= 0 && (size_t)n < size)
        n = -(ssize_t)FICUS_ERR_IO;
    if (n < 0)
        (void)err_set(reterr, (enum ficus_err)-n, "%s: cannot be read: %s", d->path, err_text((enum ficus_err)-n));
    else
        c->at += n;
    return n;
}

void db_copy_end(struct db_copy *c)
{
    if (c->db == NULL)
        return;
    atomic_store(&c->db->checkpoints_held, false);
    give(c->db);
    c->db = NULL;
}

/* ---- the look at one ---- */

static enum ficus_err look(struct db *d, struct ficus_error *reterr)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    enum ficus_err err = db_reader_take(d, &c, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_query(c, &s, reterr, "PRAGMA quick_check(1)", "");
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (row < 0)
        err = (enum ficus_err)-row;
    else if (row == 1 && !slice_eq_str(db_text(s, 0), "ok"))
        err = err_set(reterr, FICUS_ERR_CORRUPT, "%s: " SLICE_FMT, d->path, SLICE_ARG(db_text(s, 0)));
    db_finish(s);
    db_reader_give(d, c);
    return err;
}

enum ficus_err db_check(struct env *e, const char *path, struct ficus_error *reterr)
{
    const struct db_options o = {.path = path, .is_derived = true, .readers_max = 1};
    struct env_file *f = NULL;
    struct db *d = NULL;
    int64_t size = 0;
    enum ficus_err err = env_file_open(e, path, ENV_OPEN_READ_ONLY, &f, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = env_file_size(e, f, &size);
    env_file_close(e, f);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: %s", path, err_text(err));
    if (size == 0) /* db_open would make one of it */
        return err_set(reterr, FICUS_ERR_CORRUPT, "%s: is empty, no database", path);
    err = db_open(e, &o, &d, reterr);
    if (err == FICUS_ERR_OK)
        err = look(d, reterr);
    db_close(d);
    return err;
}
