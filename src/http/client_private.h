/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client connection (client.c: connecting, the choice of the codec) and the codecs have in common. Private to
 * src/http.
 *
 * A connection is made by client.c; once its transport is there it belongs to a codec, which tells the user all the
 * rest through conn->handler and, as its last deed, client_conn_gone.
 */
#ifndef FICUS_HTTP_CLIENT_PRIVATE_H
#define FICUS_HTTP_CLIENT_PRIVATE_H

#include "http_client.h"

struct client_codec {
    /* The transport is there: take it over and tell conn->handler->on_connected(OK). False: out of memory; the stream is
     * still the caller's. */
    bool (*begin)(struct http_client_conn *conn, struct env_stream *stream);
    /* http_client_open, http_client_close */
    enum ficus_err (*open)(void *self, const struct http_handler *h, void *arg, struct http_stream **ret_stream);
    void (*close)(void *self);
    size_t (*room)(const void *self);
    size_t (*running)(const void *self);
};

struct http_client_conn {
    struct env *env;
    const struct http_client_handler *handler; /* the user's */
    void *arg;
    const struct client_codec *codec; /* NULL while connecting */
    void *self;                       /* the codec's; set by its begin */
    struct env_stream *stream;        /* while connecting */
    bool closing;                     /* ... and given up */
    bool h2, secure;                  /* wanted */
    struct http_limits limits;
};

/* The last callback, and the end of conn. */
void client_conn_gone(struct http_client_conn *conn);

extern const struct client_codec h1_client_codec, h2_client_codec;

#endif
