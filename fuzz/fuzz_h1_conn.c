/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole connection of HTTP/1.1 through the gateway, over a network in memory with odd read and write sizes: any bytes of
 * a client on one side, on the other a service that judges what it gets, by rules of its own that share no code with the
 * codec. Nothing ambiguous is ever forwarded:
 *
 *   - each message has exactly one reading: lines end in CR LF, one Host, at most one of Content-Length (a decimal number)
 *     and Transfer-Encoding (chunked, alone), no blanks around names, no control characters;
 *   - behind its end there is nothing until the service has answered, so no part of a body can be a second request;
 *   - nothing in it, trailers too, is the client's that only the gateway may say, or that concerns one connection alone.
 *
 * The same bytes run twice, whole and in odd pieces, and the service must have got the same messages. Byte 0 chooses sizes
 * and how the service answers; byte 1 says how much of the rest (in 1/256) are the client's bytes. What is left are the
 * bytes of a service that answers garbage, and then the client must get answers or an end.
 */
#include "../tests/unit/http/fake_net.h"
#include "map.h"
#include "proxy_private.h"
#include "websocket.h"

#include <stdio.h>

enum { SEEN_MAX = 1 << 20, ODD = 1, BYTEWISE = 2, GARBAGE = 4, TUNNEL = 8, ENDS = 16 };

struct run;

/* A connection of the gateway to the service. */
struct service {
    struct run *run;
    struct env_stream *stream; /* NULL: closed */
    struct buf seen;
    bool reading, tunnel, answered_garbage, complete;
    bool writing;
    char in[4096], out[512];
};

struct run {
    struct fake_net net; /* first */
    struct proxy *proxy;
    bool stopped;
    uint8_t mode;
    const char *garbage;
    size_t garbage_size;
    uint64_t log;
    struct service services[16];
    size_t service_count;
};

/* ---- the judge ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_tchar(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_name(const char *p, size_t size, const char *name)
{
    if (size != strlen(name))
        return false;
    for (size_t i = 0; i < size; i++)
        if ((p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]) != name[i])
            return false;
    return true;
}

static bool is_any(const char *p, size_t size, const char *const *names)
{
    for (; *names != NULL; names++)
        if (is_name(p, size, *names))
            return true;
    return false;
}

struct verdict {
    unsigned hosts, lengths, codings, identities, upgrades, upgrade_options;
    size_t length;
    char key[WEBSOCKET_KEY_SIZE];
};

/* Size of a line at p without its CR LF; -1: not all there. */
static ptrdiff_t line_size(const char *p, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        FICUS_ASSERT(p[i] != '\n');
        if (p[i] != '\r')
            continue;
        if (i + 1 == size)
            return -1;
        FICUS_ASSERT(p[i + 1] == '\n');
        return (ptrdiff_t)i;
    }
    return -1;
}

static void judge_value(struct verdict *v, const char *name, size_t name_size, const char *p, size_t size)
{
    if (is_name(name, name_size, "host"))
        v->hosts++;
    if (is_name(name, name_size, "ficus-identity"))
        v->identities++;
    if (is_name(name, name_size, "content-length")) {
        v->lengths++;
        FICUS_ASSERT(size > 0 && size < 16);
        for (size_t i = 0; i < size; i++) {
            FICUS_ASSERT(is_digit(p[i]));
            v->length = v->length * 10 + (size_t)(p[i] - '0');
        }
    }
    if (is_name(name, name_size, "transfer-encoding")) {
        v->codings++;
        FICUS_ASSERT(size == 7 && memcmp(p, "chunked", 7) == 0);
    }
    if (is_name(name, name_size, "connection")) {
        FICUS_ASSERT(is_name(p, size, "te") || is_name(p, size, "upgrade"));
        v->upgrade_options += is_name(p, size, "upgrade");
    }
    if (is_name(name, name_size, "upgrade")) {
        FICUS_ASSERT(is_name(p, size, "websocket"));
        v->upgrades++;
    }
    if (is_name(name, name_size, "te"))
        FICUS_ASSERT(size == 8 && memcmp(p, "trailers", 8) == 0);
    if (is_name(name, name_size, "via"))
        FICUS_ASSERT(size > 0);
    if (is_name(name, name_size, "sec-websocket-key") && size == WEBSOCKET_KEY_SIZE - 1)
        memcpy(v->key, p, size);
}

