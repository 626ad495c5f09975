/* SPDX-License-Identifier: Apache-2.0
 *
 * The product's env: the common contract, and what only real sockets, processes and files can show.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "assert.h"
#include "env_contract.h"
#include "io_env.h"
#include "io_log.h"
#include "io_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int set_up(void **state)
{
    static struct env_contract c;
    static char dir[64];
    snprintf(dir, sizeof dir, "/tmp/ficus-io-XXXXXX");
    c = (struct env_contract){.e = env_uv_new(NULL, NULL), .run = env_uv_run, .stop = env_uv_stop, .dir = mkdtemp(dir)};
    *state = &c;
    return c.e == NULL || c.dir == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    struct env_contract *c = *state;
    env_uv_free(c->e);
    static const char *const names[] = {"pair.sock", "pause.sock", "stale.sock", "file", "lock", "log", "log.old"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        unlink(contract_path(c, "", names[i]).text);
    return rmdir(c->dir);
}

/* A TCP listener that was inherited works, its connections know their peer, and a refused TCP connection is REFUSED. */
static void test_tcp(void **state)
{
    struct env_contract *c = *state;
    int fd = -1;
    assert_int_equal(socket_listen("tcp:127.0.0.1:0", &fd, NULL), FICUS_ERR_OK);
    int inherited = dup(fd);
    char listen_address[32], connect_address[32];
    snprintf(listen_address, sizeof listen_address, "fd:%d", inherited);
    snprintf(connect_address, sizeof connect_address, "tcp:127.0.0.1:%u", socket_port(fd));
    struct contract_pair p = {.c = c, .connected = FICUS_ERR_INTERNAL};
    assert_int_equal(env_listen(c->e, listen_address, contract_on_accept, &p, &p.listener, NULL), FICUS_ERR_OK);
    assert_int_equal(env_connect(c->e, connect_address, contract_on_connect, &p, &p.client), FICUS_ERR_OK);
    c->run(c->e);
    assert_int_equal(p.connected, FICUS_ERR_OK);
    struct env_peer peer;
    env_stream_peer(c->e, p.client, &peer);
    assert_false(peer.is_unix);
    assert_string_equal(peer.text, connect_address + 4);
    assert_int_equal(peer.pid, -1);
    char text[8];
    assert_int_equal(contract_write(c, p.client, "ping"), 4);
    assert_int_equal(contract_read(c, p.server, text, sizeof text), 4);
    contract_pair_close(&p);

    close(inherited);
    close(fd); /* the last descriptor of the listening socket: from now on nobody listens */
    p = (struct contract_pair){.c = c};
    assert_int_equal(env_connect(c->e, connect_address, contract_on_connect, &p, &p.client), FICUS_ERR_OK);
    c->run(c->e);
    assert_int_equal(p.connected, FICUS_ERR_REFUSED);
    env_close(c->e, p.client, NULL, NULL);
}

/* Closing our listener leaves the parent's socket listening: a connection still gets into its queue, and whoever
 * listens on the same number next is given it. */
static void test_listener_inherited_stays(void **state)
{
    struct env_contract *c = *state;
    int fd = -1;
    assert_int_equal(socket_listen("tcp:127.0.0.1:0", &fd, NULL), FICUS_ERR_OK);
    char listen_address[32], connect_address[32];
    int inherited = dup(fd);
    snprintf(listen_address, sizeof listen_address, "fd:%d", inherited);
    snprintf(connect_address, sizeof connect_address, "tcp:127.0.0.1:%u", socket_port(fd));
    struct contract_pair p = {.c = c, .accepts = 1};
    assert_int_equal(env_listen(c->e, listen_address, contract_on_accept, &p, &p.listener, NULL), FICUS_ERR_OK);
    env_listener_close(c->e, p.listener);
    assert_int_equal(env_connect(c->e, connect_address, contract_on_connect, &p, &p.client), FICUS_ERR_OK);
    c->run(c->e);
    assert_int_equal(p.connected, FICUS_ERR_OK);
    assert_null(p.server);
    p.accepts = 0;
    assert_int_equal(env_listen(c->e, listen_address, contract_on_accept, &p, &p.listener, NULL), FICUS_ERR_OK);
    c->run(c->e);
    assert_non_null(p.server);
    contract_pair_close(&p);
    close(inherited);
    close(fd);
}

