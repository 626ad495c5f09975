/* SPDX-License-Identifier: Apache-2.0
 *
 * The supervisor with real processes: this program itself, started again in one of the modes below.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "io_env.h"
#include "io_socket.h"
#include "json.h"
#include "mem.h"
#include "ops_call.h"
#include "proc.h"
#include "supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 5, PATIENCE_MS = 20000 };
static const char *program; /* path of this executable */

/* ---- the modes of the started process ---- */

static void say(const char *text)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    memcpy(un.sun_path, path, strlen(path) + 1);
    (void)!sendto(fd, text, strlen(text), 0, (const void *)&un, sizeof un);
    close(fd);
}

static void say_ready(void)
{
    say("READY=1\n");
}

/* Tells each connection its pid; checks what a child may rely on. */
static int mode_serve(void)
{
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (getenv("LISTEN_PID") == NULL || strcmp(getenv("LISTEN_PID"), pid) != 0 ||
        strcmp(getenv("LISTEN_FDS"), "1") != 0 || getsid(0) != getpid() || getenv("FICUS_CONFIG") == NULL ||
        getenv("FICUS_LOG") == NULL)
        return 3;
    say_ready();
    for (;;) {
        int fd = accept(3, NULL, NULL);
        if (fd < 0 && errno == EAGAIN) {
            struct timespec ms = {.tv_nsec = 1000000};
            nanosleep(&ms, NULL);
            continue;
        }
        (void)!write(fd, pid, strlen(pid));
        close(fd);
    }
}

/* Has a child of its own, which does not die with it by itself. */
static int mode_family(void)
{
    if (fork() == 0)
        for (;;)
            pause();
    return mode_serve();
}

/* Ready the first time, never again: the file beside its configuration says which. */
static int mode_once(void)
{
    char path[512];
    snprintf(path, sizeof path, "%s.once", getenv("FICUS_CONFIG"));
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        return mode_serve();
    for (;;)
        pause();
}

static int mode_stubborn(void)
{
    signal(SIGTERM, SIG_IGN);
    return mode_serve();
}

/* Keeps what PUT /v1/registry said in the file registry.json beside its configuration. */
struct fake_hub {
    struct env *e;
    struct http_collect collect;
};

static void on_registry(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    struct fake_hub *hub = arg;
    char path[512];
    snprintf(path, sizeof path, "%s.registry", getenv("FICUS_CONFIG"));
    (void)env_file_store(hub->e, path, body, NULL);
    (void)http_respond(s, 204, NULL, 0, NULL, SLICE_NONE);
}

static void ignore_done(void *arg, struct http_stream *s)
{
    http_collect_done(&((struct fake_hub *)arg)->collect);
}

static void ignore_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    ignore_done(arg, s);
}

static void on_hub_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    static const struct http_handler handler = {.on_done = ignore_done, .on_reset = ignore_reset};
    struct fake_hub *hub = arg;
    http_stream_handle(s, &handler, hub);
    hub->collect = (struct http_collect){.done = on_registry, .arg = hub};
    http_collect(s, &hub->collect, 1 << 20);
}

static int mode_hub(void)
{
    struct fake_hub hub = {.e = env_uv_new(NULL, NULL)};
    struct http_server *server;
    if (http_server_new(hub.e, &(struct http_server_options){.on_request = on_hub_request, .arg = &hub}, &server) !=
            FICUS_ERR_OK ||
        http_server_listen(server, "fd:4", NULL, NULL) != FICUS_ERR_OK)
        return 3;
    say_ready();
    env_uv_run(hub.e);
    return 0;
}

static int mode_main(const char *mode)
{
    if (strcmp(mode, "serve") == 0)
        return mode_serve();
    if (strcmp(mode, "family") == 0)
        return mode_family();
    if (strcmp(mode, "once") == 0)
        return mode_once();
    if (strcmp(mode, "stubborn") == 0)
        return mode_stubborn();
    if (strcmp(mode, "hub") == 0)
        return mode_hub();
    say("STATUS=cannot\033 start");
    return 4; /* "fail" */
}

/* ---- fixture ---- */

