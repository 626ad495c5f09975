/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/2 client connection over a network in memory, against a server end that the test plays frame by frame, and
 * against the server.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "buf.h"
#include "fake_net.h"
#include "h2_client.h"
#include "http_client.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

enum { CALLS = 128, DATA = 0, HEADERS = 1, RST = 3, SETTINGS = 4, PUSH = 5, PING = 6, GOAWAY = 7, WINDOW = 8, CONTINUATION = 9 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

struct rig;

/* One exchange, and what became of it. */
struct call {
    struct rig *r;
    struct http_stream *s;
    int status;
    unsigned heads, interims, dones, resets;
    int64_t length;
    bool ended, hold; /* hold: do not ask for the body */
    struct buf body;
    char trailers[64];
    enum ficus_err err;
    struct http_progress progress;
    size_t left, sent; /* of the request's body */
    bool with_trailers;
};

/* What the server's end saw of a stream; by id / 2. */
struct seen {
    bool head, end;
    int64_t rst; /* -1: none */
    size_t size;
    uint64_t window;
};

struct rig {
    struct fake_net net;
    struct env_stream *peer; /* the server's end, played by the test; NULL: a real server */
    struct http_client_conn *conn;
    struct call calls[CALLS];
    size_t count;
    unsigned connected, rooms, closes;
    enum ficus_err connect_err;
    /* the server's end */
    struct buf got, text;
    bool preface;
    nghttp2_hd_inflater *inflater;
    struct seen seen[512];
    uint64_t window;
    unsigned pings, ping_acks, settings, settings_acks, goaways;
    /* a real server */
    struct http_server *server;
    bool server_closed;
};

/* ---- the user's side ---- */

static void on_connected(void *arg, struct http_client_conn *c, enum ficus_err err)
{
    struct rig *r = arg;
    (void)c;
    r->connected++;
    r->connect_err = err;
}
static void on_room(void *arg, struct http_client_conn *c)
{
    struct rig *r = arg;
    assert_ptr_equal(c, r->conn);
    r->rooms++;
}
static void on_closed(void *arg, struct http_client_conn *c)
{
    struct rig *r = arg;
    assert_ptr_equal(c, r->conn);
    r->closes++;
    r->conn = NULL;
}
static const struct http_client_handler conn_handler = {on_connected, on_room, on_closed};

static void on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct call *k = arg;
    k->heads++;
    k->status = m->status;
    k->length = m->content_length;
    k->ended = end;
    assert_ptr_equal(s->head_in, m);
    if (!end && !k->hold)
        http_recv(s);
}
static void on_interim(void *arg, struct http_stream *s, struct http_msg *m)
{
    struct call *k = arg;
    assert_true(m->status < 200 && k->heads == 0);
    k->interims++;
}
static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct call *k = arg;
    assert_true(buf_add_slice(&k->body, data));
    k->ended = end;
    if (!end && !k->hold)
        http_recv(s);
}
static void body_send(struct call *k)
{
    static const struct http_field trailer = {{"x-sum", 5}, {"up", 2}};
    while (k->s != NULL && k->left > 0) {
        char page[5000];
        size_t size = k->left < sizeof page ? k->left : sizeof page;
        for (size_t i = 0; i < size; i++)
            page[i] = (char)((k->sent + i) * 7 >> 3);
        if (size == k->left && k->with_trailers)
            assert_int_equal(http_send_trailers(k->s, &trailer, 1), FICUS_ERR_OK);
        size_t taken = http_send(k->s, page, size, size == k->left);
        k->with_trailers = k->with_trailers && size < k->left;
        k->left -= taken;
        k->sent += taken;
        if (taken < size)
            return;
    }
}
static void on_writable(void *arg, struct http_stream *s)
{
    body_send(arg);
}
static void on_done(void *arg, struct http_stream *s)
{
    struct call *k = arg;
    assert_true(k->ended);
    http_stream_progress(s, &k->progress);
    k->dones++;
    k->s = NULL;
}
static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct call *k = arg;
    assert_non_null(detail);
    http_stream_progress(s, &k->progress);
    k->resets++;
    k->err = err;
    k->s = NULL;
}
static void on_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct call *k = arg;
    assert_false(k->ended);
    (void)snprintf(k->trailers, sizeof k->trailers, SLICE_FMT "=" SLICE_FMT " %zu", SLICE_ARG(fields[0].name),
                   SLICE_ARG(fields[0].value), field_count);
}
static const struct http_handler handler = {on_head, on_interim, on_data, on_trailers, on_writable, on_done, on_reset};

/* ---- the server's end ---- */

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void take_fields(struct rig *r, uint32_t id, const uint8_t *p, size_t left)
{
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(r->inflater, &nv, &flags, p, left, 1);
        assert_true(n >= 0);
        p += n;
        left -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            assert_true(buf_printf(&r->text, "%u %.*s: %.*s\n", id, (int)nv.namelen, (const char *)nv.name,
                                   (int)nv.valuelen, (const char *)nv.value));
        if (flags & NGHTTP2_HD_INFLATE_FINAL) {
            nghttp2_hd_inflate_end_headers(r->inflater);
            return;
        }
        assert_true((flags & NGHTTP2_HD_INFLATE_EMIT) != 0 || left > 0);
    }
}

static void take_frame(struct rig *r, uint8_t type, uint8_t flags, uint32_t id, const uint8_t *p, size_t size)
{
    assert_true(id / 2 < ARRAY_COUNT(r->seen));
    struct seen *s = &r->seen[id / 2];
    switch (type) {
    case HEADERS:
        assert_true((flags & END_HEADERS) != 0);
        take_fields(r, id, p, size);
        s->head = true;
        s->end |= (flags & END_STREAM) != 0;
        break;
    case DATA:
        assert_true(s->head && !s->end);
        for (size_t i = 0; i < size; i++)
            assert_int_equal((char)p[i], (char)((s->size + i) * 7 >> 3));
        s->size += size;
        s->end |= (flags & END_STREAM) != 0;
        break;
    case RST:
        s->rst = u32(p);
        break;
    case SETTINGS:
        r->settings += (flags & ACK) == 0;
        r->settings_acks += (flags & ACK) != 0;
        break;
    case PING:
        r->pings += (flags & ACK) == 0;
        r->ping_acks += (flags & ACK) != 0;
        break;
    case GOAWAY:
        r->goaways++;
        break;
    case WINDOW:
        *(id == 0 ? &r->window : &s->window) += u32(p);
        break;
    default:
        fail_msg("frame of type %u", type);
    }
}

