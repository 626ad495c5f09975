/* SPDX-License-Identifier: Apache-2.0
 *
 * Socket addresses and listening sockets.
 */
#include "io_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 4096 }; /* the kernel cuts it to net.core.somaxconn */

static enum ficus_err parse_tcp(struct slice text, const char *whole, struct socket_address *a,
                                struct ficus_error *reterr)
{
    struct slice host = text;
    const char *colon = memrchr(text.p, ':', text.size);
    uint64_t port;
    if (colon == NULL || !slice_to_u64(slice_from(text, (size_t)(colon - text.p) + 1), &port) || port > UINT16_MAX)
        return err_set(reterr, FICUS_ERR_INVALID, "address \"%s\": a port 0..65535 must end it", whole);
    host.size = (size_t)(colon - text.p);
    bool is_v6 = host.size >= 2 && host.p[0] == '[' && host.p[host.size - 1] == ']';
    if (is_v6)
        host = slice_make(host.p + 1, host.size - 2);
    char name[INET6_ADDRSTRLEN] = "";
    if (host.size < sizeof name)
        memcpy(name, host.p, host.size);
    if (is_v6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        if (inet_pton(AF_INET6, name, &in6.sin6_addr) != 1)
            return err_set(reterr, FICUS_ERR_INVALID, "address \"%s\": not a numeric IPv6 address", whole);
        memcpy(&a->storage, &in6, sizeof in6);
        a->size = sizeof in6;
    } else {
        struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        if (inet_pton(AF_INET, name, &in4.sin_addr) != 1)
            return err_set(reterr, FICUS_ERR_INVALID, "address \"%s\": not a numeric IPv4 address", whole);
        memcpy(&a->storage, &in4, sizeof in4);
        a->size = sizeof in4;
    }
    return FICUS_ERR_OK;
}

static enum ficus_err parse_unix(struct slice path, const char *whole, struct socket_address *a,
                                 struct ficus_error *reterr)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (path.size == 0)
        return err_set(reterr, FICUS_ERR_INVALID, "address \"%s\": the path is empty", whole);
    if (path.size >= sizeof un.sun_path)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "address \"%s\": path of %zu bytes, at most 107 are allowed", whole,
                       path.size);
    memcpy(un.sun_path, path.p, path.size);
    memcpy(&a->storage, &un, sizeof un);
    a->size = sizeof un;
    return FICUS_ERR_OK;
}

enum ficus_err socket_address_parse(const char *text, struct socket_address *ret_address, struct ficus_error *reterr)
{
    struct socket_address a = {.inherited_fd = -1};
    struct slice s = slice_str(text);
    enum ficus_err err;
    uint64_t fd;
    if (slice_starts(s, SLICE("tcp:"))) {
        err = parse_tcp(slice_from(s, 4), text, &a, reterr);
    } else if (slice_starts(s, SLICE("unix:"))) {
        err = parse_unix(slice_from(s, 5), text, &a, reterr);
    } else if (slice_starts(s, SLICE("fd:")) && slice_to_u64(slice_from(s, 3), &fd) && fd < 65536) {
        a.inherited_fd = (int)fd;
        err = FICUS_ERR_OK;
    } else {
        err = err_set(reterr, FICUS_ERR_INVALID, "address \"%s\": expected tcp:HOST:PORT, unix:/PATH or fd:NUMBER",
                      text);
    }
    if (err == FICUS_ERR_OK)
        *ret_address = a;
    return err;
}

void socket_address_format(const struct sockaddr_storage *storage, char *ret_text, size_t size)
{
    char name[INET6_ADDRSTRLEN] = "?";
    if (storage->ss_family == AF_INET) {
        const struct sockaddr_in *in4 = (const void *)storage;
        inet_ntop(AF_INET, &in4->sin_addr, name, sizeof name);
        snprintf(ret_text, size, "%s:%u", name, ntohs(in4->sin_port));
    } else if (storage->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)storage;
        inet_ntop(AF_INET6, &in6->sin6_addr, name, sizeof name);
        snprintf(ret_text, size, "[%s]:%u", name, ntohs(in6->sin6_port));
    } else {
        snprintf(ret_text, size, "unix");
    }
}

/* A descriptor of our own for it: whoever closes its listener may listen on the number again. */
static enum ficus_err open_inherited(int fd, int *ret_fd, struct ficus_error *reterr)
{
    int listening = 0;
    socklen_t size = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0)
        return err_sys(reterr, errno, "inherited socket fd %d", fd);
    if (!listening)
        return err_set(reterr, FICUS_ERR_INVALID, "inherited socket fd %d does not listen", fd);
    int own = -1;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 ||
        (own = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return err_sys(reterr, errno, "inherited socket fd %d", fd);
    *ret_fd = own;
    return FICUS_ERR_OK;
}

/* A socket file whose listener is gone answers ECONNREFUSED; only such a file is removed. */
static bool remove_stale(const struct socket_address *a)
{
    const struct sockaddr_un *un = (const void *)&a->storage;
    struct stat st;
    if (lstat(un->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const void *)&a->storage, a->size) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale && unlink(un->sun_path) == 0;
}

static enum ficus_err bind_and_listen(int fd, const struct socket_address *a, const char *address,
                                      struct ficus_error *reterr)
{
    bool is_unix = a->storage.ss_family == AF_UNIX;
    int on = 1;
    /* Before bind, so that the file never exists with a wider mode (the kernel takes the socket inode's mode). */
    if (is_unix && fchmod(fd, 0600) != 0)
        return err_sys(reterr, errno, "listen on %s", address);
    if (!is_unix && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return err_sys(reterr, errno, "listen on %s", address);
    int rc = bind(fd, (const void *)&a->storage, a->size);
    if (rc != 0 && errno == EADDRINUSE && is_unix) {
        if (remove_stale(a))
            rc = bind(fd, (const void *)&a->storage, a->size);
        else
            errno = EADDRINUSE;
    }
    if (rc != 0 || listen(fd, BACKLOG) != 0)
        return err_sys(reterr, errno, "listen on %s", address);
    return FICUS_ERR_OK;
}

enum ficus_err socket_listen(const char *address, int *ret_fd, struct ficus_error *reterr)
{
    struct socket_address a;
    enum ficus_err err = socket_address_parse(address, &a, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (a.inherited_fd >= 0)
        return open_inherited(a.inherited_fd, ret_fd, reterr);
    int fd = socket(a.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(reterr, errno, "listen on %s", address);
    err = bind_and_listen(fd, &a, address, reterr);
    if (err != FICUS_ERR_OK) {
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return FICUS_ERR_OK;
}

uint16_t socket_port(int fd)
{
    struct sockaddr_storage storage = {0};
    socklen_t size = sizeof storage;
    if (getsockname(fd, (void *)&storage, &size) != 0)
        return 0;
    if (storage.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)&storage)->sin_port);
    if (storage.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)&storage)->sin6_port);
    return 0;
}
