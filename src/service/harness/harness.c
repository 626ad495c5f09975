/* SPDX-License-Identifier: Apache-2.0
 *
 * libficus_test, the test's side: a thread with a loop on which the service and the world around it run, requests over
 * the service's real socket, events by way of the hub of harness_world.c. A restart ends the service without letting
 * anything finish: what was not committed is gone.
 *
 * For tests only: it aborts when something is wrong, waits at most WAIT_S for anything, and has its own blocking client
 * on purpose.
 */
#include "harness.h"

#include "io_env.h"
#include "timefmt.h"
#include "uuid.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_S = 60, ANSWER_MAX = 64 * 1024 * 1024, MIGRATIONS_MAX = 256 };

void harness_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("ficus test: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    abort();
}

/* ---- waiting between the threads ---- */

static void locked(struct ficus_test *t)
{
    (void)pthread_mutex_lock(&t->mutex);
}

static void unlocked(struct ficus_test *t)
{
    (void)pthread_mutex_unlock(&t->mutex);
}

/* With the mutex held. False: not within WAIT_S. */
static bool wait_changed(struct ficus_test *t, const struct timespec *until)
{
    return pthread_cond_timedwait(&t->changed, &t->mutex, until) == 0;
}

static struct timespec patience(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    return until;
}

struct errand {
    struct env_task task;
    struct ficus_test *test;
    void (*fn)(struct ficus_test *t, void *arg);
    void *arg;
    bool done;
};

static void on_errand(void *arg)
{
    struct errand *e = arg;
    struct ficus_test *t = e->test;
    e->fn(t, e->arg);
    locked(t);
    e->done = true;
    (void)pthread_cond_broadcast(&t->changed);
    unlocked(t);
}

/* Have fn run on the loop and wait for its end. */
static void on_loop(struct ficus_test *t, void (*fn)(struct ficus_test *t, void *arg), void *arg)
{
    struct errand e = {.test = t, .fn = fn, .arg = arg};
    e.task.fn = on_errand;
    e.task.arg = &e;
    struct timespec until = patience();
    env_post(t->env, &e.task);
    locked(t);
    while (!e.done)
        if (!wait_changed(t, &until))
            harness_die("the loop does not turn");
    unlocked(t);
}

/* ---- the loop's thread ---- */

static void on_ready(void *arg, enum ficus_err err, const char *detail)
{
    struct ficus_test *t = arg;
    locked(t);
    t->is_up = true;
    t->up_err = err;
    (void)snprintf(t->up_detail, sizeof t->up_detail, "%s", detail);
    (void)pthread_cond_broadcast(&t->changed);
    unlocked(t);
}

static void on_event_handled(void *arg, const struct event *ev, bool processed)
{
    struct ficus_test *t = arg;
    locked(t);
    t->handled_offset = ev->offset;
    t->handled_processed = processed;
    (void)pthread_cond_broadcast(&t->changed);
    unlocked(t);
}

static void on_emitted(void *arg, size_t count)
{
    struct ficus_test *t = arg;
    locked(t);
    t->emitted_total += count;
    unlocked(t);
}

static void *loop_main(void *arg)
{
    struct ficus_test *t = arg;
    struct ficus_error error = {0};
    const struct env_uv_options options = {.workers_count = 32, .jobs_max = 1024};
    t->env = env_uv_new(&options, &error);
    if (t->env == NULL)
        harness_die("no loop: %s", error.text);
    world_open(t);
    const struct service_hooks hooks = {
        .ready = on_ready,
        .event_handled = on_event_handled,
        .emitted = on_emitted,
        .event_backoff_ms_max = 10,
        .arg = t,
    };
    if (service_start(t->env, t->def, &t->config, &hooks, &t->service, &error) != FICUS_ERR_OK)
        harness_die("the service does not start: %s", error.text);
    for (struct world_fake *f = t->fakes; f != NULL; f = f->next)
        world_fake_open(t, f);
    env_uv_run(t->env);
    env_uv_free(t->env);
    t->env = NULL;
    return NULL;
}

