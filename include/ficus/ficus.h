/* SPDX-License-Identifier: Apache-2.0
 *
 * libficus: write a service in plain blocking C; Ficus gives it an HTTP server, identity, a database of its own, events
 * that leave exactly when the transaction commits, calls with deadlines and retries, saga participation, logs, traces
 * and metrics.
 *
 * A handler has two phases. First it may read its database and call other services. Then, if it changes anything, it
 * says ficus_tx(req) and from there may read, write and emit; ficus_call is refused. There is no commit function: when
 * the handler returns 0, its writes, its events, the consumed event's offset and the answer kept for its
 * Idempotency-Key are committed together and synced, and only then the answer leaves. When it returns anything else,
 * everything is rolled back. Handlers run on a bounded pool of workers (256 KiB of stack): several at a time, so keep
 * no mutable globals without a lock; put state into the database.
 *
 * Strings are NUL-terminated UTF-8. Unless said otherwise a returned pointer lives until the handler returns. All
 * functions that take a struct ficus_req may be called only by the handler that was given it, on its thread.
 *
 * "-1" below always means: the request cannot go on (deadline, disk, memory, misuse); an answer that says why is set
 * already. Return -1 at once.
 *
 * To link: `pkg-config --cflags --libs ficus`; libficus.a takes `pkg-config --static --cflags --libs ficus`.
 */
#ifndef FICUS_FICUS_H
#define FICUS_FICUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FICUS_API __attribute__((visibility("default")))

struct ficus_req;  /* one request, event or start-up being handled */
struct ficus_json; /* a parsed JSON value, read-only */
struct ficus_out;  /* a JSON answer being written */
struct ficus_rows; /* rows of a query */
struct ficus_upcaster;   /* see ficus/store.h */
struct ficus_projection; /* the same */

typedef int (*ficus_handler)(struct ficus_req *req);

/* ---- the service ---- */

enum ficus_who {
    /* only declared calling services and sagas; never through the gateway */
    FICUS_SERVICES = 0,
    FICUS_ANYONE, /* also through the gateway, signed in or not */
    /* also through the gateway, only on behalf of a signed-in user (401 otherwise) */
    FICUS_USERS,
};

struct ficus_route {
    const char *method; /* "GET"; NULL ends the table */
    const char *path;   /* "/v1/orders/{id}": a parameter is one whole segment */
    ficus_handler handler;
    enum ficus_who who;
    /* required role of the user when it comes through the gateway; NULL: none. 403 otherwise */
    const char *role;
    /* Idempotency-Key is required (400 without). Any request that has one is answered by it once it took effect. */
    bool keyed;
};

struct ficus_subscription {
    const char *topic; /* NULL ends the table */
    /* ficus_body is the event's data. 0: processed, exactly once. Other: delivered again with back-off, 10 times, then
     * a dead letter */
    ficus_handler handler;
};

struct ficus_service {
    const char *name; /* as in the manifest */
    const struct ficus_route *routes;
    const struct ficus_subscription *events; /* NULL: none */
    /* before the service is ready; may use ficus_tx; NULL: none. Non-zero: the process exits, the reason is logged */
    ficus_handler start;
    /* request bodies; 0: 64 KiB; at most 1 MiB. Over it 413 */
    size_t body_size_max;
    /* frees what ficus_set_data left, after the last handler; not when the process is killed; NULL: none */
    void (*stop)(void *data);
    const struct ficus_upcaster *upcasters;     /* of the event store: ficus/store.h; NULL: none */
    const struct ficus_projection *projections; /* the same */
    /* Of consumed events: `type` is the topic, `from` a version of its schema, `old` has the event's subject as stream,
     * its data, version as `schema` and time. Handlers only ever see what the last one makes. Not every version needs
     * one: those that read the version before do without. NULL: none */
    const struct ficus_upcaster *event_upcasters;
};

/* Runs the service until SIGTERM; the exit code of the process. Configuration: the resolved file named by FICUS_CONFIG,
 * which `ficus up` provides. */
