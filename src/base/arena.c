/* SPDX-License-Identifier: Apache-2.0
 *
 * Bump allocation in blocks of 2 to 32 KiB; what is larger gets a block of its own. Under AddressSanitizer every
 * allocation is a block of its own, so that an overrun of one byte is seen.
 */
#include "arena.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_EACH_ALONE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_EACH_ALONE 1
#endif
#endif
#ifndef ARENA_EACH_ALONE
#define ARENA_EACH_ALONE 0
#endif

enum { ARENA_BLOCK_MIN = 2048, ARENA_BLOCK_MAX = 32768, ARENA_BLOCK_KEPT_MAX = 8192 };

/* The bytes follow the header directly; its size keeps them aligned. */
struct arena_block {
    struct arena_block *next;
    size_t size;    /* of the bytes behind the header */
};
_Static_assert(sizeof(struct arena_block) % ARENA_ALIGN == 0, "the bytes behind the header must stay aligned");

void arena_init(struct arena *a, size_t size_max)
{
    *a = (struct arena){.size_max = size_max};
}

static void free_blocks(struct arena_block *b)
{
    while (b != NULL) {
        struct arena_block *next = b->next;
        mem_free(b);
        b = next;
    }
}

void arena_done(struct arena *a)
{
    free_blocks(a->blocks);
    *a = (struct arena){.size_max = a->size_max};
}

void arena_clear(struct arena *a)
{
    /* The block that a->end belongs to is the newest but for those that hold one large piece each. */
    struct arena_block **link = &a->blocks;
    while (*link != NULL && (char *)(*link + 1) + (*link)->size != a->end)
        link = &(*link)->next;
    struct arena_block *keep = *link;
    if (ARENA_EACH_ALONE || keep == NULL || keep->size > ARENA_BLOCK_KEPT_MAX) {
        arena_done(a);
        return;
    }
    *link = keep->next;
    free_blocks(a->blocks);
    keep->next = NULL;
    *a = (struct arena){.size_max = a->size_max, .blocks = keep, .at = (char *)(keep + 1), .end = a->end};
}

bool arena_overflowed(const struct arena *a)
{
    return a->overflowed;
}

size_t arena_size(const struct arena *a)
{
    return a->size_used;
}

static struct arena_block *add_block(struct arena *a, size_t size)
{
    struct arena_block *b = mem_alloc(sizeof *b + size);
    if (b == NULL)
        return NULL;
    b->next = a->blocks;
    b->size = size;
    a->blocks = b;
    return b;
}

/* size is rounded up already and within the ceiling. */
static void *take(struct arena *a, size_t size)
{
    if ((size_t)(a->end - a->at) >= size && a->at != NULL) {
        void *p = a->at;
        a->at += size;
        return p;
    }
    /* The second is larger than the first also when little was taken from that: it is the one that arena_clear keeps, and alone
     * it had better have room for as much the next time. */
    size_t block = a->blocks == NULL ? ARENA_BLOCK_MIN : 2 * ARENA_BLOCK_MIN;
    while (block < ARENA_BLOCK_MAX && block <= a->size_used)
        block *= 2;
    if (size > block / 4 && size > (size_t)ARENA_BLOCK_MIN) {
        struct arena_block *alone = add_block(a, size);
        return alone == NULL ? NULL : (void *)(alone + 1);
    }
    struct arena_block *b = add_block(a, block);
    if (b == NULL)
        return NULL;
    a->at = (char *)(b + 1) + size;
    a->end = (char *)(b + 1) + block;
    return b + 1;
}

void *arena_alloc_more(struct arena *a, size_t size)
{
    size_t want = size == 0 ? 1 : size;
    if (want > a->size_max || want > SIZE_MAX - ARENA_ALIGN) {
        a->overflowed = true;
        return NULL;
    }
    size_t rounded = (want + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (a->size_used > a->size_max || want > a->size_max - a->size_used) {
        a->overflowed = true;
        return NULL;
    }
    void *p;
    if (ARENA_EACH_ALONE) {
        struct arena_block *b = add_block(a, want);
        p = b == NULL ? NULL : (void *)(b + 1);
    } else {
        p = take(a, rounded);
    }
    if (p == NULL) {
        a->overflowed = true;
        return NULL;
    }
    a->size_used += rounded;
    return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
    void *p = arena_alloc(a, size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

char *arena_strdup(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.size + 1);
    if (p == NULL)
        return NULL;
    if (s.size > 0)
        memcpy(p, s.p, s.size);
    p[s.size] = '\0';
    return p;
}

struct slice arena_slice(struct arena *a, struct slice s)
{
    char *p = arena_strdup(a, s);
    return p == NULL ? SLICE_NONE : (struct slice){p, s.size};
}

char *arena_vprintf(struct arena *a, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p != NULL)
        (void)vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *p = arena_vprintf(a, format, args);
    va_end(args);
    return p;
}
