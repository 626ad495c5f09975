/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the chassis share. Private to src/service.
 *
 * Threads. [loop] belongs to the loop thread, [worker] to the worker that runs the handler between the moves QUEUED ->
 * RUNNING and the end of request_work. A request is changed by one of them at a time; `state` alone is raced for, by
 * compare and exchange: the worker moves RUNNING -> COMMITTING, the loop RUNNING -> ABANDONED, and who comes second
 * learns it. References are counted on the loop only: one for the exchange with the client, one for the worker's job,
 * one for the group commit. The last one frees the request and its arena.
 */
#ifndef FICUS_SERVICE_SERVICE_IMPL_H
#define FICUS_SERVICE_SERVICE_IMPL_H

#include "arena.h"
#include "assert.h"
#include "db_watch.h"
#include "http_server.h"
#include "map.h"
#include "jschema.h"
#include "mem.h"
#include "outbox.h"
#include "router.h"
#include "service.h"
#include "store_copy.h"

#include <stdatomic.h>
#include <stdio.h>

enum {
    REQUEST_TIMEOUT_MS_MAX = 30000,
    START_TIMEOUT_MS = 120000, /* of the service's start handler */
    REQUEST_ARENA_SIZE_MAX = 16 * 1024 * 1024,
    BODY_SIZE_DEFAULT = 64 * 1024,
    BODY_SIZE_MAX = 1024 * 1024,
    ANSWER_SIZE_MAX = 4 * 1024 * 1024,
    ANSWER_HEADERS_MAX = 16,
    INVALID_MAX = 20,      /* faults of the input that are kept */
    QUEUE_FRONT_MAX = 512, /* requests that wait for a worker */
    QUEUE_BACK_MAX = 384,  /* of them saga calls and events */
    KEY_SIZE_MAX = 128,    /* of an Idempotency-Key */
    KEY_WAITING_MAX = 32,  /* requests that wait for the first one with their key */
    WAITING_EARLY_MS = 100, /* before their deadline they are told that it still runs; at most a tenth of the time */
    KEY_KEPT_MS = 48 * 3600 * 1000,
    STREAM_PENDING_MAX = 64, /* events that a slow reader may be behind */
    STREAM_SENDS_MAX = 64,   /* ficus_stream_send in one transaction */
    STREAM_COUNT_MAX = 8192, /* well below PROCESS_CONNS_MAX: requests need connections too */
    STREAM_USER_MAX = 1024,  /* of one user */
    STREAM_KEY_SIZE_MAX = 256,
    STREAM_COMMENT_MS = 15000,
};
#define STEP_KEPT_MS ((int64_t)30 * 24 * 3600 * 1000)

struct ficus_stored; /* ficus/store.h */
struct estore_event;

/* ---- lifecycle of a request (request.c has the table and the diagram) ---- */

enum request_state {
    REQUEST_READING,    /* [loop] the body is coming */
    REQUEST_WAITING,    /* [loop] another one with the same Idempotency-Key runs */
    REQUEST_QUEUED,     /* [loop] in the queue for a worker */
    REQUEST_RUNNING,    /* [worker] */
    REQUEST_COMMITTING, /* nobody's: the group commit tells */
    REQUEST_REPLYING,   /* [loop] the answer is on its way */
    REQUEST_ABANDONED,  /* its deadline passed while it ran: the loop answered 504, the worker still has it and can
                           commit nothing */
    REQUEST_DONE,
    REQUEST_STATE_COUNT
};

enum request_kind { REQUEST_HTTP, REQUEST_EVENT, REQUEST_START, REQUEST_PROJECTION /* inside another one's transaction */ };

struct ficus_out {
    struct ficus_req *req;
    struct buf text;
    struct json_writer writer;
    struct list link; /* in req->outs */
    uint64_t objects; /* bit of a level: it is an object */
    unsigned depth;
    bool begun, misused;
};

struct answer {
    int status; /* 0: none */
    bool is_problem;
    const char *content_type; /* NULL: no body */
    struct http_field headers[ANSWER_HEADERS_MAX];
    size_t header_count;
    struct ficus_out out;
};

