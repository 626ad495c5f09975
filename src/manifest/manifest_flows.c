/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks of flows against what the services declare: whoever publishes an expected event is led to it by the event before, and who
 * has to have consumed something consumes it. What a flow alone can know is wrong with itself, its own table's check says.
 */
#include "manifest_private.h"

#include "flow_graph.h"
#include "text.h"

#include <string.h>

struct flow_checker {
    struct manifest *m;
    struct arena *arena;
    struct conf_errors *errors;
    const char *topics[FLOW_READ_TOPICS_MAX], *consumers[FLOW_CONSUMERS_MAX]; /* of all flows so far */
    size_t topic_count, consumer_count;
};

static const struct manifest_service *publisher_of(const struct flow_checker *c, const char *topic)
{
    for (size_t i = 0; i < c->m->service_count; i++)
        for (size_t k = 0; k < c->m->services[i].publish_count; k++)
            if (c->m->services[i].publishes[k].name != NULL && strcmp(c->m->services[i].publishes[k].name, topic) == 0)
                return &c->m->services[i];
    return NULL;
}

static bool consumes(const struct manifest_service *s, const char *topic)
{
    for (size_t i = 0; i < s->consume_count; i++)
        if (s->consumes[i] != NULL && strcmp(s->consumes[i], topic) == 0)
            return true;
    return false;
}

/* ---- names ---- */

static void check_name(const struct flow_checker *c, const struct flow_def *d)
{
    for (size_t i = 0; i < c->m->service_count; i++) {
        const struct manifest_service *s = &c->m->services[i];
        for (size_t k = 0; k < s->saga_count; k++)
            if (s->sagas[k].name != NULL && s->sagas[k].node != NULL && strcmp(s->sagas[k].name, d->name) == 0)
                conf_error_key(c->errors, d->node, "\"%s\" is the name of a saga, in %s:%u", d->name, s->sagas[k].node->file,
                               s->sagas[k].node->key_line);
        for (size_t k = 0; k < s->flow_count; k++) {
            if (&s->flows[k] == d)
                return; /* what comes behind it says so itself */
            if (s->flows[k].name != NULL && s->flows[k].node != NULL && strcmp(s->flows[k].name, d->name) == 0)
                conf_error_key(c->errors, d->node, "\"%s\" is the name of another flow, in %s:%u", d->name, s->flows[k].node->file,
                               s->flows[k].node->key_line);
        }
    }
}

static bool check_published(const struct flow_checker *c, const struct conf_node *map, const char *word, const struct flow_topics *t)
{
    bool fine = true;
    for (size_t i = 0; i < t->count; i++) {
        if (publisher_of(c, t->names[i]) != NULL)
            continue;
        const char *names[256];
        size_t count = 0;
        for (size_t s = 0; s < c->m->service_count; s++)
            for (size_t k = 0; k < c->m->services[s].publish_count && count < sizeof names / sizeof *names; k++)
                names[count++] = c->m->services[s].publishes[k].name;
        const char *near = text_nearest(slice_str(t->names[i]), names, count);
        conf_error_value(c->errors, flow_topic_node(map, word, i), "\"%s\" is published by no service%s%s%s", t->names[i],
                         near != NULL ? " (did you mean " : "",
                         near != NULL ? near : "", near != NULL ? "?)" : "");
        fine = false;
    }
    return fine;
}

/* ---- what leads to what ---- */

static void reach(const struct flow_checker *c, bool *reached, const char *service)
{
    for (size_t i = 0; i < c->m->service_count && service != NULL; i++)
        if (c->m->services[i].name != NULL && strcmp(c->m->services[i].name, service) == 0)
            reached[i] = true;
}

/* Whom the saga's steps call, and those of sagas in it, so deep as may be. */
static void reach_steps(const struct flow_checker *c, bool *reached, const struct saga_def *d, int depth)
{
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_def *child = d->steps[i].saga == NULL ? NULL : manifest_find_saga(c->m, d->steps[i].saga);
        reach(c, reached, d->steps[i].call.service);
        reach(c, reached, d->steps[i].undo.service);
        if (child != NULL && depth > 1)
            reach_steps(c, reached, child, depth - 1);
    }
}

static void reach_saga(const struct flow_checker *c, bool *reached, const struct saga_def *d, const char *topic)
{
    if (d->start != NULL && strcmp(d->start, topic) == 0)
        reach_steps(c, reached, d, SAGA_DEPTH_MAX);
}

/* The services that something reaches because of the event: who published it, who consumes it, whom a saga that it starts calls, and
 * whom these call. NULL: out of memory. */
static bool *reached_by(const struct flow_checker *c, const char *topic)
{
    const struct manifest *m = c->m;
    bool *reached = arena_zalloc(c->arena, m->service_count + 1), more = true;
    if (reached == NULL)
        return NULL;
    for (size_t i = 0; i < m->service_count; i++) {
        reached[i] = reached[i] || consumes(&m->services[i], topic) || publisher_of(c, topic) == &m->services[i];
        for (size_t k = 0; k < m->services[i].saga_count; k++)
            reach_saga(c, reached, &m->services[i].sagas[k], topic);
    }
    while (more) {
        more = false;
        for (size_t i = 0; i < m->service_count; i++)
            for (size_t k = 0; reached[i] && k < m->services[i].call_count; k++) {
                const struct manifest_service *callee = manifest_find_service(m, m->services[i].calls[k].callee);
                if (callee == NULL || reached[callee - m->services])
                    continue;
                more = reached[callee - m->services] = true;
            }
    }
    return reached;
}

static void add_causes(struct buf *b, const struct flow_topics *causes)
{
    for (size_t i = 0; i < causes->count; i++)
        (void)buf_printf(b, "%s\"%s\"", i == 0 ? "" : i + 1 < causes->count ? ", " : " or ", causes->names[i]); /* cut where it is full */
}

