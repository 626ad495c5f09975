/* SPDX-License-Identifier: Apache-2.0
 *
 * The only door to the heap. Nothing outside mem.c calls malloc. All return NULL when out of memory: on the
 * request path that sheds the request (503) and the process lives on.
 */
#ifndef FICUS_BASE_MEM_H
#define FICUS_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);                   /* uninitialised; size 0 is treated as 1 */
void *mem_zalloc(size_t size);                  /* zeroed */
void *mem_array(size_t count, size_t size);     /* zeroed; NULL on overflow of count * size */
void *mem_realloc(void *p, size_t size);        /* p stays valid when NULL is returned */
void mem_free(void *p);                         /* NULL is fine */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t size);  /* copies exactly size bytes and a NUL */

/* Overwrite secrets before they are freed; never optimised away. */
void mem_wipe(void *p, size_t size);

/* Compare without leaking the position of the first difference. */
_Bool mem_equal_const_time(const void *a, const void *b, size_t size);

/* Free and clear the caller's pointer in one step: no reachable pointer to freed memory. */
#define MEM_FREE(p) (mem_free(p), (void)((p) = NULL))

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
