/* SPDX-License-Identifier: Apache-2.0
 *
 * The events of an HTTP request: CloudEvents 1.0, HTTP protocol binding 1.0.2. Pure.
 *
 *     Content-Type                                     body
 *     application/cloudevents+json                     one event
 *     application/cloudevents-batch+json               a list of events; the same as application/json without ce- fields
 *     application/json, with fields ce-id, ce-...      the data of one event, whose attributes are the fields (binary mode)
 *
 * Stricter than event_read, which has to take what is stored: names of attributes, their types and the data's type are judged too.
 */
#ifndef FICUS_EVENTS_EVENT_HTTP_H
#define FICUS_EVENTS_EVENT_HTTP_H

#include "event.h"
#include "http_msg.h"

/* 1..EVENT_BATCH_COUNT_MAX events, which borrow from the head and the body; the rest is in the arena, of as much as json_parse
 * needs for the body. PARSE, INVALID: it is wrong, the text says where (also which event of a batch); TOO_LARGE;
 * UNSUPPORTED: a form of event, or of data, that is right but not taken here; NOMEM. */
enum ficus_err event_http_read(struct arena *a, const struct http_msg *head, struct slice body, struct event **ret_events,
                               size_t *ret_count, struct ficus_error *reterr);

#endif
