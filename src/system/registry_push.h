/* SPDX-License-Identifier: Apache-2.0
 *
 * Telling the hub which services run: PUT /v1/registry with the whole truth, after each change and whenever the hub has
 * started anew, until it was taken.
 */
#ifndef FICUS_SYSTEM_REGISTRY_PUSH_H
#define FICUS_SYSTEM_REGISTRY_PUSH_H

#include "ops_call.h"

struct registry_push {
    struct env *env;
    const char *address;                       /* of hub-ops.sock */
    bool (*write)(void *arg, struct buf *out); /* {"services":{...}} as it is now; false: does not fit */
    void *arg;
    /* private below */
    struct ops_call call;
    struct env_timer retry;
    struct buf body;
    int64_t retry_ms;
    bool hub_ready, dirty, closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

void registry_push_init(struct registry_push *r); /* after the public fields are set */
/* The hub can take it (or not any more). Becoming ready means that it knows nothing. */
void registry_push_hub(struct registry_push *r, bool ready);
void registry_push_changed(struct registry_push *r);
/* No more pushes; closed comes at once or when the one that runs has ended. */
void registry_push_close(struct registry_push *r, void (*closed)(void *arg), void *arg);

#endif