static void judge_field(struct verdict *v, const char *p, size_t size, bool trailer)
{
    static const char *const never[] = {"expect", "keep-alive", "proxy-connection", "http2-settings", "authorization", "cookie",
                                        "proxy-authorization", "forwarded", "x-real-ip", "x-original-url", NULL};
    static const char *const not_in_trailers[] = {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te",
                                                  "trailer", "content-type", "content-encoding", "ficus-identity", "ficus-path",
                                                  "x-forwarded-for", "x-request-id", "traceparent", NULL};
    size_t name = 0;
    while (name < size && is_tchar(p[name]))
        name++;
    FICUS_ASSERT(name > 0 && name + 1 < size + 1 && p[name] == ':');
    FICUS_ASSERT(!is_any(p, name, never));
    FICUS_ASSERT(!trailer || !is_any(p, name, not_in_trailers));
    const char *value = p + name + 1;
    size_t value_size = size - name - 1;
    FICUS_ASSERT(value_size > 0 && value[0] == ' ');
    value++;
    value_size--;
    for (size_t i = 0; i < value_size; i++)
        FICUS_ASSERT((uint8_t)value[i] >= 0x20 ? value[i] != 0x7f : value[i] == '\t');
    FICUS_ASSERT(value_size == 0 || (value[0] != ' ' && value[0] != '\t' && value[value_size - 1] != ' ' && value[value_size - 1] != '\t'));
    judge_value(v, p, name, value, value_size);
}

static void judge_line(const char *p, size_t size)
{
    size_t at = 0, spaces = 0;
    while (at < size && is_tchar(p[at]))
        at++;
    FICUS_ASSERT(at > 0 && at + 2 < size && p[at] == ' ' && (p[at + 1] == '/' || p[at + 1] == '*'));
    FICUS_ASSERT(size > 9 && memcmp(p + size - 9, " HTTP/1.1", 9) == 0);
    for (size_t i = 0; i < size; i++) {
        FICUS_ASSERT((uint8_t)p[i] >= 0x20 && (uint8_t)p[i] < 0x7f && p[i] != '#');
        spaces += p[i] == ' ';
    }
    FICUS_ASSERT(spaces == 2);
}

/* Field lines and the empty one. Their size; -1: not all there. */
static ptrdiff_t judge_fields(struct verdict *v, const char *p, size_t size, bool trailers)
{
    size_t at = 0;
    for (;;) {
        ptrdiff_t line = line_size(p + at, size - at);
        if (line < 0)
            return -1;
        if (line > 0)
            judge_field(v, p + at, (size_t)line, trailers);
        at += (size_t)line + 2;
        if (line == 0)
            return (ptrdiff_t)at;
    }
}

/* Size of a chunked body, which adds its data to body; -1: not all there. */
static ptrdiff_t judge_chunks(const char *p, size_t size, struct buf *body)
{
    size_t at = 0;
    for (;;) {
        ptrdiff_t line = line_size(p + at, size - at);
        if (line < 0)
            return -1;
        FICUS_ASSERT(line > 0 && line <= 8);
        size_t chunk = 0;
        for (ptrdiff_t i = 0; i < line; i++) {
            char c = p[at + (size_t)i];
            FICUS_ASSERT(is_digit(c) || (c >= 'a' && c <= 'f'));
            chunk = chunk * 16 + (size_t)(is_digit(c) ? c - '0' : c - 'a' + 10);
        }
        at += (size_t)line + 2;
        if (chunk == 0)
            break;
        if (size - at < chunk + 2)
            return -1;
        FICUS_ASSERT(buf_add(body, p + at, chunk));
        at += chunk;
        FICUS_ASSERT(p[at] == '\r' && p[at + 1] == '\n');
        at += 2;
    }
    struct verdict none = {0};
    ptrdiff_t trailers = judge_fields(&none, p + at, size - at, true);
    return trailers < 0 ? -1 : (ptrdiff_t)at + trailers;
}

