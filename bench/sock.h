/* SPDX-License-Identifier: Apache-2.0
 *
 * Sockets of load.c and relay.c. An address is tcp:127.0.0.1:PORT or unix:/path. What the
 * kernel refuses ends the program with one line: a benchmark that went on would measure something else.
 */
#ifndef FICUS_BENCH_SOCK_H
#define FICUS_BENCH_SOCK_H

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct sock_address {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } to;
    socklen_t size;
};

static inline void sock_die(const char *what, const char *address)
{
    fprintf(stderr, "bench: %s %s: %m\n", what, address);
    exit(1);
}

static inline struct sock_address sock_address(const char *text)
{
    struct sock_address a = {0};
    unsigned port;
    char ip[16];
    if (strncmp(text, "unix:", 5) == 0 && strlen(text + 5) < sizeof a.to.un.sun_path) {
        a.to.un.sun_family = AF_UNIX;
        memcpy(a.to.un.sun_path, text + 5, strlen(text + 5) + 1);
        a.size = sizeof a.to.un;
    } else if (sscanf(text, "tcp:%15[0-9.]:%5u", ip, &port) == 2 && port <= 65535 &&
               inet_pton(AF_INET, ip, &a.to.in.sin_addr) == 1) {
        a.to.in.sin_family = AF_INET;
        a.to.in.sin_port = htons((unsigned short)port);
        a.size = sizeof a.to.in;
    } else {
        fprintf(stderr, "bench: \"%s\" is no address (tcp:127.0.0.1:8080, unix:/path)\n", text);
        exit(2);
    }
    return a;
}

static inline int sock_new(const struct sock_address *a, int flags, const char *text)
{
    int one = 1, fd = socket(a->to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        sock_die("socket", text);
    if (a->to.any.sa_family == AF_INET)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted sockets inherit it */
    return fd;
}

/* A listening socket that does not block. A unix socket's name is taken away from whoever had it. */
static inline int sock_listen(const char *text)
{
    struct sock_address a = sock_address(text);
    int one = 1, fd = sock_new(&a, SOCK_NONBLOCK, text);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a.to.any.sa_family == AF_UNIX)
        unlink(a.to.un.sun_path);
    if (bind(fd, &a.to.any, a.size) != 0 || listen(fd, 4096) != 0)
        sock_die("listen on", text);
    return fd;
}

/* A connected socket that blocks; -1 when nobody takes the connection. */
static inline int sock_connect(const char *text)
{
    struct sock_address a = sock_address(text);
    int fd = sock_new(&a, 0, text);
    if (connect(fd, &a.to.any, a.size) == 0)
        return fd;
    close(fd);
    return -1;
}

static inline void sock_watch(int epoll, int fd, unsigned events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
        sock_die("epoll_ctl", "");
}

/* As many files as allowed, at most count; the number that it is now. */
static inline size_t sock_files_raise(size_t count)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        sock_die("getrlimit", "");
    limit.rlim_cur = limit.rlim_max < count ? limit.rlim_max : count;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        sock_die("setrlimit", "");
    return limit.rlim_cur;
}

#endif
