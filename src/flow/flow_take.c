/* SPDX-License-Identifier: Apache-2.0
 *
 * A turn: events of the log go to their instances, consumers' places end what was waited for, each instance that was touched is
 * folded anew, and its row says what came out.
 */
#include "flow_private.h"

#include "json.h"
#include "map.h"
#include "timefmt.h"

enum { SEEN_MAX = 1000, TRIM_MAX = 500, TOUCHED_ARENA_MAX = 32 * 1024 * 1024, LETTER_ARENA_MAX = 64 * 1024 };

struct touched {
    struct touched *next;
    size_t flow;
    struct slice id;
};

struct take {
    struct flow_store *s;
    struct flow_turn *t;
    struct db_conn *c;
    struct arena arena;
    struct map known; /* "flow number/id" -> struct touched */
    struct touched *first;
    struct ficus_error *reterr;
    int64_t consumers[FLOW_CONSUMERS_MAX]; /* their places, what was heard included */
};

static enum ficus_err out_of_memory(struct take *k)
{
    return err_set(k->reterr, FICUS_ERR_NOMEM, "out of memory");
}

static enum ficus_err touch(struct take *k, size_t flow, struct slice id)
{
    char *key = arena_printf(&k->arena, "%zu/" SLICE_FMT, flow, SLICE_ARG(id));
    if (key == NULL)
        return out_of_memory(k);
    k->t->changed = true;
    if (map_get(&k->known, slice_str(key)) != NULL)
        return FICUS_ERR_OK;
    struct touched *t = ARENA_NEW(&k->arena, struct touched);
    if (t == NULL || (t->id = arena_slice(&k->arena, id)).p == NULL || !map_put(&k->known, slice_str(key), t))
        return out_of_memory(k);
    t->flow = flow;
    t->next = k->first;
    k->first = t;
    return FICUS_ERR_OK;
}

/* One number, or fallback when there is no row. */
static enum ficus_err ask_i64(struct take *k, int64_t fallback, int64_t *ret_value, const char *sql, const char *format, ...)
{
    struct db_stmt *s = NULL;
    va_list args;
    va_start(args, format);
    enum ficus_err err = db_vquery(k->c, &s, k->reterr, sql, format, args);
    va_end(args);
    int row = err == FICUS_ERR_OK ? db_step(s, k->reterr) : 0;
    *ret_value = row > 0 && !db_is_null(s, 0) ? db_i64(s, 0) : fallback;
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

/* ---- which instance ---- */

static enum ficus_err find_by_event(struct take *k, const char *flow, struct slice event, struct slice *ret_id)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(k->c, &s, k->reterr, "SELECT id FROM flow_event WHERE event = ? AND flow = ? LIMIT 1", "Ss", event, flow);
    int row = err == FICUS_ERR_OK ? db_step(s, k->reterr) : 0;
    *ret_id = row > 0 ? arena_slice(&k->arena, db_text(s, 0)) : SLICE_NONE;
    if (row < 0)
        err = (enum ficus_err)-row;
    else if (row > 0 && ret_id->p == NULL)
        err = out_of_memory(k);
    db_finish(s);
    return err;
}

/* Events that came before what led to them wait under its id. Now it is there, they are its instance's. */
static enum ficus_err gather(struct take *k, size_t flow, struct slice from, struct slice id)
{
    static const char *const statements[] = {"UPDATE flow_event SET id = ?3 WHERE flow = ?1 AND id = ?2",
                                             "UPDATE flow_mark SET id = ?3 WHERE flow = ?1 AND id = ?2",
                                             "DELETE FROM flow_instance WHERE flow = ?1 AND id = ?2 AND ?3 = ?3"};
    int64_t count;
    const char *name = k->s->defs[flow].name;
    enum ficus_err err = ask_i64(k, 0, &count, "SELECT count(*) FROM flow_event WHERE flow = ? AND id = ?", "sS", name, from);
    for (size_t i = 0; i < ARRAY_COUNT(statements) && err == FICUS_ERR_OK && count > 0; i++)
        err = db_exec(k->c, k->reterr, statements[i], "sSS", name, from, id);
    return err;
}

