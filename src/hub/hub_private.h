/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the files of the hub: hub.c (life), hub_http.c (requests in, answers out), hub_events.c, hub_later.c, hub_registry.c,
 * hub_sagas.c (the API), hub_bus.c (the log as the saga engine's bus). Consumer groups and lag: hub_groups.h.
 */
#ifndef FICUS_HUB_PRIVATE_H
#define FICUS_HUB_PRIVATE_H

#include "db_watch.h"
#include "elog.h"
#include "flow_watch.h"
#include "http_server.h"
#include "jschema.h"
#include "hub.h"
#include "process.h"
#include "saga_engine.h"
#include "store_copy.h"

enum {
    HUB_WAITING_MAX = 256,   /* waiting pulls, and as many waiting for endpoints */
    HUB_PUBLISHING_MAX = 32, /* batches being read or stored */
    HUB_WAIT_MS_MAX = 60000,
    HUB_LIST_DEFAULT = 256,
    HUB_LIST_MAX = 1000,
    HUB_REGISTRY_SIZE_MAX = 1024 * 1024,
    HUB_REGISTRY_SERVICES_MAX = 1024,
    HUB_REGISTRY_ADDRESSES_MAX = 64, /* of one service */
    HUB_STOP_MS_MAX = 2000,
    HUB_COMMAND_SIZE_MAX = 64 * 1024, /* of what is said to a saga, but an input */
};

struct hub_exchange;

/* One row a route. path: "{}" stands for one segment, decoded into exchange->params. */
struct hub_route {
    const char *method, *path;
    bool is_operator;
    size_t body_size_max; /* 0: a body is not read */
    void (*handle)(struct hub_exchange *x, struct slice body);
};

/* One request. It lives until the stream has ended and nothing that it began is under way. */
struct hub_exchange {
    struct hub *hub;
    struct list link;
    struct http_stream *s; /* NULL: ended */
    const struct hub_route *route;
    struct slice params[3];
    struct identity_claims claims; /* of a service's request */
    int64_t uid;                   /* of an operator's */
    struct http_collect collect;
    bool collecting;
    bool busy;       /* a callback will still come */
    bool publishing; /* counted in hub->publishing */
    /* the answer */
    bool answered;
    struct buf out;
    size_t sent;
    /* waiting */
    struct elog_reader *reader; /* a pull is under way; counted in hub->pulling */
    char *topics;
    int64_t letter; /* a dead letter that is being closed, by redrive or else dropped; or that a settled event has become */
    bool redrive, skips;
    size_t count_max;
    struct list wait_link; /* for endpoints: in hub->registry.waiting */
    int64_t version;       /* of the endpoints that the caller has */
    struct env_timer timer;
    /* groups and consumers (hub_groups.h) */
    struct hub_group *group;
    struct list lease_link; /* waits for a lease, in group->waiting */
    int64_t seek_to;
    struct hub_consumer *consumer; /* whose pull it is */
};

struct hub_service {
    struct slice name, addresses; /* a JSON array */
    int64_t version;              /* the one that changed the addresses last */
    bool owed;                    /* our own calls may know others: they were told a word that failed then */
};

struct hub_registry {
    struct arena arena; /* of what services points to: whoever tells, tells all */
    struct hub_service *services;
    size_t service_count;
    int64_t first_version, version;
    bool warming;
    struct list waiting;
    size_t waiting_count;
};

struct hub {
    struct env *env;
    const struct hub_config *config;
    struct process process;
    struct elog *log;
    struct bus *saga_bus;
    struct saga_engine *sagas;
    struct bus *flow_bus;
    struct flow_watch *flows; /* NULL: there are none */
    struct http_server *server, *operator_server;
    struct list exchanges;
    size_t publishing, pulling;
    struct hub_registry registry;
    struct arena schema_arena;
    struct jschema ***schemas; /* of each topic of the configuration, each version; NULL: it has none */
    struct metric_family *requests, *published;
    struct metric *waiting;
    struct hub_groups *groups;
    struct hub_lag *lag;
    struct db_watch log_watch, journal_watch;
    struct store_copy log_copy, journal_copy;
    /* stopping */
    bool stopping;
    int servers_open;
    struct env_timer stop_timer;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* hub_http.c */
void hub_on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer);
void hub_on_operator_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer);
/* Answer with what was written into x->out, once. content_type NULL: none. */
void hub_answer(struct hub_exchange *x, int status, const char *content_type);
void hub_problem(struct hub_exchange *x, int status, const char *code, const char *detail);
void hub_problem_err(struct hub_exchange *x, enum ficus_err err, const char *detail);
/* A whole number from the query within bounds, or fallback when absent; false: a 400 is sent. */
bool hub_query_i64(struct hub_exchange *x, const char *name, int64_t min, int64_t max, int64_t fallback,
                   int64_t *ret_value);
