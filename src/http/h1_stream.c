/* SPDX-License-Identifier: Apache-2.0
 *
 * Body flow of one HTTP/1.1 exchange. Nothing here calls the user but h1_stream_deliver and h1_stream_writable, and
 * those are called only by the owner's pump, never from inside http_send or http_recv.
 */
#include "h1_stream.h"

#include "assert.h"

void h1_stream_fail(struct h1_stream *st, enum ficus_err err, const char *detail)
{
    FICUS_ASSERT(err != FICUS_ERR_OK);
    if (st->fail != FICUS_ERR_OK)
        return;
    st->fail = err;
    st->fail_detail = detail;
    h1_io_kick(st->io);
}

/* Give what there is to the kernel now. What that did is seen in the pump; but there is nothing to see when a request left
 * whole and its answer is read for already. */
static void flush_now(struct h1_stream *st)
{
    struct h1_io *io = st->io;
    if (!io->pumping)
        (void)h1_io_flush(io);
    bool is_request = st->s.head_in == NULL;
    if (!is_request || !io->end_sent || !io->reading || st->writable_wanted || st->fail != FICUS_ERR_OK)
        h1_io_kick(io);
}

void h1_stream_out_open(struct h1_stream *st, enum h1_framing framing, int64_t content_length, bool discard, bool end)
{
    st->io->chunked = framing == H1_BODY_CHUNKED && !discard;
    st->out = H1_OUT_BODY;
    st->out_counted = framing == H1_BODY_LENGTH || framing == H1_BODY_NONE;
    st->out_left = st->out_counted ? content_length : 0;
    st->out_discard = discard;
    if (end) {
        st->out = H1_OUT_ENDED;
        st->io->ended = true;
        flush_now(st);
    } else {
        h1_io_kick(st->io);
    }
}

size_t h1_stream_send(struct http_stream *s, const void *p, size_t size, bool end)
{
    struct h1_stream *st = h1_stream_of(s);
    struct h1_io *io = st->io;
    FICUS_ASSERT(st->out != H1_OUT_HEAD);
    if (st->out == H1_OUT_ENDED || st->fail != FICUS_ERR_OK || st->abandoned)
        return size; /* it is over; the callback that says so is on its way */
    size_t taken = size;
    if (!st->out_discard) {
        if (st->out_counted && (uint64_t)size > (uint64_t)st->out_left) {
            h1_stream_fail(st, FICUS_ERR_INVALID, "more body than its content length");
            return size;
        }
        taken = h1_io_put(io, p, size);
        st->out_left -= st->out_counted ? (int64_t)taken : 0;
    }
    if (taken < size) {
        st->writable_wanted = true;
    } else if (end) {
        if (st->out_counted && !st->out_discard && st->out_left > 0) {
            h1_stream_fail(st, FICUS_ERR_INVALID, "less body than its content length");
            return size;
        }
        st->out = H1_OUT_ENDED;
        io->ended = true;
    }
    /* Small pieces wait for the next turn and leave together; an end or a full buffer leaves now. */
    if (io->ended || taken < size || h1_io_out_room(io) < HTTP_BODY_BUFFER_SIZE / 2)
        flush_now(st);
    else
        h1_io_kick(io);
    return taken;
}

void h1_stream_recv(struct http_stream *s)
{
    struct h1_stream *st = h1_stream_of(s);
    FICUS_ASSERT(!st->recv_wanted);
    if (st->fail != FICUS_ERR_OK || st->abandoned)
        return;
    st->recv_wanted = true;
    st->io->moved_ms = env_now_ms(st->io->env);
    h1_io_kick(st->io);
}

enum ficus_err h1_stream_trailers(struct http_stream *s, const struct http_field *fields, size_t field_count)
{
    struct h1_stream *st = h1_stream_of(s);
    struct h1_io *io = st->io;
    size_t size = 0;
    FICUS_ASSERT(st->out != H1_OUT_HEAD);
    if (st->out == H1_OUT_ENDED || st->fail != FICUS_ERR_OK || st->abandoned)
        return FICUS_ERR_OK;
    for (size_t i = 0; i < field_count; i++) {
        if (!h1_trailer_allowed(fields[i].name) || !http_value_valid(fields[i].value))
            return FICUS_ERR_INVALID;
        size += fields[i].name.size + 2 + fields[i].value.size + 2;
    }
    if (!io->chunked || !st->takes_trailers)
        return FICUS_ERR_OK;
    char *text = arena_alloc(s->arena, size + 1), *at = text;
    if (text == NULL)
        return FICUS_ERR_NOMEM;
    for (size_t i = 0; i < field_count; i++) {
        const struct slice pieces[] = {fields[i].name, SLICE(": "), fields[i].value, SLICE("\r\n")};
        for (size_t k = 0; k < 4; at += pieces[k++].size)
            if (pieces[k].size > 0)
                memcpy(at, pieces[k].p, pieces[k].size);
    }
    io->trailers = slice_make(text, size);
    return FICUS_ERR_OK;
}

