/* SPDX-License-Identifier: Apache-2.0
 *
 * One SQLite database file of one process: a single connection that writes and checkpoints, readers beside it (SQLite
 * 3.40's WAL-reset bug forbids a second writer), and transactions of waiting workers grouped by SAVEPOINT into one
 * synced commit. SQLite reaches the disk only through a VFS made from env's file operations, which also locks the file
 * against every other process for as long as it is open.
 *
 * Functions block and run on workers, or anywhere before the loop runs. A connection is used by one thread at a time.
 *
 * Failures: a full disk (FULL), read-only storage (READ_ONLY) and input/output errors fail the transactions of the
 * group that meets them, each gets the error, the file stays as it was; the next transaction tries again. A file that
 * was removed or replaced while it is open (MISSING) takes no transaction, for it would be lost with the last
 * descriptor; put back in its place it does again. Damage that was met (CORRUPT) ends writing until the file is opened
 * anew. Reading goes on in all these cases as far as it can. The WAL has a bound: what reads from one moment for too
 * long is ended (TIMEOUT), also when it does not do anything but hold it.
 *
 * What every engine behind this has to do is also a suite of tests: tests/unit/data/db_contract.h.
 */
#ifndef FICUS_DATA_DB_H
#define FICUS_DATA_DB_H

#include "env.h"
#include "err.h"
#include "slice.h"

#include <stdarg.h>

struct db;
struct db_conn;
struct db_stmt;

/* A statement that took long, or a commit (sql "COMMIT", its disk was slow). */
struct db_slow {
    const char *sql;            /* as the program wrote it: what was bound to it is not there */
    int64_t ms;                 /* in SQLite and on the disk; what the caller did between two rows does not count */
    int64_t rows;               /* that it returned or changed; of a commit: transactions */
    void *who;                  /* of db_conn_for; NULL: nobody has said */
};

struct db_options {
    const char *path;           /* created when missing, mode 0600 */
    size_t readers_max;         /* 0: 4 */
    size_t cache_kib;           /* page cache per connection; 0: 1024 */
    size_t group_count_max;     /* transactions in one commit; 0: 64 */
    bool is_derived;            /* made out of other data: no note is kept, and it is begun anew when it is gone */
    size_t checkpoint_pages;    /* the commit after which the WAL has so many pages also checkpoints; 0: 1000 */
    /* Who reads from one moment for longer holds all checkpoints up. When the WAL has gathered 16 times checkpoint_pages
     * over that, his reading is ended with TIMEOUT. 0: 60 s */
    int64_t reader_ms_max;
    int64_t slow_ms;            /* from here on slow is told, on the worker, at the statement's end; 0: never */
    void (*slow)(void *arg, const struct db_slow *s);
    void *slow_arg;
};

/* Opens the writer, sets WAL and synchronous=FULL, recovers. BUSY: another process has the file; CORRUPT (also: not a
 * database of ours), FULL, IO...; MISSING: a database was made here before and is gone or empty, which FOLDER/.NAME.made
 * tells. */
enum ficus_err db_open(struct env *e, const struct db_options *o, struct db **ret_db, struct ficus_error *reterr);
/* No transaction may be running. Checkpoints. NULL is fine. */
void db_close(struct db *d);

/* Remove the database that nobody has open, with all that belongs to it; fine when it is not there. [any; blocks] */
enum ficus_err db_remove(struct env *e, const char *path, bool *ret_was_there, struct ficus_error *reterr);

/* Is the file there? MISSING: no, but a database was made here before. [any; blocks] */
enum ficus_err db_look(struct env *e, const char *path, bool *ret_there, struct ficus_error *reterr);
/* Note beside the file that a database was made here, as db_open does of one that it makes: FOLDER/.NAME.made. [any; blocks] */
enum ficus_err db_note(struct env *e, const char *path, struct ficus_error *reterr);

/* ---- trouble ---- */
/* What keeps transactions from being kept at present: FULL, READ_ONLY, IO, CORRUPT or MISSING with path and remedy in
 * *ret_trouble; OK when the last commit was kept. Does not block. [any] */
enum ficus_err db_trouble(struct db *d, struct ficus_error *ret_trouble);
/* Commit something that changes nothing, so that trouble that has passed is noticed without a customer. [worker] */
void db_probe(struct db *d);

/* ---- reading ---- */
/* A reading connection of its own (opened lazily; waits when all are in use). Give it back on the same worker. */
enum ficus_err db_reader_take(struct db *d, struct db_conn **ret_conn, struct ficus_error *reterr);
void db_reader_give(struct db *d, struct db_conn *c);
/* All that is read from here until db_reader_give is of one moment (else: of one moment per statement). Keep it short:
 * a checkpoint cannot pass the oldest snapshot, until reader_ms_max ends it. */
enum ficus_err db_reader_snapshot(struct db_conn *c, struct ficus_error *reterr);

/* ---- writing ---- */
/* One transaction; lives in its owner, zero-initialise. */
struct db_tx {
    /* called once after the group's commit was synced (OK) or failed; on a worker thread (any), never from inside
     * db_tx_commit's caller's lock. */
    void (*committed)(void *arg, enum ficus_err err, const char *detail);
    void *arg;
    /* private below */
    struct db *db;
    struct list link;
    struct env_waiter waiter;
    enum ficus_err err;
    struct ficus_error *error;  /* not NULL: somebody waits in db_tx_commit_wait */
};

/* Wait for the writer's turn and open a savepoint. deadline_ns 0: none; TIMEOUT when it passes (checked when the
 * turn comes). On error the tx is not open. */
