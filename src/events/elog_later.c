/* SPDX-License-Identifier: Apache-2.0
 *
 * What waits for its time. Table later: events that were published for later, each as a record of one event (elog_record.h)
 * whose offset is its number; table schedule: when each schedule comes next.
 *
 *     published with at_ms ahead -> row of later, in the publisher's transaction, synced before it is acknowledged
 *     its time has come          -> one transaction: event into a record, row deleted     (never both, never none)
 *     removed by an operator     -> row deleted
 *     a schedule's time has come -> one transaction: event into a record, the row has the next time
 *
 * All three are work of the append job, so there is one writer and one order. What is moved has a transaction of its own, between
 * those of publishers: what is wrong with one is not the other's fault. Whether a repetition is one was asked when the event was
 * published; moving does not ask again.
 *
 * The timer runs on the monotonic clock but looks at the wall clock every second, so a jump of that is noticed within one.
 */
#include "elog_private.h"

#include "mem.h"
#include "sha256.h"
#include "timefmt.h"
#include "uuid.h"

enum {
    LOOK_MS = 1000,
    REST_MS = 1000,             /* after a failure */
    DAY_MS = 24 * 3600 * 1000,
    MOVE_COUNT = EVENT_BATCH_COUNT_MAX, /* in one transaction */
    MOVE_SIZE = EVENT_BATCH_SIZE_MAX,
    MOVE_ARENA_MAX = 2 * MOVE_SIZE + 4 * 1024 * 1024,
    COUNT_MAX = 100000,
    SIZE_MAX_MIB = 256,
};
#define NEVER INT64_MAX

/* The first of the schedule's times behind now. */
static int64_t time_after(const struct elog_schedule *s, int64_t now_ms)
{
    int64_t since = now_ms - s->phase_ms, n = since / s->every_ms;
    if (since < 0)
        n = -1;     /* before 1970: the first one */
    return s->phase_ms + (n + 1) * s->every_ms;
}

/* ---- opening ---- */

static enum ficus_err number_get(struct db_conn *c, const char *sql, int64_t fallback, int64_t *ret_value, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr, sql, "");
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (err == FICUS_ERR_OK && row >= 0)
        *ret_value = row == 0 || db_is_null(s, 0) ? fallback : db_i64(s, 0);
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err next_get(struct db_conn *c, int64_t *ret_ms, struct ficus_error *reterr)
{
    int64_t event_ms = NEVER, schedule_ms = NEVER;
    enum ficus_err err = number_get(c, "SELECT at FROM later WHERE damaged = 0 ORDER BY at, number LIMIT 1", NEVER, &event_ms, reterr);
    if (err == FICUS_ERR_OK)
        err = number_get(c, "SELECT min(at) FROM schedule", NEVER, &schedule_ms, reterr);
    *ret_ms = event_ms < schedule_ms ? event_ms : schedule_ms;
    return err;
}

static bool schedules_copy(struct elog *l, const struct elog_options *o)
{
    struct arena *a = &l->keeper_arena;
    l->later.schedules = ARENA_ARRAY(a, struct elog_schedule, o->schedule_count + 1);
    for (size_t i = 0; l->later.schedules != NULL && i < o->schedule_count; i++, l->later.schedule_count++) {
        const struct elog_schedule *from = &o->schedules[i];
        FICUS_ASSERT(from->every_ms > 0);
        FICUS_ASSERT(from->phase_ms >= 0 && from->phase_ms < from->every_ms);
        l->later.schedules[i] = (struct elog_schedule){.source = arena_strdup(a, slice_str(from->source)),
            .name = arena_strdup(a, slice_str(from->name)), .topic = arena_strdup(a, slice_str(from->topic)),
            .every_ms = from->every_ms, .phase_ms = from->phase_ms};
    }
    return !arena_overflowed(a) && l->later.schedules != NULL;
}

static const struct elog_schedule *schedule_find(const struct elog *l, struct slice source)
{
    for (size_t i = 0; i < l->later.schedule_count; i++)
        if (slice_eq_str(source, l->later.schedules[i].source))
            return &l->later.schedules[i];
    return NULL;
}

/* One that is new, or says other times now, begins with its first time from now on. */
static enum ficus_err schedules_store(struct elog *l, struct db_conn *c, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < l->later.schedule_count && err == FICUS_ERR_OK; i++) {
        const struct elog_schedule *s = &l->later.schedules[i];
        err = db_exec(c, reterr, "INSERT INTO schedule(source, every, phase, at) VALUES(?, ?, ?, ?) ON CONFLICT(source) DO UPDATE"
            " SET every = excluded.every, phase = excluded.phase, at = excluded.at WHERE every <> excluded.every OR phase <> excluded.phase",
            "siii", s->source, s->every_ms, s->phase_ms, time_after(s, env_wall_ms(l->env)));
    }
    return err;
}

