/* SPDX-License-Identifier: Apache-2.0
 *
 * The supervisor's core: drives the units (unit.h) and carries out their actions.
 *
 * Happy path: all units get START (who needs others, when those were ready); their processes are forked, recorded in
 * run/children.json together, and only then let go to exec. Failure modes: a process that dies is started again
 * (unit.h); one whose command cannot run keeps failing every 3 s and says why in its log. When the record cannot be
 * written (disk full) the processes start nevertheless, with an error in the log: PR_SET_PDEATHSIG still ties them to
 * us. A supervisor that is killed leaves nothing: the kernel kills its children, the next supervisor kills what those
 * had started.
 */
#include "supervisor_private.h"

#include "assert.h"
#include "child.h"
#include "io_socket.h"
#include "json.h"
#include "mem.h"
#include "proc.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROGRAM_FD_MIN = 128 /* above what a child puts its sockets at */, ORPHAN_WAIT_MS = 5000, BIND_TRIES_MAX = 40, BIND_PAUSE_MS = 50 };

/* The order of stopping. */
static const enum child_kind stop_order[CHILD_KIND_COUNT] = {CHILD_GATEWAY, CHILD_SERVICE, CHILD_HUB};

static const struct state *state_of(const struct supervisor *s)
{
    return s->o.plan->state;
}

/* ---- the record ---- */

static void write_record(struct supervisor *s)
{
    struct ficus_error error = {0};
    struct children c = {.system = s->o.plan->system,
                         .gateway_url = s->o.plan->gateway_url,
                         .supervisor_pid = getpid(),
                         .supervisor_start_ticks = s->own_start_ticks};
    struct child_record *records = mem_array(3 * s->count + 1, sizeof *records);
    if (records == NULL) {
        LOG(s->o.log, LOG_ERROR, NULL, "supervisor.record", "out of memory, processes are not recorded");
        return;
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct supervised *p = &s->processes[i];
        records[c.count++] = p->record;
        if (p->next.pid > 0)
            records[c.count++] = p->next;
        if (p->leaving.pid > 0)
            records[c.count++] = p->leaving;
    }
    c.records = records;
    if (children_write(s->env, state_of(s)->children_file, &c, &error) != FICUS_ERR_OK)
        LOG(s->o.log, LOG_ERROR, NULL, "supervisor.record", "processes are not recorded", LOG_ERR(&error));
    mem_free(records);
}

/* Record, then let go whoever waits at its gate. */
void supervisor_flush(struct supervisor *s)
{
    supervisor_upgrade_changed(s);
    if (!s->record_wanted)
        return;
    s->record_wanted = false;
    write_record(s);
    for (size_t i = 0; i < s->count; i++) {
        struct supervised *p = &s->processes[i];
        if (p->gate >= 0)
            child_release(p->gate);
        if (p->next_gate >= 0)
            child_release(p->next_gate);
        p->gate = p->next_gate = -1;
    }
}

/* ---- actions ---- */

static void gate_close(int *gate)
{
    if (*gate >= 0)
        close(*gate);
    *gate = -1;
}

/* The file on the disk, as it is now, held so that it stays what it is: whoever replaces it changes nothing for a process
 * that is started again after a death. -1: it is not there. */
static int program_open(const struct supervised *p)
{
    int fd = p->process->upgrade == NULL ? -1 : open(p->process->upgrade, O_PATH | O_CLOEXEC);
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, PROGRAM_FD_MIN);
    if (fd >= 0)
        close(fd);
    return high;
}