static void note(struct run *r, const void *p, size_t size)
{
    const uint64_t seed[2] = {r->log, size};
    r->log = hash_sip13(seed, p, size);
}

/* A whole message at p: its size, and noted; -1: not all there. */
static ptrdiff_t judge(struct run *r, const char *p, size_t size, struct verdict *v)
{
    ptrdiff_t line = line_size(p, size);
    if (line < 0)
        return -1;
    judge_line(p, (size_t)line);
    size_t at = (size_t)line + 2;
    ptrdiff_t fields = judge_fields(v, p + at, size - at, false), chunks = 0;
    if (fields < 0)
        return -1;
    at += (size_t)fields;
    FICUS_ASSERT(v->hosts == 1 && v->identities == 1 && v->lengths + v->codings <= 1 && v->upgrades <= 1);
    FICUS_ASSERT(v->upgrades == v->upgrade_options && (v->upgrades == 0 || v->codings + v->lengths == 0));
    struct buf body;
    buf_init(&body, SEEN_MAX);
    bool whole = v->lengths == 0 || size - at >= v->length;
    if (v->codings > 0)
        whole = (chunks = judge_chunks(p + at, size - at, &body)) >= 0;
    else if (whole)
        FICUS_ASSERT(v->length == 0 || buf_add(&body, p + at, v->length));
    if (whole) {
        at += v->codings > 0 ? (size_t)chunks : v->length;
        note(r, p, (size_t)line);
        note(r, buf_slice(&body).p == NULL ? "" : buf_slice(&body).p, buf_slice(&body).size);
    }
    buf_done(&body);
    return whole ? (ptrdiff_t)at : -1;
}

/* ---- the service ---- */

static void service_read(struct service *s);

static void service_on_closed(void *arg)
{
    (void)arg;
}

static void service_close(struct service *s)
{
    if (s->stream != NULL)
        fake_close(s->stream, service_on_closed, s);
    s->stream = NULL;
    buf_clear(&s->seen);
}

static void service_on_write(void *arg, ssize_t n)
{
    (void)n;
    ((struct service *)arg)->writing = false;
}

static void service_say(struct service *s, const char *p, size_t size)
{
    struct iovec iov = {(char *)(uintptr_t)p, size};
    if (size > 0 && !s->writing && s->stream->peer != NULL)
        s->writing = fake_write(s->stream, &iov, 1, service_on_write, s) == 0;
}