static enum ficus_err schedules_forget(struct elog *l, struct db_conn *c, struct ficus_error *reterr)
{
    for (;;) {
        struct db_stmt *s = NULL;
        char *gone = NULL;
        int row = 0;
        enum ficus_err err = db_query(c, &s, reterr, "SELECT source FROM schedule", "");
        while (err == FICUS_ERR_OK && gone == NULL && (row = db_step(s, reterr)) == 1)
            if (schedule_find(l, db_text(s, 0)) == NULL && (gone = mem_strndup(db_text(s, 0).p, db_text(s, 0).size)) == NULL)
                err = err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
        db_finish(s);
        if (row < 0)
            err = (enum ficus_err)-row;
        if (gone != NULL && err == FICUS_ERR_OK)
            err = db_exec(c, reterr, "DELETE FROM schedule WHERE source = ?", "s", gone);
        bool more = gone != NULL && err == FICUS_ERR_OK;
        mem_free(gone);
        if (!more)
            return err;
    }
}

static enum ficus_err state_load(struct elog *l, struct db_conn *c, struct ficus_error *reterr)
{
    struct elog_later *s = &l->later;
    enum ficus_err err = schedules_store(l, c, reterr);
    if (err == FICUS_ERR_OK)
        err = schedules_forget(l, c, reterr);
    if (err == FICUS_ERR_OK)
        err = number_get(c, "SELECT count(*) FROM later", 0, &s->count, reterr);
    if (err == FICUS_ERR_OK)
        err = number_get(c, "SELECT sum(size) FROM later", 0, &s->size, reterr);
    return err == FICUS_ERR_OK ? next_get(c, &s->next_ms, reterr) : err;
}

static void look(void *arg);

