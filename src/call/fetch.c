/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole small answers in one piece, over a call: collects the body up to its ceiling and reports once.
 */
#include "call.h"

#include "mem.h"

struct call_fetch {
    struct call *call;
    struct buf body;
    struct http_msg *head;
    void (*done)(void *arg, const struct call_result *result);
    void *arg;
};

static void fetch_free(struct call_fetch *f)
{
    buf_done(&f->body);
    mem_free(f);
}

/* Tell and free. The call is over, or over with this. */
static void fetch_end(struct call_fetch *f, const struct call_result *result)
{
    f->done(f->arg, result);
    fetch_free(f);
}

static void fetch_on_head(void *arg, struct call *c, struct http_msg *head, bool end)
{
    struct call_fetch *f = arg;
    f->head = head;
    if (!end)
        call_recv(c);
}

/* The answer cannot be kept. */
static void fetch_give_up(struct call_fetch *f, struct call *c, enum ficus_err err, const char *detail)
{
    const struct call_result result = {.err = err, .maybe_processed = true, .detail = detail};
    call_cancel(c);
    fetch_end(f, &result);
}

static void fetch_on_data(void *arg, struct call *c, struct slice data, bool end)
{
    struct call_fetch *f = arg;
    if (!buf_add_slice(&f->body, data)) {
        bool over = buf_slice(&f->body).size + data.size > f->body.size_max;
        fetch_give_up(f, c, over ? FICUS_ERR_TOO_LARGE : FICUS_ERR_NOMEM, over
                      ? "the answer is larger than the caller takes" : "out of memory");
    } else if (!end) {
        call_recv(c);
    }
}

static void fetch_on_done(void *arg, struct call *c)
{
    struct call_fetch *f = arg;
    const struct call_result result = {.status = f->head->status, .head = f->head, .body = buf_slice(&f->body)};
    fetch_end(f, &result);
}

static void fetch_on_error(void *arg, struct call *c, enum ficus_err err, bool maybe_processed, const char *detail)
{
    const struct call_result result = {.err = err, .maybe_processed = maybe_processed, .detail = detail};
    fetch_end(arg, &result);
}

enum ficus_err call_fetch(struct call_engine *g, const struct call_request *r, size_t body_size_max,
                          void (*done)(void *arg, const struct call_result *result), void *arg,
                              struct call_fetch **ret_fetch)
{
    static const struct call_handler handler = {
        .on_head = fetch_on_head,
        .on_data = fetch_on_data,
        .on_done = fetch_on_done,
        .on_error = fetch_on_error,
    };
    if (r->body_stream_size > 0 || r->body_stream_size == -1)
        return FICUS_ERR_INVALID;
    struct call_fetch *f = mem_zalloc(sizeof *f);
    if (f == NULL)
        return FICUS_ERR_NOMEM;
    buf_init(&f->body, body_size_max);
    f->done = done;
    f->arg = arg;
    enum ficus_err err = call_start(g, r, &handler, f, &f->call);
    if (err != FICUS_ERR_OK) {
        fetch_free(f);
        return err;
    }
    if (ret_fetch != NULL)
        *ret_fetch = f;
    return FICUS_ERR_OK;
}

void call_fetch_cancel(struct call_fetch *f)
{
    call_cancel(f->call);
    fetch_free(f);
}