/* Text from the query (in the stream's arena), SLICE_NONE when absent; false: a 400 is sent. */
bool hub_query_text(struct hub_exchange *x, const char *name, struct slice *ret_text);
/* The callback that busy stood for came: clears it. False: the stream has ended meanwhile and x is gone. */
bool hub_exchange_back(struct hub_exchange *x);
/* What busy stands for was begun with this result: unless it is OK no callback comes, and the problem is the answer. */
void hub_exchange_begun(struct hub_exchange *x, enum ficus_err err, const char *detail);

/* What busy stands for ends with JSON: it is the answer. arg: the exchange. */
void hub_on_json(void *arg, enum ficus_err err, struct slice json, const char *detail);

/* Somebody else answers: x is gone at return. */
struct http_stream *hub_exchange_hand_over(struct hub_exchange *x);

/* hub_copies.c */
void hub_copies_open(struct hub *h);
void hub_copies_get(struct hub_exchange *x, struct slice body);

/* hub_schemas.c */
enum ficus_err hub_schemas_open(struct hub *h, struct ficus_error *reterr); /* compile those of all topics */
void hub_schemas_close(struct hub *h);
/* Does the data fit the schema that the event names, or the newest one, which it is said to have then? INVALID: it does not;
 * UNAVAILABLE: it names a version that this hub does not know yet. Events of topics without schemas are left alone. */
enum ficus_err hub_schemas_check(const struct hub *h, struct event *ev, struct ficus_error *reterr);

/* hub_events.c */
void hub_events_publish(struct hub_exchange *x, struct slice body);
void hub_events_pull(struct hub_exchange *x, struct slice body);
void hub_events_topics(struct hub_exchange *x, struct slice body);
void hub_events_dead(struct hub_exchange *x, struct slice body);
void hub_events_redrive(struct hub_exchange *x, struct slice body);
void hub_events_drop(struct hub_exchange *x, struct slice body);
void hub_events_end(struct hub_exchange *x);  /* the stream ended or the pull is over: give its reader back */
void hub_events_wake(struct hub_exchange *x); /* stopping: answer a waiting pull with nothing */

/* hub_later.c */
void hub_later_list(struct hub_exchange *x, struct slice body);
void hub_later_remove(struct hub_exchange *x, struct slice body);
void hub_later_damaged(void *arg, int64_t number); /* elog_options.damaged; arg: struct hub */
void hub_offset_at(struct hub_exchange *x, struct slice body);

/* hub_registry.c */
void hub_registry_init(struct hub *h);
void hub_registry_done(struct hub *h);
void hub_registry_put(struct hub_exchange *x, struct slice body);
void hub_registry_get(struct hub_exchange *x, struct slice body);
void hub_registry_end(struct hub_exchange *x);
void hub_registry_wake(struct hub *h); /* answer all that wait */

/* hub_sagas.c */
void hub_sagas_list(struct hub_exchange *x, struct slice body);
void hub_sagas_show(struct hub_exchange *x, struct slice body);
void hub_sagas_describe(struct hub_exchange *x, struct slice body);
void hub_sagas_start(struct hub_exchange *x, struct slice body);
void hub_sagas_retry(struct hub_exchange *x, struct slice body);
void hub_sagas_cancel(struct hub_exchange *x, struct slice body);
void hub_sagas_terminate(struct hub_exchange *x, struct slice body);
void hub_sagas_signal(struct hub_exchange *x, struct slice body);

/* hub_flows.c */
enum ficus_err hub_flows_open(struct hub *h, struct ficus_error *reterr);
void hub_flows_list(struct hub_exchange *x, struct slice body);
void hub_flows_describe(struct hub_exchange *x, struct slice body);
void hub_flows_show(struct hub_exchange *x, struct slice body);

/* hub_bus.c: the log of this process as a bus; publish is refused (UNSUPPORTED). */
enum ficus_err hub_bus_new(struct elog *l, struct bus **ret_bus);
void hub_bus_free(struct bus *b); /* NULL is fine; cancels */

#endif
