/* SPDX-License-Identifier: Apache-2.0
 *
 * The manifest (ficus.yaml and what it includes): read, checked as a whole, and rendered to one resolved file per process. It is
 * used by the ficus command and the supervisor only: it reads and writes files directly, and blocks.
 */
#ifndef FICUS_MANIFEST_MANIFEST_H
#define FICUS_MANIFEST_MANIFEST_H

#include "call_policy.h"
#include "conf.h"
#include "flow_def.h"
#include "jschema.h"
#include "proxy_config.h"
#include "saga_def.h"
#include "service_config.h"

enum {
    MANIFEST_VERSION = 1,
    MANIFEST_FILES_MAX = 1000,          /* included files */
    MANIFEST_MIGRATIONS_MAX = 9999,
    MANIFEST_ARENA_SIZE_MAX = 256 << 20,    /* what the arena given to manifest_load should allow */
};

/* Strings are owned by the caller and must outlive the manifest. */
struct manifest_options {
    const char *state;              /* absolute state folder; NULL: check only, manifest_render is not allowed */
    const char *sockets;            /* absolute folder of the unix sockets; NULL: STATE/run */
    const char *build;              /* absolute build folder for ${build}; NULL: left as it is */
    const char *const *sets;        /* "gateway.listen=127.0.0.1:18080", "services.orders.workers=16": values put into the root file, or into that
                                       service's, before it is checked */
    size_t set_count;
    const char *registered;         /* absolute file of the schemas' versions that were accepted so far, which must not change; manifest_render
                                       adds the new ones. NULL: not looked at. It may not be there yet */
    bool part_allowed;              /* path may also be one service's part: then only it is read, and what it says of others is not judged */
};

/* "orders:/v1/orders/{id}", or "identity" alone (path NULL). */
struct manifest_target {
    const char *service, *path;
};

enum manifest_auth { MANIFEST_AUTH_NONE, MANIFEST_AUTH_OPTIONAL, MANIFEST_AUTH_REQUIRED };

/* One part of a composed answer. */
struct manifest_part {
    const struct conf_node *node;
    struct manifest_target get;
    struct proxy_shape shape;
};

/* One part of a split. */
struct manifest_split {
    const struct conf_node *node;
    struct manifest_target to;
    int64_t weight;
};

/* What is answered when a service is not available: the first that can be had. */
struct manifest_fallback {
    const struct conf_node *node;
    int64_t stale_ms;               /* 0: none */
    struct manifest_target to;      /* service NULL: none */
    int64_t status;                 /* 0: none */
    const char *body, *type;
};

struct manifest_route {
    const struct conf_node *node;
    int method;                     /* index into manifest_methods; -1: any */
    const char *host;               /* "shop.example", "*.shop.example"; NULL: any */
    const char *path;
    struct proxy_cond *headers, *query;
    size_t header_count, query_count;
    /* where it leads: one of these */
    struct manifest_target to;
    struct manifest_split *splits;
    size_t split_count;
    struct manifest_part *parts;    /* "compose" */
    size_t part_count;
    const char *files;              /* folder as written; NULL: none */
    int64_t answer;                 /* status; 0: none */

    struct proxy_sticky sticky;     /* of splits */
    struct manifest_fallback *fallback; /* of "to" and "split"; NULL: none */
    const char *page;               /* file in the folder; NULL: none */
    const char *folder;             /* absolute; derived from files */
    int auth;                       /* enum manifest_auth */
    const char *const *roles;
    size_t role_count;
    int64_t timeout_ms;             /* 0: the gateway's */
    int64_t body_size_max;          /* of a request */
    bool websocket;                 /* of "to" and "split": requests may become one */
};
extern const char *const manifest_methods[];    /* NULL-terminated */

struct manifest_edge {
    const char *callee;
    struct call_policy policy;
};

struct manifest_gateway {
    const struct conf_node *node;
    const char *listen;             /* "127.0.0.1:8080" or "[::1]:8080" */
    const char *const *hosts;
    size_t host_count;
    int64_t timeout_ms;
    int64_t threads;
    struct proxy_limits limits;
    struct proxy_overload overload;
    const char *const *trusted_proxies;
    size_t trusted_count;
    struct manifest_jwt {
        const struct conf_node *node;
        struct manifest_target jwks;
        const char *issuer;
    } *auth;                        /* NULL: no route may ask for it */
    struct manifest_tls {
        const struct conf_node *node;
        struct manifest_certificate {
            const struct conf_node *node;
            const char *certificate, *key;  /* as written */
            struct tls_pair files;          /* absolute; derived */
        } *certificates;
        size_t certificate_count;
        int min;                    /* enum tls_version */
        int64_t hsts_ms;            /* 0: none */
    } *tls;                         /* NULL: plain HTTP */
    struct manifest_route *routes;
    size_t route_count;
    struct manifest_edge *calls;    /* where its routes' services are called otherwise than by default */
    size_t call_count;
    int log_level;                  /* index into manifest_levels; -1: the system's */
};
extern const char *const manifest_levels[];     /* debug info warn error, NULL */

/* One version of what a topic's events may be. */
struct manifest_schema {
    const struct conf_node *node;
    const char *file;               /* as written, beside the service's file */
    bool upcast;                    /* it does not read the version before: consumers have an upcaster from that one */
    /* derived */
    const char *shown, *meaning;    /* the file, for messages; jschema_meaning */
    struct slice source;
    struct jschema *schema;
};

struct manifest_schemas {
    struct manifest_schema *list;   /* version 1 first */
    size_t count;
};

struct manifest_topic {
    const char *name;
    const char *key;                /* "sku", "items.sku"; NULL: not said */
    int keep;                       /* 0: latest; -1: as long as events.retention says */
    struct manifest_schemas schemas;    /* none: any data */
};

