/* SPDX-License-Identifier: Apache-2.0
 *
 * One call of one step: build the request from the step's templates, send it, class the answer, hand it to the
 * machine.
 */
#include "saga_private.h"

#include "assert.h"
#include "text.h"

#include <stdio.h>

enum { ANSWER_SIZE_MAX = 1024 * 1024, PATH_SIZE_MAX = 8 * 1024 };

static void forget(struct saga_work *k)
{
    k->fetch = NULL;
    arena_done(&k->arena);
    buf_done(&k->path);
    buf_done(&k->body);
}

void saga_call_cancel(struct saga_work *k)
{
    struct saga_engine *g = k->i->g;
    FICUS_ASSERT(k->place != SAGA_WORK_NONE);
    env_timer_stop(g->env, &k->timer);
    if (k->errand != NULL) {
        saga_errand_forget(k);
    } else if (k->place == SAGA_WORK_CALLING) {
        if (k->fetch != NULL)
            g->caller.cancel(g->caller.arg, k->fetch);
        forget(k);
    }
    saga_work_move(k, SAGA_WORK_NONE);
}

/* The problem's `code`, made fit for journal and logs: 1..SAGA_CODE_SIZE_MAX printable characters, else SLICE_NONE. */
static struct slice problem_code(struct arena *a, struct slice body)
{
    struct json *root;
    if (body.size == 0 || json_parse(a, body, NULL, &root, NULL) != FICUS_ERR_OK)
        return SLICE_NONE;
    struct slice code = json_string_or(json_get(root, "code"), SLICE_NONE);
    return code.size >= 1 && code.size <= SAGA_CODE_SIZE_MAX && text_printable_ascii(code) ? code : SLICE_NONE;
}

static void log_unknown(const struct saga_work *k, const struct call_result *r)
{
    /* The first failures are everyday life (a restart, a lost connection); one line a power of two keeps a step of days
     * readable. */
    const struct saga_instance *i = k->i;
    uint32_t n = i->state.attempts[saga_slot(&i->state, k->step)];
    if (n < 4 || (n & (n - 1)) != 0)
        return;
    LOG(i->g->options.log, LOG_WARN, &i->log, "saga.waiting", "a step has no answer yet and is repeated",
        LOG_SLICE("saga", i->start.saga), LOG_SLICE("id", i->start.id), LOG_STR("step", i->def->steps[k->step].name),
        LOG_INT("attempts", n), LOG_INT("status", r->err == FICUS_ERR_OK ? r->status : 0),
        LOG_STR("reason", r->err == FICUS_ERR_OK ? NULL : err_text(r->err)));
}

static void on_answer(void *arg, const struct call_result *r)
{
    struct saga_work *k = arg;
    FICUS_ASSERT(k->place == SAGA_WORK_CALLING);
    struct saga_input in = {.kind = SAGA_INPUT_ANSWER, .answer = saga_classify(r->err, r->status)};
    if (r->err == FICUS_ERR_OK)
        in.status = r->status;
    if (in.answer == SAGA_ANSWER_REFUSED)
        in.code = problem_code(&k->arena, r->body);
    if (in.answer == SAGA_ANSWER_UNKNOWN)
        log_unknown(k, r);
    struct arena keep = k->arena; /* in.code lives there until it is copied */
    k->arena = (struct arena){0};
    forget(k);
    saga_work_tell(k, &in);
    arena_done(&keep);
}

static enum ficus_err build_body(struct saga_work *k, const struct saga_step *step, const struct saga_vars *vars,
                                 struct ficus_error *reterr)
{
    if (k->undo) {
        struct json_writer w;
        json_write_init(&w, &k->body);
        json_write_object(&w);
        json_write_kv_slice(&w, "reason", vars->reason);
        json_write_end(&w);
        return buf_failed(&k->body) ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
    }
    return step->body == NULL ? FICUS_ERR_OK : saga_template_body(step->body, vars, &k->arena, &k->body, reterr);
}