static void take(struct rig *r)
{
    if (r->peer == NULL)
        return;
    assert_true(buf_add(&r->got, r->peer->rx, r->peer->rx_size));
    r->peer->rx_size = 0;
    struct slice s = buf_slice(&r->got);
    size_t at = 0;
    if (!r->preface && s.size >= 24) {
        assert_memory_equal(s.p, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        r->preface = true;
        at = 24;
    }
    while (r->preface && s.size - at >= 9) {
        const uint8_t *p = (const uint8_t *)s.p + at;
        size_t size = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (s.size - at < 9 + size)
            break;
        take_frame(r, p[3], p[4], u32(p + 5), p + 9, size);
        at += 9 + size;
    }
    buf_consume(&r->got, at);
}

static void run(struct rig *r)
{
    for (int i = 0; i < 4; i++) {
        fake_run(&r->net);
        take(r);
    }
}

static void send_bytes(struct rig *r, const void *bytes, size_t size)
{
    const char *p = bytes;
    for (int idle = 0; size > 0 && r->peer->peer != NULL && idle < 4;) {
        size_t n = fake_push(r->peer, p, size);
        p += n;
        size -= n;
        idle = n == 0 ? idle + 1 : 0;
        run(r);
    }
}

static void frame(struct rig *r, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t size)
{
    uint8_t head[9] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size,      type,       flags,
                       (uint8_t)(id >> 24),   (uint8_t)(id >> 16),  (uint8_t)(id >> 8), (uint8_t)id};
    send_bytes(r, head, 9);
    send_bytes(r, p, size);
    run(r);
}

