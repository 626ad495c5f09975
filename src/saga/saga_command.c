/* SPDX-License-Identifier: Apache-2.0
 *
 * What is said to instances from outside: start, retry, cancel, terminate, signal; and, handled like these, that a wait
 * is over (saga_wake.c). Each command finds its way to the one place that may decide:
 *
 *     asked --> is it live? --yes--> the instance's commands --> judged and written there, when its place allows
 *                  | no                          ^
 *                  v                             | taken up (or begun: start)
 *               a visit: the journal is read ----+----> not there: answered
 *
 * While its records wait for the writer an instance takes no command. What a command changes is synced before it is
 * answered.
 */
#include "saga_private.h"

#include "assert.h"
#include "mem.h"
#include "text.h"

enum { COMPARE_ARENA_MAX = 32 * EVENT_SIZE_MAX };

/* ---- judging ---- */

enum verdict { ANSWER, APPLY };

static void again(struct saga_view *v, const struct saga_instance *i)
{
    struct json_writer w;
    json_write_init(&w, &v->json);
    json_write_object(&w);
    json_write_kv_slice(&w, "saga", i->start.saga);
    json_write_kv_slice(&w, "id", i->start.id);
    json_write_kv_str(&w, "state", saga_state_text(i->state.name));
    json_write_kv_bool(&w, "again", i->view != v);
    json_write_end(&w);
}

static enum verdict conflict(struct saga_view *v, const char *why)
{
    v->err = err_set(&v->error, FICUS_ERR_CONFLICT, "saga " SLICE_FMT "/" SLICE_FMT ": %s", SLICE_ARG(v->saga), SLICE_ARG(v->id), why);
    return ANSWER;
}

/* Written without blanks, numbers as they were. */
static bool compact(struct arena *a, struct slice text, struct buf *out)
{
    struct json *root;
    struct json_writer w;
    const struct json_limits limits = {.size_max = EVENT_SIZE_MAX};
    if (text.size == 0)
        return true;
    if (json_parse(a, text, &limits, &root, NULL) != FICUS_ERR_OK)
        return false;
    json_write_init(&w, out);
    json_write_value(&w, root);
    return !buf_failed(out);
}

/* The same JSON but for blanks; a text that cannot be read is like none. */
static bool same_json(struct slice x, struct slice y)
{
    struct arena a;
    struct buf texts[2];
    if (slice_eq(x, y))
        return true;
    arena_init(&a, COMPARE_ARENA_MAX);
    buf_init(&texts[0], 2 * EVENT_SIZE_MAX);
    buf_init(&texts[1], 2 * EVENT_SIZE_MAX);
    bool same = compact(&a, x, &texts[0]) && compact(&a, y, &texts[1]) && slice_eq(buf_slice(&texts[0]), buf_slice(&texts[1]));
    buf_done(&texts[0]);
    buf_done(&texts[1]);
    arena_done(&a);
    return same;
}

static enum verdict judge_obstacle(struct saga_view *v, const char *obstacle, bool same)
{
    if (obstacle == NULL)
        return APPLY;
    return same ? ANSWER : conflict(v, obstacle);
}

static enum verdict judge_signal(const struct saga_instance *i, struct saga_view *v)
{
    struct saga_command *c = &v->command;
    bool same;
    size_t step = c->topic.p != NULL ? saga_topic_step(i->def, c->topic, &c->refuse) : saga_signal_step(i->def, c->signal);
    if (c->topic.p != NULL)
        c->signal = step < i->def->step_count ? slice_str(i->def->steps[step].signal) : c->topic;
    if (c->owner.p != NULL && !slice_eq_str(c->owner, i->def->owner != NULL ? i->def->owner : "")) {
        v->err = err_set(&v->error, FICUS_ERR_DENIED, "saga %s is another service's", i->def->name);
        return ANSWER;
    }
    if (step == i->def->step_count) {
        v->err = err_set(&v->error, FICUS_ERR_NOT_FOUND, "saga " SLICE_FMT "/" SLICE_FMT " waits for no signal \"" SLICE_FMT "\"",
                         SLICE_ARG(v->saga), SLICE_ARG(v->id), SLICE_ARG(c->signal));
        return ANSWER;
    }
    const char *obstacle = saga_signal_obstacle(i->def, &i->state, step, c->refuse, &same);
    if (same && !c->refuse && !same_json(c->data, i->signals != NULL ? i->signals[step] : SLICE_NONE))
        return conflict(v, "the signal was given before, with other data");
    return judge_obstacle(v, obstacle, same);
}

