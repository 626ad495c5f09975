/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators see and do: list, show, retry. Each is a job of its own beside the writer's.
 */
#include "saga_private.h"

#include "assert.h"
#include "mem.h"
#include "timefmt.h"

enum { VIEW_SIZE_MAX = 8 * 1024 * 1024, VIEW_ARENA_MAX = 16 * 1024 * 1024 };

struct saga_view {
    struct saga_engine *g;
    struct env_job job;
    saga_view_done done;
    void *arg;
    struct arena arena;
    struct buf json;
    struct json_writer w;
    struct slice saga, id;
    struct saga_query query;
    struct slice last_saga, last_id;
    size_t count;
    uint32_t attempts; /* of the present step, from memory; 0: not in memory */
    struct saga_stored *stored;
    enum ficus_err err;
    struct ficus_error error;
};

static enum ficus_err view_new(struct saga_engine *g, saga_view_done done, void *arg, struct saga_view **ret_view)
{
    if (g->closing)
        return FICUS_ERR_CANCELLED;
    if (g->view_count >= SAGA_VIEWS_MAX)
        return FICUS_ERR_BUSY;
    struct saga_view *v = mem_zalloc(sizeof *v);
    if (v == NULL)
        return FICUS_ERR_NOMEM;
    v->g = g;
    v->done = done;
    v->arg = arg;
    arena_init(&v->arena, VIEW_ARENA_MAX);
    buf_init(&v->json, VIEW_SIZE_MAX);
    *ret_view = v;
    return FICUS_ERR_OK;
}

static void view_free(struct saga_view *v)
{
    buf_done(&v->json);
    arena_done(&v->arena);
    mem_free(v);
}

void saga_view_answer(struct saga_view *v, enum ficus_err err, struct slice json, const char *detail)
{
    struct saga_engine *g = v->g;
    FICUS_ASSERT(g->view_count > 0);
    g->view_count--;
    v->done(v->arg, err, json, detail);
    view_free(v);
    saga_closing_step(g);
}

static void view_done(void *arg)
{
    struct saga_view *v = arg;
    if (v->err == FICUS_ERR_OK && buf_failed(&v->json))
        v->err = err_set(&v->error, FICUS_ERR_TOO_LARGE, "the answer is over its limit");
    saga_view_answer(v, v->err, v->err == FICUS_ERR_OK ? buf_slice(&v->json) : SLICE_NONE,
                     v->err == FICUS_ERR_OK ? NULL : v->error.text);
}

static enum ficus_err view_run(struct saga_view *v, void (*work)(void *arg), void (*done)(void *arg))
{
    v->job = (struct env_job){.work = work, .done = done, .arg = v};
    enum ficus_err err = env_run(v->g->env, &v->job);
    if (err == FICUS_ERR_OK)
        v->g->view_count++;
    else
        view_free(v);
    return err;
}

static void write_time(struct json_writer *w, const char *key, int64_t wall_ms)
{
    char text[TIME_TEXT_SIZE];
    time_format(wall_ms, text);
    json_write_kv_str(w, key, text);
}

static void write_row(struct json_writer *w, const struct saga_stored *st)
{
    json_write_kv_slice(w, "saga", st->start.saga);
    json_write_kv_slice(w, "id", st->start.id);
    json_write_kv_str(w, "state", saga_state_text(st->state));
    if (st->step[0] != '\0')
        json_write_kv_str(w, "step", st->step);
    if (st->failure[0] != '\0')
        json_write_kv_str(w, "failure", st->failure);
    write_time(w, "started_at", st->started_ms);
    write_time(w, "updated_at", st->updated_ms);
}

/* ---- list ---- */

static void list_row(void *arg, const struct saga_stored *row)
{
    struct saga_view *v = arg;
    json_write_object(&v->w);
    write_row(&v->w, row);
    json_write_end(&v->w);
    if (++v->count == v->query.count_max) {
        v->last_saga = arena_slice(&v->arena, row->start.saga);
        v->last_id = arena_slice(&v->arena, row->start.id);
    }
}

static void list_work(void *arg)
{
    struct saga_view *v = arg;
    json_write_init(&v->w, &v->json);
    json_write_object(&v->w);
    json_write_key(&v->w, "sagas");
    json_write_array(&v->w);
    v->err = saga_journal_list(v->g->journal, v->query.state, v->saga, v->id, v->query.count_max, list_row, v,
                               &v->error);
    if (v->err != FICUS_ERR_OK)
        return;
    json_write_end(&v->w);
    if (v->last_id.p != NULL) {
        char *after = arena_printf(&v->arena, SLICE_FMT "/" SLICE_FMT, SLICE_ARG(v->last_saga), SLICE_ARG(v->last_id));
        if (after != NULL)
            json_write_kv_str(&v->w, "after", after);
    }
    json_write_end(&v->w);
}

enum ficus_err saga_engine_list(struct saga_engine *g, const struct saga_query *q, saga_view_done done, void *arg)
{
    FICUS_ASSERT(q->count_max >= 1 && q->count_max <= SAGA_LIST_MAX);
    struct saga_view *v;
    enum ficus_err err = view_new(g, done, arg, &v);
    if (err != FICUS_ERR_OK)
        return err;
    v->query = *q;
    if (q->after.size > 0) {
        struct slice rest = arena_slice(&v->arena, q->after);
        v->saga = slice_cut(&rest, '/');
        v->id = rest.p != NULL ? rest : SLICE("");
    }
    return view_run(v, list_work, view_done);
}