struct fixture {
    struct env *e;
    struct arena a;
    char dir[64];
    struct state state;
    int lock_fd;
    struct supervisor_plan plan;
    struct supervisor_process processes[PROCESSES];
    struct supervisor *supervisor;
    bool healthy, stopped;
    struct env_timer tick;
    bool (*until)(struct fixture *f);
    int64_t give_up_ms;
};

static void add(struct fixture *f, enum child_kind kind, const char *name, const char *mode, const char *const *needs,
                size_t need_count)
{
    struct supervisor_process *p = &f->processes[f->plan.process_count++];
    const char **argv = ARENA_ARRAY(&f->a, const char *, 4);
    argv[0] = program;
    argv[1] = "child";
    argv[2] = mode;
    *p = (struct supervisor_process){.kind = kind,
                                     .name = name,
                                     .team = kind == CHILD_SERVICE ? "team" : "",
                                     .argv = argv,
                                     .folder = f->dir,
                                     .config_file = arena_printf(&f->a, "%s/%s.json", f->state.run, name),
                                     .needs = needs,
                                     .need_count = need_count};
    p->listen[0] = kind == CHILD_GATEWAY ? "tcp:127.0.0.1:0"
                                         : arena_printf(&f->a, "unix:%s/%s.1.sock", f->state.sockets, name);
    p->listen_names[0] = "api";
    p->listen_count = 1;
    if (kind == CHILD_HUB) {
        p->listen[1] = f->plan.hub_operator_address;
        p->listen_names[1] = "ops";
        p->listen_count = 2;
    }
}

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    f.e = env_uv_new(NULL, NULL);
    arena_init(&f.a, 256 << 20); /* conditions that are looked at every 2 ms use it up */
    snprintf(f.dir, sizeof f.dir, "/tmp/ficus-sup-XXXXXX");
    if (f.e == NULL || mkdtemp(f.dir) == NULL)
        return -1;
    char manifest[128];
    snprintf(manifest, sizeof manifest, "%s/ficus.yaml", f.dir);
    unsetenv("FICUS_STATE");
    if (state_locate(&f.a, manifest, &f.state, NULL) != FICUS_ERR_OK ||
        state_create(f.e, &f.state, NULL) != FICUS_ERR_OK || state_lock(&f.state, &f.lock_fd, NULL) != FICUS_ERR_OK)
        return -1;
    f.plan = (struct supervisor_plan){
        .system = "test", .gateway_url = "http://127.0.0.1:0", .state = &f.state, .processes = f.processes};
    f.plan.hub_operator_address = arena_printf(&f.a, "unix:%s/hub-ops.sock", f.state.sockets);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    const char *left;
    supervisor_free(f->supervisor);
    env_uv_free(f->e);
    close(f->lock_fd);
    int rc = state_purge(&f->a, &f->state, &left, NULL) == FICUS_ERR_OK ? rmdir(f->dir) : -1;
    arena_done(&f->a);
    return rc;
}

static void on_healthy(void *arg)
{
    ((struct fixture *)arg)->healthy = true;
}

static void on_stopped(void *arg)
{
    ((struct fixture *)arg)->stopped = true;
}

static void start(struct fixture *f)
{
    struct ficus_error error = {0};
    struct supervisor_options o = {.plan = &f->plan, .on_healthy = on_healthy, .on_stopped = on_stopped, .arg = f};
    if (supervisor_new(f->e, &o, &f->supervisor, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

static void on_tick(void *arg)
{
    struct fixture *f = arg;
    if (f->until(f) || env_now_ms(f->e) > f->give_up_ms)
        env_uv_stop(f->e);
    else
        env_timer_start(f->e, &f->tick, 2);
}

/* Serve events until the condition holds; fails when it does not within PATIENCE_MS. */
static void wait_until(struct fixture *f, bool (*until)(struct fixture *f))
{
    f->until = until;
    f->give_up_ms = env_now_ms(f->e) + PATIENCE_MS;
    f->tick = (struct env_timer){.fn = on_tick, .arg = f};
    env_timer_start(f->e, &f->tick, 0);
    env_uv_run(f->e);
    env_timer_stop(f->e, &f->tick);
    assert_true(until(f));
}

static bool is_healthy(struct fixture *f)
{
    return f->healthy && supervisor_healthy(f->supervisor);
}

static bool is_stopped(struct fixture *f)
{
    return f->stopped;
}

/* pid of the first instance of a service as the record of children says. */
static int64_t pid_of(struct fixture *f, const char *name)
{
    struct children c;
    assert_int_equal(children_read(f->e, &f->a, f->state.children_file, &c, NULL), FICUS_ERR_OK);
    for (size_t i = 0; i < c.count; i++)
        if (strcmp(c.records[i].name, name) == 0)
            return c.records[i].pid;
    return -1;
}

static int connect_to(const char *address)
{
    struct socket_address a;
    assert_int_equal(socket_address_parse(address, &a, NULL), FICUS_ERR_OK);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const void *)&a.storage, a.size), 0);
    return fd;
}

