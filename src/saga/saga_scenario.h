/* SPDX-License-Identifier: Apache-2.0
 *
 * How a saga is tested (`ficus test saga`), as the manifest says it beside the saga. No process but the tester sees it.
 */
#ifndef FICUS_SAGA_SAGA_SCENARIO_H
#define FICUS_SAGA_SAGA_SCENARIO_H

#include "conf.h"

/* NULL-terminated once the manifest is loaded, with the first word's ./ and each ${build} expanded; before that as written. */
struct saga_program {
    const char *const *words;
    size_t count; /* 0: absent */
};

enum saga_ending { SAGA_ENDS_COMPLETED, SAGA_ENDS_COMPENSATED };

struct saga_scenario {
    const char *name; /* "declined" */
    struct saga_program prepare, start, check;
    int ends; /* enum saga_ending; -1: either */
    int64_t within_ms;
    const struct conf_node *node;
};

extern const char *const saga_ending_words[]; /* completed compensated, NULL */
extern const struct conf_table saga_scenario_table;

#endif
