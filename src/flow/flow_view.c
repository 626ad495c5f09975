/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators see of flows: list, show, describe. Each is a job of its own beside the turns.
 */
#include "flow_watch_private.h"

#include "timefmt.h"

#include <stdio.h>

enum { VIEW_SIZE_MAX = 8 * 1024 * 1024, VIEW_ARENA_MAX = 16 * 1024 * 1024 };

struct view {
    struct flow_watch *w;
    struct env_job job;
    struct arena arena;
    struct buf json;
    struct json_writer out;
    struct flow_query query;
    struct slice flow, id;
    struct slice last_flow, last_id;
    size_t count;
    int64_t judged_ms;
    enum ficus_err err;
    struct ficus_error error;
    flow_view_done done;
    void *arg;
};

static void view_free(struct view *v)
{
    buf_done(&v->json);
    arena_done(&v->arena);
    mem_free(v);
}

static void view_done(void *arg)
{
    struct view *v = arg;
    struct flow_watch *w = v->w;
    if (v->err == FICUS_ERR_OK && buf_failed(&v->json))
        v->err = err_set(&v->error, FICUS_ERR_TOO_LARGE, "the answer is over its limit");
    bool fine = v->err == FICUS_ERR_OK;
    w->view_count--;
    v->done(v->arg, v->err, fine ? buf_slice(&v->json) : SLICE_NONE, fine ? NULL : v->error.text);
    view_free(v);
    flow_closing_step(w);
}

static enum ficus_err view_new(struct flow_watch *w, flow_view_done done, void *arg, struct view **ret_view)
{
    if (w->closing)
        return FICUS_ERR_CANCELLED;
    if (w->view_count >= FLOW_VIEWS_MAX)
        return FICUS_ERR_BUSY;
    struct view *v = mem_zalloc(sizeof *v);
    if (v == NULL)
        return FICUS_ERR_NOMEM;
    v->w = w;
    v->done = done;
    v->arg = arg;
    v->judged_ms = flow_judge_ms(w);
    arena_init(&v->arena, VIEW_ARENA_MAX);
    buf_init(&v->json, VIEW_SIZE_MAX);
    json_write_init(&v->out, &v->json);
    *ret_view = v;
    return FICUS_ERR_OK;
}

/* Copies what it was asked for; then it runs, or is gone. */
static enum ficus_err view_run(struct view *v, struct slice flow, struct slice id, void (*work)(void *arg))
{
    v->flow = flow.p == NULL ? flow : arena_slice(&v->arena, flow);
    v->id = id.p == NULL ? id : arena_slice(&v->arena, id);
    v->job = (struct env_job){.work = work, .done = view_done, .arg = v};
    enum ficus_err err = (flow.p != NULL && v->flow.p == NULL) || (id.p != NULL && v->id.p == NULL) ? FICUS_ERR_NOMEM : env_run(v->w->env, &v->job);
    if (err == FICUS_ERR_OK)
        v->w->view_count++;
    else
        view_free(v);
    return err;
}

static void write_row(struct json_writer *w, const struct flow_row *r)
{
    json_write_kv_str(w, "kind", "choreographed");
    json_write_kv_slice(w, "saga", r->flow);
    json_write_kv_slice(w, "id", r->id);
    json_write_kv_str(w, "state", flow_state_text(r->state));
    if (r->step[0] != '\0')
        json_write_kv_str(w, "step", r->step);
    if (r->failure[0] != '\0')
        json_write_kv_str(w, "failure", r->failure);
    if (r->due_ms != FLOW_NEVER)
        json_write_kv_time(w, "until", r->due_ms);
    if (r->late)
        json_write_kv_bool(w, "late", true);
    json_write_kv_time(w, "started_at", r->started_ms);
    json_write_kv_time(w, "updated_at", r->updated_ms);
}

/* ---- list ---- */

static void list_row(void *arg, const struct flow_row *row)
{
    struct view *v = arg;
    json_write_object(&v->out);
    write_row(&v->out, row);
    json_write_end(&v->out);
    if (++v->count == v->query.count_max) {
        v->last_flow = arena_slice(&v->arena, row->flow);
        v->last_id = arena_slice(&v->arena, row->id);
    }
}

static void list_work(void *arg)
{
    struct view *v = arg;
    struct json_writer *w = &v->out;
    v->query.flow = v->flow;
    json_write_object(w);
    json_write_key(w, "sagas");
    json_write_array(w);
    v->err = flow_store_list(v->w->store, &v->query, v->judged_ms, list_row, v, &v->error);
    if (v->err != FICUS_ERR_OK)
        return;
    json_write_end(w);
    if (v->last_id.p != NULL) {
        char *after = arena_printf(&v->arena, SLICE_FMT "/" SLICE_FMT, SLICE_ARG(v->last_flow), SLICE_ARG(v->last_id));
        if (after != NULL)
            json_write_kv_str(w, "after", after);
    }
    json_write_end(w);
}

