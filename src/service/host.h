/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a service and, when its store is rebuildable (generation.h), builds that anew on an operator's word while the
 * old one serves: a second service on the next generation, in the same process, handles all events of the log and takes
 * no requests. When it knows what the first one knows, or has reached the end of the log, the new generation is noted
 * as the one in use, and the two change places: the second takes the requests, the first finishes those that it has and
 * is closed, its generation removed.
 *
 *      QUIET -> FILLING -> SWITCHING -> RETIRING -> QUIET
 *                  \___________\______> GIVING_UP ----^
 *
 * Failures: whatever goes wrong before the note was replaced (the disk is full, an event cannot be handled) gives the
 * rebuild up; the old one serves as ever. Killed at any instant: the note names a complete generation; a rebuild that
 * was going on is not taken up again. operator.h has what operators ask. Threads: as service.h.
 */
#ifndef FICUS_SERVICE_HOST_H
#define FICUS_SERVICE_HOST_H

#include "service.h"

struct host;

struct host_hooks {
    void (*ready)(void *arg, enum ficus_err err, const char *detail); /* as service_hooks.ready */
    /* The service that takes requests is another one now. May be NULL. */
    void (*changed)(void *arg, struct service *s);
    /* The service could not take over where another one had stopped serving: end the process. May be NULL. */
    void (*broken)(void *arg, const char *detail);
    void *arg;
};

/* As service_start, service_drain and service_close. */
enum ficus_err host_start(struct env *e, const struct ficus_service *def, const struct service_config *config,
                          const struct host_hooks *hooks, struct host **ret_host, struct ficus_error *reterr);
void host_drain(struct host *h, void (*drained)(void *arg), void *arg);
void host_close(struct host *h, void (*closed)(void *arg), void *arg);

struct service *host_service(struct host *h); /* the one that takes requests */

#endif
