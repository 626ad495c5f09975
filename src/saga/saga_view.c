/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators see: list, show, describe. Each is a job of its own beside the writer's.
 */
#include "saga_private.h"

#include "assert.h"
#include "mem.h"
#include "timefmt.h"

#include <stdio.h>

enum { VIEW_SIZE_MAX = 8 * 1024 * 1024, VIEW_ARENA_MAX = 16 * 1024 * 1024 };

enum ficus_err saga_view_new(struct saga_engine *g, saga_view_done done, void *arg, struct saga_view **ret_view)
{
    if (g->closing)
        return FICUS_ERR_CANCELLED;
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

static enum ficus_err view_new(struct saga_engine *g, saga_view_done done, void *arg, struct saga_view **ret_view)
{
    if (g->view_counts[SAGA_VIEW_QUERY] >= SAGA_VIEWS_MAX)
        return FICUS_ERR_BUSY;
    return saga_view_new(g, done, arg, ret_view);
}

void saga_view_count(struct saga_view *v)
{
    v->g->view_count++;
    v->g->view_counts[v->kind]++;
}

void saga_view_free(struct saga_view *v)
{
    buf_done(&v->json);
    arena_done(&v->arena);
    mem_free(v);
}

void saga_view_answer(struct saga_view *v, enum ficus_err err, struct slice json, const char *detail)
{
    struct saga_engine *g = v->g;
    const bool is_wake = v->kind == SAGA_VIEW_WAKE;
    FICUS_ASSERT(g->view_counts[v->kind] > 0);
    g->view_count--;
    g->view_counts[v->kind]--;
    if (!is_wake)
        v->done(v->arg, err, err == FICUS_ERR_OK ? json : SLICE_NONE, detail);
    saga_view_free(v);
    if (is_wake && g->view_counts[SAGA_VIEW_WAKE] == 0)
        saga_wake_next(g);
    saga_closing_step(g);
}

static void view_done(void *arg)
{
    struct saga_view *v = arg;
    if (v->err == FICUS_ERR_OK && buf_failed(&v->json))
        v->err = buf_starved(&v->json) ? err_set(&v->error, FICUS_ERR_NOMEM, "out of memory")
            : err_set(&v->error, FICUS_ERR_TOO_LARGE, "the answer is over its limit");
    saga_view_answer(v, v->err, v->err == FICUS_ERR_OK ? buf_slice(&v->json) : SLICE_NONE,
                     v->err == FICUS_ERR_OK ? NULL : v->error.text);
}

static enum ficus_err view_run(struct saga_view *v, void (*work)(void *arg), void (*done)(void *arg))
{
    v->job = (struct env_job){.work = work, .done = done, .arg = v};
    enum ficus_err err = env_run(v->g->env, &v->job);
    if (err == FICUS_ERR_OK)
        saga_view_count(v);
    else
        saga_view_free(v);
    return err;
}

static void write_row(struct json_writer *w, const struct saga_stored *st)
{
    json_write_kv_str(w, "kind", "orchestrated");
    json_write_kv_slice(w, "saga", st->start.saga);
    json_write_kv_slice(w, "id", st->start.id);
    json_write_kv_str(w, "state", saga_state_text(st->state));
    if (st->step[0] != '\0')
        json_write_kv_str(w, "step", st->step);
    if (st->failure[0] != '\0')
        json_write_kv_str(w, "failure", st->failure);
    if (st->start.parent.saga.p != NULL) {
        json_write_key(w, "parent");
        json_write_object(w);
        json_write_kv_slice(w, "saga", st->start.parent.saga);
        json_write_kv_slice(w, "id", st->start.parent.id);
        json_write_kv_slice(w, "step", st->start.parent.step);
        json_write_end(w);
    }
    if (st->state == SAGA_WAITING && st->wake_at_ms != 0)
        json_write_kv_time(w, "until", st->wake_at_ms);
    json_write_kv_time(w, "started_at", st->started_ms);
    json_write_kv_time(w, "updated_at", st->updated_ms);
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
    const struct saga_journal_query q = {v->query.state, v->query.saga, v->saga, v->id, v->query.count_max};
    v->err = saga_journal_list(v->g->journal, &q, list_row, v, &v->error);
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
    v->query.saga = q->saga.p == NULL ? SLICE_NONE : arena_slice(&v->arena, q->saga);
    if (q->saga.p != NULL && v->query.saga.p == NULL) {
        saga_view_free(v);
        return FICUS_ERR_NOMEM;
    }
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
    json_write_kv_time(w, "at", r->at_ms);
    json_write_kv_str(w, "kind", saga_record_text(r->kind));
    if (r->step[0] != '\0')
        json_write_kv_str(w, "step", r->step);
    if (r->status != 0)
        json_write_kv_i64(w, "status", r->status);
    if (r->code[0] != '\0')
        json_write_kv_str(w, "code", r->code);
    if (r->attempts != 0)
        json_write_kv_i64(w, "attempts", r->attempts);
    if (r->actor.size > 0)
        json_write_kv_slice(w, "actor", r->actor);
    if (r->reason.size > 0)
        json_write_kv_slice(w, "reason", r->reason);
    if (r->data.size > 0) {
        json_write_key(w, "data");
        json_write_raw(w, r->data);
    }
    json_write_end(w);
}

/* Of a group the steps that are under way. */
static void write_open(struct json_writer *w, const struct saga_def *def, const struct saga_state *s)
{
    if (s->undo || s->open == 0 || saga_group_end(def, s->step) - s->step < 2)
        return;
    json_write_key(w, "open");
    json_write_array(w);
    for (size_t i = s->step; i < saga_group_end(def, s->step); i++)
        if ((s->open & (uint32_t)1 << i) != 0)
            json_write_str(w, def->steps[i].name);
    json_write_end(w);
}

static bool is_begun(const struct saga_stored *st, const char *step)
{
    for (size_t r = 0; r < st->record_count; r++)
        if (st->records[r].kind == SAGA_RECORD_DO_BEGUN && strcmp(st->records[r].step, step) == 0)
            return true;
    return false;
}

/* The instances that steps are, or were. One without a state was never there, or is forgotten. */
static void write_children(struct saga_view *v, const struct saga_def *def)
{
    bool any = false;
    for (size_t i = 0; i < def->step_count; i++) {
        struct saga_stored row = {0};
        if (def->steps[i].saga == NULL || !is_begun(v->stored, def->steps[i].name))
            continue;
        const char *id = saga_child_id(&v->arena, v->id, def->steps[i].name);
        if (!any) {
            json_write_key(&v->w, "children");
            json_write_array(&v->w);
        }
        any = true;
        json_write_object(&v->w);
        json_write_kv_str(&v->w, "step", def->steps[i].name);
        json_write_kv_str(&v->w, "saga", def->steps[i].saga);
        json_write_kv_str(&v->w, "id", id == NULL ? "" : id);
        if (id != NULL && saga_journal_row(v->g->journal, &v->arena, slice_str(def->steps[i].saga), slice_str(id), &row, NULL) == FICUS_ERR_OK &&
            saga_is_child(&row.start, &(struct saga_parent){v->saga, v->id, slice_str(def->steps[i].name)})) /* not somebody else's with its id */
            json_write_kv_str(&v->w, "state", saga_state_text(row.state));
        json_write_end(&v->w);
    }
    if (any)
        json_write_end(&v->w);
}

/* What is said of the state beside the journal's columns. A journal that does not fold is shown as it is. */
static void write_state(struct saga_view *v)
{
    struct saga_def *def;
    struct saga_state state;
    const struct saga_stored *st = v->stored;
    if (st->start.def_text.p == NULL || saga_def_read(&v->arena, st->start.def_text, &def, NULL) != FICUS_ERR_OK ||
        saga_stored_fold(st, def, &state, NULL) != FICUS_ERR_OK)
        return;
    for (size_t i = 0; i < def->step_count && state.name == SAGA_WAITING; i++)
        if ((state.open & (uint32_t)1 << i) != 0 && def->steps[i].signal != NULL) {
            json_write_kv_str(&v->w, "signal", def->steps[i].signal);
            break;
        }
    write_open(&v->w, def, &state);
    write_children(v, def);
    if (state.name != SAGA_TERMINATED)
        return;
    json_write_key(&v->w, "left");
    json_write_array(&v->w);
    for (size_t i = 0; i < def->step_count; i++)
        if (saga_step_is_left(def, &state, i))
            json_write_str(&v->w, def->steps[i].name);
    json_write_end(&v->w);
}

/* Is the instance the owner's that asks? One whose definition cannot be read is nobody's. */
static bool is_owners(struct saga_view *v)
{
    struct saga_def *def;
    struct slice text = v->stored->start.def_text;
    if (v->command.owner.p == NULL)
        return true;
    return text.p != NULL && saga_def_read(&v->arena, text, &def, NULL) == FICUS_ERR_OK && def->owner != NULL &&
           slice_eq_str(v->command.owner, def->owner);
}

static void show_work(void *arg)
{
    struct saga_view *v = arg;
    v->err = saga_journal_load(v->g->journal, &v->arena, v->saga, v->id, &v->stored, &v->error);
    if (v->err == FICUS_ERR_OK && !is_owners(v))
        v->err = err_set(&v->error, FICUS_ERR_DENIED, "saga " SLICE_FMT " is another service's", SLICE_ARG(v->saga));
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
    write_state(v);
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
        saga_view_free(*ret_view);
        return FICUS_ERR_NOMEM;
    }
    return FICUS_ERR_OK;
}

