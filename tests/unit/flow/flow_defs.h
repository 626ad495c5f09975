/* SPDX-License-Identifier: Apache-2.0
 *
 * Definitions from JSON text for the tests of flows. Header only.
 */
#ifndef FICUS_TEST_FLOW_DEFS_H
#define FICUS_TEST_FLOW_DEFS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "flow_def.h"

#include <stdio.h>
#include <string.h>

/* An order is confirmed or rejected; then a mail is sent and search has it, or the stock is released. */
#define ORDER_FLOW(more)                                                                                                             \
    "{\"name\":\"order\",\"owner\":\"orders\"" more ",\"start\":\"placed\",\"failures\":\"rejected\",\"steps\":["                      \
    "{\"decided\":{\"event\":[\"confirmed\",\"rejected\"],\"within\":\"10s\"}},"                                                     \
    "{\"sent\":{\"event\":\"mail\",\"after\":\"confirmed\",\"within\":\"5s\"}},"                                                     \
    "{\"found\":{\"consumed_by\":\"search\",\"after\":\"confirmed\",\"within\":\"3s\"}},"                                            \
    "{\"released\":{\"event\":\"released\",\"after\":\"rejected\",\"within\":\"4s\"}}]}"

static inline enum ficus_err read_flow(struct arena *a, const char *text, struct flow_def *ret_def, struct ficus_error *reterr)
{
    return conf_json_load(a, slice_str(text), "flow", &flow_def_table, ret_def, reterr);
}

static inline void must_read_flow(struct arena *a, const char *text, struct flow_def *ret_def)
{
    struct ficus_error error = {0};
    if (read_flow(a, text, ret_def, &error) != FICUS_ERR_OK)
        fail_msg("%s: %s", text, error.text);
}

#endif
