/* SPDX-License-Identifier: Apache-2.0
 *
 * See flow_graph.h.
 */
#include "flow_graph.h"

#include <string.h>

static bool add_topics(struct flow_graph *g, const struct flow_topics *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if (flow_graph_topic(g, slice_str(t->names[i])) >= 0)
            continue;
        if (g->topic_count == FLOW_TOPICS_MAX)
            return false;
        g->topics[g->topic_count++] = t->names[i];
    }
    return true;
}

static uint64_t bits_of(const struct flow_graph *g, const struct flow_topics *t)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < t->count; i++) {
        int topic = flow_graph_topic(g, slice_str(t->names[i]));
        bits |= topic < 0 ? 0 : UINT64_C(1) << topic;
    }
    return bits;
}

bool flow_graph_make(const struct flow_def *d, struct flow_graph *ret_graph)
{
    struct flow_graph *g = ret_graph;
    memset(g, 0, sizeof *g);
    g->def = d;
    bool fits = d->step_count <= FLOW_STEPS_MAX && add_topics(g, &d->start);
    for (size_t i = 0; i < d->step_count && fits; i++)
        fits = add_topics(g, &d->steps[i].events);
    if (!fits)
        return false;
    g->start = bits_of(g, &d->start);
    g->failures = bits_of(g, &d->failures);
    for (size_t i = 0; i < d->step_count; i++) {
        g->after[i] = d->steps[i].after.count == 0 ? g->start : bits_of(g, &d->steps[i].after);
        g->events[i] = bits_of(g, &d->steps[i].events);
        g->compensates[i] = g->after[i] != 0 && (g->after[i] & ~g->failures) == 0;
    }
    return true;
}

int flow_graph_topic(const struct flow_graph *g, struct slice topic)
{
    for (size_t i = 0; i < g->topic_count; i++)
        if (slice_eq_str(topic, g->topics[i]))
            return (int)i;
    return -1;
}

/* Topics that one step leads to from this one. */
static uint64_t next_of(const struct flow_graph *g, int topic)
{
    uint64_t next = 0;
    for (size_t i = 0; i < g->def->step_count; i++)
        if ((g->after[i] & UINT64_C(1) << topic) != 0)
            next |= g->events[i];
    return next;
}

size_t flow_graph_circle(const struct flow_graph *g, int ret_path[FLOW_TOPICS_MAX + 1])
{
    uint64_t left[FLOW_TOPICS_MAX], done = 0, open = 0;
    for (int root = 0; root < (int)g->topic_count; root++) {
        if ((done & UINT64_C(1) << root) != 0)
            continue;
        size_t depth = 1;
        ret_path[0] = root;
        left[0] = next_of(g, root);
        open = UINT64_C(1) << root;
        while (depth > 0) {
            if (left[depth - 1] == 0) {
                done |= UINT64_C(1) << ret_path[depth - 1];
                open &= ~(UINT64_C(1) << ret_path[depth - 1]);
                depth--;
                continue;
            }
            int topic = __builtin_ctzll(left[depth - 1]);
            left[depth - 1] &= left[depth - 1] - 1;
            if ((open & UINT64_C(1) << topic) != 0) {
                size_t first = 0;
                while (ret_path[first] != topic)
                    first++;
                memmove(ret_path, ret_path + first, (depth - first) * sizeof *ret_path);
                ret_path[depth - first] = topic;
                return depth - first + 1;
            }
            if ((done & UINT64_C(1) << topic) != 0)
                continue;
            ret_path[depth] = topic; /* each is open at most once, so the path has at most topic_count */
            left[depth++] = next_of(g, topic);
            open |= UINT64_C(1) << topic;
        }
    }
    return 0;
}
