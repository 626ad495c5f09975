/* SPDX-License-Identifier: Apache-2.0
 *
 * A service as a process of its own: start, drain, kill, and disks that are full. There is no hub: nothing here needs
 * one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "identity.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_S = 30 };

static const char key_hex[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static struct {
    char dir[64], config[96], notify[96];
    int notify_fd;
    pid_t pid;
    struct system_key *key;
} x;

static void write_file(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", x.dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
}

static void write_config(const char *migration)
{
    char text[2048];
    (void)snprintf(
        text, sizeof text,
        "{\"version\":1,\"system\":\"test\",\"process\":\"demo\",\"state\":\"%s\",\"key_file\":\"%s/"
        "key\",\"hub\":\"unix:%s/hub.sock\","
        "\"edges\":{\"hub\":{}},\"listen\":[\"unix:%s/s.sock\"],\"store\":\"%s/demo.db\",\"migrations\":[\"%s\"],"
        "\"private_dir\":\"%s/"
        "private\",\"callers\":[\"gateway\"],\"publishes\":[\"item.created\"],\"consumes\":[\"thing.happened\"]}",
        x.dir, x.dir, x.dir, x.dir, x.dir, migration, x.dir);
    write_file("demo.json", text);
}

static int setup(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = WAIT_S};
    memset(&x, 0, sizeof x);
    (void)snprintf(x.dir, sizeof x.dir, "/tmp/ficus-main-XXXXXX");
    assert_non_null(mkdtemp(x.dir));
    (void)snprintf(x.config, sizeof x.config, "%s/demo.json", x.dir);
    (void)snprintf(x.notify, sizeof x.notify, "%s/notify", x.dir);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", x.notify);
    x.notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(x.notify_fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(setsockopt(x.notify_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(system_key_from_hex(slice_str(key_hex), &x.key, NULL), FICUS_ERR_OK);
    write_file("key", key_hex);
    write_config(DEMO_MIGRATIONS "/0001_init.sql");
    return 0;
}

static int teardown(void **state)
{
    char path[512];
    DIR *d = opendir(x.dir);
    const struct dirent *entry;
    if (x.pid > 0) {
        (void)kill(x.pid, SIGKILL);
        (void)waitpid(x.pid, NULL, 0);
    }
    while (d != NULL && (entry = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", x.dir, entry->d_name);
        (void)remove(path);
    }
    (void)closedir(d);
    (void)rmdir(x.dir);
    (void)close(x.notify_fd);
    system_key_free(x.key);
    return 0;
}

/* file_size_max: 0: none. config: NULL: not set. */
static void start(const char *config, rlim_t file_size_max)
{
    x.pid = fork();
    assert_true(x.pid >= 0);
    if (x.pid > 0)
        return;
    const struct rlimit limit = {file_size_max, file_size_max};
    int quiet = open("/dev/null", O_WRONLY);
    if (getenv("FICUS_TEST_LOG") == NULL)
        (void)dup2(quiet, 2);
    (void)signal(SIGXFSZ, SIG_IGN);
    if ((file_size_max > 0 && setrlimit(RLIMIT_FSIZE, &limit) != 0) || setenv("NOTIFY_SOCKET", x.notify, 1) != 0)
        _exit(99);
    if (config == NULL ? unsetenv("FICUS_CONFIG") != 0 : setenv("FICUS_CONFIG", config, 1) != 0)
        _exit(99);
    (void)execl(DEMO_PROGRAM, DEMO_PROGRAM, (char *)NULL);
    _exit(99);
}

static void expect_notice(const char *expected)
{
    char text[64] = "";
    assert_true(recv(x.notify_fd, text, sizeof text - 1, 0) > 0);
    assert_string_equal(text, expected);
}

static int wait_exit(void)
{
    int status = 0;
    assert_int_equal(waitpid(x.pid, &status, 0), x.pid);
    x.pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Send a request; the answer is read by finish(). user: NULL: nobody. */
static int begin_as(const char *user, const char *method, const char *path, const char *body)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = WAIT_S};
    struct arena a;
    struct slice token;
    struct timespec now;
    char head[2048];
    const struct identity_claims claims = {
        .issuer = SLICE("gateway"), .audience = SLICE("demo"), .subject = user == NULL ? SLICE_NONE : slice_str(user)};
    arena_init(&a, 64 * 1024);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    assert_int_equal(identity_make(x.key, &a, &claims, (int64_t)now.tv_sec * 1000, &token, NULL), FICUS_ERR_OK);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/s.sock", x.dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    int size = snprintf(head, sizeof head,
                        "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nFicus-Identity: " SLICE_FMT
                        "\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        method, path, SLICE_ARG(token), strlen(body));
    assert_int_equal(send(fd, head, (size_t)size, MSG_NOSIGNAL), size);
    assert_int_equal(send(fd, body, strlen(body), MSG_NOSIGNAL), strlen(body));
    arena_done(&a);
    return fd;
}

