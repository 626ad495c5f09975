/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS inside env's streams, against OpenSSL's own client on a blocking socket in a thread, and against our client.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "arena.h"
#include "io_env.h"
#include "io_socket.h"
#include "mem.h"
#include "tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_CERTIFICATE "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

enum { ECHOES_MAX = 256 };

static char dir[64];

static const char *path(const char *name)
{
    static _Thread_local char texts[16][128];
    static _Thread_local unsigned at;
    char *text = texts[at++ % 16];
    snprintf(text, sizeof texts[0], "%s/%s", dir, name);
    return text;
}

static void shell(const char *command)
{
    char text[1024];
    snprintf(text, sizeof text, "cd %s && { %s ; } >/dev/null 2>&1", dir, command);
    assert_int_equal(system(text), 0);
}

/* A P-256 key and a certificate for these names, signed by the authority. */
static void certificate(const char *file, const char *names, int days)
{
    char text[900];
    snprintf(text, sizeof text,
             NEW_CERTIFICATE " -CA ca.pem -CAkey ca.key -days %d -subj /CN=%s "
             "-addext subjectAltName=%s -addext basicConstraints=critical,CA:false -keyout %s.key -out %s.pem",
             days, file, names, file, file);
    shell(text);
}

static int make_files(void **state)
{
    strcpy(dir, "/tmp/ficus-tls-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    shell(NEW_CERTIFICATE " -days 30 -subj /CN=authority -keyout ca.key -out ca.pem");
    shell(NEW_CERTIFICATE " -days 30 -subj /CN=stranger -keyout other.key -out other.pem");
    certificate("one", "DNS:one.example,IP:127.0.0.1", 30);
    certificate("two", "DNS:two.example,DNS:a.wild.example", 30);
    certificate("wild", "DNS:*.wild.example", 30);
    shell("openssl ec -in one.key -aes128 -passout pass:secret -out locked.key");
    return 0;
}

static int remove_files(void **state)
{
    shell("rm -f *.pem *.key tickets tickets.tmp");
    return rmdir(dir);
}

/* ---- a server that says everything again ---- */

struct rig;

struct echo {
    struct rig *r;
    struct env_stream *s;
    size_t size, filled;
    char bytes[4001]; /* no divisor of a record */
};

struct rig {
    struct env *e;
    struct tls_server *tls;
    struct env_listener *listener;
    int fd;
    uint16_t port;
    struct echo *echoes[ECHOES_MAX];
    size_t count, ended;
    ssize_t last;            /* how the last one ended */
    struct env_tls_info info; /* of the last one that came */
};

static void echo_read(struct echo *c);

static void echo_end(struct echo *c, ssize_t n)
{
    c->r->last = n;
    c->r->ended++;
    env_close(c->r->e, c->s, NULL, NULL);
    c->s = NULL;
    env_uv_stop(c->r->e);
}

static void echo_on_write(void *arg, ssize_t n)
{
    struct echo *c = arg;
    if (n < 0)
        echo_end(c, n);
    else
        echo_read(c);
}

static void echo_on_read(void *arg, ssize_t n)
{
    struct echo *c = arg;
    if (n <= 0) {
        if (n == 0)
            env_shutdown_write(c->r->e, c->s);
        echo_end(c, n);
        return;
    }
    /* in three pieces, one of them empty */
    size_t half = (size_t)n / 2;
    struct iovec iov[3] = {{c->bytes, half}, {c->bytes, 0}, {c->bytes + half, (size_t)n - half}};
    ssize_t rc = env_write(c->r->e, c->s, iov, 3, echo_on_write, c);
    if (rc != 0)
        echo_on_write(c, rc);
}

static void echo_read(struct echo *c)
{
    env_read(c->r->e, c->s, c->bytes, sizeof c->bytes, echo_on_read, c);
}

static void on_accept(void *arg, struct env_stream *s)
{
    struct rig *r = arg;
    struct echo *c = mem_zalloc(sizeof *c);
    assert_true(r->count < ECHOES_MAX);
    c->r = r;
    c->s = s;
    r->echoes[r->count++] = c;
    assert_true(env_stream_tls(r->e, s, &r->info));
    echo_read(c);
}

static const char *const protocols[] = {"h2", "http/1.1", NULL};

static struct tls_pair pair(const char *name)
{
    char file[64];
    snprintf(file, sizeof file, "%s.pem", name);
    const char *pem = path(file);
    snprintf(file, sizeof file, "%s.key", name);
    return (struct tls_pair){pem, path(file)};
}

static void rig_open(struct rig *r, enum tls_version min)
{
    struct ficus_error error = {0};
    *r = (struct rig){.e = env_uv_new(NULL, NULL)};
    struct tls_pair pairs[3] = {pair("one"), pair("wild"), pair("two")};
    static char tickets[128];
    snprintf(tickets, sizeof tickets, "%s/tickets", dir);
    struct tls_server_options o = {
        .pairs = pairs, .pair_count = 3, .min = min, .protocols = protocols, .tickets_file = tickets};
    if (tls_server_new(r->e, &o, &r->tls, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    assert_int_equal(socket_listen("tcp:127.0.0.1:0", &r->fd, NULL), FICUS_ERR_OK);
    r->port = socket_port(r->fd);
    char address[32];
    snprintf(address, sizeof address, "fd:%d", dup(r->fd));
    assert_int_equal(env_listen_tls(r->e, address, r->tls, on_accept, r, &r->listener, NULL), FICUS_ERR_OK);
}

static void rig_close(struct rig *r)
{
    if (r->listener != NULL)
        env_listener_close(r->e, r->listener);
    env_uv_free(r->e);
    tls_server_free(r->tls);
    for (size_t i = 0; i < r->count; i++)
        mem_free(r->echoes[i]);
    close(r->fd);
}

/* ---- OpenSSL's client, blocking ---- */

struct raw {
    struct rig *r;
    int version;             /* TLS1_2_VERSION or TLS1_3_VERSION */
    const char *name;        /* SNI; NULL: none */
    const char *protocol;    /* the only one offered; NULL: none */
    const char *suites;      /* of TLS 1.3, in this order; NULL: OpenSSL's */
    void (*talk)(struct raw *w); /* after the handshake; NULL: one echo and an orderly end */
    SSL_SESSION *session;    /* in: to resume; out: the newest */
    /* out */
    int shook, reused, step;
    char common_name[64], chosen[32], answer[64];
    /* private */
    atomic_bool done, ready, go;
    int fd;
    SSL *ssl;
};

static int raw_socket(const struct rig *r)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(r->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 30};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (const void *)&a, sizeof a) != 0)
        abort();
    return fd;
}