/* False: it cannot be started; said in the log. */
static bool spawn_into(struct supervised *p, struct child_record *record, int *gate, int program)
{
    struct supervisor *s = p->s;
    const struct supervisor_process *plan = p->process;
    struct ficus_error error = {0};
    char config[4200], notify[200], log_path[4200], log_variable[4300], crash[4300], held[48];
    /* by our number, so that the interpreter of a script finds it as well */
    snprintf(held, sizeof held, "/proc/%d/fd/%d", (int)getpid(), program);
    snprintf(config, sizeof config, "FICUS_CONFIG=%s", plan->config_file);
    snprintf(notify, sizeof notify, "NOTIFY_SOCKET=%s", s->notify_path);
    snprintf(log_path, sizeof log_path, "%s/%s.%lld.log", state_of(s)->log, plan->name, (long long)p->record.instance);
    snprintf(log_variable, sizeof log_variable, "FICUS_LOG=%s", log_path);
    if (p->crash != NULL)
        snprintf(crash, sizeof crash, "FICUS_CRASH=%s/%s.%lld", s->o.crash_folder, plan->name, (long long)p->record.instance);
    const char *const environment[] = {config, notify, log_variable, p->crash == NULL ? NULL : crash, NULL};
    struct child_spec spec = {.argv = plan->argv,
                              .file = program >= 0 ? held : plan->file,
                              .folder = plan->folder,
                              .log_path = log_path,
                              .environment = environment,
                              .sockets = p->sockets,
                              .socket_names = plan->listen_names,
                              .socket_count = plan->listen_count};
    int64_t pid = 0;
    struct proc_info info = {0};
    if (child_spawn(&spec, &pid, gate, &error) != FICUS_ERR_OK) {
        LOG(s->o.log, LOG_ERROR, NULL, "process.start", "a process cannot be started", LOG_STR("process", plan->name),
            LOG_ERR(&error));
        return false;
    }
    (void)proc_read(pid, &info); /* our child, so it is there */
    record->pid = pid;
    record->start_ticks = info.start_ticks;
    record->started_at_ms = env_wall_ms(s->env);
    record->restarts = p->unit.restarts;
    s->record_wanted = true;
    LOG(s->o.log, LOG_INFO, NULL, "process.started", "process started", LOG_STR("process", plan->name),
        LOG_INT("pid", pid), LOG_INT("restarts", p->unit.restarts));
    return true;
}

static void spawn(struct supervised *p)
{
    p->changed = p->reloading = false; /* it reads what is there now */
    if (!spawn_into(p, &p->record, &p->gate, p->program))
        supervisor_event(p, UNIT_EXIT); /* as if it had died at once: backs off and tries again */
}

/* ---- one beside another ---- */

static void replace_failed(struct supervised *p, const char *why)
{
    LOG(p->s->o.log, LOG_ERROR, NULL, "process.replace", "the new process was given up, the one before serves on",
        LOG_STR("process", p->process->name), LOG_STR("reason", why));
    (void)snprintf(p->message, sizeof p->message, "restart failed: the new process %s; the one before serves on", why);
}

static void spawn_next(struct supervised *p)
{
    p->message[0] = '\0';
    p->next = p->record;
    p->next.pid = 0;
    p->next_program = program_open(p);
    if (!spawn_into(p, &p->next, &p->next_gate, p->next_program >= 0 ? p->next_program : p->program))
        supervisor_event(p, UNIT_NEXT_EXIT);
}

static void program_drop(int *program)
{
    if (*program >= 0)
        close(*program);
    *program = -1;
}

static void on_leaving_timer(void *arg)
{
    struct supervised *p = arg;
    LOG(p->s->o.log, LOG_WARN, NULL, "process.drain", "process did not end in time and is killed",
        LOG_STR("process", p->process->name), LOG_INT("pid", p->leaving.pid));
    kill(-(pid_t)p->leaving.pid, SIGKILL);
}

/* The old one, if it lives, has stopped to be the process: it ends its work, and what it says is no longer heard. */
static void take_next(struct supervised *p)
{
    struct supervisor *s = p->s;
    FICUS_ASSERT(p->leaving.pid == 0 && p->next.pid > 0);
    if (p->record.pid > 0) {
        p->leaving = p->record;
        kill((pid_t)p->leaving.pid, SIGTERM);
        env_timer_start(s->env, &p->leaving_timer, UNIT_DRAIN_MS);
    }
    p->record = p->next;
    p->next.pid = 0;
    p->gate = p->next_gate;
    p->next_gate = -1;
    if (p->next_program >= 0) {
        program_drop(&p->program);
        p->program = p->next_program;
        p->next_program = -1;
    }
    p->changed = p->reloading = false;
    s->record_wanted = true;
}

