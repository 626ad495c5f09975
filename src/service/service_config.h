/* SPDX-License-Identifier: Apache-2.0
 *
 * The resolved file of a service (run/NAME.json): what all processes share, and what only a service has.
 */
#ifndef FICUS_SERVICE_SERVICE_CONFIG_H
#define FICUS_SERVICE_SERVICE_CONFIG_H

#include "process_config.h"

struct service_setting {
    const char *name, *value;
};

/* What the events of a topic may be. */
struct service_schema {
    const char *topic;
    int64_t version;            /* the newest; events are published under it */
    const char *text;           /* of the newest, of a topic that the service publishes; else "" */
    const int64_t *upcasts;     /* versions that do not read the one before, ascending */
    size_t upcast_count;
};

struct service_config {
    struct process_config common; /* first */
    const char *const *listen;    /* addresses of env_listen */
    size_t listen_count;
    const char *store;             /* absolute path of the database file; "": the service has none */
    bool rebuildable;              /* the store holds nothing but what came by events: see generation.h */
    const char *const *migrations; /* absolute paths of NNNN_name.sql, in order */
    size_t migration_count;
    int64_t workers;         /* handlers at a time, 1..64 */
    int64_t slow_statement_ms; /* of the store, from here on logged; 0: none */
    const char *private_dir; /* "": none */
    /* Whose requests are taken (the issuer of their identity), and which topics it may publish and consumes. "*" as the
     * only entry of callers or publishes means any; only tests write it. */
    const char *const *callers;
    size_t caller_count;
    const char *const *publishes;
    size_t publish_count;
    const char *const *sagas; /* that it may begin and signal */
    size_t saga_count;
    const char *const *consumes;
    size_t consume_count;
    struct service_schema *schemas; /* of those topics that have any */
    size_t schema_count;
    struct service_setting *settings;
    size_t setting_count;
};

extern const struct conf_table service_config_table;

#endif
