/* SPDX-License-Identifier: Apache-2.0
 *
 * run/children.json: which processes a supervisor has started. Written before each of them may exec, read by the next
 * supervisor (which ends what is left) and by the commands that work while no supervisor does.
 */
#ifndef FICUS_SYSTEM_CHILDREN_H
#define FICUS_SYSTEM_CHILDREN_H

#include "arena.h"
#include "env.h"

enum { CHILDREN_VERSION = 1, CHILDREN_FILE_SIZE_MAX = 1 << 20, CHILDREN_MAX = 1024 };

enum child_kind { CHILD_GATEWAY, CHILD_SERVICE, CHILD_HUB, CHILD_KIND_COUNT };

struct child_record {
    enum child_kind kind;
    const char *name, *team, *address; /* team "" for gateway and hub */
    int64_t instance;                  /* from 1 */
    int64_t pid;                       /* 0: not running when this was written */
    uint64_t start_ticks;
    int64_t started_at_ms; /* wall clock; 0 with pid 0 */
    int64_t restarts;
};

struct children {
    const char *system, *gateway_url;
    int64_t supervisor_pid;
    uint64_t supervisor_start_ticks;
    const struct child_record *records;
    size_t count;
};

const char *child_kind_name(enum child_kind kind); /* "gateway", "service", "hub" */

/* Replace the file in one step. Not synced: what a power failure would tear describes processes that it has ended. */
enum ficus_err children_write(struct env *e, const char *path, const struct children *c, struct ficus_error *reterr);
/* NOT_FOUND, CORRUPT, VERSION. Records of an earlier boot come with pid 0. Strings are in the arena. */
enum ficus_err children_read(struct env *e, struct arena *a, const char *path, struct children *ret_children,
                             struct ficus_error *reterr);
/* End the sessions of all records that still run, and wait for them, at most wait_ms each. Returns how many
 * processes were ended. Blocks. */
unsigned children_end(const struct children *c, const char *state_root, int wait_ms);

#endif