static void drop_next(struct supervised *p)
{
    kill(-(pid_t)p->next.pid, SIGKILL);
    kill((pid_t)p->next.pid, SIGKILL); /* before it has a session */
    if (p->unit.state == UNIT_READY)
        replace_failed(p, "was not ready in time");
}

/* At once, or when the one that was replaced before has ended: there are never more than two. */
static void replace(struct supervised *p)
{
    p->replace_wanted = p->next.pid > 0 || p->leaving.pid > 0;
    if (!p->replace_wanted)
        supervisor_event(p, UNIT_REPLACE);
}

static void tell_healthy(struct supervisor *s)
{
    if (s->told_healthy || !supervisor_healthy(s))
        return;
    s->told_healthy = true;
    LOG(s->o.log, LOG_INFO, NULL, "system.healthy", "all processes are ready", LOG_INT("processes", s->count));
    if (s->o.on_healthy != NULL)
        s->o.on_healthy(s->o.arg);
}

static bool needs_are_met(const struct supervised *p)
{
    for (size_t i = 0; i < p->process->need_count; i++)
        for (size_t j = 0; j < p->s->count; j++)
            if (strcmp(p->s->processes[j].process->name, p->process->needs[i]) == 0 && !p->s->processes[j].was_ready)
                return false;
    return true;
}

static void start_who_may(struct supervisor *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->processes[i].unit.state == UNIT_WAITING && needs_are_met(&s->processes[i]))
            supervisor_event(&s->processes[i], UNIT_START);
}

static void on_api_closed(void *arg)
{
    struct supervisor *s = arg;
    s->api = NULL;
    supervisor_api_close(s);
    s->o.on_stopped(s->o.arg);
}

static void on_registry_closed(void *arg)
{
    struct supervisor *s = arg;
    http_server_close(s->api, on_api_closed, s);
}

/* A group at a time; when none of it is left the next. */
static void stop_next(struct supervisor *s)
{
    for (size_t order = 0; order < CHILD_KIND_COUNT; order++) {
        bool left = false;
        for (size_t i = 0; i < s->count; i++) {
            struct supervised *p = &s->processes[i];
            if (p->process->kind != stop_order[order])
                continue;
            left = left || p->next.pid > 0 || p->leaving.pid > 0;
            if (p->unit.state == UNIT_STOPPED)
                continue;
            if (p->unit.state != UNIT_STOPPING)
                supervisor_event(p, UNIT_STOP);
            left = left || p->unit.state != UNIT_STOPPED;
        }
        if (left)
            return;
    }
    if (s->ending)
        return;
    s->ending = true;
    write_record(s); /* nobody is left: says so */
    LOG(s->o.log, LOG_INFO, NULL, "system.stopped", "all processes have ended");
    supervisor_notify_close(s);
    registry_push_close(&s->registry, on_registry_closed, s);
}