enum ficus_err elog_later_open(struct elog *l, const struct elog_options *o, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    l->later.timer = (struct env_timer){.fn = look, .arg = l};
    if (!schedules_copy(l, o))
        return err_set(reterr, FICUS_ERR_NOMEM, "event log: too many schedules");
    enum ficus_err err = db_tx_begin(l->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = state_load(l, db_tx_conn(&tx), reterr);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

/* ---- the clock ---- */

bool elog_later_is_due(const struct elog *l)
{
    return !l->later.rests && l->later.next_ms <= env_wall_ms(l->env);
}

void elog_later_start(struct elog *l)
{
    struct elog_later *s = &l->later;
    bool resting = s->rests && env_timer_armed(&s->timer);     /* however often others append meanwhile */
    if (l->closing || s->next_ms == NEVER || resting)
        return;
    int64_t left_ms = s->next_ms - env_wall_ms(l->env), delay_ms = s->rests ? REST_MS : left_ms < LOOK_MS ? left_ms : LOOK_MS;
    env_timer_stop(l->env, &s->timer);
    env_timer_start(l->env, &s->timer, delay_ms > 0 ? delay_ms : 0);
}

void elog_later_stop(struct elog *l)
{
    env_timer_stop(l->env, &l->later.timer);
}

static void look(void *arg)
{
    struct elog *l = arg;
    l->later.rests = false;
    if (elog_later_is_due(l))
        elog_append_start(l);   /* when it runs already it looks by itself, behind what it does */
    if (!l->append_runs)
        elog_later_start(l);
}

/* ---- room ---- */

size_t elog_later_count(const struct elog *l)
{
    return (size_t)l->later.count;
}

enum ficus_err elog_later_reserve(struct elog *l, struct append *ap)
{
    struct elog_later *s = &l->later;
    int64_t now_ms = env_wall_ms(l->env);
    int64_t count_max = l->o.later_count_max == 0 ? COUNT_MAX : (int64_t)l->o.later_count_max;
    int64_t size_max = l->o.later_size_max == 0 ? (int64_t)SIZE_MAX_MIB * 1024 * 1024 : l->o.later_size_max;
    for (size_t i = 0; i < ap->count; i++) {
        int64_t ahead_ms = ap->rows[i].ev.at_ms - now_ms;
        if (ahead_ms > EVENT_LATER_MS_MAX + DAY_MS)     /* a day: the publisher's clock was another */
            return FICUS_ERR_INVALID;
        ap->later_count += ahead_ms > 0;
        ap->later_size += ahead_ms > 0 ? ap->rows[i].size : 0;
    }
    bool fits = ap->later_count == 0 || (s->count + (int64_t)(s->count_reserved + ap->later_count) <= count_max
        && s->size + (int64_t)(s->size_reserved + ap->later_size) <= size_max);
    if (!fits)
        return FICUS_ERR_BUSY;
    s->count_reserved += ap->later_count;
    s->size_reserved += ap->later_size;
    return FICUS_ERR_OK;
}

void elog_later_release(struct elog *l, const struct append *ap)
{
    FICUS_ASSERT(l->later.count_reserved >= ap->later_count);
    l->later.count_reserved -= ap->later_count;
    l->later.size_reserved -= ap->later_size;
}

/* ---- [worker] the job ---- */

void elog_later_begin(struct elog *l)
{
    struct elog_later *s = &l->later;
    s->job_count = s->count;
    s->job_size = s->size;
    s->job_next_ms = s->next_ms;
    s->damaged = 0;
    s->touched = false;
}

static struct elog_head head_of(int64_t number, int64_t at_ms)
{
    return (struct elog_head){.first = number, .last = number, .at = at_ms, .count = 1};
}

enum ficus_err elog_later_add(struct elog *l, struct db_conn *c, const struct append_row *r, int64_t number)
{
    struct elog_head head = head_of(number, r->ev.at_ms);
    struct slice body = slice_make(r->packed, r->size);
    /* Of its source it may be known for longer than 2048 events, for as long as it waits. */
    enum ficus_err err = db_exec(c, &l->write_error, "INSERT INTO later(number, at, damaged, size, source, id, sum, body)"
        " VALUES(?, ?, 0, ?, ?, ?, ?, ?) ON CONFLICT(source, id) DO NOTHING", "iiiSSib", number, r->ev.at_ms, (int64_t)r->size,
        r->ev.source, r->ev.id, elog_record_sum(&head, body), body);
    if (err == FICUS_ERR_OK && db_changes(c) > 0) {
        l->later.job_count++;
        l->later.job_size += (int64_t)r->size;
        l->later.touched = true;
    }
    return err;
}

enum ficus_err elog_later_knows(struct elog *l, struct db_conn *c, const struct event *ev, bool *ret_waits)
{
    struct db_stmt *s = NULL;
    if (l->later.job_count == 0)
        return FICUS_ERR_OK;
    enum ficus_err err = db_query(c, &s, &l->write_error, "SELECT 1 FROM later WHERE source = ? AND id = ? AND damaged = 0", "SS", ev->source, ev->id);
    int row = err == FICUS_ERR_OK ? db_step(s, &l->write_error) : 0;
    *ret_waits = row == 1;
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

/* Columns: number, at, sum, body. CORRUPT: as it says. */
static enum ficus_err row_read(struct db_stmt *s, struct event *ret_event)
{
    struct elog_head head = head_of(db_i64(s, 0), db_i64(s, 1));
    struct elog_cursor cu;
    head.sum = db_i64(s, 2);
    enum ficus_err err = elog_record_open(&cu, &head, db_blob(s, 3), NULL);
    if (err == FICUS_ERR_OK && elog_record_next(&cu, ret_event, NULL, NULL) != 1)
        err = FICUS_ERR_CORRUPT;
    ret_event->at_ms = head.at;
    return err;
}

static enum ficus_err moved_add(struct append *ap, const struct elog *l, const struct event *ev)
{
    struct append_row *r = &ap->rows[ap->count];
    FICUS_ASSERT(ap->count < MOVE_COUNT);
    r->size = elog_pack_size(ev);
    r->packed = arena_alloc(&ap->arena, r->size);
    if (r->packed == NULL)
        return FICUS_ERR_NOMEM;
    elog_pack(r->packed, ev, &r->ev);
    r->keeper = elog_keeper_of(l, ev->topic);
    ap->count++;
    return FICUS_ERR_OK;
}

/* The rows that are due, as many as go into one transaction. *ret_upto: everything up to this time is among them. */
static enum ficus_err due_read(struct elog *l, struct db_conn *c, struct append *ap, int64_t numbers[MOVE_COUNT], int64_t now_ms,
                               int64_t *ret_upto)
{
    struct db_stmt *s = NULL;
    size_t size = 0;
    int row = 0;
    struct event ev = {.offset = 0};
    enum ficus_err err = db_query(c, &s, &l->write_error,
        "SELECT number, at, sum, body FROM later WHERE damaged = 0 AND at <= ? ORDER BY at, number", "i", now_ms);
    *ret_upto = now_ms;
    /* half of the places: schedules come beside them */
    while (err == FICUS_ERR_OK && ap->count < MOVE_COUNT / 2 && size < MOVE_SIZE / 2 && (row = db_step(s, &l->write_error)) == 1) {
        err = row_read(s, &ev);
        if (err == FICUS_ERR_CORRUPT) {
            l->later.damaged = db_i64(s, 0);
            *ret_upto = db_i64(s, 1) - 1;
            err = FICUS_ERR_OK;
            break;
        }
        numbers[ap->count] = db_i64(s, 0);
        size += db_blob(s, 3).size;
        *ret_upto = db_i64(s, 1);
        if (err == FICUS_ERR_OK)
            err = moved_add(ap, l, &ev);
    }
    if (err == FICUS_ERR_OK && row == 0 && ap->count < MOVE_COUNT / 2 && size < MOVE_SIZE / 2)
        *ret_upto = now_ms;
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err rows_delete(struct elog *l, struct db_conn *c, const struct append *ap, const int64_t *numbers)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < ap->count && err == FICUS_ERR_OK; i++) {
        err = db_exec(c, &l->write_error, "DELETE FROM later WHERE number = ?", "i", numbers[i]);
        FICUS_ASSERT(err != FICUS_ERR_OK || db_changes(c) == 1);
        l->later.job_count--;
        l->later.job_size -= (int64_t)ap->rows[i].size;
    }
    if (err == FICUS_ERR_OK && l->later.damaged != 0)
        err = db_exec(c, &l->write_error, "UPDATE later SET damaged = 1 WHERE number = ?", "i", l->later.damaged);
    return err;
}

/* ---- schedules ---- */

/* The id is made of the schedule and the time, so that the time is known again when a log is put back from a copy. */
static bool schedule_event(struct arena *a, const struct elog_schedule *s, int64_t at_ms, int64_t missed, int64_t now_ms, struct event *ret_event)
{
    char at[TIME_TEXT_SIZE], now[TIME_TEXT_SIZE];
    uint8_t hash[SHA256_SIZE];
    time_format(at_ms, at);
    time_format(now_ms, now);
    const struct slice parts[] = {slice_str(s->source), SLICE("\n"), slice_str(at)};
    char *id = arena_alloc(a, UUID_TEXT_SIZE);
    char *data = arena_printf(a, "{\"schedule\":\"%s\",\"at\":\"%s\",\"missed\":%lld}", s->name, at, (long long)missed);
    char *time = arena_strdup(a, slice_str(now));
    if (id == NULL || data == NULL || time == NULL || !sha256(parts, ARRAY_COUNT(parts), hash))
        return false;
    uuid_v8(hash, id);
    *ret_event = (struct event){.id = slice_str(id), .source = slice_str(s->source), .topic = slice_str(s->topic),
        .subject = slice_str(s->name), .time = slice_str(time), .data = slice_str(data), .at_ms = at_ms};
    return true;
}

/* *at: its next time, which has come. */
static enum ficus_err schedule_move(struct elog *l, struct db_conn *c, struct append *ap, const struct elog_schedule *s, int64_t at_ms,
                                    int64_t now_ms)
{
    struct event ev;
    bool repeated = false;
    int64_t next_ms = time_after(s, now_ms), last_ms = next_ms - s->every_ms;
    FICUS_ASSERT(at_ms <= last_ms);
    if (!schedule_event(&ap->arena, s, last_ms, (last_ms - at_ms) / s->every_ms, now_ms, &ev))
        return err_set(&l->write_error, FICUS_ERR_NOMEM, "event log: out of memory");
    enum ficus_err err = elog_once_add(c, &ev, &repeated, &l->write_error);
    if (err == FICUS_ERR_OK && !repeated)
        err = moved_add(ap, l, &ev);
    return err == FICUS_ERR_OK ? db_exec(c, &l->write_error, "UPDATE schedule SET at = ? WHERE source = ?", "is", next_ms, s->source) : err;
}

static enum ficus_err schedules_move(struct elog *l, struct db_conn *c, struct append *ap, int64_t upto_ms, int64_t now_ms)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < l->later.schedule_count && err == FICUS_ERR_OK && ap->count < MOVE_COUNT; i++) {
        const struct elog_schedule *s = &l->later.schedules[i];
        struct db_stmt *q = NULL;
        err = db_query(c, &q, &l->write_error, "SELECT at FROM schedule WHERE source = ? AND at <= ?", "si", s->source, upto_ms);
        int row = err == FICUS_ERR_OK ? db_step(q, &l->write_error) : 0;
        int64_t at_ms = row == 1 ? db_i64(q, 0) : 0;
        db_finish(q);
        if (row < 0)
            err = (enum ficus_err)-row;
        else if (row == 1)
            err = schedule_move(l, c, ap, s, at_ms, now_ms);
    }
    return err;
}

