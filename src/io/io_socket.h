/* SPDX-License-Identifier: Apache-2.0
 *
 * Socket addresses as text and listening sockets as descriptors, for env's listeners and for the supervisor, who opens
 * the sockets that its children inherit.
 */
#ifndef FICUS_IO_SOCKET_H
#define FICUS_IO_SOCKET_H

#include "env.h"

#include <sys/socket.h>
#include <sys/un.h>

struct socket_address {
    struct sockaddr_storage storage;
    socklen_t size;
    int inherited_fd; /* "fd:N": N, and storage is unset; else -1 */
};

/* "tcp:127.0.0.1:80", "tcp:[::1]:80", "unix:/path", "fd:3". INVALID, or TOO_LARGE for a path over 107 bytes. Pure. */
enum ficus_err socket_address_parse(const char *text, struct socket_address *ret_address, struct ficus_error *reterr);

/* "127.0.0.1:80", "[::1]:80", "unix". ret_text: at least 64 bytes. */
void socket_address_format(const struct sockaddr_storage *storage, char *ret_text, size_t size);

/* A bound, listening, non-blocking, close-on-exec socket; the caller closes it. Unix sockets get mode 0600, and a
 * socket file that nobody listens on any more is replaced. "fd:N" checks that N is a listening stream socket and
 * returns N itself. */
enum ficus_err socket_listen(const char *address, int *ret_fd, struct ficus_error *reterr);

/* The TCP port that a listening socket is bound to; 0 when it is no TCP socket. */
uint16_t socket_port(int fd);

#endif
