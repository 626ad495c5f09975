/* SPDX-License-Identifier: Apache-2.0
 *
 * A disk in memory that keeps synced and unsynced bytes apart, as cruel as POSIX allows: at a crash what was not synced
 * is forgotten, or torn sector by sector, in any order; a directory entry lives only after its folder was synced. The
 * simulator and the durability tests put their env's file operations on it. One thread.
 *
 * Life of a byte:   write -> live (read back at once) -> sync -> durable
 *                   crash: durable stays; of the rest as `enum sim_crash` says; every open file is dead and must only
 *                   be closed
 *
 * Faults besides: the disk dies after the n-th operation that changes it (each later one fails with IO and changes
 * nothing), fails a window of operations with a given error, or is full.
 */
#ifndef FICUS_SIM_DISK_H
#define FICUS_SIM_DISK_H

#include "err.h"
#include "slice.h"

#include <sys/types.h>

enum { SIM_SECTOR_SIZE = 512 };

enum sim_crash {
    SIM_CRASH_KEEP,     /* the process dies, the machine lives: all that was written is there */
    SIM_CRASH_FORGET,   /* power lost: exactly the synced bytes are there */
    /* power lost: of each unsynced write any subset of its sectors, even parts of one, as the seed says */
    SIM_CRASH_TEAR,
};

struct sim_disk;
struct sim_file;    /* an open file */

struct sim_disk *sim_disk_new(void);                            /* NULL: out of memory */
struct sim_disk *sim_disk_clone(const struct sim_disk *d);      /* without its open files and faults */
void sim_disk_free(struct sim_disk *d);                         /* with all open files */
/* Another way to look at a disk that outlives it: a file of the view reads what has its name on the other disk at that moment,
 * also between the operations of those who write there, and under no lock of theirs. Nothing can be written; opening creates
 * only names of the view. */
struct sim_disk *sim_disk_view(const struct sim_disk *d);
/* Another number whenever what a reader of that name finds may have changed; 0: nothing has it. */
uint64_t sim_disk_changed(const struct sim_disk *d, const char *path);

/* Crash and start again: dead disks live, counters of faults are cleared. */
void sim_disk_crash(struct sim_disk *d, enum sim_crash mode, uint64_t seed);

/* ---- faults ---- */
/* Operations that change the disk, so far: create, write, truncate, sync, unlink, rename, sync of a folder. */
uint64_t sim_disk_op_count(const struct sim_disk *d);
/* Those of them that synced a file: what a reader of the disk finds committed changes only with one, or at a crash. */
uint64_t sim_disk_sync_count(const struct sim_disk *d);
/* in operations from now, the last one still happens; 0: dead at once */
void sim_disk_die_after(struct sim_disk *d, uint64_t op_count);
bool sim_disk_dead(const struct sim_disk *d);
/* Operations [first, first + count) from now fail with err and change nothing. count 0: none. */
void sim_disk_fail(struct sim_disk *d, uint64_t first, uint64_t count, enum ficus_err err);
void sim_disk_size_max(struct sim_disk *d, uint64_t size_max);      /* bytes of all files; over it FULL; 0: no limit */

/* ---- as in env.h; flags: enum env_open_flags ---- */
enum ficus_err sim_disk_open(struct sim_disk *d, const char *path, unsigned flags, struct sim_file **ret_file);
void sim_file_close(struct sim_file *f);
ssize_t sim_file_read(struct sim_file *f, void *p, size_t size, int64_t offset);
enum ficus_err sim_file_write(struct sim_file *f, const void *p, size_t size, int64_t offset);
enum ficus_err sim_file_truncate(struct sim_file *f, int64_t size);
enum ficus_err sim_file_sync(struct sim_file *f);
enum ficus_err sim_file_size(struct sim_file *f, int64_t *ret_size);
enum ficus_err sim_file_lock(struct sim_file *f, int64_t offset, int64_t size);
enum ficus_err sim_disk_unlink(struct sim_disk *d, const char *path);
enum ficus_err sim_disk_rename(struct sim_disk *d, const char *from, const char *to);
bool sim_disk_exists(struct sim_disk *d, const char *path);
bool sim_file_in_place(const struct sim_file *f, const char *path);
enum ficus_err sim_disk_dir_sync(struct sim_disk *d, const char *path_in_dir);

/* Splitmix64: the stream of random numbers of tests; advances *state. */
uint64_t sim_random(uint64_t *state);

#endif
