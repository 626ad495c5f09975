/* SPDX-License-Identifier: Apache-2.0
 *
 * One event: CloudEvents 1.0 in JSON. Ficus uses type = topic, subject = key (events of one key keep their order), and the extensions
 * traceparent, tracestate, correlationid, causationid (the id of the event that led to this one).
 */
#ifndef FICUS_EVENTS_EVENT_H
#define FICUS_EVENTS_EVENT_H

#include "json.h"

struct event {
    struct slice id;            /* UUIDv7 */
    struct slice source;        /* the publishing service: "/orders" */
    struct slice topic;         /* CloudEvents type: "order.placed" */
    struct slice subject;       /* the key: order id */
    struct slice time;          /* RFC 3339 */
    struct slice data;          /* raw JSON text of `data`, SLICE_NONE when absent */
    struct slice traceparent, tracestate, correlation, causation;  /* SLICE_NONE when absent */
    int64_t offset;             /* place in the log; 0 before it has one */
};

enum { EVENT_SIZE_MAX = 1024 * 1024, EVENT_BATCH_COUNT_MAX = 256, EVENT_BATCH_SIZE_MAX = 4 * 1024 * 1024 };

/* As one structured CloudEvent (application/cloudevents+json). offset > 0 is written as the extension `sequence` (string, CloudEvents sequence extension). */
void event_write(struct json_writer *w, const struct event *ev);
/* Check required attributes (specversion 1.0, id, source, type) and bounds; v's data is written back to text in the arena. PARSE names the attribute. */
enum ficus_err event_read(struct arena *a, const struct json *v, struct event *ret_event, struct ficus_error *reterr);

#endif
