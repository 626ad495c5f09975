/* SPDX-License-Identifier: Apache-2.0
 *
 * Putting a backup into the state folder of a system that does not run; the caller has the state's lock.
 *
 *     restore_stage   copies all of it to STATE/restore.partial and compares every hash; then notes in
 *                     STATE/restore.json what goes where
 *     restore_finish  by the note: what is in the way moves to STATE/replaced-TIME, then the copies take their places
 *
 * Until the note is there nothing was touched. From then on there is only forward: each step looks whether it was done,
 * so the same may be called again after whatever interrupted it, and nothing else may use the state before (ficus up
 * refuses). Nothing is ever overwritten. Blocks.
 */
#ifndef FICUS_SYSTEM_RESTORE_H
#define FICUS_SYSTEM_RESTORE_H

#include "backup.h"

#define RESTORE_NOTE "restore.json"
#define RESTORE_PARTIAL "restore.partial"

/* A restore was interrupted, and restore_finish has to be called before anything else. */
bool restore_is_pending(const struct state *s);
/* One was interrupted earlier, while it copied: nothing was changed yet, and the same command begins again. */
bool restore_is_begun(const struct state *s);

struct restore {
    struct env *e;
    struct arena *a;
    const struct state *s;
    const char *folder;          /* of the backup */
    const struct backup *backup; /* the files of it that are wanted */
    bool whole;                  /* all that the state has gives way, not only what has the same place */
    bool replace;                /* something may be in the way */
    void (*progress)(void *arg, const struct backup_file *f); /* before each; may be NULL */
    void *arg;
};

/* CONFLICT: something is in the way and replace is false; CORRUPT: a file is not as the list says, or no sound database.
 * After an error all is as before. */
enum ficus_err restore_stage(const struct restore *r, struct ficus_error *reterr);
/* *ret_aside: where what was there lies now, absolute, in the arena; "": nothing was there. NOT_FOUND: there is no note. */
enum ficus_err restore_finish(struct env *e, struct arena *a, const struct state *s, const char **ret_aside,
                              struct ficus_error *reterr);

#endif
