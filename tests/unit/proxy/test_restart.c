/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway as a program, on an inherited listener, replaced again and again under load: SIGTERM to the old one, a
 * new one on the same socket.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "http_server.h"
#include "io_env.h"
#include "mem.h"
#include "process.h"
#include "proxy.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 12, CLIENTS = 16, WAIT_MS = 20000 };

struct rig {
    char dir[48], front[80], service[80], config[80], key[80], snapshot[80], notify[80], errors[80];
    int listener, notify_fd;
    pid_t service_pid, gateway_pid;
};

/* ---- the service, a process of its own ---- */

static void ignore_done(void *arg, struct http_stream *s) {}
static void ignore_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail) {}
static const struct http_handler service_handler = {.on_done = ignore_done, .on_reset = ignore_reset};

static void service_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    http_stream_handle(s, &service_handler, NULL);
    (void)http_respond(s, 200, NULL, 0, "text/plain", SLICE("served"));
}

static void service_main(const struct rig *r)
{
    struct http_server *v;
    struct http_server_options o = {.on_request = service_request};
    struct env *e = env_uv_new(NULL, NULL);
    char address[96];
    (void)snprintf(address, sizeof address, "unix:%s", r->service);
    if (e == NULL || http_server_new(e, &o, &v) != FICUS_ERR_OK || http_server_listen(v, address, NULL, NULL) != FICUS_ERR_OK)
        _exit(1);
    env_uv_run(e);
    _exit(0);
}

/* ---- the gateway, another ---- */

static void gateway_run(const struct rig *r)
{
    if (r->listener != 3)
        (void)dup2(r->listener, 3);
    (void)dup2(3, 4);
    /* There is no exec here that would do it: the clients' connections must not stay open in a gateway. */
    (void)close_range(5, UINT_MAX, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* _exit: the parent's test state is not ours to tidy. */
    _exit(gateway_main(r->config));
}

static pid_t gateway_spawn(const struct rig *r)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        gateway_run(r);
    return pid;
}

