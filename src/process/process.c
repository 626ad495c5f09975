/* SPDX-License-Identifier: Apache-2.0
 *
 * What all processes of a system have alike. Failure modes: an unreadable key or an edge that cannot be declared fails
 * process_init, which then has released what it made; afterwards nothing here can fail but by answering less (a scrape
 * that does not fit its buffer is a 500).
 */
#include "process.h"

#include "assert.h"
#include "mem.h"
#include "text.h"
#include "uuid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    KEY_FILE_SIZE_MAX = 256,
    METRICS_SIZE_MAX = 4 * 1024 * 1024,
    CORRELATION_SIZE_MAX = 128,
};

static enum ficus_err load_key(struct env *e, const char *path, struct system_key **ret_key, struct ficus_error *reterr)
{
    struct arena a;
    arena_init(&a, 64 * 1024);
    struct slice text = SLICE_NONE;
    enum ficus_err err = env_file_load(e, &a, path, KEY_FILE_SIZE_MAX, &text, reterr);
    if (err == FICUS_ERR_OK) {
        err = text.size == SYSTEM_KEY_SIZE ? system_key_from_bytes(text, ret_key, reterr)
                                           : system_key_from_hex(text, ret_key, reterr);
        char *secret = NULL;
        memcpy(&secret, &text.p,
               sizeof secret); /* our own copy of the key, in our own arena: the const is only the slice's */
        mem_wipe(secret, text.size);
    }
    arena_done(&a);
    return err == FICUS_ERR_OK ? err : err_wrap(reterr, "system key %s", path);
}

static void on_resolved(void *arg)
{
    struct process *p = arg;
    if (p->on_endpoints != NULL)
        p->on_endpoints(p->endpoints_arg);
}

static void on_addresses(void *arg, const char *callee, const char *const *addresses, size_t address_count)
{
    struct process *p = arg;
    if (p->on_addresses != NULL)
        p->on_addresses(p->endpoints_arg, callee, addresses, address_count);
}

static enum ficus_err declare_edges(struct process *p, const struct process_config *config, struct ficus_error *reterr)
{
    for (size_t i = 0; i < config->edge_count; i++) {
        enum ficus_err err = call_engine_edge(p->calls, config->edges[i].callee, &config->edges[i].policy, reterr);
        if (err != FICUS_ERR_OK)
            return err_wrap(reterr, "edge to %s", config->edges[i].callee);
    }
    return FICUS_ERR_OK;
}

/* shared: what is known of the edges; NULL: there is no other engine. */
static enum ficus_err make_engine(struct process *p, struct call_shared *shared, struct ficus_error *reterr)
{
    struct call_engine_options options = {.self = p->config->process, .key = p->key, .metrics = p->metrics,
                                          .shared = shared, .conns_max = PROCESS_CONNS_MAX};
    enum ficus_err err = call_engine_new(p->env, &options, &p->calls);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "call engine");
    return declare_edges(p, p->config, reterr);
}

static enum ficus_err make_resolver(struct process *p, struct ficus_error *reterr)
{
    if (p->config->hub[0] == '\0')
        return FICUS_ERR_OK;
    call_engine_endpoints(p->calls, "hub", &p->config->hub, 1);
    struct resolve_hub_options resolve = {
        .engine = p->calls,
        .snapshot_path = p->config->snapshot_file[0] == '\0' ? NULL : p->config->snapshot_file,
        .on_change = on_resolved,
        .on_addresses = on_addresses,
        .arg = p,
    };
    enum ficus_err err = resolve_hub_new(p->env, &resolve, &p->resolver);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "resolver");
}

static enum ficus_err level_of(const struct process_config *config, enum log_level *ret_level,
                               struct ficus_error *reterr)
{
    if (log_level_parse(slice_str(config->log_level), ret_level))
        return FICUS_ERR_OK;
    return err_set(reterr, FICUS_ERR_INVALID, "log_level \"%s\": debug, info, warn or error", config->log_level);
}

