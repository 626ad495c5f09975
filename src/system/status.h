/* SPDX-License-Identifier: Apache-2.0
 *
 * What `ficus status --json` prints, made from a list of processes: by the supervisor of what it runs, or from
 * run/children.json when there is none.
 */
#ifndef FICUS_SYSTEM_STATUS_H
#define FICUS_SYSTEM_STATUS_H

#include "buf.h"
#include "children.h"

struct status_process {
    struct child_record record; /* pid 0: none */
    const char *state;
    const char *message; /* what it says of itself; NULL or "": nothing */
    bool reloading;      /* it has not yet said what it makes of its new file */
    bool changed;        /* its configuration is newer than the process */
};

/* A service that somebody else starts. */
struct status_external {
    const char *name, *team, *url;
};

struct status_upgrade {
    const char *state;   /* "checking", "taking over", "rolling", "done", "failed" */
    const char *from, *to; /* versions; to NULL: not known yet */
    const char *process; /* that is restarted now; NULL: none */
    size_t done, count;  /* processes */
    const char *message; /* why it failed; NULL */
};

struct status {
    const char *system, *gateway_url;
    const char *version;                    /* the supervisor's; NULL: not known */
    const struct status_upgrade *upgrade;   /* NULL: none was asked for */
    int64_t supervisor_pid;                 /* 0: none */
    const struct status_process *processes; /* instances of one service stand together */
    size_t count;
    const struct status_external *externals;
    size_t external_count;
};

/* One JSON object. Reads the memory of each process from /proc. */
void status_write(const struct status *s, struct buf *out);
/* From the record alone: a process that it lists is "running" or "stopped". The same errors as children_read. */
enum ficus_err status_from_record(struct env *e, const char *children_file, struct buf *out,
                                  struct ficus_error *reterr);

#endif
