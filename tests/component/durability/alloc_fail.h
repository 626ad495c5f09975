/* SPDX-License-Identifier: Apache-2.0
 *
 * The n-th allocation fails, once. The test's program is linked with --wrap=malloc, =calloc and =realloc, so all of src/base/mem.c
 * comes through here (SQLite, a library, does not). The simulated disk is not to be short of memory: alloc_env gives an
 * env whose file operations and timers do not count. One thread.
 */
#ifndef FICUS_ALLOC_FAIL_H
#define FICUS_ALLOC_FAIL_H

#include "env.h"

#include <stdlib.h>

static struct {
    bool armed, failed;
    uint64_t left; /* allocations until the one that fails */
} alloc_fault;

static inline void alloc_fail_at(uint64_t n) /* from 1; 0: none */
{
    alloc_fault.armed = n > 0;
    alloc_fault.left = n;
    alloc_fault.failed = false;
}

static bool alloc_fails(void)
{
    if (!alloc_fault.armed || --alloc_fault.left > 0)
        return false;
    alloc_fault.armed = false;
    return alloc_fault.failed = true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
    return alloc_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return alloc_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return alloc_fails() ? NULL : __real_realloc(p, size);
}

/* ---- the env ---- */

static const struct env_ops *alloc_real_ops;
static struct env_ops alloc_ops;

#define ALLOC_UNCOUNTED(type, call)      \
    do {                                 \
        bool armed = alloc_fault.armed;  \
        alloc_fault.armed = false;       \
        type result = alloc_real_ops->call; \
        alloc_fault.armed = armed;       \
        return result;                   \
    } while (0)

static enum ficus_err alloc_file_open(struct env *e, const char *path, unsigned flags, struct env_file **ret_file, struct ficus_error *reterr)
{
    ALLOC_UNCOUNTED(enum ficus_err, file_open(e, path, flags, ret_file, reterr));
}
static enum ficus_err alloc_file_write(struct env_file *f, const void *p, size_t size, int64_t offset)
{
    ALLOC_UNCOUNTED(enum ficus_err, file_write(f, p, size, offset));
}
static enum ficus_err alloc_file_truncate(struct env_file *f, int64_t size)
{
    ALLOC_UNCOUNTED(enum ficus_err, file_truncate(f, size));
}
static enum ficus_err alloc_file_sync(struct env_file *f)
{
    ALLOC_UNCOUNTED(enum ficus_err, file_sync(f));
}
static enum ficus_err alloc_file_unlink(struct env *e, const char *path)
{
    ALLOC_UNCOUNTED(enum ficus_err, file_unlink(e, path));
}
static enum ficus_err alloc_file_rename(struct env *e, const char *from, const char *to)
{
    ALLOC_UNCOUNTED(enum ficus_err, file_rename(e, from, to));
}
static enum ficus_err alloc_dir_sync(struct env *e, const char *path_in_dir)
{
    ALLOC_UNCOUNTED(enum ficus_err, dir_sync(e, path_in_dir));
}

static void alloc_timer_start(struct env *e, struct env_timer *t, int64_t delay_ms)
{
    bool armed = alloc_fault.armed;
    alloc_fault.armed = false;
    alloc_real_ops->timer_start(e, t, delay_ms);
    alloc_fault.armed = armed;
}

/* Changes e, until the end of e. The simulator's own turns do not count (sim_zalloc), so work on its loop and its workers may be swept. */
static inline struct env *alloc_env(struct env *e)
{
    if (e->ops == &alloc_ops)
        return e;
    alloc_real_ops = e->ops;
    alloc_ops = *e->ops;
    alloc_ops.file_open = alloc_file_open;
    alloc_ops.file_write = alloc_file_write;
    alloc_ops.file_truncate = alloc_file_truncate;
    alloc_ops.file_sync = alloc_file_sync;
    alloc_ops.file_unlink = alloc_file_unlink;
    alloc_ops.file_rename = alloc_file_rename;
    alloc_ops.dir_sync = alloc_dir_sync;
    alloc_ops.timer_start = alloc_timer_start;
    e->ops = &alloc_ops;
    return e;
}

#endif
