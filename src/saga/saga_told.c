/* SPDX-License-Identifier: Apache-2.0
 *
 * What services say to sagas by the log, between the start events and in their order: start and signal of their own
 * (EVENT_TOPIC_SAGA), and events that a step's signal is given or refused by. A start is like a start event. A signal is a command like an operator's; the position behind its batch is written
 * only when all signals of the batch are, so that none is lost, and one that was written comes again at most as the same,
 * which changes nothing. One that is refused for good is logged: there is nobody who could be told.
 */
#include "saga_private.h"

#include "mem.h"

#include <stdio.h>

_Static_assert(SAGA_TOPICS_MAX + 1 <= EVENT_TOPICS_MAX, "and EVENT_TOPIC_SAGA");

enum { DATA_ARENA_MAX = 32 * EVENT_SIZE_MAX };

struct told {
    struct saga_engine *g;
    bool is_event; /* it gives a signal by the way: most of them are of no instance's concern */
    char event[EVENT_ID_SIZE_MAX + 1], source[EVENT_SOURCE_SIZE_MAX + 1], saga[64], id[SAGA_ID_SIZE_MAX + 1], signal[64];
};

static void refuse(struct saga_engine *g, const struct event *ev, const char *saga, const char *signal, const char *why)
{
    LOG(g->options.log, LOG_WARN, NULL, "saga.told", "what a service said to a saga changes nothing", LOG_SLICE("source", ev->source),
        LOG_SLICE("event_id", ev->id), LOG_STR("saga", saga), LOG_SLICE("id", ev->subject), LOG_STR("signal", signal), LOG_STR("reason", why));
}

/* All signals of the batch are answered: its position is written now, or it is read again. */
static void batch_answered(struct saga_engine *g)
{
    bool failed = g->told_failed;
    g->told_failed = false;
    if (g->closing)
        return;
    if (failed) {
        saga_pull_again(g);
        return;
    }
    g->batch_open = true;
    saga_writer_kick(g);
}

static void on_answered(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    struct told *t = arg;
    struct saga_engine *g = t->g;
    (void)json;
    switch (err) {
    case FICUS_ERR_OK: break;
    case FICUS_ERR_CONFLICT: case FICUS_ERR_NOT_FOUND: case FICUS_ERR_DENIED: case FICUS_ERR_CORRUPT: {
        if (t->is_event && err != FICUS_ERR_CORRUPT)
            break;
        const struct event ev = {.id = slice_str(t->event), .source = slice_str(t->source), .subject = slice_str(t->id)};
        refuse(g, &ev, t->saga, t->signal, detail);
        break;
    }
    default: g->told_failed = true;
    }
    mem_free(t);
    if (--g->told_count == 0)
        batch_answered(g);
}

static enum ficus_err give_signal(struct saga_engine *g, const struct event *ev, struct saga_command *c)
{
    struct told *t = mem_zalloc(sizeof *t);
    if (t == NULL)
        return FICUS_ERR_NOMEM;
    t->g = g;
    t->is_event = c->topic.p != NULL;
    snprintf(t->event, sizeof t->event, SLICE_FMT, SLICE_ARG(ev->id));
    snprintf(t->source, sizeof t->source, SLICE_FMT, SLICE_ARG(ev->source));
    snprintf(t->saga, sizeof t->saga, SLICE_FMT, SLICE_ARG(c->saga));
    snprintf(t->id, sizeof t->id, SLICE_FMT, SLICE_ARG(c->id));
    snprintf(t->signal, sizeof t->signal, SLICE_FMT, SLICE_ARG(c->signal));
    enum ficus_err err = saga_command_new(g, c, on_answered, t);
    if (err == FICUS_ERR_OK) {
        g->told_count++;
        return FICUS_ERR_OK;
    }
    mem_free(t);
    if (err == FICUS_ERR_NOMEM || err == FICUS_ERR_CANCELLED)
        return FICUS_ERR_NOMEM;
    if (!slice_eq_str(ev->topic, EVENT_TOPIC_SAGA) && err == FICUS_ERR_INVALID) /* another kind of key */
        return FICUS_ERR_OK;
    refuse(g, ev, NULL, NULL, err == FICUS_ERR_TOO_LARGE ? "the signal's data is over 16 KiB" : saga_id_check(c->id));
    return FICUS_ERR_OK;
}