void supervisor_event(struct supervised *p, enum unit_event event)
{
    struct supervisor *s = p->s;
    unsigned actions = unit_step(&p->unit, event, env_now_ms(s->env));
    bool is_hub = p->process->kind == CHILD_HUB;
    if ((actions & UNIT_CLEAR_TIMER) != 0)
        env_timer_stop(s->env, &p->timer);
    if ((actions & UNIT_SET_TIMER) != 0)
        env_timer_start(s->env, &p->timer, p->unit.timer_ms);
    if ((actions & UNIT_TERM) != 0 && p->record.pid > 0)
        kill((pid_t)p->record.pid, s->killing ? SIGKILL : SIGTERM);
    if ((actions & UNIT_KILL) != 0 && p->record.pid > 0)
        kill(-(pid_t)p->record.pid, SIGKILL);
    if ((actions & UNIT_LISTING) != 0 && is_hub)
        registry_push_hub(&s->registry, p->unit.listed);
    else if ((actions & UNIT_LISTING) != 0)
        registry_push_changed(&s->registry);
    else if (is_hub && event == UNIT_IS_READY && p->unit.state == UNIT_READY)
        registry_push_hub(&s->registry, true); /* planned restart: it stayed listed, but has forgotten */
    if (p->unit.state == UNIT_READY && event == UNIT_IS_READY && !p->was_ready) {
        p->was_ready = true;
        start_who_may(s);
    }
    if ((actions & UNIT_DROP_NEXT) != 0)
        drop_next(p);
    if ((actions & UNIT_TAKE_NEXT) != 0)
        take_next(p);
    if ((actions & UNIT_SPAWN) != 0)
        spawn(p);
    if ((actions & UNIT_SPAWN_NEXT) != 0)
        spawn_next(p);
    if (event == UNIT_IS_READY)
        tell_healthy(s);
    if (s->stopping && p->unit.state == UNIT_STOPPED && event == UNIT_EXIT)
        stop_next(s);
}

static void on_unit_timer(void *arg)
{
    struct supervised *p = arg;
    if (p->unit.state == UNIT_STOPPING || p->unit.state == UNIT_RESTARTING)
        LOG(p->s->o.log, LOG_WARN, NULL, "process.drain", "process did not end in time and is killed",
            LOG_STR("process", p->process->name), LOG_INT("pid", p->record.pid));
    supervisor_event(p, UNIT_TIMER);
    supervisor_flush(p->s);
}

/* ---- deaths ---- */

/* What the dead leader had started goes with it, before its pid (and with it the group's number) is given free. */
bool supervisor_reap(const struct child_record *record, siginfo_t *ret_info)
{
    pid_t pid = (pid_t)record->pid;
    *ret_info = (siginfo_t){0};
    if (pid <= 0 || waitid(P_PID, (id_t)pid, ret_info, WEXITED | WNOHANG | WNOWAIT) != 0 || ret_info->si_pid != pid)
        return false;
    kill(-pid, SIGKILL);
    siginfo_t ignored;
    (void)waitid(P_PID, (id_t)pid, &ignored, WEXITED);
    return true;
}

static void log_end(const struct supervised *p, int64_t pid, const siginfo_t *info, bool wanted)
{
    LOG(p->s->o.log, wanted ? LOG_INFO : LOG_WARN, NULL, "process.ended", "process ended",
        LOG_STR("process", p->process->name), LOG_INT("pid", pid),
        LOG_STR("how", info->si_code == CLD_EXITED ? "exit" : "signal"), LOG_INT("status", info->si_status));
}

/* What the status says of one that ended unasked and had no words of its own; the next READY=1 takes it away. */
static void note_end(struct supervised *p, const siginfo_t *info)
{
    if (p->message[0] != '\0' && !p->message_is_end)
        return;
    p->message_is_end = true;
    (void)snprintf(p->message, sizeof p->message, "ended %s %d; ficus logs %s shows what it said",
                   info->si_code == CLD_EXITED ? "with status" : "by signal", info->si_status, p->process->name);
}

/* The one that was to take its place, and the one whose place was taken. */
static void others_reap(struct supervised *p)
{
    siginfo_t info;
    bool any = false;
    if (supervisor_reap(&p->next, &info)) {
        any = true;
        log_end(p, p->next.pid, &info, p->unit.state != UNIT_REPLACING);
        p->next.pid = 0;
        gate_close(&p->next_gate);
        program_drop(&p->next_program);
        if (p->unit.state == UNIT_REPLACING)
            replace_failed(p, "ended");
        supervisor_event(p, UNIT_NEXT_EXIT);
    }
    if (supervisor_reap(&p->leaving, &info)) {
        any = true;
        log_end(p, p->leaving.pid, &info, true);
        p->leaving.pid = 0;
        env_timer_stop(p->s->env, &p->leaving_timer);
    }
    if (any && p->replace_wanted && !p->s->stopping)
        replace(p);
    if (any && p->s->stopping)
        stop_next(p->s);
    p->s->record_wanted |= any;
}

