/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a process that dies with us: its own session, PR_SET_PDEATHSIG, output to its log file, inherited listening
 * sockets. Between fork and exec it waits at a gate until it has been recorded; a supervisor that dies meanwhile lets
 * it end there.
 */
#ifndef FICUS_SYSTEM_CHILD_H
#define FICUS_SYSTEM_CHILD_H

#include "err.h"

#include <stdint.h>

enum { CHILD_SOCKETS_MAX = 8 };

struct child_spec {
    const char *const *argv;         /* NULL-terminated; argv[0] is looked up in PATH unless it holds a '/' */
    const char *file;                /* what to execute instead of argv[0]; NULL: argv[0] */
    const char *folder;              /* working folder */
    const char *log_path;            /* stdout and stderr are appended to it; made 0600 */
    const char *const *environment;  /* NULL-terminated "NAME=value": added to ours, which loses FICUS_*,
     LISTEN_* and NOTIFY_SOCKET first */
    const int *sockets;              /* become fd 3, 4, ... */
    const char *const *socket_names; /* for LISTEN_FDNAMES */
    size_t socket_count;             /* at most CHILD_SOCKETS_MAX */
};

/* Forks. *ret_gate: pass it to child_release, or close it to make the child end. Single-threaded callers only.
 * Errors: NOMEM, INVALID, of fork. */
enum ficus_err child_spawn(const struct child_spec *spec, int64_t *ret_pid, int *ret_gate, struct ficus_error *reterr);
/* Let it go on to exec; closes the gate. */
void child_release(int gate);

#endif
