/* SPDX-License-Identifier: Apache-2.0
 *
 * See flow_machine.h.
 */
#include "flow_machine.h"

#include "assert.h"

static const char *const state_texts[] = {
#define X(name, text) [FLOW_##name] = text,
    FLOW_STATE_LIST(X)
#undef X
};

const char *flow_state_text(enum flow_state_name s)
{
    FICUS_ASSERT(s < FLOW_STATE_COUNT);
    return state_texts[s];
}

bool flow_state_parse(struct slice text, enum flow_state_name *ret_state)
{
    for (size_t i = 0; i < FLOW_STATE_COUNT; i++)
        if (slice_eq_str(text, state_texts[i])) {
            *ret_state = (enum flow_state_name)i;
            return true;
        }
    return false;
}

static uint64_t bit(int topic)
{
    return UINT64_C(1) << topic;
}

static void lower(int64_t *at, int64_t value)
{
    *at = value < *at ? value : *at;
}

static void add_wait(const struct flow_graph *g, struct flow_fold *f, const struct flow_wait *w)
{
    FICUS_ASSERT(f->wait_count < FLOW_WAITS_MAX);
    f->waits[f->wait_count++] = *w;
    if (w->lost_cause)
        lower(&f->orphaned_ms, w->until_ms);
    else if (g->compensates[w->step])
        lower(&f->undone_ms, w->until_ms);
    else
        lower(&f->stuck_ms, w->until_ms);
}

static bool is_before(const struct flow_seen *a, const struct flow_seen *b)
{
    return a->time_ms != b->time_ms ? a->time_ms < b->time_ms : a->offset < b->offset;
}

/* The first event of these topics by its own time, or count. */
static size_t first_of(const struct flow_seen *events, size_t count, uint64_t topics)
{
    size_t first = count;
    for (size_t i = 0; i < count; i++)
        if ((topics & bit(events[i].topic)) != 0 && (first == count || is_before(&events[i], &events[first])))
            first = i;
    return first;
}

static void set_late(struct flow_fold *f, size_t event)
{
    f->late = true;
    f->late_events |= UINT64_C(1) << event;
}

static void fold_event_step(const struct flow_graph *g, const struct flow_seen *events, size_t count, size_t step, struct flow_fold *f)
{
    size_t cause = first_of(events, count, g->after[step]), effect = first_of(events, count, g->events[step]);
    int64_t within_ms = g->def->steps[step].within_ms;
    if (cause == count)
        return;
    int64_t since_ms = events[cause].time_ms, until_ms = since_ms + within_ms;
    if (effect == count)
        add_wait(g, f, &(struct flow_wait){.step = (uint8_t)step, .event = (uint8_t)cause, .since_ms = since_ms, .until_ms = until_ms});
    else if (events[effect].time_ms > until_ms)
        set_late(f, effect);
}

static const struct flow_mark *mark_of(const struct flow_seen *ev, size_t step)
{
    for (size_t i = 0; i < ev->mark_count; i++)
        if (ev->marks[i].step == step)
            return &ev->marks[i];
    return NULL;
}

static void fold_consumer_step(const struct flow_graph *g, const struct flow_seen *events, size_t count, size_t step, struct flow_fold *f)
{
    for (size_t i = 0; i < count; i++) {
        if ((g->after[step] & bit(events[i].topic)) == 0)
            continue;
        const struct flow_mark *m = mark_of(&events[i], step);
        int64_t since_ms = m != NULL && m->kind == FLOW_MARK_WAITING && m->at_ms > 0 ? m->at_ms : events[i].time_ms;
        struct flow_wait w = {.step = (uint8_t)step, .event = (uint8_t)i, .since_ms = since_ms, .until_ms = since_ms + g->def->steps[step].within_ms};
        if (m != NULL && m->kind == FLOW_MARK_GIVEN_UP) {
            w.given_up = true;
            w.since_ms = w.until_ms = m->at_ms;
        }
        if (m == NULL || m->kind == FLOW_MARK_WAITING || m->kind == FLOW_MARK_GIVEN_UP)
            add_wait(g, f, &w);
        else if (m->kind == FLOW_MARK_SEEN && m->at_ms > w.until_ms)
            f->late = true;
    }
}

/* One that is no start, and that none of the steps which have it was asked for. */
static void fold_lost(const struct flow_graph *g, const struct flow_seen *events, size_t i, uint64_t topics, struct flow_fold *f)
{
    int step = -1;
    if ((g->start & bit(events[i].topic)) != 0)
        return;
    for (size_t s = 0; s < g->def->step_count; s++) {
        if ((g->events[s] & bit(events[i].topic)) == 0)
            continue;
        if ((g->after[s] & topics) != 0)
            return;
        step = step < 0 || g->def->steps[s].within_ms > g->def->steps[step].within_ms ? (int)s : step;
    }
    FICUS_ASSERT(step >= 0); /* a topic is a start's or a step's */
    add_wait(g, f, &(struct flow_wait){.step = (uint8_t)step, .event = (uint8_t)i, .lost_cause = true, .since_ms = events[i].time_ms,
                                       .until_ms = events[i].time_ms + g->def->steps[step].within_ms});
}

void flow_fold(const struct flow_graph *g, const struct flow_seen *events, size_t count, struct flow_fold *ret_fold)
{
    struct flow_fold *f = ret_fold;
    uint64_t topics = 0;
    FICUS_ASSERT(count <= FLOW_EVENTS_MAX);
    f->started = f->failed = f->late = false;
    f->late_events = 0;
    f->stuck_ms = f->orphaned_ms = f->undone_ms = FLOW_NEVER;
    f->wait_count = 0;
    for (size_t i = 0; i < count; i++)
        topics |= bit(events[i].topic);
    f->started = (topics & g->start) != 0;
    f->failed = (topics & g->failures) != 0;
    for (size_t s = 0; s < g->def->step_count; s++) {
        if (g->events[s] != 0)
            fold_event_step(g, events, count, s, f);
        else
            fold_consumer_step(g, events, count, s, f);
    }
    for (size_t i = 0; i < count; i++)
        if (first_of(events, count, bit(events[i].topic)) == i) /* the others of its topic have lost the same */
            fold_lost(g, events, i, topics, f);
}

enum flow_state_name flow_state_of(bool open, bool failed, int64_t stuck_ms, int64_t orphaned_ms, int64_t undone_ms, int64_t now_ms)
{
    if (!open)
        return failed ? FLOW_COMPENSATED : FLOW_COMPLETED;
    if (undone_ms < now_ms)
        return FLOW_UNCOMPENSATED;
    if (orphaned_ms < now_ms)
        return FLOW_ORPHANED;
    return stuck_ms < now_ms ? FLOW_STUCK : FLOW_RUNNING;
}

enum flow_state_name flow_state_at(const struct flow_fold *f, int64_t now_ms)
{
    return flow_state_of(f->wait_count > 0, f->failed, f->stuck_ms, f->orphaned_ms, f->undone_ms, now_ms);
}

int64_t flow_due_ms(const struct flow_fold *f)
{
    int64_t due_ms = f->stuck_ms;
    lower(&due_ms, f->orphaned_ms);
    lower(&due_ms, f->undone_ms);
    return due_ms;
}

size_t flow_spare(const struct flow_seen *events, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (first_of(events, count, bit(events[i].topic)) != i)
            return i;
    FICUS_UNREACHABLE();
}
