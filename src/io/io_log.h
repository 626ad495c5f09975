/* SPDX-License-Identifier: Apache-2.0
 *
 * The process's log on fd 2, bounded when it is a file that FICUS_LOG names. Private to src/io.
 */
#ifndef FICUS_IO_LOG_H
#define FICUS_IO_LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_GATHER_SIZE = 16 * 1024 };

/* What is behind fd 2: one for the process. */
struct log_file {
    int64_t size_max; /* bytes; the file is rotated when it is larger */
    char *path;       /* owned; NULL: never rotated */
    char *path_old;   /* owned */
    bool is_regular;
    /* at least what this process has written since it last looked; only decides when to look again */
    atomic_llong size_seen;
    pthread_mutex_t rotating;
    pthread_mutex_t writing;    /* not for a regular file, where the kernel lets each write in whole */
};

/* Of one loop. */
struct log_os {
    /* private */
    struct log_file *file, own; /* own: unless it is another loop's */
    pthread_mutex_t mutex;      /* guards what follows */
    char *gathered;             /* LOG_GATHER_SIZE bytes, made with the first line; NULL: none was */
    atomic_size_t gathered_size; /* a signal handler reads it without the mutex */
};

/* path: the file behind fd 2, or NULL. False: out of memory. */
bool log_os_init(struct log_os *l, const char *path, int64_t size_max);
/* Into the same file as another loop, which outlives this one. */
void log_os_init_beside(struct log_os *l, struct log_os *other);
void log_os_done(struct log_os *l);
/* [any] One write(2). Lines longer than a pipe holds at once may be cut by the kernel, when another process writes there; a full pipe or terminal drops
 * the line. */
void log_os_write(struct log_os *l, const void *p, size_t size);
/* [any] Keep the line for the next log_os_flush or log_os_write, whichever comes first, so that lines stay in order;
 * many lines are then one write. True: it is the first one kept, somebody has to flush. */
bool log_os_gather(struct log_os *l, const void *p, size_t size);
void log_os_flush(struct log_os *l); /* [any] */
/* [loop] From now on what l has gathered is written when the process dies of itself (SIGABRT, as from a failed assertion,
 * SIGSEGV, SIGBUS, SIGFPE, SIGILL), before what these signals did until now is done. It must stay until it is forgotten. */
void log_os_keep_at_death(struct log_os *l);
void log_os_forget_at_death(struct log_os *l);

#endif
