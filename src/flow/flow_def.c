/* SPDX-License-Identifier: Apache-2.0
 *
 * See flow_def.h: the table, its rules, and the canonical text.
 */
#include "flow_def.h"

#include "flow_graph.h"

#define DAY_MS (24ll * 3600 * 1000)

const char *const flow_by_words[] = {"subject", "correlation", "event", NULL};

static bool topics_have(const struct flow_topics *t, struct slice topic)
{
    for (size_t i = 0; i < t->count; i++)
        if (slice_eq_str(topic, t->names[i]))
            return true;
    return false;
}

/* ---- one topic, or a list of them ---- */

#define TOPICS_ALLOWED "a topic such as order.placed, or a list of topics"

static bool topic_decode(const struct conf_node *node, const char **ret_name, struct arena *a, struct conf_errors *errors)
{
    const char *allowed = node->kind != CONF_SCALAR || node->text.size < 1 || node->text.size > 127 ? TOPICS_ALLOWED : conf_check_dotted(node->text);
    if (allowed != NULL) {
        conf_error_value(errors, node, "%s%.127s%s: must be %s", node->kind == CONF_SCALAR ? "\"" : "",
                         node->kind == CONF_SCALAR ? node->text.p : "this",
                         node->kind == CONF_SCALAR ? "\"" : "", allowed);
        return false;
    }
    *ret_name = arena_strdup(a, node->text);
    if (*ret_name == NULL)
        conf_error_value(errors, node, "out of memory");
    return *ret_name != NULL;
}

static bool topics_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a, struct conf_errors *errors)
{
    (void)s;
    struct flow_topics *t = field;
    bool list = node->kind == CONF_LIST_NODE, fine = true;
    if (list && node->count == 0) {
        conf_error_value(errors, node, "is empty: must be " TOPICS_ALLOWED);
        return false;
    }
    if (list && node->count > FLOW_TOPICS_MAX) {
        conf_error_value(errors, node, "has %u topics; at most %d are allowed", node->count, FLOW_TOPICS_MAX);
        return false;
    }
    const char **names = ARENA_ARRAY(a, const char *, list ? node->count : 1);
    if (names == NULL) {
        conf_error_value(errors, node, "out of memory");
        return false;
    }
    t->names = names;
    for (const struct conf_node *n = list ? node->first : node; n != NULL && fine; n = list ? n->next : NULL) {
        fine = topic_decode(n, &names[t->count], a, errors);
        if (fine && topics_have(t, n->text)) {
            conf_error_value(errors, n, "\"" SLICE_FMT "\" is in the list already", SLICE_ARG(n->text));
            fine = false;
        }
        t->count += fine ? 1 : 0;
    }
    return fine;
}

static void topics_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    (void)s;
    const struct flow_topics *t = field;
    json_write_array(w);
    for (size_t i = 0; i < t->count; i++)
        json_write_str(w, t->names[i]);
    json_write_end(w);
}

static bool topics_are_present(const struct conf_setting *s, const void *field)
{
    (void)s;
    return ((const struct flow_topics *)field)->count > 0;
}

static const struct conf_custom topics_custom = {
    .decode = topics_decode,
    .encode = topics_encode,
    .present = topics_are_present,
    .size = sizeof(struct flow_topics),
    .schema = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}}]}",
    .allowed = TOPICS_ALLOWED,
    .wrong = "Order",
    .example = "order.placed",
};

/* ---- a step ---- */

static void step_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct flow_step *s = value;
    if (s->events.count == 0 && s->consumer == NULL)
        conf_error_key(errors, node, "says nothing that could be waited for: say \"event\" or \"consumed_by\"");
    if (s->events.count > 0 && s->consumer != NULL)
        conf_error_key(errors, conf_get(node, "consumed_by"), "and event exclude each other: make two steps of it");
}

static const struct conf_setting step_settings[] = {
    {.name = "event",
     .type = CONF_CUSTOM,
     CONF_AT(struct flow_step, events),
     .custom = &topics_custom,
     .example = "[order.confirmed, order.cancelled]",
     .doc = "The event that has to come; of a list, one of them."},
    {.name = "consumed_by",
     .type = CONF_STRING,
     CONF_AT(struct flow_step, consumer),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "search",
     .doc = "Instead of an event: the service that has to be through with the event that asks for this step, for consumers that publish nothing."},
    {.name = "after",
     .type = CONF_CUSTOM,
     CONF_AT(struct flow_step, after),
     .custom = &topics_custom,
     .doc = "The event that asks for this step; of a list, each of them. Absent: the flow's start."},
    {.name = "within",
     .type = CONF_DURATION,
     .flags = CONF_REQUIRED,
     CONF_AT(struct flow_step, within_ms),
     .min = 1,
     .max = 365 * DAY_MS,
     .example = "1m",
     .doc = "How long after that event it may take; then the instance is stuck."},
};

static const struct conf_table step_table = {
    .name = "flow step",
    .doc = "Something that has to come about after an event.",
    .size = sizeof(struct flow_step),
    .settings = step_settings,
    .count = sizeof step_settings / sizeof step_settings[0],
    .has_node = true,
    .node_offset = offsetof(struct flow_step, node),
    .check = step_check,
};

/* ---- rules of the whole ---- */

