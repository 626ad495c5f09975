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
    const char *admin_email, *admin_password; /* NULL: the manifest names no administrator */
};

/* Load and check; nothing is created when that finds errors (they are in errors then). After it: lock, write what
 * processes need, fill the plan. e may have no worker running. build: absolute folder for ${build}. BUSY: already
 * running. */
enum ficus_err up_prepare(struct env *e, struct arena *a, const char *manifest, const char *build,
                          const char *const *sets, size_t set_count, struct up *ret_up, struct conf_errors *errors,
                          struct ficus_error *reterr);
void up_done(struct up *u); /* lets the lock go */

#endif
