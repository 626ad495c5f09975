/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP client for programs that stand outside a system and talk to its gateway: loaders, replays, load tests. One
 * thread, many requests at once, streams of events, timers. It repeats nothing by itself: what to do about a failure is
 * the program's decision.
 */
#ifndef FICUS_CLIENT_H
#define FICUS_CLIENT_H

#include <ficus/ficus.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ficus_client;

/* One of a text/event-stream (WHATWG HTML 9.2). Borrowed until the callback returns. */
struct ficus_client_event {
    const char *id;                 /* the last one that the stream named, "" when none */
    const char *name;               /* "message" when the stream names none */
    const char *data;
};

struct ficus_client_request {
    const char *method;             /* "GET" */
    const char *path;               /* with query, percent-encoded */
    const char *body;               /* JSON text, or NULL. Copied, as are all strings */
    const char *authorization;      /* whole field value, e.g. "Bearer ...", or NULL */
    const char *key;                /* Idempotency-Key, or NULL */
    int timeout_ms;                 /* 0: 30 s */
    /* For streams of events. With event not NULL, a 200 of type text/event-stream is not collected: each event is told
     * as soon as it is whole, with the arg of done, and from the head on timeout_ms is the longest silence. done fires
     * at the end as for any answer, with an empty body; status 0 when the stream broke. An event may be 64 KiB large.
     * Where HTTP/1.1 is spoken the stream occupies a connection as long as it lasts. */
    void (*event)(void *arg, const struct ficus_client_event *e);
    const char *last_event_id;      /* Last-Event-ID, or NULL */
    int stream_ms_max;              /* a stream that lasts longer is given up: status 0. 0: as long as it likes */
};

struct ficus_client_answer {
    int status;                     /* 0: no answer (refused, lost, timeout): error says what happened */
    const char *error;
    const char *body;               /* NUL-terminated; borrowed until the callback returns, as are all of these */
    size_t body_size;
    const char *location;           /* or NULL */
    const char *request_id;         /* X-Request-ID, or NULL */
    const char *traceparent;        /* or NULL */
    int retry_after_s;              /* -1: none */
    int64_t duration_us;            /* from ficus_client_send to the end of the answer */
};

/* url: "http://127.0.0.1:8080" or "https://shop.example"; a name is looked up once, here, for as long as the resolver takes. https
 * speaks HTTP/2 when the server does (ALPN, RFC 7301), and its certificate must say that it is this host and be signed by whom the machine believes;
 * SSL_CERT_FILE names a PEM file of others (as for all programs with OpenSSL). conns_max: connections at once, 1..4096; more
 * requests wait in order. NULL: the URL cannot be used, its name has no address, or out of memory. */
FICUS_API struct ficus_client *ficus_client_new(const char *url, size_t conns_max);
/* done fires exactly once, from ficus_client_run. 0, or -1 (then done never fires): out of memory, or more than a
 * million wait. */
FICUS_API int ficus_client_send(struct ficus_client *c, const struct ficus_client_request *r,
                                void (*done)(void *arg, const struct ficus_client_answer *a), void *arg);
/* Call fn once after ms. 0 or -1. */
FICUS_API int ficus_client_after(struct ficus_client *c, int64_t ms, void (*fn)(void *arg), void *arg);
FICUS_API int64_t ficus_client_now_us(struct ficus_client *c);     /* monotonic */
/* Runs until no request and no timer is left, or ficus_client_stop was called (from a callback). */
FICUS_API void ficus_client_run(struct ficus_client *c);
FICUS_API void ficus_client_stop(struct ficus_client *c);
FICUS_API void ficus_client_free(struct ficus_client *c);

/* JSON outside a request: a document owns its memory. NULL: malformed. */
struct ficus_doc;
FICUS_API struct ficus_doc *ficus_doc_parse(const char *text);
FICUS_API const struct ficus_json *ficus_doc_root(const struct ficus_doc *d);
/* As ficus_json_str; lives as long as the document. */
FICUS_API const char *ficus_doc_str(struct ficus_doc *d, const struct ficus_json *v);
FICUS_API void ficus_doc_free(struct ficus_doc *d);

#ifdef __cplusplus
}
#endif

#endif
