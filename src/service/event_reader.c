/* SPDX-License-Identifier: Apache-2.0 */
#include "event_reader.h"

#include <string.h>

void event_reader_init(struct event_reader *r, void (*event)(void *arg, const struct ficus_client_event *e), void *arg)
{
    *r = (struct event_reader){.event = event, .arg = arg};
    buf_init(&r->line, EVENT_READER_SIZE_MAX);
    buf_init(&r->data, EVENT_READER_SIZE_MAX);
    buf_init(&r->id, EVENT_READER_SIZE_MAX);
    buf_init(&r->name, EVENT_READER_SIZE_MAX);
}

void event_reader_done(struct event_reader *r)
{
    buf_done(&r->line);
    buf_done(&r->data);
    buf_done(&r->id);
    buf_done(&r->name);
}

static bool take_value(struct buf *b, struct slice value)
{
    buf_clear(b);
    return buf_add_slice(b, value);
}

static bool take_field(struct event_reader *r, struct slice name, struct slice value)
{
    if (slice_eq_str(name, "data")) {
        bool ok = (!r->data_begun || buf_add_char(&r->data, '\n')) && buf_add_slice(&r->data, value);
        r->data_begun = true;
        return ok;
    }
    if (slice_eq_str(name, "event"))
        return take_value(&r->name, value);
    if (slice_eq_str(name, "id") && slice_find(value, '\0') < 0)
        return take_value(&r->id, value);
    return true; /* retry and what nobody knows */
}

/* An event without data is none; its id counts all the same. */
static void dispatch(struct event_reader *r)
{
    if (r->data_begun) {
        const char *name = buf_str(&r->name);
        const struct ficus_client_event e = {
            .id = buf_str(&r->id), .name = *name == '\0' ? "message" : name, .data = buf_str(&r->data)};
        r->event(r->arg, &e);
    }
    buf_clear(&r->data);
    buf_clear(&r->name);
    r->data_begun = false;
}

static bool take_line(struct event_reader *r, struct slice line)
{
    if (!r->line_begun && slice_starts(line, SLICE("\xef\xbb\xbf")))
        line = slice_from(line, 3);
    r->line_begun = true;
    if (line.size == 0) {
        dispatch(r);
        return true;
    }
    struct slice value = line;
    struct slice name = slice_cut(&value, ':'); /* a comment's name is empty */
    if (value.size > 0 && value.p[0] == ' ')
        value = slice_from(value, 1);
    return take_field(r, name, value);
}

/* The bytes before the next end of a line; all when there is none. */
static size_t line_part(struct slice s)
{
    size_t i = 0;
    while (i < s.size && s.p[i] != '\n' && s.p[i] != '\r')
        i++;
    return i;
}

bool event_reader_feed(struct event_reader *r, struct slice piece)
{
    while (piece.size > 0) {
        if (r->after_cr && piece.p[0] == '\n')
            piece = slice_from(piece, 1);
        r->after_cr = false;
        size_t size = line_part(piece);
        if (!buf_add(&r->line, piece.p, size))
            return false;
        if (size == piece.size)
            return true;
        r->after_cr = piece.p[size] == '\r';
        piece = slice_from(piece, size + 1);
        if (!take_line(r, buf_slice(&r->line)))
            return false;
        buf_clear(&r->line);
    }
    return true;
}