static int begin(const char *method, const char *path, const char *body)
{
    return begin_as(NULL, method, path, body);
}

static char answer[4 * 1024 * 1024];

static int finish(int fd)
{
    size_t size = 0;
    ssize_t n;
    while ((n = recv(fd, answer + size, sizeof answer - 1 - size, 0)) > 0)
        size += (size_t)n;
    answer[size] = '\0';
    (void)close(fd);
    uint64_t status = 0;
    return size > 12 && slice_to_u64(slice_make(answer + 9, 3), &status) ? (int)status : 0;
}

static int request(const char *method, const char *path, const char *body)
{
    return finish(begin(method, path, body));
}

/* SIGTERM: the request that runs is answered, then the process ends with 0. */
static void test_drain(void **state)
{
    start(x.config, 0);
    expect_notice("READY=1");
    int fd = begin("POST", "/v1/nap?ms=200", "");
    do {
        assert_int_equal(request("GET", "/metrics", ""), 200);
    } while (strstr(answer, "service_workers_busy 1") == NULL);
    assert_int_equal(kill(x.pid, SIGTERM), 0);
    expect_notice("STOPPING=1");
    assert_int_equal(finish(fd), 204);
    assert_int_equal(wait_exit(), 0);
    start(x.config, 0);
    expect_notice("READY=1");
    assert_int_equal(request("GET", "/v1/effects", ""), 200);
    assert_non_null(strstr(answer, "\"nap\":1"));
}

static void wait_streams(const char *metric)
{
    do
        assert_int_equal(request("GET", "/metrics", ""), 200);
    while (strstr(answer, metric) == NULL);
}

static void send_step(int id, size_t pad)
{
    static char body[32 * 1024];
    int at = snprintf(body, sizeof body, "{\"id\":%d,\"last\":0,\"pad\":\"", id);
    memset(body + at, 'p', pad);
    (void)snprintf(body + (size_t)at + pad, 8, "\"}");
    assert_int_equal(request("POST", "/v1/streams/k", body), 204);
}

/* A stream ends with its client, is cut off when the client does not read, and ends in order when the service drains.
 */
static void test_streams(void **state)
{
    start(x.config, 0);
    expect_notice("READY=1");
    int fd = begin("GET", "/v1/streams/k", "");
    wait_streams("service_streams 1\n");
    assert_int_equal(close(fd), 0);
    wait_streams("service_streams 0\n");
    fd = begin("GET", "/v1/streams/k", ""); /* never read */
    wait_streams("service_streams 1\n");
    int id = 0;
    while (strstr(answer, "service_streams 0\n") == NULL) {
        assert_true(id < 1000);
        send_step(id++, 16 * 1024);
        assert_int_equal(request("GET", "/metrics", ""), 200);
    }
    assert_int_equal(close(fd), 0);
    fd = begin("GET", "/v1/streams/k", "");
    wait_streams("service_streams 1\n");
    send_step(1000, 1);
    assert_int_equal(kill(x.pid, SIGTERM), 0);
    expect_notice("STOPPING=1");
    assert_int_equal(finish(fd), 200);
    assert_non_null(strstr(answer, "id: 0\n"));
    assert_non_null(strstr(answer, "id: 1000\n"));
    assert_string_equal(answer + strlen(answer) - 5, "0\r\n\r\n"); /* the last chunk: nothing was cut */
    assert_int_equal(wait_exit(), 0);
}

/* Open streams of a user, each under a key of its own, until there are `count` in all. */
static void open_streams(const char *user, int *fds, int from, int count)
{
    char text[64];
    for (int i = from; i < count; i++) {
        (void)snprintf(text, sizeof text, "/v1/streams/%d", i);
        fds[i] = begin_as(user, "GET", text, "");
        (void)snprintf(text, sizeof text, "service_streams %d\n", i + 1);
        if ((i + 1) % 64 == 0 || i + 1 == count)
            wait_streams(text); /* no more at once than the service lets wait for a worker */
    }
}