/* ---- show ---- */

static void write_record(struct json_writer *w, const struct saga_stored_record *r)
{
    json_write_object(w);
    json_write_kv_i64(w, "seq", r->seq);
    write_time(w, "at", r->at_ms);
    json_write_kv_str(w, "kind", saga_record_text(r->kind));
    if (r->step[0] != '\0')
        json_write_kv_str(w, "step", r->step);
    if (r->status != 0)
        json_write_kv_i64(w, "status", r->status);
    if (r->code[0] != '\0')
        json_write_kv_str(w, "code", r->code);
    if (r->attempts != 0)
        json_write_kv_i64(w, "attempts", r->attempts);
    json_write_end(w);
}

static void show_work(void *arg)
{
    struct saga_view *v = arg;
    v->err = saga_journal_load(v->g->journal, &v->arena, v->saga, v->id, &v->stored, &v->error);
    if (v->err != FICUS_ERR_OK)
        return;
    struct json_writer *w = &v->w;
    json_write_init(w, &v->json);
    json_write_object(w);
    write_row(w, v->stored);
    json_write_kv_slice(w, "definition", v->stored->start.def_hash);
    if (v->stored->start.event_id.p != NULL)
        json_write_kv_slice(w, "event", v->stored->start.event_id);
    if (v->stored->start.traceparent.p != NULL)
        json_write_kv_slice(w, "traceparent", v->stored->start.traceparent);
    if (v->stored->start.correlation.p != NULL)
        json_write_kv_slice(w, "correlation", v->stored->start.correlation);
    if (v->attempts > 0)
        json_write_kv_i64(w, "attempts", v->attempts);
    json_write_key(w, "history");
    json_write_array(w);
    for (size_t i = 0; i < v->stored->record_count; i++)
        write_record(w, &v->stored->records[i]);
    json_write_end(w);
    json_write_end(w);
}

static struct saga_instance *find_live(struct saga_view *v, struct slice saga, struct slice id)
{
    char *key = arena_printf(&v->arena, SLICE_FMT "/" SLICE_FMT, SLICE_ARG(saga), SLICE_ARG(id));
    return key == NULL ? NULL : map_get(&v->g->live, slice_str(key));
}

static enum ficus_err view_of(struct saga_engine *g, struct slice saga, struct slice id, saga_view_done done, void *arg,
                              struct saga_view **ret_view)
{
    enum ficus_err err = view_new(g, done, arg, ret_view);
    if (err != FICUS_ERR_OK)
        return err;
    (*ret_view)->saga = arena_slice(&(*ret_view)->arena, saga);
    (*ret_view)->id = arena_slice(&(*ret_view)->arena, id);
    if ((*ret_view)->saga.p == NULL || (*ret_view)->id.p == NULL) {
        view_free(*ret_view);
        return FICUS_ERR_NOMEM;
    }
    return FICUS_ERR_OK;
}

enum ficus_err saga_engine_show(struct saga_engine *g, struct slice saga, struct slice id, saga_view_done done,
                                void *arg)
{
    struct saga_view *v;
    enum ficus_err err = view_of(g, saga, id, done, arg, &v);
    if (err != FICUS_ERR_OK)
        return err;
    const struct saga_instance *i = find_live(v, saga, id);
    v->attempts = i != NULL && i->state.begun ? i->state.attempts : 0;
    return view_run(v, show_work, view_done);
}

/* ---- retry ---- */

static void retry_work(void *arg)
{
    struct saga_view *v = arg;
    v->err = saga_journal_load(v->g->journal, &v->arena, v->saga, v->id, &v->stored, &v->error);
}

static void retry_done(void *arg)
{
    struct saga_view *v = arg;
    struct saga_instance *i = NULL;
    /* One that came to life meanwhile (another retry) is not stuck any more, whatever was read. */
    if (v->g->closing)
        v->err = err_set(&v->error, FICUS_ERR_CANCELLED, "the hub is stopping");
    else if (v->err == FICUS_ERR_OK && (v->stored->state != SAGA_STUCK || find_live(v, v->saga, v->id) != NULL))
        v->err = err_set(&v->error, FICUS_ERR_CONFLICT, "saga " SLICE_FMT "/" SLICE_FMT " is not stuck",
                         SLICE_ARG(v->saga), SLICE_ARG(v->id));
    if (v->err == FICUS_ERR_OK)
        v->err = saga_take_up_stored(v->g, v->stored, &i, &v->error);
    if (v->err == FICUS_ERR_OK && i->state.name != SAGA_STUCK) {
        saga_instance_free(i);
        v->err = err_set(&v->error, FICUS_ERR_CORRUPT, "its row says stuck, its records do not");
    }
    if (v->err != FICUS_ERR_OK) {
        saga_view_answer(v, v->err, SLICE_NONE, v->error.text);
        return;
    }
    i->view = v; /* answered when the record is synced */
    struct saga_input in = {.kind = SAGA_INPUT_RETRY};
    saga_input(i, &in);
}

enum ficus_err saga_engine_retry(struct saga_engine *g, struct slice saga, struct slice id, saga_view_done done,
                                 void *arg)
{
    struct saga_view *v;
    enum ficus_err err = view_of(g, saga, id, done, arg, &v);
    return err != FICUS_ERR_OK ? err : view_run(v, retry_work, retry_done);
}
