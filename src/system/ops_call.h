/* SPDX-License-Identifier: Apache-2.0
 *
 * One request to an operator socket (supervisor.sock, hub-ops.sock) on a connection of its own. No repetition, no pool:
 * people and the supervisor use it, not traffic.
 */
#ifndef FICUS_SYSTEM_OPS_CALL_H
#define FICUS_SYSTEM_OPS_CALL_H

#include "env.h"
#include "http_client.h"

enum { OPS_BODY_SIZE_MAX = 8 << 20, OPS_TIMEOUT_MS = 10000 };

struct ops_call {
    struct env *env;
    const char *address; /* all strings stay valid until done */
    const char *method;
    const char *target; /* path and query, percent-encoded */
    /* JSON; SLICE_NONE: none. At most what fits a stream's buffer is taken at once, the rest follows */
    struct slice body;
    struct slice identity; /* Ficus-Identity, for services; SLICE_NONE: none */
    int64_t timeout_ms;    /* 0: OPS_TIMEOUT_MS */
    /* err OK: status and body hold the answer (body borrowed for the call). Else REFUSED (nobody listens), TIMEOUT,
     * RESET, TOO_LARGE, ... */
    void (*done)(void *arg, enum ficus_err err, int status, struct slice body);
    void *arg;
    /* private below */
    struct http_client_conn *conn;
    struct http_stream *stream;
    struct env_timer timer;
    struct buf answer;
    size_t sent;
    int status;
    enum ficus_err result;
    bool has_result, closing, busy;
};

/* [loop] done comes exactly once, later, unless ops_call_cancel comes first. The call must stay in memory until
 * done, and after a cancel until !ops_call_busy. */
enum ficus_err ops_call_start(struct ops_call *c);
/* [loop] done will not come. Its memory is in use until ops_call_busy says no. */
void ops_call_cancel(struct ops_call *c);
static inline bool ops_call_busy(const struct ops_call *c)
{
    return c->busy;
}

/* The blocking form for command line tools: runs e's loop until the answer is there. *ret_body is in the
 * arena.
 * Errors as above, UNAVAILABLE when the socket is not there. */
struct arena;
enum ficus_err ops_call_wait(struct env *e, struct arena *a, const char *address, const char *method,
                             const char *target, struct slice body, struct slice identity, int64_t timeout_ms,
                             int *ret_status, struct slice *ret_body, struct ficus_error *reterr);

#endif
