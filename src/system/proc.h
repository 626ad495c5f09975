/* SPDX-License-Identifier: Apache-2.0
 *
 * What /proc tells about a process, and ending processes that are not our children without hitting a stranger who got
 * the same pid.
 */
#ifndef FICUS_SYSTEM_PROC_H
#define FICUS_SYSTEM_PROC_H

#include <stdbool.h>
#include <stdint.h>

enum { PROC_BOOT_ID_SIZE = 40 };

struct proc_info {
    int64_t pid, session;
    uint64_t start_ticks; /* since boot: with pid and boot id it names a process for ever */
    char state;           /* 'R', 'S', 'T', 'Z', ... */
};

/* False when there is no such process (any more). */
bool proc_read(int64_t pid, struct proc_info *ret_info);
/* Alive, not a zombie, and the same process as then. */
bool proc_is(int64_t pid, uint64_t start_ticks);
/* Resident and proportional set size of all processes in the session that pid leads, bytes. False when none can be
 * read. */
bool proc_memory(int64_t pid, int64_t *ret_rss_bytes, int64_t *ret_pss_bytes);
/* This boot of the machine; "" when the kernel does not say. */
void proc_boot_id(char ret_text[PROC_BOOT_ID_SIZE]);

/* SIGKILL every process of the session that pid led when it had start_ticks, and wait until they are gone, at most
 * wait_ms in all. The leader must have an environment that names state_path (what we start does), else it is left
 * alone; so must members whose leader is dead or left alone. Returns how many were ended. Blocks. */
unsigned proc_end_session(int64_t pid, uint64_t start_ticks, const char *state_path, int wait_ms);

#endif