FICUS_API int ficus_main(const struct ficus_service *service, int argc, char **argv);

/* ---- the request ---- */

/* path parameter, decoded; never NULL for one that the route names */
FICUS_API const char *ficus_param(struct ficus_req *req, const char *name);
/* decoded; NULL when absent */
FICUS_API const char *ficus_query_param(struct ficus_req *req, const char *name);
/* NULL when absent */
FICUS_API const char *ficus_header(struct ficus_req *req, const char *name);
/* id of the signed-in user, or NULL */
FICUS_API const char *ficus_user(struct ficus_req *req);
FICUS_API bool ficus_has_role(struct ficus_req *req, const char *role);
/* "gateway", "orders", "hub", ... */
FICUS_API const char *ficus_caller(struct ficus_req *req);
/* Body (of an event: its data) as JSON. NULL: it is not JSON, and the 400 is set: return -1. */
FICUS_API const struct ficus_json *ficus_body(struct ficus_req *req);

/* The event being handled; NULL / 0 in a request. */
FICUS_API const char *ficus_event_topic(struct ficus_req *req);
FICUS_API const char *ficus_event_subject(struct ficus_req *req);
FICUS_API const char *ficus_event_id(struct ficus_req *req);
FICUS_API int64_t ficus_event_time_ms(struct ficus_req *req);