static void on_child(void *arg, int signum)
{
    struct supervisor *s = arg;
    supervisor_notify_read(s); /* its last words */
    supervisor_upgrade_reap(s);
    for (size_t i = 0; i < s->count; i++) {
        struct supervised *p = &s->processes[i];
        siginfo_t info;
        others_reap(p);
        if (!supervisor_reap(&p->record, &info))
            continue;
        bool wanted = p->unit.state == UNIT_STOPPING || p->unit.state == UNIT_RESTARTING;
        log_end(p, p->record.pid, &info, wanted);
        if (!wanted)
            note_end(p, &info);
        p->record.pid = 0;
        gate_close(&p->gate);
        if (p->crash != NULL && atomic_load(&p->crash->died) != 0)
            p->unit.deaths = 0; /* it was told to */
        supervisor_event(p, UNIT_EXIT);
    }
    supervisor_flush(s);
}

static const struct child_record *record_of(const struct supervised *p, int64_t pid)
{
    const struct child_record *const records[] = {&p->record, &p->next, &p->leaving};
    for (size_t i = 0; pid > 0 && i < ARRAY_COUNT(records); i++)
        if (records[i]->pid == pid)
            return records[i];
    return NULL;
}

static struct supervised *find_record(struct supervisor *s, int64_t pid, const struct child_record **ret_record)
{
    for (size_t i = 0; i < s->count; i++)
        if ((*ret_record = record_of(&s->processes[i], pid)) != NULL)
            return &s->processes[i];
    return NULL;
}

struct supervised *supervisor_find_pid(struct supervisor *s, int64_t pid, const struct child_record **ret_record)
{
    struct proc_info info;
    struct supervised *p = find_record(s, pid, ret_record);
    if (p != NULL || !proc_read(pid, &info) || info.session <= 0)
        return p;
    return find_record(s, info.session, ret_record);
}

/* ---- what others ask ---- */

bool supervisor_healthy(const struct supervisor *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->processes[i].unit.state != UNIT_READY && s->processes[i].unit.state != UNIT_REPLACING)
            return false;
    return true;
}

/* What is on the disk now. When that cannot be opened, the program of before is as good as it was. */
static void program_renew(struct supervised *p)
{
    int program = program_open(p);
    if (program < 0)
        return;
    program_drop(&p->program);
    p->program = program;
}

void supervisor_restart(struct supervised *p)
{
    if (p->process->kind == CHILD_GATEWAY && (p->unit.state == UNIT_READY || p->unit.state == UNIT_REPLACING)) {
        p->message[0] = '\0';
        replace(p);
        return;
    }
    program_renew(p);
    p->replace_wanted = false;
    supervisor_event(p, UNIT_RESTART);
}

enum ficus_err supervisor_order(struct supervisor *s, struct slice name, enum supervisor_order order)
{
    static const enum unit_event events[] = {[SUPERVISOR_STOP] = UNIT_STOP,
                                             [SUPERVISOR_KILL] = UNIT_STOP,
                                             [SUPERVISOR_START] = UNIT_START};
    bool found = false;
    if (s->stopping)
        return FICUS_ERR_CONFLICT;
    for (size_t i = 0; i < s->count; i++) {
        if (!slice_eq_str(name, s->processes[i].process->name))
            continue;
        struct supervised *p = &s->processes[i];
        found = true;
        if (order == SUPERVISOR_RESTART) {
            supervisor_restart(p);
            continue;
        }
        if (order == SUPERVISOR_START)
            program_renew(p);
        p->replace_wanted = false;
        /* one that waits for what it needs goes on waiting */
        if (events[order] != UNIT_START || s->processes[i].unit.state != UNIT_WAITING)
            supervisor_event(&s->processes[i], events[order]);
        if (order == SUPERVISOR_KILL && s->processes[i].record.pid > 0)
            kill(-(pid_t)s->processes[i].record.pid, SIGKILL);
    }
    start_who_may(s);
    supervisor_flush(s);
    return found ? FICUS_ERR_OK : FICUS_ERR_NOT_FOUND;
}

