/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the gateway share: the proxy, one request on its way, and the chain of filters. Private to
 * src/proxy.
 */
#ifndef FICUS_PROXY_PRIVATE_H
#define FICUS_PROXY_PRIVATE_H

#include "http_server.h"
#include "jwt.h"
#include "overload.h"
#include "process.h"
#include "proxy.h"
#include "proxy_loops.h"
#include "proxy_snapshot.h"
#include "uuid.h"

#define PROXY_ROUTE_NONE "none" /* in metrics and log lines: no route was found */

enum { PROXY_FIELDS_MAX = 32, PROXY_REQUEST_ID_SIZE_MAX = 128 };

enum proxy_metric {
    PROXY_REQUESTS,
    PROXY_SECONDS,
    PROXY_UPSTREAM_SECONDS,
    PROXY_ADDED_SECONDS,
    PROXY_AUTH_FAILURES,
    PROXY_TOKENS,
    PROXY_REFUSED,
    PROXY_CONNECTIONS,
    PROXY_PARTS_MISSING,
    PROXY_SPLIT,
    PROXY_FALLBACKS,
    PROXY_SHED,
    PROXY_METRIC_COUNT
};

struct proxy {
    struct env *env;
    const struct proxy_config *first; /* that proxy_start was given; outlives the proxy */
    struct proxy_loops *loops;        /* the first proxy's */
    bool beside;                      /* another one is the first */
    struct proxy_options o;
    struct process process;
    struct http_server *server;
    struct http_server *admin; /* NULL: none */
    struct tls_server *tls; /* the first proxy's; NULL: plain HTTP */
    struct proxy_snapshot *current;
    struct list snapshots;       /* struct proxy_snapshot: the current one, and those with requests under way */
    struct proxy_reload *reload; /* the one that runs; NULL: none */
    struct stale *stale;         /* that of all loops */
    size_t keeping;              /* answers whose body is under way into it */
    struct list streams;     /* struct proxy_request: event streams and tunnels under way */
    bool ready, stopping;
    struct overload overload; /* filter_overload.c */
    struct env_timer probe;
    int64_t probe_due_ns;
    bool probe_seen; /* a request came since it was started */
    struct metric_family *metrics[PROXY_METRIC_COUNT];
    struct log_event answered, probed; /* the line of a request; of one that says nothing */
    struct env_timer ready_kick, drain_limit;
    struct env_timer retell;    /* first loop: addresses are to be told to the others again */
    char refusal_id[UUID_TEXT_SIZE],
        refusal_trace[TRACE_PARENT_TEXT_SIZE]; /* of the answer to malformed input that is being written */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* What a filter says. */
enum proxy_verdict {
    PROXY_PASS,     /* next filter */
    PROXY_ANSWERED, /* this request has its answer (or was given up) */
    PROXY_WAITS,    /* proxy_request_continue comes later and asks this filter again */
};

struct proxy_request;

struct proxy_filter {
    const char *name;
    enum proxy_verdict (*run)(struct proxy_request *q);
};

/* One request; lives in the arena of its stream. */
struct proxy_request {
    struct proxy *proxy;
    struct proxy_snapshot *snapshot; /* a reference */
    struct http_stream *stream;
    const struct env_peer *peer; /* the connection's */
    struct slice peer_address;   /* of peer->text, without the port; size 0: it has none */
    bool end;      /* the request has no body */
    size_t filter; /* the one that is asked next */
    int64_t begin_ns;

    struct trace_context trace;
    struct slice tracestate;
    struct slice request_id;
    const struct proxy_route *route; /* NULL: none yet */
    struct slice user; /* SLICE_NONE: nobody */
    const struct slice *roles;
    size_t role_count;
    struct proxy_keys_waiter waiter;
    bool waited;

    /* an answer of our own that does not fit at once */
    struct buf own;
    struct slice own_left; /* of own, or of bytes that outlive the request */

    /* composing (compose.c) */
    struct compose *compose;  /* NULL: none */
    const char *part_missing; /* the first one, for the log only */

    /* a split (split.c) */
    const char *part_name;  /* of the part that was taken, for log and metrics; NULL: none */
    const char *set_cookie; /* value of the field for an answer; NULL: none */

    /* fallbacks (fallback.c) */
    const char *fallback;     /* what the answer is instead: "stale", "service", "static"; NULL: the service's own */
    bool fallback_asked;      /* all but the fixed answer were tried */
    int64_t again_ns;         /* when another service was asked; 0: none was */
    struct proxy_keep *keep;  /* the answer is being kept; NULL: not */
    struct slice forward_path; /* that the service was asked for; p NULL: none yet */

