/* SPDX-License-Identifier: Apache-2.0
 *
 * What services say to their sagas by the log (EVENT_TOPIC_SAGA): start and signal, between the start events and in their
 * order. A start is like a start event. A signal is a command like an operator's; the position behind its batch is written
 * only when all signals of the batch are, so that none is lost, and one that was written comes again at most as the same,
 * which changes nothing. One that is refused for good is logged: there is nobody who could be told.
 */
#include "saga_private.h"

#include "mem.h"

#include <stdio.h>

enum { DATA_ARENA_MAX = 32 * EVENT_SIZE_MAX };

struct told {
    struct saga_engine *g;
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