struct ficus_rows {
    struct ficus_req *req;
    struct db_stmt *stmt; /* NULL: done */
    struct list link;     /* in req->rows */
    bool is_reader;       /* runs on req->reader */
};

struct invalid_note {
    const char *pointer, *detail;
};

/* One frame committed for a stream key, in the request's arena. */
struct stream_note {
    const char *key;
    int64_t id;
    struct slice frame;
    bool last;
    struct stream_note *next;
};

struct key_entry;
struct sse;

/* A worker that waits for something of the loop; on its stack. */
struct blocked {
    struct list link;                  /* in service->blocked */
    void (*cancel)(struct blocked *b); /* [loop] the service closes: end the wait now */
};

struct ficus_req {
    struct service *service;
    enum request_kind kind;
    _Atomic int state;
    struct arena arena; /* whose turn it is, that one's */

    /* [loop] */
    struct list link;  /* in service->requests */
    struct list queue; /* in a queue of the dispatcher, or of a key; while a worker has it, in dispatch.at_work */
    unsigned refs;
    struct http_stream *stream; /* NULL: gone */
    struct http_collect collect;
    struct env_timer deadline;
    struct key_entry *key_entry; /* it runs for this key */
    int64_t begun_ns;
    size_t sent; /* bytes of the answer's body */
    int status_sent;
    bool is_back;     /* an event or a saga call: at most half of the workers */
    bool is_finished; /* accounted */
    struct sse *sse;  /* a streaming answer began */

    /* Set before it runs, read by both afterwards. */
    const struct router_route *route;
    struct slice *params; /* decoded, in the order of the template */
    struct slice method, path, query;
    struct slice asked_path; /* what the client of the gateway asked for, for problems; else path */
    struct http_field *fields;
    size_t field_count;
    const char *caller, *user;
    struct slice *roles;
    size_t role_count;
    struct process_context context;
    struct log_context log;
    const char *body; /* NUL-terminated */
    size_t body_size;
    const char *idempotency_key; /* NULL: none */
    const char *key_scope;
    uint8_t key_hash[KEYED_HASH_SIZE];
    struct event event; /* REQUEST_EVENT */
    bool event_redriven; /* it was a dead letter */
    int64_t generation;  /* REQUEST_PROJECTION: whose tables the names in braces are */
    ficus_handler handler;

    /* [worker] */
    struct env_job job;
    struct db_conn *reader;
    struct db_tx tx;
    bool tx_open;
    struct list rows, outs;
    int64_t changes;
    bool is_failed;    /* it cannot go on; the answer says why */
    bool is_technical; /* ... for a reason that is not the handler's */
    enum ficus_err store_err; /* ... which is this one of the database; OK: another */
    const char *fail_text;    /* ... in words; NULL: the answer has them */
    bool is_replayed;  /* the answer is the one kept for its key */
    bool is_duplicate; /* the event was processed before */
    struct answer answer;
    struct invalid_note invalid[INVALID_MAX];
    size_t invalid_count;
    const struct ficus_json *body_json;
    size_t emitted_count;
    struct stream_note *notes, **notes_end;
    size_t note_count;
    bool is_streaming; /* the answer is a stream */
    struct stream_note *first, **first_end;
    bool first_last; /* the stream ends behind them */

    /* Set by the worker, read by the loop when it settles. */
    int result; /* of the handler */
    bool event_processed;
    bool event_dead; /* processed, as a dead letter */

    /* The end of the group commit. */
    struct env_task committed;
    enum ficus_err commit_err;
    char commit_detail[160];
    bool commit_begun;          /* set by the worker before it hands the request to the commit */
    bool job_over, commit_over; /* [loop] the worker's reference goes when both are */
};

/* ---- dispatcher ---- */

struct dispatch {
    struct list front, back;
    struct list at_work; /* whom workers have */
    size_t front_count, back_count;
    unsigned running, running_back, workers, back_max;
    bool back_turn;
};

