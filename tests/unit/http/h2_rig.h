/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP/2 client made of raw frames, for tests of the server: it can say anything, well-formed or not, and notes all
 * that comes. The only help is nghttp2's HPACK decoder.
 */
#ifndef FICUS_TESTS_H2_RIG_H
#define FICUS_TESTS_H2_RIG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "buf.h"
#include "fake_net.h"
#include "http_server.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

enum { RIG_STREAMS = 4096, DATA = 0, HEADERS = 1, PRIORITY = 2, RST = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW = 8, CONTINUATION = 9 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

/* What came on one stream; by id / 2. */
struct rig_stream {
    int status, interim;
    bool end;
    int32_t rst; /* -1: none */
    size_t body_size;
    uint64_t window; /* increments */
    unsigned heads;  /* field sections */
};

struct rig {
    struct fake_net net;
    struct http_server *server;
    struct env_stream *client;
    struct buf got;   /* not parsed yet */
    struct buf block; /* of a field section that is not complete */
    struct buf text;  /* "id name: value\n" of all fields that came */
    struct buf body;  /* of all streams */
    nghttp2_hd_inflater *inflater;
    struct rig_stream streams[RIG_STREAMS];
    uint64_t window;
    int32_t goaway; /* the last one's code; -1: none */
    uint32_t goaway_last;
    unsigned goaways, pings, ping_acks, settings, settings_acks;
    uint32_t streams_max; /* what SETTINGS said; 0: nothing */
    size_t frames;
    bool stuck; /* what comes is left in the transport */
    /* the application */
    struct http_stream *held;
    unsigned requests, dones, resets, half_closes;
    enum ficus_err reset_err;
    int refused;
    unsigned refusals;
    bool closed, drained;
    struct buf request; /* text of the last request */
    size_t read_total;
    bool answered_early;
    void (*custom)(struct rig *r, struct http_stream *s, bool end);
};

static inline struct rig_stream *rig_at(struct rig *r, uint32_t id)
{
    assert_true(id / 2 < RIG_STREAMS);
    return &r->streams[id / 2];
}

/* ---- what comes ---- */

static inline void rig_fields(struct rig *r, uint32_t id, bool end)
{
    struct slice block = buf_slice(&r->block);
    const uint8_t *p = (const uint8_t *)block.p;
    size_t left = block.size;
    struct rig_stream *s = rig_at(r, id);
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(r->inflater, &nv, &flags, p, left, 1);
        assert_true(n >= 0);
        p += n;
        left -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_EMIT) {
            assert_true(buf_printf(&r->text, "%u %.*s: %.*s\n", id, (int)nv.namelen, (const char *)nv.name, (int)nv.valuelen,
                                   (const char *)nv.value));
            if (nv.namelen == 7 && memcmp(nv.name, ":status", 7) == 0) {
                int status = (nv.value[0] - '0') * 100 + (nv.value[1] - '0') * 10 + (nv.value[2] - '0');
                if (status < 200)
                    s->interim = status;
                else
                    s->status = status;
            }
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL) {
            nghttp2_hd_inflate_end_headers(r->inflater);
            break;
        }
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && left == 0)
            break;
    }
    s->heads++;
    s->end |= end;
    buf_clear(&r->block);
}

static inline uint32_t rig_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void rig_frame(struct rig *r, uint8_t type, uint8_t flags, uint32_t id, const uint8_t *p, size_t size)
{
    static uint32_t block_id;
    static bool block_end;
    r->frames++;
    switch (type) {
    case HEADERS:
        block_id = id;
        block_end = (flags & END_STREAM) != 0;
        /* fall through */
    case CONTINUATION:
        assert_int_equal(id, block_id);
        assert_true(buf_add(&r->block, p, size));
        if (flags & END_HEADERS)
            rig_fields(r, id, block_end);
        break;
    case DATA:
        assert_false(rig_at(r, id)->end);
        assert_true(rig_at(r, id)->status >= 200);
        rig_at(r, id)->body_size += size;
        rig_at(r, id)->end |= (flags & END_STREAM) != 0;
        assert_true(buf_add(&r->body, p, size));
        break;
    case RST:
        assert_int_equal(size, 4);
        rig_at(r, id)->rst = (int32_t)rig_u32(p);
        break;
    case SETTINGS:
        if (flags & ACK)
            r->settings_acks++;
        else
            r->settings++;
        for (size_t i = 0; i + 6 <= size; i += 6)
            if (p[i] == 0 && p[i + 1] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
                r->streams_max = rig_u32(p + i + 2);
        break;
    case PING:
        if (flags & ACK)
            r->ping_acks++;
        else
            r->pings++;
        break;
    case GOAWAY:
        r->goaways++;
        r->goaway_last = rig_u32(p);
        r->goaway = (int32_t)rig_u32(p + 4);
        break;
    case WINDOW:
        if (id == 0)
            r->window += rig_u32(p);
        else
            rig_at(r, id)->window += rig_u32(p);
        break;
    default:
        fail_msg("frame of type %u", type);
    }
}

static inline void rig_take(struct rig *r)
{
    struct env_stream *c = r->client;
    if (r->stuck)
        return;
    assert_true(buf_add(&r->got, c->rx, c->rx_size));
    c->rx_size = 0;
    struct slice s = buf_slice(&r->got);
    size_t at = 0;
    while (s.size - at >= 9) {
        const uint8_t *p = (const uint8_t *)s.p + at;
        size_t size = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        assert_true(size <= 16384);
        if (s.size - at < 9 + size)
            break;
        rig_frame(r, p[3], p[4], rig_u32(p + 5), p + 9, size);
        at += 9 + size;
    }
    buf_consume(&r->got, at);
}

/* Until nothing happens any more. */
static inline void rig_run(struct rig *r)
{
    for (size_t frames = SIZE_MAX; frames != r->frames;) {
        frames = r->frames;
        fake_run(&r->net);
        rig_take(r);
    }
}

static inline void rig_advance(struct rig *r, int64_t ms)
{
    for (int64_t step; ms > 0; ms -= step) {
        step = ms < 50 ? ms : 50;
        fake_advance(&r->net, step);
        rig_run(r);
    }
}

/* ---- what goes ---- */

static inline void rig_bytes(struct rig *r, const void *bytes, size_t size)
{
    const char *p = bytes;
    while (size > 0 && r->client->peer != NULL) {
        size_t n = fake_push(r->client, p, size);
        p += n;
        size -= n;
        fake_run(&r->net);
        rig_take(r);
        if (n == 0 && r->stuck)
            break;
    }
}

static inline void rig_send(struct rig *r, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t size)
{
    uint8_t head[9] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, type, flags,
                       (uint8_t)(id >> 24),   (uint8_t)(id >> 16),  (uint8_t)(id >> 8), (uint8_t)id};
    rig_bytes(r, head, 9);
    rig_bytes(r, p, size);
}

