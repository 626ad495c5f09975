/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of data/ share: connections (db_sqlite.c), statements (stmt_sqlite.c), the writer's queue (db_tx.c).
 */
#ifndef FICUS_DATA_DB_PRIVATE_H
#define FICUS_DATA_DB_PRIVATE_H

#include "db.h"
#include "map.h"
#include "vfs_sqlite.h"

#include <pthread.h>
#include <stdatomic.h>

enum { DB_STATEMENTS_MAX = 128, DB_PATH_SIZE_MAX = 1024 };

/* What db_tx.c says to SQLite; prepared when the writer opens. */
enum db_control {
    DB_BEGIN,           /* IMMEDIATE */
    DB_SAVEPOINT,
    DB_RELEASE,
    DB_ROLLBACK_TO,     /* keeps the savepoint */
    DB_COMMIT,
    DB_ROLLBACK,
    DB_BEGIN_READ,
    DB_CONTROL_COUNT,
};

struct db_conn {
    struct db *db;
    void *handle;                               /* sqlite3 * */
    void *file;                                 /* its sqlite3_file *, for db_vfs_expire; NULL while it opens */
    void *control[DB_CONTROL_COUNT];            /* sqlite3_stmt * */
    void *who;                                  /* of db_conn_for */
    bool is_writer, trusted;                    /* trusted: our own SQL is prepared; the authorizer lets it pass */
    bool is_new;                                /* the writer found nothing in the file when it opened */
    /* Between SAVEPOINT and its end. When SQLite meanwhile rolled the whole transaction back by itself, lost says why,
     * and every further statement is refused: outside a transaction it would commit alone. */
    bool tx_open;
    struct ficus_error lost;
    struct map statements;                      /* SQL -> struct db_stmt, those of the same text chained */
    struct list recent;                         /* all statements, the most recently used first */
    size_t statement_count;
    struct list link;                           /* idle readers */
};

struct db_stmt {
    struct db_conn *conn;
    void *handle;                               /* sqlite3_stmt * */
    struct db_stmt *next_same;
    struct list link;
    bool busy, has_row;
    int64_t spent_ns, rows;                     /* in SQLite since it is busy; returned */
};

struct db {
    struct env *env;
    struct db_vfs *vfs;
    struct db_options o;
    char *path;
    struct db_conn *writer;     /* belongs to whoever has the turn */
    /* and so do these */
    bool begun;                 /* a transaction is open */
    struct list group;          /* finished ones that wait for the commit */
    size_t group_count;

    pthread_mutex_t mutex;      /* guards what follows; never held over a wait or a call of SQLite */
    bool turn_taken;
    struct list waiting;        /* transactions that wait for the turn, in order */
    struct list readers_idle;
    size_t reader_count;
    struct list readers_waiting;
    struct ficus_error trouble; /* code OK: none. See db_trouble */
    bool damaged;               /* trouble says how; it stays until the file is opened anew */
    bool is_copying;            /* one struct db_copy at a time */

    /* No checkpoint meanwhile: the file's content stands still and is copied. Set by whoever has the turn. */
    atomic_bool checkpoints_held;
};

/* May SQL from outside do this? As sqlite3_set_authorizer asks. Transactions belong to db_tx.c: a COMMIT or a pragma of a
 * handler or a migration would act on everybody in the group. */
bool db_sql_allowed(int action, const char *a, const char *b);
/* How SQL means the same in every database that we open: keys enforced, no double-quoted strings, a schema that is not
 * trusted. sqlite: a sqlite3 * that was just opened. */
void db_handle_harden(void *sqlite);

enum ficus_err db_conn_open(struct db *d, bool is_writer, struct db_conn **ret_conn, struct ficus_error *reterr);
void db_conn_close(struct db_conn *c);          /* NULL is fine */
enum ficus_err db_conn_control(struct db_conn *c, enum db_control what, struct ficus_error *reterr);
bool db_conn_in_transaction(struct db_conn *c);
bool db_conn_keys_open(struct db_conn *c);      /* a deferred foreign key is violated */
void db_conn_reset(struct db_conn *c);          /* ends all statements that are still open */
void db_conn_forget(struct db_conn *c);         /* finalizes all statements */
/* SQLite's last error of this connection as ours, with the file's path; notices a lost transaction, and trouble. */
enum ficus_err db_conn_error(struct db_conn *c, int sqlite_code, struct ficus_error *reterr);
/* Have a page written that says what it said before. The writer, in a transaction. */
enum ficus_err db_conn_touch(struct db_conn *c, struct ficus_error *reterr);
/* As much of the WAL as readers allow goes into the database file. The writer, outside of transactions. */
void db_conn_checkpoint(struct db_conn *c);
/* The same without waiting for anybody, and without cutting the WAL. *ret_whole: all that was committed is in the file. */
enum ficus_err db_conn_checkpoint_all(struct db_conn *c, bool *ret_whole, struct ficus_error *reterr);

/* db_tx.c: have the turn outside of transactions; those that wait for their commit get it before. [worker] */
void db_writer_take(struct db *d);
void db_writer_give(struct db *d);

/* Tell db_options.slow, when it took so long. */
void db_slow_tell(struct db_conn *c, const char *sql, int64_t spent_ns, int64_t rows);

/* Remember what is wrong with the disk; OK: nothing is. Damage stays. [any] */
void db_trouble_set(struct db *d, const struct ficus_error *e);

/* made.c: MISSING when is_new and it was made before; else the note is there now. */
enum ficus_err db_made_note(struct db *d, bool is_new, struct ficus_error *reterr);

#endif
