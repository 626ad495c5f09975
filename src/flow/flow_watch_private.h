/* SPDX-License-Identifier: Apache-2.0
 *
 * What flow_watch.c (following) and flow_view.c (what operators see) share. Loop thread only, and nothing here blocks; but while a
 * turn is under way (busy) its worker has turn, what that points to, err and error. A view is a job of its own and owns all
 * that its worker touches but the store and the options.
 */
#ifndef FICUS_FLOW_FLOW_WATCH_PRIVATE_H
#define FICUS_FLOW_FLOW_WATCH_PRIVATE_H

#include "assert.h"
#include "flow_watch.h"
#include "mem.h"

struct flow_watch {
    struct env *env;
    struct flow_watch_options options;
    struct flow_store *store; /* owned */
    /* pulling */
    bool pulling, caught_up, anew;
    unsigned pull_failures;
    struct env_timer pull_timer;
    int64_t position; /* behind the batch */
    struct arena batch_arena;
    struct event *batch;
    size_t batch_count;
    /* turns */
    bool busy, failing, more, gauge_stale;
    struct env_timer turn_timer;
    struct env_job job;
    struct flow_turn turn;
    struct arena turn_arena;
    struct ficus_error error;
    enum ficus_err err;
    int64_t ended_ns, gauged_ns, trimmed_ns; /* when the last one ended, and the last with these */
    /* consumers: what was heard, what is waited for, what the turn under way takes */
    int64_t heard[FLOW_CONSUMERS_MAX], taken[FLOW_CONSUMERS_MAX], needs[FLOW_CONSUMERS_MAX];
    /* time */
    int64_t judged_ms, clock_wall_ms, clock_ns, settled_ns; /* settled_ns 0: not caught up yet */
    int64_t due_ms;
    int64_t anew_ns; /* when it began to make all anew; 0: it does not */
    uint64_t anew_count;
    /* views */
    size_t view_count;
    /* metrics */
    struct metric_family *instances;
    struct metric *behind;
    /* closing */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

int64_t flow_judge_ms(struct flow_watch *w); /* the time by which instances are judged now */
void flow_closing_step(struct flow_watch *w);

#endif