enum ficus_err db_tx_begin(struct db *d, struct db_tx *tx, int64_t deadline_ns, struct ficus_error *reterr);
struct db_conn *db_tx_conn(struct db_tx *tx);
/* CONFLICT: a deferred foreign key is violated, and db_tx_commit would fail; the transaction stays open. */
enum ficus_err db_tx_check(struct db_tx *tx, struct ficus_error *reterr);
/* Undo and give the turn on. */
void db_tx_rollback(struct db_tx *tx);
/* Keep the savepoint for the group and give the turn on; the group commits when nobody waits or it is full.
 * tx->committed tells the end.
 * The worker does not wait: it returns at once, or after it made the commit itself. */
void db_tx_commit(struct db_tx *tx);
/* As db_tx_commit, but waits for the end and returns it (committed is not called). */
enum ficus_err db_tx_commit_wait(struct db_tx *tx, struct ficus_error *reterr);

/* ---- copies (copy.c) ----
 * The database as it is at one moment, byte for byte, while it is written to: at that moment everything committed is
 * brought into the file (one checkpoint), and from then until the end of the copy the file stands still; what is
 * committed meanwhile waits in the WAL. Nobody waits for the copy; the WAL grows with what is written meanwhile, and a copy
 * that is slower than that is given up.
 */
struct db_copy {
    int64_t size;               /* of the whole, in bytes */
    int64_t moment_ms;          /* wall clock */
    /* private below */
    struct db *db;
    int64_t at, wal_size;
};
/* BUSY: another copy of it is being made; UNAVAILABLE: at present somebody reads from an earlier moment and the checkpoint
 * cannot pass; try again soon. On error there is nothing to end. [worker] */
enum ficus_err db_copy_begin(struct db *d, struct db_copy *ret_copy, struct ficus_error *reterr);
/* The next bytes, 0 at the end, or -(enum ficus_err): TIMEOUT when the WAL has grown too long meanwhile. [worker] */
ssize_t db_copy_read(struct db_copy *c, void *p, size_t size, struct ficus_error *reterr);
/* Does not block; does nothing when it was not begun. [any] */
void db_copy_end(struct db_copy *c);
/* Look whether the file, which nobody has open, is a sound database of ours: PRAGMA quick_check over all its pages. CORRUPT
 * with what was found. [any; blocks] */
enum ficus_err db_check(struct env *e, const char *path, struct ficus_error *reterr);

/* ---- statements ----
 * db_conn_for: whom they run for from here on, until a reader is given back or the transaction ends; for db_options.slow. */
void db_conn_for(struct db_conn *c, void *who);
/*
 * Prepared once per connection and SQL text (cached, at most 128). Binds by format, one letter a parameter:
 *   i int64_t                       s const char * (NULL: NULL)     S struct slice as text (p NULL: NULL)
 *   b struct slice as blob          n NULL (no argument)
 */
/* Run to the end; for statements that return no rows. EXISTS: a unique or primary key was there already; CONFLICT:
 * another constraint. */
enum ficus_err db_exec(struct db_conn *c, struct ficus_error *reterr, const char *sql, const char *format, ...);
/* Begin a query: then db_step until 0, and db_finish in every case. Several different statements may be open at
 * once. */
enum ficus_err db_query(struct db_conn *c, struct db_stmt **ret_stmt, struct ficus_error *reterr, const char *sql,
                        const char *format, ...);
enum ficus_err db_vquery(struct db_conn *c, struct db_stmt **ret_stmt, struct ficus_error *reterr, const char *sql,
                         const char *format, va_list args);
/* 1: a row; 0: no more; < 0: -(enum ficus_err), text in *reterr. */
int db_step(struct db_stmt *s, struct ficus_error *reterr);
void db_finish(struct db_stmt *s);      /* NULL is fine */
/* Columns of the present row, from 0; borrowed until the next db_step or db_finish. NULL columns: 0 / SLICE_NONE. */
int64_t db_i64(struct db_stmt *s, int column);
struct slice db_text(struct db_stmt *s, int column);
struct slice db_blob(struct db_stmt *s, int column);
bool db_is_null(struct db_stmt *s, int column);
int db_column_count(struct db_stmt *s);
const char *db_column_name(struct db_stmt *s, int column);
int64_t db_changes(struct db_conn *c);          /* rows changed by the last statement */
/* Run a script of several statements without parameters (migrations). */
enum ficus_err db_script(struct db_conn *c, struct slice sql, struct ficus_error *reterr);

/* ---- migrations (migrate.c) ---- */
enum { DB_MIGRATION_SIZE_MAX = 1024 * 1024 };    /* of one text; whoever reads the files keeps to it */

struct db_migration {
    int64_t version;        /* from the file's number: 0001_name.sql */
    const char *name;
    struct slice sql;
};
/* Number and name of a file NNNN_name.sql in whatever folder; the name is borrowed. False: it has no such name. */
bool db_migration_name(const char *path, int64_t *ret_version, struct slice *ret_name);
/* The one table of libficus that migrations of services may fill: what their event store is to begin with (estore.h). */
#define DB_STORE_IMPORT_SQL                                                                                                      \
    "CREATE TABLE ficus_store_import(seq INTEGER PRIMARY KEY, stream TEXT NOT NULL, type TEXT NOT NULL,"                         \
    " schema INTEGER NOT NULL DEFAULT 1, time INTEGER NOT NULL, data TEXT NOT NULL) STRICT;"
/* Run those that are missing, in order, each in a synced transaction, and record number, name, SHA-256 and time in
 * table ficus_migrations. Refuses: a gap or a wrong order (INVALID), a changed text of one that ran (CONFLICT, names
 * it), a database that has newer ones (VERSION). The chassis's own tables are migrated with the same function under
 * another `set` name. */
enum ficus_err db_migrate(struct db *d, const char *set, const struct db_migration *list, size_t count,
                          struct ficus_error *reterr);

#endif
