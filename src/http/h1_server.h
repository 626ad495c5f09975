/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two halves of the HTTP/1.1 server share: h1_server.c owns listeners and the set of connections,
 * h1_server_conn.c runs one connection. Private to src/http.
 */
#ifndef FICUS_HTTP_H1_SERVER_H
#define FICUS_HTTP_H1_SERVER_H

#include "h1_stream.h"
#include "h1_write.h"
#include "http_server.h"

enum { H1_SERVER_LISTENERS_MAX = 8 };

struct http_server {
    struct env *env;
    struct http_server_options o;
    struct env_listener *listeners[H1_SERVER_LISTENERS_MAX];
    bool secure[H1_SERVER_LISTENERS_MAX]; /* of each: with TLS */
    size_t listener_count;
    bool paused; /* conn_count_max reached */
    bool draining, closing;
    struct list conns;
    struct list waiting; /* those of conns that run no request, the one that has waited longest first */
    size_t conn_count;
    struct env_timer room; /* while paused: somebody else gets the place of one that waits */
    struct env_timer handshakes; /* while draining: those that had begun may still end */
    void (*gone)(void *arg); /* drained or closed, once conns is empty */
    void *gone_arg;
    struct env_timer gone_kick;
    int64_t date_second; /* of date */
    char date[HTTP_DATE_SIZE];
};

struct h1_server_conn;

/* Takes the stream over, also when it fails (then the stream is closed). */
void h1_server_conn_new(struct http_server *v, struct env_stream *stream);
/* Close at once; a running exchange is reset with CANCELLED. Takes effect in the next turn of the loop. */
void h1_server_conn_abort(struct h1_server_conn *c);
/* The server began to drain: close when there is nothing to lose. */
void h1_server_conn_drain(struct h1_server_conn *c);
/* Close the connection that has waited longest without a request; the newest one is spared unless it is wanted as
 * well. False: there is none. */
bool h1_server_conn_evict(struct http_server *v, bool newest_too);
struct h1_server_conn *h1_server_conn_of(struct list *link);
/* The present Date. */
const char *h1_server_date(struct http_server *v);
/* A connection left the list. May free the server. */
void h1_server_conn_gone(struct http_server *v);

#endif