static void service_answer(struct service *s, const struct verdict *v)
{
    struct run *r = s->run;
    char accept[WEBSOCKET_ACCEPT_SIZE];
    if (v->upgrades > 0 && (r->mode & TUNNEL) != 0 && websocket_accept(slice_make(v->key, WEBSOCKET_KEY_SIZE - 1), accept)) {
        s->tunnel = true;
        int size = snprintf(s->out, sizeof s->out,
                            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                            "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
        service_say(s, s->out, (size_t)size);
    } else if ((r->mode & GARBAGE) != 0) {
        s->answered_garbage = true;
        service_say(s, r->garbage, r->garbage_size);
    } else {
        service_say(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38);
    }
}

static void service_look(struct service *s)
{
    struct verdict v = {0};
    if (s->tunnel || s->answered_garbage)
        return;
    struct slice seen = buf_slice(&s->seen);
    ptrdiff_t size = judge(s->run, seen.p, seen.size, &v);
    s->complete = size >= 0;
    if (size < 0)
        return;
    FICUS_ASSERT((size_t)size == seen.size); /* nothing behind it before the answer */
    service_answer(s, &v);
    buf_clear(&s->seen);
}

static void service_on_read(void *arg, ssize_t n)
{
    struct service *s = arg;
    s->reading = false;
    if (n <= 0) {
        service_close(s);
        return;
    }
    if (!s->tunnel)
        FICUS_ASSERT(buf_add(&s->seen, s->in, (size_t)n));
    service_look(s);
    service_read(s);
}

static void service_read(struct service *s)
{
    if (s->reading || s->stream == NULL)
        return;
    s->reading = true;
    fake_read(s->stream, s->in, sizeof s->in, service_on_read, s);
}

static void service_accept(void *arg, struct env_stream *stream)
{
    struct run *r = arg;
    if (r->service_count == ARRAY_COUNT(r->services)) {
        fake_close(stream, NULL, NULL);
        return;
    }
    struct service *s = &r->services[r->service_count++];
    s->run = r;
    s->stream = stream;
    buf_init(&s->seen, SEEN_MAX);
    service_read(s);
}

/* The hub takes questions and leaves them. */
static void hub_accept(void *arg, struct env_stream *stream)
{
    (void)arg;
    (void)stream;
}

/* ---- the world: one file, the key; nobody hears what is logged ---- */

static const char key_text[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

static enum ficus_err world_open(struct env *e, const char *path, unsigned flags, struct env_file **ret_file, struct ficus_error *reterr)
{
    (void)flags;
    if (strcmp(path, "/key") != 0)
        return err_set(reterr, FICUS_ERR_NOT_FOUND, "%s", path);
    *ret_file = (struct env_file *)(void *)e;
    return FICUS_ERR_OK;
}
static void world_close(struct env_file *f)
{
    (void)f;
}
static ssize_t world_read(struct env_file *f, void *p, size_t size, int64_t offset)
{
    (void)f;
    size_t left = (size_t)offset < sizeof key_text - 1 ? sizeof key_text - 1 - (size_t)offset : 0;
    size_t n = size < left ? size : left;
    memcpy(p, key_text + offset, n);
    return (ssize_t)n;
}
static enum ficus_err world_size(struct env_file *f, int64_t *ret_size)
{
    (void)f;
    *ret_size = sizeof key_text - 1;
    return FICUS_ERR_OK;
}
static void world_log(struct env *e, const void *p, size_t size, bool at_once)
{
    (void)at_once;
    (void)e;
    (void)p;
    (void)size;
}

static void on_stopped(void *arg)
{
    ((struct run *)arg)->stopped = true;
}

static void start(struct run *r, const struct env_ops *ops)
{
    static const char *const listen[] = {"fd:3"}, *const hosts[] = {"a"}, *const addresses[] = {"unix:/orders"};
    static struct process_edge edges[2];
    static struct proxy_route routes[2];
    static struct proxy_config config;
    edges[0] = (struct process_edge){"orders", call_policy_default()};
    edges[1] = (struct process_edge){"hub", call_policy_default()};
    edges[0].policy.retry.attempts = 1;
    edges[0].policy.breaker.enabled = false;
    routes[0] = (struct proxy_route){.method = "", .path = "/**", .service = "orders", .target = "/**", .timeout_ms = 5000,
                                     .body_size_max = 1 << 20, .websocket = true};
    config = (struct proxy_config){
        .common = {.version = 1, .system = "t", .process = "gateway", .instance = 1, .state = "/", .key_file = "/key",
                   .log_level = "error", .hub = "unix:/hub", .snapshot_file = "", .edges = edges, .edge_count = 2},
        .threads = 1, .listen = listen, .listen_count = 1, .admin = "", .hosts = hosts, .host_count = 1, .timeout_ms = 5000,
        .limits = {.head_ms = 2000, .idle_ms = 5000, .body_ms = 2000}, .routes = routes, .route_count = 1};
    struct ficus_error error = {0};
    struct env_listener *listener;
    r->net.env.ops = ops;
    FICUS_ASSERT(fake_listen(&r->net.env, addresses[0], NULL, service_accept, r, &listener, NULL) == FICUS_ERR_OK);
    FICUS_ASSERT(fake_listen(&r->net.env, "unix:/hub", NULL, hub_accept, r, &listener, NULL) == FICUS_ERR_OK);
    if (proxy_start(&r->net.env, &config, NULL, &r->proxy, &error) != FICUS_ERR_OK) {
        fprintf(stderr, "%s\n", error.text);
        FICUS_ASSERT(false);
    }
    FICUS_ASSERT(call_engine_endpoints(r->proxy->process.calls, "orders", addresses, 1) == FICUS_ERR_OK);
    fake_run(&r->net);
}

static struct env_listener *front_of(struct run *r)
{
    for (size_t i = 0; i < r->net.listener_count; i++)
        if (strcmp(r->net.listeners[i].address, "fd:3") == 0)
            return &r->net.listeners[i];
    return NULL;
}

static uint64_t run(uint8_t mode, const char *p, size_t size, const char *garbage, size_t garbage_size, bool odd)
{
    static struct env_ops ops;
    ops = fake_ops;
    ops.file_open = world_open;
    ops.file_close = world_close;
    ops.file_read = world_read;
    ops.file_size = world_size;
    ops.log_write = world_log;
    struct run *r = mem_zalloc(sizeof *r);
    r->mode = mode;
    r->garbage = garbage;
    r->garbage_size = garbage_size;
    fake_init(&r->net, 1 + size);
    r->net.odd = odd;
    if (odd && (mode & BYTEWISE) != 0)
        r->net.piece_max = 1;
    start(r, &ops);
    struct env_stream *client, *end;
    fake_pair(&r->net, &client, &end);
    struct env_listener *front = front_of(r);
    front->on_accept(front->arg, end);
    bool first = true;
    while (size > 0 && client->peer != NULL) {
        size_t n = fake_push(client, p, odd ? fake_piece(&r->net, size) : size);
        p += n;
        size -= n;
        fake_run(&r->net);
        FICUS_ASSERT(!first || client->rx_size < 9 || memcmp(client->rx, "HTTP/1.1 ", 9) == 0);
        first = first && client->rx_size == 0;
        client->rx_size = 0;
        if (n == 0 && client->rx_eof)
            break;
        if (n == 0)
            fake_advance(&r->net, 1000); /* a window that stays closed: time limits decide */
    }
    if ((mode & ENDS) != 0 && client->peer != NULL)
        fake_shutdown_write(client);
    for (int i = 0; i < 10; i++) {
        fake_advance(&r->net, 10000);
        client->rx_size = 0;
    }
    for (size_t i = 0; i < r->service_count; i++)
        service_close(&r->services[i]);
    fake_run(&r->net);
    FICUS_ASSERT(http_server_conn_count(r->proxy->server) == 0);
    proxy_stop(r->proxy, on_stopped, r);
    fake_advance(&r->net, 20000);
    FICUS_ASSERT(r->stopped && r->net.timer_count == 0);
    for (size_t i = 0; i < r->service_count; i++)
        buf_done(&r->services[i].seen);
    fake_done(&r->net);
    uint64_t log = r->log;
    mem_free(r);
    return log;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
    const char *text = (const char *)p + 2;
    if (size < 2 || (size >= 5 && memcmp(text, "PRI", 3) == 0)) /* HTTP/2 has a fuzzer of its own */
        return 0;
    size_t own = (size - 2) * ((size_t)p[1] + 1) / 256;
    uint64_t whole = run(p[0], text, own, text + own, size - 2 - own, false);
    uint64_t pieces = run(p[0], text, own, text + own, size - 2 - own, true);
    FICUS_ASSERT(whole == pieces || (p[0] & (GARBAGE | TUNNEL)) != 0);
    return 0;
}
