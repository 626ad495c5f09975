/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators' view of choreographed sagas. Their services act on their own, so there is nothing to be said to them.
 */
#include "hub_groups.h"

static const char *publisher(void *arg, const char *topic)
{
    const struct hub_topic *t = hub_config_topic(arg, slice_str(topic));
    return t == NULL ? NULL : t->publisher;
}

enum ficus_err hub_flows_open(struct hub *h, struct ficus_error *reterr)
{
    const struct hub_config *c = h->config;
    if (c->flow_count == 0 || c->flow_file == NULL)
        return FICUS_ERR_OK;
    enum ficus_err err = hub_bus_new(h->log, &h->flow_bus);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "flow bus");
    const struct flow_watch_options options = {
        .file = c->flow_file,
        .defs = c->flows,
        .def_count = c->flow_count,
        .retention_ms = c->retention_ms,
        .bus = h->flow_bus,
        .log = &h->process.log,
        .metrics = h->process.metrics,
        .publisher = publisher,
        .arg = (void *)(uintptr_t)c, /* it is only read */
    };
    err = flow_watch_new(h->env, &options, &h->flows, reterr);
    for (size_t i = 0; err == FICUS_ERR_OK && h->groups != NULL && i < h->groups->count; i++)
        hub_flows_group_moved(&h->groups->list[i]); /* one that has nothing to do says nothing */
    return err;
}

/* A group is through with what all of its partitions are through with; what is not committed yet does not count. */
void hub_flows_group_moved(const struct hub_group *gr)
{
    int64_t through = INT64_MAX;
    if (gr->hub->flows == NULL)
        return;
    for (size_t i = 0; i < gr->g.partition_count; i++) {
        const struct group_partition *p = &gr->g.partitions[i];
        int64_t settled = p->state == GROUP_SETTLING ? p->cursor.settled : group_cursor_of(&gr->g, i).settled;
        through = settled < through ? settled : through;
    }
    if (through != INT64_MAX)
        flow_watch_heard(gr->hub->flows, slice_str(gr->config->name), through);
}

static void begun(struct hub_exchange *x, enum ficus_err err)
{
    hub_exchange_begun(x, err, err == FICUS_ERR_NOT_FOUND ? "there is no such flow" : NULL);
}

static bool read_query(struct hub_exchange *x, struct flow_query *q)
{
    struct slice state, trouble, after;
    enum flow_state_name name;
    int64_t limit;
    if (!hub_query_text(x, "state", &state) || !hub_query_text(x, "trouble", &trouble) || !hub_query_text(x, "flow", &q->flow) ||
        !hub_query_text(x, "after", &after) ||
        !hub_query_i64(x, "limit", 1, HUB_LIST_MAX, HUB_LIST_DEFAULT, &limit))
        return false;
    q->state = -1;
    if (state.p != NULL && !flow_state_parse(state, &name)) {
        hub_problem(x, 400, "query", "state must be running, stuck, orphaned, uncompensated, completed or compensated");
        return false;
    }
    if (state.p != NULL)
        q->state = (int)name;
    if (trouble.p != NULL && !slice_eq_str(trouble, "true") && !slice_eq_str(trouble, "false")) {
        hub_problem(x, 400, "query", "trouble must be true or false");
        return false;
    }
    q->trouble = slice_eq_str(trouble, "true");
    if (after.size > 0) {
        q->after_flow = slice_cut(&after, '/');
        q->after_id = after.p != NULL ? after : SLICE("");
    }
    q->count_max = (size_t)limit;
    return true;
}

void hub_flows_list(struct hub_exchange *x, struct slice body)
{
    (void)body;
    struct flow_query q = {0};
    if (!read_query(x, &q))
        return;
    if (x->hub->flows == NULL) {
        buf_add_str(&x->out, "{\"sagas\":[]}");
        hub_answer(x, 200, "application/json");
        return;
    }
    x->busy = true;
    begun(x, flow_watch_list(x->hub->flows, &q, hub_on_json, x));
}

void hub_flows_describe(struct hub_exchange *x, struct slice body)
{
    (void)body;
    x->busy = true;
    begun(x, x->hub->flows == NULL ? FICUS_ERR_NOT_FOUND : flow_watch_describe(x->hub->flows, x->params[0], hub_on_json, x));
}

void hub_flows_show(struct hub_exchange *x, struct slice body)
{
    (void)body;
    x->busy = true;
    begun(x, x->hub->flows == NULL ? FICUS_ERR_NOT_FOUND : flow_watch_show(x->hub->flows, x->params[0], x->params[1], hub_on_json, x));
}