/* The pid that whoever serves the connection says. Blocks until it is served. */
static int64_t ask(int fd)
{
    char text[32] = "";
    int64_t pid = -1;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    assert_true(n > 0);
    assert_true(slice_to_i64(slice_make(text, (size_t)n), &pid));
    return pid;
}

static void stop(struct fixture *f)
{
    supervisor_stop(f->supervisor);
    wait_until(f, is_stopped);
}

static bool registry_has_both(struct fixture *f)
{
    char path[512], wanted[512];
    struct slice text;
    snprintf(path, sizeof path, "%s/hub.json.registry", f->state.run);
    if (env_file_load(f->e, &f->a, path, 4096, &text, NULL) != FICUS_ERR_OK)
        return false;
    snprintf(wanted, sizeof wanted, "{\"services\":{\"a\":[\"unix:%s/a.1.sock\"],\"b\":[\"unix:%s/b.1.sock\"]}}",
             f->state.sockets, f->state.sockets);
    return slice_eq_str(text, wanted);
}

/* ---- tests ---- */

static const char *const needs_a[] = {"a"};

/* All become healthy; who needs another starts after it was ready; sockets answer; the hub learns who runs, also a
 * hub that was killed; the status has it all. */
static void test_start(void **state)
{
    struct fixture *f = *state;
    add(f, CHILD_HUB, "hub", "hub", NULL, 0);
    add(f, CHILD_SERVICE, "a", "serve", NULL, 0);
    add(f, CHILD_SERVICE, "b", "serve", needs_a, 1);
    start(f);
    assert_int_equal(pid_of(f, "b"), 0); /* a cannot have been ready yet: its READY comes by the loop */
    assert_true(pid_of(f, "a") > 0);
    wait_until(f, is_healthy);
    assert_int_equal(ask(connect_to(f->processes[1].listen[0])), pid_of(f, "a"));
    assert_int_equal(ask(connect_to(f->processes[2].listen[0])), pid_of(f, "b"));
    wait_until(f, registry_has_both);

    char path[512];
    snprintf(path, sizeof path, "%s/hub.json.registry", f->state.run);
    assert_int_equal(unlink(path), 0);
    kill((pid_t)pid_of(f, "hub"), SIGKILL);
    wait_until(f, registry_has_both); /* the new hub knows nothing and is told */

    struct buf text;
    struct json *root;
    struct ficus_error error = {0};
    buf_init(&text, 65536);
    supervisor_status(f->supervisor, &text);
    assert_int_equal(json_parse(&f->a, buf_slice(&text), NULL, &root, &error), FICUS_ERR_OK);
    assert_int_equal(json_i64_or(json_get(json_get(root, "supervisor"), "pid"), 0), getpid());
    assert_int_equal(json_i64_or(json_get(json_get(root, "hub"), "restarts"), -1), 1);
    const struct json *service = json_at(json_get(root, "services"), 0),
                      *instance = json_at(json_get(service, "instances"), 0);
    assert_true(slice_eq_str(json_string_or(json_get(service, "team"), SLICE_NONE), "team"));
    assert_true(slice_eq_str(json_string_or(json_get(instance, "state"), SLICE_NONE), "running"));
    assert_true(json_i64_or(json_get(instance, "pss_bytes"), 0) > 0);
    buf_done(&text);
    stop(f);
    assert_int_equal(pid_of(f, "a"), 0);
}

static int64_t killed_pid;

static bool is_replaced(struct fixture *f)
{
    return is_healthy(f) && pid_of(f, "a") > 0 && pid_of(f, "a") != killed_pid;
}