/* By time; those of one time as they are: delayed ones by number, then schedules. Few, and nearly sorted. */
static void rows_sort(struct append *ap)
{
    for (size_t i = 1; i < ap->count; i++) {
        struct append_row r = ap->rows[i];
        size_t k = i;
        for (; k > 0 && ap->rows[k - 1].ev.at_ms > r.ev.at_ms; k--)
            ap->rows[k] = ap->rows[k - 1];
        ap->rows[k] = r;
    }
}

enum ficus_err elog_later_move(struct elog *l, struct db_conn *c)
{
    int64_t numbers[MOVE_COUNT], now_ms = env_wall_ms(l->env), upto_ms = now_ms;
    struct append *ap = l->later.moved = elog_append_new();
    if (ap != NULL) {
        ap->arena.size_max = MOVE_ARENA_MAX;
        ap->rows = ARENA_ARRAY(&ap->arena, struct append_row, MOVE_COUNT);
    }
    if (ap == NULL || ap->rows == NULL)
        return err_set(&l->write_error, FICUS_ERR_NOMEM, "event log: out of memory");
    l->later.touched = true;
    enum ficus_err err = due_read(l, c, ap, numbers, now_ms, &upto_ms);
    if (err == FICUS_ERR_OK)
        err = rows_delete(l, c, ap, numbers);
    if (err == FICUS_ERR_OK)
        err = schedules_move(l, c, ap, upto_ms, now_ms);
    rows_sort(ap);
    for (size_t i = 0; i < ap->count && err == FICUS_ERR_OK; i++)
        err = elog_row_store(l, c, &ap->rows[i], now_ms);
    return err;
}