static int keep_session(SSL *ssl, SSL_SESSION *s)
{
    struct raw *w = SSL_get_app_data(ssl);
    SSL_SESSION_free(w->session);
    w->session = s;
    return 1;
}

static void raw_echo(struct raw *w)
{
    w->step = SSL_write(w->ssl, "hello", 5) == 5 && SSL_read(w->ssl, w->answer, sizeof w->answer - 1) == 5;
}

static void *raw_main(void *arg)
{
    struct raw *w = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
    SSL_CTX_set_min_proto_version(ctx, w->version);
    SSL_CTX_set_max_proto_version(ctx, w->version);
    if (w->suites != NULL)
        SSL_CTX_set_ciphersuites(ctx, w->suites);
    w->fd = raw_socket(w->r);
    w->ssl = SSL_new(ctx);
    SSL_set_app_data(w->ssl, w);
    SSL_set_fd(w->ssl, w->fd);
    if (w->name != NULL)
        SSL_set_tlsext_host_name(w->ssl, w->name);
    if (w->protocol != NULL) {
        unsigned char p[32] = {(unsigned char)strlen(w->protocol)};
        memcpy(p + 1, w->protocol, p[0]);
        SSL_set_alpn_protos(w->ssl, p, p[0] + 1u);
    }
    if (w->session != NULL)
        SSL_set_session(w->ssl, w->session);
    w->shook = SSL_connect(w->ssl) == 1;
    if (w->shook) {
        const unsigned char *chosen;
        unsigned size;
        SSL_get0_alpn_selected(w->ssl, &chosen, &size);
        if (size > 0)
            memcpy(w->chosen, chosen, size);
        X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(w->ssl)), NID_commonName,
                                  w->common_name, sizeof w->common_name);
        w->reused = SSL_session_reused(w->ssl);
        if (w->talk != NULL) {
            w->talk(w);
        } else {
            raw_echo(w);
            SSL_shutdown(w->ssl);
            SSL_shutdown(w->ssl); /* until the answer */
        }
    }
    SSL_set_shutdown(w->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(w->ssl);
    SSL_CTX_free(ctx);
    close(w->fd);
    atomic_store(&w->done, true);
    env_uv_stop(w->r->e);
    return NULL;
}

