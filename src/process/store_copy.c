/* SPDX-License-Identifier: Apache-2.0 */
#include "store_copy.h"

#include "assert.h"
#include "mem.h"
#include "timefmt.h"

#include <stdio.h>

enum {
    PIECE_SIZE = 256 * 1024,
    PIECE_MS = 4,         /* from one to the next */
    PIECE_SENT_MS = 30 * 1000,
    BEGIN_MS_MAX = 10000, /* until nobody reads from an earlier moment */
    BEGIN_AGAIN_MS = 20,
};

static void begin(void *arg);
static void read_next(void *arg);

static void over(struct store_copy *c)
{
    FICUS_ASSERT(c->is_active && !c->is_working);
    env_timer_stop(c->env, &c->timer);
    db_copy_end(&c->copy);
    MEM_FREE(c->piece);
    c->s = NULL;
    c->is_active = false;
    if (c->idle != NULL)
        c->idle(c->arg);
}

static void failed(struct store_copy *c)
{
    LOG(c->log, LOG_WARN, NULL, "store.copy_failed", "the database could not be copied for an operator", LOG_ERR(&c->error));
    over(c);
}

/* Before the head: it can be said. */
static void refuse(struct store_copy *c)
{
    struct http_stream *s = c->s;
    c->s = NULL;
    if (s != NULL)
        (void)http_respond_problem(s, err_http_status(c->error.code), NULL, c->error.text);
    failed(c);
}

/* err and error are the worker's from the call on. False: the queue is full. */
static bool run(struct store_copy *c, void (*work)(void *arg), void (*done)(void *arg))
{
    c->job = (struct env_job){.work = work, .done = done, .arg = c};
    c->error = (struct ficus_error){0};
    c->is_working = true;
    if (env_run(c->env, &c->job) != FICUS_ERR_OK)
        c->is_working = false;
    return c->is_working;
}

static void wait(struct store_copy *c, int64_t ms, void (*then)(void *arg))
{
    env_timer_stop(c->env, &c->timer);
    c->timer = (struct env_timer){.fn = then, .arg = c};
    env_timer_start(c->env, &c->timer, ms < 0 ? 0 : ms);
}

/* ---- sending ---- */

static void broken(struct store_copy *c);

/* One that takes a byte now and then would keep the WAL growing for ever. */
static void too_slow(void *arg)
{
    struct store_copy *c = arg;
    c->err = err_set(&c->error, FICUS_ERR_TIMEOUT, "the client takes less than %d KiB in %d s", PIECE_SIZE / 1024, PIECE_SENT_MS / 1000);
    broken(c);
}

static void send_piece(struct store_copy *c)
{
    bool last = c->copy.at == c->copy.size;
    c->piece_sent += http_send(c->s, c->piece + c->piece_sent, c->piece_size - c->piece_sent, last);
    if (c->piece_sent < c->piece_size)
        return; /* on_writable, or too_slow */
    if (!last) {
        wait(c, c->piece_ms + PIECE_MS - env_now_ms(c->env), read_next);
        return;
    }
    LOG(c->log, LOG_INFO, NULL, "store.copied", "the database was copied for an operator", LOG_INT("bytes", c->copy.size),
        LOG_INT("ms", env_now_ms(c->env) - c->begun_ms));
    over(c);
}

static void read_work(void *arg)
{
    struct store_copy *c = arg;
    ssize_t n = db_copy_read(&c->copy, c->piece, PIECE_SIZE, &c->error);
    c->piece_size = n < 0 ? 0 : (size_t)n;
    c->err = n < 0 ? (enum ficus_err)-n : FICUS_ERR_OK;
}

static void broken(struct store_copy *c)
{
    struct http_stream *s = c->s;
    c->s = NULL;
    http_reset(s, c->err);
    failed(c);
}

static void read_done(void *arg)
{
    struct store_copy *c = arg;
    c->is_working = false;
    c->piece_sent = 0;
    if (c->s == NULL)
        over(c);
    else if (c->err != FICUS_ERR_OK)
        broken(c);
    else {
        if (c->copy.at == c->copy.size)
            db_copy_end(&c->copy); /* what is left is only to be sent */
        wait(c, PIECE_SENT_MS, too_slow);
        send_piece(c);
    }
}

