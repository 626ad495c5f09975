/* SPDX-License-Identifier: Apache-2.0
 *
 * Growable byte buffer with a ceiling. Capacity always has room for the NUL behind the content.
 */
#include "buf.h"

#include "assert.h"
#include "mem.h"

#include <stdio.h>

void buf_init(struct buf *b, size_t size_max)
{
    FICUS_ASSERT(size_max < SIZE_MAX / 4);
    *b = (struct buf){.size_max = size_max};
}

void buf_done(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){.size_max = b->size_max};
}

void buf_clear(struct buf *b)
{
    b->size = 0;
    b->failed = b->starved = false;
    if (b->p != NULL)
        b->p[0] = '\0';
}

bool buf_failed(const struct buf *b)
{
    return b->failed;
}

bool buf_starved(const struct buf *b)
{
    return b->starved;
}

struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->p == NULL ? "" : b->p, b->size};
}

const char *buf_str(const struct buf *b)
{
    return b->p == NULL ? "" : b->p;
}

char *buf_steal(struct buf *b)
{
    char *p = b->p != NULL ? b->p : mem_strndup("", 0);
    *b = (struct buf){.size_max = b->size_max};
    return p;
}

bool buf_reserve(struct buf *b, size_t size_more)
{
    if (size_more > b->size_max || b->size > b->size_max - size_more) {
        b->failed = true;
        return false;
    }
    size_t need = b->size + size_more + 1;
    if (need <= b->capacity)
        return true;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity * 2;
    if (capacity > b->size_max + 1)
        capacity = b->size_max + 1;
    if (capacity < need)
        capacity = need;
    char *p = mem_realloc(b->p, capacity);
    if (p == NULL) {
        b->failed = b->starved = true;
        return false;
    }
    if (b->p == NULL)
        p[0] = '\0';
    b->p = p;
    b->capacity = capacity;
    return true;
}

bool buf_add(struct buf *b, const void *p, size_t size)
{
    if (size == 0)
        return true;
    if (!buf_reserve(b, size))
        return false;
    memcpy(b->p + b->size, p, size);
    b->size += size;
    b->p[b->size] = '\0';
    return true;
}

bool buf_add_slice(struct buf *b, struct slice s)
{
    return buf_add(b, s.p, s.size);
}

bool buf_add_str(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

bool buf_add_char(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

bool buf_vprintf(struct buf *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = b->capacity - b->size;
    int n = vsnprintf(room > 0 ? b->p + b->size : NULL, room, format, args);
    bool ok = n >= 0;
    if (ok && (size_t)n >= room) {
        if (room > 0)
            b->p[b->size] = '\0';
        ok = buf_reserve(b, (size_t)n);
        if (ok)
            n = vsnprintf(b->p + b->size, (size_t)n + 1, format, again);
    }
    va_end(again);
    if (!ok) {
        b->failed = true;
        return false;
    }
    b->size += (size_t)n;
    return true;
}

bool buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool ok = buf_vprintf(b, format, args);
    va_end(args);
    return ok;
}

bool buf_truncate(struct buf *b, size_t size)
{
    if (size > b->size)
        return false;
    b->size = size;
    if (b->p != NULL)
        b->p[size] = '\0';
    return true;
}

void buf_consume(struct buf *b, size_t size)
{
    FICUS_ASSERT(size <= b->size);
    if (size == 0)
        return;
    b->size -= size;
    memmove(b->p, b->p + size, b->size + 1);
}
