/* SPDX-License-Identifier: Apache-2.0
 *
 * What ficus saga shows of choreographed sagas (cmd_saga_flow.c), for cmd_saga.c, which asks for both kinds.
 */
#ifndef FICUS_CLI_CMD_SAGA_H
#define FICUS_CLI_CMD_SAGA_H

#include "cli.h"

/* Has an instance of this kind such a state? NULL: any. */
bool saga_kind_has_state(bool flows, const char *state);
/* One instance with what is missing and its history; the definition with how many instances are in which state. */
void print_flow(const struct json *v, struct buf *out);
void print_flow_definition(const struct json *d, struct buf *out);

#endif
