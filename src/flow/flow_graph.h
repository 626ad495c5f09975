/* SPDX-License-Identifier: Apache-2.0
 *
 * A flow's topics by number, and which of them each step waits for and is waited for after, as bits. Pure.
 */
#ifndef FICUS_FLOW_FLOW_GRAPH_H
#define FICUS_FLOW_FLOW_GRAPH_H

#include "flow_def.h"

struct flow_graph {
    const struct flow_def *def;
    const char *topics[FLOW_TOPICS_MAX]; /* of the start, then of the steps in order; borrowed from def */
    size_t topic_count;
    uint64_t start, failures;
    uint64_t after[FLOW_STEPS_MAX], events[FLOW_STEPS_MAX]; /* events 0: a consumer is waited for */
    bool compensates[FLOW_STEPS_MAX];                       /* it is asked for by failures alone */
};

/* False: more than FLOW_TOPICS_MAX topics, or more than FLOW_STEPS_MAX steps. A topic of `after` or `failures` that is none of the
 * flow's is left out (flow_def_table refuses it). */
bool flow_graph_make(const struct flow_def *d, struct flow_graph *ret_graph);
/* The number of a topic, or -1: the flow does not know it. */
int flow_graph_topic(const struct flow_graph *g, struct slice topic);
/* Numbers of the topics of a circle, the first also last, into ret_path (FLOW_TOPICS_MAX + 1 long); their count, or 0: there is none. */
size_t flow_graph_circle(const struct flow_graph *g, int ret_path[FLOW_TOPICS_MAX + 1]);

#endif
