/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators' view of the sagas, and what they say to them; signals and a look at an instance also by the service that a
 * saga belongs to.
 *
 * Bodies of commands are JSON objects; all members but a termination's reason may be absent: {"by": who, "reason": why,
 * "input": of a start, "data": of a signal, "refuse": true}.
 */
#include "hub_private.h"

#include "saga_template.h"

#include <stdio.h>

enum { BODY_ARENA_MAX = 32 * EVENT_SIZE_MAX, BODY_DEPTH_MAX = 32 /* it is shown inside a history */ };

void hub_sagas_list(struct hub_exchange *x, struct slice body)
{
    (void)body;
    struct saga_query q = {0};
    struct slice state;
    int64_t limit;
    if (!hub_query_text(x, "state", &state) || !hub_query_text(x, "saga", &q.saga) || !hub_query_text(x, "after", &q.after) ||
        !hub_query_i64(x, "limit", 1, HUB_LIST_MAX, HUB_LIST_DEFAULT, &limit))
        return;
    if (state.p != NULL && !saga_state_parse(state, &q.state)) {
        hub_problem(x, 400, "query", "state must be running, waiting, undoing, stuck, completed, compensated or terminated");
        return;
    }
    q.count_max = (size_t)limit;
    x->busy = true;
    hub_exchange_begun(x, saga_engine_list(x->hub->sagas, &q, hub_on_json, x), NULL);
}

void hub_sagas_show(struct hub_exchange *x, struct slice body)
{
    (void)body;
    x->busy = true;
    hub_exchange_begun(x, saga_engine_show(x->hub->sagas, x->params[0], x->params[1], x->claims.issuer, hub_on_json, x), NULL);
}

void hub_sagas_describe(struct hub_exchange *x, struct slice body)
{
    (void)body;
    struct slice hash;
    if (!hub_query_text(x, "definition", &hash))
        return;
    x->busy = true;
    hub_exchange_begun(x, saga_engine_describe(x->hub->sagas, x->params[0], hash, hub_on_json, x), NULL);
}

/* ---- commands ---- */

static void on_commanded(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    static const struct {
        const char *end, *code;
    } codes[] = {{"/retry", "not_stuck"}, {"/cancel", "no_way_back"}, {"/terminate", "ended"}, {"/signals/{}", "too_late"}};
    struct hub_exchange *x = arg;
    if (!hub_exchange_back(x))
        return;
    if (err == FICUS_ERR_OK && !buf_add_slice(&x->out, json))
        err = FICUS_ERR_NOMEM;
    if (err == FICUS_ERR_CONFLICT) {
        const char *code = "other_input";
        for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
            if (slice_ends(slice_str(x->route->path), slice_str(codes[i].end)))
                code = codes[i].code;
        hub_problem(x, 409, code, detail);
    } else if (err != FICUS_ERR_OK) {
        hub_problem_err(x, err, detail);
    } else {
        hub_answer(x, 202, "application/json");
    }
}

/* Who it is: what the body says, and what the socket knows. */
static struct slice actor_of(const struct hub_exchange *x, struct arena *a, struct slice by)
{
    char *text;
    if (x->claims.issuer.size > 0)
        text = arena_printf(a, "service " SLICE_FMT, SLICE_ARG(x->claims.issuer));
    else if (by.size > 0)
        text = arena_printf(a, SLICE_FMT " (uid %lld)", SLICE_ARG(by), (long long)x->uid);
    else
        text = arena_printf(a, "uid %lld", (long long)x->uid);
    return slice_str(text);
}

static const struct json *optional_string(const struct json *root, const char *key, struct slice *ret_text)
{
    const struct json *v = json_get(root, key);
    *ret_text = json_string_or(v, SLICE_NONE);
    return v != NULL && v->type != JSON_STRING ? v : NULL;
}

static enum ficus_err read_command(struct hub_exchange *x, struct arena *a, struct slice body, struct saga_command *c, struct buf *data,
                                   struct ficus_error *reterr)
{
    struct json *root = NULL;
    struct slice by;
    const struct json_limits limits = {.size_max = EVENT_SIZE_MAX, .depth_max = BODY_DEPTH_MAX};
    enum ficus_err err = body.size == 0 ? FICUS_ERR_OK : json_parse(a, body, &limits, &root, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (root != NULL && root->type != JSON_OBJECT)
        return err_set(reterr, FICUS_ERR_INVALID, "the body must be a JSON object");
    if (optional_string(root, "by", &by) != NULL || optional_string(root, "reason", &c->reason) != NULL)
        return err_set(reterr, FICUS_ERR_INVALID, "by and reason must be strings");
    if (json_get(root, "refuse") != NULL && !json_bool(json_get(root, "refuse"), &c->refuse))
        return err_set(reterr, FICUS_ERR_INVALID, "refuse must be true or false");
    const struct json *v = json_get(root, c->kind == SAGA_START ? "input" : "data");
    if (v != NULL && c->kind == SAGA_START && v->type != JSON_OBJECT)
        return err_set(reterr, FICUS_ERR_INVALID, "input must be a JSON object, as the data of a start event is");
    if (v != NULL) {
        struct json_writer w;
        json_write_init(&w, data);
        json_write_value(&w, v);
        if (buf_failed(data))
            return err_set(reterr, FICUS_ERR_TOO_LARGE, "the body is over its limit");
        c->data = buf_slice(data);
    }
    c->actor = actor_of(x, a, by);
    if (c->actor.p == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    if (c->kind == SAGA_TERMINATE && c->reason.size == 0)
        return err_set(reterr, FICUS_ERR_INVALID, "a termination needs a reason");
    return FICUS_ERR_OK;
}

static void command(struct hub_exchange *x, struct slice body, enum saga_command_kind kind)
{
    struct arena a;
    struct buf data;
    struct ficus_error error = {0};
    struct saga_command c = {.kind = kind, .saga = x->params[0], .id = x->params[1], .signal = x->params[2], .owner = x->claims.issuer};
    arena_init(&a, BODY_ARENA_MAX);
    buf_init(&data, EVENT_SIZE_MAX);
    enum ficus_err err = read_command(x, &a, body, &c, &data, &error);
    if (err == FICUS_ERR_OK) {
        x->busy = true;
        err = saga_engine_command(x->hub->sagas, &c, on_commanded, x);
        x->busy = err == FICUS_ERR_OK;
    }
    if (err == FICUS_ERR_INVALID && error.text[0] == '\0')
        err_set(&error, err, "the id \"" SLICE_FMT "\" is not %s", SLICE_ARG(c.id), saga_id_check(c.id));
    if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, error.text);
    buf_done(&data);
    arena_done(&a);
}

void hub_sagas_start(struct hub_exchange *x, struct slice body)
{
    command(x, body, SAGA_START);
}

void hub_sagas_retry(struct hub_exchange *x, struct slice body)
{
    command(x, body, SAGA_RETRY);
}

void hub_sagas_cancel(struct hub_exchange *x, struct slice body)
{
    command(x, body, SAGA_CANCEL);
}

void hub_sagas_terminate(struct hub_exchange *x, struct slice body)
{
    command(x, body, SAGA_TERMINATE);
}

void hub_sagas_signal(struct hub_exchange *x, struct slice body)
{
    command(x, body, SAGA_SIGNAL);
}