    /* forwarding (forward.c) */
    struct call *call;
    struct list stream_link; /* proxy->streams; linked while an event stream or tunnel runs */
    bool collecting; /* collect is in use */
    struct env_timer gather_limit; /* a small body has to be there in the route's time */
    struct buf up, down; /* taken from one side, not yet by the other */
    size_t up_sent, down_sent;
    bool up_end, down_end; /* what is in up/down is the last */
    bool half_closed;      /* the client shut its side */
    bool is_events;        /* the answer has begun, and is an event stream */
    bool is_tunnel;        /* the answer has begun, and is a tunnel */
    bool up_asked;         /* of a tunnel: http_recv was called, its data did not come yet */
    bool up_ended;         /* of a tunnel: the client ended its side */
    size_t up_discarded;   /* of a tunnel: bytes that came for a service that is gone */
    struct slice websocket_key; /* towards the service (filter_websocket.c); p NULL: none */
    size_t request_size, response_size;
    int64_t upstream_begin_ns, upstream_ns;
    int64_t head_ns;   /* when the head of the answer was sent; 0: not yet */
    int64_t gather_ns; /* how long a body was waited for; until it was there: when that began, negative */
    const char *service;    /* that was called; NULL: none, or several */
    bool upstream_h2;       /* HTTP/2 is spoken to it */
    unsigned attempts;
    uint32_t flags;         /* enum access_flag */
    int status;             /* of the answer; 0: none was sent */
    enum ficus_err err;     /* why there was none, or a problem */
    const char *err_detail; /* for the log only */

    /* What follows is not zeroed, and read only where it was written: most requests need little of it, and what they do not touch
     * pushes nothing out of the cache. proxy_on_request counts on match being the first. */
    struct proxy_match match; /* with route */
    char address[64];         /* of the instance that answered, cut; "": none did */
    struct http_collect collect;
};

/* http_server_options.on_request; arg: the proxy. */
void proxy_on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer);
/* Ask the filters, beginning with the one that waited. */
void proxy_request_continue(struct proxy_request *q);

/* Answers of the gateway itself. Each carries request id and trace, and Cache-Control: no-store, nosniff. */
void proxy_answer(struct proxy_request *q, int status, const struct http_field *fields, size_t field_count,
                  const char *content_type, struct slice body);
/* With these fields, at most PROXY_FIELDS_MAX, and request id and trace alone. lasting: body outlives the request and
 * is sent from where it is. */
void proxy_answer_with(struct proxy_request *q, int status, const struct http_field *fields, size_t field_count,
                       struct slice body, bool lasting);
void proxy_problem(struct proxy_request *q, int status, const char *code, const char *detail,
                   const struct http_field *fields, size_t field_count);
/* The problem that fits an error of the engine. */
void proxy_problem_of(struct proxy_request *q, enum ficus_err err);
/* Send what is left of an own answer; true when there is one. */
bool proxy_answer_more(struct proxy_request *q);
/* Request id and trace into the head of an answer. trace: where that line is written, until m was sent. */
bool proxy_mark_answer(const struct proxy_request *q, struct http_msg *m, char trace[TRACE_LINE_SIZE]);

/* proxy.c: one reference less. What only routes of a snapshot that went had is forgotten. */
void proxy_snapshot_leave(struct proxy *p, struct proxy_snapshot *s);

/* proxy_reload.c: it goes on without the proxy, and changes nothing. */
void proxy_reload_cancel(struct proxy *p);
extern const struct metric_def *const proxy_conns_metric; /* proxy.c: PROXY_CONNECTIONS, which only a scrape sets */
/* proxy.c: how many connections clients may have. */
size_t proxy_conn_count_max(const struct proxy *p);
/* proxy.c: begin with s, which is taken over, in place of the current one. On failure s is released. */
enum ficus_err proxy_swap(struct proxy *p, struct proxy_snapshot *s, struct ficus_error *reterr);

/* admin.c: listen where the configuration says; nothing without that. */
enum ficus_err proxy_admin_open(struct proxy *p, struct ficus_error *reterr);
/* filter_health.c: metrics in the format that m accepts. Returns its media type; NULL: they do not fit. */
const char *proxy_metrics_write(struct proxy *p, const struct http_msg *m, struct buf *out);

/* serve_files.c: from the files of the route's folder. */
void proxy_answer_file(struct proxy_request *q);

/* compose.c: one answer out of the route's parts. */
void proxy_compose(struct proxy_request *q);
void proxy_compose_cancel(struct proxy_request *q); /* harmless when nothing is composed */

