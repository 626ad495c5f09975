/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the flows' store share: events from a few words, turns, and all that a store knows as one text. Header only.
 */
#ifndef FICUS_TEST_FLOW_WORLD_H
#define FICUS_TEST_FLOW_WORLD_H

#include "crash_env.h"
#include "flow_defs.h"
#include "flow_store.h"
#include "mem.h"
#include "timefmt.h"

#include <stdlib.h>

enum { WORLD_EVENTS_MAX = 512 };
#define DAY (24ll * 3600 * 1000)
#define NOON (20000 * DAY) /* all times count from here */

struct world {
    struct sim_disk *disk;
    struct crash_env *ce;
    struct env *env;
    struct arena arena;
    struct flow_def defs[4];
    size_t def_count;
    struct flow_store_options options;
    struct flow_store *store;
    const char *anew;
    struct event events[WORLD_EVENTS_MAX];
    size_t event_count, taken;
    int64_t heard[FLOW_CONSUMERS_MAX];
    struct flow_turn turn; /* the last one */
    struct arena turn_arena;
    int64_t now_ms;
    bool behind; /* the log is not read to its end */
};

static inline struct world *world_new(const char *const *flows, size_t count)
{
    struct world *w = calloc(1, sizeof *w);
    w->disk = sim_disk_new();
    w->ce = crash_env_new(w->disk, 1);
    w->env = crash_env(w->ce);
    arena_init(&w->arena, 64 << 20);
    arena_init(&w->turn_arena, 16 << 20);
    for (size_t i = 0; i < count; i++)
        must_read_flow(&w->arena, flows[i], &w->defs[w->def_count++]);
    w->options = (struct flow_store_options){.path = "data/flows.db", .defs = w->defs, .def_count = w->def_count, .retention_ms = 7 * DAY};
    w->now_ms = NOON + 3600 * 1000;
    return w;
}