static void count_family(int64_t leader, unsigned *ret_count)
{
    *ret_count = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct proc_info info;
        int64_t pid;
        if (slice_to_i64(slice_str(entry->d_name), &pid) && proc_read(pid, &info) && info.session == leader &&
            info.state != 'Z')
            (*ret_count)++;
    }
    closedir(dir);
}

static bool killed_family_is_gone(struct fixture *f)
{
    unsigned count;
    count_family(killed_pid, &count);
    return count == 0;
}

/* A killed process is started anew, and a connection that came meanwhile is served by the new one: the socket was
 * never closed. What it had started dies with it. */
static void test_kill(void **state)
{
    struct fixture *f = *state;
    add(f, CHILD_SERVICE, "a", "family", NULL, 0);
    start(f);
    wait_until(f, is_healthy);
    killed_pid = pid_of(f, "a");
    kill((pid_t)killed_pid, SIGKILL);
    int waiting = connect_to(f->processes[0].listen[0]);
    wait_until(f, is_replaced);
    assert_int_equal(ask(waiting), pid_of(f, "a"));
    wait_until(f, killed_family_is_gone);
    stop(f);
}

struct answer {
    bool came;
    int status;
} answer;

static void on_answer(void *arg, enum ficus_err err, int status, struct slice body)
{
    answer = (struct answer){.came = true, .status = err == FICUS_ERR_OK ? status : -(int)err};
}

static bool is_answered(struct fixture *f)
{
    return answer.came;
}

static int call(struct fixture *f, const char *method, const char *target)
{
    struct ops_call c = {.env = f->e,
                         .address = arena_printf(&f->a, "unix:%s/supervisor.sock", f->state.sockets),
                         .method = method,
                         .target = target,
                         .done = on_answer};
    answer.came = false;
    assert_int_equal(ops_call_start(&c), FICUS_ERR_OK);
    wait_until(f, is_answered);
    return answer.status;
}

/* Operators look, restart and stop by the socket; a planned restart loses no connection. */
static void test_api(void **state)
{
    struct fixture *f = *state;
    add(f, CHILD_SERVICE, "a", "serve", NULL, 0);
    start(f);
    wait_until(f, is_healthy);
    killed_pid = pid_of(f, "a");
    assert_int_equal(call(f, "GET", "/v1/status"), 200);
    assert_int_equal(call(f, "POST", "/v1/restart/nobody"), 404);
    assert_int_equal(call(f, "GET", "/v1/restart/a"), 404);
    assert_int_equal(call(f, "POST", "/v1/restart/a"), 202);
    int waiting = connect_to(f->processes[0].listen[0]);
    wait_until(f, is_replaced);
    assert_true(ask(waiting) > 0);
    assert_int_equal(call(f, "POST", "/v1/down"), 202);
    wait_until(f, is_stopped);
}

static size_t records_alive(struct fixture *f)
{
    struct children c;
    size_t count = 0;
    assert_int_equal(children_read(f->e, &f->a, f->state.children_file, &c, NULL), FICUS_ERR_OK);
    for (size_t i = 0; i < c.count; i++)
        count += c.records[i].pid > 0;
    return count;
}

static bool gateway_is_replaced(struct fixture *f)
{
    assert_true(supervisor_healthy(f->supervisor)); /* there is no moment without one */
    return pid_of(f, "gateway") > 0 && pid_of(f, "gateway") != killed_pid && records_alive(f) == 1;
}

static bool gateway_has_two(struct fixture *f)
{
    return records_alive(f) == 2;
}

static bool gateway_has_one(struct fixture *f)
{
    return records_alive(f) == 1;
}

/* The gateway is replaced by one that has become ready beside it; the record has both meanwhile, so that none is left
 * behind. A second restart waits for the end of the first one's old process. */
static void test_replace(void **state)
{
    struct fixture *f = *state;
    add(f, CHILD_GATEWAY, "gateway", "serve", NULL, 0);
    start(f);
    wait_until(f, is_healthy);
    for (int i = 0; i < 3; i++) {
        killed_pid = pid_of(f, "gateway");
        assert_int_equal(call(f, "POST", "/v1/restart/gateway"), 202);
        assert_int_equal(call(f, "POST", "/v1/restart/gateway"), 202);
        wait_until(f, gateway_is_replaced);
    }
    stop(f);
    assert_int_equal(records_alive(f), 0);
}

