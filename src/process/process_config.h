/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of a resolved file (run/NAME.json) that all processes share, and how such a file is read. The other parts:
 * service_config.h, proxy_config.h, hub_config.h.
 */
#ifndef FICUS_PROCESS_PROCESS_CONFIG_H
#define FICUS_PROCESS_PROCESS_CONFIG_H

#include "call_policy.h"
#include "conf.h"

enum { PROCESS_CONFIG_VERSION = 1 };

struct process_edge {
    const char *callee;
    struct call_policy policy;
};

struct process_config {
    int64_t version; /* newer than PROCESS_CONFIG_VERSION: refused with VERSION */
    const char *system;
    const char *process; /* "orders", "gateway", "hub" */
    int64_t instance;    /* from 1 */
    const char *state;   /* absolute path of the state folder */
    const char *key_file;
    const char *log_level;      /* debug info warn error */
    const char *hub;            /* address; "" in the hub */
    const char *snapshot_file;  /* last endpoints; "" in the hub: none */
    struct process_edge *edges; /* every callee; "hub" among them */
    size_t edge_count;
};

extern const struct conf_table process_config_table;

/* Read a resolved file: JSON text -> tree -> table (the floor's own, whose first member is struct process_config named
 * `common` and whose first settings are process_config's, inlined). All errors at once in *reterr's text (as many as
 * fit). */
enum ficus_err process_config_read(struct arena *a, const char *path, struct slice text, const struct conf_table *table,
                                   void *ret_config, struct ficus_error *reterr);

#endif