void supervisor_status(struct supervisor *s, struct buf *out)
{
    struct status_process *list = mem_array(s->count + 1, sizeof *list);
    struct status status = {.system = s->o.plan->system,
                            .gateway_url = s->o.plan->gateway_url,
                            .supervisor_pid = getpid(),
                            .version = s->o.version,
                            .externals = s->o.plan->externals,
                            .external_count = s->o.plan->external_count,
                            .processes = list,
                            .count = list == NULL ? 0 : s->count};
    for (size_t i = 0; i < status.count; i++) {
        struct supervised *p = &s->processes[i];
        list[i] = (struct status_process){.record = p->record, .state = unit_state_name(p->unit.state)};
        list[i].record.restarts = p->unit.restarts;
        list[i].message = p->message;
        list[i].reloading = p->reloading;
        list[i].changed = p->changed;
    }
    struct status_upgrade upgrade;
    status.upgrade = supervisor_upgrade_status(s, &upgrade);
    status_write(&status, out);
    mem_free(list);
}

static bool write_registry(void *arg, struct buf *out)
{
    struct supervisor *s = arg;
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    json_write_key(&w, "services");
    json_write_object(&w);
    for (size_t i = 0; i < s->count; i++) {
        const struct supervised *p = &s->processes[i];
        if (p->process->kind != CHILD_SERVICE || p->record.instance != 1)
            continue;
        json_write_key(&w, p->process->name);
        json_write_array(&w);
        for (size_t j = i; j < s->count; j++)
            if (s->processes[j].unit.listed && strcmp(s->processes[j].process->name, p->process->name) == 0)
                json_write_str(&w, s->processes[j].process->listen[0]);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
    return !buf_failed(out);
}

/* ---- life ---- */

/* A process that dies while we start may hold a port for some milliseconds, and nothing tells when it lets go: so a
 * busy address is tried again for two seconds. */
static enum ficus_err open_socket(const char *address, int *ret_fd, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (int i = 0; i < BIND_TRIES_MAX; i++) {
        err = socket_listen(address, ret_fd, reterr);
        if (err == FICUS_ERR_OK || reterr->sys_errno != EADDRINUSE)
            break;
        (void)poll(NULL, 0, BIND_PAUSE_MS);
    }
    return err;
}

static enum ficus_err open_sockets(struct supervisor *s, struct ficus_error *reterr)
{
    for (size_t i = 0; i < s->count; i++) {
        struct supervised *p = &s->processes[i];
        for (size_t j = 0; j < p->process->listen_count; j++) {
            enum ficus_err err = open_socket(p->process->listen[j], &p->sockets[j], reterr);
            if (err == FICUS_ERR_OK)
                continue;
            if (reterr->sys_errno == EADDRINUSE && strncmp(p->process->listen[j], "tcp:", 4) == 0)
                return err_set(reterr, err, "%s: %s is in use: --set gateway.listen=ADDRESS:PORT takes another, "
                               "ficus doctor says who has it", p->process->name, p->process->listen[j] + 4);
            return err_wrap(reterr, "%s", p->process->name);
        }
    }
    return FICUS_ERR_OK;
}

/* VERSION: a newer ficus wrote down what may still run, in a form that we cannot read. */
static enum ficus_err end_orphans(struct supervisor *s, struct ficus_error *reterr)
{
    struct arena a;
    struct children left;
    struct ficus_error error = {0};
    arena_init(&a, 4 * CHILDREN_FILE_SIZE_MAX);
    enum ficus_err err = children_read(s->env, &a, state_of(s)->children_file, &left, &error);
    if (err == FICUS_ERR_OK) {
        unsigned ended = children_end(&left, state_of(s)->root, ORPHAN_WAIT_MS);
        if (ended > 0)
            LOG(s->o.log, LOG_WARN, NULL, "supervisor.orphans", "ended processes that a dead supervisor had left",
                LOG_INT("count", ended));
    } else if (err != FICUS_ERR_NOT_FOUND && err != FICUS_ERR_VERSION) {
        LOG(s->o.log, LOG_WARN, NULL, "supervisor.record", "the record of earlier processes cannot be read",
            LOG_ERR(&error));
    }
    arena_done(&a);
    if (err != FICUS_ERR_VERSION)
        return FICUS_ERR_OK;
    *reterr = error;
    return err;
}

static bool set_up_processes(struct supervisor *s)
{
    const struct supervisor_plan *plan = s->o.plan;
    s->processes = mem_array(plan->process_count + 1, sizeof *s->processes);
    if (s->processes == NULL)
        return false;
    s->count = plan->process_count;
    for (size_t i = 0; i < s->count; i++) {
        struct supervised *p = &s->processes[i];
        const struct supervisor_process *process = &plan->processes[i];
        *p = (struct supervised){
            .s = s, .process = process, .gate = -1, .next_gate = -1, .program = -1, .next_program = -1};
        p->leaving_timer = (struct env_timer){.fn = on_leaving_timer, .arg = p};
        p->timer = (struct env_timer){.fn = on_unit_timer, .arg = p};
        p->record = (struct child_record){.kind = process->kind,
                                          .name = process->name,
                                          .team = process->team,
                                          .instance = 1,
                                          .address = process->listen_count > 0 ? process->listen[0] : ""};
        for (size_t j = 0; j < i; j++)
            p->record.instance += strcmp(plan->processes[j].name, process->name) == 0;
        for (size_t j = 0; j < SUPERVISOR_SOCKETS_MAX; j++)
            p->sockets[j] = -1;
    }
    return true;
}

static enum ficus_err make_crash_pages(struct supervisor *s, struct ficus_error *reterr)
{
    char path[4300];
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; s->o.crash_folder != NULL && i < s->count && err == FICUS_ERR_OK; i++) {
        const struct supervised *p = &s->processes[i];
        snprintf(path, sizeof path, "%s/%s.%lld", s->o.crash_folder, p->process->name, (long long)p->record.instance);
        err = crash_page_new(path, &s->processes[i].crash, reterr);
    }
    return err;
}