static void frame_u32(struct rig *r, uint8_t type, uint32_t id, uint32_t v)
{
    uint8_t p[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    frame(r, type, 0, id, p, 4);
}

static void setting(struct rig *r, uint8_t id, uint32_t v)
{
    uint8_t p[6] = {0, id, (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    frame(r, SETTINGS, 0, 0, p, 6);
}

static void goaway(struct rig *r, uint32_t last, uint8_t code)
{
    uint8_t p[8] = {(uint8_t)(last >> 24), (uint8_t)(last >> 16), (uint8_t)(last >> 8), (uint8_t)last, 0, 0, 0, code};
    frame(r, GOAWAY, 0, 0, p, 8);
}

/* fields: "name: value" lines, literal and without Huffman; values of less than 127 bytes unless big. */
static void answer_fields(struct rig *r, uint32_t id, const char *fields, bool end)
{
    struct buf b;
    buf_init(&b, 1024 * 1024);
    struct slice rest = slice_str(fields);
    while (rest.p != NULL && rest.size > 0) {
        struct slice line = slice_cut(&rest, '\n');
        size_t at = 1;
        while (!(line.p[at] == ':' && line.p[at + 1] == ' '))
            at++;
        struct slice value = slice_from(line, at + 2);
        buf_add_char(&b, 0);
        buf_add_char(&b, (char)at);
        buf_add(&b, line.p, at);
        assert_true(value.size < 127);
        buf_add_char(&b, (char)value.size);
        buf_add_slice(&b, value);
    }
    struct slice block = buf_slice(&b);
    frame(r, HEADERS, END_HEADERS | (end ? END_STREAM : 0), id, block.p, block.size);
    buf_done(&b);
}

static void answer(struct rig *r, uint32_t id, const char *body)
{
    answer_fields(r, id, ":status: 200", false);
    frame(r, DATA, END_STREAM, id, body, strlen(body));
}

static void on_accept(void *arg, struct env_stream *s)
{
    ((struct rig *)arg)->peer = s;
}

static struct rig *rig_init(uint64_t seed)
{
    struct rig *r = mem_zalloc(sizeof *r);
    fake_init(&r->net, seed);
    r->net.odd = seed > 1;
    buf_init(&r->got, 4 << 20);
    buf_init(&r->text, 1 << 20);
    for (size_t i = 0; i < ARRAY_COUNT(r->seen); i++)
        r->seen[i].rst = -1;
    assert_int_equal(nghttp2_hd_inflate_new(&r->inflater), 0);
    return r;
}

static void rig_connect(struct rig *r)
{
    const struct http_upstream upstream = {.address = "unix:x", .h2 = true};
    assert_int_equal(http_client_connect_to(&r->net.env, &upstream, NULL, &conn_handler, r, &r->conn), FICUS_ERR_OK);
    fake_run(&r->net);
    assert_int_equal(r->connect_err, FICUS_ERR_OK);
    assert_int_equal(r->connected, 1);
}

/* Connected to a server that has said nothing yet. */
static struct rig *rig_silent(uint64_t seed)
{
    struct rig *r = rig_init(seed);
    struct env_listener *l;
    fake_listen(&r->net.env, "unix:x", NULL, on_accept, r, &l, NULL);
    rig_connect(r);
    return r;
}

/* Connected, with the server's settings exchanged. */
static struct rig *rig_new(uint64_t seed)
{
    struct rig *r = rig_silent(seed);
    run(r);
    frame(r, SETTINGS, 0, 0, "", 0);
    frame(r, SETTINGS, ACK, 0, "", 0);
    assert_int_equal(r->settings, 1);
    assert_int_equal(r->settings_acks, 1);
    assert_true(http_client_is_shared(r->conn));
    return r;
}

static void rig_free(struct rig *r)
{
    if (r->conn != NULL)
        http_client_close(r->conn);
    fake_run(&r->net);
    assert_null(r->conn);
    assert_int_equal(r->closes, 1);
    if (r->peer != NULL)
        fake_close(r->peer, NULL, NULL);
    fake_run(&r->net);
    for (size_t i = 0; i < r->count; i++) {
        assert_null(r->calls[i].s);
        buf_done(&r->calls[i].body);
    }
    buf_done(&r->got);
    buf_done(&r->text);
    nghttp2_hd_inflate_del(r->inflater);
    fake_done(&r->net);
    mem_free(r);
}

/* body_size < 0: none. */
static struct call *ask(struct rig *r, const char *method, const char *path, int64_t body_size)
{
    struct call *k = &r->calls[r->count++];
    *k = (struct call){.r = r};
    buf_init(&k->body, 8 << 20);
    assert_int_equal(http_client_open(r->conn, &handler, k, &k->s), FICUS_ERR_OK);
    struct http_msg m;
    http_msg_init(&m, k->s->arena);
    m.method = slice_str(method);
    m.authority = SLICE("shop.example");
    struct slice query = slice_str(path);
    m.path = slice_cut(&query, '?');
    m.query = query;
    m.takes_trailers = true;
    m.content_length = body_size < 0 ? 0 : body_size;
    assert_true(http_msg_add(&m, SLICE("X-One"), SLICE("1")));
    assert_true(http_msg_add(&m, SLICE("Connection"), SLICE("close")));
    assert_int_equal(http_send_head(k->s, &m, body_size < 0), FICUS_ERR_OK);
    k->left = body_size < 0 ? 0 : (size_t)body_size;
    return k;
}

static struct call *get(struct rig *r, const char *path)
{
    return ask(r, "GET", path, -1);
}

/* A request as it is on the wire, its answer, and the connection afterwards. */
static void test_get(void **state)
{
    struct rig *r = rig_new(1);
    struct call *k = get(r, "/a?b=c");
    run(r);
    assert_string_equal(buf_str(&r->text), "1 :method: GET\n1 :scheme: http\n1 :authority: shop.example\n1 :path: /a?b=c\n"
                                           "1 te: trailers\n1 x-one: 1\n");
    assert_true(r->seen[0].end);
    assert_int_equal(http_client_running(r->conn), 1);
    answer_fields(r, 1, ":status: 103\nlink: </x>", false);
    answer_fields(r, 1, ":status: 200\ncontent-length: 5\nx: y", false);
    assert_int_equal(k->interims, 1);
    assert_int_equal(k->length, 5);
    frame(r, DATA, 0, 1, "he", 2);
    frame(r, DATA, 0, 1, "llo", 3);
    answer_fields(r, 1, "x-sum: 9", true);
    assert_string_equal(buf_str(&k->body), "hello");
    assert_string_equal(k->trailers, "x-sum=9 1");
    assert_int_equal(k->dones, 1);
    assert_int_equal(http_client_running(r->conn), 0);
    assert_int_equal(http_client_room(r->conn), 100);
    assert_true(r->rooms > 0);
    k = ask(r, "HEAD", "/h", -1);
    run(r);
    answer_fields(r, 3, ":status: 200\ncontent-length: 77", true);
    assert_int_equal(k->length, 77);
    assert_int_equal(k->dones, 1);
    assert_true(!k->progress.conn_reused && k->progress.response_begun && k->progress.request_sent);
    k = ask(r, "POST", "/p", 0);
    body_send(k);
    run(r);
    assert_non_null(strstr(buf_str(&r->text), "5 content-length: 0\n"));
    answer_fields(r, 5, ":status: 204", true);
    assert_int_equal(k->length, 0);
    rig_free(r);
}

/* What HTTP/1.1 could not say is not said here either: whoever passes it on would be led astray. */
static void test_bad_targets(void **state)
{
    struct rig *r = rig_new(1);
    static const char *const paths[] = {"/a HTTP/1.1\r\nX: 1", "/a b", "a", "/a?b c", "/\n"};
    struct http_stream *s;
    assert_int_equal(http_client_open(r->conn, &handler, &r->calls[0], &s), FICUS_ERR_OK);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        struct http_msg m;
        http_msg_init(&m, s->arena);
        m.method = SLICE("GET");
        m.authority = SLICE("shop.example");
        struct slice query = slice_str(paths[i]);
        m.path = slice_cut(&query, '?');
        m.query = query;
        assert_int_equal(http_send_head(s, &m, true), FICUS_ERR_INVALID);
    }
    http_reset(s, FICUS_ERR_CANCELLED);
    run(r);
    rig_free(r);
}

/* Many at a time, as many as the server lets. */
static void test_room(void **state)
{
    struct rig *r = rig_new(1);
    setting(r, 3, 3);
    assert_int_equal(http_client_room(r->conn), 3);
    struct call *k[3] = {get(r, "/1"), get(r, "/2"), get(r, "/3")};
    assert_int_equal(http_client_room(r->conn), 0);
    struct http_stream *s;
    assert_int_equal(http_client_open(r->conn, &handler, NULL, &s), FICUS_ERR_BUSY);
    run(r);
    answer(r, 5, "c");
    answer(r, 1, "a");
    assert_int_equal(k[2]->dones, 1);
    assert_int_equal(k[0]->dones, 1);
    assert_int_equal(k[1]->dones, 0);
    assert_int_equal(http_client_room(r->conn), 2);
    unsigned rooms = r->rooms;
    setting(r, 3, 1000);
    assert_true(r->rooms > rooms);
    assert_int_equal(http_client_room(r->conn), 99);
    setting(r, 3, 0);
    assert_int_equal(http_client_room(r->conn), 0);
    answer(r, 3, "b");
    assert_int_equal(k[1]->dones, 1);
    rig_free(r);
}

/* What a GOAWAY leaves out may be sent again, whatever it was; what it took on goes on; then the connection closes. */
static void test_goaway(void **state)
{
    struct rig *r = rig_new(1);
    struct call *k[4];
    for (int i = 0; i < 3; i++)
        k[i] = get(r, "/");
    run(r);
    k[3] = get(r, "/not-out-yet");
    goaway(r, 3, 0);
    assert_int_equal(k[2]->resets, 1);
    assert_true(k[2]->progress.unprocessed && !k[2]->progress.request_sent);
    assert_int_equal(k[3]->resets, 1);
    assert_true(k[3]->progress.unprocessed && !k[3]->progress.request_sent);
    assert_int_equal(http_client_room(r->conn), 0);
    struct http_stream *s;
    assert_int_equal(http_client_open(r->conn, &handler, NULL, &s), FICUS_ERR_RESET);
    answer(r, 1, "a");
    assert_int_equal(k[0]->dones, 1);
    assert_int_equal(r->closes, 0);
    goaway(r, 1, 0); /* it changed its mind, which it may */
    assert_int_equal(k[1]->resets, 1);
    assert_true(k[1]->progress.unprocessed);
    assert_int_equal(r->closes, 1);
    rig_free(r);
}

/* While two requests have not left, the server says the frames: both may be sent elsewhere at once, whatever runs. */
static void say_before_they_leave(struct rig *r, const char *frames, size_t size)
{
    r->peer->rx_capacity = 0; /* what is written stays, and what comes behind it with nghttp2 */
    (void)fake_push(r->peer, "\0\0\10\6\0\0\0\0\0" "12345678", 17);
    fake_run(&r->net);
    struct call *waits = get(r, "/2"), *upload = ask(r, "POST", "/3", 10);
    body_send(upload);
    assert_int_equal(fake_push(r->peer, frames, size), size);
    fake_run(&r->net);
    struct call *left_out[] = {waits, upload};
    for (size_t i = 0; i < ARRAY_COUNT(left_out); i++) {
        assert_true(left_out[i]->resets == 1 && left_out[i]->err == FICUS_ERR_RESET);
        assert_true(left_out[i]->progress.unprocessed && !left_out[i]->progress.request_sent);
    }
    r->peer->rx_capacity = r->net.window;
    run(r);
}

/* A server that lets nothing run any more and then says GOAWAY: what has not left by then may be sent elsewhere at once, not
 * only when what runs has ended. */
static void test_goaway_without_room(void **state)
{
    static const char none_more[] = "\0\0\6\4\0\0\0\0\0\0\3\0\0\0\0"             /* MAX_CONCURRENT_STREAMS: 0 */
                                    "\0\0\10\7\0\0\0\0\0\0\0\0\1\0\0\0\0";        /* GOAWAY: 1 was the last */
    for (int later = 0; later < 3; later++) {
        struct rig *r = rig_new(1);
        struct call *runs = later > 0 ? get(r, "/1") : NULL;
        run(r);
        say_before_they_leave(r, none_more, sizeof none_more - 1);
        assert_int_equal(r->closes, later == 0);
        if (later == 2)
            setting(r, 3, 10);
        if (later > 0) {
            answer(r, 1, "a");
            assert_true(runs->dones == 1 && runs->resets == 0);
        }
        assert_false(r->seen[1].head || r->seen[2].head);
        assert_int_equal(r->closes, 1);
        rig_free(r);
    }
}

static struct call *tunnel(struct rig *r, enum ficus_err wanted)
{
    struct call *k = &r->calls[r->count++];
    *k = (struct call){.r = r};
    buf_init(&k->body, 1 << 20);
    assert_int_equal(http_client_open(r->conn, &handler, k, &k->s), FICUS_ERR_OK);
    struct http_msg m;
    http_msg_init(&m, k->s->arena);
    m.method = SLICE("GET");
    m.authority = SLICE("shop.example");
    m.path = SLICE("/chat");
    m.protocol = SLICE("websocket");
    char key[] = "dGhlIHNhbXBsZSBub25jZQ==", version[] = "13", line[] = "Origin: here\r\n";
    assert_true(http_msg_add(&m, SLICE("Sec-WebSocket-Key"), slice_str(key)));
    assert_true(http_msg_add(&m, SLICE("Sec-WebSocket-Version"), slice_str(version)));
    assert_true(http_msg_keep(&m, (struct http_field){.name = slice_make(line, 6), .value = slice_make(line + 8, 4), .whole = true}));
    assert_int_equal(http_send_head(k->s, &m, true), wanted);
    const struct http_msg *waits = wanted == FICUS_ERR_OK ? h2_client_stream_of(h2_stream_of(k->s))->waits : NULL;
    for (size_t i = 0; waits != NULL && i < waits->field_count; i++)
        assert_false(waits->fields[i].whole); /* what is copied is no line of a head any more */
    memset(&m, 'x', sizeof m); /* the caller's memory is nobody's any more */
    memset(version, 'x', sizeof version);
    memset(line, 'x', sizeof line);
    if (wanted != FICUS_ERR_OK) {
        http_reset(k->s, FICUS_ERR_CANCELLED);
        k->s = NULL;
    }
    return k;
}

#define CONNECT_FIELDS ":method: CONNECT\n1 :protocol: websocket\n1 :scheme: http\n1 :authority: shop.example\n1 :path: /chat\n"

/* RFC 8441: asked for only when the server has said that it takes such; the answer is told as 101; each side ends by itself. */
static void test_tunnel(void **state)
{
    for (int server_first = 0; server_first < 2; server_first++) {
        struct rig *r = rig_silent(1 + (uint64_t)server_first);
        struct call *k = tunnel(r, FICUS_ERR_OK);
        run(r);
        assert_false(r->seen[0].head); /* it waits for what the server says */
        setting(r, 8, 1);
        assert_string_equal(buf_str(&r->text), "1 " CONNECT_FIELDS "1 sec-websocket-version: 13\n1 origin: here\n");
        assert_false(r->seen[0].end);
        answer_fields(r, 1, ":status: 200\nsec-websocket-protocol: chat", false);
        assert_int_equal(k->status, 101);
        assert_int_equal(k->length, -1);
        frame(r, DATA, 0, 1, "hello", 5);
        assert_string_equal(buf_str(&k->body), "hello");
        k->left = 10000;
        if (server_first == 1) {
            frame(r, DATA, END_STREAM, 1, "", 0);
            assert_true(k->ended && k->dones == 0);
        }
        body_send(k);
        run(r);
        assert_int_equal(r->seen[0].size, 10000);
        assert_true(r->seen[0].end);
        if (server_first == 0) {
            assert_int_equal(k->dones, 0);
            frame(r, DATA, END_STREAM, 1, "bye", 3);
            assert_string_equal(buf_str(&k->body), "hellobye");
        }
        assert_int_equal(k->dones, 1);
        assert_int_equal(r->seen[0].rst, -1);
        assert_int_equal(http_client_running(r->conn), 0);
        rig_free(r);
    }
}

/* A server that does not take them is not asked, be it known before or after; one that refuses this one answers as it likes. */
static void test_no_tunnel(void **state)
{
    struct rig *r = rig_new(1);
    struct call *known = tunnel(r, FICUS_ERR_UNSUPPORTED);
    run(r);
    assert_true(known->resets == 0 && !r->seen[0].head);
    setting(r, 8, 1);
    struct call *k = tunnel(r, FICUS_ERR_OK);
    run(r);
    answer_fields(r, 1, ":status: 403\ncontent-length: 2", false);
    assert_int_equal(k->status, 403);
    frame(r, DATA, END_STREAM, 1, "no", 2);
    assert_true(k->dones == 1 && strcmp(buf_str(&k->body), "no") == 0);
    k = tunnel(r, FICUS_ERR_OK); /* the server closes an open one without an end */
    run(r);
    answer_fields(r, 3, ":status: 200", false);
    frame_u32(r, RST, 3, NGHTTP2_CANCEL);
    assert_true(k->resets == 1 && k->err == FICUS_ERR_RESET);
    k = tunnel(r, FICUS_ERR_OK); /* ... or with its own end, which leaves nobody to send to */
    run(r);
    answer_fields(r, 5, ":status: 200", true);
    assert_int_equal(k->status, 101);
    frame_u32(r, RST, 5, NGHTTP2_NO_ERROR);
    assert_true(k->dones == 1 && k->ended);
    k = tunnel(r, FICUS_ERR_OK); /* ... or the connection breaks between the two ends */
    run(r);
    answer_fields(r, 7, ":status: 200", true);
    fake_close(r->peer, NULL, NULL);
    r->peer = NULL;
    fake_run(&r->net);
    assert_true(k->dones == 1 && k->resets == 0);
    rig_free(r);

    r = rig_silent(1);
    k = tunnel(r, FICUS_ERR_OK);
    struct call *given_up = tunnel(r, FICUS_ERR_OK);
    http_reset(given_up->s, FICUS_ERR_CANCELLED);
    given_up->s = NULL;
    run(r);
    frame(r, SETTINGS, 0, 0, "", 0);
    assert_true(k->resets == 1 && k->err == FICUS_ERR_UNSUPPORTED && !k->progress.request_sent);
    assert_true(given_up->resets == 0 && !r->seen[0].head);
    assert_int_equal(http_client_running(r->conn), 0);
    assert_int_equal(http_client_room(r->conn), 100);
    rig_free(r);
}

/* A server that lets nothing run is one that goes away: what runs goes on, what has not left by then may be sent elsewhere at once, and
 * the connection closes; also one that is idle. */
static void test_shut(void **state)
{
    for (int running = 0; running < 2; running++) {
        struct rig *r = rig_new(1);
        struct call *runs = running > 0 ? get(r, "/1") : NULL;
        run(r);
        say_before_they_leave(r, "\0\0\6\4\0\0\0\0\0\0\3\0\0\0\0", 15);
        assert_int_equal(r->closes, running == 0);
        assert_false(r->seen[1].head || r->seen[2].head);
        if (running > 0) {
            answer(r, 1, "a");
            assert_true(runs->dones == 1 && runs->resets == 0);
        }
        assert_int_equal(r->closes, 1);
        rig_free(r);
    }
    struct rig *r = rig_new(1);
    run(r);
    setting(r, 3, 0);
    assert_int_equal(r->closes, 1);
    rig_free(r);
}

/* A connection that breaks behind a GOAWAY takes with it what had been taken on: that may have been done. */
static void test_goaway_and_gone(void **state)
{
    for (int reset = 0; reset < 2; reset++) {
        struct rig *r = rig_new(1);
        struct call *first = get(r, "/1"), *second = ask(r, "POST", "/2", 10), *third = get(r, "/3");
        body_send(second);
        run(r);
        goaway(r, 3, 0);
        answer_fields(r, 1, ":status: 200", false);
        r->peer->peer->rx_reset = reset == 1;
        fake_close(r->peer, NULL, NULL);
        r->peer = NULL;
        fake_run(&r->net);
        assert_true(first->resets == 1 && first->progress.response_begun && !first->progress.unprocessed);
        assert_true(second->resets == 1 && second->progress.request_sent && !second->progress.unprocessed);
        assert_int_equal(second->err, FICUS_ERR_RESET);
        assert_true(second->progress.conn_reused);
        assert_true(third->resets == 1 && third->progress.unprocessed && !third->progress.request_sent);
        assert_int_equal(r->closes, 1);
        rig_free(r);
    }
}

/* REFUSED_STREAM says that nothing was done, unless an answer had begun; other codes say nothing of the kind. */
static void test_refused(void **state)
{
    struct rig *r = rig_new(1);
    struct call *refused = get(r, "/1"), *late = get(r, "/2"), *cancelled = get(r, "/3"), *complete = ask(r, "PUT", "/4", 1000);
    run(r);
    answer_fields(r, 3, ":status: 200", false);
    frame_u32(r, RST, 1, NGHTTP2_REFUSED_STREAM);
    frame_u32(r, RST, 3, NGHTTP2_REFUSED_STREAM);
    frame_u32(r, RST, 5, NGHTTP2_CANCEL);
    assert_true(refused->resets == 1 && refused->progress.unprocessed && !refused->progress.request_sent);
    assert_true(late->resets == 1 && !late->progress.unprocessed && late->progress.request_sent);
    assert_true(cancelled->resets == 1 && !cancelled->progress.unprocessed && cancelled->progress.request_sent);
    assert_false(cancelled->progress.conn_reused); /* the connection lives: no race with its end */
    answer(r, 7, "enough"); /* RFC 9113 8.1: an answer before the whole request, and then no interest in the rest */
    frame_u32(r, RST, 7, NGHTTP2_NO_ERROR);
    assert_true(complete->dones == 1 && complete->resets == 0);
    assert_string_equal(buf_str(&complete->body), "enough");
    assert_int_equal(http_client_room(r->conn), 100);
    rig_free(r);
}

/* An answer that came whole is given whole, also when the connection is gone by then. */
static void test_whole_answer_survives(void **state)
{
    struct rig *r = rig_new(1);
    struct call *k = get(r, "/");
    k->hold = true;
    run(r);
    answer(r, 1, "all of it");
    assert_int_equal(k->heads, 1);
    fake_close(r->peer, NULL, NULL);
    r->peer = NULL;
    fake_run(&r->net);
    assert_int_equal(r->closes, 0);
    k->hold = false;
    http_recv(k->s);
    fake_run(&r->net);
    assert_true(k->dones == 1 && k->resets == 0);
    assert_string_equal(buf_str(&k->body), "all of it");
    assert_int_equal(r->closes, 1);
    rig_free(r);
}

/* Window is given back only for what the user took; a server that sends more than its window is cut off. */
static void test_window_down(void **state)
{
    struct rig *r = rig_new(1);
    static char page[16384];
    struct call *slow = get(r, "/slow"), *fast = get(r, "/fast");
    slow->hold = true;
    run(r);
    assert_int_equal(r->window, 100 * 32768 - 65535);
    answer_fields(r, 1, ":status: 200", false);
    answer_fields(r, 3, ":status: 200", false);
    frame(r, DATA, 0, 1, page, sizeof page);
    frame(r, DATA, 0, 1, page, sizeof page);
    assert_int_equal(r->seen[0].window, 0);
    for (int i = 0; i < 8; i++)
        frame(r, DATA, 0, 3, page, sizeof page);
    assert_true(r->seen[1].window >= 6 * sizeof page);
    assert_int_equal(fast->body.size, 8 * sizeof page);
    http_recv(slow->s);
    run(r);
    assert_int_equal(slow->body.size, 2 * sizeof page);
    assert_int_equal(r->seen[0].window, 2 * sizeof page);
    for (int i = 0; i < 3; i++)
        frame(r, DATA, 0, 1, page, sizeof page);
    assert_true(slow->resets == 1 || r->closes == 1); /* FLOW_CONTROL_ERROR of the stream or the connection */
    rig_free(r);
}

/* A request's body goes as far as the windows let it, waits in 32 KiB, and arrives as it was; its trailers behind it. */
static void test_window_up(void **state)
{
    struct rig *r = rig_new(1);
    struct call *k = ask(r, "PUT", "/", 300000);
    k->with_trailers = true;
    body_send(k);
    run(r);
    assert_int_equal(r->seen[0].size, 65535);
    assert_true(k->sent <= 65535 + HTTP_BODY_BUFFER_SIZE);
    size_t before = k->sent;
    frame_u32(r, WINDOW, 0, 1000000);
    assert_int_equal(r->seen[0].size, 65535);
    assert_int_equal(k->sent, before);
    frame_u32(r, WINDOW, 1, 100000);
    assert_int_equal(r->seen[0].size, 165535);
    frame_u32(r, WINDOW, 1, 1000000);
    assert_int_equal(r->seen[0].size, 300000);
    assert_true(r->seen[0].end);
    assert_non_null(strstr(buf_str(&r->text), "1 x-sum: up\n"));
    answer(r, 1, "got it");
    assert_int_equal(k->dones, 1);
    rig_free(r);
}

/* Giving up costs one stream, not its neighbours; what was not sent yet is never sent. */
static void test_cancel(void **state)
{
    struct rig *r = rig_new(1);
    struct call *k = get(r, "/1"), *other = get(r, "/2");
    run(r);
    http_reset(k->s, FICUS_ERR_CANCELLED);
    k->s = NULL;
    run(r);
    assert_int_equal(r->seen[0].rst, NGHTTP2_CANCEL);
    frame(r, PING, ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    struct call *early = get(r, "/3");
    http_reset(early->s, FICUS_ERR_CANCELLED);
    early->s = NULL;
    run(r);
    assert_false(r->seen[2].head);
    answer(r, 1, "too late");
    answer(r, 3, "fine");
    assert_int_equal(other->dones, 1);
    assert_int_equal(k->heads + k->resets + early->heads + early->resets, 0);
    assert_int_equal(http_client_running(r->conn), 0);
    /* given up with a body on its way, and one that waits for window */
    struct call *up = ask(r, "PUT", "/4", 200000);
    body_send(up);
    run(r);
    http_reset(up->s, FICUS_ERR_TIMEOUT);
    up->s = NULL;
    run(r);
    assert_int_equal(r->seen[3].rst, NGHTTP2_CANCEL);
    frame(r, PING, ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    struct http_msg m;
    struct call *upgrade = &r->calls[r->count++];
    assert_int_equal(http_client_open(r->conn, &handler, upgrade, &upgrade->s), FICUS_ERR_OK);
    http_msg_init(&m, upgrade->s->arena);
    m.method = SLICE("GET");
    m.authority = SLICE("x");
    m.path = SLICE("/");
    m.protocol = SLICE("websocket");
    assert_int_equal(http_send_head(upgrade->s, &m, true), FICUS_ERR_UNSUPPORTED);
    http_reset(upgrade->s, FICUS_ERR_CANCELLED);
    upgrade->s = NULL;
    rig_free(r);
}

/* Answers that come too late for those who gave up are no flood, however many there are. */
static void test_late_answers(void **state)
{
    enum { ROUNDS = 5, EACH = 100 };
    struct rig *r = rig_new(1);
    for (uint32_t id = 1; id < ROUNDS * EACH * 2;) {
        r->count = 0;
        for (size_t i = 0; i < EACH; i++)
            (void)get(r, "/");
        run(r);
        for (size_t i = 0; i < EACH; i++) {
            http_reset(r->calls[i].s, FICUS_ERR_CANCELLED);
            r->calls[i].s = NULL;
        }
        run(r);
        for (size_t i = 0; i < EACH; i++, id += 2) {
            answer_fields(r, id, ":status: 200", false);
            frame(r, DATA, 0, id, "too ", 4);
            frame(r, DATA, END_STREAM, id, "late", 4);
            assert_int_equal(r->closes, 0);
        }
    }
    r->count = 0;
    struct call *k = get(r, "/");
    run(r);
    answer(r, ROUNDS * EACH * 2 + 1, "in time");
    assert_int_equal(k->dones, 1);
    rig_free(r);
}

/* A server that is gone without a word is found out by the first call that gives up on it; one that is slow is not. */
static void test_silence(void **state)
{
    struct rig *r = rig_new(1);
    struct call *k = get(r, "/1"), *other = get(r, "/2");
    run(r);
    fake_advance(&r->net, 500);
    http_reset(k->s, FICUS_ERR_TIMEOUT);
    k->s = NULL;
    run(r);
    assert_int_equal(r->pings, 1);
    assert_int_equal(http_client_room(r->conn), 0);
    frame(r, PING, ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    assert_int_equal(http_client_room(r->conn), 99);
    fake_advance(&r->net, 5000);
    run(r);
    assert_int_equal(other->resets, 0);
    k = get(r, "/3");
    run(r);
    fake_advance(&r->net, 500);
    http_reset(k->s, FICUS_ERR_TIMEOUT);
    k->s = NULL;
    fake_run(&r->net);
    fake_advance(&r->net, 1900);
    fake_run(&r->net);
    assert_int_equal(r->closes, 0);
    fake_advance(&r->net, 200);
    fake_run(&r->net);
    assert_int_equal(other->resets, 1);
    assert_int_equal(other->err, FICUS_ERR_TIMEOUT);
    assert_int_equal(r->closes, 1);
    rig_free(r);
}

/* So is one that does not read, by a call that could not even leave. */
static void test_not_read(void **state)
{
    struct rig *r = rig_new(1);
    struct call *upload = ask(r, "PUT", "/1", 300000);
    r->peer->rx_capacity = r->peer->rx_size;
    body_send(upload);
    fake_run(&r->net);
    struct call *k = get(r, "/2");
    fake_run(&r->net);
    fake_advance(&r->net, 500);
    http_reset(k->s, FICUS_ERR_TIMEOUT);
    k->s = NULL;
    fake_run(&r->net);
    assert_int_equal(http_client_room(r->conn), 0);
    fake_advance(&r->net, 2100);
    fake_run(&r->net);
    assert_int_equal(upload->resets, 1);
    assert_int_equal(upload->err, FICUS_ERR_TIMEOUT);
    assert_int_equal(r->closes, 1);
    rig_free(r);
}

struct hostile {
    const char *name;
    void (*play)(struct rig *r);
    bool stream_only; /* the neighbour goes on */
    enum ficus_err err;
};

static void play_garbage(struct rig *r)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    send_bytes(r, text, sizeof text - 1);
}
static void play_pings(struct rig *r)
{
    for (int i = 0; i < 3000 && r->closes == 0; i++)
        frame(r, PING, 0, 0, "12345678", 8);
}
static void play_settings(struct rig *r)
{
    for (int i = 0; i < 3000 && r->closes == 0; i++)
        frame(r, SETTINGS, 0, 0, "", 0);
}
static void play_windows(struct rig *r)
{
    for (int i = 0; i < 3000 && r->closes == 0; i++)
        frame_u32(r, WINDOW, 0, 1);
}
static void play_empty_data(struct rig *r)
{
    answer_fields(r, 1, ":status: 200", false);
    for (int i = 0; i < 3000 && r->closes == 0; i++)
        frame(r, DATA, 0, 1, "", 0);
}
/* A third call, answered: whatever comes for it now is for nobody. */
static void third_answered(struct rig *r)
{
    struct call *third = get(r, "/third");
    run(r);
    answer(r, 5, "third");
    assert_int_equal(third->dones, 1);
}
static void play_late_data(struct rig *r)
{
    third_answered(r);
    for (int i = 0; i < 3000 && r->closes == 0; i++)
        frame(r, DATA, 0, 5, "abc", 3);
}
static void play_late_heads(struct rig *r)
{
    third_answered(r);
    for (int i = 0; i < 3000 && r->closes == 0; i++)
        answer_fields(r, 5, ":status: 200\nx: y", true);
}
static void play_unknown_frames(struct rig *r)
{
    for (int i = 0; i < 3000 && r->closes == 0; i++)
        frame(r, 0x42, 0, 0, "abc", 3);
}
static void play_push(struct rig *r)
{
    static const uint8_t promise[] = {0, 0, 0, 2, 0x82, 0x87, 0x84};
    frame(r, PUSH, END_HEADERS, 1, promise, sizeof promise);
}
static void play_large_head(struct rig *r)
{
    char fields[8192], block[20000];
    size_t at = 0, n = 0;
    memset(fields, 'v', 100);
    memcpy(block, "\0\7:status\3" "200", 13);
    n = 13;
    (void)at;
    while (n + 110 < 16000) {
        memcpy(block + n, "\0\1x\144", 4);
        memcpy(block + n + 4, fields, 100);
        n += 104;
    }
    frame(r, HEADERS, 0, 1, block, n);
    for (int i = 0; i < 3; i++)
        frame(r, CONTINUATION, i == 2 ? END_HEADERS : 0, 1, block + 13, n - 13);
}
static void play_continuations(struct rig *r)
{
    frame(r, HEADERS, 0, 1, "\0\7:status\3" "200", 13);
    for (int i = 0; i < 100 && r->closes == 0; i++)
        frame(r, CONTINUATION, 0, 1, "", 0);
}
static void play_interims(struct rig *r)
{
    for (int i = 0; i < 17; i++)
        answer_fields(r, 1, ":status: 103", false);
}
static void play_101(struct rig *r)
{
    answer_fields(r, 1, ":status: 101", false);
}
static void play_no_status(struct rig *r)
{
    answer_fields(r, 1, "x: y", false);
}
static void play_bad_field(struct rig *r)
{
    answer_fields(r, 1, ":status: 200\nX-Upper: y", false);
}
static void play_connection_field(struct rig *r)
{
    answer_fields(r, 1, ":status: 200\ntransfer-encoding: chunked", false);
}
static void play_short_body(struct rig *r)
{
    answer_fields(r, 1, ":status: 200\ncontent-length: 5", false);
    frame(r, DATA, END_STREAM, 1, "abc", 3);
}
static void play_long_body(struct rig *r)
{
    answer_fields(r, 1, ":status: 200\ncontent-length: 2", false);
    frame(r, DATA, END_STREAM, 1, "abc", 3);
}
static void play_no_body(struct rig *r)
{
    answer_fields(r, 1, ":status: 200\ncontent-length: 2", true);
}
static void play_two_lengths(struct rig *r)
{
    answer_fields(r, 1, ":status: 200\ncontent-length: 2\ncontent-length: 3", false);
}
static void play_data_first(struct rig *r)
{
    frame(r, DATA, 0, 1, "abc", 3);
}
static void play_idle_stream(struct rig *r)
{
    answer_fields(r, 99, ":status: 200", true);
}
static void play_bad_hpack(struct rig *r)
{
    frame(r, HEADERS, END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff", 6);
}
static void play_huge_frame(struct rig *r)
{
    static const uint8_t head[9] = {0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1};
    send_bytes(r, head, 9);
}
static void play_window_overflow(struct rig *r)
{
    frame_u32(r, WINDOW, 0, 0x7fffffff);
    frame_u32(r, WINDOW, 0, 0x7fffffff);
}
static void play_trailers_without_end(struct rig *r)
{
    answer_fields(r, 1, ":status: 200", false);
    answer_fields(r, 1, "x: y", false);
}

/* Whatever a server says, the call ends once, with the right kind of error, and its neighbour suffers only where HTTP/2
 * leaves no choice. */
static void test_hostile(void **state)
{
    static const struct hostile cases[] = {
        {"garbage", play_garbage, false, FICUS_ERR_PROTOCOL},
        {"ping flood", play_pings, false, FICUS_ERR_PROTOCOL},
        {"settings flood", play_settings, false, FICUS_ERR_PROTOCOL},
        {"window flood", play_windows, false, FICUS_ERR_PROTOCOL},
        {"empty data flood", play_empty_data, false, FICUS_ERR_PROTOCOL},
        {"late data flood", play_late_data, false, FICUS_ERR_PROTOCOL},
        {"late head flood", play_late_heads, false, FICUS_ERR_PROTOCOL},
        {"flood of unknown frames", play_unknown_frames, false, FICUS_ERR_PROTOCOL},
        {"push", play_push, false, FICUS_ERR_PROTOCOL},
        {"large head", play_large_head, true, FICUS_ERR_TOO_LARGE},
        {"continuations", play_continuations, false, FICUS_ERR_PROTOCOL},
        {"interim flood", play_interims, true, FICUS_ERR_PROTOCOL},
        {"101", play_101, true, FICUS_ERR_PROTOCOL},
        {"no status", play_no_status, true, FICUS_ERR_PROTOCOL},
        {"bad field", play_bad_field, true, FICUS_ERR_PROTOCOL},
        {"connection field", play_connection_field, true, FICUS_ERR_PROTOCOL},
        {"short body", play_short_body, true, FICUS_ERR_PROTOCOL},
        {"long body", play_long_body, true, FICUS_ERR_PROTOCOL},
        {"no body", play_no_body, true, FICUS_ERR_PROTOCOL},
        {"two lengths", play_two_lengths, true, FICUS_ERR_PROTOCOL},
        {"data first", play_data_first, false, FICUS_ERR_PROTOCOL},
        {"idle stream", play_idle_stream, false, FICUS_ERR_PROTOCOL},
        {"bad hpack", play_bad_hpack, false, FICUS_ERR_PROTOCOL},
        {"huge frame", play_huge_frame, false, FICUS_ERR_PROTOCOL},
        {"window overflow", play_window_overflow, false, FICUS_ERR_PROTOCOL},
        {"trailers without end", play_trailers_without_end, true, FICUS_ERR_PROTOCOL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct rig *r = rig_new(1);
        struct call *k = get(r, "/hostile"), *other = get(r, "/other");
        run(r);
        cases[i].play(r);
        run(r);
        if (k->resets != 1 || k->err != cases[i].err || k->dones != 0 || k->progress.unprocessed)
            fail_msg("%s: %u resets, error %d, %u ends", cases[i].name, k->resets, k->err, k->dones);
        if ((other->resets == 0) != cases[i].stream_only || (r->closes == 0) != cases[i].stream_only)
            fail_msg("%s: neighbour %u resets, %u closes", cases[i].name, other->resets, r->closes);
        if (cases[i].stream_only) {
            answer(r, 3, "fine");
            if (other->dones != 1)
                fail_msg("%s: the neighbour does not go on", cases[i].name);
        }
        rig_free(r);
    }
}

/* The user closes it; the server closes it while nothing runs. */
static void test_close(void **state)
{
    struct rig *r = rig_new(1);
    struct call *k = get(r, "/");
    run(r);
    http_client_close(r->conn);
    fake_run(&r->net);
    assert_true(k->resets == 1 && k->err == FICUS_ERR_CANCELLED && r->closes == 1);
    rig_free(r);
    r = rig_new(1);
    fake_close(r->peer, NULL, NULL);
    r->peer = NULL;
    fake_run(&r->net);
    assert_int_equal(r->closes, 1);
    rig_free(r);
}

/* ---- against the server ---- */

/* Echoes the body and its trailers; "/n": an answer of so many bytes. */
struct echo {
    struct buf rest;
    size_t at;
    bool end;
    struct http_field trailer;
    bool has_trailer;
};

static void echo_free(struct echo *x)
{
    buf_done(&x->rest);
    mem_free(x);
}
static void echo_more(void *arg, struct http_stream *s)
{
    struct echo *x = arg;
    struct slice rest = slice_from(buf_slice(&x->rest), x->at);
    if (x->end && x->has_trailer) {
        x->has_trailer = false;
        assert_int_equal(http_send_trailers(s, &x->trailer, 1), FICUS_ERR_OK);
    }
    x->at += http_send(s, rest.p, rest.size, x->end);
    if (x->at < x->rest.size)
        return;
    buf_clear(&x->rest);
    x->at = 0;
    if (!x->end)
        http_recv(s);
}
static void echo_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct echo *x = arg;
    x->end = end;
    assert_true(buf_add_slice(&x->rest, data));
    echo_more(x, s);
}
static void echo_trailers(void *arg, struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct echo *x = arg;
    x->trailer = fields[0];
    x->has_trailer = true;
}
static void echo_done(void *arg, struct http_stream *s)
{
    echo_free(arg);
}
static void echo_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    echo_free(arg);
}
static const struct http_handler echo_handler = {.on_data = echo_data, .on_trailers = echo_trailers, .on_writable = echo_more,
                                                 .on_done = echo_done, .on_reset = echo_reset};

static void echo_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    struct echo *x = mem_zalloc(sizeof *x);
    buf_init(&x->rest, 1 << 20);
    http_stream_handle(s, &echo_handler, x);
    struct http_msg m;
    http_msg_init(&m, s->arena);
    m.status = 200;
    m.content_length = -1;
    assert_int_equal(http_send_head(s, &m, end), FICUS_ERR_OK);
    if (!end)
        http_recv(s);
}
static void set_true(void *arg)
{
    *(bool *)arg = true;
}

/* Bodies of any size, in pieces of any size, both ways at once on one connection, with neighbours that give up. */
static void test_against_server(void **state)
{
    for (uint64_t seed = 2; seed < 42; seed++) {
        struct rig *r = rig_init(seed);
        const struct http_server_options o = {.h2c = true, .on_request = echo_request, .arg = r};
        assert_int_equal(http_server_new(&r->net.env, &o, &r->server), FICUS_ERR_OK);
        assert_int_equal(http_server_listen(r->server, "unix:x", NULL, NULL), FICUS_ERR_OK);
        rig_connect(r);
        size_t sizes[24];
        for (size_t i = 0; i < 24; i++) {
            sizes[i] = fake_random_u64(&r->net) % (i % 3 == 0 ? 200000 : 2000);
            struct call *k = ask(r, "PUT", "/echo", -1 + (int64_t)(sizes[i] > 0 ? sizes[i] + 1 : 1) * (sizes[i] > 0));
            k->with_trailers = i % 2 == 0;
            body_send(k);
            if (i % 4 == 3)
                fake_run(&r->net);
            if (i % 7 == 6 && k->s != NULL) {
                http_reset(k->s, FICUS_ERR_CANCELLED);
                k->s = NULL;
                k->hold = true;
            }
        }
        for (int i = 0; i < 400; i++) {
            fake_run(&r->net);
            fake_advance(&r->net, 5);
        }
        for (size_t i = 0; i < 24; i++) {
            struct call *k = &r->calls[i];
            if (k->hold)
                continue;
            if (k->dones != 1 || k->resets != 0 || k->body.size != k->sent || k->left != 0)
                fail_msg("seed %llu, call %zu: %u ends, %u resets (%d), %zu of %zu bytes, %zu left", (unsigned long long)seed, i,
                         k->dones, k->resets, k->err, k->body.size, k->sent, k->left);
            for (size_t at = 0; at < k->body.size; at++)
                assert_int_equal(buf_str(&k->body)[at], (char)(at * 7 >> 3));
            if (i % 2 == 0 && k->sent > 0)
                assert_string_equal(k->trailers, "x-sum=up 1");
        }
        assert_int_equal(http_client_running(r->conn), 0);
        http_server_close(r->server, set_true, &r->server_closed);
        fake_run(&r->net);
        assert_true(r->server_closed);
        rig_free(r);
    }
}

/* The server's drain (GOAWAY, first without a limit) loses nothing that was sent before. */
static void test_drain(void **state)
{
    struct rig *r = rig_init(3);
    bool drained = false;
    const struct http_server_options o = {.h2c = true, .on_request = echo_request, .arg = r};
    assert_int_equal(http_server_new(&r->net.env, &o, &r->server), FICUS_ERR_OK);
    assert_int_equal(http_server_listen(r->server, "unix:x", NULL, NULL), FICUS_ERR_OK);
    rig_connect(r);
    for (int i = 0; i < 10; i++)
        (void)get(r, "/before");
    fake_run(&r->net);
    http_server_drain(r->server, set_true, &drained);
    for (int i = 0; i < 100 && r->conn != NULL; i++) {
        fake_run(&r->net);
        fake_advance(&r->net, 50);
    }
    assert_true(drained);
    for (size_t i = 0; i < r->count; i++)
        assert_true(r->calls[i].dones == 1 || (r->calls[i].resets == 1 && r->calls[i].progress.unprocessed));
    assert_int_equal(r->closes, 1);
    http_server_close(r->server, set_true, &r->server_closed);
    fake_run(&r->net);
    assert_true(r->server_closed);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_bad_targets), cmocka_unit_test(test_room),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_goaway_without_room), cmocka_unit_test(test_shut),
        cmocka_unit_test(test_tunnel), cmocka_unit_test(test_no_tunnel),
        cmocka_unit_test(test_goaway_and_gone),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_whole_answer_survives),
        cmocka_unit_test(test_window_down),
        cmocka_unit_test(test_window_up),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_late_answers),
        cmocka_unit_test(test_silence), cmocka_unit_test(test_not_read),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_against_server),
        cmocka_unit_test(test_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