/* When the hub publishes an event in the service's name. */
struct manifest_schedule {
    const struct conf_node *node;
    const char *name, *topic;
    int64_t every_ms;
    const char *at;                 /* "02:00", UTC; NULL: midnight */
};

struct manifest_command {
    const char *const *argv;        /* NULL-terminated; ${build} and a leading ./ are expanded */
    size_t count;
};

struct manifest_service {
    const struct conf_node *node;
    const char *name, *team, *does;
    const char *folder;             /* absolute: where its file lies */
    struct manifest_command run;    /* count 0: Ficus does not start it */
    const char *url;                /* where it is then; NULL: Ficus starts it */
    int protocol;                   /* enum call_protocol, what is spoken there */
    struct manifest_upstream_tls {
        const struct conf_node *node;
        const char *ca, *name, *certificate, *key;  /* as written; NULL: not said */
    } *tls;                         /* NULL: as by default */
    struct call_upstream *upstream; /* derived of url and tls, paths absolute; NULL: Ficus starts it */
    const char *store;              /* "sqlite:orders.db"; NULL: none */
    bool rebuildable;               /* the store is made of consumed events alone */
    const char *migrations;         /* folder as written; NULL: none */
    const char *const *migration_files;     /* absolute, in order; derived */
    size_t migration_count;
    int64_t workers;
    int64_t slow_statement_ms;      /* -1: the system's */
    bool keeps_keys;
    int log_level;                  /* as the gateway's */
    struct manifest_edge *calls;
    size_t call_count;
    struct manifest_topic *publishes;
    size_t publish_count;
    const char *const *consumes;
    size_t consume_count;
    struct manifest_group {
        const struct conf_node *node;
        const char *to;             /* path; NULL: members lease them */
        int64_t partitions, timeout_ms;
    } *group;                       /* the hub keeps its place in the log; NULL: it does itself */
    struct manifest_schedule *schedules;
    size_t schedule_count;
    const char *const *needs;
    size_t need_count;
    struct service_setting *settings;
    size_t setting_count;
    struct saga_def *sagas;         /* owner is filled in */
    size_t saga_count;
    struct flow_def *flows;         /* owner is filled in */
    size_t flow_count;
};

enum manifest_kind { MANIFEST_HUB, MANIFEST_GATEWAY, MANIFEST_SERVICE };

/* What the supervisor starts. */
struct manifest_process {
    enum manifest_kind kind;
    const char *name, *team;        /* team: "" for hub and gateway */
    const char *const *argv;        /* NULL-terminated; NULL for hub and gateway: the ficus command itself */
    const char *folder;             /* absolute working folder */
    const char *const *needs;       /* names of services that must be healthy first */
    size_t need_count;
    const char *config_path;        /* STATE/run/NAME.json; NULL without state */
    const char *address;            /* "unix:SOCKETS/orders.1.sock", "unix:SOCKETS/hub.sock", "tcp:127.0.0.1:8080"; NULL without state */
};

struct manifest {
    const struct conf_node *node;
    const char *file;               /* as given */
    const char *folder;             /* absolute: where the root file lies */
    const char *system;
    const char *const *include;
    size_t include_count;
    int log_level;
    int64_t slow_statement_ms;
    struct manifest_administrator {
        const struct conf_node *node;
        const char *email, *service;
    } *administrator;               /* NULL: none */
    struct manifest_gateway *gateway;   /* NULL: none */
    struct manifest_events {
        const char *log;            /* "embedded" */
        int64_t retention_ms, size_max;
    } events;
    struct manifest_hub {
        int log_level;
    } hub;
    /* derived */
    bool is_part;                   /* one service's part alone: system is NULL, services has one, processes none */
    struct manifest_service *services;  /* in order of their files */
    size_t service_count;
    struct manifest_process *processes; /* hub, gateway (if any), services */
    size_t process_count;
    const struct json *registered;  /* what options.registered has: topics and their schemas; NULL: nothing yet */
    const char *admin_file;         /* STATE/admin.json; NULL without administrator or state */
    struct manifest_options options;
};

/* Read path and what it includes, decode, check across. Everything lives in a. On failure every error found is in errors (print with
 * conf_errors_print) and the code of the first is returned; VERSION alone when the file was made for a newer Ficus. */
enum ficus_err manifest_load(struct arena *a, const char *path, const struct manifest_options *options, struct manifest **ret_manifest,
                             struct conf_errors *errors);

/* The resolved file of one process as JSON text into out. */
enum ficus_err manifest_render_process(const struct manifest *m, const struct manifest_process *p, struct arena *a, struct buf *out, struct ficus_error *reterr);
/* Write the resolved file of every process for which it is not there as it shall be: NAME.json.tmp, mode 0600, synced, renamed. All are rendered
 * before the first is written, and all written before the first is renamed: what fails before leaves the files as they were. Before all of them
 * options.registered, since no process may publish under a schema that is not in it. ret_changed (NULL, or
 * process_count long): which were renamed. STATE/run must exist. */
enum ficus_err manifest_render(const struct manifest *m, struct arena *a, bool *ret_changed, struct ficus_error *reterr);

/* Of the gateway's resolved file, its hosts and routes (in the order of m->gateway->routes); the rest is as by default. In the arena; texts are
 * the manifest's. There must be a gateway. */
enum ficus_err manifest_render_routes(const struct manifest *m, struct arena *a, struct proxy_config *ret_config, struct ficus_error *reterr);

const struct manifest_service *manifest_find_service(const struct manifest *m, const char *name);
const struct manifest_process *manifest_find_process(const struct manifest *m, const char *name);

/* The tables, for JSON Schema, docs and the generated tests. */
extern const struct conf_table manifest_table;
extern const struct conf_table manifest_service_table;

#endif
