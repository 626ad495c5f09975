/* SPDX-License-Identifier: Apache-2.0
 *
 * The supervisor: owns the listening sockets, starts, watches, restarts and stops the processes of one system, tells
 * the hub who runs, answers operators. One thread, single: no worker is ever started in its env (it forks).
 */
#ifndef FICUS_SYSTEM_SUPERVISOR_H
#define FICUS_SYSTEM_SUPERVISOR_H

#include "children.h"
#include "logline.h"
#include "state.h"

enum { SUPERVISOR_PROCESSES_MAX = 256, SUPERVISOR_SOCKETS_MAX = 4 };

struct supervisor_process {
    enum child_kind kind;
    const char *name, *team;
    const char *const *argv; /* NULL-terminated */
    const char *file;        /* executed instead of argv[0]; NULL: argv[0] */
    const char *upgrade;     /* a path: executed instead of file from the next planned restart on; NULL: never */
    const char *folder;
    const char *config_file;                    /* becomes FICUS_CONFIG */
    const char *listen[SUPERVISOR_SOCKETS_MAX]; /* "tcp:...", "unix:..."; fd 3, 4, ...;
the first is its address */
    const char *listen_names[SUPERVISOR_SOCKETS_MAX];
    size_t listen_count;
    const char *const *needs; /* names of processes that must have been ready once before it starts; no cycles */
    size_t need_count;
};

struct status_external;

struct supervisor_plan {
    const char *system, *gateway_url;
    const struct state *state; /* created and locked by the caller */
    const struct supervisor_process *processes;
    size_t process_count;             /* at most SUPERVISOR_PROCESSES_MAX */
    const char *hub_operator_address; /* of hub-ops.sock; NULL: no hub */
    const struct status_external *externals; /* services that somebody else starts, for the status */
    size_t external_count;
};

struct supervisor;
struct conf_errors;
struct handover;

/* What became of the manifest: processes as in the plan before, and of which something differs that they take up only
 * when they are started. */
struct supervisor_reload {
    const struct supervisor_plan *plan;
    const bool *changed; /* one for each process */
};

struct supervisor_options {
    const struct supervisor_plan *plan; /* outlives the supervisor */
    struct logger *log;
    /* Read the manifest again and write the resolved files; before is the plan that runs. All that is returned lives in
     * a. On failure nothing has changed; every error is in errors, or the one in *reterr. NULL: no reload. */
    enum ficus_err (*reload)(void *arg, struct arena *a, const struct supervisor_plan *before,
                             struct supervisor_reload *ret_reload, struct conf_errors *errors,
                             struct ficus_error *reterr);
    /* For saga_test.h: each process gets a page of io_crash.h there, made here, NAME.INSTANCE; one that died by it is started again at
     * once, however often. NULL: nobody is to die. */
    const char *crash_folder;
    const char *version; /* of this ficus; NULL: not told */
    /* The file on the disk that ficus upgrade takes unless told otherwise, and the descriptor of the state's lock, which goes
     * with it. NULL: no upgrade. */
    const char *program;
    int lock_fd;
    /* handover.h: take over what runs, then restart one after another; borrowed until supervisor_new returns. NULL: start. */
    const struct handover *handover;
    void (*on_healthy)(void *arg); /* all processes are ready, for the first time; may be NULL */
    void (*on_stopped)(void *arg); /* after supervisor_stop: no process is left */
    void *arg;
};

/* End what a dead supervisor left, open all sockets, start everything that waits for nothing. Blocks for a moment,
 * and up to 2 s when a dying process still holds a port. On failure nothing runs. With a handover: the sockets and processes
 * are the handed over ones, descriptors are the supervisor's from then on; on failure the caller has to end. */
enum ficus_err supervisor_new(struct env *e, const struct supervisor_options *o, struct supervisor **ret_supervisor,
                              struct ficus_error *reterr);
/* Gateway, then services, then hub: SIGTERM, 10 s, SIGKILL each. Called again: SIGKILL for all at once. */
void supervisor_stop(struct supervisor *s);
/* Only after on_stopped. */
void supervisor_free(struct supervisor *s);

/* The document of status.h. */
void supervisor_status(struct supervisor *s, struct buf *out);
enum supervisor_order {
    SUPERVISOR_RESTART, /* also starts one that was stopped; the gateway's next process starts beside it */
    SUPERVISOR_STOP,    /* it stays away until SUPERVISOR_START, or as long as this supervisor lives */
    SUPERVISOR_KILL,    /* the same without time to finish its work */
    SUPERVISOR_START,   /* nothing for one that runs */
};
/* For all instances of a service, or "gateway" or "hub". NOT_FOUND; CONFLICT while the system stops. */
enum ficus_err supervisor_order(struct supervisor *s, struct slice name, enum supervisor_order order);
/* Reload: blocks while the manifest is read. *out: {"ok": true, "restart": [NAME]} (who has to be restarted for
 * what has changed), or {"ok": false, "errors": [...], "text": "..."}. The gateway then reloads; status says when it has
 * ("reloading"), and its message when it refused. BUSY: the gateway reloads or is replaced; CONFLICT: the system stops. */
enum ficus_err supervisor_reload(struct supervisor *s, struct buf *out);
bool supervisor_healthy(const struct supervisor *s); /* all processes are ready now */

#endif