static enum ficus_err signal_vars(struct saga_work *k, struct saga_vars *vars, struct ficus_error *reterr)
{
    const struct saga_instance *i = k->i;
    const struct json_limits limits = {.size_max = SAGA_NOTE_SIZE_MAX};
    if (i->signals == NULL)
        return FICUS_ERR_OK;
    struct saga_signal_data *data = ARENA_ARRAY(&k->arena, struct saga_signal_data, i->def->step_count);
    if (data == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    for (size_t n = 0; n < i->def->step_count; n++) {
        struct json *root = NULL;
        enum ficus_err err = i->signals[n].size == 0 ? FICUS_ERR_OK : json_parse(&k->arena, i->signals[n], &limits, &root, reterr);
        if (err != FICUS_ERR_OK)
            return err;
        if (i->def->steps[n].signal != NULL)
            data[vars->signal_count++] = (struct saga_signal_data){i->def->steps[n].signal, root};
    }
    vars->signals = data;
    return FICUS_ERR_OK;
}

/* The texts of the step's templates: path, or NULL, and body. On an error too, forget follows. */
static enum ficus_err build_texts(struct saga_work *k, const char *path, const struct saga_step *step, struct ficus_error *reterr)
{
    const struct saga_instance *i = k->i;
    struct json *input = NULL;
    arena_init(&k->arena, SAGA_CALL_ARENA_MAX);
    buf_init(&k->path, PATH_SIZE_MAX);
    buf_init(&k->body, EVENT_SIZE_MAX);
    if (i->start.input.size > 0) {
        const struct json_limits limits = {.size_max = EVENT_SIZE_MAX};
        enum ficus_err err = json_parse(&k->arena, i->start.input, &limits, &input, reterr);
        if (err != FICUS_ERR_OK)
            return err;
    }
    struct saga_vars vars = {
        .id = i->start.id, .input = input, .reason = k->undo ? slice_str(i->state.failure) : SLICE_NONE};
    enum ficus_err err = signal_vars(k, &vars, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (path != NULL)
        err = saga_template_path(path, &vars, &k->path, reterr);
    return err == FICUS_ERR_OK ? build_body(k, step, &vars, reterr) : err;
}

static void build_request(struct saga_work *k, const struct saga_call *c, const struct saga_step *step)
{
    const struct saga_instance *i = k->i;
    snprintf(k->idempotency, sizeof k->idempotency, SLICE_FMT "/" SLICE_FMT "/%s/%s", SLICE_ARG(i->start.saga),
             SLICE_ARG(i->start.id), step->name, k->undo ? "undo" : "do");
    size_t fields = 0;
    k->fields[fields++] = (struct http_field){SLICE("Idempotency-Key"), slice_str(k->idempotency)};
    if (buf_slice(&k->body).size > 0)
        k->fields[fields++] = (struct http_field){SLICE("Content-Type"), SLICE("application/json")};
    k->request = (struct call_request){
        .callee = c->service,
        .method = slice_str(c->method),
        .path = buf_slice(&k->path),
        .fields = k->fields,
        .field_count = fields,
        .body = buf_slice(&k->body),
        .timeout_ms = step->timeout_ms,
        .trace = trace_present(&i->log.trace) ? &i->log.trace : NULL,
        .tracestate = i->start.tracestate,
        .correlation = i->log.correlation,
        .keyed = true,
    };
}

static enum ficus_err begin_call(struct saga_work *k, const struct saga_step *step, struct ficus_error *reterr)
{
    struct saga_engine *g = k->i->g;
    const struct saga_call *c = k->undo ? &step->undo : &step->call;
    build_request(k, c, step);
    saga_work_move(k, SAGA_WORK_CALLING);
    enum ficus_err err = g->caller.start(g->caller.arg, &k->request, ANSWER_SIZE_MAX, on_answer, k, &k->fetch);
    if (err == FICUS_ERR_INVALID) /* the request was made above; whom the hub may call follows from the manifest */
        return err_set(reterr, err, "the hub may not call %s: no saga of the manifest does any more; put one back that does", c->service);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "the call to %s could not begin: %s", c->service, err_text(err));
}

/* Start the child, or cancel it, which needs no texts: what they are made of may be unfit, and the child has to end. The texts are copied. */
static enum ficus_err begin_child(struct saga_work *k, const struct saga_step *step, struct ficus_error *reterr)
{
    saga_work_move(k, SAGA_WORK_CALLING);
    enum ficus_err err = k->undo ? saga_child_cancel(k) : saga_child_start(k, buf_slice(&k->body));
    if (err == FICUS_ERR_OK)
        forget(k);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "saga %s: %s", step->saga, err_text(err));
}

void saga_call_begin(struct saga_work *k)
{
    const struct saga_instance *i = k->i;
    struct saga_engine *g = i->g;
    FICUS_ASSERT(k->place == SAGA_WORK_READY);
    const struct saga_step *step = &i->def->steps[k->step];
    bool child = step->saga != NULL && (!k->undo || saga_child_runs(&i->state, k->step));
    struct ficus_error error = {0};
    struct saga_input in = {.kind = SAGA_INPUT_ANSWER, .answer = SAGA_ANSWER_UNKNOWN};
    enum ficus_err err = child && k->undo ? FICUS_ERR_OK
        : build_texts(k, child ? NULL : k->undo ? step->undo.path : step->call.path, step, &error);
    if (err == FICUS_ERR_OK) {
        err = child ? begin_child(k, step, &error) : begin_call(k, step, &error);
        if (err == FICUS_ERR_OK)
            return;
        if (child && err == FICUS_ERR_INVALID) { /* its id: there is no such child, and never will be */
            in.answer = k->undo ? SAGA_ANSWER_DONE : SAGA_ANSWER_REFUSED;
            in.code = SLICE("id_too_long");
        }
    } else if (err != FICUS_ERR_NOMEM) {
        /* The event's data does not fit the definition and never will: the same as a participant's refusal. */
        in.answer = SAGA_ANSWER_REFUSED;
        in.code = SLICE("input_invalid");
    }
    forget(k);
    LOG(g->options.log, LOG_WARN, &i->log, "saga.call", "a step's request could not be made",
        LOG_SLICE("saga", i->start.saga), LOG_SLICE("id", i->start.id), LOG_STR("step", step->name), LOG_ERR(&error));
    saga_work_tell(k, &in);
}