static enum ficus_err start(struct saga_engine *g, const struct event *ev, const struct saga_command *c)
{
    const struct saga_known_def *known = saga_start_def(g, c->saga);
    const char *why = NULL;
    if (known == NULL)
        why = "there is no such saga";
    else if (known->def->owner == NULL || !slice_eq_str(c->owner, known->def->owner))
        why = "it is another service's saga";
    else if (saga_id_check(c->id) != NULL)
        why = saga_id_check(c->id);
    if (why == NULL)
        return saga_start_by(g, known, ev, c->data, c->actor);
    refuse(g, ev, NULL, NULL, why);
    return FICUS_ERR_OK;
}

static enum ficus_err tell(struct saga_engine *g, const struct event *ev, struct arena *a, struct buf *data)
{
    struct json *root;
    const struct json_limits limits = {.size_max = EVENT_SIZE_MAX};
    enum ficus_err err = json_parse(a, ev->data, &limits, &root, NULL);
    if (err == FICUS_ERR_NOMEM)
        return err;
    struct slice owner = slice_from(ev->source, ev->source.size > 0 ? 1 : 0); /* "/orders": the hub has seen to that */
    struct slice command = err == FICUS_ERR_OK ? json_string_or(json_get(root, "command"), SLICE_NONE) : SLICE_NONE;
    bool starts = slice_eq_str(command, "start");
    char *actor = arena_printf(a, "service " SLICE_FMT, SLICE_ARG(owner));
    if (actor == NULL)
        return FICUS_ERR_NOMEM;
    if (!starts && !slice_eq_str(command, "signal")) {
        refuse(g, ev, NULL, NULL, "it is neither start nor signal");
        return FICUS_ERR_OK;
    }
    struct saga_command c = {
        .kind = SAGA_SIGNAL,
        .saga = json_string_or(json_get(root, "saga"), SLICE("")),
        .id = ev->subject,
        .actor = slice_str(actor),
        .signal = json_string_or(json_get(root, "signal"), SLICE("")),
        .owner = owner,
    };
    if (json_get(root, "refuse") != NULL)
        (void)json_bool(json_get(root, "refuse"), &c.refuse); /* no bool: false */
    const struct json *v = json_get(root, starts ? "input" : "data");
    if (v != NULL) {
        struct json_writer w;
        json_write_init(&w, data);
        json_write_value(&w, v);
        if (buf_failed(data))
            return FICUS_ERR_NOMEM;
        c.data = buf_slice(data);
    }
    return starts ? start(g, ev, &c) : give_signal(g, ev, &c);
}

enum ficus_err saga_told(struct saga_engine *g, const struct event *ev)
{
    struct arena a;
    struct buf data;
    arena_init(&a, DATA_ARENA_MAX);
    buf_init(&data, EVENT_SIZE_MAX);
    enum ficus_err err = tell(g, ev, &a, &data);
    buf_done(&data);
    arena_done(&a);
    return err;
}

/* ---- events that give or refuse a signal ---- */

enum ficus_err saga_awaited(struct saga_engine *g, const struct event *ev)
{
    for (size_t k = 0; k < g->await_count; k++) {
        if (!slice_eq(ev->topic, g->awaits[k].topic))
            continue;
        char actor[sizeof "service " + EVENT_SOURCE_SIZE_MAX];
        struct slice who = slice_from(ev->source, ev->source.size > 0 ? 1 : 0); /* "/payments", or "/operator/1000" */
        snprintf(actor, sizeof actor, "%s" SLICE_FMT, slice_find(who, '/') < 0 ? "service " : "", SLICE_ARG(who));
        struct saga_command c = {.kind = SAGA_SIGNAL, .saga = g->awaits[k].saga, .id = ev->subject, .actor = slice_str(actor),
                                 .reason = ev->topic, .topic = ev->topic, .data = ev->data};
        enum ficus_err err = give_signal(g, ev, &c);
        if (err != FICUS_ERR_OK)
            return err;
    }
    return FICUS_ERR_OK;
}

