/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub's resolved file (run/hub.json): what all processes share, and the hub's own.
 */
#ifndef FICUS_HUB_CONFIG_H
#define FICUS_HUB_CONFIG_H

#include "flow_def.h"
#include "process_config.h"
#include "saga_def.h"

struct hub_topic {
    const char *name;
    const char *publisher; /* the one service that may publish it */
    bool keep_latest;      /* the newest event of each key is kept for ever */
    const char *key;       /* where a key stands in the data: elog_kept.key; "": the subject is the key */
    const char *const *consumers;
    size_t consumer_count;
    const char *const *schemas; /* what its events may be, JSON Schema, version 1 first; none: anything */
    size_t schema_count;
};

enum { HUB_GROUP_PARTITIONS_MAX = 64 };

/* A service whose events the hub keeps the place of: it delivers them, or members lease them. */
struct hub_group_config {
    const char *name;   /* the service's */
    const char *to;     /* path that events are posted to; NULL: members lease them */
    int64_t partitions, timeout_ms;
};

/* At each of its times the hub appends an event: elog.h. */
struct hub_schedule {
    const char *source; /* "/reports/schedules/nightly" */
    const char *name, *topic;
    int64_t every_ms, phase_ms;
};

struct hub_config {
    struct process_config common; /* first: process_config_read counts on it */
    const char *const *listen;    /* for services: every request needs an identity */
    size_t listen_count;
    const char *const *operator_listen; /* unix sockets for operators; peers of the own uid, or 0 */
    size_t operator_listen_count;
    const char *log_file, *journal_file;
    int64_t retention_ms; /* of events and finished sagas */
    int64_t size_max;     /* bytes of the event log; the oldest events go when it is larger */
    struct hub_schedule *schedules;
    size_t schedule_count;
    struct hub_topic *topics;
    size_t topic_count;
    const char *const *services; /* whose identities are known; all may publish dead letters and commands to sagas */
    size_t service_count;
    struct hub_group_config *groups;
    size_t group_count;
    struct saga_def *sagas;
    size_t saga_count;
    const char *flow_file; /* what is known of flows; needed with flows */
    struct flow_def *flows;
    size_t flow_count;
};

extern const struct conf_table hub_config_table;

/* NULL: none of this name is declared. */
const struct hub_topic *hub_config_topic(const struct hub_config *c, struct slice name);
bool hub_config_has_service(const struct hub_config *c, struct slice name);
bool hub_topic_has_consumer(const struct hub_topic *t, struct slice service);

#endif
