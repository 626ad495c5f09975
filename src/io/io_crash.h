/* SPDX-License-Identifier: Apache-2.0
 *
 * Dying on purpose beside a durable write, for tests of whole systems (`ficus test saga`). A tester makes a page, which is a
 * small file, and names it to a process that it starts, by FICUS_CRASH; both map it. The tester arms it: from then on the
 * process counts its durable writes, file by file, and kills itself by SIGKILL before or after the one that is aimed at. Nobody
 * else can arm it: the page belongs to the user who made it, and a supervisor passes no FICUS_CRASH on but its own.
 *
 * A durable write is everything that is written to one file up to the sync that makes it last; making the name of a file last
 * (env_dir_sync) is one of its own. Before: not one of its bytes is written. After: it is synced, and nobody has been told.
 * What lies between these looks to the next process as one of them, since a kill takes nothing back that the kernel has.
 *
 * The process's side is [any]. Without FICUS_CRASH all of it is one test of a pointer per write and sync.
 */
#ifndef FICUS_IO_CRASH_H
#define FICUS_IO_CRASH_H

#include "err.h"

#include <stdatomic.h>
#include <stdint.h>

enum { CRASH_FILES_MAX = 32, CRASH_NAME_SIZE = 64, CRASH_MAGIC = 0x46637273 /* "Fcrs" */, CRASH_VERSION = 1 };
enum crash_side { CRASH_BEFORE, CRASH_AFTER };
enum crash_mode { CRASH_OFF, CRASH_COUNT, CRASH_KILL };

struct crash_file {
    char name[CRASH_NAME_SIZE]; /* the last part of its path; "name of FILE" where a name was made to last */
    atomic_uint begun, done;    /* since it was armed; more have begun than are done: one was never synced, or killed */
};

/* Mapped by both; what is no atomic is written by the tester while the mode is OFF, or once (names). */
struct crash_page {
    uint32_t magic, version;
    atomic_uint mode;       /* enum crash_mode; the dying process sets OFF, so that the next one lives */
    atomic_uint round;      /* one more at each arming */
    atomic_uint died;       /* it killed itself in this round */
    atomic_uint moves;      /* begins and ends of durable writes, counted always: the tester's sign of quiet */
    atomic_uint file_count;
    atomic_uint file_lacked; /* there were more files than CRASH_FILES_MAX; those are not counted */
    uint32_t number, side;  /* the aim: from 1; enum crash_side */
    char name[CRASH_NAME_SIZE];
    struct crash_file files[CRASH_FILES_MAX];
};

/* ---- the tester's side ---- */

/* Make the file (replacing one that is there, mode 0600) and map it. */
enum ficus_err crash_page_new(const char *path, struct crash_page **ret_page, struct ficus_error *reterr);
/* Map one that is there. NOT_FOUND...; VERSION: it is none of ours. */
enum ficus_err crash_page_open(const char *path, struct crash_page **ret_page, struct ficus_error *reterr);
void crash_page_close(struct crash_page *p); /* NULL is fine */
/* All counts begin at 0; file NULL: count only, else kill there. */
void crash_page_arm(struct crash_page *p, const char *file, uint32_t number, enum crash_side side);
/* Count no more, and kill nobody. */
void crash_page_disarm(struct crash_page *p);

/* ---- the process's side, private to src/io ---- */

struct crash;
/* By FICUS_CRASH; *ret_crash NULL when it is not set. */
enum ficus_err crash_new(struct crash **ret_crash, struct ficus_error *reterr);
void crash_free(struct crash *c);
/* The slot of a file, for the calls below; -1: it is not counted. */
int crash_file(struct crash *c, const char *path, bool is_name);
/* Bytes are about to be written. *batch is the file's own, 0 when it is opened; it tells whether a durable write is under way. */
void crash_begin(struct crash *c, int file, atomic_ullong *batch);
/* It is synced. Nothing when none was under way. */
void crash_end(struct crash *c, int file, atomic_ullong *batch);

#endif