static inline void world_open(struct world *w)
{
    struct ficus_error error = {0};
    if (flow_store_open(w->env, &w->options, &w->store, &w->anew, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

static inline void world_close(struct world *w)
{
    flow_store_close(w->store);
    w->store = NULL;
}

static inline void world_free(struct world *w)
{
    world_close(w);
    arena_done(&w->turn_arena);
    arena_done(&w->arena);
    crash_env_free(w->ce);
    sim_disk_free(w->disk);
    free(w);
}

/* "mail id=m1 of=o1 by=mailer for=r1 due=c1 at=1500 data={...}": topic, then what is said of it; ms from noon. Offsets go up in tens. */
static inline struct event event_of(struct world *w, const char *text, int64_t offset)
{
    char time[TIME_TEXT_SIZE], *words = arena_strdup(&w->arena, slice_str(text)), *rest = NULL;
    struct event ev = {.topic = slice_str(strtok_r(words, " ", &rest)), .source = SLICE("/orders"), .subject = SLICE("o1"), .offset = offset};
    int64_t at_ms = offset;
    for (char *word; (word = strtok_r(NULL, " ", &rest)) != NULL;) {
        struct slice value = slice_str(word), name = slice_cut(&value, '=');
        if (slice_eq_str(name, "id"))
            ev.id = value;
        else if (slice_eq_str(name, "of"))
            ev.subject = value.size > 0 ? value : SLICE_NONE;
        else if (slice_eq_str(name, "by"))
            ev.source = slice_str(arena_printf(&w->arena, "/" SLICE_FMT, SLICE_ARG(value)));
        else if (slice_eq_str(name, "for"))
            ev.correlation = value;
        else if (slice_eq_str(name, "due"))
            ev.causation = value;
        else if (slice_eq_str(name, "data"))
            ev.data = value;
        else
            assert_true(slice_eq_str(name, "at") && slice_to_i64(value, &at_ms));
    }
    if (ev.id.p == NULL)
        ev.id = slice_str(arena_printf(&w->arena, "e%lld", (long long)offset));
    time_format(NOON + at_ms, time);
    ev.time = slice_str(arena_strdup(&w->arena, slice_str(time)));
    return ev;
}

static inline int64_t say(struct world *w, const char *text)
{
    assert_true(w->event_count < WORLD_EVENTS_MAX);
    int64_t offset = ((int64_t)w->event_count + 1) * 10;
    w->events[w->event_count++] = event_of(w, text, offset);
    return offset;
}

static inline void turn_work(void *arg)
{
    struct world *w = arg;
    struct ficus_error error = {0};
    if (flow_store_turn(w->store, &w->turn, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

/* A turn with the next count events that were said. */
static inline void take(struct world *w, size_t count)
{
    assert_true(w->taken + count <= w->event_count);
    arena_clear(&w->turn_arena);
    w->turn = (struct flow_turn){.events = w->events + w->taken, .count = count, .next = count > 0 ? w->events[w->taken + count - 1].offset : -1, .heard = w->heard,
                                 .wall_ms = w->now_ms, .live = !w->behind, .tell = true, .trim = true, .gauge = true, .judged_ms = w->now_ms, .arena = &w->turn_arena};
    crash_env_call(w->ce, turn_work, w);
    w->taken += count;
}

static inline void take_all(struct world *w)
{
    do
        take(w, w->event_count - w->taken < FLOW_BATCH ? w->event_count - w->taken : FLOW_BATCH);
    while (w->taken < w->event_count || w->turn.more);
}

/* ---- all that a store knows ---- */

struct dump {
    struct flow_store *store;
    struct buf *out;
    int64_t now_ms;
    struct slice flows[64], ids[64];
    size_t count;
    struct arena arena;
    enum ficus_err err;
};

static inline void dump_row(void *arg, const struct flow_row *row)
{
    struct dump *d = arg;
    assert_true(d->count < 64);
    d->flows[d->count] = arena_slice(&d->arena, row->flow);
    d->ids[d->count++] = arena_slice(&d->arena, row->id);
}

static inline void dump_work(void *arg)
{
    struct dump *d = arg;
    const struct flow_query q = {.state = -1, .count_max = 64};
    d->err = flow_store_list(d->store, &q, d->now_ms, dump_row, d, NULL);
    for (size_t i = 0; i < d->count && d->err == FICUS_ERR_OK; i++) {
        struct flow_stored *st;
        d->err = flow_store_load(d->store, &d->arena, d->flows[i], d->ids[i], d->now_ms, &st, NULL);
        if (d->err != FICUS_ERR_OK)
            return;
        const struct flow_row *r = &st->row;
        /* what the row says is what the events say */
        assert_int_equal(r->state, flow_state_at(&st->fold, d->now_ms));
        assert_int_equal(r->due_ms, flow_due_ms(&st->fold));
        assert_int_equal(r->late, st->fold.late);
        buf_printf(d->out, SLICE_FMT "/" SLICE_FMT " %s%s step=%s failure=%s due=%lld:", SLICE_ARG(r->flow), SLICE_ARG(r->id), flow_state_text(r->state),
                   r->late ? " late" : "", r->step, r->failure, r->due_ms == FLOW_NEVER ? -1 : (long long)(r->due_ms - NOON));
        for (size_t e = 0; e < st->event_count; e++)
            buf_printf(d->out, " %s", st->graph->topics[st->events[e].topic]);
        for (size_t m = 0; m < st->mark_count; m++)
            buf_printf(d->out, " [%s %s %d %lld]", st->graph->topics[st->events[st->marks[m].event].topic], st->marks[m].service, (int)st->marks[m].kind,
                       (long long)st->marks[m].letter);
        buf_add_str(d->out, "\n");
    }
}

/* False: the disk is dead. */
static inline bool dump(struct crash_env *ce, struct flow_store *s, int64_t now_ms, struct buf *out)
{
    struct dump *d = calloc(1, sizeof *d);
    d->store = s;
    d->out = out;
    d->now_ms = now_ms;
    arena_init(&d->arena, 64 << 20);
    buf_clear(out);
    crash_env_call(ce, dump_work, d);
    bool fine = d->err == FICUS_ERR_OK;
    arena_done(&d->arena);
    free(d);
    return fine;
}

static inline void assert_known(struct world *w, const char *text)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(dump(w->ce, w->store, w->now_ms, &out));
    assert_string_equal(buf_str(&out), text);
    buf_done(&out);
}

#endif
