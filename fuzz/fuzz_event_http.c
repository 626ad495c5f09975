/* SPDX-License-Identifier: Apache-2.0
 *
 * CloudEvents in HTTP requests, fields up to an empty line and then the body: what is taken can be written, read again, and is the same
 * event; every error has a text.
 */
#include "assert.h"
#include "event_http.h"

static bool same(struct slice a, struct slice b)
{
    return (a.p == NULL) == (b.p == NULL) && slice_eq(a, b);
}

static void check(struct arena *a, const struct event *ev)
{
    struct buf out;
    struct event back;
    struct ficus_error error = {0};
    buf_init(&out, 2 * EVENT_SIZE_MAX);
    if (event_encode(&out, ev, &error) == FICUS_ERR_OK) {
        FICUS_ASSERT(slice_find(buf_slice(&out), '\n') < 0);
        FICUS_ASSERT(event_decode(a, buf_slice(&out), &back, &error) == FICUS_ERR_OK);
        FICUS_ASSERT(same(ev->id, back.id) && same(ev->source, back.source) && same(ev->topic, back.topic) && same(ev->subject, back.subject));
        FICUS_ASSERT(same(ev->data, back.data));
        FICUS_ASSERT(ev->at_ms == back.at_ms);
        FICUS_ASSERT(event_check(ev, &error) == FICUS_ERR_OK);
    }
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct http_msg head;
    struct event *events = NULL;
    size_t count = 0;
    struct ficus_error error = {0};
    struct slice body = slice_make(data, size);
    arena_init(&a, 64 << 20);
    http_msg_init(&head, &a);
    for (struct slice line = slice_cut(&body, '\n'); line.size > 0; line = slice_cut(&body, '\n')) {
        struct slice name = slice_cut(&line, ':');
        (void)http_msg_add(&head, name, slice_trim(line));  /* what is no field is none here either */
    }
    enum ficus_err err = event_http_read(&a, &head, body.p == NULL ? SLICE("") : body, &events, &count, &error);
    FICUS_ASSERT(err == FICUS_ERR_OK || error.text[0] != '\0');
    for (size_t i = 0; err == FICUS_ERR_OK && i < count; i++)
        check(&a, &events[i]);
    arena_done(&a);
    return 0;
}