static void up(struct ficus_test *t)
{
    t->is_up = false;
    if (pthread_create(&t->thread, NULL, loop_main, t) != 0)
        harness_die("no thread");
    struct timespec until = patience();
    locked(t);
    while (!t->is_up)
        if (!wait_changed(t, &until))
            harness_die("the service is not ready after %d s", WAIT_S);
    unlocked(t);
    if (t->up_err != FICUS_ERR_OK)
        harness_die("the service does not start: %s", t->up_detail);
}

static void on_world_closed(struct ficus_test *t)
{
    env_uv_stop(t->env);
}

static void on_service_closed(void *arg)
{
    struct ficus_test *t = arg;
    t->service = NULL;
    world_close(t, on_world_closed);
}

static void begin_down(struct ficus_test *t, void *arg)
{
    service_close(t->service, on_service_closed, t);
}

static void down(struct ficus_test *t)
{
    on_loop(t, begin_down, NULL);
    if (pthread_join(t->thread, NULL) != 0)
        harness_die("the loop's thread cannot be joined");
}

/* ---- making the configuration ---- */

static const char *text_of(struct ficus_test *t, const char *text)
{
    const char *copy = text == NULL ? NULL : arena_strdup(&t->arena, slice_str(text));
    if (copy == NULL)
        harness_die("out of memory");
    return copy;
}

static const char *path_of(struct ficus_test *t, const char *prefix, const char *name)
{
    const char *path = arena_printf(&t->arena, "%s%s/%s", prefix, t->dir, name);
    if (path == NULL)
        harness_die("out of memory");
    return path;
}

static void make_key(struct ficus_test *t)
{
    uint8_t bytes[SYSTEM_KEY_SIZE];
    struct ficus_error error = {0};
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        harness_die("no random bytes");
    if (system_key_from_bytes(slice_make(bytes, sizeof bytes), &t->key, &error) != FICUS_ERR_OK)
        harness_die("key: %s", error.text);
    int fd = open(t->config.common.key_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes || close(fd) != 0)
        harness_die("cannot write %s", t->config.common.key_file);
}

static int by_name(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static void list_migrations(struct ficus_test *t, const char *dir)
{
    char absolute[PATH_MAX];
    DIR *d = realpath(dir, absolute) == NULL ? NULL : opendir(absolute);
    if (d == NULL)
        harness_die("cannot read the folder of migrations %s: %s", dir, strerror(errno));
    const char **files = ARENA_ARRAY(&t->arena, const char *, MIGRATIONS_MAX);
    size_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(d)) != NULL) {
        if (!slice_ends(slice_str(entry->d_name), SLICE(".sql")))
            continue;
        if (files == NULL || count == MIGRATIONS_MAX)
            harness_die("too many migrations in %s", dir);
        files[count++] = arena_printf(&t->arena, "%s/%s", absolute, entry->d_name);
    }
    (void)closedir(d);
    qsort(files, count, sizeof *files, by_name);
    t->config.migrations = files;
    t->config.migration_count = count;
}

static void take_settings(struct ficus_test *t, const char *const *settings)
{
    size_t count = 0;
    while (settings != NULL && settings[2 * count] != NULL)
        count++;
    t->config.settings = ARENA_ARRAY(&t->arena, struct service_setting, count + 1);
    for (size_t i = 0; i < count; i++)
        t->config.settings[i] = (struct service_setting){text_of(t, settings[2 * i]), text_of(t, settings[2 * i + 1])};
    t->config.setting_count = count;
}

static const char *const *one_text(struct ficus_test *t, const char *text)
{
    const char **list = ARENA_ARRAY(&t->arena, const char *, 1);
    if (list == NULL)
        harness_die("out of memory");
    list[0] = text;
    return list;
}

static void take_topics(struct ficus_test *t)
{
    size_t count = 0;
    while (t->def->events != NULL && t->def->events[count].topic != NULL)
        count++;
    const char **topics = ARENA_ARRAY(&t->arena, const char *, count + 1);
    for (size_t i = 0; i < count; i++)
        topics[i] = t->def->events[i].topic;
    t->config.consumes = topics;
    t->config.consume_count = count;
}