static inline void rig_window(struct rig *r, uint32_t id, uint32_t more)
{
    uint8_t p[4] = {(uint8_t)(more >> 24), (uint8_t)(more >> 16), (uint8_t)(more >> 8), (uint8_t)more};
    rig_send(r, WINDOW, 0, id, p, 4);
}

static inline void rig_rst(struct rig *r, uint32_t id, uint8_t code)
{
    uint8_t p[4] = {0, 0, 0, code};
    rig_send(r, RST, 0, id, p, 4);
}

static inline void block_int(struct buf *b, size_t n)
{
    if (n < 127) {
        buf_add_char(b, (char)n);
        return;
    }
    buf_add_char(b, 127);
    for (n -= 127; n >= 128; n /= 128)
        buf_add_char(b, (char)(n % 128 + 128));
    buf_add_char(b, (char)n);
}

/* A literal field without indexing, names and values as they are (RFC 7541 6.2.2). */
static inline void block_field(struct buf *b, struct slice name, struct slice value)
{
    buf_add_char(b, 0);
    block_int(b, name.size);
    buf_add_slice(b, name);
    block_int(b, value.size);
    buf_add_slice(b, value);
}

/* fields: "name: value" lines, with '\n' between them; a name may begin with ':'. */
static inline void block_fields(struct buf *b, const char *fields)
{
    struct slice rest = slice_str(fields);
    while (rest.p != NULL && rest.size > 0) {
        struct slice line = slice_cut(&rest, '\n');
        size_t at = 1;
        while (at + 1 < line.size && !(line.p[at] == ':' && line.p[at + 1] == ' '))
            at++;
        block_field(b, slice_make(line.p, at), at + 2 <= line.size ? slice_from(line, at + 2) : SLICE(""));
    }
}

static inline void rig_headers(struct rig *r, uint32_t id, const char *fields, bool end)
{
    struct buf b;
    buf_init(&b, 1024 * 1024);
    block_fields(&b, fields);
    assert_false(buf_failed(&b));
    struct slice block = buf_slice(&b);
    for (size_t at = 0, first = 1; at < block.size || first; first = 0) {
        size_t n = block.size - at < 16384 ? block.size - at : 16384;
        uint8_t flags = (at + n == block.size ? END_HEADERS : 0) | (first && end ? END_STREAM : 0);
        rig_send(r, first ? HEADERS : CONTINUATION, flags, id, block.p + at, n);
        at += n;
    }
    buf_done(&b);
    rig_run(r);
}

static inline void rig_request(struct rig *r, uint32_t id, const char *method, const char *path, const char *more, bool end)
{
    char fields[16384];
    snprintf(fields, sizeof fields, ":method: %s\n:scheme: http\n:authority: shop.example\n:path: %s%s%s", method, path,
             more[0] != '\0' ? "\n" : "", more);
    rig_headers(r, id, fields, end);
}

static inline void rig_get(struct rig *r, uint32_t id, const char *path)
{
    rig_request(r, id, "GET", path, "", true);
}

static inline void rig_connect(struct rig *r)
{
    struct env_stream *server_end;
    fake_pair(&r->net, &r->client, &server_end);
    r->net.listeners[0].on_accept(r->net.listeners[0].arg, server_end);
}

static inline void rig_preface(struct rig *r)
{
    rig_bytes(r, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    rig_send(r, SETTINGS, 0, 0, "", 0);
    rig_run(r);
    rig_send(r, SETTINGS, ACK, 0, "", 0);
    rig_run(r);
}

static inline bool rig_text(const struct rig *r, const char *text)
{
    return strstr(buf_str(&r->text), text) != NULL;
}

#endif
