/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers of the event log, and the list of its topics.
 *
 *     IDLE -> elog_read -> JOB -> found, failed or no time left -> done, IDLE
 *                   \      |^ committed while it ran (dirty), or the pool had no room (timer)
 *                    \     v| committed
 *                     `-> WAITING -> time is up -> done, IDLE
 */
#include "elog_private.h"

#include "assert.h"
#include "mem.h"
#include "timefmt.h"

enum {
    READ_SIZE_MAX = 2 * 1024 * 1024,            /* bodies in one answer, if it has more than one */
    READ_ARENA_MAX = READ_SIZE_MAX + 2 * EVENT_SIZE_MAX + EVENT_BATCH_COUNT_MAX * 8192,
    TOPICS_MAX = 10000,                         /* in elog_topics */
};

enum reader_state { READER_IDLE, READER_JOB, READER_WAITING };

struct elog_reader {
    struct list link;
    struct elog *log;
    enum reader_state state;
    bool dirty, freed;
    char *topics_text;
    struct slice topics[EVENT_TOPICS_MAX];
    size_t topic_count, count_max;
    int64_t offset, end_ns;
    int64_t last;               /* up to there the log was written when the job began */
    struct env_timer timer;
    struct env_job job;
    void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next);
    void *arg;
    /* the job's result */
    struct arena arena;
    struct event_cut cuts[EVENT_TOPICS_MAX];
    size_t cut_count;
    struct event *events;
    size_t count;
    int64_t next;
    enum ficus_err err;
};

enum ficus_err elog_reader_new(struct elog *l, struct elog_reader **ret_reader)
{
    struct elog_reader *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return FICUS_ERR_NOMEM;
    r->log = l;
    arena_init(&r->arena, READ_ARENA_MAX);
    list_add_tail(&l->readers, &r->link);
    *ret_reader = r;
    return FICUS_ERR_OK;
}

static void reader_delete(struct elog_reader *r)
{
    arena_done(&r->arena);
    mem_free(r->topics_text);
    mem_free(r);
}

void elog_reader_free(struct elog_reader *r)
{
    if (r == NULL)
        return;
    env_timer_stop(r->log->env, &r->timer);
    list_remove(&r->link);
    r->freed = true;
    bool job_runs = r->state == READER_JOB && r->job.work != NULL;
    if (!job_runs)
        reader_delete(r);
}

static bool topics_have(const struct elog_reader *r, struct slice topic)
{
    for (size_t i = 0; i < r->topic_count; i++)
        if (slice_eq(r->topics[i], topic))
            return true;
    return false;
}

/* One event into the reader's arena. *ret_room false: it is for the next read. */
static enum ficus_err event_take(struct elog_reader *r, const struct event *ev, size_t size, bool *ret_room)
{
    *ret_room = r->count < r->count_max && (r->count == 0 || arena_size(&r->arena) + size <= READ_SIZE_MAX);
    if (!*ret_room)
        return FICUS_ERR_OK;
    char *bytes = arena_alloc(&r->arena, size);
    if (bytes == NULL)
        return FICUS_ERR_NOMEM;
    elog_pack(bytes, ev, &r->events[r->count]);
    r->events[r->count++].offset = r->next = ev->offset;
    return FICUS_ERR_OK;
}

static enum ficus_err events_take(struct elog_reader *r, struct db_stmt *row, bool *ret_room)
{
    struct elog_head head;
    struct elog_cursor cu;
    struct event ev;
    struct slice packed;
    int more = 0;
    elog_row_head(row, &head);
    enum ficus_err err = elog_record_open(&cu, &head, db_blob(row, ELOG_BODY_COLUMN), NULL);
    *ret_room = true;
    while (err == FICUS_ERR_OK && *ret_room && (more = elog_record_next(&cu, &ev, &packed, NULL)) == 1)
        if (ev.offset > r->offset && topics_have(r, ev.topic))
            err = event_take(r, &ev, packed.size, ret_room);
    return more < 0 ? (enum ficus_err)-more : err;
}

static enum ficus_err record_take(struct elog_reader *r, struct db_conn *c, int64_t key, bool *ret_room)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, NULL, "SELECT " ELOG_RECORD_COLUMNS " FROM record WHERE last = ?", "i", key);
    int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 1;
    if (err == FICUS_ERR_OK && row == 1)
        err = events_take(r, s, ret_room);
    db_finish(s);
    if (row < 0)
        return (enum ficus_err)-row;
    return row == 0 ? FICUS_ERR_CORRUPT : err;      /* 0: there is no record where its topic's row says */
}

/* To the next record of the topic; NULL when it has no more. */
static enum ficus_err record_step(struct db_stmt **key)
{
    int more = db_step(*key, NULL);
    if (more == 1)
        return FICUS_ERR_OK;
    db_finish(*key);
    *key = NULL;
    return (enum ficus_err)-more;
}

/* Go through the records of all topics by offset; `keys` has one open statement for each topic. */
static enum ficus_err records_merge(struct elog_reader *r, struct db_conn *c, struct db_stmt **keys, bool *ret_all)
{
    bool room = true;
    for (*ret_all = false; room;) {
        int64_t key = INT64_MAX;
        for (size_t i = 0; i < r->topic_count; i++)
            if (keys[i] != NULL && db_i64(keys[i], 0) < key)
                key = db_i64(keys[i], 0);
        *ret_all = key == INT64_MAX;
        if (*ret_all)
            return FICUS_ERR_OK;
        enum ficus_err err = record_take(r, c, key, &room);
        for (size_t i = 0; i < r->topic_count && err == FICUS_ERR_OK; i++)
            if (keys[i] != NULL && db_i64(keys[i], 0) == key)
                err = record_step(&keys[i]);
        if (err != FICUS_ERR_OK)
            return err;
    }
    return FICUS_ERR_OK;
}

static enum ficus_err keys_open(struct elog_reader *r, struct db_conn *c, struct db_stmt **keys)
{
    for (size_t i = 0; i < r->topic_count; i++) {
        enum ficus_err err = db_query(c, &keys[i], NULL,
            "SELECT record FROM record_topic WHERE topic = ?1 AND record > ?2 AND newest > ?2 ORDER BY record", "Si",
            r->topics[i], r->offset);
        if (err == FICUS_ERR_OK)
            err = record_step(&keys[i]);
        if (err != FICUS_ERR_OK)
            return err;
    }
    return FICUS_ERR_OK;
}

static enum ficus_err cuts_read(struct elog_reader *r, struct db_conn *c)
{
    for (size_t i = 0; i < r->topic_count; i++) {
        struct db_stmt *s = NULL;
        enum ficus_err err = db_query(c, &s, NULL, "SELECT offset FROM cut WHERE topic = ? AND offset > ?", "Si",
            r->topics[i], r->offset);
        int row = err == FICUS_ERR_OK ? db_step(s, NULL) : 0;
        if (row == 1)
            r->cuts[r->cut_count++] = (struct event_cut){r->topics[i], db_i64(s, 0)};
        db_finish(s);
        if (err != FICUS_ERR_OK || row < 0)
            return err != FICUS_ERR_OK ? err : (enum ficus_err)-row;
    }
    return FICUS_ERR_OK;
}

/* All of one snapshot: else a topic read early could miss an event that a topic read later has passed. It has everything up to r->last. */
static enum ficus_err reader_query(struct elog_reader *r, struct db_conn *c)
{
    struct db_stmt *keys[EVENT_TOPICS_MAX] = {NULL};
    bool all = false;
    enum ficus_err err = db_reader_snapshot(c, NULL);
    if (err == FICUS_ERR_OK)
        err = cuts_read(r, c);
    if (err == FICUS_ERR_OK)
        err = keys_open(r, c, keys);
    if (err == FICUS_ERR_OK)
        err = records_merge(r, c, keys, &all);
    for (size_t i = 0; i < r->topic_count; i++)
        db_finish(keys[i]);
    if (err == FICUS_ERR_OK && all && r->last > r->next)
        r->next = r->last;
    return err;
}

/* [worker] */
static void reader_work(void *arg)
{
    struct elog_reader *r = arg;
    struct db_conn *c = NULL;
    r->count = r->cut_count = 0;
    r->next = r->offset;
    r->events = ARENA_ARRAY(&r->arena, struct event, r->count_max);
    r->err = r->events == NULL ? FICUS_ERR_NOMEM : db_reader_take(r->log->db, &c, NULL);
    if (c == NULL)
        return;
    r->err = reader_query(r, c);
    db_reader_give(r->log->db, c);
    /* what came through before a damaged row is good; the row's error comes when it is the first */
    if (r->count > 0)
        r->err = FICUS_ERR_OK;
}

/* The reader is idle when done is called: it may be used again or freed in there. */
static void reader_end(struct elog_reader *r, enum ficus_err err)
{
    struct arena arena = r->arena;
    const struct event *events = r->events;
    size_t count = err == FICUS_ERR_OK ? r->count : 0;
    arena_init(&r->arena, READ_ARENA_MAX);
    r->events = NULL;
    r->count = 0;
    r->state = READER_IDLE;
    r->done(r->arg, err, events, count, err == FICUS_ERR_OK ? r->next : r->offset);
    arena_done(&arena);
}

size_t elog_read_cuts(const struct elog_reader *r, const struct event_cut **ret_cuts)
{
    *ret_cuts = r->cuts;
    return r->cut_count;
}

static void reader_start(void *arg);

static void reader_done(void *arg)
{
    struct elog_reader *r = arg;
    struct elog *l = r->log;
    r->job.work = NULL;
    if (r->freed) {
        reader_delete(r);
        elog_job_ended(l);
        return;
    }
    if (r->next > l->last_offset)
        l->last_offset = r->next;       /* synced and seen; append_done is on its way to say the same */
    int64_t left_ms = (r->end_ns - env_now_ns(l->env)) / 1000000;
    if (r->err != FICUS_ERR_OK || r->count > 0 || r->cut_count > 0 || (left_ms <= 0 && !r->dirty)) {
        reader_end(r, r->err);
    } else {
        r->offset = r->next;
        arena_clear(&r->arena);
        r->state = READER_WAITING;
        if (r->dirty)
            reader_start(r);
        else
            env_timer_start(l->env, &r->timer, left_ms);
    }
    elog_job_ended(l);
}

/* As a timer: the time is up, or the pool may have room again. */
static void reader_timer(void *arg)
{
    struct elog_reader *r = arg;
    if (r->state == READER_JOB)
        reader_start(r);
    else
        reader_end(r, FICUS_ERR_OK);
}

static void reader_start(void *arg)
{
    struct elog_reader *r = arg;
    struct elog *l = r->log;
    env_timer_stop(l->env, &r->timer);
    r->state = READER_JOB;
    r->dirty = false;
    r->last = l->last_offset < l->sequence ? l->last_offset : l->sequence;  /* the file knows of it: a later life gives no smaller ones */
    r->job = (struct env_job){.work = reader_work, .done = reader_done, .arg = r};
    if (elog_job_run(l, &r->job) == FICUS_ERR_OK)
        return;
    r->job.work = NULL;
    env_timer_start(l->env, &r->timer, ELOG_RETRY_MS);
}

enum ficus_err elog_read(struct elog_reader *r, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms,
                         void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count,
                         int64_t next), void *arg)
{
    struct elog *l = r->log;
    FICUS_ASSERT(r->state == READER_IDLE);
    if (l->closing)
        return FICUS_ERR_CANCELLED;
    if (offset > l->last_offset)
        return FICUS_ERR_CONFLICT;      /* of another log: this one never gave it */
    char *text = mem_strdup(topics);
    if (text == NULL)
        return FICUS_ERR_NOMEM;
    enum ficus_err err = event_topics_parse(slice_str(text), r->topics, &r->topic_count, NULL);
    mem_free(r->topics_text);
    r->topics_text = text;
    if (err != FICUS_ERR_OK)
        return err;
    r->offset = r->next = offset < 0 ? 0 : offset;
    r->count_max = count_max == 0 || count_max > EVENT_BATCH_COUNT_MAX ? EVENT_BATCH_COUNT_MAX : count_max;
    r->end_ns = env_now_ns(l->env) + (wait_ms > 0 ? wait_ms : 0) * 1000000;
    r->done = done;
    r->arg = arg;
    r->count = r->cut_count = 0;
    r->timer = (struct env_timer){.fn = reader_timer, .arg = r};
    if (r->offset < l->last_offset) {
        reader_start(r);
    } else {
        r->state = READER_WAITING;
        r->dirty = false;
        env_timer_start(l->env, &r->timer, wait_ms > 0 ? wait_ms : 0);
    }
    return FICUS_ERR_OK;
}

/* ---- news ---- */

static bool written_for(const struct elog_reader *r, const struct list *written)
{
    LIST_FOREACH(written, it) {
        const struct append *ap = CONTAINER_OF(it, struct append, link);
        for (size_t i = 0; i < ap->count; i++)
            if (topics_have(r, ap->rows[i].ev.topic))
                return true;
    }
    return false;
}

void elog_readers_tell(struct elog *l, const struct list *written)
{
    LIST_FOREACH(&l->readers, it) {
        struct elog_reader *r = CONTAINER_OF(it, struct elog_reader, link);
        if (r->state == READER_IDLE || r->dirty || !written_for(r, written))
            continue;
        if (r->state == READER_JOB)
            r->dirty = true;
        else
            reader_start(r);
    }
}

/* ---- topics ---- */

struct topics_job {
    struct elog *log;
    struct env_job job;
    struct arena arena;
    struct elog_topic *topics;
    size_t count;
    enum ficus_err err;
    void (*done)(void *arg, enum ficus_err err, const struct elog_topic *topics, size_t count);
    void *arg;
};

static enum ficus_err topics_query(struct topics_job *j, struct db_conn *c)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, NULL,
        "SELECT topic, n, lo, hi, (SELECT at FROM record WHERE last = r) FROM (SELECT topic, sum(count) AS n, min(oldest) AS lo,"
        " max(newest) AS hi, max(record) AS r FROM record_topic GROUP BY topic) ORDER BY topic LIMIT 10000", "");
    j->topics = ARENA_ARRAY(&j->arena, struct elog_topic, TOPICS_MAX);
    if (err == FICUS_ERR_OK && j->topics == NULL)
        err = FICUS_ERR_NOMEM;
    int more = 0;
    while (err == FICUS_ERR_OK && j->count < TOPICS_MAX && (more = db_step(s, NULL)) > 0) {
        char at[TIME_TEXT_SIZE];
        time_format(db_i64(s, 4), at);
        j->topics[j->count++] = (struct elog_topic){.topic = arena_slice(&j->arena, db_text(s, 0)),
            .count = db_i64(s, 1), .offset_first = db_i64(s, 2), .offset_last = db_i64(s, 3),
            .time_last = arena_slice(&j->arena, slice_str(at))};
        if (arena_overflowed(&j->arena))
            err = FICUS_ERR_TOO_LARGE;
    }
    db_finish(s);
    return err == FICUS_ERR_OK && more < 0 ? (enum ficus_err)-more : err;
}

static void topics_work(void *arg)
{
    struct topics_job *j = arg;
    struct db_conn *c = NULL;
    j->err = db_reader_take(j->log->db, &c, NULL);
    if (j->err != FICUS_ERR_OK)
        return;
    j->err = topics_query(j, c);
    db_reader_give(j->log->db, c);
}

static void topics_done(void *arg)
{
    struct topics_job *j = arg;
    struct elog *l = j->log;
    j->done(j->arg, j->err, j->topics, j->err == FICUS_ERR_OK ? j->count : 0);
    arena_done(&j->arena);
    mem_free(j);
    elog_job_ended(l);
}

enum ficus_err elog_topics(struct elog *l, void (*done)(void *arg, enum ficus_err err, const struct elog_topic *topics,
                           size_t count), void *arg)
{
    struct topics_job *j = l->closing ? NULL : mem_zalloc(sizeof *j);
    if (j == NULL)
        return l->closing ? FICUS_ERR_CANCELLED : FICUS_ERR_NOMEM;
    *j = (struct topics_job){.log = l, .done = done, .arg = arg};
    j->job = (struct env_job){.work = topics_work, .done = topics_done, .arg = j};
    arena_init(&j->arena, 4 * 1024 * 1024);
    enum ficus_err err = elog_job_run(l, &j->job);
    if (err != FICUS_ERR_OK) {
        arena_done(&j->arena);
        mem_free(j);
    }
    return err;
}