/* ---- helpers ---- */
/* wall clock, ms since 1970 */
FICUS_API int64_t ficus_now_ms(struct ficus_req *req);
FICUS_API const char *ficus_time(struct ficus_req *req, int64_t wall_ms); /* RFC 3339, UTC, ms */
FICUS_API const char *ficus_new_id(struct ficus_req *req);                /* UUIDv7 */
/* cryptographically strong */
FICUS_API void ficus_random(struct ficus_req *req, void *p, size_t size);
/* zeroed; dies with the request; NULL: over the request's ceiling */
FICUS_API void *ficus_alloc(struct ficus_req *req, size_t size);
FICUS_API const char *ficus_printf(struct ficus_req *req, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
FICUS_API const char *ficus_strdup(struct ficus_req *req, const char *s);
/* Keyed hash (HMAC-SHA256 under a key of this system, hex) of text that must not be stored itself. label separates
 * uses. */
FICUS_API const char *ficus_keyed_hash(struct ficus_req *req, const char *label, const char *text);
/* blocks this worker; not inside a transaction; -1 at the deadline */
FICUS_API int ficus_sleep(struct ficus_req *req, int ms);
/* Text from `settings:` of the service's manifest; NULL when absent. */
FICUS_API const char *ficus_setting(struct ficus_req *req, const char *name);
/* A folder of the service's own (0700) for files that are not a database, e.g. keys. */
FICUS_API const char *ficus_private_dir(struct ficus_req *req);
/* What `start` leaves for all handlers; yours to make thread-safe. */
FICUS_API void ficus_set_data(struct ficus_req *req, void *data);
FICUS_API void *ficus_data(struct ficus_req *req);
/* One structured log line with the request's trace and correlation ids. level: "debug" "info" "warn" "error". event: a
 * stable name. No secrets. */
FICUS_API void ficus_log(struct ficus_req *req, const char *level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- the answer ---- */

/* Begin a JSON answer; write exactly one value into it. Calling it again starts anew. NULL: out of memory, return -1.
 */
FICUS_API struct ficus_out *ficus_reply(struct ficus_req *req, int status);
/* returns 0 */
FICUS_API int ficus_reply_empty(struct ficus_req *req, int status);
/* 0 or -1 */
FICUS_API int ficus_reply_header(struct ficus_req *req, const char *name, const char *value);
/* problem+json answers (RFC 9457). code: stable machine word ("out_of_stock"). Returns -1, so that "return
 * ficus_problem(...)" rolls back and answers. */
FICUS_API int ficus_problem(struct ficus_req *req, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Note a fault of the input: JSON pointer and what is allowed. At most 20 are kept; the `errors` of a 400 or 422. */
FICUS_API void ficus_invalid(struct ficus_req *req, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
FICUS_API bool ficus_is_invalid(struct ficus_req *req);     /* has any been noted? */
FICUS_API int ficus_problem_invalid(struct ficus_req *req); /* 400 with `errors`; returns -1 */

/* key NULL: at the top or in an array */
FICUS_API void ficus_out_object(struct ficus_out *o, const char *key);
FICUS_API void ficus_out_array(struct ficus_out *o, const char *key);
FICUS_API void ficus_out_end(struct ficus_out *o);
/* NULL: null */
FICUS_API void ficus_out_str(struct ficus_out *o, const char *key, const char *value);
FICUS_API void ficus_out_int(struct ficus_out *o, const char *key, int64_t value);
FICUS_API void ficus_out_bool(struct ficus_out *o, const char *key, bool value);
FICUS_API void ficus_out_null(struct ficus_out *o, const char *key);
/* text that is one JSON value */
FICUS_API void ficus_out_json(struct ficus_out *o, const char *key, const char *json);
/* A JSON value of its own, for bodies of calls and events: write into it, then take the text. */
FICUS_API struct ficus_out *ficus_out_new(struct ficus_req *req);
FICUS_API const char *ficus_out_text(struct ficus_out *o); /* NULL: over the ceiling */

/* ---- reading JSON (NULL in: NULL / fallback out) ---- */
FICUS_API const struct ficus_json *ficus_json_get(const struct ficus_json *object, const char *key);
FICUS_API const struct ficus_json *ficus_json_at(const struct ficus_json *array, size_t index);
FICUS_API size_t ficus_json_count(const struct ficus_json *v);
FICUS_API bool ficus_json_is_object(const struct ficus_json *v);
FICUS_API bool ficus_json_is_array(const struct ficus_json *v);
/* NULL: not a string, or it holds a NUL */
FICUS_API const char *ficus_json_str(struct ficus_req *req, const struct ficus_json *v);
/* false: not a whole number in range */
FICUS_API bool ficus_json_int(const struct ficus_json *v, int64_t *ret_value);
FICUS_API const struct ficus_json *ficus_json_parse(struct ficus_req *req, const char *text);
/* written out again */
FICUS_API const char *ficus_json_text(struct ficus_req *req, const struct ficus_json *v);

/* ---- database ----
 * Formats, one letter a parameter: i int64_t, s const char * (NULL: NULL), n NULL. Before ficus_tx a query runs on a
 * reading connection, after it in the transaction. */
FICUS_API int ficus_tx(struct ficus_req *req); /* 0 or -1; saying it twice is fine */
/* 0, -1, or 1: a unique key was there already */
FICUS_API int ficus_exec(struct ficus_req *req, const char *sql, const char *format, ...);
/* rows changed by the last ficus_exec */
FICUS_API int64_t ficus_changes(struct ficus_req *req);
/* NULL: return -1 */
FICUS_API struct ficus_rows *ficus_query(struct ficus_req *req, const char *sql, const char *format, ...);
/* 1: a row, 0: no more (and done), -1 */
FICUS_API int ficus_row(struct ficus_rows *r);
FICUS_API int64_t ficus_col_int(struct ficus_rows *r, int column); /* from 0; NULL: 0 */
/* copied to the request; NULL: NULL */
FICUS_API const char *ficus_col_str(struct ficus_rows *r, int column);
FICUS_API bool ficus_col_null(struct ficus_rows *r, int column);
/* needed when you leave before ficus_row gave 0 */
FICUS_API void ficus_rows_done(struct ficus_rows *r);

/* ---- calls and events ---- */
struct ficus_call {
    const char *service, *method, *path; /* path with query; encode values with ficus_segment */
    const char *body;                    /* JSON text or NULL */
    const char *key;                     /* Idempotency-Key or NULL */
    /* 0: the manifest's for this edge; never longer than what is left of the request's deadline */
    int timeout_ms;
};
struct ficus_answer {
    int status; /* 503 or 504 when no answer came */
    /* false: nobody answered; it may or may not have been processed */
    bool answered;
    const struct ficus_json *json; /* NULL: not JSON */
    const char *code;              /* `code` of a problem document, else "" */
};
/* 0: *ret_answer is set, whatever the status. -1: the request cannot go on (its own deadline passed, or called inside a
 * transaction). */
FICUS_API int ficus_call(struct ficus_req *req, const struct ficus_call *call, struct ficus_answer *ret_answer);
/* percent-encoded as one path segment or query value */
FICUS_API const char *ficus_segment(struct ficus_req *req, const char *text);
/* In a transaction: publish when it commits. subject: the key (events of one key keep their order). data: JSON text, which
 * has to fit the topic's schema, if the manifest names one: else the request fails, and nothing is emitted. What
 * a call of a saga, or an event, brings about is the same event however often it is brought about: the first one counts. */
FICUS_API int ficus_emit(struct ficus_req *req, const char *topic, const char *subject, const char *data);
/* The same for later: consumers get it once the wall clock has come to at_ms (ms since 1970, see ficus_now_ms), in the past: at
 * once; at most 366 days ahead. Its time is at_ms; among those of a key it has its place by when it comes. The hub keeps it until
 * then. */
FICUS_API int ficus_emit_at(struct ficus_req *req, const char *topic, const char *subject, const char *data, int64_t at_ms);

/* ---- saga participants: the four rules as a state table (in a transaction) ----
 * kind: what is done ("reservation"), id: of the saga instance. */
enum ficus_step {
    FICUS_STEP_FRESH = 1, /* do: do it now.            undo: it was done, undo it now */
    /* do: it was done already.  undo: it was undone already. Answer the same again, without effect */
    FICUS_STEP_REPEATED = 2,
    /* do: a tombstone or an earlier refusal stands here; refuse without effect */
    FICUS_STEP_REFUSED = 3,
    /* undo: it never came, or was refused; a tombstone stands here now. Answer 200 */
    FICUS_STEP_NEVER = 4,
};
/* FRESH, REPEATED, REFUSED or -1 */
FICUS_API int ficus_step_do(struct ficus_req *req, const char *kind, const char *id);
/* FRESH, REPEATED, NEVER or -1 */
FICUS_API int ficus_step_undo(struct ficus_req *req, const char *kind, const char *id);
/* After do gave FRESH, refuse for a reason of the business: the refusal is remembered (a late repetition is refused
 * too) and committed, the answer is 409 with this code. Returns 0: "return ficus_step_refuse(...)". Undo your own
 * writes of this handler first: they would be committed. */
FICUS_API int ficus_step_refuse(struct ficus_req *req, const char *kind, const char *id, const char *code,
                                const char *detail);
/* The answer to FICUS_STEP_REFUSED: 409 with the remembered code ("undone" for a tombstone). Returns 0. */
FICUS_API int ficus_step_refused(struct ficus_req *req, const char *kind, const char *id);
/* Look without changing; also before ficus_tx: "", "done", "undone" or "refused". NULL: return -1. */
FICUS_API const char *ficus_step_state(struct ficus_req *req, const char *kind, const char *id);

/* ---- streaming answers (text/event-stream) ----
 * Begin one: from here on what any handler commits with ficus_stream_send under this key is sent to the client, without
 * a worker. Say it before you read the present state, then send what the client has not seen with ficus_stream_first;
 * what comes twice is dropped by id. A comment goes out every 15 s. At most 8,192 are open in a service (503 beyond it),
 * and 1,024 of one user (429). */
FICUS_API int ficus_stream(struct ficus_req *req, const char *key);
FICUS_API int ficus_stream_first(struct ficus_req *req, int64_t id, const char *event, const char *data, bool last);
/* In a transaction: send to all streams open under key when it commits. id: ascending per key. last: the streams end
 * after it. */
FICUS_API int ficus_stream_send(struct ficus_req *req, const char *key, int64_t id, const char *event, const char *data,
                                bool last);

#ifdef __cplusplus
}
#endif

#endif
