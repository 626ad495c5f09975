/* SPDX-License-Identifier: Apache-2.0
 *
 * Bump allocator with a hard ceiling, one per message. Everything in it dies at once. Over the ceiling an
 * allocation returns NULL and the arena remembers it (arena_overflowed), so that the message fails with
 * 413/431/503 and nothing else. In ASan builds each allocation is its own malloc (same interface).
 * Not thread-safe: one owner at a time.
 */
#ifndef FICUS_BASE_ARENA_H
#define FICUS_BASE_ARENA_H

#include "slice.h"

#include <stdarg.h>

struct arena_block;

struct arena {
    size_t size_max;            /* ceiling in bytes over all blocks */
    /* private below */
    struct arena_block *blocks;
    char *at, *end;
    size_t size_used;
    bool overflowed;
};

/* No allocation happens before the first arena_alloc. block size grows from 2 KiB to 32 KiB. */
void arena_init(struct arena *a, size_t size_max);
void arena_done(struct arena *a);       /* frees everything; the arena may be initialised again */
void arena_clear(struct arena *a);      /* as done + init, but keeps one block of at most 8 KiB for reuse */
bool arena_overflowed(const struct arena *a);
size_t arena_size(const struct arena *a);   /* bytes handed out */

void *arena_alloc_more(struct arena *a, size_t size); /* behind arena_alloc */
enum { ARENA_ALIGN = 16 };
/* Aligned to ARENA_ALIGN, uninitialised (arena_zalloc: zeroed). NULL over the ceiling or out of memory. */
static inline void *arena_alloc(struct arena *a, size_t size)
{
    size_t room = (size_t)(a->end - a->at), rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (size == 0 || size > room || rounded > room || a->size_used + rounded > a->size_max)
        return arena_alloc_more(a, size);
    void *p = a->at;
    a->at += rounded;
    a->size_used += rounded;
    return p;
}
void *arena_zalloc(struct arena *a, size_t size);
char *arena_strdup(struct arena *a, struct slice s);            /* NUL added */
struct slice arena_slice(struct arena *a, struct slice s);      /* copy; p NULL on failure */
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *a, const char *format, va_list args);

#define ARENA_NEW(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_zalloc((a), sizeof(type) * (count)))

#endif