/* Key and logger. On failure nothing is there. */
static enum ficus_err begin(struct process *p, struct ficus_error *reterr)
{
    const struct process_config *config = p->config;
    enum log_level level;
    enum ficus_err err = level_of(config, &level, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    (void)snprintf(p->instance, sizeof p->instance, "%" PRId64, config->instance);
    logger_init(&p->log, p->env, config->process, p->instance, level);
    err = load_key(p->env, config->key_file, &p->key, reterr);
    if (err != FICUS_ERR_OK)
        logger_done(&p->log);
    return err;
}

enum ficus_err process_init(struct process *p, struct env *e, const struct process_config *config,
                            struct ficus_error *reterr)
{
    *p = (struct process){.env = e, .config = config};
    enum ficus_err err = begin(p, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    p->metrics = metrics_new();
    if (p->metrics == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "metrics");
    if (err == FICUS_ERR_OK)
        err = make_engine(p, NULL, reterr);
    if (err == FICUS_ERR_OK)
        err = make_resolver(p, reterr);
    if (err != FICUS_ERR_OK)
        process_close(p, NULL, NULL);
    return err;
}

enum ficus_err process_init_beside(struct process *p, struct env *e, const struct process *first,
                                   struct metrics *metrics, struct ficus_error *reterr)
{
    *p = (struct process){.env = e, .config = first->config, .metrics = metrics, .beside = true};
    enum ficus_err err = begin(p, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = make_engine(p, call_engine_shared(first->calls), reterr);
    if (err == FICUS_ERR_OK && call_engine_endpoints_copy(first->calls, p->calls) != FICUS_ERR_OK)
        err = err_set(reterr, FICUS_ERR_NOMEM, "addresses");
    return err;
}

/* As far as it can be: an edge by TLS reads its files anew, and one that fails stays what it has become. */
static void restore_edges(struct process *p)
{
    for (size_t i = 0; i < p->config->edge_count; i++)
        (void)call_engine_edge(p->calls, p->config->edges[i].callee, &p->config->edges[i].policy, NULL);
}

enum ficus_err process_reload(struct process *p, const struct process_config *config, struct ficus_error *reterr)
{
    enum log_level level;
    enum ficus_err err = level_of(config, &level, reterr);
    if (err == FICUS_ERR_OK)
        err = declare_edges(p, config, reterr);
    if (err != FICUS_ERR_OK) {
        restore_edges(p);
        return err;
    }
    p->log.level_min = level;
    p->config = config;
    return FICUS_ERR_OK;
}

static void free_rest(struct process *p)
{
    if (!p->beside)
        metrics_free(p->metrics);
    p->metrics = NULL;
    system_key_free(p->key);
    p->key = NULL;
    logger_done(&p->log);
    if (p->closed != NULL)
        p->closed(p->closed_arg);
}

static void on_engine_closed(void *arg)
{
    free_rest(arg);
}

static void close_engine(struct process *p)
{
    struct call_engine *calls = p->calls;
    p->calls = NULL;
    if (calls != NULL)
        call_engine_close(calls, on_engine_closed, p);
    else
        free_rest(p);
}

static void on_resolver_closed(void *arg)
{
    close_engine(arg);
}

void process_close(struct process *p, void (*closed)(void *arg), void *arg)
{
    p->closed = closed;
    p->closed_arg = arg;
    struct resolve_hub *resolver = p->resolver;
    p->resolver = NULL;
    if (resolver != NULL)
        resolve_hub_close(resolver, on_resolver_closed, p);
    else
        close_engine(p);
}

/* A scrape may be larger than what a stream takes at once. It steps between the stream and its handler until the end.
 */
struct scrape {
    const struct http_handler *handler_before;
    void *arg_before;
    struct buf text;
    size_t sent;
};

static void scrape_more(void *arg, struct http_stream *s)
{
    struct scrape *c = arg;
    struct slice rest = slice_from(buf_slice(&c->text), c->sent);
    if (rest.size > 0)
        c->sent += http_send(s, rest.p, rest.size, true);
}

static void scrape_free(struct scrape *c)
{
    buf_done(&c->text);
    mem_free(c);
}

static void on_scrape_done(void *arg, struct http_stream *s)
{
    struct scrape *c = arg;
    http_stream_handle(s, c->handler_before, c->arg_before);
    scrape_free(c);
    s->handler->on_done(s->arg, s);
}

static void on_scrape_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct scrape *c = arg;
    http_stream_handle(s, c->handler_before, c->arg_before);
    scrape_free(c);
    s->handler->on_reset(s->arg, s, err, detail);
}

static void on_scrape_data(void *arg, struct http_stream *s, struct slice data, bool end) {}

static void answer_metrics(struct process *p, struct http_stream *s)
{
    static const struct http_handler handler = {
        .on_data = on_scrape_data,
        .on_writable = scrape_more,
        .on_done = on_scrape_done,
        .on_reset = on_scrape_reset,
    };
    struct scrape *c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        (void)http_respond_problem(s, 503, "out_of_memory", "out of memory");
        return;
    }
    buf_init(&c->text, METRICS_SIZE_MAX);
    if (!metrics_render(p->metrics, &c->text)) {
        scrape_free(c);
        (void)http_respond_problem(s, 500, "metrics_too_large", "the metrics do not fit their buffer");
        return;
    }
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = (int64_t)buf_slice(&c->text).size;
    bool fits = http_msg_add(&m, SLICE("content-type"), SLICE("text/plain; version=0.0.4; charset=utf-8")) &&
                http_msg_add(&m, SLICE("cache-control"), SLICE("no-store"));
    if (!fits || http_send_head(s, &m, m.content_length == 0) != FICUS_ERR_OK) {
        scrape_free(c);
        http_reset(s, FICUS_ERR_NOMEM);
        s->handler->on_reset(s->arg, s, FICUS_ERR_NOMEM, "out of memory");
        return;
    }
    c->handler_before = s->handler;
    c->arg_before = s->arg;
    http_stream_handle(s, &handler, c);
    scrape_more(c, s);
}

bool process_answer(struct process *p, struct http_stream *s, bool ready)
{
    static const struct http_field fields[] = {{SLICE("cache-control"), SLICE("no-store")}};
    static const struct http_field allow[] = {{SLICE("allow"), SLICE("GET, HEAD")}};
    struct slice path = s->head_in->path;
    bool is_metrics = slice_eq(path, SLICE("/metrics")), is_health = slice_eq(path, SLICE("/health"));
    if (!is_metrics && !is_health && !slice_eq(path, SLICE("/alive")))
        return false;
    struct slice method = s->head_in->method;
    if (!slice_eq(method, SLICE("GET")) && !slice_eq(method, SLICE("HEAD")))
        (void)http_respond(s, 405, allow, 1, NULL, SLICE(""));
    else if (is_metrics)
        answer_metrics(p, s);
    else if (!is_health)
        (void)http_respond(s, 200, fields, 1, "application/json", SLICE("{\"status\":\"alive\"}\n"));
    else if (ready)
        (void)http_respond(s, 200, fields, 1, "application/json", SLICE("{\"status\":\"ready\"}\n"));
    else
        (void)http_respond(s, 503, fields, 1, "application/json", SLICE("{\"status\":\"not ready\"}\n"));
    return true;
}

bool process_identity(struct process *p, struct http_stream *s, struct identity_claims *ret_claims)
{
    struct ficus_error error = {0};
    enum ficus_err err = FICUS_ERR_UNAUTHENTICATED;
    size_t count = http_msg_count(s->head_in, IDENTITY_HEADER);
    if (count != 1)
        err_set(&error, err, count == 0 ? "no " IDENTITY_HEADER : "more than one " IDENTITY_HEADER);
    else
        err = identity_check(p->key, http_msg_get(s->head_in, IDENTITY_HEADER), slice_str(p->config->process),
                             env_wall_ms(p->env), s->arena, ret_claims, &error);
    if (err == FICUS_ERR_OK)
        return true;
    if (err != FICUS_ERR_UNAUTHENTICATED) {
        LOG(&p->log, LOG_ERROR, NULL, "identity.failed", "an identity could not be checked", LOG_ERR(&error));
        (void)http_respond_problem(s, 503, "unavailable", "the caller's identity could not be checked");
        return false;
    }
    LOG(&p->log, LOG_WARN, NULL, "identity.refused", "a request without a valid identity was refused", LOG_ERR(&error),
        LOG_SLICE("path", s->head_in->path));
    struct buf body;
    buf_init(&body, 4096);
    http_problem_write(&body, 401, "identity", "this request needs a valid Ficus-Identity", s->head_in->path);
    static const struct http_field fields[] = {{SLICE("www-authenticate"), SLICE("Ficus-Identity")}};
    (void)http_respond(s, 401, fields, 1, "application/problem+json", buf_slice(&body));
    buf_done(&body);
    return false;
}

static bool correlation_valid(struct slice text)
{
    return text.size > 0 && text.size <= CORRELATION_SIZE_MAX && text_printable_ascii(text) &&
           slice_find(text, ' ') < 0;
}

static enum ficus_err read_correlation(struct process *p, const struct http_msg *m, struct arena *a,
                                       struct slice *ret_correlation)
{
    struct slice given = http_msg_get(m, "x-request-id");
    if (correlation_valid(given)) {
        *ret_correlation = arena_slice(a, given);
        return ret_correlation->p == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
    }
    char *text = arena_alloc(a, UUID_TEXT_SIZE);
    if (text == NULL)
        return FICUS_ERR_NOMEM;
    uint8_t random[10];
    env_random(p->env, random, sizeof random);
    uuid_v7(env_wall_ms(p->env), random, text);
    *ret_correlation = slice_str(text);
    return FICUS_ERR_OK;
}

enum ficus_err process_context_read(struct process *p, const struct http_msg *m, int64_t timeout_ms_max,
                                    struct arena *a, struct process_context *ret_context)
{
    FICUS_ASSERT(timeout_ms_max > 0);
    struct process_context c = {.tracestate = SLICE_NONE};
    if (http_msg_count(m, TRACE_PARENT_HEADER) == 1 && trace_parse(http_msg_get(m, TRACE_PARENT_HEADER), &c.trace)) {
        struct slice state = http_msg_get(m, TRACE_STATE_HEADER);
        if (state.p != NULL && trace_state_valid(state)) {
            c.tracestate = arena_slice(a, state);
            if (c.tracestate.p == NULL)
                return FICUS_ERR_NOMEM;
        }
    } else {
        uint8_t random[24];
        env_random(p->env, random, sizeof random);
        trace_root(random, true, &c.trace);
    }
    enum ficus_err err = read_correlation(p, m, a, &c.correlation);
    if (err != FICUS_ERR_OK)
        return err;
    uint64_t timeout_ms = (uint64_t)timeout_ms_max, given = 0;
    if (slice_to_u64(http_msg_get(m, "ficus-timeout-ms"), &given) && given < timeout_ms)
        timeout_ms = given;
    c.deadline_ns = env_now_ns(p->env) + (int64_t)timeout_ms * 1000000;
    *ret_context = c;
    return FICUS_ERR_OK;
}

size_t process_files_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024; /* the customary one; cannot fail in truth */
    rlim_t wanted = limit.rlim_max < PROCESS_FILES_MAX ? limit.rlim_max : PROCESS_FILES_MAX;
    if (limit.rlim_cur < wanted) {
        struct rlimit raised = {wanted, limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    return limit.rlim_cur < PROCESS_FILES_MAX ? (size_t)limit.rlim_cur : PROCESS_FILES_MAX;
}

void process_trouble(struct process *p, const struct ficus_error *trouble)
{
    if (trouble->code == FICUS_ERR_OK)
        LOG(&p->log, LOG_INFO, NULL, "store.recovered", "the trouble has passed");
    else
        LOG(&p->log, LOG_ERROR, NULL, "store.trouble", "nothing can be kept at present", LOG_ERR(trouble));
    if (p->on_trouble != NULL)
        p->on_trouble(trouble->code == FICUS_ERR_OK ? "" : trouble->text);
}

void process_notify_status(const char *text)
{
    char state[sizeof "STATUS=" + FICUS_ERROR_TEXT_MAX];
    int n = snprintf(state, sizeof state, "STATUS=%s", text);
    for (int i = 0; i < n && (size_t)i < sizeof state; i++)
        if (state[i] == '\n')
            state[i] = ' '; /* the convention's separator */
    process_notify(state);
}

void process_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    /* Nobody to tell when it fails: the supervisor then sees /health instead. */
    (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&address, size);
    (void)close(fd);
}