static void serve(struct rig *r, pthread_t thread, atomic_bool *done)
{
    while (!atomic_load(done))
        env_uv_run(r->e);
    pthread_join(thread, NULL);
}

/* Serve until the client is through, and, when it got in, until its end was seen. */
static void raw_run(struct rig *r, struct raw *w)
{
    pthread_t thread;
    size_t count = r->count;
    w->r = r;
    atomic_store(&w->done, false);
    pthread_create(&thread, NULL, raw_main, w);
    serve(r, thread, &w->done);
    if (r->count > count)
        while (r->ended < r->count)
            env_uv_run(r->e);
}

/* ---- tests ---- */

/* Both versions, each ALPN word, and each way to a certificate: exact before wildcard, a wildcard for one label only,
 * the first for unknown names and for none. */
static void test_handshake(void **state)
{
    static const struct {
        int version;
        const char *name, *protocol, *common_name;
    } cases[] = {
        {TLS1_3_VERSION, "one.example", "h2", "one"},
        {TLS1_2_VERSION, "one.example", "http/1.1", "one"},
        {TLS1_3_VERSION, "two.example", NULL, "two"},
        {TLS1_2_VERSION, "TWO.example", "h2", "two"},
        {TLS1_3_VERSION, "b.wild.example", "h2", "wild"},
        {TLS1_3_VERSION, "a.wild.example", "h2", "two"},
        {TLS1_3_VERSION, "a.b.wild.example", "h2", "one"},
        {TLS1_3_VERSION, "unknown.example", "h2", "one"},
        {TLS1_2_VERSION, NULL, NULL, "one"},
    };
    struct rig r;
    rig_open(&r, TLS_1_2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct raw w = {.version = cases[i].version, .name = cases[i].name, .protocol = cases[i].protocol};
        raw_run(&r, &w);
        assert_true(w.shook);
        assert_string_equal(w.answer, "hello");
        assert_string_equal(w.common_name, cases[i].common_name);
        assert_string_equal(w.chosen, cases[i].protocol != NULL ? cases[i].protocol : "");
        assert_string_equal(r.info.protocol, w.chosen);
        assert_string_equal(r.info.name, cases[i].name != NULL ? cases[i].name : "");
        assert_string_equal(r.info.version, cases[i].version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
        assert_non_null(strstr(r.info.cipher, cases[i].version == TLS1_3_VERSION ? "TLS_" : "ECDHE-ECDSA-"));
        assert_false(r.info.resumed);
        assert_int_equal(r.last, 0);
        SSL_SESSION_free(w.session);
    }
    rig_close(&r);
}

/* The cheap cipher is taken, unless the client has it not or shows that it has no instructions for AES. */
static void test_ciphers(void **state)
{
    static const struct {
        int version;
        const char *suites, *chosen;
    } cases[] = {
        {TLS1_3_VERSION, NULL, "TLS_AES_128_GCM_SHA256"},
        {TLS1_2_VERSION, NULL, "ECDHE-ECDSA-AES128-GCM-SHA256"},
        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"},
        {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"},
    };
    struct rig r;
    rig_open(&r, TLS_1_2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct raw w = {.version = cases[i].version, .suites = cases[i].suites};
        raw_run(&r, &w);
        assert_true(w.shook);
        assert_string_equal(r.info.cipher, cases[i].chosen);
        SSL_SESSION_free(w.session);
    }
    rig_close(&r);
}

/* Who offers nothing that we speak is told so and gets no connection: other protocols, too old a version. */
static void test_refused(void **state)
{
    struct rig r;
    rig_open(&r, TLS_1_3);
    struct raw other = {.version = TLS1_3_VERSION, .protocol = "gopher"}, old = {.version = TLS1_2_VERSION};
    raw_run(&r, &other);
    raw_run(&r, &old);
    assert_false(other.shook);
    assert_false(old.shook);
    assert_int_equal(r.count, 0);
    rig_close(&r);
}

static void age_tickets(int64_t ms)
{
    FILE *f = fopen(path("tickets"), "r+");
    int64_t made_ms;
    assert_int_equal(fseek(f, 8 + 80, SEEK_SET), 0);
    assert_int_equal(fread(&made_ms, sizeof made_ms, 1, f), 1);
    made_ms -= ms;
    assert_int_equal(fseek(f, 8 + 80, SEEK_SET), 0);
    assert_int_equal(fwrite(&made_ms, sizeof made_ms, 1, f), 1);
    fclose(f);
}

/* Sessions go on with either version, at a successor that has only the file, and with the key before the present one;
 * not with the one before that. The file is nobody else's. */
static void test_resumption(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        struct rig r;
        rig_open(&r, TLS_1_2);
        struct raw w = {.version = versions[i], .name = "two.example"};
        raw_run(&r, &w);
        assert_true(w.shook && !w.reused);
        raw_run(&r, &w);
        assert_true(w.shook && w.reused && r.info.resumed);
        rig_close(&r);
        struct stat st;
        assert_int_equal(stat(path("tickets"), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);

        rig_open(&r, TLS_1_2);
        raw_run(&r, &w);
        assert_true(w.shook && w.reused);
        rig_close(&r);

        age_tickets(13 * 3600 * 1000);
        rig_open(&r, TLS_1_2);
        SSL_SESSION_up_ref(w.session);
        struct raw before = {.version = versions[i], .name = "two.example", .session = w.session};
        raw_run(&r, &before);
        assert_true(before.shook && before.reused);
        rig_close(&r);

        age_tickets(13 * 3600 * 1000);
        rig_open(&r, TLS_1_2);
        raw_run(&r, &w); /* its key is the third now */
        assert_true(w.shook && !w.reused);
        assert_string_equal(w.answer, "hello");
        rig_close(&r);
        SSL_SESSION_free(before.session);
        SSL_SESSION_free(w.session);
    }
}

static void raw_reload(struct raw *w)
{
    w->step = SSL_write(w->ssl, "hello", 5) == 5 && SSL_read(w->ssl, w->answer, sizeof w->answer - 1) == 5;
    w->ready = true;
    env_uv_stop(w->r->e); /* the test exchanges the certificates now */
    while (!atomic_load(&w->go))
        usleep(1000);
    w->step += SSL_write(w->ssl, "again", 5) == 5 && SSL_read(w->ssl, w->answer, sizeof w->answer - 1) == 5;
    SSL_shutdown(w->ssl);
}

/* A reload changes what new connections see and leaves open ones alone; one that fails changes nothing. */
static void test_reload(void **state)
{
    struct rig r;
    rig_open(&r, TLS_1_2);
    struct raw w = {.version = TLS1_3_VERSION, .name = "one.example", .talk = raw_reload, .r = &r};
    pthread_t thread;
    pthread_create(&thread, NULL, raw_main, &w);
    while (!atomic_load(&w.ready))
        env_uv_run(r.e);
    struct tls_pair pairs[1] = {pair("two")}, wrong[2] = {pair("two"), {path("one.pem"), path("two.key")}};
    struct ficus_error error = {0};
    assert_int_equal(tls_server_reload(r.tls, wrong, 2, &error), FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "does not fit"));
    struct raw unchanged = {.version = TLS1_3_VERSION, .name = "one.example"};
    pthread_t second;
    unchanged.r = &r;
    pthread_create(&second, NULL, raw_main, &unchanged);
    serve(&r, second, &unchanged.done);
    assert_string_equal(unchanged.common_name, "one");

    assert_int_equal(tls_server_reload(r.tls, pairs, 1, NULL), FICUS_ERR_OK);
    atomic_store(&w.go, true); /* not a file made by a child: SIGCHLD would interrupt that thread's recv */
    serve(&r, thread, &w.done);
    assert_int_equal(w.step, 2);
    assert_string_equal(w.answer, "again");
    assert_string_equal(w.common_name, "one");
    while (r.ended < r.count)
        env_uv_run(r.e);
    struct raw next = {.version = TLS1_3_VERSION, .name = "one.example"};
    raw_run(&r, &next);
    assert_string_equal(next.common_name, "two");
    SSL_SESSION_free(w.session);
    SSL_SESSION_free(unchanged.session);
    SSL_SESSION_free(next.session);
    rig_close(&r);
}

static void raw_truncate(struct raw *w)
{
    raw_echo(w);
    shutdown(w->fd, SHUT_WR); /* FIN, but no close_notify */
    w->step = SSL_read(w->ssl, w->answer, 1);
}

/* Input that ends without close_notify is no end but a loss. */
static void test_truncation(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct rig r;
    rig_open(&r, TLS_1_2);
    for (size_t i = 0; i < 2; i++) {
        struct raw w = {.version = versions[i], .talk = raw_truncate};
        raw_run(&r, &w);
        assert_true(w.shook);
        assert_int_equal(r.last, -(ssize_t)FICUS_ERR_RESET);
        SSL_SESSION_free(w.session);
    }
    rig_close(&r);
}

static void raw_renegotiate(struct raw *w)
{
    SSL_renegotiate(w->ssl);
    SSL_do_handshake(w->ssl);
    char byte;
    SSL_read(w->ssl, &byte, 1); /* the refusal */
    w->step = SSL_total_renegotiations(w->ssl) == 0 || !SSL_is_init_finished(w->ssl) ||
              ERR_GET_REASON(ERR_peek_error()) == SSL_R_NO_RENEGOTIATION;
}

/* No second handshake on a connection; the next client is served as ever. */
static void test_renegotiation(void **state)
{
    struct rig r;
    rig_open(&r, TLS_1_2);
    struct raw w = {.version = TLS1_2_VERSION, .talk = raw_renegotiate}, next = {.version = TLS1_2_VERSION};
    raw_run(&r, &w);
    assert_true(w.shook && w.step);
    raw_run(&r, &next);
    assert_string_equal(next.answer, "hello");
    SSL_SESSION_free(w.session);
    SSL_SESSION_free(next.session);
    rig_close(&r);
}

struct plain {
    struct rig *r;
    const char *text;
    atomic_bool done;
    int fd, eof_errno;
    ssize_t last;
};

static void *plain_main(void *arg)
{
    struct plain *p = arg;
    p->fd = raw_socket(p->r);
    if (p->text != NULL && write(p->fd, p->text, strlen(p->text)) < 0)
        abort();
    char bytes[256];
    while ((p->last = read(p->fd, bytes, sizeof bytes)) > 0)
        continue;
    p->eof_errno = p->last < 0 ? errno : 0;
    close(p->fd);
    atomic_store(&p->done, true);
    env_uv_stop(p->r->e);
    return NULL;
}

static void plain_run(struct rig *r, const char *text)
{
    struct plain p = {.r = r, .text = text};
    pthread_t thread;
    pthread_create(&thread, NULL, plain_main, &p);
    serve(r, thread, &p.done);
    assert_int_equal(p.eof_errno, 0);
    assert_int_equal(p.last, 0);
    assert_int_equal(r->count, 0);
}

/* Plain HTTP on the port is closed, with an orderly end and without anybody above hearing of it; so is, in time, who
 * says nothing at all. */
static void test_not_tls(void **state)
{
    struct rig r;
    rig_open(&r, TLS_1_2);
    plain_run(&r, "GET / HTTP/1.1\r\nHost: one.example\r\nUser-Agent: curl\r\nAccept: */*\r\n\r\n");
    plain_run(&r, NULL);
    rig_close(&r);
}

/* Whoever only opens connections keeps nobody out: more silent ones than there are places, and a client is served. */
static void test_crowd(void **state)
{
    struct rig r;
    rig_open(&r, TLS_1_2);
    int fds[200];
    for (size_t i = 0; i < 200; i++)
        fds[i] = raw_socket(&r);
    struct raw w = {.version = TLS1_3_VERSION};
    raw_run(&r, &w);
    assert_string_equal(w.answer, "hello");
    for (size_t i = 0; i < 200; i++)
        close(fds[i]);
    /* with handshakes under way the listener goes all the same */
    fds[0] = raw_socket(&r);
    SSL_SESSION_free(w.session);
    rig_close(&r);
    close(fds[0]);
}

/* ---- our own client ---- */

struct flow {
    struct rig *r;
    struct env_stream *s;
    enum ficus_err connected;
    size_t size, sent, received;
    char *out, *in;
    uint32_t random;
    bool ended;
    ssize_t n;
};

static void flow_send(struct flow *f);

static void flow_on_write(void *arg, ssize_t n)
{
    struct flow *f = arg;
    assert_true(n > 0);
    f->sent += (size_t)n;
    flow_send(f);
}

static void flow_send(struct flow *f)
{
    while (f->sent < f->size) {
        struct iovec iov[16];
        size_t at = f->sent;
        int count = 0;
        for (; count < 16 && at < f->size; count++) {
            f->random = f->random * 1664525 + 1013904223;
            size_t size = f->random >> 8 & 1 ? f->random >> 16 & 0x3f : (f->random >> 16) % 40000;
            size = size == 0 ? 1 : size < f->size - at ? size : f->size - at;
            iov[count] = (struct iovec){f->out + at, size};
            at += size;
        }
        ssize_t n = env_write(f->r->e, f->s, iov, count, flow_on_write, f);
        assert_true(n >= 0);
        if (n == 0)
            return;
        f->sent += (size_t)n;
    }
    if (f->sent == f->size && !f->ended)
        env_shutdown_write(f->r->e, f->s);
    f->ended = true;
}

static void flow_on_read(void *arg, ssize_t n)
{
    struct flow *f = arg;
    f->n = n;
    if (n <= 0) {
        env_uv_stop(f->r->e);
        return;
    }
    f->received += (size_t)n;
    f->random = f->random * 1664525 + 1013904223;
    env_read(f->r->e, f->s, f->in + f->received, 1 + (f->random >> 16) % 50000, flow_on_read, f);
}

static void flow_on_connect(void *arg, enum ficus_err err)
{
    struct flow *f = arg;
    f->connected = err;
    if (err != FICUS_ERR_OK || f->size == 0) {
        env_uv_stop(f->r->e);
        return;
    }
    env_read(f->r->e, f->s, f->in, 1, flow_on_read, f);
    flow_send(f);
}

static void flow_connect(struct flow *f, struct tls_client *c, uint16_t port)
{
    char address[32];
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", port);
    f->connected = FICUS_ERR_INTERNAL;
    assert_int_equal(env_connect_tls(f->r->e, address, c, flow_on_connect, f, &f->s), FICUS_ERR_OK);
    while (f->connected == FICUS_ERR_INTERNAL)
        env_uv_run(f->r->e);
}

static struct tls_client *client(struct rig *r, const char *name, const char *ca)
{
    struct tls_client *c = NULL;
    struct tls_client_options o = {.name = name, .ca_file = path(ca), .protocols = protocols};
    tls_clients_enable(r->e);
    assert_int_equal(env_tls_client_new(r->e, &o, &c, NULL), FICUS_ERR_OK);
    return c;
}

/* Megabytes in pieces of any size come back as they went, with both directions full at once; then the ends. */
static void test_bodies(void **state)
{
    struct rig r;
    rig_open(&r, TLS_1_2);
    struct flow f = {.r = &r, .size = 5000003, .random = 7};
    f.out = mem_alloc(f.size);
    f.in = mem_alloc(f.size + 65536);
    for (size_t i = 0; i < f.size; i++)
        f.out[i] = (char)(i * 31 >> 7 ^ i);
    struct tls_client *c = client(&r, "one.example", "ca.pem");
    flow_connect(&f, c, r.port);
    while (f.received < f.size || f.n > 0)
        env_uv_run(r.e);
    assert_int_equal(f.connected, FICUS_ERR_OK);
    assert_int_equal(f.received, f.size);
    assert_int_equal(f.n, 0);
    assert_memory_equal(f.in, f.out, f.size);
    env_close(r.e, f.s, NULL, NULL);
    env_tls_client_free(r.e, c);
    rig_close(&r);
    mem_free(f.out);
    mem_free(f.in);
}

/* The peer must be who the client was told, by name or address, and known to whom it believes; its next connection
 * resumes the session. */
static void test_client(void **state)
{
    static const struct {
        const char *name, *ca;
        enum ficus_err connected;
        const char *failure;
    } cases[] = {
        {"one.example", "ca.pem", FICUS_ERR_OK, ""},
        {"127.0.0.1", "ca.pem", FICUS_ERR_OK, ""},
        {"x.wild.example", "ca.pem", FICUS_ERR_OK, ""},
        {"three.example", "ca.pem", FICUS_ERR_DENIED, "three.example: hostname mismatch"},
        {"127.0.0.2", "ca.pem", FICUS_ERR_DENIED, "127.0.0.2: IP address mismatch"},
        {"one.example", "other.pem", FICUS_ERR_DENIED, "one.example: unable to get local issuer certificate"},
    };
    struct rig r;
    rig_open(&r, TLS_1_2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tls_client *c = client(&r, cases[i].name, cases[i].ca);
        for (int again = 0; again < 2; again++) {
            char in[65536], out[] = "x";
            struct flow f = {.r = &r, .size = 1, .in = in, .out = out};
            flow_connect(&f, c, r.port);
            assert_int_equal(f.connected, cases[i].connected);
            assert_string_equal(env_tls_client_failure(r.e, c), cases[i].failure);
            struct env_tls_info info;
            while (f.connected == FICUS_ERR_OK && (f.received == 0 || f.n > 0))
                env_uv_run(r.e);
            assert_true(env_stream_tls(r.e, f.s, &info));
            if (f.connected == FICUS_ERR_OK) {
                assert_int_equal(info.resumed, again);
                assert_string_equal(info.protocol, "h2");
            }
            env_close(r.e, f.s, NULL, NULL);
        }
        env_tls_client_free(r.e, c);
    }
    rig_close(&r);
}

static void on_plain_accept(void *arg, struct env_stream *s)
{
    struct rig *r = arg;
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    struct iovec iov = {(char *)(uintptr_t)text, sizeof text - 1};
    assert_true(env_write(r->e, s, &iov, 1, echo_on_write, NULL) > 0);
}

/* A peer that speaks no TLS, and one that nobody listens at. */
static void test_client_without_peer(void **state)
{
    struct rig r;
    rig_open(&r, TLS_1_2);
    env_listener_close(r.e, r.listener);
    char address[32];
    snprintf(address, sizeof address, "fd:%d", dup(r.fd));
    assert_int_equal(env_listen(r.e, address, on_plain_accept, &r, &r.listener, NULL), FICUS_ERR_OK);
    struct tls_client *c = client(&r, "one.example", "ca.pem");
    struct flow f = {.r = &r};
    flow_connect(&f, c, r.port);
    assert_int_equal(f.connected, FICUS_ERR_PROTOCOL);
    assert_non_null(strstr(env_tls_client_failure(r.e, c), "wrong version number"));
    env_close(r.e, f.s, NULL, NULL);
    flow_connect(&f, c, 1);
    assert_int_equal(f.connected, FICUS_ERR_REFUSED);
    env_close(r.e, f.s, NULL, NULL);
    env_tls_client_free(r.e, c);
    rig_close(&r);
}

/* Every way in which two files cannot be served has its own words, which name the file. */
static void test_files(void **state)
{
    static const struct {
        const char *certificate, *key;
        enum ficus_err err;
        bool at_key;
        const char *text;
    } cases[] = {
        {"none.pem", "one.key", FICUS_ERR_NOT_FOUND, false, "none.pem: No such file"},
        {"one.pem", "none.key", FICUS_ERR_NOT_FOUND, true, "none.key: No such file"},
        {"one.key", "one.key", FICUS_ERR_INVALID, false, "one.key is no certificate in PEM form"},
        {"one.pem", "one.pem", FICUS_ERR_INVALID, true, "one.pem is no private key in PEM form"},
        {"one.pem", "two.key", FICUS_ERR_INVALID, true, "two.key does not fit the certificate"},
        {"one.pem", "locked.key", FICUS_ERR_INVALID, true, "locked.key is protected by a pass phrase"},
        {"one.pem", "one.key", FICUS_ERR_OK, false, ""},
    };
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ficus_error error = {0};
        bool at_key = false;
        struct tls_pair p = {path(cases[i].certificate), path(cases[i].key)};
        assert_int_equal(tls_pair_check(&p, now_ms, &at_key, &error), cases[i].err);
        if (strstr(error.text, cases[i].text) == NULL)
            fail_msg("%s", error.text);
        if (cases[i].err != FICUS_ERR_OK)
            assert_int_equal(at_key, cases[i].at_key);
    }
    struct tls_pair p = pair("one");
    struct ficus_error error = {0};
    bool at_key = true;
    assert_int_equal(tls_pair_check(&p, now_ms + INT64_C(31) * 86400 * 1000, &at_key, &error), FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "one.pem expired on "));
    assert_false(at_key);
    assert_int_equal(tls_pair_check(&p, now_ms - INT64_C(86400) * 1000, &at_key, &error), FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "is valid only from "));
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake), cmocka_unit_test(test_ciphers),  cmocka_unit_test(test_refused),       cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_reload),     cmocka_unit_test(test_truncation),    cmocka_unit_test(test_renegotiation),
        cmocka_unit_test(test_not_tls),    cmocka_unit_test(test_crowd),         cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_client),     cmocka_unit_test(test_client_without_peer), cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
