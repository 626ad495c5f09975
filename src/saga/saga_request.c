/* SPDX-License-Identifier: Apache-2.0
 *
 * One call of one instance: build the request from the step's templates, send it, class the answer, hand it to the
 * machine.
 */
#include "saga_private.h"

#include "assert.h"
#include "saga_template.h"
#include "text.h"

#include <stdio.h>

enum { ANSWER_SIZE_MAX = 1024 * 1024, PATH_SIZE_MAX = 8 * 1024 };

void saga_call_done(struct saga_instance *i)
{
    i->fetch = NULL;
    arena_done(&i->call_arena);
    buf_done(&i->path);
    buf_done(&i->body);
}

void saga_call_cancel(struct saga_instance *i)
{
    FICUS_ASSERT(i->place == SAGA_PLACE_CALLING);
    if (i->fetch != NULL)
        i->g->caller.cancel(i->g->caller.arg, i->fetch);
    saga_call_done(i);
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

static void log_unknown(struct saga_instance *i, const struct call_result *r)
{
    /* The first failures are everyday life (a restart, a lost connection); one line a power of two keeps a step of days
     * readable. */
    uint32_t n = i->state.attempts;
    if (n < 4 || (n & (n - 1)) != 0)
        return;
    LOG(i->g->options.log, LOG_WARN, &i->log, "saga.waiting", "a step has no answer yet and is repeated",
        LOG_SLICE("saga", i->start.saga), LOG_SLICE("id", i->start.id),
        LOG_STR("step", i->def->steps[i->state.step].name), LOG_INT("attempts", n),
        LOG_INT("status", r->err == FICUS_ERR_OK ? r->status : 0),
        LOG_STR("reason", r->err == FICUS_ERR_OK ? NULL : err_text(r->err)));
}

static void on_answer(void *arg, const struct call_result *r)
{
    struct saga_instance *i = arg;
    FICUS_ASSERT(i->place == SAGA_PLACE_CALLING);
    struct saga_input in = {.kind = SAGA_INPUT_ANSWER, .answer = saga_classify(r->err, r->status)};
    if (r->err == FICUS_ERR_OK)
        in.status = r->status;
    if (in.answer == SAGA_ANSWER_REFUSED)
        in.code = problem_code(&i->call_arena, r->body);
    if (in.answer == SAGA_ANSWER_UNKNOWN)
        log_unknown(i, r);
    saga_move(i, SAGA_PLACE_NOWHERE);
    struct arena keep = i->call_arena; /* in.code lives there until the machine has copied it */
    i->call_arena = (struct arena){0};
    saga_call_done(i);
    saga_input(i, &in);
    arena_done(&keep);
}

static enum ficus_err build_body(struct saga_instance *i, const struct saga_step *step, const struct saga_vars *vars,
                                 struct ficus_error *reterr)
{
    if (i->state.undo) {
        struct json_writer w;
        json_write_init(&w, &i->body);
        json_write_object(&w);
        json_write_kv_slice(&w, "reason", vars->reason);
        json_write_end(&w);
        return FICUS_ERR_OK;
    }
    return step->body == NULL ? FICUS_ERR_OK : saga_template_body(step->body, vars, &i->call_arena, &i->body, reterr);
}

static enum ficus_err signal_vars(struct saga_instance *i, struct saga_vars *vars, struct ficus_error *reterr)
{
    const struct json_limits limits = {.size_max = SAGA_NOTE_SIZE_MAX};
    if (i->signals == NULL)
        return FICUS_ERR_OK;
    struct saga_signal_data *data = ARENA_ARRAY(&i->call_arena, struct saga_signal_data, i->def->step_count);
    if (data == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    for (size_t n = 0; n < i->def->step_count; n++) {
        struct json *root = NULL;
        enum ficus_err err = i->signals[n].size == 0 ? FICUS_ERR_OK : json_parse(&i->call_arena, i->signals[n], &limits, &root, reterr);
        if (err != FICUS_ERR_OK)
            return err;
        if (i->def->steps[n].signal != NULL)
            data[vars->signal_count++] = (struct saga_signal_data){i->def->steps[n].signal, root};
    }
    vars->signals = data;
    return FICUS_ERR_OK;
}

static enum ficus_err build(struct saga_instance *i, const struct saga_call *c, const struct saga_step *step,
                            struct ficus_error *reterr)
{
    struct json *input = NULL;
    arena_init(&i->call_arena, SAGA_CALL_ARENA_MAX);
    buf_init(&i->path, PATH_SIZE_MAX);
    buf_init(&i->body, EVENT_SIZE_MAX);
    if (i->start.input.size > 0) {
        const struct json_limits limits = {.size_max = EVENT_SIZE_MAX};
        enum ficus_err err = json_parse(&i->call_arena, i->start.input, &limits, &input, reterr);
        if (err != FICUS_ERR_OK)
            return err;
    }
    struct saga_vars vars = {
        .id = i->start.id, .input = input, .reason = i->state.undo ? slice_str(i->state.failure) : SLICE_NONE};
    enum ficus_err err = signal_vars(i, &vars, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = saga_template_path(c->path, &vars, &i->path, reterr);
    if (err == FICUS_ERR_OK)
        err = build_body(i, step, &vars, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    snprintf(i->idempotency, sizeof i->idempotency, SLICE_FMT "/" SLICE_FMT "/%s/%s", SLICE_ARG(i->start.saga),
             SLICE_ARG(i->start.id), step->name, i->state.undo ? "undo" : "do");
    size_t fields = 0;
    i->fields[fields++] = (struct http_field){SLICE("Idempotency-Key"), slice_str(i->idempotency)};
    if (buf_slice(&i->body).size > 0)
        i->fields[fields++] = (struct http_field){SLICE("Content-Type"), SLICE("application/json")};
    i->request = (struct call_request){
        .callee = c->service,
        .method = slice_str(c->method),
        .path = buf_slice(&i->path),
        .fields = i->fields,
        .field_count = fields,
        .body = buf_slice(&i->body),
        .timeout_ms = step->timeout_ms,
        .trace = trace_present(&i->log.trace) ? &i->log.trace : NULL,
        .tracestate = i->start.tracestate,
        .correlation = i->log.correlation,
        .keyed = true,
    };
    return FICUS_ERR_OK;
}

void saga_call_begin(struct saga_instance *i)
{
    struct saga_engine *g = i->g;
    FICUS_ASSERT(i->place == SAGA_PLACE_READY && i->state.begun);
    const struct saga_step *step = &i->def->steps[i->state.step];
    const struct saga_call *c = i->state.undo ? &step->undo : &step->call;
    struct ficus_error error = {0};
    struct saga_input in = {.kind = SAGA_INPUT_ANSWER, .answer = SAGA_ANSWER_UNKNOWN};
    enum ficus_err err = build(i, c, step, &error);
    if (err == FICUS_ERR_OK) {
        saga_move(i, SAGA_PLACE_CALLING);
        err = g->caller.start(g->caller.arg, &i->request, ANSWER_SIZE_MAX, on_answer, i, &i->fetch);
        if (err == FICUS_ERR_OK)
            return;
        saga_move(i, SAGA_PLACE_NOWHERE);
        err_set(&error, err, "the call to %s could not begin: %s", c->service, err_text(err));
    } else {
        saga_move(i, SAGA_PLACE_NOWHERE);
        if (err != FICUS_ERR_NOMEM) {
            /* The event's data does not fit the definition and never will: the same as a participant's refusal. */
            in.answer = SAGA_ANSWER_REFUSED;
            in.code = SLICE("input_invalid");
        }
    }
    saga_call_done(i);
    LOG(g->options.log, LOG_WARN, &i->log, "saga.call", "a step's request could not be made",
        LOG_SLICE("saga", i->start.saga), LOG_SLICE("id", i->start.id), LOG_STR("step", step->name), LOG_ERR(&error));
    saga_input(i, &in);
}
