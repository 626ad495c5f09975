/* SPDX-License-Identifier: Apache-2.0
 *
 * What both sides of HTTP/2 have in common: bounds, a queue of bytes, fields for nghttp2, its memory. Private to
 * src/http/h2_*.
 */
#ifndef FICUS_HTTP_H2_BASE_H
#define FICUS_HTTP_H2_BASE_H

#include "http_stream.h"
#include "text.h"

#include <nghttp2/nghttp2.h>

enum {
    H2_STREAMS_MAX = 100, /* more are refused */
    H2_STREAM_WINDOW = HTTP_BODY_BUFFER_SIZE,
    H2_STREAM_IN_MAX = 64 * 1024, /* until the peer has our SETTINGS it may send the default window of 65 535 bytes */
    H2_CONN_WINDOW = 1024 * 1024,
    H2_FRAME_SIZE_MAX = 16 * 1024 + 256, /* in either direction; nghttp2 never sends more */
    H2_FLIGHT_SIZE = 46 * 1024,          /* when so much is gathered it is written; with one frame more, 64 KiB */
};

/* Bytes in one piece, first in, first out. Holds no memory while empty. */
struct h2_fifo {
    char *p;
    size_t start, size, capacity;
};

/* False: out of memory; nothing was taken. The caller bounds the size. */
bool h2_fifo_put(struct h2_fifo *f, const void *p, size_t size);
/* Make room for so many bytes, if there is memory: the next puts do not grow it step by step. */
void h2_fifo_reserve(struct h2_fifo *f, size_t size);
void h2_fifo_take(struct h2_fifo *f, size_t size);
void h2_fifo_done(struct h2_fifo *f);
static inline char *h2_fifo_at(const struct h2_fifo *f)
{
    return f->p + f->start;
}

/* Names and values are copied by nghttp2, names in lower case. */
enum { H2_FIELDS_MORE = 8, H2_FIELDS_FEW = 28 };
struct h2_fields {
    nghttp2_nv few[H2_FIELDS_FEW]; /* almost always enough */
    nghttp2_nv *nv;
    size_t count;
    char status[TEXT_I64_SIZE], length[TEXT_I64_SIZE]; /* where these two are written */
};

/* For at most H2_FIELDS_MORE fields more than m has. False: out of memory. */
bool h2_fields_init(struct h2_fields *f, const struct http_msg *m);
void h2_fields_done(struct h2_fields *f);
/* name is a literal in lower case: nghttp2 takes it as it is. */
void h2_fields_put(struct h2_fields *f, struct slice name, struct slice value);
/* Those of m that do not belong to the connection. */
void h2_fields_message(struct h2_fields *f, const struct http_msg *m);

/* base/mem.h for nghttp2. */
extern const nghttp2_mem h2_memory;

#endif