/* ---- events ---- */

struct feed {
    struct consumer *consumer; /* NULL: nothing is consumed, or closed */
    char *topics;              /* owned */
    int64_t handled;           /* offset of the last event that is through; from the database, at start */
    struct ficus_req *active;
    unsigned failures; /* in a row, technical ones too; for the back-off */
    bool is_stopping;
};

/* ---- the service ---- */

enum service_state { SERVICE_STARTING, SERVICE_READY, SERVICE_DRAINING, SERVICE_CLOSING };

enum service_metric {
    METRIC_HTTP_REQUESTS,
    METRIC_HTTP_DURATION,
    METRIC_WORKERS_BUSY,
    METRIC_QUEUE_LENGTH,
    METRIC_OUTBOX_PENDING,
    METRIC_EVENT_LAG,
    METRIC_EVENTS_HANDLED,
    METRIC_STREAMS,
    METRIC_REBUILD_EVENTS,
    METRIC_PROJECTION_LAG,
    SERVICE_METRIC_COUNT
};

struct service {
    struct env *env;
    const struct ficus_service *def;
    const struct service_config *config;
    struct service_hooks hooks;
    struct process process;
    struct router *router;
    enum service_state state;
    struct db *db;      /* NULL: the service has no store */
    int64_t generation; /* of a rebuildable one */
    bool is_rebuilding; /* no requests are taken yet */
    struct http_server *server;
    struct bus *bus_out, *bus_in;
    struct outbox_relay *relay;
    struct feed feed;
    struct projections *projections; /* NULL: none */
    struct dispatch dispatch;
    struct arena schema_arena;
    struct jschema **schemas; /* as config->schemas; NULL: of one that is only consumed. Any worker reads them */
    struct map keys; /* key hash -> struct key_entry that runs */
    struct list requests;
    size_t request_count;
    struct list blocked; /* workers that wait for the loop */
    struct list streams;
    struct map stream_keys, stream_users; /* name -> struct crowd of sse.c */
    size_t stream_count;
    struct env_timer stream_timer;
    struct metric_family *metrics[SERVICE_METRIC_COUNT];
    _Atomic(void *) data; /* of ficus_set_data; released by the start handler, acquired by the others */

    /* starting */
    struct env_job open_job;
    struct ficus_error open_error;
    enum ficus_err open_err;

    /* janitor */
    struct env_timer janitor_timer;
    struct env_job janitor_job;
    bool janitor_runs, janitor_more;
    struct env_timer watch_timer;
    struct db_watch store_watch; /* when there is a store */
    struct store_copy store_copy;

    /* ending */
    void (*drained)(void *arg);
    void *drained_arg;
    void (*closed)(void *arg);
    void *closed_arg;
    bool is_server_drained, is_ready_told, is_opening;
    int close_step;
    struct env_job close_job;
    struct env_task end_task;
};

/* ---- request.c [loop] unless said otherwise ---- */
void request_on_head(void *arg, struct http_stream *s, bool end, const struct env_peer *peer);
struct ficus_req *request_new(struct service *v, enum request_kind kind);
void request_ref(struct ficus_req *r);
void request_unref(struct ficus_req *r);
enum request_state request_state(const struct ficus_req *r); /* [any] */
bool request_move(struct ficus_req *r, enum request_state from,
                  enum request_state to); /* [any] false: it was no longer in from */
void request_arm_deadline(struct ficus_req *r);
void request_arm_waiting(struct ficus_req *r); /* for the first one with its key */
void request_admit(struct ficus_req *r);   /* all is read: to its key's line or to the queue */
void request_settled(struct ficus_req *r); /* its effects are decided: account, answer */
void request_problem(struct ficus_req *r, int status, const char *code, const char *detail,
                     bool retry_after);                       /* answer at once, without the handler */
void request_broken(struct ficus_req *r, enum ficus_err err); /* the answer cannot be sent (further): reset, over */
void request_abandon_all(struct service *v);
/* [worker] One that nobody sent, for a projection's handler in a transaction that is open. NULL: out of memory. */
struct ficus_req *request_inside(struct service *v, int64_t generation);
void request_inside_free(struct ficus_req *r);

