/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_scenario.h.
 */
#include "saga_scenario.h"

enum { SECOND_MS = 1000, MINUTE_MS = 60 * SECOND_MS };

const char *const saga_ending_words[] = {"completed", "compensated", NULL};

static const struct conf_setting word_item = {
    .name = "word", .type = CONF_STRING, .min = 1, .max = 1024, .example = "./test/order", .doc = "A word of the command."};

#define PROGRAM(field) CONF_LIST_AT(struct saga_scenario, field.words, field.count), .item = &word_item

static const struct conf_setting scenario_settings[] = {
    {.name = "prepare",
     .type = CONF_LIST,
     PROGRAM(prepare),
     .doc = "A program that does what has to be there first; its writes are not counted. Each line that it prints is an "
            "argument of start. Absent: nothing has to be."},
    {.name = "start",
     .type = CONF_LIST,
     .flags = CONF_REQUIRED | CONF_NOT_EMPTY,
     PROGRAM(start),
     .doc = "A program that starts exactly one instance, whatever is killed meanwhile, and prints its id; the id and each "
            "further line that it prints are arguments of check. ./ is the folder of this file."},
    {.name = "check",
     .type = CONF_LIST,
     .flags = CONF_REQUIRED | CONF_NOT_EMPTY,
     PROGRAM(check),
     .doc = "A program that exits with 0 when all is as it has to be once the instance is at rest, and else says what is not."},
    {.name = "ends",
     .type = CONF_ENUM,
     CONF_AT(struct saga_scenario, ends),
     .words = saga_ending_words,
     .fallback = -1,
     .doc = "How the instance has to end, whatever is killed; absent: completed or compensated."},
    {.name = "within",
     .type = CONF_DURATION,
     CONF_AT(struct saga_scenario, within_ms),
     .min = SECOND_MS,
     .max = 10 * MINUTE_MS,
     .fallback = 30 * SECOND_MS,
     .doc = "How long each program may take, and the instance to be at rest, with a process killed on the way."},
};

const struct conf_table saga_scenario_table = {
    .name = "saga test",
    .doc = "A way in which the saga is gone through in `ficus test saga`.",
    .size = sizeof(struct saga_scenario),
    .settings = scenario_settings,
    .count = sizeof scenario_settings / sizeof scenario_settings[0],
    .has_node = true,
    .node_offset = offsetof(struct saga_scenario, node),
};