/* SLICE_NONE: it has none. */
static enum ficus_err instance_of(struct take *k, size_t flow, const struct event *ev, int topic, struct slice *ret_id)
{
    const struct flow_graph *g = &k->s->graphs[flow];
    enum ficus_err err = FICUS_ERR_OK;
    struct slice known = SLICE_NONE;
    if (g->def->by == FLOW_BY_SUBJECT) {
        *ret_id = ev->subject.size > 0 ? ev->subject : SLICE_NONE;
        return FICUS_ERR_OK;
    }
    if (g->def->by == FLOW_BY_CORRELATION) {
        *ret_id = ev->correlation.size > 0 ? ev->correlation : ev->id;
        return FICUS_ERR_OK;
    }
    if (ev->causation.size > 0)
        err = find_by_event(k, g->def->name, ev->causation, &known);
    if (err != FICUS_ERR_OK)
        return err;
    bool is_start = (g->start & UINT64_C(1) << topic) != 0;
    *ret_id = known.p != NULL ? known : is_start || ev->causation.size == 0 ? ev->id : ev->causation;
    return slice_eq(*ret_id, ev->id) ? FICUS_ERR_OK : gather(k, flow, ev->id, *ret_id);
}

/* ---- an event ---- */

static int64_t time_of(const struct take *k, const struct event *ev)
{
    int64_t ms;
    return ev->time.p != NULL && time_parse(ev->time, &ms) && ms < k->t->wall_ms ? ms : k->t->wall_ms; /* none is of the future */
}

static enum ficus_err mark(struct take *k, const char *flow, struct slice id, int64_t offset, int step, struct slice service,
                           enum flow_mark_kind kind, int64_t at_ms,
                           int64_t letter, int64_t need)
{
    return db_exec(k->c, k->reterr,
                   "INSERT INTO flow_mark(flow, id, offset, step, service, kind, at, letter, need) VALUES(?, ?, ?, ?, ?, ?, ?, ?, nullif(?, -1)) "
                   "ON CONFLICT DO UPDATE SET kind = excluded.kind, at = excluded.at, letter = excluded.letter, need = excluded.need",
                   "sSiiSiiii", flow, id, offset, (int64_t)step, service, (int64_t)kind, at_ms, letter, need);
}

/* The consumers that this event is for: each is through with it already, or has to be. */
static enum ficus_err mark_consumers(struct take *k, size_t flow, struct slice id, const struct event *ev, int topic)
{
    const struct flow_graph *g = &k->s->graphs[flow];
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < g->def->step_count && err == FICUS_ERR_OK; i++) {
        const char *service = g->def->steps[i].consumer;
        if (service == NULL || (g->after[i] & UINT64_C(1) << topic) == 0)
            continue;
        int consumer = flow_consumer_index(k->s, slice_str(service));
        bool seen = consumer >= 0 && k->consumers[consumer] >= ev->offset;
        err = mark(k, g->def->name, id, ev->offset, (int)i, slice_str(service), seen ? FLOW_MARK_SEEN : FLOW_MARK_WAITING,
                   seen && k->t->live ? k->t->wall_ms : 0, 0, seen ? -1 : ev->offset);
    }
    return err;
}

/* A full instance does without an event of a topic that it has several times. */
static enum ficus_err make_room(struct take *k, size_t flow, struct slice id)
{
    const char *name = k->s->defs[flow].name;
    struct flow_seen events[FLOW_EVENTS_MAX + 1];
    for (;;) {
        struct db_stmt *s = NULL;
        size_t count = 0;
        int row = 0;
        enum ficus_err err = db_query(k->c, &s, k->reterr, "SELECT offset, topic, time FROM flow_event WHERE flow = ? AND id = ? ORDER BY offset "
                                                           "LIMIT ?", "sSi", name, id,
                                      (int64_t)ARRAY_COUNT(events));
        while (err == FICUS_ERR_OK && (row = db_step(s, k->reterr)) > 0)
            events[count++] = (struct flow_seen){.offset = db_i64(s, 0), .topic = (int)db_i64(s, 1), .time_ms = db_i64(s, 2)};
        db_finish(s);
        if (err != FICUS_ERR_OK || row < 0)
            return err != FICUS_ERR_OK ? err : (enum ficus_err)-row;
        if (count <= FLOW_EVENTS_MAX)
            return FICUS_ERR_OK;
        int64_t spare = events[flow_spare(events, count)].offset;
        err = db_exec(k->c, k->reterr, "DELETE FROM flow_event WHERE flow = ? AND id = ? AND offset = ?", "sSi", name, id, spare);
        if (err == FICUS_ERR_OK)
            err = db_exec(k->c, k->reterr, "DELETE FROM flow_mark WHERE flow = ? AND id = ? AND offset = ?", "sSi", name, id, spare);
        if (err != FICUS_ERR_OK)
            return err;
    }
}