/* Each expected event has a cause that reaches its publisher, and each cause an event. */
static void check_arrows(const struct flow_checker *c, const struct flow_def *d, const struct flow_step *s)
{
    const struct flow_topics *causes = s->after.count == 0 ? &d->start : &s->after;
    const struct conf_node *map = s->after.count == 0 ? d->node : s->node;
    bool leads[FLOW_TOPICS_MAX] = {false}, led[FLOW_TOPICS_MAX] = {false};
    for (size_t i = 0; i < causes->count; i++) {
        const bool *reached = reached_by(c, causes->names[i]);
        for (size_t k = 0; reached != NULL && k < s->events.count; k++) {
            bool arrow = reached[publisher_of(c, s->events.names[k]) - c->m->services];
            leads[i] = leads[i] || arrow;
            led[k] = led[k] || arrow;
        }
    }
    bool all = true;
    for (size_t k = 0; k < s->events.count; k++) {
        const struct manifest_service *p = publisher_of(c, s->events.names[k]);
        struct buf b;
        if (led[k])
            continue;
        all = false;
        buf_init(&b, 400);
        add_causes(&b, causes);
        conf_error_value(c->errors, flow_topic_node(s->node, "event", k),
                         "\"%s\" is published by \"%s\", which neither consumes %s nor is called because of it: add it to consumes in "
                         "%s", s->events.names[k], p->name,
                         buf_str(&b), p->node->file);
        buf_done(&b);
    }
    for (size_t i = 0; i < causes->count && all; i++)
        if (!leads[i])
            conf_error_value(c->errors, flow_topic_node(map, s->after.count == 0 ? "start" : "after", i),
                             "\"%s\" leads to no event of step \"%s\": no publisher of one consumes it",
                             causes->names[i], s->name);
}

static void check_consumer(const struct flow_checker *c, const struct flow_def *d, const struct flow_step *s)
{
    const struct conf_node *node = conf_get(s->node, "consumed_by");
    const struct manifest_service *service = manifest_find_service(c->m, s->consumer);
    const struct flow_topics *causes = s->after.count == 0 ? &d->start : &s->after;
    if (service == NULL) {
        const char *names[256];
        size_t count = 0;
        for (size_t i = 0; i < c->m->service_count && count < sizeof names / sizeof *names; i++)
            if (c->m->services[i].name != NULL)
                names[count++] = c->m->services[i].name;
        const char *near = text_nearest(slice_str(s->consumer), names, count);
        conf_error_value(c->errors, node, "\"%s\" is no service of this system%s%s%s", s->consumer, near != NULL ? " (did you mean " : "",
                         near != NULL ? near : "", near != NULL ? "?)" : "");
        return;
    }
    for (size_t i = 0; i < causes->count; i++)
        if (!consumes(service, causes->names[i]))
            conf_error_value(c->errors, node, "\"%s\" does not consume \"%s\": add it to consumes in %s", s->consumer, causes->names[i],
                             service->node->file);
}

/* ---- limits ---- */

static bool add_name(const char **names, size_t *count, size_t count_max, const char *name)
{
    for (size_t i = 0; i < *count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    if (*count == count_max)
        return false;
    names[(*count)++] = name;
    return true;
}

static void check_limits(struct flow_checker *c, const struct flow_def *d)
{
    struct flow_graph g;
    bool topics = true, consumers = true;
    if (!flow_graph_make(d, &g))
        return; /* said */
    for (size_t i = 0; i < g.topic_count; i++)
        topics = topics && add_name(c->topics, &c->topic_count, FLOW_READ_TOPICS_MAX, g.topics[i]);
    for (size_t i = 0; i < d->step_count; i++)
        consumers = consumers && (d->steps[i].consumer == NULL || add_name(c->consumers, &c->consumer_count, FLOW_CONSUMERS_MAX,
                                                                           d->steps[i].consumer));
    if (!topics || !consumers)
        conf_error_key(c->errors, d->node, "all flows together have more than %d %s, which is not supported by this version",
                       topics ? FLOW_CONSUMERS_MAX : FLOW_READ_TOPICS_MAX,
                       topics ? "consumers" : "topics");
}

static void check_times(const struct flow_checker *c, const struct flow_step *s)
{
    if (s->within_ms > c->m->events.retention_ms)
        conf_error_value(c->errors, conf_get(s->node, "within"),
                         "is longer than events are kept (events.retention), so nobody could tell whether it came");
}

static void check_flow(struct flow_checker *c, const struct flow_def *d)
{
    bool published = check_published(c, d->node, "start", &d->start);
    check_limits(c, d);
    for (size_t i = 0; i < d->step_count; i++) {
        const struct flow_step *s = &d->steps[i];
        bool fine = check_published(c, s->node, "event", &s->events) && published;
        check_times(c, s);
        for (size_t k = 0; k < s->after.count; k++)
            fine = fine && publisher_of(c, s->after.names[k]) != NULL; /* said where the step is that has it */
        if (fine && s->consumer == NULL)
            check_arrows(c, d, s);
        else if (fine)
            check_consumer(c, d, s);
    }
}

void manifest_check_flows(struct manifest *m, struct arena *a, struct conf_errors *errors, bool all_decoded)
{
    struct flow_checker c = {.m = m, .arena = a, .errors = errors};
    for (size_t i = 0; i < m->service_count; i++) {
        struct manifest_service *s = &m->services[i];
        for (size_t k = 0; k < s->flow_count; k++) {
            struct flow_def *d = &s->flows[k];
            d->owner = s->name;
            if (d->name == NULL || d->node == NULL)
                continue;
            check_name(&c, d);
            if (all_decoded)
                check_flow(&c, d);
        }
    }
}
