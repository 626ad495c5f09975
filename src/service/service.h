/* SPDX-License-Identifier: Apache-2.0
 *
 * The chassis: runs one service on any env. ficus_main runs it in a process of its own; the simulator runs several in
 * one program. No globals, all waiting through env, no clock but env's.
 *
 * Happy path: service_start -> (a worker opens the database, migrates, runs the service's start handler) -> ready(OK)
 * -> requests and events -> service_drain -> drained -> service_close -> closed. Failure: ready(err, why); then only
 * service_close is left. Killed at any instant: what was answered is in the database, the rest never was; the next
 * start goes on from there.
 *
 * Threads: all functions here are called on the loop, all callbacks come on the loop.
 */
#ifndef FICUS_SERVICE_SERVICE_H
#define FICUS_SERVICE_SERVICE_H

#include "event.h"
#include "process.h"
#include "service_config.h"

#include <ficus/ficus.h>

struct service;

struct service_hooks {
    /* Exactly once: OK: requests are being taken. Else what went wrong, in words for people. */
    void (*ready)(void *arg, enum ficus_err err, const char *detail);
    /* For tests and the simulator; may be NULL. An event was processed (committed), or its handling failed and will be
     * repeated or became a dead letter. */
    void (*event_handled)(void *arg, const struct event *ev, bool processed);
    void (*emitted)(void *arg, size_t count); /* so many events were committed to the outbox just now; may be NULL */
    int64_t event_backoff_ms_max;             /* 0: 10 s */
    /* For host.c. Which generation of a rebuildable store to open: 0: the one in use. Else it is made new, and the
     * service only handles events, from the log's start, until service_serve. */
    int64_t generation;
    void (*caught_up)(void *arg); /* once, when generation is set: the log's end was reached; may be NULL */
    /* An event's handling failed for a reason that is not the handler's (the disk, say) and is repeated; may be NULL. */
    void (*event_failed)(void *arg, const char *reason);
    /* An operator's request (its identity is checked): answer it. NULL: such requests are refused. */
    void (*operator_request)(void *arg, struct http_stream *s);
    void *arg;
};

/* def and config are borrowed until closed. Errors come at once only for what needs no waiting (INVALID routes, key
 * file, memory): then nothing was started and ready will not fire. */
enum ficus_err service_start(struct env *e, const struct ficus_service *def, const struct service_config *config,
                             const struct service_hooks *hooks, struct service **ret_service,
                             struct ficus_error *reterr);
/* Take nothing new, let what runs end (each is bounded by its deadline), end the streams. drained fires once. */
void service_drain(struct service *s, void (*drained)(void *arg), void *arg);
/* End now: connections are reset, handlers that run can no longer commit and are waited for (a handler that neither
 * returns nor calls libficus holds this up), the database is closed. closed fires once, as the last; the service's
 * memory is gone then. Also fine after a failed start. */
void service_close(struct service *s, void (*closed)(void *arg), void *arg);

/* Take requests, in a service that was started with hooks.generation and is ready. After an error some of its addresses
 * may be listened on. */
enum ficus_err service_serve(struct service *s, struct ficus_error *reterr);
int64_t service_generation(const struct service *s);   /* of a rebuildable store; 0: it is not, or not open yet */
int64_t service_event_offset(const struct service *s); /* of the last event that was handled; 0: none */

struct process *service_process(struct service *s);

#endif