static enum ficus_err take_event(struct take *k, size_t flow, const struct event *ev, int topic)
{
    const char *name = k->s->defs[flow].name;
    int64_t again;
    struct slice id;
    enum ficus_err err = ask_i64(k, 0, &again, "SELECT count(*) FROM flow_event WHERE event = ? AND flow = ? AND source = ?", "SsS", ev->id, name,
                                 ev->source);
    if (err != FICUS_ERR_OK || again > 0)
        return err;
    err = instance_of(k, flow, ev, topic, &id);
    if (err != FICUS_ERR_OK)
        return err;
    if (id.p == NULL) {
        k->t->unnamed++;
        return FICUS_ERR_OK;
    }
    err = db_exec(k->c, k->reterr,
                  "INSERT INTO flow_event(flow, id, offset, topic, time, event, source, correlation, causation, traceparent) VALUES(?, ?, ?, ?, ?, "
                  "?, ?, ?, ?, ?)",
                  "sSiiiSSSSS", name, id, ev->offset, (int64_t)topic, time_of(k, ev), ev->id, ev->source, ev->correlation, ev->causation,
                  ev->traceparent);
    if (err == FICUS_ERR_OK)
        err = mark_consumers(k, flow, id, ev, topic);
    if (err == FICUS_ERR_OK)
        err = make_room(k, flow, id);
    return err == FICUS_ERR_OK ? touch(k, flow, id) : err;
}

/* ---- dead letters ---- */

/* Who gave up which event: of a step, or only to be shown. */
static enum ficus_err give_up(struct take *k, const struct event *letter, struct slice consumer, struct slice flow, struct slice id, int64_t offset,
                              int topic)
{
    int index = flow_store_index(k->s, flow), step = -1;
    if (index < 0)
        return FICUS_ERR_OK;
    const struct flow_graph *g = &k->s->graphs[index];
    enum ficus_err err = touch(k, (size_t)index, id);
    for (size_t i = 0; i < g->def->step_count && err == FICUS_ERR_OK; i++) {
        if (g->def->steps[i].consumer == NULL || !slice_eq_str(consumer, g->def->steps[i].consumer) || (g->after[i] & UINT64_C(1) << topic) == 0)
            continue;
        step = (int)i;
        err = mark(k, g->def->name, id, offset, step, consumer, FLOW_MARK_GIVEN_UP, time_of(k, letter), letter->offset, -1);
    }
    return err != FICUS_ERR_OK || step >= 0 ? err : mark(k, g->def->name, id, offset, -1, consumer, FLOW_MARK_GIVEN_UP, time_of(k, letter),
                                                         letter->offset, -1);
}

static enum ficus_err take_letter(struct take *k, const struct event *letter)
{
    struct slice consumer = letter->source.size > 1 ? slice_from(letter->source, 1) : SLICE("");
    struct db_stmt *s = NULL;
    int row = 0;
    if (letter->causation.size == 0 || consumer.size == 0)
        return FICUS_ERR_OK;
    enum ficus_err err = db_query(k->c, &s, k->reterr, "SELECT flow, id, offset, topic FROM flow_event WHERE event = ? ORDER BY flow LIMIT 64", "S",
                                  letter->causation);
    while (err == FICUS_ERR_OK && (row = db_step(s, k->reterr)) > 0)
        err = give_up(k, letter, consumer, db_text(s, 0), db_text(s, 1), db_i64(s, 2), (int)db_i64(s, 3));
    db_finish(s);
    return err == FICUS_ERR_OK && row < 0 ? (enum ficus_err)-row : err;
}