static void read_next(void *arg)
{
    struct store_copy *c = arg;
    c->piece_ms = env_now_ms(c->env);
    if (!run(c, read_work, read_done)) /* requests come first */
        wait(c, PIECE_MS, read_next);
}

static bool send_head(struct store_copy *c)
{
    struct http_msg m;
    char moment[TIME_TEXT_SIZE], offset[24];
    time_format(c->copy.moment_ms, moment);
    int size = snprintf(offset, sizeof offset, "%lld", (long long)c->offset);
    http_msg_init(&m, c->s->arena);
    m.status = 200;
    m.content_length = c->copy.size;
    return http_msg_add(&m, SLICE("Content-Type"), SLICE("application/vnd.sqlite3")) &&
           http_msg_add(&m, SLICE("Cache-Control"), SLICE("no-store")) &&
           http_msg_add(&m, SLICE("Ficus-Moment"), slice_str(moment)) &&
           (c->offset < 0 || http_msg_add(&m, SLICE("Ficus-Offset"), slice_make(offset, (size_t)size))) &&
           http_send_head(c->s, &m, false) == FICUS_ERR_OK;
}

/* ---- beginning ---- */

static void begin_work(void *arg)
{
    struct store_copy *c = arg;
    c->err = db_copy_begin(c->db, &c->copy, &c->error);
}

static void begin_done(void *arg)
{
    struct store_copy *c = arg;
    c->is_working = false;
    if (c->s == NULL) {
        over(c);
    } else if (c->err == FICUS_ERR_UNAVAILABLE && env_now_ms(c->env) < c->begun_ms + BEGIN_MS_MAX) {
        wait(c, BEGIN_AGAIN_MS, begin);
    } else if (c->err != FICUS_ERR_OK) {
        refuse(c);
    } else if (send_head(c)) {
        read_next(c);
    } else {
        c->err = err_set(&c->error, FICUS_ERR_NOMEM, "out of memory");
        broken(c);
    }
}

static void begin(void *arg)
{
    struct store_copy *c = arg;
    if (run(c, begin_work, begin_done))
        return;
    (void)err_set(&c->error, FICUS_ERR_BUSY, "too much waits for a worker");
    refuse(c);
}

/* ---- the exchange ---- */

/* Also for exchanges that were refused, whose stream is not ours any more. */
static void on_writable(void *arg, struct http_stream *s)
{
    struct store_copy *c = arg;
    if (c->s == s && !c->is_working && c->piece_sent < c->piece_size)
        send_piece(c);
}

static void on_done(void *arg, struct http_stream *s)
{
    (void)arg, (void)s;
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    struct store_copy *c = arg;
    if (c->s != s)
        return;
    c->s = NULL;
    if (c->is_working)
        return; /* its end sees it */
    (void)err_set(&c->error, err, "%s", detail);
    failed(c);
}

static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    /* a body has no business here, and is not asked for */
    (void)arg, (void)s, (void)data, (void)end;
}

static const struct http_handler copy_handler = {
    .on_data = on_data, .on_writable = on_writable, .on_done = on_done, .on_reset = on_reset};

void store_copy_answer(struct store_copy *c, struct http_stream *s, int64_t offset)
{
    http_stream_handle(s, &copy_handler, c);
    if (c->is_active) {
        (void)http_respond_problem(s, 503, "busy", "another copy of this database is being made");
        return;
    }
    c->piece = mem_alloc(PIECE_SIZE);
    if (c->piece == NULL) {
        (void)http_respond_problem(s, 503, NULL, "out of memory");
        return;
    }
    c->s = s;
    c->copy = (struct db_copy){0};
    c->piece_size = c->piece_sent = 0;
    c->offset = offset;
    c->begun_ms = env_now_ms(c->env);
    c->is_active = true;
    begin(c);
}