/* ---- reply.c [loop] ---- */
void reply_send(struct ficus_req *r);
void reply_more(struct ficus_req *r);
extern const struct http_handler request_handler;

/* ---- work.c [worker]: everything around the handler ---- */
void request_work(void *arg);
void request_work_done(void *arg); /* [loop] */

/* ---- dispatch.c [loop] ---- */
void dispatch_init(struct dispatch *d, unsigned workers);
bool dispatch_push(struct service *v, struct ficus_req *r);    /* false: full */
void dispatch_remove(struct service *v, struct ficus_req *r);  /* from its queue */
void dispatch_release(struct service *v, struct ficus_req *r); /* its worker is free again */

/* ---- idempotency.c ---- */
bool keys_enter(struct ficus_req *r); /* [loop] true: it runs now; false: it waits, or was answered */
void keys_leave(struct ficus_req *r); /* [loop] settled: the next one's turn; nothing when it has none */
/* [loop] What one is told whose predecessor still runs: 409 for clients; for processes 503, since a saga takes 409 for
 * a refusal, and nothing was decided here. */
int keys_busy_status(const struct ficus_req *r);
void keys_leave_waiting(struct ficus_req *r); /* [loop] it waits no longer */
/* [worker] 1: an answer is kept for the key (and stands in r->answer now, or a 422); 0: none; -1 failed. */
int keys_lookup(struct ficus_req *r, struct db_conn *c);
int keys_remember(struct ficus_req *r); /* [worker, in the transaction] */

