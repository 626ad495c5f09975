/* SPDX-License-Identifier: Apache-2.0
 *
 * The seam between streams and TLS: stream_uv.c knows sockets, tls_openssl.c knows OpenSSL, and they meet in this table
 * of functions. A server or client brings the table along, so that streams alone need no libssl. Private to src/io.
 */
#ifndef FICUS_IO_IO_TLS_H
#define FICUS_IO_IO_TLS_H

#include "tls.h"

/* What the socket must become before the same thing is tried again. */
enum tls_want { TLS_NOTHING, TLS_READABLE, TLS_WRITABLE };

struct tls_conn;
struct tls_end;

struct tls_ops {
    /* The TLS of one non-blocking socket, which stays the caller's; NULL: out of memory. */
    struct tls_conn *(*open)(struct tls_end *end, int fd);
    /* The others set *ret_want when they must wait, and return 0 then. Errors are negative and final. */
    int (*handshake)(struct tls_conn *c, enum tls_want *ret_want);              /* 1: done */
    ssize_t (*read)(struct tls_conn *c, void *p, size_t size, enum tls_want *ret_want); /* 0: the peer said the end */
    /* Takes a part from the front of iov, at most one record. After a wait the same bytes must be offered again. */
    ssize_t (*write)(struct tls_conn *c, const struct iovec *iov, int iov_count, enum tls_want *ret_want);
    /* Tell the peer that nothing more follows. Only while no write waits. */
    void (*end)(struct tls_conn *c, enum tls_want *ret_want);
    bool (*has_input)(const struct tls_conn *c); /* a read may give something although the socket is silent */
    void (*info)(const struct tls_conn *c, struct env_tls_info *ret_info);
    void (*free)(struct tls_conn *c); /* the socket is still open */
};

/* First member of struct tls_server and of struct tls_client. */
struct tls_end {
    const struct tls_ops *ops;
};

struct env_listener;

/* What a stream with TLS has more than a plain one. tls_openssl.c keeps its own behind it. */
struct tls_conn {
    const struct tls_ops *ops;
    /* stream_uv.c's */
    bool handshaking;
    enum tls_want read_want, write_want, end_want;
    int64_t begun_ms;
    struct env_timer limit;        /* of the handshake */
    struct env_task wake;          /* reads what is there already */
    struct list link;              /* in the listener's handshakes, while handshaking there */
    struct env_listener *listener; /* NULL: not handshaking there */
};

#endif
