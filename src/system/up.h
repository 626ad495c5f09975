/* SPDX-License-Identifier: Apache-2.0
 *
 * From a manifest to a plan that the supervisor can run: check, state folder, lock, secrets, resolved files.
 */
#ifndef FICUS_SYSTEM_UP_H
#define FICUS_SYSTEM_UP_H

#include "manifest.h"
#include "supervisor.h"

struct up {
    struct arena *arena; /* the caller's; holds all of this. Allow MANIFEST_ARENA_SIZE_MAX */
    struct manifest *manifest;
    struct state state;
    int lock_fd; /* -1: not locked */
    struct supervisor_plan plan;
    const char *file, *build; /* as given, for reading it again */
    const char *program; /* this one's file on the disk */
    const char *const *sets;
    size_t set_count;
    const char *admin_email, *admin_password; /* NULL: the manifest names no administrator */
};

/* Load and check, also that the services' programs are there; nothing is created when that finds errors (they are in
 * errors then). After it: lock, write what
 * processes need, fill the plan. e may have no worker running. build: absolute folder for ${build}. BUSY: already
 * running. */
enum ficus_err up_prepare(struct env *e, struct arena *a, const char *manifest, const char *build,
                          const char *const *sets, size_t set_count, struct up *ret_up, struct conf_errors *errors,
                          struct ficus_error *reterr);
/* Read the manifest again for the system that u has prepared: supervisor_options.reload. CONFLICT: a process came, left
 * or has another address; that needs a new start. */
enum ficus_err up_reload(struct env *e, const struct up *u, struct arena *a, const struct supervisor_plan *before,
                         struct supervisor_reload *ret_reload, struct conf_errors *errors, struct ficus_error *reterr);
/* For a handover: a plan for what another supervisor has started by the plan before. Nothing is locked and nothing is written; up_write
 * does that. CONFLICT as above, and the errors of up_prepare. */
enum ficus_err up_take_over(struct arena *a, const char *manifest, const char *build, const char *const *sets, size_t set_count,
                            const struct supervisor_plan *before, struct up *ret_up, struct conf_errors *errors, struct ficus_error *reterr);
enum ficus_err up_write(struct env *e, struct up *u, struct ficus_error *reterr);
void up_done(struct up *u); /* lets the lock go */

#endif
