/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators' view of the sagas.
 */
#include "hub_private.h"

static void on_json(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    struct hub_exchange *x = arg;
    if (!hub_exchange_back(x))
        return;
    if (err == FICUS_ERR_OK && !buf_add_slice(&x->out, json))
        err = FICUS_ERR_NOMEM;
    if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, detail);
    else
        hub_answer(x, 200, "application/json");
}

static void begun(struct hub_exchange *x, enum ficus_err err)
{
    if (err == FICUS_ERR_OK)
        return;
    x->busy = false;
    hub_problem_err(x, err, NULL);
}

void hub_sagas_list(struct hub_exchange *x, struct slice body)
{
    (void)body;
    struct saga_query q = {0};
    struct slice state;
    int64_t limit;
    if (!hub_query_text(x, "state", &state) || !hub_query_text(x, "after", &q.after) ||
        !hub_query_i64(x, "limit", 1, HUB_LIST_MAX, HUB_LIST_DEFAULT, &limit))
        return;
    if (state.p != NULL && !saga_state_parse(state, &q.state)) {
        hub_problem(x, 400, "query", "state must be running, undoing, completed, compensated or stuck");
        return;
    }
    q.count_max = (size_t)limit;
    x->busy = true;
    begun(x, saga_engine_list(x->hub->sagas, &q, on_json, x));
}

void hub_sagas_show(struct hub_exchange *x, struct slice body)
{
    (void)body;
    x->busy = true;
    begun(x, saga_engine_show(x->hub->sagas, x->params[0], x->params[1], on_json, x));
}

static void on_retried(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    (void)json;
    struct hub_exchange *x = arg;
    if (!hub_exchange_back(x))
        return;
    if (err == FICUS_ERR_CONFLICT)
        hub_problem(x, 409, "not_stuck", detail);
    else if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, detail);
    else
        hub_answer(x, 202, NULL);
}

void hub_sagas_retry(struct hub_exchange *x, struct slice body)
{
    (void)body;
    x->busy = true;
    begun(x, saga_engine_retry(x->hub->sagas, x->params[0], x->params[1], on_retried, x));
}
