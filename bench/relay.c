/* SPDX-License-Identifier: Apache-2.0
 *
 * The floor of proxy.py: `relay LISTEN UPSTREAM` copies bytes between a client and a connection of its own to the
 * upstream, and reads none of them. What it costs is the kernel's; what a proxy costs above it is the proxy's.
 *
 * One thread. It counts on a load that has one request at a time on a connection, so that a whole message fits into
 * the socket's buffer: a short write ends the pair.
 */
#include "sock.h"

#include <errno.h>
#include <stdbool.h>

enum { FILES_MAX = 32768, EVENTS_MAX = 256 };

static void accept_all(int epoll, int listener, const char *upstream, int *peer)
{
    int client;
    while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int service = sock_connect(upstream);
        if (service < 0 || service >= FILES_MAX || client >= FILES_MAX) {
            close(client);
            if (service >= 0)
                close(service);
            continue;
        }
        peer[client] = service;
        peer[service] = client;
        sock_watch(epoll, client, EPOLLIN | EPOLLET);
        sock_watch(epoll, service, EPOLLIN | EPOLLET);
    }
}

/* False: the pair is over. */
static bool copy(int from, int to)
{
    static char bytes[65536];
    ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN;
    return n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

int main(int argc, char **argv)
{
    static int peer[FILES_MAX]; /* 0: none */
    if (argc != 3) {
        fprintf(stderr, "usage: relay LISTEN UPSTREAM\n");
        return 2;
    }
    sock_files_raise(FILES_MAX);
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener = sock_listen(argv[1]);
    sock_watch(epoll, listener, EPOLLIN);
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(epoll, listener, argv[2], peer);
            } else if (peer[fd] != 0 && !copy(fd, peer[fd])) {
                /* The other's event of this round finds no peer, or a new pair's that has nothing to read. */
                close(peer[fd]);
                close(fd);
                peer[peer[fd]] = 0;
                peer[fd] = 0;
            }
        }
    }
}
