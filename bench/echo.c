/* SPDX-License-Identifier: Apache-2.0
 *
 * The backend of gateway.py: as little as can be called an HTTP/1.1 server, so that what is measured is the proxy in
 * front of it. It takes its listening socket from its parent (LISTEN_FDS), says that it is ready (NOTIFY_SOCKET), and
 * answers each head that it is sent, without a body, with the same 200. One thread; a connection that does not take its
 * answer at once is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTENER = 3, CONNECTIONS_MAX = 1024, EVENTS_MAX = 64, ANSWERS_MAX = 16 };

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
                             "{\"status\":\"ok\"}";
static const char head_end[] = "\r\n\r\n";

static bool say_ready(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (path == NULL || strlen(path) >= sizeof to.sun_path)
        return false;
    memcpy(to.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    ssize_t n = sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&to, sizeof to);
    close(fd);
    return n == 7;
}

/* How many heads end in p; *matched characters of the end of one came before. */
static size_t count_heads(const char *p, size_t size, unsigned char *matched)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        if (p[i] == head_end[*matched])
            (*matched)++;
        else
            *matched = p[i] == '\r';
        if (*matched == 4) {
            *matched = 0;
            count++;
        }
    }
    return count;
}

static bool serve(int fd, unsigned char *matched)
{
    char in[16384], out[ANSWERS_MAX * sizeof answer];
    ssize_t n = recv(fd, in, sizeof in, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    size_t heads = count_heads(in, (size_t)n, matched), size = 0;
    if (n == 0 || heads > ANSWERS_MAX)
        return false;
    for (size_t i = 0; i < heads; i++, size += sizeof answer - 1)
        memcpy(out + size, answer, sizeof answer - 1);
    return size == 0 || send(fd, out, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

static void accept_all(int epoll, unsigned char *matched)
{
    int fd;
    while ((fd = accept4(LISTENER, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
        if (fd >= CONNECTIONS_MAX || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) != 0) {
            close(fd);
            continue;
        }
        matched[fd] = 0;
    }
}

int main(void)
{
    unsigned char matched[CONNECTIONS_MAX] = {0};
    struct epoll_event listening = {.events = EPOLLIN, .data.fd = LISTENER};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || fcntl(LISTENER, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, LISTENER, &listening) != 0 || !say_ready()) {
        perror("echo");
        return 1;
    }
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == LISTENER)
                accept_all(epoll, matched);
            else if (!serve(fd, &matched[fd]))
                close(fd);
        }
    }
}