static enum verdict judge(struct saga_instance *i, struct saga_view *v)
{
    bool same;
    switch (v->command.kind) {
    case SAGA_START:
        if (v->command.begins.parent.saga.p != NULL)
            return saga_is_child(&i->start, &v->command.begins.parent) ? ANSWER : conflict(v, "it is not this instance's child");
        return same_json(v->command.data, i->start.input) ? ANSWER : conflict(v, "it began with another input");
    case SAGA_RETRY: return i->state.name == SAGA_STUCK ? APPLY : conflict(v, "it is not stuck");
    case SAGA_CANCEL: {
        const char *obstacle = saga_cancel_obstacle(i->def, &i->state, &same);
        return judge_obstacle(v, obstacle, same);
    }
    case SAGA_TERMINATE: {
        const char *obstacle = saga_terminate_obstacle(&i->state, &same);
        return judge_obstacle(v, obstacle, same);
    }
    case SAGA_SIGNAL: return judge_signal(i, v);
    case SAGA_CHILD_CANCEL:
        if (saga_is_child(&i->start, &v->command.begins.parent))
            return saga_cancel_obstacle(i->def, &i->state, &same) == NULL ? APPLY : ANSWER;
        v->err = err_set(&v->error, FICUS_ERR_NOT_FOUND, "saga " SLICE_FMT "/" SLICE_FMT " is another's child, or nobody's", SLICE_ARG(v->saga),
                         SLICE_ARG(v->id));
        return ANSWER;
    case SAGA_CHILD_END: {
        size_t step = saga_step_named(i->def, v->command.signal);
        return step < i->def->step_count && saga_child_is_awaited(i->def, &i->state, step) ? APPLY : ANSWER;
    }
    case SAGA_WAKE: /* perhaps of a wait that has ended otherwise */
        return i->state.name == SAGA_WAITING && i->wake_at_ms != 0 && i->wake_at_ms <= saga_waits_now(i->g) ? APPLY : ANSWER;
    }
    FICUS_UNREACHABLE();
}

/* ---- doing ---- */

enum ficus_err saga_keep_signal(struct saga_instance *i, size_t step, struct slice data)
{
    FICUS_ASSERT(step < i->def->step_count);
    if (i->signals == NULL)
        i->signals = ARENA_ARRAY(&i->arena, struct slice, i->def->step_count);
    return i->signals != NULL && saga_keep(&i->arena, data, &i->signals[step]) ? FICUS_ERR_OK : FICUS_ERR_NOMEM;
}

static enum ficus_err keep_note(struct saga_instance *i, const struct saga_command *c)
{
    i->note = (struct saga_note){0};
    bool kept = saga_keep(&i->arena, c->actor, &i->note.actor) && saga_keep(&i->arena, c->reason, &i->note.reason) &&
                (c->kind != SAGA_SIGNAL || saga_keep(&i->arena, c->data, &i->note.data));
    if (kept && c->kind == SAGA_SIGNAL && !c->refuse)
        return saga_keep_signal(i, saga_signal_step(i->def, c->signal), i->note.data);
    return kept ? FICUS_ERR_OK : FICUS_ERR_NOMEM;
}

static void apply(struct saga_instance *i, struct saga_view *v)
{
    static const enum saga_input_kind kinds[] = {
        [SAGA_START] = SAGA_INPUT_START,   [SAGA_RETRY] = SAGA_INPUT_RETRY,   [SAGA_CANCEL] = SAGA_INPUT_CANCEL,
        [SAGA_TERMINATE] = SAGA_INPUT_TERMINATE, [SAGA_SIGNAL] = SAGA_INPUT_SIGNAL, [SAGA_WAKE] = SAGA_INPUT_WAKE,
        [SAGA_CHILD_CANCEL] = SAGA_INPUT_CANCEL, [SAGA_CHILD_END] = SAGA_INPUT_CHILD,
    };
    const struct saga_command *c = &v->command;
    i->view = v; /* answered when the record is synced */
    bool is_said = c->kind != SAGA_WAKE && c->kind != SAGA_CHILD_END;
    struct saga_input in = {.kind = kinds[c->kind], .refuse = c->refuse, .note = is_said ? &i->note : NULL};
    if (c->kind == SAGA_SIGNAL)
        in.step = saga_signal_step(i->def, c->signal);
    if (c->kind == SAGA_CHILD_END) {
        in.step = saga_step_named(i->def, c->signal);
        in.answer = c->refuse ? SAGA_ANSWER_REFUSED : SAGA_ANSWER_DONE;
        in.code = c->reason;
    }
    saga_input(i, &in);
    FICUS_ASSERT(!saga_is_free(i)); /* it waits for the writer, or is there already */
}

