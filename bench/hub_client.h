/* SPDX-License-Identifier: Apache-2.0
 *
 * A blocking client of the hub for benchmarks: HTTP/1.1 over its unix socket, one request at a time, with a real
 * identity of a service. libficus is not used for this, since it publishes by its outbox, which has a database of its own.
 *
 * What fails ends the program with one line, as in sock.h. One client belongs to one thread.
 */
#ifndef FICUS_BENCH_HUB_CLIENT_H
#define FICUS_BENCH_HUB_CLIENT_H

#include "slice.h"

struct hub_client;

/* to: "PATH OF THE SOCKET,PATH OF THE SYSTEM'S KEY". service: whose identity it has; borrowed. */
struct hub_client *hub_client_open(const char *to, const char *service);
void hub_client_close(struct hub_client *c); /* NULL is fine */

/* Ask and wait for the answer; its body, which lives until the next call and has a zero behind it. Any status but 200
 * ends the program. body SLICE_NONE: none. */
struct slice hub_client_call(struct hub_client *c, const char *method, const char *target, struct slice body);

/* Body of a publish: begin, add each event, end. data: one JSON value. The event gets an id as long as a UUIDv7 and
 * ascending in time as those are; its subject is subject, which is one of few, or new each time when NULL. */
void hub_client_batch_begin(struct hub_client *c);
void hub_client_batch_add(struct hub_client *c, const char *topic, const char *subject, struct slice data);
/* Publishes it; when it is synced, the offset of the last event. */
int64_t hub_client_batch_publish(struct hub_client *c);

#endif
