/* SPDX-License-Identifier: Apache-2.0
 *
 * The definition of a flow: a choreographed saga. It says which events are expected after which, within what time,
 * and who has to have seen them. The same table reads YAML and the resolved JSON.
 */
#ifndef FICUS_FLOW_FLOW_DEF_H
#define FICUS_FLOW_FLOW_DEF_H

#include "conf.h"

enum {
    FLOW_STEPS_MAX = 32,
    FLOW_TOPICS_MAX = 32,   /* different ones in one flow */
    FLOW_READ_TOPICS_MAX = 63, /* different ones in all flows together: one reader of the log reads them */
    FLOW_CONSUMERS_MAX = 64,   /* different services in all flows' consumed_by */
};

/* What names an instance: which events belong together. */
enum flow_by { FLOW_BY_SUBJECT, FLOW_BY_CORRELATION, FLOW_BY_EVENT };
extern const char *const flow_by_words[]; /* subject correlation event, NULL */

/* Written as one topic or a list of them. */
struct flow_topics {
    const char *const *names;
    size_t count;
};

/* Something that has to come about after its cause: an event, or that a consumer is through with the cause. */
struct flow_step {
    const char *name;
    struct flow_topics events; /* one of these; count 0: a consumer is waited for */
    const char *consumer;      /* service; NULL: an event is waited for */
    struct flow_topics after;  /* any of these asks for it; count 0: the flow's start */
    int64_t within_ms;         /* from the cause's time */
    const struct conf_node *node;
};

struct flow_def {
    const char *name;
    const char *owner; /* service in whose part of the manifest it stands */
    int by;            /* enum flow_by */
    struct flow_topics start, failures;
    struct flow_step *steps;
    size_t step_count;
    const struct conf_node *node;
};

/* Its check refuses what cannot work, whoever publishes what: topics that nothing leads to, circles, failures that nothing
 * compensates. What a definition alone cannot know (services, publishers, consumers) is checked by manifest/. */
extern const struct conf_table flow_def_table;

/* Where the i-th topic of a word such as "after" stands in the map; the word itself or the map, where that is not there. */
const struct conf_node *flow_topic_node(const struct conf_node *map, const char *word, size_t i);
/* Canonical JSON text of all definitions: another text means that what was made by the old ones is to be made anew. False:
 * out is full. */
bool flow_defs_write(const struct flow_def *defs, size_t count, struct buf *out);

#endif
