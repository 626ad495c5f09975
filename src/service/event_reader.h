/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a text/event-stream (WHATWG HTML 9.2.6) piece by piece, however it was cut, into events. At most
 * EVENT_READER_SIZE_MAX bytes of a line, of an event's data and of an id are held.
 */
#ifndef FICUS_EVENT_READER_H
#define FICUS_EVENT_READER_H

#include "buf.h"

#include <ficus/client.h>

enum { EVENT_READER_SIZE_MAX = 64 * 1024 };

struct event_reader {
    void (*event)(void *arg, const struct ficus_client_event *e);
    void *arg;
    struct buf line, data, id, name;
    bool after_cr, data_begun, line_begun; /* line_begun: the stream's first line came, so no byte order mark follows */
};

void event_reader_init(struct event_reader *r, void (*event)(void *arg, const struct ficus_client_event *e), void *arg);
void event_reader_done(struct event_reader *r);
/* Calls event for each that is complete. False: one is too large (or no memory); read no further. */
bool event_reader_feed(struct event_reader *r, struct slice piece);

#endif