void saga_commands_run(struct saga_instance *i)
{
    while (saga_is_free(i) && !list_empty(&i->commands)) {
        struct saga_view *v = CONTAINER_OF(i->commands.next, struct saga_view, link);
        enum verdict verdict = judge(i, v);
        list_remove(&v->link);
        if (verdict == APPLY && keep_note(i, &v->command) != FICUS_ERR_OK) {
            verdict = ANSWER;
            v->err = err_set(&v->error, FICUS_ERR_NOMEM, "out of memory");
        }
        if (verdict == APPLY) {
            apply(i, v);
            return;
        }
        if (v->err == FICUS_ERR_OK)
            again(v, i);
        saga_view_answer(v, v->err, buf_slice(&v->json), v->err == FICUS_ERR_OK ? NULL : v->error.text);
    }
}

void saga_command_done(struct saga_instance *i)
{
    struct saga_view *v = i->view;
    again(v, i);
    i->view = NULL;
    saga_view_answer(v, FICUS_ERR_OK, buf_slice(&v->json), NULL);
}

static void answer_all(struct list *commands, enum ficus_err err, const char *detail)
{
    while (!list_empty(commands))
        saga_view_answer(CONTAINER_OF(list_pop_head(commands), struct saga_view, link), err, SLICE_NONE, detail);
}

void saga_commands_cancel(struct list *commands)
{
    answer_all(commands, FICUS_ERR_CANCELLED, "the hub is stopping");
}

/* ---- visits ---- */

static void add_command(struct list *commands, struct saga_view *v)
{
    if (v->command.kind == SAGA_TERMINATE || v->command.kind == SAGA_CANCEL)
        list_add_head(commands, &v->link); /* these are before all that waits */
    else
        list_add_tail(commands, &v->link);
}

void saga_commands_move(struct list *from, struct list *to)
{
    while (!list_empty(from))
        list_add_tail(to, list_pop_head(from));
}

static void visit_free(struct saga_visit *t)
{
    FICUS_ASSERT(list_empty(&t->commands));
    arena_done(&t->arena);
    mem_free(t);
}

static void visit_work(void *arg)
{
    struct saga_visit *t = arg;
    t->err = saga_journal_load(t->g->journal, &t->arena, t->saga, t->id, &t->stored, &t->error);
}

const struct saga_known_def *saga_start_def(const struct saga_engine *g, struct slice saga)
{
    for (size_t d = 0; d < g->options.def_count; d++)
        if (slice_eq_str(saga, g->options.defs[d].name))
            return g->start_defs[d];
    return NULL;
}

/* The instance is not there: begin it, if that is what is asked. */
static enum ficus_err begin(struct saga_visit *t, struct saga_view *v)
{
    struct saga_engine *g = t->g;
    const struct saga_known_def *known = saga_start_def(g, t->saga);
    struct saga_start start = v->command.begins;
    start.saga = t->saga;
    start.id = t->id;
    start.input = v->command.data;
    if (known == NULL)
        return err_set(&v->error, FICUS_ERR_NOT_FOUND, "there is no saga \"" SLICE_FMT "\"", SLICE_ARG(t->saga));
    /* A child always finds room: its parent is in memory until it has begun, and goes out of it then. */
    if (map_count(&g->live) >= SAGA_LIVE_MAX && start.parent.saga.p == NULL)
        return err_set(&v->error, FICUS_ERR_BUSY, "too many instances are unfinished");
    struct saga_instance *i = saga_instance_new(g);
    enum ficus_err err = i == NULL ? FICUS_ERR_NOMEM : saga_instance_fill(i, &start, known);
    if (err == FICUS_ERR_OK)
        err = keep_note(i, &v->command);
    if (err != FICUS_ERR_OK) {
        saga_instance_free(i);
        return err_set(&v->error, err, "%s", err_text(err));
    }
    list_remove(&v->link);
    saga_commands_move(&t->commands, &i->commands);
    apply(i, v);
    return FICUS_ERR_OK;
}