struct reading {
    struct saga_engine *g;
    struct buf topics;
    size_t topic_count, capacity;
    bool failed;
};

/* False: there are too many. */
static bool add_topic(struct reading *r, struct slice topic)
{
    struct slice rest = buf_slice(&r->topics);
    while (rest.size > 0)
        if (slice_eq(slice_cut(&rest, ','), topic))
            return true;
    if (r->topic_count == EVENT_TOPICS_MAX)
        return false;
    r->topic_count++;
    buf_printf(&r->topics, "%s" SLICE_FMT, r->topic_count > 1 ? "," : "", SLICE_ARG(topic));
    return true;
}

static void add_await(struct reading *r, const char *topic, const char *saga)
{
    struct saga_engine *g = r->g;
    if (topic == NULL)
        return;
    for (size_t k = 0; k < g->await_count; k++)
        if (slice_eq_str(g->awaits[k].topic, topic) && slice_eq_str(g->awaits[k].saga, saga))
            return;
    if (!add_topic(r, slice_str(topic))) { /* only of definitions of before: the manifest's check counts */
        LOG(g->options.log, LOG_WARN, NULL, "saga.topics", "too many topics: instances of an older definition do not hear of this one",
            LOG_STR("saga", saga), LOG_STR("topic", topic));
        return;
    }
    if (g->await_count == r->capacity) {
        size_t capacity = r->capacity == 0 ? 16 : 2 * r->capacity;
        struct saga_await *more = ARENA_ARRAY(&g->await_arena, struct saga_await, capacity);
        if (more == NULL) {
            r->failed = true;
            return;
        }
        if (g->await_count > 0)
            memcpy(more, g->awaits, g->await_count * sizeof *more);
        g->awaits = more;
        r->capacity = capacity;
    }
    struct saga_await *a = &g->awaits[g->await_count++];
    *a = (struct saga_await){arena_slice(&g->await_arena, slice_str(topic)), arena_slice(&g->await_arena, slice_str(saga))};
    r->failed = r->failed || a->topic.p == NULL || a->saga.p == NULL;
}

static void add_def(struct reading *r, const struct saga_def *def)
{
    for (size_t i = 0; i < def->step_count; i++) {
        add_await(r, def->steps[i].given_by, def->name);
        add_await(r, def->steps[i].refused_by, def->name);
    }
}

/* One that instances of before may run on. One that cannot be read has none that could be followed. */
static void add_stored(void *arg, struct slice hash, struct slice text)
{
    struct reading *r = arg;
    struct arena a;
    struct saga_def *def;
    (void)hash;
    arena_init(&a, 1024 * 1024);
    if (saga_def_read(&a, text, &def, NULL) == FICUS_ERR_OK)
        add_def(r, def);
    arena_done(&a);
}

enum ficus_err saga_topics_know(struct saga_engine *g, struct ficus_error *reterr)
{
    struct reading r = {.g = g};
    arena_init(&g->await_arena, 1024 * 1024);
    buf_init(&r.topics, 64 * 1024);
    for (size_t i = 0; i < g->options.def_count; i++) {
        if (g->options.defs[i].start != NULL && !add_topic(&r, slice_str(g->options.defs[i].start)))
            r.failed = true;
        if (i == 0)
            (void)add_topic(&r, SLICE(EVENT_TOPIC_SAGA)); /* there is room */
    }
    for (size_t i = 0; i < g->options.def_count; i++)
        add_def(&r, &g->options.defs[i]);
    enum ficus_err err = saga_journal_awaiting(g->journal, add_stored, &r, reterr);
    if (err == FICUS_ERR_OK && (r.failed || buf_failed(&r.topics) || (g->topics = mem_strdup(buf_str(&r.topics))) == NULL))
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    buf_done(&r.topics);
    return err;
}