/* An operator has looked after the letter. What brings the event again stands right behind this one in the log: both came in one
 * batch of the hub (hub_events.c). */
static enum ficus_err close_mark(struct take *k, const struct event *closed, int64_t letter, bool redriven, struct slice flow, struct slice id,
                                 int64_t offset, int step,
                                 struct slice service)
{
    int index = flow_store_index(k->s, flow), consumer = flow_consumer_index(k->s, service);
    int64_t need = closed->offset + 1, at_ms = time_of(k, closed);
    enum flow_mark_kind kind = redriven ? FLOW_MARK_WAITING : FLOW_MARK_DROPPED;
    if (index < 0)
        return FICUS_ERR_OK;
    if (redriven && step >= 0 && consumer >= 0 && k->consumers[consumer] >= need) {
        kind = FLOW_MARK_SEEN;
        at_ms = k->t->live ? k->t->wall_ms : 0;
    }
    enum ficus_err err = mark(k, k->s->defs[index].name, id, offset, step, service, kind, at_ms, letter,
                              kind == FLOW_MARK_WAITING && step >= 0 ? need : -1);
    return err == FICUS_ERR_OK ? touch(k, (size_t)index, id) : err;
}

static enum ficus_err take_closed(struct take *k, const struct event *closed)
{
    struct json *root = NULL;
    int64_t letter = 0;
    struct db_stmt *s = NULL;
    struct arena a;
    int row = 0;
    arena_init(&a, LETTER_ARENA_MAX);
    enum ficus_err err = FICUS_ERR_OK;
    if (closed->data.size > 0 && json_parse(&a, closed->data, NULL, &root, NULL) == FICUS_ERR_OK && json_i64(json_get(root, "letter"), &letter) &&
        letter > 0) {
        bool redriven = slice_eq_str(json_string_or(json_get(root, "as"), SLICE("")), "redriven");
        /* materialised first: the index that finds them is written meanwhile */
        err = db_query(k->c, &s, k->reterr,
                       "SELECT flow, id, offset, step, service FROM (SELECT * FROM flow_mark WHERE letter = ? AND letter <> 0 ORDER BY flow, id "
                       "LIMIT 64) ORDER BY +flow, +id",
                       "i", letter);
        while (err == FICUS_ERR_OK && (row = db_step(s, k->reterr)) > 0)
            err = close_mark(k, closed, letter, redriven, db_text(s, 0), db_text(s, 1), db_i64(s, 2), (int)db_i64(s, 3), db_text(s, 4));
        db_finish(s);
    }
    arena_done(&a);
    return err == FICUS_ERR_OK && row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err take_events(struct take *k)
{
    struct flow_turn *t = k->t;
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < t->count && err == FICUS_ERR_OK; i++) {
        const struct event *ev = &t->events[i];
        int64_t at_ms = time_of(k, ev);
        if (slice_eq_str(ev->topic, EVENT_TOPIC_DEAD))
            err = take_letter(k, ev);
        else if (slice_eq_str(ev->topic, EVENT_TOPIC_CLOSED))
            err = take_closed(k, ev);
        for (size_t f = 0; f < k->s->def_count && err == FICUS_ERR_OK; f++) {
            int topic = flow_graph_topic(&k->s->graphs[f], ev->topic);
            /* What is older than what is kept comes from topics whose newest events stay for ever. */
            if (topic >= 0 && at_ms >= t->wall_ms - k->s->retention_ms)
                err = take_event(k, f, ev, topic);
        }
    }
    return err;
}

/* ---- consumers ---- */

