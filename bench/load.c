/* SPDX-License-Identifier: Apache-2.0
 *
 * The load of proxy.py: client and origin in one epoll thread, so that together they cost less than the proxy between
 * them, and the proxy is what is measured. An origin that is another process would wake and be woken on the client's
 * core.
 *
 *   load run     one measurement, one line of JSON; both ends
 *   load origin  the origin alone, for clients that are programs of others; for each byte on its standard input a line
 *                with the number of its answers so far; ends with that input
 *   load place   what `ficus up` starts as the service that the origin stands for: says that it is ready, and sleeps
 *
 * Closed loop: each connection sends its next request when it has the answer. With --rate: open loop; requests have a
 * time at which they are due, and latency counts from there, also when no connection was free (no coordinated
 * omission).
 * With --spin the thread never sleeps, so that no proxy pays for waking it; a slow one would pay most.
 *
 * With --routes N the request's path has ##### in it, which becomes another number below N each time.
 *
 * Bounded: FILES_MAX connections, HEAD_MAX bytes of a head, LATENCY_MAX_US of a latency that is told apart.
 */
#include "sock.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum {
    FILES_MAX = 32768,
    EVENTS_MAX = 512,
    HEAD_MAX = 2048,
    BODY_MAX = 65536, /* an answer fits into one read of either end */
    LATENCY_MAX_US = 1000000,
    CLIENTS_MAX = 4096,
    DIGITS = 5,
    SLEEP_MS = 50, /* so that the end of the time is seen */
    LAST_S = 5,    /* for the answers that are due at the end */
};

static const char request_form[] = "GET %s HTTP/1.1\r\n"
                                   "Host: %s\r\n"
                                   "Accept: application/json\r\n"
                                   "User-Agent: ficus-bench/1 (load)\r\n"
                                   "Accept-Encoding: gzip, deflate\r\n"
                                   "Authorization: Bearer Zm9yIHRoZSBiZW5jaG1hcmsgb25seTogdGhpcyBpcyBubyB0b2tlbiwgYnV0"
                                   "IGl0IGlzIGFzIGxvbmcgYXMgYSBzaG9ydCBvbmUgaXM6IGEgaHVuZHJlZCBieXRlcw==\r\n"
                                   "Cookie: session=5f0c1d9be24a4b7c93d1a6e2087745cb\r\n"
                                   "\r\n";
static const char answer_form[] = "HTTP/1.1 200 OK\r\n"
                                  "Server: origin\r\n"
                                  "Date: Sun, 01 Nov 2026 12:00:00 GMT\r\n"
                                  "Content-Type: application/json\r\n"
                                  "Content-Length: %zu\r\n"
                                  "ETag: \"9a72c1e5\"\r\n"
                                  "Cache-Control: no-store\r\n"
                                  "\r\n";

enum end { END_NONE, END_CLIENT, END_ORIGIN };

struct conn {
    enum end end;
    size_t got;       /* client: bytes of the answer so far */
    size_t want;      /* client: bytes of the whole answer; 0: its head is not whole yet */
    int64_t due_ns;   /* client: latency counts from here */
    char head[HEAD_MAX]; /* client: the head so far. Origin: its last three bytes */
};

struct load {
    const char *to, *origin, *path, *host;
    long conns, rate, body, routes;
    double seconds, warm;
    bool spin;

    int epoll, listener;
    struct conn *conn[FILES_MAX];
    char request[1024], answer[HEAD_MAX + BODY_MAX];
    size_t request_size, answer_size;
    char *number; /* in the request: the digits that --routes changes; NULL: none */
    unsigned long asked;

    int free[CLIENTS_MAX]; /* clients that wait for nothing: in an open loop, and at the end */
    size_t free_count;
    double next_ns;

