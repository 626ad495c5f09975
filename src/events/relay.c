/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay, one batch at a time:
 *
 *  IDLE -> kicked -> READING (worker) -> rows -> PUBLISHING -> acknowledged -> READING ...
 *                       |                            `-> failed -> RESTING (back-off) -> PUBLISHING the same bytes
 *                       `-> no rows, nothing kicked meanwhile -> IDLE -> 5 s of quiet -> TRIMMING (worker) -> IDLE
 *  IDLE -> as many are acknowledged that may still have rows as may be published again -> TRIMMING -> done -> IDLE, and on
 *                                                                                           `-> failed -> RESTING -> TRIMMING
 *
 * Invariants
 *  1. Rows are published in the order of seq, and none after a row that is not acknowledged: nothing is skipped,
 *     whatever the bus says.
 *  2. A row is deleted only when acknowledged (seq <= acked).
 *  3. Of acknowledged events at most EVENT_AGAIN_MAX have a row, whatever dies: the next process publishes all rows again, and
 *     further back the log does not know them. (Of what it takes over from a process before it, it acknowledges those first.)
 */
#include "assert.h"
#include "mem.h"
#include "outbox.h"

#include <stdatomic.h>

enum {
    QUIET_MS = 5000,
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 3000,
    RETRY_MS = 50,          /* when the pool has no room */
};

enum relay_state { RELAY_IDLE, RELAY_READING, RELAY_PUBLISHING, RELAY_RESTING, RELAY_TRIMMING };

struct outbox_relay {
    struct env *env;
    struct db *db;
    struct bus *bus;
    enum relay_state state;
    /* The highest acknowledged seq; written on the loop, read by outbox_trim on workers. A single number that only
     * grows and is stored after the acknowledgement came: an older value deletes less, never too much. So do
     * pending, which is for people, and trimmed, a hint. */
    _Atomic int64_t acked, pending, trimmed;
    bool kicked, trim_due, closing, ended;
    struct env_task kick, end;
    struct env_timer rest_timer, quiet_timer;
    struct env_job job;
    int64_t backoff_ms;
    /* the batch: the job's while READING, the bus's while PUBLISHING */
    struct buf batch;
    int64_t batch_last, seq_last;
    size_t batch_count;
    size_t untrimmed;               /* acknowledged since rows were last deleted for certain */
    enum ficus_err err;
    struct ficus_error error;       /* the last failure; code OK when none since */
    void (*closed)(void *arg);
    void *closed_arg;
};

static void relay_go_on(struct outbox_relay *r);

/* ---- reading ---- */

/* [worker] */
static enum ficus_err batch_fill(struct outbox_relay *r, struct db_conn *c, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    int more = 0;
    int64_t acked = atomic_load_explicit(&r->acked, memory_order_relaxed);
    enum ficus_err err = db_query(c, &s, reterr,
        "SELECT seq, event, (SELECT max(seq) FROM ficus_outbox) FROM ficus_outbox WHERE seq > ?"
        " ORDER BY seq LIMIT ?", "ii", acked, (int64_t)EVENT_BATCH_COUNT_MAX);
    while (err == FICUS_ERR_OK && (more = db_step(s, reterr)) > 0) {
        struct slice event = db_text(s, 1);
        if (r->batch_count > 0 && buf_slice(&r->batch).size + event.size + 2 > EVENT_BATCH_SIZE_MAX)
            break;
        (void)buf_add_char(&r->batch, r->batch_count == 0 ? '[' : ',');
        (void)buf_add_slice(&r->batch, event);
        r->batch_last = db_i64(s, 0);
        r->seq_last = db_i64(s, 2);
        r->batch_count++;
    }
    db_finish(s);
    (void)buf_add_char(&r->batch, ']');
    if (more < 0)
        err = (enum ficus_err)-more;
    if (err == FICUS_ERR_OK && buf_failed(&r->batch))
        err = err_set(reterr, FICUS_ERR_NOMEM, "outbox: out of memory");
    return err;
}

static void read_work(void *arg)
{
    struct outbox_relay *r = arg;
    struct db_conn *c = NULL;
    buf_clear(&r->batch);
    r->batch_count = 0;
    r->err = db_reader_take(r->db, &c, &r->error);
    if (r->err != FICUS_ERR_OK)
        return;
    r->err = batch_fill(r, c, &r->error);
    db_reader_give(r->db, c);
}

static void rest(struct outbox_relay *r, int64_t ms)
{
    r->state = RELAY_RESTING;
    env_timer_start(r->env, &r->rest_timer, ms);
}

/* Doubling from 100 ms to 3 s, of which the upper half is by chance. */
static void back_off(struct outbox_relay *r)
{
    if (r->closing)
        return;
    r->backoff_ms = r->backoff_ms == 0 ? BACKOFF_MIN_MS : r->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS
        : r->backoff_ms * 2;
    rest(r, r->backoff_ms / 2 + (int64_t)(env_random_u64(r->env) % (uint64_t)(r->backoff_ms / 2 + 1)));
}

static void publish(struct outbox_relay *r);

static void read_done(void *arg)
{
    struct outbox_relay *r = arg;
    r->state = RELAY_IDLE;
    if (r->err != FICUS_ERR_OK) {
        r->error.code = r->err;
        r->kicked = true;
        r->batch_count = 0;
        back_off(r);
    } else if (r->batch_count > 0 && !r->closing) {
        int64_t acked = atomic_load_explicit(&r->acked, memory_order_relaxed);
        atomic_store_explicit(&r->pending, r->seq_last - acked, memory_order_relaxed);
        publish(r);
    } else if (r->batch_count == 0) {
        atomic_store_explicit(&r->pending, 0, memory_order_relaxed);
    }
    relay_go_on(r);
}

/* ---- publishing ---- */

static void published(void *arg, enum ficus_err err, const char *detail)
{
    struct outbox_relay *r = arg;
    FICUS_ASSERT(r->state == RELAY_PUBLISHING);
    r->state = RELAY_IDLE;
    if (err != FICUS_ERR_OK) {
        err_set(&r->error, err, "%s", detail == NULL || detail[0] == '\0' ? err_text(err) : detail);
        back_off(r);
    } else {
        atomic_store_explicit(&r->acked, r->batch_last, memory_order_relaxed);
        atomic_store_explicit(&r->pending, r->seq_last - r->batch_last, memory_order_relaxed);
        r->error.code = FICUS_ERR_OK;
        r->backoff_ms = 0;
        r->untrimmed += r->batch_count;
        r->batch_count = 0;
        r->kicked = true;       /* there may be more than fitted */
        r->trim_due = true;
        env_timer_start(r->env, &r->quiet_timer, QUIET_MS);
    }
    relay_go_on(r);
}

static void publish(struct outbox_relay *r)
{
    r->state = RELAY_PUBLISHING;
    enum ficus_err err = r->bus->ops->publish(r->bus, buf_slice(&r->batch), published, r);
    if (err == FICUS_ERR_OK)
        return;
    err_set(&r->error, err, "%s", err_text(err));
    back_off(r);
}

/* ---- trimming ---- */

/* [worker] On its own, for a service that writes nothing more, or less than is published: the rows must not be there when the
 * log has forgotten them. When there are none the transaction that deleted them may still be without its commit, so this
 * one waits for it. */
static void trim_work(void *arg)
{
    struct outbox_relay *r = arg;
    struct db_tx tx = {0};
    int64_t acked = atomic_load_explicit(&r->acked, memory_order_relaxed);
    r->err = db_tx_begin(r->db, &tx, 0, NULL);
    if (r->err != FICUS_ERR_OK)
        return;
    r->err = db_exec(db_tx_conn(&tx), NULL, "DELETE FROM ficus_outbox WHERE seq <= ?", "i", acked);
    if (r->err == FICUS_ERR_OK)
        r->err = db_tx_commit_wait(&tx, NULL);
    else
        db_tx_rollback(&tx);
    if (r->err == FICUS_ERR_OK)
        atomic_store_explicit(&r->trimmed, acked, memory_order_relaxed);
}

static bool must_trim(const struct outbox_relay *r)
{
    return r->untrimmed + EVENT_BATCH_COUNT_MAX > EVENT_AGAIN_MAX;
}

static void trim_done(void *arg)
{
    struct outbox_relay *r = arg;
    r->state = RELAY_IDLE;
    r->trim_due = r->err != FICUS_ERR_OK && !r->closing;
    if (r->err == FICUS_ERR_OK)
        r->untrimmed = 0;
    if (r->trim_due)
        env_timer_start(r->env, &r->quiet_timer, QUIET_MS);
    if (r->trim_due && must_trim(r))
        back_off(r);
    relay_go_on(r);
}

enum ficus_err outbox_trim(struct outbox_relay *r, struct db_conn *c, struct ficus_error *reterr)
{
    int64_t acked = atomic_load_explicit(&r->acked, memory_order_relaxed);
    if (acked <= atomic_load_explicit(&r->trimmed, memory_order_relaxed))
        return FICUS_ERR_OK;
    /* A hint only: when this transaction is rolled back, the next acknowledgement or the quiet timer deletes the
     * rows. */
    atomic_store_explicit(&r->trimmed, acked, memory_order_relaxed);
    return db_exec(c, reterr, "DELETE FROM ficus_outbox WHERE seq <= ?", "i", acked);
}

/* ---- the loop's part ---- */

static void job_start(struct outbox_relay *r, enum relay_state state, void (*work)(void *arg), void (*done)(void *arg))
{
    r->job = (struct env_job){.work = work, .done = done, .arg = r};
    r->state = state;
    if (env_run(r->env, &r->job) != FICUS_ERR_OK)
        rest(r, RETRY_MS);
}

static void end_task(void *arg)
{
    struct outbox_relay *r = arg;
    void (*closed)(void *arg) = r->closed;
    void *closed_arg = r->closed_arg;
    env_timer_stop(r->env, &r->quiet_timer);
    buf_done(&r->batch);
    mem_free(r);
    if (closed != NULL)
        closed(closed_arg);
}

/* Idle: what is next? */
static void relay_go_on(struct outbox_relay *r)
{
    if (r->state != RELAY_IDLE || r->ended)
        return;
    if (r->closing && !r->trim_due) {
        r->ended = true;
        env_post(r->env, &r->end);      /* behind a kick that is still on its way */
    } else if (r->closing) {
        job_start(r, RELAY_TRIMMING, trim_work, trim_done);
    } else if (r->batch_count > 0) {
        publish(r);
    } else if (must_trim(r)) {
        job_start(r, RELAY_TRIMMING, trim_work, trim_done);
    } else if (r->kicked) {
        r->kicked = false;
        job_start(r, RELAY_READING, read_work, read_done);
        r->kicked |= r->state == RELAY_RESTING;     /* no room in the pool: again later */
    } else if (r->trim_due && !env_timer_armed(&r->quiet_timer)) {
        job_start(r, RELAY_TRIMMING, trim_work, trim_done);
    }
}

static void rested(void *arg)
{
    struct outbox_relay *r = arg;
    r->state = RELAY_IDLE;
    relay_go_on(r);
}

static void quiet(void *arg)
{
    relay_go_on(arg);
}

/* The posted task: also the way in which closing begins, so that no callback comes from inside a call. */
static void kick_task(void *arg)
{
    struct outbox_relay *r = arg;
    r->kicked = true;
    if (r->closing && r->state == RELAY_RESTING) {
        env_timer_stop(r->env, &r->rest_timer);
        r->state = RELAY_IDLE;
    }
    relay_go_on(r);
}

enum ficus_err outbox_relay_new(struct env *e, struct db *d, struct bus *b, struct outbox_relay **ret_relay)
{
    struct outbox_relay *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return FICUS_ERR_NOMEM;
    r->env = e;
    r->db = d;
    r->bus = b;
    r->kick = (struct env_task){.fn = kick_task, .arg = r};
    r->end = (struct env_task){.fn = end_task, .arg = r};
    r->rest_timer = (struct env_timer){.fn = rested, .arg = r};
    r->quiet_timer = (struct env_timer){.fn = quiet, .arg = r};
    buf_init(&r->batch, EVENT_BATCH_SIZE_MAX + 16);
    env_post(e, &r->kick);      /* what an earlier process left behind */
    *ret_relay = r;
    return FICUS_ERR_OK;
}

void outbox_relay_kick(struct outbox_relay *r)
{
    env_post(r->env, &r->kick);
}

void outbox_relay_close(struct outbox_relay *r, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!r->closing);
    r->closing = true;
    r->closed = closed;
    r->closed_arg = arg;
    env_post(r->env, &r->kick);
}

int64_t outbox_relay_pending(const struct outbox_relay *r)
{
    return atomic_load_explicit(&r->pending, memory_order_relaxed);
}

enum ficus_err outbox_relay_error(const struct outbox_relay *r, const char **ret_detail)
{
    *ret_detail = r->error.code == FICUS_ERR_OK ? "" : r->error.text;
    return r->error.code;
}
