/* SPDX-License-Identifier: Apache-2.0
 *
 * What a supervisor hands to the program that takes its place in its own process (ficus upgrade): pids, states, and the
 * numbers of the descriptors that stay open over execve. It lies as JSON in a memory file; FICUS_HANDOVER names its number.
 *
 * execve keeps the pid, so the children stay ours, with their PR_SET_PDEATHSIG, the lock stays locked and the sockets
 * stay open. A kill -9 before, in or after it is the end of a supervisor like any other.
 */
#ifndef FICUS_SYSTEM_HANDOVER_H
#define FICUS_SYSTEM_HANDOVER_H

#include "buf.h"
#include "supervisor.h"
#include "unit.h"

enum { HANDOVER_VERSION = 1, HANDOVER_SIZE_MAX = 4 << 20 };

#define HANDOVER_VARIABLE "FICUS_HANDOVER"             /* take over what this descriptor holds */
#define HANDOVER_TRIAL_VARIABLE "FICUS_HANDOVER_TRIAL" /* only say whether you could */
#define HANDOVER_TRIAL_WORDS "can take over\n"         /* "ficus VERSION " and this: the end of what a trial says, with exit status 0 */

struct handover_process {
    const char *name;
    int64_t instance;
    const char *listen[SUPERVISOR_SOCKETS_MAX];
    int sockets[SUPERVISOR_SOCKETS_MAX];
    size_t listen_count;
    struct unit unit;     /* timer_ms is not handed over; ready_since_ms is how long it has been ready */
    int64_t pid;          /* 0: none */
    uint64_t start_ticks; /* of pid */
    int64_t started_at_ms;
    bool was_ready, message_is_end;
    const char *message;
};

struct handover {
    const char *from;   /* version of who hands over */
    const char *failed; /* not NULL: this is the program of before again, as the next one could not; the reason */
    int lock_fd, notify_fd, api_fd;
    int previous; /* O_PATH of the program of before, which can take all back; -1: none */
    bool told_healthy;
    const struct handover_process *processes; /* in the plan's order */
    size_t count;
};

void handover_write(const struct handover *h, struct buf *out);
/* Strings are in the arena. INVALID: this is none; VERSION: of another Ficus. */
enum ficus_err handover_parse(struct arena *a, struct slice text, struct handover *ret_handover, struct ficus_error *reterr);

/* ---- handover_os.c ---- */

/* A new memory file with h in it, close-on-exec. */
enum ficus_err handover_store(const struct handover *h, int *ret_fd, struct ficus_error *reterr);
/* Reads what the descriptor holds, which stays open. */
enum ficus_err handover_load(struct arena *a, int fd, struct handover *ret_handover, struct ficus_error *reterr);
/* Whether all descriptors of h stay open over execve. */
void handover_keep(const struct handover *h, bool kept);
/* This process's own command line, NULL-terminated, in the arena; word 0 becomes program. NULL: out of memory, or not to be read. */
const char *const *handover_argv(struct arena *a, const char *program);
/* Become the program that fd (O_PATH) is, with this command line: all signals are blocked then, as a signal between the two
 * programs would end the process; the next one lets them through when it listens (handover_signals). Returns only when that fails,
 * with all as before. Single-threaded callers only. */
enum ficus_err handover_exec(const struct handover *h, int fd, const char *const *argv, struct ficus_error *reterr);
void handover_signals(void);

#endif