    int64_t begun_ns, warm_ns, end_ns; /* times */
    uint64_t answers, counted, errors; /* answers: the origin's; counted: that came to clients in the time */
    uint32_t latency[LATENCY_MAX_US + 1];
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void add(struct load *l, int fd, enum end end)
{
    if (fd >= FILES_MAX || (l->conn[fd] == NULL && (l->conn[fd] = calloc(1, sizeof **l->conn)) == NULL)) {
        l->errors++;
        close(fd);
        return;
    }
    *l->conn[fd] = (struct conn){.end = end}; /* its head ends with a zero, always */
    sock_watch(l->epoll, fd, EPOLLIN | EPOLLET);
}

static void drop(struct load *l, int fd)
{
    const struct conn *c = l->conn[fd];
    if (c->end == END_CLIENT && l->errors++ == 0)
        fprintf(stderr, "bench: the first refused answer: \"%.*s\"\n", (int)strcspn(c->head, "\r\n"), c->head);
    l->conn[fd]->end = END_NONE;
    close(fd);
}

/* A byte came: say how many answers there were. */
static void say_answers(const struct load *l)
{
    char byte;
    if (read(STDIN_FILENO, &byte, 1) != 1)
        exit(0);
    printf("%llu\n", (unsigned long long)l->answers);
    fflush(stdout);
}

static bool send_all(int fd, const char *p, size_t size)
{
    return send(fd, p, size, MSG_NOSIGNAL) == (ssize_t)size; /* blocks: proxies take what they asked for */
}

static void ask(struct load *l, int fd, int64_t due_ns)
{
    struct conn *c = l->conn[fd];
    c->got = c->want = 0;
    c->due_ns = due_ns;
    if (l->number != NULL) {
        /* A prime step: neighbours in time are no neighbours in the configuration, and all have their turn. */
        unsigned long n = l->asked++ * 7919 % (unsigned long)l->routes;
        for (int i = DIGITS; i-- > 0; n /= 10)
            l->number[i] = (char)('0' + n % 10);
    }
    if (!send_all(fd, l->request, l->request_size))
        drop(l, fd);
}

/* ---- origin ---- */

/* No client of ours and no proxy sends a second request before the answer, so a head ends where the bytes end. */
static void on_request(struct load *l, int fd)
{
    struct conn *c = l->conn[fd];
    char in[16384 + 3];
    memcpy(in, c->head, 3);
    ssize_t n = recv(fd, in + 3, sizeof in - 3, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        drop(l, fd);
        return;
    }
    memcpy(c->head, in + n, 3);
    if (memcmp(in + n - 1, "\r\n\r\n", 4) != 0)
        return;
    l->answers++;
    if (!send_all(fd, l->answer, l->answer_size))
        drop(l, fd);
}

static void on_connections(struct load *l)
{
    int fd;
    while ((fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        add(l, fd, END_ORIGIN);
}

/* ---- client ---- */

static void count_answer(struct load *l, int fd)
{
    int64_t now = now_ns(), us = (now - l->conn[fd]->due_ns) / 1000;
    if (now >= l->warm_ns && now < l->end_ns) {
        l->counted++;
        l->latency[us < LATENCY_MAX_US ? us : LATENCY_MAX_US]++;
    }
    if (l->rate > 0 || now >= l->end_ns)
        l->free[l->free_count++] = fd;
    else
        ask(l, fd, now);
}

/* Take the first n bytes of an answer: false when they are no answer with 200. A body of another size than ours puts
 * the next answer out of step, and is found there. */
static bool take_head(struct load *l, struct conn *c, const char *p, size_t n)
{
    size_t room = HEAD_MAX - 1 - c->got, part = n < room ? n : room;
    memcpy(c->head + c->got, p, part);
    const char *end = memmem(c->head, c->got + part, "\r\n\r\n", 4);
    if (end == NULL)
        return n < room;
    c->want = (size_t)(end - c->head) + 4 + (size_t)l->body;
    return memcmp(c->head, "HTTP/1.1 200 ", 13) == 0;
}

static void on_answer(struct load *l, int fd)
{
    static char in[1 << 17];
    struct conn *c = l->conn[fd];
    ssize_t n = recv(fd, in, sizeof in, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || (c->want == 0 && !take_head(l, c, in, (size_t)n))) {
        drop(l, fd);
        return;
    }
    c->got += (size_t)n;
    if (c->want > 0 && c->got > c->want)
        drop(l, fd);
    else if (c->got == c->want)
        count_answer(l, fd);
}

static void ask_due(struct load *l, int64_t now)
{
    while (l->free_count > 0 && l->next_ns <= (double)now) {
        ask(l, l->free[--l->free_count], (int64_t)l->next_ns);
        l->next_ns += 1e9 / (double)l->rate;
    }
}

/* ---- both ---- */

static void turn(struct load *l, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(l->epoll, events, EVENTS_MAX, timeout_ms);
    for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;
        if (fd == l->listener)
            on_connections(l);
        else if (fd == STDIN_FILENO)
            say_answers(l);
        else if (l->conn[fd]->end == END_ORIGIN)
            on_request(l, fd);
        else if (l->conn[fd]->end == END_CLIENT)
            on_answer(l, fd);
    }
}

static int64_t percentile_us(const struct load *l, double part)
{
    uint64_t below = 0, wanted = (uint64_t)(part * (double)l->counted);
    for (int us = 0; us <= LATENCY_MAX_US; us++)
        if ((below += l->latency[us]) > wanted)
            return us;
    return LATENCY_MAX_US;
}

static int run(struct load *l)
{
    int clients[CLIENTS_MAX];
    for (long i = 0; i < l->conns; i++) {
        if ((clients[i] = sock_connect(l->to)) < 0)
            sock_die("connect to", l->to);
        add(l, clients[i], END_CLIENT);
    }
    l->begun_ns = now_ns();
    l->warm_ns = l->begun_ns + (int64_t)(l->warm * 1e9);
    l->end_ns = l->warm_ns + (int64_t)(l->seconds * 1e9);
    l->next_ns = (double)l->begun_ns;
    for (long i = 0; i < l->conns; i++) {
        if (l->rate > 0)
            l->free[l->free_count++] = clients[i];
        else
            ask(l, clients[i], l->begun_ns);
    }
    for (int64_t now; (now = now_ns()) < l->end_ns;) {
        if (l->rate > 0)
            ask_due(l, now);
        turn(l, l->spin || l->rate > 0 ? 0 : SLEEP_MS);
    }
    /* Who left now with requests unanswered would have the proxy count failures of the origin. */
    while (l->free_count + l->errors < (size_t)l->conns && now_ns() < l->end_ns + LAST_S * INT64_C(1000000000))
        turn(l, l->spin ? 0 : SLEEP_MS);
    if (l->free_count + l->errors < (size_t)l->conns)
        l->errors = (size_t)l->conns - l->free_count;
    printf("{\"answers\": %llu, \"rps\": %.1f, \"p50_us\": %lld, \"p99_us\": %lld, \"errors\": %llu}\n",
           (unsigned long long)l->answers, (double)l->counted / l->seconds, (long long)percentile_us(l, 0.50),
           (long long)percentile_us(l, 0.99), (unsigned long long)l->errors);
    return 0;
}

static int place(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (path == NULL || strlen(path) >= sizeof to.sun_path)
        return 2;
    memcpy(to.sun_path, path, strlen(path) + 1);
    if (fd < 0 || sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&to, sizeof to) != 7)
        sock_die("notify", path);
    for (;;)
        pause();
}

static int usage(void)
{
    fprintf(stderr, "usage: load run --to ADDRESS --origin ADDRESS [--host NAME:PORT] [--path P] [--conns N]\n"
                    "                [--seconds S] [--warm S] [--body BYTES] [--rate N] [--routes N] [--spin]\n"
                    "       load origin --origin ADDRESS [--body BYTES]\n"
                    "       load place\n");
    return 2;
}

static bool read_options(struct load *l, int argc, char **argv)
{
    static const struct option options[] = {
        {"to", required_argument, NULL, 't'},      {"origin", required_argument, NULL, 'o'},
        {"host", required_argument, NULL, 'h'},    {"path", required_argument, NULL, 'p'},
        {"conns", required_argument, NULL, 'c'},   {"seconds", required_argument, NULL, 's'},
        {"warm", required_argument, NULL, 'w'},    {"body", required_argument, NULL, 'b'},
        {"rate", required_argument, NULL, 'r'},    {"routes", required_argument, NULL, 'n'},
        {"spin", no_argument, NULL, 'S'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 't': l->to = optarg; break;
        case 'o': l->origin = optarg; break;
        case 'h': l->host = optarg; break;
        case 'p': l->path = optarg; break;
        case 'c': l->conns = atol(optarg); break;
        case 's': l->seconds = atof(optarg); break;
        case 'w': l->warm = atof(optarg); break;
        case 'b': l->body = atol(optarg); break;
        case 'r': l->rate = atol(optarg); break;
        case 'n': l->routes = atol(optarg); break;
        case 'S': l->spin = true; break;
        default: return false;
        }
    }
    return l->origin != NULL && l->conns > 0 && l->conns <= CLIENTS_MAX && l->body > 1 && l->body <= BODY_MAX &&
           l->seconds > 0 && l->warm >= 0 && l->rate >= 0 && l->routes >= 0 && l->routes <= 100000;
}

static bool prepare(struct load *l)
{
    int request = snprintf(l->request, sizeof l->request, request_form, l->path, l->host);
    int head = snprintf(l->answer, sizeof l->answer, answer_form, (size_t)l->body);
    if (request < 0 || (size_t)request >= sizeof l->request || head < 0)
        return false;
    l->request_size = (size_t)request;
    l->number = l->routes > 0 ? strstr(l->request, "#####") : NULL;
    l->answer_size = (size_t)head + (size_t)l->body;
    memset(l->answer + head, 'x', (size_t)l->body);
    l->answer[head] = l->answer[l->answer_size - 1] = '"'; /* JSON: one string */
    sock_files_raise(FILES_MAX);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->listener = sock_listen(l->origin);
    sock_watch(l->epoll, l->listener, EPOLLIN);
    return true;
}

int main(int argc, char **argv)
{
    static struct load l;
    if (argc < 2)
        return usage();
    l.path = "/api/v1/items/42";
    l.host = "127.0.0.1";
    l.conns = 64;
    l.seconds = 1;
    l.warm = 0.3;
    l.body = 600;
    const char *mode = argv[1];
    if (strcmp(mode, "place") == 0)
        return place();
    if (!read_options(&l, argc - 1, argv + 1) || !prepare(&l))
        return usage();
    if (strcmp(mode, "run") == 0 && l.to != NULL)
        return run(&l);
    if (strcmp(mode, "origin") == 0) {
        sock_watch(l.epoll, STDIN_FILENO, EPOLLIN);
        for (;;)
            turn(&l, -1);
    }
    return usage();
}