/* Of a system that runs: what has happened between the two programs, and what the one before had in hand. */
static void go_on(struct supervisor *s)
{
    const struct handover *h = s->o.handover;
    on_child(s, SIGCHLD);
    for (size_t i = 0; i < s->count; i++) {
        struct supervised *p = &s->processes[i];
        if (p->unit.state == UNIT_BACKOFF)
            env_timer_start(s->env, &p->timer, 0); /* its next program may be the remedy */
        if (p->process->kind == CHILD_HUB && p->unit.listed)
            registry_push_hub(&s->registry, true);
    }
    s->record_wanted = true;
    supervisor_upgrade_roll(s, h->from, h->failed);
    s->o.handover = NULL;
}

enum ficus_err supervisor_new(struct env *e, const struct supervisor_options *o, struct supervisor **ret_supervisor,
                              struct ficus_error *reterr)
{
    struct ficus_error own = {0};
    struct proc_info info = {0};
    reterr = reterr == NULL ? &own : reterr;
    FICUS_ASSERT(o->plan->process_count <= SUPERVISOR_PROCESSES_MAX && o->on_stopped != NULL);
    struct supervisor *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "supervisor: out of memory");
    s->env = e;
    s->o = *o;
    s->notify_fd = s->api_fd = -1;
    supervisor_upgrade_init(s);
    if (!set_up_processes(s)) {
        supervisor_free(s);
        return err_set(reterr, FICUS_ERR_NOMEM, "supervisor: out of memory");
    }
    (void)proc_read(getpid(), &info);
    s->own_start_ticks = info.start_ticks;
    s->registry = (struct registry_push){
        .env = e, .address = o->plan->hub_operator_address, .write = write_registry, .arg = s};
    registry_push_init(&s->registry);
    enum ficus_err err = FICUS_ERR_OK;
    if (o->handover != NULL)
        supervisor_take_over(s, o->handover);
    else
        err = end_orphans(s, reterr);
    if (err == FICUS_ERR_OK)
        err = make_crash_pages(s, reterr);
    if (err == FICUS_ERR_OK && o->handover == NULL)
        err = open_sockets(s, reterr);
    if (err == FICUS_ERR_OK)
        err = supervisor_notify_open(s, reterr);
    if (err == FICUS_ERR_OK)
        err = env_uv_signal(e, SIGCHLD, on_child, s, reterr);
    if (err == FICUS_ERR_OK)
        /* last: it alone would have to be closed over several turns of the loop */
        err = supervisor_api_open(s, reterr);
    if (err != FICUS_ERR_OK) {
        supervisor_free(s);
        return err;
    }
    if (o->handover != NULL)
        go_on(s);
    start_who_may(s);
    supervisor_flush(s);
    tell_healthy(s); /* a system without processes */
    *ret_supervisor = s;
    return FICUS_ERR_OK;
}