static void visit_missed(struct saga_visit *t)
{
    LIST_FOREACH_SAFE (&t->commands, it, tmp) {
        struct saga_view *v = CONTAINER_OF(it, struct saga_view, link);
        if (v->command.kind != SAGA_START)
            continue;
        enum ficus_err err = begin(t, v);
        if (err == FICUS_ERR_OK)
            break; /* it has taken all commands */
        list_remove(&v->link);
        saga_view_answer(v, err, SLICE_NONE, v->error.text);
    }
    answer_all(&t->commands, t->err, t->error.text);
    visit_free(t);
}

static void leave_work(void *arg)
{
    struct saga_visit *t = arg;
    struct ficus_error error = {0};
    if (saga_journal_never_due(t->g->journal, t->saga, t->id, &error) != FICUS_ERR_OK) {
        t->error = error;
        t->err = FICUS_ERR_IO; /* to be tried again */
    }
}

static void leave_done(void *arg)
{
    struct saga_visit *t = arg;
    struct saga_engine *g = t->g;
    map_remove(&g->visits, t->key);
    if (t->err == FICUS_ERR_CORRUPT)
        metric_change(g->damaged, 1);
    else
        saga_wake_later(g);
    answer_all(&t->commands, t->err, t->error.text);
    visit_free(t);
}

/* Its journal cannot be read, now or ever. One that cannot be followed shall not be found due for ever. */
static void visit_failed(struct saga_visit *t)
{
    struct saga_engine *g = t->g;
    bool wake = false;
    LIST_FOREACH (&t->commands, it)
        wake = wake || CONTAINER_OF(it, struct saga_view, link)->command.kind == SAGA_WAKE;
    if (wake && t->err == FICUS_ERR_CORRUPT) {
        LOG(g->options.log, LOG_ERROR, NULL, "saga.damaged", "an instance cannot be followed and is left as it is", LOG_ERR(&t->error));
        t->job = (struct env_job){.work = leave_work, .done = leave_done, .arg = t};
        if (map_put(&g->visits, t->key, t)) {
            if (env_run(g->env, &t->job) == FICUS_ERR_OK)
                return;
            map_remove(&g->visits, t->key);
        }
    }
    if (wake)
        saga_wake_later(g);
    answer_all(&t->commands, t->err, t->error.text);
    visit_free(t);
}

static void visit_done(void *arg)
{
    struct saga_visit *t = arg;
    struct saga_engine *g = t->g;
    map_remove(&g->visits, t->key);
    /* One that a start event brought meanwhile: when it is one that came again, they come back (saga_commands_again). */
    struct saga_instance *i = map_get(&g->live, t->key);
    if (g->closing) {
        saga_commands_cancel(&t->commands);
    } else if (i == NULL && t->err == FICUS_ERR_NOT_FOUND) {
        visit_missed(t);
        return;
    } else if (i == NULL) {
        if (t->err == FICUS_ERR_OK)
            t->err = saga_take_up_stored(g, t->stored, &i, &t->error);
        if (t->err != FICUS_ERR_OK) {
            visit_failed(t);
            return;
        }
    }
    if (i != NULL && !list_empty(&t->commands)) {
        saga_commands_move(&t->commands, &i->commands);
        saga_go_on(i);
    }
    visit_free(t);
}

static enum ficus_err visit_begin(struct saga_view *v)
{
    struct saga_engine *g = v->g;
    struct saga_visit *t = mem_zalloc(sizeof *t);
    if (t == NULL)
        return FICUS_ERR_NOMEM;
    t->g = g;
    list_init(&t->commands);
    arena_init(&t->arena, SAGA_CALL_ARENA_MAX);
    t->job = (struct env_job){.work = visit_work, .done = visit_done, .arg = t};
    bool kept = saga_keep(&t->arena, v->key, &t->key) && saga_keep(&t->arena, v->saga, &t->saga) && saga_keep(&t->arena, v->id, &t->id);
    enum ficus_err err = kept && map_put(&g->visits, t->key, t) ? FICUS_ERR_OK : FICUS_ERR_NOMEM;
    if (err == FICUS_ERR_OK && (err = env_run(g->env, &t->job)) != FICUS_ERR_OK)
        map_remove(&g->visits, t->key);
    if (err != FICUS_ERR_OK)
        visit_free(t);
    else
        add_command(&t->commands, v);
    return err;
}