const struct conf_node *flow_topic_node(const struct conf_node *map, const char *word, size_t i)
{
    const struct conf_node *n = conf_get(map, word);
    const struct conf_node *item = n == NULL || n->kind != CONF_LIST_NODE ? NULL : n->first;
    while (item != NULL && item->index != i)
        item = item->next;
    return item != NULL ? item : n != NULL ? n : map;
}

static void check_known(const struct flow_graph *g, const struct conf_node *map, const char *word, const struct flow_topics *t,
                        struct conf_errors *errors)
{
    for (size_t i = 0; i < t->count; i++)
        if (flow_graph_topic(g, slice_str(t->names[i])) < 0)
            conf_error_value(errors, flow_topic_node(map, word, i),
                             "\"%s\" is neither a start nor the event of a step of this flow, so nothing leads to it", t->names[i]);
}

static void check_circle(const struct flow_graph *g, const struct conf_node *node, struct conf_errors *errors)
{
    int path[FLOW_TOPICS_MAX + 1];
    size_t count = flow_graph_circle(g, path);
    struct buf b;
    if (count == 0)
        return;
    buf_init(&b, 400);
    for (size_t i = 0; i < count; i++)
        (void)buf_printf(&b, "%s%s", i == 0 ? "" : " -> ", g->topics[path[i]]); /* cut where it is full */
    for (size_t i = 0; i < g->def->step_count; i++)
        if ((g->after[i] & UINT64_C(1) << path[count - 2]) != 0 && (g->events[i] & UINT64_C(1) << path[count - 1]) != 0)
            node = g->def->steps[i].node;
    conf_error_key(errors, node, "closes a circle that has no end: %s", buf_str(&b));
    buf_done(&b);
}

static void check_failures(const struct flow_graph *g, const struct conf_node *node, struct conf_errors *errors)
{
    const struct flow_topics *t = &g->def->failures;
    for (size_t i = 0; i < t->count; i++) {
        int topic = flow_graph_topic(g, slice_str(t->names[i]));
        bool compensated = topic < 0;
        for (size_t k = 0; k < g->def->step_count && !compensated; k++)
            compensated = g->compensates[k] && (g->after[k] & UINT64_C(1) << topic) != 0;
        if (!compensated)
            conf_error_value(errors, flow_topic_node(node, "failures", i),
                             "\"%s\" is compensated by nothing: add a step with \"after: %s\", the event or consumer that makes it good", t->names[i],
                             t->names[i]);
    }
}

static void def_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct flow_def *d = value;
    struct flow_graph g;
    size_t before = errors->count;
    if (!flow_graph_make(d, &g)) {
        conf_error_value(errors, conf_get(node, "steps"), "has more than %d steps or %d topics", FLOW_STEPS_MAX, FLOW_TOPICS_MAX);
        return;
    }
    check_known(&g, node, "failures", &d->failures, errors);
    for (size_t i = 0; i < d->step_count; i++)
        check_known(&g, d->steps[i].node, "after", &d->steps[i].after, errors);
    if (errors->count == before)
        check_circle(&g, node, errors);
    if (errors->count > before)
        return;
    /* Without circles a step that nothing leads to is one whose causes are unknown, which was said. */
    check_failures(&g, node, errors);
}

static const struct conf_setting step_item = {
    .name = "step", .type = CONF_TABLE, .table = &step_table, .check = conf_check_name, .example = "told", .doc = "A step."};

static const struct conf_setting def_settings[] = {
    {.name = "name",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED | CONF_RESOLVED_ONLY,
     CONF_AT(struct flow_def, name),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "order_told",
     .doc = "The flow's name."},
    {.name = "owner",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED | CONF_RESOLVED_ONLY,
     CONF_AT(struct flow_def, owner),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "orders",
     .doc = "The service in whose part of the manifest it stands."},
    {.name = "id",
     .type = CONF_ENUM,
     CONF_AT(struct flow_def, by),
     .words = flow_by_words,
     .fallback = FLOW_BY_SUBJECT,
     .doc = "What an instance is named by, so which events belong together: those of one subject, of one correlation id, or those that one start "
            "event led to "
            "(by their causation ids)."},
    {.name = "start",
     .type = CONF_CUSTOM,
     .flags = CONF_REQUIRED,
     CONF_AT(struct flow_def, start),
     .custom = &topics_custom,
     .doc = "The event that begins an instance; of a list, each of them."},
    {.name = "failures",
     .type = CONF_CUSTOM,
     CONF_AT(struct flow_def, failures),
     .custom = &topics_custom,
     .example = "[order.placed]",
     .doc = "Events that say that something failed. Each needs a step that is asked for by failures alone, which makes it good."},
    {.name = "steps",
     .type = CONF_MAP,
     .flags = CONF_REQUIRED | CONF_AS_LIST | CONF_NOT_EMPTY,
     CONF_MAP_AT(struct flow_def, steps, step_count, struct flow_step, name),
     .item = &step_item,
     .doc = "What has to come about."},
};

const struct conf_table flow_def_table = {
    .name = "flow",
    .doc = "A choreographed saga: which events are expected after which.",
    .size = sizeof(struct flow_def),
    .settings = def_settings,
    .count = sizeof def_settings / sizeof def_settings[0],
    .has_node = true,
    .node_offset = offsetof(struct flow_def, node),
    .check = def_check,
};

bool flow_defs_write(const struct flow_def *defs, size_t count, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_array(&w);
    for (size_t i = 0; i < count; i++)
        conf_encode(&flow_def_table, &defs[i], &w);
    json_write_end(&w);
    return !buf_failed(out);
}
