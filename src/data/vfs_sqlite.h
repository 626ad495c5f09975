/* SPDX-License-Identifier: Apache-2.0
 *
 * SQLite's way to the disk for one database file: a VFS made from env's file operations. Private to data/.
 *
 * One object serves all connections that one process has to one file. The file is opened once and locked against every
 * other process over SQLite's own lock bytes (so that its command line tool sees "database is locked" too) until
 * db_vfs_free. Between the connections, locks and the WAL index are plain memory in this object: there is nothing to
 * clean up after a crash, and nothing global but SQLite's list of VFSs, in which the object stands only while a
 * connection opens.
 *
 * Failures of env come back to SQLite as its I/O errors; db_vfs_error tells which one it was.
 */
#ifndef FICUS_DATA_VFS_SQLITE_H
#define FICUS_DATA_VFS_SQLITE_H

#include "env.h"
#include "err.h"

struct db_vfs;

/* Open (create) and lock the file. BUSY: another process, or another object of this one, has it. path is copied. */
enum ficus_err db_vfs_new(struct env *e, const char *path, struct db_vfs **ret_vfs, struct ficus_error *reterr);
/* All connections are closed. NULL is fine. */
void db_vfs_free(struct db_vfs *v);

/* Do the names of the open files still mean them? MISSING (the text says which) when one was removed or replaced; other
 * errors when that cannot be told. */
enum ficus_err db_vfs_check(struct db_vfs *v, struct ficus_error *reterr);
/* The last connection is going to close, and to remove the WAL by its name. Somebody else's file that stands there by
 * now, a copy put back by hand, is left alone. */
void db_vfs_closing(struct db_vfs *v);

/* The file's bytes, past SQLite: right only while nothing writes to it (a checkpoint does). Bytes read (short only at
 * the end), or -(enum ficus_err). [worker] */
ssize_t db_vfs_read(struct db_vfs *v, void *p, size_t size, int64_t offset);
enum ficus_err db_vfs_size(struct db_vfs *v, int64_t *ret_size);
int64_t db_vfs_wal_size(struct db_vfs *v);      /* 0: there is none, or it cannot be told */

/* End the snapshots of connections that have read from one moment since before since_ms (env_now_ms), so that checkpoints can
 * pass: what such a connection asks of the files then fails, until it begins to read anew. own: a sqlite3_file * that is spared.
 * True: there were some. [worker] */
bool db_vfs_expire(struct db_vfs *v, int64_t since_ms, const void *own);
/* Has this befallen the connection with this file (sqlite3_file *), and has it not begun anew? */
bool db_vfs_expired(void *file);
void db_vfs_renew(void *file);                  /* its reading is over: nobody is to be told any more */

/* Make the name known to SQLite for the sqlite3_open_v2 that follows, and forget it. [any, also at once from several
 * threads] */
const char *db_vfs_enter(struct db_vfs *v);     /* NULL: SQLite refuses (out of memory) */
void db_vfs_leave(struct db_vfs *v);

/* The last error that env gave to this file, OK when none; cleared by reading. */
enum ficus_err db_vfs_error(struct db_vfs *v);

#endif