enum ficus_err flow_watch_list(struct flow_watch *w, const struct flow_query *q, flow_view_done done, void *arg)
{
    struct view *v;
    FICUS_ASSERT(q->count_max >= 1 && q->count_max <= FLOW_LIST_MAX);
    enum ficus_err err = view_new(w, done, arg, &v);
    if (err != FICUS_ERR_OK)
        return err;
    v->query = *q;
    if (q->after_flow.p != NULL)
        v->query.after_flow = arena_slice(&v->arena, q->after_flow);
    if (q->after_id.p != NULL)
        v->query.after_id = arena_slice(&v->arena, q->after_id);
    return view_run(v, q->flow, SLICE_NONE, list_work);
}

/* ---- show ---- */

static const char *publisher_of(const struct view *v, const char *topic)
{
    const struct flow_watch_options *o = &v->w->options;
    return o->publisher == NULL ? NULL : o->publisher(o->arg, topic);
}

static void write_topics(struct view *v, const char *key, const struct flow_topics *t)
{
    json_write_key(&v->out, key);
    json_write_array(&v->out);
    for (size_t i = 0; i < t->count; i++)
        json_write_str(&v->out, t->names[i]);
    json_write_end(&v->out);
}

/* Each publisher of the topics once. */
static void write_publishers(struct view *v, const struct flow_topics *t)
{
    json_write_key(&v->out, "from");
    json_write_array(&v->out);
    for (size_t i = 0; i < t->count; i++) {
        const char *name = publisher_of(v, t->names[i]);
        bool again = name == NULL;
        for (size_t k = 0; k < i && !again; k++) {
            const char *other = publisher_of(v, t->names[k]);
            again = other != NULL && slice_eq_str(slice_str(other), name);
        }
        if (!again)
            json_write_str(&v->out, name);
    }
    json_write_end(&v->out);
}

static const struct flow_topics *causes_of(const struct flow_def *d, const struct flow_step *s)
{
    return s->after.count == 0 ? &d->start : &s->after;
}

/* The dead letter of a wait that was given up; 0: none. */
static int64_t letter_of(const struct flow_stored *st, const struct flow_wait *wait)
{
    for (size_t i = 0; i < st->mark_count; i++)
        if (st->marks[i].event == wait->event && st->marks[i].step == wait->step)
            return st->marks[i].letter;
    return 0;
}

static void write_wait(struct view *v, const struct flow_stored *st, const struct flow_wait *wait)
{
    struct json_writer *w = &v->out;
    const struct flow_def *d = st->graph->def;
    const struct flow_step *s = &d->steps[wait->step];
    const char *topic = st->graph->topics[st->events[wait->event].topic];
    json_write_object(w);
    json_write_kv_str(w, "step", s->name);
    if (wait->lost_cause) {
        write_topics(v, "event", causes_of(d, s));
        write_publishers(v, causes_of(d, s));
        json_write_kv_str(w, "before", topic);
    } else if (s->consumer != NULL) {
        json_write_kv_str(w, "consumed_by", s->consumer);
        json_write_kv_str(w, "after", topic);
    } else {
        write_topics(v, "event", &s->events);
        write_publishers(v, &s->events);
        json_write_kv_str(w, "after", topic);
    }
    json_write_kv_time(w, "since", wait->since_ms);
    json_write_kv_time(w, "until", wait->until_ms);
    json_write_kv_bool(w, "overdue", wait->until_ms < v->judged_ms);
    if (wait->given_up)
        json_write_kv_i64(w, "dead_letter", letter_of(st, wait));
    json_write_end(w);
}

static void kv_known(struct json_writer *w, const char *key, struct slice text)
{
    if (text.p != NULL)
        json_write_kv_slice(w, key, text);
}

static void write_event(struct view *v, const struct flow_stored *st, size_t i)
{
    struct json_writer *w = &v->out;
    const struct flow_stored_event *ev = &st->details[i];
    struct slice by = ev->source.size > 1 && ev->source.p[0] == '/' ? slice_from(ev->source, 1) : ev->source;
    json_write_object(w);
    json_write_kv_time(w, "at", st->events[i].time_ms);
    json_write_kv_str(w, "kind", "event");
    json_write_kv_str(w, "step", st->graph->topics[st->events[i].topic]);
    json_write_kv_slice(w, "by", by);
    if ((st->fold.late_events & UINT64_C(1) << i) != 0)
        json_write_kv_bool(w, "late", true);
    json_write_kv_i64(w, "offset", st->events[i].offset);
    kv_known(w, "event", ev->id);
    kv_known(w, "correlation", ev->correlation);
    kv_known(w, "causation", ev->causation);
    kv_known(w, "traceparent", ev->traceparent);
    json_write_end(w);
}

static const char *const mark_texts[] = {[FLOW_MARK_WAITING] = "redriven", [FLOW_MARK_SEEN] = "consumed", [FLOW_MARK_GIVEN_UP] = "given_up",
                                         [FLOW_MARK_DROPPED] = "dropped"};