/* ---- taking out ---- */

enum ficus_err elog_later_take_out(struct elog *l, struct db_conn *c, struct append *ap)
{
    struct db_stmt *s = NULL;
    struct event ev = {.offset = 0};
    int64_t size = 0;
    enum ficus_err err = db_query(c, &s, &l->write_error, "SELECT number, at, sum, body, source, id, size FROM later WHERE number = ?", "i",
        ap->remove);
    int row = err == FICUS_ERR_OK ? db_step(s, &l->write_error) : 0;
    ap->err = FICUS_ERR_NOT_FOUND;
    if (row == 1) {
        bool damaged = row_read(s, &ev) != FICUS_ERR_OK;
        if (damaged)
            ev = (struct event){.source = db_text(s, 4), .id = db_text(s, 5)};
        *ap->was = (struct elog_waiting){.number = ap->remove, .at_ms = db_i64(s, 1), .damaged = damaged};
        size = db_i64(s, 6);
        ap->err = event_copy(&ap->arena, &ev, &ap->was->event);
    }
    db_finish(s);
    if (row < 0)
        return (enum ficus_err)-row;
    if (err != FICUS_ERR_OK || ap->err != FICUS_ERR_OK)
        return err;
    l->later.touched = true;
    l->later.job_count--;
    l->later.job_size -= size;
    err = db_exec(c, &l->write_error, "DELETE FROM later WHERE number = ?", "i", ap->remove);
    if (err == FICUS_ERR_OK && elog_is_once(&ap->was->event))
        err = db_exec(c, &l->write_error, "DELETE FROM once WHERE source = ? AND id = ?", "SS", ap->was->event.source, ap->was->event.id);
    return err;
}

enum ficus_err elog_later_end(struct elog *l, struct db_conn *c)
{
    return l->later.touched ? next_get(c, &l->later.job_next_ms, &l->write_error) : FICUS_ERR_OK;
}

/* ---- on the loop again ---- */

void elog_later_done(struct elog *l, bool kept)
{
    struct elog_later *s = &l->later;
    struct append *moved = s->moved;
    s->moved = NULL;
    s->moved_last = s->moves;
    if (s->moves && !kept) {
        env_timer_stop(l->env, &s->timer);
        s->rests = true;
        elog_later_start(l);
    }
    if (kept) {
        s->count = s->job_count;
        s->size = s->job_size;
        s->next_ms = s->job_next_ms;
    }
    if (kept && moved != NULL) {
        struct list one;
        list_init(&one);
        list_add_tail(&one, &moved->link);
        elog_readers_tell(l, &one);
        list_remove(&moved->link);
        l->size_since += arena_size(&moved->arena);
    }
    elog_append_free(moved);
    if (kept && s->damaged != 0 && l->o.damaged != NULL)
        l->o.damaged(l->o.damaged_arg, s->damaged);
}
