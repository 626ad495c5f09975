/* SPDX-License-Identifier: Apache-2.0
 *
 * One client connection: HTTP/1.1, or HTTP/2 where it was agreed on. Which connection a call takes, when it is repeated
 * and where it goes is decided above, in src/call.
 */
#ifndef FICUS_HTTP_CLIENT_H
#define FICUS_HTTP_CLIENT_H

#include "env.h"
#include "http_server.h"
#include "http_stream.h"

struct http_client_conn;

/* Where a connection leads and what is spoken there. */
struct http_upstream {
    const char *address;    /* of env_connect */
    struct tls_client *tls; /* borrowed for the call; NULL: plain */
    /* HTTP/2: plain with prior knowledge (RFC 9113 3.3), with TLS only if it is agreed on by ALPN (else PROTOCOL). False:
     * plain HTTP/1.1; with TLS what is agreed on, HTTP/1.1 if nothing is. */
    bool h2;
};

struct http_client_handler {
    /* Connected (OK), or failed: REFUSED, TIMEOUT, DENIED, PROTOCOL, IO... After a failure the connection is closed by
     * itself; on_closed follows. */
    void (*on_connected)(void *arg, struct http_client_conn *c, enum ficus_err err);
    /* There is room again: an exchange has ended (on HTTP/1.1 cleanly, and the connection may carry the next one), or
     * the server lets more run. */
    void (*on_room)(void *arg, struct http_client_conn *c);
    /* Gone, for whatever reason (also while idle: the peer closed). Last callback; the memory goes after it. */
    void (*on_closed)(void *arg, struct http_client_conn *c);
};

/* Starts connecting. limits may be NULL (response head 32 KiB). */
enum ficus_err http_client_connect_to(struct env *e, const struct http_upstream *upstream,
                                      const struct http_limits *limits, const struct http_client_handler *h, void *arg,
                                      struct http_client_conn **ret_conn);
/* ...plain, with HTTP/1.1. */
enum ficus_err http_client_connect(struct env *e, const char *address, const struct http_limits *limits,
                                   const struct http_client_handler *h, void *arg, struct http_client_conn **ret_conn);
/* How many exchanges may begin now, beside those that run: at most 1 on HTTP/1.1. 0: none at present, or none any more. */
size_t http_client_room(const struct http_client_conn *c);
/* How many run. */
size_t http_client_running(const struct http_client_conn *c);
/* Whether it is HTTP/2: exchanges share it, and giving one up does not hurt the others. */
bool http_client_is_shared(const struct http_client_conn *c);
/* Begin an exchange on a connection that has room: then http_send_head. BUSY when there is none, RESET when the
 * connection is closing. */
enum ficus_err http_client_open(struct http_client_conn *c, const struct http_handler *h, void *arg,
                                struct http_stream **ret_stream);
/* Close; running streams are reset (their on_reset fires with CANCELLED). on_closed follows. */
void http_client_close(struct http_client_conn *c);

#endif
