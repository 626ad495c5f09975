/* SPDX-License-Identifier: Apache-2.0
 *
 * Growable byte buffer that is created with its maximum. A write over the maximum (or out of memory) leaves
 * the content as it was, sets a sticky flag and returns false; callers may write many times and ask once
 * with buf_failed(). Always keeps a NUL behind the content.
 */
#ifndef FICUS_BASE_BUF_H
#define FICUS_BASE_BUF_H

#include "slice.h"

#include <stdarg.h>

struct buf {
    size_t size_max;
    /* private below; read with buf_slice() */
    char *p;
    size_t size, capacity;
    bool failed, starved;
};

void buf_init(struct buf *b, size_t size_max);      /* allocates nothing yet */
void buf_done(struct buf *b);
void buf_clear(struct buf *b);                      /* size 0, flag cleared, memory kept */
bool buf_failed(const struct buf *b);
bool buf_starved(const struct buf *b);              /* it failed for want of memory: tried again it may go */
struct slice buf_slice(const struct buf *b);        /* valid until the next write */
const char *buf_str(const struct buf *b);           /* NUL-terminated, "" when empty */
char *buf_steal(struct buf *b);                     /* caller frees with mem_free; buffer is empty afterwards */

bool buf_reserve(struct buf *b, size_t size_more);
bool buf_add(struct buf *b, const void *p, size_t size);
bool buf_add_slice(struct buf *b, struct slice s);
bool buf_add_str(struct buf *b, const char *s);
bool buf_add_char(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *b, const char *format, va_list args);
bool buf_truncate(struct buf *b, size_t size);      /* cut to size <= current */
void buf_consume(struct buf *b, size_t size);       /* drop from the front */

#endif
