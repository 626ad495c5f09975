/* SPDX-License-Identifier: Apache-2.0
 *
 * What supervisor.c, supervisor_api.c and supervisor_notify_os.c share.
 */
#ifndef FICUS_SYSTEM_SUPERVISOR_PRIVATE_H
#define FICUS_SYSTEM_SUPERVISOR_PRIVATE_H

#include "http_server.h"
#include "io_crash.h"
#include "io_env.h"
#include "registry_push.h"
#include "supervisor.h"
#include "unit.h"

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

struct supervisor {
    struct env *env;
    struct supervisor_options o;
    struct arena *plan_arena; /* of a plan that came by reload, and of its arena; NULL: the first one's */
    struct supervised *processes;
    size_t count;
    bool told_healthy, stopping, killing, ending;
    bool record_wanted;
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

enum ficus_err supervisor_notify_open(struct supervisor *s, struct ficus_error *reterr);
/* Take what was sent: before a sender's death is looked at. */
void supervisor_notify_read(struct supervisor *s);
void supervisor_notify_close(struct supervisor *s);
enum ficus_err supervisor_api_open(struct supervisor *s, struct ficus_error *reterr);

#endif
