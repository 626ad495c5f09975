/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of ficus saga share: cmd_saga.c (lists, instances, what is said to them), cmd_saga_describe.c (definitions),
 * cmd_saga_flow.c (what is shown of choreographed sagas).
 */
#ifndef FICUS_CLI_CMD_SAGA_H
#define FICUS_CLI_CMD_SAGA_H

#include "cli.h"

/* ---- cmd_saga.c ---- */

enum { CLI_SAGAS_MAX = 64 };

/* What an operand [SAGA/]ID may stand for. Borrows from the command line and, encoded, from cli.a; saga_one_init begins it and
 * cli_done(&one.cli) ends it, whatever came of it. */
struct saga_one {
    struct cli cli;
    const char *id;                       /* encoded */
    const char *names[2 * CLI_SAGAS_MAX]; /* encoded: the sagas to look in, behind them the flows */
    size_t count, all_count;              /* of sagas; of both */
    bool with_saga;                       /* SAGA/ID was said */
};

/* The first operand. False: said why, with the exit code. Blocks, as the others do. */
bool saga_one_init(struct saga_one *o, const struct command_call *c, int *ret_code);
/* Look for the id in the i-th of the sagas; missing: it is not there. Returns the exit code. */
int saga_one_ask(struct saga_one *o, size_t i, struct slice *ret_body, const struct json **ret_json, bool *ret_missing);
/* Which saga an id alone means: the one that is stuck, or that has not ended, among those that have it. o->count: none, or
 * said why not. */
size_t saga_one_choose(struct saga_one *o, const char *id, bool stuck, int *ret_code);

/* ---- cmd_saga_flow.c ---- */

/* Has an instance of this kind such a state? NULL: any. */
bool saga_kind_has_state(bool flows, const char *state);
/* One instance with what is missing and its history; the definition with how many instances are in which state. */
void print_flow(const struct json *v, struct buf *out);
void print_flow_definition(const struct json *d, struct buf *out);

#endif