/* Marks that the consumer's place has passed. *ret_all false: there are more. */
static enum ficus_err pass(struct take *k, size_t consumer, bool *ret_all)
{
    struct flow_consumer *c = &k->s->consumers[consumer];
    struct db_stmt *s = NULL;
    size_t count = 0;
    int row = 0;
    enum ficus_err err = db_query(k->c, &s, k->reterr,
                                  "UPDATE flow_mark SET kind = ?1, at = ?2, need = NULL WHERE (flow, id, offset, step, service) IN (SELECT flow, id, "
                                  "offset, step, service "
                                  "FROM flow_mark WHERE service = ?3 AND need IS NOT NULL AND need <= ?4 ORDER BY need LIMIT ?5) RETURNING flow, id",
                                  "iisii", (int64_t)FLOW_MARK_SEEN, k->t->live ? k->t->wall_ms : 0, c->name, k->consumers[consumer],
                                  (int64_t)SEEN_MAX);
    while (err == FICUS_ERR_OK && (row = db_step(s, k->reterr)) > 0) {
        int flow = flow_store_index(k->s, db_text(s, 0));
        if (flow >= 0)
            err = touch(k, (size_t)flow, db_text(s, 1));
        count++;
    }
    db_finish(s);
    *ret_all = count < SEEN_MAX;
    return err == FICUS_ERR_OK && row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err pass_all(struct take *k)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < k->s->consumer_count && err == FICUS_ERR_OK; i++) {
        bool all = true;
        err = pass(k, i, &all);
        k->t->more = k->t->more || !all;
        if (!all) /* what comes now is judged by the place that all before it was */
            k->consumers[i] = k->s->consumers[i].position;
    }
    return err;
}

/* Not worth a transaction of their own: consumers tell them again and again. */
static enum ficus_err write_places(struct take *k)
{
    struct flow_turn *t = k->t;
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < k->s->consumer_count && err == FICUS_ERR_OK; i++)
        if (t->anew || k->consumers[i] > k->s->consumers[i].position)
            err = db_exec(k->c, k->reterr, "INSERT INTO flow_consumer(service, position) VALUES(?, ?) ON CONFLICT DO UPDATE SET position = "
                                           "excluded.position", "si",
                          k->s->consumers[i].name, k->consumers[i]);
    if (err == FICUS_ERR_OK && t->next >= 0)
        err = flow_meta_put(k->c, "position", t->next, k->reterr);
    return err == FICUS_ERR_OK ? flow_meta_put(k->c, "judged", t->judged_ms, k->reterr) : err;
}

static enum ficus_err find_needs(struct take *k)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < k->s->consumer_count && err == FICUS_ERR_OK; i++)
        err = ask_i64(k, FLOW_NEVER, &k->t->needs[i], "SELECT min(need) FROM flow_mark WHERE service = ? AND need IS NOT NULL", "s",
                      k->s->consumers[i].name);
    return err;
}

/* ---- instances ---- */

/* The wait that ends first; NULL: none. */
static const struct flow_wait *first_wait(const struct flow_fold *f)
{
    const struct flow_wait *first = NULL;
    for (size_t i = 0; i < f->wait_count; i++)
        if (first == NULL || f->waits[i].until_ms < first->until_ms)
            first = &f->waits[i];
    return first;
}

static const char *failure_of(const struct flow_graph *g, const struct flow_stored *st)
{
    for (size_t i = 0; i < st->event_count; i++)
        if ((g->failures & UINT64_C(1) << st->events[i].topic) != 0)
            return g->topics[st->events[i].topic];
    return "";
}