static void make_config(struct ficus_test *t)
{
    struct service_config *c = &t->config;
    conf_defaults(&service_config_table, c);
    const char *level = getenv("FICUS_TEST_LOG");
    c->common.version = PROCESS_CONFIG_VERSION;
    c->common.system = "test";
    c->common.process = t->def->name;
    c->common.state = t->dir;
    c->common.key_file = path_of(t, "", "system.key");
    c->common.log_level = level == NULL ? "error" : text_of(t, level);
    c->common.hub = path_of(t, "unix:", "hub.sock");
    c->common.snapshot_file = path_of(t, "", "endpoints.json");
    c->common.edges = ARENA_ARRAY(&t->arena, struct process_edge, 1);
    if (c->common.edges == NULL)
        harness_die("out of memory");
    c->common.edges[0] = (struct process_edge){.callee = "hub", .policy = call_policy_default()};
    c->common.edge_count = 1;
    c->listen = one_text(t, path_of(t, "unix:", "service.sock"));
    c->listen_count = 1;
    c->store = path_of(t, "", "service.db");
    c->private_dir = path_of(t, "", "private");
    c->callers = one_text(t, "*");
    c->publishes = c->sagas = c->callers;
    c->caller_count = c->publish_count = c->saga_count = 1;
    if (mkdir(c->private_dir, 0700) != 0)
        harness_die("cannot make %s", c->private_dir);
    take_topics(t);
}

struct ficus_test *ficus_test_start(const struct ficus_service *service, const char *migrations_dir,
                                    const char *const *settings)
{
    struct ficus_test *t = mem_zalloc(sizeof *t);
    if (t == NULL)
        harness_die("out of memory");
    t->def = service;
    arena_init(&t->arena, 256 * 1024 * 1024);
    arena_init(&t->world_arena, 256 * 1024 * 1024);
    (void)pthread_mutex_init(&t->mutex, NULL);
    (void)pthread_cond_init(&t->changed, NULL);
    (void)snprintf(t->dir, sizeof t->dir, "/tmp/ficus-test-XXXXXX");
    if (mkdtemp(t->dir) == NULL)
        harness_die("no temporary folder: %s", strerror(errno));
    make_config(t);
    make_key(t);
    if (migrations_dir != NULL)
        list_migrations(t, migrations_dir);
    take_settings(t, settings);
    up(t);
    return t;
}

static void open_fake(struct ficus_test *t, void *arg)
{
    struct world_fake *f = arg;
    f->next = t->fakes;
    t->fakes = f;
    world_fake_open(t, f);
}

void ficus_test_fake_service(struct ficus_test *t, const char *name, ficus_test_fake fake, void *arg)
{
    struct world_fake *f = mem_zalloc(sizeof *f);
    if (f == NULL || (f->name = mem_strdup(name)) == NULL)
        harness_die("out of memory");
    f->test = t;
    f->fn = fake;
    f->arg = arg;
    (void)snprintf(f->address, sizeof f->address, "unix:%s/%s.fake", t->dir, name);
    on_loop(t, open_fake, f);
}

