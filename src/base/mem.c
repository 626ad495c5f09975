/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap, in one place.
 */
#include "mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *mem_alloc(size_t size)
{
    return malloc(size == 0 ? 1 : size);
}

/* glibc keeps freed blocks of up to 1032 bytes at hand for each thread, and its calloc does not look there. */
void *mem_zalloc(size_t size)
{
    if (size > 1024)
        return calloc(1, size);
    void *p = mem_alloc(size);
    return p == NULL ? NULL : memset(p, 0, size);
}

void *mem_array(size_t count, size_t size)
{
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : mem_zalloc(bytes);
}

void *mem_realloc(void *p, size_t size)
{
    return realloc(p, size == 0 ? 1 : size);
}

void mem_free(void *p)
{
    free(p);
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t size)
{
    if (size == SIZE_MAX)
        return NULL;
    char *copy = malloc(size + 1);
    if (copy == NULL)
        return NULL;
    if (size > 0)
        memcpy(copy, s, size);
    copy[size] = '\0';
    return copy;
}

void mem_wipe(void *p, size_t size)
{
    if (size > 0)
        explicit_bzero(p, size);
}

_Bool mem_equal_const_time(const void *a, const void *b, size_t size)
{
    const volatile unsigned char *x = a, *y = b;
    unsigned difference = 0;
    for (size_t i = 0; i < size; i++)
        difference |= (unsigned)(x[i] ^ y[i]);
    return difference == 0;
}
