/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server (server.c: listeners, the set of connections, drain, close) and the codecs have in common. A
 * connection is its codec's own object that begins with a struct server_conn. Private to src/http.
 */
#ifndef FICUS_HTTP_SERVER_PRIVATE_H
#define FICUS_HTTP_SERVER_PRIVATE_H

#include "h1_io.h"
#include "h1_write.h"
#include "http_server.h"
#include "list.h"

enum { SERVER_LISTENERS_MAX = 8, SERVER_SPARES_MAX = 64 };

struct http_server {
    struct env *env;
    struct http_server_options o;
    struct env_listener *listeners[SERVER_LISTENERS_MAX];
    bool secure[SERVER_LISTENERS_MAX]; /* of each: with TLS */
    size_t listener_count;
    bool paused; /* conn_count_max reached */
    bool quiet;  /* the listeners are paused, for that or for a rest */
    struct env_timer rest; /* armed: other servers have less to do */
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
    struct arena spares[SERVER_SPARES_MAX]; /* clear, of exchanges that ended, for those that begin */
    size_t spare_count;
};

struct server_conn;

struct server_conn_ops {
    /* Close at once; running exchanges are reset with CANCELLED. Takes effect in the next turn of the loop. */
    void (*abort)(struct server_conn *c);
    /* The server began to drain: close when there is nothing to lose. */
    void (*drain)(struct server_conn *c);
    /* Close now: somebody else needs the place. Only while it waits (server_conn_wait). */
    void (*evict)(struct server_conn *c);
};

struct server_conn {
    const struct server_conn_ops *ops;
    struct http_server *server;
    struct list link;    /* in server->conns */
    struct list waiting; /* in server->waiting: may go when somebody else needs the place */
};

/* c begins its life among the server's connections; it waits. */
void server_conn_enter(struct http_server *v, struct server_conn *c, const struct server_conn_ops *ops);
/* Whether it may be evicted; a call with true puts it behind all others that wait. */
void server_conn_wait(struct server_conn *c, bool waiting);
/* The end in two steps, because the second may free the server: leave the lists; then, when its memory is freed... */
void server_conn_leave(struct server_conn *c);
/* ...tell that there is one connection less. */
void server_conn_gone(struct http_server *v);
/* For an exchange that begins: its arena, with the ceiling. */
struct arena server_spare_take(struct http_server *v);
void server_spare_give(struct http_server *v, struct arena spare);
/* The present Date. */
const char *server_date(struct http_server *v);

/* The codecs. Each takes the stream over, also when it fails (then the stream is closed). */
void h1_server_conn_new(struct http_server *v, struct env_stream *stream);
/* begun: what was read already, from the first byte of the client's preface on; borrowed for the call. */
void h2_server_conn_new(struct http_server *v, struct env_stream *stream, struct slice begun);

#endif
