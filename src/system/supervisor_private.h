/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files supervisor*.c share.
 */
#ifndef FICUS_SYSTEM_SUPERVISOR_PRIVATE_H
#define FICUS_SYSTEM_SUPERVISOR_PRIVATE_H

#include "handover.h"
#include "http_server.h"
#include "io_crash.h"
#include "io_env.h"
#include "registry_push.h"
#include "status.h"
#include "supervisor.h"
#include "unit.h"

#include <signal.h>

struct supervised {
    struct supervisor *s;
    const struct supervisor_process *process;
    struct unit unit;
    struct env_timer timer;
    int sockets[SUPERVISOR_SOCKETS_MAX];
    int gate;                   /* of a child that is not released yet; else -1 */
    bool was_ready;             /* once: who needs it may start */
    bool reloading;             /* SIGHUP was sent, and it has not said that it is done with it */
    bool changed;               /* its file, or how it is started, is newer than the process */
    struct child_record record; /* pid 0: none */
    struct child_record next;   /* started to take its place; pid 0: none */
    int next_gate;
    struct child_record leaving; /* whose place was taken: ends its work; pid 0: none */
    struct env_timer leaving_timer;
    bool replace_wanted; /* when next and leaving are gone */
    int program;         /* O_PATH of what it runs, of next_program of its next one; -1: plan's file */
    int next_program;
    char message[512];          /* what it last said of itself, "" when it is well; outlives it */
    bool message_is_end;        /* it said nothing; message is how it ended */
    struct crash_page *crash;   /* NULL: nobody asks it to die */
};

/* ficus upgrade, told in supervisor_upgrade.c. */
enum upgrade_state { UPGRADE_NONE, UPGRADE_CHECKING, UPGRADE_TAKING_OVER, UPGRADE_ROLLING, UPGRADE_DONE, UPGRADE_FAILED };

struct upgrade {
    enum upgrade_state state;
    struct http_stream *stream; /* who asked and waits for the end of the check; NULL: nobody any more */
    struct child_record trial;  /* the new program, trying; pid 0: none */
    int program;                /* O_PATH of it; -1: none */
    int output[2];              /* what the trial says; -1: none */
    struct env_timer timer;     /* of the trial, of the answer, of the process that is restarted */
    struct env_timer look;      /* at what has changed, when whoever changed it is through */
    struct supervised **order;  /* whom to restart, in this order; NULL: nobody */
    size_t count, at;
    bool asked;                 /* order[at] was told to restart */
    int64_t old_pid;            /* of order[at], then */
    char path[4096], from[64], to[64], message[512];
};

struct supervisor {
    struct env *env;
    struct supervisor_options o;
    struct arena *plan_arena; /* of a plan that came by reload, and of its arena; NULL: the first one's */
    struct supervised *processes;
    size_t count;
    bool told_healthy, stopping, killing, ending;
    bool record_wanted;
    struct upgrade upgrade;
    int api_fd;
    uint64_t own_start_ticks;
    struct registry_push registry;
    struct http_server *api;
    int notify_fd;
    struct env_uv_watch *notify_watch;
    char notify_path[128], api_address[128];
};

/* [loop] The supervised process that pid is, or belongs to the session of; NULL. ret_record: which of its records. */
struct supervised *supervisor_find_pid(struct supervisor *s, int64_t pid, const struct child_record **ret_record);
void supervisor_event(struct supervised *p, enum unit_event event);
/* Record what was forked, then let it exec. At the end of whatever called supervisor_event. */
void supervisor_flush(struct supervisor *s);

/* Whether the process of this record has ended; then it is reaped, and what it had started is killed. */
bool supervisor_reap(const struct child_record *record, siginfo_t *ret_info);
/* A planned restart of this one alone: the gateway's next process beside it. supervisor_flush follows. */
void supervisor_restart(struct supervised *p);

/* ---- supervisor_handover.c ---- */

/* What another program needs to go on; all but *ret_handover itself is in the arena. NOMEM; BUSY: something is being started,
 * replaced or ended (the name in *reterr). */
enum ficus_err supervisor_hand_over(struct supervisor *s, struct arena *a, struct handover *ret_handover, struct ficus_error *reterr);
/* The states and descriptors of h, whose processes are those of the plan, in its order, become ours. */
void supervisor_take_over(struct supervisor *s, const struct handover *h);

/* ---- supervisor_upgrade.c ---- */

void supervisor_upgrade_init(struct supervisor *s);
/* Answers on the stream, at once or when the new program was tried. */
void supervisor_upgrade(struct supervisor *s, struct http_stream *stream);
/* Begin to restart all processes; failed not NULL: the other program could not take over, do not. */
void supervisor_upgrade_roll(struct supervisor *s, const char *from, const char *failed);
void supervisor_upgrade_reap(struct supervisor *s);    /* on SIGCHLD */
void supervisor_upgrade_changed(struct supervisor *s); /* a unit may have moved */
void supervisor_upgrade_stop(struct supervisor *s);    /* everything ends */
void supervisor_upgrade_done(struct supervisor *s);
/* ret_upgrade itself; NULL: there was none. */
const struct status_upgrade *supervisor_upgrade_status(const struct supervisor *s, struct status_upgrade *ret_upgrade);

enum ficus_err supervisor_notify_open(struct supervisor *s, struct ficus_error *reterr);
/* Take what was sent: before a sender's death is looked at. */
void supervisor_notify_read(struct supervisor *s);
void supervisor_notify_close(struct supervisor *s);
enum ficus_err supervisor_api_open(struct supervisor *s, struct ficus_error *reterr);
void supervisor_api_close(struct supervisor *s); /* its socket; the server was closed */

#endif