static enum ficus_err fold_one(struct take *k, const struct touched *one)
{
    struct flow_stored *st = k->s->work;
    const struct flow_graph *g = st->graph = &k->s->graphs[one->flow];
    int64_t updated_ms = 0, marked_ms;
    enum ficus_err err = flow_load(k->c, NULL, one->id, st, k->reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (st->event_count == 0) /* gathered into another */
        return db_exec(k->c, k->reterr, "DELETE FROM flow_instance WHERE flow = ? AND id = ?", "sS", g->def->name, one->id);
    for (size_t i = 0; i < st->event_count; i++)
        updated_ms = st->events[i].time_ms > updated_ms ? st->events[i].time_ms : updated_ms;
    err = ask_i64(k, 0, &marked_ms, "SELECT max(at) FROM flow_mark WHERE flow = ? AND id = ?", "sS", g->def->name, one->id);
    if (err != FICUS_ERR_OK)
        return err;
    const struct flow_fold *f = &st->fold;
    const struct flow_wait *wait = first_wait(f);
    const char *step = wait == NULL ? "" : wait->lost_cause ? g->topics[st->events[wait->event].topic] : g->def->steps[wait->step].name;
    return db_exec(k->c, k->reterr,
                   "INSERT INTO flow_instance(flow, id, open, failure, step, stuck_at, orphaned_at, undone_at, due_at, late, told, started_at, "
                   "updated_at) "
                   "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT DO UPDATE SET open = excluded.open, failure = excluded.failure, step = "
                   "excluded.step, "
                   "stuck_at = excluded.stuck_at, orphaned_at = excluded.orphaned_at, undone_at = excluded.undone_at, "
                   "told = CASE WHEN due_at = excluded.due_at THEN told ELSE 0 END, due_at = excluded.due_at, late = excluded.late, "
                   "started_at = excluded.started_at, updated_at = excluded.updated_at",
                   "sSissiiiiiii", g->def->name, one->id, (int64_t)(f->wait_count > 0), failure_of(g, st), step, f->stuck_ms,
                   f->orphaned_ms, f->undone_ms,
                   flow_due_ms(f), (int64_t)f->late, st->events[0].time_ms, marked_ms > updated_ms ? marked_ms : updated_ms);
}

/* Those that nobody heard of yet, those that are overdue longest first. */
static enum ficus_err tell(struct take *k)
{
    struct flow_turn *t = k->t;
    struct db_stmt *s = NULL;
    int row = 0;
    enum ficus_err err = db_query(k->c, &s, k->reterr,
                                  "SELECT flow, id, step, due_at, stuck_at, orphaned_at, undone_at FROM flow_instance WHERE open = 1 AND told = 0 "
                                  "AND due_at < ? "
                                  "ORDER BY due_at LIMIT ?",
                                  "ii", t->judged_ms, (int64_t)FLOW_TOLD_MAX);
    while (err == FICUS_ERR_OK && (row = db_step(s, k->reterr)) > 0) {
        struct flow_told *told = &t->told[t->told_count++];
        *told = (struct flow_told){.flow = arena_strdup(t->arena, db_text(s, 0)),
                                   .id = arena_strdup(t->arena, db_text(s, 1)),
                                   .step = arena_strdup(t->arena, db_text(s, 2)),
                                   .state = flow_state_of(true, false, db_i64(s, 4), db_i64(s, 5), db_i64(s, 6), t->judged_ms),
                                   .until_ms = db_i64(s, 3)};
        if (told->flow == NULL || told->id == NULL || told->step == NULL)
            err = out_of_memory(k);
    }
    db_finish(s);
    if (err == FICUS_ERR_OK && row < 0)
        err = (enum ficus_err)-row;
    t->changed = t->changed || t->told_count > 0;
    for (size_t i = 0; i < t->told_count && err == FICUS_ERR_OK; i++)
        err = db_exec(k->c, k->reterr, "UPDATE flow_instance SET told = 1 WHERE flow = ? AND id = ?", "ss", t->told[i].flow, t->told[i].id);
    t->more = t->more || t->told_count == FLOW_TOLD_MAX;
    return err;
}

/* ---- retention ---- */

static enum ficus_err forget(struct take *k, struct slice flow, struct slice id)
{
    enum ficus_err err = db_exec(k->c, k->reterr, "DELETE FROM flow_event WHERE flow = ? AND id = ?", "SS", flow, id);
    return err != FICUS_ERR_OK ? err : db_exec(k->c, k->reterr, "DELETE FROM flow_mark WHERE flow = ? AND id = ?", "SS", flow, id);
}

static enum ficus_err trim(struct take *k)
{
    struct flow_turn *t = k->t;
    struct db_stmt *s = NULL;
    size_t count = 0;
    int row = 0;
    int64_t before_ms = t->wall_ms - k->s->retention_ms, crowd_ms;
    enum ficus_err err = ask_i64(k, 0, &crowd_ms, "SELECT updated_at FROM flow_instance WHERE open = 0 ORDER BY updated_at DESC LIMIT 1 OFFSET ?",
                                 "i", (int64_t)k->s->ended_max);
    if (err == FICUS_ERR_OK)
        err = db_query(k->c, &s, k->reterr,
                       "DELETE FROM flow_instance WHERE (flow, id) IN (SELECT flow, id FROM flow_instance WHERE updated_at < max(?1, ?2) AND (open = "
                       "0 OR "
                       "(updated_at < ?1 AND due_at < ?3)) ORDER BY updated_at LIMIT ?4) RETURNING flow, id, open",
                       "iiii", before_ms, crowd_ms, t->judged_ms, (int64_t)TRIM_MAX);
    while (err == FICUS_ERR_OK && (row = db_step(s, k->reterr)) > 0) {
        t->forgotten += db_i64(s, 2) != 0 ? 1 : 0;
        count++;
        err = forget(k, db_text(s, 0), db_text(s, 1));
    }
    db_finish(s);
    t->changed = t->changed || count > 0;
    t->more = t->more || count == TRIM_MAX;
    return err == FICUS_ERR_OK && row < 0 ? (enum ficus_err)-row : err;
}

/* ---- all ---- */

static enum ficus_err count_all(struct take *k)
{
    struct flow_turn *t = k->t;
    enum ficus_err err = FICUS_ERR_OK;
    t->gauges = arena_zalloc(t->arena, k->s->def_count * sizeof *t->gauges);
    if (t->gauges == NULL)
        return out_of_memory(k);
    for (size_t i = 0; i < k->s->def_count && err == FICUS_ERR_OK; i++)
        err = flow_counts(k->c, k->s->defs[i].name, t->judged_ms, t->gauges[i], k->reterr);
    return err;
}

static enum ficus_err take_all(struct take *k)
{
    struct flow_turn *t = k->t;
    enum ficus_err err = t->anew ? flow_wipe(k->c, k->reterr) : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK)
        err = pass_all(k);
    if (err == FICUS_ERR_OK)
        err = take_events(k);
    for (const struct touched *one = k->first; one != NULL && err == FICUS_ERR_OK; one = one->next)
        err = fold_one(k, one);
    if (err == FICUS_ERR_OK && t->tell)
        err = tell(k);
    if (err == FICUS_ERR_OK && t->trim)
        err = trim(k);
    if (err == FICUS_ERR_OK)
        err = find_needs(k);
    if (err == FICUS_ERR_OK)
        err = ask_i64(k, FLOW_NEVER, &t->due_ms, "SELECT min(due_at) FROM flow_instance WHERE open = 1 AND told = 0", "");
    if (err == FICUS_ERR_OK && t->gauge)
        err = count_all(k);
    return err == FICUS_ERR_OK && t->changed ? write_places(k) : err;
}

