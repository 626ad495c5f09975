/* SPDX-License-Identifier: Apache-2.0
 *
 * The state folder of a system: where it is, what lies in it, who may use it.
 *
 *     .ficus-state      marker with the schema version; only a folder that has it is ever purged
 *     system.key        0600, made once      admin.json   0600, made once
 *     schemas.json      registered schemas of topics (manifest_options.registered)
 *     data/             stores               private/     one folder per service
 *     log/              NAME.N.log, supervisor.log
 *     restore.json, restore.partial/   while ficus restore is at work (restore.h)
 *     replaced-TIME/    what it has moved aside; nothing but an operator's hand removes it
 *     run/              0700: lock, children.json, resolved files NAME.json, kept addresses, sockets, and the file
 *     "sockets" that says where they are: here, or in a folder with a shorter name
 */
#ifndef FICUS_SYSTEM_STATE_H
#define FICUS_SYSTEM_STATE_H

#include "arena.h"
#include "env.h"

enum {
    STATE_VERSION = 1,
    STATE_SOCKET_PATH_MAX = 100, /* bytes of a unix socket's path; the kernel takes 107 */
    STATE_PASSWORD_SIZE = 21,    /* 20 characters and a NUL */
};

#define STATE_REPLACED "replaced-" /* and the time: what ficus restore has moved aside */

struct state {
    const char *root; /* absolute, as all below */
    const char *run, *log, *data, *private_root;
    const char *sockets; /* folder of the unix sockets */
    const char *key_file, *admin_file, *schemas_file, *lock_file, *children_file;
};

/* Where the state of the manifest's system lies: $FICUS_STATE, else .ficus beside the manifest. Looks at the disk
 * (for run/sockets) but changes nothing. Strings are in the arena. */
enum ficus_err state_locate(struct arena *a, const char *manifest, struct state *ret_state, struct ficus_error *reterr);
/* Whether the folder is there and has the marker. */
bool state_exists(const struct state *s);
/* It belongs to another user, who alone knows what runs in it. */
bool state_closed_to_us(const struct state *s);
/* Create what is missing. CONFLICT: the folder is there, not empty and without marker; VERSION: made by a newer
 * Ficus. */
enum ficus_err state_create(struct env *e, const struct state *s, struct ficus_error *reterr);
/* Take the lock; *ret_fd is to be kept open for life. BUSY with the other's pid in the text. */
enum ficus_err state_lock(const struct state *s, int *ret_fd, struct ficus_error *reterr);
/* The pid in the lock file when somebody holds the lock, 0 when nobody does. */
int64_t state_lock_holder(const struct state *s);
/* Choose the folder of the sockets so that FOLDER/NAME.N.sock of the longest name fits, create it 0700, check that
 * it is ours, note it in run/sockets. Sets s->sockets. When the note named another folder, the state was moved or
 * copied: addresses that processes have kept are forgotten, since they may lead into the original. */
enum ficus_err state_choose_sockets(struct env *e, struct arena *a, struct state *s, size_t name_size_max,
                                    struct ficus_error *reterr);
/* Make system.key unless it is there. */
enum ficus_err state_key(struct env *e, const struct state *s, struct ficus_error *reterr);
/* Make admin.json {email, password} unless it is there with this email; in either case tell the password, in the
 * arena. */
enum ficus_err state_admin(struct env *e, struct arena *a, const struct state *s, const char *email,
                           const char **ret_password, struct ficus_error *reterr);
/* Remove name at the top of the state folder with all below it; never follows a symbolic link. False: errno tells why
 * something stays. */
bool state_remove(const struct state *s, const char *name);
/* Remove what Ficus made; what else is found at the top stays, and so does the folder then. *ret_left (in the
 * arena): their names, separated by ", ", "" for none. DENIED without marker: all of it is not ours, and stays. */
enum ficus_err state_purge(struct arena *a, const struct state *s, const char **ret_left, struct ficus_error *reterr);

#endif