/* split.c: where requests of a route with a split go. */
enum { PROXY_POINTS = 10000 };
unsigned proxy_split_point(struct slice key); /* below PROXY_POINTS, always the same for a key */
/* The part at a point: each has as many points in a row as its weight says. */
size_t proxy_split_at(const struct proxy_route *r, unsigned point);
/* Sets match.part, and what the answer and the log say of it. False: the arena is full. */
bool proxy_split_choose(struct proxy_request *q);
bool proxy_split_mark(const struct proxy_request *q, struct http_msg *m); /* the cookie, if one is to be set */
/* Which service the request goes to; for a route that leads to one. */
const char *proxy_service_of(const struct proxy_request *q);

/* fallback.c */
/* The service failed with err, or with an answer for which proxy_fallback_for is true (UNAVAILABLE then). True: the
 * request has another answer, or is on its way to one, and the call was given up. */
bool proxy_fallback(struct proxy_request *q, enum ficus_err err, const char *detail);
bool proxy_fallback_for(int status);
/* What passes to the client, to keep it: a head, and each piece of its body. */
void proxy_fallback_head(struct proxy_request *q, const struct http_msg *head, bool end);
void proxy_fallback_data(struct proxy_request *q, struct slice data, bool end);
void proxy_fallback_cancel(struct proxy_request *q); /* the stream ended; harmless when nothing is kept */

/* forward.c */
/* Ask a service for path on behalf of this request; answers the client by itself. stream_size: as of a call_request. */
void proxy_forward_to(struct proxy_request *q, const char *service, struct slice path, struct slice body,
                      int64_t stream_size);
void proxy_forward(struct proxy_request *q);
void proxy_forward_data(struct proxy_request *q, struct slice data, bool end); /* of the client's body */
void proxy_forward_trailers(struct proxy_request *q, const struct http_field *fields, size_t field_count);
void proxy_forward_writable(struct proxy_request *q);                          /* the client takes more */
int64_t proxy_deadline_ns(const struct proxy_request *q);                      /* of the answer */
/* To a service on behalf of this request: deadline, trace, user. What is asked for is to be filled in. */
struct call_request proxy_call_request(const struct proxy_request *q, const char *service);
void proxy_forward_half_closed(struct proxy_request *q); /* the client shut its side, or is gone */
void proxy_forward_end_streams(struct proxy *p); /* as if their services had ended them */
void proxy_forward_cancel(struct proxy_request *q); /* the stream ended, for whatever reason */

/* filter_*.c; the chain is in proxy_request.c */
enum proxy_verdict filter_health(struct proxy_request *q);
enum proxy_verdict filter_context(struct proxy_request *q);
enum proxy_verdict filter_host(struct proxy_request *q);
enum proxy_verdict filter_metrics(struct proxy_request *q);
enum proxy_verdict filter_origin(struct proxy_request *q);
enum proxy_verdict filter_route(struct proxy_request *q);
enum proxy_verdict filter_auth(struct proxy_request *q);
enum proxy_verdict filter_roles(struct proxy_request *q);
enum proxy_verdict filter_size(struct proxy_request *q);
enum proxy_verdict filter_websocket(struct proxy_request *q);
enum proxy_verdict filter_hops(struct proxy_request *q);
enum proxy_verdict filter_overload(struct proxy_request *q);
void proxy_overload_probe(void *arg); /* what proxy->probe does */
/* filter_forwarded.c: where the request comes from, for the service; at most PROXY_FORWARDED_FIELDS. False: the arena is
 * full. */
enum { PROXY_FORWARDED_FIELDS = 5 };
bool proxy_forwarded_fields(struct proxy_request *q, struct http_field *fields, size_t *count);
/* The address of who asked: the gateway's own peer, or, as long as that is a trusted proxy, who stands before it in
 * X-Forwarded-For, read from its end; what is no address ends the way, since nobody vouches for what is before it. Size 0:
 * the peer has none. Lies in q. */
struct slice proxy_client_address(const struct proxy_request *q);
/* Whether a field of a handshake, or of the answer to it, goes on. */
bool proxy_websocket_passes(const struct proxy_request *q, const struct http_field *f);
/* What the client's handshake wants to hear, when the service was asked in another way. False: out of memory. */
bool proxy_websocket_answer(struct proxy_request *q, struct http_msg *m);
/* Whether the service's 101 answers the handshake. */
bool proxy_websocket_accepted(const struct proxy_request *q, const struct http_msg *head);
/* Fields that go on to the service (filter_fields.c). NULL: arena full. */
struct http_field *filter_request_fields(struct proxy_request *q, size_t *ret_count);
bool filter_request_field(const struct http_field *f);  /* whether one of a client goes to the service */
bool filter_response_field(const struct http_field *f); /* whether a field of a service goes to the client */
/* The latter, also for what only handshakes have. */
bool filter_response_passes(const struct proxy_request *q, const struct http_field *f);

#endif