void ficus_test_restart(struct ficus_test *t)
{
    down(t);
    up(t);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void ficus_test_stop(struct ficus_test *t)
{
    if (t == NULL)
        return;
    down(t);
    (void)nftw(t->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    world_free(t);
    system_key_free(t->key);
    for (size_t i = 0; i < HARNESS_ANSWERS_KEPT; i++)
        mem_free(t->answers[i]);
    arena_done(&t->arena);
    (void)pthread_cond_destroy(&t->changed);
    (void)pthread_mutex_destroy(&t->mutex);
    mem_free(t);
}

/* ---- requests ---- */

static void write_head(struct ficus_test *t, const struct ficus_test_request *r, struct buf *out)
{
    struct arena a;
    arena_init(&a, 64 * 1024);
    struct slice role = slice_str(r->role), token = SLICE_NONE;
    struct identity_claims claims = {
        .issuer = slice_str(r->caller == NULL ? "gateway" : r->caller),
        .audience = slice_str(t->def->name),
        .subject = slice_str(r->user),
        .roles = &role,
        .role_count = r->role == NULL ? 0 : 1,
    };
    struct ficus_error error = {0};
    if (identity_make(t->key, &a, &claims, env_wall_ms(t->env), &token, &error) != FICUS_ERR_OK)
        harness_die("identity: %s", error.text);
    (void)buf_printf(out, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\nFicus-Identity: " SLICE_FMT "\r\n",
                     r->method, r->path, SLICE_ARG(token));
    if (r->key != NULL)
        (void)buf_printf(out, "Idempotency-Key: %s\r\n", r->key);
    if (r->timeout_ms > 0)
        (void)buf_printf(out, "Ficus-Timeout-Ms: %d\r\n", r->timeout_ms);
    for (size_t i = 0; r->headers != NULL && r->headers[i] != NULL; i += 2)
        (void)buf_printf(out, "%s: %s\r\n", r->headers[i], r->headers[i + 1]);
    if (r->body != NULL)
        (void)buf_add_str(out, "Content-Type: application/json\r\n");
    if (r->body != NULL || (strcmp(r->method, "GET") != 0 && strcmp(r->method, "DELETE") != 0))
        (void)buf_printf(out, "Content-Length: %zu\r\n", r->body == NULL ? 0 : strlen(r->body));
    (void)buf_add_str(out, "\r\n");
    if (r->body != NULL)
        (void)buf_add_str(out, r->body);
    arena_done(&a);
}

static int open_socket(struct ficus_test *t)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", t->config.listen[0] + strlen("unix:"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = WAIT_S};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        harness_die("cannot connect to the service: %s", strerror(errno));
    return fd;
}

/* The service may answer before it has read all: a failing write is no reason not to look. */
static void exchange_bytes(int fd, struct slice request, struct buf *in)
{
    while (request.size > 0) {
        ssize_t n = send(fd, request.p, request.size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        request = slice_from(request, (size_t)n);
    }
    char piece[16 * 1024];
    for (;;) {
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || !buf_add(in, piece, (size_t)n))
            break;
    }
}

/* Cut the head off text: returns the named header's value or NULL; NUL is put behind it by the caller's copy. */
static const char *header_of(struct ficus_test *t, struct slice head, const char *name)
{
    while (head.size > 0) {
        struct slice line = slice_cut(&head, '\n');
        ptrdiff_t colon = slice_find(line, ':');
        if (colon > 0 && slice_eq_nocase(slice_make(line.p, (size_t)colon), slice_str(name))) {
            struct slice value = slice_from(line, (size_t)colon + 1);
            if (value.size > 0 && value.p[value.size - 1] == '\r')
                value.size--;
            return arena_strdup(&t->arena, slice_trim(value));
        }
        if (head.p == NULL)
            break;
    }
    return NULL;
}

static size_t dechunk(char *body, size_t size)
{
    size_t in = 0, out = 0;
    for (;;) {
        char *end = NULL;
        unsigned long chunk = in < size ? strtoul(body + in, &end, 16) : 0;
        if (chunk == 0 || end == NULL || (size_t)(end - body) + 2 + chunk > size)
            break;
        in = (size_t)(end - body) + 2;
        memmove(body + out, body + in, chunk);
        out += chunk;
        in += chunk + 2;
    }
    body[out] = '\0';
    return out;
}

static struct ficus_test_answer parse_answer(struct ficus_test *t, char *text, size_t size)
{
    struct ficus_test_answer a = {.body = "", .head = ""};
    char *split = size < 12 ? NULL : strstr(text, "\r\n\r\n");
    uint64_t status = 0;
    if (split == NULL || !slice_to_u64(slice_make(text + 9, 3), &status))
        return a;
    struct slice head = slice_make(text, (size_t)(split - text));
    char *body = split + 4;
    const char *encoding = header_of(t, head, "transfer-encoding");
    if (encoding != NULL)
        (void)dechunk(body, size - (size_t)(body - text));
    *split = '\0';
    a.status = (int)status;
    a.body = body;
    a.head = text;
    a.location = header_of(t, head, "location");
    a.content_type = header_of(t, head, "content-type");
    return a;
}

struct ficus_test_answer ficus_test_call(struct ficus_test *t, const struct ficus_test_request *r)
{
    struct buf out, in;
    buf_init(&out, ANSWER_MAX);
    buf_init(&in, ANSWER_MAX);
    write_head(t, r, &out);
    int fd = open_socket(t);
    exchange_bytes(fd, buf_slice(&out), &in);
    (void)close(fd);
    (void)buf_add_char(&in, '\0');
    struct ficus_test_answer a;
    locked(t); /* calls may come from several threads */
    size_t size = buf_slice(&in).size - 1;
    char **place = &t->answers[t->answer_next++ % HARNESS_ANSWERS_KEPT];
    mem_free(*place);
    *place = buf_steal(&in);
    a = parse_answer(t, *place, size);
    unlocked(t);
    buf_done(&out);
    return a;
}

/* ---- events ---- */

static void inject(struct ficus_test *t, void *arg)
{
    struct event *ev = arg;
    struct buf text;
    struct json_writer w;
    buf_init(&text, EVENT_SIZE_MAX);
    json_write_init(&w, &text);
    event_write(&w, ev);
    if (buf_failed(&text))
        harness_die("the event is too large");
    world_append(t, buf_slice(&text), true);
    ev->offset = (int64_t)t->event_count;
    buf_done(&text);
}

int ficus_test_event(struct ficus_test *t, const char *topic, const char *subject, const char *data)
{
    return ficus_test_event_at(t, topic, subject, data, env_wall_ms(t->env));
}

static int deliver(struct ficus_test *t, const char *topic, const char *subject, const char *data, int64_t time_ms, int version)
{
    uint8_t random[10];
    char id[UUID_TEXT_SIZE], time[TIME_TEXT_SIZE];
    env_random(t->env, random, sizeof random);
    uuid_v7(env_wall_ms(t->env), random, id);
    time_format(time_ms, time);
    struct event ev = {
        .id = slice_str(id),
        .source = SLICE("/test"),
        .topic = slice_str(topic),
        .subject = slice_str(subject),
        .time = slice_str(time),
        .data = slice_str(data),
        .schema = version,
    };
    struct timespec until = patience();
    on_loop(t, inject, &ev);
    locked(t);
    while (t->handled_offset != ev.offset)
        if (!wait_changed(t, &until))
            harness_die("the event of topic %s was not handled within %d s", topic, WAIT_S);
    bool processed = t->handled_processed;
    unlocked(t);
    return processed ? 0 : -1;
}

int ficus_test_event_at(struct ficus_test *t, const char *topic, const char *subject, const char *data,
                        int64_t time_ms)
{
    return deliver(t, topic, subject, data, time_ms, 0);
}

int ficus_test_event_of(struct ficus_test *t, const char *topic, int version, const char *subject, const char *data)
{
    return deliver(t, topic, subject, data, env_wall_ms(t->env), version);
}

void ficus_test_schema(struct ficus_test *t, const char *topic, int version, const char *schema)
{
    struct service_config *c = &t->config;
    size_t i = 0;
    while (i < c->schema_count && strcmp(c->schemas[i].topic, topic) != 0)
        i++;
    if (i == c->schema_count) {
        struct service_schema *more = ARENA_ARRAY(&t->arena, struct service_schema, c->schema_count + 1);
        if (more == NULL)
            harness_die("out of memory");
        for (size_t k = 0; k < c->schema_count; k++)
            more[k] = c->schemas[k];
        c->schemas = more;
        c->schema_count++;
    }
    c->schemas[i] = (struct service_schema){.topic = text_of(t, topic), .version = version, .text = text_of(t, schema == NULL ? "" : schema)};
    ficus_test_restart(t);
}

size_t ficus_test_emitted_count(struct ficus_test *t)
{
    struct timespec until = patience();
    locked(t);
    while (t->published_count < t->emitted_total)
        if (!wait_changed(t, &until))
            harness_die("%zu events were committed, only %zu published within %d s", t->emitted_total,
                        t->published_count, WAIT_S);
    size_t count = t->published_count;
    unlocked(t);
    return count;
}

const char *ficus_test_emitted(struct ficus_test *t, size_t index)
{
    const char *json = NULL;
    (void)ficus_test_emitted_count(t);
    locked(t);
    for (size_t i = 0; i < t->event_count && json == NULL; i++)
        if (!t->events[i].is_injected && index-- == 0)
            json = t->events[i].json;
    unlocked(t);
    return json;
}