/* ---- answer.c [worker] ---- */
void answer_clear(struct ficus_req *r);
void answer_done(struct answer *a);
void answer_problem(struct ficus_req *r, int status, const char *code, const char *detail);
bool answer_header(struct ficus_req *r, const char *name, const char *value);
/* The request cannot go on. technical: not the handler's fault. Logs. Returns -1. */
int request_fail(struct ficus_req *r, int status, const char *code, bool technical, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* An event into the outbox of the open transaction, whatever its topic: the caller knows that it may be published. at_ms: as of
 * ficus_emit_at; 0: now. 0 or -1. */
int request_emit(struct ficus_req *req, const char *topic, const char *subject, const char *data, int64_t at_ms);
int request_fail_store(struct ficus_req *r, enum ficus_err err, const struct ficus_error *error, const char *what);
bool request_may_go_on(struct ficus_req *r); /* false: failed, or abandoned (then it fails now) */
const char *request_reason(struct ficus_req *r); /* why it failed, as the handler said it last */
void out_init(struct ficus_out *o, struct ficus_req *r, size_t size_max);
void out_done(struct ficus_out *o);
bool out_complete(const struct ficus_out *o);

/* ---- api_db.c [worker] ---- */
void db_rows_close(struct ficus_req *r, bool readers_only);
int request_reader(struct ficus_req *r); /* 0: r->reader is there */
void request_reader_give(struct ficus_req *r);

/* ---- feed.c: events ---- */
enum ficus_err feed_open(struct service *v, struct ficus_error *reterr); /* [worker] where to go on */
enum ficus_err feed_start(struct service *v, struct ficus_error *reterr);
void feed_stop(struct service *v); /* no further event; what runs ends */
void feed_settled(struct ficus_req *r);
void feed_emitted(struct service *v, size_t count); /* committed to the outbox: wake the relay */
void feed_refused(struct ficus_req *r);             /* [worker] the handler refused: count, perhaps a dead letter */

/* ---- sse.c ---- */
int sse_open(struct ficus_req *r, const char *key); /* [worker] */
struct slice sse_frame(struct arena *a, int64_t id, const char *event,
                       const char *data); /* [worker] p NULL: does not fit */
void sse_begin(struct ficus_req *r);      /* [loop] the handler is done: send the head, r->first, and what comes */
void sse_discard(struct ficus_req *r);    /* [loop] it failed */
void sse_publish(struct service *v, const struct stream_note *notes); /* [loop] committed */
void sse_more(struct ficus_req *r);                                   /* [loop] the client takes more */
void sse_end_all(struct service *v);

/* ---- tables.c ---- */
extern const struct db_migration service_migrations[];
extern const size_t service_migration_count;
enum ficus_err tables_open(struct service *v, struct ficus_error *reterr); /* [worker] open, migrate */
bool janitor_sweep(struct service *v); /* [worker] one small step; true: there is more */
void janitor_start(struct service *v);
void janitor_stop(struct service *v);

/* ---- api_store.c ---- */
/* INVALID names the upcaster that is wrong. Pure. */
enum ficus_err store_check_upcasters(const struct ficus_upcaster *list, struct ficus_error *reterr);
int store_upcast(struct ficus_req *req, struct ficus_stored *ev); /* [worker] to the newest shape; 0 or -1 */

/* ---- projections.c ---- */
/* What the service's definition says of them. INVALID; NOMEM. */
enum ficus_err projections_new(struct service *v, struct ficus_error *reterr);
void projections_free(struct projections *p);
enum ficus_err projections_open(struct service *v, struct ficus_error *reterr); /* [worker] the table, what serves */
/* [worker] into all that serve, in the transaction that appended */
enum ficus_err projections_append(struct ficus_req *r, const struct estore_event *ev, struct ficus_error *reterr);
/* [loop] Make all whole that the service needs, then tell service_projections_done; then build what is to be built. */
void projections_start(struct service *v);
void projections_stop(struct service *v);       /* [loop] no further step; what was begun is gone on with at the next start */
bool projections_busy(const struct service *v); /* [loop] service_check_end is told when it no longer is */

enum projection_rebuild { PROJECTION_REBUILD_NONE, PROJECTION_REBUILD_RUNNING, PROJECTION_REBUILD_DONE, PROJECTION_REBUILD_FAILED };
struct projection_status { /* [loop] of one name; the first three of what serves */
    const char *name;
    int64_t generation, version;
    enum projection_rebuild last; /* since the process started */
    int64_t events, total;        /* of it */
    int64_t time_ms;              /* of the last event */
    const char *error;
};
size_t projections_count(const struct service *v);
void projections_status(const struct service *v, size_t i, struct projection_status *ret_status);
/* Build the tables of one anew. BUSY: that goes on; CONFLICT: the service is starting or stopping. [loop] */
enum ficus_err projections_rebuild(struct service *v, size_t i, struct ficus_error *reterr);

/* ---- projections_operator.c: POST and GET /ficus/rebuild [loop] ---- */
void projections_operator(struct service *v, struct http_stream *s);

/* ---- api_schema.c ---- */
enum ficus_err schemas_check_upcasters(const struct ficus_service *def, struct ficus_error *reterr); /* INVALID names the wrong one */
enum ficus_err schemas_open(struct service *v, struct ficus_error *reterr); /* [loop] compile; the logger is there */
void schemas_close(struct service *v);                                      /* [loop] */
/* [worker] Look whether the data fits its topic's schema, and name that in *ev. 0; -1: it does not, the request has failed. */
int schemas_emit(struct ficus_req *r, struct event *ev);
/* [worker] Bring the body of a consumed event to the newest version that is known. 0 or -1. */
int schemas_upcast(struct ficus_req *r);

/* ---- operator.c ---- */
/* A request under /ficus/. NULL: it is answered; else its route, to be run as any request's. [loop] */
const struct router_route *operator_answer(struct service *v, struct http_stream *s, struct identity_claims *ret_claims);

/* ---- chassis.c ---- */
void service_check_end(struct service *v); /* something ended: see what is next */
void service_start_settled(struct ficus_req *r);
void service_projections_done(struct service *v, enum ficus_err err, const char *detail); /* once: OK: all serve */
bool service_is_ending(const struct service *v);
void metrics_queue(struct service *v);

#endif
