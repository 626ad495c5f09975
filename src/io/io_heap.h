/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap gives back to the system what a flood left free in it. Private to src/io.
 */
#ifndef FICUS_IO_HEAP_H
#define FICUS_IO_HEAP_H

#include <stddef.h>

/* What there was after the last time; zero-initialise. */
struct heap_os {
    size_t resident_size; /* of the process */
    size_t free_size;     /* of the heap */
};

/* Of the process, in bytes; 0 when the system does not say. */
size_t heap_os_resident(void);
/* [loop] Return free pages to the system when at least 1 MiB came into use or became free since the last time; else
 * this costs a few microseconds. */
void heap_os_trim(struct heap_os *h);

#endif