/* One that does not become ready takes nobody's place: the old one goes on when it dies, and a stop ends both. */
static void test_replace_fails(void **state)
{
    struct fixture *f = *state;
    add(f, CHILD_GATEWAY, "gateway", "once", NULL, 0);
    start(f);
    wait_until(f, is_healthy);
    int64_t old = pid_of(f, "gateway");
    struct children c;
    assert_int_equal(call(f, "POST", "/v1/restart/gateway"), 202);
    wait_until(f, gateway_has_two);
    assert_int_equal(children_read(f->e, &f->a, f->state.children_file, &c, NULL), FICUS_ERR_OK);
    assert_int_equal(c.records[0].pid, old);
    kill((pid_t)c.records[1].pid, SIGKILL);
    wait_until(f, gateway_has_one);
    assert_int_equal(pid_of(f, "gateway"), old);
    assert_true(supervisor_healthy(f->supervisor));
    assert_int_equal(call(f, "POST", "/v1/restart/gateway"), 202);
    wait_until(f, gateway_has_two);
    stop(f);
    assert_int_equal(records_alive(f), 0);
}

static bool has_state(struct fixture *f, const char *state)
{
    struct buf text;
    struct json *root;
    buf_init(&text, 65536);
    supervisor_status(f->supervisor, &text);
    assert_int_equal(json_parse(&f->a, buf_slice(&text), NULL, &root, NULL), FICUS_ERR_OK);
    const struct json *a = json_at(json_get(json_at(json_get(root, "services"), 0), "instances"), 0);
    bool same = slice_eq_str(json_string_or(json_get(a, "state"), SLICE_NONE), state);
    buf_done(&text);
    return same;
}

static bool a_is_stopped(struct fixture *f)
{
    return has_state(f, "stopped");
}

/* One that operators stop, also at once, stays away while the others run, until they start it; connections wait for
 * it. Starting one that runs changes nothing, and a restart starts as well. */
static void test_hold(void **state)
{
    struct fixture *f = *state;
    add(f, CHILD_SERVICE, "a", "stubborn", NULL, 0);
    add(f, CHILD_SERVICE, "b", "serve", NULL, 0);
    start(f);
    wait_until(f, is_healthy);
    killed_pid = pid_of(f, "a");
    assert_int_equal(call(f, "POST", "/v1/start/a"), 202);
    assert_int_equal(call(f, "POST", "/v1/stop/nobody"), 404);
    assert_true(has_state(f, "running"));
    assert_int_equal(call(f, "POST", "/v1/kill/a"), 202); /* it would not end by itself */
    wait_until(f, a_is_stopped);
    assert_int_equal(kill((pid_t)killed_pid, 0), -1);
    assert_int_equal(ask(connect_to(f->processes[1].listen[0])), pid_of(f, "b"));
    assert_true(has_state(f, "stopped"));
    assert_int_equal(call(f, "POST", "/v1/start/a"), 202);
    wait_until(f, is_replaced);

    killed_pid = pid_of(f, "a");
    assert_int_equal(call(f, "POST", "/v1/kill/a"), 202);
    wait_until(f, a_is_stopped);
    assert_int_equal(call(f, "POST", "/v1/restart/a"), 202);
    wait_until(f, is_replaced);
    assert_int_equal(call(f, "POST", "/v1/kill/a"), 202);
    stop(f);
    assert_int_equal(supervisor_order(f->supervisor, SLICE("b"), SUPERVISOR_START), FICUS_ERR_CONFLICT);
}

static bool has_failed_thrice(struct fixture *f)
{
    struct buf text;
    struct json *root;
    buf_init(&text, 65536);
    supervisor_status(f->supervisor, &text);
    assert_int_equal(json_parse(&f->a, buf_slice(&text), NULL, &root, NULL), FICUS_ERR_OK);
    int64_t restarts = json_i64_or(
        json_get(json_at(json_get(json_at(json_get(root, "services"), 0), "instances"), 0), "restarts"), 0);
    buf_done(&text);
    return restarts >= 3;
}

