/* SPDX-License-Identifier: Apache-2.0
 *
 * A backup of a system: a folder laid out as the state folder, and backup.json, which lists what is in it.
 *
 *     FOLDER/backup.json                   written last: without it nothing is a backup
 *     FOLDER/data/hub-sagas.db ...         each database of one moment, whole in one file
 *     FOLDER/private/SERVICE/...           what services keep beside their database (identity: its signing key)
 *     FOLDER/system.key, admin.json        what identities and kept keys are made with; the administrator's password
 *
 * Not in it: run/ (made by ficus up), log/, private/gateway.tickets (a new one only costs full TLS handshakes).
 * Everything has mode 0600, folders 0700.
 *
 * The order of the copies. Each is of a moment of its own, and between two moments something may have gone from one
 * service to another. Whoever asks is copied before whom he asks: the sagas, then each service before those that it
 * calls, and the log, which all ask to keep their events, as the last. So in a backup the one who was asked knows at least as
 * much, and what the other one asks again is done already (step table, Idempotency-Key, source and id of an event). The
 * other way round a confirmed order would have lost its payment. docs/backup.md has what may differ.
 */
#ifndef FICUS_SYSTEM_BACKUP_H
#define FICUS_SYSTEM_BACKUP_H

#include "arena.h"
#include "buf.h"
#include "sha256.h"
#include "state.h"

enum { BACKUP_VERSION = 1, BACKUP_FILES_MAX = 4096, BACKUP_PATH_SIZE_MAX = 512 };

#define BACKUP_LIST "backup.json"
#define BACKUP_HUB "hub" /* the service that log and journal belong to */

/* ---- what is in one (backup.c) ---- */

struct backup_file {
    const char *path;    /* in the backup as in the state folder: "data/orders.db" */
    const char *service; /* whose; "": the system's */
    bool is_database;
    int64_t size;
    char sha256[SHA256_HEX_SIZE];
    int64_t moment_ms; /* of which its content is, wall clock */
    int64_t offset;    /* up to which event at least it knows; -1: not told */
};

struct backup {
    const char *system, *ficus; /* the version that made it */
    int64_t begun_ms, ended_ms;
    bool is_part; /* of some services only */
    struct backup_file *files;
    size_t count;
};

void backup_write(const struct backup *b, struct buf *out);
/* FOLDER/backup.json. NOT_FOUND: no backup, or not a whole one; VERSION: made by a newer ficus; CORRUPT. Paths lead
 * nowhere but to where a backup may put something. Strings are in the arena. */
enum ficus_err backup_read(struct env *e, struct arena *a, const char *folder, struct backup *ret_backup,
                           struct ficus_error *reterr);

/* ---- what a system has (backup.c) ---- */

struct backup_store {
    const char *service;
    const char *path;            /* absolute; of a rebuildable one that of its first generation */
    const char *name;            /* "data/orders.db" */
    const char *socket, *target; /* where its owner gives a copy, while it runs */
    bool is_rebuildable;
};

struct backup_plan {
    const char *system;
    const struct backup_store *stores; /* in the order in which to copy them */
    size_t store_count;
    const char *const *services; /* those that Ficus starts, and the hub */
    size_t service_count;
};

/* From the resolved files of the last start (run/NAME.json). NOT_FOUND: nothing was ever started here. */
enum ficus_err backup_plan_read(struct env *e, struct arena *a, const struct state *s, struct backup_plan *ret_plan,
                                struct ficus_error *reterr);

/* ---- making one (backup_os.c) ----
 * In FOLDER.partial, which is renamed to FOLDER when all of it is on the disk: what was interrupted at any instant is
 * not called a backup. Blocks.
 */
struct backup_maker {
    struct env *e;
    struct arena *a;
    const char *folder, *partial;
    struct backup backup; /* files grow as they are made */
    /* private below */
    const char *folders[BACKUP_FILES_MAX]; /* that were made, relative */
    size_t folder_count;
};

/* EXISTS: one of the two folders is there. */
enum ficus_err backup_make(struct backup_maker *m, struct env *e, struct arena *a, const char *folder,
                           struct ficus_error *reterr);

/* A file that is being written; there may be several. Its members but size and sha256 are the caller's. Pieces, then
 * the end, which syncs it and closes it in any case. After an error only backup_give_up is left. */
struct backup_out {
    struct backup_file *f;
    /* private below */
    struct backup_maker *m;
    struct env_file *file; /* NULL: closed */
    struct sha256 hash;
    int64_t synced; /* bytes */
};
enum ficus_err backup_out_begin(struct backup_out *o, struct backup_maker *m, const char *path, const char *service,
                                struct ficus_error *reterr);
enum ficus_err backup_out_add(struct backup_out *o, struct slice piece, struct ficus_error *reterr);
enum ficus_err backup_out_end(struct backup_out *o, struct ficus_error *reterr);
/* Nothing comes any more; fine when it was ended. */
void backup_out_drop(struct backup_out *o);
/* A regular file of the state folder, or all of those below one of its folders (links and the like are left out); fine
 * when it is not there. */
enum ficus_err backup_add_tree(struct backup_maker *m, const struct state *s, const char *path, const char *service,
                               struct ficus_error *reterr);
/* backup.json, everything synced, the name. EXISTS: somebody else has made FOLDER meanwhile. */
enum ficus_err backup_finish(struct backup_maker *m, struct ficus_error *reterr);
/* Remove what was made. All files are ended or dropped. */
void backup_give_up(struct backup_maker *m);

#endif