/* Nobody will take what waits in the gateway's queue: new clients are refused as soon as it has closed its own. */
static void close_public_sockets(struct supervisor *s)
{
    for (size_t i = 0; i < s->count; i++)
        for (size_t j = 0; j < SUPERVISOR_SOCKETS_MAX && s->processes[i].process->kind == CHILD_GATEWAY; j++) {
            if (s->processes[i].sockets[j] >= 0)
                close(s->processes[i].sockets[j]);
            s->processes[i].sockets[j] = -1;
        }
}

static void kill_all(const struct supervised *p)
{
    const int64_t pids[] = {p->record.pid, p->next.pid, p->leaving.pid};
    for (size_t i = 0; i < ARRAY_COUNT(pids); i++)
        if (pids[i] > 0)
            kill(-(pid_t)pids[i], SIGKILL);
}

void supervisor_stop(struct supervisor *s)
{
    if (s->stopping) {
        s->killing = true;
        for (size_t i = 0; i < s->count; i++)
            kill_all(&s->processes[i]);
        return;
    }
    s->stopping = true;
    supervisor_upgrade_stop(s);
    LOG(s->o.log, LOG_INFO, NULL, "system.stopping", "stopping all processes");
    close_public_sockets(s);
    stop_next(s);
    supervisor_flush(s);
}

void supervisor_free(struct supervisor *s)
{
    if (s == NULL)
        return;
    (void)env_uv_signal(s->env, SIGCHLD, NULL, NULL, NULL);
    supervisor_notify_close(s);
    supervisor_api_close(s);
    supervisor_upgrade_done(s);
    buf_done(&s->registry.body);
    for (size_t i = 0; i < s->count; i++) {
        env_timer_stop(s->env, &s->processes[i].timer);
        env_timer_stop(s->env, &s->processes[i].leaving_timer);
        program_drop(&s->processes[i].program);
        program_drop(&s->processes[i].next_program);
        crash_page_close(s->processes[i].crash);
        for (size_t j = 0; j < SUPERVISOR_SOCKETS_MAX; j++)
            if (s->processes[i].sockets[j] >= 0)
                close(s->processes[i].sockets[j]);
    }
    mem_free(s->processes);
    if (s->plan_arena != NULL)
        arena_done(s->plan_arena);
    mem_free(s->plan_arena);
    mem_free(s);
}