/* One user may have 1,024 streams, and others still have theirs; one that was closed may be opened again. */
static void test_streams_of_a_user(void **state)
{
    enum { ALLOWED = 1024 };
    static int fds[ALLOWED + 3];
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    start(x.config, 0);
    expect_notice("READY=1");
    open_streams("ann", fds, 0, ALLOWED);
    assert_int_equal(finish(begin_as("ann", "GET", "/v1/streams/k", "")), 429);
    assert_non_null(strstr(answer, "\"code\":\"too_many_streams\""));
    open_streams("bob", fds, ALLOWED, ALLOWED + 1);
    open_streams(NULL, fds, ALLOWED + 1, ALLOWED + 2);
    assert_int_equal(close(fds[0]), 0);
    wait_streams("service_streams 1025\n");
    fds[0] = begin_as("ann", "GET", "/v1/streams/k", "");
    wait_streams("service_streams 1026\n");
    assert_int_equal(finish(begin_as("ann", "GET", "/v1/streams/k", "")), 429);
    for (int i = 0; i < ALLOWED + 2; i++)
        assert_int_equal(close(fds[i]), 0);
    wait_streams("service_streams 0\n");
}

/* SIGKILL: what was answered 201 is there after the next start, whose port of call is the same socket. */
static void test_kill(void **state)
{
    for (int round = 0; round < 3; round++) {
        start(x.config, 0);
        expect_notice("READY=1");
        for (int i = 0; i < round; i++) {
            char path[64];
            (void)snprintf(path, sizeof path, "/v1/items/n%d", i);
            assert_int_equal(request("GET", path, ""), 200);
        }
        char body[64];
        (void)snprintf(body, sizeof body, "{\"name\":\"n%d\"}", round);
        assert_int_equal(request("POST", "/v1/items", body), 201);
        assert_int_equal(kill(x.pid, SIGKILL), 0);
        assert_int_equal(wait_exit(), 128 + SIGKILL);
    }
}

/* A start that cannot succeed ends with a code, not with a service that half works. */
static void test_bad_start(void **state)
{
    start(NULL, 0);
    assert_int_equal(wait_exit(), 2);
    start("/nowhere.json", 0);
    assert_int_not_equal(wait_exit(), 0);
    char path[128];
    write_file("0001_bad.sql", "CREATE TABL x;");
    (void)snprintf(path, sizeof path, "%s/0001_bad.sql", x.dir);
    write_config(path);
    start(x.config, 0);
    assert_int_not_equal(wait_exit(), 0);
}

/* A disk that takes no more: writes are refused with the reason, nothing that was answered 201 is lost, reads go on,
 * and with room again so do writes. */
static void test_no_room(void **state)
{
    static char body[40 * 1024];
    int made = 0, status = 201;
    start(x.config, 600 * 1024);
    expect_notice("READY=1");
    for (; status == 201 && made < 200; made += status == 201 ? 1 : 0) {
        int at = snprintf(body, sizeof body, "{\"name\":\"f%d\",\"note\":\"", made);
        memset(body + at, 'x', 32 * 1024);
        (void)snprintf(body + at + 32 * 1024, 8, "\"}");
        status = request("POST", "/v1/items", body);
    }
    assert_true(status == 507 || status == 503);
    assert_non_null(strstr(answer, "application/problem+json"));
    assert_non_null(strstr(answer, "storage_"));
    assert_true(made > 0);
    assert_int_equal(request("GET", "/v1/items/f0", ""), 200);
    assert_int_equal(kill(x.pid, SIGTERM), 0);
    expect_notice("STOPPING=1");
    assert_int_equal(wait_exit(), 0);
    start(x.config, 0);
    expect_notice("READY=1");
    for (int i = 0; i < made; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/v1/items/f%d", i);
        assert_int_equal(request("GET", path, ""), 200);
    }
    assert_int_equal(request("POST", "/v1/items", "{\"name\":\"after\"}"), 201);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_drain), TEST(test_streams),   TEST(test_streams_of_a_user),
                                       TEST(test_kill),  TEST(test_bad_start), TEST(test_no_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