/* What is known in memory follows what is on the disk. */
static void keep_places(struct take *k)
{
    if (!k->t->changed)
        return;
    if (k->t->anew)
        k->s->position = 0;
    if (k->t->next >= 0)
        k->s->position = k->t->next;
    k->s->judged_ms = k->t->judged_ms;
    for (size_t i = 0; i < k->s->consumer_count; i++)
        k->s->consumers[i].position = k->consumers[i];
}

enum ficus_err flow_store_turn(struct flow_store *s, struct flow_turn *t, struct ficus_error *reterr)
{
    FICUS_ASSERT(t->count <= FLOW_BATCH);
    const uint64_t seed[2] = {env_random_u64(s->env), env_random_u64(s->env)}; /* ids are chosen by anybody */
    struct ficus_error error = {0};
    struct take k = {.s = s, .t = t, .reterr = reterr != NULL ? reterr : &error};
    struct db_tx tx = {0};
    t->more = false;
    t->changed = t->anew || t->count > 0;
    t->told_count = t->unnamed = t->forgotten = 0;
    t->gauges = NULL;
    for (size_t i = 0; i < s->consumer_count; i++) {
        int64_t heard = t->heard != NULL ? t->heard[i] : 0;
        k.consumers[i] = t->anew || heard > s->consumers[i].position ? heard : s->consumers[i].position; /* anew: in another log */
    }
    enum ficus_err err = db_tx_begin(s->db, &tx, 0, k.reterr);
    if (err != FICUS_ERR_OK)
        return err;
    arena_init(&k.arena, TOUCHED_ARENA_MAX);
    map_init(&k.known, seed);
    k.c = db_tx_conn(&tx);
    err = take_all(&k);
    if (err == FICUS_ERR_OK)
        err = db_tx_commit_wait(&tx, k.reterr);
    else
        db_tx_rollback(&tx);
    if (err == FICUS_ERR_OK)
        keep_places(&k);
    map_done(&k.known);
    arena_done(&k.arena);
    return err;
}