void saga_command_go(struct saga_view *v)
{
    struct saga_engine *g = v->g;
    struct saga_instance *i = map_get(&g->live, v->key);
    struct saga_visit *t = map_get(&g->visits, v->key);
    enum ficus_err err = FICUS_ERR_OK;
    if (g->closing) {
        saga_view_answer(v, FICUS_ERR_CANCELLED, SLICE_NONE, "the hub is stopping");
    } else if (i != NULL && v->command.kind == SAGA_WAKE && saga_is_free(i)) {
        saga_view_answer(v, FICUS_ERR_OK, SLICE_NONE, NULL); /* it waits no more */
    } else if (i != NULL) {
        add_command(&i->commands, v);
        if (saga_is_free(i))
            saga_go_on(i);
    } else if (t != NULL) {
        add_command(&t->commands, v);
    } else if ((err = visit_begin(v)) != FICUS_ERR_OK) {
        if (v->command.kind == SAGA_WAKE)
            saga_wake_later(g);
        saga_view_answer(v, err, SLICE_NONE, err_text(err));
    }
}

void saga_commands_again(struct list *commands)
{
    while (!list_empty(commands))
        saga_command_go(CONTAINER_OF(list_pop_head(commands), struct saga_view, link));
}

/* ---- asking ---- */

static void on_command_timer(void *arg)
{
    saga_command_go(arg);
}

bool saga_command_keep(struct saga_view *v, const struct saga_command *c)
{
    struct saga_command *k = &v->command;
    k->kind = c->kind;
    k->refuse = c->refuse;
    bool kept = saga_keep(&v->arena, c->saga, &k->saga) && saga_keep(&v->arena, c->id, &k->id) && saga_keep(&v->arena, c->actor, &k->actor) &&
                saga_keep(&v->arena, c->reason, &k->reason) && saga_keep(&v->arena, c->data, &k->data) &&
                saga_keep(&v->arena, c->signal, &k->signal) && saga_keep(&v->arena, c->topic, &k->topic) && saga_keep(&v->arena, c->owner, &k->owner) &&
                saga_start_keep(&v->arena, &c->begins, &k->begins);
    char *key = kept ? arena_printf(&v->arena, SLICE_FMT "/" SLICE_FMT, SLICE_ARG(k->saga), SLICE_ARG(k->id)) : NULL;
    v->saga = k->saga;
    v->id = k->id;
    v->key = slice_str(key);
    return key != NULL;
}

enum ficus_err saga_engine_command(struct saga_engine *g, const struct saga_command *c, saga_view_done done, void *arg)
{
    return g->view_counts[SAGA_VIEW_COMMAND] >= SAGA_COMMANDS_MAX ? FICUS_ERR_BUSY : saga_command_new(g, c, done, arg);
}

enum ficus_err saga_command_new(struct saga_engine *g, const struct saga_command *c, saga_view_done done, void *arg)
{
    struct saga_view *v;
    FICUS_ASSERT(done != NULL && c->kind != SAGA_WAKE);
    FICUS_ASSERT(c->kind != SAGA_TERMINATE || (c->actor.size > 0 && c->reason.size > 0));
    if (c->id.size == 0 || c->id.size > SAGA_ID_SIZE_MAX || !text_printable_ascii(c->id) ||
        (c->kind == SAGA_START && saga_id_check(c->id) != NULL)) /* one of before may have another */
        return FICUS_ERR_INVALID;
    if (c->actor.size + c->reason.size > SAGA_NOTE_SIZE_MAX || (c->kind == SAGA_SIGNAL && c->data.size > SAGA_NOTE_SIZE_MAX) ||
        c->data.size > EVENT_SIZE_MAX)
        return FICUS_ERR_TOO_LARGE;
    enum ficus_err err = saga_view_new(g, done, arg, &v);
    if (err != FICUS_ERR_OK)
        return err;
    if (!saga_command_keep(v, c)) {
        saga_view_free(v);
        return FICUS_ERR_NOMEM;
    }
    v->timer = (struct env_timer){.fn = on_command_timer, .arg = v};
    v->kind = c->begins.parent.saga.p != NULL || c->kind == SAGA_CHILD_END ? SAGA_VIEW_FAMILY : SAGA_VIEW_COMMAND;
    saga_view_count(v);
    env_timer_start(g->env, &v->timer, 0); /* never answered from inside this call */
    return FICUS_ERR_OK;
}
