/* SPDX-License-Identifier: Apache-2.0
 *
 * A batch as the hub reads it from a request. Header only.
 */
#ifndef FICUS_TEST_HUB_READS_H
#define FICUS_TEST_HUB_READS_H

#include "event_http.h"

static inline enum ficus_err hub_reads(struct arena *a, struct slice batch, struct event **ret_events, size_t *ret_count, struct ficus_error *reterr)
{
    struct http_msg head;
    http_msg_init(&head, a);
    (void)http_msg_add(&head, SLICE("Content-Type"), SLICE("application/cloudevents-batch+json")); /* else it is UNSUPPORTED */
    return event_http_read(a, &head, batch, ret_events, ret_count, reterr);
}

#endif
