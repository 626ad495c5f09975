/* SPDX-License-Identifier: Apache-2.0
 *
 *     PULLING -> events -> DELIVERING (one) -> consumer_next(done) -> the next one, or PULLING
 *        |                     ^    `-> consumer_next(not done) -> RESTING -> DELIVERING the same
 *        `-> failed, or nothing came too soon -> RESTING (back-off) -> PULLING
 *
 * The batch is a copy: it outlives the answer that it came in. The position only moves behind events that were done.
 */
#include "assert.h"
#include "mem.h"
#include "outbox.h"

enum {
    PULL_COUNT_MAX = 64,
    PULL_WAIT_MS = 20000,
    PULL_SOON_MS = 50,          /* an empty answer that comes sooner did not wait as asked: do not spin */
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 3000,
    BATCH_ARENA_MAX = 2 * EVENT_BATCH_SIZE_MAX,
};

enum consumer_state { CONSUMER_PULLING, CONSUMER_DELIVERING, CONSUMER_RESTING };

struct consumer {
    struct env *env;
    struct bus *bus;
    struct consumer_options o;
    char *topics;
    enum consumer_state state;
    bool begin, closing, in_deliver, caught_up;
    int64_t position, next, pulled_at_ns, backoff_ms;
    int64_t lost_told;              /* cuts up to this offset were told of */
    struct arena arena;
    struct event *events;
    size_t count, at;               /* of the batch; events[at] is being delivered */
    struct env_timer timer;
    struct env_task task;           /* begins, and closes: never from inside a call */
    struct ficus_error error;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void pull(struct consumer *c);
static void deliver(struct consumer *c);

static void rest(struct consumer *c, int64_t ms)
{
    c->state = CONSUMER_RESTING;
    env_timer_start(c->env, &c->timer, ms);
}

static void back_off(struct consumer *c)
{
    c->backoff_ms = c->backoff_ms == 0 ? BACKOFF_MIN_MS : c->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS
        : c->backoff_ms * 2;
    rest(c, c->backoff_ms / 2 + (int64_t)(env_random_u64(c->env) % (uint64_t)(c->backoff_ms / 2 + 1)));
}

static void close_now(struct consumer *c)
{
    void (*closed)(void *arg) = c->closed;
    void *arg = c->closed_arg;
    env_timer_stop(c->env, &c->timer);
    arena_done(&c->arena);
    mem_free(c->topics);
    mem_free(c);
    if (closed != NULL)
        closed(arg);
}

/* ---- pulling ---- */

static enum ficus_err batch_copy(struct consumer *c, const struct event *events, size_t count)
{
    arena_clear(&c->arena);
    c->count = c->at = 0;
    c->events = ARENA_ARRAY(&c->arena, struct event, count);
    enum ficus_err err = c->events == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
    for (; err == FICUS_ERR_OK && c->count < count; c->count++)
        err = event_copy(&c->arena, &events[c->count], &c->events[c->count]);
    if (err != FICUS_ERR_OK)
        c->count = 0;
    return err;
}

/* Once for each: the answers that follow still may be behind it. */
static void tell_lost(struct consumer *c)
{
    int64_t told = c->lost_told;
    for (size_t i = 0; i < c->bus->cut_count && c->o.lost != NULL; i++) {
        const struct event_cut *cut = &c->bus->cuts[i];
        if (cut->offset <= c->lost_told || cut->offset <= c->position)
            continue;
        told = cut->offset > told ? cut->offset : told;
        c->o.lost(c->o.arg, cut->topic, c->position, cut->offset);
    }
    c->lost_told = told;
}

static void pulled(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct consumer *c = arg;
    FICUS_ASSERT(c->state == CONSUMER_PULLING);
    if (c->closing) {
        c->state = CONSUMER_RESTING;    /* the task that closes is on its way */
        return;
    }
    if (err == FICUS_ERR_OK && count > 0)
        err = batch_copy(c, events, count);
    if (err != FICUS_ERR_OK) {
        err_set(&c->error, err, "pull: %s", err_text(err));
        back_off(c);
        return;
    }
    c->error.code = FICUS_ERR_OK;
    c->backoff_ms = 0;
    tell_lost(c);
    c->next = next > c->position ? next : c->position;
    if (count > 0) {
        deliver(c);
        return;
    }
    c->position = c->next;
    bool soon = env_now_ns(c->env) - c->pulled_at_ns < (int64_t)PULL_SOON_MS * 1000000;
    rest(c, soon ? PULL_SOON_MS : 0);
    if (!c->caught_up && c->o.caught_up != NULL) {
        c->caught_up = true;
        c->o.caught_up(c->o.arg);
    }
}

static void pull(struct consumer *c)
{
    c->state = CONSUMER_PULLING;
    c->pulled_at_ns = env_now_ns(c->env);
    int64_t wait_ms = c->caught_up || c->o.caught_up == NULL ? PULL_WAIT_MS : 0;
    enum ficus_err err = c->bus->ops->pull(c->bus, c->topics, c->position, PULL_COUNT_MAX, wait_ms, pulled, c);
    if (err == FICUS_ERR_OK)
        return;
    err_set(&c->error, err, "pull: %s", err_text(err));
    back_off(c);
}

/* ---- delivering ---- */

/* Hand out events while the user answers from inside deliver(); a loop, so that a long batch needs no deep stack. */
static void deliver(struct consumer *c)
{
    do {
        c->state = CONSUMER_DELIVERING;
        c->in_deliver = true;
        c->begin = false;
        c->o.deliver(c->o.arg, c, &c->events[c->at]);
        c->in_deliver = false;
    } while (c->begin);
}

/* The event at hand is through: what is next? True: deliver events[at]. */
static bool advance(struct consumer *c)
{
    c->position = c->events[c->at].offset;
    c->at++;
    if (c->at < c->count)
        return true;
    c->position = c->next;
    c->count = c->at = 0;
    rest(c, 0);
    return false;
}

void consumer_next(struct consumer *c, bool done, int64_t delay_ms)
{
    FICUS_ASSERT(c->state == CONSUMER_DELIVERING);
    if (c->closing)
        return;
    if (!done) {
        rest(c, delay_ms);
        return;
    }
    if (!advance(c))
        return;
    c->begin = true;
    if (!c->in_deliver)
        deliver(c);
}

static void timer(void *arg)
{
    struct consumer *c = arg;
    if (c->at < c->count)
        deliver(c);
    else
        pull(c);
}

/* ---- life ---- */

static void task(void *arg)
{
    struct consumer *c = arg;
    if (!c->closing) {
        pull(c);
        return;
    }
    if (c->state == CONSUMER_PULLING)
        c->bus->ops->cancel_pull(c->bus);
    close_now(c);
}

enum ficus_err consumer_new(struct env *e, struct bus *b, const struct consumer_options *o,
                            struct consumer **ret_consumer)
{
    struct consumer *c = mem_zalloc(sizeof *c);
    if (c == NULL || (c->topics = mem_strdup(o->topics)) == NULL) {
        mem_free(c);
        return FICUS_ERR_NOMEM;
    }
    c->env = e;
    c->bus = b;
    c->o = *o;
    c->position = o->offset;
    c->state = CONSUMER_RESTING;
    c->timer = (struct env_timer){.fn = timer, .arg = c};
    c->task = (struct env_task){.fn = task, .arg = c};
    arena_init(&c->arena, BATCH_ARENA_MAX);
    env_post(e, &c->task);
    *ret_consumer = c;
    return FICUS_ERR_OK;
}

void consumer_close(struct consumer *c, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!c->closing);
    c->closing = true;
    c->closed = closed;
    c->closed_arg = arg;
    env_timer_stop(c->env, &c->timer);
    env_post(c->env, &c->task);
}

enum ficus_err consumer_error(const struct consumer *c, const char **ret_detail)
{
    *ret_detail = c->error.code == FICUS_ERR_OK ? "" : c->error.text;
    return c->error.code;
}