/* Data, then a reset by the peer: a pending write or the next read says RESET, once, and nothing spins or hangs. */
static void test_reset(void **state)
{
    struct env_contract *c = *state;
    int fd = -1;
    assert_int_equal(socket_listen("tcp:127.0.0.1:0", &fd, NULL), FICUS_ERR_OK);
    char address[32];
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", socket_port(fd));
    struct contract_pair p = {.c = c, .accepts = 1};
    assert_int_equal(env_connect(c->e, address, contract_on_connect, &p, &p.client), FICUS_ERR_OK);
    c->run(c->e);
    int peer = accept(fd, NULL, NULL);
    assert_true(peer >= 0);
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(peer);
    char text[8];
    assert_int_equal(contract_read(c, p.client, text, sizeof text), -(ssize_t)FICUS_ERR_RESET);
    env_close(c->e, p.client, NULL, NULL);
    close(fd);
}

/* A unix socket is created 0600, tells the peer's pid, and a file that a dead listener left is replaced while a live
 * one is not. */
static void test_unix(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p;
    contract_pair_open(&p, c);
    struct stat st;
    assert_int_equal(stat(contract_path(c, "", "pair.sock").text, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct env_peer peer;
    env_stream_peer(c->e, p.server, &peer);
    assert_int_equal(peer.pid, getpid());
    assert_int_equal(peer.uid, getuid());
    contract_pair_close(&p);

    int fd = -1, other = -1;
    struct ficus_error error = {0};
    struct env_contract_path path = contract_path(c, "unix:", "stale.sock");
    assert_int_equal(socket_listen(path.text, &fd, NULL), FICUS_ERR_OK);
    assert_int_not_equal(socket_listen(path.text, &other, &error), FICUS_ERR_OK);
    assert_non_null(strstr(error.text, "stale.sock"));
    close(fd);
    assert_int_equal(socket_listen(path.text, &fd, NULL), FICUS_ERR_OK);
    close(fd);
}

static void count_accept(void *arg, struct env_stream *s)
{
    struct contract_pair *p = arg;
    p->accepts++;
    env_close(p->c->e, s, NULL, NULL);
    p->c->stop(p->c->e);
}

/* Out of descriptors, accept rests instead of spinning, and the waiting connection is taken when there are some
 * again. */
static void test_accept_emfile(void **state)
{
    struct env_contract *c = *state;
    struct contract_pair p = {.c = c};
    struct env_contract_path path = contract_path(c, "unix:", "pair.sock");
    unlink(path.text + 5);
    assert_int_equal(env_listen(c->e, path.text, count_accept, &p, &p.listener, NULL), FICUS_ERR_OK);
    struct socket_address a;
    assert_int_equal(socket_address_parse(path.text, &a, NULL), FICUS_ERR_OK);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (const void *)&a.storage, a.size), 0);
    struct rlimit before, none;
    getrlimit(RLIMIT_NOFILE, &before);
    /* client was the lowest free one */
    none = (struct rlimit){.rlim_cur = (rlim_t)client + 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct rusage used_before, used_after;
    getrusage(RUSAGE_SELF, &used_before);
    contract_turn(c, 250);
    getrusage(RUSAGE_SELF, &used_after);
    assert_int_equal(p.accepts, 0);
    /* a spinning loop makes hundreds of thousands of turns, of which none sleeps; ours sleeps a few times */
    assert_true(used_after.ru_nvcsw > used_before.ru_nvcsw);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    c->run(c->e);
    assert_int_equal(p.accepts, 1);
    close(client);
    env_listener_close(c->e, p.listener);
}

/* A lock that another process holds is BUSY and is free when that process has died. */
static void test_lock(void **state)
{
    struct env_contract *c = *state;
    struct env_contract_path path = contract_path(c, "", "lock");
    int ready[2], end[2];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(end, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct env_file *f = NULL;
        char b = 'n';
        close(end[1]);
        if (env_file_open(c->e, path.text, ENV_OPEN_CREATE, &f, NULL) == FICUS_ERR_OK &&
            env_file_lock(c->e, f, 10, 5) == FICUS_ERR_OK)
            b = 'y';
        (void)!write(ready[1], &b, 1);
        (void)!read(end[0], &b, 1); /* until the parent closes it */
        _exit(0);
    }
    assert_true(pid > 0);
    char b = 0;
    assert_int_equal(read(ready[0], &b, 1), 1);
    assert_int_equal(b, 'y');
    struct env_file *f = NULL, *other = NULL;
    assert_int_equal(env_file_open(c->e, path.text, ENV_OPEN_CREATE, &f, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_lock(c->e, f, 12, 1), FICUS_ERR_BUSY);
    assert_int_equal(env_file_lock(c->e, f, 0, 10), FICUS_ERR_OK);
    close(end[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(env_file_lock(c->e, f, 12, 1), FICUS_ERR_OK);
    /* another open file of the same process: closing it keeps our lock (as plain POSIX locks would not) */
    assert_int_equal(env_file_open(c->e, path.text, 0, &other, NULL), FICUS_ERR_OK);
    env_file_close(c->e, other);
    assert_int_equal(env_file_open(c->e, path.text, 0, &other, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_lock(c->e, other, 12, 1), FICUS_ERR_BUSY);
    env_file_close(c->e, other);
    env_file_close(c->e, f);
    close(ready[0]), close(ready[1]), close(end[0]);
}

/* A full disk is FULL. */
static void test_disk_full(void **state)
{
    struct env_contract *c = *state;
    struct env_file *f = NULL;
    assert_int_equal(env_file_open(c->e, "/dev/full", 0, &f, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_write(c->e, f, "x", 1, 0), FICUS_ERR_FULL);
    env_file_close(c->e, f);
}

static void work_wait(void *arg)
{
    struct contract_worker *w = arg;
    env_wait(w->c->e, &w->waiter);
    w->worked = true;
}

/* The queue of jobs has its bound: BUSY when full, and all that were accepted are done; an idle env has no workers. */
static void test_jobs_bound(void **state)
{
    struct env *e = env_uv_new(&(struct env_uv_options){.workers_count = 1, .jobs_max = 2}, NULL);
    struct env_contract c = {.e = e, .run = env_uv_run, .stop = env_uv_stop};
    struct contract_trace trace = {.c = &c};
    struct contract_worker workers[5];
    unsigned accepted = 0, refused = 0;
    for (size_t i = 0; i < 5; i++) {
        workers[i] = (struct contract_worker){.c = &c, .trace = &trace, .name = 'x'};
        workers[i].job = (struct env_job){.work = work_wait, .done = contract_done_mark, .arg = &workers[i]};
        enum ficus_err err = env_run(e, &workers[i].job);
        assert_true(err == FICUS_ERR_OK || err == FICUS_ERR_BUSY);
        accepted += err == FICUS_ERR_OK;
        refused += err == FICUS_ERR_BUSY;
    }
    assert_true(accepted == 2 || accepted == 3); /* 3 when the worker took the first before the last came */
    assert_int_equal(accepted + refused, 5);
    trace.wanted = accepted;
    for (size_t i = 0; i < 5; i++)
        env_wake(e, &workers[i].waiter);
    env_uv_run(e);
    env_uv_free(e);
}

static void on_usr1(void *arg, int signum)
{
    struct env_contract *c = arg;
    assert_int_equal(signum, SIGUSR1);
    c->stop(c->e);
}

/* A signal arrives as a callback on the loop. */
static void test_signal(void **state)
{
    struct env_contract *c = *state;
    assert_int_equal(env_uv_signal(c->e, SIGUSR1, on_usr1, c, NULL), FICUS_ERR_OK);
    raise(SIGUSR1);
    c->run(c->e);
    struct ficus_error error = {0};
    assert_int_not_equal(env_uv_signal(c->e, SIGKILL, on_usr1, c, &error), FICUS_ERR_OK);
    assert_int_not_equal(error.text[0], 0);
}

struct watched {
    struct env_contract *c;
    int fd;
    char text[8];
};

static void on_watched(void *arg)
{
    struct watched *w = arg;
    assert_true(read(w->fd, w->text, sizeof w->text) > 0);
    w->c->stop(w->c->e);
}

/* A foreign descriptor tells when it can be read, and no more after unwatch. */
static void test_watch(void **state)
{
    struct env_contract *c = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    struct watched w = {.c = c, .fd = pair[0]};
    struct env_uv_watch *watch = NULL;
    assert_int_equal(env_uv_watch(c->e, pair[0], on_watched, &w, &watch, NULL), FICUS_ERR_OK);
    assert_int_equal(write(pair[1], "one", 3), 3);
    c->run(c->e);
    assert_memory_equal(w.text, "one", 3);
    env_uv_unwatch(watch);
    assert_int_equal(write(pair[1], "two", 3), 3);
    contract_turn(c, 1);
    assert_memory_equal(w.text, "one", 3);
    close(pair[0]), close(pair[1]);
}

/* What is still open or queued when the env is freed is freed with it (the leak checker says so). */
static void test_free_with_open_things(void **state)
{
    struct env_contract *c = *state;
    struct env_contract own = {.e = env_uv_new(NULL, NULL), .run = env_uv_run, .stop = env_uv_stop, .dir = c->dir};
    struct contract_pair p;
    contract_pair_open(&p, &own);
    struct env_timer t = {.fn = contract_stop_task, .arg = &own};
    struct env_task task = {.fn = contract_stop_task, .arg = &own};
    env_timer_start(own.e, &t, 1000);
    env_post(own.e, &task);
    env_uv_free(own.e);
    assert_false(env_timer_armed(&t));
}

/* Descriptors are the process's, whichever of its loops opened them. */
static void test_usage_beside(void **state)
{
    struct env_contract *c = *state;
    struct env_uv_usage before, open, after;
    struct env *first = env_uv_new(NULL, NULL);
    struct env_contract own = {.e = env_uv_new(&(struct env_uv_options){.beside = first}, NULL), .run = env_uv_run, .stop = env_uv_stop, .dir = c->dir};
    struct contract_pair p;
    env_uv_usage(first, &before);
    contract_pair_open(&p, &own);
    env_uv_usage(first, &open);
    env_uv_free(own.e);
    env_uv_usage(first, &after);
    env_uv_free(first);
    assert_int_equal(before.stream_count, 0);
    assert_int_equal(open.stream_count, 2);
    assert_int_equal(after.stream_count, 0);
}

enum { ROUNDS_MAX = 500 };

struct busy {
    struct env *e;
    struct env_timer timer;
    int64_t delay_ms;
    int fd; /* what the first round writes to */
    unsigned rounds;
};

static void busy_round(void *arg)
{
    struct busy *b = arg;
    if (b->rounds == 0)
        assert_int_equal(write(b->fd, "x", 1), 1);
    (void)usleep(2000);
    if (++b->rounds < ROUNDS_MAX)
        env_timer_start(b->e, &b->timer, b->delay_ms);
    else
        env_uv_stop(b->e);
}

static void stop_on_read(void *arg)
{
    env_uv_stop(arg);
}

/* Timers that take longer than until their next time do not keep everything else out. */
static void test_busy_timers(void **state)
{
    struct env_contract *c = *state;
    int pair[2];
    struct env_uv_watch *watch;
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    for (int delay_ms = 0; delay_ms < 2; delay_ms++) {
        struct busy b = {.e = c->e, .timer = {.fn = busy_round, .arg = &b}, .delay_ms = delay_ms, .fd = pair[1]};
        assert_int_equal(env_uv_watch(c->e, pair[0], stop_on_read, c->e, &watch, NULL), FICUS_ERR_OK);
        env_timer_start(c->e, &b.timer, 0);
        env_uv_run(c->e);
        env_timer_stop(c->e, &b.timer);
        env_uv_unwatch(watch);
        contract_turn(c, 1);
        assert_true(b.rounds < ROUNDS_MAX);
        char byte;
        assert_int_equal(read(pair[0], &byte, 1), 1);
    }
    close(pair[0]), close(pair[1]);
}

/* Options out of range are refused in words. */
static void test_options(void **state)
{
    struct ficus_error error = {0};
    assert_null(env_uv_new(&(struct env_uv_options){.workers_count = 65}, &error));
    assert_int_equal(error.code, FICUS_ERR_INVALID);
    assert_null(env_uv_new(&(struct env_uv_options){.stack_size = 1024}, &error));
    assert_null(env_uv_new(&(struct env_uv_options){.jobs_max = 100000}, &error));
}

/* The log file behind fd 2 is bounded: over its limit it becomes NAME.old, no line is lost at the change, and none
 * is torn. */
static void test_log_rotation(void **state)
{
    struct env_contract *c = *state;
    struct env_contract_path path = contract_path(c, "", "log"), old = contract_path(c, "", "log.old");
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(path.text, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        struct log_os log;
        if (!log_os_init(&log, path.text, 1000))
            _exit(2);
        for (int i = 0; i < 30; i++) {
            char line[64];
            log_os_write(&log, line, (size_t)snprintf(line, sizeof line, "%049d\n", i));
        }
        (void)!write(1, "out\n", 4);
        log_os_done(&log);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct stat st, st_old;
    assert_int_equal(stat(path.text, &st), 0);
    assert_int_equal(stat(old.text, &st_old), 0);
    assert_int_equal(st_old.st_size, 1050); /* the line that went over the limit is its last */
    assert_int_equal(st.st_size, 30 * 50 - 1050 + 4);
}

/* Gathered lines and lines written at once come out in their order, whole and each once, also when they are more than the
 * buffer holds or one alone is; the first gathered line, and only it, asks for a flush. */
static void test_log_gathered(void **state)
{
    struct env_contract *c = *state;
    struct env_contract_path path = contract_path(c, "", "log");
    enum { LINES = 1000, LONG = LOG_GATHER_SIZE + 100 };
    pid_t pid = fork();
    if (pid == 0) {
        static char large[LONG];
        dup2(open(path.text, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600), 2);
        struct log_os log;
        bool fine = log_os_init(&log, NULL, INT64_MAX), waits = false;
        for (int i = 0; i < LINES; i++) {
            char line[64];
            size_t size = (size_t)snprintf(line, sizeof line, "%049d\n", i);
            if (i % 400 == 399) {
                log_os_write(&log, line, size);
                waits = false;
                continue;
            }
            bool first = log_os_gather(&log, line, size);
            fine = fine && first == !waits;
            waits = true;
        }
        memset(large, 'x', sizeof large);
        (void)log_os_gather(&log, large, sizeof large);
        log_os_done(&log);
        _exit(fine ? 0 : 2);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    FILE *file = fopen(path.text, "r");
    char line[64];
    for (int i = 0; i < LINES; i++) {
        assert_non_null(fgets(line, sizeof line, file));
        assert_int_equal(strlen(line), 50);
        assert_int_equal(strtol(line, NULL, 10), i);
    }
    fseek(file, 0, SEEK_END);
    assert_int_equal(ftell(file), LINES * 50 + LONG);
    fclose(file);
}

struct death {
    struct env *e;
    bool at_once;
    void (*die)(struct env *e);
};

static void write_two_lines_and_die(void *arg)
{
    struct death *d = arg;
    env_log_write(d->e, "first\n", 6, false);
    env_log_write(d->e, "second\n", 7, d->at_once);
    d->die(d->e);
}

static void die_killed(struct env *e)
{
    (void)e;
    raise(SIGKILL);
}

static void die_by_assertion(struct env *e)
{
    (void)e;
    FICUS_ASSERT(getpid() < 0);
}

static void die_by_another(struct env *e)
{
    (void)e;
    kill(getpid(), SIGSEGV);
}

static void write_where_nobody_may(void *arg)
{
    (void)arg;
    volatile char *p = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *p = 1;
}

/* The loop does not come to the end of its turn, where it would write the lines itself. */
static void die_by_a_worker(struct env *e)
{
    struct env_job job = {.work = write_where_nobody_may};
    (void)env_run(e, &job);
    pause();
}

/* What a process that dies in the midst of a turn leaves in its log: a line that goes at once and all before it, whatever
 * kills it; lines that wait too, when it dies of itself. The way of dying stays what it is. */
static void test_log_at_death(void **state)
{
    struct env_contract *c = *state;
    static const struct {
        bool at_once;
        void (*die)(struct env *e);
        int signum;
        const char *log;
    } cases[] = {
        {true, die_killed, SIGKILL, "first\nsecond\n"}, {false, die_killed, SIGKILL, ""},
        {false, die_by_assertion, SIGABRT, "first\nsecond\n"}, {false, die_by_another, SIGSEGV, "first\nsecond\n"},
        {false, die_by_a_worker, SIGSEGV, "first\nsecond\n"},
    };
    size_t count = ARRAY_COUNT(cases);
#ifdef __SANITIZE_THREAD__
    count--; /* lets no process that was forked have threads */
#endif
    for (size_t i = 0; i < count; i++) {
        struct env_contract_path path = contract_path(c, "", "log");
        pid_t pid = fork();
        if (pid == 0) {
            dup2(open(path.text, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600), 2);
            signal(SIGSEGV, SIG_DFL), signal(SIGABRT, SIG_DFL); /* of the test's own framework, and of sanitizers */
            struct death d = {.e = env_uv_new(NULL, NULL), .at_once = cases[i].at_once, .die = cases[i].die};
            struct env_timer t = {.fn = write_two_lines_and_die, .arg = &d};
            env_timer_start(d.e, &t, 0);
            env_uv_run(d.e);
            _exit(0);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), cases[i].signum);
        char log[256] = "";
        int fd = open(path.text, O_RDONLY);
        assert_true(read(fd, log, sizeof log - 1) >= 0);
        close(fd);
        /* the assertion's own words stand in front */
        assert_true(strlen(log) >= strlen(cases[i].log));
        assert_string_equal(log + strlen(log) - strlen(cases[i].log), cases[i].log);
        assert_int_equal(cases[i].die == die_by_assertion, strncmp(log, "first", 5) != 0 && log[0] != '\0');
    }
}

/* Addresses as text: each wrong form is refused in words, IPv6 is understood. */
static void test_addresses(void **state)
{
    struct socket_address a;
    struct ficus_error error = {0};
    static const char *const wrong[] = {"",
                                        "tcp:",
                                        "tcp:127.0.0.1",
                                        "tcp:127.0.0.1:",
                                        "tcp:127.0.0.1:65536",
                                        "tcp:localhost:80",
                                        "tcp:1.2.3.4.5:80",
                                        "tcp:[::1:80",
                                        "tcp:[x]:80",
                                        "unix:",
                                        "fd:",
                                        "fd:x",
                                        "fd:-1",
                                        "http://x"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_int_equal(socket_address_parse(wrong[i], &a, &error), FICUS_ERR_INVALID);
    assert_int_equal(socket_address_parse("tcp:[::1]:80", &a, NULL), FICUS_ERR_OK);
    char text[64];
    socket_address_format(&a.storage, text, sizeof text);
    assert_string_equal(text, "[::1]:80");
    int fd;
    assert_int_not_equal(socket_listen("fd:9999", &fd, NULL), FICUS_ERR_OK);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    char address[16];
    snprintf(address, sizeof address, "fd:%d", pair[0]);
    assert_int_equal(socket_listen(address, &fd, NULL), FICUS_ERR_INVALID); /* it does not listen */
    close(pair[0]), close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENV_CONTRACT_TESTS,
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_listener_inherited_stays),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_accept_emfile),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_jobs_bound),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_free_with_open_things),
        cmocka_unit_test(test_usage_beside),
        cmocka_unit_test(test_busy_timers),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_log_rotation),
        cmocka_unit_test(test_log_gathered),
        cmocka_unit_test(test_log_at_death),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