void h1_stream_tunnel(struct h1_stream *st)
{
    h1_body_init(&st->body, H1_BODY_UNTIL_CLOSE, -1, NULL);
    h1_io_out_reopen(st->io);
    st->tunnel = true;
    st->in_ended = false;
    st->out = H1_OUT_BODY;
    st->out_counted = st->out_discard = false;
}

bool h1_stream_shut(struct h1_stream *st)
{
    if (!st->tunnel || st->shut || !h1_stream_out_done(st))
        return false;
    st->shut = true;
    st->io->moved_ms = env_now_ms(st->io->env);
    env_shutdown_write(st->io->env, st->io->stream);
    return true;
}

/* False: the exchange is over, or broken. */
static bool deliver_trailers(struct h1_stream *st, size_t field_count_max)
{
    struct slice text = st->body.done ? h1_body_trailers(&st->body) : SLICE("");
    if (text.size == 0 || st->s.handler->on_trailers == NULL)
        return true;
    struct http_msg trailers;
    const char *detail = NULL;
    http_msg_init(&trailers, st->s.arena);
    enum ficus_err err = h1_parse_trailers(text, field_count_max, &trailers, &detail);
    if (err != FICUS_ERR_OK)
        h1_stream_fail(st, err, detail);
    else if (trailers.field_count > 0)
        st->s.handler->on_trailers(st->s.arg, &st->s, trailers.fields, trailers.field_count);
    return st->fail == FICUS_ERR_OK && !st->abandoned;
}

bool h1_stream_deliver(struct h1_stream *st, size_t field_count_max)
{
    struct h1_io *io = st->io;
    if (!st->recv_wanted || st->fail != FICUS_ERR_OK)
        return false;
    char *p = h1_io_in(io);
    size_t used = 0, data = 0;
    const char *detail = NULL;
    if (!h1_body_decode(&st->body, p, h1_io_in_size(io), &used, &data, &detail)) {
        h1_stream_fail(st, FICUS_ERR_PROTOCOL, detail);
        return true;
    }
    if (!st->body.done && used == h1_io_in_size(io) && (io->in_eof || io->in_err != FICUS_ERR_OK)) {
        if (io->in_eof && st->body.framing == H1_BODY_UNTIL_CLOSE) {
            st->body.done = true;
        } else if (data == 0) {
            h1_io_consume(io, used);
            h1_stream_fail(st, FICUS_ERR_RESET, "connection ended inside a body");
            return true;
        }
    }
    if (data == 0 && !st->body.done) {
        h1_io_consume(io, used);
        return false;
    }
    if (!deliver_trailers(st, field_count_max)) {
        h1_io_consume(io, used);
        return true;
    }
    st->recv_wanted = false;
    st->in_ended = st->body.done;
    /* The bytes are lent: consume after the callback. It may abandon the stream, but the buffer is the connection's and
     * stays. */
    st->s.handler->on_data(st->s.arg, &st->s, slice_make(p, data), st->body.done);
    h1_io_consume(io, used);
    return true;
}

bool h1_stream_writable(struct h1_stream *st)
{
    if (!st->writable_wanted || st->fail != FICUS_ERR_OK || st->abandoned)
        return false;
    /* Half empty: few large pieces rather than many small ones. */
    if (!st->out_discard && h1_io_out_room(st->io) < HTTP_BODY_BUFFER_SIZE / 2)
        return false;
    st->writable_wanted = false;
    if (st->s.handler->on_writable != NULL)
        st->s.handler->on_writable(st->s.arg, &st->s);
    return true;
}

bool h1_stream_waits(const struct h1_stream *st)
{
    return st->io->writing || (st->tunnel ? st->shut && !st->in_ended : st->recv_wanted);
}