enum ficus_err saga_engine_show(struct saga_engine *g, struct slice saga, struct slice id, struct slice owner,
                                saga_view_done done, void *arg)
{
    struct saga_view *v;
    enum ficus_err err = view_of(g, saga, id, done, arg, &v);
    if (err != FICUS_ERR_OK)
        return err;
    if (owner.p != NULL && (v->command.owner = arena_slice(&v->arena, owner)).p == NULL) {
        saga_view_free(v);
        return FICUS_ERR_NOMEM;
    }
    const struct saga_instance *i = find_live(v, saga, id);
    for (size_t n = 0; i != NULL && n < i->work_count; n++)
        if (i->works[n].place != SAGA_WORK_NONE && i->state.attempts[n] > v->attempts)
            v->attempts = i->state.attempts[n];
    return view_run(v, show_work, view_done);
}

/* ---- describe ---- */

static void write_call(struct json_writer *w, const char *key, const struct saga_call *c)
{
    char text[2048]; /* a path has at most 1024, a name 63 */
    snprintf(text, sizeof text, "%s %s:%s", c->method, c->service, c->path);
    if (saga_call_present(c))
        json_write_kv_str(w, key, text);
}

static void write_duration(struct json_writer *w, const char *key, int64_t ms)
{
    char text[32] = "never";
    if (ms != SAGA_NEVER)
        duration_format(ms, text, sizeof text);
    json_write_kv_str(w, key, text);
}

