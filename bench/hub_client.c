/* SPDX-License-Identifier: Apache-2.0 */
#include "hub_client.h"

#include "identity.h"
#include "mem.h"
#include "sock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum {
    OUT_MAX = 4 * 1024 * 1024, /* the hub's own bound of a batch */
    IN_MAX = 8 * 1024 * 1024,
    HEAD_MAX = 4096 + IDENTITY_TOKEN_SIZE_MAX,
    TOKEN_S = IDENTITY_LIFE_S_MAX / 2, /* a token is used so long */
};

struct hub_client {
    int fd;
    const char *service;
    struct system_key *key;
    struct arena arena; /* the token */
    struct slice token;
    int64_t token_s;
    unsigned number; /* of this client, in ids */
    uint64_t events;
    size_t out_size;
    char *out, *in;
};

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "bench: hub: %s: %s\n", what, detail);
    exit(1);
}

static struct timespec wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t;
}

static struct system_key *key_load(const char *path)
{
    char text[2 * SYSTEM_KEY_SIZE + 2];
    struct system_key *key = NULL;
    struct ficus_error error = {0};
    FILE *f = fopen(path, "re");
    if (f == NULL)
        sock_die("open", path);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    struct slice s = slice_make(text, n);
    enum ficus_err err = n == SYSTEM_KEY_SIZE ? system_key_from_bytes(s, &key, &error)
                                              : system_key_from_hex(s, &key, &error);
    if (err != FICUS_ERR_OK)
        die(path, error.text);
    return key;
}

struct hub_client *hub_client_open(const char *to, const char *service)
{
    static atomic_uint clients;
    const char *comma = strchr(to, ',');
    char address[128];
    if (comma == NULL || comma - to > 100)
        die(to, "no SOCKET,KEY");
    struct hub_client *c = mem_zalloc(sizeof *c);
    char *out = mem_zalloc(OUT_MAX), *in = mem_zalloc(IN_MAX + 1);
    if (c == NULL || out == NULL || in == NULL)
        die(to, "out of memory");
    snprintf(address, sizeof address, "unix:%.*s", (int)(comma - to), to);
    *c = (struct hub_client){.fd = sock_connect(address), .service = service, .key = key_load(comma + 1),
                             .number = atomic_fetch_add(&clients, 1), .out = out, .in = in};
    if (c->fd < 0)
        sock_die("connect", address);
    arena_init(&c->arena, 64 * 1024);
    return c;
}

void hub_client_close(struct hub_client *c)
{
    if (c == NULL)
        return;
    close(c->fd);
    system_key_free(c->key);
    arena_done(&c->arena);
    mem_free(c->out);
    mem_free(c->in);
    mem_free(c);
}

static struct slice token(struct hub_client *c)
{
    struct timespec now = wall();
    struct ficus_error error = {0};
    if (c->token.p == NULL || now.tv_sec > c->token_s + TOKEN_S) {
        struct identity_claims claims = {.issuer = slice_str(c->service), .audience = SLICE("hub")};
        arena_clear(&c->arena);
        if (identity_make(c->key, &c->arena, &claims, (int64_t)now.tv_sec * 1000, &c->token, &error) != FICUS_ERR_OK)
            die("identity", error.text);
        c->token_s = now.tv_sec;
    }
    return c->token;
}

static void send_all(struct hub_client *c, const char *head, size_t head_size, struct slice body)
{
    struct iovec parts[2] = {{.iov_base = (char *)(uintptr_t)head, .iov_len = head_size},
                             {.iov_base = (char *)(uintptr_t)body.p, .iov_len = body.size}};
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (n < 0)
            sock_die("send to", "the hub");
        for (size_t i = 0; i < 2; i++) {
            size_t part = (size_t)n < parts[i].iov_len ? (size_t)n : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            n -= (ssize_t)part;
        }
    }
}

/* The body's size, or -1 while the head is not whole; *ret_head: the size of the head. */
static int64_t answer_size(const struct hub_client *c, size_t got, size_t *ret_head)
{
    const char *end = memmem(c->in, got, "\r\n\r\n", 4);
    if (end == NULL)
        return -1;
    for (const char *line = c->in; line < end; line = (const char *)memchr(line, '\n', (size_t)(end + 2 - line)) + 1)
        if (strncasecmp(line, "content-length:", 15) == 0) {
            *ret_head = (size_t)(end - c->in) + 4;
            return strtoll(line + 15, NULL, 10);
        }
    die("an answer without Content-Length", c->in);
    return -1;
}

struct slice hub_client_call(struct hub_client *c, const char *method, const char *target, struct slice body)
{
    char head[HEAD_MAX];
    struct slice t = token(c);
    int size = snprintf(head, sizeof head,
                        "%s %s HTTP/1.1\r\nHost: hub\r\nFicus-Identity: " SLICE_FMT "\r\n"
                        "Content-Type: application/cloudevents-batch+json\r\nContent-Length: %zu\r\n\r\n",
                        method, target, SLICE_ARG(t), body.size);
    if (size < 0 || (size_t)size >= sizeof head)
        die(target, "too long");
    send_all(c, head, (size_t)size, body);
    size_t got = 0, head_size = 0;
    for (int64_t wanted = -1; wanted < 0 || got < head_size + (size_t)wanted;) {
        ssize_t n = recv(c->fd, c->in + got, IN_MAX - got, 0);
        if (n <= 0)
            die(target, n == 0 ? "the connection was closed" : strerror(errno));
        got += (size_t)n;
        c->in[got] = '\0';
        if (wanted < 0)
            wanted = answer_size(c, got, &head_size);
        if (wanted > (int64_t)(IN_MAX - head_size))
            die(target, "the answer is too large");
    }
    if (strncmp(c->in, "HTTP/1.1 200 ", 13) != 0)
        die(target, c->in);
    return slice_make(c->in + head_size, got - head_size);
}

/* ---- publishing ---- */

void hub_client_batch_begin(struct hub_client *c)
{
    c->out_size = 0;
}

void hub_client_batch_add(struct hub_client *c, const char *topic, const char *subject, struct slice data)
{
    struct timespec now = wall();
    char id[40];
    snprintf(id, sizeof id, "%08llx-%08lx-%04x-%013llx", (unsigned long long)now.tv_sec, (unsigned long)now.tv_nsec,
             c->number & 0xffff, (unsigned long long)c->events++);
    int n = snprintf(c->out + c->out_size, OUT_MAX - c->out_size,
                     "%c{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/%s\",\"type\":\"%s\",\"subject\":\"%s\","
                     "\"time\":\"2026-11-01T12:00:00.000Z\",\"datacontenttype\":\"application/json\",\"data\":" SLICE_FMT
                     "}",
                     c->out_size == 0 ? '[' : ',', id, c->service, topic, subject != NULL ? subject : id,
                     SLICE_ARG(data));
    if (n < 0 || (size_t)n >= OUT_MAX - c->out_size - 1)
        die("publish", "the batch is too large");
    c->out_size += (size_t)n;
}

int64_t hub_client_batch_publish(struct hub_client *c)
{
    c->out[c->out_size++] = ']';
    struct slice answer = hub_client_call(c, "POST", "/v1/events", slice_make(c->out, c->out_size));
    long long last;
    if (sscanf(answer.p, "{\"last\":%lld}", &last) != 1)
        die("publish", answer.p);
    return last;
}
