/* SPDX-License-Identifier: Apache-2.0
 *
 * What supervisor.c, supervisor_api.c and supervisor_notify_os.c share.
 */
#ifndef FICUS_SYSTEM_SUPERVISOR_PRIVATE_H
#define FICUS_SYSTEM_SUPERVISOR_PRIVATE_H

#include "http_server.h"
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
    struct child_record record; /* pid 0: none */
    char message[512];          /* what it last said of itself, "" when it is well; outlives it */
};

struct supervisor {
    struct env *env;
    struct supervisor_options o;
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

/* [loop] The supervised process that pid is, or belongs to the session of; NULL. */
struct supervised *supervisor_find_pid(struct supervisor *s, int64_t pid);
void supervisor_event(struct supervised *p, enum unit_event event);
/* Record what was forked, then let it exec. At the end of whatever called supervisor_event. */
void supervisor_flush(struct supervisor *s);

enum ficus_err supervisor_notify_open(struct supervisor *s, struct ficus_error *reterr);
/* Take what was sent: before a sender's death is looked at. */
void supervisor_notify_read(struct supervisor *s);
void supervisor_notify_close(struct supervisor *s);
enum ficus_err supervisor_api_open(struct supervisor *s, struct ficus_error *reterr);

#endif