static void write_mark(struct view *v, const struct flow_stored *st, const struct flow_stored_mark *m)
{
    struct json_writer *w = &v->out;
    if (m->kind == FLOW_MARK_WAITING && m->letter == 0)
        return; /* that is under "missing" */
    const struct flow_def *d = st->graph->def;
    int64_t until_ms = m->step < 0 ? FLOW_NEVER : st->events[m->event].time_ms + d->steps[m->step].within_ms;
    json_write_object(w);
    if (m->at_ms > 0)
        json_write_kv_time(w, "at", m->at_ms);
    json_write_kv_str(w, "kind", mark_texts[m->kind]);
    json_write_kv_str(w, "step", st->graph->topics[st->events[m->event].topic]);
    json_write_kv_str(w, "by", m->service);
    if (m->kind == FLOW_MARK_SEEN && m->at_ms > until_ms)
        json_write_kv_bool(w, "late", true);
    if (m->letter > 0)
        json_write_kv_i64(w, "dead_letter", m->letter);
    json_write_end(w);
}

/* Events by time, each with what consumers did with it behind it. */
static void write_history(struct view *v, const struct flow_stored *st)
{
    uint8_t order[FLOW_EVENTS_MAX];
    for (size_t i = 0; i < st->event_count; i++) {
        size_t at = i;
        for (; at > 0 && st->events[order[at - 1]].time_ms > st->events[i].time_ms; at--)
            order[at] = order[at - 1];
        order[at] = (uint8_t)i;
    }
    for (size_t i = 0; i < st->event_count; i++) {
        write_event(v, st, order[i]);
        for (size_t m = 0; m < st->mark_count; m++)
            if (st->marks[m].event == order[i])
                write_mark(v, st, &st->marks[m]);
    }
}

static void show_work(void *arg)
{
    struct view *v = arg;
    struct flow_stored *st;
    struct json_writer *w = &v->out;
    v->err = flow_store_load(v->w->store, &v->arena, v->flow, v->id, v->judged_ms, &st, &v->error);
    if (v->err != FICUS_ERR_OK)
        return;
    json_write_object(w);
    write_row(w, &st->row);
    json_write_key(w, "missing");
    json_write_array(w);
    for (size_t i = 0; i < st->fold.wait_count; i++)
        write_wait(v, st, &st->fold.waits[i]);
    json_write_end(w);
    json_write_key(w, "history");
    json_write_array(w);
    write_history(v, st);
    json_write_end(w);
    json_write_end(w);
}

enum ficus_err flow_watch_show(struct flow_watch *w, struct slice flow, struct slice id, flow_view_done done, void *arg)
{
    struct view *v;
    enum ficus_err err = view_new(w, done, arg, &v);
    return err == FICUS_ERR_OK ? view_run(v, flow, id, show_work) : err;
}

/* ---- describe ---- */

static void describe_step(struct view *v, const struct flow_def *d, const struct flow_step *s)
{
    struct json_writer *w = &v->out;
    char within[32];
    duration_format(s->within_ms, within, sizeof within);
    json_write_object(w);
    json_write_kv_str(w, "step", s->name);
    if (s->consumer != NULL)
        json_write_kv_str(w, "consumed_by", s->consumer);
    else
        write_topics(v, "event", &s->events);
    if (s->consumer == NULL)
        write_publishers(v, &s->events);
    write_topics(v, "after", causes_of(d, s));
    json_write_kv_str(w, "within", within);
    json_write_end(w);
}

static void describe_work(void *arg)
{
    struct view *v = arg;
    struct json_writer *w = &v->out;
    int64_t counts[FLOW_STATE_COUNT] = {0};
    const struct flow_def *d = NULL;
    for (size_t i = 0; i < v->w->options.def_count; i++)
        if (slice_eq_str(v->flow, v->w->options.defs[i].name))
            d = &v->w->options.defs[i];
    FICUS_ASSERT(d != NULL);
    v->err = flow_store_counts(v->w->store, d->name, v->judged_ms, counts, &v->error);
    if (v->err != FICUS_ERR_OK)
        return;
    json_write_object(w);
    json_write_kv_str(w, "kind", "choreographed");
    json_write_kv_str(w, "saga", d->name);
    json_write_kv_str(w, "owner", d->owner != NULL ? d->owner : "");
    json_write_kv_str(w, "id", flow_by_words[d->by]);
    write_topics(v, "start", &d->start);
    if (d->failures.count > 0)
        write_topics(v, "failures", &d->failures);
    json_write_key(w, "steps");
    json_write_array(w);
    for (size_t i = 0; i < d->step_count; i++)
        describe_step(v, d, &d->steps[i]);
    json_write_end(w);
    json_write_key(w, "instances");
    json_write_object(w);
    for (size_t i = 0; i < FLOW_STATE_COUNT; i++)
        json_write_kv_i64(w, flow_state_text((enum flow_state_name)i), counts[i]);
    json_write_end(w);
    json_write_end(w);
}

enum ficus_err flow_watch_describe(struct flow_watch *w, struct slice flow, flow_view_done done, void *arg)
{
    struct view *v;
    if (flow_store_index(w->store, flow) < 0)
        return FICUS_ERR_NOT_FOUND;
    enum ficus_err err = view_new(w, done, arg, &v);
    return err == FICUS_ERR_OK ? view_run(v, flow, SLICE_NONE, describe_work) : err;
}
