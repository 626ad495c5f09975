/* SPDX-License-Identifier: Apache-2.0
 *
 * What every process of a system has alike (gateway, hub, each service): its resolved configuration, key, logger,
 * metrics, call engine, endpoint resolver, and the answers to /alive, /health and /metrics. Started from a
 * configuration text and an env, so that the simulator can start several in one program.
 */
#ifndef FICUS_PROCESS_PROCESS_H
#define FICUS_PROCESS_PROCESS_H

#include "call.h"
#include "env.h"
#include "http_stream.h"
#include "identity.h"
#include "logline.h"
#include "metrics.h"
#include "process_config.h"
#include "resolve_hub.h"

enum {
    PROCESS_CONNS_MAX = 9216, /* to one service: each open event stream takes one for as long as it lasts */
    PROCESS_FILES_MAX = 32768,
};

struct process {
    struct env *env;
    const struct process_config *config; /* borrowed from the caller, outlives the process */
    struct system_key *key;
    struct logger log;
    struct metrics *metrics;
    struct call_engine *calls;
    struct resolve_hub *resolver; /* NULL in the hub itself */
    /* The addresses of some service have changed; may be set after process_init. NULL: nobody asks */
    void (*on_endpoints)(void *arg);
    /* The addresses of this one are others now; likewise. */
    void (*on_addresses)(void *arg, const char *callee, const char *const *addresses, size_t address_count);
    void *endpoints_arg;
    /* What keeps it from its work at present, "" when nothing does any more; may be set after process_init. */
    void (*on_trouble)(const char *text);
    bool beside; /* what the process has once (hub's subscription, files) is another loop's */
    /* private below */
    char instance[24];
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Load the key (blocks), make logger, metrics, engine and edges, begin to resolve. Before the loop runs or on it. p
 * must stay where it is. On failure everything is released again; what the engine still has to do for that happens on
 * the loop, so p stays in memory until the loop has turned. */
enum ficus_err process_init(struct process *p, struct env *e, const struct process_config *config,
                            struct ficus_error *reterr);
/* The same for a further loop of a process whose first one is `first`: logger, metrics and engine of its own, but no
 * subscription: the engine begins with the addresses of first's, and what is known of edges is in common. metrics is
 * borrowed, because others read it. first does not run meanwhile, and is closed after this one, also when this fails:
 * then p is still to be closed, since the engine has to leave what is in common. */
enum ficus_err process_init_beside(struct process *p, struct env *e, const struct process *first,
                                   struct metrics *metrics, struct ficus_error *reterr);
/* [loop] Take over from a newer configuration what may change under way: the log level, callees and their policies.
 * config is borrowed in place of the one before, whose other words it repeats. Callees that it no longer names stay
 * declared; nobody calls them. Errors: INVALID, NOMEM, that of a file of an edge by TLS. All is as before then, but for such
 * edges whose files of before cannot be read any more. */
enum ficus_err process_reload(struct process *p, const struct process_config *config, struct ficus_error *reterr);
/* closed (may be NULL) fires when all is gone: on the loop, or before the call returns when there was nothing to wait
 * for. */
void process_close(struct process *p, void (*closed)(void *arg), void *arg);

/* Answer GET /alive, /health, /metrics (and HEAD); false when the path is another. ready: what /health says (200 or
 * 503). The stream has its handler already, and that one's on_done or on_reset is called as ever. */
bool process_answer(struct process *p, struct http_stream *s, bool ready);

/* Check Ficus-Identity of a request: *ret_claims in the stream's arena. On failure the 401 problem is sent already and
 * false comes back. */
bool process_identity(struct process *p, struct http_stream *s, struct identity_claims *ret_claims);

/* What a request brings along: trace parent (or a new root), correlation id (or a new one), absolute deadline from
 * Ficus-Timeout-Ms, never later than now + timeout_ms_max. */
struct process_context {
    struct trace_context trace;
    struct slice tracestate, correlation; /* in the arena */
    int64_t deadline_ns;
};
enum ficus_err process_context_read(struct process *p, const struct http_msg *m, int64_t timeout_ms_max,
                                    struct arena *a, struct process_context *ret_context);

/* Raise the soft limit of open files towards PROCESS_FILES_MAX as far as the hard one lets; returns what it is now. For
 * main functions, before anything is opened. */
size_t process_files_raise(void);

/* A part of it has trouble (code OK: no more): one line in the log, and on_trouble. [loop] */
void process_trouble(struct process *p, const struct ficus_error *trouble);

/* sd_notify convention: one datagram to NOTIFY_SOCKET ("READY=1", "STOPPING=1"); nothing when it is not set. */
void process_notify(const char *state);
/* ... "STATUS=text", which `ficus status` shows. As process's on_trouble, and for a start that failed. */
void process_notify_status(const char *text);

#endif
