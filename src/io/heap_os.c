/* SPDX-License-Identifier: Apache-2.0
 *
 * glibc gives memory back by itself only from the top of the heap: one small block that lives there keeps all the free
 * ones below it, and thousands of connections leave tens of megabytes so. malloc_trim() returns every free page,
 * wherever it is; it cannot know which it has returned before, so it is called only when something changed.
 */
#include "io_heap.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

enum { TRIM_SIZE = 1024 * 1024 };

size_t heap_os_resident(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd); /* only read */
    size_t pages = 0;
    text[n > 0 ? n : 0] = '\0';
    return sscanf(text, "%*u %zu", &pages) == 1 ? pages * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

void heap_os_trim(struct heap_os *h)
{
    if (heap_os_resident() < h->resident_size + TRIM_SIZE && mallinfo2().fordblks < h->free_size + TRIM_SIZE)
        return;
    (void)malloc_trim(0); /* whether it found any */
    h->resident_size = heap_os_resident();
    h->free_size = mallinfo2().fordblks;
}
