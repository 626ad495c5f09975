/* SPDX-License-Identifier: Apache-2.0
 *
 * What flow_store.c (the file, and reading it) and flow_take.c (a turn) share. All of it blocks, and runs on workers or before the
 * loop runs, on the connection c of the caller, who has begun its transaction if there has to be one.
 */
#ifndef FICUS_FLOW_FLOW_PRIVATE_H
#define FICUS_FLOW_FLOW_PRIVATE_H

#include "assert.h"
#include "db.h"
#include "flow_store.h"
#include "mem.h"

struct flow_consumer {
    const char *name;
    int64_t position; /* it is through with all events up to here; what the file says */
};

struct flow_store {
    /* unchanged from the opening on: any thread */
    struct env *env;
    struct db *db;
    struct arena arena; /* of what lives as long as it */
    const struct flow_def *defs;
    size_t def_count;
    struct flow_graph *graphs; /* one a definition */
    const char *topics;
    size_t consumer_count;
    int64_t retention_ms;
    size_t ended_max;
    /* of the turn under way, or of the loop thread when there is none; names of consumers do not change */
    struct flow_consumer consumers[FLOW_CONSUMERS_MAX];
    int64_t position, judged_ms;
    struct flow_stored *work; /* owned: room for one instance */
};

/* The consumer's number, or -1: no step waits for it. */
int flow_consumer_index(const struct flow_store *s, struct slice service);
/* Events, marks and fold of an instance into *st, whose graph is set; texts of events and foreign marks only with an arena. */
enum ficus_err flow_load(struct db_conn *c, struct arena *a, struct slice id, struct flow_stored *st,
                         struct ficus_error *reterr);
enum ficus_err flow_wipe(struct db_conn *c, struct ficus_error *reterr);
enum ficus_err flow_meta_put(struct db_conn *c, const char *name, int64_t value, struct ficus_error *reterr);
enum ficus_err flow_counts(struct db_conn *c, const char *flow, int64_t judged_ms, int64_t ret_counts[FLOW_STATE_COUNT], struct ficus_error *reterr);

#endif