static void write_step(struct json_writer *w, const struct saga_step *s)
{
    json_write_object(w);
    json_write_kv_str(w, "step", s->name);
    if (s->group != 0)
        json_write_kv_i64(w, "parallel", s->group);
    write_call(w, "call", &s->call);
    if (s->saga != NULL)
        json_write_kv_str(w, "saga", s->saga);
    write_call(w, "undo", &s->undo);
    if (s->pivot)
        json_write_kv_bool(w, "pivot", true);
    if (s->retry_forever)
        json_write_kv_str(w, "retry", "forever");
    if (s->wait_ms > 0)
        write_duration(w, "wait", s->wait_ms);
    if (s->signal != NULL)
        json_write_kv_str(w, "signal", s->signal);
    if (s->given_by != NULL)
        json_write_kv_str(w, "given_by", s->given_by);
    if (s->refused_by != NULL)
        json_write_kv_str(w, "refused_by", s->refused_by);
    if (s->timeout_ms != 0)
        write_duration(w, "timeout", s->timeout_ms);
    if (s->on_timeout != SAGA_ON_TIMEOUT_NONE)
        json_write_kv_str(w, "on_timeout", s->on_timeout == SAGA_ON_TIMEOUT_UNDO ? "undo" : "go_on");
    if (s->give_up_ms > 0)
        write_duration(w, "give_up", s->give_up_ms);
    json_write_end(w);
}

/* The rows come ordered by definition: one object for each, a member for each state. */
static void version_row(void *arg, struct slice hash, enum saga_state_name state, int64_t count)
{
    struct saga_view *v = arg;
    if (!slice_eq(hash, v->last_id)) {
        if (v->last_id.p != NULL)
            json_write_end(&v->w);
        v->last_id = arena_slice(&v->arena, hash);
        json_write_object(&v->w);
        json_write_kv_slice(&v->w, "definition", hash);
    }
    json_write_kv_i64(&v->w, saga_state_text(state), count);
}

/* id: the wanted definition's hash. */
static void describe_work(void *arg)
{
    struct saga_view *v = arg;
    struct json_writer *w = &v->w;
    struct saga_def *def;
    struct slice text = v->known != NULL ? v->known->text : SLICE_NONE;
    if (v->known == NULL)
        v->err = saga_journal_definition(v->g->journal, &v->arena, v->id, &text, &v->error);
    if (v->err == FICUS_ERR_OK)
        v->err = saga_def_read(&v->arena, text, &def, &v->error);
    if (v->err == FICUS_ERR_OK && !slice_eq_str(v->saga, def->name))
        v->err = err_set(&v->error, FICUS_ERR_NOT_FOUND, "the definition is of saga %s", def->name);
    if (v->err != FICUS_ERR_OK)
        return;
    json_write_init(w, &v->json);
    json_write_object(w);
    json_write_kv_str(w, "saga", def->name);
    json_write_kv_str(w, "owner", def->owner != NULL ? def->owner : "");
    if (def->start != NULL)
        json_write_kv_str(w, "start", def->start);
    json_write_kv_slice(w, "definition", v->id);
    json_write_key(w, "steps");
    json_write_array(w);
    for (size_t i = 0; i < def->step_count; i++)
        write_step(w, &def->steps[i]);
    json_write_end(w);
    json_write_key(w, "versions");
    json_write_array(w);
    v->err = saga_journal_versions(v->g->journal, v->saga, version_row, v, &v->error);
    if (v->last_id.p != NULL)
        json_write_end(w);
    json_write_end(w);
    json_write_end(w);
}

enum ficus_err saga_engine_describe(struct saga_engine *g, struct slice saga, struct slice hash, saga_view_done done,
                                    void *arg)
{
    struct saga_view *v;
    const struct saga_known_def *known = NULL;
    for (size_t d = 0; hash.p == NULL && d < g->options.def_count; d++)
        if (slice_eq_str(saga, g->options.defs[d].name))
            known = g->start_defs[d];
    if (hash.p == NULL && known == NULL)
        return FICUS_ERR_NOT_FOUND;
    enum ficus_err err = view_of(g, saga, known != NULL ? slice_str(known->hash) : hash, done, arg, &v);
    if (err != FICUS_ERR_OK)
        return err;
    v->known = known;
    return view_run(v, describe_work, view_done);
}
