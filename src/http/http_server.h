/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP server on one loop: connections, limits, time limits, keep-alive, drain. HTTP/1.1, strict by RFC 9112: anything
 * that two parsers could read in two ways is refused with 400 and the connection closed. HTTP/2 (RFC 9113) with prior
 * knowledge where it is allowed: a malformed request is refused with RST_STREAM; each request is a stream of its own, and
 * the code behind on_request does not see a difference.
 */
#ifndef FICUS_HTTP_SERVER_H
#define FICUS_HTTP_SERVER_H

#include "env.h"
#include "http_stream.h"

#include <stdatomic.h>

struct http_server;

enum { HTTP_REFUSAL_FIELDS_MAX = 4, HTTP_HEAD_SIZE_MAX = HTTP_BODY_BUFFER_SIZE };

struct http_limits {
    size_t head_size_max;    /* request line and fields, at most HTTP_HEAD_SIZE_MAX; 0: 16 KiB -> 431 (414 for the target) */
    size_t field_count_max;  /* 0: 100 */
    size_t target_size_max;  /* 0: 8 KiB */
    size_t arena_size_max;   /* per exchange; 0: 256 KiB */
    size_t conn_count_max;   /* 0: 1024; see below */
    uint64_t conn_request_count_max; /* of one connection: the answer to the last says so (GOAWAY in HTTP/2); 0: no limit */
    int64_t head_timeout_ms; /* from the first byte of a request to the end of its head; 0: 10 s */
    int64_t idle_timeout_ms; /* between requests; 0: 75 s */
    int64_t body_timeout_ms; /* without progress of a body that we wait for, either direction; 0: 30 s */
};

/* What the servers of several loops have in common: conn_count_max counts the connections of all, and one that has more
 * than its part of them leaves new ones to the others for a moment. Zero-initialise but for server_count. */
struct http_server_share {
    size_t server_count;
    atomic_size_t conn_count;
};

/* At conn_count_max each new connection takes the place of the one that has waited longest for a request or for the
 * rest of its head; answers then end their connections. Accepting pauses while all of them run requests. With a share each server looks among its own
 * only: one whose connections all run requests pauses, and the new ones, which wait on a socket that all accept from, are taken by
 * a server that has one to end. So a new connection is kept out only when no server has one that waits. */
struct http_server_options {
    struct http_limits limits;
    struct http_server_share *share; /* outlives the server; NULL: there is no other */
    bool h2c; /* a connection that begins with HTTP/2's preface is HTTP/2 (RFC 9113 3.3) */
    const char *server_name; /* for the Server field; NULL: none */
    /* A request head came. The callee sets the handler with http_stream_handle before it returns. s->head_in is the
     * request; end: it has no body. peer lives as long as s. */
    void (*on_request)(void *arg, struct http_stream *s, bool end, const struct env_peer *peer);
    /* The codec refused malformed input by itself with this status (for metrics); may be NULL. */
    void (*on_refused)(void *arg, int status, const char *detail);
    /* More fields for that answer (a request id, say); returns how many. What they point to must stay until the next
     * call. May be NULL. */
    size_t (*refusal_fields)(void *arg, struct http_field ret_fields[HTTP_REFUSAL_FIELDS_MAX]);
    void *arg;
};

/* The server owns its connections. Errors: NOMEM. */
enum ficus_err http_server_new(struct env *e, const struct http_server_options *o, struct http_server **ret_server);
/* The protocols that the server speaks, for ALPN (tls_server_options.protocols): the dearest first, NULL-terminated. */
extern const char *const http_protocols[];
/* Accept on an address of env_listen ("fd:3", "unix:...", "tcp:..."), with TLS unless tls is NULL (borrowed until the
 * server is gone). May be called several times. */
enum ficus_err http_server_listen(struct http_server *v, const char *address, struct tls_server *tls,
                                  struct ficus_error *reterr);
/* Other limits from here on, for what runs too. */
void http_server_limit(struct http_server *v, const struct http_limits *limits);
/* Stop accepting (handshakes that have begun have a second to end), close idle connections, let running exchanges end
 * with "Connection: close"; then call drained once.
 */
void http_server_drain(struct http_server *v, void (*drained)(void *arg), void *arg);
/* Close everything at once (resets reach the handlers); closed fires when all is gone; then the server is freed. */
void http_server_close(struct http_server *v, void (*closed)(void *arg), void *arg);
size_t http_server_conn_count(const struct http_server *v);

#endif