/* Until the youngest gateway said READY=1: before that it has no handler for SIGTERM. */
static void gateway_wait(const struct rig *r)
{
    char text[64] = "";
    while (strncmp(text, "READY=1", 7) != 0) {
        struct pollfd p = {.fd = r->notify_fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        ssize_t n = recv(r->notify_fd, text, sizeof text - 1, 0);
        assert_true(n >= 0);
        text[n] = '\0';
    }
}

static void file_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int bind_unix(const char *path, int type)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void config_write(const struct rig *r, int threads)
{
    char text[2048];
    (void)snprintf(
        text, sizeof text,
        "{\"version\":1,\"system\":\"shop\",\"process\":\"gateway\",\"instance\":1,\"state\":\"%s\",\"key_file\":\"%"
        "s\","
        "\"log_level\":\"error\",\"hub\":\"unix:%s/no-hub\",\"snapshot_file\":\"%s\",\"edges\":{\"svc\":{},\"hub\":{}},"
        "\"threads\":%d,"
        "\"listen\":[\"fd:3\",\"fd:4\"],\"hosts\":[\"shop\"],\"routes\":[{\"path\":\"/x\",\"service\":\"svc\",\"target\":\"/"
        "x\"}]}",
        r->dir, r->key, r->dir, r->snapshot, threads);
    file_write(r->config, text);
}

static void rig_init(struct rig *r)
{
    *r = (struct rig){0};
    (void)snprintf(r->dir, sizeof r->dir, "/tmp/ficus-restart-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(r->front, sizeof r->front, "%s/front", r->dir);
    (void)snprintf(r->service, sizeof r->service, "%s/service", r->dir);
    (void)snprintf(r->config, sizeof r->config, "%s/gateway.json", r->dir);
    (void)snprintf(r->key, sizeof r->key, "%s/system.key", r->dir);
    (void)snprintf(r->snapshot, sizeof r->snapshot, "%s/endpoints.json", r->dir);
    char text[2048];
    file_write(r->key, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
    (void)snprintf(text, sizeof text, "{\"ficus_endpoints\":1,\"version\":1,\"services\":{\"svc\":[\"unix:%s\"]}}",
                   r->service);
    file_write(r->snapshot, text);
    config_write(r, 1);
    (void)snprintf(r->notify, sizeof r->notify, "%s/notify", r->dir);
    (void)snprintf(r->errors, sizeof r->errors, "%s/errors", r->dir);
    r->notify_fd = bind_unix(r->notify, SOCK_DGRAM);
    assert_int_equal(setenv("NOTIFY_SOCKET", r->notify, 1), 0);
    r->listener = bind_unix(r->front, SOCK_STREAM);
    assert_int_equal(listen(r->listener, 128), 0);
    r->service_pid = fork();
    assert_true(r->service_pid >= 0);
    if (r->service_pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        service_main(r);
    }
    while (access(r->service, F_OK) != 0)
        (void)poll(NULL, 0, 1);
    r->gateway_pid = gateway_spawn(r);
    gateway_wait(r);
}

static void expect_exit(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void rig_done(struct rig *r)
{
    assert_int_equal(kill(r->gateway_pid, SIGTERM), 0);
    expect_exit(r->gateway_pid);
    assert_int_equal(kill(r->service_pid, SIGKILL), 0);
    assert_int_equal(waitpid(r->service_pid, NULL, 0), r->service_pid);
    close(r->listener);
    close(r->notify_fd);
    const char *paths[] = {r->front, r->service, r->config, r->key, r->snapshot, r->notify, r->errors};
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        (void)unlink(paths[i]);
    assert_int_equal(rmdir(r->dir), 0);
}

/* ---- clients ---- */

static int client_connect(const struct rig *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", r->front);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void client_send(int fd)
{
    static const char text[] = "GET /x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";
    assert_int_equal(send(fd, text, sizeof text - 1, MSG_NOSIGNAL), sizeof text - 1);
}

static bool client_is_served(int fd)
{
    char text[2048];
    size_t size = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, WAIT_MS) != 1)
            break;
        ssize_t n = read(fd, text + size, sizeof text - 1 - size);
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    close(fd);
    text[size] = '\0';
    bool served = strncmp(text, "HTTP/1.1 200 OK\r\n", 17) == 0 && strstr(text, "\r\n\r\nserved") != NULL;
    if (!served)
        print_error("answer: \"%s\"\n", text);
    return served;
}

/* No request is lost: not one that is under way, not one on a connection that the old gateway had accepted, not one
 * that waits in the queue. */
static void test_restart(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    unsigned served = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int fds[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
            fds[i] = client_connect(&r);
            if (i % 2 == 0)
                client_send(fds[i]);
        }
        pid_t old = r.gateway_pid;
        r.gateway_pid = gateway_spawn(&r);
        gateway_wait(&r);
        assert_int_equal(kill(old, SIGTERM), 0);
        for (int i = 1; i < CLIENTS; i += 2)
            client_send(fds[i]);
        for (int i = 0; i < CLIENTS; i++)
            served += client_is_served(fds[i]);
        expect_exit(old);
    }
    assert_int_equal(served, ROUNDS * CLIENTS);
    rig_done(&r);
}

/* With so many descriptors and not one more. SIGTERM has no effect until the gateway asks for it. Its wait status. */
static int gateway_try(const struct rig *r, rlim_t files)
{
    int status = 0;
    (void)signal(SIGTERM, SIG_IGN); /* inherited */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(open(r->errors, O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
        (void)setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = files, .rlim_max = files});
        gateway_run(r);
    }
    (void)signal(SIGTERM, SIG_DFL);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        (void)kill(pid, SIGTERM);
        (void)poll(NULL, 0, 20);
    }
    return status;
}

/* Whatever it is that finds no descriptor, the first thread or the second, at any point: the gateway says so and exits. */
static void test_few_files(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    config_write(&r, 2);
    unsigned refused = 0;
    int status = -1;
    for (rlim_t files = 8; files < 100 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0); files++) {
        status = gateway_try(&r, files);
        assert_true(WIFEXITED(status) || WTERMSIG(status) == SIGTERM);
        if (!WIFEXITED(status) || WEXITSTATUS(status) == 0)
            continue;
        char text[256] = "";
        FILE *f = fopen(r.errors, "re");
        assert_non_null(f);
        assert_non_null(fgets(text, sizeof text, f));
        assert_int_equal(fclose(f), 0);
        assert_int_equal(strncmp(text, "ficus gateway: ", 15), 0);
        refused++;
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(refused > 2);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_restart), cmocka_unit_test(test_few_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