/* A command that cannot run, or that ends at once, keeps being tried and does not keep others from running; the log
 * says why, and the status how it ended. */
static void test_failing(void **state)
{
    struct fixture *f = *state;
    add(f, CHILD_SERVICE, "a", "fail", NULL, 0);
    add(f, CHILD_SERVICE, "b", "serve", NULL, 0);
    f->processes[0].file = "/nonexistent/command";
    start(f);
    assert_int_equal(ask(connect_to(f->processes[1].listen[0])), pid_of(f, "b"));
    wait_until(f, has_failed_thrice);
    struct slice log;
    assert_int_equal(env_file_load(f->e, &f->a, arena_printf(&f->a, "%s/a.1.log", f->state.log), 4096, &log, NULL),
                     FICUS_ERR_OK);
    assert_non_null(strstr(log.p, "cannot run /nonexistent/command: No such file"));
    struct buf status;
    buf_init(&status, 65536);
    supervisor_status(f->supervisor, &status);
    assert_non_null(strstr(buf_str(&status), "\"message\":\"ended with status 127; ficus logs a shows what it said\""));
    buf_done(&status);
    stop(f);
}

/* What a newer ficus wrote down may still run, in a way that we do not know: nothing is started beside it. */
static void test_newer_record(void **state)
{
    struct fixture *f = *state;
    struct ficus_error error = {0};
    add(f, CHILD_SERVICE, "a", "serve", NULL, 0);
    assert_int_equal(env_file_store(f->e, f->state.children_file, SLICE("{\"version\":9}"), NULL), FICUS_ERR_OK);
    struct supervisor_options o = {.plan = &f->plan, .on_healthy = on_healthy, .on_stopped = on_stopped, .arg = f};
    assert_int_equal(supervisor_new(f->e, &o, &f->supervisor, &error), FICUS_ERR_VERSION);
    f->supervisor = NULL;
    assert_non_null(strstr(error.text, "use the newer one"));
}

/* What a process said of itself before it ended stands in the status, without what a terminal would obey. */
static void test_last_words(void **state)
{
    struct fixture *f = *state;
    struct buf text;
    add(f, CHILD_SERVICE, "a", "fail", NULL, 0);
    start(f);
    wait_until(f, has_failed_thrice);
    buf_init(&text, 65536);
    supervisor_status(f->supervisor, &text);
    assert_non_null(strstr(buf_str(&text), "\"message\":\"cannot? start\""));
    buf_done(&text);
    stop(f);
}

/* A process that ignores SIGTERM is killed: at once when stop is asked for a second time. */
static void test_stubborn(void **state)
{
    struct fixture *f = *state;
    add(f, CHILD_SERVICE, "a", "stubborn", NULL, 0);
    start(f);
    wait_until(f, is_healthy);
    supervisor_stop(f->supervisor);
    supervisor_stop(f->supervisor);
    wait_until(f, is_stopped);
}

/* A supervisor that is killed takes its children with it; what those had started is ended by the next supervisor,
 * which then starts cleanly. */
static void test_supervisor_killed(void **state)
{
    struct fixture *f = *state;
    add(f, CHILD_SERVICE, "a", "family", NULL, 0);
    int ready[2];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* when the test fails, nothing stays */
        env_uv_free(f->e);
        f->e = env_uv_new(NULL, NULL);
        start(f);
        wait_until(f, is_healthy);
        (void)!write(ready[1], "y", 1);
        env_uv_run(f->e);
        _exit(0);
    }
    char b;
    assert_int_equal(read(ready[0], &b, 1), 1);
    int64_t leader = pid_of(f, "a");
    unsigned count;
    count_family(leader, &count);
    assert_int_equal(count, 2);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    start(f); /* ends the orphan, waits for it, and starts its own */
    count_family(leader, &count);
    assert_int_equal(count, 0);
    wait_until(f, is_healthy);
    assert_int_not_equal(pid_of(f, "a"), leader);
    close(ready[0]), close(ready[1]);
    stop(f);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "child") == 0)
        return mode_main(argv[2]);
    char path[512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n < 0)
        return 1;
    path[n] = '\0';
    program = path;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kill, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_api, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_newer_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_last_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stubborn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_supervisor_killed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
