/* SPDX-License-Identifier: Apache-2.0
 *
 * A record of the event log: the events of one append (or a part of it) back to back, one row of table record. Pure, no I/O.
 *
 *     record:  event event event ...           as many as the row's count, their offsets ascend from the row's first to at most its last
 *     event:   offset - first  u32             numbers little-endian
 *              size of data    u32             all ones: there is none; else the lower 21 bits, and above them the version of its schema
 *              size of id, source, type, subject, time, traceparent, tracestate, correlationid, causationid   9 * u16, likewise
 *              the bytes of these nine, then of data, without anything between
 *
 * The row's sum is a keyed hash over the row's numbers and the body, so that damage anywhere in the row is noticed before
 * anything of it is believed.
 */
#ifndef FICUS_EVENTS_ELOG_RECORD_H
#define FICUS_EVENTS_ELOG_RECORD_H

#include "event.h"

enum {
    ELOG_RECORD_SIZE = 64 * 1024,   /* a record is closed before it grows over this, if it has more than one event */
    ELOG_RECORD_COUNT = 256,
};

/* The row beside its body. */
struct elog_head {
    int64_t first, last, at, count, sum;
};

/* Attributes must be within their bounds. */
size_t elog_pack_size(const struct event *ev);
/* Write elog_pack_size bytes; *ret_packed borrows from them. The offset is put in by elog_pack_offset; at_ms is in no record. */
void elog_pack(char *to, const struct event *ev, struct event *ret_packed);
/* False: too far from first for one record. */
bool elog_pack_offset(char *packed, int64_t first, int64_t offset);

int64_t elog_record_sum(const struct elog_head *h, struct slice body);

struct elog_cursor {
    struct elog_head head;
    struct slice rest;
    int64_t left, offset;
};
/* CORRUPT: the row is damaged; the text has its offset. body must live as long as events are taken from it. */
enum ficus_err elog_record_open(struct elog_cursor *cu, const struct elog_head *h, struct slice body, struct ficus_error *reterr);
/* 1: an event, which borrows from the body, and its bytes; 0: no more; -FICUS_ERR_CORRUPT: the rest is not readable. */
int elog_record_next(struct elog_cursor *cu, struct event *ret_event, struct slice *ret_packed, struct ficus_error *reterr);

#endif
